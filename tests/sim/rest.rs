//! What must hold after every turn, and what when everybody has been quiet for a while.
//!
//! Events first, then what was written, then ends, then what holds at rest: no connection and no
//! session may stay longer than its deadlines let it, and nobody who can be told anything is
//! behind.

use std::io;

use elbow::limits;
use elbow::server::Listener;
use elbow::settings::ProxyMode;

use super::{Action, World};
use crate::attack::Attack;
use crate::client::Client;
use crate::hearing::Hearing;
use crate::oracle::{Later, Oracle};
use crate::person::{Person, Purpose};
use crate::turns::{Speaker, TURNS_MAX, Waited};

/// How long what was said may wait at most once nobody else has a turn before it.
const WAIT_MS: u64 = 2500;
/// Packets of one connection that are taken in each turn at least.
const PACKETS: u64 = 32;

impl World {
    /// After `run`: events, then what was written, then ends, then what holds at rest.
    pub(super) fn judge(&mut self) {
        let now_ms = self.now_ms();
        self.oracle.turn = self.turns;
        let mut later = Vec::new();
        let greetings_dropped = self.server.metrics().greetings_dropped;
        self.oracle.greetings_uncertain = greetings_dropped > self.oracle.greetings_dropped;
        self.oracle.greetings_dropped = greetings_dropped;
        let pool = self.server.pool();
        self.oracle.scarce =
            self.climate.tiny_memory || pool.free_bytes() < pool.limit_bytes() / 16;
        assert!(!self.oracle.greetings_uncertain || self.oracle.scarce);
        self.oracle.look_around(now_ms, &self.climate, &self.clients, &self.people);
        while let Some(event) = self.server.poll_event() {
            self.note(|_| format!("{event:?}"));
            self.oracle.hash(now_ms, &event);
            let (climate, clients, people) =
                (&self.climate, &mut self.clients[..], &mut self.people[..]);
            later.extend(self.oracle.event(now_ms, climate, clients, people, &event));
        }
        let mut touched = std::mem::take(&mut *self.net.touched.borrow_mut());
        for number in touched.drain(..) {
            self.judge_written(number);
        }
        *self.net.touched.borrow_mut() = touched;
        // Before the ends: what was read in the turn that ended somebody was heard, too.
        self.listen_for_signs();
        for end in later {
            let client = match end {
                Later::Left { person, .. } => {
                    let person = &mut self.people[person];
                    self.oracle.left(now_ms, &self.climate, person, &self.clients, end);
                    continue;
                }
                Later::Stray { client, reason, duration_ms } => {
                    let client = &self.clients[client];
                    self.oracle.stray_left(&self.climate, client, reason, duration_ms);
                    continue;
                }
                Later::Closed { client, .. } | Later::Ended { client, .. } => client,
            };
            let client = &mut self.clients[client];
            let person = client.person.map(|number| &self.people[number]);
            self.oracle.end(now_ms, &self.climate, client, person, end);
        }
        // Whoever took leave of a session has had its word, and may have given way without one.
        self.oracle.wanted = [0; 2];
        let served_ms = self.served_ms();
        for number in 0..self.clients.len() {
            if self.clients[number].accepted_at_ms.is_some()
                && self.clients[number].judged_end.is_none()
            {
                self.judge_rest(number, served_ms);
            }
        }
        for number in 0..self.people.len() {
            self.judge_person(number, served_ms);
        }
        self.judge_promises();
        let cut_ms = self.drain_ends_ms.saturating_add(limits::DRAIN_CUT_LIMIT.as_millis() + 100);
        assert!(self.oracle.drained || served_ms < cut_ms, "the drain does not end");
    }

    /// Deadlines up to this time have been served: some turns ago, or before the machine slept.
    pub(super) fn served_ms(&self) -> u64 {
        let served_ms = self.turn_times[0];
        if served_ms < self.woke_ms + 64 { self.slept_ms } else { served_ms }
    }

