//! Server-sent events as a server may write them, by the specification's text alone (WHATWG HTML,
//! section 9.2, in chunks of RFC 9112 section 7.1): a reader that shares nothing with the crate's.
//!
//! Each chunk is one event, one comment or the end of the response, so that nothing can come into
//! the middle of an event. Anything else panics: every byte is the server's own.

use std::borrow::Cow;

use super::client::Message;
use super::packet::{from_base64, utf8};

/// One chunk of an event stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    /// Reading begins behind this position.
    Begins(String),
    /// Reading begins behind this position, and something before it is lost.
    Lost(String),
    /// A message, its position and its bytes: of a text with each line end as a line feed.
    Told {
        position: String,
        is_text: bool,
        payload: Vec<u8>,
    },
    /// After how many milliseconds to come back.
    Retry(u64),
    Comment,
    /// The response is over.
    End,
}

/// The next chunk, and how many bytes it has in all; `None` if it is not whole yet.
pub(crate) fn piece(bytes: &[u8]) -> Option<(usize, Piece)> {
    let Some(line) = bytes.windows(2).position(|two| two == b"\r\n") else {
        assert!(bytes.len() < 16, "a chunk without a size");
        return None;
    };
    let digits = utf8(&bytes[..line]);
    let size = usize::from_str_radix(digits, 16).expect("a size in hexadecimal");
    assert_eq!(format!("{size:X}"), digits, "a size in its shortest form");
    let (begin, end) = (line + 2, line + 2 + size);
    let content = bytes.get(begin..end)?;
    assert_eq!(bytes.get(end..end + 2)?, b"\r\n", "a chunk ends where it says");
    Some((end + 2, meant(utf8(content))))
}

/// What the content of a chunk means.
fn meant(content: &str) -> Piece {
    match content {
        "" => return Piece::End,
        ":\n" => return Piece::Comment,
        _ => {}
    }
    assert!(!content.contains('\r'), "{content:?} has a second kind of line end");
    let event = content.strip_suffix("\n\n").expect(content);
    let fields: Vec<(&str, &str)> =
        event.split('\n').map(|line| line.split_once(": ").expect(content)).collect();
    match fields[..] {
        [("retry", retry_ms)] => Piece::Retry(retry_ms.parse().expect(content)),
        [("id", position)] => Piece::Begins(position.to_owned()),
        [("event", "reset"), ("id", position), ("data", data)] => {
            assert_eq!(data, format!("{{\"position\":\"{position}\"}}"));
            Piece::Lost(position.to_owned())
        }
        [("event", "binary"), ("id", position), ("data", coded)] => {
            let payload = from_base64(coded);
            Piece::Told { position: position.to_owned(), is_text: false, payload }
        }
        [("id", position), ref data @ ..] if data.iter().all(|(name, _)| *name == "data") => {
            let lines: Vec<&str> = data.iter().map(|(_, line)| *line).collect();
            let payload = lines.join("\n").into_bytes();
            Piece::Told { position: position.to_owned(), is_text: true, payload }
        }
        _ => panic!("no server says {content:?}"),
    }
}

/// What a reader of events makes of a message.
pub(crate) fn read(message: &Message) -> Cow<'_, [u8]> {
    if !message.is_text || !message.payload.contains(&b'\r') {
        return Cow::Borrowed(&message.payload);
    }
    let text = utf8(&message.payload).replace("\r\n", "\n").replace('\r', "\n");
    Cow::Owned(text.into_bytes())
}

/// How many bytes the event of a message has beside its id.
pub(crate) fn data_bytes(message: &Message) -> u64 {
    let bytes = if message.is_text {
        let payload = read(message);
        let lines = 1 + payload.iter().filter(|byte| **byte == b'\n').count();
        // Each line has its field's name in front and an end, and one end was there.
        payload.len() + lines * "data: ".len() + 1
    } else {
        "event: binary\ndata: ".len() + message.payload.len().div_ceil(3) * 4 + 1
    };
    bytes as u64
}

/// How many bytes the chunk of an event has whose fields beside the id, and whose position, have so
/// many.
pub(crate) fn chunk_bytes(data_bytes: u64, position_bytes: u64) -> u64 {
    let content = "id: ".len() as u64 + position_bytes + 1 + data_bytes + 1;
    let digits = format!("{content:X}").len() as u64;
    digits + content + 4
}
