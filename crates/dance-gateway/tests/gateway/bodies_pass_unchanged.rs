use bytes::Bytes;
use dance_testkit::origin::pattern;
use dance_tls::ClientConfig;
use http::Request;
use http_body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::http::{Frames, Http1, collect, get, http2};
use crate::lab::{Lab, Running, SENSOR, SOON};

const BIG: usize = 3_000_017;

async fn start() -> (Lab, Running, ClientConfig, ClientConfig) {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let http1 = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let http2 = ClientConfig { alpn: vec![b"h2".to_vec()], ..http1.clone() };
    (lab, gateway, http1, http2)
}

fn big() -> Vec<u8> {
    (0..BIG).map(pattern).collect()
}

#[tokio::test]
async fn large_ones_to_the_client() {
    let (lab, gateway, one, two) = start().await;
    let mut http = Http1::new(gateway.connect(&one).await);
    let answer = http.get(&format!("/big/{BIG}"), &[]).await;
    assert_eq!(answer.values("content-length"), [BIG.to_string()]);
    assert!(answer.body == big());
    // The connection goes on after it, and so does the one to the origin.
    assert_eq!(http.get("/", &[]).await.text(), "ok\n");
    assert_eq!(lab.origin.connections(), 1);

    let mut sender = http2(gateway.connect(&two).await).await;
    let response = sender.send_request(get(&format!("/big/{BIG}"))).await.unwrap();
    assert!(collect(response).await.0 == big());
}

#[tokio::test]
async fn large_ones_to_the_origin_and_back() {
    let (lab, gateway, one, two) = start().await;
    let (reader, mut writer) = tokio::io::split(gateway.connect(&one).await);
    // Both directions at a time: the echo comes while the upload goes on.
    let upload = tokio::spawn(async move {
        let head = format!("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BIG}\r\n\r\n");
        writer.write_all(head.as_bytes()).await.unwrap();
        writer.write_all(&big()).await.unwrap();
        writer
    });
    let mut http = Http1::new(tokio::io::join(reader, tokio::io::sink()));
    assert!(http.answer().await.body == big());
    drop(upload.await.unwrap());

    let mut sender = http2(gateway.connect(&two).await).await;
    let pieces = big().chunks(10_000).map(|piece| Frame::data(Bytes::copy_from_slice(piece))).collect();
    let request = Request::post("https://localhost/echo").body(Frames(pieces)).unwrap();
    assert!(collect(sender.send_request(request).await.unwrap()).await.0 == big());

    let seen = lab.origin.seen();
    assert_eq!(seen.iter().map(|request| request.body_len).collect::<Vec<_>>(), [BIG, BIG]);
    assert_eq!(seen[0].values("content-length"), [BIG.to_string()]);
    assert_eq!(seen[1].values("transfer-encoding"), ["chunked"]);
}

#[tokio::test]
async fn with_their_trailers() {
    let (_lab, gateway, one, two) = start().await;
    let mut http = Http1::new(gateway.connect(&one).await);
    let answer = http.get("/chunked", &["TE: trailers"]).await;
    assert_eq!(answer.text(), "firstsecond");
    assert_eq!(answer.trailers, [("x-trailer".to_owned(), "end".to_owned())]);
    assert_eq!(http.get("/", &[]).await.text(), "ok\n");

    let mut sender = http2(gateway.connect(&two).await).await;
    let (body, trailers) = collect(sender.send_request(get("/chunked")).await.unwrap()).await;
    assert_eq!((body, trailers.unwrap().get("x-trailer").unwrap().to_str().unwrap()), (b"firstsecond".to_vec(), "end"));
}

#[tokio::test]
async fn when_there_are_none() {
    let (lab, gateway, one, _) = start().await;
    let mut http = Http1::new(gateway.connect(&one).await);
    assert_eq!(http.get("/status/204", &[]).await.status, 204);
    assert_eq!(http.get("/status/404", &[]).await.status, 404);
    http.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let head = http.head().await;
    assert_eq!((head.status, http.get("/", &[]).await.text()), (200, "ok\n"));
    http.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(http.answer().await.status, 200);
    assert_eq!((lab.origin.connections(), lab.origin.seen().len()), (1, 5));
}

#[tokio::test]
async fn whatever_the_method_and_whether_their_length_is_known() {
    let (lab, gateway, one, two) = start().await;
    let mut http = Http1::new(gateway.connect(&one).await);
    let mut sender = http2(gateway.connect(&two).await).await;
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        http.send(format!("{method} / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
        http.send("5\r\nhello\r\n0\r\n\r\n").await;
        let status = if method == "HEAD" { http.head().await.status } else { http.answer().await.status };
        assert_eq!(status, 200, "{method}");
        let pieces = Frames([Frame::data(Bytes::from_static(b"hello"))].into());
        let request = Request::builder().method(method).uri("https://localhost/").body(pieces).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200, "{method}");
    }
    let seen = lab.origin.seen();
    assert_eq!(seen.len(), 8);
    for request in seen {
        assert_eq!((request.body.as_slice(), request.values("transfer-encoding")), (&b"hello"[..], vec!["chunked"]));
    }
}

