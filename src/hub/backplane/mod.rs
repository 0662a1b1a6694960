//! The order of messages is decided in Redis: each channel is a stream there, and every instance
//! reads it. This is what lies between a server and two connections to Redis, without either.
//!
//! ```text
//!   server                      backplane                        shell             Redis
//!   say, greet ────────────► outbox ──► requests ───────────► writer's line ────► XADD, EXPIRE
//!   open, close ───────────► channels ─► requests ──────────► reader's line ────► XREAD, XRANGE
//!   poll_event ◄──────────── memory ◄── entries ◄──────────── reader's line ◄──── replies
//! ```
//!
//! **The order.** A message is said, everywhere and here too, when it comes back from its channel's
//! stream; that Redis has taken it means nothing yet. What one turn has said in a channel is one
//! entry, and so is what was said while an entry of the channel was under way: one is under way at
//! a time, until it has been read back. After a broken connection it is sent again, with the same
//! numbers; whoever has it already drops it.
//!
//! **Gaps.** It is asked whether the entry that was read last is still there, on a new connection,
//! after a reply as large as may be, and every second; if it is not, entries may have been dropped
//! unread. Each entry names the last one that its producer had read, which must have been read here
//! too. A gap is told, the channel is read anew, and what follows stands behind the gap.
//!
//! **A pulse** is added to a stream of our own once a second, and must come back. A pulse wakes a
//! reader that waits, shows that entries are taken, tells the time by Redis' clock, and finds a
//! reader that is connected to a server which nobody writes to any more.
//!
//! Deals with: everything that is asked of Redis, and what the replies mean. Leaves to others: the
//! two sockets, names and addresses, TLS, what a message holds, and what clients are told.
//!
//! What it costs: buffers of fixed size ([`Settings::cost_bytes`]); once channels are open, nothing
//! is allocated. A message is copied twice on its way out, and on its way in not at all.
//!
//! The surprise: nothing is ever asked for by `$`, which means "whatever is the last by then". What
//! is added between two requests would be lost without a trace.

mod channel;
pub mod entry;
mod event;
mod line;
mod memory;
mod outbox;
mod reader;
mod writer;

use core::fmt;
use std::collections::{HashMap, VecDeque};

use slab::Slab;

pub use entry::{EntryId, Place};
pub use event::{
    Action, Event, Gap, Line, Report, SayError, Ticket, Trouble, WORDS_BYTES_MAX, Words,
};
pub use memory::{KEYS_MAX, PRODUCERS_MAX, WINDOW_ENTRIES, WINDOW_MS};

use super::{HashKey, is_channel_name};
use crate::limits::{CHANNEL_NAME_BYTES_MAX, History};
use crate::time::{Duration, Instant};
use channel::{Channel, Past, Stage};
use line::Wire;
use outbox::Outbox;
use reader::Reader;
use writer::Writer;

/// Bytes up to which messages are packed into one entry. A larger message has one to itself.
pub const ENTRY_BYTES: usize = 64 * 1024;

/// Bytes of messages that may wait for their place, at least; four of the largest if that is more.
const OUTBOX_BYTES_MIN: usize = 512 * 1024;

/// Bytes of greetings that go out together; more of a turn are dropped.
const GREETINGS_BYTES: usize = 16 * 1024;

/// Bytes of a request beside keys and values: lengths, words, ids.
const REQUEST_EXTRA_BYTES: usize = 256;

/// Bytes of the input beside the largest entry: a line, and room so that reads are not small.
const INPUT_EXTRA_BYTES: usize = 64 * 1024;

/// The most channels that may be open.
pub const CHANNELS_MAX: usize = 1024;

/// Channels that there may be beside those that are open, for what is said where nobody is: as long
/// as the message has no place. Otherwise a backend's message would wait for a channel to be
/// closed, and all messages behind it.
const PASSING_MAX: usize = 8;

/// The most bytes of the name that all keys begin with.
pub const NAME_BYTES_MAX: usize = 64;

