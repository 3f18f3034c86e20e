#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::Path;

use dance_core::CertificateDer;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::{HeaderRules, PeerHeaders, Upgrade, same};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../spec/vectors/vectors.json")).unwrap()
}

fn rules() -> HeaderRules {
    HeaderRules::new(HeaderName::from_static("dane-clientid"))
}

fn peer(identity: Option<&'static str>) -> PeerHeaders {
    let address = HeaderValue::from_static("192.0.2.7");
    PeerHeaders { identity: identity.map(HeaderValue::from_static), certificate: None, chain: None, address }
}

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

// HTTP-02, HTTP-03
#[test]
fn the_vectors_header_reaches_the_origin_whatever_the_client_sent() {
    let vectors = vectors();
    let http = vectors.get("http").unwrap();
    let native = http.get("native_header").unwrap();
    let name = native.get("name").unwrap().as_str().unwrap();
    assert_eq!(rules().identity, name);
    let forged = http.get("strip_inbound").unwrap().as_array().unwrap();
    assert_eq!(forged.len(), 9);

    for identity in [Some("sensor7._device.example.com"), None] {
        let mut headers = HeaderMap::new();
        for field in forged {
            let field: HeaderName = field.as_str().unwrap().parse().unwrap();
            headers.append(field.clone(), HeaderValue::from_static("forged.example.net"));
            headers.append(field, HeaderValue::from_static("forged.example.org"));
        }
        headers.insert("accept", HeaderValue::from_static("*/*"));
        // The probe is in there until the rules are applied.
        assert_eq!(headers.values().filter(|value| value.to_str().unwrap().starts_with("forged")).count(), 18);

        rules().rewrite_request(&mut headers, &peer(identity));
        assert_eq!(all(&headers, name), identity.into_iter().collect::<Vec<_>>());
        assert!(headers.values().all(|value| !value.to_str().unwrap().starts_with("forged")));
        assert_eq!(all(&headers, "accept"), ["*/*"]);
    }
}

// HTTP-03
#[test]
fn a_field_is_ours_when_any_gateway_interface_would_take_it_for_ours() {
    for name in ["dane-clientid", "dane_clientid", "dane.clientid", "dane~clientid", "client_cert", "client-cert_chain"]
    {
        assert!(rules().is_ours(&name.parse().unwrap()), "{name}");
    }
    for name in ["forwarded", "x-forwarded-for", "x_forwarded-proto", "x-forwarded-client-cert", "x.real_ip"] {
        assert!(rules().is_ours(&name.parse().unwrap()), "{name}");
    }
    for name in ["dane-clientid-asserted", "danexclientid", "dane-client-id", "dane-clientid-", "x-forwarded", "cookie"]
    {
        assert!(!rules().is_ours(&name.parse().unwrap()), "{name}");
    }
    let renamed = HeaderRules::new(HeaderName::from_static("x-device"));
    for name in ["x-device", "x_device", "dane-clientid", "dane_clientid"] {
        assert!(renamed.is_ours(&name.parse().unwrap()), "{name}");
    }
    // Whatever marks the configured name has, each stands for the others.
    for configured in ["dane_user", "dane.user", "dane-user", "dane~user"] {
        let renamed = HeaderRules::new(HeaderName::from_static(configured));
        for name in ["dane-user", "dane_user", "dane.user", "Dane-User", "DANE_USER", "dane~user"] {
            assert!(renamed.is_ours(&name.parse().unwrap()), "{configured}: {name}");
        }
        for name in ["danexuser", "dane-user-", "dane--user", "daneuser"] {
            assert!(!renamed.is_ours(&name.parse().unwrap()), "{configured}: {name}");
        }
    }
    assert!(same(b"DANE_ClientID", b"dane-clientid") && same(b"dane-clientid", b"DANE_ClientID"));
}

