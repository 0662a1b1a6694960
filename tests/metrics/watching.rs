//! `GET /metrics`, `GET /status` and the status page on the admin listener, as a client sees them.

use super::{WS, World};
use crate::harness::{Client, READABLE, settings};
use elbow::id::ConnId;
use elbow::metrics::{Process, Surroundings};
use elbow::server::{LOOKS_PER_TURN, Listener};
use elbow::settings::AdminToken;
use elbow::site::{File, Site};

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl World {
    fn watcher(&mut self) -> (Client, ConnId) {
        self.connect_to(Listener::Admin, "127.0.0.1")
    }

    fn watch(&mut self, method: &str, path: &str, fields: &str) -> String {
        let (client, id) = self.watcher();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        self.say(&client, id, head.as_bytes());
        String::from_utf8(client.heard()).expect("answers are text")
    }
}

/// The body of an answer, which its head tells the length of.
fn body(answer: &str) -> &str {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let length = format!("\r\nContent-Length: {}\r\n", body.len());
    assert!(format!("{head}\r\n").contains(&length), "{head}");
    body
}

#[test]
fn metrics_are_told_in_the_format_that_is_asked_for() {
    let mut world = World::with(|_| {});
    world.socket("192.0.2.1", WS, "");
    let both = "Accept: text/plain\r\nAccept: application/openmetrics-text;q=0.1\r\n";
    for (accept, media, is_open) in [
        ("", PROMETHEUS, false),
        ("Accept: */*\r\n", PROMETHEUS, false),
        ("Accept: application/openmetrics-text\r\n", OPEN_METRICS, true),
        (both, PROMETHEUS, false),
    ] {
        let answer = world.watch("GET", "/metrics", accept);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(&format!("\r\nContent-Type: {media}\r\n")), "{answer}");
        assert!(answer.contains("\r\nCache-Control: no-store\r\n"), "{answer}");
        let body = body(&answer);
        assert_eq!(body.ends_with("# EOF\n"), is_open, "{accept}");
        assert!(body.contains("\nelbow_connections{kind=\"websocket\"} 1\n"), "{body}");
    }
    let answer = world.watch("HEAD", "/metrics", "");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"));
    assert!(!answer.contains("Content-Length: 0"), "{answer}");
}

#[test]
fn the_status_tells_what_the_shell_has_told() {
    let mut world = World::with(|_| {});
    let listeners = vec![("admin", "127.0.0.1:9000".to_owned())];
    world.server.describe(Surroundings { listeners, ..Surroundings::default() });
    let process = Process { resident_bytes: 7, descriptors: 8, descriptors_max: 9, cpu_us: 1 };
    world.server.tell_process(Some(process));
    let answer = world.watch("GET", "/status", "");
    assert!(answer.contains("\r\nContent-Type: application/json\r\n"), "{answer}");
    let status: serde_json::Value = serde_json::from_str(body(&answer)).expect("JSON");
    assert_eq!(status["listeners"][0]["address"], "127.0.0.1:9000");
    assert_eq!((&status["memory"]["resident"], &status["version"]), (&7.into(), &1.into()));
    // Eight of nine descriptors are nearly nine tenths, and not quite.
    assert_eq!(status["findings"].as_array().expect("a list").len(), 0);
    let metrics = world.watch("GET", "/metrics", "");
    assert!(metrics.contains("\nprocess_cpu_seconds_total 0.000001\n"), "{metrics}");
    assert!(metrics.contains("\nprocess_open_fds 8\n"), "{metrics}");
}

#[test]
fn nothing_but_reading_is_allowed_and_nobody_else_is_told() {
    let mut world = World::with(|settings| {
        settings.admin_token = AdminToken::read(b"0123456789abcdef").ok();
    });
    for path in ["/metrics", "/status"] {
        assert!(world.watch("GET", path, "").starts_with("HTTP/1.1 401 "));
        let shown = "Authorization: Bearer 0123456789abcdef\r\n";
        assert!(world.watch("GET", path, shown).starts_with("HTTP/1.1 200 "));
        let answer = world.watch("POST", path, &format!("{shown}Content-Length: 0\r\n"));
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"), "{answer}");
        assert!(world.watch("OPTIONS", path, shown).starts_with("HTTP/1.1 204 "));
        assert!(world.watch("GET", &format!("{path}/"), shown).starts_with("HTTP/1.1 404 "));
        for listener in [Listener::Public, Listener::Health] {
            let (client, id) = world.connect_to(listener, "127.0.0.1");
            assert!(world.get(&client, id, path, shown).starts_with(b"HTTP/1.1 404 "));
        }
    }
}

