//! Profile `2022` over TLS 1.3 and 1.2, with clients that others wrote: names, names in certificates, and refusals, which in TLS 1.2 come
//! within the handshake.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use dance_interop::case::{Credential, Expected, Wire, check, naming, sending};
use dance_interop::clients::{ask, present, s_client, traced};
use dance_interop::dns::World;
use dance_interop::gateway::Gateway;
use dance_interop::process::vector;
use dance_interop::tlslite::{self, EXTENSION_TYPE};
use tempfile::TempDir;

const TLS13: &str = "profile = \"2022\"";
const TLS12: &str = "profile = \"2022\"\ntls12 = true";
const WIRES: [(&str, Wire); 3] = [(TLS13, Wire::Tls13), (TLS12, Wire::Tls13), (TLS12, Wire::Tls12)];
const DEVICE: &str = "device1.example.com";

/// A chain of the vectors with another leaf.
fn chain(directory: &Path, leaf: &str) -> Credential {
    let certificates = [leaf, "inter", "root"].map(|stem| vector(&format!("certs/{stem}.pem")));
    Credential { certificate: tlslite::chain(directory, &certificates), key: vector("keys/leaf.key.pem") }
}

// CID-03, SRV-07, SRV-08, SRV-12, SRV-13, SRV-16, SRV-24, NAM-05, DNS-03, TLSA-10, SEC-11
#[test]
fn a_conveyed_name_decides() {
    let world = World::shared();
    let directory = TempDir::new().unwrap();
    for (number, (settings, wire)) in WIRES.into_iter().enumerate() {
        let gateway = Gateway::validating(&world, settings);
        let [right, wrong] = [Credential::right(), Credential::wrong()];
        let full = Credential::chain(directory.path(), true);
        let short = Credential::chain(directory.path(), false);
        let own = format!("decides{number}._device.example.com");
        let foreign = format!("decides{number}._device.foreign.example");
        let case = |credential, name: &str, expected| (naming(&gateway, wire, credential, name), expected);
        check(
            &gateway,
            &[
                case(&right, &own, Expected::page(&own)),
                case(&right, &own.to_uppercase(), Expected::page(&own)),
                case(&wrong, &own, Expected::refused("no-match")),
                case(&right, "sensor7._device.example.net", Expected::page("sensor7._device.example.net")),
                case(&right, "stale._device.example.net", Expected::refused("no-match")),
                case(&right, "absent.example.net", Expected::refused("tlsa-absent")),
                case(&right, "sensor7._device.unsigned.example", Expected::refused("dnssec-insecure")),
                case(&right, "sensor7._device.broken.example", Expected::refused("dnssec-bogus")),
                case(&right, &foreign, Expected::refused("name-not-allowed")),
                case(&full, DEVICE, Expected::page(DEVICE)),
                case(&full, "device9.example.com", Expected::refused("san-mismatch")),
                case(&short, DEVICE, Expected::refused("no-match")),
            ],
        );
        assert_eq!((world.queries(&own), world.queries(&foreign)), (1, 0));
    }
}

// SRV-09
#[test]
fn possession_is_proven_before_dns_is_asked() {
    let world = World::shared();
    for (number, (settings, wire)) in WIRES.into_iter().enumerate() {
        let gateway = Gateway::validating(&world, settings);
        let name = format!("unproven{number}._device.example.com");
        let mut unproven = naming(&gateway, wire, &Credential::right(), &name);
        unproven["bad_certificate_verify"] = true.into();
        check(&gateway, &[(unproven, Expected::Failed("decrypt_error"))]);
        assert_eq!(world.queries(&name), 0);
        // The same probe, where it should be seen.
        check(&gateway, &[(naming(&gateway, wire, &Credential::right(), &name), Expected::page(&name))]);
        assert_eq!(world.queries(&name), 1);
    }
}

// CID-07, NAM-09, TLSA-24
#[test]
fn without_a_conveyed_name_the_certificate_s_only_one_decides() {
    let world = World::shared();
    let directory = TempDir::new().unwrap();
    for (settings, wire) in WIRES {
        let gateway = Gateway::validating(&world, settings);
        let case = |leaf, expected| (sending(&gateway, wire, &chain(directory.path(), leaf), &[""]), expected);
        check(
            &gateway,
            &[
                case("leaf", Expected::page(DEVICE)),
                case("leaf-uppersan", Expected::page(DEVICE)),
                case("leaf-twosan", Expected::refused("no-name-in-certificate")),
                case("leaf-nosan", Expected::refused("no-name-in-certificate")),
                case("leaf-wildsan", Expected::refused("no-name-in-certificate")),
                case("leaf-ipsan", Expected::refused("no-name-in-certificate")),
                (naming(&gateway, wire, &chain(directory.path(), "leaf-twosan"), DEVICE), Expected::page(DEVICE)),
            ],
        );
    }
}

