//! The client in profile `2022`, and as one that takes either, against tlslite-ng and the gateway, over TLS 1.3 and 1.2.
#![allow(clippy::unwrap_used, reason = "tests")]

use dance_interop::case::Credential;
use dance_interop::client::{Peer, page, request, x509};
use dance_interop::dns::World;
use dance_interop::gateway::Gateway;
use dance_interop::process::{run, text};
use dance_interop::tlslite::name_extension;
use serde_json::{Value, json};

/// The one name in the certificate of the vectors' chain.
const DEVICE: &str = "device1.example.com";
const NAMED: [&str; 4] = ["--profile", "2022", "--name", DEVICE];
const UNNAMED: [&str; 3] = ["--profile", "2022", "--name-in-certificate"];
const AUTO: [&str; 4] = ["--profile", "auto", "--name", DEVICE];
const TLS12: [&str; 2] = ["--tls12", "--no-tls13"];

fn name() -> String {
    name_extension(DEVICE.as_bytes())
}

/// The extension on each entry of the client's Certificate.
fn extensions(result: &Value) -> Vec<&Value> {
    result["entries"].as_array().unwrap().iter().map(|entry| &entry["extension"]).collect()
}

// CLI-03, CLI-04, CLI-08, CID-07
#[test]
fn the_empty_signal_is_answered_in_the_certificate() {
    let peer = Peer::new();
    let chain = Credential::chain(peer.directory.path(), true);
    let options = json!({"signal": [""]});
    for (client, extension) in [(&NAMED[..], name()), (&UNNAMED, String::new())] {
        let result = peer.serves(&chain, client, &options);
        assert_eq!(extensions(&result), [&json!([extension]), &json!([]), &json!([])], "{result}");
        assert_eq!(result["in_client_hello"], json!([]), "{result}");
    }
}

// CLI-03, CLI-08
#[test]
fn auto_answers_either_signal() {
    let peer = Peer::new();
    let chain = Credential::chain(peer.directory.path(), true);
    for signal in ["00", ""] {
        let result = peer.serves(&chain, &AUTO, &json!({"signal": [signal]}));
        assert_eq!(extensions(&result), [&json!([name()]), &json!([]), &json!([])], "{result}");
        assert_eq!(result["in_client_hello"], json!([]), "{result}");
    }
}

// CID-15, CID-09, CID-11, CLI-02
#[test]
fn signals_of_another_form_or_out_of_place_are_refused() {
    let peer = Peer::new();
    let chain = Credential::chain(peer.directory.path(), true);
    for client in [&NAMED[..], &AUTO] {
        let refused = |options: Value, alert, message| peer.is_refused(&chain, client, &options, alert, message);
        if client == NAMED {
            refused(json!({"signal": ["00"]}), "decode_error", "");
            refused(json!({"signal": [name()]}), "decode_error", "");
        }
        refused(json!({"signal": ["05"]}), "decode_error", "");
        refused(json!({"signal": ["", ""]}), "illegal_parameter", "");
        refused(json!({}), "handshake_failure", "signal");
        for place in ["in_server_hello", "in_encrypted_extensions", "in_certificate"] {
            refused(json!({"signal": [""], place: [""]}), "unsupported_extension", "");
        }
    }
}

// CLI-04, CLI-08
#[test]
fn over_tls_12_the_hello_says_that_the_name_is_in_the_certificate() {
    let peer = Peer::new();
    let chain = Credential::chain(peer.directory.path(), true);
    let options = json!({"tls": "1.2", "in_server_hello": [""]});
    for client in [&NAMED[..], &UNNAMED] {
        let result = peer.serves(&chain, &[client, &TLS12].concat(), &options);
        assert_eq!(result["in_client_hello"], json!([""]), "{result}");
        assert_eq!(result["entries"].as_array().unwrap().len(), 3, "{result}");
    }
    // In clear for all to read, and so by setting alone.
    let result = peer.serves(&chain, &[&NAMED[..], &TLS12, &["--name-in-client-hello"]].concat(), &options);
    assert_eq!(result["in_client_hello"], json!([name()]), "{result}");
    // With both versions offered, the server's choice.
    let result = peer.serves(&chain, &[&NAMED[..], &["--tls12"]].concat(), &json!({"signal": [""]}));
    assert_eq!((&result["in_client_hello"], extensions(&result)[0]), (&json!([""]), &json!([name()])), "{result}");
}

