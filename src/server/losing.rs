//! Gaps in an order that is decided elsewhere: who is told of them, and when.
//!
//! Readers that are told where messages stand are told of a gap there, by a record of their feed
//! (`hub/channel`). The others are parted from what comes behind it: they are sent everything of
//! before and nothing more, and told to come back, in small batches over the time that the operator
//! gives a drain, so that they do not all come back at once. Meanwhile they are members like any
//! other: what they say is taken, and they are pinged.
//!
//! The surprise: of two gaps in one channel the second waits until everybody has been told of the
//! first, and hurries that. Nobody stands between two gaps and is told of one.

use super::{Event, Server, Socket};
use crate::hub::{Lacking, StillParted, Transport};
use crate::id::{ChannelId, ConnId, Dialect, SessionId};
use crate::outbound::{CloseFrame, Source};
use crate::position::Position;
use crate::reason::{CloseReason, Farewell};
use crate::time::{Duration, Instant, Now};

/// Time between two batches.
const STEP: Duration = Duration::from_millis(50);

/// Connections and sessions that are looked at in a batch when there is no time to lose.
const HASTY_BATCH: usize = 256;

/// A round through all connections and sessions, to tell those that were parted.
#[derive(Debug)]
pub(super) struct Losing {
    began: Instant,
    /// How long the round takes, if nothing hurries it.
    length: Duration,
    /// Connections and sessions when the round began.
    total: usize,
    /// Connections and sessions that have been looked at.
    told: usize,
    /// Slots below this have been looked at.
    looked: usize,
    next: Instant,
    /// Whether somebody was parted since the round began, so that another has to follow.
    again: bool,
    /// Whether another gap waits for this round.
    hasty: bool,
}

impl Losing {
    /// A round that begins at `now`, takes so long, and looks at so many.
    fn new(now: Instant, length: Duration, total: usize) -> Losing {
        let (told, looked) = (0, 0);
        let (again, hasty) = (false, false);
        Losing { began: now, length, total, told, looked, next: now, again, hasty }
    }

    /// When the next batch is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// How many should have been looked at by `now`: the first at once, the others evenly over the
    /// time.
    fn due(&self, now: Instant) -> usize {
        let (length_ms, elapsed_ms) = (self.length.as_millis(), now.since(self.began).as_millis());
        if self.hasty {
            return self.told + HASTY_BATCH;
        } else if elapsed_ms >= length_ms {
            return usize::MAX;
        }
        // No more than `total`, since less time has passed than there is.
        let share = self.total as u128 * u128::from(elapsed_ms) / u128::from(length_ms);
        share as usize + 1
    }
}

impl<S: Socket> Server<S> {
    /// Notes that messages of an open channel are lost that were said before `position`, for those
    /// readers who are `lacking` them.
    ///
    /// # Errors
    /// If not everybody has been told of an earlier gap of this channel; that is hurried then.
    pub(super) fn lose(
        &mut self,
        now: Now,
        channel: ChannelId,
        position: Position,
        lacking: Lacking,
    ) -> Result<(), StillParted> {
        let name = self.hub.channel(channel).name().into();
        let is_told = match lacking {
            Lacking::Everybody => true,
            Lacking::Returned => self.hub.channel(channel).has_returned(),
        };
        let lost = self.hub.lose(&mut self.pool, now.mono, (channel, position), lacking);
        if let Err(still_parted) = lost {
            if let Some(losing) = &mut self.losing {
                (losing.hasty, losing.next) = (true, now.mono);
            }
            return Err(still_parted);
        }
        if !is_told {
            return Ok(());
        }
        self.metrics.gaps += 1;
        self.events.push(&mut self.pool, Event::Lost { channel: name });
        if self.hub.channel(channel).is_parted() {
            match &mut self.losing {
                Some(losing) => losing.again = true,
                None => self.begin_losing(now, false),
            }
        }
        Ok(())
    }

    fn begin_losing(&mut self, now: Now, hasty: bool) {
        let total = self.connections.len() + self.sessions.len();
        let losing = Losing::new(now.mono, self.settings.limits.drain, total);
        self.losing = Some(Losing { hasty, ..losing });
    }

    /// Tells the batch of those that were parted whose turn it is.
    pub(super) fn run_losing(&mut self, now: Now) {
        let Some(losing) = self.losing.as_mut().filter(|losing| losing.next <= now.mono) else {
            return;
        };
        losing.next = if losing.hasty { now.mono } else { now.mono.plus(STEP) };
        let (due, mut told, mut looked) = (losing.due(now.mono), losing.told, losing.looked);
        let slots = self.connections.slots().max(self.sessions.slots());
        while told < due && looked < slots {
            told += self.tell_of_gap(now, looked as u32);
            looked += 1;
        }
        let Some(losing) = &mut self.losing else { return };
        (losing.told, losing.looked) = (told, looked);
        if looked < slots {
            return;
        }
        let Losing { again, hasty, .. } = *losing;
        self.losing = None;
        if again {
            self.begin_losing(now, hasty);
        } else {
            self.hub.join_up();
        }
    }

    /// Tells the connection and the session in a slot of a gap that they have been parted by. How
    /// many of both there are.
    fn tell_of_gap(&mut self, now: Now, slot: u32) -> usize {
        let reason = CloseReason::MessagesLost;
        let mut looked_at = 0;
        if self.connections.contains(slot) {
            looked_at += 1;
            let conn = self.connections.conn(slot);
            let is_member = conn.dialect() == Some(Dialect::Plain) && conn.is_open();
            if is_member && self.is_parted(slot) {
                self.close(now, slot, CloseFrame::Reason(reason), reason);
            }
        }
        if let Some(id) = self.sessions.at(slot) {
            looked_at += 1;
            let is_open = !self.sessions.get(id).is_closing();
            if is_open && self.is_session_parted(id) {
                self.close_session(now, id, reason, Farewell::Close);
            }
        }
        looked_at
    }

    /// Whether a connection is sent nothing of what is said now in the channel that it sends from.
    fn is_parted(&self, slot: u32) -> bool {
        match self.connections.conn(slot).out.source() {
            Source::Feed { channel, dialect, cursor, .. } => {
                self.hub.feed(channel, dialect).is_parted_at(cursor.offset)
            }
            Source::Nothing | Source::Body { .. } => false,
        }
    }

    /// Whether a session is sent nothing of what is said now in one of its channels.
    fn is_session_parted(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id);
        let lent = match session.transport {
            Transport::WebSocket(ConnId { slot, .. }) => self.connections.conn(slot).out.cursor(),
            Transport::Polling { .. } => None,
        };
        (0..session.spaces.len()).any(|space| {
            let feed = self.hub.feed(session.spaces[space].channel(), session.dialect());
            session.cursor(space, lent).is_some_and(|cursor| feed.is_parted_at(cursor.offset))
        })
    }
}
