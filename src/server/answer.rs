//! What a request gets: a probe's answer, a file, a session, or a refusal.
//!
//! Everything is decided from the request head alone; a body is never wanted here and is discarded
//! behind the answer. Paths lead into a table of files that were read before, never to the file
//! system.

use super::admission::{Entrance, why};
use super::{Event, Server, Socket};
use crate::conn::{Next, Requester, Role};
use crate::hub::{DEFAULT_CHANNEL, is_channel_name};
use crate::limits;
use crate::reason::CloseReason;
use crate::site::{AssetId, Found};
use crate::time::{Duration, Now};
use crate::wire::http::{
    self, Body, Connection, FIELDS_MAX, Framing, HeadError, Method, Request, ResponseHead, Version,
};
use crate::wire::origin::{self, Permission};
use crate::wire::{host, ws};
use crate::work;
use core::net::{IpAddr, SocketAddr};

pub(super) const TEXT: Option<&str> = Some("text/plain; charset=utf-8");
const ALLOW_READ: (&str, &str) = ("Allow", "GET, HEAD, OPTIONS");
const RETRY_AFTER: (&str, &str) = ("Retry-After", "5");
const NO_SNIFF: (&str, &str) = ("X-Content-Type-Options", "nosniff");
const NO_CACHE: (&str, &str) = ("Cache-Control", "no-cache");
const NO_STORE: (&str, &str) = ("Cache-Control", "no-store");

/// What the built-in page may do: load itself and open sockets, nothing else. `'self'` alone does
/// not cover WebSocket in every browser.
const POLICY: (&str, &str) = (
    "Content-Security-Policy",
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Longest path that is looked up, decoded. No file that is served has a longer one.
const PATH_BYTES_MAX: usize = 1024;

/// An answer before it knows whether the connection goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) content_type: Option<&'a str>,
    pub(super) fields: &'a [(&'a str, &'a str)],
    pub(super) content: Content<'a>,
}

/// An answer's body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    /// Short, sent with the head.
    Text(&'a [u8]),
    /// The status itself in words.
    Reason,
    File(AssetId),
}

impl<'a> Answer<'a> {
    pub(super) fn plain(status: u16) -> Answer<'a> {
        Answer { status, content_type: TEXT, fields: &[], content: Content::Reason }
    }

    pub(super) fn with(self, fields: &'a [(&'a str, &'a str)]) -> Answer<'a> {
        Answer { fields, ..self }
    }

    pub(super) fn saying(self, text: &'a [u8]) -> Answer<'a> {
        Answer { content: Content::Text(text), ..self }
    }
}

/// What a probe asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Probe {
    /// `/healthz`: is the process alive?
    Alive,
    /// `/readyz`: should it get new connections?
    Ready,
}

fn probe_of(path: &str) -> Option<Probe> {
    match path {
        "/healthz" => Some(Probe::Alive),
        "/readyz" => Some(Probe::Ready),
        _ => None,
    }
}

impl<S: Socket> Server<S> {
    /// Answers the request whose head is `head`, or ends the connection.
    pub(super) fn answer(&mut self, now: Now, slot: u32, head: &[u8]) {
        work::count(|work| work.requests += 1);
        let mut storage = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let request = match http::parse(head, &mut storage) {
            Ok(request) => request,
            Err(error) => return self.refuse_head(now, slot, error),
        };
        self.take_forwarded(slot, &request);
        let probe = probe_of(request.path);
        let reads = matches!(request.method, Method::Get | Method::Head);
        let asks = request.method == Method::Options;
        match (self.entries[slot as usize].conn.requester(), probe) {
            (Requester::Probe, Some(probe)) if reads => {
                self.answer_probe(now, slot, &request, probe);
            }
            (Requester::Probe, _) => self.remove(now, slot, CloseReason::ProxyMissing, false),
            (Requester::Client | Requester::Health, Some(probe)) if reads => {
                self.answer_probe(now, slot, &request, probe);
            }
            (Requester::Client | Requester::Health, Some(_)) if asks => {
                self.answer_options(now, slot, &request, ALLOW_READ);
            }
            (Requester::Health, None) if asks && request.path == "*" => {
                self.answer_options(now, slot, &request, ALLOW_READ);
            }
            (Requester::Client | Requester::Health, Some(_)) => {
                self.respond(now, slot, &request, Answer::plain(405).with(&[ALLOW_READ]));
            }
            (Requester::Health, None) => self.respond(now, slot, &request, Answer::plain(404)),
            (Requester::Client, None) => self.answer_client(now, slot, &request),
        }
    }

