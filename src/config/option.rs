//! One option as readers know it: its flag, its variable, its default, its meaning.
//!
//! All of it is text. What clap reads, what `--help` and docs/CONFIGURATION.md say and what a
//! refusal names is made from this. Which options there are is in `options.rs`, how a text becomes
//! a value in `row.rs`.
//!
//! The surprise: clap sees neither defaults nor variables. It hands over the text of the flags that
//! were given and nothing else, so that we know which of flag, variable, preset and default spoke.

use clap::{Arg, ArgAction};

/// What a flag without a value stands for.
const SWITCHED_ON: &str = "on";

/// One option: a flag, its variable, its default, its meaning.
#[derive(PartialEq, Eq, Debug)]
pub struct Opt {
    /// The flag without the leading dashes: `ping-interval`.
    pub name: &'static str,
    /// What stands for the value in a synopsis. Empty if the flag takes no value and stands for
    /// `on`; its variable then says `on` or `off`.
    pub value: &'static str,
    /// The text that is parsed when nobody speaks; empty if there is then no value at all.
    pub default: &'static str,
    /// What a reader has to know about the default beside its text, in words.
    pub default_words: &'static str,
    /// The flag may be given more than once; the values are joined as a list.
    pub repeatable: bool,
    /// The value is told to nobody: `elbow check` shows `(set)`, and no refusal repeats it.
    pub secret: bool,
    /// The text may hold a secret, so no refusal repeats it. The kind leaves the secret out of what
    /// `elbow check` shows.
    pub guarded: bool,
    /// The heading under which `--help` shows the option.
    pub heading: &'static str,
    /// What the option means, in whole sentences without line breaks.
    pub help: &'static str,
}

impl Opt {
    /// What a row of the table says by leaving it out.
    pub(super) const UNSAID: Opt = Opt {
        name: "",
        value: "",
        default: "",
        default_words: "",
        repeatable: false,
        secret: false,
        guarded: false,
        heading: "",
        help: "",
    };

    /// The option unchanged. Does not compile, in a constant, for a row that leaves out what every
    /// option has.
    pub(super) const fn complete(self) -> Opt {
        assert!(!self.heading.is_empty() && !self.help.is_empty(), "who reads help is told");
        let told = !self.default.is_empty() || !self.default_words.is_empty();
        assert!(told, "a default has a text, or is put in words");
        assert!(!self.value.is_empty() || !self.repeatable, "a flag without a value is given once");
        let is_told = !self.secret && !self.guarded;
        assert!(is_told || !self.repeatable, "a list repeats its wrong item");
        self
    }

    /// The flag as it is typed: `--ping-interval`.
    pub fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// The variable that speaks when the flag does not: `ELBOW_PING_INTERVAL`.
    pub fn env_name(&self) -> String {
        format!("ELBOW_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// The flag and what stands for its value, if it takes one: `--ping-interval DUR`.
    pub fn synopsis(&self) -> String {
        match self.value {
            "" => self.flag(),
            value => format!("{} {value}", self.flag()),
        }
    }

    /// The default for readers: its text, or words, or both.
    pub fn default_shown(&self) -> String {
        let text = self.default.replace(',', ", ");
        match (self.default, self.default_words) {
            (_, "") => text,
            ("", words) => words.to_owned(),
            (_, words) => format!("{text}, {words}"),
        }
    }

    /// The option as clap reads it: text in, text out.
    pub(super) fn argument(&'static self) -> Arg {
        let action = if self.repeatable { ArgAction::Append } else { ArgAction::Set };
        let argument = Arg::new(self.name).long(self.name).action(action);
        match self.value {
            "" => argument.num_args(0).default_missing_value(SWITCHED_ON),
            value => argument.value_name(value),
        }
    }
}

/// The name of a field as it is typed on a command line: `ping-interval` for `ping_interval`.
/// `LENGTH` is the number of its bytes.
pub(super) const fn dashed<const LENGTH: usize>(field: &str) -> [u8; LENGTH] {
    assert!(field.len() == LENGTH, "the length is the field's");
    let mut name = [0; LENGTH];
    let mut at = 0;
    while at < LENGTH {
        name[at] = match field.as_bytes()[at] {
            b'_' => b'-',
            other => other,
        };
        at += 1;
    }
    name
}

/// The bytes of [`dashed`] as text.
pub(super) const fn flag_name(bytes: &[u8]) -> &str {
    match str::from_utf8(bytes) {
        Ok(name) => name,
        Err(_) => panic!("a dash in the place of an underscore leaves UTF-8 intact"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_named_after_its_flag() {
        let env_name = |name| Opt { name, ..Opt::UNSAID }.env_name();
        assert_eq!(env_name("max-connections-per-ip"), "ELBOW_MAX_CONNECTIONS_PER_IP");
        assert_eq!(env_name("lb"), "ELBOW_LB");
    }

    #[test]
    fn a_flag_is_named_after_its_field() {
        assert_eq!(&dashed::<22>("max_connections_per_ip"), b"max-connections-per-ip");
        assert_eq!(&dashed::<2>("lb"), b"lb");
    }

    #[test]
    fn a_default_is_a_text_or_words_or_both() {
        let shown =
            |default, default_words| Opt { default, default_words, ..Opt::UNSAID }.default_shown();
        assert_eq!(shown("a,b", ""), "a, b");
        assert_eq!(shown("", "none"), "none");
        assert_eq!(shown("1MiB", "or more"), "1MiB, or more");
    }
}
