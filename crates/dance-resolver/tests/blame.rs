//! Whom silence is held against: the zone that keeps it, and nobody who merely has to do with it.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{RECORD, code, owner, resolver};
use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_resolver::{Resolver, Rtype, TlsaSource as _};
use dance_testkit::{Fault, SignedWorld, Zone};

const NAME: &str = "dev1._device.example.test";

async fn failure(resolver: &Resolver, name: &str) -> LookupFailure {
    let lookup = resolver.lookup(&owner(name)).await;
    let TlsaAnswer::Indeterminate(failure) = lookup.answer else { panic!("{lookup:?}") };
    failure
}

// SEC-01: whoever has a name in a zone that others use, and lets it lead to servers that keep silent, gets at nobody else's names.
#[tokio::test]
async fn an_alias_into_silence_is_not_held_against_its_zone() {
    let world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(Zone::new("example.test").tlsa(NAME, RECORD, 300).cname(
            "*._alias.example.test",
            "dev1._device.stall.test",
            300,
        ))
        .zone(Zone::new("stall.test"))
        .zone_fault("stall.test", Fault::NeverAnswers)
        .start()
        .await
        .unwrap();
    let resolver = resolver(&world);
    tokio::time::pause();
    for n in 0..6 {
        assert_eq!(failure(&resolver, &format!("d{n}._alias.example.test")).await, LookupFailure::Timeout, "{n}");
    }
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
}

// SEC-01, SEC-02: a zone that gives its records at once and never its keys holds up look-ups no less.
#[tokio::test]
async fn a_zone_that_keeps_its_keys_to_itself() {
    let world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(Zone::new("example.test").tlsa(NAME, RECORD, 300))
        .zone(Zone::new("mute.test").tlsa("*._device.mute.test", RECORD, 300))
        .fault_on_type("mute.test", Rtype::DNSKEY, Fault::NeverAnswers)
        .start()
        .await
        .unwrap();
    let resolver = resolver(&world);
    tokio::time::pause();
    for n in 0..5 {
        assert_eq!(failure(&resolver, &format!("d{n}._device.mute.test")).await, LookupFailure::Timeout, "{n}");
    }
    world.clear_log();
    assert_eq!(failure(&resolver, "d5._device.mute.test").await, LookupFailure::Suspended);
    assert!(world.queries().is_empty());
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
}

// SEC-01: when the resolver is down, that is no zone's fault: as soon as it is back, everything is.
#[tokio::test]
async fn a_resolver_that_keeps_silent() {
    let world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(Zone::new("example.test").tlsa("*._device.example.test", RECORD, 300))
        .start()
        .await
        .unwrap();
    let resolver = resolver(&world);
    tokio::time::pause();
    assert_eq!(code(&resolver.lookup(&owner("known._device.example.test")).await), "S");
    world.add_server_fault(Fault::NeverAnswers).unwrap();
    for n in 0..6 {
        assert_eq!(failure(&resolver, &format!("d{n}._device.example.test")).await, LookupFailure::Timeout, "{n}");
    }
    world.clear_faults();
    assert_eq!(code(&resolver.lookup(&owner("d6._device.example.test")).await), "S");
    // The control: with the resolver up, silence is the zone's.
    world.add_zone_fault("example.test", Fault::NeverAnswers).unwrap();
    for n in 10..15 {
        assert_eq!(failure(&resolver, &format!("d{n}._device.example.test")).await, LookupFailure::Timeout, "{n}");
    }
    assert_eq!(failure(&resolver, "d15._device.example.test").await, LookupFailure::Suspended);
}
