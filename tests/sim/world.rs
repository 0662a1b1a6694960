//! Virtual time, the fake network, and the turns of a loop like the shell's.
//!
//! ```text
//!   storm ──► calm ──► farewell (everyone leaves, or a drain) ──► nothing is left
//! ```
//!
//! A turn is the shell's: readiness, accept, `run`, events; in between the agenda says what else
//! happens by now. After each turn what the server wrote is decoded and judged, and what must hold
//! at rest is held against every connection. Time only moves when the server says that it has
//! nothing to do, or a little with each turn.

#[path = "calm.rs"]
mod calm;
#[path = "pace.rs"]
pub(crate) mod pace;
#[path = "promise.rs"]
mod promise;
#[path = "pulse.rs"]
mod pulse;
#[path = "rest.rs"]
mod rest;
#[path = "siege.rs"]
mod siege;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::Hasher;
use std::rc::Rc;

use elbow::hub::envelope;
use elbow::id::ConnId;
use elbow::limits::{self, Limits};
use elbow::position::Position;
use elbow::rate::Account;
use elbow::server::{Event, Listener, Readiness, Server, Ticket, Unplaced};
use elbow::settings::Anonymous;
use elbow::site::{File, Site};
use elbow::time::{Duration, Instant, Now};

use super::attack::{self, Attack};
use super::authority::{Authority, Placed};
use super::client::{Ask, Client, Message, Page, Scene};
use super::climate::{self, Climate, Dice};
use super::due::{
    FAREWELL_MS, LOOKS_OF_DISCONNECT, RESTLESS_TURNS_MAX, TICKS_MS, WAKING_MS, wakeups_max,
};
use super::oracle::{Oracle, Return, file, spoken};
use super::pass::{self, Expiry, Pass};
use super::person::Person;
use super::seeds::Journal;
use super::socket::{FakeSocket, Link, Net};
use super::wish::Wish;

/// Turns in a row that may do nothing without time passing.
const IDLE_TURNS_MAX: u32 = 100;
/// Connections of a run; who wants one more gives up.
const CONNECTIONS_MAX: usize = 1000;
/// How long a loop that had no descriptor for a newcomer waits before it accepts again, as the
/// shell does.
const ACCEPT_AGAIN_MS: u64 = 1000;
/// How long the order is out of reach before publishers are closed that wait for it.
pub(crate) const AWAY_MS: u64 = 30_000;
/// Acts of leaving come within so long after the calm.
const LEAVING_MS: u64 = 3000;
/// A deadline that was due so many turns ago has been served: 64 are, in each.
const TURNS_KEPT: usize = 8;
/// Turns from one look at everything to the next.
const TURNS_PER_SURVEY: u64 = 64;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Action {
    Breathe(usize),
    Act(usize),
    Arrive,
    Drain,
    Replace,
    Leave(usize),
    /// A plain WebSocket that has gone comes back.
    Return(usize),
    /// A Socket.IO client that has gone comes back.
    Rejoin(usize),
    /// A person acts.
    Person(usize),
    /// A person goes.
    Depart(usize),
}

/// What a run has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) turns: u64,
    /// What clients did.
    pub(crate) acts: u64,
    pub(crate) events: u64,
    pub(crate) calls: u64,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) connections: u64,
    /// Socket.IO sessions, records that they were told, and upgrades that were finished.
    pub(crate) sessions: u64,
    pub(crate) told: u64,
    pub(crate) upgrades: u64,
    /// Attackers that acted, by kind.
    pub(crate) attacked: [u64; Attack::ALL.len()],
    /// Clients that wanted what was said before they came, by what became of their wish.
    pub(crate) returned: [u64; Return::ALL.len()],
    /// Tokens that have expired, by the phase of what they had let in.
    pub(crate) expired: [u64; Expiry::ALL.len()],
    /// Where the order is decided elsewhere: channels that were opened with what was kept of them,
    /// newcomers that waited for one in vain, and gaps.
    pub(crate) ordered: [u64; 3],
    /// Ends by reason.
    pub(crate) reasons: u32,
    /// Of every byte written and of every event.
    pub(crate) hash: u64,
}

pub(crate) struct World {
    climate: Climate,
    dice: Dice,
    net: Rc<Net>,
    server: Server<FakeSocket>,
    clients: Vec<Client>,
    people: Vec<Person>,
    ids: Vec<Option<ConnId>>,
    /// Clients that have connected and were not accepted.
    backlog: VecDeque<usize>,
    accept_again_ms: u64,
    /// How many public connections were accepted lately.
    accepted: Account,
    agenda: BinaryHeap<Reverse<(u64, u64, Action)>>,
    agenda_count: u64,
    /// Links of which epoll has something to say.
    edges: VecDeque<usize>,
    /// Events from before the server served its deadlines in this turn.
    early: Vec<Event>,
    /// What those draw from who want what was said before they came, and come back.
    wishes: Dice,
    /// What tokens are drawn from.
    passes: Dice,
    /// Messages on their way to their place in the order and back: when each is there.
    underway: VecDeque<(u64, Ticket, Vec<u8>)>,
    /// Whoever decides the order of messages, if that is done elsewhere.
    authority: Option<Authority>,
    /// Where the first of those stands, if it has its place already.
    placed: Option<Position>,
    /// A channel of which something is lost, and where it stands, before that was told.
    losing: Option<(Box<str>, Position)>,
    /// The first of those is there, and its channel takes no message.
    held: bool,
    oracle: Oracle,
    quiet: bool,
    pending: bool,
    turns: u64,
    turn_times: [u64; TURNS_KEPT],
    idle_turns: u32,
    acts: u64,
    /// Attackers and probes that have come.
    attackers: usize,
    peak: promise::Peak,
    /// Nothing but a deadline of the server begins this turn.
    woken: bool,
    /// Turns that began so and in which nothing was done.
    empty_turns: u64,
    drain_ends_ms: u64,
    calm_ms: u64,
    /// When the machine last woke up.
    woke_ms: u64,
    /// Up to when deadlines had been served before it went to sleep.
    slept_ms: u64,
    journal: Option<Journal>,
}

/// Runs a seed to its end.
pub(crate) fn run(seed: u64, journal: Option<Journal>) -> Outcome {
    let mut world = World::new(seed, journal);
    world.storm();
    world.calm();
    world.farewell();
    world.finish()
}

