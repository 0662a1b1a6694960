//! What must hold after every turn: what the server told and wrote, whom it let go, and that every
//! connection is read, answered and given up in time.
//!
//! First come the events, then what was written, then the ends, since an end is held against all
//! that was written before it. Then each connection and each session is looked at as if it were
//! never touched again: whatever is due must have happened by now ([`Due`]).
//!
//! ```text
//!   a connection ── its bytes are read ── its end is noticed ── it does not linger
//!        ├── carries no session:        the deadlines of requests     here
//!        ├── is a plain WebSocket:      pings and silence             pulse.rs
//!        └── is a session's WebSocket:  the same, of its person       pulse.rs
//! ```
//!
//! Leaves to `pulse.rs` who counts as alive, to `calm.rs` what holds when nobody begins anything,
//! and to `promise.rs` what is counted in turns.

use std::collections::VecDeque;
use std::io;

use elbow::limits;
use elbow::server::{Event, Listener};
use elbow::settings::ProxyMode;
use elbow::time::Duration;

use super::{AWAY_MS, Action, World};
use crate::attack::Attack;
use crate::client::Client;
use crate::decode::{Response, Unit};
use crate::due::{Due, TICKS_MS, WAIT_MS, WAKING_MS, late, wait_behind_packets_ms};
use crate::oracle::{Later, Oracle};
use crate::person::Person;
use crate::turns::{Speaker, TURNS_MAX, Waited};

impl World {
    /// Judges a turn, behind the server's `run`.
    pub(super) fn judge(&mut self) {
        self.prepare_oracle();
        let ends = self.judge_events();
        self.judge_touched();
        // Before the ends: what was read in the turn that ended somebody was heard, too.
        self.listen_for_signs();
        ends.into_iter().for_each(|end| self.judge_end(end));
        // Whoever took leave of a session has had its word, and may have given way without one.
        self.oracle.wanted = [0; Listener::ALL.len()];
        let served_ms = self.served_ms();
        for number in 0..self.clients.len() {
            if self.clients[number].is_accepted() {
                self.judge_connection(number, served_ms);
            }
        }
        for number in 0..self.people.len() {
            self.judge_person(number, served_ms);
        }
        self.judge_promises();
        let cut_ms = self.drain_ends_ms.saturating_add(limits::DRAIN_CUT_LIMIT.as_millis());
        let is_over = served_ms >= cut_ms.saturating_add(TICKS_MS);
        assert!(self.oracle.drained || !is_over, "the drain does not end");
    }

    /// The time up to which all deadlines have been served: that of some turns ago, or from before
    /// the machine slept.
    fn served_ms(&self) -> u64 {
        let served_ms = self.turn_times[0];
        if served_ms < self.woke_ms + WAKING_MS { self.slept_ms } else { served_ms }
    }

    // What the server told and wrote.

    /// Tells the oracle what it must know of the turn before it hears what happened in it.
    fn prepare_oracle(&mut self) {
        let now_ms = self.now_ms();
        let greetings_dropped = self.server.metrics().greetings_dropped;
        let pool = self.server.pool();
        let is_nearly_full = pool.free_bytes() < pool.limit_bytes() / 16;
        let oracle = &mut self.oracle;
        oracle.turn = self.turns;
        oracle.greetings_uncertain = greetings_dropped > oracle.greetings_dropped;
        oracle.greetings_dropped = greetings_dropped;
        oracle.scarce = self.climate.tiny_memory || is_nearly_full;
        assert!(!oracle.greetings_uncertain || oracle.scarce);
        oracle.look_around(now_ms, &self.climate, &self.clients, &self.people);
    }

