//! Whatever a server says on either line, in whatever pieces, a backplane does not panic, and what
//! it keeps stays within its bounds.
//!
//! The first byte says how the bytes are cut, the second which line they come on, and what is open
//! and said before. The bytes are replies; a line that is given up is connected again, and what is
//! left comes on that.
#![no_main]

use elbow::hub::HashKey;
use elbow::hub::backplane::{Action, Backplane, Chance, Line, Settings, Ticket};
use elbow::limits::History;
use elbow::time::{Duration, Instant};
use elbow_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let &[how, which, ref bytes @ ..] = input else { return };
    let line = if which & 1 > 0 { Line::Reader } else { Line::Writer };
    let history = (which & 2 > 0)
        .then_some(History { messages_max: 3, age: Duration::from_secs(60) });
    let settings = Settings {
        name: "e".into(),
        user: None,
        password: (which & 4 > 0).then(|| b"p"[..].into()),
        database: u32::from(which & 8 > 0),
        channels_max: 2,
        message_bytes_max: 64,
        history,
        history_bytes: 200,
    };
    let chance = Chance { producer: 1, jitter: 1, hash_key: HashKey([0; 16]) };
    let mut now = Instant::from_millis(10);
    let mut backplane = Backplane::new(settings, chance, now);
    assert!(backplane.open(now, "a"));
    let _is_said = backplane.say(now, "a", Ticket(1), b"hi", Some(1));
    turn(&mut backplane, now);
    for piece in pieces(how, bytes) {
        let mut piece = piece;
        while !piece.is_empty() {
            let room = backplane.room(line);
            let count = piece.len().min(room.len());
            if count == 0 {
                break;
            }
            room[..count].copy_from_slice(&piece[..count]);
            piece = &piece[count..];
            backplane.received(now, line, count);
            now = now.plus(Duration::from_millis(u64::from(which >> 4) * 10));
            turn(&mut backplane, now);
        }
    }
});

fn turn(backplane: &mut Backplane, now: Instant) {
    let mut events = 0;
    while backplane.poll_event(now).is_some() {
        events += 1;
        assert!(events < 100_000, "events without end");
    }
    backplane.end_turn(now);
    while let Some(action) = backplane.poll_action(now) {
        match action {
            Action::Connect(line) => backplane.connected(now, line),
            Action::Close(_) => {}
        }
    }
    backplane.end_turn(now);
    for line in Line::ALL {
        let unsent = backplane.unsent(line).len();
        assert!(unsent < 100_000);
        backplane.transmitted(line, unsent);
    }
    backplane.check();
}
