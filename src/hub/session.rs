//! Engine.IO sessions, which outlive the connections that carry them.
//!
//! A session is known to its client by an id that cannot be guessed, and is carried either by
//! polls, one held request at a time, or by a WebSocket. It is a member of up to eight channels,
//! its *spaces*, and keeps its place in each feed: a session that polls owns its cursors itself,
//! one on a WebSocket has lent the cursor of one space, the *current*, to that connection's
//! outbound half and keeps those of the others, always between two records.
//!
//! Packets for the client alone wait here while there is no request to answer, as the WebSocket
//! frames that they would be: when the transport changes they need no translation.

use core::ops::{Deref, DerefMut};
use std::collections::HashMap;

use slab::Slab;

use super::{HashKey, Holder};
use crate::conn::Client;
use crate::feed::Mark;
use crate::id::{ChannelId, ConnId, Dialect, Seq, SessionId};
use crate::limits;
use crate::limits::CONNECT_LIMIT;
use crate::order::{self, Order};
use crate::pool::{BufferId, Pool};
use crate::settings::Settings;
use crate::time::{Duration, Instant};
use crate::wheel::{self, Wheel};
use crate::wire::engine::{Sid, Version};
use crate::wire::socketio::Decoder;

/// What the allocator takes beside the bytes that were asked for.
const OVERHEAD_BYTES: u64 = 16;

/// Bytes of the pool that a session reserves: itself, with its first space.
pub const SESSION_BYTES: u64 = size_of::<Session>() as u64 + OVERHEAD_BYTES + MEMBER_BYTES;

/// … and what it reserves for further spaces.
pub const MORE_SPACES_BYTES: u64 =
    SPACES_MAX as u64 * (size_of::<Space>() as u64 + MEMBER_BYTES) + OVERHEAD_BYTES;

/// Bytes of the pool that are spent for good on a place in the tables of sessions, of which there
/// are as many as there were sessions at one time: tables do not shrink. Twice what it takes, since
/// they double when they grow; the table of ids fills sixteen sevenths of itself at the least, and
/// while it is made anew the old one, half as large, is there as well.
pub const PLACE_BYTES: u64 = {
    let key_bytes = size_of::<(Sid, SessionId)>() + 1;
    let lists_bytes =
        size_of::<(usize, Box<Session>)>() + wheel::ENTRY_BYTES + order::LINK_BYTES + POLL_BYTES;
    (2 * lists_bytes + (key_bytes * 24).div_ceil(7)) as u64
};

/// A place in a channel's list of members, which doubles when it grows.
const MEMBER_BYTES: u64 = 2 * size_of::<crate::id::Member>() as u64;

/// A place in the queue of polls to answer.
const POLL_BYTES: usize = size_of::<SessionId>();

/// Namespaces of a session.
pub const SPACES_MAX: usize = 8;

/// Own bytes that may wait for a poll. A client that makes us say more without ever asking for it
/// is not a client.
pub const OWN_BYTES_MAX: usize = 64 * 1024;

/// What carries a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Requests: at most one that is held, and one that brings packets.
    Polling {
        /// Waits for something to answer.
        held: Option<ConnId>,
        /// Its body is being read.
        posting: Option<ConnId>,
    },
    /// A WebSocket.
    WebSocket(ConnId),
}

/// A WebSocket that wants to take a session over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upgrade {
    /// It.
    pub conn: ConnId,
    /// It has sent its probe, so polls are answered at once.
    pub probed: bool,
    /// When it is given up.
    pub by: Instant,
}

/// A place in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// The channel.
    pub channel: ChannelId,
    /// The place in its list of members.
    pub position: u32,
    /// What was sent, unless this is the current space of a WebSocket: then the connection knows.
    pub cursor: Mark,
    /// The feed's count of records at the beginning.
    pub joined: Seq,
    /// Messages published.
    pub messages_in: u32,
    /// When it was joined.
    pub opened_at: Instant,
    /// Counted among the channel's choked members.
    pub choked: bool,
    /// The client has left it in the middle of a record.
    pub leaving: bool,
    /// Everything that a close waits for here was sent.
    pub finished: bool,
}

/// The spaces of a session: a slice of at most [`SPACES_MAX`].
///
/// Most sessions have one, which is kept inline. With the second all of them move to memory of
/// their own, which is reserved in the pool, and back when one is left.
#[derive(Debug, Default)]
pub struct Spaces(Held);

#[derive(Debug, Default)]
enum Held {
    #[default]
    None,
    One(Space),
    /// With room for [`SPACES_MAX`].
    Many(Vec<Space>),
}

