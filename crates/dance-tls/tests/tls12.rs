//! Profile `2022` over TLS 1.2: the extension in the hellos, and a verdict before the server's Finished.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::pin::Pin;
use std::sync::Arc;

use common::*;
use dance_core::clientid::{ClientForm, ExtensionType, ExtensionTypes, Profile, TlsVersion};
use dance_core::matching::Credential;
use dance_core::reason::Reason;
use dance_core::verdict::{ClientId, Presented, Verdict};
use dance_tls::misbehave::{self, CERTIFICATE, CERTIFICATE_VERIFY, CLIENT_HELLO, FINISHED, SERVER_HELLO};
use dance_tls::{
    AcceptError, Acceptor, ClientConfig, ClientCredential, ConnectError, Connector, CredentialType, DaneMode, Resumed,
    ServerConfig, TlsStream,
};
use openssl::ssl::{SslContextBuilder, SslOptions, SslSessionCacheMode, SslVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

const TYPE: u16 = ExtensionType::DEFAULT.get();
const REFUSE: Verdict = Verdict::Abort(Reason::NoMatch);
/// Content types of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
/// The record of a fatal handshake_failure in the clear.
const REFUSAL: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

fn server_of(profile: Profile) -> Acceptor {
    Acceptor::new(&ServerConfig { profile, tls12: true, ..server_config() }).unwrap()
}

fn server() -> Acceptor {
    server_of(Profile::Draft2022)
}

/// A client that may speak TLS 1.2, the name in its ClientHello.
fn config(credential: ClientCredential) -> ClientConfig {
    ClientConfig {
        profile: Profile::Draft2022.into(),
        tls12: true,
        name_in_client_hello: true,
        ..client_config(credential)
    }
}

/// A client that speaks nothing else.
fn old(config: &ClientConfig) -> Connector {
    Connector::new(&ClientConfig { tls13: false, ..config.clone() }).unwrap()
}

/// A client that says nothing of DANE.
fn without_name(credential: Option<ClientCredential>) -> ClientConfig {
    ClientConfig { credential, client_id: None, name_in_client_hello: false, ..config(x509()) }
}

/// Both handshakes, with this verdict about the client.
async fn decided(
    acceptor: &Acceptor,
    connector: &Connector,
    verdict: &Verdict,
) -> (Arc<Presented>, Resumed<TcpStream>, Connected) {
    let (client, server) = tcp().await;
    let server = async {
        let pending = accept(acceptor, server).await.unwrap();
        assert_eq!(pending.version(), TlsVersion::Tls12);
        (Arc::clone(pending.presented()), pending.resume(verdict).await)
    };
    let ((presented, resumed), connected) = tokio::join!(server, connector.connect(SERVER, client));
    (presented, resumed, connected)
}

async fn accepted(acceptor: &Acceptor, connector: &Connector) -> (Arc<Presented>, TlsStream<TcpStream>, Connected) {
    match decided(acceptor, connector, &ACCEPT).await {
        (presented, Resumed::Open(stream), connected) => (presented, stream, connected),
        (_, Resumed::Refused, _) => panic!("the verdict was to go on"),
    }
}

// CID-03, CID-16, CLI-03, CLI-04, CLI-08, RPK-02, RPK-03, TLSA-23: each credential, with each form that goes with it.
#[tokio::test]
async fn client_is_presented_as_it_said_and_as_received() {
    let form = ClientForm::Name(name());
    let x509 = |file: &str| Credential::X509(vec![vector(file).into()]);
    let key = Credential::RawPublicKey(vector("keys/ee-p256.spki.der").into());
    let leaf = x509("certs/leaf-devsan.der");
    for (credential, client_id, name_in_client_hello, said, expected) in [
        (named(), form.clone(), false, ClientForm::InCertificate, leaf.clone()),
        (named(), form.clone(), true, form.clone(), leaf.clone()),
        (named(), ClientForm::InCertificate, false, ClientForm::InCertificate, leaf),
        (common::x509(), form.clone(), true, form.clone(), x509("certs/ee-p256.der")),
        (raw_public_key(), form.clone(), true, form.clone(), key),
    ] {
        let (hello, record) = recorder(CLIENT_HELLO);
        let config = ClientConfig { client_id: Some(client_id), name_in_client_hello, ..config(credential) };
        let connector = misbehave::connector(&old(&config), record);
        let (answer, record) = recorder(SERVER_HELLO);
        let acceptor = misbehave::acceptor(&server(), record);
        let (presented, mut server, client) = accepted(&acceptor, &connector).await;
        assert_eq!(presented.client_id, ClientId::Form(said.clone()));
        assert_eq!(presented.credential.as_ref(), Some(&expected));
        let mut client = client.unwrap();
        assert!(client.signal_seen() && client.name_sent());
        let sent = matches!(expected, Credential::RawPublicKey(_));
        let sent = if sent { CredentialType::RawPublicKey } else { CredentialType::X509 };
        assert_eq!(client.credential_sent(), Some(sent));
        assert_eq!(client.negotiated().version, TlsVersion::Tls12);
        echo(&mut server, &mut client).await;

        let ours = |messages: &Seen| {
            let mut extensions = hello_extensions(&messages.lock().unwrap()[0]);
            extensions.retain(|(found, _)| *found == TYPE);
            extensions
        };
        assert_eq!(ours(&hello), [(TYPE, said.encode(Profile::Draft2022).unwrap())]);
        assert_eq!(ours(&answer), [(TYPE, Vec::new())]);
    }
}

// SRV-24, SRV-16, SEC-11: on the wire. Nothing that follows the client's Certificate leaves before the verdict; a
// refusal is one alert in the clear, and the client gets it inside its handshake.
#[tokio::test]
async fn server_is_silent_until_the_verdict() {
    enum Ending {
        Resume(Verdict),
        Drop,
    }
    for credential in [Some(x509()), Some(raw_public_key()), None] {
        for ending in [Ending::Resume(ACCEPT), Ending::Resume(REFUSE), Ending::Drop] {
            let config = match &credential {
                Some(credential) => config(credential.clone()),
                None => without_name(None),
            };
            let (client, server) = tcp().await;
            let (server, written) = Tapped::new(server);
            let client = tokio::spawn(async move { old(&config).connect(SERVER, client).await });
            let pending = accept(&self::server(), server).await.unwrap();
            let before = written.lock().unwrap().clone();
            let content_types: Vec<_> = records(&before).into_iter().map(|(found, _)| found).collect();
            assert!(!content_types.is_empty() && content_types.iter().all(|found| *found == HANDSHAKE));
            let after = || written.lock().unwrap()[before.len()..].to_vec();
            match ending {
                Ending::Resume(ACCEPT) => {
                    let Resumed::Open(stream) = pending.resume(&ACCEPT).await else { panic!() };
                    // Without anybody reading or writing.
                    client.await.unwrap().unwrap();
                    let sent: Vec<_> = records(&after()).into_iter().map(|(found, _)| found).collect();
                    assert_eq!(sent, [CHANGE_CIPHER_SPEC, HANDSHAKE]);
                    drop(stream);
                    continue;
                }
                Ending::Resume(verdict) => assert!(matches!(pending.resume(&verdict).await, Resumed::Refused)),
                Ending::Drop => drop(pending),
            }
            assert_eq!(after(), REFUSAL);
            let error = client.await.unwrap().unwrap_err();
            assert!(matches!(error, ConnectError::ClientAuthRefused), "{error:?}");
        }
    }
}

// SRV-16, SEC-11: whatever the reason, the client sees its alert and nothing else.
#[tokio::test]
async fn every_reason_has_its_alert() {
    let (acceptor, connector) = (server(), old(&config(x509())));
    for reason in Reason::ALL {
        let (_, resumed, connected) = decided(&acceptor, &connector, &Verdict::Abort(*reason)).await;
        assert!(matches!(resumed, Resumed::Refused));
        let end = ClientEnd::Connect(connected.unwrap_err());
        assert_eq!(end.alert(), Some(reason.alert().code()), "{reason}: {end:?}");
    }
}

// SRV-04, SRV-16: a client without certificate, or without name, presents nothing, and is refused like all others.
#[tokio::test]
async fn client_without_name_is_absent() {
    for credential in [None, Some(x509()), Some(named()), Some(raw_public_key())] {
        let connector = old(&without_name(credential.clone()));
        let verdict = Verdict::Abort(Reason::NoClientName);
        let (presented, _, connected) = decided(&server(), &connector, &verdict).await;
        assert_eq!(presented.client_id, ClientId::Absent);
        assert_eq!(presented.credential.is_some(), credential.is_some());
        assert!(matches!(connected.unwrap_err(), ConnectError::ClientAuthRefused));
        // Control.
        let (_, mut server, client) = accepted(&server(), &connector).await;
        let mut client = client.unwrap();
        assert!(!client.signal_seen() && !client.name_sent());
        assert_eq!(client.credential_sent().is_some(), credential.is_some());
        echo(&mut server, &mut client).await;
    }
}

// RPK-02: a raw public key with the empty form, which no client of this crate sends, comes to the verdict as what it is:
// a key without name. In TLS 1.3 too.
#[tokio::test]
async fn raw_public_key_with_the_empty_form_has_no_name() {
    let config = config(raw_public_key());
    let emptied = misbehave::only(CLIENT_HELLO, |message| {
        let extensions = hello_extensions(message).into_iter();
        with_hello_extensions(
            message,
            extensions.map(|(found, data)| (found, if found == TYPE { vec![] } else { data })),
        )
    });
    let (presented, ..) = accepted(&server(), &misbehave::connector(&old(&config), emptied)).await;
    let empty = misbehave::extension(TYPE, b"");
    let over_13 = misbehave::sends_in_certificate(&Connector::new(&config).unwrap(), &[empty]);
    let (pending, _connected) = handshake(&server(), &over_13).await;
    let pending = pending.unwrap();
    for presented in [&presented, pending.presented()] {
        assert_eq!(presented.client_id, ClientId::Form(ClientForm::InCertificate));
        assert!(matches!(presented.credential, Some(Credential::RawPublicKey(_))));
    }
}

// SRV-09: possession is proven before anybody hears of the client, and OpenSSL's own alert goes out.
#[tokio::test]
async fn bad_proof_of_possession_yields_no_pending_client() {
    for message_type in [CERTIFICATE_VERIFY, FINISHED] {
        for credential in [x509(), raw_public_key()] {
            let connector = misbehave::corrupts(&old(&config(credential)), message_type);
            let (error, end) = refused(&server(), &connector).await;
            let AcceptError::Tls(failure) = &error else { panic!("{error:?}") };
            assert_eq!(failure.alert_sent.map(|alert| alert.code()), Some(51), "{error:?}");
            assert_eq!(end.alert(), Some(51), "{end:?}");
        }
    }
}

/// A Certificate message of TLS 1.2.
fn certificate_list(certificates: &[&[u8]]) -> Vec<u8> {
    let prefixed = |octets: &[u8]| [&(octets.len() as u32).to_be_bytes()[1..], octets].concat();
    let list: Vec<u8> = certificates.iter().flat_map(|octets| prefixed(octets)).collect();
    misbehave::with_body(&[CERTIFICATE], &prefixed(&list))
}

// SEC-14, RPK-03: the reasons are those of TLS 1.3.
#[tokio::test]
async fn malformed_certificates_are_refused() {
    let der = vector("certs/ee-p256.der");
    let two = [der.clone(), vec![0]].concat();
    let mut length = certificate_list(&[&der]);
    length[6] ^= 1;
    let (acceptor, long) = (server(), vec![&der[..]; 17]);
    for (about, credential, message, alert) in [
        ("no DER", x509(), certificate_list(&[b"certificate"]), 50),
        ("an octet too many", x509(), certificate_list(&[&two]), 50),
        ("no octets", x509(), certificate_list(&[b""]), 50),
        ("list length", x509(), length.clone(), 50),
        ("17 certificates", x509(), certificate_list(&long), 50),
        ("not read at all", x509(), certificate_list(&vec![&der[..]; 200]), 47),
        ("no key", raw_public_key(), misbehave::with_body(&[CERTIFICATE], b"\0\0\x03key"), 50),
        ("key length", raw_public_key(), misbehave::with_body(&[CERTIFICATE], b"\0\0\x04key"), 50),
    ] {
        let connector =
            misbehave::connector(&old(&config(credential)), misbehave::only(CERTIFICATE, move |_| message.clone()));
        let (error, end) = refused(&acceptor, &connector).await;
        assert!(matches!(error, AcceptError::Refused(Reason::CertificateMalformed)), "{about}: {error:?}");
        assert_eq!(end.alert(), Some(alert), "{about}: {end:?}");
    }
    // Control: 16 are taken.
    let sixteen = certificate_list(&long[..16]);
    let connector = misbehave::connector(&old(&config(x509())), misbehave::only(CERTIFICATE, move |_| sixteen.clone()));
    let (presented, ..) = accepted(&acceptor, &connector).await;
    assert_eq!(certificates(presented.credential.as_ref()).len(), 16);
}

/// A client of TLS 1.2 that conveys these octets as its extension.
fn says(extension: &[u8]) -> Connector {
    misbehave::sends_in_client_hello(&old(&without_name(Some(named()))), extension)
}

/// The server's ServerHello has no answer to the extension.
async fn not_answered(acceptor: &Acceptor, connector: &Connector) {
    let (seen, record) = recorder(SERVER_HELLO);
    let (presented, mut server, client) = accepted(&misbehave::acceptor(acceptor, record), connector).await;
    assert_eq!(presented.client_id, ClientId::Absent);
    assert!(hello_extensions(&seen.lock().unwrap()[0]).iter().all(|(found, _)| *found != TYPE));
    let mut client = client.unwrap();
    assert!(!client.signal_seen());
    echo(&mut server, &mut client).await;
}

// CID-06, CID-07, CID-08, CID-09, CID-16, NAM-01, NAM-02, NAM-03, NAM-04, NAM-05, NAM-06: every vector of TLS 1.2 that
// a server receives, over the wire. What is answered is refused by these clients, who have not asked.
#[tokio::test]
async fn vectors_of_a_client_hello() {
    let vectors: serde_json::Value = serde_json::from_slice(&vector("vectors.json")).unwrap();
    let mut run = 0;
    for case in vectors["extension"].as_array().unwrap() {
        let text = |field: &str| case[field].as_str().unwrap_or_default();
        let wire: Vec<u8> = (0..text("extension_hex").len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text("extension_hex")[at..at + 2], 16).unwrap())
            .collect();
        let wire = match (text("tls"), text("message")) {
            ("1.2", "CH") => wire,
            ("1.2", "CH_duplicate") => [wire.clone(), wire].concat(),
            _ => continue,
        };
        run += 1;
        let about = text("name");
        let (acceptor, connector) = (server_of(Profile::from_name(text("profile")).unwrap()), says(&wire));
        match (text("verdict"), text("alert")) {
            ("ignore", _) => not_answered(&acceptor, &connector).await,
            ("accept", _) => {
                let (accepted, connected) = handshake(&acceptor, &connector).await;
                let error = connected.unwrap_err();
                assert!(matches!(error, ConnectError::Extension(_)), "{about}: {error:?}");
                let error = accepted.unwrap_err();
                assert!(matches!(error, AcceptError::PeerAlert(alert) if alert.code() == 110), "{about}: {error:?}");
            }
            (_, alert) => {
                let (error, end) = refused(&acceptor, &connector).await;
                let AcceptError::Refused(reason) = error else { panic!("{about}: {error:?}") };
                assert_eq!(reason.alert().name(), alert, "{about}");
                assert_eq!(end.alert(), Some(reason.alert().code()), "{about}: {end:?}");
            }
        }
    }
    assert_eq!(run, 32);
}

