//! The only code that writes to a [`Socket`]: the flush pass.
//!
//! ```text
//!  per delivery:   a 64th of a poll   1 send   0 copies (the ring is what is sent)   0 allocations
//! ```
//!
//! After something was appended to a channel, each member is visited and sends from its own place
//! up to the head *of that moment*. That goes in portions of [`limits::SENDS_PER_TURN`], with a
//! poll between two, so that what arrives during a pass reaches the rest of it at once and nobody
//! waits for a broadcast to end. A portion is gathered first, then handed over whole ([`Batch`]),
//! then what came of each send is acted on.
//!
//! The surprise: acting on one send may end another connection of the portion, and with it a
//! channel. A connection that has ended is inert, and nothing more is made of what its socket took.

use std::io;

use crate::conn::Progress;
use crate::feed::Feed;
use crate::hub::{self, Hub, Visit};
use crate::id::{ChannelId, ConnId, Member, Reader};
use crate::outbound::Source;
use crate::reason::CloseReason;
use crate::server::connections::ToSend;
use crate::server::ending::reason_of;
use crate::server::io::turns::Wait;
use crate::server::session::polling::Answered;
use crate::server::{Batch, Outgoing, Server, Socket};
use crate::site::Site;
use crate::time::Now;
use crate::{limits, work};

/// Visits of a sweep that send nothing (to the blocked and the caught-up) cost this little of a
/// send's share of the turn.
const VISITS_PER_SEND: usize = 16;

/// Flushes that are worth trying while the pool's reserve is in use.
const RELIEF_SENDS_MAX: usize = limits::SENDS_PER_TURN;

/// Who has something to send, in the order of a pass, and the sends that are kept for each.
const PARTS: [(Part, usize); 4] = [
    (Part::Own, limits::OWN_SENDS_MIN),
    (Part::Polls, limits::POLL_SENDS_MIN),
    (Part::Returning, limits::RETURNING_SENDS_MIN),
    (Part::Sweeps, limits::SWEEP_SENDS_MIN),
];

/// A part of a flush pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// Connections with own bytes: answers, pongs, close frames.
    Own,
    /// Sessions whose held request may be answered.
    Polls,
    /// Connections that can be written to again and lag behind a feed or a file.
    Returning,
    /// Channels with members that have not been sent what was appended.
    Sweeps,
}

/// What is left of a turn's share.
struct Budget {
    sends: usize,
    visits: usize,
    /// Sends that the parts behind this one are sure of.
    kept: usize,
}

impl Budget {
    /// Takes the cost of sending `bytes` from it.
    fn spend(&mut self, bytes: usize) {
        self.sends = self.sends.saturating_sub(1 + bytes / limits::SEND_BYTES);
    }

    /// Takes the cost of a poll's answer from it, which is put together record by record.
    fn spend_on_poll(&mut self, poll: Answered) {
        let cost = poll.bytes / limits::SEND_BYTES + poll.records / limits::SEND_RECORDS;
        self.sends = self.sends.saturating_sub(1 + cost);
    }

    fn is_spent(&self) -> bool {
        self.sends <= self.kept || self.visits == 0
    }
}

/// Connections that are to send, each with how many bytes it has.
struct Portion {
    sends: [(ConnId, usize); limits::SENDS_PER_TURN],
    count: usize,
}

impl Portion {
    fn new() -> Portion {
        let nobody = (ConnId { slot: 0, generation: 0 }, 0);
        Portion { sends: [nobody; limits::SENDS_PER_TURN], count: 0 }
    }

    fn push(&mut self, id: ConnId, length: usize) {
        self.sends[self.count] = (id, length);
        self.count += 1;
    }

    fn sends(&self) -> &[(ConnId, usize)] {
        &self.sends[..self.count]
    }
}

impl<S: Socket> Server<S> {
    /// One portion of sends. Each part of the pass leaves those behind it what is kept for them,
    /// so that nobody who sends much holds up who wants something else; what is left in the end is
    /// given out once more, in the same order.
    pub(in crate::server) fn flush_pass(&mut self, now: Now, batch: &mut impl Batch<S>) {
        let sends = limits::SENDS_PER_TURN;
        let mut budget = Budget { sends, visits: sends * VISITS_PER_SEND, kept: 0 };
        for (number, (part, _)) in PARTS.into_iter().enumerate() {
            if self.is_wanted(part) {
                let behind = PARTS[number + 1..].iter().filter(|(part, _)| self.is_wanted(*part));
                budget.kept = behind.map(|(_, sends)| sends).sum();
                self.flush_part(now, part, &mut budget, batch);
            }
        }
        budget.kept = 0;
        for (part, _) in PARTS {
            if self.is_wanted(part) {
                self.flush_part(now, part, &mut budget, batch);
            }
        }
    }

