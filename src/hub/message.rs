//! What is said in a channel, and the form of it in each dialect.
//!
//! Text of a plain WebSocket arrives at Socket.IO clients as the event `chat message` with one
//! string, and such an event arrives at plain WebSockets as text. Binary is passed on in the same
//! way, both ways. What has no form in a dialect is not told to the readers of that dialect.
//!
//! A record of `elbow.v1` is a WebSocket message like a plain one, with the position in front; a
//! record of an event stream is one event, with the position as its id.
//!
//! A record of a Socket.IO dialect is one text frame, and behind it a binary frame for each
//! attachment. Nothing may come between these frames on a connection, and nothing does, for the
//! feed never splits a record.

use crate::id::Dialect;
use crate::limits;
use crate::position::POSITION_BYTES_MAX;
use crate::wire::engine::{PacketType, Version};
use crate::wire::socketio::{self, Argument, CHAT_MESSAGE, Event, Name};
use crate::wire::sse;
use crate::wire::ws::{self, Kind};

/// A message for a channel, before it is encoded.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// Text that a plain WebSocket said, checked to be UTF-8 when it was read.
    Text(&'a [u8]),
    /// Binary that a plain WebSocket said.
    Binary(&'a [u8]),
    /// An event that a Socket.IO client said.
    Event {
        /// The event's name and arguments, as the JSON array in which they came.
        args: &'a str,
        /// The binary arguments, for which `args` has placeholders.
        attachments: &'a [&'a [u8]],
        /// The form of the event for plain WebSockets, if there is one.
        plain: Option<(Kind, &'a [u8])>,
    },
    /// The greeting that tells Socket.IO members of a newcomer: an event's name without arguments,
    /// as a JSON array.
    Greeting(&'a str),
}

/// How a message is recorded: in which dialect, and what the record says beside the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Form<'a> {
    /// The dialect.
    pub dialect: Dialect,
    /// The channel as readers of Socket.IO know it: `/`, or `/` and the name.
    pub namespace: &'a str,
    /// Where the message stands in its channel, as text. A greeting stands where the message before
    /// it does.
    pub position: &'a str,
    /// Whether events of Socket.IO 4 end in the position, by which their clients come back.
    pub with_offset: bool,
}

/// A position of the greatest length.
const LONGEST_POSITION: &str = match str::from_utf8(&[b'z'; POSITION_BYTES_MAX]) {
    Ok(text) => text,
    Err(_) => panic!("letters are UTF-8"),
};

impl<'a> Form<'a> {
    /// The longest form that a message may have in a dialect.
    fn longest(dialect: Dialect, namespace: &'a str) -> Form<'a> {
        Form { dialect, namespace, position: LONGEST_POSITION, with_offset: true }
    }

    /// What events end in, in this form.
    fn offset(&self) -> Option<&'a str> {
        (self.with_offset && self.dialect == Dialect::SocketIo4).then_some(self.position)
    }
}

/// What an event is for plain WebSockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlainForm<'a> {
    /// A text, whose escapes are still to be undone.
    Text(socketio::Text<'a>),
    /// The binary argument of this number.
    Attachment(usize),
}

/// The form that an event has for plain WebSockets: a `chat message` with one text or one binary
/// argument has one.
pub fn plain_form<'a>(event: &Event<'a>) -> Option<PlainForm<'a>> {
    let is_chat = matches!(event.name, Name::Text(name) if name == *CHAT_MESSAGE);
    match event.sole.filter(|_| is_chat)? {
        Argument::Text(text) => Some(PlainForm::Text(text)),
        Argument::Attachment(number) => Some(PlainForm::Attachment(number)),
        Argument::Other => None,
    }
}

impl<'a> Message<'a> {
    /// The form of the message for plain WebSockets, if there is one.
    pub fn plain(&self) -> Option<(Kind, &'a [u8])> {
        match *self {
            Message::Text(text) => Some((Kind::Text, text)),
            Message::Binary(payload) => Some((Kind::Binary, payload)),
            Message::Event { plain, .. } => plain,
            Message::Greeting(_) => None,
        }
    }

    /// Whether the message tells of a newcomer: a greeting is not counted among what was said.
    pub fn is_greeting(&self) -> bool {
        match self {
            Message::Greeting(_) => true,
            Message::Text(_) | Message::Binary(_) | Message::Event { .. } => false,
        }
    }

