//! Floor 3: one connection, from its first byte to its last, as a machine that takes and gives
//! values.
//!
//! ```text
//!   Proxy ──► Http ◄──► Exchange            Leaving
//!             │ │ │                          ▲ ▲ ▲
//!             │ │ └─ final answer, any error ┘ │ │
//!             │ └───► WebSocket ───────────────┘ │
//!             └─────► Stream ────────────────────┘
//! ```
//!
//! A connection never sees a socket, the hub or a file. It is told which bytes arrived, and returns
//! how many of them it is done with and one thing for the server to do ([`Step`]). Then it is
//! called again with the rest. Bytes that it is not done with come back in front of what arrives
//! next. Time is an argument.
//!
//! Each phase is a variant that owns its data, in a file of its own, and says by itself what
//! arrives, what is due and what is wanted in it. `Conn::enter` is the one function in which phases
//! change; the stages of a phase (a head, a response, a body) are its own business.

mod client;
mod collect;
mod exchange;
mod http;
mod leaving;
mod proxy;
mod step;
mod stream;
mod websocket;

use core::net::SocketAddr;

use crate::feed::Mark;
use crate::id::{ChannelId, Client, Dialect, Offset, SessionId};
use crate::limits;
use crate::membership::Membership;
use crate::outbound::{CloseFrame, Outbound, Source};
use crate::pool::{BufferId, Pool};
use crate::reason::CloseReason;
use crate::settings::{ProxyMode, Settings, UNIX_PEER};
use crate::site::AssetId;
use crate::time::{Duration, Instant};
use crate::visa::Visa;
use crate::wire::sse;
use crate::work;

pub use client::Listener;
use client::Standing;
pub use collect::CollectError;
use exchange::Exchange;
pub use exchange::{Draft, Purpose, Remembered, TakenBody};
use http::Http;
pub use http::{Next, Requester};
use leaving::Leaving;
use proxy::Proxy;
pub use step::{Cx, Payload, Progress, Step, Waiting};
use stream::Stream;
pub use websocket::Role;
use websocket::WebSocket;

/// What a connection is doing, with the data that only this needs.
#[derive(Debug)]
enum Phase {
    /// The PROXY header is read.
    Proxy(Proxy),
    /// Requests are read and answered: a head, a response, a body that nobody wants.
    Http(Http),
    /// A request is under way whose answer others decide, and whose body they may want.
    Exchange(Exchange),
    /// A WebSocket is open, or its closing handshake is under way.
    WebSocket(WebSocket),
    /// An event stream is sent, or its end is under way.
    Stream(Stream),
    /// The last word was said, or the connection is over.
    Leaving(Leaving),
}

/// One connection: its phase, the bytes that wait in both directions, and who is at its other end.
#[derive(Debug)]
pub struct Conn {
    phase: Phase,
    /// The bytes that go out.
    pub out: Outbound,
    /// The bytes that came in and were not consumed.
    input: Option<BufferId>,
    opened_at: Instant,
    heard_at: Instant,
    client: Client,
    listener: Listener,
    standing: Standing,
}

impl Conn {
    /// A connection that was just accepted from `peer`, an address in its canonical form.
    pub fn new(cx: &Cx<'_>, listener: Listener, peer: SocketAddr) -> Conn {
        let now = cx.now.mono;
        let phase = match listener {
            Listener::Public if cx.settings.proxy == ProxyMode::Off => {
                Phase::Http(Http::first(cx, Requester::Client))
            }
            Listener::Public | Listener::Health => Phase::Proxy(Proxy::new(now)),
            Listener::Admin => Phase::Http(Http::first(cx, Requester::Admin)),
        };
        let trusted = cx.settings.trust.believes(peer);
        Conn {
            phase,
            out: Outbound::new(),
            input: None,
            opened_at: now,
            heard_at: now,
            client: Client::new(peer),
            listener,
            standing: if trusted { Standing::Trusted } else { Standing::Stranger },
        }
    }

