//! Who lives is told everything, pinged in time and kept; who has vanished goes in time.
//!
//! Of a plain WebSocket and of a session the same is asked. Time counts from the last sign of life
//! that the server read, and from whatever has kept it from reading one since:
//!
//! ```text
//!   sign of life ── ping interval ──► ping ── ping timeout ──► gone ── close frame ──► dropped
//!        ▲
//!        └── begins anew while it speaks and is not taken in, while its socket is full, when the
//!            machine wakes up, and when those that speak before it have had their turn
//! ```
//!
//! A plain WebSocket is one connection, and every byte on it is a sign of life. A session has
//! several connections, and of protocol 4 only the answer to a ping is a sign: so what it has said,
//! on which connection, is kept as a list of [`Sign`](crate::hearing::Sign)s until it was read.

use super::World;
use crate::client::{Client, Session};
use crate::due::{Due, WAIT_MS, late};
use crate::person::{Person, Purpose};
use crate::socket::State;
use crate::turns::Speaker;

/// The server's deadlines for whoever it has heard, with what they may be late.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Until a ping is sent, after the last sign of life.
    ping_ms: u64,
    /// Until it is not waited for an answer any more.
    pong_ms: u64,
    /// Until a close frame is not waited for any more.
    close_ms: u64,
}

impl World {
    fn patience(&self) -> Patience {
        let limits = &self.climate.settings.limits;
        Patience {
            ping_ms: late(limits.ping_interval.as_millis()),
            pong_ms: late(limits.ping_timeout.as_millis()),
            close_ms: late(elbow::limits::CLOSE_LIMIT.as_millis()),
        }
    }

    /// How long it may take to tell somebody that something is lost: they are told in a round that
    /// takes as long as a drain, and if one is under way, in the next.
    fn told_of_loss_ms(&self) -> u64 {
        late(2 * self.climate.settings.limits.drain.as_millis()) + WAIT_MS
    }

    // Plain WebSockets.

    /// A plain WebSocket is told everything, pinged in time, and not kept once it has vanished.
    pub(super) fn judge_websocket(&mut self, number: usize, served_ms: u64) {
        let (now_ms, kernel_ms) = (self.now_ms(), self.patience_ms());
        let Patience { ping_ms, pong_ms, close_ms } = self.patience();
        let told_ms = self.told_of_loss_ms();
        let held_ms = self.held_ms(number);
        let client = &mut self.clients[number];
        let speaks = speaks(client);
        let state = client.link.state.borrow();
        let session = client.session.as_mut().expect("the caller looked");
        if speaks && !client.gone {
            session.unread_at_ms = Some(now_ms);
        }
        let heard_ms = heard_ms(session, &state).max(self.woke_ms);
        // Whether a publisher has vanished is not known while it has to wait to be read.
        let known_ms = heard_ms.max(self.oracle.unplaced_ms);
        let gone = Due::after([known_ms], ping_ms + pong_ms + close_ms + held_ms);
        // If it does not read either, it is the kernel that gives up.
        let took_ms = state.took_at_ms.max(state.wrote_at_ms);
        let is_held = speaks || state.blocked;
        let gone = if is_held { gone.and_after(took_ms + kernel_ms) } else { gone };
        assert!(!gone.is_over(served_ms), "#{number} vanished and stays: {gone:?}");
        // Before that, its deadline was that of a ping or that of its stay.
        let over = session.until_ms.map(|until_ms| Due::after([until_ms], ping_ms + close_ms));
        let over = over.map(|over| over.and_after(self.woke_ms));
        let stays = over.is_some_and(|over| over.is_over(served_ms));
        assert!(!stays, "#{number} stays with a token that has expired: {over:?}");
        if state.blocked || session.close_code.is_some() {
            return;
        }
        if let Some(parted_ms) = session.parted_ms {
            let due = Due::after([parted_ms, self.woke_ms, state.wrote_at_ms], told_ms);
            assert!(!due.is_over(served_ms), "#{number} is not told what is lost: {due:?}");
        }
        if !speaks {
            // What came together with the request waits as a publisher's words do, and then nobody
            // knows whether a pong is behind it.
            let came_with_request = state.read_at_ms <= session.opened_at_ms;
            let waits_ms = if came_with_request { self.oracle.unplaced_ms } else { 0 };
            let ping = Due::after([heard_ms, waits_ms], ping_ms + held_ms);
            let is_pinged = session.pinged_at_ms.is_some_and(|at_ms| at_ms >= state.read_at_ms);
            let is_missed = ping.is_over(served_ms) && !is_pinged;
            assert!(!is_missed, "#{number} was not pinged in time: {ping:?}");
        }
        if !self.pending {
            let behind = self.oracle.behind(session);
            assert_eq!(behind, 0, "#{number} is not sent what there is");
            assert_eq!(client.decoder.rest(), 0, "#{number} has half a frame");
        }
    }

