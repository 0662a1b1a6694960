//! Lists of small numbers, each in the order in which the numbers came, from which any number can
//! be taken in constant time. They answer who has been waiting for longest.
//!
//! The links of all lists are in one table by number, as the wheel's are, so a number is in one of
//! the lists or in none. Nothing is allocated once the table has its size.

/// In place of a neighbour: the number is an end of its list.
const NONE: u32 = u32::MAX;
/// In place of the next number: this one is in no list.
const OUT: u32 = u32::MAX - 1;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u32,
    last: u32,
    len: usize,
}

/// `LISTS` lists of numbers, each number in one of them at most.
///
/// The numbers are below `OUT`, which slabs of our sizes never reach.
#[derive(Debug)]
pub struct Order<const LISTS: usize> {
    links: Vec<Link>,
    lists: [Ends; LISTS],
}

/// User-space bytes of one place in the table of links, whether its number is in a list or not.
pub const LINK_BYTES: usize = size_of::<Link>();

impl<const LISTS: usize> Order<LISTS> {
    /// Empty lists, with room for numbers below `capacity` set aside (not touched before it is
    /// used).
    pub fn new(capacity: usize) -> Order<LISTS> {
        let empty = Ends { first: NONE, last: NONE, len: 0 };
        Order { links: Vec::with_capacity(capacity), lists: [empty; LISTS] }
    }

    /// Puts `number` at the end of a list.
    ///
    /// # Panics
    /// If `number` is in a list already.
    pub fn push(&mut self, list: usize, number: u32) {
        assert!(number < OUT && !self.contains(number), "a number is in one list at most");
        let at = number as usize;
        if self.links.len() <= at {
            self.links.resize(at + 1, Link { previous: NONE, next: OUT });
        }
        let ends = &mut self.lists[list];
        ends.len += 1;
        let last = core::mem::replace(&mut ends.last, number);
        if last == NONE {
            ends.first = number;
        } else {
            self.links[last as usize].next = number;
        }
        self.links[at] = Link { previous: last, next: NONE };
    }

    /// Takes `number` out of `list`; nothing happens if it is in no list.
    ///
    /// # Panics
    /// If `number` is an end of another list. Whoever names the wrong list for a number between two
    /// others makes both lists miscount, which [`Order::check`] finds.
    pub fn remove(&mut self, list: usize, number: u32) {
        if !self.contains(number) {
            return;
        }
        let gone = Link { previous: NONE, next: OUT };
        let Link { previous, next } = core::mem::replace(&mut self.links[number as usize], gone);
        let ends = &mut self.lists[list];
        ends.len -= 1;
        match self.links.get_mut(previous as usize) {
            Some(link) => link.next = next,
            None => {
                let first = core::mem::replace(&mut ends.first, next);
                assert_eq!(first, number, "a number is taken out of its own list");
            }
        }
        match self.links.get_mut(next as usize) {
            Some(link) => link.previous = previous,
            None => {
                let last = core::mem::replace(&mut ends.last, previous);
                assert_eq!(last, number, "a number is taken out of its own list");
            }
        }
    }

    /// Takes the number out of `list` that has been there for longest.
    pub fn pop(&mut self, list: usize) -> Option<u32> {
        let first = self.first(list)?;
        self.remove(list, first);
        Some(first)
    }

    /// The number that has been in `list` for longest.
    pub fn first(&self, list: usize) -> Option<u32> {
        let first = self.lists[list].first;
        (first != NONE).then_some(first)
    }

    /// Whether `number` is in any list.
    pub fn contains(&self, number: u32) -> bool {
        self.links.get(number as usize).is_some_and(|link| link.next != OUT)
    }

    /// How many numbers there are in `list`.
    pub fn len(&self, list: usize) -> usize {
        self.lists[list].len
    }

    /// Whether `list` is empty.
    pub fn is_empty(&self, list: usize) -> bool {
        self.lists[list].len == 0
    }

    /// Asserts what must hold between two calls. Walks all lists: for tests.
    pub fn check(&self) {
        for (list, ends) in self.lists.iter().enumerate() {
            assert_eq!(self.iter(list).count(), ends.len, "list {list} counts what it holds");
            assert_eq!(self.iter(list).last(), (ends.last != NONE).then_some(ends.last));
        }
    }

    /// The numbers of `list` from the first to the last. The work is bounded by their count.
    pub fn iter(&self, list: usize) -> impl Iterator<Item = u32> {
        let next = |number: u32| Some(self.links[number as usize].next).filter(|at| *at != NONE);
        core::iter::successors(self.first(list), move |number| next(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn the_lists_are_as_two_queues() {
        for seed in 1..200_u64 {
            let mut dice = seed;
            let mut below = |n: u64| {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                (dice % n) as u32
            };
            let mut order: Order<2> = Order::new(3);
            let mut model = [VecDeque::new(), VecDeque::new()];
            for _ in 0..200 {
                let (number, list) = (below(12), below(2) as usize);
                let is_in = model.iter().any(|queue| queue.contains(&number));
                assert_eq!(order.contains(number), is_in);
                if is_in {
                    let of = usize::from(!model[0].contains(&number));
                    model[of].retain(|other| *other != number);
                    order.remove(of, number);
                } else if below(5) == 0 {
                    assert_eq!(order.pop(list), model[list].pop_front());
                } else if below(3) > 0 {
                    model[list].push_back(number);
                    order.push(list, number);
                } else {
                    order.remove(list, number);
                }
                order.check();
                for (list, queue) in model.iter().enumerate() {
                    assert_eq!(order.first(list), queue.front().copied());
                    assert!(order.iter(list).eq(queue.iter().copied()));
                    assert_eq!(order.len(list), queue.len());
                    assert_eq!(order.is_empty(list), queue.is_empty());
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "one list at most")]
    fn nobody_is_in_two_lists() {
        let mut order: Order<2> = Order::new(1);
        order.push(0, 0);
        order.push(1, 0);
    }
}
