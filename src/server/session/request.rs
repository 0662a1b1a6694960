//! Requests for sessions (Engine.IO 3 and 4): which session one is for, and what it asks there.
//!
//! ```text
//!   no sid            a handshake      a session begins                    `handshake`
//!   sid, GET          a poll           held until there is something       `polling`
//!   sid, POST         packets          collected, then taken in            `packets`
//!   sid, WebSocket    an upgrade       what carries the session changes    `transport`
//! ```
//!
//! The surprise: two polls at a time, or two POSTs, end the session. The reference does so, too: a
//! client that sends the second has lost track of the first.

use crate::conn::{CollectError, Purpose, Remembered};
use crate::hub::Transport;
use crate::id::{ConnId, SessionId};
use crate::reason::{CloseReason, Farewell};
use crate::server::http::cors::Lets;
use crate::server::http::respond::{Answer, Opening};
use crate::server::http::upgrade;
use crate::server::{Denial, Server, Socket};
use crate::time::Now;
use crate::wire::engine::{self, Asked, Query, Refusal, Version};
use crate::wire::http::{self, Method, Request};

const ALLOW: (&str, &str) = ("Allow", "GET, POST, OPTIONS");
const OCTET_STREAM: &[u8] = b"application/octet-stream";

impl<S: Socket> Server<S> {
    /// Answers a request for `/socket.io/`.
    pub(in crate::server) fn answer_engine(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
    ) {
        let query = Query::parse(request.query.unwrap_or_default());
        if request.method == Method::Options {
            // What asks for no method is no preflight (Fetch, section 4.8).
            if request.fields("access-control-request-method").next().is_none() {
                return self.answer_options(now, slot, request, ALLOW);
            }
            if !self.answer_preflight(now, slot, request) {
                let refusal = Refusal::HandshakeMethod;
                // The browser sends nothing after this, so whose page it was is said now or never.
                let denial = self.check_origin(request).err();
                let denial = denial.unwrap_or(Denial::Rule(refusal.message()));
                self.deny_engine(now, slot, request, refusal, denial);
            }
            return;
        }
        if let Err(denial) = self.check_origin(request) {
            return self.deny_engine(now, slot, request, Refusal::Forbidden, denial);
        }
        let Some(transport) = query.transport else {
            return self.refuse_engine(now, slot, request, Refusal::TransportUnknown);
        };
        if query.base64 && transport == engine::TransportName::WebSocket {
            return self.refuse_engine(now, slot, request, Refusal::Base64);
        }
        if query.jsonp && transport == engine::TransportName::Polling {
            return self.refuse_engine(now, slot, request, Refusal::Jsonp);
        }
        match query.session {
            Asked::New => self.answer_handshake(now, slot, request, &query, transport),
            Asked::Unknown => self.refuse_engine(now, slot, request, Refusal::SidUnknown),
            Asked::Sid(sid) => match self.sessions.find(&sid) {
                None => self.refuse_engine(now, slot, request, Refusal::SidUnknown),
                Some(session_id) if query.denies(self.sessions.get(session_id).version) => {
                    self.refuse_engine(now, slot, request, Refusal::BadRequest);
                }
                Some(session_id) => self.answer_session(now, slot, request, session_id, transport),
            },
        }
    }

    fn answer_session(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        session_id: SessionId,
        transport: engine::TransportName,
    ) {
        let polls = matches!(self.sessions.get(session_id).transport, Transport::Polling { .. });
        match (transport, request.method) {
            (engine::TransportName::Polling, Method::Get) if polls => {
                self.poll(now, slot, request, session_id);
            }
            (engine::TransportName::Polling, Method::Post) if polls => {
                self.post(now, slot, request, session_id);
            }
            (engine::TransportName::WebSocket, Method::Get)
                if polls && self.sessions.get(session_id).upgrade.is_none() =>
            {
                let offer = match upgrade::demand(request) {
                    Ok(offer) => offer,
                    Err(refusal) => {
                        return self.refuse_engine_upgrade(now, slot, request, refusal);
                    }
                };
                let id = self.connections.id(slot);
                self.sessions.edit(session_id).begin_upgrade(now.mono, id);
                if !self.switch_protocols(now, slot, offer, Opening::of_session(session_id)) {
                    self.remove(now, slot, CloseReason::NoMemory, false);
                }
            }
            _ => self.refuse_engine(now, slot, request, Refusal::BadRequest),
        }
    }

    /// Answers a poll as soon as there is something to say.
    fn poll(&mut self, now: Now, slot: u32, request: &Request<'_, '_>, session_id: SessionId) {
        let Transport::Polling { held, .. } = self.sessions.get(session_id).transport else {
            return;
        };
        if held.is_some() {
            let version = self.sessions.get(session_id).version;
            self.close_session(now, session_id, CloseReason::ProtocolError, Farewell::Close);
            return self.respond(now, slot, request, overlap(version));
        }
        if let Some(drain) = &mut self.drain {
            drain.polled(now.mono);
        }
        self.hold(slot, request, session_id);
        self.sessions.answer_soon(session_id);
    }

    /// Begins to collect the packets of a POST.
    fn post(&mut self, now: Now, slot: u32, request: &Request<'_, '_>, session_id: SessionId) {
        let version = self.sessions.get(session_id).version;
        let id = self.connections.id(slot);
        let media = request.field("content-type").unwrap_or_default();
        let is_binary = media
            .get(..OCTET_STREAM.len())
            .is_some_and(|media| media.eq_ignore_ascii_case(OCTET_STREAM));
        if is_binary && version == Version::V4 {
            return self.refuse_engine(now, slot, request, Refusal::BadRequest);
        }
        let Transport::Polling { posting, .. } = self.sessions.get(session_id).transport else {
            return;
        };
        if posting.is_some() {
            self.close_session(now, session_id, CloseReason::ProtocolError, Farewell::Close);
            return self.respond(now, slot, request, overlap(version));
        }
        if let Transport::Polling { posting, .. } = &mut self.sessions.edit(session_id).transport {
            *posting = Some(id);
        }
        // The body is taken in first, and what follows it is the next request.
        let is_persistent = request.persistent;
        let remembered = Remembered { is_persistent, ..self.remember(slot, request) };
        let purpose = Purpose::Packets { session: session_id, is_binary };
        let framing = request.framing;
        let begun =
            self.change(now, slot, |conn, cx| conn.collect(cx, purpose, framing, remembered));
        let is_to_come = match begun {
            Ok(is_to_come) => is_to_come,
            Err(error) => return self.refuse_post(now, id, error),
        };
        if !is_to_come {
            // It is whole, being empty, and must not stay in the reserve.
            return self.take_posted(now, id);
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
        let Some(session_id) = self.connections.conn(id.slot).session() else { return };
        self.forget_post(session_id);
        self.answer_last(now, id, status);
        self.close_session(now, session_id, reason, Farewell::Close);
    }

    /// Answers the question of a browser whether a page of a listed origin may send a request
    /// (`OPTIONS`). `false`, and nothing is answered, if the page is no such page.
    #[must_use]
    fn answer_preflight(&mut self, now: Now, slot: u32, request: &Request<'_, '_>) -> bool {
        if self.listed_origin(request).is_none() {
            return false;
        }
        self.respond(now, slot, request, Answer::plain(204).letting(Lets::Send));
        true
    }
}

/// How the reference refuses a second poll, or a second POST, at a time.
fn overlap(version: Version) -> Answer<'static> {
    let status = match version {
        Version::V3 => 500,
        Version::V4 => 400,
    };
    Answer::plain(status).saying(b"").letting(Lets::Read)
}
