//! Both ends in one process, over loopback TCP.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by test files that use different parts of it"
)]

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use dance_core::clientid::ClientForm;
use dance_core::matching::Credential;
use dance_core::name::ClientName;
use dance_core::reason::Reason;
use dance_core::verdict::Verdict;
use dance_tls::misbehave;
use dance_tls::{
    AcceptError, Acceptor, CertifiedKey, ClientAuthRefused, ClientConfig, ClientCredential, ClientStream, ConnectError,
    Connector, PeerAlert, PendingClient, PrivateKey, Resumed, ServerConfig, ServerVerification, TlsStream,
    TrustAnchors,
};
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The server's name in its certificate.
pub const SERVER: &str = "server.test";
/// The client's name.
pub const NAME: &str = "sensor7._device.example.com";

pub fn vector(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn server_pem() -> &'static (String, String) {
    static PEM: OnceLock<(String, String)> = OnceLock::new();
    PEM.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed([SERVER.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    })
}

/// The server's certificate, in PEM.
pub fn server_certificate() -> Vec<u8> {
    server_pem().0.clone().into_bytes()
}

pub fn server_config() -> ServerConfig {
    let (certificate, key) = server_pem();
    ServerConfig::new(CertifiedKey::parse(certificate.as_bytes(), key.as_bytes()).unwrap())
}

pub fn acceptor() -> Acceptor {
    Acceptor::new(&server_config()).unwrap()
}

pub fn name() -> ClientName {
    ClientName::parse(NAME.as_bytes()).unwrap()
}

pub fn x509() -> ClientCredential {
    let key = CertifiedKey::parse(&vector("certs/ee-p256.pem"), &vector("keys/ee-p256.key.pem")).unwrap();
    ClientCredential::X509(key)
}

/// An end entity under an intermediate and a root.
pub fn leaf() -> ClientCredential {
    let chain = ["certs/leaf.pem", "certs/inter.pem", "certs/root.pem"].map(vector).concat();
    ClientCredential::X509(CertifiedKey::parse(&chain, &vector("keys/leaf.key.pem")).unwrap())
}

/// A certificate with [`NAME`] as its only dNSName.
pub fn named() -> ClientCredential {
    let key = CertifiedKey::parse(&vector("certs/leaf-devsan.pem"), &vector("keys/leaf.key.pem")).unwrap();
    ClientCredential::X509(key)
}

pub fn raw_public_key() -> ClientCredential {
    ClientCredential::RawPublicKey(PrivateKey::parse(&vector("keys/ee-p256.key.pem")).unwrap())
}

pub fn trust_server() -> ServerVerification {
    ServerVerification::Roots(TrustAnchors::parse(&server_certificate()).unwrap())
}

/// A client with a name and this credential.
pub fn client_config(credential: ClientCredential) -> ClientConfig {
    ClientConfig {
        credential: Some(credential),
        client_id: Some(ClientForm::Name(name())),
        ..ClientConfig::new(trust_server())
    }
}

pub fn connector(credential: ClientCredential) -> Connector {
    Connector::new(&client_config(credential)).unwrap()
}

/// Two ends of a TCP connection: client, server.
pub async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(client, listener.accept());
    (client.unwrap(), server.unwrap().0)
}

pub type Pending = Result<PendingClient<TcpStream>, AcceptError>;
pub type Connected = Result<ClientStream<TcpStream>, ConnectError>;

/// The server's handshake with a client that resumes nothing.
pub async fn accept<S>(acceptor: &Acceptor, stream: S) -> Result<PendingClient<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    acceptor.accept(stream).await.map(|accepted| accepted.pending().expect("a full handshake"))
}

/// Runs both handshakes.
pub async fn handshake(acceptor: &Acceptor, connector: &Connector) -> (Pending, Connected) {
    let (client, server) = tcp().await;
    tokio::join!(accept(acceptor, server), connector.connect(SERVER, client))
}

/// Runs both handshakes; where the client thinks that it is through, has it read until it learns otherwise.
pub async fn refused(acceptor: &Acceptor, connector: &Connector) -> (AcceptError, ClientEnd) {
    let (client, server) = tcp().await;
    let client = async {
        match connector.connect(SERVER, client).await {
            Err(error) => ClientEnd::Connect(error),
            Ok(stream) => read_end(stream).await,
        }
    };
    // Dropped where it is accepted, so that the client does not wait forever.
    let server = async { accept(acceptor, server).await.map(drop) };
    let (accepted, client) = tokio::join!(server, client);
    (accepted.expect_err("the server should refuse"), client)
}

/// How it ended for the client.
#[derive(Debug)]
pub enum ClientEnd {
    /// In the handshake.
    Connect(ConnectError),
    /// At a read.
    Read(io::Error),
    /// An orderly end.
    Eof,
}