impl World {
    fn new(seed: u64, journal: Option<Journal>) -> World {
        let mut dice = Dice::new(seed);
        let mut climate = Climate::draw(&mut dice);
        draw_apart(seed, &mut climate);
        let net = Net::new(Dice::new(dice.next()), climate.temper);
        let mut birth = [0; 32];
        birth.fill_with(|| dice.next() as u8);
        let site = Site::new(files(0, climate.big_file_bytes), false);
        let began_ms = dice.below(100_000);
        net.now_ms.set(began_ms);
        let mut world = World {
            server: Server::new(climate.settings.clone(), site, birth, now(began_ms)),
            oracle: Oracle::new(&climate, birth),
            net,
            clients: Vec::new(),
            people: Vec::new(),
            ids: Vec::new(),
            backlog: VecDeque::new(),
            accept_again_ms: 0,
            accepted: Account::new(Instant::from_millis(began_ms)),
            agenda: BinaryHeap::new(),
            agenda_count: 0,
            edges: VecDeque::new(),
            early: Vec::new(),
            wishes: Dice::new(climate.returns.map_or(0, |returns| returns.seed)),
            passes: Dice::new(climate.tokens.map_or(0, |tokens| tokens.seed)),
            underway: VecDeque::new(),
            authority: None,
            placed: None,
            losing: None,
            held: false,
            quiet: false,
            pending: false,
            turns: 0,
            turn_times: [0; TURNS_KEPT],
            idle_turns: 0,
            acts: 0,
            attackers: 0,
            peak: promise::Peak::default(),
            woken: false,
            empty_turns: 0,
            drain_ends_ms: u64::MAX,
            calm_ms: 0,
            woke_ms: 0,
            slept_ms: 0,
            journal,
            dice,
            climate,
        };
        world.note(|world| format!("{:?}", world.climate));
        pass::give_keys(&world.climate, &mut world.server);
        if world.climate.order_ms_max.is_some() && !world.server.order_elsewhere() {
            world.climate.order_ms_max = None;
        }
        world.oracle.is_ordered_elsewhere = world.climate.order_ms_max.is_some();
        let ordering = world.climate.order_ms_max.map(|_| world.climate.ordering);
        world.authority = ordering.map(Authority::new);
        world.plan(began_ms, Action::Arrive);
        if let Some(at_ms) = world.climate.drain_at_ms {
            world.plan(began_ms + at_ms, Action::Drain);
        }
        if let Some(every_ms) = world.climate.replace_every_ms {
            world.plan(began_ms + every_ms, Action::Replace);
        }
        world
    }

    fn now_ms(&self) -> u64 {
        self.net.now_ms.get()
    }

    fn note(&self, what: impl FnOnce(&World) -> String) {
        if let Some(journal) = &self.journal {
            let line = format!("{:>8} {}", self.now_ms(), what(self));
            journal.borrow_mut().push_back(line);
        }
    }

    fn plan(&mut self, at_ms: u64, action: Action) {
        self.agenda_count += 1;
        self.agenda.push(Reverse((at_ms, self.agenda_count, action)));
    }

    // The three parts of a run.

    fn storm(&mut self) {
        let until_ms = self.now_ms() + self.climate.length_ms;
        while self.turns < self.climate.turns_max && !self.oracle.drained {
            self.turn(until_ms);
            if self.now_ms() >= until_ms {
                break;
            }
        }
    }

    /// Nobody says anything new and everyone reads: in a while everyone has everything.
    fn calm(&mut self) {
        self.note(|_| "calm".to_owned());
        self.quiet = true;
        self.calm_ms = self.now_ms();
        for client in 0..self.clients.len() {
            self.plan_act(client, self.now_ms());
        }
        for person in 0..self.people.len() {
            self.plan_person(person, self.now_ms());
        }
        let calm_ms = self.dice.pick(&[5_000, 5_000, 60_000]);
        let mut until_ms = self.now_ms() + calm_ms;
        let turns_max = self.turns + RESTLESS_TURNS_MAX;
        while self.now_ms() < until_ms && !self.oracle.drained {
            assert!(self.turns < turns_max, "it does not come to rest");
            self.turn(until_ms);
            let is_opening = self.authority.as_ref().is_some_and(|it| it.next_ms().is_some());
            // A round that tells of what is lost may be followed by another.
            let drain_ms = self.climate.settings.limits.drain.as_millis();
            let is_told = self.oracle.gaps == 0
                || self.now_ms() > self.oracle.lost_ms + 2 * (drain_ms + TICKS_MS);
            if !self.underway.is_empty() || is_opening || !is_told {
                // What waits for its place is still to be said.
                until_ms = self.now_ms() + calm_ms;
            }
        }
        if !self.oracle.drained {
            self.judge_calm();
            self.idle();
        }
    }

    /// While nothing happens the server is woken by deadlines alone, and seldom for nothing.
    fn idle(&mut self) {
        let interval_ms = self.climate.settings.limits.ping_interval.as_millis();
        let (began, until_ms) = (self.empty_turns, self.now_ms() + 4 * interval_ms);
        let idle = self.server.connections() + self.server.sessions() + self.backlog.len();
        let idle = idle as u64;
        let disconnects: u64 = self.clients.iter().map(Client::disconnects).sum();
        while self.now_ms() < until_ms && !self.oracle.drained {
            self.turn(until_ms);
        }
        let empty = self.empty_turns - began;
        let draining = self.oracle.drain_began_ms.is_some();
        // Each that ends wakes the server once, and so does one that has members again by then.
        let channels = self.oracle.channels.len() as u64;
        let looks = disconnects * LOOKS_OF_DISCONNECT;
        let is_seldom = empty <= wakeups_max(idle) + channels + self.held_frames() + looks;
        assert!(draining || is_seldom, "{idle} idle, woken {empty} times for nothing");
    }

    fn farewell(&mut self) {
        self.note(|_| "farewell".to_owned());
        if self.oracle.drain_began_ms.is_none() && self.dice.chance(300) {
            self.begin_drain();
        }
        for client in 0..self.clients.len() {
            let at_ms = self.now_ms() + self.dice.below(LEAVING_MS);
            self.plan(at_ms, Action::Leave(client));
        }
        for person in 0..self.people.len() {
            let at_ms = self.now_ms() + self.dice.below(LEAVING_MS);
            self.plan(at_ms, Action::Depart(person));
        }
        let patience_ms = self.patience_ms() + self.climate.settings.keep_alive.as_millis();
        let until_ms = self.now_ms() + patience_ms + FAREWELL_MS;
        let is_over = |world: &World| {
            let server = &world.server;
            let left = server.connections() + server.sessions() + world.backlog.len();
            let is_empty = left == 0 && world.underway.is_empty();
            world.oracle.drained || (is_empty && world.oracle.drain_began_ms.is_none())
        };
        let turns_max = self.turns + RESTLESS_TURNS_MAX;
        while !is_over(self) {
            assert!(self.turns < turns_max, "it does not come to an end");
            assert!(self.now_ms() < until_ms, "{}", self.left());
            self.turn(until_ms);
        }
    }

