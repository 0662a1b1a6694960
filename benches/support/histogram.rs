//! Durations in fixed space: 128 steps for each power of two, so a value is known to 0.8 %.

/// Steps for each power of two.
const STEPS: u64 = 128;
const STEPS_BITS: u32 = STEPS.trailing_zeros();
/// Below [`STEPS`] each value has a place of its own; above, each of the 57 powers of two has
/// [`STEPS`] places.
const PLACES: usize = (64 - STEPS_BITS as usize + 1) * STEPS as usize;

/// How often each duration was seen.
pub(crate) struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    max: u64,
}

impl Histogram {
    /// An empty one: 58 KiB, and never more.
    pub(crate) fn new() -> Histogram {
        Histogram { counts: vec![0; PLACES].into(), total: 0, max: 0 }
    }

    /// Counts one duration. Does not allocate.
    pub(crate) fn record(&mut self, value_ns: u64) {
        self.counts[place_of(value_ns)] += 1;
        self.total += 1;
        self.max = self.max.max(value_ns);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
        self.max = 0;
    }

    /// The largest one, exactly.
    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// How many were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The duration that `share` (0 to 1) of all do not exceed; 0 if there are none. It is the
    /// upper end of its place, so it errs by at most 0.8 %, and never to our advantage.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let wanted = (share * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return end_of(place).min(self.max);
            }
        }
        0
    }
}

fn place_of(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = value.ilog2() - STEPS_BITS;
    (u64::from(shift + 1) * STEPS + ((value >> shift) - STEPS)) as usize
}

/// The largest value that has its place here.
fn end_of(place: usize) -> u64 {
    let place = place as u64;
    if place < STEPS {
        return place;
    }
    let shift = place / STEPS - 1;
    ((place % STEPS + STEPS + 1) << shift).wrapping_sub(1)
}

/// How long somebody waited, as a line of a table: quantiles, the longest, and of how many.
pub(crate) fn quantiles(waited: &Histogram) -> String {
    let ms = |ns: u64| ns as f64 / 1e6;
    format!(
        "p50 {:>8.3}  p99 {:>8.3}  p99.9 {:>8.3}  longest {:>8.3} ms  of {}",
        ms(waited.quantile(0.5)),
        ms(waited.quantile(0.99)),
        ms(waited.quantile(0.999)),
        ms(waited.max()),
        waited.total()
    )
}
