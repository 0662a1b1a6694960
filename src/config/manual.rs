//! The manual page elbow(1), in the macros of man(7).
//!
//! Made from what readers know of commands and options (`commands.rs`, `option.rs`); what is around
//! them, signals and examples, is here. `deploy/elbow.1` is what comes of it, kept fresh by a test.
//!
//! The surprise: a full stop or an apostrophe at the beginning of a line is a macro, and a hyphen
//! that is to be copied and pasted has a backslash. All text goes through one function for that.

use std::fmt::Write as _;

use super::commands::{CommandText, FlagText, commands};

/// The day of the page, which man(7) wants to be told.
const DAY: &str = "2026-11-27";

const DESCRIPTION: &str = "\
elbow serves a page behind an AWS load balancer, upgrades to WebSocket or Socket.IO, and \
broadcasts every message to everyone in the channel. It understands the PROXY protocol, answers \
health probes, and has a memory ceiling that it prints. There is no configuration file: every \
option is a flag and a variable. A flag wins over its variable, a variable over a preset (--lb), a \
preset over the default; an empty variable is as if unset. Lists are separated by commas. Sizes \
read 4096, 64KiB, 1MiB, 1GiB; durations 250ms, 25s, 2m, 1h.";

const SIGNALS: [(&str, &str); 3] = [
    (
        "SIGTERM, SIGINT",
        "Close all connections over the time of --drain, then end with status 0. A second one ends \
         the process at once.",
    ),
    ("SIGHUP", "Read the files of --www and of --token-key again, without closing a connection."),
    ("SIGPIPE", "Is ignored."),
];

const STATUSES: [(&str, &str); 4] = [
    ("0", "All is well."),
    ("1", "A probe failed, or elbow doctor has findings."),
    ("2", "A value cannot be read, or a server cannot be asked."),
    ("78", "Values contradict each other or the machine."),
];

const FILES: [(&str, &str); 1] =
    [("/etc/default/elbow", "Variables for the service of systemd, a line each.")];

const EXAMPLES: [(&str, &str); 5] = [
    ("elbow", "The built-in chat page on port 3000."),
    (
        "elbow --lb nlb --health-listen 0.0.0.0:3001 --www ./public",
        "Behind a Network Load Balancer with proxy protocol v2.",
    ),
    (
        "elbow --lb alb --proxy-trust 10.20.0.0/16",
        "Behind an Application Load Balancer of the subnet 10.20.0.0/16.",
    ),
    ("elbow check --fit", "What a server would do with the memory of this machine."),
    (
        "elbow doctor --url unix:/run/elbow-admin.sock",
        "What is wrong with the server that has its admin listener there.",
    ),
];

/// The manual page: what `man elbow` shows.
pub fn manual() -> String {
    let mut page = String::new();
    let version = env!("CARGO_PKG_VERSION");
    line(&mut page, &format!(".TH ELBOW 1 {DAY} \"elbow {version}\""));
    // Neither hyphens within the names of flags nor blanks to fill lines.
    line(&mut page, ".nh");
    line(&mut page, ".ad l");
    section(&mut page, "NAME");
    line(&mut page, "elbow \\- page and WebSocket broadcast behind an AWS load balancer");
    let commands = commands();
    section(&mut page, "SYNOPSIS");
    for (number, command) in commands.iter().enumerate() {
        if number > 0 {
            line(&mut page, ".br");
        }
        line(&mut page, &synopsis(command));
    }
    section(&mut page, "DESCRIPTION");
    sentences(&mut page, DESCRIPTION);
    section(&mut page, "COMMANDS");
    for command in &commands {
        line(&mut page, ".TP");
        line(&mut page, &synopsis(command));
        sentences(&mut page, command.purpose);
        if command.own_flags().next().is_some() {
            line(&mut page, ".RS");
            command.own_flags().for_each(|flag| explain(&mut page, flag));
            line(&mut page, ".RE");
        }
    }
    section(&mut page, "OPTIONS");
    let server = commands.iter().find(|command| command.takes_options());
    let mut heading = "";
    for flag in server.iter().flat_map(|command| &command.flags) {
        let Some(option) = flag.option else { continue };
        if option.heading != heading {
            heading = option.heading;
            line(&mut page, &format!(".SS {}", escaped(heading)));
        }
        explain(&mut page, flag);
    }
    for (name, entries) in [
        ("SIGNALS", &SIGNALS[..]),
        ("EXIT STATUS", &STATUSES),
        ("FILES", &FILES),
        ("EXAMPLES", &EXAMPLES),
    ] {
        section(&mut page, name);
        for (term, meaning) in entries {
            line(&mut page, ".TP");
            line(&mut page, &format!("\\fB{}\\fR", escaped(term)));
            sentences(&mut page, meaning);
        }
    }
    page
}

/// How a command is typed.
fn synopsis(command: &CommandText) -> String {
    let mut text = String::from("\\fBelbow\\fR");
    if !command.name.is_empty() {
        write!(text, " \\fB{}\\fR", escaped(&command.name)).expect("a String takes everything");
    }
    for flag in command.own_flags() {
        write!(text, " [{}]", typed(flag)).expect("a String takes everything");
    }
    if command.takes_options() { text + " [\\fIOPTIONS\\fR]" } else { text }
}

/// How a flag is typed, with what stands for its value.
fn typed(flag: &FlagText) -> String {
    let name = escaped(&flag.name);
    match &*flag.value {
        "" => format!("\\fB\\-\\-{name}\\fR"),
        value => format!("\\fB\\-\\-{name}\\fR \\fI{}\\fR", escaped(value)),
    }
}

/// Appends what there is to know about a flag.
fn explain(page: &mut String, flag: &FlagText) {
    line(page, ".TP");
    let repeatable = if flag.repeatable { " (repeatable)" } else { "" };
    line(page, &format!("{}{repeatable}", typed(flag)));
    sentences(page, flag.meaning);
    if let Some(option) = flag.option {
        let (default, variable) = (escaped(&option.default_shown()), option.env_name());
        line(page, ".br");
        line(page, &format!("Default: {default}. Variable: \\fB{variable}\\fR."));
    }
}

fn section(page: &mut String, name: &str) {
    line(page, &format!(".SH {name}"));
}

fn line(page: &mut String, text: &str) {
    page.push_str(text);
    page.push('\n');
}

/// Appends text, a sentence in each line.
fn sentences(page: &mut String, text: &str) {
    for sentence in text.split_inclusive(". ") {
        line(page, &escaped(sentence.trim_end()));
    }
}

/// Text as man(7) wants it.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    if text.starts_with(['.', '\'']) {
        escaped.push_str("\\&");
    }
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            ' '..='~' => escaped.push(c),
            _ => write!(escaped, "\\[u{:04X}]", u32::from(c)).expect("a String takes everything"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_taken_for_a_macro() {
        assert_eq!(escaped(".TH"), "\\&.TH");
        assert_eq!(escaped("'a'"), "\\&'a'");
        assert_eq!(escaped("a\\b --c…"), "a\\eb \\-\\-c\\[u2026]");
        let macros = [".TH", ".SH", ".SS", ".TP", ".RS", ".RE", ".br", ".nh", ".ad"];
        for line in manual().lines() {
            assert!(!line.is_empty() && line.is_ascii(), "{line}");
            let word = line.split(' ').next().unwrap_or_default();
            assert!(!line.starts_with(['.', '\'']) || macros.contains(&word), "{line}");
        }
    }
}
