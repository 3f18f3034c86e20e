//! `dance match`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;

use serde_json::Value;
use support::{Ran, run, unhex, vector_section, vectors};

/// The arguments for a `match` vector; files that hold several certificates are written into `directory`.
fn arguments(case: &Value, directory: &std::path::Path) -> Vec<String> {
    let presented = &case["presented"];
    let gather = |list: &Value, file: &str| {
        let pem: Vec<u8> = list
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|path| fs::read(vectors(path.as_str().unwrap())).unwrap())
            .collect();
        let path = directory.join(file);
        fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut args = vec!["match".to_owned(), "--format".to_owned(), "json".to_owned()];
    args.extend(["--name".to_owned(), case["client_name"].as_str().unwrap().to_owned()]);
    args.extend(["--at".to_owned(), case["verify_at"].as_str().unwrap().to_owned()]);
    match presented["type"].as_str().unwrap() {
        "x509" => args.extend(["--chain".to_owned(), gather(&presented["chain"], "chain.pem")]),
        _ => {
            let spki = vectors(presented["spki"].as_str().unwrap());
            args.extend(["--spki".to_owned(), spki.to_str().unwrap().to_owned()]);
        }
    }
    if !case["pkix_roots"].as_array().unwrap().is_empty() {
        args.extend(["--roots".to_owned(), gather(&case["pkix_roots"], "roots.pem")]);
    }
    for record in case["rrset"].as_array().unwrap() {
        let hex = record["rdata_wire_hex"].as_str().unwrap();
        args.extend(["--tlsa".to_owned(), format!("\\# {} {hex}", unhex(hex).len())]);
    }
    args
}

// TLSA-01 to TLSA-27, RPK-01
#[test]
fn every_match_vector() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for case in vector_section("match") {
        // Digest agility cannot be switched off on the command line.
        if case["digest_agility"] == false {
            continue;
        }
        let ran = run(arguments(&case, directory.path()));
        let printed = ran.json();
        let expected = &case["expected"];
        assert_eq!(printed["verdict"], expected["verdict"], "{case}\n{printed}");
        assert_eq!(printed["matched_index"], expected["matched_index"], "{case}\n{printed}");
        assert_eq!(printed["client_name"], case["client_name"], "{case}");
        assert_eq!(ran.code, i32::from(expected["verdict"] != "authenticated"), "{case}");
        let records = printed["records"].as_array().unwrap();
        assert_eq!(records.len(), case["rrset"].as_array().unwrap().len());
        for (index, record) in records.iter().enumerate() {
            assert_eq!(record["index"], index);
            for key in ["usage", "selector", "matching_type"] {
                assert_eq!(record[key], case["rrset"][index][key], "{case}\n{printed}");
            }
            assert!(record["outcome"].is_string(), "{printed}");
        }
        seen += 1;
    }
    assert!(seen > 95, "only {seen} cases");
}

const P256: &str = "3 1 1 ee13f22ee41a355ee24a5f75c5659504191fc9deb93bcfb363ff6feec3856e93";

fn matching(name: &str, more: &[&str]) -> Ran {
    let chain = vectors("certs/ee-p256.pem");
    let args = ["match", "--name", name, "--chain", chain.to_str().unwrap()];
    run(args.iter().chain(more))
}

#[test]
fn presentation_form_and_text_output() {
    let ran = matching("sensor7._device.example.com", &["--tlsa", "3 0 1 00", P256]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.starts_with("authenticated: sensor7._device.example.com\n"), "{ran:?}");
    let line = format!("sensor7._device.example.com. 3600 IN TLSA {P256}");
    assert_eq!(matching("sensor7._device.example.com", &["--tlsa", &line]).code, 0);
    let generic = "a.example.com. 60 IN TYPE52 \\# 35 030101".to_owned() + P256.rsplit(' ').next().unwrap();
    assert_eq!(matching("sensor7._device.example.com", &["--tlsa", &generic]).code, 0);
    let ran = matching("sensor7._device.example.com", &["--tlsa", &P256.replace("ee13", "ee14")]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.starts_with("no match"), "{ran:?}");
}

// TLSA-03, TLSA-11
#[test]
fn the_time_to_judge_at_is_an_argument() {
    let directory = tempfile::tempdir().unwrap();
    let case = vector_section("match")
        .into_iter()
        .find(|case| case["expected"]["verdict"] == "authenticated" && case["rrset"][0]["usage"] == 2)
        .unwrap();
    let mut args = arguments(&case, directory.path());
    assert_eq!(run(&args).code, 0);
    let at = args.iter().position(|arg| arg == "--at").unwrap() + 1;
    args[at] = "2051-01-01T00:00:00Z".to_owned();
    let ran = run(&args);
    assert_eq!((ran.code, &ran.json()["verdict"]), (1, &"no_match".into()), "{ran:?}");
}

// NAM-12
#[test]
fn wrong_usage_is_told_apart_from_no() {
    let name = "sensor7._device.example.com";
    matching(name, &["--tlsa", "3 1 1"]).assert_usage_error("no certificate association data");
    matching("1.2.3.4", &["--tlsa", P256]).assert_usage_error("IP addresses have no TLSA records");
    matching(name, &["--at", "yesterday", "--tlsa", P256]).assert_usage_error("2026-11-22T00:00:00Z");
    matching(name, &["--spki", "x", "--tlsa", P256]).assert_usage_error("cannot be used with");
    run(["match", "--name", name, "--tlsa", P256]).assert_usage_error("--chain <PEM>");
    let spki = vectors("certs/ee-p256.der");
    run(["match", "--name", name, "--spki", spki.to_str().unwrap(), "--tlsa", P256])
        .assert_usage_error("SubjectPublicKeyInfo");
}