    fn answer_client(&mut self, now: Now, slot: u32, request: &Request<'_, '_>) {
        if !self.goes_by(request.authority) {
            let answer = Answer::plain(421).saying(b"this server has another name");
            return self.respond(now, slot, request, answer);
        }
        if request.path == "*" {
            return self.answer_options(now, slot, request, ALLOW_READ);
        }
        let mut decoded = [0; PATH_BYTES_MAX];
        let Some(path) = http::percent_decode(request.path, &mut decoded) else {
            return self.respond(now, slot, request, Answer::plain(404));
        };
        if matches!(path, "/socket.io" | "/socket.io/") {
            return self.answer_engine(now, slot, request);
        }
        let socket_only = match path {
            "/ws" | "/" => Some(DEFAULT_CHANNEL),
            _ => path.strip_prefix("/ws/").filter(|name| is_channel_name(name)),
        };
        if let Some(channel) = socket_only {
            if request.method == Method::Options {
                let allow = if path == "/" { ALLOW_READ } else { ws::ALLOW };
                return self.answer_options(now, slot, request, allow);
            }
            let offer = ws::Offer {
                is_get: request.method == Method::Get,
                http11: request.version == Version::Http11,
                has_body: request.framing.has_body(),
                fields: |name: &'static str| request.fields(name),
            };
            match ws::check(&offer) {
                Ok(Some(upgrade)) => {
                    return self.upgrade(now, slot, request, channel, upgrade);
                }
                Ok(None) if path == "/" => {}
                Ok(None) => {
                    return self.refuse_upgrade(now, slot, request, ws::Refusal::NotAnUpgrade);
                }
                Err(refusal) => return self.refuse_upgrade(now, slot, request, refusal),
            }
        }
        self.answer_file(now, slot, request, path);
    }

    fn refuse_upgrade(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        refusal: ws::Refusal,
    ) {
        let text = refusal.to_string();
        let answer = Answer::plain(refusal.status()).with(refusal.fields());
        self.respond(now, slot, request, answer.saying(text.as_bytes()));
    }

    /// Says which methods a path knows: HAProxy's checks ask so unless they are told otherwise.
    pub(super) fn answer_options(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        allow: (&'static str, &'static str),
    ) {
        self.respond(now, slot, request, Answer::plain(204).with(&[allow]));
    }

    fn answer_probe(&mut self, now: Now, slot: u32, request: &Request<'_, '_>, probe: Probe) {
        self.metrics.probes += 1;
        let full = self.lacks_room_for_newcomers().is_some();
        let (status, text): (u16, &[u8]) = match probe {
            Probe::Alive => (200, b"ok"),
            Probe::Ready if self.drain.is_some() => (503, b"draining"),
            Probe::Ready if full => (503, b"full"),
            Probe::Ready => (200, b"ok"),
        };
        let fields: &[_] = if status == 503 { &[NO_STORE, RETRY_AFTER] } else { &[NO_STORE] };
        self.respond(now, slot, request, Answer::plain(status).with(fields).saying(text));
    }

