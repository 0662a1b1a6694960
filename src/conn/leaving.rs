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
    /// There is no memory for what was to be said: the connection is to be ended at once.
    Doomed(CloseReason),
    /// The connection has ended and waits to be reaped: nothing is heard, said or due any more.
    Over,
}

impl Leaving {
    pub(super) fn lingering(now: Instant, reason: CloseReason) -> Leaving {
        let by = now.plus(limits::LINGER_LIMIT);
        Leaving::Lingering { by, discarded_bytes: 0, reason }
    }

    pub(super) fn receive<'b>(&mut self, bytes: &[u8]) -> (usize, Step<'b>) {
        let step = match self {
            Leaving::Lingering { discarded_bytes, reason, .. } => {
                *discarded_bytes = discarded_bytes.saturating_add(bytes.len() as u32);
                let is_enough = *discarded_bytes > limits::LINGER_BYTES_MAX;
                if is_enough { Step::End(*reason) } else { Step::Continue }
            }
            Leaving::Doomed(_) | Leaving::Over => Step::Continue,
        };
        (bytes.len(), step)
    }

    pub(super) fn receive_end(&self) -> Step<'static> {
        match self {
            Leaving::Lingering { reason, .. } => Step::End(*reason),
            Leaving::Doomed(_) | Leaving::Over => Step::Hold,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        match self {
            Leaving::Lingering { by, .. } => *by,
            Leaving::Doomed(_) | Leaving::Over => Instant::NEVER,
        }
    }

    pub(super) fn handle_timeout(&self) -> Step<'static> {
        match self {
            Leaving::Lingering { reason, .. } => Step::End(*reason),
            Leaving::Doomed(_) | Leaving::Over => Step::Continue,
        }
    }

    /// Why the connection is to be ended at once, if it is.
    pub(super) fn doom(&self) -> Option<CloseReason> {
        match self {
            Leaving::Doomed(reason) => Some(*reason),
            Leaving::Lingering { .. } | Leaving::Over => None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Leaving::Over)
    }
}
