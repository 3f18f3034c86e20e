//! Section `extension`: what clients send, to the gateway under both policies; what servers send, to our client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dance_core::clientid::{ClientForm, TlsVersion};
use dance_core::name::ClientName;
use dance_core::policy::Policy;
use dance_core::reason::Reason;
use dance_core::verdict::ClientId;
use dance_testkit::{CertSpec, Identity};
use dance_tls::misbehave::{self, CERTIFICATE, CERTIFICATE_REQUEST, CLIENT_HELLO, ENCRYPTED_EXTENSIONS, SERVER_HELLO};
use dance_tls::{AcceptError, Acceptor, CertifiedKey, ConnectError, Connector, ServerConfig};

use crate::ground::{Ground, Row, Setting, meet};
use crate::lab::Lab;
use crate::vectors::{self, ExtensionCase, alert};
use crate::wire::{Credential, LONGEST, Wire, block, says, says_in_client_hello, with_ours};

/// The only dNSName of the clients' certificate.
const HELD: &str = "held._device.example.com";
/// The names that the cases convey and that are to be let in: the first is also that of clients whose fault is elsewhere.
const CONVEYED: [&str; 5] =
    ["device1.example.com", "sensor7._device.example.com", "_smtp-client.device1.example.com", HELD, LONGEST];

/// All cases, those of the set and those that it leaves out.
fn cases(sender: &str) -> Vec<ExtensionCase> {
    let mut cases = vectors::read().extension;
    assert_eq!(cases.len(), 105);
    cases.extend(vectors::more_extensions());
    cases.into_iter().filter(|case| case.sender == sender).collect()
}

/// Why a case cannot be had with this credential, or `None` if it is run.
fn not_live(case: &ExtensionCase, credential: Credential) -> Option<&'static str> {
    match (case.message.as_str(), credential) {
        ("CT_second" | "CT_first_and_second", Credential::RawKey) => {
            Some("a raw public key has no second entry: two are refused before their extensions are read (4.2 step 4)")
        }
        _ => None,
    }
}

fn wire(case: &ExtensionCase) -> Wire {
    Wire { profile: case.profile(), version: case.version() }
}

/// The reason for an alert: of those that have the same, the case's octets tell.
fn reason(case: &ExtensionCase) -> Reason {
    match (case.alert.as_deref().unwrap(), case.data().as_slice()) {
        ("decode_error", _) => Reason::ExtensionUndecodable,
        ("illegal_parameter", _) => Reason::ExtensionMisplaced,
        ("unsupported_extension", _) => Reason::ExtensionUnsolicited,
        ("handshake_failure", [0]) => Reason::EmptyClientName,
        ("handshake_failure", [_, ..]) => Reason::InvalidClientName,
        _ => panic!("{case:?}"),
    }
}

/// How the case ends, by its own words.
fn expected(case: &ExtensionCase, credential: Credential, policy: Policy) -> Row {
    let absent = match policy {
        Policy::Require => Row::refused(Reason::NoClientName, 40),
        Policy::Optional => Row::anonymous("not-dane", Reason::NoClientName),
    };
    match (case.verdict.as_str(), case.client_name.as_deref()) {
        ("accept", Some("")) => match (credential, policy) {
            (Credential::X509, _) => Row::authenticated(HELD),
            // A name there must be with a raw public key (RPK-02).
            (Credential::RawKey, Policy::Require) => Row::refused(Reason::NoNameInCertificate, 40),
            (Credential::RawKey, Policy::Optional) => Row::anonymous("unauthenticated", Reason::NoNameInCertificate),
        },
        ("accept", Some(name)) => Row::authenticated(name),
        ("reject", None) => Row::refused(reason(case), alert(case.alert.as_deref().unwrap())),
        // A server of profile `current` that requires DANE does not get so far as to ignore anything (SRV-02).
        ("ignore", None) if case.version() == TlsVersion::Tls12 && policy == Policy::Require => {
            Row::refused(Reason::VersionTooLow, alert("protocol_version"))
        }
        ("ignore", None) => absent,
        _ => panic!("{case:?}"),
    }
}

/// A client that puts the case's octets where the case has them, and nothing where the case has nothing.
fn client(ground: &Ground, case: &ExtensionCase, credential: Credential, identity: &Identity) -> Connector {
    let wire = wire(case);
    let data = case.data();
    let honest = |name| ground.client(wire, credential, name, identity);
    // Its own name, were it asked, is one that would be let in.
    let named = honest(Some(CONVEYED[0]));
    let (none, once, twice) = (Vec::new(), block(&[&data]), block(&[&data, &data]));
    match (case.message.as_str(), wire.version) {
        ("CT", _) | ("CH", TlsVersion::Tls12) => says(&named, wire, &[&data]),
        ("CH_duplicate", TlsVersion::Tls12) => says(&named, wire, &[&data, &data]),
        ("CT_unasked", _) => says(&named, wire, &[&data]),
        ("CT_second", _) => misbehave::sends_in_certificate(&named, &[none, once]),
        ("CT_first_and_second", _) => misbehave::sends_in_certificate(&named, &[once.clone(), once]),
        ("CT_duplicate", _) => misbehave::sends_in_certificate(&named, &[twice]),
        // Where it is ignored, no other name is to hide that.
        ("CH", TlsVersion::Tls13) if case.verdict == "ignore" => says_in_client_hello(&honest(None), &[&data]),
        ("CH", TlsVersion::Tls13) => says_in_client_hello(&named, &[&data]),
        ("CH_second", TlsVersion::Tls13) => {
            let hellos = AtomicUsize::new(0);
            let honest = crate::wire::retried(&ground.lab, wire, credential, Some(CONVEYED[0]), identity);
            misbehave::connector(&honest, move |message| {
                let hello = message.first() == Some(&CLIENT_HELLO);
                // Each connection has two.
                if hello && hellos.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
                    with_ours(message, &once)
                } else {
                    message.to_vec()
                }
            })
        }
        _ => panic!("{case:?}"),
    }
}

