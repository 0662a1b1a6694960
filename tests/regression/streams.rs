//! Server-sent events: every record and every id, where reading begins, how a stream ends.

use core::cell::RefCell;

use super::clients::listing;
use super::harness::settings;
use super::history::keeping;
use super::sessions::request;
use super::{Client, World, frame};
use elbow::id::ConnId;
use elbow::metrics::Refusal;
use elbow::reason::CloseReason;
use elbow::server::{Event, Listener};
use elbow::settings::Events;
use elbow::time::Duration;
use elbow::wire::base_path::BasePath;
use elbow::wire::host::Host;

/// An event stream, with everything that it has heard.
pub(super) struct Stream {
    pub(super) client: Client,
    pub(super) id: ConnId,
    pub(super) bytes: RefCell<Vec<u8>>,
}

/// What a browser's reader of streams makes of one (WHATWG HTML, section 9.2.6).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Type, last event id and data of each event that is dispatched.
    pub(super) events: Vec<(String, String, String)>,
    /// The id that is said when the browser comes back.
    pub(super) last_id: String,
    /// The time to come back in, if it was told.
    pub(super) retry_ms: Option<u64>,
    comments: usize,
    /// Whether the last chunk has come.
    pub(super) is_over: bool,
}

impl World {
    /// Asks for an event stream, with these further lines in the head.
    pub(super) fn listen(&mut self, target: &str, lines: &str) -> Stream {
        let (client, id) = self.connect();
        self.say(&client, id, request("GET", target, lines).as_bytes());
        Stream { client, id, bytes: RefCell::default() }
    }

    /// A plain WebSocket in the channel `default`, which says things.
    fn speaker(&mut self) -> (Client, ConnId) {
        self.session()
    }

    pub(super) fn refusals(&self) -> Vec<&'static str> {
        let why = |event: &Event| {
            if let Event::Refused { why, .. } = event { Some(*why) } else { None }
        };
        self.events.iter().filter_map(why).collect()
    }
}

impl Stream {
    pub(super) fn raw(&self) -> String {
        self.bytes.borrow_mut().extend(self.client.heard());
        String::from_utf8(self.bytes.borrow().clone()).expect("a stream is text")
    }

    fn head(&self) -> String {
        let raw = self.raw();
        raw.split_once("\r\n\r\n").expect("a head").0.to_owned()
    }

