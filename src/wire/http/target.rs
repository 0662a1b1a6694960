//! Request targets and authorities (RFC 9112 §3.2, RFC 9110 §7.2, RFC 3986 §3.2).
//!
//! Deals with: splitting a target into authority, path and query; the syntax of an authority
//! wherever it stands; the `%XX` of paths. Leaves to others: whether a path names something.
//!
//! The surprise: a path stays as it was sent, dots and escapes included. It is a key into a table
//! of what is served, never a path in a file system.

use super::{HeadError, Method};
use core::net::Ipv6Addr;

/// A request target, split into parts that are borrowed from the request line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Target<'b> {
    /// The authority, which only an absolute-form has.
    pub(super) authority: Option<&'b str>,
    /// The path; begins with `/`, or is `*`.
    pub(super) path: &'b str,
    /// The part that follows the first `?`.
    pub(super) query: Option<&'b str>,
}

/// The bytes of a target as text: visible ASCII other than `#`, since a fragment is never sent.
pub(super) fn text(bytes: &[u8]) -> Result<&str, HeadError> {
    let is_target_byte = |byte: u8| matches!(byte, b'!'..=b'~') & (byte != b'#');
    // No branch per byte, which makes it vector instructions.
    let is_target = bytes.iter().fold(true, |all, byte| all & is_target_byte(*byte));
    match str::from_utf8(bytes) {
        Ok(text) if !bytes.is_empty() && is_target => Ok(text),
        Ok(_) | Err(_) => Err(HeadError::Target),
    }
}

/// The schemes of absolute-forms that are served. `ws` and `wss` are no schemes of HTTP, but a
/// client that was given such a URL may send it as it is.
const SCHEMES: [&str; 4] = ["http://", "https://", "ws://", "wss://"];

/// Splits a target that is an origin-form, an absolute-form or the `*` of OPTIONS.
///
/// The authority-form belongs to CONNECT alone and is refused like anything else.
pub(super) fn split(target: &str, method: Method) -> Result<Target<'_>, HeadError> {
    if target == "*" && method == Method::Options {
        return Ok(Target { authority: None, path: target, query: None });
    }
    if target.starts_with('/') {
        return Ok(path_and_query(None, target));
    }
    let after_scheme = SCHEMES.iter().find_map(|scheme| after_prefix(target, scheme));
    let rest = after_scheme.ok_or(HeadError::Target)?;
    let (host, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = authority(host.as_bytes()).ok_or(HeadError::Target)?;
    Ok(path_and_query(Some(host), rest))
}

/// Splits at the first `?`; an empty path, which only an absolute-form can have, is `/`.
fn path_and_query<'b>(authority: Option<&'b str>, rest: &'b str) -> Target<'b> {
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    Target { authority, path: if path.is_empty() { "/" } else { path }, query }
}

/// The part of `text` behind `prefix`, if `text` begins with that in any case.
fn after_prefix<'b>(text: &'b str, prefix: &str) -> Option<&'b str> {
    let (begin, rest) = text.split_at_checked(prefix.len())?;
    begin.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// `bytes` as text, if they are a host with or without a port: the value of a Host field.
///
/// A host is an IPv6 address in brackets or a name (as which an IPv4 address counts). Percent
/// escapes, which no name in the DNS has, and user information are refused.
pub(super) fn authority(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    let port = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, port) = bracketed.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            port
        }
        None => {
            let colon = bytes.iter().position(|byte| *byte == b':');
            let (name, port) = text.split_at(colon.unwrap_or(text.len()));
            if name.is_empty() || !name.bytes().all(is_name_byte) {
                return None;
            }
            port
        }
    };
    is_port(port).then_some(text)
}

/// Whether `byte` may stand in a registered name (RFC 3986 §3.2.2), escapes left out.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'')
        || matches!(byte, b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// The most digits of a port above zero, as of 65535. Any number of zeros may stand in front of
/// them.
const PORT_DIGITS_MAX: usize = 5;

/// Whether `text` is nothing, or a colon and a port, which RFC 3986 §3.2.3 lets be empty.
fn is_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        None => text.is_empty(),
        Some("") => true,
        // The digits are checked by themselves, because parsing would take a `+`.
        Some(digits) => {
            let number = digits.trim_start_matches('0');
            let is_short = number.len() <= PORT_DIGITS_MAX;
            is_short
                && number.bytes().all(|digit| digit.is_ascii_digit())
                && (number.is_empty() || number.parse::<u16>().is_ok())
        }
    }
}

