//! The wheel against a sorted map.
//!
//! Goal: what wheel.rs promises. A deadline fires once, never early, late by at most a thirtieth of
//! the time it was set ahead and two ticks; none is lost; whoever sleeps until `next` misses
//! nothing, and wakes up in vain at most once for each time a deadline was put off.
//!
//! Method: random settings, clearings and sleeps over a few keys, by a driver that behaves like the
//! server: it expires everything due, sleeps until `next` or until something happens. After a sleep
//! of the machine it may set deadlines first, and take out only some of the keys that are due
//! before it sets others. The model remembers of each key its deadline and the latest moment at
//! which it may fire.

use std::collections::BTreeMap;

use elbow::time::{Duration, Instant};
use elbow::wheel::Wheel;
use proptest::prelude::*;

const KEYS: u32 = 8;
/// Two of the finest slots.
const SLACK_MS: u64 = 32;

#[derive(Clone, Debug)]
enum Op {
    /// Sets a key's deadline so far ahead.
    Set(u32, u64),
    /// Sets it so far into the past.
    SetLate(u32, u64),
    Clear(u32),
    /// Lets so much time pass, waking up whenever the wheel asks for it.
    Sleep(u64),
    /// Lets it pass at once, as a process that was stopped.
    Stall(u64),
    /// Lets it pass at once and tells the wheel so, but expires nothing yet.
    Tell(u64),
    /// Takes out one key that is due, as a turn that has no time for others.
    ExpireOne,
}

fn lengths() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..100_u64,
        4 => 0..30_000_u64,
        2 => 0..500_000_u64,
        1 => 0..100_000_000_u64,
        1 => 0..5_000_000_000_u64,
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        5 => (0..KEYS, lengths()).prop_map(|(key, ahead_ms)| Op::Set(key, ahead_ms)),
        1 => (0..KEYS, lengths()).prop_map(|(key, ago_ms)| Op::SetLate(key, ago_ms)),
        1 => (0..KEYS).prop_map(Op::Clear),
        3 => lengths().prop_map(Op::Sleep),
        1 => lengths().prop_map(Op::Stall),
        1 => lengths().prop_map(Op::Tell),
        1 => Just(Op::ExpireOne),
    ];
    prop::collection::vec(op, 1..120)
}

/// A deadline and the latest moment at which it may fire, if it is asked then.
#[derive(Clone, Copy, Debug)]
struct Armed {
    deadline: Instant,
    latest: Instant,
}

struct World {
    wheel: Wheel,
    now: Instant,
    model: BTreeMap<u32, Armed>,
    /// How often a deadline was put off, or taken further than the wheel reaches.
    put_off: u64,
    woken_in_vain: u64,
    /// The wheel was told a time up to which not everything was expired yet.
    is_behind: bool,
}