impl ClientEnd {
    /// The alert that the server sent.
    pub fn alert(&self) -> Option<u8> {
        match self {
            Self::Connect(ConnectError::PeerAlert(alert)) => Some(alert.code()),
            Self::Connect(ConnectError::ClientAuthRefused) => Some(40),
            Self::Read(error) if is_auth_refused(error) => Some(40),
            Self::Read(error) => error.get_ref()?.downcast_ref::<PeerAlert>().map(|alert| alert.0.code()),
            _ => None,
        }
    }
}

pub fn is_auth_refused(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<ClientAuthRefused>())
}

pub async fn read_end(mut stream: ClientStream<TcpStream>) -> ClientEnd {
    match stream.read_to_end(&mut Vec::new()).await {
        Ok(_) => ClientEnd::Eof,
        Err(error) => ClientEnd::Read(error),
    }
}

pub const ACCEPT: Verdict = Verdict::NotDane(Reason::NoClientName);

pub async fn open(pending: PendingClient<TcpStream>) -> TlsStream<TcpStream> {
    match pending.resume(&ACCEPT).await {
        Resumed::Open(stream) => stream,
        Resumed::Refused => panic!("the verdict was to go on"),
    }
}

/// Octets go both ways.
pub async fn echo<S: AsyncRead + AsyncWrite + Unpin>(server: &mut TlsStream<S>, client: &mut ClientStream<S>) {
    let mut buf = [0; 5];
    client.write_all(b"hello").await.unwrap();
    server.read_exact(&mut buf).await.unwrap();
    server.write_all(&buf).await.unwrap();
    client.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"hello");
}

pub fn certificates(credential: Option<&Credential>) -> Vec<Vec<u8>> {
    match credential {
        Some(Credential::X509(chain)) => chain.iter().map(|certificate| certificate.to_vec()).collect(),
        _ => Vec::new(),
    }
}

/// A stream whose writes are kept.
pub struct Tapped<S> {
    inner: S,
    written: Octets,
}

/// What went through, in its order.
pub type Octets = Arc<Mutex<Vec<u8>>>;

impl<S> Tapped<S> {
    pub fn new(inner: S) -> (Self, Octets) {
        let written = Octets::default();
        (Self { inner, written: Arc::clone(&written) }, written)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, data);
        if let Poll::Ready(Ok(written)) = poll {
            self.written.lock().unwrap().extend(&data[..written]);
        }
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The content types and bodies of TLS records.
pub fn records(mut octets: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [content_type, _, _, high, low, rest @ ..] = octets {
        let (body, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        found.push((*content_type, body.to_vec()));
        octets = rest;
    }
    assert!(octets.is_empty(), "whole records");
    found
}

/// Messages, in their order.
pub type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

/// The messages of one type that go through a rewriting peer.
pub fn recorder(message_type: u8) -> (Seen, impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) {
    let seen = Seen::default();
    let record = {
        let seen = Arc::clone(&seen);
        misbehave::only(message_type, move |message| {
            seen.lock().unwrap().push(message.to_vec());
            message.to_vec()
        })
    };
    (seen, record)
}

/// Extensions in wire form, as type and data.
pub fn extensions(mut rest: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while let [a, b, c, d, after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*c, *d]));
        found.push((u16::from_be_bytes([*a, *b]), after[..len].to_vec()));
        rest = &after[len..];
    }
    found
}

/// The extensions of a ClientHello or ServerHello.
pub fn hello_extensions(hello: &[u8]) -> Vec<(u16, Vec<u8>)> {
    extensions(hello.get(4 + misbehave::hello_length(hello) + 2..).unwrap_or_default())
}

/// A ClientHello or ServerHello with these extensions in the place of its own.
pub fn with_hello_extensions(hello: &[u8], extensions: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Vec<u8> {
    let block: Vec<u8> = extensions.into_iter().flat_map(|(found, data)| misbehave::extension(found, &data)).collect();
    let mut body = hello[4..][..misbehave::hello_length(hello)].to_vec();
    body.extend((block.len() as u16).to_be_bytes());
    body.extend(block);
    misbehave::with_body(hello, &body)
}

/// A client that knows nothing of DANE.
pub fn plain_client(set: impl FnOnce(&mut SslContextBuilder)) -> Ssl {
    let mut ctx = SslContext::builder(SslMethod::tls_client()).unwrap();
    set(&mut ctx);
    Ssl::new(&ctx.build()).unwrap()
}

/// The reason code by which OpenSSL reports an alert that it has received.
pub fn alert_in(error: &openssl::ssl::Error) -> Option<i32> {
    const SSL_AD_REASON_OFFSET: i32 = 1000;
    error.ssl_error()?.errors().first().map(|error| error.reason_code() - SSL_AD_REASON_OFFSET)
}

/// Server and client agree that it ended with this alert, and the server knows why.
pub fn assert_refused((error, end): &(AcceptError, ClientEnd), reason: Reason, about: &str) {
    assert!(matches!(error, AcceptError::Refused(found) if *found == reason), "{about}: {error:?}");
    assert_eq!(end.alert(), Some(reason.alert().code()), "{about}: {end:?}");
}
