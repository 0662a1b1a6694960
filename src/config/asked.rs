//! What was asked for, option by option, and what follows from it as a whole.
//!
//! Three steps, each of which needs the one before to be complete: every text is parsed within its
//! own bounds; the defaults that depend on other values or on the machine are derived; then the
//! values are held against each other, which is in `contradictions.rs`. Bounds of a single option
//! are constants here, each with its reason.
//!
//! The surprise: a derived default never contradicts anything. Only what somebody asked for can be
//! refused, save on a machine that has no room for a single connection.

use core::net::SocketAddr;
use core::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::IpNet;
use log::LevelFilter;

use super::contradictions::MESSAGES_PER_FEED;
use super::options::{
    ALLOW_ORIGIN, DRAIN, EVENTS, FEED, HEALTH_LISTEN, HOST, IO_URING, LB, LISTEN, LISTENERS_MAX,
    LOG_LEVEL, MAX_CHANNELS, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_IP, MAX_MESSAGE, MEMORY, OPTIONS,
    Opt, PING_INTERVAL, PING_TIMEOUT, PROXY_PROTOCOL, PROXY_TRUST, RECEIVE_BUFFER, SEND_BUFFER,
    WWW,
};
use super::report::{Shown, joined};
use super::value::{self, GIB, KIB, MIB, size_text};
use super::{Config, Failure, Found, IoUring, Lb, Machine, Origin, Reader, words};
use crate::limits::{
    CONNECTIONS_DEFAULT_MAX, DIALECTS, KEEP_ALIVE_ALB_LIMIT, KEEP_ALIVE_LIMIT, Limits,
    descriptors_for,
};
use crate::settings::{Events, ProxyMode, Settings, Trust};
use crate::time::Duration;
use crate::wire::host::Host;
use crate::wire::origin::Origin as WebOrigin;

/// The longest time that any option takes. Interval and timeout together are milliseconds in 32
/// bits for the kernel (`TCP_USER_TIMEOUT`).
const LENGTH_MAX: Duration = Duration::from_secs(3600);
/// Less than 10 ms is within what a busy scheduler delays anybody.
const PING_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(10)..=LENGTH_MAX;
/// No time at all closes everything in one go.
const DRAIN_BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=LENGTH_MAX;
/// Beyond what any machine's `fs.nr_open` allows; it keeps the sums of the ceiling small.
const CONNECTIONS_BOUNDS: RangeInclusive<usize> = 1..=10_000_000;
/// Any stranger can name a channel, and each has a place in a table.
const CHANNELS_BOUNDS: RangeInclusive<usize> = 1..=65_536;
/// The largest is a quarter of the largest feed.
const MESSAGE_BOUNDS: RangeInclusive<u64> = 1..=256 * MIB;
/// One ring; the largest fits into any address space.
const FEED_BOUNDS: RangeInclusive<u64> = 4 * KIB..=GIB;
/// Whether it holds the feeds is another question, asked in `contradictions.rs`.
const MEMORY_BOUNDS: RangeInclusive<u64> = 16 * KIB..=1024 * GIB;
/// Below 4 KiB the kernel's own minimum would hold instead of ours.
const BUFFER_BOUNDS: RangeInclusive<u64> = 4 * KIB..=64 * MIB;

/// How often the default of `--memory` holds what the channel `default` needs: once for that, and
/// as much for everything else.
const DEFAULT_CHANNELS_PER_MEMORY: u64 = 2;

const _: () = {
    assert!(*MESSAGE_BOUNDS.end() * MESSAGES_PER_FEED <= *FEED_BOUNDS.end());
    // With an index of an eighth of the ring.
    let feed_max = *FEED_BOUNDS.end() / 8 * 9;
    assert!(DEFAULT_CHANNELS_PER_MEMORY * DIALECTS * feed_max <= *MEMORY_BOUNDS.end());
    assert!(FEED_BOUNDS.end().is_power_of_two(), "rounding up stays within the bounds");
    assert!(*CONNECTIONS_BOUNDS.end() as u64 >= CONNECTIONS_DEFAULT_MAX);
    assert!(*BUFFER_BOUNDS.end() <= u32::MAX as u64);
    assert!(LENGTH_MAX.as_millis() * 2 <= u32::MAX as u64);
};

