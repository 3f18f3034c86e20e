//! Requests through the layer, over a signed world: what the client is told, what the application gets, what DNS is asked.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dance_core::clientid::Profile;
use dance_core::matching::MatchOptions;
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::verdict::Settings;
use dance_http::{AuthenticatedClient, Checker, DaneLayer, ForwardedBy, Peer, Rules, StatusRules};
use dance_resolver::{Limits, Resolver, ResolverConfig, Servers, TrustAnchorSource, Verifier};
use dance_testkit::{CertSpec, Fault, Identity, SignedWorld, Zone};
use data_encoding::BASE64;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tower::{Layer as _, ServiceExt as _};

/// What the application got.
#[derive(Debug)]
struct Seen {
    headers: HeaderMap,
    body: Bytes,
    client: String,
}

struct Scene {
    world: SignedWorld,
    client: Identity,
    other: Identity,
}

const NAME: &str = "device1.example.com";

impl Scene {
    async fn new() -> Self {
        let client = CertSpec::client(NAME).self_signed().unwrap();
        let other = CertSpec::client(NAME).self_signed().unwrap();
        let record = client.tlsa_311().unwrap();
        let world = SignedWorld::builder()
            .zone(Zone::new("com"))
            .zone(Zone::new("example.com").tlsa(NAME, &record, 300).tlsa("broken.example.com", &record, 300))
            .zone(Zone::unsigned("insecure.com").tlsa("device1.insecure.com", &record, 300))
            .fault("broken.example.com", Fault::Servfail)
            .start()
            .await
            .unwrap();
        Self { world, client, other }
    }

    fn checker(&self, rules: Rules) -> Arc<Checker<Resolver>> {
        let config = ResolverConfig {
            servers: Servers::List(vec![self.world.addr().into()]),
            trust_anchor: TrustAnchorSource::Text(self.world.trust_anchor_text().to_owned()),
            ..ResolverConfig::default()
        };
        let settings = Settings {
            profile: Profile::Current,
            policy: Policy::Require,
            on_lookup_failure: OnLookupFailure::Abort,
            allow_list: AllowList::parse(["*.example.com", "*.insecure.com"]).unwrap(),
            service_label: None,
            derive_without_signal: false,
            wildcard_ee: WildcardEndEntity::Accept,
            matching: MatchOptions::default(),
        };
        let source = Arc::new(Resolver::new(config).unwrap());
        let verifier = Verifier::new(Arc::new(settings), source, Limits::default()).unwrap();
        Arc::new(Checker::new(rules, Arc::new(verifier)))
    }

    /// Sends a request; what the answer was, and what came through.
    async fn send(&self, rules: Rules, request: Request<Full<Bytes>>) -> (Response<String>, Option<Seen>) {
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
        let service = DaneLayer::new(self.checker(rules)).layer(application);
        let response = service.oneshot(request).await.unwrap();
        let seen = seen.lock().unwrap().take();
        (response, seen)
    }

    fn forwarded(&self, identity: &Identity) -> String {
        format!(":{}:", BASE64.encode(identity.leaf_der()))
    }

    /// A request that is all right, from the balancer.
    fn request(&self) -> http::request::Builder {
        Request::builder()
            .method("POST")
            .uri("/")
            .extension(Peer::Address(IpAddr::from([127, 0, 0, 1])))
            .header("client-cert", self.forwarded(&self.client))
    }
}

fn rules() -> Rules {
    Rules::new(ForwardedBy::rfc9440())
}

fn body(text: &str) -> Full<Bytes> {
    Full::new(Bytes::copy_from_slice(text.as_bytes()))
}

