//! The log of one channel in one dialect: a ring of encoded records and an index of their ends.
//!
//! ```text
//!            tail                                           head
//!  ring      ┌────┬──────────┬─────┬───────────────┬───────────┐   append ──►
//!            │ r7 │    r8    │ r9  │      r10      │    r11    │
//!            └────┴──────────┴─────┴───────────────┴───────────┘
//!                    ▲             ▲                           ▲
//!         inside r8: lags          lags, on a boundary         caught up
//! ```
//!
//! A record is one message, encoded once, as the bytes that every reader's socket gets: server
//! frames carry no mask (RFC 6455 §5.1), which is why they can be shared. Readers keep their own
//! place, an [`Offset`]; the feed does not know them. Appending evicts whole records from the tail
//! until the new one fits; a reader whose place was evicted is *lapped* and finds that out itself.
//!
//! Where history is kept, the index also has the number of the message that each record is. Numbers
//! rise, but need not be contiguous: not every message has a form in every dialect, and a greeting
//! has the number of the message before it. So whoever comes back with a message's number finds its
//! place by bisection, and the feed knows up to which message anything may be missing.
//!
//! The surprise: the number of records is bounded as well as their bytes, so a flood of tiny
//! records laps readers before the ring is full. What asks "how full" must ask about both.

use crate::id::{Offset, Seq};
use crate::limits::{Limits, RECORD_BYTES_TYPICAL};
use crate::work;

/// A moment in the life of a feed, as the offset of its head and a count of records. A cursor is
/// such a moment too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// Where the next record begins.
    pub offset: Offset,
    /// How many records end at or before `offset`.
    pub seq: Seq,
}

/// A ring of records and their index. Memory is set aside whole at birth; untouched pages cost
/// nothing.
///
/// `tail <= head`, `head - tail <= ring.len()`, both on boundaries; the ends of the kept records
/// rise strictly and the last of them is `head`.
#[derive(Debug)]
pub struct Feed {
    ring: Box<[u8]>,
    /// `ends[seq % ends.len()]` is where record `seq` ends, for `oldest <= seq < next`.
    ends: Box<[u64]>,
    /// `messages[seq % ends.len()]` is the number of the message that record `seq` is; empty if
    /// nobody asks for it.
    messages: Box<[u64]>,
    /// The number of the newest message of which a record may be missing.
    missing: u64,
    head: u64,
    tail: u64,
    oldest: u64,
    next: u64,
    /// Readers that stand here or before are sent nothing of what is behind.
    gap: Option<Mark>,
}

impl Feed {
    /// An empty feed with a ring of `bytes` bytes.
    ///
    /// # Panics
    /// If `bytes` is not a power of two of at least 1024.
    pub fn new(bytes: usize) -> Feed {
        assert!(bytes.is_power_of_two() && bytes >= 1024);
        Feed {
            // Zeroed memory of this size comes from the kernel untouched.
            ring: vec![0; bytes].into_boxed_slice(),
            ends: vec![0; bytes / RECORD_BYTES_TYPICAL].into_boxed_slice(),
            messages: Box::default(),
            missing: 0,
            head: 0,
            tail: 0,
            oldest: 0,
            next: 0,
            gap: None,
        }
    }

    /// An empty feed whose index knows the messages, for a channel that has had `missing` of them.
    ///
    /// # Panics
    /// Like [`Feed::new`].
    pub fn numbered(bytes: usize, missing: u64) -> Feed {
        let feed = Feed::new(bytes);
        let messages = vec![0; feed.ends.len()].into_boxed_slice();
        Feed { messages, missing, ..feed }
    }

    /// Appends one record made of `parts`, evicting the oldest records until it fits. The record is
    /// of the message with the number `message`, which is not below that of any record before.
    /// Copies the bytes once; does not allocate.
    ///
    /// # Panics
    /// If the record is empty or larger than half the ring: [`Feed::fits`] is asked first.
    pub fn append(&mut self, message: u64, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        assert!(length > 0 && self.fits(length), "a record takes at most half a ring");
        while !self.has_room_for(length) {
            self.evict();
        }
        for part in parts {
            self.copy_in(part);
        }
        let place = self.place_of(self.next);
        self.ends[place] = self.head;
        if let Some(number) = self.messages.get_mut(place) {
            *number = message;
        }
        self.next += 1;
    }

    /// Parts those that read until now from what is appended from now on: they are sent everything
    /// up to here, and nothing behind it. What parts them is of the message with the number
    /// `message`, and is sent to nobody.
    pub fn part(&mut self, message: u64) {
        let gap = self.mark();
        self.append(message, &[b"\0"]);
        self.gap = Some(gap);
    }

    /// Whether readers were parted, and may not all have gone.
    pub fn is_parted(&self) -> bool {
        self.gap.is_some()
    }

