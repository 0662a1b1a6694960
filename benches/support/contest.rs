//! Servers that take turns under the same load, so that whatever else the machine does in the
//! meantime happens to all of them.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;
use std::{env, fs};

use super::load::{Driver, Outcome, Pace, Run, Setup};
use super::process::Process;
use super::say;

/// After a run a server may still be on its way to sleep, and only then is its time exact.
const SETTLE: Duration = Duration::from_millis(3);

/// How often the load looks, so that the server's sends need not wake it.
const NAP_US: u64 = 100;

/// A server and its crowd.
pub(crate) struct Contestant {
    /// As it is shown.
    pub(crate) name: &'static str,
    /// The server.
    pub(crate) server: Process,
    /// The readers and publishers of the server.
    pub(crate) load: Driver,
}

/// One load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Readers, the publisher among them.
    pub(crate) readers: usize,
    /// Payload of a message.
    pub(crate) bytes: usize,
    /// Messages outstanding.
    pub(crate) window: usize,
}

/// A turn of one contestant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// What the readers saw.
    pub(crate) outcome: Outcome,
    /// CPU time of the server.
    pub(crate) server_cpu_ns: u64,
    /// CPU time of the load generator.
    pub(crate) load_cpu_ns: u64,
}

impl Turn {
    /// CPU time of the server per delivery.
    pub(crate) fn cpu_per_delivery_ns(&self) -> f64 {
        self.server_cpu_ns as f64 / self.outcome.deliveries.max(1) as f64
    }

    /// Processor time of server and load for a delivery: work that a server leaves to whoever reads
    /// has not gone away.
    pub(crate) fn both_per_delivery_ns(&self) -> f64 {
        (self.server_cpu_ns + self.load_cpu_ns) as f64 / self.outcome.deliveries.max(1) as f64
    }

    /// Deliveries a second.
    pub(crate) fn deliveries_per_s(&self) -> f64 {
        self.outcome.deliveries as f64 * 1e9 / self.outcome.elapsed_ns.max(1) as f64
    }
}

impl Contestant {
    /// Connects `readers` plain WebSockets to a server.
    pub(crate) fn new(name: &'static str, server: Process, readers: usize) -> Contestant {
        let setup = Setup::plain(server.address, readers);
        Contestant::with(name, server, &setup)
    }

    /// Connects readers as `setup` says.
    pub(crate) fn with(name: &'static str, server: Process, setup: &Setup) -> Contestant {
        let mut load = Driver::start();
        load.open(setup);
        Contestant { name, server, load }
    }

    /// Lets it run once.
    pub(crate) fn turn(&mut self, run: Run) -> Turn {
        let before = (self.server.cpu_ns(), self.load.cpu_ns());
        let outcome = self.load.run(run);
        sleep(SETTLE);
        Turn {
            outcome,
            server_cpu_ns: self.server.cpu_ns() - before.0,
            load_cpu_ns: self.load.cpu_ns() - before.1,
        }
    }
}

/// The elbow that is measured: `ELBOW_BIN`, else the one of this build.
#[expect(clippy::disallowed_methods, reason = "which binary is measured is the caller's choice")]
pub(crate) fn elbow_path() -> PathBuf {
    env::var_os("ELBOW_BIN").map_or_else(|| env!("CARGO_BIN_EXE_elbow").into(), PathBuf::from)
}

/// A second elbow to compare it with, if `ELBOW_BIN_B` names one, or `ELBOW_ARGS_B` flags for it.
#[expect(clippy::disallowed_methods, reason = "which binary is measured is the caller's choice")]
pub(crate) fn other_elbow() -> Option<Process> {
    let path = env::var_os("ELBOW_BIN_B").map(PathBuf::from);
    let flags = env::var("ELBOW_ARGS_B").ok();
    if path.is_none() && flags.is_none() {
        return None;
    }
    let flags = flags.unwrap_or_default();
    let flags: Vec<&str> = flags.split_whitespace().collect();
    Some(Process::elbow(&path.unwrap_or_else(elbow_path), &flags))
}

/// elbow, both floors, and another elbow if one is wanted, with so many readers each.
pub(crate) fn contestants(readers: usize) -> Vec<Contestant> {
    let elbow = Process::elbow(&elbow_path(), &[]);
    let mut all = vec![
        Contestant::new("elbow", elbow, readers),
        Contestant::new("floor", Process::floor(false), readers),
        Contestant::new("floor-coalesce", Process::floor(true), readers),
    ];
    if let Some(other) = other_elbow() {
        all.push(Contestant::new("elbow-b", other, readers));
    }
    all
}

/// `rounds` rounds in each of which all take a turn of `limit_ms`, in an order that changes; a
/// round before them is not counted. The turns of each contestant.
pub(crate) fn rounds(
    all: &mut [Contestant],
    case: Case,
    rounds: usize,
    limit_ms: u64,
) -> Vec<Vec<Turn>> {
    let pace = Pace::Window(case.window);
    // With few readers a nap would be most of the time that a message takes.
    let nap_us = if case.readers < 1_000 { 0 } else { NAP_US };
    let run = Run { bytes: case.bytes, pace, messages_max: u64::MAX, limit_ms, nap_us };
    let mut turns = vec![Vec::with_capacity(rounds); all.len()];
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.rotate_left(round % all.len());
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let turn =
                all[at].turn(Run { limit_ms: if round == 0 { 50 } else { limit_ms }, ..run });
            if round > 0 {
                turns[at].push(turn);
            }
        }
    }
    turns
}

/// The middle one; of an even number the upper.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The quotients of two contestants' turns, round by round: their quartiles.
pub(crate) fn ratio(one: &[Turn], other: &[Turn], cost: fn(&Turn) -> f64) -> [f64; 3] {
    let mut all: Vec<f64> = one.iter().zip(other).map(|(a, b)| cost(a) / cost(b)).collect();
    all.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| all[all.len() * quarter / 4])
}

/// Leaves `text` as a file in cargo's target folder, where criterion's plots are too.
pub(crate) fn leave(name: &str, text: &str) {
    // The bench lies in target/release/deps.
    let folder = env::current_exe().ok().and_then(|path| Some(path.ancestors().nth(3)?.to_owned()));
    let written = folder.map(|folder| fs::write(folder.join(name), text));
    if !matches!(written, Some(Ok(()))) {
        say::fail(&format!("cannot write {name}"));
    }
}
