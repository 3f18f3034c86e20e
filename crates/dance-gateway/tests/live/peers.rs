//! Peers that break rules of which the vectors have no cases, or leave at the wrong time.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dance_core::clientid::{ExtensionType, ExtensionTypes, TlsVersion};
use dance_core::policy::Policy;
use dance_core::reason::Reason;
use dance_gateway::Config;
use dance_gateway::config::{ExtensionTypeSetting, LimitsConfig, PolicySetting};
use dance_testkit::{CertSpec, Identity};
use dance_tls::misbehave::{self, CERTIFICATE_VERIFY, FINISHED};
use dance_tls::{ClientConfig, Connector};
use openssl::pkey::PKey;
use openssl::ssl::{ExtensionContext, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslVersion};
use openssl::x509::X509;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_openssl::SslStream;

use crate::ground::{End, Gated, Ground, Row, Setting, probe};
use crate::lab::{Lab, Running, SENSOR, SOON};
use crate::records::{self, Cut, alert_in};
use crate::wire::{self, Credential, TYPE, Wire, says, says_in_client_hello};

/// A second code point, of a listener that takes two.
const OTHER_TYPE: u16 = 0xff5a;

fn named(name: &str) -> Vec<u8> {
    [&[name.len() as u8], name.as_bytes()].concat()
}

// SRV-09, SRV-22, CID-04, CID-13
#[tokio::test]
async fn that_break_a_rule_are_refused_by_either_policy() {
    let mut ground = Ground::new().await;
    let identity = CertSpec::client(SENSOR).self_signed().unwrap();
    ground.lab.world.set_tlsa(SENSOR, &[identity.tlsa_311().unwrap()], 0).unwrap();
    for wire in Wire::ALL {
        for credential in Credential::ALL {
            for policy in [Policy::Require, Policy::Optional] {
                let setting = Setting::new(wire, policy);
                let about = |what: &str| format!("{what}; {wire:?}, {credential:?}, {policy:?}");
                let honest = ground.client(wire, credential, Some(SENSOR), &identity);
                ground.check(setting, &honest, &Row::authenticated(SENSOR), &about("honest")).await;

                // No question to DNS on behalf of somebody who has proven nothing.
                let unproven = Row { code: "handshake-failed", reason: None, ..Row::refused(Reason::NoMatch, 51) };
                for message in [CERTIFICATE_VERIFY, FINISHED] {
                    let client = misbehave::corrupts(&honest, message);
                    ground.check(setting, &client, &unproven, &about(&format!("message {message} corrupted"))).await;
                }

                if wire.version == TlsVersion::Tls12 {
                    continue;
                }
                let retried = wire::retried(&ground.lab, wire, credential, Some(SENSOR), &identity);
                ground.check(setting, &retried, &Row::authenticated(SENSOR), &about("HelloRetryRequest")).await;

                let two = [wire::block(&[&named(SENSOR)]), Vec::new()];
                let client = misbehave::sends_in_certificate(&honest, &two);
                let expected = match credential {
                    // The same certificate once more, in which nobody is interested.
                    Credential::X509 => Row::authenticated(SENSOR),
                    Credential::RawKey => Row::refused(Reason::CertificateMalformed, 50),
                };
                ground.check(setting, &client, &expected, &about("two entries")).await;
            }
        }
    }
    assert_eq!(ground.finish(), 3 * 4 * 3 + 2 * 4 * 2);
}

