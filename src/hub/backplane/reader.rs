//! The reader's half of a backplane: what is asked about streams, and what is found in them.
//!
//! It goes in rounds. A round is written as a whole when the one before is answered as a whole:
//!
//! ```text
//!   AUTH  SELECT  XREVRANGE greetings + - COUNT 1       first on a new connection
//!   XRANGE channel LAST LAST COUNT 1                    channels that may have a gap
//!   XREVRANGE channel FROM - COUNT n                    channels that are read back
//!   XRANGE channel NEXT UNTIL COUNT n                   channels that are read forwards
//!   XREAD COUNT n BLOCK 1000 STREAMS own greetings …    all that are open; last
//! ```
//!
//! Replies are read token by token, and only as far as events are asked for. An entry is used where
//! it lies in the input, message by message, and its bytes are given back behind its last.
//!
//! The surprise: what a message changes is noted when it is done with, not when it is handed out.
//! If it is held, or the line breaks, it was never read, and comes again.

use core::ops::Range;
use std::collections::VecDeque;

use super::channel::{Channel, Phase, Window};
use super::entry::{self, EntryId, Fault, Head, Place};
use super::event::{Event, Gap, Line, Ticket, Trouble, Words};
use super::line::{Piece, Wire};
use super::memory::Verdict;
use super::writer::{introduce, write_key};
use super::{Backplane, Pending, Settings};
use crate::time::Instant;
use crate::wire::resp;

/// The most entries of one stream in a reply to XREAD. As many may mean that there are more.
const READ_ENTRIES: u32 = 128;

/// The most entries of a page that is read back or forwards.
const PAGE_ENTRIES: u32 = 64;

/// The most channels that are read back or forwards in one round, so that the others go on.
const PAGES_MAX: usize = 16;

/// How long an XREAD waits for entries, in milliseconds.
const BLOCK_MS: u64 = 1000;

/// What a reply will be to. A channel is meant if it still has the life that it had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// AUTH or SELECT.
    Greeting,
    /// The newest entry of the greetings.
    Greetings,
    /// Whether an entry of a channel is still there: the newest that was read, or an older one.
    Test { slot: usize, life: u64, is_newest: bool },
    /// A page of a channel, backwards.
    Back { slot: usize, life: u64 },
    /// A page of a channel, forwards.
    Forward { slot: usize, life: u64 },
    /// XREAD.
    Read,
}

/// Which stream the part of the reply that is read belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stream {
    /// None yet, or one that is not looked at any more.
    None,
    /// The stream of an open channel.
    Channel(usize),
    /// The stream of greetings.
    Greetings,
    /// The stream of our own pulses.
    Own,
}

/// Where in a reply the reader is.
#[derive(Clone, Debug)]
struct Reply {
    stream: Stream,
    /// Entries of the stream so far.
    entries: u32,
    id: Option<EntryId>,
    /// How many field names and values the entry has, and how many of them were read.
    fields: u32,
    read: u32,
    /// Whether the entry has been one field called `m` so far.
    is_ours: bool,
    /// Where the value lies.
    value: Option<Range<usize>>,
    /// Whether the reply is over with this entry.
    is_over: bool,
}

const NO_REPLY: Reply = Reply {
    stream: Stream::None,
    entries: 0,
    id: None,
    fields: 0,
    read: 0,
    is_ours: false,
    value: None,
    is_over: false,
};

/// What the messages of an entry are read for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Use {
    /// An entry that was added.
    Placed(usize),
    /// An older entry of a channel that is read forwards, and whether it is replayed.
    Past(usize, bool),
    /// Greetings.
    Greetings,
}

/// An entry whose messages are handed out.
#[derive(Clone, Debug)]
struct Current {
    use_of: Use,
    id: EntryId,
    head: Head,
    bytes: Range<usize>,
    /// The next message: which it is, and where in `bytes` it begins.
    index: u16,
    at: usize,
}

/// A message that is handed out.
#[derive(Clone, Debug)]
pub(super) struct Found {
    slot: usize,
    place: Place,
    producer: u64,
    number: u64,
    key: Option<u64>,
    ticket: Option<Ticket>,
    /// What becomes of the message.
    fate: Fate,
    /// Whether the message counts as said here from then on.
    is_said: bool,
    bytes: Range<usize>,
    /// Where the next message of the entry begins.
    next_at: usize,
}

impl Found {
    /// The message's channel.
    pub(super) fn slot(&self) -> usize {
        self.slot
    }

    /// The message's channel is closed, if it is this one: nothing is replayed any more.
    pub(super) fn end_channel(&mut self, slot: usize) {
        if self.slot == slot && self.fate == Fate::Replayed {
            self.fate = Fate::Repeated(self.place);
        }
    }

