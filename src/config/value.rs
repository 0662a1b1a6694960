//! The kinds of values that are no others put together: sizes, lengths of time, counts, networks,
//! names.
//!
//! Each is a type that holds the bounds of one option, if it has any. No arithmetic can overflow,
//! whatever the text.
//!
//! The surprise: a length of time has a unit, always; a size need not have one.

use core::fmt;
use core::net::IpAddr;
use core::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};

use super::kind::Kind;
use crate::keys::KeyKind;
use crate::rate::Rate;
use crate::time::Duration;
use crate::wire::base_path::BasePath;
use crate::wire::host::Host;
use crate::wire::origin::Origin;

/// Bytes of a KiB, the unit of sizes that are too small for the next.
pub(super) const KIB: u64 = 1 << 10;
/// Bytes of a MiB.
pub(super) const MIB: u64 = 1 << 20;
/// Bytes of a GiB.
pub(super) const GIB: u64 = 1 << 30;
/// Bytes of a TiB; shown, but not a unit that flags are written in.
const TIB: u64 = 1 << 40;

/// The units of a size, the largest first.
const SIZE_UNITS: [(&str, u64); 3] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];

/// The units of a duration in milliseconds. `ms` stands before the two whose letters end it.
const DURATION_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// The longest name of a Socket.IO event, in bytes.
pub(super) const EVENT_BYTES_MAX: usize = 256;

/// How the names of the server's own events begin.
const OURS: &str = "elbow:";

/// A size in bytes within bounds: a whole number, alone or with one of the units KiB, MiB and GiB.
/// Shown in the largest unit that divides it.
pub(super) struct Size(pub(super) RangeInclusive<u64>);

impl Kind<u64> for Size {
    fn parse(&self, text: &str) -> Result<u64, String> {
        let (number, unit) = SIZE_UNITS
            .iter()
            .find_map(|(suffix, bytes)| Some((text.strip_suffix(suffix)?, *bytes)))
            .unwrap_or((text, 1));
        let bytes = digits(number).and_then(|number| number.checked_mul(unit));
        bytes.filter(|bytes| self.0.contains(bytes)).ok_or_else(|| {
            let (least, most) = (size_text(*self.0.start()), size_text(*self.0.end()));
            format!("allowed is a size such as 4096, 64KiB or 1MiB, from {least} to {most}")
        })
    }

    fn text(&self, bytes: &u64) -> String {
        size_text(*bytes)
    }
}

/// A length of time within bounds: a whole number with one of the units ms, s and m. A number alone
/// is refused: half of its readers would take it for seconds, the others for milliseconds.
pub(super) struct Length(pub(super) RangeInclusive<Duration>);

impl Kind<Duration> for Length {
    fn parse(&self, text: &str) -> Result<Duration, String> {
        let ms = DURATION_UNITS
            .iter()
            .find_map(|(suffix, ms)| Some((text.strip_suffix(suffix)?, *ms)))
            .and_then(|(number, unit)| digits(number)?.checked_mul(unit));
        ms.map(Duration::from_millis).filter(|length| self.0.contains(length)).ok_or_else(|| {
            let (least, most) = (self.0.start(), self.0.end());
            format!("allowed is a duration such as 250ms, 25s or 2m, from {least} to {most}")
        })
    }

    fn text(&self, length: &Duration) -> String {
        length.to_string()
    }
}

/// A whole number within bounds, in decimal digits.
pub(super) struct Count(pub(super) RangeInclusive<usize>);

impl Kind<usize> for Count {
    fn parse(&self, text: &str) -> Result<usize, String> {
        let number = digits(text).and_then(|number| usize::try_from(number).ok());
        number.filter(|number| self.0.contains(number)).ok_or_else(|| {
            format!("allowed is a whole number from {} to {}", self.0.start(), self.0.end())
        })
    }

    fn text(&self, count: &usize) -> String {
        count.to_string()
    }
}

/// So many times a second, and behind a colon how many at once; as many, if nothing is said.
pub(super) struct Often;

