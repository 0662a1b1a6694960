//! What must be true of what the instances hear, from everything that was ever added to the
//! streams and from nothing else.
//!
//! A history is what a stream has had since it was last forgotten. Whoever goes from one message
//! to the next has heard everything that stands between the two in a history that has both. Where
//! none has both, something may be missing, and it is told: within the time in which a channel is
//! asked whether its last entries are still there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use elbow::hub::backplane::entry::{self, HEAD_BYTES, read};
use elbow::hub::backplane::{EntryId, Event, Gap, Place, Ticket, WINDOW_ENTRIES, WINDOW_MS};

use crate::redis::State;
use crate::world::{key, name};

/// Something that was said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) ticket: Ticket,
    pub(crate) id: u64,
    pub(crate) key: Option<u64>,
}

/// A message in a stream.
#[derive(Clone, Copy, Debug)]
struct Message {
    place: Place,
    id: u64,
    /// Whether it is to be said: nobody has said it before, nor another with its key.
    is_first: bool,
}

/// One channel's stream since it was last forgotten.
#[derive(Clone, Default, Debug)]
struct History {
    messages: Vec<Message>,
    entries: BTreeSet<EntryId>,
    /// Entries that cannot be read.
    broken: Vec<EntryId>,
    /// The highest number of each producer: one that comes late is old, whoever has heard it.
    seen: BTreeMap<u64, u64>,
    /// For each key: the time and the count of entries when it was last seen.
    keys: BTreeMap<u64, (u64, u64)>,
}

/// Who has a channel open, or has had it.
#[derive(Clone, Default, Debug)]
struct Listener {
    is_wanted: bool,
    is_open: bool,
    was_open: bool,
    last: Place,
    /// What was heard since the channel was opened, and what stands in front of that.
    heard: BTreeSet<u64>,
    /// What stood in the stream and was not heard when a gap was told: the gap speaks of it.
    told_missing: BTreeSet<u64>,
    /// What of that stands in another history now, and is said to nobody.
    passed: BTreeSet<u64>,
    /// What was said here and is not answered, oldest first.
    waiting: VecDeque<Said>,
    /// A gap that must be told.
    owed_gap: bool,
}

pub(crate) struct Oracle {
    /// For each channel, all its histories; the last is the present one.
    histories: Vec<Vec<History>>,
    listeners: Vec<Vec<Listener>>,
    /// What stands where, for each channel.
    placed: Vec<BTreeMap<Place, u64>>,
    keys: BTreeMap<u64, u64>,
    last_id: u64,
    /// Whether streams lose entries that are not old.
    is_cut: bool,
}

