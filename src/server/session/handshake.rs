//! How an Engine.IO session begins (protocols 3 and 4).
//!
//! Leaves to others: what else a request may ask (`request`), what carries a session and ends it
//! (`transport`), whether there is room for one (`admission`).
//!
//! The surprise: a session that begins by polling holds its first request, and the open packet is
//! what the first poll is answered with.

use crate::hub::{Holder, Session, Transport};
use crate::id::SessionId;
use crate::metrics::Refusal as Reason;
use crate::pool::BufferId;
use crate::reason::CloseReason;
use crate::server::admission::Entrance;
use crate::server::http::respond::Opening;
use crate::server::http::token::{Said, Stop};
use crate::server::http::upgrade;
use crate::server::{Server, Socket};
use crate::time::Now;
use crate::visa::Visa;
use crate::wire::engine::{self, Open, Query, Refusal, Sid, Version};
use crate::wire::http::{Method, Request};
use chacha20::rand_core::Rng;

impl<S: Socket> Server<S> {
    /// Begins a session, or says why not.
    pub(in crate::server) fn answer_handshake(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        query: &Query,
        transport: engine::TransportName,
    ) {
        if request.method != Method::Get {
            return self.refuse_engine(now, slot, request, Refusal::HandshakeMethod);
        }
        let version = query.version.unwrap_or(Version::V3);
        let offer = match transport {
            engine::TransportName::Polling => None,
            engine::TransportName::WebSocket => match upgrade::demand(request) {
                Ok(offer) => Some(offer),
                Err(refusal) => {
                    return self.refuse_engine_upgrade(now, slot, request, refusal);
                }
            },
        };
        let holder = self.holder(slot);
        let welcome = self.welcome(now, slot, request, holder, offer.is_some());
        let Some((visa, pass)) = welcome else { return };
        let id = self.connections.id(slot);
        let transport = match offer {
            Some(_) => Transport::WebSocket(id),
            None => Transport::Polling { held: None, posting: None },
        };
        let session_id = self.open_session(now, slot, holder, version, transport);
        self.sessions.edit(session_id).show(visa, pass);
        match offer {
            Some(offer) => {
                if !self.switch_protocols(now, slot, offer, Opening::of_session(session_id)) {
                    self.remove(now, slot, CloseReason::NoMemory, false);
                }
            }
            None => self.hold(slot, request, session_id),
        }
        let limits = &self.settings.limits;
        let open = Open {
            sid: self.sessions.get(session_id).sid,
            upgrade: offer.is_none(),
            ping_interval_ms: limits.ping_interval.as_millis(),
            ping_timeout_ms: limits.ping_timeout.as_millis(),
            body_bytes_max: limits.message_bytes_max,
        };
        let write = |packet: &mut Vec<u8>| open.append_to(version, packet);
        self.say_written(now, session_id, engine::OPEN_BYTES_MAX, write);
        if version == Version::V3 {
            // Protocol 3 puts everybody into `/` unasked.
            self.enter(now, session_id, "/", Said::default());
        }
        // Not before it is known whether the newcomer is one of them.
        self.bound_unentered(now);
    }

    /// Whether somebody may begin a session: by its token, if it shows one, and because there is
    /// room. What the token lets it do, in a buffer that is lent from here on. `None` if it may
    /// not, or not yet; then the request is dealt with.
    fn welcome(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        holder: Holder,
        upgrades: bool,
    ) -> Option<(Visa, Option<BufferId>)> {
        let shown = match self.admit_session(now, slot, request, upgrades) {
            Ok(shown) => shown,
            Err(Stop::Later(first_key)) => {
                self.wait_for_check(now, slot, first_key);
                return None;
            }
            Err(Stop::Refused(fault)) => {
                self.refuse_token(now, slot, request, fault);
                return None;
            }
        };
        let entrance = Entrance::Session { polls: !upgrades };
        let why = match (shown, self.lacks_room(Some(holder), entrance)) {
            (None, None) => return Some((Visa::UNLIMITED, None)),
            (Some((visa, Some(pass))), None) => return Some((visa, Some(pass))),
            (Some((_, Some(pass))), Some(why)) => {
                self.pool.give(pass);
                why
            }
            (Some((_, None)), None) => Reason::Memory,
            (Some((_, None)) | None, Some(why)) => why,
        };
        self.refuse_session(now, slot, request, why);
        None
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
        let client = self.connections.conn(slot).client();
        let sid = Sid::new(random);
        let session = Session::new(now.mono, sid, version, (client, holder), transport, first_ping);
        let session_id = self.sessions.open(&mut self.pool, session);
        let session_id = session_id.expect("can_open has seen that there is room");
        self.count_session(holder);
        session_id
    }
}
