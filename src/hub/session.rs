//! Engine.IO sessions, which outlive the connections that carry them.
//!
//! A session is known to its client by an id that cannot be guessed, and is carried either by
//! polls, one held request at a time, or by a WebSocket. It is a member of up to eight channels,
//! its spaces (`spaces`).
//!
//! Packets for the client alone wait here while there is no request to answer, as the WebSocket
//! frames that they would be. So they need no translation when the transport changes.

use core::ops::{Deref, DerefMut};
use std::collections::HashMap;

use slab::Slab;

use super::spaces::{MEMBER_BYTES, OVERHEAD_BYTES, Spaces};
use super::{HashKey, Holder, Hub};
use crate::id::{ChannelId, Client, ConnId, Dialect, SessionId, Subject};
use crate::lifetime::Lifetime;
use crate::limits::{self, CONNECT_LIMIT, Limits};
use crate::order::{self, Order};
use crate::pool::{BufferId, Pool};
use crate::rate::Paid;
use crate::time::{Duration, Instant};
use crate::visa::Visa;
use crate::wheel::{self, Wheel};
use crate::wire::engine::{Sid, Version};
use crate::wire::socketio::Decoder;

/// Bytes of the pool that a session reserves for itself and its first space.
pub const SESSION_BYTES: u64 = size_of::<Session>() as u64 + OVERHEAD_BYTES + MEMBER_BYTES;

/// Bytes of the pool that are spent for good on a session's places in the tables. There are as many
/// places as there ever were sessions at one time, for tables do not shrink. Lists count twice,
/// since they double when they grow. The table of ids is at least seven sixteenths full, and while
/// it is made anew, the old one, half as large, is there as well.
pub const SESSION_TABLES_BYTES: u64 = {
    let key_bytes = size_of::<(Sid, u32)>() + 1;
    let lists_bytes =
        size_of::<(usize, Box<Session>)>() + wheel::ENTRY_BYTES + 3 * order::LINK_BYTES;
    (2 * lists_bytes + (key_bytes * 24).div_ceil(7)) as u64
};

/// Bytes of the answer that tells of a session, with its head.
const FIRST_ANSWER_BYTES: usize = 512;

/// The most own bytes that may wait. A session that polls and needs more ends, since a client that
/// makes us say more without ever asking for it is not a client. A publisher with more of them on a
/// full socket is not read until they have gone.
pub const OWN_BYTES_MAX: usize = 64 * 1024;

/// What carries a session at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Polls and POSTs, at most one of each at a time.
    Polling {
        /// The connection with a poll that waits for something to be answered with.
        held: Option<ConnId>,
        /// The connection with a POST whose body is being read or taken in.
        posting: Option<ConnId>,
    },
    /// A WebSocket, on this connection.
    WebSocket(ConnId),
}

/// A WebSocket that is about to take over a session that polls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upgrade {
    /// The connection of the WebSocket.
    pub conn: ConnId,
    /// Whether the WebSocket has sent its probe, or the packet that may stand for it: polls are
    /// answered at once.
    pub probed: bool,
    /// How often the end of the upgrade was put off.
    pub put_offs: u8,
    /// When the upgrade is given up.
    pub by: Instant,
}

/// A namespace that a session is about to enter, whose channel is being opened. What the client
/// says meanwhile is not taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entering {
    /// The buffer with the namespace, and what the client's CONNECT carried.
    pub asked: BufferId,
    /// The channel.
    pub channel: ChannelId,
    /// When the session is told that it does not enter.
    pub by: Instant,
    /// Whether the session is to enter when its turn comes: the wait is over.
    pub is_due: bool,
}

/// An event whose binary arguments have not all come. The text and the arguments that have come lie
/// one behind the other in one buffer of the pool, each behind its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unfinished(BufferId);

/// Bytes of the length in front of each piece.
const LENGTH_BYTES: usize = 4;

impl Unfinished {
    /// An event of which only the text has come; `None` if the pool is empty.
    pub fn new(pool: &mut Pool, text: &str) -> Option<Unfinished> {
        let buffer = pool.take(LENGTH_BYTES + text.len())?;
        let mut unfinished = Unfinished(buffer);
        let write = |out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes());
        let added = unfinished.add(pool, text.len(), write);
        assert!(added.is_some(), "a buffer has the room that was asked for");
        Some(unfinished)
    }

    /// Adds the piece that `write` appends, of at most `bytes_max` bytes. Returns what `write`
    /// returns; `None` if the pool is empty.
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

    /// The buffer in which the pieces lie.
    pub fn buffer(self) -> BufferId {
        self.0
    }
}

