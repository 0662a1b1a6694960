//! Places for connections: nobody takes those of another listener, and the idlest gives way.

use super::sessions::{POLLING, request};
use super::{Client, READABLE, World, frame, sid_of};
use elbow::id::ConnId;
use elbow::limits::{
    CONNECTIONS_HEALTH, CONNECTIONS_SPARE, KEEP_ALIVE_AGE_MAX, KEEP_ALIVE_REQUESTS_MAX,
};
use elbow::reason::CloseReason;
use elbow::server::{Event, Listener};
use elbow::time::Duration;

const SESSIONS: usize = 8;

impl World {
    fn small() -> World {
        World::with(|settings| settings.limits.connections_max = SESSIONS)
    }

    /// Lets a connection ask for `path`. Returns whether it is answered.
    fn asks_for(&mut self, client: &Client, id: ConnId, path: &str) -> bool {
        client.heard();
        self.say(client, id, request("GET", path, "").as_bytes());
        client.heard().starts_with(b"HTTP/1.1 ")
    }

    /// So many public connections that have asked once and are kept alive.
    fn kept(&mut self, count: usize) -> Vec<(Client, ConnId)> {
        let mut kept = Vec::new();
        for _ in 0..count {
            let (client, id) = self.connect();
            assert!(self.asks_for(&client, id, "/healthz"));
            self.now.mono = self.now.mono.plus(Duration::from_millis(1));
            kept.push((client, id));
        }
        kept
    }

    fn gave_way(&self) -> usize {
        let gave_way =
            |event: &&Event| matches!(event, Event::Ended { reason: CloseReason::GaveWay, .. });
        self.events.iter().filter(gave_way).count()
    }
}

fn is_gone(client: &Client) -> bool {
    client.0.borrow().dropped
}

#[test]
fn the_health_listener_answers_when_every_public_place_is_taken() {
    let mut world = World::small();
    let sessions: Vec<_> = (0..SESSIONS).map(|_| world.session()).collect();
    // Each has an answer that it does not take, so that nobody can give way.
    let deaf: Vec<_> = (0..CONNECTIONS_SPARE)
        .map(|_| {
            let (client, id) = world.connect();
            client.stop_reading();
            world.say(&client, id, request("GET", "/healthz", "").as_bytes());
            client
        })
        .collect();
    assert!(!world.server.has_room_for(Listener::Public));
    assert!(world.server.make_room(world.now, Listener::Public).is_none());
    for _ in 0..3 * CONNECTIONS_HEALTH {
        let (probe, id) = world.connect_to(Listener::Health, "198.51.100.7");
        assert!(world.asks_for(&probe, id, "/readyz"));
    }
    assert!(!deaf.iter().any(is_gone) && !sessions.iter().any(|(client, _)| is_gone(client)));
    assert_eq!(world.gave_way(), 2 * CONNECTIONS_HEALTH);
}

#[test]
fn who_asks_now_and_then_does_not_keep_others_out() {
    let mut world = World::small();
    let sessions: Vec<_> = (0..SESSIONS).map(|_| world.session()).collect();
    let strangers = world.kept(CONNECTIONS_SPARE);
    // The first two ask again: it is the third that has been idle for longest.
    for (client, id) in &strangers[..2] {
        assert!(world.asks_for(client, *id, "/healthz"));
    }
    let (probe, id) = world.connect();
    assert!(world.asks_for(&probe, id, "/healthz"));
    let gone = strangers.iter().position(|(client, _)| is_gone(client));
    assert_eq!((gone, world.gave_way()), (Some(2), 1));
    let (another, id) = world.connect();
    assert!(is_gone(&strangers[3].0) && !is_gone(&probe) && !is_gone(&another));
    assert!(world.asks_for(&another, id, "/ws"));
    for (client, id) in &sessions {
        world.say(client, *id, &frame(9, b"?"));
        assert_eq!(client.heard(), b"\x8a\x01?");
    }
}

