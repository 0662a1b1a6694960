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
mod proxy;
mod websocket;

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::id::{ChannelId, Offset, Seq};
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

pub use http::{Next, Requester};
use http::{Request, Response};
use websocket::WebSocket;

/// Where a connection came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listener {
    /// `--listen`: the page and the sockets.
    Public,
    /// `--health-listen`: probes only, with a PROXY header of either version or none.
    Health,
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
    /// Append a message to the connection's channel.
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
pub struct Member {
    /// Where.
    pub channel: ChannelId,
    /// The place in the channel's list; the hub tells when it changes.
    pub position: u32,
    /// Messages published.
    pub messages_in: u32,
    /// The feed's count of records at the beginning.
    pub joined: Seq,
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
    /// A session.
    WebSocket(WebSocket),
    /// A session whose close frame is under way.
    Closing { member: Member, by: Instant, reason: CloseReason },
    /// Everything was sent and writing shut down; reading and discarding what the peer still sends,
    /// since unread input would turn our last words into a reset.
    Lingering { by: Instant, discarded_bytes: u32, reason: CloseReason },
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
    /// Whether the peer's word about the client's address is believed.
    trusted: bool,
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
        Conn {
            phase,
            out: Outbound::new(),
            input: None,
            opened_at: now,
            heard_at: now,
            client: Client::new(peer),
            listener,
            trusted: cx.settings.trust.contains(peer.ip()),
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
            Phase::Response(_) => (0, Step::Hold),
            Phase::Body { .. } => self.receive_body(cx, bytes),
            Phase::WebSocket(ws) => ws.receive(cx, &mut self.out, bytes),
            // Nothing that follows a close frame counts (RFC 6455 §5.5.1).
            Phase::Closing { .. } => (bytes.len(), Step::Continue),
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
            Phase::Request(_) | Phase::Body { .. } | Phase::WebSocket(_) => {
                Step::End(CloseReason::PeerGone)
            }
            // It may have shut down only its writing side; what it asked for is still sent. The
            // server asks again when that is done.
            Phase::Response(_) | Phase::Closing { .. } => Step::Hold,
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

    /// When [`Conn::handle_timeout`] is due. It may have been put off since it was last asked.
    pub fn deadline(&self, settings: &Settings) -> Instant {
        match &self.phase {
            Phase::Proxy { by } | Phase::Body { by, .. } => *by,
            Phase::Request(request) => request.by,
            Phase::Response(response) => response.progress_at.plus(limits::RESPONSE_LIMIT),
            Phase::WebSocket(ws) => ws.deadline(settings, self.heard_at),
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
            Phase::Body { .. } => Step::End(CloseReason::BodyTimeout),
            Phase::WebSocket(ws) => ws.handle_timeout(cx, &mut self.out, self.heard_at),
            Phase::Closing { reason, .. } => Step::Cut(*reason),
            Phase::Lingering { reason, .. } => Step::End(*reason),
        }
    }

    /// Begins to answer the request whose head was just consumed: `own` is the head and perhaps a
    /// short body, `body` a file. `false`: the pool is empty.
    #[must_use]
    pub fn reply(
        &mut self,
        cx: &mut Cx<'_>,
        own: &[u8],
        body: Option<(AssetId, u32)>,
        next: Next,
    ) -> bool {
        if !self.out.push_own(cx.pool, own) {
            return false;
        }
        if let Some((asset, length)) = body {
            self.out.start_body(asset, length);
        }
        let requester = self.requester();
        self.enter(Phase::Response(Response { progress_at: cx.now.mono, next, requester }));
        true
    }

    /// Becomes a WebSocket in `member`'s channel, of which it gets what comes after `cursor`.
    /// `first_ping` is how long after the last byte heard the first ping is due.
    pub fn upgrade(
        &mut self,
        cx: &mut Cx<'_>,
        member: Member,
        cursor: Offset,
        first_ping: Duration,
    ) {
        let mark = crate::feed::Mark { offset: cursor, seq: member.joined };
        self.out.start_feed(member.channel, mark);
        self.opened_at = cx.now.mono;
        self.enter(Phase::WebSocket(WebSocket::new(member, first_ping)));
    }

    /// Begins the closing handshake of a session; the frame waits until everything before `barrier`
    /// has gone. Nothing happens if it has begun already.
    pub fn close(
        &mut self,
        cx: &mut Cx<'_>,
        frame: CloseFrame,
        barrier: Offset,
        reason: CloseReason,
    ) {
        if let Phase::WebSocket(ws) = &mut self.phase {
            ws.release(cx.pool);
            let member = ws.member;
            self.out.start_close(frame, barrier);
            let by = cx.now.mono.plus(limits::CLOSE_LIMIT);
            self.enter(Phase::Closing { member, by, reason });
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
            | Phase::WebSocket(_)
            | Phase::Lingering { .. } => Progress::Ongoing,
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
        if rest.is_empty() {
            return true;
        }
        let Some(id) = pool.take(rest.len()) else { return false };
        pool.bytes_mut(id).extend_from_slice(rest);
        self.input = Some(id);
        true
    }

    /// Moves what was kept to the front of `buffer`; how many bytes that are.
    pub fn take_input(&mut self, pool: &mut Pool, buffer: &mut [u8]) -> usize {
        let Some(id) = self.input.take() else { return 0 };
        let length = pool.bytes(id).len();
        buffer[..length].copy_from_slice(pool.bytes(id));
        pool.give(id);
        length
    }

    /// Gives back everything that is held, at the end.
    pub fn release(&mut self, pool: &mut Pool) {
        if let Some(input) = self.input.take() {
            pool.give(input);
        }
        if let Phase::WebSocket(ws) = &mut self.phase {
            ws.release(pool);
        }
        self.out.release(pool);
    }

    /// Whether something that was read waits to be consumed.
    pub fn has_input(&self) -> bool {
        self.input.is_some()
    }

    /// Whether bytes from the socket are wanted now.
    pub fn wants_input(&self) -> bool {
        !matches!(self.phase, Phase::Response(_))
    }

    /// The session's place in its channel, until its close frame has gone.
    pub fn member(&self) -> Option<Member> {
        match &self.phase {
            Phase::WebSocket(ws) => Some(ws.member),
            Phase::Closing { member, .. } => Some(*member),
            Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Response(_)
            | Phase::Body { .. }
            | Phase::Lingering { .. } => None,
        }
    }

    /// The hub has moved this member to another place in its list.
    pub fn set_position(&mut self, position: u32) {
        match &mut self.phase {
            Phase::WebSocket(ws) => ws.member.position = position,
            Phase::Closing { member, .. } => member.position = position,
            Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Response(_)
            | Phase::Body { .. }
            | Phase::Lingering { .. } => {}
        }
    }

    /// The channel that what this connection reads is published to, if it is a session that may.
    pub fn publishes_to(&self) -> Option<ChannelId> {
        match &self.phase {
            Phase::WebSocket(ws) => Some(ws.member.channel),
            Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Response(_)
            | Phase::Body { .. }
            | Phase::Closing { .. }
            | Phase::Lingering { .. } => None,
        }
    }

    /// Who sends requests here.
    pub fn requester(&self) -> Requester {
        match &self.phase {
            Phase::Request(request) => request.requester,
            Phase::Response(response) => response.requester,
            Phase::Body { requester, .. } => *requester,
            Phase::Proxy { .. }
            | Phase::WebSocket(_)
            | Phase::Closing { .. }
            | Phase::Lingering { .. } => Requester::Client,
        }
    }

    /// Whether nothing is under way: a kept-alive connection between two requests.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Request(_)) && self.input.is_none()
    }

    /// Whether the session is open for messages.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::WebSocket(_))
    }

