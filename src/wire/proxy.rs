//! PROXY protocol versions 1 and 2 (HAProxy's `proxy-protocol.txt`, sections 2.1 and 2.2): the few
//! bytes in front of a connection in which a load balancer says whose connection it forwards.
//!
//! Deals with: both versions in any segmentation, v2's TLVs and its CRC-32C, the VPC endpoint that
//! AWS names, IPv4-mapped addresses as IPv4; and where a header ends, for listeners that believe
//! none. Leaves to others: which peers are believed, how long a header may take, what becomes of a
//! connection without one, and the bytes behind it, a second header among them.
//!
//! ```text
//! v1   "PROXY TCP4 192.0.2.1 198.51.100.2 1234 80" CR LF
//! v2   signature 12 │ version, command 1 │ family, transport 1 │ length 2 │ addresses │ TLVs …
//! ```
//!
//! The surprise: the health check of an AWS Network Load Balancer announces TCP over IPv4 and
//! carries no addresses; its TLVs stand in their place. The header is a LOCAL one, of which nothing
//! but the length may be looked at: whoever reads on finds the client `3.0.4.188:74`.
//!
//! A verdict never depends on how the bytes were cut, and is never taken back. So a v1 line is
//! judged byte by byte: the first byte that no valid line has in its place names the error. The 16
//! fixed bytes of v2 are judged field by field as they arrive. What stands behind them is judged
//! only when all of it is there: its length is known by then, and walking it anew for each segment
//! would cost a square.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

use crate::wire::Status;
use crate::work;

/// The most bytes of a version 1 line, CR LF included: the specification's bound, which `UNKNOWN`
/// with two full IPv6 addresses and ports reaches.
pub const V1_BYTES_MAX: usize = 107;

/// The most bytes of a version 2 header that are accepted. The format allows 65,551; senders stay
/// within 536, and a certificate in the SSL TLV still fits. A bigger header is a mistake or an
/// attempt to make us hold bytes for a stranger.
pub const V2_BYTES_MAX: usize = 4096;

/// A whole header: how long it is, and what it announces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    /// Bytes of the header, at most [`V1_BYTES_MAX`] or [`V2_BYTES_MAX`]; the application's first
    /// byte is `bytes[len]`.
    pub len: usize,
    /// The format of the header.
    pub version: Version,
    /// Whom the connection comes from.
    pub claim: Claim,
    /// The AWS VPC endpoint that the client came through (TLV 0xEA, sub-type 0x01), the first if
    /// there are several. One or more graphic ASCII characters, so that the id is one word of a log
    /// line. A value of another shape is passed over, not refused: 0xEA is of the range that every
    /// proxy may use as it likes.
    pub vpc_endpoint: Option<&'a str>,
}

/// The format of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// Version 1: a line of text.
    V1,
    /// Version 2: binary.
    V2,
}

/// Whom a connection comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// The client at these addresses.
    Proxied(Addresses),
    /// The balancer itself (v2 LOCAL), usually for a health check; the socket's own addresses
    /// stand.
    Local,
    /// A client whose addresses were not announced (v1 UNKNOWN, v2 UNSPEC) or cannot be those of a
    /// TCP connection (v2 datagrams, UNIX sockets); the socket's own addresses stand.
    Unknown,
}

/// The two ends of the connection to the balancer; IPv4-mapped IPv6 addresses are given as IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// The client's end.
    pub source: SocketAddr,
    /// The end that the client connected to, at the balancer.
    pub destination: SocketAddr,
}