/// The pieces in the buffer of an [`Unfinished`]: the text, then the arguments that have come.
pub fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
        let (piece, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        bytes = rest;
        Some(piece)
    })
}

/// One Engine.IO session over all its connections.
#[derive(Debug)]
pub struct Session {
    /// The id by which the client knows the session.
    pub sid: Sid,
    /// The version of Engine.IO that the client speaks.
    pub version: Version,
    /// The client's address as the handshake gave it.
    pub client: Client,
    /// The account of the session, and of what it brings into being.
    pub holder: Holder,
    /// What carries the session at the moment.
    pub transport: Transport,
    /// The WebSocket that is about to take over, if there is one.
    pub upgrade: Option<Upgrade>,
    /// Until when the client may stay, and who it is by the token of its handshake, if there was
    /// one.
    visa: Visa,
    /// The buffer with what the token of the handshake lets the client do, if it showed one.
    pass: Option<BufferId>,
    /// The session's places in channels.
    pub spaces: Spaces,
    /// The buffer with frames for the client alone, while the session polls.
    pub own: Option<BufferId>,
    /// What has come of the Socket.IO packet under way, and what may come next.
    pub decoder: Decoder,
    /// A binary event whose arguments have not all come.
    pub unfinished: Option<Unfinished>,
    /// The namespace that the session is about to enter, while its channel is being opened.
    entering: Option<Entering>,
    /// Whether the client has ever left a namespace, of which something may have been on its way.
    pub has_left: bool,
    /// How much the client has said lately, whatever has carried it; means nothing where that is
    /// not limited.
    pub paid: Paid,
    /// Until when the session may last. When that is over, how long a poll is waited for that is
    /// told the end. [`Instant::NEVER`] without a limit.
    stays_until: Instant,
    /// Whether the session has lasted for as long as it may.
    has_stayed: bool,
    /// Whether the session's WebSocket was told to close: then nothing is said or due any more.
    closing: bool,
    /// Whether the session has ended and waits to be reaped.
    over: bool,
    /// Which session of its slot it is.
    generation: u32,
    heard_at: Instant,
    pinged_at: Instant,
    wait: Duration,
    connect_by: Instant,
}

/// What a session's deadline was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Nothing is due, for the deadline was put off.
    Nothing,
    /// The client is to be pinged.
    Ping,
    /// The session ends, for nothing came back in time.
    Gone,
    /// The session ends, for it has entered no namespace in time.
    Unconnected,
    /// The session ends, for its token has expired.
    Expired,
    /// The upgrade is given up, for it was not finished in time.
    Upgrade,
    /// The session is told that it cannot enter a namespace: its channel was not opened in time.
    Entering,
    /// The session has lasted for as long as it may. Its WebSocket is told so, or its next poll.
    Stayed,
    /// The session ends, for no poll has come that could be told that it has lasted for long
    /// enough, or what it was to be told before that has no end.
    Overstayed,
}

/// How long the pings of a session are apart, and how long an answer may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pings {
    interval: Duration,
    timeout: Duration,
}

/// An upgrade must be finished this long after it began.
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);
/// How often an upgrade is given [`limits::WAITED_LIMIT`] more. If a client says elsewhere as much
/// as it may, the connection of the WebSocket would otherwise be neither read nor given up.
const PUT_OFFS_MAX: u8 = 5;
/// A client whose silence is found this late, or later, is given as much time again.
const LATE_LIMIT: Duration = Duration::from_secs(2);

