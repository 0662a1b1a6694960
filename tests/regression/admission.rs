//! Who is let in when others hold much: the default channel, an address and its share, sessions
//! that enter nothing.

use super::sessions::{POLLING, request};
use super::{Client, World, frame, sid_of};
use elbow::id::ConnId;
use elbow::limits::{CONNECT_LIMIT, Limits};
use elbow::reason::CloseReason;
use elbow::server::{Event, Listener};
use elbow::settings::{ProxyMode, Settings, Trust};
use elbow::time::Duration;

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n";

/// A server with room for so many rings and so many bytes for everything else.
fn rings(feeds: u64, bytes: u64) -> impl FnOnce(&mut Settings) {
    move |settings| {
        let limits = &mut settings.limits;
        limits.channels_max = 256;
        limits.connections_per_ip_max = None;
        limits.memory_bytes = feeds * Limits::feed_cost_bytes(limits.feed_bytes, None) + bytes;
    }
}

impl World {
    /// The status of an upgrade from `ip`, with its connection.
    fn knock(&mut self, ip: &str, target: &str, fields: &str) -> (u16, Client, ConnId) {
        let (client, id) = self.connect_to(Listener::Public, ip);
        let status = self.ask(&client, id, target, &format!("{UPGRADE}{fields}"));
        (status, client, id)
    }

    /// The status that a GET gets.
    fn ask(&mut self, client: &Client, id: ConnId, target: &str, fields: &str) -> u16 {
        let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        self.say(client, id, head.as_bytes());
        let heard = String::from_utf8_lossy(&client.0.borrow().to_client).into_owned();
        let status = heard.get(9..12).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no answer: {heard}"))
    }

    /// Whether the server says that it takes in newcomers, and what it says.
    fn readiness(&mut self) -> (u16, String) {
        let (client, id) = self.connect_to(Listener::Health, "198.51.100.1");
        let status = self.ask(&client, id, "/readyz", "");
        let heard = String::from_utf8_lossy(&client.heard()).into_owned();
        let (_, body) = heard.split_once("\r\n\r\n").expect("a head has an end");
        (status, body.to_owned())
    }

    /// A Socket.IO client on a WebSocket that enters namespaces; what it is told.
    fn socket_from(&mut self, ip: &str, version: u8, namespaces: &[&str]) -> String {
        let target = format!("/socket.io/?EIO={version}&transport=websocket");
        let (status, client, id) = self.knock(ip, &target, "");
        assert_eq!(status, 101);
        client.heard();
        for namespace in namespaces {
            self.say(&client, id, &frame(1, format!("40{namespace}").as_bytes()));
        }
        String::from_utf8_lossy(&client.heard()).into_owned()
    }

    /// Why sessions were refused, from the last on.
    fn last_refusal(&self) -> Option<&'static str> {
        let why = |event: &Event| {
            if let Event::Refused { why, .. } = event { Some(*why) } else { None }
        };
        self.events.iter().rev().find_map(why)
    }

    /// Ends of sessions that had entered no namespace.
    fn unentered(&self) -> Vec<(CloseReason, u64)> {
        let ended = self.events.iter().filter_map(|event| {
            let Event::Unentered { reason, duration, .. } = event else { return None };
            Some((*reason, duration.as_millis() / 1_000))
        });
        ended.collect()
    }
}

/// Eight namespaces of somebody's own.
fn namespaces(number: usize) -> Vec<String> {
    (0..8).map(|space| format!("/room-{number}-{space},")).collect()
}

#[test]
fn the_default_channel_is_open_when_rings_have_taken_all_the_memory() {
    let mut world = World::with(rings(5 + 59, 11_300));
    // From an address each, so that no share is in the way: 60 rings, and their sessions.
    for number in 0..8 {
        let spaces = namespaces(number);
        let spaces: Vec<&str> = spaces.iter().map(String::as_str).collect();
        let version = if number % 2 == 0 { 4 } else { 3 };
        world.socket_from(&format!("198.51.100.{number}"), version, &spaces);
    }
    assert_eq!(world.last_refusal(), Some("--memory is used up"));
    let (status, plain, _) = world.knock("203.0.113.1", "/ws", "");
    assert_eq!(status, 101);
    plain.heard();
    for (host, version) in [(2, 3), (3, 4), (4, 3), (5, 4)] {
        let heard = world.socket_from(&format!("203.0.113.{host}"), version, &[""]);
        assert!(heard.contains("40"), "{heard}");
        assert!(!heard.contains("44"), "{heard}");
    }
    assert_eq!(world.knock("203.0.113.6", "/ws/another", "").0, 503);
    // What is left does not hold the buffer of one that polls, which is why nobody is sent here.
    let (client, id) = world.connect_to(Listener::Public, "203.0.113.7");
    assert_eq!(world.ask(&client, id, POLLING, ""), 503);
    assert_eq!(world.readiness(), (503, "full".to_owned()));
}

