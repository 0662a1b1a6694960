//! Clients that people use and that were turned away: each with what it sends, and with what others
//! like it may send.

use elbow::server::Listener;
use elbow::settings::{Greeting, ProxyMode, Settings, Trust, UNIX_PEER};
use elbow::site::File;
use elbow::wire::origin::Origin;

use super::requests::UPGRADE;
use super::sessions::request;
use super::{UPGRADE as PLAIN, World, frame, sid_of};

/// Each way to a WebSocket: channels, both versions of Engine.IO.
const SOCKETS: [&str; 6] = [
    "/",
    "/ws",
    "/ws/news",
    "/socket.io/?EIO=4&transport=websocket",
    "/socket.io/?EIO=3&transport=websocket",
    "/socket.io?EIO=4&transport=websocket",
];

#[test]
fn an_upgrade_whose_body_has_no_bytes_has_no_body() {
    for target in SOCKETS {
        for length in ["0", "00", "000000", " 0\t"] {
            let mut world = World::new();
            let fields = format!("{UPGRADE}Content-Length:{length}\r\n");
            assert_eq!(world.status(target, &fields), "101", "{target} {length}");
        }
        for body in [
            "Content-Length: 1\r\n",
            "Content-Length: 01\r\n",
            "Content-Length: -0\r\n",
            "Content-Length: 0, 0\r\n",
            "Content-Length: 0\r\nContent-Length: 0\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        ] {
            let mut world = World::new();
            assert_eq!(world.status(target, &format!("{UPGRADE}{body}")), "400", "{target} {body}");
        }
    }
}

#[test]
fn what_follows_an_empty_body_is_the_first_frame() {
    let mut world = World::new();
    let (client, id) = world.connect();
    let head = String::from_utf8_lossy(PLAIN).replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n");
    world.say(&client, id, &[head.as_bytes(), &frame(1, b"hello")].concat());
    let heard = client.heard();
    assert!(heard.starts_with(b"HTTP/1.1 101 ") && heard.ends_with(b"\x81\x05hello"));
}

#[test]
fn the_upgrade_of_a_session_may_have_an_empty_body() {
    for version in ["3", "4"] {
        let mut world = World::new();
        let (_, heard) = world.answer(&format!(
            "GET /socket.io/?EIO={version}&transport=polling HTTP/1.1\r\nHost: h\r\n\r\n"
        ));
        let sid = sid_of(heard.as_bytes());
        let target = format!("/socket.io/?EIO={version}&transport=websocket&sid={sid}");
        let fields = format!("{UPGRADE}Content-Length: 0\r\n");
        assert_eq!(world.status(&target, &fields), "101");
    }
}

/// Settings that list these origins.
pub(super) fn listing(origins: &'static [&'static str]) -> impl FnOnce(&mut Settings) {
    move |settings| {
        let parsed = origins.iter().map(|origin| Origin::parse(origin).expect("an origin"));
        settings.origins = parsed.collect();
    }
}

#[test]
fn the_own_origin_may_end_in_a_slash() {
    for target in SOCKETS {
        let mut world = World::new();
        for (origin, status) in [
            ("http://h/", "101"),
            ("https://h:443/", "101"),
            ("http://h//", "403"),
            ("http://h/x", "403"),
            ("http://x/", "403"),
        ] {
            let fields = format!("{UPGRADE}Origin: {origin}\r\n");
            assert_eq!(world.status(target, &fields), status, "{target} {origin}");
        }
    }
}

#[test]
fn pages_without_a_host_and_pages_below_a_domain_can_be_listed() {
    let list = &["file://", "app://x", "https://*.example.org", "chrome-extension://abc"];
    let origins = [
        ("file://", true),
        ("file:///", true),
        ("app://x", true),
        ("chrome-extension://ABC", true),
        ("https://a.example.org", true),
        ("https://a.b.example.org/", true),
        ("https://example.org", false),
        ("http://a.example.org", false),
        ("app://y", false),
        ("null", false),
    ];
    let polls = ["/socket.io/?EIO=3&transport=polling", "/socket.io/?EIO=4&transport=polling"];
    for (target, fields, opened) in SOCKETS
        .map(|target| (target, UPGRADE, "101"))
        .into_iter()
        .chain(polls.map(|target| (target, "", "200")))
    {
        for (origin, is_listed) in origins {
            let mut world = World::with(listing(list));
            let status = world.status(target, &format!("{fields}Origin: {origin}\r\n"));
            assert_eq!(status, if is_listed { opened } else { "403" }, "{target} {origin}");
        }
    }
}

