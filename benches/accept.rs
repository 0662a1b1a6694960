//! Handshakes: connect, upgrade, answer, close; elbow next to the bare loop.
//!
//! Both accept, take the SHA-1 of the key, answer 101 and close when the client does; elbow also
//! checks the whole head, the origin and its limits, sets a deadline, and joins and leaves a
//! channel. Compared is the CPU time of the server per handshake, in rounds in which they take
//! turns. The client makes 32 at a time, from many addresses. One member stays in the channel all
//! the time, as there is one in a server that is in use: an empty channel gives its ring back.
//!
//! With `-- tokens` the same is asked of two elbows, one with keys, by clients that show tokens:
//! what a check costs, and whether a flood of wrong ones costs less than one of good ones.
//!
//! `cargo bench --bench accept`, or `cargo bench --bench accept -- ratio` for the table alone, or
//! `cargo bench --bench accept -- tokens` for that of tokens.

#[expect(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};

use support::contest::{self, median};
use support::load::shown::{AUDIENCE, SECRET, Shown, pem_files};
use support::load::{Driver, Setup, join};
use support::process::Process;
use support::{roles, say};

const TOGETHER: usize = 32;
const ROUNDS: usize = 21;
/// Handshakes of a turn.
const TURN: usize = 2_048;
/// Until the server has seen that the last clients are gone.
const SETTLE: Duration = Duration::from_millis(20);

fn main() {
    let Some(arguments) = roles::play() else { return };
    if arguments.iter().any(|argument| argument == "tokens") {
        return tokens();
    }
    let mut servers = vec![
        ("elbow", Process::elbow(&contest::elbow_path(), &[])),
        ("floor", Process::floor(false)),
    ];
    if let Some(other) = contest::other_elbow() {
        servers.push(("elbow-b", other));
    }
    let residents = servers.iter().map(|(name, server)| {
        join(&Setup::plain(server.address, 1), [0].into_iter())
            .unwrap_or_else(|why| say::fail(&format!("{name}: {why}")))
    });
    let _residents: Vec<_> = residents.collect();
    let mut load = Driver::start();
    table(&mut load, &servers);
    if arguments.iter().all(|argument| argument != "ratio") {
        plots(&mut load, &servers);
    }
}

fn table(load: &mut Driver, servers: &[(&str, Process)]) {
    let mut costs = vec![Vec::with_capacity(ROUNDS); servers.len()];
    for round in 0..=ROUNDS {
        for step in 0..servers.len() {
            let at = if round % 2 == 0 { step } else { servers.len() - 1 - step };
            let server = &servers[at].1;
            let before_ns = server.cpu_ns();
            load.handshakes(&Setup::plain(server.address, 0), TURN, TOGETHER);
            sleep(SETTLE);
            if round > 0 {
                costs[at].push((server.cpu_ns() - before_ns) as f64 / TURN as f64);
            }
        }
    }
    let mut text = String::from("handshakes: connect, upgrade, close\n");
    for ((name, _), costs) in servers.iter().zip(&costs) {
        let middle = median(costs.iter().copied());
        let _ = writeln!(text, "  {name:<10}{middle:>8.0} ns CPU/handshake");
    }
    for ((name, _), other) in servers.iter().zip(&costs).skip(1) {
        let quotients = costs[0].iter().zip(other).map(|(one, other)| one / other);
        let _ = writeln!(text, "  elbow / {name:<10}{:.3}", median(quotients));
    }
    say::say(&text);
    contest::leave("accept.txt", &text);
}

/// Two elbows, of which one has keys, and clients that show what they may.
fn tokens() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let [es256, ed25519] = pem_files();
    let files = [("hs256", SECRET), ("es256", es256.as_bytes()), ("ed25519", ed25519.as_bytes())];
    let mut flags = vec!["--token-audience".to_owned(), AUDIENCE.to_owned()];
    flags.extend(["--anonymous".to_owned(), "all".to_owned()]);
    for (kind, bytes) in files {
        let path = folder.join(format!("bench-key-{kind}"));
        fs::write(&path, bytes).unwrap_or_else(|why| say::fail(&format!("{path:?}: {why}")));
        flags.extend(["--token-key".to_owned(), format!("{kind}:{}", path.display())]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let bare = Process::elbow(&contest::elbow_path(), &[]);
    let keyed = Process::elbow(&contest::elbow_path(), &flags);
    let residents = [&bare, &keyed].map(|server| {
        join(&Setup::plain(server.address, 1), [0].into_iter())
            .unwrap_or_else(|why| say::fail(&why))
    });
    let mut load = Driver::start();
    let contests: Vec<(&Process, Shown)> = core::iter::once((&bare, Shown::Nothing))
        .chain(Shown::ALL.map(|shown| (&keyed, shown)))
        .collect();
    let mut costs = vec![Vec::with_capacity(ROUNDS); contests.len()];
    for round in 0..=ROUNDS {
        for step in 0..contests.len() {
            let at = if round % 2 == 0 { step } else { contests.len() - 1 - step };
            let (server, shown) = contests[at];
            let before_ns = server.cpu_ns();
            load.handshakes(&Setup { shown, ..Setup::plain(server.address, 0) }, TURN, TOGETHER);
            sleep(SETTLE);
            if round > 0 {
                costs[at].push((server.cpu_ns() - before_ns) as f64 / TURN as f64);
            }
        }
    }
    drop(residents);
    let mut text = String::from("handshakes that show tokens, against a server without keys\n");
    for (at, (_, shown)) in contests.iter().enumerate() {
        let middle = median(costs[at].iter().copied());
        let quotients = costs[at].iter().zip(&costs[0]).map(|(one, bare)| one / bare);
        let name = if at == 0 { "without keys" } else { shown.name() };
        let ratio = median(quotients);
        let _ = writeln!(text, "  {name:<16}{middle:>8.0} ns CPU/handshake  {ratio:.3}");
    }
    say::say(&text);
    contest::leave("accept-tokens.txt", &text);
}

fn plots(load: &mut Driver, servers: &[(&str, Process)]) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .nresamples(1_000)
        .configure_from_args();
    let mut group = criterion.benchmark_group("accept");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(TOGETHER as u64));
    for (name, server) in servers {
        let setup = Setup::plain(server.address, 0);
        group.bench_function(*name, |bencher| {
            bencher.iter_custom(|count| {
                let count = count as usize * TOGETHER;
                Duration::from_nanos(load.handshakes(&setup, count, TOGETHER))
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
