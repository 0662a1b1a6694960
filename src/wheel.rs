//! A timer wheel: one deadline per key, set and expired in constant time, with sleep between
//! deadlines.
//!
//! The wheel has seven levels of 256 slots; a slot of a level is eight times as wide as one of the
//! level below (after Linux' `kernel/time/timer.c`). A timer goes into the finest level that
//! reaches its deadline and stays there: nothing is moved down later, so a timer may fire late by
//! up to a thirtieth of the time it was set ahead, never early. Our deadlines are limits on other
//! people's patience, and nobody minds. But pings that were spread over seconds must not come
//! together again, which decides the number of slots: with 64 to a level, ten thousand pings came
//! in a dozen bursts, a second apart.
//!
//! Occupied slots are bits, four words to a level, so the next deadline is found by counting zeros
//! and an idle server can sleep until then. Setting a deadline *later*, which happens with every
//! byte a client sends, is a store: the entry fires at its old slot, sees the later deadline and
//! goes back in.
//!
//! How far ahead a deadline lies is measured from the time up to which all slots have been emptied.
//! After a long sleep that time is long ago, and a deadline of seconds would get a slot as wide as
//! minutes. So what is set before the slots of the sleep have been emptied waits beside the slots.

use crate::time::Instant;

const LEVELS: usize = 7;
const SLOTS: u64 = 256;
const WORDS: usize = SLOTS as usize / 64;
/// The logarithm to base 2 of how many times wider a slot is than a slot of the level below.
const LEVEL_SHIFT: u32 = 3;
/// The width of the finest slots, in milliseconds. A close handshake or a drain needs no better.
const TICK_MS: u64 = 16;
const NONE: u32 = u32::MAX;
/// In place of a place: the entry is in no slot. Otherwise a place is `level * SLOTS + slot`.
const NOWHERE: u16 = u16::MAX;
/// The place beside the slots, for entries that get a slot when the wheel has caught up.
const BESIDE: u16 = LEVELS as u16 * SLOTS as u16;

/// An instant in 48 bits of milliseconds, some 8,900 years, since each connection has one. Later
/// instants become the last of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Due([u16; 3]);

impl Due {
    const NEVER: Due = Due([u16::MAX; 3]);
    const LAST_MS: u64 = (1 << 48) - 2;

    fn new(deadline: Instant) -> Due {
        if deadline == Instant::NEVER {
            return Due::NEVER;
        }
        let ms = deadline.as_millis().min(Due::LAST_MS);
        Due([0, 16, 32].map(|shift| (ms >> shift & 0xffff) as u16))
    }

    fn as_millis(self) -> u64 {
        let Due([low, middle, high]) = self;
        u64::from(low) | u64::from(middle) << 16 | u64::from(high) << 32
    }
}

#[derive(Clone, Debug)]
struct Entry {
    due: Due,
    next: u32,
    previous: u32,
    place: u16,
}

/// The deadlines of keys `0..n`; keys are small numbers, such as a slab's.
///
/// An entry with a deadline is in exactly one slot, or beside the slots until those of a sleep are
/// emptied. The time of its slot is later than `tick`, and not later than its deadline rounded up
/// to the slot's width, or than the next tick if the deadline has been reached. Only a slot that is
/// due, up to `told`, may be later than that: [`Wheel::set`] leaves an entry there when its
/// deadline becomes an earlier one, since [`Wheel::expire`] is about to take it out.
#[derive(Debug)]
pub struct Wheel {
    /// Every slot up to this time, in ticks, has been emptied.
    tick: u64,
    /// The latest time that the wheel was told, in ticks: `tick <= told`. While the two differ,
    /// slots between them wait to be emptied.
    told: u64,
    entries: Vec<Entry>,
    /// The first entry of each slot, and of the place beside the slots.
    firsts: Box<[u32; BESIDE as usize + 1]>,
    /// One bit for each slot, set if the slot is not empty.
    occupied: [[u64; WORDS]; LEVELS],
}

/// User-space bytes of one key's entry.
pub const ENTRY_BYTES: usize = size_of::<Entry>();

