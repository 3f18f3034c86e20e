//! DTLS 1.2 in profile `2022`: what over TCP is shown of TLS 1.2, over datagrams.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/datagrams.rs"]
mod datagrams;

use std::io::{Read, Write};

use common::{NAME, alert_in, leaf, name, named, raw_public_key, server_config, x509};
use dance_core::clientid::{ClientForm, ClientProfile, ExtensionError, Profile, TlsVersion};
use dance_core::matching::Credential;
use dance_core::reason::Reason;
use dance_core::verdict::{ClientId, Verdict};
use dance_tls::{
    AcceptError, ClientConfig, ConfigError, ConnectError, CredentialType, DaneMode, DtlsAcceptor, DtlsConnector,
    DtlsLimits, DtlsStream, ResumedDatagrams, ServerConfig,
};
use datagrams::{
    ACCEPT, Fate, From, Net, REFUSE, acceptor, client_settings, echo, in_certificate, listener, of_last_flight, open,
    receive, records, server_settings,
};

use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslStream, SslVersion};

/// HandshakeType.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE_VERIFY: u8 = 15;

fn clients() -> [(ClientConfig, ClientForm, CredentialType); 4] {
    let named_form = ClientForm::Name(name());
    [
        (client_settings(x509()), named_form.clone(), CredentialType::X509),
        (client_settings(leaf()), named_form.clone(), CredentialType::X509),
        (client_settings(raw_public_key()), named_form, CredentialType::RawPublicKey),
        (in_certificate(), ClientForm::InCertificate, CredentialType::X509),
    ]
}

fn pass(_: From, _: usize, _: &[u8]) -> Fate {
    Fate::Pass
}

// CID-03, CID-04, SRV-10, SRV-24, RPK-01: each form and credential comes to the verdict, the server's last flight after it.
#[tokio::test]
async fn accepted() {
    for (config, form, sent) in clients() {
        let mut net = Net::new(&config, pass).await;
        let pending = net.accept(&acceptor()).await.unwrap();
        let presented = std::sync::Arc::clone(pending.presented());
        assert_eq!(presented.client_id, ClientId::Form(form));
        let raw = matches!(presented.credential, Some(Credential::RawPublicKey(_)));
        assert_eq!(raw, sent == CredentialType::RawPublicKey, "{:?}", presented.credential);
        assert_eq!(pending.negotiated().version, TlsVersion::Tls12);
        assert_eq!(pending.server_name(), Some(common::SERVER));
        assert!(!net.client.is_finished());
        net.relay.settle().await;
        let before = net.relay.server_sent();
        assert!(!before.iter().any(|datagram| of_last_flight(datagram)));
        // CID-03: the signal is an extension without data in the ServerHello.
        let hello = before.iter().flat_map(|datagram| records(datagram)).find(|r| r.message() == Some(SERVER_HELLO));
        let signal = [0xff, 0xdc, 0, 0];
        assert!(hello.unwrap().fragment.windows(4).any(|window| window == signal));

        let (server, client) = echo(open(pending).await, net.client).await;
        assert!(client.signal_seen && client.name_sent);
        assert_eq!(client.credential_sent, Some(sent));
        assert_eq!(server.negotiated(), client.stream.negotiated());
        let after = net.relay.server_sent();
        assert!(net.relay.sent().iter().all(|(_, datagram)| datagram.len() <= 1280 - 48));
        let change = after[before.len()..].iter().find(|datagram| of_last_flight(datagram)).unwrap();
        assert_eq!(records(change)[0].content_type, 20);
    }
}

// SRV-16, SRV-24: refused, the client learns it in its handshake, by one alert in the clear; the server's last
// flight never leaves, and its number is the alert's.
#[tokio::test]
async fn refused() {
    for (config, ..) in clients() {
        for drop_it in [false, true] {
            let mut net = Net::new(&config, pass).await;
            let pending = net.accept(&acceptor()).await.unwrap();
            if drop_it {
                drop(pending);
            } else {
                tokio::spawn(
                    async move { assert!(matches!(pending.resume(&REFUSE).await, ResumedDatagrams::Refused)) },
                );
            }
            assert!(matches!(net.client.await.unwrap(), Err(ConnectError::ClientAuthRefused)));
            net.relay.settle().await;
            let sent = net.relay.server_sent();
            assert!(!sent.iter().any(|datagram| of_last_flight(datagram)), "{sent:x?}");
            let all: Vec<_> = sent.iter().flat_map(|datagram| records(datagram)).collect();
            let alert = all.last().unwrap();
            assert_eq!((alert.content_type, alert.epoch, alert.fragment.as_slice()), (21, 0, &[2, 40][..]));
            // Each number once, in their order. The first is the HelloVerifyRequest's.
            let numbers: Vec<_> = all.iter().map(|record| record.sequence).collect();
            assert_eq!(numbers, (0..all.len() as u64).collect::<Vec<_>>());
        }
    }
}

