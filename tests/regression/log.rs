//! What once went wrong with what the log is told: too much of it, or what is nobody's business.

use super::requests::UPGRADE;
use super::sessions::request;
use super::{Client, READABLE, World, frame};
use elbow::id::ConnId;
use elbow::limits::EVENTS_BYTES;
use elbow::server::{Access, Denial, Event, Listener};
use elbow::settings::{ProxyMode, Trust};
use elbow::text::SHOWN_BYTES_MAX;
use elbow::time::Duration;
use elbow::wire::host::Host;

/// A server behind a balancer that is trusted, which reports messages.
fn world(proxy: ProxyMode, memory_bytes: u64) -> World {
    World::with(|settings| {
        settings.limits.memory_bytes = memory_bytes;
        settings.proxy = proxy;
        settings.trust = Trust(vec!["192.0.2.0/24".parse().expect("a network")]);
        settings.report_messages = true;
    })
}

fn connect(world: &mut World, from: Listener, peer: &str) -> (Client, ConnId) {
    world.accept(from, peer.parse().expect("an address"))
}

/// A v2 header for TCP over IPv4 that names this VPC endpoint.
fn through(endpoint: &[u8]) -> Vec<u8> {
    let value = [&[1], endpoint].concat();
    let length = |bytes: usize| u16::try_from(bytes).expect("it fits").to_be_bytes();
    let tlv = [&[0xea], &length(value.len())[..], &value].concat();
    let addresses = [203, 0, 113, 9, 198, 51, 100, 2, 4, 210, 0, 80];
    let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11";
    [&fixed[..], &length(12 + tlv.len()), &addresses, &tlv].concat()
}

fn lines(world: &World) -> Vec<&Access> {
    let mut lines = Vec::new();
    for event in &world.events {
        if let Event::Request(access) = event {
            lines.push(access.as_ref());
        }
    }
    lines
}

#[test]
fn a_long_request_is_cut_in_its_path_and_its_agent() {
    for (method, path_bytes, agent_bytes) in [
        ("GET", 1, 255),
        ("GET", 242, 256),
        ("GET", 243, 257),
        ("GET", 8_000, 16_000),
        ("OPTIONS", 8_000, 0),
        ("HEAD", 244, 300),
    ] {
        for query in ["", "?", "?a=b"] {
            let mut world = World::new();
            let (client, id) = world.connect();
            let path = format!("/{}", "x".repeat(path_bytes - 1));
            let agent = "y".repeat(agent_bytes);
            let head = format!(
                "{method} {path}{query} HTTP/1.1\r\nHost: h\r\nUser-Agent: {agent}\r\n\r\n"
            );
            world.say(&client, id, head.as_bytes());
            let [line] = lines(&world)[..] else { panic!("one line for {method}") };
            let mark = if query.is_empty() { "" } else { "?" };
            let room = SHOWN_BYTES_MAX - format!("{method} {mark} HTTP/1.1").len();
            let shown = &path[..path.len().min(room)];
            assert_eq!(line.line, format!("{method} {shown}{mark} HTTP/1.1"));
            assert_eq!(line.agent, &agent.as_bytes()[..agent.len().min(SHOWN_BYTES_MAX)]);
            let held = line.line.capacity() + line.agent.capacity();
            assert!(held <= 2 * SHOWN_BYTES_MAX, "{held} bytes are kept");
        }
    }
}

#[test]
fn a_query_is_never_told_of() {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n";
    for (target, line) in [
        ("/?secret", Some("GET /? HTTP/1.1")),
        ("/a?b=secret?secret", Some("GET /a? HTTP/1.1")),
        ("/a?", Some("GET /a? HTTP/1.1")),
        ("/a", Some("GET /a HTTP/1.1")),
        ("/healthz?secret", Some("GET /healthz? HTTP/1.1")),
        ("/ws?secret", Some("GET /ws? HTTP/1.1")),
        ("/ws/room?secret", Some("GET /ws/room? HTTP/1.1")),
        ("http://h/a?secret", Some("GET /a? HTTP/1.1")),
        ("http://h?secret", Some("GET /? HTTP/1.1")),
        ("/socket.io?EIO=4&transport=secret", Some("GET /socket.io? HTTP/1.1")),
        ("/socket.io/?EIO=4&transport=polling&t=secret", Some("GET /socket.io/? HTTP/1.1")),
        ("/?secret#secret", Some("")),
        ("secret?secret", Some("")),
    ] {
        let mut world = world(ProxyMode::Off, 1 << 20);
        let (client, id) = world.connect();
        let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        world.say(&client, id, head.as_bytes());
        let told = lines(&world).first().map(|access| access.line.clone());
        assert_eq!(told.as_deref(), line, "{target}");
        // And one that becomes a session, says something and ends.
        let (client, id) = world.connect();
        let head = format!("GET /ws?secret HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n");
        world.say(&client, id, head.as_bytes());
        world.say(&client, id, &frame(1, b"hello"));
        world.say(&client, id, &frame(8, b""));
        world.pass(Duration::from_secs(60));
        let told = format!("{:?}", world.events);
        assert!(!told.contains("secret"), "{target}: {told}");
    }
}

