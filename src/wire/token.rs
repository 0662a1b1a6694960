//! JSON Web Tokens (RFC 7519) in the compact form of RFC 7515, section 7.1: who somebody is, until
//! when, and in which channels they may listen and speak.
//!
//! ```text
//!   eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE4MDAwMDAwMDAsImpvaW4iOlsibmV3cyJdfQ.c2lnbmF0dXJl…
//!   header: alg, kid     claims: exp, nbf, sub, aud, iss, join, say       signature
//! ```
//!
//! Deals with: where in a request a token may stand, its parts, its header and its claims, what
//! `join` and `say` cover. Leaves to others: keys and signatures, who may do what without a token.
//!
//! The surprise: everything that can be refused without a key is refused here, before a signature
//! is looked at, since that is what costs. So what a [`Token`] says is not to be believed until its
//! signature was checked.

use core::fmt;

use data_encoding::BASE64URL_NOPAD;

use super::json::{Text, Token as Piece, Tokens, Value, members};
use super::query::{decoded_into, name_and_value, pairs};
use super::split::split;

/// The most bytes of a token.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// The most bytes of the subject (`sub`) of a token, escapes undone.
pub const SUBJECT_BYTES_MAX: usize = 128;

/// The most bytes that the rights of a token take where they are kept ([`Rights::write`]), with
/// what is kept beside them.
pub const RIGHTS_BYTES_MAX: usize = 512;

/// The most bytes that the parts of a token stand for.
const DECODED_BYTES_MAX: usize = TOKEN_BYTES_MAX / 4 * 3;

/// The clocks of whoever makes tokens may be ahead of ours by so many seconds, where `nbf` says
/// when a token begins to hold.
const NOT_BEFORE_LEEWAY_S: u64 = 60;

/// How a signature is made (RFC 7518, section 3; RFC 8037).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// HMAC with SHA-256: whoever can check a token can make one.
    Hs256,
    /// ECDSA on the curve P-256 with SHA-256.
    Es256,
    /// EdDSA on Curve25519.
    Ed25519,
}

impl Algorithm {
    /// The algorithm that a header names; `None` for any other, and for `none`.
    fn named(name: Text<'_>) -> Option<Algorithm> {
        match name.plain()? {
            "HS256" => Some(Algorithm::Hs256),
            "ES256" => Some(Algorithm::Es256),
            // RFC 9864 gives Ed25519 a name of its own.
            "EdDSA" | "Ed25519" => Some(Algorithm::Ed25519),
            _ => None,
        }
    }

    /// How many bytes a signature has.
    pub const fn signature_bytes(self) -> usize {
        match self {
            Algorithm::Hs256 => 32,
            Algorithm::Es256 | Algorithm::Ed25519 => 64,
        }
    }

    /// Whether tokens are checked with a public key, which costs a hundred times as much.
    pub const fn is_public(self) -> bool {
        match self {
            Algorithm::Hs256 => false,
            Algorithm::Es256 | Algorithm::Ed25519 => true,
        }
    }
}

/// Why somebody is not let in by a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Fault {
    /// A token is needed, and there is none.
    Missing,
    /// The token is good, and does not let its bearer into the channel.
    Channel,
    /// The request brings more than one token.
    Several,
    /// The token has more than [`TOKEN_BYTES_MAX`] bytes.
    TooLong,
    /// The token is not three parts of base64url, or no text at all.
    Malformed,
    /// The header is no JSON object, names a member twice, or has one of the wrong type.
    Header,
    /// The header asks for an extension to be understood (`crit`), and there is none.
    Critical,
    /// No signature is made by the algorithm of the header, or not by one of ours.
    Algorithm,
    /// The claims are no JSON object, name a member twice, or have one of the wrong type.
    Claims,
    /// The claims do not say when the token expires.
    NoExpiry,
    /// The token has expired.
    Expired,
    /// The token does not hold yet.
    NotYet,
    /// The token is for somebody else, or for nobody.
    Audience,
    /// The token is from somebody else, or from nobody.
    Issuer,
    /// The subject has more than [`SUBJECT_BYTES_MAX`] bytes.
    Subject,
    /// The rights take more than [`RIGHTS_BYTES_MAX`] bytes, and have to be kept.
    Rights,
    /// No key has the token's name for it, or is for its algorithm.
    UnknownKey,
    /// No key has made the signature.
    Signature,
}

