//! The WebSocket deframer from outside.
//!
//! Goal: a client's bytes mean the same however they are cut, and mean what RFC 6455 says.
//!
//! Method: a `Reader` stands for a connection: it presents what the deframer leaves over again and
//! joins the parts of messages, checking their order. The vectors F01 to F42 go through it whole,
//! cut in two everywhere, and byte by byte. Then random messages, fragmented, masked and cut at
//! random, against the messages they were made from and against tungstenite's own reader; and the
//! same streams with bytes overwritten, which must end alike in one piece and in many.

use std::io::{self, Cursor, Read, Write};

use elbow::wire::Status;
use elbow::wire::ws::{self, Deframer, Error, Input, Kind, Offer, Refusal};
use proptest::prelude::*;
use tungstenite::Message;
use tungstenite::protocol::{Role, WebSocket};

use reader::{Event, Reader, read};

#[path = "ws/reader.rs"]
mod reader;

/// The limit under which the vectors were recorded.
const MESSAGE_BYTES_MAX: u64 = 1000;

fn text(payload: &str) -> Event {
    Event::Message(Kind::Text, payload.as_bytes().to_vec())
}

/// The bytes that hexadecimal digits stand for; spaces are for the reader.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// A header, and `len` zeros under the vectors' mask.
fn zeros(header: &str, len: usize) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d].into_iter().cycle();
    hex(header).into_iter().chain(mask.take(len)).collect()
}

struct Vector {
    id: &'static str,
    bytes: Vec<u8>,
    events: Vec<Event>,
}

fn vectors() -> Vec<Vector> {
    let vector = |id, digits, events| Vector { id, bytes: hex(digits), events };
    let made = |id, bytes, event| Vector { id, bytes, events: vec![event] };
    let failed = |id, digits, code| vector(id, digits, vec![Event::Failed(code)]);
    let closed = |id, digits, code| vector(id, digits, vec![Event::Close(code)]);
    let sum = [zeros("02fe0258 37fa213d", 600), zeros("80fe0258 37fa213d", 600)].concat();
    vec![
        vector("F01", "8182 37fa213d 5f93", vec![text("hi")]),
        failed("F02", "8102 6869", 1002),
        failed("F03", "c182 37fa213d 5f93", 1002),
        failed("F04", "8382 37fa213d 5f93", 1002),
        failed("F05", "8b80 37fa213d", 1002),
        failed("F06", "0982 37fa213d 5f93", 1002),
        made("F07", zeros("89fe 007e 37fa213d", 126), Event::Failed(1002)),
        made("F08", zeros("89fd 37fa213d", 125), Event::Ping(vec![0; 125])),
        failed("F09", "8082 37fa213d 5f93", 1002),
        failed("F10", "0181 37fa213d 56 8181 37fa213d 55", 1002),
        vector(
            "F11",
            "0181 37fa213d 56 8981 37fa213d 47 8081 37fa213d 55",
            vec![Event::Ping(b"p".to_vec()), text("ab")],
        ),
        failed("F12", "81fe 0005 37fa213d 5f9f4d5158", 1002),
        failed("F13", "81ff 0000000000000005 37fa213d 5f9f4d5158", 1002),
        failed("F14", "81ff 8000000000000000 37fa213d", 1002),
        failed("F15", "82fe 03e9 37fa213d", 1009),
        made("F16", sum, Event::Failed(1009)),
        failed("F17", "8181 37fa213d c8", 1007),
        failed("F18", "8182 37fa213d f755", 1007),
        failed("F19", "8183 37fa213d da5aa1", 1007),
        failed("F20", "8184 37fa213d c36aa1bd", 1007),
        failed("F21", "8182 37fa213d d578", 1007),
        vector("F22", "0181 37fa213d d5 8082 37fa213d b556", vec![text("€")]),
        failed("F23", "0182 37fa213d 5605", 1007),
        closed("F24", "8880 37fa213d", None),
        failed("F25", "8881 37fa213d 34", 1002),
        closed("F26", "8882 37fa213d 3412", Some(1000)),
        closed("F27", "8885 37fa213d 3413434452", Some(1001)),
        failed("F28", "8882 37fa213d 341d", 1002),
        failed("F29", "8882 37fa213d 3416", 1002),
        failed("F30", "8882 37fa213d 3417", 1002),
        failed("F31", "8882 37fa213d 3414", 1002),
        closed("F32", "8882 37fa213d 340e", Some(1012)),
        failed("F33", "8882 37fa213d 340d", 1002),
        failed("F34", "8882 37fa213d 3402", 1002),
        closed("F35", "8882 37fa213d 3c42", Some(3000)),
        closed("F36", "8882 37fa213d 247d", Some(4999)),
        failed("F37", "8882 37fa213d 2472", 1002),
        failed("F38", "8883 37fa213d 3412de", 1007),
        vector("F39", "8180 37fa213d", vec![text("")]),
        vector("F40", "8a82 37fa213d 4d80", vec![Event::Pong]),
        closed("F41", "8882 37fa213d 3412 8184 37fa213d 5b9b5558", Some(1000)),
        // The end of the stream is the caller's; what was whole before it has been handed out.
        vector("F42", "8182 37fa213d 5f93 8182 37fa213d 5f", vec![text("hi")]),
    ]
}

