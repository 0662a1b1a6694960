//! Counters, as fields of a plain struct, which code counts up in place; and histograms of how long
//! things took.
//!
//! Each thing is counted once, where it happens. What can be said of the moment (how many
//! connections there are, what memory is used for) is no counter, and is looked up when somebody
//! asks.

mod codes;
pub mod findings;
mod histogram;
mod label;
pub mod prometheus;
mod snapshot;
pub mod status;

pub use codes::Codes;
pub use histogram::Histogram;
pub use label::{By, Command, Kind, ProbeShape, Refusal, Unsaid};
pub use snapshot::{
    Backplane, Balancer, CHANNELS_SHOWN, ChannelView, Connections, DIALECT_NAMES, Lags, Memory,
    Process, Snapshot, Surroundings,
};

use crate::reason::CloseReason;
use crate::time::Duration;
use crate::wire::token::Fault;

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What has happened since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metrics {
    /// Connections accepted, on any listener.
    pub connections_accepted: u64,
    /// Sessions opened: plain WebSockets and Engine.IO sessions.
    pub sessions_opened: u64,
    /// Requests answered, upgrades and probes included, by the status of the answer.
    pub requests: Codes,
    /// Health probes, on any listener, by their shape. Those of the shape
    /// [`ProbeShape::Connect`] are not counted here: see [`Metrics::probes`].
    probes: [u64; ProbeShape::ALL.len()],
    /// Requests of health checkers that were not told that all is well.
    pub probes_failed: u64,
    /// Requests for `/readyz` from the health checker of an AWS load balancer.
    pub probes_of_balancers: u64,
    /// PROXY headers that were believed, by version (1, 2) and command.
    pub proxy_headers: [[u64; Command::ALL.len()]; 2],
    /// Messages that were said in a channel, by the way they came in. One that nobody reads here,
    /// or for which there was no room in a ring although others have heard it, is among them.
    published: [u64; By::ALL.len()],
    /// Messages that were said to nobody, by the reason.
    unsaid: [u64; Unsaid::ALL.len()],
    /// Records handed to readers whole.
    pub messages_delivered: u64,
    /// Bytes read from sockets.
    pub received_bytes: u64,
    /// Bytes that sockets took.
    pub sent_bytes: u64,
    /// Readers that the ring has overtaken.
    pub readers_lapped: u64,
    /// Pings sent.
    pub pings: u64,
    /// How often reading a publisher was put off for the sake of its channel's readers.
    pub publishers_paused: u64,
    /// How often reading somebody was put off who had said as much as `--message-rate` allows.
    pub speakers_held_back: u64,
    /// Greetings that were told to nobody, because memory was short.
    pub greetings_dropped: u64,
    /// Gaps in channels whose order is decided elsewhere; readers were told of each.
    pub gaps: u64,
    /// Greetings on their way to readers: one for each reader of each greeting.
    pub greetings_sent: u64,
    /// Newcomers that came back with a position, by the number of what has become of it
    /// ([`Recovery`](crate::hub::Recovery)).
    pub replays: [u64; 3],
    /// Newcomers that were not let in, by the reason.
    refused: [u64; Refusal::ALL.len()],
    /// Who was not let in for want of a token or of a better one, by the number of the [`Fault`].
    tokens_refused: [u64; Fault::ALL.len()],
    /// Connections that ended, by the number of their reason.
    pub closed: [u64; CloseReason::ALL.len()],
    /// How long the turns of the loop took, in microseconds, without their waiting.
    pub turns: Histogram,
    /// How long messages took, in microseconds: from the beginning of the turn that read a message
    /// to the end of the turn in which everybody who could take it had been sent it. Messages that
    /// share a sweep count once.
    pub fan_outs: Histogram,
    /// How long peers took to send something after a ping, in microseconds, known to the
    /// millisecond.
    pub pongs: Histogram,
    /// How long the peers of WebSockets and event streams had sent nothing when they were found to
    /// be gone without a word, in microseconds, known to the millisecond.
    pub silences: Histogram,
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

    /// Counts the answer to a ping, if there was one, which took so long.
    pub fn count_pong(&mut self, answered: Option<Duration>) {
        if let Some(time) = answered {
            self.pongs.record(micros(time));
        }
    }

    /// Counts the peer of a WebSocket or an event stream that was gone without a word, of which
    /// nothing had come for so long.
    pub fn count_silence(&mut self, silence: Duration) {
        self.silences.record(micros(silence));
    }

    /// Counts a health probe of another shape than [`ProbeShape::Connect`].
    pub fn count_probe(&mut self, shape: ProbeShape) {
        debug_assert_ne!(shape, ProbeShape::Connect, "its end tells of it");
        self.probes[shape as usize] += 1;
    }

    /// How many health probes had this shape. A connection without a byte is counted by its end
    /// alone, which it shares with connections that brought a PROXY header only.
    pub fn probes(&self, shape: ProbeShape) -> u64 {
        match shape {
            ProbeShape::Alive | ProbeShape::Ready | ProbeShape::Header => {
                self.probes[shape as usize]
            }
            ProbeShape::Connect => {
                let silent = self.closed(CloseReason::ProbeOnly);
                silent - self.probes[ProbeShape::Header as usize]
            }
        }
    }

    /// Counts a message that was appended to a channel.
    pub fn count_published(&mut self, by: By) {
        self.published[by as usize] += 1;
    }

    /// How many messages came in by this way.
    pub fn published(&self, by: By) -> u64 {
        self.published[by as usize]
    }

    /// How many messages were appended to a channel.
    pub fn messages_published(&self) -> u64 {
        self.published.iter().sum()
    }

    /// Counts a message that was said to nobody.
    pub fn count_unsaid(&mut self, reason: Unsaid) {
        self.unsaid[reason as usize] += 1;
    }

    /// How many messages were said to nobody for this reason.
    pub fn unsaid(&self, reason: Unsaid) -> u64 {
        self.unsaid[reason as usize]
    }

    /// Counts somebody who was not let in.
    pub fn count_refused(&mut self, reason: Refusal) {
        self.refused[reason as usize] += 1;
    }

    /// Counts somebody who was not let in by a token.
    pub fn count_token(&mut self, fault: Fault) {
        self.tokens_refused[fault as usize] += 1;
    }

    /// How many were not let in by a token for this fault of it.
    pub fn tokens_refused(&self, fault: Fault) -> u64 {
        self.tokens_refused[fault as usize]
    }

    /// How many were not let in for this reason.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused[reason as usize]
    }
}

/// A length of time as histograms take it.
fn micros(time: Duration) -> u64 {
    time.as_millis().saturating_mul(1000)
}

#[cfg(test)]
mod exported;
