//! An order of messages that is decided elsewhere: who waits for it, who is told where messages
//! stand, and what nobody is told who should be.
//!
//! Whoever decides the order is the test here: a number that rises.

use super::harness::settings;
use super::history::keeping;
use super::sessions::request;
use super::{Client, World, frame};
use elbow::hub::{Message, envelope};
use elbow::id::ConnId;
use elbow::limits::LATE_OPENING_LIMIT;
use elbow::position::Position;
use elbow::reason::CloseReason;
use elbow::server::{DEFERRED_MAX, Event, Listener, Ticket, Unplaced};
use elbow::settings::{Greeting, Settings};
use elbow::time::Duration;

/// The first message of an entry.
pub(super) fn entry(ms: u64) -> Position {
    Position::Stream { ms, seq: 0, index: 1 }
}

/// An envelope with a text.
fn sealed(channel: &str, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    envelope::encode(channel, &Message::Text(text.as_bytes()), &mut bytes);
    bytes
}

/// A world whose order is decided by the test.
fn ordered(settings: Settings) -> World {
    let mut world = World::with(|it| *it = settings);
    assert!(world.server.order_elsewhere());
    world
}

/// Settings of a server that keeps messages and lets Socket.IO come back.
fn recovering() -> Settings {
    let mut settings = keeping(100);
    settings.recovery = true;
    settings.limits.memory_bytes = 1 << 22;
    settings
}

/// What a client has heard since it was last asked, as text.
fn heard(client: &Client) -> String {
    String::from_utf8_lossy(&client.heard()).into_owned()
}

const V1: &str = "Sec-WebSocket-Protocol: elbow.v1\r\n";

impl World {
    /// A plain WebSocket in the channel `default`, which is open.
    pub(super) fn opened(&mut self) -> Client {
        let (client, _) = self.ask_socket("/ws", "");
        self.open_all(Position::STREAM_START);
        assert!(heard(&client).starts_with("HTTP/1.1 101 "));
        client
    }

    /// Gives a message that was said here its place.
    pub(super) fn place_at(
        &mut self,
        ticket: Ticket,
        ms: u64,
        envelope: &[u8],
    ) -> Result<(), Unplaced> {
        self.server.place(self.now, Some(ticket), entry(ms), envelope)
    }

    /// Opens every channel that is asked for, behind `position`.
    pub(super) fn open_all(&mut self, position: Position) {
        while let Some(name) = self.server.poll_opening().map(str::to_owned) {
            self.server.opened(self.now, &name, position);
            self.server.check();
        }
        self.settle();
    }

    /// Gives everything that waits its place: the first gets `ms`, each further one more.
    fn order(&mut self, mut ms: u64) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        while let Some((ticket, envelope)) = self.server.poll_deferred() {
            let envelope = envelope.to_vec();
            let place = |world: &mut World| {
                world.server.place(world.now, Some(ticket), entry(ms), &envelope)
            };
            while place(self) == Err(Unplaced::Held) {
                self.settle();
            }
            self.server.check();
            tickets.push(ticket);
            ms += 1;
        }
        self.settle();
        tickets
    }

    /// Somebody elsewhere says a text, which gets this place.
    fn say_elsewhere(&mut self, channel: &str, ms: u64, text: &str) {
        let envelope = sealed(channel, text);
        assert_eq!(self.server.place(self.now, None, entry(ms), &envelope), Ok(()));
        self.server.check();
        self.settle();
    }

    /// Asks for a WebSocket of this dialect; what it hears is the answer and what follows.
    fn ask_socket(&mut self, target: &str, fields: &str) -> (Client, ConnId) {
        let (client, id) = self.connect();
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n";
        let head = request("GET", target, &format!("{upgrade}{fields}"));
        self.say(&client, id, head.as_bytes());
        (client, id)
    }

    /// Asks for an event stream.
    fn ask_stream(&mut self, target: &str) -> (Client, ConnId) {
        let (client, id) = self.connect();
        self.say(&client, id, request("GET", target, "").as_bytes());
        (client, id)
    }

    /// Leaves: the peer's end is read.
    fn go(&mut self, client: &Client, id: ConnId) {
        client.0.borrow_mut().ended = true;
        self.say(client, id, b"");
    }

    /// How many have left a channel for this reason.
    fn left(&self, reason: CloseReason) -> usize {
        let is_it =
            |event: &&Event| matches!(event, Event::Closed { reason: it, .. } if *it == reason);
        self.events.iter().filter(is_it).count()
    }
}

#[test]
fn every_dialect_is_told_where_in_the_stream_a_message_stands() {
    let mut world = ordered(recovering());
    let (plain, plain_id) = world.ask_socket("/ws/a", "");
    let (v1, _) = world.ask_socket("/ws/a", V1);
    let (stream, _) = world.ask_stream("/sse/a");
    let (io, _) = world.socket(&["/a,"]);
    world.open_all(Position::STREAM_START);
    assert!(heard(&plain).starts_with("HTTP/1.1 101 "));
    assert!(heard(&v1).contains("{\"channel\":\"a\",\"position\":\"0-0.0\",\"missed\":0}"));
    assert!(heard(&stream).contains("id: 0-0.0\n\n"));
    assert!(heard(&io).contains("42/a,[\"elbow:position\",\"0-0.0\"]"));
    world.say(&plain, plain_id, &frame(1, b"one"));
    assert_eq!(heard(&plain), "", "nothing is heard before it has its place");
    world.order(7);
    assert_eq!(heard(&plain), "\u{fffd}\u{3}one");
    assert!(heard(&v1).ends_with("7-0.1\none"));
    assert!(heard(&stream).contains("id: 7-0.1\ndata: one\n\n"));
    assert!(heard(&io).ends_with("42/a,[\"chat message\",\"one\",\"7-0.1\"]"));
}