// CID-13: what counts is what is said in the version that is negotiated.
#[tokio::test]
async fn that_say_one_name_in_the_clear_and_another_later_are_who_they_say_later() {
    let lab = Lab::new().await;
    let gateway = lab.start_with(Wire::DRAFT_TLS12.config(&lab));
    let identity = lab.enrol(SENSOR);
    // The key would do for this name too.
    let other = "other._device.example.com";
    lab.world.set_tlsa(other, &[identity.tlsa_311().unwrap()], 300).unwrap();
    let both = ClientConfig {
        profile: Wire::DRAFT.profile.into(),
        tls12: true,
        name_in_client_hello: true,
        ..lab.certificate(SENSOR, &identity)
    };
    let client = says_in_client_hello(&Connector::new(&both).unwrap(), &[&named(other)]);
    assert_eq!(probe(gateway.address, &client, "/").await, End::Served(200));
    assert_eq!(lab.world.tlsa_queries(), [SENSOR]);
    assert_eq!(lab.origin.seen()[0].values("dane-clientid"), [SENSOR]);

    let only_tls12 = ClientConfig { tls13: false, ..both };
    let client = says_in_client_hello(&Connector::new(&only_tls12).unwrap(), &[&named(other)]);
    assert_eq!(probe(gateway.address, &client, "/").await, End::Served(200));
    assert_eq!(lab.world.tlsa_queries(), [SENSOR, other]);
    assert_eq!(lab.origin.seen()[1].values("dane-clientid"), [other]);
}

// CID-01, CID-09
#[tokio::test]
async fn that_use_two_code_points_at_once_are_refused() {
    let lab = Lab::new().await;
    let identity = lab.enrol(SENSOR);
    let types = [TYPE, OTHER_TYPE].map(|value| ExtensionType::new(value).unwrap());
    for wire in Wire::ALL {
        let extension_type = ExtensionTypeSetting(ExtensionTypes::new(types).unwrap());
        let gateway = lab.start_with(Config { extension_type, ..wire.config(&lab) });
        let mut verdicts = 0;
        for credential in Credential::ALL {
            let about = format!("{wire:?}, {credential:?}");
            // Either alone is an answer.
            for extension_type in types {
                let config = wire::config(&lab, wire, credential, Some(SENSOR), &identity);
                let client = Connector::new(&ClientConfig { extension_type, ..config }).unwrap();
                assert_eq!(probe(gateway.address, &client, "/").await, End::Served(200), "{about}");
                assert_eq!(lab.origin.seen().last().unwrap().values("dane-clientid"), [SENSOR], "{about}");
            }
            let (seen, asked) = (lab.origin.seen().len(), lab.world.tlsa_queries());
            let honest = wire::client(&lab, wire, credential, Some(SENSOR), &identity);
            let again = misbehave::extension(OTHER_TYPE, &named(SENSOR));
            let client = match wire.version {
                TlsVersion::Tls13 => {
                    let block = [wire::block(&[&named(SENSOR)]), again].concat();
                    misbehave::sends_in_certificate(&honest, &[block])
                }
                TlsVersion::Tls12 => misbehave::sends_in_client_hello(&honest, &again),
            };
            assert_eq!(probe(gateway.address, &client, "/").await, End::Alert(47), "{about}");
            verdicts += 3;
            let told = gateway.told(verdicts).await.pop().unwrap();
            assert_eq!((told.code, told.reason), ("refused", Some(Reason::ExtensionMisplaced)), "{about}");
            assert_eq!((lab.origin.seen().len(), lab.world.tlsa_queries()), (seen, asked), "{about}");
        }
    }
}

// NAM-09: one name there must be, and no more than one, and it must be one that could be said.
#[tokio::test]
async fn that_leave_their_name_to_a_certificate_must_have_one_there() {
    let mut ground = Ground::new().await;
    let alone = CertSpec::client(SENSOR);
    let certificates = [
        (alone.clone(), true),
        (alone.clone().dns_names(&[]), false),
        (alone.clone().dns_names(&[SENSOR, "other._device.example.com"]), false),
        (alone.clone().dns_names(&["*._device.example.com"]), false),
        (alone.dns_names(&["sensor7"]), false),
    ];
    for (spec, named) in certificates {
        let identity = spec.self_signed().unwrap();
        ground.lab.world.set_tlsa(SENSOR, &[identity.tlsa_311().unwrap()], 0).unwrap();
        for wire in [Wire::DRAFT, Wire::DRAFT_TLS12] {
            let honest = ground.client(wire, Credential::X509, Some(SENSOR), &identity);
            let client = says(&honest, wire, &[&[]]);
            for policy in [Policy::Require, Policy::Optional] {
                let expected = match (named, policy) {
                    (true, _) => Row::authenticated(SENSOR),
                    (false, Policy::Require) => Row::refused(Reason::NoNameInCertificate, 40),
                    (false, Policy::Optional) => Row::anonymous("unauthenticated", Reason::NoNameInCertificate),
                };
                let about = format!("{spec:?}; {wire:?}, {policy:?}");
                ground.check(Setting::new(wire, policy), &client, &expected, &about).await;
            }
        }
    }
    assert_eq!(ground.finish(), 5 * 2 * 2);
}

