//! Limits that can be counted: heap allocations while messages flow, and memory per idle session.
//!
//! Goal: once warm, a broadcast, a ping, a pong and a flush allocate nothing, also when sockets
//! take only a part; and an idle session takes no more user-space memory than `limits.rs` says,
//! with everything that the whole server keeps for it.
//!
//! Method: the real server with 1,000 members on fake sockets (`tests/harness`), and an allocator
//! that counts per thread, so that tests beside this one do not disturb. Each scene is played twice
//! to warm up, then counted; and it checks that everybody got what they should, since a server that
//! does nothing allocates nothing.
//!
//! Plain WebSockets are here, the sessions of Socket.IO in `tests/limits/sessions.rs`, and event
//! streams in `tests/limits/streams.rs`. Nothing is switched on there that is off by default; all
//! of them with history, recovery and tokens are in `tests/limits/history.rs`. The backplane, in
//! `tests/limits/backplane.rs`, is counted by itself.
//!
//! ```text
//! cargo test --test limits -- --nocapture     prints what an idle connection and session take
//! ```

#[path = "limits/backplane.rs"]
mod backplane;
#[path = "limits/history.rs"]
mod history;
#[path = "limits/sessions.rs"]
mod sessions;
#[path = "limits/streams.rs"]
mod streams;

#[expect(dead_code, reason = "the harness is for other tests, too")]
mod harness;
#[expect(dead_code, reason = "the model is for other tests, too")]
#[path = "harness/redis.rs"]
mod redis;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefMut};

use elbow::id::ConnId;
use elbow::limits::CONNECTION_BYTES;
use elbow::metrics::prometheus::{self, Format};
use elbow::metrics::{Surroundings, status};
use elbow::server::Listener;
use elbow::settings::Settings;
use elbow::site::Site;
use elbow::time::Duration;

use harness::socket::Wire;
use harness::{Client, READABLE, WRITABLE, World};

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

/// A server with many clients, which are called by their numbers.
struct Crowd {
    world: World,
    members: Vec<(Client, ConnId)>,
}

impl Crowd {
    /// So many idle members of one channel.
    fn new(members: usize) -> Crowd {
        let mut crowd = Crowd::empty(members);
        for number in 0..members {
            crowd.connect();
            crowd.say(number, REQUEST);
            crowd.world.settle();
            let answer = crowd.taken(number);
            assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", answer.escape_ascii());
        }
        crowd
    }

    /// Nobody, on a server with room for so many connections.
    fn empty(connections: usize) -> Crowd {
        Crowd::with(connections, |_| {})
    }

    /// Nobody, on such a server whose operator has decided something else besides.
    fn with(connections: usize, change: impl FnOnce(&mut Settings)) -> Crowd {
        let mut settings = harness::settings();
        settings.limits.connections_max = connections;
        settings.limits.connections_per_ip_max = None;
        settings.limits.message_bytes_max = 64 * 1024;
        settings.limits.feed_bytes = 1 << 20;
        settings.limits.memory_bytes = 64 << 20;
        settings.limits.send_buffer_bytes = 64 * 1024;
        settings.limits.receive_buffer_bytes = 32 * 1024;
        // So that clients that poll need not come anew.
        settings.keep_alive = Duration::from_secs(1_000_000);
        change(&mut settings);
        let mut world = World::begin(settings, Site::new(Vec::new(), true));
        world.is_bare = true;
        Crowd { world, members: Vec::with_capacity(connections) }
    }

    /// The next connection; its number.
    fn connect(&mut self) -> usize {
        let number = self.members.len();
        let port = (number % 60_000) as u16;
        let peer = ([192, 0, 2, (number % 250) as u8], port).into();
        let (client, id) = self.world.accept(Listener::Public, peer);
        let mut wire = client.0.borrow_mut();
        wire.to_server.reserve(4096);
        wire.to_client.reserve(4096);
        drop(wire);
        self.members.push((client, id));
        number
    }

