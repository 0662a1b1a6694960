//! Whole connections: the bytes of up to four clients into a server with invented sockets and time.
//!
//! The first byte chooses the settings. The others are what the client of the moment says, and
//! `ff` with what stands behind it is for the world:
//!
//! ```text
//!   ff 00     what was said so far arrives              ff 06     a drain begins
//!   ff 01 n   … and n² milliseconds go by               ff 07     says the latest session's id
//!   ff 02 n   … and client n mod 4 goes on, perhaps     ff 08     the files are replaced
//!             as a newcomer                             ff 09 n   says a frame that begins with
//!   ff 03 n   the client takes n² bytes; ff: any                  n and holds what follows
//!   ff 04     it says its end                           ff 0a     says a chunked body of what
//!   ff 05     it resets the connection                            follows
//!                                                       ff …      says ff
//! ```
//!
//! Frames and bodies reach up to the next `ff`: so their content can change without their length
//! having to be guessed. Finds: a panic, what `Server::check` finds, a server that never comes to
//! rest, and after the last byte a connection, session or byte of memory that does not go.
//!
//! Left to the simulation (`tests/sim.rs`): who hears what, and in which order.
#![no_main]

use core::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::rc::Rc;

use elbow::id::ConnId;
use elbow::limits::Limits;
use elbow::server::{Event, Listener, Readiness, Server, Socket};
use elbow::settings::{Events, ProxyMode, Settings, Trust};
use elbow::site::{File, Site};
use elbow::time::{Duration, Instant, Now};
use libfuzzer_sys::fuzz_target;

/// Clients at one time.
const CLIENTS: usize = 4;

/// In front of the id of a session in the packet that opens it, and behind it. What a member is
/// called in a namespace is followed by something else.
const SID_BEGIN: &[u8] = b"0{\"sid\":\"";
const SID_END: &[u8] = b"\",";
const SID_BYTES: usize = 20;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, script)) = input.split_first() else { return };
    let mut world = World::new(choice);
    world.turn_to(0);
    let mut rest = script;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == 0xff {
            rest = world.obey(rest);
        } else {
            world.said.push(byte);
        }
    }
    world.end();
});

/// Both directions of a connection.
#[derive(Default)]
struct Wire {
    to_server: VecDeque<u8>,
    /// What the client has yet to look at.
    to_client: Vec<u8>,
    /// What the server may still write.
    room: usize,
    ended: bool,
    reset: bool,
    shut_down: bool,
    dropped: bool,
}

/// The server's end.
struct End(Rc<RefCell<Wire>>);

impl Socket for End {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!buffer.is_empty(), "reading into nothing would look like the end");
        let mut wire = self.0.borrow_mut();
        if wire.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if wire.to_server.is_empty() && !wire.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        wire.to_server.read(buffer)
    }

    fn write(&self, slices: &[&[u8]; 4]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        let bytes = slices.concat();
        assert!(!bytes.is_empty() && !wire.shut_down, "nothing to write, or nothing any more");
        if wire.reset {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let length = bytes.len().min(wire.room);
        if length == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        wire.room -= length;
        wire.to_client.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn shutdown_write(&self) {
        self.0.borrow_mut().shut_down = true;
    }

    fn cut(&self) {}
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.borrow_mut().dropped = true;
    }
}

struct Client {
    wire: Rc<RefCell<Wire>>,
    id: ConnId,
}

struct World {
    server: Server<End>,
    now: Now,
    listener: Listener,
    clients: [Option<Client>; CLIENTS],
    current: usize,
    /// Said by the current client and not arrived.
    said: Vec<u8>,
    sid: [u8; SID_BYTES],
}

