//! Sessions of Socket.IO: what they are told costs no allocation, and what they keep is what they
//! have reserved.
//!
//! Goal: once warm, a broadcast into every dialect, acknowledgements, attachments, pings in either
//! direction, poll answers, POSTs and a flush in portions allocate nothing at 1,000 sessions; an
//! idle one takes no more than it has reserved in the pool beside its connection.

use elbow::hub::{MORE_SPACES_BYTES, SESSION_BYTES, SESSION_TABLES_BYTES};
use elbow::limits::CONNECTION_BYTES;

use super::{LIVE_BYTES, MEMBERS, World, allocations, masked, pipe, taken};

/// What carries a member, and what it speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Plain,
    /// Engine.IO 4 or 3 on a WebSocket.
    Socket(u8),
    /// Engine.IO 4 or 3 by polls. It has two connections: this one polls, the next one posts.
    Polling(u8),
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A request as a browser's page of this origin would send it.
fn request(method: &str, target: &str, more: &str, body: &str) -> Vec<u8> {
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    format!(
        "{method} {target} HTTP/1.1\r\nHost: chat.example\r\nUser-Agent: {agent}\r\n\
         Origin: http://chat.example\r\n{more}\r\n{body}"
    )
    .into()
}

/// The session id in an open packet.
fn sid_of(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let (_, rest) = text.split_once("\"sid\":\"").expect("an open packet names its session");
    rest[..20].into()
}

/// A member that has come: its connection, and what it sends over and over.
struct Person {
    kind: Kind,
    number: usize,
    get: Vec<u8>,
    sid: String,
}

impl Person {
    fn post(&self, body: &str) -> Vec<u8> {
        let Kind::Polling(version) = self.kind else { panic!("it does not post") };
        let body = if version == 3 { format!("{}:{body}", body.len()) } else { body.into() };
        let length = format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", body.len());
        let target = format!("/socket.io/?EIO={version}&transport=polling&sid={}", self.sid);
        request("POST", &target, &length, &body)
    }
}

impl World {
    /// Somebody comes and enters `namespace` (`/` or `/name,`).
    fn come(&mut self, kind: Kind, namespace: &str) -> Person {
        let number = self.connect();
        let (version, transport, more) = match kind {
            Kind::Plain => {
                self.say(number, super::REQUEST);
                self.settle();
                taken(number);
                return Person { kind, number, get: Vec::new(), sid: String::new() };
            }
            Kind::Socket(version) => (version, "websocket", UPGRADE),
            Kind::Polling(version) => (version, "polling", ""),
        };
        let target = format!("/socket.io/?EIO={version}&transport={transport}");
        self.say(number, &request("GET", &target, more, ""));
        self.settle();
        let sid = sid_of(&taken(number));
        let get = request("GET", &format!("{target}&sid={sid}"), "", "");
        let person = Person { kind, number, get, sid };
        let connect = format!(
            "40{}",
            namespace
                .strip_prefix('/')
                .map_or("", |name| { if name.is_empty() { "" } else { namespace } })
        );
        if let Kind::Polling(_) = kind {
            let posts = self.connect();
            if version == 4 {
                self.say(posts, &person.post(&connect));
                self.settle();
                taken(posts);
            }
            // The first poll brings the answer; the second one waits.
            for _ in 0..2 {
                self.say(number, &person.get);
                self.settle();
            }
        } else if version == 4 {
            let mut frame = [0; 131];
            let length = masked(0x81, connect.as_bytes(), &mut frame);
            self.say(number, &frame[..length]);
            self.settle();
        }
        person
    }

    /// A room of `MEMBERS` people, of these kinds in turn.
    fn room(kinds: &[Kind]) -> (World, Vec<Person>) {
        let mut world = World::empty(2 * MEMBERS);
        let kinds = kinds.iter().cycle().take(MEMBERS);
        let people: Vec<Person> = kinds.map(|kind| world.come(*kind, "/")).collect();
        // Whoever polls was told of those who came after; from here on all of them wait.
        while people.iter().any(|person| world.polls_again(person)) {
            world.settle();
        }
        world.forget();
        assert_eq!(world.server.sessions(), MEMBERS);
        (world, people)
    }

    /// Whoever has an answer to a poll polls again.
    fn polls_again(&mut self, person: &Person) -> bool {
        let answered = matches!(person.kind, Kind::Polling(_))
            && pipe(person.number, |pipe| !pipe.outward.is_empty());
        if answered {
            pipe(person.number, |pipe| pipe.outward.clear());
            self.say(person.number, &person.get);
        }
        answered
    }

    /// Nobody has heard anything.
    fn forget(&mut self) {
        (0..self.ids.len()).for_each(|number| pipe(number, |pipe| pipe.outward.clear()));
    }

    fn say_frame(&mut self, number: usize, first: u8, payload: &[u8]) {
        let mut frame = [0; 131];
        let length = masked(first, payload, &mut frame);
        self.say(number, &frame[..length]);
    }
}

