//! A client's frames (RFC 6455 section 5), taken apart.
//!
//! Deals with: finding frames in bytes cut anywhere, unmasking them where they lie, the rules for
//! fragments and control frames, the size of a message before it has arrived. Leaves to others: the
//! bytes of a message that comes in pieces (the caller keeps the parts), what follows a close, and
//! the answers ([`super::render`]).
//!
//! ```text
//!            header whole                    payload whole, or some of it
//!   Header ───────────────► Payload ─────────────────────────────────────► Header or Payload
//!      └─────────────────────────┴── a rule broken ──► Failed (stays)
//! ```
//!
//! The surprise: a [`Deframer`] owns no payload. A data payload is handed out as soon as any of it
//! is there; only a control payload, at most 125 bytes, is waited for, and waits at the caller's.

use std::fmt;
use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{self, OpCode};

use super::Kind;
use super::render::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, close_code_valid};
use super::utf8::Utf8;
use crate::wire::Status;
use crate::work;

/// The most bytes of a client's header: those of a server's, and four bytes of mask.
const CLIENT_HEADER_BYTES_MAX: usize = HEADER_BYTES_MAX + 4;

/// One thing that a client has said; payloads are unmasked and borrowed from the caller's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input<'b> {
    /// A message that was neither fragmented nor cut, as most are; UTF-8 if it is text.
    Message(Kind, &'b [u8]),
    /// A piece of a message, which is made up of its pieces in their order.
    Part {
        /// The kind of the message, equal in all of its parts.
        kind: Kind,
        /// The bytes of this part; may be empty. The parts of a text are UTF-8 so far; a code point
        /// may be cut.
        payload: &'b [u8],
        /// Whether the message begins with this part.
        first: bool,
        /// Whether the message ends with this part; then a text is UTF-8 as a whole.
        last: bool,
    },
    /// A ping, to be answered with a pong of the same payload, at most [`CONTROL_BYTES_MAX`] bytes.
    Ping(&'b [u8]),
    /// A pong, which answers a ping or nothing at all; either way the peer lives.
    Pong,
    /// A close, with a code that may be echoed. What follows means nothing (section 5.5.1): the
    /// caller stops calling [`Deframer::next`] and discards.
    Close(Option<u16>),
}

/// What a client did wrong. Its message is lost and the connection is to be closed with [`code`].
///
/// [`code`]: Error::code
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// A reserved bit is set and no extension gave it a meaning.
    ReservedBits,
    /// The opcode has no meaning.
    Opcode,
    /// A client's frame has no mask.
    Unmasked,
    /// A control frame is fragmented or longer than [`CONTROL_BYTES_MAX`].
    Control,
    /// The length is not in its shortest form, or has its top bit set.
    Length,
    /// A frame continues nothing, or begins a new message inside a fragmented one.
    Fragmentation,
    /// The body of a close has one byte, or a code that must not be on the wire.
    CloseBody,
    /// A text or the reason of a close is not UTF-8.
    Utf8,
    /// The message is announced to become longer than it may be.
    TooBig,
}

impl Error {
    /// The code to close with: 1002, 1007 or 1009.
    pub const fn code(self) -> u16 {
        match self {
            Error::ReservedBits
            | Error::Opcode
            | Error::Unmasked
            | Error::Control
            | Error::Length
            | Error::Fragmentation
            | Error::CloseBody => 1002,
            Error::Utf8 => 1007,
            Error::TooBig => 1009,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::ReservedBits => "reserved bit set",
            Error::Opcode => "reserved opcode",
            Error::Unmasked => "unmasked frame",
            Error::Control => "fragmented or oversized control frame",
            Error::Length => "invalid length",
            Error::Fragmentation => "unexpected continuation or new message",
            Error::CloseBody => "invalid close",
            Error::Utf8 => "invalid UTF-8",
            Error::TooBig => "message too big",
        })
    }
}

impl std::error::Error for Error {}

/// Takes the frames of one client apart. All of its state is inline.
#[derive(Debug)]
pub struct Deframer {
    frame: Frame,
    /// The message that has begun and not ended; `Some` while a data payload is awaited.
    message: Option<Message>,
}

const _: () = assert!(size_of::<Deframer>() <= 40, "one lies in every connection's 256 bytes");

impl Deframer {
    /// A deframer that stands before the first frame of a connection.
    pub const fn new() -> Deframer {
        Deframer { frame: Frame::Header(Kept::NOTHING), message: None }
    }

