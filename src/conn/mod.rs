//! Floor 3: one connection, from its first byte to its last. Values in, values out.
//!
//! ```text
//!   Proxy ──► Request ──► Response ──► Body ─┐      WebSocket ──► Closing ──► Lingering ──► gone
//!                ▲ │  ▲       │   └──────────┤          ▲            ▲             ▲
//!                │ └──┼───────┼──────────────┼──────────┘            └─ any error  │
//!                └────┴───────┴── keep-alive ┘  └──────── final answer ────────────┘
//! ```
//!
//! A connection never sees a socket, the hub or a file. It is told what arrived and says how much
//! of that it is done with and one thing for the server to do ([`Step`]); called again with the
//! rest, it goes on. What it does not consume comes back in front of what arrives next. Time is an
//! argument.
//!
//! Each phase is a variant that owns its data; `Conn::enter` is the one place where phases change.

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
use crate::settings::Settings;
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

/// Where a connection came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listener {
    /// `--listen`: the page and the sockets.
    Public,
    /// `--health-listen`: probes only, with a PROXY header of either version or none.
    Health,
}

impl Listener {
    /// All of them, in the order of their numbers.
    pub const ALL: [Listener; 2] = [Listener::Public, Listener::Health];
}

/// What a connection waits for while nothing is under way that its end would destroy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// The first byte: of a PROXY header, or of a request.
    ForARequest,
    /// The rest of a PROXY header or of a head: nothing was said on it since that would be lost.
    ForTheRest,
}

impl Waiting {
    /// Both, in the order in which they give way.
    pub const ALL: [Waiting; 2] = [Waiting::ForARequest, Waiting::ForTheRest];
}

/// What a peer is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// Its word about the client's address is not believed.
    Stranger,
    /// Its word is believed, and it has named nobody else: the address is its own.
    Trusted,
    /// It has named another as the client.
    Spokesman,
}

/// What a connection may use of the world while it works.
pub struct Cx<'a> {
    /// This turn's time.
    pub now: Now,
    /// Buffers.
    pub pool: &'a mut Pool,
    /// Counters.
    pub metrics: &'a mut Metrics,
    /// What the operator decided.
    pub settings: &'a Settings,
}

/// One thing for the server to do.
#[derive(Debug)]
pub enum Step<'b> {
    /// Nothing: call again with the rest, if there is any.
    Continue,
    /// Nothing until more bytes come; what was not consumed must be kept.
    NeedMore,
    /// Nothing until the response has gone; what was not consumed must be kept.
    Hold,
    /// The PROXY header was read and believed.
    Proxied {
        /// The VPC endpoint that an NLB names for PrivateLink clients.
        vpc_endpoint: Option<&'b str>,
    },
    /// A whole request head: the bytes just consumed.
    Head,
    /// No valid request: answer with this and close.
    Refuse(wire_http::HeadError),
    /// Half a request head, and the time for it is over: 408.
    RefuseLate,
    /// The body of a POST is over the limit: 413.
    PostTooBig,
    /// The body of a POST is malformed: 400, and nothing that follows counts.
    PostMalformed,
    /// The body of a POST is whole.
    Posted,
    /// A whole message.
    Publish(Kind, Payload<'b>),
    /// Begin the closing handshake.
    Close(CloseFrame, CloseReason),
    /// Ping was queued.
    Pinged,
    /// The last word was said, and what still comes is not to be understood: shut down writing and
    /// discard it.
    Linger(CloseReason),
    /// Drop the connection in order; nothing more may be said.
    End(CloseReason),
    /// Drop it with a reset: what is unsent is of no use to anyone.
    Cut(CloseReason),
}

/// A message's payload: most are whole within what was just read.
#[derive(Debug)]
pub enum Payload<'b> {
    /// Within the bytes given.
    Borrowed(&'b [u8]),
    /// It arrived in pieces; the server gives the buffer back.
    Assembled(BufferId),
}

/// A client's address in 18 bytes; `SocketAddr` has 32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    ip: [u8; 16],
    port: [u8; 2],
}

impl Client {
    /// Packs an address; IPv4 as its IPv6 mapping.
    pub fn new(address: SocketAddr) -> Client {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Client { ip: ip.octets(), port: address.port().to_be_bytes() }
    }

    /// The address in its canonical form: `::ffff:10.0.0.1` is 10.0.0.1.
    pub fn address(self) -> SocketAddr {
        SocketAddr::new(self.ip(), u16::from_be_bytes(self.port))
    }

    /// Its IP alone, canonical.
    pub fn ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.ip)).to_canonical()
    }
}

/// A place in a channel, and what was said there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Where.
    pub channel: ChannelId,
    /// The place in the channel's list; the hub tells when it changes.
    pub position: u32,
    /// Messages published.
    pub messages_in: u32,
    /// The feed's count of records at the beginning, modulo 2^32: it is there for the difference,
    /// which the log tells at the end.
    pub joined: u32,
}

