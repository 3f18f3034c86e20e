//! The conformance vectors of this repository, and the runner's own honesty.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use dance_cli::vectors::{Error, Summary, check, expectations, sections};
use serde_json::{Value, json};

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors")
}

fn vectors() -> Value {
    serde_json::from_slice(&std::fs::read(dir().join("vectors.json")).unwrap()).unwrap()
}

fn run_one(meta: &Value, section: &str, case: Value) -> Summary {
    let mut content = match section.split_once('/') {
        Some((section, part)) => json!({ section: { part: [case] } }),
        None => json!({ section: [case] }),
    };
    content["meta"] = meta.clone();
    check(&content, &dir(), &[]).unwrap()
}

// CID-02, CID-03, CID-04, CID-06, CID-07, CID-08, CID-09, CID-10, CID-12, CID-13, CID-14, CID-15, CID-17
// NAM-01, NAM-02, NAM-03, NAM-04, NAM-05, NAM-06, NAM-08, NAM-11
// TLSA-01, TLSA-02, TLSA-03, TLSA-04, TLSA-05, TLSA-06, TLSA-07, TLSA-08, TLSA-09, TLSA-10, TLSA-11, TLSA-12
// TLSA-14, TLSA-15, TLSA-16, TLSA-17, TLSA-18, TLSA-19, TLSA-20, TLSA-21, TLSA-22, TLSA-24, TLSA-25, TLSA-26, TLSA-29
// RPK-01, SRV-04, SRV-05, SRV-07, SRV-08, SRV-11, SRV-12, SRV-13, SRV-14, SRV-16
// DNS-03, DNS-04, DNS-05, DNS-08, HTTP-02, HTTP-03, HTTP-04, HTTP-08, HTTP-09, HTTP-10, HTTP-11, HTTP-12, HTTP-13, HTTP-18
#[test]
fn every_case_comes_out_as_expected() {
    let summary = check(&vectors(), &dir(), &[]).unwrap();
    assert_eq!(summary.failures, []);
    assert_eq!(summary.passed, 464);
}

#[test]
fn every_altered_expectation_is_reported() {
    let vectors = vectors();
    let mut altered = 0;
    for section in sections() {
        let cases = cases(&vectors, section);
        assert!(!cases.is_empty(), "{section}");
        for case in cases {
            assert_eq!(run_one(&vectors["meta"], section, case.clone()).failures, [], "control");
            // What a case leaves out can be altered as well, by adding it.
            for pointer in expectations(section) {
                let mut case = case.clone();
                match pointer.rsplit_once('/') {
                    None => case = json!("altered"),
                    Some((parent, member)) => {
                        // Where the expectations are one text and not an object, nothing lies below.
                        let Some(parent) = case.pointer_mut(parent).and_then(Value::as_object_mut) else { continue };
                        parent.insert(member.to_owned(), json!("altered"));
                    }
                }
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

/// Nothing in the file is left out: what `check` reads of it is all that there is.
#[test]
fn every_case_of_the_file_is_run() {
    let vectors = vectors();
    let mut run = 0;
    for section in sections() {
        run += cases(&vectors, section).len();
    }
    let parts = vectors["http"].as_object().unwrap().keys().map(|part| format!("http/{part}"));
    let named = vectors.as_object().unwrap().keys().filter(|name| !["meta", "http"].contains(&name.as_str())).cloned();
    let mut all: Vec<String> = named.chain(parts).collect();
    let mut known: Vec<String> = sections().map(str::to_owned).collect();
    all.sort();
    known.sort();
    assert_eq!(known, all);
    assert_eq!(check(&vectors, &dir(), &[]).unwrap(), Summary { passed: run, failures: Vec::new() });
}

/// The cases of a section; one that is no list is one.
fn cases(vectors: &Value, section: &str) -> Vec<Value> {
    let cases = vectors.pointer(&format!("/{section}")).unwrap();
    cases.as_array().cloned().unwrap_or_else(|| vec![cases.clone()])
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
        ("http/native_header", "/value", "sensor7._device.example.com", "Sensor7._device.example.com"),
        ("http/native_header", "/name", "Dane-Clientid", "Dane-Client-Id"),
        ("http/cooperative", "/client_name", "device1.example.com", "DEVICE1.example.com"),
    ]
    .map(|(section, pointer, from, to)| (section, pointer, json!(from), json!(to)));
    let statuses = [(400, 401), (401, 400), (401, 403), (403, 401)];
    let statuses = statuses.map(|(from, to)| ("http/cooperative", "/status", json!(from), json!(to)));
    for (section, pointer, from, to) in swaps.into_iter().chain(statuses) {
        let mut swapped = 0;
        for mut case in cases(&vectors, section) {
            if case.pointer(pointer) == Some(&from) {
                *case.pointer_mut(pointer).unwrap() = to.clone();
                assert_eq!(run_one(&vectors["meta"], section, case).failures.len(), 1, "{section} {from} {to}");
                swapped += 1;
            }
        }
        assert!(swapped > 0, "{section} {pointer} {from}");
    }
}

#[test]
fn sections_can_be_chosen_and_must_be_known() {
    let vectors = vectors();
    let only = |name: &str| check(&vectors, &dir(), &[name.to_owned()]);
    assert_eq!(only("name").unwrap().passed, 25);
    assert_eq!(only("http").unwrap().passed, 29);
    assert_eq!(only("http/cooperative").unwrap().passed, 14);
    assert!(matches!(only("nmae"), Err(Error::UnknownSection(name)) if name == "nmae"));
    assert!(matches!(only("http/nmae"), Err(Error::UnknownSection(name)) if name == "http/nmae"));
    assert!(matches!(only("nam"), Err(Error::UnknownSection(name)) if name == "nam"));
    assert!(matches!(
        check(&json!({ "http": { "future": [] } }), &dir(), &[]),
        Err(Error::UnknownSection(name)) if name == "http/future"
    ));
    assert!(matches!(check(&json!({ "http": [] }), &dir(), &[]), Err(Error::NoParts(name)) if name == "http"));
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
    // A member that nobody knows could change what is expected.
    let vectors = vectors();
    for section in sections().filter(|section| section.starts_with("http/") && *section != "http/strip_inbound") {
        for mut case in cases(&vectors, section) {
            case["future"] = json!(true);
            let summary = run_one(&vectors["meta"], section, case);
            assert_eq!(summary.failures[0].what, "the case has member \"future\", which is not known", "{section}");
        }
    }
    let summary = run_one(&Value::Null, "http/strip_inbound", json!("X-Mine"));
    assert_eq!(
        summary.failures[0].to_string(),
        "FAIL http/strip_inbound[0] \"X-Mine\": expected \"X-Mine\", found null"
    );
}
