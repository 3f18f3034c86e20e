use dance_core::pkix::PathError;
use dance_core::reason::Reason;
use dance_gateway::Config;
use dance_gateway::config::PolicySetting;
use dance_testkit::{Authority, CertSpec, Identity};
use dance_tls::{ClientConfig, ClientCredential, PrivateKey};

use crate::http::{self, Http1, get};
use crate::lab::{Lab, Running, SENSOR};

/// `Client-Cert` of a certificate (RFC 9440 section 2.2).
fn field(identity: &Identity) -> String {
    format!(":{}:", data_encoding::BASE64.encode(identity.leaf_der()))
}

fn start(lab: &Lab, authority: &Authority) -> Running {
    let path = lab.directory.path().join("client-ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    lab.start_with(Config { policy: PolicySetting::Optional, client_ca: Some(path), ..lab.config() })
}

/// A client with a certificate and no intention to speak DANE.
fn ordinary(lab: &Lab, identity: &Identity) -> ClientConfig {
    ClientConfig { client_id: None, ..lab.certificate(SENSOR, identity) }
}

// SRV-05, HTTP-03, HTTP-05, HTTP-08
#[tokio::test]
async fn if_its_ca_is_the_configured_one() {
    let lab = Lab::new().await;
    let (authority, other) = (Authority::root("Ordinary clients").unwrap(), Authority::root("Others").unwrap());
    let gateway = start(&lab, &authority);
    let below = authority.intermediate("Issuing").unwrap();
    let spec = CertSpec::client("laptop.example.com");
    let issued = |spec: &CertSpec| spec.issued_by(&authority).unwrap();
    let cases = [
        (issued(&spec), Some(Ok(()))),
        (spec.issued_by(&below).unwrap(), Some(Ok(()))),
        (issued(&spec.clone().any_purpose()), Some(Ok(()))),
        (spec.issued_by(&other).unwrap(), Some(Err(PathError::NoIssuer))),
        (spec.self_signed().unwrap(), Some(Err(PathError::NoIssuer))),
        (issued(&spec.clone().expired()), Some(Err(PathError::Expired))),
        (issued(&spec.clone().not_yet_valid()), Some(Err(PathError::NotYetValid))),
        (issued(&CertSpec::localhost_server()), Some(Err(PathError::ExtendedKeyUsage))),
    ];
    for (number, (identity, judged)) in cases.iter().enumerate() {
        let mut http = Http1::new(gateway.connect(&ordinary(&lab, identity)).await);
        let forged = ["Client-Cert: :Zm9yZ2Vk:", "Client_Cert: :Zm9yZ2Vk:", "Client-Cert-Chain: :Zm9yZ2Vk:"];
        assert_eq!(http.get("/", &[&forged[..], &["Connection: client-cert"]].concat()).await.status, 200);
        let told = gateway.told(number + 1).await;
        assert_eq!((told[number].code, told[number].reason), ("not-dane", Some(Reason::NoClientName)));
        assert_eq!(&told[number].certificate, judged);
        let seen = lab.origin.seen();
        let expected = if *judged == Some(Ok(())) { vec![field(identity)] } else { Vec::new() };
        assert_eq!(seen[number].values("client-cert"), expected, "{judged:?}");
        for absent in ["client_cert", "client-cert-chain", "dane-clientid"] {
            assert!(seen[number].values(absent).is_empty(), "{absent}");
        }
    }
    assert!(lab.world.tlsa_queries().is_empty());

    // Over HTTP/2, and for every request.
    let (identity, _) = &cases[0];
    let http2 = ClientConfig { alpn: vec![b"h2".to_vec()], ..ordinary(&lab, identity) };
    let mut sender = http::http2(gateway.connect(&http2).await).await;
    for _ in 0..2 {
        assert_eq!(sender.send_request(get("/")).await.unwrap().status(), 200);
    }
    let seen = lab.origin.seen();
    assert!(seen.iter().rev().take(2).all(|request| request.values("client-cert") == [field(identity)]));
}

// SRV-15, SRV-05
#[tokio::test]
async fn and_never_if_its_client_asked_for_dane() {
    let lab = Lab::new().await;
    let authority = Authority::root("Ordinary clients").unwrap();
    let gateway = start(&lab, &authority);
    let issued = CertSpec::client(SENSOR).issued_by(&authority).unwrap();
    let record = issued.tlsa_311().unwrap();
    let failing = lab.certificate(SENSOR, &issued);
    let key = ClientCredential::RawPublicKey(PrivateKey::parse(issued.key_pem().as_bytes()).unwrap());
    lab.enrol(SENSOR);
    let cases = [
        // It holds a certificate that the CA would vouch for; its record says otherwise.
        (failing.clone(), "unauthenticated", None, None, Vec::new()),
        // The same certificate, of a client that did not ask for DANE.
        (ordinary(&lab, &issued), "not-dane", Some(Ok(())), None, vec![field(&issued)]),
        // A bare key and no certificate at all: there is nothing to show.
        (lab.client(None, Some(key)), "not-dane", None, None, Vec::new()),
        (lab.client(None, None), "not-dane", None, None, Vec::new()),
    ];
    for (number, (config, code, judged, identity, certificate)) in cases.into_iter().enumerate() {
        assert_eq!(Http1::new(gateway.connect(&config).await).get("/", &[]).await.status, 200);
        let told = gateway.told(number + 1).await;
        assert_eq!((told[number].code, &told[number].certificate), (code, &judged));
        let seen = lab.origin.seen();
        assert_eq!(seen[number].values("client-cert"), certificate);
        assert_eq!(seen[number].values("dane-clientid").first().copied(), identity);
    }
    // With its own record the client is known by DANE, and by nothing else.
    let name = "gate._device.example.com";
    lab.world.set_tlsa(name, &[record], 300).unwrap();
    let known = lab.certificate(name, &issued);
    assert_eq!(Http1::new(gateway.connect(&known).await).get("/", &[]).await.status, 200);
    let seen = lab.origin.seen();
    let last = seen.last().unwrap();
    assert_eq!((last.values("dane-clientid"), last.values("client-cert")), (vec![name], Vec::new()));
}
