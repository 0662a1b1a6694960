//! Sessions of Socket.IO: what they are told costs no allocation, and what they keep is what they
//! have reserved.
//!
//! Goal: once warm, a broadcast into every dialect, acknowledgements, attachments, pings in either
//! direction, poll answers, POSTs and a flush in portions allocate nothing at 1,000 sessions; an
//! idle one takes no more than it has reserved in the pool beside its connection.

use elbow::hub::{MORE_SPACES_BYTES, SESSION_BYTES, SESSION_TABLES_BYTES};
use elbow::limits::CONNECTION_BYTES;

use super::{Crowd, LIVE_BYTES, MEMBERS, allocations, masked};

/// What carries a member, and what it speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
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
pub(super) struct Person {
    kind: Kind,
    pub(super) number: usize,
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

impl Crowd {
    /// Somebody comes and enters `namespace` (`/` or `/name,`).
    pub(super) fn come(&mut self, kind: Kind, namespace: &str) -> Person {
        let number = self.connect();
        let (version, transport, more) = match kind {
            Kind::Plain => {
                self.say(number, super::REQUEST);
                self.world.settle();
                self.taken(number);
                return Person { kind, number, get: Vec::new(), sid: String::new() };
            }
            Kind::Socket(version) => (version, "websocket", UPGRADE),
            Kind::Polling(version) => (version, "polling", ""),
        };
        let target = format!("/socket.io/?EIO={version}&transport={transport}");
        self.say(number, &request("GET", &target, more, ""));
        self.world.settle();
        let sid = sid_of(&self.taken(number));
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
                self.world.settle();
                self.taken(posts);
            }
            // The first poll brings the answer; the second one waits.
            for _ in 0..2 {
                self.say(number, &person.get);
                self.world.settle();
            }
        } else if version == 4 {
            let mut frame = [0; 131];
            let length = masked(0x81, connect.as_bytes(), &mut frame);
            self.say(number, &frame[..length]);
            self.world.settle();
        }
        person
    }

    /// A room of `MEMBERS` people, of these kinds in turn.
    fn room(kinds: &[Kind]) -> (Crowd, Vec<Person>) {
        let mut crowd = Crowd::empty(2 * MEMBERS);
        let kinds = kinds.iter().cycle().take(MEMBERS);
        let people: Vec<Person> = kinds.map(|kind| crowd.come(*kind, "/")).collect();
        // Whoever polls was told of those who came after; from here on all of them wait.
        while people.iter().any(|person| crowd.polls_again(person)) {
            crowd.world.settle();
        }
        crowd.forget();
        assert_eq!(crowd.world.server.sessions(), MEMBERS);
        (crowd, people)
    }

    /// Whoever has an answer to a poll polls again.
    fn polls_again(&mut self, person: &Person) -> bool {
        let answered = matches!(person.kind, Kind::Polling(_))
            && !self.wire(person.number).to_client.is_empty();
        if answered {
            self.wire(person.number).to_client.clear();
            self.say(person.number, &person.get);
        }
        answered
    }

    /// Nobody has heard anything.
    pub(super) fn forget(&mut self) {
        (0..self.members.len()).for_each(|number| self.wire(number).to_client.clear());
    }

    fn say_frame(&mut self, number: usize, first: u8, payload: &[u8]) {
        let mut frame = [0; 131];
        let length = masked(first, payload, &mut frame);
        self.say(number, &frame[..length]);
    }

    /// What somebody heard ends with `expected`, and is forgotten.
    fn heard(&self, person: &Person, expected: &[u8]) {
        let mut wire = self.wire(person.number);
        let (heard, shown) = (wire.to_client.escape_ascii(), expected.escape_ascii());
        assert!(wire.to_client.ends_with(expected), "{:?}: {heard}, not {shown}", person.kind);
        wire.to_client.clear();
    }
}

const MIXED: [Kind; 3] = [Kind::Plain, Kind::Socket(4), Kind::Socket(3)];

