//! Where a reader of a channel begins, and the feed that is filled for the first of a dialect.
//!
//! Whoever comes with a wish is compared with what is kept: all behind its position can be had
//! (then reading begins there), or not (then that is told, and reading begins with the newest
//! messages that were asked for, or with what is new). A place in a feed is found by the number of
//! a message. Of a stream, positions are no numbers; the log translates what it keeps.
//!
//! Leaves to others: how messages are kept (`log`), who may be sent the past (`replays`, the
//! server).
//!
//! The surprise: what could be had is decided by the log *and* the feed. A feed was filled when its
//! first reader came, and may have dropped more than the log by now, or less.

use super::{Channel, append};
use crate::feed::{Feed, Mark};
use crate::hub::message::Form;
use crate::hub::{Prospect, Recovery, Since, Start, Wish};
use crate::id::Dialect;
use crate::pool::Pool;
use crate::position::Position;
use crate::work;

impl Channel {
    /// Makes a feed for a dialect that nobody has read so far, and fills it with what the channel
    /// keeps, or with nothing if that is not wanted. Returns what filling it has cost, in bytes:
    /// those that were read, and those of the records that were made of them.
    pub(in crate::hub) fn open_feed(
        &mut self,
        pool: &mut Pool,
        dialect: Dialect,
        feed_bytes: usize,
        fill: bool,
    ) -> u64 {
        let number = dialect as usize;
        let (feed, cost_bytes) = match &self.log {
            None => (Feed::new(feed_bytes), 0),
            Some(log) if fill => {
                let new = Feed::numbered(feed_bytes, log.missing_when_filled());
                let feed = self.filled(pool, dialect, new);
                // Also what has been pushed out by what followed was made.
                let cost_bytes = log.fill_bytes() + feed.head().0;
                (feed, cost_bytes)
            }
            Some(_) => (Feed::numbered(feed_bytes, self.number), 0),
        };
        work::count(|work| work.filled_bytes += cost_bytes);
        // Where the marks of a new feed begin: everything up to here was said before.
        let begin = feed.mark();
        self.completed[number] = begin;
        self.grace_ended[number] = begin;
        if let Some(sweep) = &mut self.sweep {
            sweep.began[number] = begin;
        }
        self.feeds[number] = Some(feed);
        cost_bytes
    }

    /// Appends everything that the channel keeps to a feed that is new. What there is no memory
    /// for is missing in it, with everything before.
    pub(super) fn filled(&self, pool: &mut Pool, dialect: Dialect, mut feed: Feed) -> Feed {
        let Some(log) = &self.log else { return feed };
        log.replay(pool, |pool, number, message| {
            let position = self.position_of(number).expect("what is kept has a position").text();
            let (namespace, with_offset) = (&*self.namespace, self.with_offset);
            let form = Form { dialect, namespace, position: position.as_str(), with_offset };
            let is_there = message.is_some_and(|message| {
                if dialect.is_in_parts() {
                    append(&mut feed, number, &form, message, &mut Vec::new());
                    return true;
                }
                let Some(buffer) = pool.take_briefly(message.length(&form)) else { return false };
                let mut record = pool.borrow_out(buffer);
                append(&mut feed, number, &form, message, &mut record);
                pool.put_back(buffer, record);
                pool.give(buffer);
                true
            });
            if !is_there {
                feed.forget(number);
            }
        });
        feed
    }

