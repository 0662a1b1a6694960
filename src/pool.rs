//! The memory that varies with load: buffers lent and given back, all from one budget.
//!
//! Buffers come in powers of two from [`BUFFER_BYTES_MIN`]; a few given back are kept for the next
//! taker, so that a warm server does not allocate. Rings are too large to keep and live elsewhere;
//! they only reserve their bytes here. A buffer is known by a number: a connection that holds one
//! pays four bytes for it, and whoever reads it needs the pool at hand, which keeps it honest.
//!
//! When the budget is used up nobody waits: the taker gets `None`, and what that means (1013, 503,
//! the connection's end) is decided above.

use core::num::NonZeroU32;

use crate::limits::BUFFER_BYTES_MIN;

/// Sizes from 256 bytes up to 2^40: more than any `--memory`.
const CLASSES: usize = 33;

/// What a buffer costs beside its bytes: the allocator's header and rounding.
const OVERHEAD_BYTES: u64 = 32;

/// What a number costs, in use or not: its place in the table and in a list, twice, since both
/// double when they grow. It is never given back, so it is paid for once and for all.
const NUMBER_BYTES: u64 = 96;

/// A buffer that was lent. It is given back exactly once, which [`Pool::give`] asserts; a type that
/// gave itself back would need a reference to the pool in every connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferId(NonZeroU32);

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    lent: bool,
}

/// The budget and the buffers.
///
/// `lent + kept + spent + numbers <= limit`, in bytes with overhead.
#[derive(Debug)]
pub struct Pool {
    limit_bytes: u64,
    lent_bytes: u64,
    kept_bytes: u64,
    kept_bytes_max: u64,
    spent_bytes: u64,
    buffers: Vec<Buffer>,
    /// Numbers without memory behind them.
    vacant: Vec<u32>,
    /// Numbers with memory of this class, ready to be lent again.
    kept: [Vec<u32>; CLASSES],
}

/// The class of the smallest buffer that holds `bytes`.
fn class_of(bytes: usize) -> usize {
    let size = bytes.max(BUFFER_BYTES_MIN).next_power_of_two();
    (size.ilog2() - BUFFER_BYTES_MIN.ilog2()) as usize
}

/// The class of the largest buffer that fits into `capacity`.
fn class_within(capacity: usize) -> usize {
    (capacity.ilog2() - BUFFER_BYTES_MIN.ilog2()) as usize
}

fn cost_bytes(capacity: usize) -> u64 {
    capacity as u64 + OVERHEAD_BYTES
}

impl Pool {
    /// A pool that never lends more than `limit_bytes` in all.
    pub fn new(limit_bytes: u64) -> Pool {
        Pool {
            limit_bytes,
            lent_bytes: 0,
            kept_bytes: 0,
            kept_bytes_max: limit_bytes / 16,
            spent_bytes: 0,
            buffers: Vec::new(),
            vacant: Vec::new(),
            kept: [const { Vec::new() }; CLASSES],
        }
    }

