//! Keys that change while a resolver remembers the old ones.

use dance_resolver::{Resolver, ResolverConfig, TlsaSource as _};
use dance_testkit::{Delegation, KeyKind, KeyRole, SignedWorld};

use crate::common::{TestClock, code, config, owner};
use crate::{NAME, ZONE, fresh, neighbours, world, zone};

/// Longest time in seconds for which anything is remembered.
const TTL: u64 = 3601;

/// A resolver that has looked something up in the zone before, and asks for a new name each time.
struct Watch {
    resolver: Resolver,
    clock: TestClock,
    asked: u32,
}

impl Watch {
    async fn new(world: &SignedWorld) -> Self {
        let clock = TestClock::new();
        let resolver = Resolver::new(ResolverConfig { clock: clock.clock(), ..config(world) }).unwrap();
        let mut watch = Self { resolver, clock, asked: 0 };
        watch.sees("at the start", "S").await;
        watch
    }

    /// What is found for a name that nobody has asked for, and for one that was denied before.
    async fn sees(&mut self, when: &str, expected: &str) {
        self.asked += 1;
        let lookup = self.resolver.lookup(&owner(&format!("dev{}._wild.example.test", self.asked))).await;
        assert!(crate::is_right(&lookup, expected), "{when} it should be {expected}: {lookup:?}");
    }

    /// All at one moment of a rollover: with what is remembered, without, and when that has run out.
    async fn good(&mut self, world: &SignedWorld, when: &str) {
        self.sees(when, "S").await;
        assert_eq!(code(&fresh(world, NAME).await), "S", "{when}, by who knows nothing");
        assert_eq!(code(&fresh(world, "nx._device.example.test").await), "SX", "{when}, by who knows nothing");
        self.clock.forward(TTL);
        self.sees(when, "S").await;
    }
}

// DNS-01: the zone signing key, published before it signs (RFC 6781 section 4.1.1.1).
#[tokio::test]
async fn zone_signing_key() {
    let keys = [(KeyKind::P256, KeyRole::Ksk), (KeyKind::P256, KeyRole::Zsk)];
    let world = neighbours().zone(zone(ZONE).keys(&keys)).start().await.unwrap();
    let mut watch = Watch::new(&world).await;
    let next = world.add_key(ZONE, KeyKind::P256, KeyRole::NextZsk).unwrap();
    watch.good(&world, "new key published").await;
    world.set_role(ZONE, next, KeyRole::Zsk).unwrap();
    world.set_role(ZONE, 1, KeyRole::NextZsk).unwrap();
    watch.good(&world, "new key signs").await;
    world.set_role(ZONE, 1, KeyRole::Retired).unwrap();
    watch.good(&world, "old key gone").await;
}

// DNS-01: both key signing keys sign, then the DS changes (RFC 6781 section 4.1.2).
#[tokio::test]
async fn key_signing_key_twice() {
    let keys = [(KeyKind::P256, KeyRole::Ksk), (KeyKind::P256, KeyRole::Zsk)];
    let world = neighbours().zone(zone(ZONE).keys(&keys)).start().await.unwrap();
    let mut watch = Watch::new(&world).await;
    let next = world.add_key(ZONE, KeyKind::P256, KeyRole::KskWithoutDs).unwrap();
    watch.good(&world, "both sign").await;
    world.set_role(ZONE, next, KeyRole::Ksk).unwrap();
    world.set_role(ZONE, 0, KeyRole::KskWithoutDs).unwrap();
    world.update_ds(ZONE).unwrap();
    watch.good(&world, "DS changed").await;
    world.set_role(ZONE, 0, KeyRole::Retired).unwrap();
    watch.good(&world, "old key gone").await;
}

// DNS-01: both DS first, then the key changes.
#[tokio::test]
async fn ds_twice() {
    let world = world().start().await.unwrap();
    let mut watch = Watch::new(&world).await;
    let next = world.add_key(ZONE, KeyKind::P256, KeyRole::DsOnly).unwrap();
    world.update_ds(ZONE).unwrap();
    watch.good(&world, "both DS").await;
    // The keys are others from one moment to the next: what is remembered of the old ones makes nothing Bogus.
    world.set_role(ZONE, next, KeyRole::Csk).unwrap();
    world.set_role(ZONE, 0, KeyRole::DsOnly).unwrap();
    watch.sees("new key, old ones remembered", "S").await;
    watch.good(&world, "new key").await;
    world.set_role(ZONE, 0, KeyRole::Retired).unwrap();
    world.update_ds(ZONE).unwrap();
    watch.good(&world, "old DS gone").await;
}

