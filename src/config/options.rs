//! The table of options, the one place where an option's name, default, meaning, kind and bounds
//! are written.
//!
//! The command line that clap reads, the `ELBOW_…` variables, `--help`, what `elbow check` prints
//! and the table in docs/CONFIGURATION.md are made from it, and so are the types that hold the
//! values; `row.rs` says how. A value is used in `settled.rs`, and the compiler warns if it is not.
//!
//! The surprise: the name of a field is the name of its flag, with dashes for underscores. Whoever
//! looks for `--ping-interval` in the source finds `ping_interval`.

use core::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::IpNet;
use log::LevelFilter;

use super::failure::Failure;
use super::kind::{IfGiven, List, NoneIfZero, OrOff};
use super::listen::{Address, FileMode, Listen};
use super::machine::Machine;
use super::option::{Opt, dashed, flag_name};
use super::redis::{Prefix, RedisUrl, Url};
use super::row::{Found, Row, Shown, Sources, rows};
use super::value::{
    Count, EVENT_BYTES_MAX, EventName, FileName, Folder, GIB, HostName, KIB, KeyFile, KeyOf,
    Length, MIB, Network, Often, OwnEvent, PageOrigin, Party, ServedPath, Size, Steadily,
};
use super::words::{
    ANONYMOUS, BALANCERS, IO_URING_MODES, IoUring, LOG_LEVELS, Lb, PROXY_MODES, SWITCH,
};
use crate::keys::KEYS_MAX;
use crate::limits::{
    CONNECTIONS_ADMIN, CONNECTIONS_DEFAULT_MAX, ESCAPED_BYTES_MAX, History, Limits,
    RECORD_EXTRA_BYTES_MAX,
};
use crate::rate::Rate;
use crate::settings::{Anonymous, ProxyMode};
use crate::time::Duration;
use crate::wire::base_path::BasePath;
use crate::wire::host::Host;
use crate::wire::origin::Origin;

/// Most addresses that `--listen` takes; each holds one of the reserved descriptors.
const LISTENERS_MAX: usize = 8;

/// The longest time that any option takes. Interval and timeout together are milliseconds in 32
/// bits for the kernel (`TCP_USER_TIMEOUT`).
const LENGTH_MAX: Duration = Duration::from_secs(3600);

/// Less than 10 ms is within what a busy scheduler delays anybody.
const PING_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(10)..=LENGTH_MAX;

/// Beyond what any machine's `fs.nr_open` allows; the end keeps the sums of the ceiling small.
const CONNECTIONS_BOUNDS: RangeInclusive<usize> = 1..=10_000_000;

/// The largest message is a quarter of the largest feed.
pub(super) const MESSAGE_BOUNDS: RangeInclusive<u64> = 1..=256 * MIB;

/// One ring; the largest fits into any address space.
pub(super) const FEED_BOUNDS: RangeInclusive<u64> = 4 * KIB..=GIB;

/// Whether the memory holds the feeds is another question, asked in `contradictions.rs`.
pub(super) const MEMORY_BOUNDS: RangeInclusive<u64> = 16 * KIB..=1024 * GIB;

/// More than the index of the largest feed has room for are not kept anyway.
const HISTORY_BOUNDS: RangeInclusive<usize> = 1..=16_777_216;

/// The longest is a day: what is older is an archive, for which a ring of memory is the wrong
/// place.
const AGE_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(86_400);

/// The longest is a week: until then a balancer or a release has parted everybody anyway.
const LIFETIME_BOUNDS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);

/// Below 4 KiB the kernel's own minimum would hold instead of ours.
const BUFFER_BOUNDS: RangeInclusive<u64> = 4 * KIB..=64 * MIB;

const _: () = {
    assert!(*CONNECTIONS_BOUNDS.end() as u64 >= CONNECTIONS_DEFAULT_MAX);
    assert!(*BUFFER_BOUNDS.end() <= u32::MAX as u64);
    assert!(LENGTH_MAX.as_millis() * 2 <= u32::MAX as u64);
    // A greeting fits into the smallest feed.
    let greeting_bytes_max = EVENT_BYTES_MAX * ESCAPED_BYTES_MAX + 4 + RECORD_EXTRA_BYTES_MAX;
    assert!(greeting_bytes_max as u64 <= Limits::record_bytes_max(*FEED_BOUNDS.start()));
};