impl Kind<Rate> for Often {
    fn parse(&self, text: &str) -> Result<Rate, String> {
        let (per_second, burst) = text.split_once(':').unwrap_or((text, text));
        let number = |text| {
            let number = digits(text).and_then(|number| u32::try_from(number).ok());
            number.filter(|number| (1..=Rate::MOST).contains(number))
        };
        match (number(per_second), number(burst)) {
            (Some(per_second), Some(burst)) => Ok(Rate::new(per_second, burst)),
            (None, _) | (_, None) => Err(format!(
                "allowed is a number a second such as 5, or with a burst such as 5:20, each from 1 \
                 to {}",
                Rate::MOST
            )),
        }
    }

    fn text(&self, rate: &Rate) -> String {
        match (rate.per_second(), rate.burst()) {
            (per_second, burst) if per_second == burst => per_second.to_string(),
            (per_second, burst) => format!("{per_second}:{burst}"),
        }
    }
}

/// So many times a second, and as many at once.
pub(super) struct Steadily;

impl Kind<Rate> for Steadily {
    fn parse(&self, text: &str) -> Result<Rate, String> {
        let number = digits(text).and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (1..=Rate::MOST).contains(number));
        number
            .map(|number| Rate::new(number, number))
            .ok_or_else(|| format!("allowed is a whole number a second from 1 to {}", Rate::MOST))
    }

    fn text(&self, rate: &Rate) -> String {
        rate.per_second().to_string()
    }
}

/// A network in CIDR notation, or one address. What lies beyond the prefix is cleared, and a
/// network of IPv4 written as IPv6 (`::ffff:10.0.0.0/104`) is that of IPv4, because addresses are
/// compared in their canonical form.
pub(super) struct Network;

impl Kind<IpNet> for Network {
    fn parse(&self, text: &str) -> Result<IpNet, String> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => Ok(IpNet::from(address)),
            Err(_) => text.parse::<IpNet>(),
        };
        let network = network.map_err(|_| {
            "allowed is a network such as 10.0.0.0/8 or fc00::/7, or an IP address".to_owned()
        })?;
        let mapped = match (network.addr().to_canonical(), network.prefix_len().checked_sub(96)) {
            (IpAddr::V4(address), Some(prefix)) if network.addr().is_ipv6() => {
                Ipv4Net::new(address, prefix).ok().map(IpNet::V4)
            }
            (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
        };
        Ok(mapped.unwrap_or(network).trunc())
    }

    fn text(&self, network: &IpNet) -> String {
        network.to_string()
    }
}

/// The name of a folder, which need not exist.
pub(super) struct Folder;

impl Kind<PathBuf> for Folder {
    fn parse(&self, text: &str) -> Result<PathBuf, String> {
        match text {
            "" => Err("allowed is the name of a folder".to_owned()),
            _ => Ok(PathBuf::from(text)),
        }
    }

    fn text(&self, folder: &PathBuf) -> String {
        folder.to_string_lossy().escape_debug().to_string()
    }
}

/// A file with a key that tokens are checked with, or with a set of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFile {
    /// What is in the file.
    pub kind: KeyKind,
    /// The file, which need not exist.
    pub path: PathBuf,
}

impl fmt::Display for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.word(), self.path.to_string_lossy().escape_debug())
    }
}

/// What is in a file with a key, and the name of the file.
pub(super) struct KeyOf;

impl Kind<KeyFile> for KeyOf {
    fn parse(&self, text: &str) -> Result<KeyFile, String> {
        let named = text.split_once(':').filter(|(_, path)| !path.is_empty());
        let key_file = named.and_then(|(word, path)| {
            let known =
                KeyKind::ALL.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
            known.map(|(_, kind)| KeyFile { kind, path: PathBuf::from(path) })
        });
        key_file
            .ok_or_else(|| "allowed are hs256:FILE, es256:FILE, ed25519:FILE, jwks:FILE".to_owned())
    }

    fn text(&self, key_file: &KeyFile) -> String {
        key_file.to_string()
    }
}

/// The audience or the issuer of tokens.
pub(super) struct Party;

