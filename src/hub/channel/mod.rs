//! One channel: its members, its feeds, and the sweep that visits every member after an append.
//!
//! A **sweep** goes through the list of members from its end to its beginning, in portions, while
//! the loop does other things. Meanwhile members come and go; where one leaves, the last member of
//! the list moves into the gap. Going backwards makes that harmless: the member that moves has been
//! visited already, or will be. What was appended during a sweep is new to the members that the
//! sweep had visited by then, so the next sweep stops where this one stood at the last append.
//!
//! There is a **feed** for each dialect that a member reads, made with its first reader and gone
//! with its last. Where history is kept, there is a **log** beside the feeds, from which a new feed
//! is filled, and a channel without members lives on until its log is empty. Offsets of different
//! feeds have nothing to do with each other, so a moment is remembered as one [`Mark`] per dialect.
//!
//! Publishers are held back for two reasons, each bounded. The sweep must not be lapped by what it
//! distributes. And a channel most of whose members do not read gets a second per half ring to
//! catch up, but no more: who does not read cannot silence the others.
//!
//! Leaves to others: where a reader begins (`start`), and what is different where the order is
//! decided elsewhere (`elsewhere`).

mod elsewhere;
mod start;

use super::log::Log;
use super::message::Form;
use super::{Address, DEFAULT_CHANNEL, Message, Moved, PublishError};
use crate::feed::{Feed, Mark};
use crate::id::{ConnId, Dialect, Member};
use crate::limits::GRACE_LIMIT;
use crate::pool::Pool;
use crate::position::{Epoch, Position, PositionText};
use crate::time::Instant;
use crate::wire::ws;

/// Entries for which the lists of a channel keep their memory, however few members there are.
const ROOM_KEPT: usize = 16;

/// A moment of a channel: one mark per dialect.
type Marks = [Mark; Dialect::ALL.len()];

/// A channel with at least one member, one that still keeps what was said in it, or one that is
/// being opened.
#[derive(Debug)]
pub struct Channel {
    name: Box<str>,
    /// The channel as Socket.IO clients call it: `/` and the name, for the default channel `/`
    /// alone.
    namespace: Box<str>,
    /// The address on whose account the channel was brought into being; `None` if on nobody's.
    brought_by: Option<Address>,
    /// The addresses on whose account the feeds were brought into being, by dialect.
    feeds_brought_by: [Option<Address>; Dialect::ALL.len()],
    /// How many messages there were, whoever reads them; greetings are not counted.
    number: u64,
    /// Where the newest message stands, or where the channel began.
    position: Position,
    /// How many greetings there were.
    greetings: u64,
    /// What was said lately; `None` where no history is kept.
    log: Option<Log>,
    /// The address on whose account the log was brought into being.
    log_brought_by: Option<Address>,
    /// Whether events of Socket.IO 4 end in their position.
    with_offset: bool,
    members: Vec<Member>,
    feeds: [Option<Feed>; Dialect::ALL.len()],
    /// How many members read each dialect; a dialect has a feed exactly while there are any.
    readers: [u32; Dialect::ALL.len()],
    sweep: Option<Sweep>,
    /// The dialects of which a reader has gone on from where it had been, perhaps elsewhere.
    returned: [bool; Dialect::ALL.len()],
    /// The heads up to which every member that was not blocked has been sent everything.
    completed: Marks,
    /// How many members are blocked with more than half a ring of lag, as sweeps found them.
    choked: u32,
    /// Until when publishers wait for choked members, if they do.
    grace_until: Option<Instant>,
    /// The heads when the last grace ended.
    grace_ended: Marks,
    /// Whether publishers of all channels are held back.
    closed: bool,
    standing: Standing,
    /// Until when somebody may wait for the channel to be opened, or to be let in.
    awaited_until: Instant,
    /// Whether the channel stands among those that are to be closed.
    to_close: bool,
    /// Publishers with something to say that are not read. The first list is of those that
    /// published nothing when they were last read, the second of those that did. All of the first
    /// are resumed before the second, so whoever says much does not stand in front of the others
    /// each time.
    paused: [Vec<ConnId>; 2],
}

/// How far a channel is from being read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// Where the channel begins is known.
    Open,
    /// Where the channel begins is decided elsewhere, and whoever decides that was asked or not.
    Opening { was_asked: bool },
}

/// A visit of members from the end of the list to its beginning.
///
/// `stop <= index`; members at `stop..index` are still to be visited.
#[derive(Clone, Copy, Debug)]
struct Sweep {
    index: usize,
    stop: usize,
    /// The heads when the sweep began.
    began: Marks,
    /// When the first message of the sweep was read, in microseconds of the turns' clock.
    since_us: u64,
    /// The sweep that follows, if something was appended during this one.
    again: Option<Again>,
}

