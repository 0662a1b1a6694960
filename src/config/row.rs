//! A row of the table of options: what readers know of it, and how its text becomes a value that
//! knows who it comes from.
//!
//! A text comes from one of four sources, in this order: flag, variable, preset, default.
//! [`Row::read`] takes the first that speaks. The macro [`rows!`] at the end makes of a table what
//! would otherwise repeat it: the rows by name, their values as they were found, their values
//! alone.
//!
//! The surprise: a default is a text too, parsed like everybody's, so that what help says is what
//! holds.

use core::fmt;

use clap::ArgMatches;

use super::failure::Failure;
use super::kind::Kind;
use super::option::Opt;
use crate::text::visible;

/// Who a value comes from; an earlier one wins over a later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueSource {
    /// The command line.
    Flag,
    /// A variable `ELBOW_…`.
    Env,
    /// `--lb`.
    Preset,
    /// The default, adjusted to other values or to the machine.
    Derived,
    /// The default as it stands.
    Default,
}

impl ValueSource {
    /// The word that `elbow check` prints: `flag`, `env`, `preset`, `derived` or `default`.
    pub fn name(self) -> &'static str {
        match self {
            ValueSource::Flag => "flag",
            ValueSource::Env => "env",
            ValueSource::Preset => "preset",
            ValueSource::Derived => "derived",
            ValueSource::Default => "default",
        }
    }
}

/// Where the texts of values come from, save the defaults.
pub(super) struct Sources<'a> {
    /// The flags that were given.
    pub(super) matches: &'a ArgMatches,
    /// The environment, by the names of variables.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// What a preset says of other options.
    pub(super) presets: Vec<(&'static Opt, &'static str)>,
}

impl Sources<'_> {
    /// The text of the flag, or else of the variable unless that is empty, or else of the preset.
    fn spoken(&self, option: &Opt) -> Option<(String, ValueSource)> {
        let flags = self.matches.get_many::<String>(option.name);
        if let Some(texts) = flags {
            let text = texts.map(String::as_str).collect::<Vec<_>>().join(",");
            return Some((text, ValueSource::Flag));
        }
        let variable = (self.env)(&option.env_name()).filter(|text| !text.trim().is_empty());
        if let Some(text) = variable {
            return Some((text, ValueSource::Env));
        }
        let preset = self.presets.iter().find(|(preset, _)| *preset == option);
        preset.map(|(_, text)| ((*text).to_owned(), ValueSource::Preset))
    }
}

/// An option and the kind of its value.
pub(super) struct Row<T: 'static> {
    /// What readers know of the option.
    pub(super) option: Opt,
    /// From text to value and back.
    pub(super) kind: &'static dyn Kind<T>,
}

impl<T> Row<T> {
    /// The value that holds, by precedence.
    ///
    /// # Errors
    /// The line that names the flag or the variable, its text and what is allowed.
    ///
    /// # Panics
    /// If nobody speaks and the default of the table is no value of its kind.
    pub(super) fn read(&'static self, sources: &Sources<'_>) -> Result<Found<T>, Failure> {
        let option = &self.option;
        let Some((text, source)) = sources.spoken(option) else {
            return Ok(Found { row: self, value: self.default(), source: ValueSource::Default });
        };
        let value = self.kind.parse(text.trim()).map_err(|allowed| {
            let name = match source {
                ValueSource::Env => option.env_name(),
                ValueSource::Flag
                | ValueSource::Preset
                | ValueSource::Derived
                | ValueSource::Default => option.flag(),
            };
            match option.secret || option.guarded {
                true => Failure::bad_secret(&name, &allowed),
                false => Failure::bad_value(&name, &text, &allowed),
            }
        })?;
        Ok(Found { row: self, value, source })
    }

    /// What holds when nobody speaks.
    fn default(&self) -> T {
        match self.option.default {
            "" => self.kind.missing().expect("without a default the value may be missing"),
            text => self.kind.parse(text).expect("a default is a value of its kind"),
        }
    }
}