    /// Lends an empty buffer with room for `bytes`, or nothing if the budget is used up.
    pub fn take(&mut self, bytes: usize) -> Option<BufferId> {
        let class = class_of(bytes);
        if let Some(number) = self.kept.get_mut(class)?.pop() {
            let buffer = &mut self.buffers[number as usize];
            let cost = cost_bytes(buffer.bytes.capacity());
            buffer.lent = true;
            self.kept_bytes -= cost;
            self.lent_bytes += cost;
            return Some(id_of(number));
        }
        let capacity = BUFFER_BYTES_MIN << class;
        let mut storage = Vec::new();
        let number_bytes = if self.vacant.is_empty() { NUMBER_BYTES } else { 0 };
        if !self.make_room(cost_bytes(capacity) + number_bytes)
            || storage.try_reserve_exact(capacity).is_err()
        {
            return None;
        }
        // An allocator may give more than asked for; what it gave is what is counted.
        self.lent_bytes += cost_bytes(storage.capacity());
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.buffers.push(Buffer::default());
            (self.buffers.len() - 1) as u32
        });
        self.buffers[number as usize] = Buffer { bytes: storage, lent: true };
        Some(id_of(number))
    }

    /// Takes a buffer back.
    ///
    /// # Panics
    /// If it was not lent.
    pub fn give(&mut self, id: BufferId) {
        let number = id.0.get() - 1;
        let buffer = &mut self.buffers[number as usize];
        assert!(buffer.lent, "a buffer is given back once");
        buffer.lent = false;
        let cost = cost_bytes(buffer.bytes.capacity());
        self.lent_bytes -= cost;
        if self.kept_bytes + cost <= self.kept_bytes_max {
            buffer.bytes.clear();
            self.kept_bytes += cost;
            self.kept[class_within(buffer.bytes.capacity())].push(number);
        } else {
            buffer.bytes = Vec::new();
            self.vacant.push(number);
        }
    }

    /// Appends to a lent buffer, moving it to a larger one when it is full. Nothing is changed when
    /// the budget does not allow that: `false`.
    pub fn append(&mut self, id: &mut BufferId, bytes: &[u8]) -> bool {
        self.append_all(id, &[bytes])
    }

    /// Appends several pieces, or none of them when the budget does not allow it: `false`.
    pub fn append_all(&mut self, id: &mut BufferId, parts: &[&[u8]]) -> bool {
        let grown = self.grow(id, parts.iter().map(|part| part.len()).sum());
        if grown {
            parts.iter().for_each(|part| self.bytes_mut(*id).extend_from_slice(part));
        }
        grown
    }

    /// Makes room for so many `bytes` more, moving what a lent buffer holds to a larger one if need
    /// be. Nothing is changed when the budget does not allow that: `false`.
    pub fn grow(&mut self, id: &mut BufferId, bytes: usize) -> bool {
        let current = &self.buffers[(id.0.get() - 1) as usize].bytes;
        let needed = current.len() + bytes;
        if needed > current.capacity() {
            let Some(larger) = self.take(needed) else { return false };
            let mut storage = core::mem::take(self.bytes_mut(larger));
            storage.extend_from_slice(self.bytes(*id));
            *self.bytes_mut(larger) = storage;
            self.give(*id);
            *id = larger;
        }
        true
    }

    /// What a lent buffer holds.
    pub fn bytes(&self, id: BufferId) -> &[u8] {
        &self.buffers[(id.0.get() - 1) as usize].bytes
    }

    /// The same, to change. It must not grow past its capacity; [`Pool::grow`] is for that.
    pub fn bytes_mut(&mut self, id: BufferId) -> &mut Vec<u8> {
        &mut self.buffers[(id.0.get() - 1) as usize].bytes
    }

    /// Lends the bytes themselves, so that they can be read while the pool is in use. They come
    /// back by [`Pool::put_back`] before anything else is done with the buffer.
    pub fn borrow_out(&mut self, id: BufferId) -> Vec<u8> {
        core::mem::take(self.bytes_mut(id))
    }

    /// The reverse of [`Pool::borrow_out`].
    pub fn put_back(&mut self, id: BufferId, bytes: Vec<u8>) {
        *self.bytes_mut(id) = bytes;
    }

    /// Sets `bytes` of the budget aside for memory that the caller keeps itself.
    pub fn reserve(&mut self, bytes: u64) -> bool {
        let enough = self.make_room(bytes);
        if enough {
            self.lent_bytes += bytes;
        }
        enough
    }

    /// Gives a reservation back.
    pub fn release(&mut self, bytes: u64) {
        self.lent_bytes -= bytes;
    }

    /// Sets `bytes` of the budget aside for good: for a table that never shrinks.
    pub fn spend(&mut self, bytes: u64) -> bool {
        let enough = self.make_room(bytes);
        if enough {
            self.spent_bytes += bytes;
        }
        enough
    }

    /// What a lent buffer takes of the budget.
    pub fn cost_bytes(&self, id: BufferId) -> u64 {
        cost_bytes(self.buffers[(id.0.get() - 1) as usize].bytes.capacity())
    }

    /// Bytes lent or reserved, with overhead.
    pub fn lent_bytes(&self) -> u64 {
        self.lent_bytes
    }

    /// Bytes in use or kept: never over the limit.
    pub fn held_bytes(&self) -> u64 {
        self.lent_bytes + self.kept_bytes + self.gone_bytes()
    }

    /// What could still be reserved, if everything kept were let go.
    pub fn free_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.lent_bytes + self.gone_bytes())
    }

    /// What does not come back: spent bytes, and numbers.
    fn gone_bytes(&self) -> u64 {
        self.spent_bytes + self.buffers.len() as u64 * NUMBER_BYTES
    }

    /// The budget.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Lets kept buffers go, largest first, until `bytes` more fit; whether they do.
    fn make_room(&mut self, bytes: u64) -> bool {
        let taken_bytes = self.lent_bytes + self.gone_bytes();
        let Some(needed) = taken_bytes.checked_add(bytes) else { return false };
        if needed > self.limit_bytes {
            return false;
        }
        for class in (0..CLASSES).rev() {
            while needed + self.kept_bytes > self.limit_bytes {
                let Some(number) = self.kept[class].pop() else { break };
                let storage = core::mem::take(&mut self.buffers[number as usize].bytes);
                self.kept_bytes -= cost_bytes(storage.capacity());
                self.vacant.push(number);
            }
        }
        needed + self.kept_bytes <= self.limit_bytes
    }
}