// SRV-03, CID-16: a listener of profile `current`, or without DANE, neither reads nor answers it, well-formed or not.
#[tokio::test]
async fn other_listeners_do_not_know_the_extension() {
    let off = ServerConfig { dane: DaneMode::Off, profile: Profile::Draft2022, tls12: true, ..server_config() };
    for acceptor in [server_of(Profile::Current), Acceptor::new(&off).unwrap()] {
        for data in [&b""[..], b"\0", b"\x09a.example", b"\x0aa..example", b"\xff"] {
            not_answered(&acceptor, &says(&misbehave::extension(TYPE, data))).await;
        }
        // Without the extension it is the same.
        not_answered(&acceptor, &old(&without_name(Some(x509())))).await;
        // A client that goes by itself: it is not heard, and its certificate is one like any other.
        let (presented, mut server, client) = accepted(&acceptor, &old(&config(named()))).await;
        assert_eq!(presented.client_id, ClientId::Absent);
        echo(&mut server, &mut client.unwrap()).await;
    }
    // One of profile `2022` does not answer those who have not asked.
    not_answered(&server(), &old(&without_name(Some(x509())))).await;
}

// CID-09, CID-16: each code point of the accept-set is answered by itself, and two of them are one too many.
#[tokio::test]
async fn accept_set_in_the_hellos() {
    let [first, second] = [0xff5a, TYPE].map(|value| ExtensionType::new(value).unwrap());
    let extension_types = ExtensionTypes::new([first, second]).unwrap();
    let acceptor =
        Acceptor::new(&ServerConfig { profile: Profile::Draft2022, tls12: true, extension_types, ..server_config() });
    let acceptor = acceptor.unwrap();
    for extension_type in [first, second] {
        let (seen, record) = recorder(SERVER_HELLO);
        let connector = old(&ClientConfig { extension_type, ..config(x509()) });
        let (presented, _, client) = accepted(&misbehave::acceptor(&acceptor, record), &connector).await;
        assert_eq!(presented.client_id, ClientId::Form(ClientForm::Name(name())));
        assert!(client.unwrap().signal_seen());
        let mut answered = hello_extensions(&seen.lock().unwrap()[0]);
        answered.retain(|(found, _)| extension_types.contains(*found));
        assert_eq!(answered, [(extension_type.get(), Vec::new())]);
    }
    let both = [first, second].map(|kind| misbehave::extension(kind.get(), b"\x09a.example")).concat();
    assert_refused(&refused(&acceptor, &says(&both)).await, Reason::ExtensionMisplaced, "two code points");
}

