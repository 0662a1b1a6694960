//! Log lines for events: what is said, at which level, and how often.
//!
//! Whatever came from outside is escaped and cut, so that a line is a line; `log.rs` does so once
//! more for all lines. Warnings of one kind are limited, since what causes them may come ten
//! thousand times a second. The first warning after a limited time says how many were left out.

use core::fmt::{self, Display};
use core::net::SocketAddr;
use std::io;

use log::{Level, debug, error, info, log, warn};

use super::files::Folder;
use super::net::{Listeners, Stream};
use crate::config::{Config, KeyFile, Machine};
use crate::hub::backplane::{self, Line};
use crate::keys::Keys;
use crate::metrics::Histogram;
use crate::reason::CloseReason;
use crate::server::{Access, Denial, Event, Listener, Server};
use crate::settings::UNIX_PEER;
use crate::text::{Composed, shown, shown_text};
use crate::time::{Duration, Instant, Now};
use crate::wire::host::Host;
use crate::wire::origin::Origin;
use crate::wire::token::Fault;

/// The most warnings of one kind that are let through in a window.
const WARNINGS_MAX: u32 = 5;
/// The length of a window, from its first warning on.
const WINDOW: Duration = Duration::from_secs(10);

const TARGET: &str = "elbow";

/// Kinds of warnings, each limited by itself.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Accept,
    Lapped,
    Lost,
    Refused,
    Foreign,
    Misnamed,
    Ruled,
    Proxy,
    Memory,
    Endpoint,
    Dropped,
    Connected,
    Away,
    Back,
    Redis,
}

impl Kind {
    /// How many kinds there are.
    const ALL: usize = Kind::Redis as usize + 1;
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began: Option<Instant>,
    said: u32,
    suppressed: u64,
}

/// Turns events into log lines.
#[derive(Debug)]
pub(super) struct Report {
    /// One for each kind, and behind these one for each fault of a token.
    windows: [Window; Kind::ALL + Fault::ALL.len()],
    /// How many events had no room in the server's queue, and were not told of yet.
    dropped: u64,
}

impl Default for Report {
    /// Nothing was said yet.
    fn default() -> Report {
        Report { windows: [Window::default(); _], dropped: 0 }
    }
}

/// An address as the log has it: without the port where none is known, and `unix:` for whoever came
/// through a Unix socket.
struct Shown(SocketAddr);

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.port() {
            _ if self.0 == UNIX_PEER => f.write_str("unix:"),
            0 => self.0.ip().fmt(f),
            _ => self.0.fmt(f),
        }
    }
}

/// What is said of a page's origin that is not listed, empty if it is none.
struct Listing<'a>(&'a str);

impl Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listing(text) = *self;
        // A flag is copied into a shell: what that would take for more than text is not offered.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]".contains(&byte);
        // Brackets are a pattern of file names there.
        let quote = if text.contains('[') { "'" } else { "" };
        match Origin::parse(text) {
            Ok(origin) if text != "*" && text.bytes().all(is_plain) => write!(
                f,
                "pages of {origin} may not connect, \
                 --allow-origin {quote}{origin}{quote} would let them"
            ),
            Ok(_) | Err(_) => write!(
                f,
                "its Origin \"{}\" is no page's, only --allow-origin '*' would let it in",
                shown_text(text)
            ),
        }
    }
}

/// What is said of a host that the server does not go by.
struct Naming<'a>(&'a str);

impl Display for Naming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Naming(text) = *self;
        match Host::parse(text) {
            // What begins like a flag would be taken for one.
            Ok(host) if !text.starts_with('-') => {
                write!(f, "--host does not name {host}, --host {host} would let it in")
            }
            Ok(_) | Err(_) => write!(f, "--host does not name \"{}\"", shown_text(text)),
        }
    }
}

/// How long something took, as part of a line.
struct Times<'a>(&'a Histogram);

impl Display for Times<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Times(times) = self;
        let [p50, p99, p999] = [500, 990, 999].map(|parts| times.quantile_us(parts));
        let (count, max) = (times.count(), times.max_us());
        write!(f, "{count}, µs: p50 {p50}, p99 {p99}, p99.9 {p999}, max {max}")
    }
}

