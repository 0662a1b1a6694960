//! Limits for public places: how much anybody may say in a second, and how long anybody may stay.

use super::harness::READABLE;
use super::sessions::{POLLING, request};
use super::{Client, World, frame};
use elbow::id::ConnId;
use elbow::rate::Rate;
use elbow::reason::CloseReason;
use elbow::server::Event;
use elbow::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A world in which this much may be said.
fn rated(per_second: u32, burst: u32) -> World {
    World::with(|settings| {
        settings.limits.message_rate = Some(Rate::new(per_second, burst));
    })
}

/// A world in which nobody stays for much longer than this.
fn lasting(length: Duration) -> World {
    World::with(|settings| settings.limits.lifetime = Some(length))
}

/// How many frames of a server were heard, none of them longer than 125 bytes.
fn frames(mut heard: &[u8]) -> usize {
    let mut count = 0;
    while let [_, length, rest @ ..] = heard {
        heard = &rest[usize::from(*length)..];
        count += 1;
    }
    count
}

fn ends(world: &World) -> Vec<CloseReason> {
    let reason = |event: &Event| {
        if let Event::Closed { reason, .. } | Event::Ended { reason, .. } = event {
            Some(*reason)
        } else {
            None
        }
    };
    world.events.iter().filter_map(reason).collect()
}

#[test]
fn whose_time_has_come_before_its_deadline_was_found_is_held_back_anew() {
    // A word, a ping and a pong: each counts, and each has other consequences.
    for opcode in [1, 9, 10] {
        for (later_ms, is_read) in [(499, false), (500, true), (516, true), (900, true)] {
            let mut world = rated(2, 1);
            let (listener, _) = world.session();
            let (speaker, id) = world.session();
            world.say(&speaker, id, &frame(1, b"0"));
            world.say(&speaker, id, &frame(opcode, b"1"));
            assert_eq!(listener.heard(), b"\x81\x010", "the other waits");
            // The socket is ready again before the server looks at what is due.
            world.now.mono = world.now.mono.plus(ms(later_ms));
            world.ready(id, READABLE);
            let left = speaker.0.borrow().to_server.len();
            assert_eq!(left == 0, is_read, "{opcode} after {later_ms} ms");
            world.say(&speaker, id, &frame(1, b"2"));
            world.pass(ms(1_100));
            let heard = if opcode == 1 { 2 } else { 1 };
            assert_eq!(frames(&listener.heard()), heard, "{opcode} after {later_ms} ms");
            assert!(ends(&world).is_empty());
        }
    }
}

#[test]
fn who_says_too_much_is_read_later_and_loses_nothing() {
    let mut world = rated(2, 3);
    let (listener, _) = world.session();
    let (speaker, id) = world.session();
    let words = (0..10).flat_map(|number| frame(1, &[b'0' + number])).collect::<Vec<_>>();
    world.say(&speaker, id, &words);
    assert_eq!(listener.heard(), b"\x81\x010\x81\x011\x81\x012");
    world.pass(ms(499));
    assert_eq!(listener.heard(), b"");
    world.pass(ms(40));
    assert_eq!(listener.heard(), b"\x81\x013");
    world.pass(ms(10_000));
    let rest = (4..10).flat_map(|number| [0x81, 1, b'0' + number]).collect::<Vec<_>>();
    assert_eq!(listener.heard(), rest);
    // What it did not say meanwhile is saved up, as far as a burst.
    world.say(&speaker, id, &words);
    assert_eq!(frames(&listener.heard()), 3);
    assert!(ends(&world).is_empty());
}

#[test]
fn the_verdict_does_not_depend_on_how_the_bytes_come() {
    let words = (0..6).flat_map(|_| frame(1, b"word")).collect::<Vec<_>>();
    for piece in [1, 2, 3, 7, words.len()] {
        let mut world = rated(1, 2);
        let (listener, _) = world.session();
        let (speaker, id) = world.session();
        words.chunks(piece).for_each(|bytes| world.say(&speaker, id, bytes));
        assert_eq!(frames(&listener.heard()), 2, "{piece}");
        world.pass(ms(1050));
        assert_eq!(frames(&listener.heard()), 1, "{piece}");
        world.pass(ms(10_000));
        assert_eq!(frames(&listener.heard()), 3, "{piece}");
    }
}

#[test]
fn pings_pongs_and_fragments_count_like_messages() {
    let mut world = rated(1, 4);
    let (speaker, id) = world.session();
    let parts = [super::masked(0x01, b"a"), super::masked(0x80, b"b")].concat();
    let said = [frame(9, b"?"), frame(10, b""), parts, frame(1, b"late")].concat();
    world.say(&speaker, id, &said);
    assert_eq!(speaker.heard(), b"\x8a\x01?\x81\x02ab");
    world.pass(ms(1050));
    assert_eq!(speaker.heard(), b"\x81\x04late");
}

