//! What is said in a channel, and the form of it in each dialect.
//!
//! Text of a plain WebSocket arrives at Socket.IO clients as the event `chat message` with one
//! string, and such an event arrives at plain WebSockets as text. Binary is passed on in the same
//! way, both ways. What has no form in a dialect is not told to the readers of that dialect.
//!
//! A record of a Socket.IO dialect is one text frame, and behind it a binary frame for each
//! attachment. Nothing may come between these frames on a connection, and nothing does, for the
//! feed never splits a record.

use crate::id::Dialect;
use crate::limits;
use crate::wire::engine::{PacketType, Version};
use crate::wire::socketio;
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
    /// or not. The content is looked at only where its length leaves a doubt.
    pub fn fits(&self, namespace: &str, record_bytes_max: usize) -> bool {
        let fits = |dialect| self.length(dialect, namespace) <= record_bytes_max;
        self.length_bound() <= record_bytes_max || Dialect::ALL.into_iter().all(fits)
    }

    /// A length that the record of the message exceeds in no dialect, from the lengths of its parts
    /// alone.
    fn length_bound(&self) -> usize {
        let said = match *self {
            Message::Text(text) => limits::ESCAPED_BYTES_MAX * text.len(),
            Message::Binary(payload) => payload.len(),
            Message::Event { args, attachments, plain } => {
                let attached = attachments.iter().map(|attachment| attachment.len());
                let event = args.len() + attached.sum::<usize>();
                event.max(plain.map_or(0, |(_, payload)| payload.len()))
            }
            Message::Greeting(args) => args.len(),
        };
        said + limits::RECORD_EXTRA_BYTES_MAX
    }

    /// How many bytes the record of the message has in `dialect`, whose readers know the channel as
    /// `namespace`; 0 if there is no record.
    pub fn length(&self, dialect: Dialect, namespace: &str) -> usize {
        let Some(version) = version_of(dialect) else {
            return self.plain().map_or(0, |(_, payload)| framed(payload.len()));
        };
        let attachments = self
            .attachments()
            .map(|attachment| framed(version.binary_head().len() + attachment.len()));
        framed(self.text_bytes(namespace)) + attachments.sum::<usize>()
    }

    /// Appends the record of the message in a Socket.IO dialect: exactly [`Message::length`] bytes.
    /// Appends nothing in the plain dialect, whose records need no encoding.
    pub fn encode(&self, dialect: Dialect, namespace: &str, out: &mut Vec<u8>) {
        let Some(version) = version_of(dialect) else { return };
        write_header(Kind::Text, self.text_bytes(namespace), out);
        out.push(PacketType::Message.digit());
        match *self {
            Message::Text(text) => socketio::text_event(namespace, utf8(text), None, out),
            Message::Binary(_) => socketio::event(namespace, 1, socketio::BINARY_ARGS, None, out),
            Message::Event { args, attachments, .. } => {
                socketio::event(namespace, attachments.len(), args, None, out);
            }
            Message::Greeting(args) => socketio::event(namespace, 0, args, None, out),
        }
        let head = version.binary_head();
        for attachment in self.attachments() {
            write_header(Kind::Binary, head.len() + attachment.len(), out);
            out.extend_from_slice(head);
            out.extend_from_slice(attachment);
        }
    }

    /// How many bytes the text frame's payload has, which is equal in both Socket.IO dialects.
    fn text_bytes(&self, namespace: &str) -> usize {
        1 + match *self {
            Message::Text(text) => socketio::text_event_bytes(namespace, utf8(text), None),
            Message::Binary(_) => socketio::event_bytes(namespace, 1, socketio::BINARY_ARGS, None),
            Message::Event { args, attachments, .. } => {
                socketio::event_bytes(namespace, attachments.len(), args, None)
            }
            Message::Greeting(args) => socketio::event_bytes(namespace, 0, args, None),
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
    assert!(frames + marks + words <= limits::RECORD_EXTRA_BYTES_MAX);
};

fn version_of(dialect: Dialect) -> Option<Version> {
    match dialect {
        Dialect::Plain => None,
        Dialect::SocketIo4 => Some(Version::V4),
        Dialect::SocketIo3 => Some(Version::V3),
    }
}

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

/// Appends the header of an unmasked frame to `out`.
pub fn write_header(kind: Kind, payload_bytes: usize, out: &mut Vec<u8>) {
    let mut header = [0; ws::HEADER_BYTES_MAX];
    let length = ws::header(kind, payload_bytes, &mut header);
    out.extend_from_slice(&header[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(message: &Message<'_>, dialect: Dialect, namespace: &str) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(dialect, namespace, &mut out);
        assert_eq!(out.len(), message.length(dialect, namespace));
        out
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
                let lengths = Dialect::ALL.map(|dialect| message.length(dialect, namespace));
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
        assert_eq!(greeting.length(Dialect::Plain, "/"), 0);
        assert_eq!(encoded(&greeting, Dialect::SocketIo3, "/"), b"\x81\x0842[\"hi\"]");
    }
}