#[test]
fn who_comes_back_has_a_position_that_is_there_or_begins_anew() {
    let mut world = ordered(keeping(3));
    let (stays, _) = world.ask_socket("/ws/a", "");
    world.open_all(entry(10));
    for ms in 11..=15 {
        world.say_elsewhere("a", ms, &format!("at {ms}"));
    }
    stays.heard();
    // Kept are 13, 14 and 15.
    for (since, recovered, missed) in [
        ("15-0.1", true, 0),
        ("14-0.1", true, 1),
        ("12-0.1", true, 3),
        ("11-0.1", false, 0),
        ("14-0.2", false, 0),
        ("14-1.1", false, 0),
        ("16-0.1", false, 0),
        ("0-0.0", false, 0),
        ("k3f9.14", false, 0),
    ] {
        let (v1, id) = world.ask_socket(&format!("/ws/a?since={since}"), V1);
        let text = heard(&v1);
        let told = format!("\"recovered\":{recovered},\"missed\":{missed}}}");
        assert!(text.contains(&told), "{since}: {text:?}");
        let position = if recovered { since } else { "15-0.1" };
        assert!(text.contains(&format!("\"position\":\"{position}\"")), "{since}: {text:?}");
        assert_eq!(text.matches("\nat ").count(), missed, "{since}: {text:?}");
        world.go(&v1, id);
    }
    let (v1, _) = world.ask_socket("/ws/a?last=2", V1);
    let text = heard(&v1);
    assert!(text.contains("\"position\":\"13-0.1\"") && text.contains("14-0.1\nat 14"), "{text:?}");
}

#[test]
fn a_position_is_honoured_without_history_if_nothing_was_missed() {
    let mut world = ordered(settings());
    let (_stays, _) = world.ask_socket("/ws/a", "");
    world.open_all(entry(10));
    for (since, recovered) in [("10-0.1", true), ("9-0.1", false), ("11-0.1", false)] {
        let (v1, _) = world.ask_socket(&format!("/ws/a?since={since}"), V1);
        let told = format!("\"recovered\":{recovered}");
        assert!(heard(&v1).contains(&told), "{since}");
    }
}

#[test]
fn a_newcomer_waits_until_it_is_known_where_its_channel_begins() {
    let mut world = ordered(recovering());
    let (plain, _) = world.ask_socket("/ws/a", "");
    let (v1, _) = world.ask_socket("/ws/a?last=2", V1);
    let (stream, _) = world.ask_stream("/sse/a?since=3-0.1");
    let (io, _) = world.socket(&["/a,{\"pid\":\"AAAABBBBCCCCDDDDEEEE\",\"offset\":\"4-0.1\"}"]);
    let (poller, poller_id, target) = world.polling();
    world.request(&poller, poller_id, "POST", &target, "40/a,");
    assert_eq!(world.server.sessions(), 2, "who waits is in no channel");
    for client in [&plain, &v1, &stream] {
        assert_eq!(heard(client), "");
    }
    assert_eq!(heard(&io), "");
    assert_eq!(world.server.poll_opening(), Some("a"), "it is asked for once");
    assert_eq!(world.server.poll_opening(), None);
    for (ms, text) in [(3, "three"), (4, "four"), (5, "five")] {
        let place = (entry(ms), Duration::from_secs(10));
        world.server.replayed(world.now, "a", place, Some(&sealed("a", text)));
        world.server.check();
    }
    world.settle();
    assert_eq!(heard(&plain), "");
    world.server.opened(world.now, "a", entry(5));
    world.server.check();
    world.settle();
    assert!(heard(&plain).ends_with("\r\n\r\n"), "it asked for nothing that is kept");
    let text = heard(&v1);
    assert!(text.contains("\"position\":\"3-0.1\"") && text.ends_with("5-0.1\nfive"), "{text:?}");
    let text = heard(&stream);
    assert!(text.contains("id: 3-0.1\n") && text.contains("data: five"), "{text:?}");
    assert!(!text.contains("reset") && !text.contains("three"), "{text:?}");
    let text = heard(&io);
    assert!(text.contains("\"pid\":\"AAAABBBBCCCCDDDDEEEE\""), "{text:?}");
    assert!(text.contains("[\"chat message\",\"five\",\"5-0.1\"]"), "{text:?}");
    assert!(!text.contains("four"), "{text:?}");
    let (other, other_id) = world.connect();
    world.request(&other, other_id, "GET", &target, "");
    let text = heard(&other);
    assert!(text.contains("40/a,{\"sid\""), "{text:?}");
    // From now on the channel is open to everybody.
    let (late, _) = world.ask_socket("/ws/a?since=5-0.1", V1);
    assert!(heard(&late).contains("\"recovered\":true,\"missed\":0"));
    assert_eq!(world.server.poll_opening(), None);
}

#[test]
fn what_is_kept_is_as_old_as_it_is() {
    let mut world = ordered(keeping(10));
    let (v1, _) = world.ask_socket("/ws/a?last=9", V1);
    assert_eq!(world.server.poll_opening(), Some("a"));
    for (ms, age) in [(3, 61), (4, 59), (5, 10)] {
        let place = (entry(ms), Duration::from_secs(age));
        world.now.mono = world.now.mono.plus(Duration::from_millis(1));
        world.server.replayed(world.now, "a", place, Some(&sealed("a", &format!("at {ms}"))));
    }
    // One that cannot be read, or is too large, is a gap.
    world.server.opened(world.now, "a", entry(5));
    world.settle();
    let text = heard(&v1);
    assert!(!text.contains("at 3") && text.contains("4-0.1\nat 4"), "{text:?}");
}