    /// Decodes what the server wrote to a link, and lets the client know in time.
    pub(super) fn judge_written(&mut self, number: usize) {
        let now_ms = self.now_ms();
        let client = &mut self.clients[number];
        let mut state = client.link.state.borrow_mut();
        state.untouch();
        let fresh = std::mem::take(&mut state.fresh);
        let written = state.written;
        drop(state);
        if !fresh.is_empty() {
            client.decoder.feed(&fresh);
            let to_head = |client: &Client| client.expected.front().is_some_and(|e| e.to_head);
            while let Some(unit) = client.decoder.next(to_head(client)) {
                if let Some(journal) = &self.journal {
                    let line = format!("{now_ms:>8} #{number} <- {unit:?}");
                    journal.borrow_mut().push_back(line);
                }
                let at = written - client.decoder.rest() as u64;
                let person = client.person.map(|number| &mut self.people[number]);
                self.oracle.unit(now_ms, client, person, at, unit);
            }
        }
        // Who attacks has more to say as soon as something was read.
        let due_ms = if client.attack.is_some() { 0 } else { client.link.client_due_ms() };
        let act_ms = due_ms.max(now_ms);
        if !client.gone {
            self.plan_act(number, act_ms);
        }
        self.plan(now_ms, Action::Breathe(number));
    }

    pub(super) fn judge_rest(&mut self, number: usize, served_ms: u64) {
        let now_ms = self.net.now_ms.get();
        let patience_ms = self.patience_ms();
        let client = &mut self.clients[number];
        let mut state = client.link.state.borrow_mut();
        if state.dropped {
            // A session that was dropped at once has had its word.
            client.ended = client.ended.or(client.session_end);
            assert!(client.ended.is_some(), "#{number} was dropped without a word");
            client.judged_end = client.ended;
            self.oracle.ended += 1;
            return;
        }
        assert!(client.ended.is_none(), "#{number} ended and was not dropped");
        // What stands behind a request that is held waits for its answer.
        let held = client.expected.front().is_some_and(|e| e.purpose == Purpose::Poll);
        let untold = state.edge && state.unread_since_ms.is_none();
        // A body of tiny packets is taken in over many turns; what it says last stands behind it.
        let packets_max = self.climate.settings.limits.message_bytes_max / 2;
        let wait_ms = match client.attack {
            Some(Attack::Packets) => WAIT_MS + packets_max / PACKETS * self.climate.turn_ms_max,
            Some(_) | None => WAIT_MS,
        };
        if state.unread_bytes() == 0 || state.blocked || held || untold || state.unaware {
            state.unread_since_ms = None;
        } else {
            let since_ms = *state.unread_since_ms.get_or_insert(now_ms);
            let last_ms = since_ms.max(state.read_at_ms).max(state.refused_at_ms);
            let turn_ms = last_turn_ms(&self.oracle, &self.people, client, last_ms);
            // While the machine slept nobody was read.
            let last_ms = last_ms.max(turn_ms).max(self.woke_ms);
            assert!(
                self.pending || served_ms < last_ms + WAIT_MS,
                "#{number} is not read any more"
            );
        }
        if state.is_over() && !state.blocked && !(held && client.piped) {
            // While it was blocked, what it had sent before its end had to wait for an answer.
            let free_ms = state.blocked_at_ms.unwrap_or(0).max(state.over_at_ms);
            let last_ms = free_ms.max(state.read_at_ms).max(state.wrote_at_ms);
            assert!(served_ms < last_ms + wait_ms, "#{number}: its end is not noticed");
        }
        if let Some(shut_at_ms) = state.shut_at_ms {
            assert!(served_ms < shut_at_ms + 2000 * 9 / 8 + 100, "#{number} lingers for ever");
        }
        // `TCP_USER_TIMEOUT`, which the shell sets on every socket.
        let stuck_ms = state.took_at_ms.max(state.wrote_at_ms) + patience_ms;
        if state.written > state.taken && now_ms >= stuck_ms && !state.gave_up {
            state.gave_up = true;
            drop(state);
            client.link.reset(io::ErrorKind::TimedOut);
            self.plan(now_ms, Action::Breathe(number));
            return;
        }
        drop(state);
        let client = &self.clients[number];
        if client.person.is_some_and(|person| self.people[person].socket == Some(number))
            && client.decoder.is_upgraded()
        {
            return;
        }
        match self.clients[number].session.as_ref().is_some_and(|session| !session.is_closed) {
            true => self.judge_session(number, served_ms),
            false => self.judge_request(number, served_ms),
        }
    }

