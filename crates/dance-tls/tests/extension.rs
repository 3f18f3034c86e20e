//! The extension on the wire: what goes out, and what is made of everything that may come in. The peer that breaks the
//! rules is this crate's own with its messages rewritten, so both ends are asserted.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::*;
use dance_core::clientid::{ClientForm, ExtensionError, ExtensionType, ExtensionTypes, Place, Profile};
use dance_core::reason::Reason;
use dance_core::verdict::ClientId;
use dance_tls::misbehave::{self, CERTIFICATE, CERTIFICATE_REQUEST, CLIENT_HELLO, ENCRYPTED_EXTENSIONS, SERVER_HELLO};
use dance_tls::{AcceptError, Acceptor, ClientConfig, ConnectError, Connector, DaneMode, ServerConfig};
use serde::Deserialize;

const TYPE: u16 = ExtensionType::DEFAULT.get();

/// The random of a ServerHello that is a HelloRetryRequest begins so (RFC 9846 section 4.2.3).
const HELLO_RETRY_REQUEST: [u8; 4] = [0xcf, 0x21, 0xad, 0x74];

#[derive(Deserialize)]
struct Vectors {
    extension: Vec<ExtensionVector>,
    message: Vec<MessageVector>,
}

#[derive(Deserialize)]
struct ExtensionVector {
    name: String,
    profile: String,
    tls: String,
    message: String,
    extension_hex: String,
    verdict: String,
    alert: Option<String>,
    client_name: Option<String>,
}

#[derive(Deserialize)]
struct MessageVector {
    name: String,
    file: String,
    receiver: String,
    expected: std::collections::HashMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    verdict: String,
    alert: Option<String>,
    client_name: Option<String>,
}