/// The value of an option, and who it comes from.
pub(super) struct Found<T: 'static> {
    row: &'static Row<T>,
    /// The value that holds.
    pub(super) value: T,
    /// Who the value comes from.
    pub(super) source: ValueSource,
}

impl<T> Found<T> {
    /// The value as `elbow check` prints it.
    pub(super) fn shown(&self) -> Shown {
        Shown { option: &self.row.option, text: self.text(), source: self.source }
    }

    /// The option as a contradiction names it: `--lb clb (env)`.
    pub(super) fn named(&self) -> String {
        format!("{} {} ({})", self.row.option.flag(), self.text(), self.source.name())
    }

    /// The value in the operator's words, or in those of the table if it is missing.
    fn text(&self) -> String {
        match self.row.kind.text(&self.value) {
            text if text.is_empty() => self.row.option.default_words.to_owned(),
            _ if self.row.option.secret => "(set)".to_owned(),
            text => text,
        }
    }
}

impl<T> Found<T> {
    /// Whether somebody has asked for the value, be it by a preset.
    pub(super) fn is_asked(&self) -> bool {
        match self.source {
            ValueSource::Flag | ValueSource::Env | ValueSource::Preset => true,
            ValueSource::Derived | ValueSource::Default => false,
        }
    }

    /// Puts `value` in the place of a default, and calls it derived even if it is the default; what
    /// somebody asked for stays.
    pub(super) fn derive(&mut self, value: T) {
        if !self.is_asked() {
            (self.value, self.source) = (value, ValueSource::Derived);
        }
    }
}

impl<T: PartialEq> Found<T> {
    /// Puts `value` in the place of a default; what somebody asked for stays.
    pub(super) fn adjust(&mut self, value: T) {
        match self.source {
            ValueSource::Default if self.value != value => {
                (self.value, self.source) = (value, ValueSource::Derived);
            }
            ValueSource::Default
            | ValueSource::Derived
            | ValueSource::Preset
            | ValueSource::Env
            | ValueSource::Flag => {}
        }
    }
}

/// One option with the value that holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Which option.
    pub option: &'static Opt,
    /// The effective value, after presets, derivation and rounding.
    pub text: String,
    /// Who the value comes from.
    pub source: ValueSource,
}

impl fmt::Display for Shown {
    /// The flag, padded so that values stand in one column, the value, and its source.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = visible(&self.text);
        write!(f, "{:<25} {text} ({})", self.option.flag(), self.source.name())
    }
}