    /// Holds the events of the turn against what is known. The ends among them, which are looked at
    /// when everything that was written before them is known.
    fn judge_events(&mut self) -> Vec<Later> {
        let now_ms = self.now_ms();
        let mut ends = Vec::new();
        let early = std::mem::take(&mut self.early);
        let count = early.len();
        let mut events: VecDeque<Event> = early.into();
        events.extend(std::iter::from_fn(|| self.server.poll_event()));
        for (place, event) in events.into_iter().enumerate() {
            if place == count {
                self.oracle.end_channels(now_ms, &self.climate);
            }
            self.note(|_| format!("{event:?}"));
            self.oracle.hash(now_ms, &event);
            let (clients, people) = (&mut self.clients[..], &mut self.people[..]);
            ends.extend(self.oracle.event(now_ms, &self.climate, clients, people, &event));
        }
        self.oracle.end_channels(now_ms, &self.climate);
        ends
    }

    /// Judges what was written to the links that the server has touched.
    fn judge_touched(&mut self) {
        let mut touched = std::mem::take(&mut *self.net.touched.borrow_mut());
        touched.drain(..).for_each(|number| self.judge_written(number));
        // The list goes back with the memory that it has.
        *self.net.touched.borrow_mut() = touched;
    }

    /// Decodes what the server wrote to a link, and lets the client know in time.
    fn judge_written(&mut self, number: usize) {
        let now_ms = self.now_ms();
        let mut receipts = Vec::new();
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
                if let (true, Unit::Response(response)) = (client.is_backend(), &unit)
                    && response.status != 100
                {
                    receipts.push(response.clone());
                }
                self.oracle.unit(now_ms, client, person, at, unit);
            }
        }
        self.judge_receipts(number, &receipts);
        let client = &mut self.clients[number];
        // Who attacks has more to say as soon as something was read.
        let due_ms = if client.attack.is_some() { 0 } else { client.link.client_due_ms() };
        if !client.gone {
            self.plan_act(number, due_ms.max(now_ms));
        }
        self.plan(now_ms, Action::Breathe(number));
    }

    /// Holds the answers that a backend was given against what it has asked for.
    fn judge_receipts(&mut self, number: usize, receipts: &[Response]) {
        for receipt in receipts {
            let stays = |client: &Client| {
                let session = client.session.as_ref().filter(|session| {
                    !session.is_over && session.close_code.is_none() && !session.is_lapped
                });
                let state = client.link.state.borrow();
                let session = session.filter(|_| !state.dropped)?;
                Some((session.channel.clone(), session.opened_at_ms))
            };
            let others: Vec<_> = self.clients.iter().filter_map(stays).collect();
            let client = &mut self.clients[number];
            self.oracle.receipt(&self.climate, client, &others, receipt);
        }
    }

    /// Holds an end against everything that was written before it.
    fn judge_end(&mut self, end: Later) {
        let (now_ms, climate) = (self.now_ms(), &self.climate);
        match end {
            Later::Left { person, .. } => {
                let person = &mut self.people[person];
                self.oracle.left(now_ms, climate, person, &self.clients, end);
            }
            Later::Stray { client, reason, duration_ms } => {
                self.oracle.stray_left(climate, &self.clients[client], reason, duration_ms);
            }
            Later::Closed { client, .. } | Later::Ended { client, .. } => {
                let client = &mut self.clients[client];
                let person = client.person.map(|number| &self.people[number]);
                self.oracle.end(now_ms, climate, client, person, end);
            }
        }
    }

    // What holds for each connection.

    fn judge_connection(&mut self, number: usize, served_ms: u64) {
        let client = &mut self.clients[number];
        if client.link.state.borrow().dropped {
            // A session that was dropped at once has had its word.
            client.ended = client.ended.or(client.session_end);
            assert!(client.ended.is_some(), "#{number} was dropped without a word");
            client.judged_end = client.ended;
            self.oracle.ended += 1;
            return;
        }
        assert!(client.ended.is_none(), "#{number} ended and was not dropped");
        self.judge_reading(number, served_ms);
        self.judge_leaving(number, served_ms);
        if self.let_kernel_give_up(number) {
            return;
        }
        let client = &self.clients[number];
        let is_transport = client.person.is_some_and(|p| self.people[p].socket == Some(number));
        if is_transport && client.decoder.is_upgraded() {
            // Its deadlines are the session's, which `judge_person` looks at.
        } else if client.session.as_ref().is_some_and(|session| !session.is_closed) {
            self.judge_stay(number, served_ms);
            match client.is_stream {
                true => self.judge_stream(number, served_ms),
                false => self.judge_websocket(number, served_ms),
            }
        } else {
            self.judge_request(number, served_ms);
        }
    }

    /// What has arrived is read, unless something is in the way: the client does not take an
    /// answer, or waits for one, or the server was not told.
    fn judge_reading(&mut self, number: usize, served_ms: u64) {
        let now_ms = self.now_ms();
        let held_ms = self.held_ms(number);
        let client = &self.clients[number];
        let mut state = client.link.state.borrow_mut();
        let is_untold = state.unaware || (state.edge && state.unread_since_ms.is_none());
        let is_held = client.is_polling() || client.awaits_server(self.oracle.is_ordered_elsewhere);
        let must_wait = state.blocked || is_held || is_untold;
        if state.unread_bytes() == 0 || must_wait {
            state.unread_since_ms = None;
            return;
        }
        let since_ms = *state.unread_since_ms.get_or_insert(now_ms);
        let last_ms = since_ms.max(state.read_at_ms).max(state.refused_at_ms);
        let turn_ms = last_turn_ms(&self.oracle, &self.people, client, last_ms, held_ms > 0);
        // While the machine slept nobody was read.
        let unplaced_ms = self.oracle.unplaced_ms;
        let due = Due::after([last_ms, turn_ms, self.woke_ms, unplaced_ms], WAIT_MS + held_ms);
        let is_missed = !self.pending && due.is_over(served_ms);
        assert!(!is_missed, "#{number} is not read any more: {due:?}");
    }

    /// The end of a client is noticed, and who was told of the server's does not stay.
    fn judge_leaving(&self, number: usize, served_ms: u64) {
        let client = &self.clients[number];
        let state = client.link.state.borrow();
        // Behind a poll with a body nothing is read before its answer, and so neither is the end.
        let is_held = client.is_polling() && client.piped;
        let is_held = is_held || client.awaits_server(self.oracle.is_ordered_elsewhere);
        let must_wait = state.blocked || is_held;
        if state.is_over() && !must_wait {
            let wait_ms = match client.attack {
                Some(Attack::Packets) => wait_behind_packets_ms(
                    self.climate.settings.limits.message_bytes_max,
                    self.climate.turn_ms_max,
                ),
                Some(_) | None => WAIT_MS,
            };
            // While it was blocked, what it had sent before its end had to wait for an answer.
            let free_ms = state.blocked_at_ms.unwrap_or(0);
            let unplaced_ms = self.oracle.unplaced_ms;
            let told_ms = state.over_at_ms.max(unplaced_ms);
            let held_ms = self.held_ms(number);
            // While the machine slept nobody had a turn who waits for the room or for its rate.
            let woke_ms = self.woke_ms;
            let moments_ms = [free_ms, told_ms, state.read_at_ms, state.wrote_at_ms, woke_ms];
            let due = Due::after(moments_ms, wait_ms + held_ms);
            assert!(!due.is_over(served_ms), "#{number}: its end is not noticed: {due:?}");
        }
        if let Some(shut_at_ms) = state.shut_at_ms {
            let due = Due::after([shut_at_ms], late(limits::LINGER_LIMIT.as_millis()));
            assert!(!due.is_over(served_ms), "#{number} lingers for ever: {due:?}");
        }
    }

    /// Gives a connection up whose client has taken nothing of what was written for too long, as
    /// the kernel does (`TCP_USER_TIMEOUT`, which the shell sets on every socket). Whether that
    /// has just happened.
    fn let_kernel_give_up(&mut self, number: usize) -> bool {
        let now_ms = self.now_ms();
        let client = &self.clients[number];
        let mut state = client.link.state.borrow_mut();
        // On an event stream more is written meanwhile, which does not put it off.
        let moments_ms = match client.is_stream {
            true => [state.untaken_since_ms, 0],
            false => [state.took_at_ms, state.wrote_at_ms],
        };
        let due = Due::after(moments_ms, self.patience_ms());
        let is_stuck = state.written > state.taken && due.is_over(now_ms);
        if !is_stuck || state.gave_up {
            return false;
        }
        state.gave_up = true;
        drop(state);
        client.link.reset(io::ErrorKind::TimedOut);
        self.plan(now_ms, Action::Breathe(number));
        true
    }

    /// Nobody stays for ever who has no WebSocket: the deadlines of headers, requests and answers.
    fn judge_request(&self, number: usize, served_ms: u64) {
        let client = &self.clients[number];
        let state = client.link.state.borrow();
        let settings = &self.climate.settings;
        let has_header = match client.listener {
            Listener::Public => settings.proxy == ProxyMode::Required,
            Listener::Health => true,
            Listener::Admin => false,
        };
        let limit_ms = if has_header && state.read_bytes == 0 {
            limits::PROXY_LIMIT.as_millis()
        } else {
            let request = [limits::HEAD_LIMIT, limits::BODY_LIMIT, limits::RESPONSE_LIMIT];
            let request_ms = request.map(Duration::as_millis).into_iter().fold(0, u64::max);
            // A poll may be held until its session's time has come.
            let session_ms = self.patience_ms().max(limits::CONNECT_LIMIT.as_millis());
            let held_ms = if client.person.is_some() { session_ms } else { 0 };
            settings.keep_alive.as_millis().max(request_ms).max(held_ms)
        };
        // A session's time is put off by a sleep of the machine.
        let woke_ms = if client.person.is_some() { self.woke_ms } else { 0 };
        // A session of protocol 3 lives on with each packet, on whichever connection, and its poll
        // with it: one that leaves its last channel is not answered anything. In protocol 4 the
        // next ping answers the poll, before its session's time is put off again.
        let asker = client.person.map(|person| &self.people[person]);
        let heard_ms = asker
            .filter(|person| person.version == 3 && client.is_polling())
            .map_or(0, |person| person.hearing.heard_ms());
        let moments_ms = [state.wrote_at_ms, state.read_at_ms, woke_ms, heard_ms];
        // What is said in a POST may wait for whoever decides the order.
        let is_away = self.authority.is_some() && client.person.is_some();
        let held_ms = self.held_ms(number) + if is_away { AWAY_MS } else { 0 };
        let due = Due::after(moments_ms, late(limit_ms) + held_ms);
        assert!(!due.is_over(served_ms), "#{number} may stay for ever: {due:?}");
    }
}

