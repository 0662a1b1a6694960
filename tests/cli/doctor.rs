//! `elbow doctor` and `elbow top` against a socket on loopback that answers by a script. What a
//! real server answers is read in `tests/e2e`.

use super::{Outcome, execute_with};
use elbow::cli;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

const SICK: &str = r#"{"version":1,"build":{"version":"0.1.0"},"uptime":75.5,"findings":[
    {"id":"one_address","text":"All come from\u001b[31m one.","remedy":"--lb nlb"},
    {"id":"clock","text":"Late.","remedy":"timedatectl"}]}"#;
const WELL: &str = r#"{"version":1,"build":{"version":"0.1.0"},"uptime":75.5,"findings":[]}"#;

/// A server that answers so many requests with these bytes. Its address, and the requests.
fn server(answer: String, requests: usize) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serve = thread::spawn(move || {
        let answer_one = |_| {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut part = [0; 1024];
                let taken = stream.read(&mut part).expect("a request");
                assert!(taken > 0, "the request is whole");
                request.extend_from_slice(&part[..taken]);
            }
            stream.write_all(answer.as_bytes()).expect("somebody reads");
            String::from_utf8(request).expect("a request is text")
        };
        (0..requests).map(answer_one).collect()
    });
    (url, serve)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// What `elbow doctor` says to this answer.
fn doctor(answer: String, args: &[&str]) -> (Outcome, String) {
    let (url, serve) = server(answer, 1);
    let outcome = execute_with(&[&["doctor", "--url", &url], args].concat(), |_| None);
    let mut requests = serve.join().expect("the server has served");
    (outcome, requests.remove(0))
}