// SRV-04, SRV-05, SRV-15
#[test]
fn policy_optional_softens_what_it_may() {
    let world = World::shared();
    let directory = TempDir::new().unwrap();
    let name = "sensor7._device.example.com";
    for (settings, wire) in WIRES {
        let gateway = Gateway::validating(&world, &format!("policy = \"optional\"\n{settings}"));
        let full = Credential::chain(directory.path(), true);
        let unauthenticated = |reason| Expected::Nobody("unauthenticated", Some(reason));
        let case = |credential, name, expected| (naming(&gateway, wire, credential, name), expected);
        check(
            &gateway,
            &[
                case(&Credential::right(), name, Expected::page(name)),
                case(&Credential::wrong(), name, unauthenticated("no-match")),
                case(&Credential::right(), "absent.example.com", unauthenticated("tlsa-absent")),
                case(&Credential::right(), "sensor7._device.foreign.example", unauthenticated("name-not-allowed")),
                case(&full, "device9.example.com", Expected::refused("san-mismatch")),
                (
                    sending(&gateway, wire, &Credential::right(), &[]),
                    Expected::Nobody("not-dane", Some("no-client-name")),
                ),
            ],
        );
    }
}

/// An ordinary OpenSSL, told to send the empty form to every server, over TLS 1.2.
fn serverinfo(gateway: &Gateway, credential: &Credential) -> String {
    let mut command = s_client(&gateway.address);
    present(&mut command, credential);
    ask(command.args(["-tls1_2", "-serverinfo", &EXTENSION_TYPE.to_string(), "-trace"]))
}

// CID-03, CID-07, CID-16, NAM-09, SRV-24
#[test]
fn stock_openssl_is_a_client_by_the_name_in_its_certificate() {
    let gateway = Gateway::validating(&World::shared(), TLS12);
    let directory = TempDir::new().unwrap();
    let said = serverinfo(&gateway, &chain(directory.path(), "leaf"));
    assert!(said.contains("HTTP/1.1 200 OK") && said.contains(DEVICE), "{said}");
    let verdict = gateway.next_verdict();
    assert_eq!((&verdict["outcome"], &verdict["client_name"]), (&"authenticated".into(), &DEVICE.into()), "{verdict}");
    let messages = traced(&said);
    let with: Vec<_> = messages
        .iter()
        .filter_map(|message| Some((message.name.as_str(), message.extension(EXTENSION_TYPE)?)))
        .collect();
    assert_eq!(with, [("ClientHello", String::new()), ("ServerHello", String::new())], "{said}");
    assert!(messages.iter().all(|message| message.name != "NewSessionTicket"), "{said}");

    for (leaf, reason) in [("leaf-twosan", "no-name-in-certificate"), ("leaf-devsan", "no-match")] {
        let said = serverinfo(&gateway, &chain(directory.path(), leaf));
        // Within the handshake: there is no Finished of the server's.
        assert!(said.contains("SSL alert number 40"), "{leaf}: {said}");
        assert_eq!(traced(&said).iter().filter(|message| message.name == "Finished").count(), 1, "{leaf}: {said}");
        assert_eq!(gateway.next_verdict()["reason"], reason, "{leaf}");
    }
    assert_eq!(gateway.origin.requests().len(), 1);
}

// CID-16
#[test]
fn a_server_hello_answers_those_who_asked() {
    let gateway = Gateway::validating(&World::shared(), TLS12);
    let directory = TempDir::new().unwrap();
    let mut command = s_client(&gateway.address);
    present(&mut command, &chain(directory.path(), "leaf"));
    let said = ask(command.args(["-tls1_2", "-trace"]));
    assert!(traced(&said).iter().any(|message| message.name == "ServerHello"), "{said}");
    assert!(!said.contains("UNKNOWN(65500)") && said.contains("SSL alert number 40"), "{said}");
    assert_eq!(gateway.next_verdict()["reason"], "no-client-name");
}

// CID-16, SRV-03
#[test]
fn profile_current_neither_reads_nor_answers_it_in_tls_12() {
    let settings = "profile = \"current\"\npolicy = \"optional\"\ntls12 = true";
    let gateway = Gateway::validating(&World::shared(), settings);
    let nobody = || Expected::Nobody("not-dane", Some("no-client-name"));
    let name = "sensor7._device.example.com";
    check(
        &gateway,
        &[
            (naming(&gateway, Wire::Tls12, &Credential::right(), name), nobody()),
            (sending(&gateway, Wire::Tls12, &Credential::right(), &["05"]), nobody()),
            (naming(&gateway, Wire::Tls13, &Credential::right(), name), Expected::page(name)),
        ],
    );
    let directory = TempDir::new().unwrap();
    let said = serverinfo(&gateway, &chain(directory.path(), "leaf"));
    assert!(said.contains("nobody") && said.matches("UNKNOWN(65500)").count() == 1, "{said}");
}