    /// Whether the message is not said again, and its place is all that is told.
    pub(super) fn is_passed(&self) -> bool {
        self.fate == Fate::Passed
    }

    /// Whether whoever said the message waits for it here.
    pub(super) fn is_answer(&self) -> bool {
        self.ticket.is_some()
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Placed,
    Replayed,
    /// The message is said to nobody; the first with its key stands here.
    Repeated(Place),
    /// The message was said here before a gap, and is said to nobody.
    Passed,
}

/// The reader's half of the state.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) wire: Wire,
    /// What is owed, in the order of the replies.
    steps: VecDeque<Step>,
    reply: Reply,
    current: Option<Current>,
    /// Channels of which something is to be told before anything more is read.
    telling: VecDeque<usize>,
    /// The last pulse that was read on this connection.
    own_last: EntryId,
    /// The pulse that the round under way must show.
    expected: EntryId,
    greetings_last: EntryId,
    /// Whether `greetings_last` is of this connection.
    knows_greetings: bool,
}

impl Reader {
    pub(super) fn new(settings: &Settings) -> Reader {
        let (input, output) = (settings.input_bytes(), settings.reader_bytes());
        Reader {
            wire: Wire::new(input, output, settings.entry_bytes_max()),
            steps: VecDeque::with_capacity(3 * settings.slots() + 8),
            reply: NO_REPLY,
            current: None,
            telling: VecDeque::with_capacity(settings.slots()),
            own_last: EntryId::ZERO,
            expected: EntryId::ZERO,
            greetings_last: EntryId::ZERO,
            knows_greetings: false,
        }
    }
}

impl Backplane {
    /// The reader's connection is made: who we are is said, and where greetings begin is asked.
    pub(super) fn begin_reading(&mut self, now: Instant) {
        for _ in 0..introduce(&self.settings, &mut self.reader.wire) {
            self.reader.steps.push_back(Step::Greeting);
        }
        let out = self.reader.wire.output();
        resp::request(&[b"XREVRANGE", &self.keys.greetings, b"+", b"-", b"COUNT", b"1"], out);
        self.reader.steps.push_back(Step::Greetings);
        self.reader.wire.expect(now);
        self.begin_round(now);
    }

    /// The reader's connection is gone: what was asked for is asked for anew on the next.
    pub(super) fn forget_asked(&mut self) {
        if self.again {
            // Unless it can be told from what is known, it was never read.
            self.pending = self.pending.take().filter(|pending| !is_read(pending));
            self.again = self.pending.is_some();
        } else {
            self.finish_pending();
        }
        self.reader.steps.clear();
        self.reader.reply = NO_REPLY;
        self.reader.current = None;
        self.reader.own_last = EntryId::ZERO;
        self.reader.expected = EntryId::ZERO;
        self.reader.knows_greetings = false;
        for (_, channel) in &mut self.channels {
            channel.interrupt();
        }
    }

    /// A channel is read from the beginning: what was under way of it was never read.
    pub(super) fn abandon(&mut self, slot: usize) {
        if self.pending.as_ref().is_some_and(|pending| pending.slot() == Some(slot)) {
            self.pending = None;
            self.again = false;
        }
        let is_read = |current: &mut Current| match current.use_of {
            Use::Placed(read) | Use::Past(read, _) => read == slot,
            Use::Greetings => false,
        };
        self.reader.current.take_if(is_read);
    }

    /// Asks the next round of questions, if the last is answered and all of it was used.
    pub(super) fn begin_round(&mut self, now: Instant) {
        let is_first = !self.reader.knows_greetings;
        let owed = self.reader.steps.iter().filter(|step| !is_introduction(step)).count();
        let is_busy = self.pending.is_some()
            || self.reader.current.is_some()
            || !self.reader.telling.is_empty()
            || owed > 0;
        if !self.reader.wire.is_up() || is_busy {
            return;
        }
        self.ask_about_channels(now);
        let is_opening = self.channels.iter().any(|(_, channel)| {
            let waits = channel.phase == Phase::Start && !self.knows_time();
            channel.phase != Phase::Open && !waits
        });
        let blocks = !is_first && !is_opening;
        self.ask_for_entries(blocks);
        // A round that waits sees the next pulse if the last is deleted.
        let pulse = self.writer.pulse.filter(|_| blocks);
        self.reader.expected = pulse.map_or(EntryId::ZERO, |(id, _)| id);
        self.reader.wire.expect(now);
    }

