//! The commands as readers know them: what each is for, and every flag with its meaning.
//!
//! The manual (`manual.rs`) and the completions of shells (`completions.rs`) are made from it.
//! Which commands and flags there are is asked of clap (`command_line.rs`), what the server's
//! options mean of their table (`options.rs`). What is left is here: a line for each command, and
//! the meaning of the flags that are no options.
//!
//! The surprise: nothing of this is in the binary. Only tests call it, which write and compare the
//! files in `deploy/`.

use super::command_line::command;
use super::option::Opt;
use super::options::OPTIONS;

/// What a command is for, by its name; the server itself has none.
const PURPOSES: [(&str, &str); 6] = [
    ("", "Run the server."),
    (
        "check",
        "Print every effective value with its origin, the memory ceiling and the capacity. Takes \
         the options of the server, and starts nothing.",
    ),
    ("health", "Probe a running server, within 2 seconds."),
    ("token", "Print a token for tests and scripts."),
    ("doctor", "Say what is wrong with a running server, and what mends it."),
    ("top", "Show what goes on in a running server, each second."),
];

/// What the flags mean that are no options of the server: the command, the flag, the meaning.
const MEANINGS: [(&str, &str, &str); 14] = [
    (
        "health",
        "url",
        "Whom to ask: http://HOST:PORT/PATH, where HOST is an IP address or localhost, or \
         unix:SOCKET. Without it ELBOW_HEALTH_LISTEN, then ELBOW_LISTEN, then port 3000 on the \
         loopback address is asked for /healthz.",
    ),
    ("token", "key", "The file with the secret that the token is signed with."),
    ("token", "subject", "Whom the token is for (sub)."),
    ("token", "audience", "The audience (aud) of the token."),
    ("token", "issuer", "The issuer (iss) of the token."),
    (
        "token",
        "join",
        "Channels that its bearer may join. A * at the end of a name stands for whatever follows.",
    ),
    ("token", "say", "Channels that its bearer may speak in. Without it, those of --join."),
    ("token", "expires", "For how long the token holds. An hour, unless told otherwise."),
    (
        "doctor",
        "url",
        "Whom to ask: http://HOST:PORT or unix:SOCKET of --admin-listen. Without it \
         ELBOW_ADMIN_LISTEN is asked.",
    ),
    ("doctor", "json", "Answer in JSON."),
    (
        "doctor",
        "aws",
        "Ask nobody, but print the aws commands that ask the balancer's side, and what they have \
         to answer for the options of the server that are given as well.",
    ),
    (
        "doctor",
        "admin-token-file",
        "The file with the token, if the listener wants one. Without it ELBOW_ADMIN_TOKEN_FILE, \
         then ELBOW_ADMIN_TOKEN, then systemd's credential admin-token.",
    ),
    ("top", "url", "Whom to ask, like elbow doctor."),
    ("top", "admin-token-file", "The file with the token, like elbow doctor."),
];

/// A command, or the server itself.
pub(super) struct CommandText {
    /// How the command is called; empty for the server.
    pub(super) name: String,
    /// What the command is for, in whole sentences.
    pub(super) purpose: &'static str,
    /// The flags of the command, in the order in which they are told.
    pub(super) flags: Vec<FlagText>,
}

impl CommandText {
    /// Whether the command takes the options of the server.
    pub(super) fn takes_options(&self) -> bool {
        self.flags.iter().any(|flag| flag.option.is_some())
    }

    /// The flags that are the command's own.
    pub(super) fn own_flags(&self) -> impl Iterator<Item = &FlagText> {
        self.flags.iter().filter(|flag| flag.option.is_none())
    }
}

/// A flag of a command.
pub(super) struct FlagText {
    /// The flag without the leading dashes.
    pub(super) name: String,
    /// What stands for the value; empty if the flag takes none.
    pub(super) value: String,
    /// Whether the flag may be given more than once.
    pub(super) repeatable: bool,
    /// What the flag means, in whole sentences.
    pub(super) meaning: &'static str,
    /// The option of the server that the flag is, if it is one.
    pub(super) option: Option<&'static Opt>,
}

