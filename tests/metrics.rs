//! What is shown of a running server: its counters, what a survey finds, and what is made of both.
//!
//! Goal: every number that an operator sees is the number of what has happened, and looking costs
//! no more than is promised, however many are there.
//!
//! Method: a server on fake sockets (`tests/harness`) to which known things are done, and a survey
//! of it. What the doctor says of a server is in `tests/metrics/findings.rs`, each finding with a
//! server that is really in that state. Texts are read by other programs in `tests/e2e`.

#[path = "metrics/findings.rs"]
mod findings;
#[path = "metrics/watching.rs"]
mod watching;

mod harness;

use core::net::IpAddr;

use elbow::id::ConnId;
use elbow::limits::History;
use elbow::metrics::prometheus::{self, Format};
use elbow::metrics::{By, CHANNELS_SHOWN, ProbeShape, Refusal, Snapshot, Unsaid};
use elbow::metrics::{Process, Surroundings, status};
use elbow::reason::CloseReason;
use elbow::server::{LOOKS_PER_TURN, Listener};
use elbow::settings::{ProxyMode, Settings, Trust};
use elbow::site::Site;
use elbow::time::Duration;

use harness::{Client, READABLE, WRITABLE, World, masked, settings};

impl World {
    fn with(change: impl FnOnce(&mut Settings)) -> World {
        let mut settings = settings();
        change(&mut settings);
        World::begin(settings, Site::new(Vec::new(), false))
    }

    fn connect(&mut self, ip: &str) -> (Client, ConnId) {
        self.connect_to(Listener::Public, ip)
    }

    fn connect_to(&mut self, listener: Listener, ip: &str) -> (Client, ConnId) {
        let ip: IpAddr = ip.parse().expect("an address");
        self.accept(listener, (ip, 1234).into())
    }

    fn get(&mut self, client: &Client, id: ConnId, target: &str, fields: &str) -> Vec<u8> {
        let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        self.say(client, id, head.as_bytes());
        client.heard()
    }

    /// A WebSocket at this path, from this address, its first answer taken.
    fn socket(&mut self, ip: &str, target: &str, fields: &str) -> (Client, ConnId) {
        let (client, id) = self.connect(ip);
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n";
        let answer = self.get(&client, id, target, &format!("{upgrade}{fields}"));
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        (client, id)
    }

    /// A survey, and in how many turns it was taken.
    fn survey_in(&mut self) -> (Snapshot, usize) {
        for turns in 1.. {
            if let Some(snapshot) = self.server.survey(self.now) {
                return (snapshot.clone(), turns);
            }
            self.turn();
        }
        unreachable!("a survey comes to an end")
    }

    fn survey(&mut self) -> Snapshot {
        self.survey_in().0
    }
}

const WS: &str = "/ws";
const SOCKET_IO: &str = "/socket.io/?EIO=4&transport=websocket";
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

fn text(payload: &[u8]) -> Vec<u8> {
    masked(0x81, payload)
}

fn counted(snapshot: &Snapshot) -> u64 {
    snapshot.metrics.closed.iter().sum()
}

#[test]
fn connections_and_sessions_are_shown_by_their_kind_and_each_end_is_counted_once() {
    let mut world = World::with(|_| {});
    let (plain, plain_id) = world.socket("192.0.2.1", WS, "");
    let (_, _) = world.socket("192.0.2.1", WS, "Sec-WebSocket-Protocol: elbow.v1\r\n");
    let (session, session_id) = world.socket("192.0.2.2", SOCKET_IO, "");
    for namespace in ["", "/a,", "/b,"] {
        world.say(&session, session_id, &text(format!("40{namespace}").as_bytes()));
    }
    let (stream, stream_id) = world.connect("192.0.2.3");
    world.get(&stream, stream_id, "/sse", "");
    let (second, second_id) = world.connect("192.0.2.3");
    world.get(&second, second_id, "/sse", "");
    let (polling, polling_id) = world.connect("192.0.2.4");
    world.get(&polling, polling_id, POLLING, "");
    let (_, _) = world.connect("192.0.2.5");
    let snapshot = world.survey();
    let now = snapshot.connections;
    assert_eq!((now.websocket, now.socketio, now.sse, now.http), (2, 2, 2, 2));
    assert_eq!(snapshot.members, [1, 1, 2, 3, 0]);
    assert_eq!((snapshot.channels, snapshot.metrics.connections_accepted), (3, 7));
    assert_eq!((counted(&snapshot), snapshot.lags.count(), snapshot.size()), (0, 7, 7));
    let codes: Vec<_> = snapshot.metrics.requests.iter().collect();
    assert_eq!(codes, [(101, 3), (200, 3)]);

    // One says goodbye, one vanishes, and a session with three namespaces is one connection.
    world.say(&plain, plain_id, &masked(0x88, b""));
    session.0.borrow_mut().reset = true;
    world.ready(session_id, READABLE);
    stream.0.borrow_mut().ended = true;
    world.ready(stream_id, READABLE);
    world.pass(Duration::from_secs(3));
    let snapshot = world.survey();
    let now = snapshot.connections;
    assert_eq!((now.websocket, now.socketio, now.sse, now.http), (1, 1, 1, 2));
    let closed = |reason| snapshot.metrics.closed(reason);
    assert_eq!(closed(CloseReason::ClosedByClient), 1);
    assert_eq!((closed(CloseReason::PeerReset), closed(CloseReason::PeerGone)), (1, 1));
    assert_eq!((counted(&snapshot), snapshot.metrics.silences.count()), (3, 2));
    drop(polling);
}

