//! Places for connections: how many each listener has, and who gives way when they are taken.
//!
//! A listener's places are its own. Sessions and strangers can take all of the public ones, and
//! the health listener still answers. Where all are taken, whoever has waited for longest without
//! anything under way gives way to the newcomer: first those from which no byte of a request is
//! there, then those from which a part of a head is. A session, a held poll, a POST and an answer
//! under way never do.
//!
//! Who waits stands in a list in the order in which that began, so finding the one takes no search.
//! A keep-alive connection also ends by itself, with an answer that says so, when it is old or has
//! asked often: otherwise whoever asks now and then keeps its place for ever.
//!
//! The surprise: nobody gives way in the turn in which it began to wait. What it has sent meanwhile
//! may lie in its socket, and the kernel says so with the next turn.

use super::{Listener, Server, Socket};
use crate::conn::Waiting;
use crate::id::ConnId;
use crate::limits::{self, Limits};
use crate::reason::CloseReason;
use crate::time::Now;

/// Lists of connections that wait, one for each way of each listener, and one of those that have
/// ended.
pub(super) const LISTS: usize = OVER + 1;

/// The list of connections that have ended and were not reaped.
const OVER: usize = Listener::ALL.len() * Waiting::ALL.len();

fn list_of(from: Listener, waiting: Waiting) -> usize {
    from as usize * Waiting::ALL.len() + waiting as usize
}

/// How many connections of a listener there may be.
fn places(limits: &Limits, from: Listener) -> usize {
    match from {
        Listener::Public => limits.connections_max + limits::CONNECTIONS_SPARE,
        Listener::Health => limits::CONNECTIONS_HEALTH,
    }
}

/// The places of all listeners.
pub(super) fn places_of_all(limits: &Limits) -> usize {
    Listener::ALL.map(|from| places(limits, from)).iter().sum()
}

impl<S: Socket> Server<S> {
    /// Whether a connection of this listener could be accepted now: there is a place, or somebody
    /// gives way. While there is not, accepting should wait.
    pub fn has_room_for(&self, from: Listener) -> bool {
        self.has_place(from) || self.first_to_give_way(from).is_some()
    }

    /// The id that the next connection of this listener will have; if need be, somebody gives way
    /// to it now. `None` without [`Server::has_room_for`].
    pub fn make_room(&mut self, now: Now, from: Listener) -> Option<ConnId> {
        if !self.has_place(from) {
            let slot = self.first_to_give_way(from)?;
            self.remove(now, slot, CloseReason::GaveWay, false);
            self.reap();
        }
        Some(ConnId {
            slot: self.entries.vacant_key() as u32,
            generation: self.generation.wrapping_add(1),
        })
    }

    fn has_place(&self, from: Listener) -> bool {
        self.taken[from as usize] < places(&self.settings.limits, from)
    }

    fn first_to_give_way(&self, from: Listener) -> Option<u32> {
        let firsts = Waiting::ALL.map(|waiting| self.waiting.first(list_of(from, waiting)));
        let was_looked_at = |slot: &u32| self.entries[*slot as usize].waits_since != self.turn;
        firsts.into_iter().flatten().find(was_looked_at)
    }

    /// Puts a connection that has begun to wait at the end of its list, and takes one that does so
    /// no longer out of it.
    pub(super) fn review_waiting(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        if entry.conn.is_over() {
            return;
        }
        let waits = if entry.resuming { None } else { entry.conn.waits() };
        if waits == entry.waits {
            return;
        }
        let from = entry.conn.listener();
        if let Some(before) = core::mem::replace(&mut entry.waits, waits) {
            self.waiting.remove(list_of(from, before), slot);
        }
        if let Some(waiting) = waits {
            entry.waits_since = self.turn;
            self.waiting.push(list_of(from, waiting), slot);
        }
    }

    /// Whether an answer should be the last on its connection.
    pub(super) fn is_worn_out(&self, now: Now, slot: u32) -> bool {
        let entry = &self.entries[slot as usize];
        let age = now.mono.since(entry.conn.opened_at());
        age >= limits::KEEP_ALIVE_AGE_MAX || entry.answers + 1 >= limits::KEEP_ALIVE_REQUESTS_MAX
    }

    /// Asserts what must hold of places, between calls.
    pub(super) fn check_places(&self) {
        let mut taken = [0; Listener::ALL.len()];
        for (slot, entry) in &self.entries {
            taken[entry.conn.listener() as usize] += 1;
            let waits = if entry.resuming { None } else { entry.conn.waits() };
            assert_eq!(entry.waits, waits, "slot {slot}");
            assert_eq!(self.waiting.contains(slot as u32), waits.is_some(), "slot {slot}");
        }
        assert_eq!(taken, self.taken);
        for from in Listener::ALL {
            assert!(taken[from as usize] <= places(&self.settings.limits, from));
            for waiting in Waiting::ALL {
                for slot in self.waiting.iter(list_of(from, waiting)) {
                    let entry = &self.entries[slot as usize];
                    assert_eq!((entry.conn.listener(), entry.waits), (from, Some(waiting)));
                }
            }
        }
    }

    /// Notes that a connection of `from` takes its place.
    pub(super) fn take_place(&mut self, from: Listener) {
        self.taken[from as usize] += 1;
    }

    /// Notes that a connection has ended: its listener has one more place, and its slot is kept
    /// until [`Server::reap`].
    pub(super) fn give_place_back(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        let from = entry.conn.listener();
        if let Some(before) = entry.waits.take() {
            self.waiting.remove(list_of(from, before), slot);
        }
        self.waiting.push(OVER, slot);
        self.taken[from as usize] -= 1;
    }

    /// Takes connections and sessions away that have ended. At the end of each public call, when
    /// nobody works on them any more: so in between an end is something that has no effect, not
    /// something to be asked for.
    pub(super) fn reap(&mut self) {
        while let Some(slot) = self.waiting.pop(OVER) {
            self.entries.remove(slot as usize);
        }
        self.sessions.reap(&mut self.pool);
    }
}
