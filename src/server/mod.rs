//! Floor 5: the core's one face. Sockets, time and files come in; bytes and events go out.
//!
//! Generic over [`Socket`] and driven by calls with `now`: the shell drives it with real sockets
//! and the clock, a test with fakes and an invented time, and the same calls give the same bytes.
//! It allocates nothing while messages flow.
//!
//! The state has owners: `connections` and the hub's `Sessions` arm the deadlines and keep the
//! lists of what they own. Three wings act on it: `io` reads and writes sockets, `http` decides
//! what a request gets, `session` deals with Engine.IO sessions. Beside them `admission` says who
//! may come in, `publish` is the door of every message, `ending` says what an end means. The files
//! have an order, and calls lead down (`tests/tidy/calls.rs`).
//!
//! The surprise: a connection or a session that ends stays in its table until the end of the public
//! call, inert, so nobody has to ask whether it still exists. Ids that come from outside of a call,
//! or wait for longer than one, have a generation and are looked up again. Two things hold bare
//! slots for longer: lists of slots ([`Order`](crate::order::Order)), and the members of a channel
//! ([`Reader`]). Whoever ends leaves these at once, before anybody else can have the slot.

mod admission;
mod awaiting;
mod away;
mod backplane;
mod connections;
mod deadline;
mod disconnect;
mod drain;
mod ending;
mod event;
mod gate;
mod http;
mod io;
mod losing;
mod members;
mod places;
mod publish;
mod session;
mod survey;

use core::net::SocketAddr;
use std::collections::BTreeMap;

pub use self::io::batch::{Batch, OneByOne, Outgoing};
pub use crate::conn::Listener;
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
pub use event::{AGENT_BYTES_MAX, Access, Denial, Event};
pub use publish::{DEFERRED_MAX, Ticket, Unplaced};
pub use survey::LOOKS_PER_TURN;

use crate::conn::Conn;
use crate::hub::backplane::Backplane;
use crate::hub::{HashKey, Hub, Repeats, Sessions};
use crate::id::{ChannelId, ConnId, Reader};
use crate::lifetime::Lifetime;
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::reason::CloseReason;
use crate::settings::Settings;
use crate::site::{Generation, Site};
use crate::time::{Instant, Now};
use connections::Connections;

use self::disconnect::Disconnects;
use self::http::respond::Responder;
use self::http::token::Checks;
use self::http::watch::Watchers;
use self::io::budget::ReadBudget;
use self::io::read::Reading;
use drain::Drain;
use gate::Gate;
use losing::Losing;
use publish::Elsewhere;
use survey::Survey;

/// A stream socket that never blocks. Methods take `&self`, as a socket's do in the kernel.
pub trait Socket {
    /// Reads what there is; 0 is the peer's end, `WouldBlock` nothing yet.
    fn read(&self, buffer: &mut [u8]) -> std::io::Result<usize>;
    /// Writes as much as fits of the slices in their order; empty ones are skipped.
    fn write(&self, slices: &[&[u8]; 4]) -> std::io::Result<usize>;
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

/// The server.
#[derive(Debug)]
pub struct Server<S> {
    settings: Settings,
    connections: Connections<S>,
    pool: Pool,
    hub: Hub,
    /// Engine.IO sessions.
    sessions: Sessions,
    site: Site,
    metrics: Metrics,
    survey: Survey,
    watchers: Watchers,
    /// Sessions of every kind: plain WebSockets, event streams and Engine.IO sessions.
    session_count: usize,
    reading: Reading,
    /// Messages whose order is decided elsewhere; `None` as long as it is decided here.
    elsewhere: Option<Elsewhere>,
    /// Who decides that order, if it is Redis.
    backplane: Option<Box<Backplane>>,
    /// Requests of backends that may come again, and what became of them.
    repeats: Repeats,
    /// Connections of the admin listener whose request waits for the message of a ticket. Some may
    /// wait no longer; at most as many as there are such connections do.
    awaiting: Vec<(Ticket, ConnId)>,
    /// Disconnects under way.
    disconnects: Disconnects,
    events: event::Queue,
    /// The keys of tokens.
    checks: Checks,
    responder: Responder,
    random: ChaCha20Rng,
    drain: Option<Drain>,
    /// The round in which those are told of gaps who are not told by a feed, while there are such.
    losing: Option<Losing>,
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
        let (names, addresses, sids, epochs) = (key(), key(), key(), key());
        let limits = &settings.limits;
        // Drawn only where it is used, so that what else is drawn does not depend on it.
        let lifetime = limits.lifetime.map(|length| Lifetime::new(length, random.next_u64()));
        assert_eq!(places::places_of_all(limits), limits.slots(), "each place is some listener's");
        let mut pool = Pool::new(limits.memory_bytes);
        let mut hub = Hub::new(&mut pool, limits, [names, addresses, epochs]);
        if settings.recovery {
            hub.tell_offsets();
        }
        Server {
            connections: Connections::new(now.mono, limits, lifetime),
            pool,
            hub,
            sessions: Sessions::new(now.mono, sids, limits, lifetime),
            site,
            metrics: Metrics::default(),
            survey: Survey::new(now),
            watchers: Watchers::new(limits.admin_connections_max),
            session_count: 0,
            reading: Reading::new(),
            elsewhere: None,
            backplane: None,
            repeats: Repeats::new(names),
            awaiting: Vec::with_capacity(limits.admin_connections_max),
            disconnects: Disconnects::default(),
            events: event::Queue::default(),
            checks: Checks::new(),
            responder: Responder::new(&settings.base_path, now),
            random,
            drain: None,
            losing: None,
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
        self.tell_time(now);
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let conn = Conn::new(&self.cx(now), from, peer);
        self.connections.insert(conn, socket);
        self.metrics.connections_accepted += 1;
        id
    }

