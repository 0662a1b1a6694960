//! The server's packets in a polling body (Engine.IO protocols 3 and 4, "Payload encoding").
//!
//! A session that polls reads the same feed as one with a WebSocket, so its messages lie there as
//! finished frames. [`frames`] finds these frames again, [`Body`] joins them as packets:
//!
//! ```text
//!   81 06 "4hello"   82 03 01 02 03        ─► 4hello 1e bAQID          protocol 4
//!   81 06 "4hello"   82 04 04 01 02 03     ─► 6:4hello6:b4AQID         protocol 3
//! ```
//!
//! Deals with: both protocols, records that wrap in their ring, the exact length of what will be
//! appended. Leaves to others: how much goes into one body, and the response around it.
//!
//! The surprise: protocol 3 has a binary form of bodies, which is never written. Every client
//! reads the text form, so there is one way out and no question of what a browser can take.

use std::io::Cursor;

use data_encoding::BASE64;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{self, OpCode};

use super::payload::SEPARATOR;
use super::{BINARY_MESSAGE, Version};
use crate::wire::ws::{HEADER_BYTES_MAX, Kind};

/// One frame of the server: a packet as a WebSocket of its session's protocol carries it. The
/// payload is in two slices because it may wrap in its ring, and the cut may be inside a code
/// point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'b> {
    /// Whether the frame is text or binary.
    pub kind: Kind,
    /// The payload in order; both slices may be empty.
    pub payload: [&'b [u8]; 2],
}

impl<'b> Frame<'b> {
    /// A text packet of the server's own, type digit included: `6`, `40{"sid":…}`.
    pub const fn text(packet: &'b str) -> Frame<'b> {
        Frame { kind: Kind::Text, payload: [packet.as_bytes(), b""] }
    }

    /// The data of a binary message, without the type byte that protocol 3 puts in front of it.
    fn without_type(self) -> [&'b [u8]; 2] {
        let (first, rest) = match self.payload {
            [[first, rest @ ..], second] => (first, [rest, second]),
            [[], [first, rest @ ..]] => (first, [rest, &[]]),
            [[], []] => panic!("a binary frame of protocol 3 has a type byte"),
        };
        assert_eq!(*first, BINARY_MESSAGE, "the binary packets of a server are messages");
        rest
    }

    fn payload_bytes(self) -> usize {
        bytes_of(self.payload)
    }
}

/// The frames in a piece of a feed, given as the ring's two slices: whole records of the server's
/// own making, so unmasked data frames that are final, one behind the other.
pub const fn frames<'b>(first: &'b [u8], second: &'b [u8]) -> Frames<'b> {
    Frames { rest: [first, second] }
}

/// Iterator over the frames in a piece of a feed; see [`frames`].
#[derive(Clone, Debug)]
pub struct Frames<'b> {
    rest: [&'b [u8]; 2],
}

impl<'b> Iterator for Frames<'b> {
    type Item = Frame<'b>;

    /// The next frame; `None` at the end of the piece.
    ///
    /// # Panics
    ///
    /// If the piece is anything else than [`frames`] asks for, which would be our mistake.
    fn next(&mut self) -> Option<Frame<'b>> {
        if bytes_of(self.rest) == 0 {
            return None;
        }
        let mut header = [0; HEADER_BYTES_MAX];
        let mut length = 0;
        for byte in self.rest.into_iter().flatten().take(HEADER_BYTES_MAX) {
            header[length] = *byte;
            length += 1;
        }
        let mut cursor = Cursor::new(&header[..length]);
        let (header, payload_bytes) = FrameHeader::parse(&mut cursor)
            .ok()
            .flatten()
            .expect("a feed's records are whole frames with known opcodes");
        let kind = match header.opcode {
            OpCode::Data(coding::Data::Text) => Kind::Text,
            OpCode::Data(coding::Data::Binary) => Kind::Binary,
            OpCode::Data(coding::Data::Continue | coding::Data::Reserved(_))
            | OpCode::Control(_) => panic!("a feed's records are whole messages"),
        };
        assert!(header.is_final && header.mask.is_none(), "a server's frame, and all of it");
        self.take(cursor.position() as usize);
        let payload_bytes = usize::try_from(payload_bytes).expect("a record is in memory");
        Some(Frame { kind, payload: self.take(payload_bytes) })
    }
}

impl<'b> Frames<'b> {
    fn take(&mut self, bytes: usize) -> [&'b [u8]; 2] {
        let [first, second] = self.rest;
        let cut = bytes.min(first.len());
        assert!(bytes - cut <= second.len(), "a feed's records are whole frames");
        let (taken, first) = first.split_at(cut);
        let (also_taken, second) = second.split_at(bytes - cut);
        self.rest = [first, second];
        [taken, also_taken]
    }
}

/// A polling body that is being written.
#[derive(Debug)]
pub struct Body<'o> {
    version: Version,
    out: &'o mut Vec<u8>,
    /// Where the body begins in `out`.
    start: usize,
}

