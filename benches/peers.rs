//! elbow beside other servers, for the record: what `benches/peers/run` starts.
//!
//! Each is a broadcast server as its own documentation would write it, without compression and
//! without a log. One after the other they get the same load from the same generator, which checks
//! that every reader gets every message once and in one order. The Socket.IO servers stand behind
//! nginx, which takes the PROXY header from them and says who came in a field: the stack that elbow
//! replaces, measured as a whole. What comes out is a table in `docs/BENCHMARKS.md` and
//! `docs/peers.svg`.
//!
//! Without the argument that `benches/peers/run` gives, nothing is measured.

#[expect(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use support::chart::{self, Bars, short};
use support::contest::{self, Contestant, Turn, median};
use support::load::{Dialect, Driver, Pace, Run, Setup};
use support::probe::{self, Ask};
use support::process::{Process, free_address};
use support::{roles, say};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
const BEGIN: &str = "<!-- what benches/peers/run measured -->\n";
const END: &str = "<!-- until here -->\n";

/// Rounds in which all take a turn, and the length of one.
const ROUNDS: usize = 5;
const TURN_MS: u64 = 300;
const STEADY_MS: u64 = 1_500;
const CROWD: usize = 10_000;
const STRANGER_INTERVAL: Duration = Duration::from_millis(10);
const STRANGERS_LENGTH: Duration = Duration::from_secs(5);

/// A server that can be started.
struct Peer {
    name: &'static str,
    version: String,
    dialect: Dialect,
    /// Clients, or the balancer, send a PROXY header.
    proxied: bool,
    start: fn(tokio: &str) -> Process,
}

/// What is measured of each, in the order of the table's lines.
const QUANTITIES: [&str; 10] = [
    "µs CPU per delivery, 1 outstanding",
    "µs CPU per delivery, 32 outstanding",
    "thousand deliveries/s, 32 outstanding",
    "ms p50, 1,000 × 100/s",
    "ms p99, 1,000 × 100/s",
    "ms p50, 5,000 × 20/s",
    "ms p99, 5,000 × 20/s",
    "ms p99 of a stranger's WebSocket, 10,000 served",
    "… of an idle elbow's meanwhile",
    "bytes resident per idle connection",
];

fn main() {
    let Some(arguments) = roles::play() else { return };
    let [tokio] = &arguments[..] else {
        say::say("benches/peers/run installs the servers that this compares, and runs it");
        return;
    };
    let plain = measure(&plain_peers(), tokio);
    let socketio = measure(&socketio_peers(), tokio);
    write_down(&plain, &socketio);
}

fn plain_peers() -> Vec<Peer> {
    let node = version_of("node", &["--version"]);
    let lock = include_str!("peers/tokio/Cargo.lock");
    let tungstenite = between(lock, "name = \"tokio-tungstenite\"\nversion = \"", "\"");
    let peer = |name, version, start| Peer {
        name,
        version,
        dialect: Dialect::Plain,
        proxied: false,
        start,
    };
    vec![
        peer("elbow", env!("CARGO_PKG_VERSION").to_owned(), |_| elbow(&[])),
        peer("floor-coalesce", String::new(), |_| Process::floor(true)),
        peer("Bun (uWebSockets)", version_of(&bun(), &["--version"]), |_| {
            script(&bun(), "bun.mjs")
        }),
        peer("tokio-tungstenite", tungstenite, tokio_peer),
        peer("ws", format!("{} on Node {node}", package("ws")), |_| script("node", "ws.mjs")),
    ]
}

fn socketio_peers() -> Vec<Peer> {
    let node = version_of("node", &["--version"]);
    let socketio = format!("{} on Node {node}", package("socket.io"));
    let peer = |name, version, proxied, start| Peer {
        name,
        version,
        dialect: Dialect::SocketIo,
        proxied,
        start,
    };
    vec![
        peer("elbow, Socket.IO", env!("CARGO_PKG_VERSION").to_owned(), true, |_| {
            elbow(&["--proxy-protocol", "required"])
        }),
        peer("Socket.IO", socketio.clone(), false, |_| script("node", "socketio.mjs")),
        peer("nginx + Socket.IO", socketio, true, |_| nginx(script("node", "socketio.mjs"))),
    ]
}

fn elbow(more: &[&str]) -> Process {
    Process::elbow(&contest::elbow_path(), more)
}

fn bun() -> String {
    format!("{FOLDER}/node_modules/@oven/bun-linux-x64/bin/bun")
}

fn script(program: &str, name: &str) -> Process {
    let address = free_address();
    let mut command = Command::new(program);
    command.arg(format!("{FOLDER}/{name}")).arg(address.port().to_string());
    Process::start(command, address)
}

