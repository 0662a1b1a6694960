//! A fake socket: two byte pipes with a capacity, a latency and a temper, and the readiness that
//! epoll would report of them, edge-triggered.
//!
//! What is faithful to Linux: an edge comes with new bytes, with the end, and with room after a
//! write that was refused or short, never because something is merely still so; an event tells the
//! whole state of its moment; dropping a socket with unread input, or cutting it, is a reset, and
//! a reset destroys what is under way. What is merciless: calls are interrupted, give less than
//! there is or refuse at random (an edge follows then, as if the bytes had come a moment later),
//! and readiness is reported when there is none.
//!
//! It also remembers what the oracle asks about later: when the server last read and wrote, whether
//! it knows that it is blocked, what it left unread at the end. All of that is more than the fake
//! socket of the other tests has (`harness/socket.rs`); what a server may ask of a socket is the
//! same for both (`harness/contract.rs`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::rc::Rc;

use elbow::server::{Readiness, Socket};

use super::climate::{Dice, Temper};
use super::contract;

/// What all sockets share.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) now_ms: Cell<u64>,
    pub(crate) temper: Cell<Temper>,
    pub(crate) dice: RefCell<Dice>,
    /// Links that the server has touched since this was last emptied.
    pub(crate) touched: RefCell<Vec<usize>>,
    pub(crate) calls: Cell<u64>,
    /// The most bytes that a link was given to choose from in a turn.
    pub(crate) most_offered: Cell<u64>,
    /// Of every byte that was written, to which link, and when.
    pub(crate) trace: RefCell<DefaultHasher>,
}

impl Net {
    pub(crate) fn new(dice: Dice, temper: Temper) -> Rc<Net> {
        Rc::new(Net {
            now_ms: Cell::new(0),
            temper: Cell::new(temper),
            dice: RefCell::new(dice),
            touched: RefCell::new(Vec::new()),
            calls: Cell::new(0),
            most_offered: Cell::new(0),
            trace: RefCell::new(DefaultHasher::new()),
        })
    }

    fn chance(&self, per_mille: u64) -> bool {
        self.dice.borrow_mut().chance(per_mille)
    }

    fn due_ms(&self) -> u64 {
        let latency_ms_max = self.temper.get().latency_ms_max;
        self.now_ms.get() + self.dice.borrow_mut().below(latency_ms_max + 1)
    }
}

#[derive(Debug)]
enum Packet {
    Bytes(Vec<u8>),
    End,
    Reset(io::ErrorKind),
}

/// The two ways between a client and the server.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) number: usize,
    net: Rc<Net>,
    pub(crate) state: RefCell<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    flying: VecDeque<(u64, Packet)>,
    flying_bytes: usize,
    inbound: VecDeque<u8>,
    end_arrived: bool,
    reset: Option<io::ErrorKind>,

    /// Written by the server and not looked at yet.
    pub(crate) fresh: Vec<u8>,
    pub(crate) written: u64,
    /// What the client can see of it, and when more can be seen.
    arrived: u64,
    arrivals: VecDeque<(u64, u64)>,
    /// What the client has taken.
    pub(crate) taken: u64,
    server_end_ms: Option<u64>,
    server_reset_ms: Option<u64>,

    /// An event is due.
    pub(crate) edge: bool,
    /// An event is due a moment later.
    nudge: bool,
    wants_room: bool,
    /// A read gave less than there was, so that the server waits for the next event.
    pub(crate) unaware: bool,
    /// The server was told that it may read, and has not tried.
    alarmed: bool,
    /// When the server last tried, of those times that it was told so.
    pub(crate) alarmed_until_ms: u64,
    touched: bool,
    /// Bytes that the server had for it in this turn.
    offered: u64,

    /// The server knows that it cannot write.
    pub(crate) blocked: bool,
    /// When the server last knew that it could not write.
    pub(crate) blocked_at_ms: Option<u64>,
    /// What the client has handed to the net.
    pub(crate) sent_bytes: u64,
    /// When it last did, or said its end.
    pub(crate) sent_at_ms: u64,
    /// What the server has read of that.
    pub(crate) read_bytes: u64,
    pub(crate) read_at_ms: u64,
    pub(crate) wrote_at_ms: u64,
    /// Since when there has been something that the client does not take.
    pub(crate) untaken_since_ms: u64,
    pub(crate) shut_at_ms: Option<u64>,
    pub(crate) dropped: bool,
    pub(crate) cut: bool,
    pub(crate) left_unread: bool,
    /// Since when there is input that is not read although nothing is blocked.
    pub(crate) unread_since_ms: Option<u64>,
    /// When the client last took something.
    pub(crate) took_at_ms: u64,
    /// The peer takes nothing, and the kernel has waited long enough for it.
    pub(crate) gave_up: bool,
    /// When it was last said that there was nothing to read although there was.
    pub(crate) refused_at_ms: u64,
    /// When the end or an error arrived.
    pub(crate) over_at_ms: u64,
    /// The longest time between two reads.
    pub(crate) longest_silence_ms: u64,
}

