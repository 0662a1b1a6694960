//! Floor 6: the only floor that knows mio, the clock, files, signals and standard output.
//!
//! There is one thread and one poll. A turn is always the same: first everything is gathered, and
//! what came of it is written before the loop sleeps again.
//!
//! 1. poll until the server's next deadline, or not at all while work is waiting; read the clock;
//! 2. hand readiness to the server, accept, and read what Redis has said;
//! 3. [`Server::run`]: deadlines, reads that were put off, one portion of sends; then what Redis is
//!    asked for is sent;
//! 4. act on signals;
//! 5. read a portion of `--www`, while a reload is under way;
//! 6. events become log lines, and the log is carried to standard output;
//! 7. systemd is told that the loop turns, if it wants to know.
//!
//! No step waits, and each is bounded, so a stranger's request waits for at most one portion of
//! sends.

mod activation;
mod backplane;
mod clock;
mod files;
mod keys;
mod log;
mod net;
mod notify;
mod reload;
mod report;
mod resolver;
mod ring;
mod secret;
mod signal;
mod socket_file;
mod system;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;

use std::io;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

pub use keys::read as keys;
pub use secret::admin_token;
pub use system::machine;

use crate::config::{Config, Lb, Machine, Redis};
use crate::id::ConnId;
use crate::limits;
use crate::metrics::{Balancer, Surroundings};
use crate::rate::Account;
use crate::server::{Event, Listener, Readiness, Server};
use crate::settings::{self, ProxyMode};
use crate::site::{Generation, Site};
use crate::text::{Composed, Line};
use crate::time::{Instant, Now};
use backplane::Lines;
use clock::Clock;
use log::Log;
use net::{Listeners, Stream};
use notify::{Load, Notifier};
use reload::Reload;
use report::Report;
use ring::Sender;
use signal::{Signal, Signals};

/// Events taken from one poll. More of them come with the next, which does not wait.
const EVENTS_MAX: usize = 256;

/// No connection has one of the highest tokens: its generation would have to reach 2^32.
const SIGNALS: Token = Token(usize::MAX);
const STDOUT: Token = Token(usize::MAX - 1);
/// The first of the tokens of what belongs to the connections to Redis.
const LINES: usize = usize::MAX - 16;
const LISTENERS: usize = usize::MAX - 64;

/// Exit code for a configuration that contradicts the machine.
const EXIT_CONTRADICTION: u8 = 78;

/// The most bytes of the line that says why the server could not start.
const LINE_BYTES_MAX: usize = 2048;

/// Runs the server until it is told to stop. Returns the exit code: 0, or 78 when it could not
/// start, with one line on standard error that says why.
pub fn run(config: Config, machine: Machine) -> u8 {
    match Shell::start(config, machine) {
        Ok(mut shell) => shell.serve(),
        Err(why) => {
            use std::io::Write;
            let line = Line::<LINE_BYTES_MAX>::new(format_args!("elbow: {}", Composed(&why)));
            // Nobody may be reading; the exit code tells of the failure too.
            let _ = writeln!(io::stderr(), "{}", line.as_str());
            EXIT_CONTRADICTION
        }
    }
}

/// What the server is told about the Redis that the operator has named.
fn shared_order(redis: &Redis) -> Result<settings::Backplane, String> {
    Ok(settings::Backplane {
        name: redis.prefix.clone(),
        user: redis.url.user.clone(),
        password: secret::redis_password(redis)?,
        database: redis.url.database,
    })
}

struct Shell {
    poll: Poll,
    clock: Clock,
    log: Log,
    report: Report,
    signals: Signals,
    listeners: Listeners,
    server: Server<Stream>,
    sender: Sender,
    config: Config,
    /// Whether the server has work, so that the next poll must not wait.
    pending: bool,
    /// How many public connections were accepted lately, where that is limited.
    accepted: Account,
    /// Until when accepting waits, if the system had run out of something.
    pause: Option<Pause>,
    reload: Reload,
    /// The connections to Redis, if that decides the order of messages.
    lines: Option<Lines>,
    notifier: Notifier,
    draining: bool,
}

