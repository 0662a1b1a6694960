//! Whom an operator disconnects: by which address, in which channel, and nobody else.

use super::backend::{Answer, Backend, post};
use super::sessions::{POLLING, request};
use super::{Client, World, frame, sid_of};
use elbow::id::ConnId;
use elbow::reason::CloseReason;
use elbow::server::{Event, Listener};
use elbow::time::Duration;

const CLOSED: &[u8] = b"\x88\x0e\x03\xf0disconnected";

impl World {
    fn at(&mut self, ip: &str, path: &str) -> (Client, ConnId) {
        let (client, id) = self.connect_to(Listener::Public, ip);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        self.say(&client, id, head.as_bytes());
        client.heard();
        (client, id)
    }

    pub(super) fn disconnect(&mut self, query: &str) -> Answer {
        let backend = self.backend();
        backend.ask(self, &post(&format!("/disconnect?{query}"), "", 0), b"")
    }

    /// A session that polls, in these namespaces.
    fn polling_in(&mut self, ip: &str, spaces: &[&str]) -> (Client, ConnId, String) {
        let (client, id) = self.connect_to(Listener::Public, ip);
        self.say(&client, id, request("GET", POLLING, "").as_bytes());
        let target = format!("{POLLING}&sid={}", sid_of(&client.heard()));
        for space in spaces {
            self.request(&client, id, "POST", &target, space);
            self.say(&client, id, request("GET", &target, "").as_bytes());
        }
        client.heard();
        (client, id, target)
    }
}

/// Begins a disconnect whose answer may wait.
pub(super) fn begin(world: &mut World, query: &str) -> Backend {
    let backend = world.backend();
    let head = post(&format!("/disconnect?{query}"), "", 0);
    world.say(&backend.client, backend.id, head.as_bytes());
    backend
}

#[test]
fn everybody_who_matches_all_that_is_asked_for_is_closed_and_nobody_else() {
    for (query, closed) in [
        ("address=192.0.2.7", [true, true, false, false]),
        ("channel=a", [true, false, true, false]),
        ("channel=a&address=192.0.2.7", [true, false, false, false]),
        ("address=%3A%3Affff:192.0.2.9", [false, false, false, true]),
        ("channel=none", [false; 4]),
        ("subject=somebody", [false; 4]),
        ("subject=somebody&channel=a", [false; 4]),
    ] {
        let mut world = World::new();
        let all = [("192.0.2.7", "/ws/a"), ("192.0.2.7", "/ws/b"), ("192.0.2.8", "/ws/a")];
        let all = [&all[..], &[("192.0.2.9", "/ws")]].concat();
        let clients: Vec<_> = all.iter().map(|(ip, path)| world.at(ip, path)).collect();
        let waits = begin(&mut world, query);
        let told = clients.iter().map(|(client, _)| client.heard() == CLOSED);
        assert_eq!(told.collect::<Vec<_>>(), closed, "{query}");
        for (client, id) in &clients {
            world.say(client, *id, &frame(8, b"\x03\xf0"));
        }
        world.pass(Duration::from_millis(100));
        let answers = waits.answers();
        let count = closed.iter().filter(|closed| **closed).count();
        assert_eq!(answers[0].body, format!("{{\"closed\":{count}}}"), "{query}");
        assert_eq!(answers[0].status, 200);
        let reasons = world.events.iter().filter(|event| {
            matches!(event, Event::Closed { reason: CloseReason::Disconnected, .. })
        });
        assert_eq!(reasons.count(), count);
    }
}

#[test]
fn sessions_of_either_transport_and_event_streams_are_closed_too() {
    let mut world = World::new();
    let (poll, poll_id, target) = world.polling_in("192.0.2.7", &["40", "40/a,"]);
    world.say(&poll, poll_id, request("GET", &target, "").as_bytes());
    poll.heard();
    world.say(&poll, poll_id, request("GET", &target, "").as_bytes());
    let (_between, _, _) = world.polling_in("192.0.2.7", &["40/a,"]);
    let (unentered, _, _) = world.polling_in("192.0.2.7", &[]);
    let (other, other_id, other_target) = world.polling_in("192.0.2.7", &["40/b,"]);
    let (stream, stream_id) = world.connect_to(Listener::Public, "192.0.2.7");
    world.say(&stream, stream_id, b"GET /sse/a HTTP/1.1\r\nHost: h\r\n\r\n");
    let (socket, _) = world.at("192.0.2.7", "/socket.io/?EIO=4&transport=websocket");
    stream.heard();
    let waits = begin(&mut world, "channel=a");
    assert!(String::from_utf8_lossy(&poll.heard()).ends_with("\r\n\r\n1"));
    assert!(stream.heard().ends_with(b"0\r\n\r\n"));
    assert_eq!(socket.heard(), b"");
    world.pass(Duration::from_millis(100));
    assert_eq!(waits.answers()[0].body, "{\"closed\":3}");
    assert_eq!(world.server.sessions(), 3);
    world.say(&other, other_id, request("GET", &other_target, "").as_bytes());
    let answer = begin(&mut world, "address=192.0.2.7");
    world.pass(Duration::from_millis(100));
    assert_eq!(answer.answers()[0].body, "{\"closed\":3}");
    assert_eq!(socket.heard(), CLOSED);
    assert_eq!(world.server.sessions(), 0);
    assert!(!unentered.0.borrow().dropped, "a connection without a session is nobody's");
}

