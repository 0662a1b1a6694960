//! The source itself: what docs/STYLE.md asks for and no lint checks.
//!
//! Goal: a reader can trust the plan of the house. A file knows only the floors below it, the core
//! knows no socket, file or clock, functions fit a screen, and nothing is left for later.
//!
//! Method: each file is masked twice by a small scanner, which blanks strings in `prose` and
//! comments as well in `code`, line by line. Paths are read out of `code` with their `{…}` groups
//! spread, so that `use std::{fs, io}` is seen as two. A check returns a line for each violation,
//! `file:line: what is wrong`; the first test runs all of them over the tree, the others show to
//! each what it must find and what it must let pass.

#[path = "tidy/calls.rs"]
mod calls;
#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/pages.rs"]
mod pages;
#[path = "tidy/palette.rs"]
mod palette;

use std::fs;
use std::path::Path;

/// A module of the crate's root and the floor it stands on (docs/ARCHITECTURE.md, *The house*).
const FLOORS: [(&str, u8); 26] = [
    ("time", 0),
    ("rate", 0),
    ("lifetime", 0),
    ("limits", 0),
    ("id", 0),
    ("position", 0),
    ("reason", 0),
    ("work", 0),
    ("text", 0),
    ("wire", 1),
    ("feed", 2),
    ("wheel", 2),
    ("membership", 2),
    ("order", 2),
    ("pool", 2),
    ("outbound", 2),
    ("metrics", 2),
    ("site", 2),
    ("settings", 2),
    ("keys", 2),
    ("visa", 2),
    ("conn", 3),
    ("hub", 4),
    ("server", 5),
    ("shell", 6),
    ("lib", 7),
];

/// Who may use which neighbour on the same floor.
const NEIGHBOURS: [(&str, &str); 8] = [
    ("limits", "time"),
    ("limits", "rate"),
    ("rate", "time"),
    ("lifetime", "time"),
    ("membership", "feed"),
    ("outbound", "feed"),
    ("outbound", "pool"),
    ("outbound", "site"),
];

/// Beside the floors: who may know what, whole. `config` is plain data about the command line and
/// stands on nothing but words and values, which is why the shell may know it.
const BESIDE: [(&str, &[&str]); 5] = [
    (
        "config",
        &[
            "time",
            "rate",
            "limits",
            "keys",
            "settings",
            "text",
            "wire::base_path",
            "wire::host",
            "wire::origin",
            "wire::token",
        ],
    ),
    ("client", &["config"]),
    ("doctor", &["client", "config", "settings", "text"]),
    ("cli", &["client", "config", "doctor", "keys", "settings", "text"]),
    ("main", &["cli", "shell"]),
];

/// What only the shell may name.
const OUTSIDE: [&str; 8] = [
    "mio",
    "rustix",
    "signal_hook_mio",
    "simple_logger",
    "socket2",
    "std::fs",
    "std::net",
    "std::time",
];

/// Names of the system that any file may use: a length and a fixed date are no clock.
const HARMLESS: [&str; 2] = ["std::time::Duration", "std::time::UNIX_EPOCH"];

/// The commands that ask a server have a small blocking client; the head of client.rs says so.
const CLIENT: [&str; 4] = ["socket2", "std::fs", "std::net", "std::time"];

/// `elbow check` and `elbow token` read keys; the head of cli.rs says so.
const KEY_READER: [&str; 2] = ["std::fs", "std::time"];

/// How a doc comment may not begin: a hover shows it without whatever such words lean on.
const LEANING: [&str; 17] = [
    "It",
    "Its",
    "They",
    "Their",
    "The same",
    "That of",
    "When that",
    "Those",
    "All of",
    "None of",
    "The other",
    "The others",
    "Both",
    "…",
    "And",
    "But",
    "Or",
];

/// How the name of a function begins that asks and changes nothing.
const ASKING: [&str; 4] = ["is_", "has_", "may_", "can_"];

const COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;

/// A source file.
struct Source {
    /// From the root of the repository, with `/`.
    path: String,
    text: String,
    /// Without comments and the insides of strings.
    code: String,
    /// Without the insides of strings.
    prose: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let masked = mask(text);
        Source { path: path.into(), text: text.into(), code: masked.code, prose: masked.prose }
    }

    /// The module of the crate's root that this file belongs to; `None` for tests and benches.
    fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        inside.split('/').next().map(|first| first.trim_end_matches(".rs"))
    }

    fn is_shell(&self) -> bool {
        self.module() == Some("shell")
    }

    /// The line at which `#[cfg(test)] mod tests` begins, or one past the last.
    fn tests_begin(&self) -> usize {
        let lines: Vec<&str> = self.code.lines().collect();
        let marks = lines.windows(2).position(|pair| {
            pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod ")
        });
        marks.map_or(lines.len() + 1, |at| at + 1)
    }

    fn complain(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// Every check, over one file.
fn violations(source: &Source) -> Vec<String> {
    let checks = [
        floors, border, plain_data, head, columns, functions, predicates, leftovers, unwraps,
        safety, hovers,
    ];
    checks.iter().flat_map(|check| check(source)).collect()
}

/// A file uses floors below, and beside itself only its own folder.
fn floors(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let tests = source.tests_begin();
    let mut found = Vec::new();
    for (line, path) in paths(&source.code) {
        let mut parts = path.split("::");
        let root = parts.next().unwrap_or_default();
        let rest: Vec<&str> = parts.collect();
        match root {
            "crate" | "elbow" if !rest.is_empty() && !may_know(module, &rest) => {
                let what = format!("`{module}` may not know `{}`", rest.join("::"));
                found.push(source.complain(line, &what));
            }
            // Out of a folder, or from one file at the root to another: a way round this check.
            "super" if line < tests && (is_root(source) || rest.first() == Some(&"super")) => {
                found.push(source.complain(line, "`super` leaves the folder; say `crate`"));
            }
            _ => {}
        }
    }
    found
}

/// Whether the parent of this file's module is the crate itself.
fn is_root(source: &Source) -> bool {
    let depth = source.path.matches('/').count();
    depth == 1 || depth == 2 && source.path.ends_with("/mod.rs")
}

fn may_know(module: &str, path: &[&str]) -> bool {
    let other = path[0];
    if let Some((_, known)) = BESIDE.iter().find(|(name, _)| *name == module) {
        let path = path.join("::");
        return other == module || known.iter().any(|known| is_within(&path, known));
    }
    let floor = |name| FLOORS.iter().find(|(module, _)| *module == name).map(|(_, floor)| *floor);
    match (floor(module), floor(other)) {
        (Some(own), Some(floor)) => {
            floor < own || other == module || NEIGHBOURS.contains(&(module, other))
        }
        (Some(_), None) => module == "shell" && other == "config",
        (None, _) => false,
    }
}

/// Whether `path` is `whole` or a part of it.
fn is_within(path: &str, whole: &str) -> bool {
    path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Only the shell knows sockets, files and clocks.
fn border(source: &Source) -> Vec<String> {
    if source.module().is_none() || source.is_shell() {
        return Vec::new();
    }
    let granted: &[&str] = match &*source.path {
        "src/client.rs" => &CLIENT,
        "src/cli.rs" => &KEY_READER,
        _ => &[],
    };
    let named = |path: &str, list: &[&str]| list.iter().any(|one| is_within(path, one));
    paths(&source.code)
        .into_iter()
        .filter(|(_, path)| named(path, &OUTSIDE) && !named(path, &HARMLESS))
        .filter(|(_, path)| !named(path, granted))
        .map(|(line, path)| source.complain(line, &format!("`{path}` belongs to the shell")))
        .collect()
}

/// The core is plain data: no shared ownership, no trait objects.
fn plain_data(source: &Source) -> Vec<String> {
    let floor = FLOORS.iter().find(|(name, _)| Some(*name) == source.module());
    // What is counted for tests is the thread's, and nothing depends on it.
    if floor.is_none_or(|(_, floor)| *floor > 5) || source.module() == Some("work") {
        return Vec::new();
    }
    let banned = ["Rc", "Arc", "RefCell", "Cell", "Mutex", "dyn"];
    words(&source.code)
        .filter(|(_, word)| banned.contains(word))
        .map(|(line, word)| source.complain(line, &format!("`{word}` in the core")))
        .collect()
}

/// A file opens with what it is, and has no lint switched off for the whole of it.
fn head(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if !source.text.starts_with("//! ") {
        found.push(source.complain(1, "does not open with `//!`"));
    }
    for (line, text) in numbered(&source.code) {
        if text.contains("#![allow") || text.contains("#![expect") {
            found.push(source.complain(line, "a lint switched off for a whole file"));
        }
    }
    found
}

/// Lines fit.
fn columns(source: &Source) -> Vec<String> {
    numbered(&source.text)
        .map(|(line, text)| (line, text.chars().count()))
        .filter(|(_, columns)| *columns > COLUMNS_MAX)
        .map(|(line, columns)| source.complain(line, &format!("{columns} columns")))
        .collect()
}

/// Functions fit a screen.
fn functions(source: &Source) -> Vec<String> {
    let code: Vec<char> = source.code.chars().collect();
    let mut found = Vec::new();
    let mut line = 1;
    for at in 0..code.len() {
        if code[at] == '\n' {
            line += 1;
        }
        if is_function(&code, at) {
            let length = body(&code, at).iter().filter(|c| **c == '\n').count() + 1;
            if length > FUNCTION_LINES_MAX {
                found.push(source.complain(line, &format!("a function of {length} lines")));
            }
        }
    }
    found
}

/// A function that is named like a question does not change what it asks.
fn predicates(source: &Source) -> Vec<String> {
    let tokens = tokens(&source.code);
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let (line, name) = pair[1];
        if pair[0].1 != "fn" || !ASKING.iter().any(|asking| name.starts_with(asking)) {
            continue;
        }
        let behind = tokens[at + 2..].iter().map(|(_, token)| *token);
        let arguments = behind.skip_while(|token| *token != "(").skip(1);
        let first: Vec<&str> = arguments.take_while(|token| !",):".contains(token)).collect();
        if first.starts_with(&["&"]) && first.ends_with(&["mut", "self"]) {
            found.push(source.complain(line, &format!("`{name}` asks, and takes `&mut self`")));
        }
    }
    found
}

/// Whether `fn` and a name stand at `at`.
fn is_function(code: &[char], at: usize) -> bool {
    code[at..].starts_with(&['f', 'n', ' '])
        && code.get(at + 3).is_some_and(|next| is_word(*next))
        && (at == 0 || !is_word(code[at - 1]))
}

/// From `at` to the brace that closes the next one opened, or to the `;` of a mere declaration.
fn body(code: &[char], at: usize) -> &[char] {
    let mut braces = 0_usize;
    let mut others = 0_usize;
    for (length, c) in code[at..].iter().enumerate() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            '{' => braces += 1,
            '}' if braces == 1 => return &code[at..at + length],
            '}' => braces -= 1,
            ';' if braces == 0 && others == 0 => return &code[at..at + length],
            _ => {}
        }
    }
    &code[at..]
}

