//! A client's polling body (Engine.IO protocols 3 and 4, "Payload encoding"), taken apart.
//!
//! ```text
//!   Separated   4hello 1e bAQID                        protocol 4: byte 1e between packets
//!   Counted     6:4hello6:b4AQID                       protocol 3: length in UTF-16 code units
//!   Binary      00 06 ff "4hello"  01 04 ff 04010203   protocol 3: text or binary, one byte per
//!                                                      digit of the length in bytes, ff
//! ```
//!
//! Deals with: where each packet ends. Leaves to others: how large a body and how many packets in
//! it are allowed. A body of n bytes has at most n packets, so whoever does work per packet counts
//! them.
//!
//! The surprise: a body with a fault in it still yields the packets before the fault, as the
//! reference servers act on them before they close the session. Only UTF-8 is checked for the
//! whole of a text body at once; a body that is taken in by portions is not checked again, since
//! the price of that would grow with the square of its packets.

use super::{Error, Packet, Version};
use crate::work;

/// The byte between two packets of a body in protocol 4. JSON escapes it, so no packet has it
/// inside.
pub(super) const SEPARATOR: u8 = 0x1e;

/// How packets are joined in a client's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Text with a separator between packets: protocol 4, always.
    Separated,
    /// Text with a length in front of each packet: protocol 3.
    Counted,
    /// Binary with a length in front of each packet: protocol 3 as `application/octet-stream`.
    Binary,
}

impl Form {
    /// The form of a body by its content type. `None` for protocol 4 with
    /// `application/octet-stream`, which is a bad request.
    pub const fn new(version: Version, octet_stream: bool) -> Option<Form> {
        match (version, octet_stream) {
            (Version::V4, false) => Some(Form::Separated),
            (Version::V3, false) => Some(Form::Counted),
            (Version::V3, true) => Some(Form::Binary),
            (Version::V4, true) => None,
        }
    }
}

/// The packets of a whole body, in order. Nothing is allocated. A text body is first checked to be
/// UTF-8 as a whole; an empty body is [`Error::Empty`].
pub fn packets(form: Form, body: &[u8]) -> Packets<'_> {
    match check(form, body) {
        Ok(()) => packets_left(form, body),
        Err(error) => Packets { rest: Rest::Bad(error) },
    }
}

/// The packets in the rest of a body: the last [`Packets::left_bytes`] of a body that [`packets`]
/// or [`check`] found sound. Only the bytes of each packet are looked at, when it is asked for, so
/// whoever takes a body in by portions looks at each byte a constant number of times.
pub fn packets_left(form: Form, left: &[u8]) -> Packets<'_> {
    Packets { rest: Rest::Left(form, left) }
}

/// Checks whether the packets of a whole body may be acted upon.
///
/// # Errors
///
/// [`Error::Empty`] for no bytes at all, [`Error::Utf8`] for a text body that is not UTF-8.
pub fn check(form: Form, body: &[u8]) -> Result<(), Error> {
    let is_text = match form {
        Form::Separated | Form::Counted => true,
        Form::Binary => false,
    };
    if body.is_empty() {
        return Err(Error::Empty);
    }
    work::looked_at(body.len());
    if is_text && str::from_utf8(body).is_err() {
        return Err(Error::Utf8);
    }
    Ok(())
}

/// Iterator over the packets of a body, which ends behind the first error.
#[derive(Clone, Debug)]
pub struct Packets<'b> {
    rest: Rest<'b>,
}

/// The part of a body that has not been handed out yet.
#[derive(Clone, Copy, Debug)]
enum Rest<'b> {
    /// At least one packet is left, which may be empty.
    Left(Form, &'b [u8]),
    Bad(Error),
    Done,
}

impl Packets<'_> {
    /// How many bytes have not been handed out; `None` at the end. With these last bytes of the
    /// body, [`packets_left`] goes on in the same place.
    pub fn left_bytes(&self) -> Option<usize> {
        match self.rest {
            Rest::Left(_, rest) => Some(rest.len()),
            Rest::Bad(_) | Rest::Done => None,
        }
    }
}

impl<'b> Iterator for Packets<'b> {
    type Item = Result<Packet<'b>, Error>;

