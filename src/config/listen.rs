//! Where sockets are: what `--listen`, `--health-listen` and `--admin-listen` take, and what `elbow
//! health` asks.
//!
//! An address is an IP address with its port, or the path of a Unix socket. Opening the sockets is
//! the shell's business; here is only which of them can stand beside each other.
//!
//! The surprise: `[::]` means IPv4 too, unless an address of IPv4 is listened on at the same port.
//! Then both are meant as they are written, and the first is for IPv6 alone. And names are never
//! resolved: `localhost` is a spelling of `127.0.0.1`. A server that asks DNS where to listen
//! starts slowly, or elsewhere.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::kind::Kind;

/// The most bytes of a Unix socket's path, as the kernel has it (unix(7), the NUL left out).
const UNIX_PATH_BYTES_MAX: usize = 107;

/// What stands in front of a Unix socket's path.
const UNIX: &str = "unix:";

/// How other programs write the name of an abstract socket (unix(7)).
const ABSTRACT: &str = "unix:@";

/// Where one socket is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// The path of a Unix socket; empty for one that has none, which only systemd hands over.
    Unix(PathBuf),
}

/// What is listened on, as an operator asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// Every address of the machine at this port, IPv6 and IPv4: written `:3000` or `*:3000`.
    Any(u16),
    /// One address, which may be the wildcard of its family.
    At(Endpoint),
}

impl Listen {
    /// Whether the second of two sockets could not be bound. Port 0 is never in the way.
    pub(super) fn is_in_the_way_of(&self, other: &Listen) -> bool {
        match (self, other) {
            (Listen::At(Endpoint::Unix(one)), Listen::At(Endpoint::Unix(another))) => {
                one == another
            }
            (Listen::At(Endpoint::Unix(_)), _) | (_, Listen::At(Endpoint::Unix(_))) => false,
            (Listen::Any(port), Listen::Any(other)) => port == other && *port != 0,
            (Listen::Any(port), Listen::At(Endpoint::Ip(address)))
            | (Listen::At(Endpoint::Ip(address)), Listen::Any(port)) => {
                *port == address.port() && *port != 0
            }
            (Listen::At(Endpoint::Ip(one)), Listen::At(Endpoint::Ip(another))) => {
                overlap(*one, *another)
            }
        }
    }

    /// Whether only this machine can connect: a loopback address, or a Unix socket.
    pub fn is_local(&self) -> bool {
        match self {
            Listen::At(Endpoint::Ip(address)) => address.ip().to_canonical().is_loopback(),
            Listen::At(Endpoint::Unix(_)) => true,
            Listen::Any(_) => false,
        }
    }

    /// Whether this is the wildcard of IPv6 and must leave IPv4 to another, because `other` is an
    /// address of IPv4 at the same port.
    pub fn leaves_ipv4_to(&self, other: &Listen) -> bool {
        match (self, other) {
            (Listen::At(Endpoint::Ip(own)), Listen::At(Endpoint::Ip(other))) => {
                let is_wildcard = own.is_ipv6() && own.ip().is_unspecified();
                let is_ipv4 = other.ip().to_canonical().is_ipv4();
                is_wildcard && is_ipv4 && own.port() == other.port() && own.port() != 0
            }
            (Listen::Any(_) | Listen::At(_), _) => false,
        }
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let (a_ip, b_ip) = (a.ip().to_canonical(), b.ip().to_canonical());
    let wildcard = a_ip.is_unspecified() || b_ip.is_unspecified();
    let same_family = a_ip.is_ipv4() == b_ip.is_ipv4();
    a.port() == b.port() && a.port() != 0 && (a_ip == b_ip || (wildcard && same_family))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Ip(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "{UNIX}{}", path.to_string_lossy().escape_debug()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Any(port) => write!(f, "*:{port}"),
            Listen::At(endpoint) => endpoint.fmt(f),
        }
    }
}

/// An address to listen on: `0.0.0.0:3000`, `[::1]:3000`, `localhost:3000`, `:3000`, `*:3000`,
/// `unix:/run/elbow.sock`.
pub(super) struct Address;

impl Kind<Listen> for Address {
    fn parse(&self, text: &str) -> Result<Listen, String> {
        if text.starts_with(ABSTRACT) {
            return Err(
                "allowed is no abstract socket, which has no file whose mode says who may \
                 connect; a file of this name is unix:./@NAME"
                    .to_owned(),
            );
        }
        let any = text.strip_prefix('*').unwrap_or(text).strip_prefix(':').and_then(port);
        any.map(Listen::Any)
            .or_else(|| unix(text).map(Listen::At))
            .or_else(|| ip(text).map(|address| Listen::At(Endpoint::Ip(address))))
            .ok_or_else(|| {
                "allowed is an IP address (or localhost, or * for all) and a port, such as \
                 0.0.0.0:3000, [::1]:3000 or *:3000, or unix:PATH, of at most 107 bytes \
                 without commas"
                    .to_owned()
            })
    }

    fn text(&self, listen: &Listen) -> String {
        listen.to_string()
    }
}

/// The permissions of a Unix socket's file: three octal digits, perhaps with a zero in front.
pub(super) struct FileMode;

impl Kind<u32> for FileMode {
    fn parse(&self, text: &str) -> Result<u32, String> {
        let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
        let is_octal = digits.len() == 3 && digits.bytes().all(|digit| digit.is_ascii_digit());
        u32::from_str_radix(digits, 8).ok().filter(|_| is_octal).ok_or_else(|| {
            "allowed are the octal digits of a file's mode, such as 0660 or 600".to_owned()
        })
    }

    fn text(&self, mode: &u32) -> String {
        format!("{mode:04o}")
    }
}

