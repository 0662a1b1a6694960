//! Socket.IO over Engine.IO sessions: namespaces are channels, events are messages.
//!
//! Packets come by frames of a WebSocket (`transport`) or by the body of a POST, which is taken in
//! here; what answers them goes to the session, whatever carries it.
//!
//! Events of `--events` are appended to the channel, for everyone and the sender, and acknowledged
//! once they are there; others are counted and forgotten. How a namespace is entered and left is in
//! `namespaces`.
//!
//! The surprise: at shutdown it is the transport that is closed, never a namespace. Clients stay
//! away from a namespace that was closed on them.

use crate::conn::{Conn, Purpose, TakenBody};
use crate::hub::{Unfinished, pieces};
use crate::id::{ConnId, SessionId};
use crate::metrics::Unsaid;
use crate::reason::{CloseReason, Farewell};
use crate::server::http::respond::{Answer, NO_STORE};
use crate::server::http::token::Said;
use crate::server::publish::{Outcome, Speaker};
use crate::server::{Server, Socket};
use crate::settings::Events;
use crate::time::Now;
use crate::wire::engine::{self, Data, PacketType, Version};
use crate::wire::socketio::{self, ATTACHMENTS_MAX, Name, Packet};
use crate::{limits, work};

/// What the reference calls the `ok` that answers a POST.
const HTML: Option<&str> = Some("text/html");

impl<S: Socket> Server<S> {
    /// Takes in what a POST has brought, as far as its share of the turn and the channel let it,
    /// and answers it when that is done. A text is checked as a whole before its first packet
    /// counts.
    pub(in crate::server) fn take_posted(&mut self, now: Now, id: ConnId) {
        let Some(mut body) = self.connections.change(id.slot, Conn::take_body) else { return };
        let Purpose::Packets { session: session_id, is_binary } = body.purpose else { return };
        let bytes = self.pool.borrow_out(body.buffer);
        let finished = self.take_packets(now, id, (session_id, is_binary), &mut body, &bytes);
        self.pool.put_back(body.buffer, bytes);
        if !finished && self.connections.change(id.slot, |conn| conn.put_back_body(&body)) {
            // It waits for its turn, perhaps in memory that was there for a moment only.
            if self.pool.is_strained() {
                self.remove(now, id.slot, CloseReason::NoMemory, false);
            }
            return;
        }
        self.pool.give(body.buffer);
        self.forget_post(session_id);
        let answer = Answer::plain(200).with(&[NO_STORE]).of_type(HTML).saying(b"ok");
        self.respond_later(now, id.slot, answer);
    }

    /// Acts on the packets of a body, as far as the connection's share of the turn and the channel
    /// let it. Whether that was all: the end of the body, or of the session.
    fn take_packets(
        &mut self,
        now: Now,
        id: ConnId,
        (session_id, is_binary): (SessionId, bool),
        body: &mut TakenBody,
        bytes: &[u8],
    ) -> bool {
        let version = self.sessions.get(session_id).version;
        let Some(form) = engine::Form::new(version, is_binary) else { return true };
        loop {
            if !self.sessions.contains(session_id) {
                return true;
            }
            // What waits while the reserve is in use is lost, so it is taken in now instead, as far
            // as the turn has something left for that.
            let is_forced = self.pool.is_strained() && self.reading.budget.may_force();
            if self.has_said_enough(id.slot) && !is_forced || self.hold_back(now, id) {
                return false;
            }
            let is_beyond = self.reading.budget.is_read_over();
            if body.at == 0 && engine::check(form, bytes).is_err() {
                self.close_session(now, session_id, CloseReason::ProtocolError, Farewell::Close);
                return true;
            }
            self.reading.budget.spend_units(1);
            work::count(|work| {
                work.packets += 1;
                work.forced += u64::from(is_beyond);
            });
            self.charge(now, id.slot);
            let mut packets = engine::packets_left(form, &bytes[body.at..]);
            match packets.next() {
                None => return true,
                Some(Ok(packet)) => self.take_packet(now, session_id, packet),
                Some(Err(_)) => {
                    self.close_session(
                        now,
                        session_id,
                        CloseReason::ProtocolError,
                        Farewell::Close,
                    );
                }
            }
            let Some(left) = packets.left_bytes() else { return true };
            body.at = bytes.len() - left;
        }
    }

