//! Coming back: 10,000 readers of `elbow.v1` reconnect with their position while messages are
//! published, beside 10,000 plain WebSockets that merely connect again.
//!
//! Both kinds take turns on one server. A turn begins with the first connect, and ends when each
//! reader has a message that was published after the last of them was let in. Readers that come
//! back have missed a hundred messages; that each gets all of them, in order and once, is checked
//! for each. Meanwhile a stranger asks for `/healthz` every 5 ms, and another asks an idle server
//! the like: what that takes is the machine's share.
//!
//! `cargo bench --bench returning`. Nothing here is asserted but that everybody got everything.

#[expect(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use support::contest::{self, median};
use support::histogram::quantiles;
use support::load::{Setup, join};
use support::probe::{self, Ask};
use support::process::Process;
use support::{clock, roles, say};

const READERS: usize = 10_000;
const ROUNDS: usize = 5;
/// Connections that have not been let in yet, at one time.
const TOGETHER: usize = 256;
/// Between two messages: 10 a second are 100,000 deliveries, half of what server and readers can do
/// on two cores. With twice as many a crowd falls behind now and then and the turn lasts seconds,
/// plain or returning.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(100);
/// What a reader that comes back has missed.
const MISSED: u64 = 100;
/// Bytes of a message; it begins with its number in so many digits.
const MESSAGE_BYTES: usize = 100;
const NUMBER_BYTES: usize = 12;
/// A turn that takes longer has failed.
const TURN_LIMIT_NS: u64 = 60_000_000_000;
const STRANGER_INTERVAL: Duration = Duration::from_millis(5);
/// Less than a turn takes: strangers come while the crowd is let in and served.
const STRANGERS_LENGTH: Duration = Duration::from_millis(500);
/// Longer than a server takes to notice that all readers have gone.
const FAREWELL_LENGTH: Duration = Duration::from_secs(1);

/// How a reader connects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Returning,
}

/// Somebody who publishes at a steady pace, until the bench is over.
struct Publisher {
    /// Messages that were published.
    said: Arc<AtomicU64>,
    _thread: JoinHandle<()>,
}

/// A connection and what it has heard.
struct Reader {
    stream: TcpStream,
    asked: bool,
    is_in: bool,
    /// The number of the message that comes next; `None` before the first of a plain reader.
    next: Option<u64>,
    /// What has come and is not whole.
    rest: Vec<u8>,
}

fn main() {
    let Some(_) = roles::play() else { return };
    let flags = ["--history", "100000", "--history-age", "60m"];
    let server = Process::elbow(&contest::elbow_path(), &flags);
    let idle = Process::elbow(&contest::elbow_path(), &[]);
    let publisher = Publisher::start(server.address);
    while publisher.said() < MISSED + 10 {
        thread::sleep(MESSAGE_INTERVAL);
    }
    let mut lengths = [const { Vec::new() }; 2];
    let mut costs = [const { Vec::new() }; 2];
    let mut text = format!("{READERS} readers connect while messages are published\n");
    for round in 0..=ROUNDS {
        for kind in [Kind::Plain, Kind::Returning] {
            let ask =
                |address| probe::start(address, Ask::Health, STRANGER_INTERVAL, STRANGERS_LENGTH);
            let waited = [ask(server.address), ask(idle.address)];
            let source = Ipv4Addr::new(127, 0, 2 + round as u8, 1 + kind as u8);
            let before_ns = server.cpu_ns();
            let (length_ns, readers) = turn(server.address, source, kind, &publisher)
                .unwrap_or_else(|why| say::fail(&format!("{}: {why}", kind.name())));
            let cpu_ns = server.cpu_ns() - before_ns;
            let waited =
                waited.map(|waited| waited.join().unwrap_or_else(|_| say::fail("a probe failed")));
            // The strangers of the next turn do not wait for this crowd's farewell.
            drop(readers);
            thread::sleep(FAREWELL_LENGTH);
            if round > 0 {
                lengths[kind as usize].push(length_ns as f64 / 1e6);
                costs[kind as usize].push(cpu_ns as f64 / 1e6);
                for (who, waited) in ["stranger", "(idle elbow)"].into_iter().zip(&waited) {
                    let _ = writeln!(text, "  {:<12}{who:<14}{}", kind.name(), quantiles(waited));
                }
            }
        }
    }
    for kind in [Kind::Plain, Kind::Returning] {
        let middle = |all: &[f64]| median(all.iter().copied());
        let (length, cost) = (middle(&lengths[kind as usize]), middle(&costs[kind as usize]));
        let _ = writeln!(text, "  {:<12}{length:>8.0} ms, {cost:>8.0} ms CPU", kind.name());
    }
    let [plain, returning] = &lengths;
    let quotients = returning.iter().zip(plain).map(|(one, other)| one / other);
    let _ = writeln!(text, "  returning / plain  {:.3}", median(quotients));
    say::say(&text);
    contest::leave("returning.txt", &text);
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Plain => "plain",
            Kind::Returning => "returning",
        }
    }
}