/// Reads an IP address, or `localhost`, and a port.
pub(super) fn ip(text: &str) -> Option<SocketAddr> {
    let local = text.strip_prefix("localhost:").and_then(port);
    let local = local.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    local.or_else(|| text.parse().ok())
}

/// Reads `unix:` and a path, which neither begins with the `@` of abstract sockets nor has the
/// comma that parts addresses.
pub(super) fn unix(text: &str) -> Option<Endpoint> {
    let path = text.strip_prefix(UNIX).filter(|_| !text.starts_with(ABSTRACT))?;
    let is_path = (1..=UNIX_PATH_BYTES_MAX).contains(&path.len()) && !path.contains(['\0', ',']);
    is_path.then(|| Endpoint::Unix(PathBuf::from(path)))
}

/// Decimal digits and nothing else; `u16::from_str` alone would take a plus sign too.
fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<Listen, String> {
        Ok(Listen::At(Endpoint::Ip(text.parse().unwrap())))
    }

    #[test]
    fn an_address_is_an_ip_address_or_localhost_with_a_port() {
        assert_eq!(Address.parse("0.0.0.0:3000"), at("0.0.0.0:3000"));
        assert_eq!(Address.parse("[::1]:0"), at("[::1]:0"));
        assert_eq!(Address.parse("localhost:80"), at("127.0.0.1:80"));
        for bad in ["", "3000", "0.0.0.0", "::1:3000:", "example.org:80", "1.2.3.4:65536"] {
            assert!(Address.parse(bad).is_err(), "{bad}");
        }
        for bad in ["localhost", "localhost:", "localhost:65536", "localhost:+80"] {
            assert!(Address.parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_alone_means_every_address() {
        for text in [":3000", "*:3000"] {
            assert_eq!(Address.parse(text), Ok(Listen::Any(3000)), "{text}");
        }
        assert_eq!(Address.parse("*:0"), Ok(Listen::Any(0)));
        assert_eq!(Address.text(&Listen::Any(80)), "*:80");
        for bad in [":", "*", "*:", "**:1", "*:65536", ":+1", ":-1", "*3000", "::3000", "*.*:1"] {
            assert!(Address.parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_unix_socket_is_a_path_that_the_kernel_can_name() {
        let shown = |text: &str| Address.parse(text).map(|listen| listen.to_string());
        assert_eq!(shown("unix:/run/elbow.sock"), Ok("unix:/run/elbow.sock".to_owned()));
        assert_eq!(shown("unix:a b"), Ok("unix:a b".to_owned()));
        assert_eq!(shown("unix:a\n"), Ok("unix:a\\n".to_owned()));
        assert!(shown(&format!("unix:{}", "a".repeat(107))).is_ok());
        for bad in [
            "unix:",
            "unix",
            "UNIX:/a",
            "unix:a\0b",
            "unix:/a,b",
            "unix:@a",
            &format!("unix:{}", "a".repeat(108)),
        ] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mode_is_octal() {
        for (text, mode) in [("0660", 0o660), ("660", 0o660), ("0000", 0), ("777", 0o777)] {
            assert_eq!(FileMode.parse(text), Ok(mode), "{text}");
        }
        assert_eq!(FileMode.text(&0o60), "0060");
        for bad in ["", "0", "66", "0o660", "1660", "00660", "668", "+60", "u=rw", "06600"] {
            assert!(FileMode.parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_addresses_can_stand_beside_each_other_or_not() {
        let parsed = |text: &str| Address.parse(text).unwrap();
        let overlaps = |a: &str, b: &str| {
            let (a, b) = (parsed(a), parsed(b));
            assert_eq!(a.is_in_the_way_of(&b), b.is_in_the_way_of(&a));
            a.is_in_the_way_of(&b)
        };
        for (a, b) in [
            ("*:1", ":1"),
            ("*:1", "127.0.0.1:1"),
            ("*:1", "[::1]:1"),
            ("*:1", "0.0.0.0:1"),
            ("*:1", "[::]:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("127.0.0.1:1", "[::ffff:127.0.0.1]:1"),
            ("unix:/a", "unix:/a"),
        ] {
            assert!(overlaps(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("*:1", ":2"),
            ("*:0", ":0"),
            ("[::]:0", "[::]:0"),
            ("0.0.0.0:1", "[::]:1"),
            ("127.0.0.1:1", "[::]:1"),
            ("127.0.0.1:1", "127.0.0.2:1"),
            ("unix:/a", "unix:/b"),
            ("unix:/a", "*:1"),
            ("unix:/a", "[::]:1"),
        ] {
            assert!(!overlaps(a, b), "{a} {b}");
        }
    }

    #[test]
    fn a_wildcard_leaves_ipv4_to_whoever_names_it() {
        let leaves = |own: &str, other: &str| {
            Address.parse(own).unwrap().leaves_ipv4_to(&Address.parse(other).unwrap())
        };
        assert!(leaves("[::]:1", "0.0.0.0:1"));
        assert!(leaves("[::]:1", "127.0.0.1:1"));
        assert!(leaves("[::]:1", "[::ffff:127.0.0.1]:1"));
        for (own, other) in [
            ("[::]:1", "0.0.0.0:2"),
            ("[::]:0", "0.0.0.0:0"),
            ("[::]:1", "[::1]:1"),
            ("[::]:1", "unix:/a"),
            ("[::1]:1", "0.0.0.0:1"),
            ("0.0.0.0:1", "[::]:1"),
            ("*:1", "0.0.0.0:1"),
        ] {
            assert!(!leaves(own, other), "{own} {other}");
        }
    }
}
