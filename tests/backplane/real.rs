//! Two instances and a real Redis, where there is one: what is asked for is understood.
//!
//! ```text
//! cargo test --test backplane -- --ignored        with a `redis-server` in PATH
//! ```

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration as Wait;

use elbow::hub::HashKey;
use elbow::hub::backplane::{Action, Backplane, Chance, Event, Line, Settings, Ticket};
use elbow::limits::History;
use elbow::time::{Duration, Instant};

/// A server on a socket of its own, which ends with the test.
struct Server {
    child: Child,
    path: String,
}

impl Server {
    fn start(options: &[&str]) -> Server {
        let folder = env!("CARGO_TARGET_TMPDIR");
        let path = format!("{folder}/redis-{}-{}.sock", std::process::id(), options.len());
        let fixed = ["--port", "0", "--unixsocket", &path, "--save", "", "--dir", folder];
        let child = Command::new("redis-server")
            .args(fixed)
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("there is a redis-server");
        let server = Server { child, path };
        for _ in 0..200 {
            if UnixStream::connect(&server.path).is_ok() {
                return server;
            }
            std::thread::sleep(Wait::from_millis(20));
        }
        panic!("the server does not come up");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("it was started");
        self.child.wait().expect("it was started");
    }
}

struct Instance {
    backplane: Backplane,
    sockets: [Option<UnixStream>; 2],
    events: Vec<String>,
}

impl Instance {
    fn new(settings: &Settings, producer: u64) -> Instance {
        let chance = Chance { producer, jitter: producer, hash_key: HashKey([1; 16]) };
        let backplane = Backplane::new(settings.clone(), chance, Instant::default());
        Instance { backplane, sockets: [None, None], events: Vec::new() }
    }

