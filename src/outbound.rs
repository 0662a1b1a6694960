//! What goes next to one connection's socket, and what went: three sources in one order.
//!
//! - **Own bytes**: what only this connection gets (response heads, pongs, pings). They wait in a
//!   buffer of the pool, which is given back as soon as they are gone.
//! - A **body**: a static file, borrowed by number and position.
//! - A **feed**: the connection's cursor into the ring that it shares with its whole channel.
//!
//! A body and a feed exclude each other. Own bytes go out only *between* records; after a short
//! write the cursor stands inside a record, `boundary` is where that record ends, and until it is
//! reached own bytes wait. The rest of a half-written record stays in the ring: a slow reader owns
//! no copy of anything.
//!
//! A **close frame** has a place in the order too: it carries the head of the moment at which it
//! was decided and goes out when the cursor gets there, so that a sender still gets its own echo.
//! It is a constant or four bytes kept here: saying goodbye needs no memory. The last chunk of an
//! event stream stands in its place.

use crate::feed::{Feed, Mark};
use crate::id::{ChannelId, Dialect, Offset};
use crate::pool::{BufferId, Pool};
use crate::reason::CloseReason;
use crate::site::AssetId;
use crate::wire::sse;

/// In place of where a pong begins: no pong waits at the end of the own bytes.
const NO_PONG: u32 = u32::MAX;

/// Own bytes that may wait before a pong takes the place of one that waits. Until then every ping
/// has its own pong, up to ten of the longest at once. What waits is never more than this and one
/// pong.
const OWN_BYTES_CALM: usize = 9 * 127;

/// What a connection is sent beside its own bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nothing but own bytes.
    Nothing,
    /// A file of the site, of which `sent` bytes have gone.
    Body {
        /// The file's number in the site.
        asset: AssetId,
        /// Bytes of the file that have gone, `<= length`.
        sent: u32,
        /// Bytes of the whole file.
        length: u32,
    },
    /// The feed of a channel.
    Feed {
        /// The channel that is followed.
        channel: ChannelId,
        /// The dialect in which the channel's feed is read.
        dialect: Dialect,
        /// The next byte to send, `tail <= cursor <= head` unless lapped; `seq` counts the records
        /// wholly sent.
        cursor: Mark,
        /// The end of the record that the cursor is inside of; the cursor itself between two
        /// records.
        boundary: Offset,
    },
}

/// The last that is said on a WebSocket, a frame, or on an event stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseFrame {
    /// A frame of ours, which is a constant.
    Reason(CloseReason),
    /// The client's own code sent back: header and code.
    Echo([u8; 4]),
    /// A frame without a code, since the client gave none.
    Empty,
    /// The last chunk of an event stream, which is no WebSocket.
    LastChunk,
}

