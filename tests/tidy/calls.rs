//! Whether the files of the server call each other in a circle.
//!
//! Goal: `server/` can be read from the top down. A file calls methods of files below it and is
//! called by those above, so whoever changes one knows whom that may touch.
//!
//! Method: the methods of `Server` belong to the file whose `impl` block has them. Every
//! `self.name(` in such a file, and every `server.name(`, is a call of the method of that name,
//! wherever the lines are broken. Every path outside of tests, of a type, a function or a constant,
//! is a use of the file that the longest beginning of it names. A call or a use that does not lead
//! down the list [`ORDER`] is told. Files without methods of `Server` (values, and the heads of the
//! wings) stand below the list.
//!
//! One thing is taken from above by design: what the face shows, the types of `mod` (`Server`,
//! `Socket`, `Event`), by their names from there.

use super::circles::{absolute, file_of, module};
use super::{Source, paths, tokens};
use std::collections::BTreeMap;

/// The files of `server/` that have methods of `Server`, each above those that it may call.
const ORDER: [&str; 39] = [
    "mod",
    "drain",
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
    "http/stream",
    "http/upgrade",
    "http/admin",
    "disconnect",
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

/// The module whose types everybody may use.
const FACE: &str = "server";

/// A method of the server, by its name: the file that has it.
type Methods<'a> = BTreeMap<&'a str, &'a str>;

/// A complaint for each call or use that leads upwards, and for each file that has no place in the
/// order.
pub(super) fn calls(sources: &[Source]) -> Vec<String> {
    judge(sources, &ORDER)
}

fn judge(sources: &[Source], order: &[&str]) -> Vec<String> {
    let files: Vec<(&str, &Source)> =
        sources.iter().filter_map(|source| Some((room(&source.path)?, source))).collect();
    let modules: BTreeMap<String, &Source> =
        files.iter().map(|(_, source)| (module(&source.path), *source)).collect();
    let mut methods = Methods::new();
    let mut found = Vec::new();
    for (file, source) in &files {
        let own: Vec<&str> = methods_of(&source.code);
        if !own.is_empty() && !order.contains(file) {
            found.push(source.complain(1, "has no place in the order of the server's files"));
        }
        methods.extend(own.into_iter().map(|name| (name, *file)));
    }
    let place = |file: &str| order.iter().position(|other| *other == file).unwrap_or(order.len());
    for (file, source) in &files {
        let mut judge = |verb: &str, line: usize, name: &str, other: &str| {
            if other != *file && place(other) < place(file) {
                let what = format!("{verb} `{name}`, which stands above it in `{other}`");
                found.push(source.complain(line, &what));
            }
        };
        for (line, name) in called(&impls_of(&source.code)) {
            if let Some(other) = methods.get(name) {
                judge("calls", line, name, other);
            }
        }
        for (line, path, other) in used(source, &modules) {
            judge("uses", line, &path, room(&other.path).unwrap_or_default());
        }
    }
    found
}

/// The paths outside of tests that lead to a file of the server, each with its line and the file,
/// but for the types that the face shows.
fn used<'a>(
    source: &Source,
    modules: &BTreeMap<String, &'a Source>,
) -> Vec<(usize, String, &'a Source)> {
    let (own, tests) = (module(&source.path), source.tests_begin());
    // Who may see something is no use of it.
    let code = source.code.replace("pub(in crate::server)", "pub");
    let mut found = Vec::new();
    for (line, path) in paths(&code).into_iter().filter(|(line, _)| *line < tests) {
        let Some(whole) = absolute(&own, &path) else { continue };
        let Some(file) = file_of(whole.clone(), modules) else { continue };
        let shown = whole.strip_prefix(FACE).filter(|_| file == FACE);
        let is_type = |rest: &str| rest.trim_start_matches(':').starts_with(char::is_uppercase);
        if !shown.is_some_and(is_type) {
            found.push((line, path, modules[&file]));
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

/// The code of a file with everything blanked that is in no `impl` block of `Server`.
fn impls_of(code: &str) -> String {
    let mut kept: Vec<&str> = vec![""; code.lines().count()];
    lines_of(code).for_each(|(line, text)| kept[line - 1] = text);
    kept.join("\n")
}

/// The names of the methods that are called on `self` or on `server`, each with its line.
fn called(code: &str) -> Vec<(usize, &str)> {
    let tokens = tokens(code);
    let is_call = |at: usize| {
        let of = |number: usize| tokens.get(number).map_or("", |(_, token)| *token);
        let is_whole = at == 0 || of(at - 1) != ".";
        let is_server = is_whole && ["self", "server"].contains(&of(at)) && of(at + 1) == ".";
        is_server && ["(", "::"].contains(&of(at + 3))
    };
    (0..tokens.len()).filter(|at| is_call(*at)).map(|at| tokens[at + 2]).collect()
}

/// Files of `src/server`, by their names and texts.
fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    let source = |(name, text): &(&str, &str)| Source::new(&format!("src/server/{name}"), text);
    files.iter().map(source).collect()
}

#[test]
fn calls_lead_down() {
    let method = |name: &str, body: &str| {
        let opening = "impl<S: Socket> Server<S> {\n    fn ";
        format!("{opening}{name}(&self) {{\n        {body}\n    }}\n}}\n")
    };
    let upper = method("above", "self.below(1);");
    let lower = |body: &str| method("below", body);
    let order = ["upper", "io/lower"];
    let judged = |body: &str| {
        judge(&sources(&[("upper.rs", &upper), ("io/lower.rs", &lower(body))]), &order)
    };
    assert_eq!(judged("self.queue.above(); above();"), Vec::<String>::new());
    for (line, body) in [
        (3, "self.above();"),
        (3, "self.then(|server| server.above())"),
        (4, "self\n.above();"),
        (5, "let it = self\n.\nabove::<u8>();"),
    ] {
        let what = "calls `above`, which stands above it in `upper`";
        assert_eq!(judged(body), [format!("src/server/io/lower.rs:{line}: {what}")], "{body}");
    }
    let stranger = judge(&sources(&[("io/lower.rs", &lower(""))]), &["upper"]);
    assert_eq!(stranger.len(), 1, "{stranger:?}");
}

#[test]
fn uses_lead_down() {
    let judged = |name: &str, text: &str| {
        let files = [
            ("mod.rs", "mod upper;\nfn top() { upper::of() }\n"),
            ("upper.rs", "use super::io::lower::B;\n"),
            ("io/mod.rs", ""),
            ("io/lower.rs", ""),
            ("value.rs", ""),
        ];
        let mut files = files.to_vec();
        files.retain(|(other, _)| *other != name);
        files.push((name, text));
        judge(&sources(&files), &["mod", "upper", "io/lower"])
    };
    let down = "use crate::server::{Server, value};\npub(in crate::server) use super::C;\n\
                fn f() { self::g() }\n";
    assert_eq!(judged("io/lower.rs", down), Vec::<String>::new());
    let tests = "#[cfg(test)]\nmod tests {\n    use crate::server::upper::A;\n}\n";
    assert_eq!(judged("io/lower.rs", tests), Vec::<String>::new());
    for text in [
        "use crate::server::{Server, upper::A};",
        "use super::super::upper;",
        "fn f() { crate::server::upper::of() }",
        "fn f(_: crate::server::upper::A) {}",
    ] {
        let found = judged("io/lower.rs", text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].ends_with("which stands above it in `upper`"), "{found:?}");
        // What is a value alone uses nobody of the order.
        assert_eq!(judged("value.rs", text).len(), usize::from(!text.contains("super::super")));
    }
    let face = judged("upper.rs", "use super::top;\n");
    let what = "src/server/upper.rs:1: uses `super::top`, which stands above it in `mod`";
    assert_eq!(face, [what]);
}
