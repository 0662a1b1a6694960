//! The last phase: the last word was said, or the connection is gone.
//!
//! After the last word writing was shut down. What the peer still sends is read and discarded,
//! since unread input would turn our last words into a reset. Both its bytes and its time are
//! bounded.

use super::Step;
use crate::limits;
use crate::reason::CloseReason;
use crate::time::Instant;

/// The phase of a connection on which nothing more is said.
#[derive(Debug)]
pub(super) enum Leaving {
    /// What the peer still sends is discarded, until `by` at the latest.
    Lingering { by: Instant, discarded_bytes: u32, reason: CloseReason },
    /// The connection has ended and waits to be reaped: nothing is heard, said or due any more.
    Over,
}

impl Leaving {
    pub(super) fn lingering(now: Instant, reason: CloseReason) -> Leaving {
        let by = now.plus(limits::LINGER_LIMIT);
        Leaving::Lingering { by, discarded_bytes: 0, reason }
    }

    /// For a connection that can say nothing more: its time is over.
    pub(super) fn at_once(now: Instant, reason: CloseReason) -> Leaving {
        Leaving::Lingering { by: now, discarded_bytes: 0, reason }
    }

    pub(super) fn receive<'b>(&mut self, bytes: &[u8]) -> (usize, Step<'b>) {
        let step = match self {
            Leaving::Lingering { discarded_bytes, reason, .. } => {
                *discarded_bytes = discarded_bytes.saturating_add(bytes.len() as u32);
                let is_enough = *discarded_bytes > limits::LINGER_BYTES_MAX;
                if is_enough { Step::End(*reason) } else { Step::Continue }
            }
            Leaving::Over => Step::Continue,
        };
        (bytes.len(), step)
    }

    pub(super) fn receive_end(&self) -> Step<'static> {
        match self {
            Leaving::Lingering { reason, .. } => Step::End(*reason),
            Leaving::Over => Step::Hold,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        match self {
            Leaving::Lingering { by, .. } => *by,
            Leaving::Over => Instant::NEVER,
        }
    }

    pub(super) fn handle_timeout(&self) -> Step<'static> {
        match self {
            Leaving::Lingering { reason, .. } => Step::End(*reason),
            Leaving::Over => Step::Continue,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Leaving::Over)
    }
}
