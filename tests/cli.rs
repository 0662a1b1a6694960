//! What each command does: what it prints where, its exit code, and whom a probe asks.
//!
//! Goal: a script can rely on the exit code and the streams, and a container on its health check.
//! Method: the binary's own entry with buffers for streams and a closure for the server; a probe
//! against sockets on loopback that answer by a script of their own.

#[path = "cli/asked.rs"]
mod asked;
#[path = "cli/aws.rs"]
mod aws;
#[path = "cli/doctor.rs"]
mod doctor;

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use elbow::cli::{self, Readers};
use elbow::config::{self, Activated, Command, Endpoint, Failure, HealthUrl, Machine};
use elbow::time::Duration;
use socket2::{Domain, SockAddr, Socket, Type};

const MACHINE: Machine = Machine {
    descriptors_hard: 1 << 20,
    memory_bytes: None,
    memory_is_shared: true,
    activated: Activated::NONE,
    admin_credential: false,
};

/// How the server reads the keys; a token for the admin listener there is none.
const READERS: Readers =
    Readers { admin_token: |_: &config::Config| Ok(None), keys: elbow::shell::keys };

/// What a command line came to.
struct Outcome {
    exit_code: u8,
    out: String,
    err: String,
    ran: bool,
}

fn execute(args: &[&str]) -> Outcome {
    execute_with(args, |_| None)
}

