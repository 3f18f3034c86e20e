//! In a server of tonic, whose connections say in their own way who is at the other end.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::convert::Infallible;

use dance_http::{AuthenticatedClient, CheckedBody, DaneLayer, Peer};
use http::Request;
use support::wire::{Answer, Sent, Server};
use support::{NAME, Scene, rules};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tower::util::MapRequestLayer;

// HTTP-12, HTTP-14
#[tokio::test]
async fn calls_have_an_authenticated_client() {
    let scene = Scene::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let peer = MapRequestLayer::new(|mut request: Request<Body>| {
        let info: Option<&TcpConnectInfo> = request.extensions().get();
        if let Some(address) = info.and_then(TcpConnectInfo::remote_addr) {
            request.extensions_mut().insert(Peer::from(address));
        }
        request
    });
    // As generated services are: any body in, tonic's out.
    let called = tower::service_fn(async |request: Request<CheckedBody<Body>>| {
        assert_eq!(request.extensions().get::<AuthenticatedClient>().unwrap().identity(), NAME);
        Ok::<_, Infallible>(tonic::Status::unimplemented("").into_http::<Body>())
    });
    let server = tonic::transport::Server::builder().layer(peer).layer(DaneLayer::new(scene.checker(rules())));
    let task = tokio::spawn(async move {
        server.serve_with_incoming(called, TcpIncoming::from(listener)).await.unwrap();
    });
    let server = Server::of(address, task);
    let call = Sent::default().with("content-type", "application/grpc").with("te", "trailers");
    let certified = call.clone().with("client-cert", scene.forwarded(&scene.client));
    for (sent, status) in [
        (certified.clone().with("dane-clientid-asserted", NAME), 200),
        (certified, 401),
        (call.with("dane-clientid-asserted", NAME), 401),
    ] {
        assert_eq!(server.send_http2(&sent.http2()).await, Answer::Status(status));
    }
}