    /// Who is still there, for whoever must find out why.
    fn left(&self) -> String {
        let server = &self.server;
        let is_left = |client: &&Client| client.ended.is_none() && client.accepted_at_ms.is_some();
        let left = self.clients.iter().filter(is_left).map(|client| {
            let state = client.link.state.borrow();
            let (read, written, taken) = (state.read_bytes, state.written, state.taken);
            format!(
                "#{}: {read} read, {written} written, {taken} taken, blocked {}",
                client.number, state.blocked
            )
        });
        let left: Vec<String> = left.collect();
        format!(
            "{} connections and {} sessions are left: {left:?}",
            server.connections(),
            server.sessions()
        )
    }

    /// Looks at the server as whoever watches it does, and at whether its numbers agree.
    fn survey(&mut self) {
        let (accepted, connections) =
            (self.server.metrics().connections_accepted, self.server.connections() as u64);
        let (used, limit) = (self.server.pool().used_bytes(), self.server.pool().limit_bytes());
        let at = now(self.now_ms());
        let snapshot = self.server.survey(at).expect("nobody has 4,096 members here");
        assert_eq!(snapshot.lags.count(), snapshot.size(), "each member was looked at");
        let largest: u64 = snapshot.largest.iter().map(|channel| channel.size()).sum();
        assert_eq!(largest, snapshot.size(), "and each channel");
        let ended: u64 = snapshot.metrics.closed.iter().sum();
        assert_eq!(ended + connections, accepted, "who came is here or has ended, once");
        let now = &snapshot.connections;
        assert!(now.websocket + now.sse + now.http <= connections, "{now:?}");
        let memory = &snapshot.memory;
        let told = memory.rings + memory.buffers + memory.sessions + memory.free;
        assert_eq!(told, used.max(limit), "{memory:?}");
    }

    /// Everybody has gone: nothing is left, and the server has counted as the oracle has.
    fn finish(&mut self) -> Outcome {
        self.place_the_rest();
        self.outlive();
        self.server.check();
        let metrics = self.server.metrics();
        assert_eq!(self.server.connections(), 0);
        assert_eq!(self.server.sessions(), 0);
        let held = self.server.remembered_bytes() + self.opening_bytes();
        assert_eq!(self.server.pool().lent_bytes(), held, "memory that nobody holds");
        assert_eq!(metrics.connections_accepted, self.oracle.ended, "each has an end");
        // Whose first answer was never written may have had a session all the same.
        let shaking = |person: &&Person| person.hearing.opened_at_ms.is_none();
        let perhaps = self.people.iter().filter(shaking).count() as u64;
        let people = self.people.len() as u64 + self.oracle.strays_left;
        let opened = self.oracle.opened + people - perhaps;
        assert!((opened..=opened + perhaps).contains(&metrics.sessions_opened));
        assert_eq!(metrics.messages_published(), self.oracle.published);
        assert_eq!(metrics.messages_delivered, self.oracle.counted);
        assert!(self.oracle.strays_seen <= self.oracle.strays_left, "each session has an end");
        let ends = metrics.closed.iter().sum::<u64>();
        assert_eq!(ends, metrics.connections_accepted, "each end is counted once");
        let mut reasons = 0;
        let ends = self.people.iter().filter_map(|person| person.hearing.end);
        for reason in self.clients.iter().filter_map(|client| client.ended).chain(ends) {
            reasons |= 1 << reason as u32;
        }
        let mut hash = self.net.trace.borrow().clone();
        hash.write_u64(self.oracle.trace.finish());
        Outcome {
            turns: self.turns,
            acts: self.acts,
            events: self.oracle.events,
            calls: self.net.calls.get(),
            published: self.oracle.published,
            delivered: self.oracle.delivered,
            connections: metrics.connections_accepted,
            sessions: self.people.iter().filter(|p| p.hearing.was_in_any()).count() as u64,
            told: self.oracle.told,
            upgrades: self.people.iter().filter(|p| p.has_upgraded()).count() as u64,
            attacked: self.attacked(),
            returned: self.oracle.returned,
            expired: self.oracle.expired,
            ordered: [self.oracle.brought, self.oracle.unopened, self.oracle.gaps],
            reasons,
            hash: hash.finish(),
        }
    }

    // A turn.

    fn turn(&mut self, until_ms: u64) {
        self.turns += 1;
        let began_ms = self.now_ms();
        let work_before = self.work();
        self.open_channels();
        self.say_elsewhere();
        self.lose_now_and_then();
        self.besiege();
        self.happen();
        self.deliver();
        self.accept();
        self.place();
        if self.climate.settings.limits.history.is_some() {
            self.early.extend(std::iter::from_fn(|| self.server.poll_event()));
        }
        self.pending = self.server.run(now(self.now_ms()));
        self.send_for_order();
        self.judge();
        self.tend_channels();
        let now_ms = self.now_ms();
        self.oracle.settle_doubts(now_ms, &self.climate, &self.clients, &self.people);
        self.turn_times.rotate_left(1);
        self.turn_times[TURNS_KEPT - 1] = began_ms;
        self.server.check();
        if self.turns.is_multiple_of(TURNS_PER_SURVEY) {
            self.survey();
        }
        self.advance(until_ms);
        self.empty_turns += u64::from(self.woken && self.work() == work_before);
        let idle = self.work() == work_before && self.now_ms() == began_ms;
        self.idle_turns = if idle { self.idle_turns + 1 } else { 0 };
        assert!(
            self.idle_turns < IDLE_TURNS_MAX,
            "it spins: pending {}, {} edges, deadline {:?}, agenda {:?}",
            self.pending,
            self.edges.len(),
            self.server.poll_timeout(),
            self.agenda.peek()
        );
    }

