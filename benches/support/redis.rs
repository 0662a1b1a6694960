//! A redis-server of the bench's own, on a Unix socket in a folder that goes with it, and what it
//! says of itself.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::{clock, process, roles, say};

/// How long it may take to start, or to end.
const PATIENCE_NS: u64 = 10_000_000_000;

/// Runs until this is dropped. Nothing is written to disk but by [`Redis::leave`].
pub(crate) struct Redis {
    child: Child,
    folder: PathBuf,
}

/// What it has used and done so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// Bytes that its allocator has handed out (`used_memory`).
    pub(crate) memory_bytes: u64,
    /// CPU time of all its threads.
    pub(crate) cpu_ns: u64,
    /// Entries that were added to streams.
    pub(crate) entries: u64,
}

impl Redis {
    /// An empty one.
    pub(crate) fn start() -> Redis {
        let name = format!("elbow-bench-redis-{}-{}", std::process::id(), clock::now_ns());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap_or_else(|error| say::fail(&format!("{error}")));
        let child = spawn(&folder);
        let redis = Redis { child, folder };
        redis.wait_until_ready();
        redis
    }

    /// The path of its socket.
    pub(crate) fn socket(&self) -> String {
        self.folder.join("redis.sock").display().to_string()
    }

    /// Ends it; what it knew is kept in a file for [`Redis::come_back`].
    pub(crate) fn leave(&mut self) {
        // Redis ends instead of answering.
        let _ = self.ask("SHUTDOWN SAVE");
        let begun_ns = clock::now_ns();
        while let Ok(None) = self.child.try_wait() {
            if clock::now_ns() - begun_ns > PATIENCE_NS {
                say::fail("redis-server does not end");
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// Starts it again with what it knew, and returns when it answers: the time at that moment.
    pub(crate) fn come_back(&mut self) -> u64 {
        self.child = spawn(&self.folder);
        self.wait_until_ready();
        clock::now_ns()
    }

    /// What it has used so far.
    pub(crate) fn used(&self) -> Used {
        let memory = self.info("memory");
        let commands = self.info("commandstats");
        Used {
            memory_bytes: number_behind(&memory, "used_memory:").unwrap_or(0),
            cpu_ns: process::cpu_ns(self.child.id()),
            entries: number_behind(&commands, "cmdstat_xadd:calls=").unwrap_or(0),
        }
    }

    /// The version of the server.
    pub(crate) fn version(&self) -> String {
        let text = self.info("server");
        let line = text.lines().find_map(|line| line.strip_prefix("redis_version:"));
        line.unwrap_or("unknown").to_owned()
    }

    fn info(&self, section: &str) -> String {
        self.ask(&format!("INFO {section}")).unwrap_or_else(|| say::fail("Redis does not answer"))
    }

    fn wait_until_ready(&self) {
        let begun_ns = clock::now_ns();
        while self.ask("PING").is_none_or(|answer| answer != "+PONG") {
            if clock::now_ns() - begun_ns > PATIENCE_NS {
                say::fail("redis-server does not answer");
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Asks one command as a line; a bulk string's text, else the line of the answer.
    fn ask(&self, command: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.folder.join("redis.sock")).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some(length) = line.strip_prefix('$') else { return Some(line.trim_end().to_owned()) };
        let mut bytes = vec![0; length.trim_end().parse().ok()?];
        stream.read_exact(&mut bytes).ok()?;
        String::from_utf8(bytes).ok()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself, and its folder is in the place for what nobody keeps.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn spawn(folder: &PathBuf) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(folder);
    let mut command = roles::bound(&command);
    // The socket's path is relative to where it is started, the dump's to --dir.
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap_or_else(|error| say::fail(&format!("redis-server: {error}")))
}

fn number_behind(text: &str, begin: &str) -> Option<u64> {
    let (_, rest) = text.split_once(begin)?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}
