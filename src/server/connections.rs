//! The connections: their table, their deadlines, the lists in which they stand, and what the loop
//! must remember of their sockets.
//!
//! All of it is private, because it has to agree: whoever may have a new deadline is in the wheel
//! with it, whoever waits for a turn stands in the list for that, once. So a connection is only
//! changed through [`Connections::change`], which arms its deadline and reviews its place among
//! those that may give way, so nobody has to remember that. There is one exception: a connection
//! whose deadline was reached is out of the wheel until `deadline` changes it.
//! [`Connections::check`] asserts that all of it agrees.
//!
//! Lists link slots, so nobody is in one of them twice, and whoever ends leaves all of them at
//! once. The surprise: a connection that has ended keeps its slot until [`Connections::reap`],
//! inert, so that nobody in the middle of a call has to ask whether it still exists.

use super::Server;
use crate::conn::Cx;
use crate::time::Now;
use core::net::SocketAddr;
use slab::Slab;

use super::{Readiness, Socket};
use crate::conn::{Conn, Listener, Waiting};
use crate::id::{ChannelId, ConnId};
use crate::lifetime::Lifetime;
use crate::limits::{self, Limits};
use crate::metrics::Kind;
use crate::order::{self, Order};
use crate::outbound::{Outbound, Source};
use crate::pool::Pool;
use crate::rate::{Paid, Rate};
use crate::reason::CloseReason;
use crate::time::{Duration, Instant};
use crate::wheel::{self, Wheel};

/// What the loop must remember of a socket, and of what was read from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// Whether the socket may have bytes that were not read.
    pub(super) readable: bool,
    /// Whether a short read no longer shows that the socket is empty: its end or urgent data stands
    /// behind, which the kernel says once.
    pub(super) more_behind: bool,
    /// Whether the peer's end was read.
    pub(super) ended: bool,
    /// Whether the last write was short, so that the socket has to become writable first.
    pub(super) blocked: bool,
    /// Whether what was read last was not all taken in because it had to wait, and not because the
    /// rest had not come.
    pub(super) left_off: bool,
    /// Whether the connection is counted among its channel's choked members.
    pub(super) choked: bool,
    /// Whether the end of a session was told, so that only taking leave remains.
    pub(super) told: bool,
    /// Why the connection ends, once that was decided; what becomes of it later changes nothing.
    pub(super) ends_for: Option<CloseReason>,
}

/// Marks as the table keeps them, a bit for each: so an entry has room for its account.
#[derive(Clone, Copy, Debug, Default)]
struct Packed {
    bits: u8,
    ends_for: Option<CloseReason>,
}

impl Packed {
    const READABLE: u8 = 1 << 0;
    const MORE_BEHIND: u8 = 1 << 1;
    const ENDED: u8 = 1 << 2;
    const BLOCKED: u8 = 1 << 3;
    const LEFT_OFF: u8 = 1 << 4;
    const CHOKED: u8 = 1 << 5;
    const TOLD: u8 = 1 << 6;

    fn get(self) -> Marks {
        Marks {
            readable: self.has(Packed::READABLE),
            more_behind: self.has(Packed::MORE_BEHIND),
            ended: self.has(Packed::ENDED),
            blocked: self.has(Packed::BLOCKED),
            left_off: self.has(Packed::LEFT_OFF),
            choked: self.has(Packed::CHOKED),
            told: self.has(Packed::TOLD),
            ends_for: self.ends_for,
        }
    }

    fn has(self, mark: u8) -> bool {
        self.bits & mark != 0
    }

    fn set(&mut self, mark: u8, is_set: bool) {
        self.bits = if is_set { self.bits | mark } else { self.bits & !mark };
    }

    /// Takes a mark away. Whether it was set.
    fn take(&mut self, mark: u8) -> bool {
        let was_set = self.has(mark);
        self.set(mark, false);
        was_set
    }

    /// Notes what was found by reading.
    fn note_read(&mut self, marks: Marks) {
        self.set(Packed::READABLE, marks.readable);
        self.set(Packed::ENDED, marks.ended);
        self.set(Packed::LEFT_OFF, marks.left_off);
    }
}

impl Marks {
    /// Whether there is something of the peer that was not taken in: bytes in the socket, bytes
    /// that were read, or the end.
    pub(super) fn unread(&self) -> bool {
        self.readable || self.left_off || self.ended
    }
}

/// A list of connections that are to send soon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ToSend {
    /// With own bytes to send, or told to close.
    Own,
    /// With a socket that can be written to again, and more to send than own bytes.
    Returning,
}

