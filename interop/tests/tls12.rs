//! What TLS 1.2 allows and the gateway does not: old suites, handshakes that are not bound together, renegotiation, sessions.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

use dance_interop::case::{Credential, Expected, Wire, check, naming};
use dance_interop::clients::{ask, present, s_client, traced};
use dance_interop::dns::World;
use dance_interop::gateway::Gateway;
use dance_interop::process::{run_on, text};
use dance_interop::tlslite::{self, EXTENSION_TYPE};
use serde_json::{Value, json};
use tempfile::TempDir;

const SETTINGS: &str = "profile = \"2022\"\ntls12 = true";
const NAME: &str = "sensor7._device.example.com";
/// In the certificate of the vectors' chain.
const DEVICE: &str = "device1.example.com";

/// s_client, by the name in its certificate.
fn device(gateway: &Gateway, directory: &Path) -> Command {
    let mut command = s_client(&gateway.address);
    present(&mut command, &Credential::chain(directory, true));
    command.args(["-serverinfo", &EXTENSION_TYPE.to_string()]);
    command
}

/// OpenSSL's page.
fn assert_page(gateway: &Gateway, said: &str) {
    assert!(said.contains("HTTP/1.1 200 OK") && said.contains(DEVICE), "{said}");
    assert_eq!(gateway.next_verdict()["outcome"], "authenticated");
}

fn assert_refused(gateway: &Gateway, said: &str, alert: u8, reason: &str) {
    assert!(said.contains(&format!("SSL alert number {alert}\n")), "{said}");
    assert_eq!(gateway.next_verdict()["reason"], reason, "{said}");
}

// SRV-24
#[test]
fn suites_without_aead_or_ecdhe_are_refused() {
    let gateway = Gateway::with_rsa_key(&World::shared(), SETTINGS);
    let directory = TempDir::new().unwrap();
    let with = |suites: &str| {
        let mut command = device(&gateway, directory.path());
        ask(command.args(["-tls1_2", "-cipher", suites]))
    };
    for aead in ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"] {
        assert_page(&gateway, &with(aead));
    }
    for old in [
        "ECDHE-RSA-AES128-SHA256",
        "ECDHE-RSA-AES256-SHA",
        "DHE-RSA-AES128-GCM-SHA256",
        "AES128-GCM-SHA256",
        "AES128-SHA",
    ] {
        assert_refused(&gateway, &with(old), 40, "legacy-handshake");
    }
    assert_eq!(gateway.origin.requests().len(), 3);

    let suites = |key_exchange: &str, mac: &str| {
        let mut options = naming(&gateway, Wire::Tls12, &Credential::right(), NAME);
        options["settings"] = json!({"keyExchangeNames": [key_exchange], "macNames": [mac]});
        options
    };
    let refused = || Expected::refused("legacy-handshake");
    check(
        &gateway,
        &[
            (suites("ecdhe_rsa", "aead"), Expected::page(NAME)),
            (suites("ecdhe_rsa", "sha256"), refused()),
            (suites("dhe_rsa", "aead"), refused()),
            (suites("rsa", "aead"), refused()),
            (suites("rsa", "sha"), refused()),
        ],
    );
}

