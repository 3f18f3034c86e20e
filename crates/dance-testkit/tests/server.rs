//! The server itself: transports, faults of the message, the log, and changes while it runs. These tests are about the
//! test world, so they claim no requirement of the product.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::Want::{self, Bogus, NoData, NxDomain, Positive};
use common::{RDATA, ask_validating, connect, has_tlsa, look_up, look_up_from, question, receive, zone};
use dance_core::tlsa::TlsaRdata;
use dance_testkit::{Fault, Front, KeyKind, Rtype, SignedWorld, Transport, WorldError, Zone};
use domain::base::iana::Rcode;
use domain::base::opt::ExtendedError;
use domain::base::{Message, Record};
use domain::dnssec::validator::base::DnskeyExt as _;
use domain::dnssec::validator::context::ValidationState::{Insecure, Secure};
use domain::rdata::{Dnskey, Ds};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DEV1: &str = "dev1._device.example.test";
const OTHER: &str = "exact._wild.example.test";

async fn world(faults: &[(&str, Fault)]) -> SignedWorld {
    let big: String = (0..60).map(|number| format!("big._device 300 IN TLSA 3 1 1 {number:064x}\n")).collect();
    let mut builder = SignedWorld::builder().zone(zone("example").text(&big));
    for (name, fault) in faults {
        builder = builder.fault(name, fault.clone());
    }
    builder.start().await.unwrap()
}

async fn ask_udp(world: &SignedWorld, name: &str) -> Message<Bytes> {
    let socket = connect(world).await;
    socket.send(&question(name, Rtype::TLSA, |_| ())).await.unwrap();
    receive(&socket).await
}

/// How many records of a type the answer section holds.
fn count(reply: &Message<Bytes>, rtype: Rtype) -> usize {
    reply.answer().unwrap().flatten().filter(|record| record.rtype() == rtype).count()
}

async fn ask_tcp(world: &SignedWorld, octets: &[u8]) -> Message<Bytes> {
    let mut stream = TcpStream::connect(world.addr()).await.unwrap();
    stream.write_u16(octets.len().try_into().unwrap()).await.unwrap();
    stream.write_all(octets).await.unwrap();
    let length = stream.read_u16().await.unwrap();
    let mut reply = vec![0; length.into()];
    stream.read_exact(&mut reply).await.unwrap();
    Message::from_octets(reply.into()).unwrap()
}

#[tokio::test]
async fn log_holds_each_question_with_its_transport() {
    let world = world(&[]).await;
    assert_eq!(look_up(&world, DEV1).await, Positive(Secure));
    assert_eq!(world.tlsa_queries(), [DEV1]);
    let queries = world.queries();
    let first = queries.first().unwrap();
    assert_eq!((first.name.as_str(), first.rtype, first.transport), (DEV1, Rtype::TLSA, Transport::Udp));
    assert!(first.checking_disabled && first.dnssec_ok && !first.authentic_data);
    assert!(queries.iter().any(|query| query.name == "example.test" && query.rtype == Rtype::DS));
    assert!(queries.iter().any(|query| query.name.is_empty() && query.rtype == Rtype::DNSKEY));
    assert!(queries.iter().all(|query| query.transport == Transport::Udp));
    assert!(queries.is_sorted_by_key(|query| query.at));

    world.clear_log();
    assert!(world.queries().is_empty());
    // 60 records do not fit into 1232 octets.
    assert_eq!(look_up(&world, "big._device.example.test").await, Positive(Secure));
    let queries = world.queries();
    let transports: Vec<_> =
        queries.iter().filter(|query| query.rtype == Rtype::TLSA).map(|query| query.transport).collect();
    assert_eq!(transports, [Transport::Udp, Transport::Tcp]);
}