impl Publisher {
    fn start(address: SocketAddr) -> Publisher {
        let joined = join(&Setup::plain(address, 1), [0].into_iter());
        let (mut stream, _, _) = joined
            .ok()
            .and_then(|mut all| all.pop())
            .unwrap_or_else(|| say::fail("the publisher is not let in"));
        let said = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&said);
        let mut ears = stream.try_clone().unwrap_or_else(|_| say::fail("a socket has two ends"));
        // Its own echoes are read, so that it does not lag.
        thread::spawn(move || while ears.read(&mut [0; 65_536]).is_ok_and(|bytes| bytes > 0) {});
        let thread = thread::spawn(move || {
            loop {
                let number = count.load(Ordering::Relaxed) + 1;
                let mut frame = vec![0x81, 0x80 | MESSAGE_BYTES as u8, 0, 0, 0, 0];
                frame.extend(format!("{number:0NUMBER_BYTES$}").bytes());
                frame.resize(6 + MESSAGE_BYTES, b'x');
                if stream.write_all(&frame).is_err() {
                    return;
                }
                count.store(number, Ordering::Relaxed);
                thread::sleep(MESSAGE_INTERVAL);
            }
        });
        Publisher { said, _thread: thread }
    }

    fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }
}

/// All readers connect and are served; nanoseconds until each has what it is to have. They stay
/// for as long as the caller keeps them.
fn turn(
    address: SocketAddr,
    source: Ipv4Addr,
    kind: Kind,
    publisher: &Publisher,
) -> Result<(u64, Vec<Reader>), String> {
    // The position is that of a message, whose number is the publisher's: it alone speaks.
    let epoch = epoch(address)?;
    let since = publisher.said() - MISSED;
    let (path, protocol) = match kind {
        Kind::Plain => ("/ws".to_owned(), ""),
        Kind::Returning => {
            (format!("/ws?since={epoch}.{since}"), "Sec-WebSocket-Protocol: elbow.v1\r\n")
        }
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n"
    );
    let first = (kind == Kind::Returning).then_some(since + 1);
    let mut poll = Poll::new().map_err(|error| error.to_string())?;
    let mut events = Events::with_capacity(1024);
    let mut readers: Vec<Reader> = Vec::with_capacity(READERS);
    let mut buffer = vec![0; 1 << 20];
    let (mut are_in, mut target, mut waiting) = (0, None, VecDeque::new());
    let begun_ns = clock::now_ns();
    loop {
        while readers.len() < READERS && readers.len() - are_in < TOGETHER {
            let mut stream = connect(address, source).map_err(|error| error.to_string())?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            let token = Token(readers.len());
            poll.registry()
                .register(&mut stream, token, interest)
                .map_err(|error| error.to_string())?;
            readers.push(Reader {
                stream,
                asked: false,
                is_in: false,
                next: first,
                rest: Vec::new(),
            });
        }
        if are_in == READERS && target.is_none() {
            target = Some(publisher.said() + 1);
            waiting = (0..READERS).collect();
        }
        if let Some(target) = target {
            // Whoever has it is not asked again.
            while let Some(first) = waiting.front()
                && readers[*first].next.is_some_and(|next| next > target)
            {
                waiting.pop_front();
            }
            if waiting.is_empty() {
                return Ok((clock::now_ns() - begun_ns, readers));
            }
        }
        poll.poll(&mut events, Some(Duration::from_millis(100)))
            .map_err(|error| error.to_string())?;
        for event in &events {
            let reader = &mut readers[event.token().0];
            let was_in = reader.is_in;
            reader.go_on(&request, &mut buffer)?;
            are_in += usize::from(reader.is_in && !was_in);
        }
        if clock::now_ns() - begun_ns > TURN_LIMIT_NS {
            return Err(format!("{are_in} are in, and {} lack something", waiting.len()));
        }
    }
}

