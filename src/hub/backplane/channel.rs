//! One channel as the backplane knows it: how far its stream was read, and what of it is under way.
//!
//! ```text
//!              XREVRANGE, pages back      XRANGE, portions      XREAD with all others
//!   Start ─────────► Back ───────────────► Forward ───────────► Open
//!     ▲                                                          │
//!     └───────────────────────── a gap ──────────────────────────┘
//! ```
//!
//! A channel is opened by asking for the newest entry, going back from there for as far as memory
//! and history reach, and reading forward again up to what was newest. After a gap it takes the
//! same way, so that what it remembers is what everybody else remembers.
//!
//! Deals with: the state of one channel. Leaves to others: requests and replies.
//!
//! The surprise: one entry of a channel is under way at a time, from when it is sent until it has
//! been read back. A second one that Redis took although it refused the first could not be undone,
//! and the messages would have changed places. What is said meanwhile goes into the next entry.

use super::entry::{EntryId, Place};
use super::event::Gap;
use super::memory::{Memory, WINDOW_ENTRIES, WINDOW_MS};
use super::outbox::Queue;
use crate::limits::History;
use crate::time::{Duration, Instant};

/// The least entries that a stream keeps: what others remember must be there for who opens it.
const KEPT_ENTRIES_MIN: u64 = WINDOW_ENTRIES;

/// Bytes of entries that are counted together. A stream keeps [`CRATES`] times as many at most.
const CRATE_BYTES: u64 = 1 << 20;

/// How many times [`CRATE_BYTES`] a stream keeps.
const CRATES: usize = 64;

/// How many milliseconds entries are counted before the count begins anew: a stream keeps what so
/// much time has had.
const RATE_SPAN_MS: u64 = 10_000;

/// From so many counted entries on, their number and time say how many a longer time will have.
const RATE_ENTRIES_MIN: u64 = WINDOW_ENTRIES / 2;

/// How long a channel is not asked whether its last entry is still there, once it was asked.
const TEST_INTERVAL: Duration = Duration::from_secs(1);

/// A channel is asked whether its last entry is still there when so many more were read.
const MARK_ENTRIES: u64 = 512;

/// By how many entries a stream may be shorter than it is to be, before the place of the last is
/// told to other instances.
const MARK_ENTRIES_SPARE: u64 = 128;

/// Where the reading of a channel's stream stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The newest entry has to be asked for.
    Start,
    /// Pages are read backwards.
    Back(Window),
    /// Entries are read forwards, from `next` up to `until`.
    Forward {
        /// The first entry that may be next.
        next: EntryId,
        /// The entry that was the newest.
        until: EntryId,
        /// Messages from this entry on are replayed; `None`: no messages are.
        replay_from: Option<EntryId>,
    },
    /// Entries come as they are added.
    Open,
}

/// How far a channel was read back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    /// The last message of the newest entry.
    pub(super) newest: Place,
    /// The oldest entry that was read.
    pub(super) oldest: EntryId,
    /// Reading forward begins here.
    from: EntryId,
    /// Messages from here on are replayed.
    replay_from: Option<EntryId>,
    /// Messages and bytes that are replayed.
    messages: u64,
    bytes: u64,
    /// Entries that were read in front of what is replayed, or of the newest.
    entries: u64,
    /// The time in the id of the oldest entry that is replayed, or of the newest.
    anchor_ms: u64,
    /// Whether older entries may still be replayed.
    replays: bool,
    /// Whether nothing older is wanted.
    pub(super) is_over: bool,
}

/// What of the past is replayed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// What the operator has decided; `None`: nothing is replayed.
    pub(super) history: Option<History>,
    /// The most bytes of entries that are replayed.
    pub(super) bytes_max: u64,
    /// The time by the clock of Redis, if it is known.
    pub(super) redis_ms: Option<u64>,
}

