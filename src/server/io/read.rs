//! The only code that reads a [`Socket`], and what follows from what was read.
//!
//! ```text
//!  per message in:   1 read   1 copy (payload into the ring)   0 allocations
//! ```
//!
//! All reads go into one buffer, behind what the connection had left unread. The connection says
//! step by step what is to be done; here that is done, or handed to whom it concerns (`http`,
//! `session`). What others get of it is the flush pass's business (`flush`).
//!
//! The surprise: the kernel reports readiness once. So a connection that is left before its socket
//! would block is remembered, and read again later.

use crate::conn::{Conn, Payload, Purpose, Step};
use crate::hub::Message;
use crate::id::{ChannelId, ConnId};
use crate::outbound::CloseFrame;
use crate::reason::CloseReason;
use crate::server::connections::Marks;
use crate::server::ending::reason_of;
use crate::server::io::budget::ReadBudget;
use crate::server::io::turns::Wait;
use crate::server::publish::{Outcome, Speaker};
use crate::server::{Event, Readiness, Server, Socket};
use crate::time::Now;
use crate::wire::ws::Kind;
use crate::{limits, work};
use std::io;

/// What reading needs, of which there is one for all connections.
#[derive(Debug)]
pub(in crate::server) struct Reading {
    /// The one buffer that every read goes into.
    buffer: Vec<u8>,
    /// What this turn may still do for publishers.
    pub(in crate::server) budget: ReadBudget,
    /// Whether the publisher that is being read has said anything.
    pub(in crate::server) spoke: bool,
    /// Whether others waited to be read when it began that a connection is read, and it was not
    /// the first of them.
    pub(in crate::server) others_wait: bool,
}

impl Reading {
    /// An empty buffer, and the budget of a whole turn.
    pub(in crate::server) fn new() -> Reading {
        let buffer = vec![0; limits::READ_BUFFER_BYTES];
        Reading { buffer, budget: ReadBudget::of_turn(), spoke: false, others_wait: false }
    }
}

impl<S: Socket> Server<S> {
    /// Something may be possible with a socket. Ids of connections that are gone are ignored.
    ///
    /// Bounded work: [`limits::READS_PER_TURN`] reads. A publisher is read only while the turn's
    /// share lasts and nobody waits in front of it; what it has sent together with its request is
    /// kept until then. Who can be written to again waits for the pass.
    pub fn ready(&mut self, now: Now, id: ConnId, readiness: Readiness) {
        self.gate.begin();
        self.take_readiness(now, id, readiness);
        self.reap(now);
        self.gate.judge(&self.settings.limits);
    }

    fn take_readiness(&mut self, now: Now, id: ConnId, readiness: Readiness) {
        self.tell_time(now);
        if !self.connections.lives(id) {
            return;
        }
        self.connections.note_readiness(id.slot, readiness);
        if readiness.readable || readiness.more_behind {
            let waits = self.reading.budget.is_spent() || self.connections.count_to_read() > 0;
            if waits && self.connections.conn(id.slot).is_publishing() {
                self.read_later(now, id, false);
            } else {
                self.read(now, id);
            }
        }
    }

    /// Reads what there is, up to the turn's budget, and acts on it. What is said in a channel
    /// waits until those have been read that waited before.
    pub(in crate::server) fn read(&mut self, now: Now, id: ConnId) {
        self.reading.others_wait = self.connections.count_to_read() > 0;
        self.read_on(now, id);
    }

    /// Reads what there is, and acts on it, whoever else waits to be read: it is the connection's
    /// turn, or its last chance to prove that it lives.
    pub(in crate::server) fn read_first(&mut self, now: Now, id: ConnId) {
        self.reading.others_wait = false;
        self.read_on(now, id);
    }

    fn read_on(&mut self, now: Now, id: ConnId) {
        // Taken out for the time of the call, so that what was read can be borrowed beside `self`.
        let mut buffer = core::mem::take(&mut self.reading.buffer);
        self.reading.spoke = false;
        self.reading.budget.begin_read();
        work::count(|work| work.reads += 1);
        let mut spent = true;
        for number in 0..limits::READS_PER_TURN {
            if !self.read_once(now, id, &mut buffer, number) {
                spent = false;
                break;
            }
            if self.reading.budget.is_spent() || self.has_said_enough(id.slot) {
                break;
            }
        }
        self.reading.buffer = buffer;
        if spent {
            self.read_later(now, id, self.reading.spoke);
        }
        if self.connections.conn(id.slot).out.is_pending(None) {
            self.connections.send_soon(id.slot);
        }
        self.relieve(now);
    }

