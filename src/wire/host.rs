//! The names that a server goes by, against the name in a request (RFC 9110 section 7.2).
//!
//! Deals with: whether an authority (a `Host` field's value, or that of an absolute-form) is one of
//! a list. Leaves to others: whether the text is an authority at all, which the head's parser has
//! decided; which requests are asked; what a refused request is answered with.
//!
//! The surprise: a port is no part of a name. A balancer listens on another port than we do, and a
//! page that a browser was led here with by false DNS (DNS rebinding) has a wrong name, never just
//! a wrong port.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt;

/// The longest name in the DNS, in characters.
const NAME_BYTES_MAX: usize = 253;

/// One name of the server, normalised so that equal names compare as equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// A name, or an IPv4 address, in lower case and without a dot at its end.
    Name(Box<str>),
    /// An IPv6 address, which may be written in several ways.
    Address(Ipv6Addr),
}

impl Host {
    /// Reads a name, an IPv4 address, or an IPv6 address in brackets. A port behind it is checked
    /// and forgotten, and so is a dot at a name's end, which says that the name is whole.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if `text` is none of these, has a wildcard, or is longer than a name may be.
    pub fn parse(text: &str) -> Result<Host, Malformed> {
        let (host, port) = split(text).ok_or(Malformed)?;
        let is_port = match port.strip_prefix(':') {
            None => port.is_empty(),
            Some("") => true,
            // The digits are checked by themselves, because parsing would take a `+`.
            Some(digits) => {
                digits.bytes().all(|digit| digit.is_ascii_digit()) && digits.parse::<u16>().is_ok()
            }
        };
        if !is_port {
            return Err(Malformed);
        }
        match host {
            Named::Address(address) => Ok(Host::Address(address)),
            Named::Name(name) => {
                let is_label = |label: &str| {
                    let in_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                    !label.is_empty() && label.bytes().all(in_label)
                };
                let is_name = name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label);
                is_name.then(|| Host::Name(name.to_ascii_lowercase().into())).ok_or(Malformed)
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(address) => write!(f, "[{address}]"),
        }
    }
}

/// Why [`Host::parse`] refused a text: it is not a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "allowed is a host such as chat.example.org, 192.0.2.1 or [2001:db8::1], without \
             wildcards",
        )
    }
}

impl std::error::Error for Malformed {}

/// Whether `authority`, a host with or without a port, is one of `hosts`. No allocation.
pub fn is_named(authority: &str, hosts: &[Host]) -> bool {
    let Some((named, _port)) = split(authority) else { return false };
    hosts.iter().any(|host| match (host, &named) {
        (Host::Name(name), Named::Name(other)) => name.eq_ignore_ascii_case(other),
        (Host::Address(address), Named::Address(other)) => address == other,
        (Host::Name(_), Named::Address(_)) | (Host::Address(_), Named::Name(_)) => false,
    })
}

/// Whether `authority`, a host with or without a port, is an IP address or `localhost`: a name that
/// nobody can make lead elsewhere.
pub fn is_local(authority: &str) -> bool {
    match split(authority) {
        Some((Named::Address(_), _)) => true,
        Some((Named::Name(name), _)) => {
            name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok()
        }
        None => false,
    }
}

/// The host of an authority, which need not be one of the server's.
enum Named<'t> {
    /// A name or an IPv4 address, without the dot at its end.
    Name(&'t str),
    Address(Ipv6Addr),
}

/// Splits an authority into its host and the rest: nothing, or a colon and what should be a port.
fn split(authority: &str) -> Option<(Named<'_>, &str)> {
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        return Some((Named::Address(address.parse().ok()?), port));
    }
    let (name, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
    Some((Named::Name(name.strip_suffix('.').unwrap_or(name)), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<Host> {
        texts.iter().map(|text| Host::parse(text).expect("a host")).collect()
    }

    #[test]
    fn a_name_is_the_same_whatever_its_case_its_dot_and_its_port() {
        let hosts = list(&["Chat.Example.", "10.0.0.1:3000", "[2001:DB8:0::1]:443", "localhost"]);
        for authority in [
            "chat.example",
            "CHAT.example.:8080",
            "chat.example:",
            "10.0.0.1",
            "10.0.0.1:1",
            "[2001:db8::1]",
            "[2001:0db8:0:0:0:0:0:1]:80",
            "LocalHost:3000",
        ] {
            assert!(is_named(authority, &hosts), "{authority}");
        }
        for authority in [
            "",
            ":80",
            ".",
            "example",
            "chat.example.evil",
            "a.chat.example",
            "chat.example..",
            "chat.exampl",
            "10.0.0.10",
            "[2001:db8::2]",
            "[::ffff:10.0.0.1]",
            "2001:db8::1",
            "[2001:db8::1",
            "localhost.localdomain",
        ] {
            assert!(!is_named(authority, &hosts), "{authority}");
        }
    }

    #[test]
    fn entries_are_normalised_and_shown_again() {
        let shown = |text: &str| Host::parse(text).map(|host| host.to_string());
        assert_eq!(shown("Chat.Example.:80"), Ok("chat.example".to_owned()));
        assert_eq!(shown("xn--bcher-kva.example"), Ok("xn--bcher-kva.example".to_owned()));
        assert_eq!(shown("[::0:1]:"), Ok("[::1]".to_owned()));
        assert_eq!(shown(&"a".repeat(253)).map(|name| name.len()), Ok(253));
        for text in [
            "",
            ".",
            "*",
            "*.example.org",
            ".example.org",
            "a..b",
            "a b",
            "é.example",
            "http://a",
            "a/",
            "u@a",
            ":80",
            "a:x",
            "a:65536",
            "a:+80",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[10.0.0.1]",
            "[fe80::1%eth0]",
            &"a".repeat(254),
        ] {
            assert_eq!(shown(text), Err(Malformed), "{text}");
        }
    }
}
