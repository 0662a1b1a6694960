//! How long whoever stays may stay: about as long as the operator says, each a little longer or
//! shorter, so that a crowd that came at once is not sent away at once.
//!
//! The surprise: nobody has a length of its own to remember. It follows from the number of whoever
//! stays and from a key that was drawn at birth. And the longest is less than a tenth longer, since
//! a deadline may be late by a thirtieth of its length (`wheel.rs`).

use crate::time::Duration;

/// A length of time that is spread by less than a tenth either way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetime {
    length: Duration,
    key: u64,
}

impl Lifetime {
    /// Lengths around `length`, which nobody can foretell who does not know `key`.
    pub const fn new(length: Duration, key: u64) -> Lifetime {
        Lifetime { length, key }
    }

    /// How long the one with this number may stay: between 90 and 106 hundredths of the length.
    pub fn of(self, number: u32) -> Duration {
        let ms = self.length.as_millis();
        let least_ms = ms - ms / 10;
        let spread_ms = ms / 100 * 16;
        Duration::from_millis(least_ms + mixed(self.key ^ u64::from(number)) % (spread_ms + 1))
    }
}

/// The bits of `number`, mixed so that neighbours have nothing in common (the last step of
/// SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_spread_by_less_than_a_tenth_either_way() {
        for ms in [1, 9, 10, 99, 1000, 3_600_000] {
            let lifetime = Lifetime::new(Duration::from_millis(ms), 7);
            let lengths = (0..1000).map(|number| lifetime.of(number).as_millis());
            let (least, most) = (lengths.clone().min().unwrap(), lengths.max().unwrap());
            assert!(least * 10 >= ms * 9 && most * 100 <= ms * 106, "{ms}: {least} to {most}");
            assert!(ms < 1000 || (least * 100 < ms * 91 && most * 100 > ms * 105), "{ms}");
        }
    }

    #[test]
    fn the_key_decides_who_stays_longest() {
        let order = |key| {
            let lifetime = Lifetime::new(Duration::from_secs(3600), key);
            (0..16).map(|number| lifetime.of(number)).collect::<Vec<_>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }
}
