//! Names for things, as newtypes: two plain numbers can be swapped by mistake, these cannot.

/// A connection: its slot and how often that slot had been used before. An event that arrives late
/// meets a dead generation, not a stranger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct ConnId {
    /// Place in the table of connections.
    pub slot: u32,
    /// Raised whenever the slot is filled again.
    pub generation: u32,
}

impl ConnId {
    /// Both halves in one number, for what the kernel hands back with an event.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The reverse of [`ConnId::to_bits`].
    pub fn from_bits(bits: u64) -> ConnId {
        ConnId { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// A channel's place in the table of channels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct ChannelId(pub u32);

/// A position in a feed: bytes since the feed began. It never wraps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The position `bytes` further on.
    pub fn plus(self, bytes: u64) -> Offset {
        Offset(self.0 + bytes)
    }

    /// Bytes from `earlier` to here; zero if `earlier` is not earlier.
    pub fn since(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// How many records a feed had taken before this one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Seq(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_survives_the_way_through_the_kernel() {
        let id = ConnId { slot: u32::MAX - 1, generation: 7 };
        assert_eq!(ConnId::from_bits(id.to_bits()), id);
    }
}
