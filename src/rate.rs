//! How often something may be done: so many times a second, and some more of them at once.
//!
//! Whoever does it has an account of four bytes, which is a moment: until then everything that was
//! done has been paid for (the generic cell rate algorithm). Doing it moves the moment on by what
//! once costs; it may be done as long as the moment lies less than a burst ahead.
//!
//! The surprise: the moment counts modulo 2^32, which goes round in four and a half hours. So an
//! account has to be looked at within three hours and a half, or an old moment seems to lie ahead.
//! Whoever may be asked for less is asked by pings, which are at most two hours apart.

use crate::time::{Duration, Instant};

/// Parts of a millisecond in which accounts are kept.
const PARTS_PER_MS: u64 = 256;

/// The most that an account may be ahead, in parts; beyond that nothing more is added.
const AHEAD_MAX: u32 = 1 << 30;

/// So many times a second, and some at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    per_second: u32,
    burst: u32,
}

/// Until when what was done has been paid for, in parts of a millisecond modulo 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Paid(u32);

const _: () = {
    let dearest = Rate::MOST as u64 * 1000 * PARTS_PER_MS;
    assert!(dearest < AHEAD_MAX as u64 / 4, "a burst of the slowest rate is far from going round");
};

impl Rate {
    /// The most times a second, and the largest burst.
    pub const MOST: u32 = 1000;

    /// `per_second` times a second in the long run, and `burst` times at once.
    ///
    /// # Panics
    /// If either is 0 or above [`Rate::MOST`].
    pub const fn new(per_second: u32, burst: u32) -> Rate {
        assert!(per_second >= 1 && per_second <= Rate::MOST, "within the bounds of the option");
        assert!(burst >= 1 && burst <= Rate::MOST, "within the bounds of the option");
        Rate { per_second, burst }
    }

    /// How many times a second in the long run.
    pub const fn per_second(self) -> u32 {
        self.per_second
    }

    /// How many times at once.
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// How many times it may be done at `now`, at most a burst.
    pub fn left(self, now: Instant, paid: Paid) -> u32 {
        let room = self.burst * self.cost();
        room.saturating_sub(paid.ahead(now)) / self.cost()
    }

    /// When it may be done once more, `now` or later, to the millisecond.
    pub fn next(self, now: Instant, paid: Paid) -> Instant {
        if self.left(now, paid) > 0 { now } else { self.due(now, paid) }
    }

    /// When it may be, or could have been, done once more, whatever the time. `near` is any time
    /// within an hour of when the account was last changed.
    pub fn due(self, near: Instant, paid: Paid) -> Instant {
        let ahead = i64::from(paid.0.wrapping_sub(Paid::new(near).0).cast_signed());
        let excess = ahead - i64::from((self.burst - 1) * self.cost());
        let wait_ms = excess.div_euclid(PARTS_PER_MS as i64)
            + i64::from(excess.rem_euclid(PARTS_PER_MS as i64) > 0);
        Instant::from_millis(near.as_millis().saturating_add_signed(wait_ms))
    }

    /// Notes that it is done at `now`, whether it may be or not.
    pub fn take(self, now: Instant, paid: &mut Paid) {
        let ahead = (paid.ahead(now) + self.cost()).min(AHEAD_MAX - 1);
        *paid = Paid(Paid::new(now).0.wrapping_add(ahead));
    }

    /// Parts of a millisecond that once costs, rounded up: never more than the rate is done.
    fn cost(self) -> u32 {
        (1000 * PARTS_PER_MS as u32).div_ceil(self.per_second)
    }
}

/// An account of something that may not be done for any length of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    paid: Paid,
    changed_at: Instant,
}

/// After so long everything has been paid for, whatever the rate.
const PAID_AFTER: Duration = Duration::from_secs(2 * Rate::MOST as u64);

impl Account {
    /// The account of somebody who comes at `now` and has done nothing.
    pub fn new(now: Instant) -> Account {
        Account { paid: Paid::new(now), changed_at: now }
    }

    /// When it may be done once more at `rate`, `now` or later, to the millisecond.
    pub fn next(self, now: Instant, rate: Rate) -> Instant {
        rate.next(now, self.paid(now))
    }

