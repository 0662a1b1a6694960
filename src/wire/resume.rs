//! Where a reader wants to go on: what a request for a WebSocket or for an event stream says in its
//! query, and what a browser says in `Last-Event-ID` (WHATWG HTML, section 9.2).
//!
//! ```text
//!   ?since=k3f9.16        everything after that position
//!   ?last=50              the newest 50, before anything new
//!   ?since=…&strict       a refusal instead of a stream with a gap
//! ```
//!
//! Deals with: the form of what is asked for. Leaves to others: whether such a position was ever
//! given out and what is still kept behind it, so also what is answered.
//!
//! The surprise: a position is not read here. Any word of its alphabet is well-formed, since what
//! another instance or an earlier life of a channel gave out is to be answered with "not any more"
//! and not with "malformed".

use core::fmt;

use super::query::{decoded, decoded_into, means, name_and_value, pairs};
use crate::position::{POSITION_BYTES_MAX, is_position_text};

/// What a request says of where to go on. Of a parameter that comes more than once the last counts,
/// and only that one is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resume {
    /// The position after which the reader wants everything, by `since`.
    pub since: Option<NamedPosition>,
    /// How many of the newest messages the reader wants, by `last`; a number beyond 64 bits is
    /// [`u64::MAX`].
    pub last: Option<u64>,
    /// Whether the reader wants a refusal if `since` cannot be honoured, by `strict`. The name
    /// alone is a yes, and so is any value but `0`, `false`, `no` and `off`.
    pub strict: bool,
}

impl Resume {
    /// Reads the part of a target that follows the `?`, if there is one. Names and values may be
    /// percent-encoded; parameters of other names are not looked at. One pass, no allocation.
    ///
    /// # Errors
    ///
    /// [`Malformed::Since`] if `since` is not 1 to 64 characters of `A-Z a-z 0-9 . -`, and
    /// [`Malformed::Last`] if `last` is not one or more decimal digits.
    pub fn parse(query: Option<&str>) -> Result<Resume, Malformed> {
        let (mut since, mut last, mut strict) = (None, None, None);
        for pair in pairs(query) {
            // A query may be a thousand pairs of nothing, so a pair that cannot have a known name
            // is passed over by its first byte.
            let Some(b's' | b'l' | b'%') = pair.first() else { continue };
            let (name, value) = name_and_value(pair);
            let mut decoded_name = [0; NAME_BYTES_MAX];
            match decoded_into(name, &mut decoded_name) {
                Some(b"since") => since = Some(value),
                Some(b"last") => last = Some(value),
                Some(b"strict") => strict = Some(value),
                Some(_) | None => {}
            }
        }
        Ok(Resume {
            since: since.map(|value| named(value).ok_or(Malformed::Since)).transpose()?,
            last: last.map(|value| number(value).ok_or(Malformed::Last)).transpose()?,
            strict: strict.is_some_and(|value| !NO.iter().any(|word| means(value, word))),
        })
    }
}

/// Bytes of the longest name that is looked for: `strict`.
const NAME_BYTES_MAX: usize = 6;

/// The values with which a parameter says that it does not want what its name says.
const NO: [&str; 4] = ["0", "false", "no", "off"];

/// The position that an encoded value names, if it has the form of one.
fn named(value: &[u8]) -> Option<NamedPosition> {
    decoded_into(value, &mut [0; POSITION_BYTES_MAX]).and_then(NamedPosition::parse)
}

/// Reads one or more decimal digits, percent-encoded or not; zeros in front of others are let pass.
fn number(value: &[u8]) -> Option<u64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let longer = |number: u64, byte| Some(number.saturating_mul(10).saturating_add(digit(byte)?));
    let mut bytes = decoded(value);
    let first = digit(bytes.next()?)?;
    bytes.try_fold(first, longer)
}

/// What a client names as the position after which it wants everything: 1 to 64 characters of
/// `A-Z a-z 0-9 . -`, which need not be a position of this server.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NamedPosition {
    /// The characters; what is behind them is zero.
    bytes: [u8; POSITION_BYTES_MAX],
    /// How many there are: 1 to 64.
    length: u8,
}

impl NamedPosition {
    /// The position that `text` names, if it has the form of one.
    pub fn parse(text: &[u8]) -> Option<NamedPosition> {
        let length = u8::try_from(text.len()).ok().filter(|_| is_position_text(text))?;
        let mut bytes = [0; POSITION_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Some(NamedPosition { bytes, length })
    }

    /// Reads the value of a `Last-Event-ID` field, without the white space around it. `None` if it
    /// is empty, which is as if the field were missing: a browser whose last event had an empty id
    /// sends none, and other clients send the empty one.
    ///
    /// A value that is neither empty nor 1 to 64 characters of `A-Z a-z 0-9 . -` is an id that
    /// another server has given out, and means a position that no channel has. A browser sends it
    /// when the server behind a URL was replaced, and would not come back from an error.
    pub fn from_header(value: &[u8]) -> Option<NamedPosition> {
        let foreign = || NamedPosition::parse(b"-").expect("one of the characters");
        (!value.is_empty()).then(|| NamedPosition::parse(value).unwrap_or_else(foreign))
    }

    /// The characters.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Debug for NamedPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamedPosition({})", self.as_bytes().escape_ascii())
    }
}

/// What in a request is no word on where to go on. The request is to be answered with 400.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// The parameter `since` has not the form of a position.
    Since,
    /// The parameter `last` is not a number.
    Last,
    /// There are several fields `Last-Event-ID`.
    LastEventId,
}

