//! What a client says in which message, by its profile, its version and its settings, and what it refuses to hear.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::pin::Pin;
use std::sync::Arc;

use common::*;
use dance_core::clientid::{ClientForm, ClientProfile, ExtensionError, ExtensionType, Place, Profile, TlsVersion};
use dance_core::reason::Reason;
use dance_core::verdict::{ClientId, Verdict};
use dance_tls::misbehave::{self, CERTIFICATE, CERTIFICATE_REQUEST, CLIENT_HELLO, ENCRYPTED_EXTENSIONS, SERVER_HELLO};
use dance_tls::{
    AcceptError, Acceptor, CertifiedKey, ClientConfig, ClientCredential, ConfigError, ConnectError, Connector,
    DaneMode, Resumed, ServerConfig, ServerVerification, TrustAnchors,
};
use openssl::pkey::PKey;
use openssl::ssl::{ExtensionContext, Ssl, SslContext, SslContextBuilder, SslMethod, SslVersion};
use openssl::x509::X509;
use tokio_openssl::SslStream;

const TYPE: u16 = ExtensionType::DEFAULT.get();

fn server(profile: Profile) -> Acceptor {
    Acceptor::new(&ServerConfig { profile, tls12: true, ..server_config() }).unwrap()
}

/// A server without TLS 1.3.
fn old_server(profile: Profile) -> Acceptor {
    misbehave::old_server(&server(profile))
}

/// A client that may speak TLS 1.2, and whose certificate holds its name.
fn config() -> ClientConfig {
    ClientConfig { profile: Profile::Draft2022.into(), tls12: true, ..client_config(named()) }
}

/// Runs a handshake that the client refuses: its error, and the server's.
async fn client_refuses(acceptor: &Acceptor, connector: &Connector) -> (ConnectError, AcceptError) {
    let (accepted, connected) = handshake(acceptor, connector).await;
    (connected.expect_err("the client should refuse"), accepted.expect_err("the server should hear of it"))
}

fn certificate(der_of: &str) -> ClientCredential {
    let chain = vector(&format!("certs/{der_of}.pem"));
    ClientCredential::X509(CertifiedKey::parse(&chain, &vector("keys/leaf.key.pem")).unwrap())
}

// CLI-08, CLI-04, C11: the ClientHello says nothing without TLS 1.2, with it no more than has to be, and the name only
// where that was asked for.
#[tokio::test]
async fn client_hello_says_what_the_settings_allow() {
    let form = ClientForm::Name(name());
    let conveyed = form.encode(Profile::Draft2022);
    for (tls12, name_in_client_hello, expected) in
        [(false, false, None), (true, false, Some(Vec::new())), (true, true, conveyed)]
    {
        let config = ClientConfig { tls12, name_in_client_hello, ..config() };
        let (seen, record) = recorder(CLIENT_HELLO);
        let connector = misbehave::connector(&Connector::new(&config).unwrap(), record);
        // CID-13: TLS 1.3 results, and the name comes in the Certificate.
        let (accepted, connected) = handshake(&server(Profile::Draft2022), &connector).await;
        let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
        assert_eq!(pending.version(), TlsVersion::Tls13);
        assert_eq!(pending.presented().client_id, ClientId::Form(form.clone()));
        assert!(client.name_sent());
        echo(&mut open(pending).await, &mut client).await;
        let hello = seen.lock().unwrap()[0].clone();
        let ours = hello_extensions(&hello).into_iter().find(|(found, _)| *found == TYPE);
        assert_eq!(ours.map(|(_, data)| data), expected);
        let has_name = hello.windows(NAME.len()).any(|window| window == NAME.as_bytes());
        assert_eq!(has_name, name_in_client_hello);
    }
}

