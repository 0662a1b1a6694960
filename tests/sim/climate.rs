//! The only source of chance, and what the weather is like in one run.
//!
//! A seed first draws a climate: how sockets and the clock behave, who comes, what the operator
//! decided. Drawing it once, instead of a dice per event, makes runs differ from each other: in one
//! everything is small and slow, in another only the clock jumps. Most rates are zero in most runs,
//! so that what a run shows can be told from the rest.

use elbow::limits::{History, Limits};
use elbow::rate::Rate;
use elbow::settings::{
    AdminToken, Anonymous, Events, Greeting, Parties, ProxyMode, Settings, Trust,
};
use elbow::time::Duration;
use elbow::wire::base_path::BasePath;

use super::attack::Attacks;
use super::client::TOKEN;
use super::pass::Tokens;

/// A small generator (splitmix64): the same seed, the same numbers.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// One of `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.below(1000) < per_mille
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A rate that is zero more often than not.
    fn rate(&mut self, often_per_mille: u64, highest: u64) -> u64 {
        if self.chance(often_per_mille) { self.between(1, highest) } else { 0 }
    }
}

/// How sockets behave. Rates per mille and call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Temper {
    pub(crate) short_writes: u64,
    pub(crate) refused_writes: u64,
    pub(crate) tiny_reads: u64,
    pub(crate) refused_reads: u64,
    pub(crate) interrupts: u64,
    /// Readiness without anything being ready.
    pub(crate) false_alarms: u64,
    pub(crate) latency_ms_max: u64,
    /// What the way to a client holds.
    pub(crate) send_bytes: usize,
    /// What the way to the server holds.
    pub(crate) receive_bytes: usize,
}

/// Who comes and what they are like. Rates per mille.
#[derive(Clone, Copy, Debug)]
pub(crate) struct People {
    /// At the same time.
    pub(crate) clients_max: u64,
    /// Who leaves is replaced.
    pub(crate) newcomers: u64,
    /// Time between arrivals.
    pub(crate) arrival_ms: u64,
    /// Everyone comes at once, and again after a mass disconnect.
    pub(crate) crowds: bool,
    pub(crate) web: u64,
    /// People who speak Socket.IO, each over a few connections.
    pub(crate) socket_io: u64,
    pub(crate) silent: u64,
    pub(crate) odd_headers: u64,
    pub(crate) flooders: u64,
    pub(crate) slow_readers: u64,
    pub(crate) sleepers: u64,
    pub(crate) never_readers: u64,
    /// Sessions that end in another way than by a closing handshake.
    pub(crate) rude: u64,
    pub(crate) mutes: u64,
    pub(crate) think_ms: u64,
    /// Messages of one act.
    pub(crate) burst: u64,
    pub(crate) channels: u64,
}

/// Everything that is drawn from the seed before anything happens.
#[derive(Clone, Debug)]
pub(crate) struct Climate {
    pub(crate) temper: Temper,
    pub(crate) people: People,
    pub(crate) settings: Settings,
    pub(crate) jumps: u64,
    pub(crate) jump_ms_max: u64,
    /// What one turn takes at most.
    pub(crate) turn_ms_max: u64,
    /// Rate of turns in which the system has no descriptor for a newcomer.
    pub(crate) exhausted: u64,
    pub(crate) health_listener: bool,
    /// So many addresses are shared by everybody; 0: everybody has an own one.
    pub(crate) hosts: u32,
    pub(crate) tiny_memory: bool,
    pub(crate) length_ms: u64,
    pub(crate) turns_max: u64,
    pub(crate) drain_at_ms: Option<u64>,
    pub(crate) replace_every_ms: Option<u64>,
    /// The files are small, or one is larger than all buffers.
    pub(crate) big_file_bytes: usize,
    pub(crate) attacks: Attacks,
    /// The order of messages is decided elsewhere, which takes at most so long.
    pub(crate) order_ms_max: Option<u64>,
    /// How it is decided there.
    pub(crate) ordering: Ordering,
    pub(crate) returns: Option<Returns>,
    /// The server has keys.
    pub(crate) tokens: Option<Tokens>,
    /// Of those that want what was said before they came, the rate that reads event streams.
    pub(crate) streams: u64,
    pub(crate) recovery: Option<Recoveries>,
    /// How often a public connection is accepted.
    pub(crate) accept_rate: Option<Rate>,
    pub(crate) backends: Option<Backends>,
}