    /// Yields the next thing that `bytes` hold, and how many of them are done with. To be called
    /// again with the rest, and what has come behind it, until the result is [`Status::Partial`].
    ///
    /// Then all of `bytes` are done with, except the payload of a control frame that is not whole.
    /// That is left as it came, and its at most 124 bytes must be presented again in front of what
    /// comes next. Payloads that are yielded have been unmasked in place. Bounded by `bytes`; no
    /// allocation.
    ///
    /// `message_bytes_max` holds for the payload of a message, over all of its fragments.
    ///
    /// # Errors
    ///
    /// [`Error`] as soon as the bytes can no longer become valid; for a message too big, when that
    /// is announced. How much was consumed means nothing then, and later calls repeat the error.
    pub fn next<'b>(
        &mut self,
        bytes: &'b mut [u8],
        message_bytes_max: u64,
    ) -> (usize, Result<Status<Input<'b>>, Error>) {
        let (header_bytes, payload) = match self.frame {
            Frame::Failed(error) => return (0, Err(error)),
            Frame::Payload(payload) => (0, payload),
            Frame::Header(kept) => match self.begin(kept, bytes, message_bytes_max) {
                Ok(Status::Complete(begun)) => begun,
                Ok(Status::Partial) => return (bytes.len(), Ok(Status::Partial)),
                Err(error) => return (0, Err(self.fail(error))),
            },
        };
        let rest = &mut bytes[header_bytes..];
        let (payload_bytes, input) = match payload {
            Payload::Data { mask, left, last } => self.data(mask, left, last, rest),
            Payload::Control { opcode, mask, len } => self.control(opcode, mask, len, rest),
        };
        (header_bytes + payload_bytes, input.map_err(|error| self.fail(error)))
    }

    /// Whether a message has begun and not ended. The first bytes of a header count as a beginning,
    /// unless they are those of a control frame, which may come between messages.
    pub fn mid_message(&self) -> bool {
        let header_begun = match &self.frame {
            Frame::Header(kept) => kept.len > 0 && !matches!(kept.bytes[0] & 0x0f, 0x8..=0xa),
            Frame::Payload(_) | Frame::Failed(_) => false,
        };
        header_begun || self.message.is_some()
    }

    /// Whether a frame has ended, or none has come, and no byte of the next has been read.
    pub fn is_between_frames(&self) -> bool {
        matches!(&self.frame, Frame::Header(kept) if kept.len == 0)
    }

    /// Bytes of the frame under way that have not come: 0 between frames and within a header.
    pub fn wanted_bytes(&self) -> u64 {
        match self.frame {
            Frame::Payload(Payload::Data { left, .. }) => left,
            Frame::Payload(Payload::Control { len, .. }) => u64::from(len),
            Frame::Header(_) | Frame::Failed(_) => 0,
        }
    }

    /// Reads a header to its end, behind what was kept of it, and checks it. Returns how many of
    /// `bytes` it took, and the payload that follows.
    fn begin(
        &mut self,
        mut kept: Kept,
        bytes: &[u8],
        message_bytes_max: u64,
    ) -> Result<Status<(usize, Payload)>, Error> {
        let Some((header, payload_bytes, header_bytes)) = kept.read(bytes)? else {
            self.frame = Frame::Header(kept);
            return Ok(Status::Partial);
        };
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Error::ReservedBits);
        }
        let mask = header.mask.ok_or(Error::Unmasked)?;
        // `FrameHeader::len` is the length that the shortest form would have.
        if header.len(payload_bytes) != kept.before(header_bytes) || payload_bytes >> 63 != 0 {
            return Err(Error::Length);
        }
        let payload = match header.opcode {
            OpCode::Control(opcode) => {
                let len = control_bytes(&header, payload_bytes).ok_or(Error::Control)?;
                Payload::Control { opcode: Opcode::try_from(opcode)?, mask, len }
            }
            OpCode::Data(opcode) => {
                self.announce(opcode, payload_bytes, message_bytes_max)?;
                Payload::Data { mask, left: payload_bytes, last: header.is_final }
            }
        };
        Ok(Status::Complete((header_bytes, payload)))
    }

    /// Opens a message, or goes on with the open one, by a fragment of `fragment_bytes` bytes.
    fn announce(
        &mut self,
        opcode: coding::Data,
        fragment_bytes: u64,
        message_bytes_max: u64,
    ) -> Result<(), Error> {
        let mut message = match (opcode, self.message) {
            (coding::Data::Text, None) => Message::new(Kind::Text),
            (coding::Data::Binary, None) => Message::new(Kind::Binary),
            (coding::Data::Continue, Some(message)) => message,
            (coding::Data::Text | coding::Data::Binary, Some(_))
            | (coding::Data::Continue, None) => return Err(Error::Fragmentation),
            (coding::Data::Reserved(_), _) => return Err(Error::Opcode),
        };
        message.bytes = message.bytes.saturating_add(fragment_bytes);
        if message.bytes > message_bytes_max {
            return Err(Error::TooBig);
        }
        self.message = Some(message);
        Ok(())
    }

    /// Hands out what `bytes` hold of a data payload of which `left` bytes are still to come.
    fn data<'b>(
        &mut self,
        mut mask: [u8; 4],
        left: u64,
        last_frame: bool,
        bytes: &'b mut [u8],
    ) -> (usize, Result<Status<Input<'b>>, Error>) {
        let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let left = left - taken as u64;
        let payload = &mut bytes[..taken];
        unmask(payload, mask);
        work::looked_at(taken);
        mask.rotate_left(taken % 4);
        self.frame = if left == 0 {
            Frame::Header(Kept::NOTHING)
        } else {
            Frame::Payload(Payload::Data { mask, left, last: last_frame })
        };
        if taken == 0 && left > 0 {
            return (0, Ok(Status::Partial));
        }
        let message = self.message.as_mut().expect("a data frame's header opens its message");
        let (kind, first, last) = (message.kind, !message.begun, last_frame && left == 0);
        message.begun = true;
        let valid = match kind {
            Kind::Binary => Ok(()),
            Kind::Text if last => message.text.push(payload).and_then(|()| message.text.finish()),
            Kind::Text => message.text.push(payload),
        };
        if valid.is_err() {
            return (taken, Err(Error::Utf8));
        }
        if last {
            self.message = None;
        }
        let input = if first && last {
            Input::Message(kind, payload)
        } else {
            Input::Part { kind, payload, first, last }
        };
        (taken, Ok(Status::Complete(input)))
    }

    /// Hands out a control frame once `bytes` hold all `len` bytes of its payload.
    fn control<'b>(
        &mut self,
        opcode: Opcode,
        mask: [u8; 4],
        len: u8,
        bytes: &'b mut [u8],
    ) -> (usize, Result<Status<Input<'b>>, Error>) {
        let taken = usize::from(len);
        if bytes.len() < taken {
            self.frame = Frame::Payload(Payload::Control { opcode, mask, len });
            return (0, Ok(Status::Partial));
        }
        self.frame = Frame::Header(Kept::NOTHING);
        let payload = &mut bytes[..taken];
        unmask(payload, mask);
        let input = match opcode {
            Opcode::Ping => Ok(Input::Ping(payload)),
            Opcode::Pong => Ok(Input::Pong),
            Opcode::Close => close_code(payload).map(Input::Close),
        };
        (taken, input.map(Status::Complete))
    }

    fn fail(&mut self, error: Error) -> Error {
        self.frame = Frame::Failed(error);
        error
    }
}

