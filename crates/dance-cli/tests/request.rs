//! `dance request`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/server.rs"]
mod server;
mod support;

use std::convert::Infallible;
use std::fs;

use bytes::Bytes;
use dance_core::clientid::{ClientForm, Profile};
use dance_core::reason::Reason;
use dance_core::verdict::{ClientId, Verdict};
use dance_tls::{ServerConfig, TlsStream};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use server::{NAME, Server, run_beside};
use support::{Ran, run};
use tokio::net::TcpStream;

const ACCEPT: Verdict = Verdict::NotDane(Reason::NoClientName);
const REFUSE: Verdict = Verdict::Abort(Reason::NoMatch);

/// Answers with what it was asked, and with the status in the path `/status/N`.
async fn mirror(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let mut text = format!("{} {} {:?}\n", parts.method, parts.uri.path(), parts.version);
    for (name, value) in &parts.headers {
        text += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    text += std::str::from_utf8(&body.collect().await.unwrap().to_bytes()).unwrap();
    let mut response = Response::new(Full::new(Bytes::from(text)));
    if let Some(status) = parts.uri.path().strip_prefix("/status/") {
        *response.status_mut() = status.parse().unwrap();
    }
    Ok(response)
}

async fn http1(stream: TlsStream<TcpStream>) {
    let io = TokioIo::new(stream);
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service_fn(mirror)).await;
}

async fn http2(stream: TlsStream<TcpStream>) {
    let io = TokioIo::new(stream);
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(io, service_fn(mirror)).await;
}

async fn start(verdict: Verdict, protocol: &str) -> Server {
    let alpn = vec![protocol.as_bytes().to_vec()];
    let alter = move |config: &mut ServerConfig| config.alpn = alpn;
    if protocol == "h2" {
        Server::start(verdict, alter, http2).await
    } else {
        Server::start(verdict, alter, http1).await
    }
}

async fn request(server: &Server, path: &str, more: &[&str]) -> Ran {
    let mut args = vec!["request".to_owned(), format!("https://localhost:{}{path}", server.addr.port())];
    args.extend(["--resolve-to".to_owned(), server.addr.to_string()]);
    args.extend(server.x509());
    args.extend(more.iter().map(|&arg| arg.to_owned()));
    run_beside(args).await
}

// CLI-03
#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_either_version_of_http() {
    for (protocol, version) in [("h2", "HTTP/2.0"), ("http/1.1", "HTTP/1.1")] {
        let mut server = start(ACCEPT, protocol).await;
        let ran = request(&server, "/whoami?x=1", &["-H", "X-Test: one", "-H", "x-test:two"]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.starts_with(&format!("GET /whoami {version}\n")), "{ran:?}");
        assert!(ran.stdout.contains("x-test: one\n") && ran.stdout.contains("x-test: two\n"), "{ran:?}");
        assert!(ran.stderr.contains(&format!("{version} 200 OK\n")), "{ran:?}");
        let presented = server.presented().await;
        assert!(
            matches!(&presented.client_id, ClientId::Form(ClientForm::Name(name)) if name.as_str() == NAME),
            "{presented:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_from_the_command_line_or_a_file() {
    let server = start(ACCEPT, "http/1.1").await;
    let ran = request(&server, "/", &["-d", "reading=7"]).await;
    assert!(ran.stdout.starts_with("POST / ") && ran.stdout.ends_with("\nreading=7"), "{ran:?}");
    assert!(ran.stdout.contains("content-length: 9\n"), "{ran:?}");

    let file = server.file("body");
    fs::write(&file, "from a file").unwrap();
    let ran = request(&server, "/", &["-X", "PUT", "-d", &format!("@{file}"), "-H", "content-type: text/plain"]).await;
    assert!(ran.stdout.starts_with("PUT / ") && ran.stdout.ends_with("\nfrom a file"), "{ran:?}");
    assert_eq!(ran.stdout.matches("content-type").count(), 1, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_goes_to_a_file_where_asked() {
    let server = start(ACCEPT, "h2").await;
    let file = server.file("out");
    let ran = request(&server, "/a", &["-o", &file]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    assert!(fs::read_to_string(&file).unwrap().starts_with("GET /a "));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_the_status() {
    let server = start(ACCEPT, "h2").await;
    for (status, code) in [(204, 0), (302, 0), (400, 1), (403, 1), (503, 1)] {
        let ran = request(&server, &format!("/status/{status}"), &[]).await;
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.stderr.contains(&format!(" {status} ")), "{ran:?}");
    }
}

// CLI-07
#[tokio::test(flavor = "multi_thread")]
async fn a_late_alert_is_a_refusal_of_the_client() {
    for protocol in ["h2", "http/1.1"] {
        let server = start(REFUSE, protocol).await;
        let ran = request(&server, "/", &[]).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
        assert!(ran.stderr.contains("error: client authentication refused"), "{ran:?}");
    }
}

// CLI-07
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_within_the_handshake_of_tls_1_2_is_a_refusal_too() {
    let options = ["--profile", "2022", "--tls12", "--no-tls13"];
    for (verdict, code) in [(REFUSE, 1), (ACCEPT, 0)] {
        let alter = |config: &mut ServerConfig| {
            config.alpn = vec![b"h2".to_vec()];
            config.profile = Profile::Draft2022;
            config.tls12 = true;
        };
        let server = Server::start(verdict, alter, http2).await;
        let ran = request(&server, "/", &options).await;
        assert_eq!(ran.code, code, "{ran:?}");
        assert_eq!(ran.stderr.contains("error: client authentication refused"), code == 1, "{ran:?}");
    }
}

#[test]
fn wrong_usage() {
    run(["request", "http://example.com/"]).assert_usage_error("client authentication needs TLS");
    run(["request", "example.com"]).assert_usage_error("https://HOST[:PORT]/PATH");
    run(["request", "https://user:secret@example.com/"]).assert_usage_error("without user name and password");
    run(["request", "https://example.com/", "-H", "no colon"]).assert_usage_error("found no colon");
    run(["request", "https://example.com/", "-X", "NO SPACE"]).assert_usage_error("--method");
}
