//! The web application of the demonstration: knows nothing of TLS or DNS, and believes a header.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The field in which the gateway says who connected.
pub(super) const HEADER: &str = "Dane-Clientid";

/// A running application. Dropping it ends it.
pub(super) struct App {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl App {
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let seen = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&seen)));
        Ok(Self { address, seen, _tasks: tasks })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The identity header of every request since the last call.
    pub(super) fn take_seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn serve(listener: TcpListener, seen: Arc<Mutex<Vec<String>>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
        let service = service_fn(move |request: Request<Incoming>| {
            let greeting = greet(&request, &seen);
            async move { Ok::<_, Infallible>(greeting) }
        });
        connections.spawn(async move {
            // A connection that breaks is the gateway's business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn greet(request: &Request<Incoming>, seen: &Mutex<Vec<String>>) -> Response<Full<Bytes>> {
    let name = request.headers().get(HEADER).and_then(|value| value.to_str().ok());
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(name.unwrap_or("no such header").to_owned());
    let greeting = format!("hello, {}\n", name.unwrap_or("whoever you are"));
    Response::new(Full::new(Bytes::from(greeting)))
}
