//! How connections and sessions end, and what that means to each other.
//!
//! ```text
//!   close ──► closing handshake ──► the frame has gone ──► linger ──► remove
//!                                        │                             ▲
//!                                        └─► detach: the channel or the session ends with it
//!   close_session ──► its spaces, its transport, its name
//! ```
//!
//! Whoever ends is inert at once, and taken away by [`Server::reap`] at the end of the public call.
//! So nobody in the middle of a call has to ask whether what it works on still exists.
//!
//! The surprise: a session on a WebSocket ends later than it is closed. It lasts until the close
//! frame has gone, behind what was published before.

use super::members::Ending;
use super::{Event, Server, Socket};
use crate::conn::Conn;
use crate::hub::Transport;
use crate::id::{ChannelId, ConnId, Offset, SessionId};
use crate::limits;
use crate::metrics::{Kind, ProbeShape};
use crate::outbound::{CloseFrame, Source};
use crate::reason::{CloseReason, Farewell};
use crate::time::Now;
use crate::wire::engine;
use chacha20::rand_core::Rng;
use std::io;

impl<S: Socket> Server<S> {
    /// Begins the closing handshake of a WebSocket: the frame goes out behind everything that was
    /// published until now. So does the last chunk of an event stream, in place of the frame; its
    /// client is told when to come back.
    pub(in crate::server) fn close(
        &mut self,
        now: Now,
        slot: u32,
        frame: CloseFrame,
        reason: CloseReason,
    ) {
        let barrier = match self.connections.conn(slot).out.source() {
            Source::Feed { channel, dialect, cursor, .. } => {
                self.hub.feed(channel, dialect).reach(cursor.offset).offset
            }
            Source::Nothing | Source::Body { .. } => Offset::default(),
        };
        if self.connections.conn(slot).is_stream() {
            let retry_ms = self.retry_ms();
            self.change(now, slot, |conn, cx| conn.say_when_to_return(cx, retry_ms));
        }
        self.change(now, slot, |conn, cx| conn.close(cx, frame, barrier, reason));
        self.connections.send_soon(slot);
        self.begin_close_of_session(slot);
    }

    /// After how many milliseconds the client of an event stream is to come back: after a second at
    /// least, and spread over so long that all who are here would come back at the pace of
    /// [`limits::RETURNS_PER_S`].
    pub(in crate::server) fn retry_ms(&mut self) -> u64 {
        let crowd_ms = self.connections.len() as u64 * 1000 / limits::RETURNS_PER_S;
        let spread_ms = crowd_ms
            .clamp(limits::RETRY_SPREAD_MIN.as_millis(), limits::RETRY_SPREAD_MAX.as_millis());
        limits::RETRY_MIN.as_millis() + self.random.next_u64() % spread_ms
    }

    /// Shuts down writing, because the last word was said, and discards what still comes.
    pub(in crate::server) fn linger(&mut self, now: Now, slot: u32, reason: CloseReason) {
        self.connections.decide_end(slot, reason);
        self.connections.socket(slot).shutdown_write();
        self.change(now, slot, |conn, cx| conn.linger(cx, reason));
    }

    /// A connection has said its last word, or is gone: whatever it was to a channel or a session
    /// ends with it.
    pub(in crate::server) fn detach(&mut self, now: Now, slot: u32, reason: CloseReason) {
        let conn = self.connections.conn(slot);
        if let Some(member) = conn.membership().zip(conn.dialect()) {
            self.end_member(now, slot, member, reason);
        } else if let Some(session_id) = conn.session() {
            let id = self.connections.id(slot);
            self.lose_connection(now, session_id, id, reason);
        }
    }

    /// Ends a connection, with a reset if `cut`. It is inert from here on, and reaped at the end of
    /// the call; nothing happens if it has ended already.
    pub(in crate::server) fn remove(
        &mut self,
        now: Now,
        slot: u32,
        reason: CloseReason,
        cut: bool,
    ) {
        if self.connections.conn(slot).is_over() {
            return;
        }
        self.count_end(now, slot, reason);
        self.detach(now, slot, reason);
        self.connections.end(slot, &mut self.pool);
        if cut {
            self.connections.socket(slot).cut();
        }
        if !self.connections.marks(slot).told {
            let client = self.client(slot);
            self.events.push(&mut self.pool, Event::Ended { client, reason });
        }
    }

