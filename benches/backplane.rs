//! Several instances with one Redis, beside Socket.IO with its Redis streams adapter.
//!
//! Two servers of each kind share one redis-server by its Unix socket. Four members at each server
//! publish and read. In turns all kinds get the same load; each member's messages are checked for
//! what is missing, doubled or in another order than elsewhere. For elbow anything of that ends the
//! bench; for others it is counted.
//!
//! - `rates`: 100, 1,000 and 10,000 messages a second in all, and how long they take to members at
//!   the other server; beside that what as many wakings take by themselves.
//! - `most`: as many messages a second as come through: of one publisher at each server with 1
//!   outstanding, whose messages share no entry, then of four with 1, 8, 64 and 512 for each. With
//!   many elbow packs a turn's messages into one entry.
//! - `redis`: what Redis holds and works for a message, at 1,000 a second.
//! - `return`: Redis goes for a second and comes back with its data, while 100 messages a second
//!   are said: the time from its first answer to the first message at the other server.
//! - `cores`: deliveries a second of one process alone, of one with Redis, and of two that listen
//!   on one port. On two cores, which servers, Redis and readers share, two cannot be twice one.
//!
//! `cargo bench --bench backplane`, or with the names of some. Needs a redis-server. The adapter
//! takes part if `benches/peers/run` has installed it.

#[expect(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, sleep};
use std::time::Duration;

use support::clock;
use support::contest::{self, Contestant, median};
use support::crossing::{Heard, Room, Tempo};
use support::load::Dialect;
use support::process::{Process, free_address};
use support::redis::{Redis, Used};
use support::{roles, say};

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");
const MEMBERS: usize = 4;
const ROUNDS: usize = 5;

const RATES: [u64; 3] = [100, 1_000, 10_000];
const RATES_LIMIT_MS: u64 = 1_500;

const WINDOWS: [usize; 4] = [1, 8, 64, 512];
const MOST_LIMIT_MS: u64 = 1_000;

/// Longer than what was there before the first message still changes what Redis uses.
const SETTLED_MS: u64 = 1_000;
const USED_MS: u64 = 5_000;

const AWAY: Duration = Duration::from_secs(1);
/// Longer than Redis is away, and than a client waits at most between two attempts.
const RETURN_LIMIT_MS: u64 = 5_500;
const RETURNS: usize = 3;
const RETURN_RATE: u64 = 100;

const CORES_READERS: usize = 1_000;

/// A kind of server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    SocketIo,
    Adapter,
}

/// Two servers and the members of their room.
struct Pair {
    kind: Kind,
    servers: [Process; 2],
    room: Room,
}

/// A turn.
struct Turn {
    heard: Heard,
    redis_cpu_ns: u64,
    entries: u64,
    servers_cpu_ns: u64,
}

fn main() {
    let Some(arguments) = roles::play() else { return };
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|word| word == name);
    let mut text = String::new();
    for name in ["rates", "most", "redis", "return", "cores"] {
        let lines = match name {
            _ if !wanted(name) => continue,
            "rates" => rates(),
            "most" => most(),
            "redis" => redis(),
            "return" => returning(),
            _ => cores(),
        };
        say::say(&lines);
        text += &lines;
    }
    contest::leave("backplane.txt", &text);
}

impl Kind {
    /// The kinds that can be started: the adapter only if its packages are installed.
    fn all() -> Vec<Kind> {
        let adapter = format!("{PEERS}/node_modules/@socket.io/redis-streams-adapter");
        if Path::new(&adapter).exists() {
            return vec![Kind::Plain, Kind::SocketIo, Kind::Adapter];
        }
        say::say("benches/peers/run installs Socket.IO's adapter, which is missing here");
        vec![Kind::Plain, Kind::SocketIo]
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Plain => "elbow",
            Kind::SocketIo => "elbow, Socket.IO",
            Kind::Adapter => "streams adapter",
        }
    }

    fn dialect(self) -> Dialect {
        match self {
            Kind::Plain => Dialect::Plain,
            Kind::SocketIo | Kind::Adapter => Dialect::SocketIo,
        }
    }

    fn start(self, redis: &Redis) -> Process {
        match self {
            Kind::Plain | Kind::SocketIo => elbow(redis, self.name()),
            Kind::Adapter => {
                let address = free_address();
                let mut command = Command::new("node");
                command.arg(format!("{PEERS}/socketio-redis.mjs"));
                command.arg(address.port().to_string()).arg(redis.socket());
                Process::start(command, address)
            }
        }
    }
}

