//! The clients of the demonstration: one request each, over a connection of its own.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use dance_core::clientid::ClientForm;
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

use crate::Error;
use crate::command::request::exchange;
use crate::command::tls::Watched;
use crate::demo::scene::Scene;

/// How the client shows its key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Presents {
    Certificate,
    RawPublicKey,
}

/// What a client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Saw {
    /// The application's answer.
    Answer(String),
    /// The alert handshake_failure.
    Refusal,
}

/// Longer than the gateway takes for the slowest verdict.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has a client of that name ask the application for `/`.
pub(super) async fn visit(scene: &Scene, name: &str, identity: &Identity, presents: Presents) -> Result<Saw, Error> {
    let server = scene.gateway.to_string();
    timeout(PATIENCE, talk(scene, name, identity, presents))
        .await
        .map_err(|_| Error::ConnectTimeout { server, time: PATIENCE })?
}

async fn talk(scene: &Scene, name: &str, identity: &Identity, presents: Presents) -> Result<Saw, Error> {
    let connector = connector(scene, name, identity, presents)?;
    let failed = |error| Error::Connect { server: scene.gateway.to_string(), error };
    let stream = TcpStream::connect(scene.gateway).await.map_err(failed)?;
    let stream = match connector.connect("localhost", stream).await {
        Ok(stream) => stream,
        Err(ConnectError::ClientAuthRefused) => return Ok(Saw::Refusal),
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
        Err(Error::Http(_)) if refused.load(Ordering::Relaxed) => Ok(Saw::Refusal),
        other => other,
    }
}

fn connector(scene: &Scene, name: &str, identity: &Identity, presents: Presents) -> Result<Connector, Error> {
    let (chain, key) = (identity.chain_pem(), identity.key_pem().as_bytes());
    let credential = match presents {
        Presents::Certificate => {
            ClientCredential::X509(CertifiedKey::parse(chain.as_bytes(), key).map_err(Error::Credential)?)
        }
        Presents::RawPublicKey => ClientCredential::RawPublicKey(PrivateKey::parse(key).map_err(Error::Credential)?),
    };
    let roots = TrustAnchors::parse(scene.server_ca.as_bytes()).map_err(Error::Credential)?;
    let client_name =
        ClientName::parse(name.as_bytes()).map_err(|error| Error::Name { name: name.to_owned(), error })?;
    Connector::new(&ClientConfig {
        credential: Some(credential),
        client_id: Some(ClientForm::Name(client_name)),
        require_signal: true,
        ..ClientConfig::new(ServerVerification::Roots(roots))
    })
    .map_err(Error::TlsConfig)
}