    // Event streams.

    /// Who reads an event stream is told everything, and sees a comment in time. Whoever has
    /// vanished does not take that, and is given up by the kernel.
    pub(super) fn judge_stream(&self, number: usize, served_ms: u64) {
        let client = &self.clients[number];
        let session = client.session.as_ref().expect("the caller looked");
        let state = client.link.state.borrow();
        if state.blocked || state.is_over() || session.close_code.is_some() {
            return;
        }
        let seen_ms = session.pinged_at_ms.unwrap_or(session.opened_at_ms);
        // What waited for the socket instead was seen as well as a comment.
        let moments_ms = [seen_ms, state.blocked_at_ms.unwrap_or(0), self.woke_ms];
        let due = Due::after(moments_ms, self.patience().ping_ms);
        assert!(!due.is_over(served_ms), "#{number} saw no comment in time: {due:?}");
        if !self.pending {
            let behind = self.oracle.behind(session);
            assert_eq!(behind, 0, "#{number} is not sent what there is");
            assert_eq!(client.decoder.rest(), 0, "#{number} has half a chunk");
        }
    }

    // Sessions.

    /// Notes when the server has read what tells it that somebody lives.
    pub(super) fn listen_for_signs(&mut self) {
        let now_ms = self.now_ms();
        let is_draining = self.oracle.drain_began_ms.is_some();
        for person in &mut self.people {
            let hearing = &mut person.hearing;
            // A drain closes a WebSocket before it has taken over, and what comes on it then is
            // discarded, although the close frame may be under way for a while.
            let may_be_cut = hearing.proved_on.filter(|_| is_draining && !hearing.on_socket);
            let mut signs = std::mem::take(&mut hearing.signs);
            signs.retain_mut(|sign| {
                let client = &self.clients[sign.connection];
                let state = client.link.state.borrow();
                let is_read = state.read_bytes >= sign.upto;
                // What comes too late, or behind a close, was discarded.
                let is_cut = may_be_cut == Some(sign.connection);
                let counts = is_read && !client.late && client.close_code.is_none() && !is_cut;
                if counts && sign.read_ms.is_none() {
                    sign.read_ms = Some(now_ms);
                    hearing.heard_behind = hearing.taken < sign.words || hearing.taken_ms == now_ms;
                }
                // What a POST brings counts when it is answered; if that is a no, it never did.
                let is_posted = client.expected.iter().any(|e| e.purpose == Purpose::Post);
                let waits = !is_read || (sign.read_ms.is_some() && is_posted);
                if !waits && let Some(read_ms) = sign.read_ms {
                    hearing.heard_ms = hearing.heard_ms.max(read_ms);
                }
                waits && !state.dropped
            });
            hearing.signs = signs;
        }
    }

    /// Whether the server can tell a session everything: its WebSocket takes it, or a poll waits.
    pub(super) fn is_receptive(&self, person: &Person) -> bool {
        let Some(number) = person.socket.or(person.poll) else { return false };
        let client = &self.clients[number];
        let waits = match person.socket {
            Some(_) => client.decoder.is_upgraded() && client.close_code.is_none(),
            None => client.is_polling(),
        };
        let state = client.link.state.borrow();
        let quiet = client.outbox.is_empty() && state.is_quiet() && !state.seems_unread();
        // Who vanishes takes with it what it was about to ask.
        waits && quiet && !state.blocked && !state.dropped && !client.gone
    }

