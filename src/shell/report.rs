//! A line per event: what is said, at which level, and how often.
//!
//! Whatever came from outside is escaped and cut, so that a line is a line. Warnings of one kind
//! are limited, since what causes them may come ten thousand times a second; the next one that is
//! let through says how many were not.

use core::fmt::{self, Display};
use core::net::SocketAddr;
use std::io;

use log::{Level, debug, info, log, warn};

use super::files::Folder;
use super::net::{Listeners, Stream};
use crate::config::{Config, Machine};
use crate::metrics::Histogram;
use crate::reason::CloseReason;
use crate::server::{Access, Event, Listener, Server};
use crate::time::{Duration, Instant, Now};

/// Bytes of an outside value that are shown.
const SHOWN_BYTES_MAX: usize = 256;
/// Warnings of a kind that are let through …
const WARNINGS_MAX: u32 = 5;
/// … in this time.
const WINDOW: Duration = Duration::from_secs(10);

const TARGET: &str = "elbow";

/// Kinds of warnings, each limited by itself.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Accept,
    Lapped,
    Refused,
    Proxy,
    Memory,
    Endpoint,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began: Option<Instant>,
    said: u32,
    suppressed: u64,
}

/// Writes events down.
#[derive(Debug, Default)]
pub(super) struct Report {
    windows: [Window; 6],
}

/// An address as the log has it: without the port where none is known.
struct Shown(SocketAddr);

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.port() {
            0 => self.0.ip().fmt(f),
            _ => self.0.fmt(f),
        }
    }
}

/// How long something took, in a line.
struct Times<'a>(&'a Histogram);

impl Display for Times<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Times(times) = self;
        let [p50, p99, p999] = [500, 990, 999].map(|parts| times.quantile_us(parts));
        let (count, max) = (times.count(), times.max_us());
        write!(f, "{count}, µs: p50 {p50}, p99 {p99}, p99.9 {p999}, max {max}")
    }
}

/// The beginning of an outside value, with everything escaped that is not visible ASCII.
fn shown(bytes: &[u8]) -> impl Display + '_ {
    bytes[..bytes.len().min(SHOWN_BYTES_MAX)].escape_ascii()
}

/// The beginning of a text, with control characters escaped and its own letters kept.
fn shown_text(text: &str) -> impl Display + '_ {
    text[..text.floor_char_boundary(SHOWN_BYTES_MAX)].escape_debug()
}

impl Report {
    /// What an operator wants to know once.
    pub(super) fn start(
        &mut self,
        config: &Config,
        machine: &Machine,
        listeners: &Listeners,
        folder: &Folder,
    ) {
        let version = env!("CARGO_PKG_VERSION");
        info!(target: TARGET, "elbow {version}, process {}", std::process::id());
        for line in config.ceiling_lines() {
            info!(target: TARGET, "{line}");
        }
        if config.www.is_some() {
            self.reloaded(folder);
        }
        for warning in config.warnings(machine) {
            warn!(target: TARGET, "{warning}");
        }
        for (kind, address) in listeners.addresses() {
            match kind {
                Listener::Public => info!(target: TARGET, "listening on {address}"),
                Listener::Health => info!(target: TARGET, "health probes on {address}"),
            }
        }
    }

    /// How portions are sent.
    pub(super) fn sender(&self, batched: bool) {
        match batched {
            true => info!(target: TARGET, "sends: many in one call, through io_uring"),
            false => info!(target: TARGET, "sends: a call for each"),
        }
    }

    /// `--www` was read.
    pub(super) fn reloaded(&mut self, folder: &Folder) {
        let Folder { files, strays } = folder;
        let bytes: usize = files.iter().map(|file| file.bytes.len()).sum();
        let count = files.len();
        info!(
            target: TARGET,
            "--www: {count} files, {bytes} bytes on top of the ceiling, twice that after a reload",
        );
        if let Some(stray) = strays.first() {
            let (count, stray) = (strays.len(), stray.display().to_string());
            let stray = shown_text(&stray);
            warn!(target: TARGET, "--www: {count} links that leave it are not served: {stray} …");
        }
    }

    /// A drain begins.
    pub(super) fn draining(&mut self, connections: usize, limit: Duration) {
        info!(target: TARGET, "draining {connections} connections over {limit}");
    }

    /// The process ends.
    pub(super) fn end(&mut self, why: &str, server: &Server<Stream>) {
        let metrics = server.metrics();
        info!(
            target: TARGET,
            "{why}: {} connections, {} sessions, {} requests, {} messages in, {} out; {} left",
            metrics.connections_accepted,
            metrics.sessions_opened,
            metrics.requests,
            metrics.messages_published,
            metrics.messages_delivered,
            server.connections(),
        );
        info!(target: TARGET, "turns: {}", Times(&metrics.turns));
        info!(target: TARGET, "from read to sent to everybody: {}", Times(&metrics.fan_outs));
    }

    /// Accepting failed for want of something.
    pub(super) fn accept_failed(&mut self, now: Now, error: &io::Error) {
        self.warn(now, Kind::Accept, format_args!("accepting pauses: {error}"));
    }

