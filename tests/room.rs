//! One room: whole servers on one model of Redis, their clients, and what must hold of all of them.
//!
//! Goal: whatever happens to instances, to Redis and to the lines between them, everybody in a
//! channel hears its messages in one order, once, whichever instance it is on and whatever it
//! speaks; or it is told that some are missing. What somebody was told to have been said has been
//! said. And whoever waits, waits no longer than until everything works again.
//!
//! Method: a seed draws a climate and then every event. Two or three servers are driven as the
//! shell drives them, with fake sockets and an invented time. Between their backplanes is the model
//! of Redis that `tests/backplane.rs` has, too, which forgets, stalls, fails over and carries out
//! late what dead connections have sent. Clients of each dialect come, vanish, read slowly, and
//! come back with what they know to the same instance or another. An oracle (`room/oracle.rs`)
//! knows the streams and nothing of the servers, and judges what each client hears. At the end
//! nothing goes wrong any more, and everything must come to rest.
//!
//! ```text
//! cargo test --test room                                 60 seeds
//! SEEDS=20000 cargo test --profile sweep --test room     more, from SEEDS_FROM (0) on
//! SEED=1234 cargo test --test room                       one, with its journal if it fails
//! ```

#[path = "harness/chance.rs"]
mod chance;
#[path = "room/client.rs"]
mod client;
#[path = "room/climate.rs"]
mod climate;
#[expect(dead_code, reason = "the sockets alone are used, and what an operator has decided")]
mod harness;
#[path = "room/hearing.rs"]
mod hearing;
#[path = "room/instance.rs"]
mod instance;
#[path = "room/oracle.rs"]
mod oracle;
#[path = "harness/redis.rs"]
#[expect(dead_code, reason = "some of what goes wrong is left to the test of backplanes")]
mod redis;
#[path = "room/world.rs"]
mod world;

use std::panic::catch_unwind;

/// Seeds of a sweep if nobody says.
const SEEDS: u64 = 60;
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
        match catch_unwind(|| world::run(seed, None)) {
            Ok(seen) => total.add(&seen),
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
fn a_seed_repeats_exactly() {
    for seed in 0..3 {
        let lines = || {
            let journal = world::Journal::default();
            world::run(seed, Some(journal.clone()));
            journal.take()
        };
        assert_eq!(lines(), lines(), "seed {seed}");
    }
}

/// Runs a seed with a journal, which is shown if it fails.
fn told(seed: u64) {
    let journal = world::Journal::default();
    let kept = journal.clone();
    let run = std::panic::AssertUnwindSafe(|| world::run(seed, Some(kept)));
    if catch_unwind(run).is_err() {
        let lines = journal.borrow();
        let shown = asked("LINES").map_or(LINES_SHOWN, |lines| lines as usize);
        for line in &lines[lines.len().saturating_sub(shown)..] {
            say(line);
        }
        panic!("SEED={seed} cargo test --test room");
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