/// Makes a table of options. A row is a field with the type of its value, then the kind, then what
/// readers know:
///
/// ```text
/// ping_timeout: Duration {
///     kind: Length(PING_BOUNDS),
///     heading: "Keep-alive and closing",
///     value: "DUR",
///     default: "20s",
///     help: "Close it when nothing came back this long after the ping.",
/// }
/// ```
///
/// The flag and the variable are called after the field. Of `default_words`, `repeatable`, `secret`
/// and `guarded`, and of `value` for a flag without one, a row may leave out what does not apply.
/// What comes of it, each with all rows in the order of the table: `TABLE`, the rows by their
/// fields; `OPTIONS`, what readers know of them; `Asked`, the values as they were found; and
/// `Values`, the values alone. Nothing made here reads a field of `Values`: the compiler warns of
/// an option whose value nobody uses.
macro_rules! rows {
    ($(
        $field:ident: $value:ty { kind: $kind:expr, $($key:ident: $told:expr),+ $(,)? }
    )+) => {
        /// The rows of the table by name.
        pub(super) struct Table {
            $(pub(super) $field: Row<$value>,)+
        }

        /// The table itself.
        pub(super) static TABLE: Table = Table {
            $($field: Row {
                option: Opt {
                    name: {
                        const FIELD: &str = stringify!($field);
                        const NAME: &[u8] = &dashed::<{ FIELD.len() }>(FIELD);
                        flag_name(NAME)
                    },
                    $($key: $told,)+
                    ..Opt::UNSAID
                }
                .complete(),
                kind: &$kind,
            },)+
        };

        /// All options, in the order in which they are shown; those of one heading stand together.
        pub const OPTIONS: [&Opt; [$(stringify!($field)),+].len()] =
            [$(&TABLE.$field.option),+];

        /// The value of every option, and who it comes from.
        pub(super) struct Asked {
            $(pub(super) $field: Found<$value>,)+
        }

        impl Asked {
            /// Reads every option.
            ///
            /// # Errors
            /// Of the first in the table that cannot be read.
            pub(super) fn read(sources: &Sources<'_>) -> Result<Asked, Failure> {
                Ok(Asked { $($field: TABLE.$field.read(sources)?,)+ })
            }

            /// Every value as `elbow check` prints it.
            pub(super) fn shown(&self) -> Vec<Shown> {
                vec![$(self.$field.shown()),+]
            }

            /// Every value, whoever it comes from.
            pub(super) fn into_values(self) -> Values {
                Values { $($field: self.$field.value,)+ }
            }
        }

        /// The value of every option. Each is used where a `Config` is made of them.
        pub(super) struct Values {
            $(pub(super) $field: $value,)+
        }
    };
}

