//! What the program's work costs, counted in builds with assertions, so that a test fails where
//! the price of somebody's bytes grows with their square.
//!
//! Whoever goes over bytes, records or members says so here, in place; [`take`] hands the sums out.
//! The server holds them against what was read and against a share per call, each time it is
//! called (`server/gate.rs`), so every test that drives a server is a test of prices; fuzz targets
//! of single codecs ask [`Work::assert_linear`].
//!
//! The surprise: the sums are the thread's and no argument, because a parser has nothing at hand to
//! count with. In a release none of this exists.

#[cfg(debug_assertions)]
use core::cell::Cell;

/// What was done since the last [`take`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Work {
    /// Connections that were listened to: for each a few reads of its socket at most.
    pub reads: u64,
    /// Bytes that sockets gave.
    pub read_bytes: u64,
    /// Bytes of polls' answers, which are put together from records.
    pub answered_bytes: u64,
    /// Bytes that were scanned, checked or decoded; one that is looked at twice counts twice.
    pub looked_bytes: u64,
    /// Bytes that were copied, which costs a tenth of looking at each.
    pub copied_bytes: u64,
    /// Records of feeds that were measured or written into a poll's answer.
    pub records: u64,
    /// Frames, and packets of POSTs, that were acted upon.
    pub packets: u64,
    /// Channels that were entered, or left because a client asked for it.
    pub joins: u64,
    /// Requests that were answered or begun to be held.
    pub requests: u64,
    /// Writes to sockets.
    pub sends: u64,
    /// Packets that were acted upon because there was no memory to keep them for later.
    pub forced: u64,
    /// Connections that were flushed at once because memory was short.
    pub reliefs: u64,
}

impl Work {
    /// No work.
    pub const NOTHING: Work = Work {
        reads: 0,
        read_bytes: 0,
        answered_bytes: 0,
        looked_bytes: 0,
        copied_bytes: 0,
        records: 0,
        packets: 0,
        joins: 0,
        requests: 0,
        sends: 0,
        forced: 0,
        reliefs: 0,
    };

    /// Asserts that bytes were looked at no more than `times` for each of `bytes`, and for a short
    /// input a few more.
    ///
    /// # Panics
    /// If they were.
    pub fn assert_linear(&self, bytes: usize, times: u64) {
        let allowed = (bytes as u64 + 256) * times;
        assert!(self.looked_bytes <= allowed, "{self:?} for {bytes} bytes");
    }
}

#[cfg(debug_assertions)]
std::thread_local! {
    static WORK: Cell<Work> = const { Cell::new(Work::NOTHING) };
}

/// What this thread has done since it was last asked; nothing in a release.
pub fn take() -> Work {
    #[cfg(debug_assertions)]
    return WORK.take();
    #[cfg(not(debug_assertions))]
    Work::default()
}

/// Counts, in builds with assertions.
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

/// Counts bytes that were copied.
#[inline]
pub fn copied(bytes: usize) {
    count(|work| work.copied_bytes += bytes as u64);
}

/// Counts bytes that were scanned, checked or decoded.
#[inline]
pub fn looked_at(bytes: usize) {
    count(|work| work.looked_bytes += bytes as u64);
}
