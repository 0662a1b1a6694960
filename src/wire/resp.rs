//! RESP2, the protocol of Redis and Valkey (redis.io, "Redis serialization protocol
//! specification").
//!
//! ```text
//!   request   *<n>CRLF ( $<length>CRLF <bytes>CRLF )*
//!   reply     +simple   -error   :integer   $<length> bulk   $-1 null   *<n> array   *-1 null
//! ```
//!
//! Deals with: requests as bytes, and replies as a stream of tokens. Leaves to others: which
//! commands there are, what a reply means, and to which request it belongs.
//!
//! A reply may be an array of arrays with megabytes in it, so it is never built as a whole: each
//! token is a slice of the input, and nothing is kept but how many elements are still to come. A
//! bulk string over a bound is passed over, however long, and told by its length alone.
//!
//! The surprise: RESP3 is not read, although servers offer it. Its form of an answer to XREAD
//! differs between servers, and nothing in it is needed.

use core::fmt;

use super::Status;

/// How many arrays may be open within each other. The deepest reply that is asked for has five:
/// streams, a stream, its entries, an entry, its fields.
pub const DEPTH_MAX: usize = 8;

/// The most bytes of a line: a simple string, an error, a number.
pub const LINE_BYTES_MAX: usize = 4096;

/// The most elements of one array.
pub const ELEMENTS_MAX: u32 = 1 << 20;

/// The longest bulk string that a server may announce: the largest that Redis keeps is 512 MiB.
pub const BULK_BYTES_MAX: u64 = 512 << 20;

/// One part of a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token<'b> {
    /// A simple string, such as `OK`.
    Simple(&'b [u8]),
    /// An error: a word in capitals, and a text.
    Error(&'b [u8]),
    /// A number.
    Integer(i64),
    /// A bulk string, which may hold any bytes.
    Bulk(&'b [u8]),
    /// A bulk string of so many bytes, which is over the decoder's bound and was passed over.
    TooLarge(u64),
    /// Nothing: the null of a bulk string or of an array.
    Null,
    /// An array of so many elements, which follow.
    Array(u32),
}

/// A token, and where it stands in its reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item<'b> {
    /// The token.
    pub token: Token<'b>,
    /// How many arrays are open around the token.
    pub depth: usize,
    /// Whether the reply is over with this token.
    pub is_last: bool,
}

/// What a server did wrong. Nothing that follows can be understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The first byte of a token stands for nothing in RESP2.
    Type,
    /// A number or a length has other characters than digits and a sign, or is out of bounds.
    Number,
    /// A line is longer than [`LINE_BYTES_MAX`], or does not end in CRLF.
    Line,
    /// Behind the bytes of a bulk string there is no CRLF.
    Bulk,
    /// Arrays are nested deeper than [`DEPTH_MAX`], or one has more than [`ELEMENTS_MAX`] elements.
    Array,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Type => "unknown type of reply",
            Error::Number => "malformed number",
            Error::Line => "malformed line",
            Error::Bulk => "bulk string without its end",
            Error::Array => "array too large or too deep",
        })
    }
}

impl std::error::Error for Error {}

/// The decoder of the replies on one connection. It knows its position, so the input may be cut
/// anywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decoder {
    /// A longer bulk string is passed over.
    bulk_bytes_max: u64,
    /// Elements that are still to come, of each array that is open, the outermost first.
    owed: [u32; DEPTH_MAX],
    depth: usize,
    /// The bulk string that is being passed over.
    passing: Option<Passing>,
}

/// A bulk string that is passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Passing {
    /// How many bytes the string has.
    bytes: u64,
    /// How many of the string's bytes are still to come.
    left: u64,
}

impl Decoder {
    /// A decoder that waits for the first byte of a reply, and passes bulk strings over that are
    /// longer than `bulk_bytes_max`.
    pub const fn new(bulk_bytes_max: u64) -> Decoder {
        Decoder { bulk_bytes_max, owed: [0; DEPTH_MAX], depth: 0, passing: None }
    }