/// What somebody heard ends with `expected`, and is forgotten.
fn heard(person: &Person, expected: &[u8]) {
    pipe(person.number, |pipe| {
        let heard = pipe.outward.escape_ascii();
        let expected_shown = expected.escape_ascii();
        assert!(
            pipe.outward.ends_with(expected),
            "{:?}: {heard}, not {expected_shown}",
            person.kind
        );
        pipe.outward.clear();
    });
}

const MIXED: [Kind; 3] = [Kind::Plain, Kind::Socket(4), Kind::Socket(3)];

#[test]
fn an_event_and_its_acknowledgement_allocate_nothing() {
    let (mut world, people) = World::room(&MIXED);
    let allocated = allocations(&mut world, |world| {
        for sender in [1, 502, 998] {
            // Escapes, so that what plain members get is not what lies there.
            world.say_frame(people[sender].number, 0x81, br#"427["chat message","say \"hi\""]"#);
            world.settle();
            for (number, person) in people.iter().enumerate() {
                match person.kind {
                    Kind::Plain => heard(person, b"\x81\x08say \"hi\""),
                    Kind::Socket(_) | Kind::Polling(_) => {
                        let record: &[u8] = b"\x81\x1f42[\"chat message\",\"say \\\"hi\\\"\"]";
                        let begins = pipe(person.number, |pipe| {
                            pipe.outward.starts_with(b"\x81\x05437[]") == (number == sender)
                        });
                        assert!(begins, "the acknowledgement is for the sender");
                        heard(person, record);
                    }
                }
            }
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn an_event_of_objects_allocates_nothing() {
    let (mut world, people) = World::room(&MIXED);
    let allocated = allocations(&mut world, |world| {
        let event = br#"42["chat message",{"from":{"name":"ann"},"to":[["all"],[]]}]"#;
        world.say_frame(people[4].number, 0x81, event);
        world.settle();
        for person in people.iter().filter(|person| person.kind != Kind::Plain) {
            heard(person, event);
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn what_plain_members_say_allocates_nothing_for_sessions() {
    let (mut world, people) = World::room(&MIXED);
    let allocated = allocations(&mut world, |world| {
        world.say_frame(people[3].number, 0x81, b"line one\nline two");
        world.say_frame(people[3].number, 0x82, &[1, 2, 3]);
        world.settle();
        for person in &people {
            let expected: &[u8] = match person.kind {
                Kind::Plain => b"\x81\x11line one\nline two\x82\x03\x01\x02\x03",
                Kind::Socket(4) => b"\"_placeholder\":true,\"num\":0}]\x82\x03\x01\x02\x03",
                Kind::Socket(_) | Kind::Polling(_) => b",\"num\":0}]\x82\x04\x04\x01\x02\x03",
            };
            heard(person, expected);
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn attachments_allocate_nothing() {
    let (mut world, people) = World::room(&MIXED);
    let allocated = allocations(&mut world, |world| {
        let text =
            br#"452-["chat message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
        let sender = people[1].number;
        world.say_frame(sender, 0x81, text);
        world.settle();
        world.say_frame(sender, 0x82, &[7; 100]);
        // The second one as a client sends it that cannot send binary.
        world.say_frame(sender, 0x81, b"bCAkK");
        world.settle();
        for person in &people {
            match person.kind {
                Kind::Plain => heard(person, b""),
                Kind::Socket(4) => heard(person, b"\x07\x07\x82\x03\x08\x09\x0a"),
                Kind::Socket(_) | Kind::Polling(_) => {
                    heard(person, b"\x07\x07\x82\x04\x04\x08\x09\x0a");
                }
            }
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn pings_of_the_server_and_their_answers_allocate_nothing() {
    let (mut world, people) = World::room(&[Kind::Socket(4)]);
    let allocated = allocations(&mut world, |world| {
        let before = world.server.metrics().pings;
        while world.server.metrics().pings < before + MEMBERS as u64 {
            world.now.mono = world.server.poll_timeout().expect("everybody has a deadline");
            world.settle();
            for person in &people {
                if pipe(person.number, |pipe| !pipe.outward.is_empty()) {
                    heard(person, b"\x81\x012");
                    world.say_frame(person.number, 0x81, b"3");
                }
            }
            world.settle();
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn pings_of_clients_and_their_answers_allocate_nothing() {
    let (mut world, people) = World::room(&[Kind::Socket(3)]);
    let allocated = allocations(&mut world, |world| {
        people.iter().for_each(|person| world.say_frame(person.number, 0x81, b"2there?"));
        world.settle();
        people.iter().for_each(|person| heard(person, b"\x81\x073there?"));
    });
    assert_eq!(allocated, 0);
}

#[test]
fn polls_and_posts_allocate_nothing() {
    let (mut world, people) = World::room(&[Kind::Polling(4), Kind::Polling(3)]);
    let posts: Vec<Vec<u8>> = people.iter().map(|person| person.post("42[\"other\"]")).collect();
    let event = people[6].post(r#"421["chat message",{"text":"hello"}]"#);
    let allocated = allocations(&mut world, |world| {
        // Everybody posts something, in which nobody is interested.
        for (person, post) in people.iter().zip(&posts) {
            world.say(person.number + 1, post);
            world.settle();
            pipe(person.number + 1, |pipe| {
                assert!(pipe.outward.ends_with(b"\r\n\r\nok"));
                pipe.outward.clear();
            });
        }
        // One of them says something, and all polls bring it.
        world.say(people[6].number + 1, &event);
        world.settle();
        for person in &people {
            let told = b"42[\"chat message\",{\"text\":\"hello\"}]";
            let told = pipe(person.number, |pipe| pipe.outward.ends_with(told));
            assert!(told && world.polls_again(person));
        }
        world.settle();
        pipe(people[6].number + 1, |pipe| pipe.outward.clear());
    });
    assert_eq!(allocated, 0);
}

#[test]
fn pings_of_sessions_that_poll_allocate_nothing() {
    let (mut world, people) = World::room(&[Kind::Polling(4)]);
    let pongs: Vec<Vec<u8>> = people.iter().map(|person| person.post("3")).collect();
    let allocated = allocations(&mut world, |world| {
        let before = world.server.metrics().pings;
        while world.server.metrics().pings < before + MEMBERS as u64 {
            world.now.mono = world.server.poll_timeout().expect("everybody has a deadline");
            world.settle();
            for (person, pong) in people.iter().zip(&pongs) {
                if world.polls_again(person) {
                    world.say(person.number + 1, pong);
                    pipe(person.number + 1, |pipe| pipe.outward.clear());
                }
            }
            world.settle();
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_flush_in_portions_allocates_nothing_for_sessions() {
    let (mut world, people) = World::room(&[Kind::Socket(4), Kind::Socket(3)]);
    let allocated = allocations(&mut world, |world| {
        people.iter().for_each(|person| world.make_room(person.number, 3));
        world.say_frame(people[5].number, 0x81, b"423[\"chat message\",\"for slow readers\"]");
        world.settle();
        for room in [1, 10, usize::MAX] {
            people.iter().for_each(|person| world.make_room(person.number, room));
            world.settle();
        }
        for person in &people {
            let record: &[u8] = b"\x81\x2542[\"chat message\",\"for slow readers\"]";
            let is_sender = person.number == people[5].number;
            let own: &[u8] = if is_sender { b"\x81\x05433[]" } else { b"" };
            pipe(person.number, |pipe| {
                assert_eq!(pipe.outward.len(), own.len() + record.len());
                assert!(pipe.outward.starts_with(own) && pipe.outward.ends_with(record));
                pipe.outward.clear();
            });
        }
    });
    assert_eq!(allocated, 0);
}

/// What a server takes with so many idle sessions, each in so many namespaces: bytes that are
/// allocated, and those that it says it holds.
fn taken_by(kind: Kind, sessions: usize, spaces: usize) -> (i64, i64) {
    let connections = if matches!(kind, Kind::Polling(_)) { 2 * sessions } else { sessions };
    let mut world = World::empty(connections);
    for number in 0..sessions {
        // Rooms of a few, since everybody there hears of everybody who comes.
        let room = |space: usize| format!("/r{},", (number + space) % 30);
        let person = world.come(kind, &room(0));
        for space in 1..spaces {
            world.say_frame(person.number, 0x81, format!("40{}", room(space)).as_bytes());
            world.settle();
        }
    }
    world.forget();
    assert_eq!(world.server.sessions(), sessions);
    world.server.check();
    let held = world.server.pool().held_bytes() + (connections * CONNECTION_BYTES) as u64;
    let before = LIVE_BYTES.get();
    drop(world.server);
    (before - LIVE_BYTES.get(), held as i64)
}

/// The same for one session, from the difference, so that what does not depend on them falls out.
fn taken_by_one(kind: Kind, spaces: usize) -> (i64, i64) {
    let (few, many) = (taken_by(kind, 300, spaces), taken_by(kind, 1300, spaces));
    ((many.0 - few.0) / 1000, (many.1 - few.1) / 1000)
}

#[test]
#[expect(clippy::disallowed_macros, reason = "the numbers are what one runs this test for")]
fn an_idle_session_takes_no_more_than_it_has_reserved() {
    let reserved = (SESSION_BYTES + SESSION_TABLES_BYTES) as i64;
    println!("{reserved} bytes reserved per session, {MORE_SPACES_BYTES} for further namespaces");
    let kinds = [
        (Kind::Socket(4), 1, "on a WebSocket"),
        (Kind::Socket(4), 8, "on a WebSocket, in eight namespaces"),
        (Kind::Polling(4), 1, "that polls, with two connections"),
    ];
    for (kind, spaces, words) in kinds {
        let (bytes, held) = taken_by_one(kind, spaces);
        println!("{bytes} bytes per idle session {words}; {held} are accounted for");
        assert!(bytes <= held, "{kind:?} takes {bytes} and says {held}");
        let least = reserved / 2 + CONNECTION_BYTES as i64 / 2;
        assert!(bytes > least, "{bytes} bytes: something was not counted");
    }
}
