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

#[path = "../../tests/harness/mod.rs"]
#[expect(dead_code, reason = "the harness is for tests that look at more")]
mod harness;

use elbow::id::ConnId;
use elbow::limits::Limits;
use elbow::server::{Event, Listener, Readiness};
use elbow::settings::{Events, ProxyMode, Settings, Trust};
use elbow::site::{File, Site};
use elbow::time::Duration;
use libfuzzer_sys::fuzz_target;

use harness::socket::Wire;
use harness::{Client, World, masked};

/// Clients at one time.
const CLIENTS: usize = 4;

/// In front of the id of a session in the packet that opens it, and behind it. What a member is
/// called in a namespace is followed by something else.
const SID_BEGIN: &[u8] = b"0{\"sid\":\"";
const SID_END: &[u8] = b"\",";
const SID_BYTES: usize = 20;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, script)) = input.split_first() else { return };
    let mut play = Play::new(choice);
    play.turn_to(0);
    let mut rest = script;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == 0xff {
            rest = play.obey(rest);
        } else {
            play.said.push(byte);
        }
    }
    play.end();
});

/// What an input has come to: a server and its clients.
struct Play {
    world: World,
    listener: Listener,
    clients: [Option<(Client, ConnId)>; CLIENTS],
    current: usize,
    /// Said by the current client and not arrived.
    said: Vec<u8>,
    /// The session that was opened last.
    sid: [u8; SID_BYTES],
}

impl Play {
    fn new(choice: u8) -> Play {
        let site = Site::new(files(b"first"), choice & 8 == 0);
        Play {
            world: World::begin(settings(choice), site),
            listener: if choice & 4 == 0 { Listener::Public } else { Listener::Health },
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
            6 => {
                let World { server, now, .. } = &mut self.world;
                server.drain(*now, now.mono.plus(Duration::from_secs(5)));
            }
            7 => self.said.extend_from_slice(&self.sid),
            8 => self.world.server.replace_files(self.world.now, files(b"second")),
            9 => {
                let content = until_command(behind);
                self.said.extend(masked(number, content));
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
        let is_there = |(client, _): &(Client, ConnId)| !client.0.borrow().dropped;
        let has_room = self.world.server.has_room_for(self.listener);
        if self.clients[number].as_ref().is_some_and(is_there) || !has_room {
            return;
        }
        let peer = "192.0.2.1:1234".parse().expect("an address");
        self.clients[number] = Some(self.world.accept(self.listener, peer));
        self.world.settle();
        self.look();
    }

    /// Changes the current client's way after all that was said has arrived.
    fn change(&mut self, change: impl FnOnce(&mut Wire)) {
        self.arrive();
        if let Some((client, _)) = &self.clients[self.current] {
            change(&mut client.0.borrow_mut());
        }
        self.arrive();
    }

    /// What was said arrives, and the server does what there is to do.
    fn arrive(&mut self) {
        let said = core::mem::take(&mut self.said);
        let Some((client, id)) = &self.clients[self.current] else { return };
        let mut wire = client.0.borrow_mut();
        if !wire.ended && !wire.dropped {
            wire.to_server.extend(said);
        }
        let over = wire.ended || wire.reset;
        let readable = over || !wire.to_server.is_empty();
        let writable = wire.room > 0 || wire.reset;
        drop(wire);
        self.world.ready(*id, Readiness { readable, more_behind: over, writable });
        self.world.settle();
        self.look();
    }

    /// Lets time pass, and looks at what that has led to.
    fn pass(&mut self, time: Duration) {
        self.world.pass(time);
        self.look();
    }

    /// Looks at what the server has told the log and the clients.
    fn look(&mut self) {
        for event in self.world.events.drain(..) {
            assert!(event != Event::Drained || self.world.server.draining().is_some());
        }
        self.listen();
    }

    /// Looks for the id of a session in what the clients have heard.
    fn listen(&mut self) {
        for (client, _) in self.clients.iter().flatten() {
            let heard = client.heard();
            let opens = |bytes: &&[u8]| bytes.starts_with(SID_BEGIN) && bytes.ends_with(SID_END);
            let length = SID_BEGIN.len() + SID_BYTES + SID_END.len();
            if let Some(opened) = heard.windows(length).rfind(opens) {
                self.sid.copy_from_slice(&opened[SID_BEGIN.len()..][..SID_BYTES]);
            }
        }
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
        let server = &self.world.server;
        assert_eq!(server.connections(), 0);
        assert_eq!(server.sessions(), 0);
        assert_eq!(server.pool().lent_bytes(), 0);
        assert!(self.clients.iter().flatten().all(|(client, _)| client.0.borrow().dropped));
    }
}

fn settings(choice: u8) -> Settings {
    // The feeds of the default channel are the least memory that may be configured; here another
    // channel has room for its own, so that a message may be kept, or not. It must outgrow the
    // smallest buffer, else nothing ever fails to grow.
    let (feed_bytes, memory_bytes) = match choice & 32 {
        0 => (1024, 1 << 20),
        _ => (2048, 2 * Limits::default_channel_bytes(2048, None)),
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
            ..harness::settings().limits
        },
        proxy: match choice & 3 {
            0 | 3 => ProxyMode::Off,
            1 => ProxyMode::Optional,
            _ => ProxyMode::Required,
        },
        trust: Trust(vec!["192.0.2.0/24".parse().expect("a network")]),
        forwarded_for: choice & 3 == 3,
        origins: vec![elbow::wire::origin::Origin::parse(origin).expect("an origin")],
        events: match choice & 64 {
            0 => Events::Named(vec!["chat message".into()]),
            _ => Events::All,
        },
        report_messages: choice & 128 != 0,
        ..harness::settings()
    }
}

fn files(bytes: &[u8]) -> Vec<File> {
    vec![File { path: "/index.html".into(), bytes: bytes.to_vec() }]
}

/// `script` up to the next `ff`.
fn until_command(script: &[u8]) -> &[u8] {
    script.split(|byte| *byte == 0xff).next().unwrap_or(script)
}

fn chunked(content: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{:x}\r\n", content.len()).as_bytes());
    out.extend_from_slice(content);
    out.extend_from_slice(b"\r\n0\r\n\r\n");
}
