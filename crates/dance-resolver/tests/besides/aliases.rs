//! Aliases, and records that have no business in an answer.

use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_testkit::{Fault, Forged, RecordSet, Rtype, Sign, Zone};

use crate::common::{RECORD, code, secure};
use crate::{Case, NAME, ZONE, check, filled, fresh, just, made_up, soa, world};

const ALIAS: &str = "alias._device.example.test";
const OTHER: &str = "dev1._device.other.test";

fn good() -> Sign {
    Sign::by(ZONE)
}

/// An alias to elsewhere, without signature.
fn alias(name: &str, target: &str) -> RecordSet {
    RecordSet::text(&format!("{name} 300 IN CNAME {target}."))
}

fn of(zone: &str, name: &str, rtype: Rtype) -> RecordSet {
    RecordSet::of(zone, name, rtype)
}

// DNS-05: an alias leads to one place, and stands alone at its name.
#[tokio::test]
async fn shapes() {
    let world = world().start().await.unwrap();
    let two = RecordSet::text(&format!("{ALIAS} 300 IN CNAME {NAME}.\n{ALIAS} 300 IN CNAME {OTHER}.")).signed(good());
    let both = |set| Forged::new().answer(set).answer(of(ZONE, NAME, Rtype::TLSA));
    let signed = |target| alias(ALIAS, target).signed(good());
    let cases = vec![
        Case::of("made by hand", ALIAS, Fault::Answers(both(signed(NAME))), "S"),
        Case::of("two targets", ALIAS, Fault::Answers(both(two.clone())), "B/T"),
        Case::of(
            "two targets, both answered",
            ALIAS,
            Fault::Answers(both(two).answer(of("other.test", OTHER, Rtype::TLSA))),
            "B/T",
        ),
        Case::of(
            "a record beside it",
            ALIAS,
            Fault::Answers(both(signed(NAME)).answer(made_up(ALIAS).signed(good()))),
            "B/T",
        ),
        Case::of("unsigned, to a signed name", ALIAS, Fault::Answers(both(alias(ALIAS, NAME))), "B"),
        Case::of(
            "unsigned, to another zone",
            ALIAS,
            Fault::Answers(Forged::new().answer(alias(ALIAS, OTHER)).answer(of("other.test", OTHER, Rtype::TLSA))),
            "B",
        ),
        Case::of(
            "signed, to an unsigned record",
            ALIAS,
            Fault::Answers(Forged::new().answer(signed(NAME)).answer(of(ZONE, NAME, Rtype::TLSA).unsigned())),
            "B",
        ),
        Case::of(
            "signed, with another name's record",
            ALIAS,
            Fault::Answers(Forged::new().answer(signed(NAME)).answer(of("other.test", OTHER, Rtype::TLSA))),
            "B/T",
        ),
        Case::of("to itself", ALIAS, just(signed(ALIAS)), "T/B"),
        Case::of("not followed", ALIAS, Fault::AliasOnly, "B/T"),
        Case::of("not there, only its target", ALIAS, just(of(ZONE, NAME, Rtype::TLSA)), "B/T"),
        Case::of("the other way round", ALIAS, Fault::Reversed, "S"),
        Case::of(
            "its target first",
            ALIAS,
            Fault::Answers(Forged::new().answer(of(ZONE, NAME, Rtype::TLSA)).answer(signed(NAME))),
            "S",
        ),
    ];
    check(&world, ALIAS, "S", cases).await;
    // A name that has records has no alias, signed or not.
    let besides = |set| Fault::Adds(Forged::new().answer(set));
    let cases = vec![
        Case::of("an alias besides", NAME, besides(alias(NAME, OTHER).signed(good())), "B/T"),
        Case::of("an unsigned alias besides", NAME, besides(alias(NAME, OTHER)), "B/T"),
        Case::of("an unsigned alias in place of the records", NAME, just(alias(NAME, OTHER)), "B/T"),
    ];
    check(&world, NAME, "S", cases).await;
}

// DNS-05: what a DNAME makes of a name is not for the resolver to say.
#[tokio::test]
async fn trees() {
    let name = "dev1.tree.dn.test";
    let long: String = (0..3).map(|_| format!("{}.", "x".repeat(60))).collect();
    let world = world()
        .zone(Zone::new("dn.test").dname("tree.dn.test", "_device.example.test", 300).dname(
            "long.dn.test",
            &format!("{long}example.test"),
            300,
        ))
        .start()
        .await
        .unwrap();
    let dname = || of("dn.test", "tree.dn.test", Rtype::DNAME);
    let forged = |sets: Vec<RecordSet>| Fault::Answers(sets.into_iter().fold(Forged::new(), Forged::answer));
    let tlsa = || of(ZONE, NAME, Rtype::TLSA);
    let elsewhere = || of("other.test", OTHER, Rtype::TLSA);
    let cases = vec![
        Case::of("made by hand", name, forged(vec![dname(), alias(name, NAME), tlsa()]), "S"),
        Case::of("another alias", name, forged(vec![dname(), alias(name, OTHER), elsewhere()]), "B/T"),
        Case::of(
            "another signed alias",
            name,
            forged(vec![dname(), alias(name, OTHER).signed(Sign::by("other.test")), elsewhere()]),
            "B/T",
        ),
        Case::of(
            "two aliases",
            name,
            forged(vec![dname(), alias(name, NAME), alias(name, OTHER), tlsa(), elsewhere()]),
            "B/T",
        ),
        Case::of("unsigned", name, forged(vec![dname().unsigned(), alias(name, NAME), tlsa()]), "B"),
        Case::of("only what it makes", name, forged(vec![alias(name, NAME), tlsa()]), "B"),
        Case::of(
            "in place of the one that is there",
            name,
            forged(vec![
                RecordSet::text("tree.dn.test 300 IN DNAME _device.other.test."),
                alias(name, OTHER),
                elsewhere(),
            ]),
            "B",
        ),
        // Some leave it to the asker: then that has to do it rightly, or not at all.
        Case::of("without what it makes", name, forged(vec![dname(), tlsa()]), "S/B/T"),
        Case::of("without what it makes, to elsewhere", name, forged(vec![dname(), elsewhere()]), "B/T"),
    ];
    check(&world, name, "S", cases).await;
    // Too long a name: YXDOMAIN, or whatever else a resolver makes of it.
    let name = format!("{}.long.dn.test", "y".repeat(60));
    let lookup = fresh(&world, &name).await;
    assert!(matches!(lookup.answer, TlsaAnswer::Indeterminate(LookupFailure::Refused)), "{lookup:?}");
    world.add_fault(&name, just(of("dn.test", "long.dn.test", Rtype::DNAME))).unwrap();
    let found = fresh(&world, &name).await;
    assert!(["B", "T"].contains(&code(&found)), "{found:?}");
}

