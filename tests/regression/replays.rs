//! A replay that meets something else: the end of the server, a ring that holds less than what is
//! kept, a reader that wants everything or nothing.

use core::cell::RefCell;

use super::harness::settings;
use super::history::{epoch_of, keeping, payloads, texts};
use super::recovery::{self, Io, begin, confirmed, frames, say_chat};
use super::requests::UPGRADE;
use super::sessions::request;
use super::streams::Stream;
use super::{Client, World, frame};
use elbow::id::ConnId;
use elbow::metrics::Refusal;
use elbow::time::Duration;

/// How somebody comes back to a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Plain,
    ElbowV1,
    Stream,
}

const WAYS: [Way; 3] = [Way::Plain, Way::ElbowV1, Way::Stream];

/// The close frame of a server that goes, without its header.
const GOING_AWAY: &[u8] = b"\x03\xe9going away";

/// A request of somebody who comes to the channel `news` with this query.
fn coming(way: Way, query: &str) -> String {
    match way {
        Way::Plain => request("GET", &format!("/ws/news{query}"), UPGRADE),
        Way::ElbowV1 => {
            let fields = format!("{UPGRADE}Sec-WebSocket-Protocol: elbow.v1\r\n");
            request("GET", &format!("/ws/news{query}"), &fields)
        }
        Way::Stream => request("GET", &format!("/sse/news{query}"), ""),
    }
}

/// What somebody hears who comes so.
fn answer(world: &mut World, way: Way, query: &str) -> Vec<u8> {
    let (client, id) = world.connect();
    world.say(&client, id, coming(way, query).as_bytes());
    client.heard()
}

