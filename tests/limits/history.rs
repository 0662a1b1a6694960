//! What is kept, and who comes back to it, with recovery, tokens and a bound on stays switched on.
//!
//! Goal: an idle member takes no more than where all of that is off, and a broadcast to every
//! dialect allocates nothing, whichever bound of the log it meets. Whoever comes back costs as many
//! allocations as a newcomer, however much was missed; one more with `elbow.v1`, where the greeting
//! has a word more. What is kept takes what the settings say, out of `--memory`, and a table that
//! is in the ceiling.

use elbow::keys::{self, KeyKind, Keys};
use elbow::limits::{CONNECTION_BYTES, History, Limits, REPLAY_BUCKETS};
use elbow::rate::Rate;
use elbow::settings::Settings;
use elbow::time::{Duration, Instant};

use super::sessions::{Kind, take_no_more_than_reserved};
use super::{ALLOCATIONS, Crowd, LIVE_BYTES, MEMBERS, allocations};

const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
const HISTORY: History = History { messages_max: 40, age: Duration::from_secs(10) };
const RING_BYTES: u64 = 1 << 16;
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// How somebody reads who has a connection and no session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Plain,
    ElbowV1,
    Stream,
}

/// Small rings that keep what was said in them.
fn keeping(settings: &mut Settings) {
    settings.limits.history = Some(HISTORY);
    settings.limits.feed_bytes = RING_BYTES;
    settings.limits.message_bytes_max = RING_BYTES / 4;
}

/// Nobody, on a server with room for so many connections that keeps what was said, and on which
/// members have a token each, may recover, and stay for a day.
fn switched_on(connections: usize) -> Crowd {
    let mut crowd = Crowd::with(connections, |settings| {
        keeping(settings);
        settings.recovery = true;
        settings.limits.lifetime = Some(Duration::from_secs(86_400));
        // So that nobody has to answer while time goes by.
        settings.limits.ping_interval = Duration::from_secs(3600);
    });
    let mut keys = Keys::default();
    keys.add_file(KeyKind::Hs256, SECRET).expect("a secret");
    crowd.world.server.set_keys(keys);
    crowd
}

/// What somebody asks for who shows a token, and in `query` says more.
fn request(way: Way, channel: &str, query: &str, token: &str) -> Vec<u8> {
    let (path, fields) = match way {
        Way::Plain => ("ws", UPGRADE.to_owned()),
        Way::ElbowV1 => ("ws", format!("{UPGRADE}Sec-WebSocket-Protocol: elbow.v1\r\n")),
        Way::Stream => ("sse", String::new()),
    };
    format!(
        "GET /{path}/{channel}?token={token}{query} HTTP/1.1\r\nHost: chat.example\r\n{fields}\r\n"
    )
    .into()
}

fn token(crowd: &Crowd) -> String {
    let claims = format!(
        r#"{{"exp":{},"sub":"ann","join":["*"],"say":["*"]}}"#,
        crowd.world.now.unix_s + 1_000_000
    );
    keys::token(SECRET, &claims).expect("the secret is long enough")
}

