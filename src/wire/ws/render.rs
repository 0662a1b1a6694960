//! A server's frames (RFC 6455 section 5), as bytes.
//!
//! Deals with: the header in front of a payload, whole control frames, which close codes may be on
//! the wire. Leaves to others: the payload of data frames, and when anything is sent.
//!
//! The surprise: no mask, ever (section 5.1 forbids it). That is why one encoded message may go out
//! to every reader as it is.

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{self, OpCode};

use super::Kind;

/// The longest header a server writes: two bytes and a 64-bit length, no mask.
pub const HEADER_BYTES_MAX: usize = 10;

/// The longest payload of a ping, pong or close (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// The longest reason of a close, which shares its payload with the code.
pub const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// The longest close frame a server writes.
pub const CLOSE_FRAME_BYTES_MAX: usize = 2 + CONTROL_BYTES_MAX;

/// The control frames a server sends besides a close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// A question to be answered with the same payload.
    Ping,
    /// That answer.
    Pong,
}

/// True for codes that may be on the wire: those of RFC 6455 section 7.4.1 and IANA's registry
/// except 1004 to 1006 and 1015, and the ranges of libraries and applications.
pub const fn close_code_valid(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Writes the header of a server's data frame, whole and unmasked, in its shortest form: that is
/// what makes one encoding serve every reader. Returns its length, as [`header_bytes`] does.
pub fn header(kind: Kind, payload_bytes: usize, out: &mut [u8; HEADER_BYTES_MAX]) -> usize {
    let opcode = match kind {
        Kind::Text => coding::Data::Text,
        Kind::Binary => coding::Data::Binary,
    };
    write_header(OpCode::Data(opcode), payload_bytes, out)
}

/// The length of the header in front of a server's payload: 2, 4 or 10 bytes.
pub const fn header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => HEADER_BYTES_MAX,
    }
}

/// Appends a server's ping or pong to `out`.
///
/// # Panics
///
/// If `payload` is longer than [`CONTROL_BYTES_MAX`], which no client's ping is.
pub fn control(opcode: Control, payload: &[u8], out: &mut Vec<u8>) {
    assert!(payload.len() <= CONTROL_BYTES_MAX, "a control frame is short");
    let opcode = match opcode {
        Control::Ping => coding::Control::Ping,
        Control::Pong => coding::Control::Pong,
    };
    let mut header = [0; HEADER_BYTES_MAX];
    let header_bytes = write_header(OpCode::Control(opcode), payload.len(), &mut header);
    out.extend_from_slice(&header[..header_bytes]);
    out.extend_from_slice(payload);
}

/// A server's close frame: its bytes and how many of them there are. Without a code, the empty
/// close that answers an empty one.
///
/// # Panics
///
/// If the code is not [valid](close_code_valid), if the reason is longer than
/// [`REASON_BYTES_MAX`], or if there is a reason without a code.
pub fn close_frame(code: Option<u16>, reason: &str) -> ([u8; CLOSE_FRAME_BYTES_MAX], usize) {
    assert!(reason.len() <= REASON_BYTES_MAX, "a reason fits beside its code");
    let mut body = [0; CONTROL_BYTES_MAX];
    let body_bytes = match code {
        None => {
            assert!(reason.is_empty(), "a reason stands behind a code");
            0
        }
        Some(code) => {
            assert!(close_code_valid(code), "close code {code} is not for the wire");
            body[..2].copy_from_slice(&code.to_be_bytes());
            body[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
            2 + reason.len()
        }
    };
    let mut header = [0; HEADER_BYTES_MAX];
    let header_bytes =
        write_header(OpCode::Control(coding::Control::Close), body_bytes, &mut header);
    let mut frame = [0; CLOSE_FRAME_BYTES_MAX];
    let frame_bytes = header_bytes + body_bytes;
    frame[..header_bytes].copy_from_slice(&header[..header_bytes]);
    frame[header_bytes..frame_bytes].copy_from_slice(&body[..body_bytes]);
    (frame, frame_bytes)
}

fn write_header(opcode: OpCode, payload_bytes: usize, out: &mut [u8; HEADER_BYTES_MAX]) -> usize {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let mut rest = &mut out[..];
    header
        .format(payload_bytes as u64, &mut rest)
        .expect("ten bytes hold every header without a mask");
    HEADER_BYTES_MAX - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_headers_are_of_the_shortest_form() {
        let written = |kind, payload_bytes| {
            let mut out = [0; HEADER_BYTES_MAX];
            let len = header(kind, payload_bytes, &mut out);
            assert_eq!(len, header_bytes(payload_bytes));
            out[..len].to_vec()
        };
        assert_eq!(written(Kind::Text, 0), [0x81, 0]);
        assert_eq!(written(Kind::Binary, 125), [0x82, 125]);
        assert_eq!(written(Kind::Text, 126), [0x81, 126, 0, 126]);
        assert_eq!(written(Kind::Text, 0xffff), [0x81, 126, 0xff, 0xff]);
        assert_eq!(written(Kind::Binary, 0x1_0000), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn pings_and_pongs_are_appended() {
        let mut out = vec![0x2a];
        control(Control::Ping, b"", &mut out);
        control(Control::Pong, b"p", &mut out);
        assert_eq!(out, [0x2a, 0x89, 0, 0x8a, 1, b'p']);
    }

    #[test]
    fn closes_are_rendered_with_and_without_a_code() {
        let (frame, len) = close_frame(None, "");
        assert_eq!(frame[..len], [0x88, 0]);
        let (frame, len) = close_frame(Some(1001), "bye");
        assert_eq!(frame[..len], [0x88, 5, 0x03, 0xe9, b'b', b'y', b'e']);
        let (frame, len) = close_frame(Some(4999), &"x".repeat(REASON_BYTES_MAX));
        assert_eq!((frame[1], len), (125, CLOSE_FRAME_BYTES_MAX));
    }

    #[test]
    fn close_codes_at_the_edges_of_their_ranges() {
        let valid: Vec<u16> = (0..=u16::MAX).filter(|&code| close_code_valid(code)).collect();
        let runs = [1000..=1003, 1007..=1014, 3000..=4999];
        assert_eq!(valid, runs.into_iter().flatten().collect::<Vec<u16>>());
    }
}
