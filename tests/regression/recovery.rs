//! Connection state recovery of Socket.IO: a client that comes back with an offset is sent what it
//! missed behind the answer to its CONNECT, or is told that it begins anew, and where.

use core::cell::{Cell, RefCell};

use super::history::keeping;
use super::sessions::POLLING;
use super::{Client, READABLE, World, frame, sid_of};
use elbow::hub::Recovery;
use elbow::id::ConnId;
use elbow::metrics::Unsaid;
use elbow::server::{Event, Listener};
use elbow::settings::{Events, Settings, Trust};
use elbow::time::Duration;

/// How a session of Engine.IO 4 is carried.
pub(super) const WAYS: [Way; 2] = [Way::Socket, Way::Polls];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Socket,
    Polls,
}

/// A pid of the right shape that nobody was given.
const FOREIGN_PID: &str = "AAAABBBBCCCCDDDDEEEE";

/// Channels that keep so many messages, with recovery.
fn recovering(messages_max: u64) -> Settings {
    let mut settings = keeping(messages_max);
    settings.recovery = true;
    settings.limits.feed_bytes = 1 << 16;
    settings.limits.memory_bytes = 1 << 22;
    settings
}

pub(super) fn world() -> World {
    world_with(|_| {})
}

fn world_with(change: impl FnOnce(&mut Settings)) -> World {
    World::with(|settings| {
        *settings = recovering(100);
        change(settings);
    })
}

/// A client of Socket.IO, as far as recovery concerns it.
pub(super) struct Io {
    pub(super) client: Client,
    pub(super) id: ConnId,
    /// The target of its polls; `None` on a WebSocket.
    pub(super) polls: Option<String>,
    /// Whether a poll waits for its answer.
    is_held: Cell<bool>,
    /// Bytes of frames that have come in part.
    rest: RefCell<Vec<u8>>,
}

impl Io {
    /// A session of Engine.IO 4 in no namespace.
    pub(super) fn open(world: &mut World, way: Way) -> Io {
        Io::open_from(world, way, "192.0.2.1")
    }

    fn open_from(world: &mut World, way: Way, ip: &str) -> Io {
        let (client, id) = world.connect_to(Listener::Public, ip);
        let target = match way {
            Way::Polls => POLLING.to_owned(),
            Way::Socket => POLLING.replace("polling", "websocket"),
        };
        let fields = match way {
            Way::Polls => "",
            Way::Socket => {
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n"
            }
        };
        let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        world.say(&client, id, head.as_bytes());
        let polls =
            (way == Way::Polls).then(|| format!("{POLLING}&sid={}", sid_of(&client.heard())));
        client.heard();
        Io { client, id, polls, is_held: Cell::new(false), rest: RefCell::default() }
    }

    /// Says packets of Engine.IO.
    pub(super) fn say(&self, world: &mut World, packets: &[&str]) {
        match &self.polls {
            None => {
                let frames = packets.iter().map(|packet| frame(1, packet.as_bytes()));
                world.say(&self.client, self.id, &frames.collect::<Vec<_>>().concat());
            }
            Some(target) => {
                let (client, id) = world.connect();
                world.request(&client, id, "POST", target, &packets.join("\x1e"));
                assert!(client.heard().ends_with(b"\r\n\r\nok"));
                client.0.borrow_mut().ended = true;
                world.say(&client, id, b"");
            }
        }
    }

    /// The packets that have come since the last call; attachments as the base64 that polls have.
    pub(super) fn hear(&self, world: &mut World) -> Vec<String> {
        let Some(target) = &self.polls else {
            self.rest.borrow_mut().extend(self.client.heard());
            return frames(&mut self.rest.borrow_mut());
        };
        let mut packets = Vec::new();
        loop {
            if !self.is_held.replace(true) {
                world.request(&self.client, self.id, "GET", target, "");
            }
            let heard = String::from_utf8(self.client.heard()).expect("text");
            let Some((_, body)) = heard.split_once("\r\n\r\n") else { return packets };
            self.is_held.set(false);
            packets.extend(body.split('\x1e').map(str::to_owned));
        }
    }

    /// The connection breaks, or the client stops polling for good.
    fn vanish(self, world: &mut World) {
        match &self.polls {
            None => {
                self.client.0.borrow_mut().reset = true;
                world.say(&self.client, self.id, b"");
            }
            Some(_) => self.say(world, &["1"]),
        }
    }
}

