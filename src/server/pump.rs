//! The only code that reads and writes a [`Socket`].
//!
//! ```text
//!  per message in:   1 read   1 copy (payload into the ring)          0 allocations
//!  per delivery:     1 write  0 copies (the ring is what is written)  0 allocations
//! ```
//!
//! Reading: all reads go into one buffer, behind what the connection had left unread. The kernel
//! reports readiness once, so a connection that is left before it would block is remembered and
//! read again later. Writing: the flush pass gives each member of a channel one write from its own
//! place up to the head *of that moment*, in portions of [`limits::SENDS_PER_TURN`], so that what
//! arrives during a pass reaches the rest of it at once and nobody waits for a broadcast to end.

use super::{Entry, Event, Server, Socket, Wait, resume_later, resume_paused};
use crate::conn::{Payload, Progress, Step};
use crate::feed::Feed;
use crate::hub::{Hub, Message, PublishError};
use crate::id::{ChannelId, ConnId, Dialect, Reader};
use crate::limits;
use crate::outbound::{CloseFrame, Source};
use crate::reason::CloseReason;
use crate::site::Site;
use crate::time::Now;
use crate::wire::ws::Kind;
use core::net::SocketAddr;
use std::io;

/// Visits of a sweep that send nothing (to the blocked and the caught-up) cost this little of a
/// send's share of the turn.
const VISITS_PER_SEND: usize = 16;

impl<S: Socket> Server<S> {
    /// Reads what there is, up to the turn's budget, and acts on it.
    pub(super) fn read(&mut self, now: Now, id: ConnId) {
        // Taken out for the time of the call, so that what was read can be borrowed beside `self`.
        let mut buffer = core::mem::take(&mut self.buffer);
        let mut spent = true;
        for _ in 0..limits::READS_PER_TURN {
            if !self.read_once(now, id, &mut buffer) {
                spent = false;
                break;
            }
        }
        self.buffer = buffer;
        if let Some(entry) = self.entry(id) {
            let sends = entry.conn.out.is_pending(None);
            if spent {
                resume_later(&mut self.entries, &mut self.resume, id);
            }
            if sends {
                self.enqueue(id.slot);
            }
            self.arm(id.slot);
        }
        self.relieve(now);
    }

    /// One read and what follows from it; whether another is worth while.
    fn read_once(&mut self, now: Now, id: ConnId, buffer: &mut [u8]) -> bool {
        if self.entry(id).is_none() || self.is_held(id) {
            return false;
        }
        if self.entries[id.slot as usize].conn.posted().is_some() {
            // It was held back in the middle of what a POST had brought.
            self.take_posted(now, id);
            return self.entry(id).is_some_and(|entry| entry.readable && entry.conn.wants_input());
        }
        let entry = &mut self.entries[id.slot as usize];
        // What a client sends behind a request that is being answered waits in its socket: kept
        // here, it would fill the buffer, and a read into no room would look like the end.
        if !entry.conn.wants_input() {
            return false;
        }
        let kept = entry.conn.take_input(&mut self.pool, buffer);
        let arrived = match read_socket(entry, &mut buffer[kept..]) {
            Ok(arrived) => arrived,
            Err(error) => {
                let reason = reason_of(&error);
                self.remove(now, id.slot, reason, false);
                return false;
            }
        };
        if arrived > 0 {
            entry.conn.heard(now.mono);
        }
        if !self.receive(now, id, &mut buffer[..kept + arrived]) {
            return false;
        }
        let entry = &mut self.entries[id.slot as usize];
        if entry.ended && entry.conn.wants_input() {
            let step = entry.conn.receive_end();
            self.apply(now, id, step);
            return false;
        }
        entry.readable && entry.conn.wants_input()
    }

