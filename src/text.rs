//! Floor 0: how text from outside stands in a line of ours.
//!
//! A line goes to the log or to standard error, where people and programs read it line by line. So
//! whatever a stranger, a file's name or a command line brings is cut and escaped before it becomes
//! part of a line. Two nets lie one below the other. [`shown`] and [`shown_text`] are for values
//! that are known to come from outside. [`Line`] is where every line is put together in the end: it
//! cuts and escapes what was not cut and escaped before, and has a greatest length.
//!
//! The surprise: a `Line` takes each piece that it is given in one write for an outside value. A
//! text of ours that is longer than such a value may be has to be wrapped in [`Composed`].

use core::fmt::{self, Display, Write};

/// The most bytes of an outside value that are shown. Escaping comes after the cut and may make
/// more of them.
pub const SHOWN_BYTES_MAX: usize = 256;

/// The sign for what was left out.
const ELLIPSIS: &str = "…";

/// The beginning of `text`: at most [`SHOWN_BYTES_MAX`] bytes, ending between two characters.
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]
}

/// The beginning of `bytes`: at most [`SHOWN_BYTES_MAX`] bytes, ending between two characters if
/// they are UTF-8.
pub fn cut_bytes(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= SHOWN_BYTES_MAX {
        return bytes;
    }
    let is_begun = |at: &usize| bytes[*at] & 0xc0 != 0x80;
    // In UTF-8 no character has more than three bytes behind its first.
    let end = (SHOWN_BYTES_MAX - 3..=SHOWN_BYTES_MAX).rev().find(is_begun);
    &bytes[..end.unwrap_or(SHOWN_BYTES_MAX)]
}

/// The beginning of an outside value, at most [`SHOWN_BYTES_MAX`] bytes of it, with everything
/// escaped that is not visible ASCII.
pub fn shown(bytes: &[u8]) -> impl Display + '_ {
    bytes[..bytes.len().min(SHOWN_BYTES_MAX)].escape_ascii()
}

/// The beginning of an outside text, at most [`SHOWN_BYTES_MAX`] bytes of it, with control
/// characters and quotes escaped. Letters of any script stay as they are.
pub fn shown_text(text: &str) -> impl Display + '_ {
    cut(text).escape_debug()
}

/// The whole of `text`, with every character escaped that moves the cursor, ends the line or turns
/// the direction of writing.
pub fn visible(text: &str) -> impl Display + '_ {
    Visible(text)
}

struct Visible<'a>(&'a str);

impl Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(is_hidden) {
            let (before, behind) = rest.split_at(at);
            f.write_str(before)?;
            let mut behind = behind.chars();
            behind.next().map_or(Ok(()), |hidden| write!(f, "{}", hidden.escape_default()))?;
            rest = behind.as_str();
        }
        f.write_str(rest)
    }
}

/// `json`, which must be valid JSON, with the characters escaped in its strings that [`visible`]
/// escapes. It means what it meant.
pub fn visible_json(json: &str) -> impl Display + '_ {
    VisibleJson(json)
}

struct VisibleJson<'a>(&'a str);

impl Display for VisibleJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Line ends between values are hidden, too, but need no escape and must have none.
        let is_hidden = |c: char| is_hidden(c) && !matches!(c, '\t' | '\n' | '\r');
        let mut rest = self.0;
        while let Some(at) = rest.find(is_hidden) {
            let (before, behind) = rest.split_at(at);
            f.write_str(before)?;
            let mut behind = behind.chars();
            // All of them lie below U+FFFF and have one escape.
            behind.next().map_or(Ok(()), |hidden| write!(f, "\\u{:04x}", u32::from(hidden)))?;
            rest = behind.as_str();
        }
        f.write_str(rest)
    }
}

/// Whether `c` is a control character, a separator that some programs take for the end of a line,
/// or a character that changes the direction of text (Unicode's property `Bidi_Control`).
fn is_hidden(c: char) -> bool {
    let is_separator = matches!(c, '\u{2028}' | '\u{2029}');
    let is_direction = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || is_separator || is_direction
}

/// A text of ours whose outside parts were cut already: a [`Line`] takes as much of it as there is
/// room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Composed<'a>(pub &'a str);

impl Display for Composed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.floor_char_boundary(SHOWN_BYTES_MAX));
            f.write_str(piece)?;
            rest = behind;
        }
        Ok(())
    }
}

/// One line without its end, of at most `N` bytes. No line break and no control character is in it,
/// and of an outside value at most [`SHOWN_BYTES_MAX`] bytes, counted before they are escaped.
///
/// Writing never fails and never panics; what does not fit is left out, and an ellipsis says so.
#[derive(Debug)]
pub struct Line<const N: usize> {
    bytes: [u8; N],
    length: usize,
    is_full: bool,
}

impl<const N: usize> Line<N> {
    /// Lays `text` out as a line.
    pub fn new(text: fmt::Arguments<'_>) -> Line<N> {
        const { assert!(N >= ELLIPSIS.len()) };
        let mut line = Line { bytes: [0; N], length: 0, is_full: false };
        // Only a value that cannot write itself makes an error here; what it wrote before that
        // stays.
        let _ = line.write_fmt(text);
        line
    }

