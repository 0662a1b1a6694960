//! Plain WebSockets: which channel a path names, and who may become a member of it.
//!
//! Leaves to others: the handshake of RFC 6455 (`wire/ws`), places in channels (`members`), the
//! 101 itself (`respond`). An Engine.IO session upgrades in `session`, by the same handshake.
//!
//! The surprise: `/` is both the page and a way into the default channel; only an upgrade tells the
//! two apart.

use super::respond::Answer;
use crate::conn::Role;
use crate::hub::{DEFAULT_CHANNEL, is_channel_name};
use crate::reason::CloseReason;
use crate::server::admission::{Entrance, why};
use crate::server::{Denial, Event, Server, Socket};
use crate::time::Now;
use crate::wire::http::{Method, Request, Version};
use crate::wire::ws::{self, Upgrade};

/// The channel that a plain WebSocket at `path`, which was decoded, becomes a member of. Nobody who
/// opens one follows a redirect, so the base path does with and without its slash.
pub(super) fn channel_at(path: &str) -> Option<&str> {
    match path {
        "/ws" | "/" | "" => Some(DEFAULT_CHANNEL),
        _ => path.strip_prefix("/ws/").filter(|name| is_channel_name(name)),
    }
}

/// Whether a request opens a WebSocket; `None` if it does not ask for one.
///
/// # Errors
/// What is wrong with a request that does ask.
pub(in crate::server) fn check<'b>(
    request: &Request<'b, '_>,
) -> Result<Option<Upgrade<'b>>, ws::Refusal> {
    ws::check(&ws::Offer {
        is_get: request.method == Method::Get,
        http11: request.version == Version::Http11,
        has_body: request.framing.has_body(),
        fields: |name: &'static str| request.fields(name),
    })
}

/// What a request says that has to open a WebSocket.
///
/// # Errors
/// What is wrong with it.
pub(in crate::server) fn demand<'b>(request: &Request<'b, '_>) -> Result<Upgrade<'b>, ws::Refusal> {
    check(request)?.ok_or(ws::Refusal::NotAnUpgrade)
}

impl<S: Socket> Server<S> {
    /// Lets a plain WebSocket into `channel`, or says why not.
    pub(super) fn upgrade(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        channel: &str,
        offer: Upgrade<'_>,
    ) {
        if let Err(denial) = self.check_origin(request) {
            self.report_denial(slot, denial);
            let answer = Answer::plain(403).saying(b"pages of this origin may not connect here");
            return self.respond(now, slot, request, answer);
        }
        let holder = self.holder(slot);
        if let Some(why) = self.lacks_room(Some(holder), Entrance::Channel(channel)) {
            return self.refuse_session(now, slot, request, why);
        }
        let membership = match self.join(now, slot, channel, holder) {
            Ok(membership) => membership,
            Err(error) => return self.refuse_session(now, slot, request, why(error)),
        };
        let first_ping = self.first_ping();
        let client = self.client(slot);
        self.events.push(&mut self.pool, Event::Opened { client, channel: channel.into() });
        let role = Role::Member(membership);
        if !self.switch_protocols(now, slot, offer, role, Some(first_ping)) {
            self.remove(now, slot, CloseReason::NoMemory, false);
        }
    }

    /// Says what is wrong with a request for a WebSocket.
    pub(super) fn refuse_upgrade(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        refusal: ws::Refusal,
    ) {
        if refusal != ws::Refusal::NotAnUpgrade {
            self.report_denial(slot, Denial::Rule(refusal.message()));
        }
        let answer = Answer::plain(refusal.status()).with(refusal.fields());
        self.respond(now, slot, request, answer.saying(refusal.message().as_bytes()));
    }
}
