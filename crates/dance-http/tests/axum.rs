//! In an application of axum: the layer on a router, the client as an argument, the peer from the listener.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::routing::{get, post};
use axum::{Json, Router};
use dance_http::{AuthenticatedClient, DaneLayer, Peer, Rules, TrustedPeers};
use http_body_util::BodyExt as _;
use serde_json::Value;
use support::{NAME, Scene, rules};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tower::ServiceExt as _;

async fn whoami(client: AuthenticatedClient) -> String {
    client.identity().to_owned()
}

async fn echo(client: AuthenticatedClient, Json(body): Json<Value>) -> String {
    format!("{} {body}", client.identity())
}

fn app(scene: &Scene, rules: Rules) -> Router {
    let protected = Router::new().route("/whoami", get(whoami)).route("/echo", post(echo));
    let layer = DaneLayer::new(scene.checker(rules));
    Router::new().route("/public", get(async || "anybody")).merge(protected.layer(layer))
}

/// Status, and what follows the head.
async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: String) -> (u16, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.get(9..12).unwrap().parse().unwrap(), body.to_owned())
}

fn get_(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n{lines}\r\n")
}

// HTTP-10, HTTP-12, HTTP-14: over TCP, by either of axum's ways to tell the peer.
#[tokio::test]
async fn a_router_behind_a_balancer() {
    let scene = Scene::new().await;
    let certificate = format!("Client-Cert: {}\r\n", scene.forwarded(&scene.client));
    let asserted = format!("{certificate}Dane-Clientid-Asserted: {NAME}\r\n");
    let json = format!("{{\"dane_clientid\":\"{NAME}\",\"celsius\":21}}");
    let posted = format!(
        "POST /echo HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n{certificate}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{json}",
        json.len()
    );
    for by_address in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = app(&scene, rules());
        let server = tokio::spawn(async move {
            match by_address {
                false => axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await,
                true => axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await,
            }
        });
        let send = async |request| send(TcpStream::connect(address).await.unwrap(), request).await;
        assert_eq!(send(get_("/whoami", &asserted)).await, (200, NAME.to_owned()));
        let (status, echoed) = send(posted.clone()).await;
        assert_eq!((status, echoed), (200, format!("{NAME} {}", serde_json::from_str::<Value>(&json).unwrap())));
        assert_eq!(send(get_("/whoami", &certificate)).await, (401, String::new()));
        assert_eq!(send(get_("/whoami", "")).await, (401, String::new()));
        assert_eq!(send(get_("/public", "")).await, (200, "anybody".to_owned()));
        server.abort();
    }
}

// HTTP-14: whoever may open the socket, and nobody where the server does not say who sent a request.
#[tokio::test]
async fn a_router_on_a_unix_socket() {
    let scene = Scene::new().await;
    let lines = format!("Client-Cert: {}\r\nDane-Clientid-Asserted: {NAME}\r\n", scene.forwarded(&scene.client));
    let directory = tempfile::tempdir().unwrap();
    for (told, trusted, expected) in [(true, "unix", 200), (true, "127.0.0.1", 401), (false, "unix, 127.0.0.1", 401)] {
        let path = directory.path().join(format!("{told}-{trusted}"));
        let listener = UnixListener::bind(&path).unwrap();
        let trusted_peers: TrustedPeers = trusted.parse().unwrap();
        let app = app(&scene, Rules { trusted_peers, ..rules() });
        let server = tokio::spawn(async move {
            match told {
                true => axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await,
                false => axum::serve(listener, app.into_make_service()).await,
            }
        });
        let (status, _) = send(UnixStream::connect(&path).await.unwrap(), get_("/whoami", &lines)).await;
        assert_eq!(status, expected, "{told} {trusted}");
        server.abort();
    }
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// HTTP-05: a route that was left out lets nobody in, and the log says whose fault that is.
#[tokio::test]
async fn a_route_without_the_layer_is_closed() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = Router::new().route("/whoami", get(whoami));
    let request = http::Request::get("/whoami").header("dane-clientid", NAME).body(axum::body::Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 500);
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("ERROR") && log.contains("add it to the router") && log.contains("/whoami"), "{log}");
}
