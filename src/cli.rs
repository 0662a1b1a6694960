//! Which command was given, carried out: run, `check`, `health`, `token`, or printing help.
//!
//! Deals with what is left once `config` has read the command line: printing, probing a running
//! server, the exit code. Running the server is the shell's, handed in as a function, so that this
//! file knows no event loop.
//!
//! The surprise: everything is written with its errors ignored. Somebody reads this output through
//! `head`, or has closed it; neither is a reason to panic or to change the exit code. And this is
//! the one place outside of the shell that opens files and sockets and reads the clock: a probe and
//! a token are made in a process that runs no server.

use core::fmt;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::{self, Command, Config, Endpoint, HealthUrl, Machine, TokenOrder};
use crate::keys::{self, Keys};
use crate::text::{Composed, Line, shown, shown_text};

/// Exit code for values that contradict each other, or the machine (`EX_CONFIG` of sysexits).
const EXIT_CONTRADICTION: u8 = 78;

/// The most bytes of the line that says what is wrong.
const LINE_BYTES_MAX: usize = 2048;

/// The most bytes that are read of the answer to a probe; its status line is at the beginning.
const ANSWER_BYTES_MAX: usize = 512;

/// The most bytes that are read of a file of keys.
const KEY_BYTES_MAX: u64 = 64 * 1024;

/// Carries out the command line of this process. `run` is called for the command that runs the
/// server, and for no other; it returns the exit code when the server has stopped.
pub fn main(machine: Machine, run: impl FnOnce(Config, Machine) -> u8) -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let args = std::env::args_os();
    ExitCode::from(execute(args, config::environment, machine, run, &mut out, &mut err))
}

/// Carries out the command line `args`, with variables from `env`, and writes to `out` and `err`.
/// Returns the exit code: 0, what `run` returned, 1 for a probe that failed, 2 for a command line
/// that cannot be read, 78 for values that contradict each other or the machine.
pub fn execute(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<String>,
    machine: Machine,
    run: impl FnOnce(Config, Machine) -> u8,
    out: &mut impl Write,
    err: &mut impl Write,
) -> u8 {
    match config::parse(args, env, &machine) {
        Ok(Command::Run(config)) => run(*config, machine),
        Ok(Command::Check(config)) => check(&config, &machine, out, err),
        Ok(Command::Health(url)) => match probe(&url) {
            Ok(()) => 0,
            Err(why) => {
                let (path, mark) =
                    url.path.split_once('?').map_or((&*url.path, ""), |(p, _)| (p, "?"));
                let scheme = match url.address {
                    Endpoint::Ip(_) => "http://",
                    Endpoint::Unix(_) => "",
                };
                let whom = format_args!("{scheme}{}{path}{mark}", url.address);
                complain(err, format_args!("{whom}: {}", Composed(&why)));
                1
            }
        },
        Ok(Command::Token(order)) => make_token(&order, out, err),
        Ok(Command::Print(text)) => {
            say(out, &text);
            0
        }
        Err(failure) => {
            complain(err, format_args!("{}", Composed(&failure.line)));
            failure.exit_code
        }
    }
}

/// Carries out `elbow check`: prints the values that hold, and returns the exit code. A folder of
/// `--www` that does not exist is found only here, for reading the command line opens no file.
fn check(config: &Config, machine: &Machine, out: &mut impl Write, err: &mut impl Write) -> u8 {
    say(out, &config.report(machine));
    let paths = config.key_files.iter().map(|file| (file.kind, &*file.path));
    if let Err((number, error)) = Keys::load(paths, read_key) {
        let file = config.key_files[number].to_string();
        complain(err, format_args!("--token-key {}: {error}", Composed(&file)));
        return EXIT_CONTRADICTION;
    }
    let missing = config.www.as_ref().filter(|folder| !folder.is_dir());
    match missing {
        Some(folder) => {
            let folder = folder.display().to_string();
            let folder = shown_text(&folder);
            complain(err, format_args!("--www \"{folder}\": there is no such folder"));
            EXIT_CONTRADICTION
        }
        None => 0,
    }
}

