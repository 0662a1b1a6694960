//! What once went wrong with sessions of Engine.IO and Socket.IO.

use super::{Client, World, frame, sid_of};
use elbow::id::ConnId;
use elbow::position::Position;
use elbow::reason::CloseReason;
use elbow::server::Event;
use elbow::time::Duration;

pub(super) const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

impl World {
    /// A session that polls, with the connection of its handshake, which is free again.
    pub(super) fn polling(&mut self) -> (Client, ConnId, String) {
        let (client, id) = self.connect();
        self.request(&client, id, "GET", POLLING, "");
        let sid = sid_of(&client.heard());
        (client, id, format!("{POLLING}&sid={sid}"))
    }

    /// A WebSocket of Engine.IO, its 101 taken.
    pub(super) fn upgrade(&mut self, target: &str) -> (Client, ConnId) {
        let (client, id) = self.connect();
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n";
        let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n");
        self.say(&client, id, head.as_bytes());
        assert!(client.heard().starts_with(b"HTTP/1.1 101 "));
        (client, id)
    }

    /// A session on a WebSocket that has entered these namespaces.
    pub(super) fn socket(&mut self, namespaces: &[&str]) -> (Client, ConnId) {
        let (client, id) = self.upgrade("/socket.io/?EIO=4&transport=websocket");
        for namespace in namespaces {
            self.say(&client, id, &frame(1, format!("40{namespace}").as_bytes()));
        }
        client.heard();
        (client, id)
    }

    pub(super) fn request(
        &mut self,
        client: &Client,
        id: ConnId,
        method: &str,
        target: &str,
        body: &str,
    ) {
        let length = body.len();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: h\r\nUser-Agent: a test\r\n");
        let body = format!("Content-Length: {length}\r\n\r\n{body}");
        self.say(client, id, format!("{head}{body}").as_bytes());
    }
}

