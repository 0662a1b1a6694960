//! Request heads (RFC 9112): where one ends, what it says, and the next one behind its body.
//!
//! The first byte says how the others are cut. Finds: a panic, an end that is found elsewhere when
//! the bytes come otherwise, requests that two readers of the same bytes take for different ones.
#![no_main]

use elbow::wire::Status;
use elbow::wire::engine::Query;
use elbow::wire::http::{
    FIELDS_MAX, HEAD_BYTES_MAX, HeadScan, Method, Request, TARGET_BYTES_MAX, Version, etag_matches,
    is_list_of_tokens, parse, percent_decode,
};
use elbow::wire::origin::{Origin, is_listed, is_own};
use elbow::wire::ws::{Offer, accept, check};
use elbow::work;
use elbow_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/http/reader.rs"]
mod reader;

fuzz_target!(|input: &[u8]| {
    let Some((&how, bytes)) = input.split_first() else { return };
    let whole = HeadScan::default().advance(bytes);
    work::take();
    let (mut scan, mut seen, mut verdict) = (HeadScan::default(), 0, Ok(Status::Partial));
    for piece in pieces(how, bytes) {
        seen += piece.len();
        verdict = scan.advance(&bytes[..seen]);
        if verdict != Ok(Status::Partial) {
            break;
        }
    }
    // A piece may end in the middle of a line end, which is looked at again.
    work::take().assert_linear(bytes.len() + pieces(how, bytes).count(), 3);
    assert_eq!(verdict, whole);
    assert!(bytes.len() < HEAD_BYTES_MAX || whole != Ok(Status::Partial), "it waits for ever");
    if let Ok(Status::Complete(length)) = whole {
        let mut storage = [httparse::EMPTY_HEADER; FIELDS_MAX];
        if let Ok(request) = parse(&bytes[..length], &mut storage) {
            look_at(&request);
        }
    }
    assert_eq!(reader::read(pieces(how, bytes)), reader::read([bytes]));
});

/// What the server asks a request.
fn look_at(request: &Request<'_, '_>) {
    let starts_well = request.path.starts_with('/');
    assert!(starts_well || (request.path == "*" && request.method == Method::Options));
    assert!(request.target.bytes().all(|byte| byte.is_ascii_graphic()));
    percent_decode(request.path, &mut [0; TARGET_BYTES_MAX]);
    request.query.map(Query::parse);
    etag_matches(request.fields("if-none-match"), "\"elbow\"");
    if let Some(asked) = request.field("access-control-request-headers")
        && is_list_of_tokens(asked)
    {
        // What is repeated in the answer can end no line of it.
        let is_harmless = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
        assert!(asked.iter().all(is_harmless));
    }
    if let (Some(origin), Some(authority)) = (request.field("origin"), request.authority) {
        is_own(origin, authority);
        is_listed(origin, &[Origin::Any]);
    }
    let offer = Offer {
        is_get: request.method == Method::Get,
        http11: request.version == Version::Http11,
        has_body: false,
        fields: |name: &'static str| request.fields(name),
    };
    if let Ok(Some(upgrade)) = check(&offer) {
        accept(upgrade.key);
        // What is repeated in the answer can end no line of it.
        let protocol = upgrade.protocol.unwrap_or("none");
        assert!(!protocol.is_empty() && protocol.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}