// SRV-04, SRV-24: a client without a certificate, and one that knows nothing of DANE, come to a verdict like any other.
#[tokio::test]
async fn nothing_presented() {
    let config = ClientConfig {
        credential: None,
        client_id: None,
        require_signal: false,
        name_in_client_hello: false,
        ..client_settings(x509())
    };
    for verdict in [ACCEPT, REFUSE] {
        let mut net = Net::new(&config, pass).await;
        let pending = net.accept(&acceptor()).await.unwrap();
        assert_eq!((&pending.presented().client_id, &pending.presented().credential), (&ClientId::Absent, &None));
        let resumed = tokio::spawn(async move { pending.resume(&verdict).await });
        match net.client.await.unwrap() {
            Ok(client) => {
                assert!(matches!(resumed.await.unwrap(), ResumedDatagrams::Open(_)));
                assert!(!client.signal_seen && client.credential_sent.is_none());
            }
            Err(ConnectError::ClientAuthRefused) => {
                assert!(matches!(resumed.await.unwrap(), ResumedDatagrams::Refused))
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// A copy with the last octet of this message of the handshake changed. It must be in one piece.
fn corrupt(datagram: &[u8], message: u8) -> Option<Vec<u8>> {
    let mut at = 0;
    for record in records(datagram) {
        at += 13 + record.fragment.len();
        if record.message() == Some(message) {
            let mut changed = datagram.to_vec();
            changed[at - 1] ^= 1;
            return Some(changed);
        }
    }
    None
}

// SRV-09: without proof of possession there is nothing to decide about.
#[tokio::test]
async fn wrong_signature_is_no_client() {
    let mut net =
        Net::new(&client_settings(x509()), |from, _, datagram| match (from, corrupt(datagram, CERTIFICATE_VERIFY)) {
            (From::Client, Some(changed)) => Fate::Changed(changed),
            _ => Fate::Pass,
        })
        .await;
    let error = net.accept(&acceptor()).await.unwrap_err();
    assert!(matches!(&error, AcceptError::Tls(failure) if failure.alert_sent.unwrap().code() == 51), "{error:?}");
    assert!(matches!(net.client.await.unwrap(), Err(ConnectError::PeerAlert(alert)) if alert.code() == 51));
}

// SRV-09: nor with a Finished that does not verify, or not decrypt, which DTLS takes for noise.
#[tokio::test]
async fn no_finished_is_no_client() {
    let mut net = Net::new(&client_settings(x509()), |from, _, datagram| {
        if from == From::Client && of_last_flight(datagram) {
            let mut changed = datagram.to_vec();
            *changed.last_mut().unwrap() ^= 1;
            return Fate::Changed(changed);
        }
        Fate::Pass
    })
    .await;
    let incoming = net.listener.accept().await.unwrap();
    let acceptor = acceptor();
    let mut accepting = Box::pin(acceptor.accept(incoming));
    // The client has repeated itself, and it was of no use.
    tokio::select! {
        accepted = &mut accepting => panic!("{accepted:?}"),
        () = net.relay.until_count(2, |(from, datagram)| *from == From::Client && of_last_flight(datagram)) => {}
    }
    net.relay.settle().await;
    assert!(!net.relay.server_sent().iter().any(|datagram| of_last_flight(datagram)));
}

// CID-08: what is wrong with the extension ends the handshake before the client shows anything.
#[tokio::test]
async fn malformed_extension() {
    let mut net = Net::new(&client_settings(x509()), |from, _, datagram| {
        let said = [&[NAME.len() as u8], NAME.as_bytes()].concat();
        let at = datagram.windows(said.len()).position(|window| window == said);
        match at.filter(|_| from == From::Client && records(datagram)[0].message() == Some(CLIENT_HELLO)) {
            Some(at) => {
                let mut changed = datagram.to_vec();
                changed[at] += 1;
                Fate::Changed(changed)
            }
            None => Fate::Pass,
        }
    })
    .await;
    let error = net.accept(&acceptor()).await.unwrap_err();
    let AcceptError::Refused(reason) = error else { panic!("{error:?}") };
    assert_eq!(reason.alert().code(), 50);
    assert!(matches!(net.client.await.unwrap(), Err(ConnectError::PeerAlert(alert)) if alert.code() == 50));
}

/// A ClientHello in a datagram of its own, with one more extension.
fn with_extension(datagram: &[u8], extension: &[u8]) -> Vec<u8> {
    let mut changed = [datagram, extension].concat();
    let mut add = |at: usize, octets: usize| {
        let field = &mut changed[at..at + octets];
        let length = field.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)) + extension.len();
        field.copy_from_slice(&length.to_be_bytes()[8 - octets..]);
    };
    // Of the record, the message, the fragment; then that of the extensions, behind four vectors.
    add(11, 2);
    add(14, 3);
    add(22, 3);
    let mut at = 25 + 2 + 32;
    for prefix in [1, 1, 2, 1] {
        at += prefix + datagram[at..at + prefix].iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
    }
    add(at, 2);
    changed
}

// CID-09: the extension twice, which OpenSSL finds before it asks, behind a cookie that TLS does not have.
#[tokio::test]
async fn duplicate_extension() {
    let mut net = Net::new(&client_settings(x509()), |from, _, datagram| {
        if from == From::Client && records(datagram)[0].message() == Some(CLIENT_HELLO) {
            return Fate::Changed(with_extension(datagram, &[0xff, 0xdc, 0, 0]));
        }
        Fate::Pass
    })
    .await;
    let error = net.accept(&acceptor()).await.unwrap_err();
    assert!(matches!(error, AcceptError::Refused(reason) if reason == ExtensionError::Duplicate.reason()), "{error:?}");
    assert!(matches!(net.client.await.unwrap(), Err(ConnectError::PeerAlert(alert)) if alert.code() == 47));
}

// RPK-03: a raw public key only where the server has said that it takes one, and DANE only where it has said so.
#[tokio::test]
async fn server_that_takes_less() {
    let config = ServerConfig { raw_public_keys: false, ..server_settings() };
    let mut net = Net::new(&client_settings(raw_public_key()), pass).await;
    let (accepted, connected) = (net.accept(&DtlsAcceptor::new(&config).unwrap()).await, net.client.await.unwrap());
    assert!(matches!(connected, Err(ConnectError::NoRawPublicKeys)), "{connected:?}");
    assert!(matches!(accepted, Err(AcceptError::PeerAlert(alert)) if alert.code() == 40));

    let config = ServerConfig { dane: DaneMode::Off, ..server_settings() };
    let mut net = Net::new(&client_settings(named()), pass).await;
    let (accepted, connected) = (net.accept(&DtlsAcceptor::new(&config).unwrap()).await, net.client.await.unwrap());
    assert!(matches!(connected, Err(ConnectError::NoSignal)), "{connected:?}");
    assert!(matches!(accepted, Err(AcceptError::PeerAlert(alert)) if alert.code() == 40));
}

// RPK-02: there is no DTLS 1.3, so profile `current` has no DTLS at all; and a raw public key holds no name to point to.
#[test]
fn only_profile_2022() {
    for (profile, tls12) in [(Profile::Current, true), (Profile::Current, false), (Profile::Draft2022, false)] {
        let config = ServerConfig { profile, tls12, ..server_config() };
        let error = DtlsAcceptor::new(&config).unwrap_err();
        assert!(matches!(error, ConfigError::Dtls { .. }), "{error}");
    }
    for profile in [ClientProfile::Auto, ClientProfile::Fixed(Profile::Current)] {
        let config = ClientConfig { profile, tls12: false, name_in_client_hello: false, ..client_settings(x509()) };
        let error = DtlsConnector::new(&config).unwrap_err();
        assert!(matches!(error, ConfigError::Dtls { .. }), "{error}");
    }
    DtlsAcceptor::new(&server_settings()).unwrap();
    DtlsConnector::new(&client_settings(x509())).unwrap();
    let config = ClientConfig { credential: Some(raw_public_key()), ..in_certificate() };
    assert!(matches!(DtlsConnector::new(&config), Err(ConfigError::NameNotInCertificate { .. })));
}

/// A way to a server that knows nothing of tokio.
#[derive(Debug)]
struct Blocking(std::net::UdpSocket);

impl Read for Blocking {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.recv(buf)
    }
}

impl Write for Blocking {
    fn write(&mut self, datagram: &[u8]) -> std::io::Result<usize> {
        self.0.send(datagram)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The handshake of a client that knows nothing of DANE: why it is refused, and the alert that it gets.
async fn stranger(set: impl FnOnce(&mut SslContextBuilder)) -> (Reason, Option<i32>) {
    let (mut listener, address) = listener(DtlsLimits::default()).await;
    let mut ctx = SslContext::builder(SslMethod::dtls_client()).unwrap();
    ctx.set_options(SslOptions::NO_QUERY_MTU);
    // Security level 0, without which there is nothing old to be had.
    ctx.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
    set(&mut ctx);
    let mut ssl = Ssl::new(&ctx.build()).unwrap();
    ssl.set_mtu(1200).unwrap();
    let client = tokio::task::spawn_blocking(move || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        alert_in(&SslStream::new(ssl, Blocking(socket)).unwrap().connect().unwrap_err())
    });
    let reason = match acceptor().accept(listener.accept().await.unwrap()).await {
        Err(AcceptError::Refused(reason)) => reason,
        Err(error) => panic!("{error:?}"),
        Ok(pending) => {
            pending.resume(&Verdict::Abort(Reason::NoClientName)).await;
            Reason::NoClientName
        }
    };
    (reason, client.await.unwrap())
}

// SRV-02, SRV-24: no DTLS 1.0, no extended_master_secret, no forward secrecy, no AEAD: no handshake.
#[tokio::test]
async fn legacy_handshakes_are_refused() {
    const NO_EXTENDED_MASTER_SECRET: SslOptions = SslOptions::from_bits_retain(1);
    type Set = fn(&mut SslContextBuilder);
    let legacy: [Set; 3] = [
        |ctx| {
            ctx.set_options(NO_EXTENDED_MASTER_SECRET);
        },
        |ctx| ctx.set_cipher_list("ECDHE-ECDSA-AES128-SHA256").unwrap(),
        |ctx| ctx.set_cipher_list("AES128-GCM-SHA256").unwrap(),
    ];
    for set in legacy {
        assert_eq!(stranger(set).await, (Reason::LegacyHandshake, Some(40)));
    }
    let dtls10 = stranger(|ctx| ctx.set_max_proto_version(Some(SslVersion::DTLS1)).unwrap()).await;
    assert_eq!(dtls10, (Reason::VersionTooLow, Some(70)));
    // Control: the same client with its defaults comes to a verdict.
    assert_eq!(stranger(|_| {}).await, (Reason::NoClientName, Some(40)));
}

// The stream: one record for each datagram, whole, and an end that is told.
#[tokio::test]
async fn stream_keeps_boundaries() {
    let mut net = Net::new(&client_settings(x509()), pass).await;
    let pending = net.accept(&acceptor()).await.unwrap();
    let (mut server, mut client) = echo(open(pending).await, net.client).await;
    let longest = vec![7; DtlsStream::MAX_DATA];
    let too_long = client.stream.send(&[&longest[..], b"x"].concat()).await.unwrap_err();
    assert_eq!(too_long.kind(), std::io::ErrorKind::InvalidInput);
    for data in [&longest[..], b"a", b"bc"] {
        client.stream.send(data).await.unwrap();
    }
    assert_eq!(receive(&mut server).await, longest);
    assert_eq!(receive(&mut server).await, b"a");
    // What does not fit comes with the next call.
    let mut octet = [0];
    for expected in b"bc" {
        assert_eq!(server.recv(&mut octet).await.unwrap(), Some(1));
        assert_eq!(octet[0], *expected);
    }
    assert!(net.relay.sent().iter().all(|(_, datagram)| datagram.len() <= 1280 - 48));
    client.stream.close().await;
    assert_eq!(server.recv(&mut octet).await.unwrap(), None);
}
