//! Which of its channels a session is sent next, and which it has caught up with or left.
//!
//! The hub decides (`hub/spaces.rs`); here it is done: to the session, its connection and the
//! channel.
//!
//! The surprise: a session on a WebSocket sends from one feed at a time. When the connection has
//! nothing left to send of its current space, it turns to the next that has; a close frame is kept
//! back until each was sent.

use crate::hub::{Rotation, SocketState, Transport, Visit};
use crate::id::{ChannelId, ConnId, SessionId};
use crate::position::Position;
use crate::reason::CloseReason;
use crate::server::{Server, Socket};
use crate::time::Now;

impl<S: Socket> Server<S> {
    /// Who is to send what the sweep of `channel` has found for a session: nobody if it polls, or
    /// if it has to wait.
    pub(in crate::server) fn visit_session(
        &mut self,
        now: Now,
        session_id: SessionId,
        channel: ChannelId,
    ) -> Option<ConnId> {
        let session = self.sessions.get(session_id);
        let (id, socket) = match session.transport {
            Transport::WebSocket(id) => (Some(id), Some(self.socket_state(id.slot))),
            Transport::Polling { .. } => (None, None),
        };
        match session.visit(&self.hub, channel, socket) {
            Visit::Nothing => {}
            Visit::Send => return id,
            Visit::Answer => self.sessions.answer_soon(session_id),
            Visit::Choke => self.hub.choke(&mut self.sessions.edit(session_id), channel),
            Visit::Lapped => {
                if let Some(id) = id {
                    self.lapped(now, id.slot);
                }
            }
            Visit::Overtaken => self.close_lapped(now, session_id, channel),
        }
        None
    }

    /// After sending: the spaces of a session that has caught up count as reading again, and those
    /// that its client has left are left.
    pub(in crate::server) fn recover_spaces(&mut self, now: Now, id: ConnId) {
        let Some(session_id) = self.connections.conn(id.slot).session() else { return };
        if self.sessions.get(session_id).transport != Transport::WebSocket(id) {
            return;
        }
        self.recover_session(session_id);
        let inside = self.connections.conn(id.slot).out.is_inside_record();
        // It may have turned to another space meanwhile.
        while let Some(number) = self.sessions.get(session_id).next_left(inside) {
            self.end_space(now, session_id, number, CloseReason::ClosedByClient);
        }
    }

    /// Counts the spaces that do not lag any more as reading.
    pub(in crate::server) fn recover_session(&mut self, session_id: SessionId) {
        if !self.sessions.get(session_id).spaces.iter().any(|space| space.choked) {
            return;
        }
        let mut session = self.sessions.edit(session_id);
        let connections = &mut self.connections;
        let lent = match session.transport {
            Transport::WebSocket(id) => connections.conn(id.slot).out.cursor(),
            Transport::Polling { .. } => None,
        };
        self.hub.recover(&mut session, lent, |id| connections.resume(id));
    }

    /// When a session's connection has sent everything of its current space: turns to another one
    /// that has something. Whether there was one.
    pub(in crate::server) fn rotate_spaces(&mut self, id: ConnId) -> bool {
        let conn = self.connections.conn(id.slot);
        if conn.out.keeps_close_back() {
            self.rotate_before_close(id);
            return true;
        }
        if !conn.is_open() || conn.out.is_inside_record() {
            return false;
        }
        let (Some(session_id), Some(cursor)) = (conn.session(), conn.out.cursor()) else {
            return false;
        };
        if self.sessions.get(session_id).transport != Transport::WebSocket(id) {
            return false;
        }
        let next = self.sessions.edit(session_id).rotate(&self.hub, cursor);
        let Some(Rotation { channel, dialect, cursor, .. }) = next else { return false };
        self.connections.change(id.slot, |conn| conn.follow(channel, dialect, cursor));
        true
    }

    /// Where a session stands in one of its spaces: behind this message, all are still to be sent,
    /// but for the rest of a record that has begun. `None` if the ring has overtaken the session
    /// there, or if nobody knows any more where in its stream that message stands.
    pub(in crate::server) fn has_read_to(
        &self,
        session_id: SessionId,
        space: usize,
    ) -> Option<Position> {
        let session = self.sessions.get(session_id);
        let channel = session.spaces[space].channel();
        let lent = match session.transport {
            Transport::WebSocket(id) => self.connections.conn(id.slot).out.cursor(),
            Transport::Polling { .. } => None,
        };
        let cursor = session.cursor(space, lent)?;
        let feed = self.hub.feed(channel, session.dialect());
        let channel = self.hub.channel(channel);
        if cursor == feed.mark() {
            // What was appended for other dialects since then is nothing that this one lacks.
            return Some(channel.position());
        }
        channel.position_of(feed.had_at(cursor)?)
    }

    /// Turns to another space before a close frame that is kept back: what each space had when that
    /// was decided is sent, and then the frame goes.
    pub(in crate::server) fn rotate_before_close(&mut self, id: ConnId) {
        let conn = self.connections.conn(id.slot);
        let (session_id, cursor) = (conn.session(), conn.out.cursor());
        let next = session_id.and_then(|session_id| {
            self.sessions.edit(session_id).rotate_before_close(&self.hub, cursor)
        });
        let out = self.connections.out_mut(id.slot);
        match next {
            Some(Rotation { channel, dialect, cursor, head }) => {
                out.turn_closing(channel, dialect, cursor, head);
            }
            None => out.keep_close_back(false),
        }
    }

    /// What a sweep has to know of a connection.
    pub(in crate::server) fn socket_state(&self, slot: u32) -> SocketState {
        let (conn, marks) = (self.connections.conn(slot), self.connections.marks(slot));
        SocketState {
            is_open: conn.is_open(),
            is_blocked: marks.blocked,
            is_lapped: self.is_lapped(slot),
            is_choked: marks.choked,
            cursor: conn.out.cursor(),
        }
    }
}