/// What the value of a flag is, as far as a shell can complete it.
pub(super) enum Value {
    /// The flag takes none.
    None,
    /// The flag takes one of these words.
    Words(Vec<String>),
    /// The name of a file.
    File,
    /// The name of a folder.
    Folder,
    /// Something that no shell can guess.
    Any,
}

impl FlagText {
    /// What can be completed behind the flag.
    pub(super) fn value(&self) -> Value {
        match &*self.value {
            "" => Value::None,
            "PATH" if self.name.ends_with("-file") => Value::File,
            "FILE" => Value::File,
            "DIR" => Value::Folder,
            words if words.contains('|') => {
                Value::Words(words.split('|').map(str::to_owned).collect())
            }
            _ => Value::Any,
        }
    }

    /// The meaning in a few words: its first clause, without a full stop.
    pub(super) fn gist(&self) -> &'static str {
        let ends = [". ", ": ", "; "].iter().filter_map(|end| self.meaning.find(end));
        let end = ends.min().unwrap_or(self.meaning.len());
        self.meaning[..end].trim_end_matches('.')
    }
}

/// The server itself, then every command, in the order in which they are told.
///
/// # Panics
/// If clap knows a command or a flag that has no words here.
pub(super) fn commands() -> Vec<CommandText> {
    let root = command();
    let server = command_text(&root, "");
    let others = root.get_subcommands().map(|command| command_text(command, command.get_name()));
    core::iter::once(server).chain(others).collect()
}

fn command_text(command: &clap::Command, name: &str) -> CommandText {
    let purpose = PURPOSES.iter().find(|(purposed, _)| *purposed == name);
    let (_, purpose) = purpose.expect("each command is for something");
    let flags = command.get_arguments().map(|argument| flag_text(name, argument));
    CommandText { name: name.to_owned(), purpose, flags: flags.collect() }
}

fn flag_text(command: &str, argument: &clap::Arg) -> FlagText {
    let name = argument.get_long().expect("every argument is a flag").to_owned();
    let has_value = matches!(argument.get_action(), clap::ArgAction::Set | clap::ArgAction::Append);
    let names = argument.get_value_names().filter(|_| has_value).unwrap_or_default();
    let meant = MEANINGS.iter().find(|(of, flag, _)| *of == command && *flag == name);
    let option = OPTIONS.into_iter().find(|option| option.name == name).filter(|_| meant.is_none());
    let meaning = meant.map(|(_, _, meaning)| *meaning).or(option.map(|option| option.help));
    FlagText {
        value: names.iter().map(|name| name.as_str()).collect(),
        repeatable: matches!(argument.get_action(), clap::ArgAction::Append),
        meaning: meaning.expect("each flag means something"),
        option,
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_every_flag_has_words_and_none_too_many() {
        let commands = commands();
        assert_eq!(commands.len(), PURPOSES.len());
        assert_eq!(commands.iter().flat_map(CommandText::own_flags).count(), MEANINGS.len());
        for command in commands.iter().filter(|command| command.takes_options()) {
            let told: Vec<&Opt> = command.flags.iter().filter_map(|flag| flag.option).collect();
            let is_meant = |name| MEANINGS.iter().any(|it| (it.0, it.1) == (&*command.name, name));
            let options = OPTIONS.into_iter().filter(|option| !is_meant(option.name));
            assert_eq!(told, options.collect::<Vec<_>>(), "{}", command.name);
        }
    }

    #[test]
    fn a_flag_whose_value_is_a_file_is_completed_by_files() {
        let commands = commands();
        let flags = || commands.iter().flat_map(|command| &command.flags);
        for flag in flags().filter(|flag| flag.value == "FILE" || flag.name.ends_with("-file")) {
            assert!(matches!(flag.value(), Value::File), "{}", flag.name);
        }
        assert!(flags().any(|flag| flag.name == "redis-ca" && matches!(flag.value(), Value::File)));
    }

    #[test]
    fn the_gist_of_a_meaning_is_its_first_clause() {
        for command in commands() {
            for flag in &command.flags {
                let gist = flag.gist();
                assert!(flag.meaning.starts_with(gist) && !gist.ends_with('.'), "{gist}");
                assert!((5..=160).contains(&gist.len()), "{gist}");
            }
        }
    }
}
