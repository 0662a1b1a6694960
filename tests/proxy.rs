//! The PROXY protocol parser against vectors and properties.
//!
//! Goal: whoever speaks PROXY correctly is understood exactly, everyone else is refused, and
//! neither depends on how the network cut the bytes.
//!
//! Method: `tests/vectors/proxy/` holds one file per case. A (v1) and C (v2) are valid headers, B
//! (v1) and D (v2) bad ones and limits, N unfinished ones. Every vector is fed at every length from
//! nothing to the whole: up to the byte that its `expect:` line names the parser wants more, from
//! there on the verdict is the one named. Then properties, where the vectors are only samples:
//! headers made of any addresses come back, garbage and mutants never panic or get two verdicts.
//!
//! A vector file reads:
//!
//! ```text
//! # what it shows
//! expect: ACC 43 192.0.2.1:1234 -> 198.51.100.2:80    a header of 43 bytes with these addresses
//!         SOCK 16 local | SOCK 15 unknown             a header of that size without addresses
//!         NEED                                        more bytes are wanted
//!         REJ bare-lf 42                              an error, known from the 42nd byte on
//! vpc_endpoint: vpce-0123456789abcdef0                only if the header names one
//! text: "PROXY TCP4 \x00\r\n"                         the bytes, one line after the other,
//! hex: 00 * 74                                        the last one 74 times
//! ```

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use elbow::wire::Status;
use elbow::wire::proxy::{Addresses, Claim, Error, Header, Version, extent, parse};
use proptest::prelude::*;
use proptest::sample::Index;

use vectors::{Expect, load_vectors};

/// What a connection's application might say first.
const TRAILER: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// The vectors and how their files are read.
#[expect(clippy::unwrap_used, reason = "a vector that cannot be read is a test that fails")]
mod vectors {
    use std::path::Path;

    use elbow::wire::Status;
    use elbow::wire::proxy::{Addresses, Claim, Error, Header, Version};

    /// One file of `tests/vectors/proxy/`.
    pub(crate) struct Vector {
        pub(crate) name: String,
        pub(crate) bytes: Vec<u8>,
        pub(crate) expect: Expect,
        vpc_endpoint: Option<String>,
    }

    /// The `expect:` line of a vector.
    pub(crate) enum Expect {
        Accept {
            len: usize,
            claim: Claim,
        },
        Need,
        /// The error, and how many bytes it takes to know.
        Reject(Error, usize),
    }

    impl Vector {
        /// The table that the vector belongs to.
        pub(crate) fn table(&self) -> char {
            self.name.chars().next().expect("files have names")
        }

        /// The header that the parser is to find, if it is to find one.
        pub(crate) fn header(&self) -> Option<Header<'_>> {
            let Expect::Accept { len, claim } = self.expect else {
                return None;
            };
            let version = if self.bytes[0] == b'P' { Version::V1 } else { Version::V2 };
            Some(Header { len, version, claim, vpc_endpoint: self.vpc_endpoint.as_deref() })
        }