// CLI-04, CLI-08, SEC-09: what no server could make sense of, and what would give away more than was asked for, is
// refused at start.
#[test]
fn settings_that_give_away_too_much_or_too_little() {
    let error = |config: ClientConfig| Connector::new(&config).map(drop).unwrap_err();
    for (profile, tls12) in [(Profile::Current.into(), true), (ClientProfile::Auto, true)] {
        let error = error(ClientConfig { profile, tls12, ..config() });
        assert!(matches!(error, ConfigError::Tls12 { profile: found } if found == profile), "{error:?}");
    }
    for config in [
        ClientConfig { tls12: false, name_in_client_hello: true, ..config() },
        ClientConfig { client_id: None, name_in_client_hello: true, ..config() },
        ClientConfig { client_id: Some(ClientForm::InCertificate), name_in_client_hello: true, ..config() },
    ] {
        assert!(matches!(error(config), ConfigError::NameInClientHello));
    }
    assert!(matches!(error(ClientConfig { tls12: false, tls13: false, ..config() }), ConfigError::NoVersion));
    // The name from the certificate, where the ClientHello has to leave it out.
    let two = ["device1.example.com", "device2.example.com"];
    for (credential, found) in [
        (certificate("leaf"), &two[..1]),
        (certificate("leaf-twosan"), &two[..]),
        (certificate("leaf-nosan"), &[]),
        (raw_public_key(), &[]),
    ] {
        let config = ClientConfig { credential: Some(credential), ..config() };
        let refused = error(config.clone());
        assert!(refused.to_string().contains("allow the name in the ClientHello"), "{refused}");
        let ConfigError::NameNotInCertificate { expected, found: names } = refused else { panic!("{refused:?}") };
        assert_eq!(expected, Some(name()));
        assert_eq!(names, found);
        // Controls: with the name there, or without TLS 1.2, it need not.
        Connector::new(&ClientConfig { name_in_client_hello: true, ..config.clone() }).unwrap();
        Connector::new(&ClientConfig { tls12: false, ..config }).unwrap();
    }
    // "My name is in my certificate" without exactly one.
    for tls12 in [false, true] {
        let in_certificate = |credential| ClientConfig {
            credential: Some(credential),
            client_id: Some(ClientForm::InCertificate),
            tls12,
            ..config()
        };
        for credential in [
            certificate("leaf-twosan"),
            certificate("leaf-nosan"),
            certificate("leaf-wildsan"),
            certificate("leaf-ipsan"),
            raw_public_key(),
        ] {
            let error = error(in_certificate(credential));
            assert!(matches!(&error, ConfigError::NameNotInCertificate { expected: None, .. }), "{error:?}");
        }
        Connector::new(&in_certificate(certificate("leaf"))).unwrap();
        for profile in [Profile::Current.into(), ClientProfile::Auto] {
            let error = error(ClientConfig { profile, tls12: false, ..in_certificate(certificate("leaf")) });
            assert!(matches!(error, ConfigError::InCertificate { profile: found } if found == profile), "{error:?}");
        }
    }
}

// CLI-03, CLI-04: the empty form over TLS 1.3.
#[tokio::test]
async fn name_in_the_certificate_is_said_in_the_certificate() {
    let config = ClientConfig { client_id: Some(ClientForm::InCertificate), tls12: false, ..config() };
    let (accepted, connected) = handshake(&server(Profile::Draft2022), &Connector::new(&config).unwrap()).await;
    assert_eq!(accepted.unwrap().presented().client_id, ClientId::Form(ClientForm::InCertificate));
    assert!(connected.unwrap().name_sent());
}

// CLI-10, CID-02, CID-03: `auto` answers either profile in its form, in TLS 1.3; it is not heard by a server of 1.2.
#[tokio::test]
async fn auto_speaks_what_the_request_reveals() {
    for credential in [x509(), raw_public_key()] {
        let config = ClientConfig { profile: ClientProfile::Auto, require_signal: true, ..client_config(credential) };
        let connector = Connector::new(&config).unwrap();
        for profile in [Profile::Current, Profile::Draft2022] {
            let (seen, record) = recorder(CERTIFICATE);
            let (accepted, connected) = handshake(&server(profile), &misbehave::connector(&connector, record)).await;
            let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
            assert_eq!(pending.presented().client_id, ClientId::Form(ClientForm::Name(name())));
            let expected = ClientForm::Name(name()).encode(profile).unwrap();
            let sent = misbehave::entries(&seen.lock().unwrap()[0]).remove(0).1;
            assert_eq!(extensions(&sent), [(TYPE, expected)]);
            echo(&mut open(pending).await, &mut client).await;
        }
        // Neither form.
        for (data, expected) in [
            (&b"\0\0"[..], ExtensionError::Length { said: 0, found: 1 }),
            (b"\x09a.example", ExtensionError::ServerNamed),
        ] {
            let request = misbehave::extension(TYPE, data);
            let acceptor = misbehave::acceptor(
                &Acceptor::new(&ServerConfig { dane: DaneMode::Off, ..server_config() }).unwrap(),
                misbehave::only(CERTIFICATE_REQUEST, move |message| misbehave::with_extension(message, 1, &request)),
            );
            let (error, server) = client_refuses(&acceptor, &connector).await;
            assert!(matches!(error, ConnectError::Extension(found) if found == expected), "{error:?}");
            let alert = expected.reason().alert().code();
            assert!(matches!(server, AcceptError::PeerAlert(found) if found.code() == alert), "{server:?}");
        }
    }
}

