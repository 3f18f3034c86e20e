//! `dance tlsa generate`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::{Ran, run, unhex, vector_section, vectors};

const NAME: &str = "sensor7._device.example.com";

fn generate(file: &str, path: &str, more: &[&str]) -> Ran {
    let path = vectors(path);
    let args = ["tlsa", "generate", file, path.to_str().unwrap(), "--name", NAME];
    run(args.iter().chain(more))
}

// TLSA-23, TLSA-29
#[test]
fn every_record_of_the_vectors() {
    let mut seen = 0;
    for case in vector_section("tlsa_rdata") {
        let number = |key: &str| case[key].as_u64().unwrap().to_string();
        let (usage, selector, matching_type) = (number("usage"), number("selector"), number("matching_type"));
        let fields =
            ["--format", "json", "--usage", &usage, "--selector", &selector, "--matching-type", &matching_type];
        let ran = generate("--cert", case["cert"].as_str().unwrap(), &fields);
        let printed = ran.json();
        assert_eq!(ran.code, 0, "{ran:?}");
        for key in ["usage", "selector", "matching_type", "data_hex", "rdata_wire_hex", "presentation"] {
            assert_eq!(printed[key], case[key], "{key} of {case}");
        }
        seen += 1;
    }
    assert!(seen > 100, "only {seen} cases");
}

// TLSA-29
#[test]
fn the_default_is_3_1_1_whatever_the_source() {
    for algorithm in ["p256", "rsa2048", "ed25519"] {
        let certificate = generate("--cert", &format!("certs/ee-{algorithm}.pem"), &[]);
        let key = generate("--key", &format!("keys/ee-{algorithm}.key.pem"), &[]);
        let spki = generate("--spki", &format!("keys/ee-{algorithm}.spki.der"), &[]);
        assert!(certificate.stdout.starts_with(&format!("{NAME}. 3600 IN TLSA 3 1 1 ")), "{certificate:?}");
        assert!(certificate.stderr.is_empty(), "{certificate:?}");
        assert_eq!(certificate.stdout, key.stdout, "{key:?}");
        assert_eq!(certificate.stdout, spki.stdout, "{spki:?}");
    }
}

#[test]
fn the_generic_form_holds_the_same_octets() {
    let ran = generate("--cert", "certs/ee-p256.pem", &["--generic", "--ttl", "60"]);
    let hex = ran.stdout.strip_prefix(&format!("{NAME}. 60 IN TYPE52 \\# 35 ")).unwrap().trim_end();
    let known = generate("--cert", "certs/ee-p256.pem", &["--format", "json"]).json();
    assert_eq!(hex, known["rdata_wire_hex"]);
    assert_eq!(unhex(hex).len(), 35);
}

#[test]
fn doubtful_records_come_with_a_warning() {
    let warns = |more: &[&str], part: &str| {
        let ran = generate("--cert", "certs/ee-p256.pem", more);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.starts_with("warning: ") && ran.stderr.contains(part), "no `{part}` in {ran:?}");
    };
    warns(&["--matching-type", "0"], "matching type 0");
    warns(&["--selector", "0"], "ends with the certificate");
    warns(&["--usage", "1"], "roots configured");
    warns(&["--usage", "2"], "is no CA");
    let path = vectors("certs/root.pem");
    let authority = ["tlsa", "generate", "--cert", path.to_str().unwrap(), "--name", "*._device.example.com"];
    let ran = run(authority.iter().chain(&["--usage", "2", "--selector", "0"]));
    assert!(ran.stdout.starts_with("*._device.example.com. 3600 IN TLSA 2 0 1 "), "{ran:?}");
    assert!(ran.stderr.is_empty(), "{ran:?}");
    let ran = run(authority);
    assert!(ran.stderr.contains("every name under the wildcard"), "{ran:?}");
}

// RPK-01
#[test]
fn a_bare_key_is_published_as_3_1_x_only() {
    for source in [["--key", "keys/ee-p256.key.pem"], ["--spki", "keys/ee-p256.spki.der"]] {
        let [file, path] = source;
        generate(file, path, &["--usage", "2"]).assert_usage_error("expected usage 3 and selector 1");
        generate(file, path, &["--selector", "0"]).assert_usage_error("expected usage 3 and selector 1");
        assert_eq!(generate(file, path, &["--matching-type", "2"]).code, 0);
    }
}

#[test]
fn a_file_of_another_kind_is_told_apart() {
    generate("--cert", "keys/ee-p256.key.pem", &[]).assert_usage_error("expected certificates in PEM");
    generate("--key", "certs/ee-p256.pem", &[]).assert_usage_error("expected a private key");
    generate("--spki", "certs/ee-p256.der", &[]).assert_usage_error("SubjectPublicKeyInfo");
    let ran = generate("--cert", "certs/no-such-file.pem", &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{ran:?}");
    run(["tlsa", "generate", "--name", NAME]).assert_usage_error("--spki <DER>");
}
