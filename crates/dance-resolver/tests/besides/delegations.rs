//! Between parent and child: DS records, their denial, and the keys that they stand for.

use dance_testkit::{
    Delegation, Denial, DsForm, Fault, Forged, KeyKind, KeyRole, RecordSet, Rtype, Sign, SignedWorld, Zone,
};

use crate::common::{RECORD, code};
use crate::{Case, NAME, ZONE, check, filled, fresh, is_right, just, made_up, neighbours, soa, world, zone};

// DNS-01, DNS-03: every set of DS by itself.
#[tokio::test]
async fn forms_of_ds() {
    use DsForm::{Sha1, Sha256, Sha384, UnknownAlgorithm, UnknownDigest, WrongSha1, WrongSha256, WrongSha384};
    let cases: [(&'static [DsForm], &str); 19] = [
        (&[Sha1], "S"),
        (&[Sha256], "S"),
        (&[Sha384], "S"),
        (&[Sha1, Sha256, Sha384], "S"),
        (&[WrongSha1], "B"),
        (&[WrongSha256], "B"),
        (&[WrongSha384], "B"),
        // One that is right is enough.
        (&[WrongSha256, Sha256], "S"),
        (&[WrongSha256, Sha384], "S"),
        (&[Sha256, WrongSha384], "S"),
        (&[WrongSha1, Sha256], "S"),
        // But SHA-1 is none beside a stronger one, right or wrong (RFC 4509 section 3).
        (&[Sha1, WrongSha256], "B"),
        (&[Sha1, WrongSha384], "B"),
        // What is unknown is as if it were not there.
        (&[UnknownAlgorithm, Sha256], "S"),
        (&[UnknownDigest, Sha256], "S"),
        (&[UnknownDigest, WrongSha256], "B"),
        (&[UnknownDigest, Sha1], "S"),
        (&[UnknownAlgorithm, UnknownDigest], "I"),
        (&[], "I"),
    ];
    let world = world().start().await.unwrap();
    let mut wrong = Vec::new();
    for (forms, expected) in cases {
        world.set_delegation(ZONE, Delegation::Of(forms)).unwrap();
        let lookup = fresh(&world, NAME).await;
        if !is_right(&lookup, expected) {
            wrong.push(format!("{forms:?} should be {expected}: {lookup:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// DNS-01, DNS-03: what a parent does not say of a child.
#[tokio::test]
async fn denials_of_ds() {
    let world = world().start().await.unwrap();
    let denied = |nsec: RecordSet| Fault::Answers(Forged::new().authority(soa("test")).authority(nsec));
    let by_hand = |types: &str| RecordSet::text(&format!("{ZONE} 60 IN NSEC f.test. {types}"));
    let nsec = |types: &str| by_hand(types).signed(Sign::by("test"));
    let at = |what, fault, expected| Case::at(what, ZONE, Rtype::DS, fault, expected);
    let cases = || {
        vec![
            at("by the child's apex", denied(RecordSet::of(ZONE, ZONE, Rtype::NSEC)), "B"),
            at(
                "by the child's apex, all of it",
                {
                    Fault::Answers(Forged::new().authority(soa(ZONE)).authority(RecordSet::of(ZONE, ZONE, Rtype::NSEC)))
                },
                "B",
            ),
            at("by the parent's NSEC, which has a DS", denied(RecordSet::of("test", ZONE, Rtype::NSEC)), "B"),
            at("by another name's", denied(RecordSet::of("test", "insecure.test", Rtype::NSEC)), "B"),
            at(
                "by another name's under this one",
                denied(RecordSet::of("test", "insecure.test", Rtype::NSEC).under(ZONE)),
                "B",
            ),
            at("as if it did not exist", Fault::FalseNxDomain, "B"),
            at("by a signature of a sibling", denied(by_hand("NS RRSIG NSEC").signed(Sign::by("other.test"))), "B"),
            at("with SOA, by the parent", denied(nsec("NS SOA RRSIG NSEC")), "B"),
            at("with nothing", Fault::EmptyAnswer, "B"),
            at("without signature", Fault::StrippedSignatures, "B"),
            at("spoilt", Fault::TamperedRdata, "B"),
            at("not answered for", Fault::Servfail, "T"),
            at("refused", Fault::Refused, "T"),
            at("malformed", Fault::Malformed, "T/S"),
        ]
    };
    check(&world, NAME, "S", cases()).await;
    // The control: a parent that says that there is no DS is believed.
    let no_ds = vec![at("NS and no DS", denied(nsec("NS RRSIG NSEC")), "I")];
    check(&world, NAME, "S", no_ds).await;

    // The same for a child whose data are not signed, which is what an attacker would have liked to reach.
    for Case { what, faults, expected, .. } in cases() {
        world.clear_faults();
        for fault in faults {
            world.add_fault_on_type(ZONE, Rtype::DS, fault).unwrap();
        }
        world.add_fault(NAME, just(made_up(NAME))).unwrap();
        let lookup = fresh(&world, NAME).await;
        assert!(is_right(&lookup, "B/T"), "{what}, unsigned, should be {expected}: {lookup:?}");
    }
    // The control once more.
    world.clear_faults();
    world.add_fault_on_type(ZONE, Rtype::DS, denied(nsec("NS RRSIG NSEC"))).unwrap();
    world.add_fault(NAME, just(made_up(NAME))).unwrap();
    assert_eq!(code(&fresh(&world, NAME).await), "I");
    // No delegation at all: then these data are the parent's, and unsigned.
    world.clear_faults();
    world.add_fault_on_type(ZONE, Rtype::DS, denied(nsec("TXT RRSIG NSEC"))).unwrap();
    world.add_fault(NAME, just(made_up(NAME))).unwrap();
    assert_eq!(code(&fresh(&world, NAME).await), "B");
}

// DNS-01: who may say which keys a zone has.
#[tokio::test]
async fn who_signs_the_ds() {
    let world = world().start().await.unwrap();
    let by = |sign| just(RecordSet::of("test", ZONE, Rtype::DS).unsigned().signed(sign));
    let at = |what, fault, expected| Case::at(what, ZONE, Rtype::DS, fault, expected);
    let cases = vec![
        at("the parent", by(Sign::by("test")), "S"),
        // As with any other signature from further above.
        at("the root", by(Sign::by(".")), "S/B"),
        at("the zone itself", by(Sign::by(ZONE)), "B"),
        at("the zone itself in the parent's name", by(Sign::by(ZONE).signer("test")), "B"),
        at("a sibling", by(Sign::by("other.test")), "B"),
        at("the parent, expired", by(Sign::by("test").times(-2000, -1000)), "B"),
        // A wildcard has no DS.
        at("the parent, for a wildcard", by(Sign::by("test").labels(1)), "B"),
        at("nobody", just(RecordSet::of("test", ZONE, Rtype::DS).unsigned()), "B"),
        at("the parent, for another child", just(RecordSet::of("test", "other.test", Rtype::DS).under(ZONE)), "B"),
        at(
            "the parent, another child's besides",
            Fault::Adds(Forged::new().answer(RecordSet::of("test", "other.test", Rtype::DS))),
            "S/B/T",
        ),
    ];
    check(&world, NAME, "S", cases).await;
}

// DNS-03: opt-out says that there may be unsigned children, and of which names. Those with a DS are in the chain.
#[tokio::test]
async fn opt_out() {
    let world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(zone("optout.test").denial(Denial::nsec3_opt_out()))
        .zone(zone("signed.optout.test"))
        .zone(filled(Zone::unsigned("unsigned.optout.test")))
        .zone(filled(Zone::unsigned("a.b.optout.test")))
        .start()
        .await
        .unwrap();
    for (name, expected) in [
        ("dev1._device.optout.test", "S"),
        ("dev1._device.signed.optout.test", "S"),
        ("nx._device.signed.optout.test", "SX"),
        ("dev1._device.unsigned.optout.test", "I"),
        ("nodata._device.unsigned.optout.test", "I"),
        ("dev1._device.a.b.optout.test", "I"),
        ("nodata._device.optout.test", "SN"),
        ("nx._device.optout.test", "I"),
        ("foo._wild.optout.test", "S/I"),
    ] {
        let lookup = fresh(&world, name).await;
        assert!(is_right(&lookup, expected), "{name} should be {expected}: {lookup:?}");
    }
    // What covers other names says nothing of a child that has a DS.
    let name = "dev1._device.signed.optout.test";
    let (optout, signed) = ("optout.test", "signed.optout.test");
    let denied = |sets: Vec<RecordSet>| {
        Fault::Answers(sets.into_iter().fold(Forged::new().authority(soa(optout)), Forged::authority))
    };
    let cases = vec![
        Case::at(
            "another name's span",
            signed,
            Rtype::DS,
            denied(vec![
                RecordSet::of(optout, optout, Rtype::NSEC3),
                RecordSet::covering(optout, "unsigned.optout.test"),
            ]),
            "B",
        ),
        Case::at("its own NSEC3", signed, Rtype::DS, denied(vec![RecordSet::of(optout, signed, Rtype::NSEC3)]), "B"),
        Case::at("the child's apex", signed, Rtype::DS, denied(vec![RecordSet::of(signed, signed, Rtype::NSEC)]), "B"),
    ];
    check(&world, name, "S", cases).await;
}

// DNS-01, DNS-03: zones with several algorithms: one valid path is enough (RFC 6840 section 5.11).
#[tokio::test]
async fn two_algorithms() {
    use KeyKind::{Ed448, Ed25519, P256, P384, Rsa2048, Rsa2048Sha512, RsaSha1};
    use KeyRole::{Csk, CskWithoutDs};
    let by = |index| just(made_up(NAME).signed(Sign::by(ZONE).key(index)));
    let keys_by = |index| just(RecordSet::of(ZONE, ZONE, Rtype::DNSKEY).unsigned().signed(Sign::by(ZONE).key(index)));
    for kind in [P256, P384, Ed25519, Rsa2048, Rsa2048Sha512] {
        let world = neighbours().zone(zone(ZONE).key(kind)).start().await.unwrap();
        assert_eq!(code(&fresh(&world, NAME).await), "S", "{kind}");
        assert_eq!(code(&fresh(&world, "nx._device.example.test").await), "SX", "{kind}");
        assert_eq!(code(&fresh(&world, "any._wild.example.test").await), "S", "{kind}");
        world.add_fault(NAME, Fault::TamperedRdata).unwrap();
        assert_eq!(code(&fresh(&world, NAME).await), "B", "{kind}");
    }
    let two =
        async |first, second| neighbours().zone(zone(ZONE).keys(&[(first, Csk), (second, Csk)])).start().await.unwrap();
    for (first, second) in [(P256, Ed25519), (Rsa2048, P384), (Rsa2048, Rsa2048Sha512)] {
        let cases = vec![
            Case::of("signed with the first", NAME, by(0), "S"),
            Case::of("signed with the second", NAME, by(1), "S"),
            Case::at("keys signed with the first", ZONE, Rtype::DNSKEY, keys_by(0), "S"),
            Case::at("keys signed with the second", ZONE, Rtype::DNSKEY, keys_by(1), "S"),
        ];
        check(&two(first, second).await, NAME, "S", cases).await;
    }
    // An unsupported one beside a supported one makes nothing Insecure.
    for unsupported in [Ed448, RsaSha1] {
        let cases = vec![
            Case::of("signed with the supported one", NAME, by(0), "S"),
            Case::of("signed with the other", NAME, by(1), "B"),
            Case::at("keys signed with the supported one", ZONE, Rtype::DNSKEY, keys_by(0), "S"),
            Case::at("keys signed with the other", ZONE, Rtype::DNSKEY, keys_by(1), "B"),
        ];
        check(&two(P256, unsupported).await, NAME, "S", cases).await;
        // A DS for the unsupported one only.
        let keys = [(P256, CskWithoutDs), (unsupported, Csk)];
        let world = neighbours().zone(zone(ZONE).keys(&keys)).start().await.unwrap();
        assert_eq!(code(&fresh(&world, NAME).await), "I");
    }
    // A DS for the supported one only, and for one whose key does not sign the keys.
    let keys = [(P256, Csk), (Ed448, CskWithoutDs)];
    let world = neighbours().zone(zone(ZONE).keys(&keys)).start().await.unwrap();
    check(&world, NAME, "S", vec![Case::of("signed with the unsupported one", NAME, by(1), "B")]).await;
}

// DNS-01: the keys' own RRset.
#[tokio::test]
async fn keys() {
    let world = neighbours()
        .zone(zone(ZONE).keys(&[(KeyKind::P256, KeyRole::Ksk), (KeyKind::P256, KeyRole::Zsk)]))
        .start()
        .await
        .unwrap();
    let set = || RecordSet::of(ZONE, ZONE, Rtype::DNSKEY);
    let at = |what, fault, expected| Case::at(what, ZONE, Rtype::DNSKEY, fault, expected);
    let by = |sign| just(set().unsigned().signed(sign));
    let foreign = || RecordSet::of("other.test", "other.test", Rtype::DNSKEY);
    let cases = vec![
        at("signed by hand", by(Sign::by(ZONE).key(0)), "S"),
        at("by the key that has no DS", by(Sign::by(ZONE).key(1)), "B"),
        at("by the parent", by(Sign::by("test")), "B"),
        at("expired", by(Sign::by(ZONE).key(0).times(-2000, -1000)), "B"),
        at("not yet valid", by(Sign::by(ZONE).key(0).times(1000, 2000)), "B"),
        at("with fewer labels", by(Sign::by(ZONE).key(0).labels(1)), "B"),
        at("unsigned", just(set().unsigned()), "B"),
        at("one too many", Fault::Adds(Forged::new().answer(foreign().under(ZONE))), "B"),
        at("another zone's", just(foreign()), "B"),
        at("another zone's under this name", just(foreign().under(ZONE)), "B"),
        at(
            "denied",
            Fault::Answers(Forged::new().authority(soa(ZONE)).authority(RecordSet::of(ZONE, NAME, Rtype::NSEC))),
            "B",
        ),
        at(
            "denied by the apex",
            Fault::Answers(Forged::new().authority(soa(ZONE)).authority(RecordSet::of(ZONE, ZONE, Rtype::NSEC))),
            "B",
        ),
        at(
            "denied by the parent",
            {
                Fault::Answers(Forged::new().authority(soa("test")).authority(RecordSet::of("test", ZONE, Rtype::NSEC)))
            },
            "B",
        ),
        at("nothing", Fault::EmptyAnswer, "B"),
        at("not answered for", Fault::Servfail, "T"),
        at("never answered for", Fault::Refused, "T"),
        at("in another order", Fault::Reversed, "S"),
    ];
    check(&world, NAME, "S", cases).await;
    // The same for the root's, which the anchor stands for.
    let at = |what, fault, expected| Case::at(what, ".", Rtype::DNSKEY, fault, expected);
    let root = || RecordSet::of(".", ".", Rtype::DNSKEY);
    let cases = vec![
        at("signed by hand", just(root().unsigned().signed(Sign::by("."))), "S"),
        at("by a child", just(root().unsigned().signed(Sign::by("test"))), "B"),
        at("by a child in its name", just(root().unsigned().signed(Sign::by("test").signer("."))), "B"),
        at("other keys", just(RecordSet::of("test", "test", Rtype::DNSKEY).under(".")), "B"),
        at("expired", just(root().unsigned().signed(Sign::by(".").times(-2000, -1000))), "B"),
        at("not answered for", Fault::Servfail, "T"),
    ];
    check(&world, NAME, "S", cases).await;
}

// DNS-01, DNS-03: keys with a DS that may sign nothing.
#[tokio::test]
async fn keys_that_do_not_count() {
    for role in [KeyRole::Revoked, KeyRole::NotForZones, KeyRole::OtherProtocol] {
        let only = neighbours().zone(zone(ZONE).keys(&[(KeyKind::P256, role)])).start().await.unwrap();
        assert_eq!(code(&fresh(&only, NAME).await), "B", "{role:?}");
        let keys = [(KeyKind::P256, role), (KeyKind::P256, KeyRole::Csk)];
        let beside = neighbours().zone(zone(ZONE).keys(&keys)).start().await.unwrap();
        assert_eq!(code(&fresh(&beside, NAME).await), "S", "{role:?}");
        let keys = RecordSet::of(ZONE, ZONE, Rtype::DNSKEY).unsigned().signed(Sign::by(ZONE).key(0));
        let cases = vec![Case::at("signed by it alone", ZONE, Rtype::DNSKEY, just(keys), "B")];
        check(&beside, NAME, "S", cases).await;
    }
}

// DNS-01: a zone between two others, an apex with the record itself, names deep in a zone.
#[tokio::test]
async fn cuts() {
    let world = SignedWorld::builder()
        .zone(zone("deep.com").tlsa("deep.com", RECORD, 300).tlsa("a.b.c.d.deep.com", RECORD, 300))
        .zone(zone("a.b.deep.com"))
        .zone(filled(Zone::unsigned("un.deep.com")))
        .zone(zone("signed.un.deep.com"))
        .start()
        .await
        .unwrap();
    for (name, expected) in [
        ("deep.com", "S"),
        ("a.b.c.d.deep.com", "S"),
        ("b.c.d.deep.com", "SN"),
        ("x.b.c.d.deep.com", "SX"),
        ("dev1._device.deep.com", "S"),
        ("dev1._device.a.b.deep.com", "S"),
        ("nx._device.a.b.deep.com", "SX"),
        ("b.deep.com", "SN"),
        ("a.b.deep.com", "SN"),
        ("nx.com", "SX"),
        ("dev1._device.un.deep.com", "I"),
        // Below an unsigned zone there is no way to a key.
        ("dev1._device.signed.un.deep.com", "I"),
        ("un.deep.com", "I"),
    ] {
        let lookup = fresh(&world, name).await;
        assert!(is_right(&lookup, expected), "{name} should be {expected}: {lookup:?}");
    }
}