impl Session {
    /// A session that begins at `now` and is first pinged after `first_ping`.
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
            visa: Visa::UNLIMITED,
            pass: None,
            spaces: Spaces::default(),
            own: None,
            decoder: Decoder::new(),
            unfinished: None,
            entering: None,
            has_left: false,
            paid: Paid::new(now),
            stays_until: Instant::NEVER,
            has_stayed: false,
            generation: 0,
            closing: false,
            over: false,
            heard_at: now,
            pinged_at: Instant::NEVER,
            wait: first_ping,
            connect_by: now.plus(CONNECT_LIMIT),
        }
    }

    /// The dialect that the session reads.
    pub fn dialect(&self) -> Dialect {
        match self.version {
            Version::V3 => Dialect::SocketIo3,
            Version::V4 => Dialect::SocketIo4,
        }
    }

    /// Notes what the client has shown in its handshake: until when it may stay and who it is, and
    /// a buffer with what it may do.
    pub fn show(&mut self, visa: Visa, pass: Option<BufferId>) {
        (self.visa, self.pass) = (visa, pass);
    }

    /// What the client has shown in its handshake; its stay ends earlier if it has entered a
    /// channel with a token that expires earlier.
    pub fn shown(&self) -> (Visa, Option<BufferId>) {
        (self.visa, self.pass)
    }

    /// Notes that the client has entered a channel with `visa`: its stay ends with that, too.
    pub fn limit_stay(&mut self, visa: Visa) {
        self.visa = self.visa.limited_by(visa);
    }

    /// Whether the client may speak in a channel that it is in.
    pub fn may_speak(&self, channel: ChannelId) -> bool {
        self.spaces.find(channel).is_none_or(|space| self.spaces[space].may_speak)
    }

    /// Whether the client has shown a token of this subject, for all of its channels or for one in
    /// which it still is.
    pub fn is(&self, subject: Subject) -> bool {
        let own = self.visa.subject();
        own == Some(subject) || self.spaces.iter().any(|space| space.subject == Some(subject))
    }

    /// The connections by which the client may say something: the WebSocket, or that of a POST and
    /// the WebSocket that is about to take over.
    pub fn publishers(&self) -> [Option<ConnId>; 2] {
        match self.transport {
            Transport::WebSocket(id) => [Some(id), None],
            Transport::Polling { posting, .. } => {
                [posting, self.upgrade.map(|upgrade| upgrade.conn)]
            }
        }
    }

    /// Notes that the client said something. In Engine.IO 4 only answers to pings count
    /// (`is_pong`), in Engine.IO 3 everything does. Returns how long a ping has waited for its
    /// answer, if this is one.
    pub fn heard(&mut self, now: Instant, is_pong: bool) -> Option<Duration> {
        match self.version {
            Version::V4 if is_pong => {
                let pinged_at = core::mem::replace(&mut self.pinged_at, Instant::NEVER);
                return (pinged_at != Instant::NEVER).then(|| now.since(pinged_at));
            }
            Version::V4 => {}
            Version::V3 => self.heard_at = now,
        }
        None
    }

    /// Gives an upgrade [`limits::WAITED_LIMIT`] more, since its last packet may wait to be taken
    /// in. `false` if it has had that often enough.
    pub fn put_off_upgrade(&mut self, now: Instant) -> bool {
        let upgrade = self.upgrade.as_mut().filter(|upgrade| upgrade.put_offs < PUT_OFFS_MAX);
        let Some(upgrade) = upgrade else { return false };
        upgrade.put_offs += 1;
        upgrade.by = upgrade.by.max(now.plus(limits::WAITED_LIMIT));
        true
    }

    /// How long the session has been there, if it has never entered a namespace.
    pub fn unconnected_for(&self, now: Instant) -> Option<Duration> {
        if self.connect_by == Instant::NEVER {
            return None;
        }
        let left = self.connect_by.since(now);
        let late = now.since(self.connect_by);
        let ms = CONNECT_LIMIT.as_millis() - left.as_millis() + late.as_millis();
        Some(Duration::from_millis(ms))
    }

    /// Notes that the WebSocket on `conn` is about to take over.
    pub fn begin_upgrade(&mut self, now: Instant, conn: ConnId) {
        let by = now.plus(UPGRADE_LIMIT);
        self.upgrade = Some(Upgrade { conn, probed: false, put_offs: 0, by });
    }

    /// Lets the WebSocket on `conn` take over, beginning with the first space. Returns the buffer
    /// with frames for the client that no poll has brought.
    pub fn take_over(&mut self, conn: ConnId) -> Option<BufferId> {
        self.upgrade = None;
        self.transport = Transport::WebSocket(conn);
        self.spaces.begin_rotation();
        self.own.take()
    }

    /// Notes that a connection that carried the session, or wanted to, is gone. Returns whether the
    /// session can do without it, which only wanted to.
    pub fn lose(&mut self, conn: ConnId) -> bool {
        if self.upgrade.is_some_and(|upgrade| upgrade.conn == conn) {
            self.upgrade = None;
            return true;
        }
        if let Transport::Polling { held, posting } = &mut self.transport {
            *held = held.filter(|held| *held != conn);
            *posting = posting.filter(|posting| *posting != conn);
        }
        false
    }

    /// Whether the session has lasted for as long as it may, so that its next poll is told the end.
    pub fn has_stayed(&self) -> bool {
        self.has_stayed
    }

    /// Whether the session's WebSocket was told to close.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// When [`Session::handle_timeout`] is due.
    pub fn deadline(&self, pings: Pings) -> Instant {
        if self.closing {
            return Instant::NEVER;
        }
        let upgrade = self.upgrade.map_or(Instant::NEVER, |upgrade| upgrade.by);
        let entering = self.entering.filter(|entering| !entering.is_due);
        let entering = entering.map_or(Instant::NEVER, |entering| entering.by);
        let stay = self.stays_until.min(self.visa.until());
        let ping = self.ping_deadline(pings);
        ping.min(self.connect_by).min(upgrade).min(stay).min(entering)
    }

    /// Acts on the deadline, if it has been reached. Returns what that was for.
    pub fn handle_timeout(&mut self, now: Instant, pings: Pings) -> Due {
        if self.closing {
            return Due::Nothing;
        }
        if self.visa.until() <= now {
            return Due::Expired;
        }
        if self.connect_by <= now {
            return Due::Unconnected;
        }
        if self.upgrade.is_some_and(|upgrade| upgrade.by <= now) {
            return Due::Upgrade;
        }
        if self.entering.is_some_and(|entering| !entering.is_due && entering.by <= now) {
            return Due::Entering;
        }
        if self.stays_until <= now {
            self.stays_until = now.plus(limits::POLL_GAP_LIMIT);
            let is_told = core::mem::replace(&mut self.has_stayed, true);
            return if is_told { Due::Overstayed } else { Due::Stayed };
        }
        if self.ping_deadline(pings) > now {
            return Due::Nothing;
        }
        if self.is_gone(now, pings) {
            return Due::Gone;
        }
        self.pinged_at = now;
        // The next ping is due an interval after this one, whatever the client says meanwhile.
        self.heard_at = now;
        self.wait = pings.interval;
        Due::Ping
    }

    /// Whether the session is about to enter a namespace, and what its client says waits for that.
    pub fn is_entering(&self) -> bool {
        self.entering.is_some()
    }

    /// Whether the client's silence has lasted too long.
    pub fn is_gone(&self, now: Instant, pings: Pings) -> bool {
        let is_asked = self.version == Version::V3 || self.pinged_at != Instant::NEVER;
        is_asked && self.ping_deadline(pings) <= now
    }

    /// Gives the client `LATE_LIMIT` more if its silence is found at least as late: then the
    /// machine has slept, and what has come meanwhile is still to be read. Returns whether that was
    /// so.
    pub fn put_off(&mut self, now: Instant, pings: Pings) -> bool {
        let late = now.since(self.ping_deadline(pings)) >= LATE_LIMIT;
        if late {
            let patience = match self.version {
                Version::V3 => pings.interval.plus(pings.timeout),
                Version::V4 => pings.timeout,
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

    fn ping_deadline(&self, pings: Pings) -> Instant {
        match self.version {
            Version::V3 => self.heard_at.plus(pings.interval).plus(pings.timeout),
            Version::V4 if self.pinged_at == Instant::NEVER => self.heard_at.plus(self.wait),
            Version::V4 => self.pinged_at.plus(pings.timeout),
        }
    }

    /// Gives the session's buffers back to the pool.
    pub fn release(&mut self, pool: &mut Pool) {
        let unfinished = self.unfinished.take().map(Unfinished::buffer);
        let entering = self.entering.take().map(|entering| entering.asked);
        let buffers = [self.own.take(), self.pass.take(), unfinished, entering];
        buffers.into_iter().flatten().for_each(|buffer| pool.give(buffer));
    }

    /// All buffers of the session, for the server's account of the pool.
    pub fn buffers(&self) -> impl Iterator<Item = BufferId> {
        let entering = self.entering.map(|entering| entering.asked);
        let unfinished = self.unfinished.map(Unfinished::buffer);
        [self.own, self.pass, unfinished, entering].into_iter().flatten()
    }

    /// Bytes that the session has reserved in the pool, for the server's account of it.
    pub fn reserved_bytes(&self) -> u64 {
        SESSION_BYTES + self.spaces.reserved_bytes()
    }
}

/// The number of the list of sessions that must enter a namespace and have not yet.
const UNENTERED: usize = 0;
/// The number of the list of sessions that have ended and are still to be reaped.
const OVER: usize = 1;
/// The only list of sessions whose polls are to be answered.
const ANSWERS: usize = 0;
/// The number of the list of sessions that wait for a channel to be opened.
const AWAITING: usize = 0;
/// The number of the list of sessions that are to enter, since their wait is over.
const TO_ENTER: usize = 1;

/// All sessions, by number and by id, with their deadlines and the lists in which they stand.
///
/// All of it is private, because it has to agree. So a session is only changed through
/// [`Sessions::edit`], behind which its deadline is armed; no caller can forget that.
#[derive(Debug)]
pub struct Sessions {
    /// Sessions are boxed, so that the memory of each is given back when it has gone.
    table: Slab<Box<Session>>,
    /// The slots of the sessions that live.
    sids: HashMap<Sid, u32, HashKey>,
    /// The generation of the session that was opened last.
    generation: u32,
    wheel: Wheel,
    pings: Pings,
    /// How long each session may last, if that is limited.
    lifetime: Option<Lifetime>,
    /// Two lists: sessions that must enter a namespace and have not yet, in the order in which they
    /// came; and sessions that have ended.
    order: Order<2>,
    /// Sessions whose polls are to be answered, in the order of their turns.
    answers: Order<1>,
    /// Two lists: sessions that wait for a channel to be opened; and those whose wait is over.
    entering: Order<2>,
    /// Places in the tables for which the pool was charged: `len() <= places`.
    places: usize,
}

/// A session that is being changed. When it is dropped, the session's deadline is armed.
#[derive(Debug)]
pub struct Edit<'a> {
    session: &'a mut Session,
    slot: u32,
    wheel: &'a mut Wheel,
    pings: Pings,
}

impl Deref for Edit<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
    }
}

