//! One instance and one Redis: what is asked for, and what each answer leads to.

use elbow::hub::HashKey;
use elbow::hub::backplane::entry::{Head, put_head, put_message};
use elbow::hub::backplane::{
    Action, Backplane, Chance, EntryId, Event, Line, Place, Report, SayError, Settings, Ticket,
    Trouble,
};
use elbow::limits::History;
use elbow::time::{Duration, Instant};

use crate::climate;
use crate::redis::{Redis, Refusal};

/// An instance with lines that lose nothing.
pub(crate) struct Desk {
    pub(crate) backplane: Backplane,
    pub(crate) redis: Redis,
    pub(crate) now: Instant,
    conns: [Option<usize>; 2],
    /// All that was sent, on each line.
    sent: [Vec<u8>; 2],
    /// What has happened, as text.
    events: Vec<String>,
    connects: [u32; 2],
    /// Whether attempts to connect fail.
    is_unreachable: bool,
    /// Whether the reader is connected to another server than the writer.
    is_split: bool,
}

fn settings() -> Settings {
    let mut chance = crate::chance::Chance::new(0);
    let calm = climate::Climate { history: 0, ..climate::Climate::draw(&mut chance) };
    crate::world::settings(&calm)
}

impl Desk {
    pub(crate) fn new(settings: Settings) -> Desk {
        let chance = Chance { producer: 7, jitter: 1, hash_key: HashKey([0; 16]) };
        let now = Instant::from_millis(1000);
        Desk {
            backplane: Backplane::new(settings, chance, now),
            redis: Redis::new(1_795_000_000_000),
            now,
            conns: [None, None],
            sent: [Vec::new(), Vec::new()],
            events: Vec::new(),
            connects: [0, 0],
            is_unreachable: false,
            is_split: false,
        }
    }

    /// Works until nothing more is said at this instant.
    pub(crate) fn work(&mut self) {
        for _ in 0..12 {
            self.turn();
        }
    }

