//! What documents and comments refer to: it is in the repository.
//!
//! Goal: a reader can open whatever is named. No page is cited that only its author has, no file
//! that has moved since, and every link of a page leads to a file, and to the heading that it asks
//! for.
//!
//! Method: the repository is the tree without what builds and tests leave in it. Every name of a
//! page (`….md`) in any text must be the name of one that is there. Paths are looked for where
//! people read, in comments of Rust and in the whole of other texts: what begins with a folder of
//! the repository, or is a file below `src` by its path from there. Links are those of Markdown
//! outside of code, headings get the anchors that GitHub gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{mask, numbered};

/// What is not the repository's, by name: what builds and tests leave, and what is git's own.
const LEFT_OUT: [&str; 6] = [".git", "target", "node_modules", "output", "grown", "__pycache__"];

/// Inputs of fuzzing: bytes that may look like anything.
const BYTES: &str = "fuzz/corpus/";

/// The page whose table says of every source file what it knows, in its own row or its folder's.
const PLAN: &str = "docs/ARCHITECTURE.md";

/// The README is read whole or not at all.
const README_LINES_MAX: usize = 200;

/// The tree: its texts by their paths from the root, and all that a path may lead to.
struct Repository {
    texts: BTreeMap<String, String>,
    /// Files and folders; folders without `/` at their ends.
    places: BTreeSet<String>,
}

impl Repository {
    fn new(texts: &[(&str, &str)]) -> Repository {
        let mut repository = Repository { texts: BTreeMap::new(), places: BTreeSet::new() };
        for (path, text) in texts {
            repository.texts.insert((*path).to_owned(), (*text).to_owned());
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            repository.places.extend(ends.map(|end| path[..end].to_owned()));
        }
        repository
    }

    fn read(root: &Path) -> Repository {
        let mut repository = Repository::new(&[]);
        repository.read_folder(root, "");
        repository
    }

    fn read_folder(&mut self, root: &Path, folder: &str) {
        for entry in fs::read_dir(root.join(folder)).expect("a folder of the repository") {
            let entry = entry.expect("a folder of the repository can be read");
            let name = entry.file_name().into_string().expect("names here are UTF-8");
            if LEFT_OUT.contains(&name.as_str()) {
                continue;
            }
            let path = format!("{folder}{name}");
            if entry.path().is_dir() {
                self.read_folder(root, &format!("{path}/"));
            } else if let Ok(text) = fs::read_to_string(entry.path())
                && !path.starts_with(BYTES)
            {
                self.texts.insert(path.clone(), text);
            }
            self.places.insert(path);
        }
    }

    /// Every check, over every text.
    fn violations(&self) -> Vec<String> {
        let checks = [Self::pages, Self::paths, Self::links, Self::rows];
        let texts = || self.texts.iter();
        checks.iter().flat_map(|check| texts().flat_map(|(path, _)| check(self, path))).collect()
    }

    /// Names of pages that are not there, wherever they stand.
    fn pages(&self, path: &str) -> Vec<String> {
        let mut found = Vec::new();
        // The examples below are strings of this file.
        let text =
            if path == file!() { comments(&self.texts[path]) } else { self.texts[path].clone() };
        for (line, text) in numbered(&text) {
            for word in path_words(text).filter(|word| word.ends_with(".md")) {
                let name = word.trim_start_matches("../").trim_start_matches("./");
                let is_here = |place: &String| {
                    place
                        .strip_suffix(name)
                        .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
                };
                if !name.starts_with('.') && !self.places.iter().any(is_here) {
                    found.push(format!("{path}:{line}: there is no page `{word}`"));
                }
            }
        }
        found
    }

    /// Paths that lead nowhere, where people read.
    fn paths(&self, path: &str) -> Vec<String> {
        let text = &self.texts[path];
        let comments = if path.ends_with(".rs") { comments(text) } else { text.clone() };
        let mut found = Vec::new();
        for (line, text) in numbered(&comments) {
            for word in path_words(text).filter(|word| word.contains('/')) {
                let word = word.trim_end_matches('/');
                let first = word.split('/').next().unwrap_or_default();
                let is_source = word.ends_with(".rs") && self.is_place(&format!("src/{first}"));
                let made = word.split('/').any(|part| LEFT_OUT.contains(&part));
                let below_root = self.is_folder(first) && !self.is_place(word) && !made;
                if below_root || is_source && !self.is_place(&format!("src/{word}")) {
                    found.push(format!("{path}:{line}: `{word}` leads nowhere"));
                }
            }
        }
        found
    }

