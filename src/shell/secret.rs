//! Secrets, read from where the configuration says that they are.
//!
//! A secret is read once, at start, and by `elbow check` to see whether it can be. What is wrong
//! with one is said in a line that names its source, never its text.
//!
//! The surprise: what is read is bounded before it is judged. Somebody may name a device that has
//! no end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::config::{CREDENTIALS_VARIABLE, Config, TOKEN_CREDENTIAL, TokenSource, environment};
use crate::settings::{AdminToken, TOKEN_BYTES_MAX};
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

/// Reads a file, as far as a token could go and two bytes further.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(TOKEN_BYTES_MAX as u64 + 2).read_to_end(&mut text)?;
    Ok(text)
}

/// Whether the folder of systemd's credentials has a token for the admin listener.
pub(super) fn has_admin_credential() -> bool {
    environment(CREDENTIALS_VARIABLE)
        .is_some_and(|folder| Path::new(&folder).join(TOKEN_CREDENTIAL).exists())
}
