//! Server-sent events (WHATWG HTML, section 9.2) as chunks of an HTTP/1.1 response (RFC 9112
//! section 7.1).
//!
//! ```text
//!   1A CR LF             how many bytes the event has
//!   id: k3f9.16 LF       what a browser sends as Last-Event-ID when it comes back
//!   data: hello LF       a line of text for each line that was said
//!   LF                   the end of the event
//!   CR LF                the end of the chunk
//! ```
//!
//! Deals with: every event, comment and end that a stream of ours has, and how long each is. Leaves
//! to others: the head of the response, when anything is sent, and what a position is. Each event
//! is a chunk of its own, so that it is a record like any other: nothing may come into it, and
//! whatever stands between two of them is a chunk as well.
//!
//! What it costs: a text is looked at twice, once to know its length and once to find its lines,
//! each time in blocks without a branch per byte. Nothing is allocated if `out` has the room.
//!
//! The surprise: a text does not come out as it went in. Browsers end lines at CR, at LF and at
//! CRLF, and join them with LF; so does this file, for a CR that was passed on would end a line in
//! which somebody could write an `id:` of their own. Nothing else is changed, and no line is lost,
//! not even an empty one at the end.

use std::io::Write;

use data_encoding::BASE64;

use crate::position::{POSITION_BYTES_MAX, is_position_text};
use crate::wire::ws::Kind;

/// The most bytes of an event for a byte that was said: a line feed becomes one, and `data: ` in
/// front of the line behind it.
pub const LINE_BYTES_MAX: usize = DATA.len() + 1;

/// The most bytes of an event beside [`LINE_BYTES_MAX`] for each byte that was said: the frame of
/// its chunk, its fields and the ends of their lines.
pub const EVENT_EXTRA_BYTES_MAX: usize =
    CHUNK_BYTES_MAX + BINARY.len() + ID.len() + POSITION_BYTES_MAX + 1 + LINE_BYTES_MAX + 1;

/// The most bytes of what is not said by anybody: [`opening`], [`reset`], [`COMMENT`], [`retry`],
/// [`retry_and_end`] and [`end`].
pub const NOTICE_BYTES_MAX: usize = CHUNK_BYTES_MAX
    + RESET.len()
    + ID.len()
    + 2 * POSITION_BYTES_MAX
    + 1
    + RESET_DATA.len()
    + RESET_DATA_END.len();

/// A comment, which tells nothing to anybody and keeps what is in between from taking the
/// connection for dead. A line that begins with a colon is passed over wherever it stands; being a
/// chunk of its own, it stands between events.
pub const COMMENT: &[u8] = b"2\r\n:\n\r\n";

/// The last chunk, without trailers, with which the response is over. The client comes back.
pub const END: &[u8] = b"0\r\n\r\n";

const ID: &[u8] = b"id: ";
const DATA: &[u8] = b"data: ";
const BINARY: &[u8] = b"event: binary\n";
const RESET: &[u8] = b"event: reset\n";
const RESET_DATA: &[u8] = br#"data: {"position":""#;
const RESET_DATA_END: &[u8] = b"\"}\n\n";
const RETRY: &[u8] = b"retry: ";

/// The most bytes of a chunk beside its content: its size in hexadecimal, and two line ends.
const CHUNK_BYTES_MAX: usize = usize::BITS as usize / 4 + 2 * LINE_END.len();

const LINE_END: &[u8] = b"\r\n";

/// Appends a message as an event with its position as id. Text is split into lines; binary is an
/// event of the type `binary` whose data is base64 (RFC 4648 section 4, padded).
pub fn event(kind: Kind, position: &str, payload: &[u8], out: &mut Vec<u8>) {
    begin_chunk(event_content_bytes(kind, position, payload), out);
    match kind {
        Kind::Text => {
            id(position, out);
            lines(payload, out);
        }
        Kind::Binary => {
            out.extend_from_slice(BINARY);
            id(position, out);
            out.extend_from_slice(DATA);
            let before = out.len();
            out.resize(before + BASE64.encode_len(payload.len()), 0);
            BASE64.encode_mut(payload, &mut out[before..]);
            out.push(b'\n');
        }
    }
    out.push(b'\n');
    out.extend_from_slice(LINE_END);
}

