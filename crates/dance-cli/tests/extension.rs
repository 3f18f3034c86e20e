//! `dance extension encode|decode`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::{run, vector_section};

// CID-04, CID-06, CID-07, CID-08, CID-12, CID-13, CID-15, CLI-10
#[test]
fn every_extension_vector_about_content_and_place() {
    let mut seen = 0;
    for case in vector_section("extension") {
        let text = |key: &str| case[key].as_str().unwrap();
        // Cases about whole messages (twice, on a later entry, unasked) are not about one extension's content.
        let Some(message) = ["CH", "SH", "CR", "CT"].into_iter().find(|message| *message == text("message")) else {
            continue;
        };
        if text("reason") == "server did not request it" {
            continue;
        }
        let ran = run([
            "extension",
            "decode",
            "--profile",
            text("profile"),
            "--from",
            text("sender"),
            "--message",
            message,
            "--tls",
            text("tls"),
            text("extension_data_hex"),
        ]);
        let printed = ran.json();
        assert_eq!(ran.code, i32::from(case["verdict"] == "reject"), "{case}");
        for key in ["verdict", "alert", "client_name"] {
            assert_eq!(printed[key], case[key], "{key} of {case}");
        }
        assert_eq!(printed["normalised"], printed["client_name"]);
        seen += 1;
    }
    assert!(seen > 85, "only {seen} cases");
}

// CID-02, CID-03, CID-04
#[test]
fn what_is_encoded_is_what_the_vectors_hold_and_decodes_again() {
    let mut seen = 0;
    for case in vector_section("extension") {
        let (Some(name), Some(profile)) = (case["client_name"].as_str(), case["profile"].as_str()) else {
            continue;
        };
        // We send lower case, whatever was typed; a server accepts both.
        if name.is_empty() || case["name"] != format!("client name {name}") {
            continue;
        }
        let ran = run(["extension", "encode", "--from", "client", "--profile", profile, "--name", name]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let printed = ran.json();
        assert_eq!(printed["extension_data_hex"], case["extension_data_hex"], "{case}");
        assert_eq!(printed["extension_hex"], case["extension_hex"], "{case}");
        seen += 1;
    }
    assert!(seen > 5, "only {seen} cases");

    for (profile, signal) in [("current", "00\n"), ("2022", "\n")] {
        let encoded = run(["extension", "encode", "--from", "server", "--profile", profile, "--format", "text"]);
        assert_eq!((encoded.code, encoded.stdout.as_str()), (0, signal));
        let decoded = run(["extension", "decode", "--from", "server", "--profile", profile, signal.trim_end()]);
        assert_eq!(decoded.json()["verdict"], "accept", "{decoded:?}");
    }
}

// CID-01
#[test]
fn the_code_point_is_a_setting() {
    let ran = run(["extension", "encode", "--from", "server", "--extension-type", "0xff5a"]);
    assert_eq!(ran.json()["extension_hex"], "ff5a000100");
    run(["extension", "encode", "--from", "server", "--extension-type", "0xff01"]).assert_usage_error("0xff01");
}

// CID-05, CLI-09
#[test]
fn nothing_is_encoded_that_a_client_must_not_send() {
    run(["extension", "encode", "--from", "client"]).assert_usage_error("always conveys its name");
    run(["extension", "encode", "--from", "client", "--name", ""]).assert_usage_error("found nothing");
    run(["extension", "encode", "--from", "client", "--name", "a.example.com."]).assert_usage_error("final dot");
    run(["extension", "encode", "--from", "server", "--name", "a.example.com"]).assert_usage_error("carries no name");
}

#[test]
fn a_message_of_the_other_side_is_wrong_usage() {
    run(["extension", "decode", "--from", "client", "--message", "CR", "00"])
        .assert_usage_error("never sends SH or CR");
    run(["extension", "decode", "--from", "server", "--message", "CH", "00"]).assert_usage_error("never sends CH");
    run(["extension", "decode", "--from", "client", "0g"]).assert_usage_error("hexadecimal");
}
