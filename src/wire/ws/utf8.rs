//! UTF-8 (RFC 3629) that arrives in pieces, as RFC 6455 section 8.1 asks of text messages.
//!
//! Deals with: a code point cut anywhere, and refusing at the first byte that cannot continue what
//! came before (Autobahn's "fail fast"). Leaves to others: which bytes belong to one text.
//!
//! The surprise: there is no state machine here. `std::str::from_utf8` tells a wrong byte from an
//! end that came too early, so the at most three bytes of a cut code point are all that is kept.

use std::str;

/// The most bytes that may be there of a code point that is not whole.
const CARRY_BYTES_MAX: usize = 3;

/// The bytes cannot become UTF-8, whatever follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invalid;

/// Checks one text, given piece by piece. Keeps four bytes and no buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    /// `carry[..carried]` is the beginning of a code point whose rest has not come yet.
    carry: [u8; CARRY_BYTES_MAX],
    carried: u8,
}

impl Utf8 {
    /// A text of no bytes so far.
    pub const fn new() -> Utf8 {
        Utf8 { carry: [0; CARRY_BYTES_MAX], carried: 0 }
    }

    /// Appends `bytes` to the text.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if one of them cannot continue the text: an unexpected or missing continuation
    /// byte, an overlong form, a surrogate, a code point above U+10FFFF. The text is lost then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Invalid> {
        let rest = if self.carried == 0 { bytes } else { self.complete(bytes)? };
        // Most texts are short and ASCII; for them this halves the time of `Deframer::next`.
        if rest.is_ascii() {
            return Ok(());
        }
        match str::from_utf8(rest) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(Invalid),
            Err(error) => {
                let cut = &rest[error.valid_up_to()..];
                self.carry[..cut.len()].copy_from_slice(cut);
                self.carried = cut.len() as u8;
                Ok(())
            }
        }
    }

    /// Ends the text.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if the last code point is cut short.
    pub fn finish(&self) -> Result<(), Invalid> {
        if self.carried == 0 { Ok(()) } else { Err(Invalid) }
    }

    /// Adds bytes to the carried code point until it is whole. Returns the bytes behind it. If
    /// `bytes` end first, more is carried and no byte is left.
    fn complete<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Invalid> {
        let mut point = [0; CARRY_BYTES_MAX + 1];
        let carried = usize::from(self.carried);
        point[..carried].copy_from_slice(&self.carry[..carried]);
        for (taken, &byte) in bytes.iter().enumerate() {
            // The index is in bounds: four bytes are a whole code point or an error, and both
            // return below.
            let len = carried + taken + 1;
            point[len - 1] = byte;
            match str::from_utf8(&point[..len]) {
                Ok(_) => {
                    self.carried = 0;
                    return Ok(&bytes[taken + 1..]);
                }
                Err(error) if error.error_len().is_some() => return Err(Invalid),
                Err(_) => {
                    self.carry.copy_from_slice(&point[..CARRY_BYTES_MAX]);
                    self.carried = len as u8;
                }
            }
        }
        Ok(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes pass, given one at a time, before one is refused; `None` if none is.
    fn refused_after(text: &[u8]) -> Option<usize> {
        let mut utf8 = Utf8::new();
        text.iter().position(|&byte| utf8.push(&[byte]).is_err())
    }

    #[test]
    fn refuses_at_the_first_byte_that_cannot_continue() {
        // Each case: the bytes, and how many of them are still a possible beginning.
        let cases: [(&[u8], usize); 13] = [
            (b"a\xff", 1),
            (b"\x80", 0),
            (b"\xc0\xaf", 0),
            (b"\xc1\xbf", 0),
            (b"\xe0\x9f\xbf", 1),
            (b"\xed\xa0\x80", 1),
            (b"\xf0\x8f\xbf\xbf", 1),
            (b"\xf4\x90\x80\x80", 1),
            (b"\xf5\x80\x80\x80", 0),
            (b"\xe2\x82a", 2),
            (b"\xf0\x9f\x98\xc3", 3),
            (b"\xc3\xc3", 1),
            (b"\xe2\x82\xac\xac", 3),
        ];
        for (text, good) in cases {
            assert_eq!(refused_after(text), Some(good), "{text:02x?}");
            let mut whole = Utf8::new();
            assert_eq!(whole.push(text), Err(Invalid), "{text:02x?}");
        }
    }

    #[test]
    fn every_code_point_passes_in_two_pieces_cut_anywhere() {
        for point in '\0'..=char::MAX {
            let mut bytes = [0; 4];
            let bytes = point.encode_utf8(&mut bytes).as_bytes();
            for cut in 0..=bytes.len() {
                let mut utf8 = Utf8::new();
                utf8.push(&bytes[..cut]).expect("a beginning");
                assert_eq!(utf8.finish().is_ok(), cut == 0 || cut == bytes.len());
                utf8.push(&bytes[cut..]).expect("its end");
                utf8.finish().expect("a whole code point");
            }
        }
    }

    #[test]
    fn a_cut_code_point_is_no_end() {
        for text in [&b"\xe2\x82"[..], b"abc\xc3", b"\xf0\x9f\x98", b"\xf0"] {
            let mut utf8 = Utf8::new();
            assert_eq!(utf8.push(text), Ok(()), "{text:02x?}");
            assert_eq!(utf8.finish(), Err(Invalid), "{text:02x?}");
        }
    }

    #[test]
    fn an_empty_piece_changes_nothing() {
        let mut utf8 = Utf8::new();
        utf8.push(b"\xe2\x82").expect("a beginning");
        utf8.push(b"").expect("nothing");
        assert_eq!(utf8.finish(), Err(Invalid));
        utf8.push(b"\xac").expect("its end");
        assert_eq!(utf8.finish(), Ok(()));
    }
}
