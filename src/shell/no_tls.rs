//! Encryption in a build that has none: there are no values of these types, and the configuration
//! has refused `rediss://` before anybody asks for one.

use std::io;
use std::path::Path;

use mio::net::TcpStream;

use crate::config::RedisHost;

/// What encrypted connections have in common; there is none.
pub(super) enum Client {}

/// An encrypted connection; there is none.
pub(super) enum Session {}

impl Client {
    /// Says that this build encrypts nothing.
    pub(super) fn new(_ca: Option<&Path>) -> Result<Client, String> {
        Err("--redis rediss://: this build has no TLS".to_owned())
    }

    pub(super) fn session(&self, _socket: TcpStream, _host: &RedisHost) -> io::Result<Session> {
        match *self {}
    }
}

impl Session {
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        match *self {}
    }

    pub(super) fn shake_hands(&mut self) -> io::Result<bool> {
        match *self {}
    }

    pub(super) fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(super) fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match *self {}
    }
}
