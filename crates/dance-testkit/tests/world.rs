//! The world against the table of look-ups that a client must get right, judged by the validator of `domain`.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dance_testkit::{Delegation, Denial, KeyKind, KeyRole, SignedWorld, Zone};
use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, ToName};
use domain::dnssec::validator::anchor::TrustAnchors;
use domain::dnssec::validator::context::{ValidationContext, ValidationState};
use domain::net::client::dgram_stream;
use domain::net::client::protocol::{TcpConnect, UdpConnect};
use domain::net::client::request::{ComposeRequest, RequestMessage, SendRequest};

/// What a look-up is to end in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Want {
    Positive(ValidationState),
    NoData(ValidationState),
    NxDomain(ValidationState),
    /// Bogus, whatever the message holds.
    Bogus,
    /// This response code, not validated.
    Rcode(Rcode),
    /// No answer.
    Nothing,
}

use ValidationState::Secure;
use Want::{Bogus, NoData, Nothing, NxDomain, Positive};

const RDATA: &str = "3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const WILD: &str = "2 0 1 ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

/// A zone below `test.` with the names that most cases need.
fn zone(label: &str) -> Zone {
    Zone::new(&format!("{label}.test")).text(&common())
}

fn common() -> String {
    format!(
        "dev1._device 300 IN TLSA {RDATA}\n\
         nodata._device 300 IN TXT \"no TLSA here\"\n\
         alias._device 300 IN CNAME dev1._device\n\
         *._wild 300 IN TLSA {WILD}\n\
         exact._wild 300 IN TLSA {RDATA}\n"
    )
}

/// Asks for TLSA as a validating stub and judges the answer.
async fn look_up(world: &SignedWorld, name: &str) -> Want {
    let (connection, transport) = dgram_stream::Connection::<_, RequestMessage<Vec<u8>>>::new(
        UdpConnect::new(world.addr()),
        TcpConnect::new(world.addr()),
    );
    let running = tokio::spawn(transport.run());
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_rd(true);
    message.header_mut().set_cd(true);
    let mut message = message.question();
    let owner: Name<Vec<u8>> = format!("{name}.").parse().unwrap();
    message.push((&owner, Rtype::TLSA)).unwrap();
    let mut request = RequestMessage::new(message).unwrap();
    request.set_dnssec_ok(true);
    request.set_udp_payload_size(1232);
    let result = tokio::time::timeout(Duration::from_secs(2), connection.send_request(request).get_response()).await;
    let Ok(Ok(mut reply)) = result else {
        return Nothing;
    };
    let rcode = reply.header().rcode();
    if ![Rcode::NOERROR, Rcode::NXDOMAIN].contains(&rcode) {
        return Want::Rcode(rcode);
    }
    let anchors = TrustAnchors::from_u8(world.trust_anchor_text().as_bytes()).unwrap();
    let context = ValidationContext::new(anchors, connection);
    let state = context.validate_msg(&mut reply).await.unwrap().0;
    running.abort();
    match state {
        ValidationState::Bogus => Bogus,
        _ if rcode == Rcode::NXDOMAIN => NxDomain(state),
        _ if has_tlsa(&reply) => Positive(state),
        _ => NoData(state),
    }
}

/// Whether the message holds TLSA records at the end of its chain of aliases.
fn has_tlsa(message: &Message<bytes::Bytes>) -> bool {
    let Some(end) = message.canonical_name() else {
        return false;
    };
    message.answer().unwrap().flatten().any(|record| record.rtype() == Rtype::TLSA && record.owner().name_eq(&end))
}

async fn check(world: &SignedWorld, cases: &[(&str, Want)]) {
    let mut wrong = Vec::new();
    for (name, want) in cases {
        let got = look_up(world, name).await;
        if got != *want {
            wrong.push(format!("{name}: wanted {want:?}, got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// DNS-01, DNS-07
#[tokio::test]
async fn secure_answers_and_denials() {
    let world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(zone("example").text(
            "xzone._device 300 IN CNAME dev1._device.n3.test.\n\
             *._wcname 300 IN CNAME dev1._device.n3.test.\n\
             towild._device 300 IN CNAME foo._wild.n3.test.\n\
             _device.dn 300 IN DNAME _device.n3.test.\n\
             _wild.dn 300 IN DNAME _wild.n3.test.\n\
             tonx1._device 300 IN CNAME nx._device\n\
             tonx._device 300 IN CNAME nx._device.n3.test.\n\
             tonodata._device 300 IN CNAME nodata._device.n3.test.\n",
        ))
        .zone(zone("n3").denial(Denial::nsec3()))
        .zone(zone("rsa").key(KeyKind::Rsa2048).denial(Denial::nsec3_iterations(5)))
        .zone(zone("roll").keys(&[
            (KeyKind::P256, KeyRole::Ksk),
            (KeyKind::P256, KeyRole::Zsk),
            (KeyKind::P256, KeyRole::Published),
        ]))
        .zone(zone("twods").delegation(Delegation::SecureWithBrokenExtra))
        .start()
        .await
        .unwrap();
    check(
        &world,
        &[
            ("dev1._device.example.test", Positive(Secure)),
            ("DEV1._Device.Example.Test", Positive(Secure)),
            ("dev1._device.n3.test", Positive(Secure)),
            ("dev1._device.rsa.test", Positive(Secure)),
            ("dev1._device.roll.test", Positive(Secure)),
            ("dev1._device.twods.test", Positive(Secure)),
            ("foo._wild.example.test", Positive(Secure)),
            ("foo._wild.n3.test", Positive(Secure)),
            ("a.b.c._wild.rsa.test", Positive(Secure)),
            ("exact._wild.example.test", Positive(Secure)),
            ("alias._device.example.test", Positive(Secure)),
            ("xzone._device.example.test", Positive(Secure)),
            ("foo._wcname.example.test", Positive(Secure)),
            ("towild._device.example.test", Positive(Secure)),
            ("dev1._device.dn.example.test", Positive(Secure)),
            ("foo._wild.dn.example.test", Positive(Secure)),
            ("nx._device.example.test", NxDomain(Secure)),
            ("nx._device.n3.test", NxDomain(Secure)),
            ("nx._device.rsa.test", NxDomain(Secure)),
            ("a.b.c.nx._device.n3.test", NxDomain(Secure)),
            ("nodata._device.example.test", NoData(Secure)),
            ("nodata._device.n3.test", NoData(Secure)),
            ("_device.example.test", NoData(Secure)),
            ("_device.n3.test", NoData(Secure)),
            ("tonx1._device.example.test", NxDomain(Secure)),
            ("tonx._device.example.test", NxDomain(Secure)),
            ("tonodata._device.example.test", NoData(Secure)),
            ("nosuch.test", NxDomain(Secure)),
        ],
    )
    .await;
}
