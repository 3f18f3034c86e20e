//! Signatures over the answer.

use dance_core::answer::TlsaAnswer;
use dance_resolver::now;
use dance_testkit::{Denial, Fault, Forged, KeyKind, KeyRole, RecordSet, Rtype, Sign, Zone};

use crate::common::{RECORD, secure};
use crate::{Case, NAME, ZONE, check, filled, fresh, is_right, just, made_up, neighbours, soa, world};

fn signed(sign: Sign) -> Fault {
    just(made_up(NAME).signed(sign))
}

fn good() -> Sign {
    Sign::by(ZONE)
}

// DNS-01: a signature counts if a key of the zone made it, and the zone is at or above the name.
#[tokio::test]
async fn by_whom() {
    let world = world().start().await.unwrap();
    let cases = vec![
        Case::of("by the zone", NAME, signed(good()), "S"),
        // The parent could as well change the DS. Validators differ: RFC 4035 section 5.3.1 has the zone itself sign.
        Case::of("by the parent", NAME, signed(Sign::by("test")), "S/B"),
        Case::of("by the parent in the zone's name", NAME, signed(Sign::by("test").signer(ZONE)), "B"),
        Case::of("by the root in the zone's name", NAME, signed(Sign::by(".").signer(ZONE)), "B"),
        Case::of("by a sibling", NAME, signed(Sign::by("other.test")), "B"),
        Case::of("by a sibling in the zone's name", NAME, signed(Sign::by("other.test").signer(ZONE)), "B"),
        Case::of("by a sibling in the parent's name", NAME, signed(Sign::by("other.test").signer("test")), "B"),
        Case::of("by a child", NAME, signed(Sign::by("sub.example.test")), "B"),
        Case::of("in the name of no zone", NAME, signed(good().signer("_device.example.test")), "B"),
        Case::of("in the owner's name", NAME, signed(good().signer(NAME)), "B"),
        Case::of("by nobody", NAME, just(made_up(NAME)), "B"),
        Case::of("in another key's name", NAME, signed(good().key_tag(1)), "B"),
    ];
    check(&world, NAME, "S", cases).await;
}

// DNS-01, DNS-07: the label count is that of the owner, or of a wildcard with its proof.
#[tokio::test]
async fn labels() {
    let world = world().start().await.unwrap();
    let new = "new._device.example.test";
    let no_closer = RecordSet::covering(ZONE, new);
    let wildcard = Forged::new().answer(made_up(new).signed(good().labels(3)));
    check(
        &world,
        NAME,
        "S",
        vec![
            Case::of("one too many", NAME, signed(good().labels(5)), "B"),
            Case::of("far too many", NAME, signed(good().labels(255)), "B"),
            Case::of("one too few, an existing name", NAME, signed(good().labels(3)), "B"),
            Case::of("as many as the zone's", NAME, signed(good().labels(2)), "B"),
            Case::of("fewer than the zone's", NAME, signed(good().labels(1)), "B"),
            Case::of("none", NAME, signed(good().labels(0)), "B"),
            Case::of(
                "a wildcard with a denial of another name",
                NAME,
                Fault::Answers(
                    Forged::new().answer(made_up(NAME).signed(good().labels(3))).authority(no_closer.clone()),
                ),
                "B",
            ),
        ],
    )
    .await;
    // No such wildcard is in the zone, and none has to be: the zone signs that there is one.
    check(
        &world,
        new,
        "SX",
        vec![
            Case::of("a wildcard without proof", new, Fault::Answers(wildcard.clone()), "B"),
            Case::of("a wildcard with proof", new, Fault::Answers(wildcard.authority(no_closer)), "S"),
        ],
    )
    .await;
}

