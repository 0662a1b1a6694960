//! The command line and the environment as an operator meets them.
//!
//! Goal: whatever is asked for either holds as documented, or is refused with one line that says
//! what is allowed and the right exit code. Method: the same entry that the binary uses, with
//! arguments, variables and the machine as values; a table that must name every option, so that a
//! new one cannot be added without an example of a good value and of a bad one; a property that
//! feeds any text to any option. What is done with the outcome is tested in `cli.rs`, what is
//! derived from the machine in `config/fit.rs`.

#[path = "config/fit.rs"]
mod fit;

use std::ffi::OsString;

use elbow::config::{
    self, Activated, Command, Config, Endpoint, Failure, Lb, Listen, Machine, OPTIONS, TokenSource,
};
use elbow::limits::{CONNECTIONS_ADMIN, History, KEEP_ALIVE_ALB_LIMIT, KEEP_ALIVE_LIMIT, Limits};
use elbow::rate::Rate;
use elbow::settings::ProxyMode;
use elbow::time::Duration;
use log::LevelFilter;
use proptest::prelude::*;

const MACHINE: Machine = Machine {
    descriptors_hard: 1 << 20,
    memory_bytes: None,
    memory_is_shared: true,
    activated: Activated::NONE,
    admin_credential: false,
};

/// What systemd hands over if nothing has a name.
const PUBLIC: Activated = Activated { public: true, ..Activated::NONE };

fn at(address: &str) -> Listen {
    Listen::At(Endpoint::Ip(address.parse().expect("an address")))
}

/// What an option takes and what not.
struct Example {
    /// As in the table of the program, in its order.
    name: &'static str,
    /// A text that is taken, and how `check` shows it.
    taken: (&'static str, &'static str),
    /// A text that is refused, and what is said to be allowed.
    refused: (&'static str, &'static str),
}

/// One for each option: it does not compile with one too few.
const EXAMPLES: [Example; OPTIONS.len()] = [
    Example {
        name: "listen",
        taken: ("localhost:1, [::1]:2,:3,unix:/a b", "127.0.0.1:1,[::1]:2,*:3,unix:/a b"),
        refused: ("3000", ADDRESS),
    },
    Example {
        name: "unix-mode",
        taken: ("600", "0600"),
        refused: ("0o660", "allowed are the octal digits of a file's mode, such as 0660 or 600"),
    },
    Example {
        name: "health-listen",
        taken: ("[::]:81", "[::]:81"),
        refused: ("example.org:1", ADDRESS),
    },
    Example {
        name: "admin-listen",
        taken: ("localhost:3001", "127.0.0.1:3001"),
        refused: ("unix:", ADDRESS),
    },
    Example {
        name: "admin-token-file",
        taken: ("a\tb", "a\\tb"),
        refused: (" ", "allowed is the name of a file"),
    },
    Example {
        name: "lb",
        taken: ("NLB", "nlb"),
        refused: ("elb", "allowed is one of none, clb, nlb, alb"),
    },
    Example {
        name: "proxy-protocol",
        taken: ("optional", "optional"),
        refused: ("on", "allowed is one of off, optional, required"),
    },
    Example {
        name: "proxy-trust",
        taken: ("10.1.2.3/8,::1", "10.0.0.0/8,::1/128"),
        refused: (
            "10.0.0.0/33",
            "allowed is a network such as 10.0.0.0/8 or fc00::/7, or an IP address",
        ),
    },
    Example {
        name: "www",
        taken: ("a,\tb", "a,\\tb"),
        refused: (" ", "allowed is the name of a folder"),
    },
    Example { name: "base-path", taken: ("/apps/chat/", "/apps/chat"), refused: ("/chat?x", PATH) },
    Example {
        name: "host",
        taken: ("Chat.Example.:80, [::0:1]", "chat.example,[::1]"),
        refused: ("*.example.org", HOST),
    },
    Example {
        name: "allow-origin",
        taken: ("https://a.example,null,file://", "https://a.example,null,file://"),
        refused: ("https://*", ORIGIN),
    },
    Example {
        name: "events",
        taken: ("chat message,a.b", "chat message,a.b"),
        refused: (
            "connect",
            "allowed is the name of an event such as chat message (but not elbow:…), or *",
        ),
    },
    Example {
        name: "greeting",
        taken: ("user\tjoined", "user\\tjoined"),
        refused: ("*", GREETING),
    },
    Example {
        name: "token-key",
        taken: ("HS256:/a b, jwks:c:d", "hs256:/a b,jwks:c:d"),
        refused: ("rs256:a", "allowed are hs256:FILE, es256:FILE, ed25519:FILE, jwks:FILE"),
    },
    Example {
        name: "token-audience",
        taken: ("https://a.example", "https://a.example"),
        refused: ("a b", "allowed is a text without blanks, such as https://example.org"),
    },
    Example {
        name: "token-issuer",
        taken: ("a", "a"),
        refused: ("a b", "allowed is a text without blanks, such as https://example.org"),
    },
    Example {
        name: "anonymous",
        taken: ("Join", "join"),
        refused: ("some", "allowed is one of all, join, none"),
    },
    Example {
        name: "history",
        taken: ("0500", "500"),
        refused: ("16777217", "allowed is a whole number from 1 to 16777216, or off"),
    },
    Example {
        name: "history-age",
        taken: ("60000ms", "1m"),
        refused: ("0s", "allowed is a duration such as 250ms, 25s or 2m, from 100ms to 1440m"),
    },
    Example {
        name: "recovery",
        taken: ("ON", "on"),
        refused: ("yes", "allowed is one of on, off"),
    },
    Example {
        name: "message-rate",
        taken: ("05:20", "5:20"),
        refused: (
            "5:",
            "allowed is a number a second such as 5, or with a burst such as 5:20, each from 1 to \
             1000, or off",
        ),
    },
    Example {
        name: "max-lifetime",
        taken: ("3600s", "60m"),
        refused: (
            "999ms",
            "allowed is a duration such as 250ms, 25s or 2m, from 1s to 10080m, or off",
        ),
    },
    Example {
        name: "accept-rate",
        taken: ("0", "off"),
        refused: ("5:20", "allowed is a whole number a second from 1 to 1000, or off"),
    },
    Example {
        name: "redis",
        taken: ("redis://eve:pw@Redis.Example/2", "redis://eve@redis.example:6379/2"),
        refused: ("redis://:p@w@a", REDIS_USER),
    },
    Example {
        name: "redis-password-file",
        taken: ("a\tb", "a\\tb"),
        refused: (" ", "allowed is the name of a file"),
    },
    Example {
        name: "redis-prefix",
        taken: ("my:room", "my:room"),
        refused: ("{room}", "allowed are letters, digits and -._: alone, 64 of them at most"),
    },
    Example {
        name: "redis-ca",
        taken: ("/etc/ca.pem", "/etc/ca.pem"),
        refused: (" ", "allowed is the name of a file"),
    },
    Example { name: "ping-interval", taken: ("10000ms", "10s"), refused: ("25", DURATION) },
    Example { name: "ping-timeout", taken: ("10ms", "10ms"), refused: ("0s", DURATION) },
    Example {
        name: "drain",
        taken: ("0s", "0s"),
        refused: ("61m", "allowed is a duration such as 250ms, 25s or 2m, from 0s to 60m"),
    },
    Example { name: "fit", taken: ("OFF", "off"), refused: ("yes", "allowed is one of on, off") },
    Example {
        name: "max-connections",
        taken: ("7", "7"),
        refused: ("0", "allowed is a whole number from 1 to 10000000"),
    },
    Example {
        name: "max-connections-per-ip",
        taken: ("3", "3"),
        refused: ("0", "allowed is a whole number from 1 to 10000000, or off"),
    },
    Example {
        name: "max-channels",
        taken: ("1", "1"),
        refused: ("65537", "allowed is a whole number from 1 to 65536"),
    },
    Example {
        name: "max-message",
        taken: ("1024", "1KiB"),
        refused: ("0", "allowed is a size such as 4096, 64KiB or 1MiB, from 1 to 256MiB"),
    },
    Example {
        name: "feed",
        taken: ("1000KiB", "1MiB"),
        refused: ("2GiB", "allowed is a size such as 4096, 64KiB or 1MiB, from 4KiB to 1GiB"),
    },
    Example {
        name: "memory",
        taken: ("1024MiB", "1GiB"),
        refused: (
            "99999999999999999999",
            "allowed is a size such as 4096, 64KiB or 1MiB, from 16KiB to 1024GiB",
        ),
    },
    Example { name: "send-buffer", taken: ("64MiB", "64MiB"), refused: ("4095", BUFFER) },
    Example { name: "receive-buffer", taken: ("4096", "4KiB"), refused: ("64kb", BUFFER) },
    Example {
        name: "io-uring",
        taken: ("Require", "require"),
        refused: ("on", "allowed is one of auto, off, require"),
    },
    Example {
        name: "log-level",
        taken: ("Trace", "trace"),
        refused: ("off", "allowed is one of error, warn, info, debug, trace"),
    },
];

