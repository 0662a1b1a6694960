//! What a channel keeps of what was said, for those who come back: a log that belongs to no
//! dialect.
//!
//! The log is a ring like a feed's, bounded besides by a number of messages and by their age. A
//! feed that is made for the first reader of a dialect is filled from it, so that a message which
//! is kept can be had in every dialect, whoever was there when it was said.
//!
//! ```text
//!   when it is too old 8   kind 1   [ position 20 ]   body length 4   body
//!                                                 ( attachment length 4   attachment )*
//! ```
//!
//! Numbers are little-endian. The body is a text, a binary payload, or an event's JSON array; only
//! an event has attachments. The position is there where it is one of a stream (`position`), which
//! does not follow from the message's number: the log is what tells the one from the other.
//!
//! The surprise: age is looked at when somebody asks, not when it is reached. The memory is the
//! ring's, whatever is in it.

use super::History;
use super::message::{Message, PlainForm, plain_form};
use crate::feed::{Feed, Mark};
use crate::id::{Offset, Seq};
use crate::limits::{FILL_BYTES_MAX, FILL_MESSAGES_MAX};
use crate::pool::Pool;
use crate::position::Position;
use crate::time::{Duration, Instant};
use crate::wire::socketio::{ATTACHMENTS_MAX, event_of};
use crate::wire::ws::Kind;
use crate::work;

const TEXT: u8 = 0;
const BINARY: u8 = 1;
/// An event without a form for plain WebSockets.
const EVENT: u8 = 2;
/// An event with one, which is found in the event again.
const CHAT: u8 = 3;

/// Bytes in front of the parts of a record, without the position.
const HEAD_BYTES: usize = 9;
/// Bytes of a position of a stream.
const POSITION_BYTES: usize = 20;

/// The messages that a channel keeps, oldest first.
#[derive(Debug)]
pub struct Log {
    feed: Feed,
    history: History,
    places: Places,
}

/// How the log tells positions from numbers.
#[derive(Debug)]
enum Places {
    /// A position is the number in the channel's epoch.
    Numbers,
    /// Each record has its message's position in a stream. `before` is the position of the newest
    /// message that is not kept, or one behind which nothing but what is kept was said.
    Stream { before: Position },
}

impl Log {
    /// A log that keeps nothing yet, with a ring of `bytes`. The channel has had no message.
    ///
    /// # Panics
    /// Like [`Feed::new`].
    pub fn new(history: History, bytes: usize) -> Log {
        Log { feed: Feed::numbered(bytes, 0), history, places: Places::Numbers }
    }

    /// A log that keeps nothing yet of a channel whose order is decided in a stream.
    ///
    /// # Panics
    /// Like [`Feed::new`].
    pub fn of_stream(history: History, bytes: usize) -> Log {
        let places = Places::Stream { before: Position::STREAM_START };
        Log { places, ..Log::new(history, bytes) }
    }

    /// Keeps the message with the number `number`, which stands at `position` and was said at `at`.
    /// A greeting is not kept. Copies the message once; does not allocate.
    ///
    /// # Panics
    /// If a record takes more than half a ring, which [`Message::fits`] excludes.
    pub fn append(&mut self, number: u64, position: Position, at: Instant, message: &Message<'_>) {
        self.keep(number, position, at.plus(self.history.age), message);
    }

    /// Keeps a message that was said some `age` before `now`, as [`Log::append`] does; nothing at
    /// all, with what was said before, if it is too old.
    ///
    /// # Panics
    /// Like [`Log::append`].
    pub fn append_aged(
        &mut self,
        number: u64,
        position: Position,
        (now, age): (Instant, Duration),
        message: &Message<'_>,
    ) {
        // It may have been said before the clock began, which a restart takes back to zero.
        let left_ms = self.history.age.as_millis().saturating_sub(age.as_millis());
        if left_ms == 0 {
            return self.begin_anew(number, position);
        }
        self.keep(number, position, now.plus(Duration::from_millis(left_ms)), message);
    }

