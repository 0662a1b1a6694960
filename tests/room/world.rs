//! The world of one run: instances, clients, one Redis, and time.

use elbow::server::Listener;
use elbow::time::{Duration, Instant, Now};

use crate::chance::Chance;
use crate::client::{Client, Scene, Stage};
use crate::climate::Climate;
use crate::harness::{self, READABLE, WRITABLE};
use crate::hearing::Kind;
use crate::instance::{Instance, Network};
use crate::oracle::Oracle;
use crate::redis::{Redis, State};
use crate::seeds::Journal;

/// Turns of each instance in which everything has to come to rest, and how long each is.
const CALM_TURNS: u32 = 400;
const CALM_MS: u64 = 50;

macro_rules! seen {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What many runs have come to, so that it is known that they have looked everywhere.
        #[derive(Clone, Copy, Default, Debug)]
        pub(crate) struct Seen { $($(#[$doc])* pub(crate) $name: u64,)* }

        impl Seen {
            pub(crate) fn add(&mut self, other: &Seen) {
                $(self.$name += other.$name;)*
            }

            /// A sweep in which something never happens has not looked everywhere.
            pub(crate) fn assert_variety(&self) {
                assert!([$(self.$name),*].iter().all(|count| *count > 0), "{self:?}");
            }
        }
    };
}

seen! {
    /// Messages that somebody has said.
    said,
    /// Messages that somebody has heard.
    heard,
    /// Messages whose publisher was told that they have their place.
    acknowledged,
    /// Clients that came back and went on where they had been.
    recovered,
    /// Clients that came back and were told that they begin anew.
    begun_anew,
    /// Clients that were told of a gap and stayed.
    lost,
    /// Clients that were closed at a gap.
    parted,
    /// Gaps that an instance has found.
    gaps,
    /// Clients and requests that were refused.
    refused,
    /// Instances that have ended.
    stopped,
    /// Entries that were sent again.
    resent,
}

struct World {
    chance: Chance,
    climate: Climate,
    now: Now,
    network: Network,
    /// What a replica has.
    replica: State,
    instances: Vec<Instance>,
    clients: Vec<Client>,
    seen: Seen,
    journal: Option<Journal>,
}

/// Runs a seed, and notes what happens if somebody wants to know.
pub(crate) fn run(seed: u64, journal: Option<Journal>) -> Seen {
    let mut chance = Chance::new(seed);
    let climate = Climate::draw(&mut chance);
    let now = Now { mono: Instant::from_millis(5), unix_s: 1_795_000_000 };
    let start = |_| Instance::start(climate.settings(), chance.bits(), now);
    let instances = (0..climate.instances).map(start).collect();
    let kinds = [Kind::Plain, Kind::V1, Kind::Stream, Kind::Io, Kind::Backend];
    let client = |number: usize| {
        // Each kind is there; which channel it is in is left to chance.
        let kind = kinds[number % kinds.len()];
        Client::new(kind, chance.index(climate.channels), climate.recovery)
    };
    let clients = (0..climate.clients).map(client).collect();
    let network = Network {
        redis: Redis::new(1_795_000_000_000),
        oracle: Oracle::new(climate.channels),
        late: Vec::new(),
        stalled_until: Instant::default(),
        piece_bytes: climate.piece_bytes,
        refuses_connections: climate.refuses_connections,
    };
    let (replica, seen) = (State::default(), Seen::default());
    let mut world =
        World { chance, climate, now, network, replica, instances, clients, seen, journal };
    let climate = format!("{:?}", world.climate);
    world.note(|| climate);
    for _ in 0..world.climate.steps {
        world.step();
    }
    world.calm();
    for number in 0..world.instances.len() {
        world.count(number);
    }
    world.seen
}

impl World {
    fn note(&self, line: impl FnOnce() -> String) {
        if let Some(journal) = &self.journal {
            journal.borrow_mut().push_back(format!("{:>8} {}", self.now.mono.as_millis(), line()));
        }
    }

    fn step(&mut self) {
        self.misfortune();
        if self.chance.in_thousand(self.climate.says) {
            let number = self.chance.index(self.clients.len());
            self.say(number);
        }
        if self.chance.in_thousand(self.climate.vanishes) {
            let number = self.chance.index(self.clients.len());
            self.note(|| format!("client {number} vanishes"));
            self.leave(number, 3000);
        }
        if self.chance.in_thousand(self.climate.slows) {
            let number = self.chance.index(self.clients.len());
            self.clients[number].is_slow ^= true;
            self.clients[number].was_slow = true;
        }
        if self.chance.in_thousand(30) {
            self.replica = self.network.redis.state.clone();
        }
        let number = self.chance.index(self.instances.len());
        self.turn(number);
        if self.chance.in_thousand(500) {
            let ms = self.chance.below(self.climate.pass_ms + 1);
            self.pass(ms);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus(Duration::from_millis(ms));
        self.now.unix_s = 1_795_000_000 + self.now.mono.as_millis() / 1000;
        self.network.pass(self.now, ms);
    }

    fn misfortune(&mut self) {
        let climate = self.climate.clone();
        let number = self.chance.index(self.instances.len());
        let line = self.chance.index(2);
        if self.chance.in_thousand(climate.breaks) {
            self.note(|| format!("{number}: line {line} breaks"));
            self.break_line(number, line);
        }
        if self.chance.in_thousand(climate.deadens) {
            self.note(|| format!("{number}: line {line} is dead"));
            self.instances[number].deaden(line);
        }
        if self.chance.in_thousand(climate.freezes) {
            self.note(|| format!("{number}: the reader is left behind"));
            self.instances[number].freeze(&mut self.network);
        }
        if self.chance.in_thousand(climate.stalls) {
            let ms = self.chance.below(climate.stall_ms);
            self.network.stalled_until = self.now.mono.plus(Duration::from_millis(ms));
            self.note(|| format!("Redis stalls for {ms} ms"));
            // Nobody lives for as long as this in steps of a few milliseconds.
            if ms > 30_000 {
                self.outlast(ms);
            }
        }
        if self.chance.in_thousand(climate.flushes) {
            self.note(|| "Redis is restarted without its data".into());
            self.forget(State::default());
        }
        if self.chance.in_thousand(climate.fails_over) {
            self.note(|| "a replica takes over".into());
            self.forget(self.replica.clone());
        }
        if self.chance.in_thousand(climate.stops) {
            let is_orderly = self.chance.in_thousand(500);
            self.note(|| format!("{number}: stops, orderly: {is_orderly}"));
            if is_orderly && !self.instances[number].is_draining {
                self.instances[number].is_draining = true;
                let until = self.now.mono.plus(Duration::from_secs(3));
                self.instances[number].server.drain(self.now, until);
            } else {
                self.restart(number);
            }
        }
    }

    /// Time goes by while nothing else happens.
    fn outlast(&mut self, ms: u64) {
        for _ in 0..ms / 500 {
            self.pass(500);
            for number in 0..self.instances.len() {
                self.turn(number);
            }
            if self.chance.in_thousand(100) {
                let number = self.chance.index(self.clients.len());
                self.say(number);
            }
        }
    }

    /// What Redis has is not what it had, and all lines break.
    fn forget(&mut self, state: State) {
        let network = &mut self.network;
        network.oracle.look(&network.redis.state);
        network.redis.state = state;
        network.oracle.begin_history(&network.redis.state);
        self.replica = self.network.redis.state.clone();
        // No entry has the id of one that is gone.
        self.pass(1);
        for number in 0..self.instances.len() {
            for line in 0..2 {
                self.break_line(number, line);
            }
        }
    }

    fn break_line(&mut self, number: usize, line: usize) {
        let instance = &mut self.instances[number];
        instance.break_line((self.now, line), &mut self.network, &mut self.chance);
    }

    /// An instance ends, whoever is there, and another begins in its place.
    fn restart(&mut self, number: usize) {
        self.instances[number].stop(self.now, &mut self.network, &mut self.chance);
        self.count(number);
        for client in 0..self.clients.len() {
            let is_there = self.clients[client].instance == number;
            if is_there && self.clients[client].line.is_some() {
                // What the process has written before may still arrive.
                self.listen(client);
                self.leave(client, 1000);
            }
        }
        let seed = self.chance.bits();
        self.instances[number] = Instance::start(self.climate.settings(), seed, self.now);
        self.seen.stopped += 1;
    }

    /// Counts what an instance has come to.
    fn count(&mut self, number: usize) {
        let instance = &mut self.instances[number];
        self.seen.gaps += instance.gaps;
        let backplane = instance.server.backplane().expect("it was given one");
        self.seen.resent += backplane.counts().entries_resent;
    }

    /// A turn of an instance, behind which its clients read.
    fn turn(&mut self, number: usize) {
        for client in 0..self.clients.len() {
            self.come(client);
            if self.clients[client].instance == number {
                self.make_room(client);
            }
        }
        self.instances[number].turn(self.now, &mut self.network, &mut self.chance);
        for client in 0..self.clients.len() {
            if self.clients[client].instance == number && !self.listen(client) {
                self.note(|| format!("client {client} is over"));
                self.leave(client, 1000);
            }
        }
        if self.instances[number].is_drained {
            self.restart(number);
        }
    }

    /// Whoever is away and has waited connects to some instance.
    fn come(&mut self, number: usize) {
        let Stage::Away(until) = self.clients[number].stage else { return };
        if until > self.now.mono {
            return;
        }
        let client = &mut self.clients[number];
        if !self.chance.in_thousand(self.climate.stays) {
            client.instance = self.chance.index(self.instances.len());
        }
        let is_backend = client.kind == Kind::Backend;
        let from = if is_backend { Listener::Admin } else { Listener::Public };
        let instance = &mut self.instances[client.instance];
        if instance.is_draining || !instance.server.has_room_for(from) {
            return;
        }
        let (line, end) = harness::Client::connect();
        let ip = if is_backend { [127, 0, 0, 1] } else { [192, 0, 2, 1 + number as u8] };
        let id = instance.server.accept(self.now, from, (ip, 1234).into(), end);
        let names_place = self.chance.in_thousand(900);
        client.begin((line, id), names_place);
        instance.ready(id, READABLE);
        let place = client.instance;
        self.note(|| format!("client {number} comes to {place}"));
    }

    /// A slow client takes little of what is written, another everything.
    fn make_room(&mut self, number: usize) {
        let client = &self.clients[number];
        let Some((line, id)) = &client.line else { return };
        let more = if client.is_slow { self.chance.index(40) } else { usize::MAX };
        line.0.borrow_mut().room = more;
        self.instances[client.instance].ready(*id, WRITABLE);
        self.instances[client.instance].ready(*id, READABLE);
    }

    /// A client reads what has come. `false` if its connection is over.
    fn listen(&mut self, number: usize) -> bool {
        let client = &mut self.clients[number];
        let (before, heard) = (client.stage, self.seen.heard);
        let mut scene = Scene {
            oracle: &self.network.oracle,
            seen: &mut self.seen,
            is_draining: self.instances[client.instance].is_draining,
            is_calm: self.climate.is_calm(),
        };
        let goes_on = client.listen(&mut scene);
        if self.clients[number].stage != before || self.seen.heard > heard {
            let (client, count) = (&self.clients[number], self.seen.heard - heard);
            self.note(|| {
                format!(
                    "client {number} {:?} {:?} +{count} {:?}",
                    client.kind,
                    client.stage,
                    client.reader.as_ref().map(|reader| reader.last().to_string())
                )
            });
        }
        goes_on
    }

    /// A client has no connection any more, and comes back within so many milliseconds.
    fn leave(&mut self, number: usize, most_ms: u64) {
        let until = self.now.mono.plus(Duration::from_millis(self.chance.below(most_ms)));
        let client = &mut self.clients[number];
        if let Some((_, id)) = &client.line {
            self.instances[client.instance].ready(*id, READABLE);
        }
        client.leave(until);
    }

    fn say(&mut self, number: usize) {
        for _ in 0..1 + self.chance.below(3) {
            if self.clients[number].may_say() {
                let id = self.network.oracle.next_id();
                let wants_answer = self.chance.in_thousand(500);
                self.clients[number].say(id, wants_answer);
                self.seen.said += 1;
                self.note(|| format!("client {number} says {id}"));
            }
        }
    }

    /// Nothing goes wrong any more, and everything comes to rest.
    fn calm(&mut self) {
        self.note(|| "calm".into());
        self.climate.calm();
        self.network.piece_bytes = self.climate.piece_bytes;
        self.network.refuses_connections = 0;
        self.network.stalled_until = self.now.mono;
        for round in 0..CALM_TURNS {
            for client in 0..self.clients.len() {
                self.clients[client].is_slow = false;
                // Late, so that whoever is deaf then is found by that.
                if round == CALM_TURNS / 2 {
                    self.say(client);
                }
            }
            for number in 0..self.instances.len() {
                self.turn(number);
            }
            self.pass(CALM_MS);
        }
        self.rest();
    }

    /// Everybody is there, has heard everything, and waits for nothing.
    fn rest(&mut self) {
        for (number, client) in self.clients.iter().enumerate() {
            let who = format!("client {number}, {:?} at {}", client.kind, client.instance);
            assert_eq!(client.stage, Stage::In, "{who}: is not in its channel");
            assert!(client.unanswered.is_empty(), "{who}: waits for {:?}", client.unanswered);
            // What had its place may be gone by now; that it lacks nothing else is asked below.
            let untaken = client.unheard.iter().find(|id| !self.network.oracle.is_ordered(**id));
            assert!(untaken.is_none(), "{who}: {untaken:?} has no place");
            let lacks = client.reader.as_ref().and_then(|it| self.network.oracle.lacks(it));
            assert!(lacks.is_none(), "{who}: {lacks:?}");
        }
        for (number, instance) in self.instances.iter_mut().enumerate() {
            let backplane = instance.server.backplane().expect("it was given one");
            assert!(!backplane.is_away(), "{number} is back");
            assert_eq!(backplane.waiting(), 0, "{number} has said all");
        }
    }
}