const ADDRESS: &str = "allowed is an IP address (or localhost, or * for all) and a port, such as \
                       0.0.0.0:3000, [::1]:3000 or *:3000, or unix:PATH, of at most 107 bytes \
                       without commas";
const HOST: &str = "allowed is a host such as chat.example.org, 192.0.2.1 or [2001:db8::1], \
                    without wildcards";
const PATH: &str = "allowed is / or a path such as /chat or /apps/chat, of at most 128 bytes, \
                    without a query, escapes (%), and segments that are empty, . or ..";
const ORIGIN: &str = "allowed is an origin with its scheme, such as https://example.org, \
                      http://localhost:8080, https://*.example.org or file://, or null, or *";
const GREETING: &str = "allowed is the name of an event such as hi or user joined (but not \
                        connect, error, ping and others that mean something to clients of \
                        Socket.IO, nor elbow:…), or off";
const REDIS_USER: &str = "allowed in front of the @ is USER, USER:PASSWORD or :PASSWORD, where \
                          all but letters, digits and -._~!$&'()*+,;=: is percent-encoded";
const DURATION: &str = "allowed is a duration such as 250ms, 25s or 2m, from 10ms to 60m";
const BUFFER: &str = "allowed is a size such as 4096, 64KiB or 1MiB, from 4KiB to 64MiB";

fn parse_on(machine: &Machine, args: &[&str], env: &[(&str, &str)]) -> Result<Command, Failure> {
    let args = std::iter::once("elbow").chain(args.iter().copied()).map(OsString::from);
    let variable = |name: &str| {
        let found = env.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, text)| (*text).to_owned())
    };
    config::parse(args, variable, machine)
}

fn config_on(machine: &Machine, args: &[&str], env: &[(&str, &str)]) -> Config {
    match parse_on(machine, args, env) {
        Ok(Command::Run(config)) => *config,
        other => panic!("{args:?} {env:?}: {other:?}"),
    }
}

fn config(args: &[&str], env: &[(&str, &str)]) -> Config {
    config_on(&MACHINE, args, env)
}

fn failure(args: &[&str], env: &[(&str, &str)]) -> (u8, String) {
    failure_on(&MACHINE, args, env)
}

fn failure_on(machine: &Machine, args: &[&str], env: &[(&str, &str)]) -> (u8, String) {
    match parse_on(machine, args, env) {
        Err(failure) => (failure.exit_code, failure.line),
        Ok(command) => panic!("{args:?} {env:?}: {command:?}"),
    }
}

fn failure_or_none(args: &[&str]) -> Option<(u8, String)> {
    parse_on(&MACHINE, args, &[]).err().map(|failure| (failure.exit_code, failure.line))
}

/// What `check` says of one option: `25s (default)`.
fn shown(config: &Config, name: &str) -> String {
    let value = config.values.iter().find(|value| value.option.name == name);
    let value = value.expect("every option is shown");
    format!("{} ({})", value.text, value.source.name())
}

#[test]
fn a_flag_wins_over_its_variable_over_a_preset_over_the_default() {
    let mode = |args: &[&str], env: &[(&str, &str)]| shown(&config(args, env), "proxy-protocol");
    let variables = [("ELBOW_LB", "clb"), ("ELBOW_PROXY_PROTOCOL", "optional")];
    assert_eq!(mode(&[], &[]), "off (default)");
    assert_eq!(mode(&[], &variables[..1]), "required (preset)");
    assert_eq!(mode(&[], &variables), "optional (env)");
    assert_eq!(mode(&["--proxy-protocol", "off"], &variables), "off (flag)");
}

#[test]
fn an_empty_variable_is_as_if_unset() {
    for text in ["", " \n"] {
        let config = config(&[], &[("ELBOW_DRAIN", text), ("ELBOW_HEALTH_LISTEN", text)]);
        assert_eq!(shown(&config, "drain"), "5s (default)");
        assert_eq!(shown(&config, "health-listen"), "none (default)");
    }
}

