//! Bodies: as long as may be, in pieces, late, broken off, and never read where nothing depends on them.

use dance_auth_service::Config;
use dance_auth_service::config::NameFromSetting;
use dance_daemon::Span;
use http::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::lab::{Lab, NAME, text};

fn json(name: &str, filler: usize) -> String {
    format!("{{\"dane_clientid\":\"{name}\",\"x\":\"{}\"}}", "x".repeat(filler))
}

// HTTP-10, HTTP-13: 413 for what is too long, by what it says of itself or by what it is.
#[tokio::test]
async fn are_read_up_to_their_limit() {
    let lab = Lab::new().await;
    let service = lab.start(&Config { body_limit: 1000, ..lab.config() });
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for (filler, status) in [(0, 200), (900, 200), (1000, 413), (3_000_000, 413)] {
            let request = lab.request().method("POST").header("content-type", "application/json");
            let answer = service.send(version, request.body(text(&json(NAME, filler))).unwrap()).await;
            if status == 200 {
                answer.assert_welcome(NAME)
            } else {
                answer.assert_refused(status, &format!("{filler}"))
            }
        }
    }
    let certificate = lab.forwarded(&lab.client);
    let chunked = |chunks: usize| {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nClient-Cert: {certificate}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let start = format!("{{\"dane_clientid\":\"{NAME}\"");
        let rest = "64\r\n".to_owned() + &" ".repeat(100) + "\r\n";
        format!("{head}{:x}\r\n{start}\r\n{}1\r\n}}\r\n0\r\n\r\n", start.len(), rest.repeat(chunks))
    };
    assert!(service.raw(&chunked(2)).await.starts_with("HTTP/1.1 200 "));
    assert!(service.raw(&chunked(20)).await.starts_with("HTTP/1.1 413 "));
}

/// Reads up to the end of a head.
async fn head(stream: &mut TcpStream) -> String {
    let mut octets = Vec::new();
    while !octets.ends_with(b"\r\n\r\n") {
        octets.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(octets).unwrap()
}

// HTTP-10: `Expect: 100-continue` is answered once the body is wanted, and not before.
#[tokio::test]
async fn are_asked_for_when_they_are_wanted() {
    let lab = Lab::new().await;
    let service = lab.start(&lab.config());
    let body = json(NAME, 0);
    let request = |certificate: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nClient-Cert: {certificate}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        )
    };
    let mut stream = service.tcp().await;
    stream.write_all(request(&lab.forwarded(&lab.client)).as_bytes()).await.unwrap();
    assert_eq!(head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let mut stream = service.tcp().await;
    stream.write_all(request(":x:").as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 400 "));
}

// HTTP-13, SEC-14: a body that does not come, or not to its end.
#[tokio::test]
async fn have_their_time() {
    let lab = Lab::new().await;
    let service = lab.start(&Config { body_timeout: Span(std::time::Duration::from_millis(100)), ..lab.config() });
    let certificate = lab.forwarded(&lab.client);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nClient-Cert: {certificate}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    );
    for sent in ["", "{\"dane_clientid\":"] {
        assert!(service.raw(&format!("{head}{sent}")).await.starts_with("HTTP/1.1 400 "), "{sent}");
    }
    // Broken off.
    let mut stream = service.tcp().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(!answer.contains(" 200 "), "{answer}");
    assert!(lab.world.tlsa_queries().is_empty());
    let good = lab.request().header("content-type", "application/json").body(text(&json(NAME, 0))).unwrap();
    service.get(good).await.assert_welcome(NAME);
}

// HTTP-10: a balancer that passes bodies on for nothing is answered, and keeps its connection.
#[tokio::test]
async fn that_nobody_wants_are_read_all_the_same() {
    let lab = Lab::new().await;
    let service = lab.start(&Config { name_from: NameFromSetting::Header, ..lab.config() });
    let certificate = lab.forwarded(&lab.client);
    let body = "x".repeat(300_000);
    let request = |more: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{more}Client-Cert: {certificate}\r\nDane-Clientid-Asserted: {NAME}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let answer = service.raw(&(request("") + &request("") + &request("Connection: close\r\n"))).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 3, "{answer}");
}

// HTTP-10: what Envoy has cut off is not what the application gets.
#[tokio::test]
async fn that_envoy_has_cut_off_are_too_long() {
    let lab = Lab::new().await;
    let service = lab.start(&lab.config());
    for (value, status) in [("true", 413), ("false", 200), ("TRUE", 413)] {
        let request =
            lab.request().header("content-type", "application/json").header("x-envoy-auth-partial-body", value);
        let answer = service.get(request.body(text(&json(NAME, 0))).unwrap()).await;
        if status == 200 { answer.assert_welcome(NAME) } else { answer.assert_refused(status, value) }
    }
}

// HTTP-13: two lengths, length and chunks: one request or none, never two.
#[tokio::test]
async fn with_two_lengths_are_not_read() {
    let lab = Lab::new().await;
    let service = lab.start(&lab.config());
    let certificate = lab.forwarded(&lab.client);
    let smuggled =
        format!("GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: {certificate}\r\nDane-Clientid-Asserted: {NAME}\r\n\r\n");
    for lengths in [
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: identity, chunked, x\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
    ] {
        let answer = service.raw(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lengths}\r\n{smuggled}")).await;
        assert!(!answer.contains(" 200 "), "{lengths}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{lengths}: {answer}");
    }
    let answer = service.raw(&smuggled.replace("Host: a", "Host: a\r\nConnection: close")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

// HTTP-03, HTTP-10: trailers are no headers.
#[tokio::test]
async fn end_with_trailers_that_say_nothing() {
    let lab = Lab::new().await;
    let service = lab.start(&lab.config());
    let certificate = lab.forwarded(&lab.client);
    let request = |body: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nClient-Cert: {certificate}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: Dane-Clientid-Asserted\r\n\r\n{:x}\r\n{body}\r\n0\r\nDane-Clientid-Asserted: {NAME}\r\n\r\n",
            body.len()
        )
    };
    assert!(service.raw(&request("{}")).await.starts_with("HTTP/1.1 401 "));
    assert!(service.raw(&request(&json(NAME, 0))).await.starts_with("HTTP/1.1 200 "));
}
