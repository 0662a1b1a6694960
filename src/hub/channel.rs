//! One channel: its members, its feed, and the sweep that visits every member after an append.
//!
//! A **sweep** goes through the list of members from its end to its beginning, in portions, while
//! the loop takes in other things. Members come and go meanwhile; going moves the last member into
//! the gap. Going backwards makes that harmless: the member that moves has been visited already, or
//! will be. What was appended during a sweep is new to those that it had visited by then, so the
//! next sweep stops where this one stood at the last append.
//!
//! Publishers are held back for two reasons, each bounded: the sweep must not be lapped by what
//! it distributes; a room most of whose readers do not read gets a second per half ring to catch up
//! (who does not read is not read from, but cannot silence a room either).

use super::Moved;
use crate::feed::{Feed, Mark};
use crate::id::ConnId;
use crate::limits::GRACE_LIMIT;
use crate::time::Instant;

/// A channel with at least one member.
#[derive(Debug)]
pub struct Channel {
    name: Box<str>,
    /// Slots of connections.
    members: Vec<u32>,
    feed: Feed,
    sweep: Option<Sweep>,
    /// Every member that was not blocked has sent everything up to here.
    completed: Mark,
    /// Members that are blocked with more than half a ring of lag, as the sweep found them.
    choked: u32,
    /// Until when publishers wait for the choked.
    grace_until: Option<Instant>,
    /// The head when the last grace ended.
    grace_ended: Mark,
    /// Publishers with something to say that are not read.
    paused: Vec<ConnId>,
}

/// `stop <= position`; members at `stop..position` are still to be visited.
#[derive(Clone, Copy, Debug)]
struct Sweep {
    position: usize,
    stop: usize,
    /// The head when the sweep began.
    began: Mark,
    /// Where the next sweep may stop, if something was appended during this one.
    again: Option<usize>,
}

impl Channel {
    pub(super) fn new(name: &str, feed_bytes: usize) -> Channel {
        Channel {
            name: name.into(),
            members: Vec::new(),
            feed: Feed::new(feed_bytes),
            sweep: None,
            completed: Mark::default(),
            choked: 0,
            grace_until: None,
            grace_ended: Mark::default(),
            paused: Vec::new(),
        }
    }

    pub(super) fn join(&mut self, slot: u32) -> u32 {
        self.members.push(slot);
        (self.members.len() - 1) as u32
    }

    pub(super) fn leave(&mut self, position: u32) -> Option<Moved> {
        let gap = position as usize;
        self.members.swap_remove(gap);
        if let Some(sweep) = &mut self.sweep {
            // Whoever fills the gap may not have been visited: let both sweeps pass it.
            sweep.position = sweep.position.min(self.members.len());
            sweep.stop = sweep.stop.min(gap).min(sweep.position);
            sweep.again = sweep.again.map(|again| again.min(gap));
        }
        self.members.get(gap).map(|slot| Moved { slot: *slot, position })
    }

    /// Appends a record; whether that begins a sweep.
    pub(super) fn append(&mut self, parts: &[&[u8]]) -> bool {
        self.feed.append(parts);
        match &mut self.sweep {
            Some(sweep) => {
                // Those above have been visited and need another sweep; those below will be visited
                // in this one, which may not stop short of them any more.
                sweep.again = Some(sweep.position);
                sweep.stop = 0;
                false
            }
            None => {
                self.begin_sweep(0);
                true
            }
        }
    }

    /// The next member of the sweep.
    pub fn visit(&mut self) -> Option<u32> {
        let sweep = self.sweep.as_mut()?;
        if sweep.position == sweep.stop {
            return None;
        }
        sweep.position -= 1;
        Some(self.members[sweep.position])
    }

    /// The sweep is through. Publishers that waited for it go to `resume`. Returns whether another
    /// begins.
    pub fn finish_sweep(&mut self, now: Instant, mut resume: impl FnMut(ConnId)) -> bool {
        let Some(sweep) = self.sweep.take() else { return false };
        self.completed = sweep.began;
        if let Some(stop) = sweep.again {
            self.begin_sweep(stop);
        } else {
            self.completed = self.feed.mark();
        }
        let due = self.feed.lags_more_than(self.grace_ended, 2);
        if self.grace_until.is_none() && self.is_choked() && due {
            self.grace_until = Some(now.plus(GRACE_LIMIT));
        }
        if !self.holds_publishers() {
            self.paused.drain(..).for_each(&mut resume);
        }
        self.sweep.is_some()
    }

    /// Whether publishers must not be read now.
    pub fn holds_publishers(&self) -> bool {
        let lapping = self.sweep.is_some() && self.feed.lags_more_than(self.completed, 2);
        lapping || (self.grace_until.is_some() && self.is_choked())
    }

    /// Remembers a publisher that is not read; it is resumed once.
    pub fn pause(&mut self, publisher: ConnId) {
        self.paused.push(publisher);
    }

    /// A publisher is no longer one; whether it was among those that are not read.
    pub fn forget(&mut self, publisher: ConnId) -> bool {
        let before = self.paused.len();
        self.paused.retain(|paused| *paused != publisher);
        self.paused.len() < before
    }

