//! How much of what is kept each client address has been sent lately: at most a ring a second, so
//! that nobody comes back over and over to have the server send the past.
//!
//! Each bucket is a moment: until then everything has been paid for that was sent again (the
//! generic cell rate algorithm). A bucket belongs to the addresses whose keyed hashes fall into it,
//! so strangers may share one, and cannot choose with whom.
//!
//! The surprise: whoever asks for little may ask often. What counts is bytes, not requests.

use super::Holder;
use crate::limits::{Limits, REPLAY_BUCKETS};
use crate::time::{Duration, Instant};

/// Milliseconds in which an address may be sent one ring.
const RING_MS: u64 = 1000;

/// What addresses have been sent again.
#[derive(Debug)]
pub struct Replays {
    /// Until when the replays of each bucket have been paid for; empty if nothing is kept.
    paid_until: Box<[Instant]>,
    ring_bytes: u64,
}

impl Replays {
    /// Buckets from which nothing has been taken.
    pub fn new(limits: &Limits) -> Replays {
        let buckets = if limits.history.is_some() { REPLAY_BUCKETS } else { 0 };
        Replays {
            paid_until: vec![Instant::from_millis(0); buckets].into(),
            ring_bytes: limits.feed_bytes,
        }
    }

    /// Whether `holder` may be sent so many bytes again at `now`. A proxy always may, since it
    /// stands for many.
    pub fn may_take(&self, now: Instant, holder: Holder, bytes: u64) -> bool {
        self.after_taking(now, holder, bytes).is_ok()
    }

    /// Counts bytes that `holder` is sent again. `false`, with nothing counted, if that is more
    /// than it may have now.
    #[must_use]
    pub(super) fn take(&mut self, now: Instant, holder: Holder, bytes: u64) -> bool {
        let Ok(taken) = self.after_taking(now, holder, bytes) else { return false };
        if let Some((bucket, until)) = taken {
            self.paid_until[bucket] = until;
        }
        true
    }

    /// What a bucket holds after so many bytes have been taken; `None` if nothing is counted.
    ///
    /// # Errors
    /// Refused: it would be paid for too late.
    fn after_taking(
        &self,
        now: Instant,
        holder: Holder,
        bytes: u64,
    ) -> Result<Option<(usize, Instant)>, ()> {
        if bytes == 0 || holder.is_proxy || self.paid_until.is_empty() {
            return Ok(None);
        }
        let bucket = holder.address.bucket(self.paid_until.len());
        let cost = Duration::from_millis((bytes * RING_MS).div_ceil(self.ring_bytes).min(RING_MS));
        let until = self.paid_until[bucket].max(now).plus(cost);
        let latest = now.plus(Duration::from_millis(RING_MS));
        if until <= latest { Ok(Some((bucket, until))) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        DEFAULT_CHANNEL, HashKey, Hub, Joined, Message, Newcomer, Recovery, Shares, Since, Wish,
    };
    use super::*;
    use crate::feed::Mark;
    use crate::id::{Dialect, Member, Reader};
    use crate::limits::History;
    use crate::pool::Pool;

    #[test]
    fn an_address_is_sent_a_ring_a_second_and_a_proxy_any_number() {
        let history = Some(History { messages_max: 8, age: Duration::from_secs(1) });
        let limits = Limits { history, ..super::super::tests::limits() };
        let shares = Shares::new(&limits, HashKey([7; 16]));
        let address = shares.address([192, 0, 2, 1].into());
        let (client, proxy) =
            (Holder { address, is_proxy: false }, Holder { address, is_proxy: true });
        let other = Holder { address: shares.address([192, 0, 2, 2].into()), is_proxy: false };
        let mut replays = Replays::new(&limits);
        let ring = limits.feed_bytes;
        let at = Instant::from_millis;
        assert!(replays.take(at(5_000), client, ring / 2));
        assert!(replays.take(at(5_000), client, ring / 2));
        assert!(!replays.take(at(5_000), client, 1) && !replays.may_take(at(5_000), client, 1));
        assert!(replays.take(at(5_000), client, 0), "nothing costs nothing");
        assert!(replays.take(at(5_000), other, ring) && replays.take(at(5_000), proxy, ring));
        assert!(replays.take(at(5_000), proxy, ring));
        assert!(!replays.take(at(5_499), client, ring / 2));
        assert!(replays.take(at(5_500), client, ring / 2));
        assert!(replays.take(at(6_500), client, ring), "what was not used is not saved up");
        assert!(!replays.may_take(at(7_000), client, ring));
        assert!(Replays::new(&super::super::tests::limits()).take(at(0), client, u64::MAX));
    }

    #[test]
    fn a_ring_is_filled_for_its_first_reader_if_the_address_has_not_had_its_share() {
        let history = Some(History { messages_max: 100, age: Duration::from_secs(60) });
        let limits = Limits { history, ..super::super::tests::limits() };
        let mut pool = Pool::new(1 << 20);
        let mut hub = Hub::new(&mut pool, &limits, [7, 8, 9].map(|byte| HashKey([byte; 16])));
        let holder =
            Holder { address: hub.shares().address([192, 0, 2, 1].into()), is_proxy: false };
        let now = Instant::from_millis(10_000);
        let come = |hub: &mut Hub, pool: &mut Pool, dialect, since| {
            let member = Member::new(Reader::Conn(0));
            let wish = Wish { since: Some(since), last: 0 };
            let newcomer = Newcomer { member, dialect, holder, wish };
            hub.join(pool, now, DEFAULT_CHANNEL, newcomer, |_| {}).expect("there is room")
        };
        let first = come(&mut hub, &mut pool, Dialect::Plain, Since::Unknown);
        assert_eq!((first.filled_bytes, first.start.recovery), (0, Some(Recovery::Unknown)));
        let begin = Since::Position(first.start.position);
        for _ in 0..4 {
            hub.publish(&mut pool, now, first.channel, &Message::Text(&[b'x'; 200])).expect("fits");
        }
        let newest = Since::Position(hub.channel(first.channel).position());
        // The log has 13 bytes with each message, the record an event's frame around it.
        let filled = come(&mut hub, &mut pool, Dialect::SocketIo4, begin);
        assert_eq!((filled.start.recovery, filled.start.missed), (Some(Recovery::Whole), 4));
        assert_eq!(filled.filled_bytes, 4 * (213 + 4 + 2 + 16 + 202 + 1));
        let again = come(&mut hub, &mut pool, Dialect::SocketIo4, begin);
        assert_eq!((again.filled_bytes, again.start.recovery), (0, Some(Recovery::Gone)));
        assert_eq!((again.start.missed, again.start.mark), (0, filled_head(&hub, &again)));
        // Beyond its share the address has no ring filled. Whoever missed nothing is told so.
        let unfilled = come(&mut hub, &mut pool, Dialect::SocketIo3, begin);
        assert_eq!((unfilled.filled_bytes, unfilled.start.recovery), (0, Some(Recovery::Gone)));
        let quiet = come(&mut hub, &mut pool, Dialect::ElbowV1, newest);
        assert_eq!((quiet.filled_bytes, quiet.start.recovery), (0, Some(Recovery::Whole)));
        assert_eq!(quiet.start.missed, 0);
        hub.check();
    }

    fn filled_head(hub: &Hub, joined: &Joined) -> Mark {
        hub.feed(joined.channel, Dialect::SocketIo4).mark()
    }
}
