//! What a server makes of clients that are too old, not speaking TLS, cheating, or in search of a resumption.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::*;
use dance_core::clientid::{ExtensionType, Profile};
use dance_core::message::MAX_MESSAGE_LEN;
use dance_core::reason::Reason;
use dance_core::verdict::ClientId;
use dance_tls::misbehave::{self, CERTIFICATE, CERTIFICATE_VERIFY, CLIENT_HELLO, FINISHED};
use dance_tls::{
    AcceptError, Acceptor, CertifiedKey, ClientConfig, ClientCredential, ConfigError, Connector, ServerConfig,
};
use openssl::ssl::SslVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_openssl::SslStream;

// SRV-02, SEC-10
#[tokio::test]
async fn tls12_client_gets_protocol_version() {
    let (client, server) = tcp().await;
    let ssl = plain_client(|ctx| ctx.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap());
    let mut client = SslStream::new(ssl, client).unwrap();
    let acceptor = acceptor();
    let client = async move { Pin::new(&mut client).connect().await };
    let (accepted, connected) = tokio::join!(accept(&acceptor, server), client);
    let error = accepted.unwrap_err();
    assert!(matches!(error, AcceptError::Refused(Reason::VersionTooLow)), "{error:?}");
    assert_eq!(alert_in(&connected.unwrap_err()), Some(70));
}

// SRV-02: with the extension in its ClientHello it gets the same, and no answer to the extension.
#[tokio::test]
async fn tls12_client_with_the_extension_gets_protocol_version() {
    for profile in [Profile::Current, Profile::Draft2022] {
        // A client of this crate whose supported_versions says TLS 1.2.
        let honest = Connector::new(&ClientConfig { profile: profile.into(), ..client_config(x509()) }).unwrap();
        let connector = misbehave::connector(
            &honest,
            misbehave::only(CLIENT_HELLO, |message| {
                const TLS13_ONLY: &[u8] = &[0, 43, 0, 3, 2, 3, 4];
                let at = message.windows(TLS13_ONLY.len()).position(|window| window == TLS13_ONLY).unwrap();
                let mut changed = message.to_vec();
                changed[at + TLS13_ONLY.len() - 1] = 3;
                let extension = misbehave::extension(ExtensionType::DEFAULT.get(), b"\x09a.example");
                misbehave::with_extension(&changed, misbehave::hello_length(&changed), &extension)
            }),
        );
        let acceptor = Acceptor::new(&ServerConfig { profile, ..server_config() }).unwrap();
        let (error, end) = refused(&acceptor, &connector).await;
        assert!(matches!(error, AcceptError::Refused(Reason::VersionTooLow)), "{error:?}");
        assert_eq!(end.alert(), Some(70), "{end:?}");
    }
}

// Whatever arrives on the port ends in an error of its own kind, and not before time.
#[tokio::test]
async fn what_is_not_tls_is_a_clean_error() {
    let random: Vec<u8> = (0..2000_u32).map(|n| ((n * 7919) >> 3) as u8).collect();
    for (sent, expected) in [
        (&b"GET / HTTP/1.1\r\nHost: server.test\r\n\r\n"[..], &["http request"][..]),
        // OpenSSL 4.0; 3.5.
        (&b"SSH-2.0-client\r\n"[..], &["wrong version number", "packet length too long"]),
        (&random[..], &["wrong version number", "packet length too long"]),
    ] {
        let (mut client, server) = tcp().await;
        client.write_all(sent).await.unwrap();
        let acceptor = acceptor();
        let client = async move {
            let mut answer = Vec::new();
            // A reset is as good an end as any for who does not speak TLS.
            let _ = client.read_to_end(&mut answer).await;
            answer
        };
        let (accepted, answer) = tokio::join!(accept(&acceptor, server), client);
        let error = accepted.unwrap_err();
        let AcceptError::Tls(failure) = &error else { panic!("{error:?}") };
        assert!(expected.iter().any(|expected| failure.text.contains(expected)), "{error:?}");
        assert!(answer.len() <= 7, "at most an alert: {answer:?}");
    }
}

