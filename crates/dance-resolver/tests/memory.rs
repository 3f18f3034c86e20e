//! What is remembered while strangers name zones and names without end.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{RECORD, code, config, owner};
use dance_core::policy::Pattern;
use dance_resolver::{Resolver, ResolverConfig, TlsaSource as _};
use dance_testkit::{SignedWorld, Zone};

const NAME: &str = "dev1._device.example.test";
/// Zones that a stranger has, more than there is room for.
const ZONES: usize = 40;

/// A client is looked up, and `authenticated` by it or not; then somebody who has many zones comes. How many questions it takes to look the
/// client up again.
async fn questions_after(world: &SignedWorld, authenticated: bool) -> usize {
    // A quarter is for zones: some ten of them.
    let resolver = Resolver::new(ResolverConfig { cache_bytes: 128 * 1024, ..config(world) }).unwrap();
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    assert!(!resolver.is_in_use(&owner(NAME)));
    if authenticated {
        resolver.note_use(&owner(NAME), &Pattern::parse("**.example.test").unwrap());
        assert!(resolver.is_in_use(&owner(NAME)));
    }
    for zone in 0..ZONES {
        assert_eq!(code(&resolver.lookup(&owner(&format!("dev._device.z{zone}.many.test"))).await), "S");
    }
    world.clear_log();
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    world.queries().len()
}

// SEC-01, SEC-03: the zones of clients that were authenticated stay known, whoever has however many others looked up.
#[tokio::test]
async fn zones_without_end() {
    // Looked up each time.
    let mut world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(Zone::new("example.test").tlsa(NAME, RECORD, 0))
        .zone(Zone::new("many.test"));
    for zone in 0..ZONES {
        let apex = format!("z{zone}.many.test");
        world = world.zone(Zone::new(&apex).tlsa(&format!("dev._device.{apex}"), RECORD, 300));
    }
    let world = world.start().await.unwrap();
    assert_eq!(questions_after(&world, true).await, 1);
    let forgotten = questions_after(&world, false).await;
    assert!(forgotten > 1, "{forgotten}");
}