    /// Whether the record of the message is at most `record_bytes_max` long in every dialect, read
    /// or not, whatever its position. The content is looked at only where its length leaves a
    /// doubt.
    pub fn fits(&self, namespace: &str, record_bytes_max: usize) -> bool {
        let fits = |dialect| self.length(&Form::longest(dialect, namespace)) <= record_bytes_max;
        self.length_bound() <= record_bytes_max || Dialect::ALL.into_iter().all(fits)
    }

    /// A length that the record of the message exceeds in no form, from the lengths of its parts
    /// alone.
    fn length_bound(&self) -> usize {
        let said = match *self {
            Message::Text(text) => limits::TEXT_GROWTH_MAX * text.len(),
            // An event stream has binary in base64.
            Message::Binary(payload) => payload.len().div_ceil(3) * 4,
            Message::Event { args, attachments, plain } => {
                let attached = attachments.iter().map(|attachment| attachment.len());
                let event = args.len() + attached.sum::<usize>();
                event.max(match plain {
                    Some((Kind::Text, text)) => limits::TEXT_GROWTH_MAX * text.len(),
                    Some((Kind::Binary, payload)) => payload.len().div_ceil(3) * 4,
                    None => 0,
                })
            }
            Message::Greeting(args) => args.len(),
        };
        said + limits::RECORD_EXTRA_BYTES_MAX
    }

    /// How many bytes the record of the message has in a form; 0 if there is no record.
    pub fn length(&self, form: &Form<'_>) -> usize {
        match form.dialect {
            Dialect::Plain => self.plain().map_or(0, |(_, payload)| framed(payload.len())),
            Dialect::ElbowV1 => {
                let positioned = |payload: &[u8]| framed(form.position.len() + 1 + payload.len());
                self.plain().map_or(0, |(_, payload)| positioned(payload))
            }
            Dialect::EventStream => self
                .plain()
                .map_or(0, |(kind, payload)| sse::event_bytes(kind, form.position, payload)),
            Dialect::SocketIo4 => self.event_length(Version::V4, form),
            Dialect::SocketIo3 => self.event_length(Version::V3, form),
        }
    }

    fn event_length(&self, version: Version, form: &Form<'_>) -> usize {
        let attachments = self
            .attachments()
            .map(|attachment| framed(version.binary_head().len() + attachment.len()));
        framed(self.text_bytes(form)) + attachments.sum::<usize>()
    }

    /// Appends the record of the message in a form: exactly [`Message::length`] bytes.
    pub fn encode(&self, form: &Form<'_>, out: &mut Vec<u8>) {
        match form.dialect {
            Dialect::Plain | Dialect::ElbowV1 => {
                let mut header = [0; ws::HEADER_BYTES_MAX];
                self.in_parts(form, &mut header).into_iter().flatten().for_each(|part| {
                    out.extend_from_slice(part);
                });
            }
            Dialect::EventStream => {
                if let Some((kind, payload)) = self.plain() {
                    sse::event(kind, form.position, payload, out);
                }
            }
            Dialect::SocketIo4 => self.encode_event(Version::V4, form, out),
            Dialect::SocketIo3 => self.encode_event(Version::V3, form, out),
        }
    }

