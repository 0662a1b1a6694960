//! The colours of the two built-in pages: the chat and the status page look like one program.
//!
//! Goal: whoever changes a colour of one page changes it in the other, by day and by night.
//!
//! Method: each page is one folder that is served by a listener of its own, so each has the colours
//! in its own style sheet. Custom properties of one name must have the same values in both, in the
//! same order.

use std::collections::BTreeMap;

/// The values of each custom property, in the order in which they stand.
fn values(sheet: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut values = BTreeMap::<_, Vec<_>>::new();
    for line in sheet.lines().filter(|line| line.trim().starts_with("--")) {
        let (name, value) = line.trim().split_once(':').expect("a name and a value");
        let value = value.split(';').next().unwrap_or_default().trim();
        values.entry(name).or_default().push(value);
    }
    values
}

/// Properties that both sheets have, and not with the same values.
fn differing<'s>(one: &'s str, other: &str) -> Vec<&'s str> {
    let others = values(other);
    let differs = |name: &str, values: &Vec<&str>| others.get(name).is_some_and(|it| it != values);
    values(one).into_iter().filter(|(name, it)| differs(name, it)).map(|(name, _)| name).collect()
}

#[test]
fn both_pages_have_the_same_colours() {
    let chat = include_str!("../../www/style.css");
    let status = include_str!("../../www/status/status.css");
    assert_eq!(differing(chat, status), [] as [&str; 0]);
    let both = values(chat);
    let shared = values(status).into_keys().filter(|name| both.contains_key(name));
    assert!(shared.count() >= 9, "the sheets are read");
}

#[test]
fn a_colour_that_differs_is_found() {
    let one = "  --ink: #111; /* x */\n  --own: #1;\n  @media {\n    --ink: #eee;\n  }\n";
    assert_eq!(differing(one, &one.replace("#eee", "#ddd")), ["--ink"]);
    assert_eq!(differing(one, "--ink: #111;\n--ink: #eee;\n--other: #2;\n"), [] as [&str; 0]);
}