    /// One turn: bytes both ways, once.
    fn turn(&mut self) {
        for line in Line::ALL {
            let Some(conn) = self.conns[line as usize] else { continue };
            let mut output = self.redis.take_output(conn);
            while !output.is_empty() {
                let room = self.backplane.room(line);
                let count = room.len().min(output.len());
                if room.is_empty() {
                    break;
                }
                room[..count].copy_from_slice(&output[..count]);
                output.drain(..count);
                self.backplane.received(self.now, line, count);
                self.attend();
            }
        }
        self.attend();
        self.backplane.end_turn(self.now);
        while let Some(action) = self.backplane.poll_action(self.now) {
            self.act(action);
        }
        for line in Line::ALL {
            let unsent = self.backplane.unsent(line).to_vec();
            self.backplane.transmitted(line, unsent.len());
            self.sent[line as usize].extend_from_slice(&unsent);
            if let Some(conn) = self.conns[line as usize] {
                self.redis.feed(conn, &unsent);
            }
        }
        self.backplane.check();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect(line) => {
                self.connects[line as usize] += 1;
                if let Some(address) = self.backplane.moved_to(line) {
                    self.events.push(format!("{line:?} goes to {address}"));
                }
                if self.is_unreachable {
                    self.backplane.closed(self.now, line, "connection refused");
                    return;
                }
                let conn = self.redis.connect();
                if self.is_split && line == Line::Reader {
                    self.redis.split(conn);
                }
                self.conns[line as usize] = Some(conn);
                self.backplane.connected(self.now, line);
            }
            Action::Close(line) => {
                let conn = self.conns[line as usize].take().expect("it is there");
                self.redis.disconnect(conn);
            }
        }
    }

    fn attend(&mut self) {
        while let Some(event) = self.backplane.poll_event(self.now) {
            let text = match event {
                Event::Placed { channel, ticket, bytes, place } => {
                    format!("{channel} {}: {} {ticket:?}", place.index, bytes.escape_ascii())
                }
                Event::Replayed { channel, bytes, .. } => {
                    format!("{channel} again: {}", bytes.escape_ascii())
                }
                Event::Repeated { channel, ticket, .. } => format!("{channel} repeat {ticket:?}"),
                Event::Passed { channel, place } => format!("{channel} passed {}", place.index),
                Event::Lost { channel, how, .. } => format!("{channel} lost {how:?}"),
                Event::Opened { channel, place } if place == Place::default() => {
                    format!("{channel} is new")
                }
                Event::Opened { channel, .. } => format!("{channel} is open"),
                Event::Greeted { channel, bytes } => {
                    format!("{channel} greets: {}", bytes.escape_ascii())
                }
                Event::Away => "away".into(),
                Event::Back => "back".into(),
                Event::Report(Report::Trouble(line, trouble, _)) => format!("{line:?} {trouble:?}"),
                Event::Report(other) => format!("{other:?}"),
            };
            self.events.push(text);
        }
    }

    /// Time goes by, in small steps.
    pub(crate) fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            self.now = self.now.plus(Duration::from_millis(50));
            self.redis.pass(50);
            self.turn();
            self.turn();
        }
        self.work();
    }

    fn break_line(&mut self, line: Line) {
        let conn = self.conns[line as usize].take().expect("it is there");
        self.redis.disconnect(conn);
        self.backplane.closed(self.now, line, "reset");
    }

    fn events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events)
    }

    /// What was sent on a line since the last look, a request a line.
    fn requests(&mut self, line: Line) -> Vec<String> {
        let bytes = std::mem::take(&mut self.sent[line as usize]);
        let mut requests = Vec::new();
        let mut rest = &bytes[..];
        while let Some((used, parts)) = crate::redis::parse(rest) {
            let parts: Vec<_> = parts.iter().map(|part| part.escape_ascii().to_string()).collect();
            requests.push(parts.join(" "));
            rest = &rest[used..];
        }
        requests
    }

    /// Another instance adds an entry with these messages, the first of which has this number; what
    /// is told within the time in which everything is found.
    fn hear_of_another(&mut self, first: u64, texts: &[&str]) -> Vec<String> {
        self.redis.feed_late(&entry_of_another(first, texts));
        self.pass(2500);
        self.events()
    }

    /// How often a channel's key was given its time to live since the last look.
    fn expiries(&mut self) -> usize {
        let requests = self.requests(Line::Writer);
        requests.iter().filter(|request| request.starts_with("EXPIRE {elbow}:c:")).count()
    }

    fn say(&mut self, ticket: u64, message: &[u8]) {
        let said = self.backplane.say(self.now, "news", Ticket(ticket), message, None);
        assert_eq!(said, Ok(()));
    }

    /// A desk with a channel that is open, of which nothing was looked at.
    fn open(settings: Settings) -> Desk {
        let mut desk = Desk::new(settings);
        assert!(desk.backplane.open(desk.now, "news"));
        desk.work();
        let events = desk.events();
        assert!(events.contains(&"back".into()), "{events:?}");
        assert!(events.contains(&"news is new".into()), "{events:?}");
        desk.requests(Line::Writer);
        desk.requests(Line::Reader);
        desk
    }
}

#[test]
fn who_we_are_is_said_first() {
    let settings = Settings {
        user: Some("elbow".into()),
        password: Some(b"secret"[..].into()),
        database: 3,
        ..settings()
    };
    assert!(!format!("{settings:?}").contains("secret"));
    let mut desk = Desk::new(settings);
    desk.redis.password = Some((b"elbow".to_vec(), b"secret".to_vec()));
    desk.work();
    let writer = desk.requests(Line::Writer);
    let own = "{elbow}:w:0000000000000007";
    assert_eq!(
        writer[..3],
        ["AUTH elbow secret", "SELECT 3", &format!("XADD {own} MAXLEN 1 * m p")]
    );
    let reader = desk.requests(Line::Reader);
    assert_eq!(
        reader[..4],
        [
            "AUTH elbow secret",
            "SELECT 3",
            "XREVRANGE {elbow}:g + - COUNT 1",
            &format!("XREAD COUNT 128 STREAMS {own} 0-0")
        ]
    );
    assert_eq!(desk.events(), ["back"]);
}

