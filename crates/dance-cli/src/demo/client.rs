//! The clients of the demonstration: one request each, over a connection of its own.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dance_core::clientid::{ClientForm, TlsVersion};
use dance_core::name::ClientName;
use dance_testkit::Identity;
use dance_tls::{
    CertifiedKey, ClientConfig, ClientCredential, ConnectError, Connector, PrivateKey, ServerVerification, TrustAnchors,
};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::header::HOST;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::io::InspectWriter;

use crate::Error;
use crate::command::request::exchange;
use crate::command::tls::Watched;
use crate::demo::scene::Scene;

/// Who visits, and in which way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visitor<'a> {
    pub(super) name: &'static str,
    pub(super) identity: &'a Identity,
    pub(super) presents: Presents,
    pub(super) says: Says,
    /// The one version of TLS that it speaks.
    pub(super) over: TlsVersion,
}

/// How the client says its name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Says {
    /// In the extension; in TLS 1.2 that is in its ClientHello.
    Name,
    /// Not at all: it says that its certificate does. Profile `2022` only.
    InCertificate,
}

/// How the client shows its key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Presents {
    Certificate,
    RawPublicKey,
}

/// What a client saw, and what could be seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) saw: Saw,
    /// Its name was among the octets that it sent, for anybody on the path to read.
    pub(super) name_in_clear: bool,
}

/// What a client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Saw {
    /// The application's answer.
    Answer(String),
    /// The alert handshake_failure, in the middle of its handshake or after it.
    Refusal { in_handshake: bool },
}

/// Longer than the gateway takes for the slowest verdict.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has a client ask the application for `/`.
pub(super) async fn visit(scene: &Scene, visitor: Visitor<'_>) -> Result<Seen, Error> {
    let server = scene.gateway.address.to_string();
    let wire = Arc::default();
    let saw = timeout(PATIENCE, talk(scene, visitor, &wire))
        .await
        .map_err(|_| Error::ConnectTimeout { server, time: PATIENCE })??;
    let wire = wire.lock().unwrap_or_else(PoisonError::into_inner);
    let name = visitor.name.as_bytes();
    Ok(Seen { saw, name_in_clear: wire.windows(name.len()).any(|octets| octets == name) })
}

/// Everything that a client sends is added to `wire`.
async fn talk(scene: &Scene, visitor: Visitor<'_>, wire: &Arc<Mutex<Vec<u8>>>) -> Result<Saw, Error> {
    let connector = connector(scene, visitor)?;
    let failed = |error| Error::Connect { server: scene.gateway.address.to_string(), error };
    let stream = TcpStream::connect(scene.gateway.address).await.map_err(failed)?;
    let wire = Arc::clone(wire);
    let stream = InspectWriter::new(stream, move |octets: &[u8]| {
        wire.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(octets);
    });
    let stream = match connector.connect("localhost", stream).await {
        Ok(stream) => stream,
        Err(ConnectError::ClientAuthRefused) => return Ok(Saw::Refusal { in_handshake: true }),
        Err(error) => return Err(Error::Handshake(error)),
    };
    let (stream, refused) = Watched::new(stream);
    let mut request = Request::new(Full::new(Bytes::new()));
    request.headers_mut().insert(HOST, hyper::header::HeaderValue::from_static("localhost"));
    let answered = async {
        let response = exchange(stream, request, false).await?;
        let body = response.into_body().collect().await.map_err(Error::Http)?.to_bytes();
        Ok(Saw::Answer(String::from_utf8_lossy(&body).trim_end().to_owned()))
    };
    match answered.await {
        Err(Error::Http(_)) if refused.load(Ordering::Relaxed) => Ok(Saw::Refusal { in_handshake: false }),
        other => other,
    }
}

fn connector(scene: &Scene, visitor: Visitor<'_>) -> Result<Connector, Error> {
    let Visitor { name, identity, presents, says, over } = visitor;
    let (chain, key) = (identity.chain_pem(), identity.key_pem().as_bytes());
    let credential = match presents {
        Presents::Certificate => {
            ClientCredential::X509(CertifiedKey::parse(chain.as_bytes(), key).map_err(Error::Credential)?)
        }
        Presents::RawPublicKey => ClientCredential::RawPublicKey(PrivateKey::parse(key).map_err(Error::Credential)?),
    };
    let roots = TrustAnchors::parse(scene.stage.server_ca.as_bytes()).map_err(Error::Credential)?;
    let client_id = match says {
        Says::Name => ClientForm::Name(
            ClientName::parse(name.as_bytes()).map_err(|error| Error::Name { name: name.to_owned(), error })?,
        ),
        Says::InCertificate => ClientForm::InCertificate,
    };
    let tls12 = over == TlsVersion::Tls12;
    Connector::new(&ClientConfig {
        credential: Some(credential),
        name_in_client_hello: tls12 && matches!(says, Says::Name),
        client_id: Some(client_id),
        require_signal: true,
        profile: scene.profile.into(),
        tls12,
        tls13: !tls12,
        ..ClientConfig::new(ServerVerification::Roots(roots))
    })
    .map_err(Error::TlsConfig)
}
