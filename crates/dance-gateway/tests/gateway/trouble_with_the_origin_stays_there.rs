use std::net::SocketAddr;
use std::time::Duration;

use dance_gateway::Config;
use dance_gateway::duration::Span;
use dance_testkit::Origin;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::http::Http1;
use crate::lab::{Lab, SENSOR};

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