/// An instance in the room `prefix`.
fn elbow(redis: &Redis, prefix: &str) -> Process {
    let url = format!("unix:{}", redis.socket());
    let prefix = prefix.replace([',', ' '], "-");
    let flags = ["--redis", &url, "--redis-prefix", &prefix];
    Process::elbow(&contest::elbow_path(), &flags)
}

impl Pair {
    /// Two servers with `members` members at each.
    fn open(kind: Kind, redis: &Redis, members: usize) -> Pair {
        let servers = [kind.start(redis), kind.start(redis)];
        let addresses = [servers[0].address, servers[1].address];
        let room = Room::open(kind.dialect(), &addresses, members)
            .unwrap_or_else(|why| say::fail(&format!("{}: {why}", kind.name())));
        Pair { kind, servers, room }
    }

    fn turn(&mut self, redis: &Redis, tempo: Tempo, limit_ms: u64) -> Turn {
        let before = (redis.used(), self.cpu_ns());
        let heard = self.room.run(tempo, limit_ms);
        let heard = self.judged(heard);
        let Used { cpu_ns, entries, .. } = redis.used();
        Turn {
            heard,
            redis_cpu_ns: cpu_ns - before.0.cpu_ns,
            entries: entries - before.0.entries,
            servers_cpu_ns: self.cpu_ns() - before.1,
        }
    }

    fn judged(&self, heard: Result<Heard, String>) -> Heard {
        let name = self.kind.name();
        let heard = heard.unwrap_or_else(|why| say::fail(&format!("{name}: {why}")));
        if self.kind != Kind::Adapter && !heard.is_whole() {
            say::fail(&format!("{name}: not everybody has the same: {heard:?}"));
        }
        heard
    }

    fn cpu_ns(&self) -> u64 {
        self.servers.iter().map(Process::cpu_ns).sum()
    }
}

/// All kinds, each of which takes a turn in each round; a short round before them is not counted.
fn rounds(pairs: &mut [Pair], redis: &Redis, tempo: Tempo, limit_ms: u64) -> Vec<Vec<Turn>> {
    let mut turns: Vec<Vec<Turn>> = pairs.iter().map(|_| Vec::new()).collect();
    for round in 0..=ROUNDS {
        for (pair, turns) in pairs.iter_mut().zip(&mut turns) {
            let turn = pair.turn(redis, tempo, if round == 0 { 200 } else { limit_ms });
            if round > 0 {
                turns.push(turn);
            }
        }
    }
    turns
}

fn over(turns: &[Turn], value: impl Fn(&Turn) -> f64) -> f64 {
    median(turns.iter().map(value))
}

/// What was found that should not be.
fn faults(turns: &[Turn]) -> String {
    let sum = |value: fn(&Heard) -> u64| turns.iter().map(|turn| value(&turn.heard)).sum::<u64>();
    let swapped = turns.iter().map(|turn| turn.heard.swapped).fold(0.0, f64::max);
    format!(
        "lost {} doubled {} overtaken {} swapped {:.2} %",
        sum(|heard| heard.lost),
        sum(|heard| heard.doubled),
        sum(|heard| heard.overtaken),
        swapped * 100.0
    )
}

fn rates() -> String {
    let redis = Redis::start();
    let mut pairs: Vec<Pair> =
        Kind::all().into_iter().map(|kind| Pair::open(kind, &redis, MEMBERS)).collect();
    let mut text = format!("Redis {}, {MEMBERS} members at each of two servers\n", redis.version());
    for rate in RATES {
        let _ = writeln!(text, "{rate} messages/s of 100 B, to the other server");
        let [p50, p99] = chain(rate, RATES_LIMIT_MS).map(|ns| ns as f64 / 1e6);
        let _ = writeln!(text, "  {:<18}p50 {p50:>8.3}  p99 {p99:>8.3} ms", "wakings alone");
        let turns = rounds(&mut pairs, &redis, Tempo::Rate(rate), RATES_LIMIT_MS);
        for (pair, turns) in pairs.iter().zip(&turns) {
            let ms = |value: fn(&Heard) -> u64| over(turns, |turn| value(&turn.heard) as f64 / 1e6);
            let _ = writeln!(
                text,
                "  {:<18}p50 {:>8.3}  p99 {:>8.3} ms  (own server p50 {:>8.3}  p99 {:>8.3})  \
                 {:>6.0} messages/s  {}",
                pair.kind.name(),
                ms(|heard| heard.crossed_ns[0]),
                ms(|heard| heard.crossed_ns[1]),
                ms(|heard| heard.stayed_ns[0]),
                ms(|heard| heard.stayed_ns[1]),
                over(turns, |turn| turn.heard.messages_per_s()),
                faults(turns),
            );
        }
    }
    text
}

