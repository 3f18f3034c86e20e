//! What a validated answer says: aliases, wildcards, and how long it is good.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{RECORD, TestClock, code, config, owner, resolver, secure};
use dance_core::answer::{DenialKind, LinkState, LookupFailure, TlsaAnswer};
use dance_resolver::{Detail, Failure, Resolver, ResolverConfig, Rtype, TlsaSource as _, TrustAnchorSource, now};
use dance_testkit::{Denial, Fault, KeyKind, KeyRole, SignedWorld, WorldBuilder, Zone};

const NAME: &str = "dev1._device.example.test";

fn world() -> WorldBuilder {
    SignedWorld::builder().zone(Zone::new("test")).zone(zone())
}

fn zone() -> Zone {
    Zone::new("example.test").tlsa(NAME, RECORD, 300)
}

/// Seconds for which the answer for a name is good, found within this second or the one before.
async fn good_for(resolver: &Resolver, name: &str) -> u64 {
    let before = now().as_secs();
    let until = secure(&resolver.lookup(&owner(name)).await).valid_until.as_secs();
    let after = now().as_secs();
    // The second may turn while the look-up runs.
    if before == after { until - before } else { Box::pin(good_for(resolver, name)).await }
}

// DNS-05: eight links are followed, nine are not.
#[tokio::test]
async fn alias_limit() {
    let mut zone = zone();
    for link in 1..=9 {
        let target = if link == 1 { NAME.to_owned() } else { format!("link{}._device.example.test", link - 1) };
        zone = zone.cname(&format!("link{link}._device.example.test"), &target, 300);
    }
    let world = SignedWorld::builder().zone(Zone::new("test")).zone(zone).start().await.unwrap();
    let resolver = resolver(&world);
    let eight = resolver.lookup(&owner("link8._device.example.test")).await;
    assert_eq!(code(&eight), "S");
    assert_eq!(&*eight.trace.final_owner, NAME);
    assert_eq!(eight.trace.links.len(), 9);
    let nine = resolver.lookup(&owner("link9._device.example.test")).await;
    assert!(matches!(nine.answer, TlsaAnswer::Indeterminate(LookupFailure::AliasLimit)));
    assert!(matches!(nine.trace.detail, Some(Detail::AliasLimit { .. })));
}

// DNS-01: names between zones that are no zones themselves, such as `com` here, do not come between a zone and its keys.
#[tokio::test]
async fn zones_side_by_side_below_a_name_that_is_no_zone() {
    let names = ["dev1._device.example.com", "dev1._device.example2.com"];
    let world = SignedWorld::builder()
        .zone(Zone::new("example.com").tlsa(names[0], RECORD, 300))
        .zone(Zone::new("example2.com").tlsa(names[1], RECORD, 300))
        .fault(names[1], Fault::TamperedRdata)
        .zone(Zone::new("example3.com").tlsa("dev1.example3.com", RECORD, 300))
        .start()
        .await
        .unwrap();
    let resolver = resolver(&world);
    assert_eq!(code(&resolver.lookup(&owner(names[0])).await), "S");
    assert_eq!(code(&resolver.lookup(&owner("dev1.example3.com")).await), "S");
    // Control: what is tampered with stays Bogus, whoever is asked to look again.
    assert_eq!(code(&resolver.lookup(&owner(names[1])).await), "B");
    world.clear_faults();
    // And aliases lead from one to the other.
    world.add_text("example3.com", &format!("alias 300 IN CNAME {}.", names[0])).unwrap();
    for resolver in [&resolver, &common::resolver(&world)] {
        assert_eq!(code(&resolver.lookup(&owner("alias.example3.com")).await), "S");
    }
}

