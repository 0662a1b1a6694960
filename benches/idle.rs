//! What it costs to be connected: 19,000 WebSockets that say nothing.
//!
//! elbow runs with its defaults, so each is pinged every 25 seconds and answers. Reported are
//! resident memory and CPU time per connection, the memory at start, and what a joining connection
//! costs. `cargo bench --bench idle` waits for 20 seconds, `-- 300` for five minutes.

#[expect(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use std::fmt::Write as _;

use support::contest;
use support::load::{Driver, Pace, Run, Setup};
use support::process::Process;
use support::{roles, say};

/// What 20,000 descriptors have room for.
const CONNECTIONS: usize = 19_000;
const SECONDS: u64 = 20;

fn main() {
    let Some(arguments) = roles::play() else { return };
    let seconds = match arguments.first().map(|word| word.parse::<u64>()) {
        None => SECONDS,
        Some(Ok(seconds)) => seconds,
        Some(Err(_)) => say::fail("idle SECONDS"),
    };
    let mut text = format!("{CONNECTIONS} connections, idle for {seconds} s\n");
    let elbow = Process::elbow(&contest::elbow_path(), &[]);
    for (name, server) in [("elbow", elbow), ("floor", Process::floor(false))] {
        text += &idle(name, &server, seconds);
    }
    say::say(&text);
    contest::leave("idle.txt", &text);
}

fn idle(name: &str, server: &Process, seconds: u64) -> String {
    let each = |total: u64| total as f64 / CONNECTIONS as f64;
    let mut text = String::new();
    let start_bytes = server.resident_bytes();
    let start_ns = server.cpu_ns();
    let mut load = Driver::start();
    load.open(&Setup::plain(server.address, CONNECTIONS));
    let joined_ns = server.cpu_ns();
    let joined_bytes = server.resident_bytes();
    let pace = Pace::Silence;
    load.run(Run { bytes: 64, pace, messages_max: u64::MAX, limit_ms: seconds * 1_000, nap_us: 0 });
    let idle_ns = server.cpu_ns() - joined_ns;
    let idle_bytes = server.resident_bytes();
    let _ = writeln!(text, "  {name}: {} KiB resident at start", start_bytes / 1024);
    let _ = writeln!(
        text,
        "  {name}: {:.0} bytes resident per connection when all had joined, {:.0} at the end",
        each(joined_bytes - start_bytes),
        each(idle_bytes - start_bytes)
    );
    let _ = writeln!(
        text,
        "  {name}: {:.1} µs CPU to join, {:.3} µs CPU per connection and second idle, \
         {:.3} % of a core in all",
        each(joined_ns - start_ns) / 1e3,
        each(idle_ns) / seconds as f64 / 1e3,
        idle_ns as f64 / 1e7 / seconds as f64
    );
    text
}
