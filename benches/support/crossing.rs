//! A room that several servers share: members at each, all of whom publish and read.
//!
//! Nobody knows beforehand in which order the messages of several publishers come, so each member
//! keeps the order in which it heard them. Afterwards that is compared: whether each has every
//! message once, those of one publisher in their order, and all have one order. What is found is
//! counted, not asserted; whoever measures decides what may be.
//!
//! All members live in the thread of the bench, which sleeps until something arrives. What becomes
//! due while it looks at what has arrived is sent with one call for each publisher.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::clock::{self, Ticker};
use super::histogram::Histogram;
use super::load::{Between, Dialect, Setup, join};

const TICKER: Token = Token(usize::MAX);
const EVENTS_MAX: usize = 256;
const BUFFER_BYTES: usize = 256 * 1024;
/// Bytes of a message. It begins with its number, so that it is text in every dialect.
const MESSAGE_BYTES: usize = 100;
const NUMBER_BYTES: usize = 12;
/// A run ends early rather than remember more messages than this.
const MESSAGES_MAX: usize = 4_000_000;
/// Nothing has arrived for this long: what is missing is lost.
const STALL_LIMIT_NS: u64 = 4_000_000_000;
/// How often is tried whether all servers hear each other.
const MEETING_INTERVAL: Duration = Duration::from_millis(100);
const MEETING_ATTEMPTS: usize = 200;
/// What was said before a run, to see whether all hear it, has come after this long.
const QUIET: Duration = Duration::from_millis(300);

/// When the next message is published.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tempo {
    /// Each publisher has so many that not yet everybody has heard.
    Window(usize),
    /// So many a second in all, the publishers in turns; a message's time begins when it was due.
    Rate(u64),
}

/// The members of a room.
pub(crate) struct Room {
    poll: Poll,
    ticker: Ticker,
    dialect: Dialect,
    members: Vec<Member>,
    servers: usize,
    buffer: Vec<u8>,
    prefix: Vec<u8>,
    payload: Vec<u8>,
    said: Said,
    /// The number of the first message of this run: no two in a room's life have one number.
    first: u64,
    crossed: Histogram,
    stayed: Histogram,
}

struct Member {
    stream: TcpStream,
    server: usize,
    /// What was read and is not whole.
    rest: Vec<u8>,
    unsent: Vec<u8>,
    /// Messages of its own that not yet everybody has.
    outstanding: usize,
    /// Messages of this run in the order in which they came, by their place in it.
    heard: Vec<u32>,
    /// Which messages of this run have come.
    has: Vec<bool>,
    doubled: u64,
}

/// The messages of a run.
#[derive(Default)]
struct Said {
    sent_ns: Vec<u64>,
    publisher: Vec<u32>,
    /// How many members have each.
    delivered: Vec<u32>,
    deliveries: usize,
    began_ns: u64,
    last_ns: u64,
    is_over: bool,
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    /// Messages that were published.
    pub(crate) messages: u64,
    /// From the first message to the last delivery.
    pub(crate) elapsed_ns: u64,
    /// 50 and 99 % of the time to members at another server than the publisher's.
    pub(crate) crossed_ns: [u64; 2],
    /// The like to members at the publisher's server.
    pub(crate) stayed_ns: [u64; 2],
    /// When something first came across after the moment that was asked for; 0 if nothing did.
    pub(crate) first_crossed_ns: u64,
    /// Deliveries that were due and did not come.
    pub(crate) lost: u64,
    /// Deliveries of what somebody had already.
    pub(crate) doubled: u64,
    /// Messages that came before an earlier one of their publisher.
    pub(crate) overtaken: u64,
    /// The largest share of neighbours at one member that had the other order at the first one.
    pub(crate) swapped: f64,
}

impl Heard {
    /// Messages a second.
    pub(crate) fn messages_per_s(&self) -> f64 {
        self.messages as f64 * 1e9 / self.elapsed_ns.max(1) as f64
    }

    /// Whether everybody has heard everything once and in one order.
    pub(crate) fn is_whole(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.overtaken == 0 && self.swapped == 0.0
    }
}