/// What a WebSocket is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It is a member of a channel by itself.
    Member(Place),
    /// It carries an Engine.IO session, or wants to.
    Session(SessionId),
    /// The session that it carried is over.
    Orphan,
}

/// What a connection is doing.
#[derive(Debug)]
enum Phase {
    /// Reading the PROXY header.
    Proxy { by: Instant },
    /// Waiting for a request head, or reading it.
    Request(Request),
    /// Sending a response.
    Response(Response),
    /// Discarding a request body that nothing here wants.
    Body { body: wire_http::Body, by: Instant, requester: Requester },
    /// A request that is answered when its session has something to say.
    Held { session: SessionId, later: Later },
    /// Reading a request body that brings a session's packets.
    Post(Post),
    /// They have come and are being taken in.
    Posted(Posted),
    /// Messages in both directions.
    WebSocket(WebSocket),
    /// A WebSocket whose close frame is under way.
    Closing { role: Role, by: Instant, reason: CloseReason },
    /// Everything was sent and writing shut down; reading and discarding what the peer still sends,
    /// since unread input would turn our last words into a reset.
    Lingering { by: Instant, discarded_bytes: u32, reason: CloseReason },
    /// The end: nothing is heard, said or due any more. What is left is to be reaped.
    Over,
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    phase: Phase,
    /// What goes out.
    pub out: Outbound,
    /// What came in and was not consumed.
    input: Option<BufferId>,
    opened_at: Instant,
    heard_at: Instant,
    client: Client,
    listener: Listener,
    standing: Standing,
}

impl Conn {
    /// A connection that was just accepted from `peer`, whose address is canonical.
    pub fn new(cx: &Cx<'_>, listener: Listener, peer: SocketAddr) -> Conn {
        use crate::settings::ProxyMode;
        let headed = listener == Listener::Health || cx.settings.proxy != ProxyMode::Off;
        let now = cx.now.mono;
        let phase = if headed {
            Phase::Proxy { by: now.plus(limits::PROXY_LIMIT) }
        } else {
            Phase::Request(Request::first(cx, Requester::Client))
        };
        let trusted = cx.settings.trust.contains(peer.ip());
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

    /// Takes in what arrived. Returns how many of `bytes` are done with and what to do; called
    /// again with the rest until it needs more or holds. Payload is unmasked in place.
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

    /// The peer has shut down its side: nothing more will arrive.
    pub fn receive_end(&mut self) -> Step<'static> {
        let nothing_came = self.input.is_none();
        match &mut self.phase {
            Phase::Proxy { .. } if nothing_came => Step::End(CloseReason::ProbeOnly),
            Phase::Proxy { .. } => Step::End(CloseReason::PeerGone),
            Phase::Request(request) if nothing_came && request.is_first() => {
                Step::End(CloseReason::ProbeOnly)
            }
            // Whoever holds a poll and goes has ended the session with it.
            Phase::Request(_)
            | Phase::Body { .. }
            | Phase::Held { .. }
            | Phase::Post(_)
            | Phase::WebSocket(_) => Step::End(CloseReason::PeerGone),
            // It may have shut down only its writing side; what it asked for is still sent. The
            // server asks again when that is done.
            Phase::Response(_) | Phase::Posted(_) | Phase::Closing { .. } | Phase::Over => {
                Step::Hold
            }
            Phase::Lingering { reason, .. } => Step::End(*reason),
        }
    }