    /// A session that is in a channel is told everything, pinged in time, and not kept once it has
    /// vanished.
    pub(super) fn judge_person(&mut self, number: usize, served_ms: u64) {
        let hearing = &self.people[number].hearing;
        let Some(opened_ms) = hearing.opened_at_ms else { return };
        if !hearing.is_in_any() || hearing.end.is_some() {
            return;
        }
        self.note_state(number);
        self.judge_told(number, served_ms);
        self.judge_upgrade(number);
        self.judge_life(number, opened_ms, served_ms);
        let Patience { ping_ms, close_ms, .. } = self.patience();
        let person = &self.people[number];
        let over_ms = person.hearing.entries.over_ms(&person.pass);
        let over = over_ms.map(|over_ms| Due::after([over_ms], ping_ms + close_ms));
        let over = over.map(|over| over.and_after(self.woke_ms));
        let stays = over.is_some_and(|over| over.is_over(served_ms));
        assert!(!stays, "@{number} stays with a token that has expired: {over:?}");
        self.judge_stay_of_session(number, opened_ms, served_ms);
    }

    /// Notes since when a session could be told everything, and up to when its silence proves
    /// nothing.
    fn note_state(&mut self, number: usize) {
        let now_ms = self.now_ms();
        let person = &self.people[number];
        let (is_receptive, is_busy) = (self.is_receptive(person), self.is_busy(person));
        let is_saying = self.is_saying(person);
        let hearing = &mut self.people[number].hearing;
        hearing.receptive_ms = is_receptive.then(|| hearing.receptive_ms.unwrap_or(now_ms));
        if is_busy {
            hearing.excused_ms = now_ms;
        }
        if is_saying {
            hearing.saying_ms = now_ms;
        }
    }

    /// Whether one of a session's connections has something that the server has not read, or does
    /// not take what it writes.
    fn is_busy(&self, person: &Person) -> bool {
        person.connections.iter().any(|connection| {
            let state = self.clients[*connection].link.state.borrow();
            !state.dropped && (state.blocked || state.seems_unread())
        })
    }

    /// Whether a session has said something that may have been read, and waits to be taken in. Not
    /// if a part of it will never be sent.
    fn is_saying(&self, person: &Person) -> bool {
        let hearing = &person.hearing;
        let pends = !hearing.sent.is_empty() || !hearing.asked.is_empty() || person.post.is_some();
        let is_cut_off = |connection: &usize| {
            let client = &self.clients[*connection];
            client.gone && !client.outbox.is_empty()
        };
        pends && !person.connections.iter().any(is_cut_off)
    }

    /// A session that can be told something has been told, and was given its acknowledgements.
    fn judge_told(&self, number: usize, served_ms: u64) {
        let person = &self.people[number];
        let hearing = &person.hearing;
        let Some(receptive_ms) = hearing.receptive_ms else { return };
        let is_known =
            person.is_settled() || Due::after([receptive_ms], WAIT_MS).is_over(served_ms);
        if is_known && !self.pending && !hearing.unchecked {
            let behind = hearing.behind(&self.oracle.channels);
            assert_eq!(behind, 0, "@{number} is not told what there is: {}", person.stand());
            assert!(hearing.acks.is_empty(), "@{number} gets no {:?}", hearing.acks);
            if let Some(parted_ms) = hearing.parted_ms.values().min() {
                let moments_ms = [*parted_ms, receptive_ms, self.woke_ms];
                let due = Due::after(moments_ms, self.told_of_loss_ms());
                assert!(!due.is_over(served_ms), "@{number} is not told what is lost: {due:?}");
            }
        }
    }

    /// A poll is not held any more once the WebSocket that is to take over has proved itself: its
    /// client waits for that. Nor is one when the WebSocket has taken over without its client
    /// having waited.
    fn judge_upgrade(&self, number: usize) {
        let person = &self.people[number];
        if person.hearing.on_socket && !self.pending {
            for connection in &person.connections {
                let is_held = self.holds_poll(&self.clients[*connection]);
                assert!(
                    !is_held,
                    "@{number} has moved, and #{connection} still waits for its poll"
                );
            }
        }
        let is_polling = person.hearing.receptive_ms.is_some() && person.socket.is_none();
        if let (true, Some(probe)) = (is_polling, person.hearing.proved_on) {
            let probe = &self.clients[probe];
            let state = probe.link.state.borrow();
            // Nothing is written behind its proof but its end, for which the socket may be full.
            let is_over = probe.close_code.is_some() || state.is_over() || state.blocked;
            assert!(is_over || self.pending, "@{number} waits for its poll and cannot upgrade");
        }
    }

