//! Where the real binary listens: Unix sockets and their files, every address, two families at one
//! port.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

pub(super) const ELBOW: &str = env!("CARGO_BIN_EXE_elbow");
const PROBE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// A running server whose log is read.
pub(super) struct Logged {
    pub(super) child: Child,
    log: BufReader<ChildStdout>,
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Logged {
    pub(super) fn start(command: &mut Command) -> Logged {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary is there");
        let log = BufReader::new(child.stdout.take().expect("it is piped"));
        Logged { child, log }
    }

    /// What stands behind `begin` in the next line of the log that has it.
    pub(super) fn told(&mut self, begin: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).expect("the log is text"), 0, "{begin}");
            if let Some((_, rest)) = line.split_once(begin) {
                return rest.trim_end().to_owned();
            }
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }
}

/// The path of a socket of the test's own.
fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("elbow-listen-{}-{name}", std::process::id()))
}

/// Asks `stream` for `/healthz`; the whole answer.
pub(super) fn ask(mut stream: impl Read + Write) -> String {
    stream.write_all(PROBE).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers and closes");
    answer
}

fn run(args: &[&str]) -> Output {
    Command::new(ELBOW).args(args).output().expect("the binary is there")
}

#[test]
fn a_unix_socket_serves_and_its_file_goes_with_the_server() {
    let socket = path("serves");
    let listen = format!("unix:{}", socket.display());
    // As a killed server leaves it.
    drop(UnixListener::bind(&socket).expect("nobody is there"));
    let mut server = Logged::start(Command::new(ELBOW).args([
        "--listen",
        &listen,
        "--unix-mode=0600",
        "--log-level=debug",
        "--drain=0s",
    ]));
    assert_eq!(server.told("listening on "), listen);
    assert_eq!(fs::metadata(&socket).expect("it is there").permissions().mode() & 0o777, 0o600);
    let answer = ask(UnixStream::connect(&socket).expect("it listens"));
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{answer}");
    let line = server.told("unix: ");
    assert!(line.starts_with("\"GET /healthz HTTP/1.1\" 200 "), "{line}");
    let health = run(&["health", "--url", &listen]);
    assert_eq!(health.status.code(), Some(0), "{health:?}");

    // Another server does not take the socket over.
    let second = run(&["--listen", &listen]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(78), "{said}");
    assert_eq!(said, format!("elbow: --listen {listen}: somebody listens there\n"));
    assert!(ask(UnixStream::connect(&socket).expect("it listens still")).ends_with("ok"));

    server.signal(Signal::TERM);
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_file_is_removed_when_the_server_cannot_start() {
    let (first, second) = (path("first"), path("second"));
    fs::write(&second, "precious").expect("the folder for such files is there");
    let outcome = run(&[
        "--listen",
        &format!("unix:{}", first.display()),
        "--health-listen",
        &format!("unix:{}", second.display()),
    ]);
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.status.code(), Some(78));
    assert!(said.contains("--health-listen") && said.contains("no socket"), "{said}");
    assert!(!first.exists());
    assert_eq!(fs::read_to_string(&second).expect("it is there"), "precious");
    fs::remove_file(&second).expect("it is there");
}

#[test]
fn the_health_listener_may_be_a_unix_socket() {
    let socket = path("health");
    let listen = format!("unix:{}", socket.display());
    let mut server = Logged::start(Command::new(ELBOW).args([
        "--listen=127.0.0.1:0",
        "--health-listen",
        &listen,
    ]));
    assert_eq!(server.told("health probes on "), listen);
    assert!(ask(UnixStream::connect(&socket).expect("it listens")).ends_with("ok"));
    let health = Command::new(ELBOW).arg("health").env("ELBOW_HEALTH_LISTEN", &listen).status();
    assert_eq!(health.expect("the binary is there").code(), Some(0));
}

