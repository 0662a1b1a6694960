//! Whether files import each other in a circle.
//!
//! Goal: the files of a folder have an order, so that each can be read knowing only those before
//! it. A circle means that two files are one that was cut without a name for each half.
//!
//! Method: every path in a file is made absolute. `super` and `self` are counted from the file's
//! own module, or from its tests where the tests begin; a bare name is a module if the file
//! declares one of that name. The longest beginning of a path that is a file is the file that is
//! imported. From each file the shortest way back to it is looked for, by way of files later in the
//! alphabet only, so that each circle is told by its first file and once.

use std::collections::BTreeMap;

use super::{Source, paths};

/// Folders whose files have an order.
const ORDERED: [&str; 1] = ["src/config/"];

/// The modules that a file imports, each with a line that does so.
type Imports = BTreeMap<String, usize>;

/// A complaint for each circle among the files of [`ORDERED`].
pub(super) fn circles(sources: &[Source]) -> Vec<String> {
    let ordered = |source: &&Source| ORDERED.iter().any(|folder| source.path.starts_with(folder));
    let files: BTreeMap<String, &Source> =
        sources.iter().filter(ordered).map(|source| (module(&source.path), source)).collect();
    let imports: BTreeMap<&str, Imports> =
        files.iter().map(|(name, source)| (name.as_str(), imports(name, source, &files))).collect();
    let mut found = Vec::new();
    for (name, source) in &files {
        if let Some(way) = way_back(name, &imports) {
            let line = imports[name.as_str()][way[0]];
            found.push(source.complain(line, &format!("a circle: {name}, {}", way.join(", "))));
        }
    }
    found
}

/// `config::row` for `src/config/row.rs`, `config` for `src/config/mod.rs`.
pub(super) fn module(path: &str) -> String {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    path.trim_end_matches("/mod").replace('/', "::")
}

/// What `source`, which is the module `own`, imports of `files`.
fn imports(own: &str, source: &Source, files: &BTreeMap<String, &Source>) -> Imports {
    let tests = source.tests_begin();
    let mut found = Imports::new();
    for (line, path) in paths(&source.code) {
        let within = if line < tests { own.to_owned() } else { format!("{own}::tests") };
        let file = absolute(&within, &path).and_then(|path| file_of(path, files));
        if let Some(file) = file.filter(|file| file != own) {
            found.entry(file).or_insert(line);
        }
    }
    found
}

/// The path from the crate's root, if `path` in the module `within` may lead into the crate.
pub(super) fn absolute(within: &str, path: &str) -> Option<String> {
    if let Some(rest) = path.strip_prefix("crate::") {
        return Some(rest.to_owned());
    }
    let mut base = within;
    let mut rest = path.strip_prefix("self::").unwrap_or(path);
    while let Some(above) = rest.strip_prefix("super") {
        base = base.rsplit_once("::").map_or("", |(base, _)| base);
        rest = above.trim_start_matches("::");
    }
    (!base.is_empty()).then(|| format!("{base}::{rest}"))
}

/// The file that the longest beginning of `path` names.
pub(super) fn file_of(mut path: String, files: &BTreeMap<String, &Source>) -> Option<String> {
    loop {
        if files.contains_key(&path) {
            return Some(path);
        }
        path.truncate(path.rfind("::")?);
    }
}

/// The shortest way from `start` back to it that passes no file before it in the alphabet.
fn way_back<'a>(start: &str, imports: &'a BTreeMap<&str, Imports>) -> Option<Vec<&'a str>> {
    let mut reached: Vec<&str> = vec![start];
    let mut ways: Vec<Vec<&'a str>> = vec![Vec::new()];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in imports[*way.last().unwrap_or(&start)].keys() {
                let way: Vec<&'a str> = way.iter().copied().chain([next.as_str()]).collect();
                if next == start {
                    return Some(way);
                }
                if next.as_str() > start && !reached.contains(&next.as_str()) {
                    reached.push(next);
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

/// The complaints about files of `src/config`, given by their names and texts.
fn told(files: &[(&str, &str)]) -> Vec<String> {
    let source = |(name, text): &(&str, &str)| Source::new(&format!("src/config/{name}"), text);
    circles(&files.iter().map(source).collect::<Vec<_>>())
}

#[test]
fn an_order_is_let_pass() {
    let files = [
        ("mod.rs", "mod a;\nmod b;\npub use a::A;\nfn f() { b::g() }\n"),
        ("a.rs", "use super::b::{B, c};\nuse crate::config::c;\n"),
        ("b.rs", "use super::c::C;\nuse crate::limits::Limits;\n"),
        ("c.rs", "use std::fmt;\nfn f() { self::g(); fmt::a() }\n"),
    ];
    assert_eq!(told(&files), [""; 0]);
}

#[test]
fn a_circle_is_found_and_told_once() {
    let two = [("b.rs", "//! b\nuse super::a::A;\n"), ("a.rs", "fn f(_: super::b::B) {}\n")];
    assert_eq!(told(&two), ["src/config/a.rs:1: a circle: config::a, config::b, config::a"]);
    let three = [
        ("a.rs", "use super::b;\n"),
        ("b.rs", "use super::{d, c::C};\n"),
        ("c.rs", "\nuse crate::config::a::{A};\n"),
        ("d.rs", ""),
    ];
    let circle = "src/config/a.rs:1: a circle: config::a, config::b, config::c, config::a";
    assert_eq!(told(&three), [circle]);
    let behind = [
        ("a.rs", "use super::b;\n"),
        ("b.rs", "use super::c;\n"),
        ("c.rs", "\nuse super::b::B;\n"),
    ];
    assert_eq!(told(&behind), ["src/config/b.rs:1: a circle: config::b, config::c, config::b"]);
}

#[test]
fn a_circle_through_the_head_of_the_folder_is_found() {
    let files = [("mod.rs", "mod a;\npub use a::A;\n"), ("a.rs", "use super::Config;\n")];
    assert_eq!(told(&files), ["src/config/mod.rs:2: a circle: config, config::a, config"]);
    let by_path = [("mod.rs", "mod a;\nfn f() { a::g(); }\n"), ("a.rs", "use crate::config::B;")];
    assert_eq!(told(&by_path), ["src/config/mod.rs:2: a circle: config, config::a, config"]);
}

#[test]
fn what_tests_import_counts_but_for_their_own_file() {
    let tests = |inside| format!("#[cfg(test)]\nmod tests {{\n    use {inside};\n}}\n");
    let (own, others) = (tests("super::*"), tests("super::super::b::B"));
    let b = ("b.rs", "use super::a::A;\n");
    assert_eq!(told(&[("a.rs", &own), b]), [""; 0]);
    let circle = "src/config/a.rs:3: a circle: config::a, config::b, config::a";
    assert_eq!(told(&[("a.rs", &others), b]), [circle]);
}

#[test]
fn folders_within_the_folder_count() {
    let files =
        [("a.rs", "use super::b::c::C;"), ("b/mod.rs", ""), ("b/c.rs", "use crate::config::a;")];
    let circle = "src/config/a.rs:1: a circle: config::a, config::b::c, config::a";
    assert_eq!(told(&files), [circle]);
    let up =
        [("a.rs", "use super::b::c::C;"), ("b/mod.rs", ""), ("b/c.rs", "use super::super::a;")];
    assert_eq!(told(&up), [circle]);
}