// DNS-05
#[tokio::test]
async fn links_are_accounted_for() {
    let world = world()
        .zone(Zone::new("other.test").dname("devices.other.test", "_device.example.test", 300))
        .zone(Zone::unsigned("plain.test").cname("dev1.plain.test", NAME, 300))
        .zone(Zone::new("third.test").cname("dev1.third.test", "dev1.devices.other.test", 300))
        .start()
        .await
        .unwrap();
    let resolver = resolver(&world);
    let lookup = resolver.lookup(&owner("dev1.third.test")).await;
    assert_eq!(code(&lookup), "S");
    let links: Vec<_> =
        lookup.trace.links.iter().map(|link| (&*link.owner, link.rtype, link.signed, link.state)).collect();
    let secure = Some(LinkState::Secure);
    let expected = [
        ("dev1.third.test", Rtype::CNAME, true, secure),
        ("devices.other.test", Rtype::DNAME, true, secure),
        (NAME, Rtype::TLSA, true, secure),
    ];
    assert_eq!(links, expected);
    let lookup = resolver.lookup(&owner("dev1.plain.test")).await;
    assert_eq!(code(&lookup), "I");
    let signed: Vec<bool> = lookup.trace.links.iter().map(|link| link.signed).collect();
    assert_eq!(signed, [false, true]);
}

// DNS-07
#[tokio::test]
async fn wildcards_are_told() {
    let zone = zone().tlsa("*._wild.example.test", RECORD, 300).tlsa("exact._wild.example.test", RECORD, 300).cname(
        "*._alias.example.test",
        NAME,
        300,
    );
    for denial in [Denial::Nsec, Denial::nsec3()] {
        let world =
            SignedWorld::builder().zone(Zone::new("test")).zone(zone.clone().denial(denial)).start().await.unwrap();
        let resolver = resolver(&world);
        for (name, wildcard) in [
            (NAME, false),
            ("any._wild.example.test", true),
            ("a.b._wild.example.test", true),
            ("exact._wild.example.test", false),
            // Whoever is under this alias gets the one record, as under a wildcard RRset.
            ("any._alias.example.test", true),
        ] {
            assert_eq!(secure(&resolver.lookup(&owner(name)).await).wildcard, Some(wildcard), "{name}");
        }
        world.add_zone_fault("example.test", Fault::StrippedProof).unwrap();
        assert_eq!(code(&resolver.lookup(&owner("other._wild.example.test")).await), "B");
    }
}

// DNS-08: as short-lived as the shortest of TTL, original TTL, signature and ceiling, over all links; no floor.
#[tokio::test]
async fn validity() {
    let world = world()
        .zone(
            zone_with("long.test", &[("a.long.test", 86_400), ("zero.long.test", 0)])
                .cname("alias.long.test", NAME, 60)
                .dname("tree.long.test", "_device.example.test", 45),
        )
        .zone(zone_with("short.test", &[("a.short.test", 3600)]).signatures(-3600, 1800))
        .fault("forged.test", Fault::ForgedTtl(3000))
        .zone(zone_with("forged.test", &[("forged.test", 600)]))
        .start()
        .await
        .unwrap();
    let resolver = resolver(&world);
    assert_eq!(good_for(&resolver, NAME).await, 300);
    assert_eq!(good_for(&resolver, "a.long.test").await, 3600);
    assert_eq!(good_for(&resolver, "zero.long.test").await, 0);
    assert_eq!(good_for(&resolver, "alias.long.test").await, 60);
    assert_eq!(good_for(&resolver, "dev1.tree.long.test").await, 45);
    // The wire says 3000 seconds, the signature 600.
    assert_eq!(good_for(&resolver, "forged.test").await, 600);
    let left = good_for(&resolver, "a.short.test").await;
    assert!((1700..=1800).contains(&left), "{left}");
}

fn zone_with(apex: &str, records: &[(&str, u32)]) -> Zone {
    records.iter().fold(Zone::new(apex), |zone, (name, ttl)| zone.tlsa(name, RECORD, *ttl))
}