/// Nothing is left for later.
fn leftovers(source: &Source) -> Vec<String> {
    let notes = ["TODO", "FIXME", "XXX"];
    let macros = ["todo", "unimplemented", "dbg"];
    let prose = words(&source.prose).filter(|(_, word)| notes.contains(word));
    let code = words(&source.code).filter(|(_, word)| macros.contains(word));
    let mut found: Vec<String> =
        prose.map(|(line, word)| source.complain(line, &format!("`{word}` is left"))).collect();
    for (line, word) in code {
        let text = source.code.lines().nth(line - 1).unwrap_or_default();
        if text.contains(&format!("{word}!")) {
            found.push(source.complain(line, &format!("`{word}!` is left")));
        }
    }
    found
}

/// Outside of tests it is said why something must be there; and tests stand at the bottom.
fn unwraps(source: &Source) -> Vec<String> {
    if source.module().is_none() {
        return Vec::new();
    }
    let tests = source.tests_begin();
    let mut found: Vec<String> = numbered(&source.code)
        .take_while(|(line, _)| *line < tests)
        .filter(|(_, text)| text.contains(".unwrap()") || text.contains(".unwrap_err()"))
        .map(|(line, _)| source.complain(line, "a bare unwrap; `expect` says why it holds"))
        .collect();
    let below: Vec<&str> = source.code.lines().skip(tests).collect();
    let end = below.iter().position(|line| *line == "}").map_or(below.len(), |at| at + 1);
    if let Some(more) = below.iter().skip(end).position(|line| !line.trim().is_empty()) {
        found.push(source.complain(tests + end + more + 1, "code below the tests"));
    }
    found
}

