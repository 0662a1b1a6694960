//! The pool against a list of byte strings.
//!
//! Goal: the budget holds at every moment, a buffer keeps its bytes whatever happens to others, a
//! refusal changes nothing, and it never comes while there is room for what was asked.
//!
//! Method: random takings, appendings, givings back and reservations on a small budget, some of the
//! takings for a moment only. The model keeps each buffer's bytes and knows what they are lent: the
//! next power of two. Room is what the pool itself says a block costs.

use elbow::limits::BUFFER_BYTES_MIN;
use elbow::pool::{BufferId, Pool};
use proptest::prelude::*;

const BUDGET_BYTES: u64 = 32 * 1024;

#[derive(Clone, Debug)]
enum Op {
    Take(usize),
    TakeBriefly(usize),
    /// Which one, and how much.
    Append(usize, usize),
    Give(usize),
    Reserve(u64),
    Release,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..3000_usize).prop_map(Op::Take),
        1 => (0..3000_usize).prop_map(Op::TakeBriefly),
        5 => (any::<usize>(), 0..1500_usize).prop_map(|(which, length)| Op::Append(which, length)),
        3 => any::<usize>().prop_map(Op::Give),
        1 => (0..BUDGET_BYTES).prop_map(Op::Reserve),
        1 => Just(Op::Release),
    ];
    prop::collection::vec(op, 1..200)
}

struct World {
    pool: Pool,
    lent: Vec<(BufferId, Vec<u8>)>,
    reserved: Vec<u64>,
    fill: u8,
}

/// What a buffer with room for `bytes` can hold.
fn capacity(bytes: usize) -> usize {
    bytes.max(BUFFER_BYTES_MIN).next_power_of_two()
}

impl World {
    fn new() -> World {
        let pool = Pool::new(BUDGET_BYTES);
        World { pool, lent: Vec::new(), reserved: Vec::new(), fill: 0 }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Take(bytes) => {
                let (free_bytes, cost) =
                    (self.pool.free_bytes(), self.pool.block_cost_bytes(bytes));
                let held_bytes = self.pool.held_bytes();
                let taken = self.pool.take(bytes);
                assert!(taken.is_some() || cost > free_bytes);
                assert!(taken.is_some() || self.pool.held_bytes() == held_bytes);
                self.lend(taken, bytes);
            }
            Op::TakeBriefly(bytes) => {
                let taken = self.pool.take_briefly(bytes);
                self.lend(taken, bytes);
            }
            Op::Append(which, length) if !self.lent.is_empty() => {
                let at = which % self.lent.len();
                self.append(at, length);
            }
            Op::Give(which) if !self.lent.is_empty() => {
                let at = which % self.lent.len();
                let (id, _) = self.lent.swap_remove(at);
                self.pool.give(id);
            }
            Op::Append(..) | Op::Give(_) => {}
            Op::Reserve(bytes) => {
                let expected = bytes <= self.pool.free_bytes();
                assert_eq!(self.pool.reserve(bytes), expected);
                self.reserved.extend(expected.then_some(bytes));
            }
            Op::Release => {
                if let Some(bytes) = self.reserved.pop() {
                    self.pool.release(bytes);
                }
            }
        }
    }

    fn lend(&mut self, taken: Option<BufferId>, bytes: usize) {
        if let Some(id) = taken {
            assert_eq!(self.pool.capacity(id), capacity(bytes));
            assert!(self.pool.bytes(id).is_empty());
            self.lent.push((id, Vec::new()));
        }
    }

    fn append(&mut self, at: usize, length: usize) {
        self.fill = self.fill.wrapping_add(1);
        let piece = vec![self.fill; length];
        let (mut id, _) = self.lent[at];
        let capacity = self.pool.capacity(id);
        let needed = self.lent[at].1.len() + length;
        // While the bytes move, both buffers are lent.
        let (free_bytes, cost) = (self.pool.free_bytes(), self.pool.block_cost_bytes(needed));
        let appended = self.pool.append(&mut id, &piece);
        assert!(appended || (needed > capacity && cost > free_bytes));
        self.lent[at].0 = id;
        if appended {
            self.lent[at].1.extend(piece);
        }
    }

    fn check(&self) {
        let mut lent_bytes: u64 = self.reserved.iter().sum();
        for (id, bytes) in &self.lent {
            assert_eq!(self.pool.bytes(*id), bytes);
            lent_bytes += self.pool.capacity(*id) as u64;
        }
        assert_eq!(self.pool.lent_bytes(), lent_bytes);
        assert!(self.pool.held_bytes() >= lent_bytes);
        assert!(self.pool.held_bytes() <= self.pool.bound_bytes());
        let is_over = BUDGET_BYTES - self.pool.free_bytes() == BUDGET_BYTES;
        assert!(is_over || !self.pool.is_strained());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_budget_holds_and_bytes_stay(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
            world.check();
        }
        for (id, _) in core::mem::take(&mut world.lent) {
            world.pool.give(id);
        }
        for bytes in core::mem::take(&mut world.reserved) {
            world.pool.release(bytes);
        }
        prop_assert_eq!(world.pool.lent_bytes(), 0);
        prop_assert_eq!(world.pool.free_bytes(), BUDGET_BYTES);
    }
}
