//! JSON (RFC 8259) as text: checked against the grammar, then walked token by token.
//!
//! Deals with: validity and depth, what strings say, placeholders of attachments. Leaves to others:
//! what an array means. Nothing recurses, nothing is built, nothing is allocated.
//!
//! The surprise: the check is our own. serde_json's typed reading refuses what JavaScript accepts
//! (half a surrogate pair in a string, numbers too large for a double), and its check of raw values
//! allocates for every array or object inside of another, which is in most events. A test compares
//! our verdicts with that check all the same.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::iter::FusedIterator;
use std::str::Chars;

use crate::work;

/// How many arrays and objects may be open within each other. The reference of Socket.IO has no
/// bound. Ours keeps what is known about open objects on the stack, and spares clients whose parser
/// is recursive.
pub const DEPTH_MAX: usize = 128;

/// Why a text is not taken for JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Error {
    /// The text breaks the grammar, or there is more than one value.
    Grammar,
    /// Arrays and objects are nested deeper than [`DEPTH_MAX`].
    Depth,
}

/// `text` without the white space around it, if it is one JSON value and nothing else. One pass.
///
/// # Errors
///
/// [`Error::Depth`] or [`Error::Grammar`], whichever is found first.
pub(super) fn value(text: &str) -> Result<&str, Error> {
    let text = text.trim_matches(SPACES);
    let mut check = Check { rest: text.as_bytes(), objects: 0, depth: 0 };
    check.value()?;
    if check.rest.is_empty() { Ok(text) } else { Err(Error::Grammar) }
}

/// A check of the grammar, with everything that it knows of the text so far.
struct Check<'b> {
    rest: &'b [u8],
    /// One bit for each open array or object, that of the innermost the lowest: 1 is an object.
    objects: u128,
    depth: usize,
}

const _: () = assert!(DEPTH_MAX <= u128::BITS as usize, "a bit for each level");

impl Check<'_> {
    /// Checks one value and everything in it.
    fn value(&mut self) -> Result<(), Error> {
        loop {
            self.space();
            let is_over = match self.byte()? {
                b'[' => self.open(false)?,
                b'{' => self.open(true)?,
                b'"' => self.string().map(|()| true)?,
                b't' => self.word(b"rue").map(|()| true)?,
                b'f' => self.word(b"alse").map(|()| true)?,
                b'n' => self.word(b"ull").map(|()| true)?,
                b'-' => {
                    let first = self.byte()?;
                    self.number(first).map(|()| true)?
                }
                first => self.number(first).map(|()| true)?,
            };
            if is_over && self.go_on_behind_value()? {
                return Ok(());
            }
        }
    }

    /// Begins an array or object; in an object the first key is read. Returns whether it is over at
    /// once.
    fn open(&mut self, object: bool) -> Result<bool, Error> {
        if self.depth == DEPTH_MAX {
            return Err(Error::Depth);
        }
        self.space();
        if self.take(if object { b'}' } else { b']' }) {
            return Ok(true);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(object);
        if object {
            self.key()?;
        }
        Ok(false)
    }

    /// Goes on behind a value: closes what the value was the last of, or goes to the next one.
    /// Returns whether that was the end of the whole.
    fn go_on_behind_value(&mut self) -> Result<bool, Error> {
        while self.depth > 0 {
            let object = self.objects & 1 == 1;
            self.space();
            match self.byte()? {
                b',' if object => return self.key().map(|()| false),
                b',' => return Ok(false),
                b'}' if object => {}
                b']' if !object => {}
                _ => return Err(Error::Grammar),
            }
            self.depth -= 1;
            self.objects >>= 1;
        }
        Ok(true)
    }

    /// Checks the name of a member, and the colon behind it.
    fn key(&mut self) -> Result<(), Error> {
        self.space();
        self.expect(b'"')?;
        self.string()?;
        self.space();
        self.expect(b':')
    }

    /// Checks a string, whose opening quote has been read.
    fn string(&mut self) -> Result<(), Error> {
        loop {
            match self.byte()? {
                b'"' => return Ok(()),
                b'\\' => match self.byte()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        for _ in 0..4 {
                            if !self.byte()?.is_ascii_hexdigit() {
                                return Err(Error::Grammar);
                            }
                        }
                    }
                    _ => return Err(Error::Grammar),
                },
                0..=0x1f => return Err(Error::Grammar),
                _ => {}
            }
        }
    }

    /// Checks a number, whose sign and `first` digit have been read.
    fn number(&mut self, first: u8) -> Result<(), Error> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return Err(Error::Grammar),
        }
        if self.take(b'.') {
            self.digit()?;
            self.digits();
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digit()?;
            self.digits();
        }
        Ok(())
    }

    fn digit(&mut self) -> Result<(), Error> {
        if self.byte()?.is_ascii_digit() { Ok(()) } else { Err(Error::Grammar) }
    }

    fn digits(&mut self) {
        while let [b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn word(&mut self, rest_of_it: &[u8]) -> Result<(), Error> {
        self.rest = self.rest.strip_prefix(rest_of_it).ok_or(Error::Grammar)?;
        Ok(())
    }

    fn space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if self.take(byte) { Ok(()) } else { Err(Error::Grammar) }
    }

    /// Goes behind the next byte if that is `byte`. Returns whether it was.
    fn take(&mut self, byte: u8) -> bool {
        let rest = self.rest.strip_prefix(&[byte]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let (first, rest) = self.rest.split_first().ok_or(Error::Grammar)?;
        self.rest = rest;
        Ok(*first)
    }
}

/// Whether each placeholder in `value` stands for one of so many attachments. Several placeholders
/// may stand for one attachment, and an attachment may have none, as in the reference.
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

/// What has been seen of an object, to tell whether it is `{"_placeholder":true,"num":N}`. If a
/// member comes twice, the last one holds. An array is noted as well, and is never a placeholder.
#[derive(Clone, Copy, Default)]
pub(super) struct Object {
    member: Member,
    marked: bool,
    number: Option<usize>,
}

/// The member of an object whose value comes next.
#[derive(Clone, Copy, Default)]
enum Member {
    Marker,
    Number,
    #[default]
    Other,
}

impl Object {
    /// Notes a token that stands directly inside this object. Of what is inside of the object's
    /// members only the beginning is to be shown to it.
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
            // Other members do not matter, nor do the items of an array.
            Member::Other => {}
        }
    }

    /// The number of the attachment that the object stands for; `None` if it is no placeholder. A
    /// placeholder for nothing has the number `usize::MAX`, which no attachment has.
    pub(super) fn placeholder(&self) -> Option<usize> {
        self.marked.then(|| self.number.unwrap_or(usize::MAX))
    }
}