/// `unsafe` only where the system is met, or memory counted.
fn safety(source: &Source) -> Vec<String> {
    if source.is_shell() || source.path == "tests/limits.rs" {
        return Vec::new();
    }
    words(&source.code)
        .filter(|(_, word)| *word == "unsafe")
        .map(|(line, _)| source.complain(line, "`unsafe` outside of the shell"))
        .collect()
}

/// A doc comment can be read without its neighbours: neither does it begin with a word that leans
/// on the one before, nor does it leave its sentence to the one behind.
fn hovers(source: &Source) -> Vec<String> {
    let docs: Vec<Option<&str>> = source.prose.lines().map(doc).collect();
    let mut found = Vec::new();
    for (at, text) in docs.iter().enumerate() {
        let Some(text) = text else { continue };
        let is_first = at == 0 || docs[at - 1].is_none();
        let is_last = docs.get(at + 1).is_none_or(Option::is_none);
        if let Some(words) = LEANING.iter().find(|words| is_first && begins_with(text, words)) {
            found.push(source.complain(at + 1, &format!("a doc comment begins with \"{words}\"")));
        }
        if is_last && text.ends_with('…') {
            found.push(source.complain(at + 1, "a doc comment ends in the middle of a sentence"));
        }
    }
    found
}

/// What a line says, if it is one of a doc comment.
fn doc(line: &str) -> Option<&str> {
    let line = line.trim();
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim)
}

/// Whether `text` begins with `words`, and not with a longer word.
fn begins_with(text: &str, words: &str) -> bool {
    text.strip_prefix(words).is_some_and(|rest| !rest.starts_with(is_word))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Identifiers and keywords, each with its line.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    numbered(text).flat_map(|(line, text)| {
        text.split(|c| !is_word(c)).filter(|word| !word.is_empty()).map(move |word| (line, word))
    })
}

