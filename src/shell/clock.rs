//! The system's two clocks, read once a turn.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::time::{self, Now};

/// The monotonic clock, counted from the start of the program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[expect(clippy::disallowed_methods, reason = "this file reads the clock for everybody")]
    pub(super) fn start() -> Clock {
        Clock { started: Instant::now() }
    }

    /// Microseconds since the clock's beginning, for measuring what a turn takes.
    pub(super) fn elapsed_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The time by the monotonic clock alone, which [`Clock::elapsed_us`] has read as `elapsed_us`.
    pub(super) fn mono(elapsed_us: u64) -> time::Instant {
        time::Instant::from_millis(elapsed_us / 1000)
    }

    /// The time by both clocks, of which [`Clock::elapsed_us`] has read the one as `elapsed_us`.
    #[expect(clippy::disallowed_methods, reason = "this file reads the clock for everybody")]
    pub(super) fn now(elapsed_us: u64) -> Now {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            mono: Clock::mono(elapsed_us),
            // A clock set before 1970 is wrong, and so is its date; nothing else depends on it.
            unix_s: since_1970.map_or(0, |length| length.as_secs()),
        }
    }
}

/// Microseconds of `CLOCK_MONOTONIC`, which other processes read as well.
pub(super) fn monotonic_us() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let us = |count: i64, each: u64| u64::try_from(count).unwrap_or(0).saturating_mul(each);
    us(time.tv_sec, 1_000_000).saturating_add(us(time.tv_nsec, 1) / 1000)
}