#[test]
fn an_endpoint_is_cut_before_it_waits_for_the_log() {
    for bytes in [1, 255, 256, 257, 4_064] {
        let mut world = world(ProxyMode::Required, 1 << 20);
        let (client, id) = connect(&mut world, Listener::Public, "192.0.2.1:1234");
        world.say(&client, id, &through(&vec![b'A'; bytes]));
        let told = world.events.iter().find_map(|event| {
            let Event::Endpoint { vpc_endpoint, .. } = event else { return None };
            Some(vpc_endpoint.len())
        });
        assert_eq!(told, Some(bytes.min(SHOWN_BYTES_MAX)));
    }
}

#[test]
fn nothing_that_a_header_says_on_the_health_listener_is_told_of() {
    let mut local = through(b"vpce-local");
    local[12] = 0x20;
    let mut misfit = through(b"vpce-misfit");
    misfit[29] = 0xff;
    let headers: [&[u8]; 8] = [
        b"",
        b"PROXY TCP4 203.0.113.9 198.51.100.2 1234 80\r\n",
        b"PROXY UNKNOWN vpce-1\x1b[2J\r\n",
        b"PROXY vpce-1 is no protocol\r\n",
        &through(b"vpce-1"),
        &through(&[b'A'; 4_064]),
        &local,
        &misfit,
    ];
    for peer in ["192.0.2.1:1234", "198.51.100.9:1234"] {
        for header in headers {
            let mut world = world(ProxyMode::Required, 1 << 20);
            let (client, id) = connect(&mut world, Listener::Health, peer);
            let probe = b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
            world.say(&client, id, &[header, probe].concat());
            let shown = header.escape_ascii();
            assert!(client.heard().starts_with(b"HTTP/1.1 200 "), "{shown}");
            world.pass(Duration::from_secs(10));
            let told = format!("{:?}", world.events);
            assert!(!told.contains("vpce") && !told.contains("203.0.113.9"), "{shown}: {told}");
            assert!(!told.contains("AAA") && told.contains(peer), "{shown}: {told}");
        }
    }
}

#[test]
fn a_message_is_cut_before_it_waits_for_the_log() {
    for text in ["x".repeat(1024), "\u{20ac}".repeat(341), "\u{1f600}".repeat(256)] {
        let mut world = world(ProxyMode::Off, 1 << 20);
        let (client, id) = world.session();
        world.say(&client, id, &frame(1, text.as_bytes()));
        let told = world.events.iter().find_map(|event| {
            let Event::Message { text, .. } = event else { return None };
            Some(&**text)
        });
        let told = told.expect("it was reported");
        assert!(text.starts_with(told) && told.len() <= SHOWN_BYTES_MAX);
        assert!(told.len() > SHOWN_BYTES_MAX - 4, "cut no earlier than need be");
    }
}

/// So many requests of which nobody writes anything down.
fn ask_untold(world: &mut World, client: &Client, id: ConnId, requests: usize) {
    let target = "x".repeat(600);
    for _ in 0..requests {
        let head = format!("GET /{target} HTTP/1.1\r\nHost: h\r\nUser-Agent: {target}\r\n\r\n");
        client.0.borrow_mut().to_server.extend(head.as_bytes());
        world.ready(id, READABLE);
        while world.server.run(world.now) {}
        world.server.check();
        client.heard();
    }
}