fn tokio_peer(binary: &str) -> Process {
    let address = free_address();
    let mut command = Command::new(binary);
    command.arg(address.port().to_string());
    Process::start(command, address)
}

/// nginx as a reverse proxy that takes a PROXY header; one process, as many connections as it may.
fn nginx(server: Process) -> Process {
    let address = free_address();
    let folder = std::env::temp_dir().join(format!("elbow-peers-{}", address.port()));
    let text = fs::read_to_string(format!("{FOLDER}/nginx.conf"))
        .unwrap_or_else(|error| say::fail(&format!("nginx.conf: {error}")))
        .replace("@LISTEN@", &address.to_string())
        .replace("@SERVER@", &server.address.to_string());
    let written = fs::create_dir_all(&folder);
    written
        .and_then(|()| fs::write(folder.join("nginx.conf"), text))
        .unwrap_or_else(|error| say::fail(&format!("{}: {error}", folder.display())));
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&folder).args(["-c", "nginx.conf"]);
    Process::start(command, address).before(server)
}

/// What a program says of itself, its last word.
fn version_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| say::fail(&format!("{program}: {error}")));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.split_whitespace().last().unwrap_or("unknown").trim_start_matches('v').to_owned()
}

/// The version of an installed npm package.
fn package(name: &str) -> String {
    let text = fs::read_to_string(format!("{FOLDER}/node_modules/{name}/package.json"));
    let text = text.unwrap_or_else(|error| say::fail(&format!("{name}: {error}")));
    between(&text, "\"version\": \"", "\"")
}

fn between(text: &str, begin: &str, end: &str) -> String {
    let rest = text.split_once(begin).map(|(_, rest)| rest);
    let found = rest.and_then(|rest| rest.split_once(end)).map(|(found, _)| found);
    found.unwrap_or("unknown").to_owned()
}

/// The measured figures of a peer, one for each quantity; `NaN` where there is none.
struct Row {
    name: &'static str,
    version: String,
    figures: [f64; QUANTITIES.len()],
}

fn measure(peers: &[Peer], tokio: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = peers
        .iter()
        .map(|peer| Row {
            name: peer.name,
            version: peer.version.clone(),
            figures: [f64::NAN; QUANTITIES.len()],
        })
        .collect();
    windows(peers, tokio, &mut rows);
    for (first, readers, rate) in [(3, 1_000, 100), (5, 5_000, 20)] {
        steady(peers, tokio, &mut rows, (first, readers, rate));
    }
    for (peer, row) in peers.iter().zip(&mut rows) {
        crowd(peer, tokio, row);
    }
    rows
}

fn join(peer: &Peer, tokio: &str, readers: usize) -> Contestant {
    let server = (peer.start)(tokio);
    let mut load = Driver::start();
    let plain = Setup::plain(server.address, readers);
    load.open(&Setup { dialect: peer.dialect, proxied: peer.proxied, ..plain });
    Contestant { name: peer.name, server, load }
}

/// The first three quantities: all take turns.
fn windows(peers: &[Peer], tokio: &str, rows: &mut [Row]) {
    let mut all: Vec<Contestant> = peers.iter().map(|peer| join(peer, tokio, 1_000)).collect();
    for (first, window) in [(0, 1), (1, 32)] {
        let case = contest::Case { readers: 1_000, bytes: 64, window };
        let turns = contest::rounds(&mut all, case, ROUNDS, TURN_MS);
        for (row, turns) in rows.iter_mut().zip(&turns) {
            let cpu = median(turns.iter().map(|turn| turn.cpu_per_delivery_ns() / 1e3));
            row.figures[first] = cpu;
            if window > 1 {
                row.figures[2] = median(turns.iter().map(|turn| turn.deliveries_per_s() / 1e3));
            }
            say::say(&format!("{}: {cpu:.2} µs CPU/delivery, {window} outstanding", row.name));
        }
    }
}

/// Two quantities: the quantiles of a steady rate; all take turns.
fn steady(
    peers: &[Peer],
    tokio: &str,
    rows: &mut [Row],
    (first, readers, rate): (usize, usize, u32),
) {
    let mut all: Vec<Contestant> = peers.iter().map(|peer| join(peer, tokio, readers)).collect();
    let (pace, messages_max) = (Pace::Rate(rate), u64::MAX);
    let run = Run { bytes: 64, pace, messages_max, limit_ms: STEADY_MS, nap_us: 0 };
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); all.len()];
    for _ in 0..ROUNDS {
        for (contestant, turns) in all.iter_mut().zip(&mut turns) {
            turns.push(contestant.turn(run));
        }
    }
    for (row, turns) in rows.iter_mut().zip(&turns) {
        for at in [0, 1] {
            let latency = turns.iter().map(|turn| turn.outcome.latency_ns[at] as f64 / 1e6);
            row.figures[first + at] = median(latency);
        }
        let p50 = row.figures[first];
        say::say(&format!("{}: {readers} × {rate}/s: p50 {p50:.1} ms", row.name));
    }
}

