//! How many connections the real binary accepts in a second, and that the others wait and are not
//! forgotten: the kernel tells once of whoever is in the backlog.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROBE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";

struct Server {
    child: Child,
    public: SocketAddr,
    health: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(rate: &str) -> Server {
    let mut child = Command::new(env!("CARGO_BIN_EXE_elbow"))
        .args(["--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0", "--accept-rate", rate])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary is there");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut told = |begin: &str| {
        let address = |line: String| Some(line.split_once(begin)?.1.trim().to_owned());
        let address = lines.by_ref().map_while(Result::ok).find_map(address);
        address.expect("it says where it listens").parse().expect("an address")
    };
    let public = told("listening on ");
    let health = told("health probes on ");
    Server { child, public, health }
}

/// A connection on which a probe was asked.
fn ask(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the backlog has room");
    stream.write_all(PROBE).expect("the kernel takes it");
    stream
}

/// Whether the answer has come.
fn is_answered(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket can be that");
    match stream.read(&mut [0; 1024]) {
        Ok(length) => length > 0,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a rate is of time")]
fn no_more_are_accepted_than_the_rate_allows_and_nobody_is_forgotten() {
    let server = start("4");
    let began = Instant::now();
    let mut waiting: Vec<TcpStream> = (0..14).map(|_| ask(server.public)).collect();
    let mut accepted = 0;
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|stream| !is_answered(stream));
        accepted += before - waiting.len();
        // Looked at behind the answers: more time has gone by than when they were accepted.
        let most = 4 + (began.elapsed().as_millis() as usize * 4).div_ceil(1000);
        assert!(accepted <= most, "{accepted} accepted, {most} allowed");
        if accepted <= 6 {
            // Probes of the other listener do not wait with them. Later nothing wakes the server.
            let mut probe = ask(server.health);
            assert!(probe.read(&mut [0; 16]).expect("it is answered") > 0);
        }
        // Some three seconds are enough; somebody who is forgotten waits for ever.
        assert!(began.elapsed() < Duration::from_secs(60), "{} forgotten", waiting.len());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_a_rate_nobody_waits() {
    let server = start("off");
    for mut stream in (0..200).map(|_| ask(server.public)).collect::<Vec<_>>() {
        assert!(stream.read(&mut [0; 16]).expect("it is answered") > 0);
    }
}
