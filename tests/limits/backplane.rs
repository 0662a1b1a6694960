//! The backplane: once channels are open, nothing is allocated while messages go round, and all
//! that it takes is within what its settings add up to.

use elbow::hub::HashKey;
use elbow::hub::backplane::{Action, Backplane, Chance, Event, Line, Settings, Ticket};
use elbow::limits::History;
use elbow::time::{Duration, Instant};

use super::redis::Redis;
use super::{ALLOCATIONS, LIVE_BYTES};

const CHANNELS: usize = 10;

/// A backplane on a model of Redis, of which only the backplane is counted.
struct Desk {
    backplane: Backplane,
    redis: Redis,
    conns: [Option<usize>; 2],
    now: Instant,
    allocations: u64,
    live_bytes: i64,
    placed: u64,
}

fn settings() -> Settings {
    Settings {
        name: "elbow".into(),
        user: None,
        password: None,
        database: 0,
        channels_max: CHANNELS,
        message_bytes_max: 70_000,
        history: Some(History { messages_max: 10, age: Duration::from_secs(60) }),
        history_bytes: 1 << 20,
    }
}

/// A name that is as long as may be.
fn name(channel: usize) -> String {
    format!("{channel:0128}")
}

impl Desk {
    fn new() -> Desk {
        let (now, settings) = (Instant::from_millis(1), settings());
        let chance = Chance { producer: 9, jitter: 0, hash_key: HashKey([3; 16]) };
        let before = LIVE_BYTES.get();
        let backplane = Backplane::new(settings, chance, now);
        let live_bytes = LIVE_BYTES.get() - before;
        let redis = Redis::new(1_795_000_000_000);
        Desk { backplane, redis, conns: [None; 2], now, allocations: 0, live_bytes, placed: 0 }
    }

    /// Has the backplane do something, and counts what it allocates for that.
    fn counted<R>(&mut self, act: impl FnOnce(&mut Backplane, Instant) -> R) -> R {
        let (calls, bytes) = (ALLOCATIONS.get(), LIVE_BYTES.get());
        let result = act(&mut self.backplane, self.now);
        self.allocations += ALLOCATIONS.get() - calls;
        self.live_bytes += LIVE_BYTES.get() - bytes;
        result
    }

    fn work(&mut self) {
        for _ in 0..8 {
            for line in Line::ALL {
                self.receive(line);
            }
            self.counted(Backplane::end_turn);
            while let Some(action) = self.counted(Backplane::poll_action) {
                let Action::Connect(line) = action else { panic!("nothing breaks") };
                self.conns[line as usize] = Some(self.redis.connect());
                self.counted(|backplane, now| backplane.connected(now, line));
            }
            for line in Line::ALL {
                let unsent = self.backplane.unsent(line).to_vec();
                self.counted(|backplane, _| backplane.transmitted(line, unsent.len()));
                if let Some(conn) = self.conns[line as usize] {
                    self.redis.feed(conn, &unsent);
                }
            }
            self.now = self.now.plus(Duration::from_millis(1));
            self.redis.pass(1);
        }
    }

    fn receive(&mut self, line: Line) {
        let Some(conn) = self.conns[line as usize] else { return };
        let output = self.redis.take_output(conn);
        for piece in output.chunks(1000) {
            let placed = self.counted(|backplane, now| {
                backplane.room(line)[..piece.len()].copy_from_slice(piece);
                backplane.received(now, line, piece.len());
                let mut placed = 0;
                while let Some(event) = backplane.poll_event(now) {
                    placed += u64::from(matches!(event, Event::Placed { .. }));
                }
                placed
            });
            self.placed += placed;
        }
    }

    /// Something is said in each channel, three times in some of them.
    fn speak(&mut self, key: u64) {
        for (number, channel) in (0..CHANNELS).chain([0, 0, 1]).enumerate() {
            let (name, ticket) = (name(channel), Ticket(key * 1000 + number as u64));
            let key = Some(key * 1000 + number as u64);
            let said =
                self.counted(|backplane, now| backplane.say(now, &name, ticket, b"hello", key));
            assert_eq!(said, Ok(()));
        }
        self.counted(|backplane, _| backplane.greet("elsewhere", b"hi"));
        self.work();
    }
}

#[test]
fn messages_that_go_round_allocate_nothing() {
    let mut desk = Desk::new();
    for channel in 0..CHANNELS {
        let name = name(channel);
        assert!(desk.counted(|backplane, now| backplane.open(now, &name)));
    }
    for _ in 0..CHANNELS {
        desk.work();
    }
    desk.speak(1);
    desk.speak(2);
    let before = desk.allocations;
    let placed = desk.placed;
    for key in 3..300 {
        desk.speak(key);
    }
    desk.now = desk.now.plus(Duration::from_secs(3));
    desk.redis.pass(3000);
    desk.work();
    assert_eq!(desk.placed - placed, 297 * (CHANNELS as u64 + 3), "everything came back");
    assert_eq!(desk.allocations - before, 0);
    let cost = settings().cost_bytes();
    assert!(desk.live_bytes as u64 <= cost, "{} bytes of {cost}", desk.live_bytes);
    assert!(desk.live_bytes as u64 * 2 > cost, "{} bytes of {cost}", desk.live_bytes);
}
