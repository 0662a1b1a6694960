//! The phase of an event stream (`wire/sse`): the response to a request that has no end of its own.
//!
//! What is said goes out by the feed, as for a WebSocket. From time to time a comment goes out that
//! says nothing, at the pace of the server's clock, whatever else was sent: so whatever stands in
//! between sees bytes within its idle timeout. A peer that has vanished is noticed by the kernel,
//! when it does not acknowledge them.
//!
//! The surprise: nothing that the client sends is ever a request again. The response ends with the
//! connection, so what comes is discarded, and there is a bound to that.

use super::{Cx, Progress, Role, Step};
use crate::id::Offset;
use crate::limits;
use crate::outbound::{CloseFrame, Outbound};
use crate::reason::CloseReason;
use crate::time::{Duration, Instant};
use crate::visa::Visa;
use crate::wire::sse;

/// The phase of a connection on which an event stream is sent.
///
/// The role stands first, as in the phase of a WebSocket.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Stream {
    pub(super) role: Role,
    pub(super) visa: Visa,
    state: State,
}

/// How far an event stream is from its end.
#[derive(Debug)]
enum State {
    /// Events are sent. The next comment is due at `comment_at`.
    Open { comment_at: Instant, discarded_bytes: u32 },
    /// The last chunk is under way, until `by` at the latest.
    Ending { by: Instant, reason: CloseReason },
}

impl Stream {
    /// A stream whose first comment is due `first_comment` from `now` on.
    pub(super) fn new(role: Role, visa: Visa, now: Instant, first_comment: Duration) -> Stream {
        let state = State::Open { comment_at: now.plus(first_comment), discarded_bytes: 0 };
        Stream { role, visa, state }
    }

    pub(super) fn receive<'b>(&mut self, bytes: &[u8]) -> (usize, Step<'b>) {
        let step = match &mut self.state {
            State::Open { discarded_bytes, .. } => {
                // A read has at most READ_BYTES_MAX.
                *discarded_bytes = discarded_bytes.saturating_add(bytes.len() as u32);
                if *discarded_bytes > limits::LINGER_BYTES_MAX {
                    Step::Close(CloseFrame::LastChunk, CloseReason::ProtocolError)
                } else {
                    Step::Continue
                }
            }
            State::Ending { .. } => Step::Continue,
        };
        (bytes.len(), step)
    }

    pub(super) fn receive_end(&self) -> Step<'static> {
        match self.state {
            State::Open { .. } => Step::End(CloseReason::PeerGone),
            // The peer may have shut down only its writing side, so the end is still said.
            State::Ending { .. } => Step::Hold,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        match self.state {
            State::Open { comment_at, .. } => comment_at.min(self.visa.until()),
            State::Ending { by, .. } => by,
        }
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Cx<'_>, out: &mut Outbound) -> Step<'static> {
        let comment_at = match &mut self.state {
            State::Open { comment_at, .. } => comment_at,
            State::Ending { reason, .. } => return Step::Cut(*reason),
        };
        if self.visa.until() <= cx.now.mono {
            return Step::Close(CloseFrame::LastChunk, CloseReason::TokenExpired);
        }
        if *comment_at > cx.now.mono {
            return Step::Continue;
        }
        *comment_at = cx.now.mono.plus(cx.settings.limits.ping_interval);
        // What waits already will be seen as well as another comment would.
        if out.has_own() {
            return Step::Continue;
        }
        if !out.push_own(cx.pool, sse::COMMENT) {
            return Step::Close(CloseFrame::LastChunk, CloseReason::NoMemory);
        }
        cx.metrics.pings += 1;
        Step::Pinged
    }

    /// Begins to end the stream: the last chunk waits until everything before `barrier` has gone.
    /// The first call decides.
    pub(super) fn close(
        &mut self,
        cx: &Cx<'_>,
        out: &mut Outbound,
        barrier: Offset,
        reason: CloseReason,
    ) {
        match self.state {
            State::Open { .. } => {
                out.start_close(CloseFrame::LastChunk, barrier);
                let by = cx.now.mono.plus(limits::CLOSE_LIMIT);
                self.state = State::Ending { by, reason };
            }
            State::Ending { .. } => {}
        }
    }

    pub(super) fn progressed(&self, out: &Outbound) -> Progress {
        match self.state {
            State::Ending { reason, .. } if out.is_close_sent() => Progress::Sent(reason),
            State::Ending { .. } | State::Open { .. } => Progress::Ongoing,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }
}
