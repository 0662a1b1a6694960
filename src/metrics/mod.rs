//! Counters, as fields of a plain struct, which code counts up in place; and histograms of how long
//! things took.

mod histogram;

pub use histogram::Histogram;

use crate::reason::CloseReason;

/// What has happened since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metrics {
    /// Connections accepted, on any listener.
    pub connections_accepted: u64,
    /// Sessions opened: plain WebSockets and Engine.IO sessions.
    pub sessions_opened: u64,
    /// Requests answered, upgrades and probes included.
    pub requests: u64,
    /// Health probes answered, on any listener.
    pub probes: u64,
    /// Messages appended to a channel.
    pub messages_published: u64,
    /// Records handed to sockets. Those of a reader are counted when it leaves its channel.
    pub messages_delivered: u64,
    /// Pings sent.
    pub pings: u64,
    /// How often reading a publisher was put off for the sake of its channel's readers.
    pub publishers_paused: u64,
    /// Socket.IO events that were ignored, since they are not among those that are relayed.
    pub events_ignored: u64,
    /// Greetings that were told to nobody, because memory was short.
    pub greetings_dropped: u64,
    /// Gaps in channels whose order is decided elsewhere; readers were told of each.
    pub gaps: u64,
    /// Newcomers that came back with a position, by the number of what has become of it
    /// ([`Recovery`](crate::hub::Recovery)).
    pub replays: [u64; 3],
    /// Upgrades refused with 503.
    pub sessions_refused: u64,
    /// PROXY headers whose address family is not TCP over IP; the socket's own address is the
    /// client's then.
    pub proxy_unknown: u64,
    /// Connections that ended, by the number of their reason.
    pub closed: [u64; CloseReason::ALL.len()],
    /// How long the turns of the loop took, in microseconds, without their waiting.
    pub turns: Histogram,
    /// How long messages took, in microseconds: from the beginning of the turn that read a message
    /// to the end of the turn in which everybody who could take it had been sent it. Messages that
    /// share a sweep count once.
    pub fan_outs: Histogram,
}

impl Metrics {
    /// Counts a connection that ended for `reason`.
    pub fn count_closed(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
    }

    /// How many connections ended for `reason`.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }
}