#[test]
fn what_is_wrong_is_told_with_what_mends_it() {
    let (outcome, request) = doctor(ok(SICK), &[]);
    assert_eq!((outcome.exit_code, outcome.err.as_str()), (1, ""));
    assert_eq!(
        outcome.out,
        "elbow 0.1.0, up 1 min: 2 findings\n\n\
         one_address\n  All come from\\u{1b}[31m one.\n  Mend it by: --lb nlb\n\n\
         clock\n  Late.\n  Mend it by: timedatectl\n"
    );
    assert!(request.starts_with("GET /status HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
    assert!(!request.contains("Authorization"), "{request}");
}

#[test]
fn a_server_that_is_well_is_left_alone() {
    let (outcome, _) = doctor(ok(WELL), &[]);
    assert_eq!((outcome.exit_code, outcome.err.as_str()), (0, ""));
    assert_eq!(outcome.out, "elbow 0.1.0, up 1 min: no findings\n");
}

#[test]
fn findings_are_told_as_json() {
    for (status, exit_code, count) in [(SICK, 1, 2), (WELL, 0, 0)] {
        let (outcome, _) = doctor(ok(status), &["--json"]);
        assert_eq!((outcome.exit_code, outcome.err.as_str()), (exit_code, ""));
        let value: serde_json::Value = serde_json::from_str(&outcome.out).expect("JSON");
        assert_eq!(value["findings"].as_array().expect("a list").len(), count);
        assert_eq!(outcome.out.lines().count(), 1);
    }
    let hostile = "{\"version\":1,\"findings\":[{\"id\":\"\\u009b2J\u{9b}\u{7f}\u{202e}\\n\"}]}";
    let (outcome, _) = doctor(ok(hostile), &["--json"]);
    let escaped = "{\"findings\":[{\"id\":\"\\u009b2J\\u009b\\u007f\\u202e\\n\"}]}\n";
    assert_eq!(outcome.out, escaped, "nothing of it moves a cursor");
}

#[test]
fn who_cannot_be_asked_is_told_in_one_line() {
    for (answer, why) in [
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "wants a token: --admin-token"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "has no status: is this"),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "answers 503"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", "the answer is not whole"),
        ("HTTP/1.1 200 OK\r\n\r\n{}", "answers without a Content-Length"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "answers with JSON that is no status"),
        ("220 smtp.example ESMTP\r\n\r\n", "answers something that is not HTTP"),
        ("", "closes without an answer"),
    ] {
        let (outcome, _) = doctor(answer.to_owned(), &[]);
        assert_eq!((outcome.exit_code, outcome.out.as_str()), (2, ""), "{answer}");
        assert!(outcome.err.contains(why), "{}", outcome.err);
        assert_eq!(outcome.err.lines().count(), 1);
    }
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr();
    let url = format!("http://{}", nobody.expect("an address"));
    for command in ["doctor", "top"] {
        let outcome = execute_with(&[command, "--url", &url], |_| None);
        assert_eq!((outcome.exit_code, outcome.out.as_str()), (2, ""));
        assert!(outcome.err.contains("refused"), "{}", outcome.err);
        let outcome = execute_with(&[command], |_| None);
        assert_eq!((outcome.exit_code, outcome.out.as_str()), (2, ""));
        assert!(outcome.err.contains("ELBOW_ADMIN_LISTEN"), "{}", outcome.err);
    }
}

#[test]
fn who_answers_something_else_and_stays_is_not_waited_for() {
    for (answer, why) in [
        ("HTTP/1.1 200 OK\r\n\r\n{", "answers without a Content-Length: is this elbow?"),
        ("HTTP/1.1 2 OK\r\n\r\n", "answers something that is not HTTP"),
        ("SSH-2.0-x\r\n\r\n", "answers something that is not HTTP"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let serve = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.write_all(answer.as_bytes()).expect("somebody reads");
            // Until the client goes; a reset says that, too.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let outcome = execute_with(&["doctor", "--url", &url], |_| None);
        assert_eq!((outcome.exit_code, outcome.out.as_str()), (2, ""));
        assert!(outcome.err.ends_with(&format!("/status: {why}\n")), "{}", outcome.err);
        serve.join().expect("the server has served");
    }
    let (outcome, _) = doctor(ok(r#"{"version":1,"findings":{}}"#), &[]);
    assert_eq!((outcome.exit_code, outcome.out.as_str()), (2, ""));
    assert!(outcome.err.ends_with("/status: has a status without findings\n"), "{}", outcome.err);
}

#[test]
fn the_token_is_shown_to_the_server_and_to_nobody_else() {
    let (url, serve) = server("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".into(), 1);
    let env = |name: &str| (name == "ELBOW_ADMIN_TOKEN").then(|| "0123456789abcdef".to_owned());
    let outcome = execute_with(&["doctor", "--url", &url], env);
    assert_eq!((outcome.exit_code, outcome.out.as_str()), (2, ""));
    assert!(outcome.err.ends_with("wants another token\n"), "{}", outcome.err);
    let requests = serve.join().expect("the server has served");
    assert!(requests[0].contains("\r\nAuthorization: Bearer 0123456789abcdef\r\n"));
    let outcome =
        execute_with(&["doctor", "--url", &url, "--admin-token-file", "no/such/file"], |_| None);
    assert_eq!(outcome.exit_code, 2);
    assert!(outcome.err.starts_with("elbow: --admin-token-file: "), "{}", outcome.err);
}

/// A reader that goes away with the second thing that it gets.
struct Head(Vec<u8>);

impl Write for Head {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !self.0.is_empty() {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn top_shows_a_block_each_time_until_nobody_reads_it() {
    let (url, serve) = server(ok(SICK), 3);
    let args = ["elbow", "top", "--url", &url].map(OsString::from);
    let (mut out, mut err) = (Head(Vec::new()), Vec::new());
    let run = |_config, _machine| unreachable!("no server is run");
    let exit_code =
        cli::execute(args, |_| None, (super::MACHINE, super::READERS), run, &mut out, &mut err);
    assert_eq!((exit_code, err.as_slice()), (0, b"".as_slice()));
    let text = String::from_utf8(out.0).expect("a block is text");
    assert!(text.starts_with("elbow 0.1.0, up 1 min; 2 findings: elbow doctor\n"), "{text}");
    assert_eq!(serve.join().expect("the server has served").len(), 3);
}
