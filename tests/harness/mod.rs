//! A server on fake sockets and an invented time, for every test that wants to see it act without
//! a kernel: regressions, limits, and the fuzzing of connections.
//!
//! ```text
//!   let mut world = World::begin(settings(), Site::new(Vec::new(), false));
//!   let (client, id) = world.accept(Listener::Public, peer);
//!   world.say(&client, id, b"GET …");        bytes arrive; the server works until it is quiet
//!   assert_eq!(client.heard(), b"HTTP/1.1 …");
//!   world.pass(Duration::from_secs(30));     time goes by, from one deadline to the next
//! ```
//!
//! [`World`] is the loop around the server that the shell is in earnest, a call at a time, and
//! asserts after each what must hold between two ([`Server::check`]). The sockets are in
//! `socket.rs`, what they share with the simulation's in `contract.rs`. Each test builds its own
//! words on top: how somebody asks, upgrades, or enters a channel. The simulation has a world of
//! its own, in which everything is drawn by chance.
//!
//! A test includes this folder by `mod harness;`, and says that it uses a part of it only.

pub(crate) mod contract;
pub(crate) mod socket;

use core::net::SocketAddr;

use elbow::id::ConnId;
use elbow::limits::{CONNECTIONS_ADMIN, Limits};
use elbow::server::{Event, Listener, Readiness, Server};
use elbow::settings::{Anonymous, Events, Greeting, Parties, ProxyMode, Settings, Trust};
use elbow::site::Site;
use elbow::time::{Duration, Instant, Now};
use elbow::wire::base_path::BasePath;

pub(crate) use socket::{Client, End};

/// Something can be read.
pub(crate) const READABLE: Readiness =
    Readiness { readable: true, more_behind: false, writable: false };
/// Something can be written.
pub(crate) const WRITABLE: Readiness =
    Readiness { readable: false, more_behind: false, writable: true };

/// Deadlines in a row after which a server is said never to sleep.
const DEADLINES_MAX: u32 = 100_000;

/// What an operator of a small server may have decided. A test changes what it is about.
pub(crate) fn settings() -> Settings {
    Settings {
        limits: Limits {
            connections_max: 400,
            // Most of the world has one address.
            connections_per_ip_max: Some(400),
            admin_connections_max: CONNECTIONS_ADMIN,
            channels_max: 32,
            message_bytes_max: 1024,
            feed_bytes: 4096,
            memory_bytes: 1 << 20,
            send_buffer_bytes: 4096,
            receive_buffer_bytes: 4096,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            drain: Duration::from_secs(5),
            history: None,
            shared: false,
            message_rate: None,
            lifetime: None,
        },
        proxy: ProxyMode::Off,
        trust: Trust::default(),
        forwarded_for: false,
        admin_token: None,
        hosts: Vec::new(),
        base_path: BasePath::default(),
        origins: Vec::new(),
        keep_alive: Duration::from_secs(15),
        events: Events::Named(vec!["chat message".into()]),
        recovery: false,
        greeting: Some(Greeting::named("hi")),
        parties: Parties::default(),
        anonymous: Anonymous::All,
        report_messages: false,
    }
}

/// A server, the time that it is given, and what it has told.
pub(crate) struct World {
    pub(crate) server: Server<End>,
    /// The time of every call. A test may set it; [`World::pass`] lets it go by.
    pub(crate) now: Now,
    /// What the log would tell, in order. A test may take from it what it has looked at.
    pub(crate) events: Vec<Event>,
    /// Whether the world does what a shell must do and nothing else: it asserts nothing after a
    /// call, and hands each event back to the server instead of keeping it. For tests that count
    /// what calls cost, since a check allocates.
    pub(crate) is_bare: bool,
}

impl World {
    /// A server without connections, a second after the beginning of time. Whatever it draws by
    /// lot is the same in each run.
    pub(crate) fn begin(settings: Settings, site: Site) -> World {
        let now = Now { mono: Instant::from_millis(1_000), unix_s: 1_700_000_000 };
        let server = Server::new(settings, site, [7; 32], now);
        World { server, now, events: Vec::new(), is_bare: false }
    }

    /// A connection from this address.
    pub(crate) fn accept(&mut self, listener: Listener, peer: SocketAddr) -> (Client, ConnId) {
        let (client, end) = Client::connect();
        let id = self.server.accept(self.now, listener, peer, end);
        self.check();
        (client, id)
    }

    /// Tells the server what can be done with a socket.
    pub(crate) fn ready(&mut self, id: ConnId, readiness: Readiness) {
        self.server.ready(self.now, id, readiness);
        self.check();
    }

    /// Bytes of a client arrive, and the server does all that there is to do.
    pub(crate) fn say(&mut self, client: &Client, id: ConnId, bytes: &[u8]) {
        client.0.borrow_mut().to_server.extend(bytes);
        self.ready(id, READABLE);
        self.settle();
    }

    /// One turn of the loop; whether there is more to do at once.
    pub(crate) fn turn(&mut self) -> bool {
        let more = self.server.run(self.now);
        self.check();
        self.take_events();
        more
    }

    /// Turns until the server has nothing more to do now, of which there are a thousand at most.
    pub(crate) fn settle(&mut self) {
        self.settle_within(1_000);
    }

    /// Turns until the server has nothing more to do now. Panics if that takes more than so many.
    pub(crate) fn settle_within(&mut self, turns_max: u32) {
        let is_quiet = (0..turns_max).any(|_| !self.turn());
        assert!(is_quiet, "the server never comes to rest");
    }

    /// Lets time go by, at the pace of the server's own deadlines, and the server do what is due.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.mono.plus(time);
        for _ in 0..DEADLINES_MAX {
            let next = self.server.poll_timeout().filter(|next| *next <= end);
            self.now.mono = next.unwrap_or(end).max(self.now.mono);
            self.settle();
            if next.is_none() {
                return;
            }
        }
        panic!("the server never sleeps");
    }

    /// Takes what the server has to tell, as the shell does at the end of each turn.
    pub(crate) fn take_events(&mut self) {
        while let Some(event) = self.server.poll_event() {
            if self.is_bare {
                self.server.recycle(event);
            } else {
                self.events.push(event);
            }
        }
    }

    fn check(&self) {
        if !self.is_bare {
            self.server.check();
        }
    }
}

/// A client's frame with this first byte: FIN, the reserved bits and the opcode. Its mask is zeros,
/// which leaves the payload readable.
pub(crate) fn masked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first_byte];
    match u8::try_from(payload.len()) {
        Ok(length @ 0..=125) => frame.push(0x80 | length),
        Ok(_) | Err(_) => {
            let length = u16::try_from(payload.len()).expect("64 KiB are enough for a test");
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}