// SRV-20, SRV-24, CID-17
#[test]
fn handshakes_that_are_not_bound_are_refused() {
    let world = World::shared();
    let directory = TempDir::new().unwrap();
    // s_client has no option for it.
    let configuration = directory.path().join("openssl.cnf");
    let settings = "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = old\n[old]\nOptions = -ExtendedMasterSecret\n";
    fs::write(&configuration, settings).unwrap();
    for policy in ["require", "optional"] {
        let gateway = Gateway::validating(&world, &format!("policy = \"{policy}\"\n{SETTINGS}"));
        assert_page(&gateway, &ask(device(&gateway, directory.path()).arg("-tls1_2")));
        let mut command = device(&gateway, directory.path());
        let said = ask(command.args(["-tls1_2", "-trace"]).env("OPENSSL_CONF", &configuration));
        assert!(!said.contains("extended_master_secret"), "{said}");
        assert_refused(&gateway, &said, 40, "legacy-handshake");
        assert_eq!(gateway.origin.requests().len(), 1);

        let naming = || naming(&gateway, Wire::Tls12, &Credential::right(), NAME);
        let mut no_extended_master_secret = naming();
        no_extended_master_secret["settings"] = json!({"useExtendedMasterSecret": false});
        let mut no_renegotiation_info = naming();
        no_renegotiation_info["no_renegotiation_info"] = json!(true);
        check(
            &gateway,
            &[
                (no_extended_master_secret, Expected::refused("legacy-handshake")),
                (no_renegotiation_info, Expected::refused("legacy-handshake")),
                (naming(), Expected::page(NAME)),
            ],
        );
    }
}

// SRV-02, SEC-10
#[test]
fn older_versions_are_refused() {
    let gateway = Gateway::validating(&World::shared(), SETTINGS);
    let directory = TempDir::new().unwrap();
    for old in ["-tls1_1", "-tls1"] {
        let mut command = device(&gateway, directory.path());
        let said = ask(command.args([old, "-cipher", "ALL:@SECLEVEL=0"]));
        assert_refused(&gateway, &said, 70, "version-too-low");
    }
    let mut options = naming(&gateway, Wire::Tls12, &Credential::right(), NAME);
    options["tls"] = json!("1.1");
    check(&gateway, &[(options, Expected::Aborted("protocol_version", "version-too-low"))]);
}

// SRV-20
#[test]
fn renegotiation_is_refused() {
    let gateway = Gateway::validating(&World::shared(), SETTINGS);
    let directory = TempDir::new().unwrap();
    let mut command = device(&gateway, directory.path());
    let command = command.args(["-tls1_2", "-trace", "-no_ign_eof"]);
    // s_client's command to renegotiate.
    let said = text(&run_on(command, "R\n"));
    assert_eq!(gateway.next_verdict()["outcome"], "authenticated");
    assert!(said.contains("RENEGOTIATING") && said.contains("description=no renegotiation(100)"), "{said}");
    let hellos = |name| traced(&said).iter().filter(|message| message.name == name).count();
    assert_eq!((hellos("ClientHello"), hellos("ServerHello")), (2, 1), "{said}");
    assert!(gateway.origin.requests().is_empty());
}

// SRV-17
#[test]
fn tls_12_never_resumes() {
    let world = World::shared();
    let directory = TempDir::new().unwrap();
    for resumption in ["off", "bound"] {
        let gateway = Gateway::validating(&world, &format!("resumption = \"{resumption}\"\n{SETTINGS}"));
        // OpenSSL is given nothing to keep, and nothing comes of what it tries all the same.
        let session = directory.path().join("session");
        let mut command = device(&gateway, directory.path());
        let said = ask(command.args(["-tls1_2", "-trace", "-reconnect", "-sess_out"]).arg(&session));
        assert!(!session.exists() && !said.contains("NewSessionTicket"), "{said}");
        const CONNECTIONS: usize = 6;
        assert_eq!(said.matches("New, TLSv1.2").count(), CONNECTIONS, "{said}");
        assert!(!said.contains("Reused") && said.contains("HTTP/1.1 200 OK"), "{said}");
        for _ in 0..CONNECTIONS {
            assert_eq!(gateway.next_verdict()["outcome"], "authenticated");
        }
        let mut options = naming(&gateway, Wire::Tls12, &Credential::right(), NAME);
        options["resume"] = json!(true);
        let result: Value = tlslite::connect(&[options]).remove(0);
        for connection in [&result["first"], &result] {
            assert_eq!((&connection["resumed"], &connection["body"]), (&json!(false), &json!(NAME)), "{result}");
            assert_eq!(gateway.next_verdict()["outcome"], "authenticated");
        }
    }
}
