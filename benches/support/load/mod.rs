//! The load generator: a crowd of readers, and a publisher for each channel.
//!
//! What a server sends is known to the byte before it is sent: each message carries its number, and
//! a message is the same frame for all. So that every reader got every message, once, in one order,
//! is one comparison of what was read with what should have come; anything else ends the bench.
//! That also makes it cheaper per delivery than any server: one `recv`, one `memcmp`, one place in
//! a histogram.
//!
//! ```text
//!  bench ── lines on a pipe ──► load (a child process) ══ sockets ══► server (another)
//!   Driver                       Crowd
//! ```
//!
//! A message's time begins before it is written (or when it was due, if a rate is offered) and ends
//! when a reader has the last byte of it.

mod crowd;
mod dialect;
mod driver;
mod handshakes;
mod reader;
pub(crate) mod shown;

pub(crate) use crowd::serve;
pub(crate) use dialect::{Between, Dialect};
pub(crate) use driver::Driver;
pub(crate) use handshakes::join;

use core::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, SocketAddr};

use shown::Shown;

/// Whom to connect, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// The server, or the proxy before it.
    pub(crate) address: SocketAddr,
    /// What is spoken there.
    pub(crate) dialect: Dialect,
    /// Connections in all, spread evenly over the channels; the first of each also publishes.
    pub(crate) readers: usize,
    /// Channels; names are taken from their numbers if there are several.
    pub(crate) channels: usize,
    /// Where the connections come from; an address has some 28,000 ports for one server.
    pub(crate) source: Ipv4Addr,
    /// Each connection begins with a PROXY header of version 1.
    pub(crate) proxied: bool,
    /// The token that each shows.
    pub(crate) shown: Shown,
}

impl Setup {
    /// Readers of one channel, plain WebSockets.
    pub(crate) fn plain(address: SocketAddr, readers: usize) -> Setup {
        Setup {
            address,
            dialect: Dialect::Plain,
            readers,
            channels: 1,
            source: Ipv4Addr::LOCALHOST,
            proxied: false,
            shown: Shown::Nothing,
        }
    }

    fn from_words(words: &[&str]) -> Option<Setup> {
        let [address, dialect, readers, channels, source, proxied, shown] = words else {
            return None;
        };
        Some(Setup {
            address: address.parse().ok()?,
            dialect: Dialect::from_name(dialect)?,
            readers: readers.parse().ok()?,
            channels: channels.parse().ok()?,
            source: source.parse().ok()?,
            proxied: proxied.parse().ok()?,
            shown: Shown::from_name(shown)?,
        })
    }
}

impl Display for Setup {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Setup { address, dialect, readers, channels, source, proxied, shown } = self;
        let (dialect, shown) = (dialect.name(), shown.name());
        write!(f, "{address} {dialect} {readers} {channels} {source} {proxied} {shown}")
    }
}

/// When the next message is published.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// When fewer than this many of a channel have not yet reached all its readers. Each message is
    /// a call of its own, as if it came from somebody else.
    Window(usize),
    /// So many a second in all, whatever has arrived.
    Rate(u32),
    /// Nothing is published; pings are answered.
    Silence,
}

/// A run of messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Payload of a message.
    pub(crate) bytes: usize,
    /// When the next is sent.
    pub(crate) pace: Pace,
    /// The most messages that are published, if there is time for them.
    pub(crate) messages_max: u64,
    /// How long is published at most. The run ends when all have arrived.
    pub(crate) limit_ms: u64,
    /// 0: the load sleeps until something arrives, which makes its latencies exact. But then the
    /// server's `send` wakes it, which no client on another machine would cost, and which is half
    /// of what a delivery takes. Else it looks, and sleeps so many microseconds when there is
    /// nothing.
    pub(crate) nap_us: u64,
}

impl Run {
    fn from_words(words: &[&str]) -> Option<Run> {
        let [bytes, pace, count, messages_max, limit_ms, nap_us] = words else { return None };
        let pace = match *pace {
            "window" => Pace::Window(count.parse().ok()?),
            "rate" => Pace::Rate(count.parse().ok()?),
            "silence" => Pace::Silence,
            _ => return None,
        };
        Some(Run {
            bytes: bytes.parse().ok()?,
            pace,
            messages_max: messages_max.parse().ok()?,
            limit_ms: limit_ms.parse().ok()?,
            nap_us: nap_us.parse().ok()?,
        })
    }
}

impl Display for Run {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (pace, count) = match self.pace {
            Pace::Window(count) => ("window", count),
            Pace::Rate(count) => ("rate", count as usize),
            Pace::Silence => ("silence", 0),
        };
        let Run { bytes, messages_max, limit_ms, nap_us, .. } = self;
        write!(f, "{bytes} {pace} {count} {messages_max} {limit_ms} {nap_us}")
    }
}

/// What came of a run.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Outcome {
    /// Messages published.
    pub(crate) messages: u64,
    /// Messages that reached a reader, once for each reader.
    pub(crate) deliveries: u64,
    /// Reads that brought them.
    pub(crate) reads: u64,
    /// From the first message to the last delivery.
    pub(crate) elapsed_ns: u64,
    /// Quantiles of the time from a message to a delivery of it: 50, 99, 99.9 %, and the longest.
    pub(crate) latency_ns: [u64; 4],
}

impl Outcome {
    fn from_words(words: &[&str]) -> Option<Outcome> {
        let numbers: Vec<u64> = words.iter().map_while(|word| word.parse().ok()).collect();
        let [messages, deliveries, reads, elapsed_ns, latency_ns @ ..] = &numbers[..] else {
            return None;
        };
        let latency_ns = latency_ns.try_into().ok()?;
        Some(Outcome {
            messages: *messages,
            deliveries: *deliveries,
            reads: *reads,
            elapsed_ns: *elapsed_ns,
            latency_ns,
        })
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Outcome { messages, deliveries, reads, elapsed_ns, latency_ns } = self;
        let [p50, p99, p999, max] = latency_ns;
        write!(f, "{messages} {deliveries} {reads} {elapsed_ns} {p50} {p99} {p999} {max}")
    }
}
