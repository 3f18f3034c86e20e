//! The way to a proof: how often the resolver is asked, what is remembered, and what overtakes it.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::{RECORD, TestClock, code, config, owner, resolver, secure};
use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_resolver::{Detail, Failure, Resolver, ResolverConfig, Rtype, Servers, TlsaSource as _, TrustAnchorSource};
use dance_testkit::{Delegation, Fault, SignedWorld, WorldBuilder, Zone};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

const NAME: &str = "dev1._device.example.test";
const OTHER: &str = "dev2._device.example.test";
/// How long each answer takes.
const TRIP: Duration = Duration::from_millis(100);

fn world() -> WorldBuilder {
    SignedWorld::builder().zone(Zone::new("test")).zone(Zone::new("example.test").tlsa(NAME, RECORD, 300).tlsa(
        "*._device.example.test",
        RECORD,
        300,
    ))
}

/// What a look-up comes to, after how many round trips, and with how many queries. The runtime's clock jumps whenever everybody waits for time.
async fn trips(resolver: &Resolver, name: &str) -> (&'static str, u128, usize) {
    tokio::time::pause();
    let started = Instant::now();
    let lookup = resolver.lookup(&owner(name)).await;
    let trips = started.elapsed().as_millis() / TRIP.as_millis();
    tokio::time::resume();
    (code(&lookup), trips, lookup.trace.queries)
}

// DNS-11: the keys of all zones are asked for beside the record; what is known is not asked for again.
#[tokio::test]
async fn round_trips() {
    let deep = "dev1._device.a.b.example.test";
    let below = "dev1._device.deep.example.test";
    let world = world()
        .zone(Zone::new("deep.example.test").tlsa(below, RECORD, 300))
        .zone(Zone::new("alias.test").cname("dev1.alias.test", NAME, 300))
        .zone(Zone::unsigned("plain.test").tlsa("dev1.plain.test", RECORD, 300))
        .server_fault(Fault::DelayedBy(TRIP));
    let world = world.start().await.unwrap();
    world.add_text("example.test", &format!("{deep}. 300 IN TLSA {RECORD}")).unwrap();
    // Each from nothing: root, test and the zone itself, and a zone more.
    assert_eq!(trips(&resolver(&world), NAME).await, ("S", 1, 6));
    let (found, rounds, _) = trips(&resolver(&world), below).await;
    assert!(found == "S" && rounds <= 2, "{rounds}");
    // Names between that are no zones.
    let (found, rounds, _) = trips(&resolver(&world), deep).await;
    assert!(found == "S" && rounds <= 2, "{rounds}");
    let (found, rounds, _) = trips(&resolver(&world), "dev1.plain.test").await;
    assert!(found == "I" && rounds <= 2, "{rounds}");
    let (found, rounds, _) = trips(&resolver(&world), "nx._other.example.test").await;
    assert!(found == "SX" && rounds <= 2, "{rounds}");

    let resolver = resolver(&world);
    assert_eq!(trips(&resolver, NAME).await.0, "S");
    for name in [OTHER, deep, "nx._other.example.test"] {
        let (_, rounds, queries) = trips(&resolver, name).await;
        assert_eq!((rounds, queries), (1, 1), "{name}");
    }
    // An alias out of a zone that is not known into one that is.
    let (found, rounds, _) = trips(&resolver, "dev1.alias.test").await;
    assert!(found == "S" && rounds <= 2, "{rounds}");
}

// SEC-02: whoever comes from nothing at the same time asks for the keys together, and those who come between a reply and what is made of it too.
#[tokio::test]
async fn cold_look_ups_of_one_zone_ask_together() {
    let world = world().fault_on_type("example.test", Rtype::DS, Fault::DelayedBy(TRIP)).start().await.unwrap();
    let resolver = Arc::new(resolver(&world));
    let mut tasks = JoinSet::new();
    let start = |tasks: &mut JoinSet<_>, numbers: std::ops::Range<u32>| {
        for n in numbers {
            let resolver = Arc::clone(&resolver);
            tasks.spawn(async move { code(&resolver.lookup(&owner(&format!("d{n}._device.example.test"))).await) });
        }
    };
    start(&mut tasks, 0..100);
    // All other replies are there by now, and no zone below the root is proven.
    world.wait_for_tlsa("d99._device.example.test").await;
    start(&mut tasks, 100..200);
    assert_eq!(tasks.join_all().await, ["S"; 200]);
    assert_eq!(world.queries().len(), 200 + 5);
}

