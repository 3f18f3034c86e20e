//! The gateway between programs that others wrote: clients in front of it, resolvers and zones behind it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use dance_interop::dns::World;
use dance_interop::gateway::{Dns, Gateway};
use dance_interop::process::{program, run, run_on, text, vector};
use dance_interop::tlslite::{self, alert, client, name_extension};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The certificate whose key has a record at every name below `_device`, and its key.
fn right() -> (PathBuf, PathBuf) {
    (vector("certs/ee-p256.pem"), vector("keys/ee-p256.key.pem"))
}

/// A certificate that no record is about.
fn wrong() -> (PathBuf, PathBuf) {
    (vector("certs/ee-rsa2048.pem"), vector("keys/ee-rsa2048.key.pem"))
}

fn presenting(gateway: &Gateway, (certificate, key): &(PathBuf, PathBuf), name: &str) -> Value {
    let mut options = client(&gateway.address, certificate, key);
    options["in_certificate"] = json!([name_extension(name.as_bytes())]);
    options
}

/// What is to become of a connection.
enum Expected<'a> {
    /// The web application is told this name, and the client gets its answer.
    Page(&'a str),
    /// handshake_failure for the client, this reason in the log, and nothing for the web application.
    Refused(&'a str),
}

/// Makes connections one after the other.
fn check(gateway: &Gateway, cases: &[(Value, Expected<'_>)]) {
    let pages = cases.iter().filter(|(_, expected)| matches!(expected, Expected::Page(_))).count();
    let before = gateway.origin.requests().len();
    let options: Vec<Value> = cases.iter().map(|(options, _)| options.clone()).collect();
    for ((options, expected), result) in cases.iter().zip(tlslite::connect(&options)) {
        let verdict = gateway.next_verdict();
        let seen = format!("{options}\n{result}\n{verdict}");
        match expected {
            Expected::Page(name) => {
                assert_eq!((&result["status"], &result["body"]), (&json!(200), &json!(name)), "{seen}");
                assert_eq!(verdict["outcome"], "authenticated", "{seen}");
            }
            Expected::Refused(reason) => {
                assert_eq!(alert(&result), Some("handshake_failure"), "{seen}");
                assert_eq!(verdict["reason"], *reason, "{seen}");
            }
        }
    }
    assert_eq!(gateway.origin.requests().len() - before, pages, "the web application saw a refused client's request");
}

/// Names in the zones of both signers, and through an alias.
const NAMES: &[&str] = &[
    "sensor7._device.example.com",
    "sensor7._device.example.net",
    "synthesised._device.example.com",
    "synthesised._device.example.net",
    "alias._alias.example.com",
    "alias._alias.example.net",
];

/// With every zone.
fn the_right_client_gets_its_page(dns: impl Fn(&World) -> Dns) {
    let world = World::shared();
    let gateway = Gateway::start(&world, &dns(&world), "");
    let mut cases = Vec::new();
    for name in NAMES {
        cases.push((presenting(&gateway, &right(), name), Expected::Page(name)));
        cases.push((presenting(&gateway, &wrong(), name), Expected::Refused("no-match")));
    }
    for (name, reason) in [
        ("absent.example.com", "tlsa-absent"),
        ("absent.example.net", "tlsa-absent"),
        ("notlsa._device.example.com", "tlsa-absent"),
        ("notlsa._device.example.net", "tlsa-absent"),
        ("stale._device.example.com", "no-match"),
        ("sensor7._device.unsigned.example", "dnssec-insecure"),
    ] {
        cases.push((presenting(&gateway, &right(), name), Expected::Refused(reason)));
    }
    check(&gateway, &cases);
}

// DNS-01, DNS-03, DNS-05, DNS-07, NAM-07, SRV-12, HTTP-02
#[test]
fn through_a_validating_resolver() {
    the_right_client_gets_its_page(|world| Dns { resolver: world.validating, mode: "validate" });
}

// DNS-01, DNS-03, DNS-05, DNS-07
#[test]
fn through_a_resolver_that_does_not_validate() {
    the_right_client_gets_its_page(|world| Dns { resolver: world.iterating, mode: "validate" });
}

// DNS-01, DNS-03
#[test]
fn by_the_ad_bit_of_a_validating_resolver() {
    the_right_client_gets_its_page(|world| Dns { resolver: world.validating, mode: "ad" });
}

// DNS-01, DNS-03
#[test]
fn no_ad_bit_no_client() {
    let world = World::shared();
    let gateway = Gateway::start(&world, &Dns { resolver: world.iterating, mode: "ad" }, "");
    let options = presenting(&gateway, &right(), "sensor7._device.example.com");
    check(&gateway, &[(options, Expected::Refused("dnssec-insecure"))]);
}

// DNS-04, SRV-11
#[test]
fn a_broken_or_expired_zone_lets_nobody_in() {
    let world = World::shared();
    for dns in [
        Dns { resolver: world.validating, mode: "validate" },
        Dns { resolver: world.iterating, mode: "validate" },
        Dns { resolver: world.validating, mode: "ad" },
    ] {
        let gateway = Gateway::start(&world, &dns, "");
        let good = "sensor7._device.example.com";
        check(
            &gateway,
            &[
                (presenting(&gateway, &right(), "sensor7._device.broken.example"), Expected::Refused("dnssec-bogus")),
                (presenting(&gateway, &right(), "sensor7._device.expired.example"), Expected::Refused("dnssec-bogus")),
                (presenting(&gateway, &right(), good), Expected::Page(good)),
            ],
        );
    }
}

// TLSA-06, TLSA-09, TLSA-10, SRV-13
#[test]
fn a_private_ca_vouches_for_its_own_names_only() {
    let gateway = Gateway::validating(&World::shared(), "");
    let directory = TempDir::new().unwrap();
    let certificates = ["leaf", "inter", "root"].map(|stem| vector(&format!("certs/{stem}.pem")));
    let key = vector("keys/leaf.key.pem");
    let full = (tlslite::chain(directory.path(), &certificates), key.clone());
    let short = (tlslite::chain(directory.path(), &certificates[..2]), key);
    let name = "device1.example.com";
    check(
        &gateway,
        &[
            (presenting(&gateway, &full, name), Expected::Page(name)),
            (presenting(&gateway, &full, "device9.example.com"), Expected::Refused("san-mismatch")),
            (presenting(&gateway, &short, name), Expected::Refused("no-match")),
        ],
    );
}

// SRV-07, SRV-08, SRV-09, DNS-06, DNS-11, NAM-05, NAM-07
#[test]
fn queries_are_sent_for_proven_and_allowed_names_only() {
    let world = World::shared();
    let gateway = Gateway::validating(&world, "");
    let mut unproven = presenting(&gateway, &right(), "unproven._device.example.com");
    unproven["bad_certificate_verify"] = json!(true);
    let foreign = presenting(&gateway, &right(), "sensor7._device.foreign.example");
    // The same probe, where it should be seen.
    let proven = presenting(&gateway, &right(), "Proven._device.Example.com");

    let results = tlslite::connect(&[unproven, foreign, proven]);
    let verdicts = [gateway.next_verdict(), gateway.next_verdict(), gateway.next_verdict()];
    assert_eq!(alert(&results[0]), Some("decrypt_error"), "{}", results[0]);
    assert_eq!(verdicts[0]["outcome"], "handshake-failed", "{}", verdicts[0]);
    assert_eq!(world.queries("unproven._device.example.com"), 0);
    assert_eq!(alert(&results[1]), Some("handshake_failure"), "{}", results[1]);
    assert_eq!(verdicts[1]["reason"], "name-not-allowed", "{}", verdicts[1]);
    assert_eq!(world.queries("sensor7._device.foreign.example"), 0);
    assert_eq!(results[2]["body"], "proven._device.example.com", "{}", results[2]);
    assert_eq!(world.queries("proven._device.example.com"), 1);
}

fn s_client(gateway: &Gateway) -> Command {
    let mut command = program("openssl");
    command.args(["s_client", "-connect", &gateway.address, "-servername", "localhost", "-ign_eof"]);
    command
}

fn with_certificate(command: &mut Command, (certificate, key): &(PathBuf, PathBuf)) {
    command.arg("-cert").arg(certificate).arg("-key").arg(key);
}

// CID-02, SRV-01, SRV-04, SRV-06, SRV-16, SRV-21, HTTP-01
#[test]
fn stock_openssl_sees_the_signal_and_is_refused_without_the_extension() {
    let gateway = Gateway::validating(&World::shared(), "");
    let mut command = s_client(&gateway);
    with_certificate(command.arg("-trace"), &right());
    let said = text(&run_on(&command, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let request =
        said.split("CertificateRequest").nth(1).unwrap_or_else(|| panic!("no CertificateRequest in:\n{said}"));
    let request = request.split("Certificate, Length").next().unwrap();
    let signal = format!("extension_type=UNKNOWN({}), length=1\n", tlslite::EXTENSION_TYPE);
    let after = request.split(&signal).nth(1).unwrap_or_else(|| panic!("no signal in:\n{request}"));
    assert_eq!(after.lines().next().unwrap().split_whitespace().take(3).collect::<Vec<_>>(), ["0000", "-", "00"]);
    assert!(!request.contains("certificate_authorities"), "{request}");
    assert!(said.contains("SSL alert number 40"), "{said}");
    assert_eq!(gateway.next_verdict()["reason"], "no-client-name");
    assert!(gateway.origin.requests().is_empty());
}

// SRV-04
#[test]
fn stock_openssl_without_a_certificate_is_refused() {
    let gateway = Gateway::validating(&World::shared(), "");
    let said = text(&run_on(&s_client(&gateway), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert!(said.contains("SSL alert number 40"), "{said}");
    assert_eq!(gateway.next_verdict()["reason"], "no-client-name");
}

// SRV-02, SRV-03, SEC-09, SEC-10
#[test]
fn tls_12_is_refused() {
    for policy in ["require", "optional"] {
        let gateway = Gateway::validating(&World::shared(), &format!("policy = \"{policy}\""));
        let mut command = s_client(&gateway);
        with_certificate(command.arg("-tls1_2"), &right());
        let said = text(&run_on(&command, ""));
        assert!(said.contains("SSL alert number 70"), "{said}");
        assert_eq!(gateway.next_verdict()["reason"], "version-too-low");

        let mut options = presenting(&gateway, &right(), "sensor7._device.example.com");
        options["tls"] = json!("1.2");
        options["in_client_hello"] = options["in_certificate"].take();
        options["in_certificate"] = json!([]);
        let result = tlslite::connect(&[options]).remove(0);
        assert_eq!(alert(&result), Some("protocol_version"), "{result}");
        assert!(result["in_server_hello"].is_null(), "{result}");
        assert_eq!(gateway.next_verdict()["reason"], "version-too-low");
    }
}

fn curl(gateway: &Gateway, certificate: Option<&(PathBuf, PathBuf)>) -> Command {
    let mut command = program("curl");
    let port = gateway.address.rsplit(':').next().unwrap();
    command.args(["--silent", "--show-error", "--cacert"]).arg(&gateway.server.certificate);
    command.args(["--resolve", &format!("localhost:{port}:127.0.0.1")]);
    if let Some((certificate, key)) = certificate {
        command.arg("--cert").arg(certificate).arg("--key").arg(key);
    }
    command.arg(format!("https://localhost:{port}/"));
    command
}

// SRV-04, HTTP-01
#[test]
fn curl_with_a_certificate_and_no_extension_is_refused() {
    let gateway = Gateway::validating(&World::shared(), "");
    for certificate in [Some(right()), None] {
        let output = run(&curl(&gateway, certificate.as_ref()));
        assert!(!output.status.success() && text(&output).contains("handshake failure"), "{}", text(&output));
        assert_eq!(gateway.next_verdict()["reason"], "no-client-name");
    }
    assert!(gateway.origin.requests().is_empty());
}

// SRV-05, HTTP-05, HTTP-03
#[test]
fn under_policy_optional_curl_is_nobody() {
    let world = World::shared();
    let gateway = Gateway::validating(&world, "policy = \"optional\"");
    let mut command = curl(&gateway, Some(&right()));
    command.args([
        "--header",
        "Dane-Clientid: sensor7._device.example.com",
        "--header",
        "dane_clientid: mallory.example.com",
    ]);
    let output = run(&command);
    assert_eq!((output.status.success(), text(&output)), (true, "nobody".to_owned()));
    // The same web application, told of somebody.
    assert_eq!(gateway.next_verdict()["outcome"], "not-dane");
    let name = "sensor7._device.example.com";
    check(&gateway, &[(presenting(&gateway, &right(), name), Expected::Page(name))]);
}

// SRV-04
#[test]
fn gnutls_with_a_raw_public_key_and_no_extension_is_refused() {
    let gateway = Gateway::validating(&World::shared(), "");
    let directory = TempDir::new().unwrap();
    let public_key = public_key_pem(directory.path(), &right().1);
    let mut command = program("gnutls-cli");
    command.args([
        "--priority",
        "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CTYPE-CLI-ALL:+CTYPE-CLI-RAWPK",
        "--no-ca-verification",
        "--sni-hostname",
        "localhost",
    ]);
    command.arg("--rawpkkeyfile").arg(right().1).arg("--rawpkfile").arg(public_key);
    let (host, port) = gateway.address.rsplit_once(':').unwrap();
    let output = run_on(command.args(["--port", port, host]), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let said = text(&output);
    assert!(said.contains("(TLS1.3-Raw Public Key-X.509)"), "{said}");
    assert!(said.contains("Received alert [40]"), "{said}");
    assert_eq!(gateway.next_verdict()["reason"], "no-client-name");
}

fn public_key_pem(directory: &Path, key: &Path) -> PathBuf {
    let file = directory.join("public.pem");
    let mut command = program("openssl");
    dance_interop::process::run_ok(command.args(["pkey", "-pubout", "-in"]).arg(key).arg("-out").arg(&file));
    file
}
