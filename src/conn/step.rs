//! What a connection is given for its work, and what it has the server do after a call.
//!
//! The surprise: a connection does nothing to the world but push bytes to its own outbound half.
//! Everything else is a value here, which the server acts on before it calls again.

use super::collect::CollectError;
use crate::metrics::Metrics;
use crate::outbound::CloseFrame;
use crate::pool::{BufferId, Pool};
use crate::reason::CloseReason;
use crate::settings::Settings;
use crate::time::Now;
use crate::wire::http::HeadError;
use crate::wire::ws::Kind;

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
    /// Read the head again that was not consumed, and answer its request: it has waited for its
    /// channel for as long as it may.
    AnswerAnew,
    /// Answer with an error, for there is no valid head, and close.
    Refuse(HeadError),
    /// Answer with 408 and close: the time for the rest of a request head is over.
    RefuseLate,
    /// Answer with 503 and close: the time in which the token of the request could have been
    /// checked is over.
    RefuseUnchecked,
    /// Take in the request body, which is whole.
    Collected,
    /// Refuse the request, whose body cannot be collected.
    Uncollected(CollectError),
    /// Answer a request that waited for the server and has waited for long enough.
    Unanswered,
    /// Publish a whole message.
    Publish(Kind, Payload<'b>),
    /// Begin the closing handshake of a WebSocket, or the end of an event stream.
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
    /// A part of the bytes that were given to [`Conn::receive`](super::Conn::receive).
    Borrowed(&'b [u8]),
    /// A buffer, since the message arrived in pieces; the server gives it back.
    Assembled(BufferId),
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
