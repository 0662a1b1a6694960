//! The Redis that several instances share: its URL, whose password it is asked with, and the prefix
//! of the keys in it.
//!
//! ```text
//!   redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]      also :PASSWORD@; HOST may be [IPV6]
//!   rediss://…                                      the same with TLS
//!   unix:PATH
//! ```
//!
//! Deals with: the text, and which sources of a password there are. Leaves to others: resolving the
//! name, reading the file of the password, connecting.
//!
//! The surprise: a URL is read more strictly than most clients of Redis read it. A password with an
//! `@`, a `/` or a blank has to be percent-encoded, a query is refused, and so is a host that the
//! system would take for an address although it does not look like one (`127.1`). A text that two
//! readers understand differently is how a password ends up in the name of a host, and then in a
//! log.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::kind::Kind;
use super::listen::{self, Endpoint};
use crate::settings::Secret;

/// The port of Redis where the URL names none.
const PORT: u16 = 6379;

/// The most bytes of a URL.
const URL_BYTES_MAX: usize = 2048;

/// The most bytes of a host's name (RFC 1035 §2.3.4, without the final dot).
const HOST_BYTES_MAX: usize = 253;

/// The most bytes of one label of a host's name.
const LABEL_BYTES_MAX: usize = 63;

/// The most bytes of a user's name.
const USER_BYTES_MAX: usize = 128;

/// The most bytes of a prefix; it stands in every key, and so in every request.
const PREFIX_BYTES_MAX: usize = 64;

/// The variable that may hold the password; no flag does, since others can see command lines.
pub const PASSWORD_VARIABLE: &str = "ELBOW_REDIS_PASSWORD";

/// Where a server of Redis is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RedisServer {
    /// An address, or a name that is resolved each time a connection is made.
    Tcp {
        /// Who is connected to; with TLS the certificate must be for this.
        host: RedisHost,
        /// The port, 1 to 65535.
        port: u16,
        /// Whether the connection is encrypted: `rediss://`.
        tls: bool,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// The host of a URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RedisHost {
    /// An IP address.
    Ip(IpAddr),
    /// A name of letters, digits, dashes, underscores and dots, in lower case.
    Name(Box<str>),
}

impl fmt::Display for RedisHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RedisHost::Ip(IpAddr::V4(address)) => address.fmt(f),
            RedisHost::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
            RedisHost::Name(name) => f.write_str(name),
        }
    }
}

/// What the URL of a Redis says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RedisUrl {
    /// Where the server is.
    pub server: RedisServer,
    /// The user of its access control list; `None` is the user `default`.
    pub user: Option<Box<str>>,
    /// The password, decoded.
    pub password: Option<Secret>,
    /// The number of the database.
    pub database: u16,
}

impl RedisUrl {
    /// Reads a URL of Redis, or `unix:` and a path.
    ///
    /// # Errors
    /// What is allowed, in a sentence that repeats nothing of `text`.
    pub fn parse(text: &str) -> Result<RedisUrl, &'static str> {
        if let Some(Endpoint::Unix(path)) = listen::unix(text) {
            let server = RedisServer::Unix(path);
            return Ok(RedisUrl { server, user: None, password: None, database: 0 });
        }
        let (rest, tls) = match (text.strip_prefix("redis://"), text.strip_prefix("rediss://")) {
            (Some(rest), _) => (rest, false),
            (None, Some(rest)) => (rest, true),
            (None, None) => return Err(ALLOWED),
        };
        if text.len() > URL_BYTES_MAX || rest.contains(['?', '#']) {
            return Err(ALLOWED);
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, password, host) = match authority.rsplit_once('@') {
            Some((who, host)) => {
                let (user, password) = credentials(who).ok_or(ENCODED)?;
                (user, password, host)
            }
            None => (None, None, authority),
        };
        let (host, port) = host_and_port(host).ok_or(ALLOWED)?;
        let database = match database {
            "" => 0,
            digits => number(digits).ok_or(ALLOWED)?,
        };
        Ok(RedisUrl { server: RedisServer::Tcp { host, port, tls }, user, password, database })
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.server, RedisServer::Tcp { tls: true, .. })
    }
}

impl fmt::Display for RedisUrl {
    /// The URL without its password, with the port, and with the database unless that is 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port, tls) = match &self.server {
            RedisServer::Unix(path) => return Endpoint::Unix(path.clone()).fmt(f),
            RedisServer::Tcp { host, port, tls } => (host, port, tls),
        };
        f.write_str(if *tls { "rediss://" } else { "redis://" })?;
        if let Some(user) = &self.user {
            for byte in user.bytes() {
                match is_plain(byte) && byte != b':' {
                    true => write!(f, "{}", char::from(byte))?,
                    false => write!(f, "%{byte:02X}")?,
                }
            }
            f.write_str("@")?;
        }
        write!(f, "{host}:{port}")?;
        if self.database == 0 { Ok(()) } else { write!(f, "/{}", self.database) }
    }
}

