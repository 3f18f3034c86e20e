//! A validating stub over the validator of `domain`, which nobody here wrote.

#![allow(dead_code, reason = "each test file uses a part")]

use bytes::Bytes;
use dance_testkit::{Front, SignedWorld, Zone};
use domain::base::iana::{Rcode, Rtype};
use domain::base::{Header, Message, MessageBuilder, Name, ToName};
use domain::dnssec::validator::anchor::TrustAnchors;
use domain::dnssec::validator::context::{ValidationContext, ValidationState};
use domain::net::client::dgram_stream;
use domain::net::client::protocol::{TcpConnect, UdpConnect};
use domain::net::client::request::{ComposeRequest, RequestMessage, SendRequest};
use tokio::net::UdpSocket;

/// What a look-up is to end in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Want {
    Positive(ValidationState),
    NoData(ValidationState),
    NxDomain(ValidationState),
    /// Bogus, whatever the message holds.
    Bogus,
    /// This response code, not validated.
    Rcode(Rcode),
}

use Want::{Bogus, NoData, NxDomain, Positive};

pub(crate) const RDATA: &str = "3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
pub(crate) const WILD: &str = "2 0 1 ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

/// A zone below `test.` with the names that most cases need.
pub(crate) fn zone(label: &str) -> Zone {
    Zone::new(&format!("{label}.test")).text(&records())
}

pub(crate) fn records() -> String {
    format!(
        "dev1._device 300 IN TLSA {RDATA}\n\
         nodata._device 300 IN TXT \"no TLSA here\"\n\
         alias._device 300 IN CNAME dev1._device\n\
         *._wild 300 IN TLSA {WILD}\n\
         exact._wild 300 IN TLSA {RDATA}\n"
    )
}

/// Asks for TLSA as a validating stub and judges the answer.
pub(crate) async fn look_up(world: &SignedWorld, name: &str) -> Want {
    look_up_from(world, name, world.trust_anchor_text()).await
}

/// As [`look_up`], with a trust anchor of one's own.
pub(crate) async fn look_up_from(world: &SignedWorld, name: &str, anchor: &str) -> Want {
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
    let mut reply = connection.send_request(request).get_response().await.unwrap();
    let rcode = reply.header().rcode();
    if ![Rcode::NOERROR, Rcode::NXDOMAIN].contains(&rcode) {
        return Want::Rcode(rcode);
    }
    let anchors = TrustAnchors::from_u8(anchor.as_bytes()).unwrap();
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
pub(crate) fn has_tlsa(message: &Message<Bytes>) -> bool {
    let Some(end) = message.canonical_name() else {
        return false;
    };
    message.answer().unwrap().flatten().any(|record| record.rtype() == Rtype::TLSA && record.owner().name_eq(&end))
}

/// Has both judges look at each name: the validator of `domain` over the bare data, and the world itself as a validating
/// resolver. They must agree with each other and with `cases`.
pub(crate) async fn check(world: &SignedWorld, cases: &[(&str, Want)]) {
    let mut wrong = Vec::new();
    for (name, want) in cases {
        world.set_front(Front::NonValidating);
        let validated = look_up(world, name).await;
        world.set_front(Front::Validating);
        let told = ask_validating(world, name).await;
        if validated != *want || told != *want {
            wrong.push(format!("{name}: wanted {want:?}, validator {validated:?}, validating front {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Asks for TLSA and takes the server's word for it.
pub(crate) async fn ask_validating(world: &SignedWorld, name: &str) -> Want {
    let socket = connect(world).await;
    socket.send(&question(name, Rtype::TLSA, |header| header.set_ad(true))).await.unwrap();
    let reply = receive(&socket).await;
    let state = if reply.header().ad() { ValidationState::Secure } else { ValidationState::Insecure };
    match reply.header().rcode() {
        Rcode::SERVFAIL => Bogus,
        Rcode::NXDOMAIN => NxDomain(state),
        Rcode::NOERROR if has_tlsa(&reply) => Positive(state),
        Rcode::NOERROR => NoData(state),
        rcode => Want::Rcode(rcode),
    }
}

pub(crate) async fn connect(world: &SignedWorld) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(world.addr()).await.unwrap();
    socket
}

/// The next datagram.
pub(crate) async fn receive(socket: &UdpSocket) -> Message<Bytes> {
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer).await.unwrap();
    Message::from_octets(Bytes::copy_from_slice(&buffer[..length])).unwrap()
}

/// A question with RD=1, DO=1 and 4096 octets for the answer.
pub(crate) fn question(name: &str, rtype: Rtype, header: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_random_id();
    message.header_mut().set_rd(true);
    header(message.header_mut());
    let mut message = message.question();
    let owner: Name<Vec<u8>> = format!("{name}.").parse().unwrap();
    message.push((&owner, rtype)).unwrap();
    let mut message = message.additional();
    message
        .opt(|opt| {
            opt.set_udp_payload_size(4096);
            opt.set_dnssec_ok(true);
            Ok(())
        })
        .unwrap();
    message.finish()
}
