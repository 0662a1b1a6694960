//! A Socket.IO packet of a client, taken apart.
//!
//! Deals with: the fields of a packet, what each type may carry, the order of texts and
//! attachments. Leaves to others: the attachments' bytes, and whether anyone is interested.
//!
//! The surprise: a namespace ends at a comma or not at all, so `2/a["b"]` is an event of the
//! namespace `/a["b"]` without anything in it. The reference says so, too.

use super::{ACK_ID_MAX, ATTACHMENTS_MAX, Error, PacketType};
use crate::wire::engine::Version;
use crate::wire::json::{self, Object, Text, Token, Tokens};
use crate::work;

/// Names that mean something to the reference's own objects; no event may be called so.
const RESERVED_NAMES: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// One packet of a client, borrowed from the message in which it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'b> {
    /// The type of the packet.
    pub kind: PacketType,
    /// How many binary messages follow that belong to this packet: 1 to [`ATTACHMENTS_MAX`] for the
    /// binary types, otherwise 0.
    pub attachments: usize,
    /// The namespace; begins with `/` and has no comma.
    pub namespace: &'b str,
    /// The query that a 2.x client has put behind the namespace, without its question mark.
    pub query: Option<&'b str>,
    /// The number under which the client awaits an answer, or gives one; at most [`ACK_ID_MAX`].
    pub id: Option<u64>,
    /// Valid JSON, of the kind that the packet's type asks for. Packets of any type may come
    /// without.
    pub payload: Option<&'b str>,
}

/// An event: its name and arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event<'b> {
    /// The event's name: the first element of the array.
    pub name: Name<'b>,
    /// The whole array as JSON, name included, which is passed on.
    pub args: &'b str,
    /// The one argument, if there is exactly one.
    pub sole: Option<Argument<'b>>,
}

/// The name of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name<'b> {
    /// A string that is not reserved.
    Text(Text<'b>),
    /// A number, which is legal.
    Number,
}

/// How the names of the server's own events begin. What a client says under such a name is never
/// passed on, or it could tell others what only the server may.
pub const OURS: &str = "elbow:";

/// Whether the name of an event is one of the server's own: whether it begins with [`OURS`],
/// however that is written as JSON. Looks at the first characters alone.
pub fn is_ours(name: &Name<'_>) -> bool {
    match name {
        Name::Text(text) => text.chars().take(OURS.len()).eq(OURS.chars()),
        Name::Number => false,
    }
}

/// The one argument of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Argument<'b> {
    /// A string.
    Text(Text<'b>),
    /// The attachment with this index, which is below the packet's number of attachments.
    Attachment(usize),
    /// A value of any other kind.
    Other,
}

impl<'b> Packet<'b> {
    /// Reads the event that the packet carries; `None` if it is another packet, or its event has no
    /// name. The work is bounded by the packet's length; nothing is allocated.
    pub fn event(&self) -> Option<Event<'b>> {
        match self.kind {
            PacketType::Event | PacketType::BinaryEvent => {}
            PacketType::Connect
            | PacketType::Disconnect
            | PacketType::Ack
            | PacketType::ConnectError
            | PacketType::BinaryAck => return None,
        }
        let args = self.payload?;
        let mut tokens = Tokens::new(args);
        tokens.next();
        let name = match tokens.next()? {
            Token::Text(name) => Name::Text(name),
            Token::Array | Token::Object | Token::End | Token::Key(_) | Token::Scalar(_) => {
                Name::Number
            }
        };
        let argument = match tokens.next()? {
            Token::End => return Some(Event { name, args, sole: None }),
            Token::Text(text) => Argument::Text(text),
            Token::Key(_) | Token::Scalar(_) => Argument::Other,
            Token::Array | Token::Object => self.skip(&mut tokens),
        };
        let sole = (tokens.next() == Some(Token::End)).then_some(argument);
        Some(Event { name, args, sole })
    }

    /// Reads to the end of the array or object that has begun, and tells whether it was a
    /// placeholder.
    fn skip(&self, tokens: &mut Tokens<'b>) -> Argument<'b> {
        let mut object = Object::default();
        let mut depth = 1_usize;
        for token in tokens {
            if depth == 1 && token != Token::End {
                object.add(token);
            }
            match token {
                Token::Array | Token::Object => depth += 1,
                Token::End => depth -= 1,
                Token::Key(_) | Token::Text(_) | Token::Scalar(_) => {}
            }
            if depth == 0 {
                break;
            }
        }
        // In a packet without attachments a placeholder is an object like any other.
        match object.placeholder() {
            Some(number) if number < self.attachments => Argument::Attachment(number),
            Some(_) | None => Argument::Other,
        }
    }
}

/// Reads one text message of Engine.IO.
///
/// Bounded by `text`: it is gone through a few times, without recursion and without allocating.
///
/// # Errors
///
/// All but [`Error::AttachmentOwed`] and [`Error::AttachmentUnexpected`]. Placeholders are checked
/// at once; the reference does so when the last attachment is in.
pub fn decode(version: Version, text: &str) -> Result<Packet<'_>, Error> {
    work::looked_at(text.len());
    let first = text.as_bytes().first().ok_or(Error::Type)?;
    let kind = PacketType::from_digit(*first).ok_or(Error::Type)?;
    let (attachments, rest) = match kind {
        PacketType::BinaryEvent | PacketType::BinaryAck => attachments(&text[1..])?,
        PacketType::Connect
        | PacketType::Disconnect
        | PacketType::Event
        | PacketType::Ack
        | PacketType::ConnectError => (0, &text[1..]),
    };
    let (namespace, query, rest) = namespace(version, rest);
    let (id, rest) = ack_id(rest)?;
    let payload = if rest.is_empty() { None } else { Some(json::value(rest)?) };
    if let Some(payload) = payload {
        check(version, kind, payload)?;
        if attachments > 0 && !json::placeholders_valid(payload, attachments) {
            return Err(Error::Attachments);
        }
    }
    Ok(Packet { kind, attachments, namespace, query, id, payload })
}

