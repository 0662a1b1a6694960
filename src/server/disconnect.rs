//! Closing those whom an operator names: by address, by channel, by the subject of their token.
//!
//! ```text
//!   begin ──► a look at every connection and session, in portions ──► who matches is told
//!                                                                      │
//!   answer ◄── all are closed, or their time to be told is over ◄──────┘
//! ```
//!
//! A turn looks at [`LOOKS_PER_TURN`] places and closes [`CLOSES_PER_TURN`] of them, however many
//! disconnects are under way; these take turns. Whoever comes after its place was looked at stays.
//!
//! The surprise: that all were told is not that all are closed. A close frame goes out behind what
//! was published before, so those are looked at again until they are gone.

use core::net::IpAddr;
use std::collections::VecDeque;

use super::{Server, Socket};
use crate::hub::Session;
use crate::id::{ConnId, SessionId, Subject};
use crate::limits;
use crate::outbound::CloseFrame;
use crate::reason::{CloseReason, Farewell};
use crate::time::{Duration, Instant, Now};
use crate::wire::admin;

/// Places that are looked at in a turn.
const LOOKS_PER_TURN: usize = 1024;

/// Connections and sessions that are told in a turn.
const CLOSES_PER_TURN: usize = 64;

/// Time between two looks at those that were told.
const STEP: Duration = Duration::from_millis(50);

/// How long those that were told are waited for: they are cut before that.
const TOLD_LIMIT: Duration = limits::CLOSE_LIMIT.plus(Duration::from_secs(1));

/// Whom a disconnect is for: whoever matches all that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Whom {
    address: Option<IpAddr>,
    channel: Option<Box<str>>,
    /// Who came with a token of this subject, if one was named; nobody if no token was ever taken.
    subject: Option<Option<Subject>>,
}

impl Whom {
    /// Whom a request is for. `subject` tells subjects from their texts.
    pub(super) fn of(asked: &admin::Whom, subject: impl FnOnce(&str) -> Option<Subject>) -> Whom {
        let channel = asked.channel.as_ref().map(|channel| channel.as_str().into());
        let subject = asked.subject.as_ref().map(|text| subject(text.as_str()));
        Whom { address: asked.address, channel, subject }
    }

    /// Whether a subject was named, and `is` says that it is another's.
    fn is_of_others(&self, is: impl FnOnce(Subject) -> bool) -> bool {
        self.subject.is_some_and(|subject| !subject.is_some_and(is))
    }
}

/// How far a disconnect is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Whoever matches is told.
    Telling,
    /// Whoever was told is waited for, until this moment at the latest.
    Waiting { until: Instant },
}

/// One disconnect under way.
#[derive(Debug)]
struct Disconnect {
    /// The connection whose request this is, and the ticket of the answer.
    asker: ConnId,
    ticket: u64,
    whom: Whom,
    stage: Stage,
    /// Places below this have been looked at: first those of connections, then of sessions.
    looked: usize,
    /// Whether somebody who matches was found still to be there in this look at all places.
    any_left: bool,
    /// How many were told.
    closed: u64,
    /// When to go on.
    again: Instant,
}

/// All disconnects under way, of which each connection of the admin listener has one at most.
#[derive(Debug, Default)]
pub(super) struct Disconnects {
    running: VecDeque<Disconnect>,
    begun: u64,
}

impl Disconnects {
    /// Begins a disconnect. Returns the ticket of its answer.
    pub(super) fn begin(&mut self, asker: ConnId, whom: Whom) -> u64 {
        self.begun += 1;
        let (ticket, stage, again) = (self.begun, Stage::Telling, Instant::from_millis(0));
        self.running.push_back(Disconnect {
            asker,
            ticket,
            whom,
            stage,
            looked: 0,
            any_left: false,
            closed: 0,
            again,
        });
        ticket
    }

    /// Whether somebody is still to be told, so that the next turn should come at once.
    pub(super) fn is_telling(&self) -> bool {
        self.running.iter().any(|running| running.stage == Stage::Telling || running.looked > 0)
    }

    /// When to go on; `None` if nothing is under way.
    pub(super) fn next(&self) -> Option<Instant> {
        self.running.iter().map(|running| running.again).min()
    }
}

