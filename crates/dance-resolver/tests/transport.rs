//! Questions and answers on the wire: what is sent, how often, and what is made of what comes back, or does not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::{RECORD, code, config, owner, resolver, secure};
use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_resolver::{Detail, Lookup, Resolver, ResolverConfig, Servers, TlsaSource as _};
use dance_testkit::{Fault, Rtype, SignedWorld, Transport, WorldBuilder, Zone};
use tokio::net::UdpSocket;

const NAME: &str = "dev1._device.example.test";

fn world() -> WorldBuilder {
    SignedWorld::builder().zone(Zone::new("test")).zone(Zone::new("example.test").tlsa(NAME, RECORD, 300))
}

fn failure(lookup: &Lookup) -> LookupFailure {
    match lookup.answer {
        TlsaAnswer::Indeterminate(failure) => failure,
        ref other => panic!("expected a failure, found {other:?}, {:?}", lookup.trace),
    }
}

/// A resolver that gives up soon.
fn impatient(world: &SignedWorld) -> Resolver {
    Resolver::new(ResolverConfig { timeout: Duration::from_millis(200), ..config(world) }).unwrap()
}

// DNS-11
#[tokio::test]
async fn one_tlsa_question_with_do_and_cd() {
    let world = world().start().await.unwrap();
    let lookup = resolver(&world).lookup(&owner(NAME)).await;
    assert_eq!(secure(&lookup).ttl, 300);
    assert_eq!(world.tlsa_queries(), [NAME]);
    let queries = world.queries();
    assert_eq!(lookup.trace.queries, queries.len());
    assert!(queries.iter().all(|query| query.checking_disabled && query.dnssec_ok));
    // All others are the validator's.
    let others = queries.iter().filter(|query| query.rtype != Rtype::TLSA);
    assert!(others.clone().count() > 0);
    assert!(others.clone().all(|query| matches!(query.rtype, Rtype::DS | Rtype::DNSKEY)));
}

// DNS-06
#[tokio::test]
async fn no_base_domain_is_asked_for() {
    let world = world()
        .zone(Zone::new("other.test").tlsa("_smtp-client.host.other.test", RECORD, 300))
        .zone(Zone::new("alias.test").cname("host.alias.test", "host.other.test", 300))
        .start()
        .await
        .unwrap();
    let resolver = resolver(&world);
    assert_eq!(code(&resolver.lookup(&owner("_smtp-client.host.alias.test")).await), "SX");
    assert_eq!(world.tlsa_queries(), ["_smtp-client.host.alias.test"]);
    assert_eq!(code(&resolver.lookup(&owner("_smtp-client.host.other.test")).await), "S");
}

// DNS-09
#[tokio::test]
async fn truncated_over_udp_whole_over_tcp() {
    let world = world().server_fault(Fault::TruncateUdp).start().await.unwrap();
    let lookup = resolver(&world).lookup(&owner(NAME)).await;
    assert_eq!(secure(&lookup).records.len(), 1);
    let by = |transport| world.queries().iter().filter(|query| query.transport == transport).count();
    assert!(by(Transport::Udp) > 0);
    assert_eq!(by(Transport::Udp), by(Transport::Tcp));
}

// DNS-09
#[tokio::test]
async fn what_does_not_fit_goes_over_tcp() {
    let many: Vec<String> = (0..60).map(|n| format!("3 1 1 {n:064x}")).collect();
    let world = world().start().await.unwrap();
    world.set_tlsa(NAME, &many, 300).unwrap();
    let lookup = resolver(&world).lookup(&owner(NAME)).await;
    assert_eq!(secure(&lookup).records.len(), 60);
    let tcp: Vec<_> = world.queries().into_iter().filter(|query| query.transport == Transport::Tcp).collect();
    assert_eq!(tcp.len(), 1);
    assert_eq!((tcp[0].name.as_str(), tcp[0].rtype), (NAME, Rtype::TLSA));
}

// DNS-10
#[tokio::test]
async fn a_black_hole_is_left_in_time() {
    let world = world().fault(NAME, Fault::NeverAnswers).start().await.unwrap();
    let resolver = resolver(&world);
    // The runtime's clock jumps whenever everybody waits for time.
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let lookup = resolver.lookup(&owner(NAME)).await;
    assert!((2_900..3_000).contains(&started.elapsed().as_millis()));
    assert_eq!(failure(&lookup), LookupFailure::Timeout);
    assert_eq!(lookup.trace.detail, Some(Detail::NoReply { question: Some(format!("{NAME} TLSA").into()) }));
    let sent = lookup.trace.exchanges.iter().filter(|exchange| exchange.rtype == Rtype::TLSA).count();
    assert!((2..=3).contains(&sent), "{:?}", lookup.trace.exchanges);
    // Remembered: nothing is sent for a while.
    let again = resolver.lookup(&owner(NAME)).await;
    assert!(again.trace.from_cache);
    assert_eq!(failure(&again), LookupFailure::Timeout);
}

