//! What `elbow check` prints: every effective value, the memory ceiling, the capacity, warnings.
//!
//! All of it is text for people, a line for each thing, and none of it is ever read back. Warnings
//! are what holds but is probably not meant; the server logs them at start too.
//!
//! The surprise: the ceiling counts every socket buffer as full, which no healthy day comes near.
//! It is what an attacker can bring about, and therefore what a container's limit has to hold.

use super::fit::room_bytes;
use super::listen::{Endpoint, Listen};
use super::machine::Machine;
use super::options::TABLE;
use super::row::{Shown, ValueSource};
use super::settled::Config;
use super::value::size_rounded;
use super::words::Lb;
use crate::limits::{CONNECTIONS_HEALTH, CONNECTIONS_SPARE, Limits};
use crate::settings::ProxyMode;
use crate::text::shown_text;

impl Config {
    /// The whole print-out, each line ended.
    pub fn report(&self, machine: &Machine) -> String {
        let values = self.values.iter().map(Shown::to_string);
        let lines = values.chain([String::new(), self.client_line(), self.idle_line()]);
        let lines = lines.chain(self.admin_line(machine));
        let lines = lines.chain([self.message_line()]).chain(self.history_line());
        let lines = lines.chain(self.redis_line());
        let lines = lines.chain(self.ceiling_lines()).chain(self.fit_line(machine));
        let lines = lines.chain([self.capacity_line()]);
        let warnings = self.warnings(machine);
        let warnings = warnings.iter().map(|warning| format!("warning: {warning}"));
        lines.chain(warnings).map(|line| line + "\n").collect()
    }

    /// What holds but is probably not meant, a line each.
    pub fn warnings(&self, machine: &Machine) -> Vec<String> {
        let total_bytes = self.settings.limits.ceiling().total_bytes();
        let memory = machine.memory_bytes.filter(|bytes| *bytes < total_bytes).map(|bytes| {
            format!(
                "the memory ceiling, {}, is more than the machine or its control group has, {}: \
                 lower --max-connections, --memory, --send-buffer or --receive-buffer",
                size_rounded(total_bytes),
                size_rounded(bytes)
            )
        });
        let optional = (self.settings.proxy == ProxyMode::Optional).then(|| {
            "--proxy-protocol optional is less safe than required: who reaches the port past the \
             balancer speaks under any name that a trusted network gives it"
                .to_owned()
        });
        let believing = self.settings.proxy != ProxyMode::Off || self.settings.forwarded_for;
        let everyone = self.settings.trust.0.iter().find(|network| network.prefix_len() == 0);
        let everyone = everyone.filter(|_| believing).map(|network| {
            format!("--proxy-trust {network} believes everybody's word about a client's address")
        });
        let unused = [self.unused_mode(machine), self.unused_age(), self.unused_token(machine)];
        let unused = unused.into_iter().chain(self.unused_redis());
        let unused = self.unused_listeners(machine).chain(unused.flatten());
        [memory, optional, everyone].into_iter().flatten().chain(unused).collect()
    }

    /// Says which listeners were asked for, while systemd hands over others for the same.
    fn unused_listeners(&self, machine: &Machine) -> impl Iterator<Item = String> {
        let activated = machine.activated;
        let replaced = [
            (&TABLE.listen.option, activated.public),
            (&TABLE.health_listen.option, activated.health),
            (&TABLE.admin_listen.option, activated.admin),
        ];
        let asked = self.values.iter().filter(move |shown| {
            replaced.iter().any(|(option, is_replaced)| *is_replaced && shown.option == *option)
                && matches!(shown.source, ValueSource::Flag | ValueSource::Env)
        });
        asked.map(|shown| {
            let (flag, addresses) = (shown.option.flag(), shown_text(&shown.text));
            format!("{flag} {addresses} is not used: LISTEN_FDS hands over sockets instead")
        })
    }

