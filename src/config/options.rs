//! The table of options, the one place where an option's name, default and meaning are written.
//!
//! The command line that clap reads, the `ELBOW_…` variables, `--help`, what `elbow check` prints
//! and the table in docs/CONFIGURATION.md are all made from it. What a value means is said in
//! `mod.rs`: here every value is text.
//!
//! The surprise: clap sees neither defaults nor variables. It hands over the text of the flags that
//! were given and nothing else, so that we know which of flag, variable, preset and default spoke.

use clap::{Arg, ArgAction, Command};

use super::help::help;

/// Most addresses that `--listen` takes; each holds one of the reserved descriptors.
pub(super) const LISTENERS_MAX: usize = 8;

/// The option of `elbow health`; no variable speaks for it.
pub(super) const URL: &str = "url";

/// One option: a flag, its variable, its default, its meaning.
#[derive(PartialEq, Eq, Debug)]
pub struct Opt {
    /// Without the leading dashes: `ping-interval`.
    pub name: &'static str,
    /// What stands for the value in a synopsis.
    pub value: &'static str,
    /// The text that is parsed when nobody speaks; empty if there is then no value at all.
    pub default: &'static str,
    /// What a reader has to know about the default beside its text, in words.
    pub default_words: &'static str,
    /// May be given more than once; the values are joined as a list.
    pub repeatable: bool,
    /// The heading under which `--help` shows it.
    pub heading: &'static str,
    /// Its meaning, in whole sentences without line breaks.
    pub help: &'static str,
}