/// Reads an event from its JSON array alone, of which `attachments` arguments are placeholders;
/// `None` if the array is none of an event. The work is bounded by the array's length.
pub fn event_of(args: &str, attachments: usize) -> Option<Event<'_>> {
    work::looked_at(args.len());
    let kind = if attachments > 0 { PacketType::BinaryEvent } else { PacketType::Event };
    let payload = json::value(args).ok()?;
    check(Version::V4, kind, payload).ok()?;
    let is_whole = attachments == 0 || json::placeholders_valid(payload, attachments);
    let (namespace, id, payload) = ("/", None, Some(payload).filter(|_| is_whole));
    Packet { kind, attachments, namespace, query: None, id, payload }.event()
}

/// Splits off the number of attachments. Returns it, and what follows its dash.
fn attachments(text: &str) -> Result<(usize, &str), Error> {
    let (digits, rest) = text.split_once('-').ok_or(Error::Attachments)?;
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(Error::Attachments);
    }
    // Nothing but a number too large for `usize` can fail now.
    match digits.parse().unwrap_or(usize::MAX) {
        0 => Err(Error::Attachments),
        number if number > ATTACHMENTS_MAX => Err(Error::TooManyAttachments),
        number => Ok((number, rest)),
    }
}

/// Splits off the namespace. Returns it, the query behind it, and what follows its comma.
fn namespace(version: Version, text: &str) -> (&str, Option<&str>, &str) {
    if !text.starts_with('/') {
        return ("/", None, text);
    }
    let (namespace, rest) = text.split_once(',').unwrap_or((text, ""));
    let with_query = match version {
        Version::V3 => namespace.split_once('?'),
        Version::V4 => None,
    };
    match with_query {
        Some((namespace, query)) => (namespace, Some(query), rest),
        None => (namespace, None, rest),
    }
}

/// Splits off the ack id. Returns it, if there is one, and what follows it.
fn ack_id(text: &str) -> Result<(Option<u64>, &str), Error> {
    let (digits, rest) =
        text.split_at(text.bytes().take_while(|digit| digit.is_ascii_digit()).count());
    if digits.is_empty() {
        return Ok((None, rest));
    }
    match digits.parse() {
        Ok(id) if id <= ACK_ID_MAX => Ok((Some(id), rest)),
        Ok(_) | Err(_) => Err(Error::AckId),
    }
}

/// Checks whether packets of this type carry such a value, which has passed [`json::value`].
fn check(version: Version, kind: PacketType, payload: &str) -> Result<(), Error> {
    let mut tokens = Tokens::new(payload);
    let first = tokens.next();
    let valid = match kind {
        PacketType::Connect => first == Some(Token::Object),
        PacketType::Disconnect => false,
        PacketType::Event | PacketType::BinaryEvent => {
            first == Some(Token::Array) && tokens.next().is_some_and(is_name)
        }
        PacketType::Ack | PacketType::BinaryAck => first == Some(Token::Array),
        PacketType::ConnectError => match version {
            Version::V3 => true,
            Version::V4 => matches!(first, Some(Token::Object | Token::Text(_))),
        },
    };
    if valid { Ok(()) } else { Err(Error::Payload) }
}

fn is_name(token: Token<'_>) -> bool {
    match token {
        Token::Text(name) => !RESERVED_NAMES.iter().any(|reserved| name == **reserved),
        // The scalars that begin otherwise are `true`, `false` and `null`.
        Token::Scalar(scalar) => !scalar.starts_with(['t', 'f', 'n']),
        Token::Array | Token::Object | Token::End | Token::Key(_) => false,
    }
}

/// The order of a session's messages: a packet with attachments is followed by exactly as many
/// binary messages. There is one decoder per session, of one byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Decoder {
    owed: u8,
}

impl Decoder {
    /// A decoder of a session that owes no attachment.
    pub const fn new() -> Decoder {
        Decoder { owed: 0 }
    }

    /// Reads a text message, as [`decode`] does. A packet with [`Packet::attachments`] is to be
    /// kept until as many binary messages have come.
    ///
    /// # Errors
    ///
    /// The errors of [`decode`], and [`Error::AttachmentOwed`]. The session is to be closed.
    pub fn text<'b>(&mut self, version: Version, text: &'b str) -> Result<Packet<'b>, Error> {
        if self.owed > 0 {
            return Err(Error::AttachmentOwed);
        }
        let packet = decode(version, text)?;
        self.owed = packet.attachments as u8;
        Ok(packet)
    }

    /// Notes that a binary message has come. Returns whether that is the last of its packet.
    ///
    /// # Errors
    ///
    /// [`Error::AttachmentUnexpected`] if the session owes no attachment. The session is to be
    /// closed.
    pub const fn binary(&mut self) -> Result<bool, Error> {
        if self.owed == 0 {
            return Err(Error::AttachmentUnexpected);
        }
        self.owed -= 1;
        Ok(self.owed == 0)
    }
}

const _: () = assert!(ATTACHMENTS_MAX <= u8::MAX as usize, "a decoder counts them in a byte");