fn execute_with(args: &[&str], env: impl Fn(&str) -> Option<String>) -> Outcome {
    let args = std::iter::once("elbow").chain(args.iter().copied()).map(OsString::from);
    let ran = Cell::new(false);
    let run = |_config, _machine| {
        ran.set(true);
        3
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit_code = cli::execute(args, env, (MACHINE, READERS), run, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).expect("all output is UTF-8");
    Outcome { exit_code, out: text(out), err: text(err), ran: ran.get() }
}

#[test]
fn without_a_command_the_server_runs_and_its_exit_code_is_ours() {
    let outcome = execute(&["--drain", "1s"]);
    assert_eq!((outcome.exit_code, outcome.ran), (3, true));
    assert_eq!((outcome.out.as_str(), outcome.err.as_str()), ("", ""));
}

#[test]
fn check_prints_and_does_not_run() {
    let outcome = execute(&["check", "--drain", "1s"]);
    assert_eq!((outcome.exit_code, outcome.ran), (0, false));
    assert!(outcome.out.contains("\n--drain                   1s (flag)\n"), "{}", outcome.out);
    assert_eq!(outcome.err, "");
}

#[test]
fn check_exits_with_78_for_a_contradiction_and_says_nothing_else() {
    let outcome = execute(&["check", "--lb", "clb", "--ping-interval", "30s"]);
    assert_eq!((outcome.exit_code, outcome.out.as_str()), (78, ""));
    assert!(outcome.err.starts_with("elbow: --ping-interval 30s (flag) "), "{}", outcome.err);
    assert_eq!(outcome.err.lines().count(), 1);
}

#[test]
fn check_looks_for_the_folder() {
    assert_eq!(execute(&["check", "--www", env!("CARGO_MANIFEST_DIR")]).exit_code, 0);
    let outcome = execute(&["check", "--www", "no/such\nfolder"]);
    assert_eq!(outcome.exit_code, 78);
    assert_eq!(outcome.err, "elbow: --www \"no/such\\nfolder\": there is no such folder\n");
}

/// A file with this text, which goes with the value.
struct TextFile(std::path::PathBuf);

impl TextFile {
    fn new(name: &str, text: &str) -> TextFile {
        let name = format!("elbow-cli-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("there is room");
        TextFile(path)
    }

    fn of_secret(&self) -> String {
        format!("hs256:{}", self.0.display())
    }
}

impl Drop for TextFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const SECRET: &str = "thirty-two bytes and a line feed\n";

#[test]
fn check_reads_the_keys_and_shows_nothing_of_them() {
    let good = TextFile::new("good", SECRET);
    let short = TextFile::new("short", "a short secret");
    let outcome = execute(&["check", "--token-key", &good.of_secret()]);
    assert_eq!((outcome.exit_code, outcome.err.as_str()), (0, ""));
    let shown = format!("\n--token-key               {} (flag)\n", good.of_secret());
    assert!(outcome.out.contains(&shown), "{}", outcome.out);
    assert!(outcome.out.contains("\n--anonymous               none (derived)\n"));
    let both = format!("{},{}", good.of_secret(), short.of_secret());
    let outcome = execute(&["check", "--token-key", &both]);
    assert_eq!(outcome.exit_code, 78);
    let line = format!("--token-key {}: a secret has at least 32 bytes", short.of_secret());
    assert_eq!(outcome.err, format!("elbow: {line}\n"));
    assert!(!outcome.out.contains("short secret"));
    assert_eq!(execute(&["check", "--token-key", "hs256:/no/such/file"]).exit_code, 78);
}

#[test]
fn check_takes_no_key_that_the_server_would_not_take() {
    let large = TextFile::new("large", &"x".repeat(64 * 1024 + 1));
    let largest = TextFile::new("largest", &"x".repeat(64 * 1024));
    for (key, line) in [
        (large.of_secret(), "allowed are at most 64 KiB"),
        ("hs256:/dev/zero".to_owned(), "this is no regular file"),
        ("hs256:/".to_owned(), "this is no regular file"),
    ] {
        let outcome = execute(&["check", "--token-key", &key]);
        let line = format!("elbow: --token-key {key}: {line}\n");
        assert_eq!((outcome.exit_code, outcome.err), (78, line));
    }
    let outcome = execute(&["check", "--token-key", &largest.of_secret()]);
    assert_eq!((outcome.exit_code, outcome.err.as_str()), (0, ""));
}

/// The claims of a token, as they stand in it.
fn claims(token: &str) -> String {
    let claims = token.split('.').nth(1).expect("there are three parts");
    let bytes = data_encoding::BASE64URL_NOPAD.decode(claims.as_bytes()).expect("base64url");
    String::from_utf8(bytes).expect("JSON is text")
}

#[test]
fn a_token_is_printed_that_the_key_checks() {
    let file = TextFile::new("token", SECRET);
    let key = file.of_secret();
    let args = ["token", "--key", &key, "--subject", "Ann \"A\"", "--join", "news, room/*"];
    let outcome = execute(&[&args[..], &["--say", "news", "--expires", "2h"]].concat());
    assert_eq!((outcome.exit_code, outcome.ran, outcome.err.as_str()), (0, false, ""));
    let token = outcome.out.strip_suffix('\n').expect("a line");
    let mut keys = elbow::keys::Keys::default();
    keys.add_file(elbow::keys::KeyKind::Hs256, SECRET.as_bytes()).expect("a secret");
    let mut scratch = elbow::wire::token::Scratch::default();
    let presented = elbow::wire::token::Presented::plain(token.as_bytes()).expect("a token");
    let parsed = elbow::wire::token::Token::parse(presented, &mut scratch).expect("its form");
    assert_eq!(keys.check(&parsed, 0, &mut 0), elbow::keys::Verdict::Good);
    let claims = claims(token);
    assert!(claims.starts_with(r#"{"sub":"Ann \"A\"","iat":"#), "{claims}");
    assert!(claims.ends_with(r#","join":["news","room/*"],"say":["news"]}"#), "{claims}");
    let number = |name: &str| -> u64 {
        let (_, rest) = claims.split_once(&format!("\"{name}\":")).expect("it is there");
        rest.split(',').next().and_then(|digits| digits.parse().ok()).expect("a number")
    };
    assert_eq!(number("exp") - number("iat"), 7200);
    let args = ["token", "--key", &key, "--audience", "a", "--issuer", "i"];
    let plain = self::claims(execute(&args).out.trim());
    assert!(plain.starts_with(r#"{"aud":"a","iss":"i","#), "{plain}");
    assert!(plain.ends_with(r#","join":[]}"#), "{plain}");
}

#[test]
fn a_token_that_cannot_be_made_is_one_line_and_an_exit_code() {
    let short = TextFile::new("token-short", "a short secret");
    // Its beginning would be another secret.
    let large = TextFile::new("token-large", &"x".repeat(64 * 1024 + 1));
    let long = "x".repeat(129);
    let key = "hs256:/no/such/file";
    for (args, exit_code, line) in [
        (&["--key", &short.of_secret()][..], 78, "a secret has at least 32 bytes"),
        (&["--key", &large.of_secret()], 78, "allowed are at most 64 KiB"),
        (&["--key", key], 78, "No such file"),
        (&["--key", "es256:a"], 2, "allowed is hs256:FILE"),
        (&["--key", "a"], 2, "allowed are hs256:FILE"),
        (&["--key", key, "--expires", "0s"], 2, "allowed is a duration"),
        (&["--key", key, "--join", "a,,b"], 2, "allowed is a text that is not empty"),
        (&["--key", key, "--subject", &long], 2, "allowed are at most 128 bytes"),
        (&[], 2, "--key"),
    ] {
        let outcome = execute(&[&["token"][..], args].concat());
        assert_eq!((outcome.exit_code, outcome.out.as_str()), (exit_code, ""), "{args:?}");
        assert!(outcome.err.contains(line), "{args:?}: {}", outcome.err);
        assert!(outcome.err.lines().count() == 1 && !outcome.err.contains("short secret"));
    }
}

#[test]
fn a_bad_value_exits_with_2_in_one_line() {
    let outcome = execute(&["--drain", "soon"]);
    assert_eq!((outcome.exit_code, outcome.ran, outcome.out.as_str()), (2, false, ""));
    assert_eq!(
        outcome.err,
        "elbow: --drain: bad value \"soon\": allowed is a duration such as 250ms, 25s or 2m, from \
         0s to 60m\n"
    );
}

#[test]
fn help_goes_to_standard_output() {
    let outcome = execute(&["--help"]);
    assert_eq!((outcome.exit_code, outcome.err.as_str()), (0, ""));
    assert_eq!(outcome.out, config::help());
}

#[test]
fn a_closed_standard_output_changes_nothing() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let args = ["elbow", "check"].map(OsString::from);
    let exit_code =
        cli::execute(args, |_| None, (MACHINE, READERS), |_, _| 3, &mut Closed, &mut Closed);
    assert_eq!(exit_code, 0);
}

fn derived(env: &[(&str, &str)]) -> Result<String, (u8, String)> {
    let variable = |name: &str| {
        let found = env.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, text)| (*text).to_owned())
    };
    match config::parse(["elbow", "health"].map(OsString::from), variable, &MACHINE) {
        Ok(Command::Health(url)) => Ok(format!("{}{}", url.address, url.path)),
        Ok(other) => panic!("{other:?}"),
        Err(Failure { exit_code, line }) => Err((exit_code, line)),
    }
}

#[test]
fn a_probe_asks_where_the_environment_says_that_the_server_listens() {
    let at = |address: &str| Ok(format!("{address}/healthz"));
    let (health, listen) = ("ELBOW_HEALTH_LISTEN", "ELBOW_LISTEN");
    assert_eq!(derived(&[]), at("127.0.0.1:3000"));
    assert_eq!(derived(&[(listen, "10.0.0.1:80, [::1]:81")]), at("10.0.0.1:80"));
    assert_eq!(derived(&[(listen, "0.0.0.0:80")]), at("127.0.0.1:80"));
    assert_eq!(derived(&[(listen, "[::]:80")]), at("[::1]:80"));
    assert_eq!(derived(&[(health, "127.0.0.2:9"), (listen, "x")]), at("127.0.0.2:9"));
    assert_eq!(derived(&[(health, ""), (listen, "127.0.0.1:8")]), at("127.0.0.1:8"));
    assert_eq!(derived(&[(listen, ":80")]), at("127.0.0.1:80"));
    assert_eq!(derived(&[(listen, "*:80,[::1]:81")]), at("127.0.0.1:80"));
    assert_eq!(derived(&[(listen, "unix:/run/elbow,[::1]:81")]), at("unix:/run/elbow"));
    assert_eq!(derived(&[(health, "unix:a"), (listen, "x")]), at("unix:a"));
}

#[test]
fn a_probe_that_cannot_know_the_port_says_so() {
    assert_eq!(
        derived(&[("ELBOW_LISTEN", "127.0.0.1:0")]),
        Err((
            2,
            "ELBOW_LISTEN: bad value \"127.0.0.1:0\": port 0 does not tell where to ask; give \
             --url"
                .to_owned()
        ))
    );
}

#[test]
fn a_probe_asks_a_unix_socket_too() {
    let path = std::env::temp_dir().join(format!("elbow-probe-{}", std::process::id()));
    let url = format!("unix:{}", path.display());
    let refused = execute(&["health", "--url", &url]);
    assert_eq!(refused.exit_code, 1);
    let begin = format!("elbow: {url}/healthz: No such file");
    assert!(refused.err.starts_with(&begin), "{}", refused.err);

    let listener = UnixListener::bind(&path).expect("the folder for such files is there");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the probe connects");
        let expected = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut request = vec![0; expected.len()];
        stream.read_exact(&mut request).expect("the probe sends");
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nok").expect("the probe is there");
        assert_eq!(String::from_utf8_lossy(&request), String::from_utf8_lossy(expected));
    });
    let outcome = execute(&["health", "--url", &url]);
    server.join().expect("the server has not panicked");
    assert_eq!((outcome.exit_code, outcome.err.as_str()), (0, ""));

    // It listens, and its backlog is full, and stays so.
    std::fs::remove_file(&path).expect("it is there");
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("there are descriptors");
    socket.bind(&SockAddr::unix(&path).expect("a path")).expect("nobody is there");
    socket.listen(0).expect("it is bound");
    let _waiting = UnixStream::connect(&path).expect("one may wait");
    let limit = Duration::from_millis(100);
    let address = Endpoint::Unix(path.clone());
    let late = cli::probe(&HealthUrl { address, path: "/healthz".to_owned(), limit });
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(late, Err("no answer within 100ms".to_owned()));
}

/// A server for one request: sends `answer` (or nothing at all and waits for the end) and returns
/// what it was asked.
fn serve(answer: Option<&'static [u8]>) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the probe connects");
        let mut request = Vec::new();
        let mut buffer = [0; 256];
        while !request.ends_with(b"\r\n\r\n") {
            let taken = stream.read(&mut buffer).expect("the probe sends");
            assert_ne!(taken, 0, "the probe closed before its request was whole");
            request.extend_from_slice(&buffer[..taken]);
        }
        match answer {
            Some(answer) => stream.write_all(answer).expect("the probe is there"),
            None => assert_eq!(stream.read(&mut buffer).expect("the probe closes"), 0),
        }
        String::from_utf8(request).expect("a request is ASCII")
    });
    (address, server)
}

fn probe(answer: Option<&'static [u8]>) -> Result<(), String> {
    let (address, server) = serve(answer);
    let limit = Duration::from_millis(if answer.is_some() { 5000 } else { 300 });
    let address = Endpoint::Ip(address);
    let result = cli::probe(&HealthUrl { address, path: "/healthz".to_owned(), limit });
    server.join().expect("the server has not panicked");
    result
}

#[test]
fn a_probe_is_one_plain_request() {
    let (address, server) = serve(Some(b"HTTP/1.1 200 OK\r\n\r\nok"));
    let outcome = execute(&["health", "--url", &format!("http://{address}/a")]);
    assert_eq!((outcome.exit_code, outcome.err.as_str()), (0, ""));
    let request = server.join().expect("the server has not panicked");
    let expected = format!("GET /a HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    assert_eq!(request, expected);
}

#[test]
fn only_200_is_well() {
    assert_eq!(probe(Some(b"HTTP/1.0 200\r\n\r\n")), Ok(()));
    let full = probe(Some(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"));
    assert_eq!(full, Err("answers 503 Service Unavailable".to_owned()));
    assert_eq!(probe(Some(b"HTTP/1.1 2000\r\n")), Err("answers 2000".to_owned()));
    let other = probe(Some(b"SSH-2.0-x\r\n"));
    assert_eq!(other, Err("answers something that is not HTTP".to_owned()));
    assert_eq!(probe(Some(b"")), Err("closes without an answer".to_owned()));
}

#[test]
fn a_probe_does_not_wait_for_ever() {
    assert_eq!(probe(None), Err("no answer within 300ms".to_owned()));
}

#[test]
fn a_probe_that_fails_exits_with_1_and_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let outcome = execute(&["health", "--url", &format!("http://{address}")]);
    assert_eq!((outcome.exit_code, outcome.out.as_str()), (1, ""));
    let begin = format!("elbow: http://{address}/healthz: Connection refused");
    assert!(outcome.err.starts_with(&begin), "{}", outcome.err);
    assert_eq!(outcome.err.lines().count(), 1);
}
