//! What the operator wants as a whole: from the texts of all options to a [`Config`].
//!
//! Four steps, each of which needs the one before to be complete: every text is parsed within its
//! own bounds; the defaults that depend on others are derived (`derived.rs`, `fit.rs`); the values
//! are held against each other (`contradictions.rs`); each is put where it is used. The last is the
//! place to which a new option's value goes.
//!
//! The surprise: the balancer is read twice, first for what it says of other options.

use std::path::PathBuf;

use clap::ArgMatches;
use log::LevelFilter;

use super::contradictions;
use super::derived::derive;
use super::failure::Failure;
use super::fit::fit;
use super::listen::Listen;
use super::machine::Machine;
use super::options::{Asked, TABLE, Values, admin_connections, kept};
use super::redis::{PASSWORD_VARIABLE, PasswordSource, Redis, RedisUrl, find_password};
use super::row::{Shown, Sources};
use super::token::TokenSource;
use super::value::KeyFile;
use super::words::{IoUring, Lb};
use crate::limits::{KEEP_ALIVE_ALB_LIMIT, KEEP_ALIVE_LIMIT, Limits};
use crate::rate::Rate;
use crate::settings::{Events, Greeting, Parties, Settings, Trust};

/// Everything that was decided, consistent with itself and with the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// What the server is told at birth.
    pub settings: Settings,
    /// Public listeners, 1 to 8, of which no two are in each other's way. Not used if sockets were
    /// handed over.
    pub listen: Vec<Listen>,
    /// The permissions of the files of Unix sockets, 0 to 0o777.
    pub unix_mode: u32,
    /// The listener for health probes only.
    pub health_listen: Option<Listen>,
    /// The listener for backends and operators.
    pub admin_listen: Option<Listen>,
    /// Where the token of that listener comes from, if there is one. It is read when the server
    /// starts.
    pub admin_token: Option<TokenSource>,
    /// How often a public connection is accepted; `None`: as often as one comes.
    pub accept_rate: Option<Rate>,
    /// Files to serve instead of the built-in page; whether they can be read is not known yet.
    pub www: Option<PathBuf>,
    /// The Redis that decides the order of messages for several instances.
    pub redis: Option<Redis>,
    /// Files with keys that tokens are checked with; whether they can be read is not known yet.
    pub key_files: Vec<KeyFile>,
    /// Whether many sends are one system call.
    pub io_uring: IoUring,
    /// The least important level that is logged.
    pub log_level: LevelFilter,
    /// The balancer in front.
    pub lb: Lb,
    /// Whether the ceiling was made to fit into the machine.
    pub fit: bool,
    /// Every option with its effective value, in the order of [`OPTIONS`](super::OPTIONS).
    pub values: Vec<Shown>,
}

impl Config {
    /// Reads every option and makes one whole of them.
    ///
    /// # Errors
    /// The first text that cannot be read, or else the first contradiction.
    pub(super) fn read(
        matches: &ArgMatches,
        env: &dyn Fn(&str) -> Option<String>,
        machine: &Machine,
    ) -> Result<Config, Failure> {
        let mut sources = Sources { matches, env, presets: Vec::new() };
        let lb = TABLE.lb.read(&sources)?.value;
        let proxy_protocol = lb.proxy_protocol().map(|text| (&TABLE.proxy_protocol.option, text));
        sources.presets.extend(proxy_protocol);
        let mut asked = Asked::read(&sources)?;
        derive(&mut asked, machine);
        fit(&mut asked, machine)?;
        let token = TokenSource::beside_file(env, machine);
        let has_token = asked.admin_token_file.value.is_some() || token.is_some();
        contradictions::check(&asked, machine, has_token)?;
        let shown = asked.shown();
        let sources = (token, env(PASSWORD_VARIABLE));
        Config::new(asked.into_values(), shown, sources, machine)
    }