    /// The content of the chunks, and whether the last one has come.
    pub(super) fn content(&self) -> (String, bool) {
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

    pub(super) fn read(&self) -> Read {
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
    pub(super) fn data(&self) -> Vec<String> {
        self.read().events.into_iter().map(|(_, _, data)| data).collect()
    }

    pub(super) fn epoch(&self) -> String {
        let last_id = self.read().last_id;
        last_id.split_once('.').expect("an epoch").0.to_owned()
    }

    /// Whether the server has said that nothing more comes, and whether it has dropped its end.
    pub(super) fn is_shut_and_dropped(&self) -> (bool, bool) {
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
    let opened = |event: &Event| {
        if let Event::Opened { channel, .. } = event { Some(channel.to_string()) } else { None }
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

#[test]
fn what_only_socketio_has_is_not_shown() {
    let mut world = World::with(|settings| settings.events = Events::All);
    let stream = world.listen("/sse", "");
    let epoch = stream.epoch();
    let (socket, id) = world.socket(&[""]);
    for packet in ["42[\"move\",1]", "42[\"chat message\",\"hi\"]", "42[\"chat message\",{}]"] {
        world.say(&socket, id, &frame(1, packet.as_bytes()));
    }
    // Positions count what is said, also where a dialect has no form of it.
    let expected = [(String::new(), format!("{epoch}.2"), "hi".to_owned())];
    assert_eq!(stream.read().events, expected);
}

/// What was said of a stream with the id `last_id` that has come back, in short.
fn back(world: &mut World, target: &str, last_id: &str) -> (bool, Vec<String>) {
    let line = format!("Last-Event-ID: {last_id}\r\n");
    let read = world.listen(target, &line).read();
    let is_reset = read.events.first().is_some_and(|(kind, _, _)| kind == "reset");
    let said = read.events.into_iter().skip(usize::from(is_reset));
    (is_reset, said.map(|(_, _, data)| data).collect())
}

#[test]
fn who_comes_back_is_sent_what_it_missed_and_then_what_is_new_without_a_seam() {
    let mut world = World::with(|settings| *settings = keeping(100));
    let (speaker, id) = world.speaker();
    let stream = world.listen("/sse", "");
    let epoch = stream.epoch();
    for number in 1..=9 {
        world.say(&speaker, id, &frame(1, format!("m{number}").as_bytes()));
    }
    let by_query = world.listen(&format!("/sse?since={epoch}.4"), "");
    assert!(by_query.content().0.starts_with(&format!("id: {epoch}.4\n\nid: {epoch}.5\n")));
    let by_header = world.listen("/sse?since=zzz.1", &format!("Last-Event-ID: {epoch}.4\r\n"));
    world.say(&speaker, id, &frame(1, b"m10"));
    let expected: Vec<_> =
        (5..=10).map(|n| (String::new(), format!("{epoch}.{n}"), format!("m{n}"))).collect();
    for stream in [by_query, by_header] {
        assert_eq!(stream.read().events, expected);
    }
    let target = format!("/sse?since={epoch}.1&last=3");
    assert_eq!(world.listen(&target, "Last-Event-ID:\r\n").data().len(), 9, "it says nothing");
    assert_eq!(back(&mut world, &target, &format!("{epoch}.9")), (false, vec!["m10".into()]));
    assert_eq!(back(&mut world, &target, &format!("{epoch}.10")), (false, vec![]));
    assert_eq!(world.listen("/sse?last=2", "").data(), ["m9", "m10"]);
    assert!(world.listen("/sse?last=2", "").content().0.starts_with(&format!("id: {epoch}.8\n\n")));
}

#[test]
fn what_cannot_be_honoured_is_said_before_anything_else() {
    let mut world = World::with(|settings| *settings = keeping(3));
    let (speaker, id) = world.speaker();
    let epoch = world.listen("/sse", "").epoch();
    for number in 1..=5 {
        world.say(&speaker, id, &frame(1, format!("m{number}").as_bytes()));
    }
    let lost = world.listen("/sse", &format!("Last-Event-ID: {epoch}.1\r\n"));
    let reset = format!("event: reset\nid: {epoch}.5\ndata: {{\"position\":\"{epoch}.5\"}}\n\n");
    assert_eq!(lost.content().0, reset);
    assert_eq!(lost.read().last_id, format!("{epoch}.5"));
    assert_eq!(
        back(&mut world, "/sse", &format!("{epoch}.2")),
        (false, vec!["m3".into(), "m4".into(), "m5".into()])
    );
    for unknown in [format!("{epoch}.6"), "other.1".into(), "0-0.0".into(), "x".into()] {
        assert_eq!(back(&mut world, "/sse", &unknown), (true, vec![]), "{unknown}");
        let (is_reset, said) = back(&mut world, "/sse?last=1", &unknown);
        assert_eq!((is_reset, said), (true, vec!["m5".into()]), "{unknown}");
    }
    let strict = |seq: u64| format!("/sse?strict&since={epoch}.{seq}");
    let asked = |target: &str| request("GET", target, "");
    assert!(world.answer(&asked(&strict(1))).1.starts_with("HTTP/1.1 410 Gone\r\n"));
    assert!(world.answer(&asked(&strict(2))).1.starts_with("HTTP/1.1 200 OK\r\n"));
    let by_header = request("GET", "/sse?strict", "Last-Event-ID: other.1\r\n");
    assert!(world.answer(&by_header).1.starts_with("HTTP/1.1 410 Gone\r\n"));
    let head = request("HEAD", &strict(1), "");
    assert!(world.answer(&head).1.starts_with("HTTP/1.1 410 Gone\r\n"));
}

#[test]
fn whoever_is_cut_off_anywhere_in_the_beginning_was_told_or_comes_back_as_it_was() {
    let mut world = World::with(|settings| *settings = keeping(3));
    let (speaker, id) = world.speaker();
    let epoch = world.listen("/sse", "").epoch();
    for number in 1..=5 {
        world.say(&speaker, id, &frame(1, format!("m{number}").as_bytes()));
    }
    for (known, is_lost) in [(format!("{epoch}.1"), true), (format!("{epoch}.5"), false)] {
        for target in ["/sse", "/sse?last=2"] {
            let stream = world.listen(target, &format!("Last-Event-ID: {known}\r\n"));
            let (content, _) = stream.content();
            assert!(content.ends_with("\n\n"));
            for cut in 0..=content.len() {
                // An event counts from its empty line on.
                let Some(end) = content[..cut].rfind("\n\n") else { continue };
                let taken = &content[..end];
                let told = taken.contains("event: reset\n");
                let has_new_id = !taken.ends_with(&format!("id: {known}"));
                assert_eq!(told, is_lost, "{taken}");
                assert!(told || !has_new_id, "{taken}");
            }
        }
    }
}

#[test]
fn what_is_no_position_and_no_number_is_malformed() {
    let mut world = World::new();
    let two = "Last-Event-ID: a.1\r\nLast-Event-ID: a.1\r\n";
    for (target, lines) in [
        ("/sse?since=", ""),
        ("/sse?since=a_b", ""),
        ("/sse?last=-1", ""),
        ("/sse?since=%00", "Last-Event-ID: a.1\r\n"),
        ("/sse", two),
    ] {
        let answer = world.answer(&request("GET", target, lines)).1;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target} {lines}");
    }
    assert_eq!(world.server.sessions(), 0);
}

#[test]
fn the_id_of_another_server_is_a_position_that_is_lost() {
    let mut world = World::new();
    for id in ["a b", "12_3", "\u{e9}", &"a".repeat(65), "-"] {
        let stream = world.listen("/sse", &format!("Last-Event-ID: {id}\r\n"));
        assert!(stream.raw().contains("event: reset\n"), "{id}");
        let strict = request("GET", "/sse?strict", &format!("Last-Event-ID: {id}\r\n"));
        assert!(world.answer(&strict).1.starts_with("HTTP/1.1 410 "), "{id}");
    }
}

#[test]
fn a_comment_comes_at_the_interval_whatever_else_was_sent() {
    let mut world = World::new();
    let stream = world.listen("/sse", "");
    let (speaker, id) = world.speaker();
    world.pass(Duration::from_secs(12));
    assert_eq!(stream.read().comments, 0, "the first is due in the second half of the interval");
    world.pass(Duration::from_secs(13));
    assert_eq!(stream.read().comments, 1);
    for expected in 2..6 {
        for _ in 0..25 {
            world.pass(Duration::from_secs(1));
            world.say(&speaker, id, &frame(1, b"x"));
        }
        assert_eq!(stream.read().comments, expected);
    }
    assert_eq!(stream.data().len(), 100);
    // A client that never says a word is not given up, and neither is one that reads nothing.
    world.pass(Duration::from_secs(600));
    stream.client.stop_reading();
    let before = world.server.pool().lent_bytes();
    world.pass(Duration::from_secs(3600));
    assert!(world.server.pool().lent_bytes() <= before + 256, "one comment waits, not many");
    assert_eq!(stream.is_shut_and_dropped(), (false, false));
    world.makes_room(&stream.client, stream.id);
    world.pass(Duration::from_secs(25));
    assert_eq!(stream.read().comments, 5 + 24 + 2);
    assert!(!stream.read().is_over);
}

#[test]
fn a_crowd_that_comes_at_once_has_its_comments_spread() {
    let mut world = World::new();
    let streams: Vec<_> = (0..50).map(|_| world.listen("/sse", "")).collect();
    let commented = |streams: &[Stream]| streams.iter().map(|s| s.read().comments).sum::<usize>();
    world.pass(Duration::from_millis(18_750));
    assert!((10..40).contains(&commented(&streams)), "{}", commented(&streams));
    world.pass(Duration::from_millis(6_250));
    assert_eq!(commented(&streams), 50);
}

#[test]
fn a_head_is_told_what_a_get_would_be_and_counts_for_nothing() {
    let mut world = World::new();
    let (client, id) = world.connect();
    for _ in 0..2 {
        world.say(&client, id, request("HEAD", "/sse/news?last=5", "").as_bytes());
        let answer = String::from_utf8(client.heard()).expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\r\nContent-Type: text/event-stream\r\n"), "{answer}");
        assert!(answer.ends_with("\r\nX-Accel-Buffering: no\r\n\r\n"), "{answer}");
        assert!(!answer.contains("Content-Length"), "{answer}");
    }
    assert_eq!((world.server.sessions(), world.server.metrics().sessions_opened), (0, 0));
}

#[test]
fn other_methods_and_versions_are_told_what_is_wrong() {
    let mut world = World::new();
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
        let answer = world.answer(&request(method, "/sse/news", "")).1;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"), "{answer}");
    }
    for method in ["GET", "HEAD"] {
        let answer = world.answer(&format!("{method} /sse HTTP/1.0\r\nHost: h\r\n\r\n")).1;
        assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
        assert!(answer.contains("\r\nContent-Length: "), "{answer}");
    }
    let answer = world.answer(&request("OPTIONS", "/sse", "")).1;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(answer.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"), "{answer}");
    for path in ["/sse/", "/sse/a//b", "/sse/../x", "/sse2", "/SSE"] {
        let answer = world.answer(&request("GET", path, "")).1;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    assert_eq!(world.server.sessions(), 0);
}

#[test]
fn pages_of_listed_origins_may_read_and_others_may_not_even_ask() {
    let mut world = World::with(listing(&["https://a.example"]));
    let origin = "Origin: https://a.example\r\n";
    let grant = "\r\nAccess-Control-Allow-Origin: https://a.example\r\n\
                 Access-Control-Allow-Credentials: true\r\nVary: Origin";
    assert!(world.listen("/sse", origin).head().ends_with(grant));
    let own = world.listen("/sse", "Origin: http://h\r\n");
    assert!(!own.head().contains("Access-Control"), "the page's own needs no grant");
    for lines in [
        "Origin: https://b.example\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Origin: https://a.example\r\nOrigin: https://a.example\r\n",
    ] {
        for method in ["GET", "HEAD"] {
            let answer = world.answer(&request(method, "/sse", lines)).1;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        }
    }
    let denied = |event: &&Event| matches!(event, Event::Denied { .. });
    assert_eq!(world.events.iter().filter(denied).count(), 8);
    let asks = "Access-Control-Request-Method: GET\r\n\
                Access-Control-Request-Headers: last-event-id\r\n";
    let preflight = world.answer(&request("OPTIONS", "/sse", &format!("{origin}{asks}"))).1;
    assert!(preflight.starts_with("HTTP/1.1 204 "), "{preflight}");
    assert!(preflight.contains(grant), "{preflight}");
    assert!(preflight.contains("\r\nAccess-Control-Allow-Headers: last-event-id\r\n"));
    let foreign = format!("Origin: https://b.example\r\n{asks}");
    let preflight = world.answer(&request("OPTIONS", "/sse", &foreign)).1;
    assert!(!preflight.contains("Access-Control"), "{preflight}");
    // What a page could not read, it could not tell from a network that is down.
    for (target, status) in [("/sse?since=", "400"), ("/sse?strict&since=a.1", "410")] {
        let answer = world.answer(&request("GET", target, origin)).1;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains(grant), "{answer}");
    }
}

#[test]
fn a_stream_lies_below_the_base_path() {
    let base_path = BasePath::parse("/chat").expect("a base path");
    let mut world = World::with(|settings| settings.base_path = base_path);
    assert!(world.listen("/chat/sse", "").head().starts_with("HTTP/1.1 200 "));
    assert!(world.listen("/chat/sse/room/1", "").head().starts_with("HTTP/1.1 200 "));
    assert!(world.answer(&request("GET", "/sse", "")).1.starts_with("HTTP/1.1 404 "));
}

#[test]
fn a_stream_by_another_name_is_refused_and_the_log_says_by_which() {
    let host = Host::parse("other.example").expect("a name");
    let mut world = World::with(|settings| settings.hosts = vec![host]);
    for (lines, denials) in [("", 0), ("Accept: text/event-stream\r\n", 1)] {
        assert_eq!(world.answer(&request("GET", "/sse", lines)).0, "421");
        let denied = |event: &&Event| matches!(event, Event::Denied { .. });
        assert_eq!(world.events.iter().filter(denied).count(), denials);
    }
}

#[test]
fn the_health_listener_has_no_streams() {
    let mut world = World::new();
    let (client, id) = world.connect_to(Listener::Health, "198.51.100.1");
    world.say(&client, id, request("GET", "/sse", "").as_bytes());
    assert!(client.heard().starts_with(b"HTTP/1.1 404 "));
}

/// A stream that was put off: when it is to come back.
fn put_off(world: &mut World, target: &str) -> u64 {
    let stream = world.listen(target, "Origin: http://h\r\n");
    let fields = stream.head();
    assert!(fields.contains("\r\nContent-Type: text/event-stream\r\n"), "{fields}");
    assert!(fields.contains("\r\nConnection: close\r\n"), "{fields}");
    assert!(!fields.contains("Content-Length"), "{fields}");
    let Read { events, last_id, retry_ms, comments, is_over } = stream.read();
    assert_eq!((events, last_id, comments, is_over), (vec![], String::new(), 0, true));
    assert!(stream.is_shut_and_dropped().0);
    world.pass(Duration::from_secs(3));
    assert!(stream.is_shut_and_dropped().1);
    retry_ms.expect("a time to come back")
}

#[test]
fn who_finds_no_room_is_told_when_to_come_back() {
    let mut world = World::with(|settings| {
        settings.limits.connections_max = 40;
        settings.limits.connections_per_ip_max = Some(2);
    });
    let streams = [world.listen("/sse", ""), world.listen("/sse", "")];
    let mut times: Vec<_> = (0..20).map(|_| put_off(&mut world, "/sse")).collect();
    times.sort_unstable();
    assert!(times[0] >= 1000 && times[19] < 5000, "{times:?}");
    assert!(times[19] - times[0] > 1000, "{times:?}");
    assert_eq!(world.server.metrics().refused(Refusal::SessionsOfAddress), 20);
    assert_eq!(world.refusals(), ["--max-connections-per-ip of this address are in use"; 20]);
    assert_eq!((world.server.sessions(), streams.len()), (2, 2));

    let mut world = World::with(|settings| settings.limits.channels_max = 2);
    let (_one, two) = (world.listen("/sse/one", ""), world.listen("/sse/one", ""));
    put_off(&mut world, "/sse/two");
    assert_eq!(world.refusals(), ["--max-channels are in use"]);
    world.server.drain(world.now, world.now.mono.plus(Duration::from_secs(60)));
    put_off(&mut world, "/sse/one");
    assert_eq!(world.refusals()[1], "draining");
    assert!(!two.read().is_over);
}

#[test]
fn a_large_crowd_is_told_to_come_back_over_a_longer_time() {
    let mut world = World::with(|settings| {
        settings.limits.connections_max = 8_100;
        settings.limits.connections_per_ip_max = Some(1);
    });
    world.is_bare = true;
    let _member = world.listen("/sse", "");
    let _crowd: Vec<_> = (0..8_000).map(|_| world.connect()).collect();
    let mut told = || world.listen("/sse", "").read().retry_ms.expect("a time to come back");
    let times: Vec<_> = (0..50).map(|_| told()).collect();
    assert!(times.iter().all(|ms| (1_000..9_060).contains(ms)), "{times:?}");
    assert!(times.iter().any(|ms| *ms > 5_000), "a thousand a second: {times:?}");
}

#[test]
fn who_is_over_its_share_of_what_is_kept_is_told_when_to_come_back() {
    let mut world = World::with(|settings| *settings = keeping(10_000));
    world.now.mono = world.now.mono.plus(Duration::from_secs(10));
    let (speaker, id) = world.speaker();
    let _first = world.listen("/sse", "");
    let message = vec![b'x'; settings().limits.feed_bytes as usize / 8];
    (0..6).for_each(|_| world.say(&speaker, id, &frame(1, &message)));
    assert_eq!(world.listen("/sse?last=6", "").data().len(), 6);
    let retry_ms = put_off(&mut world, "/sse?last=6");
    assert!(retry_ms >= 1000, "{retry_ms}");
    assert_eq!(world.refusals(), ["this address was sent a ring of what is kept within a second"]);
    world.pass(Duration::from_millis(retry_ms));
    assert_eq!(world.listen("/sse?last=6", "").data().len(), 6);
}

#[test]
fn a_drain_ends_streams_in_order_over_its_time() {
    let mut world = World::new();
    let (speaker, id) = world.speaker();
    let streams: Vec<_> = (0..20).map(|_| world.listen("/sse", "")).collect();
    world.say(&speaker, id, &frame(1, b"before"));
    world.server.drain(world.now, world.now.mono.plus(Duration::from_secs(5)));
    let over = |streams: &[Stream]| streams.iter().filter(|s| s.read().is_over).count();
    world.settle();
    assert!(over(&streams) <= 1, "not all at once");
    world.pass(Duration::from_millis(2_500));
    assert!((5..15).contains(&over(&streams)), "{}", over(&streams));
    world.pass(Duration::from_millis(2_500));
    for stream in &streams {
        let read = stream.read();
        assert_eq!(stream.data(), ["before"]);
        assert!(read.is_over && read.retry_ms.is_some_and(|ms| (1000..5000).contains(&ms)));
    }
    world.pass(Duration::from_secs(3));
    assert!(streams.iter().all(|stream| stream.is_shut_and_dropped() == (true, true)));
    let going =
        |event: &&Event| matches!(event, Event::Closed { reason: CloseReason::GoingAway, .. });
    assert_eq!(world.events.iter().filter(going).count(), 21);
    assert!(world.events.contains(&Event::Drained));
    assert_eq!(world.server.pool().lent_bytes(), World::new().server.pool().lent_bytes());
}

#[test]
fn an_end_comes_behind_what_was_said_before_it_and_never_inside_of_a_record() {
    for room in 0..120 {
        let mut world = World::new();
        let (speaker, id) = world.speaker();
        let stream = world.listen("/sse", "");
        stream.raw();
        stream.client.0.borrow_mut().room = room;
        for text in ["one", "two", "three"] {
            world.say(&speaker, id, &frame(1, text.as_bytes()));
        }
        world.server.drain(world.now, world.now.mono);
        world.settle();
        assert!(!stream.is_shut_and_dropped().0 || room > 110);
        // Not even a client that has nothing more to say is cut short.
        stream.client.0.borrow_mut().ended = true;
        world.say(&stream.client, stream.id, b"GET / HTTP/1.1\r\n\r\n");
        world.makes_room(&stream.client, stream.id);
        let read = stream.read();
        assert_eq!(stream.data(), ["one", "two", "three"], "{room}");
        assert!(read.is_over && read.retry_ms.is_some(), "{room}");
    }
}

#[test]
fn a_stream_whose_end_cannot_be_sent_is_cut() {
    let mut world = World::new();
    let stream = world.listen("/sse", "");
    stream.client.stop_reading();
    world.server.drain(world.now, world.now.mono);
    world.pass(Duration::from_secs(4));
    assert_eq!(stream.is_shut_and_dropped(), (false, true));
    assert_eq!(world.server.connections(), 0);
}

#[test]
fn a_reader_that_the_ring_has_overtaken_is_cut_and_comes_back() {
    // Between two records, and inside of one.
    for room in [0, 10] {
        let mut world = World::with(|settings| *settings = keeping(1000));
        let (speaker, id) = world.speaker();
        let others: Vec<_> = (0..3).map(|_| world.listen("/sse", "")).collect();
        let slow = world.listen("/sse", "");
        slow.raw();
        slow.client.0.borrow_mut().room = room;
        for _ in 0..12 {
            world.say(&speaker, id, &frame(1, &[b'x'; 500]));
        }
        assert_eq!(slow.is_shut_and_dropped(), (false, true), "nothing is said to it");
        assert_eq!(slow.client.heard().len(), room);
        assert!(others.iter().all(|stream| stream.data().len() == 12));
        let slow =
            |event: &&Event| matches!(event, Event::Closed { reason: CloseReason::TooSlow, .. });
        assert_eq!(world.events.iter().filter(slow).count(), 1);
        let lapped = |event: &&Event| matches!(event, Event::Lapped { .. });
        assert_eq!(world.events.iter().filter(lapped).count(), 1);
        assert_eq!(world.server.metrics().closed[CloseReason::TooSlow as usize], 1);
        let epoch = others[0].epoch();
        assert_eq!(
            back(&mut world, "/sse", &format!("{epoch}.11")),
            (false, vec!["x".repeat(500)])
        );
        assert_eq!(back(&mut world, "/sse", &format!("{epoch}.0")), (true, vec![]));
    }
}

#[test]
fn what_comes_behind_the_request_is_never_read_as_another() {
    let mut world = World::new();
    let (client, id) = world.connect();
    let pipelined = request("GET", "/sse", "") + &request("GET", "/healthz", "");
    world.say(&client, id, pipelined.as_bytes());
    world.say(&client, id, request("GET", "/healthz", "").as_bytes());
    world.say(&client, id, &frame(1, b"hello"));
    let stream = Stream { client, id, bytes: RefCell::default() };
    assert_eq!(stream.read().events, []);
    assert_eq!(stream.raw().matches("HTTP/1.1").count(), 1);
    let with_body = world.listen("/sse", "Content-Length: 9\r\nExpect: 100-continue\r\n");
    world.say(&with_body.client, with_body.id, b"GET / HTT");
    assert_eq!(with_body.raw().matches("HTTP/1.1").count(), 1);
    let (speaker, speaker_id) = world.speaker();
    world.say(&speaker, speaker_id, &frame(1, b"hi"));
    assert_eq!((stream.data(), with_body.data()), (vec!["hi".into()], vec!["hi".into()]));
    // An end behind other requests on the same connection.
    let (client, id) = world.connect();
    let pipelined = request("GET", "/healthz", "") + &request("GET", "/sse", "");
    world.say(&client, id, pipelined.as_bytes());
    let heard = String::from_utf8(client.heard()).expect("text");
    assert!(heard.contains("\r\n\r\nokHTTP/1.1 200 OK\r\n"), "{heard}");
    assert!(heard.ends_with(".1\n\n\r\n"), "{heard}");
}

#[test]
fn who_sends_and_sends_is_ended_in_order() {
    let mut world = World::new();
    let (speaker, id) = world.speaker();
    let stream = world.listen("/sse", "");
    for _ in 0..16 {
        world.say(&stream.client, stream.id, &[b'x'; 4096]);
    }
    assert!(!stream.read().is_over);
    world.say(&speaker, id, &frame(1, b"hi"));
    world.say(&stream.client, stream.id, b"x");
    assert_eq!(stream.data(), ["hi"]);
    assert!(stream.read().is_over && stream.is_shut_and_dropped().0);
    world.pass(Duration::from_secs(3));
    assert!(stream.is_shut_and_dropped().1);
    assert_eq!(world.server.metrics().closed[CloseReason::ProtocolError as usize], 1);
    assert_eq!(world.server.sessions(), 1);
}

#[test]
fn who_goes_is_no_member_any_more() {
    let mut world = World::new();
    let (speaker, id) = world.speaker();
    let streams: Vec<_> = (0..3).map(|_| world.listen("/sse", "")).collect();
    world.say(&speaker, id, &frame(1, b"hi"));
    streams[0].client.0.borrow_mut().ended = true;
    world.say(&streams[0].client, streams[0].id, b"");
    streams[1].client.0.borrow_mut().broken = true;
    world.say(&speaker, id, &frame(1, b"ho"));
    assert_eq!(world.server.sessions(), 2);
    assert_eq!(streams[2].data(), ["hi", "ho"]);
    let closed: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| {
            let Event::Closed { reason, messages_in, messages_out, .. } = event else {
                return None;
            };
            Some((*reason, *messages_in, *messages_out))
        })
        .collect();
    assert_eq!(closed, [(CloseReason::PeerGone, 0, 1), (CloseReason::PeerReset, 0, 1)]);
}

#[test]
fn a_stream_whose_beginning_waits_keeps_nothing_of_the_reserve() {
    let mut world = World::new();
    let first = world.listen("/sse", "");
    let mut hoard = Vec::new();
    // Half-sent heads take all the memory that there is.
    for _ in 0..350 {
        let (client, id) = world.connect();
        let head = format!("GET /{} HTTP/1.1\r\n", "x".repeat(7000));
        world.say(&client, id, head.as_bytes());
        hoard.push(client);
    }
    let read = world.listen("/sse", "");
    assert_eq!(read.content(), first.content());
    for _ in 0..30 {
        let (client, id) = world.connect();
        client.stop_reading();
        world.say(&client, id, request("GET", "/sse", "").as_bytes());
        assert!(client.0.borrow().dropped, "what it does not take must not hold the others' words");
    }
    let without_memory =
        |event: &&Event| matches!(event, Event::Closed { reason: CloseReason::NoMemory, .. });
    assert_eq!(world.events.iter().filter(without_memory).count(), 30);
    assert_eq!(world.server.sessions(), 2);
}