/// What may be asked for, for whoever asked for something else.
const ALLOWED: &str = "allowed is redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], rediss://… for TLS, \
                       or unix:PATH";

/// What may stand in front of the `@`, for whoever put something else there.
const ENCODED: &str = "allowed in front of the @ is USER, USER:PASSWORD or :PASSWORD, where all \
                       but letters, digits and -._~!$&'()*+,;=: is percent-encoded";

/// Reads `USER`, `USER:PASSWORD` or `:PASSWORD`.
fn credentials(text: &str) -> Option<(Option<Box<str>>, Option<Secret>)> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    let password = match password {
        Some(password) => Some(Secret::new(&decoded(password)?)?),
        None if user.is_empty() => return None,
        None => None,
    };
    if user.is_empty() {
        return Some((None, password));
    }
    let user = String::from_utf8(decoded(user)?).ok()?;
    let is_name = user.len() <= USER_BYTES_MAX
        && !user.chars().any(|character| character.is_whitespace() || character.is_control());
    is_name.then(|| (Some(user.into_boxed_str()), password))
}

/// The bytes that a percent-encoded text stands for (RFC 3986 §2.1). `None` for a text with a
/// character that has to be encoded, or with a percent sign that no two hexadecimal digits follow.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(Some(first).filter(|byte| is_plain(*byte))?);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let value = |digit: u8| char::from(digit).to_digit(16);
        // Two digits of four bits each.
        bytes.push((value(digits[0])? << 4 | value(digits[1])?) as u8);
        rest = behind;
    }
    Some(bytes)
}

/// Whether a byte may stand for itself in front of the `@` (RFC 3986 §3.2.1).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(&byte)
}

/// Reads a host and, behind a colon, a port.
fn host_and_port(text: &str) -> Option<(RedisHost, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, behind) = rest.split_once(']')?;
            let address = RedisHost::Ip(IpAddr::V6(address.parse::<Ipv6Addr>().ok()?));
            let port = match behind {
                "" => None,
                behind => Some(behind.strip_prefix(':')?),
            };
            (address, port)
        }
        None => match text.split_once(':') {
            Some((name, port)) => (named(name)?, Some(port)),
            None => (named(text)?, None),
        },
    };
    let port = match port {
        Some(digits) => number(digits).filter(|port| *port != 0)?,
        None => PORT,
    };
    Some((host, port))
}

/// Reads a host's name, or an address of IPv4. What ends in a number is an address or nothing: the
/// system's own reader takes `127.1` and `2130706433` for addresses.
fn named(text: &str) -> Option<RedisHost> {
    let labels_fit = text.split('.').all(|label| (1..=LABEL_BYTES_MAX).contains(&label.len()));
    let is_name = text.len() <= HOST_BYTES_MAX
        && labels_fit
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !text.starts_with('-');
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_hexadecimal = last.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case("0x"));
    if last.bytes().all(|byte| byte.is_ascii_digit()) || is_hexadecimal {
        return text.parse::<Ipv4Addr>().ok().map(|address| RedisHost::Ip(address.into()));
    }
    is_name.then(|| RedisHost::Name(text.to_ascii_lowercase().into_boxed_str()))
}

/// Decimal digits and nothing else.
fn number(digits: &str) -> Option<u16> {
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The URL of a Redis, shown without its password.
pub(super) struct Url;

impl Kind<RedisUrl> for Url {
    fn parse(&self, text: &str) -> Result<RedisUrl, String> {
        RedisUrl::parse(text).map_err(str::to_owned)
    }

    fn text(&self, url: &RedisUrl) -> String {
        url.to_string()
    }
}

/// The name in front of all keys, without the braces that it stands between there.
pub(super) struct Prefix;

impl Kind<Box<str>> for Prefix {
    fn parse(&self, text: &str) -> Result<Box<str>, String> {
        let is_prefix = (1..=PREFIX_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
        is_prefix.then(|| text.into()).ok_or_else(|| {
            format!(
                "allowed are letters, digits and -._: alone, {PREFIX_BYTES_MAX} of them at most"
            )
        })
    }

    fn text(&self, prefix: &Box<str>) -> String {
        prefix.to_string()
    }
}

/// Where the password comes from. The text of a variable is kept from whoever prints this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PasswordSource {
    /// The file of `--redis-password-file`, read when the server starts.
    File(PathBuf),
    /// The variable [`PASSWORD_VARIABLE`].
    Variable(Secret),
    /// The URL.
    Url(Secret),
}

impl PasswordSource {
    /// The source as a line to the operator names it.
    pub fn name(&self) -> &'static str {
        match self {
            PasswordSource::File(_) => "--redis-password-file",
            PasswordSource::Variable(_) => PASSWORD_VARIABLE,
            PasswordSource::Url(_) => "--redis",
        }
    }
}

