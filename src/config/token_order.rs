//! What `elbow token` is to make: a token for tests and scripts, signed with the secret in a file.
//!
//! Leaves to others: reading the file and the clock (`cli`), the signature (`keys`).
//!
//! The surprise: whoever may join no channel is let in nowhere, so a token without `--join` is for
//! showing that.

use clap::{Arg, ArgMatches, Command};

use super::failure::Failure;
use super::help::help;
use super::kind::{Kind, List};
use super::value::{AnyText, KeyFile, KeyOf, Length, Party};
use crate::keys::KeyKind;
use crate::time::Duration;
use crate::wire::token::SUBJECT_BYTES_MAX;

/// How long a token holds unless told otherwise.
const EXPIRES_DEFAULT: Duration = Duration::from_secs(3600);

/// A token that outlives a year is a password.
const EXPIRES: Length = Length(Duration::from_millis(1000)..=Duration::from_secs(366 * 24 * 3600));

const NAMES: List<AnyText> = List::of(AnyText);

/// Which token is to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenOrder {
    /// The file with the secret.
    pub key: KeyFile,
    subject: Option<String>,
    audience: Option<String>,
    issuer: Option<String>,
    join: Vec<String>,
    say: Option<Vec<String>>,
    expires: Duration,
}

impl TokenOrder {
    /// The command, as clap reads it.
    pub(super) fn command() -> Command {
        let argument = |name, value| Arg::new(name).long(name).value_name(value);
        Command::new("token")
            .arg(argument("key", "hs256:FILE"))
            .arg(argument("subject", "TEXT"))
            .arg(argument("audience", "TEXT"))
            .arg(argument("issuer", "TEXT"))
            .arg(argument("join", "NAME,…"))
            .arg(argument("say", "NAME,…"))
            .arg(argument("expires", "DUR"))
            .override_help(help())
    }

    /// Reads what was given.
    ///
    /// # Errors
    /// The first text that cannot be read.
    pub(super) fn read(matches: &ArgMatches) -> Result<TokenOrder, Failure> {
        let key = value(matches, "key", &KeyOf)?.filter(|key| key.kind == KeyKind::Hs256);
        let given = matches.get_one::<String>("key").map_or("", String::as_str);
        let allowed = "allowed is hs256:FILE, since public keys only check tokens";
        let key = key.ok_or_else(|| Failure::bad_value("--key", given, allowed))?;
        let subject = value(matches, "subject", &AnyText)?;
        if let Some(long) = subject.as_ref().filter(|text| text.len() > SUBJECT_BYTES_MAX) {
            let allowed = format!("allowed are at most {SUBJECT_BYTES_MAX} bytes");
            return Err(Failure::bad_value("--subject", long, &allowed));
        }
        Ok(TokenOrder {
            key,
            subject,
            audience: value(matches, "audience", &Party)?,
            issuer: value(matches, "issuer", &Party)?,
            join: value(matches, "join", &NAMES)?.unwrap_or_default(),
            say: value(matches, "say", &NAMES)?,
            expires: value(matches, "expires", &EXPIRES)?.unwrap_or(EXPIRES_DEFAULT),
        })
    }

    /// The claims of the token, a JSON object, if it is made at `now_s` seconds since 1970.
    pub fn claims(&self, now_s: u64) -> String {
        let text = |text: &String| serde_json::Value::from(text.as_str());
        let list = |names: &Vec<String>| names.iter().map(text).collect::<serde_json::Value>();
        let expires_s = now_s.saturating_add(self.expires.as_millis().div_ceil(1000));
        let members = [
            ("sub", self.subject.as_ref().map(text)),
            ("aud", self.audience.as_ref().map(text)),
            ("iss", self.issuer.as_ref().map(text)),
            ("iat", Some(now_s.into())),
            ("exp", Some(expires_s.into())),
            ("join", Some(list(&self.join))),
            ("say", self.say.as_ref().map(list)),
        ];
        let members =
            members.into_iter().filter_map(|(name, value)| Some(format!("\"{name}\":{}", value?)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }
}

/// The value of an argument; `None` if it was not given.
fn value<T>(matches: &ArgMatches, name: &str, kind: &dyn Kind<T>) -> Result<Option<T>, Failure> {
    let Some(text) = matches.get_one::<String>(name) else { return Ok(None) };
    let parsed = kind.parse(text.trim());
    parsed.map(Some).map_err(|allowed| Failure::bad_value(&format!("--{name}"), text, &allowed))
}