pub(super) use rows;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::kind::{IfGiven, OneOf};
    use crate::config::option::{dashed, flag_name};
    use made_up::{Asked, OPTIONS, TABLE};

    /// Whatever is not refused.
    struct Anything;

    impl Kind<String> for Anything {
        fn parse(&self, text: &str) -> Result<String, String> {
            let refused = text == "refused";
            if refused { Err("allowed is anything else".to_owned()) } else { Ok(text.to_owned()) }
        }

        fn text(&self, value: &String) -> String {
            value.clone()
        }
    }

    /// A table with a row of every sort that `options.rs` may have.
    #[expect(unreachable_pub, reason = "the options of the real table are the crate's")]
    mod made_up {
        use super::*;

        rows! {
            plain_text: String {
                kind: Anything,
                heading: "Made up",
                value: "TEXT",
                default: "a",
                help: "A value that is always there.",
            }

            switch: bool {
                kind: OneOf(&[("off", false), ("on", true)]),
                heading: "Made up",
                default: "off",
                help: "A flag without a value.",
            }

            password: Option<String> {
                kind: IfGiven(Anything),
                heading: "Made up",
                value: "TEXT",
                default_words: "none",
                secret: true,
                help: "A value that is told to nobody.",
            }
        }
    }

    /// Reads `args`, the variables of `env` and the preset of `--plain-text`.
    fn read(
        args: &[&str],
        env: &[(&str, &str)],
        preset: Option<&'static str>,
    ) -> Result<Asked, Failure> {
        let arguments = OPTIONS.into_iter().map(|option| option.argument());
        let command = clap::Command::new("made-up").no_binary_name(true).args(arguments);
        let matches = command.try_get_matches_from(args);
        let matches = matches.map_err(|error| Failure::command_line(&error))?;
        let variable = |name: &str| {
            let found = env.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, text)| (*text).to_owned())
        };
        let presets = preset.map(|text| (&TABLE.plain_text.option, text)).into_iter().collect();
        Asked::read(&Sources { matches: &matches, env: &variable, presets })
    }

    /// What `check` would say, a line for each option.
    fn shown(args: &[&str], env: &[(&str, &str)]) -> [String; OPTIONS.len()] {
        let asked = read(args, env, None).expect("it is taken");
        let lines: Vec<String> = asked.shown().iter().map(Shown::to_string).collect();
        let squeezed = lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let squeezed: Vec<String> = squeezed.map(|words| words.join(" ")).collect();
        squeezed.try_into().expect("every option is shown")
    }

    fn refused(args: &[&str], env: &[(&str, &str)]) -> String {
        match read(args, env, None) {
            Ok(_) => panic!("{args:?} {env:?} was taken"),
            Err(failure) => failure.line,
        }
    }

    #[test]
    fn a_row_makes_a_flag_a_variable_and_a_field() {
        assert_eq!(OPTIONS.map(|option| option.name), ["plain-text", "switch", "password"]);
        let text = |args, env| {
            let asked = read(args, env, None).expect("it is taken");
            asked.into_values().plain_text
        };
        assert_eq!(text(&["--plain-text", "b"], &[]), "b");
        assert_eq!(text(&[], &[("ELBOW_PLAIN_TEXT", "c")]), "c");
    }

    #[test]
    fn the_first_source_that_speaks_is_heard() {
        let variable = [("ELBOW_PLAIN_TEXT", "c")];
        let found = |args, env, preset| {
            let asked = read(args, env, preset).expect("it is taken");
            (asked.plain_text.value.clone(), asked.plain_text.source)
        };
        let (args, preset) = (&["--plain-text", "b"], Some("p"));
        assert_eq!(found(args, &variable, preset), ("b".to_owned(), ValueSource::Flag));
        assert_eq!(found(&[], &variable, preset), ("c".to_owned(), ValueSource::Env));
        assert_eq!(found(&[], &[], preset), ("p".to_owned(), ValueSource::Preset));
        assert_eq!(found(&[], &[], None), ("a".to_owned(), ValueSource::Default));
    }

    #[test]
    fn a_flag_without_a_value_switches_on_and_its_variable_says_which() {
        let switch = |args, env| shown(args, env)[1].clone();
        assert_eq!(switch(&[], &[]), "--switch off (default)");
        assert_eq!(switch(&["--switch"], &[("ELBOW_SWITCH", "off")]), "--switch on (flag)");
        assert_eq!(switch(&[], &[("ELBOW_SWITCH", "On")]), "--switch on (env)");
        assert_eq!(switch(&[], &[("ELBOW_SWITCH", " ")]), "--switch off (default)");
        let asked = read(&["--switch"], &[], None).expect("it is taken");
        assert!(asked.into_values().switch);
        assert_eq!(
            refused(&[], &[("ELBOW_SWITCH", "1")]),
            "ELBOW_SWITCH: bad value \"1\": allowed is one of off, on"
        );
        let line = "unexpected value 'off' for '--switch' found; no more were expected";
        assert_eq!(refused(&["--switch=off"], &[]), line);
        assert_eq!(TABLE.switch.option.synopsis(), "--switch");
    }

    #[test]
    fn a_secret_is_shown_to_nobody() {
        let password = |args, env| shown(args, env)[2].clone();
        assert_eq!(password(&[], &[]), "--password none (default)");
        assert_eq!(password(&["--password", "xyzzy"], &[]), "--password (set) (flag)");
        assert_eq!(password(&[], &[("ELBOW_PASSWORD", "xyzzy")]), "--password (set) (env)");
        assert_eq!(
            refused(&["--password", "refused"], &[]),
            "--password: bad value (not shown): allowed is anything else"
        );
        let asked = read(&["--password", "xyzzy"], &[], None).expect("it is taken");
        assert_eq!(asked.password.named(), "--password (set) (flag)");
        assert_eq!(asked.into_values().password.as_deref(), Some("xyzzy"));
    }

    #[test]
    fn only_a_default_moves() {
        let moved = |args| {
            let mut asked = read(args, &[], None).expect("it is taken");
            asked.plain_text.adjust("d".to_owned());
            asked.plain_text.named()
        };
        assert_eq!(moved(&[]), "--plain-text d (derived)");
        assert_eq!(moved(&["--plain-text", "b"]), "--plain-text b (flag)");
        assert_eq!(moved(&["--plain-text", "d"]), "--plain-text d (flag)");
    }
}