/// Carries out `elbow token`: prints a token, and returns the exit code.
fn make_token(order: &TokenOrder, out: &mut impl Write, err: &mut impl Write) -> u8 {
    let secret = read_key(&order.key.path).map_err(|error| error.to_string());
    let token = secret.and_then(|secret| {
        let secret = secret.strip_suffix(b"\n").unwrap_or(&secret);
        keys::token(secret, &order.claims(now_s())).map_err(|error| error.to_string())
    });
    match token {
        Ok(token) => {
            say(out, &format!("{token}\n"));
            0
        }
        Err(error) => {
            let file = order.key.to_string();
            complain(err, format_args!("--key {}: {error}", Composed(&file)));
            EXIT_CONTRADICTION
        }
    }
}

/// Reads a file of keys, of which no more is wanted than the largest that is taken.
fn read_key(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(KEY_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a token is made outside of the core")]
fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Asks a running server whether it is well. Blocks for at most the limit in `url`, all steps
/// together.
///
/// # Errors
/// A line that says why the server is not well: nobody answers, the answer is late, or its status
/// is not 200.
pub fn probe(url: &HealthUrl) -> Result<(), String> {
    let deadline = Deadline::after(Duration::from_millis(url.limit.as_millis()));
    let answer = ask(url, &deadline).map_err(|error| {
        let late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        if late { format!("no answer within {}", url.limit) } else { error.to_string() }
    })?;
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    match line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 ")) {
        Some(status) if status == b"200" || status.starts_with(b"200 ") => Ok(()),
        Some(status) => Err(format!("answers {}", shown(status))),
        None if line.is_empty() => Err("closes without an answer".to_owned()),
        None => Err("answers something that is not HTTP".to_owned()),
    }
}

/// Sends the request and returns the beginning of the answer, as far as it was read when the status
/// line was whole, the peer closed, or the buffer was full.
fn ask(url: &HealthUrl, deadline: &Deadline) -> io::Result<Vec<u8>> {
    let (mut stream, host) = match &url.address {
        Endpoint::Ip(address) => {
            (TcpStream::connect_timeout(address, deadline.left()?)?.into(), address.to_string())
        }
        Endpoint::Unix(path) => (connect_unix(path, deadline)?, "localhost".to_owned()),
    };
    let path = &url.path;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.set_write_timeout(Some(deadline.left()?))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let mut filled = 0;
    while filled < answer.len() && !answer[..filled].contains(&b'\n') {
        stream.set_read_timeout(Some(deadline.left()?))?;
        match stream.read(&mut answer[filled..]) {
            Ok(0) => break,
            Ok(taken) => filled += taken,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    answer.truncate(filled);
    Ok(answer)
}

/// Connects to a Unix socket. One whose backlog is full is waited for until the deadline.
fn connect_unix(path: &Path, deadline: &Deadline) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The time to write is the time to connect, too (socket(7)).
    socket.set_write_timeout(Some(deadline.left()?))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// The instant at which a blocking probe gives up, by the real clock.
struct Deadline {
    begin: Instant,
    length: Duration,
}

impl Deadline {
    #[expect(clippy::disallowed_methods, reason = "a blocking client outside of the core")]
    fn after(length: Duration) -> Deadline {
        Deadline { begin: Instant::now(), length }
    }

    /// Time that is left; never zero, which a socket would take for no timeout at all. Once none is
    /// left, an error of kind `TimedOut`.
    fn left(&self) -> io::Result<Duration> {
        let left = self.length.checked_sub(self.begin.elapsed()).filter(|left| !left.is_zero());
        left.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

/// Writes to `to` what is wrong, in one line of at most `LINE_BYTES_MAX` bytes, whatever the
/// command line held.
fn complain(to: &mut impl Write, what: fmt::Arguments<'_>) {
    let line = Line::<LINE_BYTES_MAX>::new(format_args!("elbow: {what}"));
    say(to, &format!("{}\n", line.as_str()));
}

/// Writes all of `text`. Errors are ignored: a reader that is gone is no reason to fail.
fn say(to: &mut impl Write, text: &str) {
    let _ignored = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
