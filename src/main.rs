//! The binary: the command line, with the shell to run the server in.

use std::process::ExitCode;

use elbow::{cli, shell};

fn main() -> ExitCode {
    cli::main(shell::machine(), shell::admin_token, shell::run)
}