fn id_of(number: u32) -> BufferId {
    BufferId(NonZeroU32::new(number + 1).expect("a number plus one is not zero"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_back_is_lent_again_without_allocating() {
        let mut pool = Pool::new(1 << 20);
        let first = pool.take(100).unwrap();
        pool.bytes_mut(first).extend_from_slice(b"abc");
        let place = pool.bytes(first).as_ptr();
        pool.give(first);
        let second = pool.take(200).unwrap();
        assert_eq!(pool.bytes(second).as_ptr(), place);
        assert!(pool.bytes(second).is_empty());
    }

    #[test]
    fn the_budget_is_never_passed() {
        let mut pool = Pool::new(10_000);
        let mut lent = Vec::new();
        while let Some(id) = pool.take(1000) {
            lent.push(id);
        }
        assert_eq!(lent.len(), 8);
        assert!(pool.held_bytes() <= 10_000);
        assert!(pool.take(1000).is_none());
        pool.give(lent.pop().unwrap());
        assert!(pool.take(1000).is_some());
    }

    #[test]
    fn kept_buffers_make_room_for_other_sizes() {
        let mut pool = Pool::new(16 * 1024);
        let small: Vec<_> = (0..3).map(|_| pool.take(256).unwrap()).collect();
        small.into_iter().for_each(|id| pool.give(id));
        assert!(pool.held_bytes() > 0);
        assert!(!pool.reserve(16 * 1024), "numbers are never given back");
        let rest = pool.free_bytes();
        assert_eq!(rest, 16 * 1024 - 3 * NUMBER_BYTES);
        assert!(pool.reserve(rest));
        assert_eq!(pool.held_bytes(), 16 * 1024);
        pool.release(rest);
        assert_eq!(pool.lent_bytes(), 0);
    }

    #[test]
    fn appending_moves_to_a_larger_buffer() {
        let mut pool = Pool::new(1 << 20);
        let mut id = pool.take(1).unwrap();
        let text: Vec<u8> = (0..2000_u32).map(|n| n as u8).collect();
        for piece in text.chunks(77) {
            assert!(pool.append(&mut id, piece));
        }
        assert_eq!(pool.bytes(id), text);
        pool.give(id);
        assert_eq!(pool.lent_bytes(), 0);
    }

    #[test]
    fn appending_beyond_the_budget_changes_nothing() {
        let mut pool = Pool::new(600);
        let mut id = pool.take(256).unwrap();
        assert!(pool.append(&mut id, &[1; 255]));
        assert!(!pool.append_all(&mut id, &[&[2], &[3]]));
        assert_eq!(pool.bytes(id), [1; 255]);
    }

    #[test]
    fn what_is_spent_does_not_come_back() {
        let mut pool = Pool::new(1000);
        let kept = pool.take(256).unwrap();
        pool.give(kept);
        assert!(pool.spend(900 - NUMBER_BYTES));
        assert_eq!((pool.lent_bytes(), pool.free_bytes()), (0, 100));
        assert!(!pool.spend(101) && !pool.reserve(101) && pool.reserve(100));
        assert_eq!(pool.held_bytes(), 1000);
    }

    #[test]
    #[should_panic(expected = "given back once")]
    fn giving_back_twice_is_our_mistake() {
        let mut pool = Pool::new(1000);
        let id = pool.take(1).unwrap();
        pool.give(id);
        pool.give(id);
    }
}