    fn next(&mut self) -> Option<Result<Packet<'b>, Error>> {
        let next = match self.rest {
            Rest::Done => return None,
            Rest::Bad(error) => Err(error),
            Rest::Left(form, bytes) => first_packet(form, bytes),
        };
        self.rest = Rest::Done;
        Some(next.map(|(packet, left)| {
            if let Some((form, left)) = left {
                self.rest = Rest::Left(form, left);
            }
            packet
        }))
    }
}

/// A packet, and the part of the body behind it unless that is the end.
type First<'b> = (Packet<'b>, Option<(Form, &'b [u8])>);

fn first_packet(form: Form, bytes: &[u8]) -> Result<First<'_>, Error> {
    let (packet, left) = match form {
        Form::Separated => separated(bytes)?,
        Form::Counted => counted(bytes)?,
        Form::Binary => binary(bytes)?,
    };
    work::looked_at(bytes.len() - left.map_or(0, <[u8]>::len));
    Ok((packet, left.map(|left| (form, left))))
}

fn separated(bytes: &[u8]) -> Result<(Packet<'_>, Option<&[u8]>), Error> {
    let end = bytes.iter().position(|byte| *byte == SEPARATOR);
    let packet = text(&bytes[..end.unwrap_or(bytes.len())])?;
    Ok((Packet::from_text(Version::V4, packet)?, end.map(|end| &bytes[end + 1..])))
}

fn counted(bytes: &[u8]) -> Result<(Packet<'_>, Option<&[u8]>), Error> {
    let digits = bytes.iter().position(|byte| *byte == b':').ok_or(Error::Length)?;
    let units = number(bytes[..digits].iter().map(|digit| digit.wrapping_sub(b'0')))?;
    let rest = &bytes[digits + 1..];
    let end = end_of_units(rest, units).ok_or(Error::Length)?;
    let (packet, rest) = rest.split_at(end);
    Ok((Packet::from_text(Version::V3, text(packet)?)?, (!rest.is_empty()).then_some(rest)))
}

fn binary(bytes: &[u8]) -> Result<(Packet<'_>, Option<&[u8]>), Error> {
    let (kind, bytes) = bytes.split_first().ok_or(Error::Empty)?;
    let digits = bytes.iter().position(|&byte| byte == 0xff).ok_or(Error::Length)?;
    let length = number(bytes[..digits].iter().copied())?;
    let (packet, rest) = bytes[digits + 1..].split_at_checked(length).ok_or(Error::Length)?;
    let packet = match kind {
        0 => Packet::from_text(Version::V3, text(packet)?)?,
        1 => Packet::from_binary(Version::V3, packet)?,
        _ => return Err(Error::Type),
    };
    Ok((packet, (!rest.is_empty()).then_some(rest)))
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    str::from_utf8(bytes).map_err(|_| Error::Utf8)
}

/// The number that decimal digits (0 to 9, most significant first, at least one) stand for. A
/// number beyond `usize` is [`Error::Length`], like any for which no body has room.
fn number(digits: impl Iterator<Item = u8>) -> Result<usize, Error> {
    let mut number = None;
    for digit in digits {
        if digit > 9 {
            return Err(Error::Length);
        }
        let ten = number.unwrap_or(0_usize).checked_mul(10).ok_or(Error::Length)?;
        number = Some(ten.checked_add(usize::from(digit)).ok_or(Error::Length)?);
    }
    number.ok_or(Error::Length)
}

/// Where the first `units` UTF-16 code units of a text end, in bytes. `None` if there are fewer, or
/// if a code point of two units would be cut. The work is bounded by `units`, whatever stands
/// behind.
fn end_of_units(text: &[u8], units: usize) -> Option<usize> {
    // A unit takes a byte or more, and exactly one in ASCII, which nearly all packets are.
    let beginning = text.get(..units)?;
    if beginning.is_ascii() {
        return Some(units);
    }
    let (mut at, mut left) = (0, units);
    while left > 0 {
        // A code point's first byte tells its bytes and its units: four bytes are two units.
        let (bytes, of_point) = match text.get(at)? {
            0x00..=0x7f => (1, 1),
            0x80..=0xdf => (2, 1),
            0xe0..=0xef => (3, 1),
            0xf0..=0xff => (4, 2),
        };
        left = left.checked_sub(of_point)?;
        at += bytes;
    }
    (at <= text.len()).then_some(at)
}
