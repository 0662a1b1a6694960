//! The URL of a Redis.
//!
//! Finds: a panic, a password that is shown, a URL whose shown form means something else.
#![no_main]

use elbow::config::RedisUrl;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(url) = RedisUrl::parse(text) else { return };
    let shown = url.to_string();
    let again = RedisUrl::parse(&shown).expect("what is shown may be typed");
    assert_eq!(again, RedisUrl { password: None, ..url.clone() });
    assert_eq!(again.to_string(), shown);
    let may_have_at = url.user.is_some() || shown.starts_with("unix:");
    assert!(may_have_at || !shown.contains('@'));
});
