//! Text that is split at a byte, a block at a time.
//!
//! Deals with: where the byte stands. Leaves to others: what the parts mean.
//!
//! The surprise: `[u8]::split` asks a closure for each byte, and the tokens that stand in request
//! lines have hundreds of bytes. A whole block that is looked at without a branch per byte becomes
//! vector instructions.

/// Bytes of a block.
const BLOCK_BYTES: usize = 16;

/// The parts of `bytes` between each two `separator`; like those of `[u8]::split`, at least one.
pub(super) fn split(bytes: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    core::iter::from_fn(move || {
        let (part, behind) = split_once(rest?, separator);
        rest = behind;
        Some(part)
    })
}

/// What stands before the first `separator`, and what stands behind it if there is one.
pub(super) fn split_once(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let (part, behind) = bytes.split_at(length_before(bytes, separator));
    (part, behind.get(1..))
}

/// How many bytes stand before the first `end`; all, if there is none.
fn length_before(bytes: &[u8], end: u8) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
    let is_free =
        |block: &&[u8; BLOCK_BYTES]| !block.iter().fold(false, |any, b| any | (*b == end));
    let blocks_length = BLOCK_BYTES * blocks.iter().take_while(is_free).count();
    blocks_length + bytes[blocks_length..].iter().take_while(|byte| **byte != end).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_those_of_the_standard_library() {
        let long = "x".repeat(3 * BLOCK_BYTES);
        for length in 0..long.len() {
            let (begin, end) = long.split_at(length);
            for text in [begin.to_owned(), format!("{begin}&{end}"), format!("&{begin}&&{end}&")] {
                let bytes = text.as_bytes();
                let parts: Vec<&[u8]> = bytes.split(|byte| *byte == b'&').collect();
                assert_eq!(split(bytes, b'&').collect::<Vec<_>>(), parts, "{text}");
                let mut once = bytes.splitn(2, |byte| *byte == b'&');
                assert_eq!(Some(split_once(bytes, b'&').0), once.next(), "{text}");
                assert_eq!(split_once(bytes, b'&').1, once.next(), "{text}");
            }
        }
    }
}