    /// Forgets that readers were parted; those that came before have gone, or have their own end.
    pub fn join_up(&mut self) {
        self.gap = None;
    }

    /// Whether a reader at `at` is one of those that are sent nothing of what comes now.
    pub fn is_parted_at(&self, at: Offset) -> bool {
        self.gap.is_some_and(|gap| at <= gap.offset)
    }

    /// Up to where a reader at `at` is sent what there is: the head, unless readers were parted
    /// behind it.
    pub fn reach(&self, at: Offset) -> Mark {
        match self.gap {
            Some(gap) if at <= gap.offset => gap,
            Some(_) | None => self.mark(),
        }
    }

    /// Whether the ring has overtaken a reader at `at` that is still to be sent something of it.
    pub fn has_overtaken(&self, at: Offset) -> bool {
        at.0 < self.tail && at < self.reach(at).offset
    }

    /// How many bytes a reader at `at` is still to be sent; `None` if the ring has overtaken it.
    pub fn owed_bytes(&self, at: Offset) -> Option<u64> {
        (!self.has_overtaken(at)).then(|| self.reach(at).offset.since(at))
    }

    /// Whether a record of `length` bytes can be appended without evicting another.
    pub fn has_room_for(&self, length: usize) -> bool {
        self.head + length as u64 - self.tail <= self.ring.len() as u64
            && self.next - self.oldest < self.ends.len() as u64
    }

    /// Evicts the oldest record.
    ///
    /// # Panics
    /// If there is none.
    pub fn evict(&mut self) {
        assert!(self.oldest < self.next, "there is a record");
        let place = self.place_of(self.oldest);
        if let Some(message) = self.messages.get(place) {
            self.missing = *message;
        }
        self.tail = self.ends[place];
        self.oldest += 1;
    }

    /// Forgets all records; up to the message with the number `missing`, all may be missing.
    pub fn forget(&mut self, missing: u64) {
        (self.tail, self.oldest) = (self.head, self.next);
        self.missing = missing;
    }

    /// The number of the newest message of which a record may be missing: every message behind it
    /// that has a form in this dialect is here. Says nothing unless the feed is
    /// [`numbered`](Feed::numbered).
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// How many bytes the ring has.
    pub fn ring_bytes(&self) -> u64 {
        self.ring.len() as u64
    }

    /// How many records are kept.
    pub fn len(&self) -> u64 {
        self.next - self.oldest
    }

    /// Whether no record is kept.
    pub fn is_empty(&self) -> bool {
        self.next == self.oldest
    }

    /// Where the first record begins that is kept.
    pub fn first(&self) -> Mark {
        Mark { offset: Offset(self.tail), seq: Seq(self.oldest) }
    }

