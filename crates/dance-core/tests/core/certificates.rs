//! Certificates as slices: ordinary ones, odd ones, and octets that are none.

use dance_core::CertificateDer;
use dance_core::x509::{AltName, Certificate, CertificateError, check_spki};
use rcgen::{CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, OtherNameValue, SanType};

use crate::authority::{Authority, NOW, Question, dns, record};

pub(crate) const SEQUENCE: u8 = 0x30;

/// DER, for content under 64 KiB.
pub(crate) fn der(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let len = content.len();
    let header = match len {
        0..0x80 => vec![tag, len as u8],
        0x80..0x100 => vec![tag, 0x81, len as u8],
        _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
    };
    [header, content].concat()
}

/// A certificate of version 1 in which only the frame makes sense.
pub(crate) fn frame(spki: &[u8], rest: &[u8]) -> Vec<u8> {
    let odd = der(SEQUENCE, &[&[0x05, 0x00]]);
    let tbs = der(SEQUENCE, &[&[2, 1, 0x80], &odd, &odd, &odd, &odd, spki, rest]);
    der(SEQUENCE, &[&tbs, &odd, &[3, 1, 0]])
}

// TLSA-23
#[test]
fn a_key_comes_out_octet_for_octet_however_odd() {
    let keys = [
        // An algorithm identifier without parameters where RSA has NULL, and a BIT STRING with unused bits.
        der(SEQUENCE, &[&der(SEQUENCE, &[&[6, 1, 42]]), &[3, 2, 7, 0x80]]),
        // Not a key at all.
        der(SEQUENCE, &[&[4, 1, 0xff]]),
        der(SEQUENCE, &[&[0x01, 0x01, 0x01]]),
        vec![SEQUENCE, 0],
    ];
    for spki in keys {
        let octets = frame(&spki, &[]);
        assert_eq!(Certificate::parse(&octets).unwrap().spki(), spki);
        let chain = [CertificateDer::from(octets)];
        for matching_type in 0..=2 {
            let published = record(3, 1, matching_type, &chain[0]);
            // What is no SubjectPublicKeyInfo cannot be published in full, but its digest can.
            let expected =
                if matching_type == 0 && check_spki(&spki).is_err() { "unusable-not-spki" } else { "matched" };
            assert_eq!(Question::chain(&chain).code(published), expected);
        }
    }
}

// TLSA-04, TLSA-23
#[test]
fn usage_3_takes_certificates_that_no_path_would() {
    let root = Authority::root("Root");
    let critical = root.leaf_with(|params| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions.push(unknown);
    });
    let version_1 = include_bytes!("../data/v1.der").as_slice().into();
    let no_extensions = frame(&der(SEQUENCE, &[&der(SEQUENCE, &[&[6, 1, 42]]), &[3, 2, 0, 1]]), &[]).into();
    for odd in [critical, version_1, no_extensions] {
        for (selector, matching_type) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            let record = record(3, selector, matching_type, &odd);
            assert_eq!(Question::chain([&odd]).code(record), "matched");
        }
    }
}

// TLSA-20, TLSA-23
#[test]
fn octets_around_or_instead_of_a_certificate_are_refused() {
    let root = Authority::root("Root");
    let good = root.leaf();
    assert!(Certificate::parse(&good).is_ok());
    for len in 0..good.len() {
        assert_eq!(Certificate::parse(&good[..len]).err(), Some(CertificateError::Malformed));
    }
    assert!(Certificate::parse(&[&good[..], &[0]].concat()).is_err());
    assert!(Certificate::parse(&[&good[..], &good[..]].concat()).is_err());

    // An element too many inside.
    assert!(Certificate::parse(&der(SEQUENCE, &[&good[4..], &[5, 0]])).is_err());

    // The same certificate with BER's other length forms around it: indefinite, and longer than need be.
    let content = &good[4..];
    let indefinite = [&[SEQUENCE, 0x80], content, &[0, 0]].concat();
    let long = [&[SEQUENCE, 0x83, 0][..], &good[2..4], content].concat();
    assert!(Certificate::parse(&indefinite).is_err());
    assert!(Certificate::parse(&long).is_err());
    // A key with a length longer than need be is not DER either.
    assert!(Certificate::parse(&frame(&[SEQUENCE, 0x81, 2, 5, 0], &[])).is_err());
    assert!(Certificate::parse(&frame(&[0x31, 0], &[])).is_err());
}