    /// What the kernel and the pings allow a peer that does not react.
    fn patience_ms(&self) -> u64 {
        let limits = &self.climate.settings.limits;
        limits.ping_interval.plus(limits.ping_timeout).as_millis()
    }

    /// A number that grows with whatever anybody does: if it stays, a turn did nothing.
    fn work(&self) -> u64 {
        self.net.calls.get() + self.acts + self.oracle.events
    }

    /// Lets happen what the agenda has up to now.
    fn happen(&mut self) {
        while let Some(Reverse((at_ms, _, action))) = self.agenda.peek().copied()
            && at_ms <= self.now_ms()
        {
            self.agenda.pop();
            match action {
                Action::Breathe(link) => self.breathe(link),
                Action::Act(client) if self.clients[client].next_ms == at_ms => self.act(client),
                Action::Act(_) => {}
                Action::Leave(client) => self.leave(client),
                Action::Return(client) => self.come_back(client),
                Action::Rejoin(person) => self.welcome_back(person),
                Action::Person(person) if self.people[person].next_ms == at_ms => {
                    self.act_as(person);
                }
                Action::Person(_) => {}
                Action::Depart(person) => self.depart(person),
                Action::Arrive => self.arrive(),
                Action::Drain => self.begin_drain(),
                Action::Replace => self.replace(),
            }
        }
        let false_alarm = self.dice.chance(self.climate.temper.false_alarms);
        if false_alarm && !self.clients.is_empty() {
            let client = self.dice.below(self.clients.len() as u64) as usize;
            if let Some(id) = self.ids[client] {
                let readiness = Readiness { readable: true, more_behind: false, writable: true };
                let now_ms = self.now_ms();
                self.clients[client].link.state.borrow_mut().alarmed(now_ms);
                self.server.ready(now(now_ms), id, readiness);
            }
        }
    }

    /// Tells the server what epoll would: of up to 64 sockets what can be done with them.
    fn deliver(&mut self) {
        let most = self.dice.between(1, 64);
        for _ in 0..most {
            let Some(link) = self.edges.pop_front() else { break };
            let Some(id) = self.ids[link] else { continue };
            if self.clients[link].link.state.borrow().dropped {
                // As late as an event can be: its generation is dead.
                self.server.ready(now(self.now_ms()), id, Readiness::default());
            } else if let Some(readiness) = self.clients[link].link.readiness() {
                self.note(|_| format!("#{link} {readiness:?}"));
                self.server.ready(now(self.now_ms()), id, readiness);
            }
        }
    }

    /// Takes messages along whose order is decided elsewhere.
    fn send_for_order(&mut self) {
        let order_ms_max = self.climate.order_ms_max.unwrap_or_default();
        while let Some((ticket, envelope)) = self.server.poll_deferred() {
            let there_ms = self.net.now_ms.get() + self.dice.below(order_ms_max + 1);
            let last_ms = self.underway.back().map_or(0, |(at_ms, ..)| *at_ms);
            self.underway.push_back((there_ms.max(last_ms), ticket, envelope.to_vec()));
        }
    }

    /// Brings back what is still on its way when nobody is left to hear it.
    fn place_the_rest(&mut self) {
        let is_losing = self.losing.is_some();
        self.tell_loss();
        self.send_for_order();
        while let Some((_, ticket, envelope)) = self.underway.pop_front() {
            let placed = self.give_place(ticket, &envelope);
            assert_eq!(placed, Ok(()), "what nobody hears waits for nobody");
        }
        while let Some(event) = self.server.poll_event() {
            let is_loss = is_losing && matches!(event, Event::Lost { .. });
            assert!(is_loss || matches!(event, Event::Message { .. }), "{event:?} after the end");
            let (now_ms, climate) = (self.net.now_ms.get(), &self.climate);
            self.oracle.event(now_ms, climate, &mut self.clients, &mut self.people, &event);
        }
    }

    /// What a channel beside `default` takes in which nobody is. Without history one that was
    /// opened for somebody may live on, but without a log.
    fn log_bytes(&self) -> u64 {
        let limits = &self.climate.settings.limits;
        let log_bytes = Limits::feed_cost_bytes(limits.feed_bytes, limits.history);
        if limits.history.is_some() { log_bytes } else { 0 }
    }

    /// What the channels take that were still being opened when a drain ended. Without a drain the
    /// server has time to give them back.
    fn opening_bytes(&self) -> u64 {
        if !self.oracle.drained {
            return 0;
        }
        let opening = self.authority.iter().flat_map(Authority::asked);
        opening.filter(|name| *name != "default").count() as u64 * self.log_bytes()
    }

    /// Nobody is there any more. Channels that keep something live on until the last of it is too
    /// old, to the millisecond, and then their memory is given back.
    fn outlive(&mut self) {
        let limits = self.climate.settings.limits.clone();
        let cost = self.log_bytes();
        loop {
            let living = self.oracle.channels.iter().filter(|(_, log)| log.past.is_alive());
            let beside = living.clone().filter(|(name, _)| ***name != *"default").count() as u64;
            let lent = self.server.pool().lent_bytes() - self.server.remembered_bytes();
            let kept = beside * cost + self.opening_bytes();
            assert_eq!(lent, kept, "what is kept is paid for");
            let over_ms = living.filter_map(|(_, log)| log.past.over_ms(&limits)).min();
            let Some(over_ms) = over_ms else { return };
            let due_ms = self.server.poll_timeout().map(Instant::as_millis);
            assert!(due_ms.is_some_and(|due_ms| due_ms <= over_ms), "nobody ends a channel");
            for now_ms in [self.now_ms().max(over_ms - 1), self.now_ms().max(over_ms)] {
                self.net.now_ms.set(now_ms);
                self.server.run(now(now_ms));
                self.server.check();
                self.oracle.end_channels(now_ms, &self.climate);
                self.tend_channels();
            }
        }
    }

    /// Has a message placed, behind all others of its channel.
    fn give_place(&mut self, ticket: Ticket, envelope: &[u8]) -> Result<(), Unplaced> {
        let now_ms = self.now_ms();
        let authority = self.authority.as_mut().expect("only then something waits for its place");
        let channel = envelope::channel_of(envelope).expect("the server's own envelope");
        let position =
            *self.placed.get_or_insert_with(|| authority.place(now_ms, channel, envelope));
        let gaps = self.server.metrics().gaps;
        let placed = self.server.place(now(now_ms), Some(ticket), position, envelope);
        if placed.is_ok() {
            self.placed = None;
            let text: Rc<str> = position.to_string().into();
            let is_here = self.server.metrics().gaps == gaps;
            if !is_here {
                assert!(self.oracle.scarce, "there was room for it");
                // The others have heard it, and whoever opens the channel next need not.
                authority.forget(channel);
                self.oracle.lost.push_back(Rc::clone(&text));
            }
            self.oracle.places.push_back((text, is_here));
        }
        placed
    }