/// A request without a body.
pub(super) fn request(method: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

#[test]
fn the_line_of_a_poll_or_a_post_names_the_user_agent() {
    let mut world = World::new();
    let (client, id, target) = world.polling();
    world.request(&client, id, "POST", &target, "40");
    world.request(&client, id, "GET", &target, "");
    world.request(&client, id, "POST", &target, &"x".repeat(2_000));
    let lines = world.events.iter().filter_map(|event| {
        let Event::Request(access) = event else { return None };
        Some((access.line.as_str(), access.status, access.agent.as_slice()))
    });
    let agent = b"a test".as_slice();
    let expected = [
        ("GET /socket.io/? HTTP/1.1", 200, agent),
        ("POST /socket.io/? HTTP/1.1", 200, agent),
        ("GET /socket.io/? HTTP/1.1", 200, agent),
        ("POST /socket.io/? HTTP/1.1", 413, agent),
    ];
    assert_eq!(lines.collect::<Vec<_>>(), expected);
}

#[test]
fn a_session_that_enters_no_namespace_has_a_line_at_its_end() {
    let mut world = World::new();
    let (client, id, target) = world.polling();
    let (idle, idle_id) = world.socket(&[]);
    world.socket(&[""]);
    // The first one goes by itself; the second says something and enters nothing; the third does.
    world.pass(Duration::from_secs(3));
    world.request(&client, id, "POST", &target, "1");
    world.pass(Duration::from_secs(5));
    world.say(&idle, idle_id, &frame(1, b"3"));
    world.pass(Duration::from_secs(60));
    let unentered = world.events.iter().filter_map(|event| {
        let Event::Unentered { reason, duration, .. } = event else { return None };
        Some((*reason, duration.as_millis() / 1_000))
    });
    assert_eq!(
        unentered.collect::<Vec<_>>(),
        [(CloseReason::ClosedByClient, 3), (CloseReason::Silent, 10)]
    );
}

#[test]
fn a_close_waits_for_what_was_published_in_every_namespace() {
    let mut world = World::new();
    let (reader, reader_id) = world.socket(&["", "/a,", "/b,"]);
    let (writer, writer_id) = world.socket(&["", "/a,", "/b,"]);
    reader.heard();
    reader.0.borrow_mut().room = 5;
    for namespace in ["", "/a,", "/b,"] {
        let event = format!("42{namespace}[\"chat message\",\"last words\"]");
        world.say(&writer, writer_id, &frame(1, event.as_bytes()));
    }
    world.server.drain(world.now, world.now.mono);
    world.settle();
    world.makes_room(&reader, reader_id);
    let heard = String::from_utf8_lossy(&reader.heard()).into_owned();
    for namespace in ["", "/a,", "/b,"] {
        let event = format!("42{namespace}[\"chat message\",\"last words\"]");
        assert_eq!(heard.matches(&event).count(), 1, "{namespace}: {heard}");
    }
    assert!(heard.ends_with("going away"), "{heard}");
}

#[test]
fn a_session_that_talks_is_pinged_all_the_same() {
    let mut world = World::new();
    let (client, id) = world.socket(&[""]);
    client.heard();
    let mut pings = 0;
    for _ in 0..30 {
        world.say(&client, id, &frame(1, br#"42["chat message","x"]"#));
        world.pass(Duration::from_secs(1));
        pings += client.heard().windows(3).filter(|bytes| bytes == b"\x81\x012").count();
    }
    assert_eq!(pings, 1, "its client takes silence for the server's end");
}

#[test]
fn a_session_whose_answer_waits_in_its_socket_has_not_vanished() {
    let mut world = World::new();
    let (client, id) = world.socket(&[""]);
    world.pass(Duration::from_secs(26));
    assert_eq!(client.heard(), [0x81, 1, b'2'], "a ping");
    // The machine sleeps; what has come meanwhile is reported after other things.
    client.0.borrow_mut().to_server.extend(frame(1, b"3"));
    world.now.mono = world.now.mono.plus(Duration::from_secs(40));
    world.settle();
    assert!(!client.0.borrow().dropped);
    world.say(&client, id, &frame(1, b"42[\"chat message\",\"hello\"]"));
    assert!(client.heard().ends_with(b"42[\"chat message\",\"hello\"]"));
}

#[test]
fn a_session_whose_answer_stands_behind_much_that_it_says_has_not_vanished() {
    let mut world = World::new();
    let (client, _) = world.socket(&[""]);
    world.pass(Duration::from_secs(26));
    assert_eq!(client.heard(), [0x81, 1, b'2'], "a ping");
    // More than a ring holds, so that it is taken in by and by.
    let event = format!("42[\"chat message\",\"{}\"]", "x".repeat(500));
    client.0.borrow_mut().to_server.extend(frame(1, event.as_bytes()).repeat(20));
    client.0.borrow_mut().to_server.extend(frame(1, b"3"));
    world.now.mono = world.now.mono.plus(Duration::from_secs(40));
    world.settle();
    assert_eq!(world.server.sessions(), 1);
    let heard = String::from_utf8_lossy(&client.heard()).into_owned();
    assert_eq!(heard.matches(&event).count(), 20);
    // Nothing of it was taken for an answer to the ping that is due since.
    world.pass(Duration::from_secs(50));
    assert_eq!(world.server.sessions(), 0);
}

#[test]
fn a_session_whose_time_is_over_while_its_room_waits_goes_when_that_is_over() {
    let mut world = World::new();
    let (client, _) = world.socket(&[""]);
    let pinged = (0..250).any(|_| {
        world.pass(Duration::from_millis(100));
        client.heard().ends_with(b"2")
    });
    assert!(pinged);
    world.pass(Duration::from_millis(19_500));
    let (publisher, id) = world.session();
    world.deaf();
    for number in 0..12 {
        world.say(&publisher, id, &frame(2, &[number; 500]));
    }
    world.pass(Duration::from_millis(700));
    assert!(publisher.heard().len() < 12 * 504, "the room is waited for");
    assert!(!client.0.borrow().dropped, "it cannot be heard now");
    world.pass(Duration::from_secs(4));
    assert!(client.0.borrow().dropped);
}

#[test]
fn a_session_whose_words_wait_on_the_websocket_that_takes_over_has_not_vanished() {
    let mut world = World::new();
    let (client, id, target) = world.polling();
    world.request(&client, id, "POST", &target, "40");
    let (held, held_id) = world.connect();
    world.request(&held, held_id, "GET", &target, "");
    world.request(&held, held_id, "GET", &target, "");
    let pinged = (0..250).any(|_| {
        world.pass(Duration::from_millis(100));
        held.heard().ends_with(b"\r\n\r\n2")
    });
    assert!(pinged);
    world.pass(Duration::from_secs(15));
    let (socket, socket_id) = world.upgrade(&target.replace("polling", "websocket"));
    world.say(&socket, socket_id, &frame(1, b"2probe"));
    assert!(socket.heard().ends_with(b"3probe"));
    world.pass(Duration::from_millis(4_500));
    let (publisher, id) = world.session();
    world.deaf();
    for number in 0..5 {
        world.say(&publisher, id, &frame(2, &[number; 500]));
    }
    world.say(&socket, socket_id, &[frame(1, b"5"), frame(1, b"3")].concat());
    assert!(!socket.0.borrow().to_server.is_empty(), "the room is waited for");
    world.pass(Duration::from_secs(4));
    world.say(&socket, socket_id, &frame(1, b"42[\"chat message\",\"hello\"]"));
    assert!(socket.heard().ends_with(b"42[\"chat message\",\"hello\"]"));
}

#[test]
fn a_post_whose_rest_waits_for_the_room_is_not_given_up() {
    let mut world = World::new();
    let (client, id, target) = world.polling();
    world.request(&client, id, "POST", &target, "40");
    client.heard();
    let (publisher, publisher_id) = world.session();
    let (listener, _) = world.session();
    let event = "42[\"chat message\",\"hello\"]";
    let length = event.len();
    let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
    world.say(&client, id, head.as_bytes());
    world.pass(Duration::from_millis(9_800));
    world.deaf();
    for number in 0..5 {
        world.say(&publisher, publisher_id, &frame(2, &[number; 500]));
    }
    world.say(&client, id, event.as_bytes());
    assert!(!client.0.borrow().to_server.is_empty(), "the room is waited for");
    world.pass(Duration::from_secs(3));
    assert!(client.heard().ends_with(b"\r\n\r\nok"));
    assert!(listener.heard().ends_with(b"\x81\x05hello"));
}

#[test]
fn a_session_that_breaks_the_rules_when_its_time_is_over_is_told_so() {
    let mut world = World::new();
    let (client, _) = world.socket(&[""]);
    world.pass(Duration::from_secs(26));
    client.heard();
    client.0.borrow_mut().to_server.extend(frame(2, &[4; 1_025]));
    world.now.mono = world.now.mono.plus(Duration::from_secs(40));
    world.settle();
    let heard = client.heard();
    assert_eq!((heard[0], &heard[2..4]), (0x88, &1009_u16.to_be_bytes()[..]));
}

#[test]
fn a_session_that_dies_in_the_middle_of_a_frame_is_noticed() {
    let mut world = World::new();
    let (client, id) = world.socket(&[""]);
    world.say(&client, id, &frame(1, b"42[\"chat message\",\"hello\"]")[..10]);
    world.pass(Duration::from_secs(50));
    assert_eq!(world.server.sessions(), 0);
}

#[test]
fn a_session_that_polls_is_waited_for_a_little_after_a_sleep_of_the_machine() {
    for answers in [true, false] {
        let mut world = World::new();
        let (client, id, target) = world.polling();
        world.request(&client, id, "POST", &target, "40");
        let (held, held_id) = world.connect();
        world.request(&held, held_id, "GET", &target, "");
        world.request(&held, held_id, "GET", &target, "");
        world.pass(Duration::from_secs(26));
        assert!(held.heard().ends_with(b"\r\n\r\n2"), "a ping");
        world.now.mono = world.now.mono.plus(Duration::from_secs(40));
        world.settle();
        if answers {
            // On a connection of its own, since its others have been idle for too long.
            let (client, id) = world.connect();
            world.request(&client, id, "POST", &target, "3");
            assert!(client.heard().ends_with(b"\r\n\r\nok"));
        }
        world.pass(Duration::from_secs(3));
        assert_eq!(world.server.sessions(), usize::from(answers));
    }
}

#[test]
fn a_drain_does_not_wait_for_sessions_that_do_not_poll_again() {
    let mut world = World::new();
    let (_, _, gone) = world.polling();
    let (client, id, target) = world.polling();
    world.request(&client, id, "POST", &target, "40");
    world.request(&client, id, "GET", &target, "");
    client.heard();
    let began = world.now.mono;
    world.server.drain(world.now, began.plus(Duration::from_secs(60)));
    world.pass(Duration::from_secs(4));
    // One was between two polls, and comes back to be told.
    let (client, id) = world.connect();
    world.request(&client, id, "GET", &target, "");
    assert!(client.heard().ends_with(b"\r\n\r\n1"));
    world.pass(Duration::from_secs(3));
    assert!(!world.events.contains(&Event::Drained), "somebody may still come");
    world.pass(Duration::from_secs(8));
    assert!(world.events.contains(&Event::Drained), "{gone} has not polled for a while");
}

#[test]
fn an_acknowledgement_that_comes_late_is_not_for_the_next_session_in_that_slot() {
    let mut world = World::new();
    assert!(world.server.order_elsewhere());
    let (listener, _) = world.socket(&[""]);
    world.open_all(Position::STREAM_START);
    let (speaker, id) = world.socket(&[""]);
    world.say(&speaker, id, &frame(1, b"427[\"chat message\",\"late\"]"));
    let (ticket, envelope) = world.server.poll_deferred().expect("the word waits for its place");
    let envelope = envelope.to_vec();
    // The speaker goes, and somebody else comes in.
    world.say(&speaker, id, &frame(8, b""));
    let (stranger, _) = world.socket(&[""]);
    listener.heard();
    let position = Position::Stream { ms: 7, seq: 0, index: 1 };
    assert_eq!(world.server.place(world.now, Some(ticket), position, &envelope), Ok(()));
    world.settle();
    for client in [&listener, &stranger] {
        let heard = String::from_utf8_lossy(&client.heard()).into_owned();
        assert!(heard.contains("[\"chat message\",\"late\"]"), "{heard:?}");
        assert!(!heard.contains("437"), "somebody else asked for that: {heard:?}");
    }
}
