//! Event streams: what is said to them and the comments between cost no allocation, and an idle one
//! takes no more than an idle WebSocket may.

use elbow::limits::CONNECTION_BYTES;

use super::{Crowd, LIVE_BYTES, MEMBERS, REQUEST, allocations, masked};

const STREAM: &[u8] =
    b"GET /sse HTTP/1.1\r\nHost: chat.example\r\nAccept: text/event-stream\r\n\r\n";
const COMMENT: &[u8] = b"2\r\n:\n\r\n";

/// A plain WebSocket, which speaks, and so many event streams behind it. What they were sent at
/// their beginning is taken.
fn crowd(streams: usize) -> Crowd {
    let mut crowd = Crowd::empty(1 + streams);
    for number in 0..=streams {
        crowd.connect();
        crowd.say(number, if number == 0 { REQUEST } else { STREAM });
        crowd.world.settle();
        let answer = crowd.taken(number);
        assert!(answer.starts_with(b"HTTP/1.1 "), "{}", answer.escape_ascii());
        assert_eq!(answer.ends_with(b".0\n\n\r\n"), number > 0, "{}", answer.escape_ascii());
    }
    crowd
}

/// Every stream gets something that ends so, and the speaker its echo.
fn everybody_got(crowd: &Crowd, end: &[u8]) {
    for number in 0..crowd.members.len() {
        let mut wire = crowd.wire(number);
        assert!(number == 0 || wire.to_client.ends_with(end), "member {number}");
        assert!(!wire.to_client.is_empty());
        wire.to_client.clear();
    }
}

#[test]
fn a_broadcast_to_streams_allocates_nothing() {
    let mut crowd = crowd(MEMBERS);
    let allocated = allocations(&mut crowd, |crowd| {
        let mut frame = [0; 131];
        for (first, payload) in [(0x81, "two\nlines"), (0x82, "binary")] {
            let length = masked(first, payload.as_bytes(), &mut frame);
            crowd.say(0, &frame[..length]);
            crowd.world.settle();
            let end: &[u8] = if first == 0x81 {
                b"\ndata: two\ndata: lines\n\n\r\n"
            } else {
                b"\ndata: YmluYXJ5\n\n\r\n"
            };
            everybody_got(crowd, end);
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn comments_allocate_nothing() {
    let mut crowd = crowd(MEMBERS);
    let allocated = allocations(&mut crowd, |crowd| {
        let mut pong = [0; 131];
        let length = masked(0x8a, b"", &mut pong);
        let mut left = MEMBERS;
        while left > 0 {
            crowd.world.now.mono =
                crowd.world.server.poll_timeout().expect("everybody has a deadline");
            crowd.world.settle();
            crowd.wire(0).to_client.clear();
            crowd.say(0, &pong[..length]);
            for number in 1..=MEMBERS {
                let mut wire = crowd.wire(number);
                assert!(wire.to_client == COMMENT || wire.to_client.is_empty());
                left -= usize::from(!wire.to_client.is_empty());
                wire.to_client.clear();
            }
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
#[expect(clippy::disallowed_macros, reason = "the number is what one runs this test for")]
fn an_idle_stream_fits_the_budget_of_a_websocket() {
    let server_bytes = |streams: usize| {
        let mut crowd = crowd(streams);
        let mut frame = [0; 131];
        let length = masked(0x81, b"to all", &mut frame);
        crowd.say(0, &frame[..length]);
        crowd.world.settle();
        everybody_got(&crowd, b"\ndata: to all\n\n\r\n");
        let before = LIVE_BYTES.get();
        drop(crowd.world.server);
        before - LIVE_BYTES.get()
    };
    let per_stream = (server_bytes(9 * MEMBERS) - server_bytes(MEMBERS)) / (8 * MEMBERS as i64);
    println!("{per_stream} bytes per idle event stream");
    assert!(per_stream <= CONNECTION_BYTES as i64, "{per_stream} bytes per idle event stream");
    assert!(per_stream >= 64, "{per_stream} bytes: something was not counted");
}
