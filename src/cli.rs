//! Which command was given, carried out: run, `check`, `health`, `token`, `doctor`, `top`, or
//! printing help.
//!
//! Deals with what is left once `config` has read the command line: printing, probing a running
//! server, the exit code. Running the server is the shell's, handed in as a function, so that this
//! file knows no event loop.
//!
//! The surprise: everything is written with its errors ignored. Somebody reads this output through
//! `head`, or has closed it; neither is a reason to panic or to change the exit code. The secret
//! that `elbow token` signs with is read here, and may come through a pipe; everything else that is
//! secret is read by the shell, which `elbow check` is given for that.

use core::fmt;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use crate::client::{self, Deadline};
use crate::config::{
    self, Command, Config, Endpoint, HealthUrl, KeyFile, Machine, PasswordSource, TokenOrder,
};
use crate::doctor;
use crate::keys::{self, Loaded};
use crate::settings::AdminToken;
use crate::text::{Composed, Line, shown, shown_text};

/// Exit code for values that contradict each other, or the machine (`EX_CONFIG` of sysexits).
const EXIT_CONTRADICTION: u8 = 78;

/// Exit code of `elbow doctor` and `elbow top` when there is nobody to ask.
const EXIT_CANNOT_ASK: u8 = 2;

/// The most bytes of the line that says what is wrong.
const LINE_BYTES_MAX: usize = 2048;

/// The most bytes that are read of the answer to a probe; its status line is at the beginning.
const ANSWER_BYTES_MAX: usize = 512;

/// How the server reads files with secrets, for `elbow check`, which tells whether it could. Errors
/// are lines for the operator.
#[derive(Clone, Copy)]
pub struct Readers {
    /// Reads the token of the admin listener, if there is one.
    pub admin_token: fn(&Config) -> Result<Option<AdminToken>, String>,
    /// Reads the keys of tokens.
    pub keys: fn(&[KeyFile]) -> Result<Loaded, String>,
}

/// Carries out the command line of this process. `run` is called for the command that runs the
/// server, and for no other; it returns the exit code when the server has stopped.
pub fn main(
    machine: Machine,
    readers: Readers,
    run: impl FnOnce(Config, Machine) -> u8,
) -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let (args, env) = (std::env::args_os(), config::environment);
    ExitCode::from(execute(args, env, (machine, readers), run, &mut out, &mut err))
}

/// Carries out the command line `args`, with variables from `env`, and writes to `out` and `err`.
/// Returns the exit code: 0, what `run` returned, 1 for a probe that failed, 2 for a command line
/// that cannot be read, 78 for values that contradict each other or the machine.
pub fn execute(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<String>,
    (machine, readers): (Machine, Readers),
    run: impl FnOnce(Config, Machine) -> u8,
    out: &mut impl Write,
    err: &mut impl Write,
) -> u8 {
    match config::parse(args, env, &machine) {
        Ok(Command::Run(config)) => run(*config, machine),
        Ok(Command::Check(config)) => check(&config, (&machine, readers), out, err),
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
        Ok(Command::Doctor { asked, json }) => {
            doctor::doctor(&asked, json, out).unwrap_or_else(|why| {
                complain(err, format_args!("{}", Composed(&why)));
                EXIT_CANNOT_ASK
            })
        }
        Ok(Command::DoctorAws(config)) => doctor::aws(&config, out).map_or_else(
            |why| {
                complain(err, format_args!("{}", Composed(&why)));
                EXIT_CONTRADICTION
            },
            |()| 0,
        ),
        Ok(Command::Top(asked)) => {
            let why = doctor::top(&asked, out);
            why.map_or(0, |why| {
                complain(err, format_args!("{}", Composed(&why)));
                EXIT_CANNOT_ASK
            })
        }
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

/// Carries out `elbow check`: prints the values that hold, and returns the exit code. A folder or a
/// file that does not exist, and keys and a token that cannot be read, are found only here, for
/// reading the command line opens no file.
fn check(
    config: &Config,
    (machine, readers): (&Machine, Readers),
    out: &mut impl Write,
    err: &mut impl Write,
) -> u8 {
    say(out, &config.report(machine));
    let keys = (readers.keys)(&config.key_files).map(|_| ());
    if let Err(wrong) = keys.and_then(|()| (readers.admin_token)(config).map(|_| ())) {
        complain(err, format_args!("{}", Composed(&wrong)));
        return EXIT_CONTRADICTION;
    }
    match missing(config) {
        Some((flag, path, what)) => {
            let path = path.display().to_string();
            let path = shown_text(&path);
            complain(err, format_args!("{flag} \"{path}\": there is no such {what}"));
            EXIT_CONTRADICTION
        }
        None => 0,
    }
}

/// The first folder or file that an option names and that is not there: the option's flag, the
/// path, and what it should be.
fn missing(config: &Config) -> Option<(&'static str, &Path, &'static str)> {
    let folder = config.www.as_deref().filter(|folder| !folder.is_dir());
    let redis = config.redis.as_ref();
    let password =
        redis.and_then(|redis| redis.password.as_ref()).and_then(|source| match source {
            PasswordSource::File(path) => Some(path.as_path()),
            PasswordSource::Variable(_) | PasswordSource::Url(_) => None,
        });
    let ca = redis.and_then(|redis| redis.ca.as_deref());
    // A password may come through a pipe, as from a shell's <(…).
    let file = |path: Option<&'_ Path>| path.is_some_and(|path| path.exists() && !path.is_dir());
    let absent = |flag, path| {
        Some(path).filter(|path| !file(*path)).flatten().map(|path| (flag, path, "file"))
    };
    folder
        .map(|folder| ("--www", folder, "folder"))
        .or_else(|| absent("--redis-password-file", password))
        .or_else(|| absent("--redis-ca", ca))
}

/// Carries out `elbow token`: prints a token, and returns the exit code.
fn make_token(order: &TokenOrder, out: &mut impl Write, err: &mut impl Write) -> u8 {
    let secret = read_secret(&order.key.path).map_err(|error| error.to_string());
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

/// Reads a secret, from a file or from a pipe. The beginning of one that is too large for the
/// server would be another secret than what is in the file.
fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(keys::FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > keys::FILE_BYTES_MAX {
        return Err(io::Error::other("allowed are at most 64 KiB"));
    }
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
    let answer = ask(url, &deadline).map_err(|error| client::why(&error, url.limit))?;
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
    let mut stream = client::connect(&url.address, deadline)?;
    client::send_request(&mut stream, (&url.address, &url.path), None, deadline)?;
    client::read_until(&mut stream, ANSWER_BYTES_MAX, deadline, |answer| answer.contains(&b'\n'))
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