impl ToSend {
    const ALL: [ToSend; 2] = [ToSend::Own, ToSend::Returning];
}

/// Where a connection waits to be read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ToRead {
    /// In no list.
    Nowhere,
    /// In the list of those that are read in one of the next turns.
    Soon,
    /// In the list of a channel that holds its publishers back.
    Paused,
    /// In the list of those whose request waits for the check of a token.
    Unchecked,
    /// In the list of those whose request waits for a channel to be opened.
    Awaiting,
    /// In no list, until its account says that it may go on.
    HeldBack,
}

/// A connection, its socket, and what the loop must remember of both.
#[derive(Debug)]
struct Entry<S> {
    conn: Conn,
    socket: S,
    generation: u32,
    marks: Packed,
    /// What the connection has said lately by itself, where that is limited. For one that carries a
    /// session and is held back, a copy of the session's account.
    paid: Paid,
    /// The list of those that are to send in which the connection stands.
    to_send: Option<ToSend>,
    to_read: ToRead,
    /// What the connection waits for, while it may give way to others; this names the list in which
    /// it stands.
    waits: Option<Waiting>,
    /// The turn in which the connection began to wait, modulo 2^16.
    waits_since: u16,
    /// Requests that were answered on the connection.
    answers: u16,
    /// What the connection is used for.
    kind: Kind,
}

// Everything that an idle session takes: its entry in the table, its timer, its links in the three
// lists, and its place in its channel's list, which is up to twice as long as needed. (The slab's
// tag fits into the entry.)
const _: () = assert!(
    size_of::<Entry<core::ffi::c_int>>()
        + wheel::ENTRY_BYTES
        + 3 * order::LINK_BYTES
        + 2 * size_of::<crate::id::Member>()
        <= limits::CONNECTION_BYTES
);

/// Lists of connections that may give way, one for each way of waiting of each listener, one of
/// those that have ended, and one of those that are to be ended.
const PLACES: usize = DOOMED + 1;

/// The list of connections that have ended and were not reaped.
const OVER: usize = Listener::ALL.len() * Waiting::ALL.len();

/// The list of connections that are to be ended at once.
const DOOMED: usize = OVER + 1;

/// The list of connections that are to be read again.
const SOON: usize = 0;

/// The list of connections whose request is to be read again when its token can be checked.
const UNCHECKED: usize = 1;

/// The list of connections whose request waits for a channel to be opened.
const AWAITING: usize = 2;

fn list_of(from: Listener, waiting: Waiting) -> usize {
    from as usize * Waiting::ALL.len() + waiting as usize
}

/// All connections; `S` is the socket.
#[derive(Debug)]
pub(super) struct Connections<S> {
    entries: Slab<Entry<S>>,
    /// The generation of the connection that was accepted last.
    generation: u32,
    wheel: Wheel,
    /// The time that the peer of a WebSocket has for the answer to a ping.
    ping_timeout: Duration,
    /// How many connections there are of each listener, not counting those that have ended.
    taken: [usize; Listener::ALL.len()],
    /// How many connections there are of each kind, not counting those that have ended.
    kinds: [usize; Kind::ALL.len()],
    /// Who may give way to others, in the order in which they began to wait, and who has ended.
    places: Order<PLACES>,
    /// Who is to send soon, by [`ToSend`].
    to_send: Order<{ ToSend::ALL.len() }>,
    /// Who is to be read again.
    to_read: Order<3>,
    /// Counts turns, as far as it goes.
    turn: u16,
    /// How often each may say something, if that is limited.
    rate: Option<Rate>,
    /// How long each member may stay, if that is limited.
    lifetime: Option<Lifetime>,
    /// The latest time that was told.
    now: Instant,
}

impl<S: Socket> Connections<S> {
    /// No connections, with the memory set aside for as many as the limits allow.
    pub(super) fn new(now: Instant, limits: &Limits, lifetime: Option<Lifetime>) -> Connections<S> {
        let slots = limits.slots();
        Connections {
            entries: Slab::with_capacity(slots),
            generation: 0,
            wheel: Wheel::new(now, slots),
            ping_timeout: limits.ping_timeout,
            taken: [0; Listener::ALL.len()],
            kinds: [0; Kind::ALL.len()],
            places: Order::new(slots),
            to_send: Order::new(slots),
            to_read: Order::new(slots),
            turn: 0,
            rate: limits.message_rate,
            lifetime,
            now,
        }
    }