    /// Channels that are closed, and have nothing more to say, end here.
    pub(super) fn end_channels(&mut self) {
        if !core::mem::take(&mut self.some_are_over) {
            return;
        }
        for slot in 0..self.channels.capacity() {
            if !self.channels.get(slot).is_some_and(Channel::is_over) {
                continue;
            }
            if self.is_in_use(slot) {
                self.some_are_over = true;
                continue;
            }
            let channel = self.channels.remove(slot);
            self.names.remove(&channel.name);
            if channel.is_listed {
                self.listed.retain(|listed| *listed != slot);
            }
        }
    }

    /// Whether something of a channel was read and not used. Replies that are still to come are no
    /// matter: they know the life of the channel that they were asked for.
    fn is_in_use(&self, slot: usize) -> bool {
        let of = |current: &Current| match current.use_of {
            Use::Placed(read) | Use::Past(read, _) => read == slot,
            Use::Greetings => false,
        };
        self.reader.current.as_ref().is_some_and(of)
            || self.pending.as_ref().is_some_and(|pending| pending.slot() == Some(slot))
            || self.reader.telling.contains(&slot)
            || self.reader.reply.stream == Stream::Channel(slot)
    }

    /// Whether the time by Redis' clock is known, if that matters: what is replayed must not be too
    /// old. The next pulse tells the time, and wakes the reader.
    fn knows_time(&self) -> bool {
        self.settings.history.is_none() || self.writer.clock.is_some()
    }

    fn ask_about_channels(&mut self, now: Instant) {
        let (mut pages, knows_time) = (0, self.knows_time());
        for (slot, channel) in &self.channels {
            let key = [&self.keys.channel[..], channel.name.as_bytes()];
            let (life, is_tested) = (channel.life, channel.is_to_be_tested(now));
            let (steps, out) = (&mut self.reader.steps, self.reader.wire.output());
            if is_tested {
                let mark = channel.mark_to_test(self.settings.history).map(|id| (id, false));
                for (id, is_newest) in mark.into_iter().chain([(channel.newest_read(), true)]) {
                    let id = id.text();
                    write_range(b"XRANGE", key, [id.as_bytes(), id.as_bytes()], 1, out);
                    steps.push_back(Step::Test { slot, life, is_newest });
                }
            }
            if pages == PAGES_MAX {
                continue;
            }
            match channel.phase {
                Phase::Open => continue,
                Phase::Start if !knows_time => continue,
                Phase::Start => {
                    write_range(b"XREVRANGE", key, [b"+", b"-"], PAGE_ENTRIES, out);
                    steps.push_back(Step::Back { slot, life });
                }
                Phase::Back(window) => {
                    let from = window.oldest.previous().unwrap_or(EntryId::ZERO).text();
                    let range = [from.as_bytes(), b"-"];
                    write_range(b"XREVRANGE", key, range, PAGE_ENTRIES, out);
                    steps.push_back(Step::Back { slot, life });
                }
                Phase::Forward { next, until, .. } => {
                    let (next, until) = (next.text(), until.text());
                    let range = [next.as_bytes(), until.as_bytes()];
                    write_range(b"XRANGE", key, range, PAGE_ENTRIES, out);
                    steps.push_back(Step::Forward { slot, life });
                }
            }
            pages += 1;
        }
        for (_, channel) in &mut self.channels {
            if channel.is_to_be_tested(now) {
                channel.begin_test(now);
            }
        }
    }

    fn ask_for_entries(&mut self, blocks: bool) {
        let open = self.channels.iter().filter(|(_, channel)| channel.phase == Phase::Open);
        let streams = 1 + usize::from(self.reader.knows_greetings) + open.count();
        let out = self.reader.wire.output();
        resp::request_of(4 + if blocks { 2 } else { 0 } + 2 * streams, out);
        resp::bulk(b"XREAD", out);
        resp::bulk(b"COUNT", out);
        resp::bulk_number(u64::from(READ_ENTRIES), out);
        if blocks {
            resp::bulk(b"BLOCK", out);
            resp::bulk_number(BLOCK_MS, out);
        }
        resp::bulk(b"STREAMS", out);
        resp::bulk(&self.keys.own, out);
        if self.reader.knows_greetings {
            resp::bulk(&self.keys.greetings, out);
        }
        for (_, channel) in &mut self.channels {
            channel.read_life = (channel.phase == Phase::Open).then_some(channel.life);
            if channel.read_life.is_some() {
                write_key([&self.keys.channel, channel.name.as_bytes()], out);
            }
        }
        resp::bulk(self.reader.own_last.text().as_bytes(), out);
        if self.reader.knows_greetings {
            resp::bulk(self.reader.greetings_last.text().as_bytes(), out);
        }
        for (_, channel) in &self.channels {
            if channel.read_life.is_some() {
                resp::bulk(channel.last.entry.text().as_bytes(), out);
            }
        }
        self.reader.steps.push_back(Step::Read);
    }

