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
use crate::hub::Hub;
use crate::id::{ChannelId, ConnId};
use crate::limits;
use crate::outbound::{CloseFrame, Source};
use crate::reason::CloseReason;
use crate::site::Site;
use crate::time::Now;
use crate::wire::ws::Kind;
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
    }

    /// One read and what follows from it; whether another is worth while.
    fn read_once(&mut self, now: Now, id: ConnId, buffer: &mut [u8]) -> bool {
        if self.entry(id).is_none() || self.is_held(id) {
            return false;
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
    fn is_held(&mut self, id: ConnId) -> bool {
        let entry = &self.entries[id.slot as usize];
        let Some(channel) = entry.conn.publishes_to() else { return false };
        match self.must_wait(id.slot, channel) {
            Wait::Not => false,
            Wait::ForItself => true,
            Wait::ForTheRoom => {
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

    /// Appends a message to its publisher's channel.
    pub(super) fn publish(&mut self, now: Now, id: ConnId, kind: Kind, payload: Payload<'_>) {
        let entry = &mut self.entries[id.slot as usize];
        let Some(channel) = entry.conn.publishes_to() else { return };
        let bytes = match &payload {
            Payload::Borrowed(bytes) => bytes,
            Payload::Assembled(buffer) => self.pool.bytes(*buffer),
        };
        let published = self.hub.publish(channel, kind, bytes);
        if published.is_ok() {
            entry.conn.count_published();
            self.metrics.messages_published += 1;
            if self.settings.report_messages {
                let client = entry.conn.client().address();
                let text = match kind {
                    Kind::Text => String::from_utf8_lossy(bytes).into(),
                    Kind::Binary => format!("({} bytes)", bytes.len()).into(),
                };
                self.events.push_back(Event::Message { client, text });
            }
        }
        if let Payload::Assembled(buffer) = payload {
            self.pool.give(buffer);
        }
        if published.is_err() {
            let reason = CloseReason::MessageTooBig;
            self.close(now, id.slot, CloseFrame::Reason(reason), reason);
        }
    }

    /// One portion of sends: own bytes first, since few wait for them and somebody waits for each;
    /// then the channels in turn.
    pub(super) fn flush_pass(&mut self, now: Now) {
        let mut sends = limits::SENDS_PER_TURN;
        while sends > 0
            && let Some(id) = self.queue.pop_front()
        {
            if let Some(entry) = self.entry(id) {
                entry.queued = false;
                self.flush(now, id);
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
            let Some(slot) = self.hub.channel_mut(channel).visit() else {
                let (entries, resume) = (&mut self.entries, &mut self.resume);
                return !self
                    .hub
                    .channel_mut(channel)
                    .finish_sweep(now.mono, |id| resume_paused(entries, resume, id));
            };
            if self.lapped(now, slot) {
                // Its end may have been the channel's, if it was alone there.
                if self.hub.is_gone(channel) {
                    return true;
                }
                continue;
            }
            let entry = &self.entries[slot as usize];
            if entry.blocked {
                self.count_choked(slot, channel);
            } else if entry.conn.out.is_pending(Some(self.hub.feed(channel))) {
                *sends -= 1;
                self.flush(now, self.id(slot));
                if self.hub.is_gone(channel) {
                    return true;
                }
            }
        }
        false
    }

    /// A reader that the ring has overtaken is told so, or cut if it stands inside a record.
    /// Whether that was so.
    pub(super) fn lapped(&mut self, now: Now, slot: u32) -> bool {
        let entry = &self.entries[slot as usize];
        let Some(member) = entry.conn.member() else { return false };
        let channel = self.hub.channel(member.channel);
        if !entry.conn.out.is_lapped(channel.feed()) {
            return false;
        }
        let cursor = entry.conn.out.cursor().expect("a member has a cursor");
        self.events.push_back(Event::Lapped {
            client: entry.conn.client().address(),
            channel: channel.name().into(),
            lag_bytes: channel.feed().head().since(cursor.offset),
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
        self.recover(id);
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
                self.end_session(now, id.slot, reason);
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

    /// After sending: a member that lags less may be read again, and counts as reading.
    fn recover(&mut self, id: ConnId) {
        let Some(entry) = self.entry(id) else { return };
        let Some(channel) = entry.conn.publishes_to() else { return };
        let unread = entry.readable || entry.conn.has_input() || entry.ended;
        let (choked, resuming) = (entry.choked, entry.resuming);
        if choked && !self.lags(id.slot, channel, 2) {
            self.uncount_choked(id.slot);
        }
        // If it must wait for the room now, the attempt to read puts it on the room's list.
        if unread && !resuming && self.must_wait(id.slot, channel) != Wait::ForItself {
            resume_later(&mut self.entries, &mut self.resume, id);
        }
    }

    fn count_choked(&mut self, slot: u32, channel: ChannelId) {
        let entry = &self.entries[slot as usize];
        if !entry.choked && entry.conn.is_open() && self.lags(slot, channel, 2) {
            self.entries[slot as usize].choked = true;
            self.hub.channel_mut(channel).count_choked();
        }
    }

    /// Whether a member is blocked and behind by more than 1/`parts` of the ring.
    fn lags(&self, slot: u32, channel: ChannelId, parts: u64) -> bool {
        let entry = &self.entries[slot as usize];
        let feed = self.hub.feed(channel);
        entry.blocked
            && entry.conn.out.cursor().is_some_and(|cursor| feed.lags_more_than(cursor, parts))
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
        Source::Feed { channel, .. } => (Some(hub.feed(channel)), &[]),
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