    /// The id that the next connection will have.
    pub(super) fn next_id(&self) -> ConnId {
        let slot = self.entries.vacant_key() as u32;
        ConnId { slot, generation: self.generation.wrapping_add(1) }
    }

    /// Adds a connection, under [`Connections::next_id`].
    pub(super) fn insert(&mut self, conn: Conn, socket: S) -> ConnId {
        let id = self.next_id();
        self.generation = id.generation;
        self.taken[conn.listener() as usize] += 1;
        self.kinds[Kind::Http as usize] += 1;
        self.entries.insert(Entry {
            conn,
            socket,
            generation: id.generation,
            marks: Packed::default(),
            paid: Paid::new(self.now),
            to_send: None,
            to_read: ToRead::Nowhere,
            waits: None,
            waits_since: self.turn,
            answers: 0,
            kind: Kind::Http,
        });
        self.settle(id.slot);
        id
    }

    /// Whether the connection of this id lives: it has not ended, and nobody else has its slot.
    pub(super) fn lives(&self, id: ConnId) -> bool {
        let entry = self.entries.get(id.slot as usize);
        entry.is_some_and(|entry| entry.generation == id.generation && !entry.conn.is_over())
    }

    /// The id of the connection in a slot that is taken.
    pub(super) fn id(&self, slot: u32) -> ConnId {
        ConnId { slot, generation: self.entries[slot as usize].generation }
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no connections.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// No slot from this number on was ever taken.
    pub(super) fn slots(&self) -> usize {
        self.entries.capacity()
    }

    /// Whether a slot is taken.
    pub(super) fn contains(&self, slot: u32) -> bool {
        self.entries.contains(slot as usize)
    }

    /// The slots that are taken.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|(slot, _)| slot as u32)
    }

    /// The connection in a slot that is taken.
    pub(super) fn conn(&self, slot: u32) -> &Conn {
        &self.entries[slot as usize].conn
    }

    /// The socket of a connection.
    pub(super) fn socket(&self, slot: u32) -> &S {
        &self.entries[slot as usize].socket
    }

    /// What is remembered of a connection's socket.
    pub(super) fn marks(&self, slot: u32) -> Marks {
        self.entries[slot as usize].marks.get()
    }

    /// Notes what the kernel says about a socket. Who was blocked and can be written to again is to
    /// send.
    pub(super) fn note_readiness(&mut self, slot: u32, readiness: Readiness) {
        let marks = &mut self.entries[slot as usize].marks;
        marks.set(Packed::READABLE, readiness.readable || marks.has(Packed::READABLE));
        marks.set(Packed::MORE_BEHIND, readiness.more_behind || marks.has(Packed::MORE_BEHIND));
        if readiness.writable && marks.take(Packed::BLOCKED) {
            self.send_again(slot);
        }
    }

    /// Notes that a socket may have bytes that were not read, since nobody has looked.
    pub(super) fn set_readable(&mut self, slot: u32) {
        self.entries[slot as usize].marks.set(Packed::READABLE, true);
    }

    /// Notes whether the last write to a socket was short.
    pub(super) fn set_blocked(&mut self, slot: u32, is_blocked: bool) {
        self.entries[slot as usize].marks.set(Packed::BLOCKED, is_blocked);
    }

    /// Notes whether what was read last was left, in part, because it had to wait.
    pub(super) fn set_left_off(&mut self, slot: u32, is_left_off: bool) {
        self.entries[slot as usize].marks.set(Packed::LEFT_OFF, is_left_off);
    }

    /// Marks a member as one of its channel's choked, as which the caller counts it.
    pub(super) fn set_choked(&mut self, slot: u32) {
        self.entries[slot as usize].marks.set(Packed::CHOKED, true);
    }

    /// Takes the mark of the choked away. Returns whether the member had it, and is to be taken off
    /// its channel's count.
    pub(super) fn take_choked(&mut self, slot: u32) -> bool {
        self.entries[slot as usize].marks.take(Packed::CHOKED)
    }

    /// Notes that the end of a session was told.
    pub(super) fn set_told(&mut self, slot: u32) {
        self.entries[slot as usize].marks.set(Packed::TOLD, true);
    }

    /// Notes why a connection ends, unless that was decided before.
    pub(super) fn decide_end(&mut self, slot: u32, reason: CloseReason) {
        self.entries[slot as usize].marks.ends_for.get_or_insert(reason);
    }

    /// Hands a connection's socket to `read`, with what is remembered of it: whether there may be
    /// more, whether the end was read, and whether something was left are noted.
    pub(super) fn read<R>(&mut self, slot: u32, read: impl FnOnce(&S, &mut Marks) -> R) -> R {
        let entry = &mut self.entries[slot as usize];
        let mut marks = entry.marks.get();
        let result = read(&entry.socket, &mut marks);
        entry.marks.note_read(marks);
        result
    }

