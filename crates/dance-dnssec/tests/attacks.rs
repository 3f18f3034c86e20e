//! Answers made to cost as much as they can: what a proof spends on them is counted, not timed, and is never taken for a forgery.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::{Duration, Instant};

use common::{Prover, RECORD, Run};
use dance_core::answer::LookupFailure;
use dance_dnssec::{
    Budget, Failure, Found, MAX_FAILED_UNITS, MAX_KEYS_PER_SIGNATURE, MAX_NSEC3_HASHES, MAX_PROOFS, MAX_QUESTIONS,
    MAX_SIGNATURES_PER_RRSET, MAX_UNITS, MAX_ZONES, Step,
};
use dance_testkit::{Denial, Fault, Forged, KeyKind, RecordSet, Rtype, Sign, SignedWorld, WorldBuilder, Zone};
use domain::base::Name;
use domain::base::iana::Nsec3HashAlgorithm;
use domain::dnssec::common::nsec3_hash;
use domain::rdata::nsec3::Nsec3Salt;

const GOOD: &str = "dev1.good.test";
const TRAP: &str = "dev1.trap.test";

fn world() -> WorldBuilder {
    SignedWorld::builder().zone(Zone::new("test")).zone(Zone::new("good.test").tlsa(GOOD, RECORD, 300).tlsa(
        "*._many.good.test",
        RECORD,
        300,
    ))
}

fn trap() -> Zone {
    Zone::new("trap.test").tlsa(TRAP, RECORD, 300).text("txt 300 IN TXT x")
}

/// The costliest verification.
const LARGEST: u32 = 15;

/// A run that stayed within every limit. What it took is in the test's output, with the time that the proof alone needed.
fn run(world: &SignedWorld, owner: &str) -> Run {
    let prover = Prover::new(world);
    let mut proving = prover.proving(owner);
    let (mut spent, mut rounds) = (Duration::ZERO, Vec::new());
    let proof = loop {
        let started = Instant::now();
        let step = proving.step(prover.now, &());
        spent += started.elapsed();
        let questions = match step {
            Step::Done(proof) => break *proof,
            Step::Ask(questions) => questions,
        };
        assert!(!questions.is_empty(), "{owner}: nothing asked, and not done");
        for question in &questions {
            let reply = prover.ask(question);
            let started = Instant::now();
            match reply {
                Ok(message) => proving.reply(question, &message),
                Err(failure) => proving.failed(question, failure),
            }
            spent += started.elapsed();
        }
        rounds.push(questions);
    };
    let run = Run { proof, rounds };
    let shown = owner.get(owner.len().saturating_sub(40)..).unwrap_or(owner);
    println!("{shown}: {} in {spent:?}, {:?}: {}", run.code(), run.proof.cost, run.failure());
    let cost = &run.proof.cost;
    let Budget { units, failed_units, nsec3_hashes, questions, .. } = Budget::default();
    assert_eq!((units, failed_units, nsec3_hashes), (MAX_UNITS, MAX_FAILED_UNITS, MAX_NSEC3_HASHES));
    // The last one may go over it, no more.
    assert!(cost.units < MAX_UNITS + LARGEST, "{cost:?}");
    assert!(cost.failed_units < MAX_FAILED_UNITS + LARGEST, "{cost:?}");
    assert!(cost.nsec3_hashes <= MAX_NSEC3_HASHES, "{cost:?}");
    assert!(run.questions() <= questions && questions == MAX_QUESTIONS, "{}", run.questions());
    run
}

/// Given up for its cost, and not Bogus.
fn is_too_costly(run: &Run) -> bool {
    run.proof.failure.as_ref().and_then(Failure::lookup_failure) == Some(LookupFailure::TooCostly) && run.code() == "T"
}

