//! Where the body of a request ends (RFC 9112 §6 and §7.1).
//!
//! Deals with: bodies of a known length, and the chunked coding, whose extensions and trailer
//! fields are checked for their form, counted and dropped. Leaves to others: how long a body may be
//! in all.
//!
//! The surprise: nothing is copied and nothing is kept. A piece of the content is a slice of the
//! input, so a body that is cut otherwise comes in other pieces; joined they are equal.

use super::is_token_byte;
use super::target::hexadecimal;
use std::fmt;

/// The most bytes of all chunk extensions of one body together.
pub const EXTENSION_BYTES_MAX: u16 = 1024;

/// The most bytes of all trailer field lines of one body together, line ends not counted.
pub const TRAILER_BYTES_MAX: u16 = 4096;

/// The most trailer field lines of one body.
pub const TRAILERS_MAX: u8 = 16;

/// The most digits of a chunk's size, leading zeros included.
const SIZE_DIGITS_MAX: u8 = 16;

/// How the end of a body is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is no body: neither Content-Length nor Transfer-Encoding was sent.
    None,
    /// The body has this many bytes, below 2^63.
    Length(u64),
    /// The body comes in chunks that carry their own lengths.
    Chunked,
}

impl Framing {
    /// Whether bytes of a body follow the head, or may follow. A body of length 0 is none: nothing
    /// of it comes, so nothing of it can be taken for something else.
    pub const fn has_body(self) -> bool {
        match self {
            Framing::None | Framing::Length(0) => false,
            Framing::Length(_) | Framing::Chunked => true,
        }
    }
}

/// What one step of [`Body::decode`] has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chunk<'b> {
    /// Bytes of the content came, at least one.
    Data(&'b [u8]),
    /// All input is consumed, and the body goes on.
    Partial,
    /// The body is over; whatever was not consumed belongs to the next request.
    End,
}

/// The decoder of one body. It knows its position, so the input may be cut anywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Body {
    state: State,
    /// Bytes of extensions and, from the last chunk on, of trailers; never above their limits.
    extra_bytes: u16,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The content of a chunk, or of a body whose length was announced; `left` is above 0.
    Content { left: u64, chunked: bool },
    /// The size of a chunk, of which `digits` have been read.
    Size { size: u64, digits: u8 },
    /// An extension behind a chunk's size.
    Extension { size: u64 },
    /// The LF behind a chunk's size.
    SizeLineFeed { size: u64 },
    /// The CR behind a chunk's content.
    ContentReturn,
    /// The LF behind a chunk's content.
    ContentLineFeed,
    /// The first byte of a trailer field or of the empty line.
    Trailer { trailers: u8 },
    /// The name of a trailer field, which has begun.
    TrailerName { trailers: u8 },
    /// The value of a trailer field.
    TrailerValue { trailers: u8 },
    /// The LF behind a trailer field.
    TrailerLineFeed { trailers: u8 },
    /// The LF of the empty line that ends a chunked body.
    LastLineFeed,
    /// The body is over.
    End,
}

impl Body {
    /// A decoder that stands before the first byte of a body.
    pub const fn new(framing: Framing) -> Body {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::End,
            Framing::Length(left) => State::Content { left, chunked: false },
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        Body { state, extra_bytes: 0 }
    }

