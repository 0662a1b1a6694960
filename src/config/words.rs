//! The options that take one of a few words: the balancers with all that is known about them, the
//! modes of the PROXY protocol, whether to use io_uring, the levels of the log.
//!
//! Words are read in any case and shown in lower case. What follows from a preset for other options
//! is decided where these are read.
//!
//! The surprise: an ALB has no preset for the PROXY protocol; it speaks none, and names the client
//! in a field of the request instead.

use log::LevelFilter;

use super::value;
use crate::settings::ProxyMode;
use crate::time::Duration;

/// The load balancer in front.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lb {
    /// None, or one that is not known here.
    None,
    /// A Classic Load Balancer with TCP listeners.
    Clb,
    /// A Network Load Balancer.
    Nlb,
    /// An Application Load Balancer.
    Alb,
}

impl Lb {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Lb::None => "none",
            Lb::Clb => "clb",
            Lb::Nlb => "nlb",
            Lb::Alb => "alb",
        }
    }

    /// After how long without a byte it drops a connection, unless told otherwise in AWS.
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

/// One of the balancers, by its name.
pub(super) fn lb(text: &str) -> Result<Lb, String> {
    value::word(text, &[Lb::None, Lb::Clb, Lb::Nlb, Lb::Alb].map(|lb| (lb.name(), lb)))
}

/// A mode of the PROXY protocol.
pub(super) fn proxy_mode(text: &str) -> Result<ProxyMode, String> {
    let modes = [
        ("off", ProxyMode::Off),
        ("optional", ProxyMode::Optional),
        ("required", ProxyMode::Required),
    ];
    value::word(text, &modes)
}

/// The same as it is typed.
pub(super) fn proxy_mode_text(mode: &ProxyMode) -> String {
    let text = match mode {
        ProxyMode::Off => "off",
        ProxyMode::Optional => "optional",
        ProxyMode::Required => "required",
    };
    text.to_owned()
}

/// Whether many sends are one system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoUring {
    /// Where the kernel allows it.
    Auto,
    /// Never.
    Off,
    /// Rather not start than do without.
    Require,
}

impl IoUring {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            IoUring::Auto => "auto",
            IoUring::Off => "off",
            IoUring::Require => "require",
        }
    }
}

/// One of them, by its name.
pub(super) fn io_uring(text: &str) -> Result<IoUring, String> {
    let modes = [IoUring::Auto, IoUring::Off, IoUring::Require];
    value::word(text, &modes.map(|mode| (mode.name(), mode)))
}

/// A level of the log. Off is none of them: a server that says nothing cannot be operated.
pub(super) fn log_level(text: &str) -> Result<LevelFilter, String> {
    let levels = [
        ("error", LevelFilter::Error),
        ("warn", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
        ("trace", LevelFilter::Trace),
    ];
    value::word(text, &levels)
}
