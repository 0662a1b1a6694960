//! A blocking client of HTTP/1.1 (RFC 9112), for the commands that ask a running server: one
//! request over a connection of its own, within a time for all of it.
//!
//! Leaves to others: what is asked for, and what the answer means (`cli`, `doctor/`).
//!
//! The surprise: this is the one place outside of the shell that opens sockets and reads the clock.
//! A client that blocks is right here, in a process that runs no server.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::{Endpoint, TokenSource};

/// The most bytes of a file that is read for a token.
const TOKEN_BYTES_MAX: usize = 4096;

/// An answer that has come whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Asks for `path` and returns the whole answer, head and body of at most `bytes_max` bytes
/// together. Blocks for at most `limit`, all steps together.
///
/// # Errors
/// Why there is no answer, or what is wrong with it: `TimedOut` or `WouldBlock` if it is late.
pub fn get(
    address: &Endpoint,
    path: &str,
    token: Option<&[u8]>,
    (limit, bytes_max): (Duration, usize),
) -> io::Result<Answer> {
    let deadline = Deadline::after(limit);
    let mut stream = connect(address, &deadline)?;
    send_request(&mut stream, (address, path), token, &deadline)?;
    // What is no answer of elbow is told at once, and not when the time is over.
    let is_enough = |bytes: &[u8]| !matches!(parse(bytes), Ok(None));
    let bytes = read_until(&mut stream, bytes_max, &deadline, is_enough)?;
    match parse(&bytes)? {
        Some(answer) => Ok(answer),
        None if bytes.is_empty() => Err(io::Error::other("closes without an answer")),
        None if bytes.len() == bytes_max => Err(io::Error::other("the answer is too long")),
        None => Err(io::Error::other("the answer is not whole")),
    }
}

/// What is told of an `error` of somebody who was asked within `limit`.
pub fn why(error: &io::Error, limit: impl fmt::Display) -> String {
    // A socket whose time is over says `WouldBlock`, the deadline itself `TimedOut`.
    let is_late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    if is_late { format!("no answer within {limit}") } else { error.to_string() }
}

/// Reads the token that is to be shown.
///
/// # Errors
/// A line that says which source cannot be read, or has no token.
pub fn read_token(source: &TokenSource) -> Result<Vec<u8>, String> {
    let read = match source {
        TokenSource::Variable(text) => Ok(text.clone().into_bytes()),
        TokenSource::File(path) | TokenSource::Credential(path) => fs::read(path),
    };
    let mut token = read.map_err(|error| format!("{}: {error}", source.name()))?;
    if token.last() == Some(&b'\n') {
        token.pop();
    }
    let is_field = token.len() <= TOKEN_BYTES_MAX && !token.iter().any(u8::is_ascii_control);
    if is_field { Ok(token) } else { Err(format!("{}: this is no token", source.name())) }
}

/// Connects to a server.
///
/// # Errors
/// Those of the system; `TimedOut` if the time is over.
pub(crate) fn connect(address: &Endpoint, deadline: &Deadline) -> io::Result<Socket> {
    match address {
        Endpoint::Ip(address) => Ok(TcpStream::connect_timeout(address, deadline.left()?)?.into()),
        Endpoint::Unix(path) => connect_unix(path, deadline),
    }
}

