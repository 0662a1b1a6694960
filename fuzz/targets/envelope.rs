//! Messages in envelopes, as they come from whoever decides their order.
//!
//! Finds: a panic, an envelope that is another one when it is sealed again, a length that was
//! announced wrong, an event that the server would not take from a client.
#![no_main]

use elbow::hub::Message;
use elbow::hub::envelope::{Content, channel_of, decode, encode, length};
use elbow::work;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    work::take();
    let decoded = decode(bytes);
    work::take().assert_linear(bytes.len(), 8);
    let named = channel_of(bytes);
    let Some((name, content)) = decoded else { return };
    assert_eq!(named, Some(name));
    match content {
        Content::Text(text) => {
            assert!(str::from_utf8(text).is_ok());
            seal(name, &Message::Text(text), bytes);
        }
        Content::Binary(payload) => seal(name, &Message::Binary(payload), bytes),
        Content::Event { event, attachments, count } => {
            let (args, attachments) = (event.args, &attachments[..count]);
            let mut sealed = Vec::new();
            encode(name, &Message::Event { args, attachments, plain: None }, &mut sealed);
            // Space around the array is left out.
            assert!(sealed.len() <= bytes.len());
            assert_eq!(decode(&sealed), Some((name, content)));
        }
        Content::Greeting(args) => {
            let mut sealed = Vec::new();
            encode(name, &Message::Greeting(args), &mut sealed);
            assert!(sealed.len() <= bytes.len());
            assert_eq!(decode(&sealed), Some((name, content)));
        }
    }
});

/// What was read is what would be written.
fn seal(name: &str, message: &Message<'_>, bytes: &[u8]) {
    let mut sealed = Vec::new();
    encode(name, message, &mut sealed);
    assert_eq!(sealed, bytes);
    assert_eq!(length(name, message), bytes.len());
}