// CLI-02, C3, SRV-03: a server of TLS 1.2 that does not answer has not signalled.
#[tokio::test]
async fn unanswered_client_hello_is_no_signal() {
    let off = ServerConfig { dane: DaneMode::Off, profile: Profile::Draft2022, tls12: true, ..server_config() };
    let off = misbehave::old_server(&Acceptor::new(&off).unwrap());
    for acceptor in [off, old_server(Profile::Current)] {
        let demanding = Connector::new(&ClientConfig { require_signal: true, ..config() }).unwrap();
        let (seen, record) = recorder(CERTIFICATE);
        let (error, server) = client_refuses(&acceptor, &misbehave::connector(&demanding, record)).await;
        assert!(matches!(error, ConnectError::NoSignal), "{error:?}");
        assert!(matches!(server, AcceptError::PeerAlert(alert) if alert.code() == 40), "{server:?}");
        assert!(seen.lock().unwrap().is_empty(), "no Certificate");

        // Those who do not demand it go on, as ordinary clients.
        let (client, server) = tcp().await;
        let server = async { open(accept(&acceptor, server).await.unwrap()).await };
        let connector = Connector::new(&config()).unwrap();
        let (mut server, client) = tokio::join!(server, connector.connect(SERVER, client));
        let mut client = client.unwrap();
        assert!(!client.signal_seen() && !client.name_sent() && client.credential_sent().is_some());
        echo(&mut server, &mut client).await;
    }
    // Control: a server that answers is taken.
    let demanding = Connector::new(&ClientConfig { require_signal: true, ..config() }).unwrap();
    let (client, server) = tcp().await;
    let acceptor = old_server(Profile::Draft2022);
    let server = async { open(accept(&acceptor, server).await.unwrap()).await };
    let (mut server, client) = tokio::join!(server, demanding.connect(SERVER, client));
    echo(&mut server, &mut client.unwrap()).await;
}

/// A server that knows nothing of DANE and no TLS 1.3, and by what it is trusted.
fn plain_server(set: impl FnOnce(&mut SslContextBuilder)) -> (SslContext, TrustAnchors) {
    let made = rcgen::generate_simple_self_signed([SERVER.to_owned()]).unwrap();
    let mut ctx = SslContext::builder(SslMethod::tls_server()).unwrap();
    ctx.set_certificate(&X509::from_der(made.cert.der()).unwrap()).unwrap();
    ctx.set_private_key(&PKey::private_key_from_der(made.signing_key.serialized_der()).unwrap()).unwrap();
    ctx.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    set(&mut ctx);
    (ctx.build(), TrustAnchors::parse(made.cert.pem().as_bytes()).unwrap())
}

// C3: signalled, but nobody asked for a certificate: that is no DANE either.
#[tokio::test]
async fn signal_without_request_is_none() {
    let (ctx, roots) = plain_server(|ctx| {
        let context = ExtensionContext::CLIENT_HELLO | ExtensionContext::TLS1_2_SERVER_HELLO;
        ctx.add_custom_ext(TYPE, context, |_, _, _| Ok(Some([])), |_, _, _, _| Ok(())).unwrap();
    });
    for require_signal in [false, true] {
        let config =
            ClientConfig { server_verification: ServerVerification::Roots(roots.clone()), require_signal, ..config() };
        let (client, server) = tcp().await;
        let mut server = SslStream::new(Ssl::new(&ctx).unwrap(), server).unwrap();
        let connector = Connector::new(&config).unwrap();
        let (accepted, connected) = tokio::join!(Pin::new(&mut server).accept(), connector.connect(SERVER, client));
        accepted.unwrap();
        if require_signal {
            assert!(matches!(connected.unwrap_err(), ConnectError::NoSignal));
        } else {
            let client = connected.unwrap();
            assert!(client.signal_seen() && !client.name_sent() && client.credential_sent().is_none());
        }
    }
}

/// A server of TLS 1.2 whose ServerHello has these extensions besides its own.
fn says(profile: Profile, wire: Vec<u8>) -> Acceptor {
    let change = move |message: &[u8]| misbehave::with_extension(message, misbehave::hello_length(message), &wire);
    misbehave::acceptor(&old_server(profile), misbehave::only(SERVER_HELLO, change))
}

