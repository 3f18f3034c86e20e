//! The web application of the story: behind dance-http's layer it hears authenticated clients alone, and greets them by name.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use dance_http::{AuthenticatedClient, CheckedBody, Checker, DaneLayer, Peer};
use dance_resolver::TlsaSource;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower_layer::Layer as _;
use tower_service::Service;

use crate::demo::app::HEADER;

/// What it heard: the client's name, and who its header says the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) client: Option<String>,
    pub(super) header: Option<String>,
}

/// A running application. Dropping it ends it.
pub(super) struct App {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    _tasks: JoinSet<()>,
}

impl App {
    pub(super) async fn start<S: TlsaSource + 'static>(checker: Arc<Checker<S>>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let heard = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, DaneLayer::new(checker), Greeter(Arc::clone(&heard))));
        Ok(Self { address, heard, _tasks: tasks })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests since the last call.
    pub(super) fn take_heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn serve<S: TlsaSource + 'static>(listener: TcpListener, layer: DaneLayer<S>, greeter: Greeter) {
    let mut connections = JoinSet::new();
    while let Ok((stream, peer)) = listener.accept().await {
        let checked = layer.layer(greeter.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            // Whose forwarded certificates count is decided by who is at the other end.
            request.extensions_mut().insert(Peer::Address(peer.ip()));
            let mut checked = checked.clone();
            async move {
                std::future::poll_fn(|cx| checked.poll_ready(cx)).await?;
                checked.call(request).await
            }
        });
        connections.spawn(async move {
            // A connection that breaks is the gateway's business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The application proper.
#[derive(Clone)]
struct Greeter(Arc<Mutex<Vec<Heard>>>);

impl Service<Request<CheckedBody<Incoming>>> for Greeter {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<CheckedBody<Incoming>>) -> Self::Future {
        let client = request.extensions().get::<AuthenticatedClient>();
        let client = client.map(|client| client.identity().to_owned());
        let header = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let greeting = format!("hello, {}\n", client.as_deref().unwrap_or("whoever you are"));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Heard { client, header });
        ready(Ok(Response::new(Full::new(Bytes::from(greeting)))))
    }
}
