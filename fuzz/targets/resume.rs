//! Where to go on: the query of a request, and the value of `Last-Event-ID`.
//!
//! Finds: a panic, a parameter that is read otherwise than by a reader that decodes everything
//! first.
#![no_main]

use elbow::position::is_position_text;
use elbow::wire::resume::{Malformed, NamedPosition, Resume};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match NamedPosition::from_header(bytes) {
        None => assert!(bytes.is_empty()),
        Some(since) if is_position_text(bytes) => assert_eq!(since.as_bytes(), bytes),
        Some(foreign) => assert_eq!(foreign.as_bytes(), b"-"),
    }
    let Ok(query) = str::from_utf8(bytes) else { return };
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect();
    let last_of =
        |wanted: &[u8]| pairs.iter().rfind(|(name, _)| name == wanted).map(|(_, value)| &value[..]);
    let (since, last, strict) = (last_of(b"since"), last_of(b"last"), last_of(b"strict"));
    let is_number = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    match Resume::parse(Some(query)) {
        Ok(resume) => {
            assert_eq!(resume.since.as_ref().map(NamedPosition::as_bytes), since);
            assert!(since.is_none_or(is_position_text));
            let number = last.map(|digits| {
                let text = str::from_utf8(digits).expect("digits are ASCII");
                text.parse().unwrap_or(u64::MAX)
            });
            assert!(last.is_none_or(is_number));
            assert_eq!(resume.last, number);
            let is_no = |value: &[u8]| matches!(value, b"0" | b"false" | b"no" | b"off");
            assert_eq!(resume.strict, strict.is_some_and(|value| !is_no(value)));
        }
        Err(Malformed::Since) => assert!(since.is_some_and(|text| !is_position_text(text))),
        Err(Malformed::Last) => assert!(last.is_some_and(|digits| !is_number(digits))),
        Err(Malformed::LastEventId) => panic!("a query is no field"),
    }
});

/// What a name or value of a query stands for.
fn decoded(encoded: &str) -> Vec<u8> {
    let (bytes, mut at, mut plain) = (encoded.as_bytes(), 0, Vec::new());
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        match (bytes[at], digits) {
            (b'%', Some(digits)) => {
                let digits = str::from_utf8(digits).expect("digits are ASCII");
                plain.push(u8::from_str_radix(digits, 16).expect("two digits"));
                at += 3;
            }
            (byte, _) => {
                plain.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    plain
}
