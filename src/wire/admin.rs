//! What requests to the admin listener say beside their path and body: the queries of `POST
//! /publish` and `POST /disconnect`, `Authorization` (RFC 6750 section 2.1), `Idempotency-Key`, and
//! the media type of what is published.
//!
//! Deals with: the form of all that. Leaves to others: whether a token is the right one, which
//! channels and events there are, whom a disconnect matches.
//!
//! The surprise: a parameter of an unknown name is refused, and so is one that comes twice. A
//! disconnect whose second condition was misspelt would close more than was meant.

use core::fmt;
use core::net::IpAddr;

use super::query::{decoded_into, name_and_value, pairs};

/// The most bytes of the name of an event that is published.
pub const EVENT_BYTES_MAX: usize = 256;

/// The most bytes of the text by which repeats of a request are known.
pub const KEY_BYTES_MAX: usize = 64;

/// The most bytes of any value of a query here, decoded.
const VALUE_BYTES_MAX: usize = 256;

/// The most bytes of the subject of a token.
const SUBJECT_BYTES_MAX: usize = 128;

/// Bytes of the longest name of a parameter.
const NAME_BYTES_MAX: usize = 7;

const OCTET_STREAM: &[u8] = b"application/octet-stream";

/// A value of a query, decoded: at most [`EVENT_BYTES_MAX`] bytes of UTF-8.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value {
    bytes: [u8; VALUE_BYTES_MAX],
    length: u16,
}

impl Value {
    fn read(encoded: &[u8], bytes_max: usize) -> Option<Value> {
        let mut value = Value { bytes: [0; VALUE_BYTES_MAX], length: 0 };
        let decoded = decoded_into(encoded, &mut value.bytes[..bytes_max])?;
        if decoded.is_empty() || core::str::from_utf8(decoded).is_err() {
            return None;
        }
        // At most VALUE_BYTES_MAX.
        value.length = decoded.len() as u16;
        Some(value)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let bytes = &self.bytes[..usize::from(self.length)];
        core::str::from_utf8(bytes).expect("it was read as UTF-8")
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Reads the query of `POST /publish/CHANNEL`: the name of an event, or nothing.
///
/// # Errors
/// [`Malformed`] if there is any other parameter, or the name is empty, longer than
/// [`EVENT_BYTES_MAX`] or no UTF-8.
pub fn event_of(query: Option<&str>) -> Result<Option<Value>, Malformed> {
    let mut event = None;
    for (name, value) in parameters(query) {
        match name_of(name, &mut [0; NAME_BYTES_MAX]) {
            b"event" => set(&mut event, Value::read(value, EVENT_BYTES_MAX), Malformed::Event)?,
            _ => return Err(Malformed::Unknown),
        }
    }
    Ok(event)
}

/// Whom a disconnect is for: whoever matches all that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Whom {
    /// Whoever has this address, in its canonical form.
    pub address: Option<IpAddr>,
    /// Whoever is in the channel of this name, which need not be the name of any.
    pub channel: Option<Value>,
    /// Whoever came with a token of this subject.
    pub subject: Option<Value>,
}

impl Whom {
    /// Reads the query of `POST /disconnect`.
    ///
    /// # Errors
    /// [`Malformed`] if there is no condition, or a parameter that is none; if an address is not an
    /// IP address, or a subject is empty, longer than 128 bytes or no UTF-8.
    pub fn parse(query: Option<&str>) -> Result<Whom, Malformed> {
        let mut whom = Whom { address: None, channel: None, subject: None };
        for (name, value) in parameters(query) {
            match name_of(name, &mut [0; NAME_BYTES_MAX]) {
                b"address" => set(&mut whom.address, address(value), Malformed::Address)?,
                b"channel" => {
                    let channel = Value::read(value, VALUE_BYTES_MAX);
                    set(&mut whom.channel, channel, Malformed::Channel)?;
                }
                b"subject" => {
                    let subject = Value::read(value, SUBJECT_BYTES_MAX);
                    set(&mut whom.subject, subject, Malformed::Subject)?;
                }
                _ => return Err(Malformed::Unknown),
            }
        }
        let is_anybody = (whom.address, whom.channel, whom.subject) == (None, None, None);
        if is_anybody { Err(Malformed::Nobody) } else { Ok(whom) }
    }
}

/// The token in the value of an `Authorization` field; `None` if the scheme is another than
/// `Bearer`, which may be written in any case.
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("Bearer ".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer ");
    is_bearer.then(|| rest.trim_ascii_start())
}

/// Whether the value of an `Idempotency-Key` field is one: 1 to [`KEY_BYTES_MAX`] bytes of UTF-8.
pub fn is_key(value: &[u8]) -> bool {
    (1..=KEY_BYTES_MAX).contains(&value.len()) && core::str::from_utf8(value).is_ok()
}

/// Whether the value of a `Content-Type` field says that the body is bytes and not text:
/// `application/octet-stream`, in any case, with or without parameters.
pub fn is_octet_stream(value: &[u8]) -> bool {
    let media = value.split(|byte| *byte == b';').next().unwrap_or_default();
    media.trim_ascii().eq_ignore_ascii_case(OCTET_STREAM)
}

/// The pairs of a query that are not empty, as names and values.
fn parameters(query: Option<&str>) -> impl Iterator<Item = (&[u8], &[u8])> {
    pairs(query).filter(|pair| !pair.is_empty()).map(name_and_value)
}

/// What a name stands for, if it is short enough to be that of a parameter.
fn name_of<'o>(encoded: &[u8], out: &'o mut [u8; NAME_BYTES_MAX]) -> &'o [u8] {
    decoded_into(encoded, out).unwrap_or_default()
}