/// What the server stands in, as far as only the command line and the system know.
fn surroundings(config: &Config, listeners: &Listeners) -> Surroundings {
    let name = |kind| match kind {
        Listener::Public => "public",
        Listener::Health => "health",
        Listener::Admin => "admin",
    };
    let open = listeners.addresses().map(|(kind, address)| (name(kind), address.to_string()));
    Surroundings {
        listeners: open.collect(),
        balancer: match config.lb {
            Lb::None => Balancer::None,
            Lb::Clb => Balancer::Classic,
            Lb::Nlb => Balancer::Network,
            Lb::Alb => Balancer::Application,
        },
        is_told_clients: config.settings.proxy != ProxyMode::Off || config.settings.forwarded_for,
    }
}

/// When accepting may be tried again after the system had run out of something.
#[derive(Clone, Copy, Debug)]
struct Pause {
    /// An instant at which it may be tried again.
    until: Instant,
    /// How many connections there were: with fewer, a descriptor is free for whoever waits.
    connections: usize,
}

/// What is served: the files of the public listener, and the status page where there is an admin
/// listener.
fn site(files: Generation, config: &Config) -> Site {
    let site = Site::new(files, config.www.is_none());
    if config.settings.limits.admin_connections_max == 0 {
        return site;
    }
    site.with_admin(files::status_page())
}

impl Shell {
    fn start(mut config: Config, machine: Machine) -> Result<Shell, String> {
        config.settings.admin_token = secret::admin_token(&config)?;
        system::map_large_memory();
        let clock = Clock::start();
        let needed = config.settings.limits.descriptors();
        system::raise_descriptors(needed)
            .map_err(|error| format!("--max-connections needs {needed} descriptors: {error}"))?;
        let folder = match &config.www {
            Some(folder) => files::read(folder).map_err(|error| format!("--www: {error}"))?,
            None => files::built_in(),
        };
        let keys = keys::read(&config.key_files)?;
        let poll = Poll::new().map_err(|error| format!("epoll: {error}"))?;
        let registry = poll.registry();
        let signals = Signals::register(registry, SIGNALS)
            .map_err(|error| format!("signal handlers: {error}"))?;
        let listeners = Listeners::open(&config, machine.activated, registry, LISTENERS)?;
        let (lines, shared) = match &config.redis {
            Some(redis) => {
                let shared = shared_order(redis)?;
                (Some(Lines::new(redis, registry, LINES)?), Some(shared))
            }
            None => (None, None),
        };
        let now = Clock::now(clock.elapsed_us());
        let notifier = Notifier::start(now);
        // Whoever is started by this process, should anybody ever be, was told nothing by them.
        system::forget(activation::VARIABLES.iter().chain(&notify::VARIABLES));
        let seed = system::seed().map_err(|error| format!("random bytes: {error}"))?;
        // From here on standard output belongs to the log.
        let log = Log::start(config.log_level, registry, STDOUT)
            .map_err(|error| format!("standard output: {error}"))?;
        let sender =
            Sender::new(config.io_uring).map_err(|error| format!("--io-uring require: {error}"))?;
        let mut report = Report::default();
        report.start(&config, &machine, &listeners, &folder);
        report.sender(sender.is_batched());
        let reload = Reload::new(folder.files.bytes());
        let site = site(folder.files, &config);
        let mut server = Server::new(config.settings.clone(), site, seed, now);
        if let Some(shared) = shared
            && !server.share_order(now, shared)
        {
            return Err("--redis needs more --memory".to_owned());
        }
        if !config.key_files.is_empty() {
            let (keys, skipped) = keys;
            report.keys(&config.key_files, &keys, &skipped);
            server.set_keys(keys);
        }
        server.describe(surroundings(&config, &listeners));
        Ok(Shell {
            poll,
            clock,
            log,
            report,
            signals,
            listeners,
            server,
            sender,
            config,
            pending: false,
            accepted: Account::new(now.mono),
            pause: None,
            reload,
            lines,
            notifier,
            draining: false,
        })
    }

