//! The password of Redis, from wherever the operator has put it.
//!
//! The surprise: one line feed at the end of a file is not part of the password, since editors put
//! one there; everything else in front of it is, blanks included.

use std::fs;
use std::io::Read;

use crate::config::{PasswordSource, Redis};
use crate::settings::{SECRET_BYTES_MAX, Secret};

/// Reads the password that Redis is asked with; `None` if there is none.
///
/// # Errors
/// A line for the operator, without anything of the password.
pub(super) fn redis_password(redis: &Redis) -> Result<Option<Secret>, String> {
    let path = match &redis.password {
        Some(PasswordSource::File(path)) => path,
        Some(PasswordSource::Variable(secret) | PasswordSource::Url(secret)) => {
            return Ok(Some(secret.clone()));
        }
        None => return Ok(None),
    };
    let mut bytes = Vec::new();
    let limit = SECRET_BYTES_MAX as u64 + 2;
    fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| format!("--redis-password-file {}: {error}", path.display()))?;
    let password = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    Secret::new(password).map(Some).ok_or_else(|| {
        format!(
            "--redis-password-file {}: allowed is a password of 1 to {SECRET_BYTES_MAX} bytes",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
