//! Who took more than its share: of a turn's reads, of a pass's sends, of the price of its bytes.
//!
//! That no call costs more than its bytes and a constant account for is asserted by the server
//! itself in builds with assertions, after each call; here are the inputs that once broke it.

use super::{Client, READABLE, UPGRADE, World, frame, sid_of};
use elbow::id::ConnId;
use elbow::limits::{JOIN_UNITS, SENDS_PER_TURN, SWEEP_SENDS_MIN, UNITS_PER_READ};
use elbow::server::Event;

const PROBE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";

/// A world with messages of 64 KiB and memory for many of them.
fn roomy() -> World {
    World::with(|settings| {
        settings.limits.message_bytes_max = 64 * 1024;
        settings.limits.feed_bytes = 256 * 1024;
        settings.limits.memory_bytes = 32 << 20;
    })
}

impl World {
    /// One turn of the loop in which these have something to be read.
    fn turn_with(&mut self, readable: &[ConnId]) {
        readable.iter().for_each(|id| self.ready(*id, READABLE));
        self.turn();
    }

    /// Takes turns until `is_so`; how many that were.
    fn turns_until(&mut self, is_so: impl Fn() -> bool) -> u32 {
        (1..=10_000)
            .find(|_| {
                self.turn();
                is_so()
            })
            .expect("it takes more than 10,000 turns")
    }

    /// A session over polls that has entered `/`, with the target of its requests.
    fn member_over_polls(&mut self, version: u8) -> String {
        let target = format!("/socket.io/?EIO={version}&transport=polling");
        let (client, id) = self.connect();
        self.say(&client, id, request("GET", &target, b"").as_slice());
        let target = format!("{target}&sid={}", sid_of(&client.heard()));
        if version == 4 {
            self.say(&client, id, request("POST", &target, b"40").as_slice());
        }
        target
    }

    /// A client that says nothing but what the test tells it to, and whether it is alive.
    fn echo(&mut self) -> (Client, ConnId) {
        self.session()
    }
}

