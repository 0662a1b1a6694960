//! A visa: until when somebody may stay, and who that is, as a token has said when it was let in.
//!
//! Where somebody may be, and whether it may speak there, is a matter of its memberships.
//!
//! The surprise: a visa has 12 bytes, since each idle connection has one. So time is counted in
//! ticks of a quarter of a second, rounded up: nobody is sent away too early.

use crate::id::Subject;
use crate::time::Instant;

/// Milliseconds of a tick. There are ticks for 34 years.
const TICK_MS: u64 = 256;

/// Until when somebody may stay, and who that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Visa {
    /// The tick at which the stay is over; `u32::MAX` for never.
    until: u32,
    /// The two halves of the number of the subject; both zero if nobody is known.
    subject: [u32; 2],
}

// An idle WebSocket has one.
const _: () = assert!(size_of::<Visa>() == 12 && align_of::<Visa>() == 4);

impl Visa {
    /// The visa of whoever has shown no token.
    pub const UNLIMITED: Visa = Visa { until: u32::MAX, subject: [0; 2] };

    /// The visa of `subject`, if that is known, until an instant or a little later.
    pub fn new(until: Instant, subject: Option<Subject>) -> Visa {
        let ticks = until.as_millis().div_ceil(TICK_MS);
        let bits = subject.map_or(0, Subject::to_bits);
        Visa {
            until: u32::try_from(ticks).unwrap_or(u32::MAX),
            // The two halves.
            subject: [bits as u32, (bits >> 32) as u32],
        }
    }

    /// When the stay is over.
    pub fn until(self) -> Instant {
        match self.until {
            u32::MAX => Instant::NEVER,
            ticks => Instant::from_millis(u64::from(ticks) * TICK_MS),
        }
    }

    /// Who it is; `None` if that is not known.
    pub fn subject(self) -> Option<Subject> {
        let [low, high] = self.subject;
        Subject::from_bits(u64::from(high) << 32 | u64::from(low))
    }

    /// A visa of the same person that ends with whichever of the two ends first.
    pub fn limited_by(self, other: Visa) -> Visa {
        Visa { until: self.until.min(other.until), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stay_ends_no_earlier_and_hardly_later() {
        for ms in [0, 1, 255, 256, 257, 1_000_000_007] {
            let until = Visa::new(Instant::from_millis(ms), None).until().as_millis();
            assert!((ms..ms + TICK_MS).contains(&until), "{ms}: {until}");
        }
        let far = Instant::from_millis(u64::MAX - 1);
        assert_eq!(Visa::new(far, None).until(), Instant::NEVER);
        assert_eq!(Visa::UNLIMITED.until(), Instant::NEVER);
        assert_eq!(Visa::UNLIMITED.subject(), None);
    }

    #[test]
    fn a_subject_comes_back_and_the_earlier_end_counts() {
        let subject = Subject::from_bits(0x0123_4567_89ab_cdef);
        let long = Visa::new(Instant::from_millis(5120), subject);
        let short = Visa::new(Instant::from_millis(2560), None);
        assert_eq!(long.subject(), subject);
        let both = long.limited_by(short);
        assert_eq!((both.until(), both.subject()), (short.until(), subject));
        assert_eq!(short.limited_by(long), short);
    }
}