    fn answer_file(&mut self, now: Now, slot: u32, request: &Request<'_, '_>, path: &str) {
        let asset = match self.site.find(path) {
            None => return self.respond(now, slot, request, Answer::plain(404)),
            Some(_) if request.method == Method::Options => {
                return self.answer_options(now, slot, request, ALLOW_READ);
            }
            Some(_) if !matches!(request.method, Method::Get | Method::Head) => {
                return self.respond(now, slot, request, Answer::plain(405).with(&[ALLOW_READ]));
            }
            Some(Found::Folder) => {
                let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
                let location = format!("{}/{query}", request.path);
                let fields = [("Location", location.as_str())];
                return self.respond(now, slot, request, Answer::plain(301).with(&fields));
            }
            Some(Found::Asset(asset)) => asset,
        };
        let etag = self.site.asset(asset).etag.clone();
        let content_type = self.site.asset(asset).content_type;
        let is_page = self.site.is_built_in() && content_type.starts_with("text/html");
        let policy: &[_] =
            if is_page { &[POLICY, ("Referrer-Policy", "no-referrer")] } else { &[] };
        let fields = [&[("ETag", etag.as_str()), NO_CACHE, NO_SNIFF], policy].concat();
        let fresh = http::etag_matches(request.fields("if-none-match"), &etag);
        let answer = if fresh {
            Answer { status: 304, content_type: None, fields: &fields, content: Content::Text(b"") }
        } else {
            let content_type = Some(content_type);
            Answer { status: 200, content_type, fields: &fields, content: Content::File(asset) }
        };
        self.respond(now, slot, request, answer);
    }

    fn upgrade(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        channel: &str,
        upgrade: ws::Upgrade<'_>,
    ) {
        if !self.allows_origin(request) {
            let answer = Answer::plain(403).saying(b"pages of this origin may not connect here");
            return self.respond(now, slot, request, answer);
        }
        let holder = Some(self.holder(slot));
        if let Some(why) = self.lacks_room(holder, Entrance::Channel(channel)) {
            return self.refuse_session(now, slot, request, why);
        }
        let place = match self.join(slot, channel) {
            Ok(place) => place,
            Err(error) => return self.refuse_session(now, slot, request, why(error)),
        };
        let first_ping = self.first_ping();
        let client = self.client(slot);
        self.events.push(&mut self.pool, Event::Opened { client, channel: channel.into() });
        self.switch_protocols(now, slot, upgrade, Role::Member(place), Some(first_ping));
    }

