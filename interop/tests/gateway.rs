//! The gateway between programs that others wrote: clients in front of it, resolvers and zones behind it.
#![allow(clippy::unwrap_used, reason = "tests")]

use dance_interop::case::{Credential, Expected, Wire, check, naming};
use dance_interop::dns::World;
use dance_interop::gateway::{Dns, Gateway};
use dance_interop::tlslite::{self, alert};
use serde_json::{Value, json};
use tempfile::TempDir;

fn presenting(gateway: &Gateway, credential: &Credential, name: &str) -> Value {
    naming(gateway, Wire::Tls13, credential, name)
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
        cases.push((presenting(&gateway, &Credential::right(), name), Expected::page(name)));
        cases.push((presenting(&gateway, &Credential::wrong(), name), Expected::refused("no-match")));
    }
    for (name, reason) in [
        ("absent.example.com", "tlsa-absent"),
        ("absent.example.net", "tlsa-absent"),
        ("notlsa._device.example.com", "tlsa-absent"),
        ("notlsa._device.example.net", "tlsa-absent"),
        ("stale._device.example.com", "no-match"),
        ("sensor7._device.unsigned.example", "dnssec-insecure"),
    ] {
        cases.push((presenting(&gateway, &Credential::right(), name), Expected::refused(reason)));
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
    let options = presenting(&gateway, &Credential::right(), "sensor7._device.example.com");
    check(&gateway, &[(options, Expected::refused("dnssec-insecure"))]);
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
                (
                    presenting(&gateway, &Credential::right(), "sensor7._device.broken.example"),
                    Expected::refused("dnssec-bogus"),
                ),
                (
                    presenting(&gateway, &Credential::right(), "sensor7._device.expired.example"),
                    Expected::refused("dnssec-bogus"),
                ),
                (presenting(&gateway, &Credential::right(), good), Expected::page(good)),
            ],
        );
    }
}

// TLSA-06, TLSA-09, TLSA-10, SRV-13
#[test]
fn a_private_ca_vouches_for_its_own_names_only() {
    let gateway = Gateway::validating(&World::shared(), "");
    let directory = TempDir::new().unwrap();
    let full = Credential::chain(directory.path(), true);
    let short = Credential::chain(directory.path(), false);
    let name = "device1.example.com";
    check(
        &gateway,
        &[
            (presenting(&gateway, &full, name), Expected::page(name)),
            (presenting(&gateway, &full, "device9.example.com"), Expected::refused("san-mismatch")),
            (presenting(&gateway, &short, name), Expected::refused("no-match")),
        ],
    );
}

// SRV-07, SRV-08, SRV-09, DNS-06, DNS-11, NAM-05, NAM-07
#[test]
fn queries_are_sent_for_proven_and_allowed_names_only() {
    let world = World::shared();
    let gateway = Gateway::validating(&world, "");
    let mut unproven = presenting(&gateway, &Credential::right(), "unproven._device.example.com");
    unproven["bad_certificate_verify"] = json!(true);
    let foreign = presenting(&gateway, &Credential::right(), "sensor7._device.foreign.example");
    // The same probe, where it should be seen.
    let proven = presenting(&gateway, &Credential::right(), "Proven._device.Example.com");

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
