//! A whole request head to values (RFC 9112 §3, §5 and §6; RFC 9110 §7 and §10.1.1).
//!
//! Deals with: the request line; the fields that decide how the connection goes on (Host,
//! Content-Length, Transfer-Encoding, Connection, Expect); looking up the others. Leaves to others:
//! what a request asks for.
//!
//! The surprise: a repeated Content-Length is refused even when all its values are equal, and so is
//! a Content-Length beside Transfer-Encoding. RFC 9112 permits more, and there the smuggling
//! begins.

use super::scan::line_length;
use super::target::{self, Target};
use super::{FIELDS_MAX, Framing, is_token_byte, trimmed};
use crate::wire::split::split_once;
use crate::work;
use std::fmt;

/// A request head, borrowed from the bytes in which it came.
#[derive(Clone, Copy, Debug)]
pub struct Request<'b, 'h> {
    /// What the request asks to be done.
    pub method: Method,
    /// The target as it stands on the request line: visible ASCII, never empty.
    pub target: &'b str,
    /// The path, with escapes and dots as they were sent: begins with `/`, or is the `*` of
    /// OPTIONS.
    pub path: &'b str,
    /// The part of the target that follows its first `?`; may be empty.
    pub query: Option<&'b str>,
    /// The host, perhaps with a port: from a target in absolute-form, else from Host. Only HTTP/1.0
    /// can lack it.
    pub authority: Option<&'b str>,
    /// The version as which the request is served.
    pub version: Version,
    /// Whether the client expects the connection to go on after the answer.
    pub persistent: bool,
    /// How the end of the body is found.
    pub framing: Framing,
    /// Whether the client waits for `100 Continue` before it sends its body, if there is one.
    pub expects_continue: bool,
    fields: &'h [httparse::Header<'b>],
}

/// What a request asks to be done: the methods of RFC 9110 §9, and PATCH. Any other is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Read.
    Get,
    /// Read, but send no body.
    Head,
    /// Hand in.
    Post,
    /// Replace.
    Put,
    /// Remove.
    Delete,
    /// Ask what is allowed.
    Options,
    /// Echo the request.
    Trace,
    /// Change in part.
    Patch,
}

/// The version as which a request is served. A minor version above 1 is served as 1.1 (RFC 9110
/// §2.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Parses a head whose end [`HeadScan`](super::HeadScan) has found: `head` is exactly the bytes
/// that were called complete. For bytes that were not scanned the result means nothing.
///
/// `storage` is room for the fields, [`httparse::EMPTY_HEADER`] to begin with; the request borrows
/// from it. Work is bounded by the length of the head; nothing is allocated.
///
/// # Errors
///
/// The first thing that is wrong, in this order: the request line, the form of the field lines,
/// Host, the framing, Expect. After any error the connection is to be closed.
pub fn parse<'b, 'h>(
    head: &'b [u8],
    storage: &'h mut [httparse::Header<'b>; FIELDS_MAX],
) -> Result<Request<'b, 'h>, HeadError> {
    work::looked_at(head.len());
    let (line, field_lines) = split_off_line(head)?;
    let (method, target, version) = request_line(line)?;
    let Target { authority, path, query } = target::split(target, method)?;
    let mut request = Request {
        method,
        target,
        path,
        query,
        authority,
        version,
        persistent: false,
        framing: Framing::None,
        expects_continue: false,
        fields: fields(field_lines, storage)?,
    };
    // Host must be right even where the target decides the authority.
    let host = request.host()?;
    request.authority = authority.or(host);
    request.framing = request.body_framing()?;
    request.expects_continue = request.awaits_continue()?;
    request.persistent = request.stays_open();
    Ok(request)
}

/// Splits a head into the request line without its CRLF, and the field lines with the empty line.
fn split_off_line(head: &[u8]) -> Result<(&[u8], &[u8]), HeadError> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let (line, rest) = head.split_at(line_length(head));
    let field_lines = rest.strip_prefix(b"\r\n").ok_or(HeadError::RequestLine)?;
    // The scan lets tabs pass, which may stand in fields alone.
    if line.contains(&b'\t') {
        return Err(HeadError::RequestLine);
    }
    Ok((line, field_lines))
}

/// Reads `method SP target SP version`, with exactly these two spaces.
fn request_line(line: &[u8]) -> Result<(Method, &str, Version), HeadError> {
    let (method, rest) = split_once(line, b' ');
    let (target, version) = split_once(rest.ok_or(HeadError::RequestLine)?, b' ');
    let version = version.ok_or(HeadError::RequestLine)?;
    // The version is read first: of an unknown protocol nothing else can be said.
    let version = match version.strip_prefix(b"HTTP/") {
        Some(b"1.0") => Version::Http10,
        Some([b'1', b'.', b'0'..=b'9']) => Version::Http11,
        Some([b'0'..=b'9', b'.', b'0'..=b'9']) => return Err(HeadError::Version),
        Some(_) | None => return Err(HeadError::RequestLine),
    };
    Ok((Method::read(method)?, target::text(target)?, version))
}

