//! Counters, as fields of a plain struct: whoever has something to count counts it in place. And
//! how long things took, in histograms.

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
    /// Records handed to sockets, by the readers' last places; exact once they have closed.
    pub messages_delivered: u64,
    /// Pings sent.
    pub pings: u64,
    /// Times that reading a publisher was put off for its readers' sake.
    pub publishers_paused: u64,
    /// Socket.IO events that are not among those relayed.
    pub events_ignored: u64,
    /// `hi`s that nobody was told, for want of memory.
    pub greetings_dropped: u64,
    /// Upgrades refused with 503.
    pub sessions_refused: u64,
    /// PROXY headers whose family is not TCP over IP; the socket's own address stood.
    pub proxy_unknown: u64,
    /// Connections that ended, by reason.
    pub closed: [u64; CloseReason::ALL.len()],
    /// How long the turns of the loop took, without their waiting.
    pub turns: Histogram,
    /// From the beginning of the turn that read a message to the end of the one in which everybody
    /// who could take it had been sent it; messages that a sweep had in common count once.
    pub fan_outs: Histogram,
}

impl Metrics {
    /// Counts an end.
    pub fn count_closed(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
    }

    /// How many connections ended for `reason`.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }
}
