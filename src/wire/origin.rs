//! Web origins (RFC 6454) of browsers' requests, against the `Host` of the request and an
//! allow-list.
//!
//! Deals with: whether a page of some origin may open a connection here. Leaves to others: requests
//! without an `Origin` field, which no browser sends and which are allowed; what a refused request
//! is answered with.
//!
//! The surprise: the same-origin rule compares authorities alone. TLS may end in front of us, so
//! the scheme under which the client knows us is unknown; only the page's own scheme is known, and
//! it decides which port goes without saying on both sides.

use std::fmt;

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
        /// The host, in lower case; brackets around an IPv6 address are part of it.
        host: Box<str>,
        /// The port; `None` for the scheme's default.
        port: Option<u16>,
    },
}

impl Origin {
    /// Reads `*`, `null` or `scheme://host[:port]`, in any case of letters, as a browser would send
    /// it: no path, no user, hosts outside ASCII in their `xn--` form.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if `text` is none of these, or longer than 512 bytes.
    pub fn parse(text: &str) -> Result<Origin, Malformed> {
        match text {
            "*" => return Ok(Origin::Any),
            "null" => return Ok(Origin::Null),
            _ if text.len() > ORIGIN_BYTES_MAX => return Err(Malformed),
            _ => {}
        }
        let page = Page::parse(text).ok_or(Malformed)?;
        Ok(Origin::Page {
            scheme: page.scheme.to_ascii_lowercase().into(),
            host: page.authority.host.to_ascii_lowercase().into(),
            port: page.authority.port,
        })
    }

    fn allows(&self, origin: &[u8], page: Option<&Page<'_>>) -> bool {
        match self {
            Origin::Any => true,
            Origin::Null => origin == b"null",
            Origin::Page { scheme, host, port } => page.is_some_and(|page| {
                page.scheme.eq_ignore_ascii_case(scheme)
                    && page.authority.host.eq_ignore_ascii_case(host)
                    && page.authority.port == *port
            }),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Any => f.write_str("*"),
            Origin::Null => f.write_str("null"),
            Origin::Page { scheme, host, port: None } => write!(f, "{scheme}://{host}"),
            Origin::Page { scheme, host, port: Some(port) } => {
                write!(f, "{scheme}://{host}:{port}")
            }
        }
    }
}

/// Why [`Origin::parse`] refused a text: it is not an origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an origin is scheme://host[:port], null or *")
    }
}

impl std::error::Error for Malformed {}

/// The most bytes of an origin or authority that is looked at: names in the DNS have at most 253
/// characters. Anything longer belongs to nobody.
const ORIGIN_BYTES_MAX: usize = 512;

/// Why a page may connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permission {
    /// The page came from this server.
    OwnPage,
    /// The entry of the allow-list with this index, the first that fits.
    Listed(usize),
}

/// Whether a page of `origin`, the raw value of the request's only `Origin` field, may connect:
/// because `authority`, the request's host and port, is its own, or because it is in `listed`.
///
/// A value that is no origin, or is longer than 512 bytes, is allowed by [`Origin::Any`] alone.
/// One pass over the list; no allocation.
pub fn permission(origin: &[u8], authority: &str, listed: &[Origin]) -> Option<Permission> {
    let short = Some(origin).filter(|origin| origin.len() <= ORIGIN_BYTES_MAX);
    let page = short.and_then(|origin| std::str::from_utf8(origin).ok()).and_then(Page::parse);
    if let Some(page) = &page
        && authority.len() <= ORIGIN_BYTES_MAX
        && let Some(own) = Authority::parse(authority, page.scheme)
        && own.host.eq_ignore_ascii_case(page.authority.host)
        && own.port == page.authority.port
    {
        return Some(Permission::OwnPage);
    }
    let place = listed.iter().position(|entry| entry.allows(origin, page.as_ref()));
    place.map(Permission::Listed)
}

/// An origin taken apart.
struct Page<'t> {
    scheme: &'t str,
    authority: Authority<'t>,
}

impl<'t> Page<'t> {
    fn parse(text: &'t str) -> Option<Page<'t>> {
        let (scheme, authority) = text.split_once("://")?;
        let mut letters = scheme.bytes();
        let scheme_valid = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !scheme_valid {
            return None;
        }
        Some(Page { scheme, authority: Authority::parse(authority, scheme)? })
    }
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
        // These are fewer bytes than a URL's host may have; an asterisk would pass for a wildcard.
        let host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(host_byte) {
            return None;
        }
        Some(Authority { host, port: port.filter(|&port| Some(port) != port_default(scheme)) })
    }
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
        permission(origin, authority, listed).is_some()
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
            b"http://h/",
            b"http://h:port",
            b"http://h:65616",
            b"http://user@h",
            b"http://h h",
            b"1http://h",
            b"http://[::1",
            b"http://[::1]x",
            b"https://h\xff",
            b"https://h https://h",
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
    fn the_reason_is_the_first_that_fits() {
        let list = ["https://a", "https://b", "*"].map(|text| Origin::parse(text).expect("one"));
        let why = |origin: &[u8]| permission(origin, "a", &list);
        assert_eq!(why(b"https://a"), Some(Permission::OwnPage));
        assert_eq!(why(b"https://b"), Some(Permission::Listed(1)));
        assert_eq!(why(b"https://c"), Some(Permission::Listed(2)));
        assert_eq!(permission(b"https://a", "h", &list), Some(Permission::Listed(0)));
        assert_eq!(permission(b"https://c", "h", &list[..2]), None);
    }

    #[test]
    fn what_is_too_long_for_a_name_is_nobodys() {
        let host = "a".repeat(ORIGIN_BYTES_MAX - "https://".len());
        let longest = format!("https://{host}");
        let list = [Origin::parse(&longest).expect("an origin")];
        assert_eq!(permission(longest.as_bytes(), &host, &[]), Some(Permission::OwnPage));
        assert_eq!(permission(longest.as_bytes(), "h", &list), Some(Permission::Listed(0)));
        let longer = format!("{longest}a");
        assert_eq!(Origin::parse(&longer), Err(Malformed));
        assert_eq!(permission(longer.as_bytes(), &format!("{host}a"), &list), None);
        let any = permission(longer.as_bytes(), "h", &[Origin::Any]);
        assert_eq!(any, Some(Permission::Listed(0)));
    }

    #[test]
    fn entries_are_normalised_and_shown_again() {
        let shown = |text| Origin::parse(text).map(|origin| origin.to_string());
        assert_eq!(shown("HTTP://Chat.Example:80"), Ok("http://chat.example".to_owned()));
        assert_eq!(shown("https://[::1]:3000"), Ok("https://[::1]:3000".to_owned()));
        assert_eq!(shown("null"), Ok("null".to_owned()));
        assert_eq!(shown("*"), Ok("*".to_owned()));
        for text in ["chat.example", "https://*.example", "https://h/", "", "https://h?"] {
            assert_eq!(shown(text), Err(Malformed), "{text}");
        }
    }
}
