//! Bodies of requests (RFC 9112 §6 and §7.1): content, and where it ends.
//!
//! The first byte says how the others are cut, the second how the body is framed. Finds: a panic,
//! content or an end that depends on the cuts, bytes that are lost or counted twice.
#![no_main]

use elbow::wire::http::{Body, BodyError, Chunk, Framing};
use elbow_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let &[how, framing, ref bytes @ ..] = input else { return };
    let framing = match framing {
        0 => Framing::None,
        length @ 1..=99 => Framing::Length(length.into()),
        _ => Framing::Chunked,
    };
    let whole = read(framing, [bytes].into_iter());
    assert_eq!(read(framing, pieces(how, bytes)), whole);
    if let (Framing::Length(length), Ok(end)) = (framing, &whole.1) {
        assert_eq!(whole.0.len() as u64, length.min(bytes.len() as u64));
        assert_eq!(*end, (bytes.len() as u64 >= length).then_some(length as usize));
    }
});

/// The content, and how many bytes the body has: `None` if it goes on.
fn read<'p>(
    framing: Framing,
    pieces: impl Iterator<Item = &'p [u8]>,
) -> (Vec<u8>, Result<Option<usize>, BodyError>) {
    let (mut body, mut content, mut consumed) = (Body::new(framing), Vec::new(), 0);
    for piece in pieces {
        let mut rest = piece;
        loop {
            let (taken, chunk) = match body.decode(rest) {
                Ok(step) => step,
                Err(error) => return (content, Err(error)),
            };
            consumed += taken;
            rest = &rest[taken..];
            match chunk {
                Chunk::Data(data) => {
                    assert!(!data.is_empty());
                    content.extend_from_slice(data);
                }
                Chunk::Partial => {
                    assert!(rest.is_empty(), "it stops for nothing");
                    break;
                }
                Chunk::End => {
                    assert!(body.is_over());
                    return (content, Ok(Some(consumed)));
                }
            }
        }
    }
    (content, Ok(body.is_over().then_some(consumed)))
}
