//! The world against the table of look-ups that a client must get right, judged by the validator of `domain`. These tests
//! are about the test world, so they claim no requirement of the product.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Want::{Bogus, NoData, NxDomain, Positive};
use common::{RDATA, ask_validating, check, look_up, records, zone};
use dance_testkit::{Delegation, Denial, Fault, KeyKind, KeyRole, SignedWorld, Zone};
use domain::dnssec::validator::context::ValidationState::{Insecure, Secure};

#[tokio::test]
async fn secure_answers_and_denials() {
    let world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(zone("example").text(
            "xzone._device 300 IN CNAME dev1._device.n3.test.\n\
             *._wcname 300 IN CNAME dev1._device.n3.test.\n\
             towild._device 300 IN CNAME foo._wild.n3.test.\n\
             _device.dn 300 IN DNAME _device.n3.test.\n\
             _wild.dn 300 IN DNAME _wild.n3.test.\n\
             tonx1._device 300 IN CNAME nx._device\n\
             tonx._device 300 IN CNAME nx._device.n3.test.\n\
             tonodata._device 300 IN CNAME nodata._device.n3.test.\n",
        ))
        .zone(zone("n3").denial(Denial::nsec3()))
        .zone(zone("rsa").key(KeyKind::Rsa2048).denial(Denial::nsec3_iterations(5)))
        .zone(zone("roll").keys(&[
            (KeyKind::P256, KeyRole::Ksk),
            (KeyKind::P256, KeyRole::Zsk),
            (KeyKind::P256, KeyRole::Published),
        ]))
        .zone(zone("twods").delegation(Delegation::SecureWithBrokenExtra))
        .start()
        .await
        .unwrap();
    check(
        &world,
        &[
            ("dev1._device.example.test", Positive(Secure)),
            ("DEV1._Device.Example.Test", Positive(Secure)),
            ("dev1._device.n3.test", Positive(Secure)),
            ("dev1._device.rsa.test", Positive(Secure)),
            ("dev1._device.roll.test", Positive(Secure)),
            ("dev1._device.twods.test", Positive(Secure)),
            ("foo._wild.example.test", Positive(Secure)),
            ("foo._wild.n3.test", Positive(Secure)),
            ("a.b.c._wild.rsa.test", Positive(Secure)),
            ("exact._wild.example.test", Positive(Secure)),
            ("alias._device.example.test", Positive(Secure)),
            ("xzone._device.example.test", Positive(Secure)),
            ("foo._wcname.example.test", Positive(Secure)),
            ("towild._device.example.test", Positive(Secure)),
            ("dev1._device.dn.example.test", Positive(Secure)),
            ("foo._wild.dn.example.test", Positive(Secure)),
            ("nx._device.example.test", NxDomain(Secure)),
            ("nx._device.n3.test", NxDomain(Secure)),
            ("nx._device.rsa.test", NxDomain(Secure)),
            ("a.b.c.nx._device.n3.test", NxDomain(Secure)),
            ("nodata._device.example.test", NoData(Secure)),
            ("nodata._device.n3.test", NoData(Secure)),
            ("_device.example.test", NoData(Secure)),
            ("_device.n3.test", NoData(Secure)),
            ("tonx1._device.example.test", NxDomain(Secure)),
            ("tonx._device.example.test", NxDomain(Secure)),
            ("tonodata._device.example.test", NoData(Secure)),
            ("nosuch.test", NxDomain(Secure)),
        ],
    )
    .await;
}

#[tokio::test]
async fn insecure_answers_and_denials() {
    let world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(zone("example").cname("toinsec._device.example.test", "dev1._device.insecure.test", 300))
        .zone(Zone::unsigned("insecure.test").text(&records()).cname(
            "tosec._device.insecure.test",
            "dev1._device.example.test",
            300,
        ))
        .zone(zone("island").delegation(Delegation::NoDs))
        .zone(zone("unkalg").delegation(Delegation::UnknownAlgorithm))
        .zone(zone("unkdig").delegation(Delegation::UnknownDigest))
        .zone(zone("optout").denial(Denial::nsec3_opt_out()))
        .zone(Zone::unsigned("unsig.optout.test").text(&records()))
        .zone(zone("n3200").denial(Denial::nsec3_iterations(200)))
        .zone(zone("n31000").denial(Denial::nsec3_iterations(1000)))
        .start()
        .await
        .unwrap();
    check(
        &world,
        &[
            // Positive control.
            ("dev1._device.example.test", Positive(Secure)),
            ("dev1._device.insecure.test", Positive(Insecure)),
            ("nx._device.insecure.test", NxDomain(Insecure)),
            ("nodata._device.insecure.test", NoData(Insecure)),
            ("alias._device.insecure.test", Positive(Insecure)),
            ("toinsec._device.example.test", Positive(Insecure)),
            ("tosec._device.insecure.test", Positive(Insecure)),
            ("dev1._device.island.test", Positive(Insecure)),
            ("foo._wild.island.test", Positive(Insecure)),
            ("nx._device.island.test", NxDomain(Insecure)),
            ("dev1._device.unkalg.test", Positive(Insecure)),
            ("dev1._device.unkdig.test", Positive(Insecure)),
            ("nx._device.unkalg.test", NxDomain(Insecure)),
            ("dev1._device.optout.test", Positive(Secure)),
            ("nx._device.optout.test", NxDomain(Insecure)),
            ("foo._wild.optout.test", Positive(Insecure)),
            ("dev1._device.unsig.optout.test", Positive(Insecure)),
            ("nx._device.unsig.optout.test", NxDomain(Insecure)),
            ("dev1._device.n3200.test", Positive(Secure)),
            ("nx._device.n3200.test", NxDomain(Insecure)),
            ("foo._wild.n3200.test", Positive(Insecure)),
        ],
    )
    .await;
    // Here validators differ, and RFC 9276 allows both.
    assert_eq!(look_up(&world, "nx._device.n31000.test").await, Bogus);
    assert_eq!(ask_validating(&world, "nx._device.n31000.test").await, NxDomain(Insecure));
}