impl Fault {
    /// All variants, in the order of their numbers.
    pub const ALL: [Fault; 18] = [
        Fault::Missing,
        Fault::Channel,
        Fault::Several,
        Fault::TooLong,
        Fault::Malformed,
        Fault::Header,
        Fault::Critical,
        Fault::Algorithm,
        Fault::Claims,
        Fault::NoExpiry,
        Fault::Expired,
        Fault::NotYet,
        Fault::Audience,
        Fault::Issuer,
        Fault::Subject,
        Fault::Rights,
        Fault::UnknownKey,
        Fault::Signature,
    ];

    /// The words for the log and for counters, in which nothing of the token is repeated.
    pub const fn text(self) -> &'static str {
        match self {
            Fault::Missing => "no token",
            Fault::Channel => "another channel",
            Fault::Several => "several tokens",
            Fault::TooLong => "too long",
            Fault::Malformed => "malformed",
            Fault::Header => "malformed header",
            Fault::Critical => "critical extension",
            Fault::Algorithm => "wrong algorithm",
            Fault::Claims => "malformed claims",
            Fault::NoExpiry => "no expiry",
            Fault::Expired => "expired",
            Fault::NotYet => "not yet valid",
            Fault::Audience => "wrong audience",
            Fault::Issuer => "wrong issuer",
            Fault::Subject => "subject too long",
            Fault::Rights => "too many rights",
            Fault::UnknownKey => "unknown key",
            Fault::Signature => "wrong signature",
        }
    }
}

impl Fault {
    /// The text as the label of a metric, with `_` for spaces.
    pub fn label_bytes(self) -> impl Iterator<Item = u8> {
        self.text().bytes().map(|byte| if byte == b' ' { b'_' } else { byte })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Fault {}

/// A token as a request brings it, before anything of it was looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Presented<'r> {
    text: &'r [u8],
    /// Whether the text is percent-encoded.
    is_encoded: bool,
}

impl fmt::Debug for Presented<'_> {
    /// Says nothing of the token, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presented(…)")
    }
}

impl<'r> Presented<'r> {
    /// A token that stands in no request, but in a message. One that is empty is none.
    pub fn plain(text: &'r [u8]) -> Option<Presented<'r>> {
        (!text.is_empty()).then_some(Presented { text, is_encoded: false })
    }

    /// Looks for a token in the values of `Authorization` (`Bearer TOKEN`), in those of
    /// `Sec-WebSocket-Protocol` (an element `token.TOKEN`), and in a query (`token=TOKEN`, where
    /// names and values may be percent-encoded). A token that is empty is none, and so is what
    /// `Authorization` says by another scheme.
    ///
    /// # Errors
    /// [`Fault::Several`] if there is more than one token, be they equal.
    pub fn find(
        authorization: impl Iterator<Item = &'r [u8]>,
        protocols: impl Iterator<Item = &'r [u8]>,
        query: Option<&'r str>,
    ) -> Result<Option<Presented<'r>>, Fault> {
        let bearers = authorization.filter_map(bearer);
        let elements = protocols.flat_map(|field| field.split(|byte| *byte == b','));
        let offered = elements.filter_map(|text| text.trim_ascii().strip_prefix(PROTOCOL));
        let plain = bearers.chain(offered).filter_map(Presented::plain);
        let mut all = plain.chain(pairs(query).filter_map(in_pair));
        match (all.next(), all.next()) {
            (found, None) => Ok(found),
            (_, Some(_)) => Err(Fault::Several),
        }
    }
}

/// How the subprotocol begins that is a token.
const PROTOCOL: &[u8] = b"token.";

/// The token of an `Authorization` field, if its scheme is `Bearer` (RFC 6750, section 2.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
}

/// The token that a pair of a query is.
fn in_pair(pair: &[u8]) -> Option<Presented<'_>> {
    // A query may be a thousand pairs of nothing, so a pair that cannot have the name is passed
    // over by its first byte.
    let Some(b't' | b'%') = pair.first() else { return None };
    let (name, text) = name_and_value(pair);
    let is_token = decoded_into(name, &mut [0; b"token".len()]) == Some(b"token");
    // No client that writes queries by a library encodes anything in a token.
    let is_encoded = text.iter().fold(false, |any, byte| any | matches!(byte, b'%' | b'+'));
    (is_token && !text.is_empty()).then_some(Presented { text, is_encoded })
}