#[test]
fn everybody_has_an_account_of_their_own() {
    let mut world = rated(1, 1);
    let (first, first_id) = world.session();
    let (second, second_id) = world.session();
    world.say(&first, first_id, &[frame(1, b"a"), frame(1, b"b")].concat());
    world.say(&second, second_id, &frame(1, b"c"));
    assert_eq!(second.heard(), b"\x81\x01a\x81\x01c");
    // Who comes into the place of somebody who has gone begins anew.
    first.0.borrow_mut().ended = true;
    world.pass(ms(2500));
    let (third, third_id) = world.session();
    world.say(&third, third_id, &frame(1, b"d"));
    assert_eq!(third.heard(), b"\x81\x01d");
}

#[test]
fn who_is_held_back_is_neither_given_up_nor_kept_waiting_for_its_end() {
    let mut world = rated(1, 1);
    let (listener, listener_id) = world.session();
    let (speaker, id) = world.session();
    let words = frame(1, b"word").repeat(200);
    speaker.0.borrow_mut().to_server.extend(words);
    world.ready(id, READABLE);
    for second in 0..190 {
        world.pass(ms(1000));
        if second % 10 == 0 {
            world.say(&listener, listener_id, &frame(10, b""));
        }
    }
    assert!(ends(&world).is_empty(), "{:?}", ends(&world));
    let heard = frames(&listener.heard());
    assert!((150..=200).contains(&heard), "{heard}");
    world.pass(ms(60_000));
    // From then on it has nothing more to say: its silence is one.
    assert!(ends(&world).contains(&CloseReason::PingTimeout));
}

#[test]
fn what_waits_behind_a_close_of_ours_is_discarded_at_once() {
    let mut world = rated(1, 1);
    let (speaker, id) = world.session();
    let words = [frame(1, b"word").repeat(50), frame(8, b"\x03\xe9")].concat();
    world.say(&speaker, id, &words);
    world.server.drain(world.now, world.now.mono);
    world.settle();
    world.pass(ms(100));
    assert!(speaker.0.borrow().to_server.is_empty());
    assert!(ends(&world).contains(&CloseReason::GoingAway));
}

#[test]
fn who_exceeds_the_rate_takes_no_memory_worth_speaking_of() {
    let mut world = rated(1, 1);
    let before = world.server.pool().lent_bytes();
    let crowd: Vec<(Client, ConnId)> = (0..50).map(|_| world.session()).collect();
    let began = world.server.pool().lent_bytes();
    for (client, id) in &crowd {
        client.0.borrow_mut().to_server.extend(frame(1, b"flood").repeat(10_000));
        world.ready(*id, READABLE);
    }
    world.settle();
    world.pass(ms(5_000));
    let lent = world.server.pool().lent_bytes() - began;
    assert!(lent <= 50 * 512, "{lent} bytes beside {before}");
}

/// A POST of these packets, whose answer is awaited.
fn post(world: &mut World, target: &str, body: &str) -> (Client, ConnId) {
    let (client, id) = world.connect();
    world.request(&client, id, "POST", target, body);
    (client, id)
}

#[test]
fn a_session_is_one_speaker_whatever_carries_it() {
    let mut world = rated(1, 3);
    let (listener, _) = world.session();
    let (_, _, target) = world.polling();
    // Joining, and a word by each of two connections.
    let (first, _) = post(&mut world, &target, "40");
    assert!(first.heard().ends_with(b"ok"));
    let word = "42[\"chat message\",\"a\"]";
    assert!(post(&mut world, &target, word).0.heard().ends_with(b"ok"));
    assert!(post(&mut world, &target, word).0.heard().ends_with(b"ok"));
    assert_eq!(frames(&listener.heard()), 2);
    let (third, _) = post(&mut world, &target, &[word, word].join("\u{1e}"));
    assert_eq!((third.heard(), listener.heard()), (Vec::new(), Vec::new()));
    world.pass(ms(1050));
    assert_eq!((third.heard(), frames(&listener.heard())), (Vec::new(), 1));
    world.pass(ms(1050));
    assert!(third.heard().ends_with(b"ok"));
    assert_eq!(frames(&listener.heard()), 1);
}

#[test]
fn a_session_enters_and_speaks_at_one_word_a_second() {
    let mut world = rated(1, 1);
    let (client, id) = world.socket(&[]);
    let said = ["40", "42[\"chat message\",\"a\"]", "40/other,", "41/other,", "421[\"x\"]"];
    let said = said.into_iter().flat_map(|text| frame(1, text.as_bytes())).collect::<Vec<_>>();
    world.say(&client, id, &said);
    let heard = |client: &Client| String::from_utf8_lossy(&client.heard()).into_owned();
    assert!(heard(&client).contains("40{"));
    for expected in ["chat message", "40/other,{", "", ""] {
        world.pass(ms(1050));
        assert!(heard(&client).contains(expected), "{expected}");
    }
    world.pass(ms(20_000));
    assert_eq!(world.server.sessions(), 1);
}

