//! Engine.IO and Socket.IO packets as both sides put them on the wire, by the protocols' texts
//! alone: a reader and a writer that share nothing with the crate's.
//!
//! Whatever a server says that is not exactly as it should be panics: every byte is its own.

/// One packet of Engine.IO, as a frame or a piece of a polling body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Packet {
    /// With its type in front.
    Text(String),
    /// An attachment.
    Binary(Vec<u8>),
}

/// What a server's packet says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// The session's id, and the packet as it came.
    Open(String, String),
    Close,
    Ping,
    Pong(String),
    Noop,
    /// Channel, and the id by which to come back.
    Connected(Box<str>, Option<String>),
    Refused(Box<str>, String),
    /// Channel, attachments to follow, the packet of Socket.IO.
    Event(Box<str>, usize, String),
    Ack(Box<str>, u64),
}

/// A channel in front of what is said in it.
pub(crate) fn prefix(channel: &str) -> String {
    if channel == "default" { String::new() } else { format!("/{channel},") }
}

/// A packet that came in a WebSocket's frame.
pub(crate) fn of_frame(version: u8, is_text: bool, payload: &[u8]) -> Packet {
    if is_text {
        return Packet::Text(utf8(payload).to_owned());
    }
    let bytes = if version == 3 { payload.strip_prefix(&[4]).expect("a type") } else { payload };
    Packet::Binary(bytes.to_vec())
}

/// The packets of a polling body: at least one.
pub(crate) fn of_body(version: u8, body: &[u8]) -> Vec<Packet> {
    let text = utf8(body);
    let mut pieces: Vec<&str> = Vec::new();
    if version == 4 {
        pieces.extend(text.split('\x1e'));
    } else {
        let mut rest = text;
        while !rest.is_empty() {
            let (length, tail) = rest.split_once(':').expect("a counted packet");
            let at = end_of_units(tail, length.parse().expect("a length"));
            pieces.push(&tail[..at]);
            rest = &tail[at..];
        }
    }
    assert!(!pieces.is_empty(), "a body without a packet");
    let binary = if version == 4 { "b" } else { "b4" };
    let packet = |piece: &str| match piece.strip_prefix(binary) {
        Some(coded) => Packet::Binary(from_base64(coded)),
        None => Packet::Text(piece.to_owned()),
    };
    pieces.into_iter().map(packet).collect()
}

/// A client's body of packets.
pub(crate) fn body(version: u8, packets: &[Packet]) -> Vec<u8> {
    let pieces: Vec<String> = packets.iter().map(|packet| piece(version, packet)).collect();
    if version == 4 {
        return pieces.join("\x1e").into_bytes();
    }
    let counted = |piece: String| format!("{}:{piece}", piece.encode_utf16().count());
    pieces.into_iter().map(counted).collect::<String>().into_bytes()
}

/// A body of packets in the binary form of protocol 3.
pub(crate) fn binary_body(packets: &[Packet]) -> Vec<u8> {
    let mut out = Vec::new();
    for packet in packets {
        let (kind, bytes) = match packet {
            Packet::Text(text) => (0, text.as_bytes().to_vec()),
            Packet::Binary(bytes) => (1, [&[4], &bytes[..]].concat()),
        };
        out.push(kind);
        out.extend(bytes.len().to_string().bytes().map(|digit| digit - b'0'));
        out.push(0xff);
        out.extend(bytes);
    }
    out
}

/// How much room a packet takes in a body, at most.
pub(crate) fn body_bytes(packet: &Packet) -> usize {
    match packet {
        Packet::Text(text) => text.len() + 6,
        Packet::Binary(bytes) => bytes.len().div_ceil(3) * 4 + 8,
    }
}

/// Bytes of a packet in a body of many, from above: a little more than a packet of text takes in
/// any form of body.
pub(crate) fn tiny_bytes(version: u8, packet: &Packet) -> usize {
    match packet {
        Packet::Text(text) if version == 3 => {
            let units = text.encode_utf16().count();
            text.len() + units.to_string().len() + 2
        }
        Packet::Text(text) => text.len() + 1,
        Packet::Binary(_) => body_bytes(packet),
    }
}