    /// Keeps a message until `over_at`.
    fn keep(&mut self, number: u64, position: Position, over_at: Instant, message: &Message<'_>) {
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
            self.evict();
        }
        let mut head = [0; HEAD_BYTES + POSITION_BYTES];
        head[..8].copy_from_slice(&over_at.as_millis().to_le_bytes());
        head[8] = kind;
        let head_bytes = self.head_bytes();
        if let Places::Stream { .. } = self.places {
            write_place(position, &mut head[HEAD_BYTES..]);
        }
        let head = &head[..head_bytes];
        let mut lengths = [[0; 4]; 1 + ATTACHMENTS_MAX];
        let bodies = || core::iter::once(&body).chain(attachments);
        for (length, part) in lengths.iter_mut().zip(bodies()) {
            let bytes = u32::try_from(part.len()).expect("no message is longer than 256 MiB");
            *length = bytes.to_le_bytes();
        }
        let mut parts: [&[u8]; 1 + 2 * (1 + ATTACHMENTS_MAX)] = [&[]; _];
        parts[0] = head;
        for (pair, (length, part)) in
            parts[1..].chunks_exact_mut(2).zip(lengths.iter().zip(bodies()))
        {
            (pair[0], pair[1]) = (length, part);
        }
        let bytes = parts.iter().map(|part| part.len()).sum();
        while !self.feed.has_room_for(bytes) {
            self.evict();
        }
        self.feed.append(number, &parts);
    }

    /// Bytes in front of the parts of each record.
    fn head_bytes(&self) -> usize {
        match self.places {
            Places::Numbers => HEAD_BYTES,
            Places::Stream { .. } => HEAD_BYTES + POSITION_BYTES,
        }
    }

    /// Drops the oldest message.
    ///
    /// # Panics
    /// If nothing is kept.
    fn evict(&mut self) {
        let oldest = self.feed.first().seq;
        let before = match self.places {
            Places::Numbers => None,
            Places::Stream { .. } => Some(self.place_at(oldest)),
        };
        self.feed.evict();
        if let (Places::Stream { before }, Some(evicted)) = (&mut self.places, before) {
            *before = evicted;
        }
    }

    /// Forgets everything: what is kept from now on comes behind `position`, and behind the message
    /// with the number `number`.
    pub fn begin_anew(&mut self, number: u64, position: Position) {
        self.feed.forget(number);
        if let Places::Stream { before } = &mut self.places {
            *before = position;
        }
    }

    /// The position of a message of a stream that is kept, or of the newest that is not; `None` for
    /// any other number.
    pub fn position_of(&self, number: u64) -> Option<Position> {
        let Places::Stream { before } = self.places else { return None };
        // Every message is kept until it is dropped, so numbers of what is kept have no gap.
        let place = number.checked_sub(self.feed.missing())?;
        match place.checked_sub(1) {
            None => Some(before),
            Some(kept) if kept < self.feed.len() => {
                Some(self.place_at(Seq(self.feed.first().seq.0 + kept)))
            }
            Some(_) => None,
        }
    }

    /// The number of the message of a stream that stands at `position`, if it is kept or is the
    /// newest that is not; `None` for any other. A binary search.
    pub fn number_of(&self, position: Position) -> Option<u64> {
        let Places::Stream { before } = self.places else { return None };
        let first = self.feed.first().seq.0;
        let (mut low, mut high) = (0, self.feed.len());
        // How many messages stand before the position.
        while low < high {
            let middle = low + (high - low) / 2;
            if self.place_at(Seq(first + middle)) < position {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low < self.feed.len() && self.place_at(Seq(first + low)) == position {
            Some(self.feed.missing() + 1 + low)
        } else {
            (position == before).then(|| self.feed.missing())
        }
    }

    /// Whether a position of a stream stands before everything that is kept, and before the newest
    /// message that is not.
    pub fn stands_before(&self, position: Position) -> bool {
        match self.places {
            Places::Numbers => false,
            Places::Stream { before } => position < before,
        }
    }

    /// Drops what is too old at `now`. Work: a step for each message that is dropped.
    pub fn expire(&mut self, now: Instant) {
        while self.oldest_over_at().is_some_and(|over_at| over_at <= now) {
            self.evict();
        }
    }

    /// When the newest message is too old; `None` if nothing is kept.
    pub fn over_at(&self) -> Option<Instant> {
        let newest = Seq(self.feed.mark().seq.0.checked_sub(1)?);
        (!self.feed.is_empty()).then(|| self.record_over_at(newest))
    }

    /// The number of the newest message that is not kept: all behind it are.
    pub fn missing(&self) -> u64 {
        self.feed.missing()
    }

    /// Where a new feed begins to be filled, so that this takes a bounded time: with the oldest
    /// message that is kept, or with the first of the newest [`FILL_BYTES_MAX`] and
    /// [`FILL_MESSAGES_MAX`].
    fn fill_start(&self) -> Mark {
        let newest = self.feed.newest(FILL_MESSAGES_MAX, self.feed.first()).offset;
        let reach = Offset(self.feed.head().0.saturating_sub(FILL_BYTES_MAX)).max(newest);
        let Mark { offset, seq } = self.feed.locate(reach.max(self.feed.tail()));
        // Inside of a record, the count is that of the records before it.
        let is_inside = offset > reach.max(self.feed.tail());
        Mark { offset, seq: Seq(seq.0 + u64::from(is_inside)) }
    }

    /// The number of the newest message that a feed which is filled now would lack: it would have
    /// all behind it.
    pub fn missing_when_filled(&self) -> u64 {
        let start = self.fill_start();
        if start == self.feed.first() {
            self.feed.missing()
        } else {
            self.feed.message_of(Seq(start.seq.0 - 1))
        }
    }

    /// How many bytes of the log a new feed is filled from.
    pub fn fill_bytes(&self) -> u64 {
        self.feed.head().since(self.fill_start().offset)
    }

    /// What filling a new feed counts as, in bytes of a replay: as much as a whole ring if as many
    /// bytes are copied as may be, however much larger the ring is.
    pub fn fill_cost_bytes(&self) -> u64 {
        let fills_in_ring = (self.feed.ring_bytes() / FILL_BYTES_MAX).max(1);
        self.fill_bytes() * fills_in_ring
    }

    /// How many messages are kept.
    pub fn len(&self) -> u64 {
        self.feed.len()
    }

    /// Whether no message is kept.
    pub fn is_empty(&self) -> bool {
        self.feed.is_empty()
    }

    /// Hands `then` every message that a new feed is filled with, and its number, oldest first. A
    /// message for which there is no memory is handed over as `None`.
    pub fn replay(
        &self,
        pool: &mut Pool,
        mut then: impl FnMut(&mut Pool, u64, Option<&Message<'_>>),
    ) {
        let mut place = self.fill_start();
        while let Some(next) = self.feed.next(place) {
            let number = self.feed.message_of(place.seq);
            self.with_record(pool, place, next, |pool, record| match record {
                Some(record) => with_message(pool, record, self.head_bytes(), |pool, message| {
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

    fn oldest_over_at(&self) -> Option<Instant> {
        (!self.feed.is_empty()).then(|| self.record_over_at(self.feed.first().seq))
    }

    /// When the message of a record is too old.
    fn record_over_at(&self, record: Seq) -> Instant {
        Instant::from_millis(u64::from_le_bytes(self.bytes_at(record, 0)))
    }

    /// Where the message of a record stands in its stream.
    fn place_at(&self, record: Seq) -> Position {
        read_place(&self.bytes_at::<POSITION_BYTES>(record, HEAD_BYTES))
    }

    /// The `N` bytes of a record behind its first `at`.
    fn bytes_at<const N: usize>(&self, record: Seq, at: usize) -> [u8; N] {
        let begin = self.feed.begin(record).plus(at as u64);
        let (first, second) = self.feed.slices(begin, begin.plus(N as u64));
        let mut bytes = [0; N];
        bytes[..first.len()].copy_from_slice(first);
        bytes[first.len()..].copy_from_slice(second);
        bytes
    }

    /// Asserts what must hold between two calls, for the hub's check; the channel's newest message
    /// has the number `newest`.
    pub fn check(&self, newest: u64) {
        self.feed.check();
        assert!(self.feed.len() <= self.history.messages_max);
        // Every message is kept until it is dropped, so what is kept has no gap.
        assert_eq!(self.feed.missing() + self.feed.len(), newest);
        if let Places::Stream { mut before } = self.places {
            for kept in 0..self.feed.len() {
                let place = self.place_at(Seq(self.feed.first().seq.0 + kept));
                assert!(before < place, "positions rise");
                before = place;
            }
        }
    }
}

/// Writes a position of a stream to the [`POSITION_BYTES`] of `out`.
///
/// # Panics
/// For a position of any other kind.
fn write_place(position: Position, out: &mut [u8]) {
    let Position::Stream { ms, seq, index } = position else {
        panic!("positions of a stream are kept: {position}")
    };
    out[..8].copy_from_slice(&ms.to_le_bytes());
    out[8..16].copy_from_slice(&seq.to_le_bytes());
    out[16..].copy_from_slice(&index.to_le_bytes());
}

/// Reads what [`write_place`] has written.
fn read_place(bytes: &[u8; POSITION_BYTES]) -> Position {
    let (ms, rest) = bytes.split_first_chunk().expect("there are twenty bytes");
    let (seq, rest) = rest.split_first_chunk().expect("there are twelve");
    let index = rest.first_chunk().expect("there are four");
    Position::Stream {
        ms: u64::from_le_bytes(*ms),
        seq: u64::from_le_bytes(*seq),
        index: u32::from_le_bytes(*index),
    }
}

/// Hands `then` the message of a record, or `None` if there is no memory to undo the escapes of its
/// plain form.
fn with_message(
    pool: &mut Pool,
    record: &[u8],
    head_bytes: usize,
    then: impl FnOnce(&mut Pool, Option<&Message<'_>>),
) {
    let (kind, mut rest) = (record[HEAD_BYTES - 1], &record[head_bytes..]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Epoch;

    /// What is kept of a local order is found by its number alone.
    const LOCAL: Position = Position::Local { epoch: Epoch(7), seq: 0 };

    const AGE: Duration = Duration::from_secs(10);

    fn log(messages_max: u64, bytes: usize) -> Log {
        Log::new(History { messages_max, age: AGE }, bytes)
    }

    fn at(s: u64) -> Instant {
        Instant::from_millis(s * 1000)
    }

    /// Numbers and messages of the log, the messages as text.
    fn kept(log: &Log) -> Vec<(u64, String)> {
        let mut kept = Vec::new();
        log.replay(&mut Pool::new(1 << 20), |_, number, message| {
            kept.push((number, format!("{:?}", message.expect("there is memory"))));
        });
        kept
    }

    #[test]
    fn what_was_said_comes_back_as_it_was_also_across_the_end_of_the_ring() {
        let pieces: [&[u8]; 2] = [b"\x00one", b""];
        let event = |args, attachments, plain| Message::Event { args, attachments, plain };
        let messages = [
            Message::Text("h\u{e9}".as_bytes()),
            Message::Binary(b"\xff\x00"),
            Message::Binary(b""),
            event(r#"["typing",{"by":"ann"}]"#, &[], None),
            event(r#"["chat message","a\nb"]"#, &[], Some((Kind::Text, b"a\nb"))),
            event(r#"["chat message","plain"]"#, &[], Some((Kind::Text, b"plain"))),
            event(
                r#"["chat message",{"_placeholder":true,"num":0}]"#,
                &pieces[..1],
                Some((Kind::Binary, pieces[0])),
            ),
            event(
                r#"["b",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#,
                &pieces,
                None,
            ),
        ];
        let mut log = log(1000, 1024);
        for number in 1..=200 {
            let message = messages[number as usize % messages.len()];
            log.append(number, LOCAL, at(1), &message);
            log.append(number, LOCAL, at(1), &Message::Greeting(r#"["hi"]"#));
            log.check(number);
            let kept = kept(&log);
            assert_eq!(kept.len() as u64, log.len());
            for (kept, text) in kept {
                let said = messages[kept as usize % messages.len()];
                assert_eq!(text, format!("{said:?}"), "message {kept} of {number}");
            }
        }
        assert!(log.missing() > 150, "the ring went round");
    }

    #[test]
    fn the_oldest_go_first_by_number_and_by_age() {
        let mut log = log(3, 1024);
        assert_eq!((log.over_at(), log.missing(), log.is_empty()), (None, 0, true));
        for number in 1..=5 {
            log.append(number, LOCAL, at(number), &Message::Text(b"x"));
        }
        assert_eq!((log.len(), log.missing()), (3, 2));
        log.expire(at(12));
        assert_eq!((log.len(), log.missing()), (3, 2), "none is older than ten seconds");
        log.expire(at(13));
        assert_eq!((log.len(), log.missing()), (2, 3));
        assert_eq!(log.over_at(), Some(at(15)));
        log.expire(at(100));
        assert_eq!((log.len(), log.missing(), log.over_at()), (0, 5, None));
        log.append(6, LOCAL, at(101), &Message::Text(b"y"));
        assert_eq!(kept(&log), [(6, format!("{:?}", Message::Text(b"y")))]);
    }

    #[test]
    fn a_message_for_which_there_is_no_memory_is_told_of() {
        let mut log = log(100, 1024);
        let escaped = Some((Kind::Text, &b"\n"[..]));
        let args = r#"["chat message","\n"]"#;
        log.append(1, LOCAL, at(1), &Message::Event { args, attachments: &[], plain: escaped });
        log.append(2, LOCAL, at(1), &Message::Text(b"x"));
        let mut told = Vec::new();
        log.replay(&mut Pool::new(0), |_, number, message| told.push((number, message.is_some())));
        assert_eq!(told, [(1, false), (2, true)]);
    }

    #[test]
    fn a_new_feed_is_filled_with_so_much_of_the_newest_and_no_more() {
        let mut log = log(1000, 8 << 20);
        let large = vec![b'x'; 300_000];
        (1..=10).for_each(|number| log.append(number, LOCAL, at(1), &Message::Binary(&large)));
        assert_eq!((log.len(), log.missing(), log.missing_when_filled()), (10, 0, 7));
        let numbers: Vec<u64> = kept(&log).into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [8, 9, 10]);
        assert!(log.fill_bytes() <= FILL_BYTES_MAX);
        // One that is larger than that alone is not filled in.
        log.append(11, LOCAL, at(1), &Message::Binary(&vec![b'y'; 2 << 20]));
        assert_eq!((log.missing_when_filled(), kept(&log).len(), log.fill_bytes()), (11, 0, 0));
    }

    #[test]
    fn a_new_feed_is_filled_with_so_many_messages_and_no_more() {
        let mut log = log(10_000, 1 << 20);
        let said = FILL_MESSAGES_MAX + 7;
        (1..=said).for_each(|number| log.append(number, LOCAL, at(1), &Message::Text(b"x")));
        assert_eq!((log.len(), log.missing(), log.missing_when_filled()), (said, 0, 7));
        let numbers: Vec<u64> = kept(&log).into_iter().map(|(number, _)| number).collect();
        assert!(numbers.into_iter().eq(8..=said));
    }

    /// The figures that docs/OPERATIONS.md gives.
    #[test]
    fn a_message_is_kept_with_few_bytes_more() {
        let history = History { messages_max: 10_000, age: AGE };
        let (local, stream) = (Log::new(history, 4096), Log::of_stream(history, 4096));
        let in_stream = Position::Stream { ms: 1, seq: 0, index: 0 };
        for (mut log, position, more) in [(local, LOCAL, 13), (stream, in_stream, 33)] {
            log.append(1, position, at(1), &Message::Text(&[b'x'; 100]));
            assert_eq!(log.feed.head().0, 100 + more);
        }
        // And the index allows for one in 64 bytes of the ring.
        let mut log = log(10_000, 4096);
        (1..=100).for_each(|number| log.append(number, LOCAL, at(1), &Message::Text(b"x")));
        assert_eq!(log.len(), 64);
    }

    #[test]
    fn positions_of_a_stream_are_found_by_number_and_numbers_by_position() {
        let entry = |ms: u64| Position::Stream { ms, seq: 0, index: 0 };
        let history = History { messages_max: 3, age: AGE };
        for bytes in [1024, 4096] {
            let mut log = Log::of_stream(history, bytes);
            assert_eq!(log.position_of(0), Some(Position::STREAM_START));
            assert_eq!(log.number_of(Position::STREAM_START), Some(0));
            for number in 1..=60 {
                log.append(number, entry(10 * number), at(number), &Message::Binary(&[7; 90]));
                log.check(number);
                for kept in log.missing()..=number {
                    let position = match kept {
                        0 => Position::STREAM_START,
                        kept => entry(10 * kept),
                    };
                    assert_eq!(log.position_of(kept), Some(position));
                    assert_eq!(log.number_of(position), Some(kept));
                    assert!(!log.stands_before(position));
                }
                assert_eq!(log.position_of(number + 1), None);
                let older = log.missing().checked_sub(1);
                assert_eq!(older.and_then(|older| log.position_of(older)), None);
                for absent in [entry(10 * number + 1), entry(10 * number - 1)] {
                    assert_eq!(log.number_of(absent), None);
                    assert!(!log.stands_before(absent));
                }
                let gone = older.map(|older| entry(10 * older + 1));
                assert!(gone.is_none_or(|gone| log.stands_before(gone)));
            }
            assert_eq!(kept(&log).len(), 3);
            log.expire(at(100));
            assert_eq!((log.missing(), log.position_of(60)), (60, Some(entry(600))));
            // After a gap nothing of before is known, wherever the stream goes on.
            log.append(61, entry(610), at(100), &Message::Text(b"x"));
            log.begin_anew(62, entry(5));
            log.check(62);
            assert_eq!((log.number_of(entry(610)), log.number_of(entry(5))), (None, Some(62)));
            log.append(63, entry(6), at(100), &Message::Text(b"y"));
            assert_eq!(kept(&log), [(63, format!("{:?}", Message::Text(b"y")))]);
        }
    }
}
