//! Time that passes, or goes back, while something is remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use dance_core::UnixTime;
use dance_core::answer::{Denial, TlsaAnswer};
use dance_resolver::{Clock, Resolver, ResolverConfig, TlsaSource as _, now};
use dance_testkit::{Fault, Forged, RecordSet, Rtype, Sign, SignedWorld, Zone};

use crate::common::{RECORD, code, config, owner, secure};
use crate::{NAME, ZONE, filled, fresh, soa, zone};

/// A name whose record is good for longer than some signatures.
const LONG: &str = "long._device.example.test";

/// A clock that can be set.
#[derive(Clone, Default)]
struct Hand(Arc<AtomicI64>);

impl Hand {
    fn set(&self, ahead: i64) {
        self.0.store(ahead, Ordering::SeqCst);
    }

    fn resolver(&self, world: &SignedWorld) -> Resolver {
        let ahead = Arc::clone(&self.0);
        let clock = Clock::from_fn(move || {
            let now = now().as_secs().saturating_add_signed(ahead.load(Ordering::SeqCst));
            UnixTime::since_unix_epoch(Duration::from_secs(now))
        });
        Resolver::new(ResolverConfig { clock, ..config(world) }).unwrap()
    }
}

/// Signatures of `short` end in 1,000 seconds, all others in two weeks.
async fn world(short: &str) -> SignedWorld {
    let timed = |zone: Zone, apex: &str| if apex == short { zone.signatures(-3600, 1000) } else { zone };
    SignedWorld::builder()
        .zone(timed(Zone::new("."), "."))
        .zone(timed(Zone::new("test"), "test"))
        .zone(timed(filled(Zone::new(ZONE)), ZONE).tlsa(LONG, RECORD, 3000).negative_ttl(3600))
        .zone(zone("other.test"))
        .start()
        .await
        .unwrap()
}

// DNS-08: what is remembered of a zone, of its parent and of the root ends with their signatures, and so does the answer.
#[tokio::test]
async fn signatures_that_end_while_they_are_remembered() {
    for short in [".", "test", ZONE] {
        let world = world(short).await;
        let hand = Hand::default();
        let resolver = hand.resolver(&world);
        let find = async |name: &str| resolver.lookup(&owner(name)).await;
        let before = now().as_secs();
        let left = secure(&find(LONG).await).valid_until.as_secs() - before;
        assert!((990..=1001).contains(&left), "{short}: good for {left} seconds");
        assert_eq!(code(&find(NAME).await), "S");
        let denied = find("nx._device.example.test").await;
        let TlsaAnswer::Denied(Denial { valid_until, .. }) = denied.answer else { panic!("{denied:?}") };
        assert!(valid_until.as_secs() <= before + 1001);
        // Nearly over: still good.
        hand.set(980);
        assert_eq!(code(&find("exact._wild.example.test").await), "S", "{short}");
        assert!(find(LONG).await.trace.from_cache);
        // Over, for what is known and for what is not.
        hand.set(1002);
        for name in [LONG, NAME, "any._wild.example.test", "nx._device.example.test", "nodata._device.example.test"] {
            let lookup = find(name).await;
            assert_eq!(code(&lookup), "B", "{short}: {name}: {lookup:?}");
        }
        // Signed anew: good again when the failure is forgotten.
        world.resign(short, -3600, 14 * 86_400).unwrap();
        hand.set(1002 + 6);
        for name in [LONG, NAME, "any._wild.example.test"] {
            let lookup = find(name).await;
            assert_eq!(code(&lookup), "S", "{short}: {name}: {lookup:?}");
        }
    }
}

// DNS-08: so it does with those of the proof that a wildcard or a denial needs.
#[tokio::test]
async fn proofs_that_end_soon() {
    let world = world("none").await;
    let until = async |name: &str| match fresh(&world, name).await.answer {
        TlsaAnswer::Secure(secure) => secure.valid_until.as_secs(),
        TlsaAnswer::Denied(denial) => denial.valid_until.as_secs(),
        other => panic!("{other:?}"),
    };
    let soon = || Sign::by(ZONE).times(-100, 30);
    let (any, nodata) = ("any._wild.example.test", "nodata._device.example.test");
    let wild = RecordSet::of(ZONE, "*._wild.example.test", Rtype::TLSA).under(any);
    let closer = RecordSet::covering(ZONE, any).unsigned().signed(soon());
    let denial = RecordSet::of(ZONE, nodata, Rtype::NSEC).unsigned().signed(soon());
    for (name, forged, before) in [
        (any, Forged::new().answer(wild).authority(closer), 300),
        (nodata, Forged::new().authority(soa(ZONE)).authority(denial), 60),
    ] {
        assert!(until(name).await >= now().as_secs() + before - 5);
        world.add_fault(name, Fault::Answers(forged)).unwrap();
        assert!(until(name).await <= now().as_secs() + 31);
    }
}

// DNS-08: signatures that are not valid yet for a clock that was set back are not, whatever was thought of them before.
#[tokio::test]
async fn a_clock_that_is_set_back() {
    let world = world("none").await;
    let hand = Hand::default();
    let resolver = hand.resolver(&world);
    let find = async |name: &str| code(&resolver.lookup(&owner(name)).await);
    assert_eq!(find(NAME).await, "S");
    assert_eq!(find("nx._device.example.test").await, "SX");
    hand.set(-7200);
    assert_eq!(find("any._wild.example.test").await, "B");
    assert_eq!(find("dev1._device.other.test").await, "B");
    hand.set(10);
    assert_eq!(find("b._wild.example.test").await, "S");
    assert_eq!(find("exact._wild.example.test").await, "S");
}

// DNS-08: years ahead, and back to 1970: signature times are serial numbers (RFC 4034 section 3.1.5), and nothing overflows.
#[tokio::test]
async fn far_from_now() {
    let world = world("none").await;
    let hand = Hand::default();
    let seconds = i64::try_from(now().as_secs()).unwrap();
    for ahead in [20 * 86_400, 1 << 31, (1 << 31) - 86_400, -seconds, -seconds + 1] {
        hand.set(ahead);
        let lookup = hand.resolver(&world).lookup(&owner(NAME)).await;
        assert_eq!(code(&lookup), "B", "{ahead}: {lookup:?}");
    }
    hand.set(0);
    assert_eq!(code(&hand.resolver(&world).lookup(&owner(NAME)).await), "S");
}
