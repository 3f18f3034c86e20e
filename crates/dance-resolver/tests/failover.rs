//! Several resolvers: who is asked first, and when the next one is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod common;
mod fronts;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use common::{RECORD, code, config, owner};
use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_resolver::{
    Detail, DnsMode, Lookup, MAX_SOCKETS, OptRcode, Protocol, Resolver, ResolverConfig, Server, Servers,
    TlsaSource as _,
};
use dance_testkit::{Fault, Front, SignedWorld, Zone};
use fronts::{By, Plain};
use futures_util::future::select_all;
use tokio::net::UdpSocket;

const NAME: &str = "dev1._device.example.test";

/// One question for each look-up.
async fn world() -> Arc<SignedWorld> {
    let zone = Zone::new("example.test").tlsa(NAME, RECORD, 300).tlsa("*._wild.example.test", RECORD, 300);
    let world = SignedWorld::builder().front(Front::Validating).zone(Zone::new("test")).zone(zone);
    Arc::new(world.start().await.unwrap())
}

fn resolver(world: &SignedWorld, servers: &[Server]) -> Resolver {
    let servers = Servers::List(servers.to_vec());
    Resolver::new(ResolverConfig { servers, mode: DnsMode::AdBit, ..config(world) }).unwrap()
}

fn device(number: usize) -> dance_core::name::OwnerName {
    owner(&format!("dev{number}._wild.example.test"))
}

fn failure(lookup: &Lookup) -> LookupFailure {
    match lookup.answer {
        TlsaAnswer::Indeterminate(failure) => failure,
        ref other => panic!("expected a failure, found {other:?}"),
    }
}

/// A reply that is a code and the question, or a code alone.
fn error(question: &[u8], rcode: u8, repeats_question: bool) -> Vec<u8> {
    let name = question[12..].iter().position(|octet| *octet == 0).unwrap() + 1;
    let mut reply = question[..if repeats_question { 12 + name + 4 } else { 12 }].to_vec();
    reply[2] |= 0x80;
    reply[3] = rcode;
    reply[4..12].fill(0);
    reply[5] = u8::from(repeats_question);
    reply
}

// DNS-10
#[tokio::test]
async fn a_silent_resolver_is_asked_second_from_then_on() {
    let world = world().await;
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let arrival = |who: &'static str| {
        let arrivals = Arc::clone(&arrivals);
        move |_: By, question: &[u8]| arrivals.lock().unwrap().push((question[12..].to_ascii_lowercase(), who))
    };
    let noted = arrival("silent");
    let silent = Plain::start(move |by, question| {
        noted(by, question);
        Vec::new()
    })
    .await;
    let (noted, of_front) = (arrival("good"), Arc::clone(&world));
    let good = Plain::start(move |by, question| {
        noted(by, question);
        of_front.answer(question).into_iter().collect()
    })
    .await;
    let resolver = resolver(&world, &[silent.addr.into(), good.addr.into()]);
    for number in 0..20 {
        assert_eq!(code(&resolver.lookup(&device(number)).await), "S");
        let arrivals = arrivals.lock().unwrap();
        let label = format!("dev{number}");
        let (_, who) = arrivals.iter().find(|(question, _)| question[1..].starts_with(label.as_bytes())).unwrap();
        assert_eq!(*who, if number == 0 { "silent" } else { "good" });
    }
}

// DNS-10
#[tokio::test]
async fn a_resolver_that_is_back_is_asked_first_again() {
    let world = world().await;
    let up = Arc::new(AtomicBool::new(false));
    let (of_front, answers) = (Arc::clone(&world), Arc::clone(&up));
    let first = Plain::start(move |_, question| match answers.load(Ordering::SeqCst) {
        true => of_front.answer(question).into_iter().collect(),
        false => Vec::new(),
    })
    .await;
    // The second has nothing to say on its own.
    let of_front = Arc::clone(&world);
    let second = Plain::start(move |_, question| of_front.answer(question).into_iter().collect()).await;
    let resolver = resolver(&world, &[first.addr.into(), second.addr.into()]);
    assert_eq!(code(&resolver.lookup(&device(0)).await), "S");
    assert_eq!(second.asked().len(), 1);
    up.store(true, Ordering::SeqCst);
    // Sooner or later one question goes to the first too, on the side, and is answered; from then on the second has peace.
    let mut number = 1;
    loop {
        let before = second.asked().len();
        assert_eq!(code(&resolver.lookup(&device(number)).await), "S");
        if second.asked().len() == before {
            break;
        }
        number += 1;
    }
    assert!(first.asked().len() >= 2);
}

