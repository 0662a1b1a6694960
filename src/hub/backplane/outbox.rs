//! What was said here and has no place in the order yet: messages in a ring of fixed size.
//!
//! ```text
//!   records   [ a ][ b ][ a ][ c ][ a ]      in the order in which they were said
//!               │─────────►│─────────►│      each knows the next of its channel
//!   bytes     ░░aaaabbbbbbbaacccccaaaa░░░    in the same order, once around if need be
//! ```
//!
//! Deals with: the bytes, the tickets and the keys of messages, and the queue of each channel.
//! Leaves to others: what is sent when, and what has its place.
//!
//! What it costs: a message is copied in once, and out once into the request that carries it.
//!
//! The surprise: memory is freed from the oldest message on only. A channel that has to wait keeps
//! what was said in others after it, and so in the end all of them; but what makes one channel wait
//! makes them all wait, for there is one line.

use std::collections::VecDeque;

use super::event::Ticket;

/// The most messages that wait at one time.
pub(super) const MESSAGES_MAX: usize = 4096;

/// In place of the number of a record: there is none.
const NONE: u64 = u64::MAX;

/// A message that waits.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// Where the bytes begin, counted from the first byte that was ever put in.
    begin: u64,
    length: u32,
    key: Option<u64>,
    ticket: Ticket,
    /// The number of the channel's next record, or `NONE`.
    next: u64,
    /// Whether the message has its place, and the record waits for older ones only.
    is_done: bool,
}

/// The messages of one channel that wait to be sent, oldest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Queue {
    /// The number of the first record, or `NONE`.
    first: u64,
    /// The number of the last record, if there is a first.
    last: u64,
}

impl Queue {
    /// A queue of no messages.
    pub(super) const EMPTY: Queue = Queue { first: NONE, last: NONE };

    /// Whether no message waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }
}

/// All messages that wait.
#[derive(Debug)]
pub(super) struct Outbox {
    /// The ring. A byte stands at its count modulo the length.
    bytes: Box<[u8]>,
    /// How many bytes were ever put in.
    end: u64,
    records: VecDeque<Record>,
    /// The number of the first of `records`; the others follow in a row.
    first: u64,
}

impl Outbox {
    /// An outbox for so many bytes.
    pub(super) fn new(bytes: usize) -> Outbox {
        let records = VecDeque::with_capacity(MESSAGES_MAX);
        Outbox { bytes: vec![0; bytes].into(), end: 0, records, first: 0 }
    }

    /// Bytes that an outbox for so many bytes takes.
    pub(super) const fn cost_bytes(bytes: usize) -> usize {
        bytes + MESSAGES_MAX * size_of::<Record>()
    }