/// Takes whole frames out of `bytes`.
pub(super) fn frames(bytes: &mut Vec<u8>) -> Vec<String> {
    let (mut packets, mut at) = (Vec::new(), 0);
    while let [first, length, behind @ ..] = &bytes[at..] {
        let (length, head) = match length {
            126 => (usize::from(u16::from_be_bytes([behind[0], behind[1]])), 4),
            length => (usize::from(*length), 2),
        };
        let Some(payload) = bytes.get(at + head..at + head + length) else { break };
        let packet = match first {
            0x81 => String::from_utf8(payload.to_vec()).expect("text"),
            0x82 => format!("b{}", data_encoding::BASE64.encode(payload)),
            _ => format!("close {}", String::from_utf8_lossy(&payload[2..])),
        };
        packets.push(packet);
        at += head + length;
    }
    bytes.drain(..at);
    packets
}

/// What a client knows that was told it begins anew.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    pub(super) pid: String,
    epoch: String,
    seq: u64,
}

impl Begun {
    /// Reads an answer to CONNECT that is not one to a recovery, and the event that follows.
    fn read(namespace: &str, packets: &[String]) -> Begun {
        let [answer, event] = packets else { panic!("an answer and a position: {packets:?}") };
        let pid = answer[answer.len() - 22..answer.len() - 2].to_owned();
        assert_eq!(*answer, confirmed(namespace, &pid));
        let begin = format!("42{namespace}[\"elbow:position\",\"");
        let position = event.strip_prefix(&begin).and_then(|rest| rest.strip_suffix("\"]"));
        let (epoch, seq) = position.and_then(|text| text.split_once('.')).expect("a position");
        let seq = seq.parse().expect("a number");
        Begun { pid, epoch: epoch.to_owned(), seq }
    }

    fn offset(&self, seq: u64) -> String {
        format!("{}.{seq}", self.epoch)
    }

