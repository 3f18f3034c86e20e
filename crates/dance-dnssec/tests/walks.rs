//! What excuses a missing signature, and what does not; what a look-up that spent too much leaves behind.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{Prover, RECORD, after, name};
use dance_dnssec::{BudgetKind, Failure, ZoneKind};
use dance_testkit::{Denial, Fault, Forged, KeyKind, RecordSet, Sign, SignedWorld, WorldBuilder, Zone};
use domain::base::iana::Rtype;

fn filled(zone: Zone) -> Zone {
    zone.text(&format!(
        "$TTL 300\ndev1._device IN TLSA {RECORD}\n*._wild IN TLSA {RECORD}\n*._alias IN CNAME dev1._device\n"
    ))
}

fn world(zone: Zone) -> WorldBuilder {
    SignedWorld::builder().zone(Zone::new("test")).zone(zone)
}

fn denials() -> [Denial; 3] {
    [Denial::Nsec, Denial::nsec3(), Denial::nsec3_opt_out()]
}

/// What a resolver would say that takes away the signatures over one answer and nothing else.
fn bare(owner: &str) -> Forged {
    Forged::new().answer(RecordSet::text(&format!("{owner} 300 IN TLSA {RECORD}")))
}

// DNS-01, DNS-03: without signature, only a proven unsigned delegation makes an answer Insecure; a name that exists, that does not, that
// a wildcard or an alias stands for, or that a DNAME is above, is none.
#[tokio::test]
async fn a_missing_signature_is_not_excused() {
    for denial in denials() {
        let zone = filled(Zone::new("example.test")).text("dn IN DNAME example.test.\n").denial(denial.clone());
        let world = world(zone).zone(filled(Zone::unsigned("open.example.test"))).start().await.unwrap();
        let owners = [
            ("dev1._device.example.test", "B"),
            ("foo._wild.example.test", "B"),
            ("foo._alias.example.test", "B"),
            ("x.foo._alias.example.test", "B"),
            ("dev1._device.dn.example.test", "B"),
            ("open.example.test", "I"),
            ("dev1._device.open.example.test", "I"),
            ("example.test", "B"),
            ("test", "B"),
        ];
        for (owner, expected) in owners {
            world.add_fault_on_type(owner, Rtype::TLSA, Fault::Answers(bare(owner))).unwrap();
            let run = Prover::new(&world).run(owner);
            // There may be an unsigned delegation in an opt-out span: the wildcard's expansion is not told from one.
            let opt_out = denial == Denial::nsec3_opt_out() && run.code() == "I" && owner.contains("foo.");
            assert!(run.code() == expected || opt_out, "{denial:?} {owner}: {}", run.tell());
            if run.code() == "B" {
                assert!(matches!(run.proof.failure, Some(Failure::SignatureMissing { .. })), "{owner}: {}", run.tell());
            }
        }
    }
}

// DNS-03: the excuse itself must be proven.
#[tokio::test]
async fn an_unsigned_delegation_must_be_proven() {
    for denial in denials() {
        let world = SignedWorld::builder()
            .zone(Zone::new("test").denial(denial))
            .zone(filled(Zone::unsigned("open.test")))
            .start()
            .await
            .unwrap();
        let run = Prover::new(&world).run("dev1._device.open.test");
        assert_eq!(run.code(), "I", "{}", run.tell());
        for fault in [Fault::StrippedProof, Fault::StrippedSignatures, Fault::EmptyAnswer, Fault::FalseNoData] {
            world.clear_faults();
            world.add_fault_on_type("open.test", Rtype::DS, fault.clone()).unwrap();
            let run = Prover::new(&world).run("dev1._device.open.test");
            assert_eq!(run.code(), "B", "{fault:?}: {}", run.tell());
        }
        world.clear_faults();
        world.add_fault_on_type("open.test", Rtype::DS, Fault::Servfail).unwrap();
        assert_eq!(Prover::new(&world).run("dev1._device.open.test").code(), "T");
    }
}