/// Where a balancer's connections come from: loopback, RFC 1918, the shared 100.64/10, link-local
/// and fc00::/7; that is, whatever the internet does not route.
const TRUSTED: &str = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,\
                       169.254.0.0/16,fe80::/10,fc00::/7";

rows! {
    listen: Vec<Listen> {
        kind: List::of_at_most(LISTENERS_MAX, Address),
        heading: "Listening",
        value: "ADDR",
        repeatable: true,
        default: "0.0.0.0:3000",
        help: "Where clients, or the balancer, connect: an IP address or localhost, and a port; \
               *:3000 or :3000 for every address of IPv6 and IPv4; or unix:PATH (a comma would \
               part two addresses; abstract sockets are not offered). Port 0 picks a free one and \
               logs it. [::] takes IPv4 too, unless an address of IPv4 has the same port. Who \
               connects to a Unix socket is trusted as if by --proxy-trust. Sockets handed over by \
               systemd (LISTEN_FDS) are used instead; those named health and admin stand in the \
               place of the other two listeners.",
    }

    unix_mode: u32 {
        kind: FileMode,
        heading: "Listening",
        value: "MODE",
        default: "0660",
        help: "Permissions of the files of unix:PATH, in octal digits: who may write to the file \
               may connect. A file that a server has left behind is replaced, one that somebody \
               listens on is an error, and at the end the file is removed.",
    }

    health_listen: Option<Listen> {
        kind: IfGiven(Address),
        heading: "Listening",
        value: "ADDR",
        default_words: "none",
        help: "A separate plain listener that answers health probes only, with or without a PROXY \
               header: the arrangement that works on every balancer.",
    }

    admin_listen: Option<Listen> {
        kind: IfGiven(Address),
        heading: "Administration",
        value: "ADDR",
        default_words: "none",
        help: "A listener of its own for backends and operators: POST /publish/CHANNEL, POST \
               /disconnect, GET /metrics, GET /status, and health probes. A loopback address or \
               unix:PATH, whose file only its owner may use (0600); any other address needs a \
               token. It has places of its own. Pages of other origins are refused.",
    }

    admin_token_file: Option<PathBuf> {
        kind: IfGiven(FileName),
        heading: "Administration",
        value: "PATH",
        default_words: "none",
        help: "The file with the token that requests to --admin-listen must show as \
               Authorization: Bearer. It has at least 16 bytes; one line feed at its end is \
               dropped. Without the file the variable ELBOW_ADMIN_TOKEN, or else systemd's \
               credential admin-token, may hold it. No flag takes the token itself, since \
               others can see command lines. Health probes need none.",
    }

    lb: Lb {
        kind: BALANCERS,
        heading: "Behind a load balancer",
        value: "none|clb|nlb|alb",
        default: "none",
        help: "What stands in front, as a preset. clb and nlb: PROXY protocol required. alb: \
               client addresses come from X-Forwarded-For of trusted peers. A ping interval of \
               half of its idle timeout or more is refused (clb and alb 60s, nlb 350s).",
    }

    proxy_protocol: ProxyMode {
        kind: PROXY_MODES,
        heading: "Behind a load balancer",
        value: "off|optional|required",
        default: "off",
        help: "PROXY protocol v1 and v2 on the public listener. With optional anyone may speak \
               without a header, which is the less safe choice.",
    }

    proxy_trust: Vec<IpNet> {
        kind: List::of(Network),
        heading: "Behind a load balancer",
        value: "CIDR,…",
        repeatable: true,
        default: TRUSTED,
        help: "Peers whose PROXY header or X-Forwarded-For is believed. A header from anyone else \
               closes the connection.",
    }

    www: Option<PathBuf> {
        kind: IfGiven(Folder),
        heading: "Serving",
        value: "DIR",
        default_words: "built in",
        help: "Files to serve instead of the built-in page. They are read once at start and on \
               SIGHUP and served from memory.",
    }

    base_path: BasePath {
        kind: ServedPath,
        heading: "Serving",
        value: "PATH",
        default: "/",
        help: "Everything lies below this path, such as /chat: the page, /chat/ws, \
               /chat/socket.io/. For balancers that pass the path of a request on as it is. Health \
               probes are answered with and without it.",
    }

    host: Option<Vec<Host>> {
        kind: IfGiven(List::of(HostName)),
        heading: "Serving",
        value: "NAME,…",
        repeatable: true,
        default_words: "any",
        help: "Names that clients reach this server by, such as chat.example.org: a request that \
               names another Host is answered with 421, against DNS rebinding. Ports are ignored; \
               health probes may name anything.",
    }

    allow_origin: Option<Vec<(String, Origin)>> {
        kind: IfGiven(List::of(PageOrigin)),
        heading: "Serving",
        value: "ORIGIN,…",
        repeatable: true,
        default_words: "same origin",
        help: "Pages of these origins may connect too, such as https://example.org or file://. \
               https://*.example.org means all names below example.org; a * alone allows any. \
               Clients that send no Origin are allowed, but not what a browser fetches for \
               another site's page without one: images, scripts, links.",
    }

    events: Vec<String> {
        kind: List::of(EventName),
        heading: "Serving",
        value: "NAME,…",
        repeatable: true,
        default: "chat message",
        help: "Socket.IO events that are relayed to everyone in the channel, the sender included. \
               A * relays all. Others are ignored.",
    }

    greeting: Option<String> {
        kind: OrOff(OwnEvent),
        heading: "Serving",
        value: "NAME",
        default: "hi",
        help: "The event, without arguments, by which the Socket.IO clients in a namespace are \
               told that somebody has entered it; none that means something to clients, such as \
               connect or error. off: they are told nothing, which spares a full \
               room that reconnects as many events as the square of its clients.",
    }

    token_key: Option<Vec<KeyFile>> {
        kind: IfGiven(List::of_at_most(KEYS_MAX, KeyOf)),
        heading: "Who may come in",
        value: "ALG:FILE",
        repeatable: true,
        default_words: "none",
        help: "A key that tokens (JWT) are checked with: hs256:FILE, a secret of at least 32 \
               bytes; es256:FILE and ed25519:FILE, a public key in PEM; jwks:FILE, a set of keys, \
               the only ones with names (kid). Files are read at start and on SIGHUP. A token \
               says until when (exp), who (sub), and which channels its bearer may join and speak \
               in (join, say).",
    }

    token_audience: Option<String> {
        kind: IfGiven(Party),
        heading: "Who may come in",
        value: "TEXT",
        default_words: "none",
        help: "What the audience (aud) of a token must name. Needed with public keys, since \
               whoever makes these tokens makes others, for other services.",
    }

    token_issuer: Option<String> {
        kind: IfGiven(Party),
        heading: "Who may come in",
        value: "TEXT",
        default_words: "none",
        help: "What the issuer (iss) of a token must be.",
    }

    anonymous: Anonymous {
        kind: ANONYMOUS,
        heading: "Who may come in",
        value: "all|join|none",
        default: "all",
        default_words: "or none with --token-key",
        help: "What those may who show no token: join every channel and speak there, join and \
               listen, or nothing. A token that is not taken is refused whatever stands here.",
    }

    history: Option<usize> {
        kind: NoneIfZero(Count(HISTORY_BOUNDS)),
        heading: "Coming back",
        value: "N",
        default: "off",
        help: "The newest messages that each channel keeps, within the bytes of one ring: for \
               those who come back with ?since=, ask with ?last=, or read events with a \
               Last-Event-ID. It costs one ring for each channel, and an index for each ring that \
               is twice as large.",
    }

    history_age: Duration {
        kind: Length(AGE_BOUNDS),
        heading: "Coming back",
        value: "DUR",
        default: "2m",
        help: "An older message is dropped. A channel without members lives on for as long as it \
               has one, and counts towards --max-channels.",
    }

    recovery: bool {
        kind: SWITCH,
        heading: "Coming back",
        value: "on|off",
        default: "off",
        help: "Connection state recovery of Socket.IO, for clients 4.6 and later: who reconnects \
               is sent what was said meanwhile. Handlers of events then see the offset as one \
               more argument. Needs --history.",
    }

    message_rate: Option<Rate> {
        kind: NoneIfZero(Often),
        heading: "Public places",
        value: "N[:BURST]",
        default: "off",
        help: "How many frames of a WebSocket, or packets of a Socket.IO client by whatever \
               transport, are taken in a second, and how many at once (N, if nothing is said). \
               Messages, joins, leaves, pings, pongs and acknowledgements count one each. Who says \
               more is not read until it may go on, and loses nothing.",
    }

    max_lifetime: Option<Duration> {
        kind: OrOff(Length(LIFETIME_BOUNDS)),
        heading: "Public places",
        value: "DUR",
        default: "off",
        help: "WebSockets, event streams and Socket.IO sessions are closed after this long, up to \
               a tenth more or less, so that they do not come back together: with 1001 going \
               away, after which clients come back.",
    }

    accept_rate: Option<Rate> {
        kind: NoneIfZero(Steadily),
        heading: "Public places",
        value: "N",
        default: "off",
        help: "How many connections of --listen are accepted in a second, and at once. Others wait \
               in the kernel's backlog. With --lb it needs --health-listen, whose probes never \
               wait.",
    }

    redis: Option<RedisUrl> {
        kind: IfGiven(Url),
        heading: "Several instances",
        value: "URL",
        default_words: "none",
        guarded: true,
        help: "The Redis (5 or newer) or Valkey that makes all instances with the same prefix one \
               room, with one order of messages for everybody: \
               redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], or unix:PATH; rediss:// in builds with \
               TLS. The password is never shown; command lines are, so it is better in a file or a \
               variable. At most 1024 --max-channels.",
    }

    redis_password_file: Option<PathBuf> {
        kind: IfGiven(FileName),
        heading: "Several instances",
        value: "PATH",
        default_words: "the variable ELBOW_REDIS_PASSWORD, or none",
        help: "The file with the password of --redis, in the place of one in the URL; one line \
               feed at its end is dropped. Read at start.",
    }

    redis_prefix: Box<str> {
        kind: Prefix,
        heading: "Several instances",
        value: "NAME",
        default: "elbow",
        help: "The name of the room that instances share: keys are {NAME}:c:CHANNEL, with the \
               braces, and expire. Give each of several rooms in one Redis its own.",
    }

    redis_ca: Option<PathBuf> {
        kind: IfGiven(FileName),
        heading: "Several instances",
        value: "FILE",
        default_words: "those that the system trusts",
        help: "The certificates (PEM) of whoever may vouch for the server of a rediss:// URL, in \
               the place of those that the system trusts.",
    }

    ping_interval: Duration {
        kind: Length(PING_BOUNDS),
        heading: "Keep-alive and closing",
        value: "DUR",
        default: "25s",
        help: "Ping a connection that has sent nothing for this long.",
    }

    ping_timeout: Duration {
        kind: Length(PING_BOUNDS),
        heading: "Keep-alive and closing",
        value: "DUR",
        default: "20s",
        help: "Close it when nothing came back this long after the ping.",
    }

    drain: Duration {
        // No time at all closes everything in one go.
        kind: Length(Duration::ZERO..=LENGTH_MAX),
        heading: "Keep-alive and closing",
        value: "DUR",
        default: "5s",
        help: "How long SIGTERM spreads the closing of connections. The process is gone at most 3s \
               later, whatever clients do; container runtimes kill after 10s.",
    }

    fit: bool {
        kind: SWITCH,
        heading: "Limits",
        default: "off",
        help: "Make the memory ceiling fit into the machine: --max-connections, --memory, \
               --send-buffer and --receive-buffer, as far as they are not given, are derived from \
               RLIMIT_NOFILE and from all but a sixteenth of its control group's memory, or three \
               quarters of a machine's that others share.",
    }

    max_connections: usize {
        kind: Count(CONNECTIONS_BOUNDS),
        heading: "Limits",
        value: "N",
        default: "65536",
        default_words: "or what RLIMIT_NOFILE has room for if that is less",
        help: "WebSocket and Socket.IO sessions; one more is answered with 503. The soft limit on \
               descriptors is raised to the hard one at start.",
    }

    max_connections_per_ip: Option<Option<usize>> {
        kind: IfGiven(OrOff(Count(CONNECTIONS_BOUNDS))),
        heading: "Limits",
        value: "N",
        default_words: "a quarter of --max-connections, but for proxies",
        help: "Sessions of one client, by its real address (IPv6: by its /64); one more is \
               answered with 503. off: no such limit. Proxies are peers in --proxy-trust that name \
               no other address: always on this machine, elsewhere with --lb or --proxy-protocol.",
    }

    max_channels: usize {
        // Any stranger can name a channel, and each has a place in a table.
        kind: Count(1..=65_536),
        heading: "Limits",
        value: "N",
        default: "32",
        help: "Channels that have members at one time, or keep something with --history; one more \
               is answered with 503. One client address, unless it is a proxy's, brings a quarter \
               of them into being at most; default always has its place.",
    }

    max_message: u64 {
        kind: Size(MESSAGE_BOUNDS),
        heading: "Limits",
        value: "SIZE",
        default: "64KiB",
        help: "The largest message; a larger one closes its sender with 1009. So does a text that \
               is longer than half of --feed once it is escaped for Socket.IO, whoever is there to \
               read; elbow check says whether one can be.",
    }

    feed: u64 {
        kind: Size(FEED_BOUNDS),
        heading: "Limits",
        value: "SIZE",
        default: "1MiB",
        default_words: "or four times --max-message if that is more",
        help: "How far a slow reader may lag: the ring of a channel in each dialect, rounded up to \
               a power of two. Refused if under four times --max-message.",
    }

    memory: u64 {
        kind: Size(MEMORY_BOUNDS),
        heading: "Limits",
        value: "SIZE",
        default: "64MiB",
        default_words: "or twice what the channel default needs if that is more",
        help: "Everything that varies with load: rings, partial messages, heads, bodies, sessions. \
               The rings of the channel default are set aside in it. When the rest is used up, \
               newcomers are refused; channels of one client address take a quarter of it at most.",
    }

    send_buffer: u64 {
        kind: Size(BUFFER_BOUNDS),
        heading: "Limits",
        value: "SIZE",
        default: "64KiB",
        help: "The kernel's buffer for what a connection sends; part of the memory ceiling.",
    }

    receive_buffer: u64 {
        kind: Size(BUFFER_BOUNDS),
        heading: "Limits",
        value: "SIZE",
        default: "32KiB",
        help: "The kernel's buffer for what a connection receives; part of the memory ceiling.",
    }

    io_uring: IoUring {
        kind: IO_URING_MODES,
        heading: "Kernel",
        value: "auto|off|require",
        default: "auto",
        help: "Send to many connections with one system call, through io_uring. auto: where the \
               kernel and its policy allow it, else a call for each; the log says which. require: \
               do not start without it.",
    }

    log_level: LevelFilter {
        kind: LOG_LEVELS,
        heading: "Logging",
        value: "LEVEL",
        default: "info",
        help: "error, warn, info, debug or trace. Messages themselves are logged at debug.",
    }
}

impl Asked {
    /// What each channel keeps, if anything.
    pub(super) fn history(&self) -> Option<History> {
        kept(self.history.value, self.history_age.value)
    }

    /// How many connections the admin listener has places for.
    pub(super) fn admin_connections(&self, machine: &Machine) -> usize {
        admin_connections(self.admin_listen.value.as_ref(), machine)
    }
}

/// How many connections the admin listener has places for: none where there is no such listener,
/// neither asked for nor handed over.
pub(super) fn admin_connections(listen: Option<&Listen>, machine: &Machine) -> usize {
    if listen.is_some() || machine.activated.admin { CONNECTIONS_ADMIN } else { 0 }
}

/// What `--history` and `--history-age` come to together.
pub(super) fn kept(messages: Option<usize>, age: Duration) -> Option<History> {
    messages.map(|messages| History { messages_max: messages as u64, age })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_do_not_come_back() {
        let mut headings: Vec<&str> = OPTIONS.iter().map(|option| option.heading).collect();
        headings.dedup();
        let shown = headings.len();
        headings.sort_unstable();
        headings.dedup();
        assert_eq!(headings.len(), shown);
    }
}