#[test]
fn every_option_is_shown_as_it_holds_whoever_asked_for_it() {
    for (option, Example { name, taken: (text, expected), .. }) in OPTIONS.iter().zip(EXAMPLES) {
        assert_eq!(option.name, name);
        // Recovery needs something that is kept.
        let needed = match name {
            "recovery" => ("ELBOW_HISTORY", "1"),
            // Sets of keys are public.
            "token-key" => ("ELBOW_TOKEN_AUDIENCE", "a"),
            "token-audience" | "token-issuer" => ("ELBOW_TOKEN_KEY", "hs256:a"),
            _ => ("", ""),
        };
        // A flag without a value has one thing to say.
        if !option.value.is_empty() {
            let by_flag = config(&[&option.flag(), text], &[needed]);
            assert_eq!(shown(&by_flag, name), format!("{expected} (flag)"));
        }
        let by_env = config(&[], &[(&option.env_name(), text), needed]);
        assert_eq!(shown(&by_env, name), format!("{expected} (env)"));
    }
}

#[test]
fn every_option_refuses_in_one_line_that_names_it_its_value_and_what_is_allowed() {
    for (option, Example { name, refused: (text, allowed), .. }) in OPTIONS.iter().zip(EXAMPLES) {
        assert_eq!(option.name, name);
        let is_told = !option.secret && !option.guarded;
        let repeated = if !is_told { "(not shown)" } else { &format!("\"{text}\"") };
        let refused = |args: &[&str], env: &[(&str, &str)], source: &str| {
            let (exit_code, line) = failure(args, env);
            assert_eq!(exit_code, 2, "{line}");
            assert_eq!(line, format!("{source}: bad value {repeated}: {allowed}"));
        };
        if !option.value.is_empty() {
            refused(&[&option.flag(), text], &[], &option.flag());
        }
        if !text.trim().is_empty() {
            refused(&[], &[(&option.env_name(), text)], &option.env_name());
        }
    }
}

#[test]
fn no_event_has_a_name_that_clients_take_for_something_else() {
    let everybodys = ["connect", "connect_error", "disconnect", "disconnecting", "newListener"];
    let everybodys = everybodys.into_iter().chain(["removeListener", "elbow:joined", "elbow:"]);
    let of_clients = [
        "connect_timeout",
        "connecting",
        "error",
        "ping",
        "pong",
        "reconnect",
        "reconnect_attempt",
        "reconnect_error",
        "reconnect_failed",
        "reconnecting",
    ];
    for name in everybodys.clone() {
        assert_eq!(failure(&["--events", name], &[]).0, 2, "{name}");
    }
    for name in everybodys.chain(of_clients) {
        let line = format!("--greeting: bad value \"{name}\": {GREETING}");
        assert_eq!(failure(&["--greeting", name], &[]), (2, line));
    }
    for name in ["Error", "errors", "elbow", "elbowed:x", "pinged", "connected", "message"] {
        config(&["--greeting", name, "--events", name], &[]);
    }
    // What clients say to each other is theirs: clients 4.x may call an event like this.
    for name in of_clients {
        config(&["--events", name], &[]);
    }
}

#[test]
fn a_synopsis_of_words_names_those_that_are_taken() {
    let mut seen = 0;
    for option in OPTIONS.iter().filter(|option| option.value.contains('|')) {
        let words: Vec<&str> = option.value.split('|').collect();
        let (_, line) = failure(&[&option.flag(), "none of them"], &[]);
        let allowed = format!("allowed is one of {}", words.join(", "));
        assert!(line.ends_with(&allowed), "{line}");
        seen += 1;
    }
    assert!(seen >= 3, "{seen}");
}

/// Texts of the program that name a flag were written by hand, each in its sentence.
#[test]
fn a_flag_that_help_or_a_warning_names_is_there() {
    let machine = Machine { memory_bytes: Some(1), activated: PUBLIC, ..MACHINE };
    let args = ["--proxy-protocol", "optional", "--proxy-trust", "::/0", "--listen", "[::]:1"];
    let report = config_on(&machine, &args, &[]).report(&machine);
    let text = format!("{} {report}", config::help());
    let mut others = vec!["--help", "--version", "--url", "--key", "--subject", "--join", "--say"];
    others.extend(["--expires", "--audience", "--issuer", "--json", "--admin-listen"]);
    others.extend(["--admin-token-file", "--aws"]);
    let mut seen = 0;
    for word in text.split(|c: char| !c.is_ascii_lowercase() && c != '-') {
        if word.starts_with("--") && word.len() > 2 && !others.contains(&word) {
            assert!(OPTIONS.iter().any(|option| option.flag() == word), "{word}");
            seen += 1;
        }
    }
    assert!(seen > 2 * OPTIONS.len(), "{seen}");
}

#[test]
fn a_list_may_be_repeated_and_names_its_wrong_item() {
    let both = config(&["--listen", "127.0.0.1:1", "--listen", "127.0.0.1:2"], &[]);
    assert_eq!(both.listen, ["127.0.0.1:1", "127.0.0.1:2"].map(at));
    assert_eq!(
        failure(&[], &[("ELBOW_LISTEN", "127.0.0.1:1,x")]).1,
        format!("ELBOW_LISTEN: bad value \"127.0.0.1:1,x\": \"x\": {ADDRESS}")
    );
    let nine = ["127.0.0.1:0"; 9].join(",");
    assert!(failure(&["--listen", &nine], &[]).1.ends_with("allowed are at most 8 items"));
}

#[test]
fn what_is_no_path_of_a_socket_is_refused_in_words() {
    let allowed = "allowed is no abstract socket, which has no file whose mode says who may \
                   connect; a file of this name is unix:./@NAME";
    for flag in ["--listen", "--health-listen"] {
        let line = |text: &str| failure(&[flag, text], &[]).1;
        assert_eq!(line("unix:@a"), format!("{flag}: bad value \"unix:@a\": {allowed}"));
        assert!(line("unix:").ends_with(ADDRESS));
    }
    assert_eq!(
        failure(&["--listen", "unix:/a,b"], &[]).1,
        format!("--listen: bad value \"unix:/a,b\": \"b\": {ADDRESS}")
    );
    assert!(failure(&["--health-listen", "unix:/a,b"], &[]).1.ends_with(ADDRESS));
    config(&["--listen", "unix:./@a", "--health-listen", "unix:a@b"], &[]);
}

#[test]
fn the_defaults_are_those_that_operators_rely_on() {
    let config = config(&[], &[]);
    let limits = Limits {
        connections_max: 65_536,
        connections_per_ip_max: None,
        admin_connections_max: 0,
        channels_max: 32,
        message_bytes_max: 64 << 10,
        feed_bytes: 1 << 20,
        memory_bytes: 64 << 20,
        send_buffer_bytes: 64 << 10,
        receive_buffer_bytes: 32 << 10,
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        drain: Duration::from_secs(5),
        history: None,
        shared: false,
        message_rate: None,
        lifetime: None,
    };
    assert_eq!(config.settings.limits, limits);
    assert_eq!(config.settings.proxy, ProxyMode::Off);
    assert_eq!(config.settings.origins, []);
    assert_eq!((config.listen, config.unix_mode), (vec![at("0.0.0.0:3000")], 0o660));
    assert_eq!((config.health_listen, config.www), (None, None));
    assert_eq!(config.io_uring, config::IoUring::Auto);
    assert_eq!(config.log_level, LevelFilter::Info);
    assert!(config.values.iter().all(|value| value.source == config::ValueSource::Default));
}

