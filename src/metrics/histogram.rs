//! A histogram of times in microseconds: fixed memory, no allocation, a few instructions per time.
//!
//! Each doubling has four classes, so a quantile is known to within a quarter of its value; the
//! range is from 1 µs to beyond an hour. Reading the clock is the shell's.

/// The logarithm to base 2 of the number of classes to a doubling.
const FINE_BITS: u32 = 2;
/// The number of classes. Times from 2^32 µs (71 minutes) on share the last.
const CLASSES: usize = (32 << FINE_BITS) as usize;

/// How often times of each class were seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histogram {
    counts: [u64; CLASSES],
    max_us: u64,
    sum_us: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: [0; CLASSES], max_us: 0, sum_us: 0 }
    }
}

impl Histogram {
    /// Counts a time of `us` microseconds.
    pub fn record(&mut self, us: u64) {
        self.counts[class_of(us)] += 1;
        self.max_us = self.max_us.max(us);
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// All recorded times together, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// How many recorded times were shorter than `2^exponent` microseconds, rounded down to whole
    /// ones: exactly, since a class ends there. `exponent` is at most 31.
    pub fn count_below(&self, exponent: u32) -> u64 {
        let end = if exponent < FINE_BITS { 1 << exponent } else { class_at(exponent) };
        self.counts[..end.min(CLASSES)].iter().sum()
    }

    /// How often times were seen in each class, with the longest time of the class in
    /// microseconds; classes rise by a quarter of their value at most.
    pub fn classes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counts.iter().enumerate().map(|(class, count)| (end_of(class), *count))
    }

    /// What was recorded since `before`, an earlier state of this histogram. The longest time of
    /// that is not known, and is given as the longest of all.
    pub fn since(&self, before: &Histogram) -> Histogram {
        let mut since = self.clone();
        for (count, earlier) in since.counts.iter_mut().zip(before.counts) {
            *count -= earlier;
        }
        since.sum_us -= before.sum_us;
        since
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The longest time that was recorded, exactly, in microseconds; 0 if nothing was recorded.
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// The time in microseconds that `parts` thousandths of the recorded times did not exceed,
    /// rounded up to the end of its class. 0 if nothing was recorded.
    ///
    /// # Panics
    /// If `parts` is more than a thousand.
    pub fn quantile_us(&self, parts: u64) -> u64 {
        assert!(parts <= 1000, "a part of a thousand");
        let wanted = u128::from(self.count()) * u128::from(parts);
        let mut seen = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count) * 1000;
            if *count > 0 && seen >= wanted {
                return end_of(class).min(self.max_us);
            }
        }
        self.max_us
    }
}

/// The class of a time in microseconds. Up to 3 µs each has its own; above, the highest set bit and
/// the two bits behind it decide.
fn class_of(us: u64) -> usize {
    let us = us.min(u64::from(u32::MAX)) as u32;
    if us < 1 << FINE_BITS {
        return us as usize;
    }
    let doubling = us.ilog2() - FINE_BITS;
    let fine = (us >> doubling) as usize & ((1 << FINE_BITS) - 1);
    ((doubling as usize + 1) << FINE_BITS) + fine
}

/// The class that begins at `2^exponent` microseconds, `exponent` being at least [`FINE_BITS`].
fn class_at(exponent: u32) -> usize {
    ((exponent - FINE_BITS + 1) << FINE_BITS) as usize
}

/// The longest time of a class, in microseconds.
fn end_of(class: usize) -> u64 {
    if class < 1 << FINE_BITS {
        return class as u64;
    }
    let doubling = (class >> FINE_BITS) - 1;
    let fine = (class & ((1 << FINE_BITS) - 1)) as u64;
    (((1 << FINE_BITS) + fine + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_ends_where_the_next_begins() {
        for us in (0..100_000).chain([1 << 20, (1 << 31) + 7, u64::from(u32::MAX)]) {
            let class = class_of(us);
            assert!(us <= end_of(class) && class < CLASSES, "{us}");
            assert!(class == 0 || end_of(class - 1) < us, "{us}");
            assert!(end_of(class) <= us + us / 4, "{us}: known to within a quarter");
        }
        assert_eq!(class_of(u64::MAX), class_of(u64::from(u32::MAX)));
    }

    #[test]
    fn what_is_shorter_than_a_power_of_two_is_known_exactly() {
        let mut histogram = Histogram::default();
        (0..5000).for_each(|us| histogram.record(us));
        for exponent in 0..13 {
            assert_eq!(histogram.count_below(exponent), 1 << exponent);
        }
        assert_eq!((histogram.count_below(13), histogram.count_below(40)), (5000, 5000));
        assert_eq!(histogram.sum_us(), 5000 * 4999 / 2);
        let before = histogram.clone();
        [7, 8, 9, u64::MAX].into_iter().for_each(|us| histogram.record(us));
        let since = histogram.since(&before);
        assert_eq!((since.count(), since.count_below(3), since.count_below(4)), (4, 1, 3));
        assert_eq!(since.count_below(31), 3, "what is longer than all classes is in the last");
        assert_eq!(since.classes().filter(|(_, count)| *count > 0).count(), 3);
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile_us(990), histogram.max_us()), (0, 0));
        for us in 1..=1000 {
            histogram.record(us);
        }
        assert_eq!(histogram.count(), 1000);
        assert_eq!(histogram.quantile_us(500), 511);
        assert_eq!(histogram.quantile_us(1), 1);
        assert_eq!(histogram.quantile_us(1000), 1000);
        assert_eq!(histogram.max_us(), 1000);
    }
}
