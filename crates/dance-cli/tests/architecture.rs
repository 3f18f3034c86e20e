//! ARCHITECTURE.md is true at least in this: every file it names is there.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

#[test]
fn files_of_the_life_of_a_connection_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '`' | '(' | ')' | ',' | ';' | '|'));
    let named: Vec<&str> = words.filter(|word| word.contains("/src/") && word.ends_with(".rs")).collect();
    assert!(named.len() > 10, "the chart of the life of a connection names files, found {named:?}");
    for file in named {
        assert!(root.join("crates").join(file).is_file(), "ARCHITECTURE.md names crates/{file}, which does not exist");
    }
}
