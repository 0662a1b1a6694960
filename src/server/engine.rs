//! Engine.IO over HTTP: sessions begin, are polled, posted to and upgraded (protocols 3 and 4).
//!
//! A poll is answered as soon as there is something to say, with as many whole records of the
//! session's feeds as fit, own packets first; until then its connection holds the request. A POST
//! brings packets. An upgrade is a WebSocket that proves itself before it takes the session over:
//!
//! ```text
//!   client               WebSocket       poll
//!     │  GET …websocket&sid  ──►  101      │ held
//!     │  2probe  ─────────────►  3probe    │ ──► 6 (or data): the client stops polling
//!     │  5  ──────────────────►  from here on everything goes here
//! ```

use super::answer::{Answer, Content, why};
use super::{Event, Server, Socket};
use crate::conn::{Later, Next, Role};
use crate::hub::{Due, OWN_BYTES_MAX, Session, Space, Transport};
use crate::id::{ConnId, SessionId};
use crate::outbound::CloseFrame;
use crate::reason::CloseReason;
use crate::time::Now;
use crate::wire::engine::{self, Asked, Body, Frame, Open, Query, Refusal, Sid, Version};
use crate::wire::http::{Framing, Method, Request};
use crate::wire::ws::{self, Kind};
use crate::wire::{http, origin};
use chacha20::rand_core::Rng;

/// Records are put into a poll's answer up to this length; one always is.
const POLL_BYTES_MAX: usize = 64 * 1024;

const JSON: Option<&str> = Some("application/json");
const BODY_TYPE: Option<&str> = Some("text/plain; charset=UTF-8");
const NO_STORE: (&str, &str) = ("Cache-Control", "no-store");

impl<S: Socket> Server<S> {
    /// Answers a request for `/socket.io/`.
    pub(super) fn answer_engine(&mut self, now: Now, slot: u32, request: &Request<'_, '_>) {
        let query = Query::parse(request.query.unwrap_or_default());
        if request.method == Method::Options {
            return self.answer_preflight(now, slot, request);
        }
        if !self.allows_origin(request) {
            return self.refuse_engine(now, slot, request, Refusal::Forbidden);
        }
        let Some(transport) = query.transport else {
            return self.refuse_engine(now, slot, request, Refusal::TransportUnknown);
        };
        match query.session {
            Asked::New => self.answer_handshake(now, slot, request, &query, transport),
            Asked::Unknown => self.refuse_engine(now, slot, request, Refusal::SidUnknown),
            Asked::Sid(sid) => match self.engine.find(&sid) {
                None => self.refuse_engine(now, slot, request, Refusal::SidUnknown),
                Some(session) if query.version != Some(self.engine.get(session).version) => {
                    self.refuse_engine(now, slot, request, Refusal::BadRequest);
                }
                Some(session) => self.answer_session(now, slot, request, session, transport),
            },
        }
    }

    fn answer_handshake(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        query: &Query,
        transport: engine::Transport,
    ) {
        if request.method != Method::Get {
            return self.refuse_engine(now, slot, request, Refusal::HandshakeMethod);
        }
        let Some(version) = query.version else {
            return self.refuse_engine(now, slot, request, Refusal::VersionUnsupported);
        };
        let key = match (transport, self.upgrade_key(request)) {
            (engine::Transport::Polling, _) => None,
            (engine::Transport::WebSocket, Some(key)) => Some(key),
            (engine::Transport::WebSocket, None) => {
                return self.refuse_engine(now, slot, request, Refusal::BadRequest);
            }
        };
        if let Some(why) = self.lacks_room(slot) {
            return self.refuse_session(now, slot, request, why);
        }
        let id = self.id(slot);
        let carrier = match key {
            Some(_) => Transport::WebSocket(id),
            None => Transport::Polling { held: None, posting: None },
        };
        let Some(session) = self.open_session(now, slot, version, carrier) else {
            let why = why(crate::hub::JoinError::NoMemory);
            return self.refuse_session(now, slot, request, why);
        };
        match key {
            Some(key) => self.switch_protocols(now, slot, key, Role::Session(session), None),
            None => self.hold(slot, request, session),
        }
        if self.entry(id).is_none() {
            return;
        }
        let limits = &self.settings.limits;
        let open = Open {
            sid: self.engine.get(session).sid,
            upgrade: key.is_none(),
            ping_interval_ms: limits.ping_interval.as_millis(),
            ping_timeout_ms: limits.ping_timeout.as_millis(),
            body_bytes_max: limits.message_bytes_max,
        };
        let mut packet = Vec::with_capacity(192);
        open.append_to(version, &mut packet);
        self.say(now, session, &packet);
        if version == Version::V3 && self.engine.contains(session) {
            // Protocol 3 puts everybody into `/` unasked.
            self.enter(now, session, "/");
        }
    }