/// What the operator decided about the backplane.
#[derive(Clone)]
pub struct Settings {
    /// The name that all keys begin with, in braces: 1 to [`NAME_BYTES_MAX`] bytes.
    pub name: Box<str>,
    /// The user, if AUTH is to name one.
    pub user: Option<Box<str>>,
    /// The password, if AUTH is to be said.
    pub password: Option<Box<[u8]>>,
    /// The number of the database; 0 is where every connection begins.
    pub database: u32,
    /// The most channels that are opened: at most [`CHANNELS_MAX`]. Those that were closed and
    /// still have something to say count.
    pub channels_max: usize,
    /// The most bytes of a message as it is given to [`Backplane::say`].
    pub message_bytes_max: usize,
    /// What is replayed of a channel that is opened; `None`: nothing.
    pub history: Option<History>,
    /// The most bytes that are replayed of a channel.
    pub history_bytes: u64,
}

/// Passwords are not shown.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "(set)"))
            .field("database", &self.database)
            .field("channels_max", &self.channels_max)
            .field("message_bytes_max", &self.message_bytes_max)
            .field("history", &self.history)
            .field("history_bytes", &self.history_bytes)
            .finish()
    }
}

impl Settings {
    /// All bytes that a backplane with these settings ever takes.
    pub fn cost_bytes(&self) -> u64 {
        let channel = size_of::<Channel>()
            + memory::Memory::BYTES_MAX
            + 2 * CHANNEL_NAME_BYTES_MAX
            // The slab and the map are up to twice as large as what is in them.
            + size_of::<Channel>()
            + 4 * size_of::<(Box<str>, usize)>();
        let lines = 2 * self.input_bytes() + self.writer_bytes() + self.reader_bytes();
        let lists = self.slots() * (size_of::<writer::Owed>() + size_of::<reader::Step>()) * 4;
        let all = size_of::<Backplane>()
            + self.slots() * channel
            + Outbox::cost_bytes(self.outbox_bytes())
            + lines
            + lists
            + GREETINGS_BYTES;
        all as u64
    }

    /// The most channels that there are.
    fn slots(&self) -> usize {
        self.channels_max + PASSING_MAX
    }

    fn outbox_bytes(&self) -> usize {
        OUTBOX_BYTES_MIN.max(4 * self.message_bytes_max)
    }

    /// The most bytes of an entry.
    fn entry_bytes_max(&self) -> usize {
        let single = entry::HEAD_BYTES + entry::MESSAGE_EXTRA_BYTES + self.message_bytes_max;
        single.max(ENTRY_BYTES)
    }

    fn input_bytes(&self) -> usize {
        self.entry_bytes_max() + INPUT_EXTRA_BYTES
    }

    fn key_bytes_max(&self) -> usize {
        self.name.len() + "{}:c:".len() + CHANNEL_NAME_BYTES_MAX
    }

    /// Room for an entry while others are on their way.
    fn writer_bytes(&self) -> usize {
        2 * (self.entry_bytes_max() + 2 * self.key_bytes_max() + REQUEST_EXTRA_BYTES)
    }

    /// Room for two questions about each channel, and for one about all of them.
    fn reader_bytes(&self) -> usize {
        (self.slots() + 4) * 3 * (self.key_bytes_max() + REQUEST_EXTRA_BYTES)
    }
}

/// Random numbers of one life of an instance.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    /// What the instance is known by in the streams. No two lives may have it in common.
    pub producer: u64,
    /// Where the spread of attempts to connect begins.
    pub jitter: u64,
    /// For the table of channels, whose names strangers choose.
    pub hash_key: HashKey,
}

/// What was counted since the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Entries that were added, those that were sent again included.
    pub entries_sent: u64,
    /// Entries that were sent again, since it was not known whether they had been taken.
    pub entries_resent: u64,
    /// Entries that were read, of all producers.
    pub entries_read: u64,
    /// Messages that were read and had been seen before: sent again by their producer.
    pub messages_seen: u64,
    /// Messages that were read and have the key of another.
    pub messages_repeated: u64,
    /// Gaps that were told.
    pub gaps: u64,
    /// Entries of a later version, which were skipped.
    pub entries_newer: u64,
    /// Greetings that were not sent: while away, or too many in a turn.
    pub greetings_dropped: u64,
    /// Connections that were lost or could not be made.
    pub failures: u64,
}

/// An event that was handed out and is not done with.
#[derive(Clone, Debug)]
enum Pending {
    /// A message of the entry under way.
    Message(reader::Found),
    /// A greeting for this channel, whose bytes lie here in the reader's input.
    Greeting(usize, core::ops::Range<usize>),
    /// A channel has a gap that is to be told.
    Lost(usize, Gap),
    /// A channel is open.
    Opened(usize),
    /// Whether everything works has changed.
    Away(bool),
    /// Something for the operator.
    Report(Report),
}