/// Takes a parameter's value, which comes once and could be read.
fn set<T>(place: &mut Option<T>, value: Option<T>, error: Malformed) -> Result<(), Malformed> {
    if place.is_some() {
        return Err(Malformed::Twice);
    }
    *place = Some(value.ok_or(error)?);
    Ok(())
}

/// Reads an IP address; one of IPv6 may stand in brackets.
fn address(value: &[u8]) -> Option<IpAddr> {
    let text = Value::read(value, VALUE_BYTES_MAX)?;
    let text = text.as_str();
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bracketed {
        Some(address) => IpAddr::V6(address.parse().ok()?),
        None => text.parse().ok()?,
    };
    Some(address.to_canonical())
}

/// What is wrong with a query. The request is to be answered with 400.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// A parameter has a name that means nothing here.
    Unknown,
    /// A parameter comes more than once.
    Twice,
    /// The name of an event is empty, too long or no UTF-8.
    Event,
    /// An address is not an IP address.
    Address,
    /// The name of a channel is empty, too long or no UTF-8.
    Channel,
    /// A subject is empty, too long or no UTF-8.
    Subject,
    /// No condition says whom to disconnect.
    Nobody,
}

impl fmt::Display for Malformed {
    /// A sentence without a full stop, fit for the body of the answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Unknown => "a parameter of the query means nothing here",
            Malformed::Twice => "a parameter of the query comes more than once",
            Malformed::Event => "the name of an event has 1 to 256 bytes of UTF-8",
            Malformed::Address => "address is an IP address",
            Malformed::Channel => "channel is the name of a channel",
            Malformed::Subject => "subject has 1 to 128 bytes of UTF-8",
            Malformed::Nobody => "at least one of address, channel and subject says whom to close",
        })
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(query: &str) -> Result<Option<String>, Malformed> {
        event_of(Some(query)).map(|event| event.map(|event| event.as_str().to_owned()))
    }

    #[test]
    fn a_publish_names_an_event_or_nothing() {
        assert_eq!(event_of(None), Ok(None));
        assert_eq!(event(""), Ok(None));
        assert_eq!(event("&&"), Ok(None));
        assert_eq!(event("event=chat+message"), Ok(Some("chat message".to_owned())));
        assert_eq!(event("&%65vent=%C3%A9%0a&"), Ok(Some("é\n".to_owned())));
        let longest = "x".repeat(EVENT_BYTES_MAX);
        assert_eq!(event(&format!("event={longest}")), Ok(Some(longest.clone())));
        for bad in ["event", "event=", "event=%ff", &format!("event={longest}x")] {
            assert_eq!(event(bad), Err(Malformed::Event), "{bad}");
        }
        for bad in ["evnt=a", "event=a&x", "=a", "events=a", "Event=a", "event%00=a"] {
            assert_eq!(event(bad), Err(Malformed::Unknown), "{bad}");
        }
        assert_eq!(event("event=a&event=a"), Err(Malformed::Twice));
    }

    #[test]
    fn a_disconnect_says_whom() {
        let whom = |query: &str| {
            let whom = Whom::parse(Some(query))?;
            let text = |value: Option<Value>| value.map(|value| value.as_str().to_owned());
            Ok((whom.address, text(whom.channel), text(whom.subject)))
        };
        let ip = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(whom("address=192.0.2.1"), Ok((ip("192.0.2.1"), None, None)));
        assert_eq!(whom("address=::ffff:192.0.2.1"), Ok((ip("192.0.2.1"), None, None)));
        assert_eq!(whom("address=%5B2001:db8::1%5D"), Ok((ip("2001:db8::1"), None, None)));
        let all = (ip("::1"), Some("a/b".to_owned()), Some("é".to_owned()));
        assert_eq!(whom("subject=%c3%a9&channel=a%2Fb&address=::1"), Ok(all));
        for (bad, why) in [
            ("", Malformed::Nobody),
            ("&", Malformed::Nobody),
            ("address=", Malformed::Address),
            ("address=192.0.2.1:80", Malformed::Address),
            ("address=192.0.2.0/24", Malformed::Address),
            ("address=[192.0.2.1]", Malformed::Address),
            ("address=localhost", Malformed::Address),
            ("address=1.2.3.4&address=1.2.3.4", Malformed::Twice),
            ("channel=", Malformed::Channel),
            ("subject=", Malformed::Subject),
            ("channel=a&adress=1.2.3.4", Malformed::Unknown),
            ("channel=a&address", Malformed::Address),
        ] {
            assert_eq!(whom(bad), Err(why), "{bad}");
        }
        let subject = "s".repeat(SUBJECT_BYTES_MAX);
        assert!(whom(&format!("subject={subject}")).is_ok());
        assert_eq!(whom(&format!("subject={subject}s")), Err(Malformed::Subject));
        assert_eq!(Whom::parse(None), Err(Malformed::Nobody));
    }

    #[test]
    fn a_bearer_token_stands_behind_its_scheme() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bEARER  a b"), Some(&b"a b"[..]));
        for other in [b"".as_slice(), b"Bearer", b"Bearerabc", b"Basic abc", b"Bearer\tabc"] {
            assert_eq!(bearer(other), None);
        }
        assert_eq!(bearer(b"Bearer "), Some(&b""[..]));
    }

    #[test]
    fn a_key_has_1_to_64_bytes() {
        assert!(is_key(b"k") && is_key(&[b'k'; KEY_BYTES_MAX]) && is_key("é".as_bytes()));
        assert!(!is_key(b"") && !is_key(&[b'k'; KEY_BYTES_MAX + 1]) && !is_key(b"\xff"));
    }

    #[test]
    fn bytes_are_told_by_their_media_type() {
        for bytes in ["application/octet-stream", "Application/OCTET-stream ; a=b"] {
            assert!(is_octet_stream(bytes.as_bytes()), "{bytes}");
        }
        for text in ["", "text/plain", "application/octet-streams", "application/json"] {
            assert!(!is_octet_stream(text.as_bytes()), "{text}");
        }
    }
}
