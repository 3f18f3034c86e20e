//! The tower layer: a request of an authenticated client goes to the application, every other is answered here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use dance_core::verdict::VerifiedClient;
use dance_resolver::TlsaSource;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{self, CheckedBody};
use crate::check::{CheckEvent, Checked, Checker};
use crate::identity::IdentityFields;
use crate::peer::Peer;
use crate::refusal::Refusal;

/// Who sent the request: what the application takes out of its extensions. Only this crate puts it there.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient(Arc<VerifiedClient>);

impl AuthenticatedClient {
    /// The client.
    #[must_use]
    pub fn client(&self) -> &VerifiedClient {
        &self.0
    }
}

impl std::ops::Deref for AuthenticatedClient {
    type Target = VerifiedClient;

    fn deref(&self) -> &VerifiedClient {
        &self.0
    }
}

/// Puts the check in front of a service. By itself it decides nothing: see [`Checker`].
///
/// The server says for each connection who is at its other end, by a [`Peer`]:
///
/// ```
/// # use std::sync::Arc;
/// # use dance_http::{CheckedBody, Checker, DaneLayer, Peer};
/// # use http::{Request, Response};
/// # use http_body_util::Full;
/// # use hyper::body::{Bytes, Incoming};
/// # use hyper_util::rt::{TokioExecutor, TokioIo};
/// # use hyper_util::{server::conn::auto, service::TowerToHyperService};
/// # use tower::{Layer as _, service_fn};
/// # async fn application(_: Request<CheckedBody<Incoming>>) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
/// #     Ok(Response::default())
/// # }
/// # async fn serve(
/// #     checker: Arc<Checker<dance_resolver::Resolver>>,
/// #     listener: tokio::net::TcpListener,
/// # ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let service = DaneLayer::new(checker).layer(service_fn(application));
/// let (stream, address) = listener.accept().await?;
/// let service = TowerToHyperService::new(Peer::from(address).layer(service.clone()));
/// auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
/// # }
/// ```
///
/// A body that may hold the name is waited for, for as long as the server waits: limits on time are the server's, or those of a layer in
/// front of this one. A request that becomes something else, such as a WebSocket, is checked once, like every other.
pub struct DaneLayer<S> {
    checker: Arc<Checker<S>>,
    fields: Arc<IdentityFields>,
}

impl<S: TlsaSource> DaneLayer<S> {
    /// A layer over `checker`.
    #[must_use]
    pub fn new(checker: Arc<Checker<S>>) -> Self {
        let fields = Arc::new(IdentityFields::new(&checker.rules().forwarded_by));
        Self { checker, fields }
    }
}

impl<S> Clone for DaneLayer<S> {
    fn clone(&self) -> Self {
        Self { checker: Arc::clone(&self.checker), fields: Arc::clone(&self.fields) }
    }
}

impl<S, T> Layer<T> for DaneLayer<S> {
    type Service = DaneService<S, T>;

    fn layer(&self, inner: T) -> DaneService<S, T> {
        DaneService { checker: Arc::clone(&self.checker), fields: Arc::clone(&self.fields), inner }
    }
}

/// A service that hears authenticated clients alone.
pub struct DaneService<S, T> {
    checker: Arc<Checker<S>>,
    fields: Arc<IdentityFields>,
    inner: T,
}

impl<S, T: Clone> Clone for DaneService<S, T> {
    fn clone(&self) -> Self {
        Self { checker: Arc::clone(&self.checker), fields: Arc::clone(&self.fields), inner: self.inner.clone() }
    }
}

type Answer<R, E> = Pin<Box<dyn Future<Output = Result<R, E>> + Send>>;

impl<S, T, B, R> Service<Request<B>> for DaneService<S, T>
where
    S: TlsaSource + 'static,
    T: Service<Request<CheckedBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    T::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = T::Error;
    type Future = Answer<Response<R>, T::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (checker, fields) = (Arc::clone(&self.checker), Arc::clone(&self.fields));
        // The one that was polled ready is the one that is called.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let (start, peer) = (Instant::now(), Peer::of(request.extensions()));
            let (checked, request) = check(&checker, &fields, request, peer).await;
            checker.tell(&CheckEvent { peer, checked: &checked, elapsed: start.elapsed() });
            match (checked.outcome, request) {
                (Ok(client), Some(mut request)) => {
                    fields.rewrite(request.headers_mut(), &client);
                    request.extensions_mut().insert(AuthenticatedClient(client.into()));
                    let mut response = inner.call(request).await?;
                    fields.keep_from_caches(response.headers_mut());
                    Ok(response)
                }
                (Err(refusal), _) => Ok(refusal.response(checker.rules())),
                (Ok(_), None) => Ok(Refusal::BodyIncomplete.response(checker.rules())),
            }
        })
    }
}

/// The check, and the request with its body as it was; without it where nobody will want it any more.
async fn check<S, B>(
    checker: &Checker<S>,
    fields: &Arc<IdentityFields>,
    request: Request<B>,
    peer: Option<Peer>,
) -> (Checked, Option<Request<CheckedBody<B>>>)
where
    S: TlsaSource,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let begun = match checker.begin(&parts.headers, peer) {
        Ok(begun) => begun,
        Err(refusal) => return (Checked::refused(refusal), None),
    };
    if begun.body().is_none() {
        let checked = checker.finish(begun, None).await;
        return (checked, Some(Request::from_parts(parts, CheckedBody::untouched(body, Arc::clone(fields)))));
    }
    let (data, trailers) = match body::read_body(body, checker.rules().body_limit).await {
        Ok(read) => read,
        Err(refusal) => return (begun.refused(refusal), None),
    };
    let checked = checker.finish(begun, Some(&data)).await;
    (checked, Some(Request::from_parts(parts, CheckedBody::read(data, trailers, Arc::clone(fields)))))
}
