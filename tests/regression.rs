//! What once went wrong, shown on the server's core with fake sockets and an invented time
//! (`tests/harness`): one test for each, named by what must hold.
//!
//! Leaves real sockets and processes to `tests/e2e`.

#[path = "regression/admission.rs"]
mod admission;
#[path = "regression/backend.rs"]
mod backend;
#[path = "regression/base_path.rs"]
mod base_path;
#[path = "regression/clients.rs"]
mod clients;
#[path = "regression/disconnect.rs"]
mod disconnect;
#[path = "regression/elsewhere.rs"]
mod elsewhere;
#[path = "regression/history.rs"]
mod history;
#[path = "regression/kept.rs"]
mod kept;
#[path = "regression/log.rs"]
mod log;
#[path = "regression/pages.rs"]
mod pages;
#[path = "regression/places.rs"]
mod places;
#[path = "regression/public_places.rs"]
mod public_places;
#[path = "regression/recovery.rs"]
mod recovery;
#[path = "regression/replays.rs"]
mod replays;
#[path = "regression/requests.rs"]
mod requests;
#[path = "regression/sessions.rs"]
mod sessions;
#[path = "regression/shares.rs"]
mod shares;
#[path = "regression/sizes.rs"]
mod sizes;
#[path = "regression/streams.rs"]
mod streams;
#[path = "regression/tokens.rs"]
mod tokens;
#[path = "regression/turns.rs"]
mod turns;
#[path = "regression/upgrades.rs"]
mod upgrades;

mod harness;

use core::net::{IpAddr, SocketAddr};
use std::io;

use elbow::id::ConnId;
use elbow::limits::{READ_BUFFER_BYTES, READ_BYTES_PER_TURN, SENDS_PER_TURN};
use elbow::server::{Batch, Event, Listener, Outgoing, Socket};
use elbow::settings::Settings;
use elbow::site::Site;
use elbow::time::Duration;

use harness::{Client, End, READABLE, WRITABLE, World, masked};

/// Asks for a WebSocket in the channel `default`.
const UPGRADE: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n\r\n";

impl World {
    /// A small server, as an operator has it who has decided little.
    fn new() -> World {
        World::with(|_| {})
    }

    /// A small server whose operator has decided something else.
    fn with(change: impl FnOnce(&mut Settings)) -> World {
        let mut settings = harness::settings();
        change(&mut settings);
        World::begin(settings, Site::new(Vec::new(), false))
    }

    fn connect(&mut self) -> (Client, ConnId) {
        self.connect_to(Listener::Public, "192.0.2.1")
    }

    fn connect_to(&mut self, listener: Listener, ip: &str) -> (Client, ConnId) {
        let ip: IpAddr = ip.parse().expect("an address");
        self.connect_from(listener, (ip, 1234).into())
    }

    fn connect_from(&mut self, listener: Listener, peer: SocketAddr) -> (Client, ConnId) {
        self.accept(listener, peer)
    }

    /// A client with a WebSocket, its 101 taken.
    fn session(&mut self) -> (Client, ConnId) {
        let (client, id) = self.connect();
        self.say(&client, id, UPGRADE);
        assert!(client.heard().starts_with(b"HTTP/1.1 101 "));
        (client, id)
    }

    /// Eight members who have stopped reading: in a small room that is more than half.
    fn deaf(&mut self) {
        for _ in 0..8 {
            self.session().0.stop_reading();
        }
    }

    /// A client reads again, and takes whatever is written.
    fn makes_room(&mut self, client: &Client, id: ConnId) {
        client.0.borrow_mut().room = usize::MAX;
        self.ready(id, WRITABLE);
        self.settle();
    }
}

/// A client's frame, final, with a mask of zeros, which leaves the payload readable.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(0x80 | opcode, payload)
}

#[test]
fn a_publisher_held_back_for_its_room_is_read_again_after_the_grace() {
    let mut world = World::new();
    let (publisher, id) = world.session();
    let (listener, _) = world.session();
    world.deaf();
    for number in 0..12 {
        world.say(&publisher, id, &frame(2, &[number; 500]));
    }
    let at_once = listener.heard().len();
    assert!(at_once < 12 * 504, "the room is waited for");
    world.pass(Duration::from_secs(4));
    assert_eq!(at_once + listener.heard().len(), 12 * 504);
}

