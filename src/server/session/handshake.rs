//! How an Engine.IO session begins (protocols 3 and 4).
//!
//! Leaves to others: what else a request may ask (`request`), what carries a session and ends it
//! (`transport`), whether there is room for one (`admission`).
//!
//! The surprise: a session that begins by polling holds its first request, and the open packet is
//! what the first poll is answered with.

use crate::hub::{Holder, Session, Transport};
use crate::id::SessionId;
use crate::reason::CloseReason;
use crate::server::admission::Entrance;
use crate::server::http::respond::Opening;
use crate::server::http::upgrade;
use crate::server::{Server, Socket};
use crate::time::Now;
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
        let entrance = Entrance::Session { polls: offer.is_none() };
        if let Some(why) = self.lacks_room(Some(holder), entrance) {
            return self.refuse_session(now, slot, request, why);
        }
        let id = self.connections.id(slot);
        let carrier = match offer {
            Some(_) => Transport::WebSocket(id),
            None => Transport::Polling { held: None, posting: None },
        };
        let session = self.open_session(now, slot, holder, version, carrier);
        match offer {
            Some(offer) => {
                if !self.switch_protocols(now, slot, offer, Opening::of_session(session)) {
                    self.remove(now, slot, CloseReason::NoMemory, false);
                }
            }
            None => self.hold(slot, request, session),
        }
        let limits = &self.settings.limits;
        let open = Open {
            sid: self.sessions.get(session).sid,
            upgrade: offer.is_none(),
            ping_interval_ms: limits.ping_interval.as_millis(),
            ping_timeout_ms: limits.ping_timeout.as_millis(),
            body_bytes_max: limits.message_bytes_max,
        };
        let write = |packet: &mut Vec<u8>| open.append_to(version, packet);
        self.say_written(now, session, engine::OPEN_BYTES_MAX, write);
        if version == Version::V3 {
            // Protocol 3 puts everybody into `/` unasked.
            self.enter(now, session, "/", None);
        }
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
        let id = self.sessions.open(&mut self.pool, session);
        let id = id.expect("can_open has seen that there is room");
        self.count_session(holder);
        self.bound_unentered(now);
        id
    }
}
