//! Polls and POSTs: how a session without a WebSocket hears and speaks (Engine.IO 3 and 4).
//!
//! A poll is answered as soon as there is something to say, with as many whole records of the
//! session's feeds as fit, own packets first; until then its connection holds the request. A POST
//! brings packets, which are acted on one by one; while the channel holds its publishers back, the
//! rest of them waits, and so does the answer.
//!
//! The surprise: nothing is queued for a session between two polls. It lags, as a reader does whose
//! socket is full.

use crate::conn::{CollectError, Conn, Next, Purpose, Remembered, Step, TakenBody};
use crate::feed::Mark;
use crate::hub::{SPACES_MAX, Transport};
use crate::id::{ChannelId, ConnId, SessionId};
use crate::reason::CloseReason;
use crate::server::http::answer::{Answer, Content, TEXT, connection_of};
use crate::server::session::handshake::Fields;
use crate::server::session::transport::Farewell;
use crate::server::{AGENT_BYTES_MAX, Event, Server, Socket};
use crate::time::Now;
use crate::wire::engine::{self, Body, BodyLength, Refusal, SID_BYTES, Sid, Version};
use crate::wire::http::{self, Request, ResponseHead};
use crate::work;

/// Records are put into a poll's answer up to this length; one always is.
const POLL_BYTES_MAX: usize = 64 * 1024;
const OCTET_STREAM: &[u8] = b"application/octet-stream";
const BODY_TYPE: Option<&str> = Some("text/plain; charset=UTF-8");

impl<S: Socket> Server<S> {
    /// Holds a request until there is something to answer.
    pub(in crate::server) fn hold(
        &mut self,
        slot: u32,
        request: &Request<'_, '_>,
        session: SessionId,
    ) {
        let remembered = self.remember(slot, request);
        let id = self.connections.id(slot);
        if let Transport::Polling { held, .. } = &mut self.sessions.get_mut(session).transport {
            *held = Some(id);
        }
        self.connections.change(slot, |conn| conn.hold(session, remembered));
    }

    fn remember(&mut self, slot: u32, request: &Request<'_, '_>) -> Remembered {
        let agent = request.field("user-agent").unwrap_or_default();
        let agent = &agent[..agent.len().min(AGENT_BYTES_MAX)];
        // A line without it is better than no answer.
        let agent = (!agent.is_empty())
            .then(|| self.pool.take(agent.len()))
            .flatten()
            .inspect(|buffer| assert!(self.pool.append(&mut { *buffer }, agent)));
        let is_persistent = match self.what_follows(slot, request) {
            Next::Request => true,
            // A body would be taken for the next request: what has one is the last.
            Next::Body(_) | Next::Close => false,
        };
        Remembered {
            method: request.method,
            version: request.version,
            is_persistent,
            origin: self.listed_origin(request),
            agent,
        }
    }

    pub(in crate::server) fn poll(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        session: SessionId,
    ) {
        let Transport::Polling { held, .. } = self.sessions.get(session).transport else { return };
        if held.is_some() {
            let status = overlap_status(self.sessions.get(session).version);
            self.close_session(now, session, CloseReason::ProtocolError, Farewell::Close);
            let answer = Answer { content: Content::Text(b""), ..Answer::plain(status) };
            return self.respond(now, slot, request, answer);
        }
        if let Some(drain) = &mut self.drain {
            drain.polled(now.mono);
        }
        self.hold(slot, request, session);
        self.enqueue_poll(session);
    }

    pub(in crate::server) fn post(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        session: SessionId,
    ) {
        let version = self.sessions.get(session).version;
        let id = self.connections.id(slot);
        let media = request.field("content-type").unwrap_or_default();
        let is_binary = media
            .get(..OCTET_STREAM.len())
            .is_some_and(|media| media.eq_ignore_ascii_case(OCTET_STREAM));
        if is_binary && version == Version::V4 {
            return self.refuse_engine(now, slot, request, Refusal::BadRequest);
        }
        let Transport::Polling { posting, .. } = &mut self.sessions.get_mut(session).transport
        else {
            return;
        };
        if posting.is_some() {
            let status = overlap_status(version);
            self.close_session(now, session, CloseReason::ProtocolError, Farewell::Close);
            let answer = Answer { content: Content::Text(b""), ..Answer::plain(status) };
            return self.respond(now, slot, request, answer);
        }
        *posting = Some(id);
        // The body is taken in first, and what follows it is the next request.
        let is_persistent = request.persistent;
        let remembered = Remembered { is_persistent, ..self.remember(slot, request) };
        let purpose = Purpose::Packets { session, is_binary };
        let step = self
            .change(now, slot, |conn, cx| conn.collect(cx, purpose, request.framing, remembered));
        if !matches!(step, Step::NeedMore) {
            self.apply(now, id, step);
            return;
        }
        if request.expects_continue {
            if !self.connections.out_mut(slot).push_own(&mut self.pool, http::CONTINUE) {
                return self.remove(now, slot, CloseReason::NoMemory, false);
            }
            self.connections.send_soon(slot);
        }
    }

