//! What once went wrong with the turns of publishers whose room is waited for.

use super::sessions::request;
use super::{Client, READABLE, UPGRADE, World, frame, halves};
use elbow::id::ConnId;
use elbow::rate::Rate;
use elbow::time::Duration;

/// A word of this publisher: five of them are more than half a ring.
fn word(publisher: u8) -> Vec<u8> {
    frame(2, &[publisher; 500])
}

/// Publishers that have said this many words each before anything is read.
fn publishers(world: &mut World, count: u8, words: usize) -> Vec<(Client, ConnId)> {
    let publishers: Vec<_> = (0..count).map(|_| world.session()).collect();
    for (number, (client, _)) in (0..).zip(&publishers) {
        client.0.borrow_mut().to_server.extend(word(number).repeat(words));
    }
    for (_, id) in &publishers {
        world.ready(*id, READABLE);
    }
    publishers
}

/// The first byte of each message that a listener has heard, which tells whose it is.
fn messages(mut heard: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let [0x81 | 0x82, length, after @ ..] = heard else {
            assert!(heard.is_empty(), "messages only");
            return None;
        };
        let (length, after) = match length {
            126 => (usize::from(u16::from_be_bytes([after[0], after[1]])), &after[2..]),
            short => (usize::from(*short), after),
        };
        heard = &after[length..];
        Some(after[0])
    })
}

/// Whose words they were that a listener has heard; several that come together are one turn.
fn turns(heard: &[u8]) -> Vec<u8> {
    let mut turns: Vec<u8> = messages(heard).collect();
    turns.dedup();
    turns
}

/// How many turns anybody had at most while somebody else, who had more to say, had none.
fn longest_wait(turns: &[u8], speakers: u8) -> usize {
    let mut most = 0;
    for waiting in 0..speakers {
        let mut counts = [0; 256];
        let last = turns.iter().rposition(|speaker| *speaker == waiting).expect("it had a turn");
        for speaker in &turns[..last] {
            counts[usize::from(*speaker)] += 1;
            if *speaker == waiting {
                counts = [0; 256];
            }
            most = most.max(counts.iter().copied().max().unwrap_or(0));
        }
    }
    most
}

#[test]
fn who_has_said_half_of_something_does_not_come_before_those_that_wait() {
    let mut world = World::new();
    let (listener, _) = world.session();
    let (hasty, id) = world.session();
    let publishers = publishers(&mut world, 8, 40);
    // As soon as something of it is read it says more, of which the last is half a pong.
    let (short, pong) = (frame(2, b"\x08"), frame(10, b"pong"));
    for number in 0..2_000 {
        if hasty.0.borrow().to_server.is_empty() {
            let half = if number == 0 { &[][..] } else { &pong[8..] };
            hasty.0.borrow_mut().to_server.extend([half, &short, &pong[..8]].concat());
            world.ready(id, READABLE);
        }
        world.server.run(world.now);
        world.server.check();
    }
    assert!(publishers.iter().all(|(client, _)| client.0.borrow().to_server.is_empty()));
    let longest = longest_wait(&turns(&listener.heard()), 8);
    assert!(longest <= 4, "somebody had {longest} turns while another waited");
}

/// A world in which there is neither memory nor anything left of the turn.
struct Exhausted {
    world: World,
    /// Sessions that poll, each with its target.
    sessions: [(Client, ConnId, String); 8],
    /// Who brought it about, and must stay.
    _others: Vec<(Client, ConnId)>,
}

fn exhausted() -> Exhausted {
    let mut world = World::new();
    let sessions = [(); 8].map(|()| world.polling());
    for (client, id, target) in &sessions {
        world.request(client, *id, "POST", target, "40");
        client.heard();
    }
    let mut others: Vec<_> = (0..40).map(|_| world.session()).collect();
    let strangers = halves(&mut world);
    // Together they have more to say than there is in a turn.
    for (other, other_id) in &others {
        other.0.borrow_mut().to_server.extend(frame(10, b"").repeat(32));
        world.ready(*other_id, READABLE);
    }
    assert!(others.iter().any(|(other, _)| !other.0.borrow().to_server.is_empty()));
    others.extend(strangers);
    Exhausted { world, sessions, _others: others }
}

#[test]
fn what_a_post_has_brought_is_taken_in_where_no_memory_lets_it_wait_for_its_turn() {
    let Exhausted { mut world, sessions: [(client, id, target), ..], _others } = exhausted();
    let text = "x".repeat(600);
    world.request(&client, id, "POST", &target, &format!("42[\"chat message\",\"{text}\"]"));
    assert!(client.heard().ends_with(b"\r\n\r\nok"), "its connection was not ended");
    assert!(!world.server.pool().is_strained());
    world.request(&client, id, "GET", &target, "");
    world.settle();
    assert!(client.heard().starts_with(b"HTTP/1.1 200 "), "the session lives");
}