    /// A member was found blocked with more than half a ring of lag.
    pub fn count_choked(&mut self) {
        self.choked += 1;
    }

    /// A choked member has caught up, or left.
    pub fn uncount_choked(&mut self, mut resume: impl FnMut(ConnId)) {
        self.choked -= 1;
        if self.grace_until.is_some() && !self.is_choked() {
            self.end_grace(&mut resume);
        }
    }

    /// The publishers have waited long enough.
    pub(super) fn end_grace(&mut self, resume: &mut impl FnMut(ConnId)) {
        self.grace_until = None;
        self.grace_ended = self.feed.mark();
        if !self.holds_publishers() {
            self.paused.drain(..).for_each(resume);
        }
    }

    /// Until when publishers wait for the choked.
    pub fn grace_until(&self) -> Option<Instant> {
        self.grace_until
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its feed.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the last member has left.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The members' slots, by position.
    pub fn members(&self) -> &[u32] {
        &self.members
    }

    /// Asserts what must hold.
    pub fn check(&self) {
        self.feed.check();
        assert!(!self.members.is_empty());
        assert!(self.choked as usize <= self.members.len());
        if let Some(sweep) = &self.sweep {
            assert!(sweep.stop <= sweep.position && sweep.position <= self.members.len());
        } else {
            assert_eq!(self.completed, self.feed.mark());
        }
    }

    /// More than half of the members do not read.
    fn is_choked(&self) -> bool {
        self.choked as usize * 2 > self.members.len()
    }

    fn begin_sweep(&mut self, stop: usize) {
        let position = self.members.len();
        let began = self.feed.mark();
        self.sweep = Some(Sweep { position, stop: stop.min(position), began, again: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// A small generator with a seed: the test's only source of chance.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % n as u64) as usize
        }
    }

    #[test]
    fn every_member_is_visited_after_every_append_however_members_come_and_go() {
        for seed in 1..300 {
            let mut dice = Dice(seed);
            let mut channel = Channel::new("test", 4096);
            // Slot to (position, seq up to which it has been given everything).
            let mut model: HashMap<u32, (u32, u64)> = HashMap::new();
            let mut next_slot = 0;
            for _ in 0..400 {
                match dice.below(8) {
                    0 | 1 => {
                        let position = channel.join(next_slot);
                        model.insert(next_slot, (position, channel.feed.mark().seq.0));
                        next_slot += 1;
                    }
                    2 if model.len() > 1 => {
                        let slot = channel.members[dice.below(channel.members.len())];
                        let (position, _) = model.remove(&slot).unwrap();
                        if let Some(moved) = channel.leave(position) {
                            model.get_mut(&moved.slot).unwrap().0 = moved.position;
                        }
                    }
                    3 if !model.is_empty() => {
                        channel.append(&[b"x"]);
                    }
                    _ => visit(&mut channel, &mut model, 1 + dice.below(3)),
                }
            }
            while channel.sweep.is_some() {
                visit(&mut channel, &mut model, 10);
            }
            for (slot, (_, seq)) in &model {
                assert_eq!(*seq, channel.feed.mark().seq.0, "seed {seed}: slot {slot} missed some");
            }
        }
    }

    fn visit(channel: &mut Channel, model: &mut HashMap<u32, (u32, u64)>, portion: usize) {
        for _ in 0..portion {
            match channel.visit() {
                Some(slot) => model.get_mut(&slot).unwrap().1 = channel.feed.mark().seq.0,
                None => {
                    channel.finish_sweep(Instant::default(), |_| {});
                    let behind = model.values().filter(|(_, seq)| *seq < channel.completed.seq.0);
                    assert_eq!(behind.count(), 0, "a sweep that is through has reached everyone");
                    return;
                }
            }
        }
    }

    #[test]
    fn a_room_that_does_not_read_is_waited_for_once_per_half_ring() {
        let mut channel = Channel::new("test", 1024);
        for slot in 0..3 {
            channel.join(slot);
        }
        let publish = |channel: &mut Channel, now| {
            channel.append(&[&[0; 200]]);
            while channel.visit().is_some() {}
            channel.finish_sweep(now, |_| panic!("nobody waits"));
        };
        let now = Instant::from_millis(1000);
        (0..3).for_each(|_| publish(&mut channel, now));
        assert!(!channel.holds_publishers());
        (0..2).for_each(|_| channel.count_choked());
        publish(&mut channel, now);
        assert!(channel.holds_publishers());
        channel.pause(ConnId { slot: 9, generation: 0 });

        let mut resumed = Vec::new();
        channel.end_grace(&mut |id| resumed.push(id));
        assert_eq!(resumed.len(), 1);
        (0..2).for_each(|_| publish(&mut channel, now));
        assert!(!channel.holds_publishers(), "half a ring is free before the next grace");
        publish(&mut channel, now);
        assert!(channel.holds_publishers());
        channel.uncount_choked(|_| {});
        assert!(!channel.holds_publishers(), "half of the room reads again");
    }
}
