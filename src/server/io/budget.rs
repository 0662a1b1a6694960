//! What a turn may still do for those who publish: bytes to read, and units of work.
//!
//! A flood of the smallest packets has few bytes and much work, one of large messages the reverse,
//! so both are counted. A connection that is read has a share of its own besides
//! ([`limits::UNITS_PER_READ`]); when it is over, the rest of what was read waits for the
//! connection's next turn, behind the others'.

use crate::{limits, work};

/// The shares of the turn and of the connection that is being read.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct ReadBudget {
    bytes: usize,
    units: u32,
    /// Of the connection that is being read; at most `units`.
    units_of_read: u32,
    /// What may be done besides, since there is no memory to keep it for later.
    forced_units: u32,
}

impl ReadBudget {
    /// The whole of a turn.
    pub(in crate::server) const fn of_turn() -> ReadBudget {
        ReadBudget {
            bytes: limits::READ_BYTES_PER_TURN,
            units: limits::UNITS_PER_TURN,
            units_of_read: limits::UNITS_PER_READ,
            forced_units: limits::UNITS_PER_TURN,
        }
    }

    /// Another connection is read.
    pub(in crate::server) fn begin_read(&mut self) {
        self.units_of_read = limits::UNITS_PER_READ.min(self.units);
    }

    /// So many bytes of a publisher were read.
    pub(in crate::server) fn spend_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// So much was done for the connection that is being read, in units of a small packet.
    pub(in crate::server) fn spend_units(&mut self, units: u32) {
        self.units = self.units.saturating_sub(units);
        self.units_of_read = self.units_of_read.saturating_sub(units);
    }

    /// Whether a packet may be acted upon although the share is over, because there is no memory to
    /// keep it: as many of a turn as are acted upon anyway. It is charged for that.
    pub(in crate::server) fn force(&mut self) -> bool {
        let may_be = self.forced_units > 0;
        self.forced_units = self.forced_units.saturating_sub(1);
        work::count(|work| work.forced += u64::from(may_be));
        may_be
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
