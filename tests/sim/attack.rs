//! Strangers who want the server for themselves, as a part of the climate.
//!
//! Each kind does what any stranger may do, only without end: nothing that an attacker says breaks
//! a protocol. What they say is in `flood` (those without a session, and plain WebSockets) and in
//! `swarm` (Socket.IO sessions); `siege` sends them, and `promise` says what they must not cost the
//! others. In most seeds nobody attacks.
//!
//! They are drawn from dice of their own, so that a seed without an attack is what it would be if
//! there were none.

use super::climate::{Climate, Dice};

/// What an attacker does without end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Attack {
    /// Asks for `/healthz` on a kept-alive connection, many times at once.
    Pipelines,
    /// Posts bodies of as many packets as fit: they say nothing, or want to be acknowledged.
    Packets,
    /// Sends pings, pongs and empty frames on a WebSocket.
    Frames,
    /// Enters and leaves namespaces.
    Joins,
    /// Begins sessions, many at once on a connection, and does nothing with them.
    Handshakes,
    /// Sits in as many namespaces as a session may be in.
    Namespaces,
    /// Asks with the longest lines and agents that there may be.
    LongHeads,
    /// Fills a room of its own and never stops talking there.
    Rooms,
    /// Asks just often enough to stay, in every place that is left.
    Stayers,
    /// Shows tokens that are not taken, many at once, where the server has keys.
    Tokens,
}

impl Attack {
    pub(crate) const ALL: [Attack; 10] = [
        Attack::Pipelines,
        Attack::Packets,
        Attack::Frames,
        Attack::Joins,
        Attack::Handshakes,
        Attack::Namespaces,
        Attack::LongHeads,
        Attack::Rooms,
        Attack::Stayers,
        Attack::Tokens,
    ];

    /// What may be attacked in any climate.
    const EVERYWHERE: &[Attack] = Attack::ALL.split_last().expect("there are some").1;

    /// As the tally calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Attack::Pipelines => "attack_pipelines",
            Attack::Packets => "attack_packets",
            Attack::Frames => "attack_frames",
            Attack::Joins => "attack_joins",
            Attack::Handshakes => "attack_handshakes",
            Attack::Namespaces => "attack_namespaces",
            Attack::LongHeads => "attack_long_heads",
            Attack::Rooms => "attack_rooms",
            Attack::Stayers => "attack_stayers",
            Attack::Tokens => "attack_tokens",
        }
    }

    /// Whether it takes a Socket.IO session.
    pub(crate) fn is_person(self) -> bool {
        match self {
            Attack::Packets | Attack::Joins | Attack::Namespaces => true,
            Attack::Pipelines
            | Attack::Frames
            | Attack::Handshakes
            | Attack::LongHeads
            | Attack::Rooms
            | Attack::Stayers
            | Attack::Tokens => false,
        }
    }
}

/// One kind of attackers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mob {
    pub(crate) attack: Attack,
    /// How many there are at the same time: whoever ends is replaced.
    pub(crate) size: u64,
}

/// Who attacks in one run, and since when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attacks {
    pub(crate) mobs: Vec<Mob>,
    /// The turn from which on they act: the others have come by then.
    pub(crate) first_turn: u64,
    /// The most bytes that one of them has said and that were not read.
    pub(crate) flight_bytes: u64,
    /// Whether the attackers share one address.
    pub(crate) one_address: bool,
}

/// Seeds with an attack, per mille.
const ATTACKED: u64 = 220;
/// Keeps these dice apart from the other ones of a seed.
const SALT: u64 = 0xa77a_c4ed;

/// Decides whether anybody attacks in this seed, and makes the weather such that they can, and
/// that there are others to suffer from it.
pub(crate) fn draw(seed: u64, climate: &mut Climate) {
    let dice = &mut Dice::new(seed ^ SALT << 32);
    if !dice.chance(ATTACKED) {
        return;
    }
    let limits = &mut climate.settings.limits;
    if dice.chance(750) {
        limits.connections_max = limits.connections_max.max(dice.pick(&[40, 120, 200]));
    }
    if dice.chance(700) {
        limits.memory_bytes = limits.memory_bytes.max(16 << 20);
        climate.tiny_memory = false;
    }
    let connections_max = limits.connections_max as u64;
    let kinds = dice.pick(&[1, 1, 2, 3]);
    let mobs = &mut climate.attacks.mobs;
    while mobs.len() < kinds {
        let attack = dice.pick(Attack::EVERYWHERE);
        if mobs.iter().all(|mob| mob.attack != attack) {
            let size = draw_size(dice, attack, connections_max);
            mobs.push(Mob { attack, size });
        }
    }
    climate.attacks.first_turn = dice.between(10, 120);
    climate.attacks.flight_bytes = dice.pick(&[500, 2000, 8000]);
    climate.attacks.one_address = dice.chance(500);
    climate.health_listener = true;
    climate.turns_max = 450;
    let people = &mut climate.people;
    people.crowds = true;
    people.clients_max = dice.pick(&[12, 40, 60, 150]);
    people.web = people.web.min(400);
    people.think_ms = people.think_ms.min(10);
    people.arrival_ms = people.arrival_ms.min(20);
    // Without a descriptor nobody comes for longer than an attack takes.
    climate.exhausted = 0;
    // An attack keeps the loop busy, so time goes on only with its turns.
    climate.turn_ms_max = climate.turn_ms_max.max(1);
    let temper = &mut climate.temper;
    if dice.chance(700) {
        (temper.latency_ms_max, temper.tiny_reads) = (0, 0);
        temper.receive_bytes = temper.receive_bytes.max(8000);
        temper.send_bytes = temper.send_bytes.max(2000);
    }
    climate.drain_at_ms = None;
    if dice.chance(300) {
        // Long turns, so that the drain ends while they attack.
        climate.turn_ms_max = 25;
        climate.drain_at_ms = Some(dice.below(1500));
    }
}

/// How many there are of a kind: enough to take all of a turn, and no more than leaves the others a
/// place; but those that want every place.
pub(crate) fn draw_size(dice: &mut Dice, attack: Attack, connections_max: u64) -> u64 {
    let sizes: &[u64] = match attack {
        Attack::Pipelines => &[8, 70, 100, 130],
        Attack::Packets => &[1, 4, 12],
        Attack::Frames => &[2, 10, 40],
        Attack::Joins => &[1, 3, 8],
        Attack::Handshakes => &[1, 4, 20],
        Attack::Namespaces => &[1, 3, 8],
        Attack::LongHeads => &[2, 16, 64],
        // With a few less than a pass has, what is left of it is little.
        Attack::Rooms => &[10, 23, 62, 63],
        Attack::Stayers => return connections_max + 64,
        Attack::Tokens => &[2, 8, 40],
    };
    let most = match attack {
        Attack::Pipelines | Attack::LongHeads | Attack::Handshakes | Attack::Tokens => {
            connections_max / 2 + 40
        }
        Attack::Packets
        | Attack::Frames
        | Attack::Joins
        | Attack::Namespaces
        | Attack::Rooms
        | Attack::Stayers => connections_max / 2 + 1,
    };
    dice.pick(sizes).min(most)
}
