//! A client's flights, cut into records and segments in every way: it is let in all the same, or refused.

use std::pin::Pin;

use dance_core::clientid::TlsVersion;
use dance_core::reason::Reason;
use dance_testkit::{CertSpec, Identity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::ground::Gated;
use crate::lab::{Lab, Running, SENSOR, SOON};
use crate::records::{self, Cut, Sent, alert_in};
use crate::wire::Wire;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Why a cut cannot be, or `None` if it is run.
fn not_live(wire: Wire, cut: Cut) -> Option<&'static str> {
    match (wire.version, cut) {
        (TlsVersion::Tls12, Cut::WithRequest) => Some("in TLS 1.2 the client has to wait for the server's Finished"),
        _ => None,
    }
}

/// Connects and sends a request as soon as TLS lets it: the response's first line, or the alert.
async fn try_it(gateway: &Running, wire: Wire, identity: &Identity, cut: Cut) -> (Result<String, Option<i32>>, Sent) {
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut tls, sent) = records::client(wire, SENSOR, identity, cut, stream);
    let mut octets = Vec::new();
    let done = timeout(SOON, async {
        if let Err(error) = Pin::new(&mut tls).connect().await {
            return Err(alert_in(&error));
        }
        tls.write_all(REQUEST).await.unwrap();
        match tls.read_to_end(&mut octets).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.get_ref().and_then(|inner| alert_in(inner.downcast_ref()?))),
        }
    });
    let text = done.await.unwrap().map(|()| String::from_utf8(octets).unwrap());
    (text.map(|text| text.lines().next().unwrap_or_default().to_owned()), sent)
}

// CID-04, SRV-09, SRV-10, HTTP-01
#[tokio::test]
async fn can_be_cut_in_any_way() {
    let lab = Lab::new().await;
    let identity = CertSpec::client(SENSOR).self_signed().unwrap();
    let stranger = CertSpec::client(SENSOR).self_signed().unwrap();
    lab.world.set_tlsa(SENSOR, &[identity.tlsa_311().unwrap()], 0).unwrap();
    let (mut run, mut listed) = (0, 0);
    for wire in Wire::ALL {
        let gateway = lab.start_with(wire.config(&lab));
        let mut verdicts = 0;
        for cut in Cut::ALL {
            if not_live(wire, cut).is_some() {
                listed += 1;
                continue;
            }
            run += 1;
            let about = format!("{wire:?}, {cut:?}");
            let seen = lab.origin.seen().len();
            lab.world.clear_log();
            let (end, sent) = try_it(&gateway, wire, &identity, cut).await;
            assert_eq!(end.as_deref(), Ok("HTTP/1.1 200 OK"), "{about}");
            assert_eq!(lab.origin.seen()[seen].values("dane-clientid"), [SENSOR], "{about}");
            assert_eq!(lab.world.tlsa_queries(), [SENSOR], "{about}");
            // It was cut so.
            let sent = sent.lock().unwrap().clone();
            let most = *sent.iter().max().unwrap();
            match cut {
                Cut::OctetsPerRecord => assert!(sent.len() > 500 && most == 1, "{about}: {sent:?}"),
                Cut::OneRecord => assert!(sent.len() == 2 && most == 3, "{about}: {sent:?}"),
                Cut::OctetsPerSegment | Cut::WithRequest => assert!(sent.len() == 4 && most == 1, "{about}: {sent:?}"),
            }

            let (end, _) = try_it(&gateway, wire, &stranger, cut).await;
            assert_eq!(end, Err(Some(40)), "{about}");
            verdicts += 2;
            let told = gateway.told(verdicts).await.pop().unwrap();
            assert_eq!((told.code, told.reason), ("refused", Some(Reason::NoMatch)), "{about}");
            assert_eq!(lab.origin.seen().len(), seen + 1, "{about}");
        }
    }
    assert_eq!(run + listed, Wire::ALL.len() * Cut::ALL.len());
}

// SRV-10, HTTP-01
#[tokio::test]
async fn with_a_request_in_the_last_are_served_after_the_verdict() {
    let lab = Lab::new().await;
    let identity = lab.enrol(SENSOR);
    for wire in [Wire::CURRENT, Wire::DRAFT] {
        let (source, gate) = Gated::new(lab.resolver());
        let gateway = lab.start_over(wire.config(&lab), source);
        let seen = (lab.origin.connections(), lab.origin.seen().len());
        let client = try_it(&gateway, wire, &identity, Cut::WithRequest);
        let watched = async {
            // Request and Finished came in one segment, so the gateway has both when it begins the look-up.
            gate.under_way(1).await;
            assert_eq!((lab.origin.connections(), lab.origin.seen().len()), seen);
            gate.open(1);
        };
        let ((end, _), ()) = tokio::join!(client, watched);
        assert_eq!(end.as_deref(), Ok("HTTP/1.1 200 OK"));
        assert_eq!(lab.origin.seen().len(), seen.1 + 1);
        assert_eq!(lab.origin.seen().last().unwrap().values("dane-clientid"), [SENSOR]);
    }
}
