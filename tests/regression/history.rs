//! Coming back: what was said meanwhile follows, whole, in order, once, or it is told that it does
//! not.

use core::cell::RefCell;

use super::harness::settings;
use super::{Client, READABLE, SENDS_PER_TURN, World, frame};
use elbow::id::ConnId;
use elbow::limits::{History, Limits};
use elbow::settings::Settings;
use elbow::time::Duration;

/// How long channels keep a message here.
pub(super) const AGE: Duration = Duration::from_secs(60);

/// Channels that keep so many messages.
pub(super) fn keeping(messages_max: u64) -> Settings {
    let settings = settings();
    let history = Some(History { messages_max, age: AGE });
    let limits = Limits { history, ..settings.limits };
    Settings { limits, ..settings }
}

/// A world whose channels keep so many messages.
fn world(messages_max: u64) -> World {
    World::with(|settings| *settings = keeping(messages_max))
}

impl World {
    /// Opens a WebSocket that offers these subprotocols; what it hears is the answer and what
    /// follows.
    pub(super) fn open(&mut self, target: &str, protocols: &str) -> (Client, ConnId) {
        let (client, id) = self.connect();
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             {protocols}\r\n"
        );
        self.say(&client, id, head.as_bytes());
        (client, id)
    }

    pub(super) fn open_v1(&mut self, target: &str) -> V1 {
        let (client, id) = self.open(target, "Sec-WebSocket-Protocol: elbow.v1\r\n");
        V1 { client, id, bytes: RefCell::default() }
    }

    pub(super) fn open_plain(&mut self, target: &str) -> (Client, ConnId) {
        self.open(target, "")
    }
}

/// A WebSocket of `elbow.v1`, with everything that it has heard.
pub(super) struct V1 {
    pub(super) client: Client,
    pub(super) id: ConnId,
    bytes: RefCell<Vec<u8>>,
}

/// The payloads of the frames behind the head of an answer.
pub(super) fn payloads(heard: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(heard).into_owned();
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    let end = heard.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    let mut rest = &heard[end..];
    let mut payloads = Vec::new();
    while let [first, length, behind @ ..] = rest {
        assert!(matches!(first, 0x81 | 0x82 | 0x88), "a whole message, or the end");
        let (length, behind) = match length {
            126 => (usize::from(u16::from_be_bytes([behind[0], behind[1]])), &behind[2..]),
            length => (usize::from(*length), behind),
        };
        payloads.push(behind[..length].to_vec());
        rest = &behind[length..];
    }
    payloads
}

pub(super) fn texts(heard: &[u8]) -> Vec<String> {
    let text = |payload| String::from_utf8(payload).expect("text");
    payloads(heard).into_iter().map(text).collect()
}

impl V1 {
    /// The object with which the server begins, and the messages with their positions.
    pub(super) fn heard(&self) -> (String, Vec<(String, String)>) {
        self.bytes.borrow_mut().extend(self.client.heard());
        let mut texts = texts(&self.bytes.borrow()).into_iter();
        let greeting = texts.next().expect("it begins with a greeting");
        let split = |text: String| {
            let (position, payload) = text.split_once('\n').expect("a position, and a message");
            (position.to_owned(), payload.to_owned())
        };
        let greeting = greeting.strip_prefix('\n').expect("the server speaks").to_owned();
        (greeting, texts.map(split).collect())
    }

    pub(super) fn leave(&self, world: &mut World) {
        self.client.0.borrow_mut().ended = true;
        world.say(&self.client, self.id, b"");
    }

    pub(super) fn greeting(&self) -> String {
        self.heard().0
    }

    pub(super) fn messages(&self) -> Vec<String> {
        self.heard().1.into_iter().map(|(_, message)| message).collect()
    }
}

pub(super) fn epoch_of(greeting: &str) -> &str {
    let (_, behind) = greeting.split_once("\"position\":\"").expect("a position");
    behind.split_once('.').expect("an epoch").0
}

