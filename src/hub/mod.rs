//! Floor 4: channels and what is published in them.
//!
//! Publishing encodes a message once, as the finished frame that every member's socket gets, and
//! appends it to the channel's feed. Nothing is queued for anybody: the flush pass, which the
//! server drives, visits the members and lets each be sent to from its own cursor. The hub knows
//! members only by their number and never touches a connection.

pub mod backplane;
mod channel;
pub mod envelope;
mod log;
mod message;
mod opening;
mod repeats;
mod replays;
mod session;
mod shares;
mod spaces;

use core::hash::BuildHasher;
use std::collections::{HashMap, VecDeque};

use siphasher::sip::SipHasher13;
use slab::Slab;

pub use channel::Channel;
pub use log::Log;
pub use message::{Form, Message, PlainForm, plain_form, write_header};
pub use opening::{Lacking, StillParted};
pub use repeats::{RepeatId, Repeats, Said};
pub use replays::Replays;
pub use session::{
    Due, Edit, Entering, OWN_BYTES_MAX, Pings, SESSION_BYTES, SESSION_TABLES_BYTES, Session,
    Sessions, Transport, Unfinished, pieces,
};
pub use shares::{Address, Holder, Shares};
pub use spaces::{
    MORE_SPACES_BYTES, Rotation, SPACES_MAX, SocketState, Space, Spaces, Visit, chokes,
    must_read_first, visit,
};

use crate::feed::{Feed, Mark};
use crate::id::{ChannelId, ConnId, Dialect, Member};
use crate::limits::{CHANNEL_BYTES, CHANNEL_NAME_BYTES_MAX, DIALECTS, History, Limits};
use crate::pool::Pool;
use crate::position::{Epoch, Position};
use crate::reason::CloseReason;
use crate::time::Instant;
use opening::Openings;

/// The channel of clients that name none; there is always a place for it.
pub const DEFAULT_CHANNEL: &str = "default";

/// A key from the system's random source for a hash table, so that nobody can choose names that
/// collide.
#[derive(Clone, Copy, Debug)]
pub struct HashKey(pub [u8; 16]);

impl BuildHasher for HashKey {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }
}

/// Why a newcomer cannot join a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinError {
    /// As many channels as `--max-channels` allows have members or keep something.
    TooManyChannels,
    /// There is no room for another ring in `--memory`.
    NoMemory,
    /// The newcomer's address has brought its share of `--max-channels` into being.
    TooManyOfAddress,
    /// The newcomer's address has brought rings into being that take its share of `--memory`.
    NoMemoryOfAddress,
}

/// A member that is about to join a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Newcomer {
    /// The number by which the channel will know the member.
    pub member: Member,
    /// The dialect that the member reads.
    pub dialect: Dialect,
    /// The account of a channel or a feed that the member brings into being.
    pub holder: Holder,
    /// Where the member wants to begin.
    pub wish: Wish,
}

/// Where in what was said a newcomer wants to begin; by itself: with what comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wish {
    /// Behind the message that stands here.
    pub since: Option<Since>,
    /// With the newest messages, so many of them, if `since` is not given or cannot be honoured.
    pub last: u64,
}

/// The position that somebody comes back with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// A position as channels have them.
    Position(Position),
    /// A text that is no position of ours, and so cannot be honoured.
    Unknown,
}

impl Since {
    /// Reads a text that has the alphabet of positions.
    pub fn of(text: &[u8]) -> Since {
        Position::parse(text).map_or(Since::Unknown, Since::Position)
    }
}

/// What becomes of the wish to go on behind a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recovery {
    /// Everything behind the position follows.
    Whole,
    /// Something behind the position is not kept any more, or may not be sent again now.
    Gone,
    /// The position is none that the channel has had.
    Unknown,
}

/// What joining with a wish would come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prospect {
    /// What becomes of the position of the wish; `None` if the wish has none.
    pub recovery: Option<Recovery>,
    /// What it costs: the bytes that are sent again, or what filling a new feed counts as.
    pub cost_bytes: u64,
}

// A channel counts as itself, its two names with the allocator's overhead, its place in the table
// of names, which doubles when it grows, and its places in the lists of active channels, of those
// without members, of those whose sweep has ended, and of those of which something is to be told.
const _: () = assert!(
    size_of::<Channel>()
        + 8
        + 2 * (CHANNEL_NAME_BYTES_MAX + 1 + 16)
        + ((size_of::<(Box<str>, ChannelId)>() + 1) * 16).div_ceil(7)
        + 4 * size_of::<ChannelId>()
        + 2 * size_of::<u64>()
        <= CHANNEL_BYTES as usize
);

const _: () = assert!(Dialect::ALL.len() as u64 == DIALECTS);

/// Why a message was appended nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublishError {
    /// The record would take more than half a ring in some dialect, read or not: what a publisher
    /// may say does not depend on who is there.
    TooBig,
    /// The pool had no buffer in which to encode the record.
    NoMemory,
    /// Whoever decides the order of messages has been out of reach for too long.
    Away,
}

impl PublishError {
    /// Why whoever said the message is closed for it.
    pub fn reason(self) -> CloseReason {
        match self {
            PublishError::TooBig => CloseReason::MessageTooBig,
            PublishError::NoMemory => CloseReason::NoMemory,
            PublishError::Away => CloseReason::BackplaneAway,
        }
    }
}

/// A place in a channel that a newcomer was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Joined {
    /// The channel that was joined.
    pub channel: ChannelId,
    /// The index in the channel's list of members.
    pub index: u32,
    /// Where the newcomer begins.
    pub start: Start,
    /// What was read and made to fill the ring that the newcomer is the first to read, in bytes.
    pub filled_bytes: u64,
}