impl Kind<String> for Party {
    fn parse(&self, text: &str) -> Result<String, String> {
        let is_gap = |point: char| point.is_whitespace() || point.is_control();
        match text.is_empty() || text.contains(is_gap) {
            true => Err("allowed is a text without blanks, such as https://example.org".to_owned()),
            false => Ok(text.to_owned()),
        }
    }

    fn text(&self, party: &String) -> String {
        party.escape_debug().to_string()
    }
}

/// Any text that is not empty.
pub(super) struct AnyText;

impl Kind<String> for AnyText {
    fn parse(&self, text: &str) -> Result<String, String> {
        match text {
            "" => Err("allowed is a text that is not empty".to_owned()),
            _ => Ok(text.to_owned()),
        }
    }

    fn text(&self, text: &String) -> String {
        text.escape_debug().to_string()
    }
}

/// The name of a file, which need not exist.
pub(super) struct FileName;

impl Kind<PathBuf> for FileName {
    fn parse(&self, text: &str) -> Result<PathBuf, String> {
        match text {
            "" => Err("allowed is the name of a file".to_owned()),
            _ => Ok(PathBuf::from(text)),
        }
    }

    fn text(&self, file: &PathBuf) -> String {
        file.to_string_lossy().escape_debug().to_string()
    }
}

/// The name of a host, or an IP address, as requests name it.
pub(super) struct HostName;

impl Kind<Host> for HostName {
    fn parse(&self, text: &str) -> Result<Host, String> {
        Host::parse(text).map_err(|error| error.to_string())
    }

    fn text(&self, host: &Host) -> String {
        host.to_string()
    }
}

/// The path below which everything is served.
pub(super) struct ServedPath;

impl Kind<BasePath> for ServedPath {
    fn parse(&self, text: &str) -> Result<BasePath, String> {
        BasePath::parse(text).map_err(|_| {
            "allowed is / or a path such as /chat or /apps/chat, of at most 128 bytes, without a \
             query, escapes (%), and segments that are empty, . or .."
                .to_owned()
        })
    }

    fn text(&self, path: &BasePath) -> String {
        path.to_string()
    }
}

/// An origin that pages may come from, with the text that was typed for it, which is what is shown.
pub(super) struct PageOrigin;

impl Kind<(String, Origin)> for PageOrigin {
    fn parse(&self, text: &str) -> Result<(String, Origin), String> {
        match Origin::parse(text) {
            Ok(origin) => Ok((text.to_owned(), origin)),
            Err(_) => Err("allowed is an origin with its scheme, such as https://example.org, \
                 http://localhost:8080, https://*.example.org or file://, or null, or *"
                .to_owned()),
        }
    }

    fn text(&self, (text, _): &(String, Origin)) -> String {
        text.escape_debug().to_string()
    }
}

/// The name of a Socket.IO event, or `*`.
pub(super) struct EventName;

impl Kind<String> for EventName {
    fn parse(&self, text: &str) -> Result<String, String> {
        match is_event(text) {
            true => Ok(text.to_owned()),
            false => Err(format!(
                "allowed is the name of an event such as chat message (but not {OURS}…), or *"
            )),
        }
    }

    fn text(&self, name: &String) -> String {
        name.escape_debug().to_string()
    }
}

/// The name of the one Socket.IO event that the server says by itself. A `*` would be taken for all
/// events, and clients take some names for what has happened to their own connection.
pub(super) struct OwnEvent;

impl Kind<String> for OwnEvent {
    fn parse(&self, text: &str) -> Result<String, String> {
        if is_event(text) && text != "*" && !is_of_clients(text) {
            return Ok(text.to_owned());
        }
        Err(format!(
            "allowed is the name of an event such as hi or user joined (but not connect, error, \
             ping and others that mean something to clients of Socket.IO, nor {OURS}…)"
        ))
    }

    fn text(&self, name: &String) -> String {
        name.escape_debug().to_string()
    }
}

