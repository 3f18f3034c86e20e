//! Every malformed or misplaced form of the extension, over live handshakes: the client's alert and the gateway's reason.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use dance_interop::dns::World;
use dance_interop::gateway::Gateway;
use dance_interop::process::vector;
use dance_interop::tlslite::{self, alert, client, name_extension};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAME: &str = "sensor7._device.example.com";
const POLICIES: [&str; 2] = ["policy = \"require\"", "policy = \"optional\""];

struct Case {
    what: String,
    /// What is added to a well-behaved client.
    options: Value,
    alert: Option<&'static str>,
    reason: Option<&'static str>,
}

fn refused(what: &str, options: Value, alert: &'static str, reason: &'static str) -> Case {
    Case { what: what.to_owned(), options, alert: Some(alert), reason: Some(reason) }
}

/// Drives the cases through a gateway of each policy.
fn run(profile: &str, cases: &[Case]) {
    let world = World::shared();
    let directory = TempDir::new().unwrap();
    let two = [vector("certs/ee-p256.pem"), vector("certs/root.pem")];
    let certificate = tlslite::chain(directory.path(), &two);
    for policy in POLICIES {
        let gateway = Gateway::validating(&world, &format!("{policy}\nprofile = \"{profile}\""));
        let connections: Vec<Value> = cases
            .iter()
            .map(|case| {
                let mut options = client(&gateway.address, &certificate, &vector("keys/ee-p256.key.pem"));
                for (key, value) in case.options.as_object().unwrap() {
                    options[key] = value.clone();
                }
                options
            })
            .collect();
        let mut wrong = Vec::new();
        for (case, result) in cases.iter().zip(tlslite::connect(&connections)) {
            let verdict = gateway.next_verdict();
            let (saw, logged) = (alert(&result), verdict["reason"].as_str());
            if saw != case.alert || logged != case.reason || (saw.is_none() && result["body"] != NAME) {
                wrong.push(format!("{} under {policy}: {saw:?} {logged:?}\n  {result}\n  {verdict}", case.what));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Section 3.4 of the requirements by its letters, as far as a client sends them.
// CID-04, CID-06, CID-07, CID-08, CID-09, CID-12, CID-14, CID-17, NAM-01, NAM-02, NAM-03, NAM-04, NAM-05, NAM-06
#[test]
fn profile_current() {
    let good = name_extension(NAME.as_bytes());
    let mut cases = vec![
        Case { what: "well-formed".into(), options: json!({"in_certificate": [good]}), alert: None, reason: None },
        refused("a: no data", json!({"in_certificate": [""]}), "decode_error", "extension-undecodable"),
        refused("b: no name", json!({"in_certificate": ["00"]}), "handshake_failure", "empty-client-name"),
        refused(
            "c: length too large",
            json!({"in_certificate": [format!("1c{}", &good[2..])]}),
            "decode_error",
            "extension-undecodable",
        ),
        refused(
            "d: length too small",
            json!({"in_certificate": [format!("1a{}", &good[2..])]}),
            "decode_error",
            "extension-undecodable",
        ),
        refused(
            "d: trailing octet",
            json!({"in_certificate": [format!("{good}00")]}),
            "decode_error",
            "extension-undecodable",
        ),
        refused("h: twice", json!({"in_certificate": [good, good]}), "illegal_parameter", "extension-misplaced"),
        refused("k: in ClientHello", json!({"in_client_hello": [good]}), "illegal_parameter", "extension-misplaced"),
        refused(
            "k: in ClientHello too",
            json!({"in_client_hello": [good], "in_certificate": [good]}),
            "illegal_parameter",
            "extension-misplaced",
        ),
        refused("l: on the second entry", json!({"on_second": [good]}), "illegal_parameter", "extension-misplaced"),
        refused(
            "l: on both entries",
            json!({"in_certificate": [good], "on_second": [good]}),
            "illegal_parameter",
            "extension-misplaced",
        ),
        refused(
            "s: 257 octets",
            json!({"in_certificate": [format!("ff{}", hex(&[b'a'; 256]))]}),
            "decode_error",
            "extension-undecodable",
        ),
        Case {
            what: "p: upper case".into(),
            options: json!({"in_certificate": [name_extension(NAME.to_uppercase().as_bytes())]}),
            alert: None,
            reason: None,
        },
    ];
    // Names that the published vectors leave out.
    let names: &[(&str, &[u8])] = &[
        ("m: NUL", b"sensor7\0.example.com"),
        ("o: backslash", b"sensor\\.example.com"),
        ("o: line break", b"a\r\nDane-Clientid: root.example.com"),
        ("r: single label", b"localhost"),
        ("r: hyphen last", b"sensor-.example.com"),
    ];
    cases.extend(names.iter().map(|(what, name)| {
        refused(what, json!({"in_certificate": [name_extension(name)]}), "handshake_failure", "invalid-client-name")
    }));
    run("current", &cases);
}

/// The forms that profile `2022` takes differently.
// CID-07, CID-08, CID-09, CID-13, CID-14, CID-17, NAM-09
#[test]
fn profile_2022() {
    let good = name_extension(NAME.as_bytes());
    let cases = [
        Case { what: "well-formed".into(), options: json!({"in_certificate": [good]}), alert: None, reason: None },
        Case {
            what: "k: in ClientHello too".into(),
            options: json!({"in_client_hello": [name_extension(b"other.example.com")], "in_certificate": [good]}),
            alert: None,
            reason: None,
        },
        refused("b: no name", json!({"in_certificate": ["00"]}), "decode_error", "extension-undecodable"),
        refused(
            "c: length too large",
            json!({"in_certificate": [format!("1c{}", &good[2..])]}),
            "decode_error",
            "extension-undecodable",
        ),
        refused(
            "d: trailing octet",
            json!({"in_certificate": [format!("{good}00")]}),
            "decode_error",
            "extension-undecodable",
        ),
        refused("h: twice", json!({"in_certificate": [good, good]}), "illegal_parameter", "extension-misplaced"),
        refused("l: on the second entry", json!({"on_second": [good]}), "illegal_parameter", "extension-misplaced"),
    ];
    run("2022", &cases);
}

/// What the published vectors say of a client's extension over TLS 1.3, each over a handshake.
// CID-06, CID-07, CID-08, CID-17
#[test]
fn published_vectors() {
    let vectors: Value = serde_json::from_slice(&fs::read(vector("vectors.json")).unwrap()).unwrap();
    for profile in ["current", "2022"] {
        let cases: Vec<Case> = vectors["extension"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| {
                row["profile"] == profile
                    && row["message"] == "CT"
                    && row["sender"] == "client"
                    && row["verdict"] == "reject"
            })
            // Needs a server that sends no signal.
            .filter(|row| row["alert"] != "unsupported_extension")
            .map(|row| {
                let data = row["extension_data_hex"].as_str().unwrap();
                let (alert, reason) = match row["alert"].as_str().unwrap() {
                    "decode_error" => ("decode_error", "extension-undecodable"),
                    "handshake_failure" if data == "00" => ("handshake_failure", "empty-client-name"),
                    "handshake_failure" => ("handshake_failure", "invalid-client-name"),
                    other => panic!("an alert that no row has had so far: {other}"),
                };
                refused(row["name"].as_str().unwrap(), json!({"in_certificate": [data]}), alert, reason)
            })
            .collect();
        assert!(cases.len() > 10, "{} vectors", cases.len());
        run(profile, &cases);
    }
}
