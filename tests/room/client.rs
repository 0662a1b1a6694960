//! A client: it comes, reads, speaks, vanishes and comes back, to whichever instance.
//!
//! Deals with: what a client of each dialect sends, and what it makes of what it hears. Leaves to
//! others: bytes into things heard (`hearing`), whether that is what it had to be (`oracle`), when
//! it does what (`world`).

use std::collections::{BTreeMap, BTreeSet};

use elbow::hub::backplane::Place;
use elbow::id::ConnId;
use elbow::time::Instant;

use crate::harness::{self, masked};
use crate::hearing::{self, Heard, Kind, place, quoted};
use crate::oracle::{Oracle, Reader, id_of, name, text_of};
use crate::world::Seen;

/// How far a client has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// The client has no connection, and comes back then.
    Away(Instant),
    /// The client has asked, and reads.
    Asking,
    /// The client was let in, and waits to be told that it is in its channel.
    Entering,
    In,
}

pub(crate) struct Client {
    pub(crate) kind: Kind,
    pub(crate) channel: usize,
    pub(crate) instance: usize,
    pub(crate) stage: Stage,
    /// The connection, and its number at the instance.
    pub(crate) line: Option<(harness::Client, ConnId)>,
    pub(crate) is_slow: bool,
    /// Whether it was slow since it has its connection: what became of it then shows late.
    pub(crate) was_slow: bool,
    bytes: Vec<u8>,
    /// What it names when it comes back, and whether it has done so.
    last: Option<Place>,
    pid: Option<String>,
    has_asked_to_go_on: bool,
    /// Socket.IO clients are told places.
    recovers: bool,
    pub(crate) reader: Option<Reader>,
    /// What it has said on this connection and is not heard yet.
    pub(crate) unheard: BTreeSet<u64>,
    /// What it is to be told of: acknowledgements of Socket.IO, and answers to requests.
    pub(crate) unanswered: BTreeMap<u64, u64>,
}

/// What a client is up against.
pub(crate) struct Scene<'a> {
    pub(crate) oracle: &'a Oracle,
    pub(crate) seen: &'a mut Seen,
    /// Whether the instance takes leave.
    pub(crate) is_draining: bool,
    /// Whether anything goes wrong in this run.
    pub(crate) is_calm: bool,
}

impl Client {
    pub(crate) fn new(kind: Kind, channel: usize, recovers: bool) -> Client {
        Client {
            kind,
            channel,
            instance: 0,
            stage: Stage::Away(Instant::default()),
            line: None,
            is_slow: false,
            was_slow: false,
            bytes: Vec::new(),
            last: None,
            pid: None,
            has_asked_to_go_on: false,
            recovers,
            reader: None,
            unheard: BTreeSet::new(),
            unanswered: BTreeMap::new(),
        }
    }

    /// The client has a connection: it asks to be let in, where it has been if it knows.
    pub(crate) fn begin(&mut self, line: (harness::Client, ConnId), names_place: bool) {
        self.line = Some(line);
        self.bytes.clear();
        self.was_slow = self.is_slow;
        self.stage = Stage::Asking;
        let since = self.last.filter(|_| names_place);
        self.has_asked_to_go_on = since.is_some();
        let path = name(self.channel);
        let query = since.map_or(String::new(), |place| format!("?since={place}"));
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n";
        let (target, fields) = match self.kind {
            Kind::Plain => (format!("/ws/{path}"), upgrade.to_owned()),
            Kind::V1 => (
                format!("/ws/{path}{query}"),
                format!("{upgrade}Sec-WebSocket-Protocol: elbow.v1\r\n"),
            ),
            Kind::Stream => {
                let field = since.map(|place| format!("Last-Event-ID: {place}\r\n"));
                (format!("/sse/{path}"), field.unwrap_or_default())
            }
            Kind::Io => ("/socket.io/?EIO=4&transport=websocket".to_owned(), upgrade.to_owned()),
            Kind::Backend => {
                self.stage = Stage::In;
                return;
            }
        };
        self.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
    }

    fn send(&self, bytes: &[u8]) {
        if let Some((client, _)) = &self.line {
            client.0.borrow_mut().to_server.extend(bytes);
        }
    }

    fn send_frame(&self, first_byte: u8, payload: &[u8]) {
        self.send(&masked(first_byte, payload));
    }

    /// Whether the client may say something now.
    pub(crate) fn may_say(&self) -> bool {
        let is_free = self.kind != Kind::Backend || self.unanswered.is_empty();
        self.stage == Stage::In && self.kind != Kind::Stream && is_free
    }

