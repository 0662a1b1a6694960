//! What a channel keeps of what was said, for those who come back: a log that belongs to no
//! dialect.
//!
//! The log is a ring like a feed's, bounded besides by a number of messages and by their age. A
//! feed that is made for the first reader of a dialect is filled from it, so that a message which
//! is kept can be had in every dialect, whoever was there when it was said.
//!
//! ```text
//!   when it was said 8   kind 1   body length 4   body   ( attachment length 4   attachment )*
//! ```
//!
//! Numbers are little-endian. The body is a text, a binary payload, or an event's JSON array; only
//! an event has attachments.
//!
//! The surprise: age is looked at when somebody asks, not when it is reached. The memory is the
//! ring's, whatever is in it.

use super::History;
use super::message::{Message, PlainForm, plain_form};
use crate::feed::{Feed, Mark};
use crate::id::Seq;
use crate::pool::Pool;
use crate::time::Instant;
use crate::wire::socketio::{ATTACHMENTS_MAX, event_of};
use crate::wire::ws::Kind;
use crate::work;

const TEXT: u8 = 0;
const BINARY: u8 = 1;
/// An event without a form for plain WebSockets.
const EVENT: u8 = 2;
/// An event with one, which is found in the event again.
const CHAT: u8 = 3;

/// Bytes in front of the parts of a record.
const HEAD_BYTES: usize = 9;

/// The messages that a channel keeps, oldest first.
#[derive(Debug)]
pub struct Log {
    feed: Feed,
    history: History,
}

impl Log {
    /// A log that keeps nothing yet, with a ring of `bytes`. The channel has had no message.
    ///
    /// # Panics
    /// Like [`Feed::new`].
    pub fn new(history: History, bytes: usize) -> Log {
        Log { feed: Feed::numbered(bytes, 0), history }
    }

    /// Keeps the message with the number `number`, said at `at`. A greeting is not kept. Copies the
    /// message once; does not allocate.
    ///
    /// # Panics
    /// If a record takes more than half a ring, which [`Message::fits`] excludes.
    pub fn append(&mut self, number: u64, at: Instant, message: &Message<'_>) {
        let (kind, body, attachments): (u8, &[u8], &[&[u8]]) = match *message {
            Message::Text(body) => (TEXT, body, &[]),
            Message::Binary(body) => (BINARY, body, &[]),
            Message::Event { args, attachments, plain } => {
                let kind = if plain.is_some() { CHAT } else { EVENT };
                (kind, args.as_bytes(), attachments)
            }
            Message::Greeting(_) => return,
        };
        if self.feed.len() >= self.history.messages_max {
            self.feed.evict();
        }
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&at.as_millis().to_le_bytes());
        head[8] = kind;
        let mut lengths = [[0; 4]; 1 + ATTACHMENTS_MAX];
        let bodies = || core::iter::once(&body).chain(attachments);
        for (length, part) in lengths.iter_mut().zip(bodies()) {
            let bytes = u32::try_from(part.len()).expect("no message is longer than 256 MiB");
            *length = bytes.to_le_bytes();
        }
        let mut parts: [&[u8]; 1 + 2 * (1 + ATTACHMENTS_MAX)] = [&[]; _];
        parts[0] = &head;
        for (pair, (length, part)) in
            parts[1..].chunks_exact_mut(2).zip(lengths.iter().zip(bodies()))
        {
            (pair[0], pair[1]) = (length, part);
        }
        self.feed.append(number, &parts);
    }

    /// Drops what is too old at `now`. Work: a step for each message that is dropped.
    pub fn expire(&mut self, now: Instant) {
        while self.oldest_at().is_some_and(|at| at.plus(self.history.age) <= now) {
            self.feed.evict();
        }
    }

    /// When the newest message is too old; `None` if nothing is kept.
    pub fn over_at(&self) -> Option<Instant> {
        let newest = Seq(self.feed.mark().seq.0.checked_sub(1)?);
        (!self.feed.is_empty()).then(|| self.said_at(newest).plus(self.history.age))
    }

    /// The number of the newest message that is not kept: all behind it are.
    pub fn missing(&self) -> u64 {
        self.feed.missing()
    }

    /// How many messages are kept.
    pub fn len(&self) -> u64 {
        self.feed.len()
    }

    /// Whether no message is kept.
    pub fn is_empty(&self) -> bool {
        self.feed.is_empty()
    }

    /// How many bytes the log has of all that it keeps.
    pub fn bytes(&self) -> u64 {
        self.feed.head().since(self.feed.tail())
    }

    /// Hands `then` every message that is kept, with its number, oldest first. A message for which
    /// there is no memory is handed over as `None`.
    pub fn replay(
        &self,
        pool: &mut Pool,
        mut then: impl FnMut(&mut Pool, u64, Option<&Message<'_>>),
    ) {
        let mut place = self.feed.first();
        while let Some(next) = self.feed.next(place) {
            let number = self.feed.message_of(place.seq);
            self.with_record(pool, place, next, |pool, record| match record {
                Some(record) => with_message(pool, record, |pool, message| {
                    then(pool, number, message);
                }),
                None => then(pool, number, None),
            });
            place = next;
        }
    }

    /// Hands `then` the bytes of a record in one piece; the one that lies across the end of the
    /// ring is put together first. `None` if there is no memory for that.
    fn with_record(
        &self,
        pool: &mut Pool,
        from: Mark,
        to: Mark,
        then: impl FnOnce(&mut Pool, Option<&[u8]>),
    ) {
        let (first, second) = self.feed.slices(from.offset, to.offset);
        if second.is_empty() {
            return then(pool, Some(first));
        }
        let Some(buffer) = pool.take_briefly(first.len() + second.len()) else {
            return then(pool, None);
        };
        let mut whole = pool.borrow_out(buffer);
        whole.extend_from_slice(first);
        whole.extend_from_slice(second);
        work::copied(whole.len());
        then(pool, Some(&whole));
        pool.put_back(buffer, whole);
        pool.give(buffer);
    }

    fn oldest_at(&self) -> Option<Instant> {
        (!self.feed.is_empty()).then(|| self.said_at(self.feed.first().seq))
    }

    /// When the message of a record was said.
    fn said_at(&self, record: Seq) -> Instant {
        let begin = self.feed.begin(record);
        let (first, second) = self.feed.slices(begin, begin.plus(8));
        let mut at = [0; 8];
        at[..first.len()].copy_from_slice(first);
        at[first.len()..].copy_from_slice(second);
        Instant::from_millis(u64::from_le_bytes(at))
    }

    /// Asserts what must hold between two calls, for the hub's check; the channel's newest message
    /// has the number `newest`.
    pub fn check(&self, newest: u64) {
        self.feed.check();
        assert!(self.feed.len() <= self.history.messages_max);
        // Every message is kept until it is dropped, so what is kept has no gap.
        assert_eq!(self.feed.missing() + self.feed.len(), newest);
    }
}