impl Report {
    /// Logs what an operator wants to know once, at start.
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
            info!(target: TARGET, "{}", Composed(&line));
        }
        if config.www.is_some() {
            self.reloaded(folder, None);
        }
        for warning in config.warnings(machine) {
            warn!(target: TARGET, "{}", Composed(&warning));
        }
        for (kind, address) in listeners.addresses() {
            match kind {
                Listener::Public => info!(target: TARGET, "listening on {address}"),
                Listener::Health => info!(target: TARGET, "health probes on {address}"),
                Listener::Admin => {
                    let token = if config.admin_token.is_some() { "(set)" } else { "none" };
                    info!(target: TARGET, "admin requests on {address}, token: {token}");
                }
            }
        }
    }

    /// Logs how portions are sent.
    pub(super) fn sender(&self, batched: bool) {
        match batched {
            true => info!(target: TARGET, "sends: many in one call, through io_uring"),
            false => info!(target: TARGET, "sends: a call for each"),
        }
    }

    /// Logs that `--www` was read. `before` is how many bytes the files hold that were served until
    /// now, if any were.
    pub(super) fn reloaded(&mut self, folder: &Folder, before: Option<u64>) {
        let Folder { files, strays, stray } = folder;
        let (count, bytes) = (files.files(), files.bytes());
        match before {
            None => info!(
                target: TARGET,
                "--www: {count} files, {bytes} bytes on top of the ceiling; a reload's come on top \
                 of that until these are gone",
            ),
            Some(before) => info!(
                target: TARGET,
                "--www: {count} files, {bytes} bytes on top of the ceiling, and {before} of the \
                 files of before until nobody is sent them any more",
            ),
        }
        if let Some(stray) = stray {
            let stray = stray.display().to_string();
            let stray = shown_text(&stray);
            warn!(target: TARGET, "--www: {strays} links that leave it are not served: {stray} …");
        }
    }

    /// Logs that a reload has to wait, for `limit` at most.
    pub(super) fn reload_waits(&self, limit: Duration) {
        info!(
            target: TARGET,
            "SIGHUP: files from before the last reload are still being sent: --www is read when \
             they are gone, or after {limit}, when whoever gets them is cut",
        );
    }

    /// Logs that a reload has failed, and why.
    pub(super) fn reload_failed(&self, error: &io::Error) {
        let error = error.to_string();
        let error = Composed(&error);
        error!(target: TARGET, "SIGHUP: --www: {error}; the files of before stay");
    }

    /// Logs that the files of keys were read, and how many keys of each cannot be used.
    pub(super) fn keys(&self, files: &[KeyFile], keys: &Keys, skipped: &[usize]) {
        info!(target: TARGET, "--token-key: {} keys", keys.len());
        for (file, count) in files.iter().zip(skipped).filter(|(_, count)| **count > 0) {
            let file = file.to_string();
            let file = Composed(&file);
            warn!(target: TARGET, "--token-key {file}: {count} keys of other kinds are not used");
        }
    }

    /// Logs that the files of keys could not be read again, and why.
    pub(super) fn keys_failed(&self, error: &str) {
        error!(target: TARGET, "SIGHUP: {}; the keys of before stay", Composed(error));
    }

    /// Logs that a drain begins.
    pub(super) fn draining(&mut self, connections: usize, limit: Duration) {
        info!(target: TARGET, "draining {connections} connections over {limit}");
    }

    /// Logs that the process ends, and what it has done.
    pub(super) fn end(&mut self, why: &str, server: &Server<Stream>) {
        let metrics = server.metrics();
        info!(
            target: TARGET,
            "{why}: {} connections, {} sessions, {} requests, {} messages in, {} out; {} left",
            metrics.connections_accepted,
            metrics.sessions_opened,
            metrics.requests.total(),
            metrics.messages_published(),
            metrics.messages_delivered,
            server.connections(),
        );
        if self.dropped > 0 {
            warn!(target: TARGET, "{} log lines were dropped: too many in one turn", self.dropped);
        }
        info!(target: TARGET, "turns: {}", Times(&metrics.turns));
        info!(target: TARGET, "from read to sent to everybody: {}", Times(&metrics.fan_outs));
    }

    /// Logs that accepting failed because the system lacks something.
    pub(super) fn accept_failed(&mut self, now: Now, error: &io::Error) {
        self.warn(now, Kind::Accept, format_args!("accepting pauses: {error}"));
    }

    /// Logs that a connection to Redis stands.
    pub(super) fn line_connected(&mut self, now: Now, line: Line, whom: &str) {
        let (line, whom) = (line_name(line), shown_text(whom));
        let line = format_args!("Redis: {line} connected to {whom}");
        self.say(now, Level::Info, Kind::Connected, line);
    }

    /// Logs an event of the server.
    pub(super) fn event(&mut self, now: Now, event: &Event) {
        match *event {
            Event::Opened { client, ref channel, ref subject } if subject.is_empty() => {
                info!(target: TARGET, "open {} channel {channel}", Shown(client));
            }
            Event::Opened { client, ref channel, ref subject } => {
                let (client, subject) = (Shown(client), shown_text(subject));
                info!(target: TARGET, "open {client} channel {channel} as {subject}");
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
            Event::Lost { ref channel } => {
                let line =
                    format_args!("messages of channel {channel} were lost; readers are told");
                self.warn(now, Kind::Lost, line);
            }
            Event::Request(ref access) => access_line(access),
            Event::Ended { client, reason } => self.ended(now, client, reason),
            Event::Endpoint { client, ref vpc_endpoint } => {
                if self.admits(now, Kind::Endpoint) {
                    let (client, endpoint) = (Shown(client), shown_text(vpc_endpoint));
                    info!(target: TARGET, "{client} came through {endpoint}");
                }
            }
            Event::Message { client, ref text } => {
                debug!(target: TARGET, "message: {} ({})", shown_text(text), Shown(client));
            }
            Event::Refused { client, why } => {
                let client = Shown(client);
                self.warn(now, Kind::Refused, format_args!("{client} was refused: {why}"));
            }
            Event::Denied { client, ref denial } => self.denied(now, client, denial),
            Event::OrderAway => self.order_away(now),
            Event::OrderBack { away } => self.order_back(now, away),
            Event::OrderTrouble(ref report) => self.order_trouble(now, report),
            Event::Dropped { events } => self.dropped(now, events),
            Event::Drained => {}
        }
    }

    /// Logs that Redis cannot be used.
    fn order_away(&mut self, now: Now) {
        let line = format_args!("Redis: away: what is said waits, and readers stay");
        self.warn(now, Kind::Away, line);
    }

    /// Logs that Redis can be used, after so long.
    fn order_back(&mut self, now: Now, away: Duration) {
        let ms = away.as_millis();
        let line = format_args!("Redis: everything works, after {}.{:03}s", ms / 1000, ms % 1000);
        self.say(now, Level::Info, Kind::Back, line);
    }

    /// Logs what is wrong with Redis, or with what stands in it.
    fn order_trouble(&mut self, now: Now, report: &backplane::Report) {
        match report {
            backplane::Report::Trouble(line, trouble, words) => {
                let (line, words) = (line_name(*line), Quoted(words));
                let line = format_args!("Redis: the {line}'s server {trouble}{words}");
                self.warn(now, Kind::Redis, line);
            }
            backplane::Report::NoExpiry(trouble, words) => {
                let words = Quoted(words);
                let line = format_args!(
                    "Redis: keys cannot be given a time to live, so that they stay for ever: it \
                     {trouble}{words}"
                );
                self.warn(now, Kind::Redis, line);
            }
            backplane::Report::Newer(version) => {
                let line = format_args!(
                    "Redis: messages of version {version} are skipped: a newer elbow has the same \
                     --redis-prefix"
                );
                self.warn(now, Kind::Redis, line);
            }
        }
    }

    /// Logs which rule has refused a request for a WebSocket or a session, and which flag would let
    /// it in. What no flag lets in is the client's doing, and no warning.
    fn denied(&mut self, now: Now, client: SocketAddr, denial: &Denial) {
        let client = Shown(client);
        match denial {
            Denial::Origin(origin) => {
                let advice = Listing(origin);
                self.warn(now, Kind::Foreign, format_args!("{client} was refused: {advice}"));
            }
            Denial::Host(host) => {
                let advice = Naming(host);
                self.warn(now, Kind::Misnamed, format_args!("{client} was refused: {advice}"));
            }
            Denial::Origins => self.ruled(now, &client, "it names several origins"),
            Denial::NoOrigin => {
                let rule = "another site's page had it fetched without an Origin, as images, \
                            links and scripts are";
                self.ruled(now, &client, rule);
            }
            Denial::Token(fault) => self.untaken(now, &client, *fault),
            Denial::Rule(rule) => self.ruled(now, &client, rule),
        }
    }

    /// Logs why a token is not taken. Each reason is limited by itself, so that a flood of the one
    /// does not hide the other.
    fn untaken(&mut self, now: Now, client: &Shown, fault: Fault) {
        let line = format_args!("{client} was refused: token: {fault}");
        self.say_within(now, Level::Info, Kind::ALL + fault as usize, line);
    }

    fn ruled(&mut self, now: Now, client: &Shown, rule: &str) {
        self.say(now, Level::Info, Kind::Ruled, format_args!("{client} was refused: {rule}"));
    }

    /// Logs that `events` events had no room in the server's queue. If the line is not let through,
    /// the next such line tells their number too, or the last lines of the process.
    fn dropped(&mut self, now: Now, events: u64) {
        self.dropped += events;
        if self.admits(now, Kind::Dropped) {
            let lines = core::mem::take(&mut self.dropped);
            warn!(target: TARGET, "{lines} log lines were dropped: too many in one turn");
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
        self.say(now, Level::Warn, kind, line);
    }

    fn say(&mut self, now: Now, level: Level, kind: Kind, line: fmt::Arguments<'_>) {
        self.say_within(now, level, kind as usize, line);
    }

    fn say_within(&mut self, now: Now, level: Level, window: usize, line: fmt::Arguments<'_>) {
        let suppressed = self.windows[window].suppressed;
        if !self.admits_within(now, window) {
            return;
        }
        if self.windows[window].suppressed < suppressed {
            let more = format_args!("{suppressed} more of this kind were not logged");
            log!(target: TARGET, level, "{line} ({more})");
        } else {
            log!(target: TARGET, level, "{line}");
        }
    }

    /// Whether one more line of this kind is let through. A new window begins with no line left
    /// out; the line that opens it says how many the last window left out.
    fn admits(&mut self, now: Now, kind: Kind) -> bool {
        self.admits_within(now, kind as usize)
    }

    fn admits_within(&mut self, now: Now, window: usize) -> bool {
        let window = &mut self.windows[window];
        if window.began.is_none_or(|began| now.mono.since(began) >= WINDOW) {
            *window = Window { began: Some(now.mono), said: 0, suppressed: 0 };
        }
        window.said += 1;
        let admitted = window.said <= WARNINGS_MAX;
        window.suppressed += u64::from(!admitted);
        admitted
    }
}

/// What Redis or the system has said, behind what it means; nothing if neither has said anything.
struct Quoted<'a>(&'a backplane::Words);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_bytes() {
            [] => Ok(()),
            words => write!(f, ": {}", shown(words)),
        }
    }
}

