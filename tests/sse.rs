//! Server-sent events from outside.
//!
//! Goal: a page hears every message as it was said, and nothing that somebody says is taken for a
//! field, an id, an event or the end of the stream.
//!
//! Method: everything is written, taken out of its chunks by the decoder for bodies of requests,
//! and read by the algorithm of the specification; the text must come back, line ends aside, and
//! the lengths must have been known. Texts are those that would forge something, all short ones of
//! the characters that mean something here, and random ones.

use elbow::wire::http::{Body, Chunk, Framing};
use elbow::wire::sse;
use elbow::wire::ws::Kind;
use proptest::prelude::*;

use reader::{Event, Heard, hear};

#[path = "sse/reader.rs"]
mod reader;

/// Where messages stand in these tests.
const POSITION: &str = "k3f9.16";

/// Takes a response's content out of its chunks. Tells the pieces, one for each chunk, and whether
/// the response is over.
fn unchunked(response: &[u8]) -> (Vec<&str>, bool) {
    let (mut body, mut rest, mut chunks) = (Body::new(Framing::Chunked), response, Vec::new());
    loop {
        let (consumed, chunk) = body.decode(rest).expect("the chunks are right");
        rest = &rest[consumed..];
        match chunk {
            Chunk::Data(data) => chunks.push(str::from_utf8(data).expect("a stream is UTF-8")),
            Chunk::Partial => {
                assert!(rest.is_empty());
                assert_eq!(body.wanted_bytes(), 0, "a chunk is shorter than its size");
                return (chunks, false);
            }
            Chunk::End => {
                assert_eq!(rest, b"", "something is behind the end");
                return (chunks, true);
            }
        }
    }
}

/// What is written, whose length was announced.
fn written(announced: usize, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(announced);
    let room = out.capacity();
    write(&mut out);
    assert_eq!(out.len(), announced, "{:?}", out.escape_ascii().to_string());
    assert_eq!(out.capacity(), room, "it grew");
    out
}

fn message(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let announced = sse::event_bytes(kind, POSITION, payload);
    let bytes_max = sse::LINE_BYTES_MAX * payload.len() + sse::EVENT_EXTRA_BYTES_MAX;
    assert!(announced <= bytes_max, "{announced} bytes, at most {bytes_max}");
    written(announced, |out| sse::event(kind, POSITION, payload, out))
}