// A client that hangs up, at once or in the middle of its ClientHello.
#[tokio::test]
async fn early_end_is_an_io_error() {
    for sent in [&b""[..], &[22, 3, 1, 0, 100, 1, 0]] {
        let (mut client, server) = tcp().await;
        client.write_all(sent).await.unwrap();
        drop(client);
        let error = accept(&acceptor(), server).await.unwrap_err();
        assert!(
            matches!(&error, AcceptError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof),
            "{error:?}"
        );
    }
}

// SRV-09: possession is proven before anybody hears of the client.
#[tokio::test]
async fn bad_proof_of_possession_yields_no_pending_client() {
    for message_type in [CERTIFICATE_VERIFY, FINISHED] {
        for credential in [x509(), raw_public_key()] {
            let connector = misbehave::corrupts(&connector(credential), message_type);
            let (error, end) = refused(&acceptor(), &connector).await;
            let AcceptError::Tls(failure) = &error else { panic!("{error:?}") };
            assert_eq!(failure.alert_sent.map(|alert| alert.code()), Some(51), "{error:?}");
            assert_eq!(end.alert(), Some(51), "{end:?}");
        }
    }
}

// SRV-09: another key than that of the certificate.
#[tokio::test]
async fn stolen_certificate_yields_no_pending_client() {
    let stolen = misbehave::entries(&vector("messages/cert-x509-p256.bin"));
    let connector = misbehave::connector(
        &connector(leaf()),
        misbehave::only(CERTIFICATE, move |_| misbehave::certificate(&stolen)),
    );
    let (error, end) = refused(&acceptor(), &connector).await;
    assert!(matches!(&error, AcceptError::Tls(_)), "{error:?}");
    assert_eq!(end.alert(), Some(51), "{end:?}");
}

/// A client whose Certificate has these many entries, each padded to `len` octets by an extension that nobody knows.
fn padded(count: usize, len: usize) -> Connector {
    misbehave::connector(
        &connector(x509()),
        misbehave::only(CERTIFICATE, move |message| {
            let (data, extensions) = misbehave::entries(message)[0].clone();
            let mut entries = vec![(data.clone(), extensions)];
            let padding = misbehave::extension(0xfafa, &vec![0; len]);
            entries.resize(count, (data, padding));
            misbehave::certificate(&entries)
        }),
    )
}

// SEC-14
#[tokio::test]
async fn certificate_limits() {
    let acceptor = acceptor();
    // Control: 16 certificates are taken.
    let (accepted, connected) = handshake(&acceptor, &padded(16, 0)).await;
    let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
    assert_eq!(certificates(pending.presented().credential.as_ref()).len(), 16);
    echo(&mut open(pending).await, &mut client).await;

    let (error, end) = refused(&acceptor, &padded(17, 0)).await;
    assert!(matches!(error, AcceptError::Refused(Reason::CertificateMalformed)), "{error:?}");
    assert_eq!(end.alert(), Some(50), "{end:?}");

    // Control: just below 64 KiB is taken.
    let (accepted, _connected) = handshake(&acceptor, &padded(3, 32_000)).await;
    assert!(accepted.is_ok(), "{accepted:?}");
    // OpenSSL does not read what is longer, and its alert is illegal_parameter.
    let (error, end) = refused(&acceptor, &padded(3, MAX_MESSAGE_LEN / 2)).await;
    assert!(matches!(error, AcceptError::Refused(Reason::CertificateMalformed)), "{error:?}");
    assert_eq!(end.alert(), Some(47), "{end:?}");
}

