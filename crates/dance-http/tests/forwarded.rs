//! Forwarded certificates in every dialect, as balancers write them and as they must not be.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use dance_core::CertificateDer;
use dance_http::forwarded::{Dialect, ForwardedBy, ForwardedError, MAX_FIELD_LEN};
use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};

const LEAF: &[u8] = include_bytes!("../../../spec/vectors/certs/leaf.der");
const INTER: &[u8] = include_bytes!("../../../spec/vectors/certs/inter.der");
const ROOT: &[u8] = include_bytes!("../../../spec/vectors/certs/root.der");
const LEAF_PEM: &str = include_str!("../../../spec/vectors/certs/leaf.pem");
const INTER_PEM: &str = include_str!("../../../spec/vectors/certs/inter.pem");

const FIELD: HeaderName = HeaderName::from_static("x-client-cert");
const CHAIN: HeaderName = HeaderName::from_static("x-client-chain");

fn headers(fields: &[(&HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn one(by: &ForwardedBy, value: &str) -> Result<Option<Vec<CertificateDer<'static>>>, ForwardedError> {
    by.read(&headers(&[(by.fields().next().unwrap(), value)]))
}

fn chain(certificates: &[&[u8]]) -> Result<Option<Vec<CertificateDer<'static>>>, ForwardedError> {
    Ok(Some(certificates.iter().map(|octets| CertificateDer::from(octets.to_vec())).collect()))
}

/// Every octet that is no letter or digit percent-encoded, as nginx does.
fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// As AWS does: `+`, `=` and `/` stay.
fn escaped_as_aws(text: &str) -> String {
    const SET: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'+').remove(b'=').remove(b'/').remove(b'-');
    percent_encoding::utf8_percent_encode(text, SET).to_string()
}

// HTTP-09: in the order of the handshake, and only beside the certificate. Values as in the vectors are read by `dance vectors run`.
#[test]
fn chain_of_rfc_9440() {
    let by = ForwardedBy::rfc9440();
    let leaf = format!(":{}:", BASE64.encode(LEAF));
    let list = format!(":{}:, :{}:", BASE64.encode(INTER), BASE64.encode(ROOT));
    let (certificate, rest) = (HeaderName::from_static("client-cert"), HeaderName::from_static("client-cert-chain"));
    assert_eq!(by.read(&headers(&[(&certificate, &leaf), (&rest, &list)])), chain(&[LEAF, INTER, ROOT]));
    // The chain without the certificate is somebody's mistake; neither is no certificate.
    assert_eq!(by.read(&headers(&[(&rest, &list)])), Err(ForwardedError::ChainAlone));
    assert_eq!(by.read(&HeaderMap::new()), Ok(None));
}

// HTTP-13: everything that is nearly RFC 9440, beside what is.
#[test]
fn nearly_rfc_9440() {
    let by = ForwardedBy::rfc9440();
    let base64 = BASE64.encode(LEAF);
    assert_eq!(one(&by, &format!(":{base64}:")), chain(&[LEAF]));
    // Parameters that nobody has defined mean nothing (RFC 9651 section 3.1.2).
    assert_eq!(one(&by, &format!("  :{base64}:;later=1  ")), chain(&[LEAF]));
    let syntax = Err(ForwardedError::Syntax { dialect: Dialect::Rfc9440 });
    for value in [
        base64.clone(),
        format!(":{base64}"),
        format!("{base64}:"),
        format!(":{base64}:, :{base64}:"),
        format!("(:{base64}:)"),
        format!("\"{base64}\""),
        format!(":{}:", base64.replacen('A', "!", 1)),
        escaped(LEAF_PEM),
        "?1".to_owned(),
    ] {
        assert_eq!(one(&by, &value), syntax, "{value}");
    }
    assert_eq!(one(&by, "::"), Err(ForwardedError::NotACertificate { position: 0 }));
    let mut headers = headers(&[(&HeaderName::from_static("client-cert"), &format!(":{base64}:"))]);
    headers.append("client-cert", HeaderValue::from_str(&format!(":{base64}:")).unwrap());
    assert!(matches!(by.read(&headers), Err(ForwardedError::Repeated { .. })));
}

