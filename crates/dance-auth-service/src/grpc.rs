//! Envoy's `ext_authz` over gRPC: `envoy.service.auth.v3.Authorization/Check`.
//!
//! Whatever a client can cause is answered by a decision, and never by a gRPC error: an Envoy that is told `failure_mode_allow` lets
//! requests through when it hears one. A call that cannot be read is the caller's own error, and is logged: Envoy makes UTF-8 of what its
//! client has sent, or sends octets as octets (`pack_as_bytes`, `encode_raw_headers`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dance_core::verdict::VerifiedClient;
use dance_http::asserted::ASSERTED;
use dance_http::forwarded::{CLIENT_CERT, CLIENT_CERT_CHAIN};
use dance_http::identity::IdentityFields;
use dance_http::{Beside, CheckEvent, Checked, Checker, Peer, Refusal};
use dance_resolver::TlsaSource;
use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue as EnvoyValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer as Source};
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::rpc::Status as RpcStatus;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};
use tower_service::Service as _;

use crate::answer::{BODY_MEMORY, is_partial};

const GRPC: &[u8] = b"application/grpc";

/// The gRPC side of the service.
pub(crate) struct Grpc<S> {
    server: AuthorizationServer<ExtAuthz<S>>,
    /// For a whole call, its look-up included.
    longest: Duration,
    /// For messages that are being read, in octets; more wait.
    memory: Arc<Semaphore>,
    /// Most octets of a message.
    octets: u32,
}

/// What a message may take of the memory for all of them, until its name is read.
type Memory = Arc<OwnedSemaphorePermit>;

/// Checks what Envoy asks about.
pub(crate) struct ExtAuthz<S> {
    checker: Arc<Checker<S>>,
    identity: HeaderName,
    fields: IdentityFields,
    /// What is removed from every request, whether Envoy has shown it or not.
    removed: Vec<HeaderName>,
}

impl<S: TlsaSource + 'static> Grpc<S> {
    /// Messages have at most `octets`.
    pub(crate) fn new(checker: Arc<Checker<S>>, identity: HeaderName, octets: usize, longest: Duration) -> Self {
        let server = AuthorizationServer::new(ExtAuthz::new(checker, identity)).max_decoding_message_size(octets);
        let octets = u32::try_from(octets.min(BODY_MEMORY)).unwrap_or(u32::MAX);
        Self { server, longest, memory: Arc::new(Semaphore::new(BODY_MEMORY)), octets }
    }

    pub(crate) async fn answer(&self, mut request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if request.version() != Version::HTTP_2 || !kind.is_some_and(|kind| kind.starts_with(GRPC)) {
            tracing::warn!(
                ?peer,
                "a request that is no gRPC: set protocol = \"http\", or have Envoy ask by grpc_service"
            );
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return response;
        }
        request.extensions_mut().insert(peer);
        let call = async {
            // Never closed, and never asked for more than there is.
            if let Ok(memory) = Arc::clone(&self.memory).acquire_many_owned(self.octets).await {
                request.extensions_mut().insert(Memory::new(memory));
            }
            self.server.clone().call(request).await
        };
        match timeout(self.longest, call).await {
            Ok(Ok(mut response)) => {
                // With a status among the headers there is no message: it did not come to a check.
                if let Some(code) = response.headers().get(Status::GRPC_STATUS).cloned() {
                    let said = response.headers_mut().remove(Status::GRPC_MESSAGE);
                    tracing::warn!(
                        ?peer,
                        ?code,
                        ?said,
                        "a call that is no Check of envoy.service.auth.v3.Authorization"
                    );
                }
                response
            }
            Err(_) => Status::new(Code::DeadlineExceeded, "").into_http(),
        }
    }
}

impl<S: TlsaSource> ExtAuthz<S> {
    fn new(checker: Arc<Checker<S>>, identity: HeaderName) -> Self {
        let forwarded_by = &checker.rules().forwarded_by;
        let fields = IdentityFields::new(forwarded_by).telling_in(identity.clone());
        let mut all = HeaderMap::new();
        for name in [&ASSERTED, &CLIENT_CERT, &CLIENT_CERT_CHAIN, &identity].into_iter().chain(forwarded_by.fields()) {
            let spelled = HeaderName::try_from(name.as_str().replace('-', "_"));
            for name in [Some(name.clone()), spelled.ok()].into_iter().flatten() {
                all.insert(name, HeaderValue::from_static(""));
            }
        }
        let removed = fields.foreign(&all).filter(|name| **name != identity).cloned().collect();
        Self { checker, identity, fields, removed }
    }

