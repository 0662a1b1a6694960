//! Web origins (RFC 6454) of browsers' requests, against the `Host` of the request and an
//! allow-list.
//!
//! Deals with: whether a page of some origin may open a connection here. Leaves to others: requests
//! without an `Origin` field, which no browser sends and which are allowed; what a refused request
//! is answered with.
//!
//! Origins are compared as the texts that browsers serialise (RFC 6454 section 6.2), normalised:
//! letters in lower case, the scheme's default port left out.
//!
//! The surprise: the same-origin rule compares authorities alone. TLS may end in front of us, so
//! the scheme under which the client knows us is unknown; only the page's own scheme is known, and
//! it decides which port goes without saying on both sides.

use core::fmt;

/// One entry of an allow-list, normalised so that equal entries compare as equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Every origin, `null` too: written `*`.
    Any,
    /// The origin `null`, of sandboxed frames, local files and some redirects. Anyone can be that.
    Null,
    /// The origin of pages: one scheme, host and port.
    Page {
        /// The scheme, in lower case.
        scheme: Box<str>,
        /// The host, in lower case; brackets around an IPv6 address are part of it. Empty where
        /// the scheme has none, as in `file://`.
        host: Box<str>,
        /// The port; `None` for the scheme's default.
        port: Option<u16>,
    },
    /// The origins of pages whose hosts lie below a domain: written `https://*.example.org`.
    Below {
        /// The scheme, in lower case.
        scheme: Box<str>,
        /// The domain, in lower case, without a dot in front; its own pages are not meant.
        domain: Box<str>,
        /// The port; `None` for the scheme's default.
        port: Option<u16>,
    },
}

impl Origin {
    /// Reads `*`, `null` or `scheme://host[:port]`, in any case of letters, as a browser would send
    /// it: no path (one `/` at the end is ignored), no user, hosts outside ASCII in their `xn--`
    /// form. Schemes other than those of the web may have an empty host: `file://`. A host that
    /// begins with `*.` stands for all names below the rest, of one label more or several.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if `text` is none of these, or longer than 512 bytes.
    pub fn parse(text: &str) -> Result<Origin, Malformed> {
        match text {
            "*" => return Ok(Origin::Any),
            _ if text.eq_ignore_ascii_case("null") => return Ok(Origin::Null),
            _ if text.len() > ORIGIN_BYTES_MAX => return Err(Malformed),
            _ => {}
        }
        let (scheme, authority) = split(text).ok_or(Malformed)?;
        let (is_below, authority) = match authority.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, authority),
        };
        let authority = Authority::parse(authority, scheme).ok_or(Malformed)?;
        let (scheme, port) = (scheme.to_ascii_lowercase().into(), authority.port);
        let host: Box<str> = authority.host.to_ascii_lowercase().into();
        match is_below {
            true if !is_domain(&host) => Err(Malformed),
            true => Ok(Origin::Below { scheme, domain: host, port }),
            false => Ok(Origin::Page { scheme, host, port }),
        }
    }

    fn allows(&self, origin: &[u8], page: Option<&Page<'_>>) -> bool {
        match self {
            Origin::Any => true,
            Origin::Null => origin == b"null",
            Origin::Page { scheme, host, port } => page.is_some_and(|page| {
                page.is_at(scheme, *port) && page.authority.host.eq_ignore_ascii_case(host)
            }),
            Origin::Below { scheme, domain, port } => page.is_some_and(|page| {
                page.is_at(scheme, *port) && is_below(page.authority.host, domain)
            }),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, stars, host, port) = match self {
            Origin::Any => return f.write_str("*"),
            Origin::Null => return f.write_str("null"),
            Origin::Page { scheme, host, port } => (scheme, "", host, port),
            Origin::Below { scheme, domain, port } => (scheme, "*.", domain, port),
        };
        write!(f, "{scheme}://{stars}{host}")?;
        port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Why [`Origin::parse`] refused a text: it is not an origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an origin is scheme://host[:port], scheme://*.domain[:port], null or *")
    }
}

impl std::error::Error for Malformed {}

/// The most bytes of an origin or authority that is looked at: names in the DNS have at most 253
/// characters. Anything longer belongs to nobody.
pub const ORIGIN_BYTES_MAX: usize = 512;

