//! Floor 5: the core's one face. Sockets, time and files come in; bytes and events go out.
//!
//! Generic over [`Socket`] and driven by calls with `now`: the shell drives it with real sockets
//! and the clock, a test with fakes and an invented time, and the same calls give the same bytes.
//! It allocates nothing while messages flow.
//!
//! Beside this file: `pump` alone reads sockets and `flush` alone writes them, `waiting` knows who
//! is read when, `answer` decides what a request gets, `places` who may be connected, `admission`
//! who may stay; `engine`, `polling`, `carrier` and `socketio` deal with sessions, `deadline` with
//! time, `drain` with leaving.
//!
//! The surprise: a connection or a session that ends stays in its table until the end of the public
//! call, inert, so nobody has to ask whether it still exists. What waits for longer than a call is
//! remembered as a [`ConnId`] and looked up again.

mod admission;
mod answer;
mod batch;
mod budget;
mod carrier;
mod deadline;
mod drain;
mod engine;
mod event;
mod flush;
mod gate;
mod places;
mod polling;
mod pump;
mod socketio;
mod waiting;

use core::net::SocketAddr;
use std::collections::VecDeque;
use std::io;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use slab::Slab;

pub use crate::conn::Listener;
pub use batch::{Batch, OneByOne, Send};
pub use event::{AGENT_BYTES_MAX, Access, Event};

use crate::conn::{Conn, Cx, Step, Waiting};
use crate::hub::{HashKey, Hub, Sessions};
use crate::id::{ChannelId, ConnId, Offset, Reader, SessionId};
use crate::limits;
use crate::metrics::Metrics;
use crate::order::{self, Order};
use crate::outbound::{CloseFrame, Source};
use crate::pool::Pool;
use crate::reason::CloseReason;
use crate::settings::Settings;
use crate::site::{Generation, Site};
use crate::time::{Instant, Now};
use crate::wheel::{self, Wheel};
use crate::wire::http;
use budget::ReadBudget;
use drain::Drain;
use event::Spare;
use gate::Gate;
use waiting::resume_paused;

/// A stream socket that never blocks. Methods take `&self`, as a socket's do in the kernel.
pub trait Socket {
    /// Reads what there is; 0 is the peer's end, `WouldBlock` nothing yet.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes as much as fits of the slices in their order; empty ones are skipped.
    fn write(&self, slices: &[&[u8]; 4]) -> io::Result<usize>;
    /// Tells the peer that nothing more will come.
    fn shutdown_write(&self);
    /// Makes the drop that follows a reset: what is unsent is discarded.
    fn cut(&self);
}

/// What the kernel says about a socket. A hint: reading may still find nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Readiness {
    /// Bytes, the end or an error can be read.
    pub readable: bool,
    /// The peer's end has arrived, or urgent data: a read stops in front of either although there
    /// is more to read, so a short one does not mean "no more for now".
    pub more_behind: bool,
    /// Bytes can be written, or an error found by that.
    pub writable: bool,
}

/// A connection, its socket, and what the loop must remember of both.
#[derive(Debug)]
struct Entry<S> {
    conn: Conn,
    generation: u32,
    socket: S,
    /// Whether the socket may have bytes that were not read.
    readable: bool,
    /// Whether a short read no longer shows that the socket is empty: its end or urgent data stands
    /// behind, which the kernel says once.
    more_behind: bool,
    /// Whether the peer's end was read.
    ended: bool,
    /// Whether the last write was short, so that the socket has to become writable first.
    blocked: bool,
    /// Whether the connection stands in a queue of those that are to be sent to.
    queued: bool,
    /// Whether the connection stands in a list of those that are to be read again later.
    resuming: bool,
    /// Whether what was read last was not all taken in because it had to wait, and not because the
    /// rest had not come.
    left_off: bool,
    /// Whether the connection is counted among its channel's choked members.
    choked: bool,
    /// Whether the connection is counted as a session by itself.
    session: bool,
    /// Whether the end of a session was counted and told, so that only taking leave remains.
    told: bool,
    /// What the connection waits for, while it may give way to others; this names the list in which
    /// it stands.
    waits: Option<Waiting>,
    /// The turn in which the connection began to wait, modulo 2^16.
    waits_since: u16,
    /// Requests that were answered on the connection.
    answers: u16,
}