#[test]
fn what_cannot_be_kept_is_a_gap_in_what_is() {
    for gap in [
        None,
        Some(b"noise".to_vec()),
        Some(sealed("b", "x")),
        Some(sealed("a", &"x".repeat(4000))),
    ] {
        let mut world = ordered(keeping(10));
        let (v1, _) = world.ask_socket("/ws/a?last=9", V1);
        assert_eq!(world.server.poll_opening(), Some("a"));
        let place = |ms| (entry(ms), Duration::from_secs(1));
        world.server.replayed(world.now, "a", place(3), Some(&sealed("a", "before")));
        world.server.replayed(world.now, "a", place(4), gap.as_deref());
        world.server.replayed(world.now, "a", place(5), Some(&sealed("a", "behind")));
        world.server.opened(world.now, "a", entry(5));
        world.server.check();
        world.settle();
        let text = heard(&v1);
        assert!(!text.contains("before") && text.ends_with("5-0.1\nbehind"), "{text:?}");
        assert!(text.contains("\"position\":\"4-0.1\""), "{text:?}");
    }
}

#[test]
fn the_newest_that_is_kept_has_its_own_place_whatever_stands_behind_it() {
    let mut world = ordered(keeping(10));
    let (v1, _) = world.ask_socket("/ws/a?last=9", V1);
    assert_eq!(world.server.poll_opening(), Some("a"));
    let place = |ms| (entry(ms), Duration::from_secs(1));
    world.server.replayed(world.now, "a", place(3), Some(&sealed("a", "first")));
    world.server.replayed(world.now, "a", place(4), Some(&sealed("a", "second")));
    // What stands behind it was said before, and is said to nobody.
    world.server.opened(world.now, "a", entry(6));
    world.server.check();
    world.settle();
    let text = heard(&v1);
    assert!(text.contains("3-0.1\nfirst") && text.ends_with("4-0.1\nsecond"), "{text:?}");
    // A newcomer is told a place that is known wherever the channel was open meanwhile.
    let (late, _) = world.ask_socket("/ws/a", V1);
    let text = heard(&late);
    assert!(text.contains("\"position\":\"4-0.1\""), "{text:?}");
    let (back, _) = world.ask_socket("/ws/a?since=4-0.1", V1);
    assert!(heard(&back).contains("\"recovered\":true,\"missed\":0"));
    world.say_elsewhere("a", 7, "third");
    for client in [&v1, &late, &back] {
        assert!(heard(client).ends_with("7-0.1\nthird"));
    }
}

#[test]
fn a_gap_that_is_found_while_a_channel_is_opened_is_one_in_what_is_kept() {
    let mut world = ordered(keeping(10));
    let (v1, _) = world.ask_socket("/ws/a?since=3-0.1", V1);
    assert_eq!(world.server.poll_opening(), Some("a"));
    let place = |ms| (entry(ms), Duration::from_secs(1));
    world.server.replayed(world.now, "a", place(3), Some(&sealed("a", "before")));
    assert_eq!(world.server.lost(world.now, "a", entry(4)), Ok(()));
    world.server.replayed(world.now, "a", place(5), Some(&sealed("a", "behind")));
    world.server.opened(world.now, "a", entry(5));
    world.server.check();
    world.settle();
    let text = heard(&v1);
    assert!(text.contains("\"recovered\":false") && !text.contains("behind"), "{text:?}");
    let (other, _) = world.ask_socket("/ws/a?last=9", V1);
    let text = heard(&other);
    assert!(text.contains("\"position\":\"4-0.1\"") && !text.contains("before"), "{text:?}");
}

#[test]
fn who_comes_back_from_before_a_message_that_is_not_said_again_is_told_of_a_loss() {
    for history in [true, false] {
        let mut world = ordered(if history { keeping(10) } else { settings() });
        let (v1, _) = world.ask_socket("/ws/a", V1);
        world.open_all(entry(2));
        heard(&v1);
        world.say_elsewhere("a", 3, "one");
        assert_eq!(world.server.lost(world.now, "a", entry(4)), Ok(()));
        world.settle();
        assert!(heard(&v1).ends_with("{\"lost\":true,\"position\":\"4-0.1\"}"));
        // It was said here as "one", in a history that is gone.
        assert_eq!(world.server.passed(world.now, "a", entry(5)), Ok(()));
        world.server.check();
        world.settle();
        assert_eq!(heard(&v1), "", "who was here has heard it");
        for (since, recovered) in [("4-0.1", false), ("3-0.1", false), ("5-0.1", true)] {
            let (back, _) = world.ask_socket(&format!("/ws/a?since={since}"), V1);
            let text = heard(&back);
            assert!(text.contains(&format!("\"recovered\":{recovered}")), "{since}: {text:?}");
            assert!(text.contains("\"position\":\"5-0.1\""), "{since}: {text:?}");
        }
        world.say_elsewhere("a", 6, "two");
        assert!(heard(&v1).ends_with("6-0.1\ntwo"), "who was here need not be told");
        let (back, _) = world.ask_socket("/ws/a?since=5-0.1", V1);
        let text = heard(&back);
        assert_eq!(text.contains("\"recovered\":true"), history, "{text:?}");
    }
}