impl World {
    fn new(choice: u8) -> World {
        let now = Now { mono: Instant::from_millis(1_000), unix_s: 1_795_000_000 };
        let listener = if choice & 4 == 0 { Listener::Public } else { Listener::Health };
        let site = Site::new(files(b"first"), choice & 8 == 0);
        World {
            server: Server::new(settings(choice), site, [7; 32], now),
            now,
            listener,
            clients: Default::default(),
            current: 0,
            said: Vec::new(),
            sid: [b'A'; SID_BYTES],
        }
    }

    /// Does what stands behind an `ff`, and gives what stands behind that.
    fn obey<'s>(&mut self, script: &'s [u8]) -> &'s [u8] {
        let (command, rest) = script.split_first().map_or((0xff, script), |(c, rest)| (*c, rest));
        let (number, behind) = rest.split_first().map_or((0, rest), |(n, rest)| (*n, rest));
        let square = usize::from(number).pow(2);
        match command {
            0 => self.arrive(),
            1 => {
                self.arrive();
                self.pass(Duration::from_millis(square as u64));
            }
            2 => {
                self.arrive();
                self.turn_to(usize::from(number) % CLIENTS);
            }
            3 => {
                let room = if number == 0xff { usize::MAX } else { square };
                self.change(|wire| wire.room = room);
            }
            4 => self.change(|wire| wire.ended = true),
            5 => self.change(|wire| wire.reset = true),
            6 => self.server.drain(self.now, self.now.mono.plus(Duration::from_secs(5))),
            7 => self.said.extend_from_slice(&self.sid),
            8 => self.server.replace_files(self.now, files(b"second")),
            9 => {
                let content = until_command(behind);
                frame(number, content, &mut self.said);
                return &behind[content.len()..];
            }
            10 => {
                let content = until_command(rest);
                chunked(content, &mut self.said);
                return &rest[content.len()..];
            }
            _ => self.said.push(0xff),
        }
        if matches!(command, 1..=3) { behind } else { rest }
    }

    /// Makes a client the current one; if it is gone or was never there, a new one.
    fn turn_to(&mut self, number: usize) {
        self.current = number;
        let is_there =
            |client: &Option<Client>| client.as_ref().is_some_and(|c| !c.wire.borrow().dropped);
        if is_there(&self.clients[number]) || !self.server.has_room_for(self.listener) {
            return;
        }
        let wire = Rc::new(RefCell::new(Wire { room: usize::MAX, ..Wire::default() }));
        let peer = "192.0.2.1:1234".parse().expect("an address");
        let id = self.server.accept(self.now, self.listener, peer, End(Rc::clone(&wire)));
        self.clients[number] = Some(Client { wire, id });
        self.settle();
    }

    /// Changes the current client's way after all that was said has arrived.
    fn change(&mut self, change: impl FnOnce(&mut Wire)) {
        self.arrive();
        if let Some(client) = &self.clients[self.current] {
            change(&mut client.wire.borrow_mut());
        }
        self.arrive();
    }

    /// What was said arrives, and the server does what there is to do.
    fn arrive(&mut self) {
        let said = core::mem::take(&mut self.said);
        let Some(Client { wire, id }) = &self.clients[self.current] else { return };
        let mut way = wire.borrow_mut();
        if !way.ended && !way.dropped {
            way.to_server.extend(said);
        }
        let over = way.ended || way.reset;
        let readable = over || !way.to_server.is_empty();
        let writable = way.room > 0 || way.reset;
        drop(way);
        self.server.ready(self.now, *id, Readiness { readable, more_behind: over, writable });
        self.server.check();
        self.settle();
    }

    /// Lets the server work until it has nothing more to do now.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            let more = self.server.run(self.now);
            self.server.check();
            while let Some(event) = self.server.poll_event() {
                assert!(event != Event::Drained || self.server.draining().is_some());
            }
            if !more {
                return self.listen();
            }
        }
        panic!("the server never comes to rest");
    }

    /// Looks for the id of a session in what the clients have heard.
    fn listen(&mut self) {
        for client in self.clients.iter().flatten() {
            let heard = core::mem::take(&mut client.wire.borrow_mut().to_client);
            let opens = |bytes: &&[u8]| bytes.starts_with(SID_BEGIN) && bytes.ends_with(SID_END);
            let length = SID_BEGIN.len() + SID_BYTES + SID_END.len();
            if let Some(opened) = heard.windows(length).rfind(opens) {
                self.sid.copy_from_slice(&opened[SID_BEGIN.len()..][..SID_BYTES]);
            }
        }
    }

    /// Lets time pass, at the pace of the server's own deadlines.
    fn pass(&mut self, time: Duration) {
        let end = self.now.mono.plus(time);
        for _ in 0..100_000 {
            match self.server.poll_timeout() {
                Some(next) if next <= end => self.now.mono = next.max(self.now.mono),
                Some(_) | None => {
                    self.now.mono = end;
                    return self.settle();
                }
            }
            self.settle();
        }
        panic!("the server never sleeps");
    }

    /// All clients go, and everything goes with them.
    fn end(&mut self) {
        for number in 0..CLIENTS {
            self.arrive();
            self.current = number;
            self.change(|wire| (wire.room, wire.ended) = (usize::MAX, true));
        }
        // Sessions outlive their connections by a ping's interval and its timeout.
        self.pass(Duration::from_secs(120));
        assert_eq!(self.server.connections(), 0);
        assert_eq!(self.server.sessions(), 0);
        assert_eq!(self.server.pool().lent_bytes(), 0);
        assert!(self.clients.iter().flatten().all(|client| client.wire.borrow().dropped));
    }
}