// CID-03, CID-09, CID-11: what the client may hear in a ServerHello of TLS 1.2.
#[tokio::test]
async fn server_hello_of_tls12_is_checked() {
    let silent = ClientConfig { client_id: None, ..config() };
    let of = |data: &[u8]| misbehave::extension(TYPE, data);
    let unsolicited = ExtensionError::Unsolicited(Place::ServerHello);
    for (config, wire, expected) in [
        // The vector: in a ServerHello without request.
        (&silent, of(b""), unsolicited),
        (&silent, of(b"\0"), unsolicited),
        (&config(), of(b"\0"), ExtensionError::SignalNotEmpty { octets: 1 }),
        (&config(), of(b"\x09a.example"), ExtensionError::SignalNotEmpty { octets: 10 }),
        (&config(), [of(b""), of(b"")].concat(), ExtensionError::Duplicate),
    ] {
        let connector = Connector::new(config).unwrap();
        let (error, server) = client_refuses(&says(Profile::Current, wire), &connector).await;
        assert!(matches!(error, ConnectError::Extension(found) if found == expected), "{expected:?}: {error:?}");
        let alert = expected.reason().alert().code();
        assert!(matches!(server, AcceptError::PeerAlert(found) if found.code() == alert), "{expected:?}: {server:?}");
    }
    // Control: the same rewriting with the right signal.
    let (client, server) = tcp().await;
    let acceptor = says(Profile::Current, of(b""));
    let server = async { open(accept(&acceptor, server).await.unwrap()).await };
    let connector = Connector::new(&config()).unwrap();
    let (mut server, client) = tokio::join!(server, connector.connect(SERVER, client));
    let mut client = client.unwrap();
    assert!(client.signal_seen());
    echo(&mut server, &mut client).await;
}

// CID-11: TLS 1.3 has no place for it in answer to a ClientHello, although that may have it.
#[tokio::test]
async fn client_hello_is_not_answered_in_tls13() {
    let connector = Connector::new(&config()).unwrap();
    let of = |place| ExtensionError::Unsolicited(place);
    type Before = fn(&[u8]) -> usize;
    let cases: [(u8, Before, Place); 2] = [
        (SERVER_HELLO, misbehave::hello_length, Place::ServerHello),
        (ENCRYPTED_EXTENSIONS, |_| 0, Place::EncryptedExtensions),
    ];
    for (message_type, before, place) in cases {
        let change = move |m: &[u8]| misbehave::with_extension(m, before(m), &misbehave::extension(TYPE, b""));
        let acceptor = misbehave::acceptor(&server(Profile::Draft2022), misbehave::only(message_type, change));
        let (error, server) = client_refuses(&acceptor, &connector).await;
        assert!(matches!(error, ConnectError::Extension(found) if found == of(place)), "{place:?}: {error:?}");
        assert!(matches!(server, AcceptError::PeerAlert(alert) if alert.code() == 110), "{place:?}: {server:?}");
    }
}

// CID-04, CID-13: a HelloRetryRequest, after which the ClientHello comes a second time, changes nothing.
#[tokio::test]
async fn extension_after_a_hello_retry_request() {
    for (profile, tls12) in [(Profile::Current, false), (Profile::Draft2022, false), (Profile::Draft2022, true)] {
        for credential in [named(), raw_public_key()] {
            let groups = Some("secp384r1".to_owned());
            let acceptor = Acceptor::new(&ServerConfig { profile, groups, tls12, ..server_config() }).unwrap();
            let (hellos, record) = recorder(CLIENT_HELLO);
            let config = ClientConfig {
                profile: profile.into(),
                tls12,
                name_in_client_hello: tls12,
                require_signal: true,
                ..client_config(credential)
            };
            let connector = misbehave::connector(&Connector::new(&config).unwrap(), record);
            let (accepted, connected) = handshake(&acceptor, &connector).await;
            assert_eq!(hellos.lock().unwrap().len(), 2, "control: there was a HelloRetryRequest");
            let pending = accepted.unwrap();
            assert_eq!(pending.presented().client_id, ClientId::Form(ClientForm::Name(name())));
            echo(&mut open(pending).await, &mut connected.unwrap()).await;
        }
    }
}

/// A ServerHello without this extension.
fn without_extension(hello: &[u8], extension_type: u16) -> Vec<u8> {
    with_hello_extensions(hello, hello_extensions(hello).into_iter().filter(|(found, _)| *found != extension_type))
}

// SRV-24 at the client's end: without extended_master_secret or renegotiation_info the server gets no Certificate.
#[tokio::test]
async fn legacy_servers_are_refused() {
    const EXTENDED_MASTER_SECRET: u16 = 23;
    const RENEGOTIATION_INFO: u16 = 0xff01;
    for extension_type in [EXTENDED_MASTER_SECRET, RENEGOTIATION_INFO] {
        let acceptor = misbehave::acceptor(
            &old_server(Profile::Draft2022),
            misbehave::only(SERVER_HELLO, move |message| without_extension(message, extension_type)),
        );
        let (seen, record) = recorder(CERTIFICATE);
        let connector = misbehave::connector(&Connector::new(&config()).unwrap(), record);
        let (error, server) = client_refuses(&acceptor, &connector).await;
        assert!(matches!(error, ConnectError::LegacyHandshake), "{extension_type}: {error:?}");
        assert!(matches!(server, AcceptError::PeerAlert(alert) if alert.code() == 40), "{server:?}");
        assert!(seen.lock().unwrap().is_empty(), "no Certificate");
    }
}

