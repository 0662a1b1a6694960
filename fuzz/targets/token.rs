//! A token: its parts, its header and its claims, what a CONNECT brings, files of keys.
//!
//! The input is a header and claims with a line feed between them, which are encoded here, or else
//! a token as it stands. Finds: a panic, a claim that another reader of the same object does not
//! find, rights that differ once they were kept, bytes that are looked at often.
#![no_main]

use data_encoding::BASE64URL_NOPAD;
use elbow::wire::key_file;
use elbow::wire::token::{Presented, Rights, Scratch, Token, in_auth};
use elbow::work;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const CHANNELS: [&str; 4] = ["default", "news", "room/1", "*"];

fuzz_target!(|bytes: &[u8]| {
    let _ = key_file::pem(bytes);
    let _ = key_file::jwks(bytes);
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = in_auth(Some(text));
        let _ = Presented::find([].into_iter(), [bytes].into_iter(), Some(text));
    }
    let parts = bytes.iter().position(|byte| *byte == b'\n').map(|at| bytes.split_at(at));
    let token = parts.map_or_else(
        || bytes.to_vec(),
        |(header, claims)| {
            let [header, claims] = [header, &claims[1..]].map(|part| BASE64URL_NOPAD.encode(part));
            // A signature of 32 bytes, and one of 64 where that is what the header asks for.
            let signature = if header.len() % 2 == 0 { 43 } else { 86 };
            format!("{header}.{claims}.{}", "A".repeat(signature)).into_bytes()
        },
    );
    let Some(presented) = Presented::plain(&token) else { return };
    let mut scratch = Scratch::default();
    work::take();
    let parsed = Token::parse(presented, &mut scratch);
    work::take().assert_linear(token.len(), 4);
    let Ok(parsed) = parsed else { return };
    let _ = parsed.claims.check_parties(Some("a"), Some("a"));
    let mut kept = Vec::new();
    if parsed.claims.rights.write(&mut kept).is_ok() {
        let rights = Rights::read(&kept).expect("it was written");
        assert_eq!(rights, parsed.claims.rights);
    }
    let claims = token.split(|byte| *byte == b'.').nth(1).expect("there are three parts");
    let claims = BASE64URL_NOPAD.decode(claims).expect("it was taken");
    // It refuses halves of surrogate pairs, which are taken here.
    let Ok(claims) = serde_json::from_slice::<Value>(&claims) else { return };
    let expires = claims["exp"].as_f64().expect("it was taken");
    // Beyond that, it is not exact.
    if expires < 1e15 {
        assert_eq!(parsed.claims.expires_s, expires.max(0.0).floor() as u64);
    }
    assert!(parsed.claims.check_time(parsed.claims.expires_s).is_err());
    let subject = parsed.claims.subject.map(|text| text.chars().collect::<String>());
    assert_eq!(subject.as_deref(), claims["sub"].as_str());
    let covers = |list: &Value, channel: &str| {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).any(|pattern| match pattern
            .strip_suffix('*')
        {
            Some(prefix) => channel.starts_with(prefix),
            None => pattern == channel,
        })
    };
    for channel in CHANNELS {
        let (join, say) = (&claims["join"], &claims["say"]);
        assert_eq!(parsed.claims.rights.may_join(channel), covers(join, channel));
        let say = if say.is_null() { join } else { say };
        assert_eq!(parsed.claims.rights.may_say(channel), covers(say, channel));
    }
});
