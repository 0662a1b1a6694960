//! Strangers: every few milliseconds somebody connects, asks one thing and goes.
//!
//! Each is timed from before `connect` to the first byte of the answer, and none waits for another:
//! a slow answer does not keep later ones from being asked for. All in one thread, which sleeps in
//! between; what the machine itself adds is seen by asking an idle server at the same time.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::histogram::Histogram;
use super::{clock, say};

/// An unanswered stranger is waited for so long after the last one came.
const ANSWER_LIMIT_NS: u64 = 60_000_000_000;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// `GET /healthz`.
    Health,
    /// A WebSocket, in a channel where nothing is said.
    Upgrade,
}

impl Ask {
    fn request(self) -> &'static [u8] {
        match self {
            Ask::Health => b"GET /healthz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n",
            Ask::Upgrade => {
                b"GET /ws/probe HTTP/1.1\r\nHost: probe\r\nUpgrade: websocket\r\n\
                  Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            }
        }
    }

    fn answer(self) -> &'static [u8] {
        match self {
            Ask::Health => b"HTTP/1.1 200 ",
            Ask::Upgrade => b"HTTP/1.1 101 ",
        }
    }
}

struct Stranger {
    stream: TcpStream,
    came_ns: u64,
    asked: bool,
}

struct Probe {
    poll: Poll,
    address: SocketAddr,
    ask: Ask,
    strangers: Slab<Stranger>,
    waited: Histogram,
}

/// Sends a stranger each `interval` for `length`; the thread returns how long they waited.
pub(crate) fn start(
    address: SocketAddr,
    ask: Ask,
    interval: Duration,
    length: Duration,
) -> JoinHandle<Histogram> {
    thread::spawn(move || {
        Probe::new(address, ask)
            .and_then(|probe| probe.run(interval, length))
            .unwrap_or_else(|error| say::fail(&format!("probe of {address}: {error}")))
    })
}

impl Probe {
    fn new(address: SocketAddr, ask: Ask) -> io::Result<Probe> {
        let strangers = Slab::new();
        Ok(Probe { poll: Poll::new()?, address, ask, strangers, waited: Histogram::new() })
    }

    fn run(mut self, interval: Duration, length: Duration) -> io::Result<Histogram> {
        let mut events = Events::with_capacity(256);
        let begun_ns = clock::now_ns();
        let ends_ns = begun_ns + length.as_nanos() as u64;
        let mut next_ns = begun_ns;
        loop {
            let now_ns = clock::now_ns();
            if now_ns >= next_ns && next_ns < ends_ns {
                self.come(now_ns)?;
                next_ns += interval.as_nanos() as u64;
                continue;
            }
            if next_ns >= ends_ns && self.strangers.is_empty() {
                return Ok(self.waited);
            }
            if now_ns > ends_ns + ANSWER_LIMIT_NS {
                return Err(io::Error::other("some were not answered"));
            }
            let patience = Duration::from_nanos(next_ns.saturating_sub(now_ns));
            self.poll.poll(&mut events, Some(patience.min(Duration::from_secs(1))))?;
            for event in &events {
                self.go_on(event.token().0)?;
            }
        }
    }

    fn come(&mut self, now_ns: u64) -> io::Result<()> {
        let vacant = self.strangers.vacant_entry();
        let mut stream = TcpStream::connect(self.address)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(vacant.key()), interest)?;
        vacant.insert(Stranger { stream, came_ns: now_ns, asked: false });
        Ok(())
    }

    fn go_on(&mut self, key: usize) -> io::Result<()> {
        let Some(stranger) = self.strangers.get_mut(key) else { return Ok(()) };
        if !stranger.asked {
            match stranger.stream.write(self.ask.request()) {
                Ok(_) => stranger.asked = true,
                Err(error) if is_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let mut buffer = [0; 4096];
        match stranger.stream.read(&mut buffer) {
            Ok(count) if buffer[..count].starts_with(self.ask.answer()) => {
                self.waited.record(clock::now_ns() - stranger.came_ns);
                self.strangers.remove(key);
                Ok(())
            }
            Ok(count) => {
                let answer = String::from_utf8_lossy(&buffer[..count.min(80)]).into_owned();
                Err(io::Error::other(answer))
            }
            Err(error) if is_later(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Not connected yet, or nothing there yet.
fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}