// SRV-24 at the client's end: a server that has no AEAD with ECDHE to offer.
#[tokio::test]
async fn servers_without_a_good_suite_are_not_spoken_to() {
    for (suites, spoken) in [("ECDHE-ECDSA-AES128-SHA256", false), ("ECDHE-ECDSA-AES128-GCM-SHA256", true)] {
        let (ctx, roots) = plain_server(|ctx| ctx.set_cipher_list(suites).unwrap());
        let config = ClientConfig { server_verification: ServerVerification::Roots(roots), ..config() };
        let (client, server) = tcp().await;
        let mut server = SslStream::new(Ssl::new(&ctx).unwrap(), server).unwrap();
        let connector = Connector::new(&config).unwrap();
        let server = async move { Pin::new(&mut server).accept().await };
        let (accepted, connected) = tokio::join!(server, connector.connect(SERVER, client));
        assert_eq!(accepted.is_ok(), spoken);
        match connected {
            Ok(client) => assert_eq!(client.negotiated().cipher_suite, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
            Err(error) => assert!(!spoken && matches!(error, ConnectError::PeerAlert(alert) if alert.code() == 40)),
        }
    }
}

// CLI-05, CLI-07: in TLS 1.2 too the server is verified before the client shows its certificate, and a refusal is known
// for one when the handshake ends in it.
#[tokio::test]
async fn server_is_verified_before_the_certificate_leaves_in_tls12() {
    let acceptor = old_server(Profile::Draft2022);
    let roots = TrustAnchors::parse(&vector("certs/root.pem")).unwrap();
    let wrong = ClientConfig { server_verification: ServerVerification::Roots(roots), ..config() };
    let (seen, record) = recorder(CERTIFICATE);
    let connector = misbehave::connector(&Connector::new(&wrong).unwrap(), record);
    let (error, server) = client_refuses(&acceptor, &connector).await;
    assert!(matches!(error, ConnectError::ServerCertificate { .. }), "{error:?}");
    assert!(matches!(server, AcceptError::PeerAlert(alert) if alert.code() == 48), "{server:?}");
    assert!(seen.lock().unwrap().is_empty());

    let connector = Connector::new(&config()).unwrap();
    let (client, server) = tcp().await;
    let server = async {
        let pending = accept(&acceptor, server).await.unwrap();
        let presented = Arc::clone(pending.presented());
        assert!(matches!(pending.resume(&Verdict::Abort(Reason::NoMatch)).await, Resumed::Refused));
        presented
    };
    let (presented, connected) = tokio::join!(server, connector.connect(SERVER, client));
    assert_eq!(presented.client_id, ClientId::Form(ClientForm::InCertificate));
    assert!(matches!(connected.unwrap_err(), ConnectError::ClientAuthRefused));
}

// RPK-03, C8: in TLS 1.2 the ServerHello says whether a key may be shown.
#[tokio::test]
async fn raw_public_key_needs_a_server_that_takes_it_in_tls12() {
    let without = ServerConfig { raw_public_keys: false, profile: Profile::Draft2022, tls12: true, ..server_config() };
    let acceptor = misbehave::old_server(&Acceptor::new(&without).unwrap());
    let config = ClientConfig { credential: Some(raw_public_key()), name_in_client_hello: true, ..config() };
    let demanding = Connector::new(&ClientConfig { require_signal: true, ..config.clone() }).unwrap();
    let (error, server) = client_refuses(&acceptor, &demanding).await;
    assert!(matches!(error, ConnectError::NoRawPublicKeys), "{error:?}");
    assert!(matches!(server, AcceptError::PeerAlert(alert) if alert.code() == 40), "{server:?}");
    // Those who do not demand it present nothing.
    let (client, server) = tcp().await;
    let server = async {
        let pending = accept(&acceptor, server).await.unwrap();
        assert_eq!(pending.presented().credential, None);
        open(pending).await
    };
    let connector = Connector::new(&config).unwrap();
    let (mut server, client) = tokio::join!(server, connector.connect(SERVER, client));
    let mut client = client.unwrap();
    assert!(client.credential_sent().is_none());
    echo(&mut server, &mut client).await;
}