/// Where a token is taken apart, so that nothing of it needs the heap.
pub struct Scratch {
    /// The token as it is signed, if it came percent-encoded. Clearing so many bytes for every
    /// token would cost more than reading one.
    text: Option<[u8; TOKEN_BYTES_MAX]>,
    /// The parts, one behind the other.
    decoded: [u8; DECODED_BYTES_MAX],
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch { text: None, decoded: [0; DECODED_BYTES_MAX] }
    }
}

/// A token whose form is right. Nothing in it is to be believed before its signature was checked.
#[derive(Clone, Copy)]
pub struct Token<'s> {
    /// How the signature is made, as the header says.
    pub algorithm: Algorithm,
    /// The name of the key, by `kid`.
    pub key_id: Option<Text<'s>>,
    /// What is signed: the first two parts, with the dot between them.
    pub signed: &'s [u8],
    /// The signature, of as many bytes as the algorithm makes.
    pub signature: &'s [u8],
    /// What the token says.
    pub claims: Claims<'s>,
}

impl<'s> Token<'s> {
    /// Takes a token apart, in one pass and without the heap.
    ///
    /// # Errors
    /// The first fault that is found; never one that depends on time, settings or keys.
    pub fn parse(presented: Presented<'s>, scratch: &'s mut Scratch) -> Result<Token<'s>, Fault> {
        let Scratch { text, decoded } = scratch;
        let token = match presented.is_encoded {
            true => {
                let room = text.insert([0; TOKEN_BYTES_MAX]);
                decoded_into(presented.text, room).ok_or(Fault::TooLong)?
            }
            false => presented.text,
        };
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        let mut parts = split(token, b'.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Fault::Malformed);
        };
        let signed = &token[..header.len() + 1 + claims.len()];
        let (header, rest) = decode(header, decoded)?;
        let (claims, rest) = decode(claims, rest)?;
        let (signature, _) = decode(signature, rest)?;
        let Header { algorithm, key_id } = Header::parse(header)?;
        if signature.len() != algorithm.signature_bytes() {
            return Err(Fault::Signature);
        }
        let claims = Claims::parse(claims)?;
        Ok(Token { algorithm, key_id, signed, signature, claims })
    }
}

/// Decodes a part into the beginning of `room`. Returns what it stands for, and the rest of the
/// room.
fn decode<'s>(part: &[u8], room: &'s mut [u8]) -> Result<(&'s [u8], &'s mut [u8]), Fault> {
    let length = BASE64URL_NOPAD.decode_len(part.len()).map_err(|_| Fault::Malformed)?;
    let (decoded, rest) = room.split_at_mut_checked(length).ok_or(Fault::TooLong)?;
    BASE64URL_NOPAD.decode_mut(part, decoded).map_err(|_| Fault::Malformed)?;
    Ok((decoded, rest))
}

/// What a header says that matters here.
struct Header<'s> {
    algorithm: Algorithm,
    key_id: Option<Text<'s>>,
}

impl<'s> Header<'s> {
    fn parse(bytes: &'s [u8]) -> Result<Header<'s>, Fault> {
        let (mut name, mut key_id) = (None, None);
        members(bytes, Fault::Header, |member, value| {
            if member == *"alg" {
                name = Some(value.text().ok_or(Fault::Header)?);
            } else if member == *"kid" {
                key_id = Some(value.text().ok_or(Fault::Header)?);
            } else if member == *"crit" {
                return Err(Fault::Critical);
            }
            Ok(())
        })?;
        let algorithm = Algorithm::named(name.ok_or(Fault::Header)?).ok_or(Fault::Algorithm)?;
        Ok(Header { algorithm, key_id })
    }
}

/// What a token says of its bearer.
#[derive(Clone, Copy)]
pub struct Claims<'s> {
    /// The second since 1970 from which on the token has expired (`exp`), rounded down.
    pub expires_s: u64,
    /// The second since 1970 from which on the token holds (`nbf`), rounded up.
    not_before_s: Option<u64>,
    /// Who the bearer is (`sub`), of at most [`SUBJECT_BYTES_MAX`] bytes.
    pub subject: Option<Text<'s>>,
    /// For whom the token is (`aud`).
    audience: Option<Value<'s>>,
    /// From whom the token is (`iss`).
    issuer: Option<Text<'s>>,
    /// Where the bearer may listen and speak.
    pub rights: Rights<'s>,
}

