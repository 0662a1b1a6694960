//! Positions as text: what clients come back with.
//!
//! Finds: a panic, a position that is written in another way than it was read, a text that is
//! refused although the standard library reads it as two numbers that are written like that.
#![no_main]

use elbow::position::{Epoch, POSITION_BYTES_MAX, Position, is_position_text};
use elbow::wire::resume::NamedPosition;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let position = Position::parse(bytes);
    assert_eq!(position, expected(bytes));
    let since = NamedPosition::parse(bytes);
    assert_eq!(since.is_some(), is_position_text(bytes));
    assert!(since.is_none() || bytes.len() <= POSITION_BYTES_MAX);
    assert!(since.is_none_or(|since| since.as_bytes() == bytes));
    if let Some(position) = position {
        let text = position.text();
        assert_eq!(text.as_bytes(), bytes, "a position has one text");
        assert_eq!(text.len(), bytes.len());
        assert_eq!(text.as_str(), position.to_string());
        assert!(since.is_some(), "what is written may be asked for");
    }
    // Any eight bytes and eight more are a position, too.
    if let Some((epoch, rest)) = bytes.split_first_chunk()
        && let Some((seq, _)) = rest.split_first_chunk()
    {
        let (epoch, seq) = (Epoch(u64::from_le_bytes(*epoch)), u64::from_le_bytes(*seq));
        let local = Position::Local { epoch, seq };
        let stream = Position::Stream { ms: epoch.0, seq, index: bytes[0].into() };
        for position in [local, stream] {
            assert_eq!(Position::parse(position.text().as_bytes()), Some(position));
        }
        let before = stream.before_in_stream();
        assert!(before.is_none_or(|before| before < stream));
    }
});

/// The position that the standard library reads, if it would be written in this way.
fn expected(bytes: &[u8]) -> Option<Position> {
    let text = str::from_utf8(bytes).ok()?;
    let (front, last) = text.split_once('.')?;
    let position = match front.split_once('-') {
        Some((ms, seq)) => Position::Stream {
            ms: ms.parse().ok()?,
            seq: seq.parse().ok()?,
            index: last.parse().ok()?,
        },
        None => Position::Local {
            epoch: Epoch(u64::from_str_radix(front, 36).ok()?),
            seq: last.parse().ok()?,
        },
    };
    let written = match position {
        Position::Local { epoch, seq } => format!("{epoch}.{seq}"),
        Position::Stream { ms, seq, index } => format!("{ms}-{seq}.{index}"),
    };
    (written == text).then_some(position)
}