#[test]
fn whoever_has_something_under_way_does_not_give_way() {
    let mut world = World::small();
    // A held poll, a POST that has not come whole, an answer that is not taken.
    let (poller, poller_id, target) = world.polling();
    let (poster, poster_id) = world.connect();
    world.request(&poster, poster_id, "POST", &target, "40");
    poster.heard();
    world.asks_for(&poller, poller_id, &target);
    let begun = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n42[");
    world.asks_for(&poller, poller_id, &target);
    world.say(&poster, poster_id, begun.as_bytes());
    let (deaf, deaf_id) = world.connect();
    deaf.stop_reading();
    world.say(&deaf, deaf_id, request("GET", "/healthz", "").as_bytes());
    // A half head is not much, and still more than nothing.
    let (half, half_id) = world.connect();
    world.say(&half, half_id, b"GET / HTTP/1.1\r\nHo");
    let places = SESSIONS + CONNECTIONS_SPARE;
    let kept = world.kept(places - 4);
    for (number, (idle, _)) in kept.iter().enumerate() {
        world.now.mono = world.now.mono.plus(Duration::from_millis(1));
        assert!(!is_gone(idle));
        let (client, id) = world.connect();
        // It holds its place: an answer is under way.
        client.stop_reading();
        world.say(&client, id, request("GET", "/healthz", "").as_bytes());
        assert!(is_gone(idle), "{number}");
    }
    assert!(!is_gone(&half));
    world.connect();
    assert!(is_gone(&half), "nobody is idle any more");
    world.settle();
    assert!(world.server.has_room_for(Listener::Public), "it has said nothing yet");
    let (last, last_id) = world.connect();
    last.stop_reading();
    world.say(&last, last_id, request("GET", "/healthz", "").as_bytes());
    assert!(!world.server.has_room_for(Listener::Public));
    assert!(![poller, poster, deaf].iter().any(is_gone));
}

#[test]
fn nobody_gives_way_before_it_was_looked_at() {
    let mut world = World::small();
    let places = SESSIONS + CONNECTIONS_SPARE;
    // A crowd comes in one turn, and has asked already.
    let crowd: Vec<_> = (0..places).map(|_| world.connect()).collect();
    for (client, _) in &crowd {
        client.0.borrow_mut().to_server.extend(request("GET", "/healthz", "").as_bytes());
    }
    assert!(!world.server.has_room_for(Listener::Public), "they may have said something");
    world.server.run(world.now);
    // With the next turn the kernel says so.
    for (_, id) in &crowd {
        world.ready(*id, READABLE);
    }
    world.settle();
    for (client, _) in &crowd {
        assert!(client.heard().starts_with(b"HTTP/1.1 200 "));
    }
    assert!(world.server.has_room_for(Listener::Public));
    assert_eq!(world.gave_way(), 0);
}

#[test]
fn a_connection_that_has_asked_often_is_told_that_this_was_the_last_answer() {
    let mut world = World::new();
    let (client, id) = world.connect();
    let ask = request("GET", "/healthz", "");
    let most = usize::from(KEEP_ALIVE_REQUESTS_MAX);
    let closes = |client: &Client| {
        String::from_utf8_lossy(&client.heard()).matches("\r\nConnection: close\r\n").count()
    };
    world.say(&client, id, ask.repeat(10).as_bytes());
    for _ in 10..most - 1 {
        world.say(&client, id, ask.as_bytes());
    }
    assert_eq!(closes(&client), 0);
    world.say(&client, id, ask.repeat(2).as_bytes());
    assert_eq!(closes(&client), 1);
    assert!(client.0.borrow().shut_down);
    assert_eq!(world.server.metrics().requests.total(), most as u64);
}

#[test]
fn an_old_connection_is_told_that_this_was_the_last_answer() {
    let closes = |client: &Client| {
        String::from_utf8_lossy(&client.heard()).contains("\r\nConnection: close\r\n")
    };
    let mut world = World::new();
    let (client, id) = world.connect();
    let ask = request("GET", "/healthz", "");
    let step = Duration::from_secs(10);
    for _ in 0..KEEP_ALIVE_AGE_MAX.as_millis() / step.as_millis() {
        world.say(&client, id, ask.as_bytes());
        assert!(!closes(&client) && !client.0.borrow().shut_down);
        world.pass(step);
    }
    world.say(&client, id, ask.as_bytes());
    assert!(closes(&client) && client.0.borrow().shut_down);

    // A poll that is held in the meantime, too, and its session goes on elsewhere.
    let mut world = World::new();
    let (client, id) = world.connect();
    let target = POLLING.replace("EIO=4", "EIO=3");
    world.say(&client, id, request("GET", &target, "").as_bytes());
    let target = format!("{target}&sid={}", sid_of(&client.heard()));
    for _ in 0..KEEP_ALIVE_AGE_MAX.as_millis() / step.as_millis() {
        world.say(&client, id, request("GET", &target, "").as_bytes());
        let (poster, poster_id) = world.connect();
        world.request(&poster, poster_id, "POST", &target, "1:2");
        world.settle();
        assert!(!closes(&client));
        world.pass(step);
    }
    world.say(&client, id, request("GET", &target, "").as_bytes());
    let (poster, poster_id) = world.connect();
    world.request(&poster, poster_id, "POST", &target, "1:2");
    assert!(closes(&client));
    assert_eq!(world.server.sessions(), 1);
}
