//! Channels that nobody is in, and that are there for what was said in them: they have their places
//! for as long as it is kept, and newcomers with another channel are told so.

use super::history::{AGE, keeping, texts};
use super::requests::UPGRADE;
use super::sessions::request;
use super::{Client, World, frame};
use elbow::id::ConnId;
use elbow::metrics::Refusal;
use elbow::server::Listener;
use elbow::time::Duration;

/// How somebody comes into a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Plain,
    ElbowV1,
    Stream,
    Namespace,
}

const WAYS: [Way; 4] = [Way::Plain, Way::ElbowV1, Way::Stream, Way::Namespace];

const ADDRESS: &str = "203.0.113.1";

/// Somebody who came to a channel, and what the server said to that.
struct Newcomer {
    way: Way,
    client: Client,
    id: ConnId,
    heard: String,
}

/// Two channels beside `default`, of which each address may bring one into being.
fn world() -> World {
    World::with(|settings| {
        *settings = keeping(100);
        settings.limits.channels_max = 3;
    })
}

fn come(world: &mut World, way: Way, channel: &str) -> Newcomer {
    let (client, id) = world.connect_to(Listener::Public, ADDRESS);
    let head = match way {
        Way::Plain => request("GET", &format!("/ws/{channel}"), UPGRADE),
        Way::ElbowV1 => {
            let fields = format!("{UPGRADE}Sec-WebSocket-Protocol: elbow.v1\r\n");
            request("GET", &format!("/ws/{channel}"), &fields)
        }
        Way::Stream => request("GET", &format!("/sse/{channel}"), ""),
        Way::Namespace => request("GET", "/socket.io/?EIO=4&transport=websocket", UPGRADE),
    };
    world.say(&client, id, head.as_bytes());
    if way == Way::Namespace {
        client.heard();
        // Whoever names no namespace is in the channel `default`.
        let namespace = if channel == "default" { "" } else { &format!("/{channel},") };
        world.say(&client, id, &frame(1, format!("40{namespace}").as_bytes()));
    }
    let heard = String::from_utf8_lossy(&client.heard()).into_owned();
    Newcomer { way, client, id, heard }
}

impl Newcomer {
    fn is_in(&self) -> bool {
        match self.way {
            Way::Plain | Way::ElbowV1 => self.heard.starts_with("HTTP/1.1 101 "),
            Way::Stream => self.heard.starts_with("HTTP/1.1 200 ") && self.heard.contains("id: "),
            Way::Namespace => self.heard.contains("\"sid\""),
        }
    }

    /// Asserts that it was told what somebody is told for whose channel there is no place.
    fn is_refused(&self) {
        let Newcomer { way, heard, .. } = self;
        let is_told = match way {
            Way::Plain | Way::ElbowV1 => {
                heard.starts_with("HTTP/1.1 503 ") && heard.contains("\r\nRetry-After: 5\r\n")
            }
            // An EventSource never comes back from an error.
            Way::Stream => {
                heard.starts_with("HTTP/1.1 200 ")
                    && heard.contains("\r\nretry: ")
                    && heard.ends_with("\r\n0\r\n\r\n")
            }
            Way::Namespace => heard.contains("44/") && heard.contains("\"Too many channels\""),
        };
        assert!(is_told && !self.is_in(), "{way:?}: {heard}");
    }

    fn leaves(self, world: &mut World) {
        self.client.0.borrow_mut().ended = true;
        world.say(&self.client, self.id, b"");
    }
}

/// Somebody comes from `ip`, says something in a channel, and leaves it.
fn leave_behind(world: &mut World, ip: &str, channel: &str, text: &str) {
    let (client, id) = world.connect_to(Listener::Public, ip);
    let head = request("GET", &format!("/ws/{channel}"), UPGRADE);
    world.say(&client, id, head.as_bytes());
    assert!(client.heard().starts_with(b"HTTP/1.1 101 "));
    world.say(&client, id, &frame(1, text.as_bytes()));
    client.0.borrow_mut().ended = true;
    world.say(&client, id, b"");
    assert!(client.0.borrow().dropped);
}

