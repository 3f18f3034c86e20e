//! `dance identity new`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use dance_core::CertificateDer;
use dance_core::x509::Certificate;
use rustls_pki_types::pem::PemObject as _;
use support::{Ran, run};

const NAME: &str = "sensor7._device.example.com";

fn new(directory: &Path, more: &[&str]) -> Ran {
    let args = ["identity", "new", "--name", NAME, "--format", "json", "--out", directory.to_str().unwrap()];
    run(args.iter().chain(more))
}

fn record(file: &str, path: &Path) -> serde_json::Value {
    let args = ["tlsa", "generate", file, path.to_str().unwrap(), "--name", NAME, "--format", "json"];
    run(args).json()["presentation"].clone()
}

#[test]
fn a_certificate_holds_the_name_and_may_be_used_by_a_client() {
    for key_type in ["p256", "p384", "ed25519"] {
        let directory = tempfile::tempdir().unwrap();
        let ran = new(directory.path(), &["--key-type", key_type]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let made = ran.json();
        assert_eq!(made["client_name"], NAME);

        let (key, certificate) = (made["key"].as_str().unwrap(), made["certificate"].as_str().unwrap());
        let pem = fs::read(certificate).unwrap();
        let octets = CertificateDer::from_pem_slice(&pem).unwrap();
        let parsed = Certificate::parse(&octets).unwrap();
        assert_eq!(parsed.dns_names().collect::<Vec<_>>(), [NAME.as_bytes()]);
        assert!(parsed.allows_client_auth().unwrap());
        assert!(parsed.basic_constraints().unwrap().is_none_or(|constraints| !constraints.ca));

        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(certificate).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(fs::read_to_string(key).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));

        // The record to publish is the same whichever file it is made of.
        let record_of_new = &made["record"];
        assert!(record_of_new.as_str().unwrap().starts_with("3 1 1 "));
        assert_eq!(record("--key", Path::new(key)), *record_of_new);
        assert_eq!(record("--cert", Path::new(certificate)), *record_of_new);
        // Nothing else is left lying about.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}

#[test]
fn a_raw_key_has_no_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let made = new(directory.path(), &["--type", "raw-key"]).json();
    assert_eq!(made["certificate"], serde_json::Value::Null);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    assert_eq!(record("--key", Path::new(made["key"].as_str().unwrap())), made["record"]);
}

#[test]
fn what_exists_is_kept_unless_forced() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("made/on/the/way");
    let first = new(&out, &[]);
    let before = first.json();
    let files = || {
        let mut files: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let kept = files();

    new(&out, &[]).assert_usage_error("--force replaces it");
    assert_eq!(files(), kept);

    // The certificate alone is in the way too, and then no key is written.
    fs::remove_file(before["key"].as_str().unwrap()).unwrap();
    new(&out, &[]).assert_usage_error("cert.pem exists already");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);

    let after = new(&out, &["--force"]).json();
    assert_ne!(after["record"], before["record"]);
    assert_eq!(files().len(), 2);
}

#[test]
fn text_tells_what_to_publish() {
    let directory = tempfile::tempdir().unwrap();
    let ran = run(["identity", "new", "--name", "Host.Example.com.", "--out", directory.path().to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("\nhost.example.com. 3600 IN TLSA 3 1 1 "), "{ran:?}");
    assert!(directory.path().join("host.example.com.key.pem").exists());
}

// CLI-09, NAM-12
#[test]
fn a_name_that_cannot_be_conveyed_gets_no_identity() {
    let directory = tempfile::tempdir().unwrap();
    let ran = run(["identity", "new", "--name", "../../etc/x", "--out", directory.path().to_str().unwrap()]);
    ran.assert_usage_error("0x2f");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let ran = new(Path::new("/dev/null/x"), &[]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("/dev/null/x: cannot be written"), "{ran:?}");
}
