//! The manual page and the completions of shells in `deploy/`.
//!
//! Goal: they tell what the program takes, all of it and nothing else. Method: they are made from
//! what clap reads and from the table of options, and compared with the files; `UPDATE=1 cargo
//! test --test manual` writes these. That man, mandoc and the shells understand them is tested with
//! these programs (`tests/e2e/deploy.test.mjs`).

use std::fs;
use std::path::Path;

use elbow::config::{self, OPTIONS};

/// Compares a file with what is made for it, or writes the file.
#[expect(clippy::disallowed_methods, reason = "the way to ask a test for more")]
fn compare(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("it can be made");
        fs::write(&path, made).expect("the file can be written");
        return;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == made, "deploy/{name} is stale: UPDATE=1 cargo test --test manual");
}

#[test]
fn the_manual_is_fresh() {
    compare("elbow.1", &config::manual());
}

#[test]
fn the_completions_are_fresh() {
    compare("completions/elbow.bash", &config::bash_completions());
    compare("completions/_elbow", &config::zsh_completions());
    compare("completions/elbow.fish", &config::fish_completions());
}

#[test]
fn each_of_them_names_every_option() {
    let manual = config::manual().replace("\\-", "-");
    let (bash, zsh) = (config::bash_completions(), config::zsh_completions());
    let fish = config::fish_completions();
    for option in OPTIONS {
        let (flag, name) = (option.flag(), option.name);
        assert!(manual.contains(&format!("\\fB{flag}\\fR")), "{flag}");
        assert!(manual.contains(&format!("\\fB{}\\fR.", option.env_name())), "{flag}");
        assert!(bash.contains(&format!("{flag} ")), "{flag}");
        assert!(zsh.contains(&format!("{flag}=[")) || zsh.contains(&format!("{flag}[")), "{flag}");
        assert!(fish.contains(&format!(" -l {name} ")), "{flag}");
    }
}