#[test]
fn an_address_has_a_quarter_of_the_memory_for_rings() {
    let mut world = World::with(rings(5 + 16, 0));
    let spaces = namespaces(0);
    let spaces: Vec<&str> = spaces.iter().map(String::as_str).collect();
    let heard = world.socket_from("192.0.2.1", 4, &spaces);
    assert_eq!(heard.matches("\"sid\"").count(), 4);
    assert_eq!(heard.matches("Too much memory for channels of this address").count(), 4);
    assert!(world.last_refusal().is_some_and(|why| why.contains("--memory")));
    // In another dialect, too, and for another of its connections; but for what is there already.
    assert_eq!(world.knock("192.0.2.1", "/ws/room-0-0", "").0, 503);
    assert_eq!(world.knock("192.0.2.1", "/ws", "").0, 101);
    assert!(world.socket_from("192.0.2.1", 4, &["/room-0-0,"]).contains("\"sid\""));
    assert_eq!(world.knock("192.0.2.2", "/ws/room-0-0", "").0, 101);
}

#[test]
fn an_address_brings_a_quarter_of_the_channels_into_being() {
    let mut world = World::with(|settings| {
        settings.limits.connections_per_ip_max = None;
        settings.limits.channels_max = 8;
    });
    let (_, one, one_id) = world.knock("192.0.2.1", "/ws/one", "");
    assert_eq!(world.knock("192.0.2.1", "/ws/two", "").0, 101);
    let (status, refused, _) = world.knock("192.0.2.1", "/ws/three", "");
    assert_eq!(status, 503);
    assert!(String::from_utf8_lossy(&refused.heard()).contains("\r\nRetry-After: "));
    assert!(world.last_refusal().is_some_and(|why| why.contains("--max-channels")));
    assert!(world.socket_from("192.0.2.1", 4, &["/three,"]).contains("Too many channels"));
    assert_eq!(world.knock("192.0.2.1", "/ws", "").0, 101, "the default channel is nobody's");
    assert_eq!(world.knock("192.0.2.2", "/ws/three", "").0, 101);
    // A channel is on the account of whoever brought it, for as long as anybody is there.
    let (_, other, other_id) = world.knock("192.0.2.2", "/ws/one", "");
    world.say(&one, one_id, &frame(8, b""));
    assert_eq!(world.knock("192.0.2.1", "/ws/four", "").0, 503);
    world.say(&other, other_id, &frame(8, b""));
    assert_eq!(world.knock("192.0.2.1", "/ws/four", "").0, 101);
}

#[test]
fn an_address_has_a_quarter_of_the_sessions_and_a_proxy_all_of_them() {
    let statuses = |world: &mut World, ip: &str, fields: &str| -> Vec<u16> {
        (0..6).map(|_| world.knock(ip, "/ws", fields).0).collect()
    };
    let quarter = [101, 101, 503, 503, 503, 503];
    let few = |settings: &mut Settings| {
        settings.limits.connections_max = 8;
        settings.limits.connections_per_ip_max = None;
        let networks = ["127.0.0.0/8", "::1/128", "10.0.0.0/8"];
        settings.trust = Trust(networks.map(|text| text.parse().expect("a network")).into());
    };
    let mut world = World::with(few);
    assert_eq!(statuses(&mut world, "192.0.2.1", ""), quarter);
    assert!(world.last_refusal().is_some_and(|why| why.contains("--max-connections")));
    assert_eq!(world.knock("192.0.2.2", "/ws", "").0, 101, "another address");

    // Whoever comes from this machine stands for others; elsewhere only if one is expected.
    for (ip, expects, expected) in [
        ("127.0.0.1", false, [101; 6]),
        ("::1", false, [101; 6]),
        ("10.0.0.1", false, quarter),
        ("10.0.0.1", true, [101; 6]),
        ("192.0.2.1", true, quarter),
    ] {
        let mut world = World::with(|settings| {
            few(settings);
            settings.forwarded_for = expects;
        });
        assert_eq!(statuses(&mut world, ip, ""), expected, "{ip}, {expects}");
    }
    // What is named by a proxy is a client with a share, whichever proxy it comes by.
    let mut world = World::with(|settings| {
        few(settings);
        settings.forwarded_for = true;
    });
    let named = "X-Forwarded-For: 203.0.113.9\r\n";
    assert_eq!(statuses(&mut world, "127.0.0.1", named), quarter);
    assert_eq!(world.knock("10.0.0.2", "/ws", named).0, 503);
    assert_eq!(world.knock("10.0.0.2", "/ws", "").0, 101);
}