#[test]
fn a_message_is_said_when_it_comes_back() {
    let mut desk = Desk::open(settings());
    desk.say(1, b"hi");
    desk.say(2, b"there");
    desk.turn();
    assert_eq!(desk.events(), [""; 0], "Redis has it, and that is not enough");
    desk.work();
    assert_eq!(desk.events(), ["news 0: hi Some(Ticket(1))", "news 1: there Some(Ticket(2))"]);
    let requests = desk.requests(Line::Writer);
    assert!(requests[0].starts_with("XADD {elbow}:c:news MAXLEN ~ 1024 * m \\x01\\x07"));
    assert_eq!(requests[1], "EXPIRE {elbow}:c:news 3600");
    assert_eq!(requests.len(), 2, "what is said in a turn is one entry");
    assert_eq!(desk.backplane.waiting(), 0);
}

#[test]
fn what_is_said_while_an_entry_is_under_way_goes_into_the_next() {
    let mut desk = Desk::open(settings());
    desk.say(1, b"a");
    desk.turn();
    for ticket in 2..10 {
        desk.say(ticket, b"b");
        desk.backplane.end_turn(desk.now);
    }
    desk.work();
    let added = |requests: Vec<String>| {
        requests.iter().filter(|request| request.starts_with("XADD {elbow}:c:")).count()
    };
    assert_eq!(added(desk.requests(Line::Writer)), 2);
    assert_eq!(desk.events().len(), 9);
    // An entry has 64 KiB at most.
    for ticket in 10..42 {
        desk.say(ticket, &[b'x'; 4096]);
    }
    desk.work();
    assert_eq!(desk.events().len(), 32);
    assert_eq!(added(desk.requests(Line::Writer)), 3);
}

#[test]
fn a_message_that_is_larger_than_an_entry_has_one_to_itself() {
    let mut desk = Desk::open(Settings { message_bytes_max: 300_000, ..settings() });
    desk.say(1, b"a");
    desk.say(2, &vec![b'x'; 300_000]);
    desk.say(3, b"b");
    desk.work();
    let events = desk.events();
    let ends: Vec<&str> = events.iter().filter_map(|event| event.rsplit(' ').next()).collect();
    assert_eq!(ends, ["Some(Ticket(1))", "Some(Ticket(2))", "Some(Ticket(3))"]);
}

#[test]
fn what_cannot_be_taken_is_refused() {
    let mut desk = Desk::open(settings());
    let now = desk.now;
    let mut say = |name: &str, bytes: &[u8]| desk.backplane.say(now, name, Ticket(1), bytes, None);
    assert_eq!(say("news", &[0; 4097]), Err(SayError::TooLarge));
    let mut taken = 0;
    while say("news", &[0; 4096]) == Ok(()) {
        taken += 1;
    }
    assert_eq!(taken, 128, "half a mebibyte");
    assert_eq!(say("news", &[0; 4096]), Err(SayError::Full));
    assert!(!desk.backplane.has_room(1));
    desk.work();
    assert!(desk.backplane.has_room(4096));
    desk.backplane.close("news");
    let names: Vec<String> = (0..8).map(|number| format!("n{number}")).collect();
    desk.work();
    for name in &names {
        assert!(desk.backplane.open(desk.now, name), "a closed channel makes room");
    }
    assert!(!desk.backplane.open(desk.now, "more"));
}

#[test]
fn something_is_said_where_nobody_is_although_all_channels_are_open() {
    let mut desk = Desk::open(settings());
    for number in 1..8 {
        assert!(desk.backplane.open(desk.now, &format!("n{number}")));
    }
    assert!(!desk.backplane.may_open());
    desk.work();
    desk.events();
    for round in 0..3 {
        let (mut said, now) = (0, desk.now);
        while desk.backplane.say(now, &format!("p{said}"), Ticket(said), b"x", None).is_ok() {
            said += 1;
        }
        assert_eq!(said, 8, "round {round}");
        desk.say(100, b"y");
        desk.work();
        let mut placed = desk.events();
        placed.sort();
        let passing = (0..8).map(|number| format!("p{number} 0: x Some(Ticket({number}))"));
        let expected = ["news 0: y Some(Ticket(100))".to_owned()].into_iter().chain(passing);
        assert!(placed.into_iter().eq(expected), "round {round}");
    }
    assert!(!desk.backplane.open(desk.now, "more"), "and no more are opened than before");
}

