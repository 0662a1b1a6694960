//! Files with keys: a secret as it is, a public key in PEM (RFC 7468, section 13), a set of keys in
//! JSON (JWK Set, RFC 7517).
//!
//! Deals with: what is in the file, as bytes of a key and of which kind that is. Leaves to others:
//! reading the file, whether a point lies on its curve, what is checked with a key.
//!
//! The surprise: the DER inside of PEM is not parsed. A public key on a known curve has one
//! encoding, but for the form of its point: a constant with the key behind it.

use core::fmt;

use data_encoding::{BASE64, BASE64URL_NOPAD};

use super::json::{Text, Tokens, Value, members, members_inside};

/// The fewest bytes of a secret for HS256 (RFC 7518, section 3.2: as many as the hash has).
pub const SECRET_BYTES_MIN: usize = 32;

/// A key as bytes.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    /// A secret of at least [`SECRET_BYTES_MIN`] bytes.
    Secret(Vec<u8>),
    /// A point on P-256 in the form of SEC 1: 33 or 65 bytes.
    P256(Vec<u8>),
    /// A point on Curve25519.
    Ed25519([u8; 32]),
}

impl fmt::Debug for Material {
    /// Says nothing of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Material::Secret(_) => "Secret(…)",
            Material::P256(_) => "P256(…)",
            Material::Ed25519(_) => "Ed25519(…)",
        })
    }
}

/// A key of a set, with the name by which a token asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedKey {
    /// The name, by `kid`.
    pub id: Option<Box<str>>,
    /// The key.
    pub material: Material,
}

/// Why a file is no key, in words that repeat nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyFileError {
    /// A secret has less than [`SECRET_BYTES_MIN`] bytes.
    ShortSecret,
    /// The file has no public key in PEM.
    NoPem,
    /// The file has a private key, which is nobody's business here.
    Private,
    /// The key in PEM is of another kind than was said.
    OtherKind,
    /// The bytes stand for no key of their kind.
    NoKey,
    /// The file is no JSON object with a list `keys`.
    NoSet,
    /// No key of the set can be used.
    NoneUsable,
    /// There are more keys than are kept.
    TooMany,
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyFileError::ShortSecret => "a secret has at least 32 bytes",
            KeyFileError::NoPem => "there is no public key in PEM (BEGIN PUBLIC KEY)",
            KeyFileError::Private => "this is a private key; the public one is wanted",
            KeyFileError::OtherKind => "the public key is of another kind",
            KeyFileError::NoKey => "the bytes are no such key",
            KeyFileError::NoSet => "this is no JSON object with a list of keys",
            KeyFileError::NoneUsable => {
                "no key can be used: allowed are P-256, Ed25519, and secrets of at least 32 bytes"
            }
            KeyFileError::TooMany => "allowed are at most 16 keys in all",
        })
    }
}

impl std::error::Error for KeyFileError {}

/// The secret in a file: all of its bytes, without one line feed at the end, which editors add.
///
/// # Errors
/// [`KeyFileError::ShortSecret`].
pub fn secret(bytes: &[u8]) -> Result<Material, KeyFileError> {
    let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let is_long = secret.len() >= SECRET_BYTES_MIN;
    is_long.then(|| Material::Secret(secret.to_vec())).ok_or(KeyFileError::ShortSecret)
}

/// `SubjectPublicKeyInfo` (RFC 5480) of a point on P-256, up to the point.
const P256_UNCOMPRESSED: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\
      \x03\x42\x00";

/// `SubjectPublicKeyInfo` (RFC 5480) of a compressed point on P-256, up to the point.
const P256_COMPRESSED: &[u8] =
    b"\x30\x39\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\
      \x03\x22\x00";

/// `SubjectPublicKeyInfo` (RFC 8410) of a point on Curve25519, up to the point.
const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// The public key of the first block `PUBLIC KEY` in a PEM file.
///
/// # Errors
/// There is none, it is malformed, or it is no point on P-256 and none on Curve25519.
pub fn pem(bytes: &[u8]) -> Result<Material, KeyFileError> {
    let text = core::str::from_utf8(bytes).map_err(|_| KeyFileError::NoPem)?;
    let Some((_, rest)) = text.split_once("-----BEGIN PUBLIC KEY-----") else {
        let is_private = text.contains("PRIVATE KEY-----");
        return Err(if is_private { KeyFileError::Private } else { KeyFileError::NoPem });
    };
    let (inside, _) = rest.split_once("-----END PUBLIC KEY-----").ok_or(KeyFileError::NoPem)?;
    let base64: Vec<u8> = inside.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let der = BASE64.decode(&base64).map_err(|_| KeyFileError::NoPem)?;
    let p256 = [P256_UNCOMPRESSED, P256_COMPRESSED];
    if let Some(point) = p256.iter().find_map(|head| der.strip_prefix(*head)) {
        return Ok(Material::P256(point.to_vec()));
    }
    let point = der.strip_prefix(ED25519).and_then(|point| point.try_into().ok());
    point.map(Material::Ed25519).ok_or(KeyFileError::OtherKind)
}

