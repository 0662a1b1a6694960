//! The parts that a bench plays when it has started itself again.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

use super::{floor, load, say};

/// The first argument of a child process; what follows is the part's own.
const ROLE: &str = "--role";

/// This executable again, as `role`.
pub(crate) fn again(role: &str, arguments: &[&str]) -> Command {
    let bench = std::env::current_exe()
        .unwrap_or_else(|error| say::fail(&format!("cannot find this bench: {error}")));
    let mut command = Command::new(bench);
    command.arg(ROLE).arg(role).args(arguments);
    command
}

/// A process that becomes `command`, and ends with this one however that ends.
pub(crate) fn bound(command: &Command) -> Command {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let mut bound = again("become", &[]);
    bound.args(words);
    bound
}

/// Plays a part, if that is what this process was started for, and ends it. Otherwise the
/// arguments, without what cargo adds; `None` if it is `cargo test` that runs the bench.
pub(crate) fn play() -> Option<Vec<String>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == ROLE) {
        // A bench that was killed must not leave a server behind.
        set_parent_process_death_signal(Some(Signal::KILL))
            .unwrap_or_else(|error| say::fail(&format!("prctl: {error}")));
        let rest: Vec<&str> = arguments[1..].iter().map(String::as_str).collect();
        match rest[..] {
            ["load"] => load::serve(),
            ["floor", port] => floor::serve(port, false),
            ["floor-coalesce", port] => floor::serve(port, true),
            // What was asked of the system above outlives `exec`.
            ["become", program, ref arguments @ ..] => {
                let error = Command::new(program).args(arguments).exec();
                say::fail(&format!("cannot start {program}: {error}"));
            }
            _ => say::fail("no such role"),
        }
    }
    let asked = arguments.iter().any(|argument| argument == "--bench");
    arguments.retain(|argument| argument != "--bench");
    asked.then_some(arguments)
}