#[test]
fn who_asks_twice_is_answered_twice_in_order() {
    let mut world = World::with(|_| {});
    let (client, id) = world.watcher();
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let all = [ask("/status"), ask("/metrics"), ask("/healthz"), ask("/status")].concat();
    world.say(&client, id, all.as_bytes());
    let heard = String::from_utf8(client.heard()).expect("answers are text");
    let kinds = heard.lines().filter_map(|line| line.strip_prefix("Content-Type: "));
    let kinds: Vec<&str> = kinds.collect();
    let plain = "text/plain; charset=utf-8";
    assert_eq!(kinds, ["application/json", PROMETHEUS, plain, "application/json"]);
}

#[test]
fn a_crowd_is_looked_at_in_portions_and_who_leaves_meanwhile_is_not_waited_for() {
    let members = 2 * LOOKS_PER_TURN + 100;
    let mut world = World::with(|settings| {
        settings.limits.connections_max = members;
        settings.limits.connections_per_ip_max = Some(members);
        settings.limits.memory_bytes = 64 << 20;
    });
    world.is_bare = true;
    for number in 0..members {
        world.socket(&format!("192.0.{}.{}", number / 8 % 250, number % 8), WS, "");
    }
    let ask = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (stays, leaves) = (world.watcher(), world.watcher());
    for (client, id) in [&stays, &leaves] {
        client.0.borrow_mut().to_server.extend(ask);
        world.ready(*id, READABLE);
    }
    assert!(world.server.is_watched());
    assert!(world.turn() && stays.0.heard().is_empty());
    // One who asks while others are looked at is answered together with them.
    let late = world.watcher();
    late.0.0.borrow_mut().to_server.extend(ask);
    world.ready(late.1, READABLE);
    leaves.0.0.borrow_mut().reset = true;
    world.ready(leaves.1, READABLE);
    assert!(world.turn() && stays.0.heard().is_empty());
    world.settle();
    assert!(!world.server.is_watched());
    for client in [&stays.0, &late.0] {
        let answer = String::from_utf8(client.heard()).expect("answers are text");
        let status: serde_json::Value = serde_json::from_str(body(&answer)).expect("JSON");
        assert_eq!(status["channels"][0]["members"]["plain"], members);
    }
    assert!(leaves.0.heard().is_empty());
    world.server.check();
}

#[test]
fn the_status_page_is_given_without_a_token_and_by_the_admin_listener_alone() {
    let file = |path: &str, bytes: &[u8]| File { path: path.into(), bytes: bytes.to_vec() };
    let page = vec![file("/index.html", b"<title>page</title>"), file("/status.js", b"script")];
    let mut settings = settings();
    settings.admin_token = AdminToken::read(b"0123456789abcdef").ok();
    let site = Site::new(vec![file("/index.html", b"public")], false).with_admin(page);
    let mut world = World::begin(settings, site);
    for (path, media, content) in [
        ("/", "text/html; charset=utf-8", "<title>page</title>"),
        ("/index.html", "text/html; charset=utf-8", "<title>page</title>"),
        ("/status.js", "text/javascript; charset=utf-8", "script"),
        ("/?any=thing", "text/html; charset=utf-8", "<title>page</title>"),
    ] {
        let answer = world.watch("GET", path, "");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {answer}");
        assert_eq!(body(&answer), content);
        for field in [
            &format!("Content-Type: {media}"),
            "Cache-Control: no-cache",
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
        ] {
            assert!(answer.contains(&format!("\r\n{field}\r\n")), "{path}, {field}: {answer}");
        }
        let policy = "\r\nContent-Security-Policy: default-src 'none'; script-src 'self'; ";
        assert!(answer.contains(policy) && !answer.contains("unsafe"), "{answer}");
        let (_, etag) = answer.split_once("\r\nETag: ").expect("a validator");
        let known = format!("If-None-Match: {}\r\n", &etag[..34]);
        assert!(world.watch("GET", path, &known).starts_with("HTTP/1.1 304 "));
        let head = world.watch("HEAD", path, "");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"));
        // Who has a token, or a wrong one, gets no other page.
        let shown = "Authorization: Bearer 0123456789abcdef\r\n";
        assert_eq!(body(&world.watch("GET", path, shown)), content);
        assert_eq!(body(&world.watch("GET", path, "Authorization: Bearer x\r\n")), content);
        let posted = world.watch("POST", path, "Content-Length: 0\r\n");
        assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
        assert!(posted.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"), "{posted}");
        assert!(world.watch("OPTIONS", path, "").starts_with("HTTP/1.1 204 "));
        // Pages are kept out of it like of everything else here.
        for foreign in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
            assert!(world.watch("GET", path, foreign).starts_with("HTTP/1.1 403 "), "{foreign}");
        }
    }
    for path in ["/status.css", "/index.htm", "/%69ndex.html", "/../index.html", "//"] {
        assert!(world.watch("GET", path, "").starts_with("HTTP/1.1 401 "), "{path}");
    }
    let (client, id) = world.connect("192.0.2.1");
    assert!(world.get(&client, id, "/", "").ends_with(b"public"));
    assert!(world.get(&client, id, "/status.js", "").starts_with(b"HTTP/1.1 404 "));
    let (client, id) = world.connect_to(Listener::Health, "192.0.2.1");
    assert!(world.get(&client, id, "/status.js", "").starts_with(b"HTTP/1.1 404 "));
    let (client, id) = world.watcher();
    let misled = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    world.say(&client, id, misled);
    assert!(client.heard().starts_with(b"HTTP/1.1 403 "));
}