    /// An Engine.IO packet has come for a session, by whatever transport.
    pub(in crate::server) fn take_packet(
        &mut self,
        now: Now,
        session_id: SessionId,
        packet: engine::Packet<'_>,
    ) {
        let version = self.sessions.get(session_id).version;
        let is_pong = packet.kind == PacketType::Pong;
        let answered = self.sessions.edit(session_id).heard(now.mono, is_pong);
        self.metrics.count_pong(answered);
        match (packet.kind, version) {
            (PacketType::Message, _) => self.take_engine_message(now, session_id, packet.data),
            (PacketType::Ping, Version::V3) => self.answer_ping(now, session_id, packet.data),
            (PacketType::Close, _) => {
                let reason = CloseReason::ClosedByClient;
                self.close_session(now, session_id, reason, Farewell::Close);
            }
            (PacketType::Pong | PacketType::Noop, _) => {}
            // In protocol 4 it is the server that pings.
            (PacketType::Ping | PacketType::Open | PacketType::Upgrade, _) => {
                self.fail(now, session_id);
            }
        }
    }

    /// The client broke the protocol: "parse error".
    fn fail(&mut self, now: Now, session_id: SessionId) {
        self.close_session(now, session_id, CloseReason::ProtocolError, Farewell::Close);
    }

    fn answer_ping(&mut self, now: Now, session_id: SessionId, data: Data<'_>) {
        let text = if let Data::Text(text) = data { text } else { "" };
        self.say(now, session_id, [&[PacketType::Pong.digit()], text.as_bytes()]);
    }

    fn take_engine_message(&mut self, now: Now, session_id: SessionId, data: Data<'_>) {
        match data {
            Data::Text(text) => {
                let version = self.sessions.get(session_id).version;
                let packet = self.sessions.edit(session_id).decoder.text(version, text);
                match packet {
                    Ok(packet) if packet.attachments > 0 => {
                        self.keep_unfinished(now, session_id, text);
                    }
                    Ok(packet) => self.take_socketio(now, session_id, &packet, &[]),
                    Err(_) => self.fail(now, session_id),
                }
            }
            Data::Binary(bytes) => self.take_attachment(now, session_id, bytes.len(), |out| {
                out.extend_from_slice(bytes);
                Ok(())
            }),
            Data::Base64(coded) => {
                self.take_attachment(now, session_id, coded.bytes_max(), |out| {
                    coded.append_to(out)
                });
            }
        }
    }

    /// Keeps the text of a packet until its attachments have come.
    fn keep_unfinished(&mut self, now: Now, session_id: SessionId, text: &str) {
        let Some(unfinished) = Unfinished::new(&mut self.pool, text) else {
            return self.close_session(now, session_id, CloseReason::NoMemory, Farewell::Close);
        };
        let owed = self.sessions.edit(session_id).unfinished.replace(unfinished);
        assert!(owed.is_none(), "the decoder refuses a text while attachments are owed");
    }

