//! Tokens that a load shows, and the keys that they are checked with.

use std::sync::OnceLock;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use elbow::keys;

use super::super::say;

/// The secret that signs by HS256.
pub(crate) const SECRET: &[u8] = b"a secret of the benches, long enough for HMAC";

/// The audience of all tokens.
pub(crate) const AUDIENCE: &str = "bench";

/// What a handshake shows, by which of its properties the server takes it or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shown {
    /// No token.
    Nothing,
    /// A good token.
    Hs256,
    /// A good token.
    Es256,
    /// A good token.
    Ed25519,
    /// A token that somebody else has signed.
    Hs256Forged,
    /// A token that somebody else has signed.
    Es256Forged,
    /// A token that somebody else has signed.
    Ed25519Forged,
    /// A good token once.
    Expired,
    /// A text that is no token, of as many bytes.
    Malformed,
}

impl Shown {
    /// All, in the order of the table.
    pub(crate) const ALL: [Shown; 9] = [
        Shown::Nothing,
        Shown::Hs256,
        Shown::Es256,
        Shown::Ed25519,
        Shown::Hs256Forged,
        Shown::Es256Forged,
        Shown::Ed25519Forged,
        Shown::Expired,
        Shown::Malformed,
    ];

    /// As the table calls it, in one word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Shown::Nothing => "no-token",
            Shown::Hs256 => "hs256",
            Shown::Es256 => "es256",
            Shown::Ed25519 => "ed25519",
            Shown::Hs256Forged => "hs256-forged",
            Shown::Es256Forged => "es256-forged",
            Shown::Ed25519Forged => "ed25519-forged",
            Shown::Expired => "expired",
            Shown::Malformed => "malformed",
        }
    }

    /// The one of this name.
    pub(crate) fn from_name(name: &str) -> Option<Shown> {
        Shown::ALL.into_iter().find(|shown| shown.name() == name)
    }

    /// Whether a server with the keys of [`pem_files`] and [`SECRET`] lets it in.
    pub(crate) fn is_taken(self) -> bool {
        match self {
            Shown::Nothing | Shown::Hs256 | Shown::Es256 | Shown::Ed25519 => true,
            Shown::Hs256Forged
            | Shown::Es256Forged
            | Shown::Ed25519Forged
            | Shown::Expired
            | Shown::Malformed => false,
        }
    }

    /// The query that shows it, with its question mark.
    pub(crate) fn query(self) -> &'static str {
        static QUERIES: OnceLock<[String; Shown::ALL.len()]> = OnceLock::new();
        let all = QUERIES.get_or_init(|| {
            Shown::ALL.map(|shown| match shown.token() {
                Some(token) => format!("?token={token}"),
                None => String::new(),
            })
        });
        &all[self as usize]
    }

    fn token(self) -> Option<String> {
        let claims = |exp: u64| {
            format!(r#"{{"exp":{exp},"sub":"ann","aud":"{AUDIENCE}","join":["default","room/*"]}}"#)
        };
        let good = claims(9_000_000_000);
        let by_secret = |claims: &str| {
            keys::token(SECRET, claims).unwrap_or_else(|why| say::fail(&why.to_string()))
        };
        Some(match self {
            Shown::Nothing => return None,
            Shown::Hs256 => by_secret(&good),
            Shown::Expired => by_secret(&claims(1)),
            Shown::Es256 => signed("ES256", &good, by_p256),
            Shown::Ed25519 => signed("EdDSA", &good, by_ed25519),
            Shown::Hs256Forged => forged(&by_secret(&good)),
            Shown::Es256Forged => forged(&signed("ES256", &good, by_p256)),
            Shown::Ed25519Forged => forged(&signed("EdDSA", &good, by_ed25519)),
            Shown::Malformed => "x".repeat(by_secret(&good).len()),
        })
    }
}

/// A token of this algorithm.
fn signed(algorithm: &str, claims: &str, sign: fn(&[u8]) -> [u8; 64]) -> String {
    let header = format!(r#"{{"alg":"{algorithm}"}}"#);
    let [header, claims] = [&header, claims].map(|text| BASE64URL_NOPAD.encode(text.as_bytes()));
    let text = format!("{header}.{claims}");
    let signature = BASE64URL_NOPAD.encode(&sign(text.as_bytes()));
    format!("{text}.{signature}")
}

/// A token whose signature is well-formed, and that of something else.
fn forged(token: &str) -> String {
    let (text, signature) = token.rsplit_once('.').expect("there are dots");
    let mut bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).expect("it was encoded");
    bytes[20] ^= 1;
    format!("{text}.{}", BASE64URL_NOPAD.encode(&bytes))
}

fn p256_key() -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("it is below the order")
}

fn ed25519_key() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[7; 32])
}

fn by_p256(text: &[u8]) -> [u8; 64] {
    use p256::ecdsa::signature::Signer;
    let signature: p256::ecdsa::Signature = p256_key().sign(text);
    signature.to_bytes().into()
}

fn by_ed25519(text: &[u8]) -> [u8; 64] {
    use ed25519_dalek::Signer;
    ed25519_key().sign(text).to_bytes()
}

/// The public keys in PEM: for ES256, and for Ed25519.
pub(crate) fn pem_files() -> [String; 2] {
    let p256_head = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\
        \x3d\x03\x01\x07\x03\x42\x00";
    let ed25519_head = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    let point = p256_key().verifying_key().to_sec1_point(false);
    let keys = [
        [p256_head, point.as_bytes()].concat(),
        [&ed25519_head[..], ed25519_key().verifying_key().as_bytes()].concat(),
    ];
    keys.map(|der| {
        let text = BASE64.encode(&der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    })
}
