//! What is so at one moment, in plain numbers: all that metrics, status and doctor are made of.
//!
//! Leaves to others: taking one (`server/survey.rs`), and what is made of it.
//!
//! The surprise: a snapshot is filled in again and again. Only the first one of a server allocates,
//! so that being watched costs no memory that was not printed.

use super::Metrics;
use crate::id::Dialect;
use crate::limits::{CHANNEL_NAME_BYTES_MAX, Limits};
use crate::position::POSITION_BYTES_MAX;
use crate::time::Duration;

/// Channels of which a snapshot has the particulars: those with the most members.
pub const CHANNELS_SHOWN: usize = 100;

/// The number of classes of a lag: nothing, and up to 1, 2, 4 … 2^62 bytes.
const LAG_CLASSES: usize = 64;

/// The names of the dialects, in the order of [`Dialect::ALL`].
pub const DIALECT_NAMES: [&str; Dialect::ALL.len()] =
    ["plain", "elbow_v1", "sse", "socketio4", "socketio3"];

/// How far readers are behind, by classes that double.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lags {
    counts: [u32; LAG_CLASSES],
    max_bytes: u64,
    sum_bytes: u64,
}

impl Default for Lags {
    fn default() -> Lags {
        Lags { counts: [0; LAG_CLASSES], max_bytes: 0, sum_bytes: 0 }
    }
}

impl Lags {
    /// Counts a reader that is so many bytes behind.
    pub fn record(&mut self, bytes: u64) {
        // 0, 1, 2, 3 and 4, 5 to 8, …: the upper ends are powers of two.
        let class = match bytes {
            0 => 0,
            _ => (u64::BITS - (bytes - 1).leading_zeros() + 1) as usize,
        };
        self.counts[class.min(LAG_CLASSES - 1)] += 1;
        self.max_bytes = self.max_bytes.max(bytes);
        self.sum_bytes = self.sum_bytes.saturating_add(bytes);
    }

    /// Adds readers that were counted apart.
    pub fn add(&mut self, others: &Lags) {
        self.counts.iter_mut().zip(others.counts).for_each(|(sum, count)| *sum += count);
        self.max_bytes = self.max_bytes.max(others.max_bytes);
        self.sum_bytes = self.sum_bytes.saturating_add(others.sum_bytes);
    }

    /// How many readers were looked at.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// How many readers are behind by at most `2^exponent` bytes, `exponent` being at most 61;
    /// exactly.
    pub fn count_up_to(&self, exponent: u32) -> u64 {
        let classes = &self.counts[..exponent as usize + 2];
        classes.iter().map(|count| u64::from(*count)).sum()
    }

    /// How many readers are not behind.
    pub fn count_caught_up(&self) -> u64 {
        u64::from(self.counts[0])
    }

    /// The largest lag, exactly, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// All lags together, in bytes.
    pub fn sum_bytes(&self) -> u64 {
        self.sum_bytes
    }

    /// The lag in bytes that `parts` of a hundred readers do not exceed, rounded up to a power of
    /// two, but to no more than the largest. 0 if there are no readers.
    pub fn quantile_bytes(&self, parts: u64) -> u64 {
        let wanted = self.count() * parts;
        let mut seen = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count) * 100;
            if *count > 0 && seen >= wanted {
                let end = if class == 0 { 0 } else { 1 << (class - 1) };
                return self.max_bytes.min(end);
            }
        }
        self.max_bytes
    }
}

/// One channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelView {
    /// The channel's name.
    pub name: String,
    /// How many members read each dialect.
    pub members: [u64; Dialect::ALL.len()],
    /// Where the newest message stands, as text.
    pub position: String,
    /// Messages that are kept for those who come back.
    pub kept: u64,
    /// How far the members are behind.
    pub lags: Lags,
}

impl ChannelView {
    /// A channel without a name, to be filled in; with room for any name and any position.
    pub fn empty() -> ChannelView {
        ChannelView {
            name: String::with_capacity(CHANNEL_NAME_BYTES_MAX),
            members: [0; Dialect::ALL.len()],
            position: String::with_capacity(POSITION_BYTES_MAX),
            kept: 0,
            lags: Lags::default(),
        }
    }

    /// How many members the channel has.
    pub fn size(&self) -> u64 {
        self.members.iter().sum()
    }
}

/// Connections and sessions now, by kind. A session of Socket.IO counts once, whatever carries it,
/// and not its connections: a WebSocket that carries one is not counted beside it, and the
/// connections by which sessions poll are among those of `http`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Connections {
    /// Plain WebSockets.
    pub websocket: u64,
    /// Sessions of Socket.IO, in a namespace or not yet.
    pub socketio: u64,
    /// Event streams.
    pub sse: u64,
    /// All other connections: those with requests or PROXY headers, and polls of Socket.IO.
    pub http: u64,
}

/// What the memory of `--memory` is used for, and what there is beside it, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Rings of channels with their indexes, logs of what is kept, and what is set aside for
    /// `default`.
    pub rings: u64,
    /// Buffers that are lent: parts of messages, heads, bodies, answers under way.
    pub buffers: u64,
    /// Sessions of Socket.IO with their tables.
    pub sessions: u64,
    /// Tables of connections, channels and addresses, which are no part of `--memory`.
    pub tables: u64,
    /// What is left of `--memory`.
    pub free: u64,
}