#[test]
fn a_key_is_given_its_time_to_live_again_when_that_may_be_lost() {
    let mut desk = Desk::open(settings());
    desk.say(1, b"x");
    desk.pass(1000);
    assert_eq!(desk.expiries(), 1);
    // The connection broke: whether the request had come is not known.
    desk.break_line(Line::Writer);
    desk.pass(3000);
    assert_eq!(desk.expiries(), 1);
    // The stream is gone, and what is said begins another.
    desk.redis.flush_all();
    desk.pass(2500);
    desk.say(2, b"y");
    desk.pass(1000);
    assert_eq!(desk.expiries(), 1);
    // An entry that was refused, and maybe no key was there.
    desk.redis.flush_all();
    desk.redis.refuse(Some(Refusal::OutOfMemory));
    desk.say(3, b"z");
    desk.pass(100);
    desk.redis.refuse(None);
    desk.pass(3000);
    assert!(desk.expiries() >= 1);
    for (key, stream) in &desk.redis.state.streams {
        assert!(stream.expires_at_ms.is_some(), "{} lives for ever", key.escape_ascii());
    }
}

#[test]
fn lines_to_two_servers_are_no_connection() {
    let mut desk = Desk::new(settings());
    desk.is_split = true;
    assert!(desk.backplane.open(desk.now, "news"));
    for _ in 0..20 {
        desk.pass(500);
        assert!(desk.backplane.is_away(), "nobody hears what is said here");
    }
    let events = desk.events();
    assert!(events.contains(&"Reader Deaf".into()), "{events:?}");
    assert!(!events.contains(&"back".into()), "{events:?}");
    let connects = desk.connects;
    assert!(connects.iter().all(|connects| (3..40).contains(connects)), "{connects:?}");
    // The name leads to one server again.
    desk.is_split = false;
    desk.pass(10_000);
    assert!(!desk.backplane.is_away());
}

#[test]
fn nothing_is_replayed_before_it_is_known_how_old_it_is() {
    let history = Some(History { messages_max: 5, age: Duration::from_secs(60) });
    let mut desk = Desk::open(Settings { history, ..settings() });
    desk.say(1, b"old");
    desk.work();
    desk.pass(100_000);
    // Another instance, whose writer cannot tell the time.
    let mut other = Desk::new(Settings { history, ..settings() });
    other.redis = desk.redis;
    other.redis.refuse(Some(Refusal::OutOfMemory));
    assert!(other.backplane.open(other.now, "news"));
    other.pass(3000);
    assert_eq!(other.events(), ["Writer OutOfMemory"]);
    let (_, reads) = (other.requests(Line::Writer), other.requests(Line::Reader));
    assert!(reads.len() < 10, "{reads:?}");
    other.redis.refuse(None);
    other.pass(3000);
    assert_eq!(other.events(), ["back", "news is open"]);
}

#[test]
fn a_user_without_a_password_is_named_too() {
    let mut desk = Desk::new(Settings { user: Some("eve".into()), ..settings() });
    desk.turn();
    desk.turn();
    assert_eq!(desk.requests(Line::Writer)[0], "AUTH eve ");
}

#[test]
fn the_last_id_that_there_may_be_is_no_end_of_questions() {
    let mut desk = Desk::new(settings());
    let stream = desk.redis.state.streams.entry(b"{elbow}:c:news".to_vec()).or_default();
    stream.last = EntryId { ms: u64::MAX, seq: u64::MAX - 1 };
    desk.redis.feed_late(&entry_of_another(1, &["x"]));
    assert!(desk.backplane.open(desk.now, "news"));
    desk.pass(3000);
    let reads = desk.requests(Line::Reader);
    assert!(reads.len() < 60, "{} questions", reads.len());
    assert!(desk.events().contains(&"news is open".into()));
}

