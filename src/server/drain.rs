//! Taking leave: connections are closed in small batches over the time that the operator gave, so
//! that their clients do not all come back to the next server at once.
//!
//! While draining, late requests are answered with `Connection: close`, upgrades and `/readyz` with
//! 503, `/healthz` with 200: to an NLB a failing health check means that it may reset what still
//! lives. At the end of the time everybody has been told; a little later whoever did not go is cut.

use super::{Event, Server, Socket};
use crate::id::SessionId;
use crate::limits;
use crate::outbound::CloseFrame;
use crate::reason::{CloseReason, Farewell};
use crate::time::{Duration, Instant, Now};

/// Time between two batches.
const STEP: Duration = Duration::from_millis(50);

/// A drain under way.
#[derive(Debug)]
pub(super) struct Drain {
    began: Instant,
    ends: Instant,
    /// Connections at the beginning.
    total: usize,
    /// Connections that have been told.
    told: usize,
    /// Slots below this have been looked at.
    looked: usize,
    next: Instant,
    /// When the last poll came.
    polled_at: Instant,
    reported: bool,
}

impl Drain {
    /// When the next batch is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// A poll has come.
    pub(super) fn polled(&mut self, now: Instant) {
        self.polled_at = now;
    }

    /// Whether the turn of whoever has this slot is over.
    pub(super) fn has_passed(&self, slot: u32) -> bool {
        (slot as usize) < self.looked
    }

    /// How many connections should have been told by `now`: the first at once, the others evenly
    /// over the time.
    fn due(&self, now: Instant) -> usize {
        let length_ms = self.ends.since(self.began).as_millis();
        let elapsed_ms = now.since(self.began).as_millis();
        if elapsed_ms >= length_ms {
            return usize::MAX;
        }
        let share = self.total as u128 * u128::from(elapsed_ms) / u128::from(length_ms);
        share as usize + 1
    }
}

impl<S: Socket> Server<S> {
    /// Begins to take leave; everybody has been told by `ends`. A second call changes nothing.
    pub fn drain(&mut self, now: Now, ends: Instant) {
        if self.drain.is_none() {
            let total = self.connections.len();
            let (began, next) = (now.mono, now.mono);
            self.drain = Some(Drain {
                began,
                ends,
                total,
                told: 0,
                looked: 0,
                next,
                polled_at: began,
                reported: false,
            });
        }
    }

    /// How many connections there were when the drain began, if it has.
    pub fn draining(&self) -> Option<usize> {
        self.drain.as_ref().map(|drain| drain.total)
    }

    /// The batch that is due, and the word that nobody is left.
    ///
    /// In this order: whoever came since the last call is told before the count, or a steady stream
    /// of newcomers would keep the process alive beyond its time.
    pub(super) fn run_drain(&mut self, now: Now) {
        let Some(drain) = &mut self.drain else { return };
        if now.mono >= drain.next {
            drain.next = now.mono.plus(STEP);
            self.tell(now);
        }
        self.reap(now);
        let Some(drain) = &mut self.drain else { return };
        // Whoever polls may be between two polls, and is told with the next, which comes at once.
        let until = drain.polled_at.plus(limits::POLL_GAP_LIMIT).min(drain.ends);
        if self.connections.is_empty() && (self.sessions.is_empty() || now.mono >= until) {
            drain.next = Instant::NEVER;
            if !core::mem::replace(&mut drain.reported, true) {
                self.end_sessions(now);
                self.events.push(&mut self.pool, Event::Drained);
            }
        }
    }

    /// Tells those who should have been told by now.
    fn tell(&mut self, now: Now) {
        let Some(drain) = &mut self.drain else { return };
        // At the end everybody is told once more: who came late, who was busy when their turn came.
        if now.mono >= drain.ends {
            drain.looked = 0;
        }
        let (due, mut told, mut looked) = (drain.due(now.mono), drain.told, drain.looked);
        let cut = now.mono >= drain.ends.plus(limits::DRAIN_CUT_LIMIT);
        while told < due && looked < self.connections.slots() {
            if self.connections.contains(looked as u32) {
                told = told.saturating_add(1);
                self.take_leave(now, looked as u32, cut);
            }
            looked += 1;
        }
        if let Some(drain) = &mut self.drain {
            (drain.told, drain.looked) = (told, looked);
        }
    }

    fn take_leave(&mut self, now: Now, slot: u32, cut: bool) {
        let reason = CloseReason::GoingAway;
        let conn = self.connections.conn(slot);
        if cut {
            self.remove(now, slot, reason, true);
        } else if conn.is_open() {
            self.close(now, slot, CloseFrame::Reason(reason), reason);
        } else if conn.is_idle() {
            self.remove(now, slot, reason, false);
        } else if let Some(id) = conn.session().filter(|_| conn.is_held()) {
            self.close_session(now, id, reason, Farewell::Close);
        }
    }

    /// Ends the sessions that no connection carries at the moment: nobody is left to be told.
    fn end_sessions(&mut self, now: Now) {
        let left: Vec<SessionId> = self.sessions.iter().map(|(id, _)| id).collect();
        for id in left {
            self.close_session(now, id, CloseReason::GoingAway, Farewell::None);
        }
    }
}