// DNS-01: what was asked for in case it should be needed does no harm where it is not.
#[tokio::test]
async fn answers_that_are_not_needed_may_be_missing() {
    let name = "dev1._device.a.b.example.test";
    for fault in [Fault::Servfail, Fault::NeverAnswers, Fault::Malformed] {
        let mut builder = world();
        for between in ["b.example.test", "a.b.example.test"] {
            for rtype in [Rtype::DS, Rtype::DNSKEY] {
                builder = builder.fault_on_type(between, rtype, fault.clone());
            }
        }
        let world = builder.start().await.unwrap();
        world.add_text("example.test", &format!("{name}. 300 IN TLSA {RECORD}")).unwrap();
        // Who waited for them would wait until the time is over.
        assert_eq!(code(&resolver(&world).lookup(&owner(name)).await), "S", "{fault:?}");
        // Those that are needed are.
        world.add_fault_on_type("example.test", Rtype::DNSKEY, Fault::Servfail).unwrap();
        let lookup = resolver(&world).lookup(&owner(name)).await;
        assert!(matches!(lookup.answer, TlsaAnswer::Indeterminate(LookupFailure::Servfail)), "{lookup:?}");
        assert!(matches!(lookup.trace.detail, Some(Detail::ErrorCode { .. })), "{lookup:?}");
    }
}

/// Passes questions on to one of two worlds.
async fn switch(worlds: [SocketAddr; 2]) -> (SocketAddr, watch::Sender<usize>) {
    let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let address = front.local_addr().unwrap();
    let (sender, chosen) = watch::channel(0);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, asker) = front.recv_from(&mut buffer).await.unwrap();
            let (front, question) = (Arc::clone(&front), buffer.get(..length).unwrap().to_vec());
            let world = worlds[*chosen.borrow()];
            tokio::spawn(async move {
                let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                back.connect(world).await.unwrap();
                back.send(&question).await.unwrap();
                let mut answer = [0; 4096];
                let length = back.recv(&mut answer).await.unwrap();
                front.send_to(answer.get(..length).unwrap(), asker).await.unwrap();
            });
        }
    });
    (address, sender)
}

// DNS-01: keys that have been replaced while the old ones are remembered make nothing Bogus.
#[tokio::test]
async fn a_rollover_overtakes_what_is_remembered() {
    let [before, after] = [world().start().await.unwrap(), world().start().await.unwrap()];
    let (front, sender) = switch([before.addr(), after.addr()]).await;
    let anchors = [before.trust_anchor_text(), after.trust_anchor_text()].concat();
    let with = |anchors: &str| {
        let trust_anchor = TrustAnchorSource::Text(anchors.to_owned());
        let servers = Servers::List(vec![front.into()]);
        Resolver::new(ResolverConfig { servers, trust_anchor, ..config(&before) }).unwrap()
    };
    let (both, old) = (with(&anchors), with(before.trust_anchor_text()));
    for resolver in [&both, &old] {
        assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    }
    sender.send(1).unwrap();
    let lookup = both.lookup(&owner(OTHER)).await;
    assert_eq!(code(&lookup), "S", "{lookup:?}");
    // The record was asked for once, all keys anew.
    assert_eq!(after.tlsa_queries(), [OTHER]);
    assert_eq!(lookup.trace.queries, 6);
    // From then on the new keys are those that are known.
    after.clear_log();
    assert_eq!(code(&both.lookup(&owner("dev3._device.example.test")).await), "S");
    assert_eq!(after.queries().len(), 1);
    // Control: without a trust anchor for the new keys they are no better than forged ones.
    assert_eq!(code(&old.lookup(&owner(OTHER)).await), "B");
}

// SEC-01: whoever has a broken zone cannot have all keys above it fetched and verified for each of its names.
#[tokio::test]
async fn broken_answers_are_tried_again_once() {
    let world = world()
        .zone(Zone::new("broken.test").tlsa("*.broken.test", RECORD, 300))
        .zone_fault("broken.test", Fault::TamperedRdata)
        .zone(Zone::new("wrong.test").tlsa("*.wrong.test", RECORD, 300).delegation(Delegation::WrongDs))
        .zone(Zone::new("bad.test").tlsa("*.bad.test", RECORD, 300))
        .start()
        .await
        .unwrap();
    // Only the records, not the zone's keys.
    for n in 0..10 {
        world.add_fault(&format!("d{n}.bad.test"), Fault::TamperedRdata).unwrap();
    }
    let resolver = resolver(&world);
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    for (zone, at_most) in [("bad.test", 10 + 2 + 5), ("broken.test", 10 + 2 + 5), ("wrong.test", 10 + 2 + 5)] {
        world.clear_log();
        for n in 0..10 {
            let lookup = resolver.lookup(&owner(&format!("d{n}.{zone}"))).await;
            assert_eq!(code(&lookup), "B", "{zone}: {lookup:?}");
        }
        assert!(world.queries().len() <= at_most, "{zone}: {}", world.queries().len());
    }
    assert_eq!(code(&resolver.lookup(&owner(OTHER)).await), "S");
}