    /// The record of the message for a plain WebSocket or one of `elbow.v1`, whose parts need no
    /// encoding: the header, which is written to `header`, and what follows. `None` if there is no
    /// record, or the form is one of another dialect.
    pub fn in_parts<'p>(
        &self,
        form: &Form<'p>,
        header: &'p mut [u8; ws::HEADER_BYTES_MAX],
    ) -> Option<[&'p [u8]; 4]>
    where
        'a: 'p,
    {
        let (kind, payload) = self.plain()?;
        let before: [&[u8]; 2] = match form.dialect {
            Dialect::Plain => [&[], &[]],
            Dialect::ElbowV1 => [form.position.as_bytes(), b"\n"],
            Dialect::EventStream | Dialect::SocketIo4 | Dialect::SocketIo3 => return None,
        };
        let length = before[0].len() + before[1].len() + payload.len();
        let header_bytes = ws::header(kind, length, header);
        Some([&header[..header_bytes], before[0], before[1], payload])
    }

    fn encode_event(&self, version: Version, form: &Form<'_>, out: &mut Vec<u8>) {
        let (namespace, offset) = (form.namespace, form.offset());
        write_header(Kind::Text, self.text_bytes(form), out);
        out.push(PacketType::Message.digit());
        match *self {
            Message::Text(text) => socketio::text_event(namespace, utf8(text), offset, out),
            Message::Binary(_) => socketio::event(namespace, 1, socketio::BINARY_ARGS, offset, out),
            Message::Event { args, attachments, .. } => {
                socketio::event(namespace, attachments.len(), args, offset, out);
            }
            Message::Greeting(args) => socketio::event(namespace, 0, args, offset, out),
        }
        let head = version.binary_head();
        for attachment in self.attachments() {
            write_header(Kind::Binary, head.len() + attachment.len(), out);
            out.extend_from_slice(head);
            out.extend_from_slice(attachment);
        }
    }

    /// How many bytes the text frame's payload has in a form of Socket.IO.
    fn text_bytes(&self, form: &Form<'_>) -> usize {
        let (namespace, offset) = (form.namespace, form.offset());
        1 + match *self {
            Message::Text(text) => socketio::text_event_bytes(namespace, utf8(text), offset),
            Message::Binary(_) => {
                socketio::event_bytes(namespace, 1, socketio::BINARY_ARGS, offset)
            }
            Message::Event { args, attachments, .. } => {
                socketio::event_bytes(namespace, attachments.len(), args, offset)
            }
            Message::Greeting(args) => socketio::event_bytes(namespace, 0, args, offset),
        }
    }

    fn attachments(&self) -> impl Iterator<Item = &'a [u8]> {
        let (one, many): (Option<&'a [u8]>, &'a [&'a [u8]]) = match *self {
            Message::Binary(payload) => (Some(payload), &[]),
            Message::Event { attachments, .. } => (None, attachments),
            Message::Text(_) | Message::Greeting(_) => (None, &[]),
        };
        one.into_iter().chain(many.iter().copied())
    }
}

const _: () = {
    let frames = (1 + socketio::ATTACHMENTS_MAX) * (ws::HEADER_BYTES_MAX + 1);
    // The marks are types, a number of attachments, slash, commas, brackets and quotes.
    let marks = 16;
    let words =
        limits::CHANNEL_NAME_BYTES_MAX + socketio::BINARY_ARGS.len() + socketio::CHAT_MESSAGE.len();
    let offset = POSITION_BYTES_MAX + r#","""#.len();
    assert!(frames + marks + words + offset <= limits::RECORD_EXTRA_BYTES_MAX);
    assert!(sse::EVENT_EXTRA_BYTES_MAX <= limits::RECORD_EXTRA_BYTES_MAX);
    assert!(sse::LINE_BYTES_MAX <= limits::TEXT_GROWTH_MAX);
    assert!(limits::ESCAPED_BYTES_MAX <= limits::TEXT_GROWTH_MAX);
};

/// How many bytes a frame with such a payload has, header included.
fn framed(payload_bytes: usize) -> usize {
    ws::header_bytes(payload_bytes) + payload_bytes
}

/// The text of a message as a string, which only a Socket.IO dialect needs.
///
/// # Panics
/// If the text is not UTF-8, which was checked when it was read.
fn utf8(text: &[u8]) -> &str {
    core::str::from_utf8(text).expect("a text message is UTF-8")
}

/// What tells a reader of `elbow.v1` of a gap, around the position.
const LOST: [&[u8]; 2] = [b"\n{\"lost\":true,\"position\":\"", b"\"}"];

/// The most bytes of the frame that tells of a gap.
pub(super) const LOST_BYTES_MAX: usize =
    ws::HEADER_BYTES_MAX + LOST[0].len() + POSITION_BYTES_MAX + LOST[1].len();

/// Appends the frame of `elbow.v1` that tells of messages that are lost, which were said before
/// `position`.
pub(super) fn lost(position: &str, out: &mut Vec<u8>) {
    write_header(Kind::Text, LOST[0].len() + position.len() + LOST[1].len(), out);
    [LOST[0], position.as_bytes(), LOST[1]].iter().for_each(|part| out.extend_from_slice(part));
}

