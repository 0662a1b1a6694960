//! A message on its own: what was said and where, in a form that belongs to no dialect.
//!
//! Whoever decides the order of messages elsewhere carries envelopes. An envelope names the channel
//! by its name, because the channel may be gone and another may have its number by the time the
//! message has its place. It says nothing of who spoke.
//!
//! ```text
//!   kind 1   name length 1   name   body length 4   body   ( attachment length 4   attachment )*
//! ```
//!
//! Numbers are little-endian. The body is a text, a binary payload, or the JSON array of an event
//! or a greeting; only an event has attachments. The form that an event has for plain WebSockets is
//! not in it: that follows from the event.

use super::is_channel_name;
use super::message::Message;
use crate::wire::socketio::{ATTACHMENTS_MAX, Event, event_of};

const TEXT: u8 = 0;
const BINARY: u8 = 1;
const EVENT: u8 = 2;
const GREETING: u8 = 3;

/// What an envelope holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "lies on the stack for as long as one is read")]
pub enum Content<'a> {
    /// Text that a plain WebSocket said; UTF-8.
    Text(&'a [u8]),
    /// Binary that a plain WebSocket said.
    Binary(&'a [u8]),
    /// An event.
    Event {
        /// The event, read from its JSON array.
        event: Event<'a>,
        /// The binary arguments, of which the first [`Content::Event::count`] count.
        attachments: [&'a [u8]; ATTACHMENTS_MAX],
        /// How many binary arguments there are.
        count: usize,
    },
    /// The event that tells of a newcomer, as a JSON array. It stands outside of the order.
    Greeting(&'a str),
}

/// Bytes of the envelope of a message for the channel called `name`.
pub fn length(name: &str, message: &Message<'_>) -> usize {
    let content = match *message {
        Message::Text(body) | Message::Binary(body) => 4 + body.len(),
        Message::Event { args, attachments, .. } => {
            let attached = attachments.iter().map(|attachment| 4 + attachment.len());
            4 + args.len() + attached.sum::<usize>()
        }
        Message::Greeting(args) => 4 + args.len(),
    };
    2 + name.len() + content
}

/// Appends the envelope of a message for the channel called `name`: exactly [`length`] bytes.
///
/// # Panics
/// If the name is longer than that of any channel, or a part of the message than 4 GiB.
pub fn encode(name: &str, message: &Message<'_>, out: &mut Vec<u8>) {
    let (kind, body, attachments): (u8, &[u8], &[&[u8]]) = match *message {
        Message::Text(body) => (TEXT, body, &[]),
        Message::Binary(body) => (BINARY, body, &[]),
        Message::Event { args, attachments, .. } => (EVENT, args.as_bytes(), attachments),
        Message::Greeting(args) => (GREETING, args.as_bytes(), &[]),
    };
    out.push(kind);
    out.push(u8::try_from(name.len()).expect("a channel's name is short"));
    out.extend_from_slice(name.as_bytes());
    for part in core::iter::once(&body).chain(attachments) {
        let length = u32::try_from(part.len()).expect("no message is longer than 256 MiB");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(part);
    }
}

/// The name of the channel that an envelope is for; `None` if it is no envelope.
pub fn channel_of(bytes: &[u8]) -> Option<&str> {
    let (&[_, length], rest) = bytes.split_first_chunk()?;
    let name = core::str::from_utf8(rest.get(..usize::from(length))?).ok()?;
    is_channel_name(name).then_some(name)
}

/// Reads an envelope; `None` if it is none, or holds what no client could have said. Returns the
/// channel's name, and what was said.
pub fn decode(bytes: &[u8]) -> Option<(&str, Content<'_>)> {
    let (&[kind, length], rest) = bytes.split_first_chunk()?;
    let (name, mut rest) = rest.split_at_checked(usize::from(length))?;
    let name = core::str::from_utf8(name).ok().filter(|name| is_channel_name(name))?;
    let body = part(&mut rest)?;
    let content = match kind {
        TEXT => Content::Text(core::str::from_utf8(body).ok()?.as_bytes()),
        BINARY => Content::Binary(body),
        EVENT => {
            let args = core::str::from_utf8(body).ok()?;
            let mut attachments: [&[u8]; ATTACHMENTS_MAX] = [&[]; ATTACHMENTS_MAX];
            let mut count = 0;
            while !rest.is_empty() {
                *attachments.get_mut(count)? = part(&mut rest)?;
                count += 1;
            }
            Content::Event { event: event_of(args, count)?, attachments, count }
        }
        GREETING => {
            let args = core::str::from_utf8(body).ok()?;
            Content::Greeting(event_of(args, 0)?.args)
        }
        _ => return None,
    };
    rest.is_empty().then_some((name, content))
}

/// Splits a part and its length off.
fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let (part, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = behind;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(name: &str, message: &Message<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(name, message, &mut bytes);
        assert_eq!(bytes.len(), length(name, message));
        assert_eq!(channel_of(&bytes), Some(name));
        bytes
    }

    #[test]
    fn what_is_put_in_comes_out() {
        let cases = [
            (Message::Text("gr\u{fc}n".as_bytes()), Content::Text("gr\u{fc}n".as_bytes())),
            (Message::Text(b""), Content::Text(b"")),
            (Message::Binary(&[0, 255]), Content::Binary(&[0, 255])),
        ];
        for (message, content) in cases {
            assert_eq!(decode(&sealed("news", &message)), Some(("news", content)));
        }
        let attachments: [&[u8]; 2] = [b"one", b""];
        let args = "[\"a\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
        let event = Message::Event { args, attachments: &attachments, plain: None };
        let bytes = sealed("default", &event);
        let Some(("default", Content::Event { event, attachments, count })) = decode(&bytes) else {
            panic!("an event comes out");
        };
        assert_eq!((event.args, count), (args, 2));
        assert_eq!(attachments[..2], [&b"one"[..], b""]);
    }

    #[test]
    fn a_greeting_is_put_in_as_an_event_and_is_none() {
        let bytes = sealed("news", &Message::Greeting(r#"["hi"]"#));
        assert_eq!(decode(&bytes), Some(("news", Content::Greeting(r#"["hi"]"#))));
        for args in ["", "[]", "[true]", "{}"] {
            assert_eq!(decode(&sealed("news", &Message::Greeting(args))), None, "{args:?}");
        }
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let attachments: [&[u8]; 1] = [b"x"];
        let args = "[\"a\",{\"_placeholder\":true,\"num\":0}]";
        let whole =
            sealed("news", &Message::Event { args, attachments: &attachments, plain: None });
        for length in 0..whole.len() {
            // One that ends behind the text is whole: without the attachment its placeholder is an
            // object like any other.
            let is_event = length == whole.len() - 5;
            assert_eq!(decode(&whole[..length]).is_some(), is_event, "cut at {length}");
        }
        for args in ["", "{}", "[]", "[true]", "[\"connect\"]", "[\"a\""] {
            let event = Message::Event { args, attachments: &[], plain: None };
            assert_eq!(decode(&sealed("news", &event)), None, "{args:?} is no event");
        }
        let args = "[\"a\",{\"_placeholder\":true,\"num\":1}]";
        let event = Message::Event { args, attachments: &attachments, plain: None };
        assert_eq!(decode(&sealed("news", &event)), None, "a placeholder for no attachment");
        let text = sealed("news", &Message::Text(b"x"));
        assert_eq!(decode(&[&text[..], b"x"].concat()), None, "more behind it");
        assert_eq!(decode(b"\x04\x01a\0\0\0\0"), None, "an unknown kind");
        assert_eq!(decode(b"\x00\x01/\0\0\0\0"), None, "no name of a channel");
        assert_eq!(decode(b"\x00\x01a\x01\0\0\0\xff"), None, "no UTF-8");
        let many = [b"\x02\x01a\x05\0\0\0[\"a\"]".to_vec(), [0; 44].to_vec()].concat();
        assert_eq!(decode(&many), None, "eleven attachments");
    }
}
