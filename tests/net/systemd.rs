//! The real binary as a service of systemd: what it tells the manager and when, which sockets it
//! takes, how its lines stand in the journal. The manager is a socket of the test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use super::listen::{ELBOW, Logged, ask};

/// The manager's end, and what `NOTIFY_SOCKET` says of it.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    /// One with an abstract name, which no file has to be removed for.
    fn new(name: &str) -> Manager {
        let name = format!("elbow-manager-{}-{name}", std::process::id());
        let address = net::SocketAddr::from_abstract_name(&name).expect("the name is short");
        let socket = UnixDatagram::bind_addr(&address).expect("the name is free");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("it is a socket");
        Manager { socket, name: format!("@{name}") }
    }

    fn start(&self, command: &mut Command) -> Logged {
        Logged::start(command.env("NOTIFY_SOCKET", &self.name))
    }

    /// The next message.
    fn told(&self) -> String {
        let mut bytes = [0; 1024];
        let length = self.socket.recv(&mut bytes).expect("there is another message");
        String::from_utf8(bytes[..length].to_vec()).expect("it is text")
    }

    /// The next message that begins so.
    fn told_of(&self, begin: &str) -> String {
        std::iter::repeat_with(|| self.told())
            .find(|told| told.starts_with(begin))
            .expect("endless")
    }
}

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       \r\n";

/// A command that runs elbow with `args` and takes the sockets of standard input and standard error
/// for handed over under `names`.
fn activated(names: &str, args: &[&str], sockets: [OwnedFd; 2]) -> Command {
    let script = format!(
        "exec 3<&0 4<&2 </dev/null 2>&1; LISTEN_FDS=2 LISTEN_FDNAMES={names} LISTEN_PID=$$ \
         exec \"$0\" \"$@\""
    );
    let mut command = Command::new("sh");
    let [first, second] = sockets;
    command.args(["-c", &script, ELBOW]).args(args);
    command.stdin(Stdio::from(first)).stderr(Stdio::from(second));
    command
}

fn loopback() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    (listener.into(), address)
}

/// A listening socket that shares its port, as `ReusePort=` of a socket unit makes it.
fn sharing(port: u16) -> (OwnedFd, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
    socket.set_reuse_port(true).expect("Linux has had it since 3.9");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket.bind(&address.into()).expect("whoever has the port shares it");
    socket.listen(128).expect("it is bound");
    let address = socket.local_addr().expect("it is bound").as_socket().expect("of IPv4");
    (socket.into(), address)
}

/// Asks `address` for `path`; the whole answer.
fn fetch(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    answer
}