fn piece(version: u8, packet: &Packet) -> String {
    match packet {
        Packet::Text(text) => text.clone(),
        Packet::Binary(bytes) => {
            format!("{}{}", if version == 4 { "b" } else { "b4" }, to_base64(bytes))
        }
    }
}

/// What a text packet of a server says.
pub(crate) fn said(version: u8, text: &str) -> Said {
    let (kind, rest) = text.split_at(1);
    match kind {
        "0" => {
            let sid = rest.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next());
            let sid = sid.expect("an open packet has a sid");
            assert!(sid.len() == 20 && sid.is_ascii(), "{sid}");
            Said::Open(sid.to_owned(), text.to_owned())
        }
        "1" if rest.is_empty() => Said::Close,
        "2" if rest.is_empty() => Said::Ping,
        "3" => Said::Pong(rest.to_owned()),
        "4" => said_inside(version, rest),
        "6" if rest.is_empty() => Said::Noop,
        _ => panic!("no server says {text:?}"),
    }
}

fn said_inside(version: u8, packet: &str) -> Said {
    let (kind, rest) = packet.split_at(1);
    let (attachments, rest) = match kind {
        "5" => {
            let (count, rest) = rest.split_once('-').expect("a number of attachments");
            (count.parse().expect("a number"), rest)
        }
        _ => (0, rest),
    };
    let (channel, rest) = match rest.strip_prefix('/') {
        Some(rest) => rest.split_once(',').expect("a comma"),
        None => ("default", rest),
    };
    match kind {
        "0" => {
            if version == 3 {
                assert_eq!(rest, "", "{packet}");
                return Said::Connected(channel.into(), None);
            }
            let ids = rest.strip_prefix("{\"sid\":\"").and_then(|rest| rest.strip_suffix("\"}"));
            let (sid, pid) = match ids.expect(packet).split_once("\",\"pid\":\"") {
                Some((sid, pid)) => (sid, Some(pid)),
                None => (ids.expect(packet), None),
            };
            assert!(sid.len() == 20 && pid.is_none_or(|pid| pid == sid), "{packet}");
            Said::Connected(channel.into(), pid.map(str::to_owned))
        }
        "2" | "5" => Said::Event(channel.into(), attachments, packet.to_owned()),
        "3" => {
            let id = rest.strip_suffix("[]").expect("nothing is acknowledged with arguments");
            Said::Ack(channel.into(), id.parse().expect("an id"))
        }
        "4" => {
            let why = match version {
                4 => rest.strip_prefix("{\"message\":").and_then(|rest| rest.strip_suffix('}')),
                _ => Some(rest),
            };
            Said::Refused(channel.into(), why.expect("a reason").trim_matches('"').to_owned())
        }
        // Clients stay away from a namespace that was closed on them.
        _ => panic!("no server of ours says {packet:?}"),
    }
}

/// A JSON string as `JSON.stringify` writes it.
pub(crate) fn json(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A JSON string that means `text`, with every character escaped, as JSON allows.
pub(crate) fn json_escaped(text: &str) -> String {
    let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
    format!("\"{units}\"")
}

/// Where so many UTF-16 units end.
fn end_of_units(text: &str, units: usize) -> usize {
    let (mut left, mut at) = (units, 0);
    for character in text.chars() {
        if left == 0 {
            break;
        }
        left = left.checked_sub(character.len_utf16()).expect("no half character");
        at += character.len_utf8();
    }
    assert_eq!(left, 0, "a packet shorter than it says");
    at
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let all = three.iter().fold(0, |all, byte| all << 8 | u32::from(*byte));
        let all = all << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = ALPHABET[(all >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

pub(crate) fn from_base64(coded: &str) -> Vec<u8> {
    assert!(coded.len().is_multiple_of(4), "{coded} is not padded");
    let mut out = Vec::new();
    for four in coded.as_bytes().chunks(4) {
        let padding = four.iter().filter(|digit| **digit == b'=').count();
        let value = |digit: &u8| match ALPHABET.iter().position(|known| known == digit) {
            Some(value) => value as u32,
            None => 0,
        };
        let all = four.iter().fold(0, |all, digit| all << 6 | value(digit));
        out.extend_from_slice(&all.to_be_bytes()[1..4 - padding]);
    }
    out
}

pub(crate) fn utf8(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).expect("text is UTF-8")
}