#[test]
fn keys_die_unless_somebody_is_there() {
    let mut desk = Desk::open(settings());
    for _ in 0..10 {
        desk.say(1, b"x");
        desk.pass(1000);
    }
    assert_eq!(desk.expiries(), 1, "at most once a minute");
    desk.pass(60_000);
    desk.say(1, b"x");
    desk.pass(1000);
    assert_eq!(desk.expiries(), 1);
    desk.pass(14 * 60_000);
    assert_eq!(desk.expiries(), 0);
    desk.pass(2 * 60_000);
    assert_eq!(desk.expiries(), 1, "every quarter of an hour");
    desk.events();
    desk.pass(2 * 3_600_000);
    assert_eq!(desk.events(), [""; 0], "nothing is lost");
}

#[test]
fn a_channel_that_was_empty_and_is_still_has_no_gap() {
    let mut desk = Desk::open(settings());
    desk.redis.flush_all();
    desk.break_line(Line::Reader);
    desk.pass(5000);
    let events = desk.events();
    assert_eq!(events, ["away", "Reader Closed", "back"]);
}

#[test]
fn a_stream_that_is_gone_is_a_gap() {
    let mut desk = Desk::open(settings());
    desk.say(1, b"x");
    desk.work();
    desk.events();
    desk.redis.flush_all();
    desk.pass(2500);
    assert_eq!(desk.events(), ["news lost Vanished"], "found without a new connection");
    desk.say(2, b"y");
    desk.work();
    assert_eq!(desk.events(), ["news 0: y Some(Ticket(2))"]);
}

#[test]
fn a_stream_that_is_gone_and_was_written_to_again_is_a_gap() {
    let mut desk = Desk::open(settings());
    for (ticket, text) in [(1, b"x"), (2, b"y")] {
        desk.say(ticket, text);
        desk.pass(1100);
    }
    desk.events();
    desk.redis.flush_all();
    desk.say(3, b"z");
    desk.pass(2500);
    assert_eq!(desk.events(), ["news 0: z Some(Ticket(3))", "news lost Vanished"]);
}

/// A request of producer 8: an entry with these messages, the first of which has this number.
fn entry_of_another(first: u64, texts: &[&str]) -> Vec<u8> {
    let count = texts.len().try_into().expect("few");
    let head = Head { producer: 8, first, after: EntryId::ZERO, count };
    let mut value = Vec::new();
    put_head(&head, &mut value);
    texts.iter().for_each(|text| put_message(None, [text.as_bytes(), b""], &mut value));
    let mut request = Vec::new();
    let parts = [&b"XADD"[..], b"{elbow}:c:news", b"MAXLEN", b"~", b"9999", b"*", b"m", &value];
    elbow::wire::resp::request(&parts, &mut request);
    request
}

#[test]
fn what_was_said_out_of_a_history_that_is_gone_is_passed_over_once_a_row() {
    let mut desk = Desk::open(settings());
    assert_eq!(desk.hear_of_another(1, &["a", "b", "c"]).len(), 3);
    desk.redis.flush_all();
    desk.pass(2500);
    assert_eq!(desk.events(), ["news lost Vanished"]);
    // Sent again by who was not answered: the last row goes on to what nobody has heard.
    assert_eq!(desk.hear_of_another(1, &["a", "b"]), ["news passed 1"]);
    assert_eq!(
        desk.hear_of_another(1, &["a", "b"]),
        [""; 0],
        "a repeat in one history is no matter"
    );
    assert_eq!(desk.hear_of_another(3, &["c", "d"]), ["news passed 0", "news 1: d None"]);
    assert_eq!(desk.hear_of_another(5, &["e"]), ["news 0: e None"]);
}

/// Who comes with a position has heard what stands in front of it, though never from this instance.
#[test]
fn what_stood_in_front_of_the_start_is_not_said_out_of_another_history() {
    let mut desk = Desk::new(settings());
    assert!(!desk.hear_of_another(1, &["a"]).iter().any(|event| event.contains("news")));
    assert!(desk.backplane.open(desk.now, "news"));
    desk.pass(2500);
    assert_eq!(desk.events(), ["news is open"]);
    desk.redis.flush_all();
    desk.pass(2500);
    assert_eq!(desk.events(), ["news lost Vanished"]);
    // Sent again by who was not answered, with one more.
    assert_eq!(desk.hear_of_another(1, &["a", "b"]), ["news passed 0", "news 1: b None"]);
}