    /// Whether a part of the pass has something to send.
    fn is_wanted(&self, part: Part) -> bool {
        match part {
            Part::Own => self.connections.count_to_send(ToSend::Own) > 0,
            Part::Polls => self.sessions.has_answers(),
            Part::Returning => self.connections.count_to_send(ToSend::Returning) > 0,
            Part::Sweeps => self.hub.is_active(),
        }
    }

    /// Sends what a part of the pass has, as far as the budget goes. Whoever is queued again
    /// meanwhile has its next turn in the next pass.
    fn flush_part(&mut self, now: Now, part: Part, budget: &mut Budget, batch: &mut impl Batch<S>) {
        match part {
            Part::Own => {
                let mut left = self.connections.count_to_send(ToSend::Own);
                while left > 0
                    && !budget.is_spent()
                    && let Some(id) = self.connections.next_to_send(ToSend::Own)
                {
                    left -= 1;
                    budget.spend(self.flush(now, id));
                }
            }
            Part::Polls => {
                while !budget.is_spent()
                    && let Some(session_id) = self.sessions.next_answer()
                {
                    budget.spend_on_poll(self.answer_poll(now, session_id));
                    self.relieve(now);
                }
            }
            Part::Returning => {
                while !budget.is_spent()
                    && let Some(id) = self.connections.next_to_send(ToSend::Returning)
                {
                    budget.spend(self.flush(now, id));
                }
            }
            Part::Sweeps => {
                while !budget.is_spent()
                    && let Some(channel) = self.hub.next_active()
                {
                    let before = budget.sends;
                    if !self.sweep(now, channel, budget, batch) {
                        // A busy channel may leave one send of each pass to the next channel.
                        let is_short = before - budget.sends < limits::SWEEP_SENDS_MIN;
                        self.hub.stay_active(channel, is_short && budget.is_spent());
                    }
                }
            }
        }
    }

    /// While the pool's reserve is in use, what was queued leaves at once: it is there for no
    /// longer than that.
    pub(in crate::server) fn relieve(&mut self, now: Now) {
        for _ in 0..RELIEF_SENDS_MAX {
            if !self.pool.is_strained() {
                return;
            }
            let own = self.connections.next_to_send(ToSend::Own);
            let next = own.or_else(|| self.connections.next_to_send(ToSend::Returning));
            let Some(id) = next else { return };
            work::count(|work| work.reliefs += 1);
            self.flush(now, id);
        }
    }

    /// Goes on with a channel's sweep; whether it is through and no other has begun.
    fn sweep(
        &mut self,
        now: Now,
        channel: ChannelId,
        budget: &mut Budget,
        batch: &mut impl Batch<S>,
    ) -> bool {
        let mut portion = Portion::new();
        let through = self.gather(now, channel, budget, &mut portion);
        self.send_portion(now, &portion, batch);
        // Whoever has ended may have been the last member. Then the channel is gone, too, or lives
        // on without a sweep because something is kept there.
        if self.hub.is_gone(channel) || self.hub.channel(channel).is_empty() {
            return true;
        }
        if !through {
            return false;
        }
        let connections = &mut self.connections;
        let swept = self.hub.channel_mut(channel);
        self.flushed_us.extend(swept.sweep_since_us());
        !swept.finish_sweep(now.mono, |id| connections.resume(id))
    }

    /// Visits members until the budget is spent or there are no more, which it returns.
    fn gather(
        &mut self,
        now: Now,
        channel: ChannelId,
        budget: &mut Budget,
        portion: &mut Portion,
    ) -> bool {
        while !budget.is_spent() && !self.hub.is_gone(channel) {
            budget.visits -= 1;
            let Some(member) = self.hub.channel_mut(channel).visit() else { return true };
            let (id, length) = match self.calm_sender(member, channel) {
                Some(calm) => calm,
                None => match self.sender(now, member, channel) {
                    Some(id) => (id, self.sendable_bytes(id)),
                    None => continue,
                },
            };
            if length > 0 {
                portion.push(id, length);
                budget.spend(length);
            }
        }
        false
    }

