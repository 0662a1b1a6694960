//! The binary: the command line, with the shell to run the server in.

use std::process::ExitCode;

use elbow::cli::Readers;
use elbow::{cli, shell};

fn main() -> ExitCode {
    let readers = Readers { admin_token: shell::admin_token, keys: shell::keys };
    cli::main(shell::machine(), readers, shell::run)
}
