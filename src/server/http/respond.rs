//! The way out of all answers: from what is said, and what is known of the request, to bytes on the
//! connection and a line in the log.
//!
//! ```text
//!   Subject    a request whose head is at hand, one that waited, or nothing that was understood
//!   Answer     status, fields, content; who else may read it; whether it is the last
//!      │
//!      └─► what follows ─► log ─► head (Date, Connection) ─► the connection, which sends it
//! ```
//!
//! Leaves to others: which answer a request gets (`route` and its neighbours, `session`).
//!
//! The surprise: nothing is said to somebody who had to send a PROXY header and did not, unless it
//! is a probe. Every byte of ours would belong to the balancer's client.

use super::Probe;
use super::cors::{Grant, Lets};
use crate::conn::{Cx, KnownPath, Next, Remembered, Requester, Role};
use crate::id::SessionId;
use crate::limits;
use crate::metrics::{Kind, Refusal};
use crate::pool::{BufferId, Pool};
use crate::server::event::Spare;
use crate::server::{AGENT_BYTES_MAX, Access, Denial, Event, Server, Socket};
use crate::site::AssetId;
use crate::text::SHOWN_BYTES_MAX;
use crate::time::{Duration, Now};
use crate::visa::Visa;
use crate::wire::base_path::BasePath;
use crate::wire::http::{
    self, Body, Connection, DATE_BYTES, Framing, Method, Request, ResponseHead, Version,
};
use crate::wire::ws;
use core::net::SocketAddr;

/// A field of an answer: its name and its value.
pub(in crate::server) type Field<'a> = (&'static str, &'a str);

pub(in crate::server) const TEXT: Option<&str> = Some("text/plain; charset=utf-8");
pub(in crate::server) const NO_STORE: Field<'_> = ("Cache-Control", "no-store");
pub(in crate::server) const RETRY_AFTER: Field<'_> = ("Retry-After", "5");

/// What is said to a request, whoever decided it.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Answer<'a> {
    pub(in crate::server) status: u16,
    pub(in crate::server) content_type: Option<&'a str>,
    pub(in crate::server) fields: &'a [Field<'a>],
    pub(in crate::server) content: Content<'a>,
    /// What the page of another origin is let do with the answer, if the request came from one that
    /// is listed.
    pub(in crate::server) lets: Lets,
    /// Whether the connection ends behind the answer, whatever the request says.
    pub(in crate::server) is_last: bool,
}

/// An answer's body, as a GET gets it.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) enum Content<'a> {
    /// Bytes that are sent together with the head.
    Bytes(&'a [u8]),
    /// The status itself in words.
    Reason,
    /// A file of the site.
    File(AssetId),
    /// Chunks with the last of them, which are sent together with the head; that says nothing of
    /// their length.
    Chunks(&'a [u8]),
}

impl<'a> Answer<'a> {
    /// A status in words, as plain text.
    pub(in crate::server) const fn plain(status: u16) -> Answer<'a> {
        Answer {
            status,
            content_type: TEXT,
            fields: &[],
            content: Content::Reason,
            lets: Lets::Nothing,
            is_last: false,
        }
    }

    /// Has these fields instead of none.
    pub(in crate::server) const fn with(self, fields: &'a [Field<'a>]) -> Answer<'a> {
        Answer { fields, ..self }
    }

    /// Has this body instead of the status in words.
    pub(in crate::server) const fn saying(self, bytes: &'a [u8]) -> Answer<'a> {
        Answer { content: Content::Bytes(bytes), ..self }
    }

    /// Has a body of this media type instead of plain text; `None` for an answer without a body.
    pub(in crate::server) const fn of_type(self, content_type: Option<&'a str>) -> Answer<'a> {
        Answer { content_type, ..self }
    }

    /// May be read by the page of a listed origin.
    pub(in crate::server) const fn letting(self, lets: Lets) -> Answer<'a> {
        Answer { lets, ..self }
    }

    /// Ends the connection.
    pub(in crate::server) const fn and_close(self) -> Answer<'a> {
        Answer { is_last: true, ..self }
    }
}

