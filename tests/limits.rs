//! Limits that can be counted: heap allocations while messages flow, and memory per idle session.
//!
//! Goal: once warm, a broadcast, a ping, a pong and a flush allocate nothing, also when sockets
//! take only a part; and an idle session takes no more user-space memory than `limits.rs` says,
//! with everything that the whole server keeps for it.
//!
//! Method: the real server with 1,000 members on sockets that are two byte strings, and an
//! allocator that counts per thread, so that tests beside this one do not disturb. Each scene is
//! played twice to warm up, then counted; and it checks that everybody got what they should, since
//! a server that does nothing allocates nothing.
//!
//! Plain WebSockets are here, the sessions of Socket.IO in `tests/limits/sessions.rs`.
//!
//! ```text
//! cargo test --test limits -- --nocapture     prints what an idle connection and session take
//! ```

#[path = "limits/sessions.rs"]
mod sessions;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::io;

use elbow::id::ConnId;
use elbow::limits::{CONNECTION_BYTES, Limits};
use elbow::server::{Listener, Readiness, Server, Socket};
use elbow::settings::{ProxyMode, Settings, Trust};
use elbow::site::Site;
use elbow::time::{Duration, Instant, Now};

const MEMBERS: usize = 1000;
const PING: &[u8] = &[0x89, 0];
const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

thread_local! {
    /// Calls that gave this thread memory.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes that it has and has not given back.
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
    /// The sockets' other ends. A socket is its number, as in the kernel, so that an entry of the
    /// server's table has the size that it has in earnest.
    static PIPES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

struct Counting;

fn count(calls: u64, bytes: i64) {
    ALLOCATIONS.set(ALLOCATIONS.get() + calls);
    LIVE_BYTES.set(LIVE_BYTES.get() + bytes);
}

// SAFETY: everything is passed on to the system's allocator unchanged; the counters are plain
// thread-local numbers without destructors, so counting neither allocates nor outlives a thread.
#[expect(unsafe_code, reason = "counting allocations needs an allocator")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller keeps `GlobalAlloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What has arrived for the server to read, what it wrote, and how much more it may.
struct Pipe {
    inward: Vec<u8>,
    outward: Vec<u8>,
    room: usize,
}

#[derive(Debug)]
struct Fake(u32);

impl Fake {
    fn with<T>(&self, act: impl FnOnce(&mut Pipe) -> T) -> T {
        pipe(self.0 as usize, act)
    }
}

fn pipe<T>(number: usize, act: impl FnOnce(&mut Pipe) -> T) -> T {
    PIPES.with_borrow_mut(|pipes| act(&mut pipes[number]))
}

impl Socket for Fake {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|pipe| {
            let length = pipe.inward.len().min(buffer.len());
            if length == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            buffer[..length].copy_from_slice(&pipe.inward[..length]);
            pipe.inward.drain(..length);
            Ok(length)
        })
    }

    fn write(&self, slices: &[&[u8]; 4]) -> io::Result<usize> {
        self.with(|pipe| {
            if pipe.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let before = pipe.outward.len();
            for slice in slices {
                let taken = slice.len().min(pipe.room);
                pipe.outward.extend_from_slice(&slice[..taken]);
                pipe.room -= taken;
            }
            Ok(pipe.outward.len() - before)
        })
    }

    fn shutdown_write(&self) {}

    fn cut(&self) {}
}

fn settings(connections_max: usize) -> Settings {
    Settings {
        limits: Limits {
            connections_max,
            connections_per_ip_max: None,
            channels_max: 32,
            message_bytes_max: 64 * 1024,
            feed_bytes: 1 << 20,
            memory_bytes: 64 << 20,
            send_buffer_bytes: 64 * 1024,
            receive_buffer_bytes: 32 * 1024,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            drain: Duration::from_secs(5),
        },
        proxy: ProxyMode::Off,
        trust: Trust::default(),
        forwarded_for: false,
        hosts: Vec::new(),
        origins: Vec::new(),
        // So that clients that poll need not come anew.
        keep_alive: Duration::from_secs(1_000_000),
        events: elbow::settings::Events::Named(vec!["chat message".into()]),
        report_messages: false,
    }
}

struct World {
    server: Server<Fake>,
    ids: Vec<ConnId>,
    now: Now,
}