#[test]
fn trusted_by_default_is_what_the_internet_does_not_route() {
    let trust = config(&[], &[]).settings.trust;
    let contains = |text: &str| trust.contains(text.parse().unwrap());
    for near in ["127.0.0.1", "::1", "10.9.9.9", "172.31.0.1", "192.168.1.1", "100.127.0.1"] {
        assert!(contains(near), "{near}");
    }
    for near in ["169.254.1.1", "fe80::1", "fdff::1"] {
        assert!(contains(near), "{near}");
    }
    for far in ["172.32.0.1", "100.128.0.1", "11.0.0.1", "2001:db8::1", "8.8.8.8"] {
        assert!(!contains(far), "{far}");
    }
}

#[test]
fn a_preset_brings_what_its_balancer_needs() {
    for (name, lb, proxy, forwarded_for, keep_alive) in [
        ("none", Lb::None, ProxyMode::Off, false, KEEP_ALIVE_LIMIT),
        ("clb", Lb::Clb, ProxyMode::Required, false, KEEP_ALIVE_LIMIT),
        ("nlb", Lb::Nlb, ProxyMode::Required, false, KEEP_ALIVE_LIMIT),
        ("alb", Lb::Alb, ProxyMode::Off, true, KEEP_ALIVE_ALB_LIMIT),
    ] {
        let config = config(&["--lb", name], &[]);
        let settings = config.settings;
        assert_eq!(
            (config.lb, settings.proxy, settings.forwarded_for, settings.keep_alive),
            (lb, proxy, forwarded_for, keep_alive)
        );
    }
}

#[test]
fn messages_are_reported_only_for_a_log_that_shows_them() {
    let reports = |level| config(&["--log-level", level], &[]).settings.report_messages;
    let levels = ["error", "warn", "info", "debug", "trace"];
    assert_eq!(levels.map(reports), [false, false, false, true, true]);
}

#[test]
fn a_default_that_depends_on_others_is_derived() {
    let large = config(&["--max-message", "1000KiB"], &[]);
    assert_eq!(shown(&large, "feed"), "4MiB (derived)");
    assert_eq!(shown(&large, "memory"), "64MiB (default)");
    let larger = config(&["--max-message", "16MiB"], &[]);
    assert_eq!(shown(&larger, "feed"), "64MiB (derived)");
    assert_eq!(shown(&larger, "memory"), "720MiB (derived)");
    let largest = config(&["--max-message", "256MiB"], &[]);
    assert_eq!(shown(&largest, "memory"), "11520MiB (derived)");
}

#[test]
fn an_address_has_a_quarter_unless_the_operator_says_otherwise() {
    let of = |args: &[&str]| {
        let config = config(args, &[]);
        let limits = &config.settings.limits;
        let most = limits.sessions_per_address_max();
        (most, limits.connections_per_ip_max, shown(&config, "max-connections-per-ip"))
    };
    let quarter = || "a quarter of --max-connections, but for proxies (default)".to_owned();
    assert_eq!(of(&["--max-connections", "40"]), (10, None, quarter()));
    assert_eq!(of(&["--max-connections", "3"]), (1, None, quarter()));
    for (text, most) in [("2", 2), ("39", 39), ("off", 40)] {
        let expected = (most, Some(most), format!("{text} (flag)"));
        assert_eq!(of(&["--max-connections", "40", "--max-connections-per-ip", text]), expected);
    }
    let limits = config(&[], &[]).settings.limits;
    assert_eq!(limits.channels_per_address_max(), 8);
    // 64 MiB without what is set aside, a quarter of that, in feeds of 9/8 MiB.
    assert_eq!(limits.feeds_per_address_max(), 12);
    assert_eq!(limits.unentered_max(), 8192);
    let small = config(&["--max-channels", "3", "--memory", "5760KiB"], &[]).settings.limits;
    assert_eq!((small.channels_per_address_max(), small.feeds_per_address_max()), (1, 1));
}

#[test]
fn connections_are_what_the_descriptors_have_room_for() {
    let on = |descriptors_hard| Machine { descriptors_hard, ..MACHINE };
    let connections = |machine| shown(&config_on(&machine, &[], &[]), "max-connections");
    assert_eq!(connections(on(u64::MAX)), "65536 (default)");
    assert_eq!(connections(on(65_536 + 112)), "65536 (default)");
    assert_eq!(connections(on(20_000)), "19888 (derived)");
    assert_eq!(connections(on(113)), "1 (derived)");
    let limits = config_on(&on(20_000), &[], &[]).settings.limits;
    assert_eq!(limits.descriptors(), 20_000);
}

#[test]
fn more_connections_than_descriptors_are_refused() {
    let on = |descriptors_hard| Machine { descriptors_hard, ..MACHINE };
    assert_eq!(
        parse_on(&on(112), &["--max-connections", "5"], &[]),
        Err(Failure {
            exit_code: 78,
            line: "the hard limit on descriptors (RLIMIT_NOFILE) is 112: allowed is 113 or more, \
                   which is one connection"
                .to_owned()
        })
    );
    assert_eq!(parse_on(&on(112), &[], &[]).map_err(|failure| failure.exit_code), Err(78));
    assert_eq!(
        parse_on(&on(20_000), &["--max-connections", "19889"], &[]),
        Err(Failure {
            exit_code: 78,
            line: "--max-connections 19889 (flag) needs 20001 descriptors, and the hard limit \
                   (RLIMIT_NOFILE) is 20000: allowed is 19888 or less"
                .to_owned()
        })
    );
}

#[test]
fn a_ping_comes_well_before_the_balancer_loses_patience() {
    for (lb, fits, refused, limit) in [
        ("clb", "29999ms", "30s", "30s"),
        ("alb", "29999ms", "30s", "30s"),
        ("nlb", "174999ms", "3m", "175s"),
    ] {
        config(&["--lb", lb, "--ping-interval", fits], &[]);
        assert_eq!(
            failure(&["--ping-interval", refused], &[("ELBOW_LB", lb)]),
            (
                78,
                format!(
                    "--ping-interval {refused} (flag) contradicts --lb {lb} (env): allowed is \
                     less than {limit}, half of its idle timeout"
                )
            )
        );
    }
    config(&["--ping-interval", "60m"], &[]);
}