/// Of a gap everybody is told; what stood in it nobody here has heard.
#[test]
fn what_stood_in_a_gap_is_said_out_of_another_history() {
    let mut desk = Desk::open(settings());
    desk.say(1, b"x");
    // Later, so that no entry of the next history has the id of this one.
    desk.pass(100);
    desk.events();
    desk.break_line(Line::Reader);
    desk.redis.flush_all();
    let events = desk.hear_of_another(1, &["a"]);
    assert_eq!(events, ["away", "Reader Closed", "news lost Vanished", "back"]);
    desk.redis.flush_all();
    desk.pass(2500);
    assert_eq!(desk.events(), ["news lost Vanished"]);
    assert_eq!(desk.hear_of_another(1, &["a", "b"]), ["news 0: a None", "news 1: b None"]);
}

#[test]
fn history_is_replayed_up_to_the_start() {
    let history = Some(History { messages_max: 5, age: Duration::from_secs(60) });
    let mut desk = Desk::open(Settings { history, ..settings() });
    for ticket in 1..4 {
        desk.say(ticket, b"old");
        desk.work();
    }
    desk.pass(61_000);
    for ticket in 4..100 {
        desk.say(ticket, format!("{ticket}").as_bytes());
        desk.pass(50);
    }
    desk.backplane.close("news");
    desk.work();
    desk.events();
    assert!(desk.backplane.open(desk.now, "news"));
    desk.pass(100);
    let expected = ["95", "96", "97", "98", "99"].map(|text| format!("news again: {text}"));
    assert_eq!(desk.events(), [&expected[..], &["news is open".into()]].concat());
    // What is too old is not replayed, also if it is all there is.
    desk.backplane.close("news");
    desk.pass(61_000);
    desk.events();
    assert!(desk.backplane.open(desk.now, "news"));
    desk.pass(100);
    assert_eq!(desk.events(), ["news is open"]);
}

#[test]
fn a_stream_keeps_what_ten_seconds_had() {
    let mut desk = Desk::open(settings());
    let say = |desk: &mut Desk, ticket| {
        desk.say(ticket, b"x");
        desk.now = desk.now.plus(Duration::from_millis(1));
        desk.redis.pass(1);
        for _ in 0..3 {
            desk.turn();
        }
    };
    let kept = |desk: &mut Desk| -> u64 {
        let requests = desk.requests(Line::Writer);
        let last = requests.iter().rev().find(|request| request.starts_with("XADD {elbow}:c:"));
        last.and_then(|request| request.split(' ').nth(4)?.parse().ok()).expect("a count")
    };
    (0..12_000).for_each(|ticket| say(&mut desk, ticket));
    let seen = kept(&mut desk);
    assert!((10_000..=20_000).contains(&seen), "{seen}");
    // An instance where nobody reads the channel has read of it only what is remembered, which is
    // of a second here. What is said there leaves the others as much.
    desk.backplane.close("news");
    desk.work();
    desk.events();
    desk.say(12_000, b"passing");
    desk.pass(2_000);
    assert_eq!(desk.events(), ["news 0: passing Some(Ticket(12000))"]);
    let seen = kept(&mut desk);
    assert!((8_000..=12_000).contains(&seen), "{seen}");
}

