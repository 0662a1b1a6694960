//! What an operator is told when there is nothing to carry out: one line, and an exit code.
//!
//! Every refusal of this folder is made here, so that the two exit codes and the form of the line
//! have one place.
//!
//! The surprise: what clap says is several lines, and repeats what was typed, of whatever length.
//! Its first line and its suggestions are kept, escaped and cut.

use crate::text::{cut, visible};

/// The most characters of a foreign text that a refusal repeats.
const QUOTED_CHARS_MAX: usize = 80;

/// Why there is no [`Command`](crate::config::Command).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// 2 for what cannot be read, 78 for what contradicts itself or the machine.
    pub exit_code: u8,
    /// What to tell the operator: one line, without a line break, foreign text escaped.
    pub line: String,
}

impl Failure {
    /// A text that is no value of `option`, which is a flag or a variable by its name.
    pub(super) fn bad_value(option: &str, text: &str, allowed: &str) -> Failure {
        Failure::unreadable(format!("{option}: bad value {}: {allowed}", quoted(text)))
    }

    /// A text that is no value of `option`, and must not be repeated.
    pub(super) fn bad_secret(option: &str, allowed: &str) -> Failure {
        Failure::unreadable(format!("{option}: bad value (not shown): {allowed}"))
    }

    /// An option that has a meaning only beside another one, which is not there.
    pub(super) fn stray(option: &str, other: &str) -> Failure {
        Failure::unreadable(format!("{option} has a meaning only with {other}"))
    }

    /// Values that cannot hold together, or not on this machine.
    pub(super) fn contradiction(line: String) -> Failure {
        Failure { exit_code: 78, line }
    }

    /// Clap's several lines as one: what is wrong, and its suggestion if it has any.
    pub(super) fn command_line(error: &clap::Error) -> Failure {
        let rendered = error.to_string();
        let mut lines = rendered.lines().map(str::trim);
        let wrong = lines.next().unwrap_or_default().trim_start_matches("error: ");
        let tips = lines.filter_map(|line| line.strip_prefix("tip: "));
        // Each of them may repeat what was given, of whatever length.
        let parts = std::iter::once(wrong).chain(tips).map(|part| match cut(part) {
            whole if whole.len() == part.len() => visible(whole).to_string(),
            begin => format!("{}…", visible(begin)),
        });
        Failure::unreadable(parts.collect::<Vec<_>>().join("; "))
    }

    fn unreadable(line: String) -> Failure {
        Failure { exit_code: 2, line }
    }
}

/// Foreign text within a line of ours: between quotes, escaped, and cut at 80 characters, so that
/// it can neither begin a line nor hide what follows it.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect();
    let cut = if text.chars().nth(QUOTED_CHARS_MAX).is_some() { "…" } else { "" };
    format!("\"{shown}{cut}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(quoted("a\nb\u{1b}[0m\""), r#""a\nb\u{1b}[0m\"""#);
        assert_eq!(quoted(&"x".repeat(81)), format!("\"{}…\"", "x".repeat(80)));
    }
}
