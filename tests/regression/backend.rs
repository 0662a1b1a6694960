//! The admin listener: who may ask there, and what backends publish.

use super::history::keeping;
use super::{Client, World, frame};
use elbow::id::ConnId;
use elbow::limits::{BODY_LIMIT, CONNECTIONS_ADMIN};
use elbow::metrics::{By, Unsaid};
use elbow::server::{Event, Listener};
use elbow::settings::{AdminToken, ProxyMode};
use elbow::time::Duration;
use elbow::wire::host::Host;

const TOKEN: &str = "0123456789abcdef";

/// A connection of the admin listener.
pub(super) struct Backend {
    pub(super) client: Client,
    pub(super) id: ConnId,
}

/// An answer: its status, its head, its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl World {
    pub(super) fn backend(&mut self) -> Backend {
        let (client, id) = self.connect_to(Listener::Admin, "127.0.0.1");
        Backend { client, id }
    }

    /// Asks on a connection of its own.
    fn asked(&mut self, head: &str, body: &[u8]) -> Answer {
        let backend = self.backend();
        backend.ask(self, head, body)
    }

    fn publish(&mut self, target: &str, body: &[u8]) -> Answer {
        self.asked(&post(target, "", body.len()), body)
    }
}

/// The head of a request to publish, with these fields.
pub(super) fn post(target: &str, fields: &str, length: usize) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: 127.0.0.1:3001\r\n{fields}Content-Length: {length}\r\n\r\n"
    )
}

impl Backend {
    pub(super) fn ask(&self, world: &mut World, head: &str, body: &[u8]) -> Answer {
        world.say(&self.client, self.id, &[head.as_bytes(), body].concat());
        let mut answers = self.answers();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    pub(super) fn answers(&self) -> Vec<Answer> {
        let heard = String::from_utf8(self.client.heard()).expect("answers are text");
        let mut rest = heard.as_str();
        let mut answers = Vec::new();
        while !rest.is_empty() {
            let (head, behind) = rest.split_once("\r\n\r\n").expect("a whole head");
            let length = head.split_once("Content-Length: ").map_or(0, |(_, behind)| {
                behind.split("\r\n").next().expect("a value").parse().expect("a length")
            });
            let (body, behind) = behind.split_at(length);
            rest = behind;
            let status = head[9..12].parse().expect("a status");
            answers.push(Answer { status, head: head.to_owned(), body: body.to_owned() });
        }
        answers
    }
}

fn guarded() -> World {
    World::with(|settings| {
        settings.admin_token = Some(AdminToken::read(TOKEN.as_bytes()).expect("a token"));
    })
}

#[test]
fn without_the_token_nothing_but_probes_is_answered() {
    let mut world = guarded();
    let ask = |world: &mut World, fields: &str, path: &str| {
        world.asked(&format!("GET {path} HTTP/1.1\r\nHost: [::1]\r\n{fields}\r\n"), b"")
    };
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(&mut world, "", path).status, 200, "{path}");
    }
    for fields in [
        "",
        "Authorization: Bearer 0123456789abcdeF\r\n",
        "Authorization: Bearer 0123456789abcde\r\n",
        "Authorization: Bearer 0123456789abcdef0\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: Basic 0123456789abcdef\r\n",
        "Authorization: 0123456789abcdef\r\n",
        "Authorization: Bearer 0123456789abcdef\r\nAuthorization: Bearer 0123456789abcdef\r\n",
    ] {
        for path in ["/publish/a", "/disconnect", "/metrics", "/nothing"] {
            let answer = ask(&mut world, fields, path);
            assert_eq!(answer.status, 401, "{fields} {path}");
            assert!(answer.head.contains("\r\nWWW-Authenticate: Bearer\r\n"), "{}", answer.head);
        }
    }
    let shown = "Authorization: bEARER 0123456789abcdef\r\n";
    assert_eq!(ask(&mut world, shown, "/publish/a").status, 405);
    assert_eq!(ask(&mut world, shown, "/nothing").status, 404);
    assert!(!format!("{:?}", world.events).contains("0123456789abcde"), "nothing tells it");
}