#[test]
fn the_manager_is_told_of_every_state() {
    let manager = Manager::new("states");
    let mut server =
        manager.start(Command::new(ELBOW).args(["--listen=127.0.0.1:0", "--drain=0s"]));
    let address: SocketAddr = server.told("listening on ").parse().expect("an address");
    assert!(manager.told().starts_with("READY=1\n"));
    let client = TcpStream::connect(address).expect("whoever is ready listens");
    assert_eq!(manager.told_of("STATUS="), "STATUS=1 connections, 0 messages/s");
    drop(client);
    assert_eq!(manager.told_of("STATUS="), "STATUS=0 connections, 0 messages/s");
    server.signal(Signal::HUP);
    assert!(manager.told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(manager.told(), "READY=1");
    server.signal(Signal::TERM);
    assert_eq!(manager.told(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=8000000");
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_reload_is_over_when_the_files_are_served() {
    let folder = std::env::temp_dir().join(format!("elbow-systemd-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let page = |text: &str| std::fs::write(folder.join("index.html"), text).expect("it is ours");
    page("before");
    let manager = Manager::new("reload");
    let www = folder.display().to_string();
    let mut server =
        manager.start(Command::new(ELBOW).args(["--listen=127.0.0.1:0", "--www", &www]));
    let address: SocketAddr = server.told("listening on ").parse().expect("an address");
    manager.told_of("READY=1");
    page("after");
    server.signal(Signal::HUP);
    manager.told_of("RELOADING=1");
    assert_eq!(manager.told_of("READY=1"), "READY=1");
    assert!(fetch(address, "/").ends_with("after"));
    // A reload that fails is over as well.
    std::fs::remove_dir_all(&folder).expect("it is there");
    server.signal(Signal::HUP);
    manager.told_of("RELOADING=1");
    assert_eq!(manager.told_of("READY=1"), "READY=1");
    assert!(fetch(address, "/").ends_with("after"));
}

#[test]
fn the_watchdog_is_fed_while_nobody_is_there() {
    let manager = Manager::new("watchdog");
    let command = &mut Command::new(ELBOW);
    let _server = manager.start(command.arg("--listen=127.0.0.1:0").env("WATCHDOG_USEC", "200000"));
    for _ in 0..5 {
        manager.told_of("WATCHDOG=1");
    }
}

#[test]
fn a_socket_is_what_its_name_says() {
    let ((health, health_at), (admin, admin_at)) = (loopback(), loopback());
    let args = ["--listen=127.0.0.1:0", "--health-listen=127.0.0.1:9"];
    let mut server = Logged::start(&mut activated("health:admin", &args, [health, admin]));
    let unused = server.told("--health-listen 127.0.0.1:9 is not used: ");
    assert_eq!(unused, "LISTEN_FDS hands over sockets instead");
    assert_eq!(server.told("health probes on "), health_at.to_string());
    assert!(server.told("admin requests on ").starts_with(&admin_at.to_string()));
    // No public socket was handed over, so the flag for those holds.
    let public: SocketAddr = server.told("listening on ").parse().expect("an address");
    assert!(fetch(public, "/").starts_with("HTTP/1.1 200 "));
    assert!(fetch(health_at, "/").starts_with("HTTP/1.1 404 "));
    assert!(fetch(health_at, "/healthz").ends_with("ok"));
    assert!(fetch(admin_at, "/metrics").contains("elbow_build_info"));
}

#[test]
fn a_socket_of_any_other_name_is_public() {
    let folder = std::env::temp_dir();
    let path = folder.join(format!("elbow-systemd-{}.sock", std::process::id()));
    let file = UnixListener::bind(&path).expect("nobody is there");
    let (unit, unit_at) = loopback();
    let args = ["--listen=127.0.0.1:9"];
    let mut server = Logged::start(&mut activated("http:elbow.socket", &args, [file.into(), unit]));
    server.told("--listen 127.0.0.1:9 is not used: ");
    assert_eq!(server.told("listening on "), format!("unix:{}", path.display()));
    assert_eq!(server.told("listening on "), unit_at.to_string());
    assert!(ask(UnixStream::connect(&path).expect("it listens")).ends_with("ok"));
    assert!(fetch(unit_at, "/").starts_with("HTTP/1.1 200 "));
    std::fs::remove_file(&path).expect("it is there");
}

/// Each process is told apart by its base path, which the other knows nothing below.
#[test]
fn processes_share_a_port_that_was_handed_over_for_that() {
    let start = |port: u16, base_path: &str| {
        let ((public, public_at), (health, health_at)) = (sharing(port), loopback());
        let args = ["--base-path", base_path, "--drain=0s"];
        let mut server = Logged::start(&mut activated("http:health", &args, [public, health]));
        assert_eq!(server.told("listening on "), public_at.to_string());
        assert_eq!(server.told("health probes on "), health_at.to_string());
        (server, public_at)
    };
    let (one, shared_at) = start(0, "/one");
    let (_other, also_at) = start(shared_at.port(), "/other");
    assert_eq!(also_at, shared_at);
    let is_one = || fetch(shared_at, "/one/").starts_with("HTTP/1.1 200 ");
    // The kernel draws for each connection: that 64 all have one server is out of the question.
    let served = (0..64).filter(|_| is_one()).count();
    assert!((1..64).contains(&served), "{served}");
    // Nobody holds its socket any more, so all come to the other.
    drop(one);
    for _ in 0..16 {
        assert!(fetch(shared_at, "/other/").starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn probes_are_answered_until_the_process_is_gone() {
    let ((public, public_at), (health, health_at)) = (loopback(), loopback());
    let kept = [&public, &health].map(|socket| socket.try_clone().expect("there are descriptors"));
    let mut server =
        Logged::start(&mut activated("http:health", &["--drain=20s"], [public, health]));
    server.told("health probes on ");
    // Somebody who does not close keeps the drain going.
    let mut client = TcpStream::connect(public_at).expect("it listens");
    client.write_all(UPGRADE.as_bytes()).expect("it reads");
    server.told("open ");
    server.signal(Signal::TERM);
    server.told("draining ");
    assert!(fetch(health_at, "/healthz").ends_with("ok"));
    assert!(fetch(health_at, "/readyz").starts_with("HTTP/1.1 503 "));
    // The public socket is the next process's: whoever comes there waits.
    let waiting = TcpStream::connect(public_at).expect("the kernel takes it");
    server.signal(Signal::TERM);
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
    let mut next = Logged::start(&mut activated("http:health", &["--drain=0s"], kept));
    next.told("health probes on ");
    assert!(ask(waiting).ends_with("ok"));
}

#[test]
fn an_admin_socket_for_everybody_needs_a_token() {
    let everybody = || TcpListener::bind("0.0.0.0:0").expect("there are ports").into();
    let command = |sockets| activated("http:admin", &[], sockets);
    let refused = command([loopback().0, everybody()]).output().expect("there is a shell");
    let said = String::from_utf8_lossy(&refused.stdout);
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("admin of LISTEN_FDNAMES") && said.contains("needs a token"), "{said}");
    let mut allowed = command([loopback().0, everybody()]);
    let mut server =
        Logged::start(allowed.env("ELBOW_ADMIN_TOKEN", "a token of at least sixteen bytes"));
    assert!(server.told("admin requests on ").ends_with("token: (set)"));
}

#[test]
fn each_line_in_the_journal_has_its_priority() {
    let (mut journal, stdout) = UnixStream::pair().expect("there are sockets");
    let status = rustix::fs::fstat(stdout.as_fd()).expect("it is open");
    let numbers = format!("{}:{}", status.st_dev, status.st_ino);
    let mut child = Command::new(ELBOW)
        .args(["--listen=127.0.0.1:0", "--drain=0s", "--proxy-protocol=optional"])
        .env("JOURNAL_STREAM", numbers)
        .stdout(Stdio::from(OwnedFd::from(stdout)))
        .spawn()
        .expect("the binary is there");
    let mut said = String::new();
    while !said.contains("listening on ") {
        let mut piece = [0; 4096];
        let length = journal.read(&mut piece).expect("it says something");
        assert_ne!(length, 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    let _ = child.kill();
    child.wait().expect("it ran");
    let lines = said.lines().filter(|line| line.contains("[elbow]"));
    for line in lines {
        let begin = if line.contains(" WARN ") { "<4>2" } else { "<6>2" };
        assert!(line.starts_with(begin), "{line}");
    }
    assert!(said.contains("\n<4>"), "the less safe choice is warned of: {said}");
}
