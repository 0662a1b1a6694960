//! A fake socket: two byte strings, and what a test has decided about them.
//!
//! A connection is a [`Wire`]. The server has its [`End`] of it, a test a [`Client`], by which it
//! may change everything at any time: let bytes arrive, take some or none of what is written, end,
//! reset, and look at what the server has done. Nothing happens by chance, nothing takes time, and
//! nobody is told: that a socket has become readable or writable is said by the test
//! (`World::ready`), as epoll would.
//!
//! *The surprise*: the server's end is a number, as a descriptor is, and the wires are in a table
//! of the thread. So an entry of the server's table has the size that it has in earnest, which
//! `tests/limits.rs` measures. A wire leaves the table when the server drops its end, and lives on
//! while its client is there.
//!
//! Once its byte strings have grown, a wire allocates nothing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use elbow::server::Socket;

use super::contract;

thread_local! {
    /// The wires of which a server has the other end, by the number of that end.
    static WIRES: RefCell<Vec<Option<Rc<RefCell<Wire>>>>> = const { RefCell::new(Vec::new()) };
}

/// The two directions of a connection, as its client sees them.
#[derive(Debug)]
pub(crate) struct Wire {
    /// What has arrived and the server has not read.
    pub(crate) to_server: VecDeque<u8>,
    /// What the server has written and the client has not looked at.
    pub(crate) to_client: Vec<u8>,
    /// Bytes that the server may still write. Of a client that reads nothing it is 0; of one that
    /// reads everything it never ends.
    pub(crate) room: usize,
    /// The client has said that nothing more will come.
    pub(crate) ended: bool,
    /// The client has reset the connection: reads and writes fail.
    pub(crate) reset: bool,
    /// The kernel has given up sending: writes fail, and what has arrived can still be read.
    pub(crate) broken: bool,
    /// The next read stops after so many bytes, as in front of urgent data.
    pub(crate) mark: Option<usize>,
    /// The server has said that nothing more will come.
    pub(crate) shut_down: bool,
    /// The server has dropped its end.
    pub(crate) dropped: bool,
    /// Calls of `read`.
    pub(crate) reads: usize,
}

/// The client's hold of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Client(pub(crate) Rc<RefCell<Wire>>);

/// The server's end of a connection.
#[derive(Debug)]
pub(crate) struct End(u32);

impl Client {
    /// A connection whose client takes whatever is written, and the end of it that a server gets.
    pub(crate) fn connect() -> (Client, End) {
        let wire = Rc::new(RefCell::new(Wire {
            to_server: VecDeque::new(),
            to_client: Vec::new(),
            room: usize::MAX,
            ended: false,
            reset: false,
            broken: false,
            mark: None,
            shut_down: false,
            dropped: false,
            reads: 0,
        }));
        let number = WIRES.with_borrow_mut(|wires| {
            wires.push(Some(Rc::clone(&wire)));
            wires.len() - 1
        });
        (Client(wire), End(u32::try_from(number).expect("fewer connections than that")))
    }

    /// What has come since the last call.
    pub(crate) fn heard(&self) -> Vec<u8> {
        core::mem::take(&mut self.0.borrow_mut().to_client)
    }

    /// From now on nothing more is taken of what the server writes.
    pub(crate) fn stop_reading(&self) {
        self.0.borrow_mut().room = 0;
    }
}

impl End {
    fn wire(&self) -> Rc<RefCell<Wire>> {
        let wire = WIRES.with_borrow(|wires| wires[self.0 as usize].clone());
        wire.expect("it is there until the end is dropped")
    }
}

impl Socket for End {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        contract::assert_reads(buffer);
        let wire = self.wire();
        let mut wire = wire.borrow_mut();
        wire.reads += 1;
        if wire.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if wire.to_server.is_empty() && !wire.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        let most = wire.mark.take().unwrap_or(usize::MAX);
        Ok(contract::take(&mut wire.to_server, buffer, most))
    }

    fn write(&self, slices: &[&[u8]; 4]) -> io::Result<usize> {
        let wire = self.wire();
        let mut wire = wire.borrow_mut();
        let asked = contract::assert_writes(slices, wire.shut_down);
        if wire.reset || wire.broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let count = asked.min(wire.room);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        wire.room -= count;
        contract::first(slices, count).for_each(|part| wire.to_client.extend_from_slice(part));
        Ok(count)
    }

    fn shutdown_write(&self) {
        self.wire().borrow_mut().shut_down = true;
    }

    /// Nothing to do: what was written has arrived already, and cannot be lost by a reset.
    fn cut(&self) {}
}

impl Drop for End {
    fn drop(&mut self) {
        WIRES.with_borrow_mut(|wires| {
            if let Some(wire) = wires[self.0 as usize].take() {
                wire.borrow_mut().dropped = true;
            }
            // The table is empty again when all have gone: fuzzing makes worlds by the million.
            while let Some(None) = wires.last() {
                wires.pop();
            }
        });
    }
}