#[test]
fn a_proxy_on_a_unix_socket_says_who_the_client_is() {
    let socket = path("proxy");
    let listen = format!("unix:{}", socket.display());
    // Nobody over IP is believed.
    let mut server = Logged::start(Command::new(ELBOW).args([
        "--listen",
        &listen,
        "--proxy-protocol=required",
        "--proxy-trust=198.51.100.1",
        "--log-level=debug",
    ]));
    server.told("listening on ");
    let mut stream = UnixStream::connect(&socket).expect("it listens");
    stream.write_all(b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n").expect("it reads");
    assert!(ask(stream).ends_with("ok"));
    let line = server.told("203.0.113.9:4711 ");
    assert!(line.starts_with("\"GET /healthz "), "{line}");
}

#[test]
fn a_unix_socket_that_was_handed_over_is_served_and_stays() {
    let socket = path("lent");
    let listener = UnixListener::bind(&socket).expect("nobody is there");
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" --drain=0s";
    let mut server = Logged::start(
        Command::new("sh").args(["-c", script, ELBOW]).stdin(Stdio::from(OwnedFd::from(listener))),
    );
    assert_eq!(server.told("listening on "), format!("unix:{}", socket.display()));
    assert!(ask(UnixStream::connect(&socket).expect("it listens")).ends_with("ok"));
    server.signal(Signal::TERM);
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
    assert!(socket.exists(), "the file is whose socket it is");
    fs::remove_file(&socket).expect("it is there");
}

/// Ports that nobody listens on: taken from the system, and given back.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    listener.local_addr().expect("it is bound").port()
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn every_address_is_listened_on_by_a_port_alone() {
    for prefix in ["", "*"] {
        let port = free_port();
        let listen = format!("{prefix}:{port}");
        let mut server = Logged::start(Command::new(ELBOW).args(["--listen", &listen]));
        let wildcard = if has_ipv6() { "[::]" } else { "0.0.0.0" };
        assert_eq!(server.told("listening on "), format!("{wildcard}:{port}"));
        for host in ["127.0.0.1", "[::1]"].iter().take(if has_ipv6() { 2 } else { 1 }) {
            let stream = TcpStream::connect(format!("{host}:{port}")).expect("it listens");
            assert!(ask(stream).ends_with("ok"), "{host}");
        }
    }
}

#[test]
fn the_wildcard_of_ipv6_leaves_ipv4_to_whoever_names_it() {
    if !has_ipv6() {
        let _ = writeln!(std::io::stderr(), "NOT TESTED here: this system has no IPv6");
        return;
    }
    for other in ["0.0.0.0", "127.0.0.1"] {
        for six_first in [true, false] {
            let port = free_port();
            let mut listen = [format!("[::]:{port}"), format!("{other}:{port}")];
            if !six_first {
                listen.reverse();
            }
            let mut server =
                Logged::start(Command::new(ELBOW).args(["--listen", &listen.join(",")]));
            for listen in listen {
                assert_eq!(server.told("listening on "), listen);
            }
            for host in ["127.0.0.1", "[::1]"] {
                let stream = TcpStream::connect(format!("{host}:{port}")).expect("it listens");
                assert!(ask(stream).ends_with("ok"), "{host}");
            }
        }
    }
    // As a health listener, too; and alone the wildcard has IPv4 as well.
    let port = free_port();
    let mut server = Logged::start(
        Command::new(ELBOW)
            .args([format!("--listen=[::]:{port}"), format!("--health-listen=127.0.0.1:{port}")]),
    );
    server.told("health probes on ");
    drop(server);
    let mut server = Logged::start(Command::new(ELBOW).arg(format!("--listen=[::]:{port}")));
    server.told("listening on ");
    let stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("it listens");
    assert!(ask(stream).ends_with("ok"));
}

#[test]
fn of_servers_that_start_at_once_on_one_path_one_serves_and_the_others_say_why_not() {
    let path = path("at-once");
    let listen = format!("unix:{}", path.display());
    for round in 0..30 {
        let start = || {
            let mut command = Command::new(ELBOW);
            command.args(["--listen", &listen]).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("the binary is there")
        };
        // One of them listens soon, and its log goes on; the logs of the others end.
        let (mut serving, mut refused) = (Vec::new(), 0);
        for mut child in [start(), start(), start()] {
            let log = BufReader::new(child.stdout.take().expect("it is piped"));
            let mut server = Logged { child, log };
            let mut begin = String::new();
            server.log.read_line(&mut begin).expect("the log is text");
            if !begin.is_empty() {
                serving.push(server);
                continue;
            }
            let mut why = String::new();
            let mut lines = server.child.stderr.take().expect("it is piped");
            lines.read_to_string(&mut why).expect("the line is text");
            assert_eq!(why, format!("elbow: --listen {listen}: somebody listens there\n"));
            assert_eq!(server.child.wait().expect("it ends").code(), Some(78));
            refused += 1;
        }
        assert_eq!((serving.len(), refused), (1, 2), "round {round}");
        assert!(ask(UnixStream::connect(&path).expect("it listens")).ends_with("ok"));
        if round % 2 == 0 {
            // Orderly, and the file goes with the server; else it is killed, and the file stays.
            serving[0].signal(Signal::TERM);
            assert!(serving[0].child.wait().expect("it ends").success() && !path.exists());
        }
    }
    fs::remove_file(&path).expect("the last was killed");
}