/// Backends, who ask the admin listener. Rates per mille.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backends {
    /// At the same time.
    pub(crate) most: u64,
    /// Acts of each.
    pub(crate) life_max: u64,
    /// Requests of an act.
    pub(crate) pipeline: u64,
    /// Requests that disconnect somebody.
    pub(crate) disconnects: u64,
    /// Messages that have a key, and may be repeated.
    pub(crate) keys: u64,
}

/// Plain WebSockets and readers of event streams that want what was said before they came, and come
/// back. Rates per mille.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Returns {
    /// The seed of all that is drawn for them, so that others are what they would be without.
    pub(crate) seed: u64,
    /// Of these WebSockets, those that speak `elbow.v1`.
    pub(crate) positioned: u64,
    /// Newcomers that ask for something.
    pub(crate) wishes: u64,
    /// Of these WebSockets, those that come back after an end.
    pub(crate) again: u64,
    /// Of the WebSockets that come back, those that do so at once.
    pub(crate) hasty: u64,
    /// How long a WebSocket that comes back later stays away at most.
    pub(crate) away_ms_max: u64,
}

/// Socket.IO clients that come back. Rates per mille.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recoveries {
    /// Of those that have gone, or were not let in, those that come back.
    pub(crate) again: u64,
    /// Of those that come back, those that do so at once.
    pub(crate) hasty: u64,
    /// How long others stay away at most.
    pub(crate) away_ms_max: u64,
    /// Of those that have been in a namespace, those that say so.
    pub(crate) says: u64,
    /// Of those that have not, those that say so.
    pub(crate) strangers: u64,
}

impl Climate {
    /// Whether something is lost, now and then, so that a place may be given out twice.
    pub(crate) fn loses(&self) -> bool {
        self.order_ms_max.is_some() && self.ordering.losses > 0
    }

    /// The name of a channel by its number. One of them has all that a namespace may have, and is
    /// as long as a name may be where that leaves room for words in a message.
    pub(crate) fn channel(&self, number: u64) -> String {
        let is_roomy = self.settings.limits.message_bytes_max >= 512;
        match number {
            0 => "default".to_owned(),
            2 => format!("room/{}/a.b_c~d:e@f=g+h-i", "x".repeat(if is_roomy { 105 } else { 1 })),
            number => format!("room{number}"),
        }
    }

    pub(crate) fn draw(dice: &mut Dice) -> Climate {
        let settings = draw_settings(dice);
        let length_ms = dice.pick(&[2_000, 8_000, 30_000, 90_000]);
        let mut temper = draw_temper(dice);
        // A ring takes no more than a minute or so on the slowest way.
        temper.send_bytes = temper.send_bytes.max(settings.limits.feed_bytes as usize / 64);
        let tiny_memory = settings.limits.memory_bytes < 1 << 20;
        Climate {
            temper,
            people: draw_people(dice, settings.limits.connections_max),
            jumps: dice.rate(200, 5),
            jump_ms_max: dice.pick(&[2_000, 20_000, 120_000]),
            turn_ms_max: dice.pick(&[0, 1, 1, 3, 20]),
            exhausted: dice.rate(100, 200),
            health_listener: dice.chance(300),
            hosts: if dice.chance(150) || settings.limits.connections_per_ip_max.is_some() {
                dice.pick(&[2, 4, 4])
            } else {
                0
            },
            tiny_memory,
            length_ms,
            turns_max: 1500,
            drain_at_ms: dice.chance(250).then(|| dice.below(length_ms)),
            replace_every_ms: dice.chance(250).then(|| dice.between(100, 4000)),
            big_file_bytes: dice.pick(&[300, 5000, 40_000]).min(temper.send_bytes * 50),
            attacks: Attacks::default(),
            order_ms_max: None,
            ordering: Ordering::default(),
            returns: None,
            backends: None,
            tokens: None,
            streams: 0,
            recovery: None,
            accept_rate: None,
            settings,
        }
    }
}

