//! The clients of the story: ordinary TLS clients, which say their name in a request.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dance_testkit::Identity;
use dance_tls::{CertifiedKey, ClientConfig, ClientCredential, Connector, ServerVerification, TrustAnchors};
use http_body_util::{BodyExt as _, Full};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, StatusCode};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Error;
use crate::command::request::exchange;
use crate::command::tls::Watched;

/// Who visits, and what it says.
#[derive(Clone, Debug)]
pub(super) struct Visitor<'a> {
    /// The name that it says is its own.
    pub(super) asserts: &'static str,
    /// Its certificate and key, if it has any.
    pub(super) holds: Option<&'a Identity>,
    /// Fields that it has no business with.
    pub(super) forges: Vec<(HeaderName, HeaderValue)>,
}

/// What a client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Saw {
    pub(super) status: StatusCode,
    pub(super) body: String,
    /// It was told by what scheme it could authenticate itself.
    pub(super) challenged: bool,
}

const ASSERTED: HeaderName = HeaderName::from_static("dane-clientid-asserted");
/// Longer than the application takes for the slowest check.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has a client ask the application for `/`.
pub(super) async fn visit(terminator: SocketAddr, server_ca: &str, visitor: &Visitor<'_>) -> Result<Saw, Error> {
    let server = terminator.to_string();
    let seen = timeout(PATIENCE, talk(terminator, server_ca, visitor)).await;
    seen.map_err(|_| Error::ConnectTimeout { server, time: PATIENCE })?
}

async fn talk(terminator: SocketAddr, server_ca: &str, visitor: &Visitor<'_>) -> Result<Saw, Error> {
    let roots = TrustAnchors::parse(server_ca.as_bytes()).map_err(Error::Credential)?;
    let credential = match visitor.holds {
        Some(identity) => {
            let key = CertifiedKey::parse(identity.chain_pem().as_bytes(), identity.key_pem().as_bytes());
            Some(ClientCredential::X509(key.map_err(Error::Credential)?))
        }
        None => None,
    };
    let config = ClientConfig { credential, ..ClientConfig::new(ServerVerification::Roots(roots)) };
    let connector = Connector::new(&config).map_err(Error::TlsConfig)?;
    let failed = |error| Error::Connect { server: terminator.to_string(), error };
    let stream = TcpStream::connect(terminator).await.map_err(failed)?;
    let stream = connector.connect("localhost", stream).await.map_err(Error::Handshake)?;

    let mut request = Request::new(Full::new(Bytes::new()));
    let asserted = HeaderValue::from_static(visitor.asserts);
    let fields = [(HOST, HeaderValue::from_static("localhost")), (ASSERTED, asserted)];
    *request.headers_mut() = HeaderMap::from_iter(fields.into_iter().chain(visitor.forges.clone()));
    let (stream, _) = Watched::new(stream);
    let response = exchange(stream, request, false).await?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(Error::Http)?.to_bytes();
    let challenge = parts.headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    Ok(Saw {
        status: parts.status,
        body: String::from_utf8_lossy(&body).trim_end().to_owned(),
        challenged: challenge.is_some_and(|challenge| challenge.starts_with("DANE-TLS ")),
    })
}