impl Reader {
    /// Asks, if that has not been done, and takes in what there is.
    fn go_on(&mut self, request: &str, buffer: &mut [u8]) -> Result<(), String> {
        if !self.asked {
            match self.stream.write(request.as_bytes()) {
                Ok(bytes) if bytes == request.len() => self.asked = true,
                Ok(_) => return Err("half a request".to_owned()),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("cannot ask: {error}")),
            }
        }
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("closed".to_owned()),
                Ok(bytes) => self.understand(&buffer[..bytes])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("cannot read: {error}")),
            }
        }
    }

    /// Takes in what has come, and keeps what is not whole. What is whole is looked at where it
    /// lies: the load must not be what is measured.
    fn understand(&mut self, came: &[u8]) -> Result<(), String> {
        if self.rest.is_empty() {
            let taken = self.take_in(came)?;
            self.rest.extend_from_slice(&came[taken..]);
            return Ok(());
        }
        let mut bytes = core::mem::take(&mut self.rest);
        bytes.extend_from_slice(came);
        let taken = self.take_in(&bytes)?;
        bytes.drain(..taken);
        self.rest = bytes;
        Ok(())
    }

    /// Takes in the head, and whole frames: each message is the one that comes next. How many bytes
    /// that were.
    fn take_in(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let mut at = 0;
        if !self.is_in {
            let Some(end) = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                return Ok(0);
            };
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                return Err(String::from_utf8_lossy(&bytes[..end]).into_owned());
            }
            self.is_in = true;
            at = end + 4;
        }
        while let [first, length, behind @ ..] = &bytes[at..] {
            let length = usize::from(*length);
            if length > 125 {
                return Err(format!("a frame of {length}"));
            }
            let Some(payload) = behind.get(..length) else { break };
            at += 2 + length;
            if *first != 0x81 || payload.starts_with(b"\n") {
                continue;
            }
            let said = payload.len().checked_sub(MESSAGE_BYTES).map(|line| &payload[line..]);
            let digits = said.and_then(|said| said.first_chunk::<NUMBER_BYTES>());
            let number = digits.and_then(number).ok_or("a message without its number")?;
            if self.next.is_some_and(|next| next != number) {
                return Err(format!("{number} comes where {:?} should", self.next));
            }
            self.next = Some(number + 1);
        }
        Ok(at)
    }
}

/// The number at the beginning of a message.
fn number(digits: &[u8; NUMBER_BYTES]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

fn connect(address: SocketAddr, source: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error)
            if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            return Err(error);
        }
        Ok(()) | Err(_) => {}
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// The epoch of the channel's positions, from what it says to a newcomer.
fn epoch(address: SocketAddr) -> Result<String, String> {
    let mut stream = std::net::TcpStream::connect(address).map_err(|error| error.to_string())?;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: elbow.v1\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let bytes = stream.read(&mut buffer).map_err(|error| error.to_string())?;
        heard.extend_from_slice(&buffer[..bytes]);
        let text = String::from_utf8_lossy(&heard);
        if let Some((_, behind)) = text.split_once("\"position\":\"")
            && let Some((epoch, _)) = behind.split_once('.')
        {
            return Ok(epoch.to_owned());
        }
        if bytes == 0 {
            return Err("no greeting".to_owned());
        }
    }
}
