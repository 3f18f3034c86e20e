//! What one request is answered.

use bytes::Bytes;
use dance_auth_service::Config;
use dance_auth_service::config::{ForwardedBySetting, NameFromSetting};
use dance_http::Dialect;
use data_encoding::BASE64;
use http::{Method, Request, Version};
use http_body_util::Full;
use serde_json::Value;

use crate::lab::{Lab, NAME, text};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

// HTTP-10, HTTP-12: hooks ask with the original's method and path, or with their own.
#[tokio::test]
async fn are_answered_alike_for_every_method_and_path() {
    let lab = Lab::new().await;
    let service = lab.start(&lab.config());
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"];
    for version in VERSIONS {
        for (method, path) in methods.into_iter().zip(["/", "/auth?x=1", "/metrics", "/a/../b"].into_iter().cycle()) {
            let request = |builder: http::request::Builder| {
                let uri = format!("http://auth.test{path}");
                builder.method(Method::from_bytes(method.as_bytes()).unwrap()).uri(uri).body(Full::default()).unwrap()
            };
            let good = request(lab.request().header("dane-clientid-asserted", NAME));
            service.send(version, good).await.assert_welcome(NAME);
            let bad = request(Request::builder().header("dane-clientid-asserted", NAME));
            service.send(version, bad).await.assert_refused(401, method);
        }
    }
}

// HTTP-10, HTTP-11, HTTP-12, HTTP-13
#[tokio::test]
async fn are_answered_as_the_vectors_say() {
    let vectors: Value = serde_json::from_str(include_str!("../../../../spec/vectors/vectors.json")).unwrap();
    for version in VERSIONS {
        let lab = Lab::new().await;
        let service = lab.start(&lab.config());
        for case in vectors.pointer("/http/cooperative").unwrap().as_array().unwrap() {
            let member = |member: &str| case.get(member).and_then(Value::as_str);
            let what = member("name").unwrap();
            lab.world.clear_log();
            let certificate = lab.forwarded(if what == "TLSA does not match" { &lab.other } else { &lab.client });
            let mut request = Request::builder().method("POST").uri("http://auth.test/new");
            for _ in 0..match case.get("client_cert") {
                None => 1,
                Some(Value::Null) => 0,
                Some(_) => 2,
            } {
                request = request.header("client-cert", &certificate);
            }
            let mut body = member("body").unwrap().to_owned();
            if what == "DNS answer insecure" {
                body = body.replace("example.com", "insecure.com");
            }
            let request = request.header("content-type", member("content_type").unwrap()).body(text(&body)).unwrap();
            let answer = service.send(version, request).await;
            match case.get("status").and_then(Value::as_u64) {
                Some(status) => answer.assert_refused(u16::try_from(status).unwrap(), what),
                None => answer.assert_welcome(member("client_name").unwrap()),
            }
            if let Some(queries) = case.get("tlsa_queries_sent").and_then(Value::as_u64) {
                assert!(lab.world.tlsa_queries().len() as u64 <= queries, "{what}");
            }
            if what.contains("allow") {
                assert!(lab.world.queries().is_empty(), "{what}");
            }
        }
    }
}

// HTTP-10: nginx asks by GET with the original's Content-Type and no body.
#[tokio::test]
async fn may_speak_of_a_body_that_does_not_come() {
    let lab = Lab::new().await;
    let service = lab.start(&lab.config());
    for kind in ["application/json", "application/x-www-form-urlencoded", "multipart/form-data", "application/grpc"] {
        let get = lab.request().header("content-type", kind);
        let named = get.header("dane-clientid-asserted", NAME).body(Full::default()).unwrap();
        service.get(named).await.assert_welcome(NAME);
        let unnamed = lab.request().header("content-type", kind).body(Full::default()).unwrap();
        service.get(unnamed).await.assert_refused(401, kind);
    }
    // A coding that nothing comes in: the name in the header is enough where bodies do not count.
    let coded = || {
        let request = lab.request().header("content-type", "application/json").header("content-encoding", "gzip");
        request.header("dane-clientid-asserted", NAME).body(Full::default()).unwrap()
    };
    service.get(coded()).await.assert_refused(400, "gzip");
    let header_only = lab.start(&Config { name_from: NameFromSetting::Header, ..lab.config() });
    header_only.get(coded()).await.assert_welcome(NAME);
}