#[test]
fn fields_are_those_of_the_certificate() {
    let root = Authority::root("Root");
    let leaf = root.leaf();
    let (root, leaf) = (Certificate::parse(&root.der).unwrap(), Certificate::parse(&leaf).unwrap());
    assert_eq!(leaf.issuer(), root.subject());
    assert_eq!(root.issuer(), root.subject());
    let validity = leaf.validity().unwrap();
    assert!(validity.not_before < NOW && NOW < validity.not_after);

    assert!(root.basic_constraints().unwrap().unwrap().ca);
    assert_eq!(root.basic_constraints().unwrap().unwrap().path_len, None);
    assert!(leaf.basic_constraints().unwrap().is_none_or(|constraints| !constraints.ca));
    assert!(root.key_usage().unwrap().unwrap().key_cert_sign());
    assert!(!root.key_usage().unwrap().unwrap().digital_signature());
    assert!(leaf.key_usage().unwrap().unwrap().digital_signature());
    assert!(!leaf.key_usage().unwrap().unwrap().key_cert_sign());
    assert!(leaf.allows_client_auth().unwrap());
    assert!(root.allows_client_auth().unwrap());
    assert!(!leaf.has_broken_digest().unwrap());
}

#[test]
fn path_lengths_are_read() {
    for len in [0, 1, 127, 128, 255] {
        let root = Authority::root_with("Root", |params| {
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(len));
        });
        let found = Certificate::parse(&root.der).unwrap().basic_constraints().unwrap().unwrap().path_len;
        // What does not fit into one octet limits nothing.
        assert_eq!(found, Some(if len < 128 { usize::from(len) } else { usize::MAX }));
    }
}

// TLSA-27
#[test]
fn the_extended_key_usage_is_absent_or_names_clients_or_anything() {
    let root = Authority::root("Root");
    let allows = |purposes: &[ExtendedKeyUsagePurpose]| {
        let leaf = root.leaf_with(|params| params.extended_key_usages = purposes.to_vec());
        Certificate::parse(&leaf).unwrap().allows_client_auth().unwrap()
    };
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    assert!(allows(&[]));
    assert!(allows(&[ClientAuth]));
    assert!(allows(&[ServerAuth, ClientAuth]));
    assert!(allows(&[Any]));
    assert!(!allows(&[ServerAuth]));
}

// TLSA-24
#[test]
fn alternative_names_come_out_as_they_stand() {
    let root = Authority::root("Root");
    let leaf = root.leaf_with(|params| {
        params.subject_alt_names = [
            dns(&["A.example", "*.b.example"]),
            vec![
                SanType::Rfc822Name("c@d.example".try_into().unwrap()),
                SanType::IpAddress([192, 0, 2, 1].into()),
                SanType::OtherName((vec![0, 9, 2342, 19_200_300, 100, 1, 1], OtherNameValue::Utf8String("e".into()))),
                SanType::OtherName((vec![1, 2, 3], OtherNameValue::Utf8String("f".into()))),
            ],
        ]
        .concat();
    });
    let leaf = Certificate::parse(&leaf).unwrap();
    assert!(leaf.dns_names().eq([&b"A.example"[..], b"*.b.example"]));
    let names: Vec<_> = leaf.alt_names().map(Result::unwrap).collect();
    let expected = [
        AltName::Dns(b"A.example"),
        AltName::Dns(b"*.b.example"),
        AltName::Email(b"c@d.example"),
        AltName::Other,
        AltName::Uid("e"),
        AltName::Other,
    ];
    assert_eq!(names, expected);
}

fn extensions(list: &[&[u8]]) -> Vec<u8> {
    let spki = der(SEQUENCE, &[&der(SEQUENCE, &[&[6, 1, 42]]), &[3, 2, 0, 1]]);
    frame(&spki, &der(0xa3, &[&der(SEQUENCE, list)]))
}

fn extension(id: u8, value: &[u8]) -> Vec<u8> {
    der(SEQUENCE, &[&[6, 3, 0x55, 0x1d, id], &der(4, &[value])])
}