/// The keys of a set that can be used, and how many others there are.
///
/// # Errors
/// The file is no set, or no key of it can be used.
pub fn jwks(bytes: &[u8]) -> Result<(Vec<NamedKey>, usize), KeyFileError> {
    let mut list = None;
    members(bytes, KeyFileError::NoSet, |name, value| {
        if name == *"keys" {
            list = Some(value);
        }
        Ok(())
    })?;
    let Some(Value::List(list)) = list else { return Err(KeyFileError::NoSet) };
    let mut tokens = Tokens::new(list);
    let (mut keys, mut skipped) = (Vec::new(), 0);
    while let Some(value) = Value::next(&mut tokens) {
        let Value::Object(inside) = value else { return Err(KeyFileError::NoSet) };
        match jwk(inside)? {
            Some(key) => keys.push(key),
            None => skipped += 1,
        }
    }
    if keys.is_empty() { Err(KeyFileError::NoneUsable) } else { Ok((keys, skipped)) }
}

/// What a JWK says that matters here.
#[derive(Clone, Copy, Default)]
struct Jwk<'b> {
    kty: Option<Text<'b>>,
    crv: Option<Text<'b>>,
    alg: Option<Text<'b>>,
    usage: Option<Text<'b>>,
    kid: Option<Text<'b>>,
    x: Option<Text<'b>>,
    y: Option<Text<'b>>,
    k: Option<Text<'b>>,
    is_private: bool,
}

/// The key of a set between whose braces `inside` stands; `None` if it is of another kind, or not
/// for checking signatures.
fn jwk(inside: &str) -> Result<Option<NamedKey>, KeyFileError> {
    let mut jwk = Jwk::default();
    members_inside(inside, KeyFileError::NoSet, |name, value| {
        let known = [
            ("kty", &mut jwk.kty),
            ("crv", &mut jwk.crv),
            ("alg", &mut jwk.alg),
            ("use", &mut jwk.usage),
            ("kid", &mut jwk.kid),
            ("x", &mut jwk.x),
            ("y", &mut jwk.y),
            ("k", &mut jwk.k),
        ];
        if let Some((_, place)) = known.into_iter().find(|(known, _)| name == **known) {
            *place = Some(value.text().ok_or(KeyFileError::NoSet)?);
        }
        jwk.is_private |= name == *"d";
        Ok(())
    })?;
    let is = |text: Option<Text<'_>>, word: &str| text.is_some_and(|text| text == *word);
    let may_be = |text: Option<Text<'_>>, words: &[&str]| {
        text.is_none_or(|text| words.iter().any(|word| text == **word))
    };
    if jwk.is_private || !may_be(jwk.usage, &["sig"]) {
        return Ok(None);
    }
    let material = if is(jwk.kty, "EC") && is(jwk.crv, "P-256") && may_be(jwk.alg, &["ES256"]) {
        let (x, y) = (point(jwk.x), point(jwk.y));
        x.zip(y).map(|(x, y)| Material::P256([&[4][..], &x, &y].concat()))
    } else if is(jwk.kty, "OKP") && is(jwk.crv, "Ed25519") && may_be(jwk.alg, &["EdDSA", "Ed25519"])
    {
        point(jwk.x).map(Material::Ed25519)
    } else if is(jwk.kty, "oct") && may_be(jwk.alg, &["HS256"]) {
        let secret = jwk.k.and_then(decoded).filter(|secret| secret.len() >= SECRET_BYTES_MIN);
        secret.map(Material::Secret)
    } else {
        None
    };
    let id = jwk.kid.map(|text| text.chars().collect::<String>().into_boxed_str());
    Ok(material.map(|material| NamedKey { id, material }))
}

/// The bytes that a member of a JWK stands for.
fn decoded(text: Text<'_>) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.plain()?.as_bytes()).ok()
}

/// A coordinate of a point, of 32 bytes.
fn point(text: Option<Text<'_>>) -> Option<[u8; 32]> {
    decoded(text?)?.try_into().ok()
}
