//! What systemd is told of the process: ready, reloading, stopping, alive, and a line of status.
//!
//! sd_notify(3): datagrams to the socket that `NOTIFY_SOCKET` names, of lines `KEY=VALUE`. Without
//! the variable nothing is said, and nobody is waited for. The watchdog is fed by turns of the loop
//! and nothing else, at half of its interval, so a loop that hangs is found; an idle loop wakes for
//! that. The status says how many connections there are and how many messages a second are said.
//!
//! ```text
//!   start ─► READY ─┬─► SIGHUP: RELOADING ─► READY        once the files were read
//!                   ├─► WATCHDOG                          every half of WATCHDOG_USEC
//!                   ├─► STATUS                            a second after something has changed
//!                   └─► SIGTERM: STOPPING
//! ```
//!
//! What it costs: two comparisons in a turn, and at most one system call a second.
//!
//! The surprise: an idle server says no status and does not wake for one. A change begins a second
//! of counting, at whose end the status is said; a second in which nothing was said is the last.

use core::fmt;
use std::io::Write;

use socket2::{Domain, SockAddr, Socket, Type};

use super::clock;
use crate::config;
use crate::limits::DRAIN_CUT_LIMIT;
use crate::time::{Duration, Instant, Now};

/// What tells whom to notify, and how often.
pub(super) const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// How long a message about the state may wait for systemd to take it. Those about the moment do
/// not wait.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(100);

/// How long is counted for one line of status.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// What is asked for beside the drain until systemd ends the process.
const STOP_SPARE: Duration = Duration::from_secs(5);

/// The most bytes of a message.
const MESSAGE_BYTES_MAX: usize = 256;

/// What the status tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Load {
    /// Connections, on all listeners.
    pub(super) connections: usize,
    /// Messages that were published since the start.
    pub(super) messages: u64,
}

/// Tells systemd of the process, if it wants to be told.
#[derive(Debug)]
pub(super) struct Notifier {
    whom: Option<(Socket, SockAddr)>,
    /// How often the watchdog is fed, and when it is next.
    watchdog: Option<(Duration, Instant)>,
    /// What was true when the status was said last.
    told: Load,
    /// Since when is counted for the next status; `None` while nothing changes.
    counting: Option<Instant>,
    is_reloading: bool,
    is_stopping: bool,
}

impl Notifier {
    /// Whoever the environment names, `now`. Nobody, if that is not a name of a Unix socket.
    pub(super) fn start(now: Now) -> Notifier {
        let variable = config::environment;
        Notifier::new(variable, std::process::id(), now)
    }

    fn new(variable: impl Fn(&str) -> Option<String>, pid: u32, now: Now) -> Notifier {
        let whom = variable("NOTIFY_SOCKET").and_then(|name| whom(&name));
        let interval = whom.is_some().then(|| half_interval(&variable, pid)).flatten();
        Notifier {
            whom,
            watchdog: interval.map(|interval| (interval, now.mono)),
            told: Load::default(),
            counting: None,
            is_reloading: false,
            is_stopping: false,
        }
    }

    /// Tells that listeners are bound and requests are answered.
    pub(super) fn ready(&self) {
        let load = Load::default();
        let status = Status { load, messages_per_s: 0, is_stopping: false };
        self.tell_state(format_args!("READY=1\nSTATUS={status}"));
    }

