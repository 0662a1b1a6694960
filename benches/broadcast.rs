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
//! cargo bench --bench broadcast -- watched 1000 64 1   that case, /metrics asked each second
//! cargo bench --bench broadcast -- services 1000 64 1  … history and tokens on as well, over off
//! ELBOW_BIN=a ELBOW_BIN_B=b cargo bench …              another build of elbow, and one beside it
//! ELBOW_ARGS_B="--flag value" cargo bench …            the same build with other flags beside it
//! ```

#[expect(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, thread};

use criterion::{Criterion, SamplingMode, Throughput};

use support::contest::{self, Case, Contestant, Turn, contestants, median, ratio};
use support::load::shown::{AUDIENCE, SECRET, Shown};
use support::load::{Pace, Run, Setup};
use support::process::{Process, free_address};
use support::{clock, roles, say};

const READERS: [usize; 4] = [10, 100, 1_000, 10_000];
const BYTES: [usize; 2] = [64, 1024];
const WINDOWS: [usize; 2] = [1, 32];
/// Rounds of a case in the table. Many short turns: what disturbs the machine meanwhile then
/// strikes neighbours alike, and few of them.
const ROUNDS: usize = 7;
/// Rounds of a case that is asked for alone.
const ROUNDS_QUICK: usize = 21;

/// The length of a turn in which a server is watched: one scrape each second is what Prometheus
/// asks at most, and the status page.
const WATCHED_TURN: Duration = Duration::from_secs(1);

/// The length of a turn: long enough for several passes over all readers.
fn turn_ms(readers: usize) -> u64 {
    if readers > 1_000 { 800 } else { 100 }
}

fn main() {
    let Some(arguments) = roles::play() else { return };
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["ratio", readers, bytes, window] => quick(readers, bytes, window),
        ["watched", readers, bytes, window] => watched(readers, bytes, window, "/metrics"),
        ["watched", readers, bytes, window, path] => watched(readers, bytes, window, path),
        ["services", readers, bytes, window] => services(readers, bytes, window),
        ["services", ..] => say::fail("services READERS BYTES WINDOW"),
        ["ratio", ..] => say::fail("ratio READERS BYTES WINDOW"),
        ["watched", ..] => say::fail("watched READERS BYTES WINDOW [/metrics or /status]"),
        ["table"] => table(),
        _ => {
            table();
            plots();
        }
    }
}

fn case_of(readers: &str, bytes: &str, window: &str) -> Case {
    let number = |word: &str| -> usize {
        word.parse().unwrap_or_else(|_| say::fail(&format!("{word} is not a number")))
    };
    Case { readers: number(readers), bytes: number(bytes), window: number(window) }
}

/// One server, which is asked for `path` once in every other turn; a turn takes a second. What the
/// scrape costs is in the CPU time per delivery. Two servers would not do: with 10,000 readers one
/// of two that do the same took a tenth more CPU time than the other, and its load that much less.
fn watched(readers: &str, bytes: &str, window: &str, path: &str) {
    let case = case_of(readers, bytes, window);
    let admin = free_address();
    let flags = ["--admin-listen", &admin.to_string()];
    let server = Process::elbow(&contest::elbow_path(), &flags);
    let mut elbow = Contestant::new("elbow", server, case.readers);
    let pace = Pace::Window(case.window);
    let limit_ms = WATCHED_TURN.as_millis() as u64;
    let run = Run { bytes: case.bytes, pace, messages_max: u64::MAX, limit_ms, nap_us: 100 };
    let (mut turns, mut waited, mut answer_bytes) = (vec![Vec::new(); 2], Vec::new(), 0);
    for round in 0..=ROUNDS_QUICK {
        for at in [round % 2, 1 - round % 2] {
            let watcher = (at == 0).then(|| {
                let path = path.to_owned();
                thread::spawn(move || {
                    thread::sleep(WATCHED_TURN / 2);
                    scrape(admin, &path)
                })
            });
            let turn = elbow.turn(run);
            let answer = watcher.map(|watcher| watcher.join());
            if round > 0 {
                turns[at].push(turn);
            }
            if let Some(answer) = answer {
                let answer = answer.unwrap_or_else(|_| say::fail("the scrape has failed"));
                waited.push(answer.0 as f64 / 1e6);
                answer_bytes = answer.1;
            }
        }
    }
    say::say(&lines(case, &["elbow, watched", "elbow"], &turns));
    let waited = median(waited);
    say::say(&format!("  {path} took {waited:.1} ms (median) and has {answer_bytes} bytes"));
}