    async fn decide(&self, request: CheckRequest, peer: Option<Peer>, memory: Option<Memory>) -> (Checked, HeaderMap) {
        let attributes = request.attributes.unwrap_or_default();
        let http = attributes.request.and_then(|request| request.http).unwrap_or_default();
        let source = attributes.source.unwrap_or_default();
        let Some(headers) = headers(&http) else {
            return (Checked::refused(Refusal::BodyTooLarge), HeaderMap::new());
        };
        let beside = Beside { certificate: &source.certificate, client_address: address(&source) };
        let begun = match self.checker.begin_beside(&headers, beside, peer) {
            Ok(begun) => begun,
            Err(refusal) => return (Checked::refused(refusal), headers),
        };
        let body = match (http.body.as_bytes(), http.raw_body.as_slice()) {
            (body, []) | ([], body) => Some(body),
            (_, _) => None,
        };
        let name = match body {
            _ if begun.body().is_none() => self.checker.name(&begun, &[]),
            Some(body) if body.len() > self.checker.rules().body_limit => Err(Refusal::BodyTooLarge),
            Some(_) if is_partial(&headers) => Err(Refusal::BodyTooLarge),
            Some(body) => self.checker.name(&begun, body),
            // Two bodies are none.
            None => Err(Refusal::BodyIncomplete),
        };
        // Not kept while DNS is asked.
        drop((http, memory));
        match name {
            Ok(name) => (self.checker.decide(begun, name).await, headers),
            Err(refusal) => (begun.refused(refusal), headers),
        }
    }

    /// The identity takes the place of whatever has its name. Envoy removes after it has set, so that what is set must not be removed.
    fn welcome(&self, client: &VerifiedClient, headers: &HeaderMap) -> CheckResponse {
        let foreign = self.fields.foreign(headers).filter(|name| **name != self.identity);
        let also = foreign.filter(|name| !self.removed.contains(name));
        let ok = OkHttpResponse {
            headers: vec![option(self.identity.as_str(), client.identity())],
            headers_to_remove: self.removed.iter().chain(also).map(ToString::to_string).collect(),
            ..OkHttpResponse::default()
        };
        response(Code::Ok, HttpResponse::OkResponse(ok))
    }

    fn refuse(&self, refusal: &Refusal) -> CheckResponse {
        let (parts, ()) = refusal.response(self.checker.rules()).into_parts();
        let headers = parts.headers.iter();
        let denied = DeniedHttpResponse {
            status: Some(HttpStatus { code: parts.status.as_u16().into() }),
            headers: headers.filter_map(|(name, value)| Some(option(name.as_str(), value.to_str().ok()?))).collect(),
            body: String::new(),
        };
        let code = match parts.status {
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            _ => Code::PermissionDenied,
        };
        response(code, HttpResponse::DeniedResponse(denied))
    }
}

#[tonic::async_trait]
impl<S: TlsaSource + 'static> Authorization for ExtAuthz<S> {
    async fn check(&self, mut request: tonic::Request<CheckRequest>) -> Result<tonic::Response<CheckResponse>, Status> {
        let start = Instant::now();
        let peer = request.extensions().get().copied();
        let memory = request.extensions_mut().remove();
        let (checked, headers) = self.decide(request.into_inner(), peer, memory).await;
        self.checker.tell(&CheckEvent { peer, checked: &checked, elapsed: start.elapsed() });
        Ok(tonic::Response::new(match &checked.outcome {
            Ok(client) => self.welcome(client, &headers),
            Err(refusal) => self.refuse(refusal),
        }))
    }
}

fn option(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(EnvoyValue { key: name.to_owned(), value: value.to_owned(), ..EnvoyValue::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

fn response(code: Code, http: HttpResponse) -> CheckResponse {
    CheckResponse {
        status: Some(RpcStatus { code: code.into(), ..RpcStatus::default() }),
        http_response: Some(http),
        ..CheckResponse::default()
    }
}

/// The request's fields. All that is said counts: a field that stands in both forms of the list stands there twice. `None` if there
/// are more than can be held.
fn headers(http: &HttpRequest) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &[u8]| {
        // Pseudo-headers are none, and nothing that is no name can be one of those looked for.
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { return Some(()) };
        // What cannot be a value is there all the same, and is none.
        let value = HeaderValue::from_bytes(value).unwrap_or(HeaderValue::from_static(""));
        headers.try_append(name, value).ok().map(drop)
    };
    for (name, value) in &http.headers {
        add(name, value.as_bytes())?;
    }
    for field in http.header_map.iter().flat_map(|map| &map.headers) {
        if !field.value.is_empty() || field.raw_value.is_empty() {
            add(&field.key, field.value.as_bytes())?;
        }
        if !field.raw_value.is_empty() {
            add(&field.key, &field.raw_value)?;
        }
    }
    Some(headers)
}

fn address(source: &Source) -> Option<IpAddr> {
    match source.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(socket) => socket.address.parse().ok(),
        Address::Pipe(_) | Address::EnvoyInternalAddress(_) => None,
    }
}
