//! Polls and POSTs: how a session without a WebSocket hears and speaks (Engine.IO 3 and 4).
//!
//! A poll is answered as soon as there is something to say, with as many whole records of the
//! session's feeds as fit, own packets first; until then its connection holds the request. A POST
//! brings packets, which are acted on one by one; while the room holds its publishers back, the
//! rest of them waits, and so does the answer.
//!
//! The surprise: nothing is queued for a session between two polls. It lags, as a reader does whose
//! socket is full.

use super::answer::{Answer, Content};
use super::carrier::Farewell;
use super::engine::{NO_STORE, cors_fields};
use super::{Access, Event, Server, Socket};
use crate::conn::{Later, Next};
use crate::hub::Transport;
use crate::id::{ConnId, SessionId};
use crate::reason::CloseReason;
use crate::time::Now;
use crate::wire::engine::{self, Body, Frame, Refusal, Version};
use crate::wire::http;
use crate::wire::http::{Framing, Request};

/// Records are put into a poll's answer up to this length; one always is.
const POLL_BYTES_MAX: usize = 64 * 1024;
const BODY_TYPE: Option<&str> = Some("text/plain; charset=UTF-8");

impl<S: Socket> Server<S> {
    /// Holds a request until there is something to answer.
    pub(super) fn hold(&mut self, slot: u32, request: &Request<'_, '_>, session: SessionId) {
        let later = self.later(slot, request);
        let id = self.id(slot);
        if let Transport::Polling { held, .. } = &mut self.engine.get_mut(session).transport {
            *held = Some(id);
        }
        self.entries[slot as usize].conn.hold(session, later);
        self.arm(slot);
    }

    fn later(&self, slot: u32, request: &Request<'_, '_>) -> Later {
        let persistent = match self.what_follows(slot, request) {
            Next::Request => true,
            // A body would be taken for the next request: what has one is the last.
            Next::Body(_) | Next::Close => false,
        };
        let is_1_0 = request.version == http::Version::Http10;
        Later { persistent, is_1_0, origin: self.listed_origin(request) }
    }

    pub(super) fn poll(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        session: SessionId,
    ) {
        let Transport::Polling { held, .. } = self.engine.get(session).transport else { return };
        if held.is_some() {
            let status = overlap_status(self.engine.get(session).version);
            self.close_session(now, session, CloseReason::ProtocolError, Farewell::Close);
            let answer = Answer { content: Content::Text(b""), ..Answer::plain(status) };
            return self.respond(now, slot, request, answer);
        }
        self.hold(slot, request, session);
        self.enqueue_poll(session);
    }

    pub(super) fn post(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        session: SessionId,
    ) {
        let version = self.engine.get(session).version;
        let id = self.id(slot);
        let media = request.field("content-type").unwrap_or_default();
        let is_binary = media.to_ascii_lowercase().starts_with(b"application/octet-stream");
        if is_binary && version == Version::V4 {
            return self.refuse_engine(now, slot, request, Refusal::BadRequest);
        }
        let Transport::Polling { posting, .. } = &mut self.engine.get_mut(session).transport else {
            return;
        };
        if posting.is_some() {
            let status = overlap_status(version);
            self.close_session(now, session, CloseReason::ProtocolError, Farewell::Close);
            let answer = Answer { content: Content::Text(b""), ..Answer::plain(status) };
            return self.respond(now, slot, request, answer);
        }
        *posting = Some(id);
        let announced = match request.framing {
            Framing::Length(bytes) => bytes,
            Framing::None | Framing::Chunked => 0,
        };
        let later = Later { persistent: request.persistent, ..self.later(slot, request) };
        let framing = request.framing;
        let (entry, cx) = self.parts(now, slot);
        entry.conn.begin_post(&cx, session, framing, is_binary, later);
        if announced > self.settings.limits.message_bytes_max {
            return self.refuse_post(now, id, 413);
        }
        if matches!(framing, Framing::None | Framing::Length(0)) {
            let (entry, mut cx) = self.parts(now, slot);
            let step = entry.conn.finish_empty_post(&mut cx);
            self.apply(now, id, step);
            return;
        }
        if request.expects_continue {
            let entry = &mut self.entries[slot as usize];
            if !entry.conn.out.push_own(&mut self.pool, http::CONTINUE) {
                return self.remove(now, slot, CloseReason::NoMemory, false);
            }
            self.enqueue(slot);
        }
        self.arm(slot);
    }