    /// Whether a poll has certainly come on this connection and was not answered.
    fn holds_poll(&self, client: &Client) -> bool {
        let state = client.link.state.borrow();
        let has_come = client.outbox.is_empty() && state.is_quiet() && !state.seems_unread();
        let asked = client.expected.front().map(|asked| asked.purpose);
        let is_over = state.blocked || state.dropped || client.gone;
        asked == Some(Purpose::Poll) && has_come && !is_over
    }

    /// A session is pinged in time, and not kept once it has vanished.
    fn judge_life(&self, number: usize, opened_ms: u64, served_ms: u64) {
        let person = &self.people[number];
        let hearing = &person.hearing;
        let Patience { ping_ms, pong_ms, .. } = self.patience();
        // What was read and waits for the room counts as heard.
        let heard_ms = hearing.heard_ms().max(hearing.saying_ms);
        let moments_ms = [opened_ms, heard_ms, hearing.excused_ms, self.woke_ms];
        // Whether a publisher has vanished is not known while it has to wait to be read.
        let held_ms = self.person_held_ms(number);
        let gone =
            Due::after(moments_ms, ping_ms + pong_ms + held_ms).and_after(self.oracle.unplaced_ms);
        assert!(!gone.is_over(served_ms), "@{number} vanished and stays: {gone:?}");
        // In protocol 3 it is the client that pings.
        if person.version != 4 {
            return;
        }
        let Some(receptive_ms) = hearing.receptive_ms else { return };
        let pinged_ms = hearing.pinged_at_ms.unwrap_or(0);
        // What came together with the wish to enter waits for the room that it has entered.
        let came_with_entry = hearing.entered_ms() >= heard_ms;
        let room_ms = if came_with_entry { self.oracle.unplaced_ms } else { 0 };
        let ping = Due::after(moments_ms, ping_ms + held_ms)
            .and_after(receptive_ms)
            .and_after(pinged_ms)
            .and_after(room_ms)
            .and_after(self.turn_before_answer_ms(person, heard_ms));
        // Heard late, it may be asked again in the same moment.
        let is_asked = pinged_ms >= hearing.heard_ms();
        let is_missed = ping.is_over(served_ms) && !is_asked;
        assert!(!is_missed, "@{number} was not pinged in time: {ping:?}");
    }

    /// When somebody last had a turn before a session whose answer to a ping stands behind its
    /// words, and may wait for the turn after them; 0 if it does not.
    fn turn_before_answer_ms(&self, person: &Person, heard_ms: u64) -> u64 {
        if !person.hearing.heard_behind {
            return 0;
        }
        let speaker = Speaker::Person(person.number);
        let turn_ms = |channel| self.oracle.turns.since(channel, heard_ms, speaker).last_ms;
        person.hearing.channels().map(turn_ms).max().unwrap_or(0)
    }
}

/// Whether a plain WebSocket has said something, or its end, that is not taken in yet. It counts as
/// heard until it is.
fn speaks(client: &Client) -> bool {
    let state = client.link.state.borrow();
    state.seems_unread() || state.is_over() || !client.sent.is_empty()
}

/// When a plain WebSocket was last heard, or could last not be heard.
fn heard_ms(session: &Session, state: &State) -> u64 {
    // Behind what it said last there may have been a pong or a part, which waited in its turn.
    let unread_ms = session.unread_at_ms.map_or(0, |at_ms| at_ms + WAIT_MS);
    // Whoever reads lives by what it takes, until its lag is small again.
    let took_ms = state.blocked_at_ms.unwrap_or(0);
    let heard_ms = state.read_at_ms.max(state.alarmed_until_ms);
    heard_ms.max(unread_ms).max(took_ms).max(session.opened_at_ms)
}