    fn turn(&mut self, now: Instant, path: &str) {
        for line in Line::ALL {
            self.receive(now, line);
        }
        while let Some(event) = self.backplane.poll_event(now) {
            self.events.push(match event {
                Event::Placed { bytes, ticket, .. } => {
                    format!("{} {}", bytes.escape_ascii(), ticket.is_some())
                }
                Event::Replayed { bytes, .. } => format!("again {}", bytes.escape_ascii()),
                Event::Greeted { bytes, .. } => format!("greets {}", bytes.escape_ascii()),
                Event::Lost { how, .. } => format!("lost {how:?}"),
                other @ (Event::Opened { .. }
                | Event::Repeated { .. }
                | Event::Passed { .. }
                | Event::Away
                | Event::Back
                | Event::Report(_)) => format!("{other:?}"),
            });
        }
        self.backplane.end_turn(now);
        while let Some(action) = self.backplane.poll_action(now) {
            match action {
                Action::Connect(line) => {
                    let socket = UnixStream::connect(path).expect("it listens");
                    socket.set_nonblocking(true).expect("a socket can do that");
                    self.sockets[line as usize] = Some(socket);
                    self.backplane.connected(now, line);
                }
                Action::Close(line) => self.sockets[line as usize] = None,
            }
        }
        for line in Line::ALL {
            let Some(socket) = &mut self.sockets[line as usize] else { continue };
            let unsent = self.backplane.unsent(line);
            if unsent.is_empty() {
                continue;
            }
            match socket.write(unsent) {
                Ok(count) => self.backplane.transmitted(line, count),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        self.backplane.check();
    }

    fn receive(&mut self, now: Instant, line: Line) {
        let Some(socket) = &mut self.sockets[line as usize] else { return };
        let room = self.backplane.room(line);
        if room.is_empty() {
            return;
        }
        match socket.read(room) {
            Ok(0) => {
                self.sockets[line as usize] = None;
                self.backplane.closed(now, line, "end");
            }
            Ok(count) => self.backplane.received(now, line, count),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

fn now_since(began: std::time::Instant) -> Instant {
    Instant::from_millis(u64::try_from(began.elapsed().as_millis()).expect("not that long"))
}

/// Two instances with a channel open, for as long as `until` says no.
fn work(
    server: &Server,
    instances: &mut [Instance],
    began: std::time::Instant,
    until: impl Fn(&[Instance]) -> bool,
) {
    for _ in 0..20_000 {
        let now = now_since(began);
        for instance in &mut *instances {
            instance.turn(now, &server.path);
        }
        if until(instances) {
            return;
        }
        std::thread::sleep(Wait::from_micros(500));
    }
    panic!("it does not come: {:?}", instances.iter().map(|i| &i.events).collect::<Vec<_>>());
}

fn instances(settings: &Settings) -> Vec<Instance> {
    let mut instances: Vec<_> = (1..3).map(|producer| Instance::new(settings, producer)).collect();
    for instance in &mut instances {
        assert!(instance.backplane.open(Instant::default(), "news"));
    }
    instances
}

#[expect(clippy::disallowed_methods, reason = "a real server has a clock of its own")]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}

#[test]
#[ignore = "needs a redis-server"]
fn a_real_server_understands() {
    let server = Server::start(&["--databases", "4"]);
    let history = Some(History { messages_max: 100, age: Duration::from_secs(60) });
    let settings = Settings {
        name: "it's {us}".into(),
        user: None,
        password: None,
        database: 3,
        channels_max: 8,
        message_bytes_max: 70_000,
        history,
        history_bytes: 1 << 20,
    };
    let mut both = instances(&settings);
    let began = clock();
    let is_open = |both: &[Instance]| both.iter().all(|one| one.events.len() >= 2);
    work(&server, &mut both, began, is_open);
    for number in 0..300_u64 {
        let from = &mut both[number as usize % 2].backplane;
        let text = format!("{number}");
        let key = (number < 100).then_some(number / 2);
        from.say(now_since(began), "news", Ticket(number), text.as_bytes(), key)
            .expect("there is room");
    }
    both[0].backplane.greet("news", b"hi");
    both[1]
        .backplane
        .say(now_since(began), "news", Ticket(300), &[b'x'; 70_000], None)
        .expect("there is room");
    let is_said = |both: &[Instance]| {
        both.iter().all(|one| one.events.iter().any(|event| event.len() > 70_000))
    };
    work(&server, &mut both, began, is_said);
    let said = |one: &Instance| -> Vec<String> {
        let words = one.events.iter().filter(|event| event.as_bytes()[0].is_ascii_digit());
        words.filter_map(|event| event.split(' ').next()).map(String::from).collect()
    };
    assert_eq!(said(&both[0]), said(&both[1]), "one order");
    assert_eq!(said(&both[0]).len(), 250, "of two with one key one is said");
    assert!(both[1].events.iter().any(|event| event == "greets hi"));
    assert!(!both[0].events.iter().any(|event| event.starts_with("greets")));
    // Somebody who comes late hears the last of it again, and nothing is lost meanwhile.
    let mut third = vec![Instance::new(&settings, 3)];
    assert!(third[0].backplane.open(Instant::default(), "news"));
    let is_open = |one: &[Instance]| one[0].events.iter().any(|event| event.starts_with("Opened"));
    work(&server, &mut third, began, is_open);
    let again = third[0].events.iter().filter(|event| event.starts_with("again")).count();
    assert!(again > 50, "{again}");
    let lost = both.iter().flat_map(|one| &one.events).filter(|event| event.starts_with("lost"));
    assert_eq!(lost.count(), 0);
    // Connections are cut, and everything is deleted.
    let mut operator = UnixStream::connect(&server.path).expect("it listens");
    let mut replies = [0; 4096];
    operator
        .write_all(b"CLIENT KILL TYPE normal SKIPME yes\r\nSELECT 3\r\nFLUSHALL\r\n")
        .expect("it reads");
    let _count = operator.read(&mut replies).expect("it answers");
    both.iter_mut().for_each(|one| one.events.clear());
    let is_told = |both: &[Instance]| {
        both.iter().all(|one| {
            one.events.iter().any(|event| event == "lost Vanished")
                && one.events.iter().any(|event| event == "Back")
        })
    };
    work(&server, &mut both, began, is_told);
}

#[test]
#[ignore = "needs a redis-server"]
fn a_user_with_few_rights_is_enough() {
    let rights = "elbow on >secret ~{elbow}:* resetchannels -@all +xadd +xread +xrange +xrevrange \
        +expire +select";
    let rights: Vec<&str> = rights.split_whitespace().collect();
    let server = Server::start(&[&["--user"][..], &rights].concat());
    let settings = Settings {
        name: "elbow".into(),
        user: Some("elbow".into()),
        password: Some(b"secret"[..].into()),
        database: 0,
        channels_max: 8,
        message_bytes_max: 1000,
        history: None,
        history_bytes: 0,
    };
    let mut both = instances(&settings);
    let began = clock();
    let is_open = |both: &[Instance]| both.iter().all(|one| one.events.len() >= 2);
    work(&server, &mut both, began, is_open);
    both[0].backplane.say(now_since(began), "news", Ticket(1), b"hi", None).expect("there is room");
    let is_said = |both: &[Instance]| {
        both[0].events.iter().any(|event| event == "hi true")
            && both[1].events.iter().any(|event| event == "hi false")
    };
    work(&server, &mut both, began, is_said);
    let reports = both.iter().flat_map(|one| &one.events).filter(|event| event.contains("Report"));
    assert_eq!(reports.count(), 0);
}