#[tokio::test]
async fn a_question_can_be_waited_for() {
    let world = world(&[]).await;
    let (query, ()) = tokio::join!(world.wait_for_tlsa("DEV1._device.example.test."), async {
        ask_udp(&world, OTHER).await;
        ask_udp(&world, DEV1).await;
    });
    assert_eq!(query.name, DEV1);
    // One that has come already is found at once.
    assert_eq!(world.wait_for_tlsa(OTHER).await.name, OTHER);
}

#[tokio::test]
async fn truncation_hides_the_answer_from_udp_only() {
    let world = world(&[(DEV1, Fault::TruncateUdp)]).await;
    let reply = ask_udp(&world, DEV1).await;
    assert!(reply.header().tc() && !has_tlsa(&reply));
    let reply = ask_tcp(&world, &question(DEV1, Rtype::TLSA, |_| ())).await;
    assert!(!reply.header().tc() && has_tlsa(&reply));
    assert_eq!(look_up(&world, DEV1).await, Positive(Secure));
}

#[tokio::test]
async fn closed_connection_in_place_of_an_answer() {
    let world = world(&[(DEV1, Fault::ClosesTcp)]).await;
    assert!(has_tlsa(&ask_udp(&world, DEV1).await));
    let asked = question(DEV1, Rtype::TLSA, |_| ());
    let mut stream = TcpStream::connect(world.addr()).await.unwrap();
    stream.write_u16(asked.len().try_into().unwrap()).await.unwrap();
    stream.write_all(&asked).await.unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    // Positive control.
    assert!(has_tlsa(&ask_tcp(&world, &question(OTHER, Rtype::TLSA, |_| ())).await));
}

#[tokio::test]
async fn response_codes() {
    let cases =
        [(Fault::Servfail, Rcode::SERVFAIL), (Fault::Refused, Rcode::REFUSED), (Fault::FormErr, Rcode::FORMERR)];
    for (fault, rcode) in cases {
        let world = world(&[(DEV1, fault)]).await;
        assert_eq!(look_up(&world, DEV1).await, Want::Rcode(rcode));
        assert_eq!(look_up(&world, OTHER).await, Positive(Secure));
    }
}

#[tokio::test]
async fn fault_on_one_type_of_question() {
    let world = world(&[]).await;
    world.add_fault_on_type("example.test", Rtype::DS, Fault::Servfail).unwrap();
    let socket = connect(&world).await;
    for (rtype, rcode) in [(Rtype::DS, Rcode::SERVFAIL), (Rtype::DNSKEY, Rcode::NOERROR)] {
        socket.send(&question("example.test", rtype, |_| ())).await.unwrap();
        assert_eq!(receive(&socket).await.header().rcode(), rcode);
    }
}

#[tokio::test]
async fn silence_and_delay() {
    const LATE: &str = "alias._device.example.test";
    let delay = Duration::from_millis(30);
    let world = world(&[(DEV1, Fault::NeverAnswers), (OTHER, Fault::DelayedBy(delay))]).await;
    let socket = connect(&world).await;
    // Datagrams on one socket are taken in order: what comes back shows what was held back.
    for name in [DEV1, OTHER, "nodata._device.example.test"] {
        socket.send(&question(name, Rtype::TLSA, |_| ())).await.unwrap();
    }
    let first = receive(&socket).await;
    assert_eq!(first.first_question().unwrap().qname().to_string(), "nodata._device.example.test");
    assert!(has_tlsa(&receive(&socket).await));
    // The alias leads to the silent name.
    socket.send(&question(LATE, Rtype::TLSA, |_| ())).await.unwrap();
    socket.send(&question("foo._wild.example.test", Rtype::TLSA, |_| ())).await.unwrap();
    let next = receive(&socket).await;
    assert_eq!(next.first_question().unwrap().qname().to_string(), "foo._wild.example.test");
    assert_eq!(world.tlsa_queries().len(), 5);
}

#[tokio::test]
async fn slow_tcp_is_complete_in_the_end() {
    let world = world(&[(DEV1, Fault::SlowTcp(Duration::from_micros(1)))]).await;
    assert!(has_tlsa(&ask_tcp(&world, &question(DEV1, Rtype::TLSA, |_| ())).await));
}

