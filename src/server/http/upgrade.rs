//! Plain WebSockets: which channel a path names, and who may become a member of it.
//!
//! Leaves to others: the handshake of RFC 6455 (`wire/ws`), places in channels (`members`), the
//! 101 itself (`respond`). An Engine.IO session upgrades in `session`, by the same handshake.
//!
//! The surprise: `/` is both the page and a way into the default channel; only an upgrade tells the
//! two apart.

use super::respond::{Answer, Opening};
use super::token::Admission;
use crate::conn::Role;
use crate::hub::{DEFAULT_CHANNEL, Recovery, Since, Start, Wish, is_channel_name, write_header};
use crate::id::Dialect;
use crate::metrics::Refusal;
use crate::reason::CloseReason;
use crate::server::admission::Turned;
use crate::server::{Denial, Event, Server, Socket};
use crate::time::Now;
use crate::wire::http::{Method, Request, Version};
use crate::wire::resume::Resume;
use crate::wire::ws::{self, Kind, Upgrade};

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

/// What is said to a client whose position cannot be honoured, and who wanted nothing less.
pub(super) const GONE: &[u8] = b"what was said since then is not kept any more";

/// What is said to a client whose address has been sent its share of what is kept.
const COME_BACK: &[u8] = b"this address has just been sent what is kept: come back in a second";

/// When an address may be sent as much again.
const SOON: (&str, &str) = ("Retry-After", "1");

/// Where a client wants to begin, from what its request says.
pub(super) fn wish_of(resume: &Resume) -> Wish {
    Wish {
        since: resume.since.map(|since| Since::of(since.as_bytes())),
        last: resume.last.unwrap_or(0),
    }
}

/// Appends the first frame of `elbow.v1`, in which the server itself speaks: the channel, the
/// position behind which the client reads everything, whether that is the one with which it came
/// back, and how many messages follow at once.
fn write_greeting(channel: &str, start: &Start, out: &mut Vec<u8>) {
    let recovered = match start.recovery {
        None => "",
        Some(Recovery::Whole) => ",\"recovered\":true",
        Some(Recovery::Gone | Recovery::Unknown) => ",\"recovered\":false",
    };
    // The name of a channel has no character that JSON escapes.
    let text = format!(
        "\n{{\"channel\":\"{channel}\",\"position\":\"{}\"{recovered},\"missed\":{}}}",
        start.position, start.missed
    );
    write_header(Kind::Text, text.len(), out);
    out.extend_from_slice(text.as_bytes());
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
        let admission = match self.admit(now, slot, request, true, channel) {
            Ok(admission) => admission,
            Err(stop) => return self.stop(now, slot, request, stop),
        };
        let resume = match Resume::parse(request.query) {
            Ok(resume) => resume,
            Err(malformed) => {
                self.metrics.count_refused(Refusal::Protocol);
                let text = malformed.to_string();
                let answer = Answer::plain(400).saying(text.as_bytes());
                return self.respond(now, slot, request, answer);
            }
        };
        let dialect = match offer.protocol {
            Some(ws::ELBOW_V1) => Dialect::ElbowV1,
            Some(_) | None => Dialect::Plain,
        };
        let wish = wish_of(&resume);
        let entered = self.let_in(now, slot, channel, (dialect, wish), resume.strict);
        let (membership, start) = match entered {
            Ok(entered) => entered,
            Err(Turned::Later) => return,
            Err(Turned::NoRoom(why)) => return self.refuse_session(now, slot, request, why),
            Err(Turned::Gone) => {
                self.metrics.count_refused(Refusal::Gone);
                return self.respond(now, slot, request, Answer::plain(410).saying(GONE));
            }
            Err(Turned::OverShare) => {
                self.report_refusal(self.client(slot), Refusal::Replays);
                let answer = Answer::plain(429).with(&[SOON]).saying(COME_BACK);
                return self.respond(now, slot, request, answer);
            }
        };
        let mut greeting = Vec::new();
        if dialect == Dialect::ElbowV1 {
            write_greeting(channel, &start, &mut greeting);
        }
        let first_ping = self.first_ping();
        let client = self.client(slot);
        let Admission { may_speak, visa, subject } = admission;
        let opened = Event::Opened { client, channel: channel.into(), subject };
        self.events.push(&mut self.pool, opened);
        let opening = Opening {
            role: Role::Member { membership, dialect, may_speak },
            visa,
            first_ping: Some(first_ping),
            own: &greeting,
            lags: start.missed > 0,
        };
        if !self.switch_protocols(now, slot, offer, opening) {
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
        if refusal == ws::Refusal::NotAnUpgrade {
            self.metrics.count_refused(Refusal::Protocol);
        } else {
            self.report_denial(slot, Denial::Rule(refusal.message()));
        }
        let answer = Answer::plain(refusal.status()).with(refusal.fields());
        self.respond(now, slot, request, answer.saying(refusal.message().as_bytes()));
    }
}
