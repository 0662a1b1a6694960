//! What is between accepted sockets and the kernel (`src/shell`), with the real binary.
//!
//! Goal: the server sets each option once, on the listener; that Linux hands it on is a habit that
//! no standard promises. And a read that stops in front of urgent data is not taken for the last.
//! Method: the binary runs, a client connects, and the server's end of that connection is fetched
//! out of the process (pidfd_getfd(2)) and asked with `getsockopt`. For urgent data the process is
//! stopped while it is sent, so that all of it is there when the server looks, which is told once.
//! Unix sockets, and addresses of which one seems to contain the other, are in `net/listen.rs`;
//! how many connections are accepted in a second is in `net/accept.rs`; what is said to systemd and
//! taken from it is in `net/systemd.rs`.

#[path = "net/accept.rs"]
mod accept;
#[path = "net/listen.rs"]
mod listen;
#[path = "net/systemd.rs"]
mod systemd;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    ForeignRawFd, Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open,
};
use socket2::Socket;

/// A running server, which ends with the test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Runs `command` and waits until it says where it listens.
    fn start(command: &mut Command) -> Server {
        let mut child =
            command.stdout(Stdio::piped()).spawn().expect("the world of the test works");
        let lines =
            BufReader::new(child.stdout.take().expect("the world of the test works")).lines();
        let address = lines
            .map(Result::unwrap)
            .find_map(|line| {
                Some(
                    line.split_once("listening on ")?
                        .1
                        .parse()
                        .expect("the world of the test works"),
                )
            })
            .expect("it says where it listens before its log ends");
        Server { child, address }
    }

    /// Stops the process, or lets it go on.
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the world of the test works");
    }

    /// The server's end of a connection; `None` where this process may not take it.
    fn end_of(&self, client: &TcpStream) -> Option<Socket> {
        let pid = Pid::from_child(&self.child);
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("the world of the test works");
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("the world of the test works") {
            let name = entry.expect("the world of the test works").file_name();
            let number = name
                .to_str()
                .expect("the world of the test works")
                .parse::<ForeignRawFd>()
                .expect("the world of the test works");
            let descriptor = match pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) {
                Ok(descriptor) => descriptor,
                Err(Errno::PERM | Errno::NOSYS) => return None,
                Err(error) => panic!("descriptor {number}: {error}"),
            };
            let socket = Socket::from(descriptor);
            let peer = socket.peer_addr().ok().and_then(|address| address.as_socket());
            if peer == Some(client.local_addr().expect("the world of the test works")) {
                return Some(socket);
            }
        }
        panic!("the server has no socket for {client:?}");
    }
}

/// Connects, sees to it that the server has accepted, and asserts what its end has.
fn assert_inherited(server: &Server, patience: Duration, send_bytes: usize, receive_bytes: usize) {
    let mut client = TcpStream::connect(server.address).expect("the world of the test works");
    client
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        .expect("the world of the test works");
    client.read_exact(&mut [0; 15]).expect("the world of the test works");
    let Some(socket) = server.end_of(&client) else {
        let lack = "NOT TESTED here: a process may not see its child's sockets on this system";
        let _ = writeln!(io::stderr(), "{lack}");
        return;
    };
    assert!(socket.nonblocking().expect("the world of the test works"));
    assert!(socket.tcp_nodelay().expect("the world of the test works"));
    assert_eq!(socket.tcp_notsent_lowat().expect("the world of the test works"), 16 * 1024);
    assert_eq!(socket.tcp_user_timeout().expect("the world of the test works"), Some(patience));
    assert!(socket.keepalive().expect("the world of the test works"));
    assert_eq!(
        socket.tcp_keepalive_time().expect("the world of the test works"),
        Duration::from_secs(60)
    );
    assert_eq!(
        socket.tcp_keepalive_interval().expect("the world of the test works"),
        Duration::from_secs(15)
    );
    assert_eq!(socket.tcp_keepalive_retries().expect("the world of the test works"), 4);
    // The kernel doubles what it is asked for (socket(7)).
    assert_eq!(socket.send_buffer_size().expect("the world of the test works"), 2 * send_bytes);
    assert_eq!(socket.recv_buffer_size().expect("the world of the test works"), 2 * receive_bytes);
}

