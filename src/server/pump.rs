//! The only code that reads a [`Socket`], and what follows from what was read.
//!
//! ```text
//!  per message in:   1 read   1 copy (payload into the ring)   0 allocations
//! ```
//!
//! All reads go into one buffer, behind what the connection had left unread. The kernel reports
//! readiness once, so a connection that is left before it would block is remembered and read again
//! later. What others get of it is the flush pass's business (`flush.rs`).

use super::{Entry, Event, Server, Socket};
use crate::conn::{Payload, Step};
use crate::hub::{Message, PublishError};
use crate::id::{ChannelId, ConnId};
use crate::limits;
use crate::outbound::CloseFrame;
use crate::reason::CloseReason;
use crate::time::Now;
use crate::wire::ws::Kind;
use core::net::SocketAddr;
use std::io;

impl<S: Socket> Server<S> {
    /// Reads what there is, up to the turn's budget, and acts on it.
    pub(super) fn read(&mut self, now: Now, id: ConnId) {
        // Taken out for the time of the call, so that what was read can be borrowed beside `self`.
        let mut buffer = core::mem::take(&mut self.buffer);
        self.published_before = self.metrics.messages_published;
        let mut spent = true;
        for _ in 0..limits::READS_PER_TURN {
            if !self.read_once(now, id, &mut buffer) {
                spent = false;
                break;
            }
            if self.read_bytes_left == 0 {
                break;
            }
        }
        self.buffer = buffer;
        if let Some(entry) = self.entry(id) {
            let sends = entry.conn.out.is_pending(None);
            if spent {
                self.read_later(id, self.had_its_say());
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
        if entry.conn.is_publishing() {
            self.read_bytes_left = self.read_bytes_left.saturating_sub(arrived);
        }
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
        let (mut at, mut held) = (0, false);
        while at < bytes.len() {
            held = self.is_held(id);
            if held {
                break;
            }
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
        entry.left_off = held;
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
            // A stream socket that gave less than asked has no more (epoll(7)), unless its end or
            // the mark of urgent data stopped it, behind which there is more that would not be
            // reported again.
            entry.readable = arrived == asked || entry.more_behind;
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

pub(super) fn reason_of_refusal(error: PublishError) -> CloseReason {
    match error {
        PublishError::TooBig => CloseReason::MessageTooBig,
        PublishError::NoMemory => CloseReason::NoMemory,
    }
}

pub(super) fn reason_of(error: &io::Error) -> CloseReason {
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
