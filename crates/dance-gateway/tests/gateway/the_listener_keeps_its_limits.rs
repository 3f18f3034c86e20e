use std::time::Duration;

use dance_gateway::Config;
use dance_gateway::config::Span;
use dance_tls::ClientConfig;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::http::{self, Http1, collect, get};
use crate::lab::{Lab, Running, SENSOR, SOON};

const BRIEF: Span = Span(Duration::from_millis(150));

async fn start(change: impl FnOnce(&mut Config)) -> (Lab, Running, ClientConfig, ClientConfig) {
    let lab = Lab::new().await;
    let mut config = lab.config();
    change(&mut config);
    let gateway = lab.start_with(config);
    let http1 = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let http2 = ClientConfig { alpn: vec![b"h2".to_vec()], ..http1.clone() };
    (lab, gateway, http1, http2)
}

#[tokio::test]
async fn for_a_handshake() {
    let (_lab, gateway, one, _) = start(|config| config.handshake_timeout = BRIEF).await;
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    let read = timeout(SOON, silent.read(&mut [0; 16])).await.unwrap();
    assert_eq!(read.unwrap_or(0), 0);
    assert_eq!(gateway.told(1).await[0].code, "handshake-timeout");
    // Others are served, and for longer than that.
    let mut http = Http1::new(gateway.connect(&one).await);
    tokio::time::sleep(BRIEF.0).await;
    assert_eq!(http.get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn for_the_handshakes_of_one_address() {
    let (_lab, gateway, one, _) = start(|config| config.handshakes_per_address = 2).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    let mut third = silent.pop().unwrap();
    assert_eq!(timeout(SOON, third.read(&mut [0; 16])).await.unwrap().unwrap_or(0), 0);
    assert_eq!(gateway.told(1).await[0].code, "too-many-handshakes");
    // Other addresses are served, and so is this one once it has finished what it began.
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = other.connect(gateway.address).await.unwrap();
    let tls = dance_tls::Connector::new(&one).unwrap().connect("localhost", stream).await.unwrap();
    assert_eq!(Http1::new(tls).get("/", &[]).await.status, 200);
    drop(silent);
    assert_eq!(gateway.told(4).await.iter().filter(|told| told.code == "handshake-failed").count(), 2);
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut http = Http1::new(gateway.connect(&one).await);
        assert_eq!(http.get("/", &[]).await.status, 200);
        open.push(http);
    }
}

#[tokio::test]
async fn for_what_is_no_tls() {
    let (_lab, gateway, one, _) = start(|_| {}).await;
    let mut plain = Http1::new(TcpStream::connect(gateway.address).await.unwrap());
    plain.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    plain.rest().await.unwrap_or_default();
    assert_eq!(gateway.told(1).await[0].code, "handshake-failed");
    assert_eq!(Http1::new(gateway.connect(&one).await).get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn for_a_header_that_does_not_end() {
    let (lab, gateway, one, _) = start(|config| config.header_timeout = BRIEF).await;
    let mut slow = Http1::new(gateway.connect(&one).await);
    assert_eq!(slow.get("/", &[]).await.status, 200);
    slow.send("GET / HTTP/1.1\r\nHost: loc").await;
    assert!(slow.rest().await.unwrap_or_default().is_empty());
    // One that is complete has no such limit, nor has the pause before one.
    let mut http = Http1::new(gateway.connect(&one).await);
    tokio::time::sleep(3 * BRIEF.0).await;
    http.send("GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    tokio::time::sleep(3 * BRIEF.0).await;
    lab.origin.release();
    assert_eq!(http.answer().await.status, 200);
}

#[tokio::test]
async fn for_a_connection_without_request() {
    let (_lab, gateway, one, two) = start(|config| config.idle_timeout = BRIEF).await;
    let mut http = Http1::new(gateway.connect(&one).await);
    assert_eq!(http.get("/", &[]).await.status, 200);
    // A proper end: close_notify, not a reset.
    assert!(http.rest().await.unwrap().is_empty());

    let mut sender = http::http2(gateway.connect(&two).await).await;
    assert_eq!(sender.send_request(get("/")).await.unwrap().status(), 200);
    timeout(SOON, async {
        while sender.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

/// Longer than the pause after which a connection gives back what HTTP took.
const PAUSE: Duration = Duration::from_millis(2300);

#[tokio::test]
async fn for_the_memory_of_a_pause_which_is_not_noticed() {
    let (lab, mut gateway, one, _) = start(|_| {}).await;
    let mut http = Http1::new(gateway.connect(&one).await);
    let mut unused = Http1::new(gateway.connect(&one).await);
    let mut gone = Http1::new(gateway.connect(&one).await);
    assert_eq!(http.get("/", &[]).await.status, 200);
    http.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        .await;
    assert_eq!(http.answer().await.text(), "hello");
    assert_eq!(gone.get("/", &[]).await.status, 200);

    // Twice, and the second time two requests come at once.
    for round in 1..=2_usize {
        tokio::time::sleep(PAUSE).await;
        http.send(format!("GET /after/{round} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(round)).await;
        for _ in 0..round {
            assert_eq!(http.answer().await.text(), "ok\n");
        }
    }
    // And a request whose beginning came with the one before.
    http.send("GET /whole HTTP/1.1\r\nHost: localhost\r\n\r\nGET /half HT").await;
    assert_eq!(http.answer().await.text(), "ok\n");
    tokio::time::sleep(PAUSE).await;
    http.send("TP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(http.answer().await.text(), "ok\n");
    assert_eq!(unused.get("/", &[]).await.status, 200);
    let seen = lab.origin.seen();
    let lines: Vec<_> = seen.iter().map(|request| format!("{} {}", request.method, request.target)).collect();
    let expected = [
        "GET /",
        "POST /echo",
        "GET /",
        "GET /after/1",
        "GET /after/2",
        "GET /after/2",
        "GET /whole",
        "GET /half",
        "GET /",
    ];
    assert_eq!(lines, expected);
    assert!(seen.iter().all(|request| request.values("dane-clientid") == [SENSOR]));

    // A pause also ends with the connection, from either side.
    tokio::time::sleep(PAUSE).await;
    drop(gone);
    gateway.stop();
    assert!(http.rest().await.unwrap().is_empty());
    assert!(timeout(SOON, gateway.task).await.unwrap().unwrap());
}

#[tokio::test]
async fn for_a_pause_that_is_too_long() {
    let idle = Span(PAUSE + Duration::from_millis(300));
    let (_lab, gateway, one, _) = start(|config| config.idle_timeout = idle).await;
    let mut http = Http1::new(gateway.connect(&one).await);
    assert_eq!(http.get("/", &[]).await.status, 200);
    assert!(http.rest().await.unwrap().is_empty());
}

#[tokio::test]
async fn for_a_header_that_does_not_end_after_a_pause() {
    let (_lab, gateway, one, _) = start(|config| config.header_timeout = BRIEF).await;
    let mut slow = Http1::new(gateway.connect(&one).await);
    assert_eq!(slow.get("/", &[]).await.status, 200);
    tokio::time::sleep(PAUSE).await;
    slow.send("GET /").await;
    assert!(slow.rest().await.unwrap_or_default().is_empty());
}

#[tokio::test]
async fn for_a_client_that_does_not_read() {
    let (lab, gateway, one, _) = start(|config| config.idle_timeout = BRIEF).await;
    let mut http = Http1::new(gateway.connect(&one).await);
    http.send("GET /big/100000000 HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    lab.origin.wait_for(1).await;
    timeout(SOON, lab.origin.wait_for_open(0)).await.unwrap();
}

#[tokio::test]
async fn for_a_client_that_does_not_read_one_of_many_streams() {
    let change = |config: &mut Config| (config.idle_timeout, config.max_origin_connections) = (BRIEF, 1);
    let (lab, gateway, one, two) = start(change).await;
    let io = TokioIo::new(gateway.connect(&two).await);
    // No stream may carry a single octet, so the socket is never full.
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.initial_stream_window_size(0).handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let unread = sender.send_request(get("/big/100000000")).await.unwrap();
    assert_eq!(unread.status(), 200);
    // The connection ends, and the only place at the origin is free again.
    let _ = timeout(SOON, connection).await.unwrap();
    assert_eq!(Http1::new(gateway.connect(&one).await).get("/", &[]).await.status, 200);
    drop(unread);

    // So it is with what the gateway has read to the end.
    let io = TokioIo::new(gateway.connect(&two).await);
    let (mut sender, connection) = builder.handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let unread = sender.send_request(get("/big/10")).await.unwrap();
    let _ = timeout(SOON, connection).await.unwrap();
    drop(unread);
    assert_eq!(lab.origin.seen().len(), 3);
}

#[tokio::test]
async fn but_not_for_an_origin_that_takes_its_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut octets = [0; 1024];
                let _ = stream.read(&mut octets).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                for _ in 0..3 {
                    let _ = stream.write_all(b"5\r\nevent\r\n").await;
                    tokio::time::sleep(4 * BRIEF.0).await;
                }
                let _ = stream.write_all(b"0\r\n\r\n").await;
            });
        }
    });
    let change = |config: &mut Config| (config.idle_timeout, config.origin) = (BRIEF, Some(address.parse().unwrap()));
    let (_lab, gateway, one, two) = start(change).await;
    let mut sender = http::http2(gateway.connect(&two).await).await;
    let events = sender.send_request(get("/events")).await.unwrap();
    let (body, _) = timeout(SOON, collect(events)).await.unwrap();
    assert_eq!(body, b"eventeventevent");
    assert_eq!(Http1::new(gateway.connect(&one).await).get("/events", &[]).await.text(), "eventeventevent");
}

#[tokio::test]
async fn for_a_tunnel_in_which_nothing_moves() {
    let (lab, gateway, one, _) = start(|config| config.tunnel_idle_timeout = Span(4 * BRIEF.0)).await;
    let fields = ["Connection: Upgrade", "Upgrade: websocket"];
    let mut silent = Http1::new(gateway.connect(&one).await);
    assert_eq!(silent.get("/websocket", &fields).await.status, 101);
    let mut busy = Http1::new(gateway.connect(&one).await);
    assert_eq!(busy.get("/websocket", &fields).await.status, 101);
    // Both together are open for longer than that, one of them does not rest for so long.
    for _ in 0..8 {
        busy.send("ping").await;
        let mut pong = [0; 4];
        timeout(SOON, busy.0.read_exact(&mut pong)).await.unwrap().unwrap();
        assert_eq!(&pong, b"ping");
        tokio::time::sleep(BRIEF.0).await;
    }
    assert!(silent.rest().await.unwrap_or_default().is_empty());
    timeout(SOON, lab.origin.wait_for_open(1)).await.unwrap();
    drop(busy);
}

// HTTP-19
#[tokio::test]
async fn for_the_size_of_a_header() {
    let (lab, gateway, one, two) = start(|config| config.max_header_bytes = 8192).await;
    let fits = format!("X-Fits: {}", "x".repeat(7000));
    let large = format!("X-Large: {}", "x".repeat(9000));
    let mut http = Http1::new(gateway.connect(&one).await);
    assert_eq!(http.get("/", &[&fits]).await.status, 200);
    assert_eq!(http.get("/", &[&large]).await.status, 431);

    let mut sender = http::http2(gateway.connect(&two).await).await;
    let mut request = get("/");
    request.headers_mut().insert("x-large", "x".repeat(9000).parse().unwrap());
    assert_eq!(sender.send_request(request).await.unwrap().status(), 431);
    let mut request = get("/");
    request.headers_mut().insert("x-fits", "x".repeat(7000).parse().unwrap());
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    assert_eq!(lab.origin.seen().len(), 2);
}

#[tokio::test]
async fn for_the_number_of_connections() {
    let (lab, gateway, one, _) = start(|config| config.max_connections = 1).await;
    let mut first = Http1::new(gateway.connect(&one).await);
    assert_eq!(first.get("/", &[]).await.status, 200);
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let connector = dance_tls::Connector::new(&one).unwrap();
    let second = tokio::spawn(async move { connector.connect("localhost", stream).await.unwrap() });
    // The first goes on while the second waits.
    for _ in 0..3 {
        assert_eq!(first.get("/", &[]).await.status, 200);
    }
    assert!(!second.is_finished());
    assert_eq!(gateway.told(1).await.len(), 1);
    drop(first);
    let mut second = Http1::new(timeout(SOON, second).await.unwrap().unwrap());
    assert_eq!(second.get("/", &[]).await.status, 200);
    assert_eq!(lab.origin.seen().len(), 5);
}

#[tokio::test]
async fn for_streams_on_one_connection() {
    let (lab, gateway, one, two) = start(|config| config.max_streams = 3).await;
    let mut sender = http::http2(gateway.connect(&two).await).await;
    // The limit is known to the client after a first answer.
    assert_eq!(sender.send_request(get("/")).await.unwrap().status(), 200);
    let held: Vec<_> = (0..3).map(|_| tokio::spawn(sender.send_request(get("/hold")))).collect();
    lab.origin.wait_for(4).await;
    let fourth = tokio::spawn(sender.send_request(get("/fourth")));
    assert_eq!(Http1::new(gateway.connect(&one).await).get("/other", &[]).await.status, 200);
    assert!(!fourth.is_finished());
    lab.origin.release();
    for stream in held {
        assert_eq!(collect(stream.await.unwrap().unwrap()).await.0, b"held\n");
    }
    assert_eq!(fourth.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn and_finishes_what_is_under_way_when_it_stops() {
    let (lab, mut gateway, one, two) = start(|_| {}).await;
    let mut idle = Http1::new(gateway.connect(&one).await);
    assert_eq!(idle.get("/", &[]).await.status, 200);
    let mut http = Http1::new(gateway.connect(&one).await);
    http.send("GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut sender = http::http2(gateway.connect(&two).await).await;
    let stream = tokio::spawn(sender.send_request(get("/hold")));
    lab.origin.wait_for(3).await;

    gateway.stop();
    // The idle connection ends, and nobody new gets in.
    assert!(idle.rest().await.unwrap().is_empty());
    assert!(TcpStream::connect(gateway.address).await.is_err());
    timeout(SOON, async { while sender.send_request(get("/late")).await.is_ok() {} }).await.unwrap();
    assert!(!gateway.task.is_finished());

    lab.origin.release();
    let answer = http.answer().await;
    assert_eq!((answer.text(), answer.values("connection")), ("held\n", vec!["close"]));
    assert_eq!(collect(stream.await.unwrap().unwrap()).await.0, b"held\n");
    assert!(timeout(SOON, gateway.task).await.unwrap().unwrap(), "nothing had to be cut off");
}

#[tokio::test]
async fn but_does_not_wait_for_ever() {
    let (lab, mut gateway, one, _) = start(|config| config.drain_timeout = BRIEF).await;
    let mut http = Http1::new(gateway.connect(&one).await);
    http.send("GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut tunnel = Http1::new(gateway.connect(&one).await);
    let answer = tunnel.get("/websocket", &["Connection: Upgrade", "Upgrade: websocket"]).await;
    assert_eq!(answer.status, 101);
    lab.origin.wait_for(2).await;
    gateway.stop();
    assert!(!timeout(SOON, gateway.task).await.unwrap().unwrap(), "something was cut off");
    assert!(http.rest().await.unwrap_or_default().is_empty());
    assert!(tunnel.rest().await.unwrap_or_default().is_empty());
    // What it still had to say has nobody to say it to.
    lab.origin.release();
    timeout(SOON, lab.origin.wait_for_open(0)).await.unwrap();
}
