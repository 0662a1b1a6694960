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
    /// A session ended that had never entered a channel, so that nothing else told of it.
    Unentered {
        /// The client's real address.
        client: SocketAddr,
        /// Why.
        reason: CloseReason,
        /// How long it lasted.
        duration: Duration,
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
    pub line: String,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the answer's body.
    pub body_bytes: u64,
    /// `User-Agent`, as it was sent; of a poll or a POST its first [`AGENT_BYTES_MAX`] bytes.
    pub agent: Vec<u8>,
    /// Whether it was a health probe.
    pub is_probe: bool,
}

/// Bytes of a `User-Agent` that are kept until a poll or a POST is answered.
pub const AGENT_BYTES_MAX: usize = 256;

/// Access entries that were written down and wait to be filled again, so that a server whose
/// clients poll does not allocate. As many as a turn of 64 sends and some POSTs brings.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "an event carries the box, so it comes back as it went")]
pub(super) struct Spare(Vec<Box<Access>>);

const SPARE_MAX: usize = 128;

/// A poll's or a POST's line, and the line of most files.
const LINE_BYTES_TYPICAL: usize = 64;

impl Spare {
    /// An entry with empty texts.
    pub(super) fn take(&mut self, client: SocketAddr, status: u16, body_bytes: u64) -> Box<Access> {
        let spare = self.0.pop();
        let Some(mut access) = spare else {
            // Room at once for what most have, so that one that comes again need not grow.
            let line = String::with_capacity(LINE_BYTES_TYPICAL);
            let agent = Vec::with_capacity(AGENT_BYTES_MAX);
            return Box::new(Access { client, line, status, body_bytes, agent, is_probe: false });
        };
        access.line.clear();
        access.agent.clear();
        (access.client, access.status, access.body_bytes) = (client, status, body_bytes);
        access.is_probe = false;
        access
    }

    /// Keeps an entry, unless its texts were long or there are enough.
    pub(super) fn give(&mut self, access: Box<Access>) {
        let bytes = access.line.capacity() + access.agent.capacity();
        if self.0.len() < SPARE_MAX && bytes <= 4 * AGENT_BYTES_MAX {
            self.0.push(access);
        }
    }
}