    /// The next thing to tell, out of what has come.
    pub(super) fn find(&mut self, now: Instant) -> Option<Pending> {
        loop {
            if let Some(pending) = self.find_told() {
                return Some(pending);
            }
            if self.reader.current.is_some() {
                if let Some(pending) = self.find_message() {
                    return Some(pending);
                }
                continue;
            }
            if self.reader.reply.is_over {
                self.finish_reply(now);
                continue;
            }
            self.reader.wire.release();
            match self.reader.wire.next() {
                Ok(Some((piece, depth, is_last))) => self.take_piece(now, piece, depth, is_last),
                Ok(None) => return None,
                Err(_) => {
                    self.fail_garbled(now, Line::Reader);
                    return None;
                }
            }
            // A line that was given up has nothing more to tell.
            if !self.reader.wire.is_up() {
                return None;
            }
        }
    }

    /// What is to be told of a channel before anything else.
    fn find_told(&mut self) -> Option<Pending> {
        while let Some(slot) = self.reader.telling.front().copied() {
            let channel = &self.channels[slot];
            if let Some(gap) = channel.gap.filter(|_| channel.is_wanted) {
                return Some(Pending::Lost(slot, gap));
            }
            if channel.phase == Phase::Open && !channel.is_told_open && channel.is_wanted {
                return Some(Pending::Opened(slot));
            }
            self.reader.telling.pop_front();
        }
        None
    }

    /// What was handed out is done with.
    pub(super) fn finish_pending(&mut self) {
        match self.pending.take() {
            Some(Pending::Message(found)) => self.finish_message(&found),
            Some(Pending::Greeting(..)) => self.step_greeting(),
            Some(Pending::Lost(slot, _)) => {
                self.counts.gaps += 1;
                self.channels[slot].gap = None;
            }
            Some(Pending::Opened(slot)) => self.channels[slot].is_told_open = true,
            Some(Pending::Away(_) | Pending::Report(_)) | None => {}
        }
    }

    pub(super) fn view_message(&self, found: &Found) -> Event<'_> {
        let channel = &*self.channels[found.slot].name;
        let (place, ticket) = (found.place, found.ticket);
        let bytes = self.reader.wire.slice(&found.bytes);
        match found.fate {
            Fate::Placed => Event::Placed { channel, place, ticket, bytes },
            Fate::Replayed => {
                let age_ms = self.reader_age_ms(place.entry);
                Event::Replayed { channel, place, age_ms, ticket, bytes }
            }
            Fate::Repeated(place) => {
                let ticket = ticket.expect("others are not told of repeats");
                Event::Repeated { channel, ticket, place }
            }
            Fate::Passed => Event::Passed { channel, place },
        }
    }

    /// How long before the last pulse an entry was added.
    fn reader_age_ms(&self, id: EntryId) -> u64 {
        self.writer.clock.map_or(0, |(pulse, _)| pulse.ms.saturating_sub(id.ms))
    }
}

/// Tokens, and the entries that they make.
impl Backplane {
    fn take_piece(&mut self, now: Instant, piece: Piece, depth: usize, is_last: bool) {
        let Some(&step) = self.reader.steps.front() else {
            // A server that is full, or going away, says so before it closes.
            return match piece {
                Piece::Error(trouble, words) => {
                    self.fail(now, Line::Reader, (trouble, words), true);
                }
                Piece::Plain | Piece::Bulk(_) | Piece::Nothing | Piece::Array(_) => {
                    self.fail_garbled(now, Line::Reader);
                }
            };
        };
        self.reader.reply.is_over = is_last;
        if let Piece::Error(trouble, words) = piece {
            return self.fail_by_error(now, Line::Reader, (trouble, words));
        }
        let base = match step {
            // Any reply will do that is no error.
            Step::Greeting => return,
            Step::Greetings | Step::Test { .. } | Step::Back { .. } | Step::Forward { .. } => 0,
            Step::Read => 2,
        };
        let is_whole = match (depth.checked_sub(base), piece) {
            // Streams and their keys.
            (None, piece) => {
                if let Piece::Bulk(range) = piece {
                    self.choose_stream(&range);
                }
                false
            }
            (Some(0), Piece::Bulk(range)) => {
                self.choose_stream(&range);
                false
            }
            (Some(0), _) => false,
            (Some(1), _) => {
                self.reader.reply.id = None;
                false
            }
            (Some(2), Piece::Bulk(range)) => {
                self.reader.reply.id = EntryId::parse(self.reader.wire.slice(&range));
                false
            }
            (Some(2), Piece::Array(fields)) => self.begin_fields(fields),
            (Some(2), _) => self.begin_fields(0),
            (Some(3), piece) => self.take_field(&piece),
            (Some(_), _) => {
                self.reader.reply.is_ours = false;
                false
            }
        };
        if is_whole {
            self.take_entry(now, step);
        }
    }