#[test]
fn an_alb_sends_no_proxy_header() {
    assert_eq!(
        failure(&["--lb", "alb", "--proxy-protocol", "required"], &[]),
        (
            78,
            "--proxy-protocol required (flag) contradicts --lb alb (flag): an ALB sends no PROXY \
             header, so no connection would be accepted"
                .to_owned()
        )
    );
    config(&["--lb", "alb", "--proxy-protocol", "optional"], &[]);
}

#[test]
fn a_message_rate_leaves_room_beside_the_answers_to_pings() {
    config(&["--message-rate", "1", "--ping-interval", "2s"], &[]);
    config(&["--message-rate", "2", "--ping-interval", "1s"], &[]);
    assert_eq!(
        failure(&["--message-rate", "1:100", "--ping-interval", "1s"], &[]),
        (
            78,
            "--message-rate 1:100 (flag) contradicts --ping-interval 1s (flag): allowed is 2 or \
             more, since answers to pings count"
                .to_owned()
        )
    );
    // The least that is named is the least that is taken.
    for (interval, least) in [("999ms", 2), ("300ms", 4), ("250ms", 5)] {
        let (least, less) = (least.to_string(), (least - 1).to_string());
        config(&["--message-rate", &least, "--ping-interval", interval], &[]);
        let (code, said) = failure(&["--message-rate", &less, "--ping-interval", interval], &[]);
        assert_eq!(code, 78);
        assert!(said.contains(&format!("allowed is {least} or more")), "{said}");
    }
}

#[test]
fn a_feed_holds_four_messages_and_the_memory_one_channel() {
    config(&["--feed", "129KiB"], &[]);
    assert_eq!(
        failure(&["--feed", "128KiB"], &[]),
        (
            78,
            "--feed 128KiB (flag) contradicts --max-message 64KiB (default): allowed is 256KiB or \
             more, four times that"
                .to_owned()
        )
    );
    config(&["--memory", "5760KiB"], &[]);
    assert_eq!(
        failure(&["--memory", "5759KiB"], &[]),
        (
            78,
            "--memory 5759KiB (flag) contradicts --feed 1MiB (default): allowed is 5760KiB or \
             more, which is set aside for the channel default"
                .to_owned()
        )
    );
}

#[test]
fn rules_about_tokens_need_a_key_and_public_keys_an_audience() {
    for (args, line) in [
        (&["--anonymous", "none"][..], "--anonymous none (flag) contradicts --token-key none"),
        (&["--token-audience", "a"], "--token-audience a (flag) contradicts --token-key none"),
        (&["--token-issuer", "a"], "--token-issuer a (flag) contradicts --token-key none"),
        (&["--token-key", "jwks:a"], "--token-key jwks:a (flag) contradicts --token-audience none"),
        (
            &["--token-key", "hs256:a", "--token-key", "es256:b", "--token-issuer", "i"],
            "--token-key es256:b (flag) contradicts --token-audience none (default): allowed is",
        ),
        (&["--token-key", "ed25519:a"], "--token-key ed25519:a (flag) contradicts"),
    ] {
        let (exit_code, said) = failure(args, &[]);
        assert_eq!(exit_code, 78, "{said}");
        assert!(said.starts_with(line), "{said}");
    }
    let anonymous = |args: &[&str]| shown(&config(args, &[]), "anonymous");
    assert_eq!(anonymous(&[]), "all (default)");
    assert_eq!(anonymous(&["--anonymous", "join"]), "join (flag)");
    assert_eq!(anonymous(&["--token-key", "hs256:a"]), "none (derived)");
    assert_eq!(anonymous(&["--token-key", "hs256:a", "--anonymous", "all"]), "all (flag)");
    let named = config(&["--token-key", "es256:a", "--token-audience", "b"], &[]);
    assert_eq!(named.settings.parties.audience.as_deref(), Some("b"));
    let many = vec!["hs256:a"; 17].join(",");
    assert_eq!(failure(&["--token-key", &many], &[]).0, 2);
}

#[test]
fn listeners_are_not_in_each_others_way() {
    let health = |address| failure(&["--health-listen", address], &[]);
    assert_eq!(
        health("127.0.0.1:3000"),
        (
            78,
            "--health-listen 127.0.0.1:3000 is in the way of --listen 0.0.0.0:3000: allowed are \
             different ports, or different addresses"
                .to_owned()
        )
    );
    assert_eq!(failure(&["--listen", "[::1]:1,[::1]:1"], &[]).0, 78);
    config(&["--listen", "0.0.0.0:0,0.0.0.0:0", "--health-listen", "0.0.0.0:0"], &[]);
    config(&["--listen", "127.0.0.1:1,127.0.0.2:1,[::1]:1"], &[]);
    config(&["--listen", "0.0.0.0:1,[::]:1,unix:/a,unix:/b"], &[]);
    config(&["--listen", "[::]:1", "--health-listen", "127.0.0.1:1"], &[]);
    assert_eq!(failure(&["--listen", "unix:/a,unix:/a"], &[]).0, 78);
    assert_eq!(failure(&["--listen", ":1,*:1"], &[]).0, 78);
    assert_eq!(
        failure(&["--listen", ":1", "--health-listen", "127.0.0.1:1"], &[]).1,
        "--health-listen 127.0.0.1:1 is in the way of --listen *:1: allowed are different ports, \
         or different addresses"
    );
    let activated = Machine { activated: PUBLIC, ..MACHINE };
    config_on(&activated, &["--health-listen", "127.0.0.1:3000"], &[]);
}

#[test]
fn what_is_handed_over_stands_in_the_place_of_its_flag_alone() {
    let on = |activated| Machine { activated, ..MACHINE };
    let admin = on(Activated { admin: true, ..Activated::NONE });
    let health = on(Activated { health: true, ..Activated::NONE });
    // Places of the admin listener are there although nobody asked for one.
    let places = |machine| config_on(machine, &[], &[]).settings.limits.admin_connections_max;
    assert_eq!((places(&MACHINE), places(&admin)), (0, CONNECTIONS_ADMIN));
    let config = config_on(&admin, &["--admin-token-file", "/a"], &[]);
    assert_eq!(config.admin_token, Some(TokenSource::File("/a".into())));
    assert_eq!(config.warnings(&admin), Vec::<String>::new());
    let line = "admin requests: from who can connect to the socket that was handed over\n";
    assert!(config_on(&admin, &[], &[]).report(&admin).contains(line));
    // What is not opened needs no token and is in nobody's way.
    let args = ["--listen", ":1", "--admin-listen", "0.0.0.0:1"];
    let unused = "--admin-listen 0.0.0.0:1 is not used: LISTEN_FDS hands over sockets instead";
    assert_eq!(config_on(&admin, &args, &[]).warnings(&admin), [unused]);
    assert_eq!(failure_on(&health, &args, &[]).0, 78);
    let args = ["--listen", ":1", "--health-listen", ":1"];
    let unused = "--health-listen *:1 is not used: LISTEN_FDS hands over sockets instead";
    assert_eq!(config_on(&health, &args, &[]).warnings(&health), [unused]);
    // Probes have a listener of their own.
    config_on(&health, &["--lb", "nlb", "--accept-rate", "5"], &[]);
    assert_eq!(failure_on(&admin, &["--lb", "nlb", "--accept-rate", "5"], &[]).0, 78);
}