impl Spaces {
    /// Makes sure that [`Spaces::push`] will find room. `false`: there are [`SPACES_MAX`], or the
    /// pool is empty.
    #[must_use]
    pub fn make_room(&mut self, pool: &mut Pool) -> bool {
        match &self.0 {
            Held::None => true,
            Held::Many(spaces) => spaces.len() < SPACES_MAX,
            Held::One(_) if !pool.reserve(MORE_SPACES_BYTES) => false,
            Held::One(first) => {
                let mut spaces = Vec::with_capacity(SPACES_MAX);
                spaces.push(*first);
                self.0 = Held::Many(spaces);
                true
            }
        }
    }

    /// Adds one.
    ///
    /// # Panics
    /// Unless room was made.
    pub fn push(&mut self, space: Space) {
        match &mut self.0 {
            Held::None => self.0 = Held::One(space),
            Held::One(_) => panic!("room is made for a second space"),
            Held::Many(spaces) => {
                assert!(spaces.len() < SPACES_MAX);
                spaces.push(space);
            }
        }
    }

    /// Takes one away; the last fills its place.
    ///
    /// # Panics
    /// If there is none of that number.
    pub fn swap_remove(&mut self, pool: &mut Pool, number: usize) -> Space {
        match &mut self.0 {
            Held::Many(spaces) => {
                let space = spaces.swap_remove(number);
                self.settle(pool);
                space
            }
            Held::One(space) if number == 0 => {
                let space = *space;
                self.0 = Held::None;
                space
            }
            Held::One(_) | Held::None => panic!("no space has the number {number}"),
        }
    }

    /// Gives room back that is not needed.
    pub fn settle(&mut self, pool: &mut Pool) {
        if let Held::Many(spaces) = &self.0
            && let [only] = spaces[..]
        {
            self.0 = Held::One(only);
            pool.release(MORE_SPACES_BYTES);
        }
    }

    /// What is reserved for them in the pool, beside [`SESSION_BYTES`].
    pub fn reserved_bytes(&self) -> u64 {
        match &self.0 {
            Held::None | Held::One(_) => 0,
            Held::Many(_) => MORE_SPACES_BYTES,
        }
    }
}

impl Deref for Spaces {
    type Target = [Space];

    fn deref(&self) -> &[Space] {
        match &self.0 {
            Held::None => &[],
            Held::One(space) => core::slice::from_ref(space),
            Held::Many(spaces) => spaces,
        }
    }
}

impl DerefMut for Spaces {
    fn deref_mut(&mut self) -> &mut [Space] {
        match &mut self.0 {
            Held::None => &mut [],
            Held::One(space) => core::slice::from_mut(space),
            Held::Many(spaces) => spaces,
        }
    }
}

/// An event whose binary arguments have not all come: its text and those that have, one behind the
/// other in one buffer of the pool, each behind its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unfinished(BufferId);

/// Bytes of a length.
const LENGTH_BYTES: usize = 4;

impl Unfinished {
    /// One of which only the text has come; `None` if the pool is empty.
    pub fn new(pool: &mut Pool, text: &str) -> Option<Unfinished> {
        let buffer = pool.take(LENGTH_BYTES + text.len())?;
        let mut unfinished = Unfinished(buffer);
        let write = |out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes());
        let added = unfinished.add(pool, text.len(), write);
        assert!(added.is_some(), "a buffer has the room that was asked for");
        Some(unfinished)
    }

    /// Adds the piece that `write` appends, at most `bytes_max`; `None` if the pool is empty.
    pub fn add<T>(
        &mut self,
        pool: &mut Pool,
        bytes_max: usize,
        write: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> Option<T> {
        pool.write(&mut self.0, LENGTH_BYTES + bytes_max, |bytes| {
            bytes.extend_from_slice(&[0; LENGTH_BYTES]);
            let written = write(bytes);
            let length = (bytes.len() - LENGTH_BYTES) as u32;
            bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
            written
        })
    }

    /// Where it is kept.
    pub fn buffer(self) -> BufferId {
        self.0
    }
}

/// The pieces of a buffer of [`Unfinished`]: the text first.
pub fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
        let (piece, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        bytes = rest;
        Some(piece)
    })
}

