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
//! cargo test --release --test sim                    a short sweep
//! SEEDS=2000 cargo test --release --test sim         a longer one, from SEEDS_FROM (0) on
//! HOURS=8 SEEDS_FROM=… cargo test --release --test sim -- --nocapture    until time is over
//! SEED=1234 cargo test --release --test sim          one seed, with its journal if it fails
//! ```
//!
//! In `tests/sim/`: `climate` is the weather of one run, `socket` the fake network, `client` the
//! people, `decode` what they understand, `oracle` what must be true, `world` the turns.

#[path = "sim/attend.rs"]
mod attend;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/climate.rs"]
mod climate;
#[path = "sim/decode.rs"]
mod decode;
#[path = "sim/hearing.rs"]
mod hearing;
#[path = "sim/oracle.rs"]
mod oracle;
#[path = "sim/packet.rs"]
mod packet;
#[path = "sim/person.rs"]
mod person;
#[path = "sim/socket.rs"]
mod socket;
#[path = "sim/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use elbow::reason::CloseReason;
use world::{Journal, Outcome};

/// Lines of the journal that are shown.
const LINES_SHOWN: usize = 80;
/// Seeds of a sweep if nobody says.
const SEEDS: u64 = 150;

#[test]
fn whatever_happens() {
    if let Some(seed) = asked("SEED") {
        told(seed);
        return;
    }
    let from = asked("SEEDS_FROM").unwrap_or(0);
    match asked("HOURS") {
        Some(hours) => sweep_for(from, hours),
        None => {
            let seeds = asked("SEEDS").unwrap_or(SEEDS);
            let total = sweep(from, from + seeds);
            say(&format!("seeds {from}..{}: {}", from + seeds, told_total(&total)));
            if seeds >= SEEDS {
                assert_variety(&total);
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 0..10 {
        let (first, second) = (world::run(seed, None), world::run(seed, None));
        assert_eq!(first, second, "seed {seed}");
    }
}

fn sweep(from: u64, until: u64) -> Outcome {
    let mut total = Outcome::default();
    for seed in from..until {
        match catch_unwind(|| world::run(seed, None)) {
            Ok(outcome) => add(&mut total, outcome),
            Err(_) if asked("SURVEY").is_some() => say(&format!("seed {seed} fails")),
            // Once more, with a journal: the same seed takes the same way.
            Err(_) => told(seed),
        }
    }
    total
}

#[expect(clippy::disallowed_methods, reason = "how long to go on, not what happens")]
fn sweep_for(from: u64, hours: u64) {
    let began = std::time::Instant::now();
    let mut seed = from;
    while began.elapsed().as_secs() < hours * 3600 {
        let total = sweep(seed, seed + 1000);
        seed += 1000;
        say(&format!("up to SEEDS_FROM={seed}: {}", told_total(&total)));
    }
}

/// Runs a seed with a journal, and shows its end if it fails.
fn told(seed: u64) {
    let journal = Journal::default();
    let outcome = catch_unwind(AssertUnwindSafe(|| world::run(seed, Some(Rc::clone(&journal)))));
    if outcome.is_err() {
        let journal = journal.borrow();
        let shown = asked("LINES").map_or(LINES_SHOWN, |lines| lines as usize);
        for line in journal
            .iter()
            .take(1)
            .chain(journal.iter().skip(1.max(journal.len().saturating_sub(shown))))
        {
            say(line);
        }
        panic!("SEED={seed} cargo test --release --test sim");
    }
}

fn add(total: &mut Outcome, outcome: Outcome) {
    total.turns += outcome.turns;
    total.events += outcome.events;
    total.calls += outcome.calls;
    total.published += outcome.published;
    total.delivered += outcome.delivered;
    total.connections += outcome.connections;
    total.sessions += outcome.sessions;
    total.told += outcome.told;
    total.upgrades += outcome.upgrades;
    total.reasons |= outcome.reasons;
}

/// A sweep in which some end never happens has not looked everywhere.
fn assert_variety(total: &Outcome) {
    let never = [CloseReason::HeadTimeout, CloseReason::CloseTimeout, CloseReason::SocketFailed];
    for reason in CloseReason::ALL {
        let seen = total.reasons & 1 << reason as u32 != 0;
        assert!(seen || never.contains(&reason), "nothing ended as {reason:?}");
    }
}

fn told_total(total: &Outcome) -> String {
    let Outcome { turns, events, calls, published, delivered, connections, .. } = total;
    let Outcome { sessions, told, upgrades, .. } = total;
    format!(
        "{turns} turns, {connections} connections, {sessions} Socket.IO sessions ({upgrades} \
         upgraded), {calls} socket calls, {events} events, {published} messages published, \
         {delivered} delivered ({told} to Socket.IO)"
    )
}

#[expect(clippy::disallowed_methods, reason = "the way to ask a test for more")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

#[expect(clippy::disallowed_macros, reason = "a test speaks to whoever runs it")]
fn say(line: &str) {
    eprintln!("{line}");
}