impl Addresses {
    fn new(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Addresses {
        Addresses {
            source: SocketAddr::new(source.0.to_canonical(), source.1),
            destination: SocketAddr::new(destination.0.to_canonical(), destination.1),
        }
    }
}

/// Why the bytes do not begin with a header. All but [`Error::TooLong`] are the sender's fault;
/// none is worth an answer: the specification wants the connection closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The bytes have the signature of neither version.
    NotProxy,
    /// v1: an LF has no CR before it.
    BareLf,
    /// v1: a CR has no LF behind it.
    BareCr,
    /// v1: no end of line within [`V1_BYTES_MAX`]. v2: more than [`V2_BYTES_MAX`] bytes announced.
    TooLong,
    /// v1: the protocol is neither TCP4 nor TCP6 nor UNKNOWN.
    BadProtocol,
    /// v1: there are too few fields, too many, or a space too many.
    BadFields,
    /// v1: a byte is neither graphic ASCII nor the separator that belongs there.
    BadByte,
    /// v1: a field is no address of the announced family.
    BadAddress,
    /// v1: a field is no decimal number from 0 to 65535 without leading zeros.
    BadPort,
    /// v2: the version is another one.
    BadVersion,
    /// v2: the command is neither LOCAL nor PROXY.
    BadCommand,
    /// v2: the address family is not defined.
    BadFamily,
    /// v2: the transport is not defined.
    BadTransport,
    /// v2: fewer bytes are announced than the family's addresses occupy.
    ShortAddress,
    /// v2: a TLV does not fit, has the wrong size or comes twice.
    BadTlv,
    /// v2: the CRC-32C is not that of the header.
    BadChecksum,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::NotProxy => "the connection does not begin with a PROXY protocol header",
            Error::BareLf => "the PROXY v1 line has an LF without a CR before it",
            Error::BareCr => "the PROXY v1 line has a CR without an LF behind it",
            Error::TooLong => "the PROXY header is longer than 107 bytes (v1) or 4096 bytes (v2)",
            Error::BadProtocol => "the PROXY v1 line names neither TCP4 nor TCP6 nor UNKNOWN",
            Error::BadFields => "the PROXY v1 line has too few fields, too many or an empty one",
            Error::BadByte => "the PROXY v1 line has a byte that is not printable ASCII",
            Error::BadAddress => "the PROXY v1 line has an address that is not of its family",
            Error::BadPort => "the PROXY v1 line has a port that is not a number up to 65535",
            Error::BadVersion => "the PROXY header has the v2 signature but another version",
            Error::BadCommand => "the PROXY v2 header has a command other than LOCAL and PROXY",
            Error::BadFamily => "the PROXY v2 header has an undefined address family",
            Error::BadTransport => "the PROXY v2 header has an undefined transport",
            Error::ShortAddress => "the PROXY v2 header is too short for its addresses",
            Error::BadTlv => "the PROXY v2 header has a malformed TLV",
            Error::BadChecksum => "the PROXY v2 header does not match its CRC-32C checksum",
        })
    }
}

impl core::error::Error for Error {}

/// Reads the header that `bytes`, the connection's bytes from its very first one, begin with.
///
/// `Partial` means that every byte fits so far; to be called again with these bytes and more. Once
/// the result is `Complete` or an error, more bytes never change it. Bounded work, no allocation.
///
/// # Errors
///
/// The first mistake in the bytes; the connection should be closed without an answer.
pub fn parse(bytes: &[u8]) -> Result<Status<Header<'_>>, Error> {
    work::looked_at(bytes.len().min(V1_BYTES_MAX));
    if begins_alike(bytes, V2_SIGNATURE) {
        parse_v2(bytes)
    } else if begins_alike(bytes, V1_SIGNATURE) {
        parse_v1(bytes)
    } else {
        Err(Error::NotProxy)
    }
}

/// How many bytes the header takes that `bytes`, the connection's bytes from its very first one,
/// begin with, whatever the header says. For a listener that believes no header and only needs to
/// find what stands behind it.
///
/// Where [`parse`] reads a header, this finds the same length with the same byte. It may find one
/// for other headers too, since only their extent is judged. Verdicts last, as those of [`parse`]
/// do. Bounded work, no allocation.
///
/// # Errors
///
/// There is no header, or no telling where it ends.
pub fn extent(bytes: &[u8]) -> Result<Status<usize>, Error> {
    if begins_alike(bytes, V2_SIGNATURE) {
        match bytes.get(V2_SIGNATURE.len()) {
            Some(version_command) if version_command >> 4 != 2 => Err(Error::BadVersion),
            Some(_) | None => length_v2(bytes).map(|length| match length {
                Status::Complete(length) if bytes.len() >= length => Status::Complete(length),
                Status::Complete(_) | Status::Partial => Status::Partial,
            }),
        }
    } else if begins_alike(bytes, V1_SIGNATURE) {
        extent_v1(bytes)
    } else {
        Err(Error::NotProxy)
    }
}

