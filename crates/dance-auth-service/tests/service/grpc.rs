//! Envoy's `ext_authz` over gRPC, asked by the client that is generated from the published protocol.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use dance_auth_service::Config;
use dance_auth_service::config::{ForwardedBySetting, NameFromSetting, Protocol};
use dance_core::reason::Reason;
use dance_daemon::Span;
use dance_daemon::dns::{DnsConfig, LimitsConfig};
use dance_http::Dialect;
use dance_testkit::Identity;
use envoy_types::pb::envoy::config::core::v3::address::Address as Place;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{Address, HeaderMap, HeaderValue, HeaderValueOption, SocketAddress};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use http::Version;
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::lab::{Lab, NAME, Running, text};

fn config(lab: &Lab) -> Config {
    Config { forwarded_by: Some(ForwardedBySetting::ExtAuthz), ..lab.config() }
}

async fn channel(service: &Running) -> Channel {
    Endpoint::from_shared(format!("http://{}", service.address())).unwrap().connect().await.unwrap()
}

async fn client(service: &Running) -> AuthorizationClient<Channel> {
    AuthorizationClient::new(channel(service).await)
}

fn escaped(identity: &Identity) -> String {
    utf8_percent_encode(&identity.chain_pem(), NON_ALPHANUMERIC).to_string()
}

/// What Envoy asks: the certificate that it has seen, and the request.
fn question(certificate: &str, http: HttpRequest) -> CheckRequest {
    let socket = SocketAddress { address: "192.0.2.7".to_owned(), ..SocketAddress::default() };
    let source = Peer {
        address: Some(Address { address: Some(Place::SocketAddress(socket)) }),
        certificate: certificate.to_owned(),
        ..Peer::default()
    };
    let request = Request { http: Some(http), ..Request::default() };
    let attributes = AttributeContext { source: Some(source), request: Some(request), ..AttributeContext::default() };
    CheckRequest { attributes: Some(attributes) }
}

/// A request with these fields, and those that Envoy always has.
fn with(fields: &[(&str, &str)]) -> HttpRequest {
    let pseudo = [(":method", "POST"), (":path", "/new"), (":authority", "a.test"), (":scheme", "https")];
    let headers = pseudo.iter().chain(fields).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    HttpRequest { headers: headers.collect(), ..HttpRequest::default() }
}

fn named(name: &str) -> HttpRequest {
    with(&[("dane-clientid-asserted", name)])
}

fn json(body: &str) -> HttpRequest {
    HttpRequest { body: body.to_owned(), ..with(&[("content-type", "application/json")]) }
}

