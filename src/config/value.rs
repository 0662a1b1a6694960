//! The kinds of values that options take: from text to value, and back to text.
//!
//! One function per kind. Each takes the text of a flag or a variable and the bounds that hold for
//! it, and returns the value or a sentence that says what is allowed: the caller puts the option's
//! name and the offending text in front. Nothing here knows any option by name, and no arithmetic
//! can overflow, whatever the text.
//!
//! The surprise: names are never resolved. `localhost` is a spelling of `127.0.0.1`; any other host
//! is an IP address. A server that asks DNS where to listen starts slowly, or elsewhere.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net};

use crate::time::Duration;

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
const DURATION_UNITS: [(&str, u64); 3] = [("ms", 1), ("s", 1000), ("m", 60_000)];

/// Most items in one list. A list is walked for each connection that it decides about.
const ITEMS_MAX: usize = 256;

/// A size in bytes: a whole number, alone or with one of the units KiB, MiB and GiB.
///
/// # Errors
/// What is allowed, if `text` is no size or outside of `bounds`.
pub(super) fn size(text: &str, bounds: RangeInclusive<u64>) -> Result<u64, String> {
    let (number, unit) = SIZE_UNITS
        .iter()
        .find_map(|(suffix, bytes)| Some((text.strip_suffix(suffix)?, *bytes)))
        .unwrap_or((text, 1));
    let bytes = digits(number).and_then(|number| number.checked_mul(unit));
    bytes.filter(|bytes| bounds.contains(bytes)).ok_or_else(|| {
        let (least, most) = (size_text(*bounds.start()), size_text(*bounds.end()));
        format!("allowed is a size such as 4096, 64KiB or 1MiB, from {least} to {most}")
    })
}

/// A length of time: a whole number with one of the units ms, s and m. A number alone is refused:
/// half of its readers would take it for seconds, the others for milliseconds.
///
/// # Errors
/// What is allowed, if `text` is no duration or outside of `bounds`.
pub(super) fn duration(text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, String> {
    let ms = DURATION_UNITS
        .iter()
        .find_map(|(suffix, ms)| Some((text.strip_suffix(suffix)?, *ms)))
        .and_then(|(number, unit)| digits(number)?.checked_mul(unit));
    ms.map(Duration::from_millis).filter(|length| bounds.contains(length)).ok_or_else(|| {
        let (least, most) = (bounds.start(), bounds.end());
        format!("allowed is a duration such as 250ms, 25s or 2m, from {least} to {most}")
    })
}

/// A whole number in decimal digits.
///
/// # Errors
/// What is allowed, if `text` is no such number or outside of `bounds`.
pub(super) fn count(text: &str, bounds: RangeInclusive<usize>) -> Result<usize, String> {
    let number = digits(text).and_then(|number| usize::try_from(number).ok());
    number.filter(|number| bounds.contains(number)).ok_or_else(|| {
        format!("allowed is a whole number from {} to {}", bounds.start(), bounds.end())
    })
}

/// Like [`count`], where the word `off` stands for no limit.
///
/// # Errors
/// What is allowed, if `text` is neither.
pub(super) fn count_or_off(
    text: &str,
    bounds: RangeInclusive<usize>,
) -> Result<Option<usize>, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    count(text, bounds).map(Some).map_err(|allowed| format!("{allowed}, or off"))
}

/// One of a few words, in any case.
///
/// # Errors
/// All of the words, if `text` is none of them.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("allowed is one of {}", words.join(", "))
    })
}

/// An address with its port: `0.0.0.0:3000`, `[::1]:3000`, `localhost:3000`.
///
/// # Errors
/// What is allowed, if `text` is no such address.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").and_then(|port| {
        let port = u16::try_from(digits(port)?).ok()?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    });
    local.or_else(|| text.parse().ok()).ok_or_else(|| {
        "allowed is an IP address (or localhost) and a port, such as 0.0.0.0:3000, [::1]:3000 \
         or localhost:3000"
            .to_owned()
    })
}

/// A network in CIDR notation, or one address. What lies beyond the prefix is cleared, and a
/// network of IPv4 written as IPv6 (`::ffff:10.0.0.0/104`) is that of IPv4, because addresses are
/// compared in their canonical form.
///
/// # Errors
/// What is allowed, if `text` is neither.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
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

/// The name of a Socket.IO event, or `*`. The names that mean something to Socket.IO itself are no
/// events.
pub(super) fn event(text: &str) -> Result<String, String> {
    let reserved = [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
    ];
    if text.is_empty() || text.len() > 256 || reserved.contains(&text) {
        return Err("allowed is the name of an event such as chat message, or *".to_owned());
    }
    Ok(text.to_owned())
}