#[test]
fn pages_of_others_are_kept_out_whether_there_is_a_token_or_not() {
    let named = |world: World| world;
    let mut open = named(World::with(|settings| {
        settings.hosts = vec![Host::parse("chat.example.org").expect("a host")];
    }));
    let ask = |world: &mut World, host: &str, fields: &str, path: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: 0\r\n");
        world.asked(&format!("{head}\r\n"), b"").status
    };
    let publish = "/publish/a";
    for host in ["127.0.0.1:3001", "[::1]", "localhost:1", "LOCALHOST.", "chat.example.org:99"] {
        assert_eq!(ask(&mut open, host, "", publish), 202, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.1", "a"] {
        assert_eq!(ask(&mut open, host, "", publish), 403, "{host}");
    }
    let host = "127.0.0.1:3001";
    for fields in [
        "Origin: http://127.0.0.1:3001\r\n",
        "Sec-Fetch-Site: same-origin\r\n",
        "Sec-Fetch-Site: none\r\n",
    ] {
        assert_eq!(ask(&mut open, host, fields, publish), 202, "{fields}");
    }
    let foreign = [
        "Origin: http://evil.example\r\n",
        "Origin: http://127.0.0.1:3000\r\n",
        "Origin: null\r\n",
        "Origin:\r\n",
        "Origin: http://127.0.0.1:3001\r\nOrigin: http://127.0.0.1:3001\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
    ];
    let mut guarded = guarded();
    let shown = format!("Authorization: Bearer {TOKEN}\r\n");
    for fields in foreign {
        for path in [publish, "/disconnect?channel=a", "/healthz", "/nothing"] {
            assert_eq!(ask(&mut open, host, fields, path), 403, "{fields} {path}");
            let both = format!("{shown}{fields}");
            assert_eq!(ask(&mut guarded, host, &both, path), 403, "{fields} {path}");
        }
    }
    // The token tells that it is nobody's page that was led here by a false name.
    assert_eq!(ask(&mut guarded, "evil.example", &shown, publish), 202);
    assert_eq!(ask(&mut guarded, "evil.example", "", publish), 403);
    // Who names no host at all is no browser.
    let bare = open.asked("POST /publish/a HTTP/1.0\r\n\r\n", b"");
    assert_eq!(bare.status, 202);
}

#[test]
fn each_listener_serves_its_own_and_says_what_is_allowed() {
    let mut world = World::new();
    for (method, path, status, allow) in [
        ("GET", "/", 404, ""),
        ("GET", "/ws", 404, ""),
        ("GET", "/sse", 404, ""),
        ("GET", "/socket.io/?EIO=4&transport=polling", 404, ""),
        ("GET", "/publish", 404, ""),
        ("HEAD", "/healthz", 200, ""),
        ("POST", "/healthz", 405, "Allow: GET, HEAD, OPTIONS"),
        ("OPTIONS", "/healthz", 204, "Allow: GET, HEAD, OPTIONS"),
        ("OPTIONS", "*", 204, "Allow: GET, HEAD, OPTIONS"),
        ("OPTIONS", "/publish/a", 204, "Allow: POST, OPTIONS"),
        ("OPTIONS", "/disconnect", 204, "Allow: POST, OPTIONS"),
        ("GET", "/publish/a", 405, "Allow: POST, OPTIONS"),
        ("PUT", "/publish/a", 405, "Allow: POST, OPTIONS"),
        ("HEAD", "/disconnect?channel=a", 405, "Allow: POST, OPTIONS"),
    ] {
        let backend = world.backend();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        world.say(&backend.client, backend.id, head.as_bytes());
        let heard = String::from_utf8(backend.client.heard()).expect("text");
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {heard}");
        assert!(heard.contains(allow), "{method} {path}: {heard}");
    }
    for (listener, path) in [(Listener::Public, "/publish/a"), (Listener::Health, "/publish/a")] {
        let (client, id) = world.connect_to(listener, "127.0.0.1");
        world.say(&client, id, post(path, "", 2).as_bytes());
        let heard = String::from_utf8(client.heard()).expect("text");
        assert!(heard.starts_with("HTTP/1.1 404 "), "{listener:?}: {heard}");
    }
}

