//! The AD bit of a resolver on loopback.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{RECORD, code, config, owner, secure};
use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_resolver::{ConfigError, Detail, DnsMode, Resolver, ResolverConfig, Servers, TlsaSource as _, now};
use dance_testkit::{Delegation, Fault, Front, SignedWorld, WorldBuilder, Zone};

const NAME: &str = "dev1._device.example.test";

fn world() -> WorldBuilder {
    let filled = |zone: Zone, name: &str| zone.tlsa(name, RECORD, 86_400);
    SignedWorld::builder()
        .front(Front::Validating)
        .zone(Zone::new("test"))
        .zone(
            filled(Zone::new("example.test"), NAME)
                .tlsa("*._wild.example.test", RECORD, 300)
                .cname("alias._device.example.test", NAME, 60)
                .cname("plain._device.example.test", "dev1.plain.test", 60)
                .cname("loop._device.example.test", "loop._device.example.test", 60)
                .text("txt 300 IN TXT \"x\""),
        )
        .zone(filled(Zone::unsigned("plain.test"), "dev1.plain.test"))
        .zone(filled(Zone::new("late.test"), "dev1.late.test").expired())
        .zone(filled(Zone::new("badds.test"), "dev1.badds.test").delegation(Delegation::WrongDs))
}

fn resolver(world: &SignedWorld) -> Resolver {
    Resolver::new(ResolverConfig { mode: DnsMode::AdBit, ..config(world) }).unwrap()
}

// DNS-01, DNS-03
#[tokio::test]
async fn the_bit_decides() {
    let world = world().start().await.unwrap();
    let resolver = resolver(&world);
    for (name, expected) in [
        (NAME, "S"),
        ("any._wild.example.test", "S"),
        ("alias._device.example.test", "S"),
        ("nx.example.test", "SX"),
        ("txt.example.test", "SN"),
        ("dev1.plain.test", "I"),
        ("nx.plain.test", "I"),
        ("plain._device.example.test", "I"),
        ("loop._device.example.test", "T"),
        ("dev1.late.test", "B"),
        ("dev1.badds.test", "B"),
    ] {
        world.clear_log();
        let lookup = resolver.lookup(&owner(name)).await;
        assert_eq!(code(&lookup), expected, "{name}: {lookup:?}");
        // AD=1 CD=0; nothing but TLSA is asked for, and once, unless the resolver cannot say why it failed.
        let queries = world.queries();
        assert!(world.tlsa_queries().iter().all(|asked| asked == name));
        assert_eq!(queries.len(), if expected == "T" { 2 } else { 1 });
        let first = queries.first().unwrap();
        assert!(first.authentic_data && !first.checking_disabled && !first.dnssec_ok);
        assert_eq!(lookup.trace.queries, queries.len());
    }
}

// DNS-03
#[tokio::test]
async fn without_the_bit_nothing_is_secure() {
    let world = world().front(Front::NonValidating).start().await.unwrap();
    for name in [NAME, "nx.example.test", "dev1.plain.test"] {
        assert_eq!(code(&resolver(&world).lookup(&owner(name)).await), "I");
    }
}

// DNS-08: the resolver's word has no end of signatures in it, so it is not kept for long; and a wildcard cannot be seen.
#[tokio::test]
async fn what_the_bit_does_not_say() {
    let world = world().start().await.unwrap();
    let before = now().as_secs();
    let found = secure(&resolver(&world).lookup(&owner(NAME)).await);
    assert!((300..=302).contains(&(found.valid_until.as_secs() - before)));
    assert_eq!(found.wildcard, None);
}

// DNS-01: SERVFAIL is Bogus if the extended error says so, or if there is an answer without checking.
#[tokio::test]
async fn servfail() {
    let world = world().fault("down.example.test", Fault::Servfail).start().await.unwrap();
    let resolver = resolver(&world);
    let bogus = resolver.lookup(&owner("dev1.late.test")).await;
    assert!(matches!(bogus.trace.detail, Some(Detail::ResolverSaysBogus { code: Some(_) })), "{bogus:?}");
    assert_eq!(bogus.trace.queries, 1);
    let down = resolver.lookup(&owner("down.example.test")).await;
    assert!(matches!(down.answer, TlsaAnswer::Indeterminate(LookupFailure::Servfail)));
    assert_eq!(down.trace.queries, 2);
}

// DNS-02
#[tokio::test]
async fn only_over_loopback() {
    let with = |servers: &[&str]| {
        let servers = Servers::List(servers.iter().map(|server| server.parse().unwrap()).collect());
        Resolver::new(ResolverConfig { servers, mode: DnsMode::AdBit, ..ResolverConfig::default() })
    };
    for local in ["127.0.0.1:53", "127.0.0.53:53", "[::1]:5353", "[::ffff:127.0.0.1]:53"] {
        assert!(with(&[local]).is_ok(), "{local}");
    }
    for remote in
        ["192.0.2.1:53", "[2001:db8::1]:53", "0.0.0.0:53", "10.0.0.1:53", "[fe80::1]:53", "[::ffff:192.0.2.1]:53"]
    {
        let error = with(&["127.0.0.1:53", remote]).unwrap_err();
        assert!(matches!(error, ConfigError::AdBitOverNetwork { ref server } if *server == remote.parse().unwrap()));
        assert!(error.to_string().contains("loopback"), "{error}");
        // Validating, the same resolvers will do.
        let servers = Servers::List(vec![remote.parse().unwrap()]);
        assert!(Resolver::new(ResolverConfig { servers, ..ResolverConfig::default() }).is_ok());
    }
}
