//! Entries of a stream, which anybody may have written, and the ids of entries.
//!
//! Finds: a panic, an entry that is another one when it is written again, a message that reaches
//! beyond its entry, an id with two texts.
#![no_main]

use elbow::hub::backplane::EntryId;
use elbow::hub::backplane::entry::{HEAD_BYTES, message_at, put_head, put_message, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(id) = EntryId::parse(bytes) {
        assert_eq!(id.text().as_bytes(), bytes);
        assert_eq!(id.next().and_then(EntryId::previous).unwrap_or(id), id);
    }
    let Ok(head) = read(bytes) else { return };
    let mut written = Vec::new();
    put_head(&head, &mut written);
    let mut at = HEAD_BYTES;
    for _ in 0..head.count {
        let (message, next) = message_at(bytes, at).expect("an entry is read as a whole");
        let (front, back) = message.bytes.split_at(message.bytes.len() / 3);
        put_message(message.key, [front, back], &mut written);
        at = next;
    }
    assert_eq!(written, bytes);
    assert_eq!(message_at(bytes, at), None);
});
