//! Replies of Redis: tokens, however the bytes are cut.
//!
//! The first byte says how the others are cut, the second how long a bulk string may be. Finds: a
//! panic, tokens that depend on the cuts, bytes that are lost or counted twice, a decoder that
//! keeps more than it says.
#![no_main]

use elbow::wire::Status;
use elbow::wire::resp::{Decoder, Error, LINE_BYTES_MAX};
use elbow_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let &[how, bulk_bytes_max, ref bytes @ ..] = input else { return };
    let whole = read(u64::from(bulk_bytes_max), [bytes].into_iter());
    assert_eq!(read(u64::from(bulk_bytes_max), pieces(how, bytes)), whole);
});

/// The tokens as text, and how many bytes they took, or what was wrong.
fn read<'p>(
    bulk_bytes_max: u64,
    pieces: impl Iterator<Item = &'p [u8]>,
) -> (Vec<String>, Result<(), Error>) {
    let (mut decoder, mut kept, mut tokens) = (Decoder::new(bulk_bytes_max), Vec::new(), vec![]);
    for piece in pieces {
        kept.extend_from_slice(piece);
        loop {
            let (used, status) = decoder.next(&kept);
            assert!(used <= kept.len());
            match status {
                Ok(Status::Complete(item)) => {
                    assert!(used > 0);
                    tokens.push(format!("{item:?}"));
                    kept.drain(..used);
                }
                Ok(Status::Partial) => {
                    kept.drain(..used);
                    let kept_max = 2 + LINE_BYTES_MAX + 2 + bulk_bytes_max as usize;
                    assert!(kept.len() <= kept_max, "a token that is longer than any");
                    break;
                }
                Err(error) => return (tokens, Err(error)),
            }
        }
    }
    (tokens, Ok(()))
}