/// The last quantities: many readers, idle and then busy. Socket.IO's greeting would make
/// thousands of millions of messages of so many joins, so there are fewer.
fn crowd(peer: &Peer, tokio: &str, row: &mut Row) {
    let readers = if peer.dialect == Dialect::Plain { CROWD } else { CROWD / 10 };
    let server = (peer.start)(tokio);
    let start_bytes = server.resident_bytes();
    let mut load = Driver::start();
    let plain = Setup::plain(server.address, readers);
    load.open(&Setup { dialect: peer.dialect, proxied: peer.proxied, ..plain });
    sleep(Duration::from_secs(1));
    row.figures[9] = (server.resident_bytes() - start_bytes) as f64 / readers as f64;
    if peer.dialect == Dialect::Plain {
        let idle = elbow(&[]);
        let limit_ms = STRANGERS_LENGTH.as_millis() as u64 + 500;
        let (pace, messages_max) = (Pace::Window(32), u64::MAX);
        load.begin(Run { bytes: 64, pace, messages_max, limit_ms, nap_us: 0 });
        sleep(Duration::from_millis(500));
        let probes = [server.address, idle.address].map(|address| {
            probe::start(address, Ask::Upgrade, STRANGER_INTERVAL, STRANGERS_LENGTH)
        });
        for (figure, probe) in row.figures[7..9].iter_mut().zip(probes) {
            let waited = probe.join().unwrap_or_else(|_| say::fail("the probe has failed"));
            *figure = waited.quantile(0.99) as f64 / 1e6;
        }
        load.end();
    }
    let [.., stranger, idle, bytes] = row.figures;
    let name = peer.name;
    say::say(&format!("{name}: stranger p99 {stranger:.1} ms ({idle:.1}), {bytes:.0} B idle"));
}

/// Puts table and chart into `docs/`.
fn write_down(plain: &[Row], socketio: &[Row]) {
    let mut text = String::from("\n");
    let _ = writeln!(
        text,
        "{}, {} cores, Linux {}; {}. 64 B, 1,000 readers where nothing else is said; all on \
         loopback. nginx {}.\n",
        machine(),
        std::thread::available_parallelism().map_or(0, usize::from),
        version_of("uname", &["-r"]),
        version_of("date", &["-u", "+%F"]),
        version_of("nginx", &["-v"]).replace("nginx/", ""),
    );
    for rows in [plain, socketio] {
        let names = rows.iter().map(|row| format!("{} {}", row.name, row.version));
        let _ = writeln!(text, "| |{}|", names.collect::<Vec<_>>().join("|"));
        let _ = writeln!(text, "|---|{}", "--:|".repeat(rows.len()));
        for (at, quantity) in QUANTITIES.iter().enumerate() {
            let figures = rows.iter().map(|row| row.figures[at]);
            if figures.clone().all(f64::is_nan) {
                continue;
            }
            let cells: Vec<String> = figures.map(short).collect();
            let _ = writeln!(text, "|{quantity}|{}|", cells.join("|"));
        }
        text += "\n";
    }
    say::say(&text);
    let path = format!("{DOCS}/BENCHMARKS.md");
    let page = fs::read_to_string(&path).unwrap_or_else(|error| say::fail(&format!("{error}")));
    let (Some(begin), Some(end)) = (page.find(BEGIN), page.find(END)) else {
        say::fail("docs/BENCHMARKS.md has lost its marks");
    };
    let page = [&page[..begin + BEGIN.len()], &text, &page[end..]].concat();
    let group = |title, rows: &[Row], at: usize| Bars {
        title,
        bars: rows.iter().map(|row| (row.name.to_owned(), row.figures[at])).collect(),
    };
    let svg = chart::bars(&[
        group("µs CPU per delivery, one message outstanding", plain, 0),
        group("µs CPU per delivery, 32 outstanding", plain, 1),
        group("ms p50 at 5,000 readers × 20 messages/s", plain, 5),
        group("ms until a stranger has a WebSocket while 10,000 are served, p99", plain, 7),
        group("bytes resident per idle WebSocket", plain, 9),
        group("Socket.IO: µs CPU per delivery, one message outstanding", socketio, 0),
        group("Socket.IO: µs CPU per delivery, 32 outstanding", socketio, 1),
    ]);
    fs::write(&path, page)
        .and_then(|()| fs::write(format!("{DOCS}/peers.svg"), svg))
        .unwrap_or_else(|error| say::fail(&format!("docs: {error}")));
}

fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown processor").to_owned()
}