    /// A key begins the part of a reply that belongs to its stream.
    fn choose_stream(&mut self, range: &Range<usize>) {
        let key = self.reader.wire.slice(range);
        let stream = if *key == *self.keys.own {
            Stream::Own
        } else if *key == *self.keys.greetings {
            Stream::Greetings
        } else {
            let name = key.strip_prefix(&*self.keys.channel);
            let name = name.and_then(|name| str::from_utf8(name).ok());
            let slot = name.and_then(|name| self.names.get(name)).copied();
            slot.map_or(Stream::None, Stream::Channel)
        };
        self.reader.reply.stream = stream;
        self.reader.reply.entries = 0;
    }

    /// `true` if the entry is over already.
    fn begin_fields(&mut self, fields: u32) -> bool {
        let reply = &mut self.reader.reply;
        (reply.fields, reply.read, reply.value) = (fields, 0, None);
        reply.is_ours = fields == 2;
        fields == 0
    }

    /// `true` if the entry is over.
    fn take_field(&mut self, piece: &Piece) -> bool {
        let reply = &mut self.reader.reply;
        reply.read += 1;
        let bulk = match piece {
            Piece::Bulk(range) => Some(range.clone()),
            Piece::Plain | Piece::Error(..) | Piece::Nothing | Piece::Array(_) => None,
        };
        match (reply.read, bulk) {
            (1, Some(name)) if self.reader.wire.slice(&name) == b"m" => {}
            (2, Some(value)) => reply.value = Some(value),
            (_, Some(_) | None) => reply.is_ours = false,
        }
        reply.read == reply.fields
    }

    /// An entry is whole.
    fn take_entry(&mut self, now: Instant, step: Step) {
        let reply = &mut self.reader.reply;
        reply.entries += 1;
        let Some(id) = reply.id.filter(|id| *id != EntryId::ZERO) else {
            return self.fail_garbled(now, Line::Reader);
        };
        let value = reply.value.take().filter(|_| reply.is_ours);
        match step {
            Step::Greeting | Step::Test { .. } => {}
            Step::Greetings => self.reader.greetings_last = id,
            Step::Back { slot, life } => self.take_page_entry(now, (slot, life), id, value),
            Step::Forward { slot, life } => {
                let Some(channel) = self.channels.get(slot).filter(|c| c.life == life) else {
                    return;
                };
                let Phase::Forward { next, replay_from, .. } = channel.phase else { return };
                if id < next {
                    return self.fail_garbled(now, Line::Reader);
                }
                let is_replayed = replay_from.is_some_and(|from| from <= id);
                self.begin_entry(Use::Past(slot, is_replayed), id, value);
            }
            Step::Read => self.take_read_entry(now, id, value),
        }
    }

    /// An entry of a reply to XREAD.
    fn take_read_entry(&mut self, now: Instant, id: EntryId, value: Option<Range<usize>>) {
        match self.reader.reply.stream {
            Stream::None => {}
            Stream::Own => self.reader.own_last = id,
            Stream::Greetings => {
                self.reader.greetings_last = id;
                self.begin_entry(Use::Greetings, id, value);
            }
            Stream::Channel(slot) => {
                let is_full = self.reader.reply.entries == READ_ENTRIES;
                let Some(channel) = self.channels.get_mut(slot) else { return };
                // A gap was found meanwhile, or the channel was closed and opened again.
                if channel.phase != Phase::Open || channel.read_life != Some(channel.life) {
                    return;
                }
                channel.is_doubtful |= is_full;
                if id <= channel.last.entry {
                    return self.fail_garbled(now, Line::Reader);
                }
                self.begin_entry(Use::Placed(slot), id, value);
            }
        }
    }

    /// An entry of a page that is read backwards: only what it has is counted.
    fn take_page_entry(
        &mut self,
        now: Instant,
        (slot, life): (usize, u64),
        id: EntryId,
        value: Option<Range<usize>>,
    ) {
        let past = self.past(now);
        let Some(channel) = self.channels.get_mut(slot).filter(|c| c.life == life) else { return };
        let bytes = value.map(|range| self.reader.wire.slice(&range));
        let messages =
            bytes.and_then(|bytes| entry::read(bytes).ok()).map_or(1, |head| u64::from(head.count));
        let bytes = bytes.map_or(0, |bytes| bytes.len() as u64);
        // The last index is below the count, which fits.
        let newest = Place { entry: id, index: (messages - 1) as u32 };
        let replays = channel.gap.is_none();
        let past = super::channel::Past { history: past.history.filter(|_| replays), ..past };
        match &mut channel.phase {
            Phase::Start => {
                let mut window = Window::new(newest, &past);
                window.add(id, (messages, bytes), &past);
                channel.phase = Phase::Back(window);
            }
            Phase::Back(window) if id < window.oldest => {
                window.add(id, (messages, bytes), &past);
            }
            Phase::Back(_) | Phase::Forward { .. } | Phase::Open => {
                self.fail_garbled(now, Line::Reader);
            }
        }
    }