#[test]
fn an_accepted_socket_has_every_option_of_its_listener() {
    let server = Server::start(Command::new(env!("CARGO_BIN_EXE_elbow")).args([
        "--listen=127.0.0.1:0",
        "--ping-interval=7s",
        "--ping-timeout=4s",
        "--send-buffer=40KiB",
        "--receive-buffer=24KiB",
    ]));
    assert_inherited(&server, Duration::from_secs(11), 40 * 1024, 24 * 1024);
}

#[test]
fn one_from_a_listener_that_was_handed_over_too() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the world of the test works");
    let address = listener.local_addr().expect("the world of the test works");
    // The process that the sockets are meant for is named in the environment: by its own number,
    // which only a shell that becomes it knows in time.
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\"";
    let server = Server::start(
        Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_elbow")])
            .stdin(Stdio::from(OwnedFd::from(listener))),
    );
    assert_eq!(server.address, address);
    assert_inherited(&server, Duration::from_secs(45), 64 * 1024, 32 * 1024);
}

/// Sends both parts with an urgent byte between them, so that the server sees all of it at once.
/// No reader gets an urgent byte, unless another comes before the first was read over.
fn send_around_urgent_byte(server: &Server, mut client: &Socket, parts: [&[u8]; 2]) {
    server.signal(Signal::STOP);
    let with_urgent = [parts[0], b"!"].concat();
    client.send_out_of_band(&with_urgent).expect("the world of the test works");
    client.write_all(parts[1]).expect("the world of the test works");
    server.signal(Signal::CONT);
}

/// What comes until `end` has come.
fn heard_until(mut client: &Socket, end: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    while !heard.ends_with(end) {
        let mut byte = [0];
        match client.read(&mut byte) {
            Ok(1) => heard.push(byte[0]),
            other => panic!("{other:?} behind {:?}", String::from_utf8_lossy(&heard)),
        }
    }
    heard
}

#[test]
fn urgent_data_stalls_nobody() {
    let server =
        Server::start(Command::new(env!("CARGO_BIN_EXE_elbow")).args(["--listen=127.0.0.1:0"]));
    let connect = || {
        let stream = TcpStream::connect(server.address).expect("the world of the test works");
        let patience = Some(Duration::from_secs(5));
        stream.set_read_timeout(patience).expect("the world of the test works");
        Socket::from(stream)
    };
    // In each line of a request, twice on a connection.
    for parts in [
        [&b"GET /healthz HTTP"[..], b"/1.1\r\nHost: h\r\n\r\n"],
        [b"GET /healthz HTTP/1.1\r\nHo", b"st: h\r\n\r\n"],
        [b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r", b"\n"],
    ] {
        let client = connect();
        for _ in 0..2 {
            send_around_urgent_byte(&server, &client, parts);
            let heard = heard_until(&client, b"\r\n\r\nok");
            assert!(heard.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
    }
    // In the middle of a frame, and between two.
    let client = connect();
    let mut writing = &client;
    let head = b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n\r\n";
    writing.write_all(head).expect("the world of the test works");
    assert!(heard_until(&client, b"\r\n\r\n").starts_with(b"HTTP/1.1 101 "));
    for _ in 0..2 {
        let (frame, half) = (&b"\x81\x85\0\0\0\0hello"[..], &b"\x81\x85\0\0\0\0hel"[..]);
        send_around_urgent_byte(&server, &client, [half, b"lo"]);
        assert_eq!(heard_until(&client, b"hello"), b"\x81\x05hello");
        send_around_urgent_byte(&server, &client, [frame, frame]);
        let both = [heard_until(&client, b"hello"), heard_until(&client, b"hello")];
        assert_eq!(both, [b"\x81\x05hello", b"\x81\x05hello"]);
    }
}