// DNS-01: right signatures, and the wrong records, name or number of them.
#[tokio::test]
async fn over_what() {
    let two = "two._device.example.test";
    let world = world()
        .zone(filled(Zone::new("more.test")).tlsa("two.more.test", RECORD, 300).tlsa("two.more.test", "3 1 1 00", 300))
        .start()
        .await
        .unwrap();
    world.set_tlsa(two, &[RECORD, "3 1 1 00"], 300).unwrap();
    let other = "exact._wild.example.test";
    let of = |name| RecordSet::of(ZONE, name, Rtype::TLSA);
    let extra = || Fault::Adds(Forged::new().answer(made_up(NAME)));
    let again = Fault::Adds(Forged::new().answer(of(NAME).unsigned()));
    let cases = vec![
        Case::of("another owner", NAME, Fault::OtherOwner(other.into()), "B/T"),
        Case::of("another name's records", NAME, Fault::RecordsOf(other.into()), "B"),
        Case::of("one changed", NAME, Fault::TamperedRdata, "B"),
        Case::of("one more", NAME, extra(), "B"),
        Case::of("one more, first", NAME, extra(), "B").and(Fault::Reversed),
        Case::of("the same once more", NAME, again, "S"),
        Case::of(
            "another zone's",
            NAME,
            just(RecordSet::of("other.test", "dev1._device.other.test", Rtype::TLSA)),
            "B/T",
        ),
        Case::of(
            "another zone's under this name",
            NAME,
            just(RecordSet::of("other.test", "dev1._device.other.test", Rtype::TLSA).under(NAME)),
            "B",
        ),
        Case::of(
            "another type's signature",
            NAME,
            Fault::Answers(
                Forged::new()
                    .answer(of(NAME).unsigned())
                    .answer(RecordSet::of(ZONE, "nodata._device.example.test", Rtype::TXT).under(NAME)),
            ),
            "B/T",
        ),
    ];
    check(&world, NAME, "S", cases).await;
    // One of two records is missing.
    let fewer = RecordSet::text(&format!("{two} 300 IN TLSA {RECORD}"));
    let signatures = Fault::Adds(Forged::new().answer(of(two)));
    let both = vec![Case::of("one of two, with a signature over one", two, just(fewer.clone().signed(good())), "S")];
    check(&world, two, "S", both).await;
    world.add_fault(two, just(fewer)).unwrap();
    assert!(matches!(fresh(&world, two).await.answer, TlsaAnswer::Bogus));
    // With what was left out added again it is whole: the second copy of a record does no harm.
    world.add_fault(two, signatures).unwrap();
    assert_eq!(secure(&fresh(&world, two).await).records.len(), 2);
}

// DNS-01: one good signature is enough, wherever it stands.
#[tokio::test]
async fn several_side_by_side() {
    let world = world().start().await.unwrap();
    let expired = || good().times(-2000, -1000);
    let future = || good().times(1000, 2000);
    let set = |signs: Vec<Sign>| just(signs.into_iter().fold(made_up(NAME), RecordSet::signed));
    let cases = vec![
        Case::of("expired, good", NAME, set(vec![expired(), good()]), "S"),
        Case::of("good, expired", NAME, set(vec![good(), expired()]), "S"),
        Case::of("future, good, expired", NAME, set(vec![future(), good(), expired()]), "S"),
        Case::of("spoilt, good", NAME, set(vec![good().spoilt(), good()]), "S"),
        Case::of("good, spoilt", NAME, set(vec![good(), good().spoilt()]), "S"),
        Case::of("by a sibling, good", NAME, set(vec![Sign::by("other.test"), good()]), "S"),
        Case::of("of an unknown algorithm, good", NAME, set(vec![good().algorithm(200), good()]), "S"),
        Case::of("of an unknown key, good", NAME, set(vec![good().key_tag(1), good()]), "S"),
        Case::of("in a child's name, good", NAME, set(vec![Sign::by("sub.example.test"), good()]), "S"),
        Case::of("expired", NAME, set(vec![expired()]), "B"),
        Case::of("future", NAME, set(vec![future()]), "B"),
        Case::of("expired, future", NAME, set(vec![expired(), future()]), "B"),
        Case::of("expired, spoilt", NAME, set(vec![expired(), good().spoilt()]), "B"),
        Case::of(
            "spoilt, in no zone's name",
            NAME,
            set(vec![good().spoilt(), good().signer("_device.example.test")]),
            "B",
        ),
        Case::of("spoilt, in the parent's name", NAME, set(vec![good().spoilt(), good().signer("test")]), "B"),
        Case::of("an end before its beginning", NAME, set(vec![good().times(100, -100)]), "B"),
        Case::of("of an unknown algorithm", NAME, set(vec![good().algorithm(200)]), "B"),
        Case::of("of a supported algorithm that the zone has no key of", NAME, set(vec![good().algorithm(15)]), "B"),
        Case::of("of a retired algorithm", NAME, set(vec![good().algorithm(5)]), "B"),
    ];
    check(&world, NAME, "S", cases).await;
}

