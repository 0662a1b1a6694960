//! Requests as bytes against what the HTTP codec makes of them.
//!
//! Goal: the vectors H01 to H52, and some of our own, get the verdict they should get, however
//! their bytes are cut; and no bytes at all can make the codec panic or disagree with itself.
//!
//! Method: `Reader` is the smallest thing that reads a connection: it scans, parses and decodes
//! request after request and renders each in one line. The tables say which lines are expected.
//! Every row is read whole, cut in two at every place, and byte by byte.
//!
//! Decided above the codec, and left to the tests of the server: which status a good request gets
//! (H37's 204 with Allow, 404, 405, 426), that H44's 100 is sent and when, that H52's body is
//! skipped by a resource that does not want it, and that H46's and H47's answers survive the input
//! that was not read.

use elbow::wire::http::{Body, Chunk, FIELDS_MAX, Framing, Method, parse};
use proptest::prelude::*;

use reader::read;

#[path = "http/reader.rs"]
mod reader;

/// A request as bytes, and the lines that are expected of it.
type Row<'r> = (&'r str, &'r [u8], &'r [&'r str]);

/// Checks a row: whole, in two pieces cut at every place, and byte by byte.
fn check(&(id, bytes, expected): &Row<'_>) {
    assert_eq!(read([bytes]), expected, "{id}");
    assert_eq!(read(bytes.chunks(1)), expected, "{id} byte by byte");
    // Of a long row every place would take seconds; a step that is prime to all in it will do.
    let step = if bytes.len() > 2000 { 97 } else { 1 };
    for cut in (0..=bytes.len()).step_by(step) {
        assert_eq!(read([&bytes[..cut], &bytes[cut..]]), expected, "{id} cut at {cut}");
    }
}

#[expect(clippy::disallowed_macros, reason = "the count belongs to the output of the test")]
fn check_all(name: &str, rows: &[Row<'_>]) {
    rows.iter().for_each(check);
    println!("{name}: {} rows", rows.len());
}

/// The vectors that fit a line; the others are in [`the_vectors_that_are_long`].
const VECTORS: &[Row<'_>] = &[
    ("H01", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &["GET / h 1.1 stay none"]),
    ("H02", b"GET / HTTP/1.1\r\n\r\n", &["400"]),
    ("H03", b"GET / HTTP/1.0\r\n\r\n", &["GET / - 1.0 close none"]),
    ("H04", b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", &["400"]),
    ("H05", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", &["400"]),
    ("H06", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", &["400"]),
    ("H07", b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", &["400"]),
    ("H08", b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n 2\r\n\r\n", &["400"]),
    ("H09", b"GET / HTTP/1.1\r\n X: 1\r\nHost: h\r\n\r\n", &["400"]),
    ("H10", b"GET / HTTP/1.1\nHost: h\n\n", &["400"]),
    ("H11", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", &["400"]),
    ("H12", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", &["400"]),
    (
        "H13",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
          3\r\nabc\r\n0\r\n\r\n",
        &["400"],
    ),
    (
        "H14",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        &["400"],
    ),
    (
        "H15",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        &["400"],
    ),
    ("H16", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc", &["400"]),
    ("H17", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", &["400"]),
    ("H18", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\nabc", &["400"]),
    ("H19", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc", &["400"]),
    (
        "H20",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551619\r\n\r\nabc",
        &["400"],
    ),
    ("H21", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\nabc", &["501"]),
    ("H22", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\nabc", &["501"]),
    (
        "H23",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        &["400"],
    ),
    (
        "H24",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\
          Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &["400"],
    ),
    ("H25", b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &["400"]),
    (
        "H26",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
          3;x=y\r\nabc\r\n0\r\nX-T: v\r\n\r\n",
        &["POST / h 1.1 stay chunked abc"],
    ),
    (
        "H27",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        &["POST / h 1.1 stay chunked", "400"],
    ),
    (
        "H28",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        &["POST / h 1.1 stay chunked", "400"],
    ),
    (
        "H29",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
        &["POST / h 1.1 stay chunked abc", "400"],
    ),
    (
        "H30",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
          10000000000000003\r\nabc\r\n0\r\n\r\n",
        &["POST / h 1.1 stay chunked", "400"],
    ),
    ("H31", b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n", &["501"]),
    ("H32", b"get / HTTP/1.1\r\nHost: h\r\n\r\n", &["501"]),
    ("H33", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &["505"]),
    ("H34", b"GET / HTTP/1.2\r\nHost: h\r\n\r\n", &["GET / h 1.1 stay none"]),
    ("H35", b"GET /\r\nHost: h\r\n\r\n", &["400"]),
    ("H36", b"GET http://x/y HTTP/1.1\r\nHost: h\r\n\r\n", &["GET /y x 1.1 stay none"]),
    ("H37", b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", &["OPTIONS * h 1.1 stay none"]),
    ("H38", b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", &["501"]),
    ("H39", b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("H40", b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", &["GET / h 1.1 stay none"]),
    (
        "H41",
        b"GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n",
        &["GET /a h 1.1 stay none", "GET /b h 1.1 stay none"],
    ),
    ("H42", b"GET / HTTP/1.0\r\nHost: h\r\n\r\n", &["GET / h 1.0 close none"]),
    ("H43", b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &["GET / h 1.1 close none"]),
    (
        "H44",
        b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        &["POST / h 1.1 stay 3 100 abc"],
    ),
    ("H49", b"GET / HTTP/1.1\r\nHost: h\r\ngarbage\r\n\r\n", &["400"]),
    ("H50", b"GET / HTTP/1.1\r\nHost: h\r\n: v\r\n\r\n", &["400"]),
    ("H51", b"GET /\x80 HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    (
        "H52",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\
          GET /b HTTP/1.1\r\nHost: h\r\n\r\n",
        &["GET / h 1.1 stay 3 abc", "GET /b h 1.1 stay none"],
    ),
];

#[test]
fn the_vectors_that_fit_a_line() {
    check_all("H01 to H52 but the long ones", VECTORS);
}

#[test]
fn the_vectors_that_are_long() {
    let request = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes()
    };
    let (nine_thousand, forty_thousand) = ("a".repeat(9_000), "a".repeat(40_000));
    check_all(
        "H45 to H48",
        &[
            ("H45", &request("/", &format!("X: {nine_thousand}\r\n")), &["GET / h 1.1 stay none"]),
            ("H46", &request("/", &format!("X: {forty_thousand}\r\n")), &["431"]),
            ("H47", &request(&format!("/{}", "a".repeat(20_000)), ""), &["414"]),
            ("H48", &request("/", &"X: a\r\n".repeat(200)), &["431"]),
            ("99 fields more", &request("/", &"X: a\r\n".repeat(99)), &["GET / h 1.1 stay none"]),
            ("100 fields more", &request("/", &"X: a\r\n".repeat(100)), &["431"]),
        ],
    );
}

/// Rows without a number: what was added to the vectors.
const MORE: &[Row<'_>] = &[
    // The request line.
    ("fragment", b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("tab for a space", b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("tab in the target", b"GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("DEL in the target", b"GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("space in the target", b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("space behind the version", b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", &["400"]),
    ("space before the method", b" GET / HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("method is no token", b"G@T / HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("lower-case version", b"GET / http/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("two digits", b"GET / HTTP/1.10\r\nHost: h\r\n\r\n", &["400"]),
    ("version 3", b"GET / HTTP/3.0\r\nHost: h\r\n\r\n", &["505"]),
    ("version 0.9", b"GET / HTTP/0.9\r\nHost: h\r\n\r\n", &["505"]),
    ("two empty lines", b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("query", b"GET /a?b=/?c HTTP/1.1\r\nHost: h\r\n\r\n", &["GET /a?b=/?c h 1.1 stay none"]),
    (
        "a second PROXY header",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\nGET / HTTP/1.1\r\n\r\n",
        &["400"],
    ),
    ("a second PROXY header, v2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &["400"]),
    ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", &["400"]),
    // Forms of the target.
    ("star of GET", b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("authority-form", b"GET h:1 HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("relative path", b"GET a HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("other scheme", b"GET ftp://x/y HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    (
        "absolute without path",
        b"GET HTTPS://x:8 HTTP/1.1\r\nHost: h\r\n\r\n",
        &["GET / x:8 1.1 stay none"],
    ),
    ("absolute with user", b"GET http://u@x/ HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("absolute without host", b"GET http:///y HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    ("absolute, bad Host", b"GET http://x/ HTTP/1.1\r\nHost: a b\r\n\r\n", &["400"]),
    ("absolute, no Host", b"GET http://x/ HTTP/1.1\r\n\r\n", &["400"]),
    ("absolute, 1.0", b"GET http://x/y HTTP/1.0\r\n\r\n", &["GET /y x 1.0 close none"]),
    // Host and other fields.
    ("port", b"GET / HTTP/1.1\r\nHost:a.b:3000\r\n\r\n", &["GET / a.b:3000 1.1 stay none"]),
    ("IPv6", b"GET / HTTP/1.1\r\nhOST: [::1]:1\t \r\n\r\n", &["GET / [::1]:1 1.1 stay none"]),
    ("bad Host, 1.0", b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", &["400"]),
    ("two Hosts, 1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", &["400"]),
    (
        "obs-text",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: \xe4\xff\tx\r\n\r\n",
        &["GET / h 1.1 stay none"],
    ),
    ("DEL in a value", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x7fb\r\n\r\n", &["400"]),
    ("escape in a value", b"GET / HTTP/1.1\r\nHost: h\r\nX: \x1b[2J\r\n\r\n", &["400"]),
    ("name with a tab", b"GET / HTTP/1.1\r\nHost: h\r\nX\t: a\r\n\r\n", &["400"]),
    ("name not ASCII", b"GET / HTTP/1.1\r\nHost: h\r\nX\xe4: a\r\n\r\n", &["400"]),
    ("fold by a tab", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n", &["400"]),
    ("last line ends in LF", b"GET / HTTP/1.1\r\nHost: h\r\n\n", &["400"]),
    ("two CRs", b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", &["400"]),
    // Framing.
    ("empty length", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\n", &["400"]),
    (
        "leading zeros",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 003\r\n\r\nabc",
        &["POST / h 1.1 stay 3 abc"],
    ),
    (
        "length 0",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        &["POST / h 1.1 stay 0"],
    ),
    (
        "length 2^63 - 1",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775807\r\n\r\nabc",
        &["POST / h 1.1 stay 9223372036854775807 abc", "…"],
    ),
    (
        "length 2^63",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9223372036854775808\r\n\r\n",
        &["400"],
    ),
    (
        "chunked in any case",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: , CHUNKED\t,\r\n\r\n1\r\na\r\n0\r\n\r\n",
        &["POST / h 1.1 stay chunked a"],
    ),
    ("no coding", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \r\n\r\n", &["400"]),
    (
        "gzip, chunked",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        &["501"],
    ),
    (
        "parameter",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
        &["501"],
    ),
    (
        "vertical tab",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        &["400"],
    ),
    (
        "length before coding, 1.0",
        b"POST / HTTP/1.0\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        &["400"],
    ),
    (
        "half a body",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabc",
        &["POST / h 1.1 stay 4 abc", "…"],
    ),
    ("half a head", b"GET / HTTP/1.1\r\nHost: h\r\n\r", &["…"]),
    // Connection and Expect.
    (
        "keep-alive, 1.0",
        b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        &["GET / - 1.0 stay none"],
    ),
    (
        "close wins",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: x,\tClose\r\n\r\n",
        &["GET / - 1.0 close none"],
    ),
    (
        "nothing behind a close",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n",
        &["GET / h 1.1 close none"],
    ),
    (
        "a body before the close",
        b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabcGET",
        &["POST / h 1.1 close 3 abc"],
    ),
    ("expectation", b"GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue, x\r\n\r\n", &["417"]),
    (
        "no 100 for 1.0",
        b"POST / HTTP/1.0\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\na",
        &["POST / - 1.0 close 1 a"],
    ),
    (
        "no 100 without a body",
        b"GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
        &["GET / h 1.1 stay none"],
    ),
];

#[test]
fn what_was_added_to_the_vectors() {
    check_all("rows of our own", MORE);
}

#[test]
fn fields_are_looked_up_by_name() {
    let head =
        b"GET /a%20b?c HTTP/1.1\r\nHost: h\r\nX: 1, 2\r\nY: \t z \t\r\nx:,\t3 ,\r\nZ:\r\n\r\n";
    let mut storage = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let request = parse(head, &mut storage).expect("the head is good");
    assert_eq!(request.method, Method::Get);
    assert_eq!((request.target, request.path, request.query), ("/a%20b?c", "/a%20b", Some("c")));
    assert_eq!(request.field("y"), Some(b"z".as_slice()));
    assert_eq!(request.field("Z"), Some(b"".as_slice()));
    assert_eq!(request.field("X"), None);
    assert_eq!(request.field("W"), None);
    assert_eq!(request.fields("X").collect::<Vec<_>>(), [b"1, 2".as_slice(), b",\t3 ,"]);
    assert_eq!(request.tokens("X").collect::<Vec<_>>(), [b"1", b"2", b"3"]);
    assert!(request.has_token("y", "Z") && !request.has_token("x", "1, 2"));
}

/// Bytes that get far into the codec: pieces of requests in any order, and some noise.
fn requestish() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            b"GET / HTTP/1.1\r\n".as_slice(),
            b"POST /a?b HTTP/1.1\r\nHost: h\r\n",
            b"GET http://x HTTP/1.0\r\n",
            b"Host: [::1]:80\r\n",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: keep-alive, close\r\n",
            b"Expect: 100-continue\r\n",
            b"\r\n",
            b"\r",
            b"\n",
            b" ",
            b"\t:",
            b"\r\n5\r\nhello\r\n0\r\n\r\n",
            b"0;x\r\nT: v\r\n\r\n",
        ])
        .prop_map(<[u8]>::to_vec),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// `bytes` in pieces whose lengths are taken from `lengths`, again and again.
fn pieces<'b>(mut bytes: &'b [u8], lengths: &[usize]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(*length));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// A failing case is printed whole; a file of seeds would say less.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_are_read_the_same_however_they_are_cut(
        bytes in prop_oneof![requestish(), proptest::collection::vec(any::<u8>(), 0..200)],
        lengths in proptest::collection::vec(1..40_usize, 1..8),
    ) {
        prop_assert_eq!(read(pieces(&bytes, &lengths)), read([bytes.as_slice()]));
    }

    #[test]
    fn bytes_that_were_not_scanned_do_not_panic(head in requestish()) {
        let mut storage = [httparse::EMPTY_HEADER; FIELDS_MAX];
        if let Ok(request) = parse(&head, &mut storage) {
            prop_assert!(request.path.starts_with('/') || request.path == "*");
        }
    }

    #[test]
    fn a_chunked_body_comes_back(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
        extension in "(;[a-z]{1,5}(=\"[ -!#-~]{0,5}\")?){0,2}",
        trailers in proptest::collection::vec("[A-Za-z-]{1,8}:[ -~]{0,10}\r\n", 0..4),
        lengths in proptest::collection::vec(1..40_usize, 1..8),
    ) {
        let mut encoded = Vec::new();
        for chunk in &chunks {
            encoded.extend(format!("{:x}{extension}\r\n", chunk.len()).bytes());
            encoded.extend(chunk);
            encoded.extend(b"\r\n");
        }
        encoded.extend(format!("0{extension}\r\n{}\r\n", trailers.concat()).bytes());

        let (mut body, mut content) = (Body::new(Framing::Chunked), Vec::<u8>::new());
        for piece in pieces(&encoded, &lengths) {
            let mut position = 0;
            loop {
                prop_assert!(!body.is_over(), "it ended before its last byte");
                let (consumed, chunk) = body.decode(&piece[position..]).expect("it is well-formed");
                position += consumed;
                match chunk {
                    Chunk::Data(data) => content.extend(data),
                    Chunk::Partial | Chunk::End => break,
                }
            }
            prop_assert_eq!(position, piece.len());
        }
        prop_assert!(body.is_over());
        prop_assert_eq!(content, chunks.concat());
    }
}
