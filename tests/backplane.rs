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
#[path = "harness/seeds.rs"]
mod seeds;
#[path = "backplane/single.rs"]
mod single;
#[path = "backplane/world.rs"]
mod world;

use seeds::Sweep;

const SWEEP: Sweep = Sweep { command: "cargo test --test backplane", seeds: 300 };

#[test]
fn whatever_happens() {
    SWEEP.hold(world::run, world::Seen::add, world::Seen::assert_variety);
}

#[test]
fn the_same_seed_gives_the_same_events() {
    seeds::assert_repeats(0..5, world::run);
}