// DNS-01: large and small letters are one in owners, in aliases and in signers' names, and stay apart in NSEC (RFC 6840 section 5.1).
#[tokio::test]
async fn letters() {
    let zone = filled(Zone::new(ZONE)).text(&format!(
        "$TTL 300\n\
         UPPER._Device IN TLSA {RECORD}\n\
         toupper._device IN CNAME Upper._DEVICE.Example.TEST.\n\
         Tree IN DNAME _Device\n\
         O-Text._device IN TXT x\n"
    ));
    for denial in [Denial::Nsec, Denial::nsec3()] {
        let world = neighbours().zone(zone.clone().denial(denial)).start().await.unwrap();
        for (name, expected) in [
            ("upper._device.example.test", "S"),
            ("toupper._device.example.test", "S"),
            ("dev1.tree.example.test", "S"),
            ("upper.tree.example.test", "S"),
            ("o-text._device.example.test", "SN"),
            ("o-texu._device.example.test", "SX"),
            ("uppeq._device.example.test", "SX"),
            ("upps._device.example.test", "SX"),
        ] {
            let lookup = fresh(&world, name).await;
            assert!(is_right(&lookup, expected), "{name} should be {expected}: {lookup:?}");
        }
        let loud = "DEV1._Device.EXAMPLE.test";
        let cases = vec![
            Case::of("owner", NAME, just(RecordSet::of(ZONE, NAME, Rtype::TLSA).under(loud)), "S"),
            Case::of("signer", NAME, signed(good().signer("EXAMPLE.Test")), "S"),
        ];
        check(&world, NAME, "S", cases).await;
    }
}

// DNS-08: what was signed bounds what the message says of time, and the other way round.
#[tokio::test]
async fn time_to_live() {
    let world = world().start().await.unwrap();
    for (set, sign, at_most) in [
        (made_up(NAME), good(), 300),
        (made_up(NAME), good().original_ttl(60), 60),
        (made_up(NAME).ttl(3000), good(), 300),
        (made_up(NAME).ttl(30), good(), 30),
        (made_up(NAME).ttl(u32::MAX), good(), 300),
        (made_up(NAME), good().times(-100, 100), 100),
        (made_up(NAME), good().original_ttl(0), 0),
    ] {
        world.clear_faults();
        world.add_fault(NAME, just(set.clone().signed(sign.clone()))).unwrap();
        let before = now().as_secs();
        let left = secure(&fresh(&world, NAME).await).valid_until.as_secs().saturating_sub(before);
        assert!(left <= at_most + 1 && left + 2 >= at_most, "{left} {at_most}: {set:?} {sign:?}");
    }
}

// DNS-01: which of a zone's keys may sign its data. SEP is a hint and nothing more (RFC 4034 section 2.1.1).
#[tokio::test]
async fn which_key() {
    let keys = [
        (KeyKind::P256, KeyRole::Ksk),
        (KeyKind::P256, KeyRole::Zsk),
        (KeyKind::P256, KeyRole::Published),
        (KeyKind::P256, KeyRole::Retired),
        (KeyKind::P256, KeyRole::Revoked),
        (KeyKind::P256, KeyRole::NotForZones),
        (KeyKind::P256, KeyRole::OtherProtocol),
    ];
    let world = neighbours().zone(filled(Zone::new(ZONE)).keys(&keys)).start().await.unwrap();
    let by = |index| signed(good().key(index));
    let cases = vec![
        Case::of("the key signing key alone", NAME, by(0), "S"),
        Case::of("the zone signing key", NAME, by(1), "S"),
        Case::of("a published key", NAME, by(2), "S"),
        Case::of("a key that is not published", NAME, by(3), "B"),
        Case::of("a revoked key", NAME, by(4), "B"),
        Case::of("a key that is none for zones", NAME, by(5), "B"),
        Case::of("a key of another protocol", NAME, by(6), "B"),
    ];
    check(&world, NAME, "S", cases).await;
}

// DNS-01, DNS-03: the signature over a denial is one like any other.
#[tokio::test]
async fn over_a_denial() {
    let world = world().start().await.unwrap();
    let name = "nodata._device.example.test";
    let nsec = || RecordSet::of(ZONE, name, Rtype::NSEC);
    let with = |nsec| Fault::Answers(Forged::new().authority(soa(ZONE)).authority(nsec));
    let resigned = |sign| with(nsec().unsigned().signed(sign));
    let cases = vec![
        Case::of("as it is", name, with(nsec()), "SN"),
        Case::of("signed by hand", name, resigned(good()), "SN"),
        Case::of("spoilt", name, resigned(good().spoilt()), "B"),
        Case::of("expired", name, resigned(good().times(-2000, -1000)), "B"),
        Case::of("by a sibling", name, resigned(Sign::by("other.test")), "B"),
        Case::of("too many labels", name, resigned(good().labels(5)), "B"),
        Case::of("too few labels", name, resigned(good().labels(3)), "B"),
        Case::of("unsigned", name, with(nsec().unsigned()), "B"),
        Case::of("under another owner", name, with(RecordSet::of(ZONE, NAME, Rtype::NSEC).under(name)), "B"),
    ];
    check(&world, name, "SN", cases).await;
}
