//! Engine.IO, protocols 3 and 4 (github.com/socketio/engine.io-protocol), as bytes and values.
//!
//! Engine.IO carries text and binary messages over WebSocket or over HTTP polling. On a WebSocket
//! a packet is a frame; a polling body joins any number of packets:
//!
//! ```text
//!                 protocol 4                      protocol 3
//!   text frame    4hello                          4hello
//!   binary frame  01 02 03                        04 01 02 03
//!   polling       4hello 1e bAQID                 6:4hello6:b4AQID
//!
//!   packet     a client's frame, or one piece of its polling body ─► Packet
//!   payload    a client's polling body ─► pieces
//!   body       the server's frames, as they lie in a feed ─► a polling body
//!   handshake  query string, session ids, the open packet, refusals
//! ```
//!
//! Deals with: both protocols' packets, and what an upgrade or a poll says in its query. Leaves to
//! others: sessions and their deadlines, which transport carries them, what a message means
//! ([`super::socketio`]), HTTP itself, and the limits on how large a body may be.
//!
//! The surprise: protocol 3 counts the length of a packet in UTF-16 code units, as JavaScript's
//! strings do, though bytes are what it sends.

use std::fmt;

mod body;
mod handshake;
mod packet;
mod payload;

pub use body::{Body, BodyLength, Frame, Frames, close_body, frames, noop_body};
pub use handshake::{
    Asked, OPEN_BYTES_MAX, Open, Query, Refusal, SID_BYTES, SID_RANDOM_BYTES, Sid, TransportName,
};
pub use packet::{Base64, Data, Packet};
pub use payload::{Form, Packets, check, packets, packets_left};

/// A protocol of Engine.IO, which a client names by `EIO`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Version {
    /// Protocol 3, of Socket.IO clients 1.x and 2.x.
    V3,
    /// Protocol 4, of Socket.IO clients since 3.0.
    V4,
}

impl Version {
    /// The bytes in a binary frame in front of a message's payload: none in protocol 4.
    pub const fn binary_head(self) -> &'static [u8] {
        match self {
            Version::V3 => &[BINARY_MESSAGE],
            Version::V4 => &[],
        }
    }
}

/// The type byte of a binary message in protocol 3.
const BINARY_MESSAGE: u8 = 4;

/// What a packet is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketType {
    /// The first packet of the server: the session's id and its intervals.
    Open,
    /// The end of the session.
    Close,
    /// The question whether the peer lives; during an upgrade with the data `probe`.
    Ping,
    /// The answer to a ping, with the same data.
    Pong,
    /// A message of the layer above.
    Message,
    /// The transport that this packet came on carries the session from now on.
    Upgrade,
    /// Nothing: such a packet only ends a poll.
    Noop,
}

impl PacketType {
    /// The digit that stands for the type on the wire.
    pub const fn digit(self) -> u8 {
        match self {
            PacketType::Open => b'0',
            PacketType::Close => b'1',
            PacketType::Ping => b'2',
            PacketType::Pong => b'3',
            PacketType::Message => b'4',
            PacketType::Upgrade => b'5',
            PacketType::Noop => b'6',
        }
    }

    const fn from_digit(digit: u8) -> Option<PacketType> {
        match digit {
            b'0' => Some(PacketType::Open),
            b'1' => Some(PacketType::Close),
            b'2' => Some(PacketType::Ping),
            b'3' => Some(PacketType::Pong),
            b'4' => Some(PacketType::Message),
            b'5' => Some(PacketType::Upgrade),
            b'6' => Some(PacketType::Noop),
            _ => None,
        }
    }
}

/// What a client did wrong. The session ends with "parse error"; a POST that brought the error is
/// still answered `ok`, as the reference servers do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// A packet of no bytes: an empty body or binary frame, or nothing between two separators.
    Empty,
    /// The type of a packet stands for nothing.
    Type,
    /// A length is no number, or not that of a packet in the body.
    Length,
    /// Text is not UTF-8.
    Utf8,
    /// Binary data is not canonical base64.
    Base64,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Empty => "empty packet",
            Error::Type => "unknown packet type",
            Error::Length => "wrong packet length",
            Error::Utf8 => "invalid UTF-8",
            Error::Base64 => "invalid base64",
        })
    }
}

impl std::error::Error for Error {}