// HTTP-10: as nginx asks where nobody has told it otherwise.
#[tokio::test]
async fn in_http_1_0_are_answered() {
    let lab = Lab::new().await;
    let service = lab.start(&lab.config());
    let request = |name: &str| {
        let certificate = lab.forwarded(&lab.client);
        format!("GET / HTTP/1.0\r\nClient-Cert: {certificate}\r\nDane-Clientid-Asserted: {name}\r\n\r\n")
    };
    let answer = service.raw(&request(NAME)).await;
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.contains(&format!("dane-clientid: {NAME}\r\n")), "{answer}");
    assert!(service.raw(&request("a.attacker.net")).await.starts_with("HTTP/1.0 403 "));
}

// HTTP-14: over HTTP the status is the answer, whatever the request looks like: a client that has its balancer's hook ask in the form
// of a gRPC call must not get gRPC's 200.
#[tokio::test]
async fn that_look_like_grpc_are_requests_like_others() {
    let lab = Lab::new().await;
    let service = lab.start(&lab.config());
    for version in VERSIONS {
        let call = |builder: http::request::Builder| {
            let uri = "http://auth.test/envoy.service.auth.v3.Authorization/Check";
            let call =
                builder.method("POST").uri(uri).header("content-type", "application/grpc").header("te", "trailers");
            call.body(text("\0\0\0\0\0")).unwrap()
        };
        service.send(version, call(Request::builder())).await.assert_refused(401, "no certificate");
        service.send(version, call(lab.request())).await.assert_refused(401, "no name");
        let stranger = lab.request().header("dane-clientid-asserted", "device1.attacker.net");
        service.send(version, call(stranger)).await.assert_refused(403, "stranger");
        let named = lab.request().header("dane-clientid-asserted", NAME);
        service.send(version, call(named)).await.assert_welcome(NAME);
    }
}

// HTTP-03, HTTP-10, HTTP-13, HTTP-14
#[tokio::test]
async fn with_forged_or_doubtful_fields_are_refused() {
    let lab = Lab::new().await;
    let service = lab.start(&lab.config());
    let certificate = lab.forwarded(&lab.client);
    let send = async |status: u16, fields: &[(&str, &str)]| {
        let mut request = Request::builder().uri("http://auth.test/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        for version in VERSIONS {
            let answer = service.send(version, request_clone(&request)).await;
            if status == 200 {
                answer.assert_welcome(NAME)
            } else {
                answer.assert_refused(status, &format!("{fields:?}"))
            }
        }
    };
    let (cert, name) = (("client-cert", certificate.as_str()), ("dane-clientid-asserted", NAME));
    send(200, &[cert, name]).await;
    // Names of other kinds say nothing.
    send(401, &[cert, ("dane-clientid", NAME)]).await;
    send(401, &[cert, ("dane_clientid_asserted", NAME)]).await;
    send(401, &[("client_cert", &certificate), name]).await;
    send(200, &[cert, name, ("dane-clientid", "admin.example.com"), ("client_cert", "x")]).await;
    // Twice, or not what it should be.
    send(400, &[cert, name, name]).await;
    send(400, &[cert, cert, name]).await;
    send(400, &[("client-cert-chain", &certificate), name]).await;
    send(400, &[("client-cert", certificate.trim_matches(':')), name]).await;
    send(400, &[("client-cert", "::"), name]).await;
    send(400, &[cert, ("dane-clientid-asserted", "a b")]).await;
    send(400, &[cert, ("dane-clientid-asserted", "")]).await;
    let other = lab.forwarded(&lab.other);
    send(401, &[("client-cert", &other), name]).await;
    // An empty field is a balancer that has seen no certificate.
    send(401, &[("client-cert", ""), name]).await;
}

fn request_clone(request: &http::request::Builder) -> Request<Full<Bytes>> {
    let mut clone = Request::builder().uri(request.uri_ref().unwrap().clone());
    *clone.headers_mut().unwrap() = request.headers_ref().unwrap().clone();
    clone.body(Full::default()).unwrap()
}

