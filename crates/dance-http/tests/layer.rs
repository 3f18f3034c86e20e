//! Requests through the layer, over a signed world: what the client is told, what the application gets, what DNS is asked.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dance_http::{AuthenticatedClient, DaneLayer, Peer, Rules, StatusRules};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use support::{NAME, Scene, rules};
use tower::{Layer as _, ServiceExt as _};

/// What the application got.
#[derive(Debug)]
struct Seen {
    headers: HeaderMap,
    body: Bytes,
    client: String,
}

/// Sends a request; what the answer was, and what came through.
async fn send(scene: &Scene, rules: Rules, request: Request<Full<Bytes>>) -> (Response<String>, Option<Seen>) {
    let seen = Arc::new(Mutex::new(None));
    let application = {
        let seen = Arc::clone(&seen);
        tower::service_fn(move |request: Request<dance_http::CheckedBody<Full<Bytes>>>| {
            let seen = Arc::clone(&seen);
            async move {
                let (parts, body) = request.into_parts();
                let client = parts.extensions.get::<AuthenticatedClient>().unwrap().identity().to_owned();
                let body = body.collect().await.unwrap();
                *seen.lock().unwrap() = Some(Seen { headers: parts.headers, body: body.to_bytes(), client });
                Ok::<_, Infallible>(Response::new("welcome".to_owned()))
            }
        })
    };
    let service = DaneLayer::new(scene.checker(rules)).layer(application);
    let response = service.oneshot(request).await.unwrap();
    let seen = seen.lock().unwrap().take();
    (response, seen)
}

fn body(text: &str) -> Full<Bytes> {
    Full::new(Bytes::copy_from_slice(text.as_bytes()))
}

