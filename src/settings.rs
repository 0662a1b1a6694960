//! What the operator decided, as plain data: policy beside [`Limits`], which are numbers.
//!
//! A value that comes from a flag was parsed and checked above; the floors below take it as it is.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

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
    /// Names under which the public listener answers; empty for any.
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
    /// How long a kept-alive connection may be without a request.
    pub keep_alive: Duration,
    /// Whether each message is reported as an event, for the log at debug.
    pub report_messages: bool,
}
