//! A run that is long enough to show that a long one would work.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

fn soak(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dance-soak")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (output.status.code(), text)
}

// Every kind of client comes, each is told what was planned, and no file stays open.
#[test]
fn five_hundred_handshakes() {
    let (code, text) = soak(&["--handshakes", "500", "--clients", "48"]);
    assert_eq!(code, Some(0), "{text}");
    let rows: Vec<Vec<&str>> = text.lines().filter_map(row).collect();
    assert!(rows.len() > 20, "{text}");
    for row in rows {
        let numbers: Vec<u64> = row.iter().rev().take(2).map(|cell| cell.parse().unwrap()).collect();
        assert!(matches!(numbers.as_slice(), [0, clients] if *clients > 0), "{text}");
    }
}

/// The cells of a row of the table of clients.
fn row(line: &str) -> Option<Vec<&str>> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
    (cells.first() != Some(&"client")).then_some(cells)
}

#[test]
fn wrong_usage() {
    for arguments in [&["--handshakes"][..], &["--handshakes", "many"], &["fast"]] {
        let (code, text) = soak(arguments);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("Usage: "), "{text}");
    }
}

// SEC-01, SEC-02: strangers come without end and ask for names below zones that never answer; known clients are authenticated as ever.
#[test]
fn a_flood_of_strangers() {
    let (code, text) = soak(&["flood", "--seconds", "2", "--rate", "500", "--known", "40", "--judge", "no"]);
    assert_eq!(code, Some(0), "{text}");
    let runs: Vec<Vec<&str>> = text.lines().filter(|line| line.contains("strangers/s |")).filter_map(row).collect();
    let floods: Vec<_> =
        runs.iter().filter(|row| row.first().is_some_and(|name| name.ends_with("strangers/s"))).collect();
    assert_eq!(floods.len(), 2, "{text}");
    for flood in floods {
        assert!(
            matches!(flood.as_slice(), [_, authenticated, "0", ..] if authenticated.parse::<u64>().unwrap() > 40),
            "{text}"
        );
    }
}