    /// A POST whose body cannot be collected: the session ends, and so does the connection, since
    /// the body was not read to its end.
    pub(in crate::server) fn refuse_post(&mut self, now: Now, id: ConnId, error: CollectError) {
        let (status, reason) = match error {
            CollectError::TooBig => (413, CloseReason::MessageTooBig),
            CollectError::Malformed => (400, CloseReason::ProtocolError),
            CollectError::NoMemory => {
                return self.remove(now, id.slot, CloseReason::NoMemory, false);
            }
            CollectError::Late => {
                return self.remove(now, id.slot, CloseReason::BodyTimeout, false);
            }
        };
        let Some(session) = self.connections.conn(id.slot).session() else { return };
        self.forget_post(session);
        self.answer_last(now, id, status);
        self.close_session(now, session, reason, Farewell::Close);
    }

    /// Answers a POST with nothing but a status, and closes.
    pub(in crate::server) fn answer_last(&mut self, now: Now, id: ConnId, status: u16) {
        let answer = Late { status, content_type: TEXT, cookie: None, body: b"", is_last: true };
        self.send_late(now, id.slot, &answer);
    }

    pub(in crate::server) fn forget_post(&mut self, session: SessionId) {
        if let Transport::Polling { posting, .. } = &mut self.sessions.get_mut(session).transport {
            *posting = None;
        }
    }

    /// Takes in what a POST has brought, as far as its share of the turn and the channel let it,
    /// and answers it when that is done. A text is checked as a whole before its first packet
    /// counts.
    pub(in crate::server) fn take_posted(&mut self, now: Now, id: ConnId) {
        let Some(mut body) = self.connections.change(id.slot, Conn::take_body) else { return };
        let Purpose::Packets { session, .. } = body.purpose;
        let bytes = self.pool.borrow_out(body.buffer);
        let finished = self.take_packets(now, id, &mut body, &bytes);
        self.pool.put_back(body.buffer, bytes);
        if !finished && self.connections.change(id.slot, |conn| conn.put_back_body(&body)) {
            // It waits for its turn, perhaps in memory that was there for a moment only.
            if self.pool.is_strained() {
                self.remove(now, id.slot, CloseReason::NoMemory, false);
            }
            return;
        }
        self.pool.give(body.buffer);
        self.forget_post(session);
        self.answer_post(now, id);
    }

    /// Acts on the packets of a body, as far as the connection's share of the turn and the channel
    /// let it. Whether that was all: the end of the body, or of the session.
    fn take_packets(&mut self, now: Now, id: ConnId, body: &mut TakenBody, bytes: &[u8]) -> bool {
        let Purpose::Packets { session, is_binary } = body.purpose;
        let version = self.sessions.get(session).version;
        let Some(form) = engine::Form::new(version, is_binary) else { return true };
        loop {
            if !self.sessions.contains(session) {
                return true;
            }
            if self.read_budget.is_read_over() || self.hold_back(id) {
                return false;
            }
            if body.at == 0 && engine::check(form, bytes).is_err() {
                self.close_session(now, session, CloseReason::ProtocolError, Farewell::Close);
                return true;
            }
            self.read_budget.spend_units(1);
            work::count(|work| work.packets += 1);
            let mut packets = engine::packets_left(form, &bytes[body.at..]);
            match packets.next() {
                None => return true,
                Some(Ok(packet)) => self.take_packet(now, session, packet),
                Some(Err(_)) => {
                    self.close_session(now, session, CloseReason::ProtocolError, Farewell::Close);
                }
            }
            let Some(left) = packets.left_bytes() else { return true };
            body.at = bytes.len() - left;
        }
    }