// DNS-10
#[tokio::test]
async fn an_error_is_not_the_last_word() {
    for (fault, expected) in [(Fault::Servfail, LookupFailure::Servfail), (Fault::Refused, LookupFailure::Refused)] {
        let (good, bad) = (world().await, world().await);
        bad.add_server_fault(fault).unwrap();
        let lookup = resolver(&good, &[bad.addr().into(), good.addr().into()]).lookup(&owner(NAME)).await;
        assert_eq!((code(&lookup), lookup.trace.queries), ("S", 2));
        // Where the others know no better, it is.
        let lookup = resolver(&good, &[bad.addr().into(), bad.addr().into()]).lookup(&owner(NAME)).await;
        assert_eq!(failure(&lookup), expected);
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let silent = silent.local_addr().unwrap().into();
        let lookup = resolver(&good, &[bad.addr().into(), silent]).lookup(&owner(NAME)).await;
        assert_eq!(failure(&lookup), expected);
    }
}

// DNS-10: of two errors, the one that says more.
#[tokio::test]
async fn a_resolver_that_failed_knows_more_than_one_that_refused() {
    let (refuses, fails) = (world().await, world().await);
    refuses.add_server_fault(Fault::Refused).unwrap();
    fails.add_server_fault(Fault::Servfail).unwrap();
    let lookup = resolver(&fails, &[refuses.addr().into(), fails.addr().into()]).lookup(&owner(NAME)).await;
    assert_eq!(failure(&lookup), LookupFailure::Servfail);
}

// DNS-01: where the resolver says that validation failed, nobody else is asked for a better answer.
#[tokio::test]
async fn bogus_is_the_last_word() {
    let late = Zone::new("late.test").tlsa("dev1.late.test", RECORD, 300).expired();
    let first = SignedWorld::builder().front(Front::Validating).zone(Zone::new("test")).zone(late).start().await;
    let first = first.unwrap();
    let second = world().await;
    let lookup = resolver(&first, &[first.addr().into(), second.addr().into()]).lookup(&owner("dev1.late.test")).await;
    assert_eq!(code(&lookup), "B");
    assert!(second.queries().is_empty());
}

// DNS-01
#[tokio::test]
async fn a_resolver_that_knows_no_edns_is_told() {
    for repeats_question in [true, false] {
        let world = world().await;
        let old = Plain::start(move |_, question| vec![error(question, 1, repeats_question)]).await;
        let config = ResolverConfig { servers: Servers::List(vec![old.addr.into()]), ..config(&world) };
        let lookup = Resolver::new(config).unwrap().lookup(&owner(NAME)).await;
        assert_eq!(failure(&lookup), LookupFailure::Refused);
        let expected = Detail::ResolverWithoutEdns { server: old.addr, rcode: OptRcode::FORMERR };
        assert_eq!(lookup.trace.detail, Some(expected));
        // With another one beside it, that one is asked.
        let lookup = resolver(&world, &[old.addr.into(), world.addr().into()]).lookup(&owner(NAME)).await;
        assert_eq!(code(&lookup), "S");
    }
}

// SEC-02, DNS-09
#[tokio::test]
async fn when_all_sockets_wait_questions_go_over_tcp() {
    let world = world().await;
    let of_front = Arc::clone(&world);
    let front = Plain::start(move |by, question| match by {
        By::Udp => Vec::new(),
        By::Tcp => of_front.answer(question).into_iter().collect(),
    })
    .await;
    let resolver = resolver(&world, &[front.addr.into()]);
    let names: Vec<_> = (0..=MAX_SOCKETS).map(device).collect();
    let lookups = names.iter().map(|name| Box::pin(resolver.lookup(name)));
    let (first, _, _others) = select_all(lookups).await;
    assert_eq!(code(&first), "S");
    assert_eq!(first.trace.exchanges.iter().map(|exchange| exchange.protocol).collect::<Vec<_>>(), [Protocol::Tcp]);
    assert!(front.counts().0 <= MAX_SOCKETS);
}

// DNS-09, DNS-10
#[tokio::test]
async fn over_ipv6_as_over_ipv4() {
    if UdpSocket::bind("[::1]:0").await.is_err() {
        // A machine without IPv6 has nothing to show.
        return;
    }
    let world = world().await;
    let of_front = Arc::clone(&world);
    let front = Plain::start_v6(move |by, question| {
        let mut answer = of_front.answer(question).unwrap();
        if by == By::Udp {
            answer[2] |= 2;
        }
        vec![answer]
    })
    .await;
    assert_eq!(code(&resolver(&world, &[front.addr.into()]).lookup(&owner(NAME)).await), "S");
    assert_eq!(front.counts(), (1, 1));
}