impl CloseFrame {
    /// The frame that answers a client's close frame with this code (RFC 6455 §5.5.1).
    pub fn answer(code: Option<u16>) -> CloseFrame {
        match code {
            Some(code) => {
                let [high, low] = code.to_be_bytes();
                CloseFrame::Echo([0x88, 2, high, low])
            }
            None => CloseFrame::Empty,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            CloseFrame::Reason(reason) => {
                reason.close_frame().expect("only reasons with a frame are put into one")
            }
            CloseFrame::Echo(frame) => frame,
            CloseFrame::Empty => &[0x88, 0],
            CloseFrame::LastChunk => sse::END,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Close {
    barrier: Offset,
    frame: CloseFrame,
    sent: u8,
    /// Records of another feed come before the frame.
    held: bool,
}

/// Borrowed slices in the order in which they go out, for one vectored write.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// The slices; some of them may be empty.
    pub slices: [&'a [u8]; 4],
}

impl Transmit<'_> {
    /// Bytes in all slices.
    pub fn len(&self) -> usize {
        self.slices.iter().map(|slice| slice.len()).sum()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.slices.iter().all(|slice| slice.is_empty())
    }
}

/// What goes out on one connection, in its order: own bytes, a file or a feed, a close frame.
#[derive(Debug)]
pub struct Outbound {
    source: Source,
    close: Option<Close>,
    own: Option<BufferId>,
    /// Bytes of `own` that have gone, `<= own.len()`.
    own_sent: u32,
    /// Where the last pong begins in `own`, if nothing of it has gone and nothing follows it.
    pong_at: u32,
}

impl Default for Outbound {
    fn default() -> Outbound {
        Outbound::new()
    }
}

impl Outbound {
    /// An outbound half with nothing to send.
    pub const fn new() -> Outbound {
        Outbound { source: Source::Nothing, close: None, own: None, own_sent: 0, pong_at: NO_PONG }
    }

    /// The dialect of the feed that is followed, and the cursor, if there is nothing else to send:
    /// no own bytes wait, and no end was decided.
    pub fn follows(&self) -> Option<(Dialect, Mark)> {
        match self.source {
            Source::Feed { dialect, cursor, .. } if self.own.is_none() && self.close.is_none() => {
                Some((dialect, cursor))
            }
            Source::Feed { .. } | Source::Nothing | Source::Body { .. } => None,
        }
    }

    /// Notes that everything up to `head`, the head of the feed, has gone. That is what
    /// [`Outbound::transmitted`] comes to when all of what the connection
    /// [`follows`](Outbound::follows) was taken.
    ///
    /// # Panics
    /// If no feed is followed.
    pub fn caught_up(&mut self, head: Mark) {
        let Source::Feed { cursor, boundary, .. } = &mut self.source else {
            panic!("only who follows a feed catches up with it");
        };
        *cursor = head;
        *boundary = head.offset;
    }

    /// Appends own bytes. `false`, and nothing is changed, when the pool is empty. Not to be called
    /// once an end was decided: the bytes could land inside of the close frame.
    #[must_use]
    pub fn push_own(&mut self, pool: &mut Pool, bytes: &[u8]) -> bool {
        self.push_own_parts(pool, &[bytes])
    }

    /// Appends several pieces to the own bytes, in their order. `false`, and nothing is changed,
    /// when the pool is empty.
    #[must_use]
    pub fn push_own_parts(&mut self, pool: &mut Pool, parts: &[&[u8]]) -> bool {
        debug_assert!(self.close.is_none());
        let length = parts.iter().map(|part| part.len()).sum();
        let mut own = match self.own {
            Some(own) => own,
            None => match pool.take_briefly(length) {
                Some(own) => own,
                None => return false,
            },
        };
        // An empty buffer that was just taken is large enough for any piece, so it is never left
        // behind.
        let appended = pool.append_briefly(&mut own, parts);
        self.own = Some(own);
        if appended {
            self.pong_at = NO_PONG;
        }
        appended
    }

    /// Takes over a buffer with own bytes as it is, or appends its bytes to those that wait and
    /// gives it back. `false`, and the bytes are lost, when they would have to be appended and the
    /// pool is empty. Not to be called once an end was decided.
    #[must_use]
    pub fn take_own(&mut self, pool: &mut Pool, buffer: BufferId) -> bool {
        debug_assert!(self.close.is_none());
        if self.own.is_none() && !pool.bytes(buffer).is_empty() {
            self.own = Some(buffer);
            return true;
        }
        let bytes = pool.borrow_out(buffer);
        let appended = bytes.is_empty() || self.push_own(pool, &bytes);
        pool.put_back(buffer, bytes);
        pool.give(buffer);
        appended
    }

    /// Appends a pong. If more than `OWN_BYTES_CALM` bytes wait already, a pong that waits whole is
    /// replaced: only the latest ping needs an answer (RFC 6455 §5.5.3), which bounds what a flood
    /// of pings can ask of us. `false` when the pool is empty; then the pong that was to be
    /// replaced may be lost.
    #[must_use]
    pub fn push_pong(&mut self, pool: &mut Pool, payload: &[u8]) -> bool {
        // FIN, opcode 10; a control frame's payload is at most 125 bytes, so one byte tells it.
        let mut frame = [0x8a; 127];
        let length = 2 + payload.len();
        frame[1] = payload.len() as u8;
        frame[2..length].copy_from_slice(payload);
        if let Some(own) = self.own
            && self.pong_at != NO_PONG
            && self.own_sent <= self.pong_at
            && self.own_left(pool) > OWN_BYTES_CALM
        {
            pool.truncate(own, self.pong_at as usize);
        }
        let at = self.own.map_or(0, |own| pool.bytes(own).len()) as u32;
        let pushed = self.push_own(pool, &frame[..length]);
        if pushed {
            self.pong_at = at;
        }
        pushed
    }

    /// Sends the file `asset` of `length` bytes after the own bytes.
    pub fn start_body(&mut self, asset: AssetId, length: u32) {
        self.source = Source::Body { asset, sent: 0, length };
    }

    /// Ends the file, whatever of it has gone: back to own bytes only, for the next request.
    pub fn finish_body(&mut self) {
        self.source = Source::Nothing;
    }

    /// Begins to follow a channel's feed from `mark` on.
    pub fn start_feed(&mut self, channel: ChannelId, dialect: Dialect, mark: Mark) {
        self.source = Source::Feed { channel, dialect, cursor: mark, boundary: mark.offset };
    }

    /// Stops following the feed, wherever the cursor stands. In the middle of a record only who
    /// sends nothing any more may do that.
    pub fn abandon_feed(&mut self) {
        self.source = Source::Nothing;
    }

    /// Decides the end: `frame` goes out when everything before `barrier` has gone. Later calls
    /// change nothing: the first decision stands.
    pub fn start_close(&mut self, frame: CloseFrame, barrier: Offset) {
        if self.close.is_none() {
            self.close = Some(Close { barrier, frame, sent: 0, held: false });
        }
    }

    /// Keeps the close frame back until other feeds were sent as well, or lets it go. To be called
    /// only while nothing of the frame has gone.
    pub fn keep_close_back(&mut self, held: bool) {
        if let Some(close) = &mut self.close {
            debug_assert_eq!(close.sent, 0);
            close.held = held;
        }
    }

    /// Whether own bytes wait, be it for the end of a record.
    pub fn has_own(&self) -> bool {
        self.own.is_some()
    }

    /// Whether the close frame is kept back.
    pub fn keeps_close_back(&self) -> bool {
        self.close.is_some_and(|close| close.held)
    }

    /// Turns to another feed, which is sent up to `barrier`, while the close frame is kept back.
    pub fn turn_closing(
        &mut self,
        channel: ChannelId,
        dialect: Dialect,
        mark: Mark,
        barrier: Offset,
    ) {
        debug_assert!(self.keeps_close_back() && !self.is_inside_record());
        self.start_feed(channel, dialect, mark);
        if let Some(close) = &mut self.close {
            close.barrier = barrier;
        }
    }

    /// Gives up what has not been sent of the feed, so that the close frame is next. To be called
    /// only between two records.
    pub fn skip_to_close(&mut self) {
        if let (Some(close), Source::Feed { cursor, .. }) = (&mut self.close, &self.source) {
            close.barrier = cursor.offset;
        }
    }

    /// The bytes to send next, in order. `body` is the whole file of [`Source::Body`], else empty.
    /// Nothing may be appended or changed before [`Outbound::transmitted`] is told the outcome.
    ///
    /// # Panics
    /// If the cursor was lapped, unless the close frame is all that is left.
    pub fn transmit<'a>(
        &'a self,
        feed: Option<&'a Feed>,
        body: &'a [u8],
        pool: &'a Pool,
    ) -> Transmit<'a> {
        if let (Some((_, cursor)), Some(feed)) = (self.follows(), feed) {
            // Nearly every call is one of these, and nothing of what follows could matter to it.
            let reach = feed.reach(cursor.offset).offset;
            // Whoever was parted from what comes now may stand where nothing is kept any more.
            let (first, second) = match reach == cursor.offset {
                true => (&[][..], &[][..]),
                false => feed.slices(cursor.offset, reach),
            };
            return Transmit { slices: [first, second, &[], &[]] };
        }
        let own = self.own.map_or(&[][..], |own| &pool.bytes(own)[self.own_sent as usize..]);
        let slices = match self.source {
            Source::Nothing => [own, self.close_bytes(), &[], &[]],
            Source::Body { sent, length, .. } => {
                [own, &body[sent as usize..length as usize], &[], &[]]
            }
            Source::Feed { cursor, boundary, .. } => {
                let feed = feed.expect("a channel's feed outlives its members");
                if self.waits_for_boundary(own.len(), cursor, boundary) {
                    let (first, second) = feed.slices(cursor.offset, boundary);
                    [first, second, own, &[]]
                } else {
                    let (first, second) = self.feed_slices(feed, cursor);
                    [own, first, second, self.close_bytes()]
                }
            }
        };
        Transmit { slices }
    }