impl Wheel {
    /// An empty wheel that starts at `now`, with room for keys below `capacity` set aside (not
    /// touched before it is used).
    pub fn new(now: Instant, capacity: usize) -> Wheel {
        Wheel {
            tick: now.as_millis() / TICK_MS,
            told: now.as_millis() / TICK_MS,
            entries: Vec::with_capacity(capacity),
            firsts: Box::new([NONE; BESIDE as usize + 1]),
            occupied: [[0; WORDS]; LEVELS],
        }
    }

    /// Sets the deadline of `key` in place of the one before. A deadline that has been reached
    /// already fires with the next tick. [`Instant::NEVER`] takes the deadline away.
    pub fn set(&mut self, key: u32, deadline: Instant) {
        // What is set again as it was keeps its place: a finer slot, which may reach the deadline
        // by now, is not worth the way there.
        if self.is_set(key, deadline) {
            return;
        }
        while self.entries.len() <= key as usize {
            self.entries.push(Entry {
                due: Due::NEVER,
                next: NONE,
                previous: NONE,
                place: NOWHERE,
            });
        }
        if deadline == Instant::NEVER {
            return self.clear(key);
        }
        let place = self.entries[key as usize].place;
        self.entries[key as usize].due = Due::new(deadline);
        if place == BESIDE {
            return;
        }
        if place != NOWHERE {
            let time = self.time_of(place);
            // A slot that is due is left alone as well. Otherwise the entry of a connection that is
            // read in every turn would be moved beside the slots again and again, and never fire.
            if time <= self.told || time.saturating_mul(TICK_MS) <= deadline.as_millis() {
                return;
            }
            self.unlink(key);
        }
        self.link(key);
    }

    /// Whether the deadline of `key` is this one.
    pub fn is_set(&self, key: u32, deadline: Instant) -> bool {
        let due = self.entries.get(key as usize).map_or(Due::NEVER, |entry| entry.due);
        due == Due::new(deadline)
    }

    /// Takes the deadline of `key` away, if there is one.
    pub fn clear(&mut self, key: u32) {
        if let Some(entry) = self.entries.get_mut(key as usize) {
            entry.due = Due::NEVER;
            if entry.place != NOWHERE {
                self.unlink(key);
            }
        }
    }

    /// Tells the wheel the time, before deadlines are set. Only how exact these will be depends on
    /// it.
    pub fn tell(&mut self, now: Instant) {
        let until = now.as_millis() / TICK_MS;
        if until > self.told {
            self.told = until;
            if self.is_beside_empty() && self.earliest().is_none_or(|(time, _)| time > until) {
                self.tick = until;
            }
        }
    }

    /// Takes one key whose deadline has been reached out of the wheel. To be called until it
    /// returns `None`. Constant work per call, except that entries whose deadline was put off go
    /// back in on the way.
    pub fn expire(&mut self, now: Instant) -> Option<u32> {
        self.told = self.told.max(now.as_millis() / TICK_MS);
        let until = self.told;
        while let Some((time, place)) = self.earliest() {
            if time > until {
                break;
            }
            // The tick before, since a slot's time is always later than `tick`.
            self.tick = self.tick.max(time - 1);
            let key = self.firsts[place];
            self.unlink(key);
            if self.entries[key as usize].due.as_millis() <= now.as_millis() {
                self.entries[key as usize].due = Due::NEVER;
                return Some(key);
            }
            self.link(key);
        }
        self.tick = until;
        while !self.is_beside_empty() {
            let key = self.firsts[usize::from(BESIDE)];
            self.unlink(key);
            self.link(key);
        }
        None
    }

    /// The instant at which [`Wheel::expire`] is worth calling next; `None` if no deadline is set.
    pub fn next(&self) -> Option<Instant> {
        if !self.is_beside_empty() {
            return Some(Instant::from_millis(self.told.saturating_mul(TICK_MS)));
        }
        self.earliest().map(|(time, _)| Instant::from_millis(time.saturating_mul(TICK_MS)))
    }