/// One session.
#[derive(Debug)]
pub struct Session {
    /// Its name.
    pub sid: Sid,
    /// Of Engine.IO.
    pub version: Version,
    /// The client's real address, as the handshake came with it.
    pub client: Client,
    /// On whose account it is, and what it brings into being.
    pub holder: Holder,
    /// What carries it.
    pub transport: Transport,
    /// What wants to.
    pub upgrade: Option<Upgrade>,
    /// Where it is.
    pub spaces: Spaces,
    /// The space whose cursor its WebSocket has.
    pub current: usize,
    /// Frames for the client alone, while it polls.
    pub own: Option<BufferId>,
    /// The order of its messages.
    pub decoder: Decoder,
    /// A binary event under way.
    pub unfinished: Option<Unfinished>,
    /// Stands in the queue of polls to answer.
    pub queued: bool,
    /// Its WebSocket's close frame is under way; nothing is said or due any more.
    closing: bool,
    /// It has ended, and is reaped before long.
    over: bool,
    heard_at: Instant,
    pinged_at: Instant,
    wait: Duration,
    connect_by: Instant,
}

/// What a session's deadline asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Nothing: it was put off.
    Nothing,
    /// A ping.
    Ping,
    /// The end: nothing came back.
    Gone,
    /// The end: it never connected to a namespace.
    Unconnected,
    /// The upgrade was never finished.
    Upgrade,
}

/// A client has this long to finish an upgrade.
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);
/// Silence that is found so late is looked at again after as long.
const LATE_LIMIT: Duration = Duration::from_secs(2);

impl Session {
    /// A session that begins now and is first pinged after `first_ping`.
    pub fn new(
        now: Instant,
        sid: Sid,
        version: Version,
        (client, holder): (Client, Holder),
        transport: Transport,
        first_ping: Duration,
    ) -> Session {
        Session {
            sid,
            version,
            client,
            holder,
            transport,
            upgrade: None,
            spaces: Spaces::default(),
            current: 0,
            own: None,
            decoder: Decoder::new(),
            unfinished: None,
            queued: false,
            closing: false,
            over: false,
            heard_at: now,
            pinged_at: Instant::NEVER,
            wait: first_ping,
            connect_by: now.plus(CONNECT_LIMIT),
        }
    }

    /// The dialect that it reads.
    pub fn dialect(&self) -> Dialect {
        match self.version {
            Version::V3 => Dialect::SocketIo3,
            Version::V4 => Dialect::SocketIo4,
        }
    }

    /// Notes that the client said something. An Engine.IO 4 server counts answers to its pings
    /// alone, an Engine.IO 3 server everything.
    pub fn heard(&mut self, now: Instant, is_pong: bool) {
        match self.version {
            Version::V4 if is_pong => self.pinged_at = Instant::NEVER,
            Version::V4 => {}
            Version::V3 => self.heard_at = now,
        }
    }

