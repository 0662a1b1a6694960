//! Tests of what is told of a snapshot: every number once, and under its own name.
//!
//! Goal: no counter is told as another, twice, or not at all.
//!
//! Method: a snapshot of which no two numbers are equal is written down as metrics and as status,
//! and all that they say is compared with a list of what each name has to say. The snapshot is made
//! field by field, so that whoever adds a number has to decide under which name it is told.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde_json::Value;

use super::prometheus::{self, Format};
use super::{
    Backplane, By, ChannelView, Codes, Command, Connections, Histogram, Lags, Memory, Metrics,
    ProbeShape, Process, Refusal, Snapshot, Surroundings, Unsaid, status,
};
use crate::limits::{History, Limits};
use crate::reason::CloseReason;
use crate::time::Duration;
use crate::wire::token::Fault;

/// What is said under each name.
type Told = BTreeMap<String, u64>;

/// Numbers of which no two are equal.
struct Numbers(u64);

impl Numbers {
    fn one(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    fn some<const COUNT: usize>(&mut self) -> [u64; COUNT] {
        core::array::from_fn(|_| self.one())
    }
}

/// A histogram of so many times.
fn times(count: u64) -> Histogram {
    let mut times = Histogram::default();
    (0..count).for_each(|_| times.record(100));
    times
}

/// How far so many readers are behind: some caught up, one by so many bytes.
fn lags(count: u64, max_bytes: u64) -> Lags {
    let mut lags = Lags::default();
    lags.record(max_bytes);
    (1..count).for_each(|_| lags.record(0));
    lags
}

fn limits() -> Limits {
    Limits {
        connections_max: 100,
        connections_per_ip_max: Some(50),
        admin_connections_max: 7,
        channels_max: 30,
        message_bytes_max: 256,
        feed_bytes: 1024,
        memory_bytes: 1 << 30,
        send_buffer_bytes: 4096,
        receive_buffer_bytes: 4096,
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        drain: Duration::from_secs(5),
        history: Some(History { messages_max: 9, age: Duration::from_secs(60) }),
        shared: true,
        message_rate: None,
        lifetime: None,
    }
}

fn metrics(numbers: &mut Numbers) -> Metrics {
    let mut requests = Codes::default();
    (0..11).for_each(|_| requests.count(200));
    (0..12).for_each(|_| requests.count(404));
    Metrics {
        connections_accepted: numbers.one(),
        sessions_opened: numbers.one(),
        requests,
        probes: numbers.some(),
        probes_failed: numbers.one(),
        probes_of_balancers: numbers.one(),
        proxy_headers: [numbers.some(), numbers.some()],
        published: numbers.some(),
        unsaid: numbers.some(),
        messages_delivered: numbers.one(),
        received_bytes: numbers.one(),
        sent_bytes: numbers.one(),
        readers_lapped: numbers.one(),
        pings: numbers.one(),
        publishers_paused: numbers.one(),
        speakers_held_back: numbers.one(),
        greetings_dropped: numbers.one(),
        greetings_sent: numbers.one(),
        replays: numbers.some(),
        // Told as the backplane's, which has them from here.
        gaps: numbers.one(),
        refused: numbers.some(),
        tokens_refused: numbers.some(),
        closed: numbers.some(),
        turns: times(21),
        fan_outs: times(22),
        pongs: times(23),
        silences: times(24),
    }
}

fn snapshot() -> Snapshot {
    let numbers = &mut Numbers(1_000_000);
    let channel = ChannelView {
        name: "c".to_owned(),
        members: numbers.some(),
        position: "e.1".to_owned(),
        kept: numbers.one(),
        lags: lags(3, 333),
    };
    let [websocket, socketio, sse, http] = numbers.some();
    let [rings, buffers, sessions, tables, free] = numbers.some();
    let [resident_bytes, cpu_us, descriptors, descriptors_max] = numbers.some();
    let [pending_bytes, resent, gaps] = numbers.some();
    let round_trips = times(25);
    Snapshot {
        uptime: Duration::from_secs(5),
        started_unix_s: numbers.one(),
        unix_s: numbers.one(),
        metrics: metrics(numbers),
        before: Metrics::default(),
        limits: limits(),
        connections: Connections { websocket, socketio, sse, http },
        channels: numbers.one(),
        members: numbers.some(),
        feed_bytes: numbers.one(),
        lags: lags(26, 777),
        memory: Memory { rings, buffers, sessions, tables, free },
        members_of_one_address: numbers.one(),
        is_one_address_private: false,
        largest: vec![channel],
        backplane: Some(Backplane { is_connected: true, round_trips, pending_bytes, resent, gaps }),
        process: Some(Process { resident_bytes, cpu_us, descriptors, descriptors_max }),
    }
}

fn reason(reason: CloseReason) -> String {
    reason.text().replace(' ', "_")
}

/// Notes what names with each of these labels say.
fn by<'a, T: Copy>(
    told: &mut Told,
    (begin, end): (&str, &str),
    all: impl IntoIterator<Item = T>,
    name: impl Fn(T) -> &'a str,
    value: impl Fn(T) -> u64,
) {
    told.extend(all.into_iter().map(|one| (format!("{begin}{}{end}", name(one)), value(one))));
}