    /// Decodes one step. Returns how many bytes of `input` were consumed, and what they were.
    ///
    /// To be called with what was not consumed until it returns `Partial` or `End`. Nothing is
    /// consumed behind `End`, which is returned again and again.
    ///
    /// # Errors
    ///
    /// The chunked coding is malformed or a limit is reached. The end of the body cannot be known
    /// any more, so nothing that follows may be interpreted.
    pub fn decode<'b>(&mut self, input: &'b [u8]) -> Result<(usize, Chunk<'b>), BodyError> {
        let mut rest = input;
        loop {
            let consumed = input.len() - rest.len();
            if self.state == State::End {
                return Ok((consumed, Chunk::End));
            }
            let [byte, behind @ ..] = rest else {
                return Ok((consumed, Chunk::Partial));
            };
            if let State::Content { left, chunked } = self.state {
                let data = &rest[..rest.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
                self.state = match left - data.len() as u64 {
                    0 if chunked => State::ContentReturn,
                    0 => State::End,
                    left => State::Content { left, chunked },
                };
                return Ok((consumed + data.len(), Chunk::Data(data)));
            }
            self.state = self.after(*byte)?;
            rest = behind;
        }
    }

    /// Bytes of content that were announced and have not come: of the whole body, or of the chunk
    /// under way.
    pub const fn wanted_bytes(&self) -> u64 {
        match self.state {
            State::Content { left, .. } => left,
            State::Size { .. }
            | State::Extension { .. }
            | State::SizeLineFeed { .. }
            | State::ContentReturn
            | State::ContentLineFeed
            | State::Trailer { .. }
            | State::TrailerName { .. }
            | State::TrailerValue { .. }
            | State::TrailerLineFeed { .. }
            | State::LastLineFeed
            | State::End => 0,
        }
    }

    /// Whether the body is over.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// The state after `byte`, which is not content.
    fn after(&mut self, byte: u8) -> Result<State, BodyError> {
        match (self.state, byte) {
            (State::Size { digits: 1.., size }, b'\r') => Ok(State::SizeLineFeed { size }),
            (State::Size { digits: 1.., size }, b';') => Ok(State::Extension { size }),
            (State::Size { size, digits }, _) => longer_size(size, digits, byte),

            (State::Extension { size }, b'\r') => Ok(State::SizeLineFeed { size }),
            (State::Extension { size }, _) => {
                self.count(byte, EXTENSION_BYTES_MAX, BodyError::ExtensionsTooLong)?;
                Ok(State::Extension { size })
            }

            (State::SizeLineFeed { size: 0 }, b'\n') => {
                self.extra_bytes = 0;
                Ok(State::Trailer { trailers: 0 })
            }
            (State::SizeLineFeed { size }, b'\n') => {
                Ok(State::Content { left: size, chunked: true })
            }
            (State::ContentReturn, b'\r') => Ok(State::ContentLineFeed),
            (State::ContentLineFeed, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            (State::ContentReturn | State::ContentLineFeed, _) => Err(BodyError::ChunkEnd),

            (State::Trailer { .. }, b'\r') => Ok(State::LastLineFeed),
            (State::Trailer { trailers: TRAILERS_MAX.. }, _) => Err(BodyError::TrailersTooLong),
            (State::Trailer { trailers }, _) if is_token_byte(byte) => {
                self.count(byte, TRAILER_BYTES_MAX, BodyError::TrailersTooLong)?;
                Ok(State::TrailerName { trailers: trailers + 1 })
            }
            (State::TrailerName { trailers }, b':') => Ok(State::TrailerValue { trailers }),
            (State::TrailerName { trailers }, _) if is_token_byte(byte) => {
                self.count(byte, TRAILER_BYTES_MAX, BodyError::TrailersTooLong)?;
                Ok(State::TrailerName { trailers })
            }
            (State::Trailer { .. } | State::TrailerName { .. }, _) => Err(BodyError::Trailer),
            (State::TrailerValue { trailers }, b'\r') => Ok(State::TrailerLineFeed { trailers }),
            (State::TrailerValue { trailers }, _) => {
                self.count(byte, TRAILER_BYTES_MAX, BodyError::TrailersTooLong)?;
                Ok(State::TrailerValue { trailers })
            }
            (State::TrailerLineFeed { trailers }, b'\n') => Ok(State::Trailer { trailers }),
            (State::LastLineFeed, b'\n') => Ok(State::End),
            (State::SizeLineFeed { .. }, _)
            | (State::TrailerLineFeed { .. } | State::LastLineFeed, _) => Err(BodyError::LineEnd),

            (State::Content { .. } | State::End, _) => Ok(self.state),
        }
    }

    /// Counts a byte that is dropped. An error if it is a control character other than a tab, or if
    /// `bytes_max` were counted before.
    fn count(&mut self, byte: u8, bytes_max: u16, error: BodyError) -> Result<(), BodyError> {
        if byte != b'\t' && byte.is_ascii_control() {
            return Err(BodyError::LineEnd);
        }
        if self.extra_bytes == bytes_max {
            return Err(error);
        }
        self.extra_bytes += 1;
        Ok(())
    }
}

/// The state after one more digit of a chunk's size, which must fit 63 bits.
///
/// Whitespace around the size is refused although RFC 9112 §7.1.1 knows it before a `;`: readers
/// have disagreed about it, and no client sends it.
fn longer_size(size: u64, digits: u8, digit: u8) -> Result<State, BodyError> {
    let digit = hexadecimal(digit).ok_or(BodyError::ChunkSize)?;
    if digits == SIZE_DIGITS_MAX || size > (i64::MAX as u64 >> 4) {
        return Err(BodyError::ChunkSize);
    }
    Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
}

/// Why the chunked coding of a body cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyError {
    /// A chunk has no size, another byte than a hexadecimal digit, too many digits, or a size above
    /// 63 bits.
    ChunkSize,
    /// The content of a chunk is not followed by CRLF where its size says so.
    ChunkEnd,
    /// A line does not end in CRLF, or a control character stands in it.
    LineEnd,
    /// There are more bytes of extensions than [`EXTENSION_BYTES_MAX`].
    ExtensionsTooLong,
    /// A trailer is no field line.
    Trailer,
    /// There are more trailers than [`TRAILERS_MAX`], or more bytes of them than
    /// [`TRAILER_BYTES_MAX`].
    TrailersTooLong,
}

impl fmt::Display for BodyError {
    /// A sentence without a full stop, fit for the body of the answer and for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BodyError::ChunkSize => "the size of a chunk is malformed or too large",
            BodyError::ChunkEnd => "a chunk does not end where its size says",
            BodyError::LineEnd => "a line of the chunked body does not end in CRLF",
            BodyError::ExtensionsTooLong => "the chunk extensions are too long",
            BodyError::Trailer => "a trailer is not a field line",
            BodyError::TrailersTooLong => "the trailers are too many or too long",
        })
    }
}

