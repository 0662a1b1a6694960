//! Sends handed over together, and the plain way to do them.
//!
//! A flush pass gathers a portion of sends and gives it away as a whole, so that whoever knows a
//! cheaper way than a system call for each can take it. A batch is scoped: every send is complete,
//! with its result, before the call returns, so the bytes may be borrowed from the ring and nothing
//! outlives the call.

use std::io;

use crate::server::Socket;

/// What goes to one socket.
#[derive(Debug)]
pub struct Outgoing<'a, S> {
    /// Where to. No socket appears twice in a batch.
    pub socket: &'a S,
    /// What, in this order; some may be empty, never all.
    pub slices: [&'a [u8]; 4],
}

/// A way to do many sends.
pub trait Batch<S> {
    /// Does all of `sends`, of which there are as many as `results`, without ever waiting for a
    /// peer. A result is how much of the slices the socket took, or `WouldBlock` if it was full.
    fn send<'a>(
        &mut self,
        sends: impl ExactSizeIterator<Item = Outgoing<'a, S>>,
        results: &mut [io::Result<usize>],
    ) where
        S: 'a;
}

/// A system call for each.
#[derive(Clone, Copy, Debug)]
pub struct OneByOne;

impl<S: Socket> Batch<S> for OneByOne {
    fn send<'a>(
        &mut self,
        sends: impl ExactSizeIterator<Item = Outgoing<'a, S>>,
        results: &mut [io::Result<usize>],
    ) where
        S: 'a,
    {
        for (send, result) in sends.zip(results) {
            *result = send.socket.write(&send.slices);
        }
    }
}