/// Where a newcomer begins to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// The place in the feed: the newcomer gets what comes behind it.
    pub mark: Mark,
    /// The position behind which the newcomer reads everything.
    pub position: Position,
    /// What has become of the position of the wish; `None` if the wish had none.
    pub recovery: Option<Recovery>,
    /// How many records of the feed follow at once.
    pub missed: u64,
}

/// A member that has moved to another index, because one has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// The member that has moved.
    pub member: Member,
    /// The index that the member has now.
    pub index: u32,
}

/// All channels that have members or keep something, and what each client address holds.
#[derive(Debug)]
pub struct Hub {
    channels: Slab<Channel>,
    names: HashMap<Box<str>, ChannelId, HashKey>,
    /// Channels with a sweep under way, in the order of their turns.
    active: VecDeque<ChannelId>,
    channels_max: usize,
    feed_bytes: u64,
    /// What a feed with its index takes of the pool; a log takes as much.
    feed_cost_bytes: u64,
    /// What channels keep, if anything.
    history: Option<History>,
    /// Whether events of Socket.IO 4 end in their position.
    with_offset: bool,
    /// Not after the first moment at which a channel without members ends.
    over_at: Instant,
    /// Channels without members, while they are looked at; otherwise empty.
    left: Vec<ChannelId>,
    /// How much of what is kept each client address has been sent lately.
    replays: Replays,
    /// What the epochs of channels are drawn from, with how many there have been.
    epochs: HashKey,
    born: u64,
    /// What each client address has brought into being, and how many sessions it has.
    shares: Shares,
    /// When this turn began, in microseconds of the turns' clock.
    turn_us: u64,
    /// Whether the publishers of all channels are held back.
    closed: bool,
    /// Of which channels whoever decides their order is to be told something; `None` if it is
    /// decided here.
    openings: Option<Openings>,
}

/// Whether `name` can be the name of a channel: 1 to 128 of `A-Z a-z 0-9 . _ ~ : @ = , + - /`.
///
/// A slash parts segments, of which none is empty, `.` or `..`: clients and proxies take such a
/// segment out of a URL, and would come to another channel. A name with a comma is no namespace of
/// Socket.IO, where it ends the name.
pub fn is_channel_name(name: &str) -> bool {
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_segment_byte);
    name.len() <= CHANNEL_NAME_BYTES_MAX && name.split('/').all(is_segment)
}

/// Whether `byte` may stand in a segment of a channel's name.
const fn is_segment_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'.' | b'_' | b'~' | b':' | b'@' | b'=' | b',' | b'+' | b'-')
}

impl Hub {
    /// A hub without channels. What `default` needs is set aside in `pool` for good; `keys` are for
    /// the tables of names and of addresses, and for the epochs of channels.
    ///
    /// # Panics
    /// If the pool has no room for `default`: whoever configures it has to see to that.
    pub fn new(pool: &mut Pool, limits: &Limits, keys: [HashKey; 3]) -> Hub {
        let set_aside = Limits::default_channel_bytes(limits.feed_bytes, limits.history);
        assert!(pool.spend(set_aside), "--memory holds the channel default");
        let [key, addresses, epochs] = keys;
        Hub {
            channels: Slab::with_capacity(limits.channels_max),
            names: HashMap::with_capacity_and_hasher(limits.channels_max, key),
            active: VecDeque::with_capacity(limits.channels_max),
            channels_max: limits.channels_max,
            feed_bytes: limits.feed_bytes,
            feed_cost_bytes: Limits::feed_cost_bytes(limits.feed_bytes, limits.history),
            history: limits.history,
            with_offset: false,
            over_at: Instant::NEVER,
            left: Vec::with_capacity(limits.channels_max),
            replays: Replays::new(limits),
            epochs,
            born: 0,
            shares: Shares::new(limits, addresses),
            turn_us: 0,
            closed: false,
            openings: None,
        }
    }

    /// Has events of Socket.IO 4 end in their position, in channels that are made from now on and
    /// keep something.
    pub fn tell_offsets(&mut self) {
        self.with_offset = true;
    }

    /// Begins a turn at `now_us`: messages that are published from now on were read in it.
    pub fn begin_turn(&mut self, now_us: u64) {
        self.turn_us = now_us;
    }

    /// When this turn began, in microseconds of the turns' clock.
    pub fn turn_us(&self) -> u64 {
        self.turn_us
    }

