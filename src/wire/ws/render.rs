//! A server's frames (RFC 6455 section 5), as bytes.
//!
//! Deals with: the header in front of a data frame's payload, which close codes may be on the wire.
//! Leaves to others: the payload, when anything is sent, and control frames: a ping and the closes
//! are constants where they are decided, a pong is two bytes and what was asked.
//!
//! The surprise: a server's frame never has a mask (section 5.1 forbids it). That is why one
//! encoded message may go out to every reader as it is.

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{self, OpCode};

use super::Kind;

/// The most bytes of a server's header: two, and a 64-bit length; no mask.
pub const HEADER_BYTES_MAX: usize = 10;

/// The most bytes of the payload of a ping, pong or close (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Whether a close code may be on the wire: those of RFC 6455 section 7.4.1 and IANA's registry
/// except 1004 to 1006 and 1015, and the ranges of libraries and applications.
pub const fn close_code_valid(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Writes the header of a server's data frame, whole and unmasked, in its shortest form, so that
/// one encoding serves every reader. Returns its length, as [`header_bytes`] does.
pub fn header(kind: Kind, payload_bytes: usize, out: &mut [u8; HEADER_BYTES_MAX]) -> usize {
    let opcode = OpCode::Data(match kind {
        Kind::Text => coding::Data::Text,
        Kind::Binary => coding::Data::Binary,
    });
    let mut rest = &mut out[..];
    FrameHeader { opcode, ..FrameHeader::default() }
        .format(payload_bytes as u64, &mut rest)
        .expect("ten bytes hold every header without a mask");
    HEADER_BYTES_MAX - rest.len()
}

/// The length of the header in front of a server's payload: 2, 4 or 10 bytes.
pub const fn header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => HEADER_BYTES_MAX,
    }
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
    fn close_codes_at_the_edges_of_their_ranges() {
        let valid: Vec<u16> = (0..=u16::MAX).filter(|&code| close_code_valid(code)).collect();
        let runs = [1000..=1003, 1007..=1014, 3000..=4999];
        assert_eq!(valid, runs.into_iter().flatten().collect::<Vec<u16>>());
    }
}
