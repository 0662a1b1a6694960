//! The phase of a WebSocket (RFC 6455): its messages, its pings and its closing handshake.
//!
//! Two clocks decide. The peer is *heard* when it sends anything: after `--ping-interval` of
//! silence it is pinged. If nothing at all comes back within `--ping-timeout` of the ping, it is
//! gone. So the balancer sees bytes within its idle timeout, for a ping and its pong are bytes.
//!
//! A message that is whole within what was read is published from there. Only a message that
//! arrives in pieces owns a buffer, which grows as bytes arrive, never as a header promises.

use super::{Cx, Payload, Progress, Step};
use crate::id::{Dialect, Offset, SessionId};
use crate::limits;
use crate::membership::Membership;
use crate::metrics::Unsaid;
use crate::outbound::{CloseFrame, Outbound};
use crate::pool::BufferId;
use crate::reason::CloseReason;
use crate::time::{Duration, Instant, Moment};
use crate::visa::Visa;
use crate::wire::Status;
use crate::wire::ws::{Deframer, Input, Kind};

/// A ping without payload: FIN, opcode 9, length 0.
const PING: [u8; 2] = [0x89, 0];

/// What a WebSocket is for, or an event stream, which is always a member or an orphan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The connection is a member of a channel by itself.
    Member {
        /// The membership.
        membership: Membership,
        /// What the connection reads.
        dialect: Dialect,
        /// Whether what the client says is published.
        may_speak: bool,
    },
    /// The WebSocket carries an Engine.IO session, or is about to take one over.
    Session(SessionId),
    /// The connection has lost its session or its membership: what it carried is over.
    Orphan,
}

/// The phase of a connection that is a WebSocket.
///
/// The role stands first, where the values that its tag never has tell the phases apart; elsewhere
/// each connection would pay 8 bytes for that.
#[derive(Debug)]
#[repr(C)]
pub(super) struct WebSocket {
    pub(super) role: Role,
    pub(super) visa: Visa,
    state: State,
}

/// How far a WebSocket is from its end.
#[derive(Debug)]
enum State {
    /// Messages go in both directions.
    Open(Open),
    /// The close frame is under way, until `by` at the latest.
    Closing { by: Instant, reason: CloseReason },
}

/// What an open WebSocket remembers.
#[derive(Debug)]
struct Open {
    deframer: Deframer,
    /// The bytes that have arrived of a message in pieces.
    message: Option<BufferId>,
    /// When the unfinished message began, if there is one.
    began: Option<Moment>,
    /// When the ping was sent that nothing has come back after, if there is one.
    pinged: Option<Moment>,
    /// Milliseconds of silence after which the next ping is due.
    wait_ms: u32,
}

// Each idle connection pays for these.
const _: () = assert!(size_of::<Open>() == 48 && size_of::<WebSocket>() == 80);

impl WebSocket {
    /// A WebSocket that is first pinged after `first_ping` of silence, then after an interval each
    /// time. With `None` it is never pinged, because its session sends pings of its own.
    pub(super) fn new(role: Role, visa: Visa, first_ping: Option<Duration>) -> WebSocket {
        let wait_ms = first_ping.map_or(u64::MAX, Duration::as_millis);
        let open = Open {
            deframer: Deframer::new(),
            message: None,
            began: None,
            pinged: None,
            wait_ms: u32::try_from(wait_ms).unwrap_or(u32::MAX),
        };
        WebSocket { role, visa, state: State::Open(open) }
    }

