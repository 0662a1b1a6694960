//! Listeners, and the sockets of connections.
//!
//! Every option that a connection needs is set on the listener and inherited, so that accepting one
//! costs a single call. POSIX does not say which options are inherited, Linux decides; so a test
//! asks an accepted socket for each.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, RawFd};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};

use crate::config::{self, Config};
use crate::limits::{self, Limits};
use crate::server::{Listener, Server, Socket};
use crate::text::shown_text;

/// Unsent bytes that the kernel may keep of a connection before the socket stops being writable.
/// All others stay in the feed, where everybody shares them.
const NOT_SENT_BYTES: u32 = 16 * 1024;

/// The first descriptor that systemd hands over (`SD_LISTEN_FDS_START`).
const ACTIVATED_FIRST: RawFd = 3;

/// A connection's socket.
#[derive(Debug)]
pub(super) struct Stream(pub(super) TcpStream);

impl Socket for Stream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    fn write(&self, slices: &[&[u8]; 4]) -> io::Result<usize> {
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        match (filled.next(), filled.next()) {
            // One slice is the rule, and `send` is cheaper than `writev`.
            (Some(only), None) => (&self.0).write(only),
            _ => (&self.0).write_vectored(&slices.map(io::IoSlice::new)),
        }
    }

    fn shutdown_write(&self) {
        // This fails when the peer has reset the connection, which the next read says too.
        let _ = self.0.shutdown(std::net::Shutdown::Write);
    }

    fn cut(&self) {
        // Should this fail, dropping the socket sends a FIN instead of a reset, and the kernel goes
        // on trying to send what is left: the connection ends all the same.
        let _ = SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
    }
}

struct Open {
    socket: TcpListener,
    kind: Listener,
    address: SocketAddr,
    /// Whether there may be a connection to accept, of which the kernel tells only once.
    ready: bool,
    /// Whether systemd has lent the socket.
    lent: bool,
}

/// All listeners.
pub(super) struct Listeners {
    open: Vec<Open>,
    /// The listener whose turn it is, so that a flood of one does not keep the others waiting.
    next: usize,
}

impl Listeners {
    /// Binds, or takes over from systemd, what the configuration names. An error is one line for
    /// the operator.
    pub(super) fn open(
        config: &Config,
        activated: bool,
        registry: &Registry,
        first_token: usize,
    ) -> Result<Listeners, String> {
        let limits = &config.settings.limits;
        let mut open = Vec::new();
        if activated {
            for socket in activated_sockets()? {
                open.push(adopt(socket, limits, Listener::Public, true)?);
            }
        } else {
            for address in &config.listen {
                open.push(bind(*address, limits, Listener::Public, "--listen")?);
            }
        }
        if let Some(address) = config.health_listen {
            open.push(bind(address, limits, Listener::Health, "--health-listen")?);
        }
        for (number, listener) in open.iter_mut().enumerate() {
            registry
                .register(&mut listener.socket, Token(first_token + number), Interest::READABLE)
                .map_err(|error| format!("epoll: {}: {error}", listener.address))?;
        }
        Ok(Listeners { open, next: 0 })
    }

    /// Notes that a listener has a connection to accept.
    pub(super) fn ready(&mut self, number: usize) {
        if let Some(listener) = self.open.get_mut(number) {
            listener.ready = true;
        }
    }

    /// Whether [`Listeners::accept`] is worth calling although the kernel has told of nothing new.
    pub(super) fn is_ready_for(&self, server: &Server<Stream>) -> bool {
        self.open.iter().any(|listener| listener.ready && server.has_room_for(listener.kind))
    }