#[test]
fn who_does_not_name_protocol_4_speaks_protocol_3() {
    for (query, opened) in [
        ("transport=polling", Some("97:0{")),
        ("EIO=2&transport=polling", Some("97:0{")),
        ("EIO=5&transport=polling", Some("97:0{")),
        ("EIO=&transport=polling", Some("97:0{")),
        ("EIO=4&EIO=3&transport=polling", Some("97:0{")),
        ("EIO=3&EIO=4&transport=polling", Some("0{")),
        ("EIO=4&transport=websocket&transport=polling", Some("0{")),
        ("transport=polling&transport=x", None),
        ("EIO=4", None),
    ] {
        let mut world = World::new();
        let (status, heard) = world.answer(&request("GET", &format!("/socket.io/?{query}"), ""));
        let body = heard.split_once("\r\n\r\n").expect("an answer").1;
        let expected = opened.unwrap_or("{\"code\":0,");
        assert!(body.starts_with(expected), "{query}: {heard}");
        assert_eq!(status, if opened.is_some() { "200" } else { "400" });
    }
    for query in ["transport=websocket", "EIO=5&transport=websocket"] {
        let mut world = World::new();
        let (client, _) = world.upgrade(&format!("/socket.io/?{query}"));
        assert_eq!(world.server.sessions(), 1);
        drop(client);
    }
}

#[test]
fn a_later_request_need_not_name_its_protocol_and_may_name_no_other() {
    for (own, same, other) in [
        ("EIO=4&", &["", "EIO=4&", "EIO=3&EIO=4&"][..], &["EIO=3&", "EIO=5&", "EIO=&"][..]),
        ("", &["", "EIO=3&", "EIO=9&"], &["EIO=4&"]),
    ] {
        let mut world = World::new();
        let target = format!("/socket.io/?{own}transport=polling");
        let (_, heard) = world.answer(&request("GET", &target, ""));
        let sid = sid_of(heard.as_bytes());
        let target = |named: &str, transport: &str| {
            format!("/socket.io/?{named}transport={transport}&sid={sid}")
        };
        for named in other {
            for (transport, fields) in [("polling", ""), ("websocket", UPGRADE)] {
                let request = request("GET", &target(named, transport), fields);
                let (status, heard) = world.answer(&request);
                let refused = match transport {
                    "polling" => heard.ends_with("{\"code\":3,\"message\":\"Bad request\"}"),
                    _ => heard.ends_with("\r\n\r\nBad request"),
                };
                assert!(status == "400" && refused, "{own} {named}: {heard}");
            }
        }
        for named in same {
            let body = if own.is_empty() { "1:2" } else { "3" };
            let (client, id) = world.connect();
            world.request(&client, id, "POST", &target(named, "polling"), body);
            assert!(client.heard().ends_with(b"\r\n\r\nok"), "{own} {named}");
        }
        world.upgrade(&target("", "websocket"));
    }
}

#[test]
fn a_target_may_be_the_url_of_a_websocket() {
    for path in SOCKETS.into_iter().chain(["?x"]) {
        for scheme in ["ws", "wss", "WS", "http"] {
            let mut world = World::new();
            let target = format!("{scheme}://h{path}");
            assert_eq!(world.status(&target, UPGRADE), "101", "{target}");
        }
    }
    let mut world = World::new();
    assert_eq!(world.status("ws://h/healthz", ""), "200");
    assert_eq!(world.status("ws://h/ws", &format!("{UPGRADE}Origin: http://h\r\n")), "101");
    assert_eq!(world.status("ws://x/ws", &format!("{UPGRADE}Origin: http://h\r\n")), "403");
    assert_eq!(world.status("ftp://h/ws", UPGRADE), "400");
}