// Everything that an idle session takes: its entry in the table, its timer, its link in the order
// of those that wait, its place in its channel's list and in the three queues. (The slab's tag fits
// into the entry.)
const _: () = assert!(
    size_of::<Entry<core::ffi::c_int>>()
        + wheel::ENTRY_BYTES
        + order::LINK_BYTES
        + 12
        + size_of::<ConnId>()
        <= limits::CONNECTION_BYTES
);

/// Places in a queue of connections beyond one for each: whoever ends leaves its place behind, and
/// a queue that is full is cleared of such places before it takes another.
const STALE_MAX: usize = 64;

/// The server.
#[derive(Debug)]
pub struct Server<S> {
    settings: Settings,
    /// `--allow-origin` as answers name them.
    origins: Box<[Box<str>]>,
    entries: Slab<Entry<S>>,
    generation: u32,
    wheel: Wheel,
    pool: Pool,
    hub: Hub,
    /// Engine.IO sessions.
    engine: Sessions,
    site: Site,
    metrics: Metrics,
    /// Sessions of either kind.
    sessions: usize,
    /// Connections of each listener.
    taken: [usize; Listener::ALL.len()],
    /// Who may give way to others, in the order in which they began to wait.
    waiting: Order<{ places::LISTS }>,
    /// Counts turns, as far as it goes.
    turn: u16,
    /// Connections with own bytes to send, or that were told to close.
    queue: VecDeque<u32>,
    /// Connections to be read again: their budget was spent, or what held them back is gone.
    resume: VecDeque<ConnId>,
    /// Connections that can be written to again, with more to send than their own bytes.
    unblocked: VecDeque<u32>,
    /// What this turn may still do for publishers.
    read_budget: ReadBudget,
    /// How many messages had been published when the publisher that is being read had its turn.
    published_before: u64,
    /// Sessions with something to answer a poll with.
    polls: VecDeque<SessionId>,
    events: event::Queue,
    spare: Spare,
    /// The one buffer that every read goes into.
    buffer: Vec<u8>,
    /// Where response heads are put together.
    scratch: Vec<u8>,
    date: (u64, [u8; http::DATE_BYTES]),
    random: ChaCha20Rng,
    drain: Option<Drain>,
    gate: Gate,
    /// Since when those messages were under way that everybody has been sent in this turn. A
    /// channel ends two sweeps in a turn at most: what begins the next is read before the pass.
    flushed_us: Vec<u64>,
}

impl<S: Socket> Server<S> {
    /// A server without connections. `seed` is all the randomness it will ever have: hash keys and
    /// the spread of pings come from it.
    pub fn new(settings: Settings, site: Site, seed: [u8; 32], now: Now) -> Server<S> {
        let mut random = ChaCha20Rng::from_seed(seed);
        let mut key = || {
            let mut key = [0; 16];
            random.fill_bytes(&mut key);
            HashKey(key)
        };
        let (names, addresses, sids) = (key(), key(), key());
        let limits = &settings.limits;
        let slots = limits.slots();
        assert_eq!(places::places_of_all(limits), slots, "each place is some listener's");
        let mut pool = Pool::new(limits.memory_bytes);
        let hub = Hub::new(&mut pool, limits, [names, addresses]);
        Server {
            origins: settings.origins.iter().map(|origin| origin.readers().into()).collect(),
            entries: Slab::with_capacity(slots),
            generation: 0,
            wheel: Wheel::new(now.mono, slots),
            pool,
            hub,
            engine: Sessions::new(now.mono, sids),
            site,
            metrics: Metrics::default(),
            sessions: 0,
            taken: [0; Listener::ALL.len()],
            waiting: Order::new(slots),
            turn: 0,
            queue: VecDeque::with_capacity(slots + STALE_MAX),
            resume: VecDeque::with_capacity(slots + STALE_MAX),
            unblocked: VecDeque::with_capacity(slots + STALE_MAX),
            read_budget: ReadBudget::of_turn(),
            published_before: 0,
            polls: VecDeque::new(),
            events: event::Queue::default(),
            spare: Spare::default(),
            buffer: vec![0; limits::READ_BUFFER_BYTES],
            scratch: Vec::with_capacity(limits::RESPONSE_HEAD_BYTES_MAX),
            date: (now.unix_s, http::date(now.unix_s)),
            random,
            drain: None,
            gate: Gate::default(),
            flushed_us: Vec::with_capacity(2 * limits.channels_max),
            settings,
        }
    }

