//! Completions for bash, zsh and fish: commands, their flags, and values that are words or files.
//!
//! Made from what readers know of commands (`commands.rs`). `deploy/completions/` is what comes of
//! it, kept fresh by a test.
//!
//! The surprise: a command can only be the first word. Behind a flag of the server nothing but its
//! flags is offered.

use std::fmt::Write as _;

use super::commands::{CommandText, FlagText, Value, commands};

/// The completions for bash, to be put into the folder `bash-completion/completions` as `elbow`.
pub fn bash_completions() -> String {
    let commands = commands();
    let mut text = String::from(BASH_BEGIN);
    for (flags, value) in by_value(&commands) {
        let made = match value {
            Value::None => continue,
            Value::Words(words) => format!("-W '{}'", words.join(" ")),
            Value::File => "-f".to_owned(),
            Value::Folder => "-d".to_owned(),
            Value::Any => {
                add(&mut text, format_args!("    {flags}) return ;;\n"));
                continue;
            }
        };
        let reply = "COMPREPLY=($(compgen";
        add(&mut text, format_args!("    {flags}) {reply} {made} -- \"$current\")); return ;;\n"));
    }
    text.push_str("  esac\n  case ${COMP_WORDS[1]} in\n");
    for command in commands.iter().filter(|command| !command.name.is_empty()) {
        let flags = flag_words(command);
        add(&mut text, format_args!("    {}) words='{flags}' ;;\n", command.name));
    }
    for server in commands.iter().filter(|command| command.name.is_empty()) {
        let flags = flag_words(server);
        add(&mut text, format_args!("    *) words='{flags} --version' ;;\n"));
    }
    let names = command_names(&commands).join(" ");
    add(&mut text, format_args!("  esac\n  [[ $COMP_CWORD -gt 1 ]] || words+=' {names}'\n"));
    text.push_str("  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n}\n\n");
    text.push_str("complete -F _elbow elbow\n");
    text
}

/// The completions for zsh, to be put into a folder of `fpath` as `_elbow`.
pub fn zsh_completions() -> String {
    let commands = commands();
    let mut text = String::from(
        "#compdef elbow\n# Completions of elbow for zsh, made from its table of options.\n\n",
    );
    for command in &commands {
        add(&mut text, format_args!("_elbow_{}() {{\n  _arguments -S", zsh_name(command)));
        for flag in &command.flags {
            add(&mut text, format_args!(" \\\n    '{}'", zsh_flag(flag)));
        }
        text.push_str(" \\\n    '--help[Print help]'");
        if command.name.is_empty() {
            text.push_str(" \\\n    '--version[Print the version]'");
        }
        text.push_str("\n}\n\n");
    }
    text.push_str("_elbow() {\n  local -a commands\n  commands=(\n");
    for command in commands.iter().filter(|command| !command.name.is_empty()) {
        let purpose = zsh_escaped(command.purpose.split(". ").next().unwrap_or_default());
        let purpose = purpose.trim_end_matches('.');
        add(&mut text, format_args!("    '{}:{purpose}'\n", command.name));
    }
    let names = command_names(&commands).join("|");
    text.push_str(&ZSH_END.replace("NAMES", &names));
    text
}

/// The completions for fish, to be put into the folder `vendor_completions.d` as `elbow.fish`.
pub fn fish_completions() -> String {
    let commands = commands();
    let names = command_names(&commands).join(" ");
    let mut text = String::from(
        "# Completions of elbow for fish, made from its table of options.\n\n\
         complete -c elbow -f\n",
    );
    for command in &commands {
        let condition = match &*command.name {
            "" => format!("not __fish_seen_subcommand_from {names}"),
            name => format!("__fish_seen_subcommand_from {name}"),
        };
        if !command.name.is_empty() {
            let purpose = fish_escaped(command.purpose.split(". ").next().unwrap_or_default());
            let (name, purpose) = (&command.name, purpose.trim_end_matches('.'));
            let first = format!("complete -c elbow -n __fish_use_subcommand -a {name}");
            add(&mut text, format_args!("{first} -d '{purpose}'\n"));
        }
        for flag in &command.flags {
            let value = match flag.value() {
                Value::None => String::new(),
                Value::Words(words) => format!(" -x -a '{}'", words.join(" ")),
                Value::File => " -r -F".to_owned(),
                Value::Folder => " -x -a '(__fish_complete_directories)'".to_owned(),
                Value::Any => " -x".to_owned(),
            };
            let (name, gist) = (&flag.name, fish_escaped(flag.gist()));
            let begin = format!("complete -c elbow -n '{condition}' -l {name}");
            add(&mut text, format_args!("{begin}{value} -d '{gist}'\n"));
        }
    }
    text.push_str("complete -c elbow -l help -d 'Print help'\n");
    text.push_str("complete -c elbow -n __fish_use_subcommand -l version -d 'Print the version'\n");
    text
}