/// A client's frame with a mask of zeros.
fn frame(payload: &[u8]) -> Vec<u8> {
    super::harness::masked(0x81, payload)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

impl Crowd {
    /// Somebody with a token comes to a channel; the number, and what the server answered.
    fn comes(&mut self, way: Way, channel: &str, query: &str, token: &str) -> (usize, Vec<u8>) {
        let number = self.connect();
        self.say(number, &request(way, channel, query, token));
        self.world.settle();
        let answer = self.taken(number);
        let status: &[u8] = if way == Way::Stream { b"HTTP/1.1 200 " } else { b"HTTP/1.1 101 " };
        assert!(answer.starts_with(status), "{}", answer.escape_ascii());
        (number, answer)
    }

    fn leaves(&mut self, number: usize) {
        self.wire(number).ended = true;
        self.say(number, b"");
        self.world.settle();
        assert!(self.wire(number).dropped);
    }

    /// Says something, a millisecond later.
    fn speaks(&mut self, number: usize, frame: &[u8]) {
        self.world.now.mono = self.world.now.mono.plus(Duration::from_millis(1));
        self.say(number, frame);
        self.world.settle();
    }

    /// How many messages the only channel keeps.
    fn kept(&mut self) -> u64 {
        let now = self.world.now;
        loop {
            if let Some(snapshot) = self.world.server.survey(now) {
                let [channel] = &snapshot.largest[..] else { panic!("there is one channel") };
                return channel.kept;
            }
        }
    }
}

/// What one of many idle members takes, who came back to three messages and then heard one.
fn idle_bytes(way: Way, empty: fn(usize) -> Crowd) -> i64 {
    let server_bytes = |members: usize| {
        let mut crowd = empty(1 + members);
        let token = token(&crowd);
        let (speaker, _) = crowd.comes(Way::Plain, "default", "", &token);
        (0..3).for_each(|_| crowd.speaks(speaker, &frame(b"before")));
        for _ in 0..members {
            let (_, answer) = crowd.comes(way, "default", "&last=3", &token);
            assert_eq!(answer.windows(6).filter(|text| text == b"before").count(), 3);
        }
        crowd.speaks(speaker, &frame(b"to all"));
        for number in 1..=members {
            assert!(contains(&crowd.taken(number), b"to all"), "member {number}");
        }
        assert_eq!(crowd.kept(), 4);
        let before = LIVE_BYTES.get();
        drop(crowd.world.server);
        before - LIVE_BYTES.get()
    };
    (server_bytes(5 * MEMBERS) - server_bytes(MEMBERS)) / (4 * MEMBERS as i64)
}

#[test]
#[expect(clippy::disallowed_macros, reason = "the numbers are what one runs this test for")]
fn an_idle_member_takes_no_more_than_without() {
    for (way, words) in [
        (Way::Plain, "plain WebSocket"),
        (Way::ElbowV1, "WebSocket of elbow.v1"),
        (Way::Stream, "event stream"),
    ] {
        let bytes = idle_bytes(way, switched_on);
        println!("{bytes} bytes per idle {words}, with history on");
        assert!(bytes <= CONNECTION_BYTES as i64, "{bytes} bytes per idle {words}");
        assert!(bytes >= 64, "{bytes} bytes: something was not counted");
    }
}

#[test]
fn an_idle_websocket_fits_its_budget_also_where_messages_are_limited() {
    let bytes = idle_bytes(Way::Plain, |connections| {
        let mut crowd = Crowd::with(connections, |settings| {
            keeping(settings);
            settings.limits.message_rate = Some(Rate::new(1000, 1000));
        });
        let mut keys = Keys::default();
        keys.add_file(KeyKind::Hs256, SECRET).expect("a secret");
        crowd.world.server.set_keys(keys);
        crowd
    });
    assert!(bytes <= CONNECTION_BYTES as i64, "{bytes} bytes per idle WebSocket");
}

#[test]
fn an_idle_session_takes_no_more_than_it_has_reserved() {
    take_no_more_than_reserved(switched_on);
}

/// Readers of every dialect in one channel, the first of whom speaks.
struct Mix {
    crowd: Crowd,
    /// What each one's record of a text ends with.
    ends: Vec<&'static [u8]>,
}

impl Mix {
    fn new() -> Mix {
        let mut crowd = switched_on(MEMBERS + 1);
        let token = token(&crowd);
        let mut ends: Vec<&'static [u8]> = Vec::with_capacity(MEMBERS);
        for number in 0..MEMBERS {
            ends.push(match number % 5 {
                0 => {
                    crowd.comes(Way::Plain, "default", "", &token);
                    b""
                }
                1 => {
                    crowd.comes(Way::ElbowV1, "default", "", &token);
                    b""
                }
                2 => {
                    crowd.comes(Way::Stream, "default", "", &token);
                    b"\n\n\r\n"
                }
                3 => {
                    crowd.come(Kind::Socket(4), "/");
                    b"\"]"
                }
                _ => {
                    crowd.come(Kind::Socket(3), "/");
                    b"\"]"
                }
            });
        }
        crowd.forget();
        Mix { crowd, ends }
    }

    /// How often it allocates that something is said so many times, and heard by everybody.
    fn allocations(&mut self, text: &[u8], times: u64, pause: Duration) -> u64 {
        let (frame, ends) = (frame(text), &self.ends);
        allocations(&mut self.crowd, |crowd| {
            crowd.world.now.mono = crowd.world.now.mono.plus(pause);
            for _ in 0..times {
                crowd.speaks(0, &frame);
                for (number, end) in ends.iter().enumerate() {
                    let mut wire = crowd.wire(number);
                    // Socket.IO 4 has the offset behind the text.
                    let heard = &wire.to_client;
                    let is_there = match number % 5 {
                        3 => contains(heard, text) && heard.ends_with(end),
                        _ => heard.strip_suffix(*end).is_some_and(|it| it.ends_with(text)),
                    };
                    assert!(is_there, "member {number}: {}", heard.escape_ascii());
                    wire.to_client.clear();
                }
            }
        })
    }
}

#[test]
fn a_broadcast_that_is_kept_allocates_nothing_whichever_bound_it_meets() {
    let mut mix = Mix::new();
    let (short, long) = ([b'x'; 64], [b'y'; 4000]);
    // By their number: in all of a scene one and a half times as many are said as are kept.
    let times = HISTORY.messages_max / 2;
    assert_eq!(mix.allocations(&short, times, Duration::from_millis(0)), 0);
    assert_eq!(mix.crowd.kept(), HISTORY.messages_max);
    // By their bytes: in a ring there is room for 16 of them; the rings go round as well.
    assert_eq!(mix.allocations(&long, 12, Duration::from_millis(0)), 0);
    assert_eq!(mix.crowd.kept(), RING_BYTES / (long.len() as u64 + 13));
    // By their age, which is looked at when somebody asks for what is kept.
    assert_eq!(mix.allocations(&short, 2, HISTORY.age), 0);
    let token = token(&mix.crowd);
    let (_, answer) = mix.crowd.comes(Way::Plain, "default", "&last=99", &token);
    assert_eq!(answer.windows(short.len()).filter(|text| *text == short).count(), 2);
    assert_eq!(mix.crowd.kept(), 2);
}

/// How often the server allocates for somebody who comes, or comes back, with this query; the one
/// who came leaves.
fn allocations_of(crowd: &mut Crowd, way: Way, query: &str, token: &str, missed: usize) -> u64 {
    let request = request(way, "default", query, token);
    let number = crowd.connect();
    let before = ALLOCATIONS.get();
    crowd.say(number, &request);
    crowd.world.settle();
    let allocated = ALLOCATIONS.get() - before;
    let answer = crowd.taken(number);
    assert_eq!(answer.windows(4).filter(|text| text == b"said").count(), missed, "{query}");
    crowd.leaves(number);
    allocated
}

/// The life of the only channel, from the greeting of one who comes and leaves.
fn epoch(crowd: &mut Crowd, token: &str) -> String {
    let (number, answer) = crowd.comes(Way::ElbowV1, "default", "", token);
    crowd.leaves(number);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (_, behind) = answer.split_once(r#""position":""#).expect("a position");
    behind.split_once('.').expect("an epoch").0.to_owned()
}

#[test]
#[expect(clippy::disallowed_macros, reason = "the numbers are what one runs this test for")]
fn coming_back_allocates_as_often_as_coming() {
    for way in [Way::Plain, Way::ElbowV1, Way::Stream] {
        let mut crowd = switched_on(100);
        let token = token(&crowd);
        let (speaker, _) = crowd.comes(Way::Plain, "default", "", &token);
        crowd.comes(way, "default", "", &token);
        let epoch = epoch(&mut crowd, &token);
        (0..40).for_each(|_| crowd.speaks(speaker, &frame(b"said")));
        let mut count = |query: &str, missed| {
            let counts = [(); 4].map(|()| allocations_of(&mut crowd, way, query, &token, missed));
            assert_eq!(counts[2], counts[3], "it does not vary once it is warm");
            counts[3]
        };
        let coming = count("", 0);
        let back = [10, 39].map(|missed| count(&format!("&since={epoch}.{}", 40 - missed), missed));
        let last = count("&last=40", 40);
        println!("{way:?}: {coming} allocations to come, {back:?} to come back, {last} by last");
        // The greeting says in a word more that nothing is lost.
        let more = u64::from(way == Way::ElbowV1);
        assert!(back[0] == back[1] && back[0] <= coming + more && last == coming);
        // Nor does it cost anything to drop what is too old.
        crowd.world.now.mono = crowd.world.now.mono.plus(HISTORY.age);
        assert_eq!(allocations_of(&mut crowd, way, "&last=40", &token, 0), coming);
    }
}

#[test]
#[expect(clippy::disallowed_macros, reason = "the numbers are what one runs this test for")]
fn a_session_that_comes_back_allocates_as_often_as_one_that_comes() {
    let mut crowd = switched_on(100);
    let token = token(&crowd);
    let (speaker, _) = crowd.comes(Way::Plain, "default", "", &token);
    crowd.come(Kind::Socket(4), "/");
    let epoch = epoch(&mut crowd, &token);
    (0..40).for_each(|_| crowd.speaks(speaker, &frame(b"said")));
    let mut count = |connect: &str, missed: usize| {
        let counts = [(); 4].map(|()| {
            // In a namespace of its own, so that what is counted is its entry into `/` alone.
            let number = crowd.come(Kind::Socket(4), "/other,").number;
            crowd.taken(number);
            let said = frame(connect.as_bytes());
            let before = ALLOCATIONS.get();
            crowd.say(number, &said);
            crowd.world.settle();
            let allocated = ALLOCATIONS.get() - before;
            let heard = crowd.taken(number);
            assert_eq!(heard.windows(4).filter(|text| text == b"said").count(), missed);
            crowd.leaves(number);
            allocated
        });
        assert_eq!(counts[2], counts[3], "once warm it does not vary");
        counts[3]
    };
    let coming = count("40", 0);
    let back = [10, 39].map(|missed| {
        let offset = format!("{epoch}.{}", 40 - missed);
        count(&format!(r#"40{{"pid":"AAAABBBBCCCCDDDDEEEE","offset":"{offset}"}}"#), missed)
    });
    println!("{coming} allocations to enter a namespace, {back:?} to come back to it");
    assert!(back.iter().all(|back| *back <= coming), "{back:?} {coming}");
}

#[test]
#[expect(clippy::disallowed_macros, reason = "the numbers are what one runs this test for")]
fn the_first_of_a_dialect_allocates_as_often_however_much_its_ring_is_filled_with() {
    for way in [Way::ElbowV1, Way::Stream] {
        let mut crowd = switched_on(100);
        let token = token(&crowd);
        let (speaker, _) = crowd.comes(Way::Plain, "default", "", &token);
        let mut count = |said: usize, missed| {
            (0..said).for_each(|_| crowd.speaks(speaker, &frame(b"said")));
            [(); 3].map(|()| allocations_of(&mut crowd, way, "&last=99", &token, missed))[2]
        };
        let (few, many) = (count(1, 1), count(39, 40));
        println!("{way:?}: {many} allocations of the first reader of a dialect");
        assert_eq!(few, many);
    }
}

/// What a server takes that has something said in so many channels, a reader of each of two
/// dialects in all of them: bytes that are allocated, and those that it says it holds.
fn with_channels(channels: usize, change: fn(&mut Settings)) -> (i64, i64) {
    let mut crowd = Crowd::with(2 * channels, |settings| {
        keeping(settings);
        change(settings);
    });
    for channel in 0..channels {
        let name = format!("c{channel}");
        let (speaker, _) = crowd.comes(Way::Plain, &name, "", "");
        let (reader, _) = crowd.comes(Way::ElbowV1, &name, "", "");
        let long = frame(&[b'x'; 4000]);
        (0..20).for_each(|_| crowd.speaks(speaker, &long));
        (0..60).for_each(|_| crowd.speaks(speaker, &frame(b"short")));
        assert!(crowd.taken(reader).ends_with(b"short"));
    }
    crowd.world.server.check();
    let held = crowd.world.server.pool().held_bytes();
    let before = LIVE_BYTES.get();
    drop(crowd.world.server);
    (before - LIVE_BYTES.get(), held as i64)
}

#[test]
#[expect(clippy::disallowed_macros, reason = "the numbers are what one runs this test for")]
fn what_is_kept_takes_what_the_settings_say() {
    const CHANNELS: usize = 16;
    let with = with_channels(CHANNELS, |_| {});
    let without = with_channels(CHANNELS, |settings| settings.limits.history = None);
    let (taken, held) = (with.0 - without.0, with.1 - without.1);
    // What `elbow check` says: a log for each channel, a larger index for each ring.
    let ring_bytes = |history| Limits::feed_cost_bytes(RING_BYTES, history) as i64;
    let (log_bytes, index_bytes) =
        (ring_bytes(Some(HISTORY)), ring_bytes(Some(HISTORY)) - ring_bytes(None));
    let said = CHANNELS as i64 * (log_bytes + 2 * index_bytes);
    // Set aside, and not taken before somebody is there.
    let of_default = Limits::default_channel_bytes(RING_BYTES, Some(HISTORY)) as i64
        - Limits::default_channel_bytes(RING_BYTES, None) as i64;
    println!("{taken} bytes for what is kept, {held} of them out of --memory; {said} were said");
    assert_eq!(held, said + of_default);
    // Beside the memory that is lent there is one table, which is in the ceiling.
    let beside = (REPLAY_BUCKETS * size_of::<Instant>()) as i64;
    assert!(taken <= said + beside, "{taken} bytes, {beside} beside {said}");
    assert!(taken > said, "{taken} bytes: something was not counted");
}