/// Appends the header of an unmasked frame to `out`.
pub fn write_header(kind: Kind, payload_bytes: usize, out: &mut Vec<u8>) {
    let mut header = [0; ws::HEADER_BYTES_MAX];
    let length = ws::header(kind, payload_bytes, &mut header);
    out.extend_from_slice(&header[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(dialect: Dialect, namespace: &str) -> Form<'_> {
        Form { dialect, namespace, position: "k3f9.16", with_offset: false }
    }

    fn encoded(message: &Message<'_>, dialect: Dialect, namespace: &str) -> Vec<u8> {
        encoded_in(message, &form(dialect, namespace))
    }

    fn encoded_in(message: &Message<'_>, form: &Form<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(form, &mut out);
        assert_eq!(out.len(), message.length(form));
        out
    }

    #[test]
    fn a_position_stands_in_front_and_behind_and_as_an_id() {
        let text = Message::Text(b"hi");
        let record = encoded(&text, Dialect::ElbowV1, "/");
        assert_eq!(record, b"\x81\x0ak3f9.16\nhi");
        let binary = encoded(&Message::Binary(&[1, 2]), Dialect::ElbowV1, "/");
        assert_eq!(binary, b"\x82\x0ak3f9.16\n\x01\x02");
        let record = encoded(&text, Dialect::EventStream, "/");
        assert_eq!(record, b"16\r\nid: k3f9.16\ndata: hi\n\n\r\n");
        let with_offset = Form { with_offset: true, ..form(Dialect::SocketIo4, "/news") };
        let record = encoded_in(&text, &with_offset);
        assert_eq!(record[2..], *br#"42/news,["chat message","hi","k3f9.16"]"#);
        let greeting = encoded_in(&Message::Greeting(r#"["hi"]"#), &with_offset);
        assert_eq!(greeting[2..], *br#"42/news,["hi","k3f9.16"]"#);
        let text = br#"451-/news,["chat message",{"_placeholder":true,"num":0},"k3f9.16"]"#;
        let binary = encoded_in(&Message::Binary(&[1, 2]), &with_offset);
        assert_eq!(binary[2..], [&text[..], &[0x82, 2, 1, 2]].concat());
        // A client of protocol 3 knows nothing of offsets.
        let old = Form { dialect: Dialect::SocketIo3, ..with_offset };
        assert_eq!(
            encoded_in(&Message::Text(b"x"), &old)[2..],
            *br#"42/news,["chat message","x"]"#
        );
    }

    #[test]
    fn text_becomes_an_event_with_a_string() {
        let message = Message::Text("h\u{e9}\"\n".as_bytes());
        let record = encoded(&message, Dialect::SocketIo4, "/");
        assert_eq!(record, b"\x81\x1c42[\"chat message\",\"h\xc3\xa9\\\"\\n\"]");
    }

    #[test]
    fn binary_becomes_an_event_with_an_attachment() {
        let message = Message::Binary(&[1, 2]);
        let text = "451-/news,[\"chat message\",{\"_placeholder\":true,\"num\":0}]";
        let four = encoded(&message, Dialect::SocketIo4, "/news");
        let three = encoded(&message, Dialect::SocketIo3, "/news");
        assert_eq!(four[2..2 + text.len()], *text.as_bytes());
        assert_eq!(four[2 + text.len()..], [0x82, 2, 1, 2]);
        assert_eq!(three[2 + text.len()..], [0x82, 3, 4, 1, 2]);
    }

    #[test]
    fn whether_it_fits_is_decided_by_its_longest_form_and_exactly() {
        let control = "\u{1}".repeat(300);
        let (text, bytes) = ("x".repeat(300), [0xff; 300]);
        let pieces = [&bytes[..]; socketio::ATTACHMENTS_MAX];
        let quoted = format!("[\"chat message\",\"{}\"]", "\\u0001".repeat(300));
        let event = |args, attachments, plain| Message::Event { args, attachments, plain };
        for message in [
            Message::Greeting(r#"["hi"]"#),
            Message::Greeting(&quoted),
            Message::Text(b""),
            Message::Text(text.as_bytes()),
            Message::Text(control.as_bytes()),
            Message::Binary(b""),
            Message::Binary(&bytes),
            event(&quoted, &[], Some((Kind::Text, control.as_bytes()))),
            event(r#"["a"]"#, &pieces, None),
            event(r#"["a"]"#, &pieces[..1], Some((Kind::Binary, pieces[0]))),
        ] {
            for namespace in ["/", "/news", &format!("/{}", "x".repeat(64))] {
                let lengths =
                    Dialect::ALL.map(|dialect| message.length(&Form::longest(dialect, namespace)));
                let longest = lengths.into_iter().max().expect("there are dialects");
                assert!(longest <= message.length_bound(), "{message:?}");
                assert!(message.fits(namespace, longest), "{message:?}");
                assert!(!message.fits(namespace, longest - 1), "{message:?}");
            }
        }
    }

    #[test]
    fn a_greeting_is_for_socket_io_alone() {
        let greeting = Message::Greeting(r#"["hi"]"#);
        assert_eq!(greeting.length(&form(Dialect::Plain, "/")), 0);
        assert_eq!(encoded(&greeting, Dialect::SocketIo3, "/"), b"\x81\x0842[\"hi\"]");
    }
}