impl Window {
    /// A window in front of the newest entry, which has to be added like the others.
    pub(super) fn new(newest: Place, past: &Past) -> Window {
        Window {
            newest,
            oldest: newest.entry,
            from: newest.entry,
            replay_from: None,
            messages: 0,
            bytes: 0,
            entries: 0,
            anchor_ms: newest.entry.ms,
            replays: past.history.is_some(),
            is_over: false,
        }
    }

    /// The next older entry is read: so many messages, so many bytes.
    pub(super) fn add(&mut self, id: EntryId, (messages, bytes): (u64, u64), past: &Past) {
        self.oldest = id;
        self.entries += 1;
        let newest_ms = self.newest.entry.ms;
        let now_ms = past.redis_ms.unwrap_or(newest_ms);
        self.replays = self.replays
            && self.messages < past.history.map_or(0, |history| history.messages_max)
            && self.bytes + bytes <= past.bytes_max
            && past
                .history
                .is_some_and(|history| now_ms.saturating_sub(id.ms) <= history.age.as_millis());
        if self.replays {
            // What is replayed is judged by what was in front of it, like everything else.
            self.replay_from = Some(id);
            (self.entries, self.anchor_ms) = (0, id.ms);
            self.messages += messages;
            self.bytes += bytes;
        }
        let is_remembered =
            self.entries <= WINDOW_ENTRIES && id.ms.saturating_add(WINDOW_MS) >= self.anchor_ms;
        if is_remembered {
            self.from = id;
        } else {
            self.is_over = true;
        }
    }

    /// The phase behind this one.
    pub(super) fn forward(&self) -> Phase {
        let (next, until, replay_from) = (self.from, self.newest.entry, self.replay_from);
        Phase::Forward { next, until, replay_from }
    }
}

/// An entry that is under way: sent, or to be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    /// The number of the first message.
    pub(super) first: u64,
    /// How many messages the entry has.
    pub(super) count: u16,
    /// How many of them were read back.
    pub(super) placed: u16,
    /// The record of the first message in the outbox.
    pub(super) record: u64,
    /// The record of the first message that was not read back.
    pub(super) next_record: u64,
    /// How far the entry has come.
    pub(super) stage: Stage,
}

/// How far an entry has come that was not read back yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The entry is to be sent again.
    Unsent,
    /// The entry is sent, and Redis has not answered.
    Owed,
    /// Redis has taken the entry; the time says when it said so.
    Taken(Instant),
}

/// An entry of a stream, and how many entries had been read by then.
#[derive(Clone, Copy, Default, Debug)]
struct Mark {
    id: EntryId,
    read: u64,
}

/// How much is added to a stream, by the times in the ids of what is read of it. Whoever has just
/// opened a channel has read what is remembered, which may be of less than a second; so nothing is
/// judged by when it was read.
#[derive(Clone, Copy, Default, Debug)]
struct Rate {
    /// The times in the ids of the first entry of the span under way and of the newest.
    began_ms: u64,
    newest_ms: u64,
    /// Entries of the span under way, and their bytes.
    entries: u64,
    bytes: u64,
    /// Entries of the span before; `None` in the first.
    before: Option<u64>,
}

impl Rate {
    fn add(&mut self, id_ms: u64, bytes: u64) {
        if self.entries == 0 {
            self.began_ms = id_ms;
        }
        let passed_ms = id_ms.saturating_sub(self.began_ms);
        if passed_ms >= RATE_SPAN_MS {
            let before = if passed_ms < 2 * RATE_SPAN_MS { self.entries } else { 0 };
            *self = Rate { began_ms: id_ms, before: Some(before), ..Rate::default() };
        }
        self.newest_ms = self.newest_ms.max(id_ms);
        self.entries += 1;
        self.bytes += bytes;
    }

    /// How many entries the last ten seconds had, or twice that. As long as less was seen it is
    /// what they had at this pace, within the bytes that a stream may take.
    fn entries(&self) -> u64 {
        match self.before {
            Some(before) => self.entries + before,
            None if self.entries < RATE_ENTRIES_MIN => self.entries,
            None => {
                let passed_ms = (self.newest_ms - self.began_ms).max(1);
                let at_this_pace = self.entries.saturating_mul(RATE_SPAN_MS) / passed_ms;
                let bytes_max = CRATE_BYTES * CRATES as u64;
                let room = bytes_max.saturating_mul(self.entries) / self.bytes.max(1);
                self.entries.max(at_this_pace.min(room))
            }
        }
    }
}

