//! Where the token of the admin listener comes from: a file, a variable, or systemd's credentials.
//!
//! There is no flag for the token itself, since everybody on the machine can see command lines. So
//! it is no option with a text, and only its source is known here; whoever may read files reads it
//! (`shell/secret.rs`).
//!
//! The surprise: a variable that is set and empty is a token that is too short, and not none.
//! Otherwise a deployment that has lost its secret would open the listener to everybody.

use std::path::{Path, PathBuf};

use super::machine::Machine;

/// The variable that may hold the token.
pub const TOKEN_VARIABLE: &str = "ELBOW_ADMIN_TOKEN";

/// The variable in which systemd names the folder of the service's credentials (systemd.exec(5)).
pub const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// The name of the credential.
pub const TOKEN_CREDENTIAL: &str = "admin-token";

/// Where a token comes from. The text of a variable is kept from whoever prints this.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// The file of `--admin-token-file`.
    File(PathBuf),
    /// The variable [`TOKEN_VARIABLE`], with its text.
    Variable(String),
    /// The credential `admin-token` that systemd hands over, by its path.
    Credential(PathBuf),
}

impl TokenSource {
    /// The source that holds if no file was named: the variable, or else the credential.
    pub(super) fn beside_file(
        env: &dyn Fn(&str) -> Option<String>,
        machine: &Machine,
    ) -> Option<TokenSource> {
        let credential = || {
            let folder = env(CREDENTIALS_VARIABLE).filter(|_| machine.admin_credential)?;
            Some(TokenSource::Credential(Path::new(&folder).join(TOKEN_CREDENTIAL)))
        };
        env(TOKEN_VARIABLE).map(TokenSource::Variable).or_else(credential)
    }

    /// The source as a line to the operator names it.
    pub fn name(&self) -> &'static str {
        match self {
            TokenSource::File(_) => "--admin-token-file",
            TokenSource::Variable(_) => TOKEN_VARIABLE,
            TokenSource::Credential(_) => "the credential admin-token",
        }
    }
}

impl core::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "(set) by {}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::machine::Activated;

    #[test]
    fn the_variable_comes_before_the_credential() {
        let machine = |admin_credential| Machine {
            descriptors_hard: 0,
            memory_bytes: None,
            memory_is_shared: true,
            activated: Activated::NONE,
            admin_credential,
        };
        let both = |name: &str| match name {
            TOKEN_VARIABLE => Some("secret".to_owned()),
            CREDENTIALS_VARIABLE => Some("/run/credentials".to_owned()),
            _ => None,
        };
        let folder = |name: &str| both(name).filter(|_| name == CREDENTIALS_VARIABLE);
        let find = TokenSource::beside_file;
        let variable = find(&both, &machine(true));
        assert_eq!(variable, Some(TokenSource::Variable("secret".to_owned())));
        assert_eq!(format!("{variable:?}"), "Some((set) by ELBOW_ADMIN_TOKEN)");
        let credential = TokenSource::Credential("/run/credentials/admin-token".into());
        assert_eq!(find(&folder, &machine(true)), Some(credential));
        assert_eq!(find(&folder, &machine(false)), None);
        assert_eq!(find(&|_| None, &machine(true)), None);
        let empty = |name: &str| (name == TOKEN_VARIABLE).then(String::new);
        assert_eq!(find(&empty, &machine(false)), Some(TokenSource::Variable(String::new())));
    }
}
