//! What the program's work costs, counted in builds with assertions, so that a test fails where the
//! price of somebody's bytes grows with the square of their number.
//!
//! Code that goes over bytes, records or members counts them in place; [`take`] hands the sums out.
//! After each public call the server holds them against what was read and a share per call
//! (`server/gate.rs`), so every test that drives a server is a test of prices. Fuzz targets of
//! single codecs call [`Work::assert_linear`].
//!
//! The surprise: the sums belong to the thread and are no argument, because a parser is given
//! nothing to count with. In a release build none of this exists.

#[cfg(debug_assertions)]
use core::cell::Cell;

/// The work that was done since the last [`take`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Work {
    /// Connections that were read, each with a few reads of its socket at most.
    pub reads: u64,
    /// Bytes that sockets gave.
    pub read_bytes: u64,
    /// Bytes of answers to polls, which are put together from records.
    pub answered_bytes: u64,
    /// Bytes that were scanned, checked or decoded; a byte that is looked at twice counts twice.
    pub looked_bytes: u64,
    /// Bytes that were copied; copying one costs a tenth of looking at it.
    pub copied_bytes: u64,
    /// Records of feeds that were measured or written into the answer to a poll.
    pub records: u64,
    /// Frames, and packets of POSTs, that were acted upon.
    pub packets: u64,
    /// Bytes of what channels keep that were read, and of the records that were made of them, to
    /// fill rings for their first readers.
    pub filled_bytes: u64,
    /// Channels that were entered, or left because a client asked for it.
    pub joins: u64,
    /// Namespaces that were entered, or refused, when the wait for their channel was over.
    pub entered_late: u64,
    /// Requests that were answered, or held until there is an answer.
    pub requests: u64,
    /// Writes to sockets.
    pub sends: u64,
    /// Packets that were acted upon beyond the share of their connection, because there was no
    /// memory to keep them for later.
    pub forced: u64,
    /// Connections that were flushed at once because memory was short.
    pub reliefs: u64,
}

impl Work {
    /// No work at all.
    pub const NOTHING: Work = Work {
        reads: 0,
        read_bytes: 0,
        answered_bytes: 0,
        looked_bytes: 0,
        copied_bytes: 0,
        records: 0,
        packets: 0,
        filled_bytes: 0,
        joins: 0,
        entered_late: 0,
        requests: 0,
        sends: 0,
        forced: 0,
        reliefs: 0,
    };

    /// Asserts that at most `times` bytes were looked at for each of `bytes`, with 256 more bytes
    /// allowed for short inputs.
    ///
    /// # Panics
    /// If more bytes were looked at.
    pub fn assert_linear(&self, bytes: usize, times: u64) {
        let allowed = (bytes as u64 + 256) * times;
        assert!(self.looked_bytes <= allowed, "{self:?} for {bytes} bytes");
    }
}

#[cfg(debug_assertions)]
std::thread_local! {
    static WORK: Cell<Work> = const { Cell::new(Work::NOTHING) };
}

/// Returns what this thread has done since the last call, and begins anew. In a release build
/// always [`Work::NOTHING`].
pub fn take() -> Work {
    #[cfg(debug_assertions)]
    return WORK.take();
    #[cfg(not(debug_assertions))]
    Work::default()
}

/// Lets `add` add to the sums, in builds with assertions.
#[inline]
pub fn count(add: impl FnOnce(&mut Work)) {
    #[cfg(debug_assertions)]
    {
        let mut work = WORK.get();
        add(&mut work);
        WORK.set(work);
    }
    #[cfg(not(debug_assertions))]
    let _ = add;
}

/// Counts bytes that were copied, in builds with assertions.
#[inline]
pub fn copied(bytes: usize) {
    count(|work| work.copied_bytes += bytes as u64);
}

/// Counts bytes that were scanned, checked or decoded, in builds with assertions.
#[inline]
pub fn looked_at(bytes: usize) {
    count(|work| work.looked_bytes += bytes as u64);
}
