//! What the client demands of a server before its name leaves, and how it tells what went wrong.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use dance_core::clientid::{ClientForm, ClientProfile, Profile};
use dance_core::verdict::ClientId;
use dance_tls::misbehave::{self, CERTIFICATE};
use dance_tls::{
    AcceptError, Acceptor, CertifiedKey, ClientConfig, ConfigError, ConnectError, Connector, CredentialError, DaneMode,
    PrivateKey, ServerConfig, ServerVerification, TrustAnchors,
};

/// A client that counts the Certificate messages it sends.
fn counting(config: &ClientConfig) -> (Connector, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let connector = misbehave::connector(
        &Connector::new(config).unwrap(),
        misbehave::only(CERTIFICATE, move |message| {
            counter.fetch_add(1, Ordering::Relaxed);
            message.to_vec()
        }),
    );
    (connector, count)
}

// CLI-05: the server is not the one meant, and so learns neither name nor certificate.
#[tokio::test]
async fn name_does_not_leave_before_the_server_is_verified() {
    let stranger = TrustAnchors::parse(&vector("certs/root.pem")).unwrap();
    let unknown = ClientConfig { server_verification: ServerVerification::Roots(stranger), ..client_config(x509()) };
    let trusted = client_config(x509());
    for (config, server_name, alert) in
        [(&unknown, SERVER, 48), (&trusted, "other.test", 42), (&trusted, "192.0.2.1", 42)]
    {
        let (connector, sent) = counting(config);
        let (client, server) = tcp().await;
        let acceptor = acceptor();
        let (accepted, connected) = tokio::join!(accept(&acceptor, server), connector.connect(server_name, client));
        let error = connected.unwrap_err();
        assert!(
            matches!(&error, ConnectError::ServerCertificate { server_name: found, .. } if found == server_name),
            "{error:?}"
        );
        let error = accepted.unwrap_err();
        assert!(matches!(error, AcceptError::PeerAlert(found) if found.code() == alert), "{error:?}");
        assert_eq!(sent.load(Ordering::Relaxed), 0);
    }
    // Control: the same client sends one where the server is the one meant.
    let (connector, sent) = counting(&trusted);
    let (accepted, _connected) = handshake(&acceptor(), &connector).await;
    assert!(accepted.is_ok());
    assert_eq!(sent.load(Ordering::Relaxed), 1);
}

// CLI-05: by explicit setting only.
#[tokio::test]
async fn unverified_server_by_explicit_setting() {
    let config = ClientConfig { server_verification: ServerVerification::UnsafeNone, ..client_config(x509()) };
    let (client, server) = tcp().await;
    let (acceptor, connector) = (acceptor(), Connector::new(&config).unwrap());
    let (accepted, connected) = tokio::join!(accept(&acceptor, server), connector.connect("other.test", client));
    assert!(connected.unwrap().name_sent());
    assert_eq!(accepted.unwrap().server_name(), Some("other.test"));
}

// The system's trust anchors do not hold a certificate made a moment ago.
#[tokio::test]
async fn system_roots_do_not_trust_just_anyone() {
    let config = ClientConfig { server_verification: ServerVerification::SystemRoots, ..client_config(x509()) };
    match Connector::new(&config) {
        Ok(connector) => {
            let (_, connected) = handshake(&acceptor(), &connector).await;
            assert!(matches!(connected.unwrap_err(), ConnectError::ServerCertificate { .. }));
        }
        // A machine without any.
        Err(error) => assert!(matches!(error, ConfigError::NoRoots)),
    }
}

