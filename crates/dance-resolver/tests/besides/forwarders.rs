//! Resolvers between us and the zones: good ones, poor ones, and liars.

use std::time::Duration;

use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_resolver::{Detail, Lookup, TlsaSource as _};
use dance_testkit::{Fault, Front, SignedWorld, Transport};

use crate::common::{code, owner, resolver, secure};
use crate::{NAME, fresh, world};

/// Names with what is right for them, of every state.
const NAMES: &[(&str, &str)] = &[
    (NAME, "S"),
    ("alias._device.example.test", "S"),
    ("any._wild.example.test", "S"),
    ("nx._device.example.test", "SX"),
    ("nodata._device.example.test", "SN"),
    ("dev1._device.insecure.test", "I"),
    ("exact._wild.example.test", "B"),
];

async fn start() -> SignedWorld {
    let world = world().start().await.unwrap();
    world.add_fault("exact._wild.example.test", Fault::TamperedRdata).unwrap();
    world
}

async fn all(world: &SignedWorld, expected: impl Fn(&'static str, &'static str) -> &'static str) {
    let resolver = resolver(world);
    for (name, right) in NAMES {
        let lookup = resolver.lookup(&owner(name)).await;
        assert_eq!(code(&lookup), expected(name, right), "{name}: {lookup:?}");
    }
}

fn failure(lookup: &Lookup) -> Option<LookupFailure> {
    match lookup.answer {
        TlsaAnswer::Indeterminate(failure) => Some(failure),
        _ => None,
    }
}

// DNS-01: what a forwarder thinks of the data changes nothing; with CD=1 a validating one hands out what is Bogus, too.
#[tokio::test]
async fn validating_or_not() {
    let world = start().await;
    for front in [Front::NonValidating, Front::Validating, Front::AlwaysAd] {
        world.set_front(front);
        all(&world, |_, right| right).await;
    }
    assert!(world.queries().iter().all(|query| query.checking_disabled && query.dnssec_ok));
}

// DNS-01: without signatures nothing in a signed tree can be proven, and nothing in it is taken for unsigned.
#[tokio::test]
async fn one_that_drops_signatures() {
    for fault in [Fault::StrippedSignatures, Fault::IgnoresEdns] {
        let world = start().await;
        world.add_server_fault(fault).unwrap();
        all(&world, |_, _| "B").await;
        let detail = fresh(&world, NAME).await.trace.detail;
        assert_eq!(detail, Some(Detail::ResolverStripsSignatures { server: world.addr() }));
        world.clear_faults();
        assert_eq!(code(&fresh(&world, NAME).await), "S");
    }
}

// DNS-01: nor without denials.
#[tokio::test]
async fn one_that_drops_denials() {
    let world = start().await;
    world.add_server_fault(Fault::StrippedProof).unwrap();
    // What has no need of a denial is as good as ever.
    all(&world, |name, right| if right == "S" && !name.starts_with("any") { right } else { "B" }).await;
}

// DNS-09
#[tokio::test]
async fn one_that_truncates_everything() {
    let world = start().await;
    world.add_server_fault(Fault::TruncateUdp).unwrap();
    all(&world, |_, right| right).await;
    let by = |transport| world.queries().iter().filter(|query| query.transport == transport).count();
    assert!(by(Transport::Udp) > 0);
    assert!(by(Transport::Udp) <= by(Transport::Tcp) + 1);
    // Over TCP, too: a look-up failure, after few questions.
    world.add_server_fault(Fault::TruncateTcp).unwrap();
    world.clear_log();
    let lookup = fresh(&world, NAME).await;
    assert_eq!(code(&lookup), "T", "{lookup:?}");
    assert!(world.queries().len() <= 24, "{}", world.queries().len());
}

// DNS-09, DNS-10: one octet at a time is fine if it comes to an end in time, and given up if not.
#[tokio::test]
async fn one_that_answers_octet_by_octet() {
    let world = start().await;
    world.add_server_fault(Fault::TruncateUdp).unwrap();
    world.add_server_fault(Fault::SlowTcp(Duration::from_micros(1))).unwrap();
    tokio::time::pause();
    assert_eq!(secure(&fresh(&world, NAME).await).records.len(), 1);
    world.add_server_fault(Fault::SlowTcp(Duration::from_millis(50))).unwrap();
    let started = tokio::time::Instant::now();
    let lookup = fresh(&world, NAME).await;
    assert_eq!(failure(&lookup), Some(LookupFailure::Timeout), "{lookup:?}");
    assert!(started.elapsed() < Duration::from_millis(3000));
}

// DNS-10
#[tokio::test]
async fn one_that_never_answers() {
    let world = start().await;
    world.add_server_fault(Fault::NeverAnswers).unwrap();
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let resolver = resolver(&world);
    let lookup = resolver.lookup(&owner(NAME)).await;
    assert_eq!(failure(&lookup), Some(LookupFailure::Timeout), "{lookup:?}");
    assert!(started.elapsed() < Duration::from_millis(3000));
    assert!(world.queries().len() <= 48, "{}", world.queries().len());
    tokio::time::resume();
    world.clear_faults();
    assert_eq!(code(&fresh(&world, NAME).await), "S");
}

// DNS-01, DNS-10: errors are failures, never answers.
#[tokio::test]
async fn ones_that_cannot_or_will_not() {
    for (fault, expected) in [
        (Fault::Servfail, LookupFailure::Servfail),
        (Fault::Refused, LookupFailure::Refused),
        (Fault::FormErr, LookupFailure::Refused),
        (Fault::Malformed, LookupFailure::Malformed),
    ] {
        let world = start().await;
        world.add_server_fault(fault.clone()).unwrap();
        tokio::time::pause();
        let lookup = fresh(&world, NAME).await;
        tokio::time::resume();
        // A message that ends within a record may be taken for none at all.
        let late = fault == Fault::Malformed && failure(&lookup) == Some(LookupFailure::Timeout);
        assert!(late || failure(&lookup) == Some(expected), "{lookup:?}");
    }
    let world = start().await;
    world.add_server_fault(Fault::EmptyAnswer).unwrap();
    all(&world, |_, _| "B").await;
    world.clear_faults();
    world.add_server_fault(Fault::TruncateUdp).unwrap();
    world.add_server_fault(Fault::ClosesTcp).unwrap();
    assert_eq!(code(&fresh(&world, NAME).await), "T");
}
