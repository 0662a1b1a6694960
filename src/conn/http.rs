//! The phase of HTTP/1.1: a head is read, a response sent, a body that nobody wants discarded.
//!
//! Requests whose answer others decide are elsewhere (`exchange`), and so are the bodies that are
//! wanted (`collect`).
//!
//! The surprise: requests of a pipeline are answered strictly in order by the simplest means. While
//! a response is under way, nothing is read.

use super::{Conn, Cx, Phase, Progress, Step, Waiting};
use crate::id::ChannelId;
use crate::limits;
use crate::reason::CloseReason;
use crate::time::Instant;
use crate::wire::Status;
use crate::wire::http::{Body, Chunk, HeadScan};

/// Who sends requests on a connection, which decides what is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Requester {
    /// A client of the public listener.
    Client,
    /// A trusted peer that began without the required PROXY header. A probe gets a constant reply,
    /// and anything else gets nothing; no address is believed.
    Probe,
    /// Whoever speaks to the health listener.
    Health,
    /// Whoever speaks to the admin listener.
    Admin,
}

/// What comes after a response.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// The next request.
    Request,
    /// The request's body, which is discarded, then the next request.
    Body(Body),
    /// The end of the connection.
    Close,
}

/// The phase of a connection on which requests are read and answered.
#[derive(Debug)]
pub(super) enum Http {
    /// A request head is waited for or read.
    Request(Request),
    /// A response is sent.
    Response(Response),
    /// The request whose head is what was not consumed is for a channel that is being opened.
    Awaiting(Awaiting),
    /// The request stays unanswered until a token in it can be checked.
    Queued(Queued),
    /// A request body that nothing here wants is discarded, until `by` at the latest.
    Discard { body: Body, by: Instant, requester: Requester },
}

/// The wait for a request head, of which a part may have come.
#[derive(Debug)]
pub(super) struct Request {
    scan: HeadScan,
    by: Instant,
    requester: Requester,
    /// Whether nothing of this head has come yet.
    fresh: bool,
    /// Whether no request was answered on this connection before.
    first: bool,
    /// Whether the request has waited for the check of its token, as it may until `by`.
    was_queued: bool,
    /// The first key with which the token of the request was not tried.
    first_key: u8,
    /// Until when the request may wait for its channel; [`Instant::NEVER`] if it has not yet.
    await_by: Instant,
}

/// The wait of a request for a channel. Its head waits where it came from, and is answered anew
/// when the wait is over: so nothing need be remembered of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaiting {
    channel: ChannelId,
    by: Instant,
    requester: Requester,
}

/// The wait of a request for the check of its token. The head is kept with what else has come, and
/// read again when its turn has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    by: Instant,
    requester: Requester,
    /// The first key with which the token was not tried.
    first_key: u8,
    /// Until when the request may wait for its channel, as far as that is decided.
    await_by: Instant,
}

/// A response under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Response {
    progress_at: Instant,
    next: Next,
    requester: Requester,
}

impl Http {
    /// The wait for the first request of a connection.
    pub(super) fn first(cx: &Cx<'_>, requester: Requester) -> Http {
        Http::Request(Request { first: true, ..Request::next(cx, requester) })
    }

    /// The wait for a probe without a PROXY header, which must be whole when the header should have
    /// been.
    pub(super) fn probe(by: Instant) -> Http {
        let request = Request::new(by, Requester::Probe);
        Http::Request(Request { fresh: false, first: true, ..request })
    }

    /// A response under way, with what comes after it.
    pub(super) fn response(cx: &Cx<'_>, next: Next, requester: Requester) -> Http {
        Http::Response(Response { progress_at: cx.now.mono, next, requester })
    }

