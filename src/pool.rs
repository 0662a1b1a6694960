//! The memory that varies with load: buffers lent and given back, all from one budget.
//!
//! Buffers come in powers of two from [`BUFFER_BYTES_MIN`] and are carved out of **blocks**, each
//! of buffers of one size. What counts against the budget is the block, in use or not, because that
//! is what the process occupies: a budget of lent bytes would be true for the program and false for
//! the machine, whose pages are held by whatever is left on them. A block without a lent buffer
//! goes back to the system, but a few are kept, so that a warm server does not allocate. Rings are
//! made elsewhere; they only reserve their bytes here.
//!
//! ```text
//!  block    ┌──────────┬──────────┬──────────┬──────────┬─ ─ ─ ─ ─ ─ ─ ─ ─ ─┐
//!  of 1 KiB │   lent   │   free   │   lent   │   free   │  never used yet    │
//!           └──────────┴──────────┴──────────┴──────────┴─ ─ ─ ─ ─ ─ ─ ─ ─ ─┘
//! ```
//!
//! A buffer is known by a number: a connection that holds one pays four bytes for it, and whoever
//! reads it needs the pool at hand, which keeps it honest.
//!
//! When the budget is used up nobody waits: the taker gets `None`, and what that means (1013, 503,
//! the connection's end) is decided above. Strangers can use it up by sending halves of things, and
//! that must not silence the others. So there is a **reserve** beside the budget for what is needed
//! *briefly*: an answer that leaves with the next write, a record until it is in the ring.

use core::num::NonZeroU32;

use slab::Slab;

use crate::limits::{BUFFER_BYTES_MIN, Limits};
use crate::work;

/// The number of buffer sizes: from 256 bytes up to 2^30, which is more than any message.
const CLASSES: usize = 23;

/// From this many bytes on an allocator maps memory for one block alone, and unmaps it as soon as
/// the block is freed. musl does so; the shell makes glibc do it too.
pub const MAPPED_BYTES: usize = 128 * 1024;

/// How many blocks the budget should have room for at least, so that every size can be had.
const BLOCKS_MIN: u64 = 32;

/// About how many blocks the budget has room for at most: each is a mapping, whose number the
/// system limits.
const BLOCKS_TYPICAL: u64 = 2048;

/// Bytes that a block costs beside its buffers: its entry in the table, the allocator's header.
const BLOCK_BYTES: u64 = 160;

/// Bytes that rounding costs a block that is mapped: its last page is only begun.
const PAGE_BYTES: u64 = 4096;

/// Bytes that each place of a block costs beside its buffer: the length of what is there.
const PLACE_ENTRY_BYTES: u64 = 4;

/// Copies of small buffers that are kept to be used again. A POST that is taken in, a packet in it
/// and the answer are three; more are made if need be.
const SPARES_MAX: usize = 4;

/// The bit of an entry that says that its place is not lent. The other bits are the number of the
/// next such place.
const FREE: u32 = 1 << 31;

/// In place of a number: there is no next one.
const NONE: u32 = FREE - 1;

/// A buffer that was lent. It must be given back exactly once, which [`Pool::give`] asserts; a type
/// that gave itself back would need a reference to the pool in every connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferId(NonZeroU32);

/// Memory for buffers of one size, each of which has one place.
#[derive(Debug)]
struct Block {
    /// The memory, up to the last byte that was ever written. The capacity never changes; while a
    /// block of one place is borrowed out, this is empty and has no capacity.
    bytes: Vec<u8>,
    /// For each place used so far: the bytes that the buffer holds, or `FREE` and the next free
    /// place.
    places: Vec<u32>,
    /// How many places the block has.
    places_max: u32,
    class: u8,
    lent: u32,
    /// Bytes that the block takes of the budget.
    cost: u64,
    /// The first of the free places that were used before, or `NONE`.
    free: u32,
    /// The block's position in the list of blocks of its class with a free place, or `NONE`.
    open_at: u32,
}