#[test]
fn an_upgrade_is_finished_at_one_word_a_second() {
    let mut world = rated(1, 1);
    let (_, _, target) = world.polling();
    assert!(post(&mut world, &target, "40").0.heard().ends_with(b"ok"));
    let target = target.replace("transport=polling", "transport=websocket");
    let (client, id) = world.upgrade(&target);
    world.say(&client, id, &frame(1, b"2probe"));
    assert_eq!(client.heard(), b"");
    world.pass(ms(1050));
    assert_eq!(client.heard(), b"\x81\x063probe");
    world.say(&client, id, &frame(1, b"5"));
    world.pass(ms(1050));
    world.say(&client, id, &frame(1, b"42[\"chat message\",\"a\"]"));
    world.pass(ms(1050));
    assert!(client.heard().ends_with(b"[\"chat message\",\"a\"]"));
}

#[test]
fn an_upgrade_that_is_not_finished_is_given_up_however_much_is_said_meanwhile() {
    let mut world = rated(1, 1);
    let (_, _, target) = world.polling();
    assert!(post(&mut world, &target, "40").0.heard().ends_with(b"ok"));
    let (client, id) = world.upgrade(&target.replace("transport=polling", "transport=websocket"));
    world.say(&client, id, &frame(1, b"2probe"));
    world.pass(ms(1050));
    assert_eq!(client.heard(), b"\x81\x063probe");
    let mut words = 0;
    while !client.0.borrow().dropped {
        // As soon as something may be said, it is said by a POST.
        let (poster, poster_id) = post(&mut world, &target, "42[\"chat message\",\"a\"]");
        let mut passes = 0;
        while !poster.heard().ends_with(b"ok") {
            world.pass(ms(1));
            passes += 1;
            assert!(passes < 3000, "what is said is said in its time");
        }
        poster.0.borrow_mut().ended = true;
        world.say(&poster, poster_id, b"");
        let poll = world.connect();
        world.request(&poll.0, poll.1, "GET", &target, "");
        poll.0.0.borrow_mut().ended = true;
        world.say(&poll.0, poll.1, b"");
        words += 1;
        assert!(words < 30, "the upgrade is never given up");
    }
    assert_eq!(world.server.sessions(), 1, "the session goes on by polls");
    assert!(words > 10, "the client has its time: {words}");
}

#[test]
fn the_answer_to_a_ping_counts_although_it_stands_behind_much_else() {
    let mut world = rated(1, 1);
    let (client, id) = world.socket(&[""]);
    let words = frame(1, b"42[\"chat message\",\"a\"]").repeat(90);
    client.0.borrow_mut().to_server.extend(words);
    world.ready(id, READABLE);
    world.pass(ms(80_000));
    assert!(ends(&world).is_empty(), "{:?}", ends(&world));
    let heard = client.heard();
    let pings = heard.windows(3).filter(|bytes| *bytes == b"\x81\x012").count();
    assert!(pings >= 2, "it is asked all the same: {pings}");
    world.pass(ms(60_000));
    assert!(ends(&world).contains(&CloseReason::PingTimeout));
}

#[test]
fn a_websocket_is_closed_in_order_when_it_has_stayed_for_long_enough() {
    let mut world = lasting(ms(60_000));
    let crowd: Vec<(Client, ConnId)> = (0..40).map(|_| world.session()).collect();
    let mut left_at = Vec::new();
    for second in 0..70 {
        for (client, id) in &crowd {
            if !client.0.borrow().shut_down {
                world.say(client, *id, &frame(10, b""));
            }
        }
        world.pass(ms(1000));
        let closed = ends(&world).len();
        left_at.extend(core::iter::repeat_n(second, closed - left_at.len()));
    }
    assert_eq!(left_at.len(), 40);
    assert!(left_at.iter().all(|second| (53..=66).contains(second)), "{left_at:?}");
    let mut moments = left_at.clone();
    moments.dedup();
    assert!(moments.len() > 4, "they do not go together: {left_at:?}");
    assert!(ends(&world).iter().all(|reason| *reason == CloseReason::GoingAway));
    for (client, _) in crowd {
        assert_eq!(client.heard(), b"\x88\x0c\x03\xe9going away");
    }
}