    /// Hands what arrived to the connection, step by step, and keeps what it leaves. Whether the
    /// connection still lives.
    fn receive(&mut self, now: Now, id: ConnId, bytes: &mut [u8]) -> bool {
        let mut at = 0;
        while at < bytes.len() && !self.is_held(id) {
            let (entry, mut cx) = self.parts(now, id.slot);
            let (used, step) = entry.conn.receive(&mut cx, &mut bytes[at..]);
            at += used;
            let go_on = if let Step::Head = step {
                self.answer(now, id.slot, &bytes[at - used..at]);
                true
            } else {
                self.apply(now, id, step)
            };
            if self.entry(id).is_none() {
                return false;
            }
            if !go_on {
                break;
            }
        }
        let entry = &mut self.entries[id.slot as usize];
        if !entry.conn.keep_input(&mut self.pool, &bytes[at..]) {
            if !entry.conn.is_open() {
                self.remove(now, id.slot, CloseReason::NoMemory, false);
                return false;
            }
            let reason = CloseReason::NoMemory;
            self.close(now, id.slot, CloseFrame::Reason(reason), reason);
        }
        true
    }

    /// Whether a publisher must wait. If it is for the room, it is put on the room's list.
    pub(super) fn is_held(&mut self, id: ConnId) -> bool {
        match self.must_wait(id.slot) {
            Wait::Not => false,
            Wait::ForItself => true,
            Wait::ForTheRoom(channel) => {
                let entry = &mut self.entries[id.slot as usize];
                if !entry.resuming {
                    entry.resuming = true;
                    self.metrics.publishers_paused += 1;
                    self.hub.channel_mut(channel).pause(id);
                }
                true
            }
        }
    }

