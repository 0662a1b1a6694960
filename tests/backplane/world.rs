//! The world of one run: instances with their lines, one Redis, and time.

use elbow::hub::HashKey;
use elbow::hub::backplane::{
    Action, Backplane, Chance as Bits, Counts, Event, Line, Settings, Ticket,
};
use elbow::limits::History;
use elbow::time::{Duration, Instant};

use crate::chance::Chance;
use crate::climate::Climate;
use crate::oracle::{Oracle, Said};
use crate::redis::{Redis, Refusal, State};
use crate::seeds::Journal;

/// Bytes on their way between an instance and Redis.
#[derive(Debug)]
struct Link {
    conn: usize,
    up: Vec<u8>,
    down: Vec<u8>,
    /// Nothing gets through any more, and nobody is told.
    is_dead: bool,
}

#[derive(Debug)]
struct Instance {
    backplane: Backplane,
    links: [Option<Link>; 2],
    /// Channels that are open or being opened.
    open: Vec<bool>,
    next_ticket: u64,
}

/// What many runs have come to, so that it is known that they have looked everywhere.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Seen {
    said: u64,
    placed: u64,
    replayed: u64,
    repeated: u64,
    passed: u64,
    lost: u64,
    greeted: u64,
    reopened: u64,
    late: u64,
    resent: u64,
    seen_again: u64,
    skipped: u64,
    failures: u64,
    newer: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Seen) {
        self.said += other.said;
        self.placed += other.placed;
        self.replayed += other.replayed;
        self.repeated += other.repeated;
        self.passed += other.passed;
        self.lost += other.lost;
        self.greeted += other.greeted;
        self.reopened += other.reopened;
        self.late += other.late;
        self.resent += other.resent;
        self.seen_again += other.seen_again;
        self.skipped += other.skipped;
        self.failures += other.failures;
        self.newer += other.newer;
    }

    /// A sweep in which something never happens has not looked everywhere.
    pub(crate) fn assert_variety(&self) {
        let all = [
            self.said,
            self.placed,
            self.replayed,
            self.repeated,
            self.passed,
            self.lost,
            self.greeted,
            self.reopened,
            self.late,
            self.resent,
            self.seen_again,
            self.failures,
            self.newer,
        ];
        assert!(all.iter().all(|count| *count > 0), "{self:?}");
    }

    fn count(&mut self, counts: &Counts) {
        self.resent += counts.entries_resent;
        self.seen_again += counts.messages_seen;
        self.failures += counts.failures;
        self.newer += counts.entries_newer;
    }
}

struct World {
    chance: Chance,
    climate: Climate,
    now: Instant,
    redis: Redis,
    /// What a replica has.
    replica: State,
    instances: Vec<Instance>,
    oracle: Oracle,
    /// Bytes of dead connections that are carried out at a time.
    late: Vec<(Instant, Vec<u8>)>,
    stalled_until: Instant,
    refused_until: Instant,
    seen: Seen,
    journal: Option<Journal>,
}

/// Runs a seed, and notes what happens if somebody wants to know.
pub(crate) fn run(seed: u64, journal: Option<Journal>) -> Seen {
    let mut chance = Chance::new(seed);
    let climate = Climate::draw(&mut chance);
    let now = Instant::from_millis(5);
    let instances = (0..climate.instances).map(|_| {
        let bits = Bits {
            producer: chance.bits(),
            jitter: chance.bits(),
            hash_key: HashKey([seed as u8; 16]),
        };
        Instance {
            backplane: Backplane::new(settings(&climate), bits, now),
            links: [None, None],
            open: vec![false; climate.channels],
            next_ticket: 1,
        }
    });
    let instances = instances.collect();
    let mut world = World {
        oracle: Oracle::new(climate.instances, climate.channels, climate.cuts > 0),
        now,
        redis: Redis::new(1_795_000_000_000),
        replica: State::default(),
        instances,
        late: Vec::new(),
        stalled_until: Instant::default(),
        refused_until: Instant::default(),
        seen: Seen::default(),
        journal,
        chance,
        climate,
    };
    let climate = format!("{:?}", world.climate);
    world.note(|| climate);
    for _ in 0..world.climate.steps {
        world.step();
    }
    world.calm();
    for instance in &world.instances {
        world.seen.count(&instance.backplane.counts());
    }
    world.seen
}