impl Oracle {
    pub(crate) fn new(instances: usize, channels: usize, is_cut: bool) -> Oracle {
        Oracle {
            histories: vec![vec![History::default()]; channels],
            listeners: vec![vec![Listener::default(); channels]; instances],
            placed: vec![BTreeMap::new(); channels],
            keys: BTreeMap::new(),
            last_id: 0,
            is_cut,
        }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn said(&mut self, number: usize, channel: usize, said: Said) {
        if let Some(key) = said.key {
            self.keys.insert(said.id, key);
        }
        self.listeners[number][channel].waiting.push_back(said);
    }

    pub(crate) fn open(&mut self, number: usize, channel: usize) {
        let listener = &mut self.listeners[number][channel];
        let (waiting, was_open) = (core::mem::take(&mut listener.waiting), listener.was_open);
        *listener = Listener { is_wanted: true, waiting, was_open, ..Listener::default() };
    }

    pub(crate) fn close(&mut self, number: usize, channel: usize) {
        let listener = &mut self.listeners[number][channel];
        listener.is_wanted = false;
        listener.is_open = false;
        listener.was_open = true;
    }

    pub(crate) fn was_open(&self, number: usize, channel: usize) -> bool {
        self.listeners[number][channel].was_open
    }

    /// Reads what was added since the last look.
    pub(crate) fn look(&mut self, state: &State) {
        for (channel, histories) in self.histories.iter_mut().enumerate() {
            let Some(stream) = state.streams.get(&key(channel)) else { continue };
            let history = histories.last_mut().expect("there is always one");
            for (id, fields) in stream.all.iter().skip(history.entries.len()) {
                history.add(*id, &fields[1], &self.keys);
            }
        }
    }

    /// Redis has another past from now on.
    pub(crate) fn begin_history(&mut self, state: &State) {
        for histories in &mut self.histories {
            histories.push(History::default());
        }
        self.look(state);
    }

    pub(crate) fn judge(&mut self, number: usize, event: &Event<'_>) {
        match *event {
            Event::Placed { channel, place, ticket, bytes } => {
                self.placed(number, channel_of(channel), place, ticket, bytes);
            }
            Event::Replayed { channel, place, ticket, bytes, .. } => {
                let channel = channel_of(channel);
                let listener = &self.listeners[number][channel];
                assert!(listener.is_wanted && !listener.is_open, "replayed before it is open");
                let id = self.stands(channel, place, bytes);
                self.answer(number, channel, ticket, Some(id));
                self.heard(
                    number,
                    channel,
                    place,
                    id,
                    listener_begins(&self.listeners[number][channel]),
                );
            }
            Event::Opened { channel, place } => self.opened(number, channel_of(channel), place),
            Event::Repeated { channel, ticket, place } => {
                let channel = channel_of(channel);
                let said = self.listeners[number][channel].waiting.front().copied();
                let said = said.expect("somebody waits for an answer");
                assert_eq!(said.ticket, ticket, "answers come in order");
                self.listeners[number][channel].waiting.pop_front();
                let first = self.id_at(channel, place).expect("something stands there");
                let is_itself = first == said.id;
                let has_its_key = said.key.is_some() && self.keys.get(&first) == said.key.as_ref();
                assert!(is_itself || has_its_key, "{first} is no repeat of {}", said.id);
            }
            Event::Passed { channel, place } => self.passed(number, channel_of(channel), place),
            Event::Lost { channel, place, how } => {
                self.lost(number, channel_of(channel), place, how)
            }
            Event::Greeted { channel, bytes } => {
                let channel = channel_of(channel);
                let greeting = str::from_utf8(bytes).expect("a text");
                assert!(greeting.starts_with(&format!("hello {channel} of ")));
                assert!(!greeting.ends_with(&format!("of {number}")), "nobody greets itself");
                assert!(self.listeners[number][channel].is_open);
            }
            Event::Away | Event::Back | Event::Report(_) => {}
        }
    }

    fn opened(&mut self, number: usize, channel: usize, place: Place) {
        let listener = &mut self.listeners[number][channel];
        assert!(listener.is_wanted && !listener.is_open, "opened once");
        assert!(place >= listener.last, "what was replayed is before the start");
        let had_replays = !listener.heard.is_empty();
        if !had_replays || place != listener.last {
            listener.last = place;
        }
        listener.is_open = true;
        let histories = &self.histories[channel];
        let is_there = |history: &History| history.entries.contains(&place.entry);
        let exists = place == Place::default() || histories.iter().any(is_there);
        assert!(exists, "a channel begins at an entry: {place}");
    }

    fn lost(&mut self, number: usize, channel: usize, place: Place, how: Gap) {
        let histories = &self.histories[channel];
        let listener = &mut self.listeners[number][channel];
        assert!(listener.is_wanted, "nobody is told who is not there");
        // One entry that cannot be read is not the gap that lies between two histories.
        let both = histories
            .iter()
            .any(|history| history.has(listener.last.entry) && history.has(place.entry));
        listener.owed_gap = how == Gap::Unreadable && (listener.owed_gap || !both);
        listener.last = place;
        if how != Gap::Unreadable {
            let all = histories.iter().flat_map(|history| &history.messages);
            let missing = all.map(|message| message.id).filter(|id| !listener.heard.contains(id));
            listener.told_missing.extend(missing);
        }
    }

    /// Messages up to this place are said to nobody: they were heard, or a gap told of them.
    fn passed(&mut self, number: usize, channel: usize, place: Place) {
        let id = self.id_at(channel, place).expect("something stands there");
        let listener = &mut self.listeners[number][channel];
        assert!(listener.is_wanted, "nobody is told who is not there");
        assert!(place > listener.last, "{place} is behind {}", listener.last);
        let is_known = listener.heard.contains(&id) || listener.told_missing.contains(&id);
        assert!(is_known, "{id} was not said here before, nor told to be missing");
        // Those in a row are told of once. Which of them were heard does not matter any more.
        let row = self.histories[channel].iter().flat_map(|history| &history.messages);
        let row = row.filter(|m| m.place > listener.last && m.place <= place);
        listener.passed.extend(row.map(|m| m.id).filter(|id| listener.told_missing.contains(id)));
        self.look_between(number, channel, place, None);
        self.listeners[number][channel].last = place;
    }

    fn placed(
        &mut self,
        number: usize,
        channel: usize,
        place: Place,
        ticket: Option<Ticket>,
        bytes: &[u8],
    ) {
        let id = self.stands(channel, place, bytes);
        self.answer(number, channel, ticket, Some(id));
        let listener = &self.listeners[number][channel];
        if !listener.is_wanted {
            assert!(ticket.is_some(), "a closed channel is told of its own messages only");
            return;
        }
        assert!(listener.is_open, "nothing is said before a channel is open");
        self.heard(number, channel, place, id, false);
    }

    /// A message is heard. `begins`: it is the first.
    fn heard(&mut self, number: usize, channel: usize, place: Place, id: u64, begins: bool) {
        let listener = &self.listeners[number][channel];
        assert!(place > listener.last, "{place} is behind {}", listener.last);
        assert!(!listener.heard.contains(&id), "{id} is heard twice");
        if !begins {
            self.look_between(number, channel, place, Some(id));
        }
        let listener = &mut self.listeners[number][channel];
        listener.last = place;
        listener.heard.insert(id);
    }

    /// Nothing stands between the last message and this one that was to be heard. The `id` of this
    /// one, if it is said.
    fn look_between(&mut self, number: usize, channel: usize, place: Place, id: Option<u64>) {
        let listener = &mut self.listeners[number][channel];
        let last = listener.last;
        let histories = &self.histories[channel];
        let both = histories
            .iter()
            .rev()
            .find(|history| history.has(last.entry) && history.has(place.entry));
        let missing = |history: &History, from: Place, to: Place| {
            let between = history.messages.iter().filter(|m| m.place > from && m.place < to);
            let is_known = |id| listener.heard.contains(id) || listener.passed.contains(id);
            let mut missed = between.filter(|m| m.is_first && !is_known(&m.id));
            let is_broken =
                history.broken.iter().any(|entry| *entry > from.entry && *entry < to.entry);
            (missed.next().copied(), is_broken)
        };
        match both {
            // Which history that is will be known when the gap is told.
            Some(_) if listener.owed_gap => {}
            Some(history) => {
                let (missed, is_broken) = missing(history, last, place);
                assert!(missed.is_none(), "nobody says that {missed:?} is missing before {place}");
                assert!(!is_broken, "nobody says that something cannot be read before {place}");
                let this = history.messages.iter().find(|message| message.place == place);
                let this = this.expect("it stands in the history");
                // What was cut off cannot be known by who came later.
                let may_be_said = id.is_none() || this.is_first || self.is_cut;
                assert!(may_be_said, "{id:?} was said before");
            }
            None => listener.owed_gap = true,
        }
    }

    /// What stands at a place stands there for everybody.
    fn stands(&mut self, channel: usize, place: Place, bytes: &[u8]) -> u64 {
        let id = u64::from_le_bytes(*bytes.first_chunk().expect("a message has a number"));
        assert!(bytes[8..].iter().all(|byte| *byte == id as u8), "the message is whole");
        let stands = *self.placed[channel].entry(place).or_insert(id);
        assert_eq!(stands, id, "everybody has one order");
        assert_eq!(self.id_at(channel, place), Some(id), "it stands in the stream");
        id
    }

    fn id_at(&self, channel: usize, place: Place) -> Option<u64> {
        let all = self.histories[channel].iter().flat_map(|history| &history.messages);
        all.rev().find(|message| message.place == place).map(|message| message.id)
    }

    /// Whoever has said it is told so, once and in order; nobody else is.
    fn answer(&mut self, number: usize, channel: usize, ticket: Option<Ticket>, id: Option<u64>) {
        let waiting = &mut self.listeners[number][channel].waiting;
        match ticket {
            Some(ticket) => {
                let said = waiting.pop_front().expect("somebody waits for an answer");
                assert_eq!((said.ticket, Some(said.id)), (ticket, id), "answers come in order");
            }
            None => assert!(
                waiting.iter().all(|said| Some(said.id) != id),
                "whoever said it is not answered"
            ),
        }
    }

    /// Nothing is under way any more.
    pub(crate) fn rest(&self) {
        for (number, listeners) in self.listeners.iter().enumerate() {
            for (channel, listener) in listeners.iter().enumerate() {
                let who = format!("{number} in {channel}");
                assert!(listener.waiting.is_empty(), "{who} waits for an answer");
                if !listener.is_wanted {
                    continue;
                }
                assert!(listener.is_open, "{who} is not open");
                assert!(!listener.owed_gap, "{who} lacks something, and was not told");
                let history = self.histories[channel].last().expect("there is always one");
                let behind = history.messages.iter().filter(|m| m.place > listener.last);
                let missed: Vec<_> =
                    behind.filter(|m| m.is_first && !listener.heard.contains(&m.id)).collect();
                assert!(missed.is_empty(), "{who} has not heard {missed:?}");
            }
        }
    }
}

impl History {
    /// Whether an entry stands in the history. In front of all of them it begins.
    fn has(&self, entry: EntryId) -> bool {
        entry == EntryId::ZERO || self.entries.contains(&entry)
    }

