//! The whole server in a world of its own: fake sockets, invented time, one seed.
//!
//! Goal: whatever sockets, clients, clocks and operators do in whatever order, every client gets
//! exactly what it must, everything that begins ends with a reason, and nothing is lost or spins.
//!
//! Method: a seed draws a climate and then every single event; the same `Server` as in production
//! is driven as the shell drives it; an oracle that knows every message judges every byte, every
//! event and every state of rest. The same seed gives the same bytes, so a failure can be repeated:
//!
//! ```text
//! cargo test --profile sweep --test sim                    a short sweep
//! SEEDS=2000 cargo test --profile sweep --test sim         a longer one, from SEEDS_FROM (0) on
//! SEED=1234 cargo test --profile sweep --test sim          one seed, with its journal if it fails
//! ```
//!
//! With `SEEDS` all of the processor's cores take part. The long run that remembers where it
//! stopped is `long_run`, below; `tests/long-sim` starts it.
//!
//! In `tests/sim/`:
//!
//! ```text
//! climate attack           what one run is like, and who attacks in it
//! socket                   the fake network
//! client speech wish       the people, what they say, and where they want to begin
//! person parting returning those who speak Socket.IO, how they go, and how they come back
//! flood swarm              what attackers say who do not speak Socket.IO, and who do
//! decode packet stream     what clients understand
//! world siege              what happens when; when attackers come
//! oracle attend hearing    what must be true of what is said: to all, to sessions, to one session
//! coming                   where whoever comes begins, and that coming back leaves no seam
//! authority                whoever decides the order elsewhere
//! past                     what is kept of what was said, and who must be sent it again
//! pace                     limits for public places: how much is said, how long somebody stays
//! turns                    whose word it was
//! pass entry               tokens: who shows which, and what a session is let in by
//! backend receipts         what backends ask of the admin listener, and what they are told
//! rest pulse calm          what must hold after a turn, of who lives, when nobody begins anything
//! due promise              by how much the server may be late: in time, in turns
//! tally                    what many runs have come to
//! ```

#[path = "sim/attack.rs"]
mod attack;
#[path = "sim/attend.rs"]
mod attend;
#[path = "sim/authority.rs"]
mod authority;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/climate.rs"]
mod climate;
#[path = "sim/coming.rs"]
mod coming;
#[path = "harness/contract.rs"]
mod contract;
#[path = "sim/decode.rs"]
mod decode;
#[path = "sim/due.rs"]
mod due;
#[path = "sim/entry.rs"]
mod entry;
#[path = "sim/hearing.rs"]
mod hearing;
#[path = "sim/oracle.rs"]
mod oracle;
#[path = "sim/packet.rs"]
mod packet;
#[path = "sim/pass.rs"]
mod pass;
#[path = "sim/past.rs"]
mod past;
#[path = "sim/person.rs"]
mod person;
#[path = "sim/receipts.rs"]
mod receipts;
#[path = "sim/returning.rs"]
mod returning;
#[path = "harness/seeds.rs"]
#[expect(dead_code, reason = "a tally of many kinds is counted here, and runs compared by bytes")]
mod seeds;
#[path = "sim/socket.rs"]
mod socket;
#[path = "sim/stream.rs"]
mod stream;
#[path = "sim/tally.rs"]
mod tally;
#[path = "sim/turns.rs"]
mod turns;
#[path = "sim/wish.rs"]
mod wish;
#[path = "sim/world.rs"]
mod world;

use attack::Attack;
use elbow::reason::CloseReason;
use oracle::Return;
use pass::Expiry;
use seeds::{Sweep, asked, run_all, say};
use tally::Tally;

const SWEEP: Sweep = Sweep { command: "cargo test --profile sweep --test sim", seeds: 150 };
/// Seeds of the long run between two notes of how far it has come.
const PART: u64 = 1000;
/// Failing seeds after which the long run stops, since one fault may fail many.
const FAILURES_MAX: usize = 20;