    /// The messages of an entry are to be handed out, if they can be.
    fn begin_entry(&mut self, use_of: Use, id: EntryId, value: Option<Range<usize>>) {
        let Some(bytes) = value else { return self.skip_entry(use_of, id, Fault::Unreadable) };
        let head = match entry::read(self.reader.wire.slice(&bytes)) {
            Ok(head) => head,
            Err(fault) => return self.skip_entry(use_of, id, fault),
        };
        match use_of {
            Use::Greetings if head.producer == self.producer => return,
            Use::Greetings => {}
            Use::Placed(slot) | Use::Past(slot, _) => {
                let channel = &mut self.channels[slot];
                let is_known = channel.phase == Phase::Open || channel.last.entry != EntryId::ZERO;
                if is_known && head.after > channel.last.entry {
                    match use_of {
                        Use::Past(_, true) => self.tell_gap(slot, Gap::Skipped),
                        Use::Placed(_) => return self.lose(slot, Gap::Skipped),
                        // Before the channel's start, or in a gap that is told.
                        Use::Past(_, false) | Use::Greetings => {}
                    }
                }
                self.channels[slot].memory.enter(id, head.producer);
            }
        }
        let (index, at) = (0, entry::HEAD_BYTES);
        self.reader.current = Some(Current { use_of, id, head, bytes, index, at });
    }

    /// Nothing of an entry can be used. One of a later version is no gap.
    fn skip_entry(&mut self, use_of: Use, id: EntryId, fault: Fault) {
        let (slot, is_told) = match use_of {
            Use::Greetings => return,
            Use::Placed(slot) => (slot, true),
            Use::Past(slot, is_replayed) => (slot, is_replayed),
        };
        let channel = &mut self.channels[slot];
        channel.memory.count(id);
        channel.pass(Place { entry: id, index: 0 });
        self.pass_forward(slot, id);
        match fault {
            Fault::Newer(version) => {
                self.counts.entries_newer += 1;
                if !core::mem::replace(&mut self.told_newer, true) {
                    self.newer = Some(version);
                }
            }
            Fault::Unreadable => {
                if is_told {
                    self.tell_gap(slot, Gap::Unreadable);
                }
            }
        }
    }

    fn tell_gap(&mut self, slot: usize, gap: Gap) {
        self.channels[slot].gap = Some(gap);
        self.reader.telling.push_back(slot);
    }

    /// A channel that is read forwards has come past this entry.
    fn pass_forward(&mut self, slot: usize, id: EntryId) {
        if let Phase::Forward { next, .. } = &mut self.channels[slot].phase {
            *next = id.next().unwrap_or(id);
        }
    }

    /// A reply is over, and all of it was used.
    fn finish_reply(&mut self, now: Instant) {
        let entries = self.reader.reply.entries;
        self.reader.reply = NO_REPLY;
        let Some(step) = self.reader.steps.pop_front() else { return };
        match step {
            Step::Greeting => {}
            Step::Greetings => self.reader.knows_greetings = true,
            Step::Test { slot, life, is_newest } => {
                match self.channels.get_mut(slot).filter(|channel| channel.life == life) {
                    Some(_) if entries == 0 => self.lose(slot, Gap::Vanished),
                    Some(channel) if is_newest => channel.pass_test(),
                    Some(_) | None => {}
                }
            }
            Step::Back { slot, life } => {
                if self.channels.get(slot).is_some_and(|channel| channel.life == life) {
                    self.finish_page_back(now, slot, entries);
                }
            }
            Step::Forward { slot, life } => {
                if self.channels.get(slot).is_some_and(|channel| channel.life == life) {
                    self.finish_page_forward(now, slot, entries);
                }
            }
            Step::Read => self.finish_round(now),
        }
        let owes = !self.reader.steps.is_empty();
        self.reader.wire.heard(now, owes);
    }

    fn finish_page_back(&mut self, now: Instant, slot: usize, entries: u32) {
        let channel = &mut self.channels[slot];
        match channel.phase {
            // Nothing was ever said.
            Phase::Start => {
                channel.memory.restart();
                self.finish_opening(now, slot, Place::default());
            }
            Phase::Back(window) if window.is_over || entries < PAGE_ENTRIES => {
                channel.memory.restart();
                channel.phase = window.forward();
            }
            Phase::Back(_) | Phase::Forward { .. } | Phase::Open => {}
        }
    }