    /// Tells that files are read again.
    pub(super) fn reloading(&mut self) {
        self.is_reloading = true;
        let now_us = clock::monotonic_us();
        self.tell_state(format_args!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    }

    /// Tells that the reload is over, if one was told of.
    pub(super) fn reloaded(&mut self) {
        if core::mem::take(&mut self.is_reloading) {
            self.tell_state(format_args!("READY=1"));
        }
    }

    /// Tells that the process ends after a drain of at most `drain`, and asks for as much time.
    pub(super) fn stopping(&mut self, drain: Duration) {
        self.is_stopping = true;
        let needed_ms = drain.plus(DRAIN_CUT_LIMIT).plus(STOP_SPARE).as_millis();
        self.tell_state(format_args!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", needed_ms * 1000));
    }

    /// When [`Notifier::go_on`] has something to say next, although nothing happens.
    pub(super) fn next(&self) -> Option<Instant> {
        let status = self.counting.map(|since| since.plus(STATUS_INTERVAL));
        let watchdog = self.watchdog.map(|(_, next)| next);
        status.into_iter().chain(watchdog).min()
    }

    /// Whether anybody is told anything, so that it is worth asking for the load.
    pub(super) fn is_on(&self) -> bool {
        self.whom.is_some()
    }

    /// Says what is due now: that the process is alive, what it does.
    pub(super) fn go_on(&mut self, now: Now, load: Load) {
        if let Some((interval, next)) = &mut self.watchdog
            && *next <= now.mono
        {
            *next = now.mono.plus(*interval);
            self.tell_moment(format_args!("WATCHDOG=1"));
        }
        match self.counting {
            None if load != self.told => self.counting = Some(now.mono),
            Some(since) if now.mono.since(since) >= STATUS_INTERVAL => {
                let (messages, ms) = (load.messages - self.told.messages, now.mono.since(since));
                let messages_per_s = messages * 1000 / ms.as_millis().max(1);
                let status = Status { load, messages_per_s, is_stopping: self.is_stopping };
                self.tell_moment(format_args!("STATUS={status}"));
                self.counting = (load != self.told).then_some(now.mono);
                self.told = load;
            }
            None | Some(_) => {}
        }
    }

    /// Tells what systemd waits for, or would act on.
    fn tell_state(&self, message: fmt::Arguments<'_>) {
        self.tell(message, 0);
    }

    /// Tells what will be told again.
    fn tell_moment(&self, message: fmt::Arguments<'_>) {
        self.tell(message, libc::MSG_DONTWAIT);
    }

    fn tell(&self, message: fmt::Arguments<'_>, flags: libc::c_int) {
        let Some((socket, whom)) = &self.whom else { return };
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        let mut rest = &mut bytes[..];
        // There is room: messages are our own words and some numbers.
        let _ = rest.write_fmt(message);
        let length = MESSAGE_BYTES_MAX - rest.len();
        // A manager that is gone or does not listen is no reason to stop serving (sd_notify(3)).
        let _ = socket.send_to_with_flags(&bytes[..length], whom, flags | libc::MSG_NOSIGNAL);
    }
}

/// The line that `systemctl status` shows.
struct Status {
    load: Load,
    messages_per_s: u64,
    is_stopping: bool,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let draining = if self.is_stopping { "draining: " } else { "" };
        let (connections, per_s) = (self.load.connections, self.messages_per_s);
        write!(f, "{draining}{connections} connections, {per_s} messages/s")
    }
}

/// A socket, and the address of whoever is called `name`: a path, or an abstract name behind `@`
/// (unix(7)). `None` for any other name, and where there are no such sockets.
fn whom(name: &str) -> Option<(Socket, SockAddr)> {
    let address = match name.strip_prefix('@') {
        Some(name) => SockAddr::unix(format!("\0{name}")),
        None if name.starts_with('/') => SockAddr::unix(name),
        None => return None,
    };
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).ok()?;
    socket.set_write_timeout(Some(PATIENCE)).ok()?;
    Some((socket, address.ok()?))
}