/// Items between commas, blanks around them ignored. There are at least one and at most
/// `items_max` of them (and never more than 256).
///
/// # Errors
/// The item that is wrong, if there is more than one, and what `item` says is allowed.
pub(super) fn list<T>(
    text: &str,
    items_max: usize,
    item: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let items_max = items_max.min(ITEMS_MAX);
    let several = text.contains(',');
    if text.split(',').count() > items_max {
        return Err(format!("allowed are at most {items_max} items"));
    }
    let parsed = text.split(',').map(|text| {
        let text = text.trim();
        item(text).map_err(|allowed| match several {
            true => format!("{}: {allowed}", quoted(text)),
            false => allowed,
        })
    });
    parsed.collect()
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

/// Foreign text within a line of ours: between quotes, escaped, and cut at 80 characters, so that
/// it can neither begin a line nor hide what follows it.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    let cut = if text.chars().nth(80).is_some() { "…" } else { "" };
    format!("\"{shown}{cut}\"")
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
        size(text, 0..=u64::MAX).ok()
    }

    fn any_ms(text: &str) -> Option<u64> {
        let bounds = Duration::ZERO..=Duration::from_millis(u64::MAX);
        duration(text, bounds).ok().map(Duration::as_millis)
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
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(any_ms("250ms"), Some(250));
        assert_eq!(any_ms("25s"), Some(25_000));
        assert_eq!(any_ms("2m"), Some(120_000));
        assert_eq!(any_ms("0s"), Some(0));
        for bad in ["", "25", "s", "ms", "1h", "1.5s", "-1s", "+1s", "25 s", "1m30s"] {
            assert_eq!(any_ms(bad), None, "{bad}");
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
        assert_eq!(count("99999999999999999999", 1..=usize::MAX).ok(), None);
    }

    #[test]
    fn bounds_belong_to_what_is_allowed_and_to_its_sentence() {
        assert_eq!(size("4KiB", 4096..=MIB), Ok(4096));
        assert_eq!(size("1MiB", 4096..=MIB), Ok(MIB));
        assert_eq!(
            size("4095", 4096..=MIB),
            Err("allowed is a size such as 4096, 64KiB or 1MiB, from 4KiB to 1MiB".to_owned())
        );
        assert!(size("1048577", 4096..=MIB).is_err());
        assert_eq!(count("0", 1..=9), Err("allowed is a whole number from 1 to 9".to_owned()));
        assert_eq!(count("9", 1..=9), Ok(9));
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
    fn an_address_is_an_ip_address_or_localhost_with_a_port() {
        assert_eq!(address("0.0.0.0:3000"), Ok("0.0.0.0:3000".parse().unwrap()));
        assert_eq!(address("[::1]:0"), Ok("[::1]:0".parse().unwrap()));
        assert_eq!(address("localhost:80"), Ok("127.0.0.1:80".parse().unwrap()));
        for bad in ["", ":3000", "3000", "0.0.0.0", "::1:3000:", "example.org:80", "1.2.3.4:65536"]
        {
            assert!(address(bad).is_err(), "{bad}");
        }
        for bad in ["localhost", "localhost:", "localhost:65536", "localhost:+80"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_is_canonical() {
        let shown = |text| network(text).map(|network| network.to_string());
        assert_eq!(shown("10.1.2.3/8"), Ok("10.0.0.0/8".to_owned()));
        assert_eq!(shown("10.1.2.3"), Ok("10.1.2.3/32".to_owned()));
        assert_eq!(shown("::1"), Ok("::1/128".to_owned()));
        assert_eq!(shown("::ffff:10.1.2.3/104"), Ok("10.0.0.0/8".to_owned()));
        assert_eq!(shown("::ffff:10.1.2.3"), Ok("10.1.2.3/32".to_owned()));
        assert_eq!(shown("::/0"), Ok("::/0".to_owned()));
        for bad in ["", "10.0.0.0/33", "10/8", "fc00::/129", "everyone"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_names_the_item_that_is_wrong() {
        let numbers = |text| list(text, 3, |item| count(item, 1..=9));
        assert_eq!(numbers("1, 2 ,3"), Ok(vec![1, 2, 3]));
        assert_eq!(numbers("x"), Err("allowed is a whole number from 1 to 9".to_owned()));
        assert_eq!(numbers("1,x"), Err("\"x\": allowed is a whole number from 1 to 9".to_owned()));
        assert!(numbers("1,").is_err());
        assert_eq!(numbers("1,2,3,4"), Err("allowed are at most 3 items".to_owned()));
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(quoted("a\nb\u{1b}[0m\""), r#""a\nb\u{1b}[0m\"""#);
        assert_eq!(quoted(&"x".repeat(81)), format!("\"{}…\"", "x".repeat(80)));
    }
}