/// The budget, and the buffers that are lent from it.
///
/// In bytes with overhead: `reserved + spent + blocks <= limit`, and `<= bound` for a moment.
#[derive(Debug)]
pub struct Pool {
    limit_bytes: u64,
    bound_bytes: u64,
    /// Bytes of each block, unless one buffer of its class is larger than this.
    block_bytes: usize,
    reserved_bytes: u64,
    /// Bytes that lent buffers can hold, and bytes that are reserved.
    lent_bytes: u64,
    spent_bytes: u64,
    blocks_bytes: u64,
    /// Bytes that blocks without a lent buffer cost.
    kept_bytes: u64,
    kept_bytes_max: u64,
    blocks: Slab<Block>,
    /// The numbers of the blocks that have a free place, by class.
    open: [Vec<u32>; CLASSES],
    /// Empty vectors with a capacity, into which [`Pool::borrow_out`] copies small buffers.
    spares: Vec<Vec<u8>>,
}

/// The class of the smallest buffer that holds `bytes`.
fn class_of(bytes: usize) -> usize {
    let size = bytes.max(BUFFER_BYTES_MIN).next_power_of_two();
    (size.ilog2() - BUFFER_BYTES_MIN.ilog2()) as usize
}

fn size_of_class(class: usize) -> usize {
    BUFFER_BYTES_MIN << class
}

fn power_of_two_up_to(bytes: u64) -> u64 {
    1 << bytes.max(1).ilog2()
}

impl Block {
    fn size(&self) -> usize {
        size_of_class(usize::from(self.class))
    }

    fn is_single(&self) -> bool {
        self.places_max == 1
    }

    fn has_free_place(&self) -> bool {
        self.free != NONE || self.places.len() < self.places_max as usize
    }

    /// Takes a free place. One that was used before is preferred: its pages are there already.
    fn take_place(&mut self) -> usize {
        let place = if self.free == NONE { self.places.len() } else { self.free as usize };
        if self.free == NONE {
            self.places.push(0);
            // Places in front of this one may never have been filled.
            self.bytes.resize(self.bytes.len().max(place * self.size()), 0);
        } else {
            self.free = self.places[place] & !FREE;
            self.places[place] = 0;
        }
        self.lent += 1;
        place
    }

    fn give_place(&mut self, place: usize) {
        assert!(self.is_lent(place), "a buffer is given back once");
        self.places[place] = FREE | self.free;
        self.free = place as u32;
        self.lent -= 1;
    }

    fn is_lent(&self, place: usize) -> bool {
        self.places.get(place).is_some_and(|length| length & FREE == 0)
    }

    fn length(&self, place: usize) -> usize {
        assert!(self.is_lent(place), "only a lent buffer holds something");
        self.places[place] as usize
    }

    fn held(&self, place: usize) -> &[u8] {
        let start = place * self.size();
        &self.bytes[start..start + self.length(place)]
    }

    /// Appends a piece to the buffer at `place`.
    ///
    /// # Panics
    /// If there is no room for it: [`Pool`] has looked before.
    fn append(&mut self, place: usize, part: &[u8]) {
        let length = self.length(place);
        let start = place * self.size() + length;
        assert!(length + part.len() <= self.size());
        work::copied(part.len());
        let written = self.bytes.len().saturating_sub(start).min(part.len());
        self.bytes[start..start + written].copy_from_slice(&part[..written]);
        self.bytes.extend_from_slice(&part[written..]);
        self.places[place] += part.len() as u32;
    }
}

impl Pool {
    /// A pool of `limit_bytes`, and of [`Limits::reserve_bytes`] more for what is needed briefly.
    pub fn new(limit_bytes: u64) -> Pool {
        let few = power_of_two_up_to(limit_bytes / BLOCKS_MIN);
        let many = power_of_two_up_to(limit_bytes / BLOCKS_TYPICAL);
        let block_bytes = few.min(many.max(MAPPED_BYTES as u64)).max(BUFFER_BYTES_MIN as u64);
        Pool {
            limit_bytes,
            bound_bytes: limit_bytes + Limits::reserve_bytes(limit_bytes),
            block_bytes: block_bytes as usize,
            reserved_bytes: 0,
            lent_bytes: 0,
            spent_bytes: 0,
            blocks_bytes: 0,
            kept_bytes: 0,
            kept_bytes_max: limit_bytes / 16,
            blocks: Slab::new(),
            open: [const { Vec::new() }; CLASSES],
            spares: Vec::with_capacity(SPARES_MAX),
        }
    }

    /// Lends an empty buffer with room for `bytes` bytes; `None` if the budget is used up.
    pub fn take(&mut self, bytes: usize) -> Option<BufferId> {
        self.take_within(bytes, self.limit_bytes)
    }

