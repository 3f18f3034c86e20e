//! Connections: how long, how many, how much, and how they end.

use std::time::Duration;

use dance_auth_service::Config;
use dance_daemon::Span;
use http::Version;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::lab::{Lab, NAME, SOON, over};

const SHORT: Span = Span(Duration::from_millis(100));

/// One request after another on a connection in HTTP/1.1.
fn keep_alive(lab: &Lab) -> String {
    let certificate = lab.forwarded(&lab.client);
    format!("GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: {certificate}\r\nDane-Clientid-Asserted: {NAME}\r\n\r\n")
}

// SEC-14: a header has its time from its first octet on; a connection without a request has more.
#[tokio::test]
async fn end_when_a_header_is_late() {
    let lab = Lab::new().await;
    let service = lab.start(&Config { header_timeout: SHORT, idle_timeout: Span::secs(3600), ..lab.config() });
    for begun in ["G", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        assert_eq!(service.raw(begun).await, "");
    }
    // The second on a connection too.
    let mut stream = service.tcp().await;
    stream.write_all(keep_alive(&lab).as_bytes()).await.unwrap();
    stream.read_u8().await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer.matches("TTP/1.1 200 ").count(), 1, "{answer}");
    service.get(lab.good()).await.assert_welcome(NAME);
}

// SEC-14
#[tokio::test]
async fn end_when_they_are_idle() {
    let lab = Lab::new().await;
    let service = lab.start(&Config { idle_timeout: SHORT, ..lab.config() });
    assert_eq!(service.raw("").await, "");
    let answer = service.raw(&keep_alive(&lab).repeat(3)).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 3, "{answer}");
    // HTTP/2 is told.
    let (mut sender, conn) = http2::handshake(TokioExecutor::new(), TokioIo::new(service.tcp().await)).await.unwrap();
    let ended = tokio::spawn(conn);
    assert_eq!(sender.send_request(lab.good()).await.unwrap().status(), 200);
    ended.await.unwrap().unwrap();
    assert!(sender.is_closed());
}

// HTTP-14, SEC-14: who is not the balancer keeps no connection for longer than a header may take, whatever it does on it.
#[tokio::test]
async fn of_strangers_do_not_stay() {
    let lab = Lab::new().await;
    let service = lab.start(&Config {
        trusted_peers: vec!["127.0.0.2".to_owned()],
        header_timeout: SHORT,
        idle_timeout: Span::secs(3600),
        ..lab.config()
    });
    let balancer = TcpSocket::new_v4().unwrap();
    balancer.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut balancer = balancer.connect(service.address()).await.unwrap();
    balancer.write_all(keep_alive(&lab).as_bytes()).await.unwrap();
    balancer.read_u8().await.unwrap();

    assert_eq!(service.raw("").await, "");
    let answer = service.raw(&keep_alive(&lab)).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");

    let request = keep_alive(&lab).replacen("Host: a", "Host: a\r\nConnection: close", 1);
    balancer.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, balancer.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer.matches("TTP/1.1 200 ").count(), 2, "{answer}");
}

// HTTP-19: large chains fit, and what is too much is told from what is not there.
#[tokio::test]
async fn take_headers_up_to_their_limit() {
    let lab = Lab::new().await;
    let service = lab.start(&lab.config());
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let filled = |octets: usize| {
            let mut request = lab.good();
            request.headers_mut().insert("x-filler", "x".repeat(octets).parse().unwrap());
            request
        };
        service.send(version, filled(100 * 1024)).await.assert_welcome(NAME);
        assert_eq!(service.send(version, filled(140 * 1024)).await.status, 431, "{version:?}");
    }
    let narrow = lab.start(&Config { max_header_bytes: 8 * 1024, ..lab.config() });
    narrow.get(lab.good()).await.assert_welcome(NAME);
    let mut request = lab.good();
    request.headers_mut().insert("x-filler", "x".repeat(9 * 1024).parse().unwrap());
    assert_eq!(narrow.get(request).await.status, 431);
}