fn request(method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn answers(heard: &[u8]) -> usize {
    heard.windows(9).filter(|nine| nine == b"HTTP/1.1 ").count()
}

/// Posts a body whose packets are many, and takes turns until it is answered. Meanwhile a word of
/// somebody else is heard within a turn or two.
fn post(version: u8, body: &[u8], packets: u32) {
    let mut world = roomy();
    let target = world.member_over_polls(version);
    let (other, other_id) = world.echo();
    let (client, id) = world.connect();
    client.0.borrow_mut().to_server.extend(request("POST", &target, body));
    world.ready(id, READABLE);
    for number in 0..5 {
        let word = format!("word {number}");
        other.heard();
        other.0.borrow_mut().to_server.extend(frame(1, word.as_bytes()));
        world.ready(other_id, READABLE);
        let turns = world.turns_until(|| {
            let wire = other.0.borrow();
            wire.to_client.windows(word.len()).any(|text| text == word.as_bytes())
        });
        assert!(turns <= 2, "{turns} turns for a word beside a POST");
    }
    let turns = world.turns_until(|| !client.0.borrow().to_client.is_empty());
    assert!(turns >= packets / UNITS_PER_READ / 2, "{packets} packets in {turns} turns");
    assert!(client.heard().ends_with(b"\r\n\r\nok"));
}

#[test]
fn a_post_of_the_smallest_packets_is_checked_once_and_taken_in_by_portions() {
    // What is not ASCII is slow to check, and stood behind each of the packets.
    let tail = "6".to_owned() + &"\u{e9}".repeat(16_383);
    post(4, ("6\u{1e}".repeat(16_384) + &tail).as_bytes(), 16_384);
    post(4, ("6\u{1e}".repeat(32_000) + "6").as_bytes(), 32_000);
    let tail = format!("{}:6{}", 1 + 15_000, "\u{e9}".repeat(15_000));
    post(3, ("1:6".repeat(11_000) + &tail).as_bytes(), 11_000);
    post(3, "1:6".repeat(21_000).as_bytes(), 21_000);
}

#[test]
fn a_post_of_events_that_want_an_acknowledgement_is_taken_in_by_portions() {
    // Nobody polls, so what is owed stays under the bound of what may wait for a poll.
    let events = vec!["421[\"chat message\",\"\"]"; 2_000].join("\u{1e}");
    post(4, events.as_bytes(), 2_000);
}

#[test]
fn a_body_that_is_not_text_has_no_effect_however_far_the_fault_is() {
    let mut world = roomy();
    let target = world.member_over_polls(4);
    let (listener, _) = world.echo();
    let (client, id) = world.connect();
    let mut body = "42[\"chat message\",\"early\"]\u{1e}".repeat(100).into_bytes();
    body.extend_from_slice(b"6\xff");
    world.say(&client, id, &request("POST", &target, &body));
    assert!(client.heard().ends_with(b"\r\n\r\nok"));
    assert!(listener.heard().is_empty(), "nothing of it is published");
}

/// Clients that ask for a probe again and again without waiting for its answer.
fn pipeliners(world: &mut World, count: usize) -> Vec<(Client, ConnId)> {
    let clients: Vec<_> = (0..count).map(|_| world.connect()).collect();
    for (client, _) in &clients {
        client.0.borrow_mut().to_server.extend(PROBE.repeat(400));
    }
    clients
}

#[test]
fn who_pipelines_probes_silences_no_room() {
    let mut world = roomy();
    let members: Vec<_> = (0..200).map(|_| world.session()).collect();
    let pipeliners = pipeliners(&mut world, 100);
    let ids: Vec<ConnId> = pipeliners.iter().map(|(_, id)| *id).collect();
    world.turn_with(&ids);
    let (speaker, speaker_id) = &members[0];
    speaker.0.borrow_mut().to_server.extend(frame(1, b"hello"));
    world.ready(*speaker_id, READABLE);
    let all_have_it =
        || members.iter().all(|(member, _)| member.0.borrow().to_client.ends_with(b"hello"));
    let turns = world.turns_until(all_have_it);
    assert!(turns as usize <= members.len() / SWEEP_SENDS_MIN + 2, "{turns} turns");
    let busy = |(client, _): &&(Client, ConnId)| !client.0.borrow().to_server.is_empty();
    assert_eq!(pipeliners.iter().filter(busy).count(), 100, "all of them are still at it");
    assert!(pipeliners.iter().all(|(client, _)| answers(&client.heard()) > 1));
}

#[test]
fn who_pipelines_probes_holds_up_no_poll_and_no_stranger() {
    let mut world = roomy();
    let target = world.member_over_polls(4);
    let (poll, poll_id) = world.connect();
    world.say(&poll, poll_id, &request("GET", &target, b""));
    poll.heard();
    // The greeting that it was owed has come; this one waits.
    world.say(&poll, poll_id, &request("GET", &target, b""));
    let (speaker, speaker_id) = world.echo();
    let pipeliners = pipeliners(&mut world, 100);
    let ids: Vec<ConnId> = pipeliners.iter().map(|(_, id)| *id).collect();
    world.turn_with(&ids);
    speaker.0.borrow_mut().to_server.extend(frame(1, b"hello"));
    world.ready(speaker_id, READABLE);
    let (stranger, stranger_id) = world.connect();
    stranger.0.borrow_mut().to_server.extend(PROBE);
    world.ready(stranger_id, READABLE);
    let turns = world.turns_until(|| answers(&poll.0.borrow().to_client) > 0);
    assert!(turns <= 12, "{turns} turns for a poll");
    let turns = world.turns_until(|| answers(&stranger.0.borrow().to_client) > 0);
    assert!(turns <= 12, "{turns} turns for a stranger");
}

#[test]
fn joins_and_leaves_cost_a_share_of_the_turn() {
    let mut world = roomy();
    let (client, id) = world.connect();
    let upgrade = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: h\r\n\
        Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n\r\n";
    world.say(&client, id, upgrade.as_bytes());
    let round = [frame(1, b"40/x,"), frame(1, b"41/x,")].concat();
    client.0.borrow_mut().to_server.extend(round.repeat(3_000));
    world.ready(id, READABLE);
    let mut turns = 0;
    loop {
        world.events.clear();
        let more = world.turn();
        turns += 1;
        let opened = world.events.iter().filter(|event| matches!(event, Event::Opened { .. }));
        // Each leave costs as much.
        assert!(opened.count() <= (UNITS_PER_READ / (2 * JOIN_UNITS)) as usize + 1);
        if !more {
            break;
        }
    }
    assert!(turns > 500, "{turns} turns for 3,000 joins");
    assert!(client.0.borrow().to_server.is_empty());
}

#[test]
fn a_flood_of_control_frames_keeps_nobody_waiting() {
    for opcode in [9, 10] {
        let mut world = roomy();
        let flooders: Vec<_> = (0..50).map(|_| world.session()).collect();
        let (other, other_id) = world.echo();
        for (client, _) in &flooders {
            client.0.borrow_mut().to_server.extend(frame(opcode, b"").repeat(20_000));
        }
        let ids: Vec<ConnId> = flooders.iter().map(|(_, id)| *id).collect();
        world.turn_with(&ids);
        other.0.borrow_mut().to_server.extend(frame(1, b"hello"));
        world.ready(other_id, READABLE);
        let turns = world.turns_until(|| other.0.borrow().to_client.ends_with(b"hello"));
        // Eight of their first reads are the bytes of a turn.
        assert!(turns <= 50 / 8 + 2, "{turns} turns for an echo");
        assert!(flooders.iter().all(|(client, _)| !client.0.borrow().to_server.is_empty()));
    }
}

#[test]
fn words_that_come_together_with_the_end_are_all_published() {
    let mut world = roomy();
    let (listener, _) = world.echo();
    let (speaker, id) = world.session();
    for number in 0..500_u16 {
        speaker.0.borrow_mut().to_server.extend(frame(1, format!("{number:03}").as_bytes()));
    }
    speaker.0.borrow_mut().ended = true;
    world.ready(id, elbow::server::Readiness { more_behind: true, ..READABLE });
    world.settle();
    let heard = listener.heard();
    assert_eq!(heard.len(), 500 * 5, "each of them once");
    assert!(heard.ends_with(b"499"));
    assert!(speaker.0.borrow().dropped);
}

#[test]
fn a_pipeline_is_kept_in_small_pieces() {
    let mut world = roomy();
    let (client, id) = world.connect();
    client.0.borrow_mut().to_server.extend(PROBE.repeat(5_000));
    world.ready(id, READABLE);
    let mut most = 0;
    while world.turn() {
        most = most.max(world.server.pool().lent_bytes());
    }
    assert_eq!(answers(&client.heard()), 5_000);
    // Rings that nobody reads are not there; what is lent are the rest and an answer.
    assert!(most <= 8 * 1024, "{most} bytes are kept of a pipeline");
}

#[test]
fn queues_do_not_grow_by_those_that_come_and_go() {
    let mut world = roomy();
    let flooders: Vec<_> = (0..350).map(|_| world.session()).collect();
    for (client, id) in &flooders {
        client.0.borrow_mut().to_server.extend(frame(10, b"").repeat(20_000));
        world.ready(*id, READABLE);
    }
    let said = [UPGRADE, &frame(9, b""), &frame(10, b"").repeat(200)].concat();
    for _ in 0..60 {
        while world.server.connections() < 460 {
            // It waits for its turn behind the others, and ends before: its socket is broken.
            let (client, id) = world.connect();
            client.0.borrow_mut().to_server.extend(&said);
            client.0.borrow_mut().broken = true;
            world.ready(id, READABLE);
        }
        world.turn();
    }
}

#[test]
fn a_busy_channel_leaves_the_others_more_than_its_rest_of_a_pass() {
    let mut world = roomy();
    let join = |world: &mut World, channel: &str| {
        let (client, id) = world.connect();
        let target = format!("GET /ws/{channel} ");
        let head = String::from_utf8_lossy(UPGRADE).replacen("GET /ws ", &target, 1);
        world.say(&client, id, head.as_bytes());
        client.heard();
        (client, id)
    };
    // One send less than a pass has, each time something is said there.
    let busy: Vec<_> = (1..SENDS_PER_TURN).map(|_| join(&mut world, "busy")).collect();
    let calm: Vec<_> = (0..100).map(|_| join(&mut world, "calm")).collect();
    let word = frame(1, b"word");
    let (talker, talker_id) = &busy[0];
    let (speaker, speaker_id) = &calm[0];
    speaker.0.borrow_mut().to_server.extend(frame(1, b"hello"));
    let mut turns = 0;
    while !calm.iter().all(|(member, _)| member.0.borrow().to_client.ends_with(b"hello")) {
        talker.0.borrow_mut().to_server.extend(&word);
        world.turn_with(&[*talker_id, *speaker_id]);
        turns += 1;
        assert!(turns <= 2 * (100 / SWEEP_SENDS_MIN + 1), "{turns} turns for 100 members");
    }
}