// SEC-14: many keys of one tag times many signatures (CVE-2023-50387), wherever they are put.
#[tokio::test]
async fn colliding_keys_and_bad_signatures() {
    // With so many keys that they alone are too many, and with fewer. A message has no room for more of RSA.
    for (kind, keys, signatures) in [
        (KeyKind::P256, 120, 120),
        (KeyKind::P256, 24, 120),
        (KeyKind::P384, 120, 120),
        (KeyKind::P384, 24, 120),
        (KeyKind::Ed25519, 24, 120),
        (KeyKind::Rsa2048, 24, 60),
    ] {
        let world = world().zone(trap().key(kind).colliding_keys(keys)).start().await.unwrap();
        let many = || Fault::BadSignaturesFirst(signatures);
        let (nx, nodata) = ("nx.trap.test", "txt.trap.test");
        // Everywhere.
        world.add_zone_fault("trap.test", many()).unwrap();
        for name in [TRAP, nx, nodata] {
            assert!(is_too_costly(&run(&world, name)), "{kind}");
        }
        // One thing at a time; the keys in either order.
        for reversed in [false, true] {
            for (place, rtype, name) in [
                (TRAP, Rtype::TLSA, TRAP),
                ("trap.test", Rtype::DNSKEY, TRAP),
                (nx, Rtype::TLSA, nx),
                (nodata, Rtype::TLSA, nodata),
            ] {
                world.clear_faults();
                if reversed {
                    world.add_fault_on_type("trap.test", Rtype::DNSKEY, Fault::Reversed).unwrap();
                }
                world.add_fault_on_type(place, rtype, many()).unwrap();
                let run = run(&world, name);
                assert!(is_too_costly(&run), "{kind} {place} {rtype}");
                // Even where one costs little, not all are tried.
                if kind != KeyKind::P384 {
                    assert!(run.proof.cost.failed_units <= MAX_SIGNATURES_PER_RRSET * MAX_KEYS_PER_SIGNATURE);
                }
            }
            // Keys alone: good if the true one is among the first.
            world.clear_faults();
            if reversed {
                world.add_fault_on_type("trap.test", Rtype::DNSKEY, Fault::Reversed).unwrap();
            }
            let keys = run(&world, TRAP);
            assert!(keys.code() == "S" || is_too_costly(&keys), "{kind}: {}", keys.tell());
        }
        assert_eq!(run(&world, GOOD).code(), "S");
        // Signatures alone.
        let world = common_world(kind).await;
        world.add_fault(TRAP, many()).unwrap();
        assert!(is_too_costly(&run(&world, TRAP)), "{kind}");
        // The control: a few of either do no harm.
        let world = common_world(kind).await;
        world.add_zone_fault("trap.test", Fault::BadSignaturesFirst(1)).unwrap();
        for (name, code) in [(TRAP, "S"), (nx, "SX"), (nodata, "SN")] {
            assert_eq!(run(&world, name).code(), code, "{kind}");
        }
    }
}

/// With a zone whose keys are of this kind.
async fn common_world(kind: KeyKind) -> SignedWorld {
    world().zone(trap().key(kind)).start().await.unwrap()
}

// SEC-14: a tag that collides once, as happens by accident.
#[tokio::test]
async fn an_accident() {
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519, KeyKind::Rsa2048] {
        let world = world().zone(trap().key(kind).colliding_keys(1)).start().await.unwrap();
        for order in [None, Some(Fault::Reversed)] {
            if let Some(fault) = order {
                world.add_fault_on_type("trap.test", Rtype::DNSKEY, fault).unwrap();
            }
            assert_eq!(run(&world, TRAP).code(), "S", "{kind}");
            assert_eq!(run(&world, "nx.trap.test").code(), "SX", "{kind}");
        }
    }
}

// SEC-14: many DS records of one tag, which cost a digest each.
#[tokio::test]
async fn many_ds() {
    let world = world().zone(trap()).start().await.unwrap();
    let text = world.signed_zone_text("test").unwrap();
    let words = |line: &str| line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut lines = text.lines().map(words).filter(|words| words.first().is_some_and(|owner| owner == "trap.test."));
    let genuine = lines.find(|words| words.get(3).is_some_and(|rtype| rtype == "DS")).unwrap();
    let (tag, genuine) = (genuine[4].clone(), genuine.join(" "));
    for (wrong, good) in [(1, true), (20, true), (400, false)] {
        let ds: String = (0..wrong).map(|n| format!("trap.test. 3600 IN DS {tag} 13 2 {n:064x}\n")).collect();
        let set = RecordSet::text(&format!("{genuine}\n{ds}")).signed(Sign::by("test"));
        world.clear_faults();
        world.add_fault_on_type("trap.test", Rtype::DS, Fault::Answers(Forged::new().answer(set))).unwrap();
        let run = run(&world, TRAP);
        assert!(if good { run.code() == "S" } else { is_too_costly(&run) }, "{}", run.tell());
    }
}

// SEC-14: every link of a chain of aliases, and every proof, with signatures that are bad but for the last.
#[tokio::test]
async fn bad_signatures_along_a_chain() {
    let chain: String = (1..8).map(|n| format!("link{n} 300 IN CNAME link{}.trap.test.\n", n - 1)).collect();
    for kind in [KeyKind::P256, KeyKind::P384] {
        let zone = trap().key(kind).text(&chain).text("link0 300 IN CNAME dev1.trap.test.");
        let world = world().zone(zone).start().await.unwrap();
        assert_eq!(run(&world, "link7.trap.test").code(), "S");
        for copies in [3, 7, 8] {
            world.clear_faults();
            world.add_zone_fault("trap.test", Fault::BadSignaturesFirst(copies)).unwrap();
            let run = run(&world, "link7.trap.test");
            assert!(run.code() == "S" || is_too_costly(&run), "{}", run.tell());
            assert!(copies < 8 || is_too_costly(&run));
        }
    }
}