// DNS-10
#[tokio::test]
async fn a_black_hole_behind_the_zones_keys_is_left_in_time() {
    let world = world().fault_on_type("example.test", Rtype::DNSKEY, Fault::NeverAnswers).start().await.unwrap();
    let lookup = impatient(&world).lookup(&owner(NAME)).await;
    assert_eq!(failure(&lookup), LookupFailure::Timeout);
    assert_eq!(lookup.trace.detail, Some(Detail::NoReply { question: Some("example.test DNSKEY".into()) }));
    world.clear_faults();
    assert_eq!(code(&resolver(&world).lookup(&owner(NAME)).await), "S");
}

// DNS-10
#[tokio::test]
async fn octet_by_octet_over_tcp_is_left_in_time() {
    let world = world()
        .fault(NAME, Fault::TruncateUdp)
        .fault(NAME, Fault::SlowTcp(Duration::from_millis(50)))
        .start()
        .await
        .unwrap();
    assert_eq!(failure(&impatient(&world).lookup(&owner(NAME)).await), LookupFailure::Timeout);
}

// DNS-10
#[tokio::test]
async fn nobody_listens() {
    let world = world().start().await.unwrap();
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let nobody = Resolver::new(ResolverConfig { servers: Servers::List(vec![free.into()]), ..config(&world) }).unwrap();
    let lookup = nobody.lookup(&owner(NAME)).await;
    assert_eq!(failure(&lookup), LookupFailure::Unreachable);
    let detail = lookup.trace.detail.unwrap();
    assert!(matches!(detail, Detail::Unreachable { server, .. } if server == free));
    assert!(detail.to_string().contains("check that it runs"), "{detail}");

    // With a second resolver, that one answers, and is asked first from then on.
    let servers = Servers::List(vec![free.into(), world.addr().into()]);
    let both = Resolver::new(ResolverConfig { servers, ..config(&world) }).unwrap();
    let lookup = both.lookup(&owner(NAME)).await;
    assert_eq!(code(&lookup), "S");
    // Those that were asked at once all went to the first.
    assert_eq!(lookup.trace.queries, 2 * world.queries().len());
    world.clear_log();
    assert_eq!(resolver_asks(&both, "nx.example.test").await, ("SX", world.queries().len()));
}

/// What a look-up comes to, and how many questions it sends.
async fn resolver_asks(resolver: &Resolver, name: &str) -> (&'static str, usize) {
    let lookup = resolver.lookup(&owner(name)).await;
    (code(&lookup), lookup.trace.queries)
}

// DNS-10
#[tokio::test]
async fn a_silent_resolver_is_passed_over_and_then_left() {
    let world = world().start().await.unwrap();
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let servers = Servers::List(vec![silent.local_addr().unwrap().into(), world.addr().into()]);
    let resolver = Resolver::new(ResolverConfig { servers, ..config(&world) }).unwrap();
    let lookup = resolver.lookup(&owner(NAME)).await;
    assert_eq!(code(&lookup), "S");
    // Those that were asked at once went unheard, and were asked again.
    assert_eq!(lookup.trace.queries, 2 * world.queries().len());
    world.clear_log();
    assert_eq!(resolver_asks(&resolver, "nx.example.test").await, ("SX", world.queries().len()));
}

/// Forwards to a world, after an answer of its own making.
async fn forged_first(world: SocketAddr, forge: impl Fn(&mut Vec<u8>) + Send + 'static, foreign: bool) -> SocketAddr {
    let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, asker) = front.recv_from(&mut buffer).await.unwrap();
            let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            back.send_to(&buffer[..length], world).await.unwrap();
            let mut answer = [0; 4096];
            let length = back.recv(&mut answer).await.unwrap();
            let mut forged = answer[..length].to_vec();
            forge(&mut forged);
            let from = if foreign { &stranger } else { &front };
            from.send_to(&forged, asker).await.unwrap();
            front.send_to(&answer[..length], asker).await.unwrap();
        }
    });
    address
}

/// SERVFAIL with no records.
fn servfail(message: &mut [u8]) {
    message[3] = (message[3] & 0xf0) | 2;
}

