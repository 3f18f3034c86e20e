//! The table of look-ups that every validator must get right, over one world.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::Duration;

use common::{RECORD, code, owner, resolver};
use dance_resolver::TlsaSource as _;
use dance_testkit::{Delegation, Denial, Fault, KeyKind, SignedWorld, WorldBuilder, Zone};

/// What most zones hold.
fn filled(zone: Zone) -> Zone {
    zone.text(&format!(
        "$TTL 300\n\
         dev1._device IN TLSA {RECORD}\n\
         alias._device IN CNAME dev1._device\n\
         nodata._device IN TXT \"here\"\n\
         *._wild IN TLSA {RECORD}\n\
         exact._wild IN TLSA {RECORD}\n"
    ))
}

fn zone(apex: &str) -> Zone {
    filled(Zone::new(apex))
}

fn world() -> WorldBuilder {
    let big: String = (0..60).map(|n| format!("big._device IN TLSA 3 1 1 {n:064x}\n")).collect();
    SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(zone("example.test").text(&big).text(
            "xzone._device IN CNAME dev1._device.rsa.test.\n\
                     *._wcname IN CNAME dev1._device.rsa.test.\n\
                     towild._device IN CNAME foo._wild.rsa.test.\n\
                     dn IN DNAME rsa.test.\n\
                     tonx1._device IN CNAME nx._device\n\
                     tonx._device IN CNAME nx._device.rsa.test.\n\
                     tonodata._device IN CNAME nodata._device.rsa.test.\n\
                     loop1._device IN CNAME loop2._device\n\
                     loop2._device IN CNAME loop1._device\n\
                     toinsec._device IN CNAME dev1._device.insecure.test.\n\
                     tobogus._device IN CNAME dev1._device.badsig.test.\n",
        ))
        .zone(zone("ed.test").key(KeyKind::Ed25519).denial(Denial::nsec3()))
        .zone(zone("rsa.test").key(KeyKind::Rsa2048).denial(Denial::nsec3_iterations(5)))
        .zone(zone("n3.test").denial(Denial::nsec3()))
        .zone(zone("p384.test").key(KeyKind::P384))
        .zone(filled(Zone::unsigned("insecure.test")).text("tosec._device IN CNAME dev1._device.example.test."))
        .zone(zone("island.test").delegation(Delegation::NoDs))
        .zone(zone("unkalg.test").delegation(Delegation::UnknownAlgorithm))
        .zone(zone("unkdig.test").delegation(Delegation::UnknownDigest))
        .zone(zone("optout.test").denial(Denial::nsec3_opt_out()))
        .zone(filled(Zone::unsigned("unsig.optout.test")))
        .zone(zone("n3200.test").denial(Denial::nsec3_iterations(200)))
        .zone(zone("n31000.test").denial(Denial::nsec3_iterations(1000)))
        .zone(zone("badsig.test"))
        .fault("dev1._device.badsig.test", Fault::TamperedRdata)
        .zone(zone("badds.test").delegation(Delegation::WrongDs))
        .zone(zone("twods.test").delegation(Delegation::SecureWithBrokenExtra))
        .zone(zone("expired.test").expired())
        .zone(zone("future.test").not_yet_valid())
        .zone(zone("nosig.test"))
        .zone_fault("nosig.test", Fault::StrippedSignatures)
        .zone(zone("strip.test"))
        .zone(zone("strip3.test").denial(Denial::nsec3()))
        .fault("strip1._wild.strip.test", Fault::StrippedProof)
        .fault("strip1._wild.strip3.test", Fault::StrippedProof)
        .fault("exact._wild.strip.test", Fault::ReplayedWildcard)
        .fault("exact._wild.strip3.test", Fault::ReplayedWildcard)
        .fault("strip1._device.strip.test", Fault::StrippedProof)
        .fault("dev1._device.strip.test", Fault::FalseNoData)
        .fault("dev1._device.strip3.test", Fault::FalseNoData)
        .fault("alias._device.strip.test", Fault::FalseNxDomain)
        .fault("alias._device.strip3.test", Fault::FalseNxDomain)
        .zone(zone("shortsig.test").signatures(-3600, 3 * 3600))
        .zone(zone("lag.test"))
        .zone_fault("lag.test", Fault::DelayedBy(Duration::from_millis(100)))
}

