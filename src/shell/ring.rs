//! The sends of a portion in one system call, through an io_uring that is used for nothing else.
//!
//! Every send has `MSG_DONTWAIT`, so the kernel carries it out, or finds the socket full, while it
//! takes the request in. When the call returns, all results are there and none of the bytes is
//! needed any longer: the loop stays synchronous, and mio stays the event loop.
//!
//! The surprise: should the kernel refuse the call as a whole (it has no memory for a request), the
//! ring is given up for good. Sends that it had not taken in are reported as interrupted, and the
//! server sends these again, one by one.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, squeue, types};

use super::net::Stream;
use crate::config;
use crate::limits;
use crate::server::{Batch, OneByOne, Outgoing};

/// Places in the ring: one for each send of a portion.
const ENTRIES: u32 = limits::SENDS_PER_TURN as u32;

/// How portions are sent: through a ring, or by a call for each send.
pub(super) struct Sender {
    ring: Option<Box<Ring>>,
}

/// An io_uring, and what the kernel reads beside it during a call.
struct Ring {
    uring: IoUring,
    /// The sends of more than one slice, by number of the send in its portion.
    vectored: [Vectored; limits::SENDS_PER_TURN],
}

/// The slices of one send as sendmsg(2) wants them.
#[derive(Clone, Copy)]
struct Vectored {
    slices: [libc::iovec; 4],
    header: libc::msghdr,
}

impl Sender {
    /// A sender of the kind that the operator asks for and the kernel allows.
    ///
    /// # Errors
    /// Why there is no ring, if there must be one.
    pub(super) fn new(mode: config::IoUring) -> io::Result<Sender> {
        let ring = match mode {
            config::IoUring::Off => None,
            // Old kernels and policies of containers refuse in many ways, all of them final.
            config::IoUring::Auto => Ring::new().ok(),
            config::IoUring::Require => Some(Ring::new()?),
        };
        Ok(Sender { ring: ring.map(Box::new) })
    }

    /// Whether a portion is sent by one system call.
    pub(super) fn is_batched(&self) -> bool {
        self.ring.is_some()
    }
}

impl Batch<Stream> for Sender {
    fn send<'a>(
        &mut self,
        sends: impl ExactSizeIterator<Item = Outgoing<'a, Stream>>,
        results: &mut [io::Result<usize>],
    ) {
        match &mut self.ring {
            // For a single send the ring costs more than the call.
            Some(ring) if results.len() > 1 => {
                if let Err(error) = ring.send(sends, results) {
                    log::error!(target: "elbow", "io_uring: {error}; from now on a call per send");
                    self.ring = None;
                }
            }
            Some(_) | None => OneByOne.send(sends, results),
        }
    }
}

impl Ring {
    fn new() -> io::Result<Ring> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            // Completions are run when we look for them, so that they do not interrupt us.
            .setup_defer_taskrun()
            // One bad send does not keep those behind it from being taken in.
            .setup_submit_all()
            .build(ENTRIES)?;
        // SAFETY: all zeroes is a valid value of both fields: null pointers with lengths of zero.
        #[expect(unsafe_code, reason = "msghdr has padding that no literal can name")]
        let nothing: Vectored = unsafe { core::mem::zeroed() };
        Ok(Ring { uring, vectored: [nothing; limits::SENDS_PER_TURN] })
    }

    /// Carries out all of `sends`. An error is why the kernel refused; sends that it had not taken
    /// in by then are `Interrupted`.
    fn send<'a>(
        &mut self,
        sends: impl Iterator<Item = Outgoing<'a, Stream>>,
        results: &mut [io::Result<usize>],
    ) -> io::Result<()> {
        let mut queue = self.uring.submission();
        for ((number, send), vectored) in sends.enumerate().zip(&mut self.vectored) {
            let entry = entry(&send, vectored).user_data(number as u64);
            results[number] = Err(io::ErrorKind::Interrupted.into());
            // SAFETY: what the entry points to, the slices and `vectored`, outlives this function.
            // When the function returns, the kernel has no entry left: each was completed (its send
            // does not wait), or the ring is dropped before it is taken in.
            #[expect(unsafe_code, reason = "the kernel reads through pointers")]
            let pushed = unsafe { queue.push(&entry) };
            pushed.expect("the ring is empty before and has a place for each send of a portion");
        }
        drop(queue);
        let mut left = results.len();
        while left > 0 {
            match self.uring.submit_and_wait(left) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(_) | Err(_) => {}
            }
            for completion in self.uring.completion() {
                let result = completion.result();
                results[completion.user_data() as usize] =
                    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                left -= 1;
            }
        }
        Ok(())
    }
}