    /// The outbound half of a connection, to be changed: no deadline depends on it.
    pub(super) fn out_mut(&mut self, slot: u32) -> &mut Outbound {
        &mut self.entries[slot as usize].conn.out
    }

    /// Notes that the hub has moved a member to another index: no deadline depends on it.
    pub(super) fn set_index(&mut self, slot: u32, index: u32) {
        self.entries[slot as usize].conn.set_index(index);
    }

    /// Changes a connection. Its deadline and its place among those that may give way follow.
    pub(super) fn change<R>(&mut self, slot: u32, change: impl FnOnce(&mut Conn) -> R) -> R {
        let changed = change(&mut self.entries[slot as usize].conn);
        self.settle(slot);
        changed
    }

    /// Puts a connection's deadline into the wheel, and the connection into the list of those that
    /// wait in its way, or out of it.
    fn settle(&mut self, slot: u32) {
        if self.rate.is_some() && !self.entries[slot as usize].conn.is_publishing() {
            self.let_go_on(slot);
        }
        let conn = &self.entries[slot as usize].conn;
        if !conn.is_over() {
            let is_doomed = conn.doom().is_some();
            self.wheel.set(slot, self.due(slot));
            self.review_waiting(slot);
            if is_doomed && !self.places.contains(slot) {
                self.places.push(DOOMED, slot);
            }
        }
    }

    /// When something is due for a connection: in its phase, or because it may be read again, or
    /// because it has been there for long enough.
    fn due(&self, slot: u32) -> Instant {
        let entry = &self.entries[slot as usize];
        let due = entry.conn.deadline(self.ping_timeout);
        if self.rate.is_none() && self.lifetime.is_none() {
            return due;
        }
        due.min(self.held_until(slot)).min(self.stays_until(slot))
    }

    /// Until when a connection is held back; [`Instant::NEVER`] if it is not.
    fn held_until(&self, slot: u32) -> Instant {
        match (self.entries[slot as usize].to_read, self.rate) {
            (ToRead::HeldBack, Some(rate)) => rate.due(self.now, self.entries[slot as usize].paid),
            (
                ToRead::Nowhere
                | ToRead::Soon
                | ToRead::Paused
                | ToRead::Unchecked
                | ToRead::Awaiting
                | ToRead::HeldBack,
                _,
            ) => Instant::NEVER,
        }
    }

    /// Until when a member may stay; [`Instant::NEVER`] for others, and without a limit.
    fn stays_until(&self, slot: u32) -> Instant {
        let entry = &self.entries[slot as usize];
        match self.lifetime {
            Some(lifetime) if entry.conn.is_open() && entry.conn.membership().is_some() => {
                entry.conn.opened_at().plus(lifetime.of(entry.generation))
            }
            Some(_) | None => Instant::NEVER,
        }
    }

    /// Whether a member has been there for as long as it may.
    pub(super) fn has_stayed(&self, slot: u32, now: Instant) -> bool {
        self.stays_until(slot) <= now
    }

    /// A connection that is to be ended at once, and why.
    pub(super) fn next_doomed(&self) -> Option<(u32, CloseReason)> {
        let slot = self.places.first(DOOMED)?;
        let reason = self.entries[slot as usize].conn.doom();
        Some((slot, reason.expect("the list is of those")))
    }

    /// Puts a connection that has begun to wait at the end of its list, and takes one that does so
    /// no longer out of it.
    fn review_waiting(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        let waits = entry.waits_now();
        if waits == entry.waits {
            return;
        }
        let from = entry.conn.listener();
        if let Some(before) = core::mem::replace(&mut entry.waits, waits) {
            self.places.remove(list_of(from, before), slot);
        }
        if let Some(waiting) = waits {
            entry.waits_since = self.turn;
            self.places.push(list_of(from, waiting), slot);
        }
    }

    /// Has the request that was just read wait until `channel` is open, or until `by`.
    pub(super) fn await_channel(&mut self, slot: u32, channel: ChannelId, by: Instant) {
        self.change(slot, |conn| conn.await_channel(channel, by));
        let entry = &self.entries[slot as usize];
        if entry.conn.awaited_channel().is_none() {
            return;
        }
        if entry.to_read == ToRead::Soon {
            self.to_read.remove(SOON, slot);
        }
        self.to_read.push(AWAITING, slot);
        self.set_to_read(slot, ToRead::Awaiting);
    }