    pub(super) fn receive<'b>(
        &mut self,
        cx: &mut Cx<'_>,
        out: &mut Outbound,
        bytes: &'b mut [u8],
    ) -> (usize, Step<'b>) {
        match &mut self.state {
            State::Open(open) => open.receive(cx, out, bytes),
            // Nothing that follows a close frame counts (RFC 6455 §5.5.1).
            State::Closing { .. } => (bytes.len(), Step::Continue),
        }
    }

    pub(super) fn receive_end(&self) -> Step<'static> {
        match self.state {
            State::Open(_) => Step::End(CloseReason::PeerGone),
            // The peer may have shut down only its writing side, so the frame is still sent.
            State::Closing { .. } => Step::Hold,
        }
    }

    pub(super) fn heard(&mut self, now: Instant) -> Option<Duration> {
        match &mut self.state {
            State::Open(open) => open.pinged.take().map(|pinged| now.since(pinged.near(now))),
            State::Closing { .. } => None,
        }
    }

    pub(super) fn speaks_later(&mut self, now: Instant) {
        match &mut self.state {
            State::Open(open) => open.speaks_later(now),
            State::Closing { .. } => {}
        }
    }

    pub(super) fn deadline(&self, ping_timeout: Duration, heard_at: Instant) -> Instant {
        match &self.state {
            State::Open(open) => {
                open.deadline(self.role, ping_timeout, heard_at).min(self.visa.until())
            }
            State::Closing { by, .. } => *by,
        }
    }

    pub(super) fn handle_timeout(
        &mut self,
        cx: &mut Cx<'_>,
        out: &mut Outbound,
        heard_at: Instant,
    ) -> Step<'static> {
        match &mut self.state {
            State::Open(_) if self.visa.until() <= cx.now.mono => {
                let reason = CloseReason::TokenExpired;
                Step::Close(CloseFrame::Reason(reason), reason)
            }
            State::Open(open) => open.handle_timeout(self.role, cx, out, heard_at),
            State::Closing { reason, .. } => Step::Cut(*reason),
        }
    }

    /// Begins the closing handshake; `frame` waits until everything before `barrier` has gone. The
    /// first call decides.
    pub(super) fn close(
        &mut self,
        cx: &mut Cx<'_>,
        out: &mut Outbound,
        frame: CloseFrame,
        barrier: Offset,
        reason: CloseReason,
    ) {
        match &mut self.state {
            State::Open(open) => {
                if let Some(message) = open.message.take() {
                    cx.pool.give(message);
                }
                out.start_close(frame, barrier);
                let by = cx.now.mono.plus(limits::CLOSE_LIMIT);
                self.state = State::Closing { by, reason };
            }
            State::Closing { .. } => {}
        }
    }

    pub(super) fn progressed(&self, out: &Outbound) -> Progress {
        match self.state {
            State::Closing { reason, .. } if out.is_close_sent() => Progress::Sent(reason),
            State::Closing { .. } | State::Open(_) => Progress::Ongoing,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    pub(super) fn is_between_frames(&self) -> bool {
        match &self.state {
            State::Open(open) => open.deframer.is_between_frames(),
            State::Closing { .. } => false,
        }
    }

    pub(super) fn wanted_bytes(&self) -> u64 {
        match &self.state {
            State::Open(open) => open.deframer.wanted_bytes(),
            State::Closing { .. } => 0,
        }
    }

    pub(super) fn buffer(&self) -> Option<BufferId> {
        match &self.state {
            State::Open(open) => open.message,
            State::Closing { .. } => None,
        }
    }
}

impl Open {
    fn receive<'b>(
        &mut self,
        cx: &mut Cx<'_>,
        out: &mut Outbound,
        bytes: &'b mut [u8],
    ) -> (usize, Step<'b>) {
        let (used, input) = self.deframer.next(bytes, cx.settings.limits.message_bytes_max);
        let step = match input {
            Ok(Status::Complete(Input::Message(kind, payload))) => {
                Step::Publish(kind, Payload::Borrowed(payload))
            }
            Ok(Status::Complete(Input::Part { kind, payload, last, .. })) => {
                self.collect(cx, kind, payload, last)
            }
            Ok(Status::Complete(Input::Ping(payload))) => {
                if out.push_pong(cx.pool, payload) {
                    Step::Continue
                } else {
                    no_memory()
                }
            }
            Ok(Status::Complete(Input::Pong)) => Step::Continue,
            Ok(Status::Complete(Input::Close(code))) => {
                Step::Close(CloseFrame::answer(code), CloseReason::ClosedByClient)
            }
            Ok(Status::Partial) => Step::NeedMore,
            Err(error) => {
                let reason = match error.code() {
                    1007 => CloseReason::InvalidText,
                    1009 => {
                        cx.metrics.count_unsaid(Unsaid::TooBig);
                        CloseReason::MessageTooBig
                    }
                    _ => CloseReason::ProtocolError,
                };
                Step::Close(CloseFrame::Reason(reason), reason)
            }
        };
        if !self.deframer.mid_message() {
            self.began = None;
        } else if self.began.is_none() {
            self.began = Some(Moment::of(cx.now.mono));
        }
        (used, step)
    }

    fn collect<'b>(&mut self, cx: &mut Cx<'_>, kind: Kind, payload: &[u8], last: bool) -> Step<'b> {
        let Some(mut buffer) = self.message.take().or_else(|| cx.pool.take(payload.len())) else {
            return no_memory();
        };
        let collected = cx.pool.append(&mut buffer, payload);
        if !collected {
            cx.pool.give(buffer);
            return no_memory();
        }
        if last {
            return Step::Publish(kind, Payload::Assembled(buffer));
        }
        self.message = Some(buffer);
        Step::Continue
    }

    fn speaks_later(&mut self, now: Instant) {
        if let Some(began) = self.began {
            let until_ms = now.plus(limits::WAITED_LIMIT).as_millis();
            let since_ms = until_ms.saturating_sub(limits::MESSAGE_LIMIT.as_millis());
            let since = Instant::from_millis(since_ms);
            self.began = Some(Moment::of(began.near(now).max(since)));
        }
    }

    fn deadline(&self, role: Role, ping_timeout: Duration, heard_at: Instant) -> Instant {
        let ping = if matches!(role, Role::Session(_) | Role::Orphan) {
            Instant::NEVER
        } else if let Some(pinged) = self.pinged {
            pinged.near(heard_at).plus(ping_timeout)
        } else {
            heard_at.plus(Duration::from_millis(u64::from(self.wait_ms)))
        };
        ping.min(self.message_deadline(heard_at))
    }

    fn handle_timeout(
        &mut self,
        role: Role,
        cx: &mut Cx<'_>,
        out: &mut Outbound,
        heard_at: Instant,
    ) -> Step<'static> {
        let now = cx.now.mono;
        if self.deadline(role, cx.settings.limits.ping_timeout, heard_at) > now {
            return Step::Continue;
        }
        if self.message_deadline(heard_at) <= now {
            let reason = CloseReason::MessageTimeout;
            return Step::Close(CloseFrame::Reason(reason), reason);
        }
        if self.pinged.is_some() {
            return Step::Cut(CloseReason::PingTimeout);
        }
        if !out.push_own(cx.pool, &PING) {
            return no_memory();
        }
        self.pinged = Some(Moment::of(now));
        let interval = cx.settings.limits.ping_interval;
        self.wait_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
        cx.metrics.pings += 1;
        Step::Pinged
    }

    fn message_deadline(&self, heard_at: Instant) -> Instant {
        let Some(began) = self.began else { return Instant::NEVER };
        let stalled = heard_at.plus(limits::MESSAGE_STALL_LIMIT);
        stalled.min(began.near(heard_at).plus(limits::MESSAGE_LIMIT))
    }
}

fn no_memory<'b>() -> Step<'b> {
    Step::Close(CloseFrame::Reason(CloseReason::NoMemory), CloseReason::NoMemory)
}