    /// The CONNECT of a client that comes back with an offset.
    pub(super) fn connect(&self, namespace: &str, seq: u64) -> String {
        format!(r#"40{namespace}{{"pid":"{}","offset":"{}"}}"#, self.pid, self.offset(seq))
    }

    /// A chat message as it is heard.
    pub(super) fn chat(&self, namespace: &str, text: &str, seq: u64) -> String {
        format!(r#"42{namespace}["chat message","{text}","{}"]"#, self.offset(seq))
    }
}

/// The answer to a CONNECT.
pub(super) fn confirmed(namespace: &str, pid: &str) -> String {
    format!(r#"40{namespace}{{"sid":"{pid}","pid":"{pid}"}}"#)
}

/// Enters a namespace, without a past.
pub(super) fn begin(world: &mut World, way: Way, namespace: &str) -> (Io, Begun) {
    let io = Io::open(world, way);
    io.say(world, &[&format!("40{namespace}")]);
    let begun = Begun::read(namespace, &io.hear(world));
    (io, begun)
}

/// Comes back with a CONNECT; what is heard then.
fn come(world: &mut World, way: Way, connect: &str) -> (Io, Vec<String>) {
    let io = Io::open(world, way);
    io.say(world, &[connect]);
    let heard = io.hear(world);
    (io, heard)
}

pub(super) fn say_chat(world: &mut World, speaker: &Io, namespace: &str, text: &str) {
    speaker.say(world, &[&format!(r#"42{namespace}["chat message","{text}"]"#)]);
}

#[test]
fn whoever_enters_is_told_at_once_where_it_begins() {
    for way in WAYS {
        for namespace in ["", "/news,"] {
            let mut world = world();
            let (first, begun) = begin(&mut world, way, namespace);
            assert_eq!(begun.seq, 0);
            say_chat(&mut world, &first, namespace, "one");
            assert_eq!(first.hear(&mut world), [begun.chat(namespace, "one", 1)]);
            let (second, later) = begin(&mut world, way, namespace);
            assert_eq!((later.seq, &later.epoch), (1, &begun.epoch), "greetings do not count");
            assert_ne!(later.pid, begun.pid);
            let greeting = format!("42{namespace}[\"hi\",\"{}\"]", begun.offset(1));
            assert_eq!(first.hear(&mut world), [greeting]);
            assert_eq!(second.hear(&mut world), [""; 0], "nobody is greeted by itself");
        }
    }
}

#[test]
fn whoever_comes_back_hears_what_it_missed_behind_the_answer_again_and_again() {
    for way in WAYS {
        for namespace in ["", "/news,"] {
            let mut world = world();
            let (speaker, begun) = begin(&mut world, Way::Socket, namespace);
            let (mut reader, mine) = begin(&mut world, way, namespace);
            for round in 0..4 {
                // Before the first event of all nothing but the position is known.
                reader.vanish(&mut world);
                let text = |number: u64| format!("m{}", 2 * round + number);
                say_chat(&mut world, &speaker, namespace, &text(1));
                say_chat(&mut world, &speaker, namespace, &text(2));
                speaker.hear(&mut world);
                let connect = mine.connect(namespace, 2 * round);
                let (back, heard) = come(&mut world, way, &connect);
                let chat = |number| mine.chat(namespace, &text(number), 2 * round + number);
                assert_eq!(heard, [confirmed(namespace, &mine.pid), chat(1), chat(2)]);
                assert_eq!(speaker.hear(&mut world), [""; 0], "it never left");
                reader = back;
            }
            say_chat(&mut world, &speaker, namespace, "new");
            assert_eq!(reader.hear(&mut world), [begun.chat(namespace, "new", 9)], "no seam");
            assert_eq!(world.server.metrics().replays[Recovery::Whole as usize], 4);
        }
    }
}

#[test]
fn whoever_missed_nothing_is_recovered_however_old_its_offset() {
    for way in WAYS {
        let mut world = world();
        let (speaker, begun) = begin(&mut world, Way::Socket, "");
        say_chat(&mut world, &speaker, "", "long ago");
        // What is said is forgotten; the offset is the newest all the same.
        world.pass(Duration::from_secs(24));
        for _ in 0..5 {
            speaker.say(&mut world, &["3"]);
            world.pass(Duration::from_secs(24));
        }
        speaker.hear(&mut world);
        for _ in 0..3 {
            let (reader, heard) = come(&mut world, way, &begun.connect("", 1));
            assert_eq!(heard, [confirmed("", &begun.pid)]);
            reader.vanish(&mut world);
        }
        let (_, heard) = come(&mut world, way, &begun.connect("", 0));
        assert_eq!(Begun::read("", &heard).seq, 1, "what it missed is too old");
    }
}

#[test]
fn the_position_that_is_told_is_the_place_behind_which_reading_begins() {
    for way in WAYS {
        let mut world = world();
        let (speaker, _) = begin(&mut world, Way::Socket, "");
        for number in 1..=5 {
            say_chat(&mut world, &speaker, "", &format!("m{number}"));
            let (reader, begun) = begin(&mut world, way, "");
            assert_eq!(begun.seq, number);
            reader.vanish(&mut world);
            // With nothing in between; with somebody else's greeting; with a message.
            let (reader, heard) = come(&mut world, way, &begun.connect("", number));
            assert_eq!(heard, [confirmed("", &begun.pid)]);
            reader.vanish(&mut world);
            begin(&mut world, Way::Socket, "").0.vanish(&mut world);
            let (reader, heard) = come(&mut world, way, &begun.connect("", number));
            assert_eq!(heard, [confirmed("", &begun.pid)]);
            reader.vanish(&mut world);
        }
    }
}

/// What a client may say that comes back to a channel in which of five messages the newest three
/// are kept, and that is not honoured.
fn refused(begun: &Begun) -> Vec<String> {
    let (pid, epoch) = (&begun.pid, &begun.epoch);
    let offset = |text: &str| with(&format!(r#""pid":"{pid}","offset":"{text}""#));
    let short = &pid[..19];
    vec![
        // The offset is gone, not yet, of another channel or life, or no position of ours.
        begun.connect("", 1),
        begun.connect("", 6),
        offset("zzz.5"),
        offset("0.0"),
        offset("1690000000000-0.5"),
        offset("x"),
        offset(&format!("{epoch}.05")),
        offset(&format!("{epoch}.")),
        offset(&format!("{}.5", epoch.to_uppercase())),
        // It has not the form of one.
        offset(""),
        offset("a b"),
        offset(&"9".repeat(65)),
        offset(&format!(r"{epoch}\u002e5")),
        with(&format!(r#""pid":"{pid}","offset":5"#)),
        with(&format!(r#""pid":"{pid}","offset":["{epoch}.5"]"#)),
        with(&format!(r#""pid":"{pid}","offset":null"#)),
        with(&format!(r#""pid":"{pid}""#)),
        // The pid has not the form of one.
        with(&format!(r#""pid":"{short}","offset":"{epoch}.5""#)),
        with(&format!(r#""pid":"{pid}A","offset":"{epoch}.5""#)),
        with(&format!(r#""pid":"{short}\u0041","offset":"{epoch}.5""#)),
        with(&format!(r#""pid":"{short}.","offset":"{epoch}.5""#)),
        with(&format!(r#""pid":17,"offset":"{epoch}.5""#)),
        with(&format!(r#""pid":{{"pid":"{pid}"}},"offset":"{epoch}.5""#)),
        with(&format!(r#""pid":"","offset":"{epoch}.5""#)),
        with(&format!(r#""offset":"{epoch}.5""#)),
        with(&format!(r#""auth":{{"pid":"{pid}","offset":"{epoch}.5"}}"#)),
        // Of two members the last counts: what the application calls so is merged over ours.
        with(&format!(r#""pid":"{pid}","offset":"{epoch}.5","pid":"me""#)),
        "40{}".to_owned(),
        "40".to_owned(),
    ]
}

/// A CONNECT whose payload has these members.
fn with(members: &str) -> String {
    format!("40{{{members}}}")
}

#[test]
fn what_cannot_be_honoured_is_not_recovered_and_told() {
    for way in WAYS {
        let mut world = world_with(|settings| {
            *settings = recovering(3);
            settings.greeting = None;
        });
        let (speaker, begun) = begin(&mut world, Way::Socket, "");
        for number in 1..=5 {
            say_chat(&mut world, &speaker, "", &format!("m{number}"));
        }
        let (pid, epoch) = (&begun.pid, &begun.epoch);
        for connect in &refused(&begun) {
            let (reader, heard) = come(&mut world, way, connect);
            let anew = Begun::read("", &heard);
            assert_eq!((anew.seq, &anew.epoch), (5, epoch), "{connect}");
            assert_ne!(anew.pid, *pid, "{connect}");
            reader.vanish(&mut world);
        }
        let replays = world.server.metrics().replays;
        assert_eq!([Recovery::Whole, Recovery::Gone].map(|each| replays[each as usize]), [0, 1]);
        assert_eq!(replays[Recovery::Unknown as usize], 8);
        // What is kept is honoured, whoever brings it and whatever else is said.
        for connect in [
            begun.connect("", 2),
            with(&format!(r#""token":"x","pid":"{pid}","offset":"{epoch}.2","a":[{{"pid":1}}]"#)),
        ] {
            let (reader, heard) = come(&mut world, way, &connect);
            let chat = |number| begun.chat("", &format!("m{number}"), number);
            assert_eq!(heard, [confirmed("", pid), chat(3), chat(4), chat(5)]);
            reader.vanish(&mut world);
        }
        let foreign = begun.connect("", 5).replace(pid.as_str(), FOREIGN_PID);
        assert_eq!(come(&mut world, way, &foreign).1, [confirmed("", FOREIGN_PID)]);
    }
}

#[test]
fn another_life_of_a_channel_does_not_honour_an_offset_of_the_first() {
    for way in WAYS {
        let mut world = world();
        let (speaker, begun) = begin(&mut world, way, "/news,");
        speaker.vanish(&mut world);
        let (_, heard) = come(&mut world, way, &begun.connect("/news,", 0));
        let anew = Begun::read("/news,", &heard);
        assert_eq!(anew.seq, 0);
        assert_ne!((&anew.epoch, &anew.pid), (&begun.epoch, &begun.pid));
    }
}

#[test]
fn a_channel_that_everybody_has_left_keeps_what_was_said_for_whoever_comes_back() {
    for way in WAYS {
        let mut world = world();
        let (reader, begun) = begin(&mut world, way, "/news,");
        let (speaker, _) = begin(&mut world, way, "/news,");
        reader.vanish(&mut world);
        say_chat(&mut world, &speaker, "/news,", "last words");
        speaker.vanish(&mut world);
        assert_eq!(world.server.sessions(), 0);
        // A plain WebSocket is there meanwhile, so that the ring is made anew beside another.
        let (_plain, _) = world.open_plain("/ws/news");
        let (_, heard) = come(&mut world, way, &begun.connect("/news,", 0));
        let expected = [confirmed("/news,", &begun.pid), begun.chat("/news,", "last words", 1)];
        assert_eq!(heard, expected);
    }
}

#[test]
fn attachments_and_their_placeholders_come_again_in_front_of_the_offset() {
    for way in WAYS {
        let mut world = world();
        let (speaker, begun) = begin(&mut world, Way::Socket, "");
        let event = r#"451-["chat message",{"_placeholder":true,"num":0}]"#;
        let frames = [frame(1, event.as_bytes()), frame(2, &[1, 2, 3])];
        world.say(&speaker.client, speaker.id, &frames.concat());
        let said = speaker.hear(&mut world);
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        let offset = begun.offset(1);
        let expected = format!(r#"451-["chat message",{placeholder},"{offset}"]"#);
        assert_eq!(said, [expected.clone(), "bAQID".to_owned()]);
        let (_, heard) = come(&mut world, way, &begun.connect("", 0));
        assert_eq!(heard, [confirmed("", &begun.pid), expected, "bAQID".to_owned()]);
    }
}

#[test]
fn engine_io_3_is_told_neither_pid_nor_offset() {
    let mut world = world();
    let (speaker, begun) = begin(&mut world, Way::Socket, "");
    say_chat(&mut world, &speaker, "", "one");
    let (old, id) = world.upgrade("/socket.io/?EIO=3&transport=websocket");
    let connect = begun.connect("/news,", 0);
    world.say(&old, id, &frame(1, connect.as_bytes()));
    say_chat(&mut world, &speaker, "", "two");
    let mut heard = old.heard();
    assert_eq!(frames(&mut heard), ["40/news,", r#"42["chat message","two"]"#]);
}

#[test]
fn without_recovery_a_pid_and_an_offset_mean_nothing() {
    for way in WAYS {
        for history in [true, false] {
            let mut world = world_with(|settings| {
                settings.recovery = !history;
                if !history {
                    settings.limits.history = None;
                }
            });
            let (speaker, heard) = come(&mut world, way, "40");
            assert_eq!(heard.len(), 1, "{heard:?}");
            assert!(!heard[0].contains("pid"), "{heard:?}");
            say_chat(&mut world, &speaker, "", "one");
            assert_eq!(speaker.hear(&mut world), [r#"42["chat message","one"]"#]);
            let connect = format!(r#"40{{"pid":"{FOREIGN_PID}","offset":"0.0"}}"#);
            let (_, heard) = come(&mut world, way, &connect);
            assert_eq!(heard.len(), 1, "{heard:?}");
            assert!(!heard[0].contains("pid") && !heard[0].contains(FOREIGN_PID), "{heard:?}");
            assert_eq!(speaker.hear(&mut world), [r#"42["hi"]"#]);
            assert_eq!(world.server.metrics().replays, [0; 3]);
        }
    }
}

#[test]
fn several_namespaces_come_back_at_once_each_behind_its_own_answer() {
    for way in WAYS {
        let mut world = world();
        let names = ["", "/a,", "/b,"];
        let (speaker, reader) = (Io::open(&mut world, Way::Socket), Io::open(&mut world, way));
        let begun = names.map(|name| {
            speaker.say(&mut world, &[&format!("40{name}")]);
            reader.say(&mut world, &[&format!("40{name}")]);
            Begun::read(name, &reader.hear(&mut world))
        });
        reader.vanish(&mut world);
        for number in 1..=3 {
            names.iter().for_each(|name| {
                say_chat(&mut world, &speaker, name, &format!("m{number}"));
            });
        }
        let connects = [0, 1, 2].map(|space| begun[space].connect(names[space], 0));
        let back = Io::open(&mut world, way);
        back.say(&mut world, &[&connects[0], &connects[1], &connects[2]]);
        let heard = back.hear(&mut world);
        assert_eq!(heard.len(), 12, "{heard:?}");
        for (name, begun) in names.iter().zip(&begun) {
            let of_space = |packet: &&String| {
                packet.starts_with(&format!("40{name}{{"))
                    || packet.starts_with(&format!("42{name}["))
            };
            let chat = |number| begun.chat(name, &format!("m{number}"), number);
            let expected = [confirmed(name, &begun.pid), chat(1), chat(2), chat(3)];
            let of_space: Vec<_> = heard.iter().filter(of_space).cloned().collect();
            assert_eq!(of_space, expected);
        }
    }
}

#[test]
fn an_answer_waits_for_the_end_of_a_record_and_comes_before_what_is_sent_again() {
    let mut world = world();
    let (speaker, in_root) = begin(&mut world, Way::Socket, "");
    speaker.say(&mut world, &["40/news,"]);
    let in_news = Begun::read("/news,", &speaker.hear(&mut world));
    for number in 1..=2 {
        say_chat(&mut world, &speaker, "/news,", &format!("n{number}"));
    }
    // Cut wherever a record of the first namespace may be cut.
    for cut in 0..60 {
        let (reader, begun) = begin(&mut world, Way::Socket, "");
        reader.client.0.borrow_mut().room = cut;
        say_chat(&mut world, &speaker, "", "first");
        say_chat(&mut world, &speaker, "", "second");
        let mut heard = reader.hear(&mut world);
        reader.say(&mut world, &[&in_news.connect("/news,", 1), "40"]);
        world.makes_room(&reader.client, reader.id);
        heard.extend(reader.hear(&mut world));
        let seq = begun.seq;
        let first = in_root.chat("", "first", seq + 1);
        let second = in_root.chat("", "second", seq + 2);
        let at = |packet: &str| heard.iter().position(|each| each == packet);
        let (answer, again) = (confirmed("/news,", &in_news.pid), in_news.chat("/news,", "n2", 2));
        assert!(at(&answer) < at(&again), "{heard:?}");
        assert_eq!(heard.iter().filter(|packet| packet.contains("/news,[")).count(), 1);
        assert!(at(&first) < at(&second), "{heard:?}");
        // Asked for again, the position is that of the place where it is told.
        let told = heard.iter().position(|packet| packet.contains("elbow:position"));
        let told = told.expect("it is told again");
        let before = [&first, &second].iter().filter(|each| at(each) < Some(told)).count() as u64;
        let expected = format!(r#"42["elbow:position","{}"]"#, in_root.offset(seq + before));
        assert_eq!(heard[told], expected, "cut at {cut}: {heard:?}");
        reader.vanish(&mut world);
        world.pass(Duration::from_millis(500));
        speaker.hear(&mut world);
    }
}

#[test]
fn whoever_asks_again_is_told_again_and_stays() {
    for way in WAYS {
        let mut world = world();
        let (reader, begun) = begin(&mut world, way, "");
        // Of these two a poll brings the first, and the second waits for the next poll.
        say_chat(&mut world, &reader, "", "one");
        say_chat(&mut world, &reader, "", "two");
        reader.say(&mut world, &[&begun.connect("", 0), "40"]);
        let heard = reader.hear(&mut world);
        let (one, two) = (begun.chat("", "one", 1), begun.chat("", "two", 2));
        let is_told = |packet: &&String| **packet != one && **packet != two;
        let told = heard.iter().filter(is_told).cloned().collect::<Vec<_>>();
        assert_eq!(heard.len(), 6, "{heard:?}");
        let (before, behind) = match way {
            Way::Socket => (2, 0),
            Way::Polls => (1, 1),
        };
        for (packets, is_first) in told.chunks(2).zip([true, false]) {
            let again = Begun::read("", packets);
            assert_ne!(again.pid, begun.pid, "first {is_first}");
            assert_eq!(again.seq, before);
        }
        assert_eq!(
            (&heard[0], heard.iter().rposition(|packet| *packet == two)),
            match behind {
                0 => (&one, Some(1)),
                _ => (&one, Some(5)),
            }
        );
        say_chat(&mut world, &reader, "", "three");
        assert_eq!(reader.hear(&mut world), [begun.chat("", "three", 3)]);
    }
}

#[test]
fn whoever_has_left_a_namespace_begins_anew_in_that_session() {
    // What was on its way when it left would be heard twice.
    for way in WAYS {
        let mut world = world();
        let (reader, begun) = begin(&mut world, way, "");
        let (speaker, _) = begin(&mut world, Way::Socket, "");
        reader.hear(&mut world);
        say_chat(&mut world, &speaker, "", "on its way");
        reader.say(&mut world, &["41", &begun.connect("", 0)]);
        let heard = reader.hear(&mut world);
        let anew = Begun::read("", &heard[heard.len() - 2..]);
        assert_eq!(anew.seq, 1);
        assert_ne!(anew.pid, begun.pid);
        let other = reader;
        other.say(&mut world, &[&begun.connect("/other,", 0)]);
        Begun::read("/other,", &other.hear(&mut world));
        assert_eq!(world.server.metrics().replays, [0; 3]);
        let (_, heard) = come(&mut world, way, &begun.connect("", 0));
        // Greetings of the time that it was away may come, and do.
        let greeting = format!("42[\"hi\",\"{}\"]", begun.offset(1));
        let expected = [confirmed("", &begun.pid), begun.chat("", "on its way", 1), greeting];
        assert_eq!(heard, expected, "another session may");
    }
}

#[test]
fn whoever_leaves_inside_of_a_record_and_comes_back_is_told_where_it_stands() {
    for cut in 1..50 {
        let mut world = world();
        let (reader, begun) = begin(&mut world, Way::Socket, "");
        let (speaker, _) = begin(&mut world, Way::Socket, "");
        reader.hear(&mut world);
        reader.client.0.borrow_mut().room = cut;
        say_chat(&mut world, &speaker, "", "one");
        say_chat(&mut world, &speaker, "", "two");
        reader.say(&mut world, &["41", &begun.connect("", 0)]);
        world.makes_room(&reader.client, reader.id);
        let heard = reader.hear(&mut world);
        let told = heard.iter().position(|packet| packet.starts_with("40")).expect("an answer");
        let anew = Begun::read("", &heard[told..told + 2]);
        assert_ne!(anew.pid, begun.pid);
        // Everything behind the position that is told follows it, once.
        let chats = [("one", 1), ("two", 2)].map(|(text, seq)| begun.chat("", text, seq));
        let expected = &chats[usize::try_from(anew.seq).expect("two messages")..];
        assert_eq!(heard[told + 2..], *expected, "cut at {cut}: {heard:?}");
    }
}

#[test]
fn events_that_are_called_as_the_servers_own_are_passed_on_to_nobody() {
    for way in WAYS {
        let mut world = world_with(|settings| settings.events = Events::All);
        let (speaker, _) = begin(&mut world, way, "");
        let (listener, begun) = begin(&mut world, way, "");
        speaker.hear(&mut world);
        let ours = [
            r#"42["elbow:position","0.0"]"#,
            r#"427["elbow:"]"#,
            r#"42["\u0065lbow:x",1]"#,
            r#"42["elbow\u003aposition","0.0"]"#,
        ];
        speaker.say(&mut world, &ours);
        assert_eq!(world.server.metrics().unsaid(Unsaid::NotRelayed), 4);
        let others = [r#"42["elbow",1]"#, r#"42["Elbow:x",1]"#, r#"42[" elbow:",1]"#];
        speaker.say(&mut world, &others);
        let expected: Vec<_> = (1..)
            .zip(others)
            .map(|(seq, event)| event.replace(']', &format!(",\"{}\"]", begun.offset(seq))))
            .collect();
        assert_eq!(listener.hear(&mut world), expected);
        assert_eq!(speaker.hear(&mut world), expected, "nor is any acknowledged");
    }
    let mut world = World::with(|settings| {
        settings.events = Events::Named(vec!["elbow:x".into(), "chat message".into()]);
    });
    let (speaker, id) = world.socket(&[""]);
    world.say(&speaker, id, &frame(1, br#"42["elbow:x"]"#));
    assert_eq!(
        (speaker.heard(), world.server.metrics().unsaid(Unsaid::NotRelayed)),
        (Vec::new(), 1)
    );
}

#[test]
fn an_address_that_was_sent_its_share_begins_anew_unless_it_missed_nothing() {
    for way in WAYS {
        let mut world = world_with(|settings| {
            settings.limits.feed_bytes = 4096;
            settings.greeting = None;
        });
        world.now.mono = world.now.mono.plus(Duration::from_secs(10));
        let speaker = Io::open_from(&mut world, Way::Socket, "192.0.2.2");
        speaker.say(&mut world, &["40"]);
        let begun = Begun::read("", &speaker.hear(&mut world));
        (0..3).for_each(|_| say_chat(&mut world, &speaker, "", &"x".repeat(900)));
        let (reader, heard) = come(&mut world, way, &begun.connect("", 0));
        assert_eq!(heard.len(), 4, "{heard:?}");
        reader.vanish(&mut world);
        let (reader, heard) = come(&mut world, way, &begun.connect("", 0));
        assert_eq!(Begun::read("", &heard).seq, 3, "told so");
        reader.vanish(&mut world);
        let (reader, heard) = come(&mut world, way, &begun.connect("", 3));
        assert_eq!(heard, [confirmed("", &begun.pid)]);
        reader.vanish(&mut world);
        let replays = world.server.metrics().replays;
        assert_eq!([Recovery::Whole, Recovery::Gone].map(|each| replays[each as usize]), [2, 1]);
        world.pass(Duration::from_secs(1));
        let (_, heard) = come(&mut world, way, &begun.connect("", 0));
        assert_eq!(heard.len(), 4, "its share has grown again");
    }
}

#[test]
fn an_upgrade_after_coming_back_goes_on_where_the_polls_stopped() {
    let mut world = world();
    let (speaker, begun) = begin(&mut world, Way::Socket, "");
    (1..=3).for_each(|number| say_chat(&mut world, &speaker, "", &format!("m{number}")));
    let back = Io::open(&mut world, Way::Polls);
    back.say(&mut world, &[&begun.connect("", 1)]);
    let target = back.polls.clone().expect("it polls");
    let (socket, id) = world.upgrade(&target.replace("polling", "websocket"));
    world.say(&socket, id, &frame(1, b"2probe"));
    world.say(&socket, id, &frame(1, b"5"));
    let mut heard = socket.heard();
    let chat = |number| begun.chat("", &format!("m{number}"), number);
    assert_eq!(
        frames(&mut heard),
        ["3probe".to_owned(), confirmed("", &begun.pid), chat(2), chat(3)]
    );
}

#[test]
fn a_ring_that_is_filled_is_work_of_whoever_reads_it_first() {
    // A proxy, whose share of what is kept has no bound.
    let networks = vec!["127.0.0.0/8".parse().expect("a network")];
    let mut world = world_with(|settings| settings.trust = Trust(networks));
    let names = ["/a,", "/b,", "/c,", "/d,"];
    let speaker = Io::open_from(&mut world, Way::Socket, "127.0.0.1");
    for name in names {
        speaker.say(&mut world, &[&format!("40{name}")]);
        let text = "x".repeat(900);
        (0..40).for_each(|_| say_chat(&mut world, &speaker, name, &text));
    }
    speaker.vanish(&mut world);
    let reader = Io::open_from(&mut world, Way::Socket, "127.0.0.1");
    world.events.clear();
    let connects = names.map(|name| frame(1, format!("40{name}").as_bytes()));
    reader.client.0.borrow_mut().to_server.extend(connects.concat());
    world.ready(reader.id, READABLE);
    let mut entered = Vec::new();
    for _ in 0..8 {
        world.turn();
        let is_entry = |event: &&Event| matches!(event, Event::Opened { .. });
        entered.push(world.events.iter().filter(is_entry).count());
        world.events.clear();
    }
    // Without any work for filling, two in each read; a turn reads twice.
    assert_eq!(entered.iter().sum::<usize>(), 4);
    assert!(entered.iter().all(|count| *count <= 2), "{entered:?}");
    let leave = names.map(|name| frame(1, format!("41{name}").as_bytes()));
    for _ in 0..50 {
        world.say(&reader.client, reader.id, &leave.concat());
        world.say(&reader.client, reader.id, &connects.concat());
    }
}

#[test]
fn a_crowd_that_comes_back_keeps_no_stranger_waiting() {
    let mut world = world_with(|settings| settings.greeting = None);
    let (speaker, begun) = begin(&mut world, Way::Socket, "");
    (0..60).for_each(|_| say_chat(&mut world, &speaker, "", &"x".repeat(900)));
    let connect = frame(1, begun.connect("", 0).as_bytes());
    let crowd: Vec<_> = (0..40)
        .map(|number| Io::open_from(&mut world, Way::Socket, &format!("198.51.100.{number}")))
        .collect();
    let (stranger, id) = world.connect();
    for reader in &crowd {
        reader.client.0.borrow_mut().to_server.extend(&connect);
        world.ready(reader.id, READABLE);
    }
    stranger.0.borrow_mut().to_server.extend(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    world.ready(id, READABLE);
    world.turn();
    assert!(stranger.heard().starts_with(b"HTTP/1.1 200 "), "it came last, and is answered first");
    let answered = crowd.iter().filter(|reader| !reader.hear(&mut world).is_empty()).count();
    assert!((1..40).contains(&answered), "{answered} of the crowd had their turn");
    world.settle();
    assert_eq!(world.server.metrics().replays[Recovery::Whole as usize], 40);
}