    /// Opens the channels whose time has come, with what is kept of them.
    fn open_channels(&mut self) {
        let now_ms = self.now_ms();
        let Some(authority) = &mut self.authority else { return };
        while let Some((channel, asked_ms)) = authority.next_opened(now_ms) {
            let stream = authority.stream(&channel);
            let newest = authority.end(&channel);
            let history = self.climate.settings.limits.history;
            let is_young = |placed: &&Placed| {
                history.is_some_and(|history| placed.at_ms + history.age.as_millis() > now_ms)
            };
            let brought = stream.iter().rev().take_while(is_young).count();
            let kept = &stream[stream.len() - brought..];
            for placed in kept {
                let age = Duration::from_millis(now_ms - placed.at_ms);
                let place = (placed.position, age);
                self.server.replayed(now(now_ms), &channel, place, Some(&placed.envelope));
            }
            let before = kept.first().map(|placed| placed.position.before_in_stream());
            let begin = before.unwrap_or(Some(newest)).unwrap_or(Position::STREAM_START);
            self.server.opened(now(now_ms), &channel, newest);
            self.server.check();
            self.oracle.brought += u64::from(brought > 0);
            let log = self.oracle.channels.entry(channel).or_default();
            let brought = (brought as u64, begin.to_string().into());
            let with_offset = self.climate.settings.recovers();
            log.past.begin((asked_ms, now_ms), log.plain.len(), brought, with_offset);
        }
    }

    /// Somebody elsewhere says something in a channel that nobody reads here.
    fn say_elsewhere(&mut self) {
        let now_ms = self.now_ms();
        // What has its place and cannot be told yet stands in front of it.
        let may_say = !self.quiet && self.placed.is_none();
        let Some(authority) = self.authority.as_mut().filter(|_| may_say) else { return };
        let said = authority.says_elsewhere(self.climate.people.channels);
        let Some((number, text)) = said else { return };
        let channel = self.climate.channel(number);
        let log = self.oracle.channels.entry(channel.as_str().into()).or_default();
        if log.past.is_alive() {
            return;
        }
        let mut envelope = Vec::new();
        let message = elbow::hub::Message::Text(text.as_bytes());
        envelope::encode(&channel, &message, &mut envelope);
        let position = authority.place(now_ms, &channel, &envelope).to_string().into();
        let message = Message { is_text: true, payload: text.into_bytes().into() };
        let spoken = spoken(&channel, &message);
        log.push((now_ms, self.turns), None, (spoken, Some(position)), Some(message));
    }

    /// Something of a channel is lost now and then, and the order is out of reach.
    fn lose_now_and_then(&mut self) {
        let now_ms = self.now_ms();
        let Some(authority) = &mut self.authority else { return };
        if authority.comes_back(now_ms) || (self.quiet && authority.away_until_ms.take().is_some())
        {
            self.server.backplane_back(now(now_ms));
            self.oracle.away_ms = None;
        } else if !self.quiet && authority.goes_now_and_then(now_ms) {
            self.server.backplane_away(now(now_ms));
            self.oracle.away_ms = Some(now_ms);
        }
        if self.oracle.away_ms.is_some_and(|since_ms| since_ms + AWAY_MS <= now_ms) {
            self.oracle.cut_off_ms = now_ms;
        }
        if self.losing.is_none() && self.placed.is_none() && !self.quiet {
            self.losing = authority.lose_now_and_then(now_ms);
        }
        self.tell_loss();
    }

    /// Tells what is lost, unless the channel has to be waited for.
    fn tell_loss(&mut self) {
        let Some((channel, position)) = self.losing.take() else { return };
        let gaps = self.server.metrics().gaps;
        if self.server.lost(now(self.now_ms()), &channel, position).is_err() {
            self.losing = Some((channel, position));
        } else if self.server.metrics().gaps > gaps {
            self.oracle.lost.push_back(position.to_string().into());
        }
        self.server.check();
    }

    /// Asks for channels that somebody waits for, and hears of those that nobody reads any more.
    fn tend_channels(&mut self) {
        let now_ms = self.now_ms();
        let Some(authority) = &mut self.authority else { return };
        while let Some(channel) = self.server.poll_closing(now(now_ms)) {
            authority.close(&channel);
            let limits = &self.climate.settings.limits;
            if let Some(log) = self.oracle.channels.get_mut(&channel) {
                log.past.close(now_ms, limits);
            }
        }
        while let Some(channel) = self.server.poll_opening() {
            authority.ask(now_ms, channel);
        }
        for channel in authority.asked() {
            self.oracle.opening_ms.insert(channel.into(), now_ms);
            self.oracle.unplaced_ms = now_ms;
        }
        while self.server.poll_greeting().is_some() {}
    }

    /// Brings back those that have their place by now.
    fn place(&mut self) {
        self.held = false;
        if !self.underway.is_empty() {
            self.oracle.unplaced_ms = self.now_ms();
        }
        let is_away = self.authority.as_ref().is_some_and(|it| it.away_until_ms.is_some());
        while let Some((at_ms, ticket, envelope)) = self.underway.pop_front() {
            let is_there = at_ms <= self.now_ms() && !is_away && self.losing.is_none();
            let placed = is_there.then(|| self.give_place(ticket, &envelope));
            match placed {
                // What a place has led to is over when the call is.
                Some(Ok(())) => self.server.check(),
                Some(Err(Unplaced::Unreadable)) => panic!("the server reads its own envelopes"),
                Some(Err(Unplaced::Held)) | None => {
                    self.held = is_there;
                    return self.underway.push_front((at_ms, ticket, envelope));
                }
            }
        }
    }