    fn wire(&self, number: usize) -> RefMut<'_, Wire> {
        self.members[number].0.0.borrow_mut()
    }

    /// Bytes from a client.
    fn say(&mut self, number: usize, bytes: &[u8]) {
        self.wire(number).to_server.extend(bytes);
        self.world.ready(self.members[number].1, READABLE);
        self.world.take_events();
    }

    /// A socket takes so many bytes more.
    fn make_room(&mut self, number: usize, bytes: usize) {
        self.wire(number).room = bytes;
        self.world.ready(self.members[number].1, WRITABLE);
    }

    /// What a socket was given since this was last asked.
    fn taken(&self, number: usize) -> Vec<u8> {
        let mut wire = self.wire(number);
        let bytes = wire.to_client.clone();
        wire.to_client.clear();
        bytes
    }

    /// Everybody, and nobody more, gets exactly `frame`.
    fn everybody_got(&self, frame: &[u8]) {
        for number in 0..self.members.len() {
            let mut wire = self.wire(number);
            assert_eq!(wire.to_client, frame, "member {number}");
            wire.to_client.clear();
        }
    }
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
fn allocations(crowd: &mut Crowd, mut scene: impl FnMut(&mut Crowd)) -> u64 {
    scene(crowd);
    scene(crowd);
    let before = ALLOCATIONS.get();
    scene(crowd);
    let allocated = ALLOCATIONS.get() - before;
    crowd.world.server.check();
    assert_eq!(crowd.world.server.connections(), crowd.members.len(), "nobody was lost");
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
    let mut crowd = Crowd::new(MEMBERS);
    let allocated = allocations(&mut crowd, |crowd| {
        let (mut frame, payload) = ([0; 131], [b'x'; 64]);
        for sender in [0, 7, MEMBERS - 1] {
            let length = masked(0x81, &payload, &mut frame);
            crowd.say(sender, &frame[..length]);
            crowd.world.settle();
            let mut expected = [b'x'; 66];
            expected[..2].copy_from_slice(&[0x81, 64]);
            crowd.everybody_got(&expected);
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_message_in_pieces_allocates_nothing() {
    let mut crowd = Crowd::new(MEMBERS);
    let allocated = allocations(&mut crowd, |crowd| {
        let mut frame = [0; 131];
        for (first, piece) in [(0x01, "one, "), (0x00, "two, "), (0x80, "three")] {
            let length = masked(first, piece.as_bytes(), &mut frame);
            // And each frame in two reads, so that its rest is kept in between.
            crowd.say(3, &frame[..4]);
            crowd.world.settle();
            crowd.say(3, &frame[4..length]);
            crowd.world.settle();
        }
        crowd.everybody_got(b"\x81\x0fone, two, three");
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_pong_allocates_nothing() {
    let mut crowd = Crowd::new(MEMBERS);
    let allocated = allocations(&mut crowd, |crowd| {
        let mut frame = [0; 131];
        let length = masked(0x89, b"are you there?", &mut frame);
        (0..MEMBERS).for_each(|number| crowd.say(number, &frame[..length]));
        crowd.world.settle();
        crowd.everybody_got(b"\x8a\x0eare you there?");
    });
    assert_eq!(allocated, 0);
}

#[test]
fn pings_allocate_nothing() {
    let mut crowd = Crowd::new(MEMBERS);
    let allocated = allocations(&mut crowd, |crowd| {
        let before = crowd.world.server.metrics().pings;
        let mut frame = [0; 131];
        let length = masked(0x8a, b"", &mut frame);
        while crowd.world.server.metrics().pings < before + MEMBERS as u64 {
            crowd.world.now.mono =
                crowd.world.server.poll_timeout().expect("everybody has a deadline");
            crowd.world.settle();
            for number in 0..MEMBERS {
                let mut wire = crowd.wire(number);
                let pinged = wire.to_client == PING;
                assert!(pinged || wire.to_client.is_empty());
                wire.to_client.clear();
                drop(wire);
                if pinged {
                    crowd.say(number, &frame[..length]);
                }
            }
            crowd.world.settle();
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn being_watched_allocates_nothing() {
    let mut crowd = Crowd::new(MEMBERS);
    let mut out = Vec::new();
    let allocated = allocations(&mut crowd, |crowd| {
        out.clear();
        let now = crowd.world.now;
        let snapshot = loop {
            if let Some(snapshot) = crowd.world.server.survey(now) {
                break snapshot;
            }
        };
        assert_eq!(snapshot.size(), MEMBERS as u64);
        prometheus::render(snapshot, Format::Prometheus, &mut out);
        prometheus::render(snapshot, Format::OpenMetrics, &mut out);
        status::render(snapshot, &Surroundings::default(), &mut out);
    });
    // What is said of a crowd from one address: four texts, in a list that is made twice.
    assert!(allocated <= 16, "{allocated}");
}

#[test]
fn a_flush_in_portions_allocates_nothing() {
    let mut crowd = Crowd::new(MEMBERS);
    let allocated = allocations(&mut crowd, |crowd| {
        let (mut frame, mut ping) = ([0; 131], [0; 131]);
        (0..MEMBERS).for_each(|number| crowd.make_room(number, 3));
        let length = masked(0x82, b"for slow readers", &mut frame);
        crowd.say(5, &frame[..length]);
        crowd.world.settle();
        // All stand inside the record now, and have something of their own to say.
        let length = masked(0x89, b"?", &mut ping);
        (0..MEMBERS).for_each(|number| crowd.say(number, &ping[..length]));
        for room in [1, 10, usize::MAX] {
            (0..MEMBERS).for_each(|number| crowd.make_room(number, room));
            crowd.world.settle();
        }
        crowd.everybody_got(b"\x82\x10for slow readers\x8a\x01?");
    });
    assert_eq!(allocated, 0);
}

#[test]
#[expect(clippy::disallowed_macros, reason = "the number is what one runs this test for")]
fn an_idle_websocket_fits_its_budget() {
    let server_bytes = |members: usize| {
        let mut crowd = Crowd::new(members);
        // A life before: everybody got a message and the answer to a ping.
        let mut frame = [0; 131];
        for number in 0..members {
            let length = masked(0x89, b"", &mut frame);
            crowd.say(number, &frame[..length]);
            crowd.world.settle();
        }
        crowd.everybody_got(b"\x8a\x00");
        let length = masked(0x81, b"to all", &mut frame);
        crowd.say(0, &frame[..length]);
        crowd.world.settle();
        crowd.everybody_got(b"\x81\x06to all");
        let before = LIVE_BYTES.get();
        drop(crowd.world.server);
        before - LIVE_BYTES.get()
    };
    // What does not depend on the number of sessions falls out of the difference.
    let per_session = (server_bytes(9 * MEMBERS) - server_bytes(MEMBERS)) / (8 * MEMBERS as i64);
    println!("{per_session} bytes per idle WebSocket");
    assert!(per_session <= CONNECTION_BYTES as i64, "{per_session} bytes per idle WebSocket");
    assert!(per_session >= 64, "{per_session} bytes: something was not counted");
}