// DNS-08, SEC-03: what is good is not asked for again; what is not, is.
#[tokio::test]
async fn memory() {
    let world = world()
        .zone(
            zone_with("mixed.test", &[("zero.mixed.test", 0), ("bad.mixed.test", 300)])
                .text("txt 300 IN TXT \"x\"")
                .negative_ttl(40),
        )
        .zone(Zone::new("patient.test").negative_ttl(1000))
        .zone(Zone::unsigned("plain.test").tlsa("a.plain.test", RECORD, 3600))
        .fault("bad.mixed.test", Fault::TamperedRdata)
        .fault("down.mixed.test", Fault::Servfail)
        .start()
        .await
        .unwrap();
    let clock = TestClock::new();
    let resolver = Resolver::new(ResolverConfig { clock: clock.clock(), ..config(&world) }).unwrap();
    for (name, expected, seconds) in [
        (NAME, "S", 300),
        ("nx.mixed.test", "SX", 40),
        ("txt.mixed.test", "SN", 40),
        ("nx.patient.test", "SX", 60),
        ("a.plain.test", "I", 60),
        ("bad.mixed.test", "B", 5),
        ("down.mixed.test", "T", 5),
        ("zero.mixed.test", "S", 0),
    ] {
        let owner = owner(name);
        assert!(resolver.cached(&owner).is_none());
        let first = resolver.lookup(&owner).await;
        assert_eq!(code(&first), expected, "{name}");
        assert!(!first.trace.from_cache);
        assert!(first.trace.queries > 0);
        world.clear_log();
        if seconds > 0 {
            clock.forward(seconds - 2);
            for known in [resolver.lookup(&owner).await, resolver.cached(&owner).unwrap()] {
                assert_eq!(code(&known), expected, "{name}");
                assert!(known.trace.from_cache);
                assert_eq!(known.trace.queries, 0);
            }
            assert!(world.queries().is_empty(), "{name}");
            clock.forward(2);
        }
        assert!(resolver.cached(&owner).is_none(), "{name}");
        assert_eq!(code(&resolver.lookup(&owner).await), expected);
        assert_eq!(world.tlsa_queries(), [name]);
    }
}

// DNS-08: a record that is taken away is gone when its TTL is over.
#[tokio::test]
async fn withdrawal() {
    let world = world().start().await.unwrap();
    let clock = TestClock::new();
    let resolver = Resolver::new(ResolverConfig { clock: clock.clock(), ..config(&world) }).unwrap();
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    world.withdraw(NAME).unwrap();
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    clock.forward(300);
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "SX");
}

// DNS-08: keys and answers are remembered as proven; the end of their signatures counts all the same.
#[tokio::test]
async fn signatures_that_end_after_they_were_verified() {
    let world =
        SignedWorld::builder().zone(Zone::new("test")).zone(zone().signatures(-3600, 1000)).start().await.unwrap();
    let clock = TestClock::new();
    let resolver = Resolver::new(ResolverConfig { clock: clock.clock(), ..config(&world) }).unwrap();
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    assert_eq!(code(&resolver.lookup(&owner("nx._device.example.test")).await), "SX");
    clock.forward(1001);
    for name in [NAME, "nx._device.example.test"] {
        let lookup = resolver.lookup(&owner(name)).await;
        assert_eq!(code(&lookup), "B", "{name}");
        assert!(matches!(lookup.trace.detail, Some(Detail::SignatureExpired { .. })), "{:?}", lookup.trace);
    }
}

// DNS-01
#[tokio::test]
async fn bogus_answers_say_why() {
    let world = world()
        .zone(zone_with("late.test", &[("a.late.test", 300)]).expired())
        .zone(zone_with("early.test", &[("a.early.test", 300)]).not_yet_valid())
        .zone(zone_with("bad.test", &[("a.bad.test", 300)]))
        .fault("a.bad.test", Fault::TamperedRdata)
        .start()
        .await
        .unwrap();
    let resolver = resolver(&world);
    let detail = async |name: &str| {
        let lookup = resolver.lookup(&owner(name)).await;
        assert_eq!(code(&lookup), "B");
        lookup.trace.detail.unwrap()
    };
    let late = detail("a.late.test").await;
    // From the anchor down, the zone's keys are what fails first.
    assert!(matches!(&late, Detail::SignatureExpired { owner, rtype: Rtype::DNSKEY, at }
        if &**owner == "late.test" && *at < now()));
    assert!(late.to_string().starts_with("the signature over late.test DNSKEY expired at 20"), "{late}");
    let early = detail("a.early.test").await;
    assert!(matches!(&early, Detail::SignatureNotYetValid { at, .. } if *at > now()));
    let Detail::Unproven(bad) = detail("a.bad.test").await else { panic!("expected a failed proof") };
    assert!(matches!(&*bad, Failure::SignatureWrong { rtype: Rtype::TLSA, .. }), "{bad}");
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
}