/// The ring's entry for a send. One slice is the rule; more of them go through `vectored`, which
/// must stay until the send is done.
fn entry(send: &Outgoing<'_, Stream>, vectored: &mut Vectored) -> squeue::Entry {
    const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let socket = types::Fd(send.socket.as_raw_fd());
    let mut filled = send.slices.iter().filter(|slice| !slice.is_empty());
    if let (Some(only), None) = (filled.next(), filled.next()) {
        // No slice is longer than a ring or a file, and both end below 4 GiB. A longer one would be
        // sent in part, which is allowed.
        let length = u32::try_from(only.len()).unwrap_or(u32::MAX);
        return opcode::Send::new(socket, only.as_ptr(), length).flags(FLAGS).build();
    }
    vectored.slices = send.slices.map(|slice| libc::iovec {
        iov_base: slice.as_ptr().cast_mut().cast(),
        iov_len: slice.len(),
    });
    vectored.header.msg_iov = vectored.slices.as_mut_ptr();
    vectored.header.msg_iovlen = vectored.slices.len() as _;
    opcode::SendMsg::new(socket, &raw const vectored.header).flags(FLAGS as u32).build()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// The two ends of some connections: ours, which never block, and the peers'.
    fn connections(count: usize) -> (Vec<Stream>, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (0..count)
            .map(|_| {
                let peer = TcpStream::connect(address).unwrap();
                let (ours, _) = listener.accept().unwrap();
                ours.set_nonblocking(true).unwrap();
                (Stream::Tcp(mio::net::TcpStream::from_std(ours)), peer)
            })
            .unzip()
    }

    /// Sends through a ring where this kernel allows one, and one by one where it does not.
    #[expect(clippy::disallowed_macros, reason = "whoever runs it should know")]
    fn sender() -> Option<Sender> {
        match Sender::new(config::IoUring::Require) {
            Ok(sender) => Some(sender),
            Err(error) => {
                eprintln!("NOT TESTED, this kernel allows no io_uring: {error}");
                assert!(!Sender::new(config::IoUring::Auto).unwrap().is_batched());
                None
            }
        }
    }

    fn send(
        sender: &mut Sender,
        sockets: &[Stream],
        slices: &[[&[u8]; 4]],
    ) -> Vec<io::Result<usize>> {
        let mut results: Vec<io::Result<usize>> = sockets.iter().map(|_| Ok(0)).collect();
        let sends = sockets.iter().zip(slices);
        let sends = sends.map(|(socket, slices)| Outgoing { socket, slices: *slices });
        sender.send(sends, &mut results);
        results
    }

    #[test]
    fn everybody_gets_what_was_meant_for_them() {
        let Some(mut sender) = sender() else { return };
        let (ours, mut peers) = connections(limits::SENDS_PER_TURN);
        let texts: Vec<String> = (0..ours.len()).map(|n| format!("for number {n}")).collect();
        let slices: Vec<[&[u8]; 4]> = texts
            .iter()
            .enumerate()
            .map(|(n, text)| match n % 3 {
                0 => [text.as_bytes(), b"", b"", b""],
                1 => [b"", &text.as_bytes()[..5], &text.as_bytes()[5..], b""],
                _ => [&text.as_bytes()[..1], &text.as_bytes()[1..2], b"", &text.as_bytes()[2..]],
            })
            .collect();
        // Sent twice, so that the ring is used again.
        for _ in 0..2 {
            for (text, result) in texts.iter().zip(send(&mut sender, &ours, &slices)) {
                assert_eq!(result.unwrap(), text.len());
            }
        }
        for (text, peer) in texts.iter().zip(&mut peers) {
            let mut got = vec![0; 2 * text.len()];
            peer.read_exact(&mut got).unwrap();
            assert_eq!(String::from_utf8_lossy(&got), format!("{text}{text}"));
        }
    }

    #[test]
    fn the_full_and_the_gone_are_told_apart() {
        let Some(mut sender) = sender() else { return };
        let (ours, mut peers) = connections(3);
        let large = vec![7; 32 * 1024 * 1024];
        let slices: [[&[u8]; 4]; 3] = [[&large, b"", b"", b""]; 3];
        let taken = send(&mut sender, &ours[..2], &slices[..2]);
        assert!(taken.iter().all(|taken| taken.as_ref().is_ok_and(|taken| *taken < large.len())));
        // The first peer does not read; the second goes without having read, which is a reset.
        drop(peers.remove(1));
        let kinds: Vec<_> = send(&mut sender, &ours, &slices)
            .into_iter()
            .map(|result| result.map(|_| ()).map_err(|error| error.kind()))
            .collect();
        let kinds = [kinds[0], kinds[1], kinds[2]];
        use io::ErrorKind::{ConnectionReset, WouldBlock};
        assert_eq!(kinds, [Err(WouldBlock), Err(ConnectionReset), Ok(())]);
    }

    #[test]
    fn off_means_off() {
        assert!(!Sender::new(config::IoUring::Off).unwrap().is_batched());
    }
}