/// What such a client of TLS 1.2 gets for its request: a status, or an alert.
async fn old_client(gateway: &Running, identity: &Identity, set: impl Fn(&mut SslContextBuilder)) -> Result<(), i32> {
    let mut ctx = SslContext::builder(SslMethod::tls_client()).unwrap();
    ctx.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    ctx.set_certificate(&X509::from_der(identity.leaf_der()).unwrap()).unwrap();
    ctx.set_private_key(&PKey::private_key_from_pem(identity.key_pem().as_bytes()).unwrap()).unwrap();
    let places = ExtensionContext::CLIENT_HELLO | ExtensionContext::TLS1_2_SERVER_HELLO;
    ctx.add_custom_ext(TYPE, places, |_, _, _| Ok(Some(named(SENSOR))), |_, _, _, _| Ok(())).unwrap();
    set(&mut ctx);
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let mut tls = SslStream::new(Ssl::new(&ctx.build()).unwrap(), stream).unwrap();
    if let Err(error) = timeout(SOON, Pin::new(&mut tls).connect()).await.unwrap() {
        return Err(alert_in(&error).unwrap_or_default());
    }
    tls.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(timeout(SOON, tls.read_u8()).await.unwrap().unwrap(), b'H');
    Ok(())
}

// SRV-02, SRV-03, SRV-24, SEC-09, SEC-10
#[tokio::test]
async fn of_an_older_kind_are_let_in_only_as_far_as_is_safe() {
    /// SSL_OP_NO_EXTENDED_MASTER_SECRET.
    const NO_EXTENDED_MASTER_SECRET: SslOptions = SslOptions::from_bits_retain(1);
    type Change = fn(&mut SslContextBuilder);
    let modern: Change = |_| {};
    let old: [Change; 4] = [
        |ctx| _ = ctx.set_options(NO_EXTENDED_MASTER_SECRET),
        |ctx| ctx.set_cipher_list("ECDHE-ECDSA-AES128-SHA256").unwrap(),
        |ctx| ctx.set_cipher_list("AES128-GCM-SHA256:AES128-SHA").unwrap(),
        |ctx| ctx.set_cipher_list("DHE+AESGCM").unwrap(),
    ];
    let lab = Lab::new().await;
    let identity = lab.enrol(SENSOR);
    for policy in [PolicySetting::Require, PolicySetting::Optional] {
        // Without the setting, nobody of that version.
        for wire in [Wire::CURRENT, Wire::DRAFT] {
            let gateway = lab.start_with(Config { policy, ..wire.config(&lab) });
            assert_eq!(old_client(&gateway, &identity, modern).await, Err(70));
            assert_eq!(gateway.told(1).await[0].reason, Some(Reason::VersionTooLow));
        }
        let gateway = lab.start_with(Config { policy, ..Wire::DRAFT_TLS12.config(&lab) });
        for (number, change) in old.into_iter().enumerate() {
            assert_eq!(old_client(&gateway, &identity, change).await, Err(40), "{number}");
            let told = gateway.told(number + 1).await.pop().unwrap();
            assert_eq!((told.code, told.reason), ("refused", Some(Reason::LegacyHandshake)), "{number}");
        }
        let even_older: Change = |ctx| {
            ctx.set_min_proto_version(Some(SslVersion::TLS1)).unwrap();
            ctx.set_max_proto_version(Some(SslVersion::TLS1_1)).unwrap();
            ctx.set_cipher_list("DEFAULT:@SECLEVEL=0").unwrap();
        };
        assert_eq!(old_client(&gateway, &identity, even_older).await, Err(70));
        assert_eq!(gateway.told(5).await[4].reason, Some(Reason::VersionTooLow));
        assert_eq!((lab.origin.connections(), lab.world.tlsa_queries().len()), (0, 0));
    }
    // The same client, with nothing old about it.
    let gateway = lab.start_with(Wire::DRAFT_TLS12.config(&lab));
    assert_eq!(old_client(&gateway, &identity, modern).await, Ok(()));
    assert_eq!(lab.origin.seen()[0].values("dane-clientid"), [SENSOR]);

    // A server of profile `current` has nothing to say to it in TLS 1.2, and does not hear it either.
    let current = Wire { version: TlsVersion::Tls12, ..Wire::CURRENT };
    let gateway = lab.start_with(Config { policy: PolicySetting::Optional, ..current.config(&lab) });
    let client = wire::config(&lab, Wire::DRAFT_TLS12, Credential::X509, Some(SENSOR), &identity);
    let mut tls = gateway.connect(&client).await;
    assert!(!tls.signal_seen());
    tls.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    tls.read_u8().await.unwrap();
    let told = gateway.told(1).await.pop().unwrap();
    assert_eq!((told.code, told.reason, told.client_name), ("not-dane", Some(Reason::NoClientName), None));
    assert!(lab.origin.seen()[1].values("dane-clientid").is_empty());
}

