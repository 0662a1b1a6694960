//! How a membership in a channel ends, for connections that are members by themselves (plain
//! WebSockets, event streams) and for the spaces of sessions alike.
//!
//! Leaves to others: how one begins (`admission`), what else ends with it (`ending`).
//!
//! The surprise: where one member leaves, another moves in the channel's list, and so has another
//! index from then on.

use crate::hub::Holder;
use core::net::SocketAddr;

use super::{Event, Server, Socket};
use crate::conn::Conn;
use crate::feed::Mark;
use crate::hub::Moved;
use crate::id::{ChannelId, ConnId, Dialect, Reader};
use crate::membership::Membership;
use crate::reason::CloseReason;
use crate::time::{Instant, Now};

/// A membership that ends, with what there is to know of the member.
pub(super) struct Ending {
    pub(super) membership: Membership,
    pub(super) dialect: Dialect,
    pub(super) client: SocketAddr,
    /// When the membership began.
    pub(super) since: Instant,
    /// How far the member was sent the channel's messages; `None` if nothing is known.
    pub(super) cursor: Option<Mark>,
    /// Whether the member is counted among the choked.
    pub(super) is_choked: bool,
    /// The connections by which the member publishes, which the channel may hold back.
    pub(super) publishers: [Option<ConnId>; 2],
}

impl<S: Socket> Server<S> {
    /// Ends a membership and says so. The channel waits for the member no more, nor does the member
    /// for the channel.
    pub(super) fn end_membership(&mut self, now: Now, ending: &Ending, reason: CloseReason) {
        let Membership { channel, index, .. } = ending.membership;
        if ending.is_choked {
            self.uncount_choked_in(channel);
        }
        for id in ending.publishers.into_iter().flatten() {
            if self.connections.is_to_read(id.slot) && self.hub.channel_mut(channel).forget(id) {
                // What it has to say may be for another channel, or is to be discarded.
                self.connections.unpause(id.slot);
                self.connections.read_soon(id.slot);
            }
        }
        let name = self.hub.channel(channel).name().into();
        self.leave(now, channel, index, ending.dialect);
        let messages_out = ending.cursor.map_or(0, |cursor| ending.membership.messages_out(cursor));
        self.events.push(
            &mut self.pool,
            Event::Closed {
                client: ending.client,
                channel: name,
                reason,
                duration: now.mono.since(ending.since),
                messages_in: ending.membership.messages_in(),
                messages_out,
            },
        );
    }

    /// Gives a place in a channel up, and tells the member that fills the gap.
    pub(in crate::server) fn leave(
        &mut self,
        now: Now,
        channel: ChannelId,
        index: u32,
        dialect: Dialect,
    ) {
        let connections = &mut self.connections;
        let resume = |id| connections.resume(id);
        let place = (channel, index);
        let moved = self.hub.leave(&mut self.pool, now.mono, place, dialect, resume);
        let Some(Moved { member, index }) = moved else { return };
        match member.reader() {
            Reader::Conn(slot) => self.connections.set_index(slot, index),
            Reader::Session(slot) => {
                let mut session = self.sessions.edit(self.sessions.id(slot));
                if let Some(space) = session.spaces.find(channel) {
                    session.spaces[space].membership.index = index;
                }
            }
        }
    }

    /// Takes a connection that is a member by itself out of its channel.
    pub(super) fn end_member(
        &mut self,
        now: Now,
        slot: u32,
        (membership, dialect): (Membership, Dialect),
        reason: CloseReason,
    ) {
        let is_choked = self.connections.take_choked(slot);
        let conn = self.connections.conn(slot);
        let ending = Ending {
            membership,
            dialect,
            client: conn.client().address(),
            since: conn.opened_at(),
            cursor: conn.out.cursor(),
            is_choked,
            publishers: [Some(self.connections.id(slot)), None],
        };
        self.connections.set_told(slot);
        self.end_membership(now, &ending, reason);
        // The role ends with the membership, so that nobody takes it for a member any more.
        self.connections.change(slot, Conn::orphan);
        self.uncount_session(self.holder(slot));
    }

    /// Counts a connection that is a member by itself, and has caught up, as reading again.
    pub(super) fn uncount_choked(&mut self, slot: u32) {
        if let Some(membership) = self.connections.conn(slot).membership()
            && self.connections.take_choked(slot)
        {
            self.uncount_choked_in(membership.channel);
        }
    }

    fn uncount_choked_in(&mut self, channel: ChannelId) {
        let connections = &mut self.connections;
        self.hub.channel_mut(channel).uncount_choked(|id| connections.resume(id));
    }

    /// On whose account a connection's session is, and what that brings into being.
    pub(in crate::server) fn holder(&self, slot: u32) -> Holder {
        let conn = self.connections.conn(slot);
        let address = self.hub.shares().address(conn.client().ip());
        Holder { address, is_proxy: conn.is_proxy(&self.settings) }
    }

    pub(in crate::server) fn uncount_session(&mut self, holder: Holder) {
        self.session_count -= 1;
        self.hub.shares_mut().remove_session(holder);
    }
}
