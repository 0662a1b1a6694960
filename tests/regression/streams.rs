//! Server-sent events: every record and every id, where reading begins, how a stream ends.

use core::cell::RefCell;

use super::harness::settings;
use super::history::keeping;
use super::{Client, World, frame};
use elbow::id::ConnId;
use elbow::server::{Event, Listener};
use elbow::settings::Settings;
use elbow::time::Duration;
use elbow::wire::base_path::BasePath;
use elbow::wire::origin::Origin;

/// An event stream, with everything that it has heard.
struct Stream {
    client: Client,
    id: ConnId,
    bytes: RefCell<Vec<u8>>,
}

/// What a browser's reader of streams makes of one (WHATWG HTML, section 9.2.6).
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    /// Type, last event id and data of each event that is dispatched.
    events: Vec<(String, String, String)>,
    /// The id that is said when the browser comes back.
    last_id: String,
    /// The time to come back in, if it was told.
    retry_ms: Option<u64>,
    comments: usize,
    /// Whether the last chunk has come.
    is_over: bool,
}

impl World {
    /// Asks for an event stream, with these further lines in the head.
    fn listen(&mut self, target: &str, lines: &str) -> Stream {
        let (client, id) = self.connect();
        self.say(&client, id, request("GET", target, lines).as_bytes());
        Stream { client, id, bytes: RefCell::default() }
    }

    /// A plain WebSocket in the channel `default`, which says things.
    fn speaker(&mut self) -> (Client, ConnId) {
        self.session()
    }

    /// The answer to a request on a connection of its own.
    fn answered(&mut self, request: &str) -> String {
        let (client, id) = self.connect();
        self.say(&client, id, request.as_bytes());
        String::from_utf8(client.heard()).expect("text")
    }

    fn refusals(&self) -> Vec<&'static str> {
        let why = |event: &Event| match event {
            Event::Refused { why, .. } => Some(*why),
            _ => None,
        };
        self.events.iter().filter_map(why).collect()
    }
}

fn request(method: &str, target: &str, lines: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

impl Stream {
    fn raw(&self) -> String {
        self.bytes.borrow_mut().extend(self.client.heard());
        String::from_utf8(self.bytes.borrow().clone()).expect("a stream is text")
    }

    fn head(&self) -> String {
        let raw = self.raw();
        raw.split_once("\r\n\r\n").expect("a head").0.to_owned()
    }

    /// The content of the chunks, and whether the last one has come.
    fn content(&self) -> (String, bool) {
        let raw = self.raw();
        assert!(raw.starts_with("HTTP/1.1 200 OK\r\n"), "{raw}");
        let (_, mut rest) = raw.split_once("\r\n\r\n").expect("a head");
        let mut content = String::new();
        while !rest.is_empty() {
            let (size, behind) = rest.split_once("\r\n").expect("a size");
            let size = usize::from_str_radix(size, 16).expect("hexadecimal");
            let (chunk, behind) = behind.split_at(size);
            rest = behind.strip_prefix("\r\n").expect("the end of a chunk");
            content.push_str(chunk);
            if size == 0 {
                assert_eq!(rest, "", "nothing follows the last chunk");
                return (content, true);
            }
        }
        (content, false)
    }

    fn read(&self) -> Read {
        let (content, is_over) = self.content();
        let mut read = Read { is_over, ..Read::default() };
        let (mut kind, mut data) = (String::new(), Vec::new());
        for line in content.split_inclusive(['\r', '\n']) {
            let line = line.strip_suffix('\n').expect("lines end in LF");
            match line.split_once(':') {
                None => {
                    assert_eq!(line, "");
                    if !data.is_empty() {
                        let kind = core::mem::take(&mut kind);
                        read.events.push((kind, read.last_id.clone(), data.join("\n")));
                    }
                    data.clear();
                    kind.clear();
                }
                Some(("", _)) => read.comments += 1,
                Some((field, value)) => {
                    let value = value.strip_prefix(' ').expect("a space").to_owned();
                    match field {
                        "id" => read.last_id = value,
                        "data" => data.push(value),
                        "event" => kind = value,
                        "retry" => read.retry_ms = Some(value.parse().expect("a number")),
                        _ => panic!("{line}"),
                    }
                }
            }
        }
        read
    }

    /// The data of each event.
    fn data(&self) -> Vec<String> {
        self.read().events.into_iter().map(|(_, _, data)| data).collect()
    }

    fn epoch(&self) -> String {
        let last_id = self.read().last_id;
        last_id.split_once('.').expect("an epoch").0.to_owned()
    }

    /// Whether the server has said that nothing more comes, and whether it has dropped its end.
    fn is_shut_and_dropped(&self) -> (bool, bool) {
        let wire = self.client.0.borrow();
        (wire.shut_down, wire.dropped)
    }
}

#[test]
fn a_stream_begins_with_the_position_behind_which_reading_begins() {
    let mut world = World::new();
    let stream = world.listen("/sse", "");
    let head = stream.head();
    let (_, fields) = head.split_once("GMT\r\n").expect("a date");
    assert_eq!(
        fields,
        "Connection: close\r\nContent-Type: text/event-stream\r\n\
         Transfer-Encoding: chunked\r\nCache-Control: no-store\r\nX-Accel-Buffering: no"
    );
    let epoch = stream.epoch();
    assert_eq!(stream.content(), (format!("id: {epoch}.0\n\n"), false));
    let (speaker, id) = world.speaker();
    world.say(&speaker, id, &frame(1, b"hi"));
    let late = world.listen("/sse/", "");
    assert!(late.raw().starts_with("HTTP/1.1 404 "), "no channel has that name");
    let late = world.listen("/sse/default", "");
    assert_eq!(late.content().0, format!("id: {epoch}.1\n\n"));
    let other = world.listen("/sse/room/1", "");
    assert_ne!(other.epoch(), epoch);
    assert_eq!(world.server.sessions(), 4);
    assert_eq!(world.server.metrics().sessions_opened, 4);
    let opened = |event: &Event| match event {
        Event::Opened { channel, .. } => Some(channel.to_string()),
        _ => None,
    };
    let opened: Vec<_> = world.events.iter().filter_map(opened).collect();
    assert_eq!(opened, ["default", "default", "default", "room/1"]);
}

#[test]
fn what_is_said_comes_with_its_position_and_cannot_forge_a_field() {
    let mut world = World::new();
    let stream = world.listen("/sse", "");
    let epoch = stream.epoch();
    let (speaker, id) = world.speaker();
    for text in ["hi", "a\nb", "a\r\nid: evil\rdata: x\n", "", ":", " lead"] {
        world.say(&speaker, id, &frame(1, text.as_bytes()));
    }
    world.say(&speaker, id, &frame(2, b"\n\0\xff"));
    let said = ["hi", "a\nb", "a\nid: evil\ndata: x\n", "", ":", " lead", "CgD/"];
    let expected: Vec<_> = said
        .into_iter()
        .zip(1..)
        .map(|(text, seq)| {
            let kind = if seq == 7 { "binary" } else { "" };
            (kind.to_owned(), format!("{epoch}.{seq}"), text.to_owned())
        })
        .collect();
    assert_eq!(stream.read().events, expected);
    assert!(!stream.read().is_over);
}
