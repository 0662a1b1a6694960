//! What is remembered of a channel's stream to tell a message from its repeat: whose numbers were
//! seen, and which keys.
//!
//! Each instance decides alone which messages are repeats, and all must decide alike. So what is
//! remembered follows from the last entries of the stream and from nothing else: from those of two
//! minutes by their ids, at most [`WINDOW_ENTRIES`] of them. Whoever opens a channel reads these,
//! and knows what the others know.
//!
//! Deals with: numbers of producers, and keys of messages. Leaves to others: where entries come
//! from, whether one is missing, and what becomes of a message.
//!
//! The surprise: a repeat counts as one more sight of its key. If the two minutes began with the
//! first message alone, whoever opened the channel between the first and its repeat would take the
//! repeat for the first.

use super::entry::{EntryId, Place};

/// How many milliseconds a key is remembered after it was last seen, by the ids of entries.
pub const WINDOW_MS: u64 = 120_000;

/// How many entries back what is remembered reaches. Each stream keeps as many, if their size
/// allows.
pub const WINDOW_ENTRIES: u64 = 1024;

/// The most producers that are remembered for a channel; for one more, the one that was not seen
/// for longest is forgotten.
pub const PRODUCERS_MAX: usize = 64;

/// The most keys that are remembered for a channel; for one more, the one that was not seen for
/// longest is forgotten.
pub const KEYS_MAX: usize = 256;

/// What is known of a producer.
#[derive(Clone, Copy, Debug)]
struct Producer {
    id: u64,
    /// The highest number that was seen in this history, or is `said`, or 0.
    seen: u64,
    /// The highest number that was said here in any history, or stood in front of the channel's
    /// start, or 0: `said <= seen`.
    said: u64,
    /// The highest number that was seen in this history, or 0: `read <= seen`.
    read: u64,
    /// The count of entries when the producer was last seen.
    at: u64,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
struct Key {
    hash: u64,
    /// Where the first message with this key stands.
    first: Place,
    /// The time in the id of the last entry with this key.
    seen_ms: u64,
    /// The count of entries when the key was last seen.
    at: u64,
}

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The message was not seen before.
    New,
    /// The message was seen before, for its producer has sent it twice.
    Seen,
    /// The message was said here out of a history that is gone, or stood there in front of the
    /// channel's start, and stands in this one for the first time: whoever was not here then has
    /// not heard it. The producer's messages up to this number are like that.
    SaidBefore(u64),
    /// Another message has the same key; the first of them stands here.
    Repeat(Place),
}

/// What is remembered of one channel's stream.
#[derive(Debug)]
pub(super) struct Memory {
    producers: Vec<Producer>,
    /// Without memory until the channel has its first key.
    keys: Vec<Key>,
    /// How many entries were read.
    entries: u64,
    /// The last entry that is counted in `entries`.
    counted: EntryId,
}

impl Memory {
    /// The most bytes that a memory takes beside itself.
    pub(super) const BYTES_MAX: usize =
        PRODUCERS_MAX * size_of::<Producer>() + KEYS_MAX * size_of::<Key>();

    /// A memory of nothing.
    pub(super) fn new() -> Memory {
        let producers = Vec::with_capacity(PRODUCERS_MAX);
        Memory { producers, keys: Vec::new(), entries: 0, counted: EntryId::ZERO }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.producers.clear();
        self.restart();
    }

    /// Something may be missing: the stream is read from another place on. Which messages were
    /// said here already is still known, and which stood in front of the channel's start: whoever
    /// is here has heard those elsewhere, or came after them. What was only seen in a gap may stand
    /// in the other history behind the gap, and is new then.
    pub(super) fn restart(&mut self) {
        self.keys.clear();
        self.entries = 0;
        self.counted = EntryId::ZERO;
        for producer in &mut self.producers {
            producer.at = 0;
            producer.seen = producer.said;
            producer.read = 0;
        }
    }

    /// An entry of a producer is read, for the first time or again.
    pub(super) fn enter(&mut self, id: EntryId, producer: u64) {
        self.count(id);
        let at = self.entries;
        if let Some(known) = self.producers.iter_mut().find(|known| known.id == producer) {
            known.at = at;
            return;
        }
        let new = Producer { id: producer, seen: 0, said: 0, read: 0, at };
        if self.producers.len() == PRODUCERS_MAX {
            let oldest = self.producers.iter_mut().min_by_key(|producer| producer.at);
            *oldest.expect("as many as may be are some") = new;
        } else {
            self.producers.push(new);
        }
    }

    /// An entry is read of which nothing can be used.
    pub(super) fn count(&mut self, id: EntryId) {
        if id > self.counted || self.entries == 0 {
            self.counted = id;
            self.entries += 1;
        }
    }

    /// What a message is that has this number, for its producer, and this key, if it has one. Its
    /// entry was read by [`Memory::enter`].
    pub(super) fn judge(
        &self,
        (producer, number): (u64, u64),
        key: Option<u64>,
        ms: u64,
    ) -> Verdict {
        let known = self.producers.iter().find(|known| known.id == producer);
        match known.filter(|known| number <= known.seen) {
            Some(known) if number <= known.read => return Verdict::Seen,
            Some(known) => return Verdict::SaidBefore(known.seen),
            None => {}
        }
        let known = key.and_then(|hash| self.keys.iter().find(|known| known.hash == hash));
        match known.filter(|known| self.is_fresh(known, ms)) {
            Some(known) => Verdict::Repeat(known.first),
            None => Verdict::New,
        }
    }