    pub(crate) fn say(&mut self, id: u64, wants_answer: bool) {
        let (text, channel) = (text_of(id), name(self.channel));
        match self.kind {
            Kind::Plain | Kind::V1 => self.send_frame(0x81, text.as_bytes()),
            Kind::Io => {
                let ack = if wants_answer { id.to_string() } else { String::new() };
                let packet = format!(r#"42/{channel},{ack}["chat message","{text}"]"#);
                self.send_frame(0x81, packet.as_bytes());
            }
            Kind::Backend => {
                let length = text.len();
                let head = format!(
                    "POST /publish/{channel} HTTP/1.1\r\nHost: 127.0.0.1:3001\r\n\
                     Content-Length: {length}\r\n\r\n"
                );
                self.send(format!("{head}{text}").as_bytes());
            }
            Kind::Stream => unreachable!("a stream is only read"),
        }
        match self.kind {
            Kind::Backend => _ = self.unanswered.insert(0, id),
            Kind::Io if wants_answer => _ = self.unanswered.insert(id, id),
            Kind::Plain | Kind::V1 | Kind::Stream | Kind::Io => {}
        }
        if self.kind != Kind::Backend {
            self.unheard.insert(id);
        }
    }

    /// The connection is over, by whoever's will. The client comes back then.
    pub(crate) fn leave(&mut self, until: Instant) {
        if let Some((client, _)) = self.line.take() {
            client.0.borrow_mut().reset = true;
        }
        self.stage = Stage::Away(until);
        self.is_slow = false;
        self.unheard.clear();
        self.unanswered.clear();
        match &mut self.reader {
            Some(reader) if self.last.is_some() => reader.leave(),
            reader => *reader = None,
        }
    }

    /// Reads all that has come. `false` if the connection is over.
    pub(crate) fn listen(&mut self, scene: &mut Scene<'_>) -> bool {
        let Some((client, _)) = &self.line else { return true };
        self.bytes.extend(client.heard());
        let is_dropped = client.0.borrow().dropped;
        while let Some(heard) =
            hearing::next(self.kind, self.stage != Stage::Asking, &mut self.bytes)
        {
            if !self.hear(heard, scene) {
                return false;
            }
        }
        // A word may be missing at the end of what a slow client gets.
        if is_dropped && !self.was_slow && !scene.is_draining && self.kind != Kind::Backend {
            let is_over = matches!(self.kind, Kind::Stream | Kind::Io) && !scene.is_calm;
            assert!(is_over, "a {:?} was dropped without a word: {:?}", self.kind, self.stage);
        }
        !is_dropped
    }

    /// `false` if that was the last word.
    fn hear(&mut self, heard: Heard, scene: &mut Scene<'_>) -> bool {
        match heard {
            Heard::Refused(status) => {
                assert!(matches!(status, 503 | 429), "refused by {status}");
                scene.seen.refused += 1;
                return false;
            }
            Heard::Head => {
                self.stage = Stage::Entering;
                if self.kind == Kind::Plain {
                    self.enter(None, None, scene);
                }
            }
            Heard::Begins(place, recovered) => {
                // A stream that does not go on says so by a reset.
                let is_stream = self.kind == Kind::Stream;
                let recovered =
                    recovered.or((is_stream && self.has_asked_to_go_on).then_some(true));
                self.enter(place, recovered, scene);
            }
            Heard::Lost(place) if self.stage == Stage::Entering => {
                assert!(self.has_asked_to_go_on, "nobody begins with a loss");
                self.enter(Some(place), Some(false), scene);
            }
            Heard::Lost(place) => {
                let reader = self.reader.as_mut().expect("it reads");
                scene.oracle.lost(reader, place);
                self.last = Some(place);
                scene.seen.lost += 1;
            }
            Heard::Said { text, place } => self.said(id_of(&text), place, scene),
            Heard::Ping(payload) => self.send_frame(0x8a, &payload),
            Heard::Packet(packet) => return self.packet(&packet, scene),
            Heard::Answer(status) => {
                let id = self.unanswered.remove(&0).expect("it has asked");
                match status {
                    200 | 202 => self.acknowledged(id, scene),
                    503 | 429 => scene.seen.refused += 1,
                    _ => panic!("answered by {status}"),
                }
            }
            Heard::Closed(reason) => {
                self.closed(&reason, scene);
                return false;
            }
            Heard::Nothing => {}
        }
        true
    }

    /// The client is in its channel.
    fn enter(&mut self, told: Option<Place>, recovered: Option<bool>, scene: &mut Scene<'_>) {
        assert_eq!(self.stage, Stage::Entering, "it comes in once");
        self.stage = Stage::In;
        if recovered == Some(true) {
            assert!(self.has_asked_to_go_on, "it did not ask");
            assert!(told.is_none() || told == self.last, "it goes on elsewhere");
            scene.seen.recovered += 1;
            return;
        }
        assert_eq!(recovered.is_some(), self.has_asked_to_go_on && self.kind != Kind::Io);
        scene.seen.begun_anew += u64::from(self.has_asked_to_go_on);
        self.last = told;
        self.reader = Some(scene.oracle.begin(self.channel, told));
    }

    fn said(&mut self, id: u64, told: Option<Place>, scene: &mut Scene<'_>) {
        assert_eq!(self.stage, Stage::In, "nothing is said before the beginning");
        let reader = self.reader.as_mut().expect("it reads");
        scene.oracle.heard(reader, id, told);
        self.last = told;
        self.unheard.remove(&id);
        scene.seen.heard += 1;
    }

    /// Whoever is told that a message has its place can count on that.
    fn acknowledged(&self, id: u64, scene: &mut Scene<'_>) {
        assert!(scene.oracle.is_ordered(id), "{id} is acknowledged, and has no place");
        scene.seen.acknowledged += 1;
    }

    /// A packet of Engine.IO; `false` if it is the last.
    fn packet(&mut self, packet: &str, scene: &mut Scene<'_>) -> bool {
        let channel = name(self.channel);
        let of_channel = |kind: &str| packet.strip_prefix(&format!("{kind}/{channel},"));
        if packet.starts_with('0') {
            let past = match (&self.pid, self.last.filter(|_| self.has_asked_to_go_on)) {
                (Some(pid), Some(last)) => format!(r#"{{"pid":"{pid}","offset":"{last}"}}"#),
                _ => String::new(),
            };
            self.has_asked_to_go_on = !past.is_empty();
            self.send_frame(0x81, format!("40/{channel},{past}").as_bytes());
        } else if packet == "2" {
            self.send_frame(0x81, b"3");
        } else if let Some(answer) = of_channel("40") {
            let pid = quoted(answer, "\"pid\":\"").map(str::to_owned);
            let goes_on = self.has_asked_to_go_on && pid == self.pid;
            self.pid = pid;
            if goes_on {
                self.enter(None, Some(true), scene);
            } else if !self.recovers {
                self.enter(None, None, scene);
            }
        } else if let Some(event) = of_channel("42") {
            self.event(event, scene);
        } else if let Some(ack) = of_channel("43") {
            let id = ack.strip_suffix("[]").and_then(|id| id.parse().ok()).expect("a number");
            assert!(self.unanswered.remove(&id).is_some(), "{id} is acknowledged once");
            self.acknowledged(id, scene);
        } else if of_channel("44").is_some() {
            scene.seen.refused += 1;
            return false;
        } else {
            panic!("a packet that nobody expects: {packet}");
        }
        true
    }

    fn event(&mut self, event: &str, scene: &mut Scene<'_>) {
        if event.starts_with("[\"hi\"") {
            return;
        }
        if let Some(position) = quoted(event, "[\"elbow:position\",\"") {
            return self.enter(Some(place(position)), None, scene);
        }
        let text = quoted(event, "[\"chat message\",\"").expect("a chat message");
        let behind = event.split_once(text).expect("it is there").1;
        let offset = quoted(behind, "\",\"").map(place);
        assert_eq!(offset.is_some(), self.recovers, "{event}");
        self.said(id_of(text), offset, scene);
    }

    fn closed(&mut self, reason: &str, scene: &mut Scene<'_>) {
        match reason {
            "messages lost" => {
                assert!(scene.oracle.has_forgotten(), "nothing is lost");
                scene.seen.parted += 1;
                if self.kind == Kind::Plain {
                    self.last = None;
                }
            }
            "too slow" => assert!(self.was_slow, "it reads"),
            "backplane away" => assert!(!scene.is_calm, "nothing is away"),
            // A session that is in no namespace in time is over without a word.
            "" if self.kind == Kind::Io && self.stage == Stage::Entering => {}
            "the end of the stream" if self.stage != Stage::In => {}
            "going away" | "the end of the stream" => assert!(scene.is_draining, "{reason}"),
            _ => panic!("closed: {reason}"),
        }
    }
}
