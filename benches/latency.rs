//! How long one waits: strangers while 10,000 readers are served, readers at a steady rate, and
//! everybody else while some do not read.
//!
//! - `strangers`: a window of 32 messages keeps the server busy with 10,000 readers. Every 5 ms
//!   somebody connects and asks for `/healthz`, somebody else for a WebSocket. At the same time the
//!   same is asked of an idle elbow: what that takes is the machine's share.
//! - `pings`: the same window of messages, while members of another channel say nothing but answer
//!   their pings: how early and how late those come.
//! - `rates`: 1,000 readers × 100 messages a second, and 5,000 × 20.
//! - `stopped`: 60 readers of whom 10 read no more.
//! - `offered`: from 1 to 10,000 messages a second at 1,000 readers, as a table and as two charts.
//!
//! `cargo bench --bench latency`, or `cargo bench --bench latency -- strangers …`. Nothing here is
//! asserted but that everybody got every message, and that each who stopped was closed.

#[expect(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use std::fmt::Write as _;
use std::thread::sleep;
use std::time::Duration;

use support::chart::{Chart, Series};
use support::contest::{self, Contestant, Turn, contestants, median};
use support::histogram::quantiles;
use support::load::{Pace, Run};
use support::pinged;
use support::probe::{self, Ask};
use support::process::Process;
use support::{roles, say};

/// How often each kind of stranger comes.
const STRANGER_INTERVAL: Duration = Duration::from_millis(5);
const STRANGERS_READERS: usize = 10_000;
const STRANGERS_LENGTH: Duration = Duration::from_secs(8);

/// Readers and messages a second.
const RATES: [(usize, u32); 2] = [(1_000, 100), (5_000, 20)];
/// Rounds in which the servers take turns, so that a moment's disturbance is no one's alone.
const RATES_ROUNDS: usize = 7;
const RATES_LIMIT_MS: u64 = 1_000;

const PINGED: usize = 200;
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PINGS_LENGTH: Duration = Duration::from_secs(16);

const CLOSED_WITHIN: Duration = Duration::from_secs(8);

const OFFERED: [u32; 9] = [1, 10, 30, 100, 300, 1_000, 2_000, 5_000, 10_000];
const OFFERED_READERS: usize = 1_000;
const OFFERED_LIMIT_MS: u64 = 2_000;
/// More than this the bare loop cannot send, and would queue for minutes.
const OFFERED_FLOOR_MAX: u32 = 100;

fn main() {
    let Some(arguments) = roles::play() else { return };
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|word| word == name);
    let mut text = String::new();
    for name in ["strangers", "pings", "rates", "stopped", "offered"] {
        let lines = match name {
            _ if !wanted(name) => continue,
            "strangers" => strangers(),
            "pings" => pings(),
            "rates" => rates(),
            "stopped" => stopped(),
            _ => offered(),
        };
        say::say(&lines);
        text += &lines;
    }
    contest::leave("latency.txt", &text);
}

fn strangers() -> String {
    let mut text = format!("strangers while {STRANGERS_READERS} readers are served\n");
    for mut contestant in contestants(STRANGERS_READERS) {
        let limit_ms = STRANGERS_LENGTH.as_millis() as u64 + 1_000;
        let pace = Pace::Window(32);
        let idle = Process::elbow(&contest::elbow_path(), &[]);
        contestant.load.begin(Run { bytes: 64, pace, messages_max: u64::MAX, limit_ms, nap_us: 0 });
        sleep(Duration::from_millis(500));
        let ask = |address, ask| probe::start(address, ask, STRANGER_INTERVAL, STRANGERS_LENGTH);
        let busy = contestant.server.address;
        let asked = [
            ("/healthz", ask(busy, Ask::Health)),
            ("WebSocket", ask(busy, Ask::Upgrade)),
            ("(idle elbow) /healthz", ask(idle.address, Ask::Health)),
            ("(idle elbow) WebSocket", ask(idle.address, Ask::Upgrade)),
        ];
        for (what, waited) in asked {
            let waited = waited.join().unwrap_or_else(|_| say::fail("a probe has failed"));
            let _ = writeln!(text, "  {:<16}{what:<24}{}", contestant.name, quantiles(&waited));
        }
        let outcome = contestant.load.end();
        let per_s = outcome.deliveries as f64 * 1e9 / outcome.elapsed_ns as f64;
        let _ = writeln!(text, "  {:<16}{per_s:.0} deliveries/s meanwhile", contestant.name);
    }
    text
}

fn pings() -> String {
    let mut text = format!(
        "pings of {PINGED} silent members each {PING_INTERVAL:?} while {STRANGERS_READERS} readers \
         are served\n"
    );
    let flags = ["--ping-interval", "5s", "--ping-timeout", "5s"];
    let server = Process::elbow(&contest::elbow_path(), &flags);
    let mut contestant = Contestant::new("elbow", server, STRANGERS_READERS);
    let limit_ms = PINGS_LENGTH.as_millis() as u64 + 1_000;
    let pace = Pace::Window(32);
    let pinged = pinged::start(contestant.server.address, PINGED, PING_INTERVAL, PINGS_LENGTH);
    let turn =
        contestant.turn(Run { bytes: 64, pace, messages_max: u64::MAX, limit_ms, nap_us: 0 });
    let deviation = pinged.join().unwrap_or_else(|_| say::fail("the pinged have failed"));
    let _ = writeln!(text, "  late    {}", quantiles(&deviation.late));
    let _ = writeln!(text, "  early   {}", quantiles(&deviation.early));
    let _ = writeln!(text, "  {:.0} deliveries/s meanwhile", turn.deliveries_per_s());
    text
}