    fn accept(&mut self) {
        if self.now_ms() < self.accept_again_ms {
            return;
        }
        for listener in Listener::ALL {
            let taken = self.clients.iter().filter(|client| client.is_connected_by(listener));
            let has_place = taken.count() < self.places(listener);
            assert!(!has_place || self.server.has_room_for(listener), "{listener:?}: taken");
        }
        for _ in 0..limits::ACCEPTS_PER_TURN {
            let Some(place) = self.next_in_backlog() else { return };
            if self.dice.chance(self.climate.exhausted) {
                self.accept_again_ms = self.now_ms() + ACCEPT_AGAIN_MS;
                return;
            }
            let client = self.backlog.remove(place).expect("it was found there");
            let listener = self.clients[client].listener;
            if let (Listener::Public, Some(rate)) = (listener, self.climate.accept_rate) {
                self.accepted.take(Instant::from_millis(self.net.now_ms.get()), rate);
            }
            let taken = self.clients.iter().filter(|client| client.is_connected_by(listener));
            let is_full = taken.count() == self.places(listener);
            self.oracle.wanted[listener as usize] += u32::from(is_full);
            let id = self.server.make_room(now(self.now_ms()), self.clients[client].listener);
            let Client { link, listener, peer, .. } = &self.clients[client];
            let (socket, listener, peer) = (FakeSocket(Rc::clone(link)), *listener, *peer);
            let accepted = self.server.accept(now(self.now_ms()), listener, peer, socket);
            let id = Some(accepted).filter(|accepted| Some(*accepted) == id);
            let id = id.expect("its id was said before");
            self.note(|_| format!("#{client} accepted from {peer}"));
            self.ids[client] = Some(id);
            self.clients[client].accepted_at_ms = Some(self.now_ms());
            let mut state = self.clients[client].link.state.borrow_mut();
            state.read_at_ms = self.net.now_ms.get();
            state.wrote_at_ms = self.net.now_ms.get();
            // A socket that is new to epoll is reported at once: it can be written to.
            state.edge = true;
            drop(state);
            self.edges.push_back(client);
        }
    }

    /// How many connections a listener may have.
    fn places(&self, listener: Listener) -> usize {
        match listener {
            Listener::Public => {
                self.climate.settings.limits.connections_max + limits::CONNECTIONS_SPARE
            }
            Listener::Health => limits::CONNECTIONS_HEALTH,
            Listener::Admin => self.climate.settings.limits.admin_connections_max,
        }
    }

    /// Where in the backlog the first stands whose listener has room.
    fn next_in_backlog(&self) -> Option<usize> {
        let may_come = self.accepts_at_ms() <= self.now_ms();
        let has_room = |client: &usize| {
            let listener = self.clients[*client].listener;
            (may_come || listener != Listener::Public) && self.server.has_room_for(listener)
        };
        self.backlog.iter().position(has_room)
    }

    /// Lets time pass: a little with each turn, and up to whatever comes next if nothing is to be
    /// done before. Sometimes the machine sleeps beyond that.
    fn advance(&mut self, until_ms: u64) {
        let can_accept = self.next_in_backlog().is_some() && self.now_ms() >= self.accept_again_ms;
        let mut woken = false;
        let mut next_ms = self.now_ms() + self.dice.below(self.climate.turn_ms_max + 1);
        if !self.pending && self.edges.is_empty() && !can_accept {
            let agenda = self.agenda.peek().map(|Reverse((at_ms, ..))| *at_ms);
            let deadline = self.server.poll_timeout().map(Instant::as_millis);
            let may_come_ms = Some(self.accepts_at_ms())
                .filter(|at_ms| *at_ms > self.now_ms() && !self.backlog.is_empty());
            let accepting = self.next_in_backlog().map(|_| self.accept_again_ms).or(may_come_ms);
            let is_away = self.authority.as_ref().is_some_and(|it| it.away_until_ms.is_some());
            let waits = self.held || is_away || self.losing.is_some();
            let ordered = self.underway.front().filter(|_| !waits).map(|(at_ms, ..)| *at_ms);
            let opened = self.authority.as_ref().and_then(Authority::next_ms);
            let wake = [agenda, deadline, accepting, ordered, opened].into_iter().flatten().min();
            next_ms = next_ms.max(wake.unwrap_or(u64::MAX).min(until_ms));
            let is_later = |other: Option<u64>| other.is_none_or(|at_ms| at_ms > next_ms);
            let others = [agenda, ordered, opened, may_come_ms];
            woken = deadline == Some(next_ms) && others.into_iter().all(is_later);
            if !self.quiet && self.dice.chance(self.climate.jumps) {
                next_ms += self.dice.below(self.climate.jump_ms_max);
                if self.woke_ms + WAKING_MS < self.now_ms() {
                    let served_ms = self.now_ms().saturating_sub(WAKING_MS);
                    self.slept_ms = self.turn_times[0].min(served_ms);
                }
                self.woke_ms = next_ms;
                self.oracle.woke_ms = next_ms;
                // Whoever waits for a channel has waited through the sleep.
                let now_ms = self.now_ms();
                self.oracle.sleep_through_openings(now_ms, next_ms);
                // And whoever is told that the order was out of reach is told so behind it.
                if self.oracle.was_away(self.now_ms()) {
                    self.oracle.cut_off_ms = next_ms;
                }
                self.note(|_| "the machine sleeps".to_owned());
            }
        }
        self.woken = woken;
        self.net.now_ms.set(next_ms);
    }

    // What happens.

    /// Newcomers, one or a crowd, as long as there are fewer than the climate has.
    fn arrive(&mut self) {
        let counts = |client: &&Client| client.ended.is_none() && !client.is_extra();
        let live = self.clients.iter().filter(counts).count() as u64;
        let people = self.climate.people;
        let crowd = people.crowds && live < people.clients_max / 4;
        let many = if crowd || self.clients.is_empty() { people.clients_max } else { 1 };
        for _ in 0..many.min(people.clients_max.saturating_sub(live)) {
            if self.clients.len() < CONNECTIONS_MAX && (crowd || self.dice.chance(people.newcomers))
            {
                if self.dice.chance(people.socket_io) {
                    self.welcome();
                } else {
                    self.connect();
                }
            }
        }
        self.employ();
        let again_ms = self.now_ms() + 1 + self.dice.below(people.arrival_ms * 2);
        if !self.quiet {
            self.plan(again_ms, Action::Arrive);
        }
    }

    fn connect(&mut self) {
        let number = self.clients.len();
        let link = Link::new(number, &self.net);
        let mut scene = self.scene();
        let client = Client::new(number, link, &mut scene);
        self.begin(client);
    }