    /// Deadlines before a session: none lets anyone stay for ever.
    pub(super) fn judge_request(&self, number: usize, served_ms: u64) {
        let client = &self.clients[number];
        let state = client.link.state.borrow();
        let settings = &self.climate.settings;
        let last_ms = state.wrote_at_ms.max(state.read_at_ms);
        let keep_alive_ms = settings.keep_alive.as_millis();
        let mut limit_ms = keep_alive_ms.max(10_000);
        let headed = settings.proxy == ProxyMode::Required || client.listener == Listener::Health;
        let mut last_ms = last_ms;
        if client.person.is_some() {
            // A poll may be held until its session's time has come, which a sleep puts off.
            limit_ms = limit_ms.max(self.patience_ms()).max(limits::CONNECT_LIMIT.as_millis());
            last_ms = last_ms.max(self.woke_ms);
        }
        if headed && state.read_bytes == 0 {
            limit_ms = limits::PROXY_LIMIT.as_millis();
        }
        assert!(served_ms < last_ms + limit_ms * 9 / 8 + 100, "#{number} may stay for ever");
    }

    pub(super) fn judge_session(&mut self, number: usize, served_ms: u64) {
        let (now_ms, patience_ms) = (self.now_ms(), self.patience_ms());
        let client = &mut self.clients[number];
        let state = client.link.state.borrow();
        let session = client.session.as_mut().expect("the caller looked");
        let limits = &self.climate.settings.limits;
        // Whoever has said something that is not read for now counts as heard; if it does not read
        // either, it is the kernel that gives up.
        // Whoever reads lives by what it takes, until its lag is small again.
        // So does whose end stands there unread, until it is.
        let unread = state.seems_unread() || state.is_over() || !client.sent.is_empty();
        if unread && !client.gone {
            session.unread_at_ms = Some(now_ms);
        }
        let stuck_ms = state.took_at_ms.max(state.wrote_at_ms) + patience_ms;
        // Behind what it said last there may have been a pong or a part, which waited in its turn.
        let unread_ms = session.unread_at_ms.map_or(0, |at_ms| at_ms + WAIT_MS);
        let took_ms = state.blocked_at_ms.unwrap_or(0).max(unread_ms);
        let heard_ms =
            [state.read_at_ms, state.alarmed_until_ms, session.opened_at_ms, self.woke_ms, took_ms];
        let heard_ms = heard_ms.into_iter().max().expect("there are five");
        let ping_ms = limits.ping_interval.as_millis() * 9 / 8 + 100;
        let pong_ms = limits.ping_timeout.as_millis() * 9 / 8 + 100;
        let close_ms = limits::CLOSE_LIMIT.as_millis() * 9 / 8 + 100;
        let held = unread || state.blocked;
        let silent_ms = if held { heard_ms.max(stuck_ms) } else { heard_ms };
        let gone_ms = silent_ms + ping_ms + pong_ms + close_ms;
        assert!(served_ms < gone_ms, "#{number} vanished and stays");
        let pinged = session.pinged_at_ms.is_some_and(|at| at >= state.read_at_ms);
        if !state.blocked && session.close_code.is_none() && !unread {
            let ping_due_ms = heard_ms.max(state.blocked_at_ms.unwrap_or(0)) + ping_ms;
            assert!(pinged || served_ms < ping_due_ms, "#{number} was not pinged in time");
        }
        if !self.pending && !state.blocked && session.close_code.is_none() {
            let behind = self.oracle.behind(session);
            assert_eq!(behind, 0, "#{number} is not sent what there is");
            assert_eq!(client.decoder.rest(), 0, "#{number} has half a frame");
        }
    }

    /// Notes when the server has read what tells it that somebody lives.
    pub(super) fn listen_for_signs(&mut self) {
        let now_ms = self.now_ms();
        for person in &mut self.people {
            let (taken, taken_ms) = (person.hearing.taken, person.hearing.taken_ms);
            let Hearing { signs, heard_ms, heard_behind, .. } = &mut person.hearing;
            signs.retain_mut(|sign| {
                let client = &self.clients[sign.carrier];
                let state = client.link.state.borrow();
                let read = state.read_bytes >= sign.upto;
                // What comes too late, or behind a close, was discarded.
                if read && !client.late && client.close_code.is_none() {
                    if sign.read_ms.is_none() {
                        *heard_behind = taken < sign.words || taken_ms == now_ms;
                    }
                    sign.read_ms.get_or_insert(now_ms);
                }
                // What a POST brings counts when it is answered; if that is a no, it never did.
                let posts = client.expected.iter().any(|e| e.purpose == Purpose::Post);
                let waits = !read || sign.read_ms.is_some() && posts;
                if !waits {
                    *heard_ms = sign.read_ms.map_or(*heard_ms, |read_ms| read_ms.max(*heard_ms));
                }
                waits && !state.dropped
            });
        }
    }

