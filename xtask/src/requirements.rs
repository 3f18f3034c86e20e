//! Keeps docs/requirements.md true: each requirement has tests, or a reason why not.
//!
//! A test names what it shows in a comment directly above it (`// SRV-07, DNS-11`). The table's first two columns and its last are
//! written by hand; the column of tests is written by `cargo xtask requirements --write`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const TABLE: &str = "docs/requirements.md";
/// Where tests lie.
const SOURCES: &[&str] = &["crates", "examples", "interop"];
const FAMILIES: &[&str] = &["CID", "NAM", "CLI", "SRV", "DNS", "TLSA", "RPK", "HTTP", "SEC"];
const UPDATE: &str = "run `cargo xtask requirements --write` and commit the result";

/// Requirement id -> source file -> names of its tests.
type Found = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Fails unless the table says what the sources say.
pub(crate) fn check(root: &Path) -> Result<String, String> {
    let (old, new) = tables(root)?;
    match old.lines().zip(new.lines()).find(|(old, new)| old != new) {
        Some((old, new)) => Err(format!("{TABLE} is out of date.\n  it says:  {old}\n  found:    {new}\n{UPDATE}")),
        None => Ok(format!("{TABLE} is up to date: {}", count(&new))),
    }
}

/// Writes the column of tests.
pub(crate) fn write(root: &Path) -> Result<String, String> {
    let (old, new) = tables(root)?;
    if old == new {
        return Ok(format!("{TABLE} is up to date: {}", count(&new)));
    }
    fs::write(root.join(TABLE), &new).map_err(|error| format!("{TABLE}: {error}"))?;
    Ok(format!("{TABLE} is written: {}", count(&new)))
}

/// The table as it is and as it should be.
fn tables(root: &Path) -> Result<(String, String), String> {
    let old = fs::read_to_string(root.join(TABLE)).map_err(|error| format!("{TABLE}: {error}"))?;
    let mut found = Found::new();
    for directory in SOURCES {
        scan_directory(root, &root.join(directory), &mut found)?;
    }
    let new = rewrite(&old, found)?;
    Ok((old, new))
}

fn count(table: &str) -> String {
    let rows: Vec<_> = table.lines().filter_map(Row::parse).collect();
    let tested = rows.iter().filter(|row| !row.tests.is_empty()).count();
    format!("{tested} requirements with tests, {} with a reason instead", rows.len() - tested)
}

struct Row<'a> {
    id: &'a str,
    text: &'a str,
    tests: &'a str,
    note: &'a str,
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim);
        let row = Self { id: cells.next()?, text: cells.next()?, tests: cells.next()?, note: cells.next()? };
        (cells.next().is_none() && ids(row.id).next() == Some(row.id)).then_some(row)
    }
}

fn rewrite(old: &str, mut found: Found) -> Result<String, String> {
    let mut new = String::new();
    let mut bare = Vec::new();
    for line in old.lines() {
        let Some(row) = Row::parse(line) else {
            new.push_str(line);
            new.push('\n');
            continue;
        };
        let tests = found.remove(row.id).map(|files| cell(&files)).unwrap_or_default();
        if tests.is_empty() && row.note.is_empty() {
            bare.push(row.id);
        }
        let cells = [row.id, row.text, &tests, row.note];
        let cells = cells.map(|cell| if cell.is_empty() { String::new() } else { format!(" {cell}") });
        let _ = writeln!(new, "|{} |", cells.join(" |"));
    }
    if !bare.is_empty() {
        let bare = bare.join(", ");
        return Err(format!(
            "no test names {bare}: put the id into a comment directly above a test that shows it, or write the reason for having \
             none into the last column of {TABLE}"
        ));
    }
    if let Some((id, files)) = found.first_key_value() {
        return Err(format!(
            "{TABLE} has no row {id}, which {} names: correct the comment or add the row",
            cell(files)
        ));
    }
    Ok(new)
}

fn cell(files: &BTreeMap<String, BTreeSet<String>>) -> String {
    let names = |tests: &BTreeSet<String>| tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(", ");
    files.iter().map(|(file, tests)| format!("{file}: {}", names(tests))).collect::<Vec<_>>().join("; ")
}

fn scan_directory(root: &Path, directory: &Path, found: &mut Found) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", directory.display());
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            scan_directory(root, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let file = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            for (id, test) in scan(&source) {
                found.entry(id).or_default().entry(file.clone()).or_default().insert(test);
            }
        }
    }
    Ok(())
}

/// Requirement ids and the tests that name them: the comments and attributes directly above each test function.
fn scan(source: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut above: Vec<&str> = Vec::new();
    for line in source.lines().map(str::trim) {
        if line.starts_with("//") || line.starts_with("#[") {
            above.push(line);
            continue;
        }
        let is_test = above.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
        if let (true, Some(name)) = (is_test, function_name(line)) {
            let comments = above.iter().filter(|line| line.starts_with("//"));
            pairs.extend(comments.flat_map(|comment| ids(comment)).map(|id| (id.to_owned(), name.to_owned())));
        }
        above.clear();
    }
    pairs
}

fn function_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// The words of a text that are requirement ids.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| {
        word.split_once('-').is_some_and(|(family, number)| {
            FAMILIES.contains(&family) && number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SOURCE: &str = "
        // SRV-07, DNS-11: no query.
        #[tokio::test]
        async fn refused_before_dns() {}

        // SRV-08
        fn helper() {}

        #[test]
        // TLSA-01 and XYZ-01
        fn digests() {}
    ";

    fn found() -> Found {
        let mut found = Found::new();
        for (id, test) in scan(SOURCE) {
            found.entry(id).or_default().entry("a.rs".into()).or_default().insert(test);
        }
        found
    }

    #[test]
    fn ids_are_taken_from_comments_above_tests_only() {
        let expected = [("SRV-07", "refused_before_dns"), ("DNS-11", "refused_before_dns"), ("TLSA-01", "digests")];
        assert_eq!(scan(SOURCE), expected.map(|(id, test)| (id.to_owned(), test.to_owned())));
    }

    #[test]
    fn the_column_of_tests_is_written_and_the_others_are_kept() {
        let table = "# T\n\n| id | what |\n| SRV-07 | text | stale | note |\n| DNS-11 | t | | |\n| TLSA-01 | t | | |\n| SEC-01 | t | gone | later |\n";
        let new = rewrite(table, found()).unwrap();
        let rows: Vec<_> = new.lines().filter_map(Row::parse).collect();
        assert_eq!((rows[0].text, rows[0].tests, rows[0].note), ("text", "a.rs: `refused_before_dns`", "note"));
        assert_eq!((rows[3].tests, rows[3].note), ("", "later"));
        assert_eq!(rewrite(&new, found()).unwrap(), new);
    }

    #[test]
    fn a_row_without_test_or_reason_is_refused() {
        let error =
            rewrite("| SRV-07 | t | | |\n| DNS-11 | t | | |\n| TLSA-01 | t | | |\n| SEC-01 | t | | |\n", found());
        assert!(error.unwrap_err().contains("SEC-01"));
    }

    #[test]
    fn an_unknown_id_in_a_comment_is_refused() {
        let error = rewrite("| SRV-07 | t | | |\n| TLSA-01 | t | | |\n", found()).unwrap_err();
        assert!(error.contains("DNS-11") && error.contains("a.rs"), "{error}");
    }
}
