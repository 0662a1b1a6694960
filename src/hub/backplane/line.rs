//! One of the two connections: whether there is one, when the next is tried, what is to be sent on
//! it, and what has come.
//!
//! ```text
//!           ┌──── the time to try again ─────┐
//!   Down ───┴─► Connecting ──► Up ──► Down   ▼
//!                    └──────────────────►  (later each time, until a line has worked)
//! ```
//!
//! Deals with: bytes, tokens and times. Leaves to others: what requests and replies mean, and the
//! socket.
//!
//! The surprise: a token may be used after others were read behind it. The messages of an entry are
//! handed out one by one from where they lie, so what was read is kept until it is released.

use core::ops::Range;

use super::event::{Trouble, Words};
use crate::time::{Duration, Instant};
use crate::wire::Status;
use crate::wire::resp::{Decoder, Error, Token};

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How long a line may say nothing that owes a reply. The reader asks for one at least every
/// second.
const SILENCE_LIMIT: Duration = Duration::from_millis(2500);

/// The wait before the second try in a row, in milliseconds; each further one takes twice as long.
const RETRY_MS_MIN: u64 = 100;

/// The longest wait between two tries, in milliseconds.
const RETRY_MS_MAX: u64 = 3000;

/// A line that has worked for so long is tried again at once when it breaks.
const STEADY: Duration = Duration::from_secs(1);

/// Whether there is a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Down { retry_at: Instant },
    Connecting { until: Instant },
    Up { since: Instant },
}

/// A token whose bytes lie in the input: they are had by [`Wire::slice`] until the input is
/// released.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    /// A simple string or a number, of which only that it came matters.
    Plain,
    /// An error.
    Error(Trouble, Words),
    /// A bulk string.
    Bulk(Range<usize>),
    /// A bulk string that was too large to be kept, or none.
    Nothing,
    /// An array of so many elements.
    Array(u32),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    state: State,
    decoder: Decoder,
    bulk_bytes_max: u64,
    /// Bytes that came: those from `kept` on are used, those from `parsed` up to `end` were not
    /// read yet. `kept <= parsed <= end`.
    input: Box<[u8]>,
    kept: usize,
    parsed: usize,
    end: usize,
    /// Requests. The capacity is never exceeded.
    output: Vec<u8>,
    sent: usize,
    /// Tries in a row that came to nothing.
    tries: u32,
    /// The server that MOVED has named.
    moved_to: Option<Box<str>>,
    /// When the line is given up unless something comes.
    silent_at: Instant,
    /// Whether the socket is to be dropped.
    is_dropped: bool,
    /// Since when everything works.
    works_since: Option<Instant>,
    /// The troubles that were told since the line worked last, a bit for each.
    told: u32,
    /// A trouble that is to be told.
    trouble: Option<(Trouble, Words)>,
}

impl Wire {
    /// A line that is tried at once, with room for so many bytes of replies and of requests. Bulk
    /// strings of more than `bulk_bytes_max` bytes are passed over.
    pub(super) fn new(input_bytes: usize, output_bytes: usize, bulk_bytes_max: usize) -> Wire {
        let bulk_bytes_max = bulk_bytes_max as u64;
        Wire {
            state: State::Down { retry_at: Instant::default() },
            decoder: Decoder::new(bulk_bytes_max),
            bulk_bytes_max,
            input: vec![0; input_bytes].into(),
            kept: 0,
            parsed: 0,
            end: 0,
            output: Vec::with_capacity(output_bytes),
            sent: 0,
            tries: 0,
            moved_to: None,
            silent_at: Instant::NEVER,
            is_dropped: false,
            works_since: None,
            told: 0,
            trouble: None,
        }
    }

    /// Whether the socket has to be dropped, once for each that has.
    pub(super) fn poll_drop(&mut self) -> bool {
        core::mem::take(&mut self.is_dropped)
    }

    /// Whether a connection is to be made now.
    pub(super) fn poll_connect(&mut self, now: Instant) -> bool {
        let State::Down { retry_at } = self.state else { return false };
        let is_due = retry_at <= now;
        if is_due {
            self.state = State::Connecting { until: now.plus(CONNECT_LIMIT) };
        }
        is_due
    }

    /// The connection is made. `false` if none was asked for.
    pub(super) fn connected(&mut self, now: Instant) -> bool {
        let State::Connecting { .. } = self.state else { return false };
        self.state = State::Up { since: now };
        self.decoder = Decoder::new(self.bulk_bytes_max);
        true
    }

    /// There is no connection any more. `by_us`: the socket is still there, and has to be dropped.
    /// `jitter` decides how much of the wait is waited.
    pub(super) fn fail(
        &mut self,
        now: Instant,
        (trouble, words): (Trouble, Words),
        by_us: bool,
        jitter: u64,
    ) {
        self.disconnect(by_us);
        self.moved_to = None;
        let was_steady = self.works_since.take().is_some_and(|since| now.since(since) >= STEADY);
        let retry_at = if was_steady {
            self.tries = 0;
            now
        } else {
            let wait_ms = (RETRY_MS_MIN << self.tries.min(10)).min(RETRY_MS_MAX);
            self.tries += 1;
            now.plus(Duration::from_millis(wait_ms / 2 + jitter % (wait_ms / 2 + 1)))
        };
        self.state = State::Down { retry_at };
        self.tell(trouble, words);
    }

    /// The server says that another is to be asked. `false` if one was asked already for that
    /// reason, or `address` is none: then nothing changes.
    pub(super) fn follow(&mut self, now: Instant, address: &str) -> bool {
        if self.moved_to.is_some() || address.is_empty() {
            return false;
        }
        self.reconnect(now);
        self.moved_to = Some(address.into());
        true
    }

