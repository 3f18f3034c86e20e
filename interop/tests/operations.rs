//! What an administrator gets wrong, and what breaks around the gateway: it says what was expected, what was found and what to do, and
//! leaves nothing half-started.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use dance_interop::dns::World;
use dance_interop::gateway::{Dns, Gateway, ServerCertificate};
use dance_interop::process::{dance, run, text, vector};
use dance_interop::tlslite::{self, alert, client, name_extension};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAME: &str = "sensor7._device.example.com";

/// Settings by name, all good.
fn settings(directory: &Path) -> Vec<(&'static str, String)> {
    let server = ServerCertificate::new(directory, [2020, 2049]);
    vec![
        ("--listen", "127.0.0.1:0".to_owned()),
        ("--certificate", server.certificate.display().to_string()),
        ("--key", server.key.display().to_string()),
        ("--origin", "127.0.0.1:8080".to_owned()),
        ("--allow", "*._device.example.com".to_owned()),
        ("--resolver", "127.0.0.1:53".to_owned()),
    ]
}

fn gateway(settings: &[(&'static str, String)]) -> Command {
    let mut command = dance();
    command.arg("gateway");
    for (option, value) in settings {
        command.args([option, value.as_str()]);
    }
    command
}

/// The good settings with one replaced, added, or (by an empty value) taken away.
fn with(directory: &Path, option: &'static str, value: &str) -> Command {
    let mut settings = settings(directory);
    settings.retain(|(other, _)| *other != option);
    if !value.is_empty() {
        settings.push((option, value.to_owned()));
    }
    gateway(&settings)
}

/// It ends by itself, with this exit code, and says all of this in one line that begins with `error`.
fn assert_does_not_start(command: &Command, code: i32, says: &[&str]) {
    let output = run(command);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{command:?}: {said}"));
    for part in says {
        assert!(error.contains(part), "{command:?}: no `{part}` in: {error}");
    }
    assert!(!said.contains("listening"), "{command:?}: half-started: {said}");
}

#[test]
fn the_good_settings_are_good() {
    let directory = TempDir::new().unwrap();
    let output = run(gateway(&settings(directory.path())).arg("--check"));
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn missing_files() {
    let directory = TempDir::new().unwrap();
    for option in ["--certificate", "--key", "--trust-anchor", "--config"] {
        let missing = directory.path().join("missing.pem").display().to_string();
        assert_does_not_start(&with(directory.path(), option, &missing), 2, &[&missing, "cannot"]);
    }
}

#[test]
fn a_key_of_another_certificate() {
    let directory = TempDir::new().unwrap();
    let key = vector("keys/ee-p256.key.pem").display().to_string();
    let command = with(directory.path(), "--key", &key);
    assert_does_not_start(&command, 2, &[&key, "does not belong to the certificate", "configure the two"]);
}

#[test]
fn files_of_another_kind() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let text = path.join("text");
    fs::write(&text, "no certificate, no key, no record\n").unwrap();
    let text = text.display().to_string();
    assert_does_not_start(&with(path, "--certificate", &text), 2, &["expected a certificate", "found", &text]);
    assert_does_not_start(&with(path, "--key", &text), 2, &["expected a private key", "found", &text]);
    assert_does_not_start(&with(path, "--trust-anchor", &text), 2, &["expected DS or DNSKEY records", "found", &text]);
    assert_does_not_start(&with(path, "--config", &text), 2, &[&text]);
}

#[test]
fn a_busy_port() {
    let directory = TempDir::new().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let command = with(directory.path(), "--listen", &address);
    assert_does_not_start(&command, 3, &["cannot listen on", &address, "another process", "stop it"]);
}

// NAM-12
#[test]
fn nobody_allowed_or_everybody() {
    let directory = TempDir::new().unwrap();
    assert_does_not_start(
        &with(directory.path(), "--allow", ""),
        2,
        &["allow-list is empty", "name the clients to let in"],
    );
    assert_does_not_start(&with(directory.path(), "--allow", "*.com"), 2, &["\"*.com\"", "strangers"]);
    assert_does_not_start(&with(directory.path(), "--allow", "sensor 7.example.com"), 2, &["sensor 7.example.com"]);
}

// DNS-02
#[test]
fn the_ad_bit_of_a_remote_resolver() {
    let directory = TempDir::new().unwrap();
    let mut command = with(directory.path(), "--resolver", "192.0.2.1");
    assert_does_not_start(command.args(["--dns-mode", "ad"]), 2, &["AD bit of 192.0.2.1", "loopback", "validate"]);
}

#[test]
fn nothing_listens_after_a_failed_start() {
    let directory = TempDir::new().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = with(directory.path(), "--listen", &address.to_string());
    assert_does_not_start(command.args(["--trust-anchor", "missing"]), 2, &["missing"]);
    assert!(TcpStream::connect(address).is_err());
}

fn right(gateway: &Gateway) -> Value {
    let mut options = client(&gateway.address, &vector("certs/ee-p256.pem"), &vector("keys/ee-p256.key.pem"));
    options["in_certificate"] = json!([name_extension(NAME.as_bytes())]);
    options
}

fn resolve(resolver: SocketAddr, trust_anchor: &Path) -> Command {
    let mut command = dance();
    command.args(["resolve", NAME, "--timeout", "2s", "--resolver", &resolver.to_string(), "--trust-anchor"]);
    command.arg(trust_anchor);
    command
}

/// The right client is refused for this reason, and the log and `dance resolve` say what is wrong.
fn assert_no_look_up(resolver: impl Fn(&World) -> SocketAddr, reason: &str, code: i32, says: &[&str]) {
    let world = World::shared();
    let gateway = Gateway::start(&world, &Dns { resolver: resolver(&world), mode: "validate" }, "");
    let result = tlslite::connect(&[right(&gateway)]).remove(0);
    let verdict = gateway.next_verdict();
    assert_eq!(alert(&result), Some("handshake_failure"), "{result}\n{verdict}");
    assert_eq!(verdict["reason"], reason, "{verdict}");
    assert!(gateway.origin.requests().is_empty());

    let output = run(&resolve(resolver(&world), &world.trust_anchor));
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    for part in says {
        assert!(text(&output).contains(part), "no `{part}` in: {}", text(&output));
        let dns = verdict["dns"].as_str().unwrap_or_default();
        assert!(dns.contains(part), "no `{part}` in: {verdict}");
    }
}

#[test]
fn a_resolver_that_works() {
    let world = World::shared();
    let output = run(&resolve(world.validating, &world.trust_anchor));
    assert!(output.status.success(), "{}", text(&output));
}

// DNS-10
#[test]
fn an_unreachable_resolver() {
    assert_no_look_up(|world| world.unreachable, "lookup-unreachable", 3, &["127.0.0.1"]);
}

// DNS-10, DNS-11
#[test]
fn a_silent_resolver() {
    assert_no_look_up(|world| world.silent, "lookup-timeout", 3, &[]);
}

// DNS-04
#[test]
fn a_resolver_that_drops_signatures() {
    assert_no_look_up(|world| world.stripping, "dnssec-bogus", 1, &["drops"]);
}

// SEC-15, DNS-01
#[test]
fn the_wrong_trust_anchor() {
    let world = World::shared();
    let output = run(&resolve(world.validating, &world.wrong_trust_anchor));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("bogus"), "{}", text(&output));
}

#[test]
fn a_broken_zone() {
    let world = World::shared();
    let mut command = dance();
    command.args(["resolve", "sensor7._device.broken.example", "--resolver", &world.iterating.to_string()]);
    let output = run(command.arg("--trust-anchor").arg(&world.trust_anchor));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).starts_with("bogus") && text(&output).contains("signature"), "{}", text(&output));
}