    /// The end of its upgrade may wait to be taken in.
    pub fn put_off_upgrade(&mut self, now: Instant) {
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.by = upgrade.by.max(now.plus(limits::WAITED_LIMIT));
        }
    }

    /// How long it has been there, if it has never joined a namespace.
    pub fn unconnected_for(&self, now: Instant) -> Option<Duration> {
        if self.connect_by == Instant::NEVER {
            return None;
        }
        let left = self.connect_by.since(now);
        let late = now.since(self.connect_by);
        let ms = CONNECT_LIMIT.as_millis() - left.as_millis() + late.as_millis();
        Some(Duration::from_millis(ms))
    }

    /// A WebSocket begins to take over.
    pub fn begin_upgrade(&mut self, now: Instant, conn: ConnId) {
        self.upgrade = Some(Upgrade { conn, probed: false, by: now.plus(UPGRADE_LIMIT) });
    }

    /// Its WebSocket was told to close. From now on the time for that is the only one that counts.
    /// Whether that is new.
    pub fn begin_close(&mut self) -> bool {
        !core::mem::replace(&mut self.closing, true)
    }

    /// Whether its WebSocket was told to close.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// The next thing that time brings.
    pub fn deadline(&self, settings: &Settings) -> Instant {
        if self.closing {
            return Instant::NEVER;
        }
        let upgrade = self.upgrade.map_or(Instant::NEVER, |upgrade| upgrade.by);
        self.ping_deadline(settings).min(self.connect_by).min(upgrade)
    }

    /// Time has come; what for.
    pub fn handle_timeout(&mut self, now: Instant, settings: &Settings) -> Due {
        if self.closing {
            return Due::Nothing;
        }
        if self.connect_by <= now {
            return Due::Unconnected;
        }
        if self.upgrade.is_some_and(|upgrade| upgrade.by <= now) {
            return Due::Upgrade;
        }
        if self.ping_deadline(settings) > now {
            return Due::Nothing;
        }
        if self.is_gone(now, settings) {
            return Due::Gone;
        }
        self.pinged_at = now;
        // The next ping is an interval after this one, whatever the client says meanwhile.
        self.heard_at = now;
        self.wait = settings.limits.ping_interval;
        Due::Ping
    }

    /// Whether nothing has come back in time.
    pub fn is_gone(&self, now: Instant, settings: &Settings) -> bool {
        let is_asked = self.version == Version::V3 || self.pinged_at != Instant::NEVER;
        is_asked && self.ping_deadline(settings) <= now
    }

    /// Gives a client a little more time to be heard, if its silence is found late: the machine has
    /// slept, and what has come meanwhile is still to be read. Whether that was so.
    pub fn put_off(&mut self, now: Instant, settings: &Settings) -> bool {
        let late = now.since(self.ping_deadline(settings)) >= LATE_LIMIT;
        if late {
            let limits = &settings.limits;
            let patience = match self.version {
                Version::V3 => limits.ping_interval.plus(limits.ping_timeout),
                Version::V4 => limits.ping_timeout,
            };
            let until_ms = now.plus(LATE_LIMIT).as_millis();
            let since = Instant::from_millis(until_ms.saturating_sub(patience.as_millis()));
            match self.version {
                Version::V3 => self.heard_at = since,
                Version::V4 => self.pinged_at = since,
            }
        }
        late
    }

    fn ping_deadline(&self, settings: &Settings) -> Instant {
        let limits = &settings.limits;
        match self.version {
            Version::V3 => self.heard_at.plus(limits.ping_interval).plus(limits.ping_timeout),
            Version::V4 if self.pinged_at == Instant::NEVER => self.heard_at.plus(self.wait),
            Version::V4 => self.pinged_at.plus(limits.ping_timeout),
        }
    }

    /// The space in `channel`.
    pub fn space(&self, channel: ChannelId) -> Option<usize> {
        self.spaces.iter().position(|space| space.channel == channel)
    }

    /// Gives back what it holds.
    pub fn release(&mut self, pool: &mut Pool) {
        let unfinished = self.unfinished.take().map(Unfinished::buffer);
        self.own.take().into_iter().chain(unfinished).for_each(|buffer| pool.give(buffer));
    }

    /// The buffers that are held, for the account of the pool.
    pub fn buffers(&self) -> impl Iterator<Item = BufferId> {
        self.own.into_iter().chain(self.unfinished.map(Unfinished::buffer))
    }

    /// What is reserved for it, for the account of the pool.
    pub fn reserved_bytes(&self) -> u64 {
        SESSION_BYTES + self.spaces.reserved_bytes()
    }
}

/// The list of sessions that were to enter a namespace and have not.
const UNENTERED: usize = 0;
/// The list of sessions that have ended.
const OVER: usize = 1;

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    /// Boxes, so that the memory of those that have gone is given back.
    table: Slab<Box<Session>>,
    sids: HashMap<Sid, SessionId, HashKey>,
    wheel: Wheel,
    /// Those that were to enter a namespace and have not, in the order in which they came, and
    /// those that have ended.
    order: Order<2>,
    /// Sessions in the list of those that have ended.
    over: usize,
    /// Places in the tables that are paid for: `len() <= places`.
    places: usize,
}

impl Sessions {
    /// None yet. Nothing is set aside: sessions are paid for from the pool.
    pub fn new(now: Instant, key: HashKey) -> Sessions {
        let (table, sids) = (Slab::new(), HashMap::with_hasher(key));
        let (wheel, order) = (Wheel::new(now, 0), Order::new(0));
        Sessions { table, sids, wheel, order, over: 0, places: 0 }
    }

    /// Adds one, for which [`SESSION_BYTES`] are reserved, and [`PLACE_BYTES`] spent if there were
    /// never so many; `None` if the pool has no room.
    ///
    /// One that polls is lent its first buffer here, and keeps one while it polls: a ping or a pong
    /// that finds no poll must not be what ends it when strangers have used up the memory.
    pub fn open(
        &mut self,
        pool: &mut Pool,
        settings: &Settings,
        mut session: Session,
    ) -> Option<SessionId> {
        if self.table.len() == self.places {
            if !pool.spend(PLACE_BYTES) {
                return None;
            }
            self.places += 1;
        }
        if !pool.reserve(SESSION_BYTES) {
            return None;
        }
        if matches!(session.transport, Transport::Polling { .. }) {
            session.own = pool.take(0);
            if session.own.is_none() {
                pool.release(SESSION_BYTES);
                return None;
            }
        }
        let (sid, deadline) = (session.sid, session.deadline(settings));
        let enters_unasked = session.version == Version::V3;
        let id = SessionId(self.table.insert(Box::new(session)) as u32);
        self.sids.insert(sid, id);
        self.wheel.set(id.0, deadline);
        if !enters_unasked {
            self.order.push(UNENTERED, id.0);
        }
        Some(id)
    }