fn extent_v1(bytes: &[u8]) -> Result<Status<usize>, Error> {
    let line = &bytes[..bytes.len().min(V1_BYTES_MAX - 1)];
    let Some(end) = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        let room = line.len() < V1_BYTES_MAX - 1;
        return room.then_some(Status::Partial).ok_or(Error::TooLong);
    };
    match (bytes[end], bytes.get(end + 1)) {
        (b'\n', _) => Err(Error::BareLf),
        (_, Some(b'\n')) => Ok(Status::Complete(end + 2)),
        (_, Some(_)) => Err(Error::BareCr),
        (_, None) => Ok(Status::Partial),
    }
}

const V1_SIGNATURE: &[u8] = b"PROXY ";

/// The signature of version 2, chosen by its authors so that servers of other protocols give up at
/// once.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Whether both are equal as far as the shorter one goes.
fn begins_alike(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

/// Reads a version 1 header from bytes that agree with its signature.
fn parse_v1(bytes: &[u8]) -> Result<Status<Header<'_>>, Error> {
    // In the longest line the CR is the last byte but one. A line without a CR up to there is too
    // long, unless it was bad before.
    let line = &bytes[..bytes.len().min(V1_BYTES_MAX - 1)];
    let Status::Complete((text_len, claim)) = parse_line(line)? else {
        let room = line.len() < V1_BYTES_MAX - 1;
        return room.then_some(Status::Partial).ok_or(Error::TooLong);
    };
    match bytes.get(text_len + 1) {
        None => Ok(Status::Partial),
        Some(b'\n') => Ok(Status::Complete(Header {
            len: text_len + 2,
            version: Version::V1,
            claim,
            vpc_endpoint: None,
        })),
        Some(_) => Err(Error::BareCr),
    }
}

/// Reads a line up to its CR. Returns how many bytes stand before the CR, and what they say.
fn parse_line(line: &[u8]) -> Result<Status<(usize, Claim)>, Error> {
    let Some(mut rest) = line.get(V1_SIGNATURE.len()..) else {
        return Ok(Status::Partial);
    };
    let Status::Complete(protocol) = take_protocol(&mut rest)? else {
        return Ok(Status::Partial);
    };
    let claim = match protocol {
        Protocol::Tcp4 => take_addresses::<Ipv4Addr>(&mut rest)?,
        Protocol::Tcp6 => take_addresses::<Ipv6Addr>(&mut rest)?,
        Protocol::Unknown => take_anything(&mut rest)?,
    };
    Ok(match claim {
        Status::Complete(claim) => Status::Complete((line.len() - rest.len() - 1, claim)),
        Status::Partial => Status::Partial,
    })
}

/// The second word of a v1 line, which names the protocol.
#[derive(Clone, Copy)]
enum Protocol {
    Tcp4,
    Tcp6,
    Unknown,
}

/// Takes the protocol and the space behind it. A CR is left where it is: behind UNKNOWN it ends the
/// line, behind TCP4 or TCP6 an address is missing, which the reader of what follows says.
fn take_protocol(rest: &mut &[u8]) -> Result<Status<Protocol>, Error> {
    const PROTOCOLS: [(&str, Protocol); 3] =
        [("TCP4", Protocol::Tcp4), ("TCP6", Protocol::Tcp6), ("UNKNOWN", Protocol::Unknown)];

    let (text, ending) = split_field(rest);
    let Some((name, protocol)) = PROTOCOLS.iter().find(|(name, _)| name.starts_with(text)) else {
        return Err(Error::BadProtocol);
    };
    let Some(ending) = ending else {
        return Ok(Status::Partial);
    };
    if !text.is_empty() && text.len() < name.len() {
        return Err(Error::BadProtocol);
    }
    if ending != b'\r' {
        check_ending(ending, b' ')?;
    }
    if text.is_empty() {
        return Err(Error::BadFields);
    }
    *rest = &rest[text.len() + usize::from(ending == b' ')..];
    Ok(Status::Complete(*protocol))
}

/// Takes what follows TCP4 or TCP6: two addresses, two ports, the CR.
fn take_addresses<A>(rest: &mut &[u8]) -> Result<Status<Claim>, Error>
where
    A: FromStr + Into<IpAddr>,
{
    let Status::Complete(source) = take_address::<A>(rest)? else {
        return Ok(Status::Partial);
    };
    let Status::Complete(destination) = take_address::<A>(rest)? else {
        return Ok(Status::Partial);
    };
    let Status::Complete(source_port) = take_port(rest, b' ')? else {
        return Ok(Status::Partial);
    };
    let Status::Complete(destination_port) = take_port(rest, b'\r')? else {
        return Ok(Status::Partial);
    };
    let addresses = Addresses::new((source, source_port), (destination, destination_port));
    Ok(Status::Complete(Claim::Proxied(addresses)))
}