// DNS-01
#[tokio::test]
async fn replies_that_do_not_fit_are_not_heard() {
    let world = world().start().await.unwrap();
    let through = async |front: SocketAddr| {
        let servers = Servers::List(vec![front.into()]);
        let resolver = Resolver::new(ResolverConfig { servers, ..config(&world) }).unwrap();
        resolver.lookup(&owner(NAME)).await
    };
    // The control: a forged reply that fits is taken for the resolver's.
    let front = forged_first(world.addr(), |message| servfail(message), false).await;
    assert_eq!(failure(&through(front).await), LookupFailure::Servfail);
    // From another port.
    let front = forged_first(world.addr(), |message| servfail(message), true).await;
    assert_eq!(code(&through(front).await), "S");
    // With another ID, another question, as a question, as garbage.
    let spoils: [fn(&mut Vec<u8>); 4] = [
        |message| message[0] ^= 1,
        |message| message[14] ^= 1,
        |message| message[2] &= 0x7f,
        |message| message.truncate(7),
    ];
    for spoil in spoils {
        let forge = move |message: &mut Vec<u8>| {
            servfail(message);
            spoil(message);
        };
        let front = forged_first(world.addr(), forge, false).await;
        assert_eq!(code(&through(front).await), "S");
    }
}

// DNS-10
#[tokio::test]
async fn replies_under_a_wrong_id_or_question_are_no_answer() {
    for fault in [Fault::WrongId, Fault::WrongQuestion] {
        let world = world().fault(NAME, fault).start().await.unwrap();
        assert_eq!(failure(&impatient(&world).lookup(&owner(NAME)).await), LookupFailure::Timeout);
    }
}

// DNS-01
#[tokio::test]
async fn error_codes_and_replies_that_do_not_decode() {
    let cases = [
        (Fault::Servfail, LookupFailure::Servfail),
        (Fault::Refused, LookupFailure::Refused),
        (Fault::FormErr, LookupFailure::Refused),
        (Fault::Malformed, LookupFailure::Malformed),
        (Fault::OtherOwner("dev2._device.example.test".into()), LookupFailure::Malformed),
    ];
    for (fault, expected) in cases {
        let world = world().zone(Zone::new("control.test").tlsa("dev1._device.control.test", RECORD, 300));
        let world = world.fault(NAME, fault.clone()).start().await.unwrap();
        world.set_tlsa("dev2._device.example.test", &[RECORD], 300).unwrap();
        let resolver = resolver(&world);
        assert_eq!(failure(&resolver.lookup(&owner(NAME)).await), expected, "{fault:?}");
        assert_eq!(code(&resolver.lookup(&owner("dev1._device.control.test")).await), "S");
    }
}

// DNS-01: an error of the resolver on the way is not taken for a broken chain of trust, and not remembered as one.
#[tokio::test]
async fn error_codes_for_the_zones_keys() {
    for rtype in [Rtype::DS, Rtype::DNSKEY] {
        for (fault, expected) in [(Fault::Servfail, LookupFailure::Servfail), (Fault::Refused, LookupFailure::Refused)]
        {
            let world = world().fault_on_type("example.test", rtype, fault).start().await.unwrap();
            let clock = common::TestClock::new();
            let resolver = Resolver::new(ResolverConfig { clock: clock.clock(), ..config(&world) }).unwrap();
            assert_eq!(failure(&resolver.lookup(&owner(NAME)).await), expected);
            world.clear_faults();
            clock.forward(6);
            assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
        }
    }
}

// DNS-01
#[tokio::test]
async fn a_resolver_that_drops_signatures_is_named() {
    for fault in [Fault::StrippedSignatures, Fault::IgnoresEdns] {
        let world = world().server_fault(fault).start().await.unwrap();
        let lookup = resolver(&world).lookup(&owner(NAME)).await;
        assert_eq!(code(&lookup), "B");
        assert_eq!(lookup.trace.detail, Some(Detail::ResolverStripsSignatures { server: world.addr() }));
        world.clear_faults();
        assert_eq!(code(&resolver(&world).lookup(&owner(NAME)).await), "S");
    }
}

// DNS-01: as that of a home router which knows addresses and nothing else.
#[tokio::test]
async fn a_reply_without_any_record_is_told() {
    let world = world().server_fault(Fault::EmptyAnswer).start().await.unwrap();
    let lookup = resolver(&world).lookup(&owner(NAME)).await;
    assert_eq!(code(&lookup), "B");
    assert_eq!(lookup.trace.detail, Some(Detail::EmptyReply { server: world.addr() }));
}
