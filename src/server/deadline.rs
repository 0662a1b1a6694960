//! Deadlines that were reached: of connections, of sessions, of channels that are waited for.
//!
//! What a deadline asks for is decided by the connection or the session; here it is found out
//! whether it still does. After a sleep of the machine deadlines come before what has arrived
//! meanwhile, so nobody is given up for silence whose words wait to be read.

use super::io::turns::Wait;
use super::{Server, Socket};
use crate::conn::{Conn, Step};
use crate::hub::{Due, Transport};
use crate::id::{ConnId, SessionId};
use crate::limits;
use crate::outbound::CloseFrame;
use crate::reason::{CloseReason, Farewell};
use crate::time::Now;

impl<S: Socket> Server<S> {
    pub(super) fn expire(&mut self, now: Now) {
        // First, so that nobody is found silent who was not listened to.
        let connections = &mut self.connections;
        self.hub.expire_graces(now.mono, |id| connections.resume(id));
        self.hub.expire_channels(&mut self.pool, now.mono);
        self.give_publishers_up(now);
        self.repeats.expire(&mut self.pool, now.mono);
        for _ in 0..limits::SENDS_PER_TURN {
            let Some(id) = self.connections.expire(now.mono) else { break };
            if self.connections.may_go_on(id.slot, now.mono) {
                self.let_speak(now, id);
            }
            if !self.lapped(now, id.slot) {
                self.attend_to(now, id);
                self.timeout(now, id);
            }
        }
        for _ in 0..limits::SENDS_PER_TURN {
            let Some((session_id, due)) = self.sessions.expire(now.mono) else { break };
            self.session_timeout(now, session_id, due);
        }
    }

    /// A connection's time has come, as it seemed: what was just done for it, or the bytes of its
    /// peer, may have put the deadline off since it was set.
    fn timeout(&mut self, now: Now, id: ConnId) {
        if self.connections.has_stayed(id.slot, now.mono) {
            let reason = CloseReason::GoingAway;
            return self.close(now, id.slot, CloseFrame::Reason(reason), reason);
        }
        let is_read_later = self.is_read_later(now, id.slot);
        if is_read_later {
            self.connections.change(id.slot, |conn| conn.speaks_later(now.mono));
        }
        if !self.connections.is_due(id.slot, now.mono) {
            return self.change(now, id.slot, |_, _| {});
        }
        let step = self.change(now, id.slot, Conn::handle_timeout);
        let vanished = matches!(step, Step::Cut(CloseReason::PingTimeout));
        if !vanished || !self.hear_once_more(now, id) {
            self.apply(now, id, step);
        }
    }

    /// Does what the kernel has said to be possible and what only waits for its turn: a deadline is
    /// about what the peer has not done, not about what we have not. Not if that would put a
    /// publisher in front of others: what it has said counts as heard.
    fn attend_to(&mut self, now: Now, id: ConnId) {
        if self.connections.is_to_send(id.slot) {
            self.flush(now, id);
        }
        let is_publishing = self.connections.conn(id.slot).is_publishing();
        let is_readable = self.connections.marks(id.slot).readable;
        if self.connections.is_to_read(id.slot) && is_readable && !is_publishing {
            self.read(now, id);
        }
    }

    /// A last look at a socket whose peer seems to have vanished: after the machine has slept,
    /// what everybody has sent meanwhile waits to be read, and deadlines come before most of it.
    /// Returns whether the peer was heard, or may be before long; else its silence is proven.
    fn hear_once_more(&mut self, now: Now, id: ConnId) -> bool {
        !self.listen_to(now, id) || !self.connections.is_due(id.slot, now.mono)
    }

    /// A session's time has come.
    fn session_timeout(&mut self, now: Now, session_id: SessionId, due: Due) {
        match due {
            Due::Nothing => {}
            Due::Ping => {
                self.metrics.pings += 1;
                self.say(now, session_id, [b"2", b""]);
            }
            Due::Gone if self.hear_session_once_more(now, session_id) => {}
            Due::Gone => {
                self.close_session(now, session_id, CloseReason::PingTimeout, Farewell::Cut);
            }
            Due::Unconnected => {
                self.close_session(now, session_id, CloseReason::Silent, Farewell::Close);
            }
            Due::Expired => {
                self.close_session(now, session_id, CloseReason::TokenExpired, Farewell::Close);
            }
            Due::Upgrade => self.give_up_upgrade(now, session_id),
            Due::Entering => self.enter_at_last(now, session_id),
            Due::Stayed => self.part_with(now, session_id),
            Due::Overstayed => {
                self.close_session(now, session_id, CloseReason::GoingAway, Farewell::Close);
            }
        }
    }

