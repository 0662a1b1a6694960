//! Where a request head ends (RFC 9112 §2.2 and §3), found in one pass however the bytes come.
//!
//! Deals with: line ends, control characters and limits. Leaves to others: what the lines say,
//! which [`parse`](super::parse) reads. A lone line feed as line end is a leniency that RFC 9112
//! permits and that is refused here: a balancer in front may not see a line there where we would.
//!
//! The surprise: the limits are counted here and not where the fields are parsed, since a head
//! that is too long must be refused before it is complete.

use super::HeadError;
use crate::wire::Status;
use crate::work;

/// The most bytes of a request line, without its CRLF; a longer one is answered with 414.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// The most bytes of all field lines with their CRLFs, the empty line not counted; more are
/// answered with 431.
pub const FIELDS_BYTES_MAX: usize = 16 * 1024;

/// The most field lines; one more is answered with 431.
pub const FIELDS_MAX: usize = 100;

/// The most bytes of a head that is accepted: one empty line, the request line, the fields, an
/// empty line. Given so many bytes, [`HeadScan::advance`] never asks for more.
pub const HEAD_BYTES_MAX: usize = 2 + TARGET_BYTES_MAX + 2 + FIELDS_BYTES_MAX + 2;

// Positions are kept in 16 bits; the position of a byte beyond a limit must fit as well.
const _: () = assert!(HEAD_BYTES_MAX < u16::MAX as usize && FIELDS_MAX < u8::MAX as usize);

/// Finds the end of a request head and remembers where it stopped, so that no byte is scanned
/// twice. Each request needs a new one, which counts from the request's first byte.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HeadScan {
    /// The number of bytes that have been looked at.
    position: u16,
    /// Where the line begins in which `position` stands.
    line: u16,
    /// Where the field lines begin; 0 while the request line is still being read.
    fields_begin: u16,
    /// How many field lines have ended.
    fields: u8,
}

impl HeadScan {
    /// Looks at the bytes that are new in `bytes`, which is everything of this request so far.
    ///
    /// `Complete` carries the length of the head in bytes, with its empty line and with the one
    /// empty line before the request that RFC 9112 §2.2 asks to tolerate. What lies behind is not
    /// looked at. Once complete or refused, further calls say the same again.
    ///
    /// # Errors
    ///
    /// A bare CR or LF, a control character other than a tab, a second empty line, or a limit.
    ///
    /// # Panics
    ///
    /// If `bytes` has become shorter than what was looked at before.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Status<usize>, HeadError> {
        loop {
            let begin = usize::from(self.position);
            let end = begin + line_length(&bytes[begin..]);
            work::looked_at(end + 1 - begin);
            self.position = self.within_limit(end)?;
            match bytes[end..] {
                [] | [b'\r'] => return Ok(Status::Partial),
                [b'\r', b'\n', ..] if self.is_end_of_head() => {
                    return Ok(Status::Complete(end + 2));
                }
                [b'\r', b'\n', ..] => self.end_line()?,
                [b'\r' | b'\n', ..] => return Err(HeadError::LineEnd),
                [_, ..] => return Err(HeadError::ControlCharacter),
            }
        }
    }

    /// `end` as a position, if the part of the head in which it stands may reach so far.
    fn within_limit(&self, end: usize) -> Result<u16, HeadError> {
        let (begin, bytes_max, error) = match self.fields_begin {
            0 => (self.line, TARGET_BYTES_MAX, HeadError::TargetTooLong),
            begin => (begin, FIELDS_BYTES_MAX, HeadError::FieldsTooLong),
        };
        if end - usize::from(begin) > bytes_max {
            return Err(error);
        }
        Ok(u16::try_from(end).expect("the limits of both parts together fit 16 bits"))
    }

    /// Whether a line end at `position` would be the empty line behind the fields.
    fn is_end_of_head(&self) -> bool {
        self.fields_begin != 0 && self.position == self.line
    }

    /// Steps over the line end at `position`, which is not the one that ends the head.
    fn end_line(&mut self) -> Result<(), HeadError> {
        let next = self.position + 2;
        if self.fields_begin != 0 {
            if usize::from(next - self.fields_begin) > FIELDS_BYTES_MAX {
                return Err(HeadError::FieldsTooLong);
            }
            if usize::from(self.fields) == FIELDS_MAX {
                return Err(HeadError::TooManyFields);
            }
            self.fields += 1;
        } else if self.position > self.line {
            self.fields_begin = next;
        } else if self.line > 0 {
            // This is the second empty line. A PROXY v2 header in place of a request ends here,
            // too.
            return Err(HeadError::EmptyLines);
        }
        self.position = next;
        self.line = next;
        Ok(())
    }
}