    /// Does what is due: deadlines, reads that were put off, sends. Whether more is waiting, so
    /// that the next poll should not.
    ///
    /// Bounded work: [`SENDS_PER_TURN`](crate::limits::SENDS_PER_TURN) sends and as many deadlines
    /// and reads, and a look at each publisher that waits for a channel that was opened.
    pub fn run(&mut self, now: Now) -> bool {
        self.run_with(now, &mut OneByOne)
    }

    /// Does what [`Server::run`] does, with `batch` as the way to do many sends at once.
    pub fn run_with(&mut self, now: Now, batch: &mut impl Batch<S>) -> bool {
        let is_left = self.take_in_order(now);
        self.gate.begin();
        self.flushed_us.clear();
        self.expire(now);
        self.run_drain(now);
        self.run_losing(now);
        self.run_entering(now);
        self.run_disconnects(now);
        self.run_watchers(now);
        self.run_resumed(now);
        self.run_checks(now);
        self.flush_pass(now, batch);
        self.reap(now);
        self.reading.budget = ReadBudget::of_turn();
        self.connections.next_turn();
        self.survey.keep_past(now.mono, &self.metrics);
        self.gate.judge(&self.settings.limits);
        let is_let_go = self.hand_to_backplane(now);
        let is_told = self.disconnects.is_telling() || self.watchers.are_there();
        let is_entered = self.sessions.next_to_enter().is_some();
        let is_busy = self.connections.is_busy() || self.sessions.has_answers();
        let is_left = is_left || is_let_go || self.is_order_released();
        is_told || is_entered || is_busy || is_left || self.hub.is_active()
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
            self.responder.recycle(access);
        }
    }

    /// When [`Server::run`] is worth calling although nothing has happened.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let drain = self.drain.as_ref().map(Drain::next);
        let losing = self.losing.as_ref().map(Losing::next);
        let (grace, over) = (self.hub.next_grace(), self.hub.next_over());
        let (repeats, again) = (self.repeats.next_over(), self.disconnects.next());
        let (give_up, backplane) = (self.next_give_up(), self.next_of_backplane());
        let own = [drain, grace, over, repeats, again, losing, give_up, backplane];
        [self.connections.next_deadline(), self.sessions.next()]
            .into_iter()
            .chain(own)
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
        let reads = |slot: &u32| self.connections.conn(*slot).reads_generation(before);
        let readers: Vec<u32> = self.connections.iter().filter(reads).collect();
        if !cut && !readers.is_empty() {
            return false;
        }
        for slot in readers {
            self.remove(now, slot, CloseReason::Replaced, true);
        }
        self.reap(now);
        self.site.release();
        true
    }

    /// Sessions now.
    pub fn sessions(&self) -> usize {
        self.session_count
    }

    /// Connections now, sessions among them.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The budget of memory and what is lent of it.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Bytes of the pool that are reserved for requests of backends that may come again.
    pub fn remembered_bytes(&self) -> u64 {
        self.repeats.reserved_bytes()
    }

    /// Asserts what must hold between calls. Walks everything: for tests.
    pub fn check(&self) {
        let mut lent = self.hub.reserved_bytes() + self.events.reserved_bytes();
        lent += self.repeats.reserved_bytes();
        let mut sessions = self.sessions.len();
        let envelopes = self.elsewhere.iter().flat_map(Elsewhere::buffers);
        lent += envelopes.map(|buffer| self.pool.capacity(buffer) as u64).sum::<u64>();
        for slot in self.connections.iter() {
            let conn = self.connections.conn(slot);
            lent += conn.buffers().map(|buffer| self.pool.capacity(buffer) as u64).sum::<u64>();
            if let Some(membership) = conn.membership() {
                sessions += 1;
                self.check_member(membership, Reader::Conn(slot));
            }
            if let Some(id) = conn.session() {
                assert!(self.sessions.contains(id), "slot {slot} has a dead session");
            }
        }
        for (id, session) in self.sessions.iter() {
            lent += session.reserved_bytes();
            lent += session.buffers().map(|buffer| self.pool.capacity(buffer) as u64).sum::<u64>();
            for space in session.spaces.iter() {
                self.check_member(space.membership, Reader::Session(id.slot));
            }
        }
        assert_eq!(sessions, self.session_count);
        self.check_shares();
        self.connections.check(|id| self.hub.has_paused(id));
        self.check_places();
        self.sessions.check();
        self.check_choked();
        assert_eq!(lent, self.pool.lent_bytes());
        assert!(self.pool.held_bytes() <= self.pool.bound_bytes());
        self.hub.check();
        self.events.check();
    }

    fn check_member(&self, membership: Membership, reader: Reader) {
        let members = self.hub.channel(membership.channel).members();
        assert_eq!(members[membership.index as usize].reader(), reader);
    }

    /// Asserts that each channel counts as many choked members as are marked so.
    fn check_choked(&self) {
        let mut marked: BTreeMap<ChannelId, u32> = BTreeMap::new();
        for slot in self.connections.iter().filter(|slot| self.connections.marks(*slot).choked) {
            let membership = self.connections.conn(slot).membership();
            let membership = membership.expect("only a member is marked as choked");
            *marked.entry(membership.channel).or_default() += 1;
        }
        let spaces = self.sessions.iter().flat_map(|(_, session)| session.spaces.iter());
        for space in spaces.filter(|space| space.choked) {
            *marked.entry(space.channel()).or_default() += 1;
        }
        for (id, channel) in self.hub.channels() {
            let marks = marked.remove(&id).unwrap_or_default();
            assert_eq!(channel.choked(), marks, "{id:?}: each that is counted has its mark");
        }
        assert!(marked.is_empty(), "marks of channels that are gone: {marked:?}");
    }
}