/// How many entries made up the newest bytes of a stream, in crates of [`CRATE_BYTES`].
#[derive(Clone, Debug)]
struct Volume {
    /// Entries that began in each of the newest crates, which go round.
    crates: [u32; CRATES],
    /// The crate that is being filled.
    at: usize,
    /// Bytes in it, fewer than [`CRATE_BYTES`].
    bytes: u64,
    /// How many were filled, at most [`CRATES`].
    filled: usize,
}

impl Volume {
    const NONE: Volume = Volume { crates: [0; CRATES], at: 0, bytes: 0, filled: 0 };

    fn add(&mut self, bytes: u64) {
        self.crates[self.at] += 1;
        self.bytes += bytes;
        // An entry that is larger than all crates leaves nothing of those before it.
        for _ in 0..(self.bytes / CRATE_BYTES).min(CRATES as u64) {
            self.at = (self.at + 1) % CRATES;
            self.crates[self.at] = 0;
            self.filled = (self.filled + 1).min(CRATES);
        }
        self.bytes %= CRATE_BYTES;
    }

    /// How many entries a stream may have that keeps no more than all crates hold; `None` if it has
    /// not had so many bytes.
    fn entries(&self) -> Option<u64> {
        let is_full = self.filled == CRATES;
        is_full.then(|| self.crates.iter().map(|entries| u64::from(*entries)).sum())
    }
}

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: Box<str>,
    /// Whether the server has it open. Otherwise it stays for what was said in it, and ends when
    /// that has its place.
    pub(super) is_wanted: bool,
    pub(super) phase: Phase,
    /// Changes whenever the phase begins anew, so that a reply to an older request is known. No two
    /// channels have one in common, also if one has the other's slot.
    pub(super) life: u64,
    /// The life for which the XREAD that is under way names the channel.
    pub(super) read_life: Option<u64>,
    /// A gap that was found and is not told.
    pub(super) gap: Option<Gap>,
    /// Whether the server was told that the channel is open.
    pub(super) is_told_open: bool,
    /// The last message that was read. While entries are read forwards it may be `0-0.0`, since
    /// none was read yet.
    pub(super) last: Place,
    /// An entry of which some messages were read and not all, or `0-0`.
    pub(super) begun: EntryId,
    /// Whether it is to be asked if the last entry is still there.
    pub(super) is_doubtful: bool,
    /// When it was asked last whether the last entry is still there.
    tested_at: Instant,
    /// The newest entry that is known to have been there when it was asked about.
    mark: Mark,
    /// The entry that it was asked about last.
    asked: Mark,
    /// How many entries were read.
    read: u64,
    pub(super) waiting: Queue,
    pub(super) sent: Option<Sent>,
    /// Whether the channel stands in the list of those that may have something to send.
    pub(super) is_listed: bool,
    /// When the key's time to live was last set, if it was.
    pub(super) expiry_at: Option<Instant>,
    pub(super) memory: Memory,
    rate: Rate,
    volume: Volume,
}

impl Channel {
    /// A channel that is to be opened. `birth`: how many channels there were before.
    pub(super) fn new(now: Instant, name: &str, birth: u32) -> Channel {
        Channel {
            name: name.into(),
            is_wanted: true,
            phase: Phase::Start,
            life: u64::from(birth) << 32,
            read_life: None,
            gap: None,
            is_told_open: false,
            last: Place::default(),
            begun: EntryId::ZERO,
            is_doubtful: false,
            tested_at: now,
            mark: Mark::default(),
            asked: Mark::default(),
            read: 0,
            waiting: Queue::EMPTY,
            sent: None,
            is_listed: false,
            expiry_at: None,
            memory: Memory::new(),
            rate: Rate::default(),
            volume: Volume::NONE,
        }
    }