// TLSA-24
#[test]
fn an_alternative_name_that_does_not_decode_spoils_them_all() {
    let name = der(0x82, &[b"a.example"]);
    let names = |octets: &[u8]| {
        let certificate = Certificate::parse(octets).unwrap();
        (certificate.dns_names().count(), certificate.alt_names().filter(Result::is_err).count())
    };
    let good = extension(17, &der(SEQUENCE, &[&name]));
    assert_eq!(names(&extensions(&[&good])), (1, 0));
    assert_eq!(names(&extensions(&[&good, &good])), (0, 1), "twice");
    assert_eq!(names(&extensions(&[&extension(17, &der(SEQUENCE, &[&name, &[0x82]]))])), (0, 1), "cut off");
    assert_eq!(names(&extensions(&[&extension(17, &der(SEQUENCE, &[&name, &[4, 0]]))])), (0, 1), "no name");
    let not_utf8 = der(0xa0, &[&[6, 10, 9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1, 0xa0, 3, 12, 1, 0xff]]);
    assert_eq!(names(&extensions(&[&extension(17, &der(SEQUENCE, &[&name, &not_utf8]))])), (0, 1), "not UTF-8");
    assert_eq!(names(&extensions(&[&extension(17, &[&der(SEQUENCE, &[&name])[..], &[0]].concat())])), (0, 1), "more");
}

#[test]
fn what_does_not_decode_is_an_error_and_no_default() {
    let parse = |octets: &[u8]| {
        let certificate = Certificate::parse(octets).unwrap();
        (
            certificate.basic_constraints().map(|found| found.map(|it| it.ca)),
            certificate.key_usage().map(|found| found.is_some()),
            certificate.allows_client_auth(),
        )
    };
    let malformed = CertificateError::Malformed;
    assert_eq!(parse(&extensions(&[])), (Ok(None), Ok(false), Ok(true)));
    let constraints = |value: &[u8]| parse(&extensions(&[&extension(19, value)])).0;
    assert_eq!(constraints(&der(SEQUENCE, &[])), Ok(Some(false)));
    assert_eq!(constraints(&der(SEQUENCE, &[&[1, 1, 0xff]])), Ok(Some(true)));
    assert_eq!(constraints(&der(SEQUENCE, &[&[1, 1, 1]])), Err(malformed), "BER's true");
    assert_eq!(constraints(&der(SEQUENCE, &[&[1, 1, 0xff], &[2, 1, 0xff]])), Err(malformed), "negative length");
    assert_eq!(constraints(&der(SEQUENCE, &[&[1, 1, 0xff], &[5, 0]])), Err(malformed));
    assert_eq!(constraints(&[]), Err(malformed));
    let twice = extension(19, &der(SEQUENCE, &[]));
    assert_eq!(parse(&extensions(&[&twice, &twice])).0, Err(CertificateError::RepeatedExtension));

    let usage = |value: &[u8]| parse(&extensions(&[&extension(15, value)])).1;
    assert_eq!(usage(&[3, 2, 7, 0x80]), Ok(true));
    assert_eq!(usage(&[3, 1, 0]), Ok(true));
    assert_eq!(usage(&[3, 2, 8, 0x80]), Err(malformed));
    assert_eq!(usage(&[3, 0]), Err(malformed));
    assert_eq!(usage(&[4, 1, 0x80]), Err(malformed));

    let purposes = |value: &[u8]| parse(&extensions(&[&extension(37, value)])).2;
    assert_eq!(purposes(&der(SEQUENCE, &[])), Ok(false), "an empty list allows nothing");
    assert_eq!(purposes(&der(SEQUENCE, &[&[4, 0]])), Err(malformed));
}

#[test]
fn a_key_usage_without_any_bit_allows_nothing() {
    let usage = Certificate::parse(&extensions(&[&extension(15, &[3, 1, 0])])).unwrap().key_usage().unwrap().unwrap();
    assert!(!usage.digital_signature() && !usage.key_cert_sign());
    let root = Authority::root_with("Root", |params| {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    });
    let usage = Certificate::parse(&root.der).unwrap().key_usage().unwrap().unwrap();
    assert!(usage.digital_signature() && usage.key_cert_sign());
}
