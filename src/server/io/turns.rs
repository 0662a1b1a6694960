//! Who waits to be read, and in which order it is their turn.
//!
//! A publisher may have to wait for its channel, or until it has read itself; then its bytes stay
//! in its socket. Those that wait for a channel stand on the channel's list (`hub/channel/mod.rs`),
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
//! left behind one that has gone to the channel's list. And requests are read as soon as they come,
//! but what comes with them for a channel, be it the body of a POST or frames behind an upgrade,
//! waits like the rest: otherwise whoever makes a request for each message would never wait.

use crate::feed::{Feed, Mark};
use crate::hub::{self, OWN_BYTES_MAX, Space};
use crate::id::{ChannelId, ConnId};
use crate::membership::Membership;
use crate::outbound::Source;
use crate::rate::Paid;
use crate::server::{Server, Socket};
use crate::time::Now;

impl<S: Socket> Server<S> {
    /// Moves everybody who is left in the list of those that are to be read, and finds its channel
    /// closed, to the channel's list as well, behind those that stood in front. The first `old` of
    /// the list had come before this turn. The others were read in this turn and have more to say:
    /// left in the list, they would be the first to be read each time the channel is opened.
    pub(super) fn pause_behind(&mut self, now: Now, old: usize) {
        for number in 0..self.connections.count_to_read() {
            let Some(id) = self.connections.next_to_read() else { break };
            match self.must_wait(now, id.slot) {
                Wait::ForTheChannel(channel) => self.pause(id, channel, number >= old),
                Wait::ForItsRate(_) | Wait::Not | Wait::ForItself => {
                    self.connections.read_soon(id.slot);
                }
                Wait::ToEnter => {}
            }
        }
    }

    /// Puts a publisher on the list of its channel if it must wait for that, or holds it back until
    /// it may say more; if it need not wait, it is held back no longer. Whether it must wait, for
    /// whatever reason.
    pub(in crate::server) fn hold_back(&mut self, now: Now, id: ConnId) -> bool {
        let wait = self.must_wait(now, id.slot);
        match wait {
            Wait::ForTheChannel(channel) => self.wait_for(id, channel, self.reading.spoke),
            Wait::ForItsRate(paid) => self.wait_for_rate(id, paid),
            // Its time may have come before its deadline has been found.
            Wait::Not => self.connections.end_hold(id.slot),
            Wait::ForItself | Wait::ToEnter => {}
        }
        wait != Wait::Not
    }

    /// Has a connection read again in one of the next turns, or when its channel is opened.
    pub(in crate::server) fn read_later(&mut self, now: Now, id: ConnId, had_its_say: bool) {
        match self.must_wait(now, id.slot) {
            Wait::ForTheChannel(channel) => self.wait_for(id, channel, had_its_say),
            Wait::ForItsRate(paid) => self.wait_for_rate(id, paid),
            Wait::Not | Wait::ForItself => self.connections.read_soon(id.slot),
            // Its client is read on when the wait for the namespace is over.
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

    /// Holds a publisher back until its account allows it to say more, unless it waits already.
    fn wait_for_rate(&mut self, id: ConnId, paid: Paid) {
        self.metrics.speakers_held_back += u64::from(self.connections.hold_back(id.slot, paid));
    }

    /// Has a publisher read that was held back and may say more: in one of the next turns, or
    /// behind those that wait for its channel.
    pub(in crate::server) fn let_speak(&mut self, now: Now, id: ConnId) {
        match self.must_wait(now, id.slot) {
            Wait::ForTheChannel(channel) => self.pause(id, channel, true),
            Wait::Not | Wait::ForItself | Wait::ToEnter | Wait::ForItsRate(_) => {
                self.connections.let_go_on(id.slot);
            }
        }
    }

    pub(super) fn pause(&mut self, id: ConnId, channel: ChannelId, had_its_say: bool) {
        self.connections.pause(id.slot);
        self.hub.channel_mut(channel).pause(id, had_its_say);
    }

    /// Whether a connection that is being read has had its share of that, or has none because it is
    /// not its turn: others that may speak in channels wait to be read, and it came before them
    /// with a request. What backends say waits for nobody.
    pub(in crate::server) fn has_said_enough(&self, slot: u32) -> bool {
        if self.reading.budget.is_read_over() {
            return true;
        }
        let conn = self.connections.conn(slot);
        let may_speak = conn.membership().is_some() || conn.session().is_some();
        self.reading.others_wait && conn.is_publishing() && may_speak
    }

    /// Whether what this connection has to say must wait: for the channel, until it has read
    /// itself, until it may say more, or until its session has entered where it is about to.
    pub(in crate::server) fn must_wait(&self, now: Now, slot: u32) -> Wait {
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
        let channel = if let Some(Membership { channel, .. }) = conn.membership() {
            Some(channel).filter(|channel| held(*channel))
        } else if let Some(session_id) = conn.session() {
            if self.sessions.get(session_id).is_entering() {
                return Wait::ToEnter;
            }
            let mut channels = self.sessions.get(session_id).spaces.iter().map(Space::channel);
            channels.find(|channel| held(*channel))
        } else {
            return Wait::Not;
        };
        if let Some(channel) = channel {
            return Wait::ForTheChannel(channel);
        }
        let Some(rate) = self.settings.limits.message_rate else { return Wait::Not };
        match self.account(slot) {
            Some(paid) if rate.left(now.mono, paid) == 0 => Wait::ForItsRate(paid),
            Some(_) | None => Wait::Not,
        }
    }

    /// How much whoever speaks on this connection has said lately: a session, whatever carries it,
    /// or the connection by itself. `None` if what is said here is nobody's.
    fn account(&self, slot: u32) -> Option<Paid> {
        let conn = self.connections.conn(slot);
        match conn.session() {
            Some(session_id) => Some(self.sessions.get(session_id).paid),
            None => conn.membership().map(|_| self.connections.account(slot)),
        }
    }

    /// Counts one thing that was said on a connection: a frame, or a packet of a POST.
    pub(in crate::server) fn charge(&mut self, now: Now, slot: u32) {
        let Some(rate) = self.settings.limits.message_rate else { return };
        let Some(mut paid) = self.account(slot) else { return };
        rate.take(now.mono, &mut paid);
        match self.connections.conn(slot).session() {
            Some(session_id) => self.sessions.edit(session_id).paid = paid,
            None => self.connections.set_account(slot, paid),
        }
    }

    /// How many things whoever speaks on this connection may say at once. `None` if that is not
    /// limited.
    pub(super) fn may_say(&self, now: Now, slot: u32) -> Option<u32> {
        let rate = self.settings.limits.message_rate?;
        self.account(slot).map(|paid| rate.left(now.mono, paid))
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
    /// The publisher has said as much as `--message-rate` allows, by this account.
    ForItsRate(Paid),
}
