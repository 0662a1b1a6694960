//! Engine.IO's requests: which session one is for, whether a new one may begin (protocols 3 and 4).
//!
//! Leaves to others: how polls and POSTs are answered (`polling`), what carries a session and ends
//! it (`carrier`).

use super::admission::Entrance;
use super::answer::{Answer, Content};
use super::{Server, Socket};
use crate::conn::{Next, Role};
use crate::hub::{Holder, Session, Transport};
use crate::id::SessionId;
use crate::time::Now;
use crate::wire::engine::{self, Asked, Open, Query, Refusal, Sid, Version};
use crate::wire::http::{Method, Request};
use crate::wire::origin::Permission;
use crate::wire::{http, ws};
use chacha20::rand_core::Rng;

const ALLOW: (&str, &str) = ("Allow", "GET, POST, OPTIONS");
const JSON: Option<&str> = Some("application/json");

impl<S: Socket> Server<S> {
    /// Answers a request for `/socket.io/`.
    pub(super) fn answer_engine(&mut self, now: Now, slot: u32, request: &Request<'_, '_>) {
        let query = Query::parse(request.query.unwrap_or_default());
        if request.method == Method::Options {
            // What asks for no method is no preflight (Fetch, section 4.8).
            return match request.fields("access-control-request-method").next() {
                Some(_) => self.answer_preflight(now, slot, request),
                None => self.answer_options(now, slot, request, ALLOW),
            };
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
                Some(session) if query.denies(self.engine.get(session).version) => {
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
        let version = query.version.unwrap_or(Version::V3);
        let upgrade = match (transport, self.upgrade_of(request)) {
            (engine::Transport::Polling, _) => None,
            (engine::Transport::WebSocket, Some(upgrade)) => Some(upgrade),
            (engine::Transport::WebSocket, None) => {
                return self.refuse_engine(now, slot, request, Refusal::BadRequest);
            }
        };
        let holder = self.holder(slot);
        let entrance = Entrance::Session { polls: upgrade.is_none() };
        if let Some(why) = self.lacks_room(Some(holder), entrance) {
            return self.refuse_session(now, slot, request, why);
        }
        let id = self.id(slot);
        let carrier = match upgrade {
            Some(_) => Transport::WebSocket(id),
            None => Transport::Polling { held: None, posting: None },
        };
        let session = self.open_session(now, slot, holder, version, carrier);
        match upgrade {
            Some(upgrade) => {
                self.switch_protocols(now, slot, upgrade, Role::Session(session), None);
            }
            None => self.hold(slot, request, session),
        }
        let limits = &self.settings.limits;
        let open = Open {
            sid: self.engine.get(session).sid,
            upgrade: upgrade.is_none(),
            ping_interval_ms: limits.ping_interval.as_millis(),
            ping_timeout_ms: limits.ping_timeout.as_millis(),
            body_bytes_max: limits.message_bytes_max,
        };
        let write = |packet: &mut Vec<u8>| open.append_to(version, packet);
        self.say_written(now, session, engine::OPEN_BYTES_MAX, write);
        if version == Version::V3 {
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
                let Some(upgrade) = self.upgrade_of(request) else {
                    return self.refuse_engine(now, slot, request, Refusal::BadRequest);
                };
                let id = self.id(slot);
                self.engine.get_mut(session).begin_upgrade(now.mono, id);
                self.engine.arm(session, &self.settings);
                self.switch_protocols(now, slot, upgrade, Role::Session(session), None);
            }
            _ => self.refuse_engine(now, slot, request, Refusal::BadRequest),
        }
    }

    /// What the handshake of a request says that may become a WebSocket.
    fn upgrade_of<'b>(&self, request: &Request<'b, '_>) -> Option<ws::Upgrade<'b>> {
        let offer = ws::Offer {
            is_get: request.method == Method::Get,
            http11: request.version == http::Version::Http11,
            has_body: request.framing.has_body(),
            fields: |name: &'static str| request.fields(name),
        };
        ws::check(&offer).ok().flatten()
    }

    fn open_session(
        &mut self,
        now: Now,
        slot: u32,
        holder: Holder,
        version: Version,
        transport: Transport,
    ) -> SessionId {
        let mut random = [0; engine::SID_RANDOM_BYTES];
        self.random.fill_bytes(&mut random);
        let first_ping = self.first_ping();
        let client = self.entries[slot as usize].conn.client();
        let sid = Sid::new(random);
        let session = Session::new(now.mono, sid, version, (client, holder), transport, first_ping);
        let id = self.engine.open(&mut self.pool, &self.settings, session);
        let id = id.expect("can_open has seen that there is room");
        self.count_session(holder);
        self.bound_unentered(now);
        id
    }

    /// Which of `--allow-origin` let this request in, if it is not the page's own.
    pub(super) fn listed_origin(&self, request: &Request<'_, '_>) -> Option<u16> {
        match self.permission(request, request.field("origin")?)? {
            Permission::OwnPage => None,
            Permission::Listed(number) => u16::try_from(number).ok(),
        }
    }

    fn answer_preflight(&mut self, now: Now, slot: u32, request: &Request<'_, '_>) {
        let Some(listed) = self.listed_origin(request) else {
            return self.refuse_engine(now, slot, request, Refusal::HandshakeMethod);
        };
        let origin = self.origins[usize::from(listed)].clone();
        let mut fields = Fields::default();
        fields.let_read(Some(&origin));
        fields.push("Access-Control-Allow-Methods", "GET, POST");
        fields.push("Access-Control-Allow-Headers", "Content-Type");
        fields.push("Access-Control-Max-Age", "600");
        self.respond(now, slot, request, Answer::plain(204).with(&fields));
    }

    pub(super) fn refuse_engine(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        refusal: Refusal,
    ) {
        let listed = self.listed_origin(request);
        let origin = listed.map(|listed| self.origins[usize::from(listed)].clone());
        let mut fields = Fields::default();
        fields.let_read(origin.as_deref());
        let answer = Answer { fields: &fields, ..Answer::plain(refusal.status()) };
        if request.has_token("upgrade", "websocket") {
            // As the reference refuses an upgrade: in plain words, and that is the end of it.
            let answer = answer.saying(refusal.message().as_bytes());
            return self.write_answer(now, slot, Some(request), answer, Next::Close);
        }
        let content = Content::Text(refusal.body().as_bytes());
        self.respond(now, slot, request, Answer { content_type: JSON, content, ..answer });
    }
}

/// The most fields that an answer of Engine.IO has of its own.
const FIELDS_MAX: usize = 6;

/// Fields of an answer, without a heap.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    list: [(&'a str, &'a str); FIELDS_MAX],
    count: usize,
}

impl<'a> Fields<'a> {
    /// Adds one.
    ///
    /// # Panics
    /// If there are [`FIELDS_MAX`].
    pub(super) fn push(&mut self, name: &'a str, value: &'a str) {
        self.list[self.count] = (name, value);
        self.count += 1;
    }

    /// Adds what lets a page of a listed origin read the answer.
    pub(super) fn let_read(&mut self, origin: Option<&'a str>) {
        let Some(origin) = origin else { return };
        self.push("Access-Control-Allow-Origin", origin);
        if origin != "*" {
            self.push("Access-Control-Allow-Credentials", "true");
            self.push("Vary", "Origin");
        }
    }
}

impl<'a> core::ops::Deref for Fields<'a> {
    type Target = [(&'a str, &'a str)];

    fn deref(&self) -> &[(&'a str, &'a str)] {
        &self.list[..self.count]
    }
}