#[test]
fn what_waits_for_the_log_is_bounded_counted_and_let_go() {
    for memory_bytes in [64 * 1024, 1 << 20, 8 << 20] {
        let mut world = world(ProxyMode::Off, memory_bytes);
        let (client, id) = world.connect();
        for _ in 0..2 {
            let before = world.server.pool().lent_bytes();
            ask_untold(&mut world, &client, id, 2_000);
            let reserved = world.server.pool().lent_bytes() - before;
            assert!(reserved <= memory_bytes / 16, "{reserved} bytes of {memory_bytes}");
            let told: Vec<Event> = core::iter::from_fn(|| world.server.poll_event()).collect();
            let (last, lines) = told.split_last().expect("something was told");
            let texts: usize = lines
                .iter()
                .map(|event| {
                    let Event::Request(access) = event else { panic!("{event:?}") };
                    size_of::<Event>() + access.line.capacity() + access.agent.capacity()
                })
                .sum();
            assert!(texts as u64 <= EVENTS_BYTES + reserved);
            assert!(lines.len() > 100, "there is room for a turn");
            let Event::Dropped { events } = last else {
                panic!("{last:?} says nothing of those that found no room");
            };
            assert_eq!(lines.len() as u64 + events, 2_000);
            assert_eq!(world.server.pool().lent_bytes(), before, "its room goes back");
            assert_eq!(world.server.poll_event(), None, "told once");
            world.server.check();
        }
    }
}

#[test]
fn the_end_of_a_drain_finds_room_when_no_line_does() {
    let mut world = world(ProxyMode::Off, 64 * 1024);
    let (client, id) = world.connect();
    ask_untold(&mut world, &client, id, 2_000);
    world.server.drain(world.now, world.now.mono.plus(Duration::from_secs(1)));
    for _ in 0..100 {
        world.now.mono = world.now.mono.plus(Duration::from_millis(100));
        while world.server.run(world.now) {}
    }
    let told: Vec<Event> = core::iter::from_fn(|| world.server.poll_event()).collect();
    let [.., Event::Dropped { events }, Event::Drained] = &told[..] else {
        panic!("{:?}", told.last())
    };
    // One of them is that of its own end.
    assert_eq!(told.len() as u64 - 2 + events, 2_001);
}

#[test]
fn a_crowd_that_ends_at_once_leaves_the_queue_as_it_was() {
    let mut world = world(ProxyMode::Off, 1 << 20);
    let sessions: Vec<_> = (0..400).map(|_| world.session()).collect();
    let before = world.server.pool().lent_bytes();
    world.server.drain(world.now, world.now.mono);
    world.now.mono = world.now.mono.plus(Duration::from_secs(10));
    world.settle();
    drop(sessions);
    assert_eq!(
        world.events.iter().filter(|event| matches!(event, Event::Closed { .. })).count(),
        400
    );
    assert!(!world.events.iter().any(|event| matches!(event, Event::Dropped { .. })));
    assert!(world.server.pool().lent_bytes() <= before);
}

/// Which rules have refused the requests that these heads are, in the order of their lines.
fn denials(world: &mut World, heads: &[String]) -> Vec<Denial> {
    for head in heads {
        let (client, id) = world.connect();
        world.say(&client, id, head.as_bytes());
        assert!(client.heard().starts_with(b"HTTP/1.1 4"), "{head}");
    }
    let mut denials = Vec::new();
    let mut before = None;
    for event in core::mem::take(&mut world.events) {
        if let Event::Denied { denial, .. } = &event {
            denials.push(denial.clone());
        }
        if let Event::Request(access) = &event {
            let is_told = matches!(before, Some(Event::Denied { .. }));
            assert!(is_told, "it stands in front of its line: {access:?}");
        }
        before = Some(event);
    }
    denials
}