#[test]
fn nobody_is_busy_while_redis_takes_nothing() {
    let settings = || Settings { channels_max: 9, message_bytes_max: 60_000, ..settings() };
    let mut desk = Desk::open(settings());
    let large = vec![b'x'; settings().message_bytes_max];
    for number in 0..8 {
        let name = format!("c{number}");
        assert!(desk.backplane.open(desk.now, &name));
        desk.work();
    }
    let before = desk.now;
    for number in 0..8 {
        let name = format!("c{number}");
        let said = desk.backplane.say(desk.now, &name, Ticket(number), &large, None);
        assert_eq!(said, Ok(()));
    }
    // The socket is full: nothing that is written goes.
    let mut turns = 0;
    desk.backplane.end_turn(desk.now);
    while desk.backplane.poll_action(desk.now).is_none() {
        assert!(!desk.backplane.unsent(Line::Writer).is_empty());
        let next = desk.backplane.poll_timeout();
        assert!(next > desk.now, "there is nothing to do before the time of something");
        desk.now = next;
        desk.backplane.end_turn(desk.now);
        turns += 1;
    }
    assert!(turns <= 4, "{turns}");
    assert!(desk.now.since(before) <= Duration::from_secs(3), "a dead line is given up");
}

#[test]
fn greetings_go_to_the_others() {
    let mut desk = Desk::open(settings());
    let mut other = Vec::new();
    put_head(&Head { producer: 8, first: 1, after: EntryId::ZERO, count: 2 }, &mut other);
    for greeting in [&b"\x04newshi"[..], b"\x05otherhi"] {
        put_message(None, [greeting, b""], &mut other);
    }
    desk.backplane.greet("news", b"hello");
    let mut request = Vec::new();
    let parts = [&b"XADD"[..], b"{elbow}:g", b"MAXLEN", b"~", b"1000", b"*", b"m", &other];
    elbow::wire::resp::request(&parts, &mut request);
    desk.work();
    desk.redis.feed_late(&request);
    desk.work();
    assert_eq!(desk.events(), ["news greets: hi"], "not our own, and none for where nobody is");
    let requests = desk.requests(Line::Writer);
    assert!(requests[0].starts_with("XADD {elbow}:g MAXLEN ~ 1000 * m"), "{requests:?}");
}

#[test]
fn a_later_version_is_skipped_and_said_once() {
    let mut desk = Desk::open(settings());
    for _ in 0..3 {
        let mut request = Vec::new();
        let parts =
            [&b"XADD"[..], b"{elbow}:c:news", b"MAXLEN", b"~", b"9999", b"*", b"m", b"\x09what"];
        elbow::wire::resp::request(&parts, &mut request);
        desk.redis.feed_late(&request);
        desk.work();
    }
    assert_eq!(desk.events(), ["Newer(9)"]);
    assert_eq!(desk.backplane.counts().entries_newer, 3);
}

#[test]
fn errors_are_told_in_words_once() {
    for (refusal, trouble) in [
        (Refusal::OutOfMemory, Trouble::OutOfMemory),
        (Refusal::CannotSave, Trouble::CannotSave),
        (Refusal::ReadOnly, Trouble::ReadOnly),
        (Refusal::Loading, Trouble::Loading),
    ] {
        let mut desk = Desk::open(settings());
        desk.redis.refuse(Some(refusal));
        desk.say(1, b"hi");
        desk.pass(12_000);
        let events = desk.events();
        assert_eq!(events[0], "away");
        let told = events.iter().filter(|event| **event == format!("Writer {trouble:?}")).count();
        assert_eq!(told, 1, "{events:?}");
        assert!(desk.backplane.is_away());
        desk.redis.refuse(None);
        desk.pass(6000);
        assert!(!desk.backplane.is_away());
        let events = desk.events();
        assert!(events.contains(&"news 0: hi Some(Ticket(1))".into()), "{events:?}");
    }
}

#[test]
fn a_wrong_password_is_tried_again_ever_more_slowly() {
    let mut desk = Desk::new(Settings { password: Some(b"wrong"[..].into()), ..settings() });
    desk.redis.password = Some((b"default".to_vec(), b"right".to_vec()));
    desk.pass(60_000);
    assert_eq!(desk.events(), ["Writer WrongPassword", "Reader WrongPassword"]);
    assert!((15..60).contains(&desk.connects[0]), "{:?}", desk.connects);
    desk.redis.password = Some((b"default".to_vec(), b"wrong".to_vec()));
    desk.pass(4000);
    assert_eq!(desk.events(), ["back"]);
    let mut desk = Desk::new(settings());
    desk.redis.password = Some((b"default".to_vec(), b"right".to_vec()));
    desk.pass(1000);
    let mut events = desk.events();
    events.sort();
    assert_eq!(events, ["Reader NoPassword", "Writer NoPassword"]);
}