    /// Says that `--unix-mode` was given for nothing.
    fn unused_mode(&self, machine: &Machine) -> Option<String> {
        let public = self.listen.iter().filter(|_| !machine.activated.public);
        let health = self.health_listen.iter().filter(|_| !machine.activated.health);
        let is_unix = |listen: &Listen| matches!(listen, Listen::At(Endpoint::Unix(_)));
        if public.chain(health).any(is_unix) {
            return None;
        }
        let mode = self.values.iter().find(|shown| *shown.option == TABLE.unix_mode.option)?;
        matches!(mode.source, ValueSource::Flag | ValueSource::Env)
            .then(|| format!("--unix-mode {} is not used: no listener is unix:PATH", mode.text))
    }

    /// Says that `--history-age` was given for nothing.
    fn unused_age(&self) -> Option<String> {
        let age = self.values.iter().find(|shown| *shown.option == TABLE.history_age.option)?;
        let is_asked = matches!(age.source, ValueSource::Flag | ValueSource::Env);
        (is_asked && self.settings.limits.history.is_none())
            .then(|| format!("--history-age {} is not used: --history is off", age.text))
    }

    /// Says which options about Redis were given for nothing.
    fn unused_redis(&self) -> [Option<String>; 3] {
        let options =
            [&TABLE.redis_password_file.option, &TABLE.redis_prefix.option, &TABLE.redis_ca.option];
        options.map(|option| {
            let given = self.values.iter().find(|shown| shown.option == option)?;
            let is_asked = matches!(given.source, ValueSource::Flag | ValueSource::Env);
            (is_asked && self.redis.is_none()).then(|| {
                let (flag, text) = (option.flag(), shown_text(&given.text));
                format!("{flag} {text} is not used: there is no --redis")
            })
        })
    }

    /// Who is asked for the order of messages, and with which password; `None` where that is
    /// decided here.
    fn redis_line(&self) -> Option<String> {
        let redis = self.redis.as_ref()?;
        let password = match &redis.password {
            Some(source) => format!("(set), by {}", source.name()),
            None => "none".to_owned(),
        };
        let prefix = &redis.prefix;
        Some(format!("order of messages: by Redis, in keys {{{prefix}}}:…; password: {password}"))
    }

    /// Says that `--admin-token-file` was given for nothing.
    fn unused_token(&self, machine: &Machine) -> Option<String> {
        let option = &TABLE.admin_token_file.option;
        let file = self.values.iter().find(|shown| shown.option == option)?;
        let is_asked = matches!(file.source, ValueSource::Flag | ValueSource::Env);
        let is_there = self.admin_listen.is_some() || machine.activated.admin;
        (is_asked && !is_there).then(|| {
            let path = shown_text(&file.text);
            format!("--admin-token-file {path} is not used: there is no --admin-listen")
        })
    }

    /// Who may speak to the admin listener; `None` where there is none.
    fn admin_line(&self, machine: &Machine) -> Option<String> {
        let is_handed_over = machine.activated.admin;
        let listen = self.admin_listen.as_ref().filter(|_| !is_handed_over);
        let who = match (&self.admin_token, listen) {
            (None | Some(_), None) if !is_handed_over => return None,
            (Some(source), _) => format!("who shows the token ((set), {})", source.name()),
            (None, None) => "who can connect to the socket that was handed over".to_owned(),
            (None, Some(Listen::At(Endpoint::Unix(_)))) => {
                "the owner of the socket's file".to_owned()
            }
            (None, Some(Listen::Any(_) | Listen::At(Endpoint::Ip(_)))) => {
                "every program on this machine, without a token".to_owned()
            }
        };
        Some(format!("admin requests: from {who}"))
    }

    fn client_line(&self) -> String {
        let from = match (self.settings.proxy, self.settings.forwarded_for) {
            (ProxyMode::Required, _) => "the PROXY header, which only trusted peers may send",
            (ProxyMode::Optional, _) => "the PROXY header of trusted peers, or else the socket",
            (ProxyMode::Off, true) => "X-Forwarded-For of trusted peers, or else the socket",
            (ProxyMode::Off, false) => "the socket",
        };
        format!("client addresses: from {from}")
    }

