//! What carries a session: its WebSocket, upgrades from polls to one, and the session's end.
//!
//! An upgrade is a WebSocket that proves itself before it takes the session over:
//!
//! ```text
//!   client               WebSocket       poll
//!     │  GET …websocket&sid  ──►  101      │ held
//!     │  2probe  ─────────────►  3probe    │ ──► 6 (or data): the client stops polling
//!     │  5  ──────────────────►  from here on everything goes here
//! ```
//!
//! The surprise: a session on a WebSocket ends later than it is closed. It lasts until the close
//! frame has gone, behind what was published before.

use crate::conn::Conn;
use crate::hub::Transport;
use crate::id::{ConnId, SessionId};
use crate::outbound::CloseFrame;
use crate::reason::{CloseReason, Farewell};
use crate::server::{Event, Server, Socket};
use crate::time::Now;
use crate::wire::engine;
use crate::wire::ws::Kind;

impl<S: Socket> Server<S> {
    /// Queues own bytes on a WebSocket, all of the pieces or none; none any more if it is closing.
    pub(in crate::server) fn say_on(&mut self, now: Now, id: ConnId, parts: &[&[u8]]) {
        if !self.connections.conn(id.slot).is_open() {
            return;
        }
        if self.connections.out_mut(id.slot).push_own_parts(&mut self.pool, parts) {
            self.connections.send_soon(id.slot);
        } else {
            let reason = CloseReason::NoMemory;
            self.close(now, id.slot, CloseFrame::Reason(reason), reason);
        }
    }

    /// A frame has come on a WebSocket that carries a session, or wants to.
    pub(in crate::server) fn take_frame(
        &mut self,
        now: Now,
        id: ConnId,
        session: SessionId,
        kind: Kind,
        bytes: &[u8],
    ) {
        let entry = self.sessions.get(session);
        let Ok(packet) = engine::Packet::from_frame(entry.version, kind, bytes) else {
            let reason = CloseReason::ProtocolError;
            return self.close(now, id.slot, CloseFrame::Reason(reason), reason);
        };
        if entry.upgrade.is_some_and(|upgrade| upgrade.conn == id) {
            self.take_upgrade_packet(now, id, session, packet);
        } else {
            self.take_packet(now, session, packet);
        }
    }

    fn take_upgrade_packet(
        &mut self,
        now: Now,
        id: ConnId,
        session: SessionId,
        packet: engine::Packet<'_>,
    ) {
        let probed = self.sessions.get(session).upgrade.is_some_and(|upgrade| upgrade.probed);
        match (packet.kind, packet.data) {
            (engine::PacketType::Ping, engine::Data::Text("probe")) => {
                if let Some(upgrade) = &mut self.sessions.edit(session).upgrade {
                    upgrade.probed = true;
                }
                self.say_on(now, id, &[b"\x81\x063probe"]);
                // The client finishes only when its poll has come back.
                self.sessions.answer_soon(session);
            }
            (engine::PacketType::Upgrade, _) if probed => self.finish_upgrade(now, id, session),
            _ => {
                let reason = CloseReason::ProtocolError;
                self.close(now, id.slot, CloseFrame::Reason(reason), reason);
            }
        }
    }

    fn finish_upgrade(&mut self, now: Now, id: ConnId, session: SessionId) {
        // A client that does not wait for its poll gets it back all the same.
        self.answer_poll(now, session);
        if let Transport::Polling { posting: Some(post), .. } = self.sessions.get(session).transport
        {
            // Nor does it wait for what it posts: that is told not to have come.
            self.forget_post(session);
            self.answer_last(now, post, 400);
        }
        let own = self.sessions.edit(session).take_over(id);
        let entry = self.sessions.get(session);
        let dialect = entry.dialect();
        let first = entry.spaces.first().map(|space| (space.channel(), space.cursor));
        if let Some((channel, cursor)) = first {
            self.connections.change(id.slot, |conn| conn.follow(channel, dialect, cursor));
        }
        if let Some(own) = own.filter(|own| self.pool.bytes(*own).is_empty()) {
            self.pool.give(own);
        } else if let Some(own) = own {
            let bytes = self.pool.borrow_out(own);
            self.say_on(now, id, &[&bytes]);
            self.pool.put_back(own, bytes);
            self.pool.give(own);
        }
        self.connections.send_soon(id.slot);
    }