#[test]
fn a_server_that_cannot_be_reached_is_asked_at_once_and_then_later() {
    let mut desk = Desk::new(settings());
    desk.is_unreachable = true;
    desk.work();
    assert_eq!(desk.connects, [1, 1]);
    desk.pass(60_000);
    assert!((20..60).contains(&desk.connects[0]), "{:?}", desk.connects);
    desk.is_unreachable = false;
    desk.pass(3000);
    assert!(!desk.backplane.is_away());
    // One that has worked is asked at once.
    desk.pass(2000);
    let before = desk.connects[0];
    desk.break_line(Line::Writer);
    desk.turn();
    assert_eq!(desk.connects[0], before + 1);
}

#[test]
fn moved_is_followed_once() {
    let mut desk = Desk::open(settings());
    desk.redis.moved_to = Some("10.0.0.7:6379".into());
    desk.pass(5000);
    let events = desk.events();
    assert!(events.contains(&"Writer goes to 10.0.0.7:6379".into()), "{events:?}");
    assert!(events.contains(&"Writer Moved".into()), "who is sent on again is told: {events:?}");
    desk.redis.moved_to = None;
    desk.pass(5000);
    assert!(!desk.backplane.is_away());
}

#[test]
fn silence_is_found_within_three_seconds() {
    for line in Line::ALL {
        let mut desk = Desk::open(settings());
        desk.pass(5000);
        // The line leads nowhere from now on.
        let conn = desk.redis.connect();
        desk.redis.password = Some((Vec::new(), Vec::new()));
        let old = desk.conns[line as usize].replace(conn).expect("it is there");
        desk.redis.disconnect(old);
        desk.redis.disconnect(conn);
        desk.redis.password = None;
        let before = desk.connects[line as usize];
        desk.pass(3500);
        assert_eq!(desk.connects[line as usize], before + 1);
        let events = desk.events();
        assert!(events.contains(&format!("{line:?} Silent")), "{events:?}");
    }
}

#[test]
fn a_reader_that_was_left_behind_is_found_within_three_seconds() {
    let mut desk = Desk::open(settings());
    desk.pass(5000);
    desk.redis.freeze(desk.conns[Line::Reader as usize].expect("it is there"));
    desk.pass(3000);
    let events = desk.events();
    assert_eq!(events, ["away", "Reader Deaf", "back"]);
}

#[test]
fn nothing_that_a_server_says_makes_us_panic() {
    let mut chance = crate::chance::Chance::new(5);
    let words: [&[u8]; 16] = [
        b"+OK\r\n",
        b"*1\r\n",
        b"*2\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"$-1\r\n",
        b":1\r\n",
        b"$3\r\n1-0\r\n",
        b"$3\r\n2-1\r\n",
        b"$1\r\nm\r\n",
        b"$14\r\n{elbow}:c:news\r\n",
        b"$9\r\n{elbow}:g\r\n",
        b"$5\r\n\x01\0\0\0\0\r\n",
        b"-ERR what\r\n",
        b"-MOVED 1 x:1\r\n",
        b"$100000\r\n",
    ];
    for _ in 0..2000 {
        let mut desk = Desk::open(settings());
        desk.say(1, b"hi");
        desk.backplane.end_turn(desk.now);
        let line = Line::ALL[chance.index(2)];
        for _ in 0..1 + chance.below(20) {
            if desk.conns[line as usize].is_none() || desk.backplane.unsent(line).is_empty() {
                break;
            }
            let word = words[chance.index(words.len())];
            desk.backplane.room(line)[..word.len()].copy_from_slice(word);
            desk.backplane.received(desk.now, line, word.len());
            desk.attend();
            desk.backplane.end_turn(desk.now);
            desk.backplane.check();
            while let Some(action) = desk.backplane.poll_action(desk.now) {
                desk.act(action);
            }
        }
    }
}
