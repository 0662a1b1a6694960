//! The Socket.IO packets of the server, as text.
//!
//! Deals with: what a server says, as text to be put behind the type digit of an Engine.IO message.
//! Leaves to others: frames, polling bodies, and the attachments, which are binary messages of
//! their own behind the text.
//!
//! The surprise: both protocols write events alike; only how a namespace is entered and refused
//! differs. A channel has two Socket.IO dialects all the same, because of Engine.IO's binary
//! frames.

use std::io::Write;

use super::PacketType;
use crate::limits::ESCAPED_BYTES_MAX;
use crate::position::is_position_text;
use crate::wire::engine::Version;

/// The most bytes that [`connected`], [`refused`] and [`acknowledgement`] append beside the
/// namespace.
pub const ANSWER_BYTES_MAX: usize = 64;

/// The name of the event as which a plain client's message appears.
pub const CHAT_MESSAGE: &str = "chat message";

/// Appends the answer to a client that has entered `namespace`. In protocol 5 the answer tells the
/// member's public id, which must not be the session's; protocol 4 has no such id.
///
/// A private id, `pid`, tells a client of protocol 5 that its session can be recovered. From then
/// on the client takes the last argument of every event, if that is a string, for an offset.
/// Protocol 4 has no such id either.
pub fn connected(
    version: Version,
    namespace: &str,
    id: &str,
    pid: Option<&str>,
    out: &mut Vec<u8>,
) {
    head(PacketType::Connect, 0, namespace, out);
    match version {
        Version::V3 => {}
        Version::V4 => {
            out.extend_from_slice(br#"{"sid":"#);
            string(id, out);
            if let Some(pid) = pid {
                out.extend_from_slice(br#","pid":"#);
                string(pid, out);
            }
            out.push(b'}');
        }
    }
}

/// Appends the answer to a client that may not enter `namespace`. `message` is ours, and short.
pub fn refused(version: Version, namespace: &str, message: &str, out: &mut Vec<u8>) {
    head(PacketType::ConnectError, 0, namespace, out);
    match version {
        Version::V3 => string(message, out),
        Version::V4 => {
            out.extend_from_slice(br#"{"message":"#);
            string(message, out);
            out.push(b'}');
        }
    }
}

/// Appends the answer, without arguments, to an event that asked for one under `id`.
pub fn acknowledgement(namespace: &str, id: u64, out: &mut Vec<u8>) {
    head(PacketType::Ack, 0, namespace, out);
    write!(out, "{id}[]").expect("writing to a vector does not fail");
}

/// Appends an event whose array of name and arguments is `args`, as a client has sent it: JSON
/// without white space around it. So many `attachments` are to follow as binary messages. Who asked
/// for an ack is not told to the others.
///
/// An `offset` becomes one more argument, behind all others: where a client of protocol 5 that
/// comes back wants to go on.
///
/// # Panics
///
/// If there is an offset and `args` does not end as an array does.
pub fn event(
    namespace: &str,
    attachments: usize,
    args: &str,
    offset: Option<&str>,
    out: &mut Vec<u8>,
) {
    head(event_type(attachments), attachments, namespace, out);
    match offset {
        None => out.extend_from_slice(args.as_bytes()),
        Some(offset) => {
            // An event has a name at least, so there is something in front of the comma.
            let args = args.strip_suffix(']').expect("name and arguments are an array");
            out.extend_from_slice(args.as_bytes());
            end_with(offset, out);
        }
    }
}

/// How many bytes [`event`] appends.
pub fn event_bytes(namespace: &str, attachments: usize, args: &str, offset: Option<&str>) -> usize {
    head_bytes(attachments, namespace) + args.len() + offset_bytes(offset)
}

/// Appends a plain client's text as an event, exactly as `JSON.stringify` would write it. An
/// `offset` becomes a second argument, as in [`event`].
pub fn text_event(namespace: &str, text: &str, offset: Option<&str>, out: &mut Vec<u8>) {
    head(PacketType::Event, 0, namespace, out);
    out.extend_from_slice(CHAT_MESSAGE_BEGIN.as_bytes());
    string(text, out);
    match offset {
        None => out.push(b']'),
        Some(offset) => end_with(offset, out),
    }
}

/// How many bytes [`text_event`] appends: at most [`ESCAPED_BYTES_MAX`] times the text's and a few
/// more. Looks at every byte.
pub fn text_event_bytes(namespace: &str, text: &str, offset: Option<&str>) -> usize {
    let args_bytes = CHAT_MESSAGE_BEGIN.len() + string_bytes(text) + 1;
    head_bytes(0, namespace) + args_bytes + offset_bytes(offset)
}

/// The name of the event whose one argument is an offset: it tells a client of protocol 5 where to
/// go on before the first event has come.
pub const POSITION_EVENT: &str = "elbow:position";

/// Appends the event that tells a client of protocol 5 nothing but an offset.
pub fn position_event(namespace: &str, offset: &str, out: &mut Vec<u8>) {
    head(PacketType::Event, 0, namespace, out);
    out.push(b'[');
    string(POSITION_EVENT, out);
    end_with(offset, out);
}

/// How many bytes [`position_event`] appends.
pub fn position_event_bytes(namespace: &str, offset: &str) -> usize {
    let name_bytes = POSITION_EVENT.len() + 2;
    head_bytes(0, namespace) + 2 + name_bytes + offset_bytes(Some(offset))
}

/// How many bytes an event has more if it ends in an offset, beside those of the offset: a comma
/// and two quotes.
pub const OFFSET_EXTRA_BYTES: usize = 3;

/// Appends the last argument of an event, and the end of its array. Of the offset nothing is
/// quoted, for the alphabet of positions has nothing to quote.
fn end_with(offset: &str, out: &mut Vec<u8>) {
    debug_assert!(is_position_text(offset.as_bytes()), "a position has an alphabet");
    out.extend_from_slice(b",\"");
    out.extend_from_slice(offset.as_bytes());
    out.extend_from_slice(b"\"]");
}

fn offset_bytes(offset: Option<&str>) -> usize {
    offset.map_or(0, |offset| OFFSET_EXTRA_BYTES + offset.len())
}

/// Name and arguments of a plain client's binary message, whose bytes follow as one attachment.
pub const BINARY_ARGS: &str = r#"["chat message",{"_placeholder":true,"num":0}]"#;

/// The JSON array of an event called `name` that has no arguments, as [`event`] takes it: at most
/// [`ESCAPED_BYTES_MAX`] times the bytes of the name, and four more.
pub fn args_of_name(name: &str) -> Box<str> {
    let mut args = vec![b'['];
    string(name, &mut args);
    args.push(b']');
    String::from_utf8(args).expect("JSON of a text is text").into()
}

/// Appends the array of an event called `name` whose arguments are the JSON array `arguments`, as
/// [`event`] takes it. `false`, and nothing is appended, if that does not begin and end as an array
/// does; whether it is one is for the caller to check of what was appended. If that is JSON, so are
/// the arguments.
pub fn named_args(name: &str, arguments: &str, out: &mut Vec<u8>) -> bool {
    let Some(inside) = inside_of(arguments) else { return false };
    out.push(b'[');
    string(name, out);
    if !inside.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(inside.as_bytes());
    out.push(b']');
    true
}

/// The most bytes that [`named_args`] appends.
pub fn named_args_bytes(name: &str, arguments: &str) -> usize {
    string_bytes(name) + arguments.len() + 3
}

/// What stands between the brackets of an array, without the white space of JSON around it.
fn inside_of(array: &str) -> Option<&str> {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
    let inside = array.trim_matches(is_space).strip_prefix('[')?.strip_suffix(']')?;
    Some(inside.trim_matches(is_space))
}

/// The beginning of a `chat message`'s array.
const CHAT_MESSAGE_BEGIN: &str = r#"["chat message","#;

/// Appends everything that stands in front of an ack id or a payload.
fn head(kind: PacketType, attachments: usize, namespace: &str, out: &mut Vec<u8>) {
    out.push(kind.digit());
    if attachments > 0 {
        write!(out, "{attachments}-").expect("writing to a vector does not fail");
    }
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
}

fn head_bytes(attachments: usize, namespace: &str) -> usize {
    let attachments_bytes = attachments.checked_ilog10().map_or(0, |rest| rest as usize + 2);
    let namespace_bytes = if namespace == "/" { 0 } else { namespace.len() + 1 };
    1 + attachments_bytes + namespace_bytes
}

const fn event_type(attachments: usize) -> PacketType {
    if attachments == 0 { PacketType::Event } else { PacketType::BinaryEvent }
}

/// Appends a JSON string. serde_json escapes exactly what `JSON.stringify` escapes, in the same
/// way.
fn string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string is JSON, and a vector takes it");
}

/// How many bytes a JSON string has, with its quotes.
fn string_bytes(text: &str) -> usize {
    // A block is summed up in one byte, without a branch per byte, which makes it vector
    // instructions.
    const BLOCK_BYTES: usize = 32;
    const _: () = assert!(BLOCK_BYTES * (ESCAPED_BYTES_MAX - 1) <= u8::MAX as usize);
    let added = |sum: u8, byte: &u8| sum.wrapping_add(escape_bytes(*byte));
    let (blocks, rest) = text.as_bytes().as_chunks::<BLOCK_BYTES>();
    let of_blocks: usize =
        blocks.iter().map(|block| usize::from(block.iter().fold(0, added))).sum();
    2 + text.len() + of_blocks + usize::from(rest.iter().fold(0, added))
}

/// How many bytes more than one a byte of text takes in a JSON string.
const fn escape_bytes(byte: u8) -> u8 {
    let is_control = byte < 0x20;
    let is_short_control = (byte >= 0x08) & (byte <= 0x0d) & (byte != 0x0b);
    let is_quoted = (byte == b'"') | (byte == b'\\');
    is_quoted as u8
        + is_short_control as u8
        + (is_control & !is_short_control) as u8 * (ESCAPED_BYTES_MAX - 1) as u8
}