    /// Makes a newcomer a member of the channel `name`, which is made if it is not there. If its
    /// order is decided elsewhere, it must be open ([`Hub::is_open`]).
    ///
    /// Publishers of the channel that need not wait any more, since there is one more member that
    /// is not choked, go to `resume`.
    ///
    /// If the newcomer's address may not be sent so much now, it begins with what comes next,
    /// unless it has missed nothing, and is told so.
    ///
    /// Work: if the newcomer is the first of its dialect, a copy of what the channel keeps, which
    /// [`Joined::filled_bytes`] tells.
    ///
    /// # Errors
    /// What [`Hub::can_join`] would say.
    pub fn join(
        &mut self,
        pool: &mut Pool,
        now: Instant,
        name: &str,
        newcomer: Newcomer,
        mut resume: impl FnMut(ConnId),
    ) -> Result<Joined, JoinError> {
        let Newcomer { member, dialect, holder, wish } = newcomer;
        // First, since that may end the channel, which then has to be made again.
        let prospect = self.prospect(pool, now, name, dialect, wish);
        self.can_join(pool, name, dialect, Some(holder))?;
        let is_default = name == DEFAULT_CHANNEL;
        let id = match self.names.get(name) {
            Some(id) => *id,
            None => self.make_channel(pool, name, Some(holder), &mut resume),
        };
        let has_paid = self.replays.take(now, holder, prospect.cost_bytes);
        let channel = &mut self.channels[id.0 as usize];
        let mut filled_bytes = 0;
        if channel.feed(dialect).is_none() {
            if !is_default {
                let reserved = pool.reserve(self.feed_cost_bytes);
                assert!(reserved, "can_join has seen that there is room");
                channel.set_feed_brought_by(dialect, self.shares.add_feed(holder));
            }
            let ring_bytes = self.feed_bytes as usize;
            filled_bytes = channel.open_feed(pool, dialect, ring_bytes, has_paid);
        }
        let mut start = channel.start(dialect, wish);
        // Whoever has missed nothing is sent nothing, and need not pay for that.
        let costs_nothing = start.missed == 0 && start.recovery == Some(Recovery::Whole);
        if !has_paid && !costs_nothing {
            start = channel.start(dialect, Wish::default());
            start.recovery = wish.since.map(|_| Recovery::Gone);
        }
        channel.note_start(dialect, wish, &start);
        let index = channel.join(member, dialect);
        if start.missed > 0 && channel.visit_first(dialect, start.mark, self.turn_us) {
            self.active.push_back(id);
        }
        channel.review(&mut resume);
        Ok(Joined { channel: id, index, start, filled_bytes })
    }

    fn make_channel(
        &mut self,
        pool: &mut Pool,
        name: &str,
        holder: Option<Holder>,
        resume: &mut impl FnMut(ConnId),
    ) -> ChannelId {
        let is_default = name == DEFAULT_CHANNEL;
        let holder = holder.filter(|_| !is_default);
        let brought_by = holder.and_then(|holder| self.shares.add_channel(holder));
        let mut channel = match self.openings {
            None => {
                let epoch = Epoch(self.epochs.hash_one(self.born));
                self.born += 1;
                Channel::new(name, brought_by, epoch)
            }
            Some(_) => Channel::opening(name, brought_by),
        };
        if let Some(history) = self.history {
            let mut log_brought_by = None;
            if !is_default {
                let reserved = pool.reserve(self.feed_cost_bytes);
                assert!(reserved, "the caller has seen that there is room");
                log_brought_by = holder.and_then(|holder| self.shares.add_feed(holder));
            }
            let ring_bytes = self.feed_bytes as usize;
            let log = match self.openings {
                None => Log::new(history, ring_bytes),
                Some(_) => Log::of_stream(history, ring_bytes),
            };
            channel.keep(log, log_brought_by, self.with_offset);
        }
        channel.close(self.closed, resume);
        let id = ChannelId(self.channels.insert(channel) as u32);
        self.names.insert(name.into(), id);
        id
    }

    /// What joining a channel with a wish would come to now. Ends the channel if nothing but what
    /// is too old by now has kept it.
    ///
    /// Work: a step for each message that is too old by now.
    pub fn prospect(
        &mut self,
        pool: &mut Pool,
        now: Instant,
        name: &str,
        dialect: Dialect,
        wish: Wish,
    ) -> Prospect {
        if let Some(id) = self.find(name) {
            let channel = &mut self.channels[id.0 as usize];
            if channel.is_empty() {
                self.end_if_over(pool, now, id);
            } else {
                channel.expire_log(now);
            }
        }
        match self.find(name) {
            Some(id) => self.channels[id.0 as usize].prospect(dialect, wish),
            None => {
                let recovery = wish.since.map(|_| Recovery::Unknown);
                Prospect { recovery, cost_bytes: 0 }
            }
        }
    }

    /// Whether `holder` may be sent so much again now.
    pub fn may_replay(&self, now: Instant, holder: Holder, prospect: Prospect) -> bool {
        self.replays.may_take(now, holder, prospect.cost_bytes)
    }

    /// Whether [`Hub::join`] would find the channel and its feed, or room for them. Without a
    /// `holder`, what its address holds already is not looked at.
    ///
    /// # Errors
    /// Why the channel cannot be joined now.
    pub fn can_join(
        &self,
        pool: &Pool,
        name: &str,
        dialect: Dialect,
        holder: Option<Holder>,
    ) -> Result<(), JoinError> {
        // What the default channel needs was set aside; nearly everybody joins that one.
        if name == DEFAULT_CHANNEL {
            return Ok(());
        }
        let channel = self.names.get(name).map(|id| &self.channels[id.0 as usize]);
        if channel.is_some_and(|it| it.feed(dialect).is_some()) {
            return Ok(());
        }
        if channel.is_none() {
            self.has_place_for_another()?;
        }
        // A channel that is made has a log, too, if anything is kept.
        let rings = 1 + u16::from(channel.is_none() && self.history.is_some());
        if u64::from(rings) * self.feed_cost_bytes > pool.free_bytes() {
            return Err(JoinError::NoMemory);
        }
        let Some(holder) = holder else { return Ok(()) };
        if channel.is_none() && self.shares.has_enough_channels(holder) {
            return Err(JoinError::TooManyOfAddress);
        }
        if self.shares.has_enough_feeds(holder, rings) {
            return Err(JoinError::NoMemoryOfAddress);
        }
        Ok(())
    }

