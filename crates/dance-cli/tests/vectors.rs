//! The conformance vectors of this repository, and the runner's own honesty.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use dance_cli::vectors::{Error, Summary, check, expectations};
use serde_json::{Value, json};

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors")
}

fn vectors() -> Value {
    serde_json::from_slice(&std::fs::read(dir().join("vectors.json")).unwrap()).unwrap()
}

fn run_one(meta: &Value, section: &str, case: Value) -> Summary {
    check(&json!({ "meta": meta, section: [case] }), &dir(), &[]).unwrap()
}

// CID-02, CID-03, CID-04, CID-06, CID-07, CID-08, CID-09, CID-10, CID-12, CID-13, CID-14, CID-15, CID-17
// NAM-01, NAM-02, NAM-03, NAM-04, NAM-05, NAM-06, NAM-08, NAM-11
// TLSA-01, TLSA-02, TLSA-03, TLSA-04, TLSA-05, TLSA-06, TLSA-07, TLSA-08, TLSA-09, TLSA-10, TLSA-11, TLSA-12
// TLSA-14, TLSA-15, TLSA-16, TLSA-17, TLSA-18, TLSA-19, TLSA-20, TLSA-21, TLSA-22, TLSA-24, TLSA-25, TLSA-26, TLSA-29
// RPK-01, SRV-04, SRV-05, SRV-07, SRV-08, SRV-11, SRV-12, SRV-13, SRV-14, SRV-16
// DNS-03, DNS-04, DNS-05, DNS-08, HTTP-18
#[test]
fn every_case_comes_out_as_expected() {
    let summary = check(&vectors(), &dir(), &[]).unwrap();
    assert_eq!(summary.failures, []);
    assert_eq!(summary.passed, 435);
}

#[test]
fn every_altered_expectation_is_reported() {
    let vectors = vectors();
    let mut altered = 0;
    for (section, cases) in vectors.as_object().unwrap() {
        let pointers = expectations(section);
        for case in cases.as_array().into_iter().flatten().filter(|_| !pointers.is_empty()) {
            assert_eq!(run_one(&vectors["meta"], section, case.clone()).failures, [], "control");
            // What a case leaves out can be altered as well, by adding it.
            for pointer in pointers {
                let mut case = case.clone();
                let (parent, member) = pointer.rsplit_once('/').unwrap();
                // Where the expectations are one text and not an object, nothing lies below.
                let Some(parent) = case.pointer_mut(parent).and_then(Value::as_object_mut) else { continue };
                parent.insert(member.to_owned(), json!("altered"));
                let summary = run_one(&vectors["meta"], section, case);
                assert_eq!(
                    (summary.passed, summary.failures.len()),
                    (0, 1),
                    "{section} {pointer} {:?}",
                    summary.failures
                );
                altered += 1;
            }
        }
    }
    assert!(altered > 1000, "{altered}");
}

#[test]
fn a_plausible_wrong_verdict_is_reported() {
    let vectors = vectors();
    let swaps = [
        ("name", "/verdict", "accept", "reject"),
        ("extension", "/verdict", "accept", "reject"),
        ("extension", "/alert", "decode_error", "handshake_failure"),
        ("match", "/expected/verdict", "authenticated", "no_match"),
        ("match", "/expected/verdict", "no_match", "no_usable"),
        ("match", "/expected/verdict", "name_mismatch", "authenticated"),
        ("user", "/expected/verdict", "authenticated", "no_match"),
        ("dns", "/expected", "secure", "insecure"),
        ("decision", "/expected", "UNAUTHENTICATED", "NOT-DANE"),
        ("allow_list", "/expected", "deny", "allow"),
    ];
    for (section, pointer, from, to) in swaps {
        let mut cases = 0;
        for case in vectors[section].as_array().unwrap() {
            let mut case = case.clone();
            if case.pointer(pointer) == Some(&json!(from)) {
                *case.pointer_mut(pointer).unwrap() = json!(to);
                assert_eq!(run_one(&vectors["meta"], section, case).failures.len(), 1, "{section} {from} {to}");
                cases += 1;
            }
        }
        assert!(cases > 0, "{section} {pointer} {from}");
    }
}

#[test]
fn sections_can_be_chosen_and_must_be_known() {
    let vectors = vectors();
    let only = |name: &str| check(&vectors, &dir(), &[name.to_owned()]);
    assert_eq!(only("name").unwrap().passed, 25);
    assert_eq!(only("http").unwrap(), Summary { skipped: vec!["http"], ..Summary::default() });
    assert!(matches!(only("nmae"), Err(Error::UnknownSection(name)) if name == "nmae"));
    assert!(matches!(
        check(&json!({ "future": [] }), &dir(), &[]),
        Err(Error::UnknownSection(name)) if name == "future"
    ));
    assert!(matches!(
        check(&json!({ "name": [] }), &dir(), &["dns".to_owned()]),
        Err(Error::NoSuchSection(name)) if name == "dns"
    ));
    assert!(matches!(check(&json!([]), &dir(), &[]), Err(Error::NotAnObject)));
    assert!(matches!(check(&json!({ "name": {} }), &dir(), &[]), Err(Error::NotAList("name"))));
}

#[test]
fn a_case_that_makes_no_sense_fails() {
    let summary = run_one(&Value::Null, "name", json!({ "name": "no octets" }));
    assert_eq!(summary.failures[0].to_string(), "FAIL name[0] \"no octets\": the case has no valid octets_hex");
    let case = json!({ "name": "x", "cert": "certs/missing.pem", "usage": 3, "selector": 1, "matching_type": 1 });
    assert!(run_one(&Value::Null, "tlsa_rdata", case).failures[0].what.starts_with("cannot read certs/missing.pem"));
}