        /// What the parser is to say of the vector's first `len` bytes.
        pub(crate) fn verdict_at(&self, len: usize) -> Result<Status<Header<'_>>, Error> {
            match self.expect {
                Expect::Accept { len: whole, .. } if len >= whole => {
                    Ok(Status::Complete(self.header().expect("it is to be accepted")))
                }
                Expect::Reject(error, known) if len >= known => Err(error),
                Expect::Accept { .. } | Expect::Need | Expect::Reject(..) => Ok(Status::Partial),
            }
        }
    }

    /// All vectors, in the order of their names.
    pub(crate) fn load_vectors() -> Vec<Vector> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/proxy");
        let mut vectors: Vec<Vector> = std::fs::read_dir(folder)
            .expect("the vectors are part of the repository")
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap();
                read_vector(name, &std::fs::read_to_string(&path).unwrap())
            })
            .collect();
        vectors.sort_by(|a, b| a.name.cmp(&b.name));
        vectors
    }

    fn read_vector(name: &str, file: &str) -> Vector {
        let (mut bytes, mut expect, mut vpc_endpoint) = (Vec::new(), None, None);
        for line in file.lines() {
            match line.split_once(' ') {
                Some(("#", _)) => {}
                Some(("expect:", value)) => expect = Some(read_expect(value)),
                Some(("vpc_endpoint:", value)) => vpc_endpoint = Some(value.to_owned()),
                Some(("text:", value)) => bytes.extend(read_bytes(value, unescape)),
                Some(("hex:", value)) => bytes.extend(read_bytes(value, unhex)),
                _ => panic!("{name}: what is {line:?}?"),
            }
        }
        let expect = expect.unwrap_or_else(|| panic!("{name}: nothing expected"));
        Vector { name: name.to_owned(), bytes, expect, vpc_endpoint }
    }

    fn read_expect(value: &str) -> Expect {
        let words: Vec<&str> = value.split(' ').collect();
        match words[..] {
            ["ACC", len, source, "->", destination] => {
                let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
                let claim = Claim::Proxied(Addresses { source, destination });
                Expect::Accept { len: len.parse().unwrap(), claim }
            }
            ["SOCK", len, "local"] => {
                Expect::Accept { len: len.parse().unwrap(), claim: Claim::Local }
            }
            ["SOCK", len, "unknown"] => {
                Expect::Accept { len: len.parse().unwrap(), claim: Claim::Unknown }
            }
            ["NEED"] => Expect::Need,
            ["REJ", reason, known] => Expect::Reject(read_reason(reason), known.parse().unwrap()),
            _ => panic!("expect: {value}?"),
        }
    }

    fn read_reason(reason: &str) -> Error {
        match reason {
            "not-proxy" => Error::NotProxy,
            "bare-lf" => Error::BareLf,
            "bare-cr" => Error::BareCr,
            "too-long" => Error::TooLong,
            "bad-proto" => Error::BadProtocol,
            "bad-fields" => Error::BadFields,
            "bad-byte" => Error::BadByte,
            "bad-addr" => Error::BadAddress,
            "bad-port" => Error::BadPort,
            "bad-version" => Error::BadVersion,
            "bad-cmd" => Error::BadCommand,
            "bad-family" => Error::BadFamily,
            "bad-transport" => Error::BadTransport,
            "short-addr" => Error::ShortAddress,
            "bad-tlv" => Error::BadTlv,
            "bad-crc" => Error::BadChecksum,
            _ => panic!("REJ {reason}?"),
        }
    }

    /// Reads `bytes` or `bytes * times`.
    fn read_bytes(value: &str, decode: fn(&str) -> Vec<u8>) -> Vec<u8> {
        match value.rsplit_once(" * ") {
            Some((unit, times)) => decode(unit).repeat(times.parse().unwrap()),
            None => decode(value),
        }
    }

    fn unhex(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
            .collect()
    }

    fn unescape(quoted: &str) -> Vec<u8> {
        let text = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap();
        let mut bytes = Vec::new();
        let mut pieces = text.split('\\');
        bytes.extend_from_slice(pieces.next().unwrap().as_bytes());
        for piece in pieces {
            let (byte, rest) = match piece.as_bytes()[0] {
                b'r' => (b'\r', &piece[1..]),
                b'n' => (b'\n', &piece[1..]),
                b't' => (b'\t', &piece[1..]),
                b'x' => (u8::from_str_radix(&piece[1..3], 16).unwrap(), &piece[3..]),
                _ => panic!("\\{piece}?"),
            };
            bytes.push(byte);
            bytes.extend_from_slice(rest.as_bytes());
        }
        bytes
    }
}

/// Asserts that the verdict on `bytes`, once there is one, stays the same with every further byte.
fn assert_one_verdict(bytes: &[u8]) {
    let mut verdict = Ok(Status::Partial);
    for len in 0..=bytes.len() {
        let now = parse(&bytes[..len]);
        if verdict != Ok(Status::Partial) {
            assert_eq!(now, verdict, "{:?}", bytes[..len].escape_ascii().to_string());
        }
        verdict = now;
    }
    assert_one_extent(bytes);
}