    /// Has a request answered anew that waits for a channel, when its turn to be read comes.
    pub(super) fn answer_anew(&mut self, slot: u32, now: Instant) {
        if self.entries[slot as usize].to_read == ToRead::Awaiting {
            self.to_read.remove(AWAITING, slot);
            self.set_to_read(slot, ToRead::Nowhere);
            self.change(slot, |conn| conn.answer_anew(now));
            self.set_left_off(slot, true);
            self.read_soon(slot);
        }
    }

    /// Has all requests answered anew that wait for `channel`. Work: a look at each that waits for
    /// any.
    pub(super) fn answer_awaiting(&mut self, channel: ChannelId, now: Instant) {
        for _ in 0..self.to_read.len(AWAITING) {
            let slot = self.to_read.pop(AWAITING).expect("the list was counted");
            self.to_read.push(AWAITING, slot);
            if self.entries[slot as usize].conn.awaited_channel() == Some(channel) {
                self.answer_anew(slot, now);
            }
        }
    }

    /// Ends a connection: its buffers go back to the pool, it leaves all lists, and nothing that is
    /// done with it has an effect any more.
    ///
    /// # Panics
    /// If it has ended already.
    pub(super) fn end(&mut self, slot: u32, pool: &mut Pool) {
        self.wheel.clear(slot);
        self.stop_sending(slot);
        let entry = &mut self.entries[slot as usize];
        let from = entry.conn.listener();
        match entry.to_read {
            ToRead::Soon => self.to_read.remove(SOON, slot),
            ToRead::Unchecked => self.to_read.remove(UNCHECKED, slot),
            ToRead::Awaiting => self.to_read.remove(AWAITING, slot),
            ToRead::Nowhere | ToRead::Paused | ToRead::HeldBack => {}
        }
        entry.to_read = ToRead::Nowhere;
        if let Some(waiting) = entry.waits.take() {
            self.places.remove(list_of(from, waiting), slot);
        }
        if entry.conn.doom().is_some() {
            self.places.remove(DOOMED, slot);
        }
        self.places.push(OVER, slot);
        self.taken[from as usize] -= 1;
        self.kinds[entry.kind as usize] -= 1;
        entry.conn.end(pool);
        entry.marks.set(Packed::READABLE, false);
    }

    /// Takes connections away that have ended. Nobody may be working on a connection.
    pub(super) fn reap(&mut self) {
        while let Some(slot) = self.places.pop(OVER) {
            self.entries.remove(slot as usize);
        }
    }

    /// The next turn begins.
    pub(super) fn next_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// How many connections of a listener there are.
    pub(super) fn taken(&self, from: Listener) -> usize {
        self.taken[from as usize]
    }

    /// The connection of a listener that gives way first: whoever has waited for longest with
    /// nothing under way, but not since this turn only.
    pub(super) fn first_to_give_way(&self, from: Listener) -> Option<u32> {
        let firsts = Waiting::ALL.map(|waiting| self.places.first(list_of(from, waiting)));
        let was_looked_at = |slot: &u32| self.entries[*slot as usize].waits_since != self.turn;
        firsts.into_iter().flatten().find(was_looked_at)
    }