// CID-09, CID-11, CID-15, CID-16, CLI-02
#[test]
fn over_tls_12_signals_of_another_form_are_refused() {
    let peer = Peer::new();
    let chain = Credential::chain(peer.directory.path(), true);
    let client = [&NAMED[..], &TLS12].concat();
    for (signal, alert, message) in [
        (vec![], "handshake_failure", "signal"),
        (vec!["00".to_owned()], "decode_error", ""),
        (vec!["05".to_owned()], "decode_error", ""),
        (vec![name()], "decode_error", ""),
        (vec![String::new(), String::new()], "illegal_parameter", ""),
    ] {
        peer.is_refused(&chain, &client, &json!({"tls": "1.2", "in_server_hello": signal}), alert, message);
    }
    // In TLS 1.3 a ServerHello has no place for it, asked for or not.
    let both = [&NAMED[..], &["--tls12"]].concat();
    let options = json!({"signal": [""], "in_server_hello": [""]});
    peer.is_refused(&chain, &both, &options, "unsupported_extension", "");
    // A client that has not asked.
    let ordinary = [&["--profile", "2022"][..], &TLS12].concat();
    let unsolicited = json!({"tls": "1.2", "in_server_hello": [""]});
    peer.is_refused(&chain, &ordinary, &unsolicited, "unsupported_extension", "");
    let result = peer.serves(&chain, &ordinary, &json!({"tls": "1.2"}));
    assert_eq!(result["in_client_hello"], json!([]), "{result}");
}

// SRV-24
#[test]
fn over_tls_12_the_client_wants_its_handshake_bound_too() {
    let peer = Peer::new();
    let chain = Credential::chain(peer.directory.path(), true);
    let client = [&NAMED[..], &TLS12].concat();
    let mut options = json!({"tls": "1.2", "in_server_hello": [""], "settings": {"useExtendedMasterSecret": false}});
    peer.is_refused(&chain, &client, &options, "handshake_failure", "");
    options["settings"] = json!({});
    let _ = peer.serves(&chain, &client, &options);
}

// CLI-07, RPK-01, RPK-02, CLI-04
#[test]
fn through_the_gateway_over_either_version() {
    let world = World::shared();
    let gateway = Gateway::validating(&world, "profile = \"2022\"\ntls12 = true");
    let peer = Peer::new();
    let chain = Credential::chain(peer.directory.path(), true);
    let sensor = ["--profile", "2022", "--name", "sensor7._device.example.com"];
    let raw = |client: &[&str], key| run(request(&gateway.address, &gateway.server).args(client).arg("--key").arg(key));
    for versions in [&[][..], &["--tls12"], &["--tls12", "--no-tls13"]] {
        for client in [&NAMED[..], &UNNAMED] {
            let mut command = request(&gateway.address, &gateway.server);
            assert_eq!(page(&run(x509(command.args(client).args(versions), &chain))), DEVICE);
            assert_eq!(gateway.next_verdict()["outcome"], "authenticated");
        }
        // A raw key needs the name where the version has a place for it.
        let client = match versions {
            [] => sensor.to_vec(),
            _ => [&sensor[..], versions, &["--name-in-client-hello"]].concat(),
        };
        assert_eq!(page(&raw(&client, Credential::right().key)), sensor[3]);
        assert_eq!(gateway.next_verdict()["outcome"], "authenticated");
        let output = raw(&client, Credential::wrong().key);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("client authentication refused"), "{}", text(&output));
        assert_eq!(gateway.next_verdict()["reason"], "no-match");
    }
}