/// How a WebSocket or an event stream begins.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Opening<'a> {
    pub(in crate::server) role: Role,
    /// Until when a member may stay, and who it is. A session has a visa of its own.
    pub(in crate::server) visa: Visa,
    /// How long after the last byte heard the first ping is due, or from now on the first comment
    /// of an event stream; `None` for a WebSocket that carries a session, which sends pings of its
    /// own.
    pub(in crate::server) first_ping: Option<Duration>,
    /// What is sent right behind the head.
    pub(in crate::server) own: &'a [u8],
    /// Whether the client is to be sent what was said before it came.
    pub(in crate::server) lags: bool,
}

impl Opening<'_> {
    /// The beginning of a WebSocket that carries the session `id`.
    pub(in crate::server) fn of_session(id: SessionId) -> Opening<'static> {
        let (role, visa) = (Role::Session(id), Visa::UNLIMITED);
        Opening { role, visa, first_ping: None, own: &[], lags: false }
    }
}

/// What is known of the request that an answer is for.
#[derive(Clone, Copy, Debug)]
enum Subject<'r> {
    /// The head of the request is at hand.
    Request(&'r Request<'r, 'r>),
    /// The request waited for its answer.
    Remembered(Remembered),
    /// Nothing came that could be understood; what follows must not be interpreted.
    Nothing,
}

impl Subject<'_> {
    /// Whether the client speaks HTTP/1.0, and has to be told that the connection goes on.
    fn is_http10(self) -> bool {
        match self {
            Subject::Request(request) => request.version == Version::Http10,
            Subject::Remembered(request) => request.version == Version::Http10,
            Subject::Nothing => false,
        }
    }

    /// Whether the answer is a head alone.
    fn wants_no_body(self) -> bool {
        match self {
            Subject::Request(request) => request.method == Method::Head,
            Subject::Remembered(request) => request.method == Method::Head,
            Subject::Nothing => false,
        }
    }
}

/// What answers are made with, kept so that none of them allocates.
#[derive(Debug)]
pub(in crate::server) struct Responder {
    /// Where heads are put together.
    head: Vec<u8>,
    /// A second since 1970, and how `Date` writes it.
    date: (u64, [u8; DATE_BYTES]),
    /// Entries of the log that were written down and are filled again.
    spare: Spare,
    base_path: BasePath,
    /// Where sessions are, for the log.
    sessions_path: Box<str>,
}

impl Responder {
    /// A responder that has said nothing yet.
    pub(in crate::server) fn new(base_path: &BasePath, now: Now) -> Responder {
        Responder {
            head: Vec::with_capacity(limits::RESPONSE_HEAD_BYTES_MAX),
            date: (now.unix_s, http::date(now.unix_s)),
            spare: Spare::default(),
            base_path: base_path.clone(),
            sessions_path: format!("{}/socket.io/", base_path.prefix()).into(),
        }
    }

    /// Takes back an entry that was written down.
    pub(in crate::server) fn recycle(&mut self, access: Box<Access>) {
        self.spare.give(access);
    }

    /// What the log is told of a request and the answer to it, which has a body of `body_bytes`.
    fn log(
        &mut self,
        pool: &Pool,
        client: SocketAddr,
        subject: Subject<'_>,
        status: u16,
        body_bytes: u64,
    ) -> Event {
        let mut access = self.spare.take(client, status, body_bytes);
        match subject {
            Subject::Request(request) => {
                let (method, version) = (request.method.as_str(), request.version.as_str());
                access.set_request(method, request.path, request.query.is_some(), version);
                access.set_agent(request.field("user-agent").unwrap_or_default());
                access.is_routine = Probe::at(&self.base_path, request.path).is_some();
            }
            Subject::Remembered(request) => {
                let (method, version) = (request.method.as_str(), request.version.as_str());
                // Which session a request was for stood in its query.
                let path = match (request.path(pool), request.known_path) {
                    (b"", KnownPath::Sessions) => &*self.sessions_path,
                    (b"", KnownPath::Metrics) => "/metrics",
                    (b"", KnownPath::Status) => "/status",
                    (path, _) => core::str::from_utf8(path).expect("a path is visible ASCII"),
                };
                access.is_routine = request.known_path.is_routine();
                access.set_request(method, path, request.has_query, version);
                access.set_agent(request.agent(pool));
            }
            Subject::Nothing => {}
        }
        Event::Request(access)
    }

