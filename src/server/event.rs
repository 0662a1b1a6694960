//! What the server tells the shell to write down, or to do.

use core::net::SocketAddr;

use crate::reason::CloseReason;
use crate::time::Duration;

/// Something happened. The shell makes log lines of these; the core prints nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A session began.
    Opened {
        /// The client's real address.
        client: SocketAddr,
        /// The channel it joined.
        channel: Box<str>,
    },
    /// A session ended.
    Closed {
        /// The client's real address.
        client: SocketAddr,
        /// The channel it was in.
        channel: Box<str>,
        /// Why.
        reason: CloseReason,
        /// How long it lasted.
        duration: Duration,
        /// Messages it published.
        messages_in: u64,
        /// Records it was sent whole.
        messages_out: u64,
    },
    /// The ring overtook a reader, which is closed for it.
    Lapped {
        /// The client's real address.
        client: SocketAddr,
        /// The channel it was in.
        channel: Box<str>,
        /// How far behind it was.
        lag_bytes: u64,
    },
    /// A request was answered.
    Request(Box<Access>),
    /// A connection that was not, or no longer, a session ended.
    Ended {
        /// The client's real address, as far as it was known.
        client: SocketAddr,
        /// Why.
        reason: CloseReason,
    },
    /// An NLB named the VPC endpoint through which the client came.
    Endpoint {
        /// The client's real address.
        client: SocketAddr,
        /// The endpoint's id.
        vpc_endpoint: Box<str>,
    },
    /// A message was published, and reporting that was asked for.
    Message {
        /// The publisher's real address.
        client: SocketAddr,
        /// The text, or how many bytes the binary payload has.
        text: Box<str>,
    },
    /// A session was refused for want of room.
    Refused {
        /// The client's real address.
        client: SocketAddr,
        /// What there is not enough of, in words.
        why: &'static str,
    },
    /// The drain is over: nobody is left.
    Drained,
}

/// One request and its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// The client's real address.
    pub client: SocketAddr,
    /// Method, target and version, or empty if the request was not understood.
    pub line: Box<str>,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the answer's body.
    pub body_bytes: u64,
    /// `User-Agent`, as it was sent.
    pub agent: Box<[u8]>,
    /// Whether it was a health probe.
    pub is_probe: bool,
}
