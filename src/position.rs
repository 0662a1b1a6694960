//! Where a message stands in its channel: a number in an epoch, or a place in a stream.
//!
//! ```text
//!   k3f9.16             counted here: the sixteenth message of this life of the channel
//!   1795343574839-0.3   in a stream that several instances share: an entry, and a place in it
//! ```
//!
//! A channel whose order is decided here has an epoch from its birth on, and numbers its messages
//! from 1, without a gap, whoever reads them. A channel that has ended (it had no members and kept
//! nothing) and is made again has another epoch, so that a position of the first is not taken for
//! one of the second. Where the order is decided in a stream, an entry has the id that the stream
//! gave it, two numbers, and may bring several messages; a fresh stream is at `0-0.0`.
//!
//! Deals with: the text of a position, both ways. Leaves to others: which positions a channel has,
//! and what is kept behind them.
//!
//! The surprise: positions of two epochs are in no order. Neither is before the other. And a
//! position has one text only, so that two texts are equal where the positions are: what this
//! program would not have written is no position, even if it could be read as one.

use core::cmp::Ordering;
use core::fmt;

/// A life of a channel: from its first member, or the first message that is kept of it, until it
/// has no member and keeps nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Epoch(pub u64);

/// A message's place in its channel.
///
/// As text it is `EPOCH.SEQ`, the epoch to base 36 in lower case, or `MS-SEQ.INDEX`, all numbers in
/// decimal: at most 52 characters of `a-z 0-9 . -`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Position {
    /// A place in an order that is decided here.
    Local {
        /// The life of the channel in which the message was said.
        epoch: Epoch,
        /// The number of the message, from 1; 0 is before the first.
        seq: u64,
    },
    /// A place in a stream that several instances share.
    Stream {
        /// The first number of the entry's id, milliseconds since 1970.
        ms: u64,
        /// The second number of the entry's id.
        seq: u64,
        /// Which of the entry's messages it is.
        index: u32,
    },
}

/// Positions of one epoch are in the order of their numbers, those of a stream in that of their
/// entries and of their places there, others in none.
impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Position) -> Option<Ordering> {
        match (*self, *other) {
            (Position::Local { epoch, seq }, Position::Local { epoch: other, seq: than }) => {
                (epoch == other).then(|| seq.cmp(&than))
            }
            (Position::Stream { ms, seq, index }, Position::Stream { ms: m, seq: s, index: i }) => {
                Some((ms, seq, index).cmp(&(m, s, i)))
            }
            (Position::Local { .. }, Position::Stream { .. })
            | (Position::Stream { .. }, Position::Local { .. }) => None,
        }
    }
}

impl Position {
    /// Where a stream stands that has never had an entry.
    pub const STREAM_START: Position = Position::Stream { ms: 0, seq: 0, index: 0 };

    /// Reads exactly what [`Position::text`] writes; `None` for any other text, for instance one
    /// with zeros in front of a number, with capital letters, or with a number beyond 64 bits. The
    /// work is bounded by the longest text that there is.
    pub fn parse(text: &[u8]) -> Option<Position> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let dot = text.iter().position(|byte| *byte == b'.')?;
        let (front, last) = (&text[..dot], number::<10>(&text[dot + 1..])?);
        let Some(dash) = front.iter().position(|byte| *byte == b'-') else {
            return Some(Position::Local { epoch: Epoch(number::<36>(front)?), seq: last });
        };
        Some(Position::Stream {
            ms: number::<10>(&front[..dash])?,
            seq: number::<10>(&front[dash + 1..])?,
            index: u32::try_from(last).ok()?,
        })
    }

    /// The position before this one, behind which this is the next: of a message of a stream. No
    /// message need stand there. `None` for [`Position::STREAM_START`], and for a position that was
    /// given here, which has its predecessor in the number.
    pub fn before_in_stream(self) -> Option<Position> {
        match self {
            Position::Local { .. } | Position::STREAM_START => None,
            Position::Stream { ms, seq: 0, index: 0 } => {
                Some(Position::Stream { ms: ms - 1, seq: u64::MAX, index: u32::MAX })
            }
            Position::Stream { ms, seq, index: 0 } => {
                Some(Position::Stream { ms, seq: seq - 1, index: u32::MAX })
            }
            Position::Stream { ms, seq, index } => {
                Some(Position::Stream { ms, seq, index: index - 1 })
            }
        }
    }

    /// The position as text. Nothing is allocated, and nothing of `core::fmt` is used: every
    /// message that is published has its position written once.
    pub fn text(self) -> PositionText {
        let mut text = PositionText { bytes: [0; TEXT_BYTES_MAX], begin: TEXT_BYTES_MAX as u8 };
        match self {
            Position::Local { epoch, seq } => {
                text.put_number::<10>(seq);
                text.put(b'.');
                text.put_number::<36>(epoch.0);
            }
            Position::Stream { ms, seq, index } => {
                text.put_number::<10>(u64::from(index));
                text.put(b'.');
                text.put_number::<10>(seq);
                text.put(b'-');
                text.put_number::<10>(ms);
            }
        }
        text
    }
}