    fn finish_page_forward(&mut self, now: Instant, slot: usize, entries: u32) {
        let channel = &self.channels[slot];
        let Phase::Forward { next, until, .. } = channel.phase else { return };
        // Behind the last id that there may be is none.
        if next > until || channel.last.entry >= until {
            self.finish_opening(now, slot, channel.last);
        } else if entries < PAGE_ENTRIES {
            // What was the newest is gone: all of it is looked for again.
            self.lose(slot, Gap::Vanished);
        }
    }

    /// A gap was found: the channel is read anew, and the gap is told then. Where nothing was told
    /// yet, nothing is missed.
    fn lose(&mut self, slot: usize, gap: Gap) {
        let is_missed = self.channels[slot].is_told_open || self.settings.history.is_some();
        let channel = &mut self.channels[slot];
        channel.gap = channel.gap.or(is_missed.then_some(gap));
        channel.read_anew();
        // If all is gone, so are the times to live.
        self.writer.forget_expiry();
    }

    /// A channel was read up to its newest entry: what is added from here on follows.
    fn finish_opening(&mut self, now: Instant, slot: usize, last: Place) {
        let channel = &mut self.channels[slot];
        channel.begin_open(now, last);
        self.reader.telling.push_back(slot);
        // An entry that was sent and is not among these may have been lost with the others.
        self.send_again(slot);
        self.list(slot);
    }

    /// A round is answered as a whole.
    fn finish_round(&mut self, now: Instant) {
        if self.reader.own_last < self.reader.expected {
            let deaf = (Trouble::Deaf, Words::new(b""));
            // Either may be the one that is at the wrong server.
            self.writer.wire.reconnect(now);
            self.forget_written();
            return self.fail(now, Line::Reader, deaf, true);
        }
        // Whoever has seen no pulse yet may be deaf.
        if self.reader.own_last != EntryId::ZERO {
            self.reader.wire.works(now);
        }
    }
}

/// Messages of the entry under way.
impl Backplane {
    /// The next message that is told, or the end of the entry.
    fn find_message(&mut self) -> Option<Pending> {
        let current = self.reader.current.clone().expect("an entry is under way");
        let entry_bytes = self.reader.wire.slice(&current.bytes);
        let (message, next_at) = entry::message_at(entry_bytes, current.at)
            .expect("an entry is read as a whole before its messages are");
        let key = message.key;
        let end = current.bytes.start + next_at;
        let bytes = end - message.bytes.len()..end;
        let slot = match current.use_of {
            Use::Greetings => return self.find_greeting(&bytes),
            Use::Placed(slot) | Use::Past(slot, _) => slot,
        };
        let channel = &self.channels[slot];
        let producer = current.head.producer;
        let number = current.head.first + u64::from(current.index);
        let place = Place { entry: current.id, index: u32::from(current.index) };
        let verdict = channel.memory.judge((producer, number), key, current.id.ms);
        let ticket = self.ticket_of(slot, (producer, number));
        let fate = match (verdict, current.use_of) {
            (Verdict::New, Use::Placed(_)) if channel.is_wanted || ticket.is_some() => {
                Some(Fate::Placed)
            }
            (Verdict::New, Use::Past(_, true)) if channel.is_wanted => Some(Fate::Replayed),
            (Verdict::SaidBefore(last), Use::Placed(_) | Use::Past(_, true))
                if channel.is_wanted && ticket.is_none() =>
            {
                // Those in a row are told of once.
                (number == last.min(current.head.last())).then_some(Fate::Passed)
            }
            (Verdict::New | Verdict::Seen | Verdict::SaidBefore(_), _) => {
                ticket.map(|_| Fate::Repeated(place))
            }
            (Verdict::Repeat(first), _) => ticket.map(|_| Fate::Repeated(first)),
        };
        // In front of the channel's start is what its readers have heard elsewhere or came after,
        // which is as good as said here. Nobody has heard what is in a gap.
        let is_in_gap = current.use_of == Use::Past(slot, false) && channel.gap.is_some();
        match verdict {
            Verdict::New => {}
            Verdict::Seen | Verdict::SaidBefore(_) => self.counts.messages_seen += 1,
            Verdict::Repeat(_) => self.counts.messages_repeated += 1,
        }
        let found = Found {
            slot,
            place,
            producer,
            number,
            key,
            ticket,
            fate: fate.unwrap_or(Fate::Placed),
            is_said: verdict == Verdict::New && !is_in_gap,
            bytes,
            next_at,
        };
        if fate.is_some() {
            return Some(Pending::Message(found));
        }
        self.finish_message(&found);
        None
    }