/// A world that serves the folder `sub`.
fn with_a_folder() -> World {
    let mut world = World::new();
    let page = File { path: "/sub/index.html".to_owned(), bytes: b"hello".to_vec() };
    world.server.replace_files(world.now, vec![page]);
    world
}

#[test]
fn the_way_into_a_folder_keeps_the_query() {
    let mut world = with_a_folder();
    for (target, location) in [
        ("/sub", "/sub/"),
        ("/sub?room=1", "/sub/?room=1"),
        ("/sub?", "/sub/?"),
        ("/sub?a?b&c=%2F", "/sub/?a?b&c=%2F"),
        ("/s%75b?x", "/s%75b/?x"),
        ("http://h/sub?x", "/sub/?x"),
    ] {
        let (status, heard) = world.answer(&request("GET", target, ""));
        let expected = format!("\r\nLocation: {location}\r\n");
        assert!(status == "301" && heard.contains(&expected), "{target}: {heard}");
    }
}

#[test]
fn every_known_path_says_which_methods_it_knows() {
    let (read, socket, engine) = ("GET, HEAD, OPTIONS", "GET, OPTIONS", "GET, POST, OPTIONS");
    for (target, allow) in [
        ("*", read),
        ("/", read),
        ("/healthz", read),
        ("/readyz", read),
        ("/sub", read),
        ("/sub/", read),
        ("/sub/index.html?x", read),
        ("/ws", socket),
        ("/ws/news", socket),
        ("/socket.io/", engine),
        ("/socket.io", engine),
        ("/socket.io/?EIO=4&transport=polling&sid=ExnPvMFcmbm6WPGeAAAA", engine),
    ] {
        for fields in ["", "Content-Length: 0\r\n", UPGRADE, "Connection: close\r\n"] {
            let mut world = with_a_folder();
            let (status, heard) = world.answer(&request("OPTIONS", target, fields));
            let expected = format!("\r\nAllow: {allow}\r\n");
            assert!(status == "204" && heard.contains(&expected), "{target}: {heard}");
            assert!(heard.ends_with("\r\n\r\n") && !heard.contains("Content-Length"), "{heard}");
        }
        // HAProxy's check as it is without a word of the operator.
        let mut world = with_a_folder();
        let head = format!("OPTIONS {target} HTTP/1.0\r\n\r\n");
        assert_eq!(world.answer(&head).0, "204", "{target}");
    }
    for target in ["/x", "/ws/", "/ws/a//b", "/healthz/", "/sub/x"] {
        let mut world = with_a_folder();
        assert_eq!(world.answer(&request("OPTIONS", target, "")).0, "404", "{target}");
    }
}

#[test]
fn the_health_listener_says_which_methods_it_knows() {
    let mut world = World::new();
    let mut status = |target: &str| {
        let (client, id) = world.connect_to(Listener::Health, "192.0.2.1");
        world.say(&client, id, request("OPTIONS", target, "").as_bytes());
        client.heard().get(9..12).map(<[u8]>::to_vec).unwrap_or_default()
    };
    for (target, expected) in
        [("*", "204"), ("/healthz", "204"), ("/readyz", "204"), ("/", "204"), ("/ws", "404")]
    {
        assert_eq!(status(target), expected.as_bytes(), "{target}");
    }
}