    /// The line, without its end.
    pub fn as_str(&self) -> &str {
        // The bytes are whole characters. If they were not, an empty line would be better than a
        // panic.
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// Appends a character; if there is no room for it, an ellipsis, which stands for all that
    /// follow as well.
    fn push(&mut self, c: char) {
        if self.is_full {
            return;
        }
        let mut bytes = [0; 4];
        let mut encoded = c.encode_utf8(&mut bytes).as_bytes();
        if self.length + encoded.len() + ELLIPSIS.len() > N {
            self.is_full = true;
            encoded = ELLIPSIS.as_bytes();
        }
        self.bytes[self.length..self.length + encoded.len()].copy_from_slice(encoded);
        self.length += encoded.len();
    }
}

impl<const N: usize> Write for Line<N> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let shown = cut(piece);
        let end = self.length + shown.len();
        let is_plain = shown.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if is_plain && !self.is_full && end + ELLIPSIS.len() <= N {
            // Nearly every piece is of this kind; most lines report a request.
            self.bytes[self.length..end].copy_from_slice(shown.as_bytes());
            self.length = end;
        } else {
            for c in shown.chars() {
                match is_hidden(c) {
                    true => c.escape_default().for_each(|c| self.push(c)),
                    false => self.push(c),
                }
            }
        }
        if shown.len() < piece.len() {
            ELLIPSIS.chars().for_each(|c| self.push(c));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: fmt::Arguments<'_>) -> String {
        Line::<512>::new(text).as_str().to_owned()
    }

    #[test]
    fn an_outside_value_cannot_leave_its_line() {
        let long = [b'x'; 1000];
        assert_eq!(shown(b"a\r\nb\"\x1b[1m").to_string(), "a\\r\\nb\\\"\\x1b[1m");
        assert_eq!(shown(&long).to_string().len(), SHOWN_BYTES_MAX);
        assert_eq!(shown_text("h\u{e9}\n\"").to_string(), "h\u{e9}\\n\\\"");
        assert_eq!(shown_text(&"\u{20ac}".repeat(200)).to_string().len(), 255);
    }

    #[test]
    fn a_line_escapes_what_nobody_has_escaped() {
        assert_eq!(line(format_args!("a\n{}\t", "b\r\u{1b}[2J")), "a\\nb\\r\\u{1b}[2J\\t");
        assert_eq!(line(format_args!("{}", "\u{202e}x\u{2028}y\u{85}")), {
            "\\u{202e}x\\u{2028}y\\u{85}"
        });
        assert_eq!(line(format_args!("{} \"\\'", "he\u{301}llo \u{1f600}")), {
            "he\u{301}llo \u{1f600} \"\\'"
        });
    }

    #[test]
    fn every_character_that_turns_text_around_is_escaped() {
        let controls = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\
                        \u{2067}\u{2068}\u{2069}";
        assert!(visible(controls).to_string().is_ascii());
        assert!(line(format_args!("{controls}")).is_ascii());
        let neighbours = "\u{61b}\u{61d}\u{200d}\u{2010}\u{202f}\u{206a}";
        assert_eq!(visible(neighbours).to_string(), neighbours);
    }

    #[test]
    fn json_says_the_same_without_what_moves_the_cursor() {
        let json = "{\"a\u{7f}\":[\"\u{9b}2J\u{202e}\u{61c}é\u{2028}\",\n\t1]}";
        let shown = visible_json(json).to_string();
        assert_eq!(shown, "{\"a\\u007f\":[\"\\u009b2J\\u202e\\u061cé\\u2028\",\n\t1]}");
        let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).expect("JSON");
        assert_eq!(value(&shown), value(json));
    }

    #[test]
    fn a_line_cuts_what_nobody_has_cut() {
        let long = "y".repeat(300);
        assert_eq!(line(format_args!("a {long} b")), format!("a {}… b", "y".repeat(256)));
        assert_eq!(line(format_args!("a {} b", Composed(&long))), format!("a {long} b"));
        let euros = "\u{20ac}".repeat(100);
        assert_eq!(line(format_args!("{euros}")), format!("{}…", "\u{20ac}".repeat(85)));
    }

    #[test]
    fn a_line_has_a_greatest_length_whatever_it_is_made_of() {
        for length in 0..40 {
            for c in ['x', '\u{e9}', '\u{20ac}', '\u{1f600}', '\n', '\u{1b}'] {
                let text: String = core::iter::repeat_n(c, length).collect();
                let line = Line::<16>::new(format_args!("{text}"));
                assert!(line.as_str().len() <= 16);
                let whole = visible(&text).to_string();
                let is_cut = line.as_str().ends_with(ELLIPSIS);
                assert!(is_cut || line.as_str() == whole, "{length} of {c:?}");
                assert!(!is_cut || whole.len() + ELLIPSIS.len() > 16, "{length} of {c:?}");
            }
        }
    }

    #[test]
    fn a_value_that_fails_to_say_what_it_is_ends_nothing() {
        struct Mute;
        impl Display for Mute {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                Err(fmt::Error)
            }
        }
        assert_eq!(line(format_args!("it says {Mute} here")), "it says ");
    }

    #[test]
    fn bytes_are_cut_between_characters_if_they_have_any() {
        for c in ["x", "\u{e9}", "\u{20ac}", "\u{1f600}"] {
            for before in 0..4 {
                let text = "a".repeat(before) + &c.repeat(300);
                assert_eq!(cut_bytes(text.as_bytes()), cut(&text).as_bytes());
            }
        }
        assert_eq!(cut_bytes(&[0x80; 300]).len(), SHOWN_BYTES_MAX);
        assert_eq!(cut_bytes(b"short"), b"short");
    }
}