    pub(super) fn receive<'b>(&mut self, cx: &Cx<'_>, bytes: &[u8]) -> (usize, Step<'b>) {
        let (body, requester) = match self {
            Http::Request(request) => return request.receive(cx, bytes),
            Http::Response(_) | Http::Queued(_) | Http::Awaiting(_) => return (0, Step::Hold),
            Http::Discard { body, requester, .. } => (body, *requester),
        };
        match body.decode(bytes) {
            Ok((used, Chunk::Data(_))) if !body.is_over() => (used, Step::Continue),
            Ok((used, Chunk::Data(_) | Chunk::End)) => {
                *self = Http::Request(Request::next(cx, requester));
                (used, Step::Continue)
            }
            Ok((used, Chunk::Partial)) => (used, Step::NeedMore),
            // The answer has gone already; what follows a broken body must not be interpreted.
            Err(_) => (bytes.len(), Step::Linger(CloseReason::Answered)),
        }
    }

    pub(super) fn receive_end(&self, nothing_came: bool) -> Step<'static> {
        match self {
            Http::Request(request) if nothing_came && request.first => {
                Step::End(CloseReason::ProbeOnly)
            }
            Http::Request(_) | Http::Discard { .. } => Step::End(CloseReason::PeerGone),
            // The peer may have shut down only its writing side, so what it asked for is still
            // sent. The server calls again when that is done.
            Http::Response(_) | Http::Queued(_) | Http::Awaiting(_) => Step::Hold,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        match self {
            Http::Request(request) => request.by,
            Http::Awaiting(awaiting) => awaiting.by,
            Http::Response(response) => response.progress_at.plus(limits::RESPONSE_LIMIT),
            Http::Queued(queued) => queued.by,
            Http::Discard { by, .. } => *by,
        }
    }

    pub(super) fn handle_timeout(&self, nothing_came: bool) -> Step<'static> {
        match self {
            Http::Request(request) => request.handle_timeout(nothing_came),
            Http::Awaiting(_) => Step::AnswerAnew,
            Http::Response(_) => Step::Cut(CloseReason::ResponseTimeout),
            Http::Queued(_) => Step::RefuseUnchecked,
            Http::Discard { .. } => Step::End(CloseReason::BodyTimeout),
        }
    }

    pub(super) fn progressed(&mut self, cx: &Cx<'_>, is_pending: bool) -> Progress {
        let response = match self {
            Http::Request(_) | Http::Queued(_) | Http::Awaiting(_) | Http::Discard { .. } => {
                return Progress::Ongoing;
            }
            Http::Response(response) => response,
        };
        if is_pending {
            response.progress_at = cx.now.mono;
            return Progress::Ongoing;
        }
        let Response { next, requester, .. } = *response;
        *self = match next {
            Next::Request => Http::Request(Request::next(cx, requester)),
            Next::Body(body) => {
                let by = cx.now.mono.plus(limits::BODY_LIMIT);
                Http::Discard { body, by, requester }
            }
            Next::Close => return Progress::Sent(CloseReason::Answered),
        };
        Progress::Resumed
    }

    pub(super) fn is_response(&self) -> bool {
        matches!(self, Http::Response(_))
    }

    /// Whether the next bytes are wanted now.
    pub(super) fn wants_input(&self) -> bool {
        match self {
            Http::Request(_) | Http::Discard { .. } => true,
            Http::Response(_) | Http::Queued(_) | Http::Awaiting(_) => false,
        }
    }

    /// Makes the request whose head was just read wait for the check of its token, which was tried
    /// with the keys before the one of the number `first_key`.
    pub(super) fn queue(&mut self, cx: &Cx<'_>, first_key: u8) {
        let (by, await_by) = match self {
            Http::Request(request) if request.was_queued => (request.by, request.await_by),
            Http::Request(request) => (cx.now.mono.plus(limits::CHECK_LIMIT), request.await_by),
            Http::Response(_) | Http::Queued(_) | Http::Awaiting(_) | Http::Discard { .. } => {
                return;
            }
        };
        *self = Http::Queued(Queued { by, requester: self.requester(), first_key, await_by });
    }

    /// Has the head of a request read again that waits for the check of its token.
    pub(super) fn unqueue(&mut self) {
        if let Http::Queued(Queued { by, requester, first_key, await_by }) = *self {
            let request = Request { fresh: false, await_by, ..Request::new(by, requester) };
            *self = Http::Request(Request { was_queued: true, first_key, ..request });
        }
    }

    /// Has the token of a request that waits for its check tried with all keys.
    pub(super) fn forget_tries(&mut self) {
        if let Http::Queued(queued) = self {
            queued.first_key = 0;
        }
    }

    /// The first key with which the token of the request was not tried.
    pub(super) fn first_key(&self) -> u8 {
        match self {
            Http::Request(request) => request.first_key,
            Http::Queued(queued) => queued.first_key,
            Http::Response(_) | Http::Awaiting(_) | Http::Discard { .. } => 0,
        }
    }

    pub(super) fn is_queued(&self) -> bool {
        matches!(self, Http::Queued(_))
    }

    pub(super) fn is_request(&self) -> bool {
        matches!(self, Http::Request(_))
    }

    pub(super) fn requester(&self) -> Requester {
        match self {
            Http::Request(request) => request.requester,
            Http::Awaiting(awaiting) => awaiting.requester,
            Http::Response(response) => response.requester,
            Http::Queued(queued) => queued.requester,
            Http::Discard { requester, .. } => *requester,
        }
    }

    pub(super) fn waits(&self, nothing_came: bool) -> Option<Waiting> {
        match self {
            Http::Request(request) => match (request.fresh, nothing_came) {
                (true, true) => Some(Waiting::ForARequest),
                // A request that was pipelined behind the last one is still to be taken in.
                (true, false) => None,
                (false, _) => Some(Waiting::ForTheRest),
            },
            // Whoever has said all that is wanted and nothing was said to gives way like others.
            Http::Queued(_) => Some(Waiting::ForTheRest),
            // The rest of a body is waited for, because unread input would destroy what was said
            // last.
            Http::Response(_) | Http::Awaiting(_) | Http::Discard { .. } => None,
        }
    }
}