    /// How many connections there are of a kind.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.kinds[kind as usize]
    }

    /// How many connections are members of a channel by themselves, or were until they closed.
    pub(super) fn readers(&self) -> usize {
        self.count(Kind::WebSocket) + self.count(Kind::Stream)
    }

    /// What a connection is used for.
    pub(super) fn kind(&self, slot: u32) -> Kind {
        self.entries[slot as usize].kind
    }

    /// Notes what a connection that has not ended is used for from now on.
    pub(super) fn set_kind(&mut self, slot: u32, kind: Kind) {
        let before = core::mem::replace(&mut self.entries[slot as usize].kind, kind);
        self.kinds[before as usize] -= 1;
        self.kinds[kind as usize] += 1;
    }

    /// How many requests were answered on a connection, as far as that is counted.
    pub(super) fn answers(&self, slot: u32) -> u16 {
        self.entries[slot as usize].answers
    }

    /// Counts a request that is answered on a connection.
    pub(super) fn count_answer(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        entry.answers = entry.answers.saturating_add(1);
    }

    /// Tells the wheel the time, before deadlines are set.
    pub(super) fn tell(&mut self, now: Instant) {
        self.now = now;
        self.wheel.tell(now);
    }

    /// When [`Connections::expire`] is worth calling next; `None` if no deadline is set.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.wheel.next()
    }

    /// A connection whose deadline was reached, taken out of the wheel: put back at once, a
    /// deadline that still holds would be reached again before anybody has acted on it. So the
    /// caller has to change the connection on each of its ways, be it by changing nothing, or to
    /// end it. [`Connections::check`] finds whoever was forgotten.
    pub(super) fn expire(&mut self, now: Instant) -> Option<ConnId> {
        self.now = now;
        let slot = self.wheel.expire(now)?;
        Some(self.id(slot))
    }

    /// Whether the deadline of a connection was reached.
    pub(super) fn is_due(&self, slot: u32, now: Instant) -> bool {
        self.entries[slot as usize].conn.deadline(self.ping_timeout) <= now
    }

    /// Lets a connection send soon.
    pub(super) fn send_soon(&mut self, slot: u32) {
        if !self.marks(slot).blocked {
            self.queue_to_send(slot, ToSend::Own);
        }
    }

    /// Lets a connection send soon that was blocked. Own bytes go first; who lags behind a feed or
    /// is in the middle of a file has a share of the pass, so that a crowd keeps nobody waiting.
    pub(super) fn send_again(&mut self, slot: u32) {
        match self.entries[slot as usize].conn.out.source() {
            Source::Nothing => self.queue_to_send(slot, ToSend::Own),
            Source::Feed { .. } | Source::Body { .. } => {
                self.queue_to_send(slot, ToSend::Returning);
            }
        }
    }

    /// Has a connection that is to send do that among those that lag: it has come back, and is sent
    /// what it missed behind its own bytes.
    pub(super) fn send_returning(&mut self, slot: u32) {
        if self.entries[slot as usize].to_send == Some(ToSend::Own) {
            self.stop_sending(slot);
            self.queue_to_send(slot, ToSend::Returning);
        }
    }

    fn queue_to_send(&mut self, slot: u32, list: ToSend) {
        let entry = &mut self.entries[slot as usize];
        if entry.to_send.is_none() && !entry.conn.is_over() {
            entry.to_send = Some(list);
            self.to_send.push(list as usize, slot);
        }
    }

    /// Whether a connection stands in a list of those that are to send.
    pub(super) fn is_to_send(&self, slot: u32) -> bool {
        self.entries[slot as usize].to_send.is_some()
    }

    /// Takes the first connection out of a list of those that are to send.
    pub(super) fn next_to_send(&mut self, list: ToSend) -> Option<ConnId> {
        let slot = self.to_send.pop(list as usize)?;
        self.entries[slot as usize].to_send = None;
        Some(self.id(slot))
    }

    /// Takes a connection out of the list of those that are to send, because its turn has come by
    /// another way.
    pub(super) fn stop_sending(&mut self, slot: u32) {
        if let Some(list) = self.entries[slot as usize].to_send.take() {
            self.to_send.remove(list as usize, slot);
        }
    }

    /// How many connections stand in a list of those that are to send.
    pub(super) fn count_to_send(&self, list: ToSend) -> usize {
        self.to_send.len(list as usize)
    }

    /// Has a connection read again in one of the next turns, unless it waits for that already.
    pub(super) fn read_soon(&mut self, slot: u32) {
        let entry = &self.entries[slot as usize];
        if entry.to_read == ToRead::Nowhere && !entry.conn.is_over() {
            self.to_read.push(SOON, slot);
            self.set_to_read(slot, ToRead::Soon);
        }
    }

    /// Has a connection whose request waits for the check of a token read when its turn has come.
    pub(super) fn check_later(&mut self, slot: u32) {
        let entry = &self.entries[slot as usize];
        if entry.conn.is_over() {
            return;
        }
        if entry.to_read == ToRead::Soon {
            self.to_read.remove(SOON, slot);
        }
        if entry.to_read != ToRead::Unchecked {
            self.to_read.push(UNCHECKED, slot);
        }
        self.set_to_read(slot, ToRead::Unchecked);
    }

    /// Takes the first connection out of the list of those whose request waits for the check of a
    /// token.
    pub(super) fn next_to_check(&mut self) -> Option<ConnId> {
        let slot = self.to_read.pop(UNCHECKED)?;
        self.set_to_read(slot, ToRead::Nowhere);
        Some(self.id(slot))
    }

    /// The slots of connections whose request waits for the check of a token, in their order.
    pub(super) fn iter_unchecked(&self) -> impl Iterator<Item = u32> {
        self.to_read.iter(UNCHECKED)
    }

    /// Takes a connection out of the list of those whose request waits for the check of a token:
    /// the wait is over.
    pub(super) fn stop_checking(&mut self, slot: u32) {
        if self.entries[slot as usize].to_read == ToRead::Unchecked {
            self.to_read.remove(UNCHECKED, slot);
            self.set_to_read(slot, ToRead::Nowhere);
        }
    }

    /// Has a publisher that stood in the list of a channel read in one of the next turns. Nothing
    /// happens if it has ended meanwhile, or does not wait any more.
    pub(super) fn resume(&mut self, id: ConnId) {
        if self.lives(id) && self.entries[id.slot as usize].to_read == ToRead::Paused {
            self.to_read.push(SOON, id.slot);
            self.set_to_read(id.slot, ToRead::Soon);
        }
    }

    /// Notes that a publisher, which waits nowhere or was just taken out of the list of those that
    /// are to be read, stands in the list of a channel.
    pub(super) fn pause(&mut self, slot: u32) {
        debug_assert!(!self.to_read.contains(slot), "a publisher stands in one list at most");
        self.set_to_read(slot, ToRead::Paused);
    }

    /// Notes that a connection does not wait in the list of a channel any more.
    pub(super) fn unpause(&mut self, slot: u32) {
        if self.entries[slot as usize].to_read == ToRead::Paused {
            self.set_to_read(slot, ToRead::Nowhere);
        }
    }

    /// How much a connection has said lately by itself, where that is limited.
    pub(super) fn account(&self, slot: u32) -> Paid {
        self.entries[slot as usize].paid
    }

    /// Notes how much a connection has said lately by itself.
    pub(super) fn set_account(&mut self, slot: u32, paid: Paid) {
        self.entries[slot as usize].paid = paid;
    }

    /// Does not have a connection read until the account `paid` allows it, unless it waits for a
    /// turn already. Whether it did not.
    pub(super) fn hold_back(&mut self, slot: u32, paid: Paid) -> bool {
        let entry = &self.entries[slot as usize];
        let is_new = entry.to_read == ToRead::Nowhere && !entry.conn.is_over();
        if is_new {
            self.entries[slot as usize].paid = paid;
            self.set_to_read(slot, ToRead::HeldBack);
            self.settle(slot);
        }
        is_new
    }

    /// Whether a connection was held back, and its time has come.
    pub(super) fn may_go_on(&self, slot: u32, now: Instant) -> bool {
        self.entries[slot as usize].to_read == ToRead::HeldBack && self.held_until(slot) <= now
    }

    /// Notes that a connection is being read, if it was held back.
    pub(super) fn end_hold(&mut self, slot: u32) {
        if self.entries[slot as usize].to_read == ToRead::HeldBack {
            self.set_to_read(slot, ToRead::Nowhere);
            self.settle(slot);
        }
    }

    /// Has a connection read in one of the next turns, if it was held back.
    pub(super) fn let_go_on(&mut self, slot: u32) {
        if self.entries[slot as usize].to_read == ToRead::HeldBack {
            self.to_read.push(SOON, slot);
            self.set_to_read(slot, ToRead::Soon);
        }
    }

    fn set_to_read(&mut self, slot: u32, to_read: ToRead) {
        self.entries[slot as usize].to_read = to_read;
        self.review_waiting(slot);
    }

    /// Whether a connection waits to be read again, in our list or in that of a channel.
    pub(super) fn is_to_read(&self, slot: u32) -> bool {
        self.entries[slot as usize].to_read != ToRead::Nowhere
    }

    /// Takes the first connection out of the list of those that are to be read.
    pub(super) fn next_to_read(&mut self) -> Option<ConnId> {
        let slot = self.to_read.pop(SOON)?;
        self.set_to_read(slot, ToRead::Nowhere);
        Some(self.id(slot))
    }

    /// How many connections stand in the list of those that are to be read.
    pub(super) fn count_to_read(&self) -> usize {
        self.to_read.len(SOON)
    }

    /// Whether anybody is to send or to be read.
    pub(super) fn is_busy(&self) -> bool {
        !self.to_read.is_empty(SOON)
            || !self.to_read.is_empty(UNCHECKED)
            || ToSend::ALL.into_iter().any(|list| !self.to_send.is_empty(list as usize))
    }

    /// Asserts that deadlines, lists, marks and counts agree, between two calls. `is_paused` tells
    /// whether a connection stands in the list of a channel. Walks everything: for tests.
    pub(super) fn check(&self, is_paused: impl Fn(ConnId) -> bool) {
        let mut taken = [0; Listener::ALL.len()];
        let mut kinds = [0; Kind::ALL.len()];
        for (slot, entry) in &self.entries {
            let slot = slot as u32;
            assert!(!entry.conn.is_over(), "slot {slot}: who has ended is reaped");
            taken[entry.conn.listener() as usize] += 1;
            kinds[entry.kind as usize] += 1;
            let is_member = entry.conn.membership().is_some();
            let may_be_member = matches!(entry.kind, Kind::WebSocket | Kind::Stream);
            assert!(may_be_member || !is_member, "slot {slot}: {:?}", entry.kind);
            let due = self.due(slot);
            assert!(self.wheel.is_set(slot, due), "slot {slot}: its deadline is armed");
            assert_eq!(entry.waits, entry.waits_now(), "slot {slot}");
            assert_eq!(self.places.contains(slot), entry.waits.is_some(), "slot {slot}");
            assert_eq!(self.to_send.contains(slot), entry.to_send.is_some(), "slot {slot}");
            let is_listed =
                matches!(entry.to_read, ToRead::Soon | ToRead::Unchecked | ToRead::Awaiting);
            assert_eq!(self.to_read.contains(slot), is_listed, "slot {slot}");
            let is_unchecked = entry.to_read == ToRead::Unchecked;
            assert_eq!(entry.conn.is_queued(), is_unchecked, "slot {slot}");
            let awaits = entry.to_read == ToRead::Awaiting;
            assert_eq!(entry.conn.awaited_channel().is_some(), awaits, "slot {slot}");
            let paused = is_paused(self.id(slot));
            assert_eq!(paused, entry.to_read == ToRead::Paused, "slot {slot}");
            let speaks = self.rate.is_some() && entry.conn.is_publishing();
            assert!(speaks || entry.to_read != ToRead::HeldBack, "slot {slot}");
        }
        assert_eq!((taken, kinds), (self.taken, self.kinds));
        assert!(self.places.is_empty(OVER) && self.places.is_empty(DOOMED));
        for (from, waiting) in Listener::ALL.iter().flat_map(|from| Waiting::ALL.map(|w| (from, w)))
        {
            for slot in self.places.iter(list_of(*from, waiting)) {
                let entry = &self.entries[slot as usize];
                assert_eq!((entry.conn.listener(), entry.waits), (*from, Some(waiting)));
            }
        }
        for list in ToSend::ALL {
            let listed = self.to_send.iter(list as usize);
            listed.for_each(|slot| assert_eq!(self.entries[slot as usize].to_send, Some(list)));
        }
        let to_read =
            [(SOON, ToRead::Soon), (UNCHECKED, ToRead::Unchecked), (AWAITING, ToRead::Awaiting)];
        for (list, mark) in to_read {
            let listed = self.to_read.iter(list);
            listed.for_each(|slot| assert_eq!(self.entries[slot as usize].to_read, mark));
        }
        let slots = self.entries.len();
        assert!(
            self.to_send.len(0) + self.to_send.len(1) <= slots && self.count_to_read() <= slots
        );
        self.places.check();
        self.to_send.check();
        self.to_read.check();
        self.wheel.check();
    }
}

