//! elbow's core in a program of your own: `cargo run --example embed`.
//!
//! The core is driven by calls. It is told what happens (a connection came, a socket can be read,
//! it is such a time) and does what follows; it has no thread, opens no socket and reads no clock.
//! Here its sockets are buffers and its time is invented: Ann and Bob connect, Ann says something,
//! nobody says anything for half a minute, the server takes leave. It all happens at once. All that
//! it takes is in this file, so that it can be read and copied alone; elbow's own tests share a
//! larger harness (`tests/harness`).
//!
//! With real sockets the steps are the same ones, in a loop (`src/shell/mod.rs`): wait for events,
//! but no longer than until [`Server::poll_timeout`]; pass them to [`Server::accept`] and
//! [`Server::ready`]; call [`Server::run`] until it has no more to do; take what there is to tell
//! from [`Server::poll_event`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

use elbow::config::{self, Activated, Command, Machine};
use elbow::id::ConnId;
use elbow::server::{Event, Listener, Readiness, Server, Socket};
use elbow::site::Site;
use elbow::time::{Instant, Now};

/// A connection between a client and the server: what the one says, what the other hears.
#[derive(Clone, Default)]
struct Wire {
    to_server: Rc<RefCell<VecDeque<u8>>>,
    to_client: Rc<RefCell<Vec<u8>>>,
}

impl Socket for Wire {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.to_server.borrow_mut().read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn write(&self, slices: &[&[u8]; 4]) -> io::Result<usize> {
        let bytes = slices.concat();
        self.to_client.borrow_mut().extend(&bytes);
        Ok(bytes.len())
    }

    fn shutdown_write(&self) {}

    fn cut(&self) {}
}

/// The server with two clients, and the time that all of it takes place in.
struct World {
    server: Server<Wire>,
    clients: Vec<(&'static str, Wire, ConnId)>,
    now: Now,
    lines: Vec<String>,
}

impl World {
    fn new() -> World {
        let machine = Machine {
            descriptors_hard: 1024,
            memory_bytes: None,
            memory_is_shared: true,
            activated: Activated::NONE,
            admin_credential: false,
        };
        let command = config::parse(["elbow".into()], |_| None, &machine);
        let Ok(Command::Run(config)) = command else { panic!("the defaults mean: run") };
        // In earnest these are random: ids that nobody may guess are made of them.
        let seed = [7; 32];
        let server = Server::new(config.settings, Site::new(vec![], true), seed, at(0));
        World { server, clients: Vec::new(), now: at(0), lines: Vec::new() }
    }

    fn connect(&mut self, name: &'static str) {
        let wire = Wire::default();
        let peer = "203.0.113.7:51034".parse().expect("an address and a port");
        let id = self.server.accept(self.now, Listener::Public, peer, wire.clone());
        self.clients.push((name, wire, id));
        self.say(name, UPGRADE);
    }

    fn say(&mut self, name: &str, bytes: &[u8]) {
        let (_, wire, id) =
            self.clients.iter().find(|client| client.0 == name).expect("it has connected");
        wire.to_server.borrow_mut().extend(bytes);
        let readable = Readiness { readable: true, ..Readiness::default() };
        self.server.ready(self.now, *id, readable);
        self.settle();
    }

    /// Lets the server do what is to be done now, and writes down what came of it.
    fn settle(&mut self) {
        while self.server.run(self.now) {}
        let mut news = Vec::new();
        for (name, wire, _) in &self.clients {
            let heard = wire.to_client.take();
            if !heard.is_empty() {
                news.push(format!("{name} hears {}", words(&heard)));
            }
        }
        while let Some(event) = self.server.poll_event() {
            if let Event::Opened { channel, .. } = &event {
                news.push(format!("open, channel {channel}"));
            } else if let Event::Closed { reason, messages_in, messages_out, .. } = &event {
                let why = reason.text();
                news.push(format!("close, {why}, {messages_in} in, {messages_out} out"));
            }
            // The server makes the next event of this one's memory.
            self.server.recycle(event);
        }
        let ms = self.now.mono.as_millis();
        let at = format!("{:2}.{} s", ms / 1000, ms % 1000 / 100);
        self.lines.extend(news.iter().map(|news| format!("{at}  {news}")));
    }

    /// Time goes by, from one deadline of the server to the next.
    fn wait_until(&mut self, ms: u64) {
        while let Some(next) = self.server.poll_timeout().filter(|next| *next <= at(ms).mono) {
            self.now = at(next.as_millis().max(self.now.mono.as_millis()));
            self.settle();
        }
        self.now = at(ms);
    }
}

/// So many milliseconds after the beginning.
fn at(ms: u64) -> Now {
    Now { mono: Instant::from_millis(ms), unix_s: 1_795_000_000 + ms / 1000 }
}

/// What the bytes from the server mean, as far as this conversation goes.
fn words(bytes: &[u8]) -> String {
    match bytes {
        [0x81, _, text @ ..] => format!("{:?}", String::from_utf8_lossy(text)),
        [0x88, _, high, low, ..] => format!("close {}", u16::from_be_bytes([*high, *low])),
        [0x89, ..] => "a ping".to_owned(),
        head => String::from_utf8_lossy(head).lines().next().unwrap_or_default().to_owned(),
    }
}

/// The whole of it, a line for each thing that is heard or told.
fn conversation() -> Vec<String> {
    let mut world = World::new();
    world.connect("Ann");
    world.connect("Bob");
    world.wait_until(1_000);
    world.say("Ann", HELLO);
    world.wait_until(30_000);
    world.server.drain(world.now, at(31_000).mono);
    world.wait_until(40_000);
    world.server.check();
    world.lines
}

#[expect(clippy::disallowed_macros, reason = "an example speaks to whoever runs it")]
fn main() {
    for line in conversation() {
        println!("{line}");
    }
}

const UPGRADE: &[u8] = b"GET /ws/news HTTP/1.1\r\nHost: chat.example\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A frame with a text, masked as a client's must be; with zeros, so that it can be read here.
const HELLO: &[u8] = b"\x81\x85\0\0\0\0hello";

#[test]
fn everybody_hears_what_was_said_is_pinged_and_told_of_the_end() {
    let expected = [
        "Ann hears HTTP/1.1 101 Switching Protocols",
        "open, channel news",
        "Bob hears HTTP/1.1 101 Switching Protocols",
        "open, channel news",
        "Ann hears \"hello\"",
        "Bob hears \"hello\"",
        "Bob hears a ping",
        "Ann hears a ping",
        "Ann hears close 1001",
        "close, going away, 1 in, 1 out",
        "Bob hears close 1001",
        "close, going away, 0 in, 1 out",
    ];
    let lines = conversation();
    let heard: Vec<&str> = lines.iter().filter_map(|line| line.split("s  ").nth(1)).collect();
    assert_eq!(heard, expected);
}