/// One step through a JSON text; commas and colons are left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token<'b> {
    /// `[`
    Array,
    /// `{`
    Object,
    /// The end of an array or object: `]` or `}`
    End,
    /// The name of an object's member.
    Key(Text<'b>),
    /// A string that is a value.
    Text(Text<'b>),
    /// A number, `true`, `false` or `null`.
    Scalar(&'b str),
}

/// Steps through a JSON text in one pass. In any other text it finds tokens of some kind, and ends.
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
        work::looked_at(bytes);
        taken
    }

    /// Reads a string, whose opening quote has been read, up to its closing one or the end of the
    /// text.
    fn string(&mut self) -> Text<'b> {
        let bytes = self.rest.as_bytes();
        let mut end = 0;
        while end < bytes.len() && bytes[end] != b'"' {
            // The byte behind a backslash ends nothing, even if it is a quote. Where the text is no
            // JSON, that byte may begin a code point, whose other bytes are no quotes.
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
        self.rest = &self.rest[count(self.rest, is_between)..];
        let token = match self.rest.as_bytes().first()? {
            b'[' => Token::Array,
            b'{' => Token::Object,
            b']' | b'}' => Token::End,
            b'"' => {
                self.take(1);
                let text = self.string();
                let behind = self.rest.as_bytes().get(count(self.rest, is_space));
                return Some(if behind == Some(&b':') {
                    Token::Key(text)
                } else {
                    Token::Text(text)
                });
            }
            _ => {
                let is_end = |byte| is_between(byte) || matches!(byte, b'[' | b']' | b'{' | b'}');
                let length = count(self.rest, |byte| !is_end(byte) && byte != b'"');
                return Some(Token::Scalar(self.take(length)));
            }
        };
        self.take(1);
        Some(token)
    }
}