    /// The shortcut for nearly every member at nearly every visit: it reads one channel and was not
    /// overtaken, its socket is not full, and it has nothing of its own to say. `None` if anything
    /// of that is not so.
    fn calm_sender(&self, member: Member, channel: ChannelId) -> Option<(ConnId, usize)> {
        let slot = match member.reader() {
            Reader::Conn(slot) => slot,
            Reader::Session(slot) => self.sessions.member(slot).sole_socket()?.slot,
        };
        let (dialect, cursor) = self.connections.conn(slot).out.follows()?;
        let owed = self.hub.feed(channel, dialect).owed_bytes(cursor.offset)?;
        let is_blocked = self.connections.marks(slot).blocked;
        (!is_blocked).then(|| (self.connections.id(slot), owed as usize))
    }

    /// Who is to send for a member, in every other case.
    fn sender(&mut self, now: Now, member: Member, channel: ChannelId) -> Option<ConnId> {
        match member.reader() {
            Reader::Conn(slot) => self.visit_conn(now, slot, channel),
            Reader::Session(slot) => self.visit_session(now, self.sessions.id(slot), channel),
        }
    }

    /// Hands a portion over and acts on what came of it.
    fn send_portion(&mut self, now: Now, portion: &Portion, batch: &mut impl Batch<S>) {
        let mut results = [const { Ok(0) }; limits::SENDS_PER_TURN];
        let results = &mut results[..portion.count];
        let (connections, hub) = (&self.connections, &self.hub);
        let (site, pool) = (&self.site, &self.pool);
        let sends = portion.sends().iter().map(|(id, _)| {
            let out = &connections.conn(id.slot).out;
            let (feed, body) = sources(hub, site, out.source());
            let slices = out.transmit(feed, body, pool).slices;
            Outgoing { socket: connections.socket(id.slot), slices }
        });
        batch.send(sends, results);
        work::count(|work| work.sends += portion.count as u64);
        for ((id, length), result) in portion.sends().iter().zip(results) {
            if matches!(result, Ok(taken) if taken == length) && self.catch_up(*id) {
                self.metrics.sent_bytes += *length as u64;
                continue;
            }
            // What came of one send does not concern the others, but for its end.
            let result = core::mem::replace(result, Ok(0));
            if self.sent(now, *id, *length, result) {
                self.flush(now, *id);
            }
        }
    }

    /// The shortcut for nearly every send: the socket took everything, and nothing was waiting for
    /// that. `false`, with nothing changed, if something may have been.
    fn catch_up(&mut self, id: ConnId) -> bool {
        let (conn, marks) = (self.connections.conn(id.slot), self.connections.marks(id.slot));
        let alone = match conn.session() {
            Some(session_id) => self.sessions.get(session_id).sole_socket() == Some(id),
            None => true,
        };
        if marks.choked || marks.unread() || !alone {
            return false;
        }
        let Source::Feed { channel, dialect, .. } = conn.out.source() else { return false };
        let Some((_, cursor)) = conn.out.follows() else { return false };
        let reach = self.hub.feed(channel, dialect).reach(cursor.offset);
        self.metrics.messages_delivered += reach.seq.0 - cursor.seq.0;
        self.connections.out_mut(id.slot).caught_up(reach);
        true
    }

    /// Who is to send for a member: nobody if it waits to be writable, or was overtaken.
    fn visit_conn(&mut self, now: Now, slot: u32, channel: ChannelId) -> Option<ConnId> {
        let Source::Feed { dialect, .. } = self.connections.conn(slot).out.source() else {
            return None;
        };
        match hub::visit(self.hub.feed(channel, dialect), self.socket_state(slot)) {
            Visit::Send => return Some(self.connections.id(slot)),
            Visit::Choke => {
                self.connections.set_choked(slot);
                self.hub.channel_mut(channel).count_choked();
            }
            Visit::Lapped => {
                self.lapped(now, slot);
            }
            Visit::Nothing | Visit::Answer | Visit::Overtaken => {}
        }
        None
    }

