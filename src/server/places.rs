//! Places for connections: how many each listener has, and who gives way when they are taken.
//!
//! A listener's places are its own. Sessions and strangers can take all of the public ones, and
//! the health listener and the admin listener still answer. Where all are taken, whoever has waited
//! for longest without anything under way gives way to the newcomer: first those from which no byte
//! of a request is there, then those from which a part of a head is. A session, a held poll, a POST
//! and an answer under way never do.
//!
//! Who waits stands in a list in the order in which that began, so finding the one takes no search.
//! A keep-alive connection also ends by itself, with an answer that says so, when it is old or has
//! asked often: otherwise whoever asks now and then keeps its place for ever.
//!
//! The surprise: nobody gives way in the turn in which it began to wait. What it has sent meanwhile
//! may lie in its socket, and the kernel says so with the next turn.

use super::{Listener, Server, Socket};
use crate::id::ConnId;
use crate::limits::{self, Limits};
use crate::reason::CloseReason;
use crate::time::Now;

/// How many connections of a listener there may be.
fn places(limits: &Limits, from: Listener) -> usize {
    match from {
        Listener::Public => limits.connections_max + limits::CONNECTIONS_SPARE,
        Listener::Health => limits::CONNECTIONS_HEALTH,
        Listener::Admin => limits.admin_connections_max,
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
        self.has_place(from) || self.connections.first_to_give_way(from).is_some()
    }

    /// The id that the next connection of this listener will have; if need be, somebody gives way
    /// to it now. `None` without [`Server::has_room_for`].
    pub fn make_room(&mut self, now: Now, from: Listener) -> Option<ConnId> {
        if !self.has_place(from) {
            let slot = self.connections.first_to_give_way(from)?;
            self.remove(now, slot, CloseReason::GaveWay, false);
            self.reap(now);
        }
        Some(self.connections.next_id())
    }

    fn has_place(&self, from: Listener) -> bool {
        self.connections.taken(from) < places(&self.settings.limits, from)
    }

    /// Asserts that no listener has more connections than places, between calls.
    pub(super) fn check_places(&self) {
        for from in Listener::ALL {
            assert!(self.connections.taken(from) <= places(&self.settings.limits, from));
        }
    }
}