    /// The turn's read of this `number` and what follows from it; whether another is worth while.
    fn read_once(&mut self, now: Now, id: ConnId, buffer: &mut [u8], number: usize) -> bool {
        if self.hold_back(now, id) {
            return false;
        }
        if self.connections.conn(id.slot).has_body_left() {
            // It had to stop in the middle of what a POST had brought.
            self.take_collected(now, id);
            return self.has_more(id);
        }
        // What a client sends behind a request that is being answered waits in its socket: kept
        // here, it would fill the buffer, and a read into no room would look like the end.
        if !self.connections.conn(id.slot).wants_input() {
            return false;
        }
        let kept = if self.connections.conn(id.slot).has_input() {
            let pool = &mut self.pool;
            self.connections.change(id.slot, |conn| conn.take_input(pool, buffer))
        } else {
            0
        };
        let may_say = self.may_say(now, id.slot);
        let asked = read_bytes(self.connections.conn(id.slot), number, may_say);
        let arrived = self.connections.read(id.slot, |socket, marks| {
            // What was read and not taken in comes first: more behind it would only be kept, too.
            let left_off = core::mem::take(&mut marks.left_off) && kept > 0;
            let asked = if left_off { 0 } else { asked };
            read_socket(socket, marks, &mut buffer[kept..], asked)
        });
        let arrived = match arrived {
            Ok(arrived) => arrived,
            Err(error) => {
                let reason = reason_of(&error);
                self.remove(now, id.slot, reason, false);
                return false;
            }
        };
        if self.connections.conn(id.slot).is_publishing() {
            self.reading.budget.spend_bytes(arrived);
        }
        if arrived > 0 {
            self.metrics.received_bytes += arrived as u64;
            let answered = self.connections.change(id.slot, |conn| conn.heard(now.mono));
            self.metrics.count_pong(answered);
        }
        self.receive(now, id, &mut buffer[..kept + arrived]);
        let marks = self.connections.marks(id.slot);
        let has_its_turn_again = marks.left_off && self.must_wait(now, id.slot) == Wait::Not;
        if marks.ended && self.connections.conn(id.slot).wants_input() && !has_its_turn_again {
            let step = self.connections.change(id.slot, Conn::receive_end);
            self.apply(now, id, step);
            return false;
        }
        self.has_more(id)
    }

    /// Whether a connection has more to say than was taken in. It may have to wait: whoever goes on
    /// sees to it that it stands in a list then, since its share may be over in the very moment in
    /// which it closes its channel.
    fn has_more(&self, id: ConnId) -> bool {
        let (conn, marks) = (self.connections.conn(id.slot), self.connections.marks(id.slot));
        marks.left_off || conn.has_body_left() || marks.readable && conn.wants_input()
    }

    /// Hands what arrived to the connection, step by step, and keeps what it leaves.
    fn receive(&mut self, now: Now, id: ConnId, bytes: &mut [u8]) {
        let (mut at, mut held) = (0, false);
        while at < bytes.len() {
            let publishing = self.connections.conn(id.slot).is_publishing();
            let is_beyond = publishing && self.reading.budget.is_read_over();
            // A backend says one thing at a time, maybe in many chunks, and waits for nobody.
            let is_free = is_beyond && self.is_backend(id.slot);
            // Without memory for the rest it is taken in now rather than lost, as far as the turn
            // has something left for that.
            if publishing && self.has_said_enough(id.slot) {
                if self.keep(id, &bytes[at..]) {
                    self.connections.set_left_off(id.slot, true);
                    return;
                }
                if !is_free && !self.reading.budget.may_force() {
                    break;
                }
            }
            held = self.hold_back(now, id);
            if held {
                break;
            }
            let is_packet = publishing && !is_free;
            self.reading.budget.spend_units(u32::from(is_packet));
            work::count(|work| {
                work.packets += u64::from(is_packet);
                work.forced += u64::from(is_packet && is_beyond);
            });
            let rest = &mut bytes[at..];
            let (used, step) = self.change(now, id.slot, |conn, cx| conn.receive(cx, rest));
            at += used;
            if self.settings.limits.message_rate.is_some()
                && publishing
                && used > 0
                && self.connections.conn(id.slot).is_between_frames()
            {
                self.charge(now, id.slot);
            }
            let holds = matches!(step, Step::Hold);
            let go_on = if let Step::Head = step {
                self.answer(now, id.slot, &bytes[at - used..at]);
                let conn = self.connections.conn(id.slot);
                if conn.is_queued() || conn.awaited_channel().is_some() {
                    // All of it is read again when the wait is over.
                    at -= used;
                }
                true
            } else {
                self.apply(now, id, step)
            };
            if !go_on {
                held = holds;
                break;
            }
        }
        self.connections.set_left_off(id.slot, held);
        if !self.keep(id, &bytes[at..]) {
            let reason = CloseReason::NoMemory;
            if !self.connections.conn(id.slot).is_open() {
                return self.remove(now, id.slot, reason, false);
            }
            self.close(now, id.slot, CloseFrame::Reason(reason), reason);
        }
    }