    /// Counts a connection that ends now, by the reason for which that was decided.
    fn count_end(&mut self, now: Now, slot: u32, reason: CloseReason) {
        let decided = self.connections.marks(slot).ends_for;
        let reason = decided.unwrap_or(reason);
        self.metrics.count_closed(reason);
        let conn = self.connections.conn(slot);
        if reason == CloseReason::ProbeOnly && conn.has_passed_header(&self.settings) {
            self.metrics.count_probe(ProbeShape::Header);
        }
        let is_gone = matches!(
            reason,
            CloseReason::PeerGone | CloseReason::PeerReset | CloseReason::TransportTimeout
        );
        if is_gone && self.connections.kind(slot) != Kind::Http {
            self.metrics.count_silence(conn.silence(now.mono));
        }
    }

    /// Takes connections and sessions away that have ended. At the end of each public call, when
    /// nobody works on them any more: so in between an end is something that has no effect, not
    /// something to be asked for.
    pub(in crate::server) fn reap(&mut self, now: Now) {
        while let Some((slot, reason)) = self.connections.next_doomed() {
            self.remove(now, slot, reason, false);
        }
        self.connections.reap();
        self.sessions.reap(&mut self.pool);
    }

    /// A connection that carried a session, or wanted to, is gone.
    pub(in crate::server) fn lose_connection(
        &mut self,
        now: Now,
        session_id: SessionId,
        id: ConnId,
        reason: CloseReason,
    ) {
        if !self.sessions.edit(session_id).lose(id) {
            self.close_session(now, session_id, reason, Farewell::None);
        }
        self.connections.change(id.slot, Conn::orphan);
    }

    /// A WebSocket was told to close: if a session is carried by it, that waits for nothing else.
    pub(in crate::server) fn begin_close_of_session(&mut self, slot: u32) {
        let id = self.connections.id(slot);
        let Some(session_id) = self.connections.conn(slot).session() else { return };
        let session = self.sessions.get(session_id);
        // What was published in the other namespaces comes before the frame, too.
        let several = session.spaces.len() > 1;
        if session.transport == Transport::WebSocket(id)
            && self.sessions.begin_close(&self.hub, session_id)
        {
            self.connections.out_mut(slot).keep_close_back(several);
        }
    }

