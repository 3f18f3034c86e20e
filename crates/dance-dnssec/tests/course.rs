//! The course of a proof: how many steps and questions it takes, what it leaves for the next, and whom it blames for silence.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{Prover, RECORD, after, name};
use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_dnssec::{Failure, Question, Step, ZoneKind};
use dance_testkit::{Delegation, SignedWorld, WorldBuilder, Zone};
use domain::base::iana::Rtype;

fn filled(zone: Zone) -> Zone {
    zone.text(&format!(
        "$TTL 300\ndev1._device IN TLSA {RECORD}\ndev2._device IN TLSA {RECORD}\ndev3 IN TLSA {RECORD}\n"
    ))
}

fn three_deep() -> WorldBuilder {
    SignedWorld::builder().zone(Zone::new("test")).zone(filled(Zone::new("example.test")))
}

fn asked(rounds: &[Vec<Question>]) -> Vec<String> {
    rounds.iter().flatten().map(ToString::to_string).collect()
}

#[tokio::test]
async fn questions_are_asked_side_by_side() {
    let world = three_deep().start().await.unwrap();
    let mut prover = Prover::new(&world);
    let cold = prover.run("dev1._device.example.test");
    assert_eq!((cold.code(), cold.rounds.len(), cold.questions()), ("S", 1, 6), "{}", cold.tell());
    assert_eq!(
        cold.proof.zones.iter().map(|link| format!("{} {}", link.zone, link.rtype)).collect::<Vec<_>>(),
        [". DNSKEY", "test DS", "test DNSKEY", "example.test DS", "example.test DNSKEY"]
    );
    assert_eq!(cold.proof.cost.signatures, 6);
    // Its zone is known: nothing but the question itself, and one signature.
    let warm = prover.run("dev2._device.example.test");
    assert_eq!((warm.code(), asked(&warm.rounds)), ("S", vec!["dev2._device.example.test TLSA".to_owned()]));
    assert_eq!(warm.proof.cost.signatures, 1);
    assert_eq!(warm.proof.zones, cold.proof.zones);
    let freeform = prover.run("dev3.example.test");
    assert_eq!((freeform.code(), freeform.questions()), ("S", 1));
}

#[tokio::test]
async fn a_cold_look_up_takes_two_steps_at_most() {
    let record = format!("$TTL 300\ndev1 IN TLSA {RECORD}\n");
    let world = three_deep()
        .zone(Zone::new("_device.plant.example.test").text(&record))
        .zone(Zone::new("a.b.c.d.e.test").text(&record))
        .zone(Zone::unsigned("open.example.test").text(&record))
        .zone(Zone::new("to.test").text("dev1 IN CNAME dev1._device.example.test.\n"))
        .start()
        .await
        .unwrap();
    for (owner, code) in [
        ("dev1._device.plant.example.test", "S"),
        ("dev1.a.b.c.d.e.test", "S"),
        ("dev1.open.example.test", "I"),
        ("dev1.to.test", "S"),
        ("nosuch.example.test", "SX"),
    ] {
        let run = Prover::new(&world).run(owner);
        assert_eq!(run.code(), code, "{owner}: {}", run.tell());
        assert!(run.rounds.len() <= 2, "{owner}: {}", run.tell());
    }
}

// DNS-05: the zones lie side by side below a name that is none; a proof for one teaches about that name, and must not mislead the other.
#[tokio::test]
async fn zones_side_by_side_below_a_name_that_is_no_zone() {
    let world = SignedWorld::builder()
        .zone(filled(Zone::new("a.example")).text("alias._device IN CNAME dev1._device.b.example.\n"))
        .zone(filled(Zone::new("b.example")))
        .start()
        .await
        .unwrap();
    let mut prover = Prover::new(&world);
    let alias = prover.run("alias._device.a.example");
    assert_eq!(alias.code(), "S", "{}", alias.tell());
    assert_eq!(prover.memory.0[&name("example")].kind(), ZoneKind::NotAZone);
    assert_eq!(prover.memory.0[&name("b.example")].kind(), ZoneKind::Keys);
    let warm = prover.run("dev1._device.b.example");
    assert_eq!((warm.code(), warm.questions()), ("S", 1), "{}", warm.tell());
    let denied = prover.run("nx.b.example");
    assert_eq!((denied.code(), denied.questions()), ("SX", 1), "{}", denied.tell());
}

#[tokio::test]
async fn facts_are_what_the_world_says() {
    let world = three_deep()
        .zone(filled(Zone::unsigned("open.test")))
        .zone(filled(Zone::new("broken.test").delegation(Delegation::WrongDs)))
        .start()
        .await
        .unwrap();
    let mut prover = Prover::new(&world);
    for owner in ["dev1._device.example.test", "dev1._device.open.test", "dev1._device.broken.test"] {
        prover.run(owner);
    }
    let kind = |zone: &str| prover.memory.0.get(&name(zone)).map(|fact| fact.kind());
    assert_eq!(kind(""), Some(ZoneKind::Keys));
    assert_eq!(kind("test"), Some(ZoneKind::Keys));
    assert_eq!(kind("example.test"), Some(ZoneKind::Keys));
    assert_eq!(kind("open.test"), Some(ZoneKind::Unsigned));
    assert_eq!(kind("broken.test"), Some(ZoneKind::Failed));
    for fact in prover.memory.0.values() {
        assert!(fact.is_usable(prover.now) && fact.octets() > 0);
        let kept = fact.good_until().as_secs() - prover.now.as_secs();
        assert!(kept <= if fact.kind() == ZoneKind::Failed { 5 } else { 3600 }, "{fact:?}");
    }
    // What is known to be broken is not tried again, nor is what is known to be open.
    let broken = prover.run("dev2._device.broken.test");
    assert_eq!((broken.code(), broken.questions(), broken.proof.cost.signatures), ("B", 1, 0));
    let open = prover.run("dev2._device.open.test");
    assert_eq!((open.code(), open.questions(), open.proof.cost.signatures), ("I", 1, 0));
}

