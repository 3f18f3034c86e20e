//! Which keys, DS records and signatures count, when, and for what they may cost.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{Prover, RECORD, Run, after, name};
use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_core::tlsa::TlsaRdata;
use dance_dnssec::{BudgetKind, Failure, Found, Unproven};
use dance_testkit::{
    Delegation, Denial, DsForm, Fault, Forged, KeyKind, KeyRole, RecordSet, Sign, SignedWorld, WorldBuilder, Zone,
};
use domain::base::iana::Rtype;

const DEV: &str = "dev1._device.example.test";

fn example() -> Zone {
    Zone::new("example.test").text(&format!("$TTL 300\ndev1._device IN TLSA {RECORD}\n*._wild IN TLSA {RECORD}\n"))
}

async fn world(zone: Zone) -> SignedWorld {
    builder(zone).start().await.unwrap()
}

fn builder(zone: Zone) -> WorldBuilder {
    SignedWorld::builder().zone(Zone::new("test")).zone(zone)
}

async fn run(zone: Zone) -> Run {
    Prover::new(&world(zone).await).run(DEV)
}

// DNS-01
#[tokio::test]
async fn keys_that_count() {
    use KeyKind::*;
    use KeyRole::*;
    for (keys, expected) in [
        (&[(P256, Csk)][..], "S"),
        (&[(P384, Csk)], "S"),
        (&[(Ed25519, Csk)], "S"),
        (&[(Rsa2048, Csk)], "S"),
        (&[(Rsa2048Sha512, Csk)], "S"),
        (&[(Ed448, Csk)], "I"),
        (&[(RsaSha1, Csk)], "I"),
        (&[(P256, Ksk), (P256, Zsk)], "S"),
        // Rollovers: of a zone signing key, of a key signing key, of an algorithm.
        (&[(P256, Ksk), (P256, Zsk), (P256, Published)], "S"),
        (&[(P256, Ksk), (P256, Ksk), (P256, Zsk), (P256, Zsk)], "S"),
        (&[(P256, Ksk), (P256, KskWithoutDs), (P256, Zsk)], "S"),
        (&[(P256, Csk), (P256, DsOnly)], "S"),
        (&[(Rsa2048, Csk), (P256, CskWithoutDs)], "S"),
        (&[(Rsa2048, Csk), (P256, Unpublished)], "S"),
        (&[(P256, Csk), (Ed448, Csk)], "S"),
        // A key that must not sign.
        (&[(P256, Revoked)], "B"),
        (&[(P256, NotForZones)], "B"),
        (&[(P256, OtherProtocol)], "B"),
        (&[(P256, DsOnly), (P256, CskWithoutDs)], "B"),
        (&[(P256, Ksk), (P256, Unpublished)], "B"),
    ] {
        let run = run(example().keys(keys)).await;
        assert_eq!(run.code(), expected, "{keys:?}: {}", run.tell());
    }
}

// DNS-01
#[tokio::test]
async fn delegations_that_count() {
    use DsForm::*;
    for (forms, expected) in [
        (&[Sha1][..], "S"),
        (&[Sha384], "S"),
        (&[WrongSha256, Sha256], "S"),
        (&[WrongSha384, Sha256], "S"),
        (&[UnknownDigest, Sha256], "S"),
        (&[UnknownAlgorithm, Sha1], "S"),
        (&[WrongSha1, Sha256], "S"),
        // RFC 4509 section 3: SHA-1 counts for nothing beside what is stronger.
        (&[Sha1, WrongSha256], "B"),
        (&[WrongSha256], "B"),
        (&[UnknownDigest, WrongSha256], "B"),
        (&[UnknownDigest, UnknownAlgorithm], "I"),
        (&[], "I"),
    ] {
        let run = run(example().delegation(Delegation::Of(forms))).await;
        assert_eq!(run.code(), expected, "{forms:?}: {}", run.tell());
    }
    let run = run(example().delegation(Delegation::WrongDs)).await;
    assert_eq!(run.proof.failure, Some(Failure::NoKeyForDs { zone: name("example.test") }));
}