// HTTP-07, HTTP-13
#[test]
fn escaped_pem() {
    let by = ForwardedBy::new(Dialect::EscapedPem, FIELD);
    assert_eq!(one(&by, &escaped(LEAF_PEM)), chain(&[LEAF]));
    let both = [LEAF_PEM, INTER_PEM].concat();
    assert_eq!(one(&by, &escaped_as_aws(&both)), chain(&[LEAF, INTER]));
    for text in [
        format!("{LEAF_PEM}garbage"),
        format!("garbage{LEAF_PEM}"),
        format!("garbage\n{LEAF_PEM}"),
        format!("{LEAF_PEM}garbage\n{INTER_PEM}"),
        format!("{LEAF_PEM}{INTER_PEM}garbage\n"),
        LEAF_PEM.replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
        LEAF_PEM.replace("BEGIN CERTIFICATE", "BEGIN PRIVATE KEY").replace("END CERTIFICATE", "END PRIVATE KEY"),
        LEAF_PEM.replace("END CERTIFICATE", "END SOMETHING"),
        LEAF_PEM.replacen('M', "*", 1),
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(),
        "hello".to_owned(),
    ] {
        let found = one(&by, &escaped(&text));
        assert!(
            matches!(found, Err(ForwardedError::Pem | ForwardedError::NotACertificate { .. })),
            "{text}: {found:?}"
        );
    }
    assert_eq!(one(&by, "%ff%fe"), Err(ForwardedError::Base64));
}

// HTTP-07, HTTP-13
#[test]
fn base64_der() {
    let by = ForwardedBy::new(Dialect::Base64Der, FIELD).with_chain(CHAIN);
    let leaf = BASE64.encode(LEAF);
    assert_eq!(one(&by, &leaf), chain(&[LEAF]));
    let rest = BASE64.encode(&[INTER, ROOT].concat());
    assert_eq!(by.read(&headers(&[(&FIELD, &leaf), (&CHAIN, &rest)])), chain(&[LEAF, INTER, ROOT]));
    let cut = BASE64.encode(&[INTER, &ROOT[..ROOT.len() - 1]].concat());
    assert_eq!(
        by.read(&headers(&[(&FIELD, &leaf), (&CHAIN, &cut)])),
        Err(ForwardedError::NotACertificate { position: 2 })
    );
    assert_eq!(one(&by, &format!(":{leaf}:")), Err(ForwardedError::Base64));
    assert_eq!(one(&by, leaf.trim_end_matches('=').get(1..).unwrap()), Err(ForwardedError::Base64));
    assert_eq!(one(&by, &BASE64.encode(&[LEAF, &[0]].concat())), Err(ForwardedError::NotACertificate { position: 0 }));
    assert_eq!(one(&by, &BASE64.encode(&LEAF[..LEAF.len() - 1])), Err(ForwardedError::NotACertificate { position: 0 }));
}

// HTTP-07, HTTP-13, HTTP-14: of several elements only the last is our proxy's.
#[test]
fn envoys_elements() {
    let by = ForwardedBy::new(Dialect::Xfcc, HeaderName::from_static("x-forwarded-client-cert"));
    let pem = |text: &str| escaped(text);
    let (leaf, inter) = (pem(LEAF_PEM), pem(INTER_PEM));
    assert_eq!(one(&by, &format!("By=spiffe://a/b;Hash=00ff;Cert=\"{leaf}\"")), chain(&[LEAF]));
    assert_eq!(
        one(&by, &format!("Hash=00;Cert=\"{leaf}\";Chain=\"{leaf}{inter}\";DNS=a.example")),
        chain(&[LEAF, INTER])
    );
    assert_eq!(one(&by, &format!("Hash=00;Subject=\"CN=\\\"x\\\", O=y; z\";Cert=\"{leaf}\"")), chain(&[LEAF]));
    // A client that sends its own element in front of ours, and one that hides ours in a quote.
    assert_eq!(one(&by, &format!("Cert=\"{inter}\",Cert=\"{leaf}\"")), chain(&[LEAF]));
    for value in [
        format!("Subject=\",Cert=\"{leaf}\""),
        format!("Cert=\"{leaf}\";Cert=\"{leaf}\""),
        format!("Cert=\"{leaf}\";Chain=\"{inter}{leaf}\""),
        format!("Cert=\"{leaf}\","),
        "Hash=00ff".to_owned(),
        "nothing".to_owned(),
        format!("Cert=\"{leaf}\\"),
    ] {
        assert!(matches!(one(&by, &value), Err(ForwardedError::Syntax { .. })), "{value}: {:?}", one(&by, &value));
    }
}

