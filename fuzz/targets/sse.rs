//! Server-sent events: what is said, as a browser tells it to its page.
//!
//! The first byte says how the others are split into messages, which of them are binary, and what
//! stands between them. Finds: a panic, a text that does not come back, a field or an end that
//! somebody forged, a length that was announced wrong.
#![no_main]

use elbow::wire::http::{Body, Chunk, Framing};
use elbow::wire::sse;
use elbow::wire::ws::Kind;
use libfuzzer_sys::fuzz_target;
use reader::{Event, Heard, hear};

#[path = "../../tests/sse/reader.rs"]
mod reader;

fuzz_target!(|input: &[u8]| {
    let Some((&how, bytes)) = input.split_first() else { return };
    let (mut response, mut expected) = (Vec::new(), Heard::default());
    sse::opening("a.0", &mut response);
    expected.last_id = "a.0".to_owned();
    for (number, payload) in bytes.split(|byte| *byte == 0xff).enumerate() {
        let text = str::from_utf8(payload).ok();
        let kind = if how & 1 == 0 && text.is_some() { Kind::Text } else { Kind::Binary };
        let position = format!("a.{}", number + 1);
        let before = response.len();
        sse::event(kind, &position, payload, &mut response);
        let written = response.len() - before;
        assert_eq!(written, sse::event_bytes(kind, &position, payload));
        assert!(written <= sse::LINE_BYTES_MAX * payload.len() + sse::EVENT_EXTRA_BYTES_MAX);
        if how & 2 != 0 {
            response.extend_from_slice(sse::COMMENT);
        }
        let data = match (kind, text) {
            (Kind::Text, Some(text)) => text.replace("\r\n", "\n").replace('\r', "\n"),
            (Kind::Text | Kind::Binary, _) => base64(payload),
        };
        let kind = match kind {
            Kind::Text => "message",
            Kind::Binary => "binary",
        };
        expected.events.push(Event { kind: kind.to_owned(), data, id: position.clone() });
        expected.last_id = position;
    }
    if how & 4 != 0 {
        sse::retry_and_end(how.into(), &mut response);
        expected.retry_ms = Some(how.into());
    } else {
        sse::end(&mut response);
    }
    assert_eq!(hear(&content(&response)), expected);
});

/// What is in the chunks of a whole response.
fn content(response: &[u8]) -> String {
    let (mut body, mut rest, mut content) = (Body::new(Framing::Chunked), response, Vec::new());
    loop {
        let (consumed, chunk) = body.decode(rest).expect("the chunks are right");
        rest = &rest[consumed..];
        match chunk {
            Chunk::Data(data) => content.extend_from_slice(data),
            Chunk::Partial => panic!("the response is not over"),
            Chunk::End => {
                assert!(rest.is_empty(), "the response goes on behind its end");
                return String::from_utf8(content).expect("a stream is UTF-8");
            }
        }
    }
}

/// Bytes in base64, one group after the other.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits: u32, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            let is_there = digit <= group.len();
            text.push(if is_there { DIGITS[value as usize].into() } else { '=' });
        }
    }
    text
}