impl Pending {
    /// The channel that the event is about.
    fn slot(&self) -> Option<usize> {
        match self {
            Pending::Message(found) => Some(found.slot()),
            Pending::Greeting(slot, _) | Pending::Lost(slot, _) | Pending::Opened(slot) => {
                Some(*slot)
            }
            Pending::Away(_) | Pending::Report(_) => None,
        }
    }

    /// Whether somebody here waits for the event.
    fn is_answer(&self) -> bool {
        match self {
            Pending::Message(found) => found.is_answer(),
            Pending::Greeting(..)
            | Pending::Lost(..)
            | Pending::Opened(_)
            | Pending::Away(_)
            | Pending::Report(_) => false,
        }
    }
}

/// The state machine between a server and Redis.
#[derive(Debug)]
pub struct Backplane {
    settings: Settings,
    producer: u64,
    /// The number of the next message that is sent, at least 1.
    next_number: u64,
    jitter: u64,
    keys: Keys,
    channels: Slab<Channel>,
    names: HashMap<Box<str>, usize, HashKey>,
    outbox: Outbox,
    /// Channels that may have something to send, each once.
    listed: VecDeque<usize>,
    writer: Writer,
    reader: Reader,
    pending: Option<Pending>,
    /// Whether the pending event is to be handed out once more.
    again: bool,
    told_away: bool,
    /// How many channels there were, modulo 2^32.
    births: u32,
    /// Whether a channel may be over that is still here.
    some_are_over: bool,
    /// Entries of this version were seen, and it is to be told.
    newer: Option<u8>,
    told_newer: bool,
    no_expiry: Option<(Trouble, Words)>,
    counts: Counts,
}

/// The keys of all streams.
#[derive(Debug)]
struct Keys {
    /// In front of a channel's name.
    channel: Box<[u8]>,
    greetings: Box<[u8]>,
    /// The stream of this instance's pulses.
    own: Box<[u8]>,
}

impl Backplane {
    /// A backplane without a connection, which is away. All memory that it needs beside that of its
    /// channels is taken at once.
    ///
    /// # Panics
    /// If the settings are out of their bounds.
    pub fn new(settings: Settings, chance: Chance, now: Instant) -> Backplane {
        assert!((1..=NAME_BYTES_MAX).contains(&settings.name.len()));
        assert!((1..=CHANNELS_MAX).contains(&settings.channels_max));
        let name = &settings.name;
        let keys = Keys {
            channel: format!("{{{name}}}:c:").into_bytes().into(),
            greetings: format!("{{{name}}}:g").into_bytes().into(),
            own: format!("{{{name}}}:w:{:016x}", chance.producer).into_bytes().into(),
        };
        Backplane {
            producer: chance.producer,
            next_number: 1,
            jitter: chance.jitter,
            keys,
            channels: Slab::with_capacity(settings.slots()),
            names: HashMap::with_capacity_and_hasher(settings.slots(), chance.hash_key),
            outbox: Outbox::new(settings.outbox_bytes()),
            listed: VecDeque::with_capacity(settings.slots()),
            writer: Writer::new(&settings, now),
            reader: Reader::new(&settings),
            pending: None,
            again: false,
            told_away: true,
            births: 0,
            some_are_over: false,
            newer: None,
            told_newer: false,
            no_expiry: None,
            counts: Counts::default(),
            settings,
        }
    }

    // What the server asks.

    /// Opens a channel: [`Event::Opened`] says when that is done. `false` if there are as many as
    /// may be. A channel that was closed and is still here for what was said in it is opened anew.
    ///
    /// # Panics
    /// If it is open already, or the name is none of a channel.
    #[must_use]
    pub fn open(&mut self, now: Instant, name: &str) -> bool {
        assert!(is_channel_name(name));
        self.end_channels();
        match self.names.get(name) {
            Some(&slot) => {
                assert!(!self.channels[slot].is_wanted, "a channel is opened once");
                self.abandon(slot);
                self.channels[slot].reopen();
            }
            None if self.channels.len() >= self.settings.channels_max => return false,
            None => {
                self.add_channel(now, name);
            }
        }
        // The reader may be waiting for the channels that there were.
        self.writer.pulse_at = now;
        true
    }