    /// A connection that carried a session, or wanted to, is gone.
    pub(in crate::server) fn carrier_gone(
        &mut self,
        now: Now,
        session: SessionId,
        id: ConnId,
        reason: CloseReason,
    ) {
        if !self.sessions.edit(session).lose(id) {
            self.close_session(now, session, reason, Farewell::None);
        }
        self.connections.change(id.slot, Conn::orphan);
    }

    /// A WebSocket was told to close: if a session is carried by it, that waits for nothing else.
    pub(in crate::server) fn begin_close_of_session(&mut self, slot: u32) {
        let id = self.connections.id(slot);
        let Some(session) = self.connections.conn(slot).session() else { return };
        let entry = self.sessions.get(session);
        // What was published in the other namespaces comes before the frame, too.
        let several = entry.spaces.len() > 1;
        if entry.transport == Transport::WebSocket(id) && self.sessions.begin_close(session) {
            self.connections.out_mut(slot).keep_close_back(several);
        }
    }

    /// Ends a session: its places, its transport, its name. On a WebSocket that can still be told,
    /// it lasts until the close frame has gone, behind what was published before: that frame may
    /// not stand inside of a record.
    pub(in crate::server) fn close_session(
        &mut self,
        now: Now,
        session: SessionId,
        reason: CloseReason,
        farewell: Farewell,
    ) {
        if !self.sessions.contains(session) {
            return;
        }
        if let (Transport::WebSocket(id), Farewell::Close) =
            (self.sessions.get(session).transport, farewell)
        {
            return self.close(now, id.slot, farewell_frame(reason), reason);
        }
        while !self.sessions.get(session).spaces.is_empty() {
            self.end_space(now, session, 0, reason);
        }
        let entry = self.sessions.get(session);
        let (transport, upgrade, client) = (entry.transport, entry.upgrade, entry.client);
        let holder = entry.holder;
        match transport {
            Transport::WebSocket(id) if farewell == Farewell::Cut => {
                self.connections.change(id.slot, Conn::orphan);
                self.remove(now, id.slot, reason, true);
            }
            Transport::WebSocket(_) => {}
            Transport::Polling { held, posting } => {
                if let Some(id) = held {
                    // A client that has closed the session itself is answered with nothing.
                    let body = if reason == CloseReason::ClosedByClient {
                        engine::noop_body(entry.version)
                    } else {
                        engine::close_body(entry.version)
                    };
                    self.send_poll(now, session, id, body);
                }
                // Whoever takes in what this request brought answers it.
                let taken_in = |id: &ConnId| self.connections.conn(id.slot).is_taken_in();
                if let Some(id) = posting.filter(|id| !taken_in(id)) {
                    self.answer_last(now, id, 400);
                }
            }
        }
        if let Some(upgrade) = upgrade {
            self.let_go(now, upgrade.conn, reason);
        }
        if let Some(duration) = self.sessions.get(session).unconnected_for(now.mono) {
            let client = client.address();
            self.metrics.count_closed(reason);
            self.events.push(&mut self.pool, Event::Unentered { client, reason, duration });
        }
        self.sessions.end(&mut self.pool, session);
        self.uncount_session(holder);
    }

    /// Closes a WebSocket whose session does without it from now on.
    pub(in crate::server) fn let_go(&mut self, now: Now, id: ConnId, reason: CloseReason) {
        self.connections.change(id.slot, Conn::orphan);
        self.close(now, id.slot, farewell_frame(reason), reason);
    }
}

fn farewell_frame(reason: CloseReason) -> CloseFrame {
    match reason.close_frame() {
        Some(_) => CloseFrame::Reason(reason),
        None => CloseFrame::Empty,
    }
}