/// The deepest name below a zone.
fn deep(zone: &str) -> String {
    let labels = (253 - zone.len()) / 2;
    format!("{}{zone}", "a.".repeat(labels))
}

// SEC-14: names of many labels times many iterations (CVE-2023-50868).
#[tokio::test]
async fn deep_names_and_iterations() {
    for (iterations, code) in [(0, "SX"), (100, "SX"), (101, "I"), (500, "I"), (501, "B"), (2500, "B")] {
        let zone = trap().denial(Denial::nsec3_iterations(iterations));
        let world = world().zone(zone).start().await.unwrap();
        let run = run(&world, &deep("trap.test"));
        assert_eq!(run.code(), code, "{iterations}: {}", run.tell());
    }
}

/// An NSEC3 record of the trap, signed, with a salt of its own, about `name`.
fn nsec3(name: &str, salt: u16, iterations: u16) -> RecordSet {
    let octets = Nsec3Salt::from_octets(salt.to_be_bytes().to_vec()).unwrap();
    let hash = |name: &str| {
        let name: Name<Vec<u8>> = format!("{name}.").parse().unwrap();
        nsec3_hash::<_, _, Vec<u8>>(&name, Nsec3HashAlgorithm::SHA1, iterations, &octets).unwrap().to_string()
    };
    let (owner, next) = (hash(name).to_lowercase(), hash("next.trap.test"));
    let text = format!("{owner}.trap.test 60 IN NSEC3 1 0 {iterations} {salt:04x} {next} TXT");
    RecordSet::text(&text).signed(Sign::by("trap.test"))
}

// SEC-14: many NSEC3 records, of one salt or of many.
#[tokio::test]
async fn many_hashed_proofs() {
    let world = world().zone(trap().denial(Denial::nsec3_iterations(100))).start().await.unwrap();
    let name = deep("trap.test");
    let soa = || RecordSet::of("trap.test", "trap.test", Rtype::SOA);
    for (records, salts) in [(25, 1), (28, 1), (25, 25), (60, 60), (60, 5), (100, 100)] {
        for nxdomain in [false, true] {
            let empty = if nxdomain { Forged::new().nxdomain() } else { Forged::new() };
            let forged = (0..records).map(|n| nsec3(&format!("x{n}.trap.test"), n % salts, 100));
            let forged = forged.fold(empty.authority(soa()), Forged::authority);
            world.clear_faults();
            world.add_fault(&name, Fault::Answers(forged)).unwrap();
            let run = run(&world, &name);
            // No denial, and with many salts or records not even looked for.
            let few = usize::from(records) <= MAX_PROOFS;
            assert!(is_too_costly(&run) || few && run.code() == "B", "{}", run.tell());
        }
    }
    world.clear_faults();
    assert_eq!(run(&world, &name).code(), "SX");
}

// SEC-14: sections and RRsets of any size.
#[tokio::test]
async fn large_answers() {
    let world = world().zone(trap()).start().await.unwrap();
    let records = |count: usize| (0..count).map(|n| format!("3 1 1 {n:064x}")).collect::<Vec<_>>();
    for (count, found) in [(60, 60), (64, 64), (65, 65), (400, 65)] {
        world.set_tlsa(TRAP, &records(count), 300).unwrap();
        let run = run(&world, TRAP);
        assert_eq!(run.code(), "S", "{count}: {}", run.tell());
        let Found::Records(records) = run.proof.found else { panic!("{count}") };
        // One more than can be of use, so that the excess is seen.
        assert_eq!(records.len(), found);
    }
    world.set_tlsa(TRAP, &records(1000), 300).unwrap();
    assert!(is_too_costly(&run(&world, TRAP)));
    world.set_tlsa(TRAP, &records(1), 300).unwrap();
    assert_eq!(run(&world, TRAP).code(), "S");
    // One record again and again; many records of nobody.
    for set in [
        RecordSet::text(&vec![format!("{TRAP} 300 IN TLSA 3 1 1 {:064x}\n", 0); 1000].concat()),
        RecordSet::text(&(0..1000).map(|n| format!("x.trap.test 300 IN TXT {n}\n")).collect::<String>()),
    ] {
        for forged in
            [Forged::new().answer(set.clone()), Forged::new().authority(set.clone()), Forged::new().additional(set)]
        {
            world.clear_faults();
            world.add_fault(TRAP, Fault::Adds(forged)).unwrap();
            let run = run(&world, TRAP);
            assert!(run.code() == "S" || is_too_costly(&run), "{}", run.tell());
        }
    }
}

