//! Cutting: what the targets have in common.
//!
//! The wire codecs promise that the same bytes mean the same however they come. So the first byte
//! of most inputs says how the rest is cut, and a target compares the pieces with the whole.

/// `bytes` in pieces, joined they are equal: single bytes if `how` is 0, otherwise pieces of 1 to
/// `how` bytes whose lengths follow from `how` alone.
pub fn pieces(how: u8, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut dice) = (bytes, u32::from(how));
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = 1 + (dice >> 16) as usize % usize::from(how).max(1);
        let (piece, left) = rest.split_at(length.min(rest.len()));
        rest = left;
        Some(piece)
    })
}