/// Who the client is, or what the client is told.
fn outcome(response: Result<tonic::Response<CheckResponse>, Status>) -> Result<String, u16> {
    let response = response.unwrap().into_inner();
    let status = Code::from(response.status.unwrap().code);
    match response.http_response.unwrap() {
        HttpResponse::OkResponse(ok) => {
            assert_eq!(status, Code::Ok);
            let [identity] = ok.headers.as_slice() else { panic!("{:?}", ok.headers) };
            assert_eq!(identity.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
            let header = identity.header.as_ref().unwrap();
            assert_eq!(header.key, "dane-clientid");
            // Envoy removes after it has set.
            assert!(!ok.headers_to_remove.contains(&header.key));
            assert!(ok.response_headers_to_add.is_empty());
            Ok(header.value.clone())
        }
        HttpResponse::DeniedResponse(denied) => {
            let code = u16::try_from(denied.status.as_ref().unwrap().code).unwrap();
            assert_eq!(status, if code == 401 { Code::Unauthenticated } else { Code::PermissionDenied });
            assert_eq!(denied.body, "");
            assert_eq!(value(&denied.headers, "cache-control").as_deref(), Some("no-store"));
            assert_eq!(value(&denied.headers, "www-authenticate").is_some(), code == 401);
            Err(code)
        }
        HttpResponse::ErrorResponse(error) => panic!("{error:?}"),
    }
}

fn value(headers: &[HeaderValueOption], key: &str) -> Option<String> {
    headers.iter().filter_map(|option| option.header.as_ref()).find(|header| header.key == key).map(|h| h.value.clone())
}

// HTTP-10, HTTP-11, HTTP-12, HTTP-13: the vectors, with what takes the fields' place.
#[tokio::test]
async fn is_answered_as_the_vectors_say() {
    let lab = Lab::new().await;
    let service = lab.start(&config(&lab));
    let mut client = client(&service).await;
    let vectors: Value = serde_json::from_str(include_str!("../../../../spec/vectors/vectors.json")).unwrap();
    for case in vectors.pointer("/http/cooperative").unwrap().as_array().unwrap() {
        let member = |member: &str| case.get(member).and_then(Value::as_str);
        let what = member("name").unwrap();
        let certificate = match case.get("client_cert") {
            None if what == "TLSA does not match" => escaped(&lab.other),
            None => escaped(&lab.client),
            Some(Value::Null) => String::new(),
            // Envoy has but one; what several would be is another test's.
            Some(_) => continue,
        };
        let mut body = member("body").unwrap().to_owned();
        if what == "DNS answer insecure" {
            body = body.replace("example.com", "insecure.com");
        }
        let fields = with(&[("content-type", member("content_type").unwrap())]);
        let expected = match case.get("status").and_then(Value::as_u64) {
            Some(status) => Err(u16::try_from(status).unwrap()),
            None => Ok(member("client_name").unwrap().to_owned()),
        };
        let as_text = HttpRequest { body: body.clone(), ..fields.clone() };
        assert_eq!(outcome(client.check(question(&certificate, as_text)).await), expected, "{what}");
        let as_octets = HttpRequest { raw_body: body.into_bytes(), ..fields };
        assert_eq!(outcome(client.check(question(&certificate, as_octets)).await), expected, "{what}");
    }
}

// HTTP-02, HTTP-03: what the application sees of identity is what the service says, however the outside spells it.
#[tokio::test]
async fn replaces_what_comes_from_outside() {
    let lab = Lab::new().await;
    let service = lab.start(&config(&lab));
    let mut client = client(&service).await;
    let forged = [
        "dane-clientid",
        "dane_clientid",
        "dane.clientid",
        "client-cert",
        "client_cert-chain",
        "dane_clientid-asserted",
    ];
    let mut fields: Vec<_> = forged.into_iter().map(|name| (name, "admin.example.com")).collect();
    fields.extend([("dane-clientid-asserted", NAME), ("x-other", "stays")]);
    let response = client.check(question(&escaped(&lab.client), with(&fields))).await;
    assert_eq!(outcome(response).unwrap(), NAME);
    let response = client.check(question(&escaped(&lab.client), with(&fields))).await.unwrap().into_inner();
    let Some(HttpResponse::OkResponse(ok)) = response.http_response else { panic!("{response:?}") };
    let removed = |name: &str| ok.headers_to_remove.iter().any(|removed| removed == name);
    for name in forged.iter().filter(|name| **name != "dane-clientid") {
        assert!(removed(name), "{name} in {:?}", ok.headers_to_remove);
    }
    assert!(!removed("x-other") && !removed(":path"));
    // Those that Envoy was told not to show.
    let response = client.check(question(&escaped(&lab.client), named(NAME))).await.unwrap().into_inner();
    let Some(HttpResponse::OkResponse(ok)) = response.http_response else { panic!("{response:?}") };
    for name in ["dane-clientid-asserted", "dane_clientid", "client-cert", "client_cert", "client_cert_chain"] {
        assert!(ok.headers_to_remove.iter().any(|removed| removed == name), "{name}");
    }
}

// HTTP-14: Envoy states the certificate; no field does.
#[tokio::test]
async fn takes_the_certificate_from_envoy_alone() {
    let lab = Lab::new().await;
    let service = lab.start(&config(&lab));
    let mut client = client(&service).await;
    let (rfc9440, pem) = (lab.forwarded(&lab.client), escaped(&lab.client));
    let xfcc = format!("Hash=00;Cert=\"{pem}\"");
    let claims = [
        ("client-cert", rfc9440.as_str()),
        ("x-forwarded-client-cert", &xfcc),
        ("x-client-cert", &pem),
        ("dane-clientid-asserted", NAME),
    ];
    assert_eq!(outcome(client.check(question("", with(&claims))).await), Err(401));
    assert_eq!(outcome(client.check(question(&escaped(&lab.other), with(&claims))).await), Err(401));
    assert_eq!(outcome(client.check(question(&pem, with(&claims))).await), Ok(NAME.to_owned()));
    for broken in ["x", "%ff", &pem[..pem.len() / 2], &format!("{pem}x"), &rfc9440] {
        assert_eq!(outcome(client.check(question(broken, named(NAME))).await), Err(400), "{broken}");
    }
    // Where Envoy is configured to write a field, that one counts, and what it states beside it does not.
    let dialect = Some(ForwardedBySetting::Dialect(Dialect::Xfcc));
    let service = lab.start(&Config { forwarded_by: dialect, protocol: Some(Protocol::Grpc), ..lab.config() });
    let mut client = AuthorizationClient::new(channel(&service).await);
    assert_eq!(outcome(client.check(question("", with(&claims))).await), Ok(NAME.to_owned()));
    assert_eq!(outcome(client.check(question(&pem, named(NAME))).await), Err(401));
}

// HTTP-10, HTTP-13: both forms of the list of fields, and a name in each.
#[tokio::test]
async fn reads_both_lists_of_fields_strictly() {
    let lab = Lab::new().await;
    let service = lab.start(&config(&lab));
    let mut client = client(&service).await;
    let certificate = escaped(&lab.client);
    let plain =
        |key: &str, value: &str| HeaderValue { key: key.to_owned(), value: value.to_owned(), ..HeaderValue::default() };
    let raw = |key: &str, value: &[u8]| HeaderValue {
        key: key.to_owned(),
        raw_value: value.to_vec(),
        ..HeaderValue::default()
    };
    let asserted = "dane-clientid-asserted";
    let cases: [(HttpRequest, Vec<HeaderValue>, Result<&str, u16>); 10] = [
        (named(NAME), vec![], Ok(NAME)),
        (with(&[]), vec![plain(asserted, NAME)], Ok(NAME)),
        (with(&[]), vec![raw(asserted, NAME.as_bytes()), raw(":path", b"/")], Ok(NAME)),
        (with(&[]), vec![raw("Dane-Clientid-Asserted", NAME.as_bytes())], Ok(NAME)),
        (with(&[]), vec![raw(asserted, NAME.as_bytes()), raw(asserted, NAME.as_bytes())], Err(400)),
        (with(&[]), vec![HeaderValue { raw_value: NAME.into(), ..plain(asserted, NAME) }], Err(400)),
        (named(NAME), vec![raw(asserted, b"device2.example.com")], Err(400)),
        // As Envoy merges several.
        (named("device1.example.com,device1.example.com"), vec![], Err(400)),
        (with(&[]), vec![raw(asserted, b"device1.example.com\n")], Err(400)),
        (with(&[]), vec![raw("dane_clientid_asserted", NAME.as_bytes()), raw("\0", b"x")], Err(401)),
    ];
    for (http, headers, expected) in cases {
        let what = format!("{http:?} {headers:?}");
        let http = HttpRequest { header_map: Some(HeaderMap { headers }), ..http };
        let found = outcome(client.check(question(&certificate, http)).await);
        assert_eq!(found, expected.map(str::to_owned), "{what}");
    }
    // More than can be held.
    let many = (0..40_000).map(|number| raw(&format!("x{number}"), b"")).collect();
    let http = HttpRequest { header_map: Some(HeaderMap { headers: many }), ..named(NAME) };
    assert_eq!(outcome(client.check(question(&certificate, http)).await), Err(413));
}

// HTTP-10, HTTP-13
#[tokio::test]
async fn reads_bodies_up_to_their_limit() {
    let lab = Lab::new().await;
    let service = lab.start(&Config { body_limit: 1000, ..config(&lab) });
    let mut client = client(&service).await;
    let certificate = escaped(&lab.client);
    let body = format!("{{\"dane_clientid\":\"{NAME}\"}}");
    let long = format!("{body}{}", " ".repeat(1000));
    let mut ask = async |http| outcome(client.check(question(&certificate, http)).await);
    assert_eq!(ask(json(&body)).await, Ok(NAME.to_owned()));
    assert_eq!(ask(json(&long)).await, Err(413));
    assert_eq!(ask(HttpRequest { raw_body: long.clone().into(), ..json("") }).await, Err(413));
    // Two bodies, one name cut off, two names.
    assert_eq!(ask(HttpRequest { raw_body: body.clone().into(), ..json(&body) }).await, Err(400));
    let partial = with(&[("content-type", "application/json"), ("x-envoy-auth-partial-body", "true")]);
    assert_eq!(ask(HttpRequest { body: body.clone(), ..partial }).await, Err(413));
    let whole = with(&[("content-type", "application/json"), ("x-envoy-auth-partial-body", "false")]);
    assert_eq!(ask(HttpRequest { body: body.clone(), ..whole }).await, Ok(NAME.to_owned()));
    let both = with(&[("content-type", "application/json"), ("dane-clientid-asserted", "device2.example.com")]);
    assert_eq!(ask(HttpRequest { body: body.clone(), ..both }).await, Err(403));
    // A body that does not count is not looked at.
    let header_only = lab.start(&Config { body_limit: 10, name_from: NameFromSetting::Header, ..config(&lab) });
    let mut client = AuthorizationClient::new(channel(&header_only).await);
    let long = HttpRequest { body: long, ..named(NAME) };
    assert_eq!(outcome(client.check(question(&certificate, long)).await), Ok(NAME.to_owned()));
}

// HTTP-12, HTTP-13: what is missing is no error of gRPC's, which an Envoy may be told to let pass.
#[tokio::test]
async fn denies_what_says_nothing() {
    let lab = Lab::new().await;
    let service = lab.start(&config(&lab));
    let mut client = client(&service).await;
    assert_eq!(outcome(client.check(CheckRequest::default()).await), Err(401));
    let empty = CheckRequest { attributes: Some(AttributeContext::default()) };
    assert_eq!(outcome(client.check(empty).await), Err(401));
    let mut no_request = question(&escaped(&lab.client), named(NAME));
    no_request.attributes.as_mut().unwrap().request = None;
    assert_eq!(outcome(client.check(no_request).await), Err(401));
    let mut no_source = question(&escaped(&lab.client), named(NAME));
    no_source.attributes.as_mut().unwrap().source = None;
    assert_eq!(outcome(client.check(no_source).await), Err(401));
    assert!(lab.world.queries().is_empty());
    let transient = lab.start(&Config { distinguish_transient: true, ..config(&lab) });
    let mut client = AuthorizationClient::new(channel(&transient).await);
    let broken = client.check(question(&escaped(&lab.client), named("broken.example.com"))).await;
    let response = broken.unwrap().into_inner();
    let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else { panic!("{response:?}") };
    assert_eq!(denied.status.unwrap().code, 503);
    assert_eq!(value(&denied.headers, "retry-after").as_deref(), Some("5"));
    let trusted = lab.start(&Config { trusted_peers: vec!["unix".to_owned()], ..config(&lab) });
    let mut client = AuthorizationClient::new(channel(&trusted).await);
    assert_eq!(outcome(client.check(question(&escaped(&lab.client), named(NAME))).await), Err(401));
}

// SEC-14: calls that are none, or too long.
#[tokio::test]
async fn refuses_other_calls() {
    let lab = Lab::new().await;
    let service = lab.start(&config(&lab));
    let certificate = escaped(&lab.client);
    let huge = HttpRequest { body: "x".repeat(3_000_000), ..named(NAME) };
    let error = client(&service).await.check(question(&certificate, huge)).await.unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange, "{error}");
    // What is not gRPC is answered by no status that lets anybody in.
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let answer = service.send(version, lab.good()).await;
        assert_eq!((answer.status.as_u16(), answer.field("dane-clientid")), (415, None), "{version:?}");
    }
    let call = |path: &str, message: &'static str| {
        let uri = format!("http://auth.test{path}");
        let request = http::Request::builder().method("POST").uri(uri).header("content-type", "application/grpc");
        request.body(text(message)).unwrap()
    };
    let check = "/envoy.service.auth.v3.Authorization/Check";
    for (path, message, status) in [
        (check, "\0\0\0\0\0", "ok"),
        (check, "\0\0\0\0\u{5}abcde", "13"),
        (check, "\0\u{7f}\u{7f}\u{7f}\u{7f}", "11"),
        (check, "\u{1}\0\0\0\0", "13"),
        ("/envoy.service.auth.v3.Authorization/Other", "\0\0\0\0\0", "12"),
        ("/envoy.service.auth.v2.Authorization/Check", "\0\0\0\0\0", "12"),
        ("/grpc.health.v1.Health/Check", "\0\0\0\0\0", "12"),
    ] {
        let answer = service.send(Version::HTTP_2, call(path, message)).await;
        assert_eq!(answer.field("grpc-status").unwrap_or("ok"), status, "{path} {message:?} {answer:?}");
    }
    assert!(lab.world.queries().is_empty());
    assert_eq!(outcome(client(&service).await.check(question(&certificate, named(NAME))).await), Ok(NAME.to_owned()));
}

