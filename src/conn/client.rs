//! Who is at the other end of a connection, and by which listener they came.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The kind of listener by which a connection came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listener {
    /// `--listen`: the page and the sockets.
    Public,
    /// `--health-listen`: probes only, with a PROXY header of either version or none.
    Health,
}

impl Listener {
    /// All kinds of listeners, in the order of their numbers.
    pub const ALL: [Listener; 2] = [Listener::Public, Listener::Health];
}

/// Whether a peer is believed when it says who the client is, and whether it has said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// The peer is not believed.
    Stranger,
    /// The peer is believed and has named nobody else: the client's address is its own.
    Trusted,
    /// The peer is believed and has named another as the client.
    Spokesman,
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
