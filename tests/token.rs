//! JSON Web Tokens (`wire/token`), files of keys (`wire/key_file`) and checks of signatures
//! (`keys`).
//!
//! Goal: a token is taken only if whoever has a key made it, for us, for now, and as it stands; and
//! nothing that somebody else can send is, however much it looks like one.
//!
//! Method: the examples of the RFCs; for each rule a token that keeps it and one that breaks it;
//! every change of one byte of a good token; noise.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use elbow::keys::{self, KeyKind, Keys, Verdict};
use elbow::wire::key_file::{self, KeyFileError, Material};
use elbow::wire::token::{
    Algorithm, Fault, Presented, RIGHTS_BYTES_MAX, Rights, Scratch, TOKEN_BYTES_MAX, Token, in_auth,
};
use p256::ecdsa::signature::Signer;
use proptest::prelude::*;

const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

/// A token of these parts, signed with [`SECRET`].
fn signed(header: &str, claims: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let text = format!("{}.{}", base64(header), base64(claims));
    let mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET).expect("any length is a key");
    format!("{text}.{}", base64(mac.chain_update(&text).finalize().into_bytes()))
}

/// A token with these claims, signed with [`SECRET`].
fn token(claims: &str) -> String {
    keys::token(SECRET, claims).expect("the secret is long enough")
}

fn secret_keys() -> Keys {
    let mut keys = Keys::default();
    keys.add_file(KeyKind::Hs256, SECRET).expect("a secret");
    keys
}

/// What becomes of a token with these keys, at a second of 1970.
fn judged(keys: &Keys, token: &[u8]) -> Result<(), Fault> {
    let mut scratch = Scratch::default();
    let presented = Presented::plain(token).expect("a token that is not empty");
    let token = Token::parse(presented, &mut scratch)?;
    token.claims.check_time(1000)?;
    keys.know(&token)?;
    match keys.check(&token, 0, &mut u32::MAX.clone()) {
        Verdict::Good => Ok(()),
        Verdict::Bad(fault) => Err(fault),
        Verdict::Later(_) => panic!("there were tries left"),
    }
}

fn judge(token: &str) -> Result<(), Fault> {
    judged(&secret_keys(), token.as_bytes())
}

