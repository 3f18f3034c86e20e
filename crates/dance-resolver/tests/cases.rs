//! The look-ups that every validator must get right, over one world: each alone with everything to be fetched, one after the other with
//! what is known already, and all at once.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::{RECORD, code, owner, resolver};
use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_resolver::{Lookup, Resolver, Rtype, TlsaSource as _};
use dance_testkit::{Delegation, Denial, Fault, KeyKind, SignedWorld, WorldBuilder, Zone};
use tokio::task::JoinSet;

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

/// Every zone that the table's names lie in, with its fault.
fn world() -> WorldBuilder {
    healthy(faulty(SignedWorld::builder().zone(Zone::new("test"))))
}

fn healthy(world: WorldBuilder) -> WorldBuilder {
    let big: String = (0..60).map(|n| format!("big._device IN TLSA 3 1 1 {n:064x}\n")).collect();
    world
        .zone(zone("example.test").text(&big).text(
            "xzone._device IN CNAME dev1._device.ed.test.\n\
             *._wcname IN CNAME dev1._device.ed.test.\n\
             towild._device IN CNAME foo._wild.ed.test.\n\
             dn IN DNAME ed.test.\n\
             tonx1._device IN CNAME nx._device\n\
             tonx._device IN CNAME nx._device.ed.test.\n\
             tonodata._device IN CNAME nodata._device.ed.test.\n\
             loop1._device IN CNAME loop2._device\n\
             loop2._device IN CNAME loop1._device\n\
             toinsec._device IN CNAME dev1._device.insecure.test.\n\
             tobogus._device IN CNAME dev1._device.badsig.test.\n",
        ))
        .zone(zone("ed.test").key(KeyKind::Ed25519).denial(Denial::nsec3()))
        .zone(zone("rsa.test").key(KeyKind::Rsa2048).denial(Denial::nsec3_iterations(5)))
        .zone(zone("p384.test").key(KeyKind::P384))
        .zone(zone("ed448.test").key(KeyKind::Ed448))
        .zone(zone("rsasha1.test").key(KeyKind::RsaSha1))
        .zone(Zone::new("shortsig.test").tlsa("dev1._device.shortsig.test", RECORD, 86_400).signatures(-3600, 3 * 3600))
        .zone(filled(Zone::unsigned("insecure.test")).text("tosec._device IN CNAME dev1._device.example.test."))
        .zone(zone("island.test").delegation(Delegation::NoDs))
        .zone(zone("unkalg.test").delegation(Delegation::UnknownAlgorithm))
        .zone(zone("unkdig.test").delegation(Delegation::UnknownDigest))
        .zone(zone("optout.test").denial(Denial::nsec3_opt_out()))
        .zone(filled(Zone::unsigned("unsig.optout.test")))
        .zone(zone("n3200.test").denial(Denial::nsec3_iterations(200)))
        .zone(zone("n31000.test").denial(Denial::nsec3_iterations(1000)))
}

fn faulty(world: WorldBuilder) -> WorldBuilder {
    world
        .zone(zone("badsig.test"))
        .fault("dev1._device.badsig.test", Fault::TamperedRdata)
        .zone(zone("badds.test").delegation(Delegation::WrongDs))
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
        .zone(zone("lag.test"))
        .zone_fault("lag.test", Fault::DelayedBy(Duration::from_millis(700)))
        .zone(zone("slow.test"))
        .zone_fault("slow.test", Fault::NeverAnswers)
}