impl Link {
    pub(crate) fn new(number: usize, net: &Rc<Net>) -> Rc<Link> {
        Rc::new(Link { number, net: Rc::clone(net), state: RefCell::default() })
    }

    // The client's side.

    /// Sends as much as the way holds; how much that was.
    pub(crate) fn send(&self, bytes: &[u8]) -> usize {
        let mut state = self.state.borrow_mut();
        if state.dropped {
            return bytes.len();
        }
        let room = self.net.temper.get().receive_bytes;
        let room = room.saturating_sub(state.inbound.len() + state.flying_bytes);
        let sent = bytes.len().min(room);
        if sent > 0 {
            state.sent_bytes += sent as u64;
            state.sent_at_ms = self.net.now_ms.get();
            state.flying_bytes += sent;
            let packet = Packet::Bytes(bytes[..sent].to_vec());
            self.fly(&mut state, packet);
        }
        sent
    }

    /// Says that nothing more will come.
    pub(crate) fn end(&self) {
        let mut state = self.state.borrow_mut();
        state.sent_at_ms = self.net.now_ms.get();
        self.fly(&mut state, Packet::End);
    }

    pub(crate) fn reset(&self, kind: io::ErrorKind) {
        self.fly(&mut self.state.borrow_mut(), Packet::Reset(kind));
    }

    /// Takes what has arrived, `most` bytes of it; up to where.
    pub(crate) fn take(&self, most: u64) -> u64 {
        let mut state = self.state.borrow_mut();
        let now = self.net.now_ms.get();
        while let Some((due, upto)) = state.arrivals.front().copied()
            && due <= now
        {
            state.arrived = upto;
            state.arrivals.pop_front();
        }
        let taken = most.min(state.arrived - state.taken);
        state.taken += taken;
        if taken > 0 {
            state.took_at_ms = now;
            state.untaken_since_ms = now;
        }
        state.taken
    }

    /// Whether the server's end is all that there is left to see.
    pub(crate) fn is_ended(&self) -> bool {
        let state = self.state.borrow();
        let now = self.net.now_ms.get();
        state.server_end_ms.is_some_and(|at| at <= now) && state.taken == state.written
    }

    /// Whether the server's reset has arrived.
    pub(crate) fn is_reset(&self) -> bool {
        self.state.borrow().server_reset_ms.is_some_and(|at| at <= self.net.now_ms.get())
    }

    /// Whether the server could not write to it a moment ago.
    pub(crate) fn was_blocked_now(&self) -> bool {
        self.state.borrow().blocked_at_ms == Some(self.net.now_ms.get())
    }

