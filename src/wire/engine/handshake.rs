//! How an Engine.IO session begins (protocols 3 and 4, "Handshake"): the query of a request,
//! session ids, the open packet, and refusals.
//!
//! Deals with: what the parameters say, and how answers are written. Leaves to others: which
//! sessions there are, which transports are offered, and the order of the checks (the reference
//! checks the transport first, then the session, the method, the version).
//!
//! The surprise: no protocol is unknown. A client that names none is of a time when there was only
//! one, so what is not `EIO=4` is protocol 3, as for the reference server that serves both.

use core::fmt;
use std::io::Write;

use data_encoding::BASE64URL_NOPAD;

use super::Version;
use crate::wire::query::{decoded_into, means, name_and_value, pairs};

/// Bytes of a session id.
pub const SID_BYTES: usize = 20;

/// How many random bytes a session id is made of.
pub const SID_RANDOM_BYTES: usize = 15;

/// The most bytes of an open packet.
pub const OPEN_BYTES_MAX: usize = 192;

/// A session id: 20 characters of `A-Za-z0-9_-`, 120 bits, like those of the reference servers.
/// Whoever knows the id speaks for the session, so it comes from a secure source and stays out of
/// the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sid([u8; SID_BYTES]);

impl Sid {
    /// The id made of these random bytes; other bytes make another id.
    pub fn new(random: [u8; SID_RANDOM_BYTES]) -> Sid {
        let mut text = [0; SID_BYTES];
        BASE64URL_NOPAD.encode_mut(&random, &mut text);
        Sid(text)
    }

    /// Reads `text` as an id; `None` if it has not the shape of one.
    pub fn parse(text: &[u8]) -> Option<Sid> {
        let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let text: [u8; SID_BYTES] = text.try_into().ok()?;
        text.iter().all(is_valid).then_some(Sid(text))
    }

    /// The characters of the id.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("every character of an id is ASCII")
    }
}

/// Shows the beginning of the id alone: enough to tell two sessions apart, too little to speak for
/// one.
impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sid({}…)", &self.as_str()[..4])
    }
}

/// The transport that a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransportName {
    /// Polling: GET for what the server says, POST for what the client says.
    Polling,
    /// One WebSocket for both directions.
    WebSocket,
}

/// The session that a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A new session.
    New,
    /// The session with this id.
    Sid(Sid),
    /// A session that cannot be here, for its id has not the shape of ours.
    Unknown,
}

/// What a request for `/socket.io/` says in its query. Of a parameter that comes more than once the
/// last counts.
///
/// These parameters are not looked at: `t`, which is there against caches, and those that belong to
/// the application.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Query {
    /// The protocol, by `EIO`: 4 if it is `4`, 3 if it is anything else; `None` if it is missing,
    /// which means protocol 3 to begin with, and the session's own later.
    pub version: Option<Version>,
    /// The transport, by `transport`; `None` if it is missing or unknown.
    pub transport: Option<TransportName>,
    /// The session, by `sid`.
    pub session: Asked,
    /// Whether the answer is to be a script (JSONP), by `j`, which only clients of protocol 3 send.
    pub jsonp: bool,
    /// Whether the client cannot take binary, by a `b64` that has a value. Bodies of polls are
    /// text anyway.
    pub base64: bool,
}

impl Query {
    /// Reads the part of a target that follows the `?`. Names and values may be percent-encoded; a
    /// `%` without two hexadecimal digits stands for itself. One pass, no allocation.
    pub fn parse(query: &str) -> Query {
        let (mut version, mut transport, mut sid) = (None, None, None);
        let (mut jsonp, mut base64) = (false, false);
        for pair in pairs(Some(query)) {
            // A query may be a thousand pairs of nothing, so a pair that cannot have a known name
            // is passed over by its first byte.
            let Some(b'E' | b't' | b's' | b'j' | b'b' | b'%') = pair.first() else { continue };
            let (name, value) = name_and_value(pair);
            let mut decoded_name = [0; NAME_BYTES_MAX];
            match decoded_into(name, &mut decoded_name) {
                Some(b"EIO") => version = Some(value),
                Some(b"transport") => transport = Some(value),
                Some(b"sid") => sid = Some(value),
                Some(b"j") => jsonp = true,
                Some(b"b64") => base64 = !value.is_empty(),
                Some(_) | None => {}
            }
        }
        Query {
            version: version.map(|eio| if means(eio, "4") { Version::V4 } else { Version::V3 }),
            transport: transport.and_then(|name| match name {
                _ if means(name, "polling") => Some(TransportName::Polling),
                _ if means(name, "websocket") => Some(TransportName::WebSocket),
                _ => None,
            }),
            session: match sid {
                None | Some(b"") => Asked::New,
                Some(sid) => asked(sid),
            },
            jsonp,
            base64,
        }
    }

    /// Whether the request names another protocol than `version`, that of its session.
    pub fn denies(&self, version: Version) -> bool {
        self.version.is_some_and(|named| named != version)
    }
}

/// Bytes of the longest name that is looked for: `transport`.
const NAME_BYTES_MAX: usize = 9;

fn asked(value: &[u8]) -> Asked {
    let mut text = [0; SID_BYTES];
    decoded_into(value, &mut text).and_then(Sid::parse).map_or(Asked::Unknown, Asked::Sid)
}