    fn add_channel(&mut self, now: Instant, name: &str) -> usize {
        let slot = self.channels.insert(Channel::new(now, name, self.births));
        self.births = self.births.wrapping_add(1);
        self.names.insert(name.into(), slot);
        slot
    }

    /// Whether there is room for one more channel, whatever it is called.
    pub fn may_open(&self) -> bool {
        self.channels.len() < self.settings.channels_max
    }

    /// Whether a message of so many bytes would be taken for a channel. If not, it is as soon as
    /// others have their place.
    pub fn may_say(&self, name: &str, bytes: usize) -> bool {
        let is_known = self.names.contains_key(name);
        self.has_room(bytes) && (is_known || self.channels.len() < self.settings.slots())
    }

    /// Closes a channel, or gives up opening it. No event of it comes any more but for messages
    /// that were said in it here, which still are sent.
    pub fn close(&mut self, name: &str) {
        let Some(&slot) = self.names.get(name) else { return };
        self.channels[slot].is_wanted = false;
        // Nobody wants what was held, unless somebody waits for an answer.
        if let Some(Pending::Message(found)) = &mut self.pending {
            found.end_channel(slot);
        }
        let is_done = self.pending.as_ref().is_some_and(|pending| {
            pending.slot() == Some(slot) && !(self.again && pending.is_answer())
        });
        if is_done {
            self.again = false;
            self.finish_pending();
        }
        self.some_are_over |= self.channels[slot].is_over();
    }