    /// Takes over a socket that was accepted from `peer`; its id is what [`Server::make_room`] says
    /// just before.
    ///
    /// # Panics
    /// Without [`Server::has_room_for`].
    pub fn accept(&mut self, now: Now, from: Listener, peer: SocketAddr, socket: S) -> ConnId {
        let id = self.make_room(now, from).expect("accepting waits for room");
        self.wheel.tell(now.mono);
        self.engine.tell(now.mono);
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let conn = Conn::new(&self.cx(now), from, peer);
        self.generation = id.generation;
        self.entries.insert(Entry {
            conn,
            generation: id.generation,
            socket,
            readable: false,
            more_behind: false,
            ended: false,
            blocked: false,
            queued: false,
            resuming: false,
            left_off: false,
            choked: false,
            session: false,
            told: false,
            waits: None,
            waits_since: self.turn,
            answers: 0,
        });
        self.take_place(from);
        self.metrics.connections_accepted += 1;
        self.arm(id.slot);
        id
    }

    /// Something may be possible with a socket. Ids of connections that are gone are ignored.
    ///
    /// Bounded work: [`limits::READS_PER_TURN`] reads. A publisher is read only while the turn's
    /// share lasts and nobody waits in front of it, but for what comes together with its request;
    /// who can be written to again waits for the pass.
    pub fn ready(&mut self, now: Now, id: ConnId, readiness: Readiness) {
        self.gate.begin();
        self.take_readiness(now, id, readiness);
        self.reap();
        self.gate.judge(&self.settings.limits);
    }

    fn take_readiness(&mut self, now: Now, id: ConnId, readiness: Readiness) {
        self.wheel.tell(now.mono);
        self.engine.tell(now.mono);
        let Some(entry) = self.entry(id) else { return };
        entry.readable |= readiness.readable;
        entry.more_behind |= readiness.more_behind;
        if readiness.writable && entry.blocked {
            entry.blocked = false;
            self.enqueue_unblocked(id.slot);
        }
        if readiness.readable || readiness.more_behind {
            let waits = self.read_budget.is_spent() || !self.resume.is_empty();
            if waits && self.entries[id.slot as usize].conn.is_publishing() {
                self.read_later(id, false);
            } else {
                self.read(now, id);
            }
        }
    }

    /// Does what is due: deadlines, reads that were put off, sends. Whether more is waiting, so
    /// that the next poll should not.
    ///
    /// Bounded work: [`limits::SENDS_PER_TURN`] sends and as many deadlines and reads, and a look
    /// at each publisher that waits for a room which was opened.
    pub fn run(&mut self, now: Now) -> bool {
        self.run_with(now, &mut OneByOne)
    }