#[test]
fn a_forwarded_address_may_stand_in_brackets() {
    let trust = |settings: &mut Settings| {
        settings.forwarded_for = true;
        let networks = ["192.0.2.0/24", "2001:db8:1::/48"];
        settings.trust = Trust(networks.map(|text| text.parse().expect("a network")).to_vec());
    };
    for (claimed, client) in [
        ("[2001:db8::7]", "[2001:db8::7]:0"),
        ("[2001:DB8:0::7]", "[2001:db8::7]:0"),
        ("[2001:db8::7]:4711", "[2001:db8::7]:4711"),
        ("2001:db8::7", "[2001:db8::7]:0"),
        ("[2001:db8::7], [2001:db8:1::1]", "[2001:db8::7]:0"),
        ("[::ffff:203.0.113.9]", "203.0.113.9:0"),
        // What is no address is nobody's, and what stands in front of it is hearsay.
        ("[203.0.113.9]", "192.0.2.1:1234"),
        ("[]", "192.0.2.1:1234"),
        ("[[2001:db8::7]]", "192.0.2.1:1234"),
        ("[2001:db8::7", "192.0.2.1:1234"),
        ("2001:db8::7]", "192.0.2.1:1234"),
        ("[2001:db8::7]:", "192.0.2.1:1234"),
        ("[2001:db8::7]x", "192.0.2.1:1234"),
        ("[fe80::1%eth0]", "192.0.2.1:1234"),
        ("[2001:db8::7], []", "192.0.2.1:1234"),
    ] {
        let mut world = World::with(trust);
        world.status("/", &format!("X-Forwarded-For: {claimed}\r\n"));
        assert_eq!(world.last_client(), client, "{claimed}");
    }
}

#[test]
fn extensions_that_are_malformed_are_as_if_absent() {
    for target in SOCKETS {
        for offered in
            ["x-webkit-       -frame", "a b", ";", "a;", "=", "\"a\"", "a;b=\"c", "\u{fc}"]
        {
            let mut world = World::new();
            let fields = format!("{UPGRADE}Sec-WebSocket-Extensions: {offered}\r\n");
            let (status, heard) = world.answer(&request("GET", target, &fields));
            assert_eq!(status, "101", "{target} {offered}");
            assert!(!heard.to_ascii_lowercase().contains("extensions"), "{heard}");
        }
    }
}

#[test]
fn a_peer_on_a_unix_socket_is_a_proxy_on_this_machine() {
    let upgrade = request("GET", "/ws", UPGRADE);
    let ask = |world: &mut World, before: &str, head: &str| {
        let (client, id) = world.connect_from(Listener::Public, UNIX_PEER);
        world.say(&client, id, format!("{before}{head}").as_bytes());
        let status = client.heard().get(9..12).map(<[u8]>::to_vec).unwrap_or_default();
        String::from_utf8(status).expect("a status")
    };
    // Nobody over IP is trusted; and one client address has a quarter of the sessions.
    let few = |settings: &mut Settings| {
        settings.limits.connections_max = 8;
        settings.limits.connections_per_ip_max = None;
    };
    let mut world = World::with(few);
    let statuses: Vec<_> = (0..6).map(|_| ask(&mut world, "", &upgrade)).collect();
    assert_eq!(statuses, ["101"; 6], "it stands for many");
    assert_eq!(ask(&mut world, "", &request("GET", "/healthz", "")), "200");
    assert_eq!(world.last_client(), UNIX_PEER.to_string());

    let forwarded = request("GET", "/ws", &format!("{UPGRADE}X-Forwarded-For: 203.0.113.9\r\n"));
    let mut world = World::with(|settings| {
        few(settings);
        settings.forwarded_for = true;
    });
    let statuses: Vec<_> = (0..3).map(|_| ask(&mut world, "", &forwarded)).collect();
    assert_eq!(statuses, ["101", "101", "503"], "whom it names has a share");
    assert_eq!(world.last_client(), "203.0.113.9:0");
    // nginx writes so for its own clients on a Unix socket; that is no address.
    let unnamed = request("GET", "/ws", &format!("{UPGRADE}X-Forwarded-For: unix:\r\n"));
    assert_eq!(ask(&mut world, "", &unnamed), "101");
    assert_eq!(ask(&mut world, "", &request("GET", "/x", "X-Forwarded-For: unix:\r\n")), "404");
    assert_eq!(world.last_client(), UNIX_PEER.to_string());

    for mode in [ProxyMode::Optional, ProxyMode::Required] {
        let mut world = World::with(|settings| settings.proxy = mode);
        let header = "PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n";
        assert_eq!(ask(&mut world, header, &upgrade), "101");
        assert_eq!(ask(&mut world, header, &request("GET", "/x", "")), "404");
        assert_eq!(world.last_client(), "[2001:db8::7]:4711");
        let probe = request("GET", "/healthz", "");
        assert_eq!(ask(&mut world, "", &probe), "200", "a trusted probe needs no header");
        let bare = ask(&mut world, "", &request("GET", "/x", ""));
        assert_eq!(bare, if mode == ProxyMode::Optional { "404" } else { "" });
    }
}