// SEC-14, DNS-11: what does not belong to the answer is not looked at.
#[tokio::test]
async fn records_besides() {
    let world = world().start().await.unwrap();
    let besides = |forged| Case::of("besides", NAME, Fault::Adds(forged), "S");
    let other = || of("other.test", OTHER, Rtype::TLSA);
    let forged = || made_up("dev1._device.victim.test");
    let cases = vec![
        besides(Forged::new().authority(other())),
        besides(Forged::new().additional(other())),
        besides(Forged::new().authority(forged()).additional(forged())),
        besides(Forged::new().authority(RecordSet::text("example.test 300 IN NS ns.elsewhere.test."))),
        besides(Forged::new().additional(RecordSet::text("ns.elsewhere.test 300 IN A 192.0.2.1"))),
        besides(Forged::new().authority(soa("other.test"))),
        besides(Forged::new().additional(of("other.test", "other.test", Rtype::DNSKEY))),
        besides(Forged::new().additional(of("test", ZONE, Rtype::DS).unsigned())),
        // In the answer section they may be too much.
        Case::of("another name's", NAME, Fault::Adds(Forged::new().answer(other())), "S/T"),
        Case::of("another name's unsigned", NAME, Fault::Adds(Forged::new().answer(forged())), "S/T"),
        Case::of(
            "another type's",
            NAME,
            Fault::Adds(Forged::new().answer(RecordSet::text(&format!("{NAME} 300 IN A 192.0.2.1")))),
            "S/T",
        ),
        Case::of("of class CH", NAME, Fault::Adds(Forged::new().answer(made_up(NAME).chaos())), "S/T"),
        Case::of("nothing but class CH", NAME, just(of(ZONE, NAME, Rtype::TLSA).chaos()), "B/T"),
        Case::of("signed in class CH", NAME, just(made_up(NAME).signed(good()).chaos()), "B/T"),
    ];
    check(&world, NAME, "S", cases).await;
    // Whatever was let in: it is not in the answer.
    for fault in [
        Fault::Adds(Forged::new().answer(other())),
        Fault::Adds(Forged::new().answer(made_up(NAME).chaos())),
        Fault::Adds(Forged::new().additional(made_up(NAME).signed(good()))),
    ] {
        world.clear_faults();
        world.add_fault(NAME, fault).unwrap();
        if let TlsaAnswer::Secure(found) = fresh(&world, NAME).await.answer {
            assert_eq!(found.records.len(), 1);
            assert_eq!(found.records[0].to_string(), RECORD);
        }
    }
    // Nor is it remembered: a name that was slipped in is asked for.
    world.clear_faults();
    world.add_fault(NAME, Fault::Adds(Forged::new().authority(other()).additional(forged()))).unwrap();
    let resolver = crate::common::resolver(&world);
    use dance_resolver::TlsaSource as _;
    for name in [NAME, OTHER, "dev1._device.victim.test"] {
        resolver.lookup(&crate::owner(name)).await;
    }
    assert_eq!(world.tlsa_queries().iter().filter(|name| **name == OTHER).count(), 1);
    assert_eq!(world.tlsa_queries().iter().filter(|name| **name == "dev1._device.victim.test").count(), 1);
}

// SEC-14: records that are no TLSA records by their length are as well signed as others; that they are of no use is the core's to say.
#[tokio::test]
async fn short_records() {
    let name = "odd._device.example.test";
    let world = world().zone(filled(Zone::new("odd.test"))).start().await.unwrap();
    let short = |octets: &[u8]| dance_core::tlsa::TlsaRdata::from_wire(octets);
    let whole = short(&[3, 1, 1, 1, 2, 3]);
    for records in [
        vec![whole.clone(), short(&[3, 1])],
        vec![whole.clone(), short(&[]), short(&[3])],
        vec![short(&[]), whole.clone(), short(&[0; 600])],
        vec![short(&[3, 1])],
    ] {
        world.set_tlsa(name, &records, 300).unwrap();
        let found = secure(&fresh(&world, name).await);
        assert_eq!(found.records.len(), records.len());
        assert!(records.iter().all(|record| found.records.contains(record)), "{found:?}");
    }
}