// SRV-02, SEC-10: TLS 1.1 never.
#[tokio::test]
async fn older_versions_get_protocol_version() {
    for profile in [Profile::Current, Profile::Draft2022] {
        let connector = misbehave::connector(
            &old(&config(x509())),
            misbehave::only(CLIENT_HELLO, |message| {
                let mut changed = message.to_vec();
                assert_eq!(changed[4..6], [3, 3]);
                changed[5] = 2;
                changed
            }),
        );
        let (error, end) = refused(&server_of(profile), &connector).await;
        assert!(matches!(error, AcceptError::Refused(Reason::VersionTooLow)), "{error:?}");
        assert_eq!(end.alert(), Some(70), "{end:?}");
    }
}

// SEC-09: TLS 1.2 is off unless it is asked for; where it is on, TLS 1.3 is preferred.
#[tokio::test]
async fn tls12_is_off_by_default_and_second_choice() {
    let default = Acceptor::new(&ServerConfig { profile: Profile::Draft2022, ..server_config() }).unwrap();
    let (error, end) = refused(&default, &old(&config(x509()))).await;
    assert!(matches!(error, AcceptError::Refused(Reason::VersionTooLow)), "{error:?}");
    assert_eq!(end.alert(), Some(70), "{end:?}");
    // A client that is not set to TLS 1.2 does not follow an old server there.
    let config_13 = ClientConfig { tls12: false, name_in_client_hello: false, ..config(x509()) };
    let (accepted, connected) =
        handshake(&misbehave::old_server(&server()), &Connector::new(&config_13).unwrap()).await;
    assert!(matches!(accepted.unwrap_err(), AcceptError::Refused(Reason::VersionTooLow)));
    assert!(matches!(connected.unwrap_err(), ConnectError::PeerAlert(alert) if alert.code() == 70));

    let (accepted, connected) = handshake(&server(), &Connector::new(&config(x509())).unwrap()).await;
    assert_eq!(accepted.unwrap().version(), TlsVersion::Tls13);
    assert!(connected.unwrap().name_sent());
}