    /// Notes that bytes arrived: the peer is alive.
    pub fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        if let Phase::WebSocket(ws) = &mut self.phase {
            ws.heard();
        }
    }

    /// Notes that the peer has said something that is not taken in yet: it is alive, and what it
    /// began to say may go on there.
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

    /// When [`Conn::handle_timeout`] is due. It may have been put off since it was last asked.
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

    /// The deadline was reached.
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

    /// Begins to answer a request: `own` is the head and perhaps a body, `file` a body as well.
    /// `false`: the pool is empty.
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
        // Entered first, so that a buffer that was just given back is not held any more.
        self.enter(Phase::Response(Response { progress_at: cx.now.mono, next, requester }));
        if !self.out.push_own_parts(cx.pool, &own) {
            return false;
        }
        if let Some((asset, length)) = file {
            self.out.start_body(asset, length);
        }
        true
    }

    /// Becomes a WebSocket. `first_ping` is how long after the last byte heard the first ping is
    /// due; a session has pings of its own, so there it is `None`.
    pub fn upgrade(&mut self, cx: &mut Cx<'_>, role: Role, first_ping: Option<Duration>) {
        self.opened_at = cx.now.mono;
        self.enter(Phase::WebSocket(WebSocket::new(role, first_ping)));
    }

    /// Begins to follow a feed.
    pub fn follow(&mut self, channel: ChannelId, dialect: Dialect, mark: Mark) {
        if !self.is_over() {
            self.out.start_feed(channel, dialect, mark);
        }
    }

    /// Begins the closing handshake of a WebSocket; the frame waits until everything before
    /// `barrier` has gone. Nothing happens if it has begun already.
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

    /// Tells the connection that its bytes moved; what was reached by that.
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

    /// Writing was shut down: discard what still comes.
    pub fn linger(&mut self, cx: &mut Cx<'_>, reason: CloseReason) {
        let by = cx.now.mono.plus(limits::LINGER_LIMIT);
        self.out.release(cx.pool);
        self.enter(Phase::Lingering { by, discarded_bytes: 0, reason });
    }

    /// Keeps `rest`, which was not consumed, for the next [`Conn::take_input`]. `false`: the pool
    /// is empty.
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

    /// Moves what was kept to the front of `buffer`; how many bytes that are.
    pub fn take_input(&mut self, pool: &mut Pool, buffer: &mut [u8]) -> usize {
        let Some(id) = self.input.take() else { return 0 };
        let length = pool.bytes(id).len();
        buffer[..length].copy_from_slice(pool.bytes(id));
        work::copied(length);
        pool.give(id);
        length
    }

    /// The end: gives back everything that is held. From here on nothing that is asked of the
    /// connection has an effect, so whoever still works on it need not know.
    pub fn end(&mut self, pool: &mut Pool) {
        if let Some(input) = self.input.take() {
            pool.give(input);
        }
        self.phase_buffers().for_each(|buffer| pool.give(buffer));
        self.out.release(pool);
        self.out = Outbound::new();
        self.enter(Phase::Over);
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whether something that was read waits to be consumed.
    pub fn has_input(&self) -> bool {
        self.input.is_some()
    }

    /// Whether bytes from the socket are wanted now.
    pub fn wants_input(&self) -> bool {
        match &self.phase {
            Phase::Response(_) | Phase::Posted(_) | Phase::Over => false,
            // Only to notice its end; what a pipeline brings meanwhile waits.
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

    /// Bytes that the message or the POST under way still wants, as far as that is announced; at
    /// most [`limits::READ_BYTES_MAX`].
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

    /// What the WebSocket is for, until its close frame has gone.
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

    /// Its own place in a channel, until its close frame has gone.
    pub fn place(&self) -> Option<Place> {
        match self.role() {
            Some(Role::Member(place)) => Some(place),
            Some(Role::Session(_) | Role::Orphan) | None => None,
        }
    }

    /// The session that it has to do with, as a WebSocket or by a request under way.
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

    /// Its session is over; it may still have something to send.
    pub fn orphan(&mut self) {
        self.set_role(Role::Orphan);
    }

    /// The hub has moved this member to another place in its list.
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

    /// Whether what it reads is published: an open WebSocket, or a POST of packets.
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

    /// Who sends requests here.
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

    /// Whether nothing is under way: a kept-alive connection between two requests.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Request(_)) && self.input.is_none()
    }

    /// Whether it is a WebSocket that is open for messages.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::WebSocket(_))
    }

    /// The client's address: the socket's, or what a trusted peer said.
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

    /// Whether the peer's word about the client is believed.
    pub fn is_trusted(&self) -> bool {
        self.standing != Standing::Stranger
    }

    /// Whether the peer stands for clients whose addresses it has not told: one that is trusted
    /// and has named nobody else, on this machine, or anywhere if proxies are expected at all.
    pub fn is_proxy(&self, settings: &Settings) -> bool {
        let is_near = self.client.ip().is_loopback() || settings.expects_proxies();
        self.standing == Standing::Trusted && is_near
    }

    /// Where it came in.
    pub fn listener(&self) -> Listener {
        self.listener
    }

    /// What it waits for, if it may give way to others.
    pub fn waits(&self) -> Option<Waiting> {
        let nothing_came = self.input.is_none();
        match &self.phase {
            Phase::Proxy { .. } if nothing_came => Some(Waiting::ForARequest),
            Phase::Request(request) => match (request.is_fresh(), nothing_came) {
                (true, true) => Some(Waiting::ForARequest),
                // What was read behind the last request is still to be taken in.
                (true, false) => None,
                (false, _) => Some(Waiting::ForTheRest),
            },
            Phase::Proxy { .. } => Some(Waiting::ForTheRest),
            // A body that is discarded and the peer's end are waited for, because unread input
            // would destroy what was said last.
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

    /// When the connection began, or the session in it.
    pub fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// Whether it is sending a file of this generation.
    pub fn reads_generation(&self, generation: u8) -> bool {
        match self.out.source() {
            Source::Body { asset, .. } => asset.generation() == generation,
            Source::Nothing | Source::Feed { .. } => false,
        }
    }

    /// The buffers that are held, for the server's account of the pool.
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

    /// Counts a message that was published.
    pub fn count_published(&mut self) {
        if let Some(place) = self.place() {
            let messages_in = place.messages_in.saturating_add(1);
            self.set_role(Role::Member(Place { messages_in, ..place }));
        }
    }

    /// The one place where phases change. The end is final.
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

/// What moving bytes has led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Nothing in particular.
    Ongoing,
    /// The response has gone: input is wanted again.
    Resumed,
    /// The last word has gone: shut down writing.
    Sent(CloseReason),
}