    /// The connection is dropped, and another made at once, to where the name leads by then.
    pub(super) fn reconnect(&mut self, now: Instant) {
        self.disconnect(true);
        self.works_since = None;
        self.moved_to = None;
        self.state = State::Down { retry_at: now };
    }

    fn disconnect(&mut self, by_us: bool) {
        let had_socket = match self.state {
            State::Down { .. } => false,
            State::Connecting { .. } | State::Up { .. } => true,
        };
        self.is_dropped |= by_us && had_socket;
        (self.kept, self.parsed, self.end) = (0, 0, 0);
        self.output.clear();
        self.sent = 0;
        self.silent_at = Instant::NEVER;
    }

    /// Notes a trouble that is to be told, unless that was done since the line worked last.
    pub(super) fn tell(&mut self, trouble: Trouble, words: Words) {
        let bit = 1 << trouble as u32;
        if self.told & bit == 0 {
            self.told |= bit;
            self.trouble = Some((trouble, words));
        }
    }

    /// The next trouble that the operator should know.
    pub(super) fn poll_trouble(&mut self) -> Option<(Trouble, Words)> {
        self.trouble.take()
    }

    /// The server does what it is asked for.
    pub(super) fn works(&mut self, now: Instant) {
        if self.works_since.is_none() {
            self.works_since = Some(now);
            self.told = 0;
            self.tries = 0;
        }
    }

    /// The server takes nothing for now, and says so.
    pub(super) fn rests(&mut self) {
        self.works_since = None;
    }

    /// Whether everything works.
    pub(super) fn is_working(&self) -> bool {
        self.works_since.is_some()
    }

    /// Whether there is a connection.
    pub(super) fn is_up(&self) -> bool {
        match self.state {
            State::Up { .. } => true,
            State::Down { .. } | State::Connecting { .. } => false,
        }
    }

    /// The address that MOVED has named, if the line is to go there.
    pub(super) fn moved_to(&self) -> Option<&str> {
        self.moved_to.as_deref()
    }

    /// A reply is due from now on.
    pub(super) fn expect(&mut self, now: Instant) {
        if self.silent_at == Instant::NEVER {
            self.silent_at = now.plus(SILENCE_LIMIT);
        }
    }

    /// Something came, or could not be taken. `owes`: whether more is due.
    pub(super) fn heard(&mut self, now: Instant, owes: bool) {
        self.silent_at = if owes { now.plus(SILENCE_LIMIT) } else { Instant::NEVER };
    }

    /// What is wrong with the line by now.
    pub(super) fn overdue(&self, now: Instant) -> Option<Trouble> {
        match self.state {
            State::Connecting { until } if until <= now => Some(Trouble::Unreachable),
            State::Up { .. } if self.silent_at <= now => Some(Trouble::Silent),
            State::Down { .. } | State::Connecting { .. } | State::Up { .. } => None,
        }
    }

    /// When the line wants to be looked at again.
    pub(super) fn poll_timeout(&self) -> Instant {
        match self.state {
            State::Down { retry_at } => retry_at,
            State::Connecting { until } => until,
            State::Up { .. } => self.silent_at,
        }
    }

    /// Room for bytes that come, behind those that are there. Bytes in use may move.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if !self.is_up() {
            return &mut [];
        }
        if self.kept > 0 {
            self.input.copy_within(self.kept..self.end, 0);
            self.parsed -= self.kept;
            self.end -= self.kept;
            self.kept = 0;
        }
        &mut self.input[self.end..]
    }

    /// So many bytes came into the room.
    ///
    /// # Panics
    /// If there was less room.
    pub(super) fn received(&mut self, count: usize) {
        assert!(self.is_up() && count <= self.input.len() - self.end);
        self.end += count;
    }

    /// The next token, how many arrays are open around it, and whether its reply is over with it.
    ///
    /// # Errors
    /// The bytes are no reply of Redis.
    pub(super) fn next(&mut self) -> Result<Option<(Piece, usize, bool)>, Error> {
        let (used, status) = self.decoder.next(&self.input[self.parsed..self.end]);
        let begin = self.parsed - self.kept;
        self.parsed += used;
        let Status::Complete(item) = status? else { return Ok(None) };
        let piece = match item.token {
            Token::Simple(_) | Token::Integer(_) => Piece::Plain,
            Token::Error(text) => Piece::Error(Trouble::of(text), Words::new(text)),
            // The bytes stand in front of their CRLF.
            Token::Bulk(bytes) => {
                let end = begin + used - 2;
                Piece::Bulk(end - bytes.len()..end)
            }
            Token::TooLarge(_) | Token::Null => Piece::Nothing,
            Token::Array(elements) => Piece::Array(elements),
        };
        Ok(Some((piece, item.depth, item.is_last)))
    }

    /// The bytes of a token that was read since the input was released last.
    pub(super) fn slice(&self, range: &Range<usize>) -> &[u8] {
        &self.input[self.kept + range.start..self.kept + range.end]
    }

    /// No bytes in front of those that were not read are used any more.
    pub(super) fn release(&mut self) {
        self.kept = self.parsed;
    }

    /// Where requests are written. At most [`Wire::output_room`] bytes may be.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// How many bytes of requests may be written.
    pub(super) fn output_room(&self) -> usize {
        self.output.capacity() - self.output.len()
    }

    /// What is to be sent.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// So many bytes were sent.
    ///
    /// # Panics
    /// If there were fewer.
    pub(super) fn transmitted(&mut self, count: usize) {
        self.sent += count;
        assert!(self.sent <= self.output.len(), "no more is sent than there is");
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        }
    }
}