/// How the order of messages is decided elsewhere. Chances are of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ordering {
    pub(crate) seed: u64,
    /// That a message shares the entry of the one before.
    pub(crate) packed: u64,
    /// That a channel is opened late, and by how much at most.
    pub(crate) late: u64,
    pub(crate) late_ms_max: u64,
    /// That something of a channel is lost, in a turn of ten thousand.
    pub(crate) losses: u64,
    /// That the order is out of reach from a turn of ten thousand on, and for how long.
    pub(crate) absences: u64,
    pub(crate) away_ms_min: u64,
    pub(crate) away_ms_max: u64,
    /// That somebody elsewhere says something in a channel that is not open here, in a turn of a
    /// thousand.
    pub(crate) elsewhere: u64,
}

/// Whether the order of messages is decided elsewhere, drawn apart, so that everything else of a
/// seed is what it would be without.
pub(crate) fn draw_order(seed: u64, climate: &mut Climate) {
    let mut dice = Dice::new(seed ^ 0x006f_7264_6572);
    climate.order_ms_max = dice.chance(150).then(|| dice.pick(&[0, 1, 10, 200]));
    let mut dice = Dice::new(seed ^ 0x6175_7468_6f72);
    climate.ordering = Ordering {
        seed: dice.next(),
        packed: dice.pick(&[0, 300, 900]),
        late: dice.pick(&[0, 300, 1000]),
        late_ms_max: dice.pick(&[10, 300, 1_500, 4_000]),
        losses: dice.pick(&[0, 0, 20, 100]),
        absences: dice.pick(&[0, 0, 10, 50]),
        away_ms_max: dice.pick(&[500, 8_000, 60_000]),
        away_ms_min: 1,
        elsewhere: dice.pick(&[0, 20, 200]),
    };
    if climate.order_ms_max.is_some() && dice.chance(300) {
        // It goes when many are there, and for so long that those who go on speaking are closed.
        let ordering = &mut climate.ordering;
        (ordering.absences, ordering.losses, ordering.late) = (60, 0, 0);
        (ordering.away_ms_min, ordering.away_ms_max) = (40_000, 60_000);
        climate.length_ms = climate.length_ms.max(90_000);
        (climate.turns_max, climate.turn_ms_max) = (4000, 20);
        let people = &mut climate.people;
        people.clients_max = people.clients_max.max(12);
        (people.burst, people.web) = (20, people.web.min(100));
        people.flooders = people.flooders.max(500);
    }
}

/// What Socket.IO members are told of a newcomer, drawn apart for the same reason.
pub(crate) fn draw_greeting(seed: u64, climate: &mut Climate) {
    let mut dice = Dice::new(seed ^ 0x0067_7265_6574);
    let name = dice.pick(&[Some("hi"), Some("hi"), Some("h\u{e9}\n\"\u{1}"), None]);
    climate.settings.greeting = name.map(Greeting::named);
}

/// Whether channels keep what was said, and who asks for it, drawn apart for the same reason.
/// Memory is as scarce as it would be without.
pub(crate) fn draw_history(seed: u64, climate: &mut Climate) {
    let mut dice = Dice::new(seed ^ 0x0068_6973_746f_7279);
    if !dice.chance(450) {
        return;
    }
    let limits = &mut climate.settings.limits;
    if dice.chance(500) {
        // A place for everybody, and people that are soon gone, in channels that go on.
        limits.connections_max = limits.connections_max.max(40);
        let people = &mut climate.people;
        people.clients_max = people.clients_max.clamp(5, 60);
        (people.web, people.socket_io) = (people.web.min(100), people.socket_io.min(500));
        people.think_ms = people.think_ms.min(50);
        people.rude = people.rude.max(300);
        if dice.chance(300) {
            // They share addresses, and so what an address may be sent again.
            climate.hosts = 2;
        }
    }
    if dice.chance(900) {
        let messages_max = dice.pick(&[1, 2, 7, 50, 10_000, 10_000]);
        let age = Duration::from_millis(dice.pick(&[60, 1_000, 10_000, 120_000, 120_000]));
        limits.history = Some(History { messages_max, age });
        let before = Limits::default_channel_bytes(limits.feed_bytes, None);
        let with = Limits::default_channel_bytes(limits.feed_bytes, limits.history);
        limits.memory_bytes += with - before + if climate.tiny_memory { 0 } else { 16 << 20 };
    }
    climate.returns = Some(Returns {
        seed: dice.next(),
        positioned: dice.pick(&[60, 150, 500, 900]),
        wishes: dice.pick(&[300, 900, 900]),
        again: dice.pick(&[500, 900, 1000]),
        hasty: dice.pick(&[200, 500, 900]),
        away_ms_max: dice.pick(&[300, 3_000, 30_000]),
    });
}