#[test]
fn what_is_taken_in_for_want_of_memory_is_bounded_in_a_turn() {
    let Exhausted { mut world, sessions, _others } = exhausted();
    // Eight times 500 packets that mean nothing, where a turn has 1,024 and who waits takes memory.
    let body = vec!["6"; 500].join("\x1e");
    let fields = format!("Content-Length: {}\r\n", body.len());
    for (client, id, target) in &sessions {
        let head = request("POST", target, &fields);
        client.0.borrow_mut().to_server.extend(format!("{head}{body}").as_bytes());
        world.ready(*id, READABLE);
    }
    world.settle();
    let is_taken = sessions.each_ref().map(|(client, ..)| client.heard().ends_with(b"ok"));
    let is_cut = sessions.each_ref().map(|(client, ..)| client.0.borrow().dropped);
    assert_eq!(is_cut, is_taken.map(|is_taken| !is_taken));
    let count = is_cut.iter().filter(|is_cut| **is_cut).count();
    assert!((1..=5).contains(&count), "{is_cut:?}");
    assert!(!world.server.pool().is_strained());
}

#[test]
fn a_burst_is_taken_in_where_no_memory_keeps_it_and_a_flood_ends() {
    for (count, is_taken) in [(150, true), (1_000, false)] {
        let mut world = World::new();
        let (speaker, id) = world.session();
        let _strangers = halves(&mut world);
        let packets = [frame(10, b"").repeat(count), frame(1, b"hello")].concat();
        world.say(&speaker, id, &packets);
        let heard = speaker.heard();
        match is_taken {
            true => assert_eq!(heard, b"\x81\x05hello"),
            false => assert!(heard.starts_with(b"\x88") && heard[2..4] == 1013_u16.to_be_bytes()),
        }
    }
}

#[test]
fn an_empty_post_keeps_nothing_of_the_reserve() {
    let Exhausted { mut world, sessions, _others } = exhausted();
    for (client, id, target) in &sessions {
        let head = request("POST", target, "Content-Length: 0\r\n");
        client.0.borrow_mut().to_server.extend(head.as_bytes());
        world.ready(*id, READABLE);
        assert!(!world.server.pool().is_strained());
    }
}

#[test]
fn who_is_due_for_a_ping_does_not_come_before_those_that_wait() {
    let mut world = World::new();
    let (listener, listener_id) = world.session();
    let publishers = publishers(&mut world, 8, 40);
    for _ in 0..1_000 {
        world.server.run(world.now);
        world.server.check();
        world.now.mono = world.now.mono.plus(Duration::from_secs(20));
        // It lives, and so do the others by what they have said.
        listener.0.borrow_mut().to_server.extend(frame(10, b""));
        world.ready(listener_id, READABLE);
        if publishers.iter().all(|(client, _)| client.0.borrow().to_server.is_empty()) {
            break;
        }
    }
    world.settle();
    let heard = listener.heard();
    assert_eq!(heard.len(), 8 * 40 * 504);
    let longest = longest_wait(&turns(&heard), 8);
    assert!(longest <= 2, "somebody had {longest} turns while another waited");
}

#[test]
fn who_may_speak_again_does_not_come_before_those_that_wait() {
    for (burst, turn_ms) in [(3, 1), (3, 2), (3, 3), (2, 1), (5, 4), (9, 5)] {
        let rate = Some(Rate::new(1_000, burst));
        let mut world = World::with(|settings| settings.limits.message_rate = rate);
        let (listener, _) = world.session();
        let publishers = publishers(&mut world, 12, 40);
        let mut heard = Vec::new();
        for _ in 0..20_000 {
            world.now.mono = world.now.mono.plus(Duration::from_millis(turn_ms));
            world.turn();
            heard.extend(listener.heard());
            if publishers.iter().all(|(client, _)| client.0.borrow().to_server.is_empty()) {
                break;
            }
        }
        world.pass(Duration::from_millis(100));
        heard.extend(listener.heard());
        assert_eq!(messages(&heard).count(), 12 * 40);
        let longest = longest_wait(&turns(&heard), 12);
        assert!(longest <= 4, "{burst} at once: {longest} turns while another waited");
    }
}

/// How many messages a listener has heard of those that this concerns, by their first byte.
fn count(heard: &[u8], concerns: impl Fn(u8) -> bool) -> usize {
    messages(heard).filter(|speaker| concerns(*speaker)).count()
}