/// Whether an event may be called `name`. The names that mean something to Socket.IO itself (its
/// clients 4.x refuse to say them) are no events.
fn is_event(name: &str) -> bool {
    let reserved = [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
    ];
    let is_free = !reserved.contains(&name) && !name.starts_with(OURS);
    !name.is_empty() && name.len() <= EVENT_BYTES_MAX && is_free
}

/// Whether clients 2.x tell their own listeners by the event `name` what becomes of a connection:
/// coming from a server, it would pass for that.
fn is_of_clients(name: &str) -> bool {
    [
        "connect_timeout",
        "connecting",
        "error",
        "ping",
        "pong",
        "reconnect",
        "reconnect_attempt",
        "reconnect_error",
        "reconnect_failed",
        "reconnecting",
    ]
    .contains(&name)
}

/// A size as flags are written: in the largest unit that divides it.
pub(super) fn size_text(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit));
    match unit {
        Some((suffix, unit)) => format!("{}{suffix}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// A size for people: at most four digits, rounded, and its unit.
pub(super) fn size_rounded(bytes: u64) -> String {
    let units = [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];
    match units.iter().find(|(_, unit)| bytes >= *unit) {
        Some((suffix, unit)) => {
            // Rounded by hand: a float's digits are nobody's promise.
            let tenths = u128::from(bytes) * 10 / u128::from(*unit);
            match tenths % 10 {
                0 => format!("{} {suffix}", tenths / 10),
                tenth => format!("{}.{tenth} {suffix}", tenths / 10),
            }
        }
        None => format!("{bytes} bytes"),
    }
}

/// Decimal digits and nothing else; `u64::from_str` alone would take a plus sign too.
fn digits(text: &str) -> Option<u64> {
    let only_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| only_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_size(text: &str) -> Option<u64> {
        Size(0..=u64::MAX).parse(text).ok()
    }

    fn any_ms(text: &str) -> Option<u64> {
        let bounds = Duration::ZERO..=Duration::from_millis(u64::MAX);
        Length(bounds).parse(text).ok().map(Duration::as_millis)
    }

    #[test]
    fn a_size_is_a_number_and_perhaps_a_unit() {
        assert_eq!(any_size("4096"), Some(4096));
        assert_eq!(any_size("64KiB"), Some(65_536));
        assert_eq!(any_size("1MiB"), Some(1 << 20));
        assert_eq!(any_size("2GiB"), Some(2 << 30));
        for bad in ["", "KiB", "64kb", "64K", "1.5MiB", "-1", "+1", "64 KiB", "0x10", "٣"] {
            assert_eq!(any_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_event_is_not_called_as_the_servers_own_are() {
        for good in ["hi", "elbow", "Elbow:x", " elbow:x", "x elbow:"] {
            assert_eq!(EventName.parse(good), Ok(good.to_owned()));
            assert_eq!(OwnEvent.parse(good), Ok(good.to_owned()));
        }
        for bad in ["elbow:", "elbow:position", "elbow:x"] {
            for refused in [EventName.parse(bad), OwnEvent.parse(bad)] {
                assert!(refused.is_err_and(|allowed| allowed.contains("elbow:…")));
            }
        }
        assert!(EventName.parse("*").is_ok() && OwnEvent.parse("*").is_err());
        assert!(EventName.parse("").is_err() && EventName.parse("disconnect").is_err());
    }

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(any_ms("250ms"), Some(250));
        assert_eq!(any_ms("25s"), Some(25_000));
        assert_eq!(any_ms("2m"), Some(120_000));
        assert_eq!(any_ms("1h"), Some(3_600_000));
        assert_eq!(any_ms("0s"), Some(0));
        for bad in ["", "25", "s", "ms", "1d", "1.5s", "-1s", "+1s", "25 s", "1m30s"] {
            assert_eq!(any_ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_rate_is_a_number_and_perhaps_a_burst() {
        assert_eq!(Often.parse("5"), Ok(Rate::new(5, 5)));
        assert_eq!(Often.parse("5:20"), Ok(Rate::new(5, 20)));
        assert_eq!(Often.parse("1000:1"), Ok(Rate::new(1000, 1)));
        assert_eq!(Steadily.parse("1000"), Ok(Rate::new(1000, 1000)));
        let bad = ["", ":", "0", "5:", ":5", "5:0", "0:5", "1001", "5:1001", "1.5", "+5", "5:5:5"];
        for bad in bad.into_iter().chain(["5 :5", "-1", "4294967297", "off", "5/s"]) {
            let refused = Often.parse(bad).is_err_and(|allowed| allowed.contains("5:20"));
            assert!(refused && Steadily.parse(bad).is_err(), "{bad}");
        }
        assert!(Steadily.parse("5:20").is_err());
        for text in ["5", "5:20", "1000:1"] {
            assert_eq!(Often.parse(text).map(|rate| Often.text(&rate)), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_not_wrapped() {
        assert_eq!(any_size("18446744073709551615"), Some(u64::MAX));
        assert_eq!(any_size("18446744073709551616"), None);
        assert_eq!(any_size("17179869183GiB"), Some(u64::MAX - (GIB - 1)));
        assert_eq!(any_size("17179869184GiB"), None);
        assert_eq!(any_ms("307445734561825m"), Some(307_445_734_561_825 * 60_000));
        assert_eq!(any_ms("307445734561826m"), None);
        assert_eq!(Count(1..=usize::MAX).parse("99999999999999999999").ok(), None);
    }

    #[test]
    fn bounds_belong_to_what_is_allowed_and_to_its_sentence() {
        assert_eq!(Size(4096..=MIB).parse("4KiB"), Ok(4096));
        assert_eq!(Size(4096..=MIB).parse("1MiB"), Ok(MIB));
        assert_eq!(
            Size(4096..=MIB).parse("4095"),
            Err("allowed is a size such as 4096, 64KiB or 1MiB, from 4KiB to 1MiB".to_owned())
        );
        assert!(Size(4096..=MIB).parse("1048577").is_err());
        assert_eq!(
            Count(1..=9).parse("0"),
            Err("allowed is a whole number from 1 to 9".to_owned())
        );
        assert_eq!(Count(1..=9).parse("9"), Ok(9));
    }

    #[test]
    fn sizes_and_durations_come_back_from_what_is_shown() {
        for bytes in [0, 1, 1023, 1024, 1536, 65_536, MIB, 3 * MIB, GIB, u64::MAX] {
            assert_eq!(any_size(&size_text(bytes)), Some(bytes));
        }
        for ms in [0, 1, 999, 1000, 1500, 60_000, 61_000, 3_600_000] {
            assert_eq!(any_ms(&Duration::from_millis(ms).to_string()), Some(ms));
        }
    }

    #[test]
    fn a_size_for_people_is_rounded_down() {
        assert_eq!(size_rounded(1023), "1023 bytes");
        assert_eq!(size_rounded(200_704), "196 KiB");
        assert_eq!(size_rounded(MIB - 1), "1023.9 KiB");
        assert_eq!(size_rounded(3 * GIB / 2), "1.5 GiB");
        assert_eq!(size_rounded(u64::MAX), "16777215.9 TiB");
    }

    #[test]
    fn a_network_is_canonical() {
        let shown = |text| Network.parse(text).map(|network| network.to_string());
        assert_eq!(shown("10.1.2.3/8"), Ok("10.0.0.0/8".to_owned()));
        assert_eq!(shown("10.1.2.3"), Ok("10.1.2.3/32".to_owned()));
        assert_eq!(shown("::1"), Ok("::1/128".to_owned()));
        assert_eq!(shown("::ffff:10.1.2.3/104"), Ok("10.0.0.0/8".to_owned()));
        assert_eq!(shown("::ffff:10.1.2.3"), Ok("10.1.2.3/32".to_owned()));
        assert_eq!(shown("::/0"), Ok("::/0".to_owned()));
        for bad in ["", "10.0.0.0/33", "10/8", "fc00::/129", "everyone"] {
            assert!(Network.parse(bad).is_err(), "{bad}");
        }
    }
}