    /// Whether the server can tell a session everything: its WebSocket takes it, or a poll waits.
    pub(super) fn is_receptive(&self, person: &Person) -> bool {
        let Some(number) = person.socket.or(person.poll) else { return false };
        let client = &self.clients[number];
        let asked = client.expected.front().map(|expected| expected.purpose);
        let waits = match person.socket {
            Some(_) => client.decoder.is_upgraded() && client.close_code.is_none(),
            None => asked == Some(Purpose::Poll),
        };
        let state = client.link.state.borrow();
        let quiet = client.outbox.is_empty() && state.is_quiet() && !state.seems_unread();
        // Who vanishes takes with it what it was about to ask.
        waits && quiet && !state.blocked && !state.dropped && !client.gone
    }

    pub(super) fn judge_person(&mut self, number: usize, served_ms: u64) {
        let now_ms = self.now_ms();
        let person = &self.people[number];
        let hearing = &person.hearing;
        let Some(opened_ms) = hearing.opened_at_ms else { return };
        if !hearing.is_in_any() || hearing.end.is_some() {
            return;
        }
        let receptive = self.is_receptive(person);
        let receptive_ms = receptive.then(|| hearing.receptive_ms.unwrap_or(now_ms));
        // The word that ends an upgrade may wait with what the room keeps from being read.
        let certain = person.socket.is_none() || hearing.on_socket;
        let is_late = |since_ms: u64| certain || served_ms > since_ms + WAIT_MS;
        if receptive_ms.is_some_and(is_late) && !self.pending && !hearing.unchecked {
            let behind = hearing.behind(&self.oracle.channels);
            let stand = || person.stand();
            assert_eq!(behind, 0, "@{number} is not told what there is: {}", stand());
            assert!(hearing.acks.is_empty(), "@{number} gets no {:?}", hearing.acks);
        }
        if let (true, None, Some(probe)) = (receptive, person.socket, hearing.proved_on) {
            let probe = &self.clients[probe];
            let state = probe.link.state.borrow();
            // Nothing is written behind its proof but its end, for which the socket may be full.
            let is_over = probe.close_code.is_some() || state.is_over() || state.blocked;
            assert!(is_over || self.pending, "@{number} waits for its poll and cannot upgrade");
        }
        let busy = |carrier: &usize| {
            let state = self.clients[*carrier].link.state.borrow();
            !state.dropped && (state.blocked || state.seems_unread())
        };
        let excused = person.carriers.iter().any(busy);
        let limits = &self.climate.settings.limits;
        let (interval_ms, timeout_ms) =
            (limits.ping_interval.as_millis(), limits.ping_timeout.as_millis());
        let excused_ms = if excused { now_ms } else { hearing.excused_ms };
        // What was read and waits for the room counts as heard; what will never be sent does not.
        let unsent = |carrier: &usize| {
            let client = &self.clients[*carrier];
            client.gone && !client.outbox.is_empty()
        };
        let pends = !hearing.sent.is_empty() || !hearing.asked.is_empty() || person.post.is_some();
        let saying = pends && !person.carriers.iter().any(unsent);
        let saying_ms = if saying { now_ms } else { hearing.saying_ms };
        let heard_ms = hearing.heard_ms().max(saying_ms);
        let base_ms = opened_ms.max(heard_ms).max(excused_ms).max(self.woke_ms);
        let gone_ms = base_ms + (interval_ms + timeout_ms) * 9 / 8 + 200;
        assert!(served_ms < gone_ms, "@{number} vanished and stays");
        if let Some(since_ms) = receptive_ms
            && person.version == 4
        {
            let pinged_ms = hearing.pinged_at_ms.unwrap_or(0);
            // Heard late, it may be asked again in the same moment.
            let waits = pinged_ms >= hearing.heard_ms();
            // Its answer to the last one stands behind its words, and may wait for the turn after
            // them.
            let speaker = Speaker::Person(number);
            let turn_ms = |channel| self.oracle.turns.since(channel, heard_ms, speaker).last_ms;
            let channels = hearing.channels().filter(|_| hearing.heard_behind);
            let turn_ms = channels.map(turn_ms).max().unwrap_or(0);
            let last_ms = base_ms.max(since_ms).max(pinged_ms).max(turn_ms);
            let due_ms = last_ms + interval_ms * 9 / 8 + 100;
            assert!(waits || served_ms < due_ms, "@{number} was not pinged in time");
        }
        let hearing = &mut self.people[number].hearing;
        (hearing.excused_ms, hearing.receptive_ms) = (excused_ms, receptive_ms);
        hearing.saying_ms = saying_ms;
    }