/// The open packet, with which a session begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    /// The id of the new session.
    pub sid: Sid,
    /// Whether the client may move to a WebSocket; `false` if it is on one already.
    pub upgrade: bool,
    /// Milliseconds between two pings, which the server sends in protocol 4, the client in protocol
    /// 3.
    pub ping_interval_ms: u64,
    /// Milliseconds that the pinged side may take to answer.
    pub ping_timeout_ms: u64,
    /// The most bytes of a POST's body; protocol 3 does not tell it.
    pub body_bytes_max: u64,
}

impl Open {
    /// Appends the packet to `out`, type digit included; at most [`OPEN_BYTES_MAX`].
    pub fn append_to(&self, version: Version, out: &mut Vec<u8>) {
        let Open { sid, ping_interval_ms, ping_timeout_ms, body_bytes_max, .. } = self;
        let upgrades = if self.upgrade { r#"["websocket"]"# } else { "[]" };
        let sid = sid.as_str();
        write!(out, r#"0{{"sid":"{sid}","upgrades":{upgrades},"pingInterval":{ping_interval_ms}"#)
            .expect(A_VECTOR_TAKES_ALL);
        write!(out, r#","pingTimeout":{ping_timeout_ms}"#).expect(A_VECTOR_TAKES_ALL);
        match version {
            Version::V3 => {}
            Version::V4 => {
                write!(out, r#","maxPayload":{body_bytes_max}"#).expect(A_VECTOR_TAKES_ALL);
            }
        }
        out.push(b'}');
    }
}

const A_VECTOR_TAKES_ALL: &str = "writing to a vector does not fail";

/// Why a request is not served, as clients know it. A refused WebSocket upgrade is answered with
/// the [message](Refusal::message) as plain text, anything else with the [body](Refusal::body).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The request names no transport, or an unknown one.
    TransportUnknown,
    /// No session has this id: it is over, or another instance's.
    SidUnknown,
    /// A request without a session id is not a GET.
    HandshakeMethod,
    /// The transport is not the session's, an upgrade lacks its fields, or the protocol that is
    /// named is not the session's.
    BadRequest,
    /// Policy forbids the request, for instance because of its origin.
    Forbidden,
    /// The request shows a token that is not taken.
    Unauthorized,
    /// The request is for a WebSocket to a client that cannot take binary. A channel's records are
    /// sent to each WebSocket as they are, attachments as binary frames.
    Base64,
    /// The answer to the poll is to be a script, by which pages of any origin could read it.
    Jsonp,
}

impl Refusal {
    /// All refusals: first those of the reference, in the order of their codes.
    pub const ALL: [Refusal; 8] = [
        Refusal::TransportUnknown,
        Refusal::SidUnknown,
        Refusal::HandshakeMethod,
        Refusal::BadRequest,
        Refusal::Forbidden,
        Refusal::Unauthorized,
        Refusal::Base64,
        Refusal::Jsonp,
    ];

    /// The status of the response.
    pub const fn status(self) -> u16 {
        match self {
            Refusal::Forbidden => 403,
            Refusal::Unauthorized => 401,
            Refusal::TransportUnknown
            | Refusal::SidUnknown
            | Refusal::HandshakeMethod
            | Refusal::BadRequest
            | Refusal::Base64
            | Refusal::Jsonp => 400,
        }
    }

    /// The fields that the answer needs for its status. With 401 RFC 9110 asks for
    /// `WWW-Authenticate` (section 15.5.2).
    pub const fn fields(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Refusal::Unauthorized => {
                &[("WWW-Authenticate", "Bearer realm=\"elbow\", error=\"invalid_token\"")]
            }
            Refusal::Forbidden
            | Refusal::TransportUnknown
            | Refusal::SidUnknown
            | Refusal::HandshakeMethod
            | Refusal::BadRequest
            | Refusal::Base64
            | Refusal::Jsonp => &[],
        }
    }

    /// The words for people.
    pub const fn message(self) -> &'static str {
        match self {
            Refusal::TransportUnknown => "Transport unknown",
            Refusal::SidUnknown => "Session ID unknown",
            Refusal::HandshakeMethod => "Bad handshake method",
            Refusal::BadRequest => "Bad request",
            Refusal::Forbidden => "Forbidden",
            Refusal::Unauthorized => "Unauthorized",
            Refusal::Base64 => "Base64 is for polling: b64 (forceBase64) does without a WebSocket",
            Refusal::Jsonp => "JSONP is not offered: forceJSONP, or a browser without CORS, fails",
        }
    }

    /// The content of the response, `application/json`.
    pub const fn body(self) -> &'static str {
        match self {
            Refusal::TransportUnknown => r#"{"code":0,"message":"Transport unknown"}"#,
            Refusal::SidUnknown => r#"{"code":1,"message":"Session ID unknown"}"#,
            Refusal::HandshakeMethod => r#"{"code":2,"message":"Bad handshake method"}"#,
            Refusal::BadRequest => r#"{"code":3,"message":"Bad request"}"#,
            Refusal::Forbidden => r#"{"code":4,"message":"Forbidden"}"#,
            Refusal::Unauthorized => r#"{"code":4,"message":"Unauthorized"}"#,
            Refusal::Base64 => concat!(
                r#"{"code":3,"message":"Base64 is for polling: "#,
                r#"b64 (forceBase64) does without a WebSocket"}"#
            ),
            Refusal::Jsonp => concat!(
                r#"{"code":3,"message":"JSONP is not offered: "#,
                r#"forceJSONP, or a browser without CORS, fails"}"#
            ),
        }
    }
}