// SEC-15, DNS-04: below a trust anchor nobody above it has a say, neither by keys nor by having none.
#[tokio::test]
async fn an_anchor_is_where_the_chain_begins() {
    let owner = "dev1._device.corp.plain.test";
    let world = world(filled(Zone::unsigned("plain.test"))).zone(filled(Zone::new("corp.plain.test")));
    let world = world.zone(filled(Zone::new("example.test"))).zone(filled(Zone::new("sub.example.test")));
    let world = world.start().await.unwrap();
    let keys = |zone: &str| {
        let text = world.signed_zone_text(zone).unwrap();
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n");
        lines.filter(|line| line.contains(" DNSKEY 257 ")).collect::<String>()
    };
    let anchors = [world.trust_anchor_text(), &keys("corp.plain.test"), &keys("sub.example.test")].concat();
    let run = |owner: &str, set: Option<RecordSet>| {
        world.clear_faults();
        if let Some(set) = set {
            world.add_fault_on_type(owner, Rtype::TLSA, Fault::Answers(Forged::new().answer(set))).unwrap();
        }
        Prover::new(&world).with_anchors(&anchors).run(owner).code()
    };
    let set = |owner: &str| RecordSet::text(&format!("{owner} 300 IN TLSA {RECORD}"));
    assert_eq!(Prover::new(&world).run(owner).code(), "I");
    assert_eq!(run(owner, None), "S");
    // Said to be signed by the unsigned zone above.
    assert_eq!(run(owner, Some(set(owner).signed(Sign::by("corp.plain.test").spoilt()))), "B");
    assert_eq!(run(owner, Some(set(owner).signed(Sign::by("corp.plain.test").signer("plain.test")))), "B");
    let owner = "dev1._device.sub.example.test";
    assert_eq!(run(owner, None), "S");
    assert_eq!(run(owner, Some(set(owner).signed(Sign::by("example.test")))), "B");
}

// DNS-01: zones that share a key are still two zones.
#[tokio::test]
async fn a_key_is_that_of_its_zone_alone() {
    let owner = "dev1._device.example.test";
    let rsa = |apex| filled(Zone::new(apex)).key(KeyKind::Rsa2048);
    let world = world(rsa("example.test")).zone(rsa("other.test")).start().await.unwrap();
    let set = || RecordSet::text(&format!("{owner} 300 IN TLSA {RECORD}"));
    let run = |set: RecordSet| {
        world.clear_faults();
        world.add_fault(owner, Fault::Answers(Forged::new().answer(set))).unwrap();
        Prover::new(&world).run(owner).code()
    };
    assert_eq!(run(set().signed(Sign::by("example.test"))), "S");
    assert_eq!(run(set().signed(Sign::by("other.test"))), "B");
    assert_eq!(run(set().signed(Sign::by("example.test").spoilt()).signed(Sign::by("other.test"))), "B");
    assert_eq!(run(set().signed(Sign::by("example.test").spoilt()).signed(Sign::by("other.test").signer("test"))), "B");
}

// SEC-14, DNS-05: who spends too much on one name is not let to make others pay: the zones that were reached last are not to blame.
#[tokio::test]
async fn spent_budgets_are_not_held_against_zones() {
    let world = world(filled(Zone::new("example.test"))).start().await.unwrap();
    let mut prover = Prover::new(&world);
    prover.budget.units = 3;
    let run = prover.run("dev1._device.example.test");
    assert!(matches!(run.proof.failure, Some(Failure::Budget { kind: BudgetKind::Units, .. })), "{}", run.tell());
    assert!(prover.memory.0.values().all(|fact| fact.kind() != ZoneKind::Failed));
    prover.budget = dance_dnssec::Budget::default();
    assert_eq!(prover.run("dev1._device.example.test").code(), "S");

    // A zone whose own keys cannot be told apart is.
    let own = self::world(filled(Zone::new("example.test")).colliding_keys(20)).start().await.unwrap();
    own.add_fault_on_type("example.test", Rtype::DNSKEY, Fault::BadSignaturesFirst(20)).unwrap();
    let mut prover = Prover::new(&own);
    let run = prover.run("dev1._device.example.test");
    assert!(matches!(run.proof.failure, Some(Failure::Budget { .. })), "{}", run.tell());
    assert_eq!(prover.memory.0[&name("example.test")].kind(), ZoneKind::Failed);
}

// DNS-03, SEC-03: records with too many iterations say the same of every name, so one that is replayed keeps nobody out for long.
#[tokio::test]
async fn what_is_not_hashed_is_not_remembered_for_long() {
    for (iterations, seconds) in [(100, 300), (101, 5)] {
        let parent = Zone::new("test").denial(Denial::nsec3_iterations(iterations));
        let world = SignedWorld::builder().zone(parent.negative_ttl(300)).zone(filled(Zone::unsigned("open.test")));
        let world = world.start().await.unwrap();
        let mut prover = Prover::new(&world);
        assert_eq!(prover.run("dev1._device.open.test").code(), "I");
        let fact = &prover.memory.0[&name("open.test")];
        assert_eq!(fact.kind(), ZoneKind::Unsigned);
        assert!(fact.is_usable(after(prover.now, seconds - 1)), "{iterations}");
        assert!(!fact.is_usable(after(prover.now, seconds)), "{iterations}");
    }
}
