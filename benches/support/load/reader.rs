//! One reader: its socket, and how far it has come in what its channel said.

use std::io::{self, Read, Write};

use mio::net::TcpStream;

use super::dialect::{Between, Dialect};

/// A connection of the crowd.
pub(crate) struct Reader {
    /// The socket of the reader.
    pub(crate) stream: TcpStream,
    /// The number of its channel.
    pub(crate) channel: usize,
    /// Bytes of the channel's log that it has; what comes next must be what stands there.
    pub(crate) offset: usize,
    /// Not read any more.
    pub(crate) stopped: bool,
    /// What was too short to tell what it is.
    carry: Vec<u8>,
    /// What it wants to say and has not.
    unsent: Vec<u8>,
    /// The reader has heard the mark, and counts from there.
    synced: bool,
}

/// What a channel said: records of one length each, back to back.
pub(crate) struct Log {
    /// The records.
    pub(crate) bytes: Vec<u8>,
    /// The length of each.
    pub(crate) record_bytes: usize,
}

impl Reader {
    /// A reader that has `heard` something during its handshake.
    pub(crate) fn new(stream: TcpStream, channel: usize, heard: Vec<u8>) -> Reader {
        Reader {
            stream,
            channel,
            offset: 0,
            stopped: false,
            carry: heard,
            unsent: Vec::new(),
            synced: false,
        }
    }

    /// One read.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(buffer)
    }

    /// Takes what was read, which must go on where it stands.
    pub(crate) fn take(&mut self, dialect: Dialect, log: &Log, bytes: &[u8]) -> Result<(), String> {
        let end = self.offset + bytes.len();
        if self.carry.is_empty() && log.bytes.get(self.offset..end) == Some(bytes) {
            self.offset = end;
            return Ok(());
        }
        self.carry.extend_from_slice(bytes);
        let bytes = core::mem::take(&mut self.carry);
        let used = self.take_slowly(dialect, log, &bytes)?;
        self.carry.extend_from_slice(&bytes[used..]);
        Ok(())
    }

    /// Takes records where a ping may stand between two of them, or half of one; the bytes used.
    fn take_slowly(&mut self, dialect: Dialect, log: &Log, bytes: &[u8]) -> Result<usize, String> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let inside = self.offset % log.record_bytes;
            let due = log.record_bytes - inside;
            let due = log.bytes.get(self.offset..self.offset + due).unwrap_or_default();
            let equal = rest.iter().zip(due).take_while(|(read, due)| read == due).count();
            // Two bytes tell a message from a ping.
            if equal == due.len().min(rest.len()) && equal + inside >= 2 {
                self.offset += equal;
                at += equal;
                continue;
            }
            match if inside == 0 { dialect.between(rest) } else { Between::Unknown } {
                Between::Partial => break,
                Between::Ping(length, answer) => {
                    self.send(&answer)?;
                    at += length;
                }
                Between::Unknown => {
                    let number = self.offset / log.record_bytes;
                    let read = String::from_utf8_lossy(&rest[..rest.len().min(80)]);
                    return Err(format!("byte {inside} of message {number}: {read:?}"));
                }
            }
        }
        Ok(at)
    }

    /// Passes over what comes before the mark, which is all that `log` says, and answers pings.
    /// Whether the mark has come.
    pub(crate) fn sync(
        &mut self,
        dialect: Dialect,
        log: &Log,
        bytes: &[u8],
    ) -> Result<bool, String> {
        self.carry.extend_from_slice(bytes);
        let bytes = core::mem::take(&mut self.carry);
        let mut at = 0;
        while !self.synced
            && let Some(length) = frame_length(&bytes[at..])
        {
            let frame = &bytes[at..at + length];
            self.synced = frame == log.bytes;
            if let Between::Ping(_, answer) = dialect.between(frame) {
                self.send(&answer)?;
            }
            at += length;
        }
        if self.synced {
            self.offset = log.bytes.len();
            at += self.take_slowly(dialect, log, &bytes[at..])?;
        }
        self.carry.extend_from_slice(&bytes[at..]);
        Ok(self.synced)
    }

    /// Whether it has heard the mark.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    /// Says something; what the socket does not take waits for [`Reader::send_rest`].
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = if self.unsent.is_empty() {
            match (&self.stream).write(bytes) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(format!("cannot publish: {error}")),
            }
        } else {
            0
        };
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// The socket may take more.
    pub(crate) fn send_rest(&mut self) -> Result<(), String> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = core::mem::take(&mut self.unsent);
        self.send(&unsent)
    }

    /// For a stopped reader: reads all there is. Returns whether the server has ended the
    /// connection.
    pub(crate) fn read_out(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.read(buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }
}

/// The length of the server's frame that `bytes` begin with, if it is whole.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = match *bytes {
        [_, 126, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
        [_, length @ ..126, ..] => 2 + usize::from(length),
        _ => return None,
    };
    (bytes.len() >= length).then_some(length)
}