    /// Answers 101 and makes the connection a WebSocket.
    pub(super) fn switch_protocols(
        &mut self,
        now: Now,
        slot: u32,
        upgrade: ws::Upgrade<'_>,
        role: Role,
        first_ping: Option<Duration>,
    ) {
        let accept = ws::accept(upgrade.key);
        let accept = core::str::from_utf8(&accept).expect("base64 is ASCII");
        let date = self.date(now);
        let fields = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept),
            ("Sec-WebSocket-Protocol", upgrade.protocol.unwrap_or_default()),
        ];
        let mut own = core::mem::take(&mut self.scratch);
        own.clear();
        let head = ResponseHead {
            status: 101,
            date: &date,
            connection: Connection::Unsaid,
            content_type: None,
            content_length: None,
            fields: match upgrade.protocol {
                Some(_) => &fields,
                None => &fields[..3],
            },
        };
        head.write(&mut own);
        self.metrics.requests += 1;
        let (entry, mut cx) = self.parts(now, slot);
        entry.conn.upgrade(&mut cx, role, first_ping);
        let told = entry.conn.out.push_own(cx.pool, &own);
        self.scratch = own;
        if told {
            self.enqueue(slot);
        } else {
            self.remove(now, slot, CloseReason::NoMemory, false);
        }
    }

    pub(super) fn refuse_session(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        why: &'static str,
    ) {
        self.metrics.sessions_refused += 1;
        let client = self.client(slot);
        self.events.push(&mut self.pool, Event::Refused { client, why });
        self.respond(now, slot, request, Answer::plain(503).with(&[RETRY_AFTER]));
    }

    /// Whether `authority` names this server. The page of a foreign name that was made to lead here
    /// (DNS rebinding) has the right `Origin` for it, so only the name itself tells.
    fn goes_by(&self, authority: Option<&str>) -> bool {
        let hosts = &self.settings.hosts;
        hosts.is_empty() || authority.is_some_and(|authority| host::is_named(authority, hosts))
    }

    /// Whether a request may open a session, or speak to one: a page's `Origin` must be its own
    /// host or listed. Other programs send none, and neither do a page's images, scripts and links;
    /// a browser tells of these that the page is another site's (Fetch Metadata, section 2.3).
    /// Listed pages connect by scripts, which send an `Origin`.
    pub(super) fn allows_origin(&self, request: &Request<'_, '_>) -> bool {
        let mut origins = request.fields("origin");
        match (origins.next(), origins.next()) {
            (None, _) => !request.has_token("sec-fetch-site", "cross-site"),
            (Some(origin), None) => self.permission(request, origin).is_some(),
            (Some(_), Some(_)) => false,
        }
    }

    /// Why the page of `origin` may send this request, if it may.
    pub(super) fn permission(
        &self,
        request: &Request<'_, '_>,
        origin: &[u8],
    ) -> Option<Permission> {
        let authority = request.authority.unwrap_or_default();
        origin::permission(origin, authority, &self.settings.origins)
    }

    /// Answers a request that could not be understood, and closes: what follows must not be
    /// interpreted.
    pub(super) fn refuse_head(&mut self, now: Now, slot: u32, error: HeadError) {
        self.refuse(now, slot, error.status(), &error.to_string());
    }

    /// Answers half a request whose time is over.
    pub(super) fn refuse_late(&mut self, now: Now, slot: u32) {
        self.refuse(now, slot, 408, "the request did not arrive in time");
    }

    fn refuse(&mut self, now: Now, slot: u32, status: u16, text: &str) {
        if self.entries[slot as usize].conn.requester() == Requester::Probe {
            return self.remove(now, slot, CloseReason::ProxyMissing, false);
        }
        let answer = Answer::plain(status).saying(text.as_bytes());
        self.write_answer(now, slot, None, answer, Next::Close);
    }

    pub(super) fn respond(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        answer: Answer<'_>,
    ) {
        let next = match self.is_worn_out(now, slot) {
            true => Next::Close,
            false => self.what_follows(slot, request),
        };
        self.write_answer(now, slot, Some(request), answer, next);
    }

    /// Whether the connection goes on behind the answer, and what with.
    pub(super) fn what_follows(&self, slot: u32, request: &Request<'_, '_>) -> Next {
        let probe = self.entries[slot as usize].conn.requester() == Requester::Probe;
        // A client that waits for 100 Continue has its final answer and may or may not send the
        // body then; only closing is unambiguous (RFC 9110 §10.1.1).
        if probe || !request.persistent || request.expects_continue || self.drain.is_some() {
            return Next::Close;
        }
        match request.framing {
            Framing::None | Framing::Length(0) => Next::Request,
            Framing::Length(bytes) if bytes > u64::from(limits::LINGER_BYTES_MAX) => Next::Close,
            Framing::Length(_) | Framing::Chunked => Next::Body(Body::new(request.framing)),
        }
    }

    pub(super) fn write_answer(
        &mut self,
        now: Now,
        slot: u32,
        request: Option<&Request<'_, '_>>,
        answer: Answer<'_>,
        next: Next,
    ) {
        let is_1_0 = request.is_some_and(|request| request.version == Version::Http10);
        let bodiless = request.is_some_and(|request| request.method == Method::Head);
        let body_bytes = if bodiless { 0 } else { self.content_bytes(&answer) as u64 };
        let client = self.client(slot);
        let mut access = self.spare.take(client, answer.status, body_bytes);
        if let Some(request) = request {
            let (method, version) = (request.method.as_str(), request.version.as_str());
            access.set_request(method, request.path, request.query.is_some(), version);
            access.set_agent(request.field("user-agent").unwrap_or_default());
            access.is_probe = probe_of(request.path).is_some();
        }
        self.events.push(&mut self.pool, Event::Request(access));
        self.send_answer(now, slot, answer, next, is_1_0, bodiless);
    }

    /// Puts an answer on its way.
    pub(super) fn send_answer(
        &mut self,
        now: Now,
        slot: u32,
        answer: Answer<'_>,
        next: Next,
        is_1_0: bool,
        bodiless: bool,
    ) {
        let connection = connection_of(next, is_1_0);
        let date = self.date(now);
        let length = self.content_bytes(&answer);
        let mut head = core::mem::take(&mut self.scratch);
        head.clear();
        // A 426 has a `Connection: Upgrade` of its own; both words may stand there.
        let response = ResponseHead {
            status: answer.status,
            date: &date,
            connection,
            content_type: answer.content_type.filter(|_| answer.status != 204),
            content_length: Some(length as u64),
            fields: answer.fields,
        };
        response.write(&mut head);
        let (text, file) = match answer.content {
            _ if bodiless => (&[][..], None),
            Content::File(asset) => (&[][..], Some((asset, length as u32))),
            Content::Text(text) => (text, None),
            Content::Reason if answer.status == 204 => (&[][..], None),
            Content::Reason => (http::reason(answer.status).as_bytes(), None),
        };
        self.send_response(now, slot, &head, text, file, next);
        self.scratch = head;
    }

    /// Puts a head and what follows it on their way.
    pub(super) fn send_response(
        &mut self,
        now: Now,
        slot: u32,
        head: &[u8],
        text: &[u8],
        file: Option<(AssetId, u32)>,
        next: Next,
    ) {
        self.metrics.requests += 1;
        let (entry, mut cx) = self.parts(now, slot);
        entry.answers = entry.answers.saturating_add(1);
        if entry.conn.reply(&mut cx, [head, text], file, next) {
            self.enqueue(slot);
            // A request that waited had no deadline; its answer has.
            self.arm(slot);
        } else {
            self.remove(now, slot, CloseReason::NoMemory, false);
        }
    }

    /// Length of the body that GET gets.
    fn content_bytes(&self, answer: &Answer<'_>) -> usize {
        match answer.content {
            Content::Text(text) => text.len(),
            Content::Reason if answer.status == 204 => 0,
            Content::Reason => http::reason(answer.status).len(),
            Content::File(asset) => self.site.asset(asset).bytes.len(),
        }
    }

    /// The `Date` of this second.
    pub(super) fn date(&mut self, now: Now) -> [u8; http::DATE_BYTES] {
        if self.date.0 != now.unix_s {
            self.date = (now.unix_s, http::date(now.unix_s));
        }
        self.date.1
    }

    /// Behind an ALB the client's address is what a trusted peer says it is. Without the field,
    /// which an ALB always sends, what was known before stands.
    fn take_forwarded(&mut self, slot: u32, request: &Request<'_, '_>) {
        let entry = &mut self.entries[slot as usize];
        if !self.settings.forwarded_for || !entry.conn.is_trusted() {
            return;
        }
        // The rightmost entry was written by the peer itself, the next by whom that one names, and
        // so on: the first from there that is not trusted is the client, and what is left of it is
        // hearsay, as is what stands before something that is no address. Hearsay is not looked at:
        // a client may send thousands of addresses, and the balancer adds one.
        let mut client = None;
        for entry in request.tokens("x-forwarded-for").rev().take(limits::FORWARDED_MAX) {
            let Some(address) = forwarded_address(entry) else { break };
            client = Some(address);
            if !self.settings.trust.contains(address.ip()) {
                break;
            }
        }
        if let Some(client) = client {
            entry.conn.set_client(client);
        }
    }
}

/// What is said about the connection behind an answer.
pub(super) fn connection_of(next: Next, is_1_0: bool) -> Connection {
    match next {
        Next::Close => Connection::Close,
        Next::Request | Next::Body(_) if is_1_0 => Connection::KeepAlive,
        Next::Request | Next::Body(_) => Connection::Unsaid,
    }
}

/// An entry of `X-Forwarded-For`: an address, perhaps with a port (0 if there is none). An IPv6
/// address may stand in brackets without a port, too.
fn forwarded_address(entry: &[u8]) -> Option<SocketAddr> {
    let text = core::str::from_utf8(entry).ok()?;
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bracketed {
        Some(address) => SocketAddr::new(IpAddr::V6(address.parse().ok()?), 0),
        None => text
            .parse::<SocketAddr>()
            .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)))
            .ok()?,
    };
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}