impl World {
    /// A server with so many idle members of one channel.
    fn new(members: usize) -> World {
        let mut world = World::empty(members);
        for number in 0..members {
            world.connect();
            world.say(number, REQUEST);
            world.settle();
            let answer = taken(number);
            assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", answer.escape_ascii());
        }
        world
    }

    /// A server with room for so many connections.
    fn empty(connections: usize) -> World {
        let pipe = || Pipe {
            inward: Vec::with_capacity(4096),
            outward: Vec::with_capacity(4096),
            room: usize::MAX,
        };
        PIPES.replace((0..connections).map(|_| pipe()).collect());
        let now = Now { mono: Instant::from_millis(1_000_000), unix_s: 1_700_000_000 };
        let site = Site::new(Vec::new(), true);
        let server = Server::new(settings(connections), site, [7; 32], now);
        World { server, ids: Vec::with_capacity(connections), now }
    }

    /// The next connection; its number.
    fn connect(&mut self) -> usize {
        let number = self.ids.len();
        let port = (number % 60_000) as u16;
        let peer = ([192, 0, 2, (number % 250) as u8], port).into();
        let socket = Fake(number as u32);
        self.ids.push(self.server.accept(self.now, Listener::Public, peer, socket));
        number
    }

    /// Bytes from a client.
    fn say(&mut self, number: usize, bytes: &[u8]) {
        pipe(number, |pipe| pipe.inward.extend_from_slice(bytes));
        let readable = Readiness { readable: true, ..Readiness::default() };
        self.server.ready(self.now, self.ids[number], readable);
        self.write_down();
    }

    /// A socket takes so many bytes more.
    fn make_room(&mut self, number: usize, bytes: usize) {
        pipe(number, |pipe| pipe.room = bytes);
        let writable = Readiness { writable: true, ..Readiness::default() };
        self.server.ready(self.now, self.ids[number], writable);
    }

    /// Turns until nothing is left to do.
    fn settle(&mut self) {
        while self.server.run(self.now) {
            self.write_down();
        }
        self.write_down();
    }

    /// What the shell does with events, at the end of each turn.
    fn write_down(&mut self) {
        while let Some(event) = self.server.poll_event() {
            self.server.recycle(event);
        }
    }

    /// Everybody, and nobody more, gets exactly `frame`.
    fn everybody_got(&self, frame: &[u8]) {
        for number in 0..self.ids.len() {
            pipe(number, |pipe| {
                assert_eq!(pipe.outward, frame, "member {number}");
                pipe.outward.clear();
            });
        }
    }
}

/// What a socket was given since this was last asked.
fn taken(number: usize) -> Vec<u8> {
    pipe(number, |pipe| {
        let bytes = pipe.outward.clone();
        pipe.outward.clear();
        bytes
    })
}

/// A client's frame with a payload of at most 125 bytes, in a buffer of its own.
fn masked(first: u8, payload: &[u8], into: &mut [u8; 131]) -> usize {
    const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    into[..2].copy_from_slice(&[first, 0x80 | payload.len() as u8]);
    into[2..6].copy_from_slice(&KEY);
    for (at, byte) in payload.iter().enumerate() {
        into[6 + at] = byte ^ KEY[at % 4];
    }
    6 + payload.len()
}

/// Plays a scene twice to warm up and once more; how often it allocated then.
fn allocations(world: &mut World, scene: impl Fn(&mut World)) -> u64 {
    scene(world);
    scene(world);
    let before = ALLOCATIONS.get();
    scene(world);
    let allocated = ALLOCATIONS.get() - before;
    world.server.check();
    assert_eq!(world.server.connections(), world.ids.len(), "nobody was lost");
    allocated
}

#[test]
fn the_counter_counts() {
    let (calls, bytes) = (ALLOCATIONS.get(), LIVE_BYTES.get());
    let kept: Vec<u8> = Vec::with_capacity(1000);
    assert_eq!((ALLOCATIONS.get() - calls, LIVE_BYTES.get() - bytes), (1, 1000));
    drop(kept);
    assert_eq!((ALLOCATIONS.get() - calls, LIVE_BYTES.get() - bytes), (1, 0));
}