impl DerefMut for Edit<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        self.session
    }
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        if !self.session.over {
            self.wheel.set(self.slot, self.session.deadline(self.pings));
        }
    }
}

impl Sessions {
    /// No sessions yet. Nothing is set aside: memory for sessions is taken from the pool.
    pub fn new(
        now: Instant,
        key: HashKey,
        limits: &Limits,
        lifetime: Option<Lifetime>,
    ) -> Sessions {
        Sessions {
            table: Slab::new(),
            sids: HashMap::with_hasher(key),
            generation: 0,
            wheel: Wheel::new(now, 0),
            pings: Pings { interval: limits.ping_interval, timeout: limits.ping_timeout },
            lifetime,
            order: Order::new(0),
            answers: Order::new(0),
            entering: Order::new(0),
            places: 0,
        }
    }

    /// Adds a session. [`SESSION_BYTES`] are reserved for it, and [`SESSION_TABLES_BYTES`] spent if
    /// there were never so many. `None` if the pool has no room.
    ///
    /// A session that polls is lent its first buffer here, and keeps one while it polls: it must
    /// not end because a ping or a pong finds no poll and no memory, when strangers have used that
    /// up.
    pub fn open(&mut self, pool: &mut Pool, mut session: Session) -> Option<SessionId> {
        if self.table.len() == self.places {
            if !pool.spend(SESSION_TABLES_BYTES) {
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
        self.generation = self.generation.wrapping_add(1);
        session.generation = self.generation;
        if let Some(lifetime) = self.lifetime {
            session.stays_until = session.heard_at.plus(lifetime.of(session.generation));
        }
        let (sid, deadline) = (session.sid, session.deadline(self.pings));
        let slot = self.table.insert(Box::new(session)) as u32;
        self.sids.insert(sid, slot);
        self.wheel.set(slot, deadline);
        self.order.push(UNENTERED, slot);
        Some(SessionId { slot, generation: self.generation })
    }

    /// Ends a session that has left its channels: nobody finds it any more, and nothing is due. Its
    /// place is kept until [`Sessions::reap`], so that whoever still works on it need not know.
    ///
    /// # Panics
    /// If the session has a place in a channel, or has ended already.
    pub fn end(&mut self, pool: &mut Pool, id: SessionId) {
        assert!(self.contains(id), "a session ends once");
        let session = &mut self.table[id.slot as usize];
        assert!(session.spaces.is_empty(), "it has left its channels");
        if let Some(entering) = session.entering {
            self.entering.remove(list_of(&entering), id.slot);
        }
        session.release(pool);
        session.over = true;
        self.sids.remove(&session.sid);
        self.wheel.clear(id.slot);
        self.answers.remove(ANSWERS, id.slot);
        self.order.remove(UNENTERED, id.slot);
        self.order.push(OVER, id.slot);
    }

    /// Takes all sessions that have ended out of the table. Nobody may be working on a session.
    pub fn reap(&mut self, pool: &mut Pool) {
        while let Some(slot) = self.order.pop(OVER) {
            self.table.remove(slot as usize);
            pool.release(SESSION_BYTES);
        }
    }

    /// Notes that a session has entered a namespace.
    pub fn entered(&mut self, id: SessionId) {
        self.edit(id).connect_by = Instant::NEVER;
        self.order.remove(UNENTERED, id.slot);
    }

    /// Notes that a session in no namespace was told to close, so that it is no longer waited for.
    pub fn dismiss(&mut self, id: SessionId) {
        if self.contains(id) {
            self.order.remove(UNENTERED, id.slot);
        }
    }

    /// Notes that a session's WebSocket was told to close; from now on only that connection's
    /// deadline counts, and no namespace is waited for. Returns whether it was told for the first
    /// time.
    pub fn begin_close(&mut self, hub: &Hub, id: SessionId) -> bool {
        self.dismiss(id);
        let mut session = self.edit(id);
        let is_first = !core::mem::replace(&mut session.closing, true);
        if is_first {
            session.begin_close(hub);
        }
        is_first
    }

    /// How many sessions have yet to enter a namespace.
    pub fn unentered(&self) -> usize {
        self.order.len(UNENTERED)
    }

    /// The session that has waited for longest to enter a namespace.
    pub fn first_unentered(&self) -> Option<SessionId> {
        self.order.first(UNENTERED).map(|slot| self.id(slot))
    }

    /// Has a session wait for a channel that is being opened.
    ///
    /// # Panics
    /// If the session waits for one already, or does not live.
    pub fn await_channel(&mut self, id: SessionId, entering: Entering) {
        assert!(self.contains(id) && !self.get(id).is_entering(), "one after the other");
        self.edit(id).entering = Some(entering);
        self.entering.push(list_of(&entering), id.slot);
    }

    /// Has all sessions enter in their turn that wait for `channel`. Work: a look at each that
    /// waits for any.
    pub fn answer_awaiting(&mut self, channel: ChannelId) {
        for _ in 0..self.entering.len(AWAITING) {
            let slot = self.entering.pop(AWAITING).expect("the list was counted");
            let id = self.id(slot);
            let mut session = self.edit(id);
            let list = session.entering.as_mut().map_or(AWAITING, |entering| {
                entering.is_due = entering.channel == channel;
                list_of(entering)
            });
            drop(session);
            self.entering.push(list, slot);
        }
    }

    /// The next session that is to enter, since the wait for its channel is over.
    pub fn next_to_enter(&self) -> Option<SessionId> {
        self.entering.first(TO_ENTER).map(|slot| self.id(slot))
    }

    /// Ends a session's wait for a channel. Returns what it has waited with, if it has.
    pub fn stop_awaiting(&mut self, id: SessionId) -> Option<Entering> {
        let entering = self.edit(id).entering.take()?;
        self.entering.remove(list_of(&entering), id.slot);
        Some(entering)
    }

    /// Has the poll of a session answered soon, if the session lives.
    pub fn answer_soon(&mut self, id: SessionId) {
        if self.contains(id) && !self.answers.contains(id.slot) {
            self.answers.push(ANSWERS, id.slot);
        }
    }

    /// Takes the session whose poll is to be answered next out of the list of these.
    pub fn next_answer(&mut self) -> Option<SessionId> {
        self.answers.pop(ANSWERS).map(|slot| self.id(slot))
    }

    /// Whether the poll of any session is to be answered.
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty(ANSWERS)
    }

    /// Whether [`Sessions::open`] would find the memory that it needs, and after it the answer to
    /// the poll that opens the session.
    pub fn can_open(&self, pool: &Pool, polls: bool) -> bool {
        let place_bytes = if self.table.len() == self.places { SESSION_TABLES_BYTES } else { 0 };
        let buffer_bytes = match polls {
            true => pool.taking_bytes(0) + pool.taking_bytes(FIRST_ANSWER_BYTES),
            false => 0,
        };
        place_bytes + SESSION_BYTES + buffer_bytes <= pool.free_bytes()
    }

    /// Asserts that deadlines, lists and counts agree, between two calls. Walks everything: for
    /// tests.
    pub fn check(&self) {
        assert!(self.order.is_empty(OVER), "the ended were reaped");
        self.order.check();
        self.answers.check();
        self.entering.check();
        for (id, session) in self.iter() {
            let SessionId { slot, .. } = id;
            let waits = self.order.contains(slot);
            let is_unentered = session.connect_by != Instant::NEVER;
            // A session was waited for until its WebSocket was told to close.
            assert_eq!(waits, is_unentered && !session.closing, "session {slot}");
            let due = session.deadline(self.pings);
            assert!(self.wheel.is_set(slot, due), "session {slot}: its deadline is armed");
            assert_eq!(self.find(&session.sid), Some(id));
            assert_eq!(session.is_entering(), self.entering.contains(slot), "session {slot}");
        }
        for list in [AWAITING, TO_ENTER] {
            for slot in self.entering.iter(list) {
                let entering = self.table[slot as usize].entering.as_ref();
                assert_eq!(entering.map(list_of), Some(list), "session {slot}");
            }
        }
        assert_eq!(self.sids.len(), self.len());
        assert!(self.len() <= self.places);
        let lives = |slot: u32| self.table.get(slot as usize).is_some_and(|it| !it.over);
        assert!(self.answers.iter(ANSWERS).all(lives), "nothing stale waits for an answer");
        self.wheel.check();
    }

    /// The session that its client knows by `sid`.
    pub fn find(&self, sid: &Sid) -> Option<SessionId> {
        self.sids.get(sid).map(|slot| self.id(*slot))
    }

    /// The id of the session in a slot that is taken.
    ///
    /// # Panics
    /// If the slot is not taken.
    pub fn id(&self, slot: u32) -> SessionId {
        SessionId { slot, generation: self.table[slot as usize].generation }
    }

    /// The session of this id.
    ///
    /// # Panics
    /// If the session was reaped.
    pub fn get(&self, id: SessionId) -> &Session {
        let session = &self.table[id.slot as usize];
        assert_eq!(session.generation, id.generation, "a session that was reaped");
        session
    }

    /// The session of this id, to be changed. When what is returned goes out of scope, the
    /// session's deadline is armed.
    ///
    /// # Panics
    /// If the session was reaped.
    pub fn edit(&mut self, id: SessionId) -> Edit<'_> {
        let session = &mut self.table[id.slot as usize];
        assert_eq!(session.generation, id.generation, "a session that was reaped");
        Edit { session, slot: id.slot, wheel: &mut self.wheel, pings: self.pings }
    }