    /// Puts the head of an answer together; `length` is that of the body that a GET gets, and
    /// `None` where nothing is said about it. `grant` is what pages of another origin are told.
    fn head(
        &mut self,
        now: Now,
        answer: &Answer<'_>,
        grant: Option<Grant<'_>>,
        connection: Connection,
        length: Option<u64>,
    ) -> &[u8] {
        if self.date.0 != now.unix_s {
            self.date = (now.unix_s, http::date(now.unix_s));
        }
        let mut with_grant;
        let fields = match grant {
            None => answer.fields,
            Some(grant) => {
                with_grant = Fields::default();
                answer.fields.iter().for_each(|(name, value)| with_grant.push(name, value));
                grant.tell(|name, value| with_grant.push(name, value));
                with_grant.list()
            }
        };
        // A 426 has a `Connection: Upgrade` of its own; both words may stand there.
        let head = ResponseHead {
            status: answer.status,
            date: &self.date.1,
            connection,
            content_type: answer.content_type.filter(|_| answer.status != 204),
            content_length: length,
            fields,
        };
        self.head.clear();
        head.write(&mut self.head);
        &self.head
    }
}

/// Puts what is noted of a request into a buffer; `None` if that is nothing, or there is no memory.
fn note(pool: &mut Pool, parts: &[&[u8]]) -> Option<BufferId> {
    let bytes = parts.iter().map(|part| part.len()).sum();
    let mut noted = if bytes > 0 { pool.take(bytes)? } else { return None };
    assert!(pool.append_all(&mut noted, parts), "a buffer has the room that was asked for");
    Some(noted)
}

/// The most fields that an answer has beside those that each has.
const FIELDS_MAX: usize = 7;

/// Fields of an answer, without a heap.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    list: [Field<'a>; FIELDS_MAX],
    count: usize,
}

impl<'a> Fields<'a> {
    /// Adds one.
    ///
    /// # Panics
    /// If there are [`FIELDS_MAX`].
    pub(super) fn push(&mut self, name: &'static str, value: &'a str) {
        self.list[self.count] = (name, value);
        self.count += 1;
    }

    /// All fields, in the order in which they were added.
    pub(super) fn list(&self) -> &[Field<'a>] {
        &self.list[..self.count]
    }
}

impl<S: Socket> Server<S> {
    /// Answers a request whose head is at hand. Without memory for the answer the connection ends.
    pub(in crate::server) fn respond(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        answer: Answer<'_>,
    ) {
        self.send_answer(now, slot, Subject::Request(request), &answer);
    }

    /// Answers a request that waited, and lets the page that sent it read the answer. Nothing
    /// happens if no request waits on the connection. Whether there was memory for the answer;
    /// otherwise the connection ends.
    pub(in crate::server) fn respond_later(
        &mut self,
        now: Now,
        slot: u32,
        answer: Answer<'_>,
    ) -> bool {
        let Some(request) = self.connections.conn(slot).remembered() else { return true };
        let answer = answer.letting(Lets::Read);
        self.send_answer(now, slot, Subject::Remembered(request), &answer)
    }

    /// Answers what could not be understood, and closes.
    pub(super) fn respond_to_nothing(&mut self, now: Now, slot: u32, answer: Answer<'_>) {
        self.send_answer(now, slot, Subject::Nothing, &answer);
    }

    /// Says which methods a path knows: HAProxy's checks ask so unless they are told otherwise.
    pub(in crate::server) fn answer_options(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        allow: Field<'static>,
    ) {
        self.respond(now, slot, request, Answer::plain(204).with(&[allow]));
    }

    /// Says in the log which rule refuses a request for a WebSocket or a session.
    pub(in crate::server) fn report_denial(&mut self, slot: u32, denial: Denial) {
        self.metrics.count_refused(match denial {
            Denial::Origin(_) | Denial::Origins | Denial::NoOrigin => Refusal::Origin,
            Denial::Host(_) => Refusal::Host,
            Denial::Token(_) => Refusal::Token,
            Denial::Rule(_) => Refusal::Protocol,
        });
        let client = self.client(slot);
        self.events.push(&mut self.pool, Event::Denied { client, denial });
    }

    /// Counts a client that finds no room, and says in the log of what there is not enough.
    pub(in crate::server) fn report_refusal(&mut self, client: SocketAddr, why: Refusal) {
        self.metrics.count_refused(why);
        self.events.push(&mut self.pool, Event::Refused { client, why: why.words() });
    }