// HTTP-14: what a client can put into Envoy's field without being Envoy: elements of its own in front, and the names in its certificate,
// which Envoy writes as they are. Its key is the leaf's; the intermediate is the certificate of somebody else.
#[test]
fn envoys_element_is_not_the_clients_to_write() {
    let by = ForwardedBy::new(Dialect::Xfcc, HeaderName::from_static("x-forwarded-client-cert"));
    let (ours, stolen) = (escaped(LEAF_PEM), escaped(INTER_PEM));
    let syntax = Err(ForwardedError::Syntax { dialect: Dialect::Xfcc });
    let names = Err(ForwardedError::UnquotedNames);
    // The quote that is open swallows what follows, and the one in the client's own subject closes it again.
    let swallowing =
        |subject: &str| format!("Cert=\"{stolen}\";x=\",By=spiffe://a/b;Hash=00;Cert=\"{ours}\";Subject=\"{subject}\"");
    for (value, expected) in [
        (swallowing("CN=a\\\"b"), syntax.clone()),
        (swallowing("CN=a\\\"b\\\"c"), syntax.clone()),
        (swallowing(""), syntax.clone()),
        (format!("Cert=\"{stolen}\";x=\"\\,Hash=00;Cert=\"{ours}\";Subject=\"CN=a\\\"b\""), syntax.clone()),
        (format!("Cert=\"{stolen}\";x=\",Hash=00;Cert=\"{ours}\""), syntax.clone()),
        // Names that begin an element or a pair of their own.
        (format!("Hash=00;Cert=\"{ours}\";URI=a,Hash=00;Cert=\"{stolen}\""), names.clone()),
        (format!("Hash=00;Cert=\"{ours}\";DNS=a,Cert=\"{stolen}\""), names.clone()),
        (format!("Hash=00;Cert=\"{ours}\";URI=,Cert=\"{stolen}\";URI="), names.clone()),
        (format!("Hash=00;Cert=\"{ours}\";URI=a;Cert=\"{stolen}\""), names.clone()),
        (format!("Hash=00;Cert=\"{ours}\";URI=a;Chain=\"{ours}{stolen}\""), names.clone()),
        (format!("Hash=00;URI=a;Cert=\"{stolen}\""), names),
        (format!("Hash=00;Chain=\"{ours}\";Cert=\"{stolen}\""), syntax.clone()),
        (format!("Hash=00;Cert=\"{ours}\";cert=\"{stolen}\""), syntax.clone()),
        (format!("Hash=00;Cert=\"{ours}\"x"), syntax.clone()),
        (format!("Hash=0\"0;Cert=\"{ours}\";x=\""), syntax),
    ] {
        assert_eq!(one(&by, &value), expected, "{value}");
    }
    // Beside them what Envoy writes where nobody plays with it.
    for value in [
        format!("Cert=\"{stolen}\";x=y,By=spiffe://a/b;Hash=00;Cert=\"{ours}\";Subject=\"CN=a\\\"b\""),
        format!("Hash=00;Cert=\"{ours}\";Chain=\"{ours}\";Subject=\"\";URI=;DNS=a.example;DNS=b.example"),
    ] {
        assert_eq!(one(&by, &value), chain(&[LEAF]), "{value}");
    }
}

// HTTP-13, HTTP-14: what is written in one dialect is nothing in another, so that a field that the balancer lets through does not count.
#[test]
fn dialects_do_not_mix() {
    let base64 = BASE64.encode(LEAF);
    let written = [
        (Dialect::Rfc9440, format!(":{base64}:")),
        (Dialect::EscapedPem, escaped(LEAF_PEM)),
        (Dialect::Base64Der, base64.clone()),
        (Dialect::Xfcc, format!("Hash=00;Cert=\"{}\"", escaped(LEAF_PEM))),
        (Dialect::Traefik, format!("{base64},{base64}")),
        // Of one certificate it is the same.
        (Dialect::Traefik, base64),
    ];
    for (dialect, value) in &written {
        for read_as in Dialect::ALL {
            let found = one(&ForwardedBy::new(read_as, FIELD), value);
            let one_text = |dialect| matches!(dialect, Dialect::Base64Der | Dialect::Traefik);
            let same = read_as == *dialect || (one_text(*dialect) && one_text(read_as) && !value.contains(','));
            assert_eq!(found.is_ok(), same, "{dialect:?} read as {read_as:?}: {found:?}");
        }
    }
}