/// The value of a member or of an array, as far as one step leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Value<'b> {
    /// A string.
    Text(Text<'b>),
    /// A number, `true`, `false` or `null`.
    Scalar(&'b str),
    /// What stands between the brackets of an array.
    List(&'b str),
    /// What stands between the braces of an object.
    Object(&'b str),
}

impl<'b> Value<'b> {
    /// Steps over the value that comes next, with whatever is in it; `None` if none comes.
    pub(super) fn next(tokens: &mut Tokens<'b>) -> Option<Value<'b>> {
        let is_list = match tokens.next()? {
            Token::Text(text) => return Some(Value::Text(text)),
            Token::Scalar(scalar) => return Some(Value::Scalar(scalar)),
            Token::Key(_) | Token::End => return None,
            Token::Array => true,
            Token::Object => false,
        };
        let inside = tokens.rest;
        let mut depth = 1_usize;
        while depth > 0 {
            match tokens.next()? {
                Token::Array | Token::Object => depth += 1,
                Token::End => depth -= 1,
                Token::Key(_) | Token::Text(_) | Token::Scalar(_) => {}
            }
        }
        // Without the bracket that was read last.
        let inside = &inside[..inside.len() - tokens.rest.len() - 1];
        Some(if is_list { Value::List(inside) } else { Value::Object(inside) })
    }

    /// The string, if it is one.
    pub(super) fn text(self) -> Option<Text<'b>> {
        match self {
            Value::Text(text) => Some(text),
            Value::Scalar(_) | Value::List(_) | Value::Object(_) => None,
        }
    }
}

/// The most members of an object that is read by [`members`]: finding doubles is quadratic in their
/// number.
pub(super) const MEMBERS_MAX: usize = 64;

/// Hands each member of the JSON object in `bytes` to `take`, in their order.
///
/// # Errors
/// What `take` says; `fault` if `bytes` are no such object, if that names a member twice, escapes
/// undone, or if it has more than [`MEMBERS_MAX`].
pub(super) fn members<'b, E: Copy>(
    bytes: &'b [u8],
    fault: E,
    take: impl FnMut(Text<'b>, Value<'b>) -> Result<(), E>,
) -> Result<(), E> {
    let text = core::str::from_utf8(bytes).map_err(|_| fault)?;
    let value = value(text).map_err(|_| fault)?;
    // Valid JSON that begins with a brace is an object up to its last character.
    let inside = value.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    members_inside(inside.ok_or(fault)?, fault, take)
}

/// Hands each member of an object to `take`, given by what stands between its braces.
///
/// # Errors
/// Those of [`members`].
pub(super) fn members_inside<'b, E: Copy>(
    inside: &'b str,
    fault: E,
    mut take: impl FnMut(Text<'b>, Value<'b>) -> Result<(), E>,
) -> Result<(), E> {
    let mut tokens = Tokens::new(inside);
    let mut names = [None; MEMBERS_MAX];
    let mut count = 0;
    while let Some(Token::Key(name)) = tokens.next() {
        let is_known = names[..count].iter().flatten().any(|known| is_same(*known, name));
        if is_known || count == MEMBERS_MAX {
            return Err(fault);
        }
        names[count] = Some(name);
        count += 1;
        take(name, Value::next(&mut tokens).ok_or(fault)?)?;
    }
    Ok(())
}

/// Whether two strings are equal, escapes undone.
fn is_same(one: Text<'_>, other: Text<'_>) -> bool {
    match other.plain() {
        Some(plain) => one == *plain,
        None => one.chars().eq(other.chars()),
    }
}

/// White space between tokens.
const SPACES: [char; 4] = [' ', '\t', '\n', '\r'];

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

const fn is_between(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b',' | b':')
}

/// How many bytes at the beginning of `text` are such, which are ASCII or all that is not: so that
/// is where a character ends.
fn count(text: &str, is_such: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| is_such(*byte)).count()
}

/// A JSON string as it stands between its quotes, escapes included.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<'b>(&'b str);

impl<'b> Text<'b> {
    /// The string itself, if it has no escapes.
    pub fn plain(self) -> Option<&'b str> {
        (!self.0.as_bytes().contains(&b'\\')).then_some(self.0)
    }

    /// The most bytes that the string has as UTF-8: as many as its JSON has.
    pub const fn bytes_max(self) -> usize {
        self.0.len()
    }

    /// The string itself, which is copied if it has escapes.
    pub fn unescaped(self) -> Cow<'b, str> {
        self.plain().map_or_else(|| self.chars().collect::<String>().into(), Cow::Borrowed)
    }

    /// The characters of the string. Half a surrogate pair, which UTF-8 cannot say, becomes U+FFFD,
    /// as it does when a browser sends it as text.
    pub fn chars(self) -> impl Iterator<Item = char> + use<'b> {
        let units = Units { rest: self.0.chars(), second: None };
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Appends the string as UTF-8. With [`Text::bytes_max`] of capacity to spare this does not
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

/// Compares the string, escapes undone, with text.
impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        // An escape has more bytes than what it stands for, so most strings are told apart by their
        // lengths.
        match self.0.len().cmp(&other.len()) {
            Ordering::Less => false,
            Ordering::Equal => self.0 == other && self.plain().is_some(),
            Ordering::Greater => self.plain().is_none() && self.chars().eq(other.chars()),
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// Iterator over the UTF-16 code units of a string, which is what escapes stand for.
struct Units<'b> {
    rest: Chars<'b>,
    /// The second unit of the last character, if that has two and one was handed out.
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
                    // In a valid string there are four digits; in any other, what can be made of
                    // them.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_compared_with_its_escapes_undone() {
        // The last ones stand in no JSON, and nobody may stumble over them.
        let texts = r"a ab a\n a\\ \\ \\n é \u00e9 a\u0062 \u0061b a\\u0062 😀 \ud83d\ude00 \ud83d
            \udfff \ a\ \é \u \u00 \u€€€€";
        let texts: Vec<&str> = texts.split_whitespace().chain(["", "\n"]).collect();
        for raw in &texts {
            let said: String = Text(raw).chars().collect();
            assert_eq!(Text(raw).unescaped(), said, "{raw}");
            assert!(Text(raw) == *said, "{raw}");
            assert_eq!(said.len() < raw.len(), raw.contains('\\'), "{raw}");
            for other in &texts {
                assert_eq!(Text(raw) == **other, said == *other, "{raw}, {other}");
            }
        }
    }

    #[test]
    fn steps_through_what_is_no_json_end() {
        let texts = r#"" "\ "\é é é"é ,:é tru" "a"é: ]} [{ {"a":"#;
        for text in texts.split(' ').chain(["\"a\"\u{a0}:"]) {
            assert!(Tokens::new(text).count() <= text.len(), "{text}");
        }
    }
}
