//! Chance, fake sockets, and what a client understands of the bytes that come out of them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use elbow::server::Socket;

/// A small generator with a seed: the test's only source of chance.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % n as u64) as usize
    }

    pub(crate) fn chance(&mut self, per_cent: usize) -> bool {
        self.below(100) < per_cent
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Both directions of a connection, as its client sees them.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) to_server: VecDeque<u8>,
    pub(crate) ended: bool,
    pub(crate) reset: bool,
    pub(crate) to_client: Vec<u8>,
    /// What the server may still write.
    pub(crate) room: usize,
    /// It was refused some of it.
    pub(crate) wants_room: bool,
    pub(crate) shut_down: bool,
    pub(crate) dropped: bool,
}

/// The server's end.
pub(crate) struct End(pub(crate) Rc<RefCell<Wire>>);

impl Socket for End {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        assert!(!buffer.is_empty(), "reading into nothing would look like the end");
        if wire.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if wire.to_server.is_empty() {
            return if wire.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let length = buffer.len().min(wire.to_server.len());
        for (place, byte) in buffer.iter_mut().zip(wire.to_server.drain(..length)) {
            *place = byte;
        }
        Ok(length)
    }

    fn write(&self, slices: &[&[u8]; 4]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        assert!(!wire.shut_down, "written after the end was said");
        if wire.reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let bytes = slices.concat();
        assert!(!bytes.is_empty(), "a write of nothing");
        let length = bytes.len().min(wire.room);
        wire.wants_room |= length < bytes.len();
        if length == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire.room -= length;
        wire.to_client.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn shutdown_write(&self) {
        self.0.borrow_mut().shut_down = true;
    }

    fn cut(&self) {}
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.borrow_mut().dropped = true;
    }
}

/// A frame of the server: opcode and payload, and how long it was. `None`: not all of it is here.
pub(crate) fn frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let [first, second, ..] = *bytes else { return None };
    assert!(first & 0xf0 == 0x80 && second & 0x80 == 0, "no frame of a server: {bytes:?}");
    assert!([1, 2, 8, 9, 10].contains(&(first & 15)), "no such frame: {bytes:?}");
    let (length, head) = match second {
        126 => (usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])), 4),
        127 => {
            (u64::from_be_bytes(bytes.get(2..10)?.try_into().expect("eight bytes")) as usize, 10)
        }
        short => (usize::from(short), 2),
    };
    let payload = bytes.get(head..head + length)?.to_vec();
    assert!(first & 15 != 1 || str::from_utf8(&payload).is_ok(), "text is UTF-8");
    Some((first & 15, payload, head + length))
}

/// A client's frame with a mask of zeros, which leaves the payload readable.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("the world of the test works");
    let head = match u8::try_from(length) {
        Ok(short @ 0..=125) => vec![0x80 | opcode, 0x80 | short],
        _ => [&[0x80 | opcode, 0x80 | 126][..], &length.to_be_bytes()].concat(),
    };
    [&head[..], &[0; 4], payload].concat()
}

/// A response: status and body, and how long it was. `None`: not all of it is here.
pub(crate) fn response(bytes: &[u8]) -> Option<(u16, Vec<u8>, usize)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = str::from_utf8(&bytes[..head]).expect("a head is text");
    let status =
        text.strip_prefix("HTTP/1.1 ").expect("a status line")[..3].parse().expect("a number");
    let field =
        |line: &str| line.strip_prefix("Content-Length: ").map(|n| n.parse().expect("a number"));
    let length: usize = text.lines().find_map(field).unwrap_or(0);
    let body = bytes.get(head..head + length)?.to_vec();
    Some((status, body, head + length))
}

/// One packet of Engine.IO: its text, or how many bytes its binary has.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Text(String),
    Binary(usize),
}

/// The packets of a polling body.
pub(crate) fn packets(version: u8, body: &[u8]) -> Vec<Packet> {
    let text = str::from_utf8(body).expect("a body is text");
    let mut pieces: Vec<&str> = Vec::new();
    if version == 4 {
        pieces.extend(text.split('\x1e'));
    } else {
        let mut rest = text;
        while !rest.is_empty() {
            let (length, tail) = rest.split_once(':').expect("a counted packet");
            let (piece, tail) = tail.split_at(length.parse().expect("a length"));
            pieces.push(piece);
            rest = tail;
        }
    }
    let binary = if version == 4 { "b" } else { "b4" };
    let packet = |piece: &str| match piece.strip_prefix(binary) {
        Some(coded) => Packet::Binary(coded.trim_end_matches('=').len() * 3 / 4),
        None => Packet::Text(piece.to_owned()),
    };
    pieces.into_iter().map(packet).collect()
}

/// A client's polling body.
pub(crate) fn body(version: u8, packets: &[String]) -> String {
    if version == 4 {
        return packets.join("\x1e");
    }
    packets.iter().map(|packet| format!("{}:{packet}", packet.len())).collect()
}