#[test]
fn the_admin_listener_reads_no_proxy_header_and_believes_no_forwarded_address() {
    let mut world = World::with(|settings| {
        settings.proxy = ProxyMode::Required;
        settings.forwarded_for = true;
        settings.trust.0.push("127.0.0.0/8".parse().expect("a network"));
    });
    let fields = "X-Forwarded-For: 203.0.113.9\r\n";
    let answer = world.asked(&post("/publish/a", fields, 2), b"hi");
    assert_eq!(answer.status, 202);
    let is_told = |event: &Event| format!("{event:?}").contains("203.0.113.9");
    assert!(!world.events.iter().any(is_told));
    let backend = world.backend();
    let header = "PROXY TCP4 203.0.113.9 127.0.0.1 1 2\r\n";
    let answer = backend.ask(&mut world, &format!("{header}{}", post("/publish/a", "", 0)), b"");
    assert_eq!(answer.status, 400);
}

#[test]
fn what_a_backend_says_is_heard_by_every_dialect() {
    let mut world = World::new();
    let (plain, _) = world.session();
    let (v1, _) = world.open_v1_raw("/ws");
    let (poll, id, target) = world.polling();
    world.request(&poll, id, "POST", &target, "40");
    world.request(&poll, id, "GET", &target, "");
    poll.heard();
    world.request(&poll, id, "GET", &target, "");
    let answer = world.publish("/publish/default", "grüß".as_bytes());
    assert_eq!(answer.status, 202);
    assert!(answer.head.contains("Content-Type: application/json"), "{}", answer.head);
    let position = answer.body.strip_prefix("{\"position\":\"").and_then(|b| b.strip_suffix("\"}"));
    let position = position.expect("a position");
    assert_eq!(plain.heard(), [b"\x81\x06".as_slice(), "grüß".as_bytes()].concat());
    let told = format!("{position}\ngrüß");
    assert!(v1.heard().ends_with(told.as_bytes()));
    let heard = String::from_utf8(poll.heard()).expect("text");
    assert!(heard.ends_with("42[\"chat message\",\"grüß\"]"), "{heard}");
    assert_eq!(world.server.metrics().published(By::Admin), 1);
    assert_eq!(world.server.metrics().messages_published(), 1);

    let bytes = "Content-Type: application/octet-stream\r\n";
    let answer = world.asked(&post("/publish/default", bytes, 2), b"\xff\x00");
    assert_eq!(answer.status, 202);
    assert_eq!(plain.heard(), b"\x82\x02\xff\x00");
}

impl World {
    fn open_v1_raw(&mut self, target: &str) -> (Client, ConnId) {
        let (client, id) = self.connect();
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: elbow.v1\r\n\r\n"
        );
        self.say(&client, id, head.as_bytes());
        client.heard();
        (client, id)
    }
}

#[test]
fn an_event_has_its_name_and_its_arguments() {
    let mut world = World::new();
    let (plain, _) = world.session();
    let (poll, id, target) = world.polling();
    world.request(&poll, id, "POST", &target, "40");
    world.request(&poll, id, "GET", &target, "");
    for (event, arguments, heard) in [
        ("chat+message", "[\"hi\"]", "42[\"chat message\",\"hi\"]"),
        ("a", "[]", "42[\"a\"]"),
        ("a", " [\t1 , {\"b\":[null]} ]\r\n", "42[\"a\",1 , {\"b\":[null]}]"),
        ("a%22b%5C", "[true]", "42[\"a\\\"b\\\\\",true]"),
        ("%C3%A9%0A", "[1e999,\"\\ud800\"]", "42[\"é\\n\",1e999,\"\\ud800\"]"),
    ] {
        poll.heard();
        world.request(&poll, id, "GET", &target, "");
        let to = format!("/publish/default?event={event}");
        assert_eq!(world.publish(&to, arguments.as_bytes()).status, 202, "{arguments}");
        let told = String::from_utf8(poll.heard()).expect("text");
        assert!(told.ends_with(heard), "{told}");
    }
    assert_eq!(plain.heard(), b"\x81\x02hi", "only a chat message with a text is one for them");
    let published = world.server.metrics().messages_published();
    for (event, arguments) in [
        ("connect", "[]"),
        ("disconnecting", "[1]"),
        ("elbow:position", "[\"x\"]"),
        ("%65lbow%3A", "[]"),
        ("a", ""),
        ("a", "{}"),
        ("a", "\"x\""),
        ("a", "1"),
        ("a", "["),
        ("a", "[1"),
        ("a", "1]"),
        ("a", "[1],[2]"),
        ("a", "[,1]"),
        ("a", "[1,]"),
        ("a", "[1] x"),
        ("a", "[\"\n\"]"),
        ("", "[]"),
        ("%ff", "[]"),
        (&"x".repeat(257), "[]"),
        ("a&event=b", "[]"),
        ("a&evnt=b", "[]"),
    ] {
        let to = format!("/publish/default?event={event}");
        let answer = world.publish(&to, arguments.as_bytes());
        assert_eq!(answer.status, 400, "{event} {arguments}: {answer:?}");
    }
    let bytes = "Content-Type: application/octet-stream\r\n";
    assert_eq!(world.asked(&post("/publish/default?event=a", bytes, 2), b"[]").status, 400);
    let answer = world.publish("/publish/default?event=a", b"[\"\xff\"]");
    assert_eq!(answer.status, 400);
    assert_eq!(world.server.metrics().messages_published(), published, "nothing of it was said");
}

