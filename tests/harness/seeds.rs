//! Seeds of a simulation: which are run, and what is shown of one that fails.
//!
//! ```text
//! SEED=1234                 one alone, with its journal if it fails
//! SEEDS=2000                so many, from SEEDS_FROM (0) on
//! LINES=1000                so many lines of a journal
//! ```
//!
//! All cores take part in a sweep. Every seed is a run of its own, so a fault in one says nothing
//! of the others, and the same seed takes the same way once more.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What has happened in a run, for whoever must find out why: in the first line what it is like.
pub(crate) type Journal = Rc<RefCell<VecDeque<String>>>;

/// Lines of a journal that are shown if nobody says how many.
const LINES_SHOWN: usize = 120;

/// A test that runs many seeds.
pub(crate) struct Sweep {
    /// The command that runs the test.
    pub(crate) command: &'static str,
    /// Seeds of a sweep if nobody says how many: so many have seen everything.
    pub(crate) seeds: u64,
}

impl Sweep {
    /// The seeds that are to be run. `None` if one was asked for by its number: then that has been
    /// run, and nothing was wrong.
    pub(crate) fn wanted<T>(&self, run: impl Fn(u64, Option<Journal>) -> T) -> Option<Range<u64>> {
        if let Some(seed) = asked("SEED") {
            self.tell(seed, run);
            return None;
        }
        let from = asked("SEEDS_FROM").unwrap_or(0);
        Some(from..from + asked("SEEDS").unwrap_or(self.seeds))
    }

    /// Runs the seeds that are wanted, and says what they have come to. Of as many as have seen
    /// everything, that is asserted by `assert_variety`.
    ///
    /// # Panics
    /// If a seed has failed.
    pub(crate) fn hold<T: Default + Send + fmt::Debug>(
        &self,
        run: impl Fn(u64, Option<Journal>) -> T + Sync,
        add: impl Fn(&mut T, &T) + Sync,
        assert_variety: impl Fn(&T),
    ) {
        let Some(seeds) = self.wanted(&run) else { return };
        let add = |total: &mut T, seen| add(total, &seen);
        let (total, failed) = run_all(seeds.clone(), &run, add, add);
        say(&format!("seeds {seeds:?}: {total:?}"));
        self.assert_none(&failed, &run);
        if seeds.end - seeds.start >= self.seeds {
            assert_variety(&total);
        }
    }

    /// Shows the journal of the first seed that has failed, if any has.
    ///
    /// # Panics
    /// If one has failed.
    pub(crate) fn assert_none<T>(&self, failed: &[u64], run: impl Fn(u64, Option<Journal>) -> T) {
        if let Some(seed) = failed.first() {
            say(&format!("failed: {failed:?}"));
            self.tell(*seed, run);
            panic!("seed {seed} failed, and then did not");
        }
    }

    /// Runs a seed with a journal, and shows the beginning and the end of that if the seed fails.
    fn tell<T>(&self, seed: u64, run: impl Fn(u64, Option<Journal>) -> T) {
        let journal = Journal::default();
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, Some(Rc::clone(&journal)))));
        if outcome.is_err() {
            let journal = journal.borrow();
            let shown = asked("LINES").map_or(LINES_SHOWN, |lines| lines as usize);
            let end = 1.max(journal.len().saturating_sub(shown));
            journal.iter().take(1).chain(journal.iter().skip(end)).for_each(|line| say(line));
            panic!("SEED={seed} {}", self.command);
        }
    }
}

/// Asserts that each of these seeds takes the same way once more.
pub(crate) fn assert_repeats<T>(seeds: Range<u64>, run: impl Fn(u64, Option<Journal>) -> T) {
    for seed in seeds {
        let lines = || {
            let journal = Journal::default();
            run(seed, Some(journal.clone()));
            journal.take()
        };
        assert_eq!(lines(), lines(), "seed {seed}");
    }
}

/// Runs seeds, each core the next that nobody has taken. What has become of them is counted in
/// totals, which are added up; seeds that have failed are told in their order.
pub(crate) fn run_all<T: Default + Send, R>(
    seeds: Range<u64>,
    run: impl Fn(u64, Option<Journal>) -> R + Sync,
    count: impl Fn(&mut T, R) + Sync,
    add: impl Fn(&mut T, T),
) -> (T, Vec<u64>) {
    let next = AtomicU64::new(seeds.start);
    let share = || {
        let (mut total, mut failed) = (T::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return (total, failed);
            }
            match catch_unwind(AssertUnwindSafe(|| run(seed, None))) {
                Ok(outcome) => count(&mut total, outcome),
                Err(_) => failed.push(seed),
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    thread::scope(|scope| {
        let shares: Vec<_> = (0..cores).map(|_| scope.spawn(share)).collect();
        let (mut all, mut all_failed) = (T::default(), Vec::new());
        for share in shares {
            let (total, failed) = share.join().expect("a seed that fails is caught");
            add(&mut all, total);
            all_failed.extend(failed);
        }
        all_failed.sort_unstable();
        (all, all_failed)
    })
}

/// The number in a variable of the environment.
#[expect(clippy::disallowed_methods, reason = "the way to ask a test for more")]
pub(crate) fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Tells a line to whoever runs the test.
#[expect(clippy::disallowed_macros, reason = "a test speaks to whoever runs it")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