/// How many bytes [`event`] appends: at most [`LINE_BYTES_MAX`] times the payload's and
/// [`EVENT_EXTRA_BYTES_MAX`]. Looks at every byte of a text, and at none of binary.
pub fn event_bytes(kind: Kind, position: &str, payload: &[u8]) -> usize {
    chunk_bytes(event_content_bytes(kind, position, payload))
}

fn event_content_bytes(kind: Kind, position: &str, payload: &[u8]) -> usize {
    let fields_bytes = match kind {
        Kind::Text => lines_bytes(payload),
        Kind::Binary => BINARY.len() + DATA.len() + BASE64.encode_len(payload.len()) + 1,
    };
    id_bytes(position) + fields_bytes + 1
}

/// Appends the event with which a stream begins: an id without data. A browser keeps the id, so
/// that a cut before the first message loses nothing, and tells its page nothing.
pub fn opening(position: &str, out: &mut Vec<u8>) {
    begin_chunk(id_bytes(position) + 1, out);
    id(position, out);
    out.push(b'\n');
    out.extend_from_slice(LINE_END);
}

/// How many bytes [`opening`] appends.
pub fn opening_bytes(position: &str) -> usize {
    chunk_bytes(id_bytes(position) + 1)
}

/// Appends an event of the type `reset`: what was said between the position that the client knows
/// and `position` is lost to it. The data is a JSON object with the member `position`.
pub fn reset(position: &str, out: &mut Vec<u8>) {
    begin_chunk(reset_content_bytes(position), out);
    out.extend_from_slice(RESET);
    id(position, out);
    out.extend_from_slice(RESET_DATA);
    out.extend_from_slice(position.as_bytes());
    out.extend_from_slice(RESET_DATA_END);
    out.extend_from_slice(LINE_END);
}

/// How many bytes [`reset`] appends.
pub fn reset_bytes(position: &str) -> usize {
    chunk_bytes(reset_content_bytes(position))
}

fn reset_content_bytes(position: &str) -> usize {
    let data_bytes = RESET_DATA.len() + position.len() + RESET_DATA_END.len();
    RESET.len() + id_bytes(position) + data_bytes
}

/// Appends the time in milliseconds after which the client is to come back whenever the response
/// has ended.
pub fn retry(retry_ms: u64, out: &mut Vec<u8>) {
    begin_chunk(retry_content_bytes(retry_ms), out);
    out.extend_from_slice(RETRY);
    write!(out, "{retry_ms}\n\n").expect("writing to a vector does not fail");
    out.extend_from_slice(LINE_END);
}

/// How many bytes [`retry`] appends.
pub fn retry_bytes(retry_ms: u64) -> usize {
    chunk_bytes(retry_content_bytes(retry_ms))
}

/// Appends the time in milliseconds after which the client is to come back, and the end of the
/// response. A browser never comes back from an error, so this is how one is asked to come later.
pub fn retry_and_end(retry_ms: u64, out: &mut Vec<u8>) {
    retry(retry_ms, out);
    end(out);
}

/// How many bytes [`retry_and_end`] appends.
pub fn retry_and_end_bytes(retry_ms: u64) -> usize {
    retry_bytes(retry_ms) + end_bytes()
}

fn retry_content_bytes(retry_ms: u64) -> usize {
    let digits = retry_ms.checked_ilog10().map_or(1, |rest| 1 + rest as usize);
    RETRY.len() + digits + 2
}

/// Appends the [`END`] of the response.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(END);
}

/// How many bytes [`end`] appends.
pub const fn end_bytes() -> usize {
    END.len()
}

/// Appends the field that says where a message stands. Of its value nothing is quoted, for the
/// alphabet of positions has nothing that would end a line or a JSON string.
fn id(position: &str, out: &mut Vec<u8>) {
    debug_assert!(is_position_text(position.as_bytes()), "a position has an alphabet");
    out.extend_from_slice(ID);
    out.extend_from_slice(position.as_bytes());
    out.push(b'\n');
}

