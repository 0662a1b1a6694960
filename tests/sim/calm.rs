//! What holds when nobody has begun anything for a while: whoever reads was read, answered and told
//! everything.

use super::World;
use crate::client::Client;
use crate::due::{Due, SENDING_MS, WAIT_MS};
use crate::person::Person;
use crate::turns::Speaker;

impl World {
    pub(super) fn judge_calm(&self) {
        for person in self.people.iter().filter(|person| person.is_attentive()) {
            if self.is_still(person) && self.is_receptive(person) && !self.pending {
                self.judge_calm_person(person);
            }
        }
        for client in self.clients.iter().filter(|client| !client.gone && client.ended.is_none()) {
            // Behind a poll that is held only the beginning of what comes next is read.
            let is_held = client.is_polling() && client.piped;
            let is_held = is_held || client.awaits_server(self.oracle.is_ordered_elsewhere);
            let is_busy = self.pending || client.link.state.borrow().blocked || is_held;
            if client.accepted_at_ms.is_some() && !client.never_reads() && !is_busy {
                self.judge_calm_client(client);
            }
        }
    }

    /// Whether nothing of what a session wanted to say is under way.
    fn is_still(&self, person: &Person) -> bool {
        let is_quiet = |connection: &usize| {
            let client = &self.clients[*connection];
            client.outbox.is_empty() && client.link.state.borrow().is_quiet()
        };
        person.connections.iter().all(is_quiet) && person.outgoing.is_empty()
    }

    /// A session that reads has been heard and answered.
    fn judge_calm_person(&self, person: &Person) {
        let (number, hearing) = (person.number, &person.hearing);
        let held = Due::after([self.calm_ms], self.person_held_ms(number));
        if hearing.unchecked || !held.is_over(self.now_ms()) || self.is_paced(number) {
            return;
        }
        // The room may keep what was posted from being taken in for a while.
        let is_forgotten = |number: usize| {
            let Client { expected, link, .. } = &self.clients[number];
            let due = Due::after([link.state.borrow().read_at_ms], WAIT_MS);
            !expected.is_empty() && due.is_over(self.now_ms())
        };
        let is_posting = person.post.is_some_and(is_forgotten);
        assert!(!is_posting, "@{number}: its POST is not answered: {}", person.stand());
        assert!(hearing.sent.is_empty(), "@{number}: {} unpublished", hearing.sent.len());
        assert!(hearing.asked.is_empty(), "@{number} waits for {:?}", hearing.asked);
        assert!(hearing.pings.is_empty(), "@{number} has no pong");
        let stays = hearing.channels().find(|channel| !person.is_in(channel));
        assert_eq!(stays, None, "@{number} has left it");
    }

    /// A client that reads has been read and answered.
    fn judge_calm_client(&self, client: &Client) {
        let number = client.number;
        let state = client.link.state.borrow();
        if !client.outbox.is_empty() || !state.is_quiet() {
            // It has much to say on a slow way, or has just begun.
            let moments_ms = [state.read_at_ms, state.wrote_at_ms, state.sent_at_ms, self.calm_ms];
            let due = Due::after(moments_ms, SENDING_MS + self.held_ms(number));
            let waiting = client.outbox.len();
            assert!(!due.is_over(self.now_ms()), "#{number} cannot send: {waiting}, {state:?}");
            return;
        }
        let Some(session) = client.session.as_ref().filter(|s| s.close_code.is_none()) else {
            return;
        };
        // What was read may still wait for the room, and for the turns of others.
        let speaker = Speaker::of(client);
        let turns = self.oracle.turns.since(&session.channel, state.read_at_ms, speaker);
        if Due::after([turns.last_ms], WAIT_MS + self.held_ms(number)).is_over(self.now_ms()) {
            assert!(client.sent.is_empty(), "#{number}: {} unpublished", client.sent.len());
            assert!(client.pings.is_empty(), "#{number} has no pong");
        }
    }
}
