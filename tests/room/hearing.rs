//! What a client reads out of the bytes that it got, in each dialect.
//!
//! Deals with: WebSocket frames (RFC 6455), chunks of server-sent events, packets of Engine.IO and
//! Socket.IO, answers of HTTP. Leaves to others: whether what was heard is what had to be
//! (`oracle`), and what the client does about it (`client`).
//!
//! The surprise: whoever is told positions is told the first one in a frame of its own behind the
//! beginning, so that it is in its channel only with that.

use elbow::hub::backplane::{EntryId, Place};
use elbow::position::Position;

/// What a client is, and thereby how it reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A WebSocket that is told messages and nothing else.
    Plain,
    /// A WebSocket of `elbow.v1`.
    V1,
    /// An event stream.
    Stream,
    /// Socket.IO 4 over a WebSocket.
    Io,
    /// A backend, which publishes by requests.
    Backend,
}

/// One thing that was heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// Another status than the one that lets a client in.
    Refused(u16),
    /// The head that lets a client in.
    Head,
    /// Reading begins: where, if that is told, and whether it goes on where the client has been.
    Begins(Option<Place>, Option<bool>),
    Said {
        text: String,
        place: Option<Place>,
    },
    /// Something is lost in front of a place.
    Lost(Place),
    /// A frame of Socket.IO or Engine.IO that is the client's to answer.
    Packet(String),
    Ping(Vec<u8>),
    /// The answer to a request to publish.
    Answer(u16),
    /// The last word, with its reason.
    Closed(String),
    /// Nothing that matters.
    Nothing,
}

/// Takes the next thing out of `bytes`, if it is whole. `is_in`: the head was read.
pub(crate) fn next(kind: Kind, is_in: bool, bytes: &mut Vec<u8>) -> Option<Heard> {
    match kind {
        Kind::Backend => answer(bytes),
        Kind::Plain | Kind::V1 | Kind::Stream | Kind::Io if !is_in => head(kind, bytes),
        Kind::Stream => chunk(bytes),
        Kind::Plain | Kind::V1 | Kind::Io => frame(kind, bytes),
    }
}

/// A position of a stream as a place.
pub(crate) fn place(text: &str) -> Place {
    match Position::parse(text.as_bytes()) {
        Some(Position::Stream { ms, seq, index }) => Place { entry: EntryId { ms, seq }, index },
        Some(Position::Local { .. }) | None => panic!("{text} is no position of a stream"),
    }
}

/// The text behind `begin`, up to the next quotation mark.
pub(crate) fn quoted<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    rest.split('"').next()
}

fn take(bytes: &mut Vec<u8>, count: usize) -> Vec<u8> {
    bytes.drain(..count).collect()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The head of an answer, and its status.
fn take_head(bytes: &mut Vec<u8>) -> Option<(u16, String)> {
    let end = find(bytes, b"\r\n\r\n")? + 4;
    let head = String::from_utf8(take(bytes, end)).expect("a head is text");
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest[..3].parse().ok());
    Some((status.expect("a status"), head))
}

fn head(kind: Kind, bytes: &mut Vec<u8>) -> Option<Heard> {
    let (status, _) = take_head(bytes)?;
    let good = if kind == Kind::Stream { 200 } else { 101 };
    Some(if status == good { Heard::Head } else { Heard::Refused(status) })
}

fn answer(bytes: &mut Vec<u8>) -> Option<Heard> {
    let end = find(bytes, b"\r\n\r\n")? + 4;
    let head = str::from_utf8(&bytes[..end]).expect("a head is text");
    let length = head.split_once("Content-Length: ").map_or(0, |(_, rest)| {
        rest.split("\r\n").next().and_then(|length| length.parse().ok()).expect("a length")
    });
    if bytes.len() < end + length {
        return None;
    }
    let (status, _) = take_head(bytes)?;
    take(bytes, length);
    Some(Heard::Answer(status))
}

fn frame(kind: Kind, bytes: &mut Vec<u8>) -> Option<Heard> {
    let [first, second, rest @ ..] = &bytes[..] else { return None };
    let (length, head) = match second {
        126 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), 4),
        length => (usize::from(*length), 2),
    };
    assert!(*second <= 126, "frames of a server are small, and have no mask");
    if bytes.len() < head + length {
        return None;
    }
    let first = *first;
    take(bytes, head);
    let payload = take(bytes, length);
    let text = || String::from_utf8(payload.clone()).expect("text is UTF-8");
    Some(match first {
        0x81 => match kind {
            Kind::Plain => Heard::Said { text: text(), place: None },
            Kind::V1 => positioned(&text()),
            Kind::Io => Heard::Packet(text()),
            Kind::Stream | Kind::Backend => unreachable!("they have no frames"),
        },
        0x88 => Heard::Closed(String::from_utf8_lossy(payload.get(2..).unwrap_or(&[])).into()),
        0x89 => Heard::Ping(payload),
        _ => panic!("a frame that begins with {first:#x}"),
    })
}

/// A frame of `elbow.v1`.
fn positioned(text: &str) -> Heard {
    let (position, rest) = text.split_once('\n').expect("a line feed");
    if !position.is_empty() {
        return Heard::Said { text: rest.to_owned(), place: Some(place(position)) };
    }
    let position = place(quoted(rest, "\"position\":\"").expect("the server says where"));
    if rest.contains("\"lost\":true") {
        return Heard::Lost(position);
    }
    let recovered = rest.contains("\"recovered\":true");
    Heard::Begins(Some(position), rest.contains("\"recovered\":").then_some(recovered))
}

fn chunk(bytes: &mut Vec<u8>) -> Option<Heard> {
    let line = find(bytes, b"\r\n")?;
    let size = str::from_utf8(&bytes[..line]).expect("a size");
    let size = usize::from_str_radix(size, 16).expect("hexadecimal");
    if bytes.len() < line + 2 + size + 2 {
        return None;
    }
    take(bytes, line + 2);
    let content = String::from_utf8(take(bytes, size)).expect("a stream is text");
    assert_eq!(take(bytes, 2), b"\r\n", "a chunk ends in CRLF");
    if size == 0 {
        return Some(Heard::Closed("the end of the stream".into()));
    }
    let field = |name: &str| {
        content.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_start())
    };
    let (id, data) = (field("id:"), field("data:"));
    Some(match (field("event:"), id, data) {
        (Some("reset"), Some(id), _) => Heard::Lost(place(id)),
        (None, Some(id), Some(data)) => {
            Heard::Said { text: data.to_owned(), place: Some(place(id)) }
        }
        (None, Some(id), None) => Heard::Begins(Some(place(id)), None),
        (None, None, None) => Heard::Nothing,
        _ => panic!("an event of another kind: {content:?}"),
    })
}