    /// Lends an empty buffer with room for `bytes` bytes from the budget or the reserve; `None` if
    /// both are used up. For what is needed only until the next write or the end of this call:
    /// whoever keeps the buffer longer must ask [`Pool::is_strained`].
    pub fn take_briefly(&mut self, bytes: usize) -> Option<BufferId> {
        self.take_within(bytes, self.bound_bytes)
    }

    fn take_within(&mut self, bytes: usize, limit_bytes: u64) -> Option<BufferId> {
        let class = class_of(bytes);
        let number = match self.open.get(class)?.last() {
            Some(number) => *number,
            None => self.add_block(class, limit_bytes)?,
        };
        let block = &mut self.blocks[number as usize];
        if block.lent == 0 {
            self.kept_bytes -= block.cost;
        }
        let place = block.take_place();
        self.lent_bytes += block.size() as u64;
        if !block.has_free_place() {
            self.shut(number);
        }
        Some(self.id_of(number, place))
    }

    /// Takes a buffer back.
    ///
    /// # Panics
    /// If the buffer is not lent.
    pub fn give(&mut self, id: BufferId) {
        let (number, place) = self.place_of(id);
        let block = &mut self.blocks[number];
        block.give_place(place);
        self.lent_bytes -= block.size() as u64;
        if block.open_at == NONE {
            let open = &mut self.open[usize::from(block.class)];
            block.open_at = open.len() as u32;
            open.push(number as u32);
        }
        if block.lent == 0 {
            self.kept_bytes += block.cost;
            if self.kept_bytes > self.kept_bytes_max {
                self.drop_block(number as u32);
            }
        }
    }

    /// Appends to a lent buffer, moving its bytes to a larger one when it is full; `id` then names
    /// that one. `false`, and nothing is changed, when the budget does not allow it.
    pub fn append(&mut self, id: &mut BufferId, bytes: &[u8]) -> bool {
        self.append_all(id, &[bytes])
    }

    /// Appends several pieces to a lent buffer, moving its bytes to a larger one if need be.
    /// `false`, and nothing is changed, when the budget does not allow it.
    pub fn append_all(&mut self, id: &mut BufferId, parts: &[&[u8]]) -> bool {
        self.append_within(id, parts, self.limit_bytes)
    }

    /// Appends several pieces to a lent buffer, from the budget or the reserve; see
    /// [`Pool::take_briefly`]. `false`, and nothing is changed, when both are used up.
    pub fn append_briefly(&mut self, id: &mut BufferId, parts: &[&[u8]]) -> bool {
        self.append_within(id, parts, self.bound_bytes)
    }

    fn append_within(&mut self, id: &mut BufferId, parts: &[&[u8]], limit_bytes: u64) -> bool {
        let grown = self.grow(id, parts.iter().map(|part| part.len()).sum(), limit_bytes);
        if grown {
            let (number, place) = self.place_of(*id);
            parts.iter().for_each(|part| self.blocks[number].append(place, part));
        }
        grown
    }

