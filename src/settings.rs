//! What the operator decided, as plain data: policy beside [`Limits`], which are numbers.
//!
//! A value that comes from a flag was parsed and checked above; the floors below take it as it is.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use subtle::ConstantTimeEq;

use crate::limits::Limits;
use crate::time::Duration;
use crate::wire::base_path::BasePath;
use crate::wire::host::Host;
use crate::wire::origin::Origin;
use crate::wire::socketio::args_of_name;

/// Whether a public connection begins with a PROXY header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyMode {
    /// No public connection does: the first byte is HTTP.
    Off,
    /// A trusted peer's connection may.
    Optional,
    /// Every public connection must; only a trusted peer's health probe may come without a header.
    Required,
}

/// The address that stands for a peer on a Unix socket, which has none: `[::]:0`, from which no
/// connection over IP ever comes.
pub const UNIX_PEER: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// Networks whose peers are believed when they say who the client is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trust(pub Vec<IpNet>);

impl Trust {
    /// Whether `address`, which is in its canonical form, lies in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether `peer` is believed when it says who the client is. On a Unix socket everybody is,
    /// for the permissions of its file have decided who may connect.
    pub fn believes(&self, peer: SocketAddr) -> bool {
        peer == UNIX_PEER || self.contains(peer.ip())
    }
}

impl Settings {
    /// Whether clients of Socket.IO 4 can come back to where they were: that is wanted, and
    /// something is kept.
    pub fn recovers(&self) -> bool {
        self.recovery && self.limits.history.is_some()
    }

    /// Whether the operator has said that something stands in front.
    pub fn expects_proxies(&self) -> bool {
        self.proxy != ProxyMode::Off || self.forwarded_for
    }
}

/// What those may who show no token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anonymous {
    /// Everything: enter every channel, and speak there.
    All,
    /// Enter every channel, and listen there.
    Join,
    /// Nothing.
    None,
}

/// What a token must say of its parties, where keys for tokens are given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parties {
    /// The audience that must be named.
    pub audience: Option<Box<str>>,
    /// The issuer that must be named.
    pub issuer: Option<Box<str>>,
}

/// Which Socket.IO events are relayed to everyone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Events {
    /// Every event: `*`.
    All,
    /// Events of these names; the list is short.
    Named(Vec<Box<str>>),
}

/// The event by which Socket.IO members are told of a newcomer; it has no arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Greeting {
    args: Box<str>,
}

impl Greeting {
    /// The event called `name`.
    pub fn named(name: &str) -> Greeting {
        Greeting { args: args_of_name(name) }
    }

    /// The name in a JSON array, as events are passed on.
    pub fn args(&self) -> &str {
        &self.args
    }
}

/// A password of the operator's, which is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

/// The most bytes of a [`Secret`].
pub const SECRET_BYTES_MAX: usize = 1024;

impl Secret {
    /// A secret of 1 to [`SECRET_BYTES_MAX`] bytes, of whatever value; `None` for any other length.
    pub fn new(bytes: &[u8]) -> Option<Secret> {
        (1..=SECRET_BYTES_MAX).contains(&bytes.len()).then(|| Secret(bytes.into()))
    }

    /// The secret itself, for whoever asks for it.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

/// The token that requests to the admin listener must show. It is shown to nobody, and comparing it
/// takes as long for a token of the right length that is nearly right as for any other.
#[derive(Clone)]
pub struct AdminToken(Box<[u8]>);

/// The fewest bytes of a token: less could be found by trying.
pub const TOKEN_BYTES_MIN: usize = 16;

/// The most bytes of a token: more would not fit into a request beside other fields.
pub const TOKEN_BYTES_MAX: usize = 4096;

impl AdminToken {
    /// Reads a token as a file or a variable has it: one line feed at its end is not part of it.
    ///
    /// # Errors
    /// What is wrong with a token that is too short or too long, or that no field of a request
    /// could carry unchanged, because it has a control character or begins or ends with a blank.
    pub fn read(text: &[u8]) -> Result<AdminToken, &'static str> {
        let token = text.strip_suffix(b"\n").unwrap_or(text);
        let is_blank = |byte: Option<&u8>| byte == Some(&b' ');
        match token {
            _ if token.len() < TOKEN_BYTES_MIN => Err("a token has 16 bytes or more"),
            _ if token.len() > TOKEN_BYTES_MAX => Err("a token has at most 4096 bytes"),
            _ if token.iter().any(u8::is_ascii_control) => {
                Err("a token is one line, without control characters")
            }
            _ if is_blank(token.first()) || is_blank(token.last()) => {
                Err("a token neither begins nor ends with a blank")
            }
            _ => Ok(AdminToken(token.into())),
        }
    }

