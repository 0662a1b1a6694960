//! The kinds by which things are counted, and what they are called where the counters are shown.
//!
//! A kind has one name everywhere: as a label of a metric, in the status, and in what the doctor
//! says. Names are final, since dashboards and alerts refer to them.

/// What a connection is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Requests are read and answered, or nothing has come yet. Polls of sessions are requests.
    Http,
    /// A WebSocket that is a member of a channel by itself.
    WebSocket,
    /// A WebSocket that a Socket.IO session is on, or that wants to take one over.
    SocketIo,
    /// An event stream.
    Stream,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Kind; 4] = [Kind::Http, Kind::WebSocket, Kind::SocketIo, Kind::Stream];
}

/// By which way a message came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// A plain WebSocket said it, with the subprotocol `elbow.v1` or without.
    WebSocket,
    /// A Socket.IO session said it.
    SocketIo,
    /// A request on the admin listener said it.
    Admin,
    /// Another instance said it, and it came with its place in the order of all.
    Backplane,
}

impl By {
    /// All ways, in the order of their numbers.
    pub const ALL: [By; 4] = [By::WebSocket, By::SocketIo, By::Admin, By::Backplane];

    /// The name of the way.
    pub const fn name(self) -> &'static str {
        match self {
            By::WebSocket => "websocket",
            By::SocketIo => "socketio",
            By::Admin => "admin",
            By::Backplane => "backplane",
        }
    }
}

/// What a health probe looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProbeShape {
    /// A request for `/healthz`.
    Alive,
    /// A request for `/readyz`.
    Ready,
    /// A connection that was closed before a byte was sent.
    Connect,
    /// A connection that brought a PROXY header and nothing else.
    Header,
}

impl ProbeShape {
    /// All shapes, in the order of their numbers.
    pub const ALL: [ProbeShape; 4] =
        [ProbeShape::Alive, ProbeShape::Ready, ProbeShape::Connect, ProbeShape::Header];

    /// The name of the shape.
    pub const fn name(self) -> &'static str {
        match self {
            ProbeShape::Alive => "healthz",
            ProbeShape::Ready => "readyz",
            ProbeShape::Connect => "connect",
            ProbeShape::Header => "proxy_header",
        }
    }
}

/// Whom a PROXY header names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// A client, by its address.
    Proxy,
    /// Nobody: the balancer speaks for itself.
    Local,
    /// A client whose address is not told, or is none of TCP over IP.
    Unknown,
}

impl Command {
    /// All commands, in the order of their numbers.
    pub const ALL: [Command; 3] = [Command::Proxy, Command::Local, Command::Unknown];

    /// The name of the command.
    pub const fn name(self) -> &'static str {
        match self {
            Command::Proxy => "proxy",
            Command::Local => "local",
            Command::Unknown => "unknown",
        }
    }
}

/// Why somebody was not let in: into a channel, by a WebSocket, an event stream or a namespace; or
/// to a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The server takes leave of everybody.
    Draining,
    /// `--max-connections` are in use.
    Sessions,
    /// The client's address has `--max-connections-per-ip` sessions.
    SessionsOfAddress,
    /// The client's address has a quarter of all sessions.
    QuarterOfSessions,
    /// `--max-channels` are in use.
    Channels,
    /// The client's address has brought its share of channels into being.
    ChannelsOfAddress,
    /// `--memory` is used up.
    Memory,
    /// The client's address has brought its share of rings into being.
    MemoryOfAddress,
    /// The client's address was just sent its share of what is kept.
    Replays,
    /// What the client wanted, or nothing, is not kept any more.
    Gone,
    /// The page that asked may not connect.
    Origin,
    /// The server does not go by the name that was asked for.
    Host,
    /// The request breaks a rule of its protocol.
    Protocol,
    /// A token is needed, and there is none that is taken.
    Token,
    /// Too many tokens wait for their check.
    TokenChecks,
    /// Nobody has said in time where the channel begins, whose order is decided elsewhere.
    NotOpened,
}

