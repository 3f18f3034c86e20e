//! `dance auth-service` asked over gRPC by another implementation of gRPC, with Envoy's published protocol.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use dance_interop::case::Credential;
use dance_interop::dns::World;
use dance_interop::process::{Daemon, dance, from_venv, run_on, text};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAME: &str = "sensor7._device.example.com";

/// Asks a service that listens at `listen`, which grpcio calls `target` or by the address that the service tells.
fn ask(world: &World, listen: &str, target: Option<&str>, questions: &[Value]) -> Vec<Value> {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("auth-service.toml");
    let settings = format!(
        "listen = {listen:?}
forwarded-by = \"ext-authz\"
allow = [\"**.example.com\", \"**.unsigned.example\"]
[dns]
resolver = [\"{}\"]
trust-anchor = {:?}
",
        world.validating, world.trust_anchor
    );
    fs::write(&file, settings).unwrap();
    let mut command = dance();
    let service = Daemon::start(command.args(["auth-service", "--log-format", "json", "--config"]).arg(file));
    let address = service.wait_for("address", |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == "listening").then(|| line["addr"].as_str().map(str::to_owned)).flatten()
    });
    let mut peer = from_venv("python");
    peer.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join("ext_authz.py"));
    let asked = json!({"target": target.unwrap_or(&address), "questions": questions});
    let output = run_on(&peer, &format!("{asked}\n"));
    assert!(output.status.success(), "{}", text(&output));
    let lines = output.stdout.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
    let mut answers: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(answers.pop().unwrap(), json!({"error": "UNIMPLEMENTED"}));
    assert_eq!(answers.len(), questions.len());
    answers
}

fn pem(credential: &Credential) -> String {
    fs::read_to_string(&credential.certificate).unwrap()
}

fn named(certificate: &str, name: &str) -> Value {
    json!({"certificate": certificate, "headers": {":path": "/new", "dane-clientid-asserted": name}})
}

fn assert_welcome(answer: &Value) {
    assert_eq!((&answer["kind"], &answer["code"]), (&json!("ok_response"), &json!(0)), "{answer}");
    assert_eq!(answer["headers"], json!({"dane-clientid": NAME}), "{answer}");
    // OVERWRITE_IF_EXISTS_OR_ADD
    assert_eq!(answer["actions"], json!([2]), "{answer}");
    let removed = answer["removed"].as_array().unwrap();
    assert!(removed.contains(&json!("dane_clientid")) && removed.contains(&json!("client-cert")), "{answer}");
    assert!(!removed.contains(&json!("dane-clientid")), "{answer}");
}

fn assert_refused(answer: &Value, status: u16) {
    assert_eq!((&answer["kind"], &answer["status"]), (&json!("denied_response"), &json!(status)), "{answer}");
    assert_eq!(answer["code"], if status == 401 { 16 } else { 7 }, "{answer}");
    assert_eq!(answer["headers"]["cache-control"], "no-store", "{answer}");
    assert_eq!(answer["headers"].get("www-authenticate").is_some(), status == 401, "{answer}");
    assert_eq!(answer["body"], "", "{answer}");
}

// HTTP-03, HTTP-10, HTTP-11, HTTP-12, HTTP-13, HTTP-14
#[test]
fn grpcio_is_answered_as_envoy_wants_it() {
    let world = World::shared();
    let (right, wrong) = (pem(&Credential::right()), pem(&Credential::wrong()));
    let body = format!("{{\"dane_clientid\":\"{NAME}\"}}");
    let as_json = json!({"content-type": "application/json"});
    let cases = [
        (named(&right, NAME), 200),
        (json!({"certificate": right, "headers": as_json, "body": body}), 200),
        (json!({"certificate": right, "headers": as_json, "raw_body": body}), 200),
        (json!({"certificate": right, "raw_headers": [["dane-clientid-asserted", NAME]]}), 200),
        (json!({"certificate": right, "headers": {"dane-clientid-asserted": NAME, "dane-clientid": "x"}}), 200),
        (named(&wrong, NAME), 401),
        (named(&right, "absent.example.com"), 401),
        (named(&right, "sensor7._device.unsigned.example"), 401),
        (named(&right, "sensor7.attacker.net"), 403),
        (named(&right, "not a name"), 400),
        (named("not a certificate", NAME), 400),
        (json!({"headers": {"dane-clientid-asserted": NAME, "client-cert": right.replace('\n', " ")}}), 401),
        (json!({"certificate": right, "headers": {}}), 401),
        (
            json!({"certificate": right, "headers": {"dane-clientid-asserted": NAME}, "raw_headers": [["dane-clientid-asserted", NAME]]}),
            400,
        ),
        (json!({"certificate": right, "headers": as_json, "body": "x".repeat(1_100_000)}), 413),
    ];
    let questions: Vec<Value> = cases.iter().map(|(question, _)| question.clone()).collect();
    for (answer, (_, status)) in ask(&world, "127.0.0.1:0", None, &questions).iter().zip(&cases) {
        if *status == 200 { assert_welcome(answer) } else { assert_refused(answer, *status) }
    }
    assert_eq!(world.queries("sensor7.attacker.net"), 0);

    // The same over a Unix socket.
    let directory = TempDir::new().unwrap();
    let target = format!("unix:{}", directory.path().join("auth.sock").display());
    let answers = ask(&world, &target, Some(&target), &[named(&right, NAME), named(&wrong, NAME)]);
    assert_welcome(&answers[0]);
    assert_refused(&answers[1], 401);
}
