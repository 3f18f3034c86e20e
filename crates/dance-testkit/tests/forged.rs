//! Answers made by hand, keys in all roles, and DS of all forms. These tests are about the test world, so they claim no requirement of
//! the product.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Want::{Bogus, NoData, NxDomain, Positive};
use common::{RDATA, ask_validating, connect, look_up, question, receive, zone};
use dance_testkit::{
    Delegation, DsForm, Fault, Forged, Front, KeyKind, KeyRole, RecordSet, Rtype, Sign, SignedWorld, WorldError, Zone,
};
use domain::base::iana::{Class, Rcode};
use domain::dnssec::validator::context::ValidationState::{Insecure, Secure};
use domain::rdata::{Dnskey, Rrsig};

const DEV1: &str = "dev1._device.example.test";

async fn world() -> SignedWorld {
    SignedWorld::builder().zone(Zone::new("test")).zone(zone("example")).zone(zone("other")).start().await.unwrap()
}

/// A record of the name's own zone that the zone does not hold.
fn made_up() -> RecordSet {
    RecordSet::text(&format!("{DEV1} 300 IN TLSA {RDATA}\n{DEV1} 300 IN TLSA 3 1 1 00ff"))
}

#[tokio::test]
async fn a_signature_by_hand_is_right_unless_told_otherwise() {
    let world = world().await;
    let with = async |sign: Sign| {
        world.clear_faults();
        world.add_fault(DEV1, Fault::Answers(Forged::new().answer(made_up().signed(sign)))).unwrap();
        look_up(&world, DEV1).await
    };
    let right = || Sign::by("example.test");
    assert_eq!(with(right()).await, Positive(Secure));
    assert_eq!(with(right().original_ttl(600)).await, Positive(Secure));
    assert_eq!(with(right().key(0).times(-10, 10)).await, Positive(Secure));
    // A parent has power over its children in any case, and `domain` lets it sign for them.
    assert_eq!(with(Sign::by("test")).await, Positive(Secure));
    for wrong in [
        right().spoilt(),
        right().times(-20, -10),
        right().times(100, 200),
        right().labels(5),
        right().labels(2),
        right().key_tag(1),
        right().algorithm(15),
        Sign::by("test").signer("example.test"),
        Sign::by("other.test"),
        Sign::by("other.test").signer("example.test"),
    ] {
        assert_eq!(with(wrong.clone()).await, Bogus, "{wrong:?}");
    }
    world.clear_faults();
    assert_eq!(look_up(&world, DEV1).await, Positive(Secure));
}

#[tokio::test]
async fn what_is_served_can_be_put_elsewhere() {
    let world = world().await;
    // The genuine denial of one name, for another question.
    let denial = Forged::new()
        .authority(RecordSet::of("example.test", "example.test", Rtype::SOA))
        .authority(RecordSet::of("example.test", DEV1, Rtype::NSEC));
    world.add_fault(DEV1, Fault::Answers(denial)).unwrap();
    assert_eq!(look_up(&world, DEV1).await, Bogus);
    // For the name that it denies it is right.
    let nx = "nx._device.example.test";
    let denial = Forged::new()
        .nxdomain()
        .authority(RecordSet::of("example.test", "example.test", Rtype::SOA))
        .authority(RecordSet::covering("example.test", nx))
        .authority(RecordSet::covering("example.test", "*._device.example.test"));
    world.add_fault(nx, Fault::Answers(denial)).unwrap();
    assert_eq!(look_up(&world, nx).await, NxDomain(Secure));
    world.clear_faults();
    let other = RecordSet::of("other.test", "dev1._device.other.test", Rtype::TLSA);
    world.add_fault(DEV1, Fault::Adds(Forged::new().additional(other.clone().ttl(7)))).unwrap();
    assert_eq!(look_up(&world, DEV1).await, Positive(Secure));
    let socket = connect(&world).await;
    socket.send(&question(DEV1, Rtype::TLSA, |_| ())).await.unwrap();
    let reply = receive(&socket).await;
    let added: Vec<_> = reply.additional().unwrap().flatten().filter(|record| record.rtype() != Rtype::OPT).collect();
    assert_eq!(added.len(), 2);
    assert!(added.iter().all(|record| record.ttl().as_secs() == 7));
    world.clear_faults();
    let forged = Forged::new().answer(other.under(DEV1).unsigned().chaos()).nxdomain();
    world.add_fault(DEV1, Fault::Answers(forged)).unwrap();
    socket.send(&question(DEV1, Rtype::TLSA, |_| ())).await.unwrap();
    let reply = receive(&socket).await;
    let records: Vec<_> = reply.answer().unwrap().flatten().collect();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].class(), records[0].owner().to_string()), (Class::CH, DEV1.to_owned()));

    let missing = RecordSet::of("example.test", "nx.example.test", Rtype::NSEC);
    let error = world.add_fault(DEV1, Fault::Adds(Forged::new().answer(missing))).unwrap_err();
    assert!(matches!(error, WorldError::NoRecords { .. }));
    let two = RecordSet::text("a. 1 IN TXT x\nb. 1 IN TXT x");
    let error = world.add_fault(DEV1, Fault::Adds(Forged::new().answer(two))).unwrap_err();
    assert!(matches!(error, WorldError::NoSet { .. }));
}

