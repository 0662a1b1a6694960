//! The bench's end of the pipe to a load generator.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::super::{process, roles, say};
use super::{Outcome, Run, Setup};

/// A load generator as a child process. Its connections live as long as this does.
pub(crate) struct Driver {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Driver {
    /// One that has no connections yet.
    pub(crate) fn start() -> Driver {
        let mut command = roles::again("load", &[]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| say::fail(&format!("cannot start the load: {error}")));
        let to = child.stdin.take().expect("it was piped");
        let from = BufReader::new(child.stdout.take().expect("it was piped"));
        Driver { child, to, from }
    }

    /// Connects them all, and returns when each is known to hear what is published.
    pub(crate) fn open(&mut self, setup: &Setup) {
        self.ask(&format!("open {setup}"));
    }

    /// Publishes, and returns when all has arrived.
    pub(crate) fn run(&mut self, run: Run) -> Outcome {
        self.begin(run);
        self.end()
    }

    /// Publishes, and returns at once; [`Driver::end`] waits.
    pub(crate) fn begin(&mut self, run: Run) {
        self.tell(&format!("run {run}"));
    }

    /// What came of the run that was begun.
    pub(crate) fn end(&mut self) -> Outcome {
        let answer = self.hear();
        let words: Vec<&str> = answer.split_whitespace().collect();
        Outcome::from_words(&words)
            .unwrap_or_else(|| say::fail(&format!("the load answered {answer:?}")))
    }

    /// Reads no more from the last `count` readers; they no longer count for any run.
    pub(crate) fn stop(&mut self, count: usize) {
        self.ask(&format!("stop {count}"));
    }

    /// How many of the stopped ones were closed by the server.
    pub(crate) fn stopped_and_closed(&mut self) -> usize {
        self.ask("closed").parse().unwrap_or(0)
    }

    /// Connects, upgrades and closes `count` times, `together` at a time; nanoseconds in all.
    pub(crate) fn handshakes(&mut self, setup: &Setup, count: usize, together: usize) -> u64 {
        self.ask(&format!("handshakes {count} {together} {setup}")).parse().unwrap_or(0)
    }

    /// CPU time of the load itself.
    pub(crate) fn cpu_ns(&self) -> u64 {
        process::cpu_ns(self.child.id())
    }

    fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.hear()
    }

    fn tell(&mut self, line: &str) {
        if let Err(error) = writeln!(self.to, "{line}") {
            say::fail(&format!("the load is gone: {error}"));
        }
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        match self.from.read_line(&mut line) {
            Ok(count) if count > 0 => {}
            Ok(_) | Err(_) => say::fail("the load is gone"),
        }
        let Some(answer) = line.strip_prefix("ok") else {
            say::fail(&format!("load: {}", line.trim_end()));
        };
        answer.trim().to_owned()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