impl std::error::Error for BodyError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes all of `input`. Returns the content and how many bytes were consumed, if the body
    /// ends.
    fn decoded(framing: Framing, input: &[u8]) -> Result<Option<(Vec<u8>, usize)>, BodyError> {
        let (mut body, mut content, mut position) = (Body::new(framing), Vec::new(), 0);
        loop {
            let (consumed, chunk) = body.decode(&input[position..])?;
            position += consumed;
            match chunk {
                Chunk::Data(data) => content.extend(data),
                Chunk::Partial => return Ok(None),
                Chunk::End => return Ok(Some((content, position))),
            }
        }
    }

    fn refused(input: &[u8]) -> Option<BodyError> {
        decoded(Framing::Chunked, input).err()
    }

    #[test]
    fn a_decoder_is_small() {
        assert!(size_of::<Body>() <= 24);
    }

    #[test]
    fn no_body_is_over_at_once() {
        assert_eq!(decoded(Framing::None, b"GET"), Ok(Some((vec![], 0))));
        assert_eq!(decoded(Framing::Length(0), b"GET"), Ok(Some((vec![], 0))));
        assert!(Body::new(Framing::None).is_over() && Body::new(Framing::Length(0)).is_over());
        assert!(!Body::new(Framing::Length(1)).is_over() && !Body::new(Framing::Chunked).is_over());
    }

    #[test]
    fn a_length_ends_where_it_says() {
        assert_eq!(decoded(Framing::Length(3), b"abcGET"), Ok(Some((b"abc".to_vec(), 3))));
        assert_eq!(decoded(Framing::Length(4), b"abc"), Ok(None));
    }

    #[test]
    fn chunks_are_joined_and_trailers_dropped() {
        let body = b"3;x=\"y\"\r\nabc\r\n00A\r\n0123456789\r\n0\r\nX-T: v\r\nEmpty:\r\n\r\nGET";
        let content = b"abc0123456789".to_vec();
        assert_eq!(decoded(Framing::Chunked, body), Ok(Some((content, body.len() - 3))));
    }

    #[test]
    fn sizes_end_at_sixteen_digits_and_63_bits() {
        assert_eq!(refused(b"7fffffffffffffff\r\n"), None);
        assert_eq!(refused(b"8000000000000000\r\n"), Some(BodyError::ChunkSize));
        assert_eq!(refused(b"0000000000000001\r\n"), None);
        assert_eq!(refused(b"00000000000000001"), Some(BodyError::ChunkSize));
        for size in ["\r\n", ";x", "-1", "+1", " 1", "1 ", "0x1", "g"] {
            assert_eq!(refused(size.as_bytes()), Some(BodyError::ChunkSize), "{size}");
        }
    }

    #[test]
    fn every_line_of_the_coding_ends_in_crlf() {
        assert_eq!(refused(b"1\n"), Some(BodyError::ChunkSize));
        assert_eq!(refused(b"1\ra"), Some(BodyError::LineEnd));
        assert_eq!(refused(b"1;x\n"), Some(BodyError::LineEnd));
        assert_eq!(refused(b"1\r\na\n"), Some(BodyError::ChunkEnd));
        assert_eq!(refused(b"1\r\na\r1"), Some(BodyError::ChunkEnd));
        assert_eq!(refused(b"0\r\nX: v\n"), Some(BodyError::LineEnd));
        assert_eq!(refused(b"0\r\nX: v\rX"), Some(BodyError::LineEnd));
        assert_eq!(refused(b"0\r\n\rX"), Some(BodyError::LineEnd));
    }

    #[test]
    fn trailers_are_field_lines() {
        for trailers in ["\n", " X: v", ": v", "X v", "X : v", "GET / HTTP/1.1\r\n"] {
            let body = format!("0\r\n{trailers}");
            assert_eq!(refused(body.as_bytes()), Some(BodyError::Trailer), "{trailers}");
        }
    }

    #[test]
    fn extensions_and_trailers_have_limits_of_their_own() {
        let extension = b"x".repeat(usize::from(EXTENSION_BYTES_MAX));
        let value = b"v".repeat(usize::from(TRAILER_BYTES_MAX) - 1);
        let body = [b"0;", extension.as_slice(), b"\r\nX:", &value, b"\r\n\r\n"].concat();
        assert_eq!(decoded(Framing::Chunked, &body), Ok(Some((vec![], body.len()))));

        let twice = [b"1;", extension.as_slice(), b"\r\na\r\n0;x"].concat();
        assert_eq!(refused(&twice), Some(BodyError::ExtensionsTooLong));
        let longer = [b"0\r\nX:", value.as_slice(), b"v"].concat();
        assert_eq!(refused(&longer), Some(BodyError::TrailersTooLong));
        let many = [b"0\r\n".as_slice(), &b"X:\r\n".repeat(usize::from(TRAILERS_MAX))].concat();
        assert_eq!(refused(&many), None);
        assert_eq!(refused(&[&many, b"X".as_slice()].concat()), Some(BodyError::TrailersTooLong));
    }
}