/// Takes what follows UNKNOWN, whatever it says, and the CR.
///
/// A lone LF is refused although the specification would have us ignore it: a reader that takes it
/// for the end of the line and one that does not would disagree about which bytes are the
/// application's.
fn take_anything(rest: &mut &[u8]) -> Result<Status<Claim>, Error> {
    let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return Ok(Status::Partial);
    };
    if rest[end] == b'\n' {
        return Err(Error::BareLf);
    }
    *rest = &rest[end + 1..];
    Ok(Status::Complete(Claim::Unknown))
}

/// Takes an address and the space behind it. The standard library reads exactly what is wanted: no
/// leading zeros in IPv4, no zone and no brackets in IPv6, a dotted tail allowed.
fn take_address<A>(rest: &mut &[u8]) -> Result<Status<IpAddr>, Error>
where
    A: FromStr + Into<IpAddr>,
{
    let (text, ending) = split_field(rest);
    let address = text.parse::<A>().ok();
    if address.is_none() && !can_become::<A>(text) {
        return Err(Error::BadAddress);
    }
    let Some(ending) = ending else {
        return Ok(Status::Partial);
    };
    check_ending(ending, b' ')?;
    if text.is_empty() {
        return Err(Error::BadFields);
    }
    let address = address.ok_or(Error::BadAddress)?;
    *rest = &rest[text.len() + 1..];
    Ok(Status::Complete(address.into()))
}

/// Whether more characters can make an address of `text`. This is tried with endings of which, for
/// every beginning of an address, at least one fits, so that the standard library stays the only
/// judge of addresses.
fn can_become<A: FromStr>(text: &str) -> bool {
    const ENDINGS: [&str; 10] =
        ["", "0", ":", "::", ".0", "0.0", ".0.0", "0.0.0", ".0.0.0", "0.0.0.0"];
    const ADDRESS_BYTES_MAX: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();
    const ENDING_BYTES_MAX: usize = "0.0.0.0".len();

    if text.len() > ADDRESS_BYTES_MAX {
        return false;
    }
    let mut whole = [0; ADDRESS_BYTES_MAX + ENDING_BYTES_MAX];
    whole[..text.len()].copy_from_slice(text.as_bytes());
    ENDINGS.iter().any(|ending| {
        let len = text.len() + ending.len();
        whole[text.len()..len].copy_from_slice(ending.as_bytes());
        core::str::from_utf8(&whole[..len]).is_ok_and(|whole| whole.parse::<A>().is_ok())
    })
}

/// Takes a port and `expected`, the byte behind it. Every beginning of a port is a port, so a field
/// that is none is bad at once; an empty field is bad when it ends.
fn take_port(rest: &mut &[u8], expected: u8) -> Result<Status<u16>, Error> {
    let (text, ending) = split_field(rest);
    // The standard library would also read "+80" and "080".
    let plain = text == "0" || text.starts_with(|first| matches!(first, '1'..='9'));
    let port = if plain { text.parse().ok() } else { None };
    if port.is_none() && !text.is_empty() {
        return Err(Error::BadPort);
    }
    let Some(ending) = ending else {
        return Ok(Status::Partial);
    };
    check_ending(ending, expected)?;
    let port = port.ok_or(Error::BadPort)?;
    *rest = &rest[text.len() + 1..];
    Ok(Status::Complete(port))
}

/// The field that `rest` begins with, perhaps empty, and the byte behind it once that is there.
///
/// The field must be judged first, as far as it goes, and only then the byte: that is the order in
/// which they arrive.
fn split_field(rest: &[u8]) -> (&str, Option<u8>) {
    let len = rest.iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(rest.len());
    let text = core::str::from_utf8(&rest[..len]).expect("graphic ASCII is UTF-8");
    (text, rest.get(len).copied())
}

/// Whether `ending`, the byte behind a field, is the one that belongs there.
fn check_ending(ending: u8, expected: u8) -> Result<(), Error> {
    match ending {
        same if same == expected => Ok(()),
        b'\n' => Err(Error::BareLf),
        b' ' | b'\r' => Err(Error::BadFields),
        _ => Err(Error::BadByte),
    }
}