    /// A WebSocket has brought a whole message: for its channel, or for its session.
    pub(super) fn take_message(&mut self, now: Now, id: ConnId, kind: Kind, payload: Payload<'_>) {
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
        let conn = &self.entries[id.slot as usize].conn;
        if let Some(place) = conn.place() {
            self.publish_plain(now, id, place.channel, kind, bytes);
        } else if let Some(session) = conn.session() {
            self.take_frame(now, id, session, kind, bytes);
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
        match self.hub.publish(&mut self.pool, channel, &message) {
            Ok(()) => {
                self.entries[id.slot as usize].conn.count_published();
                let client = self.client(id.slot);
                self.count_published(client, &message);
            }
            Err(error) => {
                let reason = reason_of_refusal(error);
                self.close(now, id.slot, CloseFrame::Reason(reason), reason);
            }
        }
    }

    /// Counts a message that is in the feed, and reports it if that was asked for.
    pub(super) fn count_published(&mut self, client: SocketAddr, message: &Message<'_>) {
        self.metrics.messages_published += 1;
        if self.settings.report_messages {
            let text = match message {
                Message::Text(text) => String::from_utf8_lossy(text).into(),
                Message::Binary(bytes) => format!("({} bytes)", bytes.len()).into(),
                Message::Event { args, .. } => (*args).into(),
                Message::Hi => "hi".into(),
            };
            self.events.push_back(Event::Message { client, text });
        }
    }

    /// While the pool's reserve is in use, what was queued leaves at once: it is there for no
    /// longer than that.
    fn relieve(&mut self, now: Now) {
        while self.pool.is_strained()
            && let Some(slot) = self.queue.pop_front()
        {
            self.flush_queued(now, slot);
        }
    }

    /// Flushes who stood in the queue of those with own bytes to send; whether anybody did.
    fn flush_queued(&mut self, now: Now, slot: u32) -> bool {
        // A slot that was filled again in the meantime has nothing to send, or has it sent.
        let Some(entry) = self.entries.get_mut(slot as usize) else { return false };
        entry.queued = false;
        self.flush(now, self.id(slot));
        true
    }

    /// One portion of sends: own bytes first, since few wait for them and somebody waits for each;
    /// then the channels in turn.
    pub(super) fn flush_pass(&mut self, now: Now) {
        let mut sends = limits::SENDS_PER_TURN;
        while sends > 0
            && let Some(slot) = self.queue.pop_front()
        {
            sends -= usize::from(self.flush_queued(now, slot));
        }
        while sends > 0
            && let Some(session) = self.polls.pop_front()
        {
            if self.engine.contains(session) {
                self.engine.get_mut(session).queued = false;
                self.answer_poll(now, session);
                self.relieve(now);
                sends -= 1;
            }
        }
        let mut visits = limits::SENDS_PER_TURN * VISITS_PER_SEND;
        while sends > 0
            && visits > 0
            && let Some(channel) = self.hub.next_active()
        {
            let finished = self.sweep(now, channel, &mut sends, &mut visits);
            if !finished {
                self.hub.stay_active(channel);
            }
        }
    }

    /// Goes on with a channel's sweep; whether it is through and no other has begun.
    fn sweep(
        &mut self,
        now: Now,
        channel: ChannelId,
        sends: &mut usize,
        visits: &mut usize,
    ) -> bool {
        while *sends > 0 && *visits > 0 {
            *visits -= 1;
            let Some(member) = self.hub.channel_mut(channel).visit() else {
                let (entries, resume) = (&mut self.entries, &mut self.resume);
                return !self
                    .hub
                    .channel_mut(channel)
                    .finish_sweep(now.mono, |id| resume_paused(entries, resume, id));
            };
            let sent = match member.reader() {
                Reader::Conn(slot) => self.visit_conn(now, slot, channel),
                Reader::Session(session) => self.visit_session(now, session, channel),
            };
            *sends -= usize::from(sent);
            // Somebody's end may have been the channel's, if they were alone there.
            if self.hub.is_gone(channel) {
                return true;
            }
        }
        false
    }

    /// Lets a member send; whether that took a call.
    fn visit_conn(&mut self, now: Now, slot: u32, channel: ChannelId) -> bool {
        if self.lapped(now, slot) {
            return false;
        }
        let entry = &self.entries[slot as usize];
        if entry.blocked {
            if !entry.choked && entry.conn.is_open() && self.lags(slot, 2) {
                self.entries[slot as usize].choked = true;
                self.hub.channel_mut(channel).count_choked();
            }
            return false;
        }
        let feed = self.hub.feed(channel, Dialect::Plain);
        if !entry.conn.out.is_pending(Some(feed)) {
            return false;
        }
        self.flush(now, self.id(slot));
        true
    }

    /// A reader that the ring has overtaken is told so, or cut if it stands inside a record.
    /// Whether that was so.
    pub(super) fn lapped(&mut self, now: Now, slot: u32) -> bool {
        let entry = &self.entries[slot as usize];
        let Source::Feed { channel, dialect, cursor, .. } = entry.conn.out.source() else {
            return false;
        };
        let channel = self.hub.channel(channel);
        let feed = channel.feed(dialect).expect("a feed lives as long as its readers");
        if !entry.conn.out.is_lapped(feed) {
            return false;
        }
        self.events.push_back(Event::Lapped {
            client: entry.conn.client().address(),
            channel: channel.name().into(),
            lag_bytes: feed.head().since(cursor.offset),
        });
        let reason = CloseReason::TooSlow;
        if entry.conn.out.is_inside_record() {
            self.remove(now, slot, reason, true);
        } else {
            self.close(now, slot, CloseFrame::Reason(reason), reason);
            self.entries[slot as usize].conn.out.skip_to_close();
        }
        true
    }

    /// Sends until nothing is left or the socket is full, and acts on what was reached by that.
    pub(super) fn flush(&mut self, now: Now, id: ConnId) {
        while let Some(entry) = self.entry(id)
            && !entry.blocked
        {
            if self.lapped(now, id.slot) && self.entry(id).is_none() {
                return;
            }
            let entry = &mut self.entries[id.slot as usize];
            let (feed, body) = sources(&self.hub, &self.site, entry.conn.out.source());
            let transmit = entry.conn.out.transmit(feed, body, &self.pool);
            let length = transmit.len();
            if length == 0 {
                if self.turn_to_next_space(id) {
                    continue;
                }
                break;
            }
            let written = entry.socket.write(&transmit.slices);
            match written {
                Ok(taken) => {
                    entry.blocked = taken < length;
                    entry.conn.out.transmitted(taken, feed, &mut self.pool);
                    if !self.progressed(now, id) {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => entry.blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.remove(now, id.slot, reason_of(&error), false);
                    return;
                }
            }
        }
        self.recover(now, id);
    }

    /// After bytes have gone: the next phase, if that was all. Whether the connection lives.
    fn progressed(&mut self, now: Now, id: ConnId) -> bool {
        let entry = &self.entries[id.slot as usize];
        let (feed, _) = sources(&self.hub, &self.site, entry.conn.out.source());
        let is_pending = entry.conn.out.is_pending(feed);
        let (entry, mut cx) = self.parts(now, id.slot);
        match entry.conn.progressed(&mut cx, is_pending) {
            Progress::Ongoing => {}
            Progress::Resumed => {
                if entry.conn.has_input() || entry.readable || entry.ended {
                    resume_later(&mut self.entries, &mut self.resume, id);
                }
                self.arm(id.slot);
            }
            Progress::Sent(reason) => {
                self.detach(now, id.slot, reason);
                let (entry, mut cx) = self.parts(now, id.slot);
                if entry.ended {
                    self.remove(now, id.slot, reason, false);
                    return false;
                }
                entry.socket.shutdown_write();
                entry.conn.linger(&mut cx, reason);
                if entry.conn.has_input() || entry.readable {
                    resume_later(&mut self.entries, &mut self.resume, id);
                }
                self.arm(id.slot);
            }
        }
        true
    }

    /// After sending: who lags less may be read again, and counts as reading.
    fn recover(&mut self, now: Now, id: ConnId) {
        let Some(entry) = self.entry(id) else { return };
        // What waits for a socket that is full must not hold what is there for the others' words.
        if entry.blocked && entry.conn.out.buffer().is_some() && self.pool.is_strained() {
            return self.remove(now, id.slot, CloseReason::NoMemory, true);
        }
        let Some(entry) = self.entry(id) else { return };
        let unread = entry.readable || entry.conn.has_input() || entry.ended;
        let (choked, resuming) = (entry.choked, entry.resuming);
        if choked && !self.lags(id.slot, 2) {
            self.uncount_choked(id.slot);
        }
        self.recover_spaces(now, id);
        if self.entry(id).is_none() {
            return;
        }
        let publishes = self.entries[id.slot as usize].conn.is_publishing();
        // If it must wait for the room now, the attempt to read puts it on the room's list.
        if unread && !resuming && publishes && self.must_wait(id.slot) != Wait::ForItself {
            resume_later(&mut self.entries, &mut self.resume, id);
        }
    }
}

/// Reads once; 0 if there was nothing, or the end, which is noted.
fn read_socket<S: Socket>(entry: &mut Entry<S>, buffer: &mut [u8]) -> io::Result<usize> {
    if !entry.readable || entry.ended {
        return Ok(0);
    }
    let asked = buffer.len().min(limits::READ_BYTES_MAX);
    match entry.socket.read(&mut buffer[..asked]) {
        Ok(0) => {
            entry.ended = true;
            entry.readable = false;
            Ok(0)
        }
        Ok(arrived) => {
            // A stream socket that gave less than asked has no more (epoll(7)), but its end may
            // stand behind it and would not be reported again.
            entry.readable = arrived == asked || entry.read_closed;
            Ok(arrived)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            entry.readable = false;
            Ok(0)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
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

pub(super) fn reason_of_refusal(error: PublishError) -> CloseReason {
    match error {
        PublishError::TooBig => CloseReason::MessageTooBig,
        PublishError::NoMemory => CloseReason::NoMemory,
    }
}

fn reason_of(error: &io::Error) -> CloseReason {
    use io::ErrorKind;
    let kind = error.kind();
    if matches!(
        kind,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    ) {
        CloseReason::PeerReset
    } else if matches!(
        kind,
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
    ) {
        CloseReason::TransportTimeout
    } else {
        CloseReason::SocketFailed
    }
}
