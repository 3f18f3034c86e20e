//! One request: what the origin gets to see of it, and what the client gets to see of the answer.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::body::{OriginBody, RequestBody, ResponseBody};
use crate::stream::{OriginStream, Pace};
use crate::upstream::{OriginError, Slot, Upstream};
use dance_http::identity::{HeaderRules, PeerHeaders, Upgrade};

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) rules: HeaderRules,
    pub(crate) upstream: Upstream,
    /// Of `Client-Cert` and `Client-Cert-Chain` together (HTTP-19).
    pub(crate) max_certificate_octets: usize,
    /// Lower case; empty admits any (HTTP-06).
    pub(crate) server_names: HashSet<String>,
}

/// One client's connection, once there is a verdict.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    peer: PeerHeaders,
    /// Its part of the connections to the origin.
    share: Arc<Semaphore>,
    pub(crate) pace: Arc<Pace>,
    opened: Instant,
    requests: AtomicUsize,
    /// When the last request ended, in milliseconds since `opened`.
    last_end: AtomicU64,
    /// The number of the next request.
    next: AtomicU64,
    /// Requests whose response has given out a piece and was not asked for another: since when, by number.
    unread: Mutex<BTreeMap<u64, Instant>>,
    tunnel: Mutex<Option<Tunnel>>,
    /// The client is no longer known to be who it was: no request goes to the origin any more.
    withdrawn: AtomicBool,
}

/// The origin's side of a connection that left HTTP.
pub(crate) struct Tunnel {
    pub(crate) origin: OriginStream,
    /// What the origin sent right after its response.
    pub(crate) first: Bytes,
    pub(crate) _slot: Option<Slot>,
}

/// A request under way, from its header's last octet to its response's last octet.
pub(crate) struct InFlight {
    session: Arc<Session>,
    number: u64,
}

impl InFlight {
    pub(crate) fn shared(&self) -> &Shared {
        &self.session.shared
    }

    /// The response has given out a piece. Until it is asked for another, whoever waits does so for the client: an HTTP/2 client
    /// need not fill its socket to take nothing.
    pub(crate) fn handed_out(&self) {
        self.session.unread().insert(self.number, Instant::now());
    }

    /// The response was asked for a piece. From now on whoever waits does so for the origin.
    pub(crate) fn asked_for(&self) {
        self.session.unread().remove(&self.number);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.asked_for();
        let session = &self.session;
        let millis = u64::try_from(session.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        session.last_end.store(millis, Ordering::Relaxed);
        session.pace.header_done();
        session.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, peer: PeerHeaders) -> Self {
        Self {
            share: shared.upstream.share(),
            shared,
            peer,
            pace: Arc::new(Pace::new()),
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
            last_end: AtomicU64::new(0),
            next: AtomicU64::new(0),
            unread: Mutex::default(),
            tunnel: Mutex::default(),
            withdrawn: AtomicBool::new(false),
        }
    }

    fn begin(self: &Arc<Self>) -> InFlight {
        self.pace.header_done();
        self.requests.fetch_add(1, Ordering::Relaxed);
        InFlight { session: Arc::clone(self), number: self.next.fetch_add(1, Ordering::Relaxed) }
    }

    fn unread(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when the client has not come for the next piece of a response; of the one that waits longest.
    pub(crate) fn unread_since(&self) -> Option<Instant> {
        self.unread().values().min().copied()
    }

    /// Since when no request is under way.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let last = Duration::from_millis(self.last_end.load(Ordering::Relaxed));
        (self.requests.load(Ordering::Relaxed) == 0).then(|| self.opened + last)
    }

    /// From now on requests are answered 421: their client may come back on a connection of its own, and be asked who it is.
    pub(crate) fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Relaxed)
    }

    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Answers one request. Every failure becomes a response; none says why.
    pub(crate) async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<ResponseBody> {
        let in_flight = self.begin();
        match self.forward(request, in_flight).await {
            Ok(response) => response,
            Err(refusal) => own(refusal),
        }
    }

    async fn forward(
        self: &Arc<Self>,
        request: Request<Incoming>,
        in_flight: InFlight,
    ) -> Result<Response<ResponseBody>, StatusCode> {
        if self.is_withdrawn() {
            return Err(StatusCode::MISDIRECTED_REQUEST);
        }
        // Part of what was shown would be a chain without its end or a client without certificate: that is for nobody to judge.
        if self.peer.certificate_octets() > self.shared.max_certificate_octets {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        let (mut parts, body) = request.into_parts();
        let version = parts.version;
        let host = self.host(&parts.uri, &parts.headers, &parts.method)?;
        if !is_plain(&parts.headers) {
            return Err(StatusCode::NOT_IMPLEMENTED);
        }

        let upgrade = match self.shared.rules.rewrite_request(&mut parts.headers, &self.peer) {
            Upgrade::WebSocket
                if parts.method == Method::GET && version == Version::HTTP_11 && body.is_end_stream() =>
            {
                parts.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
                parts.headers.insert(header::UPGRADE, WEBSOCKET);
                Upgrade::WebSocket
            }
            Upgrade::WebSocket | Upgrade::None => Upgrade::None,
        };
        parts.headers.insert(header::HOST, host);
        tell_length(&mut parts.headers, &body);
        if version == Version::HTTP_2 {
            join_cookies(&mut parts.headers);
        }
        parts.uri = parts.uri.into_parts().path_and_query.map_or_else(|| Uri::from_static("/"), Uri::from);
        parts.version = Version::HTTP_11;
        parts.extensions.clear();

        let mut request = Request::from_parts(parts, RequestBody::new(body, Arc::clone(self)));
        await_continue(&mut request, version);
        let (mut response, link) =
            self.shared.upstream.send(&self.share, request).await.map_err(|error| self.failed(&error))?;

        self.shared.rules.rewrite_response(response.headers_mut());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            if upgrade != Upgrade::WebSocket {
                return Err(self.failed(&OriginError::Uncalled));
            }
            let (origin, first, slot) = link.into_stream().await.ok_or(StatusCode::BAD_GATEWAY)?;
            *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(Tunnel { origin, first, _slot: slot });
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            response.headers_mut().insert(header::UPGRADE, WEBSOCKET);
            return Ok(response.map(|_| ResponseBody::Own(None)));
        }
        let (parts, incoming) = response.into_parts();
        let mut body = OriginBody::new(incoming, link, in_flight);
        std::future::poll_fn(|cx| {
            body.release_if_ended(cx);
            std::task::Poll::Ready(())
        })
        .await;
        Ok(Response::from_parts(parts, ResponseBody::Origin(body)))
    }

    /// The Host field for the origin: the target's authority, else the Host field (RFC 9112 section 3.2.2, RFC 9113 section 8.3.1).
    fn host(&self, uri: &Uri, headers: &HeaderMap, method: &Method) -> Result<HeaderValue, StatusCode> {
        if method == Method::CONNECT {
            return Err(StatusCode::NOT_IMPLEMENTED);
        }
        let mut fields = headers.get_all(header::HOST).iter();
        let field = fields.next();
        if fields.next().is_some() {
            return Err(StatusCode::BAD_REQUEST);
        }
        let host = match (uri.authority(), field) {
            (Some(authority), _) => HeaderValue::from_str(authority.as_str()).map_err(|_| StatusCode::BAD_REQUEST)?,
            (None, Some(field)) => field.clone(),
            (None, None) => return Err(StatusCode::BAD_REQUEST),
        };
        let authority = authority(host.as_bytes()).ok_or(StatusCode::BAD_REQUEST)?;
        if !self.serves(authority.host()) {
            return Err(StatusCode::MISDIRECTED_REQUEST);
        }
        Ok(host)
    }

    fn serves(&self, host: &str) -> bool {
        let names = &self.shared.server_names;
        names.is_empty() || names.contains(&server_name(host))
    }

    fn failed(&self, error: &OriginError) -> StatusCode {
        let status = error.status();
        if error.is_the_clients() {
            tracing::debug!(status = status.as_u16(), "{error}");
        } else {
            tracing::warn!(status = status.as_u16(), "{error}");
        }
        status
    }
}

