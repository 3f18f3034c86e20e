//! Every malformed or misplaced form of the extension, over live handshakes: the client's alert and the gateway's reason.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use dance_interop::case::{Credential, Expected, Wire, check, sending};
use dance_interop::dns::World;
use dance_interop::gateway::Gateway;
use dance_interop::process::vector;
use dance_interop::tlslite::{self, name_extension};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAME: &str = "sensor7._device.example.com";
const POLICIES: [&str; 2] = ["policy = \"require\"", "policy = \"optional\""];

/// What is added to a client with a chain of two and no extension, and what follows.
struct Case {
    what: String,
    options: Value,
    expected: Expected,
}

fn case(what: &str, options: Value, expected: Expected) -> Case {
    Case { what: what.to_owned(), options, expected }
}

fn undecodable() -> Expected {
    Expected::Aborted("decode_error", "extension-undecodable")
}

fn misplaced() -> Expected {
    Expected::Aborted("illegal_parameter", "extension-misplaced")
}

/// Drives the cases through a gateway of each policy.
fn run(settings: &str, wire: Wire, cases: &[Case]) {
    let world = World::shared();
    let directory = TempDir::new().unwrap();
    let two = ["certs/ee-p256.pem", "certs/root.pem"].map(vector);
    let chain = Credential { certificate: tlslite::chain(directory.path(), &two), ..Credential::right() };
    for policy in POLICIES {
        let gateway = Gateway::validating(&world, &format!("{policy}\n{settings}"));
        let with = |case: &Case| {
            let mut options = sending(&gateway, wire, &chain, &[]);
            for (key, value) in case.options.as_object().unwrap() {
                options[key] = value.clone();
            }
            options["case"] = json!(format!("{} under {policy}", case.what));
            (options, case.expected.clone())
        };
        check(&gateway, &cases.iter().map(with).collect::<Vec<_>>());
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// What a client may send where its extension belongs, by the letters of section 3.4 of the requirements. The empty forms are apart.
fn forms(place: &str) -> Vec<Case> {
    let good = name_extension(NAME.as_bytes());
    let upper = name_extension(NAME.to_uppercase().as_bytes());
    let long = format!("ff{}", hex(&[b'a'; 256]));
    let refused = || Expected::refused("invalid-client-name");
    // Names that the published vectors leave out.
    let names: [&[u8]; 5] = [
        b"sensor7\0.example.com",
        b"sensor\\.example.com",
        b"a\r\nDane-Clientid: root.example.com",
        b"localhost",
        b"sensor-.example.com",
    ];
    let mut cases = vec![
        case("well-formed", json!({place: [good]}), Expected::page(NAME)),
        case("c: length too large", json!({place: [format!("1c{}", &good[2..])]}), undecodable()),
        case("d: length too small", json!({place: [format!("1a{}", &good[2..])]}), undecodable()),
        case("d: trailing octet", json!({place: [format!("{good}00")]}), undecodable()),
        case("h: twice", json!({place: [good, good]}), misplaced()),
        case("p: upper case", json!({place: [upper]}), Expected::page(NAME)),
        case("s: 257 octets", json!({place: [long]}), undecodable()),
    ];
    cases.extend(names.map(|name| {
        case(&format!("m, o, r: {}", name.escape_ascii()), json!({place: [name_extension(name)]}), refused())
    }));
    cases
}

/// Places that TLS 1.3 has.
fn places() -> Vec<Case> {
    let good = name_extension(NAME.as_bytes());
    vec![
        case("l: on the second entry", json!({"on_second": [good]}), misplaced()),
        case("l: on both entries", json!({"in_certificate": [good], "on_second": [good]}), misplaced()),
    ]
}

// CID-04, CID-06, CID-07, CID-08, CID-09, CID-12, CID-14, CID-17, NAM-01, NAM-02, NAM-03, NAM-04, NAM-05, NAM-06
#[test]
fn profile_current() {
    let good = name_extension(NAME.as_bytes());
    let mut cases = forms("in_certificate");
    cases.extend(places());
    cases.extend([
        case("a: no data", json!({"in_certificate": [""]}), undecodable()),
        case("b: no name", json!({"in_certificate": ["00"]}), Expected::refused("empty-client-name")),
        case("k: in ClientHello", json!({"in_client_hello": [good]}), misplaced()),
        case("k: in ClientHello too", json!({"in_client_hello": [good], "in_certificate": [good]}), misplaced()),
    ]);
    run("profile = \"current\"", Wire::Tls13, &cases);
}

// CID-07, CID-08, CID-09, CID-13, CID-14, CID-17, NAM-03, NAM-05, NAM-09
#[test]
fn profile_2022() {
    let good = name_extension(NAME.as_bytes());
    let other = name_extension(b"other.example.com");
    let mut cases = forms("in_certificate");
    cases.extend(places());
    cases.extend([
        case("b: no name", json!({"in_certificate": ["00"]}), undecodable()),
        case(
            "k: in ClientHello too",
            json!({"in_client_hello": [other], "in_certificate": [good]}),
            Expected::page(NAME),
        ),
    ]);
    run("profile = \"2022\"", Wire::Tls13, &cases);
}

// CID-07, CID-08, CID-09, CID-17, NAM-03, NAM-05
#[test]
fn profile_2022_over_tls_12() {
    let mut cases = forms("in_client_hello");
    cases.push(case("b: no name", json!({"in_client_hello": ["00"]}), undecodable()));
    run("profile = \"2022\"\ntls12 = true", Wire::Tls12, &cases);
}

/// What the published vectors say of a client's extension, each over a handshake.
// CID-06, CID-07, CID-08, CID-17
#[test]
fn published_vectors() {
    run("profile = \"current\"", Wire::Tls13, &vectors("current", "CT"));
    run("profile = \"2022\"", Wire::Tls13, &vectors("2022", "CT"));
    run("profile = \"2022\"\ntls12 = true", Wire::Tls12, &vectors("2022", "CH"));
}

fn vectors(profile: &str, message: &str) -> Vec<Case> {
    let vectors: Value = serde_json::from_slice(&fs::read(vector("vectors.json")).unwrap()).unwrap();
    let rows = vectors["extension"].as_array().unwrap().iter().filter(|row| {
        row["profile"] == profile
            && row["message"] == message
            && row["sender"] == "client"
            && row["verdict"] == "reject"
    });
    // Needs a server that sends no signal.
    let rows = rows.filter(|row| row["alert"] != "unsupported_extension");
    let place = if message == "CT" { "in_certificate" } else { "in_client_hello" };
    let cases: Vec<Case> = rows
        .map(|row| {
            let data = row["extension_data_hex"].as_str().unwrap();
            let expected = match row["alert"].as_str().unwrap() {
                "decode_error" => undecodable(),
                "handshake_failure" if data == "00" => Expected::refused("empty-client-name"),
                "handshake_failure" => Expected::refused("invalid-client-name"),
                other => panic!("an alert that no row has had so far: {other}"),
            };
            case(row["name"].as_str().unwrap(), json!({place: [data]}), expected)
        })
        .collect();
    assert!(cases.len() > 10, "{} vectors", cases.len());
    cases
}