    /// The client's address: the socket's, or what a trusted peer said.
    pub fn client(&self) -> Client {
        self.client
    }

    /// Takes the client's address from a trusted peer's `X-Forwarded-For`.
    pub fn set_client(&mut self, address: SocketAddr) {
        self.client = Client::new(address);
    }

    /// Whether the peer's word about the client is believed.
    pub fn is_trusted(&self) -> bool {
        self.trusted
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
        let message = match &self.phase {
            Phase::WebSocket(ws) => ws.buffer(),
            Phase::Proxy { .. }
            | Phase::Request(_)
            | Phase::Response(_)
            | Phase::Body { .. }
            | Phase::Closing { .. }
            | Phase::Lingering { .. } => None,
        };
        [self.input, self.out.buffer(), message].into_iter().flatten()
    }

    /// Counts a message that was published.
    pub fn count_published(&mut self) {
        if let Phase::WebSocket(ws) = &mut self.phase {
            ws.member.messages_in = ws.member.messages_in.saturating_add(1);
        }
    }

    /// The one place where phases change.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    fn believe(&mut self, cx: &mut Cx<'_>, header: &wire_proxy::Header<'_>) {
        match header.origin {
            // A health listener derives nothing from what anybody may claim there.
            wire_proxy::Origin::Proxied(addresses) if self.listener == Listener::Public => {
                self.client = Client::new(addresses.source);
            }
            wire_proxy::Origin::Proxied(_) | wire_proxy::Origin::Local => {}
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
