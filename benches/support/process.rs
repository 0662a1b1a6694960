//! A server as a child process: started on a port of 127.0.0.1, asked for its CPU time and memory,
//! killed at the end.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::{clock, roles, say};

/// How long a server may take until it accepts.
const START_LIMIT_NS: u64 = 20_000_000_000;

/// A server that runs until this is dropped.
pub(crate) struct Process {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What it is the proxy of: a part of what is measured.
    behind: Option<Box<Process>>,
}

impl Process {
    /// elbow: this build's, or the one at `path`. As quiet as the bare loops beside it, otherwise
    /// with its defaults.
    pub(crate) fn elbow(path: &PathBuf, more: &[&str]) -> Process {
        let address = free_address();
        let mut command = Command::new(path);
        command.args(["--listen", &address.to_string(), "--log-level", "warn"]).args(more);
        Process::start(command, address)
    }

    /// The bare loop, or its twin that sends what one turn has received in a single call.
    pub(crate) fn floor(coalesce: bool) -> Process {
        let address = free_address();
        let role = if coalesce { "floor-coalesce" } else { "floor" };
        Process::start(roles::again(role, &[&address.port().to_string()]), address)
    }

    /// Starts `command`, which is to listen on `address`, and waits until it does.
    pub(crate) fn start(command: Command, address: SocketAddr) -> Process {
        let mut command = roles::bound(&command);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command
            .spawn()
            .unwrap_or_else(|error| say::fail(&format!("cannot start {command:?}: {error}")));
        let mut process = Process { child, address, behind: None };
        let begun_ns = clock::now_ns();
        while TcpStream::connect(address).is_err() {
            if let Ok(Some(status)) = process.child.try_wait() {
                say::fail(&format!("{command:?} has ended with {status}"));
            }
            if clock::now_ns() - begun_ns > START_LIMIT_NS {
                say::fail(&format!("{command:?} does not listen on {address}"));
            }
            sleep(Duration::from_millis(2));
        }
        process
    }

    /// The process with `server` behind it, which is measured with it.
    pub(crate) fn before(mut self, server: Process) -> Process {
        self.behind = Some(Box::new(server));
        self
    }

    /// The system's number of it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of all its threads so far. The kernel brings it up to date when a thread goes to
    /// sleep, so it is exact for a server that waits.
    pub(crate) fn cpu_ns(&self) -> u64 {
        cpu_ns(self.id()) + self.behind.as_ref().map_or(0, |behind| behind.cpu_ns())
    }

    /// Resident memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        let own = number.and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib * 1024);
        own + self.behind.as_ref().map_or(0, |behind| behind.resident_bytes())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of all threads of a process so far, user and kernel.
pub(crate) fn cpu_ns(process: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return 0 };
    let time = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    threads.flatten().filter_map(time).sum()
}

/// An address that was free a moment ago. Nobody else binds ports without a name here.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener
        .and_then(|listener| listener.local_addr())
        .unwrap_or_else(|error| say::fail(&format!("no free port: {error}")))
}
