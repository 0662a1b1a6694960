//! Connecting and upgrading: what comes before the readers are a crowd, and a load of its own.
//!
//! The sockets block here: a server that does not answer within ten seconds fails the bench.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::super::clock;
use super::Setup;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A client's nonce need not be unpredictable to a server.
const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What RFC 6455 (1.3) answers to it.
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A connection to the server of `setup`, from `source`.
pub(crate) fn connect(setup: &Setup, source: Ipv4Addr) -> Result<TcpStream, String> {
    let connect = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        if source != Ipv4Addr::LOCALHOST {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        socket.set_tcp_nodelay(true)?;
        socket.connect(&setup.address.into())?;
        Ok(TcpStream::from(socket))
    };
    connect().map_err(|error: std::io::Error| format!("cannot connect: {error}"))
}

/// Sends the request of a reader of `channel`.
pub(crate) fn request(setup: &Setup, channel: usize, stream: &mut TcpStream) -> Result<(), String> {
    let Setup { address, dialect, channels, proxied, shown, .. } = setup;
    let mut head = Vec::new();
    if *proxied {
        let port = stream.local_addr().map_or(1, |local| local.port());
        let to = address.port();
        head.extend(format!("PROXY TCP4 203.0.113.7 192.0.2.1 {port} {to}\r\n").bytes());
    }
    let (path, query) = (dialect.path(channel, *channels), shown.query());
    head.extend(
        format!(
            "GET {path}{query} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {NONCE}\r\n\r\n"
        )
        .bytes(),
    );
    stream.write_all(&head).map_err(|error| format!("cannot send a request: {error}"))
}

/// Reads the answer to it; what has come behind it, if anything.
pub(crate) fn answer(stream: &mut TcpStream) -> Result<Vec<u8>, String> {
    let mut bytes = read_until(stream, Vec::new(), b"\r\n\r\n")?;
    let end = find(&bytes, b"\r\n\r\n").expect("it was read until there") + 4;
    if !bytes.starts_with(b"HTTP/1.1 101 ") || find(&bytes[..end], ACCEPT).is_none() {
        let head = String::from_utf8_lossy(&bytes[..end]);
        return Err(format!("a handshake was answered with {head:?}"));
    }
    Ok(bytes.split_off(end))
}

/// Readers of these channels, each with what it has heard already. All ask before the first answer
/// is waited for, so that a busy machine is not made to switch for each.
pub(crate) fn join(
    setup: &Setup,
    channels: impl Iterator<Item = usize>,
) -> Result<Vec<(TcpStream, usize, Vec<u8>)>, String> {
    let mut joined = Vec::new();
    for channel in channels {
        let mut stream = connect(setup, setup.source)?;
        request(setup, channel, &mut stream)?;
        joined.push((stream, channel, Vec::new()));
    }
    for (stream, channel, heard) in &mut joined {
        *heard = answer(stream)?;
        if let Some((greeting, _)) = setup.dialect.greeting(*channel, setup.channels) {
            stream.write_all(&greeting).map_err(|error| format!("cannot greet: {error}"))?;
        }
    }
    for (stream, channel, heard) in &mut joined {
        if let Some((_, answered)) = setup.dialect.greeting(*channel, setup.channels) {
            *heard = read_until(stream, core::mem::take(heard), answered)?;
        }
    }
    Ok(joined)
}

/// Reads the answer to somebody whose token is not taken.
fn refusal(stream: &mut TcpStream) -> Result<(), String> {
    let bytes = read_until(stream, Vec::new(), b"\r\n\r\n")?;
    match bytes.starts_with(b"HTTP/1.1 401 ") {
        true => Ok(()),
        false => {
            Err(format!("a bad token was answered with {:?}", String::from_utf8_lossy(&bytes)))
        }
    }
}

/// Connects, upgrades and closes `count` times, `together` at a time; nanoseconds in all. The
/// connections come from many addresses, since each leaves its port unusable for a while. Where a
/// token is shown that is not taken, each is refused instead.
pub(crate) fn shake(setup: &Setup, count: usize, together: usize) -> Result<u64, String> {
    let begun_ns = clock::now_ns();
    let mut done = 0;
    while done < count {
        let batch = together.min(count - done);
        let mut streams = Vec::with_capacity(batch);
        for number in done..done + batch {
            let source = Ipv4Addr::new(127, 0, 1, (number % 250) as u8 + 1);
            streams.push(connect(setup, source)?);
        }
        for stream in &mut streams {
            request(setup, 0, stream)?;
        }
        for stream in &mut streams {
            match setup.shown.is_taken() {
                true => drop(answer(stream)?),
                false => refusal(stream)?,
            }
        }
        done += batch;
    }
    Ok(clock::now_ns() - begun_ns)
}

fn read_until(stream: &mut TcpStream, mut bytes: Vec<u8>, end: &[u8]) -> Result<Vec<u8>, String> {
    let mut buffer = [0; 4096];
    while find(&bytes, end).is_none() {
        match stream.read(&mut buffer) {
            Ok(0) => return Err("closed during a handshake".to_owned()),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) => return Err(format!("no answer to a handshake: {error}")),
        }
    }
    Ok(bytes)
}

/// Where `part` begins in `bytes`.
pub(crate) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