    fn answer_post(&mut self, now: Now, id: ConnId) {
        let content_type = Some("text/html");
        let answer = Late { status: 200, content_type, cookie: None, body: b"ok", is_last: false };
        self.send_late(now, id.slot, &answer);
    }

    /// Answers a request that had to wait, with what its origin needs to be let read it, and says
    /// so in the log.
    fn send_late(&mut self, now: Now, slot: u32, answer: &Late<'_>) {
        let conn = self.connections.conn(slot);
        let (Some(request), client) = (conn.remembered(), conn.client().address()) else { return };
        let Late { status, content_type, cookie, body, is_last } = *answer;
        let mut access = self.spare.take(client, status, body.len() as u64);
        let (method, version) = (request.method.as_str(), request.version.as_str());
        // Which session it was for stood in the query.
        access.set_request(method, "/socket.io/", true, version);
        access.set_agent(request.agent.map_or(&[][..], |agent| self.pool.bytes(agent)));
        self.events.push(&mut self.pool, Event::Request(access));
        let is_last = is_last || self.drain.is_some() || self.is_worn_out(now, slot);
        let next = if is_last { Next::Close } else { request.next() };
        let date = self.date(now);
        let mut head = core::mem::take(&mut self.scratch);
        head.clear();
        let mut fields = Fields::default();
        fields.push("Cache-Control", "no-store");
        if let Some(cookie) = cookie {
            fields.push("Set-Cookie", cookie);
        }
        fields.let_read(request.origin.map(|listed| &*self.origins[usize::from(listed)]));
        let response = ResponseHead {
            status,
            date: &date,
            connection: connection_of(next, request.version == http::Version::Http10),
            content_type,
            content_length: Some(body.len() as u64),
            fields: &fields,
        };
        response.write(&mut head);
        self.send_response(now, slot, &head, body, None, next);
        self.scratch = head;
    }

    /// Has a session's poll answered soon.
    pub(in crate::server) fn enqueue_poll(&mut self, session: SessionId) {
        let entry = self.sessions.get_mut(session);
        if !entry.queued {
            entry.queued = true;
            if self.polls.len() == self.polls.capacity() {
                // Sessions that have ended have left their places behind.
                self.polls.retain(|session| self.sessions.contains(*session));
            }
            self.polls.push_back(session);
        }
    }

    /// Answers the held poll of a session, if there is one and something to say. What went into the
    /// answer.
    pub(in crate::server) fn answer_poll(&mut self, now: Now, session: SessionId) -> Answered {
        let mut answered = Answered::default();
        let Transport::Polling { held: Some(id), .. } = self.sessions.get(session).transport else {
            return answered;
        };
        let plan = match self.plan_poll(session) {
            Ok(plan) => plan,
            Err(overtaken) => {
                self.recover_session(session);
                self.close_lapped(now, session, overtaken);
                return answered;
            }
        };
        let entry = self.sessions.get(session);
        if plan.bytes > 0 {
            answered = Answered { bytes: plan.bytes, records: plan.records };
            work::count(|work| {
                work.answered_bytes += plan.bytes as u64;
                work.records += plan.records as u64;
            });
            self.answer_with_plan(now, session, id, &plan);
        } else if entry.upgrade.is_some_and(|upgrade| upgrade.probed) {
            let noop = engine::noop_body(entry.version);
            self.send_poll(now, session, id, noop);
        } else if self.drain.as_ref().is_some_and(|drain| drain.has_passed(id.slot)) {
            // It was between two polls when its turn came.
            self.close_session(now, session, CloseReason::GoingAway, Farewell::Close);
        }
        answered
    }

    /// Answers the held request with what was planned.
    fn answer_with_plan(&mut self, now: Now, session: SessionId, id: ConnId, plan: &Plan) {
        let Some(buffer) = self.pool.take_briefly(plan.bytes) else {
            return self.close_session(now, session, CloseReason::NoMemory, Farewell::Close);
        };
        let mut body = self.pool.borrow_out(buffer);
        self.write_poll(session, plan, &mut body);
        debug_assert_eq!(body.len(), plan.bytes, "a plan is kept");
        self.recover_session(session);
        self.send_poll(now, session, id, &body);
        self.pool.put_back(buffer, body);
        self.pool.give(buffer);
        if self.connections.conn(id.slot).is_over() {
            // No memory for the answer, and what was in it is not kept.
            self.close_session(now, session, CloseReason::NoMemory, Farewell::Close);
        }
    }

