//! What must be true of what the clients of all instances hear, from everything that was ever added
//! to the streams and from nothing else.
//!
//! A *history* is what a stream has had since Redis last forgot something. Whoever goes from one
//! message to the next has heard everything that stands between the two in a history that has
//! both. Where none has both, something may be missing; that need not be known at once, but whoever
//! stays has to be told.
//!
//! The surprise: a plain WebSocket is not told where it begins. It begins no later than where any
//! history ended when its client read the 101, and at the first message that it hears.

use std::collections::{BTreeMap, BTreeSet};

use elbow::hub::backplane::entry::{HEAD_BYTES, message_at, read};
use elbow::hub::backplane::{EntryId, Place, WINDOW_MS};
use elbow::hub::envelope::{self, Content};

use crate::redis::State;

/// A message in a stream.
#[derive(Clone, Copy, Debug)]
struct Message {
    place: Place,
    id: u64,
    /// Whether no entry in front of this one has brought it already.
    is_first: bool,
    /// Whether an entry in front of this one has brought it, but so long before that nobody has to
    /// remember it who came in between.
    is_late: bool,
}

/// One channel's stream since Redis last forgot something.
#[derive(Clone, Default, Debug)]
struct History {
    /// In the order of their places.
    messages: Vec<Message>,
    entries: BTreeSet<EntryId>,
    /// For each producer, when it wrote what: the time of each entry, and its highest number.
    seen: BTreeMap<u64, Vec<(u64, u64)>>,
}

/// What one client has heard of its channel, over all the connections that went on where the one
/// before had stopped.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    channel: usize,
    /// How many messages had been ordered when the client came.
    came_at: usize,
    heard: BTreeSet<u64>,
    /// Whether the client was told on this connection that something is lost.
    was_told: bool,
    /// What it may hear once more: where it comes back to, nobody knows what it had heard of a
    /// history that is gone.
    may_hear_again: BTreeSet<u64>,
    /// What stood in gaps that the client was told of. In another history it may be taken for what
    /// was said.
    told_missing: BTreeSet<u64>,
    /// Where the client may be: one place, unless messages were heard without places that stand in
    /// several histories.
    stands: Vec<Stand>,
}

/// Where a client may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stand {
    /// The last message, or where reading began.
    last: Place,
    /// Whether `last` is that place, and not one that is no earlier.
    is_exact: bool,
    /// Whether something may be missing of which the client was not told.
    is_owed: bool,
}

/// What it means to hear a message behind another.
enum Verdict {
    /// Nothing is missing.
    Whole,
    /// No history has both.
    Apart,
    /// What is wrong.
    Wrong(String),
}

pub(crate) struct Oracle {
    /// For each channel, all its histories; the last is the present one.
    histories: Vec<Vec<History>>,
    /// What stands where, for each channel.
    placed: Vec<BTreeMap<Place, u64>>,
    /// For everything that has ever stood in a stream: how many messages came before it, and in
    /// which history it stood first.
    ordered: BTreeMap<u64, (usize, usize)>,
    last_id: u64,
}

impl Oracle {
    pub(crate) fn new(channels: usize) -> Oracle {
        Oracle {
            histories: vec![vec![History::default()]; channels],
            placed: vec![BTreeMap::new(); channels],
            ordered: BTreeMap::new(),
            last_id: 0,
        }
    }