#[test]
fn who_has_come_back_before_a_message_is_not_said_again_is_told_of_a_loss() {
    // How somebody comes back behind the gap, and what is heard of the message.
    let told_v1 = "{\"lost\":true,\"position\":\"5-0.1\"}";
    for (target, protocol, told) in [
        ("/ws/a", "", ""),
        ("/ws/a?last=3", "", ""),
        ("/ws/a?since=3-0.1", "", ""),
        ("/ws/a?since=4-0.1", "", "messages lost"),
        ("/ws/a", V1, ""),
        ("/ws/a?since=3-0.1", V1, told_v1),
        ("/ws/a?since=4-0.1", V1, told_v1),
        ("/sse/a?since=4-0.1", "", "event: reset"),
    ] {
        let mut world = ordered(keeping(10));
        let (kept, _) = world.ask_stream("/sse/a");
        world.open_all(entry(2));
        world.say_elsewhere("a", 3, "one");
        assert_eq!(world.server.lost(world.now, "a", entry(4)), Ok(()));
        world.settle();
        let (client, _) = match target.starts_with("/ws") {
            true => world.ask_socket(target, protocol),
            false => world.ask_stream(target),
        };
        heard(&kept);
        heard(&client);
        assert_eq!(world.server.passed(world.now, "a", entry(5)), Ok(()));
        world.server.check();
        // Who is closed is told in its turn.
        world.pass(Duration::from_secs(60));
        let text = heard(&client);
        assert!(text.contains(told), "{target}: {text:?}");
        assert_eq!(text.contains("lost") || text.contains("reset"), !told.is_empty(), "{text:?}");
        let is_stream = target.starts_with("/sse");
        assert_eq!(heard(&kept).contains("event: reset"), is_stream, "it has heard the message");
    }
}

#[test]
fn who_comes_behind_what_only_others_were_told_is_told_where_it_begins() {
    let mut world = ordered(Settings { greeting: None, ..recovering() });
    let (listener, _) = world.socket(&["/a,"]);
    world.open_all(entry(1));
    world.say_elsewhere("a", 2, "one");
    let (v1, _) = world.ask_socket("/ws/a?since=2-0.1", V1);
    assert!(heard(&listener).contains("\"one\",\"2-0.1\""));
    assert_eq!(world.server.passed(world.now, "a", entry(3)), Ok(()));
    world.settle();
    assert!(heard(&v1).ends_with("{\"lost\":true,\"position\":\"3-0.1\"}"));
    let (newcomer, id) = world.socket(&[]);
    world.say(&newcomer, id, &frame(1, b"40/a,"));
    let text = heard(&newcomer);
    assert!(text.contains("42/a,[\"elbow:position\",\"3-0.1\"]"), "{text:?}");
    world.say_elsewhere("a", 4, "two");
    for client in [&listener, &newcomer] {
        assert!(heard(client).ends_with("42/a,[\"chat message\",\"two\",\"4-0.1\"]"));
    }
}

#[test]
fn a_channel_that_is_not_opened_in_time_is_refused() {
    let mut world = ordered(settings());
    let (plain, _) = world.ask_socket("/ws/a", "");
    let (stream, _) = world.ask_stream("/sse/a");
    let (io, _) = world.socket(&["/a,"]);
    let (old, _) = world.ask_socket("/socket.io/?EIO=3&transport=websocket", "");
    old.heard();
    assert_eq!(world.server.poll_opening(), Some("a"));
    assert_eq!(world.server.poll_opening(), Some("default"));
    world.pass(Duration::from_millis(990));
    assert_eq!([&plain, &stream, &io, &old].map(heard), ["", "", "", ""]);
    world.pass(Duration::from_millis(100));
    assert!(heard(&plain).starts_with("HTTP/1.1 503 "));
    let text = heard(&stream);
    assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("retry: "), "{text:?}");
    assert!(heard(&io).contains("44/a,{\"message\":\"The channel is not open yet\"}"));
    assert!(heard(&old).contains("44\"The channel is not open yet\""));
    let is_refusal = |event: &&Event| matches!(event, Event::Refused { .. });
    assert_eq!(world.events.iter().filter(is_refusal).count(), 4);
    // Nobody waits any more. Whoever decides the order goes on for those who come again, and is
    // told when nobody did for long.
    let closing = |world: &mut World| world.server.poll_closing(world.now);
    world.pass(Duration::from_millis(LATE_OPENING_LIMIT.as_millis() - 1_000));
    assert_eq!(closing(&mut world), None);
    world.pass(Duration::from_secs(1));
    assert_eq!(closing(&mut world).as_deref(), Some("a"));
    assert_eq!(closing(&mut world).as_deref(), Some("default"));
    assert_eq!(closing(&mut world), None);
    world.server.check();
    // What comes late is no harm.
    world.server.opened(world.now, "a", entry(1));
    let place = (entry(1), Duration::default());
    world.server.replayed(world.now, "a", place, Some(&sealed("a", "x")));
    assert_eq!(world.server.lost(world.now, "a", entry(2)), Ok(()));
    // Whoever asks then begins anew.
    let (io, _) = world.socket(&["/a,"]);
    world.open_all(entry(3));
    assert!(heard(&io).contains("40/a,{\"sid\""));
}

#[test]
fn a_channel_that_is_opened_late_is_there_for_who_comes_again() {
    let mut world = ordered(settings());
    let lent = world.server.pool().lent_bytes();
    let (first, _) = world.ask_socket("/ws/a", "");
    assert_eq!(world.server.poll_opening(), Some("a"));
    world.pass(Duration::from_millis(1_500));
    assert!(heard(&first).starts_with("HTTP/1.1 503 "));
    let closing = |world: &mut World| world.server.poll_closing(world.now);
    // Opened when nobody waits, and still there for the next, who need not wait.
    world.server.opened(world.now, "a", entry(1));
    world.pass(Duration::from_secs(20));
    assert_eq!(closing(&mut world), None);
    let (again, again_id) = world.ask_socket("/ws/a", "");
    assert!(heard(&again).starts_with("HTTP/1.1 101 "));
    world.say_elsewhere("a", 2, "x");
    assert!(heard(&again).ends_with('x'));
    // Of those whose time goes on nobody is left behind: the channel ends with its time.
    world.go(&again, again_id);
    world.pass(Duration::from_secs(11));
    assert_eq!(closing(&mut world).as_deref(), Some("a"));
    // One that was opened in time ends with the last who waited.
    let (quick, quick_id) = world.ask_socket("/ws/a", "");
    world.open_all(entry(2));
    assert!(heard(&quick).starts_with("HTTP/1.1 101 "));
    world.go(&quick, quick_id);
    world.pass(Duration::from_secs(1));
    assert_eq!(closing(&mut world).as_deref(), Some("a"));
    world.server.check();
    world.pass(Duration::from_secs(5));
    assert_eq!(world.server.pool().lent_bytes(), lent);
}

