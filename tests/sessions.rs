//! Many Socket.IO and plain clients that do whatever comes to their minds, in a world of their own:
//! fake sockets, invented time, one seed.
//!
//! Goal: no order of requests, upgrades, packets, blocked sockets, ends and shortages makes the
//! server panic, leak, spin or tell anybody a message twice, out of order or not at all.
//!
//! ```text
//! cargo test --test sessions                         a short sweep
//! SEEDS=5000 cargo test --release --test sessions    a longer one, from SEEDS_FROM (0) on
//! ```
//!
//! In `tests/sessions/`: `wire` is what comes out of sockets, `people` what clients know and the
//! oracle of order. Leaves to `tests/sim.rs`: a net with latency and a temper.

#[path = "sessions/people.rs"]
mod people;
#[path = "sessions/wire.rs"]
mod wire;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::catch_unwind;
use std::rc::Rc;

use elbow::limits::Limits;
use elbow::server::{Event, Listener, Readiness, Server};
use elbow::settings::{Events, ProxyMode, Settings, Trust};
use elbow::site::Site;
use elbow::time::{Duration, Instant, Now};
use people::{Ask, Link, Order, Person, Reading, Role};
use wire::{Dice, End, Packet, Wire};

/// Seeds of a sweep if nobody says.
const SEEDS: u64 = 200;
const STEPS: usize = 400;
const LINKS_MAX: usize = 40;
const CHANNELS: [&str; 3] = ["default", "a", "b"];
const UNBLOCKED: usize = usize::MAX / 2;
/// More than everything that the server waits for, one thing after the other.
const LONG: Duration = Duration::from_secs(400);

#[test]
fn whatever_they_do() {
    let from = asked("SEEDS_FROM").unwrap_or(0);
    let mut told = 0;
    let seeds = asked("SEEDS").unwrap_or(SEEDS);
    for seed in from..from + seeds {
        match catch_unwind(|| World::new(seed).run()) {
            Ok(messages) => told += messages,
            Err(_) if asked("SURVEY").is_some() => {}
            Err(_) => panic!("SEEDS_FROM={seed} SEEDS=1 cargo test --test sessions"),
        }
    }
    assert!(told > 0 || seeds < SEEDS, "nobody has said anything");
}

#[expect(clippy::disallowed_methods, reason = "the way to ask a test for more")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn text_of(payload: &[u8]) -> &str {
    str::from_utf8(payload).expect("text is UTF-8")
}

struct World {
    server: Server<End>,
    now: Now,
    dice: Dice,
    links: Vec<Link>,
    people: Vec<Person>,
    order: Order,
    /// Names are numbers.
    said: usize,
    opened: usize,
    closed: usize,
}