    /// Refuses a session for want of room, and says so in the log.
    pub(in crate::server) fn refuse_session(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        why: Refusal,
    ) {
        self.report_refusal(self.client(slot), why);
        let answer = Answer::plain(503).with(&[RETRY_AFTER]).letting(Lets::Read);
        self.respond(now, slot, request, answer);
    }

    /// What has to be known of a request for a session when its answer is decided, which is later.
    pub(in crate::server) fn remember(
        &mut self,
        slot: u32,
        request: &Request<'_, '_>,
    ) -> Remembered {
        let agent = request.field("user-agent").unwrap_or_default();
        let agent = &agent[..agent.len().min(AGENT_BYTES_MAX)];
        let origin = self.listed_origin(request).unwrap_or_default().as_bytes();
        // A line without the one, and an answer that a foreign page cannot read, are better than
        // none.
        let noted = note(&mut self.pool, &[origin, agent]);
        Remembered {
            method: request.method,
            version: request.version,
            is_persistent: self.is_persistent(slot, request),
            // At most ORIGIN_BYTES_MAX, and AGENT_BYTES_MAX.
            origin_bytes: noted.map_or(0, |_| origin.len() as u16),
            agent_bytes: noted.map_or(0, |_| agent.len() as u16),
            path_bytes: 0,
            known_path: KnownPath::Sessions,
            has_query: true,
            noted,
        }
    }

    /// What has to be known of a request to the admin listener when its answer is decided, which is
    /// later, with the `words` that it needs until then. `None` if there is no memory for that.
    pub(super) fn remember_with(
        &mut self,
        slot: u32,
        request: &Request<'_, '_>,
        words: [&[u8]; 3],
    ) -> Option<Remembered> {
        let agent = request.field("user-agent").unwrap_or_default();
        let agent = &agent[..agent.len().min(AGENT_BYTES_MAX)];
        let path = &request.path.as_bytes()[..request.path.len().min(SHOWN_BYTES_MAX)];
        let [first, second, third] = words;
        let noted = note(&mut self.pool, &[agent, path, first, second, third])?;
        Some(Remembered {
            method: request.method,
            version: request.version,
            is_persistent: self.is_persistent(slot, request),
            origin_bytes: 0,
            // At most AGENT_BYTES_MAX, and SHOWN_BYTES_MAX.
            agent_bytes: agent.len() as u16,
            path_bytes: path.len() as u16,
            known_path: KnownPath::Sessions,
            has_query: request.query.is_some(),
            noted: Some(noted),
        })
    }

    /// What has to be known of a request for a known path of the admin listener when its answer is
    /// decided, which is later. That needs no memory: without any, the log lacks the `User-Agent`.
    pub(super) fn remember_known(
        &mut self,
        slot: u32,
        request: &Request<'_, '_>,
        known_path: KnownPath,
    ) -> Remembered {
        let agent = request.field("user-agent").unwrap_or_default();
        let agent = &agent[..agent.len().min(AGENT_BYTES_MAX)];
        let noted = note(&mut self.pool, &[agent]);
        Remembered {
            method: request.method,
            version: request.version,
            is_persistent: self.is_persistent(slot, request),
            origin_bytes: 0,
            // At most AGENT_BYTES_MAX.
            agent_bytes: noted.map_or(0, |_| agent.len() as u16),
            path_bytes: 0,
            known_path,
            has_query: request.query.is_some(),
            noted,
        }
    }

    /// Whether the connection goes on behind a request that is answered later, and whose body
    /// nobody reads.
    fn is_persistent(&self, slot: u32, request: &Request<'_, '_>) -> bool {
        match self.what_allows(slot, request) {
            Next::Request => true,
            // A body would be taken for the next request: what has one is the last.
            Next::Body(_) | Next::Close => false,
        }
    }

    /// What follows an answer, as far as its request decides that.
    fn what_allows(&self, slot: u32, request: &Request<'_, '_>) -> Next {
        let is_probe = self.connections.conn(slot).requester() == Requester::Probe;
        // A client that waits for 100 Continue has its final answer and may or may not send the
        // body then; only closing is unambiguous (RFC 9110 §10.1.1).
        if is_probe || !request.persistent || request.expects_continue {
            return Next::Close;
        }
        match request.framing {
            Framing::None | Framing::Length(0) => Next::Request,
            Framing::Length(bytes) if bytes > u64::from(limits::LINGER_BYTES_MAX) => Next::Close,
            Framing::Length(_) | Framing::Chunked => Next::Body(Body::new(request.framing)),
        }
    }