/// A server that keeps what is said, lets in who shows a token, and is asked for `/metrics` once a
/// turn, beside one that does nothing of that. Both are started twice, in either order: of two that
/// do the same, the one that was started first may take more CPU time.
fn services(readers: &str, bytes: &str, window: &str) {
    let case = case_of(readers, bytes, window);
    let key = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-key-broadcast");
    fs::write(&key, SECRET).unwrap_or_else(|why| say::fail(&format!("{key:?}: {why}")));
    let key = format!("hs256:{}", key.display());
    let pace = Pace::Window(case.window);
    let limit_ms = WATCHED_TURN.as_millis() as u64;
    let run = Run { bytes: case.bytes, pace, messages_max: u64::MAX, limit_ms, nap_us: 100 };
    let mut turns = vec![Vec::new(); 2];
    for first in 0..2 {
        let admin = free_address();
        let admin_flag = admin.to_string();
        let mut flags = vec!["--admin-listen", &admin_flag, "--history", "1000"];
        flags.extend(["--token-key", &key, "--token-audience", AUDIENCE]);
        let mut all = Vec::new();
        for at in [first, 1 - first] {
            let (flags, shown) =
                if at == 0 { (&flags[..], Shown::Hs256) } else { (&[][..], Shown::Nothing) };
            let server = Process::elbow(&contest::elbow_path(), flags);
            let setup = Setup { shown, ..Setup::plain(server.address, case.readers) };
            all.push((at, Contestant::with("elbow", server, &setup)));
        }
        all.sort_by_key(|(at, _)| *at);
        for round in 0..=ROUNDS_QUICK / 2 {
            for at in [round % 2, 1 - round % 2] {
                let watcher = (at == 0).then(|| {
                    thread::spawn(move || {
                        thread::sleep(WATCHED_TURN / 2);
                        scrape(admin, "/metrics")
                    })
                });
                let turn = all[at].1.turn(run);
                if watcher.is_some_and(|watcher| watcher.join().is_err()) {
                    say::fail("the scrape has failed");
                }
                if round > 0 {
                    turns[at].push(turn);
                }
            }
        }
    }
    say::say(&lines(case, &["elbow, services", "elbow"], &turns));
}

/// Asks an admin listener for `path`: how long the whole answer took, and its bytes.
fn scrape(admin: SocketAddr, path: &str) -> (u64, usize) {
    let begun_ns = clock::now_ns();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let asked = TcpStream::connect(admin).and_then(|mut stream| {
        stream.write_all(request.as_bytes())?;
        stream.read_to_end(&mut answer)
    });
    if asked.is_err() || !answer.starts_with(b"HTTP/1.1 200 ") {
        say::fail(&format!("{admin} does not answer {path}"));
    }
    (clock::now_ns() - begun_ns, answer.len())
}

/// One case, for whoever works on it.
fn quick(readers: &str, bytes: &str, window: &str) {
    let case = case_of(readers, bytes, window);
    let mut all = contestants(case.readers);
    let turns = contest::rounds(&mut all, case, ROUNDS_QUICK, turn_ms(case.readers));
    say::say(&lines(case, &names(&all), &turns));
}

/// All cases, printed and left in `target/broadcast.txt`.
fn table() {
    let mut text = String::new();
    for readers in READERS {
        let mut all = contestants(readers);
        for case in cases(readers) {
            let turns = contest::rounds(&mut all, case, ROUNDS, turn_ms(readers));
            let lines = lines(case, &names(&all), &turns);
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

fn names(all: &[Contestant]) -> Vec<&'static str> {
    all.iter().map(|contestant| contestant.name).collect()
}

/// A line for each contestant, then the ratio of the first to each of the others.
fn lines(case: Case, names: &[&str], turns: &[Vec<Turn>]) -> String {
    let Case { readers, bytes, window } = case;
    let mut text = format!("{readers} readers, {bytes} B, {window} outstanding\n");
    for (name, turns) in names.iter().zip(turns) {
        let over = |value: fn(&Turn) -> f64| median(turns.iter().map(value));
        let _ = writeln!(
            text,
            "  {:<16}{:>8.0} ns CPU/delivery {:>11.0} deliveries/s  p50 {:>7.3} ms  \
             p99 {:>7.3} ms  {:>5.1} messages/read  load {:>5.0} ns CPU/delivery",
            name,
            over(Turn::cpu_per_delivery_ns),
            over(Turn::deliveries_per_s),
            over(|turn| turn.outcome.latency_ns[0] as f64 / 1e6),
            over(|turn| turn.outcome.latency_ns[1] as f64 / 1e6),
            over(|turn| turn.outcome.deliveries as f64 / turn.outcome.reads as f64),
            over(|turn| turn.load_cpu_ns as f64 / turn.outcome.deliveries as f64),
        );
    }
    for (name, other) in names.iter().zip(turns).skip(1) {
        let [lower, middle, upper] = ratio(&turns[0], other, Turn::cpu_per_delivery_ns);
        let [_, both, _] = ratio(&turns[0], other, Turn::both_per_delivery_ns);
        let _ = writeln!(
            text,
            "  {} / {name:<16}{middle:.3}  (half of the rounds: {lower:.3} to {upper:.3}; \
             with the load's own CPU time: {both:.3})",
            names[0]
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
