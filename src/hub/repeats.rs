//! Requests to publish that may come again, and what became of each: a request with an
//! `Idempotency-Key` that comes a second time within two minutes says nothing more, and is answered
//! with the position of the first.
//!
//! A request is known by a keyed hash of 128 bits of its channel's name and its key. There is a
//! table for each channel, by its name, whether the channel is there or not: so a message is not
//! said twice because its only reader was away for a moment. A table has the newest
//! [`REPEATS_MAX`] requests; an older one is forgotten, and so is one of more than
//! [`REPEAT_LIMIT`]. Its memory is reserved in the pool before a message is said, so that a message
//! is never said and not remembered.
//!
//! The surprise: a table is searched from its end to its beginning, by half of the hash. For a
//! request that is new that is a comparison of 1,024 numbers that stand in a row, some 200 ns.

use core::hash::{BuildHasher, Hasher};
use std::collections::{HashMap, VecDeque};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::HashKey;
use crate::pool::Pool;
use crate::position::Position;
use crate::time::{Duration, Instant};

/// How long it is remembered what became of a request.
const REPEAT_LIMIT: Duration = Duration::from_secs(120);

/// Time between two looks for requests that are too old. Nobody is told of them meanwhile.
const EXPIRE_STEP: Duration = Duration::from_secs(10);

/// The most requests of one channel that are remembered.
const REPEATS_MAX: usize = 1024;

/// The most channels of which requests are remembered; for one more, the one is forgotten to which
/// nothing was said for longest.
const REPEAT_CHANNELS_MAX: usize = 1024;

/// Requests for which a table has room at first; it doubles from there.
const ROOM_MIN: usize = 16;

/// Bytes of the pool for each request that a table has room for.
const ENTRY_BYTES: u64 = (size_of::<u64>() + size_of::<Entry>()) as u64;

/// Bytes of the pool for each table beside its requests: its place among the tables, which doubles
/// when it grows while the old one is still there, and what two allocations take.
const TABLE_BYTES: u64 = ((size_of::<(u64, Table)>() + 1) * 24).div_ceil(7) as u64 + 64;

/// A request that may come again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RepeatId {
    /// The channel that it is for.
    channel: u64,
    /// A hash of channel and key together.
    request: [u64; 2],
    /// The key alone, by a hash that is the same in every process: instances that share an order
    /// know a request by it. Only backends choose keys, so nobody gains by two that collide.
    pub shared: u64,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    /// The message was said; `None` if nobody was there, so that it has no position.
    At(Option<Position>),
    /// The message waits for its place in the order, under the ticket of this number.
    UnderWay(u64),
}

/// A request that is remembered.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The half of the request's hash that is not among the tags of its table.
    request: u64,
    at: Instant,
    said: Said,
}

/// The requests of one channel that are remembered, the oldest first.
#[derive(Debug, Default)]
struct Table {
    /// Half of the hash of each.
    tags: VecDeque<u64>,
    entries: VecDeque<Entry>,
    /// How many requests there is room for, which is paid for.
    room: usize,
}

/// All requests that are remembered.
#[derive(Debug)]
pub struct Repeats {
    key: HashKey,
    tables: HashMap<u64, Table, HashKey>,
    /// Not after the first moment at which a request is too old.
    over_at: Instant,
}

impl Repeats {
    /// Nothing is remembered yet. Hashes are made with `key`.
    pub fn new(key: HashKey) -> Repeats {
        Repeats { key, tables: HashMap::with_hasher(key), over_at: Instant::NEVER }
    }