impl Request {
    /// The wait for a request that must have come by `by`.
    fn new(by: Instant, requester: Requester) -> Request {
        Request {
            scan: HeadScan::default(),
            by,
            requester,
            fresh: true,
            first: false,
            was_queued: false,
            first_key: 0,
            await_by: Instant::NEVER,
        }
    }

    /// The wait for a further request; the connection is idle until the first byte of it.
    fn next(cx: &Cx<'_>, requester: Requester) -> Request {
        let by = cx.now.mono.plus(cx.settings.keep_alive);
        Request::new(by, requester)
    }

    fn receive<'b>(&mut self, cx: &Cx<'_>, bytes: &[u8]) -> (usize, Step<'b>) {
        if self.fresh {
            self.fresh = false;
            self.by = cx.now.mono.plus(limits::HEAD_LIMIT);
        }
        match self.scan.advance(bytes) {
            Ok(Status::Partial) => (0, Step::NeedMore),
            Ok(Status::Complete(length)) => (length, Step::Head),
            Err(error) => (bytes.len(), Step::Refuse(error)),
        }
    }

    fn handle_timeout(&self, nothing_came: bool) -> Step<'static> {
        match (nothing_came, self.first, self.requester) {
            (true, true, _) => Step::End(CloseReason::Silent),
            (true, false, _) => Step::End(CloseReason::KeepAliveTimeout),
            // As long as a PROXY header may still be missing, nothing is said.
            (false, _, Requester::Probe) => Step::End(CloseReason::ProxyTimeout),
            (false, _, Requester::Client | Requester::Health | Requester::Admin) => {
                Step::RefuseLate
            }
        }
    }
}

impl Conn {
    /// Has the request whose head was just read wait until `channel` is open, or until `by`. Its
    /// head is not consumed. Nothing happens if no request is being answered.
    pub fn await_channel(&mut self, channel: ChannelId, by: Instant) {
        if let Phase::Http(Http::Request(request)) = &self.phase {
            let requester = request.requester;
            self.enter(Phase::Http(Http::Awaiting(Awaiting { channel, by, requester })));
        }
    }

    /// The channel that a request waits for.
    pub fn awaited_channel(&self) -> Option<ChannelId> {
        match &self.phase {
            Phase::Http(Http::Awaiting(awaiting)) => Some(awaiting.channel),
            Phase::Proxy(_)
            | Phase::Http(_)
            | Phase::Exchange(_)
            | Phase::WebSocket(_)
            | Phase::Stream(_)
            | Phase::Leaving(_) => None,
        }
    }

    /// Until when the request that is being answered may wait for its channel; `None` if it has not
    /// waited yet.
    pub fn may_await_by(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Http(Http::Request(request)) => {
                Some(request.await_by).filter(|by| *by != Instant::NEVER)
            }
            Phase::Proxy(_)
            | Phase::Http(_)
            | Phase::Exchange(_)
            | Phase::WebSocket(_)
            | Phase::Stream(_)
            | Phase::Leaving(_) => None,
        }
    }

    /// Has the request that waits for a channel answered anew, once its head is read again.
    pub fn answer_anew(&mut self, now: Instant) {
        if let Phase::Http(Http::Awaiting(awaiting)) = &self.phase {
            let Awaiting { by: await_by, requester, .. } = *awaiting;
            let request = Request::new(now.plus(limits::HEAD_LIMIT), requester);
            let request = Request { fresh: false, await_by, ..request };
            self.enter(Phase::Http(Http::Request(request)));
        }
    }
}