// HTTP-10, HTTP-11, HTTP-12, HTTP-13
#[tokio::test]
async fn the_vectors() {
    let scene = Scene::new().await;
    let vectors: Value = serde_json::from_str(include_str!("../../../spec/vectors/vectors.json")).unwrap();
    for case in vectors.pointer("/http/cooperative").unwrap().as_array().unwrap() {
        let text = |member: &str| case.get(member).and_then(Value::as_str);
        let name = text("name").unwrap();
        scene.world.clear_log();
        let certificate = scene.forwarded(if name == "TLSA does not match" { &scene.other } else { &scene.client });
        let mut request = Request::builder().method("POST").extension(Peer::Address(IpAddr::from([127, 0, 0, 1])));
        match case.get("client_cert") {
            None => request = request.header("client-cert", &certificate),
            Some(Value::Null) => {}
            Some(_) => request = request.header("client-cert", &certificate).header("client-cert", &certificate),
        }
        let mut sent = text("body").unwrap().to_owned();
        if name == "DNS answer insecure" {
            sent = sent.replace("example.com", "insecure.com");
        }
        let request = request.header("content-type", text("content_type").unwrap()).body(body(&sent)).unwrap();
        let (response, seen) = scene.send(rules(), request).await;
        match case.get("status").and_then(Value::as_u64) {
            Some(status) => {
                assert_eq!(u64::from(response.status().as_u16()), status, "{name}");
                assert!(seen.is_none(), "{name}");
                assert_eq!(response.body(), "", "{name}");
                assert_eq!(response.headers().contains_key("www-authenticate"), status == 401, "{name}");
            }
            None => {
                assert_eq!(response.status(), StatusCode::OK, "{name}");
                let seen = seen.unwrap();
                assert_eq!(seen.client, text("client_name").unwrap(), "{name}");
                assert_eq!(seen.body, sent.as_bytes(), "{name}");
            }
        }
        if let Some(queries) = case.get("tlsa_queries_sent").and_then(Value::as_u64) {
            assert_eq!(scene.world.tlsa_queries().len() as u64, queries, "{name}");
        }
    }
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
    let (response, seen) = scene.send(rules(), request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let seen = seen.unwrap();
    let fields: Vec<_> = seen.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let certificate = scene.forwarded(&scene.client);
    let mut expected = vec![("client-cert", certificate.as_str()), ("x-other", "stays"), ("dane-clientid", NAME)];
    expected.sort_unstable();
    let mut found = fields.clone();
    found.sort_unstable();
    assert_eq!(found, expected);
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
        let (response, seen) = scene.send(trusted, request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{peer:?}");
        assert!(seen.is_none());
    }
    assert!(scene.world.tlsa_queries().is_empty());
    for peer in ["127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3"] {
        let mut request = scene.request().header("dane-clientid-asserted", NAME).body(body("")).unwrap();
        request.extensions_mut().insert(Peer::Address(peer.parse().unwrap()));
        let trusted = Rules { trusted_peers: "127.0.0.1, 10.0.0.0/8".parse().unwrap(), ..rules() };
        assert_eq!(scene.send(trusted, request).await.0.status(), StatusCode::OK, "{peer}");
    }
}

// HTTP-10: one name, wherever it stands.
#[tokio::test]
async fn header_and_body() {
    let scene = Scene::new().await;
    let json = |request: http::request::Builder| request.header("content-type", "application/json; charset=utf-8");
    let asserted = |request: http::request::Builder, name: &str| request.header("dane-clientid-asserted", name);
    let same = json(asserted(scene.request(), NAME)).body(body(r#"{"dane_clientid":"DEVICE1.example.com"}"#));
    assert_eq!(scene.send(rules(), same.unwrap()).await.0.status(), StatusCode::OK);
    // Two names are not a choice.
    let differ = json(asserted(scene.request(), NAME)).body(body(r#"{"dane_clientid":"device2.example.com"}"#));
    let (response, seen) = scene.send(rules(), differ.unwrap()).await;
    assert_eq!((response.status(), seen.is_some()), (StatusCode::FORBIDDEN, false));
    let alias = || json(scene.request()).body(body(r#"{"dane_id":"device1.example.com"}"#)).unwrap();
    assert_eq!(scene.send(rules(), alias()).await.0.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(scene.send(Rules { alias: true, ..rules() }, alias()).await.0.status(), StatusCode::OK);
    let both = json(scene.request())
        .body(body(r#"{"dane_id":"device1.example.com","dane_clientid":"device1.example.com"}"#))
        .unwrap();
    assert_eq!(scene.send(Rules { alias: true, ..rules() }, both).await.0.status(), StatusCode::BAD_REQUEST);
    let twice = asserted(asserted(scene.request(), NAME), NAME).body(body("")).unwrap();
    assert_eq!(scene.send(rules(), twice).await.0.status(), StatusCode::BAD_REQUEST);
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
        let (response, seen) = scene.send(rules(), request).await;
        assert_eq!(response.status(), status, "{kind} {text}");
        assert_eq!(seen.is_some(), status == StatusCode::OK, "{kind} {text}");
    }
    let coded = json(scene.request()).header("content-encoding", "gzip").body(body("x")).unwrap();
    assert_eq!(scene.send(rules(), coded).await.0.status(), StatusCode::BAD_REQUEST);
    let types = json(json(scene.request())).body(body(r#"{"dane_clientid":"device1.example.com"}"#)).unwrap();
    assert_eq!(scene.send(rules(), types).await.0.status(), StatusCode::BAD_REQUEST);
}

// HTTP-12, HTTP-15, HTTP-19
#[tokio::test]
async fn answers() {
    let scene = Scene::new().await;
    let json = |text: &str| scene.request().header("content-type", "application/json").body(body(text)).unwrap();
    // A body that is too large, by what it says of itself or by what it is.
    let large = format!("{{\"dane_clientid\":\"{NAME}\",\"x\":\"{}\"}}", "x".repeat(200));
    let small = Rules { body_limit: 100, ..rules() };
    let (response, seen) = scene.send(small, json(&large)).await;
    assert_eq!((response.status(), seen.is_some()), (StatusCode::PAYLOAD_TOO_LARGE, false));
    let (response, seen) = scene.send(rules(), json(&large)).await;
    assert_eq!((response.status(), seen.is_some()), (StatusCode::OK, true));
    assert_eq!(response.headers().get("cache-control").unwrap(), "no-store");
    // A look-up that fails is no better than a client that does, unless that is to be told.
    let failing = r#"{"dane_clientid":"broken.example.com"}"#;
    assert_eq!(scene.send(rules(), json(failing)).await.0.status(), StatusCode::UNAUTHORIZED);
    let transient = StatusRules { distinguish_transient: true, ..StatusRules::default() };
    let (response, _) = scene.send(Rules { status: transient, ..rules() }, json(failing)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers().get("retry-after").unwrap(), "5");
    // 401 and 403 alike; 401 for what auth_request does not relay.
    let nobody = r#"{"v":1}"#;
    let (response, _) = scene.send(Rules { realm: "devices".to_owned(), ..rules() }, json(nobody)).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers().get("www-authenticate").unwrap(), "DANE-TLS realm=\"devices\"");
    let uniform = StatusRules { uniform_failure: true, ..StatusRules::default() };
    assert_eq!(scene.send(Rules { status: uniform, ..rules() }, json(nobody)).await.0.status(), StatusCode::FORBIDDEN);
    let relayed = StatusRules { relayed: true, ..StatusRules::default() };
    for text in ["{", &large, r#"{"dane_clientid":"device1.attacker.net"}"#] {
        let rules = Rules { status: relayed, body_limit: 100, ..rules() };
        let (response, _) = scene.send(rules, json(text)).await;
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