    /// In the calm every session that reads has been heard and answered.
    pub(super) fn judge_calm_people(&self) {
        for person in self.people.iter().filter(|person| person.is_attentive()) {
            let hearing = &person.hearing;
            let quiet = |carrier: &usize| {
                let client = &self.clients[*carrier];
                client.outbox.is_empty() && client.link.state.borrow().is_quiet()
            };
            let still = person.carriers.iter().all(quiet) && person.outgoing.is_empty();
            if !still || !self.is_receptive(person) || self.pending || hearing.unchecked {
                continue;
            }
            let number = person.number;
            // The room may keep what was posted from being taken in for a while.
            let is_late = |number: usize| {
                let Client { expected, link, .. } = &self.clients[number];
                !expected.is_empty() && link.state.borrow().read_at_ms + WAIT_MS < self.now_ms()
            };
            let posting = person.post.is_some_and(is_late);
            assert!(!posting, "@{number}: its POST is not answered: {}", person.stand());
            assert!(hearing.sent.is_empty(), "@{number}: {} unpublished", hearing.sent.len());
            assert!(hearing.asked.is_empty(), "@{number} waits for {:?}", hearing.asked);
            assert!(hearing.pings.is_empty(), "@{number} has no pong");
            let stays = hearing.channels().find(|channel| !person.is_in(channel));
            assert_eq!(stays, None, "@{number} has left it");
        }
    }

    /// In the calm everyone who reads has been read and answered.
    pub(super) fn judge_calm(&self) {
        self.judge_calm_people();
        for client in self.clients.iter().filter(|client| !client.gone && client.ended.is_none()) {
            let number = client.number;
            let state = client.link.state.borrow();
            // Behind a poll that is held only the beginning of what comes next is read.
            let held = client.expected.front().is_some_and(|e| e.purpose == Purpose::Poll);
            let busy = self.pending || state.blocked || held && client.piped;
            if client.accepted_at_ms.is_none() || client.never_reads() || busy {
                continue;
            }
            if !client.outbox.is_empty() || !state.is_quiet() {
                // It has much to say on a slow way, or has just begun.
                let last_ms = state.read_at_ms.max(state.wrote_at_ms).max(state.sent_at_ms);
                let last_ms = last_ms.max(self.calm_ms);
                let patient = self.now_ms() < last_ms + 3000;
                assert!(patient, "#{number} cannot send: {} wait, {state:?}", client.outbox.len());
                continue;
            }
            let Some(session) = &client.session else { continue };
            if session.close_code.is_none() {
                // What was read may still wait for the room, and for the turns of others.
                let turns = &self.oracle.turns;
                let speaker = Speaker::of(client);
                let heard_ms = turns.since(&session.channel, state.read_at_ms, speaker).last_ms;
                let waits = self.now_ms() < heard_ms + WAIT_MS;
                let unpublished = client.sent.len();
                assert!(unpublished == 0 || waits, "#{number}: {unpublished} unpublished");
                assert!(client.pings.is_empty() || waits, "#{number} has no pong");
            }
        }
    }
}

/// When one of those that come before `client` last had its turn, since `last_ms`: a room may wait
/// for its readers between any two of its publishers.
fn last_turn_ms(oracle: &Oracle, people: &[Person], client: &Client, last_ms: u64) -> u64 {
    let waited = |channel: &str| oracle.turns.since(channel, last_ms, Speaker::of(client));
    match (&client.session, client.person) {
        (Some(session), _) => {
            let Waited { most, last_ms } = waited(&session.channel);
            // Who floods has turns in which it says nothing that anybody hears of.
            let fair = most <= TURNS_MAX || client.attack.is_some();
            assert!(fair, "#{} waits, others have {most} turns", client.number);
            last_ms
        }
        (None, Some(person)) => {
            let channels = people[person].hearing.channels();
            channels.map(|channel| waited(channel).last_ms).max().unwrap_or(0)
        }
        (None, None) => 0,
    }
}