    /// The ticket of a message that was said here and was not read back yet.
    fn ticket_of(&self, slot: usize, (producer, number): (u64, u64)) -> Option<Ticket> {
        let sent = self.channels[slot].sent.filter(|_| producer == self.producer)?;
        let is_next = number == sent.first + u64::from(sent.placed);
        is_next.then(|| self.outbox.ticket(sent.next_record))
    }

    /// A message is done with: from now on it was read.
    fn finish_message(&mut self, found: &Found) {
        let channel = &mut self.channels[found.slot];
        let (number, place) = ((found.producer, found.number), found.place);
        channel.memory.note(number, found.key, place, found.is_said);
        if found.ticket.is_some() {
            self.finish_sent(found.slot);
        }
        self.step(found.place, found.next_at);
    }

    /// The next message of the entry that was sent was read back.
    fn finish_sent(&mut self, slot: usize) {
        let channel = &mut self.channels[slot];
        let Some(sent) = &mut channel.sent else { return };
        sent.placed += 1;
        if sent.placed < sent.count {
            let next = self.outbox.next(sent.next_record);
            sent.next_record = next.expect("an entry has as many messages as it says");
            return;
        }
        let mut record = Some(sent.record);
        for _ in 0..sent.count {
            let number = record.expect("an entry has as many messages as it says");
            record = self.outbox.next(number);
            self.outbox.finish(number);
        }
        channel.sent = None;
        self.some_are_over |= channel.is_over();
        self.list(slot);
    }

    /// Goes on to the next message of the entry under way, or past the entry.
    fn step(&mut self, place: Place, next_at: usize) {
        let Some(current) = &mut self.reader.current else { return };
        current.index += 1;
        current.at = next_at;
        if current.index < current.head.count {
            if let Use::Placed(slot) | Use::Past(slot, _) = current.use_of {
                self.channels[slot].begun = current.id;
            }
            return;
        }
        let (use_of, id, bytes) = (current.use_of, current.id, current.bytes.len() as u64);
        self.reader.current = None;
        self.counts.entries_read += 1;
        match use_of {
            Use::Greetings => {}
            Use::Placed(slot) | Use::Past(slot, _) => {
                let channel = &mut self.channels[slot];
                channel.pass(place);
                channel.count_entry(id.ms, bytes);
                self.pass_forward(slot, id);
            }
        }
    }

    /// A greeting for a channel that is open here, or the step past one that is for none.
    fn find_greeting(&mut self, range: &Range<usize>) -> Option<Pending> {
        let bytes = self.reader.wire.slice(range);
        let name = bytes.split_first().and_then(|(length, rest)| rest.get(..usize::from(*length)));
        let slot = name
            .and_then(|name| str::from_utf8(name).ok())
            .and_then(|name| self.names.get(name).copied())
            .filter(|slot| {
                let channel = &self.channels[*slot];
                channel.is_wanted && channel.is_told_open
            });
        let begin = 1 + name.map_or(0, <[u8]>::len);
        match slot {
            Some(slot) => Some(Pending::Greeting(slot, range.start + begin..range.end)),
            None => {
                self.step_greeting();
                None
            }
        }
    }

    fn step_greeting(&mut self) {
        let Some(current) = &self.reader.current else { return };
        let entry_bytes = self.reader.wire.slice(&current.bytes);
        let (_, next_at) = entry::message_at(entry_bytes, current.at)
            .expect("an entry is read as a whole before its messages are");
        self.step(Place::default(), next_at);
    }
}

/// Whether an event lies in what was read, and is read again if its line breaks.
fn is_read(pending: &Pending) -> bool {
    match pending {
        Pending::Message(_) | Pending::Greeting(..) => true,
        Pending::Lost(..) | Pending::Opened(_) | Pending::Away(_) | Pending::Report(_) => false,
    }
}

/// Whether a request is of those that go out as soon as there is a connection.
fn is_introduction(step: &Step) -> bool {
    match step {
        Step::Greeting | Step::Greetings => true,
        Step::Test { .. } | Step::Back { .. } | Step::Forward { .. } | Step::Read => false,
    }
}

/// Appends a request for at most so many entries of a range.
fn write_range(
    command: &[u8],
    key: [&[u8]; 2],
    [from, to]: [&[u8]; 2],
    entries: u32,
    out: &mut Vec<u8>,
) {
    resp::request_of(6, out);
    resp::bulk(command, out);
    write_key(key, out);
    resp::bulk(from, out);
    resp::bulk(to, out);
    resp::bulk(b"COUNT", out);
    resp::bulk_number(u64::from(entries), out);
}