/// Whether there is an admin listener and who asks it, drawn apart for the same reason.
pub(crate) fn draw_backends(seed: u64, climate: &mut Climate) {
    let mut dice = Dice::new(seed ^ 0x6261_636b_656e_6473);
    if !dice.chance(350) {
        return;
    }
    let settings = &mut climate.settings;
    settings.limits.admin_connections_max = dice.pick(&[1, 3, 128]);
    if dice.chance(500) {
        let token = AdminToken::read(TOKEN.as_bytes());
        settings.admin_token = Some(token.expect("a token"));
    }
    climate.backends = Some(Backends {
        most: dice.pick(&[1, 2, 6]),
        life_max: dice.pick(&[3, 20]),
        pipeline: dice.pick(&[1, 3, 8]),
        disconnects: dice.pick(&[0, 0, 20, 100]),
        keys: dice.pick(&[0, 200, 600]),
    });
}

/// Who reads event streams, drawn apart for the same reason.
pub(crate) fn draw_streams(seed: u64, climate: &mut Climate) {
    let mut dice = Dice::new(seed ^ 0x0073_7472_6561_6d73);
    let Some(returns) = climate.returns.as_mut().filter(|_| dice.chance(450)) else { return };
    climate.streams = dice.pick(&[200, 400, 700]);
    if dice.chance(600) {
        returns.again = 1000;
        let people = &mut climate.people;
        (people.web, people.socket_io) = (people.web.min(100), people.socket_io.min(300));
        people.rude = people.rude.max(500);
        keep_much(&mut dice, climate);
    }
}

/// Whether Socket.IO clients may come back to where they were, and do, drawn apart for the same
/// reason.
pub(crate) fn draw_recovery(seed: u64, climate: &mut Climate) {
    let mut dice = Dice::new(seed ^ 0x0072_6563_6f76_6572);
    if !dice.chance(500) {
        return;
    }
    climate.settings.recovery = true;
    if climate.settings.limits.history.is_none() {
        return;
    }
    let people = &mut climate.people;
    people.socket_io = people.socket_io.max(300);
    if dice.chance(600) {
        people.rude = people.rude.max(500);
        people.web = people.web.min(100);
        keep_much(&mut dice, climate);
    }
    climate.recovery = Some(Recoveries {
        again: dice.pick(&[500, 900, 1000]),
        hasty: dice.pick(&[200, 500, 900]),
        away_ms_max: dice.pick(&[300, 3_000, 30_000]),
        says: dice.pick(&[900, 1000]),
        strangers: dice.pick(&[0, 50, 200]),
    });
}

/// Most of what somebody comes back for is still there, if anything is kept.
fn keep_much(dice: &mut Dice, climate: &mut Climate) {
    let limits = &mut climate.settings.limits;
    let Some(history) = &mut limits.history else { return };
    keep_for_long(history);
    let before = Limits::default_channel_bytes(limits.feed_bytes, limits.history);
    if dice.chance(700) {
        limits.feed_bytes = limits.feed_bytes.max(16_384);
    }
    limits.memory_bytes +=
        Limits::default_channel_bytes(limits.feed_bytes, limits.history) - before;
    climate.temper.send_bytes = climate.temper.send_bytes.max(limits.feed_bytes as usize / 64);
}

/// So many messages are kept, and for so long, that who soon comes back finds them.
fn keep_for_long(history: &mut History) {
    history.messages_max = history.messages_max.max(50);
    history.age = history.age.max(Duration::from_secs(10));
}