/// Hands `then` the message of a record, or `None` if there is no memory to undo the escapes of its
/// plain form.
fn with_message(
    pool: &mut Pool,
    record: &[u8],
    then: impl FnOnce(&mut Pool, Option<&Message<'_>>),
) {
    let (kind, mut rest) = (record[HEAD_BYTES - 1], &record[HEAD_BYTES..]);
    let body = part(&mut rest);
    if kind == TEXT {
        return then(pool, Some(&Message::Text(body)));
    } else if kind == BINARY {
        return then(pool, Some(&Message::Binary(body)));
    }
    let args = core::str::from_utf8(body).expect("an event is text");
    let mut attachments: [&[u8]; ATTACHMENTS_MAX] = [&[]; _];
    let mut count = 0;
    while !rest.is_empty() {
        attachments[count] = part(&mut rest);
        count += 1;
    }
    let attachments = &attachments[..count];
    if kind == EVENT {
        return then(pool, Some(&Message::Event { args, attachments, plain: None }));
    }
    work::looked_at(args.len());
    let event = event_of(args, count).expect("what was said was checked");
    let plain = match plain_form(&event).expect("the kind says that there is one") {
        PlainForm::Attachment(number) => (Kind::Binary, attachments[number]),
        PlainForm::Text(text) => match text.plain() {
            Some(text) => (Kind::Text, text.as_bytes()),
            None => {
                let Some(buffer) = pool.take_briefly(text.bytes_max()) else {
                    return then(pool, None);
                };
                let mut bytes = pool.borrow_out(buffer);
                text.append_to(&mut bytes);
                let plain = Some((Kind::Text, &bytes[..]));
                then(pool, Some(&Message::Event { args, attachments, plain }));
                pool.put_back(buffer, bytes);
                return pool.give(buffer);
            }
        },
    };
    then(pool, Some(&Message::Event { args, attachments, plain: Some(plain) }));
}

/// Splits a part and its length off.
fn part<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (length, behind) = rest.split_first_chunk::<4>().expect("a part has its length");
    let (part, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
    *rest = behind;
    part
}