    /// The request to publish in `channel` with this key.
    pub fn id(&self, channel: &str, key: &[u8]) -> RepeatId {
        let mut hasher = SipHasher13::new_with_key(&self.key.0);
        // The name of a channel has no such byte, so nothing else hashes the same bytes.
        hasher.write(channel.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(key);
        let hash = hasher.finish128();
        let mut hasher = SipHasher13::new();
        hasher.write(key);
        let shared = hasher.finish128().h1;
        RepeatId { channel: self.key.hash_one(channel), request: [hash.h1, hash.h2], shared }
    }

    /// What became of a request that has come before, within the two minutes for which it is kept.
    pub fn find(&self, now: Instant, id: RepeatId) -> Option<Said> {
        let table = self.tables.get(&id.channel)?;
        let entry = &table.entries[table.find(id)?];
        (now < entry.at.plus(REPEAT_LIMIT)).then_some(entry.said)
    }

    /// Makes room for one more request of a channel. `false` if there is no memory for that; then
    /// nothing is to be said under the request's key.
    #[must_use]
    pub fn make_room(&mut self, pool: &mut Pool, now: Instant, id: RepeatId) -> bool {
        self.expire(pool, now);
        if !self.tables.contains_key(&id.channel) {
            if self.tables.len() >= REPEAT_CHANNELS_MAX {
                self.forget_oldest(pool);
            }
            if !pool.reserve(TABLE_BYTES) {
                return false;
            }
            self.tables.insert(id.channel, Table::default());
        }
        let table = self.tables.get_mut(&id.channel).expect("it was just seen to");
        let has_room = table.entries.len() < table.room || table.room == REPEATS_MAX;
        let room = if has_room { table.room } else { (2 * table.room).max(ROOM_MIN) };
        // Both the old and the new list are there while one becomes the other.
        if !has_room && !pool.reserve(room as u64 * ENTRY_BYTES) {
            if table.room == 0 {
                self.tables.remove(&id.channel);
                pool.release(TABLE_BYTES);
            }
            return false;
        }
        if !has_room {
            table.tags.reserve_exact(room - table.tags.len());
            table.entries.reserve_exact(room - table.entries.len());
            pool.release(table.room as u64 * ENTRY_BYTES);
            table.room = room;
        }
        true
    }

    /// Remembers what became of a request, instead of what was remembered of it: for what is left
    /// of its two minutes, or for two minutes from now if those are over. There must be room, or
    /// the request is not remembered.
    pub fn remember(&mut self, now: Instant, id: RepeatId, said: Said) {
        let Some(table) = self.tables.get_mut(&id.channel) else { return };
        if let Some(number) = table.find(id) {
            let entry = &mut table.entries[number];
            if now < entry.at.plus(REPEAT_LIMIT) {
                entry.said = said;
                return;
            }
            // A request that is too old stands here until the next look for such, and its age must
            // not become that of the new one.
            table.tags.remove(number);
            table.entries.remove(number);
        }
        if table.entries.len() == table.room {
            table.tags.pop_front();
            table.entries.pop_front();
        }
        if table.entries.len() < table.room {
            table.tags.push_back(id.request[0]);
            table.entries.push_back(Entry { request: id.request[1], at: now, said });
            self.over_at = self.over_at.min(now.plus(REPEAT_LIMIT));
        }
    }

    /// Forgets a request whose message was not said after all.
    pub fn forget(&mut self, id: RepeatId) {
        let Some(table) = self.tables.get_mut(&id.channel) else { return };
        if let Some(number) = table.find(id) {
            table.tags.remove(number);
            table.entries.remove(number);
        }
    }

    /// Forgets all requests that are too old at `now`, and the tables of channels that have none
    /// left.
    ///
    /// Work: nothing before the first is; then a look at each table, and what is forgotten.
    pub fn expire(&mut self, pool: &mut Pool, now: Instant) {
        if now < self.over_at {
            return;
        }
        let mut over_at = Instant::NEVER;
        self.tables.retain(|_, table| {
            while let Some(first) = table.entries.front() {
                if now < first.at.plus(REPEAT_LIMIT) {
                    over_at = over_at.min(first.at.plus(REPEAT_LIMIT));
                    return true;
                }
                table.tags.pop_front();
                table.entries.pop_front();
            }
            pool.release(table.cost_bytes());
            false
        });
        // Memory may wait a little, so that an idle server is seldom woken for it.
        self.over_at = match over_at {
            Instant::NEVER => over_at,
            over_at => over_at.max(now.plus(EXPIRE_STEP)),
        };
        if self.tables.capacity() > 4 * self.tables.len() {
            self.tables.shrink_to(2 * self.tables.len());
        }
    }

    /// When [`Repeats::expire`] is worth calling; `None` if nothing is remembered.
    pub fn next_over(&self) -> Option<Instant> {
        (self.over_at != Instant::NEVER).then_some(self.over_at)
    }

    /// Bytes of the pool that are reserved for all this.
    pub fn reserved_bytes(&self) -> u64 {
        self.tables.values().map(Table::cost_bytes).sum()
    }

    /// Forgets the channel to which nothing was said for longest.
    fn forget_oldest(&mut self, pool: &mut Pool) {
        let newest = |table: &Table| table.entries.back().map(|entry| entry.at);
        let oldest = self.tables.iter().min_by_key(|(channel, table)| (newest(table), **channel));
        let Some(channel) = oldest.map(|(channel, _)| *channel) else { return };
        if let Some(table) = self.tables.remove(&channel) {
            pool.release(table.cost_bytes());
        }
    }
}

impl Table {
    fn find(&self, id: RepeatId) -> Option<usize> {
        let mut tags = self.tags.iter().zip(&self.entries).rev();
        let from_end =
            tags.position(|(tag, entry)| *tag == id.request[0] && entry.request == id.request[1])?;
        Some(self.tags.len() - 1 - from_end)
    }