    /// Sends until nothing is left or the socket is full, and acts on what was reached by that. How
    /// many bytes the socket took.
    pub(in crate::server) fn flush(&mut self, now: Now, id: ConnId) -> usize {
        let mut taken_bytes = 0;
        while !self.connections.marks(id.slot).blocked {
            self.lapped(now, id.slot);
            let length = self.sendable_bytes(id);
            if length == 0 {
                break;
            }
            let out = &self.connections.conn(id.slot).out;
            let (feed, body) = sources(&self.hub, &self.site, out.source());
            let transmit = out.transmit(feed, body, &self.pool);
            let result = self.connections.socket(id.slot).write(&transmit.slices);
            work::count(|work| work.sends += 1);
            taken_bytes += result.as_ref().map_or(0, |taken| *taken);
            if !self.sent(now, id, length, result) {
                return taken_bytes;
            }
        }
        self.recover(now, id);
        taken_bytes
    }

    /// How much one send would be given; a session turns to a space that has something.
    fn sendable_bytes(&mut self, id: ConnId) -> usize {
        loop {
            let out = &self.connections.conn(id.slot).out;
            let (feed, body) = sources(&self.hub, &self.site, out.source());
            let length = out.transmit(feed, body, &self.pool).len();
            if length > 0 || !self.rotate_spaces(id) {
                return length;
            }
        }
    }

    /// Acts on the result of a send of `length` bytes. Whether the connection lives.
    fn sent(&mut self, now: Now, id: ConnId, length: usize, result: io::Result<usize>) -> bool {
        if self.connections.conn(id.slot).is_over() {
            // What came of another send of the portion was its end.
            return false;
        }
        match result {
            Ok(taken) => {
                self.connections.set_blocked(id.slot, taken < length);
                let out = self.connections.out_mut(id.slot);
                let (feed, _) = sources(&self.hub, &self.site, out.source());
                let before = out.cursor();
                out.transmitted(taken, feed, &mut self.pool);
                let records = out.cursor().zip(before).map(|(now, then)| now.seq.0 - then.seq.0);
                self.metrics.messages_delivered += records.unwrap_or(0);
                self.metrics.sent_bytes += taken as u64;
                return self.progressed(now, id);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.connections.set_blocked(id.slot, true);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                self.remove(now, id.slot, reason_of(&error), false);
                return false;
            }
        }
        true
    }

    /// After bytes have gone: the next phase, if that was all. Whether the connection lives.
    fn progressed(&mut self, now: Now, id: ConnId) -> bool {
        let out = &self.connections.conn(id.slot).out;
        let (feed, _) = sources(&self.hub, &self.site, out.source());
        let is_pending = out.is_pending(feed);
        match self.change(now, id.slot, |conn, cx| conn.progressed(cx, is_pending)) {
            Progress::Ongoing => {}
            Progress::Resumed => {
                if self.connections.marks(id.slot).ended {
                    self.connections.read_soon(id.slot);
                }
                self.read_what_waits(id);
            }
            Progress::Sent(reason) => {
                self.detach(now, id.slot, reason);
                if self.connections.marks(id.slot).ended {
                    self.remove(now, id.slot, reason, false);
                    return false;
                }
                self.linger(now, id.slot, reason);
                self.read_what_waits(id);
            }
        }
        true
    }

    /// Has a connection read soon if it has something to say that has come already.
    fn read_what_waits(&mut self, id: ConnId) {
        if self.connections.conn(id.slot).has_input() || self.connections.marks(id.slot).readable {
            self.connections.read_soon(id.slot);
        }
    }

    /// After sending: who lags less may be read again, and counts as reading.
    fn recover(&mut self, now: Now, id: ConnId) {
        // What waits for a socket that is full must not hold what is there for the others' words.
        let marks = self.connections.marks(id.slot);
        if marks.blocked
            && self.connections.conn(id.slot).out.buffer().is_some()
            && self.pool.is_strained()
        {
            return self.remove(now, id.slot, CloseReason::NoMemory, true);
        }
        if marks.choked && !self.lags(id.slot, hub::chokes) {
            self.uncount_choked(id.slot);
        }
        self.recover_spaces(now, id);
        let waits = self.connections.is_to_read(id.slot);
        let publishes = self.connections.conn(id.slot).is_publishing();
        if marks.unread() && !waits && publishes && self.must_wait(now, id.slot) != Wait::ForItself
        {
            self.read_later(now, id, false);
        }
    }
}

/// What a source refers to.
fn sources<'a>(hub: &'a Hub, site: &'a Site, source: Source) -> (Option<&'a Feed>, &'a [u8]) {
    match source {
        Source::Nothing => (None, &[]),
        Source::Body { asset, .. } => (None, &site.asset(asset).bytes),
        Source::Feed { channel, dialect, .. } => (Some(hub.feed(channel, dialect)), &[]),
    }
}
