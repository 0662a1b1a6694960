//! A channel whose order is decided elsewhere: what is brought before it is open, and what of its
//! order is lost.
//!
//! ```text
//!   opening ──► asked ──► brought, oldest first ──► open ──► read
//!                          │ a gap                   │ a gap
//!                          ▼                         ▼
//!             nothing of before is kept   readers are told of it, or parted there
//! ```
//!
//! Leaves to others: which channels are to be opened or closed (`opening`), who waits for that and
//! is told (the server).
//!
//! The surprise: a gap counts as a message. So whoever stands before it does not stand behind it,
//! although nothing was said.

use super::{Channel, Standing};
use crate::feed::Feed;
use crate::hub::message;
use crate::hub::{Lacking, Message};
use crate::id::Dialect;
use crate::limits::LATE_OPENING_LIMIT;
use crate::position::Position;
use crate::time::{Duration, Instant};
use crate::wire::sse;

impl Channel {
    /// Whether it is not known yet where the channel begins.
    pub(in crate::hub) fn is_opening(&self) -> bool {
        match self.standing {
            Standing::Open => false,
            Standing::Opening { .. } => true,
        }
    }

    /// Whether whoever decides the order knows that the channel is read here.
    pub(in crate::hub) fn was_asked(&self) -> bool {
        match self.standing {
            Standing::Open => true,
            Standing::Opening { was_asked } => was_asked,
        }
    }

    /// Notes that whoever decides where the channel begins is asked. Returns the name.
    pub(in crate::hub) fn ask(&mut self) -> &str {
        self.standing = Standing::Opening { was_asked: true };
        &self.name
    }

    /// Has the channel stay until `until` at least.
    pub(in crate::hub) fn await_until(&mut self, until: Instant) {
        self.awaited_until = self.awaited_until.max(until);
    }

    /// Until when the channel stays at least, whoever reads it. To open it may take longer than
    /// anybody waits.
    pub(in crate::hub) fn stays_until(&self) -> Instant {
        match self.standing {
            Standing::Opening { was_asked: true } => self.awaited_until.plus(LATE_OPENING_LIMIT),
            Standing::Opening { was_asked: false } | Standing::Open => self.awaited_until,
        }
    }

    /// Notes whether the channel stands among those that are to be closed. Returns whether that is
    /// new.
    pub(in crate::hub) fn set_to_close(&mut self, to_close: bool) -> bool {
        core::mem::replace(&mut self.to_close, to_close) != to_close
    }

    /// Whether the channel stands among those that are to be closed.
    pub(in crate::hub) fn is_to_close(&self) -> bool {
        self.to_close
    }

    /// Whether anything was brought to the channel, or said in it.
    pub(crate) fn has_been_brought(&self) -> bool {
        self.number > 0
    }

    /// Keeps a message from before the channel is open, behind all that were kept so far; `said` is
    /// now, and how long ago that was. Without a message there is a gap, and nothing of before is
    /// kept.
    ///
    /// # Panics
    /// If the channel is open.
    pub(in crate::hub) fn replay(
        &mut self,
        said: (Instant, Duration),
        position: Position,
        message: Option<&Message<'_>>,
    ) {
        assert!(self.is_opening(), "what comes later is said");
        let is_first = self.number == 0;
        self.number += 1;
        self.position = position;
        let Some(log) = &mut self.log else { return };
        match message {
            Some(message) => {
                if is_first {
                    let before = position.before_in_stream().unwrap_or(Position::STREAM_START);
                    log.begin_anew(0, before);
                }
                log.append_aged(self.number, position, said, message);
            }
            None => log.begin_anew(self.number, position),
        }
    }

    /// Opens the channel: what is said from now on comes behind `position`, and behind all that was
    /// kept.
    ///
    /// # Panics
    /// If the channel is open.
    pub(in crate::hub) fn begin(&mut self, now: Instant, position: Position) {
        assert!(self.is_opening(), "a channel is opened once");
        if self.awaited_until <= now {
            self.awaited_until = self.stays_until();
        }
        self.standing = Standing::Open;
        let log = self.log.as_mut();
        if log.as_ref().is_some_and(|log| !log.is_empty()) {
            // What stands between the newest that is kept and `position` is said to nobody: repeats
            // of what was said. Whoever was here meanwhile has not heard of these places.
            return;
        }
        if self.position < position {
            self.position = position;
        }
        if let Some(log) = log {
            log.begin_anew(self.number, position);
        }
    }

    /// Whether some of those who read the channel have come back from where they had been.
    pub fn has_returned(&self) -> bool {
        self.returned.contains(&true)
    }

    /// Notes that what was said before `position` is lost for those who are `lacking` it. Those who
    /// are told where messages stand are told so in their place; the others are parted from what
    /// comes behind. Nothing of before is kept. Returns whether that begins a sweep.
    pub(in crate::hub) fn lose(
        &mut self,
        position: Position,
        lacking: Lacking,
        read_us: u64,
    ) -> bool {
        let lacks = match lacking {
            Lacking::Everybody => [true; Dialect::ALL.len()],
            Lacking::Returned => self.returned,
        };
        // A gap has a number, so that nobody who stands before it stands behind it as well.
        self.number += 1;
        self.position = position;
        let (number, text) = (self.number, position.text());
        if let Some(log) = &mut self.log {
            log.begin_anew(number, position);
        }
        let mut told = false;
        for (dialect, feed) in Dialect::ALL.into_iter().zip(&mut self.feeds) {
            // Who is told stays, and may lack what comes next as well.
            self.returned[dialect as usize] &= dialect.is_told_of_gaps();
            let Some(feed) = feed.as_mut().filter(|_| lacks[dialect as usize]) else { continue };
            match dialect {
                Dialect::ElbowV1 => {
                    let mut frame = Vec::with_capacity(message::LOST_BYTES_MAX);
                    message::lost(text.as_str(), &mut frame);
                    feed.append(number, &[&frame]);
                    told = true;
                }
                Dialect::EventStream => {
                    let mut chunk = Vec::with_capacity(sse::reset_bytes(text.as_str()));
                    sse::reset(text.as_str(), &mut chunk);
                    feed.append(number, &[&chunk]);
                    told = true;
                }
                Dialect::Plain | Dialect::SocketIo4 | Dialect::SocketIo3 => feed.part(number),
            }
        }
        told && self.appended(read_us)
    }

    /// Whether readers were parted from what is said now, and may not all have been told.
    pub fn is_parted(&self) -> bool {
        self.feeds.iter().flatten().any(Feed::is_parted)
    }

    /// Notes that all readers that were parted have been told, or have gone.
    pub(in crate::hub) fn join_up(&mut self) {
        self.feeds.iter_mut().flatten().for_each(Feed::join_up);
    }
}