impl Refusal {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Refusal; 16] = [
        Refusal::Draining,
        Refusal::Sessions,
        Refusal::SessionsOfAddress,
        Refusal::QuarterOfSessions,
        Refusal::Channels,
        Refusal::ChannelsOfAddress,
        Refusal::Memory,
        Refusal::MemoryOfAddress,
        Refusal::Replays,
        Refusal::Gone,
        Refusal::Origin,
        Refusal::Host,
        Refusal::Protocol,
        Refusal::Token,
        Refusal::TokenChecks,
        Refusal::NotOpened,
    ];

    /// The name of the reason.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::Draining => "draining",
            Refusal::Sessions => "max_connections",
            Refusal::SessionsOfAddress => "max_connections_per_ip",
            Refusal::QuarterOfSessions => "address_sessions",
            Refusal::Channels => "max_channels",
            Refusal::ChannelsOfAddress => "address_channels",
            Refusal::Memory => "memory",
            Refusal::MemoryOfAddress => "address_memory",
            Refusal::Replays => "address_replays",
            Refusal::Gone => "gone",
            Refusal::Origin => "origin",
            Refusal::Host => "host",
            Refusal::Protocol => "protocol",
            Refusal::Token => "token",
            Refusal::TokenChecks => "token_checks",
            Refusal::NotOpened => "not_opened",
        }
    }

    /// The reason in words for the operator, with the flag that it is about.
    pub const fn words(self) -> &'static str {
        match self {
            Refusal::Draining => "draining",
            Refusal::Sessions => "--max-connections are in use",
            Refusal::SessionsOfAddress => "--max-connections-per-ip of this address are in use",
            Refusal::QuarterOfSessions => {
                "a quarter of --max-connections is in use by this address"
            }
            Refusal::Channels => "--max-channels are in use",
            Refusal::ChannelsOfAddress => "a quarter of --max-channels is in use by this address",
            Refusal::Memory => "--memory is used up",
            Refusal::MemoryOfAddress => {
                "a quarter of --memory is in use by the channels of this address"
            }
            Refusal::Replays => "this address was sent a ring of what is kept within a second",
            Refusal::Gone => "what was said since then is not kept any more",
            Refusal::Origin => "pages of this origin may not connect",
            Refusal::Host => "the server does not go by this name",
            Refusal::Protocol => "a rule of the protocol is broken",
            Refusal::Token => "there is no token that is taken",
            Refusal::TokenChecks => "too many tokens wait for a check",
            Refusal::NotOpened => "nobody has said in time where the channel begins",
        }
    }
}

/// Why a message was said to nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsaid {
    /// The message is larger than `--max-message`, or its record than half a ring.
    TooBig,
    /// There was no memory for its record.
    NoMemory,
    /// The event is not among those that are relayed.
    NotRelayed,
    /// Whoever said the message may only listen.
    MayNotSpeak,
    /// Whoever decides the order of messages has been out of reach for too long.
    Away,
}

impl Unsaid {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Unsaid; 5] =
        [Unsaid::TooBig, Unsaid::NoMemory, Unsaid::NotRelayed, Unsaid::MayNotSpeak, Unsaid::Away];

    /// The name of the reason.
    pub const fn name(self) -> &'static str {
        match self {
            Unsaid::TooBig => "message_too_big",
            Unsaid::NoMemory => "out_of_memory",
            Unsaid::NotRelayed => "not_relayed",
            Unsaid::MayNotSpeak => "may_not_speak",
            Unsaid::Away => "backplane_away",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_in_the_order_of_their_numbers() {
        fn assert_order(numbers: impl IntoIterator<Item = usize>) {
            numbers.into_iter().enumerate().for_each(|(place, number)| assert_eq!(place, number));
        }
        assert_order(Kind::ALL.map(|kind| kind as usize));
        assert_order(By::ALL.map(|by| by as usize));
        assert_order(ProbeShape::ALL.map(|shape| shape as usize));
        assert_order(Command::ALL.map(|command| command as usize));
        assert_order(Refusal::ALL.map(|refusal| refusal as usize));
        assert_order(Unsaid::ALL.map(|unsaid| unsaid as usize));
    }
}
