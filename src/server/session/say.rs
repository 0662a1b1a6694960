//! What a session's client is told by Engine.IO packets of its own, whatever carries the session.
//!
//! On a WebSocket a packet becomes own bytes of the connection; a session that polls keeps it, as
//! the frame that it would be, for its next poll.
//!
//! The surprise: who makes the server say much and takes nothing of it ends. Nothing is dropped in
//! silence.

use crate::hub::{OWN_BYTES_MAX, Transport};
use crate::id::{ChannelId, ConnId, SessionId};
use crate::outbound::CloseFrame;
use crate::pool::BufferId;
use crate::reason::{CloseReason, Farewell};
use crate::server::{Server, Socket};
use crate::time::Now;
use crate::wire::engine::PacketType;
use crate::wire::socketio;
use crate::wire::ws::{self, Kind};

impl<S: Socket> Server<S> {
    /// Tells the client one text packet of Engine.IO, given in two pieces: on its WebSocket, or by
    /// its next poll.
    pub(in crate::server) fn say(
        &mut self,
        now: Now,
        session_id: SessionId,
        [first, rest]: [&[u8]; 2],
    ) {
        if !self.sessions.contains(session_id) {
            return;
        }
        let packet_bytes = first.len() + rest.len();
        let mut header = [0; ws::HEADER_BYTES_MAX];
        let header_bytes = ws::header(Kind::Text, packet_bytes, &mut header);
        let frame = [&header[..header_bytes], first, rest];
        let session = self.sessions.get(session_id);
        if let Transport::WebSocket(id) = session.transport {
            return self.say_on(now, id, &frame);
        }
        let waits = session.own.map_or(0, |own| self.pool.bytes(own).len());
        let reason = if waits + packet_bytes > OWN_BYTES_MAX {
            CloseReason::TooSlow
        } else {
            let own = session.own.or_else(|| self.pool.take(header_bytes + packet_bytes));
            let told = own.map(|mut own| (self.pool.append_all(&mut own, &frame), own));
            self.sessions.edit(session_id).own = told.map(|(_, own)| own);
            if let Some((true, _)) = told {
                return self.sessions.answer_soon(session_id);
            }
            CloseReason::NoMemory
        };
        self.close_session(now, session_id, reason, Farewell::Close);
    }

    /// Tells the client a text packet of Engine.IO that `write` appends to an empty buffer, at most
    /// `bytes_max` bytes long.
    pub(in crate::server) fn say_written(
        &mut self,
        now: Now,
        session_id: SessionId,
        bytes_max: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(buffer) = self.pool.take_briefly(bytes_max) else {
            return self.close_session(now, session_id, CloseReason::NoMemory, Farewell::Close);
        };
        let mut packet = self.pool.borrow_out(buffer);
        write(&mut packet);
        debug_assert!(packet.len() <= bytes_max, "what is written is bounded");
        self.say(now, session_id, [&packet, &[]]);
        self.pool.put_back(buffer, packet);
        self.pool.give(buffer);
    }

    /// Queues own bytes on a WebSocket, all of the pieces or none; none any more if it is closing.
    pub(in crate::server) fn say_on(&mut self, now: Now, id: ConnId, parts: &[&[u8]]) {
        if !self.connections.conn(id.slot).is_open() {
            return;
        }
        let is_queued = self.connections.out_mut(id.slot).push_own_parts(&mut self.pool, parts);
        self.send_or_close(now, id, is_queued);
    }

    /// Gives a WebSocket the buffer with what has waited for a poll, which needs no memory unless
    /// something of its own waits already.
    pub(in crate::server) fn hand_over(&mut self, now: Now, id: ConnId, own: BufferId) {
        if !self.connections.conn(id.slot).is_open() {
            return self.pool.give(own);
        }
        let is_queued = self.connections.out_mut(id.slot).take_own(&mut self.pool, own);
        self.send_or_close(now, id, is_queued);
    }

    /// Sends what was queued on a WebSocket, or closes it if there was no memory for that.
    fn send_or_close(&mut self, now: Now, id: ConnId, is_queued: bool) {
        if is_queued {
            self.connections.send_soon(id.slot);
        } else {
            let reason = CloseReason::NoMemory;
            self.close(now, id.slot, CloseFrame::Reason(reason), reason);
        }
    }

    /// Tells a client that its event is in the channel.
    pub(in crate::server) fn acknowledge(
        &mut self,
        now: Now,
        session_id: SessionId,
        channel: ChannelId,
        number: u64,
    ) {
        self.reading.budget.spend_units(1);
        let namespace_bytes = self.hub.channel(channel).namespace().len();
        let bytes_max = 1 + namespace_bytes + socketio::ANSWER_BYTES_MAX;
        let Some(buffer) = self.pool.take_briefly(bytes_max) else {
            return self.close_session(now, session_id, CloseReason::NoMemory, Farewell::Close);
        };
        let mut ack = self.pool.borrow_out(buffer);
        ack.push(PacketType::Message.digit());
        socketio::acknowledgement(self.hub.channel(channel).namespace(), number, &mut ack);
        self.say(now, session_id, [&ack, &[]]);
        self.pool.put_back(buffer, ack);
        self.pool.give(buffer);
    }
}