    /// Does what [`Server::run`] does, with `batch` as the way to do many sends at once.
    pub fn run_with(&mut self, now: Now, batch: &mut impl Batch<S>) -> bool {
        self.gate.begin();
        self.flushed_us.clear();
        self.expire(now);
        self.run_drain(now);
        self.run_resumed(now);
        self.flush_pass(now, batch);
        self.reap();
        self.read_budget = ReadBudget::of_turn();
        self.turn = self.turn.wrapping_add(1);
        self.gate.judge(&self.settings.limits);
        !self.queue.is_empty()
            || !self.unblocked.is_empty()
            || !self.resume.is_empty()
            || !self.polls.is_empty()
            || self.hub.is_active()
    }

    /// A turn of the loop begins, at `now_us` microseconds of a clock that never goes back. Only
    /// how long things take is measured by it; a test may leave it out.
    pub fn begin_turn(&mut self, now_us: u64) {
        self.hub.begin_turn(now_us);
    }

    /// The turn is over: records how long it took, and how long what it has finished was under way.
    pub fn end_turn(&mut self, now_us: u64) {
        self.metrics.turns.record(now_us.saturating_sub(self.hub.turn_us()));
        for since_us in self.flushed_us.drain(..) {
            self.metrics.fan_outs.record(now_us.saturating_sub(since_us));
        }
    }

