//! Floor 3: one connection, from its first byte to its last, as a machine that takes and gives
//! values.
//!
//! ```text
//!   Proxy ──► Request ──► Response ──► Body ─┐      WebSocket ──► Closing ──► Lingering ──► gone
//!                ▲ │  ▲       │   └──────────┤          ▲            ▲             ▲
//!                │ └──┼───────┼──────────────┼──────────┘            └─ any error  │
//!                └────┴───────┴── keep-alive ┘  └──────── final answer ────────────┘
//! ```
//!
//! A connection never sees a socket, the hub or a file. It is told which bytes arrived, and returns
//! how many of them it is done with and one thing for the server to do ([`Step`]). Then it is
//! called again with the rest. Bytes that it is not done with come back in front of what arrives
//! next. Time is an argument.
//!
//! Each phase is a variant that owns its data. `Conn::enter` is the one function in which phases
//! change.

mod http;
mod polling;
mod proxy;
mod websocket;

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::feed::Mark;
use crate::id::{ChannelId, Dialect, Offset, SessionId};
use crate::limits;
use crate::metrics::Metrics;
use crate::outbound::{CloseFrame, Outbound, Source};
use crate::pool::{BufferId, Pool};
use crate::reason::CloseReason;
use crate::settings::{Settings, UNIX_PEER};
use crate::site::AssetId;
use crate::time::{Duration, Instant, Now};
use crate::wire::ws::Kind;
use crate::wire::{http as wire_http, proxy as wire_proxy};
use crate::work;

pub use http::{Next, Requester};
use http::{Request, Response};
pub use polling::{Later, TakenBody};
use polling::{Post, Posted};
use websocket::WebSocket;

/// The kind of listener by which a connection came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listener {
    /// `--listen`: the page and the sockets.
    Public,
    /// `--health-listen`: probes only, with a PROXY header of either version or none.
    Health,
}

impl Listener {
    /// All kinds of listeners, in the order of their numbers.
    pub const ALL: [Listener; 2] = [Listener::Public, Listener::Health];
}

/// What a connection waits for, if its end would destroy nothing that is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// The first byte of a PROXY header or of a request.
    ForARequest,
    /// The rest of a PROXY header or of a request head, before which nothing was said that could be
    /// lost.
    ForTheRest,
}

impl Waiting {
    /// All variants, in the order in which they give way.
    pub const ALL: [Waiting; 2] = [Waiting::ForARequest, Waiting::ForTheRest];
}

/// Whether a peer is believed when it says who the client is, and whether it has said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// The peer is not believed.
    Stranger,
    /// The peer is believed and has named nobody else: the client's address is its own.
    Trusted,
    /// The peer is believed and has named another as the client.
    Spokesman,
}

/// What a connection may use of its surroundings while it works.
pub struct Cx<'a> {
    /// The time of this turn.
    pub now: Now,
    /// The pool that lends buffers.
    pub pool: &'a mut Pool,
    /// The counters of the server.
    pub metrics: &'a mut Metrics,
    /// The operator's policy and limits.
    pub settings: &'a Settings,
}

/// One thing for the server to do after a call of a connection.
#[derive(Debug)]
pub enum Step<'b> {
    /// Nothing: call again with the rest of the bytes, if there are any.
    Continue,
    /// Nothing until more bytes come. Those that were not consumed must be kept.
    NeedMore,
    /// Nothing until the response has gone. Bytes that were not consumed must be kept.
    Hold,
    /// Note that the PROXY header was read and believed.
    Proxied {
        /// The VPC endpoint that an NLB names for clients that come by PrivateLink.
        vpc_endpoint: Option<&'b str>,
    },
    /// Answer the request whose head is the bytes just consumed.
    Head,
    /// Answer with an error, for there is no valid head, and close.
    Refuse(wire_http::HeadError),
    /// Answer with 408 and close: the time for the rest of a request head is over.
    RefuseLate,
    /// Answer with 413: the body of a POST is over the limit.
    PostTooBig,
    /// Answer with 400: the body of a POST is malformed, and nothing that follows counts.
    PostMalformed,
    /// Take in the packets of a POST whose body is whole.
    Posted,
    /// Publish a whole message.
    Publish(Kind, Payload<'b>),
    /// Begin the closing handshake of a WebSocket.
    Close(CloseFrame, CloseReason),
    /// Count a ping, which was appended to the own bytes.
    Pinged,
    /// Shut down writing and discard what still comes: the last word was said, and later bytes are
    /// not to be understood.
    Linger(CloseReason),
    /// Drop the connection in order, saying nothing more.
    End(CloseReason),
    /// Drop the connection with a reset: what is unsent is of no use to anyone.
    Cut(CloseReason),
}