/// What is known of a sweep before it begins: where it will stop, and when its first message was
/// read.
#[derive(Clone, Copy, Debug)]
struct Again {
    stop: usize,
    since_us: u64,
}

impl Channel {
    /// A channel without members, whose order is decided here.
    pub(super) fn new(name: &str, brought_by: Option<Address>, epoch: Epoch) -> Channel {
        let begin = Position::Local { epoch, seq: 0 };
        Channel::beginning(name, brought_by, begin, Standing::Open)
    }

    /// A channel whose order is decided elsewhere, before it is known where it begins.
    pub(super) fn opening(name: &str, brought_by: Option<Address>) -> Channel {
        let standing = Standing::Opening { was_asked: false };
        Channel::beginning(name, brought_by, Position::STREAM_START, standing)
    }

    fn beginning(
        name: &str,
        brought_by: Option<Address>,
        position: Position,
        standing: Standing,
    ) -> Channel {
        let space = if name == DEFAULT_CHANNEL { "" } else { name };
        Channel {
            name: name.into(),
            namespace: format!("/{space}").into(),
            brought_by,
            feeds_brought_by: [None; Dialect::ALL.len()],
            number: 0,
            position,
            greetings: 0,
            log: None,
            log_brought_by: None,
            with_offset: false,
            members: Vec::new(),
            feeds: [const { None }; Dialect::ALL.len()],
            readers: [0; Dialect::ALL.len()],
            sweep: None,
            returned: [false; Dialect::ALL.len()],
            completed: Marks::default(),
            choked: 0,
            grace_until: None,
            grace_ended: Marks::default(),
            closed: false,
            standing,
            awaited_until: Instant::default(),
            to_close: false,
            paused: [const { Vec::new() }; 2],
        }
    }

    /// Has the channel keep what is said in it, on the account of `brought_by`; with `with_offset`,
    /// events of Socket.IO 4 end in their position.
    pub(super) fn keep(&mut self, log: Log, brought_by: Option<Address>, with_offset: bool) {
        self.log = Some(log);
        self.log_brought_by = brought_by;
        self.with_offset = with_offset;
    }

    /// Whether readers of Socket.IO 4 are told where messages stand, and can come back with that.
    pub fn tells_offsets(&self) -> bool {
        self.with_offset
    }

    /// Whether some reader is told where messages stand.
    fn tells_positions(&self) -> bool {
        Dialect::ALL.into_iter().zip(&self.feeds).any(|(dialect, feed)| match dialect {
            Dialect::ElbowV1 | Dialect::EventStream => feed.is_some(),
            Dialect::SocketIo4 => feed.is_some() && self.with_offset,
            Dialect::Plain | Dialect::SocketIo3 => false,
        })
    }

    /// Adds a member and returns its index.
    ///
    /// # Panics
    /// If there is no feed of the dialect.
    pub(super) fn join(&mut self, member: Member, dialect: Dialect) -> u32 {
        assert!(self.feeds[dialect as usize].is_some(), "a feed is opened for the first reader");
        self.readers[dialect as usize] += 1;
        self.members.push(member);
        (self.members.len() - 1) as u32
    }

    /// Takes the member at `index` away. Returns whether its dialect's feed went with it, and
    /// which member has moved to its index.
    pub(super) fn leave(&mut self, index: u32, dialect: Dialect) -> (bool, Option<Moved>) {
        let gap = index as usize;
        self.members.swap_remove(gap);
        self.give_room_back();
        if let Some(sweep) = &mut self.sweep {
            // The member that fills the gap may not have been visited: both sweeps must pass it.
            sweep.index = sweep.index.min(self.members.len());
            sweep.stop = sweep.stop.min(gap).min(sweep.index);
            if let Some(again) = &mut sweep.again {
                again.stop = again.stop.min(gap);
            }
        }
        let number = dialect as usize;
        self.readers[number] -= 1;
        let last = self.readers[number] == 0;
        if last {
            self.feeds[number] = None;
            self.returned[number] = false;
        }
        if self.members.is_empty() {
            self.sweep = None;
        }
        (last, self.members.get(gap).map(|member| Moved { member: *member, index }))
    }

    /// Gives memory of the lists back when a crowd has left: it may be in another channel by now,
    /// whose lists have grown for it.
    fn give_room_back(&mut self) {
        let members = self.members.len().max(ROOM_KEPT);
        let shrink = |list: &mut Vec<ConnId>| list.shrink_to(2 * members);
        if self.members.capacity() > 4 * members {
            self.members.shrink_to(2 * members);
            self.paused.iter_mut().for_each(shrink);
        }
    }

    /// Gives all memory of the lists back. What members have in lists is counted as theirs, so a
    /// channel without members has none.
    ///
    /// # Panics
    /// If the channel has members, or publishers that wait.
    pub(super) fn give_lists_back(&mut self) {
        assert!(self.members.is_empty() && self.paused.iter().all(Vec::is_empty));
        self.members = Vec::new();
        self.paused = [const { Vec::new() }; 2];
    }

