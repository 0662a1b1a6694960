//! Answers to the requests of a session that had to wait: polls and POSTs.
//!
//! Leaves to others: what a poll is told (`polling`), when a POST was taken in (`packets`), how an
//! answer becomes bytes (`http/respond`).

use crate::hub::Transport;
use crate::id::{ConnId, SessionId};
use crate::server::http::cors::Lets;
use crate::server::http::respond::{Answer, NO_STORE};
use crate::server::{Denial, Server, Socket};
use crate::time::Now;
use crate::wire::base_path::{BASE_PATH_BYTES_MAX, BasePath};
use crate::wire::engine::{Refusal, SID_BYTES, Sid, Version};
use crate::wire::http::Request;
use crate::wire::token::Fault;
use crate::wire::ws;

/// The media type that the reference gives to the answer of a poll.
const BODY_TYPE: Option<&str> = Some("text/plain; charset=UTF-8");
const JSON: Option<&str> = Some("application/json");

impl<S: Socket> Server<S> {
    /// Holds a request until there is something to answer.
    pub(in crate::server) fn hold(
        &mut self,
        slot: u32,
        request: &Request<'_, '_>,
        session_id: SessionId,
    ) {
        let remembered = self.remember(slot, request);
        let id = self.connections.id(slot);
        if let Transport::Polling { held, .. } = &mut self.sessions.edit(session_id).transport {
            *held = Some(id);
        }
        self.connections.change(slot, |conn| conn.hold(session_id, remembered));
    }

    /// Answers the held request with `body`. Whether there was memory for the answer.
    pub(in crate::server) fn send_poll(
        &mut self,
        now: Now,
        session_id: SessionId,
        id: ConnId,
        body: &[u8],
    ) -> bool {
        if let Transport::Polling { held, .. } = &mut self.sessions.edit(session_id).transport {
            *held = None;
        }
        let session = self.sessions.get(session_id);
        let mut cookie = [0; COOKIE_BYTES_MAX];
        let cookie = cookie_of(&session.sid, &self.settings.base_path, &mut cookie);
        let fields = [NO_STORE, ("Set-Cookie", cookie)];
        let fields = match session.version {
            Version::V3 => &fields[..],
            Version::V4 => &fields[..1],
        };
        let answer = Answer::plain(200).with(fields).of_type(BODY_TYPE).saying(body);
        self.respond_later(now, id.slot, answer)
    }

    /// Answers a POST with nothing but a status, and closes.
    pub(in crate::server) fn answer_last(&mut self, now: Now, id: ConnId, status: u16) {
        let answer = Answer::plain(status).with(&[NO_STORE]).saying(b"");
        self.respond_later(now, id.slot, answer.and_close());
    }

    /// Notes that a session has no POST under way any more.
    pub(in crate::server) fn forget_post(&mut self, session_id: SessionId) {
        if let Transport::Polling { posting, .. } = &mut self.sessions.edit(session_id).transport {
            *posting = None;
        }
    }

    /// Refuses a request for a session whose token is not taken.
    pub(in crate::server) fn refuse_token(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        fault: Fault,
    ) {
        self.metrics.count_token(fault);
        self.deny_engine(now, slot, request, Refusal::Unauthorized, Denial::Token(fault));
    }

    /// Refuses a request for a session, and says in the log which rule it breaks.
    pub(in crate::server) fn refuse_engine(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        refusal: Refusal,
    ) {
        self.deny_engine(now, slot, request, refusal, Denial::Rule(refusal.message()));
    }

    /// Refuses a request for a session that was to open a WebSocket and does not. The client gets
    /// the reference's answer, which names no rule; the log names it.
    pub(in crate::server) fn refuse_engine_upgrade(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        refusal: ws::Refusal,
    ) {
        let rule = if refusal == ws::Refusal::NotAnUpgrade {
            "no Upgrade and Connection reached elbow: does the proxy in front pass them on?"
        } else {
            refusal.message()
        };
        self.deny_engine(now, slot, request, Refusal::BadRequest, Denial::Rule(rule));
    }

    /// Refuses a request for a session: an upgrade in plain words, and that is the end of the
    /// connection; anything else with a code, as the reference does. `denial` is said in the log.
    pub(in crate::server) fn deny_engine(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        refusal: Refusal,
        denial: Denial,
    ) {
        self.report_denial(slot, denial);
        let answer = Answer::plain(refusal.status()).with(refusal.fields()).letting(Lets::Read);
        let answer = if request.has_token("upgrade", "websocket") {
            answer.saying(refusal.message().as_bytes()).and_close()
        } else {
            answer.saying(refusal.body().as_bytes()).of_type(JSON)
        };
        self.respond(now, slot, request, answer);
    }
}

const COOKIE_BYTES_MAX: usize = SID_BYTES + BASE_PATH_BYTES_MAX + 32;

/// The cookie by which clients of protocol 3 may keep a balancer at one target.
fn cookie_of<'o>(sid: &Sid, base: &BasePath, out: &'o mut [u8; COOKIE_BYTES_MAX]) -> &'o str {
    let parts = ["io=", sid.as_str(), "; Path=", base.prefix(), "/; HttpOnly"];
    let length = parts.iter().map(|part| part.len()).sum();
    let bytes = parts.iter().flat_map(|part| part.bytes());
    out.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    core::str::from_utf8(&out[..length]).expect("ASCII in all parts")
}