/// Every option's value as it was parsed, and who it comes from.
pub(super) struct Asked {
    pub(super) listen: Found<Vec<SocketAddr>>,
    pub(super) health_listen: Found<Option<SocketAddr>>,
    pub(super) lb: Found<Lb>,
    pub(super) proxy_protocol: Found<ProxyMode>,
    pub(super) proxy_trust: Found<Vec<IpNet>>,
    pub(super) www: Found<Option<PathBuf>>,
    pub(super) host: Found<Option<Vec<Host>>>,
    /// Each with its text, which is what `check` shows.
    pub(super) allow_origin: Found<Option<Vec<(String, WebOrigin)>>>,
    pub(super) events: Found<Vec<String>>,
    pub(super) ping_interval: Found<Duration>,
    pub(super) ping_timeout: Found<Duration>,
    pub(super) drain: Found<Duration>,
    pub(super) max_connections: Found<usize>,
    /// `Some(None)`: off.
    pub(super) max_connections_per_ip: Found<Option<Option<usize>>>,
    pub(super) max_channels: Found<usize>,
    pub(super) max_message: Found<u64>,
    pub(super) feed: Found<u64>,
    pub(super) memory: Found<u64>,
    pub(super) send_buffer: Found<u64>,
    pub(super) receive_buffer: Found<u64>,
    pub(super) io_uring: Found<IoUring>,
    pub(super) log_level: Found<LevelFilter>,
}