/// The text of a [`Position`]: 3 to 52 characters of `a-z 0-9 . -`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PositionText {
    /// The text is at the end, for numbers are written from their last digit to their first; what
    /// is in front of it is zero.
    bytes: [u8; TEXT_BYTES_MAX],
    /// Where the text begins in `bytes`: 0 to 49.
    begin: u8,
}

impl PositionText {
    /// The characters of the text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.begin)..]
    }

    /// The text as a string.
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).expect("every character of a position is ASCII")
    }

    /// How many bytes the text has: 3 to 52.
    #[expect(clippy::len_without_is_empty, reason = "no text of a position is empty")]
    pub const fn len(&self) -> usize {
        TEXT_BYTES_MAX - self.begin as usize
    }

    /// Puts a character in front of those that are there.
    const fn put(&mut self, character: u8) {
        self.begin -= 1;
        self.bytes[self.begin as usize] = character;
    }

    /// Puts the digits of a number to `BASE` in front of what is there. `BASE` is a constant, so
    /// that dividing by it is a multiplication.
    fn put_number<const BASE: u64>(&mut self, number: u64) {
        let mut left = number;
        loop {
            self.put(DIGITS[(left % BASE) as usize]);
            left /= BASE;
            if left == 0 {
                break;
            }
        }
    }
}

impl fmt::Debug for PositionText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.as_str())
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = PositionText { bytes: [0; TEXT_BYTES_MAX], begin: TEXT_BYTES_MAX as u8 };
        text.put_number::<36>(self.0);
        out.write_str(text.as_str())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text().as_str())
    }
}

/// The most bytes of what a client may name as a position. Those of this program are shorter.
pub const POSITION_BYTES_MAX: usize = 64;

/// Whether `bytes` may be the text of a position, whoever gave it: 1 to [`POSITION_BYTES_MAX`] of
/// `A-Z a-z 0-9 . -`. Such a text needs no quoting in JSON, in a query or in a field of HTTP.
pub fn is_position_text(bytes: &[u8]) -> bool {
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    matches!(bytes.len(), 1..=POSITION_BYTES_MAX) && bytes.iter().all(is_valid)
}

/// The most bytes of [`Position::text`]: 20 digits of a number, a dash, 20 of the next, a dot, 10
/// digits of a place.
const TEXT_BYTES_MAX: usize = 52;

const _: () = assert!(TEXT_BYTES_MAX <= POSITION_BYTES_MAX, "what is written may be read");