    /// A message was dealt with, whatever it is. `is_said`: whoever has the channel open here was
    /// to hear it.
    pub(super) fn note(
        &mut self,
        (producer, number): (u64, u64),
        key: Option<u64>,
        place: Place,
        is_said: bool,
    ) {
        if let Some(known) = self.producers.iter_mut().find(|known| known.id == producer) {
            known.seen = known.seen.max(number);
            known.read = known.read.max(number);
            if is_said {
                known.said = known.said.max(number);
            }
        }
        if let Some(hash) = key {
            self.note_key(hash, place);
        }
    }

    fn note_key(&mut self, hash: u64, place: Place) {
        let (seen_ms, at) = (place.entry.ms, self.entries);
        let new = Key { hash, first: place, seen_ms, at };
        if let Some(number) = self.keys.iter().position(|known| known.hash == hash) {
            let known = self.keys[number];
            let is_fresh = self.is_fresh(&known, seen_ms);
            self.keys[number] = if is_fresh { Key { seen_ms, at, ..known } } else { new };
            return;
        }
        if self.keys.capacity() == 0 {
            self.keys.reserve_exact(KEYS_MAX);
        }
        if self.keys.len() == KEYS_MAX {
            // Keys of one entry were seen in the order of their places.
            let oldest = self.keys.iter_mut().min_by_key(|known| (known.at, known.first));
            *oldest.expect("as many as may be are some") = new;
        } else {
            self.keys.push(new);
        }
    }

    fn is_fresh(&self, key: &Key, ms: u64) -> bool {
        ms <= key.seen_ms.saturating_add(WINDOW_MS) && self.entries - key.at < WINDOW_ENTRIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Place {
        Place { entry: EntryId { ms, seq: 0 }, index: 0 }
    }

    /// Reads an entry of one message, and says what that is.
    fn read(memory: &mut Memory, ms: u64, message: (u64, u64), key: Option<u64>) -> Verdict {
        memory.enter(at(ms).entry, message.0);
        let verdict = memory.judge(message, key, ms);
        memory.note(message, key, at(ms), true);
        verdict
    }

    #[test]
    fn what_was_sent_twice_is_said_once() {
        let mut memory = Memory::new();
        assert_eq!(read(&mut memory, 1, (7, 1), None), Verdict::New);
        assert_eq!(read(&mut memory, 2, (7, 1), None), Verdict::Seen);
        assert_eq!(read(&mut memory, 3, (8, 1), None), Verdict::New, "somebody else's");
        assert_eq!(read(&mut memory, 4, (7, 5), None), Verdict::New);
        assert_eq!(read(&mut memory, 5, (7, 1), None), Verdict::Seen, "executed late");
        // Also behind a gap, where everything else is forgotten.
        memory.restart();
        assert_eq!(read(&mut memory, 6, (7, 5), None), Verdict::SaidBefore(5));
        assert_eq!(read(&mut memory, 7, (7, 5), None), Verdict::Seen);
    }

    #[test]
    fn what_was_only_seen_is_new_in_another_history() {
        let mut memory = Memory::new();
        assert_eq!(read(&mut memory, 1, (7, 1), None), Verdict::New);
        memory.enter(at(2).entry, 7);
        memory.note((7, 2), None, at(2), false);
        assert_eq!(memory.judge((7, 2), None, 3), Verdict::Seen, "sent twice in one history");
        memory.restart();
        assert_eq!(read(&mut memory, 4, (7, 1), None), Verdict::SaidBefore(1));
        assert_eq!(read(&mut memory, 5, (7, 2), None), Verdict::New, "nobody has heard it");
    }

    #[test]
    fn a_key_is_remembered_for_two_minutes_after_it_was_seen() {
        let mut memory = Memory::new();
        let key = Some(5);
        assert_eq!(read(&mut memory, 1000, (7, 1), key), Verdict::New);
        assert_eq!(read(&mut memory, 121_000, (8, 1), key), Verdict::Repeat(at(1000)));
        assert_eq!(read(&mut memory, 241_000, (8, 2), key), Verdict::Repeat(at(1000)));
        assert_eq!(read(&mut memory, 361_001, (8, 3), key), Verdict::New);
        // Whoever opens the channel in between decides alike.
        let mut later = Memory::new();
        assert_eq!(read(&mut later, 121_000, (8, 1), key), Verdict::New);
        assert_eq!(read(&mut later, 241_000, (8, 2), key), Verdict::Repeat(at(121_000)));
        assert_eq!(read(&mut later, 361_001, (8, 3), key), Verdict::New);
    }

    #[test]
    fn a_key_is_remembered_for_so_many_entries() {
        let mut memory = Memory::new();
        assert_eq!(read(&mut memory, 1, (7, 1), Some(5)), Verdict::New);
        for number in 2..WINDOW_ENTRIES + 1 {
            let _ = read(&mut memory, number, (7, number), None);
        }
        let last = (7, WINDOW_ENTRIES + 1);
        assert_eq!(read(&mut memory, WINDOW_ENTRIES + 1, last, Some(5)), Verdict::New);
    }

    #[test]
    fn the_oldest_give_way() {
        let mut memory = Memory::new();
        for number in 0..=KEYS_MAX as u64 {
            let _ = read(&mut memory, number + 1, (7, number + 1), Some(number));
        }
        let next = KEYS_MAX as u64 + 2;
        assert_eq!(memory.judge((7, next), Some(0), next), Verdict::New);
        assert_eq!(memory.judge((7, next), Some(1), next), Verdict::Repeat(at(2)));
        for producer in 100..100 + PRODUCERS_MAX as u64 {
            let _ = read(&mut memory, next, (producer, 1), None);
        }
        assert_eq!(memory.judge((7, 1), None, next), Verdict::New, "producer 7 is forgotten");
        assert_eq!(memory.judge((101, 1), None, next), Verdict::Seen);
    }
}
