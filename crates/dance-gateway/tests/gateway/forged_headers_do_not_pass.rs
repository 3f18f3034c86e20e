use std::time::Duration;

use bytes::Bytes;
use dance_tls::ClientConfig;
use http::{HeaderMap, HeaderValue, Request};
use http_body::Frame;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::http::{Frames, Http1, http2};
use crate::lab::{Lab, SENSOR};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../spec/vectors/vectors.json")).unwrap()
}

/// Every way to forge a field that the vectors name, twice each, and a few of our own.
fn forged() -> Vec<String> {
    let vectors = vectors();
    let named = vectors.pointer("/http/strip_inbound").unwrap().as_array().unwrap();
    let mut names: Vec<_> = named.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    assert!(names.len() >= 9);
    names.extend(
        ["dAnE-cLiEnTiD", "DANE_CLIENTID", "Dane.Clientid", "Client_Cert-Chain", "dane_Clientid"].map(str::to_owned),
    );
    names.extend(
        ["Forwarded", "X-Forwarded-For", "X_Forwarded_Proto", "X-Forwarded-Client-Cert", "X-Real-IP"]
            .map(str::to_owned),
    );
    names.iter().flat_map(|name| [format!("{name}: forged-1"), format!("{name}:forged-2")]).collect()
}

// HTTP-03
#[tokio::test]
async fn in_any_spelling_over_http1() {
    let lab = Lab::new().await;
    let forged = forged();
    let lines: Vec<&str> = forged.iter().map(String::as_str).collect();

    // The positive control: without a gateway the probe arrives, all of it.
    let mut direct = Http1::new(TcpStream::connect(lab.origin.address()).await.unwrap());
    assert_eq!(direct.get("/", &lines).await.status, 200);
    let arrived = lab.origin.seen().remove(0);
    assert_eq!(arrived.fields.iter().filter(|(_, value)| value.starts_with("forged")).count(), forged.len());

    let gateway = lab.start();
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    assert_eq!(http.get("/", &lines).await.status, 200);
    assert_eq!(http.get("/", &["Accept: forged-too"]).await.status, 200);
    let seen = lab.origin.seen();
    assert_eq!(seen[1].values("dane-clientid"), [SENSOR]);
    assert_eq!(seen[1].values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen[1].values("x-forwarded-proto"), ["https"]);
    assert!(!format!("{:?}", seen[1]).contains("forged"), "{:?}", seen[1]);
    // Other fields do pass.
    assert_eq!(seen[2].values("accept"), ["forged-too"]);
}

