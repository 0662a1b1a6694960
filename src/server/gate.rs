//! The price of a call, held against what was read: in builds with assertions, after each of them.
//!
//! Whatever strangers send, a constant amount of work may be done for each byte that is read, and
//! in one call no more than a constant besides. So a path whose price grows with the square of
//! somebody's bytes fails every test that walks it, and not an operator. [`crate::work`] has the
//! sums.
//!
//! The surprise: bytes that are scanned or checked are held against all that was ever read, since a
//! message is checked whole when its last byte comes; everything else against the call alone.

use crate::limits::Limits;
use crate::work;

/// What the calls so far have earned and spent; nothing in a release.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Bytes that may be looked at for all that was read so far.
    #[cfg(debug_assertions)]
    earned_bytes: u64,
    /// Bytes that were looked at so far.
    #[cfg(debug_assertions)]
    looked_bytes: u64,
}

impl Gate {
    /// A call begins: what the thread did before is not its doing.
    pub(super) fn begin(&mut self) {
        let _not_ours = work::take();
    }

    /// A call ends; nobody counts.
    #[cfg(not(debug_assertions))]
    pub(super) fn judge(&mut self, _limits: &Limits) {}

    /// A call ends.
    ///
    /// # Panics
    /// If it did more than its bytes and a constant account for.
    #[cfg(debug_assertions)]
    pub(super) fn judge(&mut self, limits: &Limits) {
        let work = work::take();
        let paid_bytes = work.read_bytes + work.answered_bytes + work.filled_bytes;
        self.earned_bytes += LOOKS_PER_BYTE * paid_bytes;
        self.earned_bytes += LOOKS_PER_READ * work.reads;
        self.looked_bytes += work.looked_bytes;
        assert!(self.looked_bytes <= self.earned_bytes, "{self:?} after {work:?}");
        judge_call(&work, limits);
    }
}

/// Times that a byte may be looked at for each time it is read: it is scanned, checked as UTF-8
/// and as JSON, and looked for in what it may mean.
#[cfg(debug_assertions)]
const LOOKS_PER_BYTE: u64 = 16;

/// Bytes that may be looked at again when a connection is read: half a PROXY line, half a frame.
#[cfg(debug_assertions)]
const LOOKS_PER_READ: u64 = 512;

/// Times that a byte may be copied for each time it is read: out of pieces, into a buffer, into
/// three rings, and a control character becomes six bytes in two of them.
#[cfg(debug_assertions)]
const COPIES_PER_BYTE: u64 = 32;

/// Writes for one connection that is flushed: a session turns to each of its channels, and an
/// interrupted call is made again.
#[cfg(debug_assertions)]
const SENDS_PER_FLUSH: u64 = 24;

#[cfg(debug_assertions)]
fn judge_call(work: &work::Work, limits: &Limits) {
    use crate::limits as bounds;
    // What was kept is copied out and in again; a message that was collected is copied as a whole.
    let kept_bytes = 2 * bounds::READ_BUFFER_BYTES as u64;
    let per_read = kept_bytes + COPIES_PER_BYTE * limits.message_bytes_max;
    let paid_bytes = work.read_bytes + work.answered_bytes + work.filled_bytes;
    let copied_bytes_max = COPIES_PER_BYTE * paid_bytes + per_read * (1 + work.reads);
    assert!(work.copied_bytes <= copied_bytes_max, "copied too much: {work:?}");
    // Each message is read once and made to one record, which may be pushed out by the next.
    let fill = (1 + bounds::TEXT_GROWTH_MAX as u64) * limits.feed_bytes
        + Limits::feed_records(limits.feed_bytes) * bounds::RECORD_EXTRA_BYTES_MAX as u64;
    // Packets fill rings until the units of the turn are spent, the last of them whatever it costs.
    // So do those that are beyond it, each of which may be the last of its connection.
    let fills = 1 + work.requests + work.reads.min(work.forced) + work.entered_late;
    let of_units = 2 * u64::from(bounds::UNITS_PER_TURN) * bounds::FILL_BYTES_PER_UNIT;
    assert!(work.filled_bytes <= fills * fill + of_units, "filled too much: {work:?}");
    let units = u64::from(bounds::UNITS_PER_READ) + 1;
    assert!(work.packets <= units * work.reads + work.forced, "too many packets: {work:?}");
    let forced_max = u64::from(bounds::FORCED_UNITS_PER_READ) * work.reads;
    let forced_max = forced_max.min(bounds::UNITS_PER_TURN.into());
    assert!(work.forced <= forced_max, "too much forced: {work:?}");
    let forced_joins = u64::from(bounds::FORCED_UNITS_PER_READ / bounds::JOIN_UNITS) + 1;
    let joins = u64::from(bounds::UNITS_PER_READ / bounds::JOIN_UNITS) + 1 + forced_joins;
    let joins_max = joins * work.reads + work.requests + work.entered_late;
    assert!(work.joins <= joins_max, "too many joins: {work:?}");
    assert!(work.requests <= work.reads, "too many requests: {work:?}");
    let late_max = u64::from(bounds::UNITS_PER_TURN) + bounds::SENDS_PER_TURN as u64;
    assert!(work.entered_late <= late_max, "too many entered late: {work:?}");
    // Deadlines, the pass, and what leaves at once because memory is short.
    let flushes = 3 * bounds::SENDS_PER_TURN as u64 + work.reads + work.reliefs;
    assert!(work.sends <= SENDS_PER_FLUSH * flushes, "too many sends: {work:?}");
    // The last poll of a pass may be as large as any; upgrades answer one each.
    let index = Limits::feed_records(limits.feed_bytes);
    let poll = index * crate::hub::SPACES_MAX as u64;
    let records = (bounds::SENDS_PER_TURN * bounds::SEND_RECORDS) as u64 + poll * (1 + work.reads);
    assert!(work.records <= records, "too many records: {work:?}");
}