    /// Whether a message of so many bytes would be taken.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.outbox.has_room(bytes)
    }

    /// Takes a message for a channel, which need not be open. It comes back as [`Event::Placed`] or
    /// [`Event::Repeated`] under the same ticket, or, if the channel is opened meanwhile, as
    /// [`Event::Replayed`]. `key` is the hash of the key that makes repeats within two minutes one
    /// message.
    ///
    /// # Errors
    /// Why the message is not taken. Nothing of it is kept.
    ///
    /// # Panics
    /// If the name is none of a channel.
    pub fn say(
        &mut self,
        now: Instant,
        name: &str,
        ticket: Ticket,
        message: &[u8],
        key: Option<u64>,
    ) -> Result<(), SayError> {
        assert!(is_channel_name(name));
        if message.len() > self.settings.message_bytes_max {
            return Err(SayError::TooLarge);
        }
        self.end_channels();
        if !self.may_say(name, message.len()) {
            return Err(SayError::Full);
        }
        let slot = match self.names.get(name) {
            Some(slot) => *slot,
            None => {
                let slot = self.add_channel(now, name);
                self.channels[slot].is_wanted = false;
                self.writer.pulse_at = now;
                slot
            }
        };
        self.outbox.push(&mut self.channels[slot].waiting, (ticket, key), message);
        self.list(slot);
        Ok(())
    }

    /// Sends a greeting to the other instances that have the channel open, outside of the order. It
    /// may get lost, and is dropped while the backplane is away.
    pub fn greet(&mut self, name: &str, greeting: &[u8]) {
        if !self.writer.put_greeting(name, greeting) {
            self.counts.greetings_dropped += 1;
        }
    }

    /// The next event; `None` until more has come. The one before is done with, unless
    /// [`Backplane::hold`] was called since.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event<'_>> {
        if !core::mem::take(&mut self.again) {
            self.finish_pending();
            self.pending = self.notice().or_else(|| self.find(now)).or_else(|| self.notice());
        }
        self.pending.as_ref().map(|pending| self.view(pending))
    }

    /// The last event cannot be used at the moment: it is handed out again by the next call of
    /// [`Backplane::poll_event`], before any other.
    pub fn hold(&mut self) {
        self.again = self.pending.is_some();
    }

    /// The channel of the event that is held, and whether that is a loss; `None` if none is held.
    pub fn held(&self) -> Option<(&str, bool)> {
        let pending = self.pending.as_ref().filter(|_| self.again)?;
        let is_loss = match pending {
            Pending::Lost(..) => true,
            Pending::Message(found) => found.is_passed(),
            Pending::Greeting(..) | Pending::Opened(_) | Pending::Away(_) | Pending::Report(_) => {
                false
            }
        };
        Some((&self.channels[pending.slot()?].name, is_loss))
    }

    /// Writes what is to be asked for and added, and does what is due. To be called at the end of
    /// each turn, when [`Backplane::poll_event`] has nothing more, and when the time of
    /// [`Backplane::poll_timeout`] is reached.
    pub fn end_turn(&mut self, now: Instant) {
        for line in Line::ALL {
            let Some(trouble) = self.wire(line).overdue(now) else { continue };
            // Whoever does not read cannot tell whether anything came. Part of a reply is no
            // reason to wait for the rest.
            if line == Line::Reader && self.pending.is_some() {
                self.reader.wire.heard(now, true);
            } else {
                self.fail(now, line, (trouble, Words::new(b"")), true);
            }
        }
        self.end_channels();
        self.begin_round(now);
        self.write(now);
    }

    /// Whether something can neither be added nor read at the moment.
    pub fn is_away(&self) -> bool {
        !(self.writer.wire.is_working() && self.reader.wire.is_working())
    }

    /// How many messages that were said here wait for their place.
    pub fn waiting(&self) -> usize {
        self.outbox.len()
    }

    /// What was counted since the beginning.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    // What the shell asks.

    /// What is to be done with the lines now; to be asked until there is nothing.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        for line in Line::ALL {
            let wire = self.wire_mut(line);
            if wire.poll_drop() {
                return Some(Action::Close(line));
            }
            if wire.poll_connect(now) {
                return Some(Action::Connect(line));
            }
        }
        None
    }

    /// The server that a line is to be connected to, `HOST:PORT` as MOVED has named it; with an
    /// empty host it is that of the server which said so. `None`: the configured one.
    pub fn moved_to(&self, line: Line) -> Option<&str> {
        self.wire(line).moved_to()
    }

    /// A line is connected, as was asked for.
    pub fn connected(&mut self, now: Instant, line: Line) {
        if !self.wire_mut(line).connected(now) {
            return;
        }
        match line {
            Line::Writer => self.begin_writing(now),
            Line::Reader => self.begin_reading(now),
        }
    }

    /// A line could not be connected, or was closed by the other side. `why` is the system's word
    /// for it.
    pub fn closed(&mut self, now: Instant, line: Line, why: &str) {
        let trouble = if self.wire(line).is_up() { Trouble::Closed } else { Trouble::Unreachable };
        self.fail(now, line, (trouble, Words::new(why.as_bytes())), false);
    }

    /// Where bytes that arrive on a line are to be put. Without room they have to wait until events
    /// were asked for; there is none without a connection. A buffer that is lent saves a copy of
    /// every message.
    pub fn room(&mut self, line: Line) -> &mut [u8] {
        self.wire_mut(line).room()
    }

    /// So many bytes were put into the room of a line that is connected.
    ///
    /// # Panics
    /// If there was less room, or the line is not connected.
    pub fn received(&mut self, now: Instant, line: Line, count: usize) {
        self.wire_mut(line).received(count);
        match line {
            Line::Writer => self.read_replies(now),
            Line::Reader => self.reader.wire.heard(now, true),
        }
    }

    /// What is to be sent on a line; empty if there is nothing, or no connection.
    pub fn unsent(&self, line: Line) -> &[u8] {
        if self.wire(line).is_up() { self.wire(line).unsent() } else { &[] }
    }

    /// So many bytes of [`Backplane::unsent`] were sent.
    ///
    /// # Panics
    /// If there were fewer.
    pub fn transmitted(&mut self, line: Line, count: usize) {
        self.wire_mut(line).transmitted(count);
    }

    /// When [`Backplane::end_turn`] and [`Backplane::poll_action`] are to be called at the latest.
    pub fn poll_timeout(&self) -> Instant {
        let pulse_at = if self.may_pulse() { self.writer.pulse_at } else { Instant::NEVER };
        self.writer.wire.poll_timeout().min(self.reader.wire.poll_timeout()).min(pulse_at)
    }

    /// Asserts what must hold between two calls.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self) {
        assert_eq!(self.names.len(), self.channels.len());
        for (slot, channel) in &self.channels {
            assert_eq!(self.names.get(&channel.name), Some(&slot));
            assert_eq!(channel.is_listed, self.listed.contains(&slot));
            assert!(channel.is_listed || !channel.may_send(), "whoever may send is listed");
        }
        assert!(self.listed.iter().all(|slot| self.channels.contains(*slot)));
    }

    fn wire(&self, line: Line) -> &Wire {
        match line {
            Line::Writer => &self.writer.wire,
            Line::Reader => &self.reader.wire,
        }
    }

    fn wire_mut(&mut self, line: Line) -> &mut Wire {
        match line {
            Line::Writer => &mut self.writer.wire,
            Line::Reader => &mut self.reader.wire,
        }
    }

    /// A line is of no use any more. `by_us`: its socket has to be dropped.
    fn fail(&mut self, now: Instant, line: Line, trouble: (Trouble, Words), by_us: bool) {
        self.counts.failures += 1;
        // A linear congruence is spread enough, and repeats for a test.
        self.jitter = self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let jitter = self.jitter >> 33;
        match line {
            Line::Writer => self.forget_written(),
            Line::Reader => self.forget_asked(),
        }
        self.wire_mut(line).fail(now, trouble, by_us, jitter);
    }

    /// An error came that is no answer to be lived with: to another server if the error names one,
    /// otherwise to the same again, later.
    fn fail_by_error(&mut self, now: Instant, line: Line, (trouble, words): (Trouble, Words)) {
        let names_another = trouble == Trouble::Moved;
        let address = address_of(words.as_bytes()).filter(|_| names_another).map(String::from);
        if let Some(address) = address
            && self.wire_mut(line).follow(now, &address)
        {
            match line {
                Line::Writer => self.forget_written(),
                Line::Reader => self.forget_asked(),
            }
            return;
        }
        self.fail(now, line, (trouble, words), true);
    }

    /// Puts a channel on the list of those that may have something to send.
    fn list(&mut self, slot: usize) {
        let channel = &mut self.channels[slot];
        if !channel.is_listed {
            channel.is_listed = true;
            self.listed.push_back(slot);
        }
    }

    /// What an entry under way has to go through once more, if it was sent.
    fn send_again(&mut self, slot: usize) {
        if let Some(sent) = &mut self.channels[slot].sent
            && sent.stage != Stage::Unsent
        {
            sent.stage = Stage::Unsent;
            self.list(slot);
        }
    }

    fn past(&self, now: Instant) -> Past {
        Past {
            history: self.settings.history,
            bytes_max: self.settings.history_bytes,
            redis_ms: self.redis_ms(now),
        }
    }

    /// The time by the clock of Redis, if a pulse has told it.
    fn redis_ms(&self, now: Instant) -> Option<u64> {
        let (id, at) = self.writer.clock?;
        Some(id.ms.saturating_add(now.since(at).as_millis()))
    }

    /// What is to be told beside what was read.
    fn notice(&mut self) -> Option<Pending> {
        if self.is_away() != self.told_away {
            self.told_away = !self.told_away;
            return Some(Pending::Away(self.told_away));
        }
        for line in Line::ALL {
            if let Some((trouble, words)) = self.wire_mut(line).poll_trouble() {
                return Some(Pending::Report(Report::Trouble(line, trouble, words)));
            }
        }
        if let Some((trouble, words)) = self.no_expiry.take() {
            return Some(Pending::Report(Report::NoExpiry(trouble, words)));
        }
        self.newer.take().map(|version| Pending::Report(Report::Newer(version)))
    }

    fn view(&self, pending: &Pending) -> Event<'_> {
        let name = |slot: usize| &*self.channels[slot].name;
        match pending {
            Pending::Message(found) => self.view_message(found),
            Pending::Greeting(slot, range) => {
                Event::Greeted { channel: name(*slot), bytes: self.reader.wire.slice(range) }
            }
            Pending::Lost(slot, how) => {
                let place = self.channels[*slot].last;
                Event::Lost { channel: name(*slot), place, how: *how }
            }
            Pending::Opened(slot) => {
                Event::Opened { channel: name(*slot), place: self.channels[*slot].last }
            }
            Pending::Away(true) => Event::Away,
            Pending::Away(false) => Event::Back,
            Pending::Report(report) => Event::Report(*report),
        }
    }
}

/// The address in `MOVED SLOT ADDRESS`.
fn address_of(error: &[u8]) -> Option<&str> {
    let text = str::from_utf8(error).ok()?;
    let mut words = text.split(' ');
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    words.nth(2).filter(|address| address.rsplit_once(':').is_some_and(|(_, port)| is_port(port)))
}

/// How long a channel's key lives without a message, in seconds.
fn expiry_s(history: Option<History>) -> u64 {
    let hour = Duration::from_secs(3600);
    let age = history.map_or(Duration::ZERO, |history| history.age);
    hour.max(age).as_millis() / 1000
}