/// The payload of a message. Most messages are whole within what was just read.
#[derive(Debug)]
pub enum Payload<'b> {
    /// A part of the bytes that were given to [`Conn::receive`].
    Borrowed(&'b [u8]),
    /// A buffer, since the message arrived in pieces; the server gives it back.
    Assembled(BufferId),
}

/// A client's address in 18 bytes; a `SocketAddr` has 32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    ip: [u8; 16],
    port: [u8; 2],
}

impl Client {
    /// Packs an address, IPv4 as its IPv6 mapping.
    pub fn new(address: SocketAddr) -> Client {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Client { ip: ip.octets(), port: address.port().to_be_bytes() }
    }

    /// The address in its canonical form: `::ffff:10.0.0.1` becomes `10.0.0.1`.
    pub fn address(self) -> SocketAddr {
        SocketAddr::new(self.ip(), u16::from_be_bytes(self.port))
    }

    /// The IP address without the port, in its canonical form.
    pub fn ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.ip)).to_canonical()
    }
}

/// The place of a plain WebSocket in a channel, and how much was said and heard there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The channel that the WebSocket is a member of.
    pub channel: ChannelId,
    /// The position in the channel's list of members; the hub tells when it changes.
    pub position: u32,
    /// How many messages the member has published.
    pub messages_in: u32,
    /// The feed's count of records when the member joined, modulo 2^32. The difference to the count
    /// at the end is what the member was sent, which the log tells.
    pub joined: u32,
}

/// What a WebSocket is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The WebSocket is plain: a member of a channel by itself.
    Member(Place),
    /// The WebSocket carries an Engine.IO session, or is about to take one over.
    Session(SessionId),
    /// The WebSocket has lost its session or its place: what it carried is over.
    Orphan,
}