#[tokio::test]
async fn answers_that_do_not_fit_their_question() {
    let world = world(&[]).await;
    let socket = connect(&world).await;
    let asked = question(DEV1, Rtype::TLSA, |header| header.set_id(77));
    let ask = async |fault: Option<Fault>| {
        world.clear_faults();
        if let Some(fault) = fault {
            world.add_fault(DEV1, fault).unwrap();
        }
        socket.send(&asked).await.unwrap();
        receive(&socket).await
    };
    // Positive control.
    let reply = ask(None).await;
    assert_eq!(reply.header().id(), 77);
    assert!(has_tlsa(&reply) && reply.opt().is_some());
    let records: Vec<_> = reply.answer().unwrap().flatten().collect();
    assert!(records.iter().all(|record| record.ttl().as_secs() == 300));

    assert_ne!(ask(Some(Fault::WrongId)).await.header().id(), 77);
    assert!(ask(Some(Fault::WrongQuestion)).await.first_question().unwrap().qname().is_root());
    let reply = ask(Some(Fault::IgnoresEdns)).await;
    assert!(reply.opt().is_none() && has_tlsa(&reply));
    assert!(reply.answer().unwrap().flatten().all(|record| record.rtype() == Rtype::TLSA));
    let reply = ask(Some(Fault::Malformed)).await;
    assert!(reply.iter().any(|record| record.is_err()));
    let reply = ask(Some(Fault::OtherOwner(OTHER.into()))).await;
    assert!(reply.answer().unwrap().flatten().all(|record| record.owner().to_string() == OTHER));
    assert!(reply.answer().unwrap().count() > 0);
    let reply = ask(Some(Fault::ForgedTtl(86_400))).await;
    assert!(reply.answer().unwrap().flatten().all(|record| record.ttl().as_secs() == 86_400));
    let reply = ask(Some(Fault::BadSignaturesFirst(5))).await;
    assert_eq!(count(&reply, Rtype::RRSIG), 6);
}

#[tokio::test]
async fn tlsa_records_come_and_go() {
    let world = world(&[]).await;
    let new = "new._device.example.test";
    assert_eq!(look_up(&world, new).await, NxDomain(Secure));
    world.set_tlsa(new, &[RDATA], 60).unwrap();
    assert_eq!(look_up(&world, new).await, Positive(Secure));

    let record = TlsaRdata::from_wire(&[3, 1, 1, 9, 9]);
    world.set_tlsa(new, std::slice::from_ref(&record), 30).unwrap();
    let reply = ask_udp(&world, new).await;
    let mut records = reply.answer().unwrap().flatten();
    let first = records.next().unwrap();
    assert_eq!((first.rtype(), first.ttl().as_secs()), (Rtype::TLSA, 30));
    assert!(reply.as_slice().windows(5).any(|window| window == record.as_wire()));
    assert_eq!(records.next().unwrap().rtype(), Rtype::RRSIG);
    assert_eq!(look_up(&world, new).await, Positive(Secure));

    world.withdraw(new).unwrap();
    assert_eq!(look_up(&world, new).await, NxDomain(Secure));
    world.add_text("example.test", "new._device TXT \"other data\"").unwrap();
    assert_eq!(look_up(&world, new).await, NoData(Secure));
    world.remove(new, Rtype::TXT).unwrap();
    assert_eq!(look_up(&world, new).await, NxDomain(Secure));
}