/// The Redis that decides the order of messages, as the operator has named it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redis {
    /// Where Redis is, as which user it is asked, and for which database.
    pub url: RedisUrl,
    /// Where the password comes from, if there is one.
    pub password: Option<PasswordSource>,
    /// The name that all keys begin with, between braces.
    pub prefix: Box<str>,
    /// Whose certificates are believed, in a file; `None`: those that the system believes.
    pub ca: Option<PathBuf>,
}

/// Whether this build can encrypt connections.
pub const HAS_TLS: bool = cfg!(feature = "tls");

/// Why there is no password although somebody gave one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PasswordFault {
    /// The URL has one, and another source has one too.
    Twice(&'static str),
    /// The variable is empty or too long.
    Unusable,
}

/// The one password that was given: in the file, in the variable, or in the URL. The file wins over
/// the variable; beside either of them the URL must have none. A variable that is set and empty is
/// a password that was lost, not none.
pub(super) fn find_password(
    file: Option<PathBuf>,
    variable: Option<String>,
    url: &RedisUrl,
) -> Result<Option<PasswordSource>, PasswordFault> {
    let source = match (file, variable) {
        (Some(file), _) => Some(PasswordSource::File(file)),
        (None, Some(text)) => {
            let secret = Secret::new(text.as_bytes()).ok_or(PasswordFault::Unusable)?;
            Some(PasswordSource::Variable(secret))
        }
        (None, None) => None,
    };
    match (source, &url.password) {
        (Some(source), Some(_)) => Err(PasswordFault::Twice(source.name())),
        (Some(source), None) => Ok(Some(source)),
        (None, password) => Ok(password.clone().map(PasswordSource::Url)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, &'static str> {
        RedisUrl::parse(text).map(|url| url.to_string())
    }

    #[test]
    fn a_url_names_a_host_and_perhaps_a_port_and_a_database() {
        for (text, expected) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://localhost/", "redis://localhost:6379"),
            ("redis://Redis.Example.ORG:6380/15", "redis://redis.example.org:6380/15"),
            ("rediss://a_b-c.cache.amazonaws.com", "rediss://a_b-c.cache.amazonaws.com:6379"),
            ("redis://192.0.2.1:1", "redis://192.0.2.1:1"),
            ("redis://[::1]", "redis://[::1]:6379"),
            ("redis://[2001:DB8:0::1]:7/0", "redis://[2001:db8::1]:7"),
            ("redis://localhost:65535/65535", "redis://localhost:65535/65535"),
            ("unix:/run/redis.sock", "unix:/run/redis.sock"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
            // What is shown may be typed.
            assert_eq!(shown(expected).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_a_reader_could_understand_in_two_ways_is_no_url() {
        for text in [
            "",
            "localhost",
            "localhost:6379",
            "redis:",
            "redis:/",
            "redis://",
            "redis:///0",
            "REDIS://localhost",
            "http://localhost",
            "redis+unix:///a",
            "redis://localhost:",
            "redis://localhost:0",
            "redis://localhost:65536",
            "redis://localhost:+1",
            "redis://localhost:1:2",
            "redis://:6379",
            "redis://local host",
            "redis://local%68ost",
            "redis://-a",
            "redis://a..b",
            "redis://.a",
            "redis://a.",
            "redis://\u{e4}.example",
            "redis://127.1",
            "redis://2130706433",
            "redis://0x7f000001",
            "redis://1.2.3.256",
            "redis://a.1",
            "redis://::1",
            "redis://[::1",
            "redis://[::1]6379",
            "redis://[fe80::1%25eth0]",
            "redis://[127.0.0.1]",
            "redis://localhost/one",
            "redis://localhost/-1",
            "redis://localhost/65536",
            "redis://localhost/0/",
            "redis://localhost?db=1",
            "redis://localhost#1",
            "unix:",
            "unix:@redis",
        ] {
            assert_eq!(RedisUrl::parse(text), Err(ALLOWED), "{text}");
        }
        let host = |label: usize, labels: usize| vec!["a".repeat(label); labels].join(".");
        assert!(shown(&format!("redis://{}", host(63, 3))).is_ok());
        for long in [host(64, 1), host(63, 4)] {
            assert!(shown(&format!("redis://{long}")).is_err());
        }
    }

    #[test]
    fn a_user_and_a_password_are_decoded_and_the_password_is_not_shown() {
        let parsed = |text: &str| RedisUrl::parse(text).expect("a URL");
        for (text, user, password, expected) in [
            ("redis://:pw@a", None, Some("pw"), "redis://a:6379"),
            ("redis://eve:p:w@a", Some("eve"), Some("p:w"), "redis://eve@a:6379"),
            ("redis://eve@a/2", Some("eve"), None, "redis://eve@a:6379/2"),
            ("redis://:p%40s%2Fs%25@a", None, Some("p@s/s%"), "redis://a:6379"),
            ("redis://e%c3%a4:x@a", Some("e\u{e4}"), Some("x"), "redis://e%C3%A4@a:6379"),
            ("redis://a%3Ab:x@a", Some("a:b"), Some("x"), "redis://a%3Ab@a:6379"),
            ("redis://:%20@[::1]:5", None, Some(" "), "redis://[::1]:5"),
        ] {
            let url = parsed(text);
            assert_eq!(url.user.as_deref(), user, "{text}");
            assert_eq!(url.password, password.map(|text| Secret::new(text.as_bytes()).unwrap()));
            assert_eq!(url.to_string(), expected);
        }
        let url = parsed("redis://eve:xyzzy@a");
        assert!(!format!("{url:?} {url}").contains("xyzzy"));
        let binary = parsed("redis://:%00%ff@a").password.unwrap();
        assert_eq!(binary.reveal(), b"\x00\xff");
    }

    #[test]
    fn what_would_have_to_be_encoded_is_refused_without_being_repeated() {
        for text in [
            "redis://@a",
            "redis://:@a",
            "redis://eve:@a",
            "redis://:p@w@a",
            "redis://:p w@a",
            "redis://:p\"w@a",
            "redis://:p%@a",
            "redis://:p%4@a",
            "redis://:p%4g@a",
            "redis://:p%+4@a",
            "redis://e%20e:x@a",
            "redis://e%00:x@a",
            "redis://%ff:x@a",
            "redis://\u{e4}:x@a",
        ] {
            assert_eq!(RedisUrl::parse(text), Err(ENCODED), "{text}");
        }
        // What stands behind an unencoded slash is taken for a database, and refused.
        assert_eq!(RedisUrl::parse("redis://:p/w@a"), Err(ALLOWED));
        let name = |length| format!("redis://{}@a", "u".repeat(length));
        assert!(shown(&name(128)).is_ok() && shown(&name(129)).is_err());
        let long = format!("redis://:{}@a", "p".repeat(2048));
        assert_eq!(RedisUrl::parse(&long), Err(ALLOWED));
    }

    #[test]
    fn a_prefix_needs_no_escape_in_a_key() {
        for taken in ["elbow", "a:b.c_d-e", &"x".repeat(64)] {
            assert_eq!(Prefix.parse(taken).as_deref(), Ok(taken));
        }
        for refused in ["", "a b", "{a}", "a}", "\u{e4}", "a/b", &"x".repeat(65)] {
            assert!(Prefix.parse(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn there_is_one_password_or_none() {
        let with = RedisUrl::parse("redis://:url@a").unwrap();
        let without = RedisUrl::parse("redis://eve@a").unwrap();
        let (file, variable) = (|| Some(PathBuf::from("/f")), || Some("v".to_owned()));
        let secret = |text: &str| Secret::new(text.as_bytes()).unwrap();
        let of_file = Ok(Some(PasswordSource::File("/f".into())));
        assert_eq!(find_password(file(), None, &without), of_file);
        assert_eq!(find_password(file(), variable(), &without), of_file);
        let of_variable = Ok(Some(PasswordSource::Variable(secret("v"))));
        assert_eq!(find_password(None, variable(), &without), of_variable);
        assert_eq!(find_password(None, None, &with), Ok(Some(PasswordSource::Url(secret("url")))));
        assert_eq!(find_password(None, None, &without), Ok(None));
        let twice = |name| Err(PasswordFault::Twice(name));
        assert_eq!(find_password(file(), None, &with), twice("--redis-password-file"));
        assert_eq!(find_password(None, variable(), &with), twice(PASSWORD_VARIABLE));
        let lost = find_password(None, Some(String::new()), &without);
        assert_eq!(lost, Err(PasswordFault::Unusable));
    }
}
