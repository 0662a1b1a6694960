//! Where a message stands in its channel: an epoch, and a number in it.
//!
//! A channel has an epoch from its birth on, and numbers its messages from 1, without a gap,
//! whoever reads them. A channel that has lost its last member and is made again has another epoch,
//! so that a position of the first is not taken for one of the second.
//!
//! The surprise: positions of two epochs are in no order. Neither is before the other.

use core::cmp::Ordering;
use core::fmt;

/// A life of a channel, from its first member to its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Epoch(pub u64);

/// A message's place in its channel.
///
/// As text it is `EPOCH.SEQ`, at most 34 characters of `a-z 0-9 .`: the epoch to base 36 in lower
/// case, the number in decimal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Position {
    /// The life of the channel in which the message was said.
    pub epoch: Epoch,
    /// The number of the message, from 1; 0 is before the first.
    pub seq: u64,
}

/// Positions of one epoch are in the order of their numbers, others in none.
impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Position) -> Option<Ordering> {
        (self.epoch == other.epoch).then(|| self.seq.cmp(&other.seq))
    }
}

/// Digits of the largest number to base 36.
const EPOCH_DIGITS_MAX: usize = 13;

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; EPOCH_DIGITS_MAX];
        let (mut at, mut left) = (digits.len(), self.0);
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(left % 36) as usize];
            left /= 36;
            if left == 0 {
                break;
            }
        }
        out.write_str(core::str::from_utf8(&digits[at..]).expect("digits are ASCII"))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.epoch, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, seq: u64) -> Position {
        Position { epoch: Epoch(epoch), seq }
    }

    #[test]
    fn a_position_is_a_word_of_two_numbers() {
        for (position, text) in [
            (at(0, 0), "0.0"),
            (at(35, 1), "z.1"),
            (at(36, 10), "10.10"),
            (at(36 * 36 - 1, 7), "zz.7"),
            (at(u64::MAX, u64::MAX), "3w5e11264sgsf.18446744073709551615"),
        ] {
            assert_eq!(position.to_string(), text);
            assert_eq!(u64::from_str_radix(&position.epoch.to_string(), 36), Ok(position.epoch.0));
        }
        assert_eq!(at(u64::MAX, u64::MAX).to_string().len(), 34);
    }

    #[test]
    fn only_positions_of_one_epoch_are_in_an_order() {
        assert!(at(5, 1) < at(5, 2) && at(5, 2) > at(5, 1));
        assert_eq!(at(5, 2).partial_cmp(&at(5, 2)), Some(Ordering::Equal));
        assert_eq!(at(5, 1).partial_cmp(&at(6, 2)), None);
    }
}