    /// Advances by the `taken` bytes that the socket took of the last [`Outbound::transmit`]. An
    /// own buffer of which everything has gone is given back to the pool.
    pub fn transmitted(&mut self, taken: usize, feed: Option<&Feed>, pool: &mut Pool) {
        let own_left = self.own_left(pool);
        match self.source {
            Source::Nothing => {
                let own = taken.min(own_left);
                if let Some(close) = &mut self.close {
                    close.sent += (taken - own) as u8;
                }
                self.own_taken(own, pool);
            }
            Source::Body { asset, sent, length } => {
                let own = taken.min(own_left);
                let sent = sent + (taken - own) as u32;
                self.source = Source::Body { asset, sent, length };
                self.own_taken(own, pool);
            }
            Source::Feed { channel, dialect, cursor, boundary } => {
                let feed = feed.expect("a channel's feed outlives its members");
                let (own, of_feed, of_close) =
                    if self.waits_for_boundary(own_left, cursor, boundary) {
                        let of_feed = taken.min(boundary.since(cursor.offset) as usize);
                        (taken - of_feed, of_feed, 0)
                    } else {
                        let own = taken.min(own_left);
                        let limit = self.limit(feed, cursor);
                        let of_feed = (taken - own).min(limit.since(cursor.offset) as usize);
                        (own, of_feed, taken - own - of_feed)
                    };
                if of_feed > 0 {
                    let offset = cursor.offset.plus(of_feed as u64);
                    let Mark { offset: boundary, seq } = feed.locate(offset);
                    let cursor = Mark { offset, seq };
                    self.source = Source::Feed { channel, dialect, cursor, boundary };
                }
                if let Some(close) = &mut self.close {
                    close.sent += of_close as u8;
                }
                self.own_taken(own, pool);
            }
        }
    }

