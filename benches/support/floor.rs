//! The yardstick: the least that a WebSocket broadcast server on epoll can do.
//!
//! It shakes hands (whoever wants none is told `ok`), unmasks what a client says and sends it to
//! all, and nothing else: no limits, no deadlines, no validation, one channel. `floor` sends one
//! prebuilt frame per reader and message with one `send(2)`; `floor-coalesce` gathers what one turn
//! of its loop has received and sends that with one call per reader. Edge-triggered, one thread, no
//! allocation per message. As lean as honest C would be: a reader that is not blocked costs 16
//! bytes, a test and the call.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};
use tungstenite::handshake::derive_accept_key;

use super::say;

const LISTENER: Token = Token(usize::MAX);
const BACKLOG: i32 = 4096;
const BUFFER_BYTES: usize = 256 * 1024;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

struct Client {
    stream: TcpStream,
    /// The handshake is done.
    member: bool,
    /// What most never have.
    rest: Option<Box<Rest>>,
}

/// What was not whole, and what did not fit into the socket.
#[derive(Default)]
struct Rest {
    input: Vec<u8>,
    unsent: Vec<u8>,
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    clients: Slab<Client>,
    buffer: Vec<u8>,
    /// The frame that is sent, or all those of the turn.
    frames: Vec<u8>,
    coalesce: bool,
}

/// Serves until the process is killed.
pub(crate) fn serve(port: &str, coalesce: bool) -> ! {
    let port = port.parse().unwrap_or_else(|_| say::fail("floor: the port is not a number"));
    let error = Floor::start(port, coalesce).and_then(|mut floor| floor.run()).err();
    say::fail(&format!("floor: {error:?}"));
}

impl Floor {
    fn start(port: u16, coalesce: bool) -> io::Result<Floor> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.set_nonblocking(true)?;
        // Inherited by what is accepted, which saves a call for each.
        socket.set_tcp_nodelay(true)?;
        socket.listen(BACKLOG)?;
        let mut listener = TcpListener::from_std(socket.into());
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Floor {
            poll,
            listener,
            clients: Slab::new(),
            buffer: vec![0; BUFFER_BYTES],
            frames: Vec::new(),
            coalesce,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                if event.token() == LISTENER {
                    self.accept()?;
                    continue;
                }
                let key = event.token().0;
                if event.is_writable() {
                    self.send_rest(key);
                }
                if event.is_readable() && !self.read(key) {
                    self.clients.try_remove(key);
                }
            }
            if self.coalesce && !self.frames.is_empty() {
                self.fan_out();
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    let vacant = self.clients.vacant_entry();
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    self.poll.registry().register(&mut stream, Token(vacant.key()), interest)?;
                    vacant.insert(Client { stream, member: false, rest: None });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what there is; whether the client stays.
    fn read(&mut self, key: usize) -> bool {
        let mut buffer = core::mem::take(&mut self.buffer);
        let stays = loop {
            let Some(client) = self.clients.get_mut(key) else { break false };
            let kept = client.rest.as_mut().map(|rest| core::mem::take(&mut rest.input));
            let kept = kept.unwrap_or_default();
            buffer[..kept.len()].copy_from_slice(&kept);
            match client.stream.read(&mut buffer[kept.len()..]) {
                Ok(0) => break false,
                Ok(count) => {
                    let filled = kept.len() + count;
                    if !self.receive(key, &mut buffer[..filled]) {
                        break false;
                    }
                    // Less than there was room for: the socket is empty.
                    if filled < buffer.len() {
                        break true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.keep(key, &kept);
                    break true;
                }
                Err(_) => break false,
            }
        };
        self.buffer = buffer;
        stays
    }

    fn keep(&mut self, key: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.clients[key].rest.get_or_insert_default().input.extend_from_slice(bytes);
        }
    }

    /// Acts on what arrived and keeps what is not whole; whether the client stays.
    fn receive(&mut self, key: usize, bytes: &mut [u8]) -> bool {
        let mut at = 0;
        while at < bytes.len() {
            let used = if self.clients[key].member {
                self.frame(key, &mut bytes[at..])
            } else {
                self.handshake(key, &bytes[at..])
            };
            match used {
                Some(0) => break,
                Some(used) => at += used,
                None => return false,
            }
        }
        self.keep(key, &bytes[at..]);
        true
    }

    /// Answers a whole head; the bytes used, 0 if it is not whole, `None` if it is not text.
    fn handshake(&mut self, key: usize, bytes: &[u8]) -> Option<usize> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Some(0);
        };
        let head = core::str::from_utf8(&bytes[..end]).ok()?;
        let nonce = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let Some(nonce) = nonce else {
            self.clients[key].send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            return Some(end + 4);
        };
        let accept = derive_accept_key(nonce.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let client = &mut self.clients[key];
        client.member = true;
        client.send(answer.as_bytes());
        Some(end + 4)
    }

    /// Takes one frame; the bytes used, 0 if it is not whole, `None` if the client is to go.
    fn frame(&mut self, key: usize, bytes: &mut [u8]) -> Option<usize> {
        let (length, mask_at) = match *bytes.get(..4).unwrap_or_default() {
            [_, second, high, low] if second & 127 == 126 => {
                (usize::from(u16::from_be_bytes([high, low])), 4)
            }
            [_, second, ..] if second & 127 < 126 => (usize::from(second & 127), 2),
            [] => return Some(0),
            _ => return None,
        };
        let whole = mask_at + 4 + length;
        if bytes.len() < whole {
            return Some(0);
        }
        let mask: [u8; 4] = bytes[mask_at..mask_at + 4].try_into().expect("four bytes");
        let first = bytes[0];
        let payload = &mut bytes[mask_at + 4..whole];
        unmask(payload, mask);
        match first & 15 {
            CLOSE => return None,
            PING => {
                let pong = [&[0x8A, payload.len() as u8][..], payload].concat();
                self.clients[key].send(&pong);
            }
            opcode if opcode <= TEXT + 1 => {
                push_frame(&mut self.frames, first, payload);
                if !self.coalesce {
                    self.fan_out();
                }
            }
            _ => {}
        }
        Some(whole)
    }

    /// One `send(2)` for each member.
    fn fan_out(&mut self) {
        for (_, client) in &mut self.clients {
            if client.member {
                client.send(&self.frames);
            }
        }
        self.frames.clear();
    }

    fn send_rest(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if let Some(rest) = &mut client.rest
            && !rest.unsent.is_empty()
        {
            let unsent = core::mem::take(&mut rest.unsent);
            client.send(&unsent);
        }
    }
}

impl Client {
    /// What does not fit waits. A connection that fails is removed when its end is read.
    fn send(&mut self, bytes: &[u8]) {
        if let Some(rest) = &mut self.rest
            && !rest.unsent.is_empty()
        {
            rest.unsent.extend_from_slice(bytes);
            return;
        }
        let sent = match self.stream.write(bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return,
        };
        if sent < bytes.len() {
            self.rest.get_or_insert_default().unsent.extend_from_slice(&bytes[sent..]);
        }
    }
}

fn push_frame(frames: &mut Vec<u8>, first: u8, payload: &[u8]) {
    frames.push(first);
    if payload.len() < 126 {
        frames.push(payload.len() as u8);
    } else {
        frames.push(126);
        frames.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    }
    frames.extend_from_slice(payload);
}

/// Eight bytes at a time; the compiler makes them wider.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let half = u64::from(u32::from_ne_bytes(mask));
    let wide = half | half << 32;
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (at, byte) in rest.iter_mut().enumerate() {
        *byte ^= mask[at & 3];
    }
}
