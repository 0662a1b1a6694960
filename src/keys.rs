//! The keys with which tokens are checked, and the check of a signature.
//!
//! Deals with: which keys may have made a signature, and whether one of them has. Leaves to others:
//! what is in a file of keys (`wire/key_file`), what a token says (`wire/token`), when a check that
//! costs much is made. All of the mathematics is other people's.
//!
//! The surprise: a check may stop halfway. A token that names no key is tried with every key of its
//! algorithm, and each try with a public key is up to 200 µs, so whoever asks says how
//! many tries there may be, and goes on later.

use core::fmt;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::signature::Verifier;
use sha2::Sha256;

use crate::wire::key_file::{self, KeyFileError, Material, NamedKey};
use crate::wire::token::{Algorithm, Fault, Token};

/// The most keys that are kept.
pub const KEYS_MAX: usize = 16;

/// The most bytes of a file of keys.
pub const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What a file of keys holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// A secret for HS256, as it is.
    Hs256,
    /// A public key for ES256, in PEM.
    Es256,
    /// A public key for Ed25519, in PEM.
    Ed25519,
    /// A set of keys in JSON.
    Jwks,
}

impl KeyKind {
    /// All kinds, each with the word for it.
    pub const ALL: [(&'static str, KeyKind); 4] = [
        ("hs256", KeyKind::Hs256),
        ("es256", KeyKind::Es256),
        ("ed25519", KeyKind::Ed25519),
        ("jwks", KeyKind::Jwks),
    ];

    /// The word for this kind.
    pub fn word(self) -> &'static str {
        match self {
            KeyKind::Hs256 => "hs256",
            KeyKind::Es256 => "es256",
            KeyKind::Ed25519 => "ed25519",
            KeyKind::Jwks => "jwks",
        }
    }

    /// Whether whoever can check tokens with such a key can make none: then others may be sent
    /// tokens of the one that makes them, too.
    pub fn is_public(self) -> bool {
        match self {
            KeyKind::Hs256 => false,
            KeyKind::Es256 | KeyKind::Ed25519 | KeyKind::Jwks => true,
        }
    }
}

/// A key, ready to check with.
enum Checker {
    Hs256(Hmac<Sha256>),
    Es256(p256::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl Checker {
    fn new(material: &Material) -> Result<Checker, KeyFileError> {
        match material {
            Material::Secret(secret) => {
                Hmac::new_from_slice(secret).map(Checker::Hs256).map_err(|_| KeyFileError::NoKey)
            }
            Material::P256(point) => p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
                .map(Checker::Es256)
                .map_err(|_| KeyFileError::NoKey),
            Material::Ed25519(point) => ed25519_dalek::VerifyingKey::from_bytes(point)
                .ok()
                // With a point of small order signatures can be made that hold for any message.
                .filter(|key| !key.is_weak())
                .map(Checker::Ed25519)
                .ok_or(KeyFileError::NoKey),
        }
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Checker::Hs256(_) => Algorithm::Hs256,
            Checker::Es256(_) => Algorithm::Es256,
            Checker::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Whether the key has made `signature` for `signed`. How long that takes does not depend on
    /// where a wrong signature is wrong.
    fn has_made(&self, signature: &[u8], signed: &[u8]) -> bool {
        match self {
            Checker::Hs256(mac) => mac.clone().chain_update(signed).verify_slice(signature).is_ok(),
            Checker::Es256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
            Checker::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(signed, &signature).is_ok()),
        }
    }
}

struct Key {
    id: Option<Box<str>>,
    checker: Checker,
}

/// All keys.
#[derive(Default)]
pub struct Keys {
    keys: Vec<Key>,
}

impl fmt::Debug for Keys {
    /// Says how many there are, and nothing of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.keys.len())
    }
}

/// The keys of several files, and for each file how many keys were skipped, because they are of
/// another kind.
pub type Loaded = (Keys, Vec<usize>);

/// How far the check of a signature has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// One of the keys has made the signature.
    Good,
    /// No key has made the signature; what is wrong with it.
    Bad(Fault),
    /// There may be no other try with a public key now. The next is with the key of this number.
    Later(u8),
}