/// How long a word takes through as many wakings as a message: of a server, Redis, the other server
/// and the member, each a thread that sleeps until the one before has written to its Unix socket.
/// The median and the 99th of 100 words, in ns.
///
/// No server can be faster than that, unless it has not slept since the word before: at some 10,000
/// words a second few sleep.
fn chain(rate: u64, limit_ms: u64) -> [u64; 2] {
    const WAKINGS: usize = 4;
    let words = (rate * limit_ms / 1000).max(100);
    let began_ns = clock::now_ns();
    let mut links = (0..WAKINGS).map(|_| UnixStream::pair().expect("a pair of sockets"));
    let (mut first, mut heard) = links.next().expect("the first of four");
    for (mut next, then) in links {
        let mut from = core::mem::replace(&mut heard, then);
        thread::spawn(move || {
            let mut word = [0; 8];
            while from.read_exact(&mut word).is_ok() && next.write_all(&word).is_ok() {}
        });
    }
    let listener = thread::spawn(move || {
        let mut word = [0; 8];
        let mut took: Vec<u64> = Vec::new();
        while heard.read_exact(&mut word).is_ok() {
            took.push(clock::now_ns() - u64::from_ne_bytes(word));
        }
        took
    });
    for number in 1..=words {
        let due_ns = began_ns + number * 1_000_000_000 / rate;
        sleep(Duration::from_nanos(due_ns.saturating_sub(clock::now_ns())));
        first.write_all(&clock::now_ns().to_ne_bytes()).expect("a word goes on");
    }
    drop(first);
    let mut took = listener.join().expect("the last of the chain");
    assert_eq!(took.len() as u64, words, "no word is lost");
    took.sort_unstable();
    [took[took.len() / 2], took[took.len() * 99 / 100]]
}

fn most() -> String {
    // With one publisher at each server, which waits for each of its messages, none shares an
    // entry.
    most_of(1, &[1]) + &most_of(MEMBERS, &WINDOWS)
}

fn most_of(members: usize, windows: &[usize]) -> String {
    let redis = Redis::start();
    let mut pairs: Vec<Pair> =
        Kind::all().into_iter().map(|kind| Pair::open(kind, &redis, members)).collect();
    let mut text = String::new();
    for &window in windows {
        let publishers = 2 * members;
        let _ = writeln!(text, "{publishers} publishers, each with {window} outstanding, 100 B");
        let turns = rounds(&mut pairs, &redis, Tempo::Window(window), MOST_LIMIT_MS);
        for (pair, turns) in pairs.iter().zip(&turns) {
            let each = |value: fn(&Turn) -> u64| {
                over(turns, |turn| value(turn) as f64 / turn.heard.messages as f64)
            };
            let _ = writeln!(
                text,
                "  {:<18}{:>8.0} messages/s  {:>6.1} messages/entry  µs CPU/message: Redis {:>6.2} \
                 servers {:>7.2}  {}",
                pair.kind.name(),
                over(turns, |turn| turn.heard.messages_per_s()),
                over(turns, |turn| turn.heard.messages as f64 / turn.entries.max(1) as f64),
                each(|turn| turn.redis_cpu_ns) / 1e3,
                each(|turn| turn.servers_cpu_ns) / 1e3,
                faults(turns),
            );
        }
    }
    text
}

fn redis() -> String {
    let mut text = "what Redis needs for a message of 100 B, 1,000/s\n".to_owned();
    for kind in Kind::all() {
        let redis = Redis::start();
        let mut pair = Pair::open(kind, &redis, MEMBERS);
        pair.turn(&redis, Tempo::Rate(1_000), SETTLED_MS);
        let before = redis.used();
        let turn = pair.turn(&redis, Tempo::Rate(1_000), USED_MS);
        let messages = turn.heard.messages as f64;
        let bytes = redis.used().memory_bytes.saturating_sub(before.memory_bytes);
        let _ = writeln!(
            text,
            "  {:<18}{:>6.0} bytes  {:>6.1} µs CPU  {:>5.2} messages/entry",
            kind.name(),
            bytes as f64 / messages,
            turn.redis_cpu_ns as f64 / messages / 1e3,
            messages / turn.entries.max(1) as f64,
        );
    }
    text
}

