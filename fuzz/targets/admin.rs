//! What requests to the admin listener say beside path and body, and an event of a name and an
//! array.
//!
//! Finds: a panic, a value that is longer than any may be, arguments that are no JSON array and are
//! passed on all the same, an array that becomes another event than the one that was named.
#![no_main]

use elbow::wire::admin::{
    EVENT_BYTES_MAX, KEY_BYTES_MAX, Whom, bearer, event_of, is_key, is_octet_stream,
};
use elbow::wire::socketio::{self, Name};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _is_bytes = is_octet_stream(bytes);
    if let Some(token) = bearer(bytes) {
        assert!(bytes.ends_with(token) && token.first() != Some(&b' '));
    }
    assert!(!is_key(bytes) || (1..=KEY_BYTES_MAX).contains(&bytes.len()));
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (query, body) = text.split_once('\n').unwrap_or((text, "[]"));
    if let Ok(whom) = Whom::parse(Some(query)) {
        let is_anybody = whom.channel.is_none() && whom.subject.is_none();
        assert!(whom.address.is_some() || !is_anybody);
        assert_eq!(whom.address, whom.address.map(|address| address.to_canonical()));
    }
    let Ok(Some(event)) = event_of(Some(query)) else { return };
    let name = event.as_str();
    assert!((1..=EVENT_BYTES_MAX).contains(&name.len()));
    publish(name, body);
});

fn publish(name: &str, body: &str) {
    let mut args = Vec::new();
    let is_array = socketio::named_args(name, body, &mut args);
    assert!(args.len() <= socketio::named_args_bytes(name, body));
    assert!(is_array || args.is_empty());
    let args = String::from_utf8(args).expect("a name and a text are text");
    let Some(event) = socketio::event_of(&args, 0) else { return };
    let Name::Text(said) = event.name else { panic!("{name:?} is a text") };
    assert!(said.chars().eq(name.chars()), "{name:?}");
    // What became an event was an array by itself. Within another it is one level deeper.
    let opened = body.matches(['[', '{']).count();
    let within = format!("[0,{body}]");
    let is_value = socketio::event_of(&within, 0).is_some();
    assert!(opened >= socketio::DEPTH_MAX || is_value, "{body:?}");
}