#[test]
fn what_was_said_before_comes_before_the_end() {
    let mut world = lasting(ms(10_000));
    let (reader, id) = world.session();
    reader.stop_reading();
    world.pass(ms(8_500));
    let (speaker, speaker_id) = world.session();
    world.say(&speaker, speaker_id, &frame(1, b"before"));
    world.pass(ms(2_600));
    world.say(&speaker, speaker_id, &frame(1, b"behind"));
    world.makes_room(&reader, id);
    assert_eq!(reader.heard(), b"\x81\x06before\x88\x0c\x03\xe9going away");
}

#[test]
fn an_event_stream_ends_in_order_and_says_when_to_come_back() {
    let mut world = lasting(ms(10_000));
    let (stream, id) = world.connect();
    world.say(&stream, id, request("GET", "/sse", "").as_bytes());
    world.pass(ms(8_900));
    let before = String::from_utf8(stream.heard()).expect("text");
    assert!(before.starts_with("HTTP/1.1 200") && !before.contains("0\r\n\r\n"), "{before}");
    world.pass(ms(2_200));
    let end = String::from_utf8(stream.heard()).expect("text");
    assert!(end.contains("retry: ") && end.ends_with("\r\n0\r\n\r\n"), "{end}");
    assert_eq!(ends(&world)[0], CloseReason::GoingAway);
}

#[test]
fn a_session_that_polls_is_told_its_end_behind_what_was_said() {
    for version in ["4", "3"] {
        let mut world = lasting(ms(10_000));
        let handshake = POLLING.replace("EIO=4", &format!("EIO={version}"));
        let (client, id) = world.connect();
        world.request(&client, id, "GET", &handshake, "");
        let target = format!("{handshake}&sid={}", super::sid_of(&client.heard()));
        let enter = if version == "4" { "40" } else { "2:40" };
        post(&mut world, &target, enter);
        let poll = |world: &mut World| world.request(&client, id, "GET", &target, "");
        poll(&mut world);
        client.heard();
        // Between two polls its time is over, and something is said.
        let (speaker, speaker_id) = world.session();
        world.say(&speaker, speaker_id, &frame(1, b"x"));
        world.pass(ms(11_050));
        assert_eq!(world.server.sessions(), 1, "the speaker came with it and has gone");
        poll(&mut world);
        let heard = String::from_utf8(client.heard()).expect("text");
        let end = if version == "4" { "\u{1e}1" } else { "1:1" };
        assert!(heard.contains("200 OK") && heard.ends_with(end), "{heard}");
        assert_eq!(world.server.sessions(), 0);
        assert!(ends(&world).contains(&CloseReason::GoingAway));
        poll(&mut world);
        assert!(client.heard().starts_with(b"HTTP/1.1 400"));
    }
}

#[test]
fn a_held_poll_is_told_the_end_of_its_session_at_once() {
    let mut world = lasting(ms(10_000));
    let (client, id, target) = world.polling();
    assert!(post(&mut world, &target, "40").0.heard().ends_with(b"ok"));
    world.request(&client, id, "GET", &target, "");
    client.heard();
    world.request(&client, id, "GET", &target, "");
    world.pass(ms(11_100));
    assert!(client.heard().ends_with(b"\r\n\r\n1"));
    assert_eq!((world.server.sessions(), ends(&world)[0]), (0, CloseReason::GoingAway));
}

#[test]
fn a_session_that_does_not_ask_any_more_ends_all_the_same() {
    let mut world = lasting(ms(10_000));
    let (_, _, target) = world.polling();
    assert!(post(&mut world, &target, "40").0.heard().ends_with(b"ok"));
    world.pass(ms(16_500));
    assert_eq!(world.server.sessions(), 0);
    assert!(ends(&world).contains(&CloseReason::GoingAway));
}

#[test]
fn a_session_on_a_websocket_is_closed_with_its_transport_and_never_a_namespace() {
    let mut world = lasting(ms(10_000));
    let (client, _) = world.socket(&["", "/other,"]);
    world.pass(ms(11_100));
    let heard = client.heard();
    assert!(heard.ends_with(b"\x88\x0c\x03\xe9going away"), "{heard:?}");
    assert!(!heard.windows(2).any(|bytes| bytes == b"41"));
    assert_eq!(world.server.sessions(), 0);
}

#[test]
fn neither_limit_touches_who_only_asks_for_pages() {
    let mut world = World::with(|settings| {
        settings.limits.message_rate = Some(Rate::new(1, 1));
        settings.limits.lifetime = Some(ms(1000));
        settings.limits.ping_interval = ms(3_600_000);
    });
    let (client, id) = world.connect();
    for _ in 0..20 {
        world.say(&client, id, request("GET", "/healthz", "").as_bytes());
        assert!(client.heard().starts_with(b"HTTP/1.1 200"));
        world.pass(ms(200));
    }
    assert!(ends(&world).is_empty());
}
