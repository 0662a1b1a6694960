//! What all fake sockets have in common, those of the simulation among them: what a server may ask
//! of a socket at all, and how bytes get from one place to the other.
//!
//! When a socket has something, and how much of it, is its own business: see `harness/socket.rs`
//! and `sim/socket.rs`.

use std::collections::VecDeque;

/// Asserts that a server reads into a buffer that holds something. Of an empty one a read would
/// say 0, which is the peer's end.
pub(crate) fn assert_reads(buffer: &[u8]) {
    assert!(!buffer.is_empty(), "reading into nothing would look like the end");
}

/// How many bytes a server wants to write. Asserts that there is at least one, and that it has not
/// said before that nothing more would come.
pub(crate) fn assert_writes(slices: &[&[u8]; 4], is_shut_down: bool) -> usize {
    assert!(!is_shut_down, "written after the end was said");
    let asked = slices.iter().map(|slice| slice.len()).sum();
    assert!(asked > 0, "a write of nothing");
    asked
}

/// Moves bytes into `buffer`: as many as there are, as fit, and at most `most`. How many that was.
pub(crate) fn take(from: &mut VecDeque<u8>, buffer: &mut [u8], most: usize) -> usize {
    let count = from.len().min(buffer.len()).min(most);
    let (front, back) = from.as_slices();
    let in_front = count.min(front.len());
    buffer[..in_front].copy_from_slice(&front[..in_front]);
    buffer[in_front..count].copy_from_slice(&back[..count - in_front]);
    from.drain(..count);
    count
}

/// The first `count` bytes of what is written, in up to four parts.
pub(crate) fn first<'a>(slices: &[&'a [u8]; 4], count: usize) -> impl Iterator<Item = &'a [u8]> {
    let mut left = count;
    slices.iter().map(move |slice| {
        let part = &slice[..left.min(slice.len())];
        left -= part.len();
        part
    })
}