#[test]
fn the_vectors_are_all_there() {
    let ids: Vec<&str> = vectors().iter().map(|vector| vector.id).collect();
    assert_eq!(ids, (1..=42).map(|number| format!("F{number:02}")).collect::<Vec<_>>());
}

#[test]
fn vectors_at_once() {
    for Vector { id, bytes, events } in vectors() {
        assert_eq!(read([&bytes[..]], MESSAGE_BYTES_MAX), events, "{id}");
    }
}

#[test]
fn vectors_cut_in_two_anywhere() {
    for Vector { id, bytes, events } in vectors() {
        for cut in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(read([head, tail], MESSAGE_BYTES_MAX), events, "{id} cut at {cut}");
        }
    }
}

#[test]
fn vectors_byte_by_byte() {
    for Vector { id, bytes, events } in vectors() {
        assert_eq!(read(bytes.chunks(1), MESSAGE_BYTES_MAX), events, "{id}");
    }
}

#[test]
fn a_message_is_too_big_from_its_announcement_on() {
    let mut reader = Reader::new(MESSAGE_BYTES_MAX);
    reader.receive(&zeros("02fe0258 37fa213d", 600));
    reader.receive(&hex("00fe0190 37fa213d"));
    assert_eq!(reader.events, [], "600 and 400 are a thousand");
    reader.receive(&zeros("", 400));
    reader.receive(&hex("8081 37fa213d"));
    assert_eq!(reader.events, [Event::Failed(1009)], "its payload has not come yet");
}

#[test]
fn a_cut_header_still_gives_a_whole_message() {
    let mut bytes = hex("8182 37fa213d 5f93");
    let mut deframer = Deframer::new();
    assert_eq!(deframer.next(&mut bytes[..3], 2), (3, Ok(Status::Partial)));
    let whole = Status::Complete(Input::Message(Kind::Text, b"hi"));
    assert_eq!(deframer.next(&mut bytes[3..], 2), (5, Ok(whole)));
}

#[test]
fn a_cut_control_payload_is_left_as_it_came() {
    let mut bytes = hex("8982 37fa213d 5f93");
    let mut deframer = Deframer::new();
    assert_eq!(deframer.next(&mut bytes[..7], 2), (6, Ok(Status::Partial)));
    assert_eq!(deframer.next(&mut bytes[6..7], 2), (0, Ok(Status::Partial)));
    assert_eq!(bytes[6], 0x5f);
    let ping = Status::Complete(Input::Ping(b"hi"));
    assert_eq!(deframer.next(&mut bytes[6..], 2), (2, Ok(ping)));
}

#[test]
fn nothing_is_made_of_nothing() {
    assert_eq!(Deframer::new().next(&mut [], 0), (0, Ok(Status::Partial)));
}

