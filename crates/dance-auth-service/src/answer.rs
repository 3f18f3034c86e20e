//! One request over HTTP: 200 and who the client is, or the status of the refusal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dance_core::verdict::VerifiedClient;
use dance_http::{CheckEvent, Checked, Checker, Peer, Refusal, read_body};
use dance_resolver::TlsaSource;
use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::body::Body;

use crate::connection::Limits;
use crate::grpc::Grpc;

/// Memory for bodies that are being read, in octets; more wait.
pub(crate) const BODY_MEMORY: usize = 64 * 1024 * 1024;
/// Envoy's word for a body that it has cut off.
const PARTIAL_BODY: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");

/// What all connections share.
pub(crate) struct Core<S> {
    pub(crate) checker: Arc<Checker<S>>,
    pub(crate) identity: HeaderName,
    pub(crate) limits: Limits,
    pub(crate) body_timeout: Duration,
    pub(crate) bodies: Semaphore,
    pub(crate) grpc: Option<Grpc<S>>,
}

impl<S: TlsaSource + 'static> Core<S> {
    pub(crate) async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        match &self.grpc {
            Some(grpc) => grpc.answer(request, peer).await,
            None => self.over_http(request, peer).await,
        }
    }

    async fn over_http(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let start = Instant::now();
        let checked = self.check(request, peer).await;
        self.checker.tell(&CheckEvent { peer: Some(peer), checked: &checked, elapsed: start.elapsed() });
        match &checked.outcome {
            Ok(client) => self.welcome(client),
            Err(refusal) => refusal.response(self.checker.rules()),
        }
    }

    async fn check(&self, request: Request<Incoming>, peer: Peer) -> Checked {
        let (parts, body) = request.into_parts();
        let begun = match self.checker.begin(&parts.headers, Some(peer)) {
            Ok(begun) => begun,
            Err(refusal) => return Checked::refused(refusal),
        };
        let name = if body.is_end_stream() {
            self.checker.name(&begun, &[])
        } else if begun.body().is_none() {
            // Whoever is still sending may not hear the answer.
            let _ = timeout(self.body_timeout, discard(body, self.checker.rules().body_limit)).await;
            self.checker.name(&begun, &[])
        } else if is_partial(&parts.headers) {
            Err(Refusal::BodyTooLarge)
        } else {
            let read = timeout(self.body_timeout, self.read(body, |body| self.checker.name(&begun, body)));
            read.await.unwrap_or(Err(Refusal::BodyIncomplete))
        };
        match name {
            Ok(name) => self.checker.decide(begun, name).await,
            Err(refusal) => begun.refused(refusal),
        }
    }

    /// Reads a body as far as memory allows, and shows it to `see`.
    async fn read<T>(&self, body: Incoming, see: impl FnOnce(&[u8]) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let limit = self.checker.rules().body_limit;
        let most = body.size_hint().upper().and_then(|octets| usize::try_from(octets).ok()).unwrap_or(limit).min(limit);
        // Never closed, and never asked for more than there is: body-limit is at most BODY_MEMORY.
        let _memory = self.bodies.acquire_many(u32::try_from(most).unwrap_or(u32::MAX)).await;
        let (body, _) = read_body(body, limit).await?;
        see(&body)
    }

    fn welcome(&self, client: &VerifiedClient) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        // Printable ASCII without spaces, so always a value.
        match HeaderValue::from_str(client.identity()) {
            Ok(identity) => {
                response.headers_mut().insert(self.identity.clone(), identity);
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            Err(error) => {
                tracing::error!(%error, "an identity that no header can hold");
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
        }
        response
    }
}

/// Reads a body that nobody wants, as far as it would be read if somebody did.
async fn discard(mut body: Incoming, limit: usize) {
    let mut read = 0_usize;
    while let Some(Ok(frame)) = body.frame().await
        && read <= limit
    {
        read = read.saturating_add(frame.data_ref().map_or(0, |data| data.len()));
    }
}

/// Whether Envoy passes only the beginning of the body on.
pub(crate) fn is_partial(headers: &HeaderMap) -> bool {
    headers.get_all(PARTIAL_BODY).iter().any(|value| value.as_bytes() != b"false")
}
