//! Encrypted connections to Redis, in builds with the feature `tls`.
//!
//! TLS 1.2 and 1.3 by rustls. The server must show a certificate for the name or address in the
//! URL, by somebody whom the system trusts, or whom `--redis-ca` names; there is no way to do
//! without.
//!
//! Deals with: certificates, handshakes, and bytes between a socket and their encrypted form.
//! Leaves to others: connecting the socket, and what is said on it.
//!
//! What it costs: some 100 KiB for a connection, and an allocation for each record.
//!
//! The surprise: the cryptography needs a processor with certain instructions, which machines have
//! had for ten years. Where they are missing the server does not start, rather than end in the
//! middle of a handshake.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::config::{self, RedisHost};

/// The most plain bytes that wait to be encrypted and sent.
const UNSENT_BYTES_MAX: usize = 64 * 1024;

/// Where systems keep the certificates that they trust, in one file: Debian, Red Hat, SUSE, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The variable that names another file, as OpenSSL has it.
const BUNDLE_VARIABLE: &str = "SSL_CERT_FILE";

/// What encrypted connections have in common: whom they believe.
pub(super) struct Client {
    config: Arc<ClientConfig>,
}

/// An encrypted connection.
pub(super) struct Session {
    socket: TcpStream,
    connection: ClientConnection,
}

impl Client {
    /// Reads the certificates of those who may vouch for a server: from `ca`, or else from where
    /// the system keeps them.
    ///
    /// # Errors
    /// A line for the operator.
    pub(super) fn new(ca: Option<&Path>) -> Result<Client, String> {
        if !has_instructions() {
            return Err("--redis rediss://: the processor lacks instructions that encryption \
                        needs (AVX2, AES and others)"
                .to_owned());
        }
        let roots = match ca {
            Some(file) => read_roots(file)
                .map_err(|error| format!("--redis-ca {}: {error}", file.display()))?,
            None => system_roots()?,
        };
        let provider = Arc::new(rustls_graviola::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("--redis rediss://: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Client { config: Arc::new(config) })
    }

    /// An encrypted connection on a socket that need not be connected yet.
    pub(super) fn session(&self, socket: TcpStream, host: &RedisHost) -> io::Result<Session> {
        let name = match host {
            RedisHost::Ip(address) => ServerName::from(*address),
            RedisHost::Name(name) => {
                let name = DnsName::try_from(name.to_string()).map_err(io::Error::other)?;
                ServerName::DnsName(name)
            }
        };
        let config = Arc::clone(&self.config);
        let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        connection.set_buffer_limit(Some(UNSENT_BYTES_MAX));
        Ok(Session { socket, connection })
    }
}

impl Session {
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Goes on with the handshake on a socket that is connected. Whether it is done.
    pub(super) fn shake_hands(&mut self) -> io::Result<bool> {
        while self.connection.is_handshaking() {
            let moved = match self.connection.wants_write() {
                true => self.connection.write_tls(&mut self.socket),
                false => self.take_in(),
            };
            match moved {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads plain bytes; 0 is the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            // Who ends without saying so by TLS may have been cut off.
            if self.take_in()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Takes plain bytes, and sends as much as the socket takes. Those that it does not take wait
    /// here, up to [`UNSENT_BYTES_MAX`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.connection.writer().write(bytes)?;
        match self.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && taken > 0 => Ok(taken),
            Err(error) => Err(error),
            Ok(()) if taken == 0 => Err(io::ErrorKind::WouldBlock.into()),
            Ok(()) => Ok(taken),
        }
    }

    /// Sends what waits here.
    ///
    /// # Errors
    /// `WouldBlock` if the socket does not take all of it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.socket) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Reads encrypted bytes, and decrypts them. How many were read; 0 is the end of the socket.
    fn take_in(&mut self) -> io::Result<usize> {
        let taken = self.connection.read_tls(&mut self.socket)?;
        if let Err(error) = self.connection.process_new_packets() {
            // The server is told why, if it still listens; the error is told here in any case.
            let _ = self.connection.write_tls(&mut self.socket);
            return Err(io::Error::other(error));
        }
        Ok(taken)
    }
}

/// The certificates in a file of PEM, of which at least one must be usable.
fn read_roots(file: &Path) -> Result<RootCertStore, String> {
    let bytes = fs::read(file).map_err(|error| error.to_string())?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    // Bundles have old certificates in them that nobody reads any more.
    let (usable, _) = roots.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err("there is no certificate in it that can be used".to_owned());
    }
    Ok(roots)
}

/// The certificates that the system trusts.
fn system_roots() -> Result<RootCertStore, String> {
    if let Some(file) = config::environment(BUNDLE_VARIABLE).filter(|file| !file.is_empty()) {
        return read_roots(Path::new(&file))
            .map_err(|error| format!("{BUNDLE_VARIABLE} {file}: {error}"));
    }
    let bundle = BUNDLES.iter().map(Path::new).find(|file| file.exists());
    let bundle = bundle.ok_or_else(|| {
        format!(
            "--redis rediss://: the system has no certificates (looked for in {}): name them by \
             --redis-ca",
            BUNDLES.join(", ")
        )
    })?;
    read_roots(bundle).map_err(|error| format!("{}: {error}", bundle.display()))
}

/// Whether the processor has what the cryptography is made of.
#[cfg(target_arch = "x86_64")]
fn has_instructions() -> bool {
    is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("adx")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
}

/// Whether the processor has what the cryptography is made of.
#[cfg(target_arch = "aarch64")]
fn has_instructions() -> bool {
    use std::arch::is_aarch64_feature_detected;
    is_aarch64_feature_detected!("aes")
        && is_aarch64_feature_detected!("sha2")
        && is_aarch64_feature_detected!("pmull")
        && is_aarch64_feature_detected!("neon")
}