#[test]
fn each_refused_upgrade_or_session_has_a_line_that_names_the_rule() {
    let paths = [
        "/ws",
        "/",
        "/ws/news",
        "/socket.io/?EIO=4&transport=websocket",
        "/socket.io/?EIO=3&transport=websocket",
    ];
    let long = format!("https://{}", "a".repeat(300));
    for path in paths {
        let head = |fields: &str| request("GET", path, &format!("{UPGRADE}{fields}"));
        for (fields, denial) in [
            ("Origin: https://x.example\r\n", Denial::Origin("https://x.example".into())),
            ("Origin: null\r\n", Denial::Origin("null".into())),
            ("Origin: \u{ff}\r\n", Denial::Origin("\u{ff}".into())),
            (&format!("Origin: {long}\r\n"), Denial::Origin("".into())),
            ("Origin: http://h\r\nOrigin: http://h\r\n", Denial::Origins),
            ("Sec-Fetch-Site: cross-site\r\n", Denial::NoOrigin),
        ] {
            let mut world = World::new();
            assert_eq!(denials(&mut world, &[head(fields)]), [denial], "{path} {fields}");
        }
        let mut world = World::with(|settings| {
            settings.hosts = vec![Host::parse("chat.example").expect("a host")];
        });
        assert_eq!(denials(&mut world, &[head("")]), [Denial::Host("h".into())], "{path}");
    }
    let key = |fields: &str| UPGRADE.replace("Sec-WebSocket-Key: ", fields);
    let mut world = World::new();
    let heads = [
        request("POST", "/ws", UPGRADE),
        request("GET", "/ws", &key("X: ")),
        request("GET", "/ws", &UPGRADE.replace("13", "8")),
        request("GET", "/socket.io/?EIO=4&transport=polling&sid=nobody", ""),
        request("GET", "/socket.io/", ""),
        request("POST", "/socket.io/?EIO=4&transport=polling", ""),
        request("GET", "/socket.io/?EIO=4&transport=websocket", ""),
    ];
    let rules = [
        "a WebSocket is opened with GET",
        "invalid Sec-WebSocket-Key",
        "Sec-WebSocket-Version must be 13",
        "Session ID unknown",
        "Transport unknown",
        "Bad handshake method",
        "no Upgrade and Connection reached elbow: does the proxy in front pass them on?",
    ];
    assert_eq!(denials(&mut world, &heads), rules.map(Denial::Rule));
}

#[test]
fn a_request_that_is_for_no_session_is_refused_without_a_word_of_a_rule() {
    let mut world = World::with(|settings| {
        settings.hosts = vec![Host::parse("h").expect("a host")];
    });
    for head in [
        request("GET", "/ws", ""),
        request("GET", "/x", "Origin: https://x.example\r\n"),
        request("POST", "/ws", "Content-Length: 0\r\n"),
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
    ] {
        let (client, id) = world.connect();
        world.say(&client, id, head.as_bytes());
        client.heard();
    }
    let is_denial = |event: &Event| matches!(event, Event::Denied { .. });
    assert!(!world.events.iter().any(is_denial), "{:?}", world.events);
}

#[test]
fn what_asks_for_a_websocket_and_gets_none_has_a_line_that_says_why() {
    let engine = "/socket.io/?EIO=4&transport=websocket";
    let bad_key = UPGRADE.replace("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: x");
    let origin = "Origin: https://x.example\r\nAccess-Control-Request-Method: GET\r\n";
    let said = |rule| Denial::Rule(rule);
    let proxy = "no Upgrade and Connection reached elbow: does the proxy in front pass them on?";
    let unnamed = "no channel can have the name that its path has";
    for (head, denial) in [
        (request("GET", engine, ""), said(proxy)),
        (request("GET", engine, &bad_key), said("invalid Sec-WebSocket-Key")),
        (
            request("GET", engine, &format!("{UPGRADE}Content-Length: 1\r\n")),
            said("a WebSocket is opened without a body"),
        ),
        (request("GET", "/ws/bad%20name", UPGRADE), said(unnamed)),
        (request("GET", "/x", UPGRADE), said(unnamed)),
        (request("OPTIONS", engine, origin), Denial::Origin("https://x.example".into())),
    ] {
        assert_eq!(denials(&mut World::new(), std::slice::from_ref(&head)), [denial], "{head}");
    }
    let below = |settings: &mut elbow::settings::Settings| {
        settings.base_path = elbow::wire::base_path::BasePath::parse("/chat").expect("a path");
    };
    let head = request("GET", "/ws", UPGRADE);
    let expected = [said("WebSockets are below --base-path")];
    assert_eq!(denials(&mut World::with(below), &[head]), expected);
}

#[test]
fn a_path_for_websockets_alone_knows_one_method() {
    let mut world = World::new();
    for (method, status) in [("GET", "426"), ("POST", "405"), ("PUT", "405"), ("HEAD", "405")] {
        let (heard, answer) = world.answer(&request(method, "/ws", ""));
        assert_eq!(heard, status, "{method}");
        assert_eq!(answer.contains("Allow: GET, OPTIONS\r\n"), status == "405", "{answer}");
    }
}