/// Asserts that the extent of `bytes`, once there is one, stays, and is the parser's where that has
/// one, neither earlier nor later.
fn assert_one_extent(bytes: &[u8]) {
    let mut end = Ok(Status::Partial);
    for len in 0..=bytes.len() {
        let shown = bytes[..len].escape_ascii();
        let now = extent(&bytes[..len]);
        assert!(end == Ok(Status::Partial) || now == end, "{shown}");
        match parse(&bytes[..len]) {
            Ok(Status::Complete(header)) => assert_eq!(now, Ok(Status::Complete(header.len))),
            Ok(Status::Partial) => assert_eq!(now, Ok(Status::Partial), "{shown}"),
            Err(Error::NotProxy) => assert_eq!(now, Err(Error::NotProxy), "{shown}"),
            Err(_) => {}
        }
        end = now;
    }
}

#[test]
#[expect(clippy::disallowed_macros, reason = "the counts are for whoever runs the suite")]
fn no_vector_is_missing() {
    let vectors = load_vectors();
    for (table, count) in [('A', 13), ('B', 34), ('N', 9), ('C', 19), ('D', 16)] {
        let ids: Vec<&str> =
            vectors.iter().filter(|v| v.table() == table).map(|v| &v.name[..3]).collect();
        let expected: Vec<String> = (1..=count).map(|n| format!("{table}{n:02}")).collect();
        assert_eq!(ids, expected);
        println!("table {table}: {count} vectors");
    }
    assert_eq!(vectors.len(), 91);
}

#[test]
fn every_vector_at_every_length() {
    for vector in load_vectors() {
        for len in 0..=vector.bytes.len() {
            let now = parse(&vector.bytes[..len]);
            assert_eq!(now, vector.verdict_at(len), "{} at {len}", vector.name);
        }
    }
}

#[test]
fn every_vector_with_bytes_behind_it() {
    for vector in load_vectors() {
        if matches!(vector.expect, Expect::Need) {
            continue;
        }
        let bytes = [&vector.bytes, TRAILER].concat();
        assert_eq!(parse(&bytes), vector.verdict_at(bytes.len()), "{}", vector.name);
    }
}

/// The number is that of the specification sheet, whose own receiver saw the same prefixes.
#[test]
#[expect(clippy::disallowed_macros, reason = "the counts are for whoever runs the suite")]
fn every_split_of_the_valid_vectors_and_the_application_s_bytes_left_over() {
    let mut prefixes = 0;
    for vector in load_vectors().iter().filter(|v| matches!(v.table(), 'A' | 'C')) {
        let len = vector.header().expect("A and C are valid").len;
        let stream = [&vector.bytes[..len], TRAILER].concat();
        for cut in 0..len {
            assert_eq!(parse(&stream[..cut]), Ok(Status::Partial), "{} cut at {cut}", vector.name);
            prefixes += 1;
        }
        let Ok(Status::Complete(header)) = parse(&stream) else {
            panic!("{} was not accepted", vector.name);
        };
        assert_eq!(&stream[header.len..], TRAILER, "{}", vector.name);
    }
    println!("{prefixes} proper prefixes wanted more");
    assert_eq!(prefixes, 2243);
}

/// Whoever only wants to know where a header ends finds it where the parser does, and of what is no
/// whole header at the byte at which the parser sees that at the latest.
#[test]
fn every_vector_ends_where_its_header_does() {
    for vector in load_vectors() {
        let bytes = [&vector.bytes, TRAILER].concat();
        assert_one_extent(&bytes);
        if let Expect::Accept { len, .. } = vector.expect {
            assert_eq!(extent(&bytes), Ok(Status::Complete(len)), "{}", vector.name);
        }
    }
}

