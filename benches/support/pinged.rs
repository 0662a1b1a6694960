//! Members that say nothing and answer their pings, and how far from on time those came.
//!
//! A ping is due one interval after what was last heard of a member, which is its answer to the
//! ping before. The first one is left out: when that is due is the server's choice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::histogram::Histogram;
use super::load::{Setup, join};
use super::{clock, say};

/// A ping without payload, and its answer with a mask of zeros.
const PING: [u8; 2] = [0x89, 0];
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// How far from on time pings were, in nanoseconds.
pub(crate) struct Deviation {
    /// Of those that came before an interval had passed.
    pub(crate) early: Histogram,
    /// Of all others.
    pub(crate) late: Histogram,
}

struct Member {
    stream: TcpStream,
    answered_ns: Option<u64>,
}

/// Has `count` members of a channel of their own answer pings for `length`. One thread looks at
/// each of them every millisecond, so a ping may seem later than it was by that.
pub(crate) fn start(
    address: SocketAddr,
    count: usize,
    interval: Duration,
    length: Duration,
) -> JoinHandle<Deviation> {
    thread::spawn(move || {
        run(address, count, interval, length)
            .unwrap_or_else(|error| say::fail(&format!("pings of {address}: {error}")))
    })
}

fn run(
    address: SocketAddr,
    count: usize,
    interval: Duration,
    length: Duration,
) -> Result<Deviation, String> {
    // The load's channel is the default one; this is the second of two.
    let setup = Setup { channels: 2, ..Setup::plain(address, count) };
    let mut members = Vec::with_capacity(count);
    for (stream, _, heard) in join(&setup, (0..count).map(|_| 1))? {
        if !heard.is_empty() {
            return Err("somebody speaks in the silent channel".to_owned());
        }
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        members.push(Member { stream, answered_ns: None });
    }
    let mut deviation = Deviation { early: Histogram::new(), late: Histogram::new() };
    let begun_ns = clock::now_ns();
    while clock::now_ns() - begun_ns < length.as_nanos() as u64 {
        for member in &mut members {
            member.look(interval, &mut deviation)?;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(deviation)
}

impl Member {
    fn look(&mut self, interval: Duration, deviation: &mut Deviation) -> Result<(), String> {
        let mut bytes = [0; 2];
        match self.stream.read(&mut bytes) {
            Ok(2) if bytes == PING => {}
            Ok(count) => return Err(format!("{:?} instead of a ping", &bytes[..count])),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        let now_ns = clock::now_ns();
        if let Some(answered_ns) = self.answered_ns {
            let due_ns = answered_ns + interval.as_nanos() as u64;
            if now_ns < due_ns {
                deviation.early.record(due_ns - now_ns);
            } else {
                deviation.late.record(now_ns - due_ns);
            }
        }
        self.stream.write_all(&PONG).map_err(|error| error.to_string())?;
        self.answered_ns = Some(clock::now_ns());
        Ok(())
    }
}
