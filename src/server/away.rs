//! While whoever decides the order of messages is out of reach: who waits, for how long, and what
//! the balancer is told.
//!
//! Readers stay, and are pinged. What is said is taken for as long as there is room for what waits;
//! then publishers are not read. Beyond [`AWAY_LIMIT`] they are read again, and closed with what
//! they say, so that their clients may try another instance; what was taken of them is still said
//! when that is possible.
//!
//! The surprise: nobody knows who is a publisher before it is read. What waits in a socket may be
//! the answer to a ping, by somebody who only listens and is to stay.

use super::{Server, Socket};
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
        let Some(elsewhere) = &mut self.elsewhere else { return Duration::ZERO };
        let since = elsewhere.away_since.take();
        elsewhere.was_reached = true;
        // What was taken before still waits.
        if core::mem::take(&mut elsewhere.is_refusing) && elsewhere.has_filled(1) {
            self.close_channels(true);
        }
        since.map_or(Duration::ZERO, |since| now.mono.since(since))
    }

    /// Since when whoever decides the order has been out of reach.
    fn away_since(&self) -> Option<Instant> {
        self.elsewhere.as_ref()?.away_since
    }

    /// Whether whoever decides the order has been out of reach for so long that nobody should be
    /// sent here, or since the beginning: then nobody knows whether there is a way at all.
    pub(super) fn is_cut_off(&self, now: Now) -> bool {
        self.elsewhere.as_ref().is_some_and(|elsewhere| {
            let is_long = |since: Instant| since.plus(UNREADY_LIMIT) <= now.mono;
            elsewhere.away_since.is_some_and(|since| !elsewhere.was_reached || is_long(since))
        })
    }

    /// When those who wait to be heard are told that nobody will be; `None` if nobody waits.
    pub(super) fn next_give_up(&self) -> Option<Instant> {
        let since = self.away_since().filter(|_| self.hub.is_closed())?;
        Some(since.plus(AWAY_LIMIT))
    }

    /// Reads publishers again that wait for whoever decides the order, if their time is over: what
    /// they say is refused from now on, and they are closed for it.
    ///
    /// Work: a look at each that waits.
    pub(super) fn give_publishers_up(&mut self, now: Now) {
        if self.next_give_up().is_none_or(|at| at > now.mono) {
            return;
        }
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.is_refusing = true;
        }
        self.close_channels(false);
    }

    /// Holds the publishers of all channels back, or does so no longer.
    fn close_channels(&mut self, closed: bool) {
        let connections = &mut self.connections;
        self.hub.close(closed, |id| connections.resume(id));
    }
}