// SEC-14
#[tokio::test]
async fn malformed_certificates_are_refused() {
    type Change = fn(&[u8]) -> Vec<u8>;
    let changes: [Change; 4] = [
        // Not DER.
        |_| misbehave::certificate(&[(b"certificate".to_vec(), Vec::new())]),
        // An octet after the certificate.
        |message| {
            let (mut data, extensions) = misbehave::entries(message)[0].clone();
            data.push(0);
            misbehave::certificate(&[(data, extensions)])
        },
        // The list says more than there is.
        |message| {
            let mut changed = message.to_vec();
            changed[7] ^= 1;
            changed
        },
        // A request context in the main handshake.
        |message| {
            let mut body = vec![1, 1];
            body.extend(&message[5..]);
            misbehave::with_body(message, &body)
        },
    ];
    for change in changes {
        let connector = misbehave::connector(&connector(x509()), misbehave::only(CERTIFICATE, change));
        let (error, end) = refused(&acceptor(), &connector).await;
        assert!(matches!(error, AcceptError::Refused(Reason::CertificateMalformed)), "{error:?}");
        assert_eq!(end.alert(), Some(50), "{end:?}");
    }
}

// SRV-17: a client that asks for tickets gets none, neither in the handshake nor after the verdict.
#[tokio::test]
async fn no_tickets_are_issued() {
    let sessions = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&sessions);
    let ssl = plain_client(move |ctx| {
        ctx.set_session_cache_mode(openssl::ssl::SslSessionCacheMode::CLIENT);
        ctx.set_new_session_callback(move |_, _| {
            seen.fetch_add(1, Ordering::Relaxed);
        });
    });
    let (client, server) = tcp().await;
    let mut client = SslStream::new(ssl, client).unwrap();
    let acceptor = acceptor();
    let (accepted, connected) = tokio::join!(accept(&acceptor, server), Pin::new(&mut client).connect());
    connected.unwrap();
    let pending = accepted.unwrap();
    assert_eq!((pending.presented().client_id.clone(), &pending.presented().credential), (ClientId::Absent, &None));
    let mut server = open(pending).await;
    server.write_all(b"hello").await.unwrap();
    server.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!((answer.as_slice(), sessions.load(Ordering::Relaxed)), (&b"hello"[..], 0));
}

// SRV-17, SRV-18: a PSK is declined by a full handshake, early data is thrown away, and nobody reads it.
#[tokio::test]
async fn psk_and_early_data_are_declined() {
    const PSK_AND_EARLY_DATA: [u16; 2] = [41, 42];
    let hello = Arc::new(Mutex::new(Vec::new()));
    let sent = Arc::clone(&hello);
    let connector = misbehave::connector(
        &connector(x509()),
        misbehave::only(CLIENT_HELLO, move |message| {
            let early_data = misbehave::extension(PSK_AND_EARLY_DATA[1], b"");
            let identity = [&[0, 38, 0, 32][..], &[b'i'; 32], &[0, 0, 0, 1]].concat();
            let binder = [&[0, 33, 32][..], &[b'b'; 32]].concat();
            let psk = misbehave::extension(PSK_AND_EARLY_DATA[0], &[identity, binder].concat());
            let extensions = [early_data, psk].concat();
            let changed = misbehave::with_extension(message, misbehave::hello_length(message), &extensions);
            *sent.lock().unwrap() = changed.clone();
            changed
        }),
    );

    // In between: after the ClientHello come early data.
    let (client, mut middle_client) = tcp().await;
    let (mut middle_server, server) = tcp().await;
    let middle = tokio::spawn(async move {
        let mut record = [0; 5];
        middle_client.read_exact(&mut record).await.unwrap();
        let mut body = vec![0; usize::from(u16::from_be_bytes([record[3], record[4]]))];
        middle_client.read_exact(&mut body).await.unwrap();
        middle_server.write_all(&[&record[..], &body].concat()).await.unwrap();
        middle_server.write_all(&[&[23, 3, 3, 0, 100][..], &[b'e'; 100]].concat()).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut middle_client, &mut middle_server).await;
    });

    let acceptor = acceptor();
    let (accepted, connected) = tokio::join!(accept(&acceptor, server), connector.connect(SERVER, client));
    let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
    for extension in PSK_AND_EARLY_DATA {
        let wire = extension.to_be_bytes();
        assert!(hello.lock().unwrap().windows(2).any(|window| window == wire), "control: it was offered");
    }
    assert!(pending.presented().credential.is_some(), "a full handshake");
    // The first octets are those of the request, not the early data.
    echo(&mut open(pending).await, &mut client).await;
    drop(client);
    middle.await.unwrap();
}