/// A connection to Redis as the log names it.
fn line_name(line: Line) -> &'static str {
    match line {
        Line::Writer => "writer",
        Line::Reader => "reader",
    }
}

/// What an operator can do about a connection's end that is not the client's doing alone.
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

/// Logs a request. Probes come every few seconds from every node of a balancer, so they are logged
/// for those who look closely, at debug.
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
    fn a_refusal_names_the_flag_that_would_let_it_in() {
        let long = "a".repeat(300);
        for (origin, line) in [
            (
                "https://A.example:443/",
                "pages of https://a.example may not connect, \
              --allow-origin https://a.example would let them",
            ),
            ("null", "pages of null may not connect, --allow-origin null would let them"),
            (
                "http://[::1]:81",
                "pages of http://[::1]:81 may not connect, \
              --allow-origin 'http://[::1]:81' would let them",
            ),
            ("", "its Origin \"\" is no page's, only --allow-origin '*' would let it in"),
            ("*", "its Origin \"*\" is no page's, only --allow-origin '*' would let it in"),
            (
                "a\n\"",
                "its Origin \"a\\n\\\"\" is no page's, only --allow-origin '*' would let it in",
            ),
            // Nobody is to copy that into a shell.
            (
                "http://a$(b)",
                "its Origin \"http://a$(b)\" is no page's, \
              only --allow-origin '*' would let it in",
            ),
        ] {
            assert_eq!(Listing(origin).to_string(), line);
        }
        assert!(Listing(&long).to_string().len() < 350);
        for (host, line) in [
            (
                "Chat.example:81",
                "--host does not name chat.example, --host chat.example would let it in",
            ),
            ("", "--host does not name \"\""),
            ("a b", "--host does not name \"a b\""),
        ] {
            assert_eq!(Naming(host).to_string(), line);
        }
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