// HTTP-03
#[tokio::test]
async fn in_any_spelling_over_http2() {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let client = ClientConfig { alpn: vec![b"h2".to_vec()], ..lab.certificate(SENSOR, &lab.enrol(SENSOR)) };
    let mut sender = http2(gateway.connect(&client).await).await;
    let mut request = Request::get("https://localhost/").header("accept", "passes");
    for line in forged() {
        let (name, value) = line.split_once(':').unwrap();
        request = request.header(name, value.trim());
    }
    // HTTP/2 may cut a cookie into crumbs.
    let request = request.header("cookie", "a=1").header("cookie", "b=2").body(Frames::none()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    let [request] = lab.origin.seen().try_into().unwrap();
    assert_eq!(request.values("dane-clientid"), [SENSOR]);
    assert!(!format!("{request:?}").contains("forged"), "{request:?}");
    assert_eq!(request.values("accept"), ["passes"]);
    assert_eq!(request.values("cookie"), ["a=1; b=2"]);
}

// HTTP-03
#[tokio::test]
async fn in_trailers() {
    let lab = Lab::new().await;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nTrailer: Dane-Clientid, Dane_Clientid, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n";
    let probe = format!("{head}5\r\nhello\r\n0\r\nDane-Clientid: forged\r\nDane_Clientid: forged\r\nX-Sum: 7\r\n\r\n");
    let mut direct = Http1::new(TcpStream::connect(lab.origin.address()).await.unwrap());
    direct.send(&probe).await;
    assert_eq!(direct.answer().await.status, 200);
    assert_eq!(lab.origin.seen()[0].trailers.len(), 3);

    let gateway = lab.start();
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    http.send(&probe).await;
    assert_eq!(http.answer().await.status, 200);
    let seen = lab.origin.seen();
    assert_eq!((seen[1].body.as_slice(), seen[1].values("dane-clientid")), (&b"hello"[..], vec![SENSOR]));
    assert_eq!(seen[1].values("trailer"), ["X-Sum"]);
    let names: Vec<_> = seen[1].trailers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(names, ["x-sum"]);

    // The same over HTTP/2.
    let client = ClientConfig { alpn: vec![b"h2".to_vec()], ..client };
    let mut sender = http2(gateway.connect(&client).await).await;
    let mut trailers = HeaderMap::new();
    for name in ["dane-clientid", "dane_clientid", "x-sum"] {
        trailers.insert(name, HeaderValue::from_static("7"));
    }
    let body = Frames([hello(), Frame::trailers(trailers)].into());
    let request = Request::post("https://localhost/")
        .header("trailer", "x-sum, dane-clientid, dane_clientid")
        .body(body)
        .unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    let seen = lab.origin.seen();
    assert_eq!((seen[2].body.as_slice(), seen[2].trailers.len()), (&b"hello"[..], 1));
    assert_eq!(seen[2].values("trailer"), ["x-sum"]);
    assert!(seen[2].trailers[0].0.eq_ignore_ascii_case("x-sum"));
}

// HTTP-04
#[tokio::test]
async fn and_ours_cannot_be_had_removed_by_the_next_hop() {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let vectors = vectors();
    let nominating = vectors.pointer("/http/connection_nomination/inbound").unwrap().as_str().unwrap();
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    let fields = [nominating, "Connection: X-Mine", "X-Mine: 1", "X-Other: 2", "Dane-Clientid: forged"];
    assert_eq!(http.get("/", &fields).await.status, 200);
    let [request] = lab.origin.seen().try_into().unwrap();
    assert_eq!(request.values("dane-clientid"), [SENSOR]);
    assert!(request.values("connection").is_empty() && request.values("x-mine").is_empty());
    assert_eq!(request.values("x-other"), ["2"]);
}

// HTTP-15
#[tokio::test]
async fn and_a_response_that_varies_by_identity_is_marked() {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    let answer = http.get("/fields", &[]).await;
    assert_eq!(answer.values("vary"), ["*"]);
    assert!(answer.values("x-hop").is_empty() && answer.values("dane-clientid").is_empty());
    assert_eq!(answer.values("x-kept"), ["1"]);
    // As the origin wrote it.
    let mut direct = Http1::new(TcpStream::connect(lab.origin.address()).await.unwrap());
    assert_eq!(direct.get("/fields", &[]).await.values("vary"), ["Accept, Dane-Clientid"]);
}

// HTTP-06
#[tokio::test]
async fn and_a_host_that_the_listener_does_not_serve_is_misdirected() {
    let lab = Lab::new().await;
    let config = dance_gateway::Config { server_names: vec!["Localhost".to_owned()], ..lab.config() };
    let gateway = lab.start_with(config);
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    assert_eq!(http.get("/", &[]).await.status, 200);
    for (target, host) in
        [("/", "other.example"), ("/", "localhost.example:443"), ("https://other.example/", "localhost")]
    {
        http.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let answer = http.answer().await;
        assert_eq!((answer.status, answer.text()), (421, "421 Misdirected Request\n"), "{target} {host}");
    }
    for host in ["localhost:99999999", "localhost:65536", "localhost:http", "localhost:-1", "localhost:1:2"] {
        http.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(http.answer().await.status, 400, "{host}");
    }
    for (target, host) in [
        ("/", "LOCALHOST:8443"),
        ("https://localhost:1/", "other.example"),
        ("/", "localhost."),
        ("/", "localhost.:65535"),
    ] {
        http.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(http.answer().await.status, 200, "{target} {host}");
    }
    let hosts: Vec<_> = lab.origin.seen().iter().map(|request| request.values("host").join("|")).collect();
    assert_eq!(hosts, ["localhost", "LOCALHOST:8443", "localhost:1", "localhost.", "localhost.:65535"]);
    assert!(lab.origin.seen().iter().all(|request| request.target == "/"));
}

#[tokio::test]
async fn nor_do_requests_that_mean_different_things_to_different_readers() {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nDane-Clientid\0: 1\r\n\r\n",
    ] {
        let mut http = Http1::new(gateway.connect(&client).await);
        http.send(request).await;
        assert_eq!(http.answer().await.status, 400, "{request:?}");
    }
    assert_eq!(lab.origin.seen().len(), 0);

    // Codings that the gateway would have to undo.
    for fields in [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity, chunked",
    ] {
        let mut http = Http1::new(gateway.connect(&client).await);
        http.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")).await;
        assert_eq!(http.answer().await.status, 501, "{fields}");
    }
    assert_eq!(lab.origin.seen().len(), 0);

    // Both lengths: the chunks count, and the other length does not reach the origin.
    for fields in ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: Chunked\r\nContent-Length: 3"]
    {
        let mut http = Http1::new(gateway.connect(&client).await);
        http.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")).await;
        assert_eq!(http.answer().await.status, 200);
    }
    let seen = lab.origin.seen();
    assert_eq!(seen.len(), 2);
    for request in seen {
        assert_eq!((request.body.as_slice(), request.values("transfer-encoding")), (&b"hello"[..], vec!["chunked"]));
        assert_eq!(request.values("content-length"), [""; 0]);
    }
}

