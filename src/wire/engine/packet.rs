//! One packet of a client (Engine.IO protocols 3 and 4, "Packet encoding").
//!
//! Deals with: the type in front of a packet, and binary data that comes as base64. Leaves to
//! others: where in a polling body a packet ends ([`super::payload`]), and which packet may come
//! when.
//!
//! The surprise: base64 is legal in a text frame of a WebSocket, too. Clients that cannot send
//! binary frames do so, and the reference servers read it.

use data_encoding::BASE64;

use super::{Error, PacketType, Version};
use crate::wire::ws::Kind;

/// One packet of a client, borrowed from the bytes in which it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'b> {
    /// The type of the packet.
    pub kind: PacketType,
    /// The data of the packet; empty more often than not.
    pub data: Data<'b>,
}

/// The data of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Data<'b> {
    /// Text, without the type digit.
    Text(&'b str),
    /// Bytes as they came.
    Binary(&'b [u8]),
    /// Bytes that are still to be decoded.
    Base64(Base64<'b>),
}

impl<'b> Packet<'b> {
    /// Reads the payload of a client's WebSocket message.
    ///
    /// # Errors
    ///
    /// Any but [`Error::Length`] and [`Error::Base64`]; the latter is found by
    /// [`Base64::append_to`].
    pub fn from_frame(
        version: Version,
        kind: Kind,
        payload: &'b [u8],
    ) -> Result<Packet<'b>, Error> {
        match kind {
            Kind::Text => {
                Packet::from_text(version, str::from_utf8(payload).map_err(|_| Error::Utf8)?)
            }
            Kind::Binary => Packet::from_binary(version, payload),
        }
    }

    /// Reads a packet as text: a type digit and text, or `b` and base64.
    pub(super) fn from_text(version: Version, text: &'b str) -> Result<Packet<'b>, Error> {
        let (first, rest) = text.as_bytes().split_first().ok_or(Error::Empty)?;
        if *first != b'b' {
            let kind = PacketType::from_digit(*first).ok_or(Error::Type)?;
            return Ok(Packet { kind, data: Data::Text(&text[1..]) });
        }
        match version {
            Version::V4 => {
                let data = Data::Base64(Base64(rest));
                Ok(Packet { kind: PacketType::Message, data })
            }
            Version::V3 => {
                let (digit, rest) = rest.split_first().ok_or(Error::Type)?;
                let kind = PacketType::from_digit(*digit).ok_or(Error::Type)?;
                Ok(Packet { kind, data: Data::Base64(Base64(rest)) })
            }
        }
    }

    /// Reads the payload of a binary frame, or a binary piece of protocol 3's binary body.
    pub(super) fn from_binary(version: Version, bytes: &'b [u8]) -> Result<Packet<'b>, Error> {
        match version {
            Version::V4 => Ok(Packet { kind: PacketType::Message, data: Data::Binary(bytes) }),
            Version::V3 => {
                let (kind, rest) = bytes.split_first().ok_or(Error::Empty)?;
                let digit = kind.checked_add(b'0').ok_or(Error::Type)?;
                let kind = PacketType::from_digit(digit).ok_or(Error::Type)?;
                Ok(Packet { kind, data: Data::Binary(rest) })
            }
        }
    }
}

/// Bytes in base64 (RFC 4648 §4), as a client has sent them: not checked yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Base64<'b>(&'b [u8]);

impl Base64<'_> {
    /// The most bytes that decoding appends; at most two more than it really does.
    pub const fn bytes_max(self) -> usize {
        self.0.len() / 4 * 3
    }

    /// Appends the decoded bytes to `out`, which grows by no more than [`Base64::bytes_max`]: with
    /// so much capacity to spare this does not allocate.
    ///
    /// # Errors
    ///
    /// [`Error::Base64`] unless the text is canonical and padded, which every client's is; `out` is
    /// then unchanged.
    pub fn append_to(self, out: &mut Vec<u8>) -> Result<(), Error> {
        // The decoder alone would take padded pieces one behind the other.
        let padding = self.0.iter().position(|&byte| byte == b'=').unwrap_or(self.0.len());
        if !self.0.len().is_multiple_of(4) || self.0.len() - padding > 2 {
            return Err(Error::Base64);
        }
        let before = out.len();
        out.resize(before + self.bytes_max(), 0);
        match BASE64.decode_mut(self.0, &mut out[before..]) {
            Ok(decoded) => {
                out.truncate(before + decoded);
                Ok(())
            }
            Err(_) => {
                out.truncate(before);
                Err(Error::Base64)
            }
        }
    }
}
