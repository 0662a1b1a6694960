//! Where `elbow health` looks: `--url`, or else what the server's own environment says.
//!
//! A container's health check runs beside the server and shares its variables, so without `--url`
//! the address is derived from them: the health listener's, else the first public one's, else the
//! default of `--listen`. Asking is left to `cli.rs`.
//!
//! The surprise: a server that was told its address by a flag, not by a variable, is not found this
//! way; such a check needs `--url`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::failure::Failure;
use super::listen::{self, Endpoint, Listen};
use super::option::Opt;
use super::options::TABLE;
use crate::time::Duration;

/// How long the whole probe may take, from connecting to the status.
pub const HEALTH_LIMIT: Duration = Duration::from_secs(2);

/// The path that is asked for when nobody named another.
const PATH: &str = "/healthz";

/// Whom a probe asks for what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthUrl {
    /// Where the server listens; never a wildcard, never port 0.
    pub address: Endpoint,
    /// What is asked for: begins with `/`, visible ASCII only.
    pub path: String,
    /// How long connecting, asking and the answer may take together.
    pub limit: Duration,
}

impl HealthUrl {
    /// Reads an `http://` URL whose host is an IP address or `localhost`, or `unix:` and the path
    /// of a socket. The port is 80 unless given, the path `/healthz`.
    ///
    /// # Errors
    /// What is allowed, if `text` is no such URL.
    pub fn parse(text: &str) -> Result<HealthUrl, String> {
        HealthUrl::parse_for(text, PATH)
    }

    /// Reads a URL as [`HealthUrl::parse`] does, with another path for one that has none.
    pub(super) fn parse_for(text: &str, path: &str) -> Result<HealthUrl, String> {
        let allowed = || {
            "allowed is http://HOST:PORT/PATH, where HOST is an IP address or localhost, or \
             unix:SOCKET"
                .to_owned()
        };
        if let Some(address) = listen::unix(text) {
            return Ok(HealthUrl { address, path: path.to_owned(), limit: HEALTH_LIMIT });
        }
        let default_path = path;
        let rest = text.strip_prefix("http://").ok_or_else(allowed)?;
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, default_path),
        };
        // A blank or a line's end in the path would let one request become two.
        let visible = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let address = listen::ip(host).or_else(|| listen::ip(&format!("{host}:80")));
        match address {
            Some(address) if visible && address.port() != 0 => {
                Ok(HealthUrl::new(address, path.to_owned()))
            }
            Some(_) | None => Err(allowed()),
        }
    }

    /// Derives the URL from the server's own variables.
    ///
    /// # Errors
    /// If the variable that decides cannot be parsed, or has port 0: then only the server's log
    /// knows the port.
    pub(super) fn derive(env: impl Fn(&str) -> Option<String>) -> Result<HealthUrl, Failure> {
        let given = |option: &'static Opt| {
            let text = env(&option.env_name())?.trim().to_owned();
            (!text.is_empty()).then_some((option, text))
        };
        let listen = &TABLE.listen.option;
        let found = given(&TABLE.health_listen.option).or_else(|| given(listen));
        let (option, text) = found.unwrap_or((listen, listen.default.to_owned()));
        let bad = |allowed: String| Failure::bad_value(&option.env_name(), &text, &allowed);
        let addresses = TABLE.listen.kind.parse(&text).map_err(bad)?;
        let address = match addresses.first().expect("a list has an item, or is refused") {
            Listen::At(address @ Endpoint::Unix(_)) => {
                let address = address.clone();
                return Ok(HealthUrl { address, path: PATH.to_owned(), limit: HEALTH_LIMIT });
            }
            Listen::At(Endpoint::Ip(address)) => *address,
            // Where there is no IPv6, IPv4 alone is listened on.
            Listen::Any(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), *port),
        };
        if address.port() == 0 {
            return Err(bad("port 0 does not tell where to ask; give --url".to_owned()));
        }
        Ok(HealthUrl::new(address, PATH.to_owned()))
    }

    pub(super) fn new(address: SocketAddr, path: String) -> HealthUrl {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
        };
        let mut address = address;
        address.set_ip(ip);
        HealthUrl { address: Endpoint::Ip(address), path, limit: HEALTH_LIMIT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, String)> {
        HealthUrl::parse(text).ok().map(|url| (url.address.to_string(), url.path))
    }

    #[test]
    fn a_url_is_an_address_and_a_path() {
        let pair = |address: &str, path: &str| Some((address.to_owned(), path.to_owned()));
        assert_eq!(parsed("http://127.0.0.1:81/readyz"), pair("127.0.0.1:81", "/readyz"));
        assert_eq!(parsed("http://localhost:81"), pair("127.0.0.1:81", "/healthz"));
        assert_eq!(parsed("http://[::1]/"), pair("[::1]:80", "/"));
        assert_eq!(parsed("http://0.0.0.0:81/a?b=c"), pair("127.0.0.1:81", "/a?b=c"));
        assert_eq!(parsed("http://[::]:81/"), pair("[::1]:81", "/"));
        assert_eq!(parsed("unix:/run/a:b"), pair("unix:/run/a:b", "/healthz"));
    }

    #[test]
    fn what_is_no_such_url_is_refused() {
        for bad in [
            "",
            "unix:",
            "http://unix:/a",
            "http://*:81/",
            "127.0.0.1:81",
            "https://127.0.0.1/",
            "http://",
            "http:///healthz",
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
        for bad in ["http://example.org/", "http://[::1/", "http://1.2.3.4:0/", "http://u@[::1]/"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
        for bad in
            ["http://[::1]/a b", "http://[::1]/a\r\nX: y", "http://[::1]/é", "http://[::1]/#a"]
        {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