    /// Takes the next token off `bytes`. Returns how many of them are done with, and the token if
    /// it is whole; if it is not, more bytes are needed. To be called again with the rest; what is
    /// not done with must be kept, which is less than a line or a bulk string within the bound, and
    /// its frame.
    ///
    /// Bounded work: each byte of a token is looked at once for each call until the token is whole,
    /// except for those of a bulk string, which are not looked at.
    ///
    /// # Errors
    /// What the server did wrong. The connection is of no use any more.
    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> (usize, Result<Status<Item<'b>>, Error>) {
        if let Some(passing) = self.passing {
            return self.pass_over(passing, bytes);
        }
        let line = match line(bytes) {
            Ok(Some(line)) => line,
            Ok(None) => return (0, Ok(Status::Partial)),
            Err(error) => return (0, Err(error)),
        };
        // The line and its CRLF.
        let used = line.len() + 2;
        let (kind, rest) = (line[0], &line[1..]);
        let token = match kind {
            b'+' => Ok(Token::Simple(rest)),
            b'-' => Ok(Token::Error(rest)),
            b':' => number(rest).map(Token::Integer),
            b'*' => self.open(rest),
            b'$' => match length(rest, BULK_BYTES_MAX) {
                Ok(Some(bytes_all)) if bytes_all > self.bulk_bytes_max => {
                    let passing = Passing { bytes: bytes_all, left: bytes_all };
                    let (more, status) = self.pass_over(passing, &bytes[used..]);
                    return (used + more, status);
                }
                Ok(Some(bytes_all)) => return self.take_bulk(bytes, used, bytes_all),
                Ok(None) => Ok(Token::Null),
                Err(error) => Err(error),
            },
            _ => Err(Error::Type),
        };
        match token {
            Ok(token) => (used, Ok(Status::Complete(self.item(token)))),
            Err(error) => (0, Err(error)),
        }
    }

    /// A bulk string whose line was read: nothing of it is done with until it is whole.
    fn take_bulk<'b>(
        &mut self,
        bytes: &'b [u8],
        begin: usize,
        length: u64,
    ) -> (usize, Result<Status<Item<'b>>, Error>) {
        let Ok(length) = usize::try_from(length) else { return (0, Err(Error::Number)) };
        let end = begin + length;
        match bytes.get(end..end + 2) {
            None => (0, Ok(Status::Partial)),
            Some(b"\r\n") => {
                let item = self.item(Token::Bulk(&bytes[begin..end]));
                (end + 2, Ok(Status::Complete(item)))
            }
            Some(_) => (0, Err(Error::Bulk)),
        }
    }

    /// Passes over what has come of a bulk string that is too large.
    fn pass_over<'b>(
        &mut self,
        passing: Passing,
        bytes: &'b [u8],
    ) -> (usize, Result<Status<Item<'b>>, Error>) {
        let here = usize::try_from(passing.left).unwrap_or(usize::MAX).min(bytes.len());
        let left = passing.left - here as u64;
        match bytes.get(here..here + 2) {
            Some(end) if left == 0 => {
                self.passing = None;
                match end {
                    b"\r\n" => {
                        let item = self.item(Token::TooLarge(passing.bytes));
                        (here + 2, Ok(Status::Complete(item)))
                    }
                    _ => (here, Err(Error::Bulk)),
                }
            }
            Some(_) | None => {
                self.passing = Some(Passing { left, ..passing });
                (here, Ok(Status::Partial))
            }
        }
    }

    /// The token of an array's line; the array is opened when the token is counted.
    fn open<'b>(&self, rest: &[u8]) -> Result<Token<'b>, Error> {
        let Some(elements) = length(rest, u64::MAX)? else { return Ok(Token::Null) };
        let elements = u32::try_from(elements).ok().filter(|elements| *elements <= ELEMENTS_MAX);
        let elements = elements.ok_or(Error::Array)?;
        if elements > 0 && self.depth == DEPTH_MAX {
            return Err(Error::Array);
        }
        Ok(Token::Array(elements))
    }

    /// Counts a token, and says where it stands.
    fn item<'b>(&mut self, token: Token<'b>) -> Item<'b> {
        let depth = self.depth;
        if let Some(owed) = self.depth.checked_sub(1).map(|open| &mut self.owed[open]) {
            *owed -= 1;
        }
        if let Token::Array(elements @ 1..) = token {
            self.owed[self.depth] = elements;
            self.depth += 1;
        }
        while self.depth > 0 && self.owed[self.depth - 1] == 0 {
            self.depth -= 1;
        }
        Item { token, depth, is_last: self.depth == 0 }
    }
}

/// Appends a request: a command and its arguments, which may hold any bytes.
pub fn request(parts: &[&[u8]], out: &mut Vec<u8>) {
    request_of(parts.len(), out);
    for part in parts {
        bulk(part, out);
    }
}

/// Appends the beginning of a request of so many parts. Each of them has to follow, by [`bulk`] or
/// by [`bulk_of`].
pub fn request_of(parts: usize, out: &mut Vec<u8>) {
    length_line(b'*', parts as u64, out);
}