#[test]
fn the_answer_waits_until_all_are_closed_but_not_for_ever() {
    let mut world = World::new();
    let (slow, id) = world.at("192.0.2.7", "/ws/a");
    slow.stop_reading();
    let waits = begin(&mut world, "channel=a");
    world.pass(Duration::from_secs(2));
    assert_eq!(waits.client.heard(), b"", "it has not been told");
    slow.0.borrow_mut().room = usize::MAX;
    world.ready(id, super::WRITABLE);
    world.settle();
    world.pass(Duration::from_millis(60));
    assert_eq!(waits.answers()[0].body, "{\"closed\":1}");
    assert_eq!(slow.heard(), CLOSED);

    let (deaf, _) = world.at("192.0.2.7", "/ws/a");
    deaf.stop_reading();
    let waits = begin(&mut world, "channel=a");
    world.pass(Duration::from_secs(7));
    assert_eq!(waits.answers()[0].body, "{\"closed\":1}");
    assert!(deaf.0.borrow().dropped);
}

#[test]
fn a_crowd_is_closed_in_portions_while_others_are_served() {
    let mut world = World::new();
    let crowd: Vec<_> = (0..300).map(|_| world.at("192.0.2.7", "/ws/a").0).collect();
    let (bystander, _) = world.at("192.0.2.8", "/ws/b");
    let backend = world.backend();
    let head = post("/disconnect?channel=a", "", 0);
    backend.client.0.borrow_mut().to_server.extend(head.as_bytes());
    world.ready(backend.id, super::READABLE);
    let mut before = 0;
    for _ in 0..20 {
        world.turn();
        let told = crowd.iter().filter(|client| !client.0.borrow().to_client.is_empty()).count();
        assert!(told - before <= 64, "{told} after {before}");
        before = told;
    }
    assert_eq!(before, 300);
    world.pass(Duration::from_millis(200));
    assert_eq!(backend.answers()[0].body, "{\"closed\":300}");
    assert_eq!(bystander.heard(), b"");
}

#[test]
fn what_says_nobody_or_something_else_closes_nobody() {
    let mut world = World::new();
    let (client, _) = world.at("192.0.2.7", "/ws/a");
    for query in [
        "",
        "x=1",
        "channel=a&adress=1.2.3.4",
        "address=1.2.3",
        "channel=",
        "channel=a%20b",
        "channel=a&channel=b",
        "subject=",
    ] {
        assert_eq!(world.disconnect(query).status, 400, "{query}");
    }
    assert_eq!(client.heard(), b"");
}

#[test]
fn several_disconnects_at_a_time_are_each_answered() {
    let mut world = World::new();
    let names = ["a", "b", "c"];
    let clients = names.map(|name| world.at("192.0.2.7", &format!("/ws/{name}")).0);
    let waits = names.map(|name| {
        let backend = world.backend();
        let head = post(&format!("/disconnect?channel={name}"), "", 0);
        backend.client.0.borrow_mut().to_server.extend(head.as_bytes());
        world.ready(backend.id, super::READABLE);
        backend
    });
    // Whoever asked may be gone by then.
    waits[1].client.0.borrow_mut().ended = true;
    world.settle();
    world.pass(Duration::from_millis(200));
    assert_eq!(waits[0].answers()[0].body, "{\"closed\":1}");
    assert_eq!(waits[2].answers()[0].body, "{\"closed\":1}");
    assert!(clients.iter().all(|client| client.heard() == CLOSED));
}

#[test]
fn who_is_being_closed_already_is_waited_for_too() {
    let mut world = World::new();
    let (slow, id) = world.at("192.0.2.7", "/ws/a");
    slow.stop_reading();
    let (first, second) = (begin(&mut world, "channel=a"), begin(&mut world, "channel=a"));
    world.pass(Duration::from_secs(1));
    assert_eq!((first.client.heard(), second.client.heard()), (Vec::new(), Vec::new()));
    slow.0.borrow_mut().room = usize::MAX;
    world.ready(id, super::WRITABLE);
    world.settle();
    world.pass(Duration::from_millis(60));
    assert_eq!(first.answers()[0].body, "{\"closed\":1}");
    assert_eq!(second.answers()[0].body, "{\"closed\":0}");
}