    /// Whether anything is left to send.
    pub fn is_pending(&self, feed: Option<&Feed>) -> bool {
        if self.own.is_some() {
            return true;
        }
        match self.source {
            Source::Nothing => !self.close_bytes().is_empty(),
            Source::Body { sent, length, .. } => sent < length,
            Source::Feed { cursor, .. } => {
                let limit = feed.map_or(cursor.offset, |feed| self.limit(feed, cursor));
                cursor.offset < limit || !self.close_bytes().is_empty()
            }
        }
    }

    /// Whether all of the close frame has gone.
    pub fn is_close_sent(&self) -> bool {
        self.close.is_some_and(|close| usize::from(close.sent) == close.frame.bytes().len())
    }

    /// Whether an end was decided.
    pub fn is_closing(&self) -> bool {
        self.close.is_some()
    }

    /// Whether the ring has overtaken this reader while the reader still wants something of it.
    pub fn is_lapped(&self, feed: &Feed) -> bool {
        match self.source {
            Source::Feed { cursor, .. } => {
                cursor.offset < feed.tail() && cursor.offset < self.limit(feed, cursor)
            }
            Source::Nothing | Source::Body { .. } => false,
        }
    }

    /// Whether a record or the close frame has gone in part, so that no own bytes may follow yet.
    pub fn is_inside_record(&self) -> bool {
        match self.source {
            Source::Feed { cursor, boundary, .. } => {
                cursor.offset != boundary || self.close.is_some_and(|close| close.sent > 0)
            }
            Source::Nothing => self.close.is_some_and(|close| close.sent > 0),
            Source::Body { .. } => false,
        }
    }