impl Room {
    /// `members` at each of `servers`, who are known to hear each other.
    pub(crate) fn open(
        dialect: Dialect,
        servers: &[SocketAddr],
        members: usize,
    ) -> Result<Room, String> {
        let poll = Poll::new().map_err(|error| error.to_string())?;
        let ticker = Ticker::new(&poll, TICKER)?;
        let mut all = Vec::new();
        for (server, address) in servers.iter().enumerate() {
            let setup = Setup { dialect, ..Setup::plain(*address, members) };
            for (stream, _, rest) in join(&setup, core::iter::repeat_n(0, members))? {
                let member = Member::new(&poll, Token(all.len()), stream, server, rest);
                all.push(member.map_err(|error| error.to_string())?);
            }
        }
        let letters = (b'a'..=b'z').cycle();
        let mut room = Room {
            poll,
            ticker,
            dialect,
            members: all,
            servers: servers.len(),
            buffer: vec![0; BUFFER_BYTES],
            prefix: dialect.prefix(0, 1),
            payload: letters.take(MESSAGE_BYTES).collect(),
            said: Said::default(),
            first: 0,
            crossed: Histogram::new(),
            stayed: Histogram::new(),
        };
        room.meet()?;
        Ok(room)
    }

    /// Publishes at each server until each member has heard a message of each; then waits until
    /// nothing of that is under way.
    fn meet(&mut self) -> Result<(), String> {
        self.begin();
        let each = self.members.len() / self.servers;
        for _ in 0..MEETING_ATTEMPTS {
            for server in 0..self.servers {
                self.publish(server * each, clock::now_ns());
            }
            self.listen(MEETING_INTERVAL)?;
            if self.members.iter().all(|member| self.has_met(member)) {
                return self.listen(QUIET);
            }
        }
        Err("not every member hears every server".to_owned())
    }

    /// Takes whatever comes for so long.
    fn listen(&mut self, length: Duration) -> Result<(), String> {
        let until_ns = clock::now_ns() + length.as_nanos() as u64;
        while clock::now_ns() < until_ns {
            self.look(length, 0)?;
        }
        Ok(())
    }

    fn has_met(&self, member: &Member) -> bool {
        let from = |place: &u32| self.members[self.said.publisher[*place as usize] as usize].server;
        (0..self.servers).all(|server| member.heard.iter().any(|place| from(place) == server))
    }

    /// Publishes for `limit_ms`, and returns when everybody has everything, or nothing comes any
    /// more. `since_ns` is the moment from which on the first message to cross is looked for.
    pub(crate) fn run(&mut self, tempo: Tempo, limit_ms: u64) -> Result<Heard, String> {
        self.run_beside(tempo, limit_ms, &mut || u64::MAX)
    }

    /// The like; `since_ns` is asked after each look for the moment, if it has come, from which on
    /// the first message to cross is looked for.
    pub(crate) fn run_beside(
        &mut self,
        tempo: Tempo,
        limit_ms: u64,
        since_ns: &mut dyn FnMut() -> u64,
    ) -> Result<Heard, String> {
        self.begin();
        if let Tempo::Rate(rate) = tempo {
            self.ticker.set(1_000_000_000 / rate)?;
        }
        let mut first_crossed_ns = 0;
        let everything = |room: &Room| room.said.sent_ns.len() * room.members.len();
        while !self.said.is_over || self.said.deliveries < everything(self) {
            let now_ns = clock::now_ns();
            let over = now_ns - self.said.began_ns >= limit_ms * 1_000_000;
            self.said.is_over |= over || self.said.sent_ns.len() >= MESSAGES_MAX;
            if now_ns.saturating_sub(self.said.last_ns.max(self.said.began_ns)) > STALL_LIMIT_NS
                && self.said.is_over
            {
                break;
            }
            if !self.said.is_over {
                self.publish_due(tempo, now_ns);
            }
            let since_ns = since_ns();
            let crossed_ns = self.look(Duration::from_millis(100), since_ns)?;
            if first_crossed_ns == 0 {
                first_crossed_ns = crossed_ns;
            }
        }
        self.ticker.set(0)?;
        Ok(self.judge(first_crossed_ns))
    }

