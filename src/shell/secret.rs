//! Secrets, read from where the configuration says that they are.
//!
//! A secret is read once, at start, and by `elbow check` to see whether it can be. What is wrong
//! with one is said in a line that names its source, never its text.
//!
//! The surprise: what is read is bounded before it is judged. Somebody may name a device that has
//! no end. And one line feed at the end of a file is no part of a secret, since editors put one
//! there; everything else in front of it is, blanks included.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::config::{
    CREDENTIALS_VARIABLE, Config, PasswordSource, Redis, TOKEN_CREDENTIAL, TokenSource, environment,
};
use crate::settings::{AdminToken, SECRET_BYTES_MAX, Secret, TOKEN_BYTES_MAX};
use crate::text::shown_text;

/// Reads the token of the admin listener; `None` if it has none.
///
/// # Errors
/// A line for the operator, if the source cannot be read or has no token.
pub fn admin_token(config: &Config) -> Result<Option<AdminToken>, String> {
    let Some(source) = &config.admin_token else { return Ok(None) };
    let (name, text) = match source {
        TokenSource::File(path) | TokenSource::Credential(path) => {
            let shown = path.display().to_string();
            let name = format!("{} {}", source.name(), shown_text(&shown));
            let text = read(path).map_err(|error| format!("{name}: {error}"))?;
            (name, text)
        }
        TokenSource::Variable(text) => (source.name().to_owned(), text.clone().into_bytes()),
    };
    AdminToken::read(&text).map(Some).map_err(|wrong| format!("{name}: {wrong}"))
}

/// Reads the password that Redis is asked with; `None` if there is none.
///
/// # Errors
/// A line for the operator, if the file cannot be read or has no password.
pub(super) fn redis_password(redis: &Redis) -> Result<Option<Secret>, String> {
    let path = match &redis.password {
        Some(PasswordSource::File(path)) => path,
        Some(PasswordSource::Variable(secret) | PasswordSource::Url(secret)) => {
            return Ok(Some(secret.clone()));
        }
        None => return Ok(None),
    };
    let shown = path.display().to_string();
    let name = format!("--redis-password-file {}", shown_text(&shown));
    let text = read(path).map_err(|error| format!("{name}: {error}"))?;
    let password = text.strip_suffix(b"\n").unwrap_or(&text);
    Secret::new(password)
        .map(Some)
        .ok_or_else(|| format!("{name}: allowed is a password of 1 to {SECRET_BYTES_MAX} bytes"))
}

/// Reads a file, as far as the longest secret could go and two bytes further.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let bytes_max = TOKEN_BYTES_MAX.max(SECRET_BYTES_MAX) as u64 + 2;
    File::open(path)?.take(bytes_max).read_to_end(&mut text)?;
    Ok(text)
}

/// Whether the folder of systemd's credentials has a token for the admin listener.
pub(super) fn has_admin_credential() -> bool {
    environment(CREDENTIALS_VARIABLE)
        .is_some_and(|folder| Path::new(&folder).join(TOKEN_CREDENTIAL).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    use crate::config::RedisUrl;

    #[test]
    fn a_file_is_the_password_but_for_one_line_feed() {
        let path = std::env::temp_dir().join(format!("elbow-secret-{}", std::process::id()));
        let url = RedisUrl::parse("unix:/a").unwrap();
        let password = Some(PasswordSource::File(path.clone()));
        let redis = Redis { url, password, prefix: "elbow".into(), ca: None };
        for (text, expected) in [
            ("s3cret\n", Some("s3cret")),
            ("s3cret", Some("s3cret")),
            (" s3cret \n\n", Some(" s3cret \n")),
            ("\n", None),
            ("", None),
            (&"x".repeat(1024), Some(&*"x".repeat(1024))),
            (&"x".repeat(1025), None),
            (&"x".repeat(9999), None),
        ] {
            fs::write(&path, text).unwrap();
            let read = redis_password(&redis);
            match expected {
                Some(expected) => {
                    assert_eq!(read.unwrap().unwrap().reveal(), expected.as_bytes());
                }
                None => {
                    let line = read.unwrap_err();
                    assert!(line.ends_with("1 to 1024 bytes"), "{line}");
                }
            }
        }
        fs::remove_file(&path).unwrap();
        assert!(redis_password(&redis).unwrap_err().contains("No such file"));
    }
}
