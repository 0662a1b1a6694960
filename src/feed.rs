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
    head: u64,
    tail: u64,
    oldest: u64,
    next: u64,
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
            head: 0,
            tail: 0,
            oldest: 0,
            next: 0,
        }
    }

    /// Appends one record made of `parts`, evicting the oldest records until it fits. Copies the
    /// bytes once; does not allocate.
    ///
    /// # Panics
    /// If the record is empty or larger than half the ring: [`Feed::fits`] is asked first.
    pub fn append(&mut self, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        assert!(length > 0 && self.fits(length), "a record takes at most half a ring");
        let capacity = self.ring.len() as u64;
        while self.head + length as u64 - self.tail > capacity
            || self.next - self.oldest == self.ends.len() as u64
        {
            self.tail = self.end_of(self.oldest);
            self.oldest += 1;
        }
        for part in parts {
            self.copy_in(part);
        }
        let place = self.place_of(self.next);
        self.ends[place] = self.head;
        self.next += 1;
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
        let begins = if low == self.oldest { self.tail } else { self.end_of(low - 1) };
        let boundary = if begins == at.0 { begins } else { self.end_of(low) };
        Mark { offset: Offset(boundary), seq: Seq(low) }
    }

    /// The boundary behind the record that begins at `place`; `None` if `place` is the head.
    ///
    /// # Panics
    /// If that record was evicted.
    pub fn next(&self, place: Mark) -> Option<Mark> {
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
            feed.append(&[&record[..3], &record[3..]]);
            feed.check();
            assert_eq!(text(&feed, before.0, feed.head().0), record);
        }
        assert_eq!(feed.tail(), Offset(9000));
    }

    #[test]
    fn tiny_records_fill_the_index_before_the_ring() {
        let mut feed = Feed::new(1024);
        for _ in 0..40 {
            feed.append(&[b"ab"]);
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
        feed.append(&[b"abc"]);
        feed.append(&[b"defgh"]);
        let located = |at| (feed.locate(Offset(at)).offset.0, feed.locate(Offset(at)).seq.0);
        assert_eq!(located(0), (0, 0));
        assert_eq!(located(1), (3, 0));
        assert_eq!(located(3), (3, 1));
        assert_eq!(located(7), (8, 1));
        assert_eq!(located(8), (8, 2));
    }

    #[test]
    #[should_panic(expected = "half a ring")]
    fn a_record_over_half_a_ring_is_our_mistake() {
        Feed::new(1024).append(&[&[0; 513]]);
    }
}