/// (name, answers that are right)
const CASES: &[(&str, &str)] = &[
    ("dev1._device.example.test", "S"),
    ("dev1._device.ed.test", "S"),
    ("dev1._device.p384.test", "S"),
    ("dev1._device.rsa.test", "S"),
    ("dev1._device.n3.test", "S"),
    ("foo._wild.example.test", "S"),
    ("foo._wild.n3.test", "S"),
    ("a.b.c._wild.rsa.test", "S"),
    ("exact._wild.example.test", "S"),
    ("big._device.example.test", "S"),
    ("alias._device.example.test", "S"),
    ("xzone._device.example.test", "S"),
    ("foo._wcname.example.test", "S"),
    ("towild._device.example.test", "S"),
    ("dev1._device.dn.example.test", "S"),
    ("foo._wild.dn.example.test", "S"),
    ("nx._device.example.test", "SX"),
    ("nx._device.n3.test", "SX"),
    ("nx._device.rsa.test", "SX"),
    ("a.b.c.nx._device.n3.test", "SX"),
    ("nodata._device.example.test", "SN"),
    ("nodata._device.n3.test", "SN"),
    ("_device.example.test", "SN"),
    ("_device.n3.test", "SN"),
    ("tonx1._device.example.test", "SX"),
    ("tonx._device.example.test", "SX"),
    ("tonodata._device.example.test", "SN"),
    ("loop1._device.example.test", "T"),
    ("nosuch.test", "SX"),
    ("dev1._device.shortsig.test", "S"),
    ("dev1._device.insecure.test", "I"),
    ("nx._device.insecure.test", "I"),
    ("nodata._device.insecure.test", "I"),
    ("alias._device.insecure.test", "I"),
    ("toinsec._device.example.test", "I"),
    ("tosec._device.insecure.test", "I"),
    ("dev1._device.island.test", "I"),
    ("foo._wild.island.test", "I"),
    ("nx._device.island.test", "I"),
    ("dev1._device.unkalg.test", "I"),
    ("dev1._device.unkdig.test", "I"),
    ("nx._device.unkalg.test", "I"),
    ("dev1._device.optout.test", "S"),
    ("nx._device.optout.test", "I"),
    ("foo._wild.optout.test", "S I"),
    ("dev1._device.unsig.optout.test", "I"),
    ("nx._device.unsig.optout.test", "I"),
    ("dev1._device.n3200.test", "S"),
    ("nx._device.n3200.test", "I"),
    ("foo._wild.n3200.test", "I B"),
    ("nx._device.n31000.test", "B I"),
    ("dev1._device.badsig.test", "B"),
    ("nx._device.badsig.test", "SX"),
    ("tobogus._device.example.test", "B"),
    ("dev1._device.badds.test", "B"),
    ("nx._device.badds.test", "B"),
    ("dev1._device.twods.test", "S"),
    ("dev1._device.expired.test", "B"),
    ("dev1._device.future.test", "B"),
    ("dev1._device.nosig.test", "B"),
    ("nx._device.nosig.test", "B"),
    ("strip1._wild.strip.test", "B"),
    ("strip1._wild.strip3.test", "B"),
    ("exact._wild.strip.test", "B"),
    ("exact._wild.strip3.test", "B"),
    ("strip1._device.strip.test", "B"),
    ("dev1._device.strip.test", "B"),
    ("dev1._device.strip3.test", "B"),
    ("alias._device.strip.test", "B"),
    ("alias._device.strip3.test", "B"),
    ("dev1._device.lag.test", "S"),
];

// DNS-01, DNS-03, DNS-05, DNS-07
#[tokio::test]
async fn every_case_of_the_table() {
    let world = world().start().await.unwrap();
    // Each once with everything to be fetched, and once beside the others.
    let shared = resolver(&world);
    let mut wrong = Vec::new();
    for (name, expected) in CASES {
        let alone = resolver(&world).lookup(&owner(name)).await;
        let beside = shared.lookup(&owner(name)).await;
        for lookup in [alone, beside] {
            if !expected.split(' ').any(|expected| expected == code(&lookup)) {
                wrong.push(format!("{name}: expected {expected}, found {:?}, {:?}", lookup.answer, lookup.trace));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
