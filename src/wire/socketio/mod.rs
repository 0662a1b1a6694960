//! Socket.IO packets, protocols 4 and 5 (github.com/socketio/socket.io-protocol): what is inside
//! the messages of Engine.IO ([`super::engine`]).
//!
//! ```text
//!   <type>[<attachments>-][<namespace>,][<ack id>][<JSON>]
//!
//!   2["chat message","hi"]              event, namespace /
//!   2/news,7["chat message","hi"]       event, namespace /news, to be acknowledged as 7
//!   51-["bin",{"_placeholder":true,"num":0}]   and one binary message behind it
//!
//!   decode   ─ a client's packet ─► Packet, and the attachments it owes
//!   encode   ─ the server's packets
//!   recovery ─ what a client that comes back says of the session that it had
//! ```
//!
//! Deals with: packets of clients 2.x (protocol 4, over Engine.IO 3) and 3.x, 4.x (protocol 5, over
//! Engine.IO 4); the protocol is named by the [`Version`](super::engine::Version) of Engine.IO that
//! it comes over. Leaves to others: which namespaces and events there are, keeping an event until
//! its attachments are in, who gets what.
//!
//! The surprise: JSON is checked and then passed on as text, never parsed into values. So what
//! JavaScript allows and Rust's strings and numbers do not (half a surrogate pair, `1e999`) goes
//! from client to client unchanged.

use std::fmt;

use super::json;

mod decode;
mod encode;
mod recovery;

pub use super::json::{DEPTH_MAX, Text};
pub use decode::{Argument, Decoder, Event, Name, OURS, Packet, decode, event_of, is_ours};
pub use encode::{
    ANSWER_BYTES_MAX, BINARY_ARGS, CHAT_MESSAGE, OFFSET_EXTRA_BYTES, POSITION_EVENT,
    acknowledgement, args_of_name, connected, event, event_bytes, named_args, named_args_bytes,
    position_event, position_event_bytes, refused, text_event, text_event_bytes,
};
pub use recovery::{Returning, recovery_of};

/// The most attachments of one packet, as in the reference.
pub const ATTACHMENTS_MAX: usize = 10;

/// The largest ack id: a JavaScript number beyond it would not come back as it was.
pub const ACK_ID_MAX: u64 = (1 << 53) - 1;

/// The type of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketType {
    /// A client asks to enter a namespace, or is told that it has.
    Connect,
    /// A client leaves a namespace.
    Disconnect,
    /// An event: a name and arguments.
    Event,
    /// The answer to an event that asked for one.
    Ack,
    /// A client is told that it cannot enter a namespace.
    ConnectError,
    /// An event with attachments.
    BinaryEvent,
    /// An answer with attachments.
    BinaryAck,
}

impl PacketType {
    const fn digit(self) -> u8 {
        match self {
            PacketType::Connect => b'0',
            PacketType::Disconnect => b'1',
            PacketType::Event => b'2',
            PacketType::Ack => b'3',
            PacketType::ConnectError => b'4',
            PacketType::BinaryEvent => b'5',
            PacketType::BinaryAck => b'6',
        }
    }

    const fn from_digit(digit: u8) -> Option<PacketType> {
        match digit {
            b'0' => Some(PacketType::Connect),
            b'1' => Some(PacketType::Disconnect),
            b'2' => Some(PacketType::Event),
            b'3' => Some(PacketType::Ack),
            b'4' => Some(PacketType::ConnectError),
            b'5' => Some(PacketType::BinaryEvent),
            b'6' => Some(PacketType::BinaryAck),
            _ => None,
        }
    }
}

/// What a client did wrong. Each error ends the session with "parse error".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The type stands for nothing, or is missing.
    Type,
    /// There is no number of attachments where there must be one, or a placeholder stands for none
    /// of them.
    Attachments,
    /// There are more attachments than [`ATTACHMENTS_MAX`].
    TooManyAttachments,
    /// The ack id is over [`ACK_ID_MAX`].
    AckId,
    /// The payload is not JSON, not what this type carries, or an event with a reserved name.
    Payload,
    /// The JSON is nested deeper than [`DEPTH_MAX`].
    Depth,
    /// A text came while attachments are owed.
    AttachmentOwed,
    /// A binary message came while no attachment is owed.
    AttachmentUnexpected,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Type => "unknown packet type",
            Error::Attachments => "illegal attachments",
            Error::TooManyAttachments => "too many attachments",
            Error::AckId => "ack id too large",
            Error::Payload => "invalid payload",
            Error::Depth => "JSON nested too deep",
            Error::AttachmentOwed => "text instead of an attachment",
            Error::AttachmentUnexpected => "binary that belongs to nothing",
        })
    }
}

impl std::error::Error for Error {}

impl From<json::Error> for Error {
    fn from(error: json::Error) -> Error {
        match error {
            json::Error::Grammar => Error::Payload,
            json::Error::Depth => Error::Depth,
        }
    }
}