#[tokio::test]
async fn malformed_tlsa_data_is_signed_like_any_other() {
    let world = world(&[]).await;
    let records: Vec<_> =
        [&[9, 9, 9, 9][..], &[3, 1, 1, 0], &[3, 1, 1]].iter().map(|wire| TlsaRdata::from_wire(wire)).collect();
    world.set_tlsa(DEV1, &records, 300).unwrap();
    world.add_text("example.test", &format!("dev1._device 300 IN TLSA {RDATA}")).unwrap();
    assert_eq!(look_up(&world, DEV1).await, Positive(Secure));
    assert_eq!(count(&ask_udp(&world, DEV1).await, Rtype::TLSA), 4);

    // The validator of `domain` cannot read these.
    let short: Vec<_> = [&[][..], &[3], &[3, 1]].iter().map(|wire| TlsaRdata::from_wire(wire)).collect();
    world.set_tlsa(DEV1, &short, 300).unwrap();
    assert_eq!(count(&ask_udp(&world, DEV1).await, Rtype::TLSA), 3);
}

#[tokio::test]
async fn failed_changes_change_nothing() {
    let world = world(&[]).await;
    let before = world.signed_zone_text("example.test").unwrap();
    assert!(matches!(world.set_tlsa(DEV1, &["3 1 1 not-hex"], 300), Err(WorldError::ZoneFile { .. })));
    assert!(matches!(world.withdraw("nx._device.example.test"), Err(WorldError::NoRecords { .. })));
    assert!(matches!(
        world.add_text("example.test", "dev1._device 77 IN TLSA 3 1 1 00"),
        Err(WorldError::UnequalTtls { .. })
    ));
    assert!(matches!(world.add_text("example.test", "elsewhere. A 127.0.0.1"), Err(WorldError::OutOfZone { .. })));
    assert!(matches!(world.resign("nosuch.test", -1, 1), Err(WorldError::NoZone { .. })));
    assert!(matches!(world.resign("example.test", 10, -10), Err(WorldError::Signing { .. })));
    assert_eq!(world.signed_zone_text("example.test").unwrap(), before);
    assert_eq!(look_up(&world, DEV1).await, Positive(Secure));
    // Positive control: the zone can still be changed.
    world.withdraw(DEV1).unwrap();
    assert_eq!(look_up(&world, DEV1).await, NxDomain(Secure));
}

#[tokio::test]
async fn signatures_run_out_and_are_renewed() {
    let world = world(&[]).await;
    world.resign("example.test", -20, -10).unwrap();
    assert_eq!(look_up(&world, DEV1).await, Bogus);
    world.resign("example.test", -20, 3600).unwrap();
    assert_eq!(look_up(&world, DEV1).await, Positive(Secure));
}

#[tokio::test]
async fn validating_front_says_why() {
    let world = world(&[]).await;
    world.set_front(Front::Validating);
    let ask = async |rtype, cd| {
        let socket = connect(&world).await;
        socket.send(&question(DEV1, rtype, |header| header.set_cd(cd))).await.unwrap();
        receive(&socket).await
    };
    let reply = ask(Rtype::TLSA, false).await;
    assert!(reply.header().ad() && reply.header().ra() && reply.header().rd() && has_tlsa(&reply));

    world.resign("example.test", -20, -10).unwrap();
    let reply = ask(Rtype::TLSA, false).await;
    assert_eq!((reply.header().rcode(), reply.header().ad()), (Rcode::SERVFAIL, false));
    let opt = reply.opt().unwrap();
    let error = opt.opt().iter::<ExtendedError<_>>().flatten().next().unwrap();
    assert_eq!(error.code().to_int(), 7);
    assert_eq!(reply.answer().unwrap().count(), 0);
    // With CD=1 the data comes as it is.
    let reply = ask(Rtype::TLSA, true).await;
    assert_eq!((reply.header().rcode(), reply.header().ad()), (Rcode::NOERROR, false));
    assert!(has_tlsa(&reply));

    // A liar sets AD on that too.
    world.set_front(Front::AlwaysAd);
    assert_eq!(ask_validating(&world, DEV1).await, Positive(Secure));
    assert_eq!(look_up(&world, DEV1).await, Bogus);
}