/// Twelve publishers wait with twenty words each, and in each turn of the loop somebody hasty may
/// do something, who is told how many of the messages that begin with `z` were heard. Asserts that
/// nobody has more than its share until the twelve have said all.
fn while_others_wait(
    world: &mut World,
    listener: &Client,
    mut hasten: impl FnMut(&mut World, usize),
) {
    listener.heard();
    let _publishers = publishers(world, 12, 20);
    let mut heard = Vec::new();
    for _ in 0..2_000 {
        if count(&heard, |speaker| speaker < 12) == 12 * 20 {
            break;
        }
        hasten(world, count(&heard, |speaker| speaker == b'z'));
        world.turn();
        heard.extend(listener.heard());
    }
    let turns = turns(&heard);
    let hasty = turns.iter().filter(|speaker| **speaker == b'z').count();
    assert!(hasty >= 3, "it had {hasty} turns");
    let longest = longest_wait(&turns, 12);
    assert!(longest <= 4, "somebody had {longest} turns while another waited");
}

#[test]
fn who_posts_each_word_does_not_come_before_those_that_wait() {
    // As much in each POST as it may hold, many words of it, and two bytes.
    for (words, bytes) in [(1, 900), (20, 20), (1, 2)] {
        let mut world = World::new();
        let (listener, _) = world.session();
        let (hasty, id, target) = world.polling();
        let (poller, poller_id) = world.connect();
        world.request(&hasty, id, "POST", &target, "40");
        world.request(&poller, poller_id, "GET", &target, "");
        let poll = request("GET", &target, "");
        let event = format!("42[\"chat message\",\"{}\"]", "z".repeat(bytes));
        let body = vec![event; words].join("\x1e");
        let length = format!("Content-Length: {}\r\n", body.len());
        let post = request("POST", &target, &length) + &body;
        while_others_wait(&mut world, &listener, |world, _| {
            // As soon as it is answered it asks again.
            for (client, id, again) in [(&poller, poller_id, &poll), (&hasty, id, &post)] {
                if !client.heard().is_empty() {
                    client.0.borrow_mut().to_server.extend(again.as_bytes());
                    world.ready(id, READABLE);
                }
            }
        });
    }
}

#[test]
fn who_opens_a_websocket_for_each_word_does_not_come_before_those_that_wait() {
    for words in [5, 1] {
        let mut world = World::new();
        let (listener, _) = world.session();
        let mut newcomers = Vec::new();
        while_others_wait(&mut world, &listener, |world, heard| {
            // One that was heard goes, and another comes, whose words come with its request.
            if heard == newcomers.len() * words {
                if let Some((client, id)) = newcomers.last() {
                    let client: &Client = client;
                    client.0.borrow_mut().to_server.extend(frame(8, &[]));
                    world.ready(*id, READABLE);
                }
                let (client, id) = world.connect();
                let words = word(b'z').repeat(words);
                client.0.borrow_mut().to_server.extend([UPGRADE, &words].concat());
                world.ready(id, READABLE);
                newcomers.push((client, id));
            }
        });
    }
}

#[test]
fn newcomers_who_read_let_those_who_wait_for_the_room_speak() {
    let mut world = World::new();
    let (publisher, id) = world.session();
    let (listener, _) = world.session();
    world.deaf();
    for number in 0..12 {
        world.say(&publisher, id, &word(number));
    }
    let at_once = listener.heard().len();
    assert!(at_once < 12 * 504, "the room is waited for");
    let _newcomers: Vec<_> = (0..8).map(|_| world.session()).collect();
    assert_eq!(at_once + listener.heard().len(), 12 * 504);
}

#[test]
fn half_of_something_in_a_room_that_is_waited_for_is_no_sign_of_life() {
    let mut world = World::new();
    let (publisher, id) = world.session();
    let (vanished, vanished_id) = world.session();
    world.say(&vanished, vanished_id, &frame(10, b"pong")[..8]);
    for second in 0..50 {
        // New ones each time, since the ring overtakes them.
        world.deaf();
        for _ in 0..5 {
            world.say(&publisher, id, &word(second));
        }
        world.pass(Duration::from_secs(1));
    }
    assert!(vanished.0.borrow().dropped);
}

#[test]
fn a_post_whose_share_ends_just_as_it_closes_the_room_is_read_again() {
    // Of its packets, in front of the two words, so many are for nobody.
    for pongs in 28..36 {
        let mut world = World::new();
        let (listener, _) = world.session();
        let (publisher, publisher_id) = world.session();
        let (poster, id, target) = world.polling();
        world.request(&poster, id, "POST", &target, "40");
        listener.heard();
        poster.heard();
        // Nearly half of a ring is said in this turn.
        publisher.0.borrow_mut().to_server.extend(word(1).repeat(3));
        world.ready(publisher_id, READABLE);
        let event = format!("42[\"chat message\",\"{}\"]", "z".repeat(700));
        let body = format!("{}{event}\x1e42[\"chat message\",\"y\"]", "3\x1e".repeat(pongs));
        world.request(&poster, id, "POST", &target, &body);
        assert!(poster.heard().ends_with(b"\r\n\r\nok"), "behind {pongs}");
        let heard = listener.heard();
        assert_eq!(messages(&heard).collect::<Vec<_>>(), [1, 1, 1, b'z', b'y'], "behind {pongs}");
    }
}