/// A server whose memory strangers have used up, by heads that do not end.
fn used_up() -> (World, Vec<(Client, ConnId)>) {
    let mut world = World::with(|settings| {
        settings.limits.memory_bytes = 1 << 20;
        settings.limits.connections_max = 2_000;
        settings.limits.connections_per_ip_max = Some(2_000);
    });
    world.socket("192.0.2.1", WS, "");
    let mut hogs = Vec::new();
    for bytes in [4_000, 1_000, 500, 100] {
        let mut free = u64::MAX;
        while world.server.pool().free_bytes() < free {
            free = world.server.pool().free_bytes();
            for _ in 0..64 {
                let (hog, id) = world.connect("192.0.2.7");
                world.say(&hog, id, &[b"GET /".as_slice(), &vec![b'x'; bytes]].concat());
                if hog.heard().is_empty() {
                    hogs.push((hog, id));
                }
            }
        }
    }
    (world, hogs)
}

#[test]
fn whoever_watches_is_answered_although_memory_is_used_up() {
    let (mut world, hogs) = used_up();
    assert!(hogs.len() > 50);
    // A backend, whose message needs memory, is told to come again.
    let (client, id) = world.watcher();
    let publish =
        b"POST /publish/default HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";
    world.say(&client, id, publish);
    assert!(client.heard().starts_with(b"HTTP/1.1 503 "));
    let metrics = world.watch("GET", "/metrics", "User-Agent: scraper\r\n");
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(body(&metrics).contains("\nelbow_memory_bytes{part=\"free\"} "), "{metrics}");
    let status: serde_json::Value =
        serde_json::from_str(body(&world.watch("GET", "/status", ""))).expect("JSON");
    let used = &status["limits"]["memory_bytes"];
    let (used, max) = (used["used"].as_u64(), used["max"].as_u64());
    assert!(used.zip(max).is_some_and(|(used, max)| used * 10 >= max * 9), "{used:?} of {max:?}");
    assert!(world.watch("HEAD", "/status", "").starts_with("HTTP/1.1 200 "));
    // As many as there are places for ask at once, and one of them does not read.
    let ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let crowd: Vec<(Client, ConnId)> = (0..40).map(|_| world.watcher()).collect();
    crowd[3].0.stop_reading();
    for (client, id) in &crowd {
        client.0.borrow_mut().to_server.extend(ask);
        world.ready(*id, READABLE);
    }
    world.settle();
    for (number, (client, _)) in crowd.iter().enumerate() {
        let heard = String::from_utf8(client.heard()).expect("answers are text");
        assert_eq!(heard.starts_with("HTTP/1.1 200 OK\r\n"), number != 3, "{number}: {heard}");
        assert!(number == 3 || body(&heard).ends_with('\n'));
    }
    assert!(!world.server.is_watched() && !world.server.pool().is_strained());
    assert!(world.server.pool().held_bytes() <= world.server.pool().bound_bytes());
    world.server.check();
    drop(hogs);
}