    /// A POST that cannot be taken in: the session ends, and so does the connection, whose body was
    /// not read to its end.
    pub(super) fn refuse_post(&mut self, now: Now, id: ConnId, status: u16) {
        let Some(session) = self.entries[id.slot as usize].conn.session() else { return };
        self.forget_post(session);
        let empty = Answer { content: Content::Text(b""), ..Answer::plain(status) };
        self.send_answer(now, id.slot, empty, Next::Close, false, false);
        let too_big = status == 413;
        let reason = if too_big { CloseReason::MessageTooBig } else { CloseReason::ProtocolError };
        self.close_session(now, session, reason, Farewell::Close);
    }

    pub(super) fn forget_post(&mut self, session: SessionId) {
        if let Transport::Polling { posting, .. } = &mut self.engine.get_mut(session).transport {
            *posting = None;
        }
    }

    /// Takes in what a POST has brought, as far as the room lets it, and answers it when that is
    /// done.
    pub(super) fn take_posted(&mut self, now: Now, id: ConnId) {
        let conn = &self.entries[id.slot as usize].conn;
        let (Some((buffer, is_binary, mut at)), Some(session)) = (conn.posted(), conn.session())
        else {
            return;
        };
        let (version, sid) = (self.engine.get(session).version, self.engine.get(session).sid);
        let Some(form) = engine::Form::new(version, is_binary) else { return };
        let body = self.pool.borrow_out(buffer);
        // While this runs nobody else answers the connection or gives the buffer back.
        self.posting = Some(id);
        let mut finished = false;
        let lives = |server: &Self| server.engine.find(&sid) == Some(session);
        while !finished && lives(self) && !self.is_held(id) {
            let mut packets = engine::packets(form, &body[at..]);
            match packets.next() {
                None => finished = true,
                Some(Ok(packet)) => self.take_packet(now, session, packet),
                Some(Err(_)) => {
                    self.close_session(now, session, CloseReason::ProtocolError, Farewell::Close);
                }
            }
            match packets.left_bytes() {
                Some(left) => at = body.len() - left,
                None => finished = true,
            }
        }
        self.posting = None;
        self.pool.put_back(buffer, body);
        if finished || !lives(self) {
            if lives(self) {
                self.forget_post(session);
            }
            self.answer_post(now, id);
        } else {
            self.entries[id.slot as usize].conn.set_posted(at);
        }
    }

    fn answer_post(&mut self, now: Now, id: ConnId) {
        let Some(later) = self.entries[id.slot as usize].conn.later() else { return };
        let answer = Answer {
            status: 200,
            content_type: Some("text/html"),
            fields: &[NO_STORE],
            content: Content::Text(b"ok"),
        };
        self.send_later(now, id.slot, later, "POST", answer);
    }

    /// Answers a request that had to wait, with what its origin needs to be let read it.
    fn send_later(&mut self, now: Now, slot: u32, later: Later, method: &str, answer: Answer<'_>) {
        let origin = self.origin_text(later.origin);
        let mut fields = answer.fields.to_vec();
        fields.extend(cors_fields(origin.as_deref()));
        let next = if self.drain.is_some() { Next::Close } else { later.next() };
        let Content::Text(body) = answer.content else { return };
        let version = if later.is_1_0 { "HTTP/1.0" } else { "HTTP/1.1" };
        self.events.push_back(Event::Request(Box::new(Access {
            client: self.client(slot),
            line: format!("{method} /socket.io/ {version}").into(),
            status: answer.status,
            body_bytes: body.len() as u64,
            agent: Box::default(),
            is_probe: false,
        })));
        let answer = Answer { fields: &fields, ..answer };
        self.send_answer(now, slot, answer, next, later.is_1_0, false);
    }