fn settings(dice: &mut Dice) -> Settings {
    Settings {
        limits: Limits {
            connections_max: dice.one_of(&[3, 8, 100]),
            connections_per_ip_max: dice.one_of(&[None, None, Some(6)]),
            channels_max: 6,
            message_bytes_max: dice.one_of(&[300, 1024]),
            feed_bytes: dice.one_of(&[1024, 4096, 4096, 16384]),
            memory_bytes: dice.one_of(&[16_000, 40_000, 1 << 20, 1 << 20]),
            send_buffer_bytes: 4096,
            receive_buffer_bytes: 4096,
            ping_interval: Duration::from_secs(dice.one_of(&[5, 25])),
            ping_timeout: Duration::from_secs(20),
            drain: Duration::from_secs(5),
        },
        proxy: ProxyMode::Off,
        trust: Trust::default(),
        forwarded_for: false,
        origins: Vec::new(),
        keep_alive: Duration::from_secs(15),
        events: Events::All,
        report_messages: true,
    }
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let now = Now { mono: Instant::from_millis(1_000), unix_s: 1_000 };
        let site = Site::new(Vec::new(), false);
        let server = Server::new(settings(&mut dice), site, [seed as u8; 32], now);
        World {
            server,
            now,
            dice,
            links: Vec::new(),
            people: Vec::new(),
            order: Order::default(),
            said: 0,
            opened: 0,
            closed: 0,
        }
    }

    fn run(mut self) -> usize {
        for step in 0..STEPS {
            self.step();
            self.turn();
            if step % 50 == 49 {
                self.assert_complete();
            }
            if step == STEPS - 30 && self.dice.chance(15) {
                self.server.drain(self.now, self.now.mono.plus(Duration::from_secs(5)));
            }
        }
        self.end();
        self.order.told
    }

    /// All go, some of them without a word.
    fn end(&mut self) {
        for number in 0..self.links.len() {
            match self.dice.below(3) {
                0 => self.leave(number, true),
                1 => self.leave(number, false),
                _ => {}
            }
        }
        self.pass(LONG);
        assert_eq!((self.server.sessions(), self.server.connections()), (0, 0));
        assert_eq!(self.server.pool().lent_bytes(), 0);
        assert_eq!(self.opened, self.closed);
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..=9 => self.come(),
            10..=69 => {
                let lives = |person: &usize| !self.people[*person].over;
                let living: Vec<usize> = (0..self.people.len()).filter(lives).collect();
                if !living.is_empty() {
                    let person = self.dice.one_of(&living);
                    self.act(person);
                }
            }
            70..=79 => self.say_plainly(),
            80..=93 if !self.links.is_empty() => self.mishap(),
            94..=98 => {
                let time_ms = self.dice.one_of(&[1, 60, 700, 3_000]);
                self.pass(Duration::from_millis(time_ms));
            }
            99 if self.dice.chance(30) => self.pass(Duration::from_secs(15)),
            _ => {}
        }
    }

    // Time and turns.

    fn turn(&mut self) -> bool {
        let more = self.server.run(self.now);
        self.look();
        more
    }

    /// Everything that must hold after each call, and what clients hear of it.
    fn look(&mut self) {
        self.server.check();
        while let Some(event) = self.server.poll_event() {
            match event {
                Event::Opened { .. } => self.opened += 1,
                Event::Closed { .. } => self.closed += 1,
                Event::Message { text, .. } => self.order.push(&text),
                Event::Lapped { .. }
                | Event::Request(_)
                | Event::Ended { .. }
                | Event::Unentered { .. }
                | Event::Endpoint { .. }
                | Event::Refused { .. }
                | Event::Drained => {}
            }
        }
        for number in 0..self.links.len() {
            self.hear(number);
        }
    }

    fn settle(&mut self) {
        for _ in 0..3_000 {
            if !self.turn() {
                return;
            }
        }
        panic!("the server never comes to rest");
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.mono.plus(time);
        self.settle();
        for _ in 0..50_000 {
            match self.server.poll_timeout().filter(|next| *next <= end) {
                Some(next) => self.now.mono = next.max(self.now.mono),
                None => {
                    self.now.mono = end;
                    return self.settle();
                }
            }
            self.settle();
        }
        panic!("the server wakes up for nothing");
    }

    /// When nothing is under way, everybody has everything.
    fn assert_complete(&mut self) {
        for number in 0..self.links.len() {
            self.unblock(number);
            self.deliver(number, usize::MAX);
        }
        self.settle();
        for link in &self.links {
            if let (true, Some(Role::Plain(channel))) = (link.is_usable(), link.socket) {
                self.order.assert_complete(&link.reading, channel, true);
            }
        }
        for person in self.people.iter().filter(|person| !person.over) {
            if person.socket.is_some() || (person.poll.is_some() && person.sid.is_some()) {
                person.assert_complete(&self.order);
            }
        }
    }

    // Connections.

    fn connect(&mut self) -> Option<usize> {
        if self.links.iter().filter(|link| link.is_usable()).count() >= LINKS_MAX {
            return None;
        }
        self.server.vacancy()?;
        let room = if self.dice.chance(90) { UNBLOCKED } else { self.dice.below(600) };
        let wire = Rc::new(RefCell::new(Wire { room, ..Wire::default() }));
        let peer = "192.0.2.1:1234".parse().expect("the world of the test works");
        let id = self.server.accept(self.now, Listener::Public, peer, End(Rc::clone(&wire)));
        self.links.push(Link {
            id,
            wire,
            outgoing: VecDeque::new(),
            heard: Vec::new(),
            asks: VecDeque::new(),
            socket: None,
            closed: false,
            left: false,
            reading: Reading::default(),
        });
        Some(self.links.len() - 1)
    }

    fn say(&mut self, number: usize, bytes: &[u8]) {
        self.links[number].outgoing.extend(bytes);
        let most = if self.dice.chance(85) { usize::MAX } else { self.dice.below(bytes.len() + 1) };
        self.deliver(number, most);
    }

    fn deliver(&mut self, number: usize, most: usize) {
        let link = &mut self.links[number];
        let most = most.min(link.outgoing.len());
        if most == 0 || !link.is_usable() {
            return;
        }
        link.wire.borrow_mut().to_server.extend(link.outgoing.drain(..most));
        let id = link.id;
        self.server.ready(self.now, id, Readiness { readable: true, ..Readiness::default() });
        self.look();
    }

    fn unblock(&mut self, number: usize) {
        let link = &self.links[number];
        let mut wire = link.wire.borrow_mut();
        wire.room = UNBLOCKED;
        let wanted = core::mem::take(&mut wire.wants_room);
        drop(wire);
        if wanted {
            let writable = Readiness { writable: true, ..Readiness::default() };
            self.server.ready(self.now, link.id, writable);
            self.look();
        }
    }

    fn leave(&mut self, number: usize, reset: bool) {
        let link = &mut self.links[number];
        if link.left {
            return;
        }
        link.left = true;
        link.wire.borrow_mut().ended = true;
        link.wire.borrow_mut().reset = reset;
        let id = link.id;
        let readiness = Readiness { readable: true, read_closed: true, writable: reset };
        self.server.ready(self.now, id, readiness);
        self.look();
        self.end_of(number);
    }

    fn mishap(&mut self) {
        let number = self.dice.below(self.links.len());
        match self.dice.below(20) {
            0 => self.leave(number, false),
            1 => self.leave(number, true),
            2..=6 => self.links[number].wire.borrow_mut().room = self.dice.below(400),
            7..=12 => self.unblock(number),
            13..=17 => self.deliver(number, usize::MAX),
            18 if !self.links[number].is_idle() => {}
            _ => {
                if let Some(number) = self.connect() {
                    let junk: &[u8] = self.dice.one_of(&[
                        b"GET /socket.io/?EIO=9&transport=polling HTTP/1.1\r\nHost: h\r\n\r\n",
                        b"GET /socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA \
                          HTTP/1.1\r\nHost: h\r\n\r\n",
                        b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: h\r\n\
                          Content-Length: 3\r\n\r\nabc",
                        b"\x16\x03\x01\r\n\r\n",
                    ]);
                    self.links[number].asks.push_back(Ask::Other);
                    self.say(number, junk);
                }
            }
        }
    }

    // What clients hear.

    fn hear(&mut self, number: usize) {
        let link = &mut self.links[number];
        let fresh = core::mem::take(&mut link.wire.borrow_mut().to_client);
        link.heard.extend(fresh);
        while !self.links[number].heard.is_empty() {
            let heard = match self.links[number].socket {
                Some(role) => self.hear_frame(number, role),
                None => self.hear_response(number),
            };
            let Some(length) = heard else { break };
            self.links[number].heard.drain(..length);
        }
        let wire = self.links[number].wire.borrow();
        let over = wire.dropped || wire.shut_down;
        drop(wire);
        if over && !self.links[number].left {
            self.links[number].left = true;
            self.end_of(number);
        }
    }

    fn hear_response(&mut self, number: usize) -> Option<usize> {
        let (status, body, length) = wire::response(&self.links[number].heard)?;
        if status == 100 {
            return Some(length);
        }
        match (self.links[number].asks.pop_front().unwrap_or(Ask::Other), status) {
            (Ask::Handshake(person), 200) => self.hear_body(person, &body),
            (Ask::Poll(person), 200) => {
                self.people[person].poll = None;
                self.hear_body(person, &body);
            }
            (Ask::Post(person), 200) => self.people[person].post = None,
            (Ask::Socket(role), 101) => {
                let link = &mut self.links[number];
                link.socket = Some(role);
                match role {
                    Role::Plain(channel) => link.reading = self.order.new_reading(channel, true),
                    Role::Session(person) => self.people[person].socket = Some(number),
                    Role::Probe(_) => {}
                }
            }
            (Ask::Handshake(person) | Ask::Poll(person) | Ask::Post(person), _) => {
                self.people[person].over = true;
            }
            (Ask::Socket(Role::Session(person)), _) => self.people[person].over = true,
            (Ask::Socket(Role::Probe(person)), _) => self.people[person].probe = None,
            (Ask::Socket(Role::Plain(_)) | Ask::Other, _) => {}
        }
        Some(length)
    }

    fn hear_body(&mut self, person: usize, body: &[u8]) {
        let version = self.people[person].version;
        for packet in wire::packets(version, body) {
            if !self.people[person].over {
                self.people[person].hear(&self.order, packet);
            }
        }
    }

    fn hear_frame(&mut self, number: usize, role: Role) -> Option<usize> {
        let link = &mut self.links[number];
        assert!(!link.closed, "{:?} behind a close frame", link.heard);
        let (opcode, payload, length) = wire::frame(&link.heard)?;
        if opcode == 8 {
            link.closed = true;
            self.end_of(number);
            return Some(length);
        }
        match role {
            _ if opcode > 2 => {}
            Role::Plain(channel) => {
                let name = match opcode {
                    1 => people::name_of(text_of(&payload)).expect("a name"),
                    _ => format!("({} bytes)", payload.len()),
                };
                self.order.advance(&mut link.reading, channel, true, &name);
            }
            Role::Session(person) | Role::Probe(person) => {
                let person = &mut self.people[person];
                let packet = match opcode {
                    1 => Packet::Text(text_of(&payload).to_owned()),
                    _ => Packet::Binary(payload.len() - usize::from(person.version == 3)),
                };
                if !person.over {
                    person.hear(&self.order, packet);
                }
            }
        }
        Some(length)
    }

    /// A connection is of no use any more; whoever needed it knows.
    fn end_of(&mut self, number: usize) {
        for person in &mut self.people {
            person.over |= [person.poll, person.post, person.socket].contains(&Some(number));
            if person.probe == Some(number) {
                person.probe = None;
            }
        }
    }

    // What clients do.

    fn come(&mut self) {
        let Some(number) = self.connect() else { return };
        let version = self.dice.one_of(&[3, 4]);
        let silent = self.dice.chance(10);
        let person = self.people.len();
        let (path, ask) = match self.dice.below(10) {
            0..=3 => {
                let channel = self.dice.one_of(&CHANNELS);
                (format!("/ws/{channel}"), Ask::Socket(Role::Plain(channel)))
            }
            4..=5 => {
                self.people.push(Person::new(version, silent));
                let ask = Ask::Socket(Role::Session(person));
                (format!("/socket.io/?EIO={version}&transport=websocket"), ask)
            }
            _ => {
                self.people.push(Person::new(version, silent));
                let path = format!("/socket.io/?EIO={version}&transport=polling");
                (path, Ask::Handshake(person))
            }
        };
        match ask {
            Ask::Socket(_) => self.ask_socket(number, &path, ask),
            Ask::Handshake(_) | Ask::Poll(_) | Ask::Post(_) | Ask::Other => {
                self.ask(number, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"), ask)
            }
        }
    }

    fn ask(&mut self, number: usize, request: &str, ask: Ask) {
        self.links[number].asks.push_back(ask);
        self.say(number, request.as_bytes());
    }

    fn ask_socket(&mut self, number: usize, path: &str, ask: Ask) {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n\r\n"
        );
        self.ask(number, &head, ask);
    }

    fn act(&mut self, person: usize) {
        let me = &self.people[person];
        let Some(sid) = me.sid.clone().filter(|_| !me.over) else { return };
        if let Some(link) = me.socket {
            let packets = self.packets(person);
            for packet in packets {
                self.say_packet(person, link, &packet);
            }
            return;
        }
        let path = format!("/socket.io/?EIO={}&transport=polling&sid={sid}", me.version);
        let (polls, posts, probe) = (me.poll.is_some(), me.post.is_some(), me.probe);
        let wild = self.dice.chance(2);
        match self.dice.below(10) {
            0..=3 if !polls || wild => self.poll(person, &path),
            4..=6 if !posts || wild => self.post(person, &path),
            7 if probe.is_none() || wild => {
                let Some(link) = self.connect() else { return };
                self.people[person].probe = Some(link);
                self.people[person].proved = false;
                let path = path.replace("=polling", "=websocket");
                self.ask_socket(link, &path, Ask::Socket(Role::Probe(person)));
            }
            8..=9 if let Some(link) = probe => self.prove(person, link),
            _ => {}
        }
    }

    fn prove(&mut self, person: usize, link: usize) {
        if self.links[link].socket.is_none() {
            return;
        }
        let me = &mut self.people[person];
        let calm = me.poll.is_none() && me.post.is_none();
        if me.proved && (calm || self.dice.chance(10)) {
            me.socket = Some(link);
            me.probe = None;
            // Who does not wait for its requests cannot say what comes first.
            me.over |= !calm;
            self.links[link].socket = Some(Role::Session(person));
            self.say(link, &wire::masked(1, b"5"));
        } else if !me.proved || self.dice.chance(3) {
            let word: &[u8] = if self.dice.chance(93) { b"2probe" } else { b"5" };
            self.say(link, &wire::masked(1, word));
        }
    }

    fn poll(&mut self, person: usize, path: &str) {
        let Some(number) = self.idle_link() else { return };
        // Of two answers under way it is not known which comes first.
        let me = &mut self.people[person];
        me.over |= me.poll.is_some();
        me.poll = Some(number);
        let body = if self.dice.chance(3) { "Content-Length: 2\r\n\r\nhi" } else { "\r\n" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{body}");
        self.ask(number, &request, Ask::Poll(person));
    }

    fn post(&mut self, person: usize, path: &str) {
        let Some(number) = self.idle_link() else { return };
        let packets = self.packets(person);
        let me = &mut self.people[person];
        me.post = Some(number);
        let body = match self.dice.below(40) {
            0 => String::new(),
            1 => "nothing of this kind".to_owned(),
            2 => wire::body(me.version, &[format!("4{}", "x".repeat(2_000))]),
            _ => wire::body(me.version, &packets),
        };
        let (field, body) = match self.dice.below(10) {
            0..=1 if !body.is_empty() => {
                let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
                ("Transfer-Encoding: chunked".to_owned(), chunks)
            }
            2 => (format!("Expect: 100-continue\r\nContent-Length: {}", body.len()), body),
            3 if self.dice.chance(5) => (format!("Content-Length: {}", body.len() + 9), body),
            _ => (format!("Content-Length: {}", body.len()), body),
        };
        let request = format!("POST {path} HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n{body}");
        self.ask(number, &request, Ask::Post(person));
    }

    /// A connection between two requests, or a new one.
    fn idle_link(&mut self) -> Option<usize> {
        let idle = self.links.iter().position(|link| link.is_idle() && link.outgoing.is_empty());
        if self.dice.chance(70) { idle } else { None }.or_else(|| self.connect())
    }

    fn say_packet(&mut self, person: usize, link: usize, packet: &str) {
        let version = self.people[person].version;
        let frame = match packet.strip_prefix(if version == 4 { "b" } else { "b4" }) {
            None => wire::masked(1, packet.as_bytes()),
            Some(coded) => {
                let head: &[u8] = if version == 4 { b"" } else { &[4] };
                wire::masked(2, &[head, &vec![0; coded.len() / 4 * 3]].concat())
            }
        };
        self.say(link, &frame);
    }

    /// Packets as a polling body has them.
    fn packets(&mut self, person: usize) -> Vec<String> {
        let me = &mut self.people[person];
        let mut packets = Vec::new();
        if me.pinged && !me.silent {
            me.pinged = false;
            packets.push("3".to_owned());
        }
        if me.version == 3 && !me.silent {
            packets.push("2".to_owned());
        }
        for _ in 0..1 + self.dice.below(3) {
            self.add_packet(person, &mut packets);
        }
        packets
    }

    fn add_packet(&mut self, person: usize, packets: &mut Vec<String>) {
        let channel = self.dice.one_of(&CHANNELS);
        let prefix = if channel == "default" { String::new() } else { format!("/{channel},") };
        let me = &mut self.people[person];
        let settled = me.is_settled_in(channel);
        match self.dice.below(200) {
            0 => packets.push("1".to_owned()),
            1 => packets.push("4junk".to_owned()),
            2 => packets.push("451-[\"b\",{\"_placeholder\":true,\"num\":0}]".to_owned()),
            3..=5 => {
                let channel = self.dice.one_of(&["x y", "n1", "n2", "n3", "n4", "n5", "n6"]);
                me.ask(channel);
                packets.push(format!("40/{channel},"));
            }
            6..=15 if settled => {
                me.leave(channel);
                packets.push(format!("41{prefix}"));
            }
            16..=60 if !settled || self.dice.chance(10) => {
                me.ask(channel);
                packets.push(format!("40{prefix}"));
            }
            61..=199 if settled => {
                self.said += 1;
                let name = format!("~{channel}.{}~", self.said);
                let name = format!("{name}{}", "-".repeat(self.dice.below(150)));
                let ack = if self.dice.chance(20) { "7" } else { "" };
                match self.dice.below(4) {
                    0 => packets.push(format!("42{prefix}{ack}[\"other\",\"{name}\"]")),
                    1 => {
                        let place = "{\"_placeholder\":true,\"num\":0}";
                        packets.push(format!("451-{prefix}{ack}[\"b\",\"{name}\",{place}]"));
                        let head = if self.people[person].version == 4 { "b" } else { "b4" };
                        let length = 1 + self.dice.below(60);
                        packets.push(format!("{head}{}", "AAAA".repeat(length)));
                    }
                    _ => packets.push(format!("42{prefix}{ack}[\"chat message\",\"{name}\"]")),
                }
            }
            _ => {}
        }
    }

    fn say_plainly(&mut self) {
        let plain = |link: &Link| matches!(link.socket, Some(Role::Plain(_))) && link.is_usable();
        let all: Vec<usize> =
            (0..self.links.len()).filter(|number| plain(&self.links[*number])).collect();
        if all.is_empty() {
            return;
        }
        let number = self.dice.one_of(&all);
        let Some(Role::Plain(channel)) = self.links[number].socket else { return };
        let frame = match self.dice.below(40) {
            0 => wire::masked(8, &[3, 232]),
            1..=2 => wire::masked(9, b"ping"),
            3..=9 => {
                let length = 30 + self.order.nameless.len();
                self.order.nameless.insert(format!("({length} bytes)"), channel);
                wire::masked(2, &vec![7; length])
            }
            _ => {
                self.said += 1;
                let name = format!("~{channel}.{}~", self.said);
                let filling = "-".repeat(self.dice.below(250));
                wire::masked(1, format!("{name}{filling}").as_bytes())
            }
        };
        self.say(number, &frame);
    }
}
