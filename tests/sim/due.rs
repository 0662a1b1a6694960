//! When what the server has promised is due at the latest, and by how much it may be late: all of
//! the slack in the simulation's sense of time, with the reasons of its size.
//!
//! What is due begins to count at the last of several moments: when a byte was read, when somebody
//! else had a turn, when the machine woke up. It must have happened a while after that, not by the
//! world's time but by *served* time (`World::served_ms`), which is some turns behind it, or where
//! it was when the machine went to sleep: a turn serves 64 deadlines, and the others a turn later.
//!
//! Slack only ever forgives: a server that forgets somebody is found a little later than it might
//! be. It must be so much less than the server's own limits that being forgotten differs from being
//! late.

use elbow::limits;

/// By how much deadlines are late however near they were: those of the server's wheel are rounded
/// up to ticks of 16 ms, twice by up to two ticks if they were put off in between, and a turn, in
/// which nothing is looked at, takes 20 ms.
pub(crate) const TICKS_MS: u64 = 100;

/// How long what was said may wait at most, once nobody else has a turn before it: a room may wait
/// for its readers twice meanwhile, and then some turns go by.
pub(crate) const WAIT_MS: u64 = 2 * limits::GRACE_LIMIT.as_millis() + 500;

/// How long somebody may have something to say in the calm after it was last read or written to:
/// longer than [`WAIT_MS`] and the time that a piece of it is under way.
pub(crate) const SENDING_MS: u64 = 3000;

/// How long after the machine has woken only those deadlines count as served that were before it
/// slept. The wheel first empties the slots of the sleep, and what is set meanwhile waits beside
/// them: four ticks.
pub(crate) const WAKING_MS: u64 = 64;

/// How much longer than its deadlines let anybody stay a farewell may take: a hundred minutes, far
/// more than the slowest way needs. Who is there after that was forgotten.
pub(crate) const FAREWELL_MS: u64 = 6_000_000;

/// Turns that the calm, or a farewell, may take. A server that takes more never comes to rest.
pub(crate) const RESTLESS_TURNS_MAX: u64 = 300_000;

/// Packets of one connection that are taken in each turn at least.
const PACKETS: u64 = 32;

/// How long after something a deadline is served that was set `limit_ms` ahead of it. The wheel
/// fires late by up to a thirtieth of that. A deadline that was put off fires at its old place and
/// goes back in, so two of these may add up; an eighth is twice as much.
pub(crate) fn late(limit_ms: u64) -> u64 {
    limit_ms * 9 / 8 + TICKS_MS
}

/// How long what stands behind a body of the smallest packets may wait: they are taken in over many
/// turns.
pub(crate) fn wait_behind_packets_ms(body_bytes_max: u64, turn_ms_max: u64) -> u64 {
    let packets_max = body_bytes_max / 2;
    WAIT_MS + packets_max / PACKETS * turn_ms_max
}

/// How often a server may be woken for nothing in four ping intervals, if so many connections and
/// sessions do nothing. A deadline that was put off fires at its old place and goes back in: twice
/// in each interval, once behind what was heard and once behind the ping.
pub(crate) fn wakeups_max(idle: u64) -> u64 {
    idle * 8 + 16
}

/// How often a server may be woken to see whether all are gone whom somebody wants to be
/// disconnected: 20 times a second, until they are cut and one second more.
pub(crate) const LOOKS_OF_DISCONNECT: u64 = (limits::CLOSE_LIMIT.as_millis() + 1000) / 50 + 1;

/// When something must have happened at the latest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// The last of the moments that put it off.
    since_ms: u64,
    /// How long after that it must have happened.
    within_ms: u64,
}

impl Due {
    /// Something that must happen `within_ms` after the last of these moments, of which there is at
    /// least one.
    pub(crate) fn after<const N: usize>(moments_ms: [u64; N], within_ms: u64) -> Due {
        let since_ms = moments_ms.into_iter().max().expect("there is one");
        Due { since_ms, within_ms }
    }

    /// What is due no earlier than so long after this moment, too.
    pub(crate) fn and_after(self, moment_ms: u64) -> Due {
        Due { since_ms: self.since_ms.max(moment_ms), ..self }
    }

    /// Whether it must have happened by now, if the server has served all deadlines up to
    /// `served_ms`.
    pub(crate) fn is_over(self, served_ms: u64) -> bool {
        served_ms >= self.since_ms + self.within_ms
    }
}