fn rates() -> String {
    let mut text = String::new();
    for (readers, rate) in RATES {
        let _ = writeln!(text, "{readers} readers, {rate} messages/s of 64 B");
        let mut all = contestants(readers);
        let mut turns = vec![Vec::new(); all.len()];
        for _ in 0..RATES_ROUNDS {
            for (contestant, turns) in all.iter_mut().zip(&mut turns) {
                turns.push(contestant.turn(steady(64, rate, RATES_LIMIT_MS)));
            }
        }
        for (contestant, turns) in all.iter().zip(&turns) {
            let _ = writeln!(text, "  {:<16}{}", contestant.name, summary(turns));
        }
    }
    text
}

fn steady(bytes: usize, rate: u32, limit_ms: u64) -> Run {
    Run { bytes, pace: Pace::Rate(rate), messages_max: u64::MAX, limit_ms, nap_us: 0 }
}

/// The middle of several turns.
fn summary(turns: &[Turn]) -> String {
    let over = |value: fn(&Turn) -> f64| median(turns.iter().map(value));
    format!(
        "p50 {:>9.3}  p99 {:>9.3}  p99.9 {:>9.3} ms  {:>7.0} ns CPU/delivery  \
         {:>5.1} messages/read",
        over(|turn| turn.outcome.latency_ns[0] as f64 / 1e6),
        over(|turn| turn.outcome.latency_ns[1] as f64 / 1e6),
        over(|turn| turn.outcome.latency_ns[2] as f64 / 1e6),
        over(Turn::cpu_per_delivery_ns),
        over(|turn| turn.outcome.deliveries as f64 / turn.outcome.reads as f64),
    )
}

fn stopped() -> String {
    const READERS: usize = 60;
    const STOPPED: usize = 10;
    let mut text =
        format!("{STOPPED} of {READERS} readers stop reading; 2,000 messages/s of 1 KiB\n");
    let elbow = Process::elbow(&contest::elbow_path(), &[]);
    for (name, server) in [("elbow", elbow), ("floor", Process::floor(false))] {
        let mut contestant = Contestant::new(name, server, READERS);
        let run = steady(1024, 2_000, 3_000);
        for what in ["all read", "some stopped"] {
            if what == "some stopped" {
                contestant.load.stop(STOPPED);
            }
            let before_bytes = contestant.server.resident_bytes();
            let turn = contestant.turn(run);
            let grown_kib = contestant.server.resident_bytes().saturating_sub(before_bytes) / 1024;
            let _ = writeln!(
                text,
                "  {name:<8}{what:<14}{}  grown by {grown_kib} KiB",
                summary(&[turn])
            );
        }
        // One that was told so on a boundary has until its close deadline, and lingers.
        sleep(CLOSED_WITHIN);
        let closed = contestant.load.stopped_and_closed();
        let _ = writeln!(text, "  {name:<8}closed by the server: {closed} of {STOPPED}");
        if name == "elbow" && closed != STOPPED {
            say::fail("not each reader that stopped was closed");
        }
    }
    text
}

fn offered() -> String {
    let mut text = format!("offered load at {OFFERED_READERS} readers, 64 B\n");
    let mut throughput = Vec::new();
    let mut latency = Vec::new();
    for mut contestant in contestants(OFFERED_READERS) {
        let name = contestant.name;
        let mut lines: [Vec<(f64, f64)>; 3] = Default::default();
        for rate in OFFERED {
            if name == "floor" && rate > OFFERED_FLOOR_MAX {
                continue;
            }
            let turn = contestant.turn(steady(64, rate, OFFERED_LIMIT_MS));
            let _ = writeln!(text, "  {name:<16}{rate:>6} messages/s  {}", summary(&[turn]));
            let x = f64::from(rate);
            lines[0].push((x, 1e9 / turn.cpu_per_delivery_ns()));
            lines[1].push((x, turn.outcome.latency_ns[0] as f64 / 1e6));
            lines[2].push((x, turn.outcome.latency_ns[1] as f64 / 1e6));
        }
        let [per_cpu_s, p50, p99] = lines;
        let series = |points, dashed| Series { name: name.to_owned(), points, dashed };
        throughput.push(series(per_cpu_s, false));
        latency.push(series(p50, false));
        latency.push(series(p99, true));
    }
    let chart = |title, up, series: &[Series]| {
        Chart { title, across: "messages offered per second", up, series }.svg()
    };
    let title = "Deliveries per CPU second, 1,000 readers";
    contest::leave("offered-throughput.svg", &chart(title, "deliveries", &throughput));
    let title = "Latency of a delivery (dashed: p99), 1,000 readers";
    contest::leave("offered-latency.svg", &chart(title, "ms", &latency));
    text
}
