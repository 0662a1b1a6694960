//! While whoever decides the order of messages is out of reach: who waits, for how long, and what
//! the balancer is told.
//!
//! Readers stay, and are pinged. What is said is taken for as long as there is room for what waits;
//! then publishers are not read. Those are closed that wait beyond [`AWAY_LIMIT`], so that their
//! clients may try another instance; what was taken of them is still said when that is possible.

use super::{Server, Socket};
use crate::id::ConnId;
use crate::limits;
use crate::outbound::CloseFrame;
use crate::reason::{CloseReason, Farewell};
use crate::time::{Duration, Instant, Now};

/// How long whoever decides the order may be out of reach before the balancer is told not to send
/// anybody here: a restart takes less.
const UNREADY_LIMIT: Duration = Duration::from_secs(5);

/// How long whoever decides the order may be out of reach before publishers are closed that wait
/// for it.
const AWAY_LIMIT: Duration = Duration::from_secs(30);

impl<S: Socket> Server<S> {
    /// Whoever decides the order is out of reach from now on. Nothing changes if that is known.
    pub fn backplane_away(&mut self, now: Now) {
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.away_since.get_or_insert(now.mono);
        }
    }

    /// Whoever decides the order can be reached again. Returns how long that was not so.
    pub fn backplane_back(&mut self, now: Now) -> Duration {
        let since = self.elsewhere.as_mut().and_then(|elsewhere| elsewhere.away_since.take());
        since.map_or(Duration::ZERO, |since| now.mono.since(since))
    }

    /// Since when whoever decides the order has been out of reach.
    fn away_since(&self) -> Option<Instant> {
        self.elsewhere.as_ref()?.away_since
    }

    /// Whether whoever decides the order has been out of reach for so long that nobody should be
    /// sent here.
    pub(super) fn is_cut_off(&self, now: Now) -> bool {
        self.away_since().is_some_and(|since| since.plus(UNREADY_LIMIT) <= now.mono)
    }

    /// When publishers are closed that wait; `None` if none waits for whoever decides the order.
    pub(super) fn next_give_up(&self) -> Option<Instant> {
        let since = self.away_since().filter(|_| self.hub.has_any_paused())?;
        Some(since.plus(AWAY_LIMIT))
    }

    /// Closes publishers that wait for whoever decides the order, if their time is over.
    ///
    /// Work: at most [`limits::SENDS_PER_TURN`] of them.
    pub(super) fn give_publishers_up(&mut self, now: Now) {
        if self.next_give_up().is_none_or(|at| at > now.mono) {
            return;
        }
        for _ in 0..limits::SENDS_PER_TURN {
            let Some(id) = self.hub.next_paused() else { return };
            if self.connections.lives(id) {
                self.connections.unpause(id.slot);
                self.give_publisher_up(now, id);
                // What it has to say is discarded, and its end is looked for.
                self.connections.read_soon(id.slot);
            }
        }
    }

    fn give_publisher_up(&mut self, now: Now, id: ConnId) {
        let reason = CloseReason::BackplaneAway;
        let conn = self.connections.conn(id.slot);
        match conn.session() {
            Some(session) => self.close_session(now, session, reason, Farewell::Close),
            None if conn.is_open() => {
                self.close(now, id.slot, CloseFrame::Reason(reason), reason);
            }
            None => {}
        }
    }
}