    /// Asserts the invariant of the struct, for tests.
    pub fn check(&self) {
        for (key, entry) in self.entries.iter().enumerate() {
            assert_eq!(entry.place == NOWHERE, entry.due == Due::NEVER, "key {key}");
            if entry.place != NOWHERE && entry.place != BESIDE {
                let time = self.time_of(entry.place);
                assert!(time > self.tick);
                let level = u32::from(entry.place) / SLOTS as u32;
                let width_ms = TICK_MS << (level * LEVEL_SHIFT);
                // A deadline that has passed already waits for the tick that comes, or in a slot
                // that is due. With all slots up to `told` emptied there is no such slot.
                let latest_ms = entry.due.as_millis().saturating_add(width_ms);
                let is_due = time == self.tick + 1 || time <= self.told;
                assert!(time * TICK_MS <= latest_ms || is_due, "key {key} would be late");
            }
        }
    }

    fn earliest(&self) -> Option<(u64, usize)> {
        let mut best: Option<(u64, usize)> = None;
        for (level, occupied) in self.occupied.iter().enumerate() {
            // Most levels are empty at most times.
            if *occupied == [0; WORDS] {
                continue;
            }
            let shift = level as u32 * LEVEL_SHIFT;
            let current = self.tick >> shift;
            // The slot after the current one comes first; the current one itself is empty.
            let Some(ahead) = ahead_of(occupied, (current + 1) % SLOTS) else { continue };
            let slot = current + 1 + ahead;
            let time = slot << shift;
            if best.is_none_or(|(earliest, _)| time < earliest) {
                best = Some((time, level * SLOTS as usize + (slot % SLOTS) as usize));
            }
        }
        best
    }

    /// The time of an occupied slot, in ticks: the first after `tick` that falls into the slot.
    fn time_of(&self, place: u16) -> u64 {
        let shift = u32::from(place) / SLOTS as u32 * LEVEL_SHIFT;
        let slot = u64::from(place) % SLOTS;
        let current = self.tick >> shift;
        let ahead = slot.wrapping_sub(current) % SLOTS;
        (current + ahead) << shift
    }

    fn is_beside_empty(&self) -> bool {
        self.firsts[usize::from(BESIDE)] == NONE
    }

    fn link(&mut self, key: u32) {
        let place = if self.tick < self.told { BESIDE } else { self.slot_for(key) };
        let first = self.firsts[usize::from(place)];
        let entry = &mut self.entries[key as usize];
        entry.place = place;
        entry.next = first;
        entry.previous = NONE;
        if first != NONE {
            self.entries[first as usize].previous = key;
        }
        self.firsts[usize::from(place)] = key;
        if place != BESIDE {
            let bit = u64::from(place) % SLOTS;
            let level = usize::from(place) / SLOTS as usize;
            self.occupied[level][bit as usize / 64] |= 1 << (bit % 64);
        }
    }

    /// The place of the finest slot that reaches the deadline of `key`, measured from `tick`.
    fn slot_for(&self, key: u32) -> u16 {
        let due = self.entries[key as usize].due.as_millis().div_ceil(TICK_MS);
        let due = due.max(self.tick + 1);
        let mut level = 0;
        let slot = loop {
            let shift = level as u32 * LEVEL_SHIFT;
            let slot = due.div_ceil(1 << shift);
            let furthest = (self.tick >> shift) + SLOTS - 1;
            if slot <= furthest {
                break slot;
            }
            if level == LEVELS - 1 {
                // The deadline lies beyond what the wheel reaches (12 days): the entry comes round
                // and goes back in.
                break furthest;
            }
            level += 1;
        };
        (level as u64 * SLOTS + slot % SLOTS) as u16
    }

    fn unlink(&mut self, key: u32) {
        let Entry { next, previous, place, .. } = self.entries[key as usize];
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
        } else {
            self.firsts[usize::from(place)] = next;
            if next == NONE && place != BESIDE {
                let level = usize::from(place) / SLOTS as usize;
                let bit = u64::from(place) % SLOTS;
                self.occupied[level][bit as usize / 64] &= !(1 << (bit % 64));
            }
        }
        self.entries[key as usize].place = NOWHERE;
    }
}