#[tokio::test]
async fn bogus_answers_and_denials() {
    let world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(
            zone("example")
                .cname("tobogus._device.example.test", "dev1._device.badsig.test", 300)
                .cname("loop1._device.example.test", "loop2._device.example.test", 300)
                .cname("loop2._device.example.test", "loop1._device.example.test", 300),
        )
        .zone(zone("badsig"))
        .fault("dev1._device.badsig.test", Fault::TamperedRdata)
        .zone(zone("badds").delegation(Delegation::WrongDs))
        .zone(zone("expired").expired())
        .zone(zone("future").not_yet_valid())
        .zone(zone("nosig"))
        .zone_fault("nosig.test", Fault::StrippedSignatures)
        .zone(zone("strip").text(&format!("dev2._device 300 IN TLSA {RDATA}")))
        .zone(zone("strip3").denial(Denial::nsec3()))
        .fault("strip1._wild.strip.test", Fault::StrippedProof)
        .fault("strip1._wild.strip3.test", Fault::StrippedProof)
        .fault("exact._wild.strip.test", Fault::ReplayedWildcard)
        .fault("exact._wild.strip3.test", Fault::ReplayedWildcard)
        .fault("strip1._device.strip.test", Fault::StrippedProof)
        .fault("dev1._device.strip.test", Fault::FalseNoData)
        .fault("dev1._device.strip3.test", Fault::FalseNoData)
        .fault("alias._device.strip.test", Fault::FalseNxDomain)
        .fault("alias._device.strip3.test", Fault::FalseNxDomain)
        .fault("dev2._device.strip.test", Fault::RecordsOf("dev1._device.strip.test".into()))
        .fault("nodata._device.strip.test", Fault::EmptyAnswer)
        .start()
        .await
        .unwrap();
    let cases = [
        ("dev1._device.badsig.test", Bogus),
        ("nx._device.badsig.test", NxDomain(Secure)),
        ("tobogus._device.example.test", Bogus),
        ("loop1._device.example.test", Bogus),
        ("dev1._device.badds.test", Bogus),
        ("nx._device.badds.test", Bogus),
        ("dev1._device.expired.test", Bogus),
        ("dev1._device.future.test", Bogus),
        ("dev1._device.nosig.test", Bogus),
        ("nx._device.nosig.test", Bogus),
        ("strip1._wild.strip.test", Bogus),
        ("strip1._wild.strip3.test", Bogus),
        ("exact._wild.strip.test", Bogus),
        ("exact._wild.strip3.test", Bogus),
        ("strip1._device.strip.test", Bogus),
        ("dev1._device.strip.test", Bogus),
        ("dev1._device.strip3.test", Bogus),
        ("alias._device.strip.test", Bogus),
        ("alias._device.strip3.test", Bogus),
        ("dev2._device.strip.test", Bogus),
        ("nodata._device.strip.test", Bogus),
    ];
    check(&world, &cases).await;

    // Positive control: without the faults the same questions are fine.
    world.clear_faults();
    let faulty: Vec<_> = [
        ("dev1._device.badsig.test", Positive(Secure)),
        ("tobogus._device.example.test", Positive(Secure)),
        ("dev1._device.nosig.test", Positive(Secure)),
        ("nx._device.nosig.test", NxDomain(Secure)),
        ("strip1._wild.strip.test", Positive(Secure)),
        ("strip1._wild.strip3.test", Positive(Secure)),
        ("exact._wild.strip.test", Positive(Secure)),
        ("exact._wild.strip3.test", Positive(Secure)),
        ("strip1._device.strip.test", NxDomain(Secure)),
        ("dev1._device.strip.test", Positive(Secure)),
        ("dev1._device.strip3.test", Positive(Secure)),
        ("alias._device.strip.test", Positive(Secure)),
        ("alias._device.strip3.test", Positive(Secure)),
        ("dev2._device.strip.test", Positive(Secure)),
        ("nodata._device.strip.test", NoData(Secure)),
    ]
    .into();
    check(&world, &faulty).await;
}
