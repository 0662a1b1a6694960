//! The monotonic clock as a plain number, since that is what is stored for each message, and a
//! timer that a poll can wait for.

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Nanoseconds since the machine was started; the same clock in every process.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A timer that wakes a poll; a poll's own patience is only as fine as a millisecond.
pub(crate) struct Ticker {
    timer: OwnedFd,
}

impl Ticker {
    /// One that `poll` tells of as `token`, and that does not tick yet.
    pub(crate) fn new(poll: &Poll, token: Token) -> Result<Ticker, String> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)
            .map_err(|error| format!("timerfd: {error}"))?;
        poll.registry()
            .register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)
            .map_err(|error| error.to_string())?;
        Ok(Ticker { timer })
    }

    /// Ticks at once and then each `interval_ns`; never if that is 0.
    pub(crate) fn set(&self, interval_ns: u64) -> Result<(), String> {
        let spec = |ns: u64| Timespec {
            tv_sec: (ns / 1_000_000_000) as i64,
            tv_nsec: (ns % 1_000_000_000) as i64,
        };
        let times =
            Itimerspec { it_interval: spec(interval_ns), it_value: spec(interval_ns.min(1)) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &times)
            .map(|_| ())
            .map_err(|error| format!("timerfd: {error}"))
    }

    /// Takes note of a tick, so that the next one wakes the poll again.
    pub(crate) fn take(&self) {
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
    }
}