    /// An attachment has come, which `write` appends: at most `bytes_max`.
    fn take_attachment(
        &mut self,
        now: Now,
        session_id: SessionId,
        bytes_max: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), engine::Error>,
    ) {
        match self.add_attachment(session_id, bytes_max, write) {
            Ok(true) => self.finish_unfinished(now, session_id),
            Ok(false) => {}
            Err(reason) => self.close_session(now, session_id, reason, Farewell::Close),
        }
    }

    /// Puts an attachment to the event that it belongs to. Returns whether it was the last.
    fn add_attachment(
        &mut self,
        session_id: SessionId,
        bytes_max: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), engine::Error>,
    ) -> Result<bool, CloseReason> {
        let session = &mut *self.sessions.edit(session_id);
        let last = session.decoder.binary().map_err(|_| CloseReason::ProtocolError)?;
        let unfinished = session.unfinished.as_mut().ok_or(CloseReason::ProtocolError)?;
        let added = unfinished.add(&mut self.pool, bytes_max, write);
        added.ok_or(CloseReason::NoMemory)?.map_err(|_| CloseReason::ProtocolError)?;
        let held = pieces(self.pool.bytes(unfinished.buffer()));
        let bytes: usize = held.map(<[u8]>::len).sum();
        if bytes as u64 > self.settings.limits.message_bytes_max {
            return Err(CloseReason::MessageTooBig);
        }
        Ok(last)
    }

    /// The last attachment has come.
    fn finish_unfinished(&mut self, now: Now, session_id: SessionId) {
        let version = self.sessions.get(session_id).version;
        let unfinished = self.sessions.edit(session_id).unfinished.take();
        let Some(buffer) = unfinished.map(Unfinished::buffer) else { return };
        let bytes = self.pool.borrow_out(buffer);
        let mut held = pieces(&bytes);
        let text = held.next().and_then(|text| core::str::from_utf8(text).ok());
        let mut attachments: [&[u8]; ATTACHMENTS_MAX] = [&[]; ATTACHMENTS_MAX];
        let count = attachments.iter_mut().zip(held).map(|(place, piece)| *place = piece).count();
        if let Some(packet) = text.and_then(|text| socketio::decode(version, text).ok()) {
            self.take_socketio(now, session_id, &packet, &attachments[..count]);
        }
        self.pool.put_back(buffer, bytes);
        self.pool.give(buffer);
    }

    /// A whole Socket.IO packet.
    fn take_socketio(
        &mut self,
        now: Now,
        session_id: SessionId,
        packet: &Packet<'_>,
        attachments: &[&[u8]],
    ) {
        match packet.kind {
            socketio::PacketType::Connect => {
                let said = Said { payload: packet.payload, query: packet.query };
                self.enter(now, session_id, packet.namespace, said);
            }
            socketio::PacketType::Disconnect => {
                self.reading.budget.spend_units(limits::JOIN_UNITS);
                work::count(|work| work.joins += 1);
                if let Some(space) = self.space_of(session_id, packet.namespace) {
                    self.leave_space(now, session_id, space);
                }
            }
            socketio::PacketType::Event | socketio::PacketType::BinaryEvent => {
                match self.space_of(session_id, packet.namespace) {
                    Some(space) => self.take_event(now, session_id, space, packet, attachments),
                    // The reference of protocol 5 closes the connection, that of 4 shrugs.
                    None if self.sessions.get(session_id).version == Version::V4 => {
                        self.fail(now, session_id);
                    }
                    None => {}
                }
            }
            // Nothing of ours asks for an answer, and clients do not refuse us.
            socketio::PacketType::Ack
            | socketio::PacketType::BinaryAck
            | socketio::PacketType::ConnectError => {}
        }
    }

    fn take_event(
        &mut self,
        now: Now,
        session_id: SessionId,
        space: usize,
        packet: &Packet<'_>,
        attachments: &[&[u8]],
    ) {
        let Some(event) = packet.event() else { return };
        let relayed = match (&self.settings.events, event.name) {
            _ if socketio::is_ours(&event.name) => false,
            (Events::All, _) => true,
            (Events::Named(_), Name::Number) => false,
            (Events::Named(names), Name::Text(name)) => names.iter().any(|listed| name == **listed),
        };
        if !relayed {
            self.metrics.count_unsaid(Unsaid::NotRelayed);
            return;
        }
        let channel = self.sessions.get(session_id).spaces[space].channel();
        let speaker = Speaker::Session(session_id, packet.id);
        match self.publish_event(now, speaker, channel, &event, attachments) {
            // Who may only listen is not acknowledged either.
            Outcome::Published { .. } | Outcome::Deferred(_) | Outcome::MayNotSpeak => {}
            Outcome::Refused(error) => {
                let reason = error.reason();
                self.close_session(now, session_id, reason, Farewell::Close);
            }
        }
    }
}