    fn answer_session(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        session: SessionId,
        transport: engine::Transport,
    ) {
        let polls = matches!(self.engine.get(session).transport, Transport::Polling { .. });
        match (transport, request.method) {
            (engine::Transport::Polling, Method::Get) if polls => {
                self.poll(now, slot, request, session);
            }
            (engine::Transport::Polling, Method::Post) if polls => {
                self.post(now, slot, request, session);
            }
            (engine::Transport::WebSocket, Method::Get)
                if polls && self.engine.get(session).upgrade.is_none() =>
            {
                let Some(key) = self.upgrade_key(request) else {
                    return self.refuse_engine(now, slot, request, Refusal::BadRequest);
                };
                let id = self.id(slot);
                self.engine.get_mut(session).begin_upgrade(now.mono, id);
                self.engine.arm(session, &self.settings);
                self.switch_protocols(now, slot, key, Role::Session(session), None);
            }
            _ => self.refuse_engine(now, slot, request, Refusal::BadRequest),
        }
    }

    /// The key of a request that may become a WebSocket.
    fn upgrade_key<'b>(&self, request: &Request<'b, '_>) -> Option<&'b str> {
        let offer = ws::Offer {
            is_get: request.method == Method::Get,
            http11: request.version == http::Version::Http11,
            has_body: request.framing != Framing::None,
            fields: |name: &'static str| request.fields(name),
        };
        ws::check(&offer).ok().flatten().map(|upgrade| upgrade.key)
    }

    fn open_session(
        &mut self,
        now: Now,
        slot: u32,
        version: Version,
        transport: Transport,
    ) -> Option<SessionId> {
        let mut random = [0; engine::SID_RANDOM_BYTES];
        self.random.fill_bytes(&mut random);
        let first_ping = self.first_ping();
        let client = self.entries[slot as usize].conn.client();
        let sid = Sid::new(random);
        let session = Session::new(now.mono, sid, version, client, transport, first_ping);
        let id = self.engine.open(&mut self.pool, &self.settings, session)?;
        self.count_session(client);
        Some(id)
    }