#[test]
fn a_header_that_names_the_client_names_whose_share_it_is() {
    let mut world = World::with(|settings| {
        settings.limits.connections_max = 8;
        settings.limits.connections_per_ip_max = None;
        settings.proxy = ProxyMode::Optional;
        settings.trust = Trust(vec!["127.0.0.0/8".parse().expect("a network")]);
    });
    let mut knock = |header: &str| {
        let (client, id) = world.connect_to(Listener::Public, "127.0.0.1");
        world.say(&client, id, header.as_bytes());
        world.ask(&client, id, "/ws", UPGRADE)
    };
    let foreign = "PROXY TCP4 203.0.113.9 192.0.2.7 5000 80\r\n";
    assert_eq!([knock(foreign), knock(foreign), knock(foreign)], [101, 101, 503]);
    assert_eq!([knock(""), knock(""), knock("")], [101; 3]);
    let own = "PROXY TCP4 127.0.0.1 127.0.0.1 5000 80\r\n";
    assert_eq!(knock(own), 101, "a proxy that names itself names nobody else");
    assert_eq!(knock("PROXY TCP4 203.0.113.10 192.0.2.7 5000 80\r\n"), 101);
}

#[test]
fn networks_of_64_bits_count_as_one_address() {
    let mut world = World::with(|settings| {
        settings.limits.connections_max = 8;
        settings.limits.connections_per_ip_max = None;
    });
    let mut knock = |ip: &str| world.knock(ip, "/ws", "").0;
    assert_eq!(knock("2001:db8::1"), 101);
    assert_eq!(knock("2001:db8::ffff:ffff:ffff:ffff"), 101);
    assert_eq!(knock("2001:db8:0:0:1::1"), 503);
    assert_eq!(knock("2001:db8:0:1::1"), 101);
    // An IPv4 address has one, however it is written.
    assert_eq!(
        [knock("192.0.2.1"), knock("::ffff:192.0.2.1"), knock("192.0.2.1")],
        [101, 101, 503]
    );
}

#[test]
fn what_the_operator_says_of_an_address_holds_for_more_and_for_less_and_for_proxies() {
    for (most, ip) in [(1, "192.0.2.1"), (5, "192.0.2.1"), (5, "127.0.0.1")] {
        let mut world = World::with(|settings| {
            settings.limits.connections_max = 8;
            settings.limits.connections_per_ip_max = Some(most);
            settings.trust = Trust(vec!["127.0.0.0/8".parse().expect("a network")]);
        });
        for number in 0..7 {
            let expected = if number < most { 101 } else { 503 };
            assert_eq!(world.knock(ip, "/ws", "").0, expected, "{number} of {most}");
        }
        assert!(world.last_refusal().is_some_and(|why| why.contains("--max-connections-per-ip")));
    }
}

#[test]
fn the_smallest_server_has_room_for_somebody() {
    let mut world = World::with(|settings| {
        settings.limits.connections_max = 1;
        settings.limits.channels_max = 1;
        settings.limits.connections_per_ip_max = None;
        settings.limits.memory_bytes =
            Limits::default_channel_bytes(settings.limits.feed_bytes, None);
    });
    let (status, client, id) = world.knock("192.0.2.1", "/ws", "");
    assert_eq!(status, 101);
    assert_eq!(world.readiness(), (503, "full".to_owned()));
    world.say(&client, id, &frame(8, b""));
    assert_eq!(world.knock("192.0.2.1", "/ws", "").0, 101);
}

