//! What carries a session: the frames of its WebSocket, and upgrades from polls to one.
//!
//! An upgrade is a WebSocket that takes the session over. Most clients have it prove itself before
//! that; those that do not begin with the last step:
//!
//! ```text
//!   client               WebSocket       poll
//!     │  GET …websocket&sid  ──►  101      │ held
//!     │  2probe  ─────────────►  3probe    │ ──► 6 (or data): the client stops polling
//!     │  5  ──────────────────►  from here on everything goes here; a poll gets 6 (or data)
//! ```
//!
//! The surprise: what waits for a session between two polls are whole frames, so the new WebSocket
//! is given their buffer as it is.

use crate::hub::Transport;
use crate::id::{ConnId, SessionId};
use crate::outbound::CloseFrame;
use crate::reason::CloseReason;
use crate::server::{Server, Socket};
use crate::time::Now;
use crate::wire::engine;
use crate::wire::ws::Kind;

impl<S: Socket> Server<S> {
    /// A frame has come on a WebSocket that carries a session, or wants to.
    pub(in crate::server) fn take_frame(
        &mut self,
        now: Now,
        id: ConnId,
        session_id: SessionId,
        kind: Kind,
        bytes: &[u8],
    ) {
        let session = self.sessions.get(session_id);
        let Ok(packet) = engine::Packet::from_frame(session.version, kind, bytes) else {
            let reason = CloseReason::ProtocolError;
            return self.close(now, id.slot, CloseFrame::Reason(reason), reason);
        };
        if session.upgrade.is_some_and(|upgrade| upgrade.conn == id) {
            self.take_upgrade_packet(now, id, session_id, packet);
        } else {
            self.take_packet(now, session_id, packet);
        }
    }

    fn take_upgrade_packet(
        &mut self,
        now: Now,
        id: ConnId,
        session_id: SessionId,
        packet: engine::Packet<'_>,
    ) {
        match (packet.kind, packet.data) {
            (engine::PacketType::Ping, engine::Data::Text("probe")) => {
                self.stop_polling(session_id);
                self.say_on(now, id, &[b"\x81\x063probe"]);
                // The client finishes only when its poll has come back.
                self.sessions.answer_soon(session_id);
            }
            (engine::PacketType::Upgrade, _) => self.finish_upgrade(now, id, session_id),
            _ => {
                let reason = CloseReason::ProtocolError;
                self.close(now, id.slot, CloseFrame::Reason(reason), reason);
            }
        }
    }

    /// From now on a poll is answered at once, if need be with a packet that says nothing.
    fn stop_polling(&mut self, session_id: SessionId) {
        if let Some(upgrade) = &mut self.sessions.edit(session_id).upgrade {
            upgrade.probed = true;
        }
    }

    fn finish_upgrade(&mut self, now: Now, id: ConnId, session_id: SessionId) {
        // A client that does not wait for its poll gets it back all the same, and so does one that
        // has sent no probe.
        self.stop_polling(session_id);
        self.answer_poll(now, session_id);
        if let Transport::Polling { posting: Some(post), .. } =
            self.sessions.get(session_id).transport
        {
            // Nor does it wait for what it posts: that is told not to have come.
            self.forget_post(session_id);
            self.answer_last(now, post, 400);
        }
        let own = self.sessions.edit(session_id).take_over(id);
        let session = self.sessions.get(session_id);
        let dialect = session.dialect();
        let first = session.spaces.first().map(|space| (space.channel(), space.cursor));
        if let Some((channel, cursor)) = first {
            self.connections.change(id.slot, |conn| conn.follow(channel, dialect, cursor));
        }
        if let Some(own) = own {
            self.hand_over(now, id, own);
        }
        self.connections.send_soon(id.slot);
    }
}
