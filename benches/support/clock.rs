//! The monotonic clock as a plain number, since that is what is stored for each message.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine was started; the same clock in every process.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