    /// The member of a channel that is a session.
    ///
    /// # Panics
    /// If the slot is not taken, which a member's is.
    pub fn member(&self, slot: u32) -> &Session {
        &self.table[slot as usize]
    }

    /// No slot from this number on was ever taken.
    pub fn slots(&self) -> usize {
        self.table.capacity()
    }

    /// The id of the session in a slot, if one lives there.
    pub fn at(&self, slot: u32) -> Option<SessionId> {
        let session = self.table.get(slot as usize).filter(|session| !session.over)?;
        Some(SessionId { slot, generation: session.generation })
    }

    /// Whether the session of this id lives: it has not ended, and nobody else has its slot.
    pub fn contains(&self, id: SessionId) -> bool {
        let session = self.table.get(id.slot as usize);
        session.is_some_and(|session| session.generation == id.generation && !session.over)
    }

    /// Tells the wheel the time, before deadlines are set.
    pub fn tell(&mut self, now: Instant) {
        self.wheel.tell(now);
    }

    /// Acts on a deadline that has been reached. Returns the session and what its deadline was for.
    /// To be called until it returns `None`.
    pub fn expire(&mut self, now: Instant) -> Option<(SessionId, Due)> {
        let slot = self.wheel.expire(now)?;
        let (id, pings) = (self.id(slot), self.pings);
        Some((id, self.edit(id).handle_timeout(now, pings)))
    }

