//! The path below which a server's resources lie, against the paths of requests.
//!
//! Deals with: which texts are such a path, and what of a request's path is left below it. Leaves
//! to others: decoding paths, what lies below, what a request for anything else is answered with.
//!
//! The surprise: the base path without a slash behind it is a place of its own. A page there would
//! look for what belongs to it one level too high, so it is known from the page's place by an empty
//! rest.

use std::fmt;

/// The most bytes of a base path.
pub const BASE_PATH_BYTES_MAX: usize = 128;

/// A base path. The one of servers that have all of their authority to themselves is `/`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BasePath {
    /// The path without a slash at its end: empty for `/`.
    text: Box<str>,
}

impl BasePath {
    /// Reads a path such as `/chat` or `/apps/chat`, of the characters that stand in paths as they
    /// are (RFC 3986 section 3.3), without escapes. One slash at the end is ignored.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if `text` does not begin with a slash, has a segment that is empty, `.` or
    /// `..`, has other characters, or is longer than 128 bytes.
    pub fn parse(text: &str) -> Result<BasePath, Malformed> {
        let path = text.strip_suffix('/').unwrap_or(text);
        if !text.starts_with('/') || text.len() > BASE_PATH_BYTES_MAX {
            return Err(Malformed);
        }
        let is_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..") && segment.bytes().all(is_path_byte)
        };
        if !path.split('/').skip(1).all(is_segment) {
            return Err(Malformed);
        }
        Ok(BasePath { text: path.into() })
    }

    /// The path without a slash at its end, as it stands in front of others: empty for `/`.
    pub fn prefix(&self) -> &str {
        &self.text
    }

    /// What of `path`, which was decoded, lies below: a path with its slash, or nothing if `path`
    /// is the base path itself without one. `None` if it lies elsewhere.
    pub fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(&*self.text)?;
        (rest.starts_with('/') || (rest.is_empty() && !path.is_empty())).then_some(rest)
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() { "/" } else { &self.text })
    }
}

/// Why [`BasePath::parse`] refused a text: it is no base path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a base path is one or more /segment, or /")
    }
}

impl std::error::Error for Malformed {}

/// Whether `byte` stands for itself in a path.
const fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_segments_that_nobody_would_write_otherwise() {
        let shown = |text| BasePath::parse(text).map(|path| path.to_string());
        let longest = format!("/{}", "a".repeat(BASE_PATH_BYTES_MAX - 1));
        for text in ["/", "/chat", "/apps/chat", "/a.b/..c/~d", "/a,b;c=d@e:f", &longest] {
            assert_eq!(shown(text), Ok(text.to_owned()));
        }
        assert_eq!(shown("/chat/"), Ok("/chat".to_owned()));
        for text in [
            "",
            "chat",
            "chat/",
            "//",
            "//chat",
            "/chat//",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/chat?x",
            "/chat#x",
            "/ch%61t",
            "/a b",
            "/a\\b",
            "/\u{fc}",
            "http://h/chat",
            &format!("{longest}a"),
        ] {
            assert_eq!(shown(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn what_lies_below_begins_behind_whole_segments() {
        let chat = BasePath::parse("/chat/").expect("a base path");
        for (path, below) in [
            ("/chat", Some("")),
            ("/chat/", Some("/")),
            ("/chat/ws", Some("/ws")),
            ("/chat//ws", Some("//ws")),
            ("/chat/chat", Some("/chat")),
            ("/", None),
            ("", None),
            ("/chatter", None),
            ("/Chat", None),
            ("/ws", None),
            ("/x/chat", None),
        ] {
            assert_eq!(chat.below(path), below, "{path}");
        }
        let all = BasePath::parse("/").expect("a base path");
        assert_eq!((all.prefix(), &all), ("", &BasePath::default()));
        for (path, below) in [("/", Some("/")), ("/ws", Some("/ws")), ("", None), ("*", None)] {
            assert_eq!(all.below(path), below, "{path}");
        }
    }
}