// DNS-10: what is not answered matters only if the proof needs it.
#[tokio::test]
async fn silence() {
    let world = three_deep().start().await.unwrap();
    let mut prover = Prover::new(&world);
    prover.instead.insert((name("example.test"), Rtype::DNSKEY), Err(LookupFailure::Timeout));
    let run = prover.run("dev1._device.example.test");
    let question = Question { name: name("example.test"), rtype: Rtype::DNSKEY };
    assert_eq!(run.proof.failure, Some(Failure::LookUp { question, failure: LookupFailure::Timeout }));
    assert!(matches!(run.proof.to_answer(prover.now), TlsaAnswer::Indeterminate(LookupFailure::Timeout)));
    assert!(!prover.memory.0.contains_key(&name("example.test")));
    prover.instead.clear();
    assert_eq!(prover.run("dev1._device.example.test").code(), "S");

    // Asked on suspicion, and not needed: `example.test` is a zone, `plant.example.test` is not.
    let mut prover = Prover::new(&world);
    prover.instead.insert((name("plant.example.test"), Rtype::DS), Err(LookupFailure::Servfail));
    prover.instead.insert((name("plant.example.test"), Rtype::DNSKEY), Err(LookupFailure::Timeout));
    let run = prover.run("dev1._device.plant.example.test");
    assert_eq!(run.code(), "SX", "{}", run.tell());

    prover.instead.insert((name("dev1._device.example.test"), Rtype::TLSA), Err(LookupFailure::Refused));
    let run = prover.run("dev1._device.example.test");
    assert!(matches!(run.proof.to_answer(prover.now), TlsaAnswer::Indeterminate(LookupFailure::Refused)));
}

// SEC-01: the zone that stays silent is found, and no other is blamed.
#[tokio::test]
async fn the_silent_zone_is_found() {
    let world = three_deep().zone(Zone::unsigned("open.test")).start().await.unwrap();
    let silent = |owner: &str, prover: &Prover<'_>, mute: &[&str]| {
        let mut proving = prover.proving(owner);
        let answer = |questions: Vec<Question>, proving: &mut dance_dnssec::Proving| {
            for question in questions {
                // The servers of a zone answer for what is in it, and for the DS of zones below it.
                let zone = match question.rtype {
                    Rtype::DS => question.name.parent().unwrap(),
                    _ => question.name.clone(),
                };
                if !mute.iter().any(|mute| zone.ends_with(&name(mute))) {
                    proving.reply(&question, &prover.ask(&question).unwrap());
                }
            }
        };
        let Step::Ask(questions) = proving.step(prover.now, &prover.memory) else { panic!() };
        answer(questions, &mut proving);
        let Step::Ask(questions) = proving.step(prover.now, &prover.memory) else { panic!() };
        answer(questions, &mut proving);
        let before = proving.slow_zone(prover.now, &prover.memory);
        let located = proving.locate(prover.now, &prover.memory);
        let count = located.len();
        answer(located, &mut proving);
        (before, count, proving.slow_zone(prover.now, &prover.memory))
    };
    let cold = Prover::new(&world);
    // The DS is there and the keys are not: no more is needed to know.
    let zone = Some(name("example.test"));
    assert_eq!(silent("dev1._device.example.test", &cold, &["example.test"]), (zone.clone(), 0, zone.clone()));
    assert_eq!(silent("dev1._device.open.test", &cold, &["open.test"]).2, Some(name("open.test")));
    // With the keys known, a zone could begin below: that has to be asked.
    let mut warm = Prover::new(&world);
    warm.run("dev1._device.example.test");
    assert_eq!(silent("dev2._device.example.test", &warm, &["example.test"]), (None, 2, zone));
    // The resolver itself is silent: nobody is blamed.
    assert_eq!(silent("dev1._device.example.test", &cold, &[""]).2, None);
    let fresh = Prover::new(&world);
    let mut proving = fresh.proving("dev1._device.example.test");
    assert_eq!(proving.slow_zone(after(fresh.now, 0), &fresh.memory), None);
}

// DNS-03
#[tokio::test]
async fn without_anchor_nothing_is_proven() {
    let world = three_deep().start().await.unwrap();
    let elsewhere = world.trust_anchor_text().replace(". ", "elsewhere. ");
    let mut prover = Prover::new(&world).with_anchors(&elsewhere);
    let run = prover.run("dev1._device.example.test");
    assert_eq!(run.proof.failure, Some(Failure::NoTrustAnchor { owner: name("dev1._device.example.test") }));
    assert!(matches!(run.proof.to_answer(prover.now), TlsaAnswer::Indeterminate(LookupFailure::NoTrust)));
    // A DS in place of the key will do, and a wrong one will not.
    assert_eq!(
        Prover::new(&world).with_anchors(world.trust_anchor_ds_text()).run("dev1._device.example.test").code(),
        "S"
    );
    let wrong = ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D";
    let run = Prover::new(&world).with_anchors(wrong).run("dev1._device.example.test");
    assert_eq!((run.code(), run.proof.failure), ("B", Some(Failure::NoKeyForDs { zone: name("") })));
}
