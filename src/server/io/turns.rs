//! Who waits to be read, and in which order it is their turn.
//!
//! A publisher may have to wait for its channel, or until it has read itself; then its bytes stay
//! in its socket. Those that wait for a channel stand on the channel's list (`hub/channel.rs`),
//! those whose share of a turn of the loop was over in the server's queue. Whoever stands in one of
//! the two is marked as resuming, and in no other.
//!
//! ```text
//!   read ──► its share of the turn is over ──► queue ──► read
//!     │                                       │     ▲
//!     │                        the channel closes   the channel opens
//!     │                                       ▼     │
//!     └──────► it must wait for its channel ──► the channel's list
//! ```
//!
//! The surprise is what fairness takes: whoever comes to the queue while the channel is closed
//! would be in front of the whole list when it is opened. So nobody of a closed channel is left in
//! the queue behind one that has gone to the list.

use std::collections::VecDeque;

use slab::Slab;

use crate::hub::OWN_BYTES_MAX;
use crate::id::{ChannelId, ConnId};
use crate::limits;
use crate::outbound::Source;
use crate::server::{Entry, Server, Socket};
use crate::time::Now;

impl<S: Socket> Server<S> {
    /// Reads those that were put off. Whoever finds its channel closed again goes back to the
    /// channel's list, which is no read: were that counted, those behind them would be in front
    /// when the channel is opened next, and of some numbers of publishers always the same few.
    pub(in crate::server) fn run_resumed(&mut self, now: Now) {
        let mut reads_left = limits::SENDS_PER_TURN;
        let mut unvisited = self.resume.len();
        let mut any_paused = false;
        while unvisited > 0
            && reads_left > 0
            && !self.read_budget.is_spent()
            && let Some(id) = self.resume.pop_front()
        {
            unvisited -= 1;
            if self.entry(id).is_none() {
                continue;
            }
            if let Wait::ForTheChannel(channel) = self.must_wait(id.slot) {
                self.hub.channel_mut(channel).pause(id, false);
                any_paused = true;
                continue;
            }
            self.entries[id.slot as usize].resuming = false;
            reads_left -= 1;
            self.read(now, id);
            // It may be the one that has closed the channel, and the last that is read.
            any_paused |= matches!(self.must_wait(id.slot), Wait::ForTheChannel(_));
        }
        if any_paused {
            self.pause_behind(unvisited);
        }
    }

    /// Moves everybody who is left in the queue, and finds its channel closed, to the channel's
    /// list as well, behind those that stood in front. Places of the queue from number `fresh` on
    /// belong to publishers that were read in this turn and have more to say: left in the queue,
    /// they would be the first to be read each time the channel is opened.
    fn pause_behind(&mut self, fresh: usize) {
        for number in 0..self.resume.len() {
            let Some(id) = self.resume.pop_front() else { break };
            if self.entry(id).is_none() {
                continue;
            }
            match self.must_wait(id.slot) {
                Wait::ForTheChannel(channel) => {
                    self.hub.channel_mut(channel).pause(id, number >= fresh);
                }
                Wait::Not | Wait::ForItself => self.resume.push_back(id),
            }
        }
    }

    /// Whether a publisher must wait. If it is for the channel, it is put on the channel's list.
    pub(in crate::server) fn is_held(&mut self, id: ConnId) -> bool {
        let wait = self.must_wait(id.slot);
        if let Wait::ForTheChannel(channel) = wait {
            self.pause(id, channel, self.had_its_say());
        }
        wait != Wait::Not
    }

    /// Has a connection read again in one of the next turns, or when its channel is opened.
    pub(in crate::server) fn read_later(&mut self, id: ConnId, had_its_say: bool) {
        match self.must_wait(id.slot) {
            Wait::ForTheChannel(channel) => self.pause(id, channel, had_its_say),
            Wait::Not | Wait::ForItself => {
                resume_later(&mut self.entries, &mut self.resume, id);
            }
        }
    }

