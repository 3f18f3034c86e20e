//! TLSA records: forms, usability, data computed for publication.

use dance_core::tlsa::{AssociationError, CertUsage, MatchingType, PresentationError, Selector, TlsaRdata, Unusable};
use dance_core::x509::Certificate;

use crate::authority::{Authority, record};

fn parse(text: &str) -> Result<TlsaRdata, PresentationError> {
    text.parse()
}

// TLSA-29
#[test]
fn both_text_forms_are_written_and_read() {
    let rdata = parse("3 1 1 00ff").unwrap();
    assert_eq!(rdata.as_wire(), [3, 1, 1, 0, 255]);
    assert_eq!(rdata.to_string(), "3 1 1 00ff");
    assert_eq!(rdata.to_rfc3597(), "\\# 5 03010100ff");
    for text in ["3 1 1 00FF", " 3\t1  1 0 0f f ", "\\# 5 03010100ff", "\\# 5 0301 0100 FF", "TYPE52 \\# 5 03010100ff"]
    {
        assert_eq!(parse(text).unwrap(), rdata, "{text}");
    }
    assert_eq!(parse("255 254 253 ab").unwrap().as_wire(), [255, 254, 253, 0xab]);
}

// TLSA-29
#[test]
fn records_too_short_for_the_presentation_form_are_written_in_the_other() {
    for octets in [&[][..], &[3], &[3, 1], &[3, 1, 1]] {
        let rdata = TlsaRdata::from_wire(octets);
        assert!(rdata.to_string().starts_with("\\# "));
        assert_eq!(parse(&rdata.to_string()).unwrap(), rdata);
    }
}

// TLSA-29
#[test]
fn garbage_is_no_record() {
    let missing = |field| Err(PresentationError::Missing(field));
    let number = |field| Err(PresentationError::Number(field));
    assert_eq!(parse(""), missing("certificate usage"));
    assert_eq!(parse("3 1"), missing("matching type"));
    assert_eq!(parse("3 1 1"), missing("certificate association data"));
    assert_eq!(parse("256 1 1 00"), number("certificate usage"));
    assert_eq!(parse("+3 1 1 00"), number("certificate usage"));
    assert_eq!(parse("3 -1 1 00"), number("selector"));
    assert_eq!(parse("3 1 x 00"), number("matching type"));
    for data in ["0", "0g", "00;", "00 0", "(00)", "\"00\"", "0x00", "é0"] {
        assert_eq!(parse(&format!("3 1 1 {data}")), Err(PresentationError::Hexadecimal), "{data}");
    }
    assert_eq!(parse("\\# 4 03010100ff"), Err(PresentationError::Length { said: 4, found: 5 }));
    assert_eq!(parse("\\# x 00"), number("RDATA length"));
    assert_eq!(parse("\\#"), missing("RDATA length"));
    assert_eq!(parse("TYPE53 \\# 1 00"), Err(PresentationError::NoMarker));
    assert_eq!(TlsaRdata::parse_rfc3597("3 1 1 00"), Err(PresentationError::NoMarker));
    assert!(parse(&format!("3 1 0 {}", "00".repeat(65_532))).is_ok());
    assert_eq!(parse(&format!("3 1 0 {}", "00".repeat(65_533))), Err(PresentationError::TooLong { octets: 65_533 }));
}

// TLSA-19, TLSA-20
#[test]
fn each_fault_of_a_record_has_its_reason() {
    let root = Authority::root("Root");
    let certificate = root.der.as_ref();
    let spki = Certificate::parse(certificate).unwrap().spki();
    let unusable = |usage, selector, matching_type, data: &[u8]| {
        TlsaRdata::new(CertUsage(usage), Selector(selector), MatchingType(matching_type), data).usable().err()
    };
    let longer = |octets: &[u8]| [octets, &[0]].concat();

    assert_eq!(unusable(3, 1, 1, &[0; 32]), None);
    assert_eq!(unusable(0, 0, 2, &[0; 64]), None);
    assert_eq!(unusable(2, 0, 0, certificate), None);
    assert_eq!(unusable(3, 1, 0, spki), None);

    assert_eq!(unusable(3, 1, 1, &[]), Some(Unusable::Short { octets: 3 }));
    assert_eq!(TlsaRdata::from_wire(&[3, 1]).usable(), Err(Unusable::Short { octets: 2 }));
    assert_eq!(TlsaRdata::from_wire(&[]).usable(), Err(Unusable::Short { octets: 0 }));
    assert_eq!(unusable(4, 1, 1, &[0; 32]), Some(Unusable::UnknownUsage(4)));
    assert_eq!(unusable(255, 1, 1, &[0; 32]), Some(Unusable::UnknownUsage(255)));
    assert_eq!(unusable(3, 2, 1, &[0; 32]), Some(Unusable::UnknownSelector(2)));
    assert_eq!(unusable(3, 1, 3, &[0; 32]), Some(Unusable::UnknownMatchingType(3)));
    assert_eq!(unusable(3, 1, 255, &[0; 32]), Some(Unusable::UnknownMatchingType(255)));
    assert_eq!(unusable(3, 1, 1, &[0; 31]), Some(Unusable::DigestLength { expected: 32, found: 31 }));
    assert_eq!(unusable(3, 1, 1, &[0; 64]), Some(Unusable::DigestLength { expected: 32, found: 64 }));
    assert_eq!(unusable(3, 1, 2, &[0; 32]), Some(Unusable::DigestLength { expected: 64, found: 32 }));
    for (selector, data) in [(0, longer(certificate)), (0, certificate[1..].to_vec()), (0, spki.to_vec())] {
        assert!(matches!(unusable(2, selector, 0, &data), Some(Unusable::NotCertificate(_))));
    }
    for data in [longer(spki), spki[..spki.len() - 1].to_vec(), certificate.to_vec(), vec![0x30, 0]] {
        assert!(matches!(unusable(3, 1, 0, &data), Some(Unusable::NotSpki(_))));
    }
}

// TLSA-29
#[test]
fn nothing_is_published_that_nobody_could_use() {
    let root = Authority::root("Root");
    let make = |usage, selector, matching_type, octets: &[u8]| {
        TlsaRdata::for_certificate(CertUsage(usage), Selector(selector), MatchingType(matching_type), octets)
    };
    assert_eq!(make(4, 1, 1, &root.der), Err(AssociationError::UnknownUsage(4)));
    assert_eq!(make(3, 2, 1, &root.der), Err(AssociationError::UnknownSelector(2)));
    assert_eq!(make(3, 1, 3, &root.der), Err(AssociationError::UnknownMatchingType(3)));
    assert!(matches!(make(3, 1, 1, b"no certificate"), Err(AssociationError::Certificate(_))));
    assert!(matches!(
        TlsaRdata::for_spki(CertUsage::DANE_EE, MatchingType::SHA2_256, b"no key"),
        Err(AssociationError::Spki(_))
    ));

    let spki = Certificate::parse(&root.der).unwrap().spki();
    for matching_type in 0..=2 {
        let from_key = TlsaRdata::for_spki(CertUsage::DANE_EE, MatchingType(matching_type), spki).unwrap();
        assert_eq!(from_key, record(3, 1, matching_type, &root.der));
        assert!(from_key.usable().is_ok());
        assert!(record(3, 0, matching_type, &root.der).usable().is_ok());
    }
}