    /// Notes that it is done at `now`.
    pub fn take(&mut self, now: Instant, rate: Rate) {
        let mut paid = self.paid(now);
        rate.take(now, &mut paid);
        *self = Account { paid, changed_at: now };
    }

    fn paid(self, now: Instant) -> Paid {
        if now.since(self.changed_at) > PAID_AFTER { Paid::new(now) } else { self.paid }
    }
}

impl Paid {
    /// The account of somebody who comes at `now` and has done nothing.
    pub fn new(now: Instant) -> Paid {
        // Modulo 2^32, as accounts are kept.
        Paid((now.as_millis().wrapping_mul(PARTS_PER_MS) & u64::from(u32::MAX)) as u32)
    }

    /// How far the moment lies ahead of `now`, in parts; 0 if it has passed.
    fn ahead(self, now: Instant) -> u32 {
        let ahead = self.0.wrapping_sub(Paid::new(now).0);
        if ahead < AHEAD_MAX { ahead } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    /// How often somebody who always wants to has done it by `end_ms`, asked every `step_ms`.
    fn done(rate: Rate, began_ms: u64, end_ms: u64, step_ms: usize) -> u64 {
        let (mut paid, mut count) = (Paid::new(at(began_ms)), 0);
        for ms in (began_ms..end_ms).step_by(step_ms) {
            while rate.left(at(ms), paid) > 0 {
                rate.take(at(ms), &mut paid);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_burst_at_once_and_then_the_rate() {
        for (per_second, burst) in [(1, 1), (1, 5), (3, 3), (7, 1), (50, 10), (1000, 1000)] {
            let rate = Rate::new(per_second, burst);
            for began_ms in [0, 77, 16_777_210, 1 << 40] {
                assert_eq!(done(rate, began_ms, began_ms + 1, 1), u64::from(burst));
                let ten = done(rate, began_ms, began_ms + 10_000, 1);
                let most = u64::from(per_second * 10 + burst);
                assert!(ten <= most && ten + 2 + most / 100 >= most, "{rate:?}: {ten} of {most}");
            }
        }
    }

    #[test]
    fn what_is_not_used_is_saved_up_to_a_burst() {
        let rate = Rate::new(2, 3);
        let mut paid = Paid::new(at(0));
        (0..3).for_each(|_| rate.take(at(0), &mut paid));
        assert_eq!((rate.left(at(0), paid), rate.left(at(499), paid)), (0, 0));
        assert_eq!(rate.next(at(0), paid), at(500));
        assert_eq!((rate.left(at(500), paid), rate.left(at(1000), paid)), (1, 2));
        assert_eq!((rate.left(at(1500), paid), rate.left(at(9_000_000), paid)), (3, 3));
        assert_eq!(rate.next(at(9_000_000), paid), at(9_000_000));
    }

    #[test]
    fn whoever_has_done_it_too_often_waits_for_each_time() {
        let rate = Rate::new(10, 1);
        let mut paid = Paid::new(at(1000));
        (0..4).for_each(|_| rate.take(at(1000), &mut paid));
        assert_eq!(rate.next(at(1000), paid), at(1400));
        for near_ms in [1000, 1001, 1399, 1400, 1401, 1500, 60_000] {
            assert_eq!(rate.due(at(near_ms), paid), at(1400), "{near_ms}");
        }
        (0..1_000_000).for_each(|_| rate.take(at(1000), &mut paid));
        assert_eq!(rate.left(at(1000), paid), 0, "it does not go round");
    }

    #[test]
    fn an_account_may_be_left_alone_for_as_long_as_it_likes() {
        let rate = Rate::new(1, 2);
        let mut account = Account::new(at(0));
        (0..2).for_each(|_| account.take(at(0), rate));
        assert_eq!(account.next(at(0), rate), at(1000));
        for minutes in 1..2000 {
            let now = at(minutes * 60_000);
            assert_eq!(account.next(now, rate), now, "{minutes}");
        }
        let night = at(4 * 3_600_000);
        (0..2).for_each(|_| account.take(night, rate));
        assert_eq!(account.next(night, rate), night.plus(Duration::from_secs(1)));
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_is_never_exceeded() {
        for per_second in 1..=Rate::MOST {
            let rate = Rate::new(per_second, 1);
            assert!(u64::from(rate.cost()) * u64::from(per_second) >= 1000 * PARTS_PER_MS);
        }
    }
}