// HTTP-08, HTTP-14: the fields of the configured dialect count, and no others.
#[tokio::test]
async fn are_read_in_the_configured_dialect_alone() {
    let lab = Lab::new().await;
    let escaped =
        percent_encoding::utf8_percent_encode(&lab.client.chain_pem(), percent_encoding::NON_ALPHANUMERIC).to_string();
    let base64 = BASE64.encode(lab.client.leaf_der());
    let xfcc = format!("Hash=00;Cert=\"{escaped}\"");
    let all = [
        (Dialect::Rfc9440, "client-cert", lab.forwarded(&lab.client)),
        (Dialect::EscapedPem, "x-pem", escaped),
        (Dialect::Base64Der, "x-der", base64.clone()),
        (Dialect::Xfcc, "x-forwarded-client-cert", xfcc),
        (Dialect::Traefik, "x-forwarded-tls-client-cert", base64),
    ];
    for (dialect, field, _) in &all {
        let forwarded_by = Some(ForwardedBySetting::Dialect(*dialect));
        let service =
            lab.start(&Config { forwarded_by, certificate_header: Some((*field).to_owned()), ..lab.config() });
        for (other, written, value) in &all {
            let request = Request::builder().uri("http://auth.test/").header(*written, value);
            let request = request.header("dane-clientid-asserted", NAME).body(Full::default()).unwrap();
            let answer = service.get(request).await;
            if dialect == other {
                answer.assert_welcome(NAME);
            } else {
                answer.assert_refused(401, &format!("{dialect:?} {other:?}"));
            }
        }
    }
}

// HTTP-12, HTTP-15: what a refusal becomes is a matter of who asks.
#[tokio::test]
async fn are_refused_as_configured() {
    let lab = Lab::new().await;
    let named = |name: &str| lab.request().header("dane-clientid-asserted", name).body(Full::default()).unwrap();
    let cases = |config: Config| {
        let service = lab.start(&config);
        async move {
            let mut found = Vec::new();
            for name in ["broken.example.com", "none.example.com", "a.attacker.net", ".."] {
                let answer = service.get(named(name)).await;
                if answer.status == 503 {
                    assert_eq!(answer.field("retry-after"), Some("5"));
                }
                answer.assert_refused(answer.status.as_u16(), name);
                found.push(answer.status.as_u16());
            }
            service.get(named(NAME)).await.assert_welcome(NAME);
            found
        }
    };
    assert_eq!(cases(lab.config()).await, [401, 401, 403, 400]);
    assert_eq!(cases(Config { distinguish_transient: true, ..lab.config() }).await, [503, 401, 403, 400]);
    assert_eq!(cases(Config { uniform_failure: true, ..lab.config() }).await, [403, 403, 403, 400]);
    let relayed = Config { relay_401_and_403_only: true, distinguish_transient: true, ..lab.config() };
    assert_eq!(cases(relayed).await, [401, 401, 403, 401]);
    let service = lab.start(&Config { realm: "devices".to_owned(), header: "X-Who".to_owned(), ..lab.config() });
    let refused = service.get(named("none.example.com")).await;
    assert_eq!(refused.field("www-authenticate"), Some("DANE-TLS realm=\"devices\""));
    let welcome = service.get(named(NAME)).await;
    assert_eq!((welcome.field("x-who"), welcome.field("dane-clientid")), (Some(NAME), None));
}

// HTTP-14
#[tokio::test]
async fn of_others_than_the_balancer_are_refused() {
    let lab = Lab::new().await;
    for (trusted, welcome) in [("unix", false), ("10.0.0.0/8", false), ("127.0.0.1", true), ("127.0.0.0/8", true)] {
        let service = lab.start(&Config { trusted_peers: vec![trusted.to_owned()], ..lab.config() });
        let answer = service.get(lab.good()).await;
        if welcome {
            answer.assert_welcome(NAME)
        } else {
            answer.assert_refused(401, trusted)
        }
        assert_eq!(lab.world.tlsa_queries().is_empty(), !welcome, "{trusted}");
    }
}