#[test]
fn a_mode_for_no_file_is_told_of() {
    let warnings =
        |machine: &Machine, args: &[&str]| config_on(machine, args, &[]).warnings(machine);
    let unused = "--unix-mode 0600 is not used: no listener is unix:PATH".to_owned();
    assert!(warnings(&MACHINE, &["--unix-mode", "0600"]).contains(&unused));
    let args = ["--unix-mode", "0600", "--listen", "unix:/a"];
    assert_eq!(warnings(&MACHINE, &args), Vec::<String>::new());
    let args = ["--unix-mode", "0600", "--health-listen", "unix:/a"];
    assert_eq!(warnings(&MACHINE, &args), Vec::<String>::new());
    let activated = Machine { activated: PUBLIC, ..MACHINE };
    let args = ["--unix-mode", "0600", "--listen", "unix:/a"];
    assert!(warnings(&activated, &args).contains(&unused));
}

#[test]
fn what_clap_refuses_is_one_line_with_its_suggestion() {
    for (args, line) in [
        (&["--foo"][..], "unexpected argument '--foo' found"),
        (
            &["--lissten", "x"],
            "unexpected argument '--lissten' found; a similar argument exists: '--listen'",
        ),
        (&["--drain"], "a value is required for '--drain <DUR>' but none was supplied"),
        (&["chekc"], "unrecognized subcommand 'chekc'; a similar subcommand exists: 'check'"),
        (
            &["--drain", "1s", "--drain", "2s"],
            "the argument '--drain <DUR>' cannot be used multiple times",
        ),
        (&["health", "--lb", "clb"], "unexpected argument '--lb' found"),
        (&["--a\u{1b}b"], "unexpected argument '--a\\u{1b}b' found"),
    ] {
        assert_eq!(failure(args, &[]), (2, line.to_owned()));
    }
}

#[test]
fn an_event_that_would_never_be_relayed_is_refused() {
    let name = format!("{}x", elbow::wire::socketio::OURS);
    for flag in ["--events", "--greeting"] {
        let (exit_code, line) = failure(&[flag, &name], &[]);
        assert_eq!(exit_code, 2);
        assert!(line.contains("elbow:…"), "{line}");
    }
}

#[test]
fn no_flag_takes_a_secret() {
    let (exit_code, line) = failure(&["--admin-token", "0123456789abcdef"], &[]);
    assert_eq!(exit_code, 2);
    assert!(line.starts_with("unexpected argument '--admin-token' found"), "{line}");
    assert!(!line.contains("0123456789abcdef"), "{line}");
}

#[test]
fn whoever_can_reach_the_admin_listener_shows_a_token_or_is_on_this_machine() {
    let token = [("ELBOW_ADMIN_TOKEN", "0123456789abcdef")];
    for local in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/a"] {
        let config = config(&["--admin-listen", local], &[]);
        assert_eq!(config.admin_token, None, "{local}");
        assert_eq!(config.settings.limits.admin_connections_max, CONNECTIONS_ADMIN);
    }
    for far in ["0.0.0.0:1", "[::]:1", ":1", "*:1", "10.0.0.1:1", "[2001:db8::1]:1"] {
        let (exit_code, line) = failure(&["--admin-listen", far], &[]);
        assert_eq!(exit_code, 78, "{far}");
        assert!(line.contains(" needs a token: allowed is a loopback address or"), "{line}");
        config(&["--admin-listen", far], &token);
        config(&["--admin-listen", far, "--admin-token-file", "/no/such"], &[]);
        let machine = Machine { admin_credential: true, ..MACHINE };
        config_on(&machine, &["--admin-listen", far], &[("CREDENTIALS_DIRECTORY", "/c")]);
    }
}

#[test]
fn a_token_comes_from_the_file_before_the_variable_before_the_credential_and_is_not_shown() {
    let env = [("ELBOW_ADMIN_TOKEN", "0123456789abcdef"), ("CREDENTIALS_DIRECTORY", "/c")];
    let machine = Machine { admin_credential: true, ..MACHINE };
    let args = ["--admin-listen", "localhost:1", "--admin-token-file", "/t"];
    let found = |args: &[&str], env| config_on(&machine, args, env);
    let config = found(&args, &env);
    assert_eq!(config.admin_token, Some(TokenSource::File("/t".into())));
    let config = found(&args[..2], &env);
    assert_eq!(config.admin_token, Some(TokenSource::Variable("0123456789abcdef".to_owned())));
    let report = config.report(&machine);
    let line = "\nadmin requests: from who shows the token ((set), ELBOW_ADMIN_TOKEN)\n";
    assert!(report.contains(line), "{report}");
    assert!(!format!("{report}{config:?}").contains("0123456789abcdef"));
    let config = found(&args[..2], &env[1..]);
    assert_eq!(config.admin_token, Some(TokenSource::Credential("/c/admin-token".into())));
    // Without the listener nobody asks for a token.
    let config = found(&args[2..], &env);
    assert_eq!((config.admin_token.as_ref(), config.settings.admin_token.as_ref()), (None, None));
    let unused = "--admin-token-file /t is not used: there is no --admin-listen";
    assert_eq!(config.warnings(&machine), [unused]);
}

#[test]
fn the_admin_listener_has_places_and_descriptors_of_its_own() {
    let machine = Machine { descriptors_hard: 1112, ..MACHINE };
    let ceiling = |args: &[&str]| {
        let limits = config_on(&machine, args, &[]).settings.limits;
        (limits.connections_max, limits.descriptors(), limits.ceiling().tables_bytes)
    };
    let (without, with) = (ceiling(&[]), ceiling(&["--admin-listen", "localhost:1"]));
    assert_eq!((without.0, without.1), (1000, 1112));
    assert_eq!((with.0, with.1), (1000 - CONNECTIONS_ADMIN, 1112));
    assert!(failure(&["--admin-listen", "localhost:1", "--listen", "localhost:1"], &[]).1.contains(
        "--admin-listen 127.0.0.1:1 is in the way of --listen 127.0.0.1:1: allowed are different"
    ));
}