    fn serve(&mut self) -> u8 {
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.log.carry();
        self.notifier.ready();
        loop {
            let timeout = self.timeout();
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return self.give_up(&error);
            }
            let turn_us = self.clock.elapsed_us();
            let now = Clock::now(turn_us);
            self.server.begin_turn(turn_us);
            let mut signalled = false;
            for event in &events {
                match event.token() {
                    SIGNALS => signalled = true,
                    STDOUT => self.log.writable(),
                    Token(token) if token >= LINES => {
                        if let Some(lines) = &mut self.lines {
                            lines.ready(event);
                        }
                    }
                    Token(token) if token >= LISTENERS => self.listeners.ready(token - LISTENERS),
                    Token(token) => {
                        let readiness = Readiness {
                            readable: event.is_readable() || event.is_error(),
                            more_behind: event.is_read_closed()
                                || event.is_priority()
                                || event.is_error(),
                            writable: event.is_writable() || event.is_error(),
                        };
                        self.server.ready(now, ConnId::from_bits(token as u64), readiness);
                    }
                }
            }
            self.accept(now);
            self.receive_lines(now);
            if self.server.is_watched() {
                self.server.tell_process(system::process());
            }
            self.pending = self.server.run_with(now, &mut self.sender);
            self.send_lines(now);
            if signalled && self.handle_signals(now) {
                self.finish("second signal");
                return 0;
            }
            if let Some(folder) = &self.config.www {
                self.reload.go_on(now, folder, &mut self.server, &mut self.report);
            }
            if self.report_events(now) {
                self.finish("drained");
                return 0;
            }
            self.log.carry();
            self.notify(now);
            self.server.end_turn(self.clock.elapsed_us());
        }
    }

    /// How long the next poll may wait: not at all, until the next deadline, or for ever (`None`).
    fn timeout(&self) -> Option<Duration> {
        let now = Clock::mono(self.clock.elapsed_us());
        let is_ready = |from| self.is_free_again() && self.listeners.is_ready(from, &self.server);
        let mut others = Listener::ALL.into_iter().filter(|from| *from != Listener::Public);
        let (public, other) = (is_ready(Listener::Public), others.any(is_ready));
        let accept_at = self.accepts_at(now);
        if self.pending || other || (public && accept_at <= now) || self.reload.is_reading() {
            return Some(Duration::ZERO);
        }
        let pause = self.pause.map(|pause| pause.until);
        let accept_at = public.then_some(accept_at);
        let lines = self.lines.as_ref().and_then(Lines::next);
        let next = [self.server.poll_timeout(), pause, accept_at, self.reload.next(), lines];
        let next = next.into_iter().chain([self.notifier.next()]).flatten().min()?;
        let wait = next.since(now);
        (next != Instant::NEVER).then(|| Duration::from_millis(wait.as_millis()))
    }

    /// When `--accept-rate` lets another public connection in, `now` or later. The kernel tells of
    /// those in the backlog only once, so they have to be asked for then.
    fn accepts_at(&self, now: Instant) -> Instant {
        self.config.accept_rate.map_or(now, |rate| self.accepted.next(now, rate))
    }

    /// Whether nothing was lacking when somebody was accepted last, or a connection has ended
    /// since.
    fn is_free_again(&self) -> bool {
        self.pause.is_none_or(|pause| self.server.connections() < pause.connections)
    }

    fn accept(&mut self, now: Now) {
        let time_is_up = self.pause.is_some_and(|pause| pause.until <= now.mono);
        if !time_is_up && !self.is_free_again() {
            return;
        }
        self.pause = None;
        for _ in 0..limits::ACCEPTS_PER_TURN {
            let may_accept = self.accepts_at(now.mono) <= now.mono;
            let has_room = |from| {
                let may = from != Listener::Public || may_accept;
                may && self.server.has_room_for(from)
            };
            match self.listeners.accept(has_room) {
                Ok(None) => return,
                Ok(Some((from, mut stream, peer))) => {
                    if let (Listener::Public, Some(rate)) = (from, self.config.accept_rate) {
                        self.accepted.take(now.mono, rate);
                    }
                    let id = self.server.make_room(now, from);
                    let id = id.expect("it was accepted because there was room");
                    let token = Token(id.to_bits() as usize);
                    // PRIORITY, because a read stops in front of urgent data although more bytes
                    // are behind it.
                    let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
                    if let Err(error) =
                        self.poll.registry().register(stream.source(), token, interest)
                    {
                        self.report.accept_failed(now, &error);
                        continue;
                    }
                    self.server.accept(now, from, peer, stream);
                }
                Err(error) => {
                    // EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the backlog, and
                    // trying again at once would only spin.
                    self.report.accept_failed(now, &error);
                    let until = now.mono.plus(crate::time::Duration::from_secs(1));
                    let connections = self.server.connections();
                    self.pause = Some(Pause { until, connections });
                    return;
                }
            }
        }
    }

    /// Takes in what Redis has said.
    fn receive_lines(&mut self, now: Now) {
        if let (Some(lines), Some(backplane)) = (&mut self.lines, self.server.backplane()) {
            lines.receive(now, self.poll.registry(), backplane, &mut self.report);
        }
    }

    /// Sends what Redis is asked for.
    fn send_lines(&mut self, now: Now) {
        if let (Some(lines), Some(backplane)) = (&mut self.lines, self.server.backplane()) {
            self.pending |= lines.send(now, self.poll.registry(), backplane);
        }
    }

    /// Acts on the signals that have arrived. Returns whether the process is to end at once.
    fn handle_signals(&mut self, now: Now) -> bool {
        let signals: Vec<Signal> = self.signals.pending().collect();
        for signal in signals {
            match signal {
                Signal::Stop if self.draining => return true,
                Signal::Stop => self.begin_drain(now),
                Signal::Reload => self.reload(now),
            }
        }
        false
    }

    fn begin_drain(&mut self, now: Now) {
        self.draining = true;
        let limit = self.config.settings.limits.drain;
        self.report.draining(self.server.connections(), limit);
        self.notifier.stopping(limit);
        self.server.drain(now, now.mono.plus(limit));
        // Public sockets that systemd lent go back: connections that still queue there are the next
        // process's.
        self.listeners.hand_back(self.poll.registry());
        self.pending = true;
    }

    fn reload(&mut self, now: Now) {
        self.notifier.reloading();
        let key_files = &self.config.key_files;
        if !key_files.is_empty() {
            match keys::read(key_files) {
                Ok((keys, skipped)) => {
                    self.report.keys(key_files, &keys, &skipped);
                    self.server.set_keys(keys);
                }
                Err(error) => self.report.keys_failed(&error),
            }
        }
        if self.config.www.is_some() {
            self.reload.ask(now);
        } else if key_files.is_empty() {
            ::log::info!(target: "elbow", "SIGHUP: nothing to reload, the page is built in");
        }
    }

    /// Tells systemd what there is to tell at the end of a turn.
    fn notify(&mut self, now: Now) {
        if !self.notifier.is_on() {
            return;
        }
        if !self.reload.is_under_way() {
            self.notifier.reloaded();
        }
        let connections = self.server.connections();
        let messages = self.server.metrics().messages_published();
        self.notifier.go_on(now, Load { connections, messages });
    }

    /// Writes what has happened to the log. Returns whether the drain is over.
    fn report_events(&mut self, now: Now) -> bool {
        let mut drained = false;
        while let Some(event) = self.server.poll_event() {
            drained |= matches!(event, Event::Drained);
            self.report.event(now, &event);
            self.server.recycle(event);
        }
        drained
    }

    /// Ends the process, since the poll failed: only a bug of ours can bring that about, and going
    /// on would spin.
    fn give_up(&mut self, error: &io::Error) -> u8 {
        ::log::error!(target: "elbow", "epoll: {error}");
        self.log.finish();
        1
    }

    fn finish(&mut self, why: &str) {
        self.report.end(why, &self.server);
        self.log.finish();
    }
}