const fn id_bytes(position: &str) -> usize {
    ID.len() + position.len() + 1
}

/// Appends a field `data` for each line of a text. A text that ends in a line end has an empty line
/// behind it, since browsers put a line end between two lines only.
fn lines(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        let line_bytes = bytes_of_line(rest);
        out.extend_from_slice(DATA);
        out.extend_from_slice(&rest[..line_bytes]);
        out.push(b'\n');
        rest = match &rest[line_bytes..] {
            [] => return,
            [b'\r', b'\n', behind @ ..] | [_, behind @ ..] => behind,
        };
    }
}

/// How many bytes stand in front of the first CR or LF, or of the end.
fn bytes_of_line(text: &[u8]) -> usize {
    let (blocks, _) = text.as_chunks::<BLOCK_BYTES>();
    // A whole block is asked without a branch per byte, as vector instructions do it.
    let has_end = |block: &[u8]| block.iter().fold(false, |has, byte| has | is_line_end(*byte));
    let begin = BLOCK_BYTES * blocks.iter().take_while(|block| !has_end(&block[..])).count();
    let rest = &text[begin..];
    begin + rest.iter().position(|byte| is_line_end(*byte)).unwrap_or(rest.len())
}

/// How many bytes [`lines`] appends. A line end becomes [`LINE_BYTES_MAX`] bytes, of which one was
/// there; the LF of a CRLF adds nothing and goes.
fn lines_bytes(text: &[u8]) -> usize {
    let Some((first, behind)) = text.split_first() else { return LINE_BYTES_MAX };
    let (blocks, rest) = behind.as_chunks::<BLOCK_BYTES>();
    let (blocks_before, rest_before) = text[..behind.len()].as_chunks::<BLOCK_BYTES>();
    let (mut ends, mut seconds) = count(rest_before, rest);
    ends += usize::from(is_line_end(*first));
    for (before, block) in blocks_before.iter().zip(blocks) {
        let (block_ends, block_seconds) = count(before, block);
        ends += block_ends;
        seconds += block_seconds;
    }
    LINE_BYTES_MAX + text.len() - seconds + ends * (LINE_BYTES_MAX - 1)
}

/// Counts in at most [`BLOCK_BYTES`] bytes, which stand one further than those `before` them: first
/// the line ends, then the LF that belong to a CR before them. Both are summed up in one byte,
/// without a branch per byte, which makes it vector instructions.
fn count(before: &[u8], bytes: &[u8]) -> (usize, usize) {
    const _: () = assert!(BLOCK_BYTES <= u8::MAX as usize);
    let (mut marks, mut seconds) = (0_u8, 0_u8);
    for (before, byte) in before.iter().zip(bytes) {
        seconds = seconds.wrapping_add(u8::from((*before == b'\r') & (*byte == b'\n')));
        marks = marks.wrapping_add(u8::from(is_line_end(*byte)));
    }
    (usize::from(marks - seconds), usize::from(seconds))
}

const BLOCK_BYTES: usize = 32;

/// Whether a byte is CR or LF, which end a line each; U+2028 and others do not.
const fn is_line_end(byte: u8) -> bool {
    (byte == b'\n') | (byte == b'\r')
}

/// Appends what stands in front of a chunk's content.
fn begin_chunk(content_bytes: usize, out: &mut Vec<u8>) {
    for place in (0..size_digits(content_bytes)).rev() {
        out.push(b"0123456789ABCDEF"[content_bytes >> (4 * place) & 0xf]);
    }
    out.extend_from_slice(LINE_END);
}

/// How many bytes a chunk has whose content, at least one byte, has so many.
const fn chunk_bytes(content_bytes: usize) -> usize {
    size_digits(content_bytes) + 2 * LINE_END.len() + content_bytes
}

/// How many hexadecimal digits the size of a chunk has, which is above 0.
const fn size_digits(content_bytes: usize) -> usize {
    1 + content_bytes.ilog2() as usize / 4
}