    /// Something happened.
    pub(super) fn event(&mut self, now: Now, event: &Event) {
        match *event {
            Event::Opened { client, ref channel } => {
                info!(target: TARGET, "open {} channel {channel}", Shown(client));
            }
            Event::Closed { client, ref channel, reason, duration, messages_in, messages_out } => {
                let ms = duration.as_millis();
                info!(
                    target: TARGET,
                    "close {} channel {channel}: {} after {}.{:03}s, {messages_in} in, \
                     {messages_out} out",
                    Shown(client), reason.text(), ms / 1000, ms % 1000,
                );
                if reason == CloseReason::NoMemory {
                    let client = Shown(client);
                    let line = format_args!("--memory is used up: {client} was closed with 1013");
                    self.warn(now, Kind::Memory, line);
                }
            }
            Event::Unentered { client, reason, duration } => {
                let (reason, ms) = (reason.text(), duration.as_millis());
                info!(
                    target: TARGET,
                    "close {} without a channel: {reason} after {}.{:03}s",
                    Shown(client), ms / 1000, ms % 1000,
                );
            }
            Event::Lapped { client, ref channel, lag_bytes } => {
                let client = Shown(client);
                let line = format_args!(
                    "{client} channel {channel} is too slow: {lag_bytes} bytes behind"
                );
                self.warn(now, Kind::Lapped, line);
            }
            Event::Request(ref access) => access_line(access),
            Event::Ended { client, reason } => self.ended(now, client, reason),
            Event::Endpoint { client, ref vpc_endpoint } => {
                if self.admits(now, Kind::Endpoint) {
                    info!(target: TARGET, "{} came through {vpc_endpoint}", Shown(client));
                }
            }
            Event::Message { client, ref text } => {
                debug!(target: TARGET, "message: {} ({})", shown_text(text), Shown(client));
            }
            Event::Refused { client, why } => {
                let client = Shown(client);
                self.warn(now, Kind::Refused, format_args!("{client} was refused: {why}"));
            }
            Event::Drained => {}
        }
    }

    fn ended(&mut self, now: Now, client: SocketAddr, reason: CloseReason) {
        let client = Shown(client);
        let Some(advice) = advice(reason) else {
            debug!(target: TARGET, "end {client}: {}", reason.text());
            return;
        };
        self.warn(now, Kind::Proxy, format_args!("{client} was closed: {advice}"));
    }

    fn warn(&mut self, now: Now, kind: Kind, line: fmt::Arguments<'_>) {
        let suppressed = self.windows[kind as usize].suppressed;
        if !self.admits(now, kind) {
            return;
        }
        if self.windows[kind as usize].suppressed < suppressed {
            warn!(target: TARGET, "{line} ({suppressed} more of this kind were not logged)");
        } else {
            warn!(target: TARGET, "{line}");
        }
    }

    /// Whether one more line of this kind is let through. A new window forgets what the last one
    /// suppressed, which the line that opens it tells.
    fn admits(&mut self, now: Now, kind: Kind) -> bool {
        let window = &mut self.windows[kind as usize];
        if window.began.is_none_or(|began| now.mono.since(began) >= WINDOW) {
            *window = Window { began: Some(now.mono), said: 0, suppressed: 0 };
        }
        window.said += 1;
        let admitted = window.said <= WARNINGS_MAX;
        window.suppressed += u64::from(!admitted);
        admitted
    }
}

/// What an operator can do about an end that is not the client's doing alone.
fn advice(reason: CloseReason) -> Option<&'static str> {
    if reason == CloseReason::ProxyUntrusted {
        Some("a PROXY header from outside --proxy-trust; add the balancer's network there")
    } else if reason == CloseReason::ProxyMissing {
        Some(
            "no PROXY header, which --proxy-protocol required asks for; is it switched on at the \
             balancer?",
        )
    } else if reason == CloseReason::ProxyInvalid {
        Some("a PROXY header that breaks the protocol")
    } else {
        None
    }
}

/// One line per request. Probes come every few seconds from every node of a balancer, so they are
/// for those who look closely.
fn access_line(access: &Access) {
    let level = if access.is_probe { Level::Debug } else { Level::Info };
    log!(
        target: TARGET,
        level,
        "{} \"{}\" {} {} \"{}\"",
        Shown(access.client),
        shown(access.line.as_bytes()),
        access.status,
        access.body_bytes,
        shown(&access.agent),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outside_value_cannot_leave_its_line() {
        let long = [b'x'; 1000];
        assert_eq!(shown(b"a\r\nb\"\x1b[1m").to_string(), "a\\r\\nb\\\"\\x1b[1m");
        assert_eq!(shown(&long).to_string().len(), SHOWN_BYTES_MAX);
        assert_eq!(shown_text("h\u{e9}\n").to_string(), "h\u{e9}\\n");
        assert_eq!(shown_text(&"\u{20ac}".repeat(200)).to_string().len(), 255);
    }

    #[test]
    fn warnings_of_a_kind_are_limited_and_counted() {
        let mut report = Report::default();
        let at = |ms| Now { mono: Instant::from_millis(ms), unix_s: 0 };
        let admitted = (0..100).filter(|_| report.admits(at(1), Kind::Proxy)).count();
        assert_eq!(admitted, WARNINGS_MAX as usize);
        assert_eq!(report.windows[Kind::Proxy as usize].suppressed, 95);
        assert!(report.admits(at(1), Kind::Lapped), "another kind has its own");
        assert!(report.admits(at(10_001), Kind::Proxy));
    }
}