/// (case, name, what is right): S secure, I insecure, B bogus, T a look-up failure; X for NXDOMAIN and N for NODATA.
const CASES: &[(&str, &str, &str)] = &[
    ("ecdsa256_nsec", "dev1._device.example.test", "S"),
    ("ed25519_nsec3", "dev1._device.ed.test", "S"),
    ("rsa2048_nsec3_it5", "dev1._device.rsa.test", "S"),
    ("p384_nsec", "dev1._device.p384.test", "S"),
    ("ed448", "dev1._device.ed448.test", "S/I"),
    ("rsasha1(alg5)", "dev1._device.rsasha1.test", "S/I"),
    ("wildcard_nsec", "foo._wild.example.test", "S"),
    ("wildcard_nsec3", "foo._wild.ed.test", "S"),
    ("wildcard_deep_nsec3", "a.b.c._wild.rsa.test", "S"),
    ("exact_over_wildcard", "exact._wild.example.test", "S"),
    ("60_records_TCP", "big._device.example.test", "S"),
    ("cname_same_zone", "alias._device.example.test", "S"),
    ("cname_cross_zone", "xzone._device.example.test", "S"),
    ("wildcard_cname_cross", "foo._wcname.example.test", "S"),
    ("cname_to_wildcard_xzone", "towild._device.example.test", "S"),
    ("dname_xzone", "dev1._device.dn.example.test", "S"),
    ("dname_to_wildcard", "foo._wild.dn.example.test", "S"),
    ("nxdomain_nsec", "nx._device.example.test", "SX"),
    ("nxdomain_nsec3", "nx._device.ed.test", "SX"),
    ("nxdomain_nsec3_it5", "nx._device.rsa.test", "SX"),
    ("nxdomain_deep_nsec3", "a.b.c.nx._device.ed.test", "SX"),
    ("nodata_nsec", "nodata._device.example.test", "SN"),
    ("nodata_nsec3", "nodata._device.ed.test", "SN"),
    ("nodata_ENT_nsec", "_device.example.test", "SN"),
    ("nodata_ENT_nsec3", "_device.ed.test", "SN"),
    ("cname_to_nx_same_zone", "tonx1._device.example.test", "SX"),
    ("cname_to_nx_xzone", "tonx._device.example.test", "SX"),
    ("cname_to_nodata_xzone", "tonodata._device.example.test", "SN"),
    ("cname_loop", "loop1._device.example.test", "B/T"),
    ("nxdomain_tld", "nosuch.test", "SX"),
    ("ttl86400_sigexp_3h", "dev1._device.shortsig.test", "S"),
    ("unsigned_delegation", "dev1._device.insecure.test", "I"),
    ("unsigned_nx", "nx._device.insecure.test", "IX"),
    ("unsigned_nodata", "nodata._device.insecure.test", "IN"),
    ("unsigned_cname", "alias._device.insecure.test", "I"),
    ("secure_cname_to_insecure", "toinsec._device.example.test", "I"),
    ("insecure_cname_to_secure", "tosec._device.insecure.test", "I"),
    ("signed_no_DS", "dev1._device.island.test", "I"),
    ("signed_no_DS_wildcard", "foo._wild.island.test", "I"),
    ("signed_no_DS_nx", "nx._device.island.test", "IX"),
    ("DS_unknown_alg", "dev1._device.unkalg.test", "I"),
    ("DS_unknown_digest", "dev1._device.unkdig.test", "I"),
    ("DS_unknown_alg_nx", "nx._device.unkalg.test", "IX"),
    ("optout_signed_name", "dev1._device.optout.test", "S"),
    ("optout_nx(AD=0)", "nx._device.optout.test", "IX"),
    ("optout_wildcard", "foo._wild.optout.test", "S/I"),
    ("optout_unsigned_deleg", "dev1._device.unsig.optout.test", "I"),
    ("optout_unsigned_nx", "nx._device.unsig.optout.test", "IX"),
    ("nsec3_200it_positive", "dev1._device.n3200.test", "S"),
    ("nsec3_200it_nx", "nx._device.n3200.test", "IX"),
    ("nsec3_200it_wildcard", "foo._wild.n3200.test", "I/B"),
    ("nsec3_1000it_nx", "nx._device.n31000.test", "B/IX"),
    ("tampered_rdata", "dev1._device.badsig.test", "B"),
    ("badsig_zone_nx_ok", "nx._device.badsig.test", "SX"),
    ("cname_to_bogus", "tobogus._device.example.test", "B"),
    ("DS_mismatch", "dev1._device.badds.test", "B"),
    ("DS_mismatch_nx", "nx._device.badds.test", "B"),
    ("expired", "dev1._device.expired.test", "B"),
    ("not_yet_valid", "dev1._device.future.test", "B"),
    ("stripped_sigs", "dev1._device.nosig.test", "B"),
    ("stripped_sigs_nx", "nx._device.nosig.test", "B"),
    ("wildcard_no_nsec", "strip1._wild.strip.test", "B"),
    ("wildcard_no_nsec3", "strip1._wild.strip3.test", "B"),
    ("wildcard_replay_over_exact", "exact._wild.strip.test", "B"),
    ("wildcard_replay_over_exact_n3", "exact._wild.strip3.test", "B"),
    ("nx_without_nsec", "strip1._device.strip.test", "B"),
    ("fake_nodata_wrong_nsec", "dev1._device.strip.test", "B"),
    ("fake_nodata_wrong_nsec3", "dev1._device.strip3.test", "B"),
    ("fake_nx_wrong_nsec", "alias._device.strip.test", "B"),
    ("fake_nx_wrong_nsec3", "alias._device.strip3.test", "B"),
    ("0.7s_lag", "dev1._device.lag.test", "S"),
    ("blackhole", "dev1._device.slow.test", "T"),
];

