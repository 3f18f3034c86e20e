//! Many look-ups at once.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{RECORD, client, code, config, owner, resolver, settings};
use dance_core::reason::Reason;
use dance_core::verdict::Verdict;
use dance_resolver::{Limits, Resolver, ResolverConfig, TlsaSource as _, Verifier};
use dance_testkit::{Fault, Rtype, SignedWorld, WorldBuilder, Zone};
use tokio::task::JoinSet;

const NAME: &str = "dev1._device.example.test";

fn world() -> WorldBuilder {
    SignedWorld::builder().zone(Zone::new("test")).zone(Zone::new("example.test").tlsa(NAME, RECORD, 300).tlsa(
        "*._many.example.test",
        RECORD,
        300,
    ))
}

/// Looks all of them up at once; what was found.
async fn all(resolver: &Arc<Resolver>, names: impl IntoIterator<Item = String>) -> Vec<&'static str> {
    let mut tasks = JoinSet::new();
    for name in names {
        let resolver = Arc::clone(resolver);
        tasks.spawn(async move { code(&resolver.lookup(&owner(&name)).await) });
    }
    tasks.join_all().await
}

// SEC-02, DNS-11: whoever asks for one name at a time shares one query.
#[tokio::test]
async fn one_name() {
    let world = world().start().await.unwrap();
    let resolver = Arc::new(resolver(&world));
    assert_eq!(all(&resolver, vec![NAME.to_owned(); 50]).await, ["S"; 50]);
    assert_eq!(world.tlsa_queries(), [NAME]);
}

// SEC-02: names of one zone share the questions for its keys.
#[tokio::test]
async fn one_zone() {
    let world = world().start().await.unwrap();
    let resolver = Arc::new(resolver(&world));
    let names = (0..100).map(|n| format!("dev{n}._many.example.test"));
    assert_eq!(all(&resolver, names).await, ["S"; 100]);
    assert_eq!(world.tlsa_queries().len(), 100);
    let mut others: Vec<_> = world.queries().into_iter().filter(|query| query.rtype != Rtype::TLSA).collect();
    others.sort_by_key(|query| (query.name.clone(), query.rtype.to_int()));
    let others: Vec<_> = others.iter().map(|query| (query.name.as_str(), query.rtype)).collect();
    let expected = [
        ("", Rtype::DNSKEY),
        ("example.test", Rtype::DS),
        ("example.test", Rtype::DNSKEY),
        ("test", Rtype::DS),
        ("test", Rtype::DNSKEY),
    ];
    assert_eq!(others, expected);
}

// SEC-02: a client that goes away takes its wait with it, not the look-up that others wait for.
#[tokio::test]
async fn those_who_stop_waiting() {
    let world = world().fault(NAME, Fault::DelayedBy(Duration::from_millis(200))).start().await.unwrap();
    let resolver = Arc::new(resolver(&world));
    let start = || {
        let resolver = Arc::clone(&resolver);
        tokio::spawn(async move { code(&resolver.lookup(&owner(NAME)).await) })
    };
    let (first, second) = (start(), start());
    world.wait_for_tlsa(NAME).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(second.await.unwrap(), "S");
    assert_eq!(world.tlsa_queries(), [NAME]);
}

// SEC-02: nothing goes on for clients that are all gone; whoever comes then starts anew.
#[tokio::test]
async fn all_stop_waiting() {
    let (name, other) = ("dev1.deep.example.test", "dev1.other.test");
    let world = world()
        .zone(Zone::new("deep.example.test").tlsa(name, RECORD, 300))
        .zone(Zone::new("other.test").tlsa(other, RECORD, 300))
        .fault_on_type(name, Rtype::TLSA, Fault::DelayedBy(Duration::from_millis(100)))
        .fault_on_type(other, Rtype::TLSA, Fault::DelayedBy(Duration::from_millis(200)))
        .start()
        .await
        .unwrap();
    let resolver = Arc::new(resolver(&world));
    // The zone above is known, so nothing but the record is asked for at first.
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    let waiting = {
        let resolver = Arc::clone(&resolver);
        tokio::spawn(async move { resolver.lookup(&owner(name)).await })
    };
    world.wait_for_tlsa(name).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    // While another look-up waits, the answer to the first comes, and nobody is there to ask for the zone's keys.
    assert_eq!(code(&resolver.lookup(&owner(other)).await), "S");
    let of_zone = |zone: &str| world.queries().iter().filter(|query| query.name == zone).count();
    assert_eq!((of_zone("deep.example.test"), of_zone("other.test")), (0, 2));
    assert!(resolver.cached(&owner(name)).is_none());
    assert_eq!(code(&resolver.lookup(&owner(name)).await), "S");
    assert_eq!(of_zone("deep.example.test"), 2);
}

// SEC-01, SEC-02: a zone that never answers takes its own clients' places, and nobody else's time.
#[tokio::test]
async fn a_stalling_zone() {
    let world =
        world().zone(Zone::new("stall.test")).zone_fault("stall.test", Fault::NeverAnswers).start().await.unwrap();
    let settings = Arc::new(settings(&["**.stall.test", "**.example.test"]));
    let verifier = Arc::new(Verifier::new(settings, Arc::new(resolver(&world)), Limits::default()).unwrap());
    let verify = |name: String, peer: [u8; 4]| {
        let verifier = Arc::clone(&verifier);
        async move { verifier.verify(&client(&name, b"key"), peer.into()).await.decision.verdict }
    };
    let mut flood = JoinSet::new();
    for n in 0..200u8 {
        flood.spawn(verify(format!("dev{n}.stall.test"), [192, 0, 2, n]));
    }
    // 64 wait; all others are told so at once.
    for _ in 64..200 {
        assert_eq!(flood.join_next().await.unwrap().unwrap(), Verdict::Abort(Reason::LookupLimitEntry));
    }
    // Anybody else is served.
    assert_eq!(verify(NAME.to_owned(), [198, 51, 100, 1]).await, Verdict::Abort(Reason::NoMatch));
    assert!(flood.try_join_next().is_none());
    assert_eq!(world.tlsa_queries().iter().filter(|name| name.ends_with("stall.test")).count(), 64);
}

// SEC-02: more than may be under way wait for their turn, within their time.
#[tokio::test]
async fn turns() {
    let world = world().zone_fault("example.test", Fault::DelayedBy(Duration::from_millis(20))).start().await.unwrap();
    let resolver = Resolver::new(ResolverConfig { max_concurrent: 2, ..config(&world) }).unwrap();
    let names = (0..10).map(|n| format!("dev{n}._many.example.test"));
    assert_eq!(all(&Arc::new(resolver), names).await, ["S"; 10]);
}

// SEC-02, DNS-10: who joins in a question that somebody else has waited for in vain has time of his own.
#[tokio::test]
async fn a_question_that_others_asked_in_vain() {
    let world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(Zone::new("example.test").tlsa("*._device.example.test", RECORD, 300))
        .fault_on_type("example.test", Rtype::DNSKEY, Fault::NeverAnswers)
        .start()
        .await
        .unwrap();
    let resolver = resolver(&world);
    tokio::time::pause();
    let (first, second) = (owner("dev1._device.example.test"), owner("dev2._device.example.test"));
    let later = async {
        tokio::time::sleep(Duration::from_millis(2_600)).await;
        resolver.lookup(&second).await
    };
    let well_again = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.clear_faults();
    };
    let (first, second, ()) = tokio::join!(resolver.lookup(&first), later, well_again);
    assert_eq!((code(&first), code(&second)), ("T", "S"), "{second:?}");
}