// DNS-08: nothing outlives a signature that it rests on, however often it has been used.
#[tokio::test]
async fn signatures_end_while_facts_are_kept() {
    let world = world(example().signatures(-3600, 100)).await;
    let mut prover = Prover::new(&world);
    let start = prover.now;
    let first = prover.run(DEV);
    assert_eq!((first.code(), first.proof.valid_until), ("S", after(start, 100)), "{}", first.tell());
    let fact = prover.memory.0[&name("example.test")].clone();
    prover.now = after(start, 100);
    assert!(fact.is_usable(prover.now));
    assert_eq!(prover.run(DEV).questions(), 1);
    prover.now = after(start, 101);
    assert!(!fact.is_usable(prover.now));
    let late = prover.run(DEV);
    let expired = Failure::SignatureExpired {
        owner: name("example.test"),
        rtype: Rtype::DNSKEY,
        zone: name("example.test"),
        at: after(start, 100),
    };
    assert_eq!((late.code(), late.proof.failure), ("B", Some(expired)));
    // Signed anew, it is good again.
    prover.memory.0.clear();
    world.resign("example.test", -3600, 86_400).unwrap();
    assert_eq!(prover.run(DEV).code(), "S");
}

// DNS-08: the zone above is a link of the chain as well.
#[tokio::test]
async fn the_chain_of_trust_bounds_the_answer() {
    let above = Zone::new("test").signatures(-3600, 50);
    let world = SignedWorld::builder().zone(above).zone(example()).start().await.unwrap();
    let mut prover = Prover::new(&world);
    let start = prover.now;
    assert_eq!(prover.run(DEV).proof.valid_until, after(start, 50));
    prover.now = after(start, 51);
    assert!(!prover.memory.0[&name("example.test")].is_usable(prover.now));
    assert_eq!(prover.run(DEV).code(), "B");
}

// DNS-08: so is every proof that goes with an answer or a denial.
#[tokio::test]
async fn proofs_bound_the_answer() {
    let world = world(example()).await;
    let wild = "foo._wild.example.test";
    let until = async |owner: &str, forged: Forged| {
        world.clear_faults();
        world.add_fault_on_type(owner, Rtype::TLSA, Fault::Answers(forged)).unwrap();
        let prover = &mut Prover::new(&world);
        let run = prover.run(owner);
        assert!(run.proof.failure.is_none(), "{}", run.tell());
        run.proof.valid_until.as_secs() - prover.now.as_secs()
    };
    let (long, short) = (Sign::by("example.test"), Sign::by("example.test").times(-100, 20));
    // That no name is closer than the wildcard.
    let answer = || RecordSet::text(&format!("{wild} 300 IN TLSA {RECORD}")).signed(long.clone().labels(3));
    let closest = || RecordSet::text("*._wild.example.test 300 IN NSEC example.test TLSA RRSIG NSEC");
    let covered = |sign: &Sign| Forged::new().answer(answer()).authority(closest().signed(sign.clone()));
    assert_eq!(until(wild, covered(&long)).await, 300);
    assert_eq!(until(wild, covered(&short)).await, 20);
    // That there are no such records, and for how long that is so.
    let soa = || RecordSet::of("example.test", "example.test", Rtype::SOA);
    let cover = || RecordSet::text("example.test 300 IN NSEC example.test NS SOA RRSIG NSEC DNSKEY");
    let denied = |sign: &Sign| Forged::new().authority(cover().signed(sign.clone())).authority(soa());
    let end = "nx.example.test";
    assert_eq!(until(end, denied(&long)).await, 60);
    assert_eq!(until(end, denied(&short)).await, 20);
}

// DNS-08
#[tokio::test]
async fn a_clock_that_is_set_back() {
    let world = world(example().signatures(-100, 86_400)).await;
    let mut prover = Prover::new(&world);
    assert_eq!(prover.run(DEV).code(), "S");
    prover.now = after(prover.now, -1);
    assert!(prover.memory.0.values().all(|fact| !fact.is_usable(prover.now)));
    assert_eq!(prover.run(DEV).questions(), 6);
    prover.now = after(prover.now, -200);
    let early = prover.run(DEV);
    assert!(matches!(early.proof.failure, Some(Failure::SignatureNotYetValid { .. })), "{}", early.tell());
}