// HTTP-04
#[test]
fn a_client_cannot_have_our_field_removed_by_the_next_hop() {
    let vectors = vectors();
    let inbound = vectors.pointer("/http/connection_nomination/inbound").unwrap().as_str().unwrap();
    let (name, value) = inbound.split_once(": ").unwrap();
    let mut headers = map(&[
        (name, value),
        ("connection", "x-private, X-Forwarded-For"),
        ("dane-clientid", "forged.example.net"),
        ("x-private", "1"),
        ("x-public", "2"),
    ]);
    rules().rewrite_request(&mut headers, &peer(Some("a.example.com")));
    assert_eq!(all(&headers, "dane-clientid"), ["a.example.com"]);
    assert_eq!(all(&headers, "x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(all(&headers, "x-forwarded-proto"), ["https"]);
    assert_eq!(all(&headers, "x-public"), ["2"]);
    assert!(!headers.contains_key("connection") && !headers.contains_key("x-private"));
}

#[test]
fn host_outlives_being_named_in_connection() {
    let mut headers = map(&[("host", "www.example.com"), ("connection", "host")]);
    rules().rewrite_request(&mut headers, &peer(None));
    assert_eq!(all(&headers, "host"), ["www.example.com"]);
}

#[test]
fn only_websocket_is_an_upgrade() {
    let upgrade = |fields: &[(&str, &str)]| rules().rewrite_request(&mut map(fields), &peer(None));
    assert_eq!(upgrade(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")]), Upgrade::WebSocket);
    for fields in [
        &[("connection", "upgrade"), ("upgrade", "h2c")][..],
        &[("connection", "upgrade"), ("upgrade", "websocket, h2c")],
        &[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")],
        &[("connection", "keep-alive"), ("upgrade", "websocket")],
        &[("connection", "upgrade")],
        &[("upgrade", "websocket")],
    ] {
        assert_eq!(upgrade(fields), Upgrade::None, "{fields:?}");
    }
    let mut headers = map(&[("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "AAM")]);
    rules().rewrite_request(&mut headers, &peer(None));
    assert!(!headers.contains_key("upgrade") && !headers.contains_key("http2-settings"));
}

/// A certificate of the vectors.
fn certificate(file: &Value) -> CertificateDer<'static> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(file.as_str().unwrap());
    let (_, der) = pem_rfc7468::decode_vec(&std::fs::read(path).unwrap()).unwrap();
    CertificateDer::from(der)
}

// HTTP-08, HTTP-09
#[test]
fn certificates_are_told_as_in_the_vectors() {
    let told = |certificates: &[CertificateDer<'_>]| {
        let peer = PeerHeaders::with_certificates([192, 0, 2, 7].into(), certificates).unwrap();
        let mut headers = map(&[("client-cert", "forged"), ("client-cert-chain", "forged"), ("client_cert", "forged")]);
        rules().rewrite_request(&mut headers, &peer);
        assert!(!headers.contains_key("client_cert"));
        let values = ["client-cert", "client-cert-chain"]
            .map(|name| all(&headers, name).into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(peer.certificate_octets(), values.iter().flatten().map(String::len).sum::<usize>());
        values
    };
    let vectors = vectors();
    for vector in vectors.pointer("/http/client_cert").unwrap().as_array().unwrap() {
        let expected = vector.get("client_cert_value").unwrap().as_str().unwrap();
        assert_eq!(told(&[certificate(vector.get("cert").unwrap())]), [vec![expected.to_owned()], Vec::new()]);
    }
    // In the order of TLS, and without the end entity.
    let mut chain = vec![certificate(vectors.pointer("/http/client_cert/0/cert").unwrap())];
    chain.extend(vectors.pointer("/http/client_cert_chain/chain").unwrap().as_array().unwrap().iter().map(certificate));
    let expected = ["/http/client_cert/0/client_cert_value", "/http/client_cert_chain/value"]
        .map(|pointer| vec![vectors.pointer(pointer).unwrap().as_str().unwrap().to_owned()]);
    assert_eq!(told(&chain), expected);
    // Never the chain alone.
    assert_eq!(told(&[]), [Vec::<String>::new(), Vec::new()]);
}

// HTTP-15
#[test]
fn a_response_that_varies_by_identity_varies_by_everything_for_caches() {
    for (vary, expected) in [
        (&["Dane-Clientid"][..], &["*"][..]),
        (&["Accept-Encoding, dane_clientid"], &["*"]),
        (&["Accept-Encoding", "DANE-CLIENTID"], &["*"]),
        (&["Client-Cert"], &["*"]),
        (&["Accept, client_cert-chain"], &["*"]),
        (&["Accept-Encoding", "Dane-Clientid-Asserted"], &["Accept-Encoding", "Dane-Clientid-Asserted"]),
        (&["*"], &["*"]),
        (&[], &[]),
    ] {
        let mut headers = HeaderMap::new();
        for value in vary {
            headers.append("vary", value.parse().unwrap());
        }
        headers.insert("connection", HeaderValue::from_static("close"));
        rules().rewrite_response(&mut headers);
        assert_eq!(all(&headers, "vary"), expected);
        assert!(!headers.contains_key("connection"));
    }
}

#[test]
fn an_address_is_told_in_its_native_form() {
    let peer = PeerHeaders::new("::ffff:192.0.2.7".parse().unwrap(), None).unwrap();
    assert_eq!((peer.address.to_str().unwrap(), peer.identity), ("192.0.2.7", None));
}