#[test]
fn a_channel_may_be_named_like_a_path() {
    let longest = format!("a/{}", "b".repeat(126));
    let mut names = vec!["room/1", "room:1", "user@example.org", "a=b+c~d", "a/.b/..c", &longest];
    for (name, target) in names
        .iter()
        .map(|name| (*name, format!("/ws/{name}")))
        .chain([("room/1", "/ws/room%2F1".to_owned()), ("room/1", "/ws/r%6Fom/1".to_owned())])
    {
        let mut world = World::new();
        let (plain, id) = world.connect();
        world.say(&plain, id, request("GET", &target, UPGRADE).as_bytes());
        assert!(plain.heard().starts_with(b"HTTP/1.1 101 "), "{target}");
        for version in [3, 4] {
            let (session, session_id) =
                world.upgrade(&format!("/socket.io/?EIO={version}&transport=websocket"));
            world.say(&session, session_id, &frame(1, format!("40/{name},").as_bytes()));
            session.heard();
            world.say(&plain, id, &frame(1, b"hello"));
            let expected = format!("42/{name},[\"chat message\",\"hello\"]");
            let heard = String::from_utf8_lossy(&session.heard()).into_owned();
            assert!(heard.ends_with(&expected), "{name}: {heard}");
            plain.heard();
            let event = format!("42/{name},[\"chat message\",\"back\"]");
            world.say(&session, session_id, &frame(1, event.as_bytes()));
            assert_eq!(plain.heard(), b"\x81\x04back", "{name}");
        }
    }
    // A comma ends the name of a namespace, and plain clients alone can have it.
    names = vec!["a,b", ",", "a/b,c"];
    for name in names {
        let mut world = World::new();
        let [one, other] = [(); 2].map(|()| {
            let (client, id) = world.connect();
            world.say(&client, id, request("GET", &format!("/ws/{name}"), UPGRADE).as_bytes());
            assert!(client.heard().starts_with(b"HTTP/1.1 101 "), "{name}");
            (client, id)
        });
        world.say(&one.0, one.1, &frame(1, b"hello"));
        assert_eq!(other.0.heard(), b"\x81\x05hello");
    }
}

#[test]
fn what_a_url_would_lose_is_no_name_of_a_channel() {
    let too_long = "b".repeat(129);
    for name in ["a//b", "a/", "/a", "a/./b", "a/../b", "..", ".", "a b", "a;b", "a%2Fb", &too_long]
    {
        let mut world = World::new();
        // Decoded once, so that what a client had encoded twice is no escape any more.
        let target = format!("/ws/{}", name.replace('%', "%25").replace(' ', "%20"));
        assert_eq!(world.status(&target, UPGRADE), "404", "{name}");
        let (client, id) = world.upgrade("/socket.io/?EIO=4&transport=websocket");
        world.say(&client, id, &frame(1, format!("40/{name},").as_bytes()));
        let heard = String::from_utf8_lossy(&client.heard()).into_owned();
        assert!(heard.contains("Invalid namespace"), "{name}: {heard}");
    }
}