    /// Appends a message that fits to every feed in which it has a form, keeps it in the log, and
    /// counts it, also if it has no form for anybody. It was read at `read_us` of the turns' clock,
    /// and is said at `now`. It stands at `placed` if the order is decided in a stream. Returns
    /// whether that begins a sweep. On an error nothing is appended or counted.
    ///
    /// # Panics
    /// If only one of the channel and `placed` is of a stream, unless the message is a greeting.
    pub(super) fn publish(
        &mut self,
        pool: &mut Pool,
        (now, read_us): (Instant, u64),
        placed: Option<Position>,
        message: &Message<'_>,
    ) -> Result<bool, PublishError> {
        // A greeting has the position of the message before it.
        let number = self.number + u64::from(!message.is_greeting());
        let newest = match self.position {
            Position::Local { epoch, .. } => {
                assert_eq!(placed, None, "the order is decided here");
                Position::Local { epoch, seq: number }
            }
            Position::Stream { .. } if message.is_greeting() => self.position,
            Position::Stream { .. } => placed.expect("the order is decided in a stream"),
        };
        // Nothing but the records of some dialects has the position as text.
        let position = self.tells_positions().then(|| newest.text());
        let position = position.as_ref().map_or("", PositionText::as_str);
        let (namespace, with_offset) = (&*self.namespace, self.with_offset);
        let form = |dialect| Form { dialect, namespace, position, with_offset };
        let (mut encoded_bytes, mut told) = (0, false);
        for (dialect, feed) in Dialect::ALL.into_iter().zip(&self.feeds) {
            if feed.is_none() {
                continue;
            }
            let length = message.length(&form(dialect));
            told |= length > 0;
            if !dialect.is_in_parts() {
                encoded_bytes = encoded_bytes.max(length);
            }
        }
        let feeds = Dialect::ALL.into_iter().zip(&mut self.feeds);
        let mut feeds = feeds.filter_map(|(dialect, feed)| Some((dialect, feed.as_mut()?)));
        if encoded_bytes > 0 {
            // Encoding beside the ring costs one more copy per message, not per delivery.
            let buffer = pool.take_briefly(encoded_bytes).ok_or(PublishError::NoMemory)?;
            let mut record = pool.borrow_out(buffer);
            for (dialect, feed) in &mut feeds {
                append(feed, number, &form(dialect), message, &mut record);
            }
            pool.put_back(buffer, record);
            pool.give(buffer);
        } else {
            for (dialect, feed) in &mut feeds {
                append(feed, number, &form(dialect), message, &mut Vec::new());
            }
        }
        if let Some(log) = &mut self.log {
            log.append(number, newest, now, message);
        }
        if message.is_greeting() {
            self.greetings += 1;
        }
        (self.number, self.position) = (number, newest);
        Ok(told && self.appended(read_us))
    }

    /// Has publishers wait until a newcomer was visited who begins at `mark`, as soon as what it
    /// lacks and what they have said take more than half of the ring: the next messages could
    /// overtake it before it is sent anything. Returns whether that begins a sweep.
    pub(super) fn visit_first(&mut self, dialect: Dialect, mark: Mark, read_us: u64) -> bool {
        let number = dialect as usize;
        // Not everybody has been sent what stands behind the mark, also when the sweep is through
        // that has passed the newcomer's place in the list already.
        let lower = |place: &mut Mark| {
            if mark.offset < place.offset {
                *place = mark;
            }
        };
        lower(&mut self.completed[number]);
        if let Some(sweep) = &mut self.sweep {
            lower(&mut sweep.began[number]);
        }
        // Who lags less than that is found by the sweep of what is said next.
        let feed = self.feeds[number].as_ref().expect("a member's dialect has a feed");
        feed.lags_more_than(mark, 2) && self.appended(read_us)
    }

    /// Has every member visited, since something was appended. Returns whether that begins a sweep.
    fn appended(&mut self, read_us: u64) -> bool {
        match &mut self.sweep {
            Some(sweep) => {
                // Members from `index` on have been visited and need another sweep. Those below
                // it are visited in this one, which may not stop short of any of them now.
                let since_us = sweep.again.map_or(read_us, |again| again.since_us);
                sweep.again = Some(Again { stop: sweep.index, since_us });
                sweep.stop = 0;
                false
            }
            None => {
                self.begin_sweep(Again { stop: 0, since_us: read_us });
                true
            }
        }
    }

    /// How many members read a dialect.
    pub fn readers(&self, dialect: Dialect) -> u64 {
        u64::from(self.readers[dialect as usize])
    }

    /// How many members are told of newcomers.
    pub fn greeted(&self) -> u64 {
        let dialects = Dialect::ALL.into_iter().filter(|dialect| dialect.is_socketio());
        dialects.map(|dialect| self.readers(dialect)).sum()
    }