/// Decodes the `%XX` of `path` into `out` and returns what was written, to be looked up as a name.
///
/// `None` if an escape lacks its two hexadecimal digits, if the result has a NUL or is not UTF-8,
/// or if the result is longer than `out`. A decoded `/` or `..` is nothing special here.
pub fn percent_decode<'o>(path: &str, out: &'o mut [u8]) -> Option<&'o str> {
    let mut rest = path.as_bytes();
    let mut length = 0;
    while let [first, behind @ ..] = rest {
        let byte;
        (byte, rest) = match (*first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                (hexadecimal(*high)? << 4 | hexadecimal(*low)?, behind)
            }
            (b'%', _) => return None,
            (plain, behind) => (plain, behind),
        };
        if byte == 0 {
            return None;
        }
        *out.get_mut(length)? = byte;
        length += 1;
    }
    str::from_utf8(&out[..length]).ok()
}

/// The value of one hexadecimal digit.
pub(super) const fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_port() {
        for host in [
            "h",
            "a.example",
            "10.0.0.1",
            "h:80",
            "h:",
            "h:65535",
            "h:00080",
            "h:0000000",
            "[::1]",
            "[2001:db8::1]:3000",
        ] {
            assert_eq!(authority(host.as_bytes()), Some(host));
        }
    }

    #[test]
    fn what_is_no_host() {
        for host in [
            "",
            ":80",
            "h:65536",
            "h:0065536",
            "h:000000000x",
            "h:111111",
            "h:+8",
            "h:8a",
            "h:1:2",
            "a b",
            "u@h",
            "a/b",
            "a?b",
            "a%41",
            "é",
            "::1",
            "[::1",
            "[]",
            "[::1]x",
            "[::1]:x",
            "[10.0.0.1]",
            "[fe80::1%25eth0]",
            "h\"",
            "<h>",
        ] {
            assert_eq!(authority(host.as_bytes()), None, "{host}");
        }
        assert_eq!(authority(b"\xff"), None);
    }

    #[test]
    fn an_absolute_form_without_a_path_means_the_root() {
        let root = Target { authority: Some("h:1"), path: "/", query: None };
        assert_eq!(split("HTTP://h:1", Method::Get), Ok(root));
        assert_eq!(split("https://h:1?q", Method::Get), Ok(Target { query: Some("q"), ..root }));
        assert_eq!(split("ws://h:1", Method::Get), Ok(root));
        assert_eq!(split("WSS://h:1?q", Method::Get), Ok(Target { query: Some("q"), ..root }));
    }

    #[test]
    fn an_absolute_form_has_a_scheme_that_is_served_and_a_host() {
        let with_path = Target { authority: Some("h"), path: "/ws/a", query: Some("b") };
        for scheme in ["http", "https", "ws", "wss", "Ws", "wSS"] {
            assert_eq!(split(&format!("{scheme}://h/ws/a?b"), Method::Get), Ok(with_path));
        }
        for target in [
            "ws:/h",
            "ws:h",
            "ws:///ws",
            "ws://",
            "ws://u@h/",
            "ws://h:x/",
            "wsx://h/",
            "w://h/",
            "ftp://h/",
            "s://h/",
            "h:80",
            "*",
            "?",
            "",
        ] {
            assert_eq!(split(target, Method::Get), Err(HeadError::Target), "{target}");
        }
    }

    #[test]
    fn only_the_first_question_mark_splits() {
        let target = Target { authority: None, path: "/a", query: Some("b?c/d") };
        assert_eq!(split("/a?b?c/d", Method::Get), Ok(target));
    }

    #[test]
    fn escapes_are_decoded_into_the_buffer() {
        let mut out = [0; 8];
        assert_eq!(percent_decode("/a%20b", &mut out), Some("/a b"));
        assert_eq!(percent_decode("/%C3%a9", &mut out), Some("/é"));
        assert_eq!(percent_decode("/1234567", &mut out), Some("/1234567"));
        assert_eq!(percent_decode("", &mut out), Some(""));
    }

    #[test]
    fn what_cannot_be_a_name_is_not_decoded() {
        let mut out = [0; 8];
        for path in ["/%", "/%4", "/%4g", "/%+1", "/%00", "/%ff", "/12345678"] {
            assert_eq!(percent_decode(path, &mut out), None, "{path}");
        }
    }
}
