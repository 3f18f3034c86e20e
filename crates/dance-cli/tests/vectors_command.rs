//! `dance vectors run`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::Path;

use serde_json::json;
use support::{Ran, run, vectors};

fn vectors_run(file: &Path, more: &[&str]) -> Ran {
    let args = ["vectors", "run", file.to_str().unwrap()];
    run(args.iter().chain(more))
}

#[test]
fn the_published_vectors_pass() {
    let ran = vectors_run(&vectors("vectors.json"), &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.ends_with(" passed, 0 failed\n") && ran.stderr.is_empty(), "{ran:?}");
}

#[test]
fn a_failing_case_is_named_and_the_answer_is_no() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mine.json");
    let mut allow =
        json!({"name": "mine", "patterns": ["a.example.com"], "client_name": "a.example.com", "expected": "allow"});
    fs::write(&file, json!({"allow_list": [allow]}).to_string()).unwrap();
    let ran = vectors_run(&file, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "1 passed, 0 failed\n"), "{ran:?}");

    allow["expected"] = "deny".into();
    fs::write(&file, json!({"allow_list": [allow]}).to_string()).unwrap();
    let ran = vectors_run(&file, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].contains("allow_list") && lines[0].contains("mine"), "{ran:?}");
    assert_eq!(lines[1..], ["0 passed, 1 failed"]);
}

#[test]
fn sections_can_be_selected_and_files_lie_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("copy.json");
    fs::copy(vectors("vectors.json"), &file).unwrap();
    let ran = vectors_run(&file, &["--section", "message", "--dir", vectors("").to_str().unwrap()]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "13 passed, 0 failed\n"), "{ran:?}");
    // Without them the same cases cannot pass.
    let ran = vectors_run(&file, &["--section", "message"]);
    assert!(ran.code == 1 && ran.stdout.ends_with("\n0 passed, 13 failed\n"), "{ran:?}");
}

#[test]
fn what_is_not_known_is_wrong_usage() {
    vectors_run(&vectors("vectors.json"), &["--section", "nonsense"]).assert_usage_error("nonsense");
    vectors_run(&vectors("README.md"), &[]).assert_usage_error("expected JSON");
    let ran = vectors_run(Path::new("/no/such/file"), &[]);
    assert_eq!(ran.code, 3, "{ran:?}");
}