#[test]
fn what_is_wrong_with_a_publish_is_told_and_the_connection_goes_on_if_it_can() {
    let mut world = World::new();
    let (plain, _) = world.session();
    let backend = world.backend();
    for path in ["/publish/", "/publish/a//b", "/publish/a%20b", "/publish/%zz", "/publish/."] {
        assert_eq!(backend.ask(&mut world, &post(path, "", 2), b"hi").status, 400, "{path}");
    }
    let long = format!("/publish/{}", "x".repeat(129));
    assert_eq!(backend.ask(&mut world, &post(&long, "", 2), b"hi").status, 400);
    let longest = format!("/publish/%61{}", "x".repeat(127));
    assert_eq!(backend.ask(&mut world, &post(&longest, "", 2), b"hi").status, 202);
    assert_eq!(backend.ask(&mut world, &post("/publish/default", "", 1), b"\xff").status, 400);
    // Escaped for Socket.IO it would be too long, whoever is there.
    let escaped = [1; 1000];
    let answer = backend.ask(&mut world, &post("/publish/default", "", 1000), &escaped);
    assert_eq!(answer.status, 413);
    assert_eq!(backend.ask(&mut world, &post("/publish/nobody", "", 1000), &escaped).status, 413);
    assert_eq!(world.server.metrics().unsaid(Unsaid::TooBig), 2);
    assert_eq!(backend.ask(&mut world, &post("/publish/default", "", 2), b"hi").status, 202);
    assert_eq!(plain.heard(), b"\x81\x02hi");
    // What was not read to its end must be the last.
    let answer = backend.ask(&mut world, &post("/publish/default", "", 1025), b"");
    assert_eq!(answer.status, 413);
    assert!(answer.head.contains("\r\nConnection: close"), "{}", answer.head);
    let chunked =
        "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = world.asked(chunked, b"x\r\n");
    assert_eq!((answer.status, answer.head.contains("Connection: close")), (400, true));
    let large = [b"401\r\n".as_slice(), &[b'x'; 1025]].concat();
    let answer = world.asked(chunked, &large);
    assert_eq!((answer.status, answer.head.contains("Connection: close")), (413, true));
    let late = world.backend();
    world.say(&late.client, late.id, post("/publish/a", "", 2).as_bytes());
    world.pass(BODY_LIMIT.plus(Duration::from_secs(1)));
    assert_eq!(late.answers().first().map(|answer| answer.status), Some(408));
    assert_eq!(plain.heard(), b"");
}

#[test]
fn bodies_come_in_chunks_or_behind_100_continue_and_requests_in_a_row() {
    let mut world = World::new();
    let (plain, _) = world.session();
    let backend = world.backend();
    let chunked =
        "POST /publish/default HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let whole = [chunked.as_bytes(), b"3\r\none\r\n1;a=b\r\n!\r\n0\r\nTrailer: x\r\n\r\n"].concat();
    let next = post("/publish/default", "", 3);
    let all = [&whole, next.as_bytes(), b"two", &whole, next.as_bytes(), b"two"].concat();
    let said = [b"\x81\x04one!".as_slice(), b"\x81\x03two"].concat().repeat(2);
    let mut positions = Vec::new();
    for at in 0..=all.len() {
        world.say(&backend.client, backend.id, &all[..at]);
        world.say(&backend.client, backend.id, &all[at..]);
        let answers = backend.answers();
        assert!(answers.iter().all(|answer| answer.status == 202), "cut at {at}: {answers:?}");
        assert_eq!(plain.heard(), said, "cut at {at}");
        positions.extend(answers.into_iter().map(|answer| answer.body));
    }
    let number = |body: &String| {
        let digits = body.trim_end_matches("\"}").rsplit('.').next().expect("a number");
        digits.parse::<usize>().expect("a number")
    };
    let numbers: Vec<usize> = positions.iter().map(number).collect();
    assert_eq!(numbers, (1..=4 * (all.len() + 1)).collect::<Vec<_>>());

    let expects = post("/publish/default", "Expect: 100-continue\r\n", 2);
    world.say(&backend.client, backend.id, expects.as_bytes());
    assert_eq!(backend.client.heard(), b"HTTP/1.1 100 Continue\r\n\r\n");
    world.say(&backend.client, backend.id, b"hi");
    assert_eq!(backend.answers()[0].status, 202);
    let refused = post("/publish/default?x", "Expect: 100-continue\r\n", 2);
    let answer = backend.ask(&mut world, &refused, b"");
    assert_eq!((answer.status, answer.head.contains("Connection: close")), (400, true));
}

