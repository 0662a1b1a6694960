//! What the operator decided, as plain data: policy beside [`Limits`], which are numbers.
//!
//! Whatever comes from a flag has been parsed and checked above; the floors below take it as it is.

use core::net::IpAddr;

use ipnet::IpNet;

use crate::limits::Limits;
use crate::time::Duration;
use crate::wire::host::Host;
use crate::wire::origin::Origin;

/// Whether a public connection begins with a PROXY header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyMode {
    /// It does not: its first byte is HTTP.
    Off,
    /// It may, if its peer is trusted.
    Optional,
    /// It must; only a trusted peer's health probe may come without.
    Required,
}

/// Networks whose word about a client's address is believed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trust(pub Vec<IpNet>);

impl Trust {
    /// Whether `address`, in its canonical form, lies in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl Settings {
    /// Whether the operator has said that something stands in front.
    pub fn expects_proxies(&self) -> bool {
        self.proxy != ProxyMode::Off || self.forwarded_for
    }
}

/// Socket.IO events that are relayed to everyone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Events {
    /// `*`
    All,
    /// These; the list is short.
    Named(Vec<Box<str>>),
}

/// Everything that the server is told at birth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The numbers.
    pub limits: Limits,
    /// PROXY protocol on public listeners.
    pub proxy: ProxyMode,
    /// Whose PROXY header or `X-Forwarded-For` is believed.
    pub trust: Trust,
    /// Whether `X-Forwarded-For` of trusted peers names the client (behind an ALB).
    pub forwarded_for: bool,
    /// Names under which the public listener answers; empty for any.
    pub hosts: Vec<Host>,
    /// Origins that browsers may come from beside the page's own.
    pub origins: Vec<Origin>,
    /// Socket.IO events that are relayed.
    pub events: Events,
    /// How long a kept-alive connection may be without a request.
    pub keep_alive: Duration,
    /// Whether each message is reported as an event, for the log at debug.
    pub report_messages: bool,
}
