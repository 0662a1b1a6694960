//! HTTP/1.1 (RFC 9112 and RFC 9110): request heads, body framing, response heads.
//!
//! A request is read in three steps, each of which is given whatever bytes there are:
//!
//! ```text
//!   bytes ─► HeadScan ──► parse ──► Request ─► Body ─► pieces of the content
//!            where the    once, on a whole     where the content ends, and with it
//!            head ends    head, by httparse    where the next request begins
//! ```
//!
//! Requests are refused if two readers of their bytes could disagree about where the request ends:
//! doubled or odd lengths, unknown codings, bare line feeds, folded lines. Every [`HeadError`] and
//! [`BodyError`] therefore ends the connection: the bytes behind it have no known meaning.
//!
//! Leaves to others: which resource allows which method, what is answered, when; the opening of a
//! WebSocket, beyond the fields of which it is made.
//!
//! The surprise: httparse alone would be too lenient. It accepts bare line feeds, any number of
//! empty lines and `#` in a target, and it refuses `HTTP/1.2`, which is to be served as 1.1. So
//! the lines are found and the request line is read by us, and httparse gets the field lines.

mod body;
mod head;
mod response;
mod scan;
mod target;

pub use body::{Body, BodyError, Chunk, Framing, TRAILERS_MAX};
pub use body::{EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX};
pub use head::{HeadError, Method, Request, Version, parse};
pub use response::{CONTINUE, Connection, DATE_BYTES, ResponseHead};
pub use response::{date, etag_matches, reason};
pub use scan::{FIELDS_BYTES_MAX, FIELDS_MAX, HEAD_BYTES_MAX, HeadScan, TARGET_BYTES_MAX};
pub use target::percent_decode;

/// Whether `byte` may stand in a token, for instance in the name of a field (RFC 9110 §5.6.2).
const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+')
        || matches!(byte, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Whether a field's `value` is a list of tokens, at least one and none of them empty, with commas
/// and blanks between them (RFC 9110 §5.6.1 and §5.6.2). Then `value` is visible ASCII and blanks.
pub fn is_list_of_tokens(value: &[u8]) -> bool {
    let is_token = |member: &[u8]| !member.is_empty() && member.iter().all(|&b| is_token_byte(b));
    value.split(|byte| *byte == b',').map(trimmed).all(is_token)
}

/// `bytes` without the optional whitespace around them: spaces and tabs (RFC 9110 §5.6.3).
const fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tokens_has_nothing_else_in_it() {
        for list in ["a", "authorization, x-custom", "a,b", " a\t,\tb ", "!#$%&'*+-.^_`|~09azAZ"] {
            assert!(is_list_of_tokens(list.as_bytes()), "{list}");
        }
        for other in ["", " ", ",", "a,", ",a", "a,,b", "a b", "a;b", "\"a\"", "a\r\nb", "\u{e9}"] {
            assert!(!is_list_of_tokens(other.as_bytes()), "{other}");
        }
    }
}