// Servers go by name, with or without final dot, or by address.
#[tokio::test]
async fn server_names() {
    let made = rcgen::generate_simple_self_signed(["server.test".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = CertifiedKey::parse(certificate.as_bytes(), key.as_bytes()).unwrap();
    let acceptor = Acceptor::new(&ServerConfig::new(identity)).unwrap();
    let roots = ServerVerification::Roots(TrustAnchors::parse(certificate.as_bytes()).unwrap());
    let connector = Connector::new(&ClientConfig { server_verification: roots, ..client_config(x509()) }).unwrap();
    for (server_name, sni) in
        [("server.test", Some("server.test")), ("SERVER.test.", Some("SERVER.test")), ("127.0.0.1", None)]
    {
        let (client, server) = tcp().await;
        let (accepted, connected) = tokio::join!(accept(&acceptor, server), connector.connect(server_name, client));
        connected.unwrap();
        assert_eq!(accepted.unwrap().server_name(), sni);
    }
    let too_long = "x".repeat(300);
    // With a dot in front, OpenSSL would take any name below it.
    for wrong in ["", "a\0b.test", too_long.as_str(), ".test"] {
        let (client, _server) = tcp().await;
        let error = connector.connect(wrong, client).await.unwrap_err();
        assert!(matches!(error, ConnectError::ServerName(_)), "{wrong:?}: {error:?}");
    }
}

// CLI-05: a server's name is in its subjectAltName (RFC 9525 section 2); what its subject says is no name, with other kinds
// of alternative name beside it or none.
#[tokio::test]
async fn subject_is_no_server_name() {
    let address = rcgen::SanType::IpAddress([127, 0, 0, 1].into());
    for (names, taken) in [
        (vec![], false),
        (vec![address.clone()], false),
        (vec![address, rcgen::SanType::DnsName(SERVER.try_into().unwrap())], true),
    ] {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, SERVER);
        params.subject_alt_names = names;
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let identity = CertifiedKey::parse(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let acceptor = Acceptor::new(&ServerConfig::new(identity)).unwrap();
        let roots = ServerVerification::Roots(TrustAnchors::parse(certificate.as_bytes()).unwrap());
        let (connector, sent) = counting(&ClientConfig { server_verification: roots, ..client_config(x509()) });
        let (accepted, connected) = handshake(&acceptor, &connector).await;
        assert_eq!((connected.is_ok(), accepted.is_ok(), sent.load(Ordering::Relaxed)), (taken, taken, taken.into()));
    }
}

// CLI-02, C3: a server without signal is refused by those who demand DANE; others go on without name.
#[tokio::test]
async fn signal_can_be_demanded() {
    let off = Acceptor::new(&ServerConfig { dane: DaneMode::Off, ..server_config() }).unwrap();
    for credential in [x509(), raw_public_key()] {
        let config = ClientConfig { require_signal: true, ..client_config(credential.clone()) };
        let (connector, sent) = counting(&config);
        let (accepted, connected) = handshake(&off, &connector).await;
        assert!(matches!(connected.unwrap_err(), ConnectError::NoSignal));
        let error = accepted.unwrap_err();
        assert!(matches!(error, AcceptError::PeerAlert(alert) if alert.code() == 40), "{error:?}");
        assert_eq!(sent.load(Ordering::Relaxed), 0);

        // Control: with signal it goes through.
        let (accepted, connected) = handshake(&acceptor(), &connector).await;
        echo(&mut open(accepted.unwrap()).await, &mut connected.unwrap()).await;

        let (accepted, connected) = handshake(&off, &Connector::new(&client_config(credential)).unwrap()).await;
        assert_eq!(accepted.unwrap().presented().client_id, ClientId::Absent);
        let client = connected.unwrap();
        assert!(!client.signal_seen() && !client.name_sent() && client.credential_sent().is_some());
    }
}

// RPK-03, C8: a key is shown to servers that select raw public keys, to no other.
#[tokio::test]
async fn raw_public_key_needs_a_server_that_takes_it() {
    let without = Acceptor::new(&ServerConfig { raw_public_keys: false, ..server_config() }).unwrap();
    let config = ClientConfig { require_signal: true, ..client_config(raw_public_key()) };
    let (connector, sent) = counting(&config);
    let (accepted, connected) = handshake(&without, &connector).await;
    assert!(matches!(connected.unwrap_err(), ConnectError::NoRawPublicKeys));
    let error = accepted.unwrap_err();
    assert!(matches!(error, AcceptError::PeerAlert(alert) if alert.code() == 40), "{error:?}");
    assert_eq!(sent.load(Ordering::Relaxed), 0);
}

// What cannot work is refused at start.
#[test]
fn settings_that_make_no_client() {
    let name_only = ClientConfig { client_id: Some(ClientForm::Name(name())), ..ClientConfig::new(trust_server()) };
    assert!(matches!(Connector::new(&name_only), Err(ConfigError::NameWithoutCredential)));
    let no_name = ClientConfig { client_id: None, require_signal: true, ..client_config(x509()) };
    assert!(matches!(Connector::new(&no_name), Err(ConfigError::DemandWithoutName)));
    let alpn = ClientConfig { alpn: vec![Vec::new()], ..client_config(x509()) };
    assert!(matches!(Connector::new(&alpn), Err(ConfigError::Alpn { octets: 0 })));
    for (profile, error) in [
        (Profile::Current.into(), "profile `current`"),
        (Profile::Draft2022.into(), "there, found none"),
        (ClientProfile::Auto, "profile `auto`"),
    ] {
        // SEC-09, CLI-08: TLS 1.2 is for profile `2022`, and there the certificate has to hold the name.
        let tls12 = ClientConfig { tls12: true, profile, ..client_config(x509()) };
        assert!(Connector::new(&tls12).unwrap_err().to_string().contains(error));
    }
    // Control.
    assert!(Connector::new(&client_config(x509())).is_ok());
}

#[test]
fn credentials_that_do_not_load() {
    let (certificate, key) = (vector("certs/ee-p256.pem"), vector("keys/ee-p256.key.pem"));
    let other_key = vector("keys/leaf.key.pem");
    assert!(CertifiedKey::parse(&certificate, &key).is_ok());
    assert!(CertifiedKey::parse(&vector("certs/ee-p256.der"), &key).is_ok());

    let error = CertifiedKey::parse(&certificate, &other_key).unwrap_err();
    assert!(matches!(&error, CredentialError::Mismatch { belongs_to: None, .. }), "{error}");
    assert!(error.to_string().contains("throw-away ee-p256"), "{error}");
    let upside_down = [vector("certs/inter.pem"), vector("certs/leaf.pem")].concat();
    let error = CertifiedKey::parse(&upside_down, &other_key).unwrap_err();
    assert!(matches!(error, CredentialError::Mismatch { belongs_to: Some(2), .. }), "{error}");

    assert!(matches!(CertifiedKey::parse(b"", &key), Err(CredentialError::NoCertificate(_))));
    assert!(matches!(CertifiedKey::parse(&key, &key), Err(CredentialError::NoCertificate(_))));
    assert!(matches!(CertifiedKey::parse(&certificate[..200], &key), Err(CredentialError::BadCertificate { .. })));
    assert!(matches!(CertifiedKey::parse(&certificate, &certificate), Err(CredentialError::BadKey { .. })));
    assert!(matches!(TrustAnchors::parse(b"hello"), Err(CredentialError::NoCertificate(_))));
    // Not asked for on the terminal.
    let pkey = openssl::pkey::PKey::private_key_from_pem(&key).unwrap();
    let encrypted = pkey.private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_128_cbc(), b"secret").unwrap();
    assert!(matches!(PrivateKey::parse(&encrypted), Err(CredentialError::EncryptedKey(_))));
    // DER, and what a client presents of it.
    let der = PrivateKey::parse(&pkey.private_key_to_der().unwrap()).unwrap();
    assert_eq!(der.spki_der().unwrap(), vector("keys/ee-p256.spki.der"));

    let missing = std::path::Path::new("no/such/file.pem");
    let error = CertifiedKey::load(missing, missing).unwrap_err();
    assert!(error.to_string().starts_with("cannot read no/such/file.pem"), "{error}");
}

// A chain whose trust anchor is not self-signed: what the operator names is an anchor.
#[tokio::test]
async fn named_anchor_need_not_be_a_root() {
    let chain = [vector("certs/leaf-ekuserver.pem"), vector("certs/inter.pem")].concat();
    let identity = CertifiedKey::parse(&chain, &vector("keys/leaf.key.pem")).unwrap();
    let acceptor = Acceptor::new(&ServerConfig::new(identity)).unwrap();
    let roots = ServerVerification::Roots(TrustAnchors::parse(&vector("certs/inter.pem")).unwrap());
    let connector = Connector::new(&ClientConfig { server_verification: roots, ..client_config(x509()) }).unwrap();
    let (client, server) = tcp().await;
    let (accepted, connected) =
        tokio::join!(accept(&acceptor, server), connector.connect("device1.example.com", client));
    connected.unwrap();
    accepted.unwrap();
}