// DNS-01: from one algorithm to another (RFC 6781 section 4.1.4): signatures, key, DS, and back in that order.
#[tokio::test]
async fn algorithm() {
    for (from, to) in [(KeyKind::P256, KeyKind::Ed25519), (KeyKind::Rsa2048, KeyKind::P384)] {
        let world = neighbours().zone(zone(ZONE).key(from)).start().await.unwrap();
        let mut watch = Watch::new(&world).await;
        let next = world.add_key(ZONE, to, KeyRole::Unpublished).unwrap();
        watch.good(&world, "signatures of both").await;
        world.set_role(ZONE, next, KeyRole::CskWithoutDs).unwrap();
        watch.good(&world, "keys of both").await;
        world.set_role(ZONE, next, KeyRole::Csk).unwrap();
        world.update_ds(ZONE).unwrap();
        watch.good(&world, "DS of both").await;
        world.set_role(ZONE, 0, KeyRole::CskWithoutDs).unwrap();
        world.update_ds(ZONE).unwrap();
        watch.good(&world, "DS of the new one").await;
        world.set_role(ZONE, 0, KeyRole::Unpublished).unwrap();
        watch.good(&world, "key of the new one").await;
        world.set_role(ZONE, 0, KeyRole::Retired).unwrap();
        watch.good(&world, "signatures of the new one").await;
    }
}

// DNS-01: everything changed at once, as after a compromise. Nobody is let in by what is not proven, and it is over when the old has run
// out.
#[tokio::test]
async fn all_at_once() {
    let world = world().start().await.unwrap();
    let mut watch = Watch::new(&world).await;
    world.add_key(ZONE, KeyKind::P256, KeyRole::Csk).unwrap();
    world.set_role(ZONE, 0, KeyRole::Retired).unwrap();
    world.update_ds(ZONE).unwrap();
    assert_eq!(code(&fresh(&world, NAME).await), "S");
    watch.sees("right after it", "S").await;
    watch.clock.forward(TTL);
    watch.sees("when the old has run out", "S").await;
    // A zone whose DS does not follow is Bogus when the old has run out, and good again when it does.
    let next = world.add_key(ZONE, KeyKind::P256, KeyRole::Csk).unwrap();
    world.set_role(ZONE, 1, KeyRole::Retired).unwrap();
    assert_eq!(code(&fresh(&world, NAME).await), "B");
    watch.clock.forward(TTL);
    watch.sees("the DS forgotten", "B").await;
    world.update_ds(ZONE).unwrap();
    watch.clock.forward(6);
    watch.sees("the DS there", "S").await;
    watch.clock.forward(TTL);
    watch.sees("the DS there for long", "S").await;
    // A revoked key and its successor (RFC 5011).
    world.add_key(ZONE, KeyKind::P256, KeyRole::Csk).unwrap();
    world.set_role(ZONE, next, KeyRole::Revoked).unwrap();
    world.update_ds(ZONE).unwrap();
    watch.clock.forward(TTL);
    watch.good(&world, "revoked").await;
}

// DNS-03: a zone that gives up signing, and takes it up again.
#[tokio::test]
async fn unsigned_and_back() {
    let world = world().start().await.unwrap();
    let mut watch = Watch::new(&world).await;
    world.set_delegation(ZONE, Delegation::NoDs).unwrap();
    assert_eq!(code(&fresh(&world, NAME).await), "I");
    // Its signatures are good yet for those who remember its keys.
    watch.sees("the DS gone", "S/I").await;
    watch.clock.forward(TTL);
    watch.sees("the DS gone for long", "I").await;
    world.set_delegation(ZONE, Delegation::Secure).unwrap();
    assert_eq!(code(&fresh(&world, NAME).await), "S");
    watch.sees("the DS there", "S/I").await;
    watch.clock.forward(TTL);
    watch.sees("the DS there for long", "S").await;
}