impl<'o> Body<'o> {
    /// An empty body at the end of `out`.
    pub const fn new(version: Version, out: &'o mut Vec<u8>) -> Body<'o> {
        let start = out.len();
        Body { version, out, start }
    }

    /// Bytes of the body so far.
    pub const fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// Whether the body has no packet yet. Such a body must not be sent: clients take it for an
    /// error.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// By how many bytes [`Body::push`] would lengthen the body, exactly.
    pub fn bytes_with(&self, frame: Frame<'_>) -> usize {
        let mut length = BodyLength { version: self.version, bytes: self.len() };
        length.add(frame);
        length.bytes - self.len()
    }

    /// Appends a frame as a packet. With [`Body::bytes_with`] of capacity to spare this does not
    /// allocate.
    ///
    /// # Panics
    ///
    /// If the frame is binary, of protocol 3, and its first byte is not that of a message.
    pub fn push(&mut self, frame: Frame<'_>) {
        if self.separated() {
            self.out.push(SEPARATOR);
        }
        match (self.version, frame.kind) {
            (Version::V4, Kind::Text) => self.copy(frame.payload),
            (Version::V4, Kind::Binary) => {
                self.out.push(b'b');
                self.encode(frame.payload);
            }
            (Version::V3, Kind::Text) => {
                self.prefix(units(frame.payload));
                self.copy(frame.payload);
            }
            (Version::V3, Kind::Binary) => {
                let data = frame.without_type();
                self.prefix(2 + BASE64.encode_len(bytes_of(data)));
                self.out.extend_from_slice(b"b4");
                self.encode(data);
            }
        }
    }

    /// Whether a separator comes before the next packet.
    fn separated(&self) -> bool {
        self.version == Version::V4 && !self.is_empty()
    }

    fn prefix(&mut self, units: usize) {
        let mut digits = [0; DIGITS_MAX];
        let mut begin = DIGITS_MAX;
        let mut left = units;
        loop {
            begin -= 1;
            digits[begin] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[begin..]);
        self.out.push(b':');
    }

    fn copy(&mut self, parts: [&[u8]; 2]) {
        parts.into_iter().for_each(|part| self.out.extend_from_slice(part));
    }

    /// Appends the base64 of two parts as if they were one: the triple at their border is put
    /// together.
    fn encode(&mut self, [first, second]: [&[u8]; 2]) {
        let (triples, left) = first.split_at(first.len() - first.len() % 3);
        let (lent, rest) = second.split_at(second.len().min(3 - left.len()));
        let mut shared = [0; 3];
        let shared_bytes = left.len() + lent.len();
        shared[..left.len()].copy_from_slice(left);
        shared[left.len()..shared_bytes].copy_from_slice(lent);
        for part in [triples, &shared[..shared_bytes], rest] {
            let before = self.out.len();
            self.out.resize(before + BASE64.encode_len(part.len()), 0);
            BASE64.encode_mut(part, &mut self.out[before..]);
        }
    }
}

/// The length of a body that is still to be written, added up packet by packet.
#[derive(Clone, Copy, Debug)]
pub struct BodyLength {
    version: Version,
    bytes: usize,
}

impl BodyLength {
    /// The length of a body without packets.
    pub const fn new(version: Version) -> BodyLength {
        BodyLength { version, bytes: 0 }
    }

    /// Adds exactly what [`Body::push`] would append for `frame`.
    pub fn add(&mut self, frame: Frame<'_>) {
        let (before, length) = match (self.version, frame.kind) {
            (Version::V4, Kind::Text) => (0, frame.payload_bytes()),
            (Version::V4, Kind::Binary) => (1, BASE64.encode_len(frame.payload_bytes())),
            (Version::V3, Kind::Text) => {
                (prefix_bytes(units(frame.payload)), frame.payload_bytes())
            }
            (Version::V3, Kind::Binary) => {
                let length = 2 + BASE64.encode_len(bytes_of(frame.without_type()));
                (prefix_bytes(length), length)
            }
        };
        let separated = self.version == Version::V4 && self.bytes > 0;
        self.bytes += usize::from(separated) + before + length;
    }

    /// Bytes of the body.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A whole body that says nothing: it only ends a poll.
pub const fn noop_body(version: Version) -> &'static [u8] {
    match version {
        Version::V3 => b"1:6",
        Version::V4 => b"6",
    }
}

/// A whole body that says that the session is over.
pub const fn close_body(version: Version) -> &'static [u8] {
    match version {
        Version::V3 => b"1:1",
        Version::V4 => b"1",
    }
}

/// The most decimal digits of any `usize`.
const DIGITS_MAX: usize = usize::MAX.ilog10() as usize + 1;

/// Bytes of a length in decimal digits and the colon behind it.
const fn prefix_bytes(units: usize) -> usize {
    let digits = match units.checked_ilog10() {
        Some(rest) => rest as usize + 1,
        None => 1,
    };
    digits + 1
}

/// How many UTF-16 code units a text has, which may be cut anywhere: one per code point, and one
/// more for each code point of four bytes.
fn units(text: [&[u8]; 2]) -> usize {
    let units_of = |byte: &u8| match byte {
        0x80..=0xbf => 0,
        0xf0.. => 2,
        _ => 1,
    };
    text.into_iter().flatten().map(units_of).sum()
}

const fn bytes_of([first, second]: [&[u8]; 2]) -> usize {
    first.len() + second.len()
}
