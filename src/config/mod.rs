//! What the operator wants: from flags and variables to a [`Config`] that the rest can rely on.
//!
//! A value is text from one of four mouths, in this order: flag, variable, preset (`--lb`),
//! default. Each text is parsed on its own first; what cannot be read ends with exit code 2. Then
//! the values are held against each other and against the [`Machine`]; a contradiction ends with
//! 78. Either way the operator gets one line, which names the option, its value and what is
//! allowed. What comes out is consistent: nothing below checks it again.
//!
//! The table of options is in `options.rs`, the kinds of values in `value.rs` and `words.rs`, what
//! values mean together in `asked.rs` and `contradictions.rs`, the print-out of `elbow check` in
//! `report.rs`, help in `help.rs`, the target of `elbow health` in `health.rs`. Nothing here opens
//! a file or a socket, or asks the system for anything but its environment; limits on descriptors
//! and memory are arguments.
//!
//! The surprise: defaults are text too, parsed like everybody's, so that what help says is what
//! holds. Those that depend on other values are adjusted afterwards, and are then called derived.

use core::net::SocketAddr;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::error::ErrorKind;
use log::LevelFilter;

use crate::settings::Settings;
use crate::text::{cut, visible};

mod asked;
mod contradictions;
mod health;
mod help;
mod options;
mod report;
mod value;
mod words;

pub use health::{HEALTH_LIMIT, HealthUrl};
pub use help::{flags_table, help};
pub use options::{OPTIONS, Opt};
pub use report::Shown;
pub use words::{IoUring, Lb};

use asked::Asked;

/// Which command was given, ready to be carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Run the server.
    Run(Box<Config>),
    /// Print [`Config::report`].
    Check(Box<Config>),
    /// Probe a running server.
    Health(HealthUrl),
    /// Print this to standard output and exit with 0: help, or the version.
    Print(String),
}

/// Why there is no [`Command`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// 2 for what cannot be read, 78 for what contradicts itself or the machine.
    pub exit_code: u8,
    /// What to tell the operator: one line, without a line break, foreign text escaped.
    pub line: String,
}

impl Failure {
    /// A text that cannot be read as a value of `option` (a flag, or a variable).
    fn bad_value(option: &str, text: &str, allowed: &str) -> Failure {
        Failure {
            exit_code: 2,
            line: format!("{option}: bad value {}: {allowed}", value::quoted(text)),
        }
    }

    fn contradiction(line: String) -> Failure {
        Failure { exit_code: 78, line }
    }

    /// Clap's several lines as one: what is wrong, and its suggestion if it has any.
    fn command_line(error: &clap::Error) -> Failure {
        let rendered = error.to_string();
        let mut lines = rendered.lines().map(str::trim);
        let wrong = lines.next().unwrap_or_default().trim_start_matches("error: ");
        let tips = lines.filter_map(|line| line.strip_prefix("tip: "));
        // Each of them may repeat what was given, of whatever length.
        let parts = std::iter::once(wrong).chain(tips).map(|part| match cut(part) {
            whole if whole.len() == part.len() => visible(whole).to_string(),
            begin => format!("{}…", visible(begin)),
        });
        Failure { exit_code: 2, line: parts.collect::<Vec<_>>().join("; ") }
    }
}

/// What the machine offers, read by the shell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// The hard limit on descriptors; `u64::MAX` if there is none.
    pub descriptors_hard: u64,
    /// The control group's memory or the machine's, whichever is less; `None` if unknown.
    pub memory_bytes: Option<u64>,
    /// Listening sockets were handed over by systemd (`LISTEN_FDS`).
    pub activated_sockets: bool,
}

/// Who a value comes from; an earlier one wins over a later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The command line.
    Flag,
    /// A variable `ELBOW_…`.
    Env,
    /// `--lb`.
    Preset,
    /// The default, adjusted to other values or to the machine.
    Derived,
    /// The default as it stands.
    Default,
}

impl Origin {
    /// As `elbow check` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Flag => "flag",
            Origin::Env => "env",
            Origin::Preset => "preset",
            Origin::Derived => "derived",
            Origin::Default => "default",
        }
    }
}