fn last_of(world: &mut World, channel: &str) -> Vec<String> {
    let (client, id) = world.open_plain(&format!("/ws/{channel}?last=9"));
    let heard = texts(&client.heard());
    client.0.borrow_mut().ended = true;
    world.say(&client, id, b"");
    heard
}

#[test]
fn what_is_kept_is_never_given_up_for_a_newcomer_and_makes_room_when_it_is_too_old() {
    for way in WAYS {
        let mut world = world();
        leave_behind(&mut world, "192.0.2.1", "one", "first");
        world.pass(Duration::from_secs(20));
        leave_behind(&mut world, "192.0.2.2", "two", "second");
        assert_eq!(world.server.sessions(), 0);
        for number in 1..=3 {
            let refused = come(&mut world, way, "three");
            refused.is_refused();
            refused.leaves(&mut world);
            assert_eq!(world.refusals(), vec!["--max-channels are in use"; number], "{way:?}");
        }
        assert_eq!(world.server.metrics().refused(Refusal::Channels), 3);
        // Nothing was given up for those, and a channel that is there may be entered.
        assert_eq!(last_of(&mut world, "one"), ["first"]);
        assert_eq!(last_of(&mut world, "two"), ["second"]);
        let member = come(&mut world, way, "two");
        assert!(member.is_in(), "{way:?}: {}", member.heard);
        member.leaves(&mut world);
        // To the moment at which the message of the first is too old.
        world.pass(Duration::from_millis(AGE.as_millis() - 20_001));
        let refused = come(&mut world, way, "three");
        refused.is_refused();
        refused.leaves(&mut world);
        world.pass(Duration::from_millis(1));
        let let_in = come(&mut world, way, "three");
        assert!(let_in.is_in(), "{way:?}: {}", let_in.heard);
        assert_eq!(last_of(&mut world, "two"), ["second"], "one has made room, not the other");
        come(&mut world, way, "one").is_refused();
    }
}

#[test]
fn whoever_names_no_channel_finds_its_place_beside_what_is_kept() {
    for way in WAYS {
        let mut world = world();
        leave_behind(&mut world, "192.0.2.1", "one", "first");
        leave_behind(&mut world, "192.0.2.2", "two", "second");
        let member = come(&mut world, way, "default");
        assert!(member.is_in(), "{way:?}: {}", member.heard);
        come(&mut world, way, "three").is_refused();
    }
}

#[test]
fn a_channel_that_is_kept_stays_on_the_account_of_who_brought_it() {
    for way in WAYS {
        let mut world = World::with(|settings| {
            *settings = keeping(100);
            settings.limits.channels_max = 8;
        });
        for channel in ["one", "two"] {
            leave_behind(&mut world, ADDRESS, channel, "mine");
        }
        // A quarter of eight; there is place for four more.
        let refused = come(&mut world, way, "three");
        let word = match way {
            Way::Plain | Way::ElbowV1 => "HTTP/1.1 503 ",
            Way::Stream => "\r\nretry: ",
            Way::Namespace => "\"Too many channels from this address\"",
        };
        assert!(refused.heard.contains(word) && !refused.is_in(), "{way:?}: {}", refused.heard);
        assert_eq!(world.server.metrics().refused(Refusal::ChannelsOfAddress), 1);
        leave_behind(&mut world, "192.0.2.2", "other", "theirs");
        world.pass(AGE);
        let let_in = come(&mut world, way, "three");
        assert!(let_in.is_in(), "{way:?}: {}", let_in.heard);
    }
}

#[test]
fn what_is_too_old_is_not_counted_among_what_is_kept() {
    let mut world = world();
    let (speaker, id) = world.open_plain("/ws/one");
    world.say(&speaker, id, &frame(1, b"first"));
    for _ in 0..4 {
        world.pass(Duration::from_millis(AGE.as_millis() / 4));
        world.say(&speaker, id, &frame(10, b""));
    }
    let kept = loop {
        if let Some(snapshot) = world.server.survey(world.now) {
            break snapshot.largest[0].kept;
        }
    };
    assert_eq!(kept, 0, "nobody can be sent it any more");
}