    /// Answers the held request with `body`.
    pub(in crate::server) fn send_poll(
        &mut self,
        now: Now,
        session: SessionId,
        id: ConnId,
        body: &[u8],
    ) {
        let entry = self.sessions.get_mut(session);
        if let Transport::Polling { held, .. } = &mut entry.transport {
            *held = None;
        }
        let mut cookie = [0; COOKIE_BYTES];
        let cookie = (entry.version == Version::V3).then(|| cookie_of(&entry.sid, &mut cookie));
        let content_type = BODY_TYPE;
        let answer = Late { status: 200, content_type, cookie, body, is_last: false };
        self.send_late(now, id.slot, &answer);
    }

    /// What a poll is answered with: own packets and then as many records as fit. An error is the
    /// channel whose ring has overtaken the session.
    fn plan_poll(&self, session: SessionId) -> Result<Plan, ChannelId> {
        let session = self.sessions.get(session);
        let mut length = BodyLength::new(session.version);
        if let Some(own) = session.own {
            engine::frames(self.pool.bytes(own), &[]).for_each(|frame| length.add(frame));
        }
        let mut plan = Plan { bytes: 0, records: 0, until: [Mark::default(); SPACES_MAX] };
        let mut full = false;
        for (space, until) in session.spaces.iter().zip(&mut plan.until) {
            let feed = self.hub.feed(space.channel, session.dialect());
            if space.cursor.offset < feed.tail() && !full {
                return Err(space.channel);
            }
            *until = space.cursor;
            while !full && let Some(next) = feed.next(*until) {
                let (first, second) = feed.slices(until.offset, next.offset);
                let mut longer = length;
                engine::frames(first, second).for_each(|frame| longer.add(frame));
                full = length.bytes() > 0 && longer.bytes() > POLL_BYTES_MAX;
                if !full {
                    (length, *until) = (longer, next);
                    plan.records += 1;
                }
            }
        }
        plan.bytes = length.bytes();
        Ok(plan)
    }

    /// Writes what was planned, gives own packets back and advances the cursors.
    fn write_poll(&mut self, session: SessionId, plan: &Plan, out: &mut Vec<u8>) {
        let session = self.sessions.get_mut(session);
        let dialect = session.dialect();
        let mut body = Body::new(session.version, out);
        if let Some(own) = session.own {
            engine::frames(self.pool.bytes(own), &[]).for_each(|frame| body.push(frame));
            session.own = self.pool.emptied(own);
        }
        for (space, until) in session.spaces.iter_mut().zip(plan.until) {
            if space.cursor != until {
                let feed = self.hub.feed(space.channel, dialect);
                let (first, second) = feed.slices(space.cursor.offset, until.offset);
                engine::frames(first, second).for_each(|frame| body.push(frame));
                space.cursor = until;
            }
        }
    }
}

/// What a poll will be answered with. It is measured first, because a Content-Length stands in
/// front, and so that the buffer it is written to is taken whole.
struct Plan {
    bytes: usize,
    /// Records of all spaces that go into it.
    records: usize,
    /// Up to where each space is sent, in their order.
    until: [Mark; SPACES_MAX],
}

/// What went into the answer of a poll, which is its price.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::server) struct Answered {
    pub(in crate::server) bytes: usize,
    pub(in crate::server) records: usize,
}

/// The answer to a request that had to wait.
struct Late<'a> {
    status: u16,
    content_type: Option<&'a str>,
    cookie: Option<&'a str>,
    body: &'a [u8],
    /// The connection ends behind it.
    is_last: bool,
}

const COOKIE_BEGIN: &str = "io=";
const COOKIE_END: &str = "; Path=/; HttpOnly";
const COOKIE_BYTES: usize = COOKIE_BEGIN.len() + SID_BYTES + COOKIE_END.len();

/// The cookie by which clients of protocol 3 may keep a balancer at one target.
fn cookie_of<'o>(sid: &Sid, out: &'o mut [u8; COOKIE_BYTES]) -> &'o str {
    let parts = [COOKIE_BEGIN, sid.as_str(), COOKIE_END];
    let bytes = parts.iter().flat_map(|part| part.bytes());
    out.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    core::str::from_utf8(out).expect("ASCII in three parts")
}

fn overlap_status(version: Version) -> u16 {
    match version {
        Version::V3 => 500,
        Version::V4 => 400,
    }
}