impl<S> Entry<S> {
    /// What the connection waits for, if it may give way to others.
    fn waits_now(&self) -> Option<Waiting> {
        match self.to_read {
            ToRead::Nowhere | ToRead::Unchecked => self.conn.waits(),
            ToRead::Soon | ToRead::Paused | ToRead::Awaiting | ToRead::HeldBack => None,
        }
    }
}

impl<S: Socket> Server<S> {
    pub(in crate::server) fn cx(&mut self, now: Now) -> Cx<'_> {
        Cx { now, pool: &mut self.pool, metrics: &mut self.metrics, settings: &self.settings }
    }

    /// Changes a connection, which may use the world for it.
    pub(in crate::server) fn change<R>(
        &mut self,
        now: Now,
        slot: u32,
        change: impl FnOnce(&mut Conn, &mut Cx<'_>) -> R,
    ) -> R {
        let (pool, metrics) = (&mut self.pool, &mut self.metrics);
        let mut cx = Cx { now, pool, metrics, settings: &self.settings };
        self.connections.change(slot, |conn| change(conn, &mut cx))
    }

    pub(in crate::server) fn client(&self, slot: u32) -> SocketAddr {
        self.connections.conn(slot).client().address()
    }

    /// Tells the wheels the time, before deadlines are set.
    pub(in crate::server) fn tell_time(&mut self, now: Now) {
        self.connections.tell(now.mono);
        self.sessions.tell(now.mono);
    }
}