#[test]
fn a_broken_body_behind_an_answer_ends_the_connection_without_a_reset() {
    let mut world = World::new();
    let (client, id) = world.connect();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    world.say(&client, id, head.as_bytes());
    assert!(client.heard().starts_with(b"HTTP/1.1 404 "));
    world.say(&client, id, b"0x3\r\n");
    world.say(&client, id, b"abc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.heard().is_empty(), "what follows must not be interpreted");
    let is = |client: &Client| (client.0.borrow().shut_down, client.0.borrow().dropped);
    assert_eq!(is(&client), (true, false), "unread input would make the close a reset");
    world.pass(Duration::from_secs(3));
    assert_eq!(is(&client), (true, true));
}

#[test]
fn pings_that_come_together_are_each_answered_in_moderation() {
    let mut world = World::new();
    let (client, id) = world.session();
    let pings: Vec<u8> = (0..10).flat_map(|number| frame(9, &[number; 100])).collect();
    world.say(&client, id, &pings);
    let pongs: Vec<u8> =
        (0..10).flat_map(|number| [&[0x8a, 100][..], &[number; 100]].concat()).collect();
    assert_eq!(client.heard(), pongs);

    client.stop_reading();
    for number in 0..=255 {
        world.say(&client, id, &frame(9, &[number; 125]));
    }
    client.0.borrow_mut().room = usize::MAX;
    world.ready(id, WRITABLE);
    world.server.run(world.now);
    let heard = client.heard();
    assert!(heard.len() < 2048, "{} bytes were kept for one that does not read", heard.len());
    assert!(heard.ends_with(&[255; 125]), "the latest ping is answered");
}

#[test]
fn newcomers_cannot_keep_a_drain_from_ending() {
    let mut world = World::new();
    let began = world.now.mono;
    world.server.drain(world.now, began.plus(Duration::from_secs(5)));
    // A client at each turn, as when all that another server had comes here.
    while world.now.mono <= began.plus(Duration::from_millis(8_050)) {
        if world.server.has_room_for(Listener::Public) {
            world.connect();
        }
        world.server.run(world.now);
        while let Some(event) = world.server.poll_event() {
            if event == Event::Drained {
                return;
            }
        }
        world.now.mono = world.now.mono.plus(Duration::from_millis(10));
    }
    panic!("the drain has no end");
}

#[test]
fn requests_behind_one_that_is_being_answered_wait_in_their_socket() {
    let mut world = World::new();
    let (client, id) = world.connect();
    client.stop_reading();
    let request = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    // More than the server's buffer, while the first answer cannot leave.
    let count = 2 * READ_BUFFER_BYTES / request.len();
    for _ in 0..8 {
        world.say(&client, id, &request.repeat(count / 8));
    }
    assert!(world.server.pool().lent_bytes() < READ_BUFFER_BYTES as u64);
    client.0.borrow_mut().room = usize::MAX;
    world.ready(id, WRITABLE);
    world.settle_within(100_000);
    let answers = client.heard();
    assert_eq!(answers.windows(6).filter(|six| six == b"\r\n\r\nok").count(), count / 8 * 8);
}

#[test]
fn a_peer_whose_answer_waits_to_be_read_has_not_vanished() {
    let mut world = World::new();
    let (client, id) = world.session();
    world.pass(Duration::from_secs(26));
    assert_eq!(client.heard(), [0x89, 0], "a ping");
    // The machine sleeps; what has come meanwhile is reported after other things.
    client.0.borrow_mut().to_server.extend(frame(10, b""));
    world.pass(Duration::from_secs(40));
    assert!(!client.0.borrow().dropped);
    world.say(&client, id, &frame(1, b"hello"));
    assert!(client.heard().ends_with(b"\x81\x05hello"));
}

#[test]
fn a_publisher_that_has_caught_up_in_a_waiting_room_is_read_after_the_grace() {
    let mut world = World::new();
    let (publisher, id) = world.session();
    let (other, other_id) = world.session();
    world.deaf();
    other.stop_reading();
    for number in 0..4 {
        world.say(&publisher, id, &frame(2, &[number; 500]));
    }
    // Not read: it lags itself. Then it catches up, while the room is waited for.
    world.say(&other, other_id, &frame(1, b"hello"));
    world.say(&publisher, id, &frame(2, &[4; 500]));
    world.makes_room(&other, other_id);
    assert_eq!(publisher.heard().len(), 5 * 504, "the room is waited for");
    world.pass(Duration::from_secs(2));
    assert_eq!(publisher.heard(), b"\x81\x05hello");
}

#[test]
fn publishers_of_a_room_that_is_often_waited_for_take_turns() {
    let mut world = World::new();
    let (listener, _) = world.session();
    let publishers: Vec<_> = (0..4).map(|_| world.session()).collect();
    let long = frame(2, &[b'x'; 500]).repeat(40);
    for (at, (publisher, _)) in publishers.iter().enumerate() {
        let much = at == 0;
        let word = frame(1, format!("publisher {at}").as_bytes());
        let said = if much { &long } else { &word };
        publisher.0.borrow_mut().to_server.extend(said);
    }
    // Half a ring is four of the long ones: the first is stopped before the others have a turn.
    for (_, id) in &publishers {
        world.ready(*id, READABLE);
    }
    world.settle();
    let heard = listener.heard();
    assert_eq!(heard.len(), 40 * 504 + 3 * 13);
    let place = heard.windows(11).rposition(|text| text == b"publisher 3");
    assert!(place.expect("it was said") < 10 * 504, "whoever says much comes first again");
}

#[test]
fn a_connection_that_ends_is_counted_once() {
    let mut world = World::new();
    let (client, id) = world.session();
    world.say(&client, id, &frame(8, b""));
    world.pass(Duration::from_secs(3));
    assert!(client.0.borrow().dropped);
    assert_eq!(world.server.metrics().closed.iter().sum::<u64>(), 1);
}

#[test]
fn what_a_held_publisher_has_sent_is_discarded_behind_its_close() {
    let mut world = World::new();
    let (publisher, id) = world.session();
    world.deaf();
    for number in 0..12 {
        world.say(&publisher, id, &frame(2, &[number; 500]));
    }
    assert!(!publisher.0.borrow().to_server.is_empty(), "the room is waited for");
    publisher.heard();
    world.server.drain(world.now, world.now.mono);
    world.settle();
    assert_eq!(publisher.heard(), b"\x88\x0c\x03\xe9going away");
    assert!(publisher.0.borrow().to_server.is_empty(), "or the drop would be a reset");
}

/// The id of a session that a polling handshake has just opened.
fn sid_of(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let (_, rest) = text.split_once("\"sid\":\"").expect("a handshake names its session");
    rest[..20].to_owned()
}

#[test]
fn a_body_behind_a_poll_is_not_taken_for_the_next_request() {
    let mut world = World::new();
    let (client, id) = world.connect();
    let target = "/socket.io/?EIO=4&transport=polling";
    world.say(&client, id, format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    let sid = sid_of(&client.heard());
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    let length = smuggled.len();
    let head = format!("GET {target}&sid={sid} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}");
    world.say(&client, id, format!("{head}\r\n\r\n{smuggled}").as_bytes());
    world.pass(Duration::from_secs(60));
    let answers = String::from_utf8_lossy(&client.heard()).into_owned();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(!answers.contains("\r\n\r\nok"), "{answers}");
}

#[test]
fn a_post_that_is_whole_is_answered_without_waiting_for_more() {
    let mut world = World::new();
    let (client, id) = world.connect();
    let target = "/socket.io/?EIO=4&transport=polling";
    world.say(&client, id, format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    let sid = sid_of(&client.heard());
    let head = format!("POST {target}&sid={sid} HTTP/1.1\r\nHost: h\r\nContent-Length: 2");
    world.say(&client, id, format!("{head}\r\n\r\n40").as_bytes());
    assert!(client.heard().ends_with(b"\r\n\r\nok"));
    // The same for a body that nobody wants: the next request is heard at once, and later.
    let unwanted = "GET /healthz HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    world.say(&client, id, unwanted.as_bytes());
    assert!(client.heard().ends_with(b"\r\n\r\nok"));
    world.pass(Duration::from_secs(12));
    world.say(&client, id, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.heard().ends_with(b"\r\n\r\nok"), "a body that was whole has no deadline");
}

#[test]
fn a_turn_reads_publishers_for_no_more_than_its_share() {
    let mut world = World::new();
    let publishers: Vec<_> = (0..60).map(|_| world.session()).collect();
    // The room takes half a ring at a time; one in which nobody waits takes what the turn gives.
    let message = frame(9, &[b'x'; 100]);
    let each = 40;
    for (client, id) in &publishers {
        client.0.borrow_mut().to_server.extend(message.repeat(each));
        world.ready(*id, READABLE);
    }
    let read = |publishers: &[(Client, ConnId)]| -> usize {
        let left = |client: &Client| client.0.borrow().to_server.len();
        publishers.iter().map(|(client, _)| message.len() * each - left(client)).sum()
    };
    let at_once = read(&publishers);
    assert!(at_once > 0 && at_once <= READ_BYTES_PER_TURN + message.len() * each, "{at_once}");
    world.settle();
    assert_eq!(read(&publishers), publishers.len() * message.len() * each);
}

#[test]
fn a_crowd_that_reads_again_is_served_in_portions() {
    let mut world = World::new();
    let (publisher, id) = world.session();
    let crowd: Vec<_> = (0..90).map(|_| world.session()).collect();
    crowd.iter().for_each(|(client, _)| client.stop_reading());
    world.say(&publisher, id, &frame(2, &[7; 500]));
    for (client, id) in &crowd {
        client.0.borrow_mut().room = usize::MAX;
        world.ready(*id, WRITABLE);
    }
    let served = |crowd: &[(Client, ConnId)]| {
        crowd.iter().filter(|(client, _)| client.0.borrow().to_client.len() == 504).count()
    };
    assert_eq!(served(&crowd), 0, "nobody is served outside of a pass");
    world.server.run(world.now);
    assert_eq!(served(&crowd), SENDS_PER_TURN);
    world.settle();
    assert_eq!(served(&crowd), crowd.len());
}

/// Connections whose half requests leave no memory to anybody.
fn halves(world: &mut World) -> Vec<(Client, ConnId)> {
    let half = [b"GET / HTTP/1.1\r\nHost: h\r\nX: ".as_slice(), &[b'x'; 15_000]].concat();
    let mut clients = Vec::new();
    for bytes in [&half[..], &half[..200]] {
        loop {
            let (client, id) = world.connect();
            world.say(&client, id, bytes);
            if client.0.borrow().dropped {
                break;
            }
            clients.push((client, id));
        }
    }
    assert!(clients.len() > 32);
    clients
}

#[test]
fn halves_of_strangers_silence_nobody() {
    let mut world = World::new();
    let (ann, ann_id) = world.session();
    let (bob, bob_id) = world.connect();
    let head =
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\
        \r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n\r\n";
    world.say(&bob, bob_id, head);
    world.say(&bob, bob_id, &frame(1, b"40"));
    let _strangers = halves(&mut world);
    bob.heard();
    world.say(&ann, ann_id, &frame(1, b"hello"));
    assert_eq!(ann.heard(), b"\x81\x05hello");
    assert_eq!(bob.heard(), b"\x81\x1a42[\"chat message\",\"hello\"]");
    world.say(&ann, ann_id, &frame(9, b"?"));
    assert_eq!(ann.heard(), b"\x8a\x01?");
    let (probe, probe_id) = world.connect();
    world.say(&probe, probe_id, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(probe.heard().starts_with(b"HTTP/1.1 200 "));
    world.server.check();
}

#[test]
fn a_session_between_two_polls_outlives_the_halves_of_strangers() {
    let mut world = World::new();
    let (client, id) = world.connect();
    let open = b"GET /socket.io/?EIO=3&transport=polling&b64=1 HTTP/1.1\r\nHost: h\r\n\r\n";
    world.say(&client, id, open);
    let sid = sid_of(&client.heard());
    let target = format!("/socket.io/?EIO=3&transport=polling&b64=1&sid={sid}");
    let _strangers = halves(&mut world);
    let ping = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n1:2");
    world.say(&client, id, ping.as_bytes());
    assert!(client.heard().ends_with(b"\r\n\r\nok"));
    world.say(&client, id, format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    assert!(client.heard().ends_with(b"1:3"), "the pong waited for the poll");
    world.server.check();
}

#[test]
fn who_does_not_take_its_words_keeps_nothing_of_the_reserve() {
    let mut world = World::new();
    let (deaf, id) = world.session();
    let strangers = halves(&mut world);
    deaf.stop_reading();
    world.say(&deaf, id, &frame(9, &[b'?'; 125]));
    assert!(deaf.0.borrow().dropped);
    assert!(!world.server.pool().is_strained());
    drop(strangers);
    world.server.check();
}

/// A way to do many sends that does the last one first, and of the others only every second.
struct Fickle;

impl Batch<End> for Fickle {
    fn send<'a>(
        &mut self,
        sends: impl ExactSizeIterator<Item = Outgoing<'a, End>>,
        results: &mut [io::Result<usize>],
    ) {
        let sends: Vec<_> = sends.collect();
        assert_eq!(sends.len(), results.len());
        for (number, (send, result)) in sends.iter().zip(results).enumerate().rev() {
            *result = match number % 2 {
                0 => send.socket.write(&send.slices),
                _ => Err(io::ErrorKind::Interrupted.into()),
            };
        }
    }
}

#[test]
fn what_a_batch_did_not_take_is_sent_by_itself() {
    let mut world = World::new();
    let (publisher, id) = world.session();
    let readers: Vec<_> = (0..50).map(|_| world.session().0).collect();
    for text in [b"one", b"two"] {
        publisher.0.borrow_mut().to_server.extend(frame(1, text));
        world.ready(id, READABLE);
        while world.server.run_with(world.now, &mut Fickle) {}
        world.server.check();
    }
    for reader in readers.iter().chain([&publisher]) {
        assert_eq!(reader.heard(), b"\x81\x03one\x81\x03two");
    }
}

/// A polling session of protocol 4 in the default channel: its connection and its target.
fn polling(world: &mut World) -> (Client, ConnId, String) {
    let (client, id) = world.connect();
    let target = "/socket.io/?EIO=4&transport=polling";
    world.say(&client, id, format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    let target = format!("{target}&sid={}", sid_of(&client.heard()));
    let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 2");
    world.say(&client, id, format!("{head}\r\n\r\n40").as_bytes());
    world.say(&client, id, format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    assert!(client.heard().ends_with(b"\"}"), "it is in the channel");
    (client, id, target)
}

#[test]
fn a_poll_that_comes_too_late_is_told_with_its_lag() {
    let mut world = World::new();
    let (poller, id, target) = polling(&mut world);
    let (publisher, publisher_id) = world.session();
    // Nearly a ring, in portions that each have their sweep; and what is too much comes together
    // with the poll.
    for number in 0..7 {
        world.say(&publisher, publisher_id, &frame(1, &[b'0' + number; 500]));
    }
    let poll = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    poller.0.borrow_mut().to_server.extend(poll.as_bytes());
    world.ready(id, READABLE);
    publisher.0.borrow_mut().to_server.extend(frame(1, &[b'x'; 900]));
    world.ready(publisher_id, READABLE);
    world.server.run(world.now);
    let events: Vec<Event> = core::iter::from_fn(|| world.server.poll_event()).collect();
    let lag = |event: &Event| {
        if let Event::Lapped { lag_bytes, .. } = event { Some(*lag_bytes) } else { None }
    };
    let lags: Vec<u64> = events.iter().filter_map(lag).collect();
    assert!(lags.len() == 1 && lags[0] > 4096, "{lags:?}");
    world.settle();
    assert!(poller.heard().ends_with(b"\r\n\r\n1"), "Engine.IO's close");
}

#[test]
fn an_answer_to_a_held_poll_that_nobody_takes_has_a_deadline() {
    let mut world = World::new();
    let (poller, id, target) = polling(&mut world);
    let (publisher, publisher_id) = world.session();
    world.say(&poller, id, format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    poller.stop_reading();
    world.say(&publisher, publisher_id, &frame(1, b"hello"));
    world.pass(Duration::from_secs(11));
    assert!(poller.0.borrow().dropped);
}

#[test]
fn a_pong_that_was_read_and_waits_to_be_taken_in_counts() {
    let mut world = World::new();
    let (client, id) = world.connect();
    let head = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: h\r\n\
        Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n\r\n";
    world.say(&client, id, head);
    world.say(&client, id, &frame(1, b"40"));
    let (publisher, publisher_id) = world.session();
    world.pass(Duration::from_secs(26));
    assert!(client.heard().ends_with(b"\x81\x012"), "a ping");
    // It stops reading, a little behind; its own event makes that more than a quarter ring, and
    // what it says behind it is not taken in.
    client.stop_reading();
    world.say(&publisher, publisher_id, &frame(1, &[b'x'; 900]));
    let event = format!("42[\"chat message\",\"{}\"]", "y".repeat(300));
    world.say(&client, id, &[frame(1, event.as_bytes()), frame(1, b"3")].concat());
    world.pass(Duration::from_secs(60));
    assert!(!client.0.borrow().dropped);
    world.makes_room(&client, id);
    assert!(client.heard().ends_with(b"yyy\"]"), "it is told everything");
}