    /// Whether one more channel beside `default` may be made; `default` always has its place.
    fn has_place_for_another(&self) -> Result<(), JoinError> {
        let others = self.names.len() - usize::from(self.names.contains_key(DEFAULT_CHANNEL));
        let is_free = others + 1 < self.channels_max;
        is_free.then_some(()).ok_or(JoinError::TooManyChannels)
    }

    /// Takes the member at `index` away. A feed goes with its last reader, the channel with its
    /// last member, unless something is kept there that is not too old at `now`. Publishers of the
    /// channel that need not wait any more go to `resume`. Returns the member that has moved to
    /// `index`, if any.
    pub fn leave(
        &mut self,
        pool: &mut Pool,
        now: Instant,
        place: (ChannelId, u32),
        dialect: Dialect,
        mut resume: impl FnMut(ConnId),
    ) -> Option<Moved> {
        let (id, index) = place;
        let channel = &mut self.channels[id.0 as usize];
        let (last_reader, moved) = channel.leave(index, dialect);
        if last_reader && !channel.is_default() {
            pool.release(self.feed_cost_bytes);
            self.shares.remove_feed(channel.take_feed_brought_by(dialect));
        }
        if channel.is_empty() {
            self.active.retain(|active| *active != id);
            channel.resume_all(&mut resume);
            channel.give_lists_back();
            self.end_if_over(pool, now, id);
        } else {
            channel.review(&mut resume);
        }
        moved
    }

    /// Ends a channel without members if it keeps nothing that is not too old. If its order is
    /// decided elsewhere, that is to be told first.
    ///
    /// # Panics
    /// If the channel has members.
    pub fn end_if_over(&mut self, pool: &mut Pool, now: Instant, id: ChannelId) {
        let channel = &mut self.channels[id.0 as usize];
        channel.expire_log(now);
        if !channel.is_over(now) {
            self.over_at = channel.over_at().map_or(self.over_at, |at| self.over_at.min(at));
        } else if !self.close_later(id) {
            self.remove_channel(pool, id);
        }
    }

    /// Takes a channel away that is over. Returns its name.
    fn remove_channel(&mut self, pool: &mut Pool, id: ChannelId) -> Box<str> {
        let channel = self.channels.remove(id.0 as usize);
        self.names.remove(channel.name());
        self.shares.remove_channel(channel.brought_by());
        if channel.log().is_some() && !channel.is_default() {
            pool.release(self.feed_cost_bytes);
            self.shares.remove_feed(channel.log_brought_by());
        }
        channel.into_name()
    }

    /// Drops what a channel keeps and is too old at `now`, and returns how many messages that were.
    /// Nothing happens if the channel is over.
    pub fn expire_log(&mut self, id: ChannelId, now: Instant) -> u64 {
        let channel = &mut self.channels[id.0 as usize];
        let kept = |channel: &Channel| channel.log().map_or(0, Log::len);
        let before = kept(channel);
        if !channel.is_over(now) {
            channel.expire_log(now);
        }
        before - kept(channel)
    }

    /// Ends the channels without members whose last message is too old at `now`.
    ///
    /// Work: nothing before the first of them is; then a look at each channel.
    pub fn expire_channels(&mut self, pool: &mut Pool, now: Instant) {
        if now < self.over_at {
            return;
        }
        self.over_at = Instant::NEVER;
        let is_left = |(key, channel): (usize, &Channel)| {
            let is_left = channel.is_empty() && !channel.is_to_close();
            is_left.then_some(ChannelId(key as u32))
        };
        let mut left = core::mem::take(&mut self.left);
        left.extend(self.channels.iter().filter_map(is_left));
        left.drain(..).for_each(|id| self.end_if_over(pool, now, id));
        self.left = left;
    }

    /// When [`Hub::expire_channels`] is worth calling; `None` if every channel has members.
    pub fn next_over(&self) -> Option<Instant> {
        (self.over_at != Instant::NEVER).then_some(self.over_at)
    }

    /// Whether a message is small enough to be published in a channel, whoever is there.
    pub fn fits(&self, id: ChannelId, message: &Message<'_>) -> bool {
        let record_bytes_max = Limits::record_bytes_max(self.feed_bytes) as usize;
        message.fits(self.channels[id.0 as usize].namespace(), record_bytes_max)
    }

    /// Whether a message is small enough to be published in the channel `name`, which need not be
    /// there.
    pub fn fits_in(&self, name: &str, message: &Message<'_>) -> bool {
        if let Some(id) = self.find(name) {
            return self.fits(id, message);
        }
        let mut namespace = String::with_capacity(1 + CHANNEL_NAME_BYTES_MAX);
        namespace.extend(["/", if name == DEFAULT_CHANNEL { "" } else { name }]);
        let record_bytes_max = Limits::record_bytes_max(self.feed_bytes) as usize;
        message.fits(&namespace, record_bytes_max)
    }

    /// The channel `name`, to have something said in it by whoever is no member. One that nothing
    /// but what is too old by now has kept is ended first. Where history is kept, a channel that is
    /// not there is made, on nobody's account; if nothing is said in it then, it has to be ended by
    /// [`Hub::end_if_over`]. `None` where nobody is there and nothing is kept.
    ///
    /// # Errors
    /// Why a channel cannot be made now.
    pub fn open(
        &mut self,
        pool: &mut Pool,
        now: Instant,
        name: &str,
        mut resume: impl FnMut(ConnId),
    ) -> Result<Option<ChannelId>, JoinError> {
        if let Some(id) = self.find(name)
            && self.channels[id.0 as usize].is_empty()
        {
            self.end_if_over(pool, now, id);
        }
        let found = self.find(name);
        if found.is_some() || self.history.is_none() {
            return Ok(found);
        }
        if name != DEFAULT_CHANNEL {
            self.has_place_for_another()?;
            if self.feed_cost_bytes > pool.free_bytes() {
                return Err(JoinError::NoMemory);
            }
        }
        Ok(Some(self.make_channel(pool, name, None, &mut resume)))
    }