impl Default for Deframer {
    fn default() -> Deframer {
        Deframer::new()
    }
}

/// Where in a frame the next byte belongs.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Header(Kept),
    Payload(Payload),
    Failed(Error),
}

/// A payload that is awaited, the whole of it or a rest.
#[derive(Clone, Copy, Debug)]
enum Payload {
    Data {
        /// The mask, turned so that its first byte belongs to the next byte of the payload.
        mask: [u8; 4],
        left: u64,
        /// Whether the message ends with this frame.
        last: bool,
    },
    Control {
        opcode: Opcode,
        mask: [u8; 4],
        /// Bytes of the payload, at most [`CONTROL_BYTES_MAX`].
        len: u8,
    },
}

/// The control opcodes that have a meaning.
#[derive(Clone, Copy, Debug)]
enum Opcode {
    Ping,
    Pong,
    Close,
}

impl TryFrom<coding::Control> for Opcode {
    type Error = Error;

    fn try_from(opcode: coding::Control) -> Result<Opcode, Error> {
        match opcode {
            coding::Control::Ping => Ok(Opcode::Ping),
            coding::Control::Pong => Ok(Opcode::Pong),
            coding::Control::Close => Ok(Opcode::Close),
            coding::Control::Reserved(_) => Err(Error::Opcode),
        }
    }
}