/// Parses the field lines by httparse, whose defaults refuse folded lines and spaces before colons.
fn fields<'b, 'h>(
    field_lines: &'b [u8],
    storage: &'h mut [httparse::Header<'b>],
) -> Result<&'h [httparse::Header<'b>], HeadError> {
    match httparse::parse_headers(field_lines, storage) {
        Ok(httparse::Status::Complete((length, fields))) if length == field_lines.len() => {
            Ok(fields)
        }
        Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooManyFields),
        Ok(httparse::Status::Complete(_) | httparse::Status::Partial) | Err(_) => {
            Err(HeadError::Field)
        }
    }
}

impl<'b> Request<'b, '_> {
    /// The value of the field `name` (in any case) without whitespace around it, if there is
    /// exactly one such field.
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        let mut values = self.fields(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The values of all fields `name` (in any case), in their order. They have no control
    /// characters but tabs, and need not be UTF-8.
    pub fn fields(&self, name: &str) -> impl DoubleEndedIterator<Item = &'b [u8]> {
        let named = |field: &&httparse::Header<'b>| field.name.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|field| field.value)
    }

    /// The members of the comma-separated lists in all fields `name` (in any case), in their order,
    /// without whitespace around them; empty members are left out. Commas in quotes split as well.
    pub fn tokens(&self, name: &str) -> impl DoubleEndedIterator<Item = &'b [u8]> {
        self.fields(name).flat_map(members)
    }

    /// Whether the lists in the fields `name` have the member `token`; both in any case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let is_token = |member: &[u8]| member.eq_ignore_ascii_case(token.as_bytes());
        self.fields(name).any(|value| members(value).any(is_token))
    }

    /// The one Host field, which 1.1 must have (RFC 9112 §3.2).
    fn host(&self) -> Result<Option<&'b str>, HeadError> {
        let mut values = self.fields("host");
        match (values.next(), values.next(), self.version) {
            (Some(value), None, _) => target::authority(value).map(Some).ok_or(HeadError::Host),
            (Some(_), Some(_), _) => Err(HeadError::HostRepeated),
            (None, _, Version::Http10) => Ok(None),
            (None, _, Version::Http11) => Err(HeadError::HostMissing),
        }
    }

    /// How the end of the body is found, by RFC 9112 §6.3, with nothing tolerated.
    fn body_framing(&self) -> Result<Framing, HeadError> {
        let mut codings = self.fields("transfer-encoding");
        let mut lengths = self.fields("content-length");
        match (codings.next(), lengths.next()) {
            (None, None) => Ok(Framing::None),
            (Some(_), Some(_)) => Err(HeadError::LengthAndCoding),
            (Some(_), None) if self.version == Version::Http10 => Err(HeadError::CodingIn10),
            (Some(_), None) => self.chunked(),
            (None, Some(_)) if lengths.next().is_some() => Err(HeadError::LengthRepeated),
            (None, Some(value)) => content_length(value).map(Framing::Length),
        }
    }

    /// The framing of a request with Transfer-Encoding: its one member must be `chunked`.
    fn chunked(&self) -> Result<Framing, HeadError> {
        let mut codings = self.tokens("transfer-encoding").peekable();
        let mut is_chunked = false;
        let mut is_unknown = false;
        while let Some(coding) = codings.next() {
            if coding.eq_ignore_ascii_case(b"chunked") {
                if codings.peek().is_some() {
                    return Err(HeadError::CodingOrder);
                }
                is_chunked = true;
            } else {
                is_unknown = true;
            }
        }
        match (is_chunked, is_unknown) {
            (_, true) => Err(HeadError::Coding),
            (true, false) => Ok(Framing::Chunked),
            (false, false) => Err(HeadError::CodingOrder),
        }
    }

    /// Whether the client waits for `100 Continue`. No other expectation is known (RFC 9110
    /// §10.1.1).
    fn awaits_continue(&self) -> Result<bool, HeadError> {
        let mut is_expected = false;
        for expectation in self.tokens("expect") {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(HeadError::Expectation);
            }
            is_expected = true;
        }
        // A 1.0 client must not be sent a 100, and a client without a body is not waiting.
        Ok(is_expected && self.framing.has_body() && self.version == Version::Http11)
    }

    /// Whether the connection goes on, by RFC 9112 §9.3: `close` wins, 1.1 stays, 1.0 stays if it
    /// asks to.
    fn stays_open(&self) -> bool {
        !self.has_token("connection", "close")
            && (self.version == Version::Http11 || self.has_token("connection", "keep-alive"))
    }
}

/// The members of a comma-separated list, without whitespace around them; empty ones are left out.
fn members(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trimmed).filter(|member| !member.is_empty())
}

/// Reads digits and nothing else, of a number below 2^63.
fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    let mut length = 0_u64;
    for byte in value {
        let digit = match byte {
            b'0'..=b'9' => u64::from(byte - b'0'),
            _ => return Err(HeadError::Length),
        };
        let longer = length.checked_mul(10).and_then(|tens| tens.checked_add(digit));
        length = longer.filter(|length| *length <= i64::MAX as u64).ok_or(HeadError::Length)?;
    }
    if value.is_empty() { Err(HeadError::Length) } else { Ok(length) }
}