fn vectors() -> Vectors {
    serde_json::from_slice(&vector("vectors.json")).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn alert_code(name: &str) -> u8 {
    match name {
        "handshake_failure" => 40,
        "illegal_parameter" => 47,
        "decode_error" => 50,
        "unsupported_extension" => 110,
        other => panic!("{other}"),
    }
}

fn acceptor_of(profile: Profile) -> Acceptor {
    Acceptor::new(&ServerConfig { profile, ..server_config() }).unwrap()
}

fn connector_of(profile: Profile) -> Connector {
    Connector::new(&ClientConfig { profile: profile.into(), ..client_config(x509()) }).unwrap()
}

// CID-02, SRV-01, SRV-21, CID-03
#[tokio::test]
async fn server_signals_in_its_certificate_request() {
    for (profile, file) in [(Profile::Current, "messages/cr-current.bin"), (Profile::Draft2022, "messages/cr-2022.bin")]
    {
        let (seen, record) = recorder(CERTIFICATE_REQUEST);
        let acceptor = misbehave::acceptor(&acceptor_of(profile), record);
        let (accepted, connected) = handshake(&acceptor, &connector_of(profile)).await;
        let _ = (accepted.unwrap(), connected.unwrap());
        let seen = seen.lock().unwrap();
        let extensions = request_extensions(&seen[0]);
        let ours: Vec<_> = extensions.iter().filter(|(found, _)| *found == TYPE).collect();
        let expected = request_extensions(&vector(file));
        assert_eq!(ours, expected.iter().filter(|(found, _)| *found == TYPE).collect::<Vec<_>>());
        assert_eq!(ours.len(), 1);
        const CERTIFICATE_AUTHORITIES: u16 = 47;
        assert!(extensions.iter().all(|(found, _)| *found != CERTIFICATE_AUTHORITIES));
    }
}

fn request_extensions(request: &[u8]) -> Vec<(u16, Vec<u8>)> {
    extensions(&request[4 + 1 + 2..])
}

// CID-01: another code point is another extension.
#[tokio::test]
async fn code_point_is_a_setting() {
    let extension_type = ExtensionType::new(0xff5a).unwrap();
    let (seen, record) = recorder(CERTIFICATE);
    let acceptor = Acceptor::new(&ServerConfig { extension_types: extension_type.into(), ..server_config() }).unwrap();
    let config = ClientConfig { extension_type, ..client_config(x509()) };
    let connector_there = misbehave::connector(&Connector::new(&config).unwrap(), record);
    let (accepted, connected) = handshake(&acceptor, &connector_there).await;
    assert_eq!(accepted.unwrap().presented().client_id, ClientId::Form(ClientForm::Name(name())));
    assert!(connected.unwrap().signal_seen());
    let mut wire = vec![0xff, 0x5a, 0, 28, 27];
    wire.extend(NAME.as_bytes());
    assert_eq!(misbehave::entries(&seen.lock().unwrap()[0])[0].1, wire);

    // A client with the default code point sees no signal there, and keeps its name to itself.
    let (accepted, connected) = handshake(&acceptor, &connector(x509())).await;
    assert_eq!(accepted.unwrap().presented().client_id, ClientId::Absent);
    let client = connected.unwrap();
    assert!(!client.signal_seen() && !client.name_sent());
}

// CID-01, CID-02, CID-03, CID-09, SRV-01: each code point of the accept-set is signalled and taken, two of them in one
// Certificate are one too many (requirements 3.4 h).
#[tokio::test]
async fn accept_set_is_signalled_and_taken() {
    let set = [0xff5a, TYPE, 0xff5b].map(|value| ExtensionType::new(value).unwrap());
    let extension_types = ExtensionTypes::new(set).unwrap();
    for profile in [Profile::Current, Profile::Draft2022] {
        let acceptor = Acceptor::new(&ServerConfig { profile, extension_types, ..server_config() }).unwrap();
        for credential in [x509(), raw_public_key()] {
            let of = |extension_type| {
                let config =
                    ClientConfig { profile: profile.into(), extension_type, ..client_config(credential.clone()) };
                Connector::new(&config).unwrap()
            };
            for extension_type in set {
                let (seen, record) = recorder(CERTIFICATE_REQUEST);
                let (accepted, connected) =
                    handshake(&misbehave::acceptor(&acceptor, record), &of(extension_type)).await;
                let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
                assert_eq!(pending.presented().client_id, ClientId::Form(ClientForm::Name(name())));
                let mut ours = request_extensions(&seen.lock().unwrap()[0]);
                ours.retain(|(found, _)| extension_types.contains(*found));
                ours.sort();
                let mut expected = set.map(|kind| (kind.get(), profile.signal().to_vec()));
                expected.sort();
                assert_eq!(ours, expected);
                echo(&mut open(pending).await, &mut client).await;
            }
            let named = |kind: ExtensionType| misbehave::extension(kind.get(), b"\x09a.example");
            let both = [[named(set[0]), named(set[1])].concat()];
            let connector = misbehave::sends_in_certificate(&of(set[0]), &both);
            assert_refused(&refused(&acceptor, &connector).await, Reason::ExtensionMisplaced, "two code points");
            // One of another set is not heard of.
            let stranger = of(ExtensionType::new(0xff5c).unwrap());
            let (accepted, connected) = handshake(&acceptor, &stranger).await;
            assert_eq!(accepted.unwrap().presented().client_id, ClientId::Absent);
            assert!(!connected.unwrap().signal_seen());
        }
    }
}

// CID-04, CID-06, CID-07, CID-08, CID-09, CID-10, CID-14, NAM-01, NAM-02, NAM-03, NAM-04, NAM-05, NAM-06: every
// vector of a client's Certificate, over the wire.
#[tokio::test]
async fn vectors_of_a_clients_extension() {
    let mut run = 0;
    for case in vectors().extension {
        let wire = hex(&case.extension_hex);
        let none = Vec::new();
        let blocks = match (case.tls.as_str(), case.message.as_str()) {
            ("1.3", "CT") => vec![wire],
            ("1.3", "CT_duplicate") => vec![[wire.clone(), wire].concat()],
            ("1.3", "CT_second") => vec![none, wire],
            ("1.3", "CT_first_and_second") => vec![wire.clone(), wire],
            _ => continue,
        };
        run += 1;
        let profile = Profile::from_name(&case.profile).unwrap();
        let connector = misbehave::sends_in_certificate(&connector_of(profile), &blocks);
        let about = format!("{}, {}", case.name, case.profile);
        // This one is about a server that has not asked.
        let unsolicited = case.alert.as_deref() == Some("unsupported_extension");
        let dane = if unsolicited { DaneMode::Off } else { DaneMode::On };
        let acceptor = Acceptor::new(&ServerConfig { dane, profile, ..server_config() }).unwrap();
        match case.alert.as_deref().map(alert_code) {
            None => {
                assert_eq!(case.verdict, "accept");
                let (accepted, connected) = handshake(&acceptor, &connector).await;
                let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
                let named = case.client_name.filter(|name| !name.is_empty());
                let expected = named.map_or(ClientForm::InCertificate, |name| {
                    ClientForm::Name(dance_core::name::ClientName::parse(name.as_bytes()).unwrap())
                });
                assert_eq!(pending.presented().client_id, ClientId::Form(expected), "{about}");
                echo(&mut open(pending).await, &mut client).await;
            }
            Some(alert) => {
                let (error, end) = refused(&acceptor, &connector).await;
                assert!(
                    matches!(error, AcceptError::Refused(reason) if reason.alert().code() == alert),
                    "{about}: {error:?}"
                );
                assert_eq!(end.alert(), Some(alert), "{about}: {end:?}");
            }
        }
    }
    assert_eq!(run, 64);
}

// CID-06, CID-07, CID-08, CID-09, CID-14: the reason, row by row of requirements 3.4.
#[tokio::test]
async fn malformed_extensions_have_their_reasons() {
    let of = |data: &[u8]| misbehave::extension(TYPE, data);
    let named = |name: &[u8]| of(&[&[name.len() as u8], name].concat());
    let good = named(NAME.as_bytes());
    let rows: [(&str, Vec<Vec<u8>>, Reason); 17] = [
        ("a", vec![of(b"")], Reason::ExtensionUndecodable),
        ("b", vec![of(b"\0")], Reason::EmptyClientName),
        ("c", vec![of(b"\x20a.example")], Reason::ExtensionUndecodable),
        ("d", vec![of(b"\x03a.example")], Reason::ExtensionUndecodable),
        ("h", vec![[good.clone(), good.clone()].concat()], Reason::ExtensionMisplaced),
        ("h, different", vec![[good.clone(), named(b"b.example")].concat()], Reason::ExtensionMisplaced),
        ("l, alone", vec![Vec::new(), good.clone()], Reason::ExtensionMisplaced),
        ("l, additionally", vec![good.clone(), good.clone()], Reason::ExtensionMisplaced),
        ("m", vec![named("bücher.example".as_bytes())], Reason::InvalidClientName),
        ("n", vec![named(b"a.example.")], Reason::InvalidClientName),
        ("o", vec![named(br"a\.b.example")], Reason::InvalidClientName),
        ("o, NUL", vec![named(b"a\0.example")], Reason::InvalidClientName),
        ("q", vec![named(b"a..example")], Reason::InvalidClientName),
        ("r", vec![named(b"192.0.2.1")], Reason::InvalidClientName),
        ("r, single label", vec![named(b"example")], Reason::InvalidClientName),
        ("r, hyphen", vec![named(b"-a.example")], Reason::InvalidClientName),
        ("s", vec![of(&[b'a'; 257])], Reason::ExtensionUndecodable),
    ];
    let (acceptor, honest) = (acceptor(), connector(x509()));
    for (row, blocks, reason) in rows {
        assert_refused(&refused(&acceptor, &misbehave::sends_in_certificate(&honest, &blocks)).await, reason, row);
    }
    // Control: the same client with a good extension, upper case included (row p).
    let (accepted, connected) =
        handshake(&acceptor, &misbehave::sends_in_certificate(&honest, &[named(NAME.to_uppercase().as_bytes())])).await;
    let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
    assert_eq!(pending.presented().client_id, ClientId::Form(ClientForm::Name(name())));
    echo(&mut open(pending).await, &mut client).await;
}

// CID-04, CID-06, SRV-22: with a raw public key.
#[tokio::test]
async fn malformed_extensions_with_a_raw_public_key() {
    let (acceptor, honest) = (acceptor(), connector(raw_public_key()));
    let zero = misbehave::extension(TYPE, b"\0");
    assert_refused(
        &refused(&acceptor, &misbehave::sends_in_certificate(&honest, &[zero])).await,
        Reason::EmptyClientName,
        "zero",
    );
    // Two entries.
    let entries = [Vec::new(), Vec::new()];
    assert_refused(
        &refused(&acceptor, &misbehave::sends_in_certificate(&honest, &entries)).await,
        Reason::CertificateMalformed,
        "two keys",
    );
    // Control.
    let good = misbehave::extension(TYPE, &[&[NAME.len() as u8], NAME.as_bytes()].concat());
    let (accepted, _) = handshake(&acceptor, &misbehave::sends_in_certificate(&honest, &[good])).await;
    assert_eq!(accepted.unwrap().presented().client_id, ClientId::Form(ClientForm::Name(name())));
}

// CID-10
#[tokio::test]
async fn listener_without_dane_refuses_an_unsolicited_name() {
    let off = Acceptor::new(&ServerConfig { dane: DaneMode::Off, ..server_config() }).unwrap();
    let good = misbehave::extension(TYPE, &[&[NAME.len() as u8], NAME.as_bytes()].concat());
    for credential in [x509(), raw_public_key()] {
        let forced = misbehave::sends_in_certificate(&connector(credential.clone()), std::slice::from_ref(&good));
        assert_refused(&refused(&off, &forced).await, Reason::ExtensionUnsolicited, "X.509, then raw public key");
        // Control: left alone, the client sees no signal and sends none (CLI-02).
        let (accepted, connected) = handshake(&off, &connector(credential)).await;
        let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
        assert_eq!(pending.presented().client_id, ClientId::Absent);
        assert!(pending.presented().credential.is_some());
        assert!(!client.signal_seen() && !client.name_sent());
        echo(&mut open(pending).await, &mut client).await;
    }
}

// CLI-08: neither the name nor the extension is in a ClientHello.
#[tokio::test]
async fn client_hello_keeps_the_name() {
    for profile in [Profile::Current, Profile::Draft2022] {
        let (seen, record) = recorder(CLIENT_HELLO);
        let (accepted, _connected) =
            handshake(&acceptor_of(profile), &misbehave::connector(&connector_of(profile), record)).await;
        assert_eq!(accepted.unwrap().presented().client_id, ClientId::Form(ClientForm::Name(name())));
        let hello = &seen.lock().unwrap()[0];
        let holds = |octets: &[u8]| hello.windows(octets.len()).any(|window| window == octets);
        assert!(holds(SERVER.as_bytes()), "control: this is how it would be found");
        assert!(!holds(NAME.as_bytes()));
        assert!(!holds(&misbehave::extension(TYPE, b"")) && !holds(&misbehave::extension(TYPE, b"\0")));
    }
}

// CID-12; CID-13
#[tokio::test]
async fn extension_in_client_hello() {
    let named = misbehave::extension(TYPE, b"\x09b.example");
    let connector = misbehave::sends_in_client_hello(&connector(x509()), &named);
    assert_refused(&refused(&acceptor(), &connector).await, Reason::ExtensionMisplaced, "current");
    let off = Acceptor::new(&ServerConfig { dane: DaneMode::Off, ..server_config() }).unwrap();
    assert_refused(&refused(&off, &connector).await, Reason::ExtensionMisplaced, "current, DANE off");

    // Profile 2022 tolerates it, and takes the name from the Certificate.
    let connector = misbehave::sends_in_client_hello(&connector_of(Profile::Draft2022), &named);
    let (accepted, connected) = handshake(&acceptor_of(Profile::Draft2022), &connector).await;
    let (pending, _client) = (accepted.unwrap(), connected.unwrap());
    assert_eq!(pending.presented().client_id, ClientId::Form(ClientForm::Name(name())));
    // Without a name there, there is none.
    let config = ClientConfig { profile: Profile::Draft2022.into(), client_id: None, ..client_config(x509()) };
    let connector = misbehave::sends_in_client_hello(&Connector::new(&config).unwrap(), &named);
    let (accepted, _connected) = handshake(&acceptor_of(Profile::Draft2022), &connector).await;
    assert_eq!(accepted.unwrap().presented().client_id, ClientId::Absent);
}

/// Runs a handshake that the client refuses: its error, and the server's.
async fn client_refuses(acceptor: &Acceptor, connector: &Connector) -> (ConnectError, AcceptError) {
    let (accepted, connected) = handshake(acceptor, connector).await;
    (connected.expect_err("the client should refuse"), accepted.expect_err("the server should hear of it"))
}

// CID-11
#[tokio::test]
async fn client_refuses_the_extension_where_it_does_not_belong() {
    let is_retry = |message: &[u8]| message[6..10] == HELLO_RETRY_REQUEST;
    let add = |message: &[u8], before| misbehave::with_extension(message, before, &misbehave::extension(TYPE, b"\0"));
    let rsa = Acceptor::new(&ServerConfig { groups: Some("secp256r1".into()), ..server_config() }).unwrap();
    let cases = [
        (
            Place::ServerHello,
            misbehave::acceptor(
                &acceptor(),
                misbehave::only(SERVER_HELLO, move |m| add(m, misbehave::hello_length(m))),
            ),
        ),
        (
            Place::HelloRetryRequest,
            misbehave::acceptor(
                &rsa,
                misbehave::only(SERVER_HELLO, move |m| {
                    assert!(is_retry(m), "a server of another group asks for it first");
                    add(m, misbehave::hello_length(m))
                }),
            ),
        ),
        (
            Place::EncryptedExtensions,
            misbehave::acceptor(&acceptor(), misbehave::only(ENCRYPTED_EXTENSIONS, move |m| add(m, 0))),
        ),
        (
            Place::ServerCertificate,
            misbehave::acceptor(
                &acceptor(),
                misbehave::only(CERTIFICATE, |m| {
                    let mut entries = misbehave::entries(m);
                    entries[0].1.extend(misbehave::extension(TYPE, b"\0"));
                    misbehave::certificate(&entries)
                }),
            ),
        ),
    ];
    for (place, acceptor) in cases {
        let (error, server) = client_refuses(&acceptor, &connector(x509())).await;
        let expected = ExtensionError::Unsolicited(place);
        assert!(matches!(error, ConnectError::Extension(found) if found == expected), "{place:?}: {error:?}");
        assert!(matches!(server, AcceptError::PeerAlert(alert) if alert.code() == 110), "{place:?}: {server:?}");
    }
}

/// A server whose CertificateRequest carries these extensions in the place of its signal.
fn requests(profile: Profile, extensions: Vec<u8>) -> Acceptor {
    misbehave::acceptor(
        &acceptor_of(profile),
        misbehave::only(CERTIFICATE_REQUEST, move |message| {
            let mut block = Vec::new();
            for (found, data) in request_extensions(message) {
                if found != TYPE {
                    block.extend(misbehave::extension(found, &data));
                }
            }
            block.extend(&extensions);
            let mut body = vec![0];
            body.extend((block.len() as u16).to_be_bytes());
            body.extend(block);
            misbehave::with_body(message, &body)
        }),
    )
}

// CID-15, CLI-10, CID-09
#[tokio::test]
async fn client_refuses_signals_that_are_not_its_profiles() {
    let of = |data: &[u8]| misbehave::extension(TYPE, data);
    let cases = [
        (Profile::Current, of(b""), ExtensionError::NoLength),
        (Profile::Current, of(b"\0\0"), ExtensionError::Length { said: 0, found: 1 }),
        (Profile::Current, of(b"\x09a.example"), ExtensionError::ServerNamed),
        (Profile::Current, [of(b"\0"), of(b"\0")].concat(), ExtensionError::Duplicate),
        (Profile::Draft2022, of(b"\0"), ExtensionError::SignalNotEmpty { octets: 1 }),
        (Profile::Draft2022, [of(b""), of(b"")].concat(), ExtensionError::Duplicate),
    ];
    for (profile, extensions, expected) in cases {
        let (error, server) = client_refuses(&requests(profile, extensions), &connector_of(profile)).await;
        assert!(matches!(error, ConnectError::Extension(found) if found == expected), "{expected:?}: {error:?}");
        let alert = expected.reason().alert().code();
        assert!(matches!(server, AcceptError::PeerAlert(found) if found.code() == alert), "{expected:?}: {server:?}");
    }
    // Control: the same rewriting with the right signal.
    let (accepted, connected) = handshake(&requests(Profile::Current, of(b"\0")), &connector(x509())).await;
    echo(&mut open(accepted.unwrap()).await, &mut connected.unwrap()).await;
}

// CID-02, CID-03, CID-06, CID-09, CID-14: the vectors of whole messages in place of our own.
#[tokio::test]
async fn vectors_of_whole_messages() {
    let mut run = 0;
    for case in vectors().message {
        let message = vector(&case.file);
        for (profile, expected) in &case.expected {
            let profile = Profile::from_name(profile).unwrap();
            let about = format!("{}, {profile}", case.name);
            let alert = expected.alert.as_deref().map(alert_code);
            run += 1;
            if case.receiver == "client" {
                let extensions = request_extensions(&message);
                let block = extensions
                    .iter()
                    .filter(|(found, _)| *found == TYPE)
                    .flat_map(|(found, data)| misbehave::extension(*found, data))
                    .collect();
                let (accepted, connected) = handshake(&requests(profile, block), &connector_of(profile)).await;
                match alert {
                    Some(alert) => {
                        let server = accepted.unwrap_err();
                        assert!(
                            matches!(server, AcceptError::PeerAlert(found) if found.code() == alert),
                            "{about}: {server:?}"
                        );
                    }
                    None => assert_eq!(connected.unwrap().signal_seen(), expected.verdict == "signal", "{about}"),
                }
                continue;
            }
            let credential = match case.name.as_str() {
                "cert-rpk-p256" | "cert-post-handshake" => raw_public_key(),
                "cert-x509-p256" => x509(),
                _ => leaf(),
            };
            let honest =
                Connector::new(&ClientConfig { profile: profile.into(), ..client_config(credential) }).unwrap();
            let sent = message.clone();
            let connector = misbehave::connector(&honest, misbehave::only(CERTIFICATE, move |_| sent.clone()));
            match (case.name.as_str(), alert) {
                // Legal after the handshake only, and so never here.
                ("cert-post-handshake", _) => {
                    assert_refused(
                        &refused(&acceptor_of(profile), &connector).await,
                        Reason::CertificateMalformed,
                        &about,
                    );
                }
                // The client goes on to prove possession of a key that it has not shown.
                ("cert-empty", _) => {
                    let (error, end) = refused(&acceptor_of(profile), &connector).await;
                    assert!(matches!(error, AcceptError::Tls(_)), "{about}: {error:?}");
                    assert_eq!(end.alert(), Some(10), "{about}: {end:?}");
                }
                (_, Some(alert)) => {
                    let (error, end) = refused(&acceptor_of(profile), &connector).await;
                    assert!(
                        matches!(error, AcceptError::Refused(reason) if reason.alert().code() == alert),
                        "{about}: {error:?}"
                    );
                    assert_eq!(end.alert(), Some(alert), "{about}: {end:?}");
                }
                (_, None) => {
                    let (accepted, _connected) = handshake(&acceptor_of(profile), &connector).await;
                    let expected = match &expected.client_name {
                        Some(name) => ClientId::Form(ClientForm::Name(
                            dance_core::name::ClientName::parse(name.as_bytes()).unwrap(),
                        )),
                        None => ClientId::Absent,
                    };
                    assert_eq!(accepted.unwrap().presented().client_id, expected, "{about}");
                }
            }
        }
    }
    assert_eq!(run, 26);
}
