//! Zones and paths that try to wear us out: what they are refused with, what they make us send, and that nobody else feels it. What a
//! proof costs is counted in the tests of `dance-dnssec`.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::{RECORD, code, owner, resolver, secure};
use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_resolver::{LOOKUP_BUDGET, Lookup, Resolver, Rtype, TlsaSource as _};
use dance_testkit::{Denial, Fault, KeyKind, SignedWorld, WorldBuilder, Zone};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Most questions of one look-up, each of which may be sent to a second server or over TCP, too.
const MAX_QUESTIONS: usize = 48;

fn world() -> WorldBuilder {
    SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(Zone::new("good.test").tlsa("*._many.good.test", RECORD, 300).tlsa("dev1.good.test", RECORD, 300))
        .zone(Zone::unsigned("plain.test").tlsa("*._many.plain.test", RECORD, 300))
}

fn trap() -> Zone {
    Zone::new("trap.test").tlsa("*._many.trap.test", RECORD, 300).tlsa("dev1.trap.test", RECORD, 300)
}

fn failure(lookup: &Lookup) -> Option<LookupFailure> {
    match lookup.answer {
        TlsaAnswer::Indeterminate(failure) => Some(failure),
        _ => None,
    }
}

/// Looks up `bad` names and, at the same time, good ones of a signed and an unsigned zone, some of them known before. All good ones have
/// to be answered as ever. What was found for the bad ones.
async fn beside_others(world: &SignedWorld, bad: Vec<String>) -> Vec<Lookup> {
    // Time passes when everybody waits for it, however busy the machine is.
    tokio::time::pause();
    let started = Instant::now();
    let resolver = Arc::new(resolver(world));
    let known = ["dev1.good.test", "a._many.good.test"];
    for name in known {
        assert_eq!(code(&resolver.lookup(&owner(name)).await), "S");
    }
    let mut tasks = JoinSet::new();
    let mut start = |name: String, good: Option<&'static str>| {
        let resolver: Arc<Resolver> = Arc::clone(&resolver);
        tasks.spawn(async move {
            let lookup = resolver.lookup(&owner(&name)).await;
            (name, good, lookup)
        });
    };
    for (n, name) in bad.into_iter().enumerate() {
        start(name, None);
        start(format!("dev{n}._many.good.test"), Some("S"));
        if n % 8 == 0 {
            start(format!("dev{n}.good.test"), Some("SX"));
            start(format!("dev{n}._many.plain.test"), Some("I"));
            start(known[0].to_owned(), Some("S"));
        }
    }
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for (name, good, lookup) in tasks.join_all().await {
        match good {
            Some(good) if code(&lookup) != good => wrong.push(format!("{name} should be {good}: {lookup:?}")),
            Some(_) => {}
            None => found.push(lookup),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(started.elapsed() < LOOKUP_BUDGET);
    tokio::time::resume();
    found
}

fn names(count: usize, zone: &str) -> Vec<String> {
    (0..count).map(|n| format!("dev{n}._many.{zone}")).collect()
}

// SEC-14, SEC-02: many keys of one tag times many signatures (CVE-2023-50387).
#[tokio::test]
async fn colliding_keys_and_bad_signatures() {
    for kind in [KeyKind::P256, KeyKind::P384] {
        let world = world().zone(trap().key(kind).colliding_keys(120)).start().await.unwrap();
        world.add_zone_fault("trap.test", Fault::BadSignaturesFirst(120)).unwrap();
        let found = beside_others(&world, names(24, "trap.test")).await;
        for lookup in &found {
            assert_eq!(failure(lookup), Some(LookupFailure::TooCostly), "{kind}: {lookup:?}");
            assert_eq!(LookupFailure::TooCostly.reason().code(), "lookup-too-costly");
            assert!(lookup.trace.queries <= MAX_QUESTIONS);
        }
        // It is remembered that the zone is too costly: not each name pays for it again.
        let keys =
            world.queries().iter().filter(|query| query.rtype == Rtype::DNSKEY && query.name == "trap.test").count();
        assert!(keys <= 24, "{keys}");
        // The control: the zone itself is in order.
        let world = common_world(trap().key(kind)).await;
        assert_eq!(code(&resolver(&world).lookup(&owner("dev1.trap.test")).await), "S");
    }
}

async fn common_world(zone: Zone) -> SignedWorld {
    world().zone(zone).start().await.unwrap()
}

// SEC-14, SEC-02: deep names times iterations (CVE-2023-50868).
#[tokio::test]
async fn hashes() {
    let deep = |n: usize| format!("dev{n}.{}trap.test", "a.".repeat(115));
    for (iterations, expected) in [(100, "SX"), (500, "I"), (501, "B")] {
        let world = common_world(trap().denial(Denial::nsec3_iterations(iterations))).await;
        for lookup in beside_others(&world, (0..24).map(deep).collect()).await {
            assert_eq!(code(&lookup), expected, "{iterations}: {lookup:?}");
            assert!(lookup.trace.queries <= MAX_QUESTIONS, "{}", lookup.trace.queries);
        }
    }
}

// SEC-14, DNS-09: as many records as can be of use, more than that, and more than anybody should send.
#[tokio::test]
async fn large_rrsets() {
    let name = "dev1.trap.test";
    let world = common_world(trap()).await;
    for (count, expected) in [(60, Some(60)), (64, Some(64)), (65, Some(65)), (400, Some(65)), (1000, None)] {
        let records: Vec<String> = (0..count).map(|n| format!("3 1 1 {n:064x}")).collect();
        world.set_tlsa(name, &records, 300).unwrap();
        let lookup = resolver(&world).lookup(&owner(name)).await;
        match expected {
            Some(found) => assert_eq!(secure(&lookup).records.len(), found),
            None => assert_eq!(failure(&lookup), Some(LookupFailure::TooCostly), "{lookup:?}"),
        }
    }
    for lookup in beside_others(&world, vec![name.to_owned()]).await {
        assert_eq!(failure(&lookup), Some(LookupFailure::TooCostly));
    }
}

// SEC-14, DNS-05, DNS-11: each answer leads on, in one zone and across two; one question is asked all the same.
#[tokio::test]
async fn endless_aliases() {
    for only in [false, true] {
        let world = world()
            .zone(Zone::new("ping.test").dname("_many.ping.test", "_many.pong.test", 300))
            .zone(Zone::new("pong.test").dname("_many.pong.test", "x._many.ping.test", 300))
            .cut_aliases(12)
            .start()
            .await
            .unwrap();
        if only {
            world.add_zone_fault("ping.test", Fault::AliasOnly).unwrap();
        }
        for lookup in beside_others(&world, names(24, "ping.test")).await {
            match only {
                false => assert_eq!(failure(&lookup), Some(LookupFailure::AliasLimit), "{lookup:?}"),
                true => assert!(["B", "T"].contains(&code(&lookup)), "{lookup:?}"),
            }
            assert!(lookup.trace.queries <= MAX_QUESTIONS);
        }
        // Nobody follows by asking for another name.
        let asked: Vec<String> = world.tlsa_queries();
        assert!(asked.iter().all(|name| !name.ends_with("pong.test")));
        let asked: BTreeSet<_> = asked.into_iter().filter(|name| name.ends_with("ping.test")).collect();
        assert_eq!(asked, names(24, "ping.test").into_iter().collect());
    }
}

// SEC-02, DNS-10: octet by octet over TCP, for as long as we have patience, and others do not wait for it.
#[tokio::test]
async fn slow_drip() {
    let world = world()
        .zone(trap())
        .zone_fault("trap.test", Fault::TruncateUdp)
        .zone_fault("trap.test", Fault::SlowTcp(Duration::from_millis(100)))
        .start()
        .await
        .unwrap();
    let found = beside_others(&world, names(40, "trap.test")).await;
    gave_up(&found);
    // The control: at an end, the same names are good.
    world.clear_faults();
    assert_eq!(code(&resolver(&world).lookup(&owner("dev1._many.trap.test")).await), "S");
}

/// All of them timed out, or were refused because others had.
fn gave_up(found: &[Lookup]) {
    for lookup in found {
        let failure = failure(lookup);
        let right = [Some(LookupFailure::Timeout), Some(LookupFailure::Suspended)].contains(&failure);
        assert!(right, "{lookup:?}");
    }
    assert!(found.iter().any(|lookup| failure(lookup) == Some(LookupFailure::Timeout)));
}

// SEC-02, DNS-10
#[tokio::test]
async fn black_hole() {
    let world = world().zone(trap()).zone_fault("trap.test", Fault::NeverAnswers).start().await.unwrap();
    let found = beside_others(&world, names(40, "trap.test")).await;
    gave_up(&found);
    // A few datagrams for each name, and no more.
    for name in names(40, "trap.test") {
        let asked = world.tlsa_queries().iter().filter(|asked| **asked == name).count();
        assert!(asked <= 4, "{name}: {asked}");
    }
    assert!(found.iter().all(|lookup| lookup.trace.queries <= MAX_QUESTIONS));
}

// SEC-02, DNS-10: behind a zone that answers, the keys or the delegation of another do not.
#[tokio::test]
async fn black_hole_on_the_way() {
    for (place, rtype) in [("trap.test", Rtype::DNSKEY), ("trap.test", Rtype::DS)] {
        let world = world().zone(trap()).start().await.unwrap();
        world.add_fault_on_type(place, rtype, Fault::NeverAnswers).unwrap();
        let found = beside_others(&world, names(16, "trap.test")).await;
        gave_up(&found);
        // All of them share one question.
        let asked = world.queries().iter().filter(|query| query.rtype == rtype && query.name == place).count();
        assert!(asked <= 8, "{rtype}: {asked}");
    }
}

// SEC-02, SEC-14: all of them at once.
#[tokio::test]
async fn together() {
    let world = world()
        .zone(trap().key(KeyKind::P384).colliding_keys(120))
        .zone_fault("trap.test", Fault::BadSignaturesFirst(120))
        .zone(Zone::new("hole.test"))
        .zone_fault("hole.test", Fault::NeverAnswers)
        .zone(Zone::new("loop.test").dname("_many.loop.test", "x._many.loop.test", 300))
        .zone(Zone::new("drip.test").tlsa("*._many.drip.test", RECORD, 300))
        .zone_fault("drip.test", Fault::TruncateUdp)
        .zone_fault("drip.test", Fault::SlowTcp(Duration::from_millis(100)))
        .start()
        .await
        .unwrap();
    let bad = ["trap.test", "hole.test", "loop.test", "drip.test"].iter().flat_map(|zone| names(10, zone)).collect();
    for lookup in beside_others(&world, bad).await {
        assert_eq!(code(&lookup), "T", "{lookup:?}");
    }
}