    /// Puts every value where it is used. `token` is where the token of the admin listener comes
    /// from if no file was named, `password` what the variable for that of Redis says.
    ///
    /// # Errors
    /// If there are two passwords of Redis, or one that cannot be.
    fn new(
        values: Values,
        shown: Vec<Shown>,
        (token, password): (Option<TokenSource>, Option<String>),
        machine: &Machine,
    ) -> Result<Config, Failure> {
        let alb = values.lb == Lb::Alb;
        let limits = limits(&values, machine);
        let origins = values.allow_origin.unwrap_or_default();
        let redis = values.redis.map(|url| {
            let password = password_of(&url, values.redis_password_file, password)?;
            Ok(Redis { url, password, prefix: values.redis_prefix, ca: values.redis_ca })
        });
        let redis = redis.transpose()?;
        let settings = Settings {
            limits,
            proxy: values.proxy_protocol,
            trust: Trust(values.proxy_trust),
            forwarded_for: alb,
            // A secret is read by whoever may read files, once all else holds.
            admin_token: None,
            hosts: values.host.unwrap_or_default(),
            base_path: values.base_path,
            origins: origins.into_iter().map(|(_, origin)| origin).collect(),
            events: relayed(values.events),
            greeting: values.greeting.as_deref().map(Greeting::named),
            recovery: values.recovery,
            parties: Parties {
                audience: values.token_audience.map(String::into_boxed_str),
                issuer: values.token_issuer.map(String::into_boxed_str),
            },
            anonymous: values.anonymous,
            keep_alive: if alb { KEEP_ALIVE_ALB_LIMIT } else { KEEP_ALIVE_LIMIT },
            report_messages: values.log_level >= LevelFilter::Debug,
        };
        Ok(Config {
            settings,
            listen: values.listen,
            unix_mode: values.unix_mode,
            health_listen: values.health_listen,
            admin_token: values
                .admin_token_file
                .map(TokenSource::File)
                .or(token)
                .filter(|_| values.admin_listen.is_some() || machine.activated.admin),
            admin_listen: values.admin_listen,
            accept_rate: values.accept_rate,
            www: values.www,
            redis,
            key_files: values.token_key.unwrap_or_default(),
            io_uring: values.io_uring,
            log_level: values.log_level,
            lb: values.lb,
            fit: values.fit,
            values: shown,
        })
    }
}

/// The numbers that the server keeps to.
fn limits(values: &Values, machine: &Machine) -> Limits {
    let buffer = |bytes| u32::try_from(bytes).expect("BUFFER_BOUNDS ends below 2^32");
    Limits {
        connections_max: values.max_connections,
        // Without the limit one address may have them all.
        connections_per_ip_max: values
            .max_connections_per_ip
            .map(|limit| limit.unwrap_or(values.max_connections)),
        admin_connections_max: admin_connections(values.admin_listen.as_ref(), machine),
        channels_max: values.max_channels,
        message_bytes_max: values.max_message,
        feed_bytes: values.feed,
        memory_bytes: values.memory,
        send_buffer_bytes: buffer(values.send_buffer),
        receive_buffer_bytes: buffer(values.receive_buffer),
        ping_interval: values.ping_interval,
        ping_timeout: values.ping_timeout,
        drain: values.drain,
        history: kept(values.history, values.history_age),
        shared: values.redis.is_some(),
        message_rate: values.message_rate,
        lifetime: values.max_lifetime,
    }
}

/// The one password of the Redis at `url`, from a file or a variable if one of them has it.
fn password_of(
    url: &RedisUrl,
    file: Option<PathBuf>,
    variable: Option<String>,
) -> Result<Option<PasswordSource>, Failure> {
    find_password(file, variable, url).map_err(contradictions::password_failure)
}

/// Which events the names stand for: with `*` among them, all.
fn relayed(names: Vec<String>) -> Events {
    if names.iter().any(|name| name == "*") {
        return Events::All;
    }
    Events::Named(names.into_iter().map(String::into_boxed_str).collect())
}