/// The line to the other instances.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Backplane {
    /// Whether both lines are up.
    pub is_connected: bool,
    /// How long requests took to be answered, in microseconds.
    pub round_trips: super::Histogram,
    /// Bytes of messages that have no place in the order yet.
    pub pending_bytes: u64,
    /// Messages that were sent once more after a line was lost.
    pub resent: u64,
    /// Gaps that were found and told.
    pub gaps: u64,
}

/// What the system says of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Process {
    /// Bytes of memory that are resident.
    pub resident_bytes: u64,
    /// Time of processors that was used, in microseconds.
    pub cpu_us: u64,
    /// Descriptors that are open.
    pub descriptors: u64,
    /// Descriptors that may be open.
    pub descriptors_max: u64,
}

/// What does not change while the server runs, and the core does not know by itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Surroundings {
    /// The listeners, each with what it is for (`public`, `health`, `admin`) and its address.
    pub listeners: Vec<(&'static str, String)>,
    /// The balancer in front, as `--lb` calls it.
    pub balancer: Balancer,
    /// Whether the client's address may come from a balancer, by a PROXY header or a field.
    pub is_told_clients: bool,
}

/// A balancer that may be in front.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Balancer {
    /// None, or one that is not known.
    #[default]
    None,
    /// A Classic Load Balancer.
    Classic,
    /// A Network Load Balancer.
    Network,
    /// An Application Load Balancer.
    Application,
}

/// What is so at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// How long the server has been there.
    pub uptime: Duration,
    /// The time of day at which it began, in seconds since 1970.
    pub started_unix_s: u64,
    /// The time of day, in seconds since 1970.
    pub unix_s: u64,
    /// Everything that was counted since the start.
    pub metrics: Metrics,
    /// What had been counted 5 to 10 minutes ago; nothing, for a server that is younger.
    pub before: Metrics,
    /// What the operator has decided.
    pub limits: Limits,
    /// Connections and sessions by kind.
    pub connections: Connections,
    /// Channels that have members or keep something.
    pub channels: u64,
    /// Members of all channels, by dialect.
    pub members: [u64; Dialect::ALL.len()],
    /// Bytes of records that rings hold.
    pub feed_bytes: u64,
    /// How far all members are behind.
    pub lags: Lags,
    /// What memory is used for.
    pub memory: Memory,
    /// At least so many members come from one address, which is the commonest if more than half do.
    pub members_of_one_address: u64,
    /// Whether that address is of the machine itself or of a private network.
    pub is_one_address_private: bool,
    /// The channels with the most members, at most [`CHANNELS_SHOWN`], the largest first.
    pub largest: Vec<ChannelView>,
    /// The line to the other instances; `None` without one.
    pub backplane: Option<Backplane>,
    /// What the system says of the process; `None` if it says nothing.
    pub process: Option<Process>,
}

impl Snapshot {
    /// A snapshot in which nothing has happened yet.
    pub fn new(limits: &Limits) -> Snapshot {
        Snapshot {
            uptime: Duration::ZERO,
            started_unix_s: 0,
            unix_s: 0,
            metrics: Metrics::default(),
            before: Metrics::default(),
            limits: limits.clone(),
            connections: Connections::default(),
            channels: 0,
            members: [0; Dialect::ALL.len()],
            feed_bytes: 0,
            lags: Lags::default(),
            memory: Memory::default(),
            members_of_one_address: 0,
            is_one_address_private: false,
            largest: Vec::with_capacity(CHANNELS_SHOWN),
            backplane: None,
            process: None,
        }
    }

    /// Bytes of `--memory` that are set aside for the channel `default`.
    pub fn set_aside_bytes(&self) -> u64 {
        Limits::default_channel_bytes(self.limits.feed_bytes, self.limits.history)
    }

    /// How many members all channels have.
    pub fn size(&self) -> u64 {
        self.members.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lags_are_counted_up_to_powers_of_two() {
        let mut lags = Lags::default();
        assert_eq!((lags.quantile_bytes(50), lags.count()), (0, 0));
        for bytes in [0, 0, 1, 2, 3, 4, 5, 1000, 1024, 1025] {
            lags.record(bytes);
        }
        let up_to = |exponent| lags.count_up_to(exponent);
        assert_eq!([0, 1, 2, 3, 9, 10, 11, 61].map(up_to), [3, 4, 6, 7, 7, 9, 10, 10]);
        assert_eq!((lags.count_caught_up(), lags.count()), (2, 10));
        assert_eq!((lags.sum_bytes(), lags.max_bytes()), (3064, 1025));
        let quantiles = [1, 50, 80, 90, 99, 100].map(|parts| lags.quantile_bytes(parts));
        assert_eq!(quantiles, [0, 4, 1024, 1024, 1025, 1025]);
        lags.record(u64::MAX);
        assert_eq!((lags.count(), lags.count_up_to(61)), (11, 10));
    }
}