// SRV-02: somebody on the way who takes TLS 1.3 out of the ClientHello is found out by the downgrade sentinel (RFC 9846
// section 4.2.3).
#[tokio::test]
async fn downgrade_is_noticed() {
    let (seen, record) = recorder(SERVER_HELLO);
    let honest = Connector::new(&config(x509())).unwrap();
    let connector = misbehave::connector(
        &honest,
        misbehave::only(CLIENT_HELLO, |message| {
            const VERSIONS: &[u8] = &[0, 43, 0, 5, 4, 3, 4, 3, 3];
            let at = message.windows(VERSIONS.len()).position(|window| window == VERSIONS).unwrap();
            let mut changed = message.to_vec();
            changed[at + 6] = 3;
            changed
        }),
    );
    let (accepted, connected) = handshake(&misbehave::acceptor(&server(), record), &connector).await;
    assert_eq!(seen.lock().unwrap()[0][4 + 2 + 24..][..8], *b"DOWNGRD\x01");
    assert!(matches!(connected.unwrap_err(), ConnectError::Tls(failure) if failure.alert_sent.unwrap().code() == 47));
    assert!(matches!(accepted.unwrap_err(), AcceptError::PeerAlert(alert) if alert.code() == 47));
}

/// The handshake of a client that knows nothing of DANE and no TLS 1.3: why it is refused, and the alert that it gets.
async fn stranger(acceptor: &Acceptor, set: impl FnOnce(&mut SslContextBuilder)) -> (Reason, Option<i32>) {
    let (client, server) = tcp().await;
    let ssl = plain_client(|ctx| {
        ctx.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        set(ctx);
    });
    let client = tokio::spawn(async move {
        let mut client = SslStream::new(ssl, client).unwrap();
        alert_in(&Pin::new(&mut client).connect().await.unwrap_err())
    });
    let reason = match accept(acceptor, server).await {
        Err(AcceptError::Refused(reason)) => reason,
        Err(error) => panic!("{error:?}"),
        Ok(pending) => {
            assert_eq!((&pending.presented().client_id, pending.version()), (&ClientId::Absent, TlsVersion::Tls12));
            pending.resume(&Verdict::Abort(Reason::NoClientName)).await;
            Reason::NoClientName
        }
    };
    (reason, client.await.unwrap())
}