    fn add(&mut self, id: EntryId, value: &[u8], keys: &BTreeMap<u64, u64>) {
        let entries = self.entries.len() as u64;
        self.entries.insert(id);
        let head = match read(value) {
            Ok(head) => head,
            Err(entry::Fault::Newer(_)) => return,
            Err(entry::Fault::Unreadable) => return self.broken.push(id),
        };
        let mut at = HEAD_BYTES;
        for index in 0..head.count {
            let (message, next) = entry::message_at(value, at).expect("an entry is whole");
            at = next;
            let number = u64::from_le_bytes(*message.bytes.first_chunk().expect("a number"));
            assert_eq!(keys.get(&number).copied(), message.key, "a key goes with its message");
            let number_of = head.first + u64::from(index);
            let seen = self.seen.entry(head.producer).or_default();
            let is_new = number_of > *seen;
            *seen = number_of.max(*seen);
            let known = message.key.and_then(|key| self.keys.insert(key, (id.ms, entries)));
            let is_repeat = known
                .is_some_and(|(ms, at)| id.ms <= ms + WINDOW_MS && entries - at < WINDOW_ENTRIES);
            let place = Place { entry: id, index: u32::from(index) };
            self.messages.push(Message { place, id: number, is_first: is_new && !is_repeat });
        }
    }
}

/// Whether the listener has heard nothing yet.
fn listener_begins(listener: &Listener) -> bool {
    listener.heard.is_empty()
}

fn channel_of(text: &str) -> usize {
    (0..).find(|channel| name(*channel) == text).expect("a channel of ours")
}
