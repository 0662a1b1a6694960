//! The two connections to Redis: between their sockets and the backplane of the server.
//!
//! ```text
//!            Connect                  answer               writable, and handshake
//!   Down ──────────────► Resolving ───────────► Connecting ───────────────────────► Up
//!     ▲                      │                   │      ▲                            │
//!     └───── no address ─────┘                   └──────┘ the next address           │
//!     └──────────────────────────── Close, end, error, no address left ──────────────┘
//! ```
//!
//! Deals with: names and addresses, connecting within a time, bytes in and out in bounded portions
//! on the poll that serves everybody. Leaves to others: what is said on a line, when it is given up
//! and when it is tried again (`hub/backplane`), encryption (`tls.rs`).
//!
//! The surprise: a name is resolved again each time, for that is how a failover shows. Who asks
//! often is no burden: the backplane waits between its tries.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use mio::event::{Event, Source};
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};

use super::report::Report;
use super::resolver::{Answer, Resolver};
use super::tls;
use crate::config::{Redis, RedisHost, RedisServer};
use crate::hub::backplane::{Action, Backplane, Line};
use crate::time::{self, Instant, Now};

/// The most bytes that are read of a line in a turn. What is left is read in the next.
const READ_BYTES_PER_TURN: usize = 256 * 1024;

/// How often what waits is written in a turn, each time as much as the backplane's buffer holds.
const ROUNDS_PER_TURN: usize = 4;

/// How long one address has for a connection, encryption included: one SYN may get lost. The
/// backplane gives up after the time for three of them, and the next try begins with the next
/// address.
const ATTEMPT_LIMIT: time::Duration = time::Duration::from_millis(1250);

/// How long the kernel tries to send what is not acknowledged (`TCP_USER_TIMEOUT`). The backplane
/// has given a silent line up by then; this bounds what the kernel still does with its bytes.
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(5);

/// Who is connected to.
#[derive(Clone)]
enum Target {
    Tcp { host: RedisHost, port: u16, is_encrypted: bool },
    Unix(Box<Path>),
}

/// A connection that is being made, or stands.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<tls::Session>),
}

impl Stream {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(socket) => socket,
            Stream::Unix(socket) => socket,
            Stream::Tls(session) => session.socket(),
        }
    }

    /// Goes on with making the connection, and with encrypting it if that was asked for. Returns
    /// whether it stands.
    fn advance(&mut self) -> io::Result<bool> {
        match self {
            Stream::Tcp(socket) => is_connected(socket),
            Stream::Unix(socket) => {
                socket.take_error()?.map_or(Ok(()), Err)?;
                is_made(socket.peer_addr().map(|_| ()))
            }
            Stream::Tls(session) => Ok(is_connected(session.socket())? && session.shake_hands()?),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => socket.read(buffer),
            Stream::Unix(socket) => socket.read(buffer),
            Stream::Tls(session) => session.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => socket.write(bytes),
            Stream::Unix(socket) => socket.write(bytes),
            Stream::Tls(session) => session.write(bytes),
        }
    }

    /// Sends what was written and still waits here.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => Ok(()),
            Stream::Tls(session) => session.flush(),
        }
    }
}

fn is_connected(socket: &TcpStream) -> io::Result<bool> {
    socket.take_error()?.map_or(Ok(()), Err)?;
    is_made(socket.peer_addr().map(|_| ()))
}

