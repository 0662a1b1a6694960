//! Limits for public places: how much anybody may say, how long anybody may stay, how many come in.
//!
//! Who says more than `--message-rate` is heard no faster than that, which is held against a bucket
//! for each speaker: a burst is in it, it fills at the rate, and each message takes one out. What
//! else counts (pings, pongs, joins, packets that nobody hears of) only leaves less in it.
//!
//! What a speaker has to say may then wait, but for no longer than all that it ever said takes at
//! the rate, less a burst. So whoever keeps within a burst waits as little as without a limit.

use std::collections::BTreeMap;

use elbow::limits;
use elbow::limits::Limits;

use super::World;
use crate::client::Client;
use crate::climate::Climate;
use crate::due::{Due, TICKS_MS, late};
use crate::turns::Speaker;

/// How much everybody may still be heard to say, in thousandths of a message.
#[derive(Debug, Default)]
pub(crate) struct Buckets(BTreeMap<Speaker, (u64, u64)>);

impl Buckets {
    /// Somebody was heard, at `now_ms`. What has its place elsewhere is heard of when it comes
    /// back, however it was said.
    pub(crate) fn spoke(&mut self, now_ms: u64, climate: &Climate, speaker: Speaker) {
        let rate = climate.settings.limits.message_rate;
        let Some(rate) = rate.filter(|_| climate.order_ms_max.is_none()) else { return };
        let full = u64::from(rate.burst()) * 1000;
        let (left, at_ms) = self.0.entry(speaker).or_insert((full, now_ms));
        let filled = *left + (now_ms - *at_ms) * u64::from(rate.per_second());
        (*left, *at_ms) = (filled.min(full), now_ms);
        assert!(*left >= 1000, "{speaker:?} is heard too often: {left} of 1000");
        *left -= 1000;
    }
}

/// Whether somebody who has been there for `age_ms` may have stayed for long enough.
pub(crate) fn has_stayed(limits: &Limits, age_ms: u64) -> bool {
    limits.lifetime.is_some_and(|length| age_ms >= length.as_millis() * 9 / 10)
}

impl World {
    /// How long what a client, or its person by all connections, has ever said may have waited for
    /// its rate.
    pub(super) fn held_ms(&self, number: usize) -> u64 {
        let client = &self.clients[number];
        match client.person {
            Some(person) => self.person_held_ms(person),
            None => self.wait_ms(client.frames),
        }
    }

    /// How long what a person has ever said may have waited for its rate.
    pub(super) fn person_held_ms(&self, person: usize) -> u64 {
        let connections = self.people[person].connections.iter();
        self.wait_ms(connections.map(|connection| self.clients[*connection].frames).sum())
    }

    /// Whether what a person has said lately may still wait for its rate: of what came long ago
    /// everything has had its turn by then, but pings go on.
    pub(super) fn is_paced(&self, person: usize) -> bool {
        let Some(rate) = self.climate.settings.limits.message_rate else { return false };
        let connections = self.people[person].connections.iter();
        let read_at_ms = connections
            .map(|connection| self.clients[*connection].link.state.borrow().read_at_ms)
            .max();
        let wait_ms = self.wait_ms(u64::from(rate.burst()) + 1);
        read_at_ms.is_some_and(|at_ms| !Due::after([at_ms], wait_ms).is_over(self.now_ms()))
    }

    fn wait_ms(&self, frames: u64) -> u64 {
        self.climate.settings.limits.message_rate.map_or(0, |rate| {
            let waits = frames.saturating_sub(u64::from(rate.burst()));
            waits * (1000 / u64::from(rate.per_second()) + TICKS_MS)
        })
    }

    /// How many frames of all may have woken the server by themselves.
    pub(super) fn held_frames(&self) -> u64 {
        match self.climate.settings.limits.message_rate {
            Some(_) => self.clients.iter().map(|client| client.frames).sum(),
            None => 0,
        }
    }

    /// When nobody who is there since `since_ms` may be there any more, if `told_ms` is what
    /// telling the end may take.
    fn stays_until(&self, since_ms: u64, told_ms: u64) -> Option<Due> {
        let length_ms = self.climate.settings.limits.lifetime?.as_millis();
        // What is decided late, because the machine has slept, is told as much later.
        let decided_ms = (since_ms + length_ms * 11 / 10).max(self.woke_ms);
        Some(Due::after([decided_ms], TICKS_MS + told_ms))
    }

    /// A plain WebSocket does not stay for longer than it may: its end is decided then.
    pub(super) fn judge_stay(&self, number: usize, served_ms: u64) {
        let Client { session, link, .. } = &self.clients[number];
        let Some(session) = session.as_ref().filter(|session| !session.is_closed) else { return };
        let is_told = session.close_code.is_some();
        let can_be_told = !self.pending && !link.state.borrow().blocked;
        let told_ms = if can_be_told { 0 } else { late(limits::CLOSE_LIMIT.as_millis()) };
        let due = self.stays_until(session.opened_at_ms, told_ms);
        let is_over = due.is_some_and(|due| due.is_over(served_ms));
        assert!(is_told || !is_over, "#{number} stays for too long: {due:?}");
    }

    /// A session does not stay for longer than it may: it has a while for the poll that is told, or
    /// for its close frame, or for one behind the other.
    pub(super) fn judge_stay_of_session(&self, number: usize, opened_ms: u64, served_ms: u64) {
        let told_ms = late(limits::POLL_GAP_LIMIT.as_millis());
        let told_ms = told_ms + late(limits::CLOSE_LIMIT.as_millis());
        let due = self.stays_until(opened_ms, told_ms);
        assert!(!due.is_some_and(|due| due.is_over(served_ms)), "@{number} stays: {due:?}");
    }

    /// When the next client of a listener may be accepted, as the shell has it.
    pub(super) fn accepts_at_ms(&self) -> u64 {
        let now = elbow::time::Instant::from_millis(self.now_ms());
        let rate = self.climate.accept_rate;
        rate.map_or(0, |rate| self.accepted.next(now, rate).as_millis())
    }
}
