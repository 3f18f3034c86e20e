//! TLS to a resolver (RFC 7858, RFC 8310): how it must show who it is.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use dance_core::x509::Certificate;
use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring as provider, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure::{Failure, TlsFailure};
use crate::config::ConfigError;
use crate::server::{TlsTrust, server_name};

/// What the connection is for (IANA's registry of ALPN protocol IDs). A server that heeds it serves nothing but DNS here.
const ALPN: &[u8] = b"dot";

/// Everything needed to make TLS connections to one resolver.
#[derive(Clone)]
pub(super) struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsClient {
    /// `roots` is called if the resolver must show a certificate for a name.
    pub(super) fn new(
        address: SocketAddr,
        trust: &TlsTrust,
        roots: impl FnOnce() -> Result<Arc<RootCertStore>, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let provider = Arc::new(provider::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|_| ConfigError::TlsUnavailable)?;
        let key = |check| ByKey { check, algorithms };
        let own = |check| builder.clone().dangerous().with_custom_certificate_verifier(Arc::new(key(check)));
        // Without a name to check, none is sent either.
        let nameless = ServerName::IpAddress(address.ip().into());
        let (builder, name) = match trust {
            TlsTrust::Name(name) => {
                (builder.clone().with_root_certificates(roots()?), server_name(name).map_err(ConfigError::Server)?)
            }
            TlsTrust::Pins(pins) if pins.is_empty() => return Err(ConfigError::NoPins { server: address }),
            TlsTrust::Pins(pins) => (own(Check::Pins(pins.clone())), nameless),
            TlsTrust::Unauthenticated => (own(Check::Nothing), nameless),
        };
        let mut config = builder.with_no_client_auth();
        // Each connection checks the certificate as it is then, and none is linked to an earlier one.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { config: Arc::new(config), name })
    }

    pub(super) async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.name.clone(), stream).await.map_err(|error| failure(&error))
    }
}

fn failure(error: &io::Error) -> Failure {
    let tls = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(reason)) => match reason {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TlsFailure::Name,
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFailure::Issuer,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsFailure::Time,
            // Said by nobody but `ByKey`.
            CertificateError::ApplicationVerificationFailure => TlsFailure::Pin,
            _ => TlsFailure::Certificate,
        },
        Some(_) => TlsFailure::Handshake,
        None if error.kind() == io::ErrorKind::UnexpectedEof => TlsFailure::Handshake,
        None => return Failure::io(error),
    };
    Failure::Tls(tls)
}

/// The authorities that certificates for names may come from: those in a file of PEM certificates, or the system's.
pub(super) fn roots(file: Option<&Path>) -> Result<Arc<RootCertStore>, ConfigError> {
    let path = file.map(Path::to_owned);
    let unreadable = |error| ConfigError::TlsRootsUnreadable { path: path.clone(), error };
    let certificates: Vec<_> = match file {
        Some(path) => {
            let octets = std::fs::read(path).map_err(|error| unreadable(error.kind()))?;
            let certificates = CertificateDer::pem_slice_iter(&octets).collect::<Result<_, _>>();
            certificates.map_err(|_| unreadable(io::ErrorKind::InvalidData))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    // One of the system's that does not decode is not a reason to trust none.
    let (_, unusable) = roots.add_parsable_certificates(certificates);
    if file.is_some() && unusable > 0 {
        return Err(unreadable(io::ErrorKind::InvalidData));
    }
    if roots.is_empty() {
        return Err(ConfigError::TlsRootsEmpty { path });
    }
    Ok(Arc::new(roots))
}

/// Judges a resolver by its key, or not at all. That it has the key is checked in any case.
#[derive(Debug)]
struct ByKey {
    check: Check,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Check {
    Pins(Vec<[u8; 32]>),
    Nothing,
}

impl ServerCertVerifier for ByKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Check::Pins(pins) = &self.check else { return Ok(ServerCertVerified::assertion()) };
        let certificate = Certificate::parse(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let found = digest(&SHA256, certificate.spki());
        match pins.iter().any(|pin| pin == found.as_ref()) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