/// What the claims of a token come to.
fn with_claims<R>(claims: &str, then: impl FnOnce(&Token<'_>) -> R) -> Result<R, Fault> {
    let text = token(claims);
    let mut scratch = Scratch::default();
    let presented = Presented::plain(text.as_bytes()).expect("a token that is not empty");
    Token::parse(presented, &mut scratch).map(|token| then(&token))
}

#[test]
fn the_example_of_rfc_7515_with_a_secret() {
    let key = concat!(
        r#"{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKt"#,
        r#"MN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}"#
    );
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0\
        cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let mut keys = Keys::default();
    assert_eq!(keys.add_file(KeyKind::Jwks, key.as_bytes()), Ok(0));
    assert_eq!(judged(&keys, token.as_bytes()), Ok(()));
}

#[test]
fn the_example_of_rfc_7515_with_p256() {
    let key = r#"{"keys":[{"kty":"EC","crv":"P-256",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let token = "eyJhbGciOiJFUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0\
        cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg\
        6NU1Q";
    let mut keys = Keys::default();
    assert_eq!(keys.add_file(KeyKind::Jwks, key.as_bytes()), Ok(0));
    assert_eq!(judged(&keys, token.as_bytes()), Ok(()));
}

#[test]
fn the_example_of_rfc_8037_with_ed25519() {
    let signed: &[u8] = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let key = r#"{"keys":[{"kty":"OKP","crv":"Ed25519",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let mut keys = Keys::default();
    assert_eq!(keys.add_file(KeyKind::Jwks, key.as_bytes()), Ok(0));
    // The example has no claims, so these come from another token.
    let text = token(r#"{"exp":2000}"#);
    let mut scratch = Scratch::default();
    let presented = Presented::plain(text.as_bytes()).expect("a token that is not empty");
    let token = Token::parse(presented, &mut scratch).expect("the form is right");
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).expect("base64");
    let example = Token { algorithm: Algorithm::Ed25519, signed, signature: &signature, ..token };
    assert_eq!(keys.check(&example, 0, &mut 1), Verdict::Good);
    let other = Token { signed: &signed[1..], ..example };
    assert_eq!(keys.check(&other, 0, &mut 1), Verdict::Bad(Fault::Signature));
}

#[test]
fn a_good_token_is_taken_and_no_change_of_it() {
    let good = token(r#"{"exp":2000,"sub":"ann","join":["news"]}"#);
    assert_eq!(judge(&good), Ok(()));
    for at in 0..good.len() {
        for byte in [b'A', b'B', b'-', b'.', b'=', b' ', 0, 0xff, good.as_bytes()[at] ^ 1] {
            let mut bytes = good.clone().into_bytes();
            if core::mem::replace(&mut bytes[at], byte) != byte {
                assert!(judged(&secret_keys(), &bytes).is_err(), "{byte} at {at}");
            }
        }
        if at > 0 {
            assert!(judge(&good[..at]).is_err(), "cut at {at}");
        }
    }
    for extra in ["A", ".", "=", "\n", " "] {
        assert!(judge(&format!("{good}{extra}")).is_err());
        assert!(judge(&format!("{extra}{good}")).is_err());
    }
}

#[test]
fn a_header_names_an_algorithm_of_ours_and_asks_for_nothing_else() {
    let claims = r#"{"exp":2000}"#;
    for header in [
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"typ":{"alg":"none"},"alg":"HS256"}"#,
        r#" { "alg" : "HS256" } "#,
    ] {
        assert_eq!(judge(&signed(header, claims)), Ok(()), "{header}");
    }
    for (header, fault) in [
        (r#"{"alg":"none"}"#, Fault::Algorithm),
        (r#"{"alg":"None"}"#, Fault::Algorithm),
        (r#"{"alg":"hs256"}"#, Fault::Algorithm),
        (r#"{"alg":"HS512"}"#, Fault::Algorithm),
        (r#"{"alg":"RS256"}"#, Fault::Algorithm),
        (r#"{"alg":""}"#, Fault::Algorithm),
        (r#"{"alg":"HS256\u0000"}"#, Fault::Algorithm),
        (r#"{"alg":1}"#, Fault::Header),
        (r#"{"alg":null}"#, Fault::Header),
        (r#"{"alg":["HS256"]}"#, Fault::Header),
        (r#"{}"#, Fault::Header),
        (r#"[]"#, Fault::Header),
        (r#""HS256""#, Fault::Header),
        (r#"{"alg":"HS256"}{}"#, Fault::Header),
        (r#"{"alg":"HS256",}"#, Fault::Header),
        (r#"{"alg":"HS256","alg":"HS256"}"#, Fault::Header),
        (r#"{"alg":"HS256","\u0061lg":"none"}"#, Fault::Header),
        (r#"{"alg":"HS256","kid":7}"#, Fault::Header),
        (r#"{"alg":"HS256","kid":"a","kid":"a"}"#, Fault::Header),
        (r#"{"alg":"HS256","x":1,"x":1}"#, Fault::Header),
        (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, Fault::Critical),
        (r#"{"alg":"HS256","crit":[]}"#, Fault::Critical),
        (r#"{"crit":null,"alg":"HS256"}"#, Fault::Critical),
    ] {
        assert_eq!(judge(&signed(header, claims)), Err(fault), "{header}");
    }
    // The byte order mark is no white space, and 0xff is no text.
    assert_eq!(judge(&signed("\u{feff}{\"alg\":\"HS256\"}", claims)), Err(Fault::Header));
    let bad = format!("{}.{}.{}", base64([0xff]), base64(claims), base64([0; 32]));
    assert_eq!(judge(&bad), Err(Fault::Header));
}

#[test]
fn claims_are_what_they_say_once() {
    for (claims, fault) in [
        ("{}", Fault::NoExpiry),
        (r#"{"exp":null}"#, Fault::Claims),
        (r#"{"exp":"2000"}"#, Fault::Claims),
        (r#"{"exp":[2000]}"#, Fault::Claims),
        (r#"{"exp":true}"#, Fault::Claims),
        (r#"{"exp":1e999}"#, Fault::Claims),
        (r#"{"exp":02000}"#, Fault::Claims),
        (r#"{"exp":2000,"exp":2000}"#, Fault::Claims),
        (r#"{"exp":1000,"e\u0078p":9000}"#, Fault::Claims),
        (r#"{"exp":2000,"nbf":"0"}"#, Fault::Claims),
        (r#"{"exp":2000,"sub":7}"#, Fault::Claims),
        (r#"{"exp":2000,"iss":["a"]}"#, Fault::Claims),
        (r#"{"exp":2000,"aud":7}"#, Fault::Claims),
        (r#"{"exp":2000,"aud":["a",7]}"#, Fault::Claims),
        (r#"{"exp":2000,"aud":{"a":"a"}}"#, Fault::Claims),
        (r#"{"exp":2000,"join":"news"}"#, Fault::Claims),
        (r#"{"exp":2000,"join":["news",7]}"#, Fault::Claims),
        (r#"{"exp":2000,"join":[["news"]]}"#, Fault::Claims),
        (r#"{"exp":2000,"join":null}"#, Fault::Claims),
        (r#"{"exp":2000,"say":{}}"#, Fault::Claims),
        (r#"{"exp":2000,"x":1,"x":2}"#, Fault::Claims),
        (r#"[{"exp":2000}]"#, Fault::Claims),
        ("", Fault::Claims),
        ("2000", Fault::Claims),
        (r#"{"exp":1000}"#, Fault::Expired),
        (r#"{"exp":1000.9}"#, Fault::Expired),
        (r#"{"exp":999}"#, Fault::Expired),
        (r#"{"exp":0}"#, Fault::Expired),
        (r#"{"exp":-1}"#, Fault::Expired),
        (r#"{"exp":-1e300}"#, Fault::Expired),
        (r#"{"exp":2000,"nbf":1061}"#, Fault::NotYet),
        (r#"{"exp":2000,"nbf":1060.1}"#, Fault::NotYet),
        (r#"{"exp":2e300,"nbf":1e300}"#, Fault::NotYet),
    ] {
        assert_eq!(judge(&token(claims)), Err(fault), "{claims}");
    }
    for claims in [
        r#"{"exp":1001}"#,
        r#"{"exp":1001.5}"#,
        r#"{"exp":1e300}"#,
        r#"{"exp":1.001E+3}"#,
        r#"{"exp":2000,"nbf":1060}"#,
        r#"{"exp":2000,"nbf":-5}"#,
        r#"{"exp":2000,"iat":"whenever","x":{"exp":1,"exp":1}}"#,
        r#"{"exp":2000,"sub":"","join":[],"say":[]}"#,
    ] {
        assert_eq!(judge(&token(claims)), Ok(()), "{claims}");
    }
    let members = |count| {
        let others: String = (1..count).map(|number| format!(",\"m{number}\":0")).collect();
        token(&format!(r#"{{"exp":2000{others}}}"#))
    };
    assert_eq!(judge(&members(64)), Ok(()));
    assert_eq!(judge(&members(65)), Err(Fault::Claims));
    let subject = |subject: &str| token(&format!(r#"{{"exp":2000,"sub":"{subject}"}}"#));
    assert_eq!(judge(&subject(&"x".repeat(128))), Ok(()));
    assert_eq!(judge(&subject(&"x".repeat(129))), Err(Fault::Subject));
    assert_eq!(judge(&subject(&"\\u00e9".repeat(64))), Ok(()));
    assert_eq!(judge(&subject(&"\\u00e9".repeat(65))), Err(Fault::Subject));
}

#[test]
fn a_token_is_three_parts_and_not_long() {
    let good = token(r#"{"exp":2000}"#);
    let (head, _) = good.rsplit_once('.').expect("there are dots");
    for (text, fault) in [
        ("a", Fault::Malformed),
        (".", Fault::Malformed),
        ("..", Fault::Header),
        ("...", Fault::Malformed),
        (&good.replace('.', ""), Fault::Malformed),
        (&format!("{good}.{good}"), Fault::Malformed),
        // An encrypted token has five parts (RFC 7516).
        ("eyJhbGciOiJkaXIifQ..AA.AA.AA", Fault::Malformed),
        (head, Fault::Malformed),
        (&format!("{head}."), Fault::Signature),
        (&format!("{head}.{}", base64([0; 31])), Fault::Signature),
        (&format!("{head}.{}", base64([0; 33])), Fault::Signature),
        (&format!("{head}.{}", base64([0; 32])), Fault::Signature),
        (&format!("{head}.{}=", base64([0; 32])), Fault::Malformed),
        (&format!("{head}.{}", BASE64.encode(&[0xfb; 32])), Fault::Malformed),
    ] {
        assert_eq!(judge(text), Err(fault), "{text}");
    }
    let filled = |bytes: usize| {
        let token = token(&format!(r#"{{"exp":2000,"x":"{}"}}"#, "x".repeat(bytes)));
        (token.len(), judge(&token))
    };
    let most = (2900..3100).filter(|bytes| filled(*bytes).1.is_ok()).max().expect("some are taken");
    assert!(filled(most).0 <= TOKEN_BYTES_MAX && filled(most + 1).0 > TOKEN_BYTES_MAX);
    assert_eq!(filled(most + 1).1, Err(Fault::TooLong));
    assert_eq!(judge(&"A".repeat(1 << 20)), Err(Fault::TooLong));
}

#[test]
fn a_token_is_for_an_audience_and_from_an_issuer() {
    let parties = |claims: &str, audience, issuer| {
        with_claims(claims, |token| token.claims.check_parties(audience, issuer)).and_then(|it| it)
    };
    for (claims, audience, issuer, verdict) in [
        (r#"{"exp":1}"#, None, None, Ok(())),
        (r#"{"exp":1,"aud":"b","iss":"j"}"#, None, None, Ok(())),
        (r#"{"exp":1}"#, Some("a"), None, Err(Fault::Audience)),
        (r#"{"exp":1,"aud":"a"}"#, Some("a"), None, Ok(())),
        (r#"{"exp":1,"aud":"\u0061"}"#, Some("a"), None, Ok(())),
        (r#"{"exp":1,"aud":"ab"}"#, Some("a"), None, Err(Fault::Audience)),
        (r#"{"exp":1,"aud":["b","a"]}"#, Some("a"), None, Ok(())),
        (r#"{"exp":1,"aud":["b"]}"#, Some("a"), None, Err(Fault::Audience)),
        (r#"{"exp":1,"aud":[]}"#, Some("a"), None, Err(Fault::Audience)),
        (r#"{"exp":1,"aud":"a"}"#, Some("a"), Some("j"), Err(Fault::Issuer)),
        (r#"{"exp":1,"aud":"a","iss":"J"}"#, Some("a"), Some("j"), Err(Fault::Issuer)),
        (r#"{"exp":1,"aud":"a","iss":"j"}"#, Some("a"), Some("j"), Ok(())),
    ] {
        assert_eq!(parties(claims, audience, issuer), verdict, "{claims}");
    }
}

#[test]
fn rights_cover_what_they_name() {
    for (rights, channel, may_join, may_say) in [
        ("", "news", false, false),
        (r#","join":[]"#, "news", false, false),
        (r#","join":["news"]"#, "news", true, true),
        (r#","join":["news"]"#, "newsy", false, false),
        (r#","join":["news"]"#, "new", false, false),
        (r#","join":["News"]"#, "news", false, false),
        (r#","join":["*"]"#, "anything/at-all", true, true),
        (r#","join":["room/*"]"#, "room/1", true, true),
        (r#","join":["room/*"]"#, "room/1/2", true, true),
        (r#","join":["room/*"]"#, "room", false, false),
        (r#","join":["room*"]"#, "room", true, true),
        (r#","join":["*room"]"#, "aroom", false, false),
        (r#","join":["r*m"]"#, "room", false, false),
        (r#","join":[""]"#, "default", false, false),
        (r#","join":["a","b","news"]"#, "news", true, true),
        (r#","join":["\u006eews"]"#, "news", true, true),
        (r#","join":["news"],"say":[]"#, "news", true, false),
        (r#","join":["news","chat"],"say":["chat"]"#, "news", true, false),
        (r#","join":["news","chat"],"say":["chat"]"#, "chat", true, true),
        (r#","say":["news"]"#, "news", false, true),
        (r#","join":["a\"]"],"say":["*"]"#, "a\"]", true, true),
    ] {
        let claims = format!(r#"{{"exp":1{rights}}}"#);
        let kept = with_claims(&claims, |token| {
            let rights = token.claims.rights;
            assert_eq!(rights.may_join(channel), may_join, "{claims} {channel}");
            assert_eq!(rights.may_say(channel), may_say, "{claims} {channel}");
            let mut bytes = Vec::new();
            rights.write(&mut bytes).expect("they are short");
            assert_eq!(bytes.len(), rights.bytes());
            bytes
        });
        let kept = kept.expect("the form is right");
        let rights = Rights::read(&kept).expect("it was written");
        assert_eq!((rights.may_join(channel), rights.may_say(channel)), (may_join, may_say));
    }
}

#[test]
fn rights_that_are_kept_are_short() {
    let written = |bytes: usize| {
        let claims = format!(r#"{{"exp":1,"join":["{}"]}}"#, "x".repeat(bytes));
        with_claims(&claims, |token| {
            let mut out = Vec::new();
            token.claims.rights.write(&mut out).map(|()| out.len())
        })
        .expect("the form is right")
    };
    // Two quotes, and three bytes in front.
    assert_eq!(written(RIGHTS_BYTES_MAX - 5), Ok(RIGHTS_BYTES_MAX));
    assert_eq!(written(RIGHTS_BYTES_MAX - 4), Err(Fault::Rights));
    for bytes in [&b""[..], b"\0\0", b"\x05\0\0ab", b"\x01\0\0\xff"] {
        assert_eq!(Rights::read(bytes), None);
    }
}

/// What a request with these fields and this query brings.
fn found(authorization: &[&str], protocols: &[&str], query: Option<&str>) -> Result<bool, Fault> {
    let [authorization, protocols] =
        [authorization, protocols].map(|fields| fields.iter().map(|field| field.as_bytes()));
    let found = Presented::find(authorization, protocols, query)?;
    let mut scratch = Scratch::default();
    found.map_or(Ok(false), |presented| Token::parse(presented, &mut scratch).map(|_| true))
}

#[test]
fn a_request_brings_one_token_at_most() {
    let good = token(r#"{"exp":2000}"#);
    let (bearer, protocol) = (format!("Bearer {good}"), format!("chat, token.{good} ,x"));
    let query = format!("a=b&token={good}");
    let encoded = format!("t%6Fken={}", good.replace('.', "%2e"));
    assert_eq!(found(&[], &[], None), Ok(false));
    assert_eq!(found(&[&bearer], &[], None), Ok(true));
    assert_eq!(found(&[&bearer.replace("Bearer ", "bEARER   ")], &[], None), Ok(true));
    assert_eq!(found(&[], &["a", &protocol], None), Ok(true));
    assert_eq!(found(&[], &[], Some(&query)), Ok(true));
    assert_eq!(found(&[], &[], Some(&encoded)), Ok(true));
    // What is empty, or of another scheme, is no token.
    for authorization in ["Bearer ", "Bearer", "Basic YTpi", "", "Bearer\u{e9}x"] {
        assert_eq!(found(&[authorization], &["token.", "token"], Some("token=&token")), Ok(false));
    }
    assert_eq!(found(&["Basic YTpi", &bearer], &[], None), Ok(true));
    for names in ["xtoken", "tokens", "Token", "%74oke", "toke%"] {
        assert_eq!(found(&[], &[], Some(&format!("{names}={good}"))), Ok(false));
    }
    for (authorization, protocols, query) in [
        (&[&*bearer, &bearer][..], &[][..], None),
        (&[&*bearer], &[&*protocol], None),
        (&[&*bearer], &[], Some(&*query)),
        (&[], &[&*protocol, &protocol], None),
        (&[], &[], Some(&*format!("{query}&{encoded}"))),
    ] {
        assert_eq!(found(authorization, protocols, query), Err(Fault::Several));
    }
    assert_eq!(found(&["Bearer x y"], &[], None), Err(Fault::Malformed));
    let long = format!("token={}", "A".repeat(TOKEN_BYTES_MAX + 1));
    assert_eq!(found(&[], &[], Some(&long)), Err(Fault::TooLong));
}

#[test]
fn a_connect_brings_one_token_at_most() {
    for (payload, expected) in [
        (None, Ok(None)),
        (Some("{}"), Ok(None)),
        (Some(r#"["token"]"#), Ok(None)),
        (Some(r#"{"pid":"x","token":null}"#), Ok(None)),
        (Some(r#"{"token":""}"#), Ok(None)),
        (Some(r#"{"x":{"token":"a"}}"#), Ok(None)),
        (Some(r#"{"x":[1,{}],"token":"a.b","y":1}"#), Ok(Some("a.b"))),
        (Some(r#"{"\u0074oken":"a.b"}"#), Ok(Some("a.b"))),
        (Some(r#"{"token":"a\u002eb"}"#), Err(Fault::Malformed)),
        (Some(r#"{"token":7}"#), Err(Fault::Malformed)),
        (Some(r#"{"token":{"token":"a"}}"#), Err(Fault::Malformed)),
        (Some(r#"{"token":"a","token":"a"}"#), Err(Fault::Several)),
        (Some(r#"{"token":"a","token":null}"#), Err(Fault::Several)),
    ] {
        let expected = expected.map(|text| text.and_then(|text| Presented::plain(text.as_bytes())));
        assert_eq!(in_auth(payload), expected, "{payload:?}");
    }
}

/// A public key of each kind with what signs for it.
fn es256(number: u8) -> (p256::ecdsa::SigningKey, Vec<u8>) {
    let key = p256::ecdsa::SigningKey::from_slice(&[number; 32]).expect("below the order");
    let point = key.verifying_key().to_sec1_point(false);
    (key, point.as_bytes().to_vec())
}

fn ed25519(number: u8) -> (ed25519_dalek::SigningKey, [u8; 32]) {
    let key = ed25519_dalek::SigningKey::from_bytes(&[number; 32]);
    let point = key.verifying_key().to_bytes();
    (key, point)
}

fn pem(head: &[u8], point: &[u8]) -> String {
    let text = BASE64.encode(&[head, point].concat());
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n",
        &text[..40],
        &text[40..]
    )
}

const P256_HEAD: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\
      \x03\x42\x00";
const P256_COMPRESSED_HEAD: &[u8] =
    b"\x30\x39\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\
      \x03\x22\x00";
const ED25519_HEAD: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// A token for a header, with a signature of whatever `sign` makes.
fn token_by(header: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", base64(header), base64(r#"{"exp":2000}"#));
    format!("{text}.{}", base64(sign(text.as_bytes())))
}

fn by_es256(key: &p256::ecdsa::SigningKey, header: &str) -> String {
    token_by(header, |text| {
        let signature: p256::ecdsa::Signature = key.sign(text);
        signature.to_bytes().to_vec()
    })
}

fn by_ed25519(key: &ed25519_dalek::SigningKey, header: &str) -> String {
    token_by(header, |text| key.sign(text).to_bytes().to_vec())
}

#[test]
fn public_keys_in_pem() {
    let (key, point) = es256(7);
    let mut keys = Keys::default();
    let file = pem(P256_HEAD, &point);
    assert_eq!(keys.add_file(KeyKind::Es256, file.as_bytes()), Ok(0));
    assert_eq!(judged(&keys, by_es256(&key, r#"{"alg":"ES256"}"#).as_bytes()), Ok(()));
    let others = by_es256(&es256(8).0, r#"{"alg":"ES256"}"#);
    assert_eq!(judged(&keys, others.as_bytes()), Err(Fault::Signature));
    let compressed = key.verifying_key().to_sec1_point(true);
    let file = pem(P256_COMPRESSED_HEAD, compressed.as_bytes());
    assert_eq!(Keys::default().add_file(KeyKind::Es256, file.as_bytes()), Ok(0));

    let (key, point) = ed25519(7);
    let mut keys = Keys::default();
    let file = format!("a comment\r\n{}", pem(ED25519_HEAD, &point).replace('\n', "\r\n"));
    assert_eq!(keys.add_file(KeyKind::Ed25519, file.as_bytes()), Ok(0));
    for name in ["EdDSA", "Ed25519"] {
        let token = by_ed25519(&key, &format!(r#"{{"alg":"{name}"}}"#));
        assert_eq!(judged(&keys, token.as_bytes()), Ok(()));
    }
    let others = by_ed25519(&ed25519(8).0, r#"{"alg":"EdDSA"}"#);
    assert_eq!(judged(&keys, others.as_bytes()), Err(Fault::Signature));
}

#[test]
fn files_that_are_no_keys() {
    let (_, p256) = es256(7);
    let (_, ed) = ed25519(7);
    let added = |kind, bytes: &[u8]| Keys::default().add_file(kind, bytes);
    let private = "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n";
    for (kind, bytes, error) in [
        (KeyKind::Hs256, &b""[..], KeyFileError::ShortSecret),
        (KeyKind::Hs256, &SECRET[..31], KeyFileError::ShortSecret),
        (KeyKind::Hs256, b"31 bytes and a line feed do not\n", KeyFileError::ShortSecret),
        (KeyKind::Es256, b"", KeyFileError::NoPem),
        (KeyKind::Es256, b"\xff", KeyFileError::NoPem),
        (KeyKind::Es256, SECRET, KeyFileError::NoPem),
        (KeyKind::Es256, b"-----BEGIN PUBLIC KEY-----\nMFkw", KeyFileError::NoPem),
        (
            KeyKind::Es256,
            b"-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----",
            KeyFileError::NoPem,
        ),
        (KeyKind::Es256, private.as_bytes(), KeyFileError::Private),
        (KeyKind::Es256, pem(ED25519_HEAD, &ed).as_bytes(), KeyFileError::OtherKind),
        (KeyKind::Ed25519, pem(P256_HEAD, &p256).as_bytes(), KeyFileError::OtherKind),
        (KeyKind::Ed25519, pem(ED25519_HEAD, &ed[..31]).as_bytes(), KeyFileError::OtherKind),
        (KeyKind::Es256, pem(P256_HEAD, &p256[..64]).as_bytes(), KeyFileError::NoKey),
        // No point, the point at infinity, and one of small order.
        (KeyKind::Es256, pem(P256_HEAD, &[4; 65]).as_bytes(), KeyFileError::NoKey),
        (KeyKind::Es256, pem(P256_HEAD, &[0; 65]).as_bytes(), KeyFileError::NoKey),
        (KeyKind::Ed25519, pem(ED25519_HEAD, &[0; 32]).as_bytes(), KeyFileError::NoKey),
        (KeyKind::Jwks, b"", KeyFileError::NoSet),
        (KeyKind::Jwks, b"[]", KeyFileError::NoSet),
        (KeyKind::Jwks, b"{}", KeyFileError::NoSet),
        (KeyKind::Jwks, br#"{"keys":{}}"#, KeyFileError::NoSet),
        (KeyKind::Jwks, br#"{"keys":[7]}"#, KeyFileError::NoSet),
        (KeyKind::Jwks, br#"{"keys":[{"kty":7}]}"#, KeyFileError::NoSet),
        (KeyKind::Jwks, br#"{"keys":[{"kty":"EC","kty":"EC"}]}"#, KeyFileError::NoSet),
        (KeyKind::Jwks, br#"{"keys":[]}"#, KeyFileError::NoneUsable),
        (KeyKind::Jwks, br#"{"keys":[{"kty":"RSA"}]}"#, KeyFileError::NoneUsable),
    ] {
        assert_eq!(added(kind, bytes), Err(error), "{kind:?} {}", bytes.escape_ascii());
    }
    let line = b"thirty-two bytes and a line feed\n";
    assert_eq!(key_file::secret(line), Ok(Material::Secret(line[..32].to_vec())));
    let lines = b"thirty-two bytes, two line feeds\n\n";
    assert_eq!(key_file::secret(lines), Ok(Material::Secret(lines[..33].to_vec())));
    for (_, kind) in KeyKind::ALL {
        assert!(KeyKind::ALL.contains(&(kind.word(), kind)));
    }
}

/// A JWK for P-256 with more members.
fn jwk_es256(point: &[u8], more: &str) -> String {
    let (x, y) = (base64(&point[1..33]), base64(&point[33..]));
    format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"{more}}}"#)
}

#[test]
fn a_set_has_keys_of_many_kinds() {
    let (first, point) = es256(1);
    let (second, other_point) = es256(2);
    let (third, ed) = ed25519(3);
    let set = [
        jwk_es256(&point, r#","kid":"one","use":"sig","alg":"ES256""#),
        jwk_es256(&other_point, r#","kid":"t\u0077o""#),
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}","kid":"three"}}"#, base64(ed)),
        format!(r#"{{"kty":"oct","k":"{}","kid":"four"}}"#, base64(SECRET)),
        // These cannot be used.
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"five"}"#.into(),
        jwk_es256(&point, r#","use":"enc""#),
        jwk_es256(&point, r#","alg":"ECDH-ES""#),
        jwk_es256(&point, r#","d":"AA""#),
        r#"{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}"#.into(),
        r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#.into(),
        r#"{"kty":"oct","k":"c2hvcnQ"}"#.into(),
        "{}".into(),
    ];
    let mut keys = Keys::default();
    let file = format!(r#"{{"keys":[{}],"more":1}}"#, set.join(","));
    assert_eq!(keys.add_file(KeyKind::Jwks, file.as_bytes()), Ok(8));
    assert_eq!((keys.len(), format!("{keys:?}")), (4, "Keys(4)".into()));
    let judge = |token: String| judged(&keys, token.as_bytes());
    for (token, verdict) in [
        (by_es256(&first, r#"{"alg":"ES256","kid":"one"}"#), Ok(())),
        (by_es256(&second, r#"{"alg":"ES256","kid":"two"}"#), Ok(())),
        (by_es256(&first, r#"{"alg":"ES256"}"#), Ok(())),
        (by_es256(&second, r#"{"alg":"ES256"}"#), Ok(())),
        (by_ed25519(&third, r#"{"alg":"EdDSA","kid":"three"}"#), Ok(())),
        (signed(r#"{"alg":"HS256","kid":"four"}"#, r#"{"exp":2000}"#), Ok(())),
        (by_es256(&first, r#"{"alg":"ES256","kid":"two"}"#), Err(Fault::Signature)),
        (by_es256(&first, r#"{"alg":"ES256","kid":"six"}"#), Err(Fault::UnknownKey)),
        (by_es256(&first, r#"{"alg":"ES256","kid":""}"#), Err(Fault::UnknownKey)),
        // The name of a key of another algorithm.
        (by_es256(&first, r#"{"alg":"ES256","kid":"three"}"#), Err(Fault::UnknownKey)),
        (signed(r#"{"alg":"HS256","kid":"one"}"#, r#"{"exp":2000}"#), Err(Fault::UnknownKey)),
        (by_es256(&first, r#"{"alg":"EdDSA"}"#), Err(Fault::Signature)),
        (by_ed25519(&third, r#"{"alg":"ES256"}"#), Err(Fault::Signature)),
    ] {
        assert_eq!(judge(token), verdict);
    }
}

#[test]
fn only_the_key_that_a_token_names_is_tried_and_a_key_without_a_name_is_not() {
    let (first, point) = es256(1);
    let (second, other_point) = es256(2);
    let (third, third_point) = es256(3);
    let set = |keys: &[String]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    let unnamed = set(&[jwk_es256(&point, ""), jwk_es256(&other_point, r#","kid":"two""#)]);
    // Two files may give one name to two keys.
    let twice = set(&[jwk_es256(&third_point, r#","kid":"two""#)]);
    let mut keys = Keys::default();
    for (kind, file) in [
        (KeyKind::Hs256, SECRET),
        (KeyKind::Es256, pem(P256_HEAD, &point).as_bytes()),
        (KeyKind::Jwks, unnamed.as_bytes()),
        (KeyKind::Jwks, twice.as_bytes()),
    ] {
        assert_eq!(keys.add_file(kind, file), Ok(0));
    }
    let claims = r#"{"exp":2000}"#;
    for (token, verdict) in [
        // Without a name every key of the algorithm is tried.
        (signed(r#"{"alg":"HS256"}"#, claims), Ok(())),
        (by_es256(&first, r#"{"alg":"ES256"}"#), Ok(())),
        (by_es256(&second, r#"{"alg":"ES256"}"#), Ok(())),
        (by_es256(&third, r#"{"alg":"ES256"}"#), Ok(())),
        (by_es256(&second, r#"{"alg":"ES256","kid":"two"}"#), Ok(())),
        (by_es256(&third, r#"{"alg":"ES256","kid":"two"}"#), Ok(())),
        (by_es256(&first, r#"{"alg":"ES256","kid":"two"}"#), Err(Fault::Signature)),
        (by_es256(&first, r#"{"alg":"ES256","kid":"one"}"#), Err(Fault::UnknownKey)),
        (by_es256(&first, r#"{"alg":"ES256","kid":""}"#), Err(Fault::UnknownKey)),
        (by_es256(&second, r#"{"alg":"ES256","kid":"two "}"#), Err(Fault::UnknownKey)),
        (by_es256(&second, r#"{"alg":"ES256","kid":"tw\u006f"}"#), Ok(())),
        (signed(r#"{"alg":"HS256","kid":"two"}"#, claims), Err(Fault::UnknownKey)),
        (signed(r#"{"alg":"HS256","kid":""}"#, claims), Err(Fault::UnknownKey)),
    ] {
        assert_eq!(judged(&keys, token.as_bytes()), verdict, "{token}");
    }
}

#[test]
fn a_public_key_is_no_secret() {
    // Whoever has the public key signs with it, as if its file were a secret.
    let (_, point) = es256(7);
    let file = pem(P256_HEAD, &point);
    let mut keys = Keys::default();
    assert_eq!(keys.add_file(KeyKind::Es256, file.as_bytes()), Ok(0));
    for secret in [file.as_bytes(), &point] {
        let forged = keys::token(secret, r#"{"exp":2000}"#).expect("it is long enough");
        assert_eq!(judged(&keys, forged.as_bytes()), Err(Fault::UnknownKey));
    }
    let unsigned = format!("{}.{}.", base64(r#"{"alg":"none"}"#), base64(r#"{"exp":2000}"#));
    assert_eq!(judged(&keys, unsigned.as_bytes()), Err(Fault::Algorithm));
    // All of r and s are zero, which a careless check takes for any message (CVE-2022-21449).
    let zeros = token_by(r#"{"alg":"ES256"}"#, |_| vec![0; 64]);
    assert_eq!(judged(&keys, zeros.as_bytes()), Err(Fault::Signature));
    // A signature in DER, as other protocols have it.
    let (key, _) = es256(7);
    let der = token_by(r#"{"alg":"ES256"}"#, |text| {
        let signature: p256::ecdsa::Signature = key.sign(text);
        signature.to_der().as_bytes().to_vec()
    });
    assert_eq!(judged(&keys, der.as_bytes()), Err(Fault::Signature));
}

#[test]
fn there_are_sixteen_keys_and_tries_are_counted() {
    let file = |count: u8| {
        let set: Vec<String> = (1..=count).map(|number| jwk_es256(&es256(number).1, "")).collect();
        format!(r#"{{"keys":[{}]}}"#, set.join(","))
    };
    let mut keys = Keys::default();
    assert_eq!(keys.add_file(KeyKind::Jwks, file(17).as_bytes()), Err(KeyFileError::TooMany));
    assert!(keys.is_empty());
    assert_eq!(keys.add_file(KeyKind::Jwks, file(16).as_bytes()), Ok(0));
    assert_eq!(keys.add_file(KeyKind::Hs256, SECRET), Err(KeyFileError::TooMany));
    assert_eq!(keys.len(), 16);
    let text = by_es256(&es256(11).0, r#"{"alg":"ES256"}"#);
    let mut scratch = Scratch::default();
    let presented = Presented::plain(text.as_bytes()).expect("a token that is not empty");
    let token = Token::parse(presented, &mut scratch).expect("the form is right");
    let mut tries = 4;
    assert_eq!(keys.check(&token, 0, &mut tries), Verdict::Later(4));
    assert_eq!((keys.check(&token, 4, &mut tries), tries), (Verdict::Later(4), 0));
    tries = 8;
    assert_eq!((keys.check(&token, 4, &mut tries), tries), (Verdict::Good, 1));
    tries = 20;
    assert_eq!(keys.check(&token, 11, &mut tries), Verdict::Bad(Fault::Signature));
    assert_eq!(tries, 15);
}

#[test]
fn nothing_of_a_token_or_a_key_is_shown() {
    let text = token(r#"{"exp":2000}"#);
    let presented = Presented::plain(text.as_bytes());
    assert_eq!(format!("{presented:?}"), "Some(Presented(…))");
    let material = key_file::secret(SECRET).expect("it is long enough");
    assert_eq!(format!("{material:?}"), "Secret(…)");
    let mut texts: Vec<&str> = Fault::ALL.iter().map(|fault| fault.text()).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), Fault::ALL.len());
    for (number, fault) in Fault::ALL.into_iter().enumerate() {
        assert_eq!(fault as usize, number);
    }
}

proptest! {
    #[test]
    fn noise_is_no_token(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
        prop_assert!(judged(&secret_keys(), &bytes).is_err());
        let _ = Presented::find([&*bytes].into_iter(), [&*bytes].into_iter(), None);
        let _ = Rights::read(&bytes);
        let _ = key_file::jwks(&bytes);
        let _ = key_file::pem(&bytes);
    }

    #[test]
    fn noise_in_a_part_is_no_panic(header in ".{0,60}", claims in ".{0,60}") {
        let _ = judge(&signed(&header, &claims));
        let _ = judge(&token(&claims));
        let _ = in_auth(Some(&claims));
    }
}