    /// Whether a sweep is under way.
    pub(super) fn is_swept(&self) -> bool {
        self.sweep.is_some()
    }

    /// The next member that the sweep visits; `None` when all were visited, or no sweep is under
    /// way.
    pub fn visit(&mut self) -> Option<Member> {
        let sweep = self.sweep.as_mut()?;
        if sweep.index == sweep.stop {
            return None;
        }
        sweep.index -= 1;
        Some(self.members[sweep.index])
    }

    /// Ends a sweep that has visited all members. Publishers that need not wait any more go to
    /// `resume`. Returns whether another sweep begins.
    pub fn finish_sweep(&mut self, now: Instant, mut resume: impl FnMut(ConnId)) -> bool {
        let Some(sweep) = self.sweep.take() else { return false };
        self.completed = sweep.began;
        if let Some(again) = sweep.again {
            self.begin_sweep(again);
        } else {
            self.completed = self.marks();
        }
        let due = self.has_moved_half(&self.grace_ended);
        if self.grace_until.is_none() && self.is_choked() && due {
            self.grace_until = Some(now.plus(GRACE_LIMIT));
        }
        if !self.holds_publishers() {
            self.resume_all(&mut resume);
        }
        self.sweep.is_some()
    }

    /// When the first message of the sweep under way was read, in microseconds of the turns' clock.
    pub fn sweep_since_us(&self) -> Option<u64> {
        self.sweep.map(|sweep| sweep.since_us)
    }

    /// Whether the publishers of this channel must not be read now.
    pub fn holds_publishers(&self) -> bool {
        self.closed || self.holds_messages()
    }

    /// Whether nothing may be published in this channel now: the sweep would be lapped, or members
    /// that do not read have time to catch up.
    pub fn holds_messages(&self) -> bool {
        self.is_lapping() || self.gives_grace()
    }

    /// Whether a message more might lap the sweep under way.
    pub(super) fn is_lapping(&self) -> bool {
        self.sweep.is_some() && self.has_moved_half(&self.completed)
    }

    /// Whether members that do not read have time to catch up.
    pub(super) fn gives_grace(&self) -> bool {
        self.grace_until.is_some() && self.is_choked()
    }

    /// Holds publishers back for a reason that is not the channel's, or does so no longer; those
    /// that need not wait any more go to `resume`.
    pub(super) fn close(&mut self, closed: bool, resume: &mut impl FnMut(ConnId)) {
        self.closed = closed;
        self.review(resume);
    }

    /// Remembers a publisher that is not read, until it is resumed. One that `had_its_say` is
    /// resumed after all that published nothing when they were last read.
    pub fn pause(&mut self, publisher: ConnId, had_its_say: bool) {
        self.paused[usize::from(had_its_say)].push(publisher);
    }

    /// Forgets a publisher that has ended or left. Returns whether it was among those that are not
    /// read.
    pub fn forget(&mut self, publisher: ConnId) -> bool {
        self.paused.iter_mut().any(|list| {
            let before = list.len();
            list.retain(|paused| *paused != publisher);
            list.len() < before
        })
    }

    /// Whether a publisher is among those that are not read. For checks.
    pub fn has_paused(&self, publisher: ConnId) -> bool {
        self.paused.iter().flatten().any(|paused| *paused == publisher)
    }

    /// Counts a member that was found blocked with more than half a ring of lag.
    pub fn count_choked(&mut self) {
        self.choked += 1;
    }

    /// Takes a choked member off the count: it has caught up or left. Publishers that need not wait
    /// any more go to `resume`.
    pub fn uncount_choked(&mut self, mut resume: impl FnMut(ConnId)) {
        self.choked -= 1;
        self.review(&mut resume);
    }

    /// Looks whether publishers need not wait any more, since members have come, gone or caught up.
    /// If so, those that wait go to `resume` at once: otherwise whoever speaks next would come
    /// before them.
    pub(super) fn review(&mut self, resume: &mut impl FnMut(ConnId)) {
        if self.grace_until.is_some() && !self.is_choked() {
            self.end_grace(resume);
        } else if !self.holds_publishers() {
            self.resume_all(resume);
        }
    }

    /// Ends the grace, for which publishers have waited long enough. If nothing else holds them
    /// back, they go to `resume`.
    pub(super) fn end_grace(&mut self, resume: &mut impl FnMut(ConnId)) {
        self.grace_until = None;
        self.grace_ended = self.marks();
        if !self.holds_publishers() {
            self.resume_all(resume);
        }
    }

    /// Hands all publishers that wait to `resume`, in the order of their turns.
    pub(super) fn resume_all(&mut self, resume: &mut impl FnMut(ConnId)) {
        self.paused.iter_mut().flat_map(|list| list.drain(..)).for_each(resume);
    }