    /// Whether what is being read is what a backend has published over HTTP.
    fn is_backend(&self, slot: u32) -> bool {
        matches!(self.connections.conn(slot).purpose(), Some(Purpose::Message(_)))
    }

    /// Keeps what a connection leaves of its bytes. `false` when the pool is empty.
    fn keep(&mut self, id: ConnId, rest: &[u8]) -> bool {
        if rest.is_empty() {
            return true;
        }
        let pool = &mut self.pool;
        self.connections.change(id.slot, |conn| conn.keep_input(pool, rest))
    }

    /// Does what a connection asks for. Whether it is worth calling again with the rest.
    pub(in crate::server) fn apply(&mut self, now: Now, id: ConnId, step: Step<'_>) -> bool {
        match step {
            // A head is answered by the reader, which has its bytes.
            Step::Continue | Step::Head => true,
            Step::NeedMore | Step::Hold => false,
            Step::Proxied { vpc_endpoint } => {
                if let Some(vpc_endpoint) = vpc_endpoint {
                    let client = self.client(id.slot);
                    self.events.push(&mut self.pool, Event::endpoint(client, vpc_endpoint));
                }
                true
            }
            Step::Refuse(error) => {
                self.refuse_head(now, id.slot, error);
                true
            }
            Step::AnswerAnew => {
                self.connections.answer_anew(id.slot, now.mono);
                false
            }
            Step::RefuseLate => {
                self.refuse_late(now, id.slot);
                true
            }
            Step::RefuseUnchecked => {
                self.refuse_unchecked(now, id.slot);
                true
            }
            Step::Publish(kind, payload) => {
                self.take_message(now, id, kind, payload);
                true
            }
            Step::Collected => {
                self.take_collected(now, id);
                true
            }
            Step::Uncollected(error) => {
                match self.connections.conn(id.slot).purpose() {
                    Some(Purpose::Message(_)) => self.refuse_draft(now, id, error),
                    Some(Purpose::Packets { .. }) | None => self.refuse_post(now, id, error),
                }
                true
            }
            Step::Unanswered => {
                self.answer_nothing_yet(now, id);
                true
            }
            Step::Pinged => {
                self.connections.send_soon(id.slot);
                true
            }
            Step::Close(frame, reason) => {
                self.close(now, id.slot, frame, reason);
                true
            }
            Step::Linger(reason) => {
                self.linger(now, id.slot, reason);
                true
            }
            Step::End(reason) => {
                self.remove(now, id.slot, reason, false);
                false
            }
            Step::Cut(reason) => {
                self.remove(now, id.slot, reason, true);
                false
            }
        }
    }

    /// A request body is whole: packets of a session, or what a backend says.
    fn take_collected(&mut self, now: Now, id: ConnId) {
        match self.connections.conn(id.slot).purpose() {
            Some(Purpose::Packets { .. }) => self.take_posted(now, id),
            Some(Purpose::Message(_)) => self.take_draft(now, id),
            None => {}
        }
    }

    /// A WebSocket has brought a whole message: for its channel, or for its session.
    pub(in crate::server) fn take_message(
        &mut self,
        now: Now,
        id: ConnId,
        kind: Kind,
        payload: Payload<'_>,
    ) {
        match payload {
            Payload::Borrowed(bytes) => self.take_bytes(now, id, kind, bytes),
            Payload::Assembled(buffer) => {
                let bytes = self.pool.borrow_out(buffer);
                self.take_bytes(now, id, kind, &bytes);
                self.pool.put_back(buffer, bytes);
                self.pool.give(buffer);
            }
        }
    }

    fn take_bytes(&mut self, now: Now, id: ConnId, kind: Kind, bytes: &[u8]) {
        let conn = self.connections.conn(id.slot);
        if let Some(membership) = conn.membership() {
            self.publish_plain(now, id, membership.channel, kind, bytes);
        } else if let Some(session_id) = conn.session() {
            self.take_frame(now, id, session_id, kind, bytes);
        }
    }