/// A message that has begun.
#[derive(Clone, Copy, Debug)]
struct Message {
    /// Bytes announced so far, by the headers of the message's fragments.
    bytes: u64,
    text: Utf8,
    kind: Kind,
    /// Whether a part of the message has been handed out.
    begun: bool,
}

impl Message {
    const fn new(kind: Kind) -> Message {
        Message { bytes: 0, text: Utf8::new(), kind, begun: false }
    }
}

/// The first bytes of a header whose rest has not come yet.
#[derive(Clone, Copy, Debug)]
struct Kept {
    bytes: [u8; CLIENT_HEADER_BYTES_MAX - 1],
    len: u8,
}

impl Kept {
    const NOTHING: Kept = Kept { bytes: [0; CLIENT_HEADER_BYTES_MAX - 1], len: 0 };

    /// Reads the header that begins with the kept bytes and goes on in `bytes`. Returns the header,
    /// the length of its payload and how many of `bytes` it took. If the header does not end there,
    /// all of them are kept.
    fn read(&mut self, bytes: &[u8]) -> Result<Option<(FrameHeader, u64, usize)>, Error> {
        let kept = usize::from(self.len);
        if kept == 0
            && let Some((header, payload_bytes, len)) = parse(bytes)?
        {
            return Ok(Some((header, payload_bytes, len)));
        }
        let mut joined = [0; CLIENT_HEADER_BYTES_MAX];
        let len = CLIENT_HEADER_BYTES_MAX.min(kept + bytes.len());
        joined[..kept].copy_from_slice(&self.bytes[..kept]);
        joined[kept..len].copy_from_slice(&bytes[..len - kept]);
        if let Some((header, payload_bytes, len)) = parse(&joined[..len])? {
            // The kept bytes alone were no header, so the header ends behind them.
            return Ok(Some((header, payload_bytes, len - kept)));
        }
        // Fourteen bytes are always a header, so at most thirteen get here.
        self.bytes.copy_from_slice(&joined[..CLIENT_HEADER_BYTES_MAX - 1]);
        self.len = len as u8;
        Ok(None)
    }

    /// The length of a header that goes on for `bytes` bytes behind those that were kept.
    fn before(&self, bytes: usize) -> usize {
        usize::from(self.len) + bytes
    }
}

/// Reads a header at the beginning of `bytes`. Returns the header, its payload's length and its
/// own.
fn parse(bytes: &[u8]) -> Result<Option<(FrameHeader, u64, usize)>, Error> {
    let mut cursor = Cursor::new(bytes);
    // Reading from a slice does not fail, so the opcode is what is wrong.
    let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Error::Opcode)?;
    Ok(parsed.map(|(header, payload_bytes)| (header, payload_bytes, cursor.position() as usize)))
}

/// The length of a control frame's payload, if section 5.5 allows the frame.
fn control_bytes(header: &FrameHeader, payload_bytes: u64) -> Option<u8> {
    let len = u8::try_from(payload_bytes).ok()?;
    (header.is_final && usize::from(len) <= CONTROL_BYTES_MAX).then_some(len)
}

/// The code in a close's body (section 5.5.1).
fn close_code(body: &[u8]) -> Result<Option<u16>, Error> {
    let Some((code, reason)) = body.split_first_chunk() else {
        return if body.is_empty() { Ok(None) } else { Err(Error::CloseBody) };
    };
    let code = u16::from_be_bytes(*code);
    if !close_code_valid(code) {
        return Err(Error::CloseBody);
    }
    std::str::from_utf8(reason).map_err(|_| Error::Utf8)?;
    Ok(Some(code))
}

/// Unmasks a payload: exclusive-or with the repeated mask (section 5.3), eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmasks_every_length_like_one_byte_at_a_time() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let masked: Vec<u8> = (0..64).map(|byte: u8| byte.wrapping_mul(37)).collect();
        for len in 0..=masked.len() {
            let plain: Vec<u8> = (0..len).map(|at| masked[at] ^ mask[at % 4]).collect();
            let mut payload = masked[..len].to_vec();
            unmask(&mut payload, mask);
            assert_eq!(payload, plain, "{len} bytes");
        }
    }
}