    /// Ends a session: its places, its transport, its name. On a WebSocket that can still be told,
    /// it lasts until the close frame has gone, behind what was published before: that frame may
    /// not stand inside of a record.
    pub(in crate::server) fn close_session(
        &mut self,
        now: Now,
        session_id: SessionId,
        reason: CloseReason,
        farewell: Farewell,
    ) {
        if !self.sessions.contains(session_id) {
            return;
        }
        if let (Transport::WebSocket(id), Farewell::Close) =
            (self.sessions.get(session_id).transport, farewell)
        {
            return self.close(now, id.slot, farewell_frame(reason), reason);
        }
        while !self.sessions.get(session_id).spaces.is_empty() {
            self.end_space(now, session_id, 0, reason);
        }
        let session = self.sessions.get(session_id);
        let (transport, upgrade, client) = (session.transport, session.upgrade, session.client);
        let holder = session.holder;
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
                        engine::noop_body(session.version)
                    } else {
                        engine::close_body(session.version)
                    };
                    self.send_poll(now, session_id, id, body);
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
        if let Some(duration) = self.sessions.get(session_id).unconnected_for(now.mono) {
            let client = client.address();
            self.events.push(&mut self.pool, Event::Unentered { client, reason, duration });
        }
        self.sessions.end(&mut self.pool, session_id);
        self.uncount_session(holder);
    }

    /// Closes a WebSocket whose session does without it from now on.
    pub(in crate::server) fn let_go(&mut self, now: Now, id: ConnId, reason: CloseReason) {
        self.connections.change(id.slot, Conn::orphan);
        self.close(now, id.slot, farewell_frame(reason), reason);
    }

    /// Gives a place up and says that it ended.
    pub(in crate::server) fn end_space(
        &mut self,
        now: Now,
        session_id: SessionId,
        number: usize,
        reason: CloseReason,
    ) {
        let was_current = self.sessions.get(session_id).spaces.current() == number;
        let mut space = self.sessions.edit(session_id).spaces.swap_remove(&mut self.pool, number);
        let session = self.sessions.get(session_id);
        let (dialect, client) = (session.dialect(), session.client.address());
        let publishers = session.publishers();
        if let Transport::WebSocket(id) = session.transport
            && was_current
        {
            let next = session.spaces.first().copied();
            let out = self.connections.out_mut(id.slot);
            if let Source::Feed { cursor, .. } = out.source() {
                space.cursor = cursor;
                out.abandon_feed();
            }
            if let Some(next) = next.filter(|_| !out.is_closing()) {
                out.start_feed(next.channel(), dialect, next.cursor);
                // Nobody else sends what waits there already.
                self.connections.send_soon(id.slot);
            } else if out.keeps_close_back() {
                self.connections.send_soon(id.slot);
            }
        }
        let ending = Ending {
            membership: space.membership,
            dialect,
            client,
            since: space.opened_at,
            cursor: Some(space.cursor),
            is_choked: space.choked,
            publishers,
        };
        self.end_membership(now, &ending, reason);
    }

    pub(in crate::server) fn close_lapped(
        &mut self,
        now: Now,
        session_id: SessionId,
        channel: ChannelId,
    ) {
        self.metrics.readers_lapped += 1;
        let session = self.sessions.get(session_id);
        let feed = self.hub.feed(channel, session.dialect());
        let space = session.spaces.find(channel).map(|number| session.spaces[number]);
        self.events.push(
            &mut self.pool,
            Event::Lapped {
                client: session.client.address(),
                channel: self.hub.channel(channel).name().into(),
                lag_bytes: space.map_or(0, |space| feed.head().since(space.cursor.offset)),
            },
        );
        match session.transport {
            Transport::WebSocket(id) => {
                let reason = CloseReason::TooSlow;
                self.close(now, id.slot, CloseFrame::Reason(reason), reason);
                self.stop_waiting_for(id.slot, channel);
            }
            Transport::Polling { .. } => {
                self.close_session(now, session_id, CloseReason::TooSlow, Farewell::Close);
            }
        }
    }

    /// A reader that the ring has overtaken is told so, or cut if it stands inside a record. An
    /// event stream is always cut: its client comes back with the position that it has, and is told
    /// then whether what followed is still kept. Whether a reader was overtaken.
    pub(in crate::server) fn lapped(&mut self, now: Now, slot: u32) -> bool {
        let conn = self.connections.conn(slot);
        let Source::Feed { channel, dialect, cursor, .. } = conn.out.source() else {
            return false;
        };
        if !self.is_lapped(slot) {
            return false;
        }
        self.metrics.readers_lapped += 1;
        let feed = self.hub.feed(channel, dialect);
        self.events.push(
            &mut self.pool,
            Event::Lapped {
                client: conn.client().address(),
                channel: self.hub.channel(channel).name().into(),
                lag_bytes: feed.head().since(cursor.offset),
            },
        );
        let reason = CloseReason::TooSlow;
        if conn.out.is_inside_record() || conn.is_stream() {
            self.remove(now, slot, reason, true);
        } else {
            self.close(now, slot, CloseFrame::Reason(reason), reason);
            self.connections.out_mut(slot).skip_to_close();
            self.stop_waiting_for(slot, channel);
        }
        true
    }

    /// Nobody waits any more, in a channel that has overtaken it, for a reader that is sent nothing
    /// of that but why it is closed, however long its socket takes for that.
    fn stop_waiting_for(&mut self, slot: u32, channel: ChannelId) {
        self.uncount_choked(slot);
        if let Some(session_id) = self.connections.conn(slot).session() {
            let connections = &mut self.connections;
            let mut session = self.sessions.edit(session_id);
            self.hub.stop_waiting_for(&mut session, channel, |id| connections.resume(id));
        }
    }

    /// Whether the ring has overtaken a connection in the feed that it sends from.
    pub(in crate::server) fn is_lapped(&self, slot: u32) -> bool {
        let out = &self.connections.conn(slot).out;
        match out.source() {
            Source::Feed { channel, dialect, .. } => out.is_lapped(self.hub.feed(channel, dialect)),
            Source::Nothing | Source::Body { .. } => false,
        }
    }
}

fn farewell_frame(reason: CloseReason) -> CloseFrame {
    match reason.close_frame() {
        Some(_) => CloseFrame::Reason(reason),
        None => CloseFrame::Empty,
    }
}

/// Why a connection ends whose socket has failed with `error`.
pub(in crate::server) fn reason_of(error: &io::Error) -> CloseReason {
    use io::ErrorKind;
    let kind = error.kind();
    if matches!(
        kind,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    ) {
        CloseReason::PeerReset
    } else if matches!(
        kind,
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
    ) {
        CloseReason::TransportTimeout
    } else {
        CloseReason::SocketFailed
    }
}
