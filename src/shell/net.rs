//! Listeners, and the sockets of connections.
//!
//! Every option that a TCP connection needs is set on the listener and inherited, so that accepting
//! one costs a single call. POSIX does not say which options are inherited, Linux decides; so a
//! test asks an accepted socket for each.
//!
//! The surprise: a Unix socket inherits nothing, so its send buffer is set when it is accepted. It
//! has no receive buffer: what its peer says waits in the peer's send buffer.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};

use super::activation;
use super::socket_file::SocketFile;
use crate::config::{Activated, Config, Endpoint, Listen};
use crate::limits::{self, Limits};
use crate::server::{Listener, Server, Socket};
use crate::settings::UNIX_PEER;

/// Unsent bytes that the kernel may keep of a connection before the socket stops being writable.
/// All others stay in the feed, where everybody shares them.
const NOT_SENT_BYTES: u32 = 16 * 1024;

/// The permissions of the admin listener's file: whoever may write to it may do everything, so that
/// is its owner alone, whatever `--unix-mode` says.
const ADMIN_UNIX_MODE: u32 = 0o600;

/// A connection's socket.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// What epoll is told of.
    pub(super) fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Unix(stream) => stream,
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl Socket for Stream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).read(buffer),
            Stream::Unix(stream) => (&mut &*stream).read(buffer),
        }
    }

    fn write(&self, slices: &[&[u8]; 4]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => write(&mut &*stream, slices),
            Stream::Unix(stream) => write(&mut &*stream, slices),
        }
    }

    fn shutdown_write(&self) {
        // This fails when the peer has reset the connection, which the next read says too.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
        };
    }

    fn cut(&self) {
        match self {
            // Should this fail, dropping the socket sends a FIN instead of a reset, and the kernel
            // goes on trying to send what is left: the connection ends all the same.
            Stream::Tcp(stream) => {
                let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
            // Nothing is left to be sent: what was written is with the peer already.
            Stream::Unix(_) => {}
        }
    }
}

fn write(stream: &mut impl Write, slices: &[&[u8]; 4]) -> io::Result<usize> {
    let mut filled = slices.iter().filter(|slice| !slice.is_empty());
    match (filled.next(), filled.next()) {
        // One slice is the rule, and `send` is cheaper than `writev`.
        (Some(only), None) => stream.write(only),
        _ => stream.write_vectored(&slices.map(io::IoSlice::new)),
    }
}

/// A listening socket.
enum Listening {
    Tcp(TcpListener),
    Unix {
        socket: UnixListener,
        /// Bytes of the send buffer that each connection gets.
        send_bytes: usize,
    },
}

impl Listening {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Listening::Tcp(socket) => socket,
            Listening::Unix { socket, .. } => socket,
        }
    }

    fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Listening::Tcp(socket) => {
                socket.accept().map(|(stream, peer)| (Stream::Tcp(stream), peer))
            }
            Listening::Unix { socket, send_bytes } => {
                let (stream, _) = socket.accept()?;
                SockRef::from(&stream).set_send_buffer_size(*send_bytes)?;
                Ok((Stream::Unix(stream), UNIX_PEER))
            }
        }
    }
}

struct Open {
    /// The file of a Unix socket that was bound here, which goes when the listener goes: before the
    /// socket, since fields are dropped in their order.
    _file: Option<SocketFile>,
    socket: Listening,
    kind: Listener,
    address: Endpoint,
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
        activated: Activated,
        registry: &Registry,
        first_token: usize,
    ) -> Result<Listeners, String> {
        let limits = &config.settings.limits;
        let mut open = Vec::new();
        if activated.any() {
            for (kind, socket) in activation::sockets()? {
                let socket = adopt(socket, limits, kind, true, None)?;
                check_admin(config, &socket)?;
                open.push(socket);
            }
        }
        let public = config.listen.iter().filter(|_| !activated.public);
        let health = config.health_listen.iter().filter(|_| !activated.health);
        let admin = config.admin_listen.iter().filter(|_| !activated.admin);
        let public = public.map(|listen| (Listener::Public, "--listen", listen));
        let health = health.map(|listen| (Listener::Health, "--health-listen", listen));
        let admin = admin.map(|listen| (Listener::Admin, "--admin-listen", listen));
        let asked: Vec<_> = public.chain(health).chain(admin).collect();
        for (kind, flag, listen) in &asked {
            let only_v6 = asked.iter().any(|(_, _, other)| listen.leaves_ipv4_to(other));
            let unix_mode = match kind {
                Listener::Public | Listener::Health => config.unix_mode,
                Listener::Admin => ADMIN_UNIX_MODE,
            };
            let bound = bind(listen, only_v6, unix_mode);
            let (socket, file) = bound.map_err(|error| format!("{flag} {listen}: {error}"))?;
            open.push(adopt(socket, limits, *kind, false, file)?);
        }
        for (number, listener) in open.iter_mut().enumerate() {
            registry
                .register(listener.socket.source(), Token(first_token + number), Interest::READABLE)
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

    /// Whether [`Listeners::accept`] is worth calling for a kind of listener although the kernel
    /// has told of nothing new.
    pub(super) fn is_ready(&self, kind: Listener, server: &Server<Stream>) -> bool {
        let is_ready = |listener: &Open| listener.ready && listener.kind == kind;
        self.open.iter().any(is_ready) && server.has_room_for(kind)
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
                        return Ok(Some((listener.kind, stream, peer)));
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
            let _ = registry.deregister(listener.socket.source());
        }
    }

    /// All listeners' addresses, with the port that the system has picked.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (Listener, &Endpoint)> {
        self.open.iter().map(|listener| (listener.kind, &listener.address))
    }
}

