//! Section `message`: whole messages in the place of our own.

use dance_core::CertificateDer;
use dance_core::clientid::Profile;
use dance_core::policy::Policy;
use dance_core::reason::Reason;
use dance_core::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};
use dance_core::verdict::ClientId;
use dance_tls::misbehave::{self, CERTIFICATE, CERTIFICATE_REQUEST};
use dance_tls::{
    AcceptError, Acceptor, CertifiedKey, ClientConfig, ClientCredential, ConnectError, Connector, PrivateKey,
    ServerConfig,
};

use crate::ground::{Ground, Row, Setting, meet};
use crate::vectors::{self, MessageCase, MessageExpected, alert};
use crate::wire::Wire;

/// The names in the messages, and the keys whose records are there.
const DEVICE: &str = "device1.example.com";
const SENSOR: &str = "sensor7._device.example.com";

/// How the handshake with the gateway ends, by the case's own words.
fn expected(case: &MessageCase, expected: &MessageExpected, policy: Policy) -> Row {
    match (case.name.as_str(), expected.verdict.as_str(), policy) {
        // Said of the message as the answer to a post-handshake request. There is none (SRV-19), and in the handshake it is malformed.
        ("cert-post-handshake", _, _) => Row::refused(Reason::CertificateMalformed, alert("decode_error")),
        (_, "name", _) => Row::authenticated(expected.client_name.as_deref().unwrap()),
        (_, "absent", Policy::Require) => Row::refused(Reason::NoClientName, alert("handshake_failure")),
        (_, "absent", Policy::Optional) => Row::anonymous("not-dane", Reason::NoClientName),
        (_, "reject", _) => {
            let alert = alert(expected.alert.as_deref().unwrap());
            let reason = match alert {
                40 => Reason::EmptyClientName,
                47 => Reason::ExtensionMisplaced,
                50 => Reason::ExtensionUndecodable,
                _ => panic!("{case:?}"),
            };
            Row::refused(reason, alert)
        }
        _ => panic!("{case:?}"),
    }
}

/// A client that holds the key of the message's certificate.
fn credential(case: &MessageCase) -> Option<ClientCredential> {
    let x509 = |name: &str| {
        let (chain, key) =
            (vectors::file(&format!("certs/{name}.pem")), vectors::file(&format!("keys/{name}.key.pem")));
        ClientCredential::X509(CertifiedKey::parse(&chain, &key).unwrap())
    };
    match case.name.as_str() {
        "cert-empty" => None,
        "cert-rpk-p256" | "cert-post-handshake" => {
            let key = PrivateKey::parse(&vectors::file("keys/ee-p256.key.pem")).unwrap();
            Some(ClientCredential::RawPublicKey(key))
        }
        "cert-x509-p256" => Some(x509("ee-p256")),
        _ => Some(x509("leaf")),
    }
}

fn connector(ground: &Ground, profile: Profile, credential: Option<ClientCredential>, name: Option<&str>) -> Connector {
    let config = ground.lab.client(name, credential);
    Connector::new(&ClientConfig { profile: profile.into(), ..config }).unwrap()
}

// CID-02, CID-03, CID-04, CID-06, CID-09, CID-14, CID-17, SRV-04, SRV-05, SRV-06
#[tokio::test]
async fn end_as_the_cases_say() {
    let mut ground = Ground::new().await;
    let root = pem(&vectors::file("certs/root.pem"));
    let of_root =
        TlsaRdata::for_certificate(CertUsage::DANE_TA, Selector::CERT, MatchingType::SHA2_256, &root).unwrap();
    let sensor = pem(&vectors::file("certs/ee-p256.pem"));
    let of_key =
        TlsaRdata::for_certificate(CertUsage::DANE_EE, Selector::SPKI, MatchingType::SHA2_256, &sensor).unwrap();
    ground.lab.world.set_tlsa(DEVICE, &[of_root], 0).unwrap();
    ground.lab.world.set_tlsa(SENSOR, &[of_key], 0).unwrap();

    let cases = vectors::read().message;
    assert_eq!(cases.len(), 13);
    let (mut by_gateway, mut by_client) = (0, 0);
    for case in &cases {
        for (profile, said) in &case.expected {
            let profile = Profile::from_name(profile).unwrap();
            let about = format!("{}; {profile}", case.name);
            if case.receiver == "client" {
                client_reads(&ground, case, profile, said).await;
                by_client += 1;
                continue;
            }
            let wire = Wire { profile, ..Wire::CURRENT };
            let message = case.octets();
            let client = if case.name == "cert-empty" {
                // What a client without certificate sends by itself.
                let honest = connector(&ground, profile, None, None);
                misbehave::connector(
                    &honest,
                    misbehave::only(CERTIFICATE, move |own| {
                        assert_eq!(own, message);
                        own.to_vec()
                    }),
                )
            } else {
                let honest = connector(&ground, profile, credential(case), Some(DEVICE));
                misbehave::connector(&honest, misbehave::only(CERTIFICATE, move |_| message.clone()))
            };
            for policy in [Policy::Require, Policy::Optional] {
                let expected = expected(case, said, policy);
                ground.check(Setting::new(wire, policy), &client, &expected, &format!("{about}, {policy:?}")).await;
            }
            by_gateway += 1;
        }
    }
    assert_eq!(ground.finish(), by_gateway * 2);
    assert_eq!(by_gateway + by_client, cases.len() * 2);
}

/// Our client before a server that asks by the case's CertificateRequest.
async fn client_reads(ground: &Ground, case: &MessageCase, profile: Profile, said: &MessageExpected) {
    let server = &ground.lab.server;
    let key = CertifiedKey::parse(server.chain_pem().as_bytes(), server.key_pem().as_bytes()).unwrap();
    let honest = Acceptor::new(&ServerConfig { profile, ..ServerConfig::new(key) }).unwrap();
    let message = case.octets();
    let acceptor = misbehave::acceptor(&honest, misbehave::only(CERTIFICATE_REQUEST, move |_| message.clone()));
    let client = connector(ground, profile, credential(case), Some(SENSOR));
    let (accepted, connected) = meet(&acceptor, &client).await;
    let about = format!("{}; {profile}: {accepted:?}, {connected:?}", case.name);
    match (said.verdict.as_str(), said.alert.as_deref()) {
        ("reject", Some(name)) => {
            assert!(matches!(accepted, Err(AcceptError::PeerAlert(found)) if found.code() == alert(name)), "{about}");
            assert!(matches!(connected, Err(ConnectError::Extension(_))), "{about}");
        }
        (verdict, None) => {
            let client = connected.unwrap();
            assert_eq!(
                (client.signal_seen(), client.name_sent()),
                (verdict == "signal", verdict == "signal"),
                "{about}"
            );
            let ClientId::Form(_) = &accepted.as_ref().unwrap().client_id else {
                assert_eq!(verdict, "absent", "{about}");
                return;
            };
            assert_eq!(verdict, "signal", "{about}");
        }
        _ => panic!("{about}"),
    }
}

fn pem(text: &[u8]) -> CertificateDer<'static> {
    use rustls_pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(text).unwrap()
}