    /// Where a reader of a dialect, which has a feed, begins.
    pub(in crate::hub) fn start(&self, dialect: Dialect, wish: Wish) -> Start {
        let feed = self.feeds[dialect as usize].as_ref().expect("the dialect has a feed");
        let missing = match &self.log {
            Some(log) => log.missing().max(feed.missing()),
            None => self.number,
        };
        let recovery = wish.since.map(|since| self.recovery(since, missing));
        let begin = |mark: Mark, position| {
            let missed = feed.mark().seq.0 - mark.seq.0;
            Start { mark, position, recovery, missed }
        };
        match wish.since {
            Some(Since::Position(since)) if recovery == Some(Recovery::Whole) => {
                let is_newest = since == self.position;
                let number = self.number_of(since).expect("it was found");
                begin(if is_newest { feed.mark() } else { feed.after(number) }, since)
            }
            Some(_) | None if wish.last > 0 && self.log.is_some() => {
                let mark = feed.newest(wish.last, feed.after(missing));
                let before = match mark == feed.mark() {
                    true => self.number,
                    // Nothing that has a form in the dialect stands between the two.
                    false => feed.message_of(mark.seq) - 1,
                };
                let position = self.position_of(before).expect("it stands among what is kept");
                begin(mark, position)
            }
            Some(_) | None => begin(feed.mark(), self.position),
        }
    }

    /// Notes that a reader of a dialect begins, which may rely on having heard everything that
    /// stands in front of its start.
    pub(in crate::hub) fn note_start(&mut self, dialect: Dialect, wish: Wish, start: &Start) {
        // Some are told where they begin although something is missing, the others are not.
        let goes_on = match dialect.is_told_of_gaps() {
            true => wish.since.is_some(),
            false => start.recovery == Some(Recovery::Whole),
        };
        self.returned[dialect as usize] |= goes_on;
    }

    /// What beginning with a wish would come to.
    pub(in crate::hub) fn prospect(&self, dialect: Dialect, wish: Wish) -> Prospect {
        match &self.feeds[dialect as usize] {
            Some(feed) => {
                let Start { mark, recovery, .. } = self.start(dialect, wish);
                Prospect { recovery, cost_bytes: feed.head().since(mark.offset) }
            }
            None => {
                let (missing, cost_bytes) = match &self.log {
                    Some(log) => (log.missing_when_filled(), log.fill_cost_bytes()),
                    None => (self.number, 0),
                };
                let recovery = wish.since.map(|since| self.recovery(since, missing));
                // A new feed is filled, whoever comes.
                Prospect { recovery, cost_bytes }
            }
        }
    }

    /// Whether everything can be had that was said behind a position.
    fn recovery(&self, since: Since, missing: u64) -> Recovery {
        let Since::Position(since) = since else { return Recovery::Unknown };
        match self.number_of(since) {
            Some(number) if number >= missing => Recovery::Whole,
            Some(_) => Recovery::Gone,
            None if self.stands_before(since) => Recovery::Gone,
            None => Recovery::Unknown,
        }
    }

    /// The number of the message that stands at `position`. Of a stream, `None` also for one that
    /// is neither kept nor the newest.
    fn number_of(&self, position: Position) -> Option<u64> {
        match (position, self.position) {
            (Position::Local { epoch, seq }, Position::Local { epoch: ours, .. }) => {
                (epoch == ours && seq <= self.number).then_some(seq)
            }
            (Position::Stream { .. }, Position::Stream { .. }) if position == self.position => {
                Some(self.number)
            }
            (Position::Stream { .. }, Position::Stream { .. }) => {
                self.log.as_ref()?.number_of(position)
            }
            (Position::Local { .. }, Position::Stream { .. })
            | (Position::Stream { .. }, Position::Local { .. }) => None,
        }
    }

    /// Whether a position of a stream stands before everything that could be had.
    fn stands_before(&self, position: Position) -> bool {
        match &self.log {
            Some(log) => log.stands_before(position),
            None => self.is_of_stream() && position < self.position,
        }
    }

    /// Where the message of this number stands. Of a stream, `None` for one that is neither kept,
    /// nor the newest that is not, nor the newest of all.
    pub fn position_of(&self, number: u64) -> Option<Position> {
        match self.position {
            Position::Local { epoch, .. } => Some(Position::Local { epoch, seq: number }),
            Position::Stream { .. } if number == self.number => Some(self.position),
            Position::Stream { .. } => self.log.as_ref()?.position_of(number),
        }
    }

    /// Whether the order of the channel's messages is decided in a stream.
    fn is_of_stream(&self) -> bool {
        match self.position {
            Position::Local { .. } => false,
            Position::Stream { .. } => true,
        }
    }
}