/// All flags of all commands, by what their values are: those of each kind as `--a|--b`.
fn by_value(commands: &[CommandText]) -> Vec<(String, Value)> {
    let mut flags: Vec<&FlagText> = commands.iter().flat_map(|command| &command.flags).collect();
    flags.sort_by(|a, b| (&a.value, &a.name).cmp(&(&b.value, &b.name)));
    flags.dedup_by(|a, b| a.name == b.name && a.value == b.value);
    let mut kinds: Vec<(String, Value)> = Vec::new();
    for flag in flags {
        let (name, value) = (format!("--{}", flag.name), flag.value());
        let is_any = |value: &Value| matches!(value, Value::Any);
        let joined = kinds.iter_mut().find(|(_, kind)| is_any(kind) && is_any(&value));
        match joined {
            Some((names, _)) => add(names, format_args!("|{name}")),
            None => kinds.push((name, value)),
        }
    }
    kinds
}

fn command_names(commands: &[CommandText]) -> Vec<&str> {
    commands.iter().map(|command| &*command.name).filter(|name| !name.is_empty()).collect()
}

fn flag_words(command: &CommandText) -> String {
    let flags = command.flags.iter().map(|flag| format!("--{}", flag.name));
    flags.chain(["--help".to_owned()]).collect::<Vec<_>>().join(" ")
}

/// The name of a command in that of a function.
fn zsh_name(command: &CommandText) -> &str {
    if command.name.is_empty() { "server" } else { &command.name }
}

/// A flag as `_arguments` wants it, between single quotes.
fn zsh_flag(flag: &FlagText) -> String {
    let repeated = if flag.repeatable { "*" } else { "" };
    let value = zsh_escaped(&flag.value);
    // A value may stand behind an equals sign, too.
    let equals = if value.is_empty() { "" } else { "=" };
    let begin = format!("{repeated}--{}{equals}[{}]", flag.name, zsh_escaped(flag.gist()));
    match flag.value() {
        Value::None => begin,
        Value::Words(words) => format!("{begin}:{value}:({})", words.join(" ")),
        Value::File => format!("{begin}:{value}:_files"),
        Value::Folder => format!("{begin}:{value}:_files -/"),
        Value::Any => format!("{begin}:{value}: "),
    }
}

fn zsh_escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace(':', "\\:");
    text.replace('[', "\\[").replace(']', "\\]").replace('\'', "'\\''")
}

fn fish_escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

/// What completes for bash, up to the values of flags.
const BASH_BEGIN: &str = r"# Completions of elbow for bash, made from its table of options.

_elbow() {
  local current=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]} words
  # A word ends at an equals sign.
  if [[ $current == = ]]; then
    current=
  elif [[ $flag == = ]]; then
    flag=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  COMPREPLY=()
  case $flag in
";

/// What completes for zsh, behind the list of commands, whose names come in.
const ZSH_END: &str = r#"  )
  case $words[2] in
    NAMES)
      if (( CURRENT > 2 )); then
        local name=$words[2]
        shift words
        (( CURRENT-- ))
        _elbow_$name
        return
      fi ;;
  esac
  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
    _describe command commands
  fi
  _elbow_server
}

_elbow "$@"
"#;

fn add(text: &mut String, more: core::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a String takes everything");
}