    /// What the server has read of what was said.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.state.borrow().read_bytes
    }

    /// When the client should look again.
    pub(crate) fn client_due_ms(&self) -> u64 {
        let state = self.state.borrow();
        let last = state.arrivals.back().map_or(0, |(due, _)| *due);
        last.max(state.server_end_ms.unwrap_or(0)).max(state.server_reset_ms.unwrap_or(0))
    }

    fn fly(&self, state: &mut State, packet: Packet) {
        let last = state.flying.back().map_or(0, |(due, _)| *due);
        state.flying.push_back((last.max(self.net.due_ms()), packet));
    }

    // The net's side.

    /// Lets arrive what is due. Whether an event is due, and when to call again.
    pub(crate) fn breathe(&self) -> (bool, Option<u64>) {
        let mut state = self.state.borrow_mut();
        let now = self.net.now_ms.get();
        let had_edge = state.edge;
        while let Some((due, _)) = state.flying.front()
            && *due <= now
        {
            let (_, packet) = state.flying.pop_front().expect("it was seen");
            state.arrive(packet);
            if state.over_at_ms == 0 && state.is_over() {
                state.over_at_ms = now;
            }
        }
        let capacity = self.net.temper.get().send_bytes as u64;
        if state.wants_room && state.written - state.taken < capacity {
            state.wants_room = false;
            state.edge = true;
        }
        if state.nudge {
            state.nudge = false;
            state.edge = true;
        }
        if state.dropped {
            state.edge = false;
        }
        let next = state.flying.front().map(|(due, _)| *due);
        (state.edge && !had_edge, next)
    }

    /// What epoll says now; nothing if nothing is ready.
    pub(crate) fn readiness(&self) -> Option<Readiness> {
        let mut state = self.state.borrow_mut();
        let capacity = self.net.temper.get().send_bytes as u64;
        (state.edge, state.unaware) = (false, false);
        let broken = state.reset.is_some();
        let more_behind = state.end_arrived || broken;
        let readable = !state.inbound.is_empty() || more_behind;
        let writable = state.written - state.taken < capacity || broken;
        if writable && state.blocked {
            state.blocked = false;
            state.blocked_at_ms = Some(self.net.now_ms.get());
        }
        if writable {
            state.wants_room = false;
        }
        let said = Readiness { readable, more_behind, writable };
        (readable || writable).then_some(said)
    }

    fn touch(&self, state: &mut State) {
        self.net.calls.set(self.net.calls.get() + 1);
        if !state.touched {
            state.touched = true;
            self.net.touched.borrow_mut().push(self.number);
        }
    }
}

impl State {
    fn arrive(&mut self, packet: Packet) {
        match packet {
            Packet::Bytes(bytes) => {
                self.flying_bytes -= bytes.len();
                if self.dropped {
                    // The kernel answers what nobody will read.
                    self.server_reset_ms.get_or_insert(0);
                } else {
                    self.inbound.extend(bytes);
                }
            }
            Packet::End => self.end_arrived = true,
            Packet::Reset(kind) => self.reset = Some(kind),
        }
        self.edge = true;
    }

    pub(crate) fn untouch(&mut self) {
        self.touched = false;
        self.offered = 0;
    }

    /// Bytes that have arrived and that the server has not read.
    pub(crate) fn unread_bytes(&self) -> usize {
        self.inbound.len()
    }

    /// The server is told that it may read and write.
    pub(crate) fn alarmed(&mut self, now_ms: u64) {
        if self.blocked {
            self.blocked = false;
            self.blocked_at_ms = Some(now_ms);
        }
        (self.alarmed, self.unaware) = (true, false);
    }

    /// Whether the server must believe that there is something to read.
    pub(crate) fn seems_unread(&self) -> bool {
        self.alarmed || !self.inbound.is_empty()
    }

    /// Whether the server has read all that came, or left nothing when it went.
    pub(crate) fn is_drained(&self) -> bool {
        self.inbound.is_empty() && !self.left_unread
    }

    /// Whether an end or an error has arrived.
    pub(crate) fn is_over(&self) -> bool {
        self.end_arrived || self.reset.is_some()
    }

    /// Whether everything that was sent has arrived, and the server was told of it.
    pub(crate) fn is_told(&self) -> bool {
        self.flying.is_empty() && !self.edge && !self.nudge
    }

    /// Whether nothing is on its way to the server.
    pub(crate) fn is_quiet(&self) -> bool {
        self.flying.is_empty() && self.inbound.is_empty() && !self.edge
    }
}