    /// Ends a session that has left its channels: nobody finds it any more, and nothing is due. Its
    /// place is kept until [`Sessions::reap`], so that whoever still works on it need not know.
    ///
    /// # Panics
    /// If the session has a place in a channel, or has ended already.
    pub fn end(&mut self, pool: &mut Pool, id: SessionId) {
        let session = &mut self.table[id.0 as usize];
        assert!(session.spaces.is_empty() && !session.over, "it has left its channels, once");
        session.release(pool);
        session.over = true;
        self.sids.remove(&session.sid);
        self.wheel.clear(id.0);
        self.order.remove(id.0);
        self.order.push(OVER, id.0);
        self.over += 1;
    }

    /// Takes those away that have ended. Nobody works on a session now.
    pub fn reap(&mut self, pool: &mut Pool) {
        while let Some(number) = self.order.first(OVER) {
            self.order.remove(number);
            self.over -= 1;
            self.table.remove(number as usize);
            pool.release(SESSION_BYTES);
        }
    }

    /// One has entered a namespace.
    pub fn entered(&mut self, id: SessionId) {
        self.table[id.0 as usize].connect_by = Instant::NEVER;
        self.order.remove(id.0);
    }

    /// One that has entered no namespace is told to close: it is not waited for any more.
    pub fn dismiss(&mut self, id: SessionId) {
        if self.contains(id) {
            self.order.remove(id.0);
        }
    }

    /// How many have entered no namespace, but for those that enter one unasked.
    pub fn unentered(&self) -> usize {
        self.order.len() - self.over
    }

    /// Which of them came first.
    pub fn first_unentered(&self) -> Option<SessionId> {
        self.order.first(UNENTERED).map(SessionId)
    }

    /// Whether [`Sessions::open`] would find the memory that it needs.
    pub fn can_open(&self, pool: &Pool, polls: bool) -> bool {
        let place_bytes = if self.table.len() == self.places { PLACE_BYTES } else { 0 };
        let buffer_bytes = if polls { pool.taking_bytes(0) } else { 0 };
        place_bytes + SESSION_BYTES + buffer_bytes <= pool.free_bytes()
    }

    /// Asserts what must hold; for the server's check.
    pub fn check(&self) {
        assert_eq!((self.over, self.order.first(OVER)), (0, None), "the ended were reaped");
        for (id, session) in self.iter() {
            let waits = self.order.contains(id.0);
            let is_unentered = session.connect_by != Instant::NEVER;
            let may_wait = is_unentered && session.version == Version::V4;
            // Once its WebSocket was told to close it is not waited for, and was before.
            assert_eq!(waits, may_wait && !session.closing, "session {}", id.0);
        }
        self.wheel.check();
    }

    /// Who calls itself `sid`.
    pub fn find(&self, sid: &Sid) -> Option<SessionId> {
        self.sids.get(sid).copied()
    }

    /// One that lives.
    pub fn get(&self, id: SessionId) -> &Session {
        &self.table[id.0 as usize]
    }

    /// The same, to change.
    pub fn get_mut(&mut self, id: SessionId) -> &mut Session {
        &mut self.table[id.0 as usize]
    }

    /// Whether it lives still.
    pub fn contains(&self, id: SessionId) -> bool {
        self.table.get(id.0 as usize).is_some_and(|session| !session.over)
    }

    /// Puts a session's deadline, which may have changed, into the wheel.
    pub fn arm(&mut self, id: SessionId, settings: &Settings) {
        if self.contains(id) {
            let deadline = self.table[id.0 as usize].deadline(settings);
            self.wheel.set(id.0, deadline);
        }
    }

    /// Tells the time before deadlines are set.
    pub fn tell(&mut self, now: Instant) {
        self.wheel.tell(now);
    }

    /// The next session whose deadline was reached.
    pub fn expire(&mut self, now: Instant) -> Option<SessionId> {
        self.wheel.expire(now).map(SessionId)
    }

    /// When [`Sessions::expire`] is worth calling.
    pub fn next(&self) -> Option<Instant> {
        self.wheel.next()
    }

    /// All that live.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        let all = self.table.iter().filter(|(_, session)| !session.over);
        all.map(|(number, session)| (SessionId(number as u32), &**session))
    }

    /// How many live.
    pub fn len(&self) -> usize {
        self.table.len() - self.over
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
