//! What is told of a running server to whoever asks on a terminal: `elbow doctor` says what is
//! wrong, `elbow top` shows what goes on; and, by `elbow doctor --aws`, how to ask the balancer.
//!
//! Both ask the admin listener for its status and put that into words. What is wrong is judged by
//! the server itself (`metrics/findings.rs`), since it knows what has changed lately.
//!
//! The surprise: an answer is believed in nothing but its form. Whatever stands in it is escaped
//! before it gets to a terminal, for the URL may have been a wrong one.

mod aws;
mod status;
mod top;

pub use top::top;

use std::io::Write;
use std::time::Duration;

use crate::client::{self, Answer};
use crate::config::{Asked, Config};
use crate::text::visible;
use status::Status;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The most bytes of an answer: a status has some 60 KB if there are many channels.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Exit code if something is wrong.
const EXIT_FINDINGS: u8 = 1;

/// Asks a server what is wrong with it and writes that to `out`, in words or as JSON. Returns the
/// exit code: 0, or 1 with findings.
///
/// # Errors
/// A line that says why the server cannot be asked.
pub fn doctor(asked: &Asked, json: bool, out: &mut impl Write) -> Result<u8, String> {
    let status = ask(asked)?;
    let findings = status.findings().map_err(|why| whom(asked, &why))?;
    let mut text = String::new();
    if json {
        text = format!("{{\"findings\":{}}}\n", status.findings_json());
    } else {
        let count = match findings.len() {
            0 => "no findings".to_owned(),
            1 => "1 finding".to_owned(),
            count => format!("{count} findings"),
        };
        text.push_str(&format!("{}, up {}: {count}\n", status.build(), status.uptime()));
        for (id, what, remedy) in &findings {
            let (id, what, remedy) = (visible(id), visible(what), visible(remedy));
            text.push_str(&format!("\n{id}\n  {what}\n  Mend it by: {remedy}\n"));
        }
    }
    // A reader that is gone is no reason to fail.
    let _ignored = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(if findings.is_empty() { 0 } else { EXIT_FINDINGS })
}

/// Writes the commands that ask AWS for the balancer's side of `config` to `out`.
///
/// # Errors
/// A line that says which flag is missing.
pub fn aws(config: &Config, out: &mut impl Write) -> Result<(), String> {
    let script = aws::script(config)?;
    // A reader that is gone is no reason to fail.
    let _ignored = out.write_all(script.as_bytes()).and_then(|()| out.flush());
    Ok(())
}

/// A line that says `what` of the server that was asked.
fn whom(asked: &Asked, what: &str) -> String {
    format!("{}{}: {what}", asked.address, asked.path)
}

/// Asks a server for its status.
///
/// # Errors
/// A line that says whom that was, and why it has no status for us.
fn ask(asked: &Asked) -> Result<Status, String> {
    let whom = |what: &str| whom(asked, what);
    let token = asked.token.as_ref().map(client::read_token).transpose()?;
    let limits = (LIMIT, ANSWER_BYTES_MAX);
    let answer = client::get(&asked.address, &asked.path, token.as_deref(), limits);
    let late = format_args!("{}s", LIMIT.as_secs());
    let answer = answer.map_err(|error| whom(&client::why(&error, late)))?;
    let Answer { status, body } = answer;
    match status {
        200 => Status::read(&body).map_err(|error| whom(&error)),
        401 if token.is_none() => {
            Err(whom("wants a token: --admin-token-file or the variable ELBOW_ADMIN_TOKEN"))
        }
        401 => Err(whom("wants another token")),
        404 => Err(whom("has no status: is this the --admin-listen?")),
        status => Err(whom(&format!("answers {status}"))),
    }
}
