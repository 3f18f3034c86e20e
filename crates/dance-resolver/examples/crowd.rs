//! Two thousand clients at once, each with a name of its own whose answer takes a second: how long until all are served, and how much
//! memory that takes. `cargo run --release -p dance-resolver --example crowd [CLIENTS]`
#![allow(clippy::unwrap_used, reason = "a measurement")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dance_core::SubjectPublicKeyInfoDer;
use dance_core::clientid::{ClientForm, Profile};
use dance_core::matching::{Credential, MatchOptions};
use dance_core::name::{ClientName, OwnerName};
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::verdict::{ClientId, Presented, Settings, Verdict};
use dance_resolver::{Limits, Resolver, ResolverConfig, Servers, TlsaSource as _, TrustAnchorSource, Verifier};
use dance_testkit::{CertSpec, Fault, SignedWorld, Zone};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() {
    let clients: u32 = std::env::args().nth(1).map_or(2000, |count| count.parse().unwrap());
    let identity = CertSpec::client("any.example.test").self_signed().unwrap();
    let record = identity.tlsa_311().unwrap();
    let world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(Zone::new("example.test").tlsa("*._device.example.test", record, 300))
        .start()
        .await
        .unwrap();
    let resolver = Resolver::new(ResolverConfig {
        servers: Servers::List(vec![world.addr().into()]),
        trust_anchor: TrustAnchorSource::Text(world.trust_anchor_text().to_owned()),
        max_concurrent: clients as usize,
        ..ResolverConfig::default()
    })
    .unwrap();
    // The zone's keys, so that the delay is the name's alone.
    resolver.lookup(&OwnerName::verbatim(&ClientName::parse(b"first._device.example.test").unwrap())).await;
    world.add_zone_fault("example.test", Fault::DelayedBy(Duration::from_secs(1))).unwrap();
    world.clear_log();

    let limits = Limits { total: clients as usize, per_entry: clients as usize, ..Limits::default() };
    let settings = Settings {
        profile: Profile::Current,
        policy: Policy::Require,
        on_lookup_failure: OnLookupFailure::Abort,
        allow_list: AllowList::parse(["**.example.test"]).unwrap(),
        service_label: None,
        derive_without_signal: false,
        wildcard_ee: WildcardEndEntity::Accept,
        matching: MatchOptions::default(),
    };
    let verifier = Arc::new(Verifier::new(Arc::new(settings), Arc::new(resolver), limits).unwrap());
    let credential = Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(identity.spki_der().to_vec()));

    let before = memory("VmRSS:");
    let started = Instant::now();
    let mut crowd = JoinSet::new();
    for client in 0..clients {
        let verifier = Arc::clone(&verifier);
        let name = ClientName::parse(format!("dev{client}._device.example.test").as_bytes()).unwrap();
        let presented =
            Presented { credential: Some(credential.clone()), client_id: ClientId::Form(ClientForm::Name(name)) };
        // Not in one burst, which the one socket of the world could not take in; all are under way long before the first ends.
        if client % 100 == 99 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let peer = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | client));
        crowd.spawn(async move { verifier.verify(&presented, peer).await });
    }
    let (mut served, mut refused) = (0, Vec::new());
    while let Some(verified) = crowd.join_next().await {
        match verified.unwrap().decision.verdict {
            Verdict::Authenticated(_) => served += 1,
            other => refused.push(other),
        }
    }
    let took = started.elapsed();
    println!("{served} of {clients} served in {} ms, {} questions", took.as_millis(), world.queries().len());
    println!("memory (with the DNS world): {before} KiB before, {} KiB at most", memory("VmHWM:"));
    if let Some(first) = refused.first() {
        println!("not served: {}, the first: {first:?}", refused.len());
    }
}

/// A line of /proc/self/status, in KiB; 0 where there is none.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