#[test]
fn readers_that_do_not_read_hold_the_order_up_only_if_half_of_those_who_wait_are_such() {
    // Three readers of one channel, of which two do not read, and so many of another.
    let cases = [(0, true), (1, true), (2, false), (5, false)];
    for ((others, is_waited_for), is_session) in
        cases.into_iter().flat_map(|case| [(case, false), (case, true)])
    {
        let mut world = ordered(settings());
        let reader = |world: &mut World| match is_session {
            true => world.socket(&["/a,"]).0,
            false => world.ask_socket("/ws/a", "").0,
        };
        let readers: Vec<_> = (0..3).map(|_| reader(&mut world)).collect();
        let others: Vec<_> = (0..others).map(|_| world.ask_socket("/ws/b", "").0).collect();
        world.open_all(entry(1));
        readers.iter().chain(&others).for_each(|client| _ = client.heard());
        readers[1..].iter().for_each(|client| client.0.borrow_mut().room = 0);
        let (mut ms, mut held) = (1, 0);
        let text = "x".repeat(1000);
        let begun = world.now.mono;
        // Some rings more than what laps who does not read: nobody waits for those who were told.
        while ms <= 100 {
            for name in ["a", "b"] {
                ms += 1;
                let place = |world: &mut World| {
                    let envelope = sealed(name, &text);
                    world.server.place(world.now, None, entry(ms), &envelope)
                };
                if place(&mut world) == Err(Unplaced::Held) {
                    assert_eq!(name, "a", "nobody lags in the other");
                    held += 1;
                    world.pass(Duration::from_millis(999));
                    assert_eq!(place(&mut world), Err(Unplaced::Held));
                    world.pass(Duration::from_millis(1));
                    assert_eq!(place(&mut world), Ok(()));
                }
                world.server.check();
                world.settle();
            }
        }
        let lapped = |event: &&Event| matches!(event, Event::Lapped { .. });
        assert_eq!(world.events.iter().filter(lapped).count(), 2);
        assert_eq!(held, u64::from(is_waited_for), "{} others", others.len());
        assert_eq!(world.now.mono.since(begun), Duration::from_millis(1000 * held));
        for client in readers.iter().take(1).chain(&others) {
            let heard = client.heard();
            let count = heard.windows(text.len()).filter(|part| *part == text.as_bytes()).count();
            assert_eq!(count, 50, "all of it");
        }
    }
}

#[test]
fn who_waits_for_a_channel_may_go_and_leaves_nothing() {
    for is_reset in [false, true] {
        let mut world = ordered(recovering());
        let lent = world.server.pool().lent_bytes();
        let (plain, id) = world.ask_socket("/ws/a", "");
        let (stream, stream_id) = world.ask_stream("/sse/b");
        let (io, io_id) = world.socket(&["/c,"]);
        assert!(world.server.pool().lent_bytes() > lent);
        for (client, id) in [(&plain, id), (&stream, stream_id), (&io, io_id)] {
            let mut wire = client.0.borrow_mut();
            (wire.ended, wire.reset) = (!is_reset, is_reset);
            drop(wire);
            world.say(client, id, b"");
        }
        world.pass(Duration::from_secs(3));
        assert!([&plain, &stream, &io].iter().all(|client| client.0.borrow().dropped));
        // Nobody was asked for these.
        assert_eq!(world.server.poll_closing(world.now), None);
        assert_eq!(world.server.poll_opening(), None);
        world.server.check();
        assert_eq!(world.server.pool().lent_bytes(), lent);
    }
}

#[test]
fn what_a_newcomer_says_while_it_waits_is_said_when_it_is_in() {
    let mut world = ordered(settings());
    let (plain, id) = world.connect();
    let head = request(
        "GET",
        "/ws/a",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n",
    );
    world.say(&plain, id, &[head.as_bytes(), &frame(1, b"one")].concat());
    world.say(&plain, id, &frame(1, b"two"));
    let (io, io_id) = world.socket(&[""]);
    world.say(&io, io_id, &frame(1, b"421[\"chat message\",\"three\"]"));
    let (poller, poller_id, target) = world.polling();
    let body = "40\x1e42[\"chat message\",\"four\"]\x1e40/a,";
    world.request(&poller, poller_id, "POST", &target, body);
    assert_eq!((world.server.poll_deferred(), heard(&poller)), (None, String::new()));
    world.open_all(entry(1));
    assert!(heard(&poller).ends_with("\r\n\r\nok"));
    assert_eq!(world.order(2).len(), 4);
    let text = heard(&plain);
    assert!(text.starts_with("HTTP/1.1 101 ") && text.ends_with("one\u{fffd}\u{3}two"), "{text:?}");
    let text = heard(&io);
    assert!(text.contains("\"three\"]") && text.contains("431[]"), "{text:?}");
}

#[test]
fn a_drain_refuses_who_waits() {
    let mut world = ordered(settings());
    let (plain, _) = world.ask_socket("/ws/a", "");
    let (io, _) = world.socket(&["/b,"]);
    world.server.drain(world.now, world.now.mono.plus(Duration::from_secs(5)));
    world.settle();
    world.open_all(entry(1));
    assert!(heard(&plain).starts_with("HTTP/1.1 503 "));
    world.pass(Duration::from_secs(10));
    assert!(heard(&io).ends_with("going away"));
    assert!(world.events.contains(&Event::Drained));
    assert!(plain.0.borrow().dropped && io.0.borrow().dropped);
}

