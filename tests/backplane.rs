//! Several instances and one Redis: a state machine, a model of the server, and what must hold of
//! all of them together.
//!
//! Goal: whatever happens to connections and to Redis, everybody who has a channel open hears its
//! messages in one order, once, and is told where some are missing; and whoever said something is
//! answered once, in order.
//!
//! Method: a seed draws a climate and then every event. Two or three backplanes are driven as a
//! server and a shell would drive them, each over two lines whose bytes are cut, delayed and lost.
//! Between them is a model of Redis (`tests/harness/redis.rs`) that loses replies, carries out late
//! what a dead connection has sent, forgets, refuses, stalls, and fails over to what it was. An
//! oracle knows all that was ever added, and judges each event. At the end nothing goes wrong any
//! more, and everything must come to rest.
//!
//! ```text
//! cargo test --test backplane                                 300 seeds
//! SEEDS=20000 cargo test --profile sweep --test backplane     more, from SEEDS_FROM (0) on
//! SEED=1234 cargo test --test backplane                       one, with its journal if it fails
//! ```

#[path = "harness/chance.rs"]
mod chance;
#[path = "backplane/climate.rs"]
mod climate;
#[path = "backplane/oracle.rs"]
mod oracle;
#[path = "backplane/real.rs"]
mod real;
#[path = "harness/redis.rs"]
mod redis;
#[path = "backplane/single.rs"]
mod single;
#[path = "backplane/world.rs"]
mod world;

use std::panic::catch_unwind;

/// Seeds of a sweep if nobody says.
const SEEDS: u64 = 300;
/// Lines of the journal that are shown.
const LINES_SHOWN: usize = 120;

#[test]
fn whatever_happens() {
    if let Some(seed) = asked("SEED") {
        return told(seed);
    }
    let from = asked("SEEDS_FROM").unwrap_or(0);
    let seeds = asked("SEEDS").unwrap_or(SEEDS);
    let mut failed = Vec::new();
    let mut total = world::Seen::default();
    for seed in from..from + seeds {
        match catch_unwind(|| world::run(seed, false)) {
            Ok((seen, _)) => total.add(&seen),
            Err(_) => failed.push(seed),
        }
    }
    say(&format!("seeds {from}..{}: {total:?}", from + seeds));
    if let Some(seed) = failed.first() {
        say(&format!("failed: {failed:?}"));
        told(*seed);
        panic!("seed {seed} failed, and then did not");
    }
    if seeds >= SEEDS {
        total.assert_variety();
    }
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in 0..5 {
        assert_eq!(world::run(seed, true).1, world::run(seed, true).1, "seed {seed}");
    }
}

/// Runs a seed with a journal, which is shown if it fails.
fn told(seed: u64) {
    let journal = world::Journal::default();
    let kept = journal.clone();
    let run = std::panic::AssertUnwindSafe(|| world::run_with(seed, Some(kept)));
    if catch_unwind(run).is_err() {
        let lines = journal.borrow();
        let shown = asked("LINES").map_or(LINES_SHOWN, |lines| lines as usize);
        for line in &lines[lines.len().saturating_sub(shown)..] {
            say(line);
        }
        panic!("SEED={seed} cargo test --test backplane");
    }
}

#[expect(clippy::disallowed_methods, reason = "the way to ask a test for more")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

#[expect(clippy::disallowed_macros, reason = "a test speaks to whoever runs it")]
fn say(line: &str) {
    eprintln!("{line}");
}