/// Limits for public places, drawn apart for the same reason. Where a mob attacks, what it says
/// would take days at a low rate.
pub(crate) fn draw_limits(seed: u64, climate: &mut Climate) {
    let mut dice = Dice::new(seed ^ 0x6c69_6d69_7473);
    let limits = &mut climate.settings.limits;
    if dice.chance(250) {
        let is_calm = climate.attacks.mobs.is_empty();
        let per_second = if is_calm { dice.pick(&[1, 2, 5, 20, 100]) } else { 1000 };
        // Answers to pings count, and must not be all that may be said.
        let is_enough = u64::from(per_second) * limits.ping_interval.as_millis() > 1000;
        let per_second = if is_enough { per_second } else { 2 };
        let burst = dice.pick(&[1, 3, per_second, 1000]);
        limits.message_rate = Some(Rate::new(per_second, burst));
    }
    if dice.chance(200) {
        let length_ms = dice.pick(&[200, 2_000, 10_000, 40_000]);
        limits.lifetime = Some(Duration::from_millis(length_ms));
    }
    if dice.chance(100) {
        let per_second = dice.pick(&[2, 10, 100]);
        climate.accept_rate = Some(Rate::new(per_second, per_second));
    }
}

/// Whether the seed is about what comes up too seldom by itself, drawn apart for the same reason.
/// Nobody attacks then, the order is decided here, and there is memory.
pub(crate) fn draw_rare(seed: u64, climate: &mut Climate) {
    let mut dice = Dice::new(seed ^ 0x7261_7265);
    let is_calm = climate.attacks.mobs.is_empty() && climate.order_ms_max.is_none();
    if !is_calm || climate.tiny_memory {
        return;
    }
    match dice.below(100) {
        0..6 => make_room_deaf(climate),
        6..26 if climate.settings.limits.history.is_some() => have_people_return(climate),
        _ => return,
    }
    let limits = &mut climate.settings.limits;
    limits.connections_max = limits.connections_max.max(40);
    (limits.connections_per_ip_max, limits.message_rate, limits.lifetime) = (None, None, None);
    (climate.accept_rate, climate.drain_at_ms, climate.exhausted) = (None, None, 0);
    climate.length_ms = climate.length_ms.max(30_000);
    (climate.turns_max, climate.turn_ms_max) = (4000, 20);
}

/// A room of which most never read, so that publishers are held back for them over and over. Pings
/// are so far apart that nobody is closed for silence before it shows that a room waits for too
/// long, and most people live for seconds.
fn make_room_deaf(climate: &mut Climate) {
    let limits = &mut climate.settings.limits;
    limits.feed_bytes = limits.feed_bytes.min(4096);
    limits.message_bytes_max = limits.message_bytes_max.min(limits.feed_bytes / 4);
    limits.ping_interval = Duration::from_secs(25);
    limits.ping_timeout = Duration::from_secs(20);
    climate.temper.send_bytes = limits.feed_bytes as usize / 16;
    let people = &mut climate.people;
    people.clients_max = people.clients_max.clamp(8, 20);
    (people.slow_readers, people.sleepers, people.never_readers) = (0, 0, 800);
    (people.silent, people.mutes, people.web, people.flooders) = (0, 0, 0, 0);
    people.rude = people.rude.min(100);
    (people.think_ms, people.arrival_ms, people.burst) = (500, 20, 20);
    people.channels = 1;
}

/// A few people of one address who go and come back to channels that keep much: one of them is the
/// first of its dialect in a channel when the address has just used up what it may be sent again.
/// What is missed is less than what is kept, and a ring is soon full, since what an address may be
/// sent is measured in rings. No balancer says where they come from, since one that did not say it
/// would have no share.
fn have_people_return(climate: &mut Climate) {
    let limits = &mut climate.settings.limits;
    let history = limits.history.as_mut().expect("channels keep something");
    let returns = climate.returns.as_mut().expect("and so people come back");
    keep_for_long(history);
    (limits.feed_bytes, limits.message_bytes_max) = (4096, 1024);
    let default_channel = Limits::default_channel_bytes(limits.feed_bytes, limits.history);
    limits.memory_bytes = limits.memory_bytes.max(default_channel + (16 << 20));
    (climate.settings.proxy, climate.hosts) = (ProxyMode::Off, 1);
    (returns.positioned, returns.wishes, returns.again, returns.hasty) = (400, 900, 1000, 950);
    climate.streams = climate.streams.max(200);
    let people = &mut climate.people;
    people.clients_max = people.clients_max.clamp(4, 12);
    (people.newcomers, people.arrival_ms) = (1000, 20);
    (people.rude, people.web, people.silent) = (1000, 0, 0);
    people.socket_io = people.socket_io.min(200);
    people.channels = people.channels.min(2);
    (people.think_ms, people.burst) = (50, 4);
}