impl World {
    fn new(start_ms: u64) -> World {
        let now = Instant::from_millis(start_ms);
        let model = BTreeMap::new();
        let wheel = Wheel::new(now, 0);
        World { wheel, now, model, put_off: 0, woken_in_vain: 0, is_behind: false }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Set(key, ahead_ms) => self.set(key, self.now.plus(Duration::from_millis(ahead_ms))),
            Op::SetLate(key, ago_ms) => {
                let now_ms = self.now.as_millis();
                self.set(key, Instant::from_millis(now_ms.saturating_sub(ago_ms)));
            }
            Op::Clear(key) => {
                self.wheel.clear(key);
                // Its entry may leave nothing behind, not even a wake-up.
                self.model.remove(&key);
            }
            Op::Sleep(length_ms) => self.sleep(self.now.plus(Duration::from_millis(length_ms))),
            Op::Stall(length_ms) => {
                self.now = self.now.plus(Duration::from_millis(length_ms));
                self.expire(self.now);
            }
            Op::Tell(length_ms) => {
                self.now = self.now.plus(Duration::from_millis(length_ms));
                self.wheel.tell(self.now);
                self.is_behind = true;
            }
            Op::ExpireOne => {
                self.expire_one(self.now);
            }
        }
        self.wheel.check();
    }

    fn set(&mut self, key: u32, deadline: Instant) {
        self.wheel.set(key, deadline);
        let ahead_ms = deadline.since(self.now).as_millis();
        let slack = Duration::from_millis(ahead_ms / 30 + SLACK_MS);
        let mut latest = deadline.max(self.now).plus(slack);
        if let Some(before) = self.model.get(&key)
            && deadline > before.deadline
        {
            self.put_off += 1;
            // It stays where it was until it goes back in, from there perhaps later than from here.
            let from_ms = deadline.since(before.deadline).as_millis();
            latest = latest.max(deadline.plus(Duration::from_millis(from_ms / 30 + SLACK_MS)));
        }
        // The wheel reaches 12 days; further it takes a wake-up for each round.
        self.put_off += ahead_ms / 1_000_000_000;
        self.model.insert(key, Armed { deadline, latest });
    }

    /// Wakes up whenever the wheel asks for it, until `end`.
    fn sleep(&mut self, end: Instant) {
        // Nobody goes to sleep over what is due.
        if self.is_behind {
            self.expire(self.now);
        }
        while let Some(next) = self.wheel.next()
            && next <= end
        {
            self.now = self.now.max(next);
            if self.expire(self.now) == 0 {
                self.woken_in_vain += 1;
                assert!(self.woken_in_vain <= self.put_off, "woken in vain");
            }
        }
        self.now = end;
        assert_eq!(self.expire(end), 0, "`next` had promised that nothing is due");
        for (key, armed) in &self.model {
            assert!(end < armed.latest, "{key} is late: {armed:?} at {end:?}");
        }
    }

    /// Expires everything that is due; how many fired.
    fn expire(&mut self, now: Instant) -> usize {
        let mut fired = 0;
        while self.expire_one(now) {
            fired += 1;
        }
        fired
    }

    /// Expires one key that is due. If there is none, everything that had to fire has: `false`.
    fn expire_one(&mut self, now: Instant) -> bool {
        if let Some(key) = self.wheel.expire(now) {
            let armed = self.model.remove(&key).expect("only armed keys fire, and once");
            assert!(armed.deadline <= now, "{key} fired early: {armed:?} at {now:?}");
            // It may have been the last one that had to, which only the next call tells.
            self.is_behind = true;
            return true;
        }
        if core::mem::take(&mut self.is_behind) {
            // What was set, or came up and was put off, while the wheel was behind has its slot
            // only now: it fires with the next tick if its time came meanwhile.
            for armed in self.model.values_mut() {
                armed.latest = armed.latest.max(now.plus(Duration::from_millis(SLACK_MS)));
            }
        }
        // Whatever could still be late has fired.
        for (key, armed) in &self.model {
            assert!(now < armed.latest, "{key} did not fire: {armed:?} at {now:?}");
        }
        assert!(self.wheel.next().is_none_or(|next| next > now), "due, and not expired");
        assert_eq!(self.wheel.next().is_none(), self.model.is_empty());
        false
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_wheel_keeps_its_promises(start_ms in 0..1_000_000_000_u64, ops in ops()) {
        let mut world = World::new(start_ms);
        for op in &ops {
            world.apply(op);
        }
        // Nothing was lost: sleeping long enough, everything fires.
        world.sleep(world.now.plus(Duration::from_millis(6_000_000_000)));
        prop_assert!(world.model.is_empty());
        prop_assert_eq!(world.wheel.next(), None);
    }
}

/// Also on the very edge of a tick that has been emptied, which the invariant once forgot.
#[test]
fn a_deadline_that_has_been_reached_fires_with_the_next_tick() {
    for deadline_ms in [0, 1, 159, 160] {
        let mut wheel = Wheel::new(Instant::from_millis(0), 1);
        assert_eq!(wheel.expire(Instant::from_millis(160)), None);
        wheel.set(0, Instant::from_millis(deadline_ms));
        wheel.check();
        assert_eq!(wheel.next(), Some(Instant::from_millis(176)));
        assert_eq!(wheel.expire(Instant::from_millis(176)), Some(0));
    }
}

/// The wheel was told the time, and the slot of the key's earlier deadline is about to be emptied:
/// it fires all the same, whatever it is set to meanwhile.
#[test]
fn an_earlier_deadline_may_wait_in_a_slot_that_is_due() {
    for told_ms in [20_096, 20_112, 40_000, 86_400_000] {
        for deadline_ms in [0, 16, 1000, 19_000, 19_967, 19_968] {
            let told = Instant::from_millis(told_ms);
            let mut wheel = Wheel::new(Instant::from_millis(0), 2);
            wheel.set(0, Instant::from_millis(20_000));
            wheel.set(1, Instant::from_millis(10_000));
            wheel.tell(told);
            wheel.set(0, Instant::from_millis(deadline_ms));
            wheel.check();
            assert_eq!(wheel.expire(told), Some(1));
            wheel.check();
            assert_eq!(wheel.expire(told), Some(0));
            assert_eq!((wheel.expire(told), wheel.next()), (None, None));
        }
    }
}

#[test]
fn never_is_no_deadline() {
    let mut wheel = Wheel::new(Instant::from_millis(0), 1);
    wheel.set(0, Instant::from_millis(100));
    wheel.set(0, Instant::NEVER);
    assert_eq!(wheel.next(), None);
    assert_eq!(wheel.expire(Instant::from_millis(1_000_000)), None);
}