/// The server's hold of a link.
#[derive(Debug)]
pub(crate) struct FakeSocket(pub(crate) Rc<Link>);

impl Socket for FakeSocket {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (net, mut state) = (&self.0.net, self.0.state.borrow_mut());
        let temper = net.temper.get();
        contract::assert_reads(buffer);
        self.0.touch(&mut state);
        if state.alarmed {
            state.alarmed = false;
            state.alarmed_until_ms = net.now_ms.get();
        }
        if net.chance(temper.interrupts) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if state.inbound.is_empty() {
            if let Some(kind) = state.reset {
                return Err(kind.into());
            }
            return if state.end_arrived { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        if net.chance(temper.refused_reads) {
            (state.nudge, state.unaware) = (true, true);
            state.refused_at_ms = net.now_ms.get();
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut most = buffer.len().min(state.inbound.len());
        if most > 1 && net.chance(temper.tiny_reads) {
            most = 1;
            (state.nudge, state.unaware) = (true, true);
        }
        let count = contract::take(&mut state.inbound, buffer, most);
        state.read_bytes += count as u64;
        let silence_ms = net.now_ms.get() - state.read_at_ms;
        state.longest_silence_ms = state.longest_silence_ms.max(silence_ms);
        state.read_at_ms = net.now_ms.get();
        Ok(count)
    }

    fn write(&self, slices: &[&[u8]; 4]) -> io::Result<usize> {
        let (net, mut state) = (&self.0.net, self.0.state.borrow_mut());
        let temper = net.temper.get();
        self.0.touch(&mut state);
        let asked = contract::assert_writes(slices, state.shut_at_ms.is_some());
        state.offered += asked as u64;
        net.most_offered.set(net.most_offered.get().max(state.offered));
        if net.chance(temper.interrupts) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if let Some(kind) = state.reset {
            return Err(kind.into());
        }
        let room = temper.send_bytes - (state.written - state.taken) as usize;
        let mut count = asked.min(room);
        if count > 0 && net.chance(temper.refused_writes) {
            count = 0;
        } else if count > 1 && net.chance(temper.short_writes) {
            count = 1 + net.dice.borrow_mut().below(count as u64 - 1) as usize;
        }
        if count < asked {
            state.wants_room = true;
            state.nudge |= count < room;
            state.blocked = true;
            state.blocked_at_ms = Some(net.now_ms.get());
        }
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut trace = net.trace.borrow_mut();
        trace.write_u64(net.now_ms.get() << 16 | self.0.number as u64);
        for part in contract::first(slices, count) {
            state.fresh.extend_from_slice(part);
            trace.write(part);
        }
        if state.written == state.taken {
            state.untaken_since_ms = net.now_ms.get();
        }
        state.written += count as u64;
        state.wrote_at_ms = net.now_ms.get();
        let last = state.arrivals.back().map_or(0, |(due, _)| *due);
        let written = state.written;
        state.arrivals.push_back((last.max(net.due_ms()), written));
        Ok(count)
    }

    fn shutdown_write(&self) {
        let (net, mut state) = (&self.0.net, self.0.state.borrow_mut());
        self.0.touch(&mut state);
        state.shut_at_ms = Some(net.now_ms.get());
        let last = state.arrivals.back().map_or(0, |(due, _)| *due);
        state.server_end_ms = Some(last.max(net.due_ms()));
    }

    fn cut(&self) {
        let mut state = self.0.state.borrow_mut();
        self.0.touch(&mut state);
        state.cut = true;
    }
}

impl Drop for FakeSocket {
    fn drop(&mut self) {
        let (net, mut state) = (&self.0.net, self.0.state.borrow_mut());
        self.0.touch(&mut state);
        state.dropped = true;
        state.left_unread = !state.inbound.is_empty();
        state.inbound.clear();
        let last = state.arrivals.back().map_or(0, |(due, _)| *due);
        if state.cut || state.left_unread {
            state.server_reset_ms = Some(net.due_ms());
        } else if state.server_end_ms.is_none() {
            state.server_end_ms = Some(last.max(net.due_ms()));
        }
    }
}