    /// A session has lasted for as long as it may. What carries it is closed, behind what was said
    /// until now; never a namespace, from which clients would stay away.
    fn part_with(&mut self, now: Now, session_id: SessionId) {
        match self.sessions.get(session_id).transport {
            Transport::WebSocket(_) => {
                self.close_session(now, session_id, CloseReason::GoingAway, Farewell::Close);
            }
            // The poll that is held is told so, or the next.
            Transport::Polling { .. } => self.sessions.answer_soon(session_id),
        }
    }

    /// A last look at what may bring the answer of a session that seems to have vanished. A poll's
    /// client may answer by a connection that is still to be accepted: after a sleep of the machine
    /// it has a little more time. Returns whether the session was heard, has more time, or has
    /// ended by what it said; else its silence is proven.
    fn hear_session_once_more(&mut self, now: Now, session_id: SessionId) -> bool {
        if !self.hear_out(now, session_id) {
            return true;
        }
        let pings = self.sessions.pings();
        let mut session = self.sessions.edit(session_id);
        let polls = matches!(session.transport, Transport::Polling { .. });
        !session.is_gone(now.mono, pings) || polls && session.put_off(now.mono, pings)
    }

    /// Reads what a session has to say by what carries it: its WebSocket, or its POST and the
    /// WebSocket that is about to take over. Returns whether it lives and that was all: otherwise
    /// its silence proves nothing. Whatever was read may have ended connections.
    fn hear_out(&mut self, now: Now, session_id: SessionId) -> bool {
        let publishers = self.sessions.get(session_id).publishers();
        for id in publishers.into_iter().flatten() {
            if !self.listen_to(now, id) {
                return false;
            }
            // What it said may have been its end, or a reason for it.
            if !self.sessions.contains(session_id) || self.sessions.get(session_id).is_closing() {
                return false;
            }
            // The answer may stand behind what cannot be taken in at once.
            if self.is_read_later(now, id.slot) {
                self.sessions.edit(session_id).heard(now.mono, true);
                return false;
            }
        }
        true
    }

    /// The time for an upgrade is over. Its last word may wait to be taken in.
    fn give_up_upgrade(&mut self, now: Now, session_id: SessionId) {
        let Some(upgrade) = self.sessions.get(session_id).upgrade else { return };
        let id = upgrade.conn;
        self.listen_to(now, id);
        if self.is_read_later(now, id.slot)
            && self.sessions.edit(session_id).put_off_upgrade(now.mono)
        {
            return;
        }
        let upgrade = self.sessions.edit(session_id).upgrade.take();
        if let Some(upgrade) = upgrade {
            self.let_go(now, upgrade.conn, CloseReason::CloseTimeout);
        }
    }

    /// Reads what a connection may have to say, unless it must wait. `false` if that is for the
    /// channel, or until it may say more, and nothing is known: over before long, so that it may be
    /// looked at again with the next tick.
    fn listen_to(&mut self, now: Now, id: ConnId) -> bool {
        if self.is_read_later(now, id.slot) {
            return true;
        }
        match self.must_wait(now, id.slot) {
            Wait::ForTheChannel(_) => return false,
            Wait::ForItself | Wait::ToEnter => {}
            Wait::Not => {
                self.connections.set_readable(id.slot);
                self.read_first(now, id);
            }
            Wait::ForItsRate(_) => {
                // There may be something to read, and then it is heard.
                self.connections.set_readable(id.slot);
                self.read_later(now, id, false);
                return false;
            }
        }
        true
    }

    /// Whether a connection has said something that is not taken in yet, be it in its socket or
    /// read already: we chose to wait, or its share of the turn was over. It lives, as far as we
    /// know. If it does not take what we send either, the kernel gives up on it.
    fn is_read_later(&self, now: Now, slot: u32) -> bool {
        let marks = self.connections.marks(slot);
        let unread =
            marks.readable || marks.left_off || self.connections.conn(slot).has_body_left();
        unread && (self.connections.is_to_read(slot) || self.must_wait(now, slot) != Wait::Not)
    }
}