#[test]
fn a_channel_that_nobody_reads_is_closed_unless_somebody_comes_back() {
    let mut world = ordered(settings());
    let (plain, id) = world.ask_socket("/ws/a", "");
    world.open_all(entry(1));
    world.go(&plain, id);
    // Before that was told, somebody comes: the channel goes on.
    world.pass(Duration::from_secs(2));
    let (again, again_id) = world.ask_socket("/ws/a", "");
    assert!(heard(&again).starts_with("HTTP/1.1 101 "));
    assert_eq!(world.server.poll_closing(world.now), None);
    world.say_elsewhere("a", 2, "x");
    assert!(heard(&again).ends_with('x'));
    world.go(&again, again_id);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.server.poll_closing(world.now).as_deref(), Some("a"));
    // From here on it is another, which is to be opened.
    world.say_elsewhere("a", 3, "y");
    let (late, _) = world.ask_socket("/ws/a", "");
    assert_eq!(heard(&late), "");
    world.open_all(entry(3));
    assert!(heard(&late).starts_with("HTTP/1.1 101 "));
}

#[test]
fn what_stands_where_something_was_said_is_not_said_again() {
    let mut world = ordered(keeping(9));
    let (plain, _) = world.ask_socket("/ws/a", "");
    world.open_all(entry(5));
    plain.heard();
    for ms in [4, 5, 6, 6, 5] {
        world.say_elsewhere("a", ms, &format!("at {ms}"));
    }
    assert_eq!(heard(&plain), "\u{fffd}\u{4}at 6");
}

/// Readers of every kind in the channel `a`, which is open behind 1-0.1.
struct Readers {
    plain: (Client, ConnId),
    v1: (Client, ConnId),
    stream: (Client, ConnId),
    io: (Client, ConnId),
    poller: (Client, ConnId, String),
}

impl Readers {
    fn come(world: &mut World) -> Readers {
        let plain = world.ask_socket("/ws/a", "");
        let v1 = world.ask_socket("/ws/a", V1);
        let stream = world.ask_stream("/sse/a");
        let io = world.socket(&["/a,"]);
        let poller = world.polling();
        world.request(&poller.0, poller.1, "POST", &poller.2, "40/a,");
        world.open_all(entry(1));
        world.request(&poller.0, poller.1, "GET", &poller.2, "");
        [&plain.0, &v1.0, &stream.0, &io.0, &poller.0].iter().for_each(|it| drop(it.heard()));
        Readers { plain, v1, stream, io, poller }
    }
}

#[test]
fn a_gap_is_told_to_everybody_before_what_comes_behind_it() {
    let mut world = ordered(recovering());
    // Whoever has the first place is told at once.
    let _first = world.connect();
    let readers = Readers::come(&mut world);
    let (poller, poller_id, target) = &readers.poller;
    world.request(poller, *poller_id, "GET", target, "");
    world.say_elsewhere("a", 2, "before");
    let clients = [&readers.plain, &readers.v1, &readers.stream, &readers.io];
    for (client, _) in clients {
        assert!(heard(client).contains("before"));
    }
    assert!(heard(poller).contains("before"));
    world.request(poller, *poller_id, "GET", target, "");
    assert_eq!(world.server.lost(world.now, "a", entry(8)), Ok(()));
    world.server.check();
    world.say_elsewhere("a", 9, "behind");
    let text = heard(&readers.v1.0);
    assert_eq!(text.find("\n{\"lost\":true,\"position\":\"8-0.1\"}"), Some(4), "{text:?}");
    assert!(text.ends_with("9-0.1\nbehind"), "{text:?}");
    let text = heard(&readers.stream.0);
    let reset = text.find("event: reset\nid: 8-0.1\ndata: {\"position\":\"8-0.1\"}");
    assert!(reset < text.find("data: behind") && reset.is_some(), "{text:?}");
    // Who comes now stands behind the gap, and hears everything.
    let (late, _) = world.ask_socket("/ws/a", "");
    world.say_elsewhere("a", 10, "more");
    assert!(heard(&late).ends_with("more"));
    // What they say is taken, and they are pinged, until their turn has come.
    let (plain, id) = &readers.plain;
    world.say(plain, *id, &frame(9, b"?"));
    world.say(plain, *id, &frame(1, b"said"));
    assert!(!heard(plain).contains("behind"));
    world.order(11);
    assert!(heard(&late).ends_with("said"));
    world.pass(Duration::from_secs(6));
    assert_eq!(heard(plain), "\u{fffd}\u{f}\u{3}\u{fffd}messages lost");
    assert!(heard(&readers.io.0).ends_with("messages lost"));
    let text = heard(poller);
    assert!(text.ends_with("\r\n\r\n1") && !text.contains("behind"), "{text:?}");
    assert_eq!(world.left(CloseReason::MessagesLost), 3);
    assert_eq!(world.server.metrics().gaps, 1);
    let is_told = |event: &&Event| **event == Event::Lost { channel: "a".into() };
    assert_eq!(world.events.iter().filter(is_told).count(), 1);
    // Nothing of before the gap can be had.
    for (since, recovered) in [("2-0.1", false), ("1-0.1", false), ("8-0.1", true), ("9-0.1", true)]
    {
        let (v1, _) = world.ask_socket(&format!("/ws/a?since={since}&last=9"), V1);
        let text = heard(&v1);
        assert!(text.contains(&format!("\"recovered\":{recovered}")), "{since}: {text:?}");
        assert!(!text.contains("before"), "{since}: {text:?}");
    }
}