impl Method {
    /// The method as it stands on a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
        }
    }

    /// Reads a method, in which case counts. CONNECT is unknown here, for this is no proxy.
    fn read(bytes: &[u8]) -> Result<Method, HeadError> {
        match bytes {
            b"GET" => Ok(Method::Get),
            b"HEAD" => Ok(Method::Head),
            b"POST" => Ok(Method::Post),
            b"PUT" => Ok(Method::Put),
            b"DELETE" => Ok(Method::Delete),
            b"OPTIONS" => Ok(Method::Options),
            b"TRACE" => Ok(Method::Trace),
            b"PATCH" => Ok(Method::Patch),
            [_, ..] if bytes.iter().all(|byte| is_token_byte(*byte)) => Err(HeadError::Method),
            _ => Err(HeadError::RequestLine),
        }
    }
}

impl Version {
    /// The version as it stands on a request line, for the access log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }
}

/// Why a request head is refused. Each error is answered with its status, then the connection is
/// closed and nothing behind the head is interpreted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadError {
    /// A line ends in a bare LF, or a CR has no LF behind it.
    LineEnd,
    /// The head has a control character other than a tab, for instance NUL.
    ControlCharacter,
    /// There is more than one empty line before the request.
    EmptyLines,
    /// The request line is longer than [`TARGET_BYTES_MAX`](super::TARGET_BYTES_MAX).
    TargetTooLong,
    /// The fields are longer than [`FIELDS_BYTES_MAX`](super::FIELDS_BYTES_MAX).
    FieldsTooLong,
    /// There are more fields than [`FIELDS_MAX`].
    TooManyFields,
    /// The request line is not `method SP target SP HTTP/x.y`.
    RequestLine,
    /// The target has a byte that none may have, a form that is not served, or a malformed
    /// authority.
    Target,
    /// The version is well-formed, but neither 1.0 nor 1.1 nor a later 1.x.
    Version,
    /// The method is well-formed, but none of [`Method`].
    Method,
    /// A field line has no colon or no name, has a space before the colon, or is folded.
    Field,
    /// HTTP/1.1 comes without Host.
    HostMissing,
    /// There is more than one Host.
    HostRepeated,
    /// Host is not a host with or without a port.
    Host,
    /// Content-Length is not just digits, or above 63 bits.
    Length,
    /// There is more than one Content-Length, be they equal or not.
    LengthRepeated,
    /// There are both Content-Length and Transfer-Encoding.
    LengthAndCoding,
    /// HTTP/1.0 comes with Transfer-Encoding.
    CodingIn10,
    /// `chunked` is not the last coding, or there is no coding at all.
    CodingOrder,
    /// There is a transfer coding other than `chunked`.
    Coding,
    /// There is an expectation other than `100-continue`.
    Expectation,
}

impl HeadError {
    /// The status to answer with before the connection is closed.
    pub const fn status(self) -> u16 {
        match self {
            HeadError::LineEnd
            | HeadError::ControlCharacter
            | HeadError::EmptyLines
            | HeadError::RequestLine
            | HeadError::Target
            | HeadError::Field
            | HeadError::HostMissing
            | HeadError::HostRepeated
            | HeadError::Host
            | HeadError::Length
            | HeadError::LengthRepeated
            | HeadError::LengthAndCoding
            | HeadError::CodingIn10
            | HeadError::CodingOrder => 400,
            HeadError::TargetTooLong => 414,
            HeadError::Expectation => 417,
            HeadError::FieldsTooLong | HeadError::TooManyFields => 431,
            HeadError::Method | HeadError::Coding => 501,
            HeadError::Version => 505,
        }
    }
}

impl fmt::Display for HeadError {
    /// A sentence without a full stop, fit for the body of the answer and for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeadError::LineEnd => "a line does not end in CRLF",
            HeadError::ControlCharacter => "a control character stands in the head",
            HeadError::EmptyLines => "more than one empty line stands before the request",
            HeadError::TargetTooLong => "the request line is longer than 8 KiB",
            HeadError::FieldsTooLong => "the fields are longer than 16 KiB",
            HeadError::TooManyFields => "the request has more than 100 fields",
            HeadError::RequestLine => "the request line is malformed",
            HeadError::Target => "the request target is malformed",
            HeadError::Version => "only HTTP/1.0 and HTTP/1.1 are spoken here",
            HeadError::Method => "the method is unknown here",
            HeadError::Field => "a field line is malformed",
            HeadError::HostMissing => "Host is missing",
            HeadError::HostRepeated => "Host is repeated",
            HeadError::Host => "Host is not a host",
            HeadError::Length => "Content-Length is not a length",
            HeadError::LengthRepeated => "Content-Length is repeated",
            HeadError::LengthAndCoding => "Content-Length and Transfer-Encoding exclude each other",
            HeadError::CodingIn10 => "HTTP/1.0 has no Transfer-Encoding",
            HeadError::CodingOrder => "chunked is not the last and only transfer coding",
            HeadError::Coding => "a transfer coding is unknown here",
            HeadError::Expectation => "only 100-continue can be expected",
        })
    }
}

impl std::error::Error for HeadError {}