    fn cost_bytes(&self) -> u64 {
        TABLE_BYTES + self.room as u64 * ENTRY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Epoch;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn said(seq: u64) -> Said {
        Said::At(Some(Position::Local { epoch: Epoch(7), seq }))
    }

    fn begin() -> (Pool, Repeats) {
        (Pool::new(4 << 20), Repeats::new(HashKey([7; 16])))
    }

    fn remember(pool: &mut Pool, repeats: &mut Repeats, now: u64, name: &str, key: &str, seq: u64) {
        let id = repeats.id(name, key.as_bytes());
        assert_eq!(repeats.find(at(now), id), None);
        assert!(repeats.make_room(pool, at(now), id));
        repeats.remember(at(now), id, said(seq));
        assert_eq!(pool.lent_bytes(), repeats.reserved_bytes());
    }

    #[test]
    fn a_request_is_known_again_for_two_minutes_in_its_channel() {
        let (mut pool, mut repeats) = begin();
        remember(&mut pool, &mut repeats, 1_000, "a", "k", 1);
        remember(&mut pool, &mut repeats, 2_000, "b", "k", 2);
        let (a, b) = (repeats.id("a", b"k"), repeats.id("b", b"k"));
        assert_eq!(repeats.find(at(120_999), a), Some(said(1)));
        assert_eq!(repeats.find(at(121_000), a), None);
        assert_eq!(repeats.find(at(121_000), b), Some(said(2)));
        assert_eq!(repeats.find(at(1_000), repeats.id("a", b"K")), None);
        assert_eq!(repeats.next_over(), Some(at(121_000)));
        repeats.expire(&mut pool, at(121_000));
        assert_eq!(repeats.next_over(), Some(at(131_000)));
        repeats.expire(&mut pool, at(131_000));
        assert_eq!((repeats.next_over(), pool.lent_bytes()), (None, 0));
    }

    #[test]
    fn a_request_that_comes_again_after_its_two_minutes_is_known_for_two_more() {
        let (mut pool, mut repeats) = begin();
        remember(&mut pool, &mut repeats, 0, "a", "first", 1);
        remember(&mut pool, &mut repeats, 1_000, "a", "k", 2);
        remember(&mut pool, &mut repeats, 2_000, "a", "later", 3);
        let id = |key: &str| Repeats::new(HashKey([7; 16])).id("a", key.as_bytes());
        // The next look for what is too old is ten seconds behind this one.
        repeats.expire(&mut pool, at(120_000));
        assert_eq!(repeats.find(at(120_999), id("k")), Some(said(2)));
        remember(&mut pool, &mut repeats, 121_000, "a", "k", 4);
        assert_eq!(repeats.find(at(121_000), id("k")), Some(said(4)));
        assert_eq!(repeats.find(at(121_999), id("later")), Some(said(3)));
        // Those that are older are forgotten first, and the request is not among them.
        repeats.expire(&mut pool, at(130_000));
        assert_eq!(repeats.find(at(240_999), id("k")), Some(said(4)));
        assert_eq!(repeats.find(at(241_000), id("k")), None);
        repeats.expire(&mut pool, at(241_000));
        assert_eq!((repeats.next_over(), pool.lent_bytes()), (None, 0));
    }

    #[test]
    fn what_is_under_way_comes_to_something_or_is_forgotten() {
        let (mut pool, mut repeats) = begin();
        let id = repeats.id("a", b"k");
        assert!(repeats.make_room(&mut pool, at(0), id));
        repeats.remember(at(0), id, Said::UnderWay(5));
        repeats.remember(at(9), id, said(3));
        assert_eq!(repeats.find(at(9), id), Some(said(3)));
        repeats.forget(id);
        assert_eq!(repeats.find(at(9), id), None);
        repeats.forget(id);
        repeats.remember(at(9), repeats.id("b", b"k"), said(3));
        assert_eq!(repeats.find(at(9), repeats.id("b", b"k")), None, "there was no room");
        repeats.expire(&mut pool, at(120_000));
        assert_eq!(pool.lent_bytes(), 0);
    }

    #[test]
    fn a_table_has_the_newest_and_its_memory_is_bounded() {
        let (mut pool, mut repeats) = begin();
        for number in 0..3 * REPEATS_MAX as u64 {
            remember(&mut pool, &mut repeats, number, "a", &number.to_string(), number);
        }
        let find =
            |number: usize| repeats.find(at(3_000), repeats.id("a", number.to_string().as_bytes()));
        assert_eq!(find(2 * REPEATS_MAX - 1), None);
        assert_eq!(find(2 * REPEATS_MAX), Some(said(2 * REPEATS_MAX as u64)));
        assert_eq!(find(3 * REPEATS_MAX - 1), Some(said(3 * REPEATS_MAX as u64 - 1)));
        assert_eq!(repeats.reserved_bytes(), TABLE_BYTES + REPEATS_MAX as u64 * ENTRY_BYTES);
        for number in 0..2 * REPEAT_CHANNELS_MAX {
            let name = format!("c{number}");
            remember(&mut pool, &mut repeats, 4_000 + number as u64, &name, "k", 1);
        }
        assert_eq!(repeats.tables.len(), REPEAT_CHANNELS_MAX);
        let newest = format!("c{}", 2 * REPEAT_CHANNELS_MAX - 1);
        assert_eq!(repeats.find(at(9_000), repeats.id(&newest, b"k")), Some(said(1)));
        assert_eq!(repeats.find(at(9_000), repeats.id("c0", b"k")), None);
    }

    #[test]
    fn without_memory_there_is_no_room() {
        let (mut pool, mut repeats) = begin();
        let id = repeats.id("a", b"k");
        while pool.spend(64) {}
        assert!(!repeats.make_room(&mut pool, at(0), id));
        repeats.remember(at(0), id, said(1));
        assert_eq!((repeats.find(at(0), id), repeats.reserved_bytes()), (None, 0));
    }
}