/// How many slots after `from` the first occupied one is, counting on from the last slot to the
/// first; `None` if none is occupied.
fn ahead_of(occupied: &[u64; WORDS], from: u64) -> Option<u64> {
    let (word, bit) = (from as usize / 64, from % 64);
    let here = occupied[word] >> bit;
    if here != 0 {
        return Some(u64::from(here.trailing_zeros()));
    }
    // The other words in their order, and last the part of the first that lies behind us.
    let others = (1..=WORDS).map(|turn| (turn, occupied[(word + turn) % WORDS]));
    let (turn, found) = others.into_iter().find(|(_, word)| *word != 0)?;
    Some(turn as u64 * 64 - bit + u64::from(found.trailing_zeros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn a_timer_fires_at_its_deadline_or_a_little_later_and_never_early() {
        for ms in [1, 15, 16, 17, 999, 1023, 1024, 5000, 25_000, 350_000, 86_400_000] {
            let mut wheel = Wheel::new(at(3), 1);
            wheel.set(0, at(3 + ms));
            assert_eq!(wheel.expire(at(2 + ms)), None, "{ms}: early");
            let next = wheel.next().unwrap();
            assert!(next.since(at(3 + ms)).as_millis() <= 32 + ms / 30, "{ms}: late, {next:?}");
            assert_eq!(wheel.expire(next), Some(0));
            assert_eq!(wheel.next(), None);
        }
    }

    #[test]
    fn a_deadline_put_off_costs_one_wake_up() {
        let mut wheel = Wheel::new(at(0), 1);
        wheel.set(0, at(1000));
        for ms in (0..1000).step_by(10) {
            wheel.set(0, at(1000 + ms));
        }
        let mut wakeups = 0;
        let mut now = at(0);
        while wheel.expire(now).is_none() {
            wheel.check();
            now = wheel.next().unwrap();
            wakeups += 1;
        }
        assert!(wakeups <= 2, "{wakeups}");
        assert!(now >= at(1990));
    }

    #[test]
    fn an_earlier_deadline_moves_the_entry() {
        let mut wheel = Wheel::new(at(0), 1);
        wheel.set(0, at(60_000));
        wheel.set(0, at(100));
        assert_eq!(wheel.expire(at(128)), Some(0));
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn a_long_sleep_loses_nothing() {
        let mut wheel = Wheel::new(at(0), 100);
        for key in 0..100 {
            wheel.set(key, at(u64::from(key) * 977));
        }
        let fired: Vec<u32> = core::iter::from_fn(|| wheel.expire(at(10_000_000))).collect();
        assert_eq!(fired.len(), 100);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn setting_it_again_in_every_turn_does_not_put_off_what_is_due() {
        let mut wheel = Wheel::new(at(0), 1);
        wheel.set(0, at(1000));
        let mut now = 0;
        loop {
            wheel.tell(at(now));
            wheel.set(0, at(1000));
            if wheel.expire(at(now)).is_some() {
                break;
            }
            now += 40;
        }
        assert!((1000..1200).contains(&now), "{now}");
    }

    #[test]
    fn after_a_long_sleep_deadlines_are_as_exact_as_ever() {
        const DAY_MS: u64 = 86_400_000;
        for missed in [false, true] {
            let mut wheel = Wheel::new(at(0), 3);
            if missed {
                wheel.set(0, at(1000));
                wheel.set(1, at(1000));
            }
            wheel.tell(at(DAY_MS));
            // A newcomer, and one that was heard of just now.
            wheel.set(2, at(DAY_MS + 5000));
            wheel.set(1, at(DAY_MS + 5000));
            wheel.check();
            assert_eq!(wheel.expire(at(DAY_MS)), missed.then_some(0));
            assert_eq!(wheel.expire(at(DAY_MS)), None);
            wheel.check();
            let mut fired = 0;
            while let Some(next) = wheel.next() {
                assert!(next <= at(DAY_MS + 5000 + 5000 / 30 + 32), "{next:?}");
                fired += core::iter::from_fn(|| wheel.expire(next)).count();
            }
            assert_eq!(fired, 2);
        }
    }

    #[test]
    fn beyond_the_reach_of_the_wheel() {
        let mut wheel = Wheel::new(at(0), 1);
        let deadline = at(90 * 86_400_000);
        wheel.set(0, deadline);
        let mut now = at(0);
        while wheel.expire(now).is_none() {
            wheel.check();
            now = wheel.next().unwrap();
        }
        assert!(now >= deadline);
    }
}