    fn begin(&mut self) {
        self.first += self.said.sent_ns.len() as u64;
        self.said = Said { began_ns: clock::now_ns(), ..Said::default() };
        self.crossed.clear();
        self.stayed.clear();
        for member in &mut self.members {
            member.outstanding = 0;
            member.heard.clear();
            member.has.clear();
            member.doubled = 0;
        }
    }

    fn publish_due(&mut self, tempo: Tempo, now_ns: u64) {
        match tempo {
            Tempo::Window(window) => {
                for at in 0..self.members.len() {
                    while self.members[at].outstanding < window {
                        self.publish(at, now_ns);
                    }
                }
            }
            Tempo::Rate(rate) => loop {
                let published = self.said.sent_ns.len();
                let due_ns = self.said.began_ns + published as u64 * 1_000_000_000 / rate;
                if due_ns > now_ns {
                    break;
                }
                // One at each server in turns.
                let each = self.members.len() / self.servers;
                let at = published % self.servers * each + published / self.servers % each;
                self.publish(at, due_ns);
            },
        }
    }

    fn publish(&mut self, at: usize, at_ns: u64) {
        let mut number = self.first + self.said.sent_ns.len() as u64;
        for digit in self.payload[..NUMBER_BYTES].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.said.sent_ns.push(at_ns);
        self.said.publisher.push(at as u32);
        self.said.delivered.push(0);
        let member = &mut self.members[at];
        member.outstanding += 1;
        self.dialect.push_published(&mut member.unsent, &self.prefix, &self.payload);
    }

