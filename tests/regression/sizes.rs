//! What once went wrong with how large a message may be.

use super::{World, frame};
use elbow::reason::CloseReason;
use elbow::server::Event;

/// Who is in the room beside the publisher.
#[derive(Clone, Copy, Debug)]
enum Others {
    Nobody,
    Plain,
    Socket(u8),
}

impl World {
    /// Whether a plain client may say `payload` in this company.
    fn takes(&mut self, others: Others, opcode: u8, payload: &[u8]) -> bool {
        match others {
            Others::Nobody => {}
            Others::Plain => drop(self.session()),
            Others::Socket(version) => {
                let target = format!("/socket.io/?EIO={version}&transport=websocket");
                let (client, id) = self.upgrade(&target);
                self.say(&client, id, &frame(1, b"40"));
            }
        }
        let (client, id) = self.session();
        self.say(&client, id, &frame(opcode, payload));
        let heard = client.heard();
        let refused = heard.starts_with(b"\x88\x11\x03\xf1");
        assert!(refused || heard.ends_with(payload), "{others:?}");
        assert_eq!(self.closed_as_too_big(), usize::from(refused));
        !refused
    }

    fn closed_as_too_big(&self) -> usize {
        let too_big = |event: &&Event| {
            matches!(event, Event::Closed { reason: CloseReason::MessageTooBig, .. })
        };
        self.events.iter().filter(too_big).count()
    }
}

#[test]
fn whether_a_message_is_too_big_does_not_depend_on_who_is_there() {
    // Half a ring is 2,048 bytes, and a message 1,024 of them at most. A control character takes
    // six in a Socket.IO record, which has 25 bytes more, and 67 with the longest of all positions;
    // a quote takes two. A line feed takes seven in an event stream, whose record has 84 bytes
    // more.
    let control = [1; 1_024];
    let quotes = [b'"'; 1_024];
    let lines = [b'\n'; 1_024];
    let cases: [(&[u8], u8, bool); 10] = [
        (&control[..326], 1, true),
        (&control[..327], 1, false),
        (&control, 1, false),
        (&lines[..280], 1, true),
        (&lines[..281], 1, false),
        (&quotes[..978], 1, true),
        (&quotes[..979], 1, false),
        (&quotes, 1, false),
        // What is not text is not escaped.
        (&control, 2, true),
        (&quotes, 2, true),
    ];
    for (payload, opcode, taken) in cases {
        for others in [Others::Nobody, Others::Plain, Others::Socket(3), Others::Socket(4)] {
            let mut world = World::new();
            let got = world.takes(others, opcode, payload);
            assert_eq!(got, taken, "{others:?}, {} of {:?}", payload.len(), payload.first());
        }
    }
}

#[test]
fn events_of_the_greatest_size_are_taken_whoever_reads_them() {
    let fill = "x".repeat(1_024);
    for plain_members in [0, 1] {
        let mut world = World::new();
        if plain_members > 0 {
            world.session();
        }
        let (client, id) = world.socket(&[""]);
        let text = |length: usize| {
            let text = &fill[..length - "42[\"chat message\",\"\"]".len()];
            format!("42[\"chat message\",\"{text}\"]")
        };
        world.say(&client, id, &frame(1, text(1_024).as_bytes()));
        let attachments = "451-[\"chat message\",{\"_placeholder\":true,\"num\":0}]";
        world.say(&client, id, &frame(1, attachments.as_bytes()));
        // An attachment counts together with what it belongs to.
        let bytes = &fill.as_bytes()[..1_024 - (attachments.len() - 1)];
        world.say(&client, id, &frame(2, bytes));
        assert!(client.heard().ends_with(bytes));
        assert_eq!(world.server.sessions(), plain_members + 1);
        world.say(&client, id, &frame(1, text(1_025).as_bytes()));
        assert_eq!(world.server.sessions(), plain_members);
    }
}
