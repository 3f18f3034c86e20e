//! For axum: [`AuthenticatedClient`] as an argument of handlers, and [`Peer`] as what a listener of axum knows of a connection.
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::{Router, routing::get};
//! use dance_http::{AuthenticatedClient, Checker, DaneLayer, Peer};
//! # use dance_resolver::Resolver;
//!
//! async fn hello(client: AuthenticatedClient) -> String {
//!     format!("hello {}\n", client.identity())
//! }
//!
//! # async fn serve(checker: Arc<Checker<Resolver>>, listener: tokio::net::TcpListener) -> std::io::Result<()> {
//! let app = Router::new().route("/", get(hello)).layer(DaneLayer::new(checker));
//! axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await
//! # }
//! ```
//!
//! Without `into_make_service_with_connect_info` nobody is a trusted peer, and every request is answered 401.

use std::net::SocketAddr;

use axum::extract::FromRequestParts;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use http::request::Parts;
use http::{Extensions, StatusCode};

use crate::layer::AuthenticatedClient;
use crate::peer::Peer;

/// The client, on every route that the layer is in front of. On one that it is not, nobody gets in.
///
/// There is no `Option` of it: whoever is not authenticated does not come so far.
impl<S: Send + Sync> FromRequestParts<S> for AuthenticatedClient {
    type Rejection = LayerMissing;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, LayerMissing> {
        parts.extensions.get().cloned().ok_or_else(|| {
            tracing::error!(path = parts.uri.path(), "{LayerMissing}");
            LayerMissing
        })
    }
}

/// A route wants an authenticated client and has no [`DaneLayer`](crate::DaneLayer) in front of it. The fault of whoever put the
/// application together; the answer is 500 and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerMissing;

impl std::fmt::Display for LayerMissing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("expected DaneLayer in front of a route that takes an AuthenticatedClient, found none: add it to the router")
    }
}

impl std::error::Error for LayerMissing {}

impl IntoResponse for LayerMissing {
    fn into_response(self) -> Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

impl Connected<IncomingStream<'_, tokio::net::TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, tokio::net::TcpListener>) -> Self {
        (*stream.remote_addr()).into()
    }
}

#[cfg(unix)]
impl Connected<IncomingStream<'_, tokio::net::UnixListener>> for Peer {
    fn connect_info(_: IncomingStream<'_, tokio::net::UnixListener>) -> Self {
        Self::UnixSocket
    }
}

/// Who is at the other end of a connection that axum has accepted.
pub(crate) fn connected(extensions: &Extensions) -> Option<Peer> {
    let peer = extensions.get::<ConnectInfo<Peer>>().map(|peer| peer.0);
    peer.or_else(|| extensions.get::<ConnectInfo<SocketAddr>>().map(|address| address.0.into()))
}