    /// Whether the connection goes on behind an answer, and what with.
    fn what_follows(&self, now: Now, slot: u32, subject: Subject<'_>, is_last: bool) -> Next {
        if is_last || self.drain.is_some() || self.is_worn_out(now, slot) {
            return Next::Close;
        }
        match subject {
            Subject::Request(request) => self.what_allows(slot, request),
            Subject::Remembered(request) => request.next(),
            Subject::Nothing => Next::Close,
        }
    }

    /// Puts an answer on its way and says so in the log. `false` if there is no memory for it: then
    /// nothing is said, and the connection ends.
    fn send_answer(
        &mut self,
        now: Now,
        slot: u32,
        subject: Subject<'_>,
        answer: &Answer<'_>,
    ) -> bool {
        let next = self.what_follows(now, slot, subject, answer.is_last);
        let (bytes, file) = match answer.content {
            Content::Bytes(bytes) => (bytes, None),
            Content::Reason if answer.status == 204 => (&[][..], None),
            Content::Reason => (http::reason(answer.status).as_bytes(), None),
            // No file has 4 GiB.
            Content::File(file) => {
                (&[][..], Some((file, self.site.asset(file).bytes.len() as u32)))
            }
            Content::Chunks(chunks) => (chunks, None),
        };
        let length = file.map_or(bytes.len() as u64, |(_, length)| u64::from(length));
        let (bytes, file, sent_bytes) = match subject.wants_no_body() {
            true => (&[][..], None, 0),
            false => (bytes, file, length),
        };
        let client = self.client(slot);
        let line = self.responder.log(&self.pool, client, subject, answer.status, sent_bytes);
        self.events.push(&mut self.pool, line);
        let connection = match next {
            Next::Close => Connection::Close,
            Next::Request | Next::Body(_) if subject.is_http10() => Connection::KeepAlive,
            Next::Request | Next::Body(_) => Connection::Unsaid,
        };
        let grant = match subject {
            Subject::Request(request) => {
                Grant::for_request(request, &self.settings.origins, answer.lets)
            }
            Subject::Remembered(request) => Grant::to_read(request.origin(&self.pool)),
            Subject::Nothing => None,
        };
        let is_chunked = matches!(answer.content, Content::Chunks(_));
        let told = (!is_chunked).then_some(length);
        let head = self.responder.head(now, answer, grant, connection, told);
        self.metrics.requests.count(answer.status);
        self.connections.count_answer(slot);
        let (pool, metrics) = (&mut self.pool, &mut self.metrics);
        let mut cx = Cx { now, pool, metrics, settings: &self.settings };
        let own = [head, bytes];
        let is_sent = self.connections.change(slot, |conn| conn.reply(&mut cx, own, file, next));
        self.connections.send_soon(slot);
        is_sent
    }