#[tokio::test]
async fn when_the_client_asks_first_whether_to_send_them() {
    let (lab, gateway, one, _) = start().await;
    let mut http = Http1::new(gateway.connect(&one).await);
    http.send("POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(http.head().await.status, 100);
    http.send("hello").await;
    assert_eq!(http.answer().await.status, 200);
    assert_eq!(lab.origin.seen()[0].body, b"hello");

    // The origin's refusal comes in place of the go-ahead: the body is never sent.
    http.send("POST /refuse HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(http.head().await.status, 417);
    assert_eq!(lab.origin.seen()[1].values("expect"), ["100-continue"]);
}

#[tokio::test]
async fn through_a_websocket() {
    let (lab, gateway, one, two) = start().await;
    let ask = ["Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ=="];
    let mut http = Http1::new(gateway.connect(&one).await);
    // The first octets of the new protocol come right behind the request.
    let fields: String = ask.iter().map(|line| format!("{line}\r\n")).collect();
    http.send(format!("GET /websocket HTTP/1.1\r\nHost: localhost\r\nDane-Clientid: forged\r\n{fields}\r\nearly"))
        .await;
    let answer = http.answer().await;
    assert_eq!(
        (answer.status, answer.values("upgrade"), answer.values("connection")),
        (101, vec!["websocket"], vec!["Upgrade"])
    );
    let mut octets = [0; 5];
    timeout(SOON, http.0.read_exact(&mut octets)).await.unwrap().unwrap();
    assert_eq!(&octets, b"early");

    let (mut reader, mut writer) = tokio::io::split(http.0);
    let sent = tokio::spawn(async move {
        writer.write_all(&big()).await.unwrap();
        writer.flush().await.unwrap();
        writer
    });
    let mut back = vec![0; BIG];
    timeout(SOON, reader.read_exact(&mut back)).await.unwrap().unwrap();
    assert!(back == big());
    drop(sent.await.unwrap());
    let seen = lab.origin.seen();
    assert_eq!(seen[0].values("dane-clientid"), [SENSOR]);
    assert_eq!(seen[0].values("sec-websocket-key").len(), 1);

    // An origin that switches unasked is not believed, and HTTP/2 has no such upgrade.
    let mut http = Http1::new(gateway.connect(&one).await);
    assert_eq!(http.get("/websocket", &[]).await.status, 502);
    let mut sender = http2(gateway.connect(&two).await).await;
    assert_eq!(sender.send_request(get("/websocket")).await.unwrap().status(), 502);
}

#[tokio::test]
async fn on_many_streams_at_a_time() {
    let (lab, gateway, _, two) = start().await;
    let sender = http2(gateway.connect(&two).await).await;
    let mut streams = JoinSet::new();
    for number in 0..80_usize {
        let mut sender = sender.clone();
        streams.spawn(async move {
            let length = 1000 * number + 1;
            let response = sender.send_request(get(&format!("/big/{length}"))).await.unwrap();
            assert_eq!(collect(response).await.0, (0..length).map(pattern).collect::<Vec<_>>());
        });
    }
    while let Some(done) = timeout(SOON, streams.join_next()).await.unwrap() {
        done.unwrap();
    }
    let seen = lab.origin.seen();
    assert_eq!(seen.len(), 80);
    assert!(seen.iter().all(|request| request.values("dane-clientid") == [SENSOR]));
}

#[tokio::test]
async fn one_after_the_other_when_requests_are_pipelined() {
    let (lab, gateway, one, _) = start().await;
    let mut http = Http1::new(gateway.connect(&one).await);
    let requests: String = (1..=5).map(|n| format!("GET /big/{n} HTTP/1.1\r\nHost: localhost\r\n\r\n")).collect();
    http.send(requests).await;
    for length in 1..=5 {
        assert_eq!(http.answer().await.body.len(), length);
    }
    assert_eq!(lab.origin.connections(), 1);
}

#[tokio::test]
async fn or_are_given_up_with_the_client() {
    let (lab, gateway, one, two) = start().await;
    // In the middle of a download, of an upload, and before a response.
    let mut http = Http1::new(gateway.connect(&one).await);
    http.send("GET /big/100000000 HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(http.head().await.status, 200);
    drop(http);
    let mut http = Http1::new(gateway.connect(&one).await);
    http.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf").await;
    assert_eq!(http.head().await.status, 200);
    drop(http);
    let mut sender = http2(gateway.connect(&two).await).await;
    let mut stream = Box::pin(sender.send_request(get("/never")));
    let polled = timeout(std::time::Duration::ZERO, &mut stream).await;
    assert!(polled.is_err());
    lab.origin.wait_for(2).await;
    drop(stream);
    // The stream is reset, the connection stays.
    assert_eq!(sender.send_request(get("/")).await.unwrap().status(), 200);
    assert_eq!(lab.origin.seen().iter().filter(|request| request.target == "/never").count(), 1);
    // Nothing of a half-sent upload counts as a request.
    assert!(lab.origin.seen().iter().all(|request| request.target != "/echo"));
    // The origin is rid of all three; what is left may be used again.
    timeout(SOON, lab.origin.wait_for_open(1)).await.unwrap();
}
