//! Response heads (RFC 9112 §4, RFC 9110 §6.6.1 and §15) and what they are decided by: the `Date`
//! field and the comparison of entity tags (RFC 9110 §8.8.3 and §13.1.2).
//!
//! Deals with: how a head is written. Leaves to others: which status and which fields it has.
//!
//! The surprise: a status that has no body gets no Content-Length, even if one is given, since a
//! client that believed it would wait for bytes that never come.

use super::trimmed;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

/// The whole interim answer to `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Bytes of a date as [`date`] writes it.
pub const DATE_BYTES: usize = 29;

/// What the head of a response says. All of it comes from us, so nothing is escaped.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status code, of three digits.
    pub status: u16,
    /// The value of `Date`, as [`date`] writes it.
    pub date: &'a [u8; DATE_BYTES],
    /// What is said about how the connection goes on.
    pub connection: Connection,
    /// The media type of the body, if there is one.
    pub content_type: Option<&'a str>,
    /// Bytes of the body; if this answers a HEAD, of the body that a GET would get. Left out where
    /// the status has no body: 1xx, 204 and 304.
    pub content_length: Option<u64>,
    /// Names and values of further fields, in their order.
    pub fields: &'a [(&'static str, &'a str)],
}

/// What a response says about its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connection {
    /// The connection is closed after this response.
    Close,
    /// The connection goes on, and the client speaks HTTP/1.0 and has to be told.
    KeepAlive,
    /// Nothing is said: the connection goes on, as HTTP/1.1 takes for granted, or `fields` has a
    /// `Connection` of its own.
    Unsaid,
}