/// When one of those that come before `client` last had its turn, since `last_ms`: a room may wait
/// for its readers between any two of its publishers.
fn last_turn_ms(
    oracle: &Oracle,
    people: &[Person],
    client: &Client,
    last_ms: u64,
    is_held: bool,
) -> u64 {
    let waited =
        |channel: &str, since_ms: u64| oracle.turns.since(channel, since_ms, Speaker::of(client));
    match (&client.session, client.person) {
        (Some(session), _) => {
            // Who came with its words before it was let in has waited for the check of a token
            // until then, not for the room.
            let since_ms = last_ms.max(session.opened_at_ms);
            let Waited { most, last_ms } = waited(&session.channel, since_ms);
            // Who floods has turns in which it says nothing that anybody hears of; and what has its
            // place elsewhere is heard of later than its publisher had its turn.
            // Who has said too much waits for its own account.
            let is_blurred = client.attack.is_some() || oracle.is_ordered_elsewhere || is_held;
            let fair = most <= TURNS_MAX || is_blurred;
            assert!(fair, "#{} waits, others have {most} turns", client.number);
            last_ms
        }
        (None, Some(person)) => {
            let channels = people[person].hearing.channels();
            channels.map(|channel| waited(channel, last_ms).last_ms).max().unwrap_or(0)
        }
        (None, None) => 0,
    }
}
