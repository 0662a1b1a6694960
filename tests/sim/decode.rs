//! What a server may write, read strictly by a decoder that shares nothing with the crate's.
//!
//! Responses until one says 101, then frames as a server sends them: final, unmasked, no reserved
//! bits, lengths in their shortest form, nothing behind a close. Or until one is an event stream,
//! then its chunks. Anything else panics: every byte is the server's own, so every fault is too.

use std::fmt;

use super::stream::{self, Piece};

/// One thing that the server said.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Unit {
    Response(Response),
    Message {
        is_text: bool,
        payload: Vec<u8>,
    },
    Ping,
    Pong(Vec<u8>),
    Close(Option<u16>),
    /// A part of an event stream.
    Piece(Piece),
}

/// As a journal wants to show it.
impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Unit::Response(response) => {
                write!(f, "{} {:?}", response.status, text(&response.body))?;
                f.write_str(if response.closes { ", the last" } else { "" })
            }
            Unit::Message { is_text, payload } => {
                write!(f, "{} {:?}", if *is_text { "text" } else { "binary" }, text(payload))
            }
            Unit::Ping => f.write_str("ping"),
            Unit::Pong(payload) => write!(f, "pong {:?}", text(payload)),
            Unit::Close(code) => write!(f, "close {code:?}"),
            Unit::Piece(Piece::Told { position, is_text, payload }) => {
                let kind = if *is_text { "text" } else { "binary" };
                write!(f, "event {position} {kind} {:?}", text(payload))
            }
            Unit::Piece(piece) => write!(f, "{piece:?}"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// `Connection: close`.
    pub(crate) closes: bool,
    /// The subprotocol that was chosen.
    pub(crate) protocol: Option<String>,
    /// An event stream, or the head of one; what is said in it comes as pieces.
    pub(crate) is_stream: bool,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
    at: usize,
    upgraded: bool,
    /// The client reads an event stream by now.
    streams: bool,
    /// The last word was said.
    closed: bool,
}

impl Decoder {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that are no whole unit yet.
    pub(crate) fn rest(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether the last word was said.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether it reads frames by now.
    pub(crate) fn is_upgraded(&self) -> bool {
        self.upgraded
    }

    /// The next unit; `to_head` if the next response answers a HEAD.
    pub(crate) fn next(&mut self, to_head: bool) -> Option<Unit> {
        let bytes = &self.bytes[self.at..];
        if bytes.is_empty() {
            return None;
        }
        assert!(!self.closed, "{} bytes behind the last word", bytes.len());
        let (used, unit) = if self.upgraded {
            frame(bytes)?
        } else if self.streams {
            let (used, piece) = stream::piece(bytes)?;
            (used, Unit::Piece(piece))
        } else {
            response(bytes, to_head)?
        };
        self.at += used;
        match &unit {
            Unit::Response(response) if response.status == 100 => {}
            Unit::Response(response) => {
                self.upgraded = response.status == 101;
                self.streams = response.is_stream && !to_head;
                self.closed = response.closes && !self.streams;
            }
            Unit::Close(_) | Unit::Piece(Piece::End) => self.closed = true,
            Unit::Message { .. } | Unit::Ping | Unit::Pong(_) | Unit::Piece(_) => {}
        }
        Some(unit)
    }
}

fn frame(bytes: &[u8]) -> Option<(usize, Unit)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(first & 0xf0, 0x80, "a server's frames are final and have no reserved bits");
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (header, length) = match second {
        126 => {
            let length = u16::from_be_bytes(bytes.get(2..4)?.try_into().expect("two"));
            assert!(length > 125, "not the shortest form");
            (4, usize::from(length))
        }
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().expect("eight"));
            assert!(length > 65_535, "not the shortest form");
            (10, length as usize)
        }
        _ => (2, usize::from(second)),
    };
    let payload = bytes.get(header..header + length)?.to_vec();
    let opcode = first & 0xf;
    assert!(opcode < 8 || length <= 125, "a long control frame");
    let unit = match opcode {
        1 => Unit::Message { is_text: true, payload },
        2 => Unit::Message { is_text: false, payload },
        8 => Unit::Close(code(&payload)),
        9 => Unit::Ping,
        10 => Unit::Pong(payload),
        _ => panic!("opcode {opcode}"),
    };
    Some((header + length, unit))
}

fn code(payload: &[u8]) -> Option<u16> {
    assert!(payload.len() != 1, "half a close code");
    let code = u16::from_be_bytes(payload.get(..2)?.try_into().expect("two"));
    core::str::from_utf8(&payload[2..]).expect("a close reason is text");
    Some(code)
}

fn response(bytes: &[u8], to_head: bool) -> Option<(usize, Unit)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(end) = end else {
        assert!(bytes.len() < 4096, "a response head without end");
        return None;
    };
    let head = core::str::from_utf8(&bytes[..end]).expect("a head is ASCII");
    let mut lines = head.split("\r\n");
    let status_line = lines.next().expect("there is a first line");
    let status = status_line.strip_prefix("HTTP/1.1 ").expect(status_line);
    let status: u16 = status[..3].parse().expect(status_line);
    let fields: Vec<(&str, &str)> =
        lines.map(|line| line.split_once(": ").expect("a field")).collect();
    let mut lengths = fields.iter().filter(|(name, _)| *name == "Content-Length");
    let length = lengths.next().map(|(_, value)| value.parse::<usize>().expect("a length"));
    assert!(lengths.next().is_none(), "two lengths");
    let mut protocols = fields.iter().filter(|(name, _)| *name == "Sec-WebSocket-Protocol");
    let protocol = protocols.next().map(|(_, protocol)| (*protocol).to_owned());
    assert!(protocols.next().is_none(), "two subprotocols");
    let closes = fields.contains(&("Connection", "close"));
    let has_date = fields.iter().any(|(name, _)| *name == "Date");
    assert!(has_date || status == 100, "no Date: {head}");
    let is_stream = fields.contains(&("Transfer-Encoding", "chunked"));
    if is_stream {
        let must = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")];
        let is_right = must.iter().all(|field| fields.contains(field)) && status == 200;
        assert!(is_right && length.is_none(), "{head}");
    }
    if matches!(status, 100 | 101 | 204) {
        assert_eq!(length, None, "a length where no body may be");
    }
    // Whoever is too slow to ask is not known to ask for a head only.
    let has_body = (!to_head || status == 408) && !matches!(status, 100 | 101 | 204 | 304);
    let has_body = has_body && !is_stream;
    let length = if has_body { length.expect("a length") } else { 0 };
    let body = bytes.get(end + 4..end + 4 + length)?.to_vec();
    Some((end + 4 + length, Unit::Response(Response { status, closes, protocol, is_stream, body })))
}