    /// The channel was closed and is wanted again: it is opened as if it were new, but for what was
    /// said in it.
    pub(super) fn reopen(&mut self) {
        self.is_wanted = true;
        self.is_told_open = false;
        self.gap = None;
        self.memory.clear();
        self.restart();
    }

    /// Nothing more is said until the channel was read from its newest entry back.
    pub(super) fn read_anew(&mut self) {
        self.memory.restart();
        self.restart();
    }

    /// The reader's connection is gone, and with it what was asked for.
    pub(super) fn interrupt(&mut self) {
        self.read_life = None;
        self.life += 1;
        match self.phase {
            Phase::Start => {}
            Phase::Back(_) => self.restart(),
            Phase::Forward { .. } if self.newest_read() == EntryId::ZERO => self.restart(),
            Phase::Forward { .. } | Phase::Open => self.is_doubtful = true,
        }
    }

    fn restart(&mut self) {
        self.phase = Phase::Start;
        self.life += 1;
        self.last = Place::default();
        self.begun = EntryId::ZERO;
        self.is_doubtful = false;
        self.mark = Mark::default();
        self.asked = Mark::default();
        // What was counted is read again.
        self.rate = Rate::default();
        // The key may be another one by now.
        self.expiry_at = None;
    }

    /// Whether it is to be asked now if entries are missing. Where none was ever read, none can be
    /// missed.
    pub(super) fn is_to_be_tested(&self, now: Instant) -> bool {
        let reads = match self.phase {
            Phase::Forward { .. } | Phase::Open => true,
            Phase::Start | Phase::Back(_) => false,
        };
        let is_due = self.is_doubtful
            || now.since(self.tested_at) > TEST_INTERVAL
            || self.read - self.asked.read >= MARK_ENTRIES;
        reads && self.newest_read() != EntryId::ZERO && is_due
    }

    /// The newest entry of which anything was read: it must still be there. `0-0` if there is none.
    pub(super) fn newest_read(&self) -> EntryId {
        self.last.entry.max(self.begun)
    }

    /// An older entry that must still be there: one that is not shows that the history is another
    /// one, although its successor was read. `None` if it may have been dropped for its age.
    pub(super) fn mark_to_test(&self, history: Option<History>) -> Option<EntryId> {
        let Mark { id, read } = self.mark;
        let is_older = id != EntryId::ZERO && id != self.newest_read();
        let kept = self.kept_entries(history).min(KEPT_ENTRIES_MIN);
        (is_older && self.read - read < kept.saturating_sub(MARK_ENTRIES_SPARE)).then_some(id)
    }

    /// Notes that it is asked now whether the last entry is still there.
    pub(super) fn begin_test(&mut self, now: Instant) {
        self.tested_at = now;
        self.is_doubtful = false;
        self.asked = Mark { id: self.newest_read(), read: self.read };
    }

    /// The entry that was asked about is there.
    pub(super) fn pass_test(&mut self) {
        self.mark = self.asked;
    }

    /// An entry was read, or passed over; `place` is that of its last message.
    pub(super) fn pass(&mut self, place: Place) {
        self.last = place;
        self.begun = EntryId::ZERO;
        self.read += 1;
        // In a stream that was empty, the first entry is what must still be there.
        if self.mark.id == EntryId::ZERO {
            self.mark = Mark { id: place.entry, read: self.read };
        }
    }

    /// The channel was read up to its newest entry: what is added from here on follows.
    pub(super) fn begin_open(&mut self, now: Instant, last: Place) {
        self.phase = Phase::Open;
        self.last = last;
        self.begin_test(now);
        self.pass_test();
    }

    /// Whether nothing is wanted of the channel any more.
    pub(super) fn is_over(&self) -> bool {
        !self.is_wanted && self.waiting.is_empty() && self.sent.is_none()
    }

    /// Whether the next entry may be sent, or one again.
    pub(super) fn may_send(&self) -> bool {
        let has_more = match self.sent {
            Some(sent) => sent.stage == Stage::Unsent,
            None => !self.waiting.is_empty(),
        };
        self.phase == Phase::Open && has_more
    }