/// A connection that is reset when it is dropped.
async fn resetting(address: std::net::SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    stream
}

// SEC-01, SEC-02
#[tokio::test]
async fn that_break_off_while_they_wait_leave_no_place_taken() {
    let lab = Lab::new().await;
    let identity = lab.enrol(SENSOR);
    for wire in Wire::ALL {
        for credential in Credential::ALL {
            let (source, gate) = Gated::new(lab.resolver());
            let limits = LimitsConfig { lookups_total: 1, ..LimitsConfig::default() };
            // There is one place of everything.
            let one = Config { limits, max_connections: 1, handshakes_per_address: 1, ..wire.config(&lab) };
            let gateway = lab.start_over(one, source);
            let client = Arc::new(wire::client(&lab, wire, credential, Some(SENSOR), &identity));
            for round in 1..=3 {
                let (stream, client) = (resetting(gateway.address).await, Arc::clone(&client));
                let waiting = tokio::spawn(async move {
                    let _tls = client.connect("localhost", stream).await;
                    std::future::pending::<()>().await;
                });
                gate.under_way(1).await;
                waiting.abort();
                let told = gateway.told(round).await.pop().unwrap();
                assert_eq!(told.code, "client-gone", "{wire:?}, {credential:?}");
                gate.under_way(0).await;
            }
            let seen = lab.origin.seen().len();
            gate.open(1);
            assert_eq!(probe(gateway.address, &client, "/").await, End::Served(200), "{wire:?}, {credential:?}");
            assert_eq!(lab.origin.seen().len(), seen + 1);
        }
    }
}

// SEC-01, SRV-10: a client that is no longer watched, since it has sent a request, goes with its verdict.
#[tokio::test]
async fn that_break_off_after_their_request_leave_no_place_taken() {
    let lab = Lab::new().await;
    let (identity, stranger) = (lab.enrol(SENSOR), CertSpec::client(SENSOR).self_signed().unwrap());
    for wire in [Wire::CURRENT, Wire::DRAFT] {
        let (source, gate) = Gated::new(lab.resolver());
        let limits = LimitsConfig { lookups_total: 1, ..LimitsConfig::default() };
        let one = Config { limits, max_connections: 1, ..wire.config(&lab) };
        let gateway = lab.start_over(one, source);
        let seen = lab.origin.seen().len();
        // In one segment with the last of the handshake, so that the gateway has read it when it begins the look-up.
        let stream = resetting(gateway.address).await;
        let (mut tls, _) = records::client(wire, SENSOR, &stranger, Cut::WithRequest, stream);
        Pin::new(&mut tls).connect().await.unwrap();
        tls.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        gate.under_way(1).await;
        drop(tls);
        gate.open(1);
        let told = gateway.told(1).await.pop().unwrap();
        assert_eq!((told.code, told.reason), ("refused", Some(Reason::NoMatch)));
        assert_eq!(lab.origin.seen().len(), seen);

        gate.open(1);
        let client = wire::client(&lab, wire, Credential::X509, Some(SENSOR), &identity);
        assert_eq!(probe(gateway.address, &client, "/").await, End::Served(200));
        assert_eq!(lab.origin.seen().len(), seen + 1);
    }
}