    /// Links of a page that lead nowhere.
    fn links(&self, path: &str) -> Vec<String> {
        if !path.ends_with(".md") {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (line, target) in links(&self.texts[path]) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (to, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let to = if to.is_empty() { Some(path.to_owned()) } else { resolve(path, to) };
            let Some(to) = to.filter(|to| self.is_place(to)) else {
                found.push(format!("{path}:{line}: the link {target} leads nowhere"));
                continue;
            };
            let has_anchor = |text: &String| anchors(text).any(|one| one == anchor);
            if !anchor.is_empty() && !self.texts.get(&to).is_some_and(has_anchor) {
                found.push(format!("{path}:{line}: {to} has no heading #{anchor}"));
            }
        }
        found
    }

    /// Source files without a row in the plan, and rows without a file.
    fn rows(&self, path: &str) -> Vec<String> {
        if path != PLAN {
            return Vec::new();
        }
        let cell = |text: &str| {
            let (cell, _) = text.strip_prefix("| `")?.split_once("` |")?;
            (cell.ends_with(".rs") || cell.ends_with('/')).then(|| format!("src/{cell}"))
        };
        let rows: Vec<(usize, String)> = numbered(&self.texts[path])
            .filter_map(|(line, text)| Some((line, cell(text)?)))
            .collect();
        let is_named = |file: &str| {
            rows.iter().any(|(_, row)| file == row || row.ends_with('/') && file.starts_with(row))
        };
        let mut found = Vec::new();
        for (line, row) in &rows {
            if !self.is_place(row.trim_end_matches('/')) {
                found.push(format!("{path}:{line}: the row of `{row}` leads nowhere"));
            }
        }
        for file in self.texts.keys().filter(|file| file.starts_with("src/")) {
            if !is_named(file) {
                found.push(format!("{path}:1: `{file}` has no row"));
            }
        }
        found
    }

    fn is_place(&self, path: &str) -> bool {
        self.places.contains(path)
    }

    fn is_folder(&self, path: &str) -> bool {
        self.is_place(path) && !self.texts.contains_key(path)
    }
}

/// What looks like a path or a file's name in a line; not what is part of an address elsewhere.
fn path_words(line: &str) -> impl Iterator<Item = &str> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    line.split(move |c| !is_path(c))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| !word.is_empty() && !word.starts_with('/'))
}

/// The comments of a Rust file, with everything else blanked, line by line.
fn comments(text: &str) -> String {
    let masked = mask(text);
    let pairs = masked.prose.chars().zip(masked.code.chars());
    pairs.map(|(prose, code)| if prose == code && prose != '\n' { ' ' } else { prose }).collect()
}

/// Lines of a page that are not code, with the insides of `code` blanked; each with its number.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut in_code = false;
    numbered(text).filter_map(move |(number, line)| {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            return None;
        }
        let parts = line.split('`').enumerate();
        let blanked: String =
            parts.map(|(at, part)| if at % 2 == 0 { part } else { "`" }).collect();
        (!in_code).then_some((number, blanked))
    })
}

/// The targets of a page's links: `](target)`, and `[name]: target` at the beginning of a line.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        for (_, rest) in line.match_indices("](").map(|(at, mark)| line.split_at(at + mark.len())) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            found.push((number, target.to_owned()));
        }
        let defined = line.strip_prefix('[').and_then(|line| line.split_once("]: "));
        found.extend(defined.map(|(_, target)| (number, target.trim().to_owned())));
    }
    found
}

/// The anchors of a page's headings, as GitHub makes them; a second one of the same words is
/// counted.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    // Headings keep their code, so they are read from the lines themselves.
    let lines: Vec<&str> = text.lines().collect();
    let numbers: Vec<usize> = prose(text).map(|(number, _)| number).collect();
    numbers.into_iter().filter_map(move |number| {
        let line = lines[number - 1];
        let words =
            line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))?;
        let lower = words.trim().to_lowercase();
        let kept = lower.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let count = seen.entry(anchor.clone()).or_default();
        *count += 1;
        Some(if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) })
    })
}

/// Where `target` leads from the page at `path`; `None` if out of the repository.
fn resolve(path: &str, target: &str) -> Option<String> {
    let mut folders: Vec<&str> = path.split('/').collect();
    folders.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                folders.pop()?;
            }
            name => folders.push(name),
        }
    }
    Some(folders.join("/"))
}

