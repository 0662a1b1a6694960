//! Every way a connection ends, in one list that log, counters and tests share.
//!
//! Ends are sorted by guilt: the peer went, the peer broke a protocol, a limit was reached, the
//! operator asked for it, the system failed. A WebSocket learns of an end that we decide by a close
//! frame (RFC 6455 §5.5.1), which is a constant here: saying goodbye must not need memory, least of
//! all when memory is what has run out.

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum CloseReason {
    /// The final answer was sent (`Connection: close`, an error, a probe's reply).
    Answered,
    /// The client began the WebSocket's closing handshake.
    ClosedByClient,
    /// The peer ended the connection without saying so; for a WebSocket that is RFC 6455's 1006.
    PeerGone,
    /// The peer reset the connection.
    PeerReset,
    /// The peer opened the connection and closed it without a byte, or after a PROXY header alone:
    /// a health check, or a connection opened in advance.
    ProbeOnly,
    /// No byte came in time, which is how a connection opened in advance ends that is never used;
    /// or a session entered no namespace in time.
    Silent,

    /// The PROXY header breaks the protocol.
    ProxyInvalid,
    /// No PROXY header where one is required.
    ProxyMissing,
    /// A PROXY header from a peer outside `--proxy-trust`.
    ProxyUntrusted,
    /// The PROXY header was not whole in time.
    ProxyTimeout,
    /// The request body was not whole in time.
    BodyTimeout,
    /// The client did not take the response.
    ResponseTimeout,
    /// A kept-alive connection was not used again.
    KeepAliveTimeout,
    /// The client sent a frame that RFC 6455 forbids: 1002. Or it sent and sent behind the request
    /// for an event stream.
    ProtocolError,
    /// The client sent text that is not UTF-8: 1007.
    InvalidText,
    /// The client began a message and did not finish it in time: 1008.
    MessageTimeout,
    /// The client sent a message over `--max-message`, or one whose record is over half a ring:
    /// 1009.
    MessageTooBig,

    /// The ring overtook this reader: 1008.
    TooSlow,
    /// The token by which the client was let in has expired: 1008.
    TokenExpired,
    /// The client said something in a channel in which it may only listen: 1008.
    MayNotSpeak,
    /// Nothing came back in time after a ping.
    PingTimeout,
    /// The kernel gave up on bytes that the peer did not acknowledge (`TCP_USER_TIMEOUT`).
    TransportTimeout,
    /// The close frame could not be sent in time.
    CloseTimeout,
    /// The pool was empty: 1013.
    NoMemory,
    /// Messages of the channel were lost, of which a reader that is told no positions is told so:
    /// 1012.
    MessagesLost,
    /// The order of messages is decided elsewhere, and that has been out of reach for longer than
    /// what somebody says may wait: 1013.
    BackplaneAway,
    /// Others wanted the place of a connection that was idle, or of a session in no namespace:
    /// 1013.
    GaveWay,

    /// The operator, or a backend, has closed it: 1008.
    Disconnected,
    /// The server is draining, or whoever was here has stayed for `--max-lifetime`: 1001.
    GoingAway,
    /// The response was a file from before the last reload, and the next reload could wait no
    /// longer.
    Replaced,
    /// The socket failed with an error that is no reset and no timeout.
    SocketFailed,
}

impl CloseReason {
    /// All reasons, in the order of their numbers, for counters and tests.
    pub const ALL: [CloseReason; 31] = [
        CloseReason::Answered,
        CloseReason::ClosedByClient,
        CloseReason::PeerGone,
        CloseReason::PeerReset,
        CloseReason::ProbeOnly,
        CloseReason::Silent,
        CloseReason::ProxyInvalid,
        CloseReason::ProxyMissing,
        CloseReason::ProxyUntrusted,
        CloseReason::ProxyTimeout,
        CloseReason::BodyTimeout,
        CloseReason::ResponseTimeout,
        CloseReason::KeepAliveTimeout,
        CloseReason::ProtocolError,
        CloseReason::InvalidText,
        CloseReason::MessageTimeout,
        CloseReason::MessageTooBig,
        CloseReason::TooSlow,
        CloseReason::TokenExpired,
        CloseReason::MayNotSpeak,
        CloseReason::PingTimeout,
        CloseReason::TransportTimeout,
        CloseReason::CloseTimeout,
        CloseReason::NoMemory,
        CloseReason::MessagesLost,
        CloseReason::BackplaneAway,
        CloseReason::GaveWay,
        CloseReason::Disconnected,
        CloseReason::GoingAway,
        CloseReason::Replaced,
        CloseReason::SocketFailed,
    ];