#[tokio::test]
async fn order_and_aliases() {
    let world = world().await;
    let alias = "alias._device.example.test";
    let answer = async || {
        let socket = connect(&world).await;
        socket.send(&question(alias, Rtype::TLSA, |_| ())).await.unwrap();
        let reply = receive(&socket).await;
        reply.answer().unwrap().flatten().map(|record| record.rtype()).collect::<Vec<_>>()
    };
    let (cname, rrsig, tlsa) = (Rtype::CNAME, Rtype::RRSIG, Rtype::TLSA);
    assert_eq!(answer().await, [cname, rrsig, tlsa, rrsig]);
    world.add_fault(alias, Fault::Reversed).unwrap();
    assert_eq!(answer().await, [rrsig, cname, tlsa, rrsig]);
    world.add_fault(alias, Fault::AliasOnly).unwrap();
    assert_eq!(answer().await, [rrsig, cname]);
}

#[tokio::test]
async fn longer_chains_of_aliases() {
    let world = SignedWorld::builder()
        .zone(Zone::new("test").dname("loop.test", "loop.loop.test", 300))
        .cut_aliases(3)
        .start()
        .await
        .unwrap();
    let socket = connect(&world).await;
    socket.send(&question("dev1.loop.test", Rtype::TLSA, |_| ())).await.unwrap();
    let reply = receive(&socket).await;
    assert_eq!(reply.header().rcode(), Rcode::NOERROR);
    let names = reply.answer().unwrap().flatten().filter(|record| record.rtype() == Rtype::CNAME);
    assert_eq!(names.count(), 3);
}