// DNS-08: within one look-up, too.
#[tokio::test]
async fn signatures_end_between_two_steps() {
    let alias = Zone::new("to.test").text(&format!("dev1 IN CNAME {DEV}.\n")).signatures(-3600, 100);
    let world = builder(example()).zone(alias).start().await.unwrap();
    let prover = Prover::new(&world);
    let mut proving = prover.proving("dev1.to.test");
    let mut steps = 0;
    let proof = loop {
        // The last step comes too late.
        let now = after(prover.now, if steps < 2 { 0 } else { 101 });
        match proving.step(now, &()) {
            dance_dnssec::Step::Done(proof) => break proof,
            dance_dnssec::Step::Ask(questions) => {
                steps += 1;
                questions.iter().for_each(|question| proving.reply(question, &prover.ask(question).unwrap()));
            }
        }
    };
    assert_eq!(steps, 2);
    assert!(matches!(proof.failure, Some(Failure::SignatureExpired { .. })), "{proof:?}");
}

// DNS-01: whatever RDATA is signed is authentic; whether it is usable is not decided here.
#[tokio::test]
async fn short_records_and_other_case() {
    let text =
        "$TTL 300\nshort IN TLSA \\# 0\nshort IN TLSA \\# 1 03\nshort IN TLSA \\# 2 0301\nshort IN TLSA \\# 3 030101\n";
    let world = world(example().text(text)).await;
    let run = Prover::new(&world).run("short.example.test");
    let Found::Records(mut records) = run.proof.found.clone() else { panic!("{}", run.tell()) };
    records.sort_by_key(|record| record.as_wire().len());
    assert_eq!(records, [&[][..], &[3], &[3, 1], &[3, 1, 1]].map(TlsaRdata::from_wire));
    let run = Prover::new(&world).run("DEV1._Device.eXample.TEST");
    assert_eq!(run.code(), "S", "{}", run.tell());
    // In any order, and more than once.
    world.add_server_fault(Fault::Reversed).unwrap();
    assert_eq!(Prover::new(&world).run("short.example.test").code(), "S");
    let twice = RecordSet::text(&format!("{DEV} 300 IN TLSA {RECORD}\n{DEV} 300 IN TLSA {RECORD}\n"));
    let run = forged(&world, DEV, Rtype::TLSA, Forged::new().answer(twice.signed(Sign::by("example.test")))).await;
    assert!(matches!(&run.proof.found, Found::Records(records) if records.len() == 1), "{}", run.tell());
}

/// The verdict when the TLSA question is answered so.
async fn forged(world: &SignedWorld, owner: &str, rtype: Rtype, forged: Forged) -> Run {
    world.clear_faults();
    world.add_fault_on_type(owner, rtype, Fault::Answers(forged)).unwrap();
    Prover::new(world).run(DEV)
}

// DNS-01
#[tokio::test]
async fn signers_that_count() {
    let world = builder(example()).zone(Zone::new("other.test")).start().await.unwrap();
    let record = || RecordSet::text(&format!("{DEV} 300 IN TLSA {RECORD}"));
    let by = async |sign: Sign| {
        let run = forged(&world, DEV, Rtype::TLSA, Forged::new().answer(record().signed(sign))).await;
        (run.code(), run.proof.failure)
    };
    assert_eq!(by(Sign::by("example.test")).await.0, "S");
    let wrong_signer = |signer: &str| {
        let (owner, zone) = (name(DEV), name("example.test"));
        Some(Failure::WrongSigner { owner, rtype: Rtype::TLSA, zone, signer: name(signer) })
    };
    // A sibling; a name that is no zone; a zone below.
    assert_eq!(by(Sign::by("other.test")).await, ("B", wrong_signer("other.test")));
    let nobody = Sign::by("example.test").signer("_device.example.test");
    assert_eq!(by(nobody).await, ("B", wrong_signer("_device.example.test")));
    let below = Sign::by("example.test").signer("x.dev1._device.example.test");
    assert_eq!(by(below).await, ("B", wrong_signer("x.dev1._device.example.test")));
    for (sign, failure) in [
        (Sign::by("other.test").signer("example.test"), "NoKeyForSignature"),
        (Sign::by("example.test").spoilt(), "SignatureWrong"),
        (Sign::by("example.test").times(-20, -10), "SignatureExpired"),
        (Sign::by("example.test").times(100, 200), "SignatureNotYetValid"),
        (Sign::by("example.test").labels(5), "Labels"),
        (Sign::by("example.test").labels(2), "ProofMissing"),
        (Sign::by("example.test").key_tag(1), "NoKeyForSignature"),
    ] {
        let (code, found) = by(sign.clone()).await;
        let found = format!("{found:?}");
        assert!(code == "B" && found.contains(failure), "{sign:?}: {code} {found}");
    }
    // One good signature among others is enough.
    let set = record().signed(Sign::by("other.test")).signed(Sign::by("example.test").spoilt());
    let set = set.signed(Sign::by("example.test"));
    assert_eq!(forged(&world, DEV, Rtype::TLSA, Forged::new().answer(set)).await.code(), "S");
}