/// The text as every browser tells it to its page.
fn normalised(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// The text is one event with it as data, wherever in a stream it stands.
fn comes_back(text: &str) {
    let record = message(Kind::Text, text.as_bytes());
    let (chunks, is_over) = unchunked(&record);
    assert_eq!((chunks.len(), is_over), (1, false), "a record is one chunk");
    let expected = Heard {
        events: vec![Event {
            kind: "message".to_owned(),
            data: normalised(text),
            id: POSITION.to_owned(),
        }],
        last_id: POSITION.to_owned(),
        retry_ms: None,
    };
    assert_eq!(hear(chunks[0]), expected, "{text:?}");
}

#[test]
fn records_are_these_bytes() {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let message = |kind, payload: &str| text(message(kind, payload.as_bytes()));
    assert_eq!(message(Kind::Text, "hi"), "16\r\nid: k3f9.16\ndata: hi\n\n\r\n");
    assert_eq!(message(Kind::Text, ""), "14\r\nid: k3f9.16\ndata: \n\n\r\n");
    assert_eq!(
        message(Kind::Text, "a\r\n\rb\n"),
        "2B\r\nid: k3f9.16\ndata: a\ndata: \ndata: b\ndata: \n\n\r\n"
    );
    assert_eq!(
        message(Kind::Binary, "\u{1}\u{2}"),
        "26\r\nevent: binary\nid: k3f9.16\ndata: AQI=\n\n\r\n"
    );
    let opening = written(sse::opening_bytes("a.0"), |out| sse::opening("a.0", out));
    assert_eq!(text(opening), "9\r\nid: a.0\n\n\r\n");
    let reset = written(sse::reset_bytes("a.0"), |out| sse::reset("a.0", out));
    assert_eq!(text(reset), "2F\r\nevent: reset\nid: a.0\ndata: {\"position\":\"a.0\"}\n\n\r\n");
    let retry = written(sse::retry_bytes(2500), |out| sse::retry(2500, out));
    assert_eq!(text(retry), "D\r\nretry: 2500\n\n\r\n");
    let retry = written(sse::retry_and_end_bytes(2500), |out| sse::retry_and_end(2500, out));
    assert_eq!(text(retry), "D\r\nretry: 2500\n\n\r\n0\r\n\r\n");
    assert_eq!(text(sse::COMMENT.to_vec()), "2\r\n:\n\r\n");
    assert_eq!(text(written(sse::end_bytes(), sse::end)), "0\r\n\r\n");
}

#[test]
fn what_is_said_forges_nothing() {
    for text in [
        "",
        " ",
        "  indented",
        "a",
        "a\n",
        "\n",
        "\r",
        "\r\n",
        "\n\r",
        "\n\n",
        "\r\n\r\n",
        "a\rb\nc\r\nd",
        "\n\nid: forged\n\n",
        "\r\rid: forged\r\r",
        "a\n\nevent: reset\ndata: {}\n\n",
        "id: forged",
        "id\n",
        "event: x\ndata: y\nretry: 1\n",
        "data: a\ndata: b",
        "retry: 0",
        ":comment",
        ": comment\n:",
        ":\n\n",
        "\u{feff}",
        "\u{feff}id: forged\n\u{feff}",
        "\0",
        "a\0b\n\0",
        "a\u{2028}id: forged\u{2029}b\u{85}c\u{b}d\u{c}e",
        "0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "\r\n5\r\nid: a\r\n",
        "h\u{e9}llo \u{20ac} \u{1f600}",
    ] {
        comes_back(text);
    }
}

#[test]
fn every_short_text_of_what_means_something_comes_back() {
    let parts = ["\r", "\n", ":", " ", "\0", "id: x", "data"];
    let mut texts = vec![String::new()];
    for _ in 0..5 {
        let longer = texts.iter().flat_map(|text| parts.map(|part| format!("{text}{part}")));
        texts = longer.collect();
        texts.iter().for_each(|text| comes_back(text));
    }
}

#[test]
fn lengths_are_right_around_the_edges_of_blocks() {
    for length in (0..=200).chain([255, 256, 4095, 4096]) {
        comes_back(&"x".repeat(length));
        for end in ["\r", "\n", "\r\n", "\n\r", "\r\r\n"] {
            comes_back(&format!("{}{end}", "x".repeat(length)));
            comes_back(&format!("{}{end}{}", "x".repeat(length), "y".repeat(length / 3)));
            comes_back(&end.repeat(length));
            comes_back(&format!("x{}", end.repeat(length)));
        }
    }
}

#[test]
fn a_text_of_line_ends_alone_grows_as_announced() {
    for length in [1, 1000, 100_000] {
        let extra = message(Kind::Text, "\n".repeat(length).as_bytes()).len()
            - sse::LINE_BYTES_MAX * length;
        assert!(extra <= sse::EVENT_EXTRA_BYTES_MAX);
    }
}

#[test]
fn the_longest_of_everything_is_within_its_bound() {
    let position = "x".repeat(elbow::position::POSITION_BYTES_MAX);
    for kind in [Kind::Text, Kind::Binary] {
        for payload in [&b""[..], b"\n", b"\n\n"] {
            let bytes = sse::event_bytes(kind, &position, payload);
            assert!(bytes <= sse::LINE_BYTES_MAX * payload.len() + sse::EVENT_EXTRA_BYTES_MAX);
        }
    }
    let notices = [
        sse::opening_bytes(&position),
        sse::reset_bytes(&position),
        sse::retry_bytes(u64::MAX),
        sse::retry_and_end_bytes(u64::MAX),
        sse::COMMENT.len(),
        sse::end_bytes(),
    ];
    assert!(notices.into_iter().all(|bytes| bytes <= sse::NOTICE_BYTES_MAX), "{notices:?}");
}

#[test]
fn a_whole_stream_is_heard_in_its_order() {
    let mut response = Vec::new();
    sse::opening("a.0", &mut response);
    assert_eq!(hear(&unchunked(&response).0.concat()).last_id, "a.0", "before the first message");
    assert_eq!(hear(&unchunked(&response).0.concat()).events, [], "nothing is told to the page");
    response.extend_from_slice(sse::COMMENT);
    sse::event(Kind::Text, "a.1", b"one\n", &mut response);
    response.extend_from_slice(sse::COMMENT);
    response.extend_from_slice(sse::COMMENT);
    sse::event(Kind::Binary, "a.2", b"\xff\0", &mut response);
    sse::retry(7, &mut response);
    sse::event(Kind::Binary, "a.3", b"", &mut response);
    sse::reset("b.7", &mut response);
    sse::event(Kind::Text, "b.8", b"", &mut response);
    response.extend_from_slice(sse::COMMENT);
    sse::retry_and_end(0, &mut response);
    let (chunks, is_over) = unchunked(&response);
    assert!(is_over);
    let event = |kind: &str, id: &str, data: &str| Event {
        kind: kind.to_owned(),
        data: data.to_owned(),
        id: id.to_owned(),
    };
    let events = vec![
        event("message", "a.1", "one\n"),
        event("binary", "a.2", "/wA="),
        event("binary", "a.3", ""),
        event("reset", "b.7", r#"{"position":"b.7"}"#),
        event("message", "b.8", ""),
    ];
    let expected = Heard { events, last_id: "b.8".to_owned(), retry_ms: Some(0) };
    assert_eq!(hear(&chunks.concat()), expected);
}

#[test]
fn a_stream_ends_without_a_word_too() {
    let mut response = Vec::new();
    sse::opening("a.0", &mut response);
    sse::end(&mut response);
    assert_eq!(unchunked(&response), (vec!["id: a.0\n\n"], true));
}

#[test]
fn times_have_as_many_digits_as_they_need() {
    for retry_ms in [0, 1, 9, 10, 99, 100, 15_000, u64::MAX] {
        let announced = sse::retry_and_end_bytes(retry_ms);
        let response = written(announced, |out| sse::retry_and_end(retry_ms, out));
        let (chunks, is_over) = unchunked(&response);
        assert!(is_over);
        let heard = hear(&chunks.concat());
        assert_eq!((heard.events, heard.retry_ms), (vec![], Some(retry_ms)));
    }
}

/// Texts in which line ends and the beginnings of fields are frequent.
fn any_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("\r".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        prop::sample::select(vec!["id: 1", "data: ", "event: e", "retry: 5", ":", " ", "\u{feff}"])
            .prop_map(str::to_owned),
        any::<String>(),
        "[a-z]{1,70}",
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn every_text_comes_back(text in any_text()) {
        comes_back(&text);
    }

    #[test]
    fn binary_comes_back(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let record = message(Kind::Binary, &payload);
        let (chunks, _) = unchunked(&record);
        let heard = hear(&chunks.concat());
        prop_assert_eq!(heard.events.len(), 1);
        prop_assert_eq!(&heard.events[0].kind, "binary");
        let data = data_encoding::BASE64.decode(heard.events[0].data.as_bytes());
        prop_assert_eq!(data, Ok(payload));
    }

    #[test]
    fn messages_do_not_run_into_each_other(texts in prop::collection::vec(any_text(), 0..5)) {
        let response: Vec<u8> =
            texts.iter().flat_map(|text| message(Kind::Text, text.as_bytes())).collect();
        let heard = hear(&unchunked(&response).0.concat());
        let data: Vec<String> = heard.events.into_iter().map(|event| event.data).collect();
        prop_assert_eq!(data, texts.iter().map(|text| normalised(text)).collect::<Vec<_>>());
    }
}
