//! Certificates against a path validator that nobody here wrote.

#![allow(clippy::unwrap_used, reason = "tests")]

use dance_core::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};
use dance_testkit::{Authority, CertKey, CertSpec, Identity};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

/// Validates an identity's chain for a purpose, with the authority as the only anchor.
fn validate(identity: &Identity, authority: &Authority, usage: KeyUsage) -> Result<(), Error> {
    let chain: Vec<_> = identity.chain_der().iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let root = CertificateDer::from(authority.der());
    let anchors = [anchor_from_trusted_cert(&root).unwrap()];
    let leaf = EndEntityCert::try_from(&chain[0])?;
    let now = UnixTime::now();
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &chain[1..], now, usage, None, None).map(drop)
}

#[test]
fn issued_certificates_validate_in_their_time_and_for_their_purpose() {
    let root = Authority::root("Root").unwrap();
    let below = root.intermediate("Intermediate").unwrap();
    let name = "sensor7._device.example.com";
    for key in [CertKey::P256, CertKey::P384, CertKey::Ed25519] {
        let identity = CertSpec::client(name).key(key).issued_by(&below).unwrap();
        assert_eq!(identity.chain_der().len(), 3);
        assert_eq!(identity.chain_pem().matches("BEGIN CERTIFICATE").count(), 3);
        validate(&identity, &root, KeyUsage::client_auth()).unwrap();
        let other = Authority::root("Root").unwrap();
        assert!(validate(&identity, &other, KeyUsage::client_auth()).is_err());
        assert!(validate(&identity, &root, KeyUsage::server_auth()).is_err());
    }
    let old = CertSpec::client(name).expired().issued_by(&root).unwrap();
    assert!(matches!(validate(&old, &root, KeyUsage::client_auth()), Err(Error::CertExpired { .. })));
    let early = CertSpec::client(name).not_yet_valid().issued_by(&root).unwrap();
    assert!(matches!(validate(&early, &root, KeyUsage::client_auth()), Err(Error::CertNotValidYet { .. })));
    let any = CertSpec::client(name).any_purpose().issued_by(&root).unwrap();
    validate(&any, &root, KeyUsage::server_auth()).unwrap();
}

#[test]
fn names_stand_in_the_certificate_as_given() {
    let names = ["sensor7._device.example.com", "_smtp-client.example.com"];
    let identity = CertSpec::client(names[0]).dns_names(&names).self_signed().unwrap();
    let der = CertificateDer::from(identity.leaf_der());
    let found: Vec<_> = EndEntityCert::try_from(&der).unwrap().valid_dns_names().map(str::to_owned).collect();
    assert_eq!(found, names);

    let root = Authority::root("Root").unwrap();
    let server = CertSpec::localhost_server().issued_by(&root).unwrap();
    validate(&server, &root, KeyUsage::server_auth()).unwrap();
    let der = CertificateDer::from(server.leaf_der());
    let leaf = EndEntityCert::try_from(&der).unwrap();
    for (name, good) in [("localhost", true), ("127.0.0.1", true), ("example.com", false)] {
        let name = ServerName::try_from(name).unwrap();
        assert_eq!(leaf.verify_is_valid_for_subject_name(&name).is_ok(), good, "{name:?}");
    }
}

#[test]
fn tlsa_records_describe_what_was_made() {
    let identity = CertSpec::client("sensor7._device.example.com").self_signed().unwrap();
    let by_certificate =
        TlsaRdata::for_certificate(CertUsage::DANE_EE, Selector::SPKI, MatchingType::SHA2_256, identity.leaf_der());
    assert_eq!(identity.tlsa_311().unwrap(), by_certificate.unwrap());
    assert!(identity.tlsa_311().unwrap().to_string().starts_with("3 1 1 "));
    let position = identity.leaf_der().windows(identity.spki_der().len()).position(|part| part == identity.spki_der());
    assert!(position.is_some());

    let root = Authority::root("Root").unwrap();
    assert!(root.tlsa_201().unwrap().to_string().starts_with("2 0 1 "));
    assert!(root.pem().starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(identity.key_pem().starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(!format!("{identity:?}").contains("PRIVATE"));
}