fn draw_temper(dice: &mut Dice) -> Temper {
    let mild = dice.chance(200);
    let mut rate = |highest| if mild { 0 } else { dice.rate(400, highest) };
    let (short_writes, refused_writes) = (rate(500), rate(100));
    let (tiny_reads, refused_reads) = (rate(400), rate(100));
    let (interrupts, false_alarms) = (rate(100), rate(100));
    Temper {
        short_writes,
        refused_writes,
        tiny_reads,
        refused_reads,
        interrupts,
        false_alarms,
        latency_ms_max: dice.pick(&[0, 2, 30, 200]),
        send_bytes: dice.pick(&[64, 500, 2000, 16_000, 100_000]),
        receive_bytes: dice.pick(&[128, 1000, 8000, 64_000, 300_000]),
    }
}

fn draw_people(dice: &mut Dice, connections_max: usize) -> People {
    let clients_max = if connections_max < 8 && dice.chance(300) {
        // More than sessions and spare places together.
        connections_max as u64 + 80
    } else {
        // A sweep over the most does not fit into one turn.
        dice.pick(&[2, 5, 12, 30, 60, 150])
    };
    People {
        clients_max,
        newcomers: dice.pick(&[100, 500, 1000]),
        arrival_ms: dice.pick(&[1, 20, 200]),
        crowds: dice.chance(200),
        web: dice.pick(&[0, 100, 400, 900]),
        socket_io: dice.pick(&[0, 100, 500, 900]),
        silent: dice.rate(300, 200),
        odd_headers: dice.rate(300, 300),
        flooders: dice.rate(400, 500),
        slow_readers: dice.rate(400, 500),
        sleepers: dice.rate(400, 900),
        never_readers: dice.rate(300, 300),
        rude: dice.pick(&[0, 100, 500, 1000]),
        mutes: dice.rate(200, 300),
        think_ms: dice.pick(&[5, 50, 500, 5000]),
        burst: dice.pick(&[1, 1, 4, 20]),
        channels: dice.pick(&[1, 1, 2, 5]),
    }
}

fn draw_settings(dice: &mut Dice) -> Settings {
    let feed_bytes = dice.pick(&[1024, 1024, 2048, 4096, 65_536]);
    let feed_cost = Limits::feed_cost_bytes(feed_bytes, None);
    let default_channel = Limits::default_channel_bytes(feed_bytes, None);
    let memory_bytes = match dice.below(6) {
        // Room for some rings beside those of `default`, and hardly anything else.
        0 => default_channel + dice.below(3) * feed_cost + dice.below(3000),
        1 => default_channel + 6 * feed_cost + dice.below(20_000),
        _ => 16 << 20,
    };
    let connections_max = dice.pick(&[1, 3, 6, 40, 200, 200]);
    Settings {
        limits: Limits {
            connections_max,
            connections_per_ip_max: dice.chance(150).then(|| dice.between(1, 3) as usize),
            admin_connections_max: 0,
            channels_max: dice.pick(&[1, 2, 32]),
            message_bytes_max: feed_bytes / dice.pick(&[4, 4, 8]),
            feed_bytes,
            memory_bytes,
            send_buffer_bytes: 4096,
            receive_buffer_bytes: 4096,
            ping_interval: Duration::from_millis(dice.pick(&[1_000, 5_000, 25_000])),
            // Longer than a room may be held back for others.
            ping_timeout: Duration::from_millis(dice.pick(&[3_000, 5_000, 20_000])),
            drain: Duration::from_millis(dice.pick(&[0, 1_000, 5_000])),
            history: None,
            shared: false,
            message_rate: None,
            lifetime: None,
        },
        proxy: dice.pick(&[ProxyMode::Off, ProxyMode::Optional, ProxyMode::Required]),
        trust: Trust(vec!["10.0.0.0/8".parse().expect("a network")]),
        forwarded_for: false,
        admin_token: None,
        hosts: Vec::new(),
        base_path: BasePath::default(),
        origins: Vec::new(),
        keep_alive: Duration::from_millis(dice.pick(&[15_000, 75_000])),
        events: if dice.chance(150) {
            Events::All
        } else {
            Events::Named(vec!["chat message".into()])
        },
        recovery: false,
        greeting: Some(Greeting::named("hi")),
        parties: Parties::default(),
        anonymous: Anonymous::All,
        report_messages: true,
    }
}