#[test]
fn those_that_a_gap_parts_come_back_spread_over_the_time_of_a_drain() {
    let mut world = ordered(settings());
    let readers: Vec<_> = (0..50).map(|_| world.ask_socket("/ws/a", "").0).collect();
    world.open_all(entry(1));
    readers.iter().for_each(|client| drop(client.heard()));
    assert_eq!(world.server.lost(world.now, "a", entry(8)), Ok(()));
    let told = |readers: &[Client]| {
        readers.iter().filter(|client| client.0.borrow().to_client.ends_with(b"lost")).count()
    };
    world.settle();
    assert!(told(&readers) <= 1);
    world.pass(Duration::from_millis(2_500));
    let half = told(&readers);
    assert!(half > 0 && half < 50, "{half}");
    world.pass(Duration::from_millis(2_600));
    assert_eq!(told(&readers), 50);
}

#[test]
fn a_second_gap_waits_for_the_first_and_hurries_it() {
    let mut world = ordered(settings());
    let first = world.ask_socket("/ws/a", "").0;
    world.open_all(entry(1));
    first.heard();
    // Others make the round longer than its first batch.
    let others: Vec<_> = (0..300).map(|_| world.connect()).collect();
    let (second, _) = world.ask_socket("/ws/a", "");
    second.heard();
    assert_eq!(world.server.lost(world.now, "a", entry(8)), Ok(()));
    let (third, _) = world.ask_socket("/ws/a", "");
    third.heard();
    assert_eq!(world.server.lost(world.now, "a", entry(9)), Err(Unplaced::Held));
    world.pass(Duration::from_millis(1));
    for client in [&first, &second] {
        assert!(heard(client).ends_with("messages lost"));
    }
    assert_eq!(heard(&third), "", "it came behind the first");
    assert_eq!(world.server.lost(world.now, "a", entry(9)), Ok(()));
    world.say_elsewhere("a", 10, "x");
    world.pass(Duration::from_secs(6));
    assert!(heard(&third).ends_with("messages lost"));
    assert_eq!(world.server.metrics().gaps, 2);
    drop(others);
}

#[test]
fn a_message_for_which_there_is_no_room_is_a_gap() {
    let mut world = ordered(settings());
    let readers = Readers::come(&mut world);
    // Another instance has larger rings.
    world.say_elsewhere("a", 5, &"x".repeat(3_000));
    let text = heard(&readers.v1.0);
    assert!(text.ends_with("{\"lost\":true,\"position\":\"5-0.1\"}"), "{text:?}");
    world.pass(Duration::from_secs(6));
    assert_eq!(world.left(CloseReason::MessagesLost), 3);
    // An envelope that cannot be read is told by whoever brings it.
    let unreadable = world.server.place(world.now, None, entry(6), b"noise");
    assert_eq!(unreadable, Err(Unplaced::Unreadable));
}

#[test]
fn what_was_taken_is_said_also_if_whoever_said_it_was_closed_meanwhile() {
    let mut world = ordered(settings());
    let (reader, _) = world.ask_socket("/ws/a", "");
    let (quiet, quiet_id) = world.ask_socket("/ws/a", "");
    let (plain, id) = world.ask_socket("/ws/a", "");
    let (io, io_id) = world.socket(&["/a,"]);
    world.open_all(entry(1));
    [&reader, &quiet, &plain, &io].iter().for_each(|it| drop(it.heard()));
    world.server.backplane_away(world.now);
    world.pass(Duration::from_secs(2));
    world.server.backplane_away(world.now);
    let mut said = 0;
    while world.server.metrics().publishers_paused == 0 && said < 2 * DEFERRED_MAX {
        world.say(&plain, id, &frame(1, format!("{said}").as_bytes()));
        said += 1;
    }
    world.say(&io, io_id, &frame(1, b"42/a,[\"chat message\",\"late\"]"));
    assert!(!plain.0.borrow().to_server.is_empty(), "it is not read any more");
    // Readers stay, newcomers to open channels come in.
    let (late, _) = world.ask_socket("/ws/a", "");
    assert!(heard(&late).starts_with("HTTP/1.1 101 "));
    world.pass(Duration::from_millis(27_500));
    assert_eq!(quiet.heard(), [0x89, 0], "it is pinged");
    // Its answer waits behind what others have to say, which does not make it a publisher.
    world.say(&quiet, quiet_id, &frame(10, b""));
    assert_eq!(world.left(CloseReason::BackplaneAway), 0);
    plain.heard();
    world.pass(Duration::from_millis(600));
    assert_eq!(plain.heard(), b"\x88\x10\x03\xf5backplane away");
    assert!(heard(&io).ends_with("backplane away"));
    assert_eq!(world.left(CloseReason::BackplaneAway), 2);
    assert!(!quiet.0.borrow().dropped && !reader.0.borrow().dropped);
    // Who waits from now on is closed at once.
    world.say(&quiet, quiet_id, &frame(1, b"word"));
    assert!(quiet.heard().ends_with(b"backplane away"));
    world.server.backplane_back(world.now);
    reader.heard();
    // The last was not taken.
    assert_eq!(world.order(100).len(), said - 1);
    let text = heard(&reader);
    assert!(text.ends_with(&format!("{}", said - 2)) && text.contains("\u{1}0"));
    assert!(!text.contains("late"), "what was not taken is not said");
    // Whoever speaks from now on is heard.
    let (next, next_id) = world.ask_socket("/ws/a", "");
    world.say(&next, next_id, &frame(1, b"again"));
    assert_eq!(world.order(2000).len(), 1);
    assert!(heard(&reader).ends_with("again"));
}