/// Appends a part of a request.
pub fn bulk(part: &[u8], out: &mut Vec<u8>) {
    bulk_of(part.len(), out);
    out.extend_from_slice(part);
    out.extend_from_slice(b"\r\n");
}

/// Appends the beginning of a part of a request. Exactly so many bytes have to follow, and CRLF.
pub fn bulk_of(bytes: usize, out: &mut Vec<u8>) {
    length_line(b'$', bytes as u64, out);
}

/// Appends a part of a request that is a number in decimal.
pub fn bulk_number(number: u64, out: &mut Vec<u8>) {
    let (digits, begin) = decimal(number);
    bulk(&digits[begin..], out);
}

/// Requests are written for each message that is said, so nothing of `core::fmt` is used.
fn length_line(kind: u8, length: u64, out: &mut Vec<u8>) {
    let (digits, begin) = decimal(length);
    out.push(kind);
    out.extend_from_slice(&digits[begin..]);
    out.extend_from_slice(b"\r\n");
}

/// A number in decimal at the end of an array, and where it begins there.
fn decimal(number: u64) -> ([u8; 20], usize) {
    let (mut digits, mut begin, mut left) = ([0; 20], 20, number);
    loop {
        begin -= 1;
        // A digit is below ten.
        digits[begin] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            return (digits, begin);
        }
    }
}

/// The first line of `bytes` without its CRLF, at least the byte of its type; `None` if it is not
/// whole.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Error> {
    let looked_at = &bytes[..bytes.len().min(LINE_BYTES_MAX + 2)];
    match looked_at.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(0) => Err(Error::Type),
        Some(end) => match looked_at[end..] {
            [b'\r', b'\n', ..] => Ok(Some(&bytes[..end])),
            [b'\r'] if looked_at.len() < LINE_BYTES_MAX + 2 => Ok(None),
            _ => Err(Error::Line),
        },
        None if looked_at.len() > LINE_BYTES_MAX => Err(Error::Line),
        None => Ok(None),
    }
}

/// A number with or without a sign.
fn number(digits: &[u8]) -> Result<i64, Error> {
    let unsigned = digits.strip_prefix(b"-").or_else(|| digits.strip_prefix(b"+"));
    if unsigned.unwrap_or(digits).is_empty() {
        return Err(Error::Number);
    }
    let text = core::str::from_utf8(digits).map_err(|_| Error::Number)?;
    text.parse().map_err(|_| Error::Number)
}