impl<'s> Claims<'s> {
    fn parse(bytes: &'s [u8]) -> Result<Claims<'s>, Fault> {
        let (mut expires_s, mut not_before_s) = (None, None);
        let (mut subject, mut audience, mut issuer) = (None, None, None);
        let (mut join, mut say) = (None, None);
        members(bytes, Fault::Claims, |member, value| {
            let text = |value: Value<'s>| value.text().ok_or(Fault::Claims);
            if member == *"exp" {
                expires_s = Some(seconds(value).ok_or(Fault::Claims)?.floor());
            } else if member == *"nbf" {
                not_before_s = Some(seconds(value).ok_or(Fault::Claims)?.ceil());
            } else if member == *"sub" {
                subject = Some(text(value)?);
            } else if member == *"aud" {
                let is_text = value.text().is_some() || list_of_texts(value).is_some();
                audience = Some(Some(value).filter(|_| is_text).ok_or(Fault::Claims)?);
            } else if member == *"iss" {
                issuer = Some(text(value)?);
            } else if member == *"join" {
                join = Some(list_of_texts(value).ok_or(Fault::Claims)?);
            } else if member == *"say" {
                say = Some(list_of_texts(value).ok_or(Fault::Claims)?);
            }
            Ok(())
        })?;
        if subject.is_some_and(|subject| bytes_of(subject) > SUBJECT_BYTES_MAX) {
            return Err(Fault::Subject);
        }
        Ok(Claims {
            expires_s: whole_seconds(expires_s.ok_or(Fault::NoExpiry)?),
            not_before_s: not_before_s.map(whole_seconds),
            subject,
            audience,
            issuer,
            rights: Rights { join: join.unwrap_or_default(), say },
        })
    }

    /// Whether the token holds at `now_s` seconds since 1970. It has expired from `exp` on, without
    /// leeway; `nbf` may be up to 60 s ahead.
    ///
    /// # Errors
    /// [`Fault::Expired`] or [`Fault::NotYet`].
    pub fn check_time(&self, now_s: u64) -> Result<(), Fault> {
        if self.expires_s <= now_s {
            return Err(Fault::Expired);
        }
        let latest_s = now_s.saturating_add(NOT_BEFORE_LEEWAY_S);
        match self.not_before_s {
            Some(not_before_s) if not_before_s > latest_s => Err(Fault::NotYet),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the token is for `audience` and from `issuer`, as far as those are given.
    ///
    /// # Errors
    /// [`Fault::Audience`] or [`Fault::Issuer`].
    pub fn check_parties(&self, audience: Option<&str>, issuer: Option<&str>) -> Result<(), Fault> {
        let is_named = |name: &str| match self.audience {
            Some(Value::Text(text)) => text == *name,
            Some(Value::List(list)) => texts_in(list).any(|text| text == *name),
            Some(Value::Scalar(_) | Value::Object(_)) | None => false,
        };
        if !audience.is_none_or(is_named) {
            return Err(Fault::Audience);
        }
        if !issuer.is_none_or(|name| self.issuer.is_some_and(|issuer| issuer == *name)) {
            return Err(Fault::Issuer);
        }
        Ok(())
    }
}

/// Seconds since 1970 as a number that is not larger than what is meant, and not negative.
fn whole_seconds(seconds: f64) -> u64 {
    // The conversion keeps within the bounds of the type, which is what is wanted at both ends.
    seconds as u64
}

/// How many bytes a string has as UTF-8, escapes undone.
fn bytes_of(text: Text<'_>) -> usize {
    text.plain().map_or_else(|| text.chars().map(char::len_utf8).sum(), str::len)
}

/// Where the bearer of a token may listen (`join`) and speak (`say`): lists of names of channels,
/// of which the last character may be a `*` for whatever follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights<'s> {
    /// What stands between the brackets of the list, which holds strings only.
    join: &'s str,
    /// What stands between the brackets of the list; `None` if the bearer may speak where it may
    /// listen.
    say: Option<&'s str>,
}

/// Bytes of what is kept in front of the lists: the length of the first, and whether there is a
/// second.
const RIGHTS_HEADER_BYTES: usize = 3;

impl<'s> Rights<'s> {
    /// Whether the bearer may listen in `channel`.
    pub fn may_join(self, channel: &str) -> bool {
        texts_in(self.join).any(|pattern| covers(pattern, channel))
    }

    /// Whether the bearer may speak in `channel`, if it is there.
    pub fn may_say(self, channel: &str) -> bool {
        texts_in(self.say.unwrap_or(self.join)).any(|pattern| covers(pattern, channel))
    }

    /// How many bytes [`Rights::write`] appends.
    pub fn bytes(self) -> usize {
        RIGHTS_HEADER_BYTES + self.join.len() + self.say.map_or(0, str::len)
    }

    /// Appends the rights in a form that is read by [`Rights::read`].
    ///
    /// # Errors
    /// [`Fault::Rights`] if that would be more than [`RIGHTS_BYTES_MAX`] bytes; nothing is written.
    pub fn write(self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let length = u16::try_from(self.join.len()).map_err(|_| Fault::Rights)?;
        if self.bytes() > RIGHTS_BYTES_MAX {
            return Err(Fault::Rights);
        }
        out.extend_from_slice(&length.to_le_bytes());
        out.push(u8::from(self.say.is_some()));
        out.extend_from_slice(self.join.as_bytes());
        out.extend_from_slice(self.say.unwrap_or_default().as_bytes());
        Ok(())
    }

    /// Reads what [`Rights::write`] has written; `None` for anything else.
    pub fn read(bytes: &'s [u8]) -> Option<Rights<'s>> {
        let ([low, high, has_say], lists) = bytes.split_first_chunk::<RIGHTS_HEADER_BYTES>()?;
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let (join, say) = core::str::from_utf8(lists).ok()?.split_at_checked(length)?;
        Some(Rights { join, say: (*has_say == 1).then_some(say) })
    }
}

/// Whether a name of a list means `channel`.
fn covers(pattern: Text<'_>, channel: &str) -> bool {
    let pattern = pattern.unescaped();
    match pattern.strip_suffix('*') {
        Some(prefix) => channel.starts_with(prefix),
        None => channel == pattern,
    }
}

/// The token that the payload of a CONNECT of Socket.IO brings, by the member `token` of its object
/// (what clients call `auth`). `None` if there is none: it is missing, `null`, or empty.
///
/// # Errors
/// [`Fault::Malformed`] if the token is something else than a string without escapes, and
/// [`Fault::Several`] if the member is there twice.
pub fn in_auth(payload: Option<&str>) -> Result<Option<Presented<'_>>, Fault> {
    let Some(payload) = payload else { return Ok(None) };
    let mut tokens = Tokens::new(payload);
    if tokens.next() != Some(Piece::Object) {
        return Ok(None);
    }
    let mut found = None;
    while let Some(Piece::Key(name)) = tokens.next() {
        let value = Value::next(&mut tokens).ok_or(Fault::Malformed)?;
        if name != *"token" {
            continue;
        }
        let text = match value {
            Value::Scalar("null") => Some(""),
            Value::Text(text) => text.plain(),
            Value::Scalar(_) | Value::List(_) | Value::Object(_) => None,
        };
        if found.replace(text.ok_or(Fault::Malformed)?).is_some() {
            return Err(Fault::Several);
        }
    }
    Ok(found.and_then(|text| Presented::plain(text.as_bytes())))
}

/// What stands between the brackets of a value, if that is an array with nothing but strings in it.
fn list_of_texts(value: Value<'_>) -> Option<&str> {
    match value {
        Value::List(list) => {
            let all = Tokens::new(list).all(|piece| matches!(piece, Piece::Text(_)));
            all.then_some(list)
        }
        Value::Text(_) | Value::Scalar(_) | Value::Object(_) => None,
    }
}

/// Seconds since 1970, perhaps with a fraction (RFC 7519, section 2, `NumericDate`). `None` if the
/// value is no number, or one that is too large for any date.
fn seconds(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Scalar(digits) => digits.parse::<f64>().ok().filter(|number| number.is_finite()),
        Value::Text(_) | Value::List(_) | Value::Object(_) => None,
    }
}

/// The strings of a list, given by what stands between its brackets.
fn texts_in(list: &str) -> impl Iterator<Item = Text<'_>> {
    Tokens::new(list).filter_map(|piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::Array | Piece::Object | Piece::End | Piece::Key(_) | Piece::Scalar(_) => None,
    })
}