impl Asked {
    /// Reads and parses every option.
    pub(super) fn read<E>(reader: &Reader<'_, E>) -> Result<Asked, Failure>
    where
        E: Fn(&str) -> Option<String>,
    {
        let size = |option, bounds: RangeInclusive<u64>| {
            reader.read(option, None, |text| value::size(text, bounds.clone()))
        };
        let length = |option, bounds: RangeInclusive<Duration>| {
            reader.read(option, None, |text| value::duration(text, bounds.clone()))
        };
        let count = |option, bounds: RangeInclusive<usize>| {
            reader.read(option, None, |text| value::count(text, bounds.clone()))
        };
        let lb = reader.read(&LB, None, words::lb)?;
        let proxy_preset = lb.value.proxy_protocol();
        Ok(Asked {
            listen: reader
                .read(&LISTEN, None, |text| value::list(text, LISTENERS_MAX, value::address))?,
            health_listen: reader.read_if_given(&HEALTH_LISTEN, value::address)?,
            lb,
            proxy_protocol: reader.read(&PROXY_PROTOCOL, proxy_preset, words::proxy_mode)?,
            proxy_trust: reader
                .read(&PROXY_TRUST, None, |text| value::list(text, usize::MAX, value::network))?,
            www: reader.read_if_given(&WWW, folder)?,
            host: reader.read_if_given(&HOST, |text| value::list(text, usize::MAX, host))?,
            allow_origin: reader
                .read_if_given(&ALLOW_ORIGIN, |text| value::list(text, usize::MAX, origin))?,
            events: reader
                .read(&EVENTS, None, |text| value::list(text, usize::MAX, value::event))?,
            ping_interval: length(&PING_INTERVAL, PING_BOUNDS)?,
            ping_timeout: length(&PING_TIMEOUT, PING_BOUNDS)?,
            drain: length(&DRAIN, DRAIN_BOUNDS)?,
            max_connections: count(&MAX_CONNECTIONS, CONNECTIONS_BOUNDS)?,
            max_connections_per_ip: reader.read_if_given(&MAX_CONNECTIONS_PER_IP, |text| {
                value::count_or_off(text, CONNECTIONS_BOUNDS)
            })?,
            max_channels: count(&MAX_CHANNELS, CHANNELS_BOUNDS)?,
            max_message: size(&MAX_MESSAGE, MESSAGE_BOUNDS)?,
            feed: size(&FEED, FEED_BOUNDS)?,
            memory: size(&MEMORY, MEMORY_BOUNDS)?,
            send_buffer: size(&SEND_BUFFER, BUFFER_BOUNDS)?,
            receive_buffer: size(&RECEIVE_BUFFER, BUFFER_BOUNDS)?,
            io_uring: reader.read(&IO_URING, None, words::io_uring)?,
            log_level: reader.read(&LOG_LEVEL, None, words::log_level)?,
        })
    }

    /// Derives what depends on other values, refuses what contradicts, and hands over the rest.
    pub(super) fn settle(mut self, machine: &Machine) -> Result<Config, Failure> {
        self.derive(machine);
        self.check(machine)?;
        Ok(self.into_config())
    }

    fn derive(&mut self, machine: &Machine) {
        let room = machine.descriptors_hard.saturating_sub(descriptors_for(0));
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let connections = self.max_connections.value.min(room);
        self.max_connections.adjust(connections);
        let feed = self.feed.value.max(self.max_message.value * MESSAGES_PER_FEED);
        self.feed.adjust(feed);
        // Rounded whoever it comes from; a power of two is what makes an offset a mask.
        self.feed.value = self.feed.value.next_power_of_two();
        let needed = Limits::default_channel_bytes(self.feed.value);
        let memory = self.memory.value.max(needed * DEFAULT_CHANNELS_PER_MEMORY);
        self.memory.adjust(memory);
    }

    fn into_config(self) -> Config {
        let values = self.shown().to_vec();
        let alb = self.lb.value == Lb::Alb;
        let buffer = |bytes| u32::try_from(bytes).expect("BUFFER_BOUNDS ends below 2^32");
        let origins = self.allow_origin.value.unwrap_or_default();
        let limits = Limits {
            connections_max: self.max_connections.value,
            // Without the limit one address may have them all.
            connections_per_ip_max: self
                .max_connections_per_ip
                .value
                .map(|limit| limit.unwrap_or(self.max_connections.value)),
            channels_max: self.max_channels.value,
            message_bytes_max: self.max_message.value,
            feed_bytes: self.feed.value,
            memory_bytes: self.memory.value,
            send_buffer_bytes: buffer(self.send_buffer.value),
            receive_buffer_bytes: buffer(self.receive_buffer.value),
            ping_interval: self.ping_interval.value,
            ping_timeout: self.ping_timeout.value,
            drain: self.drain.value,
        };
        let settings = Settings {
            limits,
            proxy: self.proxy_protocol.value,
            trust: Trust(self.proxy_trust.value),
            forwarded_for: alb,
            hosts: self.host.value.unwrap_or_default(),
            origins: origins.into_iter().map(|(_, origin)| origin).collect(),
            events: relayed(self.events.value),
            keep_alive: if alb { KEEP_ALIVE_ALB_LIMIT } else { KEEP_ALIVE_LIMIT },
            report_messages: self.log_level.value >= LevelFilter::Debug,
        };
        Config {
            settings,
            listen: self.listen.value,
            health_listen: self.health_listen.value,
            www: self.www.value,
            io_uring: self.io_uring.value,
            log_level: self.log_level.value,
            lb: self.lb.value,
            values,
        }
    }

    /// Every value as `elbow check` prints it, in the order of [`OPTIONS`].
    fn shown(&self) -> [Shown; OPTIONS.len()] {
        let address = |found: &Option<SocketAddr>| match found {
            Some(address) => address.to_string(),
            None => HEALTH_LISTEN.default_words.to_owned(),
        };
        let folder = |found: &Option<PathBuf>| match found {
            Some(folder) => folder.to_string_lossy().escape_debug().to_string(),
            None => WWW.default_words.to_owned(),
        };
        let origins = |found: &Option<Vec<(String, WebOrigin)>>| match found {
            Some(origins) => joined(origins.iter().map(|(text, _)| text.escape_debug())),
            None => ALLOW_ORIGIN.default_words.to_owned(),
        };
        let hosts = |found: &Option<Vec<Host>>| match found {
            Some(hosts) => joined(hosts),
            None => HOST.default_words.to_owned(),
        };
        let limit = |found: &Option<Option<usize>>| match found {
            Some(Some(limit)) => limit.to_string(),
            Some(None) => "off".to_owned(),
            None => MAX_CONNECTIONS_PER_IP.default_words.to_owned(),
        };
        let size = |bytes: &u64| size_text(*bytes);
        let level = |level: &LevelFilter| level.as_str().to_ascii_lowercase();
        [
            self.listen.shown(&LISTEN, |list| joined(list)),
            self.health_listen.shown(&HEALTH_LISTEN, address),
            self.lb.shown(&LB, |lb| lb.name().to_owned()),
            self.proxy_protocol.shown(&PROXY_PROTOCOL, words::proxy_mode_text),
            self.proxy_trust.shown(&PROXY_TRUST, |list| joined(list)),
            self.www.shown(&WWW, folder),
            self.host.shown(&HOST, hosts),
            self.allow_origin.shown(&ALLOW_ORIGIN, origins),
            self.events
                .shown(&EVENTS, |names| joined(names.iter().map(|name| name.escape_debug()))),
            self.ping_interval.shown(&PING_INTERVAL, Duration::to_string),
            self.ping_timeout.shown(&PING_TIMEOUT, Duration::to_string),
            self.drain.shown(&DRAIN, Duration::to_string),
            self.max_connections.shown(&MAX_CONNECTIONS, usize::to_string),
            self.max_connections_per_ip.shown(&MAX_CONNECTIONS_PER_IP, limit),
            self.max_channels.shown(&MAX_CHANNELS, usize::to_string),
            self.max_message.shown(&MAX_MESSAGE, size),
            self.feed.shown(&FEED, size),
            self.memory.shown(&MEMORY, size),
            self.send_buffer.shown(&SEND_BUFFER, size),
            self.receive_buffer.shown(&RECEIVE_BUFFER, size),
            self.io_uring.shown(&IO_URING, |mode| mode.name().to_owned()),
            self.log_level.shown(&LOG_LEVEL, level),
        ]
    }
}

/// `*` among the names is all of them.
fn relayed(names: Vec<String>) -> Events {
    if names.iter().any(|name| name == "*") {
        return Events::All;
    }
    Events::Named(names.into_iter().map(String::into_boxed_str).collect())
}

impl<T> Found<T> {
    fn shown(&self, option: &'static Opt, text: impl Fn(&T) -> String) -> Shown {
        Shown { option, text: text(&self.value), origin: self.origin }
    }
}

impl<T: PartialEq> Found<T> {
    /// Puts `value` in the place of a default; what somebody asked for stays.
    fn adjust(&mut self, value: T) {
        match self.origin {
            Origin::Default if self.value != value => {
                *self = Found { value, origin: Origin::Derived };
            }
            Origin::Default | Origin::Derived | Origin::Preset | Origin::Env | Origin::Flag => {}
        }
    }
}

fn folder(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("allowed is the name of a folder".to_owned()),
        _ => Ok(PathBuf::from(text)),
    }
}

fn host(text: &str) -> Result<Host, String> {
    Host::parse(text).map_err(|error| error.to_string())
}

fn origin(text: &str) -> Result<(String, WebOrigin), String> {
    match WebOrigin::parse(text) {
        Ok(origin) => Ok((text.to_owned(), origin)),
        Err(error) => {
            Err(format!("{error}: allowed is an origin such as https://example.org, or *, or null"))
        }
    }
}