#[test]
fn readiness_says_full_whenever_somebody_new_would_be_refused() {
    let mut world = World::with(|settings| settings.limits.memory_bytes = 32 * 1024);
    assert_eq!(world.readiness().0, 200);
    // Sessions that poll take memory, until there is none for one more.
    let mut hosts = 0;
    let refused = loop {
        let (client, id) = world.connect_to(Listener::Public, &format!("198.51.100.{hosts}"));
        let before = world.readiness();
        let status = world.ask(&client, id, POLLING, "");
        assert_eq!(before.0, if status == 200 { 200 } else { 503 }, "after {hosts}: {before:?}");
        hosts += 1;
        if status != 200 {
            break before.1;
        }
    };
    assert!(hosts > 8);
    assert_eq!(refused, "full");
    assert_eq!(world.last_refusal(), Some("--memory is used up"));
    assert_eq!(world.knock("203.0.113.1", "/ws", "").0, 101, "which takes no memory");
}

#[test]
fn who_only_shakes_hands_keeps_nobody_out() {
    let mut world = World::new();
    // Fifty times as many as may be, over one connection.
    let (client, id) = world.connect();
    for _ in 0..2_500 {
        world.say(&client, id, request("GET", POLLING, "").as_bytes());
        client.heard();
    }
    assert_eq!(world.server.sessions(), 50);
    assert_eq!(world.knock("203.0.113.1", "/ws", "").0, 101);
    assert!(world.socket_from("203.0.113.2", 4, &[""]).contains("40{\"sid\""));
    let unentered = world.unentered();
    assert_eq!(unentered.len(), 2_500 + 1 - 50);
    assert!(unentered.iter().all(|(reason, _)| *reason == CloseReason::GaveWay));
}

#[test]
fn the_oldest_session_without_a_namespace_gives_way_and_is_told() {
    let mut world = World::with(|settings| settings.limits.connections_max = 24);
    let (poller, poller_id, target) = world.polling();
    world.say(&poller, poller_id, request("GET", &target, "").as_bytes());
    let (socket, _) = world.socket(&[]);
    let (member, member_id, member_target) = world.polling();
    // A fourth: three may be without a namespace.
    let (fourth, _) = world.socket(&[]);
    assert!(poller.heard().ends_with(b"\r\n\r\n1"), "Engine.IO's close");
    world.request(&member, member_id, "POST", &member_target, "40");
    // Who has entered one does not count any more, and does not give way.
    let (fifth, _) = world.socket(&[]);
    assert!(socket.heard().is_empty());
    let (sixth, _) = world.socket(&[]);
    assert_eq!(socket.heard(), b"\x88\x0a\x03\xf5gave way");
    assert!(fourth.heard().is_empty() && fifth.heard().is_empty() && sixth.heard().is_empty());
    member.heard();
    world.request(&member, member_id, "GET", &member_target, "");
    assert!(String::from_utf8_lossy(&member.heard()).contains("40{\"sid\""));
    assert_eq!(world.unentered(), [(CloseReason::GaveWay, 0); 2]);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.server.sessions(), 4);
}

#[test]
fn a_session_that_is_deaf_and_without_a_namespace_gives_way_at_once() {
    let mut world = World::with(|settings| settings.limits.connections_max = 8);
    let (deaf, deaf_id) = world.socket(&[]);
    deaf.stop_reading();
    world.say(&deaf, deaf_id, &frame(9, b"?"));
    assert!(!deaf.0.borrow().dropped);
    let (_newcomer, _) = world.socket(&[]);
    assert!(deaf.0.borrow().dropped, "it cannot be told before its time is over");
    assert_eq!(world.server.sessions(), 1);
}

#[test]
fn protocol_3_enters_unasked_and_never_gives_way() {
    let mut world = World::with(|settings| settings.limits.connections_max = 16);
    let others: Vec<_> = (0..8)
        .map(|_| {
            let (client, id) = world.connect();
            let target = POLLING.replace("EIO=4", "EIO=3");
            world.say(&client, id, request("GET", &target, "").as_bytes());
            sid_of(&client.heard())
        })
        .collect();
    for _ in 0..6 {
        world.socket(&[]);
    }
    assert_eq!((world.server.sessions(), others.len()), (8 + 2, 8));
    world.pass(CONNECT_LIMIT.plus(Duration::from_secs(2)));
    assert_eq!(world.server.sessions(), 8);
}