    /// The next thing to write down or to do, until there is none.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop(&mut self.pool)
    }

    /// Takes back an event that was written down, for what it is made of. Whoever keeps them has
    /// the server allocate for the next.
    pub fn recycle(&mut self, event: Event) {
        if let Event::Request(access) = event {
            self.spare.give(access);
        }
    }

    /// When [`Server::run`] is worth calling although nothing has happened.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let drain = self.drain.as_ref().map(Drain::next);
        [self.wheel.next(), self.engine.next(), self.hub.next_grace(), drain]
            .into_iter()
            .flatten()
            .min()
    }

    /// Serves other files. Whoever still reads those from before the current ones is cut, unless
    /// [`Server::release_files`] has seen to it that nobody does.
    pub fn replace_files(&mut self, now: Now, files: impl Into<Generation>) {
        self.release_files(now, true);
        self.site.replace(files);
    }

    /// Forgets the files from before the current ones as soon as nobody reads them any more, or at
    /// once if whoever does is to be cut. Whether they are gone.
    ///
    /// Work: a look at every connection, if there are such files.
    pub fn release_files(&mut self, now: Now, cut: bool) -> bool {
        let Some(before) = self.site.before() else { return true };
        let reads = |entry: &Entry<S>| entry.conn.reads_generation(before);
        if !cut && self.entries.iter().any(|(_, entry)| reads(entry)) {
            return false;
        }
        let readers = self.entries.iter().filter(|(_, entry)| reads(entry));
        let readers: Vec<usize> = readers.map(|(slot, _)| slot).collect();
        for slot in readers {
            self.remove(now, slot as u32, CloseReason::Replaced, true);
        }
        self.reap();
        self.site.release();
        true
    }

    /// Sessions now.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// Connections now, sessions among them.
    pub fn connections(&self) -> usize {
        self.entries.len()
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The budget of memory and what is lent of it.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Asserts what must hold between calls. Walks everything: for tests.
    pub fn check(&self) {
        let places = self.settings.limits.slots() + STALE_MAX;
        assert!(self.queue.len() <= places && self.unblocked.len() <= places);
        assert!(self.resume.len() <= places);
        let mut lent = self.hub.reserved_bytes() + self.events.reserved_bytes();
        let mut sessions = self.engine.len();
        for (slot, entry) in &self.entries {
            lent +=
                entry.conn.buffers().map(|buffer| self.pool.capacity(buffer) as u64).sum::<u64>();
            sessions += usize::from(entry.session);
            assert_eq!(entry.conn.place().is_some(), entry.session);
            if let Some(place) = entry.conn.place() {
                self.check_member(place.channel, place.position, Reader::Conn(slot as u32));
            }
            if let Some(session) = entry.conn.session() {
                assert!(self.engine.contains(session), "slot {slot} has a dead session");
            }
        }
        for (id, session) in self.engine.iter() {
            lent += session.reserved_bytes();
            lent += session.buffers().map(|buffer| self.pool.capacity(buffer) as u64).sum::<u64>();
            for space in session.spaces.iter() {
                self.check_member(space.channel, space.position, Reader::Session(id));
            }
        }
        assert_eq!(sessions, self.sessions);
        self.check_shares();
        self.check_places();
        self.engine.check();
        assert_eq!(lent, self.pool.lent_bytes());
        assert!(self.pool.held_bytes() <= self.pool.bound_bytes());
        self.hub.check();
        self.wheel.check();
        self.events.check();
    }

    fn check_member(&self, channel: ChannelId, position: u32, reader: Reader) {
        let members = self.hub.channel(channel).members();
        assert_eq!(members[position as usize].reader(), reader);
    }

    fn entry(&mut self, id: ConnId) -> Option<&mut Entry<S>> {
        let entry = self.entries.get_mut(id.slot as usize)?;
        (entry.generation == id.generation && !entry.conn.is_over()).then_some(entry)
    }

    fn id(&self, slot: u32) -> ConnId {
        ConnId { slot, generation: self.entries[slot as usize].generation }
    }

    fn cx(&mut self, now: Now) -> Cx<'_> {
        Cx { now, pool: &mut self.pool, metrics: &mut self.metrics, settings: &self.settings }
    }

    /// A connection together with what it may use of the world.
    fn parts(&mut self, now: Now, slot: u32) -> (&mut Entry<S>, Cx<'_>) {
        let cx =
            Cx { now, pool: &mut self.pool, metrics: &mut self.metrics, settings: &self.settings };
        (&mut self.entries[slot as usize], cx)
    }

    /// Puts a connection's deadline, which may have changed, into the wheel, and itself among those
    /// that wait, or not any more.
    fn arm(&mut self, slot: u32) {
        let conn = &self.entries[slot as usize].conn;
        if conn.is_over() {
            return;
        }
        let deadline = conn.deadline(&self.settings);
        self.wheel.set(slot, deadline);
        self.review_waiting(slot);
    }

    /// Does what a connection asks for. Whether it is worth calling again with the rest.
    fn apply(&mut self, now: Now, id: ConnId, step: Step<'_>) -> bool {
        match step {
            // A head is answered by the reader, which has its bytes.
            Step::Continue | Step::Head => true,
            Step::NeedMore | Step::Hold => false,
            Step::Proxied { vpc_endpoint } => {
                if let Some(vpc_endpoint) = vpc_endpoint {
                    let client = self.client(id.slot);
                    self.events.push(&mut self.pool, Event::endpoint(client, vpc_endpoint));
                }
                true
            }
            Step::Refuse(error) => {
                self.refuse_head(now, id.slot, error);
                true
            }
            Step::RefuseLate => {
                self.refuse_late(now, id.slot);
                true
            }
            Step::Publish(kind, payload) => {
                self.take_message(now, id, kind, payload);
                true
            }
            Step::Posted => {
                self.take_posted(now, id);
                true
            }
            Step::PostTooBig => {
                self.refuse_post(now, id, 413);
                true
            }
            Step::PostMalformed => {
                self.refuse_post(now, id, 400);
                true
            }
            Step::Pinged => {
                self.enqueue(id.slot);
                true
            }
            Step::Close(frame, reason) => {
                self.close(now, id.slot, frame, reason);
                true
            }
            Step::Linger(reason) => {
                let (entry, mut cx) = self.parts(now, id.slot);
                entry.socket.shutdown_write();
                entry.conn.linger(&mut cx, reason);
                self.arm(id.slot);
                true
            }
            Step::End(reason) => {
                self.remove(now, id.slot, reason, false);
                false
            }
            Step::Cut(reason) => {
                self.remove(now, id.slot, reason, true);
                false
            }
        }
    }

    /// Begins the closing handshake of a WebSocket: the frame goes out behind everything that was
    /// published until now.
    fn close(&mut self, now: Now, slot: u32, frame: CloseFrame, reason: CloseReason) {
        let entry = &self.entries[slot as usize];
        let barrier = match entry.conn.out.source() {
            Source::Feed { channel, dialect, .. } => self.hub.feed(channel, dialect).head(),
            Source::Nothing | Source::Body { .. } => Offset::default(),
        };
        let (entry, mut cx) = self.parts(now, slot);
        entry.conn.close(&mut cx, frame, barrier, reason);
        self.enqueue(slot);
        self.arm(slot);
        self.begin_close_of_session(slot);
    }

    /// A connection has said its last word, or is gone: whatever it was to a channel or a session
    /// ends with it.
    fn detach(&mut self, now: Now, slot: u32, reason: CloseReason) {
        let id = self.id(slot);
        let conn = &self.entries[slot as usize].conn;
        if let Some(place) = conn.place() {
            self.end_member(now, slot, place, reason);
        } else if let Some(session) = conn.session() {
            self.carrier_gone(now, session, id, reason);
        }
    }

    /// Ends a connection, with a reset if `cut`. It is inert from here on, and reaped at the end of
    /// the call; nothing happens if it has ended already.
    fn remove(&mut self, now: Now, slot: u32, reason: CloseReason, cut: bool) {
        if self.entries[slot as usize].conn.is_over() {
            return;
        }
        self.detach(now, slot, reason);
        self.wheel.clear(slot);
        self.give_place_back(slot);
        let entry = &mut self.entries[slot as usize];
        entry.conn.end(&mut self.pool);
        entry.readable = false;
        if cut {
            entry.socket.cut();
        }
        if !entry.told {
            self.metrics.count_closed(reason);
            let client = entry.conn.client().address();
            self.events.push(&mut self.pool, Event::Ended { client, reason });
        }
    }

    fn client(&self, slot: u32) -> SocketAddr {
        self.entries[slot as usize].conn.client().address()
    }

    /// Lets a connection send soon.
    fn enqueue(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        if !entry.queued && !entry.blocked && !entry.conn.is_over() {
            entry.queued = true;
            push_slot(&mut self.queue, &mut self.entries, slot);
        }
    }

    /// Lets a connection send soon that was blocked. Own bytes go first; who lags behind a feed or
    /// is in the middle of a file has a share of the pass, so that a crowd keeps nobody waiting.
    fn enqueue_unblocked(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        if matches!(entry.conn.out.source(), Source::Nothing) {
            self.enqueue(slot);
        } else if !entry.queued && !entry.conn.is_over() {
            entry.queued = true;
            push_slot(&mut self.unblocked, &mut self.entries, slot);
        }
    }

    fn uncount_choked(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        if let Some(place) = entry.conn.place()
            && entry.choked
        {
            entry.choked = false;
            self.uncount_choked_in(place.channel);
        }
    }

    fn uncount_choked_in(&mut self, channel: ChannelId) {
        let (entries, resume) = (&mut self.entries, &mut self.resume);
        self.hub.channel_mut(channel).uncount_choked(|id| resume_paused(entries, resume, id));
    }
}

/// Appends a connection that was just marked as queued. The queue never grows: if it is full,
/// places of connections that have ended are taken out first.
fn push_slot<S>(queue: &mut VecDeque<u32>, entries: &mut Slab<Entry<S>>, slot: u32) {
    if queue.len() == queue.capacity() {
        for place in &*queue {
            if let Some(entry) = entries.get_mut(*place as usize) {
                entry.queued = false;
            }
        }
        queue.retain(|place| {
            let entry = entries.get_mut(*place as usize);
            *place != slot
                && entry.is_some_and(|entry| !core::mem::replace(&mut entry.queued, true))
        });
        entries[slot as usize].queued = true;
    }
    queue.push_back(slot);
}