#[test]
fn an_error_is_repeated() {
    let mut deframer = Deframer::new();
    assert_eq!(deframer.next(&mut hex("8102"), 1000).1, Err(Error::Unmasked));
    let mut valid = hex("8182 37fa213d 5f93");
    assert_eq!(deframer.next(&mut valid, 1000), (0, Err(Error::Unmasked)));
}

#[test]
fn mid_message_is_from_the_first_header_byte_to_the_last_payload_byte() {
    let cases = [
        ("", false),
        ("81", true),
        ("8182 37fa213d", true),
        ("8182 37fa213d 5f", true),
        ("8182 37fa213d 5f93", false),
        ("89", false),
        ("8982 37fa213d 5f", false),
        ("83", true),
        ("0181 37fa213d 56", true),
        ("0181 37fa213d 56 89", true),
        ("0181 37fa213d 56 8981 37fa213d 47", true),
        ("0181 37fa213d 56 8081 37fa213d 55", false),
    ];
    for (digits, mid_message) in cases {
        let mut reader = Reader::new(MESSAGE_BYTES_MAX);
        reader.receive(&hex(digits));
        assert_eq!(reader.deframer.mid_message(), mid_message, "{digits}");
    }
}

/// A message as a client sends it.
#[derive(Clone, Debug)]
struct Sent {
    kind: Kind,
    payload: Vec<u8>,
    /// Where fragments end; a place may come twice, which makes an empty fragment.
    cuts: Vec<prop::sample::Index>,
    /// Sent behind the first fragment.
    ping: Option<Vec<u8>>,
    mask: [u8; 4],
}

impl Sent {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut cuts: Vec<usize> =
            self.cuts.iter().map(|cut| cut.index(self.payload.len() + 1)).collect();
        cuts.push(self.payload.len());
        cuts.sort_unstable();
        let mut begin = 0;
        for (number, &end) in cuts.iter().enumerate() {
            let opcode = match (number, self.kind) {
                (0, Kind::Text) => 1,
                (0, Kind::Binary) => 2,
                _ => 0,
            };
            let last = if number + 1 == cuts.len() { 0x80 } else { 0 };
            encode_frame(last | opcode, &self.payload[begin..end], self.mask, out);
            begin = end;
            if let (0, Some(ping)) = (number, &self.ping) {
                encode_frame(0x89, ping, self.mask, out);
            }
        }
    }

    fn events(&self) -> Vec<Event> {
        let message = Event::Message(self.kind, self.payload.clone());
        let ping = self.ping.clone().map(Event::Ping);
        if self.cuts.is_empty() {
            [Some(message), ping].into_iter().flatten().collect()
        } else {
            [ping, Some(message)].into_iter().flatten().collect()
        }
    }
}

fn encode_frame(first_byte: u8, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(first_byte);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

fn sent() -> impl Strategy<Value = Sent> {
    let text = prop::collection::vec(any::<char>(), 0..60)
        .prop_map(|chars| (Kind::Text, chars.into_iter().collect::<String>().into_bytes()));
    let binary = prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| (Kind::Binary, bytes));
    let content = prop_oneof![text, binary];
    // Few are repeated: lengths in 16 and 64 bits are slow to take apart byte by byte.
    let times = prop_oneof![20 => Just(1), 2 => Just(10), 1 => Just(1000)];
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let ping = prop::option::of(prop::collection::vec(any::<u8>(), 0..=125));
    (content, times, cuts, ping, any::<[u8; 4]>()).prop_map(
        |((kind, payload), times, cuts, ping, mask)| {
            let payload = payload.repeat(times);
            Sent { kind, payload, cuts, ping, mask }
        },
    )
}

fn stream() -> impl Strategy<Value = (Vec<u8>, Vec<Event>)> {
    prop::collection::vec(sent(), 0..5).prop_map(|messages| {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| message.encode(&mut bytes));
        (bytes, messages.iter().flat_map(Sent::events).collect())
    })
}