/// Says what is wrong with what was found in a case, if something is.
fn objection(case: &(&str, &str, &str), how: &str, lookup: &Lookup) -> Option<String> {
    let (case, name, expected) = case;
    let has_tlsa = lookup.trace.links.iter().any(|link| link.rtype == Rtype::TLSA);
    let right = expected.split('/').any(|expected| match (expected, code(lookup)) {
        ("I", "I") => has_tlsa,
        ("IX" | "IN", "I") => !has_tlsa,
        (expected, found) => expected == found,
    });
    let records = match &lookup.answer {
        TlsaAnswer::Secure(secure) => secure.records.len() == if *case == "60_records_TCP" { 60 } else { 1 },
        TlsaAnswer::Indeterminate(failure) if *case == "blackhole" => *failure == LookupFailure::Timeout,
        TlsaAnswer::Indeterminate(failure) => *failure == LookupFailure::AliasLimit,
        _ => true,
    };
    (!right || !records)
        .then(|| format!("{case}, {how}: {name} should be {expected}: {:?}, {:?}", lookup.answer, lookup.trace))
}

#[test]
fn the_table_is_complete() {
    let names: BTreeSet<_> = CASES.iter().map(|(case, _, _)| case).collect();
    assert_eq!((CASES.len(), names.len()), (72, 72));
    let of = |state: &str| CASES.iter().filter(|(_, _, expected)| *expected == state).count();
    assert_eq!(["S", "SX", "SN", "I", "IX", "IN", "B", "T"].map(of), [19, 8, 5, 9, 6, 1, 17, 1]);
}

// DNS-01, DNS-03, DNS-05, DNS-07, DNS-09, DNS-10
#[tokio::test]
async fn every_case_alone() {
    let world = world().start().await.unwrap();
    let mut wrong = Vec::new();
    for case in CASES {
        let resolver = resolver(&world);
        // Whoever waits for nothing but time need not wait.
        tokio::time::pause();
        wrong.extend(objection(case, "alone", &resolver.lookup(&owner(case.1)).await));
        tokio::time::resume();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// DNS-01, DNS-03, DNS-05, DNS-07: what was found out for one name helps with the next, and changes nothing.
#[tokio::test]
async fn every_case_after_the_others() {
    let world = world().start().await.unwrap();
    let mut wrong = Vec::new();
    let resolver = resolver(&world);
    tokio::time::pause();
    for case in CASES {
        wrong.extend(objection(case, "after others", &resolver.lookup(&owner(case.1)).await));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A name that is known is not asked for again.
    world.clear_log();
    let again = resolver.lookup(&owner(CASES[0].1)).await;
    assert!(again.trace.from_cache && world.queries().is_empty());
}

// DNS-01, SEC-02: side by side, and in two orders.
#[tokio::test]
async fn every_case_beside_the_others() {
    let world = world().start().await.unwrap();
    tokio::time::pause();
    for turned in [false, true] {
        let resolver: Arc<Resolver> = Arc::new(resolver(&world));
        let mut cases: Vec<_> = CASES.iter().collect();
        if turned {
            cases.reverse();
        }
        let mut tasks = JoinSet::new();
        for case in cases {
            let resolver = Arc::clone(&resolver);
            tasks.spawn(async move { objection(case, "beside others", &resolver.lookup(&owner(case.1)).await) });
        }
        let wrong: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