// Groups: X25519 by default, whatever else the client prefers; the post-quantum hybrid where it is asked for;
// HelloRetryRequest works.
#[tokio::test]
async fn groups_and_alpn_are_negotiated() {
    let of = |groups: Option<&str>| {
        let alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        ServerConfig { groups: groups.map(str::to_owned), alpn, ..server_config() }
    };
    for (server, client, expected) in [
        (None, None, "X25519"),
        (None, Some("X25519MLKEM768"), "X25519MLKEM768"),
        (Some("X25519MLKEM768:X25519"), None, "X25519MLKEM768"),
        (Some("P-256"), None, "secp256r1"),
    ] {
        let acceptor = Acceptor::new(&of(server)).unwrap();
        let alpn = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
        let config = ClientConfig { groups: client.map(str::to_owned), alpn, ..client_config(x509()) };
        let (accepted, connected) = handshake(&acceptor, &Connector::new(&config).unwrap()).await;
        let (pending, client) = (accepted.unwrap(), connected.unwrap());
        let group = pending.negotiated().group.as_deref().unwrap();
        assert!(group.eq_ignore_ascii_case(expected), "{group}");
        assert_eq!(pending.alpn(), Some(&b"h2"[..]), "the server's preference");
        assert_eq!(&client.negotiated(), pending.negotiated());
    }
    // Nothing in common: no_application_protocol.
    let config = ClientConfig { alpn: vec![b"acme".to_vec()], ..client_config(x509()) };
    let (error, end) = refused(&Acceptor::new(&of(None)).unwrap(), &Connector::new(&config).unwrap()).await;
    assert!(matches!(error, AcceptError::Tls(_)), "{error:?}");
    assert_eq!(end.alert(), Some(120), "{end:?}");
}

// HTTP-17, RPK-03: a listener without raw public keys takes certificates, and no keys.
#[tokio::test]
async fn raw_public_keys_can_be_off() {
    let acceptor = Acceptor::new(&ServerConfig { raw_public_keys: false, ..server_config() }).unwrap();
    let (accepted, connected) = handshake(&acceptor, &connector(x509())).await;
    echo(&mut open(accepted.unwrap()).await, &mut connected.unwrap()).await;
    // A client that has nothing else presents nothing.
    let (accepted, connected) = handshake(&acceptor, &connector(raw_public_key())).await;
    assert_eq!(accepted.unwrap().presented().credential, None);
    let client = connected.unwrap();
    assert!(client.signal_seen() && !client.name_sent() && client.credential_sent().is_none());
}

#[test]
fn settings_that_make_no_server() {
    for groups in ["no-such-group", "X25519\0"] {
        let groups = ServerConfig { groups: Some(groups.into()), ..server_config() };
        assert!(matches!(Acceptor::new(&groups), Err(ConfigError::Groups { .. })));
    }
    for octets in [0, 256] {
        let alpn = ServerConfig { alpn: vec![vec![b'x'; octets]], ..server_config() };
        assert!(matches!(Acceptor::new(&alpn), Err(ConfigError::Alpn { octets: found }) if found == octets));
    }
}

// Settings go to logs.
#[test]
fn debug_output_holds_no_secrets() {
    let key = CertifiedKey::parse(&vector("certs/ee-p256.pem"), &vector("keys/ee-p256.key.pem")).unwrap();
    let pem = String::from_utf8(vector("keys/ee-p256.key.pem")).unwrap();
    let secret = pem.lines().nth(1).unwrap();
    for text in [
        format!("{key:?}"),
        format!("{:?}", server_config()),
        format!("{:?}", client_config(ClientCredential::X509(key))),
        format!("{:?}", connector(x509())),
    ] {
        assert!(!text.contains(secret) && !text.contains("PRIVATE"), "{text}");
    }
}