// SEC-01: the limit for one address counts the clients' addresses, which Envoy tells.
#[tokio::test]
async fn limits_look_ups_of_one_address() {
    let lab = Lab::new().await;
    let limits = LimitsConfig { lookups_per_address: 1, ..LimitsConfig::default() };
    let dns = DnsConfig { timeout: Span::secs(60), ..DnsConfig::default() };
    let config = Config { limits, dns, ..config(&lab) };
    // The first look-up stays under way.
    let (source, gate) = crate::lab::Held::new(lab.resolver());
    let service = Running::new(dance_auth_service::AuthService::bind(&config, source).unwrap());
    let client = client(&service).await;
    let certificate = escaped(&lab.client);
    let ask = |name: &str, address: &str| {
        let mut question = question(&certificate, named(name));
        let socket = SocketAddress { address: address.to_owned(), ..SocketAddress::default() };
        let source = question.attributes.as_mut().unwrap().source.as_mut().unwrap();
        source.address = Some(Address { address: Some(Place::SocketAddress(socket)) });
        let mut client = client.clone();
        tokio::spawn(async move { outcome(client.check(question).await) })
    };
    let first = ask(NAME, "192.0.2.1");
    gate.waits_for(1).await;
    assert_eq!(ask("none.example.com", "192.0.2.1").await.unwrap(), Err(401), "{}", Reason::LookupLimitAddress);
    let elsewhere = ask(NAME, "192.0.2.2");
    gate.waits_for(2).await;
    gate.open();
    assert_eq!(first.await.unwrap(), Ok(NAME.to_owned()));
    assert_eq!(elsewhere.await.unwrap(), Ok(NAME.to_owned()));
    assert!(lab.world.tlsa_queries().iter().all(|name| name != "none.example.com"));
}