/// The texts that a reader hears who is let in, in order; the position where it begins, if its
/// dialect says one; and whether it was told that something is lost.
fn read(way: Way, heard: Vec<u8>) -> (Vec<String>, Option<String>, bool) {
    match way {
        Way::Plain => (texts(&heard), None, false),
        Way::ElbowV1 => {
            let mut texts = texts(&heard);
            let greeting = texts.remove(0);
            let (_, behind) = greeting.split_once(r#""position":""#).expect("a position");
            let position = behind.split_once('"').expect("its end").0.to_owned();
            let missed = format!(r#""missed":{}}}"#, texts.len());
            assert!(greeting.ends_with(&missed), "{greeting}, then {texts:?}");
            let payload = |text: String| text.split_once('\n').expect("a position").1.to_owned();
            let is_lost = greeting.contains(r#""recovered":false"#);
            (texts.into_iter().map(payload).collect(), Some(position), is_lost)
        }
        Way::Stream => {
            let stream = stream(heard);
            let content = stream.content().0;
            let (_, behind) = content.split_once("id: ").expect("it begins with an id");
            let position = behind.split_once('\n').expect("its end").0.to_owned();
            let is_lost = content.starts_with("event: reset\n");
            let mut data = stream.data();
            data.drain(..usize::from(is_lost));
            (data, Some(position), is_lost)
        }
    }
}

/// An event stream that has heard this, and hears no more.
fn stream(heard: Vec<u8>) -> Stream {
    let id = ConnId { slot: 0, generation: 0 };
    Stream { client: Client::connect().0, id, bytes: RefCell::new(heard) }
}

/// A reader of `news` that comes back to five messages, with a socket that takes so many bytes;
/// then the server begins to drain, tells this reader first, and something more is said. Returns
/// the reader, and the epoch of its channel.
fn interrupted(world: &mut World, way: Way, room: usize) -> (Client, ConnId, String) {
    // In the first place of the table, so that its turn to be told comes first.
    let (reader, id) = world.connect();
    let (speaker, speaker_id) = world.open_plain("/ws/news");
    let witness = world.open_v1("/ws/news");
    let epoch = epoch_of(&witness.greeting()).to_owned();
    for number in 1..=6 {
        world.say(&speaker, speaker_id, &frame(1, format!("m{number}").as_bytes()));
    }
    reader.0.borrow_mut().room = room;
    world.say(&reader, id, coming(way, &format!("?since={epoch}.1")).as_bytes());
    world.server.drain(world.now, world.now.mono.plus(Duration::from_secs(5)));
    world.settle();
    world.say(&speaker, speaker_id, &frame(1, b"late"));
    assert_eq!(witness.messages().last().map(String::as_str), Some("late"));
    (reader, id, epoch)
}

/// Asserts that what a reader heard is its whole replay and the farewell, and nothing else.
fn assert_whole(way: Way, heard: Vec<u8>, epoch: &str, words: &str) {
    let missed = 2..=6;
    match way {
        Way::Plain | Way::ElbowV1 => {
            let mut payloads = payloads(&heard);
            assert_eq!(payloads.pop().expect("a farewell"), GOING_AWAY, "{words}");
            let mut expected = Vec::new();
            if way == Way::ElbowV1 {
                let member = r#""recovered":true,"missed":5"#;
                let object = format!(r#"{{"channel":"news","position":"{epoch}.1",{member}}}"#);
                expected.push(format!("\n{object}"));
                expected.extend(missed.map(|number| format!("{epoch}.{number}\nm{number}")));
            } else {
                expected.extend(missed.map(|number| format!("m{number}")));
            }
            let expected: Vec<_> = expected.into_iter().map(String::into_bytes).collect();
            assert_eq!(payloads, expected, "{words}");
        }
        Way::Stream => {
            let read = stream(heard).read();
            let event = |n| (String::new(), format!("{epoch}.{n}"), format!("m{n}"));
            assert_eq!(read.events, missed.map(event).collect::<Vec<_>>(), "{words}");
            assert_eq!(read.last_id, format!("{epoch}.6"), "the browser comes back from there");
            assert!(read.is_over && read.retry_ms.is_some(), "{words}");
        }
    }
}

#[test]
fn a_drain_in_the_middle_of_a_replay_says_goodbye_behind_all_of_it() {
    for way in WAYS {
        let mut world = World::with(|settings| *settings = keeping(100));
        let (reader, _, epoch) = interrupted(&mut world, way, usize::MAX);
        let heard = reader.heard();
        let length = heard.len();
        assert_whole(way, heard, &epoch, "all at once");
        for room in 0..length {
            let words = format!("{way:?}, {room} of {length}");
            let mut world = World::with(|settings| *settings = keeping(100));
            let (reader, id, epoch) = interrupted(&mut world, way, room);
            assert_eq!(reader.0.borrow().to_client.len(), room, "{words}");
            assert!(!reader.0.borrow().shut_down, "{words}: it was not told yet");
            // And once more in the middle of what follows.
            reader.0.borrow_mut().room = (length - room) / 2;
            world.ready(id, super::WRITABLE);
            world.settle();
            world.makes_room(&reader, id);
            assert_whole(way, reader.heard(), &epoch, &words);
        }
    }
}

#[test]
fn whoever_takes_no_more_of_a_replay_is_cut_and_has_heard_a_beginning_of_it() {
    for way in WAYS {
        let mut world = World::with(|settings| *settings = keeping(100));
        let (reader, _, _) = interrupted(&mut world, way, usize::MAX);
        let whole = reader.heard();
        for room in (0..whole.len()).step_by(17) {
            let mut world = World::with(|settings| *settings = keeping(100));
            let (reader, _, _) = interrupted(&mut world, way, room);
            world.pass(Duration::from_secs(9));
            assert!(reader.0.borrow().dropped, "{way:?} {room}");
            assert!(whole.starts_with(&reader.heard()), "{way:?} {room}");
            assert_eq!(world.server.connections(), 0);
        }
    }
}

/// A session of Socket.IO that comes back to five messages with a socket that takes so many bytes;
/// then the server begins to drain, tells this session first, and something more is said. Returns
/// the session, and what it must hear of what it missed.
fn interrupted_session(
    world: &mut World,
    carrier: recovery::Way,
    room: usize,
) -> (Io, Vec<String>) {
    let reader = Io::open(world, carrier);
    let (witness, begun) = begin(world, recovery::Way::Socket, "");
    for number in 1..=6 {
        say_chat(world, &witness, "", &format!("m{number}"));
    }
    witness.hear(world);
    match &reader.polls {
        None => {
            reader.client.0.borrow_mut().room = room;
            reader.say(world, &[&begun.connect("", 1)]);
        }
        Some(target) => {
            reader.say(world, &[&begun.connect("", 1)]);
            reader.client.0.borrow_mut().room = room;
            world.request(&reader.client, reader.id, "GET", target, "");
        }
    }
    world.server.drain(world.now, world.now.mono.plus(Duration::from_secs(5)));
    world.settle();
    say_chat(world, &witness, "", "late");
    assert_eq!(witness.hear(world), [begun.chat("", "late", 7)]);
    let missed = (2..=6).map(|number| begun.chat("", &format!("m{number}"), number));
    let whole = [confirmed("", &begun.pid)].into_iter().chain(missed).collect();
    (reader, whole)
}

/// Asserts that what a session heard is its whole recovery, and then that the server goes; and
/// nothing else, but that whoever polls also gets what is said until it is told that.
fn assert_recovered(world: &mut World, reader: &Io, heard: Vec<u8>, whole: &[String], words: &str) {
    let Some(target) = &reader.polls else {
        let mut heard = heard;
        let mut packets = frames(&mut heard);
        assert_eq!(packets.pop().as_deref(), Some("close going away"), "{words}");
        assert_eq!((&packets[..], heard.len()), (whole, 0), "{words}");
        return;
    };
    let packets = |heard: Vec<u8>| -> Vec<String> {
        let heard = String::from_utf8(heard).expect("text");
        let (_, body) = heard.split_once("\r\n\r\n").expect("an answer");
        body.split('\x1e').map(str::to_owned).collect()
    };
    assert_eq!(packets(heard), whole, "{words}");
    let (_, behind) = whole[1].rsplit_once(",\"").expect("a position");
    let (epoch, _) = behind.split_once('.').expect("an epoch");
    let late = format!("42[\"chat message\",\"late\",\"{epoch}.7\"]");
    for expected in [&late[..], "1"] {
        let (client, id) = world.connect();
        world.request(&client, id, "GET", target, "");
        if client.0.borrow().to_client.is_empty() {
            world.pass(Duration::from_secs(5));
        }
        assert_eq!(packets(client.heard()), [expected], "{words}");
    }
}

#[test]
fn a_drain_in_the_middle_of_a_recovery_says_goodbye_behind_all_of_it() {
    for carrier in recovery::WAYS {
        let mut world = recovery::world();
        let (reader, whole) = interrupted_session(&mut world, carrier, usize::MAX);
        let heard = reader.client.heard();
        let length = heard.len();
        assert_recovered(&mut world, &reader, heard, &whole, "all at once");
        for room in 0..length {
            let words = format!("{carrier:?}, {room} of {length}");
            let mut world = recovery::world();
            let (reader, whole) = interrupted_session(&mut world, carrier, room);
            assert_eq!(reader.client.0.borrow().to_client.len(), room, "{words}");
            assert!(!reader.client.0.borrow().shut_down, "{words}: it was not told yet");
            // And once more in the middle of what follows.
            reader.client.0.borrow_mut().room = (length - room) / 2;
            world.ready(reader.id, super::WRITABLE);
            world.settle();
            world.makes_room(&reader.client, reader.id);
            assert_recovered(&mut world, &reader, reader.client.heard(), &whole, &words);
        }
    }
}

/// A world in whose channel `news` six long messages are kept, and the ring of a dialect was left
/// empty: its first reader came from an address that had had its share. Two more were said since.
struct Unfilled {
    world: World,
    epoch: String,
    speaker: (Client, ConnId),
    first: (Client, ConnId),
}

fn unfilled(way: Way) -> Unfilled {
    let mut world = World::with(|settings| *settings = keeping(10_000));
    world.now.mono = world.now.mono.plus(Duration::from_secs(10));
    let (speaker, id) = world.open_plain("/ws/news");
    let long = |number: usize| {
        let bytes = settings().limits.feed_bytes as usize / 8;
        format!("m{number}{}", "x".repeat(bytes))
    };
    (1..=6).for_each(|number| world.say(&speaker, id, &frame(1, long(number).as_bytes())));
    assert_eq!(texts(&answer(&mut world, Way::Plain, "?last=6")).len(), 6);
    let first = world.connect();
    world.say(&first.0, first.1, coming(way, "").as_bytes());
    let (said, position, is_lost) = read(way, first.0.heard());
    assert_eq!((said.len(), is_lost), (0, false));
    let position = position.expect("a dialect that says where it begins");
    let (epoch, number) = position.split_once('.').expect("an epoch");
    assert_eq!(number, "6");
    for number in 7..=8 {
        world.say(&speaker, id, &frame(1, format!("m{number}").as_bytes()));
    }
    // The address has its share again; the ring lacks what it lacks.
    world.pass(Duration::from_secs(2));
    Unfilled { epoch: epoch.to_owned(), world, speaker: (speaker, id), first }
}

#[test]
fn the_last_of_a_ring_that_was_not_filled_are_those_that_were_said_since() {
    for way in [Way::ElbowV1, Way::Stream] {
        let Unfilled { mut world, epoch, speaker, first } = unfilled(way);
        let at = |number: u64| Some(format!("{epoch}.{number}"));
        let both = ["m7", "m8"].map(str::to_owned).to_vec();
        for (query, said, position, is_lost) in [
            ("?last=5".to_owned(), &both[..], at(6), false),
            ("?last=2".to_owned(), &both[..], at(6), false),
            ("?last=1".to_owned(), &both[1..], at(7), false),
            ("?strict&last=5".to_owned(), &both[..], at(6), false),
            (format!("?since={epoch}.6"), &both[..], at(6), false),
            (format!("?since={epoch}.7&last=5"), &both[1..], at(7), false),
            (format!("?since={epoch}.5"), &[], at(8), true),
            (format!("?since={epoch}.5&last=5"), &both[..], at(6), true),
            (format!("?since={epoch}.0&last=1"), &both[1..], at(7), true),
        ] {
            let heard = read(way, answer(&mut world, way, &query));
            assert_eq!(heard, (said.to_vec(), position, is_lost), "{way:?} {query}");
        }
        let strict = answer(&mut world, way, &format!("?strict&since={epoch}.5"));
        assert!(strict.starts_with(b"HTTP/1.1 410 "), "{way:?}");
        // Whoever reads another dialect has everything that is kept.
        let (said, ..) = read(Way::Plain, answer(&mut world, Way::Plain, "?last=3"));
        assert_eq!((said.len(), &said[1..]), (3, &both[..]));
        // What is new follows what was replayed.
        let (late, late_id) = world.connect();
        world.say(&late, late_id, coming(way, "?last=5").as_bytes());
        let before = late.heard();
        world.say(&speaker.0, speaker.1, &frame(1, b"m9"));
        let after = late.heard();
        assert_eq!(after, first.0.heard()[first_two(way, &epoch)..], "one ring for both");
        let (said, ..) = read(way, before);
        assert_eq!(said, both);
        assert!(String::from_utf8_lossy(&after).contains("m9"));
    }
}

/// How many bytes the two messages take that were said since, in a dialect.
fn first_two(way: Way, epoch: &str) -> usize {
    let position = epoch.len() + 2;
    2 * match way {
        Way::Plain => 4,
        Way::ElbowV1 => 2 + position + 1 + 2,
        Way::Stream => "id: \ndata: m7\n\n".len() + position + "18\r\n\r\n".len(),
    }
}

#[test]
fn a_ring_that_was_not_filled_is_filled_for_the_next_who_is_the_first() {
    for way in [Way::ElbowV1, Way::Stream] {
        let Unfilled { mut world, epoch, speaker: _speaker, first } = unfilled(way);
        first.0.0.borrow_mut().ended = true;
        world.say(&first.0, first.1, b"");
        let (said, position, is_lost) = read(way, answer(&mut world, way, "?last=4"));
        assert_eq!((said.len(), &said[2..]), (4, &["m7".to_owned(), "m8".to_owned()][..]));
        assert!(said[0].starts_with("m5x") && said[1].starts_with("m6x"), "{way:?}");
        assert_eq!((position, is_lost), (Some(format!("{epoch}.4")), false));
    }
}

/// A channel that keeps three of five messages, with its epoch.
fn three_of_five() -> (World, String) {
    let mut world = World::with(|settings| *settings = keeping(3));
    let (speaker, id) = world.open_plain("/ws/news");
    let reader = world.open_v1("/ws/news");
    let epoch = epoch_of(&reader.greeting()).to_owned();
    for number in 1..=5 {
        world.say(&speaker, id, &frame(1, format!("m{number}").as_bytes()));
    }
    (world, epoch)
}

#[test]
fn who_wants_all_or_nothing_gets_what_was_said_since_and_no_number_besides() {
    for way in WAYS {
        let (mut world, epoch) = three_of_five();
        let at = |number: u64| (way != Way::Plain).then(|| format!("{epoch}.{number}"));
        for (seq, last) in [(2, 1), (3, 1), (4, 3), (5, 3), (4, 0)] {
            for query in [
                format!("?strict&since={epoch}.{seq}&last={last}"),
                format!("?last={last}&since={epoch}.{seq}&strict=no"),
            ] {
                let said: Vec<_> = (seq + 1..=5).map(|number| format!("m{number}")).collect();
                let heard = read(way, answer(&mut world, way, &query));
                assert_eq!(heard, (said, at(seq), false), "{way:?} {query}");
            }
        }
    }
}

#[test]
fn a_number_is_no_way_out_for_who_wants_all_or_nothing() {
    for way in WAYS {
        let (mut world, epoch) = three_of_five();
        let before = (world.server.sessions(), world.server.metrics().sessions_opened);
        let lost = [format!("{epoch}.1"), format!("{epoch}.6"), "zz.3".into(), "0-0.0".into()];
        for (number, since) in (1..).zip(&lost) {
            let refused = answer(&mut world, way, &format!("?strict&since={since}&last=2"));
            let refused = String::from_utf8_lossy(&refused).into_owned();
            assert!(refused.starts_with("HTTP/1.1 410 Gone\r\n"), "{way:?} {since}: {refused}");
            let (_, body) = refused.split_once("\r\n\r\n").expect("a body");
            assert_eq!(body.trim_end(), "what was said since then is not kept any more");
            assert_eq!(world.server.metrics().refused(Refusal::Gone), number);
        }
        let after = (world.server.sessions(), world.server.metrics().sessions_opened);
        assert_eq!(before, after, "nobody was let in");
        // Without it the number applies, and it is told where that can be.
        let heard = read(way, answer(&mut world, way, &format!("?since={}&last=2", lost[0])));
        assert_eq!((&heard.0[..], heard.2), (&["m4".into(), "m5".into()][..], way != Way::Plain));
    }
}

#[test]
fn who_names_a_number_alone_asks_for_nothing_that_could_be_lost() {
    for way in WAYS {
        let (mut world, epoch) = three_of_five();
        for (last, said) in [(0, 0), (2, 2), (3, 3), (99, 3)] {
            let heard = read(way, answer(&mut world, way, &format!("?strict&last={last}")));
            let position = (way != Way::Plain).then(|| format!("{epoch}.{}", 5 - said));
            let said: Vec<_> = (6 - said..=5).map(|number| format!("m{number}")).collect();
            assert_eq!(heard, (said, position, false), "{way:?} {last}");
        }
        assert_eq!(world.server.metrics().refused(Refusal::Gone), 0);
        if way == Way::ElbowV1 {
            let reader = world.open_v1("/ws/news?last=99&strict");
            assert!(!reader.greeting().contains("recovered"), "it named no position");
        }
    }
}

#[test]
fn the_id_that_a_browser_names_decides_for_who_wants_all_or_nothing() {
    let (mut world, epoch) = three_of_five();
    for (known, since, status) in [(4, 1, "200"), (1, 4, "410")] {
        let target = format!("/sse/news?strict&last=2&since={epoch}.{since}");
        let stream = world.listen(&target, &format!("Last-Event-ID: {epoch}.{known}\r\n"));
        assert!(stream.raw().starts_with(&format!("HTTP/1.1 {status} ")), "{}", stream.raw());
        if status == "200" {
            assert_eq!(stream.data(), ["m5"]);
        }
    }
}