/// Every path of `code` (`a::b::c`) with its line; `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(code: &str) -> Vec<(usize, String)> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let starts = tokens[at].1.starts_with(is_word);
        let alone = at > 0 && tokens[at - 1].1 == "use";
        if starts && (alone || tokens.get(at + 1).is_some_and(|next| next.1 == "::")) {
            at = spread(&tokens, at, "", &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path, or a group of them, that continues `prefix`; where it ends.
fn spread(
    tokens: &[(usize, &str)],
    mut at: usize,
    prefix: &str,
    found: &mut Vec<(usize, String)>,
) -> usize {
    let mut path = prefix.to_owned();
    let line = tokens[at].0;
    while let Some((_, token)) = tokens.get(at) {
        if *token == "{" && path.ends_with("::") {
            at += 1;
            while tokens.get(at).is_some_and(|(_, token)| *token != "}") {
                if tokens[at].1 == "as" {
                    at += 2;
                    continue;
                }
                let next = spread(tokens, at, &path, found);
                at = next.max(at + 1);
            }
            return at + 1;
        }
        if !token.starts_with(is_word) {
            break;
        }
        path += token;
        at += 1;
        match tokens.get(at) {
            Some((_, "::")) => path += "::",
            Some(_) | None => break,
        }
        at += 1;
    }
    if path != prefix {
        found.push((line, path.trim_end_matches(':').to_owned()));
    }
    at
}

/// Words, `::` and single other characters, each with its line.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (line, text) in numbered(code) {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            found.push((line, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    found
}

#[derive(Default)]
struct Masked {
    code: String,
    prose: String,
}

impl Masked {
    /// Copies `text` to where it belongs and blanks it elsewhere, keeping the lines.
    fn push(&mut self, text: &str, what: What) {
        for c in text.chars() {
            let blank = if c == '\n' { '\n' } else { ' ' };
            self.code.push(if what == What::Code { c } else { blank });
            self.prose.push(if what == What::String { blank } else { c });
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Code,
    Comment,
    String,
}

/// Tells comments and strings from code.
fn mask(text: &str) -> Masked {
    let mut masked = Masked::default();
    let mut rest = text;
    let mut after_word = false;
    while let Some(first) = rest.chars().next() {
        let (length, what) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), What::Comment)
        } else if rest.starts_with("/*") {
            (block_comment(rest), What::Comment)
        } else if let Some(length) = raw_string(rest).filter(|_| !after_word) {
            (length, What::String)
        } else if first == '"' {
            (string(rest), What::String)
        } else if let Some(length) = character(rest) {
            (length, What::String)
        } else {
            (first.len_utf8(), What::Code)
        };
        masked.push(&rest[..length], what);
        after_word = is_word(first) && what == What::Code;
        rest = &rest[length..];
    }
    masked
}

/// The length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let step = if text[at..].starts_with("/*") {
            depth += 1;
            2
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            2
        } else {
            text[at..].chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of a raw string, if one begins here.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let opening = after.find(|c| c != '#').filter(|at| after[*at..].starts_with('"'))?;
    let start = text.len() - after.len() + opening + 1;
    let end = format!("\"{}", "#".repeat(opening));
    Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// The length of a string with its quotes.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character with its quotes, if it is not a lifetime that begins here.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    if first == '\\' {
        // The second of `'\''` is the character, not the end.
        return inside[2..].find('\'').map(|at| at + 4);
    }
    let length = first.len_utf8();
    inside[length..].starts_with('\'').then_some(length + 2)
}

/// Every Rust file below `folder`.
fn collect(root: &Path, folder: &str, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    for entry in entries {
        let entry = entry.expect("a folder of the repository can be read");
        let name = entry.file_name().into_string().expect("names here are ASCII");
        let path = format!("{folder}/{name}");
        if entry.path().is_dir() {
            if !["node_modules", "output", "target"].contains(&name.as_str()) {
                collect(root, &path, found);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("source is UTF-8");
            found.push(Source::new(&path, &text));
        }
    }
}

#[test]
fn the_tree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "fuzz"] {
        collect(root, folder, &mut sources);
    }
    for known in ["src/lib.rs", "src/server/io/read.rs", "src/wire/http/head.rs", "tests/tidy.rs"] {
        assert!(sources.iter().any(|source| source.path == known), "{known} was not looked at");
    }
    let mut found: Vec<String> = sources.iter().flat_map(violations).collect();
    found.extend(circles::circles(&sources));
    found.extend(calls::calls(&sources));
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