    /// Holds a request until there is something to answer.
    fn hold(&mut self, slot: u32, request: &Request<'_, '_>, session: SessionId) {
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

    /// Which of `--allow-origin` let this request in, if it is not the page's own.
    fn listed_origin(&self, request: &Request<'_, '_>) -> Option<u16> {
        let field = request.field("origin")?;
        let authority = request.authority.unwrap_or_default();
        if origin::origin_allowed(field, authority, &[]) {
            return None;
        }
        let listed =
            self.settings.origins.iter().position(|listed| {
                origin::origin_allowed(field, "", core::slice::from_ref(listed))
            });
        listed.and_then(|number| u16::try_from(number).ok())
    }

    fn poll(&mut self, now: Now, slot: u32, request: &Request<'_, '_>, session: SessionId) {
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

    fn post(&mut self, now: Now, slot: u32, request: &Request<'_, '_>, session: SessionId) {
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

    fn forget_post(&mut self, session: SessionId) {
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
            // It waits for the room, perhaps in memory that was there for a moment only.
            if self.pool.is_strained() {
                self.remove(now, id.slot, CloseReason::NoMemory, false);
            }
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
        self.events.push_back(Event::Request(Box::new(super::Access {
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

    fn origin_text(&self, listed: Option<u16>) -> Option<String> {
        let listed = self.settings.origins.get(usize::from(listed?))?;
        Some(listed.to_string())
    }

    fn answer_preflight(&mut self, now: Now, slot: u32, request: &Request<'_, '_>) {
        let origin = self.origin_text(self.listed_origin(request));
        if origin.is_none() {
            return self.refuse_engine(now, slot, request, Refusal::HandshakeMethod);
        }
        let mut fields = cors_fields(origin.as_deref());
        fields.extend([
            ("Access-Control-Allow-Methods", "GET, POST"),
            ("Access-Control-Allow-Headers", "Content-Type"),
            ("Access-Control-Max-Age", "600"),
        ]);
        self.respond(now, slot, request, Answer::plain(204).with(&fields));
    }

    fn refuse_engine(&mut self, now: Now, slot: u32, request: &Request<'_, '_>, refusal: Refusal) {
        let origin = self.origin_text(self.listed_origin(request));
        let fields = cors_fields(origin.as_deref());
        let answer = Answer { fields: &fields, ..Answer::plain(refusal.status()) };
        if request.has_token("upgrade", "websocket") {
            // As the reference refuses an upgrade: in plain words, and that is the end of it.
            let answer = answer.saying(refusal.message().as_bytes());
            return self.write_answer(now, slot, Some(request), answer, Next::Close);
        }
        let content = Content::Text(refusal.body().as_bytes());
        self.respond(now, slot, request, Answer { content_type: JSON, content, ..answer });
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
    fn send_poll(&mut self, now: Now, session: SessionId, id: ConnId, body: &[u8]) {
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

    /// Tells the client one text packet of Engine.IO: on its WebSocket, or with its next poll.
    pub(super) fn say(&mut self, now: Now, session: SessionId, packet: &[u8]) {
        let mut header = [0; ws::HEADER_BYTES_MAX];
        let length = ws::header(Kind::Text, packet.len(), &mut header);
        match self.engine.get(session).transport {
            Transport::WebSocket(id) => {
                self.say_on(now, id, &[&header[..length], packet]);
            }
            Transport::Polling { .. } => {
                let entry = self.engine.get_mut(session);
                let Some(mut own) = entry.own.or_else(|| self.pool.take(length + packet.len()))
                else {
                    return self.close_session(
                        now,
                        session,
                        CloseReason::NoMemory,
                        Farewell::Close,
                    );
                };
                let full = self.pool.bytes(own).len() + packet.len() > OWN_BYTES_MAX;
                let told = self.pool.append(&mut own, &header[..length])
                    && self.pool.append(&mut own, packet);
                entry.own = Some(own);
                if full || !told {
                    let reason = if full { CloseReason::TooSlow } else { CloseReason::NoMemory };
                    // Half a packet must not be seen.
                    entry.own = None;
                    self.pool.give(own);
                    return self.close_session(now, session, reason, Farewell::Close);
                }
                self.enqueue_poll(session);
            }
        }
    }

    /// Queues own bytes on a WebSocket; none any more if it is closing.
    fn say_on(&mut self, now: Now, id: ConnId, parts: &[&[u8]]) {
        let Some(entry) = self.entries.get_mut(id.slot as usize) else { return };
        if entry.generation != id.generation || !entry.conn.is_open() {
            return;
        }
        let mut frame = Vec::new();
        let told = match parts {
            [only] => entry.conn.out.push_own(&mut self.pool, only),
            _ => {
                frame.extend(parts.iter().copied().flatten());
                entry.conn.out.push_own(&mut self.pool, &frame)
            }
        };
        if told {
            self.enqueue(id.slot);
        } else {
            let reason = CloseReason::NoMemory;
            self.close(now, id.slot, CloseFrame::Reason(reason), reason);
        }
    }

    /// A frame has come on a WebSocket that carries a session, or wants to.
    pub(super) fn take_frame(
        &mut self,
        now: Now,
        id: ConnId,
        session: SessionId,
        kind: Kind,
        bytes: &[u8],
    ) {
        let entry = self.engine.get(session);
        let Ok(packet) = engine::Packet::from_frame(entry.version, kind, bytes) else {
            let reason = CloseReason::ProtocolError;
            return self.close(now, id.slot, CloseFrame::Reason(reason), reason);
        };
        if entry.upgrade.is_some_and(|upgrade| upgrade.conn == id) {
            self.take_upgrade_packet(now, id, session, packet);
        } else {
            self.take_packet(now, session, packet);
        }
    }

    fn take_upgrade_packet(
        &mut self,
        now: Now,
        id: ConnId,
        session: SessionId,
        packet: engine::Packet<'_>,
    ) {
        let probed = self.engine.get(session).upgrade.is_some_and(|upgrade| upgrade.probed);
        match (packet.kind, packet.data) {
            (engine::PacketType::Ping, engine::Data::Text("probe")) => {
                if let Some(upgrade) = &mut self.engine.get_mut(session).upgrade {
                    upgrade.probed = true;
                }
                self.say_on(now, id, &[b"\x81\x063probe"]);
                // The client finishes only when its poll has come back.
                self.enqueue_poll(session);
            }
            (engine::PacketType::Upgrade, _) if probed => self.finish_upgrade(now, id, session),
            _ => {
                let reason = CloseReason::ProtocolError;
                self.close(now, id.slot, CloseFrame::Reason(reason), reason);
            }
        }
    }

    fn finish_upgrade(&mut self, now: Now, id: ConnId, session: SessionId) {
        // A client that does not wait for its poll gets it back all the same.
        self.answer_poll(now, session);
        if !self.engine.contains(session) || self.entry(id).is_none() {
            return;
        }
        if let Transport::Polling { posting: Some(post), .. } = self.engine.get(session).transport {
            // Nor does it wait for what it posts: that is told not to have come.
            self.forget_post(session);
            let gone = Answer { content: Content::Text(b""), ..Answer::plain(400) };
            self.send_answer(now, post.slot, gone, Next::Close, false, false);
        }
        let entry = self.engine.get_mut(session);
        entry.upgrade = None;
        entry.transport = Transport::WebSocket(id);
        entry.current = 0;
        let (own, dialect) = (entry.own.take(), entry.dialect());
        let first = entry.spaces.first().copied();
        self.engine.arm(session, &self.settings);
        if let Some(Space { channel, cursor, .. }) = first {
            self.entries[id.slot as usize].conn.follow(channel, dialect, cursor);
        }
        if let Some(own) = own {
            let bytes = self.pool.borrow_out(own);
            self.say_on(now, id, &[&bytes]);
            self.pool.put_back(own, bytes);
            self.pool.give(own);
        }
        if self.entry(id).is_some() {
            self.enqueue(id.slot);
        }
    }

    /// A connection that carried a session, or wanted to, is gone.
    pub(super) fn carrier_gone(
        &mut self,
        now: Now,
        session: SessionId,
        id: ConnId,
        reason: CloseReason,
    ) {
        let entry = self.engine.get_mut(session);
        if entry.upgrade.is_some_and(|upgrade| upgrade.conn == id) {
            entry.upgrade = None;
            self.entries[id.slot as usize].conn.orphan();
            return;
        }
        match &mut entry.transport {
            Transport::Polling { held, posting } => {
                *held = held.filter(|held| *held != id);
                *posting = posting.filter(|posting| *posting != id);
            }
            Transport::WebSocket(_) => {}
        }
        self.close_session(now, session, reason, Farewell::None);
        self.entries[id.slot as usize].conn.orphan();
    }

    /// A session's time has come.
    pub(super) fn session_timeout(&mut self, now: Now, session: SessionId) {
        let due = self.engine.get_mut(session).handle_timeout(now.mono, &self.settings);
        match due {
            Due::Nothing => {}
            Due::Ping => {
                self.metrics.pings += 1;
                self.say(now, session, b"2");
            }
            Due::Gone if self.says_unread(session) => {
                self.engine.get_mut(session).heard(now.mono, true);
            }
            Due::Gone => {
                self.close_session(now, session, CloseReason::PingTimeout, Farewell::Cut);
            }
            Due::Unconnected => {
                self.close_session(now, session, CloseReason::HeadTimeout, Farewell::Close);
            }
            Due::Upgrade => {
                if let Some(upgrade) = self.engine.get_mut(session).upgrade.take() {
                    self.let_go(now, upgrade.conn, CloseReason::CloseTimeout);
                }
            }
        }
        if self.engine.contains(session) {
            self.engine.arm(session, &self.settings);
        }
    }

    /// A WebSocket was told to close: if a session is carried by it, that waits for nothing else.
    pub(super) fn begin_close_of_session(&mut self, slot: u32) {
        let id = self.id(slot);
        let Some(session) = self.entries[slot as usize].conn.session() else { return };
        if self.engine.get(session).transport == Transport::WebSocket(id) {
            self.engine.get_mut(session).begin_close();
            self.engine.arm(session, &self.settings);
        }
    }

    /// Whether its WebSocket has said something that we chose not to read.
    fn says_unread(&self, session: SessionId) -> bool {
        match self.engine.get(session).transport {
            Transport::WebSocket(id) => self.waits_unread(id.slot),
            Transport::Polling { .. } => false,
        }
    }

    /// Ends a session: its places, its transport, its name. On a WebSocket that can still be told,
    /// it lasts until the close frame has gone, behind what was published before: that frame may
    /// not stand inside of a record.
    pub(super) fn close_session(
        &mut self,
        now: Now,
        session: SessionId,
        reason: CloseReason,
        farewell: Farewell,
    ) {
        if let (Transport::WebSocket(id), Farewell::Close | Farewell::Noop) =
            (self.engine.get(session).transport, farewell)
        {
            return self.close(now, id.slot, farewell_frame(reason), reason);
        }
        while !self.engine.get(session).spaces.is_empty() {
            self.end_space(now, session, 0, reason);
        }
        let entry = self.engine.get(session);
        let (transport, upgrade, client) = (entry.transport, entry.upgrade, entry.client);
        match transport {
            Transport::WebSocket(id) if farewell == Farewell::Cut => {
                self.entries[id.slot as usize].conn.orphan();
                self.remove(now, id.slot, reason, true);
            }
            Transport::WebSocket(_) => {}
            Transport::Polling { held, posting } => {
                if let Some(id) = held {
                    let version = entry.version;
                    let mut out = Vec::with_capacity(4);
                    let packet = if farewell == Farewell::Noop { "6" } else { "1" };
                    Body::new(version, &mut out).push(Frame::text(packet));
                    self.send_poll(now, session, id, &out);
                }
                if let Some(id) = posting.filter(|id| self.posting != Some(*id)) {
                    let gone = Answer { content: Content::Text(b""), ..Answer::plain(400) };
                    self.send_answer(now, id.slot, gone, Next::Close, false, false);
                }
            }
        }
        if let Some(upgrade) = upgrade {
            self.let_go(now, upgrade.conn, reason);
        }
        self.engine.close(&mut self.pool, session);
        self.uncount_session(client);
    }

    /// Closes a WebSocket whose session does without it from now on.
    fn let_go(&mut self, now: Now, id: ConnId, reason: CloseReason) {
        if self.entry(id).is_none() {
            return;
        }
        self.entries[id.slot as usize].conn.orphan();
        self.close(now, id.slot, farewell_frame(reason), reason);
    }
}

fn farewell_frame(reason: CloseReason) -> CloseFrame {
    match reason.close_frame() {
        Some(_) => CloseFrame::Reason(reason),
        None => CloseFrame::Empty,
    }
}

/// How a session's transport learns of its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Farewell {
    /// It is gone itself.
    None,
    /// Engine.IO's close, or the WebSocket's.
    Close,
    /// The client closed: its held poll is answered with nothing.
    Noop,
    /// A reset: nobody is there.
    Cut,
}

fn overlap_status(version: Version) -> u16 {
    match version {
        Version::V3 => 500,
        Version::V4 => 400,
    }
}

/// What lets a page of another origin read an answer.
fn cors_fields(origin: Option<&str>) -> Vec<(&str, &str)> {
    match origin {
        None => Vec::new(),
        Some("*") => vec![("Access-Control-Allow-Origin", "*")],
        Some(origin) => vec![
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Vary", "Origin"),
        ],
    }
}
