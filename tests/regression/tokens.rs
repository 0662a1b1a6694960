//! Who may come in, and who may speak: every way in which a token comes, what it lets its bearer
//! do and until when, what others are told, and what many wrong ones cost.

use super::harness::{READABLE, WRITABLE, settings};
use super::requests::UPGRADE;
use super::sessions::request;
use super::{Client, World, frame, sid_of};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use elbow::id::ConnId;
use elbow::keys::{self, KeyKind, Keys};
use elbow::limits::CHECKS_PER_TURN;
use elbow::metrics::Unsaid;
use elbow::reason::CloseReason;
use elbow::server::{Denial, Event};
use elbow::settings::{Anonymous, Settings};
use elbow::site::Site;
use elbow::time::Duration;
use elbow::wire::token::Fault;
use p256::ecdsa::signature::Signer;

const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";

/// When the world begins, as it is in every test.
const BEGIN_S: u64 = 1_700_000_000;

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const SOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

fn none(settings: &mut Settings) {
    settings.anonymous = Anonymous::None;
}

fn all(_: &mut Settings) {}

/// A token that expires so many seconds after the beginning, with these further claims.
fn token(seconds: u64, claims: &str) -> String {
    let claims = format!(r#"{{"exp":{}{claims}}}"#, BEGIN_S + seconds);
    keys::token(SECRET, &claims).expect("the secret is long enough")
}

/// The key that signs for the file that [`guarded`] adds, and a token of it.
fn es256() -> (p256::ecdsa::SigningKey, String) {
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("below the order");
    let head = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\
        \x03\x01\x07\x03\x42\x00";
    let point = key.verifying_key().to_sec1_point(false);
    let text = BASE64.encode(&[head, point.as_bytes()].concat());
    (key, format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"))
}

/// A token that is signed with a public key's other half; by somebody else if it is `forged`.
fn public_token(claims: &str, forged: bool) -> String {
    let claims = format!(r#"{{"exp":{}{claims}}}"#, BEGIN_S + 3600);
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let text = format!("{}.{}", encode(r#"{"alg":"ES256"}"#), encode(&claims));
    let signature: p256::ecdsa::Signature = es256().0.sign(text.as_bytes());
    let mut bytes = signature.to_bytes();
    bytes[40] ^= u8::from(forged);
    format!("{text}.{}", BASE64URL_NOPAD.encode(&bytes))
}

/// A server that checks tokens.
fn guarded(change: impl FnOnce(&mut Settings)) -> World {
    let mut settings = settings();
    change(&mut settings);
    let mut world = World::begin(settings, Site::new(Vec::new(), false));
    let mut keys = Keys::default();
    keys.add_file(KeyKind::Hs256, SECRET).expect("a secret");
    keys.add_file(KeyKind::Es256, es256().1.as_bytes()).expect("a public key");
    world.server.set_keys(keys);
    world
}

impl World {
    /// Opens a WebSocket with these further fields; the status of the answer.
    fn visit(&mut self, target: &str, fields: &str) -> (Client, ConnId, String) {
        let (client, id) = self.connect();
        let head = request("GET", target, &format!("{UPGRADE}{fields}"));
        self.say(&client, id, head.as_bytes());
        let heard = String::from_utf8_lossy(&client.heard()).into_owned();
        (client, id, heard.get(9..12).unwrap_or_default().to_owned())
    }

    /// A WebSocket that shows `token` in its query and is let in.
    fn bearer(&mut self, target: &str, token: &str) -> (Client, ConnId) {
        let (client, id, status) = self.visit(&format!("{target}?token={token}"), "");
        assert_eq!(status, "101");
        (client, id)
    }

    fn refused(&self, fault: Fault) -> u64 {
        self.server.metrics().tokens_refused(fault)
    }

    /// What has become of those that were refused, one after the other.
    fn faults(&self) -> Vec<Fault> {
        let fault = |event: &Event| {
            let Event::Denied { denial: Denial::Token(fault), .. } = event else { return None };
            Some(*fault)
        };
        self.events.iter().filter_map(fault).collect()
    }

    /// A session of Engine.IO on a WebSocket that says this CONNECT; what it hears.
    fn enters(&mut self, target: &str, connect: &str) -> (Client, ConnId, String) {
        let (client, id, status) = self.visit(target, "");
        assert_eq!(status, "101");
        self.say(&client, id, &frame(1, connect.as_bytes()));
        let heard = String::from_utf8_lossy(&client.heard()).into_owned();
        (client, id, heard)
    }

    /// Who has entered channels, one after the other.
    fn subjects(&self) -> Vec<&str> {
        let opened = self.events.iter().filter_map(|event| {
            let Event::Opened { subject, .. } = event else { return None };
            Some(&**subject)
        });
        opened.collect()
    }

    fn ends(&self) -> Vec<CloseReason> {
        let reason = |event: &Event| {
            let Event::Closed { reason, .. } = event else { return None };
            Some(*reason)
        };
        self.events.iter().filter_map(reason).collect()
    }
}

#[test]
fn a_token_comes_in_three_ways_and_lets_in_where_it_says() {
    let good = token(60, r#","join":["news","room/*"]"#);
    let ways = [
        (format!("?token={good}"), String::new()),
        (format!("?a=b&%74oken={good}&c"), String::new()),
        (String::new(), format!("Authorization: Bearer {good}\r\n")),
        (String::new(), format!("Sec-WebSocket-Protocol: elbow.v1, token.{good}\r\n")),
        (String::new(), format!("Sec-WebSocket-Protocol: token.{good}\r\n")),
    ];
    for (query, fields) in &ways {
        for (path, expected) in [
            ("/ws/news", "101"),
            ("/ws/room/7", "101"),
            ("/ws/others", "403"),
            ("/ws", "403"),
            ("/", "403"),
        ] {
            let mut world = guarded(none);
            let (_, _, status) = world.visit(&format!("{path}{query}"), fields);
            assert_eq!(status, expected, "{path}{query} {fields}");
            let fault = (expected == "403").then_some(Fault::Channel);
            assert_eq!(world.faults(), fault.into_iter().collect::<Vec<_>>());
        }
        if fields.starts_with("Sec-WebSocket-Protocol") {
            continue;
        }
        for (path, expected) in [("/sse/news", "200"), ("/sse/others", "403"), ("/sse", "403")] {
            let mut world = guarded(none);
            assert_eq!(world.status(&format!("{path}{query}"), fields), expected);
            let head = request("HEAD", &format!("{path}{query}"), fields);
            assert_eq!(world.answer(&head).0, expected);
        }
    }
}

#[test]
fn the_secret_is_never_echoed_and_the_other_subprotocol_is() {
    let good = token(60, r#","join":["*"]"#);
    let mut world = guarded(none);
    for (offered, answered) in [
        (format!("token.{good}, elbow.v1"), Some("elbow.v1")),
        (format!("token.{good}, chat"), Some("chat")),
        (format!("token.{good}"), None),
    ] {
        let fields = format!("{UPGRADE}Sec-WebSocket-Protocol: {offered}\r\n");
        let (status, heard) = world.answer(&request("GET", "/ws", &fields));
        assert_eq!(status, "101");
        assert!(!heard.contains("token"), "{heard}");
        let line = answered.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        assert!(line.is_none_or(|line| heard.contains(&line)), "{heard}");
    }
}

#[test]
fn who_shows_no_token_may_what_the_operator_has_said() {
    for (anonymous, entered, may_speak) in [
        (Anonymous::All, true, true),
        (Anonymous::Join, true, false),
        (Anonymous::None, false, false),
    ] {
        let mut world = guarded(|settings| settings.anonymous = anonymous);
        let (client, id, status) = world.visit("/ws/news", "");
        assert_eq!(status, if entered { "101" } else { "401" });
        let status = world.status("/sse/news", "");
        assert_eq!(status, if entered { "200" } else { "401" });
        if entered {
            world.say(&client, id, &frame(1, b"hello"));
            let heard = client.heard();
            let closed = b"\x88\x0f\x03\xf0may not speak".as_slice();
            assert_eq!(heard, if may_speak { b"\x81\x05hello".as_slice() } else { closed });
            assert_eq!(world.server.metrics().unsaid(Unsaid::MayNotSpeak), u64::from(!may_speak));
        }
        // What is empty is no token.
        for empty in ["/ws/news?token=", "/ws/news?token"] {
            assert_eq!(world.visit(empty, "").2, if entered { "101" } else { "401" });
        }
        // One that is not taken is refused, whatever others may.
        assert_eq!(world.visit("/ws/news?token=x", "").2, "401");
        assert_eq!(world.status("/sse/news?token=x", ""), "401");
        let narrow = token(60, "");
        assert_eq!(world.visit(&format!("/ws/news?token={narrow}"), "").2, "403");
    }
}

#[test]
fn a_read_only_room_needs_no_keys() {
    let mut world = World::with(|settings| settings.anonymous = Anonymous::Join);
    // Without keys nothing is a token.
    let (client, id, status) = world.visit("/ws?token=nonsense", "Authorization: Bearer x\r\n");
    assert_eq!(status, "101");
    world.say(&client, id, &frame(2, b""));
    assert_eq!(client.heard(), b"\x88\x0f\x03\xf0may not speak");
    let (client, id) = world.socket(&["", "/news,"]);
    world.say(&client, id, &frame(1, br#"42/news,3["chat message","x"]"#));
    assert!(client.heard().is_empty());
    assert_eq!(world.server.metrics().unsaid(Unsaid::MayNotSpeak), 2);
}

#[test]
fn whoever_is_refused_is_told_how_and_not_why() {
    let mut world = guarded(none);
    let (status, heard) = world.answer(&request("GET", "/ws", UPGRADE));
    assert_eq!(status, "401");
    assert!(heard.contains("WWW-Authenticate: Bearer realm=\"elbow\"\r\n"), "{heard}");
    let expired = token(0, r#","join":["*"]"#);
    let good = token(60, "");
    let (signed, _) = good.rsplit_once('.').expect("there are dots");
    let unsigned = format!("{signed}.{}", "A".repeat(43));
    let mut told = Vec::new();
    for token in ["x", &unsigned, &expired] {
        let target = format!("/ws?token={token}");
        let (status, heard) = world.answer(&request("GET", &target, UPGRADE));
        assert_eq!(status, "401");
        assert!(heard.contains("error=\"invalid_token\""), "{heard}");
        assert!(!heard.contains(token.get(..20).unwrap_or("Date: x")));
        told.push(heard);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
    let faults = [Fault::Missing, Fault::Malformed, Fault::Signature, Fault::Expired];
    assert_eq!(world.faults(), faults);
    for fault in faults {
        assert_eq!(world.refused(fault), 1);
    }
    let (status, heard) = world.answer(&request("GET", "/sse", "Origin: http://h\r\n"));
    assert_eq!((&*status, heard.contains("WWW-Authenticate: Bearer")), ("401", true));
}

#[test]
fn nothing_of_a_token_is_told_to_the_log() {
    let good = token(60, r#","sub":"ann","join":["*"]"#);
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let mut world = guarded(none);
    let (client, id) = world.bearer("/ws/news", &good);
    world.visit("/ws", &format!("Authorization: Bearer {good}\r\n"));
    world.visit("/ws", &format!("Sec-WebSocket-Protocol: token.{good}x\r\n"));
    world.visit("/ws", &format!("Sec-WebSocket-Protocol: token.{good}, token.{good}\r\n"));
    world.status(&format!("/sse?token={good}y"), "");
    world.status(&format!("{POLLING}&token={good}z"), "");
    world.enters(SOCKET, &format!(r#"40/news,{{"token":"{good}u"}}"#));
    world.enters(SOCKET, &format!(r#"40{{"token":"{good}"}}"#));
    world.say(&client, id, &frame(8, b""));
    assert!(world.events.len() > 12);
    let told = format!("{:?}", world.events);
    let shown = format!("{:?}", world.server);
    for part in [header, claims, signature] {
        assert!(!told.contains(part) && !shown.contains(part));
    }
    // Who it is may be told.
    assert_eq!(world.subjects(), ["ann", "ann", "ann"]);
}

#[test]
fn a_stay_ends_when_the_token_expires() {
    let mut world = guarded(none);
    let good = token(30, r#","join":["*"]"#);
    let (plain, _) = world.bearer("/ws", &good);
    let (stream, stream_id) = world.connect();
    let head = request("GET", &format!("/sse?token={good}"), "");
    world.say(&stream, stream_id, head.as_bytes());
    let (session, _, _) = world.enters(&format!("{SOCKET}&token={good}"), "40");
    let (poller, poller_id) = world.connect();
    world.request(&poller, poller_id, "GET", &format!("{POLLING}&token={good}"), "");
    let target = format!("{POLLING}&sid={}", sid_of(&poller.heard()));
    world.request(&poller, poller_id, "POST", &target, "40");
    world.request(&poller, poller_id, "GET", &target, "");
    poller.heard();
    for client in [&plain, &stream, &session] {
        client.heard();
    }
    assert_eq!(world.server.sessions(), 4);
    world.pass(Duration::from_millis(29_900));
    assert_eq!(world.server.sessions(), 4, "{:?}", world.ends());
    world.pass(Duration::from_millis(2_000));
    assert!(plain.heard().ends_with(b"\x88\x0f\x03\xf0token expired"));
    assert!(session.heard().ends_with(b"\x88\x0f\x03\xf0token expired"));
    assert!(stream.heard().ends_with(b"0\r\n\r\n"));
    world.pass(Duration::from_secs(10));
    assert_eq!(world.server.sessions(), 0);
    assert_eq!(world.ends(), [CloseReason::TokenExpired; 4]);
    world.now.unix_s += 31;
    assert_eq!(world.visit(&format!("/ws?token={good}"), "").2, "401");
    assert_eq!(world.faults(), [Fault::Expired]);
}

#[test]
fn whoever_is_still_sent_what_it_missed_gets_that_before_its_stay_ends() {
    for (target, fields) in [("/ws/news", UPGRADE), ("/sse/news", "")] {
        let mut world = guarded(|settings| *settings = super::history::keeping(50));
        let long = token(600, r#","join":["news"]"#);
        let (speaker, id) = world.bearer("/ws/news", &long);
        for number in 0..20 {
            let text = format!("{number:02} {}", "x".repeat(100));
            world.say(&speaker, id, &frame(1, text.as_bytes()));
        }
        let brief = token(20, r#","join":["news"]"#);
        let (reader, id) = world.connect();
        // Of what it has missed it takes a part, until its stay is over.
        reader.0.borrow_mut().room = 900;
        let head = request("GET", &format!("{target}?last=20&token={brief}"), fields);
        world.say(&reader, id, head.as_bytes());
        world.pass(Duration::from_secs(21));
        assert_eq!(reader.0.borrow().room, 0, "it takes no more");
        assert_eq!(world.ends(), []);
        reader.0.borrow_mut().room = usize::MAX;
        world.ready(id, WRITABLE);
        world.settle();
        let heard = String::from_utf8_lossy(&reader.heard()).into_owned();
        let places = (0..20).map(|number| heard.find(&format!("{number:02} xxx")));
        let places: Vec<usize> = places.map(|place| place.expect("it is sent all")).collect();
        assert!(places.is_sorted());
        let last = if fields.is_empty() { "0\r\n\r\n" } else { "token expired" };
        assert!(heard.ends_with(last), "{heard}");
        world.pass(Duration::from_secs(10));
        assert_eq!(world.ends(), [CloseReason::TokenExpired]);
        world.server.check();
    }
}

#[test]
fn what_somebody_knows_of_its_last_visit_lets_nobody_in() {
    let mut world = guarded(|settings| {
        *settings = super::history::keeping(50);
        (settings.recovery, settings.anonymous) = (true, Anonymous::None);
    });
    let good = token(600, r#","join":["news"]"#);
    let own = |more: &str| format!(r#"40/news,{{"token":"{good}"{more}}}"#);
    let (client, id, heard) = world.enters(SOCKET, &own(""));
    let (_, pid) = heard.split_once(r#""pid":""#).expect("an id by which to come back");
    let (_, offset) = heard.split_once(r#""elbow:position",""#).expect("an offset");
    let member = |name: &str, rest: &str| {
        let (text, _) = rest.split_once('"').expect("it ends");
        format!(r#","{name}":"{text}""#)
    };
    let back = member("pid", pid) + &member("offset", offset);
    world.say(&client, id, &frame(1, br#"42/news,["chat message","kept"]"#));
    world.say(&client, id, &frame(8, b""));
    let narrow = token(600, r#","join":["others"]"#);
    for (connect, answer) in [
        (format!("40/news,{{{}}}", &back[1..]), "unauthorized"),
        (format!(r#"40/news,{{"token":"x"{back}}}"#), "unauthorized"),
        (format!(r#"40/news,{{"token":"{narrow}"{back}}}"#), "forbidden"),
        (own(&back), &format!(r#""pid":"{}""#, &pid[..20])),
    ] {
        let (_, _, heard) = world.enters(SOCKET, &connect);
        assert!(heard.contains(answer), "{heard}");
        assert_eq!(
            heard.contains("\"sid\":\"") && heard.contains("40/news"),
            answer.contains("pid")
        );
    }
    let (position, _) = offset.split_once('"').expect("it ends");
    assert_eq!(world.visit(&format!("/ws/news?since={position}"), "").2, "401");
    assert_eq!(world.status("/sse/news", &format!("Last-Event-ID: {position}\r\n")), "401");
    let target = format!("/ws/news?since={position}&strict&token={narrow}");
    assert_eq!(world.visit(&target, "").2, "403");
    let target = format!("/ws/news?since={position}&strict&token={good}");
    assert_eq!(world.visit(&target, "").2, "101");
}

#[test]
fn what_is_said_behind_a_token_that_waits_is_said_once_it_is_in_or_never() {
    for (forged, answered) in [(false, "101"), (true, "401")] {
        let mut world = guarded(none);
        let (other, _) = world.bearer("/ws/news", &token(600, r#","join":["news"]"#));
        other.heard();
        let (client, id) = world.connect();
        let shown = public_token(r#","join":["news"]"#, forged);
        let head = request("GET", &format!("/ws/news?token={shown}"), UPGRADE);
        client.0.borrow_mut().to_server.extend(head.as_bytes());
        client.0.borrow_mut().to_server.extend(frame(1, b"hasty"));
        world.ready(id, READABLE);
        assert!(other.heard().is_empty(), "nothing is said before the check");
        world.settle();
        assert_eq!(other.heard(), if forged { &b""[..] } else { b"\x81\x05hasty" });
        let heard = String::from_utf8_lossy(&client.heard()).into_owned();
        assert!(heard.starts_with(&format!("HTTP/1.1 {answered} ")), "{heard}");
    }
}

#[test]
fn a_namespace_has_a_token_of_its_own_or_that_of_the_handshake() {
    let wide = token(600, r#","sub":"ann","join":["*"],"say":["news"]"#);
    let news = token(60, r#","sub":"bob","join":["news"]"#);
    let unauthorized = "\"message\":\"unauthorized\"";
    let forbidden = "\"message\":\"forbidden\"";
    for (handshake, connect, expected) in [
        ("", "40/news,".to_owned(), Err(unauthorized)),
        ("", r#"40/news,{"token":"x"}"#.to_owned(), Err(unauthorized)),
        ("", r#"40/news,{"token":7}"#.to_owned(), Err(unauthorized)),
        ("", format!(r#"40/news,{{"token":"{news}","token":"{news}"}}"#), Err(unauthorized)),
        ("", format!(r#"40/news,{{"token":"{news}"}}"#), Ok("bob")),
        ("", format!(r#"40/others,{{"token":"{news}"}}"#), Err(forbidden)),
        ("", format!(r#"40{{"token":"{news}"}}"#), Err(forbidden)),
        (&*wide, "40/news,".to_owned(), Ok("ann")),
        (&wide, r#"40/news,{"token":null}"#.to_owned(), Ok("ann")),
        (&wide, format!(r#"40/news,{{"token":"{news}"}}"#), Ok("bob")),
        // Its own wins over that of the handshake, also where it lets in less.
        (&wide, format!(r#"40/others,{{"token":"{news}"}}"#), Err(forbidden)),
        (&wide, r#"40/news,{"token":"x"}"#.to_owned(), Err(unauthorized)),
        (&news, "40/others,".to_owned(), Err(forbidden)),
        (&news, "40/news,".to_owned(), Ok("bob")),
    ] {
        let mut world = guarded(none);
        let token = if handshake.is_empty() { "" } else { "&token=" };
        let (_, _, heard) = world.enters(&format!("{SOCKET}{token}{handshake}"), &connect);
        match expected {
            Ok(subject) => {
                assert!(heard.contains("{\"sid\""), "{connect}: {heard}");
                assert_eq!(world.subjects(), [subject], "{connect}");
            }
            Err(why) => assert!(heard.contains(why), "{connect}: {heard}"),
        }
    }
}

#[test]
fn who_may_not_speak_in_a_namespace_is_not_heard_there() {
    let mut world = guarded(all);
    let target = format!("{SOCKET}&token={}", token(60, r#","join":["*"],"say":["news"]"#));
    let (client, id, _) = world.enters(&target, "40/news,");
    world.say(&client, id, &frame(1, b"40/talk,"));
    let (reader, _, _) = world.visit("/ws/talk", "");
    client.heard();
    world.say(&client, id, &frame(1, br#"42/talk,1["chat message","psst"]"#));
    assert!(client.heard().is_empty() && reader.heard().is_empty());
    assert_eq!(world.server.metrics().unsaid(Unsaid::MayNotSpeak), 1);
    world.say(&client, id, &frame(1, br#"42/news,2["chat message","hear"]"#));
    let heard = String::from_utf8_lossy(&client.heard()).into_owned();
    assert!(heard.contains("43/news,2[]") && heard.contains(r#"42/news,["chat message","hear"]"#));
}

#[test]
fn a_stay_of_a_session_ends_with_the_token_that_expires_first() {
    let mut world = guarded(all);
    let (client, id, _) = world
        .enters(SOCKET, &format!(r#"40/a,{{"token":"{}"}}"#, { token(3600, r#","join":["*"]"#) }));
    let short = token(20, r#","join":["b"]"#);
    world.say(&client, id, &frame(1, format!(r#"40/b,{{"token":"{short}"}}"#).as_bytes()));
    client.heard();
    world.pass(Duration::from_secs(18));
    assert_eq!(world.server.sessions(), 1);
    world.pass(Duration::from_secs(4));
    assert!(client.heard().ends_with(b"token expired"));
    // Whoever shows no token stays.
    let (other, _, _) = world.enters(SOCKET, "40");
    other.heard();
    world.pass(Duration::from_secs(10));
    assert_eq!(world.ends(), [CloseReason::TokenExpired; 2]);
}

#[test]
fn a_session_whose_stay_is_over_enters_nothing_more() {
    let wide = token(600, r#","join":["*"]"#);
    let brief = token(30, r#","join":["*"]"#);
    let own = |token: &str| format!(r#",{{"token":"{token}"}}"#);
    for (handshake, first, second) in [
        (&brief, ",".to_owned(), ",".to_owned()),
        (&brief, ",".to_owned(), own(&wide)),
        (&wide, own(&brief), ",".to_owned()),
    ] {
        let mut world = guarded(none);
        let target = format!("{SOCKET}&token={handshake}");
        let (client, id, heard) = world.enters(&target, &format!("40/a{first}"));
        assert!(heard.contains("\"sid\""), "{heard}");
        // The machine sleeps, and what has come meanwhile is read before deadlines are served.
        world.now.mono = world.now.mono.plus(Duration::from_secs(31));
        world.now.unix_s += 31;
        world.say(&client, id, &frame(1, format!("40/b{second}").as_bytes()));
        world.settle();
        let heard = String::from_utf8_lossy(&client.heard()).into_owned();
        assert!(heard.contains("44/b,{\"message\":\"unauthorized\"}"), "{heard}");
        assert!(!heard.contains("\"sid\"") && heard.ends_with("token expired"), "{heard}");
        assert_eq!(world.faults(), [Fault::Expired]);
    }
}

#[test]
fn a_token_that_never_expires_lets_in_for_as_long_as_clocks_count() {
    for exp in ["1e300", "18446744073709551615", "1.8e19", "9223372036854775808"] {
        let claims = format!(r#"{{"exp":{exp},"join":["*"]}}"#);
        let token = keys::token(SECRET, &claims).expect("the secret is long enough");
        let mut world = guarded(none);
        let (client, _) = world.bearer("/ws", &token);
        let (session, _, _) = world.enters(&format!("{SOCKET}&token={token}"), "40");
        world.pass(Duration::from_secs(8));
        assert_eq!(world.ends(), [], "{exp}");
        client.heard();
        session.heard();
    }
}

#[test]
fn clients_of_socket_io_2_show_a_token_in_their_handshake() {
    let good = token(60, r#","join":["default","news"]"#);
    let third = "/socket.io/?EIO=3&transport=websocket";
    for (query, begins, answer) in [
        (String::new(), r#"44"unauthorized""#, r#"44/news,"unauthorized""#),
        (format!("&token={good}"), "40", "40/news,"),
        (format!("&token={}", token(60, r#","join":["news"]"#)), r#"44"forbidden""#, "40/news,"),
    ] {
        let mut world = guarded(none);
        let (client, id) = world.connect();
        let head = request("GET", &format!("{third}{query}"), UPGRADE);
        world.say(&client, id, head.as_bytes());
        let heard = String::from_utf8_lossy(&client.heard()).into_owned();
        assert!(heard.contains(begins), "{heard}");
        world.say(&client, id, &frame(1, b"40/news,"));
        let heard = String::from_utf8_lossy(&client.heard()).into_owned();
        assert!(heard.contains(answer), "{heard}");
    }
    // Behind the name of a namespace stands what a client says of that one alone.
    let news = token(60, r#","join":["news"],"sub":"ann""#);
    let both = format!(r#"40/news?token={news},{{"token":"{news}"}}"#);
    for (handshake, connect, answer) in [
        ("", format!("40/news?token={news},"), "40/news,"),
        ("", format!("40/news?a=b&%74oken={news}&c"), "40/news,"),
        ("", format!("40/others?token={news},"), r#"44/others,"forbidden""#),
        ("", "40/news?token=,".to_owned(), r#"44/news,"unauthorized""#),
        (&*good, "40/news?token=,".to_owned(), "40/news,"),
        (&good, format!("40/news?token={news},"), "40/news,"),
        // One that is not taken never counts as none.
        (&good, "40/news?token=x,".to_owned(), r#"44/news,"unauthorized""#),
        (&good, format!("40/news?token={news}&token={news},"), r#"44/news,"unauthorized""#),
        (&good, both, r#"44/news,"unauthorized""#),
    ] {
        let mut world = guarded(none);
        let shown = if handshake.is_empty() { "" } else { "&token=" };
        let (client, id) = world.connect();
        let head = request("GET", &format!("{third}{shown}{handshake}"), UPGRADE);
        world.say(&client, id, head.as_bytes());
        client.heard();
        world.say(&client, id, &frame(1, connect.as_bytes()));
        let heard = String::from_utf8_lossy(&client.heard()).into_owned();
        assert!(heard.contains(answer), "{connect}: {heard}");
        let told = format!("{:?}", world.events);
        assert!(!told.contains(&news[..30]) && !told.contains("token="), "{told}");
    }
    let mut world = guarded(all);
    for target in [third, "/socket.io/?EIO=3&transport=polling", POLLING, SOCKET] {
        let fields = if target.ends_with("polling") { "" } else { UPGRADE };
        let head = request("GET", &format!("{target}&token=x"), fields);
        let (status, heard) = world.answer(&head);
        assert_eq!(status, "401", "{target}");
        assert!(heard.to_lowercase().contains("unauthorized"), "{heard}");
        assert!(heard.contains("WWW-Authenticate: Bearer"), "{heard}");
    }
    assert_eq!(world.server.sessions(), 0);
}

#[test]
fn sessions_of_protocol_3_that_were_let_into_nothing_are_an_eighth_at_most() {
    let mut world = guarded(|settings| {
        none(settings);
        settings.limits.connections_max = 16;
    });
    let third = "/socket.io/?EIO=3&transport=websocket";
    let good = token(600, r#","join":["default"]"#);
    let narrow = token(600, r#","join":["news"]"#);
    let ends = |world: &World| world.ends().len();
    let (member, _, _) = world.visit(&format!("{third}&token={good}"), "");
    let [first, second, third_one, fourth] = ["", "", "&token=", ""].map(|how| {
        let shown = if how.is_empty() { "" } else { &narrow };
        let (client, id, status) = world.visit(&format!("{third}{how}{shown}"), "");
        assert_eq!(status, "101");
        (client, id)
    });
    // Those that have waited for longest give way, and nobody else.
    for (client, gave_way) in
        [(&member, false), (&first.0, true), (&second.0, true), (&third_one.0, false)]
    {
        let heard = client.heard();
        assert_eq!(heard.ends_with(b"gave way"), gave_way, "{}", heard.escape_ascii());
    }
    assert!(!fourth.0.heard().ends_with(b"gave way"));
    // Whoever enters at once or later takes nobody's place.
    let before = ends(&world);
    world.say(&third_one.0, third_one.1, &frame(1, b"40/news,"));
    assert_eq!(third_one.0.heard(), b"\x81\x0840/news,");
    let (other, _, _) = world.visit(&format!("{third}&token={good}"), "");
    assert!(other.heard().is_empty());
    assert_eq!(ends(&world), before);
}

#[test]
fn what_a_session_keeps_of_its_token_is_short_and_given_back() {
    let mut world = guarded(none);
    let lent = world.server.pool().lent_bytes();
    let names = |count| vec![r#""room/12345678""#; count].join(",");
    let long = token(60, &format!(r#","join":[{}]"#, names(34)));
    let short = token(60, &format!(r#","sub":"ann","join":[{}]"#, names(30)));
    let (client, id, status) = world.visit(&format!("{SOCKET}&token={long}"), "");
    assert_eq!((&*status, world.faults()), ("401", vec![Fault::Rights]));
    world.say(&client, id, b"");
    // A plain WebSocket keeps nothing of it.
    assert_eq!(world.visit(&format!("/ws/room/12345678?token={long}"), "").2, "101");
    let (client, id, heard) = world.enters(&format!("{SOCKET}&token={short}"), "40/room/12345678,");
    assert!(heard.contains("\"sid\""), "{heard}");
    world.say(&client, id, &frame(1, b"41/room/12345678,"));
    world.say(&client, id, &frame(8, b""));
    world.pass(Duration::from_secs(60));
    world.server.drain(world.now, world.now.mono);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.server.connections(), 0);
    let spent = elbow::hub::SESSION_TABLES_BYTES;
    assert!(world.server.pool().lent_bytes() <= lent + spent);
}

#[test]
fn without_memory_for_its_rights_a_session_is_refused_and_not_let_in_as_anybody() {
    let mut world = guarded(all);
    let narrow = token(600, r#","join":["news"]"#);
    // Strangers use the memory up.
    let mut others = Vec::new();
    for _ in 0..390 {
        let (client, id) = world.connect();
        world.say(&client, id, format!("GET /{}", "x".repeat(3000)).as_bytes());
        others.push(client);
    }
    for target in [POLLING, SOCKET] {
        let fields = if target == SOCKET { UPGRADE } else { "" };
        let head = request("GET", &format!("{target}&token={narrow}"), fields);
        let (status, _) = world.answer(&head);
        assert!(matches!(&*status, "503" | ""), "{status}");
    }
    assert_eq!(world.server.sessions(), 0);
}

#[test]
fn public_keys_are_tried_four_times_a_turn_and_nobody_else_waits() {
    let mut world = guarded(none);
    let forged = public_token(r#","join":["*"]"#, true);
    let good = public_token(r#","join":["*"]"#, false);
    let ask = |world: &mut World, token: &str| {
        let (client, id) = world.connect();
        let head = request("GET", &format!("/ws?token={token}"), UPGRADE);
        client.0.borrow_mut().to_server.extend(head.as_bytes());
        world.ready(id, READABLE);
        client
    };
    let flood: Vec<Client> = (0..20).map(|_| ask(&mut world, &forged)).collect();
    let last = ask(&mut world, &good);
    assert_eq!(world.refused(Fault::Signature), 0, "nothing is checked before the turn");
    // A secret is no public key: who shows a token of it is in at once.
    let quick = ask(&mut world, &token(60, r#","join":["*"]"#));
    world.turn();
    assert!(quick.heard().starts_with(b"HTTP/1.1 101 "));
    for turn in 1..=5 {
        let checked = u64::from(CHECKS_PER_TURN) * turn;
        assert_eq!(world.refused(Fault::Signature), checked);
        world.turn();
    }
    world.settle();
    assert!(last.heard().starts_with(b"HTTP/1.1 101 "));
    assert!(flood.iter().all(|client| client.heard().starts_with(b"HTTP/1.1 401 ")));
}

#[test]
fn what_can_be_refused_without_a_signature_does_not_wait() {
    let mut world = guarded(|settings| {
        none(settings);
        settings.parties.audience = Some("here".into());
        settings.parties.issuer = Some("issuer".into());
    });
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let exp = BEGIN_S + 60;
    let named = r#""aud":"here","iss":"issuer""#;
    for (header, claims, fault) in [
        (r#"{"alg":"ES256"}"#, format!(r#"{{"exp":{exp}}}"#), Fault::Audience),
        (r#"{"alg":"ES256"}"#, format!(r#"{{"exp":{exp},"aud":"here"}}"#), Fault::Issuer),
        (r#"{"alg":"ES256"}"#, format!(r#"{{"exp":{BEGIN_S},{named}}}"#), Fault::Expired),
        (r#"{"alg":"ES256"}"#, format!(r#"{{{named}}}"#), Fault::NoExpiry),
        (r#"{"alg":"ES256","crit":[]}"#, format!(r#"{{"exp":{exp},{named}}}"#), Fault::Critical),
        (r#"{"alg":"EdDSA"}"#, format!(r#"{{"exp":{exp},{named}}}"#), Fault::UnknownKey),
        (r#"{"alg":"none"}"#, format!(r#"{{"exp":{exp},{named}}}"#), Fault::Algorithm),
    ] {
        let (client, id) = world.connect();
        let signature = BASE64URL_NOPAD.encode(&[1; 64]);
        let token = format!("{}.{}.{signature}", encode(header), encode(&claims));
        let head = request("GET", &format!("/ws?token={token}"), UPGRADE);
        client.0.borrow_mut().to_server.extend(head.as_bytes());
        world.ready(id, READABLE);
        assert_eq!(world.refused(fault), 1, "{header} {claims}");
        world.settle();
    }
}

#[test]
fn a_connect_with_a_public_token_costs_a_third_of_what_publishers_have() {
    let mut world = guarded(all);
    let forged = public_token(r#","join":["*"]"#, true);
    let sessions: Vec<(Client, ConnId)> = (0..9)
        .map(|_| {
            let (client, id, _) = world.visit(SOCKET, "");
            (client, id)
        })
        .collect();
    let connect = frame(1, format!(r#"40/a,{{"token":"{forged}"}}"#).as_bytes());
    for (client, id) in &sessions {
        client.0.borrow_mut().to_server.extend(connect.iter().chain(&connect));
        world.ready(*id, READABLE);
    }
    // One turn of the loop after the other.
    let mut before = 0;
    while world.turn() {
        let checked = world.refused(Fault::Signature);
        assert_eq!(checked - before, u64::from(CHECKS_PER_TURN) - 1);
        before = checked;
    }
    assert_eq!(world.refused(Fault::Signature), 18);
    assert!(sessions.iter().all(|(client, _)| {
        String::from_utf8_lossy(&client.heard()).matches("unauthorized").count() == 2
    }));
}

#[test]
fn who_waits_for_a_check_for_too_long_is_told_to_come_back() {
    let mut world = guarded(none);
    let good = public_token(r#","join":["*"]"#, false);
    let (client, id) = world.connect();
    let head = request("GET", &format!("/ws?token={good}"), UPGRADE);
    client.0.borrow_mut().to_server.extend(head.as_bytes());
    world.ready(id, READABLE);
    // The machine sleeps, and the deadline comes before the turn of those that wait.
    world.now.mono = world.now.mono.plus(Duration::from_secs(11));
    world.settle();
    let heard = String::from_utf8_lossy(&client.heard()).into_owned();
    assert!(heard.starts_with("HTTP/1.1 503 ") && heard.contains("Retry-After"), "{heard}");
    world.pass(Duration::from_secs(60));
    assert_eq!(world.server.connections(), 0);
}

#[test]
fn requests_behind_one_that_waits_are_answered_behind_it() {
    let mut world = guarded(none);
    let forged = public_token(r#","join":["*"]"#, true);
    let (client, id) = world.connect();
    let first = request("GET", &format!("/sse?token={forged}"), "");
    let second = request("GET", "/healthz", "");
    world.say(&client, id, format!("{first}{second}{second}").as_bytes());
    let heard = String::from_utf8_lossy(&client.heard()).into_owned();
    let statuses: Vec<&str> = heard.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["401", "200", "200"]);
}

#[test]
fn a_key_that_is_taken_away_lets_nobody_in_and_ends_nobody() {
    let mut world = guarded(none);
    let good = token(60, r#","join":["*"]"#);
    let (client, id) = world.bearer("/ws", &good);
    let mut keys = Keys::default();
    keys.add_file(KeyKind::Hs256, b"another secret of thirty-two bytes").expect("a secret");
    world.server.set_keys(keys);
    assert_eq!(world.visit(&format!("/ws?token={good}"), "").2, "401");
    world.say(&client, id, &frame(1, b"still here"));
    assert_eq!(client.heard(), b"\x81\x0astill here");
}

#[test]
fn who_waits_while_keys_change_is_checked_with_the_new_ones() {
    let mut world = guarded(none);
    let good = public_token(r#","join":["*"]"#, false);
    let other = |number: u8| {
        let key = p256::ecdsa::SigningKey::from_slice(&[number; 32]).expect("below the order");
        let point = key.verifying_key().to_sec1_point(false);
        let [x, y] = [&point.as_bytes()[1..33], &point.as_bytes()[33..]];
        let [x, y] = [x, y].map(|bytes| BASE64URL_NOPAD.encode(bytes));
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#)
    };
    let set = |numbers: &[u8]| {
        let mut keys = Keys::default();
        let all: Vec<String> = numbers.iter().map(|number| other(*number)).collect();
        let text = format!(r#"{{"keys":[{}]}}"#, all.join(","));
        keys.add_file(KeyKind::Jwks, text.as_bytes()).expect("a set");
        keys
    };
    // Whoever signs is none of the first four, and the only one later.
    for (later, status) in [(&[7][..], "101"), (&[7, 8, 9], "101"), (&[8, 9], "401")] {
        world.server.set_keys(set(&[1, 2, 3, 4, 5]));
        let (client, id) = world.connect();
        let head = request("GET", &format!("/ws?token={good}"), UPGRADE);
        client.0.borrow_mut().to_server.extend(head.as_bytes());
        world.ready(id, READABLE);
        world.turn();
        assert!(client.heard().is_empty(), "four of five keys were tried");
        world.server.set_keys(set(later));
        world.settle();
        let heard = String::from_utf8_lossy(&client.heard()).into_owned();
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{heard}");
    }
}

#[test]
fn a_subject_is_known_by_its_hash() {
    let mut world = World::new();
    assert_eq!(world.server.subject("ann"), None, "there were no keys");
    world = guarded(none);
    let (ann, bob) = (world.server.subject("ann"), world.server.subject("bob"));
    assert!(ann.is_some() && bob.is_some() && ann != bob);
    world.server.set_keys(Keys::default());
    assert_eq!(world.server.subject("ann"), ann, "the hash outlives the keys");
}

#[test]
fn whoever_came_with_a_token_of_a_subject_is_disconnected() {
    let mut world = guarded(none);
    let ann = token(600, r#","sub":"ann","join":["*"]"#);
    let bob = token(600, r#","sub":"bob","join":["*"]"#);
    let (plain, _) = world.bearer("/ws/news", &ann);
    let (other, _) = world.bearer("/ws/news", &bob);
    let (session, _, _) = world.enters(&format!("{SOCKET}&token={ann}"), "40/news,");
    // Whoever is known by the token of a namespace alone is known, too.
    let connect = format!(r#"40/news,{{"token":"{ann}"}}"#);
    let (both, _, _) = world.enters(&format!("{SOCKET}&token={bob}"), &connect);
    for client in [&plain, &other, &session, &both] {
        client.heard();
    }
    let closed = b"\x88\x0e\x03\xf0disconnected";
    world.disconnect("subject=carol");
    world.disconnect("subject=ann&channel=others");
    assert!([&plain, &other, &session, &both].iter().all(|client| client.heard().is_empty()));
    let _ = super::disconnect::begin(&mut world, "subject=ann&channel=news");
    assert_eq!([&plain, &session, &both].map(|client| client.heard()), [closed; 3]);
    assert!(other.heard().is_empty());
}