    /// The words for this reason in the log and in a close frame.
    pub fn text(self) -> &'static str {
        match self {
            CloseReason::Answered => "answered",
            CloseReason::ClosedByClient => "closed by client",
            CloseReason::PeerGone => "peer gone",
            CloseReason::PeerReset => "peer reset",
            CloseReason::ProbeOnly => "probe",
            CloseReason::Silent => "silent",
            CloseReason::ProxyInvalid => "invalid PROXY header",
            CloseReason::ProxyMissing => "no PROXY header",
            CloseReason::ProxyUntrusted => "untrusted PROXY header",
            CloseReason::ProxyTimeout => "PROXY header timeout",
            CloseReason::BodyTimeout => "request body timeout",
            CloseReason::ResponseTimeout => "response timeout",
            CloseReason::KeepAliveTimeout => "keep-alive timeout",
            CloseReason::ProtocolError => "protocol error",
            CloseReason::InvalidText => "invalid text",
            CloseReason::MessageTimeout => "message timeout",
            CloseReason::MessageTooBig => "message too big",
            CloseReason::TooSlow => "too slow",
            CloseReason::TokenExpired => "token expired",
            CloseReason::MayNotSpeak => "may not speak",
            CloseReason::PingTimeout => "ping timeout",
            CloseReason::TransportTimeout => "transport timeout",
            CloseReason::CloseTimeout => "close timeout",
            CloseReason::NoMemory => "out of memory",
            CloseReason::MessagesLost => "messages lost",
            CloseReason::BackplaneAway => "backplane away",
            CloseReason::GaveWay => "gave way",
            CloseReason::Disconnected => "disconnected",
            CloseReason::GoingAway => "going away",
            CloseReason::Replaced => "file replaced",
            CloseReason::SocketFailed => "socket failed",
        }
    }

    /// The reasons that a PROXY header can be, or its lack.
    pub const OF_PROXY_HEADERS: [CloseReason; 4] = [
        CloseReason::ProxyInvalid,
        CloseReason::ProxyMissing,
        CloseReason::ProxyUntrusted,
        CloseReason::ProxyTimeout,
    ];

    /// The words for this reason as one word, a label of metrics: `_` stands for each space.
    pub fn label_bytes(self) -> impl Iterator<Item = u8> {
        self.text().bytes().map(|byte| if byte == b' ' { b'_' } else { byte })
    }

    /// The close frame that tells a WebSocket client of this reason: header (opcode 8, unmasked),
    /// status code, words. `None` where there is nobody to tell or nothing may be said.
    pub fn close_frame(self) -> Option<&'static [u8]> {
        match self {
            CloseReason::ProtocolError => Some(b"\x88\x10\x03\xeaprotocol error"),
            CloseReason::InvalidText => Some(b"\x88\x0e\x03\xefinvalid text"),
            CloseReason::MessageTimeout => Some(b"\x88\x11\x03\xf0message timeout"),
            CloseReason::MessageTooBig => Some(b"\x88\x11\x03\xf1message too big"),
            CloseReason::TooSlow => Some(b"\x88\x0a\x03\xf0too slow"),
            CloseReason::TokenExpired => Some(b"\x88\x0f\x03\xf0token expired"),
            CloseReason::MayNotSpeak => Some(b"\x88\x0f\x03\xf0may not speak"),
            CloseReason::NoMemory => Some(b"\x88\x0f\x03\xf5out of memory"),
            CloseReason::MessagesLost => Some(b"\x88\x0f\x03\xf4messages lost"),
            CloseReason::BackplaneAway => Some(b"\x88\x10\x03\xf5backplane away"),
            CloseReason::GaveWay => Some(b"\x88\x0a\x03\xf5gave way"),
            CloseReason::Disconnected => Some(b"\x88\x0e\x03\xf0disconnected"),
            CloseReason::GoingAway => Some(b"\x88\x0c\x03\xe9going away"),
            CloseReason::Answered
            | CloseReason::ClosedByClient
            | CloseReason::PeerGone
            | CloseReason::PeerReset
            | CloseReason::ProbeOnly
            | CloseReason::Silent
            | CloseReason::ProxyInvalid
            | CloseReason::ProxyMissing
            | CloseReason::ProxyUntrusted
            | CloseReason::ProxyTimeout
            | CloseReason::BodyTimeout
            | CloseReason::ResponseTimeout
            | CloseReason::KeepAliveTimeout
            | CloseReason::PingTimeout
            | CloseReason::TransportTimeout
            | CloseReason::CloseTimeout
            | CloseReason::Replaced
            | CloseReason::SocketFailed => None,
        }
    }
}

/// How the other end learns that a connection or a session is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Farewell {
    /// Not at all: nobody can be told any more, or everything was said.
    None,
    /// By the protocol: the close of a WebSocket, or of Engine.IO in the answer to a poll.
    Close,
    /// By a reset: nobody is there, or what is unsent is of no use.
    Cut,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_frame_says_the_reason_in_words() {
        for reason in CloseReason::ALL {
            let Some(frame) = reason.close_frame() else { continue };
            assert_eq!(frame[0], 0x88);
            assert_eq!(usize::from(frame[1]), frame.len() - 2);
            let code = u16::from_be_bytes([frame[2], frame[3]]);
            assert!((1001..=1013).contains(&code), "{code}");
            assert_eq!(&frame[4..], reason.text().as_bytes());
        }
    }

    #[test]
    fn the_list_is_in_the_order_of_its_numbers() {
        for (number, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }
}