fn returning() -> String {
    let mut text = format!("Redis away for {AWAY:?}, {RETURN_RATE} messages/s meanwhile\n");
    for kind in Kind::all() {
        let mut waited_ms = Vec::new();
        let mut missing = 0;
        for _ in 0..RETURNS {
            let mut redis = Redis::start();
            let mut pair = Pair::open(kind, &redis, MEMBERS);
            let (first_ms, lost) = one_return(&mut pair, &mut redis);
            waited_ms.push(first_ms);
            missing += lost;
        }
        waited_ms.sort_by(f64::total_cmp);
        let _ = writeln!(
            text,
            "  {:<18}first message after {:.0} ms ({:.0} to {:.0}), lost {missing}",
            kind.name(),
            median(waited_ms.iter().copied()),
            waited_ms[0],
            waited_ms[RETURNS - 1],
        );
    }
    text
}

/// Milliseconds from Redis' first answer to the first message that crosses, and how many deliveries
/// never came. `NaN` if nothing crossed any more.
fn one_return(pair: &mut Pair, redis: &mut Redis) -> (f64, u64) {
    let back_ns = AtomicU64::new(u64::MAX);
    let (going_on, is_over) = channel::<()>();
    let heard = thread::scope(|scope| {
        let (back_ns, redis) = (&back_ns, &mut *redis);
        scope.spawn(move || {
            sleep(AWAY / 2);
            redis.leave();
            sleep(AWAY);
            back_ns.store(redis.come_back(), Ordering::Release);
            // What was started is bound to the thread that did so, by the kernel: this one has to
            // stay until the other end of the channel is dropped.
            let _ = is_over.recv();
        });
        let mut since_ns = || back_ns.load(Ordering::Acquire);
        let heard = pair.room.run_beside(Tempo::Rate(RETURN_RATE), RETURN_LIMIT_MS, &mut since_ns);
        drop(going_on);
        heard
    });
    let heard = pair.judged(heard);
    if heard.first_crossed_ns == 0 {
        return (f64::NAN, heard.lost);
    }
    let waited_ns = heard.first_crossed_ns.saturating_sub(back_ns.load(Ordering::Acquire));
    (waited_ns as f64 / 1e6, heard.lost)
}

fn cores() -> String {
    let redis = Redis::start();
    let alone = Process::elbow(&contest::elbow_path(), &[]);
    let one = elbow(&redis, "one");
    let address = free_address();
    let two = share_port(&redis, address).before(share_port(&redis, address));
    let mut all = [
        Contestant::new("one process, no Redis", alone, CORES_READERS),
        Contestant::new("one process", one, CORES_READERS),
        Contestant::new("two processes, one port", two, CORES_READERS),
    ];
    let mut text = String::new();
    for window in [1, 32] {
        let _ = writeln!(text, "{CORES_READERS} readers, 64 B, {window} outstanding");
        let case = contest::Case { readers: CORES_READERS, bytes: 64, window };
        let turns = contest::rounds(&mut all, case, ROUNDS, MOST_LIMIT_MS);
        for (contestant, turns) in all.iter().zip(&turns) {
            let _ = writeln!(
                text,
                "  {:<26}{:>9.0} deliveries/s  {:>6.0} ns CPU of servers/delivery  {:>6.0} ns of \
                 the load's",
                contestant.name,
                median(turns.iter().map(contest::Turn::deliveries_per_s)),
                median(turns.iter().map(contest::Turn::cpu_per_delivery_ns)),
                median(turns.iter().map(|turn| {
                    turn.load_cpu_ns as f64 / turn.outcome.deliveries.max(1) as f64
                })),
            );
        }
    }
    text
}

/// An instance that shares its port with others. Whether it is ready is asked at a port of its own.
fn share_port(redis: &Redis, address: SocketAddr) -> Process {
    let health = free_address();
    let (port, health_flag) = (address.port().to_string(), health.to_string());
    let url = format!("unix:{}", redis.socket());
    let path = contest::elbow_path().display().to_string();
    let words = [&port, &path, "--log-level", "error", "--health-listen", &health_flag];
    let words = [&words[..], &["--redis", &url, "--redis-prefix", "two"]].concat();
    let mut process = Process::start(roles::again("share-port", &words), health);
    process.address = address;
    process
}