// SEC-02, SRV-16: a refused client is given time to read its alert, and not more than that.
#[tokio::test]
async fn that_do_not_read_their_refusal_are_left() {
    let lab = Lab::new().await;
    let identity = lab.enrol(SENSOR);
    let stranger = CertSpec::client("sensor7.example.net").self_signed().unwrap();
    let gateway = lab.start_with(Config { max_connections: 2, ..Wire::CURRENT.config(&lab) });
    let refused = wire::client(&lab, Wire::CURRENT, Credential::X509, Some("sensor7.example.net"), &stranger);
    // One is silent, the other talks and talks; neither reads, and neither closes.
    let connect = async || {
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        refused.connect("localhost", stream).await.unwrap()
    };
    let (silent, mut talks) = (connect().await, connect().await);
    let talking = tokio::spawn(async move { while talks.write_all(&[b' '; 16 * 1024]).await.is_ok() {} });
    let told = gateway.told(2).await;
    assert!(told.iter().all(|told| told.reason == Some(Reason::NameNotAllowed)), "{told:?}");

    // Both places are free in the end, for both of these at once.
    let client = wire::client(&lab, Wire::CURRENT, Credential::X509, Some(SENSOR), &identity);
    let served = async || {
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let mut tls = client.connect("localhost", stream).await.unwrap();
        tls.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        tls.read_u8().await.unwrap();
        tls
    };
    let both = timeout(SOON, async { tokio::join!(served(), served()) }).await.unwrap();
    // The one that talked has been told by the system that nobody listens.
    timeout(SOON, talking).await.unwrap().unwrap();
    assert_eq!(lab.origin.seen().len(), 2);
    drop((both, silent));
}

// CID-11: nothing was asked for that a ticket could answer.
#[tokio::test]
async fn that_put_the_extension_into_a_ticket_are_refused_by_the_client() {
    let lab = Lab::new().await;
    let identity = CertSpec::client(SENSOR).self_signed().unwrap();
    for wire in [Wire::CURRENT, Wire::DRAFT] {
        for data in [None, Some(Vec::new()), Some(vec![0])] {
            let mut ctx = SslContext::builder(SslMethod::tls_server()).unwrap();
            ctx.set_certificate(&X509::from_der(lab.server.leaf_der()).unwrap()).unwrap();
            ctx.set_private_key(&PKey::private_key_from_pem(lab.server.key_pem().as_bytes()).unwrap()).unwrap();
            let (place, said) = (ExtensionContext::TLS1_3_NEW_SESSION_TICKET, data.clone());
            ctx.add_custom_ext(TYPE, place, move |_, _, _| Ok(said.clone()), |_, _, _, _| Ok(())).unwrap();
            let server = Ssl::new(&ctx.build()).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let serving = async {
                let stream = listener.accept().await.unwrap().0;
                let mut tls = SslStream::new(server, stream).unwrap();
                Pin::new(&mut tls).accept().await.unwrap();
                let _ = tls.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                let read = tls.read_to_end(&mut Vec::new()).await;
                read.err().and_then(|error| alert_in(error.get_ref()?.downcast_ref()?))
            };
            let client = wire::client(&lab, wire, Credential::X509, Some(SENSOR), &identity);
            let connecting = async {
                let stream = TcpStream::connect(address).await.unwrap();
                let mut tls = client.connect("localhost", stream).await.unwrap();
                let read = tls.read_u8().await;
                let _ = tls.shutdown().await;
                read.is_ok()
            };
            let (alert, answered) = timeout(SOON, async { tokio::join!(serving, connecting) }).await.unwrap();
            let expected = if data.is_some() { (Some(110), false) } else { (None, true) };
            assert_eq!((alert, answered), expected, "{wire:?}, {data:?}");
        }
    }
}
