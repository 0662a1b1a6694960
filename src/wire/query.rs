//! The query of a request target (RFC 3986 section 3.4), as forms and `URLSearchParams` write it:
//! pairs of name and value, with `&` between them.
//!
//! Deals with: what a pair is, and what the `%XX` and `+` in it stand for. Leaves to others: which
//! names there are ([`super::engine`], [`super::resume`]), and which of two pairs of one name
//! counts.
//!
//! The surprise: nothing in a query is malformed. A `%` without two hexadecimal digits stands for
//! itself, and a pair without `=` has an empty value.

use super::split::{split, split_once};

/// The pairs of a query, still encoded; between two `&` stands an empty one.
pub(super) fn pairs(query: Option<&str>) -> impl Iterator<Item = &[u8]> {
    split(query.unwrap_or_default().as_bytes(), b'&')
}

/// Splits a pair into its name and its value, both still encoded.
pub(super) fn name_and_value(pair: &[u8]) -> (&[u8], &[u8]) {
    let (name, value) = split_once(pair, b'=');
    (name, value.unwrap_or_default())
}

/// Whether a name or value of a query stands for `word`.
pub(super) fn means(encoded: &[u8], word: &str) -> bool {
    decoded(encoded).eq(word.bytes())
}

/// Writes what a name or value of a query stands for into `out`; `None` if there is no room for it.
/// Bytes beyond that are not looked at.
pub(super) fn decoded_into<'o>(encoded: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    let mut length = 0;
    for byte in decoded(encoded) {
        *out.get_mut(length)? = byte;
        length += 1;
    }
    Some(&out[..length])
}

/// The bytes that a name or value of a query stands for.
pub(super) fn decoded(encoded: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (first, behind) = rest.split_first()?;
        if *first == b'%'
            && let [high, low, behind @ ..] = behind
            && let Some(high) = char::from(*high).to_digit(16)
            && let Some(low) = char::from(*low).to_digit(16)
        {
            rest = behind;
            return Some((high << 4 | low) as u8);
        }
        rest = behind;
        Some(if *first == b'+' { b' ' } else { *first })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_split_at_its_first_equals_sign() {
        for (pair, name, value) in [
            ("", "", ""),
            ("a", "a", ""),
            ("a=", "a", ""),
            ("=b", "", "b"),
            ("a=b=c", "a", "b=c"),
            ("a%3Db=c", "a%3Db", "c"),
        ] {
            assert_eq!(name_and_value(pair.as_bytes()), (name.as_bytes(), value.as_bytes()));
        }
    }

    #[test]
    fn an_escape_has_two_digits_or_is_none() {
        for (encoded, plain) in [
            ("", ""),
            ("a%62C", "abC"),
            ("%3a%3A", "::"),
            ("a+b", "a b"),
            ("%2b", "+"),
            ("%", "%"),
            ("%4", "%4"),
            ("%4g", "%4g"),
            ("%%41", "%A"),
            ("%2541", "%41"),
            ("%+1", "% 1"),
        ] {
            assert!(means(encoded.as_bytes(), plain), "{encoded}");
            let mut out = [0; 3];
            assert_eq!(decoded_into(encoded.as_bytes(), &mut out), Some(plain.as_bytes()));
        }
        assert_eq!(decoded_into(b"abcd", &mut [0; 3]), None);
    }
}