    /// Appends a message, said at `now`, to every feed in which it has a form; from now on every
    /// member will be sent it. Returns where the message stands in its channel; `None` for a
    /// greeting, which has no position.
    ///
    /// # Errors
    /// Why the message was appended nowhere.
    ///
    /// # Panics
    /// If the order of messages is decided elsewhere, and this is no greeting.
    pub fn publish(
        &mut self,
        pool: &mut Pool,
        now: Instant,
        id: ChannelId,
        message: &Message<'_>,
    ) -> Result<Option<Position>, PublishError> {
        self.append(pool, now, (id, None), message)?;
        Ok((!message.is_greeting()).then(|| self.channel(id).position()))
    }

    fn append(
        &mut self,
        pool: &mut Pool,
        now: Instant,
        (id, placed): (ChannelId, Option<Position>),
        message: &Message<'_>,
    ) -> Result<(), PublishError> {
        if !self.fits(id, message) {
            return Err(PublishError::TooBig);
        }
        if self.channels[id.0 as usize].publish(pool, (now, self.turn_us), placed, message)? {
            self.active.push_back(id);
        }
        Ok(())
    }

    /// Holds the publishers of all channels back, or does so no longer; those that need not wait
    /// any more go to `resume`. Work: a look at each channel, if that changes.
    pub fn close(&mut self, closed: bool, mut resume: impl FnMut(ConnId)) {
        if core::mem::replace(&mut self.closed, closed) != closed {
            for (_, channel) in &mut self.channels {
                channel.close(closed, &mut resume);
            }
        }
    }

    /// Whether the publishers of all channels are held back.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The channel called `name`; `None` if it has no members and keeps nothing.
    pub fn find(&self, name: &str) -> Option<ChannelId> {
        self.names.get(name).copied()
    }

    /// Takes the channel off the list whose turn in the flush pass it is.
    pub fn next_active(&mut self) -> Option<ChannelId> {
        self.active.pop_front()
    }

    /// Puts a channel whose sweep goes on back on the list: at its end, or in front if the turn of
    /// the channel was cut short, so that the next turn is its own.
    pub fn stay_active(&mut self, id: ChannelId, cut_short: bool) {
        if cut_short {
            self.active.push_front(id);
        } else {
            self.active.push_back(id);
        }
    }

    /// Whether any sweep is under way.
    pub fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// The channel with this number.
    ///
    /// # Panics
    /// If the channel has ended; [`Hub::is_gone`] tells.
    pub fn channel(&self, id: ChannelId) -> &Channel {
        &self.channels[id.0 as usize]
    }

    /// The channel with this number, to be changed.
    ///
    /// # Panics
    /// If the channel has ended; [`Hub::is_gone`] tells.
    pub fn channel_mut(&mut self, id: ChannelId) -> &mut Channel {
        &mut self.channels[id.0 as usize]
    }

    /// Whether a channel has ended: it has no members and keeps nothing.
    pub fn is_gone(&self, id: ChannelId) -> bool {
        !self.channels.contains(id.0 as usize)
    }

    /// The feed of a dialect that members of a channel read.
    ///
    /// # Panics
    /// If no member of the channel reads the dialect.
    pub fn feed(&self, id: ChannelId, dialect: Dialect) -> &Feed {
        self.channels[id.0 as usize].feed(dialect).expect("a feed lives as long as its readers")
    }

    /// Ends every grace that is over at `now`. Publishers that need not wait any more go to
    /// `resume`.
    pub fn expire_graces(&mut self, now: Instant, mut resume: impl FnMut(ConnId)) {
        for (_, channel) in &mut self.channels {
            if channel.grace_until().is_some_and(|until| until <= now) {
                channel.end_grace(&mut resume);
            }
        }
    }

    /// When the next grace is over; `None` if no channel has one.
    pub fn next_grace(&self) -> Option<Instant> {
        self.channels.iter().filter_map(|(_, channel)| channel.grace_until()).min()
    }

    /// All channels, with their ids.
    pub fn channels(&self) -> impl Iterator<Item = (ChannelId, &Channel)> {
        self.channels.iter().map(|(key, channel)| (ChannelId(key as u32), channel))
    }

    /// How many channels there are: those with members, and those that keep something.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// No channel has a number from this one on.
    pub fn places(&self) -> usize {
        self.channels.capacity()
    }

    /// Whether there is no channel.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Bytes of the pool that the channels have reserved, not counting what is set aside for
    /// `default`.
    pub fn reserved_bytes(&self) -> u64 {
        let others = self.channels.iter().filter(|(_, channel)| !channel.is_default());
        let rings: usize = others.map(|(_, channel)| channel.rings()).sum();
        rings as u64 * self.feed_cost_bytes
    }

    /// Whether a publisher stands in the list of any channel. For checks.
    pub fn has_paused(&self, publisher: ConnId) -> bool {
        self.channels.iter().any(|(_, channel)| channel.has_paused(publisher))
    }

    /// What each client address holds.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// What each client address holds, to count sessions.
    pub fn shares_mut(&mut self) -> &mut Shares {
        &mut self.shares
    }