impl fmt::Display for Malformed {
    /// A sentence without a full stop, fit for the body of the answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Since => "since is not 1 to 64 characters of A-Z a-z 0-9 . -",
            Malformed::Last => "last is not a decimal number",
            Malformed::LastEventId => "Last-Event-ID is given more than once",
        })
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;

    fn since(text: &str) -> Option<NamedPosition> {
        Some(NamedPosition::parse(text.as_bytes()).expect("the form of a position"))
    }

    fn resume(
        since: Option<NamedPosition>,
        last: Option<u64>,
        strict: bool,
    ) -> Result<Resume, Malformed> {
        Ok(Resume { since, last, strict })
    }

    #[test]
    fn a_request_may_say_nothing() {
        assert_eq!(Resume::parse(None), Ok(Resume::default()));
        let others = ["", "&", "&&=&", "token=a.b.c", "EIO=4&transport=websocket&sid=x", "Since=é"];
        let alike = ["sinc=1", "sincex=", "s=", "lastx=y", "las", "strictly", "%", "%3", "LAST=x"];
        for query in others.into_iter().chain(alike) {
            assert_eq!(Resume::parse(Some(query)), Ok(Resume::default()), "{query}");
        }
    }

    #[test]
    fn what_is_said_is_read_wherever_it_stands() {
        let longest = "x".repeat(64);
        for (query, expected) in [
            ("since=k3f9.16", resume(since("k3f9.16"), None, false)),
            ("last=50", resume(None, Some(50), false)),
            ("strict", resume(None, None, true)),
            ("last=3&since=a.1&strict=1", resume(since("a.1"), Some(3), true)),
            ("&token=since=&since=a.1&&x=last=9", resume(since("a.1"), None, false)),
            ("since=AZaz09.-", resume(since("AZaz09.-"), None, false)),
            (&format!("since={longest}"), resume(since(&longest), None, false)),
            ("%73ince=a%2E1", resume(since("a.1"), None, false)),
            ("%6c%61st=%31%30&%73trict", resume(None, Some(10), true)),
        ] {
            assert_eq!(Resume::parse(Some(query)), expected, "{query}");
        }
    }

    #[test]
    fn a_number_of_messages_is_digits() {
        for (text, number) in [
            ("0", 0),
            ("007", 7),
            ("18446744073709551615", u64::MAX),
            ("18446744073709551616", u64::MAX),
            (&"9".repeat(8000), u64::MAX),
            (&"0".repeat(8000), 0),
        ] {
            let query = format!("last={text}");
            assert_eq!(Resume::parse(Some(&query)), resume(None, Some(number), false));
        }
        for text in ["", "x", "1x", "-1", "+1", "%2B1", "1.0", "1e3", "0x1", " 1", "1+", "%", "%3"]
        {
            let query = format!("last={text}");
            assert_eq!(Resume::parse(Some(&query)), Err(Malformed::Last), "{query}");
        }
        assert_eq!(Resume::parse(Some("last")), Err(Malformed::Last));
    }

    #[test]
    fn what_has_not_the_form_of_a_position_is_malformed() {
        let too_long = "x".repeat(65);
        for text in
            ["", "a b", "a+b", "a_1", "a/1", "a:1", "%", "a%", "a%2", "a%00", "é", &too_long]
        {
            let query = format!("since={text}");
            assert_eq!(Resume::parse(Some(&query)), Err(Malformed::Since), "{query}");
        }
        assert_eq!(Resume::parse(Some("since")), Err(Malformed::Since));
        assert_eq!(Resume::parse(Some("last=1&since=&strict")), Err(Malformed::Since));
    }

    #[test]
    fn of_two_parameters_the_last_counts() {
        for (query, expected) in [
            ("since=a.1&since=b.2", resume(since("b.2"), None, false)),
            ("since=a.1&%73ince=b.2", resume(since("b.2"), None, false)),
            ("since=&since=b.2", resume(since("b.2"), None, false)),
            ("since=b.2&since=", Err(Malformed::Since)),
            ("last=x&last=1", resume(None, Some(1), false)),
            ("last=1&last=x", Err(Malformed::Last)),
            ("strict&strict=0", resume(None, None, false)),
            ("strict=0&strict", resume(None, None, true)),
        ] {
            assert_eq!(Resume::parse(Some(query)), expected, "{query}");
        }
    }

    #[test]
    fn strict_is_meant_unless_its_value_says_no() {
        for query in ["strict", "strict=", "strict=1", "strict=true", "strict=yes", "strict=00"] {
            assert_eq!(Resume::parse(Some(query)), resume(None, None, true), "{query}");
        }
        for query in ["strict=0", "strict=false", "strict=no", "strict=off", "strict=%30"] {
            assert_eq!(Resume::parse(Some(query)), resume(None, None, false), "{query}");
        }
    }

    #[test]
    fn an_empty_event_id_is_none_and_a_foreign_one_no_position() {
        assert_eq!(NamedPosition::from_header(b""), None);
        assert_eq!(NamedPosition::from_header(b"k3f9.16"), since("k3f9.16"));
        let foreign = since("-");
        for value in [" ", "a b", "a%2E1", "12_3", "a,b", "\u{e9}", "a\0", &"x".repeat(65)] {
            assert_eq!(NamedPosition::from_header(value.as_bytes()), foreign, "{value:?}");
        }
        assert_eq!(NamedPosition::from_header(b"\xff"), foreign);
        assert_eq!(Position::parse(b"-"), None);
    }

    #[test]
    fn a_copy_has_the_characters_and_no_others() {
        for text in ["a", "k3f9.16", &"z".repeat(64)] {
            let copy = NamedPosition::parse(text.as_bytes()).expect("the form of a position");
            assert_eq!(copy.as_bytes(), text.as_bytes());
            assert_eq!(format!("{copy:?}"), format!("NamedPosition({text})"));
        }
    }
}