#[test]
fn a_message_for_nobody_is_taken_and_kept_if_anything_is() {
    let mut world = World::new();
    let answer = world.publish("/publish/news", b"hi");
    assert_eq!((answer.status, answer.body.as_str()), (202, "{\"position\":null}"));

    let mut world = World::with(|settings| *settings = keeping(8));
    let answer = world.publish("/publish/news", b"one");
    assert!(answer.body.starts_with("{\"position\":\"") && answer.body.ends_with(".1\"}"));
    let answer = world.publish("/publish/news?event=a", b"[]");
    assert!(answer.body.ends_with(".2\"}"), "{answer:?}");
    let (plain, _) = world.open_plain("/ws/news?last=5");
    assert!(plain.heard().ends_with(b"\r\n\r\n\x81\x03one"));
    // What is refused makes no channel, and what nobody takes goes with its age.
    assert_eq!(world.publish("/publish/other?event=connect", b"[]").status, 400);
    assert_eq!(world.publish("/publish/other", &[1; 1000]).status, 413);
    let lent = world.server.pool().lent_bytes();
    assert_eq!(world.publish("/publish/other", b"x").status, 202);
    assert!(world.server.pool().lent_bytes() > lent);
    world.pass(Duration::from_secs(61));
    assert!(world.server.pool().lent_bytes() <= lent);
}

#[test]
fn there_is_a_place_for_no_more_channels_than_the_operator_allows() {
    let mut world = World::with(|settings| {
        *settings = keeping(8);
        settings.limits.channels_max = 3;
    });
    for name in ["a", "b", "default"] {
        assert_eq!(world.publish(&format!("/publish/{name}"), b"x").status, 202, "{name}");
    }
    let answer = world.publish("/publish/c", b"x");
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("\r\nRetry-After: 5"), "{}", answer.head);
    assert_eq!(world.publish("/publish/a", b"x").status, 202);
}

#[test]
fn a_backend_is_put_off_while_readers_are_waited_for() {
    let mut world = World::new();
    let (publisher, id) = world.session();
    world.deaf();
    for number in 0..12 {
        world.say(&publisher, id, &frame(2, &[number; 500]));
    }
    let answer = world.publish("/publish/default", b"hi");
    assert_eq!(answer.status, 429);
    assert!(answer.head.contains("\r\nRetry-After: 1"), "{}", answer.head);
    assert_eq!(world.publish("/publish/other", b"hi").status, 202);
    world.pass(Duration::from_secs(4));
    publisher.heard();
    assert_eq!(world.publish("/publish/default", b"hi").status, 202);
    assert!(publisher.heard().ends_with(b"\x81\x02hi"));
}

#[test]
fn without_memory_a_backend_is_told_to_come_again() {
    let mut world = World::new();
    let answered = world.backend();
    let mut held = Vec::new();
    // Everybody has begun a body that does not end, until memory is used up.
    while held.len() < CONNECTIONS_ADMIN - 1 {
        let backend = world.backend();
        let begun = post("/publish/a", "", 1000);
        world.say(&backend.client, backend.id, &[begun.as_bytes(), &[b'x'; 999]].concat());
        held.push(backend);
    }
    let (client, id) = world.session();
    let mut hogs = Vec::new();
    for _ in 0..800 {
        let (hog, hog_id) = world.connect();
        world.say(&hog, hog_id, &[b"GET /".as_slice(), &[b'x'; 4000]].concat());
        hogs.push(hog);
        if hogs.len() > 300 {
            break;
        }
    }
    let answer = answered.ask(&mut world, &post("/publish/default", "", 600), &[b'x'; 600]);
    assert!(matches!(answer.status, 202 | 503), "{answer:?}");
    if answer.status == 503 {
        assert!(answer.head.contains("\r\nRetry-After: 5"), "{}", answer.head);
    } else {
        assert!(!client.heard().is_empty());
    }
    let _ = id;
}

