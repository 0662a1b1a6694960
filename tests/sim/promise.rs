//! What the others are promised, whoever attacks: counted in turns of the loop, not in time.
//!
//! A turn shares its 64 sends out: own bytes, answers to polls, those that can be written to again
//! and sweeps each have a part that the others cannot take while it is wanted. Each of them is a
//! queue in which a connection stands once at most, so whoever waits in one waits for those in
//! front and no longer, whatever anybody else does. From that follows how many turns it may take
//! until a reader has what was published, a poll its answer, a probe its `ok`. The bounds hold for
//! every seed; with attackers they are what is at stake.
//!
//! A wait begins when the server has been told all that it needs: what was published is appended,
//! the socket can be written to, the request has arrived and was reported. It begins anew when the
//! socket is full or the bytes stay away.

use std::collections::BTreeMap;

use elbow::limits;

use super::World;
use crate::client::Client;
use crate::oracle::Oracle;

/// Sends of a turn that own bytes have while they are wanted.
const OWN_SHARE: u64 = 16;
/// Sends of a turn that answers to polls have while they are wanted.
const POLL_SHARE: u64 = 12;
/// Sends of a turn that those have who can be written to again.
const RETURNING_SHARE: u64 = 12;
/// Sends of a turn that sweeps have while they are wanted.
const SWEEP_SHARE: u64 = 24;
/// Turns until something stands in its queue, and until the oracle sees what came of it.
const SLACK: u64 = 4;
/// Sweeps of its channel until a reader has a message: the one under way may have passed it.
const SWEEPS: u64 = 2;

/// The most of everything that there has been in a run, since what somebody waits for may be the
/// work of those that are gone by now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    connections: u64,
    /// Connections that may have more to be sent than answers.
    readers: u64,
    /// Sessions of Socket.IO, of which each may have a poll to be answered.
    sessions: u64,
    /// Members of the largest channel.
    members: u64,
    /// What all channels together take of a pass for sweeps when each has its part once: a channel
    /// has all of it, or what its members are if they are fewer.
    round: u64,
}

/// Turns that each may take.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    reader: u64,
    poll: u64,
    probe: u64,
}

impl Peak {
    /// What follows for those that wait, if a connection that has its turn costs `sends` at most,
    /// and putting a poll's answer together as many as `poll_sends`.
    fn bounds(self, sends: u64, poll_sends: u64) -> Bounds {
        let turns = |waiting: u64, sends: u64, share: u64| (waiting * sends).div_ceil(share);
        // A channel has its part as often as it is its turn among those that are swept, and in each
        // round each of them has it once.
        let others = self.round - SWEEP_SHARE.min(self.members);
        let round = 1 + turns(others, sends, SWEEP_SHARE);
        let swept = SWEEPS * turns(self.members, sends, SWEEP_SHARE) * round;
        // Who can be written to again stands in the queue of those, or is found by a sweep.
        let returning = turns(self.readers, sends, RETURNING_SHARE);
        let own = turns(self.connections, sends, OWN_SHARE);
        // A poll is found by a sweep, and then its session stands in a queue; the answer goes out
        // as own bytes.
        let planned = turns(self.sessions, poll_sends, POLL_SHARE);
        Bounds {
            reader: SLACK + swept.max(returning),
            poll: SLACK + swept + planned + own,
            probe: SLACK + own,
        }
    }
}

impl World {
    pub(super) fn judge_promises(&mut self) {
        let turn = self.turns;
        let bounds = self.bounds();
        for number in 0..self.clients.len() {
            let client = &mut self.clients[number];
            if !client.is_accepted() {
                continue;
            }
            note_blocked(client, turn);
            let owed = owed_reader(&self.oracle, client);
            let waited = owed.map_or(0, |since| turn - since);
            assert!(
                waited <= bounds.reader,
                "#{number} reads, and has waited {waited} turns for a message: {bounds:?}"
            );
            let waited = owed_probe(client).map_or(0, |since| turn - since);
            assert!(
                waited <= bounds.probe,
                "#{number} probes, and has waited {waited} turns for an answer: {bounds:?}"
            );
        }
        for number in 0..self.people.len() {
            self.judge_promise_to(number, bounds);
        }
    }