// DNS-08: the answer is good no longer than every signature in its chain of trust.
#[tokio::test]
async fn signatures_above_end_first() {
    let world = SignedWorld::builder()
        .zone(Zone::new("test").signatures(-3600, 120))
        .zone(Zone::new("example.test").tlsa(NAME, RECORD, 300).tlsa(OTHER, RECORD, 300))
        .start()
        .await
        .unwrap();
    let clock = TestClock::new();
    let resolver = Resolver::new(ResolverConfig { clock: clock.clock(), ..config(&world) }).unwrap();
    let before = dance_resolver::now().as_secs();
    let lookup = resolver.lookup(&owner(NAME)).await;
    let left = secure(&lookup).valid_until.as_secs() - before;
    assert!((100..=120).contains(&left), "{left}");
    let ends = lookup.trace.zones.iter().map(|link| link.expiry.as_secs()).min().unwrap();
    assert_eq!(ends, secure(&lookup).valid_until.as_secs());
    // What is remembered of the zones has ended, too.
    clock.forward(121);
    assert!(resolver.cached(&owner(NAME)).is_none());
    for name in [NAME, OTHER] {
        let lookup = resolver.lookup(&owner(name)).await;
        assert_eq!(code(&lookup), "B");
        assert!(matches!(lookup.trace.detail, Some(Detail::SignatureExpired { .. })), "{lookup:?}");
    }
    // A clock that is set back makes nothing valid that was proven later, and nothing invalid.
    world.resign("test", -3600, 86_400).unwrap();
    clock.forward(5);
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
}

// DNS-01: what a proof rests on, and where it fails.
#[tokio::test]
async fn the_chain_of_trust_is_told() {
    let world = world()
        .zone(Zone::new("wrong.test").tlsa("dev1.wrong.test", RECORD, 300).delegation(Delegation::WrongDs))
        .start()
        .await
        .unwrap();
    let resolver = resolver(&world);
    for (name, wildcard) in [(NAME, None), (OTHER, Some("*._device.example.test"))] {
        let trace = resolver.lookup(&owner(name)).await.trace;
        let zones: Vec<_> = trace.zones.iter().map(|link| (&*link.zone, link.rtype)).collect();
        let expected = [
            (".", Rtype::DNSKEY),
            ("test", Rtype::DS),
            ("test", Rtype::DNSKEY),
            ("example.test", Rtype::DS),
            ("example.test", Rtype::DNSKEY),
        ];
        assert_eq!(zones, expected);
        let signature = trace.links.first().unwrap().signature.as_ref().unwrap();
        assert_eq!(&*signature.signer, "example.test");
        assert_eq!(signature.key_tag, trace.zones.last().unwrap().key_tag);
        assert_eq!(trace.wildcard.as_deref(), wildcard, "{name}");
        assert_eq!(trace.links.first().unwrap().wildcard, wildcard.is_some());
        assert_eq!(trace.exchanges.len(), trace.queries);
    }
    let trace = resolver.lookup(&owner("dev1.wrong.test")).await.trace;
    let Some(Detail::Unproven(failure)) = &trace.detail else { panic!("{trace:?}") };
    assert!(matches!(**failure, Failure::NoKeyForDs { .. }), "{failure:?}");
    assert_eq!(trace.detail.as_ref().unwrap().rrset().unwrap(), ("wrong.test".into(), Rtype::DNSKEY));
    // As far as it holds.
    let zones: Vec<_> = trace.zones.iter().map(|link| (&*link.zone, link.rtype)).collect();
    assert_eq!(zones, [(".", Rtype::DNSKEY), ("test", Rtype::DS), ("test", Rtype::DNSKEY), ("wrong.test", Rtype::DS)]);
}