#[test]
fn a_repeat_says_nothing_more_and_has_the_same_position() {
    let mut world = World::new();
    let (plain, _) = world.session();
    let key = "Idempotency-Key: order 7\r\n";
    let ask = |world: &mut World, key: &str, target: &str, body: &[u8]| {
        world.asked(&post(target, key, body.len()), body)
    };
    let first = ask(&mut world, key, "/publish/default", b"hi");
    let again = ask(&mut world, key, "/publish/default", b"hi");
    assert_eq!((again.status, &again.body), (202, &first.body));
    assert_eq!(plain.heard(), b"\x81\x02hi");
    let other = ask(&mut world, "Idempotency-Key: order 8\r\n", "/publish/default", b"hi");
    assert_ne!(other.body, first.body);
    assert_eq!(ask(&mut world, key, "/publish/other", b"hi").body, "{\"position\":null}");
    assert_eq!(plain.heard(), b"\x81\x02hi", "a key is its channel's own");
    world.pass(Duration::from_millis(119_000));
    assert_eq!(ask(&mut world, key, "/publish/default", b"hi").body, first.body);
    world.pass(Duration::from_millis(1_001));
    assert_ne!(ask(&mut world, key, "/publish/default", b"hi").body, first.body);
    for bad in [
        "Idempotency-Key:\r\n",
        "Idempotency-Key: \r\n",
        "Idempotency-Key: a\r\nIdempotency-Key: a\r\n",
        &format!("Idempotency-Key: {}\r\n", "k".repeat(65)),
    ] {
        assert_eq!(ask(&mut world, bad, "/publish/default", b"hi").status, 400, "{bad}");
    }
    let longest = format!("Idempotency-Key: {}\r\n", "k".repeat(64));
    assert_eq!(ask(&mut world, &longest, "/publish/default", b"hi").status, 202);
    world.pass(Duration::from_secs(121));
    assert_eq!(world.server.pool().lent_bytes(), 0, "what is remembered goes with its time");
}

#[test]
fn a_repeat_is_known_though_its_channel_was_gone_for_a_moment() {
    let mut world = World::new();
    let (plain, id) = world.session();
    let key = "Idempotency-Key: k\r\n";
    let first = world.asked(&post("/publish/default", key, 2), b"hi");
    plain.0.borrow_mut().ended = true;
    world.say(&plain, id, b"");
    let (plain, _) = world.session();
    let again = world.asked(&post("/publish/default", key, 2), b"hi");
    assert_eq!(again.body, first.body);
    assert_eq!(plain.heard(), b"");
}

#[test]
fn where_the_order_is_decided_elsewhere_the_answer_waits_for_it() {
    let mut world = World::new();
    assert!(world.server.order_elsewhere());
    let plain = world.opened();
    let key = "Idempotency-Key: k\r\n";
    let (first, again, other) = (world.backend(), world.backend(), world.backend());
    let head = post("/publish/default", key, 2);
    for backend in [&first, &again] {
        let request = [head.as_bytes(), b"hi"].concat();
        world.say(&backend.client, backend.id, &request);
    }
    let request = [post("/publish/nobody", "", 2).as_bytes(), b"ho"].concat();
    world.say(&other.client, other.id, &request);
    assert_eq!([&first, &again, &other].map(|it| it.client.heard().len()), [0; 3]);
    let mut envelopes = Vec::new();
    while let Some((ticket, envelope)) = world.server.poll_deferred() {
        envelopes.push((ticket, envelope.to_vec()));
    }
    assert_eq!(envelopes.len(), 2, "a repeat is under way already");
    for ((ticket, envelope), ms) in envelopes.iter().zip(1..) {
        assert_eq!(world.place_at(*ticket, ms, envelope), Ok(()));
        world.settle();
    }
    assert_eq!(plain.heard(), b"\x81\x02hi");
    let bodies = [&first, &again, &other].map(|it| it.answers().remove(0).body);
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(bodies[2], "{\"position\":\"2-0.1\"}", "nobody here need read it");
    let later = world.asked(&head, b"hi");
    assert_eq!(later.body, bodies[0]);
}