    /// How sessions are pinged.
    pub fn pings(&self) -> Pings {
        self.pings
    }

    /// When [`Sessions::expire`] is worth calling next; `None` if no deadline is set.
    pub fn next(&self) -> Option<Instant> {
        self.wheel.next()
    }

    /// All sessions that live, with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        let all = self.table.iter().filter(|(_, session)| !session.over);
        all.map(|(slot, session)| {
            (SessionId { slot: slot as u32, generation: session.generation }, &**session)
        })
    }

    /// How many sessions live.
    pub fn len(&self) -> usize {
        self.table.len() - self.order.len(OVER)
    }

    /// Whether no session lives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The list in which a session stands that is about to enter.
fn list_of(entering: &Entering) -> usize {
    if entering.is_due { TO_ENTER } else { AWAITING }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Shares;
    use crate::hub::tests::limits;
    use crate::wire::engine::SID_RANDOM_BYTES;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn sessions() -> (Pool, Sessions) {
        let limits = limits();
        (Pool::new(limits.memory_bytes), Sessions::new(at(0), HashKey([7; 16]), &limits, None))
    }

    fn session(number: u8) -> Session {
        let address = Shares::new(&limits(), HashKey([8; 16])).address([192, 0, 2, 1].into());
        let account =
            (Client::new(([192, 0, 2, 1], 80).into()), Holder { address, is_proxy: false });
        let transport = Transport::Polling { held: None, posting: None };
        let sid = Sid::new([number; SID_RANDOM_BYTES]);
        Session::new(at(0), sid, Version::V4, account, transport, Duration::from_secs(25))
    }

    #[test]
    fn an_id_does_not_mean_the_next_session_of_its_slot() {
        let (mut pool, mut sessions) = sessions();
        let first = sessions.open(&mut pool, session(1)).unwrap();
        let sid = sessions.get(first).sid;
        assert_eq!((sessions.find(&sid), sessions.id(first.slot)), (Some(first), first));
        sessions.end(&mut pool, first);
        // Whoever still works on it finds it, inert.
        assert!(!sessions.contains(first) && sessions.get(first).sid == sid);
        assert_eq!((sessions.find(&sid), sessions.len()), (None, 0));
        sessions.reap(&mut pool);
        let second = sessions.open(&mut pool, session(2)).unwrap();
        assert_eq!(second.slot, first.slot);
        assert!(sessions.contains(second) && !sessions.contains(first));
        sessions.answer_soon(first);
        sessions.dismiss(first);
        assert_eq!((sessions.has_answers(), sessions.unentered()), (false, 1));
        sessions.check();
    }

    #[test]
    #[should_panic(expected = "reaped")]
    fn to_ask_for_a_session_that_was_reaped_is_our_mistake() {
        let (mut pool, mut sessions) = sessions();
        let first = sessions.open(&mut pool, session(1)).unwrap();
        sessions.end(&mut pool, first);
        sessions.reap(&mut pool);
        sessions.open(&mut pool, session(2)).unwrap();
        sessions.get(first);
    }

    #[test]
    fn a_session_that_was_changed_has_its_deadline_armed() {
        let (mut pool, mut sessions) = sessions();
        let id = sessions.open(&mut pool, session(1)).unwrap();
        sessions.check();
        let before = sessions.next();
        sessions.edit(id).begin_upgrade(at(0), ConnId { slot: 1, generation: 1 });
        sessions.check();
        sessions.edit(id).upgrade = None;
        sessions.check();
        sessions.entered(id);
        sessions.check();
        assert!(sessions.next() >= before, "a deadline that is put off may be looked at early");
        assert_eq!(sessions.expire(at(24_000)), None);
        let late = at(27_000);
        assert_eq!(sessions.expire(late), Some((id, Due::Ping)));
        sessions.check();
        let hub = Hub::new(&mut pool, &limits(), [7, 8, 9].map(|key| HashKey([key; 16])));
        assert!(sessions.begin_close(&hub, id) && !sessions.begin_close(&hub, id));
        sessions.check();
        assert_eq!(sessions.expire(at(1_000_000)), None);
    }

    #[test]
    fn polls_are_answered_in_turn_and_nobody_waits_twice() {
        let (mut pool, mut sessions) = sessions();
        let ids = [1, 2, 3].map(|number| sessions.open(&mut pool, session(number)).unwrap());
        for id in [ids[2], ids[0], ids[2], ids[1], ids[0]] {
            sessions.answer_soon(id);
        }
        sessions.check();
        sessions.end(&mut pool, ids[0]);
        sessions.answer_soon(ids[0]);
        sessions.reap(&mut pool);
        sessions.check();
        assert_eq!([(); 3].map(|()| sessions.next_answer()), [Some(ids[2]), Some(ids[1]), None]);
        assert!(!sessions.has_answers());
    }
}
