//! The phases of HTTP/1.1: a head is read, a response sent, a body discarded.
//!
//! Requests of a pipeline are answered strictly in order by the simplest means: while a response is
//! under way, nothing is read.

use super::{Conn, Cx, Phase, Step};
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

/// The phase of a connection that waits for a request head, or has read a part of one.
#[derive(Debug)]
pub(super) struct Request {
    scan: HeadScan,
    pub(super) by: Instant,
    pub(super) requester: Requester,
    /// Whether nothing of this head has come yet.
    fresh: bool,
    /// Whether no request was answered on this connection before.
    first: bool,
}

/// The phase of a connection that sends a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Response {
    pub(super) progress_at: Instant,
    pub(super) next: Next,
    pub(super) requester: Requester,
}

impl Request {
    /// The wait for the first request of a connection.
    pub(super) fn first(cx: &Cx<'_>, requester: Requester) -> Request {
        Request { first: true, ..Request::next(cx, requester) }
    }

    /// The wait for a further request; the connection is idle until the first byte of it.
    pub(super) fn next(cx: &Cx<'_>, requester: Requester) -> Request {
        let by = cx.now.mono.plus(cx.settings.keep_alive);
        Request { scan: HeadScan::default(), by, requester, fresh: true, first: false }
    }

    /// The wait for a probe without a PROXY header, which must be whole when the header should have
    /// been.
    pub(super) fn probe(by: Instant) -> Request {
        let requester = Requester::Probe;
        Request { scan: HeadScan::default(), by, requester, fresh: false, first: true }
    }

    pub(super) fn is_first(&self) -> bool {
        self.first
    }

    /// Whether nothing of the head has come yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    pub(super) fn receive<'b>(&mut self, cx: &Cx<'_>, bytes: &'b mut [u8]) -> (usize, Step<'b>) {
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

    pub(super) fn handle_timeout(&self, nothing_came: bool) -> Step<'static> {
        match (nothing_came, self.first, self.requester) {
            (true, true, _) => Step::End(CloseReason::Silent),
            (true, false, _) => Step::End(CloseReason::KeepAliveTimeout),
            // As long as a PROXY header may still be missing, nothing is said.
            (false, _, Requester::Probe) => Step::End(CloseReason::ProxyTimeout),
            (false, _, Requester::Client | Requester::Health) => Step::RefuseLate,
        }
    }
}

impl Conn {
    pub(super) fn receive_body<'b>(
        &mut self,
        cx: &mut Cx<'_>,
        bytes: &'b mut [u8],
    ) -> (usize, Step<'b>) {
        let Phase::Body { body, requester, .. } = &mut self.phase else {
            return (0, Step::Continue);
        };
        let requester = *requester;
        match body.decode(bytes) {
            Ok((used, Chunk::Data(_))) => {
                if body.is_over() {
                    self.enter(Phase::Request(Request::next(cx, requester)));
                }
                (used, Step::Continue)
            }
            Ok((used, Chunk::Partial)) => (used, Step::NeedMore),
            Ok((used, Chunk::End)) => {
                self.enter(Phase::Request(Request::next(cx, requester)));
                (used, Step::Continue)
            }
            // The answer has gone already; what follows a broken body must not be interpreted.
            Err(_) => (bytes.len(), Step::Linger(CloseReason::Answered)),
        }
    }
}