    /// Takes in what arrived. Returns how many of `bytes` are done with, and what to do. To be
    /// called again with the rest until it needs more or holds. Payload is unmasked in place.
    ///
    /// Bounded work: at most one header, head, chunk or frame.
    pub fn receive<'b>(&mut self, cx: &mut Cx<'_>, bytes: &'b mut [u8]) -> (usize, Step<'b>) {
        if bytes.is_empty() {
            return (0, Step::NeedMore);
        }
        match &mut self.phase {
            Phase::Proxy(_) => self.receive_proxy(cx, bytes),
            Phase::Http(http) => http.receive(cx, bytes),
            Phase::Exchange(exchange) => exchange.receive(cx, bytes),
            Phase::WebSocket(ws) => ws.receive(cx, &mut self.out, bytes),
            Phase::Stream(stream) => stream.receive(bytes),
            Phase::Leaving(leaving) => leaving.receive(bytes),
        }
    }

    /// Takes in that the peer has shut down its side: nothing more will arrive.
    pub fn receive_end(&mut self) -> Step<'static> {
        let nothing_came = self.input.is_none();
        match &self.phase {
            Phase::Proxy(proxy) => proxy.receive_end(nothing_came),
            Phase::Http(http) => http.receive_end(nothing_came),
            Phase::Exchange(exchange) => exchange.receive_end(),
            Phase::WebSocket(ws) => ws.receive_end(),
            Phase::Stream(stream) => stream.receive_end(),
            Phase::Leaving(leaving) => leaving.receive_end(),
        }
    }

    /// Notes that bytes arrived at `now`, so the peer is alive. Returns how long a ping has waited
    /// for that, if one has.
    pub fn heard(&mut self, now: Instant) -> Option<Duration> {
        self.heard_at = now;
        match &mut self.phase {
            Phase::WebSocket(ws) => ws.heard(now),
            Phase::Proxy(_)
            | Phase::Http(_)
            | Phase::Exchange(_)
            | Phase::Stream(_)
            | Phase::Leaving(_) => None,
        }
    }

    /// For how long nothing has come from the peer.
    pub fn silence(&self, now: Instant) -> Duration {
        now.since(self.heard_at)
    }

    /// Notes that the peer has sent bytes that are not taken in yet. So the peer is alive, and
    /// these may be the rest of a message or POST that is unfinished: it has
    /// [`limits::WAITED_LIMIT`] more.
    pub fn speaks_later(&mut self, now: Instant) {
        self.heard(now);
        match &mut self.phase {
            Phase::WebSocket(ws) => ws.speaks_later(now),
            Phase::Exchange(exchange) => exchange.speaks_later(now),
            Phase::Proxy(_) | Phase::Http(_) | Phase::Stream(_) | Phase::Leaving(_) => {}
        }
    }

    /// When [`Conn::handle_timeout`] is due, if the answer to a ping may take `ping_timeout`. The
    /// instant may be later than at the last call.
    pub fn deadline(&self, ping_timeout: Duration) -> Instant {
        match &self.phase {
            Phase::Proxy(proxy) => proxy.by,
            Phase::Http(http) => http.deadline(),
            Phase::Exchange(exchange) => exchange.deadline(),
            Phase::WebSocket(ws) => ws.deadline(ping_timeout, self.heard_at),
            Phase::Stream(stream) => stream.deadline(),
            Phase::Leaving(leaving) => leaving.deadline(),
        }
    }

    /// Acts on the deadline, if it has been reached.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) -> Step<'static> {
        let nothing_came = self.input.is_none();
        match &mut self.phase {
            Phase::Proxy(proxy) => proxy.handle_timeout(nothing_came),
            Phase::Http(http) => http.handle_timeout(nothing_came),
            Phase::Exchange(exchange) => exchange.handle_timeout(cx.now.mono),
            Phase::WebSocket(ws) => ws.handle_timeout(cx, &mut self.out, self.heard_at),
            Phase::Stream(stream) => stream.handle_timeout(cx, &mut self.out),
            Phase::Leaving(leaving) => leaving.handle_timeout(),
        }
    }

    /// Begins to answer a request: `own` is the head and perhaps a body, `file` a body from the
    /// site. `false` when the pool is empty; then nothing is sent, and the connection is to be
    /// ended ([`Conn::doom`]).
    pub fn reply(
        &mut self,
        cx: &mut Cx<'_>,
        own: [&[u8]; 2],
        file: Option<(AssetId, u32)>,
        next: Next,
    ) -> bool {
        if self.is_over() {
            return true;
        }
        let requester = self.requester();
        self.phase_buffers().for_each(|buffer| cx.pool.give(buffer));
        // The phase is entered first, so that it no longer holds the buffers that were just given
        // back.
        self.enter(Phase::Http(Http::response(cx, next, requester)));
        if !self.out.push_own_parts(cx.pool, &own) {
            self.enter(Phase::Leaving(Leaving::Doomed(CloseReason::NoMemory)));
            return false;
        }
        if let Some((asset, length)) = file {
            self.out.start_body(asset, length);
        }
        true
    }

    /// Becomes a WebSocket. The first ping is due `first_ping` after the last byte heard; `None`
    /// for a WebSocket that carries a session, which sends pings of its own.
    pub fn upgrade(
        &mut self,
        cx: &mut Cx<'_>,
        (role, visa): (Role, Visa),
        first_ping: Option<Duration>,
    ) {
        self.opened_at = cx.now.mono;
        self.enter(Phase::WebSocket(WebSocket::new(role, visa, first_ping)));
    }

    /// Becomes an event stream, whose first comment is due after `first_comment`.
    pub fn begin_stream(
        &mut self,
        cx: &mut Cx<'_>,
        (role, visa): (Role, Visa),
        first_comment: Duration,
    ) {
        self.opened_at = cx.now.mono;
        self.enter(Phase::Stream(Stream::new(role, visa, cx.now.mono, first_comment)));
    }

    /// Begins to follow the feed of `channel` in `dialect` from `mark` on.
    pub fn follow(&mut self, channel: ChannelId, dialect: Dialect, mark: Mark) {
        if !self.is_over() {
            self.out.start_feed(channel, dialect, mark);
        }
    }

    /// Begins the closing handshake of a WebSocket, or the end of an event stream: `frame`, or the
    /// last chunk, waits until everything before `barrier` has gone. Nothing happens in any other
    /// phase, so the first call decides.
    pub fn close(
        &mut self,
        cx: &mut Cx<'_>,
        frame: CloseFrame,
        barrier: Offset,
        reason: CloseReason,
    ) {
        match &mut self.phase {
            Phase::WebSocket(ws) => ws.close(cx, &mut self.out, frame, barrier, reason),
            Phase::Stream(stream) => stream.close(cx, &mut self.out, barrier, reason),
            Phase::Proxy(_) | Phase::Http(_) | Phase::Exchange(_) | Phase::Leaving(_) => {}
        }
    }

    /// Says on an event stream after how many milliseconds its client is to come back. Nothing
    /// happens once its end was decided. Without memory nothing is said: a browser then comes back
    /// after a time of its own.
    pub fn say_when_to_return(&mut self, cx: &mut Cx<'_>, retry_ms: u64) {
        if self.is_stream() && self.is_open() {
            let mut chunk = Vec::with_capacity(sse::retry_bytes(retry_ms));
            sse::retry(retry_ms, &mut chunk);
            let _is_said = self.out.push_own(cx.pool, &chunk);
        }
    }

    /// Notes that bytes went to the socket, and whether more are pending. Returns what that has led
    /// to.
    pub fn progressed(&mut self, cx: &mut Cx<'_>, is_pending: bool) -> Progress {
        match &mut self.phase {
            Phase::Http(http) => {
                if http.is_response() && !is_pending {
                    self.out.finish_body();
                }
                http.progressed(cx, is_pending)
            }
            Phase::WebSocket(ws) => ws.progressed(&self.out),
            Phase::Stream(stream) => stream.progressed(&self.out),
            Phase::Proxy(_) | Phase::Exchange(_) | Phase::Leaving(_) => Progress::Ongoing,
        }
    }

    /// Discards what still comes; writing was shut down.
    pub fn linger(&mut self, cx: &mut Cx<'_>, reason: CloseReason) {
        self.out.release(cx.pool);
        self.enter(Phase::Leaving(Leaving::lingering(cx.now.mono, reason)));
    }

    /// Keeps `rest`, which was not consumed, for the next [`Conn::take_input`]. `false` when the
    /// pool is empty.
    #[must_use]
    pub fn keep_input(&mut self, pool: &mut Pool, rest: &[u8]) -> bool {
        debug_assert!(self.input.is_none());
        if rest.is_empty() || self.is_over() {
            return true;
        }
        let Some(mut id) = pool.take(rest.len()) else { return false };
        let kept = pool.append(&mut id, rest);
        self.input = Some(id);
        kept
    }

    /// Moves what was kept to the front of `buffer`. Returns how many bytes that are.
    pub fn take_input(&mut self, pool: &mut Pool, buffer: &mut [u8]) -> usize {
        let Some(id) = self.input.take() else { return 0 };
        let length = pool.bytes(id).len();
        buffer[..length].copy_from_slice(pool.bytes(id));
        work::copied(length);
        pool.give(id);
        length
    }

    /// Ends the connection: all buffers go back to the pool. From here on nothing that is asked of
    /// the connection has an effect, so whoever still works on it need not know.
    pub fn end(&mut self, pool: &mut Pool) {
        if let Some(input) = self.input.take() {
            pool.give(input);
        }
        self.phase_buffers().for_each(|buffer| pool.give(buffer));
        self.out.release(pool);
        self.out = Outbound::new();
        self.enter(Phase::Leaving(Leaving::Over));
    }

    /// Why the connection is to be ended at once, if it is: there was no memory for an answer.
    pub fn doom(&self) -> Option<CloseReason> {
        match &self.phase {
            Phase::Leaving(leaving) => leaving.doom(),
            Phase::Proxy(_)
            | Phase::Http(_)
            | Phase::Exchange(_)
            | Phase::WebSocket(_)
            | Phase::Stream(_) => None,
        }
    }

    /// Whether the connection has ended.
    pub fn is_over(&self) -> bool {
        matches!(&self.phase, Phase::Leaving(leaving) if leaving.is_over())
    }

    /// Whether bytes that were read wait to be consumed.
    pub fn has_input(&self) -> bool {
        self.input.is_some()
    }

    /// Whether bytes from the socket are wanted now.
    pub fn wants_input(&self) -> bool {
        match &self.phase {
            Phase::Http(http) => http.wants_input(),
            Phase::Exchange(exchange) => exchange.wants_input(self.has_input()),
            Phase::Leaving(leaving) => !leaving.is_over(),
            Phase::Proxy(_) | Phase::WebSocket(_) | Phase::Stream(_) => true,
        }
    }

    /// How many bytes the message or the POST under way still wants, as far as that was announced;
    /// at most [`limits::READ_BYTES_MAX`].
    pub fn wanted_bytes(&self) -> usize {
        let wanted = match &self.phase {
            Phase::WebSocket(ws) => ws.wanted_bytes(),
            Phase::Exchange(exchange) => exchange.wanted_bytes(),
            Phase::Proxy(_) | Phase::Http(_) | Phase::Stream(_) | Phase::Leaving(_) => 0,
        };
        usize::try_from(wanted)
            .map_or(limits::READ_BYTES_MAX, |wanted| wanted.min(limits::READ_BYTES_MAX))
    }

    /// What the WebSocket or the event stream is for. `None` if it is neither, or its last word has
    /// gone.
    pub fn role(&self) -> Option<Role> {
        match &self.phase {
            Phase::WebSocket(ws) => Some(ws.role),
            Phase::Stream(stream) => Some(stream.role),
            Phase::Proxy(_) | Phase::Http(_) | Phase::Exchange(_) | Phase::Leaving(_) => None,
        }
    }

    /// The membership of a plain WebSocket or an event stream. `None` for any other connection, or
    /// when its last word has gone.
    pub fn membership(&self) -> Option<Membership> {
        match self.role() {
            Some(Role::Member { membership, .. }) => Some(membership),
            Some(Role::Session(_) | Role::Orphan) | None => None,
        }
    }

    /// The dialect that a member reads by itself. `None` for any other connection, or when its last
    /// word has gone.
    pub fn dialect(&self) -> Option<Dialect> {
        match self.role() {
            Some(Role::Member { dialect, .. }) => Some(dialect),
            Some(Role::Session(_) | Role::Orphan) | None => None,
        }
    }

    /// Until when the client may stay, and who it is, if this is a member by itself; for any other
    /// connection nothing is known.
    pub fn visa(&self) -> Visa {
        match &self.phase {
            Phase::WebSocket(ws) => ws.visa,
            Phase::Stream(stream) => stream.visa,
            Phase::Proxy(_) | Phase::Http(_) | Phase::Exchange(_) | Phase::Leaving(_) => {
                Visa::UNLIMITED
            }
        }
    }

    /// Whether what the client says is published, as far as the connection knows: `false` for a
    /// member that may only listen.
    pub fn may_speak(&self) -> bool {
        match self.role() {
            Some(Role::Member { may_speak, .. }) => may_speak,
            Some(Role::Session(_) | Role::Orphan) | None => true,
        }
    }

    fn membership_mut(&mut self) -> Option<&mut Membership> {
        match self.role_mut() {
            Some(Role::Member { membership, .. }) => Some(membership),
            Some(Role::Session(_) | Role::Orphan) | None => None,
        }
    }

    /// The session that this connection carries as a WebSocket, or that its request under way is
    /// for.
    pub fn session(&self) -> Option<SessionId> {
        match &self.phase {
            Phase::Exchange(exchange) => exchange.session(),
            Phase::WebSocket(ws) => match ws.role {
                Role::Session(session) => Some(session),
                Role::Member { .. } | Role::Orphan => None,
            },
            Phase::Proxy(_) | Phase::Http(_) | Phase::Stream(_) | Phase::Leaving(_) => None,
        }
    }

    /// Notes that the session or the membership of a WebSocket is over, or that of an event stream,
    /// though it may still have something to send.
    pub fn orphan(&mut self) {
        if let Some(role) = self.role_mut() {
            *role = Role::Orphan;
        }
    }

    /// Notes that the hub has moved this member to another index in the channel's list.
    pub fn set_index(&mut self, index: u32) {
        if let Some(membership) = self.membership_mut() {
            membership.index = index;
        }
    }

    /// Counts a message that this member has published.
    pub fn count_published(&mut self) {
        if let Some(membership) = self.membership_mut() {
            membership.count_published();
        }
    }

    fn role_mut(&mut self) -> Option<&mut Role> {
        match &mut self.phase {
            Phase::WebSocket(ws) => Some(&mut ws.role),
            Phase::Stream(stream) => Some(&mut stream.role),
            Phase::Proxy(_) | Phase::Http(_) | Phase::Exchange(_) | Phase::Leaving(_) => None,
        }
    }

    /// Whether what is read here is published: in an open WebSocket, or a request body that is
    /// wanted.
    pub fn is_publishing(&self) -> bool {
        match &self.phase {
            Phase::WebSocket(ws) => ws.is_open(),
            Phase::Exchange(exchange) => exchange.has_body(),
            Phase::Proxy(_) | Phase::Http(_) | Phase::Stream(_) | Phase::Leaving(_) => false,
        }
    }

    /// Makes the request whose head was just read wait for the check of its token, with all of its
    /// bytes. The token was tried with the keys before the one of the number `first_key`.
    pub fn queue(&mut self, cx: &mut Cx<'_>, first_key: u8) {
        if let Phase::Http(http) = &mut self.phase {
            http.queue(cx, first_key);
        }
    }

    /// Has the head of a request read again that waits for the check of its token: its turn has
    /// come.
    pub fn unqueue(&mut self) {
        if let Phase::Http(http) = &mut self.phase {
            http.unqueue();
        }
    }

    /// Has the token of a request that waits for its check tried with all keys: those with which it
    /// was tried are gone.
    pub fn forget_tries(&mut self) {
        if let Phase::Http(http) = &mut self.phase {
            http.forget_tries();
        }
    }

    /// Whether a request waits for the check of its token.
    pub fn is_queued(&self) -> bool {
        matches!(&self.phase, Phase::Http(http) if http.is_queued())
    }

    /// The number of the first key with which the token of the request was not tried.
    pub fn first_key(&self) -> u8 {
        match &self.phase {
            Phase::Http(http) => http.first_key(),
            Phase::Proxy(_)
            | Phase::Exchange(_)
            | Phase::WebSocket(_)
            | Phase::Stream(_)
            | Phase::Leaving(_) => 0,
        }
    }

    /// Whether this is an open WebSocket on which a frame has ended and the next has not begun.
    pub fn is_between_frames(&self) -> bool {
        match &self.phase {
            Phase::WebSocket(ws) => ws.is_between_frames(),
            Phase::Proxy(_)
            | Phase::Http(_)
            | Phase::Exchange(_)
            | Phase::Stream(_)
            | Phase::Leaving(_) => false,
        }
    }

    /// Who sends requests on this connection.
    pub fn requester(&self) -> Requester {
        match &self.phase {
            Phase::Http(http) => http.requester(),
            Phase::Proxy(_)
            | Phase::Exchange(_)
            | Phase::WebSocket(_)
            | Phase::Stream(_)
            | Phase::Leaving(_) => match self.listener {
                Listener::Admin => Requester::Admin,
                // No request to the health listener leaves the phase of HTTP.
                Listener::Public | Listener::Health => Requester::Client,
            },
        }
    }

    /// Whether nothing is under way: no byte of the next request waits here.
    pub fn is_idle(&self) -> bool {
        matches!(&self.phase, Phase::Http(http) if http.is_request()) && self.input.is_none()
    }

    /// Whether this is a WebSocket or an event stream whose end was not decided.
    pub fn is_open(&self) -> bool {
        match &self.phase {
            Phase::WebSocket(ws) => ws.is_open(),
            Phase::Stream(stream) => stream.is_open(),
            Phase::Proxy(_) | Phase::Http(_) | Phase::Exchange(_) | Phase::Leaving(_) => false,
        }
    }

    /// Whether a PROXY header was read here, and behind it only requests are expected so far.
    pub fn has_passed_header(&self, settings: &Settings) -> bool {
        let is_headed = match self.listener {
            Listener::Public => settings.proxy != ProxyMode::Off,
            Listener::Health => true,
            Listener::Admin => false,
        };
        is_headed && matches!(&self.phase, Phase::Http(_))
    }

    /// Whether this is an event stream.
    pub fn is_stream(&self) -> bool {
        matches!(&self.phase, Phase::Stream(_))
    }

    /// The client's address: the peer's, or what a trusted peer said.
    pub fn client(&self) -> Client {
        self.client
    }

    /// Takes the client's address from a trusted peer's PROXY header or `X-Forwarded-For`.
    pub fn set_client(&mut self, address: SocketAddr) {
        let client = Client::new(address);
        if client.ip() != self.client.ip() {
            self.standing = Standing::Spokesman;
        }
        self.client = client;
    }

    /// Whether the peer is believed when it says who the client is.
    pub fn is_trusted(&self) -> bool {
        self.standing != Standing::Stranger
    }

    /// Whether the peer stands for clients whose addresses it has not told: it is trusted and has
    /// named nobody else, and it is on this machine, or the operator expects proxies at all.
    pub fn is_proxy(&self, settings: &Settings) -> bool {
        if self.standing != Standing::Trusted {
            return false;
        }
        let ip = self.client.ip();
        settings.expects_proxies() || ip.is_loopback() || ip == UNIX_PEER.ip()
    }

    /// The kind of listener by which the connection came in.
    pub fn listener(&self) -> Listener {
        self.listener
    }

    /// What the connection waits for, if it may give way to others.
    pub fn waits(&self) -> Option<Waiting> {
        let nothing_came = self.input.is_none();
        match &self.phase {
            Phase::Proxy(proxy) => Some(proxy.waits()),
            Phase::Http(http) => http.waits(nothing_came),
            // The peer's end is waited for, because unread input would destroy what was said last.
            Phase::Leaving(_) | Phase::Exchange(_) | Phase::WebSocket(_) | Phase::Stream(_) => None,
        }
    }

    /// When the connection was accepted or, if it became a WebSocket or an event stream, when it
    /// did.
    pub fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// Whether a file of this generation is being sent.
    pub fn reads_generation(&self, generation: u8) -> bool {
        match self.out.source() {
            Source::Body { asset, .. } => asset.generation() == generation,
            Source::Nothing | Source::Feed { .. } => false,
        }
    }

    /// All buffers of the connection, for the server's account of the pool.
    pub fn buffers(&self) -> impl Iterator<Item = BufferId> {
        let own = [self.input, self.out.buffer()];
        own.into_iter().flatten().chain(self.phase_buffers())
    }

    fn phase_buffers(&self) -> impl Iterator<Item = BufferId> + use<> {
        let buffers = match &self.phase {
            Phase::WebSocket(ws) => [ws.buffer(), None],
            Phase::Exchange(exchange) => exchange.buffers(),
            Phase::Proxy(_) | Phase::Http(_) | Phase::Stream(_) | Phase::Leaving(_) => [None, None],
        };
        buffers.into_iter().flatten()
    }

    /// Enters a phase, unless the connection has ended. No other function changes phases.
    fn enter(&mut self, phase: Phase) {
        if !self.is_over() {
            self.phase = phase;
        }
    }
}
