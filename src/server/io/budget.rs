//! What a turn may still do for those who publish: bytes to read, and units of work.
//!
//! A flood of the smallest packets has few bytes and much work, one of large messages the reverse,
//! so both are counted. A connection that is read has a share of its own besides
//! ([`limits::UNITS_PER_READ`]); when it is over, the rest of what was read waits for the
//! connection's next turn, behind the others'.
//!
//! The surprise: what waits has to be kept, and there may be no memory for that. Then work is done
//! beyond the share, which does not take from the turn's: it has a share of its own.

use crate::limits;

/// The shares of the turn and of the connection that is being read.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct ReadBudget {
    bytes: usize,
    units: u32,
    /// What the connection that is being read may still do of `units`.
    units_of_read: u32,
    /// What may be done beside `units`, for those whose share is over and whose bytes nobody can
    /// keep.
    forced_units: u32,
    /// What the connection that is being read may still do of `forced_units`.
    forced_units_of_read: u32,
}

impl ReadBudget {
    /// The whole of a turn.
    pub(in crate::server) const fn of_turn() -> ReadBudget {
        ReadBudget {
            bytes: limits::READ_BYTES_PER_TURN,
            units: limits::UNITS_PER_TURN,
            units_of_read: limits::UNITS_PER_READ,
            forced_units: limits::UNITS_PER_TURN,
            forced_units_of_read: limits::FORCED_UNITS_PER_READ,
        }
    }

    /// Another connection is read.
    pub(in crate::server) fn begin_read(&mut self) {
        self.units_of_read = limits::UNITS_PER_READ.min(self.units);
        self.forced_units_of_read = limits::FORCED_UNITS_PER_READ.min(self.forced_units);
    }

    /// So many bytes of a publisher were read.
    pub(in crate::server) fn spend_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// So much was done for the connection that is being read, in units of a small packet. What is
    /// done when its share is over is taken from what the turn has for that.
    pub(in crate::server) fn spend_units(&mut self, units: u32) {
        if self.is_read_over() {
            self.forced_units = self.forced_units.saturating_sub(units);
            self.forced_units_of_read = self.forced_units_of_read.saturating_sub(units);
        } else {
            self.units = self.units.saturating_sub(units);
            self.units_of_read = self.units_of_read.saturating_sub(units);
        }
    }

    /// Whether something may be done for the connection that is being read although its share is
    /// over, because there is no memory to keep what it has said.
    pub(in crate::server) fn may_force(&self) -> bool {
        !self.is_read_over() || self.forced_units_of_read > 0
    }

    /// Whether the turn has nothing left for publishers.
    pub(in crate::server) fn is_spent(&self) -> bool {
        self.bytes == 0 || self.units == 0
    }

    /// Whether the connection that is being read has had its share.
    pub(in crate::server) fn is_read_over(&self) -> bool {
        self.units_of_read == 0
    }
}