impl Opt {
    /// As it is typed: `--ping-interval`.
    pub fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// The variable that speaks when the flag does not: `ELBOW_PING_INTERVAL`.
    pub fn env_name(&self) -> String {
        format!("ELBOW_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// The default for readers: its text, or words, or both.
    pub fn default_shown(&self) -> String {
        let text = self.default.replace(',', ", ");
        match (self.default, self.default_words) {
            (_, "") => text,
            ("", words) => words.to_owned(),
            (_, words) => format!("{text}, {words}"),
        }
    }
}

/// Where a balancer's connections come from: loopback, RFC 1918, the shared 100.64/10, link-local
/// and fc00::/7; that is, whatever the internet does not route.
const TRUSTED: &str = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,\
                       169.254.0.0/16,fe80::/10,fc00::/7";

/// `--listen`
pub(super) const LISTEN: Opt = Opt {
    name: "listen",
    value: "ADDR",
    default: "0.0.0.0:3000",
    default_words: "",
    repeatable: true,
    heading: "Listening",
    help: "Where clients, or the balancer, connect: an IP address or localhost, and a port. \
           Port 0 picks a free one and logs it. Sockets handed over by systemd (LISTEN_FDS) are \
           used instead.",
};
/// `--health-listen`
pub(super) const HEALTH_LISTEN: Opt = Opt {
    name: "health-listen",
    value: "ADDR",
    default: "",
    default_words: "none",
    repeatable: false,
    heading: "Listening",
    help: "A separate plain listener that answers health probes only, with or without a PROXY \
           header: the arrangement that works on every balancer.",
};
/// `--www`
pub(super) const WWW: Opt = Opt {
    name: "www",
    value: "DIR",
    default: "",
    default_words: "built in",
    repeatable: false,
    heading: "Serving",
    help: "Files to serve instead of the built-in page. They are read once at start and on SIGHUP \
           and served from memory.",
};
/// `--host`
pub(super) const HOST: Opt = Opt {
    name: "host",
    value: "NAME,…",
    default: "",
    default_words: "any",
    repeatable: true,
    heading: "Serving",
    help: "Names that clients reach this server by, such as chat.example.org: a request that names \
           another Host is answered with 421, against DNS rebinding. Ports are ignored; health \
           probes may name anything.",
};
/// `--allow-origin`
pub(super) const ALLOW_ORIGIN: Opt = Opt {
    name: "allow-origin",
    value: "ORIGIN,…",
    default: "",
    default_words: "same origin",
    repeatable: true,
    heading: "Serving",
    help: "Pages of these origins may connect too, such as https://example.org. A * allows any. \
           Clients that send no Origin are allowed, but not what a browser fetches for another \
           site's page without one: images, scripts, links.",
};
/// `--events`
pub(super) const EVENTS: Opt = Opt {
    name: "events",
    value: "NAME,…",
    default: "chat message",
    default_words: "",
    repeatable: true,
    heading: "Serving",
    help: "Socket.IO events that are relayed to everyone in the channel, the sender included. A * \
           relays all. Others are ignored.",
};
/// `--lb`
pub(super) const LB: Opt = Opt {
    name: "lb",
    value: "none|clb|nlb|alb",
    default: "none",
    default_words: "",
    repeatable: false,
    heading: "Behind a load balancer",
    help: "What stands in front, as a preset. clb and nlb: PROXY protocol required. alb: client \
           addresses come from X-Forwarded-For of trusted peers. A ping interval of half of its \
           idle timeout or more is refused (clb and alb 60s, nlb 350s).",
};
/// `--proxy-protocol`
pub(super) const PROXY_PROTOCOL: Opt = Opt {
    name: "proxy-protocol",
    value: "off|optional|required",
    default: "off",
    default_words: "",
    repeatable: false,
    heading: "Behind a load balancer",
    help: "PROXY protocol v1 and v2 on the public listener. With optional anyone may speak \
           without a header, which is the less safe choice.",
};
/// `--proxy-trust`
pub(super) const PROXY_TRUST: Opt = Opt {
    name: "proxy-trust",
    value: "CIDR,…",
    default: TRUSTED,
    default_words: "",
    repeatable: true,
    heading: "Behind a load balancer",
    help: "Peers whose PROXY header or X-Forwarded-For is believed. A header from anyone else \
           closes the connection.",
};
/// `--ping-interval`
pub(super) const PING_INTERVAL: Opt = Opt {
    name: "ping-interval",
    value: "DUR",
    default: "25s",
    default_words: "",
    repeatable: false,
    heading: "Keep-alive and closing",
    help: "Ping a connection that has sent nothing for this long.",
};
/// `--ping-timeout`
pub(super) const PING_TIMEOUT: Opt = Opt {
    name: "ping-timeout",
    value: "DUR",
    default: "20s",
    default_words: "",
    repeatable: false,
    heading: "Keep-alive and closing",
    help: "Close it when nothing came back this long after the ping.",
};
/// `--drain`
pub(super) const DRAIN: Opt = Opt {
    name: "drain",
    value: "DUR",
    default: "5s",
    default_words: "",
    repeatable: false,
    heading: "Keep-alive and closing",
    help: "How long SIGTERM spreads the closing of connections. The process is gone at most 3s \
           later, whatever clients do; container runtimes kill after 10s.",
};
/// `--max-connections`
pub(super) const MAX_CONNECTIONS: Opt = Opt {
    name: "max-connections",
    value: "N",
    default: "65536",
    default_words: "or what RLIMIT_NOFILE has room for if that is less",
    repeatable: false,
    heading: "Limits",
    help: "WebSocket and Socket.IO sessions; one more is answered with 503. The soft limit on \
           descriptors is raised to the hard one at start.",
};
/// `--max-connections-per-ip`
pub(super) const MAX_CONNECTIONS_PER_IP: Opt = Opt {
    name: "max-connections-per-ip",
    value: "N",
    default: "",
    default_words: "a quarter of --max-connections, but for proxies",
    repeatable: false,
    heading: "Limits",
    help: "Sessions of one client, by its real address (IPv6: by its /64); one more is answered \
           with 503. off: no such limit. Proxies are peers in --proxy-trust that name no other \
           address: always on this machine, elsewhere with --lb or --proxy-protocol.",
};
/// `--max-channels`
pub(super) const MAX_CHANNELS: Opt = Opt {
    name: "max-channels",
    value: "N",
    default: "32",
    default_words: "",
    repeatable: false,
    heading: "Limits",
    help: "Channels that have members at one time; one more is answered with 503. One client \
           address, unless it is a proxy's, brings a quarter of them into being at most; default \
           always has its place.",
};
/// `--max-message`
pub(super) const MAX_MESSAGE: Opt = Opt {
    name: "max-message",
    value: "SIZE",
    default: "64KiB",
    default_words: "",
    repeatable: false,
    heading: "Limits",
    help: "The largest message; a larger one closes its sender with 1009. So does a text that is \
           longer than half of --feed once it is escaped for Socket.IO, whoever is there to read; \
           elbow check says whether one can be.",
};
/// `--feed`
pub(super) const FEED: Opt = Opt {
    name: "feed",
    value: "SIZE",
    default: "1MiB",
    default_words: "or four times --max-message if that is more",
    repeatable: false,
    heading: "Limits",
    help: "How far a slow reader may lag: the ring of a channel in each dialect, rounded up to a \
           power of two. Refused if under four times --max-message.",
};
/// `--memory`
pub(super) const MEMORY: Opt = Opt {
    name: "memory",
    value: "SIZE",
    default: "64MiB",
    default_words: "or twice what the channel default needs if that is more",
    repeatable: false,
    heading: "Limits",
    help: "Everything that varies with load: rings, partial messages, heads, bodies, sessions. \
           The rings of the channel default are set aside in it. When the rest is used up, \
           newcomers are refused; channels of one client address take a quarter of it at most.",
};
/// `--send-buffer`
pub(super) const SEND_BUFFER: Opt = Opt {
    name: "send-buffer",
    value: "SIZE",
    default: "64KiB",
    default_words: "",
    repeatable: false,
    heading: "Limits",
    help: "The kernel's buffer for what a connection sends; part of the memory ceiling.",
};
/// `--receive-buffer`
pub(super) const RECEIVE_BUFFER: Opt = Opt {
    name: "receive-buffer",
    value: "SIZE",
    default: "32KiB",
    default_words: "",
    repeatable: false,
    heading: "Limits",
    help: "The kernel's buffer for what a connection receives; part of the memory ceiling.",
};
/// `--io-uring`
pub(super) const IO_URING: Opt = Opt {
    name: "io-uring",
    value: "auto|off|require",
    default: "auto",
    default_words: "",
    repeatable: false,
    heading: "Kernel",
    help: "Send to many connections with one system call, through io_uring. auto: where the kernel \
           and its policy allow it, else a call for each; the log says which. require: do not \
           start without it.",
};
/// `--log-level`
pub(super) const LOG_LEVEL: Opt = Opt {
    name: "log-level",
    value: "LEVEL",
    default: "info",
    default_words: "",
    repeatable: false,
    heading: "Logging",
    help: "error, warn, info, debug or trace. Messages themselves are logged at debug.",
};

/// All of them, in the order in which they are shown; options of one heading stand together.
pub const OPTIONS: [&Opt; 22] = [
    &LISTEN,
    &HEALTH_LISTEN,
    &LB,
    &PROXY_PROTOCOL,
    &PROXY_TRUST,
    &WWW,
    &HOST,
    &ALLOW_ORIGIN,
    &EVENTS,
    &PING_INTERVAL,
    &PING_TIMEOUT,
    &DRAIN,
    &MAX_CONNECTIONS,
    &MAX_CONNECTIONS_PER_IP,
    &MAX_CHANNELS,
    &MAX_MESSAGE,
    &FEED,
    &MEMORY,
    &SEND_BUFFER,
    &RECEIVE_BUFFER,
    &IO_URING,
    &LOG_LEVEL,
];

/// The command line as clap reads it: text in, text out.
pub(super) fn command() -> Command {
    let options = || OPTIONS.into_iter().map(argument);
    let url = Arg::new(URL).long(URL).value_name("URL");
    let check = Command::new("check").args(options()).override_help(help());
    let health = Command::new("health").arg(url).override_help(help());
    Command::new("elbow")
        .version(env!("CARGO_PKG_VERSION"))
        .args(options())
        .args_conflicts_with_subcommands(true)
        .subcommand(check)
        .subcommand(health)
        .override_help(help())
}

fn argument(option: &'static Opt) -> Arg {
    let action = if option.repeatable { ArgAction::Append } else { ArgAction::Set };
    Arg::new(option.name).long(option.name).value_name(option.value).action(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_makes_a_sound_command_line() {
        command().debug_assert();
    }

    #[test]
    fn a_variable_is_named_after_its_flag() {
        assert_eq!(MAX_CONNECTIONS_PER_IP.env_name(), "ELBOW_MAX_CONNECTIONS_PER_IP");
        assert_eq!(LB.env_name(), "ELBOW_LB");
    }

    #[test]
    fn headings_do_not_come_back() {
        let mut headings: Vec<&str> = OPTIONS.iter().map(|option| option.heading).collect();
        headings.dedup();
        let shown = headings.len();
        headings.sort_unstable();
        headings.dedup();
        assert_eq!(headings.len(), shown);
    }
}