/// `bytes` in segments of the given lengths, over and over.
fn cut<'b>(mut bytes: &'b [u8], lengths: &[usize]) -> Vec<&'b [u8]> {
    let mut segments = Vec::new();
    for &length in lengths.iter().cycle() {
        let (segment, rest) = bytes.split_at(length.min(bytes.len()));
        segments.push(segment);
        bytes = rest;
        if bytes.is_empty() {
            break;
        }
    }
    segments
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1..16_usize, 1..3000_usize], 1..20)
}

/// Bytes to read, and a place to write pongs to that nobody looks at.
struct Peer(Cursor<Vec<u8>>);

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_by_tungstenite(bytes: Vec<u8>) -> Vec<Event> {
    let mut socket = WebSocket::from_raw_socket(Peer(Cursor::new(bytes)), Role::Server, None);
    let messages = std::iter::from_fn(|| socket.read().ok());
    messages
        .map(|message| match message {
            Message::Text(text) => self::text(text.as_str()),
            Message::Binary(bytes) => Event::Message(Kind::Binary, bytes.to_vec()),
            Message::Ping(payload) => Event::Ping(payload.to_vec()),
            Message::Pong(_) => Event::Pong,
            Message::Close(frame) => Event::Close(frame.map(|frame| frame.code.into())),
            Message::Frame(frame) => panic!("a raw frame was read: {frame}"),
        })
        .collect()
}

proptest! {
    #[test]
    fn random_messages_come_out_as_they_went_in((bytes, events) in stream(), lengths in lengths()) {
        prop_assert_eq!(read(cut(&bytes, &lengths), u64::MAX), events);
    }

    #[test]
    fn tungstenites_reader_agrees((bytes, _) in stream()) {
        prop_assert_eq!(read([&bytes[..]], u64::MAX), read_by_tungstenite(bytes));
    }

    #[test]
    fn broken_streams_end_alike_however_they_are_cut(
        (mut bytes, _) in stream(),
        broken in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        lengths in lengths(),
    ) {
        bytes.extend_from_slice(&hex("8182 37fa213d 5f93"));
        for (place, byte) in broken {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        prop_assert_eq!(
            read([&bytes[..]], MESSAGE_BYTES_MAX),
            read(cut(&bytes, &lengths), MESSAGE_BYTES_MAX)
        );
    }

    #[test]
    fn noise_ends_alike_however_it_is_cut(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        lengths in lengths(),
    ) {
        // Most noise dies of its second byte; this gives it a mask and a known opcode.
        if let [first, second, ..] = &mut bytes[..] {
            *first &= 0x8b;
            *second |= 0x80;
        }
        prop_assert_eq!(
            read([&bytes[..]], MESSAGE_BYTES_MAX),
            read(cut(&bytes, &lengths), MESSAGE_BYTES_MAX)
        );
    }

    /// What keeps `accept` from panicking: no key is granted that tungstenite would refuse.
    #[test]
    fn keys_are_judged_as_by_tungstenite(key in "[A-Za-z0-9+/]{21}[A-Za-z0-9+/=_-][=A]{2}") {
        let offer = Offer {
            is_get: true,
            http11: true,
            has_body: false,
            fields: |name: &'static str| {
                let value = match name {
                    "upgrade" => Some("websocket"),
                    "connection" => Some("upgrade"),
                    "sec-websocket-version" => Some("13"),
                    "sec-websocket-key" => Some(&key[..]),
                    _ => None,
                };
                value.map(str::as_bytes).into_iter()
            },
        };
        let request = tungstenite::http::Request::builder()
            .header("Upgrade", "websocket")
            .header("Connection", "upgrade")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", &key)
            .body(())
            .expect("a request");
        match (ws::check(&offer), tungstenite::handshake::server::create_response(&request)) {
            (Ok(Some(upgrade)), Ok(response)) => prop_assert_eq!(
                ws::accept(upgrade.key),
                response.headers()["Sec-WebSocket-Accept"].to_str().expect("base64 is ASCII")
            ),
            (Err(refusal), Err(_)) => prop_assert_eq!(refusal, Refusal::Key),
            (ours, theirs) => prop_assert!(false, "{ours:?} but {theirs:?}"),
        }
    }
}