#[test]
fn a_client_that_offers_subprotocols_is_answered_with_one() {
    let chosen = |heard: &str| {
        let found: Vec<_> = heard
            .lines()
            .filter_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "))
            .map(str::to_owned)
            .collect();
        assert!(found.len() <= 1, "{heard}");
        found.first().cloned()
    };
    let long = "jwt.".repeat(1_000);
    for (offered, expected) in [
        ("chat", Some("chat")),
        ("graphql-ws, graphql-transport-ws", Some("graphql-ws")),
        ("v1\r\nSec-WebSocket-Protocol: v2", Some("v1")),
        ("token.secret, chat", Some("chat")),
        ("chat, token.secret", Some("chat")),
        ("chat, elbow.v1", Some("elbow.v1")),
        ("elbow.v1", Some("elbow.v1")),
        ("token.secret", None),
        (&long, Some(&long[..])),
    ] {
        for target in SOCKETS {
            let mut world = World::new();
            let fields = format!("{UPGRADE}Sec-WebSocket-Protocol: {offered}\r\n");
            let (status, heard) = world.answer(&request("GET", target, &fields));
            assert_eq!((&*status, chosen(&heard).as_deref()), ("101", expected), "{target}");
            assert!(!heard.contains("secret"), "{heard}");
        }
    }
    // The upgrade of a session that polls, too; and whoever offers nothing is told of nothing.
    let mut world = World::new();
    let (_, heard) = world.answer(&request("GET", "/socket.io/?EIO=4&transport=polling", ""));
    let sid = sid_of(heard.as_bytes());
    let target = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}");
    let fields = format!("{UPGRADE}Sec-WebSocket-Protocol: chat\r\n");
    let (_, heard) = world.answer(&request("GET", &target, &fields));
    assert_eq!(chosen(&heard).as_deref(), Some("chat"), "{heard}");
    let (_, heard) = world.answer(&request("GET", "/ws", UPGRADE));
    assert_eq!(chosen(&heard), None, "{heard}");
    for malformed in ["a b", "chat, chat", "\"a\"", "a/b"] {
        let fields = format!("{UPGRADE}Sec-WebSocket-Protocol: {malformed}\r\n");
        assert_eq!(world.status("/ws", &fields), "400", "{malformed}");
    }
}

#[test]
fn members_are_told_of_a_newcomer_by_the_event_that_the_operator_has_named_or_by_none() {
    for (name, told) in [
        (Some("hi"), Some("[\"hi\"]")),
        (Some("user joined"), Some("[\"user joined\"]")),
        (Some("\u{e9}\n\"\\\u{1}"), Some("[\"\u{e9}\\n\\\"\\\\\\u0001\"]")),
        (None, None),
    ] {
        for (version, namespace) in [(4, ""), (4, "/news,"), (3, ""), (3, "/news,")] {
            let greeting = name.map(Greeting::named);
            let mut world = World::with(|settings| settings.greeting.clone_from(&greeting));
            let enter = |world: &mut World| {
                let (client, id) =
                    world.upgrade(&format!("/socket.io/?EIO={version}&transport=websocket"));
                client.heard();
                if (version, namespace) != (3, "") {
                    world.say(&client, id, &frame(1, format!("40{namespace}").as_bytes()));
                    client.heard();
                }
                (client, id)
            };
            let (member, id) = enter(&mut world);
            let (_newcomer, _) = enter(&mut world);
            let heard = String::from_utf8_lossy(&member.heard()).into_owned();
            let text = told.map(|args| format!("42{namespace}{args}"));
            match &text {
                Some(text) => assert!(heard.ends_with(text), "{version}: {heard}"),
                None if version == 4 => assert_eq!(heard, "", "{namespace}"),
                None => assert!(!heard.contains("42"), "{heard}"),
            }
            // Who enters again is no newcomer, and neither is a plain client.
            world.say(&member, id, &frame(1, format!("40{namespace}").as_bytes()));
            let (plain, plain_id) = world.connect();
            let target = if namespace.is_empty() { "/ws" } else { "/ws/news" };
            world.say(&plain, plain_id, request("GET", target, UPGRADE).as_bytes());
            plain.heard();
            let (_another, _) = enter(&mut world);
            let heard = String::from_utf8_lossy(&member.heard()).into_owned();
            let count = text.as_ref().map_or(0, |text| heard.matches(&**text).count());
            assert_eq!(count, usize::from(told.is_some()), "{version}: {heard}");
            assert_eq!(plain.heard(), b"", "plain clients are told nothing");
        }
    }
}

#[test]
fn a_base_path_that_is_named_like_a_probe_hides_none() {
    for base in ["/healthz", "/readyz"] {
        let mut world = World::with(|settings| {
            settings.base_path = elbow::wire::base_path::BasePath::parse(base).expect("a path");
        });
        for probe in ["/healthz".to_owned(), "/readyz".to_owned(), format!("{base}/healthz")] {
            assert_eq!(world.answer(&request("GET", &probe, "")).0, "200", "{base} {probe}");
        }
    }
}