    /// The next connection of any listener for which there is room. An error says what the system
    /// lacks; connections that were reset while they waited are passed over.
    pub(super) fn accept(
        &mut self,
        has_room_for: impl Fn(Listener) -> bool,
    ) -> io::Result<Option<(Listener, Stream, SocketAddr)>> {
        let count = self.open.len();
        for turn in 0..count {
            let number = (self.next + turn) % count;
            let listener = &mut self.open[number];
            // Connections stay in this listener's backlog, and do not keep the others waiting.
            if !has_room_for(listener.kind) {
                continue;
            }
            while listener.ready {
                match listener.socket.accept() {
                    Ok((stream, peer)) => {
                        self.next = number + 1;
                        return Ok(Some((listener.kind, Stream(stream), peer)));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        listener.ready = false;
                    }
                    Err(error) if is_of_the_connection(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }

    /// Stops accepting from sockets that were lent: connections that queue there are the next
    /// process's.
    pub(super) fn hand_back(&mut self, registry: &Registry) {
        for listener in self.open.iter_mut().filter(|listener| listener.lent) {
            listener.ready = false;
            // Should this fail, closing the descriptor at the end of the process does it.
            let _ = registry.deregister(&mut listener.socket);
        }
    }

    /// All listeners' addresses, with the port that the system has picked.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (Listener, SocketAddr)> {
        self.open.iter().map(|listener| (listener.kind, listener.address))
    }
}

/// Whether `accept4(2)` passes an error on from the connection that it would have returned.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::TimedOut
            | ErrorKind::PermissionDenied
    )
}

fn bind(address: SocketAddr, limits: &Limits, kind: Listener, flag: &str) -> Result<Open, String> {
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
            .and_then(|socket| {
                socket.set_reuse_address(true)?;
                socket.bind(&address.into())?;
                Ok(socket)
            })
            .map_err(|error| format!("{flag} {address}: {error}"))?;
    adopt(socket, limits, kind, false)
}

/// Sets the options that accepted connections inherit, and listens.
fn adopt(
    socket: socket2::Socket,
    limits: &Limits,
    kind: Listener,
    lent: bool,
) -> Result<Open, String> {
    let address = socket
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .ok_or("a listener is not a TCP socket")?;
    let patience = limits.ping_interval.plus(limits.ping_timeout);
    let patience = Duration::from_millis(patience.as_millis());
    let prepare = || {
        socket.set_nonblocking(true)?;
        socket.set_cloexec(true)?;
        // Set before listening, since the receive buffer decides the window that is offered.
        socket.set_recv_buffer_size(limits.receive_buffer_bytes as usize)?;
        socket.set_send_buffer_size(limits.send_buffer_bytes as usize)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(NOT_SENT_BYTES)?;
        socket.set_tcp_user_timeout(Some(patience))?;
        // An NLB forgets idle flows without saying so. Probes find that out, and keep it from
        // happening.
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(Duration::from_secs(60))
                .with_interval(Duration::from_secs(15))
                .with_retries(4),
        )?;
        if lent { Ok(()) } else { socket.listen(limits::BACKLOG) }
    };
    prepare().map_err(|error: io::Error| format!("{address}: {error}"))?;
    let socket = TcpListener::from_std(socket.into());
    Ok(Open { socket, kind, address, ready: false, lent })
}

/// The sockets that `LISTEN_FDS` announces (sd_listen_fds(3)). The variables are not unset, since
/// we start no other program that could take the sockets for its own.
fn activated_sockets() -> Result<Vec<socket2::Socket>, String> {
    let text = config::environment("LISTEN_FDS").unwrap_or_default();
    let count: RawFd =
        text.parse().ok().filter(|count| (1..=8).contains(count)).ok_or_else(|| {
            format!("LISTEN_FDS is \"{}\": 1 to 8 sockets are allowed", shown_text(&text))
        })?;
    (ACTIVATED_FIRST..ACTIVATED_FIRST + count).map(activated_socket).collect()
}

fn activated_socket(descriptor: RawFd) -> Result<socket2::Socket, String> {
    // The number is looked up first, so that a descriptor that was never opened is an error, not a
    // guess.
    let place = format!("/proc/self/fd/{descriptor}");
    let target = std::fs::read_link(place).unwrap_or_default();
    if !target.to_string_lossy().starts_with("socket:") {
        return Err(format!("LISTEN_FDS: descriptor {descriptor} is not a socket"));
    }
    // SAFETY: the descriptor is open, as was just seen, and nobody else in this process owns it: it
    // was opened before the process began, and each number is taken once, at start.
    #[expect(unsafe_code, reason = "a descriptor handed over by number has no safe owner yet")]
    let socket = unsafe { socket2::Socket::from_raw_fd(descriptor) };
    match socket.is_listener() {
        Ok(true) => Ok(socket),
        Ok(false) | Err(_) => {
            Err(format!("LISTEN_FDS: descriptor {descriptor} does not listen (Accept=no?)"))
        }
    }
}