#[tokio::test]
async fn nor_do_lengths_that_are_told_twice() {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let client = ClientConfig { alpn: vec![b"h2".to_vec()], ..lab.certificate(SENSOR, &lab.enrol(SENSOR)) };
    let mut sender = http2(gateway.connect(&client).await).await;
    for (lengths, passes) in [(["5", "5"], true), (["5", "6"], false), (["5", "05"], true)] {
        let mut request = Request::post("https://localhost/").body(Frames([hello()].into())).unwrap();
        for length in lengths {
            request.headers_mut().append("content-length", HeaderValue::from_static(length));
        }
        let status = sender.send_request(request).await.map(|response| response.status().as_u16());
        assert_eq!(status.ok(), passes.then_some(200), "{lengths:?}");
    }
    let seen = lab.origin.seen();
    assert_eq!(seen.len(), 2);
    for request in seen {
        assert_eq!((request.body.as_slice(), request.values("content-length")), (&b"hello"[..], vec!["5"]));
    }
}

fn hello() -> Frame<Bytes> {
    Frame::data(Bytes::from_static(b"hello"))
}

#[tokio::test]
async fn and_a_tunnel_to_anywhere_is_not_dug() {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    http.send("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(http.answer().await.status, 501);
    // An upgrade to HTTP/2 would carry requests past the header rules.
    let mut http = Http1::new(gateway.connect(&client).await);
    for connection in ["Connection: Upgrade, HTTP2-Settings", "Connection: Upgrade"] {
        let fields = [connection, "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"];
        assert_eq!(http.get("/", &fields).await.status, 200);
    }
    let seen = lab.origin.seen();
    assert_eq!(seen.len(), 2);
    for name in ["upgrade", "connection", "http2-settings"] {
        assert!(seen.iter().all(|request| request.values(name).is_empty()), "{name}");
    }
}

#[tokio::test]
async fn nor_does_a_body_that_nobody_wanted_as_a_request() {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let forged = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let head = format!("POST /refuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", 9 + forged.len());
    // The origin answers before the body has come. The rest of it comes at once, or after the pause in which an idle connection is
    // reduced to its stream.
    for pause in [Duration::ZERO, Duration::from_millis(2300)] {
        let mut http = Http1::new(gateway.connect(&client).await);
        http.send(format!("{head}some body")).await;
        assert_eq!(http.answer().await.status, 417);
        tokio::time::sleep(pause).await;
        // The gateway may have had enough of this client.
        let _ = http.0.write_all(forged.as_bytes()).await;
        let _ = http.rest().await;
    }
    let targets: Vec<_> = lab.origin.seen().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/refuse", "/refuse"]);
    // On its own it is a request like any other.
    let mut http = Http1::new(gateway.connect(&client).await);
    http.send(forged).await;
    assert_eq!(http.answer().await.status, 200);
}