    /// Where the first record begins that is of a message behind the one with the number `message`;
    /// the head if there is none. A binary search of the index.
    ///
    /// # Panics
    /// Unless the feed is [`numbered`](Feed::numbered).
    pub fn after(&self, message: u64) -> Mark {
        let (mut low, mut high) = (self.oldest, self.next);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.message_of(Seq(middle)) > message {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Mark { offset: Offset(self.begin_of(low)), seq: Seq(low) }
    }

    /// Where the newest `count` records begin, or as many of them as come at or behind `from`.
    ///
    /// # Panics
    /// If what begins at `from` was evicted.
    pub fn newest(&self, count: u64, from: Mark) -> Mark {
        assert!(self.oldest <= from.seq.0 && from.seq.0 <= self.next);
        let seq = from.seq.0.max(self.next.saturating_sub(count));
        Mark { offset: Offset(self.begin_of(seq)), seq: Seq(seq) }
    }

    /// Where a record begins, or the head for the record that comes next.
    ///
    /// # Panics
    /// If the record was evicted.
    pub fn begin(&self, record: Seq) -> Offset {
        assert!(self.oldest <= record.0 && record.0 <= self.next);
        Offset(self.begin_of(record.0))
    }

    /// The number of the message that a record is.
    ///
    /// # Panics
    /// Unless the feed is [`numbered`](Feed::numbered) and the record is kept.
    pub fn message_of(&self, record: Seq) -> u64 {
        assert!(self.oldest <= record.0 && record.0 < self.next);
        self.messages[self.place_of(record.0)]
    }

    /// The number of the newest message that a reader at `place` has, or will have at the end of
    /// the record that it is inside of; `None` if the ring has overtaken the reader. If no record
    /// from before `place` is kept, that is the newest message that may be missing.
    ///
    /// # Panics
    /// Unless the feed is [`numbered`](Feed::numbered).
    pub fn had_at(&self, place: Mark) -> Option<u64> {
        self.behind_bytes(place)?;
        let is_inside = place.offset.0 != self.begin_of(place.seq.0);
        match place.seq.0 + u64::from(is_inside) {
            seq if seq > self.oldest => Some(self.message_of(Seq(seq - 1))),
            _ => Some(self.missing),
        }
    }

    /// Whether a record of `length` bytes may be appended: at least one byte, at most half the
    /// ring.
    pub fn fits(&self, length: usize) -> bool {
        length as u64 <= Limits::record_bytes_max(self.ring.len() as u64)
    }

    /// Where the next record will begin: the newest end.
    pub fn head(&self) -> Offset {
        Offset(self.head)
    }

    /// The offset of the oldest byte that is kept.
    pub fn tail(&self) -> Offset {
        Offset(self.tail)
    }

    /// The head as a mark: its offset, and how many records were appended.
    pub fn mark(&self) -> Mark {
        Mark { offset: Offset(self.head), seq: Seq(self.next) }
    }

    /// The bytes from `from` to `to` as two slices, the second empty unless they wrap.
    ///
    /// # Panics
    /// Unless `tail <= from <= to <= head`.
    pub fn slices(&self, from: Offset, to: Offset) -> (&[u8], &[u8]) {
        assert!(self.tail <= from.0 && from.0 <= to.0 && to.0 <= self.head);
        let mask = self.ring.len() - 1;
        let start = from.0 as usize & mask;
        let length = (to.0 - from.0) as usize;
        let first = length.min(self.ring.len() - start);
        (&self.ring[start..start + first], &self.ring[..length - first])
    }

    /// The boundary at or after `at`, and how many records end at or before `at`. A binary search
    /// of the index.
    ///
    /// # Panics
    /// Unless `tail <= at <= head`.
    pub fn locate(&self, at: Offset) -> Mark {
        assert!(self.tail <= at.0 && at.0 <= self.head);
        if at.0 == self.head {
            return self.mark();
        }
        // The first record that ends after `at`.
        let (mut low, mut high) = (self.oldest, self.next - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.end_of(middle) > at.0 {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let begins = self.begin_of(low);
        let boundary = if begins == at.0 { begins } else { self.end_of(low) };
        Mark { offset: Offset(boundary), seq: Seq(low) }
    }

    /// The boundary behind the record that begins at `place`; `None` if `place` is the head, or
    /// where readers were parted.
    ///
    /// # Panics
    /// If that record was evicted.
    pub fn next(&self, place: Mark) -> Option<Mark> {
        if self.gap == Some(place) {
            return None;
        }
        assert!(self.oldest <= place.seq.0 && place.seq.0 <= self.next);
        (place.seq.0 < self.next)
            .then(|| Mark { offset: Offset(self.end_of(place.seq.0)), seq: Seq(place.seq.0 + 1) })
    }

    /// Bytes that a reader at `place` has still to get; `None` if the ring has overtaken it.
    pub fn behind_bytes(&self, place: Mark) -> Option<u64> {
        (place.offset.0 >= self.tail).then(|| self.head - place.offset.0)
    }

    /// Whether a reader at `place` lags by more than 1/`parts` of what the feed can hold, in bytes
    /// or in records.
    pub fn lags_more_than(&self, place: Mark, parts: u64) -> bool {
        let lag_bytes = self.head - place.offset.0;
        let lag_records = self.next - place.seq.0;
        lag_bytes * parts > self.ring.len() as u64 || lag_records * parts > self.ends.len() as u64
    }

    /// Asserts the invariant of the struct, for tests and for the server's own check.
    pub fn check(&self) {
        assert!(self.tail <= self.head && self.head - self.tail <= self.ring.len() as u64);
        assert!(self.oldest <= self.next);
        assert!(self.next - self.oldest <= self.ends.len() as u64);
        let mut previous = self.tail;
        for seq in self.oldest..self.next {
            assert!(self.end_of(seq) > previous);
            previous = self.end_of(seq);
        }
        assert_eq!(previous, self.head);
        if !self.messages.is_empty() {
            let mut before = self.missing;
            for seq in self.oldest..self.next {
                assert!(self.message_of(Seq(seq)) >= before, "numbers of messages rise");
                before = self.message_of(Seq(seq));
            }
        }
    }

    /// Where record `seq` begins, which is kept or the next.
    fn begin_of(&self, seq: u64) -> u64 {
        if seq == self.oldest { self.tail } else { self.end_of(seq - 1) }
    }

    fn end_of(&self, seq: u64) -> u64 {
        self.ends[self.place_of(seq)]
    }

    fn place_of(&self, seq: u64) -> usize {
        seq as usize & (self.ends.len() - 1)
    }

    fn copy_in(&mut self, part: &[u8]) {
        let start = self.head as usize & (self.ring.len() - 1);
        let first = part.len().min(self.ring.len() - start);
        self.ring[start..start + first].copy_from_slice(&part[..first]);
        self.ring[..part.len() - first].copy_from_slice(&part[first..]);
        self.head += part.len() as u64;
        work::copied(part.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(feed: &Feed, from: u64, to: u64) -> Vec<u8> {
        let (first, second) = feed.slices(Offset(from), Offset(to));
        [first, second].concat()
    }

    #[test]
    fn what_is_appended_is_read_back_across_the_wrap() {
        let mut feed = Feed::new(1024);
        for n in 0..100_u32 {
            let record = [n as u8; 100];
            let before = feed.head();
            feed.append(0, &[&record[..3], &record[3..]]);
            feed.check();
            assert_eq!(text(&feed, before.0, feed.head().0), record);
        }
        assert_eq!(feed.tail(), Offset(9000));
    }

    #[test]
    fn tiny_records_fill_the_index_before_the_ring() {
        let mut feed = Feed::new(1024);
        for _ in 0..40 {
            feed.append(0, &[b"ab"]);
        }
        feed.check();
        assert_eq!(feed.head().since(feed.tail()), 32);
        let start = Mark { offset: feed.tail(), seq: Seq(24) };
        assert!(feed.lags_more_than(start, 2));
        assert!(!feed.lags_more_than(start, 1));
    }

    #[test]
    fn a_place_inside_a_record_is_located() {
        let mut feed = Feed::new(1024);
        feed.append(0, &[b"abc"]);
        feed.append(0, &[b"defgh"]);
        let located = |at| (feed.locate(Offset(at)).offset.0, feed.locate(Offset(at)).seq.0);
        assert_eq!(located(0), (0, 0));
        assert_eq!(located(1), (3, 0));
        assert_eq!(located(3), (3, 1));
        assert_eq!(located(7), (8, 1));
        assert_eq!(located(8), (8, 2));
    }

    #[test]
    fn a_message_is_found_by_its_number_although_numbers_have_gaps() {
        let mut feed = Feed::numbered(1024, 4);
        assert_eq!((feed.missing(), feed.after(4)), (4, feed.mark()));
        // The message 6 has no form here, and a greeting follows the message 7.
        for (message, record) in [(5, &b"five"[..]), (7, b"seven"), (7, b"hi"), (9, b"nine")] {
            feed.append(message, &[record]);
            feed.check();
        }
        let found = |message| (feed.after(message).offset.0, feed.after(message).seq.0);
        assert_eq!([4, 5, 6, 7, 8].map(found), [(0, 0), (4, 1), (4, 1), (11, 3), (11, 3)]);
        assert_eq!((found(9), found(100)), ((15, 4), (15, 4)));
        assert_eq!(feed.newest(1, feed.first()).offset, Offset(11));
        assert_eq!(feed.newest(9, feed.after(6)).offset, Offset(4));
        assert_eq!(feed.newest(0, feed.after(6)), feed.mark());
        let missing = |feed: &mut Feed| {
            feed.evict();
            feed.check();
            (feed.missing(), feed.first().offset.0, feed.len())
        };
        assert_eq!(missing(&mut feed), (5, 4, 3));
        assert_eq!((missing(&mut feed), missing(&mut feed)), ((7, 9, 2), (7, 11, 1)));
        feed.forget(12);
        feed.check();
        assert_eq!((feed.missing(), feed.is_empty(), feed.after(12)), (12, true, feed.mark()));
    }

    #[test]
    fn a_reader_has_what_it_was_sent_and_the_record_that_it_is_inside_of() {
        let mut feed = Feed::numbered(1024, 4);
        let place = |offset, seq| Mark { offset: Offset(offset), seq: Seq(seq) };
        assert_eq!(feed.had_at(place(0, 0)), Some(4));
        for (message, record) in [(5, &b"five"[..]), (5, b"hi"), (6, b"six")] {
            feed.append(message, &[record]);
        }
        let had = |feed: &Feed| {
            [(0, 0), (1, 0), (4, 1), (6, 2), (8, 2), (9, 3)]
                .map(|(offset, seq)| feed.had_at(place(offset, seq)))
        };
        assert_eq!(had(&feed), [4, 5, 5, 5, 6, 6].map(Some));
        feed.evict();
        assert_eq!(had(&feed)[..3], [None, None, Some(5)]);
        feed.evict();
        feed.evict();
        assert_eq!(had(&feed)[4..], [None, Some(6)]);
    }

    #[test]
    fn what_the_ring_evicts_is_missing() {
        let mut feed = Feed::numbered(1024, 0);
        for message in 1..=20 {
            feed.append(message, &[&[7; 100]]);
            feed.check();
        }
        assert_eq!((feed.missing(), feed.message_of(feed.first().seq)), (10, 11));
    }

    #[test]
    #[should_panic(expected = "half a ring")]
    fn a_record_over_half_a_ring_is_our_mistake() {
        Feed::new(1024).append(0, &[&[0; 513]]);
    }
}