    /// Has a session's poll answered soon.
    pub(super) fn enqueue_poll(&mut self, session: SessionId) {
        let entry = self.engine.get_mut(session);
        if !entry.queued {
            entry.queued = true;
            self.polls.push_back(session);
        }
    }

    /// Answers the held poll of a session, if there is one and something to say.
    pub(super) fn answer_poll(&mut self, now: Now, session: SessionId) {
        if !self.engine.contains(session) {
            return;
        }
        let Transport::Polling { held: Some(id), .. } = self.engine.get(session).transport else {
            return;
        };
        let mut out = core::mem::take(&mut self.body);
        out.clear();
        let kept_up = self.write_poll(session, &mut out);
        let probed = self.engine.get(session).upgrade.is_some_and(|upgrade| upgrade.probed);
        if out.is_empty() && probed {
            let version = self.engine.get(session).version;
            Body::new(version, &mut out).push(Frame::text("6"));
        }
        self.recover_session(session);
        if !kept_up {
            self.close_session(now, session, CloseReason::TooSlow, Farewell::Close);
        } else if !out.is_empty() {
            self.send_poll(now, session, id, &out);
            if self.entry(id).is_none() {
                // No memory for the answer, and what was in it is not kept.
                self.close_session(now, session, CloseReason::NoMemory, Farewell::Close);
            }
        }
        out.shrink_to(4 * POLL_BYTES_MAX);
        self.body = out;
    }

    /// Answers the held request with `body`.
    pub(super) fn send_poll(&mut self, now: Now, session: SessionId, id: ConnId, body: &[u8]) {
        let entry = self.engine.get_mut(session);
        if let Transport::Polling { held, .. } = &mut entry.transport {
            *held = None;
        }
        let cookie = match entry.version {
            Version::V3 => Some(format!("io={}; Path=/; HttpOnly", entry.sid.as_str())),
            Version::V4 => None,
        };
        let Some(later) = self.entries[id.slot as usize].conn.later() else { return };
        let cookie = cookie.as_deref().map(|cookie| ("Set-Cookie", cookie));
        let fields: Vec<_> = [NO_STORE].into_iter().chain(cookie).collect();
        let answer = Answer {
            status: 200,
            content_type: BODY_TYPE,
            fields: &fields,
            content: Content::Text(body),
        };
        self.send_later(now, id.slot, later, "GET", answer);
    }

    /// Writes own packets and then as many records as fit, and advances the cursors past them.
    /// `false` if the ring has overtaken one.
    fn write_poll(&mut self, session: SessionId, out: &mut Vec<u8>) -> bool {
        let session = self.engine.get_mut(session);
        let dialect = session.dialect();
        let mut body = Body::new(session.version, out);
        if let Some(own) = session.own.take() {
            engine::frames(self.pool.bytes(own), &[]).for_each(|frame| body.push(frame));
            self.pool.give(own);
        }
        for space in &mut session.spaces {
            let feed = self.hub.feed(space.channel, dialect);
            if space.cursor.offset < feed.tail() {
                return false;
            }
            while let Some(next) = feed.next(space.cursor) {
                let (first, second) = feed.slices(space.cursor.offset, next.offset);
                let frames = engine::frames(first, second);
                let bytes: usize = frames.clone().map(|frame| body.bytes_with(frame)).sum();
                if !body.is_empty() && body.len() + bytes > POLL_BYTES_MAX {
                    return true;
                }
                frames.for_each(|frame| body.push(frame));
                space.cursor = next;
            }
        }
        true
    }
}

fn overlap_status(version: Version) -> u16 {
    match version {
        Version::V3 => 500,
        Version::V4 => 400,
    }
}