/// How many bytes at the beginning may stand in a line: no control characters but tabs (and DEL).
pub(super) fn line_length(bytes: &[u8]) -> usize {
    let is_in_line = |byte: u8| (byte >= b' ') | (byte == b'\t');
    // A whole block is looked at without a branch per byte, which makes it vector instructions.
    let is_whole = |block: &&[u8; 16]| block.iter().fold(true, |all, byte| all & is_in_line(*byte));
    let blocks_length = 16 * bytes.as_chunks::<16>().0.iter().take_while(is_whole).count();
    let rest = bytes[blocks_length..].iter().take_while(|byte| is_in_line(**byte));
    blocks_length + rest.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head whose request line has `target` bytes and whose fields have `fields` bytes.
    fn head(target: usize, fields: usize) -> Vec<u8> {
        let mut head = vec![b'\r', b'\n'];
        head.extend(std::iter::repeat_n(b'a', target));
        head.extend(b"\r\nX:");
        head.extend(std::iter::repeat_n(b' ', fields - 4));
        head.extend(b"\r\n\r\n");
        head
    }

    #[test]
    fn eight_bytes_are_remembered() {
        assert_eq!(size_of::<HeadScan>(), 8);
    }

    #[test]
    fn the_longest_head_is_as_long_as_the_limit_says() {
        let head = head(TARGET_BYTES_MAX, FIELDS_BYTES_MAX);
        assert_eq!(head.len(), HEAD_BYTES_MAX);
        assert_eq!(HeadScan::default().advance(&head), Ok(Status::Complete(HEAD_BYTES_MAX)));
    }

    #[test]
    fn one_byte_more_is_refused_as_soon_as_it_comes() {
        let long_target = head(TARGET_BYTES_MAX + 1, 10);
        let refused = HeadScan::default().advance(&long_target[..2 + TARGET_BYTES_MAX + 1]);
        assert_eq!(refused, Err(HeadError::TargetTooLong));

        let long_fields = head(10, FIELDS_BYTES_MAX + 3);
        let refused = HeadScan::default().advance(&long_fields[..14 + FIELDS_BYTES_MAX + 1]);
        assert_eq!(refused, Err(HeadError::FieldsTooLong));
    }

    #[test]
    fn a_line_end_beyond_the_limit_counts_as_well() {
        for excess in [1, 2] {
            let refused = HeadScan::default().advance(&head(10, FIELDS_BYTES_MAX + excess));
            assert_eq!(refused, Err(HeadError::FieldsTooLong));
        }
    }

    #[test]
    fn no_head_of_the_longest_length_needs_more() {
        for byte in [b'a', b'\t', b' ', b'\r'] {
            let mut bytes = b"\r\nGET / HTTP/1.1\r\n".to_vec();
            bytes.resize(HEAD_BYTES_MAX, byte);
            assert!(HeadScan::default().advance(&bytes).is_err());
            assert!(HeadScan::default().advance(&[byte; HEAD_BYTES_MAX]).is_err());
        }
    }

    #[test]
    fn the_hundred_and_first_field_is_refused() {
        let with = |fields| [b"a\r\n".as_slice(), &b"b:\r\n".repeat(fields), b"\r\n"].concat();
        let whole = with(FIELDS_MAX);
        assert_eq!(HeadScan::default().advance(&whole), Ok(Status::Complete(whole.len())));
        let refused = HeadScan::default().advance(&with(FIELDS_MAX + 1));
        assert_eq!(refused, Err(HeadError::TooManyFields));
    }

    #[test]
    fn the_second_empty_line_is_refused_at_once() {
        assert_eq!(HeadScan::default().advance(b"\r\n\r"), Ok(Status::Partial));
        assert_eq!(HeadScan::default().advance(b"\r\n\r\n"), Err(HeadError::EmptyLines));
    }

    #[test]
    fn a_verdict_stays() {
        let mut scan = HeadScan::default();
        assert_eq!(scan.advance(b"GET / HTTP/1.1\r\n\r\nGET"), Ok(Status::Complete(18)));
        assert_eq!(scan.advance(b"GET / HTTP/1.1\r\n\r\nGET /"), Ok(Status::Complete(18)));

        let mut scan = HeadScan::default();
        assert_eq!(scan.advance(b"GET\n"), Err(HeadError::LineEnd));
        assert_eq!(scan.advance(b"GET\n /"), Err(HeadError::LineEnd));
    }

    #[test]
    fn a_line_is_counted_to_the_first_control_character_that_is_no_tab() {
        for length in 0..40 {
            for byte in [0xff, b'\t', b' '] {
                let mut bytes = vec![byte; length];
                assert_eq!(line_length(&bytes), length);
                bytes.extend(b"\nabcdefghijklmnopqrst");
                assert_eq!(line_length(&bytes), length);
            }
        }
        for control in (0..b' ').filter(|byte| *byte != b'\t') {
            assert_eq!(line_length(&[b'a', b'\t', control]), 2);
        }
    }
}
