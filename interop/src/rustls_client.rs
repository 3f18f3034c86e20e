//! rustls as it comes, as a client with a certificate or a raw public key.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version};

use crate::case::{Credential, Wire};
use crate::clients::REQUEST;
use crate::gateway::Gateway;
use crate::process::PATIENCE;

/// What rustls presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The certificate chain.
    Certificate,
    /// The public key alone (RFC 7250); TLS 1.3 only, as far as rustls goes.
    RawPublicKey,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The body of the page.
    Page(String),
    /// The gateway's alert.
    Alert(rustls::AlertDescription),
}

/// Asks for a page. The gateway's certificate is verified.
#[must_use]
pub fn ask(gateway: &Gateway, wire: Wire, credential: &Credential, form: Form) -> Outcome {
    let connection =
        ClientConnection::new(Arc::new(config(gateway, wire, credential, form)), "localhost".try_into().unwrap());
    let socket = TcpStream::connect(&gateway.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(connection.unwrap(), socket);
    let mut answer = String::new();
    let result = stream.write_all(REQUEST.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    match result.map_err(|error| error.downcast::<rustls::Error>()) {
        Ok(_) => Outcome::Page(answer.split_once("\r\n\r\n").unwrap().1.to_owned()),
        Err(Ok(rustls::Error::AlertReceived(alert))) => Outcome::Alert(alert),
        Err(other) => panic!("{other:?}"),
    }
}

fn config(gateway: &Gateway, wire: Wire, credential: &Credential, form: Form) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let versions: &[&SupportedProtocolVersion] = match wire {
        Wire::Tls13 => &[&version::TLS13],
        Wire::Tls12 => &[&version::TLS12],
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&gateway.server.certificate).unwrap()).unwrap();
    let key = PrivateKeyDer::from_pem_file(&credential.key).unwrap();
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
    let builder = builder.with_root_certificates(roots);
    match form {
        Form::Certificate => {
            let chain = CertificateDer::pem_file_iter(&credential.certificate).unwrap().map(Result::unwrap).collect();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        Form::RawPublicKey => {
            let key = provider.key_provider.load_private_key(key).unwrap();
            let public = key.public_key().unwrap().to_vec();
            let resolver: Arc<dyn ResolvesClientCert> = Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(
                CertifiedKey::new(vec![CertificateDer::from(public)], key),
            )));
            builder.with_client_cert_resolver(resolver)
        }
    }
}