/// The beginning of a message, and nothing more.
struct Begun(Option<Bytes>);

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(octets) => Poll::Ready(Some(Ok(http_body::Frame::data(octets)))),
            None => Poll::Pending,
        }
    }
}

// SEC-14: a message that does not come to its end.
#[tokio::test]
async fn gives_a_message_its_time() {
    let lab = Lab::new().await;
    let short = Span(Duration::from_millis(50));
    let dns = DnsConfig { timeout: short, ..DnsConfig::default() };
    let service = lab.start(&Config { body_timeout: short, dns, ..config(&lab) });
    let io = TokioIo::new(service.tcp().await);
    let (mut sender, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(conn);
    let call = |octets: &'static [u8]| {
        let uri = "http://auth.test/envoy.service.auth.v3.Authorization/Check";
        let call = http::Request::builder().method("POST").uri(uri).header("content-type", "application/grpc");
        call.body(Begun(Some(Bytes::from_static(octets)))).unwrap()
    };
    let calls =
        [&b"\0"[..], b"\0\0\0\0\x05", b"\0\0\0\0\x05ab"].map(|begun| tokio::spawn(sender.send_request(call(begun))));
    for response in calls {
        assert_eq!(response.await.unwrap().unwrap().headers().get("grpc-status").unwrap(), "4");
    }
}

