//! Peers that break the protocol, for tests: handshake messages rewritten before they are hashed and sent, so that
//! everything after them is consistent with what went out. And servers that know no TLS 1.3. Not part of the API; only
//! with feature `misbehave`, and only where OpenSSL is linked statically.

use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::ssl::{SslRef, SslVersion};

use crate::client::Connector;
use crate::conn::Conn;
use crate::server::Acceptor;

/// Takes a whole handshake message, header included, and gives what to send in its place.
pub type Rewrite = Arc<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// In what a peer is different from an honest one of today.
#[derive(Clone, Default)]
pub(crate) struct Habits {
    rewrite: Option<Rewrite>,
    tls12_only: bool,
}

/// HandshakeType of ClientHello.
pub const CLIENT_HELLO: u8 = 1;
/// HandshakeType of ServerHello and HelloRetryRequest.
pub const SERVER_HELLO: u8 = 2;
/// HandshakeType of EncryptedExtensions.
pub const ENCRYPTED_EXTENSIONS: u8 = 8;
/// HandshakeType of Certificate.
pub const CERTIFICATE: u8 = 11;
/// HandshakeType of CertificateRequest.
pub const CERTIFICATE_REQUEST: u8 = 13;
/// HandshakeType of CertificateVerify.
pub const CERTIFICATE_VERIFY: u8 = 15;
/// HandshakeType of Finished.
pub const FINISHED: u8 = 20;

/// A client that rewrites its messages.
#[must_use]
pub fn connector(connector: &Connector, rewrite: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Connector {
    let mut connector = connector.clone();
    connector.habits.rewrite = Some(Arc::new(rewrite));
    connector
}

/// A server that rewrites its messages.
#[must_use]
pub fn acceptor(acceptor: &Acceptor, rewrite: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Acceptor {
    let mut acceptor = acceptor.clone();
    acceptor.habits.rewrite = Some(Arc::new(rewrite));
    acceptor
}

/// A server that knows no TLS 1.3; its settings must allow TLS 1.2.
#[must_use]
pub fn old_server(acceptor: &Acceptor) -> Acceptor {
    let mut acceptor = acceptor.clone();
    acceptor.habits.tls12_only = true;
    acceptor
}

/// A client that sends these extensions in its Certificate: a block in wire form (see [`extension`]) for each entry, the
/// first certificate or key repeated as needed.
#[must_use]
pub fn sends_in_certificate(honest: &Connector, blocks: &[Vec<u8>]) -> Connector {
    let blocks = blocks.to_vec();
    let change = move |message: &[u8]| {
        let data = entries(message).into_iter().next().map(|(data, _)| data).unwrap_or_default();
        certificate(&blocks.iter().map(|block| (data.clone(), block.clone())).collect::<Vec<_>>())
    };
    connector(honest, only(CERTIFICATE, change))
}

/// A client that adds this extension, in wire form, to its ClientHello.
#[must_use]
pub fn sends_in_client_hello(honest: &Connector, extension: &[u8]) -> Connector {
    let extension = extension.to_vec();
    let change = move |message: &[u8]| with_extension(message, hello_length(message), &extension);
    connector(honest, only(CLIENT_HELLO, change))
}

/// A client whose last octet of this message is wrong: with [`CERTIFICATE_VERIFY`], one that does not prove possession.
#[must_use]
pub fn corrupts(honest: &Connector, message_type: u8) -> Connector {
    let change = |message: &[u8]| {
        let mut changed = message.to_vec();
        if let Some(last) = changed.last_mut() {
            *last ^= 1;
        }
        changed
    };
    connector(honest, only(message_type, change))
}

pub(crate) fn install(ssl: &mut SslRef, conn: Conn, habits: &Habits) -> Result<Conn, ErrorStack> {
    if habits.tls12_only {
        ssl.set_max_proto_version(Some(SslVersion::TLS1_2))?;
    }
    if habits.rewrite.is_some() {
        crate::ffi::rewrite_messages(ssl);
    }
    Ok(conn.with_rewrite(habits.rewrite.clone()))
}

/// Applies `change` to messages of one type and leaves all others as they are.
pub fn only(
    message_type: u8,
    change: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static {
    move |message| if message.first() == Some(&message_type) { change(message) } else { message.to_vec() }
}

/// An extension in wire form.
#[must_use]
pub fn extension(extension_type: u16, data: &[u8]) -> Vec<u8> {
    let mut wire = extension_type.to_be_bytes().to_vec();
    wire.extend((data.len() as u16).to_be_bytes());
    wire.extend(data);
    wire
}

/// A handshake message of the same type with another body.
#[must_use]
pub fn with_body(message: &[u8], body: &[u8]) -> Vec<u8> {
    let mut changed = message.get(..1).unwrap_or_default().to_vec();
    changed.extend(&(body.len() as u32).to_be_bytes()[1..]);
    changed.extend(body);
    changed
}

/// The entries of a TLS 1.3 Certificate with an empty request context: octets of certificate or key, and extensions in
/// wire form.
#[must_use]
pub fn entries(certificate: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    // Handshake header, empty context, list length.
    let mut rest = certificate.get(4 + 1 + 3..).unwrap_or_default();
    let mut found = Vec::new();
    while let Some((data, after)) = vector(rest, 3) {
        let Some((extensions, after)) = vector(after, 2) else {
            break;
        };
        found.push((data.to_vec(), extensions.to_vec()));
        rest = after;
    }
    found
}

/// A TLS 1.3 Certificate message with these entries.
#[must_use]
pub fn certificate(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (data, extensions) in entries {
        list.extend(&(data.len() as u32).to_be_bytes()[1..]);
        list.extend(data);
        list.extend((extensions.len() as u16).to_be_bytes());
        list.extend(extensions);
    }
    let mut body = vec![0];
    body.extend(&(list.len() as u32).to_be_bytes()[1..]);
    body.extend(list);
    with_body(&[CERTIFICATE], &body)
}

/// A message whose last field is its extensions (ClientHello, ServerHello, EncryptedExtensions, CertificateRequest)
/// with one more. `before_extensions` is the length of the body up to them, see [`hello_length`].
#[must_use]
pub fn with_extension(message: &[u8], before_extensions: usize, extension: &[u8]) -> Vec<u8> {
    let body = message.get(4..).unwrap_or_default();
    let (head, extensions) = body.split_at(before_extensions.min(body.len()));
    let mut all = extensions.get(2..).unwrap_or_default().to_vec();
    all.extend(extension);
    let mut changed = head.to_vec();
    changed.extend((all.len() as u16).to_be_bytes());
    changed.extend(all);
    with_body(message, &changed)
}

/// The length of a ClientHello's or ServerHello's body up to its extensions.
#[must_use]
pub fn hello_length(message: &[u8]) -> usize {
    // Header, legacy version, random; then the session id.
    let session_id = 4 + 2 + 32;
    let after = |at: usize, prefix: usize| {
        vector(message.get(at..).unwrap_or_default(), prefix).map_or(0, |(data, _)| prefix + data.len())
    };
    let suites = session_id + after(session_id, 1);
    let end = if message.first() == Some(&CLIENT_HELLO) {
        let compression = suites + after(suites, 2);
        compression + after(compression, 1)
    } else {
        suites + 2 + 1
    };
    end - 4
}

/// A vector with a length field of `prefix` octets, and what follows it.
fn vector(data: &[u8], prefix: usize) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_at_checked(prefix)?;
    rest.split_at_checked(len.iter().fold(0, |len, octet| len << 8 | usize::from(*octet)))
}