/// Everything that was decided, consistent with itself and with the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// What the server is told at birth.
    pub settings: Settings,
    /// Public listeners, 1 to 8, of which no two are in each other's way. Not used if sockets were
    /// handed over.
    pub listen: Vec<SocketAddr>,
    /// The listener for health probes only.
    pub health_listen: Option<SocketAddr>,
    /// Files to serve instead of the built-in page; whether they can be read is not known yet.
    pub www: Option<PathBuf>,
    /// Whether many sends are one system call.
    pub io_uring: IoUring,
    /// The least important level that is logged.
    pub log_level: LevelFilter,
    /// The balancer in front.
    pub lb: Lb,
    /// Every option with its effective value, in the order of [`OPTIONS`].
    pub values: Vec<Shown>,
}

/// Reads a command line (its first item is the program's name) and the environment.
///
/// # Errors
/// One line and an exit code if something cannot be read or contradicts something else.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<String>,
    machine: &Machine,
) -> Result<Command, Failure> {
    let matches = match options::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if asks_to_print(&error) => return Ok(Command::Print(error.to_string())),
        Err(error) => return Err(Failure::command_line(&error)),
    };
    match matches.subcommand() {
        Some(("health", matches)) => match matches.get_one::<String>(options::URL) {
            Some(text) => HealthUrl::parse(text)
                .map(Command::Health)
                .map_err(|allowed| Failure::bad_value("--url", text, &allowed)),
            None => HealthUrl::derive(env).map(Command::Health),
        },
        Some((_check, matches)) => {
            Ok(Command::Check(Box::new(Asked::read(&Reader { matches, env })?.settle(machine)?)))
        }
        None => {
            let reader = Reader { matches: &matches, env };
            Ok(Command::Run(Box::new(Asked::read(&reader)?.settle(machine)?)))
        }
    }
}

fn asks_to_print(error: &clap::Error) -> bool {
    matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

/// The process's own environment, for [`parse`]. What is not UTF-8 is shown with replacement
/// characters, which no kind of value but a folder's name takes.
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|text| text.to_string_lossy().into_owned())
}

/// A value and who it comes from.
struct Found<T> {
    value: T,
    origin: Origin,
}

/// The mouths that values come from, save the machine.
struct Reader<'a, E> {
    matches: &'a ArgMatches,
    env: E,
}

impl<E: Fn(&str) -> Option<String>> Reader<'_, E> {
    /// The text of the flag, or else of the variable unless that is empty.
    fn spoken(&self, option: &Opt) -> Option<Found<String>> {
        let flags = self.matches.get_many::<String>(option.name);
        if let Some(texts) = flags {
            let text = texts.map(String::as_str).collect::<Vec<_>>().join(",");
            return Some(Found { value: text, origin: Origin::Flag });
        }
        let text = (self.env)(&option.env_name())?;
        let empty = text.trim().is_empty();
        (!empty).then_some(Found { value: text, origin: Origin::Env })
    }

    /// The value that holds, by precedence.
    fn read<T>(
        &self,
        option: &Opt,
        preset: Option<&str>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Found<T>, Failure> {
        let preset = preset.map(|text| Found { value: text.to_owned(), origin: Origin::Preset });
        let default = || Found { value: option.default.to_owned(), origin: Origin::Default };
        let Found { value: text, origin } = self.spoken(option).or(preset).unwrap_or_else(default);
        let value = parse(text.trim()).map_err(|allowed| {
            let name = match origin {
                Origin::Env => option.env_name(),
                Origin::Flag | Origin::Preset | Origin::Derived | Origin::Default => option.flag(),
            };
            Failure::bad_value(&name, &text, &allowed)
        })?;
        Ok(Found { value, origin })
    }

    /// The same for an option without which there is no value.
    fn read_if_given<T>(
        &self,
        option: &Opt,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Found<Option<T>>, Failure> {
        match self.spoken(option) {
            Some(_) => {
                let Found { value, origin } = self.read(option, None, parse)?;
                Ok(Found { value: Some(value), origin })
            }
            None => Ok(Found { value: None, origin: Origin::Default }),
        }
    }
}