    /// How many members are counted as choked.
    pub fn choked(&self) -> u32 {
        self.choked
    }

    /// Until when publishers wait for choked members, if they do.
    pub fn grace_until(&self) -> Option<Instant> {
        self.grace_until
    }

    /// The channel's name, without a slash.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is the channel of clients that name none.
    pub fn is_default(&self) -> bool {
        *self.name == *DEFAULT_CHANNEL
    }

    /// The address on whose account the channel was brought into being; `None` if on nobody's.
    pub(super) fn brought_by(&self) -> Option<Address> {
        self.brought_by
    }

    /// What the channel keeps; `None` where no history is kept.
    pub fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// Drops what is too old at `now`.
    pub(super) fn expire_log(&mut self, now: Instant) {
        if let Some(log) = &mut self.log {
            log.expire(now);
        }
    }

    /// When the channel ends, since nobody waits for it and nothing is kept any more; `None` while
    /// it has members.
    pub(super) fn over_at(&self) -> Option<Instant> {
        let kept_until = self.log.as_ref().and_then(Log::over_at).unwrap_or_default();
        self.members.is_empty().then(|| kept_until.max(self.stays_until()))
    }

    /// Whether the channel has ended at `now`. What is too old was dropped.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.over_at().is_some_and(|over_at| over_at <= now)
    }

    /// The channel's name; the channel has ended.
    pub(super) fn into_name(self) -> Box<str> {
        self.name
    }

    /// The address on whose account the log was brought into being.
    pub(super) fn log_brought_by(&self) -> Option<Address> {
        self.log_brought_by
    }

    /// Notes the address on whose account the feed of a dialect is brought into being.
    pub(super) fn set_feed_brought_by(&mut self, dialect: Dialect, address: Option<Address>) {
        self.feeds_brought_by[dialect as usize] = address;
    }

    /// Takes the address on whose account the feed of a dialect was; the feed has gone.
    pub(super) fn take_feed_brought_by(&mut self, dialect: Dialect) -> Option<Address> {
        self.feeds_brought_by[dialect as usize].take()
    }

    /// How many feeds and logs are on the account of any address.
    pub(super) fn feeds_brought(&self) -> usize {
        self.feeds_brought_by.iter().chain([&self.log_brought_by]).flatten().count()
    }

    /// The channel as Socket.IO clients call it, with a slash.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Where the newest message stands; before the first, where the channel began.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The feed of a dialect; `None` if no member reads it.
    pub fn feed(&self, dialect: Dialect) -> Option<&Feed> {
        self.feeds[dialect as usize].as_ref()
    }

    /// How many feeds the channel has.
    pub fn feeds(&self) -> usize {
        self.feeds.iter().flatten().count()
    }

    /// How many rings the channel has: its feeds, and its log.
    pub fn rings(&self) -> usize {
        self.feeds() + usize::from(self.log.is_some())
    }

    /// How many members the channel has.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the last member has left.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The members, by index.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Asserts what must hold between two calls, for the hub's check.
    pub fn check(&self) {
        let keeps_something = self.log.as_ref().is_some_and(|log| !log.is_empty());
        let is_awaited = self.awaited_until != Instant::default() || self.to_close;
        let has_reason = !self.members.is_empty() || keeps_something || is_awaited;
        assert!(has_reason, "a channel has a reason to be there");
        assert!(self.members.is_empty() || !self.is_opening(), "who comes early waits");
        if let Some(log) = &self.log {
            log.check(self.number);
        }
        if self.members.is_empty() {
            let lists =
                self.members.capacity() + self.paused.iter().map(Vec::capacity).sum::<usize>();
            assert_eq!(lists, 0, "lists are on the account of members");
        }
        assert!(self.choked as usize <= self.members.len());
        assert_eq!(self.readers.iter().sum::<u32>() as usize, self.members.len());
        for (feed, brought_by) in self.feeds.iter().zip(self.feeds_brought_by) {
            assert!(feed.is_some() || brought_by.is_none(), "what is gone is on nobody's account");
        }
        for (feed, readers) in self.feeds.iter().zip(self.readers) {
            assert_eq!(feed.is_some(), readers > 0);
            feed.iter().for_each(Feed::check);
        }
        for (dialect, feed) in Dialect::ALL.into_iter().zip(&self.feeds) {
            // Only readers of Socket.IO are told of greetings.
            let greetings = if dialect.is_socketio() { self.greetings } else { 0 };
            let records = feed.as_ref().map_or(0, |feed| feed.mark().seq.0);
            assert!(records <= self.number + greetings, "a record that nobody counted");
        }
        if let Some(sweep) = &self.sweep {
            assert!(sweep.stop <= sweep.index && sweep.index <= self.members.len());
        }
    }

    /// Whether more than half of the members are choked.
    fn is_choked(&self) -> bool {
        self.choked as usize * 2 > self.members.len()
    }

    /// Whether more than half of what any feed can hold was appended to it since `marks`.
    fn has_moved_half(&self, marks: &Marks) -> bool {
        self.feeds
            .iter()
            .zip(marks)
            .any(|(feed, mark)| feed.as_ref().is_some_and(|feed| feed.lags_more_than(*mark, 2)))
    }

    fn marks(&self) -> Marks {
        self.feeds.each_ref().map(|feed| feed.as_ref().map_or(Mark::default(), Feed::mark))
    }

    fn begin_sweep(&mut self, next: Again) {
        let index = self.members.len();
        let began = self.marks();
        let Again { stop, since_us } = next;
        let stop = stop.min(index);
        self.sweep = Some(Sweep { index, stop, began, since_us, again: None });
    }
}