// SEC-15: a file that changes while the resolver runs.
#[tokio::test]
async fn trust_anchors_are_read_again() {
    let [world, other] = [world().start().await.unwrap(), world().start().await.unwrap()];
    let file = tempfile::NamedTempFile::new().unwrap();
    // Each time at another second, for file systems whose clock is no finer.
    let write = |text: &str, second: u64| {
        std::fs::write(file.path(), text).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        file.as_file().set_modified(time).unwrap();
    };
    write(world.trust_anchor_text(), 1);
    let clock = TestClock::new();
    let trust_anchor = TrustAnchorSource::File(file.path().to_owned());
    let resolver = Resolver::new(ResolverConfig { trust_anchor, clock: clock.clock(), ..config(&world) }).unwrap();
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");

    // At once, and what rested on the old anchors is forgotten: answers, and keys.
    write(other.trust_anchor_text(), 2);
    assert!(resolver.cached(&owner(NAME)).is_some());
    assert!(resolver.reload_anchors().unwrap());
    assert!(resolver.cached(&owner(NAME)).is_none());
    for name in [NAME, OTHER] {
        assert_eq!(code(&resolver.lookup(&owner(name)).await), "B");
    }
    // What is broken changes nothing.
    write("this is no trust anchor", 3);
    let error = resolver.reload_anchors().unwrap_err().to_string();
    assert!(error.contains(file.path().to_str().unwrap()) && error.contains("line 1"), "{error}");
    assert!(resolver.cached(&owner(NAME)).is_some());

    // Nobody says so: it is noticed within a minute.
    write(world.trust_anchor_text(), 4);
    assert_eq!(code(&resolver.lookup(&owner("dev3._device.example.test")).await), "B");
    clock.forward(60);
    assert_eq!(code(&resolver.lookup(&owner("dev3._device.example.test")).await), "S");
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    // Written again, or touched, without another content: nothing is forgotten.
    write(world.trust_anchor_text(), 5);
    clock.forward(60);
    assert_eq!(code(&resolver.lookup(&owner(OTHER)).await), "S");
    assert!(!resolver.reload_anchors().unwrap());
    assert!(resolver.cached(&owner(NAME)).is_some());
}

// SEC-01, SEC-02, DNS-10: look-ups in a zone that keeps silent do not go on waiting for it, and its neighbours are looked up as ever.
#[tokio::test]
async fn a_zone_that_keeps_silent_is_left_alone() {
    let world =
        world().zone(Zone::new("stall.test")).zone_fault("stall.test", Fault::NeverAnswers).start().await.unwrap();
    let resolver = resolver(&world);
    tokio::time::pause();
    let failure = async |n: u32| {
        let lookup = resolver.lookup(&owner(&format!("d{n}._device.stall.test"))).await;
        let TlsaAnswer::Indeterminate(failure) = lookup.answer else { panic!("{lookup:?}") };
        (failure, lookup)
    };
    for n in 0..5 {
        assert_eq!(failure(n).await.0, LookupFailure::Timeout);
    }
    world.clear_log();
    let (suspended, lookup) = failure(5).await;
    assert_eq!((suspended, lookup.trace.queries), (LookupFailure::Suspended, 0));
    assert_eq!(lookup.trace.detail, Some(Detail::ZoneSuspended { zone: "stall.test".into() }));
    assert!(world.queries().is_empty());
    for name in [NAME, OTHER] {
        assert_eq!(code(&resolver.lookup(&owner(name)).await), "S");
    }
    // Once it answers, it is found out, by the first who asks after a while.
    world.clear_faults();
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(code(&resolver.lookup(&owner("d5._device.stall.test")).await), "SX");
    assert_eq!(code(&resolver.lookup(&owner("d6._device.stall.test")).await), "SX");
}

// SEC-01, SEC-02: nor do they if the zone above is known and answers, and then one of many finds out whether that has changed.
#[tokio::test]
async fn a_zone_that_keeps_silent_below_one_that_does_not() {
    let silent = "silent.example.test";
    let world = world().zone(Zone::new(silent)).zone_fault(silent, Fault::NeverAnswers).start().await.unwrap();
    let resolver = Arc::new(resolver(&world));
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    tokio::time::pause();
    // Many at once, of whom nobody is answered: how many waited for it, and how many were told at once.
    let crowd = async |round: u32| {
        let mut tasks = JoinSet::new();
        for n in 0..10 {
            let resolver = Arc::clone(&resolver);
            let name = format!("d{n}-{round}._device.{silent}");
            tasks.spawn(async move { resolver.lookup(&owner(&name)).await.answer });
        }
        let answers = tasks.join_all().await;
        let told = |failure| {
            let is_told =
                |answer: &&TlsaAnswer| matches!(answer, TlsaAnswer::Indeterminate(found) if *found == failure);
            answers.iter().filter(is_told).count()
        };
        (told(LookupFailure::Timeout), told(LookupFailure::Suspended))
    };
    assert_eq!(crowd(0).await, (10, 0));
    assert_eq!(crowd(1).await, (0, 10));
    assert_eq!(code(&resolver.lookup(&owner(OTHER)).await), "S");
    // The zone above answers all the time, which says nothing about this one.
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(crowd(2).await, (1, 9));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(crowd(3).await, (0, 10));
    assert_eq!(code(&resolver.lookup(&owner("dev3._device.example.test")).await), "S");
}