    /// Sends what is to be sent, waits for at most `patience`, and takes what has arrived. When
    /// something first came across that did so after `since_ns`; 0 if nothing did.
    fn look(&mut self, patience: Duration, since_ns: u64) -> Result<u64, String> {
        for member in &mut self.members {
            member.send()?;
        }
        let mut events = Events::with_capacity(EVENTS_MAX);
        match self.poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(format!("epoll: {error}"));
            }
            Ok(()) | Err(_) => {}
        }
        let mut first_ns = 0;
        for event in &events {
            if event.token() == TICKER {
                self.ticker.take();
            } else if event.is_readable() {
                let crossed_ns = self.read(event.token().0, since_ns)?;
                first_ns = if first_ns == 0 { crossed_ns } else { first_ns };
            }
        }
        Ok(first_ns)
    }

    fn read(&mut self, at: usize, since_ns: u64) -> Result<u64, String> {
        let mut buffer = core::mem::take(&mut self.buffer);
        let mut first_ns = 0;
        loop {
            let count = match self.members[at].stream.read(&mut buffer) {
                Ok(0) => return Err(format!("member {at} was closed")),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("member {at}: {error}")),
            };
            let mut rest = core::mem::take(&mut self.members[at].rest);
            let used = if rest.is_empty() {
                self.take(at, &buffer[..count], since_ns, &mut first_ns)?
            } else {
                rest.extend_from_slice(&buffer[..count]);
                self.take(at, &rest, since_ns, &mut first_ns)?
            };
            if rest.is_empty() {
                rest.extend_from_slice(&buffer[used..count]);
            } else {
                rest.drain(..used);
            }
            self.members[at].rest = rest;
            if count < buffer.len() {
                break;
            }
        }
        self.buffer = buffer;
        Ok(first_ns)
    }

    /// Takes whole frames; the bytes used.
    fn take(
        &mut self,
        at: usize,
        bytes: &[u8],
        since_ns: u64,
        first_ns: &mut u64,
    ) -> Result<usize, String> {
        let now_ns = clock::now_ns();
        let mut used = 0;
        while let Some((head, length)) = frame_length(&bytes[used..]) {
            let frame = &bytes[used..used + length];
            if let Some(number) = self.number_in(&frame[head..]) {
                if self.hear(at, number, now_ns) && now_ns >= since_ns && *first_ns == 0 {
                    *first_ns = now_ns;
                }
            } else if let Between::Ping(_, answer) = self.dialect.between(frame) {
                self.members[at].unsent.extend_from_slice(&answer);
            } else if frame[0] != 0x81 {
                let text = String::from_utf8_lossy(&frame[head..]);
                return Err(format!("member {at} was sent {:#x} {text}", frame[0]));
            }
            used += length;
        }
        Ok(used)
    }

    /// The number of a message, if `text` is one of ours; anything else is a greeting.
    fn number_in(&self, text: &[u8]) -> Option<u64> {
        let payload = text.strip_prefix(&self.prefix[..])?.get(..MESSAGE_BYTES)?;
        let (number, letters) = payload.split_at(NUMBER_BYTES);
        let number = core::str::from_utf8(number).ok()?.parse().ok()?;
        (*letters == self.payload[NUMBER_BYTES..]).then_some(number)
    }

    /// Counts a delivery; whether it came from another server.
    fn hear(&mut self, at: usize, number: u64, now_ns: u64) -> bool {
        // What is of an earlier run was counted as lost there.
        let Some(place) = number.checked_sub(self.first) else { return false };
        let place = place as usize;
        let Some(publisher) = self.said.publisher.get(place) else { return false };
        let publisher = *publisher as usize;
        let member = &mut self.members[at];
        member.has.resize(member.has.len().max(place + 1), false);
        if core::mem::replace(&mut member.has[place], true) {
            member.doubled += 1;
            return false;
        }
        member.heard.push(place as u32);
        let server = member.server;
        let took_ns = now_ns.saturating_sub(self.said.sent_ns[place]);
        let crosses = server != self.members[publisher].server;
        if crosses {
            self.crossed.record(took_ns)
        } else {
            self.stayed.record(took_ns)
        }
        self.said.deliveries += 1;
        self.said.last_ns = now_ns;
        self.said.delivered[place] += 1;
        if self.said.delivered[place] as usize == self.members.len() {
            self.members[publisher].outstanding -= 1;
        }
        crosses
    }

    fn judge(&self, first_crossed_ns: u64) -> Heard {
        let messages = self.said.sent_ns.len();
        let ends = |histogram: &Histogram| [0.5, 0.99].map(|share| histogram.quantile(share));
        let mut overtaken = 0;
        let mut swapped: f64 = 0.0;
        let mut place_at_first = vec![u32::MAX; messages];
        for (at, place) in (0..).zip(&self.members[0].heard) {
            place_at_first[*place as usize] = at;
        }
        for member in &self.members {
            let mut last = vec![0; self.members.len()];
            for place in &member.heard {
                let last = &mut last[self.said.publisher[*place as usize] as usize];
                overtaken += u64::from(*place < *last);
                *last = *place;
            }
            let orders = member.heard.windows(2).map(|two| {
                let [one, other] = [two[0], two[1]].map(|place| place_at_first[place as usize]);
                one > other && one != u32::MAX
            });
            let others = orders.filter(|other| *other).count();
            swapped = swapped.max(others as f64 / member.heard.len().max(1) as f64);
        }
        Heard {
            messages: messages as u64,
            elapsed_ns: self.said.last_ns.saturating_sub(self.said.began_ns),
            crossed_ns: ends(&self.crossed),
            stayed_ns: ends(&self.stayed),
            first_crossed_ns,
            lost: (messages * self.members.len() - self.said.deliveries) as u64,
            doubled: self.members.iter().map(|member| member.doubled).sum(),
            overtaken,
            swapped,
        }
    }
}

impl Member {
    fn new(
        poll: &Poll,
        token: Token,
        stream: std::net::TcpStream,
        server: usize,
        rest: Vec<u8>,
    ) -> io::Result<Member> {
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Member {
            stream,
            server,
            rest,
            unsent: Vec::new(),
            outstanding: 0,
            heard: Vec::new(),
            has: Vec::new(),
            doubled: 0,
        })
    }

    /// Sends what the socket takes. The rest goes when it may take more, which wakes the poll.
    fn send(&mut self) -> Result<(), String> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        match self.stream.write(&self.unsent) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("cannot publish: {error}")),
        }
        Ok(())
    }
}

/// The bytes of the header and of the whole of the server's frame that `bytes` begin with, if that
/// is whole.
fn frame_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let (head, length) = match *bytes {
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        [_, length @ ..126, ..] => (2, usize::from(length)),
        _ => return None,
    };
    (bytes.len() >= head + length).then_some((head, head + length))
}