// HTTP-03, HTTP-14: what says who the client is comes from here alone, however the outside spells it.
#[tokio::test]
async fn identity_fields_from_outside_do_not_come_through() {
    let scene = Scene::new().await;
    let request = scene
        .request()
        .header("dane-clientid-asserted", NAME)
        .header("Dane-Clientid", "admin.example.com")
        .header("dane_clientid", "admin.example.com")
        .header("Dane.Clientid", "admin.example.com")
        .header("Client_Cert", "forged")
        .header("client_cert_chain", "forged")
        .header("dane_clientid_asserted", "admin.example.com")
        .header("x-other", "stays")
        .body(body("anything"))
        .unwrap();
    let (response, seen) = send(&scene, rules(), request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let seen = seen.unwrap();
    let fields: Vec<_> = seen.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let certificate = scene.forwarded(&scene.client);
    let mut expected = vec![("client-cert", certificate.as_str()), ("x-other", "stays"), ("dane-clientid", NAME)];
    expected.sort_unstable();
    let mut found = fields.clone();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(seen.client, NAME);
    assert_eq!(seen.body, "anything");
}

// HTTP-14: whoever is not the balancer may say what they please.
#[tokio::test]
async fn only_from_the_balancer() {
    let scene = Scene::new().await;
    let strangers = [None, Some(Peer::Address(IpAddr::from([192, 0, 2, 1]))), Some(Peer::UnixSocket)];
    for peer in strangers {
        let mut request = scene.request().header("dane-clientid-asserted", NAME).body(body("")).unwrap();
        request.extensions_mut().remove::<Peer>();
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let trusted = Rules { trusted_peers: "127.0.0.1, 10.0.0.0/8".parse().unwrap(), ..rules() };
        let (response, seen) = send(&scene, trusted, request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{peer:?}");
        assert!(seen.is_none());
    }
    assert!(scene.world.tlsa_queries().is_empty());
    for peer in ["127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3"] {
        let mut request = scene.request().header("dane-clientid-asserted", NAME).body(body("")).unwrap();
        request.extensions_mut().insert(Peer::Address(peer.parse().unwrap()));
        let trusted = Rules { trusted_peers: "127.0.0.1, 10.0.0.0/8".parse().unwrap(), ..rules() };
        assert_eq!(send(&scene, trusted, request).await.0.status(), StatusCode::OK, "{peer}");
    }
}

// HTTP-10: one name, wherever it stands.
#[tokio::test]
async fn header_and_body() {
    let scene = Scene::new().await;
    let json = |request: http::request::Builder| request.header("content-type", "application/json; charset=utf-8");
    let asserted = |request: http::request::Builder, name: &str| request.header("dane-clientid-asserted", name);
    let same = json(asserted(scene.request(), NAME)).body(body(r#"{"dane_clientid":"DEVICE1.example.com"}"#));
    assert_eq!(send(&scene, rules(), same.unwrap()).await.0.status(), StatusCode::OK);
    // Two names are not a choice.
    let differ = json(asserted(scene.request(), NAME)).body(body(r#"{"dane_clientid":"device2.example.com"}"#));
    let (response, seen) = send(&scene, rules(), differ.unwrap()).await;
    assert_eq!((response.status(), seen.is_some()), (StatusCode::FORBIDDEN, false));
    let alias = || json(scene.request()).body(body(r#"{"dane_id":"device1.example.com"}"#)).unwrap();
    assert_eq!(send(&scene, rules(), alias()).await.0.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(send(&scene, Rules { alias: true, ..rules() }, alias()).await.0.status(), StatusCode::OK);
    let both = json(scene.request())
        .body(body(r#"{"dane_id":"device1.example.com","dane_clientid":"device1.example.com"}"#))
        .unwrap();
    assert_eq!(send(&scene, Rules { alias: true, ..rules() }, both).await.0.status(), StatusCode::BAD_REQUEST);
    let twice = asserted(asserted(scene.request(), NAME), NAME).body(body("")).unwrap();
    assert_eq!(send(&scene, rules(), twice).await.0.status(), StatusCode::BAD_REQUEST);
    for (kind, text, status) in [
        ("text/plain", r#"{"dane_clientid":"device1.example.com"}"#, StatusCode::UNAUTHORIZED),
        ("application/json", "", StatusCode::UNAUTHORIZED),
        ("application/json", "[1, 2.5, null, true, \"dane_clientid\"]", StatusCode::UNAUTHORIZED),
        ("application/json", r#"{"in":{"dane_clientid":"device1.example.com"}}"#, StatusCode::UNAUTHORIZED),
        ("application/json", r#"{"dane_clientid":"device1.example.com""#, StatusCode::BAD_REQUEST),
        ("application/json", r#"{"dane_clientid":"device1.example.com"} x"#, StatusCode::BAD_REQUEST),
        (
            "application/json",
            r#"{"dane_clientid":"device1.example.com","d\u0061ne_clientid":"x"}"#,
            StatusCode::BAD_REQUEST,
        ),
        ("application/json", r#"{"dane_clientid":null}"#, StatusCode::BAD_REQUEST),
        ("application/x-www-form-urlencoded", "dane%5Fclientid=device1.example%2Ecom", StatusCode::OK),
        ("application/x-www-form-urlencoded", "a=1&dane_clientid", StatusCode::BAD_REQUEST),
        ("Application/JSON", r#"{"dane_clientid":"device1.example.com"}"#, StatusCode::OK),
    ] {
        let request = scene.request().header("content-type", kind).body(body(text)).unwrap();
        let (response, seen) = send(&scene, rules(), request).await;
        assert_eq!(response.status(), status, "{kind} {text}");
        let body = seen.map(|seen| seen.body);
        assert_eq!(body, (status == StatusCode::OK).then(|| Bytes::copy_from_slice(text.as_bytes())), "{kind} {text}");
    }
    let coded = json(scene.request()).header("content-encoding", "gzip").body(body("x")).unwrap();
    assert_eq!(send(&scene, rules(), coded).await.0.status(), StatusCode::BAD_REQUEST);
    let types = json(json(scene.request())).body(body(r#"{"dane_clientid":"device1.example.com"}"#)).unwrap();
    assert_eq!(send(&scene, rules(), types).await.0.status(), StatusCode::BAD_REQUEST);
}

// HTTP-12, HTTP-15, HTTP-19
#[tokio::test]
async fn answers() {
    let scene = Scene::new().await;
    let json = |text: &str| scene.request().header("content-type", "application/json").body(body(text)).unwrap();
    // A body that is too large, by what it says of itself or by what it is.
    let large = format!("{{\"dane_clientid\":\"{NAME}\",\"x\":\"{}\"}}", "x".repeat(200));
    let small = Rules { body_limit: 100, ..rules() };
    let (response, seen) = send(&scene, small, json(&large)).await;
    assert_eq!((response.status(), seen.is_some()), (StatusCode::PAYLOAD_TOO_LARGE, false));
    let (response, seen) = send(&scene, rules(), json(&large)).await;
    assert_eq!((response.status(), seen.is_some()), (StatusCode::OK, true));
    assert_eq!(response.headers().get("cache-control").unwrap(), "no-store");
    // A look-up that fails is no better than a client that does, unless that is to be told.
    let failing = r#"{"dane_clientid":"broken.example.com"}"#;
    assert_eq!(send(&scene, rules(), json(failing)).await.0.status(), StatusCode::UNAUTHORIZED);
    let transient = StatusRules { distinguish_transient: true, ..StatusRules::default() };
    let (response, _) = send(&scene, Rules { status: transient, ..rules() }, json(failing)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers().get("retry-after").unwrap(), "5");
    // 401 and 403 alike; 401 for what auth_request does not relay.
    let nobody = r#"{"v":1}"#;
    let (response, _) = send(&scene, Rules { realm: "devices".to_owned(), ..rules() }, json(nobody)).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers().get("www-authenticate").unwrap(), "DANE-TLS realm=\"devices\"");
    let uniform = StatusRules { uniform_failure: true, ..StatusRules::default() };
    assert_eq!(
        send(&scene, Rules { status: uniform, ..rules() }, json(nobody)).await.0.status(),
        StatusCode::FORBIDDEN
    );
    let relayed = StatusRules { relayed: true, ..StatusRules::default() };
    for text in ["{", &large, r#"{"dane_clientid":"device1.attacker.net"}"#] {
        let rules = Rules { status: relayed, body_limit: 100, ..rules() };
        let (response, _) = send(&scene, rules, json(text)).await;
        let expected = if text.contains("attacker") { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
        assert_eq!(response.status(), expected, "{text}");
    }
}

// HTTP-10: trailers come after the body that was read.
#[tokio::test]
async fn trailers_are_kept() {
    let scene = Scene::new().await;
    let checker = scene.checker(rules());
    let trailers = || {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "1".parse().unwrap());
        async move { Some(Ok(trailers)) }
    };
    let seen = Arc::new(Mutex::new(None));
    let application = {
        let seen = Arc::clone(&seen);
        tower::service_fn(move |request: Request<dance_http::CheckedBody<_>>| {
            let seen = Arc::clone(&seen);
            async move {
                let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap();
                *seen.lock().unwrap() = body.trailers().cloned();
                Ok::<_, Infallible>(Response::new(String::new()))
            }
        })
    };
    let service = DaneLayer::new(checker).layer(application);
    let sent = body(r#"{"dane_clientid":"device1.example.com"}"#).with_trailers(trailers());
    let request = scene.request().header("content-type", "application/json").body(sent).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), StatusCode::OK);
    assert_eq!(seen.lock().unwrap().as_ref().unwrap().get("x-checksum").unwrap(), "1");
}