    /// Asserts what must hold between two calls, for the server's check.
    pub fn check(&self) {
        assert_eq!(self.names.len(), self.channels.len());
        let (mut channels, mut feeds) = (0, 0);
        for (_, channel) in &self.channels {
            channel.check();
            channels += usize::from(channel.brought_by().is_some());
            feeds += channel.feeds_brought();
            let is_anybodys = channel.brought_by().is_some() || channel.feeds_brought() > 0;
            assert!(!(is_anybodys && channel.is_default()), "the default channel is nobody's");
        }
        let swept = self.channels.iter().filter(|(_, channel)| channel.is_swept());
        let swept = swept.map(|(key, _)| ChannelId(key as u32));
        self.check_openings();
        assert!(swept.clone().all(|id| self.active.contains(&id)), "each sweep has its turn");
        assert_eq!(self.active.len(), swept.count(), "only a sweep has turns");
        self.shares.check(channels, feeds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Reader;
    use crate::time::Duration;

    pub(super) fn limits() -> Limits {
        Limits {
            connections_max: 100,
            connections_per_ip_max: None,
            admin_connections_max: 0,
            channels_max: 3,
            message_bytes_max: 256,
            feed_bytes: 1024,
            memory_bytes: 1 << 20,
            send_buffer_bytes: 4096,
            receive_buffer_bytes: 4096,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            drain: Duration::from_secs(5),
            history: None,
            shared: false,
            message_rate: None,
            lifetime: None,
        }
    }

    fn keys() -> [HashKey; 3] {
        [7, 8, 9].map(|byte| HashKey([byte; 16]))
    }

    /// When everything happens here; no test of these is about time.
    pub(super) const NOW: Instant = Instant::from_millis(0);

    const PLAIN: Dialect = Dialect::Plain;

    fn conn(slot: u32) -> Member {
        Member::new(Reader::Conn(slot))
    }

    /// A pool and a hub that leaves room for so many feeds beside those of `default`.
    pub(super) fn world(feeds: u64) -> (Pool, Hub) {
        let limits = limits();
        let room = feeds * Limits::feed_cost_bytes(limits.feed_bytes, limits.history);
        let mut pool =
            Pool::new(Limits::default_channel_bytes(limits.feed_bytes, limits.history) + room);
        let hub = Hub::new(&mut pool, &limits, keys());
        (pool, hub)
    }

    /// A proxy, which is on nobody's account, so that only the limits on all together count.
    fn proxied(hub: &Hub, slot: u32, dialect: Dialect) -> Newcomer {
        let holder = Holder { is_proxy: true, ..from(hub, 1) };
        Newcomer { holder, member: conn(slot), dialect, wish: Wish::default() }
    }

    pub(super) fn join(
        pool: &mut Pool,
        hub: &mut Hub,
        name: &str,
        slot: u32,
        dialect: Dialect,
    ) -> Result<Joined, JoinError> {
        hub.join(pool, NOW, name, proxied(hub, slot, dialect), |_| {})
    }

    fn from(hub: &Hub, host: u8) -> Holder {
        let address = hub.shares().address([192, 0, 2, host].into());
        Holder { address, is_proxy: false }
    }

    #[test]
    fn the_default_channel_always_has_its_place() {
        let (mut pool, mut hub) = world(100);
        let first = join(&mut pool, &mut hub, "a", 0, PLAIN).unwrap();
        join(&mut pool, &mut hub, "b", 1, PLAIN).unwrap();
        let full = Err(JoinError::TooManyChannels);
        assert_eq!(join(&mut pool, &mut hub, "c", 2, PLAIN), full);
        join(&mut pool, &mut hub, DEFAULT_CHANNEL, 3, PLAIN).unwrap();
        assert_eq!(join(&mut pool, &mut hub, "c", 4, PLAIN), full);
        hub.leave(&mut pool, NOW, (first.channel, first.index), PLAIN, |_| {});
        join(&mut pool, &mut hub, "c", 5, PLAIN).unwrap();
        hub.check();
    }

    #[test]
    fn a_channel_goes_with_its_last_member_and_its_memory_too() {
        let (mut pool, mut hub) = world(2);
        hub.channels_max = 4;
        let one = join(&mut pool, &mut hub, "a", 0, PLAIN).unwrap();
        let two = join(&mut pool, &mut hub, "a", 1, PLAIN).unwrap();
        assert_eq!(one.channel, two.channel);
        hub.publish(&mut pool, NOW, one.channel, &Message::Text(b"to be forgotten")).unwrap();
        join(&mut pool, &mut hub, "b", 2, PLAIN).unwrap();
        let refused = join(&mut pool, &mut hub, "c", 3, PLAIN);
        assert_eq!(refused, Err(JoinError::NoMemory));
        let moved = hub.leave(&mut pool, NOW, (one.channel, one.index), PLAIN, |_| {});
        assert_eq!(moved, Some(Moved { member: conn(1), index: 0 }));
        assert_eq!(hub.leave(&mut pool, NOW, (one.channel, 0), PLAIN, |_| {}), None);
        assert!(!hub.is_active());
        assert_eq!(pool.lent_bytes(), hub.reserved_bytes());
        join(&mut pool, &mut hub, "c", 3, PLAIN).unwrap();
        hub.check();
    }

    #[test]
    fn the_default_channel_has_its_memory_when_nobody_else_has_any() {
        let (mut pool, mut hub) = world(2);
        join(&mut pool, &mut hub, "a", 0, PLAIN).unwrap();
        join(&mut pool, &mut hub, "a", 1, Dialect::SocketIo4).unwrap();
        assert_eq!(pool.free_bytes(), 0);
        let mut joined = Vec::new();
        for (slot, dialect) in (2..).zip(Dialect::ALL) {
            joined.push(join(&mut pool, &mut hub, DEFAULT_CHANNEL, slot, dialect).unwrap());
            hub.check();
        }
        assert_eq!(pool.lent_bytes(), hub.reserved_bytes());
        let id = joined[0].channel;
        for dialect in Dialect::ALL {
            hub.leave(&mut pool, NOW, (id, 0), dialect, |_| {});
        }
        // Nothing of what is set aside for `default` was given back to the pool.
        assert_eq!((pool.free_bytes(), hub.find(DEFAULT_CHANNEL)), (0, None));
        join(&mut pool, &mut hub, DEFAULT_CHANNEL, 9, PLAIN).unwrap();
        hub.check();
    }

    #[test]
    fn what_an_address_has_brought_is_on_its_account_until_it_goes() {
        let (mut pool, mut hub) = world(100);
        hub.channels_max = 100;
        let come = |pool: &mut Pool, hub: &mut Hub, name: &str, host: u8| {
            let newcomer = Newcomer {
                member: conn(0),
                dialect: PLAIN,
                holder: from(hub, host),
                wish: Wish::default(),
            };
            let joined = hub.join(pool, NOW, name, newcomer, |_| {});
            hub.check();
            joined.map(|joined| joined.channel)
        };
        // A quarter of three channels is less than one, but an address may always have one.
        let first = come(&mut pool, &mut hub, "a", 1).unwrap();
        let refused = Err(JoinError::TooManyOfAddress);
        assert_eq!(come(&mut pool, &mut hub, "b", 1), refused);
        assert!(come(&mut pool, &mut hub, DEFAULT_CHANNEL, 1).is_ok());
        assert!(come(&mut pool, &mut hub, "b", 2).is_ok(), "another has its own");
        assert!(come(&mut pool, &mut hub, "b", 1).is_ok(), "it brings nothing");
        // A channel is on the account of who brought it, even when only another keeps it alive.
        assert!(come(&mut pool, &mut hub, "a", 3).is_ok());
        hub.leave(&mut pool, NOW, (first, 0), PLAIN, |_| {});
        assert_eq!(come(&mut pool, &mut hub, "c", 1), refused);
        hub.leave(&mut pool, NOW, (first, 0), PLAIN, |_| {});
        assert!(come(&mut pool, &mut hub, "c", 1).is_ok());
    }

    #[test]
    fn who_joins_a_channel_that_is_over_has_to_make_another() {
        let age = Duration::from_secs(10);
        let history = Some(History { messages_max: 8, age });
        let limits = Limits { history, ..limits() };
        let mut pool = Pool::new(limits.memory_bytes);
        let mut hub = Hub::new(&mut pool, &limits, keys());
        let newcomer = |hub: &Hub, host| Newcomer {
            member: conn(u32::from(host)),
            dialect: PLAIN,
            holder: from(hub, host),
            wish: Wish::default(),
        };
        // An address may bring one channel of three into being.
        for (name, host) in [("a", 1), ("b", 2)] {
            let newcomer = newcomer(&hub, host);
            let joined = hub.join(&mut pool, NOW, name, newcomer, |_| {}).unwrap();
            hub.publish(&mut pool, NOW, joined.channel, &Message::Text(b"x")).unwrap();
            if name == "b" {
                hub.leave(&mut pool, NOW, (joined.channel, joined.index), PLAIN, |_| {});
            }
        }
        let (before, over) = (NOW.plus(Duration::from_millis(9_999)), NOW.plus(age));
        let other = newcomer(&hub, 1);
        let joined = hub.join(&mut pool, before, "b", other, |_| {}).unwrap();
        hub.leave(&mut pool, before, (joined.channel, joined.index), PLAIN, |_| {});
        hub.check();
        let refused = Err(JoinError::TooManyOfAddress);
        assert_eq!(hub.join(&mut pool, over, "b", other, |_| {}), refused);
        hub.check();
        assert_eq!((hub.find("b"), pool.lent_bytes()), (None, hub.reserved_bytes()));
        let third = newcomer(&hub, 3);
        hub.join(&mut pool, over, "b", third, |_| {}).unwrap();
        hub.check();
    }

    #[test]
    fn an_address_has_a_feed_filled_once_a_second_however_large_the_ring_is() {
        let history = Some(History { messages_max: 100, age: Duration::from_secs(60) });
        for feed_bytes in [1_u64 << 20, 8 << 20] {
            let memory_bytes = 16 * feed_bytes;
            let limits = Limits { history, feed_bytes, memory_bytes, ..limits() };
            let mut pool = Pool::new(limits.memory_bytes);
            let mut hub = Hub::new(&mut pool, &limits, keys());
            let said = join(&mut pool, &mut hub, "a", 0, PLAIN).unwrap().channel;
            for _ in 0..80 {
                let message = Message::Binary(&[0; 100_000]);
                hub.publish(&mut pool, NOW, said, &message).unwrap();
            }
            let holder = from(&hub, 1);
            let mut fill = |dialect, at| {
                let prospect = hub.prospect(&mut pool, at, "a", dialect, Wish::default());
                hub.replays.take(at, holder, prospect.cost_bytes)
            };
            let at = |ms: u64| Instant::from_millis(5_000 + ms);
            assert!(fill(Dialect::ElbowV1, at(0)));
            assert!(!fill(Dialect::ElbowV1, at(500)) && !fill(Dialect::SocketIo4, at(500)));
            assert!(fill(Dialect::ElbowV1, at(1_000)));
        }
    }

    #[test]
    fn feeds_of_an_address_are_counted_in_every_channel() {
        let mut limits = Limits { channels_max: 100, ..limits() };
        // Eight feeds beside those of `default`: two for each address.
        limits.memory_bytes = 13 * Limits::feed_cost_bytes(limits.feed_bytes, limits.history);
        let mut pool = Pool::new(limits.memory_bytes);
        let mut hub = Hub::new(&mut pool, &limits, keys());
        let mut slot = 0;
        let mut come = |hub: &mut Hub, name: &str, host: u8, dialect: Dialect| {
            slot += 1;
            let newcomer = Newcomer {
                member: conn(slot),
                dialect,
                holder: from(hub, host),
                wish: Wish::default(),
            };
            hub.join(&mut pool, NOW, name, newcomer, |_| {}).map(|_| ())
        };
        assert_eq!(come(&mut hub, "a", 1, PLAIN), Ok(()));
        assert_eq!(come(&mut hub, "a", 1, Dialect::SocketIo4), Ok(()));
        let refused = Err(JoinError::NoMemoryOfAddress);
        assert_eq!(come(&mut hub, "a", 1, Dialect::SocketIo3), refused);
        assert_eq!(come(&mut hub, "b", 1, PLAIN), refused);
        assert_eq!(come(&mut hub, "a", 1, PLAIN), Ok(()));
        assert_eq!(come(&mut hub, "a", 2, Dialect::SocketIo3), Ok(()));
        assert_eq!(come(&mut hub, DEFAULT_CHANNEL, 1, Dialect::SocketIo3), Ok(()));
        hub.check();
    }

    #[test]
    fn a_record_over_half_a_ring_in_any_dialect_is_refused_whole_whoever_reads() {
        let half = [b'x'; 512];
        // As Socket.IO clients get it at the worst, with a position of 64 characters behind it: a
        // frame's header, `42/a,["chat message","…","…"]`.
        let just_fits = Message::Text(&half[..512 - 4 - 24 - 67]);
        let (too_big, control) = (Message::Text(&half[..512 - 4 - 23 - 67]), [1; 70]);
        let escaped = |length| Message::Text(&control[..length]);
        for dialects in [
            &[PLAIN][..],
            &[Dialect::SocketIo3],
            &[Dialect::SocketIo4],
            &[PLAIN, Dialect::SocketIo4],
            &[PLAIN, Dialect::SocketIo3, Dialect::SocketIo4],
        ] {
            let (mut pool, mut hub) = world(100);
            let mut id = None;
            for (number, dialect) in dialects.iter().enumerate() {
                let joined = join(&mut pool, &mut hub, "a", number as u32, *dialect);
                id = Some(joined.unwrap().channel);
            }
            let id = id.unwrap();
            let mut publish = |message: Message<'_>| hub.publish(&mut pool, NOW, id, &message);
            for refused in [too_big, escaped(70), Message::Binary(&half[..386])] {
                assert_eq!(publish(refused), Err(PublishError::TooBig), "{dialects:?}");
            }
            assert!(publish(just_fits).is_ok(), "{dialects:?}");
            assert!(publish(escaped(69)).is_ok(), "{dialects:?}");
            for dialect in dialects {
                assert_eq!(hub.feed(id, *dialect).mark().seq.0, 2);
            }
        }
    }

    #[test]
    fn each_life_of_a_channel_has_an_epoch_of_its_own() {
        let (mut pool, mut hub) = world(100);
        let mut epochs = Vec::new();
        for _ in 0..100 {
            let Joined { channel, index, .. } = join(&mut pool, &mut hub, "a", 0, PLAIN).unwrap();
            let said = hub.publish(&mut pool, NOW, channel, &Message::Text(b"x")).unwrap().unwrap();
            let Position::Local { epoch, seq: 1 } = said else { panic!("{said}") };
            assert_eq!(said, hub.channel(channel).position());
            assert_eq!(
                hub.publish(&mut pool, NOW, channel, &Message::Greeting(r#"["hi"]"#)),
                Ok(None)
            );
            let next = hub.publish(&mut pool, NOW, channel, &Message::Binary(b"y")).unwrap();
            assert_eq!(next, Some(Position::Local { epoch, seq: 2 }));
            hub.check();
            hub.leave(&mut pool, NOW, (channel, index), PLAIN, |_| {});
            assert!(!epochs.contains(&epoch), "two lives are told apart");
            epochs.push(epoch);
        }
        // The epochs follow from the key alone.
        let (mut pool, mut hub) = world(100);
        let first = join(&mut pool, &mut hub, "b", 0, PLAIN).unwrap().channel;
        let begin = Position::Local { epoch: epochs[0], seq: 0 };
        assert_eq!(hub.channel(first).position(), begin);
    }

    #[test]
    fn channel_names() {
        for name in [
            "a",
            "default",
            "A-z_0.9",
            "room/1",
            "a/b/c",
            "user:7@example.org",
            "a=b,c+d~",
            "...",
            "a/.../b",
            ".a/..b/c.",
            &"x".repeat(128),
            &"x/".repeat(64)[..127],
        ] {
            assert!(is_channel_name(name), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "/",
            "/a",
            "a/",
            "a//b",
            "a/./b",
            "../a",
            "a/..",
            "a b",
            "ä",
            "a%20",
            "a%2Fb",
            "a\\b",
            "a?b",
            "a#b",
            "a;b",
            "a&b",
            "a*",
            "a!",
            "a\"b",
            "a<b>",
            "a\0",
            &"x".repeat(129),
        ] {
            assert!(!is_channel_name(name), "{name}");
        }
    }
}
