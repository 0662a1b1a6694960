//! Instants and lengths of time in milliseconds, as plain numbers of our own.
//!
//! The core never reads a clock: the shell reads it once a turn and hands it down as [`Now`].
//! `std::time::Instant` cannot be made from a number, so a simulation could not invent one; the
//! types here can be. Arithmetic saturates: a deadline beyond the end of time is simply never
//! reached.

use core::num::NonZeroU32;

/// A length of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Duration(u64);

impl Duration {
    /// The length of zero milliseconds.
    pub const ZERO: Duration = Duration(0);

    /// A length of `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Duration {
        Duration(ms)
    }

    /// A length of `s` seconds, saturating at `u64::MAX` milliseconds.
    pub const fn from_secs(s: u64) -> Duration {
        Duration(s.saturating_mul(1000))
    }

    /// The length in whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The sum of both lengths, saturating.
    pub const fn plus(self, other: Duration) -> Duration {
        Duration(self.0.saturating_add(other.0))
    }

    /// Half of this length, rounded down to a millisecond.
    pub const fn half(self) -> Duration {
        Duration(self.0 / 2)
    }
}

impl std::fmt::Display for Duration {
    /// Written like the value of a flag, in the largest unit that divides it: `250ms`, `25s`, `2m`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => write!(f, "0s"),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

/// A point in time: milliseconds of a clock that never goes back, since an arbitrary beginning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Instant(u64);

impl Instant {
    /// An instant that is never reached.
    pub const NEVER: Instant = Instant(u64::MAX);

    /// The instant `ms` milliseconds after the clock's beginning.
    pub const fn from_millis(ms: u64) -> Instant {
        Instant(ms)
    }

    /// Milliseconds since the clock's beginning.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The instant that lies `length` after this one, saturating at [`Instant::NEVER`].
    pub const fn plus(self, length: Duration) -> Instant {
        Instant(self.0.saturating_add(length.0))
    }

    /// The time from `earlier` to this instant; zero if `earlier` is not earlier.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

/// An instant in four bytes, an `Option` included: its milliseconds modulo 2^32, with 1 for 0. So
/// it can be told only from an instant that is near, by less than 24 days.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment(NonZeroU32);

impl Moment {
    /// Forgets all of an instant but its lower half.
    pub const fn of(instant: Instant) -> Moment {
        match NonZeroU32::new(instant.0 as u32) {
            Some(ms) => Moment(ms),
            None => Moment(NonZeroU32::MIN),
        }
    }

    /// The instant itself, which is within 24 days of `other`. Saturates at the clock's beginning.
    pub const fn near(self, other: Instant) -> Instant {
        // The difference modulo 2^32, as the nearer of the two numbers that it may be.
        let distance = self.0.get().wrapping_sub(other.0 as u32) as i32;
        Instant(other.0.saturating_add_signed(distance as i64))
    }
}

/// The time by both clocks, read once at the beginning of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// The clock for deadlines; it never goes back.
    pub mono: Instant,
    /// Seconds since 1970, for the `Date` field and for when a token holds; it may jump either way.
    pub unix_s: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_shown_as_the_flags_are_written() {
        let shown = |ms| Duration::from_millis(ms).to_string();
        assert_eq!(shown(0), "0s");
        assert_eq!(shown(250), "250ms");
        assert_eq!(shown(25_000), "25s");
        assert_eq!(shown(120_000), "2m");
        assert_eq!(shown(61_500), "61500ms");
    }

    #[test]
    fn a_moment_is_told_from_an_instant_that_is_near() {
        for base in [1 << 31, (1 << 32) - 5, 1 << 32, (7 << 32) + 3] {
            for distance in [-2_000_000_000_i64, -60_000, -1, 0, 1, 60_000, 2_000_000_000] {
                let instant = Instant::from_millis(base + 3_000_000_000);
                let near = Instant(instant.0.saturating_add_signed(distance));
                assert_eq!(Moment::of(instant).near(near), instant);
            }
        }
        assert_eq!(Moment::of(Instant(7)).near(Instant(5)), Instant(7));
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Instant::NEVER.plus(Duration::from_secs(1)), Instant::NEVER);
        assert_eq!(Instant::from_millis(5).since(Instant::from_millis(9)), Duration::ZERO);
    }
}