    /// Whether `shown` is the token.
    pub fn is(&self, shown: &[u8]) -> bool {
        self.0.ct_eq(shown).into()
    }
}

impl PartialEq for AdminToken {
    fn eq(&self, other: &AdminToken) -> bool {
        self.is(&other.0)
    }
}

impl Eq for AdminToken {}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

/// The Redis that decides the order of messages, as far as the core is concerned: where it is
/// belongs to the shell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backplane {
    /// The name that all keys begin with, in braces.
    pub name: Box<str>,
    /// The user to be, if it is another than `default`.
    pub user: Option<Box<str>>,
    /// The password, if there is one.
    pub password: Option<Secret>,
    /// The number of the database.
    pub database: u16,
}

/// Everything that the server is told at birth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Numbers that bound connections, memory and time.
    pub limits: Limits,
    /// Whether connections of public listeners begin with a PROXY header.
    pub proxy: ProxyMode,
    /// The networks whose PROXY header or `X-Forwarded-For` is believed.
    pub trust: Trust,
    /// Whether `X-Forwarded-For` of trusted peers names the client (behind an ALB).
    pub forwarded_for: bool,
    /// What requests to the admin listener must show; `None`: nothing.
    pub admin_token: Option<AdminToken>,
    /// Names under which the public listener answers; empty for any. The admin listener goes by
    /// them, too, beside IP addresses and `localhost`.
    pub hosts: Vec<Host>,
    /// The path below which everything lies that the public listener serves.
    pub base_path: BasePath,
    /// Origins that browsers may come from beside the page's own.
    pub origins: Vec<Origin>,
    /// Socket.IO events that are relayed.
    pub events: Events,
    /// How Socket.IO members are told of a newcomer; `None`: they are not told.
    pub greeting: Option<Greeting>,
    /// Whether clients of Socket.IO 4 are told offsets, and sent what they missed when they come
    /// back with one.
    pub recovery: bool,
    /// For whom tokens must be, and from whom.
    pub parties: Parties,
    /// What those may who show no token.
    pub anonymous: Anonymous,
    /// How long a kept-alive connection may be without a request.
    pub keep_alive: Duration,
    /// Whether each message is reported as an event, for the log at debug.
    pub report_messages: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_without_its_last_line_feed_and_shown_to_nobody() {
        let token = AdminToken::read(b"0123456789abcdef\n").expect("a token");
        assert!(token.is(b"0123456789abcdef"));
        for wrong in
            [b"".as_slice(), b"0123456789abcdef\n", b"0123456789abcde", b"0123456789abcdeF"]
        {
            assert!(!token.is(wrong));
        }
        assert_eq!(format!("{token:?}"), "(set)");
        assert_eq!(token, AdminToken::read(b"0123456789abcdef").expect("a token"));
    }

    #[test]
    fn what_no_request_could_show_or_anybody_could_guess_is_no_token() {
        let taken = |text: &[u8]| AdminToken::read(text).is_ok();
        assert!(taken(b"with blanks inside of it") && taken("sechzehn Zeichen mit ß".as_bytes()));
        assert!(taken(&[b'x'; TOKEN_BYTES_MAX]));
        for refused in [
            b"".as_slice(),
            b"\n",
            b"0123456789abcde\n",
            b"0123456789abcdef\n\n",
            b"0123456789abcdef\r\n",
            b"01234567\t89abcdef",
            b"01234567\089abcdef",
            b" 0123456789abcdef",
            b"0123456789abcdef ",
            &[b'x'; TOKEN_BYTES_MAX + 1],
        ] {
            assert!(!taken(refused), "{}", refused.escape_ascii());
        }
    }
}
