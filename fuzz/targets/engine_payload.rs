//! Polling bodies of Engine.IO 3 and 4: a client's taken apart, the server's put together.
//!
//! The first byte says which form a body has and where a feed wraps. Finds: a panic, base64 that
//! grows beyond what was announced, a packet that does not come back from the body that the server
//! would make of it, a body whose length was not known before, bytes that are looked at often.
#![no_main]

use elbow::wire::engine::{Body, Data, Form, Packet, PacketType, Version, frames, packets};
use elbow::wire::ws::{self, Kind};
use elbow::work;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&how, bytes)) = input.split_first() else { return };
    let (version, form) = match how % 3 {
        0 => (Version::V4, Form::Separated),
        1 => (Version::V3, Form::Counted),
        _ => (Version::V3, Form::Binary),
    };
    let (mut feed, mut sent) = (Vec::new(), Vec::new());
    work::take();
    let mut read = packets(form, bytes);
    let mut left = read.left_bytes();
    while let Some(packet) = read.next() {
        assert!(read.left_bytes() < left || left.is_none() || read.left_bytes().is_none());
        left = read.left_bytes();
        let Ok(packet) = packet else { break };
        if let Some(payload) = decoded(packet)
            && (payload.0 == Kind::Text || packet.kind == PacketType::Message)
        {
            append(version, packet.kind, &payload, &mut feed);
            sent.push((packet.kind, payload));
        }
    }
    assert_eq!(read.next(), None, "the end is final");
    work::take().assert_linear(bytes.len(), 3);

    let form = if version == Version::V4 { Form::Separated } else { Form::Counted };
    let body = reframed(version, &feed, usize::from(how) * feed.len() / 255);
    let expected = |packet: Result<Packet<'_>, _>| {
        let packet = packet.expect("the server's bodies are right");
        (packet.kind, decoded(packet).expect("the server's base64 is right"))
    };
    if !sent.is_empty() {
        assert_eq!(packets(form, &body).map(expected).collect::<Vec<_>>(), sent);
    }
});

/// What a packet carries, unless its base64 is wrong.
fn decoded(packet: Packet<'_>) -> Option<(Kind, Vec<u8>)> {
    match packet.data {
        Data::Text(text) => Some((Kind::Text, text.as_bytes().to_vec())),
        Data::Binary(bytes) => Some((Kind::Binary, bytes.to_vec())),
        Data::Base64(base64) => {
            let mut bytes = b"before".to_vec();
            let result = base64.append_to(&mut bytes);
            assert!(bytes.len() <= 6 + base64.bytes_max(), "more than was announced");
            assert!(result.is_ok() || bytes == b"before", "an error leaves nothing behind");
            result.ok().map(|()| (Kind::Binary, bytes.split_off(6)))
        }
    }
}

/// Appends a packet as a record of a feed.
fn append(
    version: Version,
    kind: PacketType,
    (form, payload): &(Kind, Vec<u8>),
    feed: &mut Vec<u8>,
) {
    let digit = [kind.digit()];
    let head = match form {
        Kind::Text => &digit[..],
        Kind::Binary => version.binary_head(),
    };
    let mut header = [0; ws::HEADER_BYTES_MAX];
    let header_bytes = ws::header(*form, head.len() + payload.len(), &mut header);
    feed.extend_from_slice(&header[..header_bytes]);
    feed.extend_from_slice(head);
    feed.extend_from_slice(payload);
}

/// The body that a piece of a feed gives, which wraps in its ring at `cut`.
fn reframed(version: Version, feed: &[u8], cut: usize) -> Vec<u8> {
    let (first, second) = feed.split_at(cut);
    let mut out = Vec::new();
    let mut body = Body::new(version, &mut out);
    for frame in frames(first, second) {
        let length = body.len() + body.bytes_with(frame);
        body.push(frame);
        assert_eq!(body.len(), length, "another length than was announced");
    }
    out
}