#[test]
fn an_event_and_its_acknowledgement_allocate_nothing() {
    let (mut crowd, people) = Crowd::room(&MIXED);
    let allocated = allocations(&mut crowd, |crowd| {
        for sender in [1, 502, 998] {
            // Escapes, so that what plain members get is not what lies there.
            crowd.say_frame(people[sender].number, 0x81, br#"427["chat message","say \"hi\""]"#);
            crowd.world.settle();
            for (number, person) in people.iter().enumerate() {
                match person.kind {
                    Kind::Plain => crowd.heard(person, b"\x81\x08say \"hi\""),
                    Kind::Socket(_) | Kind::Polling(_) => {
                        let record: &[u8] = b"\x81\x1f42[\"chat message\",\"say \\\"hi\\\"\"]";
                        let own = b"\x81\x05437[]";
                        let is_told = crowd.wire(person.number).to_client.starts_with(own);
                        assert_eq!(is_told, number == sender, "the acknowledgement");
                        crowd.heard(person, record);
                    }
                }
            }
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn an_event_of_objects_allocates_nothing() {
    let (mut crowd, people) = Crowd::room(&MIXED);
    let allocated = allocations(&mut crowd, |crowd| {
        let event = br#"42["chat message",{"from":{"name":"ann"},"to":[["all"],[]]}]"#;
        crowd.say_frame(people[4].number, 0x81, event);
        crowd.world.settle();
        for person in people.iter().filter(|person| person.kind != Kind::Plain) {
            crowd.heard(person, event);
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn what_plain_members_say_allocates_nothing_for_sessions() {
    let (mut crowd, people) = Crowd::room(&MIXED);
    let allocated = allocations(&mut crowd, |crowd| {
        crowd.say_frame(people[3].number, 0x81, b"line one\nline two");
        crowd.say_frame(people[3].number, 0x82, &[1, 2, 3]);
        crowd.world.settle();
        for person in &people {
            let expected: &[u8] = match person.kind {
                Kind::Plain => b"\x81\x11line one\nline two\x82\x03\x01\x02\x03",
                Kind::Socket(4) => b"\"_placeholder\":true,\"num\":0}]\x82\x03\x01\x02\x03",
                Kind::Socket(_) | Kind::Polling(_) => b",\"num\":0}]\x82\x04\x04\x01\x02\x03",
            };
            crowd.heard(person, expected);
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn attachments_allocate_nothing() {
    let (mut crowd, people) = Crowd::room(&MIXED);
    let allocated = allocations(&mut crowd, |crowd| {
        let text =
            br#"452-["chat message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
        let sender = people[1].number;
        crowd.say_frame(sender, 0x81, text);
        crowd.world.settle();
        crowd.say_frame(sender, 0x82, &[7; 100]);
        // The second one as a client sends it that cannot send binary.
        crowd.say_frame(sender, 0x81, b"bCAkK");
        crowd.world.settle();
        for person in &people {
            match person.kind {
                Kind::Plain => crowd.heard(person, b""),
                Kind::Socket(4) => crowd.heard(person, b"\x07\x07\x82\x03\x08\x09\x0a"),
                Kind::Socket(_) | Kind::Polling(_) => {
                    crowd.heard(person, b"\x07\x07\x82\x04\x04\x08\x09\x0a");
                }
            }
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn pings_of_the_server_and_their_answers_allocate_nothing() {
    let (mut crowd, people) = Crowd::room(&[Kind::Socket(4)]);
    let allocated = allocations(&mut crowd, |crowd| {
        let before = crowd.world.server.metrics().pings;
        while crowd.world.server.metrics().pings < before + MEMBERS as u64 {
            crowd.world.now.mono =
                crowd.world.server.poll_timeout().expect("everybody has a deadline");
            crowd.world.settle();
            for person in &people {
                if !crowd.wire(person.number).to_client.is_empty() {
                    crowd.heard(person, b"\x81\x012");
                    crowd.say_frame(person.number, 0x81, b"3");
                }
            }
            crowd.world.settle();
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn pings_of_clients_and_their_answers_allocate_nothing() {
    let (mut crowd, people) = Crowd::room(&[Kind::Socket(3)]);
    let allocated = allocations(&mut crowd, |crowd| {
        people.iter().for_each(|person| crowd.say_frame(person.number, 0x81, b"2there?"));
        crowd.world.settle();
        people.iter().for_each(|person| crowd.heard(person, b"\x81\x073there?"));
    });
    assert_eq!(allocated, 0);
}

#[test]
fn polls_and_posts_allocate_nothing() {
    let (mut crowd, people) = Crowd::room(&[Kind::Polling(4), Kind::Polling(3)]);
    let posts: Vec<Vec<u8>> = people.iter().map(|person| person.post("42[\"other\"]")).collect();
    let event = people[6].post(r#"421["chat message",{"text":"hello"}]"#);
    let allocated = allocations(&mut crowd, |crowd| {
        // Everybody posts something, in which nobody is interested.
        for (person, post) in people.iter().zip(&posts) {
            crowd.say(person.number + 1, post);
            crowd.world.settle();
            let mut wire = crowd.wire(person.number + 1);
            assert!(wire.to_client.ends_with(b"\r\n\r\nok"));
            wire.to_client.clear();
        }
        // One of them says something, and all polls bring it.
        crowd.say(people[6].number + 1, &event);
        crowd.world.settle();
        for person in &people {
            let told = b"42[\"chat message\",{\"text\":\"hello\"}]";
            let told = crowd.wire(person.number).to_client.ends_with(told);
            assert!(told && crowd.polls_again(person));
        }
        crowd.world.settle();
        crowd.wire(people[6].number + 1).to_client.clear();
    });
    assert_eq!(allocated, 0);
}

#[test]
fn pings_of_sessions_that_poll_allocate_nothing() {
    let (mut crowd, people) = Crowd::room(&[Kind::Polling(4)]);
    let pongs: Vec<Vec<u8>> = people.iter().map(|person| person.post("3")).collect();
    let allocated = allocations(&mut crowd, |crowd| {
        let before = crowd.world.server.metrics().pings;
        while crowd.world.server.metrics().pings < before + MEMBERS as u64 {
            crowd.world.now.mono =
                crowd.world.server.poll_timeout().expect("everybody has a deadline");
            crowd.world.settle();
            for (person, pong) in people.iter().zip(&pongs) {
                if crowd.polls_again(person) {
                    crowd.say(person.number + 1, pong);
                    crowd.wire(person.number + 1).to_client.clear();
                }
            }
            crowd.world.settle();
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_flush_in_portions_allocates_nothing_for_sessions() {
    let (mut crowd, people) = Crowd::room(&[Kind::Socket(4), Kind::Socket(3)]);
    let allocated = allocations(&mut crowd, |crowd| {
        people.iter().for_each(|person| crowd.make_room(person.number, 3));
        crowd.say_frame(people[5].number, 0x81, b"423[\"chat message\",\"for slow readers\"]");
        crowd.world.settle();
        for room in [1, 10, usize::MAX] {
            people.iter().for_each(|person| crowd.make_room(person.number, room));
            crowd.world.settle();
        }
        for person in &people {
            let record: &[u8] = b"\x81\x2542[\"chat message\",\"for slow readers\"]";
            let is_sender = person.number == people[5].number;
            let own: &[u8] = if is_sender { b"\x81\x05433[]" } else { b"" };
            let mut wire = crowd.wire(person.number);
            assert_eq!(wire.to_client.len(), own.len() + record.len());
            assert!(wire.to_client.starts_with(own) && wire.to_client.ends_with(record));
            wire.to_client.clear();
        }
    });
    assert_eq!(allocated, 0);
}

/// What a server takes with so many idle sessions, each in so many namespaces: bytes that are
/// allocated, and those that it says it holds. `empty` makes it.
fn taken_by(kind: Kind, sessions: usize, spaces: usize, empty: fn(usize) -> Crowd) -> (i64, i64) {
    let connections = if matches!(kind, Kind::Polling(_)) { 2 * sessions } else { sessions };
    let mut crowd = empty(connections);
    for number in 0..sessions {
        // Rooms of a few, since everybody there hears of everybody who comes.
        let room = |space: usize| format!("/r{},", (number + space) % 30);
        let person = crowd.come(kind, &room(0));
        for space in 1..spaces {
            crowd.say_frame(person.number, 0x81, format!("40{}", room(space)).as_bytes());
            crowd.world.settle();
        }
    }
    crowd.forget();
    assert_eq!(crowd.world.server.sessions(), sessions);
    crowd.world.server.check();
    let held = crowd.world.server.pool().held_bytes() + (connections * CONNECTION_BYTES) as u64;
    let before = LIVE_BYTES.get();
    drop(crowd.world.server);
    (before - LIVE_BYTES.get(), held as i64)
}

/// What one session takes, from the difference between many and few: what does not depend on how
/// many there are falls out.
fn taken_by_one(kind: Kind, spaces: usize, empty: fn(usize) -> Crowd) -> (i64, i64) {
    let taken = |sessions| taken_by(kind, sessions, spaces, empty);
    let (few, many) = (taken(300), taken(1300));
    ((many.0 - few.0) / 1000, (many.1 - few.1) / 1000)
}

/// Prints what an idle session takes on a server that `empty` makes, and asserts that this is what
/// it has reserved at most.
#[expect(clippy::disallowed_macros, reason = "the numbers are what one runs these tests for")]
pub(super) fn take_no_more_than_reserved(empty: fn(usize) -> Crowd) {
    let reserved = (SESSION_BYTES + SESSION_TABLES_BYTES) as i64;
    println!("{reserved} bytes reserved per session, {MORE_SPACES_BYTES} for further namespaces");
    let kinds = [
        (Kind::Socket(4), 1, "on a WebSocket"),
        (Kind::Socket(4), 8, "on a WebSocket, in eight namespaces"),
        (Kind::Polling(4), 1, "that polls, with two connections"),
    ];
    for (kind, spaces, words) in kinds {
        let (bytes, held) = taken_by_one(kind, spaces, empty);
        println!("{bytes} bytes per idle session {words}; {held} are accounted for");
        assert!(bytes <= held, "{kind:?} takes {bytes} and says {held}");
        let least = reserved / 2 + CONNECTION_BYTES as i64 / 2;
        assert!(bytes > least, "{bytes} bytes: something was not counted");
    }
}

#[test]
fn an_idle_session_takes_no_more_than_it_has_reserved() {
    take_no_more_than_reserved(Crowd::empty);
}