pub(crate) fn settings(climate: &Climate) -> Settings {
    Settings {
        name: "elbow".into(),
        user: None,
        password: None,
        database: 0,
        channels_max: 8,
        message_bytes_max: 4096,
        history: (climate.history > 0)
            .then(|| History { messages_max: climate.history, age: Duration::from_secs(3600) }),
        history_bytes: 1 << 20,
    }
}

/// The name of a channel.
pub(crate) fn name(channel: usize) -> String {
    format!("c{channel}")
}

/// The key of a channel's stream.
pub(crate) fn key(channel: usize) -> Vec<u8> {
    format!("{{elbow}}:c:c{channel}").into_bytes()
}

impl World {
    fn note(&self, line: impl FnOnce() -> String) {
        if let Some(journal) = &self.journal {
            journal.borrow_mut().push_back(format!("{:>8} {}", self.now.as_millis(), line()));
        }
    }

    fn step(&mut self) {
        let climate = self.climate.clone();
        self.misfortune(&climate);
        if self.chance.in_thousand(climate.says) {
            self.say();
        }
        if self.chance.in_thousand(climate.comes_and_goes) {
            self.come_or_go();
        }
        if self.chance.in_thousand(climate.greets) {
            self.greet();
        }
        if self.chance.in_thousand(30) {
            self.replica = self.redis.state.clone();
        }
        let number = self.chance.index(self.instances.len());
        self.carry(number);
        self.turn(number, climate.holds);
        self.carry(number);
        if self.chance.in_thousand(500) {
            let ms = self.chance.below(climate.pass_ms + 1);
            self.pass(ms);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(Duration::from_millis(ms));
        if self.stalled_until <= self.now {
            self.redis.pass(ms);
        } else {
            // What waits is answered when it goes on.
            self.redis.now_ms += ms;
        }
        if self.refused_until <= self.now {
            self.redis.refuse(None);
        }
        let (due, later) = self.late.drain(..).partition(|(at, _)| *at <= self.now);
        self.late = later;
        let due: Vec<(Instant, Vec<u8>)> = due;
        for (_, bytes) in due {
            self.note(|| format!("late: {} bytes", bytes.len()));
            self.seen.late += 1;
            self.redis.feed_late(&bytes);
        }
        self.oracle.look(&self.redis.state);
    }

    fn misfortune(&mut self, climate: &Climate) {
        let number = self.chance.index(self.instances.len());
        let line = self.chance.index(2);
        if self.chance.in_thousand(climate.breaks) {
            self.break_link(number, line, true);
        }
        if self.chance.in_thousand(climate.deadens)
            && let Some(link) = &mut self.instances[number].links[line]
        {
            link.is_dead = true;
            self.note(|| format!("{number}: line {line} is dead"));
        }
        if self.chance.in_thousand(climate.freezes)
            && let Some(link) = &self.instances[number].links[1]
            && self.redis.is_connected(link.conn)
        {
            self.redis.freeze(link.conn);
            self.note(|| format!("{number}: the reader is left behind"));
        }
        if self.chance.in_thousand(climate.refuses) {
            let kinds =
                [Refusal::OutOfMemory, Refusal::ReadOnly, Refusal::Loading, Refusal::CannotSave];
            let kind = kinds[self.chance.index(kinds.len())];
            self.redis.refuse(Some(kind));
            self.refused_until = self.now.plus(Duration::from_millis(self.chance.below(5000)));
            self.note(|| format!("refuses: {kind:?}"));
        }
        if self.chance.in_thousand(climate.stalls) {
            self.stalled_until = self.now.plus(Duration::from_millis(self.chance.below(6000)));
            self.note(|| "stalls".into());
        }
        self.forget(climate);
    }

    /// What Redis has is not what it had.
    fn forget(&mut self, climate: &Climate) {
        let channel = self.chance.index(climate.channels);
        if self.chance.in_thousand(climate.cuts) {
            let kept = 1 + self.chance.index(4);
            self.redis.cut(&key(channel), kept);
            self.oracle.cut(channel, self.now);
            self.note(|| format!("channel {channel} is cut to {kept}"));
        }
        if self.chance.in_thousand(climate.forges) {
            self.forge(channel);
        }
        if self.chance.in_thousand(climate.flushes) {
            self.oracle.look(&self.redis.state);
            self.redis.flush_all();
            self.oracle.begin_history(&self.redis.state);
            self.pass(1);
            self.note(|| "everything is deleted".into());
        }
        if self.chance.in_thousand(climate.fails_over) {
            self.oracle.look(&self.redis.state);
            self.redis.state = self.replica.clone();
            self.oracle.begin_history(&self.redis.state);
            for number in 0..self.instances.len() {
                for line in 0..2 {
                    let is_told = self.chance.in_thousand(800);
                    self.break_link(number, line, is_told);
                }
            }
            self.pass(1);
            self.note(|| "failover".into());
        }
    }

    /// Something stands in a stream that no instance of this version has put there.
    fn forge(&mut self, channel: usize) {
        let garbage: [&[u8]; 4] = [b"", b"\x01garbage", b"\x07anything", &[b'x'; 100_000]];
        let bytes = garbage[self.chance.index(4)];
        let parts: [&[u8]; 8] =
            [b"XADD", &key(channel), b"MAXLEN", b"~", b"1000", b"*", b"m", bytes];
        let mut request = Vec::new();
        elbow::wire::resp::request(&parts, &mut request);
        self.redis.feed_late(&request);
        self.note(|| format!("channel {channel} gets something else"));
    }

    /// A connection is gone for Redis; the instance learns of it, or finds out.
    fn break_link(&mut self, number: usize, line: usize, is_told: bool) {
        let Some(mut link) = self.instances[number].links[line].take() else { return };
        self.note(|| format!("{number}: line {line} breaks"));
        if self.chance.in_thousand(300) && !link.is_dead {
            // What was on its way arrives, and its replies are lost.
            let up = core::mem::take(&mut link.up);
            self.redis.feed(link.conn, &up);
        }
        self.bury(&mut link);
        if is_told {
            self.instances[number].backplane.closed(self.now, Line::ALL[line], "reset");
        } else {
            link.is_dead = true;
            self.instances[number].links[line] = Some(link);
        }
        self.check(number);
    }

    /// What a connection has sent may be carried out later, once it is gone.
    fn bury(&mut self, link: &mut Link) {
        if !self.redis.is_connected(link.conn) {
            return;
        }
        let mut rest = self.redis.disconnect(link.conn);
        rest.append(&mut link.up);
        if !rest.is_empty() && self.chance.in_thousand(500) {
            let at = self.now.plus(Duration::from_millis(self.chance.below(8000)));
            self.late.push((at, rest));
        }
    }

    /// Bytes go both ways.
    fn carry(&mut self, number: usize) {
        if self.now < self.stalled_until {
            return;
        }
        for line in 0..2 {
            let Some(link) = &mut self.instances[number].links[line] else { continue };
            if link.is_dead {
                continue;
            }
            let mut count = link.up.len();
            // Entries that are cut off between a question and the reading behind it are missed a
            // second later only.
            if self.climate.cuts == 0 && self.chance.in_thousand(100) {
                count = self.chance.index(count + 1);
            }
            let up: Vec<u8> = link.up.drain(..count).collect();
            self.redis.feed(link.conn, &up);
            link.down.append(&mut self.redis.take_output(link.conn));
        }
        self.oracle.look(&self.redis.state);
    }

    /// A turn of an instance: what its shell and its server do.
    fn turn(&mut self, number: usize, holds: u64) {
        self.act(number);
        for line in 0..2 {
            self.receive(number, line, holds);
        }
        self.attend(number, holds);
        self.instances[number].backplane.end_turn(self.now);
        self.act(number);
        for line in 0..2 {
            let instance = &mut self.instances[number];
            let Some(link) = &mut instance.links[line] else { continue };
            let unsent = instance.backplane.unsent(Line::ALL[line]);
            let most = unsent.len().min(self.climate.piece_bytes as usize * 100);
            link.up.extend_from_slice(&unsent[..most]);
            instance.backplane.transmitted(Line::ALL[line], most);
        }
        self.check(number);
    }

    fn check(&self, number: usize) {
        self.instances[number].backplane.check();
    }

    fn act(&mut self, number: usize) {
        while let Some(action) = self.instances[number].backplane.poll_action(self.now) {
            self.note(|| format!("{number}: {action:?}"));
            match action {
                Action::Connect(line)
                    if self.chance.in_thousand(self.climate.refuses_connections) =>
                {
                    self.instances[number].backplane.closed(self.now, line, "refused");
                }
                Action::Connect(line) => {
                    let conn = self.redis.connect();
                    let link = Link { conn, up: Vec::new(), down: Vec::new(), is_dead: false };
                    let old = self.instances[number].links[line as usize].replace(link);
                    assert!(old.is_none(), "one socket for each line");
                    self.instances[number].backplane.connected(self.now, line);
                }
                Action::Close(line) => {
                    let link = self.instances[number].links[line as usize].take();
                    let mut link = link.expect("only what is there is closed");
                    self.bury(&mut link);
                }
            }
            self.check(number);
        }
    }

    fn receive(&mut self, number: usize, line: usize, holds: u64) {
        loop {
            let piece = 1 + self.chance.below(self.climate.piece_bytes) as usize;
            let instance = &mut self.instances[number];
            let Some(link) = &mut instance.links[line] else { return };
            if link.down.is_empty() || link.is_dead {
                return;
            }
            let room = instance.backplane.room(Line::ALL[line]);
            let count = piece.min(link.down.len()).min(room.len());
            if count == 0 {
                return;
            }
            room[..count].copy_from_slice(&link.down[..count]);
            link.down.drain(..count);
            instance.backplane.received(self.now, Line::ALL[line], count);
            if self.chance.in_thousand(300) && !self.attend(number, holds) {
                return;
            }
            // A line that was given up has a socket to be dropped first.
            self.act(number);
        }
    }

    /// Takes events; `false` if one was held.
    fn attend(&mut self, number: usize, holds: u64) -> bool {
        loop {
            let is_held = self.chance.in_thousand(holds);
            let instance = &mut self.instances[number];
            let Some(event) = instance.backplane.poll_event(self.now) else { return true };
            if let Some(journal) = &self.journal {
                let line = format!("{:>8} {number}: {}", self.now.as_millis(), shown(&event));
                journal.borrow_mut().push_back(line);
            }
            if is_held {
                instance.backplane.hold();
                return false;
            }
            match event {
                Event::Placed { .. } => self.seen.placed += 1,
                Event::Replayed { .. } => self.seen.replayed += 1,
                Event::Repeated { .. } => self.seen.repeated += 1,
                Event::Passed { .. } => {
                    self.seen.passed += 1;
                    assert!(self.climate.may_lose(), "nothing is passed over");
                }
                Event::Lost { .. } => {
                    self.seen.lost += 1;
                    assert!(self.climate.may_lose(), "nothing is lost");
                }
                Event::Greeted { .. } => self.seen.greeted += 1,
                Event::Opened { .. } => {}
                Event::Away | Event::Back | Event::Report(_) => {}
            }
            self.oracle.judge(self.now, number, &event);
        }
    }

    fn say(&mut self) {
        let number = self.chance.index(self.instances.len());
        let channel = self.chance.index(self.climate.channels);
        if !self.instances[number].open[channel] {
            return;
        }
        for _ in 0..1 + self.chance.below(4) {
            let key = (self.climate.keys > 0 && self.chance.in_thousand(300))
                .then(|| self.chance.below(self.climate.keys));
            let id = self.oracle.next_id();
            let length = 8 + self.chance.below(self.climate.message_bytes) as usize;
            let mut bytes = id.to_le_bytes().to_vec();
            bytes.resize(length, id as u8);
            let instance = &mut self.instances[number];
            let ticket = Ticket(instance.next_ticket);
            let said = instance.backplane.say(self.now, &name(channel), ticket, &bytes, key);
            if said.is_ok() {
                instance.next_ticket += 1;
                self.seen.said += 1;
                self.oracle.said(number, channel, Said { ticket, id, key });
                self.note(|| format!("{number}: says {id} in {channel}, key {key:?}"));
            }
        }
        self.check(number);
    }

    fn greet(&mut self) {
        let number = self.chance.index(self.instances.len());
        let channel = self.chance.index(self.climate.channels);
        let greeting = format!("hello {channel} of {number}");
        self.instances[number].backplane.greet(&name(channel), greeting.as_bytes());
    }

    fn come_or_go(&mut self) {
        let number = self.chance.index(self.instances.len());
        let channel = self.chance.index(self.climate.channels);
        let instance = &mut self.instances[number];
        if instance.open[channel] {
            instance.backplane.close(&name(channel));
            self.oracle.close(number, channel);
        } else {
            assert!(instance.backplane.open(self.now, &name(channel)), "there is room");
            self.oracle.open(number, channel);
            self.seen.reopened += u64::from(self.oracle.was_open(number, channel));
        }
        instance.open[channel] = !instance.open[channel];
        self.note(|| format!("{number}: opens or closes {channel}"));
        self.check(number);
    }

    /// Nothing goes wrong any more, and everything comes to rest.
    fn calm(&mut self) {
        self.note(|| "calm".into());
        self.climate.refuses_connections = 0;
        self.climate.piece_bytes = self.climate.piece_bytes.max(64);
        self.stalled_until = Instant::default();
        self.refused_until = Instant::default();
        // Nobody can tell a line that is frozen from one that is quiet but by what comes back.
        for _ in 0..1000 {
            for number in 0..self.instances.len() {
                self.carry(number);
                self.turn(number, 0);
                self.carry(number);
            }
            self.pass(20);
        }
        self.oracle.look(&self.redis.state);
        for (number, instance) in self.instances.iter().enumerate() {
            assert!(!instance.backplane.is_away(), "{number} is back");
            assert_eq!(instance.backplane.waiting(), 0, "{number} has said all");
        }
        self.oracle.rest();
    }
}

fn shown(event: &Event<'_>) -> String {
    let id = |bytes: &[u8]| bytes.first_chunk().map(|id| u64::from_le_bytes(*id));
    match event {
        Event::Placed { channel, place, ticket, bytes } => {
            format!("placed {channel} {place} {ticket:?} {:?}", id(bytes))
        }
        Event::Replayed { channel, place, ticket, bytes, .. } => {
            format!("replayed {channel} {place} {ticket:?} {:?}", id(bytes))
        }
        Event::Repeated { channel, ticket, place } => {
            format!("repeated {channel} {place} {ticket:?}")
        }
        Event::Passed { channel, place } => format!("passed {channel} {place}"),
        Event::Lost { channel, place, how } => format!("lost {channel} {place} {how:?}"),
        Event::Opened { channel, place } => format!("opened {channel} {place}"),
        other @ (Event::Greeted { .. } | Event::Away | Event::Back | Event::Report(_)) => {
            format!("{other:?}")
        }
    }
}
