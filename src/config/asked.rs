//! Whom `elbow doctor` and `elbow top` ask: the admin listener of a running server, and with which
//! token.
//!
//! Both run beside the server and share its variables, like a container's health check does
//! (`health.rs`). Asking, and reading a file, is left to `client.rs`.
//!
//! The surprise: there is no default address, since there is no admin listener unless somebody asks
//! for one.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::ArgMatches;

use super::command_line::{TOKEN_FILE, URL};
use super::failure::Failure;
use super::health::HealthUrl;
use super::kind::Kind;
use super::listen::{Address, Endpoint, Listen};
use super::machine::Machine;
use super::options::TABLE;
use super::token::TokenSource;

/// The path that is asked for.
const PATH: &str = "/status";

/// Whom a command asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Where the admin listener is; never a wildcard, never port 0.
    pub address: Endpoint,
    /// What is asked for: begins with `/`, visible ASCII only.
    pub path: String,
    /// Where the token is, if there may be one.
    pub token: Option<TokenSource>,
}

impl Asked {
    /// Reads the flags of a command and the environment.
    ///
    /// # Errors
    /// If nobody says where to ask, or what is said cannot be read.
    pub(super) fn read(
        matches: &ArgMatches,
        env: &dyn Fn(&str) -> Option<String>,
        machine: &Machine,
    ) -> Result<Asked, Failure> {
        let flag = matches.get_one::<String>(TOKEN_FILE).map(PathBuf::from);
        let variable = || {
            let path = env(&TABLE.admin_token_file.option.env_name())?;
            (!path.trim().is_empty()).then(|| PathBuf::from(path.trim()))
        };
        let file = flag.or_else(variable).map(TokenSource::File);
        let token = file.or_else(|| TokenSource::beside_file(env, machine));
        let (address, path) = match matches.get_one::<String>(URL) {
            Some(text) => {
                let url = HealthUrl::parse_for(text, PATH);
                let url = url.map_err(|allowed| Failure::bad_value("--url", text, &allowed))?;
                (url.address, if url.path == "/" { PATH.to_owned() } else { url.path })
            }
            None => (derive(env)?, PATH.to_owned()),
        };
        Ok(Asked { address, path, token })
    }
}

/// Derives the address from the server's own variable.
fn derive(env: &dyn Fn(&str) -> Option<String>) -> Result<Endpoint, Failure> {
    let variable = TABLE.admin_listen.option.env_name();
    let text = env(&variable).unwrap_or_default();
    let text = text.trim();
    let bad = |allowed: &str| Failure::bad_value(&variable, text, allowed);
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