    /// Whether a message of so many bytes may be put in.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.records.len() < MESSAGES_MAX && self.bytes.len() - self.used() >= length
    }

    /// Puts a message at the end of its channel's queue.
    ///
    /// # Panics
    /// If there is no room.
    pub(super) fn push(
        &mut self,
        queue: &mut Queue,
        (ticket, key): (Ticket, Option<u64>),
        message: &[u8],
    ) {
        assert!(self.has_room(message.len()));
        let number = self.first + self.records.len() as u64;
        let begin = self.end;
        let length = u32::try_from(message.len()).expect("the ring is smaller than 4 GiB");
        let at = self.index(begin);
        let front = message.len().min(self.bytes.len() - at);
        self.bytes[at..at + front].copy_from_slice(&message[..front]);
        self.bytes[..message.len() - front].copy_from_slice(&message[front..]);
        self.end += u64::from(length);
        self.records.push_back(Record { begin, length, key, ticket, next: NONE, is_done: false });
        if queue.is_empty() {
            queue.first = number;
        } else {
            self.record_mut(queue.last).next = number;
        }
        queue.last = number;
    }

    /// Takes the first `count` messages out of a queue: they are sent, and stay until they are
    /// done.
    ///
    /// # Panics
    /// If there are fewer.
    pub(super) fn unqueue(&self, queue: &mut Queue, count: u16) {
        for _ in 0..count {
            queue.first = self.record(queue.first).next;
        }
        if queue.is_empty() {
            *queue = Queue::EMPTY;
        }
    }

    /// The number of the record in front of a queue.
    pub(super) fn front(queue: &Queue) -> Option<u64> {
        Some(queue.first).filter(|first| *first != NONE)
    }

    /// The number of the record behind this one in its channel, if there is one.
    pub(super) fn next(&self, number: u64) -> Option<u64> {
        Some(self.record(number).next).filter(|next| *next != NONE)
    }

    /// A message's key, and how many bytes it has.
    pub(super) fn measure(&self, number: u64) -> (Option<u64>, usize) {
        let record = self.record(number);
        (record.key, record.length as usize)
    }

    /// A message's ticket.
    pub(super) fn ticket(&self, number: u64) -> Ticket {
        self.record(number).ticket
    }

    /// A message's bytes, in two parts if they go around the end of the ring.
    pub(super) fn bytes(&self, number: u64) -> [&[u8]; 2] {
        let record = self.record(number);
        let (at, length) = (self.index(record.begin), record.length as usize);
        let front = length.min(self.bytes.len() - at);
        [&self.bytes[at..at + front], &self.bytes[..length - front]]
    }

    /// A message has its place: its memory is given back once all older ones have theirs.
    pub(super) fn finish(&mut self, number: u64) {
        self.record_mut(number).is_done = true;
        while self.records.front().is_some_and(|record| record.is_done) {
            self.records.pop_front();
            self.first += 1;
        }
    }

    /// How many messages wait for their place, those counted that wait for older ones only.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    fn used(&self) -> usize {
        let begin = self.records.front().map_or(self.end, |record| record.begin);
        usize::try_from(self.end - begin).expect("no more than the ring has")
    }

    fn index(&self, begin: u64) -> usize {
        // The remainder is below a length.
        if self.bytes.is_empty() { 0 } else { (begin % self.bytes.len() as u64) as usize }
    }

    fn record(&self, number: u64) -> &Record {
        let at = usize::try_from(number - self.first).expect("the number of a record that waits");
        &self.records[at]
    }

    fn record_mut(&mut self, number: u64) -> &mut Record {
        let at = usize::try_from(number - self.first).expect("the number of a record that waits");
        &mut self.records[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(outbox: &Outbox, number: u64) -> Vec<u8> {
        outbox.bytes(number).concat()
    }

    #[test]
    fn channels_share_the_ring_and_each_has_its_order() {
        let mut outbox = Outbox::new(16);
        let (mut a, mut b) = (Queue::EMPTY, Queue::EMPTY);
        outbox.push(&mut a, (Ticket(1), None), b"aaaa");
        outbox.push(&mut b, (Ticket(2), Some(9)), b"bbb");
        outbox.push(&mut a, (Ticket(3), None), b"AA");
        assert!(outbox.has_room(7) && !outbox.has_room(8));
        let first = Outbox::front(&a).expect("one waits");
        let second = outbox.next(first).expect("another");
        assert_eq!(
            (joined(&outbox, first), joined(&outbox, second)),
            (b"aaaa".into(), b"AA".into())
        );
        assert_eq!(outbox.next(second), None);
        assert_eq!(outbox.measure(Outbox::front(&b).expect("one")), (Some(9), 3));
        outbox.unqueue(&mut a, 2);
        assert!(a.is_empty() && !b.is_empty());
        // Memory comes back from the oldest on.
        outbox.finish(second);
        assert!(!outbox.has_room(8));
        outbox.finish(first);
        assert!(outbox.has_room(11) && !outbox.has_room(12));
        // Around the end.
        outbox.push(&mut a, (Ticket(4), None), b"0123456789");
        let last = Outbox::front(&a).expect("one");
        assert_eq!((joined(&outbox, last), outbox.ticket(last)), (b"0123456789".into(), Ticket(4)));
    }
}