#[test]
fn the_pages() {
    let repository = Repository::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    for known in ["README.md", "docs/STYLE.md", ".ci/run", "src/lib.rs", "tests/tidy/pages.rs"] {
        assert!(repository.texts.contains_key(known), "{known} was not looked at");
    }
    let found = repository.violations();
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

#[test]
fn the_readme_is_short() {
    let lines = include_str!("../../README.md").lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines");
}

/// The lines of the first text that are complained about.
fn complained(texts: &[(&str, &str)]) -> Vec<usize> {
    let repository = Repository::new(texts);
    let (path, _) = texts[0];
    let found = repository.violations();
    let lines = found.iter().filter_map(|one| one.strip_prefix(path)?.strip_prefix(':'));
    lines
        .map(|rest| rest.split(':').next().and_then(|line| line.parse().ok()).expect("a line"))
        .collect()
}

#[test]
fn a_page_that_is_not_there_is_found() {
    let page = ("docs/PAGE.md", "");
    assert_eq!(complained(&[("src/a.rs", "//! As LOST.md says.\n"), page]), [1]);
    assert_eq!(complained(&[("src/a.rs", "let a = \"LOST.md\";\n"), page]), [1]);
    assert_eq!(complained(&[("Cargo.toml", "\n# why (LOST.md §8).\n"), page]), [2]);
    assert_eq!(complained(&[("a.mjs", "// page.md, section 3\n"), page]), [1]);
    assert_eq!(complained(&[("a.sh", "# other/PAGE.md\n"), page]), [1]);
    let there = "docs/PAGE.md, PAGE.md. ./docs/PAGE.md ../PAGE.md *.md https://a.example/A.md\n";
    assert_eq!(complained(&[("a.sh", there), page]), [0; 0]);
}

#[test]
fn a_path_that_leads_nowhere_is_found() {
    let tree = [("src/hub/mod.rs", ""), ("tests/run", "")];
    let check = |path, text| complained(&[(path, text), tree[0], tree[1]]);
    assert_eq!(check("tests/a.rs", "// see src/hub/mod.rs\n// and src/hub/gone.rs.\n"), [2]);
    assert_eq!(check("tests/a.rs", "// hub/mod.rs, hub/gone.rs\nlet a = \"src/b.rs\";\n"), [1]);
    assert_eq!(check("tests/a.rs", "// src/hub/, src/*.rs, src/{a,b}.rs, and/or, 1/2\n"), [0; 0]);
    assert_eq!(check("A.md", "`tests/run e2e` and `tests/walk`\n"), [1]);
    assert_eq!(check("A.md", "https://a.example/src/b.rs\n"), [0; 0]);
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let page = ("docs/PAGE.md", "# The page\n\n```\n# no heading\n```\n## What `it` is, twice\n");
    let check = |text| complained(&[("docs/A.md", text), page, ("src/a.rs", "")]);
    assert_eq!(check("[a](PAGE.md) [b](../src/a.rs) [c](../src/) [d](../docs)\n"), [0; 0]);
    assert_eq!(check("[a](PAGE.md)\n[b](GONE)\n[c](../../x) [d](/docs/PAGE.md)\n"), [2, 3, 3]);
    assert_eq!(check("![a](gone.png)\n[b]: gone.txt\n"), [1, 2]);
    assert_eq!(check("[a](https://a.example/gone) [b](mailto:a@b.example)\n"), [0; 0]);
    assert_eq!(check("`[a](gone)`\n```\n[a](gone)\n```\n[a](gone)\n"), [5]);
    assert_eq!(check("# Top\n[a](#top) [b](PAGE.md#the-page) [c](#gone)\n"), [2]);
    assert_eq!(check("[a](PAGE.md#what-it-is-twice) [b](PAGE.md#no-heading)\n"), [1]);
    assert_eq!(check("# A\n# A\n[a](#a) [b](#a-1) [c](#a-2) [d](../src/a.rs#L1)\n"), [3, 3]);
}

#[test]
fn a_source_file_without_a_row_and_a_row_without_a_file_are_found() {
    let tree = [("src/feed.rs", ""), ("src/wire/http/head.rs", ""), ("src/hub/mod.rs", "")];
    let check = |text: &str| complained(&[(PLAN, text), tree[0], tree[1], tree[2]]);
    let whole = "| file | what |\n| `feed.rs` | a |\n| `wire/http/` | b |\n| `hub/mod.rs` | c |\n";
    assert_eq!(check(whole), [0; 0]);
    assert_eq!(check(&whole.replace("`feed.rs`", "`--flag`")), [1]);
    assert_eq!(check(&whole.replace("`wire/http/`", "`wire/ht/`")), [3, 1]);
    assert_eq!(check(&format!("{whole}| `pool.rs` | d |\n")), [5]);
}
