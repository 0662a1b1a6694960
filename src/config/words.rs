//! The options that take one of a few words: the balancers with all that is known about them, the
//! modes of the PROXY protocol, whether to use io_uring, the levels of the log.
//!
//! Each word stands once, beside its value. Words are read in any case and shown in lower case.
//!
//! The surprise: an ALB has no preset for the PROXY protocol; it speaks none, and names the client
//! in a field of the request instead.

use log::LevelFilter;

use super::kind::OneOf;
use crate::settings::{Anonymous, ProxyMode};
use crate::time::Duration;

/// The load balancer in front.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lb {
    /// No balancer, or one that is not known here.
    None,
    /// A Classic Load Balancer with TCP listeners.
    Clb,
    /// A Network Load Balancer.
    Nlb,
    /// An Application Load Balancer.
    Alb,
}

impl Lb {
    /// After how long without a byte the balancer drops a connection, unless told otherwise in AWS.
    pub fn idle_limit(self) -> Option<Duration> {
        match self {
            Lb::None => None,
            Lb::Clb | Lb::Alb => Some(Duration::from_secs(60)),
            Lb::Nlb => Some(Duration::from_secs(350)),
        }
    }

    /// Pings must come more often than this: half of the idle limit.
    pub fn ping_limit(self) -> Option<Duration> {
        self.idle_limit().map(Duration::half)
    }

    /// The preset of `--proxy-protocol`, as text.
    pub(super) fn proxy_protocol(self) -> Option<&'static str> {
        match self {
            Lb::None | Lb::Alb => None,
            Lb::Clb | Lb::Nlb => Some("required"),
        }
    }
}

/// The balancers that have a preset, and none.
pub(super) const BALANCERS: OneOf<Lb> =
    OneOf(&[("none", Lb::None), ("clb", Lb::Clb), ("nlb", Lb::Nlb), ("alb", Lb::Alb)]);

/// The modes of the PROXY protocol.
pub(super) const PROXY_MODES: OneOf<ProxyMode> = OneOf(&[
    ("off", ProxyMode::Off),
    ("optional", ProxyMode::Optional),
    ("required", ProxyMode::Required),
]);

/// Whether many sends are one system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoUring {
    /// Many sends are one call where the kernel allows it.
    Auto,
    /// Each send is a call of its own.
    Off,
    /// Many sends are one call, or the server does not start.
    Require,
}

/// Whether many sends are one system call, as words.
pub(super) const IO_URING_MODES: OneOf<IoUring> =
    OneOf(&[("auto", IoUring::Auto), ("off", IoUring::Off), ("require", IoUring::Require)]);

/// What those may who show no token.
pub(super) const ANONYMOUS: OneOf<Anonymous> =
    OneOf(&[("all", Anonymous::All), ("join", Anonymous::Join), ("none", Anonymous::None)]);

/// Whether something is done at all.
pub(super) const SWITCH: OneOf<bool> = OneOf(&[("on", true), ("off", false)]);

/// The levels of the log. Off is none of them: a server that says nothing cannot be operated.
pub(super) const LOG_LEVELS: OneOf<LevelFilter> = OneOf(&[
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
]);