    /// A backend comes, as long as there are fewer than the climate has.
    fn employ(&mut self) {
        let Some(backends) = self.climate.backends else { return };
        let counts = |client: &&Client| client.ended.is_none() && client.is_backend();
        let live = self.clients.iter().filter(counts).count() as u64;
        if live < backends.most && self.clients.len() < CONNECTIONS_MAX && self.dice.chance(500) {
            let number = self.clients.len();
            let link = Link::new(number, &self.net);
            let client = Client::backend(number, link, &mut self.scene(), backends);
            self.introduce(client);
        }
    }

    /// A plain WebSocket that has gone comes back, unless everything is over.
    fn come_back(&mut self, before: usize) {
        if self.quiet || self.clients.len() >= CONNECTIONS_MAX {
            return;
        }
        let number = self.clients.len();
        let link = Link::new(number, &self.net);
        let (clients, mut scene) = self.clients_on_stage();
        let client = clients[before].come_back_as(number, link, &mut scene);
        self.note(|_| format!("#{before} comes back as #{number}"));
        self.begin(client);
    }

    /// A client says its first words, a plain WebSocket or the reader of an event stream among them
    /// where it wants to begin.
    fn begin(&mut self, mut client: Client) {
        let may_wish = client.may_wish();
        if let (Some(returns), true) = (self.climate.returns, may_wish) {
            let dice = &mut self.wishes;
            client.is_positioned = dice.chance(returns.positioned);
            if dice.chance(self.climate.streams) {
                client.become_stream();
            }
            client.returns = dice.chance(returns.again);
            if client.trail.is_some() || dice.chance(returns.wishes) {
                let channel = client.channel_name(&self.climate);
                let past = self.oracle.channels.get(&*channel).map(|log| &log.past);
                let own = client.trail.as_ref().zip(past);
                let own = own.and_then(|(trail, past)| past.position(trail.life, trail.number));
                let known = self.oracle.some_position(
                    self.net.now_ms.get(),
                    &self.climate,
                    &channel,
                    |n| dice.below(n),
                );
                client.wish = Wish::draw(dice, own, known, client.is_stream);
            }
            client.trail = client.trail.filter(|_| client.wish.is_own);
        }
        if let (Some(tokens), true) = (&self.climate.tokens, may_wish) {
            let channel = client.channel_name(&self.climate);
            let now_ms = self.net.now_ms.get();
            let asked = (&*channel, client.is_stream);
            client.pass = Pass::draw(&mut self.passes, tokens, now_ms, asked);
        }
        client.begin(&mut self.scene());
        self.introduce(client);
    }

    /// Somebody has gone: it may come back, at once or late.
    fn plan_return(&mut self, number: usize) {
        let Some(returns) = self.climate.returns.filter(|_| self.clients[number].may_return())
        else {
            return;
        };
        let most_ms = if self.wishes.chance(returns.hasty) { 3 } else { returns.away_ms_max };
        let at_ms = self.now_ms() + 1 + self.wishes.below(most_ms);
        self.plan(at_ms, Action::Return(number));
    }

    fn introduce(&mut self, client: Client) {
        let number = client.number;
        self.oracle.introduce(&client);
        self.clients.push(client);
        self.ids.push(None);
        self.backlog.push_back(number);
        self.plan_act(number, self.now_ms());
    }

    /// A Socket.IO client comes.
    fn welcome(&mut self) {
        let number = self.people.len();
        let mut scene = self.scene();
        let mut person = Person::new(number, &mut scene);
        self.give_pass(&mut person);
        self.people.push(person);
        self.act_as(number);
    }

    /// A Socket.IO client gets what it shows in its handshake, if anything is a token here.
    fn give_pass(&mut self, person: &mut Person) {
        let Some(tokens) = &self.climate.tokens else { return };
        person.listens = self.passes.chance(tokens.listeners);
        let is_asked = self.climate.settings.anonymous == Anonymous::None;
        let must_show = person.listens || (is_asked && self.passes.chance(900));
        // Who shows a token later, in CONNECT, may come with any or none.
        let needs = must_show && !person.shows_later(&self.climate);
        let now_ms = self.net.now_ms.get();
        person.pass =
            Pass::draw_of_person(&mut self.passes, tokens, now_ms, (needs, !person.listens));
    }

    /// What an attacker shows that has to be let in.
    fn pass_of_attacker(&mut self) -> Pass {
        let Some(tokens) = &self.climate.tokens else { return Pass::NONE };
        let needs = self.climate.settings.anonymous == Anonymous::None;
        Pass::draw_wide(&mut self.passes, tokens, self.net.now_ms.get(), (needs, true))
    }

    /// A Socket.IO client that has gone comes back, unless everything is over.
    fn welcome_back(&mut self, before: usize) {
        if self.quiet || self.clients.len() >= CONNECTIONS_MAX {
            return;
        }
        let number = self.people.len();
        let (people, clients, mut scene) = self.stage();
        let mut person = people[before].come_back_as(number, &mut scene, clients);
        self.give_pass(&mut person);
        self.note(|_| format!("@{before} comes back as @{number}: {:?}", person.known));
        self.people.push(person);
        self.act_as(number);
    }

    /// A Socket.IO client has gone: it may come back, at once or late.
    fn plan_rejoin(&mut self, number: usize) {
        let Some(recovery) = self.climate.recovery.filter(|_| self.people[number].may_return())
        else {
            return;
        };
        if self.wishes.chance(recovery.again) {
            let most_ms = if self.wishes.chance(recovery.hasty) { 3 } else { recovery.away_ms_max };
            let at_ms = self.now_ms() + 1 + self.wishes.below(most_ms);
            self.plan(at_ms, Action::Rejoin(number));
        }
    }

    /// A Socket.IO client gets one more connection.
    fn connect_person(&mut self, person: usize) {
        let number = self.clients.len();
        let link = Link::new(number, &self.net);
        let (people, _, mut scene) = self.stage();
        let client = Client::of_person(number, link, &mut scene, (person, &people[person]));
        self.people[person].connections.push(number);
        self.introduce(client);
    }

    fn act_as(&mut self, number: usize) {
        self.acts += 1;
        self.people[number].next_ms = u64::MAX;
        self.note(|world| format!("@{number} acts: {}", world.people[number].stand()));
        let was_over = self.people[number].over;
        loop {
            let (people, clients, mut scene) = self.stage();
            if !people[number].act(&mut scene, clients) {
                break;
            }
            if self.clients.len() >= CONNECTIONS_MAX {
                // The world is full.
                self.people[number].over = true;
                break;
            }
            self.connect_person(number);
        }
        if self.people[number].over && !was_over {
            self.plan_rejoin(number);
        }
        self.plan_as(number);
    }

