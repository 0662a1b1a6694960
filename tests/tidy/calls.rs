//! Whether the files of the server call each other in a circle.
//!
//! Goal: `server/` can be read from the top down. A file calls methods of files below it and is
//! called by those above, so whoever changes one knows whom that may touch.
//!
//! Method: the methods of `Server` belong to the file whose `impl` block has them. Every
//! `self.name(` in such a file, and every `server.name(`, is a call of the method of that name. A
//! call that does not lead down the list [`ORDER`] is told.

use super::Source;
use std::collections::BTreeMap;

/// The files of `server/` that have methods of `Server`, each above those that it may call.
const ORDER: [&str; 39] = [
    "mod",
    "drain",
    "disconnect",
    "deadline",
    "backplane",
    "awaiting",
    "io/read",
    "io/flush",
    "http/route",
    "session/request",
    "session/handshake",
    "session/transport",
    "session/packets",
    "session/namespaces",
    "session/polling",
    "session/spaces",
    "http/upgrade",
    "http/stream",
    "http/admin",
    "http/backend",
    "http/watch",
    "http/probe",
    "http/token",
    "admission",
    "places",
    "publish",
    "away",
    "losing",
    "io/turns",
    "session/say",
    "ending",
    "members",
    "session/reply",
    "http/files",
    "http/receipt",
    "http/respond",
    "http/cors",
    "survey",
    "connections",
];

/// A method of the server, by its name: the file that has it.
type Methods<'a> = BTreeMap<&'a str, &'a str>;

/// A complaint for each call that leads upwards, and for each file that has no place in the order.
pub(super) fn calls(sources: &[Source]) -> Vec<String> {
    judge(sources, &ORDER)
}

fn judge(sources: &[Source], order: &[&str]) -> Vec<String> {
    let files: Vec<(&str, &Source)> =
        sources.iter().filter_map(|source| Some((room(&source.path)?, source))).collect();
    let mut methods = Methods::new();
    let mut found = Vec::new();
    for (file, source) in &files {
        let own: Vec<&str> = methods_of(&source.code);
        if !own.is_empty() && !order.contains(file) {
            found.push(source.complain(1, "has no place in the order of the server's files"));
        }
        methods.extend(own.into_iter().map(|name| (name, *file)));
    }
    let place = |file: &str| order.iter().position(|other| *other == file);
    for (file, source) in &files {
        let lines = lines_of(&source.code);
        for (line, name) in lines.flat_map(|(line, text)| called(text).map(move |n| (line, n))) {
            let Some(other) = methods.get(name).filter(|other| *other != file) else { continue };
            if place(other) <= place(file) {
                let what = format!("calls `{name}`, which stands above it in `{other}`");
                found.push(source.complain(line, &what));
            }
        }
    }
    found
}

/// `io/read` for `src/server/io/read.rs`; `None` for a file that is not the server's.
fn room(path: &str) -> Option<&str> {
    path.strip_prefix("src/server/")?.strip_suffix(".rs")
}

/// The lines of the `impl` blocks that belong to `Server`, with their numbers.
fn lines_of(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_server = false;
    code.lines().enumerate().filter_map(move |(at, line)| {
        if line.starts_with("impl") {
            is_server = line.contains(" Server<S> {");
        } else if line == "}" {
            is_server = false;
        }
        is_server.then_some((at + 1, line))
    })
}

/// The methods of `Server` in a file: those of the `impl` blocks that begin with its name.
fn methods_of(code: &str) -> Vec<&str> {
    let is_inside = |line: &&str| line.starts_with("    ") && !line.starts_with("     ");
    let lines = lines_of(code).map(|(_, line)| line).filter(is_inside);
    let names = lines.filter_map(|line| line.split_once("fn ")?.1.split(['(', '<']).next());
    names.collect()
}

/// The names of the methods that are called in a line, on `self` or on `server`.
fn called(line: &str) -> impl Iterator<Item = &str> {
    let receivers = ["self.", "server."];
    receivers.into_iter().flat_map(move |receiver| {
        line.match_indices(receiver).filter_map(move |(at, _)| {
            let before = line[..at].chars().next_back();
            let rest = &line[at + receiver.len()..];
            let name = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
            let is_call = rest[name.len()..].starts_with('(');
            let is_whole = before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '.');
            (is_call && is_whole).then_some(name)
        })
    })
}

#[test]
fn calls_lead_down() {
    let upper = Source::new(
        "src/server/upper.rs",
        "impl<S: Socket> Server<S> {\n    fn above(&self) {\n        self.below(1);\n    }\n}\n",
    );
    let lower = |body: &str| {
        let text = format!(
            "impl<S: Socket> Server<S> {{\n    pub fn below(&self) {{\n        {body}\n    }}\n}}\n"
        );
        Source::new("src/server/io/lower.rs", &text)
    };
    let order = ["upper", "io/lower"];
    let judged = |body| judge(&[Source::new(&upper.path, &upper.text), lower(body)], &order);
    assert_eq!(judged("self.queue.above(); above();"), Vec::<String>::new());
    for body in ["self.above();", "self.then(|server| server.above())"] {
        let what = "src/server/io/lower.rs:3: calls `above`, which stands above it in `upper`";
        assert_eq!(judged(body), [what]);
    }
    let stranger = judge(&[lower("")], &["upper"]);
    assert_eq!(stranger.len(), 1, "{stranger:?}");
}
