//! The parts that a bench plays when it has started itself again.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};
use socket2::{Domain, Protocol, Socket, Type};

use super::{floor, load, say};

/// The first argument of a child process; what follows is the part's own.
const ROLE: &str = "--role";
/// The descriptor that `sd_listen_fds(3)` begins with: the first that is free in a new process.
const FIRST_HANDED_OVER: RawFd = 3;

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
            ["share-port", port, program, ref arguments @ ..] => {
                share_port(port, Command::new(program).args(arguments))
            }
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

/// Becomes `command`, with a listening socket whose port others may listen on as well, handed over
/// as systemd does with `ReusePort=`.
fn share_port(port: &str, command: &mut Command) -> ! {
    let bind = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_port(true)?;
        let port = port.parse().map_err(io::Error::other)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.listen(4096)?;
        socket.set_cloexec(false)?;
        Ok(socket)
    };
    let socket = bind().unwrap_or_else(|error: io::Error| say::fail(&format!("bind: {error}")));
    if socket.as_raw_fd() != FIRST_HANDED_OVER {
        say::fail("descriptors are open that nobody has opened here");
    }
    let own = std::process::id().to_string();
    let error = command.env("LISTEN_FDS", "1").env("LISTEN_PID", own).exec();
    say::fail(&format!("cannot start {command:?}: {error}"));
}
