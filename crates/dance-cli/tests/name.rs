//! `dance name`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use support::{run, unhex, vector_section};

// NAM-01, NAM-02, NAM-03, NAM-04, NAM-05, NAM-06, NAM-12
#[test]
fn every_name_vector_that_a_command_line_can_carry() {
    let mut seen = 0;
    for case in vector_section("name") {
        let octets = unhex(case["octets_hex"].as_str().unwrap());
        if octets.contains(&0) {
            continue;
        }
        let ran = run([OsString::from("name"), OsString::from_vec(octets)]);
        let accept = case["verdict"] == "accept";
        let printed = ran.json();
        assert_eq!(ran.code, i32::from(!accept), "{case}");
        assert_eq!(printed["verdict"], case["verdict"], "{case}");
        assert_eq!(printed["normalised"], case["normalised"], "{case}");
        assert_eq!(printed["qname_wire_hex"], case["qname_wire_hex"], "{case}");
        assert_eq!(printed["alert"] == "handshake_failure", !accept, "{case}");
        seen += 1;
    }
    assert!(seen > 20, "only {seen} cases");
}

#[test]
fn text_says_what_was_expected_and_found() {
    let ran = run(["name", "--format", "text", "device1.example.com."]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "reject: expected a name without final dot, found one\n"));
    let ran = run(["name", "--format", "text", "Device1.Example.COM"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "accept: device1.example.com\n"));
}

// NAM-06
#[test]
fn a_leading_hyphen_is_part_of_the_name() {
    let ran = run(["name", "-dev.example.com"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.json()["reason"], "invalid-client-name");
}

#[test]
fn a_missing_name_is_wrong_usage() {
    run(["name"]).assert_usage_error("<NAME>");
}