/// Every module has its floor, so that a new one is thought about.
#[test]
fn every_module_has_a_floor() {
    let lib = Source::new("src/lib.rs", include_str!("../src/lib.rs"));
    let declared: Vec<&str> = numbered(&lib.code)
        .filter_map(|(_, line)| line.trim_start_matches("pub ").strip_prefix("mod "))
        .map(|rest| rest.trim_end_matches(';'))
        .collect();
    assert!(declared.contains(&"server"));
    let placed = FLOORS.iter().map(|(name, _)| *name).chain(BESIDE.iter().map(|(name, _)| *name));
    let placed: Vec<&str> = placed.collect();
    for name in declared {
        assert!(placed.contains(&name), "`{name}` stands on no floor");
    }
}

/// The lines that `check` complains about in `text` at `path`.
fn lines(check: fn(&Source) -> Vec<String>, path: &str, text: &str) -> Vec<usize> {
    check(&Source::new(path, text))
        .iter()
        .map(|complaint| {
            let rest = complaint.strip_prefix(&format!("{path}:")).expect("it names the file");
            rest.split(':').next().and_then(|line| line.parse().ok()).expect("it names the line")
        })
        .collect()
}

#[test]
fn a_use_of_a_floor_above_is_found() {
    let up = "use crate::id;\nuse crate::hub::Hub;\n";
    assert_eq!(lines(floors, "src/feed.rs", up), [2]);
    assert_eq!(lines(floors, "src/conn/mod.rs", up), [2]);
    assert_eq!(lines(floors, "src/server/mod.rs", up), []);
    assert_eq!(lines(floors, "src/wire/ws/mod.rs", "fn f(_: crate::pool::Pool) {}"), [1]);
    assert_eq!(lines(floors, "src/server/mod.rs", "use crate::config::Config;"), [1]);
    assert_eq!(lines(floors, "src/shell/mod.rs", "use crate::config::Config;"), []);
    assert_eq!(lines(floors, "src/shell/mod.rs", "use crate::cli;"), [1]);
}

#[test]
fn a_use_of_a_neighbour_is_found() {
    assert_eq!(lines(floors, "src/feed.rs", "use crate::pool::Pool;"), [1]);
    assert_eq!(lines(floors, "src/outbound.rs", "use crate::pool::Pool;"), []);
    assert_eq!(lines(floors, "src/conn/http.rs", "use crate::conn::Conn;"), []);
    assert_eq!(lines(floors, "src/time.rs", "use crate::limits;"), [1]);
}

#[test]
fn groups_are_spread() {
    let grouped = "use crate::{\n    id::{Offset, Seq},\n    time,\n    server::Server,\n};";
    assert_eq!(lines(floors, "src/feed.rs", grouped), [4]);
    assert_eq!(lines(border, "src/feed.rs", "use std::{\n    io,\n    fs,\n};"), [3]);
    let spread = paths("use a::{b, c::{d, e as f}, g::*}; h::<I>(); use j;");
    let spread: Vec<&str> = spread.iter().map(|(_, path)| path.as_str()).collect();
    assert_eq!(spread, ["a::b", "a::c::d", "a::c::e", "a::g", "h", "j"]);
}

#[test]
fn ways_round_the_floors_are_found() {
    assert_eq!(lines(floors, "src/feed.rs", "use super::server::Server;"), [1]);
    assert_eq!(lines(floors, "src/conn/mod.rs", "use super::server::Server;"), [1]);
    assert_eq!(lines(floors, "src/conn/http.rs", "use super::Conn;"), []);
    assert_eq!(lines(floors, "src/conn/http.rs", "use super::super::hub::Hub;"), [1]);
    let tests = "#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
    assert_eq!(lines(floors, "src/feed.rs", tests), []);
}

#[test]
fn what_stands_beside_the_floors_knows_little() {
    let origin = "use crate::wire::origin::Origin;";
    assert_eq!(lines(floors, "src/config/mod.rs", origin), []);
    assert_eq!(lines(floors, "src/config/mod.rs", "use crate::wire::ws;"), [1]);
    assert_eq!(lines(floors, "src/cli.rs", "use crate::shell;"), [1]);
    assert_eq!(lines(floors, "src/main.rs", "use elbow::{cli, shell};"), []);
    assert_eq!(lines(floors, "src/main.rs", "use elbow::{cli, server};"), [1]);
    assert_eq!(lines(floors, "src/new.rs", "use crate::time;"), [1]);
}