// DNS-01: a bad moment of a zone is over when the failure is forgotten, whatever the validator thought of the zone.
#[tokio::test]
async fn bogus_is_not_for_long() {
    let world = world().fault_on_type("example.test", Rtype::DNSKEY, Fault::TamperedRdata).start().await.unwrap();
    let clock = TestClock::new();
    let resolver = Resolver::new(ResolverConfig { clock: clock.clock(), ..config(&world) }).unwrap();
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "B");
    world.clear_faults();
    clock.forward(5);
    assert_eq!(code(&resolver.lookup(&owner("nx.example.test")).await), "SX");
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
}

// DNS-01: a key rollover in progress, several keys, several algorithms.
#[tokio::test]
async fn key_sets() {
    use KeyRole::{Csk, Ksk, Published, Zsk};
    let sets: [&[_]; 4] = [
        &[(KeyKind::P256, Ksk), (KeyKind::P256, Zsk)],
        &[(KeyKind::P256, Csk), (KeyKind::P256, Published)],
        &[(KeyKind::P256, Csk), (KeyKind::P256, Csk)],
        &[(KeyKind::P256, Csk), (KeyKind::Rsa2048, Csk)],
    ];
    for keys in sets {
        let world = SignedWorld::builder().zone(Zone::new("test")).zone(zone().keys(keys)).start().await.unwrap();
        assert_eq!(code(&resolver(&world).lookup(&owner(NAME)).await), "S", "{keys:?}");
    }
}

// SEC-15
#[tokio::test]
async fn trust_anchors() {
    let world = world().start().await.unwrap();
    let with = async |trust_anchor| {
        let resolver = Resolver::new(ResolverConfig { trust_anchor, ..config(&world) }).unwrap();
        resolver.lookup(&owner(NAME)).await
    };
    let ds = world.trust_anchor_ds_text().to_owned();
    assert_eq!(code(&with(TrustAnchorSource::Text(ds.clone())).await), "S");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("; the root\n\n{ds}")).unwrap();
    assert_eq!(code(&with(TrustAnchorSource::File(file.path().to_owned())).await), "S");
    // The real root's keys do not fit this world's root.
    assert_eq!(code(&with(TrustAnchorSource::Root).await), "B");
    let elsewhere = ds.replacen('.', "other.", 1);
    let lookup = with(TrustAnchorSource::Text(elsewhere)).await;
    assert!(matches!(lookup.answer, TlsaAnswer::Indeterminate(LookupFailure::NoTrust)), "{lookup:?}");
    assert_eq!(lookup.trace.detail, Some(Detail::NoTrustAnchor { owner: NAME.into() }));
}

// DNS-05, DNS-08
#[tokio::test]
async fn denials_behind_aliases() {
    let world = world()
        .zone(Zone::new("gone.test").negative_ttl(50).text("txt 300 IN TXT \"x\""))
        .zone(Zone::new("from.test").cname("nx.from.test", "nx.gone.test", 300).cname(
            "nodata.from.test",
            "txt.gone.test",
            20,
        ))
        .start()
        .await
        .unwrap();
    let resolver = resolver(&world);
    for (name, kind, at_most) in
        [("nx.from.test", DenialKind::Nxdomain, 50), ("nodata.from.test", DenialKind::Nodata, 20)]
    {
        let lookup = resolver.lookup(&owner(name)).await;
        let TlsaAnswer::Denied(denial) = lookup.answer else { panic!("{lookup:?}") };
        assert_eq!(denial.kind, kind);
        let left = denial.valid_until.as_secs() - now().as_secs();
        assert!((at_most - 2..=at_most).contains(&left), "{left}");
    }
}