#[test]
fn whatever_happens() {
    let Some(seeds) = SWEEP.wanted(world::run) else { return };
    let count = seeds.end - seeds.start;
    let tally = sweep(seeds.start, count);
    say(&format!("seeds {seeds:?}: {tally}"));
    SWEEP.assert_none(&tally.failed, world::run);
    if count >= SWEEP.seeds {
        assert_variety(&tally, count);
    }
}

/// Seeds that were never run before, for hours, on all cores. It notes how far it has come in
/// cargo's target folder, so that it can be stopped at any time and goes on from there; what failed
/// is noted too, and does not stop it before there is too much of that.
///
/// Asked for by `HOURS`, `SEEDS` or both, whichever is reached first.
#[test]
#[ignore = "for hours"]
#[expect(clippy::disallowed_methods, reason = "how long to go on, not what happens")]
fn long_run() {
    let began = std::time::Instant::now();
    let hours = asked("HOURS");
    let seeds = asked("SEEDS").unwrap_or(u64::MAX);
    assert!(hours.is_some() || seeds < u64::MAX, "HOURS=… or SEEDS=… bounds it");
    let mut total = Tally::load();
    let first = total.next_seed;
    let is_over = |total: &Tally| {
        let ran_s = began.elapsed().as_secs();
        hours.is_some_and(|hours| ran_s >= hours * 3600) || total.next_seed - first >= seeds
    };
    while !is_over(&total) && total.failed.len() < FAILURES_MAX {
        let part_began = std::time::Instant::now();
        let left = seeds.saturating_sub(total.next_seed - first);
        let part = sweep(total.next_seed, PART.min(left));
        if !part.failed.is_empty() {
            say(&format!("failed: {:?}", part.failed));
        }
        total.add(part);
        total.ran_ms += part_began.elapsed().as_millis() as u64;
        total.save();
        say(&total.in_all());
    }
    assert!(total.failed.is_empty(), "SEED={:?}", total.failed);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 0..10 {
        let (first, second) = (world::run(seed, None), world::run(seed, None));
        assert_eq!(first, second, "seed {seed}");
    }
}

/// Runs so many seeds.
fn sweep(from: u64, seeds: u64) -> Tally {
    let (mut total, failed): (Tally, _) =
        run_all(from..from + seeds, world::run, Tally::count, Tally::add);
    (total.seeds, total.next_seed, total.failed) = (seeds, from + seeds, failed);
    total
}

/// From so many seeds on what is rare happens, too.
const SEEDS_FOR_RARE: u64 = 1000;
/// From so many seeds on what happens in every thousandth or so happens, too.
const SEEDS_FOR_RAREST: u64 = 10_000;

/// A sweep in which some end never happens, or some attack, has not looked everywhere.
fn assert_variety(tally: &Tally, seeds: u64) {
    for (attack, count) in Attack::ALL.into_iter().zip(tally.attacked) {
        assert!(count > 0, "no attacker of the kind {attack:?}");
    }
    for reason in CloseReason::ALL {
        let seen = tally.reasons & 1 << reason as u32 != 0;
        assert!(seen, "nothing ended as {reason:?}");
    }
    for (what, count) in ["opened late", "waited for", "lost"].into_iter().zip(tally.ordered) {
        assert!(count > 0, "no channel was {what}");
    }
    for (what, count) in Return::ALL.into_iter().zip(tally.returned) {
        let may_lack = what == Return::SessionOutlived && seeds < SEEDS_FOR_RARE;
        assert!(count > 0 || may_lack, "nobody came back and was {what:?}");
    }
    for (phase, count) in Expiry::ALL.into_iter().zip(tally.expired) {
        let is_rarest = phase == Expiry::Entered;
        let least = if is_rarest { SEEDS_FOR_RAREST } else { SEEDS_FOR_RARE };
        assert!(count > 0 || seeds < least, "no token has expired in {phase:?}");
    }
}