    fn depart(&mut self, number: usize) {
        let (people, clients, mut scene) = self.stage();
        people[number].leave(&mut scene, clients);
        self.plan_as(number);
    }

    /// Everything that clients may act on, beside what they may use while they do.
    fn stage(&mut self) -> (&mut [Person], &mut [Client], Scene<'_>) {
        let scene = Scene {
            now_ms: self.net.now_ms.get(),
            dice: &mut self.dice,
            climate: &self.climate,
            quiet: self.quiet,
            generation: self.oracle.replaced,
        };
        (&mut self.people, &mut self.clients, scene)
    }

    fn client_on_stage(&mut self, number: usize) -> (&mut Client, Scene<'_>) {
        let (_, clients, scene) = self.stage();
        (&mut clients[number], scene)
    }

    fn clients_on_stage(&mut self) -> (&mut [Client], Scene<'_>) {
        let (_, clients, scene) = self.stage();
        (clients, scene)
    }

    fn scene(&mut self) -> Scene<'_> {
        self.stage().2
    }

    /// Lets a person's connections send, and the person act again when it wants to.
    fn plan_as(&mut self, number: usize) {
        for place in 0..self.people[number].connections.len() {
            let connection = self.people[number].connections[place];
            if self.clients[connection].wants_to_act() {
                self.plan_act(connection, self.now_ms());
                self.breathe(connection);
            }
        }
        let wakes_ms = self.people[number].wakes_ms(self.quiet);
        if wakes_ms < u64::MAX {
            self.plan_person(number, wakes_ms.max(self.now_ms() + 1));
        }
    }

    fn plan_person(&mut self, number: usize, at_ms: u64) {
        if at_ms < self.people[number].next_ms {
            self.people[number].next_ms = at_ms;
            self.plan(at_ms, Action::Person(number));
        }
    }

    fn act(&mut self, number: usize) {
        self.acts += 1;
        self.clients[number].next_ms = u64::MAX;
        let was_gone = self.clients[number].gone;
        let (client, mut scene) = self.client_on_stage(number);
        let next = client.act(&mut scene);
        let now_ms = self.now_ms();
        for order in &self.clients[number].orders {
            if let Ask::Disconnect(channel) = &order.ask {
                self.oracle.receipts.expect_closes(now_ms, channel);
            }
        }
        self.breathe(number);
        if self.clients[number].gone && !was_gone {
            self.plan_return(number);
        }
        if let Some(at_ms) = next {
            self.plan_act(number, at_ms.max(self.now_ms() + 1));
        }
        let due_ms = self.clients[number].link.client_due_ms();
        if due_ms > self.now_ms() && !self.clients[number].gone {
            self.plan_act(number, due_ms);
        }
        if let Some(person) = self.clients[number].person
            && (!self.clients[number].heard.is_empty() || self.clients[number].gone != was_gone)
        {
            self.act_as(person);
        }
    }

    fn leave(&mut self, number: usize) {
        let (client, mut scene) = self.client_on_stage(number);
        client.leave(&mut scene);
        self.breathe(number);
        self.plan_act(number, self.now_ms() + 1);
    }

    fn plan_act(&mut self, number: usize, at_ms: u64) {
        if at_ms < self.clients[number].next_ms {
            self.clients[number].next_ms = at_ms;
            self.plan(at_ms, Action::Act(number));
        }
    }

    /// Lets the net deliver on a link what is due, and plans when to do that again.
    fn breathe(&mut self, number: usize) {
        let (edge, next) = self.clients[number].link.breathe();
        if edge && self.ids[number].is_some() {
            self.edges.push_back(number);
        }
        if let Some(at_ms) = next {
            self.plan(at_ms, Action::Breathe(number));
        }
    }

    fn begin_drain(&mut self) {
        if self.quiet && self.oracle.drain_began_ms.is_some() {
            return;
        }
        let now_ms = self.now_ms();
        self.note(|_| "drain".to_owned());
        let limit = self.climate.settings.limits.drain;
        self.server.drain(now(now_ms), Instant::from_millis(now_ms).plus(limit));
        self.oracle.drain_began_ms = Some(now_ms);
        self.drain_ends_ms = now_ms + limit.as_millis();
    }

    /// The operator reloads. As the shell does it: whoever still reads the files from before the
    /// last time is waited for, but not for ever.
    fn replace(&mut self) {
        let is_free = self.server.release_files(now(self.now_ms()), false);
        if !is_free && !self.quiet && self.dice.chance(500) {
            let again_ms = self.now_ms() + 1 + self.dice.below(limits::RELOAD_LIMIT.as_millis());
            return self.plan(again_ms, Action::Replace);
        }
        if !is_free {
            self.oracle.cut_readers_at_ms = Some(self.now_ms());
        }
        self.oracle.replaced += 1;
        let files = files(self.oracle.replaced, self.climate.big_file_bytes);
        self.note(|world| format!("generation {}", world.oracle.replaced));
        self.server.replace_files(now(self.now_ms()), files);
        if let (Some(every_ms), false) = (self.climate.replace_every_ms, self.quiet) {
            self.plan(self.now_ms() + every_ms, Action::Replace);
        }
    }
}

/// What each seed draws by dice of its own, so that the rest is what it would be without.
fn draw_apart(seed: u64, climate: &mut Climate) {
    attack::draw(seed, climate);
    climate::draw_order(seed, climate);
    climate::draw_greeting(seed, climate);
    climate::draw_history(seed, climate);
    climate::draw_streams(seed, climate);
    climate::draw_recovery(seed, climate);
    climate::draw_limits(seed, climate);
    climate::draw_backends(seed, climate);
    climate::draw_rare(seed, climate);
    pass::draw(seed, climate);
}

fn now(mono_ms: u64) -> Now {
    Now { mono: Instant::from_millis(mono_ms), unix_s: pass::BEGIN_S + mono_ms / 1000 }
}

fn files(generation: u64, big_file_bytes: usize) -> Vec<File> {
    [("/index.html", Page::Index), ("/big.bin", Page::Big)]
        .map(|(path, page)| File {
            path: path.to_owned(),
            bytes: file(page, generation, big_file_bytes),
        })
        .into()
}