#[test]
fn a_broadcast_allocates_nothing() {
    let mut world = World::new(MEMBERS);
    let allocated = allocations(&mut world, |world| {
        let (mut frame, payload) = ([0; 131], [b'x'; 64]);
        for sender in [0, 7, MEMBERS - 1] {
            let length = masked(0x81, &payload, &mut frame);
            world.say(sender, &frame[..length]);
            world.settle();
            let mut expected = [b'x'; 66];
            expected[..2].copy_from_slice(&[0x81, 64]);
            world.everybody_got(&expected);
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_message_in_pieces_allocates_nothing() {
    let mut world = World::new(MEMBERS);
    let allocated = allocations(&mut world, |world| {
        let mut frame = [0; 131];
        for (first, piece) in [(0x01, "one, "), (0x00, "two, "), (0x80, "three")] {
            let length = masked(first, piece.as_bytes(), &mut frame);
            // And each frame in two reads, so that its rest is kept in between.
            world.say(3, &frame[..4]);
            world.settle();
            world.say(3, &frame[4..length]);
            world.settle();
        }
        world.everybody_got(b"\x81\x0fone, two, three");
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_pong_allocates_nothing() {
    let mut world = World::new(MEMBERS);
    let allocated = allocations(&mut world, |world| {
        let mut frame = [0; 131];
        let length = masked(0x89, b"are you there?", &mut frame);
        (0..MEMBERS).for_each(|number| world.say(number, &frame[..length]));
        world.settle();
        world.everybody_got(b"\x8a\x0eare you there?");
    });
    assert_eq!(allocated, 0);
}

#[test]
fn pings_allocate_nothing() {
    let mut world = World::new(MEMBERS);
    let allocated = allocations(&mut world, |world| {
        let before = world.server.metrics().pings;
        let mut frame = [0; 131];
        let length = masked(0x8a, b"", &mut frame);
        while world.server.metrics().pings < before + MEMBERS as u64 {
            world.now.mono = world.server.poll_timeout().expect("everybody has a deadline");
            world.settle();
            for number in 0..MEMBERS {
                let pinged = pipe(number, |pipe| {
                    let pinged = pipe.outward == PING;
                    assert!(pinged || pipe.outward.is_empty());
                    pipe.outward.clear();
                    pinged
                });
                if pinged {
                    world.say(number, &frame[..length]);
                }
            }
            world.settle();
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_flush_in_portions_allocates_nothing() {
    let mut world = World::new(MEMBERS);
    let allocated = allocations(&mut world, |world| {
        let (mut frame, mut ping) = ([0; 131], [0; 131]);
        (0..MEMBERS).for_each(|number| world.make_room(number, 3));
        let length = masked(0x82, b"for slow readers", &mut frame);
        world.say(5, &frame[..length]);
        world.settle();
        // All stand inside the record now, and have something of their own to say.
        let length = masked(0x89, b"?", &mut ping);
        (0..MEMBERS).for_each(|number| world.say(number, &ping[..length]));
        for room in [1, 10, usize::MAX] {
            (0..MEMBERS).for_each(|number| world.make_room(number, room));
            world.settle();
        }
        world.everybody_got(b"\x82\x10for slow readers\x8a\x01?");
    });
    assert_eq!(allocated, 0);
}

#[test]
#[expect(clippy::disallowed_macros, reason = "the number is what one runs this test for")]
fn an_idle_websocket_fits_its_budget() {
    let server_bytes = |members: usize| {
        let mut world = World::new(members);
        // A life before: everybody got a message and the answer to a ping.
        let mut frame = [0; 131];
        for number in 0..members {
            let length = masked(0x89, b"", &mut frame);
            world.say(number, &frame[..length]);
            world.settle();
        }
        world.everybody_got(b"\x8a\x00");
        let length = masked(0x81, b"to all", &mut frame);
        world.say(0, &frame[..length]);
        world.settle();
        world.everybody_got(b"\x81\x06to all");
        let before = LIVE_BYTES.get();
        drop(world.server);
        before - LIVE_BYTES.get()
    };
    // What does not depend on the number of sessions falls out of the difference.
    let per_session = (server_bytes(9 * MEMBERS) - server_bytes(MEMBERS)) / (8 * MEMBERS as i64);
    println!("{per_session} bytes per idle WebSocket");
    assert!(per_session <= CONNECTION_BYTES as i64, "{per_session} bytes per idle WebSocket");
    assert!(per_session >= 64, "{per_session} bytes: something was not counted");
}