#[tokio::test]
async fn trust_anchors_of_both_kinds_and_of_another_world() {
    let world = world(&[]).await;
    assert_eq!(look_up_from(&world, DEV1, world.trust_anchor_ds_text()).await, Positive(Secure));
    let other = SignedWorld::builder().start().await.unwrap();
    assert_eq!(look_up_from(&world, DEV1, other.trust_anchor_text()).await, Bogus);
}

#[tokio::test]
async fn colliding_keys_do_not_hide_the_true_one() {
    let kinds = [(KeyKind::P256, 1), (KeyKind::P256, 120), (KeyKind::P384, 120), (KeyKind::Rsa2048, 120)];
    for (kind, count) in kinds {
        let world = SignedWorld::builder().zone(zone("example").key(kind).colliding_keys(count)).start().await.unwrap();
        let reply = ask_tcp(&world, &question("example.test", Rtype::DNSKEY, |_| ())).await;
        let keys: Vec<_> = reply.answer().unwrap().limit_to::<Dnskey<_>>().map(Result::unwrap).collect();
        let tags: Vec<_> = keys.iter().map(|record| record.data().key_tag()).collect();
        assert_eq!(tags, vec![tags[0]; count + 1]);

        let reply = ask_tcp(&world, &question("example.test", Rtype::DS, |_| ())).await;
        let ds = reply.answer().unwrap().limit_to::<Ds<_>>().next().unwrap().unwrap();
        let is_true = |record: &Record<_, Dnskey<_>>| {
            let digest = record.data().digest(record.owner(), ds.data().digest_type()).unwrap();
            digest.as_ref() == ds.data().digest().as_ref()
        };
        let before = keys.iter().position(is_true).unwrap();
        // The validator of `domain` allows one bad signature, and takes P-384 for unknown. Keys are sorted, and but for RSA a zone's is a
        // new one each time.
        let want = match before {
            _ if kind == KeyKind::P384 => Positive(Insecure),
            0 | 1 => Positive(Secure),
            _ => Bogus,
        };
        assert_eq!(look_up(&world, DEV1).await, want, "{before} before it");
    }
}

#[tokio::test]
async fn mistakes_are_reported_at_the_start() {
    let start = async |zone: Zone| SignedWorld::builder().zone(zone).start().await.map(|_| ()).unwrap_err();
    assert!(matches!(start(Zone::new("a..b")).await, WorldError::Name { .. }));
    assert!(matches!(start(Zone::new("example").text("x IN TLSA 3 1")).await, WorldError::ZoneFile { .. }));
    assert!(matches!(start(Zone::new("example").text("$INCLUDE /etc/hosts")).await, WorldError::Include { .. }));
    assert!(matches!(start(Zone::new("example").tlsa("x.test", RDATA, 1)).await, WorldError::OutOfZone { .. }));
    let twice = SignedWorld::builder().zone(Zone::new("example")).zone(Zone::new("EXAMPLE.")).start().await;
    assert!(matches!(twice, Err(WorldError::DuplicateZone { .. })));
}

// A message that nobody should send is answered or dropped; the next one is answered.
#[tokio::test]
async fn odd_questions() {
    const MARKER: u16 = 4711;
    let world = world(&[]).await;
    let socket = connect(&world).await;
    let good = question(DEV1, Rtype::TLSA, |header| header.set_id(1));
    let marker = question(OTHER, Rtype::TLSA, |header| header.set_id(MARKER));
    let shortened = (0..good.len()).map(|length| good[..length].to_vec());
    let changed = (0..good.len()).flat_map(|position| {
        let good = &good;
        [0x00, 0x01, 0x7f, 0xc0, 0xff].map(|value| {
            let mut odd = good.clone();
            odd[position] = value;
            odd
        })
    });
    for odd in shortened.chain(changed) {
        socket.send(&odd).await.unwrap();
        socket.send(&marker).await.unwrap();
        while receive(&socket).await.header().id() != MARKER {}
    }
}
