//! Whom `elbow doctor` and `elbow top` ask: the admin listener of a running server, and with which
//! token.
//!
//! Both run beside the server and share its variables, like a container's health check does
//! (`health.rs`). Asking, and reading a file, is left to `client.rs`.
//!
//! The surprise: there is no default address, since there is no admin listener unless somebody asks
//! for one.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use super::command_line::{TOKEN_FILE, URL};
use super::failure::Failure;
use super::health::HealthUrl;
use super::kind::Kind;
use super::listen::{Address, Endpoint, Listen};

/// The path that is asked for.
const PATH: &str = "/status";

/// The variable that tells the server where its admin listener is.
const LISTEN_VARIABLE: &str = "ELBOW_ADMIN_LISTEN";
/// The variable that may name a file with the token.
const FILE_VARIABLE: &str = "ELBOW_ADMIN_TOKEN_FILE";
/// The variable that may be the token.
const TOKEN_VARIABLE: &str = "ELBOW_ADMIN_TOKEN";
/// The variable in which systemd names the folder of credentials (systemd.exec(5)).
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// The name of the credential.
const CREDENTIAL: &str = "admin-token";

/// Whom a command asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Where the admin listener is; never a wildcard, never port 0.
    pub address: Endpoint,
    /// What is asked for: begins with `/`, visible ASCII only.
    pub path: String,
    /// Where the token is, if there may be one.
    pub token: Option<TokenPlace>,
}

/// Where a token is. The text of a variable is kept from whoever prints this.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenPlace {
    /// In a file.
    File(PathBuf),
    /// In a variable, whose text this is.
    Text(String),
    /// In a file of systemd's, if that is there.
    Credential(PathBuf),
}

impl TokenPlace {
    /// The place as a line to the operator names it.
    pub fn name(&self) -> &'static str {
        match self {
            TokenPlace::File(_) => "--admin-token-file",
            TokenPlace::Text(_) => TOKEN_VARIABLE,
            TokenPlace::Credential(_) => "the credential admin-token",
        }
    }
}

impl core::fmt::Debug for TokenPlace {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "(set) by {}", self.name())
    }
}

impl Asked {
    /// Reads the flags of a command and the environment.
    ///
    /// # Errors
    /// If nobody says where to ask, or what is said cannot be read.
    pub(super) fn read(
        matches: &ArgMatches,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Asked, Failure> {
        let token = matches.get_one::<String>(TOKEN_FILE).map(|path| path.into());
        let file = || env(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let token = token.or_else(file).map(TokenPlace::File);
        let token = token.or_else(|| env(TOKEN_VARIABLE).map(TokenPlace::Text));
        let credential = || {
            let folder = env(CREDENTIALS_VARIABLE)?;
            Some(TokenPlace::Credential(Path::new(&folder).join(CREDENTIAL)))
        };
        let token = token.or_else(credential);
        let (address, path) = match matches.get_one::<String>(URL) {
            Some(text) => {
                let url = HealthUrl::parse_for(text, PATH);
                let url = url.map_err(|allowed| Failure::bad_value("--url", text, &allowed))?;
                (url.address, if url.path == "/" { PATH.to_owned() } else { url.path })
            }
            None => (derive(&env)?, PATH.to_owned()),
        };
        Ok(Asked { address, path, token })
    }
}

/// Derives the address from the server's own variable.
fn derive(env: &impl Fn(&str) -> Option<String>) -> Result<Endpoint, Failure> {
    let text = env(LISTEN_VARIABLE).unwrap_or_default();
    let text = text.trim();
    let bad = |allowed: &str| Failure::bad_value(LISTEN_VARIABLE, text, allowed);
    if text.is_empty() {
        let allowed = "the address of an --admin-listen, or --url says whom to ask";
        return Err(bad(allowed));
    }
    let address = match Address.parse(text).map_err(|allowed| bad(&allowed))? {
        Listen::At(Endpoint::Unix(path)) => return Ok(Endpoint::Unix(path)),
        Listen::At(Endpoint::Ip(address)) => address,
        Listen::Any(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
    };
    if address.port() == 0 {
        return Err(bad("port 0 does not tell where to ask; give --url"));
    }
    Ok(HealthUrl::new(address, String::new()).address)
}