    /// What the connection is sent beside its own bytes.
    pub fn source(&self) -> Source {
        self.source
    }

    /// How many own bytes wait.
    pub fn own_bytes(&self, pool: &Pool) -> usize {
        self.own_left(pool)
    }

    /// The cursor, if a feed is followed.
    pub fn cursor(&self) -> Option<Mark> {
        match self.source {
            Source::Feed { cursor, .. } => Some(cursor),
            Source::Nothing | Source::Body { .. } => None,
        }
    }

    /// Gives the buffer back to the pool, at the connection's end; nothing is left to send.
    pub fn release(&mut self, pool: &mut Pool) {
        if let Some(own) = self.own.take() {
            pool.give(own);
        }
        *self = Outbound::new();
    }

    /// The buffer with the own bytes, for the server's account of the pool.
    pub fn buffer(&self) -> Option<BufferId> {
        self.own
    }

    fn waits_for_boundary(&self, own_left: usize, cursor: Mark, boundary: Offset) -> bool {
        cursor.offset < boundary && (own_left > 0 || self.close.is_some())
    }

    fn own_left(&self, pool: &Pool) -> usize {
        self.own.map_or(0, |own| pool.bytes(own).len() - self.own_sent as usize)
    }

    fn own_taken(&mut self, taken: usize, pool: &mut Pool) {
        let Some(own) = self.own else { return };
        self.own_sent += taken as u32;
        if self.own_sent as usize == pool.bytes(own).len() {
            pool.give(own);
            self.own = None;
            self.own_sent = 0;
            self.pong_at = NO_PONG;
        }
    }

    /// The offset up to which the feed is sent: as far as that reaches, or the barrier of a close,
    /// but never less than the cursor.
    fn limit(&self, feed: &Feed, cursor: Mark) -> Offset {
        match self.close {
            Some(close) => close.barrier.max(cursor.offset),
            None => feed.reach(cursor.offset).offset,
        }
    }