#[test]
fn the_first_word_says_where_reading_begins() {
    let mut world = World::new();
    let one = world.open_v1("/ws/news");
    let greeting = one.greeting();
    let epoch = epoch_of(&greeting);
    assert_eq!(greeting, format!(r#"{{"channel":"news","position":"{epoch}.0","missed":0}}"#));
    world.say(&one.client, one.id, &frame(1, b"hi"));
    world.say(&one.client, one.id, &frame(2, b"\n"));
    let expected = [("1", "hi"), ("2", "\n")];
    let expected = expected.map(|(seq, text)| (format!("{epoch}.{seq}"), text.to_owned()));
    assert_eq!(one.heard().1, expected);
    let two = world.open_v1("/ws/news");
    let expected = format!(r#"{{"channel":"news","position":"{epoch}.2","missed":0}}"#);
    assert_eq!(two.greeting(), expected);
    let other = world.open_v1("/ws");
    assert!(other.greeting().starts_with(r#"{"channel":"default","position":""#));
    assert_ne!(epoch_of(&other.greeting()), epoch);
}

#[test]
fn without_history_only_who_missed_nothing_is_recovered() {
    let mut world = World::new();
    let one = world.open_v1("/ws");
    world.say(&one.client, one.id, &frame(1, b"hi"));
    let greeting = one.greeting();
    let epoch = epoch_of(&greeting).to_owned();
    let came =
        |world: &mut World, seq: u64| world.open_v1(&format!("/ws?since={epoch}.{seq}")).greeting();
    let greeting = |recovered| {
        format!(
            r#"{{"channel":"default","position":"{epoch}.1","recovered":{recovered},"missed":0}}"#
        )
    };
    assert_eq!(came(&mut world, 1), greeting(true));
    assert_eq!([0, 2].map(|seq| came(&mut world, seq)), [greeting(false), greeting(false)]);
    assert_eq!(world.open_v1("/ws?last=5").messages(), Vec::<String>::new());
}

#[test]
fn who_comes_back_is_sent_what_it_missed_and_then_what_is_new_without_a_seam() {
    let mut world = world(100);
    let (publisher, publisher_id) = world.open_plain("/ws/news");
    let reader = world.open_v1("/ws/news");
    let greeting = reader.greeting();
    let epoch = epoch_of(&greeting);
    for number in 1..=9 {
        world.say(&publisher, publisher_id, &frame(1, format!("m{number}").as_bytes()));
    }
    let back = world.open_v1(&format!("/ws/news?since={epoch}.4"));
    world.say(&publisher, publisher_id, &frame(1, b"m10"));
    let (greeting, messages) = back.heard();
    assert_eq!(
        greeting,
        format!(r#"{{"channel":"news","position":"{epoch}.4","recovered":true,"missed":5}}"#)
    );
    let expected: Vec<_> = (5..=10).map(|n| (format!("{epoch}.{n}"), format!("m{n}"))).collect();
    assert_eq!(messages, expected);
    // The other dialects, with and without a subprotocol, and a ring that is made for the first.
    for protocol in ["", "Sec-WebSocket-Protocol: chat\r\n"] {
        let target = format!("/ws/news?since={epoch}.8");
        let (plain, _) = world.open(&target, protocol);
        assert_eq!(texts(&plain.heard()), ["m9", "m10"]);
    }
    let (plain, _) = world.open_plain("/ws/news?last=3");
    assert_eq!(texts(&plain.heard()), ["m8", "m9", "m10"]);
    let all = world.open_v1("/ws/news?last=18446744073709551616");
    assert_eq!(all.messages().len(), 10);
    assert!(all.greeting().ends_with(r#".0","missed":10}"#));
    // The position wins over the number, unless it cannot be honoured.
    let (plain, _) = world.open_plain(&format!("/ws/news?last=3&since={epoch}.9"));
    assert_eq!(texts(&plain.heard()), ["m10"]);
    let last = world.open_v1("/ws/news?last=2&since=0-0.0");
    let expected = r#".8","recovered":false,"missed":2}"#;
    assert!(last.greeting().ends_with(expected), "{}", last.greeting());
    assert_eq!(last.messages(), ["m9", "m10"]);
}

#[test]
fn a_channel_without_members_lives_on_until_its_last_message_is_too_old() {
    let mut world = world(100);
    let reader = world.open_v1("/ws/news");
    world.say(&reader.client, reader.id, &frame(1, b"one"));
    world.say(&reader.client, reader.id, &frame(1, b"two"));
    let greeting = reader.greeting();
    let epoch = epoch_of(&greeting).to_owned();
    reader.leave(&mut world);
    assert_eq!(world.server.sessions(), 0);
    world.pass(Duration::from_secs(59));
    let target = format!("/ws/news?since={epoch}.1");
    let back = world.open_v1(&target);
    assert_eq!(back.messages(), ["two"]);
    back.leave(&mut world);
    world.pass(Duration::from_secs(2));
    let late = world.open_v1(&target);
    assert!(late.greeting().ends_with(r#".0","recovered":false,"missed":0}"#), "another channel");
    assert_ne!(epoch_of(&late.greeting()), epoch);
}

#[test]
fn what_is_beyond_the_number_or_too_old_is_gone_and_told() {
    let mut world = world(3);
    let reader = world.open_v1("/ws");
    let greeting = reader.greeting();
    let epoch = epoch_of(&greeting).to_owned();
    for number in 1..=5 {
        world.say(&reader.client, reader.id, &frame(1, format!("m{number}").as_bytes()));
    }
    let strict = |seq: u64| format!("/ws?strict&since={epoch}.{seq}");
    let back = world.open_v1(&strict(2));
    assert_eq!(back.messages(), ["m3", "m4", "m5"]);
    let (refused, _) = world.open_plain(&strict(1));
    assert!(refused.heard().starts_with(b"HTTP/1.1 410 Gone\r\n"));
    let lost = world.open_v1(&format!("/ws?since={epoch}.1"));
    assert!(lost.greeting().ends_with(r#".5","recovered":false,"missed":0}"#));
    let (unknown, _) = world.open_plain("/ws?since=zzzz.1&strict=");
    assert!(unknown.heard().starts_with(b"HTTP/1.1 410 "));
    for _ in 0..4 {
        world.pass(Duration::from_secs(16));
        world.say(&reader.client, reader.id, &frame(10, b""));
    }
    let (late, _) = world.open_plain(&strict(4));
    assert!(late.heard().starts_with(b"HTTP/1.1 410 "), "too old");
    let quiet = world.open_v1(&strict(5));
    assert!(
        quiet.greeting().ends_with(r#".5","recovered":true,"missed":0}"#),
        "nothing was missed"
    );
}

#[test]
fn what_is_no_position_and_no_number_is_malformed() {
    let mut world = world(3);
    let long = format!("/ws?since={}", "a".repeat(65));
    for target in ["/ws?since=", "/ws?since=a_b", "/ws?last=", "/ws?last=-1", "/ws?last=1x", &long]
    {
        let (refused, _) = world.open_plain(target);
        assert!(refused.heard().starts_with(b"HTTP/1.1 400 "), "{target}");
    }
    for target in ["/ws?since=a", "/ws?last=0", "/?since=%61", "/ws?strict", "/ws?last=1&last=2"] {
        let (taken, _) = world.open_plain(target);
        assert!(taken.heard().starts_with(b"HTTP/1.1 101 "), "{target}");
    }
}

#[test]
fn an_address_is_sent_a_ring_a_second() {
    let mut world = world(10_000);
    world.now.mono = world.now.mono.plus(Duration::from_secs(10));
    let (publisher, publisher_id) = world.open_plain("/ws");
    let ring = settings().limits.feed_bytes as usize;
    let message = vec![b'x'; ring / 8];
    (0..6).for_each(|_| world.say(&publisher, publisher_id, &frame(1, &message)));
    let came = |world: &mut World| {
        let (client, _) = world.open_plain("/ws?last=6");
        client.heard()[9..12].to_vec()
    };
    assert_eq!([came(&mut world), came(&mut world)], [b"101", b"429"]);
    world.pass(Duration::from_secs(1));
    assert_eq!([came(&mut world), came(&mut world)], [b"101", b"429"]);
}

#[test]
fn a_channel_that_all_leave_in_its_own_sweep_is_swept_no_more() {
    let mut world = world(100);
    let (publisher, publisher_id) = world.open_plain("/ws/news");
    let members: Vec<_> = (1..SENDS_PER_TURN).map(|_| world.open_plain("/ws/news")).collect();
    let clients = members.iter().map(|(client, _)| client).chain([&publisher]);
    clients.for_each(|client| client.0.borrow_mut().broken = true);
    publisher.0.borrow_mut().to_server.extend(frame(1, b"x"));
    world.ready(publisher_id, READABLE);
    world.turn();
    assert_eq!(world.server.sessions(), 0);
}

#[test]
fn a_channel_may_be_asked_for_at_the_moment_at_which_it_ends() {
    let mut world = world(100);
    let reader = world.open_v1("/ws/news");
    world.say(&reader.client, reader.id, &frame(1, b"one"));
    let greeting = reader.greeting();
    let epoch = epoch_of(&greeting).to_owned();
    reader.leave(&mut world);
    // The request comes before what is due in its turn.
    world.now.mono = world.now.mono.plus(AGE);
    let (refused, _) = world.open_plain(&format!("/ws/news?strict&since={epoch}.0"));
    assert!(refused.heard().starts_with(b"HTTP/1.1 410 "));
    let (back, _) = world.open_plain("/ws/news?last=9");
    assert_eq!(texts(&back.heard()), Vec::<String>::new());
}

#[test]
fn who_wants_all_or_nothing_is_refused_also_if_a_new_ring_has_no_room_for_all() {
    let mut world = world(1_000);
    let (publisher, publisher_id) = world.open_plain("/ws/news");
    let reader = world.open_v1("/ws/news");
    let greeting = reader.greeting();
    let epoch = epoch_of(&greeting).to_owned();
    reader.leave(&mut world);
    // In the log a record is shorter than in the ring of `elbow.v1`, where the position is text.
    for _ in 0..60 {
        world.say(&publisher, publisher_id, &frame(1, &[b'x'; 51]));
    }
    let strict = |seq: u64| format!("/ws/news?strict&since={epoch}.{seq}");
    let (before, mut refused) = (world.server.sessions(), 0);
    for seq in 0..20 {
        let back = world.open_v1(&strict(seq));
        let answer = back.client.heard();
        assert!(!back.client.0.borrow().dropped, "behind {seq}");
        if answer.starts_with(b"HTTP/1.1 410 ") {
            refused += 1;
            assert_eq!(world.server.sessions(), before, "who is refused counts for nothing");
        } else {
            back.bytes.borrow_mut().extend(answer);
            assert_eq!(back.messages().len() as u64, 60 - seq, "behind {seq}");
        }
        back.leave(&mut world);
        world.pass(Duration::from_millis(1_100));
    }
    assert!((1..10).contains(&refused), "{refused} were refused");
    // In a plain ring all have room.
    let (plain, _) = world.open_plain(&strict(0));
    assert_eq!(texts(&plain.heard()).len(), 60);
}

#[test]
fn who_has_just_come_back_is_not_overtaken_before_it_was_sent_anything() {
    let mut world = world(1_000);
    let (publisher, publisher_id) = world.open_plain("/ws/news");
    for _ in 0..20 {
        world.say(&publisher, publisher_id, &frame(1, &[b'x'; 400]));
    }
    let (reader, reader_id) = world.connect();
    let head = "GET /ws/news?last=100 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
                Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: elbow.v1\r\n\r\n";
    reader.0.borrow_mut().to_server.extend(head.as_bytes());
    publisher.0.borrow_mut().to_server.extend(frame(1, &[b'y'; 400]));
    // Both have come by one turn, as usual in a busy channel.
    world.ready(reader_id, READABLE);
    world.ready(publisher_id, READABLE);
    world.settle();
    let heard = texts(&reader.heard());
    let last = heard.last().expect("a greeting at least");
    assert!(last.ends_with("yyy"), "{} messages, then {last:?}", heard.len() - 1);
}

#[test]
fn who_has_just_come_back_is_not_overtaken_however_little_it_has_missed() {
    let ring = settings().limits.feed_bytes as usize;
    let message = vec![b'y'; ring / 4 - 24];
    let burst: Vec<u8> = (0..8).flat_map(|_| frame(1, &message)).collect();
    for missed in 1..=15 {
        let mut world = world(1_000);
        let (publisher, publisher_id) = world.open_plain("/ws/news");
        // Less than half of a ring, and then half of one and the largest message, in one turn.
        for _ in 0..missed {
            world.say(&publisher, publisher_id, &frame(1, &[b'x'; 120]));
        }
        let (reader, reader_id) = world.connect();
        let head = format!(
            "GET /ws/news?last={missed} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        );
        reader.0.borrow_mut().to_server.extend(head.as_bytes());
        publisher.0.borrow_mut().to_server.extend(&burst);
        world.ready(reader_id, READABLE);
        world.ready(publisher_id, READABLE);
        world.settle();
        assert_eq!(texts(&reader.heard()).len(), missed + 8, "{missed} missed");
    }
}

#[test]
fn who_wants_nothing_of_the_past_is_let_in_whatever_its_address_was_sent() {
    let mut world = world(10_000);
    world.now.mono = world.now.mono.plus(Duration::from_secs(10));
    let (publisher, publisher_id) = world.open_plain("/ws");
    let ring = settings().limits.feed_bytes as usize;
    let message = vec![b'x'; ring / 8];
    (0..6).for_each(|_| world.say(&publisher, publisher_id, &frame(1, &message)));
    let (client, _) = world.open_plain("/ws?last=6");
    assert!(client.heard().starts_with(b"HTTP/1.1 101 "));
    // Each would be the first reader of its dialect, for which what is kept is filled into a ring.
    let target = |query: &str| format!("/ws{query}");
    for query in ["?last=1", "?since=a"] {
        let (refused, _) = world.open(&target(query), "Sec-WebSocket-Protocol: elbow.v1\r\n");
        assert!(refused.heard().starts_with(b"HTTP/1.1 429 "), "{query}");
    }
    for query in ["", "?last=0", "?strict"] {
        let client = world.open_v1(&target(query));
        let greeting = client.greeting();
        assert!(greeting.ends_with(r#".6","missed":0}"#), "{query}: {greeting}");
        client.leave(&mut world);
    }
    // A ring that was not filled has nothing for others, and they are told so.
    let reader = world.open_v1("/ws");
    let epoch = epoch_of(&reader.greeting()).to_owned();
    let late = world.open_v1(&format!("/ws?since={epoch}.5"));
    assert!(late.greeting().ends_with(r#".6","recovered":false,"missed":0}"#));
    // A page that is loaded again and again is the only reader of its channel each time, and finds
    // it with more than the address may be sent in all.
    let load = |world: &mut World| {
        let (reader, reader_id) = world.open_plain("/ws/news");
        assert!(reader.heard().starts_with(b"HTTP/1.1 101 "));
        (0..6).for_each(|_| world.say(&reader, reader_id, &frame(1, &message)));
        reader.0.borrow_mut().ended = true;
        world.say(&reader, reader_id, b"");
    };
    (0..5).for_each(|_| load(&mut world));
}
