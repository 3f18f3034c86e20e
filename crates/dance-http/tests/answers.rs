//! What is told to clients: by each refusal under each rule, and with what the application answers.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::convert::Infallible;

use bytes::Bytes;
use dance_core::reason::Reason;
use dance_http::asserted::AssertedError;
use dance_http::forwarded::ForwardedError;
use dance_http::{CheckedBody, DaneLayer, Refusal, Rules, StatusRules};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use support::{NAME, Scene, rules};
use tower::{Layer as _, ServiceExt as _};

fn refusals() -> impl Iterator<Item = Refusal> {
    let before = [
        Refusal::UntrustedPeer,
        Refusal::NoCertificate,
        Refusal::Forwarded(ForwardedError::ChainAlone),
        Refusal::NoName,
        Refusal::Asserted(AssertedError::Repeated),
        Refusal::NamesDiffer,
        Refusal::BodyTooLarge,
        Refusal::BodyIncomplete,
    ];
    before.into_iter().chain(Reason::ALL.iter().map(|reason| Refusal::Decided(*reason)))
}

fn status_rules() -> impl Iterator<Item = StatusRules> {
    (0..8).map(|bits| StatusRules {
        distinguish_transient: bits & 1 != 0,
        uniform_failure: bits & 2 != 0,
        relayed: bits & 4 != 0,
    })
}

// HTTP-12, HTTP-13, HTTP-15: a status, the challenge that belongs to it, and not a word of why.
#[test]
fn a_refusal_tells_its_status_and_nothing_else() {
    for status in status_rules() {
        for refusal in refusals() {
            let response: Response<Bytes> = refusal.response(&Rules { status, ..rules() });
            let mut expected = HeaderMap::from_iter([("cache-control".parse().unwrap(), "no-store".parse().unwrap())]);
            match response.status().as_u16() {
                401 => expected.insert("www-authenticate", "DANE-TLS realm=\"DANE\"".parse().unwrap()),
                503 => expected.insert("retry-after", "5".parse().unwrap()),
                400 | 403 | 413 => None,
                other => panic!("{refusal:?}: {other}"),
            };
            assert_eq!(response.headers(), &expected, "{refusal:?} {status:?}");
            assert!(response.body().is_empty());
        }
    }
}

// HTTP-11, HTTP-12, HTTP-13: table 6.4, and what its three switches make of it.
#[test]
fn statuses_by_the_table() {
    let plain = StatusRules::default();
    for refusal in refusals() {
        let status = refusal.status(plain);
        let expected = match &refusal {
            Refusal::Forwarded(_) | Refusal::Asserted(_) | Refusal::BodyIncomplete => 400,
            Refusal::NamesDiffer | Refusal::Decided(Reason::NameNotAllowed | Reason::WrongServiceLabel) => 403,
            Refusal::BodyTooLarge => 413,
            _ => 401,
        };
        assert_eq!(status, expected, "{refusal:?}");
        for rules in status_rules() {
            let found = refusal.status(rules);
            // 401 and 403 are the only ones, or only 403: nobody learns from them what is on the list.
            match (rules.relayed, rules.uniform_failure) {
                (true, true) => assert_eq!(found, StatusCode::FORBIDDEN, "{refusal:?}"),
                (true, false) => assert!(matches!(found.as_u16(), 401 | 403), "{refusal:?}"),
                (false, true) => assert_ne!(found, StatusCode::UNAUTHORIZED, "{refusal:?}"),
                (false, false) if found != StatusCode::SERVICE_UNAVAILABLE => assert_eq!(found, status, "{refusal:?}"),
                (false, false) => assert!(rules.distinguish_transient && status == 401, "{refusal:?}"),
            }
            // 403 by the table is 403 by every rule.
            assert!(status != StatusCode::FORBIDDEN || found == StatusCode::FORBIDDEN, "{refusal:?}");
        }
    }
    // What another try may mend are look-ups that failed, and nothing that the client is to blame for.
    let transient = StatusRules { distinguish_transient: true, ..plain };
    let mended = refusals().filter(|refusal| refusal.status(transient) == StatusCode::SERVICE_UNAVAILABLE);
    let mended: Vec<_> = mended.map(|refusal| refusal.code()).collect();
    assert!(mended.contains(&"lookup-timeout") && mended.contains(&"lookup-limit-total"), "{mended:?}");
    assert!(mended.iter().all(|code| code.starts_with("lookup-") || *code == "check-timeout"), "{mended:?}");
}

// HTTP-12: whatever the realm is, the challenge is one scheme with one parameter.
#[test]
fn a_realm_stays_in_its_quotes() {
    for (realm, challenge) in [
        ("devices", "DANE-TLS realm=\"devices\""),
        ("", "DANE-TLS realm=\"\""),
        ("a\", Basic realm=\"b", "DANE-TLS realm=\"a\\\", Basic realm=\\\"b\""),
        ("a\\", "DANE-TLS realm=\"a\\\\\""),
        ("a\r\nSet-Cookie: b", "DANE-TLS"),
    ] {
        let response: Response<Bytes> = Refusal::NoName.response(&Rules { realm: realm.to_owned(), ..rules() });
        assert_eq!(response.headers().get("www-authenticate").unwrap(), challenge);
    }
}

// HTTP-15: what the application answers stays with the client, unless the application says otherwise.
#[tokio::test]
async fn answers_are_kept_from_caches() {
    let scene = Scene::new().await;
    for (fields, expected, varies) in [
        (&[][..], Some("no-store"), None),
        (&[("vary", "Accept-Encoding")], Some("no-store"), Some("Accept-Encoding")),
        (
            &[("vary", "Accept-Encoding, Dane-Clientid-Other")],
            Some("no-store"),
            Some("Accept-Encoding, Dane-Clientid-Other"),
        ),
        // What no cache on the way has seen, or has seen from whoever liked to say it.
        (&[("vary", "Accept-Encoding, dane_clientid")], None, Some("*")),
        (&[("vary", "Origin"), ("vary", "Client-Cert")], None, Some("*")),
        (&[("vary", "Dane-Clientid-Asserted")], None, Some("*")),
        (&[("cache-control", "public"), ("vary", "Dane-Clientid")], Some("public"), Some("*")),
        (&[("vary", "*")], None, Some("*")),
        (&[("cache-control", "private, max-age=60")], Some("private, max-age=60"), None),
        (&[("cache-control", "public"), ("vary", "Accept-Encoding")], Some("public"), Some("Accept-Encoding")),
    ] {
        let answer = fields.iter().fold(Response::builder(), |answer, (name, value)| answer.header(*name, *value));
        let answer = answer.body(Full::<Bytes>::default()).unwrap();
        let application = tower::service_fn(move |_: Request<CheckedBody<Full<Bytes>>>| {
            std::future::ready(Ok::<_, Infallible>(answer.clone()))
        });
        let service = DaneLayer::new(scene.checker(rules())).layer(application);
        let request = scene.request().header("dane-clientid-asserted", NAME).body(Full::default()).unwrap();
        let response = service.oneshot(request).await.unwrap();
        let field = |name| {
            let values: Vec<_> = response.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
            (!values.is_empty()).then(|| values.join(", "))
        };
        let found = (response.status(), field("cache-control"), field("vary"));
        assert_eq!(found, (StatusCode::OK, expected.map(str::to_owned), varies.map(str::to_owned)), "{fields:?}");
    }
}
