//! JSON (RFC 8259) as text: checked by serde_json, then walked token by token.
//!
//! Deals with: validity and depth, the strings' meaning, placeholders of attachments. Leaves to
//! others: what an array means. Nothing recurses, nothing is built; beside serde_json's one byte
//! per level of nesting beyond the first, nothing is allocated.
//!
//! The surprise: serde_json's typed reading is not used, because it refuses what JavaScript
//! accepts: half a surrogate pair in a string, numbers too large for a double. Its check of raw
//! values follows the grammar alone.

use std::fmt;
use std::iter::FusedIterator;
use std::str::Chars;

use serde_json::value::RawValue;

use super::{DEPTH_MAX, Error};

/// `text` without the white space around it, if it is one JSON value and nothing else.
///
/// # Errors
///
/// [`Error::Depth`], which is found first; [`Error::Payload`].
pub(super) fn value(text: &str) -> Result<&str, Error> {
    // Before serde_json, so that its list of open brackets stays short.
    let mut depth = 0_usize;
    for token in Tokens::new(text) {
        match token {
            Token::Array | Token::Object => depth += 1,
            Token::End => depth = depth.saturating_sub(1),
            Token::Key(_) | Token::Text(_) | Token::Scalar(_) => {}
        }
        if depth > DEPTH_MAX {
            return Err(Error::Depth);
        }
    }
    let value: &RawValue = serde_json::from_str(text).map_err(|_| Error::Payload)?;
    Ok(value.get())
}

/// Whether each placeholder in `value` stands for one of so many attachments. Several may stand for
/// the same one, and an attachment may have none, as in the reference.
///
/// `value` has passed [`value`].
pub(super) fn placeholders_valid(value: &str, attachments: usize) -> bool {
    let mut open = [Object::default(); DEPTH_MAX];
    let mut depth = 0;
    for token in Tokens::new(value) {
        if token == Token::End {
            depth -= 1;
            if open[depth].placeholder().is_some_and(|number| number >= attachments) {
                return false;
            }
            continue;
        }
        if let Some(object) = open[..depth].last_mut() {
            object.add(token);
        }
        if matches!(token, Token::Array | Token::Object) {
            open[depth] = Object::default();
            depth += 1;
        }
    }
    true
}

/// What has been seen of an object (or array, which never becomes a placeholder): whether it is
/// `{"_placeholder":true,"num":N}`. Of a member that comes twice the last one holds.
#[derive(Clone, Copy, Default)]
pub(super) struct Object {
    member: Member,
    marked: bool,
    number: Option<usize>,
}

/// Whose value comes next.
#[derive(Clone, Copy, Default)]
enum Member {
    Marker,
    Number,
    #[default]
    Other,
}

impl Object {
    /// Takes note of a token directly inside this object. The tokens inside of its members are not
    /// to be shown to it, only how those begin.
    pub(super) fn add(&mut self, token: Token<'_>) {
        let scalar = match token {
            Token::Key(key) => {
                self.member = if key == *"_placeholder" {
                    Member::Marker
                } else if key == *"num" {
                    Member::Number
                } else {
                    Member::Other
                };
                return;
            }
            Token::Scalar(scalar) => Some(scalar),
            Token::Text(_) | Token::Array | Token::Object | Token::End => None,
        };
        match self.member {
            Member::Marker => self.marked = scalar == Some("true"),
            Member::Number => self.number = scalar.and_then(|digits| digits.parse().ok()),
            // Members that do not matter, and the items of an array.
            Member::Other => {}
        }
    }

    /// The attachment that it stands for. A placeholder for nothing stands for number `usize::MAX`,
    /// which none has.
    pub(super) fn placeholder(&self) -> Option<usize> {
        self.marked.then(|| self.number.unwrap_or(usize::MAX))
    }
}