async fn ask(service: &Running, lab: &Lab) -> JoinHandle<Result<String, u16>> {
    let (mut client, question) = (client(service).await, question(&escaped(&lab.client), named(NAME)));
    tokio::spawn(async move { outcome(client.check(question).await) })
}

// SEC-14: messages that are being read have a common limit; those whose client is being looked up do not count.
#[tokio::test]
async fn has_memory_for_so_many_messages() {
    let lab = Lab::new().await;
    let dns = DnsConfig { timeout: Span::secs(60), ..DnsConfig::default() };
    // One message can take all there is.
    let config = Config { body_limit: 64 * 1024 * 1024, body_timeout: Span::secs(3600), dns, ..config(&lab) };
    let (source, gate) = crate::lab::Held::new(lab.resolver());
    let service = Running::new(dance_auth_service::AuthService::bind(&config, source).unwrap());
    let mut asked = vec![ask(&service, &lab).await];
    gate.waits_for(1).await;
    asked.push(ask(&service, &lab).await);
    gate.waits_for(2).await;

    let io = TokioIo::new(service.tcp().await);
    let (mut sender, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let conn = tokio::spawn(conn);
    let uri = "http://auth.test/envoy.service.auth.v3.Authorization/Check";
    let call = http::Request::builder().method("POST").uri(uri).header("content-type", "application/grpc");
    let endless = tokio::spawn(sender.send_request(call.body(Begun(Some(Bytes::from_static(b"\0")))).unwrap()));
    asked.push(ask(&service, &lab).await);
    let third = tokio::time::timeout(Duration::from_millis(300), gate.waits_for(3)).await;
    third.expect_err("a message was read beside one that may take all memory");
    endless.abort();
    conn.abort();
    gate.waits_for(3).await;
    gate.open();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), Ok(NAME.to_owned()));
    }
}
