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
}

/// `LISTS` lists of numbers, each number in one of them at most.
///
/// The numbers are below `OUT`, which slabs of our sizes never reach.
#[derive(Debug)]
pub struct Order<const LISTS: usize> {
    links: Vec<Link>,
    lists: [Ends; LISTS],
    len: usize,
}

/// User-space bytes of one place in the table of links, whether its number is in a list or not.
pub const LINK_BYTES: usize = size_of::<Link>();

impl<const LISTS: usize> Order<LISTS> {
    /// Empty lists, with room for numbers below `capacity` set aside (not touched before it is
    /// used).
    pub fn new(capacity: usize) -> Order<LISTS> {
        let empty = Ends { first: NONE, last: NONE };
        Order { links: Vec::with_capacity(capacity), lists: [empty; LISTS], len: 0 }
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
        let last = core::mem::replace(&mut ends.last, number);
        if last == NONE {
            ends.first = number;
        } else {
            self.links[last as usize].next = number;
        }
        self.links[at] = Link { previous: last, next: NONE };
        self.len += 1;
    }

    /// Takes `number` out of the list that it is in, if it is in any.
    pub fn remove(&mut self, number: u32) {
        if !self.contains(number) {
            return;
        }
        let gone = Link { previous: NONE, next: OUT };
        let Link { previous, next } = core::mem::replace(&mut self.links[number as usize], gone);
        match self.links.get_mut(previous as usize) {
            Some(link) => link.next = next,
            None => self.ends(|ends| ends.first == number).first = next,
        }
        match self.links.get_mut(next as usize) {
            Some(link) => link.previous = previous,
            None => self.ends(|ends| ends.last == number).last = previous,
        }
        self.len -= 1;
    }

    /// Finds the list of which a number is an end.
    ///
    /// # Panics
    /// If no list has such an end.
    fn ends(&mut self, is_it: impl Fn(&Ends) -> bool) -> &mut Ends {
        self.lists.iter_mut().find(|ends| is_it(ends)).expect("an end is some list's")
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

    /// How many numbers there are in all lists together.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether all lists are empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The numbers of `list` from the first to the last. For checks.
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
                    model.iter_mut().for_each(|queue| queue.retain(|other| *other != number));
                    order.remove(number);
                } else if below(3) > 0 {
                    model[list].push_back(number);
                    order.push(list, number);
                } else {
                    order.remove(number);
                }
                for (list, queue) in model.iter().enumerate() {
                    assert_eq!(order.first(list), queue.front().copied());
                    assert!(order.iter(list).eq(queue.iter().copied()));
                }
                assert_eq!(order.len(), model.iter().map(VecDeque::len).sum::<usize>());
                assert_eq!(order.is_empty(), model.iter().all(VecDeque::is_empty));
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