#[test]
fn sockets_files_and_clocks_below_the_shell_are_found() {
    for outside in ["mio::Poll", "std::net::TcpStream", "std::fs", "std::time::Instant"] {
        let text = format!("//! x\nuse {outside};\n");
        assert_eq!(lines(border, "src/server/mod.rs", &text), [2], "{outside}");
        assert_eq!(lines(border, "src/shell/net.rs", &text), [], "{outside}");
    }
    assert_eq!(lines(border, "src/conn/mod.rs", "let now = std::time::SystemTime::now();"), [1]);
    assert_eq!(lines(border, "src/conn/mod.rs", "use core::net::IpAddr;"), []);
    assert_eq!(lines(border, "src/conn/mod.rs", "use std::time::Duration; use mios::Poll;"), []);
    assert_eq!(lines(border, "src/client.rs", "use std::net::TcpStream;"), []);
    assert_eq!(lines(border, "src/cli.rs", "use std::net::TcpStream;"), [1]);
    assert_eq!(lines(border, "src/cli.rs", "use std::fs::File;"), []);
}

#[test]
fn comments_and_strings_are_not_code() {
    let text = "// mio::Poll\n/* /* std::fs */ std::fs */\nlet a = \"mio::Poll \\\" std::fs\";\n\
                let b = r#\"mio::Poll \" std::fs\"#;\nlet c = ('\"', '\\'', b'x');\n\
                use mio::Poll;\n";
    assert_eq!(lines(border, "src/feed.rs", text), [6]);
    assert_eq!(lines(border, "src/feed.rs", "fn f<'a>(x: &'a str) -> mio::Poll<'a> {}"), [1]);
}

#[test]
fn shared_and_virtual_things_in_the_core_are_found() {
    let text = "use std::rc::Rc;\nfn f(_: &dyn Fn()) {}\n";
    assert_eq!(lines(plain_data, "src/hub/mod.rs", text), [1, 2]);
    assert_eq!(lines(plain_data, "src/shell/log.rs", text), []);
    assert_eq!(lines(plain_data, "src/hub/mod.rs", "struct Arch; // dyn\n"), []);
}

#[test]
fn a_bad_head_is_found() {
    assert_eq!(lines(head, "src/feed.rs", "//! What it is.\n"), []);
    assert_eq!(lines(head, "src/feed.rs", "use std::io;\n"), [1]);
    assert_eq!(lines(head, "src/feed.rs", "//! What it is.\n#![allow(dead_code)]\n"), [2]);
}

#[test]
fn long_lines_are_found_by_character() {
    let fits = "─".repeat(100);
    assert_eq!(lines(columns, "src/feed.rs", &fits), []);
    assert_eq!(lines(columns, "src/feed.rs", &format!("\n{fits}─\n")), [2]);
}

#[test]
fn long_functions_are_found() {
    let function = |lines: usize| {
        let body = "    f(\"}\", '{'); // }\n".repeat(lines - 2);
        format!("struct A;\npub(crate) fn long(_: [u8; 3]) -> bool {{\n{body}}}\nfn short() {{}}\n")
    };
    assert_eq!(lines(functions, "src/feed.rs", &function(70)), []);
    assert_eq!(lines(functions, "src/feed.rs", &function(71)), [2]);
    let declared = format!("trait A {{\n    fn a(&self);\n{}}}\n", "    // why\n".repeat(80));
    assert_eq!(lines(functions, "src/feed.rs", &declared), []);
}