/// Bytes of a v2 header in front of its addresses.
const V2_FIXED_BYTES: usize = 16;

/// Reads a version 2 header from bytes that agree with its signature.
fn parse_v2(bytes: &[u8]) -> Result<Status<Header<'_>>, Error> {
    let Some(&version_command) = bytes.get(12) else {
        return Ok(Status::Partial);
    };
    let command = Command::parse(version_command)?;
    let Some(&family_transport) = bytes.get(13) else {
        return Ok(Status::Partial);
    };
    let content = match command {
        Command::Local => Content::Opaque(Claim::Local),
        Command::Proxy => Content::parse(family_transport)?,
    };
    let Status::Complete(len) = length_v2(bytes)? else {
        return Ok(Status::Partial);
    };
    let tlvs_start = V2_FIXED_BYTES + content.block_bytes();
    if len < tlvs_start {
        return Err(Error::ShortAddress);
    }
    let Some(header) = bytes.get(..len) else {
        return Ok(Status::Partial);
    };
    let (block, tlvs) = (&header[V2_FIXED_BYTES..tlvs_start], &header[tlvs_start..]);
    let (claim, tlvs) = match content {
        // TLVs may stand among bytes that are not looked at, but nobody says where they begin.
        Content::Opaque(claim) => (claim, &[][..]),
        Content::Inet => (Claim::Proxied(read_block::<4>(block)?), tlvs),
        Content::Inet6 => (Claim::Proxied(read_block::<16>(block)?), tlvs),
        Content::Passed(_) => (Claim::Unknown, tlvs),
    };
    let vpc_endpoint = walk_tlvs(header, tlvs)?;
    Ok(Status::Complete(Header { len, version: Version::V2, claim, vpc_endpoint }))
}

/// The length of a v2 header as announced, with its fixed bytes, once the announcement is there.
fn length_v2(bytes: &[u8]) -> Result<Status<usize>, Error> {
    let Some(&[.., length_high, length_low]) = bytes.first_chunk::<V2_FIXED_BYTES>() else {
        return Ok(Status::Partial);
    };
    let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([length_high, length_low]));
    if length > V2_BYTES_MAX { Err(Error::TooLong) } else { Ok(Status::Complete(length)) }
}

/// The command of a v2 header.
enum Command {
    Local,
    Proxy,
}

impl Command {
    fn parse(version_command: u8) -> Result<Command, Error> {
        match (version_command >> 4, version_command & 0x0f) {
            (2, 0) => Ok(Command::Local),
            (2, 1) => Ok(Command::Proxy),
            (2, _) => Err(Error::BadCommand),
            (_, _) => Err(Error::BadVersion),
        }
    }
}

/// What stands behind the fixed bytes of a v2 header.
enum Content {
    /// Bytes that are not looked at.
    Opaque(Claim),
    /// TCP over IPv4, then TLVs.
    Inet,
    /// TCP over IPv6, then TLVs.
    Inet6,
    /// A block of addresses that no TCP connection can have, of this many bytes, then TLVs.
    Passed(usize),
}

impl Content {
    /// What stands behind the fixed bytes of a header with the command PROXY.
    fn parse(family_transport: u8) -> Result<Content, Error> {
        const STREAM: u8 = 1;
        match (family_transport >> 4, family_transport & 0x0f) {
            (4.., _) => Err(Error::BadFamily),
            (_, 3..) => Err(Error::BadTransport),
            (0, _) => Ok(Content::Opaque(Claim::Unknown)),
            (1, STREAM) => Ok(Content::Inet),
            (1, _) => Ok(Content::Passed(INET_BYTES)),
            (2, STREAM) => Ok(Content::Inet6),
            (2, _) => Ok(Content::Passed(INET6_BYTES)),
            (3, _) => Ok(Content::Passed(UNIX_BYTES)),
        }
    }

    /// Bytes of the addresses; 0 where they are not looked for.
    fn block_bytes(&self) -> usize {
        match self {
            Content::Opaque(_) => 0,
            Content::Inet => INET_BYTES,
            Content::Inet6 => INET6_BYTES,
            Content::Passed(block_bytes) => *block_bytes,
        }
    }
}

/// Bytes of two IPv4 addresses and two ports.
const INET_BYTES: usize = 12;

/// Bytes of two IPv6 addresses and two ports.
const INET6_BYTES: usize = 36;