/// A host name in the form in which such are compared: in lower case, and without the dot of the root.
pub(crate) fn server_name(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Host and port (RFC 3986 section 3.2), and no user: `www.example@elsewhere` is read in more than one way.
fn authority(octets: &[u8]) -> Option<Authority> {
    let allowed = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(octet);
    let authority = octets.iter().all(allowed).then(|| Authority::try_from(octets).ok())??;
    let port = authority.as_str().strip_prefix(authority.host())?;
    let is_port = |port: &str| port.bytes().all(|octet| octet.is_ascii_digit()) && port.parse::<u16>().is_ok();
    (port.is_empty() || port == ":" || port.strip_prefix(':').is_some_and(is_port)).then_some(authority)
}

/// Whether the body's only transfer coding, if any, is `chunked` (RFC 9112 section 6.1).
fn is_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// Has the origin find the body's end where it was found here, whatever the method and however often the client told the length
/// (RFC 9112 section 6.3, RFC 9113 section 8.1.1).
fn tell_length(headers: &mut HeaderMap, body: &Incoming) {
    match body.size_hint().exact() {
        Some(size) if headers.contains_key(header::CONTENT_LENGTH) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
        }
        Some(_) => {}
        None => {
            headers.remove(header::CONTENT_LENGTH);
            headers.insert(header::TRANSFER_ENCODING, CHUNKED);
        }
    }
}

const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// A response of the gateway's own: the status, and nothing about why.
fn own(status: StatusCode) -> Response<ResponseBody> {
    let text = format!("{} {}\n", status.as_str(), status.canonical_reason().unwrap_or_default());
    let mut response = Response::new(ResponseBody::Own(Some(Bytes::from(text))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Has the origin decide whether the body is wanted, for a client that asked (RFC 9110 section 10.1.1). In HTTP/2 nobody waits.
fn await_continue(request: &mut Request<RequestBody>, version: Version) {
    let asked = request
        .headers()
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if !asked || version != Version::HTTP_11 || request.body().is_end_stream() {
        request.headers_mut().remove(header::EXPECT);
        return;
    }
    let go = Mutex::new(Some(request.body_mut().hold()));
    hyper::ext::on_informational(request, move |response| {
        if response.status() == StatusCode::CONTINUE
            && let Some(go) = go.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            // Nobody to tell: the request is over already.
            let _ = go.send(());
        }
    });
}

/// HTTP/2 may split one Cookie field into several; HTTP/1.1 has one (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, cookie);
    }
}