/// One step through a JSON text. Commas and colons are left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token<'b> {
    /// `[`
    Array,
    /// `{`
    Object,
    /// `]` or `}`
    End,
    /// The name of an object's member.
    Key(Text<'b>),
    /// A string that is a value.
    Text(Text<'b>),
    /// A number, `true`, `false` or `null`.
    Scalar(&'b str),
}

/// Steps through a JSON text in one pass. Over anything else it yields something, and ends.
pub(super) struct Tokens<'b> {
    rest: &'b str,
}

impl<'b> Tokens<'b> {
    pub(super) const fn new(text: &'b str) -> Tokens<'b> {
        Tokens { rest: text }
    }

    fn take(&mut self, bytes: usize) -> &'b str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    /// The string behind an opening quote, up to its closing one or the end of everything.
    fn string(&mut self) -> Text<'b> {
        let bytes = self.rest.as_bytes();
        let mut end = 0;
        while end < bytes.len() && bytes[end] != b'"' {
            // The byte behind a backslash ends nothing, be it a quote. Where the text is no JSON it
            // may begin a code point, whose other bytes are no quotes.
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let raw = self.take(end.min(bytes.len()));
        if !self.rest.is_empty() {
            self.take(1);
        }
        Text(raw)
    }
}

impl<'b> Iterator for Tokens<'b> {
    type Item = Token<'b>;

    fn next(&mut self) -> Option<Token<'b>> {
        self.rest = self.rest.trim_start_matches(is_between);
        let token = match self.rest.as_bytes().first()? {
            b'[' => Token::Array,
            b'{' => Token::Object,
            b']' | b'}' => Token::End,
            b'"' => {
                self.take(1);
                let text = self.string();
                let behind = self.rest.trim_start_matches(is_space);
                return Some(if behind.starts_with(':') {
                    Token::Key(text)
                } else {
                    Token::Text(text)
                });
            }
            _ => {
                let is_end = |point| is_between(point) || matches!(point, '[' | ']' | '{' | '}');
                let end = self.rest.find(|point| is_end(point) || point == '"');
                return Some(Token::Scalar(self.take(end.unwrap_or(self.rest.len()))));
            }
        };
        self.take(1);
        Some(token)
    }
}

const fn is_space(point: char) -> bool {
    matches!(point, ' ' | '\t' | '\n' | '\r')
}

const fn is_between(point: char) -> bool {
    is_space(point) || matches!(point, ',' | ':')
}

/// A JSON string, as it stands between its quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<'b>(&'b str);

impl<'b> Text<'b> {
    /// The string itself, if it has no escapes.
    pub fn plain(self) -> Option<&'b str> {
        (!self.0.as_bytes().contains(&b'\\')).then_some(self.0)
    }

    /// The most bytes that the string has as UTF-8: those of its JSON.
    pub const fn bytes_max(self) -> usize {
        self.0.len()
    }

    /// Its characters. Half a surrogate pair, which UTF-8 cannot say, becomes U+FFFD, as it does
    /// when a browser sends it as text.
    pub fn chars(self) -> impl Iterator<Item = char> + use<'b> {
        let units = Units { rest: self.0.chars(), second: None };
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Appends the string as UTF-8. With [`Text::bytes_max`] of capacity to spare it does not
    /// allocate.
    pub fn append_to(self, out: &mut Vec<u8>) {
        match self.plain() {
            Some(plain) => out.extend_from_slice(plain.as_bytes()),
            None => self.chars().for_each(|point| {
                out.extend_from_slice(point.encode_utf8(&mut [0; 4]).as_bytes());
            }),
        }
    }
}

/// Whether the string, escapes undone, is `other`.
impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        match self.plain() {
            Some(plain) => plain == other,
            None => self.chars().eq(other.chars()),
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// The UTF-16 code units of a string, which is what its escapes are made of.
struct Units<'b> {
    rest: Chars<'b>,
    /// The other half of the last character.
    second: Option<u16>,
}

impl Iterator for Units<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if let Some(second) = self.second.take() {
            return Some(second);
        }
        let point = match self.rest.next()? {
            '\\' => match self.rest.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let digits = self.rest.by_ref().take(4);
                    // Four digits, since the string is valid; in any other, what can be made of it.
                    let digits = digits.filter_map(|digit| digit.to_digit(16));
                    return Some(digits.fold(0, |unit, digit| unit << 4 | digit as u16));
                }
                quoted => quoted,
            },
            plain => plain,
        };
        let mut units = [0; 2];
        if let [_, second] = point.encode_utf16(&mut units) {
            self.second = Some(*second);
        }
        Some(units[0])
    }
}

impl FusedIterator for Units<'_> {}