/// Whether a page of `origin`, the raw value of the request's only `Origin` field, came from
/// `authority`, the request's host and port.
///
/// A value that is no origin, or is longer than 512 bytes, came from nowhere. One `/` behind the
/// authority is ignored, since clients that are no browsers put the URL that they were given into
/// the field. No allocation.
pub fn is_own(origin: &[u8], authority: &str) -> bool {
    Page::read(origin).is_some_and(|page| page.is_own(authority))
}

/// Whether `listed` allows a page of `origin`, the raw value of the request's only `Origin` field.
///
/// A value that is no origin, or is longer than 512 bytes, is allowed by [`Origin::Any`] alone. One
/// `/` behind the authority is ignored. One pass over the list; no allocation.
pub fn is_listed(origin: &[u8], listed: &[Origin]) -> bool {
    let page = Page::read(origin);
    listed.iter().any(|entry| entry.allows(origin, page.as_ref()))
}

/// Whether `host` is a name below `domain`: one label more, or several.
fn is_below(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.as_bytes(), domain.as_bytes());
    let Some(length) = host.len().checked_sub(domain.len()) else { return false };
    let (labels, end) = host.split_at(length);
    let Some(labels) = labels.strip_suffix(b".") else { return false };
    end.eq_ignore_ascii_case(domain) && labels.split(|byte| *byte == b'.').all(is_label)
}

/// Whether other names can lie below `host`: it is itself a name that a host can have, no address.
fn is_domain(host: &str) -> bool {
    let is_name = host.split('.').all(|label| is_label(label.as_bytes()));
    is_name && host.parse::<core::net::Ipv4Addr>().is_err()
}

/// Whether the name of a host can have `label` between two dots: letters, digits, `-`, and the `_`
/// that some networks have in theirs. The syntax of URLs would let more pass.
fn is_label(label: &[u8]) -> bool {
    let may_stand = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !label.is_empty() && label.iter().all(may_stand)
}

/// An origin taken apart.
struct Page<'t> {
    scheme: &'t str,
    authority: Authority<'t>,
}

impl<'t> Page<'t> {
    fn parse(text: &'t str) -> Option<Page<'t>> {
        let (scheme, authority) = split(text)?;
        Some(Page { scheme, authority: Authority::parse(authority, scheme)? })
    }

    /// Reads the raw value of a field.
    fn read(origin: &'t [u8]) -> Option<Page<'t>> {
        let short = Some(origin).filter(|origin| origin.len() <= ORIGIN_BYTES_MAX)?;
        Page::parse(core::str::from_utf8(short).ok()?)
    }

    /// Whether `authority`, under which a request came, is that of the page.
    fn is_own(&self, authority: &str) -> bool {
        // A request of HTTP/1.0 may name no host, which is nobody's: not that of `file://` either.
        if authority.is_empty() || authority.len() > ORIGIN_BYTES_MAX {
            return false;
        }
        Authority::parse(authority, self.scheme).is_some_and(|own| {
            own.host.eq_ignore_ascii_case(self.authority.host) && own.port == self.authority.port
        })
    }

    fn is_at(&self, scheme: &str, port: Option<u16>) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme) && self.authority.port == port
    }
}

/// Splits an origin into its scheme and its authority, without a `/` behind that.
fn split(text: &str) -> Option<(&str, &str)> {
    let (scheme, authority) = text.split_once("://")?;
    let mut letters = scheme.bytes();
    let is_scheme = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    is_scheme.then_some((scheme, authority))
}

/// An authority taken apart: host and port.
struct Authority<'t> {
    host: &'t str,
    /// The port; `None` for the default of the scheme under which the authority was read.
    port: Option<u16>,
}

impl<'t> Authority<'t> {
    fn parse(text: &'t str, scheme: &str) -> Option<Authority<'t>> {
        // The colons of an IPv6 address lie inside brackets.
        let host_end = match text.strip_prefix('[') {
            Some(address) => address.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at(host_end);
        let port = match port.strip_prefix(':') {
            // An empty port is the default one (RFC 3986 section 6.2.3).
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
            None if port.is_empty() => None,
            None => return None,
        };
        let default = port_default(scheme);
        let is_valid = match host {
            // An origin without a host has no port either; those of the web always have a host.
            "" => text.is_empty() && default.is_none(),
            _ if host.starts_with('[') => host.bytes().skip(1).all(is_address_byte),
            _ => host.bytes().all(is_host_byte),
        };
        is_valid.then_some(Authority { host, port: port.filter(|&port| Some(port) != default) })
    }
}

/// Whether `byte` may stand in an IPv6 address or be the bracket behind one.
const fn is_address_byte(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b']')
}

/// Whether `byte` may stand in a host that is a name (RFC 3986 section 3.2.2). An asterisk may, but
/// would pass for a wildcard.
const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'')
        || matches!(byte, b'(' | b')' | b'+' | b',' | b';' | b'=')
}