    fn bounds(&mut self) -> Bounds {
        if std::mem::take(&mut self.oracle.entered) {
            self.count_members();
        }
        let reads = |client: &&Client| client.is_accepted() && client.reads_much();
        let readers = self.clients.iter().filter(reads).count() as u64;
        let peak = &mut self.peak;
        peak.connections = peak.connections.max(self.server.connections() as u64);
        peak.readers = peak.readers.max(readers);
        peak.sessions = peak.sessions.max(self.server.sessions() as u64);
        let offered = self.net.most_offered.get() / limits::SEND_BYTES as u64;
        let records = self.oracle.most_polled / limits::SEND_RECORDS as u64;
        peak.bounds(1 + offered, 1 + offered + records)
    }

    /// Somebody has entered a channel: there may be more than ever before.
    fn count_members(&mut self) {
        let open = |client: &Client| client.session.as_ref().is_some_and(|s| !s.is_closed);
        let plain = self.clients.iter().filter(|client| open(client));
        let plain = plain.filter_map(|client| client.session.as_ref()).map(|s| &*s.channel);
        let places = self.people.iter().flat_map(|person| person.hearing.channels());
        let mut channels = BTreeMap::new();
        for channel in plain.chain(places) {
            *channels.entry(channel).or_insert(0) += 1;
        }
        let members = channels.values().copied().max().unwrap_or(0);
        let round = channels.values().map(|members| SWEEP_SHARE.min(*members)).sum();
        self.peak.members = self.peak.members.max(members);
        self.peak.round = self.peak.round.max(round);
    }

    fn judge_promise_to(&mut self, number: usize, bounds: Bounds) {
        let turn = self.turns;
        let person = &self.people[number];
        let hearing = &person.hearing;
        let waits = hearing.end.is_none() && hearing.is_in_any() && !hearing.unchecked;
        let receptive = waits && !hearing.told_close && self.is_receptive(person);
        let settled = person.is_settled();
        let hearing = &mut self.people[number].hearing;
        if !receptive || !settled {
            hearing.receptive_turn = turn;
            return;
        }
        let Some(owed) = hearing.owed_since(&self.oracle.channels) else { return };
        let waited = turn - owed.max(hearing.receptive_turn);
        let person = &self.people[number];
        let bound = if person.socket.is_some() { bounds.reader } else { bounds.poll };
        assert!(
            waited <= bound,
            "@{number} can be told, and has waited {waited} turns: {bounds:?}, {}",
            person.stand()
        );
    }
}

/// Since when a client's wait has not been its own doing.
fn note_blocked(client: &mut Client, turn: u64) {
    let state = client.link.state.borrow();
    if state.blocked {
        client.free_turn = turn;
    }
    if !state.is_told() || !client.outbox.is_empty() {
        client.told_turn = turn;
    }
}

/// When what a plain WebSocket waits for was appended, or could be sent.
fn owed_reader(oracle: &Oracle, client: &Client) -> Option<u64> {
    let session = client.session.as_ref()?;
    let over = session.is_closed || session.is_lapped || session.close_code.is_some();
    if over || client.link.state.borrow().dropped {
        return None;
    }
    // Where it is not known at which of several places it began, what it is owed for certain stands
    // behind the last of them.
    let begin = match session.starts[..] {
        [] | [_] => 0,
        ref starts => starts.iter().map(|start| start.place).max().unwrap_or_default(),
    };
    let next = begin.max(session.joined + session.got);
    let log = &oracle.channels[&session.channel];
    if session.parted_ms.is_some() && log.gaps.contains(&next) {
        return None;
    }
    let appended = *log.plain_turns.get(next)?;
    // What was said before it came, or before it was given the last, begins to wait then.
    Some(appended.max(client.free_turn).max(session.got_turn))
}

/// When somebody's first question, whether the server is alive, had arrived.
fn owed_probe(client: &Client) -> Option<u64> {
    let asked = client.expected.front()?;
    let state = client.link.state.borrow();
    // Who has vanished may have done so in the middle of its question.
    let waits = client.answered == 0 && asked.text == Some("ok") && !state.dropped && !client.gone;
    (waits && client.ended.is_none()).then_some(client.told_turn.max(client.free_turn))
}