/// What names say that have no label.
fn plain(snapshot: &Snapshot) -> Told {
    let Metrics { connections_accepted, messages_delivered, .. } = snapshot.metrics;
    let Metrics { received_bytes, sent_bytes, readers_lapped, pings, .. } = snapshot.metrics;
    let Metrics { publishers_paused, speakers_held_back, .. } = snapshot.metrics;
    let (process, backplane) = (snapshot.process.expect("one"), snapshot.backplane.as_ref());
    let backplane = backplane.expect("one");
    let ceiling = snapshot.limits.ceiling();
    let names = [
        ("elbow_start_time_seconds", snapshot.started_unix_s),
        ("process_resident_memory_bytes", process.resident_bytes),
        ("process_open_fds", process.descriptors),
        ("process_max_fds", process.descriptors_max),
        ("elbow_connections_accepted_total", connections_accepted),
        ("elbow_received_bytes_total", received_bytes),
        ("elbow_sent_bytes_total", sent_bytes),
        ("elbow_channels", snapshot.channels),
        ("elbow_messages_delivered_total", messages_delivered),
        ("elbow_feed_bytes", snapshot.feed_bytes),
        ("elbow_readers_lapped_total", readers_lapped),
        ("elbow_publishers_paused_total", publishers_paused),
        ("elbow_speakers_held_back_total", speakers_held_back),
        ("elbow_pings_sent_total", pings),
        ("elbow_lag_bytes_sum", 777),
        ("elbow_lag_bytes_count", 26),
        ("elbow_turn_seconds_count", 21),
        ("elbow_fan_out_seconds_count", 22),
        ("elbow_pong_seconds_count", 23),
        ("elbow_backplane_round_trip_seconds_count", 25),
        ("elbow_memory_ceiling_bytes", ceiling.user_bytes()),
        ("elbow_kernel_memory_ceiling_bytes", ceiling.kernel_bytes),
        ("elbow_backplane_connected", 1),
        ("elbow_backplane_pending_bytes", backplane.pending_bytes),
        ("elbow_backplane_resent_total", backplane.resent),
        ("elbow_backplane_gaps_total", backplane.gaps),
    ];
    names.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Asserts that exactly this is told.
fn assert_told<T: Debug + PartialEq>(told: &BTreeMap<String, T>, expected: &BTreeMap<String, T>) {
    for (name, value) in expected {
        assert_eq!(told.get(name), Some(value), "{name}");
    }
    let more: Vec<&String> = told.keys().filter(|name| !expected.contains_key(*name)).collect();
    assert_eq!(more, Vec::<&String>::new(), "nothing else is told");
}

/// Notes what metrics say of what there is now, by its kind.
fn by_kind(snapshot: &Snapshot, told: &mut Told) {
    let now = snapshot.connections;
    let kinds = [
        ("websocket", now.websocket),
        ("socketio", now.socketio),
        ("sse", now.sse),
        ("http", now.http),
    ];
    by(told, ("elbow_connections{kind=\"", "\"}"), kinds, |it| it.0, |it| it.1);
    let names = ["plain", "elbow_v1", "sse", "socketio4", "socketio3"];
    let members = [0, 1, 2, 3, 4];
    by(
        told,
        ("elbow_members{dialect=\"", "\"}"),
        members,
        |it| names[it],
        |it| snapshot.members[it],
    );
    let used = snapshot.memory;
    let parts = [
        ("rings", used.rings),
        ("buffers", used.buffers),
        ("sessions", used.sessions),
        ("tables", used.tables),
        ("free", used.free),
    ];
    by(told, ("elbow_memory_bytes{part=\"", "\"}"), parts, |it| it.0, |it| it.1);
}

/// Notes what metrics say of what has happened, by reason or result.
fn by_reason(metrics: &Metrics, told: &mut Told) {
    let published = ("elbow_messages_published_total{by=\"", "\"}");
    by(told, published, By::ALL, By::name, |it| metrics.published[it as usize]);
    let unsaid = ("elbow_messages_refused_total{reason=\"", "\"}");
    by(told, unsaid, Unsaid::ALL, Unsaid::name, |it| metrics.unsaid[it as usize]);
    let refused = ("elbow_upgrades_refused_total{reason=\"", "\"}");
    by(told, refused, Refusal::ALL, Refusal::name, |it| metrics.refused[it as usize]);
    let shape = ("elbow_probes_total{shape=\"", "\"}");
    let probes = |it: ProbeShape| match it {
        ProbeShape::Connect => metrics.closed(CloseReason::ProbeOnly) - metrics.probes[3],
        ProbeShape::Alive | ProbeShape::Ready | ProbeShape::Header => metrics.probes[it as usize],
    };
    by(told, shape, ProbeShape::ALL, ProbeShape::name, probes);
    for (version, counts) in ["1", "2"].into_iter().zip(metrics.proxy_headers) {
        let begin = format!("elbow_proxy_headers_total{{version=\"{version}\",command=\"");
        by(told, (&begin, "\"}"), Command::ALL, Command::name, |it| counts[it as usize]);
    }
    let results = [("whole", 0), ("partial_refused", 1), ("unknown", 2)];
    let replays = ("elbow_replays_total{result=\"", "\"}");
    by(told, replays, results, |it| it.0, |it| metrics.replays[it.1]);
    let codes = [("200", 11), ("404", 12)];
    by(told, ("elbow_requests_total{code=\"", "\"}"), codes, |it| it.0, |it| it.1);
    for (number, why) in CloseReason::ALL.into_iter().enumerate() {
        let name = format!("elbow_connections_closed_total{{reason=\"{}\"}}", reason(why));
        told.insert(name, metrics.closed[number]);
    }
    for why in CloseReason::OF_PROXY_HEADERS {
        let name = format!("elbow_proxy_errors_total{{reason=\"{}\"}}", reason(why));
        told.insert(name, metrics.closed(why));
    }
    for (number, fault) in Fault::ALL.into_iter().enumerate() {
        let fault = String::from_utf8(fault.label_bytes().collect()).expect("a label is text");
        let name = format!("elbow_tokens_refused_total{{reason=\"{fault}\"}}");
        told.insert(name, metrics.tokens_refused[number]);
    }
}

#[test]
fn metrics_tell_every_number_once_under_its_own_name() {
    let snapshot = snapshot();
    let mut expected = plain(&snapshot);
    by_kind(&snapshot, &mut expected);
    by_reason(&snapshot.metrics, &mut expected);
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let mut out = Vec::new();
        prometheus::render(&snapshot, format, &mut out);
        let text = String::from_utf8(out).expect("metrics are text");
        let mut told = Told::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
            let is_time =
                ["_seconds_sum", "_cpu_seconds_total"].iter().any(|it| name.ends_with(it));
            if name.contains("_bucket{") || name.starts_with("elbow_build_info{") || is_time {
                continue;
            }
            let value = value.parse().expect("a whole number");
            assert_eq!(told.insert(name.to_owned(), value), None, "{name} twice");
        }
        assert_told(&told, &expected);
    }
}