#[test]
fn who_waits_too_long_for_the_order_is_told_and_may_ask_again() {
    let mut world = World::new();
    assert!(world.server.order_elsewhere());
    let plain = world.opened();
    let backend = world.backend();
    let request =
        [post("/publish/default", "Idempotency-Key: k\r\n", 2).as_bytes(), b"hi"].concat();
    world.say(&backend.client, backend.id, &request);
    let (ticket, envelope) = world.server.poll_deferred().expect("it was said");
    let envelope = envelope.to_vec();
    world.pass(Duration::from_secs(3));
    let answer = backend.answers().remove(0);
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("\r\nRetry-After: 5"), "{}", answer.head);
    // It asks again on the same connection, and hears what has become of the first.
    world.say(&backend.client, backend.id, &request);
    assert_eq!(backend.client.heard(), b"");
    assert_eq!(world.place_at(ticket, 1, &envelope), Ok(()));
    world.settle();
    assert_eq!(backend.answers().remove(0).status, 202);
    assert_eq!(plain.heard(), b"\x81\x02hi");
    // Who has gone meanwhile is not missed, and its slot may be another's.
    world.say(
        &backend.client,
        backend.id,
        &[post("/publish/default", "", 2).as_bytes(), b"ho"].concat(),
    );
    let (ticket, envelope) = world.server.poll_deferred().expect("it was said");
    let envelope = envelope.to_vec();
    world.pass(Duration::from_secs(3));
    assert_eq!(backend.answers().remove(0).status, 503);
    backend.client.0.borrow_mut().ended = true;
    world.say(&backend.client, backend.id, b"");
    let stranger = world.backend();
    assert_eq!(world.place_at(ticket, 2, &envelope), Ok(()));
    world.settle();
    assert_eq!(stranger.client.heard(), b"");
    assert_eq!(plain.heard(), b"\x81\x02ho");
}

#[test]
fn a_backend_that_has_shut_down_its_side_is_still_answered() {
    let mut world = World::new();
    assert!(world.server.order_elsewhere());
    let backend = world.backend();
    let request = [post("/publish/a", "", 2).as_bytes(), b"hi"].concat();
    backend.client.0.borrow_mut().ended = true;
    world.say(&backend.client, backend.id, &request);
    let (ticket, envelope) = world.server.poll_deferred().expect("it was said");
    let envelope = envelope.to_vec();
    assert_eq!(world.place_at(ticket, 3, &envelope), Ok(()));
    world.settle();
    assert_eq!(backend.answers().remove(0).status, 202);
}

#[test]
fn the_admin_listener_answers_when_every_public_place_is_taken() {
    let mut world = World::with(|settings| settings.limits.connections_max = 2);
    while world.server.has_room_for(Listener::Public) {
        let (client, id) = world.connect();
        client.stop_reading();
        world.say(&client, id, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    let mut kept = Vec::new();
    for _ in 0..2 * CONNECTIONS_ADMIN {
        let backend = world.backend();
        assert_eq!(backend.ask(&mut world, &post("/publish/a", "", 2), b"hi").status, 202);
        world.now.mono = world.now.mono.plus(Duration::from_millis(1));
        kept.push(backend);
    }
    let lives = |backend: &&Backend| !backend.client.0.borrow().dropped;
    assert_eq!(kept.iter().filter(lives).count(), CONNECTIONS_ADMIN, "the idlest gave way");
    assert!(kept[CONNECTIONS_ADMIN..].iter().all(|backend| lives(&backend)));
}

#[test]
fn no_query_and_no_body_of_a_backend_is_logged_but_what_was_asked() {
    let mut world = World::new();
    world.events.clear();
    world.publish("/publish/a%2Fb?event=secret", b"[\"hush\"]");
    let lines: Vec<&str> = world
        .events
        .iter()
        .filter_map(|event| {
            let Event::Request(access) = event else { return None };
            Some(access.line.as_str())
        })
        .collect();
    assert_eq!(lines, ["POST /publish/a%2Fb? HTTP/1.1"]);
    let all = format!("{:?}", world.events);
    assert!(!all.contains("secret") && !all.contains("hush"), "{all}");
}
