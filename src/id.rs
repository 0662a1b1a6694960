//! Names for things, as newtypes: two plain numbers can be swapped by mistake, two newtypes cannot.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::num::NonZeroU64;

/// A connection: its slot, and how often that slot was used before. So an event that arrives late
/// meets a dead generation, not a stranger in the same slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct ConnId {
    /// The place in the table of connections.
    pub slot: u32,
    /// One higher each time the slot is filled again.
    pub generation: u32,
}

impl ConnId {
    /// Slot and generation in one number, for the kernel, which hands it back with each event.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The reverse of [`ConnId::to_bits`].
    pub fn from_bits(bits: u64) -> ConnId {
        ConnId { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// A client's address in 18 bytes; a `SocketAddr` has 32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    ip: [u8; 16],
    port: [u8; 2],
}

impl Client {
    /// Packs an address, IPv4 as its IPv6 mapping.
    pub fn new(address: SocketAddr) -> Client {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Client { ip: ip.octets(), port: address.port().to_be_bytes() }
    }

    /// The address in its canonical form: `::ffff:10.0.0.1` becomes `10.0.0.1`.
    pub fn address(self) -> SocketAddr {
        SocketAddr::new(self.ip(), u16::from_be_bytes(self.port))
    }

    /// The IP address without the port, in its canonical form.
    pub fn ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.ip)).to_canonical()
    }
}

/// Who somebody is by a token: a hash of its subject, with a key of this process. Two subjects that
/// share one are a matter of 2^64, and nobody outside can look for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Subject(NonZeroU64);

impl Subject {
    /// The subject of this hash; `None` for 0, which stands for nobody.
    pub fn from_bits(bits: u64) -> Option<Subject> {
        NonZeroU64::new(bits).map(Subject)
    }

    /// The reverse of [`Subject::from_bits`].
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }
}

/// A channel's place in the table of channels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct ChannelId(pub u32);

/// An Engine.IO session: its slot in the table of sessions, and how many sessions there were before
/// it. So whoever asks late for one that has ended does not meet a stranger in the same slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct SessionId {
    /// The place in the table of sessions.
    pub slot: u32,
    /// One higher with each session.
    pub generation: u32,
}

/// The form in which a reader gets its messages. A channel has a feed for each dialect that a
/// member reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Dialect {
    /// WebSocket messages as they were said.
    Plain,
    /// WebSocket messages with their position in front: the subprotocol `elbow.v1`.
    ElbowV1,
    /// Server-sent events, in chunks of HTTP/1.1.
    EventStream,
    /// Socket.IO packets in Engine.IO 4.
    SocketIo4,
    /// Socket.IO packets in Engine.IO 3, whose binary frames have a leading type byte.
    SocketIo3,
}

impl Dialect {
    /// All dialects, in the order of their numbers.
    pub const ALL: [Dialect; 5] = [
        Dialect::Plain,
        Dialect::ElbowV1,
        Dialect::EventStream,
        Dialect::SocketIo4,
        Dialect::SocketIo3,
    ];

    /// Whether readers of the dialect are Socket.IO sessions, which are told of newcomers.
    pub const fn is_socketio(self) -> bool {
        match self {
            Dialect::SocketIo4 | Dialect::SocketIo3 => true,
            Dialect::Plain | Dialect::ElbowV1 | Dialect::EventStream => false,
        }
    }

    /// Whether readers of the dialect are told of a gap where it stands. Others are parted from what
    /// comes behind it.
    pub const fn is_told_of_gaps(self) -> bool {
        match self {
            Dialect::ElbowV1 | Dialect::EventStream => true,
            Dialect::Plain | Dialect::SocketIo4 | Dialect::SocketIo3 => false,
        }
    }

    /// Whether a record of the dialect has the message's bytes as they are, behind what is put in
    /// front of them.
    pub const fn is_in_parts(self) -> bool {
        match self {
            Dialect::Plain | Dialect::ElbowV1 => true,
            Dialect::EventStream | Dialect::SocketIo4 | Dialect::SocketIo3 => false,
        }
    }
}

/// Whoever reads a channel, a connection or a session, in four bytes. A slot is enough: members
/// live, and whoever ends leaves its channels first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member(u32);

/// The two kinds of [`Member`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    /// A plain WebSocket or an event stream: the connection's slot.
    Conn(u32),
    /// A Socket.IO session, which outlives its connections: the session's slot.
    Session(u32),
}

impl Member {
    const SESSION: u32 = 1 << 31;

    /// Packs a reader: 31 bits of its number, and a highest bit that says which kind it is.
    ///
    /// # Panics
    /// If the number has its highest bit set: tables are not that large.
    pub fn new(reader: Reader) -> Member {
        let (number, kind) = match reader {
            Reader::Conn(slot) => (slot, 0),
            Reader::Session(slot) => (slot, Member::SESSION),
        };
        assert!(number < Member::SESSION);
        Member(number | kind)
    }

    /// The reader that was packed.
    pub fn reader(self) -> Reader {
        if self.0 & Member::SESSION == 0 {
            Reader::Conn(self.0)
        } else {
            Reader::Session(self.0 & !Member::SESSION)
        }
    }
}

/// A position in a feed: bytes since the feed began. Offsets never wrap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The position `bytes` further on.
    pub fn plus(self, bytes: u64) -> Offset {
        Offset(self.0 + bytes)
    }

    /// Bytes from `earlier` to this position; zero if `earlier` is not earlier.
    pub fn since(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The number of a record in its feed: how many records the feed had taken before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Seq(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_who_it_was_made_of() {
        for reader in [Reader::Conn(0), Reader::Conn(65_599), Reader::Session(7)] {
            assert_eq!(Member::new(reader).reader(), reader);
        }
    }

    #[test]
    fn a_client_has_its_canonical_address_back() {
        for (given, canonical) in [
            ("192.0.2.7:80", "192.0.2.7:80"),
            ("[::ffff:192.0.2.7]:80", "192.0.2.7:80"),
            ("[2001:db8::1]:65535", "[2001:db8::1]:65535"),
            ("[::1]:0", "[::1]:0"),
        ] {
            let client = Client::new(given.parse().unwrap());
            assert_eq!(client.address(), canonical.parse().unwrap());
            assert_eq!(client.ip(), client.address().ip());
        }
        assert_eq!(size_of::<Client>(), 18);
    }

    #[test]
    fn a_connection_survives_the_way_through_the_kernel() {
        let id = ConnId { slot: u32::MAX - 1, generation: 7 };
        assert_eq!(ConnId::from_bits(id.to_bits()), id);
    }
}
