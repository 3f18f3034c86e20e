//! What a look-up costs: of a name that is known, of a new name in a known zone, and of one of which nothing is known. The server runs in a thread
//! of its own, so the processor time counted is the resolver's alone, with that of its questions in the system.
#![allow(missing_docs, clippy::unwrap_used, reason = "benchmarks")]

use std::time::Duration;

use dance_core::name::{ClientName, OwnerName};
use dance_resolver::{Lookup, Resolver, ResolverConfig, Servers, TlsaSource as _, TrustAnchorSource};
use dance_testkit::{KeyKind, SignedWorld, Zone};
use divan::Bencher;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;

const RECORD: &str = "3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const KINDS: [KeyKind; 4] = [KeyKind::P256, KeyKind::Ed25519, KeyKind::Rsa2048, KeyKind::P384];
/// Look-ups of which the mean is told.
const LOOKUPS: u32 = 500;

fn main() {
    for kind in KINDS {
        let bench = Bench::new(kind);
        let resolver = bench.resolver();
        bench.look_up(&resolver, 0);
        let (known_zone, queries) = bench.measure(1..=LOOKUPS, |n| bench.look_up(&resolver, n));
        println!("{kind:?}: new name in a known zone: {known_zone:?} of processor time, {queries} queries");
        let (cold, queries) = bench.measure(1..=LOOKUPS / 10, |n| bench.look_up(&bench.resolver(), n));
        println!("{kind:?}: nothing known, three zones: {cold:?} of processor time, {queries} queries");
    }
    divan::main();
}

struct Bench {
    runtime: Runtime,
    config: ResolverConfig,
}

impl Bench {
    fn new(kind: KeyKind) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let zones = [Zone::new(".").key(kind), Zone::new("test").key(kind)];
                let zone = Zone::new("example.test").key(kind).tlsa("*._device.example.test", RECORD, 300);
                // Names of their own, so that the answers are not those of a wildcard.
                let names = (0..=LOOKUPS).map(|n| format!("dev{n}._device.example.test"));
                let zone = names.fold(zone, |zone, name| zone.tlsa(&name, RECORD, 300));
                let world =
                    zones.into_iter().chain([zone]).fold(SignedWorld::builder(), |world, zone| world.zone(zone));
                let world = world.start().await.unwrap();
                sender.send((world.addr(), world.trust_anchor_text().to_owned())).unwrap();
                std::future::pending::<()>().await;
            });
        });
        let (address, anchor) = receiver.recv().unwrap();
        let config = ResolverConfig {
            servers: Servers::List(vec![address.into()]),
            trust_anchor: TrustAnchorSource::Text(anchor),
            ..ResolverConfig::default()
        };
        Self { runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(), config }
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(self.config.clone()).unwrap()
    }

    fn look_up(&self, resolver: &Resolver, n: u32) -> Lookup {
        let lookup = self.runtime.block_on(resolver.lookup(&owner(n)));
        assert!(lookup.answer.secure().is_ok(), "{lookup:?}");
        lookup
    }

    /// The mean of this thread's processor time, and the queries that each look-up took.
    fn measure(&self, numbers: std::ops::RangeInclusive<u32>, look_up: impl Fn(u32) -> Lookup) -> (Duration, usize) {
        let count = u32::try_from(numbers.clone().count()).unwrap();
        let before = processor_time();
        let queries: usize = numbers.map(|n| look_up(n).trace.queries).sum();
        ((processor_time() - before) / count, queries / usize::try_from(count).unwrap())
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

fn owner(n: u32) -> OwnerName {
    let name = format!("dev{n}._device.example.test");
    OwnerName::verbatim(&ClientName::parse(name.as_bytes()).unwrap())
}

/// A name that is known, as the driver asks for it.
#[divan::bench]
fn known(bencher: Bencher<'_, '_>) {
    let bench = Bench::new(KeyKind::P256);
    let resolver = bench.resolver();
    bench.look_up(&resolver, 0);
    let owner = owner(0);
    bencher.bench(|| resolver.cached(&owner).unwrap());
}

/// The same by many threads at once.
#[divan::bench(threads = [2, 4])]
fn known_by_many(bencher: Bencher<'_, '_>) {
    let bench = Bench::new(KeyKind::P256);
    let resolver = bench.resolver();
    for n in 0..16 {
        bench.look_up(&resolver, n);
    }
    let owners: Vec<OwnerName> = (0..16).map(owner).collect();
    bencher.bench(|| owners.iter().filter_map(|owner| resolver.cached(owner)).count());
}