// SEC-14: aliases without end, with genuine signatures, in one zone and across two.
#[tokio::test]
async fn endless_aliases() {
    let world = world()
        .zone(trap().dname("loop.trap.test", "loop.loop.trap.test", 300).text(
            "self 300 IN CNAME self.trap.test.\n\
             *.ping 300 IN CNAME x.ping.pong.test.\n",
        ))
        .zone(Zone::new("ping.test").dname("d.ping.test", "d.pong.test", 300))
        .zone(
            Zone::new("pong.test")
                .dname("d.pong.test", "x.d.ping.test", 300)
                .text("*.ping 300 IN CNAME y.ping.trap.test."),
        )
        .cut_aliases(60)
        .start()
        .await
        .unwrap();
    for name in ["dev1.loop.trap.test", "self.trap.test", "dev1.d.ping.test", "dev1.d.pong.test", "a.ping.trap.test"] {
        for fault in [None, Some(Fault::AliasOnly)] {
            world.clear_faults();
            let only = fault.is_some();
            if let Some(fault) = fault {
                world.add_server_fault(fault).unwrap();
            }
            let run = run(&world, name);
            let failure = run.proof.failure.as_ref().and_then(Failure::lookup_failure);
            // Where the resolver does not follow, the proof does not either: that there is nothing is not proven.
            let right = if only { ["B", "T"].contains(&run.code()) } else { run.code() == "T" };
            assert!(right, "{name}: {}", run.tell());
            if run.code() == "T" && failure != Some(LookupFailure::AliasLimit) {
                // The resolver gave up itself: too many links, or a name that became too long.
                let gave_up = [Some(LookupFailure::Servfail), Some(LookupFailure::Refused)];
                assert!(gave_up.contains(&failure), "{name}: {}", run.tell());
            }
            // One TLSA question, and no more.
            let tlsa = run.rounds.iter().flatten().filter(|question| question.rtype == Rtype::TLSA);
            assert_eq!(tlsa.count(), 1);
        }
    }
}

// SEC-14: zones below zones, and names that could be zones.
#[tokio::test]
async fn deep_trees() {
    let mut builder = world();
    let mut apex = "test".to_owned();
    for depth in 3..=MAX_ZONES + 4 {
        apex = format!("z{depth}.{apex}");
        builder = builder.zone(Zone::new(&apex).tlsa(&format!("dev1.{apex}"), RECORD, 300));
    }
    let world =
        builder.zone(Zone::unsigned("plain.test").tlsa(&deep("plain.test"), RECORD, 300)).start().await.unwrap();
    // Root, test, and so on.
    let at_depth = |zones: usize| {
        let suffix: Vec<String> = (3..=zones).rev().map(|depth| format!("z{depth}")).collect();
        format!("dev1.{}.test", suffix.join("."))
    };
    assert_eq!(run(&world, &at_depth(8)).code(), "S");
    assert_eq!(run(&world, &at_depth(MAX_ZONES)).code(), "S");
    assert!(is_too_costly(&run(&world, &at_depth(MAX_ZONES + 4))));
    // Many labels in one zone are no zones, signed or not.
    let name = deep("good.test");
    assert_eq!(run(&world, &name).code(), "SX");
    assert_eq!(run(&world, &deep("plain.test")).code(), "I");
}

// SEC-14: signatures in the names of all that could have signed.
#[tokio::test]
async fn many_signers() {
    let world = world().zone(trap()).start().await.unwrap();
    let name = deep("trap.test");
    let suffixes: Vec<&str> = (0..100).map(|n| &name[2 * n..]).collect();
    let set = RecordSet::text(&format!("{name} 300 IN TLSA {RECORD}"));
    let by = |signer: &str| Sign::by("trap.test").signer(signer);
    let forged = suffixes.iter().fold(set, |set, signer| set.signed(by(signer)));
    world.add_fault(&name, Fault::Answers(Forged::new().answer(forged))).unwrap();
    let many = run(&world, &name);
    assert!(["B", "T"].contains(&many.code()), "{}", many.tell());
    // Two that are no zones are passed over, for a third there is no patience.
    let name = "dev1.a.b.c.trap.test";
    let set = || RecordSet::text(&format!("{name} 300 IN TLSA {RECORD}"));
    for (strangers, good) in [(0, true), (2, true), (3, false)] {
        let signers = ["a.b.c.trap.test", "b.c.trap.test", "c.trap.test"].into_iter().take(strangers);
        let set = signers.chain(["trap.test"]).fold(set(), |set, signer| set.signed(by(signer)));
        world.clear_faults();
        world.add_fault(name, Fault::Answers(Forged::new().answer(set))).unwrap();
        let run = run(&world, name);
        assert!(if good { run.code() == "S" } else { is_too_costly(&run) }, "{}", run.tell());
    }
}