/// Appends the record of a message, if it has one in this form. `encoded` has room for it, unless
/// the dialect needs no encoding.
fn append(
    feed: &mut Feed,
    number: u64,
    form: &Form<'_>,
    message: &Message<'_>,
    encoded: &mut Vec<u8>,
) {
    let mut header = [0; ws::HEADER_BYTES_MAX];
    if let Some(parts) = message.in_parts(form, &mut header) {
        return feed.append(number, &parts);
    }
    encoded.clear();
    message.encode(form, encoded);
    if !encoded.is_empty() {
        feed.append(number, &[encoded]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Recovery, Since, Start, Wish};
    use super::*;
    use crate::id::Reader;
    use crate::limits::History;
    use crate::time::Duration;
    use std::collections::HashMap;

    const PLAIN: Dialect = Dialect::Plain;

    const NOW: Instant = Instant::from_millis(0);

    /// Adds a member, for whose dialect a feed of `feed_bytes` is made if there is none.
    fn enter(channel: &mut Channel, member: Member, dialect: Dialect, feed_bytes: usize) -> u32 {
        if channel.feed(dialect).is_none() {
            channel.open_feed(&mut Pool::new(0), dialect, feed_bytes, true);
        }
        channel.join(member, dialect)
    }

    /// A small generator with a seed: the test's only source of chance.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % n as u64) as usize
        }
    }

    fn conn(slot: u32) -> Member {
        Member::new(Reader::Conn(slot))
    }

    fn slot(member: Member) -> u32 {
        let Reader::Conn(slot) = member.reader() else { panic!("{member:?}") };
        slot
    }

    fn said(channel: &Channel) -> u64 {
        channel.feed(PLAIN).map_or(0, |feed| feed.mark().seq.0)
    }

    #[test]
    fn a_crowd_that_has_gone_leaves_no_lists_behind() {
        let mut channel = Channel::new("test", None, Epoch(7));
        for slot in 0..10_000 {
            enter(&mut channel, conn(slot), PLAIN, 4096);
        }
        let id = |slot| ConnId { slot, generation: 0 };
        (0..10_000).for_each(|slot| channel.pause(id(slot), slot % 2 == 0));
        channel.resume_all(&mut |_| {});
        let mut reallocations = 0;
        let mut before = channel.members.capacity();
        while channel.len() > 1 {
            channel.leave(0, PLAIN);
            reallocations += usize::from(channel.members.capacity() != before);
            before = channel.members.capacity();
        }
        assert!(reallocations < 12, "{reallocations} times it was made smaller");
        let paused = channel.paused.iter().map(Vec::capacity).max();
        assert!(channel.members.capacity() <= 64 && paused <= Some(64));
    }

    #[test]
    fn every_member_is_visited_after_every_append_however_members_come_and_go() {
        for seed in 1..300 {
            let (mut dice, mut pool) = (Dice(seed), Pool::new(0));
            let mut channel = Channel::new("test", None, Epoch(7));
            enter(&mut channel, conn(0), PLAIN, 4096);
            // For each slot: its index, and the sequence up to which it was given everything.
            let mut model: HashMap<u32, (u32, u64)> = HashMap::from([(0, (0, 0))]);
            let mut next_slot = 1;
            for _ in 0..400 {
                match dice.below(8) {
                    0 | 1 => {
                        let index = enter(&mut channel, conn(next_slot), PLAIN, 4096);
                        model.insert(next_slot, (index, said(&channel)));
                        next_slot += 1;
                    }
                    2 if model.len() > 1 => {
                        let gone = slot(channel.members[dice.below(channel.members.len())]);
                        let (index, _) = model.remove(&gone).unwrap();
                        if let (_, Some(moved)) = channel.leave(index, PLAIN) {
                            model.get_mut(&slot(moved.member)).unwrap().0 = moved.index;
                        }
                    }
                    3 => {
                        channel.publish(&mut pool, (NOW, 0), None, &Message::Text(b"x")).unwrap();
                    }
                    _ => visit(&mut channel, &mut model, 1 + dice.below(3)),
                }
            }
            while channel.sweep.is_some() {
                visit(&mut channel, &mut model, 10);
            }
            for (slot, (_, seq)) in &model {
                assert_eq!(*seq, said(&channel), "seed {seed}: slot {slot} missed some");
            }
        }
    }

    fn visit(channel: &mut Channel, model: &mut HashMap<u32, (u32, u64)>, portion: usize) {
        for _ in 0..portion {
            match channel.visit() {
                Some(member) => model.get_mut(&slot(member)).unwrap().1 = said(channel),
                None => {
                    channel.finish_sweep(Instant::default(), |_| {});
                    let completed = channel.completed[PLAIN as usize].seq.0;
                    let behind = model.values().filter(|(_, seq)| *seq < completed);
                    assert_eq!(behind.count(), 0, "a sweep that is through has reached everyone");
                    return;
                }
            }
        }
    }

    #[test]
    fn a_room_that_does_not_read_is_waited_for_once_per_half_ring() {
        let mut channel = Channel::new("test", None, Epoch(7));
        for slot in 0..3 {
            enter(&mut channel, conn(slot), PLAIN, 1024);
        }
        let publish = |channel: &mut Channel, now| {
            let message = Message::Binary(&[0; 198]);
            channel.publish(&mut Pool::new(0), (NOW, 0), None, &message).unwrap();
            while channel.visit().is_some() {}
            channel.finish_sweep(now, |_| panic!("nobody waits"));
        };
        let now = Instant::from_millis(1000);
        (0..3).for_each(|_| publish(&mut channel, now));
        assert!(!channel.holds_publishers());
        (0..2).for_each(|_| channel.count_choked());
        publish(&mut channel, now);
        assert!(channel.holds_publishers());
        channel.pause(ConnId { slot: 9, generation: 0 }, false);

        let mut resumed = Vec::new();
        channel.end_grace(&mut |id| resumed.push(id));
        assert_eq!(resumed.len(), 1);
        (0..2).for_each(|_| publish(&mut channel, now));
        assert!(!channel.holds_publishers(), "half a ring is free before the next grace");
        publish(&mut channel, now);
        assert!(channel.holds_publishers());
        channel.uncount_choked(|_| {});
        assert!(!channel.holds_publishers(), "half of the channel reads again");
    }

    #[test]
    fn messages_are_numbered_whoever_reads_them() {
        let mut channel = Channel::new("test", None, Epoch(7));
        let mut pool = Pool::new(4096);
        let mut say = |channel: &mut Channel, message: &Message<'_>| {
            channel.publish(&mut pool, (NOW, 0), None, message).unwrap();
            channel.check();
            channel.number
        };
        let args = Message::Event { args: "[\"typing\"]", attachments: &[], plain: None };
        enter(&mut channel, conn(0), PLAIN, 1024);
        assert_eq!(channel.position(), Position::Local { epoch: Epoch(7), seq: 0 });
        assert_eq!(say(&mut channel, &Message::Text(b"x")), 1);
        assert_eq!(
            say(&mut channel, &Message::Greeting(r#"["hi"]"#)),
            1,
            "a greeting has no number"
        );
        // Nobody who is there could be sent this.
        assert_eq!(say(&mut channel, &args), 2);
        let index = enter(&mut channel, conn(1), Dialect::SocketIo4, 1024);
        assert_eq!(say(&mut channel, &Message::Greeting(r#"["hi"]"#)), 2);
        assert_eq!(say(&mut channel, &args), 3);
        // A feed that is made anew begins at zero, the channel does not.
        channel.leave(index, Dialect::SocketIo4);
        enter(&mut channel, conn(1), Dialect::SocketIo4, 1024);
        assert_eq!(say(&mut channel, &Message::Binary(b"y")), 4);
        assert_eq!(channel.feed(Dialect::SocketIo4).unwrap().mark().seq.0, 1);
        assert_eq!(channel.feed(PLAIN).unwrap().mark().seq.0, 2);
        // What is appended nowhere has no number.
        let refused = channel.publish(&mut Pool::new(0), (NOW, 0), None, &Message::Text(b"z"));
        assert_eq!((refused, channel.number), (Err(PublishError::NoMemory), 4));
    }

    #[test]
    fn a_feed_that_is_made_late_holds_what_one_has_that_was_there_all_the_time() {
        let history = History { messages_max: 12, age: Duration::from_secs(60) };
        let pieces: [&[u8]; 1] = [b"piece"];
        let (args, plain) = (r#"["chat message","a\nb"]"#, Some((ws::Kind::Text, &b"a\nb"[..])));
        let messages = [
            Message::Text(b"one\ntwo"),
            Message::Binary(b"\x01"),
            Message::Event { args, attachments: &[], plain },
            Message::Event { args: r#"["typing"]"#, attachments: &[], plain: None },
            Message::Event {
                args: r#"["b",{"_placeholder":true,"num":0}]"#,
                attachments: &pieces,
                plain: None,
            },
        ];
        for (feed_bytes, count) in [(4096, 7), (4096, 40), (1024, 40)] {
            for late in Dialect::ALL {
                let mut pool = Pool::new(1 << 20);
                let mut channel = Channel::new("test", None, Epoch(7));
                channel.keep(Log::new(history, feed_bytes), None, true);
                for dialect in Dialect::ALL {
                    enter(&mut channel, conn(dialect as u32), dialect, feed_bytes);
                }
                for number in 0..count {
                    let message = &messages[number % messages.len()];
                    channel.publish(&mut pool, (NOW, 0), None, message).unwrap();
                    channel.check();
                }
                let log = channel.log().unwrap();
                let numbered = Feed::numbered(feed_bytes, log.missing());
                let filled = channel.filled(&mut pool, late, numbered);
                filled.check();
                let begin = channel.feed(late).unwrap().after(log.missing());
                let text = |feed: &Feed, begin: Mark| {
                    let (first, second) = feed.slices(begin.offset, feed.head());
                    [first, second].concat()
                };
                let there = text(channel.feed(late).unwrap(), begin);
                let made = text(&filled, filled.first());
                // The ring may have room for less than the log, whose records are shorter.
                assert!(there.ends_with(&made) || made.ends_with(&there), "{late:?}");
                assert!(made.len().min(there.len()) * 3 >= made.len().max(there.len()), "{late:?}");
                assert_eq!(pool.lent_bytes(), 0);
            }
        }
    }

    #[test]
    fn where_a_reader_begins_depends_on_what_it_comes_back_with() {
        let history = History { messages_max: 4, age: Duration::from_secs(60) };
        let mut pool = Pool::new(1 << 20);
        let mut channel = Channel::new("test", None, Epoch(7));
        channel.keep(Log::new(history, 1024), None, false);
        enter(&mut channel, conn(0), Dialect::ElbowV1, 1024);
        let typing = Message::Event { args: r#"["typing"]"#, attachments: &[], plain: None };
        for message in [Message::Text(b"1"), Message::Text(b"2"), typing, Message::Text(b"4")] {
            channel.publish(&mut pool, (NOW, 0), None, &message).unwrap();
        }
        for message in [typing, Message::Text(b"6")] {
            channel.publish(&mut pool, (NOW, 0), None, &message).unwrap();
        }
        let position = |epoch, seq| Position::Local { epoch: Epoch(epoch), seq };
        let since = |epoch, seq| Some(Since::Position(position(epoch, seq)));
        let begun = |since, last| {
            let Start { position, recovery, missed, .. } =
                channel.start(Dialect::ElbowV1, Wish { since, last });
            let Position::Local { seq, .. } = position else { panic!("{position}") };
            (seq, recovery, missed)
        };
        // Kept are 3 to 6, of which 4 and 6 have a form.
        assert_eq!(begun(None, 0), (6, None, 0));
        assert_eq!(begun(since(7, 6), 0), (6, Some(Recovery::Whole), 0));
        assert_eq!(begun(since(7, 5), 9), (5, Some(Recovery::Whole), 1));
        assert_eq!(begun(since(7, 2), 0), (2, Some(Recovery::Whole), 2));
        assert_eq!(begun(since(7, 1), 0), (6, Some(Recovery::Gone), 0));
        assert_eq!(begun(since(7, 1), 1), (5, Some(Recovery::Gone), 1));
        assert_eq!(begun(since(7, 7), 0), (6, Some(Recovery::Unknown), 0));
        assert_eq!(begun(since(8, 6), 9), (3, Some(Recovery::Unknown), 2));
        assert_eq!(begun(Some(Since::Unknown), 0), (6, Some(Recovery::Unknown), 0));
        assert_eq!(
            (begun(None, 1), begun(None, 2), begun(None, 3)),
            ((5, None, 1), (3, None, 2), (3, None, 2))
        );
    }

    #[test]
    fn a_dialect_has_a_feed_while_somebody_reads_it() {
        let mut channel = Channel::new("test", None, Epoch(7));
        enter(&mut channel, conn(0), PLAIN, 1024);
        let index = enter(&mut channel, conn(1), Dialect::SocketIo4, 1024);
        assert_eq!(channel.feeds(), 2);
        channel.publish(&mut Pool::new(1024), (NOW, 0), None, &Message::Text(b"x")).unwrap();
        assert_eq!(channel.feed(Dialect::SocketIo4).unwrap().mark().seq.0, 1);
        assert_eq!(channel.leave(index, Dialect::SocketIo4), (true, None));
        assert_eq!(channel.feeds(), 1);
        enter(&mut channel, conn(2), Dialect::SocketIo4, 1024);
        assert_eq!(channel.feed(Dialect::SocketIo4).unwrap().mark(), Mark::default());
        channel.check();
    }
}
