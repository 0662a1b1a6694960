//! Namespaces of a session: how its client enters one, which is a channel, and leaves it.
//!
//! Leaves to others: the packets that ask for it (`packets`), whether there is room and who is told
//! (`admission`), how a membership ends (`members`).
//!
//! The surprise: a client that has left a namespace may still be in it for a moment, since what its
//! connection is in the middle of is finished first.

use crate::hub::{
    DEFAULT_CHANNEL, JoinError, Newcomer, SPACES_MAX, Space, Transport, Wish, is_channel_name,
};
use crate::id::{Member, Reader, SessionId};
use crate::reason::CloseReason;
use crate::server::admission::why;
use crate::server::{Event, Server, Socket};
use crate::time::Now;
use crate::wire::engine::{PacketType, SID_RANDOM_BYTES, Sid};
use crate::wire::socketio;
use crate::{limits, work};
use chacha20::rand_core::Rng;

/// The channel that a namespace is. `/default` would be a second name for `/`.
fn channel_of(namespace: &str) -> Option<&str> {
    match namespace.strip_prefix('/')? {
        "" => Some(DEFAULT_CHANNEL),
        DEFAULT_CHANNEL => None,
        name => is_channel_name(name).then_some(name),
    }
}

impl<S: Socket> Server<S> {
    /// The number of the session's space in a namespace that it is in.
    pub(in crate::server) fn space_of(&self, session: SessionId, namespace: &str) -> Option<usize> {
        let space = self.space_left_or_not(session, namespace)?;
        (!self.sessions.get(session).spaces[space].leaving).then_some(space)
    }

    /// The number of the session's space in a namespace, also of one that the client has left while
    /// the connection is in the middle of one of its records.
    fn space_left_or_not(&self, session: SessionId, namespace: &str) -> Option<usize> {
        let channel = self.hub.find(channel_of(namespace)?)?;
        self.sessions.get(session).spaces.find(channel)
    }

    /// Enters a namespace, or says why not.
    pub(in crate::server) fn enter(&mut self, now: Now, session: SessionId, namespace: &str) {
        if !self.sessions.contains(session) {
            return;
        }
        let version = self.sessions.get(session).version;
        let bytes_max = 1 + namespace.len() + socketio::ANSWER_BYTES_MAX;
        if let Some(space) = self.space_left_or_not(session, namespace) {
            // Twice is once; the client that asks again is told again, and stays if it was leaving.
            self.sessions.edit(session).spaces[space].leaving = false;
        } else if let Err(why) = self.join_space(now, session, namespace) {
            return self.say_written(now, session, bytes_max, |packet| {
                packet.push(PacketType::Message.digit());
                socketio::refused(version, namespace, why, packet);
            });
        }
        self.reading.budget.spend_units(limits::JOIN_UNITS);
        work::count(|work| work.joins += 1);
        let mut random = [0; SID_RANDOM_BYTES];
        self.random.fill_bytes(&mut random);
        let sid = Sid::new(random);
        self.say_written(now, session, bytes_max, |packet| {
            packet.push(PacketType::Message.digit());
            socketio::connected(version, namespace, sid.as_str(), None, packet);
        });
    }

    fn join_space(
        &mut self,
        now: Now,
        session: SessionId,
        namespace: &str,
    ) -> Result<(), &'static str> {
        let name = channel_of(namespace).ok_or("Invalid namespace")?;
        if self.sessions.get(session).spaces.len() >= SPACES_MAX {
            return Err("Too many namespaces");
        }
        if !self.sessions.edit(session).spaces.make_room(&mut self.pool) {
            return Err("Out of memory");
        }
        let entry = self.sessions.get(session);
        let (dialect, holder, client) = (entry.dialect(), entry.holder, entry.client.address());
        let member = Member::new(Reader::Session(session.slot));
        let newcomer = Newcomer { member, dialect, holder, wish: Wish::default() };
        let (membership, start) = self.begin_membership(now, name, newcomer).map_err(|error| {
            self.sessions.edit(session).spaces.settle(&mut self.pool);
            self.events.push(&mut self.pool, Event::Refused { client, why: why(error) });
            match error {
                JoinError::TooManyChannels => "Too many channels",
                JoinError::NoMemory => "Out of memory",
                JoinError::TooManyOfAddress => "Too many channels from this address",
                JoinError::NoMemoryOfAddress => "Too much memory for channels of this address",
            }
        })?;
        self.sessions.entered(session);
        let mut entry = self.sessions.edit(session);
        entry.spaces.push(Space {
            membership,
            cursor: start.mark,
            opened_at: now.mono,
            choked: false,
            leaving: false,
            finished: false,
        });
        if let (Transport::WebSocket(id), 1) = (entry.transport, entry.spaces.len()) {
            self.connections
                .change(id.slot, |conn| conn.follow(membership.channel, dialect, start.mark));
        }
        self.events.push(&mut self.pool, Event::Opened { client, channel: name.into() });
        Ok(())
    }

    /// The client leaves a namespace. What its connection is in the middle of is finished first.
    pub(in crate::server) fn leave_space(&mut self, now: Now, session: SessionId, space: usize) {
        let entry = self.sessions.get(session);
        if let Transport::WebSocket(id) = entry.transport
            && entry.spaces.current() == space
        {
            let conn = self.connections.conn(id.slot);
            if conn.out.is_inside_record() {
                self.sessions.edit(session).spaces[space].leaving = true;
                return;
            }
        }
        self.end_space(now, session, space, CloseReason::ClosedByClient);
    }
}