/// Bytes of two UNIX socket names of 108 bytes.
const UNIX_BYTES: usize = 216;

/// Reads both addresses, of `N` bytes each, and both ports.
fn read_block<const N: usize>(block: &[u8]) -> Result<Addresses, Error>
where
    IpAddr: From<[u8; N]>,
{
    let (source, block) = block.split_first_chunk::<N>().ok_or(Error::ShortAddress)?;
    let (destination, block) = block.split_first_chunk::<N>().ok_or(Error::ShortAddress)?;
    let (source_port, block) = block.split_first_chunk().ok_or(Error::ShortAddress)?;
    let destination_port = block.first_chunk().ok_or(Error::ShortAddress)?;
    Ok(Addresses::new(
        (IpAddr::from(*source), u16::from_be_bytes(*source_port)),
        (IpAddr::from(*destination), u16::from_be_bytes(*destination_port)),
    ))
}

/// The type of the TLV with the CRC-32C of the header.
const TLV_CRC32C: u8 = 0x03;
/// The type of the TLV with the balancer's name for the connection.
const TLV_UNIQUE_ID: u8 = 0x05;
/// The type of the TLV that tells how the client spoke TLS with the balancer, in TLVs of its own.
const TLV_SSL: u8 = 0x20;
/// The type of Amazon's own TLV.
const TLV_AWS: u8 = 0xea;

/// The most bytes of a UNIQUE_ID, by the specification.
const UNIQUE_ID_BYTES_MAX: usize = 128;

/// Bytes of an SSL TLV in front of its own TLVs: flags (1) and the result of the verification (4).
const SSL_FIXED_BYTES: usize = 5;

/// Checks `tlvs`, the end of `header`, and returns the VPC endpoint if one is named. TLVs of
/// unknown types are passed over.
fn walk_tlvs<'a>(header: &[u8], tlvs: &'a [u8]) -> Result<Option<&'a str>, Error> {
    let mut vpc_endpoint = None;
    let mut checksum = None;
    let mut rest = tlvs;
    while !rest.is_empty() {
        let (kind, value) = take_tlv(&mut rest)?;
        match kind {
            TLV_CRC32C => {
                let announced = u32::from_be_bytes(value.try_into().map_err(|_| Error::BadTlv)?);
                let end = header.len() - rest.len();
                if checksum.replace((announced, end - value.len())).is_some() {
                    return Err(Error::BadTlv);
                }
            }
            TLV_UNIQUE_ID if value.len() > UNIQUE_ID_BYTES_MAX => return Err(Error::BadTlv),
            TLV_SSL => {
                let mut nested = value.get(SSL_FIXED_BYTES..).ok_or(Error::BadTlv)?;
                while !nested.is_empty() {
                    take_tlv(&mut nested)?;
                }
            }
            TLV_AWS => vpc_endpoint = vpc_endpoint.or(read_vpc_endpoint(value)),
            _ => {}
        }
    }
    match checksum {
        Some((announced, at)) if announced != checksum_without(header, at) => {
            Err(Error::BadChecksum)
        }
        Some(_) | None => Ok(vpc_endpoint),
    }
}

/// Takes the TLV that `rest`, which is not empty, begins with. Returns its type and value.
fn take_tlv<'a>(rest: &mut &'a [u8]) -> Result<(u8, &'a [u8]), Error> {
    let (&[kind, length_high, length_low], behind) =
        rest.split_first_chunk().ok_or(Error::BadTlv)?;
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let (value, behind) = behind.split_at_checked(length).ok_or(Error::BadTlv)?;
    *rest = behind;
    Ok((kind, value))
}

/// The id of the VPC endpoint in the value of an AWS TLV; `None` if the value is another one.
fn read_vpc_endpoint(value: &[u8]) -> Option<&str> {
    let id = value.strip_prefix(&[0x01])?;
    let graphic = !id.is_empty() && id.iter().all(u8::is_ascii_graphic);
    if graphic { core::str::from_utf8(id).ok() } else { None }
}

/// The CRC-32C of `header` with zeros in place of the checksum's own four bytes, which begin at
/// `at`.
fn checksum_without(header: &[u8], at: usize) -> u32 {
    let before = crc32c::crc32c(&header[..at]);
    let zeroed = crc32c::crc32c_append(before, &[0; 4]);
    crc32c::crc32c_append(zeroed, &header[at + 4..])
}
