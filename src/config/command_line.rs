//! The command line as clap reads it: commands, and the flags of each.
//!
//! Made from the table of options, so that no flag is known to one of the two only.
//!
//! The surprise: clap renders no help; `help.rs` does.

use clap::{Arg, Command};

use super::help::help;
use super::options::OPTIONS;
use super::token::TokenOrder;

/// The option of `elbow health`; no variable speaks for it.
pub(super) const URL: &str = "url";

/// Everything that may be typed.
pub(super) fn command() -> Command {
    let options = || OPTIONS.into_iter().map(|option| option.argument());
    let url = Arg::new(URL).long(URL).value_name("URL");
    let check = Command::new("check").args(options()).override_help(help());
    let health = Command::new("health").arg(url).override_help(help());
    Command::new("elbow")
        .version(env!("CARGO_PKG_VERSION"))
        .args(options())
        .args_conflicts_with_subcommands(true)
        .subcommand(check)
        .subcommand(health)
        .subcommand(TokenOrder::command())
        .override_help(help())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_makes_a_sound_command_line() {
        command().debug_assert();
    }
}