proptest! {
    #[test]
    fn any_text_for_any_option_holds_or_is_refused_in_one_line(
        index in 0..OPTIONS.len(),
        text in prop_oneof![any::<String>(), "[0-9]{1,21}(KiB|MiB|GiB|ms|s|m)?", "[0-9a-f:./,]*"],
    ) {
        let argument = format!("{}={text}", OPTIONS[index].flag());
        match parse_on(&MACHINE, &[&argument], &[]) {
            Ok(Command::Run(config)) => {
                let lines = config.report(&MACHINE).lines().count();
                let warnings = config.warnings(&MACHINE).len();
                let of_history = usize::from(config.settings.limits.history.is_some());
                let of_redis = usize::from(config.redis.is_some());
                let of_admin = usize::from(config.admin_listen.is_some());
                let more = of_history + of_redis + of_admin + warnings;
                prop_assert_eq!(lines, OPTIONS.len() + 9 + more);
            }
            Err(failure) => {
                prop_assert!(!failure.line.chars().any(char::is_control), "{}", failure.line);
                prop_assert!(failure.exit_code == 2 || failure.exit_code == 78);
            }
            Ok(other) => prop_assert!(false, "{other:?}"),
        }
    }
}

#[test]
fn the_report_ends_with_ceiling_capacity_and_warnings() {
    let machine = Machine {
        descriptors_hard: 1112,
        memory_bytes: Some(256 << 20),
        memory_is_shared: true,
        activated: PUBLIC,
        admin_credential: false,
    };
    let args = ["--proxy-protocol", "optional", "--proxy-trust", "::/0", "--listen", "[::]:1"];
    let report = config_on(&machine, &args, &[]).report(&machine);
    let (values, rest) = report.split_once("\n\n").expect("a blank line");
    assert_eq!(values.lines().count(), OPTIONS.len());
    assert_eq!(values.lines().next(), Some("--listen                  [::]:1 (flag)"));
    assert_eq!(
        rest,
        "\
client addresses: from the PROXY header of trusted peers, or else the socket
idle HTTP connections: closed after 15s (default)
messages: up to 64 KiB, whatever is in them
memory ceiling, user space: 72.3 MiB (75909816 bytes): --memory, 402.6 KiB for tables, 8 MiB \
         for the program
memory ceiling, kernel share per connection: 332 KiB (339968 bytes)
memory ceiling, kernel share in all: 350.1 MiB (367165440 bytes)
memory ceiling, total: 422.5 MiB (443075256 bytes)
capacity: 1000 sessions, 64 connections more for pages, probes and refusals, 16 for \
         --health-listen and 0 for --admin-listen; 32 channels; memory for 56 feeds
warning: the memory ceiling, 422.5 MiB, is more than the machine or its control group has, 256 \
         MiB: lower --max-connections, --memory, --send-buffer or --receive-buffer
warning: --proxy-protocol optional is less safe than required: who reaches the port past the \
         balancer speaks under any name that a trusted network gives it
warning: --proxy-trust ::/0 believes everybody's word about a client's address
warning: --listen [::]:1 is not used: LISTEN_FDS hands over sockets instead
"
    );
}

#[test]
fn the_report_says_which_messages_may_be_refused_though_they_are_short_enough() {
    for (args, line) in [
        (&["--max-message", "65536"][..], "messages: up to 64 KiB, whatever is in them"),
        (
            &["--max-message", "256KiB"],
            "messages: up to 256 KiB; a text over 73 KiB is refused if escaped for Socket.IO or \
             split into the lines of an event stream it takes more than 512 KiB, half of --feed",
        ),
        (&["--max-message", "1", "--feed", "4KiB"], "messages: up to 1 bytes, whatever is in them"),
        // The most of which all are taken, and one more.
        (
            &["--max-message", "74834", "--feed", "1MiB"],
            "messages: up to 73 KiB, whatever is in them",
        ),
        (
            &["--max-message", "74835", "--feed", "1MiB"],
            "messages: up to 73 KiB; a text over 73 KiB is refused if escaped for Socket.IO or \
             split into the lines of an event stream it takes more than 512 KiB, half of --feed",
        ),
    ] {
        let report = config(args, &[]).report(&MACHINE);
        assert!(report.lines().any(|shown| shown == line), "{args:?}: {report}");
    }
}

#[test]
fn history_is_off_unless_it_is_asked_for_and_recovery_needs_it() {
    let history = |args: &[&str]| config(args, &[]).settings.limits.history;
    let two_minutes = Duration::from_secs(120);
    assert_eq!(history(&[]), None);
    assert_eq!([&["--history", "0"], &["--history", "off"]].map(|args| history(args)), [None; 2]);
    let kept = Some(History { messages_max: 100, age: two_minutes });
    assert_eq!(history(&["--history", "100"]), kept);
    let kept = Some(History { messages_max: 1, age: Duration::from_secs(1) });
    assert_eq!(history(&["--history", "1", "--history-age", "1s"]), kept);
    let recovers = |args: &[&str]| config(args, &[]).settings.recovery;
    assert!(!recovers(&["--history", "1"]) && recovers(&["--history", "1", "--recovery", "on"]));
    assert_eq!(
        failure(&["--recovery", "on"], &[]),
        (
            78,
            "--recovery on (flag) contradicts --history off (default): allowed is --history with \
             a number of messages"
                .to_owned()
        )
    );
    let warned = config(&["--history-age", "5m"], &[]).warnings(&MACHINE);
    assert!(warned.contains(&"--history-age 5m is not used: --history is off".to_owned()));
    let report = config(&["--history", "500"], &[]).report(&MACHINE);
    let line = "history: up to 500 messages of each channel, not older than 2m; 1.2 MiB of \
                --memory for each channel, and 128 KiB more for each feed";
    assert!(report.lines().any(|shown| shown == line), "{report}");
    // A log beside the rings of `default`, and a larger index for each.
    let (exit_code, line) = failure(&["--history", "1", "--memory", "7679KiB"], &[]);
    assert!(exit_code == 78 && line.contains("allowed is 7680KiB or more"), "{line}");
}