/// What a connection is doing, with the data that only this needs.
#[derive(Debug)]
enum Phase {
    /// The PROXY header is read, until `by` at the latest.
    Proxy { by: Instant },
    /// A request head is waited for or read.
    Request(Request),
    /// A response is sent.
    Response(Response),
    /// A request body that nothing here wants is discarded, until `by` at the latest.
    Body { body: wire_http::Body, by: Instant, requester: Requester },
    /// A request is held until its session has something to answer it with.
    Held { session: SessionId, later: Later },
    /// A request body that brings a session's packets is read.
    Post(Post),
    /// A session's packets have come in a request body, and are taken in one by one.
    Posted(Posted),
    /// A WebSocket is open: messages go in both directions.
    WebSocket(WebSocket),
    /// The close frame of a WebSocket is under way, until `by` at the latest.
    Closing { role: Role, by: Instant, reason: CloseReason },
    /// Everything was sent and writing was shut down. What the peer still sends is read and
    /// discarded, since unread input would turn our last words into a reset.
    Lingering { by: Instant, discarded_bytes: u32, reason: CloseReason },
    /// The connection has ended and waits to be reaped: nothing is heard, said or due any more.
    Over,
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
        use crate::settings::ProxyMode;
        let headed = listener == Listener::Health || cx.settings.proxy != ProxyMode::Off;
        let now = cx.now.mono;
        let phase = if headed {
            Phase::Proxy { by: now.plus(limits::PROXY_LIMIT) }
        } else {
            Phase::Request(Request::first(cx, Requester::Client))
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
            Phase::Proxy { .. } => self.receive_proxy(cx, bytes),
            Phase::Request(request) => request.receive(cx, bytes),
            Phase::Response(_) | Phase::Held { .. } | Phase::Posted(_) => (0, Step::Hold),
            Phase::Body { .. } => self.receive_body(cx, bytes),
            Phase::Post(_) => self.receive_post(cx, bytes),
            Phase::WebSocket(ws) => ws.receive(cx, &mut self.out, bytes),
            // Nothing that follows a close frame counts (RFC 6455 §5.5.1).
            Phase::Closing { .. } | Phase::Over => (bytes.len(), Step::Continue),
            Phase::Lingering { discarded_bytes, reason, .. } => {
                *discarded_bytes = discarded_bytes.saturating_add(bytes.len() as u32);
                let over = *discarded_bytes > limits::LINGER_BYTES_MAX;
                (bytes.len(), if over { Step::End(*reason) } else { Step::Continue })
            }
        }
    }

    /// Takes in that the peer has shut down its side: nothing more will arrive.
    pub fn receive_end(&mut self) -> Step<'static> {
        let nothing_came = self.input.is_none();
        match &mut self.phase {
            Phase::Proxy { .. } if nothing_came => Step::End(CloseReason::ProbeOnly),
            Phase::Proxy { .. } => Step::End(CloseReason::PeerGone),
            Phase::Request(request) if nothing_came && request.is_first() => {
                Step::End(CloseReason::ProbeOnly)
            }
            // A peer that holds a poll and goes has ended the session with it.
            Phase::Request(_)
            | Phase::Body { .. }
            | Phase::Held { .. }
            | Phase::Post(_)
            | Phase::WebSocket(_) => Step::End(CloseReason::PeerGone),
            // The peer may have shut down only its writing side, so what it asked for is still
            // sent. The server calls again when that is done.
            Phase::Response(_) | Phase::Posted(_) | Phase::Closing { .. } | Phase::Over => {
                Step::Hold
            }
            Phase::Lingering { reason, .. } => Step::End(*reason),
        }
    }

    /// Notes that bytes arrived at `now`, so the peer is alive.
    pub fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        if let Phase::WebSocket(ws) = &mut self.phase {
            ws.heard();
        }
    }

    /// Notes that the peer has sent bytes that are not taken in yet. So the peer is alive, and
    /// these may be the rest of a message or POST that is unfinished: it has
    /// [`limits::WAITED_LIMIT`] more.
    pub fn speaks_later(&mut self, now: Instant) {
        self.heard(now);
        match &mut self.phase {
            Phase::WebSocket(ws) => ws.speaks_later(now),
            Phase::Post(post) => post.by = post.by.max(now.plus(limits::WAITED_LIMIT)),
            Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Response(_)
            | Phase::Body { .. }
            | Phase::Held { .. }
            | Phase::Posted(_)
            | Phase::Closing { .. }
            | Phase::Lingering { .. }
            | Phase::Over => {}
        }
    }

    /// When [`Conn::handle_timeout`] is due. The instant may be later than at the last call.
    pub fn deadline(&self, settings: &Settings) -> Instant {
        match &self.phase {
            Phase::Proxy { by } | Phase::Body { by, .. } => *by,
            Phase::Request(request) => request.by,
            Phase::Response(response) => response.progress_at.plus(limits::RESPONSE_LIMIT),
            Phase::WebSocket(ws) => ws.deadline(settings, self.heard_at),
            Phase::Post(post) => post.by,
            // A session has a deadline of its own.
            Phase::Held { .. } | Phase::Posted(_) | Phase::Over => Instant::NEVER,
            Phase::Closing { by, .. } | Phase::Lingering { by, .. } => *by,
        }
    }

    /// Acts on the deadline, if it has been reached.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) -> Step<'static> {
        let nothing_came = self.input.is_none();
        match &mut self.phase {
            Phase::Proxy { .. } if nothing_came => Step::End(CloseReason::Silent),
            Phase::Proxy { .. } => Step::End(CloseReason::ProxyTimeout),
            Phase::Request(request) => request.handle_timeout(nothing_came),
            Phase::Response(_) => Step::Cut(CloseReason::ResponseTimeout),
            Phase::Body { .. } | Phase::Post(_) => Step::End(CloseReason::BodyTimeout),
            Phase::Held { .. } | Phase::Posted(_) | Phase::Over => Step::Continue,
            Phase::WebSocket(ws) => ws.handle_timeout(cx, &mut self.out, self.heard_at),
            Phase::Closing { reason, .. } => Step::Cut(*reason),
            Phase::Lingering { reason, .. } => Step::End(*reason),
        }
    }

    /// Begins to answer a request: `own` is the head and perhaps a body, `file` a body from the
    /// site. `false` when the pool is empty; then nothing is sent.
    #[must_use]
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
        self.enter(Phase::Response(Response { progress_at: cx.now.mono, next, requester }));
        if !self.out.push_own_parts(cx.pool, &own) {
            return false;
        }
        if let Some((asset, length)) = file {
            self.out.start_body(asset, length);
        }
        true
    }

    /// Becomes a WebSocket. The first ping is due `first_ping` after the last byte heard; `None`
    /// for a WebSocket that carries a session, which sends pings of its own.
    pub fn upgrade(&mut self, cx: &mut Cx<'_>, role: Role, first_ping: Option<Duration>) {
        self.opened_at = cx.now.mono;
        self.enter(Phase::WebSocket(WebSocket::new(role, first_ping)));
    }

    /// Begins to follow the feed of `channel` in `dialect` from `mark` on.
    pub fn follow(&mut self, channel: ChannelId, dialect: Dialect, mark: Mark) {
        if !self.is_over() {
            self.out.start_feed(channel, dialect, mark);
        }
    }

    /// Begins the closing handshake of a WebSocket; `frame` waits until everything before `barrier`
    /// has gone. Nothing happens in any other phase, so the first call decides.
    pub fn close(
        &mut self,
        cx: &mut Cx<'_>,
        frame: CloseFrame,
        barrier: Offset,
        reason: CloseReason,
    ) {
        if let Phase::WebSocket(ws) = &mut self.phase {
            ws.release(cx.pool);
            let role = ws.role;
            self.out.start_close(frame, barrier);
            let by = cx.now.mono.plus(limits::CLOSE_LIMIT);
            self.enter(Phase::Closing { role, by, reason });
        }
    }

    /// Notes that bytes went to the socket, and whether more are pending. Returns what that has led
    /// to.
    pub fn progressed(&mut self, cx: &mut Cx<'_>, is_pending: bool) -> Progress {
        match &mut self.phase {
            Phase::Response(response) if is_pending => {
                response.progress_at = cx.now.mono;
                Progress::Ongoing
            }
            Phase::Response(response) => {
                let Response { next, requester, .. } = *response;
                self.out.finish_body();
                self.answered(cx, next, requester)
            }
            Phase::Closing { reason, .. } if self.out.is_close_sent() => Progress::Sent(*reason),
            Phase::Closing { .. }
            | Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Body { .. }
            | Phase::Held { .. }
            | Phase::Post(_)
            | Phase::Posted(_)
            | Phase::WebSocket(_)
            | Phase::Lingering { .. }
            | Phase::Over => Progress::Ongoing,
        }
    }

    fn answered(&mut self, cx: &mut Cx<'_>, next: Next, requester: Requester) -> Progress {
        match next {
            Next::Request => {
                self.enter(Phase::Request(Request::next(cx, requester)));
                Progress::Resumed
            }
            Next::Body(body) => {
                let by = cx.now.mono.plus(limits::BODY_LIMIT);
                self.enter(Phase::Body { body, by, requester });
                Progress::Resumed
            }
            Next::Close => Progress::Sent(CloseReason::Answered),
        }
    }

    /// Discards what still comes; writing was shut down.
    pub fn linger(&mut self, cx: &mut Cx<'_>, reason: CloseReason) {
        let by = cx.now.mono.plus(limits::LINGER_LIMIT);
        self.out.release(cx.pool);
        self.enter(Phase::Lingering { by, discarded_bytes: 0, reason });
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
        self.enter(Phase::Over);
    }

    /// Whether the connection has ended.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whether bytes that were read wait to be consumed.
    pub fn has_input(&self) -> bool {
        self.input.is_some()
    }

    /// Whether bytes from the socket are wanted now.
    pub fn wants_input(&self) -> bool {
        match &self.phase {
            Phase::Response(_) | Phase::Posted(_) | Phase::Over => false,
            // Reading serves only to notice the peer's end; a pipelined request waits.
            Phase::Held { .. } => self.input.is_none(),
            Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Body { .. }
            | Phase::Post(_)
            | Phase::WebSocket(_)
            | Phase::Closing { .. }
            | Phase::Lingering { .. } => true,
        }
    }

    /// How many bytes the message or the POST under way still wants, as far as that was announced;
    /// at most [`limits::READ_BYTES_MAX`].
    pub fn wanted_bytes(&self) -> usize {
        let wanted = match &self.phase {
            Phase::WebSocket(ws) => ws.wanted_bytes(),
            Phase::Post(post) => post.wanted_bytes(),
            Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Response(_)
            | Phase::Body { .. }
            | Phase::Held { .. }
            | Phase::Posted(_)
            | Phase::Closing { .. }
            | Phase::Lingering { .. }
            | Phase::Over => 0,
        };
        usize::try_from(wanted)
            .map_or(limits::READ_BYTES_MAX, |wanted| wanted.min(limits::READ_BYTES_MAX))
    }

    /// What the WebSocket is for. `None` if it is none, or its close frame has gone.
    pub fn role(&self) -> Option<Role> {
        match &self.phase {
            Phase::WebSocket(ws) => Some(ws.role),
            Phase::Closing { role, .. } => Some(*role),
            Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Response(_)
            | Phase::Body { .. }
            | Phase::Held { .. }
            | Phase::Post(_)
            | Phase::Posted(_)
            | Phase::Lingering { .. }
            | Phase::Over => None,
        }
    }

    /// The place of a plain WebSocket in its channel. `None` for any other connection, or when the
    /// close frame has gone.
    pub fn place(&self) -> Option<Place> {
        match self.role() {
            Some(Role::Member(place)) => Some(place),
            Some(Role::Session(_) | Role::Orphan) | None => None,
        }
    }

    /// The session that this connection carries as a WebSocket, or that its request under way is
    /// for.
    pub fn session(&self) -> Option<SessionId> {
        match &self.phase {
            Phase::Held { session, .. } => Some(*session),
            Phase::Post(post) => Some(post.session),
            Phase::Posted(posted) => Some(posted.session),
            Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Response(_)
            | Phase::Body { .. }
            | Phase::WebSocket(_)
            | Phase::Closing { .. }
            | Phase::Lingering { .. }
            | Phase::Over => match self.role() {
                Some(Role::Session(session)) => Some(session),
                Some(Role::Member(_) | Role::Orphan) | None => None,
            },
        }
    }

    /// Notes that the session or the place of a WebSocket is over, though it may still have
    /// something to send.
    pub fn orphan(&mut self) {
        self.set_role(Role::Orphan);
    }

    /// Notes that the hub has moved this member to another position in the channel's list.
    pub fn set_position(&mut self, position: u32) {
        if let Some(place) = self.place() {
            self.set_role(Role::Member(Place { position, ..place }));
        }
    }

    fn set_role(&mut self, new: Role) {
        match &mut self.phase {
            Phase::WebSocket(ws) => ws.role = new,
            Phase::Closing { role, .. } => *role = new,
            Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Response(_)
            | Phase::Body { .. }
            | Phase::Held { .. }
            | Phase::Post(_)
            | Phase::Posted(_)
            | Phase::Lingering { .. }
            | Phase::Over => {}
        }
    }

    /// Whether what is read here is published: in an open WebSocket, or a POST of packets.
    pub fn is_publishing(&self) -> bool {
        match &self.phase {
            Phase::WebSocket(_) | Phase::Post(_) | Phase::Posted(_) => true,
            Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Response(_)
            | Phase::Body { .. }
            | Phase::Held { .. }
            | Phase::Closing { .. }
            | Phase::Lingering { .. }
            | Phase::Over => false,
        }
    }

    /// Who sends requests on this connection.
    pub fn requester(&self) -> Requester {
        match &self.phase {
            Phase::Request(request) => request.requester,
            Phase::Response(response) => response.requester,
            Phase::Body { requester, .. } => *requester,
            Phase::Proxy { .. }
            | Phase::Held { .. }
            | Phase::Post(_)
            | Phase::Posted(_)
            | Phase::WebSocket(_)
            | Phase::Closing { .. }
            | Phase::Lingering { .. }
            | Phase::Over => Requester::Client,
        }
    }

    /// Whether nothing is under way: no byte of the next request waits here.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Request(_)) && self.input.is_none()
    }

    /// Whether this is a WebSocket that is open for messages.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::WebSocket(_))
    }

    /// The client's address: the peer's, or what a trusted peer said.
    pub fn client(&self) -> Client {
        self.client
    }

    /// Takes the client's address from a trusted peer's PROXY header or `X-Forwarded-For`.
    pub fn set_client(&mut self, address: SocketAddr) {
        let client = Client::new(address);
        if client.ip != self.client.ip {
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
        let ip = self.client.ip();
        let is_here = ip.is_loopback() || ip == UNIX_PEER.ip();
        let is_near = is_here || settings.expects_proxies();
        self.standing == Standing::Trusted && is_near
    }

    /// The kind of listener by which the connection came in.
    pub fn listener(&self) -> Listener {
        self.listener
    }

    /// What the connection waits for, if it may give way to others.
    pub fn waits(&self) -> Option<Waiting> {
        let nothing_came = self.input.is_none();
        match &self.phase {
            Phase::Proxy { .. } if nothing_came => Some(Waiting::ForARequest),
            Phase::Request(request) => match (request.is_fresh(), nothing_came) {
                (true, true) => Some(Waiting::ForARequest),
                // A request that was pipelined behind the last one is still to be taken in.
                (true, false) => None,
                (false, _) => Some(Waiting::ForTheRest),
            },
            Phase::Proxy { .. } => Some(Waiting::ForTheRest),
            // The rest of a body and the peer's end are waited for, because unread input would
            // destroy what was said last.
            Phase::Body { .. }
            | Phase::Over
            | Phase::Lingering { .. }
            | Phase::Response(_)
            | Phase::Held { .. }
            | Phase::Post(_)
            | Phase::Posted(_)
            | Phase::WebSocket(_)
            | Phase::Closing { .. } => None,
        }
    }

    /// When the connection was accepted or, if it became a WebSocket, when it did.
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
            Phase::Held { later, .. } => [None, later.agent],
            Phase::Post(post) => [post.buffer, post.later.agent],
            Phase::Posted(posted) => [posted.buffer, posted.later.agent],
            Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Response(_)
            | Phase::Body { .. }
            | Phase::Closing { .. }
            | Phase::Lingering { .. }
            | Phase::Over => [None, None],
        };
        buffers.into_iter().flatten()
    }

    /// Counts a message that this member has published.
    pub fn count_published(&mut self) {
        if let Some(place) = self.place() {
            let messages_in = place.messages_in.saturating_add(1);
            self.set_role(Role::Member(Place { messages_in, ..place }));
        }
    }

    /// Enters a phase, unless the connection has ended. No other function changes phases.
    fn enter(&mut self, phase: Phase) {
        if !self.is_over() {
            self.phase = phase;
        }
    }

    fn believe(&mut self, cx: &mut Cx<'_>, header: &wire_proxy::Header<'_>) {
        match header.origin {
            wire_proxy::Origin::Proxied(addresses) => {
                self.set_client(addresses.source);
            }
            wire_proxy::Origin::Local => {}
            wire_proxy::Origin::Unknown => cx.metrics.proxy_unknown += 1,
        }
    }
}

/// What moving bytes to the socket has led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Nothing for the server to do.
    Ongoing,
    /// The response has gone: input is wanted again.
    Resumed,
    /// The last word has gone: shut down writing.
    Sent(CloseReason),
}