/// Whether a socket has a peer by now.
fn is_made(peer: io::Result<()>) -> io::Result<bool> {
    match peer {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// A connection that is being made.
struct Attempt {
    stream: Stream,
    /// Who is connected to, as the log names it.
    whom: String,
    until: Instant,
    /// Addresses that are tried if this one does not answer.
    rest: VecDeque<SocketAddr>,
}

enum State {
    Down,
    Resolving(Target),
    Connecting(Target, Attempt),
    Up {
        stream: Stream,
        /// Whether there may be something to read, of which the kernel tells only once.
        is_readable: bool,
        /// Whether the socket takes more.
        is_writable: bool,
        /// Whether the kernel is asked to tell when the socket takes more.
        awaits_room: bool,
    },
}

/// One of the two connections.
struct Link {
    line: Line,
    token: Token,
    state: State,
    /// The name and port that the resolver was asked about for this line and has not answered.
    /// There is one question at a time, so that a name server that is silent for long does not find
    /// a queue of them.
    asked: Option<(Box<str>, u16)>,
    /// How many addresses have failed since a connection stood, so that the next try begins with
    /// another.
    failed: usize,
}

/// The two connections to Redis.
pub(super) struct Lines {
    configured: Target,
    links: [Link; 2],
    resolver: Resolver,
    encryption: Option<tls::Client>,
}

impl Lines {
    /// Lines to the Redis that the operator has named, none of which is connected.
    ///
    /// # Errors
    /// A line for the operator: the certificates cannot be read, or the system gives no thread.
    pub(super) fn new(
        redis: &Redis,
        registry: &Registry,
        first_token: usize,
    ) -> Result<Lines, String> {
        let configured = match &redis.url.server {
            RedisServer::Tcp { host, port, tls } => {
                Target::Tcp { host: host.clone(), port: *port, is_encrypted: *tls }
            }
            RedisServer::Unix(path) => Target::Unix(path.as_path().into()),
        };
        let is_encrypted = redis.url.is_encrypted();
        let encryption = match is_encrypted {
            true => Some(tls::Client::new(redis.ca.as_deref())?),
            false => None,
        };
        let resolver = Resolver::start(registry, Token(first_token + 2))
            .map_err(|error| format!("--redis: a thread that resolves names: {error}"))?;
        let link = |number: usize, line| Link {
            line,
            token: Token(first_token + number),
            state: State::Down,
            asked: None,
            failed: 0,
        };
        let links = [link(0, Line::Writer), link(1, Line::Reader)];
        Ok(Lines { configured, links, resolver, encryption })
    }

    /// Notes what the kernel says about a token that belongs to the lines.
    pub(super) fn ready(&mut self, event: &Event) {
        let token = event.token();
        let Some(link) = self.links.iter_mut().find(|link| link.token == token) else { return };
        if let State::Up { is_readable, is_writable, .. } = &mut link.state {
            *is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            *is_writable |= event.is_writable() || event.is_error();
        }
    }

    /// Takes in what has come: answers of the resolver, connections that stand, bytes. At most
    /// 256 KiB of each line are read.
    pub(super) fn receive(
        &mut self,
        now: Now,
        registry: &Registry,
        backplane: &mut Backplane,
        report: &mut Report,
    ) {
        while let Some(answer) = self.resolver.answer() {
            self.resolved(now, registry, backplane, answer);
        }
        for number in 0..self.links.len() {
            self.go_on_connecting(now, registry, backplane, report, number);
            self.links[number].read(now, backplane);
        }
    }

    /// Does what the backplane asks for, and sends what it has written. Whether there is more to
    /// read or to send, so that the next poll should not wait.
    pub(super) fn send(
        &mut self,
        now: Now,
        registry: &Registry,
        backplane: &mut Backplane,
    ) -> bool {
        while let Some(action) = backplane.poll_action(now.mono) {
            match action {
                Action::Close(line) => self.links[place(line)].drop_stream(),
                Action::Connect(line) => {
                    self.connect(now, registry, backplane, line);
                }
            }
        }
        let mut is_pending = false;
        for link in &mut self.links {
            let mut rounds = 0;
            // What has gone out makes room for requests that wait.
            while link.write(now, backplane) && rounds < ROUNDS_PER_TURN {
                backplane.end_turn(now.mono);
                rounds += 1;
            }
            link.await_room(now, registry, backplane);
            is_pending |= rounds == ROUNDS_PER_TURN || link.has_more(backplane);
        }
        is_pending
    }

    /// When [`Lines::receive`] is worth calling although nothing has happened.
    pub(super) fn next(&self) -> Option<Instant> {
        let until = |link: &Link| match &link.state {
            State::Connecting(_, attempt) => Some(attempt.until),
            State::Down | State::Resolving(_) | State::Up { .. } => None,
        };
        self.links.iter().filter_map(until).min()
    }

    fn connect(&mut self, now: Now, registry: &Registry, backplane: &mut Backplane, line: Line) {
        let number = place(line);
        let target = match backplane.moved_to(line) {
            Some(address) => self.configured.moved(address),
            None => Ok(self.configured.clone()),
        };
        let target = match target {
            Ok(target) => target,
            Err(why) => return self.give_up(now, backplane, number, &why),
        };
        match &target {
            Target::Unix(_) => {
                self.begin(now, registry, backplane, number, target, VecDeque::new());
            }
            Target::Tcp { host: RedisHost::Ip(ip), port, .. } => {
                let addresses = VecDeque::from([SocketAddr::new(*ip, *port)]);
                self.begin(now, registry, backplane, number, target, addresses);
            }
            Target::Tcp { host: RedisHost::Name(name), port, .. } => {
                let (name, port) = (name.clone(), *port);
                self.links[number].state = State::Resolving(target);
                self.ask(now, backplane, number, name, port);
            }
        }
    }

    /// Has a name resolved, as soon as an earlier question of the line is answered.
    fn ask(
        &mut self,
        now: Now,
        backplane: &mut Backplane,
        number: usize,
        name: Box<str>,
        port: u16,
    ) {
        let link = &mut self.links[number];
        if link.asked.is_some() {
            return;
        }
        if self.resolver.ask(number, &name, port).is_ok() {
            link.asked = Some((name, port));
        } else {
            self.give_up(now, backplane, number, "nobody resolves names any more");
        }
    }

    /// The resolver has answered.
    fn resolved(
        &mut self,
        now: Now,
        registry: &Registry,
        backplane: &mut Backplane,
        answer: Answer,
    ) {
        let number = answer.asker;
        let link = &mut self.links[number];
        let asked = link.asked.take();
        let state = core::mem::replace(&mut link.state, State::Down);
        let State::Resolving(target) = state else {
            link.state = state;
            return;
        };
        if let Target::Tcp { host: RedisHost::Name(name), port, .. } = &target
            && asked.is_none_or(|asked| asked != (name.clone(), *port))
        {
            // Meanwhile the line is to lead somewhere else.
            let (name, port) = (name.clone(), *port);
            link.state = State::Resolving(target);
            return self.ask(now, backplane, number, name, port);
        }
        match answer.addresses {
            Ok(mut addresses) => {
                let first = link.failed % addresses.len();
                addresses.rotate_left(first);
                self.begin(now, registry, backplane, number, target, addresses.into());
            }
            Err(error) => {
                let why = format!("{}: {error}", target.host());
                self.give_up(now, backplane, number, &why);
            }
        }
    }

    /// Begins to connect to the first of the addresses that lets it, or to the path of a socket.
    fn begin(
        &mut self,
        now: Now,
        registry: &Registry,
        backplane: &mut Backplane,
        number: usize,
        target: Target,
        addresses: VecDeque<SocketAddr>,
    ) {
        let mut rest = addresses;
        loop {
            let address = rest.pop_front();
            let whom = target.whom(address);
            let begun = self.begin_one(&target, address).and_then(|mut stream| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                registry.register(stream.source(), self.links[number].token, interest)?;
                Ok(stream)
            });
            let link = &mut self.links[number];
            match begun {
                Ok(stream) => {
                    let until = now.mono.plus(ATTEMPT_LIMIT);
                    link.state = State::Connecting(target, Attempt { stream, whom, until, rest });
                    return;
                }
                Err(error) => {
                    link.failed = link.failed.wrapping_add(1);
                    if rest.is_empty() {
                        let why = format!("{whom}: {error}");
                        return self.give_up(now, backplane, number, &why);
                    }
                }
            }
        }
    }

    fn begin_one(&self, target: &Target, address: Option<SocketAddr>) -> io::Result<Stream> {
        match (target, address) {
            (Target::Unix(path), _) => UnixStream::connect(path).map(Stream::Unix),
            (Target::Tcp { .. }, None) => Err(io::Error::other("there is no address")),
            (Target::Tcp { host, is_encrypted, .. }, Some(address)) => {
                let socket = TcpStream::connect(address)?;
                set_options(&socket)?;
                match &self.encryption {
                    Some(client) if *is_encrypted => {
                        Ok(Stream::Tls(Box::new(client.session(socket, host)?)))
                    }
                    Some(_) | None => Ok(Stream::Tcp(socket)),
                }
            }
        }
    }

    /// Looks at a connection that is being made: it stands, failed, or has had its time.
    fn go_on_connecting(
        &mut self,
        now: Now,
        registry: &Registry,
        backplane: &mut Backplane,
        report: &mut Report,
        number: usize,
    ) {
        let link = &mut self.links[number];
        let State::Connecting(_, attempt) = &mut link.state else { return };
        let why = match attempt.stream.advance() {
            Ok(true) => {
                let state = core::mem::replace(&mut link.state, State::Down);
                let State::Connecting(_, attempt) = state else { return };
                let Attempt { stream, whom, .. } = attempt;
                // What the kernel has told of while the connection was made was not noted.
                // Until now it was waited for that the socket takes something.
                link.state =
                    State::Up { stream, is_readable: true, is_writable: true, awaits_room: true };
                link.failed = 0;
                report.line_connected(now, link.line, &whom);
                backplane.connected(now.mono, link.line);
                return;
            }
            Ok(false) if now.mono < attempt.until => return,
            Ok(false) => format!("{}: no answer within {ATTEMPT_LIMIT}", attempt.whom),
            Err(error) => format!("{}: {error}", attempt.whom),
        };
        link.failed = link.failed.wrapping_add(1);
        let state = core::mem::replace(&mut link.state, State::Down);
        let State::Connecting(target, attempt) = state else { return };
        if attempt.rest.is_empty() {
            self.give_up(now, backplane, number, &why);
        } else {
            self.begin(now, registry, backplane, number, target, attempt.rest);
        }
    }

    /// No connection can be made now, which the backplane is told.
    fn give_up(&mut self, now: Now, backplane: &mut Backplane, number: usize, why: &str) {
        let link = &mut self.links[number];
        link.state = State::Down;
        backplane.closed(now.mono, link.line, why);
    }
}

impl Link {
    /// Reads what has come, as far as the backplane has room for it and the turn allows.
    fn read(&mut self, now: Now, backplane: &mut Backplane) {
        let State::Up { stream, is_readable, .. } = &mut self.state else { return };
        let mut taken = 0;
        while *is_readable && taken < READ_BYTES_PER_TURN {
            let room = backplane.room(self.line);
            if room.is_empty() {
                return;
            }
            match stream.read(room) {
                Ok(0) => return self.close(now, backplane, "the server has closed it"),
                Ok(count) => {
                    taken += count;
                    backplane.received(now.mono, self.line, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *is_readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.close(now, backplane, &error.to_string()),
            }
        }
    }

    /// Sends what waits. Whether anything was sent, and the socket would take more.
    fn write(&mut self, now: Now, backplane: &mut Backplane) -> bool {
        let State::Up { stream, is_writable, .. } = &mut self.state else { return false };
        let mut has_sent = false;
        while *is_writable {
            let bytes = backplane.unsent(self.line);
            let is_empty = bytes.is_empty();
            let written = if is_empty { stream.flush().map(|()| 0) } else { stream.write(bytes) };
            match written {
                Ok(0) => return has_sent,
                Ok(count) => {
                    backplane.transmitted(self.line, count);
                    has_sent = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *is_writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.close(now, backplane, &error.to_string());
                    return false;
                }
            }
        }
        false
    }

    /// Has the kernel tell of room in the socket while that is waited for, and only then. Of a Unix
    /// socket it tells each time that the other side has read something, which would wake the loop
    /// once more for each request.
    fn await_room(&mut self, now: Now, registry: &Registry, backplane: &mut Backplane) {
        let State::Up { stream, is_writable, awaits_room, .. } = &mut self.state else { return };
        if *awaits_room != *is_writable {
            return;
        }
        *awaits_room = !*is_writable;
        let interest = match *awaits_room {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        // What became possible before this call is told again by it.
        if let Err(error) = registry.reregister(stream.source(), self.token, interest) {
            self.close(now, backplane, &error.to_string());
        }
    }

    /// The backplane is done with the connection. Who did not connect in time is not tried first
    /// the next time.
    fn drop_stream(&mut self) {
        if matches!(self.state, State::Connecting(..)) {
            self.failed = self.failed.wrapping_add(1);
        }
        self.state = State::Down;
    }

    /// Whether there is something to read that the backplane has room for.
    fn has_more(&self, backplane: &mut Backplane) -> bool {
        match &self.state {
            State::Up { is_readable, .. } => *is_readable && !backplane.room(self.line).is_empty(),
            State::Down | State::Resolving(_) | State::Connecting(..) => false,
        }
    }

    /// The connection is over, as the other side or the system says.
    fn close(&mut self, now: Now, backplane: &mut Backplane, why: &str) {
        self.state = State::Down;
        backplane.closed(now.mono, self.line, why);
    }
}

impl Target {
    /// The server at `address`, which a server of the cluster has named: `HOST:PORT`, where an
    /// empty host is the one that was configured.
    fn moved(&self, address: &str) -> Result<Target, String> {
        let Target::Tcp { host: configured, is_encrypted, .. } = self else {
            return Err(format!("the server at {} is one of a cluster", self.host()));
        };
        let wrong = || format!("no address: {address}");
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let host = match host.parse() {
            Ok(ip) => RedisHost::Ip(ip),
            Err(_) if host.is_empty() => configured.clone(),
            Err(_) => RedisHost::Name(host.into()),
        };
        Ok(Target::Tcp { host, port, is_encrypted: *is_encrypted })
    }

    /// The host as the log names it.
    fn host(&self) -> String {
        match self {
            Target::Tcp { host, port, .. } => format!("{host}:{port}"),
            Target::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// The host, and which of its addresses is meant.
    fn whom(&self, address: Option<SocketAddr>) -> String {
        match (self, address) {
            (Target::Tcp { host: RedisHost::Name(_), .. }, Some(address)) => {
                format!("{} ({address})", self.host())
            }
            (Target::Tcp { .. } | Target::Unix(_), _) => self.host(),
        }
    }
}

/// Where the line stands among the links.
fn place(line: Line) -> usize {
    match line {
        Line::Writer => 0,
        Line::Reader => 1,
    }
}

/// Sets what a connection that may break without a word needs.
fn set_options(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_LIMIT))?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(Duration::from_secs(15))
            .with_interval(Duration::from_secs(5))
            .with_retries(3),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::{Ipv4Addr, TcpListener};

    use mio::{Events, Poll};

    use crate::config::RedisUrl;
    use crate::hub::HashKey;
    use crate::hub::backplane::{Chance, Settings};

    const NOW: Now = Now { mono: Instant::from_millis(1_000), unix_s: 0 };

    /// The two lines with their backplane, on a poll.
    struct World {
        poll: Poll,
        lines: Lines,
        backplane: Backplane,
        report: Report,
        now: Now,
    }

    impl World {
        fn new(url: &str) -> World {
            let poll = Poll::new().unwrap();
            let url = RedisUrl::parse(url).unwrap();
            let redis = Redis { url, password: None, prefix: "elbow".into(), ca: None };
            let lines = Lines::new(&redis, poll.registry(), 100).unwrap();
            let settings = Settings {
                name: "elbow".into(),
                user: None,
                password: None,
                database: 0,
                channels_max: 1,
                message_bytes_max: 1024,
                history: None,
                history_bytes: 0,
            };
            let chance = Chance { producer: 1, jitter: 1, hash_key: HashKey([0; 16]) };
            let backplane = Backplane::new(settings, chance, NOW.mono);
            World { poll, lines, backplane, report: Report::default(), now: NOW }
        }

        /// A turn, which waits for 20 ms at most.
        fn turn(&mut self) {
            let mut events = Events::with_capacity(16);
            self.poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
            for event in &events {
                self.lines.ready(event);
            }
            let registry = self.poll.registry();
            self.lines.receive(self.now, registry, &mut self.backplane, &mut self.report);
            while self.backplane.poll_event(self.now.mono).is_some() {}
            self.backplane.end_turn(self.now.mono);
            self.lines.send(self.now, registry, &mut self.backplane);
        }

        /// Turns until `probe` finds what it looks for.
        fn until<T>(&mut self, mut probe: impl FnMut(&mut World) -> Option<T>) -> T {
            for _ in 0..500 {
                if let Some(found) = probe(self) {
                    return found;
                }
                self.turn();
            }
            panic!("it does not come");
        }

        fn is_up(&self, number: usize) -> bool {
            matches!(self.lines.links[number].state, State::Up { .. })
        }
    }

    fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    /// What the kernel tells now of the first line.
    fn told(world: &mut World) -> Vec<(bool, bool)> {
        let mut events = Events::with_capacity(16);
        world.poll.poll(&mut events, Some(Duration::ZERO)).expect("a poll that does not wait");
        let of_line = events.iter().filter(|event| event.token() == Token(100));
        of_line.map(|event| (event.is_readable(), event.is_writable())).collect()
    }

    #[test]
    fn room_in_a_socket_is_told_of_only_while_it_is_waited_for() {
        let mut world = World::new("redis://127.0.0.1:1");
        let (mut stream, mut redis) = UnixStream::pair().expect("a pair of sockets");
        let both = Interest::READABLE | Interest::WRITABLE;
        let registry = world.poll.registry();
        registry.register(&mut stream, Token(100), both).expect("a new socket");
        world.lines.links[0].state = State::Up {
            stream: Stream::Unix(stream),
            is_readable: false,
            is_writable: true,
            awaits_room: true,
        };
        let write = |world: &mut World, bytes: &[u8]| {
            let State::Up { stream, is_writable, .. } = &mut world.lines.links[0].state else {
                panic!("it is up");
            };
            let written = stream.write(bytes);
            *is_writable = written.is_ok();
            let registry = world.poll.registry();
            world.lines.links[0].await_room(NOW, registry, &mut world.backplane);
            written.unwrap_or(0)
        };
        assert_eq!(write(&mut world, b"request"), 7);
        let mut buffer = vec![0; 1 << 20];
        told(&mut world);
        assert_eq!(redis.read(&mut buffer).expect("what was written"), 7);
        assert_eq!(told(&mut world), [], "that it was read concerns nobody");
        let mut waiting = 0;
        loop {
            match write(&mut world, &[b'x'; 10_000]) {
                0 => break,
                count => waiting += count,
            }
        }
        assert_eq!(told(&mut world), []);
        while waiting > 0 {
            waiting -= redis.read(&mut buffer).expect("what was written");
        }
        assert_eq!(told(&mut world), [(false, true)], "now it goes on");
        assert_eq!(write(&mut world, b"request"), 7);
        assert_eq!(redis.read(&mut buffer).expect("what was written"), 7);
        assert_eq!(told(&mut world), []);
        redis.write_all(b"reply").expect("an empty socket");
        assert_eq!(told(&mut world).iter().map(|event| event.0).collect::<Vec<_>>(), [true]);
    }

    /// A port on which nobody listens.
    fn closed_port() -> u16 {
        listener().1
    }

    #[test]
    fn both_lines_are_connected_by_name_and_carry_bytes_both_ways() {
        let (listener, port) = listener();
        let mut world = World::new(&format!("redis://localhost:{port}"));
        let mut accepted = Vec::new();
        world.until(|_| {
            accepted.extend(listener.accept());
            (accepted.len() == 2).then_some(())
        });
        let mut heard = [Vec::new(), Vec::new()];
        world.until(|_| {
            for ((socket, _), heard) in accepted.iter_mut().zip(&mut heard) {
                socket.set_nonblocking(true).unwrap();
                let mut buffer = [0; 4096];
                if let Ok(count) = socket.read(&mut buffer) {
                    heard.extend_from_slice(&buffer[..count]);
                }
            }
            heard.iter().any(|heard| heard.starts_with(b"*")).then_some(())
        });
        // What is no reply of Redis ends a line, so it has arrived.
        for (socket, _) in &mut accepted {
            socket.write_all(b"what?\r\n").unwrap();
        }
        world.until(|world| (world.backplane.counts().failures >= 1).then_some(()));
    }

    #[test]
    fn the_addresses_of_a_name_are_tried_in_turn() {
        let (_listener, port) = listener();
        let mut world = World::new("redis://localhost:1");
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let target = world.lines.configured.clone();
        let action = world.backplane.poll_action(NOW.mono);
        assert_eq!(action, Some(Action::Connect(Line::Writer)));
        let addresses = VecDeque::from([address(closed_port()), address(port)]);
        let registry = world.poll.registry();
        world.lines.begin(NOW, registry, &mut world.backplane, 0, target, addresses);
        world.until(|world| world.is_up(0).then_some(()));
    }

    #[test]
    fn a_late_answer_is_not_taken_for_the_address_of_another_name() {
        let (_left, left_port) = listener();
        let (meant, meant_port) = listener();
        let mut world = World::new(&format!("redis://localhost:{left_port}"));
        let action = world.backplane.poll_action(NOW.mono);
        assert_eq!(action, Some(Action::Connect(Line::Writer)));
        // The line was resolving a name, was closed, and is to lead to where a reply has said.
        let target = world.lines.configured.moved(&format!("localhost:{meant_port}"));
        let target = target.expect("a name and a port");
        world.lines.links[0].state = State::Resolving(target);
        world.lines.links[0].asked = Some(("localhost".into(), left_port));
        let addresses = Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, left_port))]);
        let registry = world.poll.registry();
        let answer = Answer { asker: 0, addresses };
        world.lines.resolved(NOW, registry, &mut world.backplane, answer);
        assert!(matches!(world.lines.links[0].state, State::Resolving(_)));
        assert_eq!(world.lines.links[0].asked, Some(("localhost".into(), meant_port)));
        world.until(|world| world.is_up(0).then_some(()));
        world.until(|_| meant.accept().ok());
    }

    #[test]
    fn who_does_not_answer_has_had_its_time() {
        let mut world = World::new("redis://localhost:1");
        let target = world.lines.configured.clone();
        let action = world.backplane.poll_action(NOW.mono);
        assert_eq!(action, Some(Action::Connect(Line::Writer)));
        // A backlog that is full takes no connection, and says nothing.
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let listener = listener.unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let silent = listener.local_addr().unwrap().as_socket().unwrap();
        let _filling: Vec<_> = (0..8).map(|_| TcpStream::connect(silent).unwrap()).collect();
        let (registry, addresses) = (world.poll.registry(), VecDeque::from([silent]));
        world.lines.begin(NOW, registry, &mut world.backplane, 0, target, addresses);
        assert_eq!(world.lines.next(), Some(NOW.mono.plus(ATTEMPT_LIMIT)));
        world.turn();
        assert!(matches!(world.lines.links[0].state, State::Connecting(..)));
        let failures = world.backplane.counts().failures;
        world.now.mono = NOW.mono.plus(ATTEMPT_LIMIT);
        world.until(|world| (world.backplane.counts().failures > failures).then_some(()));
        assert!(!world.is_up(0) && world.lines.links[0].failed > 0);
    }

    #[test]
    fn a_server_of_a_cluster_may_name_another() {
        let target = Target::Tcp {
            host: RedisHost::Name("redis.example".into()),
            port: 6379,
            is_encrypted: true,
        };
        for (address, host) in [
            ("10.0.0.1:7000", "10.0.0.1:7000"),
            ("2001:db8::1:7000", "[2001:db8::1]:7000"),
            ("other.example:7000", "other.example:7000"),
            (":7000", "redis.example:7000"),
        ] {
            let moved = target.moved(address).unwrap();
            assert_eq!(moved.host(), host, "{address}");
            let Target::Tcp { is_encrypted, .. } = moved else { panic!("{address}") };
            assert!(is_encrypted);
        }
        for address in ["", ":", "a", "a:", "a:0", "a:65536", "a:x"] {
            assert!(target.moved(address).is_err(), "{address}");
        }
        assert!(Target::Unix(Path::new("/a").into()).moved("a:1").is_err());
    }
}
