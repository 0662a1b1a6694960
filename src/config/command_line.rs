//! The command line as clap reads it: commands, and the flags of each.
//!
//! Made from the table of options, so that no flag is known to one of the two only.
//!
//! The surprise: clap renders no help; `help.rs` does.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::failure::Failure;
use super::help::help;
use super::options::OPTIONS;
use super::token_order::TokenOrder;

/// The option of `elbow health`, `doctor` and `top`; no variable speaks for it.
pub(super) const URL: &str = "url";
/// The option of `elbow doctor` for an answer in JSON.
pub(super) const JSON: &str = "json";
/// The option of `elbow doctor` for the balancer's side; the options of the server go with it.
pub(super) const AWS: &str = "aws";
/// The option of `elbow doctor` and `top` for a file with the token.
pub(super) const TOKEN_FILE: &str = "admin-token-file";

/// Looks for an option of the server that was given to `elbow doctor` without `--aws`. The file
/// with the token alone has a meaning there.
///
/// # Errors
/// The first such option.
pub(super) fn refuse_stray_options(matches: &ArgMatches) -> Result<(), Failure> {
    let mut others = OPTIONS.into_iter().filter(|option| option.name != TOKEN_FILE);
    match others.find(|option| matches.contains_id(option.name)) {
        Some(option) => Err(Failure::stray(&option.flag(), "--aws")),
        None => Ok(()),
    }
}

/// Everything that may be typed.
pub(super) fn command() -> Command {
    let options = || OPTIONS.into_iter().map(|option| option.argument());
    let url = || Arg::new(URL).long(URL).value_name("URL");
    let token = || Arg::new(TOKEN_FILE).long(TOKEN_FILE).value_name("PATH");
    let json = Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).conflicts_with(AWS);
    // A flag that is set to true or false would always be there.
    let aws = Arg::new(AWS).long(AWS).action(ArgAction::Set).num_args(0);
    let aws = aws.default_missing_value("on");
    let check = Command::new("check").args(options()).override_help(help());
    let health = Command::new("health").arg(url()).override_help(help());
    // Too many to be told again; the meaning of --aws says that they are taken.
    let beside_aws = options().map(|option| {
        let is_told = option.get_id() == TOKEN_FILE;
        option.hide(!is_told)
    });
    let doctor = Command::new("doctor")
        .args([url().conflicts_with(AWS), json, aws])
        .args(beside_aws)
        .override_help(help());
    let top = Command::new("top").args([url(), token()]).override_help(help());
    Command::new("elbow")
        .version(env!("CARGO_PKG_VERSION"))
        .args(options())
        .args_conflicts_with_subcommands(true)
        .subcommand(check)
        .subcommands([health, doctor, top, TokenOrder::command()])
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
