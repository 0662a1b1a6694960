//! The table of options for readers: what `--help` prints, and the table of docs/CONFIGURATION.md.
//!
//! Both are made from `options.rs`, so neither can forget an option or tell an old default. The
//! text around the table, usage and examples, is at the bottom of this file.
//!
//! The surprise: clap renders none of it. Its own help has no room for the variable, the default
//! and its exceptions, and no headings in an order of ours.

use std::fmt::Write as _;

use super::option::Opt;
use super::options::OPTIONS;

/// What `--help` prints: usage, every option under its heading, examples.
pub fn help() -> String {
    let mut text = String::from(HELP_USAGE);
    let mut heading = "";
    for option in OPTIONS {
        if heading != option.heading {
            heading = option.heading;
            write!(text, "\n{heading}:\n").expect("a String takes everything");
        }
        explain(&mut text, option);
    }
    text.push_str(HELP_END);
    text
}

/// Appends what there is to know about one option.
fn explain(text: &mut String, option: &Opt) {
    let repeated = if option.repeatable { " (repeatable)" } else { "" };
    writeln!(text, "  {}{repeated}", option.synopsis()).expect("a String takes everything");
    wrap(text, option.help);
    wrap(text, &format!("[default: {}]", option.default_shown()));
    wrap(text, &format!("[env: {}]", option.env_name()));
}

/// The table of flags in `docs/CONFIGURATION.md`, as Markdown: two lines of heading, then a row for
/// each option.
pub fn flags_table() -> String {
    let mut text = String::from("| flag | default | meaning |\n|---|---|---|\n");
    for option in OPTIONS {
        // A bare bar would begin the next cell, even within a code span.
        let synopsis = option.synopsis().replace('|', "\\|");
        let repeated = if option.repeatable { " (repeatable)" } else { "" };
        let default = match (option.default, option.default_words) {
            ("", words) => words.to_owned(),
            (text, "") => format!("`{}`", text.replace(',', "`, `")),
            (text, words) => format!("`{text}`, {words}"),
        };
        let help = option.help.replace('*', "`*`");
        writeln!(text, "| `{synopsis}`{repeated} | {default} | {help} |")
            .expect("a String takes everything");
    }
    text
}

/// Appends `sentences` in lines of at most [`HELP_COLUMNS`], indented.
fn wrap(text: &mut String, sentences: &str) {
    let mut column = 0;
    for word in sentences.split(' ') {
        if column > 0 && column + 1 + word.chars().count() > HELP_COLUMNS {
            text.push('\n');
            column = 0;
        }
        let before = if column == 0 { HELP_INDENT } else { " " };
        text.push_str(before);
        text.push_str(word);
        column += before.len() + word.chars().count();
    }
    text.push('\n');
}

/// Where in the line of `--help` the explanations begin.
const HELP_INDENT: &str = "          ";

/// The longest line of `--help`.
const HELP_COLUMNS: usize = 80;

const HELP_USAGE: &str = "\
elbow serves a page behind an AWS load balancer, upgrades to WebSocket or
Socket.IO, and broadcasts every message to everyone in the channel.

Usage:
  elbow [OPTIONS]             run the server
  elbow check [OPTIONS]       print every effective value with its origin,
                              the memory ceiling and the capacity; exit 0, or 78
  elbow health [--url URL]    probe a running server; exit 0 or 1
  elbow token --key hs256:FILE …
                              print a token for tests and scripts
  elbow doctor [--url URL] [--json]
                              say what is wrong with a running server, and what
                              mends it; exit 0, 1 with findings, 2 cannot ask
  elbow doctor --aws [OPTIONS]
                              print the aws commands that ask the balancer, and
                              what they have to answer for these options
  elbow top [--url URL]       show what goes on in a running server, each second
  elbow --help | --version

Every option is also a variable. A flag wins over its variable, a variable over
a preset (--lb), a preset over the default; an empty variable is as if unset.
Lists are separated by commas. Sizes read 4096, 64KiB, 1MiB, 1GiB; durations
250ms, 25s, 2m, 1h.
";

const HELP_END: &str = "
Health:
  --url URL
          http://HOST:PORT/PATH, where HOST is an IP address or localhost.
          Without it ELBOW_HEALTH_LISTEN, then ELBOW_LISTEN, then port 3000 on
          the loopback address is asked for /healthz. It has 2 seconds.

Token:
  --key hs256:FILE [--subject TEXT] [--join NAME,…] [--say NAME,…]
  [--expires DUR] [--audience TEXT] [--issuer TEXT]
          A token that is signed with the secret in FILE, for an hour unless
          told otherwise. Names are those of channels; a * at the end of one
          stands for whatever follows. Without --say its bearer may speak
          where it may join.

Doctor and top:
  --url URL
          http://HOST:PORT or unix:SOCKET of --admin-listen. Without it
          ELBOW_ADMIN_LISTEN is asked.
  --admin-token-file PATH
          The token, if the listener wants one. Without it
          ELBOW_ADMIN_TOKEN_FILE, then ELBOW_ADMIN_TOKEN, then systemd's
          credential admin-token.
  --aws
          Asks nobody: it prints commands for a CLB, NLB or ALB by --lb. The
          options and variables are those of the server.

Examples:
  elbow
          The built-in chat page on http://localhost:3000.
  elbow --lb nlb --health-listen 0.0.0.0:3001 --www ./public
          Behind a Network Load Balancer with proxy protocol v2.
  elbow --lb alb --proxy-trust 10.20.0.0/16
          Behind an Application Load Balancer of the subnet 10.20.0.0/16.
  elbow --token-key hs256:/run/secrets/token
          Only who shows a token that is signed with the secret comes in.
  ELBOW_LB=clb elbow check --max-connections 10000
          What would hold behind a Classic Load Balancer, without running it.

Exit codes: 0; 1 a probe failed, or there are findings; 2 a value that cannot be
read, or a server that cannot be asked; 78 values that contradict each other or
the machine.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_a_narrow_terminal() {
        for line in help().lines() {
            assert!(line.chars().count() <= HELP_COLUMNS, "{line}");
        }
    }

    #[test]
    fn a_row_of_the_table_has_three_cells() {
        for row in flags_table().lines() {
            assert_eq!(row.replace("\\|", "").matches('|').count(), 4, "{row}");
        }
    }
}
