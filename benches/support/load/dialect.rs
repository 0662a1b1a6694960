//! What is spoken to a server, as bytes: requests, messages as they leave and as they come back.
//!
//! Servers' frames carry no mask and have the shortest form of length, so the bytes that a message
//! must come back as are known. What may stand between two messages are pings.

/// Key of every client frame: no server may gain from a mask of zeros.
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// What a server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    /// A text frame is a message.
    Plain,
    /// Socket.IO on Engine.IO 4 over a WebSocket: `42["chat message","…"]`.
    SocketIo,
}

/// What stands between two messages.
pub(crate) enum Between {
    /// What stands there is not whole yet.
    Partial,
    /// A ping of this length, and what it is answered with.
    Ping(usize, Vec<u8>),
    /// Something that should not be there.
    Unknown,
}

impl Dialect {
    /// As it is named on the pipe.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Dialect::Plain => "plain",
            Dialect::SocketIo => "socketio",
        }
    }

    /// The reverse of [`Dialect::name`].
    pub(crate) fn from_name(name: &str) -> Option<Dialect> {
        [Dialect::Plain, Dialect::SocketIo].into_iter().find(|dialect| dialect.name() == name)
    }

    /// Where a reader of `channel` asks, if there are `channels`.
    pub(crate) fn path(self, channel: usize, channels: usize) -> String {
        match self {
            Dialect::Plain if channels > 1 => format!("/ws/{channel}"),
            Dialect::Plain => "/ws".to_owned(),
            Dialect::SocketIo => "/socket.io/?EIO=4&transport=websocket".to_owned(),
        }
    }

    /// What a client says after its handshake, and what it then waits for.
    pub(crate) fn greeting(
        self,
        channel: usize,
        channels: usize,
    ) -> Option<(Vec<u8>, &'static [u8])> {
        let namespace = if channels > 1 { format!("40/{channel},") } else { "40".to_owned() };
        let answered: &[u8] = if channels > 1 { b"40/" } else { b"40{" };
        match self {
            Dialect::Plain => None,
            Dialect::SocketIo => {
                let mut frame = Vec::new();
                push_masked(&mut frame, TEXT, namespace.as_bytes());
                Some((frame, answered))
            }
        }
    }

    /// Appends the frame with which a client publishes `payload`.
    pub(crate) fn push_published(self, to: &mut Vec<u8>, prefix: &[u8], payload: &[u8]) {
        match self {
            Dialect::Plain => push_masked(to, TEXT, payload),
            Dialect::SocketIo => push_masked(to, TEXT, &[prefix, payload, b"\"]"].concat()),
        }
    }

    /// Appends the frame that every reader is to get for it.
    pub(crate) fn push_expected(self, to: &mut Vec<u8>, prefix: &[u8], payload: &[u8]) {
        match self {
            Dialect::Plain => {
                push_header(to, TEXT, 0, payload.len());
                to.extend_from_slice(payload);
            }
            Dialect::SocketIo => {
                push_header(to, TEXT, 0, prefix.len() + payload.len() + 2);
                to.extend_from_slice(prefix);
                to.extend_from_slice(payload);
                to.extend_from_slice(b"\"]");
            }
        }
    }

    /// What a message of `channel` begins with.
    pub(crate) fn prefix(self, channel: usize, channels: usize) -> Vec<u8> {
        match self {
            Dialect::Plain => Vec::new(),
            Dialect::SocketIo if channels > 1 => {
                format!("42/{channel},[\"chat message\",\"").into_bytes()
            }
            Dialect::SocketIo => b"42[\"chat message\",\"".to_vec(),
        }
    }

    /// What `bytes`, which are no message, begin with.
    pub(crate) fn between(self, bytes: &[u8]) -> Between {
        let [first, second, rest @ ..] = bytes else { return Between::Partial };
        let length = usize::from(*second);
        let mut answer = Vec::new();
        match (self, *first) {
            (_, PING) if length < 126 && rest.len() >= length => {
                push_masked(&mut answer, PONG, &rest[..length]);
                Between::Ping(2 + length, answer)
            }
            (_, PING) if length < 126 => Between::Partial,
            (Dialect::SocketIo, TEXT) if length == 1 && rest.first() == Some(&b'2') => {
                push_masked(&mut answer, TEXT, b"3");
                Between::Ping(3, answer)
            }
            (Dialect::SocketIo, TEXT) if length == 1 && rest.is_empty() => Between::Partial,
            _ => Between::Unknown,
        }
    }
}

fn push_masked(to: &mut Vec<u8>, first: u8, payload: &[u8]) {
    push_header(to, first, 0x80, payload.len());
    to.extend_from_slice(&MASK);
    to.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

fn push_header(to: &mut Vec<u8>, first: u8, masked: u8, length: usize) {
    to.push(first);
    if length < 126 {
        to.push(masked | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        to.push(masked | 126);
        to.extend_from_slice(&length.to_be_bytes());
    } else {
        to.push(masked | 127);
        to.extend_from_slice(&(length as u64).to_be_bytes());
    }
}
