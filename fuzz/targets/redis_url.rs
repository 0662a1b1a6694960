//! The URL of a Redis.
//!
//! Finds: a panic, a password that is shown, a URL whose shown form means something else.
#![no_main]

use elbow::config::{RedisServer, RedisUrl};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(url) = RedisUrl::parse(text) else { return };
    // The path of a socket is shown with its control characters escaped, and so cannot be typed.
    if matches!(url.server, RedisServer::Unix(_)) {
        return;
    }
    let shown = url.to_string();
    let again = RedisUrl::parse(&shown).expect("what is shown may be typed");
    assert_eq!(again, RedisUrl { password: None, ..url.clone() });
    assert_eq!(again.to_string(), shown);
    assert_eq!(url.user.is_some(), shown.contains('@'));
});