// HTTP-13: one way to write it, but for RFC 9440, where RFC 9651 section 4.2.7 has parsers take what lacks padding.
#[test]
fn base64_in_other_ways() {
    let base64 = BASE64.encode(LEAF);
    assert!(base64.ends_with('=') && base64.contains('+') && base64.contains('/'));
    let unpadded = base64.trim_end_matches('=');
    // The bits beyond the last octet, which are to be 0.
    let last = unpadded.chars().last().unwrap();
    let stray = format!("{}{}=", &unpadded[..unpadded.len() - 1], char::from(last as u8 + 1));
    let spaced = format!("{} {}", &base64[..64], &base64[64..]);
    let url = base64.replace('+', "-").replace('/', "_");
    let form_decoded = base64.replace('+', " ");
    for dialect in [Dialect::Base64Der, Dialect::Traefik] {
        let by = ForwardedBy::new(dialect, FIELD);
        assert_eq!(one(&by, &base64), chain(&[LEAF]));
        for value in [unpadded, &stray, &spaced, &url, &form_decoded, &format!("{base64}=")] {
            assert_eq!(one(&by, value), Err(ForwardedError::Base64), "{dialect:?} {value}");
        }
    }
    let by = ForwardedBy::rfc9440();
    for value in [unpadded, &stray] {
        assert_eq!(one(&by, &format!(":{value}:")), chain(&[LEAF]), "{value}");
    }
    for value in [&spaced, &url, &form_decoded] {
        assert!(one(&by, &format!(":{value}:")).is_err(), "{value}");
    }
}

// HTTP-17: where a certificate should be, a bare public key is none.
#[test]
fn a_raw_public_key_is_no_certificate() {
    const KEY: &[u8] = include_bytes!("../../../spec/vectors/keys/leaf.spki.der");
    let base64 = BASE64.encode(KEY);
    let pem = |label: &str| escaped(&format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n"));
    for (dialect, value) in [
        (Dialect::Rfc9440, format!(":{base64}:")),
        (Dialect::EscapedPem, pem("CERTIFICATE")),
        (Dialect::EscapedPem, pem("PUBLIC KEY")),
        (Dialect::Base64Der, base64.clone()),
        (Dialect::Xfcc, format!("Cert=\"{}\"", pem("CERTIFICATE"))),
        (Dialect::Traefik, base64.clone()),
    ] {
        let found = one(&ForwardedBy::new(dialect, FIELD), &value);
        assert!(
            matches!(found, Err(ForwardedError::Pem | ForwardedError::NotACertificate { position: 0 })),
            "{dialect:?}: {found:?}"
        );
    }
}

// HTTP-07, HTTP-13
#[test]
fn traefiks_list() {
    let by = ForwardedBy::new(Dialect::Traefik, FIELD);
    let joined = format!("{},{}", BASE64.encode(LEAF), BASE64.encode(INTER));
    assert_eq!(one(&by, &joined), chain(&[LEAF, INTER]));
    assert_eq!(one(&by, &escaped(&joined)), chain(&[LEAF, INTER]));
    assert_eq!(one(&by, &format!("{joined},")), Err(ForwardedError::NotACertificate { position: 2 }));
    assert_eq!(one(&by, &joined.replace(',', ", ")), Err(ForwardedError::Base64));
}

// HTTP-19, SEC-14: limits.
#[test]
fn too_much() {
    let by = ForwardedBy::new(Dialect::Traefik, FIELD);
    let leaf = BASE64.encode(LEAF);
    let list = |count: usize| vec![leaf.as_str(); count].join(",");
    assert!(one(&by, &list(16)).is_ok());
    assert_eq!(one(&by, &list(17)), Err(ForwardedError::TooMany { found: 17 }));
    let long = "A".repeat(MAX_FIELD_LEN + 1);
    assert_eq!(one(&by, &long), Err(ForwardedError::TooLong { found: MAX_FIELD_LEN + 1 }));
    assert!(matches!(one(&by, &long[..MAX_FIELD_LEN]), Err(ForwardedError::NotACertificate { .. })));
    let mut headers = HeaderMap::new();
    headers.insert(FIELD, HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(by.read(&headers), Err(ForwardedError::NotAscii));
}

// HTTP-14: a balancer that sets its field from an empty variable says that there is no certificate.
#[test]
fn an_empty_field_is_none() {
    for dialect in Dialect::ALL {
        let by = ForwardedBy::new(dialect, FIELD);
        assert_eq!(one(&by, ""), Ok(None));
        assert_eq!(one(&by, " "), Ok(None));
        assert!(one(&by, "x").is_err());
    }
}

// HTTP-14: where the balancer speaks beside the request, nothing in the request is a certificate.
#[test]
fn beside_the_request_no_field_counts() {
    let by = ForwardedBy::beside_the_request();
    let leaf = format!(":{}:", BASE64.encode(LEAF));
    let escaped = escaped(LEAF_PEM);
    let everywhere = [
        (&HeaderName::from_static("client-cert"), leaf.as_str()),
        (&HeaderName::from_static("x-forwarded-client-cert"), escaped.as_str()),
        (&FIELD, escaped.as_str()),
    ];
    assert_eq!(by.read(&headers(&everywhere)), Ok(None));
    assert_eq!(by.fields().count(), 0);
}