fn settings(choice: u8) -> Settings {
    // The feeds of the default channel are the least memory that may be configured; here another
    // channel has room for its own, so that a message may be kept, or not. It must outgrow the
    // smallest buffer, else nothing ever fails to grow.
    let (feed_bytes, memory_bytes) = match choice & 32 {
        0 => (1024, 1 << 20),
        _ => (2048, 2 * Limits::default_channel_bytes(2048)),
    };
    let origin = "https://chat.example";
    Settings {
        limits: Limits {
            connections_max: if choice & 16 == 0 { 8 } else { 2 },
            connections_per_ip_max: (choice & 16 != 0).then_some(1),
            channels_max: 2,
            message_bytes_max: feed_bytes / 4,
            feed_bytes,
            memory_bytes,
            send_buffer_bytes: 4096,
            receive_buffer_bytes: 4096,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            drain: Duration::from_secs(5),
        },
        proxy: match choice & 3 {
            0 | 3 => ProxyMode::Off,
            1 => ProxyMode::Optional,
            _ => ProxyMode::Required,
        },
        trust: Trust(vec!["192.0.2.0/24".parse().expect("a network")]),
        forwarded_for: choice & 3 == 3,
        hosts: Vec::new(),
        origins: vec![elbow::wire::origin::Origin::parse(origin).expect("an origin")],
        keep_alive: Duration::from_secs(15),
        events: match choice & 64 {
            0 => Events::Named(vec!["chat message".into()]),
            _ => Events::All,
        },
        report_messages: choice & 128 != 0,
    }
}

fn files(bytes: &[u8]) -> Vec<File> {
    vec![File { path: "/index.html".into(), bytes: bytes.to_vec() }]
}

/// `script` up to the next `ff`.
fn until_command(script: &[u8]) -> &[u8] {
    script.split(|byte| *byte == 0xff).next().unwrap_or(script)
}

/// Appends a client's frame with a mask of zeros, which leaves the payload readable.
fn frame(first_byte: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first_byte);
    match u8::try_from(payload.len()) {
        Ok(length @ 0..=125) => out.push(0x80 | length),
        Ok(_) | Err(_) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

fn chunked(content: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{:x}\r\n", content.len()).as_bytes());
    out.extend_from_slice(content);
    out.extend_from_slice(b"\r\n0\r\n\r\n");
}
