//! The client against servers that others wrote, well-behaved and not, and against the gateway.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use dance_interop::case::Credential;
use dance_interop::client::{Peer, page, request, x509};
use dance_interop::dns::World;
use dance_interop::gateway::{Gateway, ServerCertificate};
use dance_interop::process::{dance, run, run_on, text, vector};
use dance_interop::tlslite::{Server, alert_of_peer, name_extension};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAME: &str = "sensor7._device.example.com";
/// RFC 9846 and RFC 7250: the types of two extensions.
const CLIENT_CERTIFICATE_TYPE: u16 = 19;
/// What the client is told besides its credential.
const CLIENT: [&str; 2] = ["--name", NAME];

fn named(address: &str, server: &ServerCertificate) -> Command {
    let mut command = request(address, server);
    command.args(CLIENT);
    command
}

fn raw_key(command: &mut Command) -> &mut Command {
    command.arg("--key").arg(Credential::right().key)
}

// CLI-03, CLI-07, RPK-01, RPK-02, NAM-07
#[test]
fn through_the_gateway_with_certificate_and_raw_key() {
    let world = World::shared();
    let gateway = Gateway::validating(&world, "");
    let request = || named(&gateway.address, &gateway.server);
    assert_eq!(page(&run(x509(&mut request(), &Credential::right()))), NAME);
    assert_eq!(gateway.next_verdict()["outcome"], "authenticated");
    assert_eq!(page(&run(raw_key(&mut request()))), NAME);
    assert_eq!(gateway.next_verdict()["outcome"], "authenticated");

    for key in ["keys/ee-rsa2048.key.pem", "keys/ee-ed25519.key.pem"] {
        let output = run(request().arg("--key").arg(vector(key)));
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("client authentication refused"), "{}", text(&output));
        assert_eq!(gateway.next_verdict()["reason"], "no-match");
    }
}

// CID-04, CLI-03, CLI-08
#[test]
fn the_signal_is_answered_with_the_name_on_the_first_entry() {
    let result = Peer::new().serves(&Credential::right(), &CLIENT, &json!({"signal": ["00"]}));
    assert_eq!(result["entries"].as_array().unwrap().len(), 1, "{result}");
    assert_eq!(result["entries"][0]["extension"], json!([name_extension(NAME.as_bytes())]), "{result}");
    assert_eq!(result["in_client_hello"], json!([]), "{result}");
}

// CLI-06, CID-14
#[test]
fn the_whole_chain_is_sent_and_the_name_once() {
    let peer = Peer::new();
    let full = Credential::chain(peer.directory.path(), true);
    let result = peer.serves(&full, &CLIENT, &json!({"signal": ["00"]}));
    let entries = result["entries"].as_array().unwrap();
    let extensions: Vec<_> = entries.iter().map(|entry| entry["extension"].as_array().unwrap().len()).collect();
    assert_eq!(extensions, [1, 0, 0], "{result}");
    let root = std::fs::read(vector("certs/root.der")).unwrap();
    let root: String = root.iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(entries[2]["der"], root);
}

/// The client, by certificate, goes no further with a server of these options.
fn assert_aborts(options: Value, alert: &str, message: &str) {
    Peer::new().is_refused(&Credential::right(), &CLIENT, &options, alert, message);
}

// CLI-02
#[test]
fn without_the_signal_the_client_goes_no_further() {
    assert_aborts(json!({}), "handshake_failure", "signal");
}

// CLI-10, CID-15, CID-09
#[test]
fn a_signal_of_another_form_is_refused() {
    assert_aborts(json!({"signal": [""]}), "decode_error", "");
    assert_aborts(json!({"signal": ["05"]}), "decode_error", "");
    assert_aborts(json!({"signal": ["0000"]}), "decode_error", "");
    assert_aborts(json!({"signal": [name_extension(b"gateway.example.com")]}), "illegal_parameter", "");
    assert_aborts(json!({"signal": ["00", "00"]}), "illegal_parameter", "");
}

// CID-11
#[test]
fn the_extension_out_of_place_is_refused() {
    for place in ["in_server_hello", "in_encrypted_extensions", "in_certificate"] {
        assert_aborts(json!({"signal": ["00"], place: ["00"]}), "unsupported_extension", "");
    }
    // A curve for which the client sends no share at first.
    assert_aborts(
        json!({"signal": ["00"], "curves": ["secp384r1"], "in_hello_retry_request": ["00"]}),
        "unsupported_extension",
        "",
    );
}

// CLI-03
#[test]
fn a_retried_hello_ends_well() {
    let options = json!({"signal": ["00"], "curves": ["secp384r1"]});
    let result = Peer::new().serves(&Credential::right(), &CLIENT, &options);
    assert_eq!(result["entries"][0]["extension"], json!([name_extension(NAME.as_bytes())]));
}

// CLI-05
#[test]
fn a_server_that_does_not_verify_is_told_nothing() {
    let peer = Peer::new();
    let other = ServerCertificate::new(peer.directory.path(), [2021, 2049]);
    let server = peer.start(&json!({"signal": ["00"]}));
    let output = run(x509(&mut named(&server.address, &other), &Credential::right()));
    let result = server.result();
    assert!(result["entries"].is_null() && alert_of_peer(&result).is_some(), "{result}");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("does not verify for localhost"), "{}", text(&output));
}

// CLI-05
#[test]
fn an_expired_server_is_told_nothing_and_the_user_why() {
    let directory = TempDir::new().unwrap();
    let expired = ServerCertificate::new(directory.path(), [2020, 2021]);
    let server = Server::start(&expired.certificate, &expired.key, &json!({"signal": ["00"]}));
    let output = run(x509(&mut named(&server.address, &expired), &Credential::right()));
    let result = server.result();
    assert!(result["entries"].is_null(), "{result}");
    assert_eq!(alert_of_peer(&result), Some("certificate_expired"), "{result}");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("expired"), "{}", text(&output));
}

// RPK-03
#[test]
fn a_raw_key_stays_here_unless_the_server_takes_one() {
    let peer = Peer::new();
    let server = peer.start(&json!({"signal": ["00"]}));
    let output = run(raw_key(&mut named(&server.address, &peer.certificate)));
    let result = server.result();
    let offered: Vec<u64> =
        result["extensions_of_client_hello"].as_array().unwrap().iter().map(|kind| kind.as_u64().unwrap()).collect();
    assert!(offered.contains(&u64::from(CLIENT_CERTIFICATE_TYPE)), "{result}");
    // No Certificate at all, or one without entries.
    assert!(result["entries"].as_array().is_none_or(Vec::is_empty), "{result}");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

// CLI-07
#[test]
fn an_alert_after_the_handshake_is_a_refusal() {
    let peer = Peer::new();
    let server = peer.start(&json!({"signal": ["00"], "refuse": "handshake_failure"}));
    let output = run(x509(&mut named(&server.address, &peer.certificate), &Credential::right()));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("client authentication refused"), "{}", text(&output));
}

// CLI-03
#[test]
fn connect_pipes_through_tlslite() {
    let peer = Peer::new();
    let server = peer.start(&json!({"signal": ["00"]}));
    let mut command = dance();
    command.args(["connect", &server.address, "--server-name", "localhost", "--name", NAME, "--no-record-check"]);
    let output = run_on(
        x509(command.arg("--server-ca").arg(&peer.certificate.certificate), &Credential::right()),
        "GET / HTTP/1.1\r\n\r\n",
    );
    assert!(page(&output).ends_with("hello"), "{}", text(&output));
    assert_eq!(server.result()["request"], "GET / HTTP/1.1\r\n\r\n");
}
