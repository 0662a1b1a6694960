//! Who waits to be read, and in which order it is their turn.
//!
//! A publisher may have to wait for its channel, or until it has read itself; then its bytes stay
//! in its socket. Those that wait for a channel stand on the channel's list (`hub/channel.rs`),
//! those whose share of a turn of the loop was over on the list of connections that are to be read
//! (`connections`). Nobody stands on two of these.
//!
//! ```text
//!   read ──► its share of the turn is over ──► list ──► read
//!     │                                       │     ▲
//!     │                        the channel closes   the channel opens
//!     │                                       ▼     │
//!     └──────► it must wait for its channel ──► the channel's list
//! ```
//!
//! The surprise is what fairness takes: whoever waits to be read while the channel is closed would
//! be in front of the channel's whole list when that is opened. So nobody of a closed channel is
//! left behind one that has gone to the channel's list.

use crate::feed::{Feed, Mark};
use crate::hub::{self, OWN_BYTES_MAX, Space};
use crate::id::{ChannelId, ConnId};
use crate::membership::Membership;
use crate::outbound::Source;
use crate::server::{Server, Socket};

impl<S: Socket> Server<S> {
    /// Moves everybody who is left in the list of those that are to be read, and finds its channel
    /// closed, to the channel's list as well, behind those that stood in front. The first `old` of
    /// the list had come before this turn. The others were read in this turn and have more to say:
    /// left in the list, they would be the first to be read each time the channel is opened.
    pub(super) fn pause_behind(&mut self, old: usize) {
        for number in 0..self.connections.count_to_read() {
            let Some(id) = self.connections.next_to_read() else { break };
            match self.must_wait(id.slot) {
                Wait::ForTheChannel(channel) => self.pause(id, channel, number >= old),
                Wait::Not | Wait::ForItself => self.connections.read_soon(id.slot),
                Wait::ToEnter => {}
            }
        }
    }

    /// Puts a publisher on the list of its channel if it must wait for that. Whether it must wait,
    /// for whatever reason.
    pub(in crate::server) fn hold_back(&mut self, id: ConnId) -> bool {
        let wait = self.must_wait(id.slot);
        if let Wait::ForTheChannel(channel) = wait {
            self.wait_for(id, channel, self.reading.spoke);
        }
        wait != Wait::Not
    }

    /// Has a connection read again in one of the next turns, or when its channel is opened.
    pub(in crate::server) fn read_later(&mut self, id: ConnId, had_its_say: bool) {
        match self.must_wait(id.slot) {
            Wait::ForTheChannel(channel) => self.wait_for(id, channel, had_its_say),
            Wait::Not | Wait::ForItself => self.connections.read_soon(id.slot),
            // It is read when the wait is over.
            Wait::ToEnter => {}
        }
    }

    /// Puts a publisher on its channel's list, unless it waits for its turn already.
    fn wait_for(&mut self, id: ConnId, channel: ChannelId, had_its_say: bool) {
        if !self.connections.is_to_read(id.slot) {
            self.metrics.publishers_paused += 1;
            self.pause(id, channel, had_its_say);
        }
    }

    pub(super) fn pause(&mut self, id: ConnId, channel: ChannelId, had_its_say: bool) {
        self.connections.pause(id.slot);
        self.hub.channel_mut(channel).pause(id, had_its_say);
    }

    /// Whether what this connection has to say must wait: for the channel, until it has read
    /// itself, or until its session has entered where it is about to.
    pub(in crate::server) fn must_wait(&self, slot: u32) -> Wait {
        let conn = self.connections.conn(slot);
        if !conn.is_publishing() {
            return Wait::Not;
        }
        let own_bytes = conn.out.own_bytes(&self.pool);
        if self.connections.marks(slot).blocked
            && (own_bytes > OWN_BYTES_MAX || self.lags(slot, hub::must_read_first))
        {
            return Wait::ForItself;
        }
        let held = |channel| self.hub.channel(channel).holds_publishers();
        if let Some(Membership { channel, .. }) = conn.membership() {
            return if held(channel) { Wait::ForTheChannel(channel) } else { Wait::Not };
        }
        let Some(session) = conn.session() else { return Wait::Not };
        if self.sessions.get(session).is_entering() {
            return Wait::ToEnter;
        }
        let mut channels = self.sessions.get(session).spaces.iter().map(Space::channel);
        channels.find(|channel| held(*channel)).map_or(Wait::Not, Wait::ForTheChannel)
    }

    /// Whether a connection is blocked, and `lags` says of the feed that it sends from that it is
    /// too far behind.
    pub(in crate::server) fn lags(&self, slot: u32, lags: fn(&Feed, Mark) -> bool) -> bool {
        match self.connections.conn(slot).out.source() {
            Source::Feed { channel, dialect, cursor, .. } => {
                self.connections.marks(slot).blocked
                    && lags(self.hub.feed(channel, dialect), cursor)
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
    /// The publisher's session is about to enter a namespace, whose channel is being opened: what
    /// its client says comes behind that.
    ToEnter,
    /// A channel in which the publisher may speak holds its publishers back.
    ForTheChannel(ChannelId),
}