#[tokio::test]
async fn delegations_with_ds_of_all_forms() {
    use DsForm::{Sha1, Sha256, Sha384, UnknownAlgorithm, UnknownDigest, WrongSha1, WrongSha256, WrongSha384};
    // `domain` takes any DS for good; the world's own front knows RFC 4509.
    let cases: [(&'static [DsForm], _, _); 8] = [
        (&[Sha1], Positive(Secure), Positive(Secure)),
        (&[Sha384], Positive(Secure), Positive(Secure)),
        (&[Sha384, WrongSha256, WrongSha1], Positive(Secure), Positive(Secure)),
        (&[Sha256, UnknownAlgorithm, UnknownDigest], Positive(Secure), Positive(Secure)),
        (&[UnknownAlgorithm, UnknownDigest], Positive(Insecure), Positive(Insecure)),
        (&[WrongSha256, UnknownDigest], Bogus, Bogus),
        (&[WrongSha384, WrongSha1], Bogus, Bogus),
        (&[Sha1, WrongSha256], Positive(Secure), Bogus),
    ];
    let world = world().await;
    for (forms, validated, told) in cases {
        world.set_delegation("example.test", Delegation::Of(forms)).unwrap();
        world.set_front(Front::NonValidating);
        assert_eq!(look_up(&world, DEV1).await, validated, "{forms:?}");
        world.set_front(Front::Validating);
        assert_eq!(ask_validating(&world, DEV1).await, told, "{forms:?}");
    }
}

#[tokio::test]
async fn algorithms() {
    // Algorithm 10 is the one that `domain` knows.
    for (kind, number, want) in [
        (KeyKind::Rsa2048Sha512, 10, Positive(Secure)),
        (KeyKind::Ed448, 16, Positive(Insecure)),
        (KeyKind::RsaSha1, 5, Bogus),
    ] {
        let world =
            SignedWorld::builder().zone(Zone::new("test")).zone(zone("example").key(kind)).start().await.unwrap();
        assert_eq!(look_up(&world, DEV1).await, want, "{kind}");
        let socket = connect(&world).await;
        socket.send(&question(DEV1, Rtype::TLSA, |_| ())).await.unwrap();
        let reply = receive(&socket).await;
        let signature = reply.answer().unwrap().limit_to::<Rrsig<_, _>>().next().unwrap().unwrap();
        assert_eq!(signature.data().algorithm().to_int(), number);
        world.set_front(Front::Validating);
        let told = if number == 10 { Secure } else { Insecure };
        assert_eq!(ask_validating(&world, DEV1).await, Positive(told));
    }
}

/// Tags and flags of the keys that a zone publishes, sorted.
async fn keys(world: &SignedWorld, apex: &str) -> Vec<(u16, u8)> {
    let socket = connect(world).await;
    socket.send(&question(apex, Rtype::DNSKEY, |_| ())).await.unwrap();
    let reply = receive(&socket).await;
    let keys = reply.answer().unwrap().limit_to::<Dnskey<_>>().map(|key| {
        let key = key.unwrap();
        (key.data().flags(), key.data().protocol())
    });
    keys.collect()
}

#[tokio::test]
async fn keys_in_other_roles() {
    let world = world().await;
    for (role, published) in [
        (KeyRole::Csk, vec![(257, 3)]),
        (KeyRole::NextZsk, vec![(256, 3)]),
        (KeyRole::Revoked, vec![(385, 3)]),
        (KeyRole::NotForZones, vec![(1, 3)]),
        (KeyRole::OtherProtocol, vec![(257, 2)]),
    ] {
        world.set_role("example.test", 0, role).unwrap();
        world.update_ds("example.test").unwrap();
        assert_eq!(keys(&world, "example.test").await, published);
    }
    assert!(matches!(world.set_role("example.test", 1, KeyRole::Csk), Err(WorldError::NoZone { .. })));
    assert!(matches!(world.update_ds("."), Err(WorldError::NoZone { .. })));
}

#[tokio::test]
async fn rollovers() {
    let world = world().await;
    let good = async || assert_eq!(look_up(&world, DEV1).await, Positive(Secure));
    good().await;
    // The DS of the next key first, then the key itself, then without the old one.
    let next = world.add_key("example.test", KeyKind::P256, KeyRole::DsOnly).unwrap();
    world.update_ds("example.test").unwrap();
    good().await;
    world.set_role("example.test", next, KeyRole::Csk).unwrap();
    world.set_role("example.test", 0, KeyRole::DsOnly).unwrap();
    good().await;
    assert_eq!(keys(&world, "example.test").await.len(), 1);
    world.set_role("example.test", 0, KeyRole::Retired).unwrap();
    world.update_ds("example.test").unwrap();
    good().await;
    // What an old key signs is worth nothing any more.
    let old = Forged::new().answer(made_up().signed(Sign::by("example.test").key(0)));
    world.add_fault(DEV1, Fault::Answers(old)).unwrap();
    assert_eq!(look_up(&world, DEV1).await, Bogus);
    world.clear_faults();
    // Two keys that sign the zone's keys, one that signs its data, signatures of one that is not published.
    world.set_role("example.test", next, KeyRole::Ksk).unwrap();
    world.add_key("example.test", KeyKind::P256, KeyRole::KskWithoutDs).unwrap();
    world.add_key("example.test", KeyKind::P256, KeyRole::Zsk).unwrap();
    world.add_key("example.test", KeyKind::Rsa2048, KeyRole::Unpublished).unwrap();
    world.add_key("example.test", KeyKind::P256, KeyRole::CskWithoutDs).unwrap();
    good().await;
    assert_eq!(keys(&world, "example.test").await.len(), 4);
    assert_eq!(look_up(&world, "nx._device.example.test").await, NxDomain(Secure));
    assert_eq!(look_up(&world, "nodata._device.example.test").await, NoData(Secure));
}