/// Refuses a socket for the admin listener that others than this machine can reach, unless there is
/// a token. Of sockets that are not handed over the configuration has asked that already.
fn check_admin(config: &Config, open: &Open) -> Result<(), String> {
    let is_local = Listen::At(open.address.clone()).is_local();
    if open.kind != Listener::Admin || is_local || config.admin_token.is_some() {
        return Ok(());
    }
    Err(format!(
        "the socket admin of LISTEN_FDNAMES, {}, needs a token: allowed is a loopback address or a \
         Unix socket without one, or --admin-token-file",
        open.address
    ))
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

fn bind(
    listen: &Listen,
    only_v6: bool,
    unix_mode: u32,
) -> io::Result<(socket2::Socket, Option<SocketFile>)> {
    match listen {
        Listen::At(Endpoint::Unix(path)) => {
            let (socket, file) = SocketFile::listen(path, unix_mode, limits::BACKLOG)?;
            Ok((socket, Some(file)))
        }
        Listen::At(Endpoint::Ip(address)) => Ok((bind_ip(*address, only_v6)?, None)),
        Listen::Any(port) => Ok((bind_any(*port)?, None)),
    }
}

fn bind_ip(address: SocketAddr, only_v6: bool) -> io::Result<socket2::Socket> {
    let domain = Domain::for_address(address);
    let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Set either way: what the system does unasked can be switched (net.ipv6.bindv6only).
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Binds to every address of the machine: of IPv6 and IPv4, or of IPv4 where that is all there is.
fn bind_any(port: u16) -> io::Result<socket2::Socket> {
    match bind_ip((Ipv6Addr::UNSPECIFIED, port).into(), false) {
        Err(error) if lacks_ipv6(&error) => bind_ip((Ipv4Addr::UNSPECIFIED, port).into(), false),
        bound => bound,
    }
}

/// Whether the kernel has no IPv6, or its administrator has switched it off.
fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Sets the options that accepted connections inherit, and listens unless the socket does so.
fn adopt(
    socket: socket2::Socket,
    limits: &Limits,
    kind: Listener,
    lent: bool,
    file: Option<SocketFile>,
) -> Result<Open, String> {
    let address = socket.local_addr().map_err(|error| format!("a listener: {error}"))?;
    let ip = address.as_socket();
    if !matches!(socket.r#type(), Ok(Type::STREAM)) || !(ip.is_some() || address.is_unix()) {
        return Err("a listener is neither a TCP socket nor a Unix socket of streams".to_owned());
    }
    let path = || address.as_pathname().map(|path| path.to_owned()).unwrap_or_default();
    let address = ip.map_or_else(|| Endpoint::Unix(path()), Endpoint::Ip);
    let prepare = || {
        socket.set_nonblocking(true)?;
        socket.set_cloexec(true)?;
        if ip.is_some() {
            set_options(&socket, limits)?;
        }
        // A Unix socket listens since it has its file.
        if lent || file.is_some() { Ok(()) } else { socket.listen(limits::BACKLOG) }
    };
    prepare().map_err(|error: io::Error| format!("{address}: {error}"))?;
    let socket = match address {
        Endpoint::Ip(_) => Listening::Tcp(TcpListener::from_std(socket.into())),
        Endpoint::Unix(_) => Listening::Unix {
            socket: UnixListener::from_std(OwnedFd::from(socket).into()),
            send_bytes: limits.send_buffer_bytes as usize,
        },
    };
    Ok(Open { socket, kind, address, _file: file, ready: false, lent })
}

/// Sets what TCP connections inherit.
fn set_options(socket: &socket2::Socket, limits: &Limits) -> io::Result<()> {
    let patience = limits.ping_interval.plus(limits.ping_timeout);
    let patience = Duration::from_millis(patience.as_millis());
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
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_of_a_unix_socket_has_the_send_buffer_that_was_asked_for() {
        let path = std::env::temp_dir().join(format!("elbow-net-{}", std::process::id()));
        let (socket, _file) = SocketFile::listen(&path, 0o600, 1).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = UnixListener::from_std(OwnedFd::from(socket).into());
        let listening = Listening::Unix { socket, send_bytes: 40 * 1024 };
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let (stream, peer) = listening.accept().unwrap();
        let Stream::Unix(stream) = stream else { panic!("{stream:?}") };
        // The kernel doubles what it is asked for (socket(7)).
        assert_eq!(SockRef::from(&stream).send_buffer_size().unwrap(), 2 * 40 * 1024);
        assert!(SockRef::from(&stream).nonblocking().unwrap());
        assert_eq!(peer, UNIX_PEER);
    }
}
