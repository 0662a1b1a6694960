//! What the operator wants: from flags and variables to a [`Config`] that the rest can rely on.
//!
//! A value is a text from one of four sources, in this order: flag, variable, preset (`--lb`),
//! default. Each text is parsed on its own first; what cannot be read ends with exit code 2. Then
//! the values are held against each other and against the [`Machine`]; a contradiction ends with
//! 78. Either way the operator gets one line, which names the option, its value and what is
//! allowed. What comes out is consistent: nothing below checks it again.
//!
//! ```text
//! manual, completions  the manual page; what shells complete
//! commands             the commands and their flags, for readers
//! command_line         what may be typed
//! report               what `elbow check` prints
//! settled              from the texts of all options to the whole
//! contradictions       what cannot hold together
//! derived              defaults that depend on others
//! fit                  limits that fit into the machine
//! help                 the table for readers
//! health, asked        whom `elbow health` asks; whom `elbow doctor` and `elbow top` do
//! token_order          what `elbow token` is to make
//! options              the table: one row for each option
//! row                  what a row makes: a value, and who it comes from
//! value, words         the kinds of values
//! redis                the Redis that instances share: its URL, its password
//! listen               where sockets are, which is a kind of value too
//! token                where the admin token comes from
//! kind                 what every kind is
//! option               what readers know of an option
//! failure, machine     what an operator is told; what the machine offers
//! ```
//!
//! A file knows only what stands below it. A new option is a row in `options.rs`, and a use of its
//! value in `settled.rs`. Nothing here opens a file or a socket, or asks the system for anything
//! but its environment; limits on descriptors and memory are arguments.
//!
//! The surprise: defaults are text too, parsed like everybody's, so that what help says is what
//! holds. Those that depend on other values are adjusted afterwards, and are then called derived.

use std::ffi::OsString;

use clap::error::ErrorKind;

mod asked;
mod command_line;
mod commands;
mod completions;
mod contradictions;
mod derived;
mod failure;
mod fit;
mod health;
mod help;
mod kind;
mod listen;
mod machine;
mod manual;
mod option;
mod options;
mod redis;
mod report;
mod row;
mod settled;
mod token;
mod token_order;
mod value;
mod words;

pub use asked::Asked;
pub use completions::{bash_completions, fish_completions, zsh_completions};
pub use failure::Failure;
pub use health::{HEALTH_LIMIT, HealthUrl};
pub use help::{flags_table, help};
pub use listen::{Endpoint, Listen};
pub use machine::{Activated, Machine};
pub use manual::manual;
pub use option::Opt;
pub use options::OPTIONS;
pub use redis::{
    HAS_TLS, PASSWORD_VARIABLE, PasswordSource, Redis, RedisHost, RedisServer, RedisUrl,
};
pub use row::{Shown, ValueSource};
pub use settled::Config;
pub use token::{CREDENTIALS_VARIABLE, TOKEN_CREDENTIAL, TOKEN_VARIABLE, TokenSource};
pub use token_order::TokenOrder;
pub use value::KeyFile;
pub use words::{IoUring, Lb};

/// Which command was given, ready to be carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Run the server.
    Run(Box<Config>),
    /// Print [`Config::report`].
    Check(Box<Config>),
    /// Probe a running server.
    Health(HealthUrl),
    /// Print a token.
    Token(Box<TokenOrder>),
    /// Ask a running server what is wrong with it.
    Doctor {
        /// Whom to ask.
        asked: Asked,
        /// Whether to answer in JSON.
        json: bool,
    },
    /// Print the commands that ask AWS for the balancer's side.
    DoctorAws(Box<Config>),
    /// Show what goes on in a running server, again and again.
    Top(Asked),
    /// Print this to standard output and exit with 0: help, or the version.
    Print(String),
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
    let matches = match command_line::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if asks_to_print(&error) => return Ok(Command::Print(error.to_string())),
        Err(error) => return Err(Failure::command_line(&error)),
    };
    match matches.subcommand() {
        Some(("health", matches)) => match matches.get_one::<String>(command_line::URL) {
            Some(text) => HealthUrl::parse(text)
                .map(Command::Health)
                .map_err(|allowed| Failure::bad_value("--url", text, &allowed)),
            None => HealthUrl::derive(env).map(Command::Health),
        },
        Some(("token", matches)) => Ok(Command::Token(Box::new(TokenOrder::read(matches)?))),
        Some(("doctor", matches)) if matches.contains_id(command_line::AWS) => {
            // The server may run on another machine than the one where its balancer is asked about.
            let machine = Machine { descriptors_hard: u64::MAX, ..*machine };
            Ok(Command::DoctorAws(Box::new(Config::read(matches, &env, &machine)?)))
        }
        Some(("doctor", matches)) => {
            command_line::refuse_stray_options(matches)?;
            let asked = Asked::read(matches, &env, machine)?;
            Ok(Command::Doctor { asked, json: matches.get_flag(command_line::JSON) })
        }
        Some(("top", matches)) => Asked::read(matches, &env, machine).map(Command::Top),
        Some((_check, matches)) => {
            Ok(Command::Check(Box::new(Config::read(matches, &env, machine)?)))
        }
        None => Ok(Command::Run(Box::new(Config::read(&matches, &env, machine)?))),
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