// SEC-14: beyond the limit connections wait, and are served when others have gone.
#[tokio::test]
async fn beyond_their_number_wait() {
    let lab = Lab::new().await;
    let service = lab.start(&Config { max_connections: 1, ..lab.config() });
    let mut first = service.tcp().await;
    first.write_all(keep_alive(&lab).as_bytes()).await.unwrap();
    first.read_u8().await.unwrap();
    let waiting = tokio::spawn(over(service.tcp().await, Version::HTTP_11, lab.good()));
    // The first is still served while the second waits.
    first.write_all(keep_alive(&lab).as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    while String::from_utf8_lossy(&answers).matches("date: ").count() < 2 {
        first.read_buf(&mut answers).await.unwrap();
    }
    assert!(!waiting.is_finished());
    drop(first);
    waiting.await.unwrap().assert_welcome(NAME);
}

// HTTP-10: balancers keep their connections.
#[tokio::test]
async fn carry_many_requests() {
    let lab = Lab::new().await;
    let service = lab.start(&lab.config());
    let (mut sender, conn) = http1::handshake(TokioIo::new(service.tcp().await)).await.unwrap();
    tokio::spawn(conn);
    for number in 0..10 {
        let mut request = lab.good();
        if number % 2 == 1 {
            request.headers_mut().remove("dane-clientid-asserted");
        }
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        // Nothing of one request is left for the next.
        assert_eq!(response.status(), if number % 2 == 1 { 401 } else { 200 });
    }
    let (mut sender, conn) = http2::handshake(TokioExecutor::new(), TokioIo::new(service.tcp().await)).await.unwrap();
    tokio::spawn(conn);
    let together: Vec<_> = (0..50).map(|_| tokio::spawn(sender.send_request(lab.good()))).collect();
    for response in together {
        assert_eq!(response.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(lab.world.tlsa_queries().len(), 1, "answers are remembered");
}

/// A request of which the last octet is missing, on a connection that has been served before.
async fn begun(lab: &Lab, service: &crate::lab::Running) -> tokio::net::TcpStream {
    let mut stream = service.tcp().await;
    let certificate = lab.forwarded(&lab.client);
    let body = format!("{{\"dane_clientid\":\"{NAME}\"");
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nClient-Cert: {certificate}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len() + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    stream
}

// Requests under way are finished, and connections without one are closed.
#[tokio::test]
async fn end_in_order() {
    let lab = Lab::new().await;
    let mut service = lab.start(&lab.config());
    let (mut idle1, conn1) =
        http1::handshake::<_, Full<bytes::Bytes>>(TokioIo::new(service.tcp().await)).await.unwrap();
    let idle1_ended = tokio::spawn(conn1);
    assert_eq!(idle1.send_request(lab.good()).await.unwrap().status(), 200);
    let (mut idle2, conn2) = http2::handshake(TokioExecutor::new(), TokioIo::new(service.tcp().await)).await.unwrap();
    let idle2_ended = tokio::spawn(conn2);
    assert_eq!(idle2.send_request(lab.good()).await.unwrap().status(), 200);
    let mut silent = service.tcp().await;
    let mut busy = begun(&lab, &service).await;
    service.stop();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    idle1_ended.await.unwrap().unwrap();
    idle2_ended.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(service.address()).await.is_err(), "nobody listens any more");
    assert!(!service.task.is_finished(), "it waits for the request under way");
    busy.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    assert!((&mut service.task).await.unwrap());
}

#[tokio::test]
async fn that_do_not_end_are_cut_off() {
    let lab = Lab::new().await;
    let mut service = lab.start(&Config { drain_timeout: SHORT, ..lab.config() });
    let mut busy = begun(&lab, &service).await;
    service.stop();
    assert!(!(&mut service.task).await.unwrap(), "something was cut off");
    assert_eq!(busy.read(&mut [0]).await.unwrap_or(0), 0);
}