/// What a header says is nobody's business who only wants to know where it ends.
#[test]
fn an_extent_is_judged_by_nothing_but_the_length() {
    let whole = |bytes: &[u8]| assert_eq!(extent(bytes), Ok(Status::Complete(bytes.len())));
    whole(b"PROXY rubbish \0\x1b[2J\xff\r\n");
    whole(b"PROXY \r\n");
    whole(&header_with(b"\xea\xff\xff: a TLV that does not fit"));
    whole(&header_with(&[0x03, 0, 4, 1, 2, 3, 4]));
    whole(b"\r\n\r\n\0\r\nQUIT\n\x2f\xff\0\x03abc");
    assert_eq!(extent(b"\r\n\r\n\0\r\nQUIT\n\x11"), Err(Error::BadVersion));
    assert_eq!(extent(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x0f\xf1"), Err(Error::TooLong));
    assert_eq!(extent(b"PROXY a\nGET / HTTP/1.1\r\n"), Err(Error::BareLf));
    assert_eq!(extent(b"PROXY a\rb\r\n"), Err(Error::BareCr));
    assert_eq!(extent(b"GET / HTTP/1.1\r\n"), Err(Error::NotProxy));
    let line = |length: usize| [b"PROXY ", &vec![b'a'; length - 8][..], b"\r\n"].concat();
    whole(&line(107));
    assert_eq!(extent(&line(108)), Err(Error::TooLong));
}

/// What no vector shows: where in the text of an address the verdict falls.
#[test]
fn an_address_is_refused_at_the_first_byte_that_none_has_there() {
    for dead in [
        "TCP4 256",
        "TCP4 01",
        "TCP4 1.2.3.4.",
        "TCP4 1..",
        "TCP4 a",
        "TCP6 12345",
        "TCP6 :1",
        "TCP6 1::2::",
        "TCP6 :::",
        "TCP6 1:2:3:4:5:6:7:8:",
        "TCP6 1:2:3:4:5:6:7:8.",
        "TCP6 1:2:3:4:5:6.",
        "TCP6 1::256.",
        "TCP6 ::1.2.3.4:",
        "TCP6 ::1.02",
        "TCP6 ::%",
        "TCP6 1::2:3:4:5:6:7:",
        "TCP6 1.",
    ] {
        let bytes = format!("PROXY {dead}");
        let (alive, _) = bytes.as_bytes().split_at(bytes.len() - 1);
        assert_eq!(parse(alive), Ok(Status::Partial), "{dead} without its last byte");
        assert_eq!(parse(bytes.as_bytes()), Err(Error::BadAddress), "{dead}");
    }
}

#[test]
fn the_protocol_is_a_whole_word_and_tcp_is_not_the_last_one() {
    assert_eq!(parse(b"PROXY TCP"), Ok(Status::Partial));
    assert_eq!(parse(b"PROXY TCP "), Err(Error::BadProtocol));
    assert_eq!(parse(b"PROXY UNK\r"), Err(Error::BadProtocol));
    assert_eq!(parse(b"PROXY TCP4\r"), Err(Error::BadFields));
    assert_eq!(parse(b"PROXY  "), Err(Error::BadFields));
}

#[test]
fn an_unknown_line_may_say_anything_but_end_twice() {
    let header =
        |len| Header { len, version: Version::V1, claim: Claim::Unknown, vpc_endpoint: None };
    let unknown = |rest: &'static str| parse(rest.as_bytes());
    assert_eq!(unknown("PROXY UNKNOWN \0\t\u{ff}\r\n"), Ok(Status::Complete(header(20))));
    assert_eq!(unknown("PROXY UNKNOWN a\nGET / HTTP/1.1\r\n"), Err(Error::BareLf));
    assert_eq!(unknown("PROXY UNKNOWN a\rb\r\n"), Err(Error::BareCr));
    assert_eq!(unknown("PROXY UNKNOWN\n"), Err(Error::BareLf));
}

/// A v2 header for TCP over IPv4 with these TLVs.
fn header_with(tlvs: &[u8]) -> Vec<u8> {
    let len = u16::try_from(12 + tlvs.len()).expect("the tests are short");
    let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11";
    let addresses = [192, 0, 2, 1, 198, 51, 100, 2, 4, 210, 0, 80];
    [fixed, &len.to_be_bytes()[..], &addresses, tlvs].concat()
}

/// What the parser makes of these TLVs: the VPC endpoint, or the error.
fn parse_tlvs(tlvs: &[u8]) -> Result<Option<String>, Error> {
    let bytes = header_with(tlvs);
    match parse(&bytes)? {
        Status::Complete(header) => Ok(header.vpc_endpoint.map(str::to_owned)),
        Status::Partial => panic!("the header is whole"),
    }
}

#[test]
fn a_checksum_counts_once_and_wherever_it_stands() {
    let tlvs_without = |at: usize| {
        let mut tlvs = vec![0x04, 0, 2, 9, 9, 0xf3, 0, 0];
        tlvs.splice(at..at, [0x03, 0, 4, 0, 0, 0, 0]);
        let checksum = crc32c::crc32c(&header_with(&tlvs)).to_be_bytes();
        tlvs[at + 3..at + 7].copy_from_slice(&checksum);
        tlvs
    };
    for at in [0, 5, 8] {
        assert_eq!(parse_tlvs(&tlvs_without(at)), Ok(None), "at {at}");
    }
    let tlvs = tlvs_without(0);
    let twice = [&tlvs[..], &tlvs[..7]].concat();
    assert_eq!(parse_tlvs(&twice), Err(Error::BadTlv));
}

#[test]
fn the_tlvs_inside_of_an_ssl_tlv_must_fit_too() {
    assert_eq!(parse_tlvs(&[0x20, 0, 5, 1, 0, 0, 0, 0]), Ok(None));
    assert_eq!(parse_tlvs(&[0x20, 0, 4, 1, 0, 0, 0]), Err(Error::BadTlv));
    assert_eq!(parse_tlvs(&[0x20, 0, 7, 1, 0, 0, 0, 0, 0x21, 0]), Err(Error::BadTlv));
    let reaches_out = [0x20, 0, 8, 1, 0, 0, 0, 0, 0x21, 0, 3, 0xf3, 0, 0];
    assert_eq!(parse_tlvs(&reaches_out), Err(Error::BadTlv));
}

#[test]
fn a_unique_id_may_have_128_bytes() {
    assert_eq!(parse_tlvs(&[&[0x05, 0, 128][..], &[b'u'; 128]].concat()), Ok(None));
}

#[test]
fn only_a_printable_vpc_endpoint_is_believed() {
    let none = Ok(None);
    assert_eq!(parse_tlvs(b"\xea\0\x07\x01vpce-1"), Ok(Some("vpce-1".to_owned())));
    assert_eq!(parse_tlvs(b"\xea\0\x07\x01vpce\n1"), none, "a log line has no end inside");
    assert_eq!(parse_tlvs(b"\xea\0\x07\x02vpce-1"), none, "another sub-type");
    assert_eq!(parse_tlvs(b"\xea\0\x01\x01"), none, "an empty id");
    assert_eq!(parse_tlvs(b"\xea\0\0"), none, "no sub-type");
    assert_eq!(parse_tlvs(b"\xea\0\x02\x01a\xea\0\x02\x01b"), Ok(Some("a".to_owned())), "two");
}

/// 4096 bytes are taken, 4097 are refused by the fixed bytes alone, on LOCAL as well.
#[test]
fn a_v2_header_may_have_4096_bytes() {
    for command in [0x20, 0x21] {
        let fixed =
            |len: u16| [b"\r\n\r\n\0\r\nQUIT\n", &[command, 0x00][..], &len.to_be_bytes()].concat();
        let largest = [fixed(4080), vec![0; 4080]].concat();
        assert_eq!(parse(&largest[..4095]), Ok(Status::Partial));
        assert!(matches!(parse(&largest), Ok(Status::Complete(Header { len: 4096, .. }))));
        assert_eq!(parse(&fixed(4081)), Err(Error::TooLong));
    }
}

#[test]
fn every_family_is_checked_also_one_that_is_then_passed_over() {
    let header = |family: u8, rest: &[u8]| {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n", &[0x21, family][..], &len, rest].concat()
    };
    for (family, block_bytes) in
        [(0x11, 12), (0x12, 12), (0x21, 36), (0x22, 36), (0x31, 216), (0x32, 216)]
    {
        let short = header(family, &vec![0; block_bytes - 1]);
        assert_eq!(parse(&short), Err(Error::ShortAddress), "{family:#x}");
        let stray = header(family, &vec![0; block_bytes + 2]);
        assert_eq!(parse(&stray), Err(Error::BadTlv), "{family:#x}");
    }
}

/// An IPv6 address in one of the ways to write it.
fn ipv6_text() -> impl Strategy<Value = (String, Ipv6Addr)> {
    let group = prop_oneof![Just(0), Just(0xffff), any::<u16>()];
    (prop::array::uniform8(group), 0..4).prop_map(|(groups, form)| {
        let address = Ipv6Addr::from(groups);
        let [head @ .., _, _] = groups.map(|group| format!("{group:x}"));
        let [.., a, b, c, d] = address.octets();
        let text = match form {
            0 => address.to_string(),
            1 => address.to_string().to_uppercase(),
            2 => groups.map(|group| format!("{group:04x}")).join(":"),
            _ => format!("{}:{a}.{b}.{c}.{d}", head.join(":")),
        };
        (text, address)
    })
}

/// Bytes near to a header: a vector with a few bytes put in, taken out or overwritten.
fn mutant() -> impl Strategy<Value = Vec<u8>> {
    let vectors: Vec<Vec<u8>> = load_vectors().into_iter().map(|v| v.bytes).collect();
    let byte = prop_oneof![prop::sample::select(&b" \r\n\0.:019a\x03\x20"[..]), any::<u8>()];
    let mutations = prop::collection::vec((any::<Index>(), byte, 0..3), 1..4);
    (prop::sample::select(vectors), mutations).prop_map(|(mut bytes, mutations)| {
        for (at, byte, mutation) in mutations {
            let at = at.index(bytes.len() + 1);
            match mutation {
                0 => bytes.insert(at, byte),
                1 => drop(bytes.splice(at..bytes.len().min(at + 1), [])),
                _ => drop(bytes.splice(at..bytes.len().min(at + 1), [byte])),
            }
        }
        bytes
    })
}

proptest! {
    // What fails becomes a vector; a file of seeds would say nothing to its reader.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn addresses_come_back_from_v1_and_every_cut_wants_more(
        (source_text, source) in ipv6_text(),
        destination: [u8; 16],
        ports: (u16, u16),
    ) {
        let destination = Ipv6Addr::from(destination);
        let line = format!("PROXY TCP6 {source_text} {destination} {} {}\r\n", ports.0, ports.1);
        prop_assume!(line.len() <= 107);
        for len in 0..line.len() {
            let cut = &line.as_bytes()[..len];
            prop_assert_eq!(parse(cut), Ok(Status::Partial), "{} at {}", line, len);
        }
        let addresses = Addresses {
            source: SocketAddr::new(IpAddr::V6(source).to_canonical(), ports.0),
            destination: SocketAddr::new(IpAddr::V6(destination).to_canonical(), ports.1),
        };
        prop_assert_eq!(parse(line.as_bytes()), Ok(Status::Complete(Header {
            len: line.len(),
            version: Version::V1,
            claim: Claim::Proxied(addresses),
            vpc_endpoint: None,
        })));
    }

    #[test]
    fn garbage_gets_one_verdict(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        assert_one_verdict(&bytes);
    }

    #[test]
    fn text_behind_proxy_gets_one_verdict(text in "PROXY (TCP4|TCP6|UNKNOWN)[ -:a-f\r\n]{0,120}") {
        assert_one_verdict(text.as_bytes());
    }

    #[test]
    fn any_tlvs_get_one_verdict(
        tlvs in prop::collection::vec(
            (
                prop::sample::select(&[0x03, 0x04, 0x05, 0x20, 0xea][..]),
                0..10_u8,
                prop::collection::vec(0..6_u8, 0..10),
            ),
            0..5,
        )
    ) {
        let tlvs: Vec<Vec<u8>> = tlvs
            .iter()
            .map(|(kind, length, value)| [&[*kind, 0, *length], &value[..]].concat())
            .collect();
        assert_one_verdict(&header_with(&tlvs.concat()));
    }

    #[test]
    fn mutants_get_one_verdict(bytes in mutant()) {
        assert_one_verdict(&bytes);
    }
}