/// Sends a request for a path, the only one of its connection.
///
/// # Errors
/// Those of the system; `TimedOut` if the time is over.
pub(crate) fn send_request(
    stream: &mut Socket,
    (address, path): (&Endpoint, &str),
    token: Option<&[u8]>,
    deadline: &Deadline,
) -> io::Result<()> {
    let host = match address {
        Endpoint::Ip(address) => address.to_string(),
        Endpoint::Unix(_) => "localhost".to_owned(),
    };
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    let mut request = head.into_bytes();
    if let Some(token) = token {
        request.extend_from_slice(b"Authorization: Bearer ");
        request.extend_from_slice(token);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.set_write_timeout(Some(deadline.left()?))?;
    stream.write_all(&request)
}

/// Reads until there is enough, the peer has closed, or there are `bytes_max` bytes.
///
/// # Errors
/// Those of the system; `TimedOut` or `WouldBlock` if the time is over.
pub(crate) fn read_until(
    stream: &mut Socket,
    bytes_max: usize,
    deadline: &Deadline,
    is_enough: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let (mut answer, mut part) = (Vec::new(), [0; 16 * 1024]);
    while answer.len() < bytes_max && !is_enough(&answer) {
        stream.set_read_timeout(Some(deadline.left()?))?;
        let most = part.len().min(bytes_max - answer.len());
        match stream.read(&mut part[..most]) {
            Ok(0) => break,
            Ok(taken) => answer.extend_from_slice(&part[..taken]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// The answer that `bytes` are; `None` if they are the beginning of one.
///
/// # Errors
/// What is wrong with an answer that is none of elbow.
fn parse(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let other = || io::Error::other("answers something that is not HTTP");
    let head = core::str::from_utf8(&bytes[..end]).map_err(|_| other())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let status = status.strip_prefix("HTTP/1.1 ").or_else(|| status.strip_prefix("HTTP/1.0 "));
    let status = status.and_then(|rest| rest.get(..3)?.parse().ok()).ok_or_else(other)?;
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    };
    // What is told in no other way ends with the connection, and cannot be told from half of it.
    let Some(length) = lines.find_map(field) else {
        return Err(io::Error::other("answers without a Content-Length: is this elbow?"));
    };
    let body = &bytes[end + 4..];
    Ok(body.get(..length).map(|body| Answer { status, body: body.to_vec() }))
}

/// Connects to a Unix socket. One whose backlog is full is waited for until the deadline.
fn connect_unix(path: &Path, deadline: &Deadline) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The time to write is the time to connect, too (socket(7)).
    socket.set_write_timeout(Some(deadline.left()?))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// The instant at which a blocking client gives up, by the real clock.
pub(crate) struct Deadline {
    begin: Instant,
    length: Duration,
}

impl Deadline {
    /// A time that begins now.
    #[expect(clippy::disallowed_methods, reason = "a blocking client outside of the core")]
    pub(crate) fn after(length: Duration) -> Deadline {
        Deadline { begin: Instant::now(), length }
    }

    /// Time that is left; never zero, which a socket would take for no timeout at all. Once none is
    /// left, an error of kind `TimedOut`.
    pub(crate) fn left(&self) -> io::Result<Duration> {
        let left = self.length.checked_sub(self.begin.elapsed()).filter(|left| !left.is_zero());
        left.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_when_it_is_whole_and_not_before() {
        let whole = b"HTTP/1.1 401 Unauthorized\r\nDate: x\r\ncontent-length: 4\r\n\r\nbody";
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]).expect("a beginning"), None, "{length}");
        }
        let answer = Answer { status: 401, body: b"body".to_vec() };
        assert_eq!(parse(whole).expect("an answer"), Some(answer));
        for other in
            ["\r\n\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 x\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nbody"]
        {
            assert!(parse(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn whoever_is_late_is_said_to_be() {
        for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut] {
            assert_eq!(why(&kind.into(), "5s"), "no answer within 5s");
        }
        assert_eq!(why(&io::Error::other("closes"), "5s"), "closes");
    }

    #[test]
    fn a_token_is_a_line_without_its_end() {
        let read = |text: &str| read_token(&TokenSource::Variable(text.to_owned())).ok();
        assert_eq!(read("secret\n"), Some(b"secret".to_vec()));
        assert_eq!(read("secret\r\n"), None);
        assert_eq!(read("a\r\nHost: b"), None);
        let missing = read_token(&TokenSource::File("no/such/file".into()));
        assert!(missing.expect_err("no such file").starts_with("--admin-token-file: "));
    }
}
