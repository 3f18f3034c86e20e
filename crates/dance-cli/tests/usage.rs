//! What all commands have in common.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Stdio;

use support::{dance, run};

#[test]
fn help_is_a_result_and_a_missing_command_is_not() {
    let ran = run(["--help"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("EXIT CODES:") && ran.stderr.is_empty(), "{ran:?}");

    let ran = run(Vec::<&str>::new());
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");

    let ran = run(["--version"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, concat!("dance ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn an_unknown_option_is_wrong_usage() {
    run(["extension", "encode", "--no-such-option"]).assert_usage_error("--no-such-option");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = dance().args(["name", "a.example.com"]).stdout(writer).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(0));
}
