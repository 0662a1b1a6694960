//! Messages in envelopes, as they come from whoever decides their order.
//!
//! Finds: a panic, an envelope that is another one when it is sealed again, a length that was
//! announced wrong, an event that the server would not take from a client.
#![no_main]

use elbow::hub::Message;
use elbow::hub::envelope::{Content, decode, encode, length};
use elbow::wire::socketio::event_of;
use elbow::work;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((name, content)) = decode(bytes) else { return };
    match content {
        Content::Text(text) => {
            assert!(str::from_utf8(text).is_ok());
            seal(name, &Message::Text(text), bytes);
        }
        Content::Binary(payload) => seal(name, &Message::Binary(payload), bytes),
        Content::Event { args, attachments, count } => {
            let attachments = &attachments[..count];
            seal(name, &Message::Event { args, attachments, plain: None }, bytes);
            work::take();
            let event = event_of(args, count);
            work::take().assert_linear(args.len(), 8);
            // Space around the array is left out.
            assert!(event.is_none_or(|event| args.trim_ascii() == event.args));
        }
    }
});

/// What was read is what would be written.
fn seal(name: &str, message: &Message<'_>, bytes: &[u8]) {
    let mut sealed = Vec::new();
    encode(name, message, &mut sealed);
    assert_eq!(sealed, bytes);
    assert_eq!(length(name, message), Some(bytes.len()));
}