    fn idle_line(&self) -> String {
        let keep_alive = self.settings.keep_alive;
        let source = match self.lb {
            Lb::Alb => ValueSource::Preset,
            Lb::None | Lb::Clb | Lb::Nlb => ValueSource::Default,
        };
        let balancer = match self.lb.idle_limit() {
            Some(limit) => format!("; by the balancer after {} s", limit.as_millis() / 1000),
            None => String::new(),
        };
        format!("idle HTTP connections: closed after {keep_alive} ({}){balancer}", source.name())
    }

    fn message_line(&self) -> String {
        let limits = &self.settings.limits;
        let (most, sure) = (limits.message_bytes_max, limits.any_text_bytes_max());
        let record = size_rounded(Limits::record_bytes_max(limits.feed_bytes));
        let what_may_not = if most == sure {
            ", whatever is in them".to_owned()
        } else {
            format!(
                "; a text over {} is refused if escaped for Socket.IO or split into the lines of \
                 an event stream it takes more than {record}, half of --feed",
                size_rounded(sure)
            )
        };
        format!("messages: up to {}{what_may_not}", size_rounded(most))
    }

    /// What history costs of `--memory`; `None` where none is kept.
    fn history_line(&self) -> Option<String> {
        let limits = &self.settings.limits;
        let history = limits.history?;
        let cost = |history| Limits::feed_cost_bytes(limits.feed_bytes, history);
        let (log, index) = (cost(Some(history)), cost(Some(history)) - cost(None));
        Some(format!(
            "history: up to {} messages of each channel, not older than {}; {} of --memory for \
             each channel, and {} more for each feed",
            history.messages_max,
            history.age,
            size_rounded(log),
            size_rounded(index)
        ))
    }

    /// The memory ceiling, rounded for people and exact for scripts; logged at start too.
    pub fn ceiling_lines(&self) -> [String; 4] {
        let ceiling = self.settings.limits.ceiling();
        let both = |bytes| format!("{} ({bytes} bytes)", size_rounded(bytes));
        [
            format!(
                "memory ceiling, user space: {}: --memory, {} for tables, {} for the program",
                both(ceiling.user_bytes()),
                size_rounded(ceiling.tables_bytes),
                size_rounded(ceiling.base_bytes)
            ),
            format!(
                "memory ceiling, kernel share per connection: {}",
                both(ceiling.kernel_connection_bytes)
            ),
            format!("memory ceiling, kernel share in all: {}", both(ceiling.kernel_bytes)),
            format!("memory ceiling, total: {}", both(ceiling.total_bytes())),
        ]
    }

    /// Into what the ceiling was made to fit; `None` without `--fit`.
    fn fit_line(&self, machine: &Machine) -> Option<String> {
        let (room, bytes) = (room_bytes(machine)?, machine.memory_bytes?);
        let whose = match machine.memory_is_shared {
            true => "the machine's memory; the rest is for other programs",
            false => "its control group's memory; the rest is for what the kernel counts there",
        };
        let (room, bytes) = (size_rounded(room), size_rounded(bytes));
        self.fit.then(|| format!("fit: the total stays within {room} of {bytes}, {whose}"))
    }

    fn capacity_line(&self) -> String {
        let limits = &self.settings.limits;
        let feed_bytes = Limits::feed_cost_bytes(limits.feed_bytes, limits.history);
        format!(
            "capacity: {} sessions, {CONNECTIONS_SPARE} connections more for pages, probes and \
             refusals, {CONNECTIONS_HEALTH} for --health-listen and {} for --admin-listen; {} \
             channels; memory for {} feeds",
            limits.connections_max,
            limits.admin_connections_max,
            limits.channels_max,
            limits.memory_bytes / feed_bytes
        )
    }
}