impl<S: Socket> Server<S> {
    /// Goes on with disconnects, by a portion, and answers those that are done.
    pub(super) fn run_disconnects(&mut self, now: Now) {
        let mut budget = Budget { looks: LOOKS_PER_TURN, closes: CLOSES_PER_TURN };
        for _ in 0..self.disconnects.running.len() {
            let Some(mut running) = self.disconnects.running.pop_front() else { break };
            if running.again <= now.mono && self.go_on(now, &mut running, &mut budget) {
                self.answer_disconnected(now, &running);
            } else {
                self.disconnects.running.push_back(running);
            }
        }
    }

    fn answer_disconnected(&mut self, now: Now, running: &Disconnect) {
        let id = running.asker;
        if self.connections.lives(id) && self.connections.conn(id.slot).awaits(running.ticket) {
            self.answer_closed(now, id, running.closed);
        }
    }

    /// Goes on with one disconnect. Whether it is done.
    fn go_on(&mut self, now: Now, running: &mut Disconnect, budget: &mut Budget) -> bool {
        let (slots, sessions) = (self.connections.slots(), self.sessions.slots());
        while running.looked < slots + sessions {
            if budget.is_spent() {
                return false;
            }
            budget.looks -= 1;
            let place = running.looked;
            running.looked += 1;
            // No table has 2^32 places.
            if place < slots {
                self.look_at_connection(now, place as u32, running, budget);
            } else if let Some(id) = self.sessions.at((place - slots) as u32) {
                self.look_at_session(now, id, running, budget);
            }
        }
        running.looked = 0;
        let any_left = core::mem::take(&mut running.any_left);
        let until = match running.stage {
            Stage::Telling => now.mono.plus(TOLD_LIMIT),
            Stage::Waiting { until } => until,
        };
        running.stage = Stage::Waiting { until };
        running.again = now.mono.plus(STEP);
        !any_left || until <= now.mono
    }

    fn look_at_connection(
        &mut self,
        now: Now,
        slot: u32,
        running: &mut Disconnect,
        budget: &mut Budget,
    ) {
        if !self.connections.contains(slot) {
            return;
        }
        let conn = self.connections.conn(slot);
        let Some(membership) = conn.membership() else { return };
        let whom = &running.whom;
        let is_there = |name: &str| self.hub.channel(membership.channel).name() == name;
        let is = |subject| conn.visa().subject() == Some(subject);
        let matches = !whom.is_of_others(is)
            && whom.address.is_none_or(|address| conn.client().ip() == address)
            && whom.channel.as_deref().is_none_or(is_there);
        if !matches {
            return;
        }
        match (running.stage, conn.is_open()) {
            (Stage::Telling, true) => {
                running.any_left = true;
                running.closed += 1;
                budget.closes -= 1;
                let reason = CloseReason::Disconnected;
                self.close(now, slot, CloseFrame::Reason(reason), reason);
            }
            // Whoever was told before, for whatever reason, is not closed yet.
            (_, false) => running.any_left = true,
            // Whoever comes back meanwhile stays.
            (Stage::Waiting { .. }, true) => {}
        }
    }

    fn look_at_session(
        &mut self,
        now: Now,
        id: SessionId,
        running: &mut Disconnect,
        budget: &mut Budget,
    ) {
        let session = self.sessions.get(id);
        if !self.matches(session, &running.whom) {
            return;
        }
        match (running.stage, session.is_closing()) {
            (Stage::Telling, false) => {
                running.any_left = true;
                running.closed += 1;
                budget.closes -= 1;
                self.close_session(now, id, CloseReason::Disconnected, Farewell::Close);
            }
            (_, true) => running.any_left = true,
            (Stage::Waiting { .. }, false) => {}
        }
    }

    /// Whether a session matches all that is asked for: one in several channels, if it is in that
    /// channel among them.
    fn matches(&self, session: &Session, whom: &Whom) -> bool {
        let name = |channel| self.hub.channel(channel).name();
        let is_in = |other: &str| session.spaces.iter().any(|it| name(it.channel()) == other);
        !whom.is_of_others(|subject| session.is(subject))
            && whom.address.is_none_or(|address| session.client.ip() == address)
            && whom.channel.as_deref().is_none_or(is_in)
    }
}

/// What a turn may still do for disconnects.
struct Budget {
    looks: usize,
    closes: usize,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.looks == 0 || self.closes == 0
    }
}
