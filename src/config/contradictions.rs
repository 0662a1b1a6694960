//! What cannot hold together: values against each other, and against the machine.
//!
//! Each value is already within its own bounds, and the defaults are derived. A refusal names both
//! sides with the mouth that each came from, and says what is allowed: whoever reads the line may
//! know only one of the two.
//!
//! The surprise: sizes are compared as they will hold, so a feed that is large enough only once it
//! is rounded up is large enough.

use core::net::SocketAddr;

use super::asked::Asked;
use super::options::{
    FEED, HEALTH_LISTEN, LB, LISTEN, MAX_CONNECTIONS, MAX_MESSAGE, MEMORY, Opt, PING_INTERVAL,
    PROXY_PROTOCOL,
};
use super::value::size_text;
use super::{Failure, Lb, Machine, Origin};
use crate::limits::{Limits, descriptors_for};
use crate::settings::ProxyMode;

/// A feed holds at least this many of the largest messages, so that a publisher cannot lap its
/// readers with one or two.
pub(super) const MESSAGES_PER_FEED: u64 = 4;

impl Asked {
    /// Everything that cannot be seen in one value alone. The first contradiction found is the one
    /// that is told.
    pub(super) fn check(&self, machine: &Machine) -> Result<(), Failure> {
        self.check_listeners(machine)?;
        self.check_balancer()?;
        self.check_memory()?;
        self.check_descriptors(machine)
    }

    /// Two listeners in each other's way would fail to bind, at start and with a worse message.
    fn check_listeners(&self, machine: &Machine) -> Result<(), Failure> {
        let public = if machine.activated_sockets { &[][..] } else { &self.listen.value };
        let health = self.health_listen.value.map(|address| (&HEALTH_LISTEN, address));
        let public = public.iter().map(|address| (&LISTEN, *address));
        let all: Vec<(&Opt, SocketAddr)> = public.chain(health).collect();
        for (index, (option, address)) in all.iter().enumerate() {
            let before = all[..index].iter().find(|(_, before)| overlap(*before, *address));
            if let Some((other, before)) = before {
                return Err(Failure::contradiction(format!(
                    "{} {address} is in the way of {} {before}: allowed are different ports, \
                     or different addresses",
                    option.flag(),
                    other.flag()
                )));
            }
        }
        Ok(())
    }

    fn check_balancer(&self) -> Result<(), Failure> {
        let lb = self.lb.value;
        if lb == Lb::Alb && self.proxy_protocol.value == ProxyMode::Required {
            return Err(Failure::contradiction(format!(
                "{} contradicts {}: an ALB sends no PROXY header, so no connection would be \
                 accepted",
                named(&PROXY_PROTOCOL, "required", self.proxy_protocol.origin),
                named(&LB, "alb", self.lb.origin)
            )));
        }
        let interval = self.ping_interval.value;
        match lb.ping_limit() {
            Some(limit) if interval >= limit => Err(Failure::contradiction(format!(
                "{} contradicts {}: allowed is less than {limit}, half of its idle timeout",
                named(&PING_INTERVAL, &interval.to_string(), self.ping_interval.origin),
                named(&LB, lb.name(), self.lb.origin)
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// The feed must hold some messages, and the memory at least the channel `default`, which
    /// always has its place.
    fn check_memory(&self) -> Result<(), Failure> {
        let (feed, message, memory) = (self.feed.value, self.max_message.value, self.memory.value);
        let feed_shown = named(&FEED, &size_text(feed), self.feed.origin);
        if feed < message * MESSAGES_PER_FEED {
            return Err(Failure::contradiction(format!(
                "{feed_shown} contradicts {}: allowed is {} or more, four times that",
                named(&MAX_MESSAGE, &size_text(message), self.max_message.origin),
                size_text(message * MESSAGES_PER_FEED)
            )));
        }
        let channel = Limits::default_channel_bytes(feed);
        if memory < channel {
            return Err(Failure::contradiction(format!(
                "{} contradicts {feed_shown}: allowed is {} or more, which is set aside \
                 for the channel default",
                named(&MEMORY, &size_text(memory), self.memory.origin),
                size_text(channel)
            )));
        }
        Ok(())
    }

    fn check_descriptors(&self, machine: &Machine) -> Result<(), Failure> {
        let (connections, hard) = (self.max_connections.value, machine.descriptors_hard);
        if hard < descriptors_for(1) {
            return Err(Failure::contradiction(format!(
                "the hard limit on descriptors (RLIMIT_NOFILE) is {hard}: allowed is {} or more, \
                 which is one connection",
                descriptors_for(1)
            )));
        }
        if descriptors_for(connections) > hard {
            return Err(Failure::contradiction(format!(
                "{} needs {} descriptors, and the hard limit (RLIMIT_NOFILE) is {hard}: allowed \
                 is {} or less",
                named(&MAX_CONNECTIONS, &connections.to_string(), self.max_connections.origin),
                descriptors_for(connections),
                hard.saturating_sub(descriptors_for(0))
            )));
        }
        Ok(())
    }
}

/// Whether the second of two sockets could not be bound. Port 0 is never in the way.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let (a_ip, b_ip) = (a.ip().to_canonical(), b.ip().to_canonical());
    let wildcard = a_ip.is_unspecified() || b_ip.is_unspecified();
    let same_family = a_ip.is_ipv4() == b_ip.is_ipv4();
    a.port() == b.port() && a.port() != 0 && (a_ip == b_ip || (wildcard && same_family))
}

/// An option as it is named in a contradiction: `--lb clb (env)`.
fn named(option: &Opt, text: &str, origin: Origin) -> String {
    format!("{} {text} ({})", option.flag(), origin.name())
}