#[test]
fn a_few_large_messages_fill_what_may_wait_as_many_small_ones_do() {
    let mut world = ordered(settings());
    let (plain, id) = world.ask_socket("/ws/a", "");
    world.open_all(entry(1));
    plain.heard();
    let long = frame(2, &[7; 1000]);
    for _ in 0..200 {
        world.say(&plain, id, &long);
    }
    let waits = |plain: &Client| plain.0.borrow().to_server.len() / long.len();
    assert!((50..150).contains(&waits(&plain)), "{}", waits(&plain));
    let placed = world.order(10).len();
    assert_eq!((placed, waits(&plain)), (200, 0));
    assert_eq!(plain.heard().len(), 200 * 1004);
}

#[test]
fn a_balancer_is_told_that_the_order_is_out_of_reach() {
    let mut world = ordered(settings());
    let probe = |world: &mut World, path: &str| {
        let (client, id) = world.connect_to(Listener::Health, "192.0.2.9");
        world.say(&client, id, request("GET", path, "").as_bytes());
        let text = heard(&client);
        world.go(&client, id);
        (text[9..12].to_owned(), text.rsplit_once("\r\n\r\n").expect("a body").1.to_owned())
    };
    let ok = ("200".to_owned(), "ok".to_owned());
    assert_eq!(probe(&mut world, "/readyz"), ok);
    world.server.backplane_back(world.now);
    world.server.backplane_away(world.now);
    world.pass(Duration::from_millis(4_999));
    assert_eq!(probe(&mut world, "/readyz"), ok);
    world.pass(Duration::from_millis(1));
    assert_eq!(probe(&mut world, "/readyz"), ("503".to_owned(), "backplane".to_owned()));
    assert_eq!(probe(&mut world, "/healthz"), ok);
    world.server.backplane_back(world.now);
    assert_eq!(probe(&mut world, "/readyz"), ok);
    // Where it was never within reach nobody knows whether it will be.
    let mut world = ordered(settings());
    world.server.backplane_away(world.now);
    assert_eq!(probe(&mut world, "/readyz"), ("503".to_owned(), "backplane".to_owned()));
    assert_eq!(probe(&mut world, "/healthz"), ok);
    world.server.backplane_back(world.now);
    world.server.backplane_away(world.now);
    assert_eq!(probe(&mut world, "/readyz"), ok);
}

#[test]
fn greetings_are_told_elsewhere_and_nobody_hears_its_own() {
    let mut world = ordered(settings());
    let (first, _) = world.socket(&["/a,"]);
    world.open_all(entry(1));
    assert!(!heard(&first).contains("[\"hi\"]"));
    let greeting = world.server.poll_greeting().expect("somebody came").to_vec();
    assert_eq!(envelope::channel_of(&greeting), Some("a"));
    assert_eq!(world.server.poll_greeting(), None);
    let (second, second_id) = world.socket(&["/a,"]);
    assert!(heard(&first).ends_with("42/a,[\"hi\"]"));
    assert!(world.server.poll_greeting().is_some());
    assert_eq!(world.server.poll_greeting(), None);
    world.server.check();
    // A greeting of another instance.
    second.heard();
    assert_eq!(world.server.greeted(world.now, &greeting), Ok(()));
    world.pass(Duration::from_millis(1));
    for client in [&first, &second] {
        assert_eq!(client.heard(), b"\x81\x0b42/a,[\"hi\"]");
    }
    let refused = Err(Unplaced::Unreadable);
    assert_eq!(world.server.greeted(world.now, &sealed("a", "x")), refused);
    assert_eq!(world.server.place(world.now, None, entry(2), &greeting), refused);
    world.go(&second, second_id);
    let mut elsewhere = Vec::new();
    envelope::encode("b", &Message::Greeting(r#"["hi"]"#), &mut elsewhere);
    assert_eq!(world.server.greeted(world.now, &elsewhere), Ok(()), "nobody is there");
    // What nobody takes along does not pile up.
    for _ in 0..200 {
        let (client, id) = world.socket(&["/a,"]);
        world.go(&client, id);
    }
    let told = core::iter::from_fn(|| world.server.poll_greeting().map(<[u8]>::len)).count();
    assert!((1..100).contains(&told), "{told}");
    assert_eq!(world.server.metrics().greetings_dropped, 200 - told as u64);
}

#[test]
fn who_wants_no_greetings_hears_none_from_elsewhere() {
    let mut world = ordered(Settings { greeting: None, ..settings() });
    let (io, _) = world.socket(&[""]);
    world.open_all(entry(1));
    io.heard();
    let mut greeting = Vec::new();
    let named = Greeting::named("hi");
    let message = Message::Greeting(named.args());
    envelope::encode("default", &message, &mut greeting);
    assert_eq!(world.server.greeted(world.now, &greeting), Ok(()));
    world.settle();
    assert_eq!((heard(&io), world.server.poll_greeting()), (String::new(), None));
}

#[test]
fn a_message_that_was_said_before_is_acknowledged_and_said_to_nobody() {
    let mut world = ordered(settings());
    let (reader, _) = world.ask_socket("/ws/a", "");
    let (io, io_id) = world.socket(&["/a,"]);
    world.open_all(entry(1));
    io.heard();
    reader.heard();
    world.say(&io, io_id, &frame(1, b"42/a,7[\"chat message\",\"again\"]"));
    let ticket = world.server.poll_deferred().expect("it waits").0;
    world.server.repeated(world.now, ticket, entry(1));
    world.server.check();
    world.settle();
    assert_eq!(heard(&io), "\u{fffd}\u{8}43/a,7[]");
    assert_eq!((heard(&reader), world.server.metrics().messages_published()), (String::new(), 0));
    // Whoever said it may have gone, and the channel with it.
    world.say(&io, io_id, &frame(1, b"42/a,8[\"chat message\",\"again\"]"));
    let ticket = world.server.poll_deferred().expect("it waits").0;
    world.go(&io, io_id);
    world.server.repeated(world.now, ticket, entry(1));
    world.server.check();
}
