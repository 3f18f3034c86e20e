//! A signed world with a client in it, a service that asks it, and clients of the service.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use dance_auth_service::config::{ForwardedBySetting, Listen};
use dance_auth_service::{AuthService, Config};
use dance_core::name::OwnerName;
use dance_http::Dialect;
use dance_resolver::{Lookup, Resolver, ResolverConfig, Servers, TlsaSource, TrustAnchorSource};
use dance_testkit::{CertSpec, Fault, Identity, SignedWorld, Zone};
use data_encoding::BASE64;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const NAME: &str = "device1.example.com";
/// What takes longer does not come at all.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A world in which one client has its record.
pub(crate) struct Lab {
    pub(crate) world: SignedWorld,
    pub(crate) client: Identity,
    pub(crate) other: Identity,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let client = CertSpec::client(NAME).self_signed().unwrap();
        let other = CertSpec::client(NAME).self_signed().unwrap();
        let record = client.tlsa_311().unwrap();
        let world = SignedWorld::builder()
            .zone(Zone::new("com"))
            .zone(Zone::new("example.com").tlsa(NAME, &record, 300).tlsa("broken.example.com", &record, 300))
            .zone(Zone::unsigned("insecure.com").tlsa("device1.insecure.com", &record, 300))
            .fault("broken.example.com", Fault::Servfail)
            .start()
            .await
            .unwrap();
        Self { world, client, other }
    }

    /// As RFC 9440 says, names in the header or the body.
    pub(crate) fn config(&self) -> Config {
        Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            forwarded_by: Some(ForwardedBySetting::Dialect(Dialect::Rfc9440)),
            allow: ["*.example.com", "*.insecure.com"].map(str::to_owned).into(),
            ..Config::default()
        }
    }

    pub(crate) fn resolver(&self) -> Resolver {
        Resolver::new(ResolverConfig {
            servers: Servers::List(vec![self.world.addr().into()]),
            trust_anchor: TrustAnchorSource::Text(self.world.trust_anchor_text().to_owned()),
            ..ResolverConfig::default()
        })
        .unwrap()
    }

    pub(crate) fn start(&self, config: &Config) -> Running {
        Running::new(AuthService::bind(config, self.resolver()).unwrap())
    }

    /// The field value that shows this client's certificate.
    pub(crate) fn forwarded(&self, identity: &Identity) -> String {
        format!(":{}:", BASE64.encode(identity.leaf_der()))
    }

    /// A request that is all right but for a name.
    pub(crate) fn request(&self) -> http::request::Builder {
        Request::builder().uri("http://auth.test/").header("client-cert", self.forwarded(&self.client))
    }

    /// A request that is all right.
    pub(crate) fn good(&self) -> Request<Full<Bytes>> {
        self.request().header("dane-clientid-asserted", NAME).body(Full::default()).unwrap()
    }
}

/// A service that runs until it is told to end, or this is dropped.
pub(crate) struct Running {
    pub(crate) local: Listen,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<bool>,
}

impl Running {
    pub(crate) fn new<S: TlsaSource + 'static>(service: AuthService<S>) -> Self {
        let local = service.local().clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(service.run(async { drop(stopped.await) }));
        Self { local, stop: Some(stop), task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match &self.local {
            Listen::Address(address) => *address,
            Listen::Unix(path) => panic!("listens at {}", path.display()),
        }
    }

    /// Asks it to end.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(&self, version: Version, request: Request<Full<Bytes>>) -> Answer {
        over(self.tcp().await, version, request).await
    }

    /// One request in HTTP/1.1.
    pub(crate) async fn get(&self, request: Request<Full<Bytes>>) -> Answer {
        self.send(Version::HTTP_11, request).await
    }

    /// Octets as they are, and what comes back until the connection ends.
    pub(crate) async fn raw(&self, octets: &str) -> String {
        let mut stream = self.tcp().await;
        stream.write_all(octets.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.expect("the connection does not end").unwrap();
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().unwrap();
        assert!(values.next().is_none(), "several {name}");
        Some(value)
    }

    /// 200, who the client is, and nothing else.
    pub(crate) fn assert_welcome(&self, name: &str) {
        assert_eq!((self.status, self.field("dane-clientid")), (StatusCode::OK, Some(name)), "{self:?}");
        assert_eq!((self.field("cache-control"), self.body.len()), (Some("no-store"), 0), "{self:?}");
    }

    /// The status, and no word of who or why.
    pub(crate) fn assert_refused(&self, status: u16, what: &str) {
        assert_eq!(self.status.as_u16(), status, "{what}: {self:?}");
        assert_eq!((self.field("dane-clientid"), self.body.len()), (None, 0), "{what}: {self:?}");
        assert_eq!(self.field("cache-control"), Some("no-store"), "{what}");
        assert_eq!(self.field("www-authenticate").is_some(), status == 401, "{what}: {self:?}");
    }
}

pub(crate) async fn over<I>(stream: I, version: Version, mut request: Request<Full<Bytes>>) -> Answer
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let response = if version == Version::HTTP_2 {
        let (mut sender, conn) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(conn);
        let response = sender.send_request(request).await.unwrap();
        whole(response).await
    } else {
        let path = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
        *request.uri_mut() = path;
        request.headers_mut().insert("host", "auth.test".parse().unwrap());
        let (mut sender, conn) = http1::handshake(io).await.unwrap();
        tokio::spawn(conn);
        let response = sender.send_request(request).await.unwrap();
        whole(response).await
    };
    let (parts, body) = response.into_parts();
    Answer { status: parts.status, headers: parts.headers, body }
}

async fn whole(response: Response<hyper::body::Incoming>) -> Response<Bytes> {
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

pub(crate) async fn unix(path: &Path, request: Request<Full<Bytes>>) -> Answer {
    over(UnixStream::connect(path).await.unwrap(), Version::HTTP_11, request).await
}

pub(crate) fn text(body: &str) -> Full<Bytes> {
    Full::new(Bytes::copy_from_slice(body.as_bytes()))
}

/// A source whose look-ups wait until it is opened.
pub(crate) struct Held {
    inner: Resolver,
    gate: Gate,
}

/// How many look-ups wait, and whether they may go on.
#[derive(Clone)]
pub(crate) struct Gate {
    waiting: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Held {
    pub(crate) fn new(inner: Resolver) -> (Self, Gate) {
        let gate = Gate { waiting: watch::Sender::new(0), open: watch::Sender::new(false) };
        (Self { inner, gate: gate.clone() }, gate)
    }
}

impl Gate {
    pub(crate) async fn waits_for(&self, count: usize) {
        timeout(SOON, self.waiting.subscribe().wait_for(|waiting| *waiting >= count)).await.unwrap().unwrap();
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}

impl TlsaSource for Held {
    async fn lookup(&self, owner: &OwnerName) -> Lookup {
        self.gate.waiting.send_modify(|waiting| *waiting += 1);
        self.gate.open.subscribe().wait_for(|open| *open).await.unwrap();
        self.inner.lookup(owner).await
    }
}