/// Notes every number in a JSON value, by its path.
fn numbers_in(value: &Value, path: &str, told: &mut BTreeMap<String, f64>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                numbers_in(value, &path, told);
            }
        }
        Value::Array(items) if path.ends_with(".buckets") => assert!(!items.is_empty()),
        Value::Array(items) => {
            items.iter().for_each(|item| numbers_in(item, path, told));
        }
        Value::Number(number) => {
            let number = number.as_f64().expect("numbers of a status are short");
            assert_eq!(told.insert(path.to_owned(), number), None, "{path} twice");
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// What the status says of one histogram of times that took 100 µs.
fn of_times(told: &mut Told, name: &str, count: u64) {
    told.insert(format!("{name}.count"), count);
    told.insert(format!("{name}.sum"), count * 100);
    let micros = ["p50", "p99", "p999", "max"].map(|it| (format!("{name}.{it}"), 100));
    told.extend(micros);
}

/// What the status says of limits, of what is so now and of memory.
fn of_moment(snapshot: &Snapshot) -> Told {
    let (now, memory, limits) = (snapshot.connections, snapshot.memory, &snapshot.limits);
    let process = snapshot.process.expect("one");
    let (channel, ceiling) = (&snapshot.largest[0], limits.ceiling());
    let names = [
        ("version", 1),
        ("limits.sessions.max", limits.connections_max as u64),
        ("limits.sessions.used", now.websocket + now.socketio + now.sse),
        ("limits.channels.max", limits.channels_max as u64),
        ("limits.channels.used", snapshot.channels),
        ("limits.memory_bytes.max", limits.memory_bytes),
        ("limits.memory_bytes.used", limits.memory_bytes - memory.free),
        ("limits.descriptors.max", process.descriptors_max),
        ("limits.descriptors.used", process.descriptors),
        ("limits.sessions_per_address", limits.sessions_per_address_max() as u64),
        ("limits.message_bytes", limits.message_bytes_max),
        ("limits.feed_bytes", limits.feed_bytes),
        ("limits.history", 9),
        ("connections.websocket", now.websocket),
        ("connections.socketio", now.socketio),
        ("connections.sse", now.sse),
        ("connections.http", now.http),
        ("channels.members.plain", channel.members[0]),
        ("channels.members.elbow_v1", channel.members[1]),
        ("channels.members.sse", channel.members[2]),
        ("channels.members.socketio4", channel.members[3]),
        ("channels.members.socketio3", channel.members[4]),
        ("channels.kept", channel.kept),
        ("channels.lag.p50", 0),
        ("channels.lag.p99", 333),
        ("channels.lag.max", 333),
        ("memory.rings", memory.rings),
        ("memory.buffers", memory.buffers),
        ("memory.sessions", memory.sessions),
        ("memory.tables", memory.tables),
        ("memory.free", memory.free),
        ("memory.ceiling", ceiling.user_bytes()),
        ("memory.kernel_ceiling", ceiling.kernel_bytes),
        ("memory.resident", process.resident_bytes),
    ];
    names.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[test]
fn the_status_tells_every_number_once_under_its_own_name() {
    let snapshot = snapshot();
    let metrics = &snapshot.metrics;
    let backplane = snapshot.backplane.as_ref().expect("one");
    let mut expected = of_moment(&snapshot);
    let told = &mut expected;
    for (name, value) in [
        ("fan_out.delivered", metrics.messages_delivered),
        ("fan_out.received_bytes", metrics.received_bytes),
        ("fan_out.sent_bytes", metrics.sent_bytes),
        ("fan_out.lapped", metrics.readers_lapped),
        ("fan_out.publishers_paused", metrics.publishers_paused),
        ("fan_out.speakers_held_back", metrics.speakers_held_back),
        ("fan_out.lag.p50", 0),
        ("fan_out.lag.p99", 777),
        ("fan_out.lag.max", 777),
        ("backplane.pending_bytes", backplane.pending_bytes),
        ("backplane.resent", backplane.resent),
        ("backplane.gaps", backplane.gaps),
    ] {
        told.insert(name.to_owned(), value);
    }
    by(told, ("fan_out.published.", ""), By::ALL, By::name, |it| metrics.published[it as usize]);
    for (version, counts) in ["1", "2"].into_iter().zip(metrics.proxy_headers) {
        let begin = format!("proxy_headers.{version}.");
        by(told, (&begin, ""), Command::ALL, Command::name, |it| counts[it as usize]);
    }
    let probes = |it| metrics.probes(it);
    by(told, ("proxy_headers.probes.", ""), ProbeShape::ALL, ProbeShape::name, probes);
    for (number, why) in CloseReason::ALL.into_iter().enumerate() {
        told.insert(format!("closes.{}", reason(why)), metrics.closed[number]);
    }
    for why in CloseReason::OF_PROXY_HEADERS {
        told.insert(format!("proxy_headers.errors.{}", reason(why)), metrics.closed(why));
    }
    let mut expected: BTreeMap<String, f64> =
        expected.into_iter().map(|(name, value)| (name, value as f64)).collect();
    let mut seconds = Told::new();
    of_times(&mut seconds, "turn", 21);
    of_times(&mut seconds, "fan_out", 22);
    of_times(&mut seconds, "backplane.round_trip", 25);
    for (name, us) in seconds {
        let value = if name.ends_with(".count") { us as f64 } else { us as f64 / 1e6 };
        expected.insert(name, value);
    }
    let of_limits =
        [("uptime", 5.0), ("limits.ping_interval", 25.0), ("limits.ping_timeout", 20.0)];
    expected.extend(of_limits.map(|(name, value)| (name.to_owned(), value)));

    let mut out = Vec::new();
    status::render(&snapshot, &Surroundings::default(), &mut out);
    let status: Value = serde_json::from_slice(&out).expect("JSON");
    let mut told = BTreeMap::new();
    numbers_in(&status, "", &mut told);
    assert_told(&told, &expected);
}
