//! A client's WebSocket frames (RFC 6455 §5): noise, and messages that were encoded right.
//!
//! The first byte says how the others are cut, the second how long a message may be. Finds: a
//! panic, events that depend on the cuts, a message that does not come out as it went in.
#![no_main]

use elbow::wire::ws::Kind;
use elbow::work;
use elbow_fuzz::pieces;
use libfuzzer_sys::fuzz_target;
use reader::{Event, Reader, read};

#[path = "../../tests/ws/reader.rs"]
mod reader;

fuzz_target!(|input: &[u8]| {
    let &[how, bytes_max, ref bytes @ ..] = input else { return };
    let bytes_max = u64::from(bytes_max) * 8;
    work::take();
    assert_eq!(read(pieces(how, bytes), bytes_max), read([bytes], bytes_max));
    work::take().assert_linear(2 * bytes.len(), 2);

    let stream = fragmented(how, bytes);
    let mut reader = Reader::new(bytes.len() as u64);
    pieces(how, &stream).for_each(|piece| reader.receive(piece));
    assert_eq!(reader.events, [Event::Message(Kind::Binary, bytes.to_vec())]);
    assert!(!reader.deframer.mid_message());
});

/// `payload` as one binary message in fragments, each with a mask of its own.
fn fragmented(how: u8, payload: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut opcode = 2;
    for fragment in pieces(how.rotate_left(4), payload) {
        frame(opcode, fragment, &mut stream);
        opcode = 0;
    }
    frame(0x80 | opcode, &[], &mut stream);
    stream
}

fn frame(first_byte: u8, payload: &[u8], out: &mut Vec<u8>) {
    let mask = [payload.len() as u8, 0x37, 0xfa, out.len() as u8];
    out.push(first_byte);
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        // Pieces have 255 bytes at most.
        length => out.extend_from_slice(&[0x80 | 126, 0, length as u8]),
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}