/// A length of at most `most`; `None` for -1, which is null.
fn length(digits: &[u8], most: u64) -> Result<Option<u64>, Error> {
    if digits == b"-1" {
        return Ok(None);
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Error::Number);
    }
    let length = number(digits)?;
    let length = u64::try_from(length).ok().filter(|length| *length <= most);
    length.map(Some).ok_or(Error::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All tokens of `bytes`, each with its depth and whether it ends a reply, however they are
    /// cut.
    fn tokens(bytes: &[u8], bulk_bytes_max: u64) -> Result<Vec<(String, usize, bool)>, Error> {
        let whole = read(bytes, bytes.len().max(1), bulk_bytes_max);
        for piece in 1..=7 {
            assert_eq!(read(bytes, piece, bulk_bytes_max), whole, "in pieces of {piece}");
        }
        whole
    }

    fn read(
        bytes: &[u8],
        piece: usize,
        bulk_bytes_max: u64,
    ) -> Result<Vec<(String, usize, bool)>, Error> {
        let (mut decoder, mut kept, mut found) = (Decoder::new(bulk_bytes_max), Vec::new(), vec![]);
        for piece in bytes.chunks(piece) {
            kept.extend_from_slice(piece);
            loop {
                let (used, status) = decoder.next(&kept);
                let item = match status? {
                    Status::Complete(item) => item,
                    Status::Partial => {
                        kept.drain(..used);
                        break;
                    }
                };
                let text = match item.token {
                    Token::Bulk(bytes) => format!("${}", bytes.escape_ascii()),
                    Token::Simple(bytes) => format!("+{}", bytes.escape_ascii()),
                    Token::Error(bytes) => format!("-{}", bytes.escape_ascii()),
                    other @ (Token::Integer(_)
                    | Token::TooLarge(_)
                    | Token::Null
                    | Token::Array(_)) => format!("{other:?}"),
                };
                found.push((text, item.depth, item.is_last));
                kept.drain(..used);
            }
        }
        Ok(found)
    }

    fn texts(bytes: &[u8]) -> Vec<String> {
        let found = tokens(bytes, 1024).expect("a reply");
        found.into_iter().map(|(text, _, _)| text).collect()
    }

    #[test]
    fn replies_are_tokens() {
        assert_eq!(
            texts(b"+OK\r\n-NOAUTH x\r\n:-7\r\n$2\r\n\r\n\r\n"),
            ["+OK", "-NOAUTH x", "Integer(-7)", r"$\r\n"]
        );
        assert_eq!(texts(b"$-1\r\n*-1\r\n$0\r\n\r\n*0\r\n"), ["Null", "Null", "$", "Array(0)"]);
        assert_eq!(
            texts(b":9223372036854775807\r\n:+1\r\n"),
            ["Integer(9223372036854775807)", "Integer(1)"]
        );
    }

    #[test]
    fn an_answer_to_xread_says_where_each_entry_stands() {
        let reply =
            b"*1\r\n*2\r\n$2\r\nst\r\n*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nm\r\n$1\r\nx\r\n\
            *2\r\n$3\r\n2-0\r\n*2\r\n$1\r\nm\r\n$1\r\ny\r\n+OK\r\n";
        let found = tokens(reply, 1024).expect("a reply");
        let depths: Vec<usize> = found.iter().map(|(_, depth, _)| *depth).collect();
        assert_eq!(depths, [0, 1, 2, 2, 3, 4, 4, 5, 5, 3, 4, 4, 5, 5, 0]);
        let last: Vec<usize> =
            found.iter().enumerate().filter(|(_, (_, _, last))| *last).map(|(at, _)| at).collect();
        assert_eq!(last, [13, 14], "the reply, and the one behind it");
    }

    #[test]
    fn a_bulk_string_over_the_bound_is_passed_over_and_told() {
        let reply = b"*3\r\n$4\r\nabcd\r\n$5\r\nab\r\nc\r\n$1\r\nx\r\n";
        let found = tokens(reply, 4).expect("a reply");
        let texts: Vec<&str> = found.iter().map(|(text, _, _)| &**text).collect();
        assert_eq!(texts, ["Array(3)", "$abcd", "TooLarge(5)", "$x"]);
        assert_eq!(tokens(b"$5\r\nabcdexx", 4), Err(Error::Bulk));
    }

    #[test]
    fn what_no_server_says_is_refused() {
        for (bytes, error) in [
            (&b"x\r\n"[..], Error::Type),
            (b"\r\n", Error::Type),
            (b"%1\r\n", Error::Type),
            (b"_\r\n", Error::Type),
            (b":\r\n", Error::Number),
            (b":1x\r\n", Error::Number),
            (b":--1\r\n", Error::Number),
            (b":9223372036854775808\r\n", Error::Number),
            (b"$-2\r\n", Error::Number),
            (b"$+1\r\n", Error::Number),
            (b"$\r\n", Error::Number),
            (b"$536870913\r\n", Error::Number),
            (b"*-2\r\n", Error::Number),
            (b"*1048577\r\n", Error::Array),
            (b"+a\rb\r\n", Error::Line),
            (b"+a\n", Error::Line),
            (b"$1\r\nxyz", Error::Bulk),
        ] {
            assert_eq!(tokens(bytes, 1024), Err(error), "{}", bytes.escape_ascii());
        }
        let long = [&b"+"[..], &[b'x'; LINE_BYTES_MAX], b"\r\n"].concat();
        assert_eq!(tokens(&long, 1024), Err(Error::Line));
        assert!(tokens(&[&b"+"[..], &[b'x'; LINE_BYTES_MAX - 1], b"\r\n"].concat(), 9).is_ok());
        let deep = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
        assert!(tokens(&deep(DEPTH_MAX), 9).is_ok());
        assert_eq!(tokens(&deep(DEPTH_MAX + 1), 9), Err(Error::Array));
    }

    #[test]
    fn a_request_is_an_array_of_bulk_strings() {
        let mut out = Vec::new();
        request(&[b"XADD", b"{elbow}:c:a", b"*", b"m", b"\r\n"], &mut out);
        let expected =
            b"*5\r\n$4\r\nXADD\r\n$11\r\n{elbow}:c:a\r\n$1\r\n*\r\n$1\r\nm\r\n$2\r\n\r\n\r\n";
        assert_eq!(out, expected);
        assert_eq!(texts(&out), ["Array(5)", "$XADD", "${elbow}:c:a", "$*", "$m", r"$\r\n"]);
    }
}
