//! The certificate out of a balancer's field, in every dialect. The modules are those of `dance-http`, which as a whole would bring a resolver
//! and its runtime here.
//!
//! The octets: which dialect, and whether there is a second field; then the value of the field, or of both with a line feed between them.
#![no_main]

#[allow(dead_code, reason = "the rest is for the check around it")]
#[path = "../../crates/dance-http/src/forwarded.rs"]
mod forwarded;
#[path = "../../crates/dance-http/src/xfcc.rs"]
mod xfcc;

use dance_core::CertificateDer;
use dance_core::message::MAX_CERTIFICATES;
use dance_core::x509::Certificate;
use data_encoding::BASE64;
use forwarded::{Dialect, ForwardedBy};
use http::{HeaderMap, HeaderName, HeaderValue};

const CERTIFICATE: HeaderName = HeaderName::from_static("x-certificate");
const CHAIN: HeaderName = HeaderName::from_static("x-chain");

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = forwarded(data);
});

fn forwarded(data: &[u8]) -> Option<()> {
    let (&choice, fields) = data.split_first()?;
    let dialect = Dialect::ALL[usize::from(choice) % Dialect::ALL.len()];
    let chained = usize::from(choice) / Dialect::ALL.len() % 2 == 1;
    let mut fields = fields.split(|&octet| octet == b'\n');
    let mut headers = HeaderMap::new();
    headers.insert(CERTIFICATE, HeaderValue::from_bytes(fields.next()?).ok()?);
    if chained {
        headers.insert(CHAIN, HeaderValue::from_bytes(fields.next()?).ok()?);
    }
    let by = |dialect| ForwardedBy::new(dialect, CERTIFICATE).with_chain(CHAIN);
    let certificates = by(dialect).read(&headers).ok()??;

    // Each is one certificate and nothing else.
    assert!((1..=MAX_CERTIFICATES).contains(&certificates.len()));
    for certificate in &certificates {
        assert!(Certificate::parse(certificate).is_ok());
    }
    // Written as the dialect writes it, it is the same.
    let (first, rest) = write(dialect, &certificates);
    let mut written = HeaderMap::from_iter([(CERTIFICATE, first.parse().expect("ASCII"))]);
    if let Some(rest) = rest {
        written.insert(CHAIN, rest.parse().expect("ASCII"));
    }
    assert_eq!(by(dialect).read(&written).as_ref(), Ok(&Some(certificates)));
    // No other dialect takes it, but for the two that write one certificate alike.
    headers.remove(CHAIN);
    if by(dialect).read(&headers).is_ok() {
        for other in Dialect::ALL {
            let alike = [dialect, other].iter().all(|one| matches!(one, Dialect::Base64Der | Dialect::Traefik));
            assert!(other == dialect || alike || by(other).read(&headers).is_err(), "{dialect:?} {other:?}");
        }
    }
    Some(())
}

fn write(dialect: Dialect, certificates: &[CertificateDer<'_>]) -> (String, Option<String>) {
    let base64: Vec<String> = certificates.iter().map(|certificate| BASE64.encode(certificate)).collect();
    let (first, rest) = base64.split_first().expect("a certificate");
    match dialect {
        Dialect::Rfc9440 => {
            let rest: Vec<_> = rest.iter().map(|base64| format!(":{base64}:")).collect();
            (format!(":{first}:"), (!rest.is_empty()).then(|| rest.join(", ")))
        }
        Dialect::EscapedPem => (base64.iter().map(|base64| pem(base64)).collect(), None),
        Dialect::Base64Der => {
            let rest: Vec<u8> = certificates.iter().skip(1).flat_map(|certificate| certificate.iter().copied()).collect();
            (first.clone(), (!rest.is_empty()).then(|| BASE64.encode(&rest)))
        }
        Dialect::Xfcc => {
            let chain: String = base64.iter().map(|base64| pem(base64)).collect();
            (format!("Hash=00;Cert=\"{}\";Chain=\"{chain}\"", pem(first)), None)
        }
        Dialect::Traefik => (base64.join(","), None),
    }
}

/// Percent-encoded.
fn pem(base64: &str) -> String {
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
    let text = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