/// The digits of numbers to any base up to 36.
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Reads a number to `BASE` as it is written here: at least one digit, no zero in front of others,
/// at most 64 bits.
fn number<const BASE: u64>(digits: &[u8]) -> Option<u64> {
    match digits {
        [] | [b'0', _, ..] => return None,
        [_, ..] => {}
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'z' => byte - b'a' + 10,
            _ => return None,
        };
        let digit = Some(u64::from(digit)).filter(|digit| *digit < BASE)?;
        number.checked_mul(BASE)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, seq: u64) -> Position {
        Position::Local { epoch: Epoch(epoch), seq }
    }

    fn entry(ms: u64, seq: u64, index: u32) -> Position {
        Position::Stream { ms, seq, index }
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
            assert_eq!(position.text().as_bytes(), text.as_bytes());
            assert_eq!(position.text().len(), text.len());
            assert_eq!(Position::parse(text.as_bytes()), Some(position));
        }
        assert_eq!(at(u64::MAX, u64::MAX).to_string().len(), 34);
        assert_eq!(Epoch(36).to_string(), "10");
    }

    #[test]
    fn a_place_in_a_stream_is_a_word_of_three_numbers() {
        let largest = "18446744073709551615-18446744073709551615.4294967295";
        assert_eq!(largest.len(), TEXT_BYTES_MAX);
        for (position, text) in [
            (Position::STREAM_START, "0-0.0"),
            (entry(1_795_343_574_839, 0, 3), "1795343574839-0.3"),
            (entry(0, u64::MAX, 0), "0-18446744073709551615.0"),
            (entry(u64::MAX, u64::MAX, u32::MAX), largest),
        ] {
            assert_eq!(position.to_string(), text);
            assert_eq!(Position::parse(text.as_bytes()), Some(position));
            assert!(is_position_text(text.as_bytes()));
        }
    }

    #[test]
    fn the_place_before_one_in_a_stream_is_before_it_and_nothing_is_between() {
        assert_eq!(Position::STREAM_START.before_in_stream(), None);
        assert_eq!(at(7, 1).before_in_stream(), None);
        for (position, before) in [
            (entry(7, 5, 3), entry(7, 5, 2)),
            (entry(7, 5, 0), entry(7, 4, u32::MAX)),
            (entry(7, 0, 0), entry(6, u64::MAX, u32::MAX)),
            (entry(0, 0, 1), Position::STREAM_START),
        ] {
            assert_eq!(position.before_in_stream(), Some(before));
            assert!(before < position);
        }
    }

    #[test]
    fn only_positions_of_one_epoch_are_in_an_order() {
        assert!(at(5, 1) < at(5, 2) && at(5, 2) > at(5, 1));
        assert_eq!(at(5, 2).partial_cmp(&at(5, 2)), Some(Ordering::Equal));
        assert_eq!(at(5, 1).partial_cmp(&at(6, 2)), None);
        // Places in a stream are in an order, whatever their entries; with the others in none.
        assert!(entry(5, 1, 9) < entry(5, 2, 0) && entry(5, 9, 9) < entry(6, 0, 0));
        assert!(entry(5, 1, 1) < entry(5, 1, 2));
        assert_eq!(entry(5, 1, 1).partial_cmp(&at(5, 1)), None);
    }

    #[test]
    fn a_text_is_read_back_at_every_length_of_its_numbers() {
        let numbers = |base: u64| {
            let powers = (0..64).map_while(move |digits| base.checked_pow(digits));
            powers.flat_map(|power| [power - 1, power, power.saturating_add(1)])
        };
        for epoch in numbers(36).chain([u64::MAX - 1, u64::MAX]) {
            for seq in numbers(10).chain([u64::MAX - 1, u64::MAX]) {
                let text = at(epoch, seq).text();
                assert!(is_position_text(text.as_bytes()), "{text:?}");
                assert_eq!(text.as_str(), at(epoch, seq).to_string());
                assert_eq!(Position::parse(text.as_bytes()), Some(at(epoch, seq)), "{text:?}");
            }
        }
    }

    #[test]
    fn a_position_has_no_second_text() {
        let too_long = "0".repeat(60);
        for text in [
            "",
            ".",
            "1",
            "1.",
            ".1",
            "00.1",
            "01.1",
            "1.00",
            "1.01",
            "+1.1",
            "1.+1",
            "-1.1",
            "1.-1",
            "A.1",
            "aZ.1",
            "1.a",
            "1.1 ",
            " 1.1",
            "1. 1",
            "1.1.",
            "1.1.1",
            "1..1",
            "1-1",
            "-.1",
            "1-.1",
            "-1.1.1",
            "1-1-1.1",
            "1.1-1",
            "1-1.",
            "01-1.1",
            "1-01.1",
            "1-1.01",
            "a-1.1",
            "1-a.1",
            "1-1.a",
            "1-1.4294967296",
            "18446744073709551616-1.1",
            "1-18446744073709551616.1",
            "1,1",
            "1.1\0",
            "1.1\n",
            "1_0.1",
            "\u{ff11}.1",
            "1.\u{661}",
            // One more than the largest of either number, then numbers of one digit more.
            "3w5e11264sgsg.1",
            "1.18446744073709551616",
            "10000000000000.1",
            "zzzzzzzzzzzzz.1",
            "1.99999999999999999999",
            "1.100000000000000000000",
            &too_long,
        ] {
            assert_eq!(Position::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Position::parse(b"\xff.1"), None);
    }

    #[test]
    fn what_may_be_named_is_a_word_of_64_characters_at_most() {
        let (longest, too_long) = ("x".repeat(64), "x".repeat(65));
        for text in ["0", "Z", "-", ".", "1690000000000-0.0", "AZaz09.-", &longest] {
            assert!(is_position_text(text.as_bytes()), "{text}");
        }
        for text in ["", " ", "a b", "a_b", "a/b", "a:b", "a%", "a\n", "a\"", "\u{e9}", &too_long] {
            assert!(!is_position_text(text.as_bytes()), "{text:?}");
        }
    }
}