    /// Answers 101 and makes the connection a WebSocket. `false` if there is no memory for the
    /// answer: then the connection is to be removed.
    #[must_use]
    pub(in crate::server) fn switch_protocols(
        &mut self,
        now: Now,
        slot: u32,
        upgrade: ws::Upgrade<'_>,
        opening: Opening<'_>,
    ) -> bool {
        let accept = ws::accept(upgrade.key);
        let fields = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept.as_str()),
            ("Sec-WebSocket-Protocol", upgrade.protocol.unwrap_or_default()),
        ];
        let fields = match upgrade.protocol {
            Some(_) => &fields[..],
            None => &fields[..3],
        };
        let answer = Answer::plain(101).with(fields).of_type(None);
        let head = self.responder.head(now, &answer, None, Connection::Unsaid, None);
        self.metrics.requests.count(answer.status);
        let (pool, metrics) = (&mut self.pool, &mut self.metrics);
        let mut cx = Cx { now, pool, metrics, settings: &self.settings };
        let told = self.connections.change(slot, |conn| {
            conn.upgrade(&mut cx, (opening.role, opening.visa), opening.first_ping);
            conn.out.push_own_parts(cx.pool, &[head, opening.own])
        });
        self.connections.set_kind(
            slot,
            match opening.role {
                Role::Member { .. } => Kind::WebSocket,
                Role::Session(_) | Role::Orphan => Kind::SocketIo,
            },
        );
        self.send_opening(slot, opening);
        told
    }

    /// Begins to answer a request with an event stream, whose head is that of `answer`. `false` if
    /// there is no memory for that: then the connection is to be removed.
    #[must_use]
    pub(super) fn begin_stream(
        &mut self,
        now: Now,
        slot: u32,
        request: &Request<'_, '_>,
        answer: &Answer<'_>,
        opening: Opening<'_>,
    ) -> bool {
        let grant = Grant::for_request(request, &self.settings.origins, answer.lets);
        let head = self.responder.head(now, answer, grant, Connection::Close, None);
        self.metrics.requests.count(answer.status);
        let (pool, metrics) = (&mut self.pool, &mut self.metrics);
        let mut cx = Cx { now, pool, metrics, settings: &self.settings };
        let first_comment = opening.first_ping.unwrap_or(self.settings.limits.ping_interval);
        let told = self.connections.change(slot, |conn| {
            conn.begin_stream(&mut cx, (opening.role, opening.visa), first_comment);
            conn.out.push_own_parts(cx.pool, &[head, opening.own])
        });
        self.connections.set_kind(slot, Kind::Stream);
        self.send_opening(slot, opening);
        told
    }

    /// Sends what a WebSocket or an event stream begins with, and what follows at once. A crowd
    /// that comes back has a share of the pass, and keeps nobody else waiting.
    fn send_opening(&mut self, slot: u32, opening: Opening<'_>) {
        if opening.lags {
            self.connections.send_again(slot);
        } else {
            self.connections.send_soon(slot);
        }
    }

    /// Whether an answer should be the last on its connection.
    fn is_worn_out(&self, now: Now, slot: u32) -> bool {
        let age = now.mono.since(self.connections.conn(slot).opened_at());
        let answers = self.connections.answers(slot);
        age >= limits::KEEP_ALIVE_AGE_MAX || answers + 1 >= limits::KEEP_ALIVE_REQUESTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Client;
    use crate::time::Instant;
    use crate::wire::http::parse;
    use crate::wire::origin::Origin;

    const DATE: &str = "Date: Sun, 22 Nov 2026 10:23:36 GMT\r\n";

    fn at(unix_s: u64) -> Now {
        Now { mono: Instant::from_millis(0), unix_s }
    }

    fn responder() -> Responder {
        Responder::new(&BasePath::default(), at(1_795_343_016))
    }

    fn head(answer: &Answer<'_>, grant: Option<Grant<'_>>, connection: Connection) -> String {
        let mut responder = responder();
        let head = responder.head(at(1_795_343_016), answer, grant, connection, Some(2));
        String::from_utf8(head.to_vec()).expect("heads are text")
    }

    #[test]
    fn an_answer_has_its_own_fields_and_then_what_lets_a_page_read_it() {
        let cookie = [NO_STORE, ("Set-Cookie", "io=x")];
        let answer = Answer::plain(200).with(&cookie).saying(b"ok");
        let begin = format!("HTTP/1.1 200 OK\r\n{DATE}");
        let plain = "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n\
                     Cache-Control: no-store\r\nSet-Cookie: io=x\r\n";
        let written = head(&answer, None, Connection::KeepAlive);
        assert_eq!(written, format!("{begin}Connection: keep-alive\r\n{plain}\r\n"));
        assert_eq!(Grant::to_read(b""), None);
        let written = head(&answer, Grant::to_read(b"https://a.example"), Connection::Close);
        let lets = "Access-Control-Allow-Origin: https://a.example\r\n\
                    Access-Control-Allow-Credentials: true\r\nVary: Origin\r\n";
        assert_eq!(written, format!("{begin}Connection: close\r\n{plain}{lets}\r\n"));
    }

    #[test]
    fn a_preflight_is_told_what_may_be_sent_and_has_no_body() {
        let mut storage = [httparse::EMPTY_HEADER; http::FIELDS_MAX];
        let bytes = b"OPTIONS / HTTP/1.1\r\nHost: h\r\nOrigin: https://a.example\r\n\
            Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: a, b\r\n\r\n";
        let request = parse(bytes, &mut storage).expect("a request");
        let grant = Grant::for_request(&request, &[Origin::Any], Lets::Send);
        let written = head(&Answer::plain(204), grant, Connection::Unsaid);
        let lets = "Access-Control-Allow-Origin: https://a.example\r\n\
                    Access-Control-Allow-Credentials: true\r\nVary: Origin\r\n\
                    Access-Control-Allow-Methods: POST\r\n\
                    Access-Control-Allow-Headers: a, b\r\nAccess-Control-Max-Age: 600\r\n";
        assert_eq!(written, format!("HTTP/1.1 204 No Content\r\n{DATE}{lets}\r\n"));
        assert_eq!(Grant::for_request(&request, &[Origin::Any], Lets::Nothing), None);
        assert_eq!(Grant::for_request(&request, &[Origin::Null], Lets::Send), None);
    }

    #[test]
    fn the_date_is_that_of_the_second_and_nothing_is_left_of_the_answer_before() {
        let mut responder = responder();
        let long = Answer::plain(404).with(&[NO_STORE]);
        responder.head(at(1_795_343_016), &long, None, Connection::Close, Some(2));
        let answer = Answer::plain(304).of_type(None);
        let later = responder.head(at(1_795_343_017), &answer, None, Connection::Unsaid, Some(0));
        let expected = "HTTP/1.1 304 Not Modified\r\nDate: Sun, 22 Nov 2026 10:23:37 GMT\r\n\r\n";
        assert_eq!(core::str::from_utf8(later), Ok(expected));
    }

    fn logged(subject: Subject<'_>, pool: &Pool) -> Box<Access> {
        let client = Client::new("203.0.113.7:51034".parse().expect("an address")).address();
        let event = responder().log(pool, client, subject, 200, 2);
        let Event::Request(access) = event else { panic!("{event:?}") };
        access
    }

    #[test]
    fn the_log_has_a_line_for_requests_at_hand_remembered_and_not_understood() {
        let mut pool = Pool::new(1024 * 1024);
        let mut storage = [httparse::EMPTY_HEADER; http::FIELDS_MAX];
        let bytes = b"HEAD /healthz?secret HTTP/1.0\r\nUser-Agent: a\r\n\r\n";
        let request = parse(bytes, &mut storage).expect("a request");
        let subject = Subject::Request(&request);
        let access = logged(subject, &pool);
        assert_eq!(access.line, "HEAD /healthz? HTTP/1.0");
        assert_eq!((&*access.agent, access.is_routine), (b"a".as_slice(), true));
        assert!(subject.is_http10() && subject.wants_no_body());

        let mut noted = pool.take(4).expect("memory");
        assert!(pool.append(&mut noted, b"a://b"));
        let remembered = Remembered {
            method: Method::Post,
            version: Version::Http11,
            is_persistent: true,
            origin_bytes: 4,
            agent_bytes: 1,
            path_bytes: 0,
            known_path: KnownPath::Sessions,
            has_query: true,
            noted: Some(noted),
        };
        let subject = Subject::Remembered(remembered);
        let access = logged(subject, &pool);
        assert_eq!(access.line, "POST /socket.io/? HTTP/1.1");
        assert_eq!((&*access.agent, access.is_routine), (b"b".as_slice(), false));
        assert!(!subject.is_http10() && !subject.wants_no_body());

        let mut noted = pool.take(20).expect("memory");
        assert!(pool.append(&mut noted, b"curl/publish/anews"));
        let remembered = Remembered {
            origin_bytes: 0,
            agent_bytes: 4,
            path_bytes: 10,
            has_query: false,
            noted: Some(noted),
            ..remembered
        };
        assert_eq!(remembered.words(&pool), b"news");
        let access = logged(Subject::Remembered(remembered), &pool);
        assert_eq!(access.line, "POST /publish/a HTTP/1.1");
        assert_eq!(&*access.agent, b"curl".as_slice());

        let access = logged(Subject::Nothing, &pool);
        assert_eq!((&*access.line, &*access.agent), ("", b"".as_slice()));
        assert!(!Subject::Nothing.is_http10() && !Subject::Nothing.wants_no_body());
    }
}