    /// An entry of so many bytes was read, whose id has this time.
    pub(super) fn count_entry(&mut self, id_ms: u64, bytes: u64) {
        self.rate.add(id_ms, bytes);
        self.volume.add(bytes);
    }

    /// How many entries the stream is to keep: what ten seconds had and what history wants, within
    /// the bytes that one stream may take.
    pub(super) fn kept_entries(&self, history: Option<History>) -> u64 {
        let wanted = KEPT_ENTRIES_MIN
            .max(history.map_or(0, |history| history.messages_max))
            .max(self.rate.entries());
        wanted.min(self.volume.entries().unwrap_or(u64::MAX)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn channel() -> Channel {
        Channel::new(Instant::default(), "news", 0)
    }

    fn history(messages_max: u64) -> Option<History> {
        Some(History { messages_max, age: Duration::from_secs(120) })
    }

    #[test]
    fn one_large_entry_drops_nothing_that_is_to_be_kept() {
        let mut channel = channel();
        for bytes in [64 << 10, MIB] {
            channel.count_entry(0, bytes);
            assert_eq!(channel.kept_entries(history(10_000)), 10_000);
        }
        assert_eq!(channel.kept_entries(None), KEPT_ENTRIES_MIN);
    }

    #[test]
    fn a_stream_keeps_sixty_four_mebibytes_whatever_was_small_before() {
        let mut channel = channel();
        (0..9000).for_each(|_| channel.count_entry(0, 100));
        for large in 1..=200 {
            channel.count_entry(0, MIB);
            let kept = channel.kept_entries(history(10_000));
            let bytes = kept.min(large) * MIB + kept.saturating_sub(large) * 100;
            assert!(bytes <= 65 * MIB, "{kept} with {large}");
            assert!(large < 64 || kept >= 63, "{kept} with {large}");
        }
        // And small ones again, in ten seconds more than fit.
        (0..MIB).for_each(|_| channel.count_entry(0, 128));
        let kept = channel.kept_entries(history(10_000));
        assert!((62 * MIB..=65 * MIB).contains(&(kept * 128)), "{kept}");
    }

    #[test]
    fn whoever_has_just_opened_a_channel_keeps_what_ten_seconds_have() {
        // Two thousand a second, of which no more was read than is remembered.
        let mut cold = channel();
        (0..1025).for_each(|number| cold.count_entry(1_000_000 + number / 2, 100));
        let kept = cold.kept_entries(None);
        assert!((19_000..22_000).contains(&kept), "{kept}");
        // And no more than fit into what a stream may take.
        let mut large = channel();
        (0..1025).for_each(|number| large.count_entry(1_000_000 + number / 2, MIB / 4));
        let kept = large.kept_entries(None);
        assert!((252..=256).contains(&kept), "{kept}");
        // Who has seen more knows better, and so does who has read ten seconds of a quiet channel.
        (1025..60_000).for_each(|number| cold.count_entry(1_000_000 + number / 2, 100));
        let kept = cold.kept_entries(None);
        assert!((20_000..40_001).contains(&kept), "{kept}");
        let mut quiet = channel();
        (0..700).for_each(|number| quiet.count_entry(1_000_000 + number * 50, 100));
        assert_eq!(quiet.kept_entries(None), KEPT_ENTRIES_MIN);
        // A clock that is set back counts on.
        quiet.count_entry(5, 100);
        assert_eq!(quiet.kept_entries(None), KEPT_ENTRIES_MIN);
    }

    #[test]
    fn an_entry_that_is_larger_than_a_stream_is_kept_alone() {
        let mut channel = channel();
        (0..100).for_each(|_| channel.count_entry(0, MIB));
        channel.count_entry(0, 256 * MIB);
        assert_eq!(channel.kept_entries(history(10_000)), 1);
        assert_eq!(channel.mark_to_test(history(10_000)), None);
    }
}