impl ResponseHead<'_> {
    /// Appends the head, with the empty line that ends it, to `out`.
    ///
    /// # Panics
    ///
    /// If a value has a line end in it: otherwise whoever brought it here could write responses in
    /// our name.
    pub fn write(&self, out: &mut Vec<u8>) {
        let ResponseHead { status, date, connection, content_type, content_length, fields } = *self;
        debug_assert!((100..1000).contains(&status));
        let digits = [100, 10, 1].map(|place| b'0' + (status / place % 10) as u8);
        for part in [
            b"HTTP/1.1 ".as_slice(),
            &digits,
            b" ",
            reason(status).as_bytes(),
            b"\r\nDate: ",
            date,
            b"\r\n",
        ] {
            out.extend_from_slice(part);
        }
        match connection {
            Connection::Close => write_field(out, "Connection", "close"),
            Connection::KeepAlive => write_field(out, "Connection", "keep-alive"),
            Connection::Unsaid => {}
        }
        if let Some(content_type) = content_type {
            write_field(out, "Content-Type", content_type);
        }
        if let Some(length) = content_length
            && has_body(status)
        {
            write!(out, "Content-Length: {length}\r\n").expect("a Vec takes every byte");
        }
        for (name, value) in fields {
            write_field(out, name, value);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends one field line. The name stands in our source; the value may have come from anywhere.
fn write_field(out: &mut Vec<u8>, name: &'static str, value: &str) {
    // All bytes are looked at, without a branch per byte, which makes it vector instructions.
    let ends = value.bytes().fold(false, |any, byte| any | matches!(byte, b'\r' | b'\n'));
    assert!(!ends, "a field of a response has no line end in it");
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Whether responses with `status` have a body, be it an empty one (RFC 9112 §6.3).
const fn has_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

/// The reason phrase of a status that is used here; empty for any other, which is valid as well.
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// `unix_s`, in seconds since 1970, as IMF-fixdate: `Sun, 22 Nov 2026 10:23:36 GMT`.
///
/// The last second of the year 9999 stands for all that follow. Nothing is allocated; still, the
/// result should be kept for as long as the second lasts, not made anew for each response.
pub fn date(unix_s: u64) -> [u8; DATE_BYTES] {
    /// The second 9999-12-31 23:59:59, beyond which httpdate panics.
    const LAST_S: u64 = 253_402_300_799;
    let time = UNIX_EPOCH + Duration::from_secs(unix_s.min(LAST_S));
    let mut date = [0; DATE_BYTES];
    write!(date.as_mut_slice(), "{}", httpdate::HttpDate::from(time))
        .expect("an IMF-fixdate has 29 bytes");
    date
}

/// Whether one of the If-None-Match values names `etag`, which has its quotes. The comparison is
/// weak: `W/` makes no difference. `*` matches. A value is read until it is malformed.
pub fn etag_matches<'b>(if_none_match: impl IntoIterator<Item = &'b [u8]>, etag: &str) -> bool {
    let opaque = without_weakness(etag.as_bytes());
    if_none_match.into_iter().any(|value| {
        let value = trimmed(value);
        value == b"*" || EntityTags { rest: value }.any(|tag| tag == opaque)
    })
}

/// An entity tag without the `W/` of a weak one, whose case counts.
fn without_weakness(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Iterator over the entity tags of a list, with their quotes and without their weakness. Commas
/// may stand in a tag, so the list cannot just be split. It ends early where the list is malformed.
struct EntityTags<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for EntityTags<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        while let [b',' | b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
        let tag = without_weakness(self.rest);
        self.rest = &[];
        let [b'"', opaque @ ..] = tag else {
            return None;
        };
        let length = opaque.iter().position(|byte| *byte == b'"')? + 2;
        let (tag, behind) = tag.split_at(length);
        let behind = trimmed(behind);
        if !matches!(behind, [] | [b',', ..]) {
            return None;
        }
        self.rest = behind;
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(head: ResponseHead<'_>) -> String {
        let mut out = Vec::new();
        head.write(&mut out);
        String::from_utf8(out).expect("all of it was text")
    }

    const OK: ResponseHead<'_> = ResponseHead {
        status: 200,
        date: b"Sun, 22 Nov 2026 10:23:36 GMT",
        connection: Connection::Close,
        content_type: Some("text/plain"),
        content_length: Some(3),
        fields: &[("Vary", "Accept-Encoding"), ("ETag", "\"a\"")],
    };

    #[test]
    fn a_head_has_its_fields_in_a_fixed_order() {
        assert_eq!(
            written(OK),
            "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 10:23:36 GMT\r\nConnection: close\r\n\
             Content-Type: text/plain\r\nContent-Length: 3\r\nVary: Accept-Encoding\r\n\
             ETag: \"a\"\r\n\r\n"
        );
    }

    #[test]
    fn a_connection_that_goes_on_is_mentioned_to_old_clients_only() {
        let bare = ResponseHead { content_type: None, content_length: None, fields: &[], ..OK };
        let begin = "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 10:23:36 GMT\r\n";
        let old = written(ResponseHead { connection: Connection::KeepAlive, ..bare });
        assert_eq!(old, format!("{begin}Connection: keep-alive\r\n\r\n"));
        let new = written(ResponseHead { connection: Connection::Unsaid, ..bare });
        assert_eq!(new, format!("{begin}\r\n"));
    }

    #[test]
    fn no_length_where_there_is_no_body() {
        let has_length = |status, length| {
            let head = ResponseHead { status, content_length: Some(length), ..OK };
            written(head).contains("Content-Length: ")
        };
        for status in [101, 204, 304] {
            assert!(!has_length(status, 0), "{status}");
        }
        for status in [200, 400, 426, 503] {
            assert!(has_length(status, 0), "{status}");
        }
    }

    #[test]
    #[should_panic(expected = "no line end")]
    fn a_line_end_in_a_field_is_our_fault() {
        written(ResponseHead { fields: &[("X", "a\r\nSet-Cookie: b")], ..OK });
    }

    #[test]
    fn dates() {
        assert_eq!(&date(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&date(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&date(1_795_343_016), b"Sun, 22 Nov 2026 10:23:36 GMT");
        assert_eq!(&date(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn entity_tags_match_weakly_and_in_lists() {
        let matches = |value: &str| etag_matches([value.as_bytes()], "\"a,b\"");
        for value in
            ["\"a,b\"", "W/\"a,b\"", "\"x\", \"a,b\"", "\"x\" ,\t,W/\"a,b\" , \"y\"", " * "]
        {
            assert!(matches(value), "{value}");
        }
        for value in ["", "\"a\"", "\"A,B\"", "w/\"a,b\"", "a,b", "\"x\", *", "W/", "\""] {
            assert!(!matches(value), "{value}");
        }
        assert!(etag_matches([b"\"x\"".as_slice(), b"\"a\""], "W/\"a\""));
        assert!(!etag_matches([], "\"a\""));
    }

    #[test]
    fn a_malformed_list_of_tags_is_read_no_further() {
        for value in ["\"x\"\"a\"", "\"x\" y, \"a\"", "x, \"a\"", "\"a\"x", "\"a"] {
            assert!(!etag_matches([value.as_bytes()], "\"a\""), "{value}");
        }
        assert!(etag_matches([b"\"a\", \xff".as_slice()], "\"a\""));
    }
}