    fn feed_slices<'a>(&self, feed: &'a Feed, cursor: Mark) -> (&'a [u8], &'a [u8]) {
        let limit = self.limit(feed, cursor);
        // A lapped reader that is being closed has nothing to ask of the ring.
        if limit == cursor.offset { (&[], &[]) } else { feed.slices(cursor.offset, limit) }
    }

    fn close_bytes(&self) -> &[u8] {
        match &self.close {
            Some(close) if !close.held => &close.frame.bytes()[usize::from(close.sent)..],
            Some(_) | None => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends everything that is pending, `step` bytes at a time.
    fn drained(out: &mut Outbound, feed: &Feed, pool: &mut Pool, step: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        while out.is_pending(Some(feed)) {
            let all = out.transmit(Some(feed), &[], pool).slices.concat();
            assert!(!all.is_empty());
            let taken = step.min(all.len());
            sent.extend_from_slice(&all[..taken]);
            out.transmitted(taken, Some(feed), pool);
        }
        sent
    }

    #[test]
    fn own_bytes_wait_for_the_record_that_was_begun() {
        for step in 1..20 {
            let (mut feed, mut pool) = (Feed::new(1024), Pool::new(4096));
            let mut out = Outbound::new();
            out.start_feed(ChannelId(0), Dialect::Plain, feed.mark());
            feed.append(0, &[b"[first record]"]);
            out.transmitted(3, Some(&feed), &mut pool);
            assert!(out.is_inside_record());
            assert!(out.push_own(&mut pool, b"(own)"));
            feed.append(0, &[b"[second]"]);
            let sent = drained(&mut out, &feed, &mut pool, step);
            assert_eq!(String::from_utf8_lossy(&sent), "rst record](own)[second]");
            assert_eq!(out.cursor(), Some(feed.mark()));
            assert_eq!(pool.lent_bytes(), 0);
        }
    }

    #[test]
    fn a_buffer_is_taken_over_without_memory() {
        let (feed, mut pool) = (Feed::new(1024), Pool::new(4096));
        let mut out = Outbound::new();
        let empty = pool.take(0).expect("there is room");
        assert!(out.take_own(&mut pool, empty));
        assert!(!out.has_own() && pool.lent_bytes() == 0);

        let mut filled = |bytes: &[u8]| {
            let mut buffer = pool.take(bytes.len()).expect("there is room");
            assert!(pool.append(&mut buffer, bytes));
            buffer
        };
        let (first, second) = (filled(&[b'1'; 64]), filled(&[b'2'; 2000]));
        let rest: Vec<_> = core::iter::from_fn(|| pool.take_briefly(1)).collect();
        assert!(out.take_own(&mut pool, first));
        // The second would have to be appended.
        assert!(!out.take_own(&mut pool, second));
        assert_eq!(drained(&mut out, &feed, &mut pool, 3), [b'1'; 64]);
        rest.iter().for_each(|buffer| pool.give(*buffer));
        assert_eq!(pool.lent_bytes(), 0);
    }

    #[test]
    fn a_close_waits_for_its_barrier_and_ends_everything() {
        for step in 1..20 {
            let (mut feed, mut pool) = (Feed::new(1024), Pool::new(4096));
            let mut out = Outbound::new();
            out.start_feed(ChannelId(0), Dialect::Plain, feed.mark());
            feed.append(0, &[b"[echo]"]);
            out.start_close(CloseFrame::answer(Some(1000)), feed.head());
            feed.append(0, &[b"[later]"]);
            let sent = drained(&mut out, &feed, &mut pool, step);
            assert_eq!(sent, b"[echo]\x88\x02\x03\xe8");
            assert!(out.is_close_sent());
        }
    }

    #[test]
    fn of_a_flood_of_pings_only_the_latest_is_answered() {
        let (feed, mut pool) = (Feed::new(1024), Pool::new(4096));
        let mut out = Outbound::new();
        out.start_feed(ChannelId(0), Dialect::Plain, feed.mark());
        assert!(out.push_pong(&mut pool, b"one"));
        out.transmitted(1, Some(&feed), &mut pool);
        assert!(out.push_own(&mut pool, &[b'.'; OWN_BYTES_CALM]));
        assert!(out.push_pong(&mut pool, b"two"));
        assert!(out.push_pong(&mut pool, b"three"));
        let sent = drained(&mut out, &feed, &mut pool, 100);
        assert!(sent.starts_with(b"\x03one.") && sent.ends_with(b".\x8a\x05three"));
    }

    #[test]
    fn a_lapped_reader_is_noticed_and_can_still_be_told() {
        let (mut feed, mut pool) = (Feed::new(1024), Pool::new(4096));
        let mut out = Outbound::new();
        out.start_feed(ChannelId(0), Dialect::Plain, feed.mark());
        for _ in 0..3 {
            feed.append(0, &[&[b'x'; 500]]);
        }
        assert!(out.is_lapped(&feed) && !out.is_inside_record());
        out.start_close(CloseFrame::Reason(CloseReason::TooSlow), Offset(0));
        out.skip_to_close();
        assert!(!out.is_lapped(&feed));
        let sent = drained(&mut out, &feed, &mut pool, 4);
        assert_eq!(sent, CloseReason::TooSlow.close_frame().unwrap());
    }
}