#[test]
fn the_password_of_redis_has_one_source_and_is_told_to_nobody() {
    let redis = ("ELBOW_REDIS", "redis://eve:xyzzy@a/1");
    let told = config(&[], &[redis]);
    assert_eq!(shown(&told, "redis"), "redis://eve@a:6379/1 (env)");
    let report = told.report(&MACHINE);
    let line = "order of messages: by Redis, in keys {elbow}:…; password: (set), by --redis";
    assert!(report.lines().any(|shown| shown == line), "{report}");
    assert!(!report.contains("xyzzy") && !format!("{told:?}").contains("xyzzy"));
    let password = |args: &[&str], env: &[(&str, &str)]| {
        let redis = config(args, env).redis.expect("a Redis was named");
        redis.password.map(|source| source.name())
    };
    let variable = ("ELBOW_REDIS_PASSWORD", "abc");
    let (host, file) = (["--redis", "redis://a"], ["--redis-password-file", "/f"]);
    assert_eq!(password(&host, &[]), None);
    assert_eq!(password(&host, &[variable]), Some("ELBOW_REDIS_PASSWORD"));
    assert_eq!(password(&[host, file].concat(), &[variable]), Some("--redis-password-file"));
    let twice =
        "--redis has a password, and ELBOW_REDIS_PASSWORD another: allowed is one of the two";
    assert_eq!(failure(&[], &[redis, variable]), (78, twice.to_owned()));
    assert_eq!(failure(&file, &[redis]).0, 78);
    let (exit_code, line) = failure(&host, &[("ELBOW_REDIS_PASSWORD", "")]);
    assert!(exit_code == 78 && line.contains("1 to 1024 bytes"), "{line}");
    for args in [["--redis", "redis://:xyz zy@a"], ["--redis", "redis://:xyzzy@a/b"]] {
        let (exit_code, line) = failure(&args, &[]);
        assert!(exit_code == 2 && !line.contains("xyz"), "{line}");
    }
}

#[test]
fn limits_for_public_places_are_off_unless_they_are_asked_for() {
    let limits = |args: &[&str]| {
        let config = config(args, &[]);
        let limits = config.settings.limits;
        (limits.message_rate, limits.lifetime, config.accept_rate)
    };
    let off = ["--message-rate", "off", "--max-lifetime", "OFF", "--accept-rate", "off"];
    assert_eq!([limits(&[]), limits(&off)], [(None, None, None); 2]);
    let all = ["--message-rate", "5", "--max-lifetime", "10080m", "--accept-rate", "1000"];
    let week = Duration::from_secs(7 * 86_400);
    let asked = (Some(Rate::new(5, 5)), Some(week), Some(Rate::new(1000, 1000)));
    assert_eq!(limits(&all), asked);
    assert_eq!(limits(&["--message-rate", "1:20"]).0, Some(Rate::new(1, 20)));
    for text in ["0:5", "5:0", "1001", "5:1001", "-1", "5/s", "many"] {
        assert_eq!(failure(&["--message-rate", text], &[]).0, 2, "{text}");
    }
    for text in ["10081m", "60", "-1s", "0s", "never"] {
        assert_eq!(failure(&["--max-lifetime", text], &[]).0, 2, "{text}");
    }
}

#[test]
fn what_redis_cannot_do_here_is_refused() {
    let encrypted = failure_or_none(&["--redis", "rediss://eve:xyzzy@a"]);
    let missing = "--redis rediss://eve@a:6379 (flag) needs TLS, which this build of elbow does \
                   not have: allowed is redis://, or the download elbow-tls, which is built with \
                   --features tls";
    let expected = (!config::HAS_TLS).then(|| (78, missing.to_owned()));
    assert_eq!(encrypted, expected);
    let (exit_code, line) = failure(&["--redis", "redis://a", "--redis-ca", "/ca"], &[]);
    assert!(exit_code == 78 && line.contains("rediss:// alone"), "{line}");
    config(&["--redis", "unix:/a", "--max-channels", "1024"], &[]);
    config(&["--max-channels", "1025"], &[]);
    let many = "--max-channels 1025 (flag) contradicts --redis unix:/a (flag): allowed is 1024 or \
                less, since each request for what is new names them all";
    let args = ["--redis", "unix:/a", "--max-channels", "1025"];
    assert_eq!(failure(&args, &[]), (78, many.to_owned()));
    let unused = config(&["--redis-prefix", "a", "--redis-ca", "/b"], &[]).warnings(&MACHINE);
    for line in [
        "--redis-prefix a is not used: there is no --redis",
        "--redis-ca /b is not used: there is no --redis",
    ] {
        assert!(unused.contains(&line.to_owned()), "{unused:?}");
    }
}

#[test]
fn an_accept_rate_behind_a_balancer_needs_a_listener_for_its_probes() {
    for lb in ["clb", "nlb", "alb"] {
        assert_eq!(
            failure(&["--accept-rate", "50"], &[("ELBOW_LB", lb)]),
            (
                78,
                format!(
                    "--accept-rate 50 (flag) contradicts --lb {lb} (env): allowed is \
                     --health-listen with an address, so that health probes do not wait in the \
                     backlog"
                )
            )
        );
        let apart = ["--accept-rate", "50", "--lb", lb, "--health-listen", ":3001"];
        assert_eq!(config(&apart, &[]).accept_rate, Some(Rate::new(50, 50)));
    }
    config(&["--accept-rate", "50"], &[]);
    config(&["--accept-rate", "off", "--lb", "nlb"], &[]);
}

#[test]
fn a_sound_configuration_has_no_warnings() {
    let machine = Machine { memory_bytes: Some(1 << 30), ..MACHINE };
    let config = config_on(&machine, &["--lb", "nlb", "--max-connections", "1000"], &[]);
    assert_eq!(config.warnings(&machine), [""; 0]);
}

#[test]
fn help_tells_every_flag_its_default_and_its_variable() {
    let Ok(Command::Print(help)) = parse_on(&MACHINE, &["--help"], &[]) else {
        panic!("--help does not print")
    };
    let joined = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for option in OPTIONS {
        let synopsis = format!("--{} {}", option.name, option.value);
        assert!(joined.contains(&synopsis), "{synopsis}");
        let facts = format!("[default: {}] [env: {}]", option.default_shown(), option.env_name());
        assert!(joined.contains(&facts), "{facts}");
    }
    for args in [&["-h"][..], &["check", "--help"], &["health", "--help"], &["help"]] {
        assert_eq!(parse_on(&MACHINE, args, &[]), Ok(Command::Print(help.clone())), "{args:?}");
    }
}

#[test]
fn the_version_is_the_manifests() {
    let version = format!("elbow {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(parse_on(&MACHINE, &["--version"], &[]), Ok(Command::Print(version)));
}

/// `UPDATE=1 cargo test --test config` writes the table instead of comparing it.
#[test]
#[expect(clippy::disallowed_methods, reason = "the way to ask a test for more")]
fn the_documents_have_the_table_of_flags() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIGURATION.md");
    let page = std::fs::read_to_string(path).expect("docs/CONFIGURATION.md can be read");
    let (before, rest) = page.split_once("<!-- flags -->\n").expect("<!-- flags --> on a line");
    let (table, after) = rest.split_once("<!-- /flags -->").expect("<!-- /flags --> after it");
    let told = config::flags_table();
    if std::env::var_os("UPDATE").is_some() {
        let page = format!("{before}<!-- flags -->\n{told}<!-- /flags -->{after}");
        std::fs::write(path, page).expect("docs/CONFIGURATION.md can be written");
        return;
    }
    assert_eq!(table, told);
}