    /// Appends to a lent buffer what `write` puts into an empty vector, and returns what `write`
    /// returns. `None`, and `write` is not called, when the budget does not allow `bytes_max` bytes
    /// more.
    ///
    /// # Panics
    /// If `write` puts more than `bytes_max` bytes into the vector.
    pub fn write<T>(
        &mut self,
        id: &mut BufferId,
        bytes_max: usize,
        write: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> Option<T> {
        if !self.grow(id, bytes_max, self.limit_bytes) {
            return None;
        }
        let mut bytes = self.spares.pop().unwrap_or_default();
        let written = write(&mut bytes);
        assert!(bytes.len() <= bytes_max);
        let (number, place) = self.place_of(*id);
        self.blocks[number].append(place, &bytes);
        self.keep_spare(bytes);
        Some(written)
    }

    /// Makes room for `bytes` bytes more in a lent buffer, moving what it holds to a larger one if
    /// need be. `false`, and nothing is changed, when there is no such buffer within `limit_bytes`.
    fn grow(&mut self, id: &mut BufferId, bytes: usize, limit_bytes: u64) -> bool {
        let (number, place) = self.place_of(*id);
        let needed = self.blocks[number].length(place) + bytes;
        if needed > self.blocks[number].size() {
            let Some(larger) = self.take_within(needed, limit_bytes) else { return false };
            let (to, place_there) = self.place_of(larger);
            // Both buffers are in different blocks, for they differ in size.
            let (from, to) = self.blocks.get2_mut(number, to).expect("both are lent");
            to.append(place_there, from.held(place));
            self.give(*id);
            *id = larger;
        }
        true
    }

    /// Shortens what a lent buffer holds to `length` bytes.
    ///
    /// # Panics
    /// If the buffer holds less.
    pub fn truncate(&mut self, id: BufferId, length: usize) {
        let (number, place) = self.place_of(id);
        let block = &mut self.blocks[number];
        assert!(length <= block.length(place));
        block.places[place] = length as u32;
    }

    /// Empties a lent buffer for other bytes, few at first: a large one is given back, and one of
    /// the smallest is lent instead. `None` if there is none.
    pub fn emptied(&mut self, id: BufferId) -> Option<BufferId> {
        if self.capacity(id) == BUFFER_BYTES_MIN {
            self.truncate(id, 0);
            return Some(id);
        }
        self.give(id);
        self.take(0)
    }

    /// The bytes that a lent buffer holds. Not to be called while the buffer is borrowed out.
    pub fn bytes(&self, id: BufferId) -> &[u8] {
        let (number, place) = self.place_of(id);
        self.blocks[number].held(place)
    }

    /// Hands out the bytes of a lent buffer, so that they can be read, or others put into their
    /// place, while the pool is in use. They must come back by [`Pool::put_back`] before anything
    /// else is done with the buffer. The bytes of a small buffer are copied, since they lie among
    /// those of others.
    pub fn borrow_out(&mut self, id: BufferId) -> Vec<u8> {
        let (number, place) = self.place_of(id);
        let block = &mut self.blocks[number];
        let length = block.length(place);
        if block.is_single() {
            let mut bytes = core::mem::take(&mut block.bytes);
            bytes.truncate(length);
            bytes
        } else {
            let mut bytes = self.spares.pop().unwrap_or_default();
            bytes.extend_from_slice(block.held(place));
            work::copied(length);
            bytes
        }
    }

    /// Takes back what [`Pool::borrow_out`] handed out. How many bytes the buffer holds is not
    /// changed.
    pub fn put_back(&mut self, id: BufferId, bytes: Vec<u8>) {
        let (number, _) = self.place_of(id);
        let block = &mut self.blocks[number];
        if block.bytes.capacity() == 0 {
            block.bytes = bytes;
        } else {
            self.keep_spare(bytes);
        }
    }

    fn keep_spare(&mut self, mut bytes: Vec<u8>) {
        if self.spares.len() < SPARES_MAX && bytes.capacity() <= self.block_bytes {
            bytes.clear();
            self.spares.push(bytes);
        }
    }

    /// Sets `bytes` of the budget aside for memory that the caller keeps itself. `false`, and
    /// nothing is changed, when there is no room for them.
    pub fn reserve(&mut self, bytes: u64) -> bool {
        let enough = self.make_room(bytes, self.limit_bytes);
        if enough {
            self.reserved_bytes += bytes;
            self.lent_bytes += bytes;
        }
        enough
    }

    /// Gives `bytes` back that were set aside by [`Pool::reserve`].
    pub fn release(&mut self, bytes: u64) {
        self.reserved_bytes -= bytes;
        self.lent_bytes -= bytes;
    }

    /// Sets `bytes` of the budget aside for good, for a table that never shrinks. `false`, and
    /// nothing is changed, when there is no room for them.
    pub fn spend(&mut self, bytes: u64) -> bool {
        let enough = self.make_room(bytes, self.limit_bytes);
        if enough {
            self.spent_bytes += bytes;
        }
        enough
    }

    /// Whether more than the budget is used, so that the reserve is in use: then what was taken
    /// briefly must go now.
    pub fn is_strained(&self) -> bool {
        self.used_bytes() > self.limit_bytes
    }

    /// How many bytes a lent buffer can hold.
    pub fn capacity(&self, id: BufferId) -> usize {
        self.blocks[self.place_of(id).0].size()
    }

    /// Bytes that lent buffers can hold, and bytes that are reserved.
    pub fn lent_bytes(&self) -> u64 {
        self.lent_bytes
    }

    /// Bytes that the process occupies for this pool, with overhead: never over
    /// [`Pool::bound_bytes`].
    pub fn held_bytes(&self) -> u64 {
        self.reserved_bytes + self.spent_bytes + self.blocks_bytes
    }

    /// Bytes that could still be reserved if every block without a lent buffer were let go.
    pub fn free_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes())
    }

    /// Bytes that could not be reserved by anybody else now, with overhead.
    pub fn used_bytes(&self) -> u64 {
        self.held_bytes() - self.kept_bytes
    }

    /// Bytes that are set aside by [`Pool::reserve`].
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes
    }

    /// Bytes that were set aside for good, by [`Pool::spend`].
    pub fn spent_bytes(&self) -> u64 {
        self.spent_bytes
    }

    /// Bytes of the budget.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Bytes of the budget and the reserve together.
    pub fn bound_bytes(&self) -> u64 {
        self.bound_bytes
    }

    /// The most bytes that lending a buffer for `bytes` bytes can add to what is occupied.
    pub fn block_cost_bytes(&self, bytes: usize) -> u64 {
        let size = size_of_class(class_of(bytes));
        let capacity = self.block_bytes.max(size);
        let rounding = if capacity >= MAPPED_BYTES { PAGE_BYTES } else { 0 };
        let places = (capacity / size) as u64;
        capacity as u64 + places * PLACE_ENTRY_BYTES + rounding + BLOCK_BYTES
    }

    /// Bytes that lending a buffer for `bytes` bytes would add to what is used: none if a place is
    /// free in a block that has others lent.
    ///
    /// Bounded work: blocks without a lent buffer are few, since few are kept.
    pub fn taking_bytes(&self, bytes: usize) -> u64 {
        let open = self.open.get(class_of(bytes)).into_iter().flatten();
        let shares_a_block = open.map(|number| &self.blocks[*number as usize]);
        if shares_a_block.into_iter().any(|block| block.lent > 0) {
            return 0;
        }
        self.block_cost_bytes(bytes)
    }

    /// Makes a block of free buffers and returns its number; `None` if there is no room for it.
    fn add_block(&mut self, class: usize, limit_bytes: u64) -> Option<u32> {
        let size = size_of_class(class);
        let capacity = self.block_bytes.max(size);
        let cost = self.block_cost_bytes(size);
        if !self.make_room(cost, limit_bytes) {
            return None;
        }
        // The number is asked for only now, since a block that was let go has left its own.
        let number = self.blocks.vacant_key() as u32;
        let is_numbered = (u64::from(number) + 1) * self.places_max() < u64::from(u32::MAX);
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        if !is_numbered
            || bytes.try_reserve_exact(capacity).is_err()
            || places.try_reserve_exact(capacity / size).is_err()
        {
            return None;
        }
        let open_at = self.open[class].len() as u32;
        self.blocks.insert(Block {
            bytes,
            places,
            places_max: (capacity / size) as u32,
            class: class as u8,
            lent: 0,
            cost,
            free: NONE,
            open_at,
        });
        self.open[class].push(number);
        self.blocks_bytes += cost;
        self.kept_bytes += cost;
        Some(number)
    }

    /// Gives the memory of a block without lent buffers back to the system.
    fn drop_block(&mut self, number: u32) {
        self.shut(number);
        let block = self.blocks.remove(number as usize);
        self.blocks_bytes -= block.cost;
        self.kept_bytes -= block.cost;
    }

    /// Takes a block off the list of blocks with a free place.
    fn shut(&mut self, number: u32) {
        let block = &mut self.blocks[number as usize];
        let at = core::mem::replace(&mut block.open_at, NONE) as usize;
        let open = &mut self.open[usize::from(block.class)];
        open.swap_remove(at);
        if let Some(moved) = open.get(at) {
            self.blocks[*moved as usize].open_at = at as u32;
        }
    }

    /// Lets blocks without a lent buffer go, the largest first, until `bytes` more fit. Returns
    /// whether they do.
    fn make_room(&mut self, bytes: u64, limit_bytes: u64) -> bool {
        let Some(needed) = self.used_bytes().checked_add(bytes) else { return false };
        if needed > limit_bytes {
            return false;
        }
        for class in (0..CLASSES).rev() {
            let mut at = self.open[class].len();
            while needed + self.kept_bytes > limit_bytes && at > 0 {
                at -= 1;
                let number = self.open[class][at];
                if self.blocks[number as usize].lent == 0 {
                    self.drop_block(number);
                }
            }
        }
        needed + self.kept_bytes <= limit_bytes
    }

    /// The most places that any block has.
    fn places_max(&self) -> u64 {
        (self.block_bytes / BUFFER_BYTES_MIN) as u64
    }

    fn id_of(&self, number: u32, place: usize) -> BufferId {
        let id = u64::from(number) * self.places_max() + place as u64 + 1;
        let id = u32::try_from(id).ok().and_then(NonZeroU32::new);
        BufferId(id.expect("a block without numbers is not made"))
    }

    fn place_of(&self, id: BufferId) -> (usize, usize) {
        let number = u64::from(id.0.get() - 1);
        ((number / self.places_max()) as usize, (number % self.places_max()) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_back_is_lent_again_without_allocating() {
        let mut pool = Pool::new(1 << 20);
        let mut first = pool.take(100).unwrap();
        assert!(pool.append(&mut first, b"abc"));
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
    fn one_buffer_holds_its_block_against_other_sizes() {
        let mut pool = Pool::new(32 * 1024);
        let block_bytes = pool.block_cost_bytes(256);
        let small: Vec<_> = (0..5).map(|_| pool.take(256).unwrap()).collect();
        assert_eq!(pool.held_bytes(), 2 * block_bytes, "four in a block");
        small[1..].iter().for_each(|id| pool.give(*id));
        assert_eq!(pool.free_bytes(), 32 * 1024 - block_bytes);
        assert!(!pool.reserve(32 * 1024 - block_bytes + 1));
        pool.give(small[0]);
        assert!(pool.reserve(32 * 1024), "an empty block makes room");
        assert_eq!(pool.held_bytes(), 32 * 1024);
        pool.release(32 * 1024);
        assert_eq!((pool.lent_bytes(), pool.held_bytes()), (0, 0));
    }

    #[test]
    fn neighbours_in_a_block_do_not_touch() {
        let mut pool = Pool::new(1 << 20);
        let mut ids: Vec<_> = (0..9).map(|_| pool.take(256).unwrap()).collect();
        for round in 0..4 {
            for (n, id) in ids.iter_mut().enumerate().rev() {
                assert!(pool.append(id, &[(n * 4 + round) as u8; 64]));
            }
        }
        for (n, id) in ids.iter().enumerate() {
            let expected = [0, 1, 2, 3].map(|round| [(n * 4 + round) as u8; 64]).concat();
            assert_eq!(pool.bytes(*id), expected);
        }
    }

    #[test]
    fn appending_moves_to_a_larger_buffer() {
        let mut pool = Pool::new(1 << 20);
        let mut id = pool.take(1).unwrap();
        let text: Vec<u8> = (0..40_000_u32).map(|n| n as u8).collect();
        for piece in text.chunks(777) {
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
        assert!(pool.spend(900));
        assert_eq!((pool.lent_bytes(), pool.free_bytes()), (0, 100));
        assert!(!pool.spend(101) && !pool.reserve(101) && pool.reserve(100));
        assert_eq!(pool.held_bytes(), 1000);
    }

    #[test]
    fn what_is_borrowed_out_comes_back_whole() {
        let mut pool = Pool::new(1 << 20);
        for length in [3, 300, 40_000] {
            let mut id = pool.take(0).unwrap();
            let text: Vec<u8> = (0..length).map(|n| n as u8).collect();
            assert!(pool.append(&mut id, &text));
            let other = pool.take(length).unwrap();
            let bytes = pool.borrow_out(id);
            assert_eq!(bytes, text);
            pool.put_back(id, bytes);
            assert!(pool.append(&mut id, b"more"));
            assert_eq!(pool.bytes(id), [&text[..], b"more"].concat());
            pool.truncate(id, 2);
            assert_eq!(pool.bytes(id), &text[..2]);
            pool.give(id);
            pool.give(other);
        }
    }

    #[test]
    fn what_is_needed_briefly_has_a_reserve() {
        let mut pool = Pool::new(64 * 1024);
        while pool.take(2048).is_some() {}
        assert!(!pool.is_strained() && pool.take(256).is_none());
        let mut id = pool.take_briefly(256).unwrap();
        assert!(pool.is_strained());
        assert!(!pool.append(&mut id, &[1; 2049]) && !pool.append_briefly(&mut id, &[&[1; 9000]]));
        assert!(pool.held_bytes() <= pool.bound_bytes());
        pool.give(id);
        assert!(!pool.is_strained());
    }

    #[test]
    #[should_panic(expected = "given back once")]
    fn giving_back_twice_is_our_mistake() {
        let mut pool = Pool::new(1 << 20);
        let id = pool.take(1).unwrap();
        pool.give(id);
        pool.give(id);
    }
}