    /// Puts a publisher on its channel's list, unless it waits for its turn already.
    fn pause(&mut self, id: ConnId, channel: ChannelId, had_its_say: bool) {
        let entry = &mut self.entries[id.slot as usize];
        if !entry.resuming {
            entry.resuming = true;
            self.metrics.publishers_paused += 1;
            self.hub.channel_mut(channel).pause(id, had_its_say);
        }
    }

    /// Whether the publisher that is being read has published anything in this turn.
    pub(in crate::server) fn had_its_say(&self) -> bool {
        self.metrics.messages_published > self.published_before
    }

    /// Whether what this connection has to say must wait: for the channel, or until it has read
    /// itself.
    pub(in crate::server) fn must_wait(&self, slot: u32) -> Wait {
        let entry = &self.entries[slot as usize];
        if !entry.conn.is_publishing() {
            return Wait::Not;
        }
        let own_bytes = entry.conn.out.own_bytes(&self.pool);
        if entry.blocked && (own_bytes > OWN_BYTES_MAX || self.lags(slot, 4)) {
            return Wait::ForItself;
        }
        let held = |channel| self.hub.channel(channel).holds_publishers();
        if let Some(place) = entry.conn.place() {
            return if held(place.channel) {
                Wait::ForTheChannel(place.channel)
            } else {
                Wait::Not
            };
        }
        let Some(session) = entry.conn.session() else { return Wait::Not };
        let mut channels = self.sessions.get(session).spaces.iter().map(|space| space.channel);
        channels.find(|channel| held(*channel)).map_or(Wait::Not, Wait::ForTheChannel)
    }

    /// Whether a connection is blocked and behind by more than 1/`parts` of the ring that it sends
    /// from.
    pub(in crate::server) fn lags(&self, slot: u32, parts: u64) -> bool {
        let entry = &self.entries[slot as usize];
        match entry.conn.out.source() {
            Source::Feed { channel, dialect, cursor, .. } => {
                entry.blocked && self.hub.feed(channel, dialect).lags_more_than(cursor, parts)
            }
            Source::Nothing | Source::Body { .. } => false,
        }
    }
}

/// What keeps a publisher from being read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::server) enum Wait {
    /// Nothing does.
    Not,
    /// The publisher's own output is blocked with more than a quarter ring of lag.
    ForItself,
    /// A channel in which the publisher may speak holds its publishers back.
    ForTheChannel(ChannelId),
}

/// Has a connection read again in one of the next turns.
pub(in crate::server) fn resume_later<S>(
    entries: &mut Slab<Entry<S>>,
    resume: &mut VecDeque<ConnId>,
    id: ConnId,
) {
    if let Some(entry) = entries.get_mut(id.slot as usize)
        && entry.generation == id.generation
        && !entry.conn.is_over()
        && !entry.resuming
    {
        entry.resuming = true;
        push_id(resume, entries, id);
    }
}

/// Has a publisher that waited for its channel read again. It stood in the channel's list, so it
/// counts as resuming already.
pub(in crate::server) fn resume_paused<S>(
    entries: &mut Slab<Entry<S>>,
    resume: &mut VecDeque<ConnId>,
    id: ConnId,
) {
    if let Some(entry) = entries.get_mut(id.slot as usize)
        && entry.generation == id.generation
        && !entry.conn.is_over()
    {
        debug_assert!(entry.resuming);
        push_id(resume, entries, id);
    }
}

/// Appends a connection that is marked as resuming. The queue never grows: if it is full, those
/// that have ended are taken out first.
fn push_id<S>(resume: &mut VecDeque<ConnId>, entries: &Slab<Entry<S>>, id: ConnId) {
    if resume.len() == resume.capacity() {
        let lives = |id: &ConnId| {
            let entry = entries.get(id.slot as usize);
            entry.is_some_and(|entry| entry.generation == id.generation)
        };
        resume.retain(lives);
    }
    resume.push_back(id);
}
