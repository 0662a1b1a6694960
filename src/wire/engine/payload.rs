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
//! it are allowed; a body of n bytes has at most n packets, so who does work per packet counts.
//!
//! The surprise: a body with a fault in it still yields the packets before the fault, as the
//! reference servers act on them before they close the session. Only UTF-8 is checked for the
//! whole of a text body at once.

use super::{Error, Packet, Version};

/// What stands between two packets of a body in protocol 4. JSON escapes it, so that no packet has
/// it inside.
pub(super) const SEPARATOR: u8 = 0x1e;

/// How packets are joined in a client's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Protocol 4, always text.
    Separated,
    /// Protocol 3 as text.
    Counted,
    /// Protocol 3 as `application/octet-stream`.
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

/// The packets of a whole body, in order. Nothing is allocated and every byte is looked at a
/// constant number of times; an empty body is [`Error::Empty`].
pub fn packets(form: Form, body: &[u8]) -> Packets<'_> {
    let rest = match (form, str::from_utf8(body)) {
        _ if body.is_empty() => Rest::Bad(Error::Empty),
        (Form::Separated, Ok(text)) => Rest::Separated(text),
        (Form::Counted, Ok(text)) => Rest::Counted(text),
        (Form::Separated | Form::Counted, Err(_)) => Rest::Bad(Error::Utf8),
        (Form::Binary, _) => Rest::Binary(body),
    };
    Packets { rest }
}

/// The packets of a body. It ends behind the first error.
#[derive(Clone, Debug)]
pub struct Packets<'b> {
    rest: Rest<'b>,
}

/// What has not been handed out yet.
#[derive(Clone, Copy, Debug)]
enum Rest<'b> {
    /// One packet at least, which may be empty.
    Separated(&'b str),
    /// Not empty.
    Counted(&'b str),
    /// Not empty.
    Binary(&'b [u8]),
    Bad(Error),
    Done,
}

impl Packets<'_> {
    /// Bytes that have not been handed out, `None` at the end: with what is left of the body it
    /// goes on in the same place.
    pub fn left_bytes(&self) -> Option<usize> {
        match self.rest {
            Rest::Separated(rest) | Rest::Counted(rest) => Some(rest.len()),
            Rest::Binary(rest) => Some(rest.len()),
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
            Rest::Separated(text) => separated(text),
            Rest::Counted(text) => counted(text),
            Rest::Binary(bytes) => binary(bytes),
        };
        let (packet, rest) = match next {
            Ok((packet, rest)) => (Ok(packet), rest),
            Err(error) => (Err(error), Rest::Done),
        };
        self.rest = rest;
        Some(packet)
    }
}

fn separated(text: &str) -> Result<(Packet<'_>, Rest<'_>), Error> {
    let (packet, rest) = match text.split_once(char::from(SEPARATOR)) {
        Some((packet, rest)) => (packet, Rest::Separated(rest)),
        None => (text, Rest::Done),
    };
    Ok((Packet::from_text(Version::V4, packet)?, rest))
}

fn counted(text: &str) -> Result<(Packet<'_>, Rest<'_>), Error> {
    let (digits, rest) = text.split_once(':').ok_or(Error::Length)?;
    let units = number(digits.bytes().map(|digit| digit.wrapping_sub(b'0')))?;
    let end = end_of_units(rest, units).ok_or(Error::Length)?;
    let (packet, rest) = rest.split_at(end);
    let rest = if rest.is_empty() { Rest::Done } else { Rest::Counted(rest) };
    Ok((Packet::from_text(Version::V3, packet)?, rest))
}

fn binary(bytes: &[u8]) -> Result<(Packet<'_>, Rest<'_>), Error> {
    let (kind, bytes) = bytes.split_first().ok_or(Error::Empty)?;
    let digits = bytes.iter().position(|&byte| byte == 0xff).ok_or(Error::Length)?;
    let length = number(bytes[..digits].iter().copied())?;
    let (packet, rest) = bytes[digits + 1..].split_at_checked(length).ok_or(Error::Length)?;
    let packet = match kind {
        0 => {
            let text = str::from_utf8(packet).map_err(|_| Error::Utf8)?;
            Packet::from_text(Version::V3, text)?
        }
        1 => Packet::from_binary(Version::V3, packet)?,
        _ => return Err(Error::Type),
    };
    Ok((packet, if rest.is_empty() { Rest::Done } else { Rest::Binary(rest) }))
}

/// The number that decimal digits (0 to 9, most significant first) stand for. There is one at
/// least; a number beyond `usize` is [`Error::Length`] like any that no body has room for.
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

/// Where the first `units` UTF-16 code units of `text` end, in bytes. `None` if there are fewer,
/// or if a code point of two units would be cut.
fn end_of_units(text: &str, units: usize) -> Option<usize> {
    // A unit takes a byte or more, and exactly one in ASCII, which nearly all packets are.
    let beginning = text.as_bytes().get(..units)?;
    if beginning.is_ascii() {
        return Some(units);
    }
    let mut left = units;
    for (at, point) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(point.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}