fn port_default(scheme: &str) -> Option<u16> {
    let is = |name| scheme.eq_ignore_ascii_case(name);
    if is("https") || is("wss") {
        Some(443)
    } else if is("http") || is("ws") {
        Some(80)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin_allowed(origin: &[u8], authority: &str, listed: &[Origin]) -> bool {
        is_own(origin, authority) || is_listed(origin, listed)
    }

    #[test]
    fn a_page_may_reach_the_host_it_came_from() {
        let allowed = |origin: &str, host| origin_allowed(origin.as_bytes(), host, &[]);
        assert!(allowed("http://chat.example", "chat.example"));
        assert!(allowed("HTTPS://Chat.Example", "chat.EXAMPLE"));
        assert!(allowed("http://[::1]:3000", "[::1]:3000"));
        assert!(!allowed("http://chat.example", "other.example"));
        assert!(!allowed("http://chat.example", "chat.example.evil"));
        assert!(!allowed("http://chat.example:3000", "chat.example"));
        assert!(!allowed("http://[::1]:3000", "[::2]:3000"));
    }

    #[test]
    fn the_default_port_is_that_of_the_pages_scheme() {
        let allowed = |origin: &str, host| origin_allowed(origin.as_bytes(), host, &[]);
        assert!(allowed("https://h", "h:443"));
        assert!(allowed("https://h:443", "h"));
        assert!(allowed("http://h", "h:80"));
        assert!(allowed("http://h", "h:"));
        assert!(!allowed("http://h", "h:443"));
        assert!(!allowed("https://h", "h:80"));
        assert!(!allowed("app://h", "h:80"));
    }

    #[test]
    fn what_is_no_origin_matches_nothing() {
        let list = [Origin::parse("https://h").expect("an origin"), Origin::Null];
        for origin in [
            &b""[..],
            b"h",
            b"://h",
            b"http://",
            b"http://h//",
            b"http://h/x",
            b"http:///",
            b"http://:80",
            b"http://h:port",
            b"http://h:65616",
            b"http://user@h",
            b"http://h h",
            b"1http://h",
            b"http://[::1",
            b"http://[::1]x",
            b"https://h\xff",
            b"https://h https://h",
            b"https://*.h",
            b"null/",
            b"NULL",
            b"file://",
        ] {
            assert!(!origin_allowed(origin, "h", &list), "{}", origin.escape_ascii());
        }
    }

    #[test]
    fn null_is_allowed_only_when_listed() {
        assert!(!origin_allowed(b"null", "null", &[]));
        assert!(origin_allowed(b"null", "h", &[Origin::Null]));
    }

    #[test]
    fn a_listed_origin_is_compared_with_its_scheme() {
        let list = [Origin::parse("https://Page.Example:443").expect("an origin")];
        assert!(origin_allowed(b"https://page.example", "h", &list));
        assert!(!origin_allowed(b"http://page.example", "h", &list));
        assert!(!origin_allowed(b"https://page.example:8443", "h", &list));
        assert!(!origin_allowed(b"https://sub.page.example", "h", &list));
    }

    #[test]
    fn a_star_allows_anything() {
        for origin in [&b"https://page.example"[..], b"null", b"\xff"] {
            assert!(origin_allowed(origin, "h", &[Origin::Any]));
        }
    }

    #[test]
    fn a_page_may_be_this_servers_own_and_listed_too() {
        let list = [Origin::parse("https://a").expect("one")];
        let how = |origin: &[u8], authority| (is_own(origin, authority), is_listed(origin, &list));
        assert_eq!(how(b"https://a", "a"), (true, true));
        assert_eq!(how(b"https://a", "h"), (false, true));
        assert_eq!(how(b"https://h", "h"), (true, false));
        assert_eq!(how(b"https://b", "h"), (false, false));
    }

    #[test]
    fn what_is_too_long_for_a_name_is_nobodys() {
        let host = "a".repeat(ORIGIN_BYTES_MAX - "https://".len());
        let longest = format!("https://{host}");
        let list = [Origin::parse(&longest).expect("an origin")];
        assert!(is_own(longest.as_bytes(), &host));
        assert!(is_listed(longest.as_bytes(), &list));
        let longer = format!("{longest}a");
        assert_eq!(Origin::parse(&longer), Err(Malformed));
        assert!(!origin_allowed(longer.as_bytes(), &format!("{host}a"), &list));
        assert!(is_listed(longer.as_bytes(), &[Origin::Any]));
    }

    #[test]
    fn entries_are_normalised_and_shown_again() {
        let shown = |text| Origin::parse(text).map(|origin| origin.to_string());
        assert_eq!(shown("HTTP://Chat.Example:80"), Ok("http://chat.example".to_owned()));
        assert_eq!(shown("https://[::1]:3000"), Ok("https://[::1]:3000".to_owned()));
        for text in [
            "null",
            "*",
            "file://",
            "app://x",
            "app://x:80",
            "capacitor://localhost",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://0a1b2c3d-0000-4000-8000-000000000000",
            "https://*.example.org",
            "https://*.example.org:8443",
        ] {
            assert_eq!(shown(text), Ok(text.to_owned()));
        }
        assert_eq!(shown("NULL"), Ok("null".to_owned()));
        assert_eq!(shown("https://h/"), Ok("https://h".to_owned()));
        assert_eq!(shown("FILE:///"), Ok("file://".to_owned()));
        assert_eq!(shown("WSS://*.Example.Org:443/"), Ok("wss://*.example.org".to_owned()));
        for text in [
            "chat.example",
            "*.example.org",
            "https://",
            "https://*",
            "https://*.",
            "https://*.*.example",
            "https://a.*.example",
            "https://*example",
            "https://*..example",
            "https://*.a%2eb.example",
            "https://*.a'b.example",
            "https://*.[::1]",
            "https://*.10.0.0.1",
            "file://*.",
            "file://:80",
            "https://h//",
            "https://h/x",
            "https://u@h",
            "https://[x]",
            "",
            "https://h?",
            "https://\u{fc}.example",
        ] {
            assert_eq!(shown(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn a_slash_behind_the_authority_is_ignored() {
        let list = [Origin::parse("https://page.example").expect("an origin")];
        for (origin, host) in [
            ("http://h/", "h"),
            ("http://h:80/", "h"),
            ("https://h/", "h:443"),
            ("http://[::1]:3000/", "[::1]:3000"),
            ("https://page.example/", "h"),
            ("https://page.example:443/", "h"),
        ] {
            assert!(origin_allowed(origin.as_bytes(), host, &list), "{origin}");
        }
    }

    #[test]
    fn what_has_no_host_is_nobodys_own_page() {
        assert!(!origin_allowed(b"file://", "", &[]));
        assert!(!origin_allowed(b"app://", "", &[]));
        let list = [Origin::parse("file://").expect("an origin")];
        assert!(origin_allowed(b"file://", "h", &list));
        assert!(origin_allowed(b"file:///", "", &list));
        assert!(!origin_allowed(b"file://h", "x", &list));
        assert!(!origin_allowed(b"app://", "x", &list));
    }

    #[test]
    fn a_wildcard_stands_for_one_label_or_more_and_never_for_none() {
        let list =
            ["https://*.example.org", "app://*.x:81"].map(|text| Origin::parse(text).unwrap());
        for origin in [
            "https://a.example.org",
            "https://a.b.Example.ORG",
            "https://a-1_b.xn--bcher-kva.example.org",
            "HTTPS://A.example.org:443/",
            "app://a.x:81",
        ] {
            assert!(origin_allowed(origin.as_bytes(), "h", &list), "{origin}");
        }
        for origin in [
            "https://example.org",
            "https://.example.org",
            "https://a..example.org",
            "https://.a.example.org",
            "https://aexample.org",
            "https://a.example.org.",
            "https://a.example.org.evil",
            "https://evil/.example.org",
            "https://a.example.org:8443",
            "http://a.example.org",
            "app://a.x",
            "null",
            "https://*.example.org",
            "https://a.*.example.org",
            "https://%2a.example.org",
            "https://a,b.example.org",
            "https://a!.example.org",
            "https://(a).b.example.org",
            "https://a.b~c.example.org",
            "https://[::1].example.org",
        ] {
            assert!(!origin_allowed(origin.as_bytes(), "h", &list), "{origin}");
        }
    }
}
