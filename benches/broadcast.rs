//! Broadcast over real sockets: what a delivery costs, next to the bare loops of support/floor.rs.
//!
//! elbow, `floor` and `floor-coalesce` take turns with the same load: N readers of one channel, one
//! of which publishes 64 B or 1 KiB, and 1 or 32 messages that have not reached all. What is
//! compared is the CPU time of the serving process per delivery, round by round; criterion then
//! measures deliveries per second and draws. Every byte that a reader gets is checked.
//!
//! ```text
//! cargo bench --bench broadcast                        the table, then criterion
//! cargo bench --bench broadcast -- table               the table
//! cargo bench --bench broadcast -- ratio 1000 64 1     one case (readers, bytes, window) in 10 s
//! ELBOW_BIN=a ELBOW_BIN_B=b cargo bench …              another build of elbow, and one beside it
//! ELBOW_ARGS_B="--flag value" cargo bench …            the same build with other flags beside it
//! ```

#[expect(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use std::fmt::Write as _;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};

use support::contest::{self, Case, Contestant, Turn, contestants, median, ratio};
use support::load::{Pace, Run};
use support::{roles, say};

const READERS: [usize; 4] = [10, 100, 1_000, 10_000];
const BYTES: [usize; 2] = [64, 1024];
const WINDOWS: [usize; 2] = [1, 32];
/// Rounds of a case in the table. Many short turns: what disturbs the machine meanwhile then
/// strikes neighbours alike, and few of them.
const ROUNDS: usize = 7;
/// … and of a case that is asked for alone.
const ROUNDS_QUICK: usize = 21;

/// The length of a turn: long enough for several passes over all readers.
fn turn_ms(readers: usize) -> u64 {
    if readers > 1_000 { 800 } else { 100 }
}

fn main() {
    let Some(arguments) = roles::play() else { return };
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["ratio", readers, bytes, window] => quick(readers, bytes, window),
        ["ratio", ..] => say::fail("ratio READERS BYTES WINDOW"),
        ["table"] => table(),
        _ => {
            table();
            plots();
        }
    }
}

/// One case, for whoever works on it.
fn quick(readers: &str, bytes: &str, window: &str) {
    let number = |word: &str| -> usize {
        word.parse().unwrap_or_else(|_| say::fail(&format!("{word} is not a number")))
    };
    let case = Case { readers: number(readers), bytes: number(bytes), window: number(window) };
    let mut all = contestants(case.readers);
    let turns = contest::rounds(&mut all, case, ROUNDS_QUICK, turn_ms(case.readers));
    say::say(&lines(case, &all, &turns));
}

/// All cases, printed and left in `target/broadcast.txt`.
fn table() {
    let mut text = String::new();
    for readers in READERS {
        let mut all = contestants(readers);
        for case in cases(readers) {
            let turns = contest::rounds(&mut all, case, ROUNDS, turn_ms(readers));
            let lines = lines(case, &all, &turns);
            say::say(&lines);
            text += &lines;
        }
    }
    contest::leave("broadcast.txt", &text);
}

fn cases(readers: usize) -> impl Iterator<Item = Case> {
    BYTES.into_iter().flat_map(move |bytes| {
        WINDOWS.into_iter().map(move |window| Case { readers, bytes, window })
    })
}

/// A line for each contestant, then elbow's ratio to each of the others.
fn lines(case: Case, all: &[Contestant], turns: &[Vec<Turn>]) -> String {
    let Case { readers, bytes, window } = case;
    let mut text = format!("{readers} readers, {bytes} B, {window} outstanding\n");
    for (contestant, turns) in all.iter().zip(turns) {
        let over = |value: fn(&Turn) -> f64| median(turns.iter().map(value));
        let _ = writeln!(
            text,
            "  {:<16}{:>8.0} ns CPU/delivery {:>11.0} deliveries/s  p50 {:>7.3} ms  \
             p99 {:>7.3} ms  {:>5.1} messages/read  load {:>5.0} ns CPU/delivery",
            contestant.name,
            over(Turn::cpu_per_delivery_ns),
            over(Turn::deliveries_per_s),
            over(|turn| turn.outcome.latency_ns[0] as f64 / 1e6),
            over(|turn| turn.outcome.latency_ns[1] as f64 / 1e6),
            over(|turn| turn.outcome.deliveries as f64 / turn.outcome.reads as f64),
            over(|turn| turn.load_cpu_ns as f64 / turn.outcome.deliveries as f64),
        );
    }
    for (contestant, other) in all.iter().zip(turns).skip(1) {
        let [lower, middle, upper] = ratio(&turns[0], other, Turn::cpu_per_delivery_ns);
        let [_, both, _] = ratio(&turns[0], other, Turn::both_per_delivery_ns);
        let _ = writeln!(
            text,
            "  elbow / {:<16}{middle:.3}  (half of the rounds: {lower:.3} to {upper:.3}; \
             with the load's own CPU time: {both:.3})",
            contestant.name
        );
    }
    text
}

/// Deliveries per second of each, with criterion's plots.
fn plots() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(800))
        .sample_size(10)
        .nresamples(1_000)
        .configure_from_args();
    for readers in READERS {
        let mut all = contestants(readers);
        for Case { readers, bytes, window } in cases(readers) {
            let name = format!("broadcast/{readers}/{bytes}B/{window}");
            let mut group = criterion.benchmark_group(name);
            group.sampling_mode(SamplingMode::Flat);
            // One iteration is a window full of messages.
            group.throughput(Throughput::Elements((readers * window) as u64));
            // The bare loop sends each message on its own, so a window only takes longer there.
            let shown = |name: &str| window == 1 || name != "floor";
            for contestant in all.iter_mut().filter(|contestant| shown(contestant.name)) {
                group.bench_function(contestant.name, |bencher| {
                    bencher.iter_custom(|count| {
                        let messages_max = count * window as u64;
                        let pace = Pace::Window(window);
                        let limit_ms = 60_000;
                        let run = Run { bytes, pace, messages_max, limit_ms, nap_us: 0 };
                        Duration::from_nanos(contestant.load.run(run).elapsed_ns)
                    });
                });
            }
            group.finish();
        }
    }
    criterion.final_summary();
}