// DNS-07: proofs and delegations are never expanded from a wildcard.
#[tokio::test]
async fn wildcards_that_do_not_count() {
    let world = world(example()).await;
    let ds = |world: &SignedWorld| {
        let text = world.signed_zone_text("test").unwrap();
        let line = text.lines().find(|line| line.contains(" DS ") || line.contains("\tDS\t")).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase()
    };
    let set = || RecordSet::text(&ds(&world));
    let answer = |sign: Sign| Forged::new().answer(set().signed(sign));
    let exact = forged(&world, "example.test", Rtype::DS, answer(Sign::by("test"))).await;
    assert_eq!(exact.code(), "S", "{}", exact.tell());
    let expanded = forged(&world, "example.test", Rtype::DS, answer(Sign::by("test").labels(1))).await;
    let labels = Failure::Labels { owner: name("example.test"), rtype: Rtype::DS, zone: name("test") };
    assert_eq!((expanded.code(), expanded.proof.failure), ("B", Some(labels)));

    let nsec = RecordSet::text("example.test 300 IN NSEC f.test NS RRSIG NSEC");
    let denial = |sign: Sign| Forged::new().authority(nsec.clone().signed(sign));
    let exact = forged(&world, "example.test", Rtype::DS, denial(Sign::by("test"))).await;
    assert_eq!(exact.code(), "I", "{}", exact.tell());
    let expanded = forged(&world, "example.test", Rtype::DS, denial(Sign::by("test").labels(1))).await;
    assert_eq!(expanded.code(), "B", "{}", expanded.tell());
}

// DNS-01, DNS-03: only the parent can say that there is no DS.
#[tokio::test]
async fn a_denial_from_below_proves_no_unsigned_delegation() {
    let world = world(example()).await;
    let deny = async |nsec: &str, by: &str| {
        let nsec = RecordSet::text(nsec).signed(Sign::by(by));
        let soa = RecordSet::of(by, by, Rtype::SOA);
        forged(&world, "example.test", Rtype::DS, Forged::new().authority(soa).authority(nsec)).await
    };
    let insecure = deny("example.test 300 IN NSEC f.test NS RRSIG NSEC", "test").await;
    assert_eq!(insecure.code(), "I", "{}", insecure.tell());
    for (nsec, by) in [
        // The zone's own apex, signed by itself, and by the parent.
        ("example.test 300 IN NSEC a.example.test NS SOA RRSIG NSEC DNSKEY", "example.test"),
        ("example.test 300 IN NSEC f.test NS SOA RRSIG NSEC DNSKEY", "test"),
        // There is a DS.
        ("example.test 300 IN NSEC f.test NS DS RRSIG NSEC", "test"),
        // About another name.
        ("other.test 300 IN NSEC z.test NS RRSIG NSEC", "test"),
    ] {
        let run = deny(nsec, by).await;
        let (owner, zone) = (name("example.test"), name("test"));
        let missing = Failure::ProofMissing { owner, rtype: Rtype::DS, zone, what: Unproven::NoDelegation };
        assert_eq!((run.code(), run.proof.failure.clone()), ("B", Some(missing)), "{nsec}: {}", run.tell());
    }
}