#[test]
fn what_is_decided_about_an_end_is_what_is_counted() {
    let mut world = World::with(|_| {});
    let (client, id) = world.socket("192.0.2.1", WS, "");
    world.say(&client, id, &masked(0x81, &[0xff]));
    assert!(client.heard().ends_with(b"invalid text"));
    // The last word was said. That the client then resets changes nothing.
    client.0.borrow_mut().reset = true;
    world.ready(id, READABLE);
    world.pass(Duration::from_secs(3));
    let snapshot = world.survey();
    assert_eq!(snapshot.metrics.closed(CloseReason::InvalidText), 1);
    assert_eq!((counted(&snapshot), snapshot.metrics.silences.count()), (1, 0));
}

#[test]
fn messages_are_counted_by_who_says_them_and_by_who_is_handed_them_at_once() {
    let mut world = World::with(|settings| settings.greeting = None);
    let (plain, plain_id) = world.socket("192.0.2.1", WS, "");
    let (session, session_id) = world.socket("192.0.2.2", SOCKET_IO, "");
    world.say(&session, session_id, &text(b"40"));
    let (polling, polling_id) = world.connect("192.0.2.4");
    let open = world.get(&polling, polling_id, POLLING, "");
    let sid = String::from_utf8_lossy(&open);
    let (_, sid) = sid.split_once("\"sid\":\"").expect("a session begins with its id");
    let target = format!("{POLLING}&sid={}", &sid[..20]);
    let post = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n40");
    world.say(&polling, polling_id, post.as_bytes());
    world.get(&polling, polling_id, &target, "");
    world.say(&plain, plain_id, &[text(b"one"), text(b"two")].concat());
    world.say(&session, session_id, &text(br#"42["chat message","three"]"#));
    world.say(&session, session_id, &text(br#"42["typing"]"#));
    world.say(&plain, plain_id, &text(&[b'x'; 2000]));
    let snapshot = world.survey();
    let metrics = &snapshot.metrics;
    let by = By::ALL.map(|by| metrics.published(by));
    assert_eq!((by, metrics.messages_published()), ([2, 1, 0, 0], 3));
    let unsaid = Unsaid::ALL.map(|reason| metrics.unsaid(reason));
    assert_eq!(unsaid, [1, 0, 1, 0, 0]);
    // Two readers have been handed all, the third polls, and has asked once since: it was answered
    // with its entrance, and with nothing yet.
    assert_eq!(metrics.messages_delivered, 6);
    world.get(&polling, polling_id, &target, "");
    assert_eq!(world.survey().metrics.messages_delivered, 9);
    assert!(world.survey().metrics.received_bytes > 2_000);
    assert!(world.survey().metrics.sent_bytes > 3 * 129);
}

#[test]
fn probes_and_headers_are_counted_by_their_shape() {
    let mut world = World::with(|settings| {
        settings.proxy = ProxyMode::Required;
        settings.trust = Trust(vec!["10.0.0.0/8".parse().expect("a network")]);
    });
    let end = |world: &mut World, listener, ip: &str, bytes: &[u8]| {
        let (client, id) = world.connect_to(listener, ip);
        world.say(&client, id, bytes);
        client.0.borrow_mut().ended = true;
        world.ready(id, READABLE);
        world.settle();
    };
    let public = Listener::Public;
    end(&mut world, public, "10.0.0.1", b"");
    end(&mut world, Listener::Health, "10.0.0.1", b"");
    end(&mut world, public, "10.0.0.1", V2_LOCAL);
    end(&mut world, Listener::Health, "10.0.0.1", V2_LOCAL);
    end(&mut world, public, "10.0.0.1", b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n");
    end(&mut world, public, "10.0.0.1", b"PROXY UNKNOWN\r\n");
    end(&mut world, public, "10.0.0.1", b"PROXY TCP9 \r\n");
    end(&mut world, public, "192.0.2.1", b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n");
    end(&mut world, public, "192.0.2.1", b"GET / HTTP/1.1\r\n");
    end(&mut world, public, "10.0.0.1", b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    end(&mut world, Listener::Health, "10.0.0.1", b"GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n");
    end(&mut world, Listener::Health, "10.0.0.1", b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    let agent = b"GET /readyz HTTP/1.1\r\nHost: h\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n";
    end(&mut world, Listener::Health, "10.0.0.1", agent);
    world.pass(Duration::from_secs(30));
    let metrics = world.survey().metrics;
    let shapes = ProbeShape::ALL.map(|shape| metrics.probes(shape));
    assert_eq!(shapes, [1, 2, 2, 4], "healthz, readyz, connect, header");
    assert_eq!(metrics.proxy_headers, [[1, 0, 1], [0, 1, 0]]);
    let errors = CloseReason::OF_PROXY_HEADERS.map(|reason| metrics.closed(reason));
    assert_eq!(errors, [1, 1, 1, 0], "invalid, missing, untrusted, late");
    assert_eq!((metrics.probes_failed, metrics.probes_of_balancers), (1, 1));
    assert_eq!(metrics.closed.iter().sum::<u64>(), 13);
}

#[test]
fn who_is_not_let_in_is_counted_by_the_reason() {
    let mut world = World::with(|settings| settings.limits.connections_per_ip_max = Some(1));
    world.socket("192.0.2.1", WS, "");
    let mut refused = |target: &str, fields: &str| {
        let (client, id) = world.connect("192.0.2.1");
        world.get(&client, id, target, fields);
    };
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
    let whole = format!("{upgrade}Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n");
    refused(WS, &whole);
    refused("/sse", "");
    refused(POLLING, "");
    refused(WS, upgrade);
    refused(WS, "");
    refused(WS, &format!("{whole}Origin: http://other.example\r\n"));
    refused("/ws?since=", &whole);
    let metrics = world.survey().metrics;
    assert_eq!(metrics.refused(Refusal::SessionsOfAddress), 3);
    assert_eq!((metrics.refused(Refusal::Protocol), metrics.refused(Refusal::Origin)), (3, 1));
    let all: u64 = Refusal::ALL.map(|reason| metrics.refused(reason)).iter().sum();
    assert_eq!(all, 7);
}

#[test]
fn a_pong_is_measured_from_its_ping() {
    let mut world = World::with(|_| {});
    let await_ping = |world: &mut World, client: &Client, ping: &[u8]| {
        client.heard();
        while !client.heard().ends_with(ping) {
            world.pass(Duration::from_millis(1));
        }
    };
    let (client, id) = world.socket("192.0.2.1", WS, "");
    await_ping(&mut world, &client, &[0x89, 0]);
    world.pass(Duration::from_millis(40));
    world.say(&client, id, &masked(0x8a, b""));
    // What comes unasked is no answer.
    world.say(&client, id, &masked(0x8a, b""));
    let pongs = world.survey().metrics.pongs;
    assert_eq!((pongs.count(), pongs.max_us()), (1, 40_000));
    let (session, id) = world.socket("192.0.2.1", SOCKET_IO, "");
    world.say(&session, id, &text(b"40"));
    await_ping(&mut world, &session, b"\x81\x012");
    let before = world.survey().metrics.pongs;
    world.pass(Duration::from_millis(500));
    world.say(&session, id, &text(b"3"));
    world.say(&session, id, &text(b"3"));
    let pongs = world.survey().metrics.pongs.since(&before);
    assert_eq!((pongs.count(), pongs.sum_us()), (1, 500_000));
}

#[test]
fn how_far_readers_are_behind_is_found_whatever_they_read() {
    let mut world = World::with(|settings| settings.greeting = None);
    let (publisher, publisher_id) = world.socket("192.0.2.1", WS, "");
    let (deaf, _) = world.socket("192.0.2.2", WS, "");
    let (session, session_id) = world.socket("192.0.2.3", SOCKET_IO, "");
    world.say(&session, session_id, &text(b"40"));
    deaf.stop_reading();
    session.stop_reading();
    world.say(&publisher, publisher_id, &masked(0x82, &[7; 500]));
    let snapshot = world.survey();
    assert_eq!((snapshot.lags.count(), snapshot.lags.count_caught_up()), (3, 1));
    assert!(snapshot.lags.max_bytes() > 504, "a session has binary in a frame of its own");
    assert_eq!(snapshot.largest[0].lags, snapshot.lags);
    assert!(snapshot.feed_bytes > 2 * 504);
    assert_eq!(world.survey().feed_bytes, snapshot.feed_bytes, "each look counts anew");
    deaf.0.borrow_mut().room = usize::MAX;
    world.ready(publisher_id, WRITABLE);
    for _ in 0..9 {
        world.say(&publisher, publisher_id, &masked(0x82, &[7; 500]));
        world.pass(Duration::from_secs(2));
    }
    assert_eq!(world.survey().metrics.readers_lapped, 2);
}

#[test]
fn a_survey_of_many_takes_many_turns_and_finds_all_of_them() {
    let members = 2 * LOOKS_PER_TURN + 100;
    let mut world = World::with(|settings| {
        settings.limits.connections_max = members;
        settings.limits.connections_per_ip_max = Some(members);
        settings.limits.memory_bytes = 64 << 20;
    });
    world.is_bare = true;
    for number in 0..members {
        let ip = format!("192.0.{}.{}", number / 8 % 250, number % 8);
        world.socket(&ip, WS, "");
    }
    let (snapshot, turns) = world.survey_in();
    assert_eq!(
        (turns, snapshot.size(), snapshot.lags.count()),
        (3, members as u64, members as u64)
    );
    assert_eq!(snapshot.connections.websocket, members as u64);
    let (again, turns) = world.survey_in();
    assert_eq!((again, turns), (snapshot, 3), "nothing has happened since");
}

#[test]
fn the_largest_channels_are_shown_with_what_they_keep() {
    let channels = CHANNELS_SHOWN + 30;
    let mut world = World::with(|settings| {
        settings.limits.channels_max = 1000;
        settings.limits.memory_bytes = 16 << 20;
        let age = Duration::from_secs(60);
        settings.limits.history = Some(History { messages_max: 8, age });
    });
    for number in 0..channels {
        let (client, id) = world.socket("127.0.0.1", &format!("/ws/c{number}"), "");
        if number % 10 == 7 {
            world.socket("127.0.0.1", &format!("/ws/c{number}"), "");
            world.say(&client, id, &text(b"kept"));
        }
    }
    for _ in 0..2 {
        let snapshot = world.survey();
        assert_eq!((snapshot.channels, snapshot.largest.len()), (130, CHANNELS_SHOWN));
        let sizes: Vec<u64> = snapshot.largest.iter().map(|channel| channel.size()).collect();
        assert_eq!((sizes.iter().sum::<u64>(), sizes[12], sizes[13]), (113, 2, 1));
        let first = &snapshot.largest[0];
        assert_eq!((first.name.as_str(), first.kept, first.members[0]), ("c107", 1, 2));
        assert!(first.position.ends_with(".1"), "{}", first.position);
        assert_eq!(snapshot.members_of_one_address, 143);
        assert!(snapshot.is_one_address_private);
    }
}

#[test]
fn memory_is_told_whole_by_what_it_is_used_for() {
    let mut world = World::with(|_| {});
    let limit = 1 << 20;
    let sum = |snapshot: &Snapshot| {
        let memory = &snapshot.memory;
        memory.rings + memory.buffers + memory.sessions + memory.free
    };
    let empty = world.survey();
    assert_eq!((sum(&empty), empty.memory.sessions, empty.memory.buffers), (limit, 0, 0));
    let (session, id) = world.socket("192.0.2.3", SOCKET_IO, "");
    world.say(&session, id, &text(b"40/a,"));
    let (half, id) = world.connect("192.0.2.3");
    world.say(&half, id, b"GET / HTTP/1.1\r\nHost: ");
    let full = world.survey();
    assert_eq!(sum(&full), limit);
    assert!(full.memory.sessions > 0 && full.memory.buffers >= 256);
    assert!(full.memory.rings > empty.memory.rings && full.memory.free < empty.memory.free);
}

#[test]
fn the_status_has_its_keys_and_is_json_whatever_it_is_made_of() {
    let keys = [
        "version",
        "build",
        "uptime",
        "listeners",
        "limits",
        "connections",
        "channels",
        "closes",
        "proxy_headers",
        "turn",
        "fan_out",
        "memory",
        "backplane",
        "findings",
    ];
    let mut world = World::with(|_| {});
    let path = "unix:/run/\"a\\b\n\u{7f}\u{e9}".to_owned();
    let listeners = vec![("public", "0.0.0.0:3000".to_owned()), ("health", path.clone())];
    let around = Surroundings { listeners, ..Surroundings::default() };
    let read = |snapshot: &Snapshot, around: &Surroundings| {
        let mut out = Vec::new();
        status::render(snapshot, around, &mut out);
        let text = String::from_utf8(out).expect("a status is text");
        let value: serde_json::Value = serde_json::from_str(&text).expect("a status is JSON");
        let object = value.as_object().expect("a status is an object");
        assert!(keys.iter().all(|key| object.contains_key(*key)), "{text}");
        assert_eq!(object.len(), keys.len(), "{text}");
        value
    };
    let empty = read(&world.survey(), &Surroundings::default());
    assert_eq!((&empty["version"], empty["channels"].as_array().unwrap().len()), (&1.into(), 0));
    let (plain, id) = world.socket("192.0.2.1", "/ws/a", "");
    world.say(&plain, id, &text(b"hello"));
    world.now.unix_s = 5;
    world.now.mono = world.now.mono.plus(Duration::from_millis(1_500));
    let mut snapshot = world.survey();
    snapshot.process =
        Some(Process { descriptors: 7, descriptors_max: 1024, ..Process::default() });
    let value = read(&snapshot, &around);
    assert_eq!(value["listeners"][1]["address"], path);
    assert_eq!(value["uptime"], 1.5);
    assert_eq!(value["connections"]["websocket"], 1);
    let channel = &value["channels"][0];
    assert_eq!((&channel["name"], &channel["members"]["plain"]), (&"a".into(), &1.into()));
    assert!(channel["position"].as_str().unwrap().ends_with(".1"));
    assert_eq!((&channel["kept"], &channel["lag"]["max"]), (&0.into(), &0.into()));
    assert_eq!(value["closes"].as_object().unwrap().len(), CloseReason::ALL.len());
    assert_eq!(value["proxy_headers"]["2"]["local"], 0);
    assert_eq!(value["fan_out"]["published"]["websocket"], 1);
    assert_eq!(value["limits"]["descriptors"]["max"], 1024);
    assert_eq!(value["findings"][0]["id"], "clock");
    assert!(value["backplane"].is_null());
}

/// The words of a text that can be names of metrics.
fn names(text: &str) -> Vec<&str> {
    let is_name = |word: &&str| word.starts_with("elbow_") || word.starts_with("process_");
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    text.split(|c| !is_part(c)).filter(is_name).collect()
}

#[test]
fn dashboard_and_alerts_name_metrics_that_are_there() {
    let mut world = World::with(|_| {});
    let mut out = Vec::new();
    prometheus::render(&world.survey(), Format::Prometheus, &mut out);
    let text = String::from_utf8(out).expect("metrics are text");
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let families: Vec<&str> = types.map(|rest| rest.split(' ').next().unwrap()).collect();
    let dashboard = include_str!("../deploy/grafana.json");
    let alerts = include_str!("../deploy/alerts.yml");
    let json: serde_json::Value = serde_json::from_str(dashboard).expect("a dashboard is JSON");
    assert_eq!(json["title"], "elbow");
    for name in names(dashboard).into_iter().chain(names(alerts)) {
        let family = name.trim_end_matches("_bucket");
        assert!(families.contains(&family), "{name}");
    }
    for family in families {
        let shown = dashboard.contains(&format!("{family}{{"));
        let shown = shown || dashboard.contains(&format!("{family}_bucket{{"));
        assert!(shown, "{family} is on the dashboard");
    }
}

#[test]
fn all_is_rendered_of_a_server_that_is_used() {
    let mut world = World::with(|_| {});
    let (plain, id) = world.socket("192.0.2.1", WS, "");
    world.say(&plain, id, &text(b"hello"));
    let snapshot = world.survey();
    let mut out = Vec::new();
    prometheus::render(&snapshot, Format::Prometheus, &mut out);
    let text = String::from_utf8(out).expect("metrics are text");
    for line in [
        "elbow_connections{kind=\"websocket\"} 1",
        "elbow_connections_accepted_total 1",
        "elbow_connections_closed_total{reason=\"too_slow\"} 0",
        "elbow_requests_total{code=\"101\"} 1",
        "elbow_members{dialect=\"plain\"} 1",
        "elbow_messages_published_total{by=\"websocket\"} 1",
        "elbow_messages_delivered_total 1",
        "elbow_proxy_errors_total{reason=\"no_PROXY_header\"} 0",
        "elbow_start_time_seconds 1700000000",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
}