    /// The number of a message that is about to be said.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Reads what was added since the last look.
    pub(crate) fn look(&mut self, state: &State) {
        for (channel, histories) in self.histories.iter_mut().enumerate() {
            let Some(stream) = state.streams.get(&key(channel)) else { continue };
            let present = histories.len() - 1;
            let history = &mut histories[present];
            for (id, fields) in stream.all.iter().skip(history.entries.len()) {
                for message in history.add(*id, &fields[1]) {
                    let stands = self.placed[channel].insert(message.place, message.id);
                    assert!(stands.is_none_or(|id| id == message.id), "two stand in one place");
                    let count = self.ordered.len();
                    self.ordered.entry(message.id).or_insert((count, present));
                }
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

    /// Whether a message has ever stood in a stream.
    pub(crate) fn is_ordered(&self, id: u64) -> bool {
        self.ordered.contains_key(&id)
    }

    /// Whether Redis has forgotten anything so far.
    pub(crate) fn has_forgotten(&self) -> bool {
        self.histories[0].len() > 1
    }

    /// Somebody begins to read: behind a place that it was told, or at one that it does not know.
    pub(crate) fn begin(&self, channel: usize, told: Option<Place>) -> Reader {
        // Whoever began to read what Redis has forgotten since then may learn of it only now.
        let ends = self.histories[channel].iter().filter_map(|history| history.messages.last());
        let end = ends.map(|message| message.place).max();
        let last = told.or(end).unwrap_or_default();
        if let Some(place) = told {
            self.assert_is_place(channel, place);
        }
        let stand = Stand { last, is_exact: told.is_some(), is_owed: false };
        let came_at = self.ordered.len();
        Reader {
            channel,
            came_at,
            heard: BTreeSet::new(),
            was_told: false,
            may_hear_again: BTreeSet::new(),
            told_missing: BTreeSet::new(),
            stands: vec![stand],
        }
    }

    /// Somebody is told that something is lost in front of a place.
    pub(crate) fn lost(&self, reader: &mut Reader, place: Place) {
        assert!(self.has_forgotten(), "nothing is lost");
        self.assert_is_place(reader.channel, place);
        let last = reader.last();
        let all = self.histories[reader.channel].iter().flat_map(|history| &history.messages);
        let in_gap = all.filter(|message| message.place > last && message.place <= place);
        let missing = in_gap.map(|message| message.id).filter(|id| !reader.heard.contains(id));
        reader.told_missing.extend(missing);
        reader.stands = vec![Stand { last: place, is_exact: true, is_owed: false }];
        reader.was_told = true;
    }

    /// Somebody hears a message; `told` is the place that is named with it.
    pub(crate) fn heard(&self, reader: &mut Reader, id: u64, told: Option<Place>) {
        assert!(self.is_ordered(id), "{id} is heard before it has a place");
        let is_new = !reader.heard.contains(&id) || reader.may_hear_again.remove(&id);
        assert!(is_new, "{id} is heard twice");
        let all = self.placed[reader.channel].iter();
        let places = all.filter(|(_, other)| **other == id).map(|(place, _)| *place);
        let places: Vec<Place> =
            places.filter(|place| told.is_none_or(|told| told == *place)).collect();
        assert!(!places.is_empty(), "{id} does not stand where it is said to: {told:?}");
        let (mut whole, mut apart, mut why) = (Vec::new(), Vec::new(), "out of order".to_owned());
        for stand in &reader.stands {
            let behind = |place: &&Place| !stand.is_exact || **place > stand.last;
            for place in places.iter().filter(behind) {
                let next = Stand { last: *place, is_exact: true, ..*stand };
                match self.step(reader, *stand, *place) {
                    Verdict::Whole => whole.push(next),
                    Verdict::Apart => apart.push(Stand { is_owed: true, ..next }),
                    Verdict::Wrong(text) => why = text,
                }
            }
        }
        let mut stands = if whole.is_empty() { apart } else { whole };
        stands.dedup();
        assert!(!stands.is_empty(), "{id} at {places:?}: {why}: {reader:?}");
        reader.stands = stands;
        reader.heard.insert(id);
    }

    /// Judges the way from the last message to the one at `place`.
    fn step(&self, reader: &Reader, stand: Stand, place: Place) -> Verdict {
        let histories = &self.histories[reader.channel];
        let all = histories.iter().enumerate().rev();
        let mut having = all.filter(|(_, history)| history.has(place.entry));
        let from = if stand.is_exact {
            let both = having.find(|(_, history)| history.has(stand.last.entry));
            both.map(|it| (it, stand.last))
        } else {
            // Where nobody knows where reading began, it began where both histories were one.
            having.next().map(|it| (it, it.1.end_before(stand.last)))
        };
        let Some(((number, history), from)) = from else { return Verdict::Apart };
        if stand.is_owed {
            return Verdict::Whole;
        }
        if let Some(missed) = self.missed(reader, number, from, Some(place)) {
            return Verdict::Wrong(format!(
                "nobody says that {missed:?} is missing before {place}"
            ));
        }
        let this = history.messages.iter().rev().find(|message| message.place == place);
        match this {
            Some(message) if message.is_first || message.is_late => Verdict::Whole,
            Some(message) => Verdict::Wrong(format!("{message:?} was said before")),
            None => Verdict::Wrong(format!("nothing stands at {place}")),
        }
    }

    /// A message between two places that the reader should have heard and has not.
    fn missed(
        &self,
        reader: &Reader,
        number: usize,
        from: Place,
        to: Option<Place>,
    ) -> Option<&Message> {
        let history = &self.histories[reader.channel][number];
        let begin = history.messages.partition_point(|message| message.place <= from);
        let behind = history.messages[begin..].iter();
        let between = behind.take_while(|message| to.is_none_or(|to| message.place < to));
        let mut new = between.filter(|message| message.is_first);
        new.find(|message| {
            !reader.heard.contains(&message.id) && !self.was_before(reader, number, message.id)
        })
    }

    /// Whether a message had its place in another history before the reader came, or in a gap that
    /// the reader was told of: then it may have been said before, and is not said again.
    fn was_before(&self, reader: &Reader, history: usize, id: u64) -> bool {
        let (count, first) = self.ordered[&id];
        (count < reader.came_at || reader.told_missing.contains(&id)) && first != history
    }

    /// What somebody has not heard and was not told of.
    pub(crate) fn lacks(&self, reader: &Reader) -> Option<String> {
        let mut lacks = reader.stands.iter().map(|stand| self.lacks_at(reader, *stand));
        let first = lacks.next().expect("it is somewhere")?;
        lacks.all(|other| other.is_some()).then_some(first)
    }

    fn lacks_at(&self, reader: &Reader, stand: Stand) -> Option<String> {
        if stand.is_owed {
            return Some(format!("lacks something before {}, and was not told", stand.last));
        }
        let number = self.histories[reader.channel].len() - 1;
        let history = &self.histories[reader.channel][number];
        let from = match (stand.is_exact, history.has(stand.last.entry)) {
            (false, _) => history.end_before(stand.last),
            (true, true) => stand.last,
            (true, false) => return Some(format!("is at {}, and was not told", stand.last)),
        };
        let missed = self.missed(reader, number, from, None)?;
        Some(format!("has not heard {missed:?}"))
    }

    /// Who is told where it is, is told a place that was one.
    fn assert_is_place(&self, channel: usize, place: Place) {
        let exists = self.histories[channel].iter().any(|history| history.has(place.entry));
        assert!(exists, "there is no entry at {place}");
    }
}

impl Reader {
    /// The client goes. Whatever it might still have been told, nobody knows that any more when it
    /// comes back: to an instance that has never been where Redis is no longer.
    pub(crate) fn leave(&mut self) {
        if core::mem::take(&mut self.was_told) || self.stands.iter().any(|stand| stand.is_owed) {
            self.may_hear_again.extend(&self.heard);
        }
        self.stands.iter_mut().for_each(|stand| stand.is_owed = false);
    }

    /// The last message, or where reading began.
    pub(crate) fn last(&self) -> Place {
        self.stands[0].last
    }
}

impl History {
    /// Whether an entry stands in the history. In front of all of them it begins.
    fn has(&self, entry: EntryId) -> bool {
        entry == EntryId::ZERO || self.entries.contains(&entry)
    }

    /// The last message at `place` or before it.
    fn end_before(&self, place: Place) -> Place {
        let behind = self.messages.partition_point(|message| message.place <= place);
        let last = behind.checked_sub(1).map(|at| self.messages[at].place);
        last.unwrap_or_default()
    }

    /// Takes in an entry; the messages that it brings.
    fn add(&mut self, id: EntryId, value: &[u8]) -> Vec<Message> {
        self.entries.insert(id);
        let head = read(value).expect("all entries are of ours");
        let mut at = HEAD_BYTES;
        let mut added = Vec::new();
        let seen = self.seen.entry(head.producer).or_default();
        for index in 0..head.count {
            let (message, next) = message_at(value, at).expect("an entry is whole");
            at = next;
            let number = head.first + u64::from(index);
            let last_seen =
                seen.iter().filter(|(_, last)| number <= *last).map(|(ms, _)| *ms).max();
            let is_late = last_seen.is_some_and(|ms| ms + WINDOW_MS < id.ms);
            let place = Place { entry: id, index: u32::from(index) };
            let id = id_of_envelope(message.bytes);
            added.push(Message { place, id, is_first: last_seen.is_none(), is_late });
        }
        seen.push((id.ms, head.last()));
        self.messages.extend(&added);
        added
    }
}

/// The key of a channel's stream.
pub(crate) fn key(channel: usize) -> Vec<u8> {
    format!("{{elbow}}:c:{}", name(channel)).into_bytes()
}

/// The name of a channel.
pub(crate) fn name(channel: usize) -> String {
    format!("c{channel}")
}

/// What is said: a number, and as many characters as follow from it.
pub(crate) fn text_of(id: u64) -> String {
    let length = (id * 37 % 200) as usize;
    format!("m{id} {}", "x".repeat(length))
}

/// The number of a text, which must be what was said.
pub(crate) fn id_of(text: &str) -> u64 {
    let number = text.strip_prefix('m').and_then(|rest| rest.split(' ').next());
    let id = number.and_then(|number| number.parse().ok()).expect("a message of ours");
    assert_eq!(text, text_of(id), "a message is whole");
    id
}

fn id_of_envelope(bytes: &[u8]) -> u64 {
    match envelope::decode(bytes).expect("an envelope of ours").1 {
        Content::Text(text) => id_of(str::from_utf8(text).expect("a text")),
        Content::Event { event, .. } => {
            let args = event.args.strip_prefix("[\"chat message\",\"");
            id_of(args.and_then(|args| args.strip_suffix("\"]")).expect("a chat message"))
        }
        Content::Binary(_) | Content::Greeting(_) => panic!("nobody says that"),
    }
}
