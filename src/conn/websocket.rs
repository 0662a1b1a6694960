//! The phase of a WebSocket (RFC 6455): its messages and its pings.
//!
//! Two clocks decide. The peer is *heard* when it sends anything: after `--ping-interval` of
//! silence it is pinged. If nothing at all comes back within `--ping-timeout` of the ping, it is
//! gone. So the balancer sees bytes within its idle timeout, for a ping and its pong are bytes.
//!
//! A message that is whole within what was read is published from there. Only a message that
//! arrives in pieces owns a buffer, which grows as bytes arrive, never as a header promises.

use super::{Cx, Payload, Role, Step};
use crate::limits;
use crate::outbound::{CloseFrame, Outbound};
use crate::pool::{BufferId, Pool};
use crate::reason::CloseReason;
use crate::time::{Duration, Instant};
use crate::wire::Status;
use crate::wire::ws::{Deframer, Input, Kind};

/// A ping without payload: FIN, opcode 9, length 0.
const PING: [u8; 2] = [0x89, 0];

/// The phase of a connection that is an open WebSocket.
#[derive(Debug)]
pub(super) struct WebSocket {
    pub(super) role: Role,
    deframer: Deframer,
    /// The bytes that have arrived of a message in pieces.
    message: Option<BufferId>,
    /// When the unfinished message began; [`Instant::NEVER`] if there is none.
    began_at: Instant,
    /// When the ping was sent that nothing has come back after; [`Instant::NEVER`] if there is
    /// none.
    pinged_at: Instant,
    /// Milliseconds of silence after which the next ping is due.
    wait_ms: u32,
}

impl WebSocket {
    /// A WebSocket that is first pinged after `first_ping` of silence, then after an interval each
    /// time. With `None` it is never pinged, because its session sends pings of its own.
    pub(super) fn new(role: Role, first_ping: Option<Duration>) -> WebSocket {
        let wait_ms = first_ping.map_or(u64::MAX, Duration::as_millis);
        WebSocket {
            role,
            deframer: Deframer::new(),
            message: None,
            began_at: Instant::NEVER,
            pinged_at: Instant::NEVER,
            wait_ms: u32::try_from(wait_ms).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn receive<'b>(
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
                    1009 => CloseReason::MessageTooBig,
                    _ => CloseReason::ProtocolError,
                };
                Step::Close(CloseFrame::Reason(reason), reason)
            }
        };
        if !self.deframer.mid_message() {
            self.began_at = Instant::NEVER;
        } else if self.began_at == Instant::NEVER {
            self.began_at = cx.now.mono;
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

    pub(super) fn wanted_bytes(&self) -> u64 {
        self.deframer.wanted_bytes()
    }

    pub(super) fn heard(&mut self) {
        self.pinged_at = Instant::NEVER;
    }

    pub(super) fn speaks_later(&mut self, now: Instant) {
        if self.began_at != Instant::NEVER {
            let until_ms = now.plus(limits::WAITED_LIMIT).as_millis();
            let since_ms = until_ms.saturating_sub(limits::MESSAGE_LIMIT.as_millis());
            self.began_at = self.began_at.max(Instant::from_millis(since_ms));
        }
    }

    pub(super) fn deadline(&self, ping_timeout: Duration, heard_at: Instant) -> Instant {
        let ping = if matches!(self.role, Role::Session(_) | Role::Orphan) {
            Instant::NEVER
        } else if self.pinged_at == Instant::NEVER {
            heard_at.plus(Duration::from_millis(u64::from(self.wait_ms)))
        } else {
            self.pinged_at.plus(ping_timeout)
        };
        ping.min(self.message_deadline(heard_at))
    }

    pub(super) fn handle_timeout(
        &mut self,
        cx: &mut Cx<'_>,
        out: &mut Outbound,
        heard_at: Instant,
    ) -> Step<'static> {
        let now = cx.now.mono;
        if self.deadline(cx.settings.limits.ping_timeout, heard_at) > now {
            return Step::Continue;
        }
        if self.message_deadline(heard_at) <= now {
            let reason = CloseReason::MessageTimeout;
            return Step::Close(CloseFrame::Reason(reason), reason);
        }
        if self.pinged_at != Instant::NEVER {
            return Step::Cut(CloseReason::PingTimeout);
        }
        if !out.push_own(cx.pool, &PING) {
            return no_memory();
        }
        self.pinged_at = now;
        let interval = cx.settings.limits.ping_interval;
        self.wait_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
        cx.metrics.pings += 1;
        Step::Pinged
    }

    pub(super) fn release(&mut self, pool: &mut Pool) {
        if let Some(message) = self.message.take() {
            pool.give(message);
        }
    }

    pub(super) fn buffer(&self) -> Option<BufferId> {
        self.message
    }

    fn message_deadline(&self, heard_at: Instant) -> Instant {
        if self.began_at == Instant::NEVER {
            return Instant::NEVER;
        }
        let stalled = heard_at.plus(limits::MESSAGE_STALL_LIMIT);
        stalled.min(self.began_at.plus(limits::MESSAGE_LIMIT))
    }
}

fn no_memory<'b>() -> Step<'b> {
    Step::Close(CloseFrame::Reason(CloseReason::NoMemory), CloseReason::NoMemory)
}