impl Keys {
    /// Adds what is in a file of keys. Returns how many keys of a set were skipped, because they
    /// are of another kind.
    ///
    /// # Errors
    /// Why the file cannot be used; then nothing of it was added.
    pub fn add_file(&mut self, kind: KeyKind, bytes: &[u8]) -> Result<usize, KeyFileError> {
        let (material, skipped) = match kind {
            KeyKind::Hs256 => (vec![unnamed(key_file::secret(bytes)?)], 0),
            KeyKind::Es256 => (vec![unnamed(of_kind(Algorithm::Es256, key_file::pem(bytes)?)?)], 0),
            KeyKind::Ed25519 => {
                (vec![unnamed(of_kind(Algorithm::Ed25519, key_file::pem(bytes)?)?)], 0)
            }
            KeyKind::Jwks => key_file::jwks(bytes)?,
        };
        if self.keys.len() + material.len() > KEYS_MAX {
            return Err(KeyFileError::TooMany);
        }
        let keys = material.into_iter().map(|NamedKey { id, material }| {
            Checker::new(&material).map(|checker| Key { id, checker })
        });
        let keys: Vec<Key> = keys.collect::<Result<_, _>>()?;
        self.keys.extend(keys);
        Ok(skipped)
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys there are, at most [`KEYS_MAX`].
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether a key of the right algorithm may have made the signature of a token: one that has
    /// the name that the token asks for (`kid`). A token that asks for none may be of any. A key
    /// without a name, as all are but those of a set, is never the one that a token asks for.
    ///
    /// # Errors
    /// [`Fault::UnknownKey`] if there is no such key.
    pub fn know(&self, token: &Token<'_>) -> Result<(), Fault> {
        self.candidates(token).next().map(|_| ()).ok_or(Fault::UnknownKey)
    }

    /// Checks the signature of a token with its keys from the number `first` on, as long as
    /// `tries_left`, of which each try with a public key takes one.
    pub fn check(&self, token: &Token<'_>, first: u8, tries_left: &mut u32) -> Verdict {
        let mut fault = Fault::UnknownKey;
        for (number, key) in self.candidates(token) {
            fault = Fault::Signature;
            // There are 16 at most.
            let number = number as u8;
            if number < first {
                continue;
            }
            if token.algorithm.is_public() {
                match tries_left.checked_sub(1) {
                    Some(left) => *tries_left = left,
                    None => return Verdict::Later(number),
                }
            }
            if key.checker.has_made(token.signature, token.signed) {
                return Verdict::Good;
            }
        }
        Verdict::Bad(fault)
    }

    /// The keys of the token's algorithm, with their numbers: those of the name that it asks for,
    /// or all if it asks for none.
    fn candidates<'k>(&'k self, token: &Token<'k>) -> impl Iterator<Item = (usize, &'k Key)> {
        let (algorithm, key_id) = (token.algorithm, token.key_id);
        let all = self.keys.iter().enumerate();
        all.filter(move |(_, key)| {
            let is_meant =
                key_id.is_none_or(|asked| key.id.as_deref().is_some_and(|id| asked == *id));
            is_meant && key.checker.algorithm() == algorithm
        })
    }
}

impl Keys {
    /// The keys of all files, each of which `read` reads.
    ///
    /// # Errors
    /// What is wrong with which of the files, by its number, in words that repeat nothing of it.
    pub fn load<'f, P: 'f + ?Sized>(
        files: impl IntoIterator<Item = (KeyKind, &'f P)>,
        mut read: impl FnMut(&P) -> std::io::Result<Vec<u8>>,
    ) -> Result<Loaded, (usize, String)> {
        let mut keys = Keys::default();
        let mut skipped = Vec::new();
        for (number, (kind, path)) in files.into_iter().enumerate() {
            let bytes = read(path).map_err(|error| (number, error.to_string()))?;
            let others = keys.add_file(kind, &bytes);
            skipped.push(others.map_err(|error| (number, error.to_string()))?);
        }
        Ok((keys, skipped))
    }
}

/// A token with these claims, a JSON object, that is signed by HS256 with `secret`.
///
/// # Errors
/// [`KeyFileError::ShortSecret`] if the secret is too short for a key.
pub fn token(secret: &[u8], claims: &str) -> Result<String, KeyFileError> {
    if secret.len() < key_file::SECRET_BYTES_MIN {
        return Err(KeyFileError::ShortSecret);
    }
    let mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| KeyFileError::NoKey)?;
    let mut token = BASE64URL_NOPAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    token.push('.');
    BASE64URL_NOPAD.encode_append(claims.as_bytes(), &mut token);
    let signature = mac.chain_update(&token).finalize().into_bytes();
    token.push('.');
    BASE64URL_NOPAD.encode_append(&signature, &mut token);
    Ok(token)
}

fn unnamed(material: Material) -> NamedKey {
    NamedKey { id: None, material }
}

/// The key of a file, if it is for the algorithm that was said.
fn of_kind(algorithm: Algorithm, material: Material) -> Result<Material, KeyFileError> {
    match (algorithm, &material) {
        (Algorithm::Es256, Material::P256(_)) | (Algorithm::Ed25519, Material::Ed25519(_)) => {
            Ok(material)
        }
        (Algorithm::Hs256 | Algorithm::Es256 | Algorithm::Ed25519, _) => {
            Err(KeyFileError::OtherKind)
        }
    }
}