#[test]
fn questions_that_change_what_they_ask_are_found() {
    let acting = [
        "fn is_over(&mut self) -> bool {}",
        "pub(crate) fn has_room<const N: usize>(\n    &mut self,\n    b: u8) {}",
        "async fn may_go(&'a mut self);",
        "fn can_wait(& mut self) {}",
    ];
    for text in acting {
        assert_eq!(lines(predicates, "src/a.rs", &format!("\n{text}\n")), [2], "{text}");
        assert_eq!(lines(predicates, "tests/a.rs", &format!("\n{text}\n")), [2], "{text}");
    }
    let asking = [
        "fn is_over(&self) -> bool {}",
        "fn issue(&mut self) {}",
        "fn end(&mut self) -> bool { self.is_over(&mut self.pool) }",
        "fn is_over(pool: &mut Pool) {}",
        "// fn is_over(&mut self)",
        "fn is_it(self) {}\nfn next(&mut self) {}",
    ];
    for text in asking {
        assert_eq!(lines(predicates, "src/a.rs", text), [], "{text}");
    }
}

#[test]
fn leftovers_are_found() {
    assert_eq!(lines(leftovers, "tests/a.rs", "// TODO: later\nlet a = \"TODO\";\n"), [1]);
    assert_eq!(lines(leftovers, "tests/a.rs", "// FIXME\n/* XXX */\n"), [1, 2]);
    assert_eq!(
        lines(leftovers, "src/a.rs", "\ntodo!();\nunimplemented!();\ndbg!(1);\n"),
        [2, 3, 4]
    );
    assert_eq!(lines(leftovers, "src/a.rs", "let todo = 1; // XXXX, dbg!\n"), []);
}

#[test]
fn bare_unwraps_outside_of_tests_are_found() {
    let text = "a.unwrap();\na.unwrap_or(1); // .unwrap()\n";
    let tests = "#[cfg(test)]\nmod tests {\n    fn f() {\n        a.unwrap();\n    }\n}\n";
    assert_eq!(lines(unwraps, "src/feed.rs", &format!("{text}{tests}")), [1]);
    assert_eq!(lines(unwraps, "tests/feed.rs", text), []);
    assert_eq!(lines(unwraps, "src/feed.rs", &format!("{tests}\nfn late() {{}}\n")), [8]);
}

#[test]
fn unsafe_code_outside_of_the_shell_is_found() {
    let text = "// unsafe\nunsafe { f() }\n";
    assert_eq!(lines(safety, "src/pool.rs", text), [2]);
    assert_eq!(lines(safety, "tests/feed.rs", text), [2]);
    assert_eq!(lines(safety, "src/shell/net.rs", text), []);
    assert_eq!(lines(safety, "src/pool.rs", "#[expect(unsafe_code)]\n"), []);
}

#[test]
fn doc_comments_that_lean_on_a_neighbour_are_found() {
    let leaning = [
        "It.",
        "It is over.",
        "Its name.",
        "The same, to change.",
        "That of the channel.",
        "When that of the key was.",
        "Those that wait.",
        "All of them.",
        "None of them has.",
        "The other half.",
        "The others wait.",
        "Both lines.",
        "And of all of them.",
        "… and closed when nothing came back.",
        "Lines that were lost …",
    ];
    for text in leaning {
        for mark in ["///", "//!"] {
            let text = format!("fn f() {{}}\n{mark} {text}\n");
            assert_eq!(lines(hovers, "src/hub/mod.rs", &text), [2], "{text}");
            assert_eq!(lines(hovers, "tests/feed.rs", &text), [2], "{text}");
        }
    }
    let inside =
        "    /// Where the ring ends.\n    /// It is a power of two … or more.\n    ring: u8,\n";
    assert_eq!(lines(hovers, "src/feed.rs", inside), []);
    let alone = "/// Items of the list.\nfn f() {}\n// It waits.\nlet a = \"/// It.\";\n";
    assert_eq!(lines(hovers, "src/feed.rs", alone), []);
}