// SRV-24: no extended_master_secret, no forward secrecy, no AEAD: no handshake.
#[tokio::test]
async fn legacy_handshakes_are_refused() {
    const NO_EXTENDED_MASTER_SECRET: SslOptions = SslOptions::from_bits_retain(1);
    type Set = fn(&mut SslContextBuilder);
    let legacy: [Set; 4] = [
        |ctx| {
            ctx.set_options(NO_EXTENDED_MASTER_SECRET);
        },
        |ctx| ctx.set_cipher_list("ECDHE-ECDSA-AES128-SHA256").unwrap(),
        |ctx| ctx.set_cipher_list("DHE+AESGCM").unwrap(),
        |ctx| ctx.set_cipher_list("AES128-GCM-SHA256").unwrap(),
    ];
    for profile in [Profile::Current, Profile::Draft2022] {
        for set in legacy {
            assert_eq!(stranger(&server_of(profile), set).await, (Reason::LegacyHandshake, Some(40)));
        }
        // Control: the same client with its defaults comes to a verdict.
        assert_eq!(stranger(&server_of(profile), |_| {}).await, (Reason::NoClientName, Some(40)));
    }
}

// SRV-17: TLS 1.2 never resumes: no ticket, no session.
#[tokio::test]
async fn no_tickets_and_no_sessions() {
    const NEW_SESSION_TICKET: u8 = 4;
    let (tickets, record) = recorder(NEW_SESSION_TICKET);
    let (hellos, record_hello) = recorder(SERVER_HELLO);
    let acceptor = misbehave::acceptor(&server(), move |message| record_hello(&record(message)));
    let (client, server) = tcp().await;
    let ssl = plain_client(|ctx| {
        ctx.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        ctx.set_session_cache_mode(SslSessionCacheMode::CLIENT);
    });
    let mut client = SslStream::new(ssl, client).unwrap();
    let server = async {
        let Resumed::Open(mut server) = accept(&acceptor, server).await.unwrap().resume(&ACCEPT).await else {
            panic!()
        };
        server.write_all(b"hello").await.unwrap();
        server
    };
    let client = async {
        Pin::new(&mut client).connect().await.unwrap();
        client.read_exact(&mut [0; 5]).await.unwrap();
    };
    let (_server, ()) = tokio::join!(server, client);
    assert!(tickets.lock().unwrap().is_empty());
    let session_id_length = hellos.lock().unwrap()[0][4 + 2 + 32];
    assert_eq!(session_id_length, 0);
}
