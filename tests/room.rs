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
#[path = "harness/seeds.rs"]
mod seeds;
#[path = "room/world.rs"]
mod world;

use seeds::Sweep;

const SWEEP: Sweep = Sweep { command: "cargo test --test room", seeds: 60 };

#[test]
fn whatever_happens() {
    SWEEP.hold(world::run, world::Seen::add, world::Seen::assert_variety);
}

#[test]
fn a_seed_repeats_exactly() {
    seeds::assert_repeats(0..3, world::run);
}

/// A channel that was closed in the turn in which its message was held: what stands behind that can
/// be said at once. One seed of some 25,000 comes to that; these did.
#[test]
fn nobody_sleeps_over_what_a_closed_channel_has_let_go() {
    for seed in [751_126, 760_956, 772_620] {
        world::run(seed, None);
    }
}