/// Half of the watchdog's interval, if the watchdog is meant for this process (sd_watchdog_enabled
/// (3)).
fn half_interval(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Option<Duration> {
    let is_other = |other: String| other != pid.to_string();
    if variable("WATCHDOG_PID").is_some_and(is_other) {
        return None;
    }
    let us: u64 = variable("WATCHDOG_USEC")?.parse().ok().filter(|us| *us > 0)?;
    // Microseconds to milliseconds, and half of them.
    Some(Duration::from_millis((us / 2000).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    const PID: u32 = 4711;

    fn at(ms: u64) -> Now {
        Now { mono: Instant::from_millis(ms), unix_s: 0 }
    }

    fn load(connections: usize, messages: u64) -> Load {
        Load { connections, messages }
    }

    /// A manager with an abstract name, and who notifies it, with more variables.
    fn world(name: &str, variables: &[(&str, &str)]) -> (UnixDatagram, Notifier) {
        let name = format!("elbow-notify-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("the name is short");
        let manager = UnixDatagram::bind_addr(&address).expect("the name is free");
        manager.set_nonblocking(true).expect("it is a socket");
        let variable = |asked: &str| match asked {
            "NOTIFY_SOCKET" => Some(format!("@{name}")),
            _ => variables.iter().find(|(name, _)| *name == asked).map(|(_, v)| (*v).to_owned()),
        };
        let notifier = Notifier::new(variable, PID, at(0));
        (manager, notifier)
    }

    /// Everything that the manager was told and has not read.
    fn told(manager: &UnixDatagram) -> Vec<String> {
        let mut bytes = [0; 1024];
        let one = || manager.recv(&mut bytes).ok().map(|n| bytes[..n].to_vec());
        let all = std::iter::from_fn(one);
        all.map(|bytes| String::from_utf8(bytes).expect("it is text")).collect()
    }

    #[test]
    fn states_are_told_in_their_turn() {
        let (manager, mut notifier) = world("states", &[]);
        notifier.ready();
        assert_eq!(told(&manager), ["READY=1\nSTATUS=0 connections, 0 messages/s"]);
        notifier.reloaded();
        assert_eq!(told(&manager), [""; 0], "nothing was being reloaded");
        let before = clock::monotonic_us();
        notifier.reloading();
        let reloading = told(&manager).remove(0);
        let us = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("both lines");
        let us: u64 = us.parse().expect("it is a number");
        assert!((before..=clock::monotonic_us()).contains(&us));
        notifier.reloaded();
        notifier.reloaded();
        assert_eq!(told(&manager), ["READY=1"]);
        notifier.stopping(Duration::from_secs(5));
        assert_eq!(told(&manager), ["STOPPING=1\nEXTEND_TIMEOUT_USEC=13000000"]);
    }

    #[test]
    fn a_status_is_said_once_a_second_while_something_changes() {
        let (manager, mut notifier) = world("status", &[]);
        notifier.go_on(at(0), load(0, 0));
        assert_eq!((told(&manager), notifier.next()), (Vec::new(), None), "idle");
        notifier.go_on(at(10_000), load(1, 5));
        notifier.go_on(at(10_500), load(3, 100));
        assert_eq!(told(&manager), [""; 0]);
        assert_eq!(notifier.next(), Some(Instant::from_millis(11_000)));
        notifier.go_on(at(11_000), load(2, 120));
        assert_eq!(told(&manager), ["STATUS=2 connections, 120 messages/s"]);
        notifier.go_on(at(11_001), load(2, 121));
        notifier.go_on(at(13_000), load(2, 220));
        assert_eq!(told(&manager), ["STATUS=2 connections, 50 messages/s"]);
        notifier.go_on(at(14_000), load(2, 220));
        assert_eq!(told(&manager), ["STATUS=2 connections, 0 messages/s"]);
        assert_eq!(notifier.next(), None, "an idle server sleeps");
        notifier.stopping(Duration::ZERO);
        notifier.go_on(at(15_000), load(1, 220));
        notifier.go_on(at(16_000), load(1, 220));
        assert_eq!(told(&manager)[1..], ["STATUS=draining: 1 connections, 0 messages/s"]);
    }

    #[test]
    fn the_watchdog_is_fed_at_half_of_its_interval() {
        let variables = [("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "4711")];
        let (manager, mut notifier) = world("watchdog", &variables);
        let mut fed = 0;
        for ms in 0..6_000 {
            notifier.go_on(at(ms), load(0, 0));
            fed += told(&manager).iter().filter(|message| *message == "WATCHDOG=1").count();
        }
        assert_eq!(fed, 4);
        assert_eq!(notifier.next(), Some(Instant::from_millis(6_000)));
        // A turn that was late is no reason to hurry afterwards.
        notifier.go_on(at(20_000), load(0, 0));
        notifier.go_on(at(20_001), load(0, 0));
        assert_eq!(told(&manager), ["WATCHDOG=1"]);
    }

    #[test]
    fn a_watchdog_that_is_not_meant_for_us_is_left_alone() {
        for variables in [
            &[][..],
            &[("WATCHDOG_USEC", "0")],
            &[("WATCHDOG_USEC", "-5")],
            &[("WATCHDOG_USEC", "soon")],
            &[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "4712")],
            &[("WATCHDOG_PID", "4711")],
        ] {
            assert_eq!(world("none", variables).1.next(), None, "{variables:?}");
        }
        let shortest = world("short", &[("WATCHDOG_USEC", "1")]).1;
        assert_eq!(shortest.watchdog, Some((Duration::from_millis(1), Instant::from_millis(0))));
    }

    #[test]
    fn nobody_is_told_where_nobody_listens() {
        let named = |name: &str| {
            let variable = |asked: &str| (asked == "NOTIFY_SOCKET").then(|| name.to_owned());
            Notifier::new(variable, PID, at(0))
        };
        let long = format!("/{}", "a".repeat(200));
        for name in ["", "elbow", "vsock:2:1234", "\0a", &long] {
            assert!(!named(name).is_on(), "{name}");
        }
        // Who is gone is not waited for, and does no harm.
        for name in ["/nonexistent/notify", "@elbow-notify-nobody"] {
            let mut notifier = named(name);
            assert!(notifier.is_on());
            notifier.ready();
            notifier.stopping(Duration::ZERO);
            notifier.go_on(at(0), load(1, 1));
            notifier.go_on(at(1_000), load(1, 1));
        }
    }

    #[test]
    fn a_manager_that_does_not_read_is_waited_for_briefly_or_not_at_all() {
        let (manager, mut notifier) = world("full", &[("WATCHDOG_USEC", "2000")]);
        // The kernel keeps some hundred datagrams at most (net.unix.max_dgram_qlen).
        for ms in 0..2_000 {
            notifier.go_on(at(ms), load(0, 0));
        }
        notifier.reloading();
        let kept = told(&manager).len();
        assert!((1..2_000).contains(&kept), "{kept}");
        notifier.reloaded();
        assert_eq!(told(&manager), ["READY=1"], "what comes later arrives");
    }
}
