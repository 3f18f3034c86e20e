use std::net::SocketAddr;
use std::time::Duration;

use dance_gateway::Config;
use dance_gateway::config::Span;
use dance_testkit::Origin;
use dance_tls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::http::{Http1, collect, get, http2};
use crate::lab::{Lab, SENSOR, SOON};

async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn an_origin_that_is_down_is_a_502_until_it_is_up() {
    let lab = Lab::new().await;
    let address = closed_port().await;
    let gateway = lab.start_with(Config { origin: Some(address.to_string().parse().unwrap()), ..lab.config() });
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    for _ in 0..2 {
        let answer = http.get("/", &[]).await;
        // The status and nothing about why.
        assert_eq!((answer.status, answer.text()), (502, "502 Bad Gateway\n"));
        assert_eq!(answer.values("cache-control"), ["no-store"]);
    }
    let origin = Origin::start_at(address).await.unwrap();
    assert_eq!(http.get("/", &[]).await.status, 200);
    assert_eq!(origin.seen()[0].values("dane-clientid"), [SENSOR]);
}

#[tokio::test]
async fn one_that_says_nothing_is_a_504() {
    let lab = Lab::new().await;
    let gateway = lab.start_with(Config { origin_timeout: Span(Duration::from_millis(100)), ..lab.config() });
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    let answer = http.get("/never", &[]).await;
    assert_eq!((answer.status, answer.text()), (504, "504 Gateway Timeout\n"));
    assert_eq!(http.get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn one_that_breaks_off_is_a_502() {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    let seen = || lab.origin.seen().len();
    // On a new connection nobody can have closed it in passing: that was the answer.
    assert_eq!((http.get("/break", &[]).await.status, seen()), (502, 1));
    // On one that was idle, a request that has no effects is sent once more.
    assert_eq!((http.get("/", &[]).await.status, seen()), (200, 2));
    assert_eq!((http.get("/break", &[]).await.status, seen()), (502, 4));
    // One that may have had effects is not.
    assert_eq!((http.get("/", &[]).await.status, seen()), (200, 5));
    http.send("POST /break HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!((http.answer().await.status, seen()), (502, 6));
    // Nor is one whose body is gone.
    assert_eq!((http.get("/", &[]).await.status, seen()), (200, 7));
    http.send("PUT /break HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!((http.answer().await.status, seen()), (502, 8));
}

#[tokio::test]
async fn one_that_speaks_something_else_is_a_502() {
    let lab = Lab::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut octets = [0; 1024];
            let _ = stream.read(&mut octets).await;
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
        }
    });
    let gateway = lab.start_with(Config { origin: Some(address.parse().unwrap()), ..lab.config() });
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    assert_eq!(http.get("/", &[]).await.status, 502);
}

#[tokio::test]
async fn one_that_closes_idle_connections_is_asked_again() {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    // Each of these connections is closed by the origin after it has promised to keep it.
    for _ in 0..5 {
        assert_eq!(http.get("/once", &[]).await.status, 200);
    }
    assert_eq!((lab.origin.connections(), lab.origin.seen().len()), (5, 5));
}

#[tokio::test]
async fn one_whose_connections_are_all_in_use_is_a_503() {
    let lab = Lab::new().await;
    let gateway = lab.start_with(Config {
        max_origin_connections: 1,
        origin_connect_timeout: Span(Duration::from_millis(100)),
        ..lab.config()
    });
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut holding = Http1::new(gateway.connect(&client).await);
    holding.send("GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    lab.origin.wait_for(1).await;
    let mut other = Http1::new(gateway.connect(&client).await);
    assert_eq!(other.get("/", &[]).await.status, 503);
    lab.origin.release();
    assert_eq!(holding.answer().await.text(), "held\n");
    assert_eq!(other.get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn one_whose_connections_one_client_wants_has_some_left_for_others() {
    let lab = Lab::new().await;
    let gateway = lab.start_with(Config {
        max_origin_connections: 8,
        origin_connect_timeout: Span(Duration::from_millis(100)),
        ..lab.config()
    });
    let one = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let two = ClientConfig { alpn: vec![b"h2".to_vec()], ..one.clone() };
    let mut greedy = http2(gateway.connect(&two).await).await;
    // A quarter of them is its share.
    let held: Vec<_> = (0..2).map(|_| tokio::spawn(greedy.send_request(get("/hold")))).collect();
    lab.origin.wait_for(2).await;
    for _ in 0..6 {
        let more = timeout(SOON, greedy.send_request(get("/hold"))).await.unwrap();
        assert_eq!(more.unwrap().status(), 503);
    }
    assert_eq!(Http1::new(gateway.connect(&one).await).get("/", &[]).await.status, 200);
    // What waits is served in its turn.
    let waiting = tokio::spawn(greedy.send_request(get("/")));
    lab.origin.release();
    for stream in held {
        assert_eq!(collect(stream.await.unwrap().unwrap()).await.0, b"held\n");
    }
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn and_is_not_made_of_what_the_client_did_wrong() {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    for chunks in ["5\r\nhello\r\nno size\r\n", "5\r\nhello, world\r\n0\r\n\r\n", "-1\r\n"] {
        let mut http = Http1::new(gateway.connect(&client).await);
        http.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")).await;
        assert_eq!(http.answer().await.status, 400, "{chunks:?}");
    }
    assert_eq!(lab.origin.seen().len(), 0);
    let mut http = Http1::new(gateway.connect(&client).await);
    http.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
    assert_eq!(http.answer().await.status, 200);
}