    /// Appends a plain WebSocket's message to its channel.
    fn publish_plain(
        &mut self,
        now: Now,
        id: ConnId,
        channel: ChannelId,
        kind: Kind,
        bytes: &[u8],
    ) {
        let message = match kind {
            Kind::Text => Message::Text(bytes),
            Kind::Binary => Message::Binary(bytes),
        };
        match self.publish(now, Speaker::Conn(id), channel, &message) {
            Outcome::Published { .. } | Outcome::Deferred(_) => {}
            Outcome::MayNotSpeak => {
                let reason = CloseReason::MayNotSpeak;
                self.close(now, id.slot, CloseFrame::Reason(reason), reason);
            }
            Outcome::Refused(error) => {
                let reason = error.reason();
                self.close(now, id.slot, CloseFrame::Reason(reason), reason);
            }
        }
    }

    /// Reads requests that have waited for the check of their tokens, as many as may be checked in
    /// a turn.
    pub(in crate::server) fn run_checks(&mut self, now: Now) {
        self.checks.begin();
        for _ in 0..limits::SENDS_PER_TURN {
            if !self.checks.are_left() {
                break;
            }
            let Some(id) = self.connections.next_to_check() else { break };
            self.connections.change(id.slot, Conn::unqueue);
            self.read(now, id);
        }
        self.checks.end();
    }

    /// Reads those that were put off. Whoever finds its channel closed again goes back to the
    /// channel's list, which is no read: were that counted, those behind them would be in front
    /// when the channel is opened next, and of some numbers of publishers always the same few.
    pub(in crate::server) fn run_resumed(&mut self, now: Now) {
        let mut reads_left = limits::SENDS_PER_TURN;
        let mut unvisited = self.connections.count_to_read();
        let mut any_paused = false;
        while unvisited > 0
            && reads_left > 0
            && !self.reading.budget.is_spent()
            && let Some(id) = self.connections.next_to_read()
        {
            unvisited -= 1;
            if let Wait::ForTheChannel(channel) = self.must_wait(now, id.slot) {
                self.pause(id, channel, false);
                any_paused = true;
                continue;
            }
            reads_left -= 1;
            self.read_first(now, id);
            // It may be the one that has closed the channel, and the last that is read.
            any_paused |= matches!(self.must_wait(now, id.slot), Wait::ForTheChannel(_));
        }
        if any_paused {
            self.pause_behind(now, unvisited);
        }
    }
}

/// How many bytes the turn's read of this `number` asks for. Little at first, since what is not
/// taken in at once must be kept; what an unfinished message still wants is taken in. Whoever may
/// say only so many things is read no further than these are likely to reach.
fn read_bytes(conn: &Conn, number: usize, may_say: Option<u32>) -> usize {
    let bytes = if conn.is_publishing() {
        let few = may_say.map_or(limits::READ_BYTES_OF_PUBLISHERS, |count| {
            // At most 1000, or one that is held back anyway.
            let bytes = limits::READ_BYTES_OF_A_MESSAGE * (count.max(1) as usize);
            bytes.min(limits::READ_BYTES_OF_PUBLISHERS)
        });
        (few << number).min(limits::READ_BYTES_OF_PUBLISHERS_MAX) + conn.wanted_bytes()
    } else {
        limits::READ_BYTES_OF_REQUESTS << number
    };
    bytes.min(limits::READ_BYTES_MAX)
}

/// Reads once, `asked` bytes at most; 0 if there was nothing, or the end, which is noted.
fn read_socket<S: Socket>(
    socket: &S,
    marks: &mut Marks,
    buffer: &mut [u8],
    asked: usize,
) -> io::Result<usize> {
    if !marks.readable || marks.ended || asked == 0 {
        return Ok(0);
    }
    let asked = buffer.len().min(asked);
    match socket.read(&mut buffer[..asked]) {
        Ok(0) => {
            marks.ended = true;
            marks.readable = false;
            Ok(0)
        }
        Ok(arrived) => {
            work::count(|work| work.read_bytes += arrived as u64);
            // A stream socket that gave less than asked has no more (epoll(7)), unless its end or
            // the mark of urgent data stopped it, behind which there is more that would not be
            // reported again.
            marks.readable = arrived == asked || marks.more_behind;
            Ok(arrived)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            marks.readable = false;
            Ok(0)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}