// SEC-14: "KeyTrap" (CVE-2023-50387). Accidents are allowed for, attacks are look-up failures.
#[tokio::test]
async fn keys_of_one_tag() {
    let few = world(example().colliding_keys(3)).await;
    let mut prover = Prover::new(&few);
    assert_eq!(prover.run(DEV).code(), "S");
    few.add_fault(DEV, Fault::BadSignaturesFirst(1)).unwrap();
    assert_eq!(prover.run(DEV).code(), "S");
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048] {
        let many = world(example().key(kind).colliding_keys(20)).await;
        many.add_fault(DEV, Fault::BadSignaturesFirst(50)).unwrap();
        let mut prover = Prover::new(&many);
        let run = prover.run(DEV);
        assert!(matches!(run.proof.failure, Some(Failure::Budget { .. })), "{kind}: {}", run.tell());
        let answer = run.proof.to_answer(prover.now);
        assert!(matches!(answer, TlsaAnswer::Indeterminate(LookupFailure::TooCostly)), "{kind}");
        assert!(run.proof.cost.failed_units < prover.budget.failed_units + 15, "{kind}: {:?}", run.proof.cost);
    }
}

// SEC-14: every limit is one.
#[tokio::test]
async fn budgets() {
    let deep = Zone::new("a.b.example.test").text(&format!("dev IN TLSA {RECORD}\n"));
    let world = builder(example().denial(Denial::nsec3_iterations(50))).zone(deep).start().await.unwrap();
    let spoil = |world: &SignedWorld| world.add_fault(DEV, Fault::BadSignaturesFirst(9)).unwrap();
    let limited = |owner: &str, limit: &dyn Fn(&mut dance_dnssec::Budget)| {
        let mut prover = Prover::new(&world);
        limit(&mut prover.budget);
        let run = prover.run(owner);
        match run.proof.failure {
            Some(Failure::Budget { kind, .. }) => Some(kind),
            None => None,
            Some(other) => panic!("{other}"),
        }
    };
    assert_eq!(limited(DEV, &|_| ()), None);
    assert_eq!(limited(DEV, &|budget| budget.units = 5), Some(BudgetKind::Units));
    assert_eq!(limited(DEV, &|budget| budget.questions = 5), Some(BudgetKind::Questions));
    assert_eq!(limited(DEV, &|budget| budget.reply_octets = 1_000), Some(BudgetKind::ReplyOctets));
    assert_eq!(limited(DEV, &|budget| budget.reply_octets = 10_000), None);
    assert_eq!(limited("dev.a.b.example.test", &|budget| budget.zones = 3), Some(BudgetKind::Zones));
    assert_eq!(limited("dev.a.b.example.test", &|budget| budget.zones = 4), None);
    assert_eq!(limited("nx.example.test", &|_| ()), None);
    assert_eq!(limited("nx.example.test", &|budget| budget.nsec3_hashes = 100), Some(BudgetKind::Nsec3Hashes));
    spoil(&world);
    assert_eq!(limited(DEV, &|_| ()), Some(BudgetKind::SignaturesPerRrset));
    assert_eq!(limited(DEV, &|budget| budget.signatures_per_rrset = 10), None);
    assert_eq!(limited(DEV, &|budget| budget.failed_units = 3), Some(BudgetKind::FailedUnits));
}

// DNS-01: what a resolver that knows no DNSSEC does is told apart from what a zone does.
#[tokio::test]
async fn resolvers_that_drop_signatures() {
    let world = world(example()).await;
    world.add_server_fault(Fault::StrippedSignatures).unwrap();
    let run = Prover::new(&world).run(DEV);
    assert_eq!((run.code(), run.proof.failure), ("B", Some(Failure::ResolverStripsSignatures { anchor: name("") })));
    world.clear_faults();
    world.add_zone_fault("example.test", Fault::StrippedSignatures).unwrap();
    let run = Prover::new(&world).run(DEV);
    assert!(matches!(run.proof.failure, Some(Failure::SignatureMissing { .. })), "{}", run.tell());
    world.clear_faults();
    world.add_fault(DEV, Fault::EmptyAnswer).unwrap();
    let run = Prover::new(&world).run(DEV);
    assert!(matches!(run.proof.failure, Some(Failure::EmptyReply { .. })), "{}", run.tell());
}