// CID-04, CID-06, CID-07, CID-08, CID-09, CID-10, CID-12, CID-13, CID-14, CID-17, NAM-01, NAM-02, NAM-03, NAM-04, NAM-05, NAM-06,
// NAM-07, NAM-09, NAM-10, RPK-02
#[tokio::test]
async fn of_clients_end_as_the_cases_say() {
    let mut ground = Ground::new().await;
    let identity = CertSpec::client(HELD).self_signed().unwrap();
    let record = identity.tlsa_311().unwrap();
    for name in CONVEYED {
        // Known for one handshake only, so that each has to ask.
        ground.lab.world.set_tlsa(name, &[&record], 0).unwrap();
    }
    let cases = cases("client");
    let mut listed = 0;
    for case in &cases {
        for credential in Credential::ALL {
            if not_live(case, credential).is_some() {
                listed += 1;
                continue;
            }
            let client = client(&ground, case, credential, &identity);
            for policy in [Policy::Require, Policy::Optional] {
                let expected = expected(case, credential, policy);
                let about = format!("{}; {credential:?}, {policy:?}", case.about());
                if case.alert.as_deref() == Some("unsupported_extension") {
                    ground.check_without_dane(wire(case), &client, &expected, &about).await;
                } else {
                    ground.check(Setting::new(wire(case), policy), &client, &expected, &about).await;
                }
            }
        }
    }
    let rows = ground.finish();
    assert_eq!(rows / 2 + listed, cases.len() * Credential::ALL.len());
}

/// A server that puts the case's octets where the case has them.
fn server(lab: &Lab, case: &ExtensionCase) -> Acceptor {
    let key = CertifiedKey::parse(lab.server.chain_pem().as_bytes(), lab.server.key_pem().as_bytes()).unwrap();
    let tls12 = case.version() == TlsVersion::Tls12;
    let mut config = ServerConfig { profile: case.profile(), tls12, ..ServerConfig::new(key) };
    if case.message == "HRR" {
        // Not what the client has a key for at first.
        config.groups = Some("secp384r1".to_owned());
    }
    let acceptor = Acceptor::new(&config).unwrap();
    let data = case.data();
    let (once, twice) = (block(&[&data]), block(&[&data, &data]));
    let entry = |index: usize| {
        let block = once.clone();
        misbehave::only(CERTIFICATE, move |message| {
            let mut entries = misbehave::entries(message);
            let first = entries[0].clone();
            entries.resize(index + 1, first);
            entries[index].1.extend(&block);
            misbehave::certificate(&entries)
        })
    };
    let says = |message_type, block: &Vec<u8>| {
        let block = block.clone();
        misbehave::acceptor(&acceptor, misbehave::only(message_type, move |message| with_ours(message, &block)))
    };
    match case.message.as_str() {
        "SH" | "SH_unsolicited" | "HRR" => says(SERVER_HELLO, &once),
        "SH_duplicate" => says(SERVER_HELLO, &twice),
        "EE" => says(ENCRYPTED_EXTENSIONS, &once),
        "CR" => says(CERTIFICATE_REQUEST, &once),
        "CR_duplicate" => says(CERTIFICATE_REQUEST, &twice),
        "CT_server" => misbehave::acceptor(&acceptor, entry(0)),
        "CT_server_second" => misbehave::acceptor(&acceptor, entry(1)),
        other => panic!("{other}"),
    }
}

// CID-07, CID-09, CID-11, CID-15, CID-16, CLI-10
#[tokio::test]
async fn of_servers_end_as_the_cases_say() {
    let lab = Lab::new().await;
    let identity = CertSpec::client(HELD).self_signed().unwrap();
    let (cases, mut rows, mut wrong) = (cases("server"), 0, Vec::new());
    for case in &cases {
        let acceptor = server(&lab, case);
        for credential in Credential::ALL {
            rows += 1;
            // Who says nothing in its ClientHello is owed nothing in the ServerHello.
            let name = (case.message != "SH_unsolicited").then_some(HELD);
            let honest = crate::wire::client(&lab, wire(case), credential, name, &identity);
            let (spoken, record) = speaks(CERTIFICATE);
            let client = misbehave::connector(&honest, record);
            let (accepted, connected) = meet(&acceptor, &client).await;
            let named = accepted.as_ref().ok().map(|presented| presented.client_id.clone());
            let found = match (&accepted, &connected) {
                (Err(AcceptError::PeerAlert(alert)), Err(ConnectError::Extension(error))) => {
                    Some((error.reason(), alert.code()))
                }
                _ => None,
            };
            let as_expected = match case.alert.as_deref() {
                // What has gone wrong is known before anything about the client has been said.
                Some(name) => found == Some((reason(case), alert(name))) && !spoken.load(Ordering::Relaxed),
                None => {
                    let name = ClientName::parse(HELD.as_bytes()).unwrap();
                    named == Some(ClientId::Form(ClientForm::Name(name))) && connected.is_ok()
                }
            };
            if !as_expected {
                wrong.push(format!("{}; {credential:?}: {accepted:?}, {connected:?}", case.about()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {rows}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(rows, cases.len() * Credential::ALL.len());
}

/// Tells whether a peer has sent such a message.
fn speaks(message_type: u8) -> (Arc<AtomicBool>, impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) {
    let spoken = Arc::new(AtomicBool::new(false));
    let record = Arc::clone(&spoken);
    let note = move |message: &[u8]| {
        record.store(true, Ordering::Relaxed);
        message.to_vec()
    };
    (spoken, misbehave::only(message_type, note))
}
