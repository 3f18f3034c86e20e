//! The options that every command which opens a TLS connection shares, and the connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use dance_core::clientid::{ClientForm, ClientProfile, ExtensionType, TlsVersion};
use dance_core::name::ClientName;
use dance_tls::{
    ClientAuthRefused, ClientConfig, ClientStream, Connector, CredentialFiles, CredentialType, Rollover,
    ServerVerification, TrustAnchors,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::command::dns::parse_time;
use crate::command::preflight::RecordOptions;
use crate::command::{parse_client_profile, parse_extension_type, parse_name};
use crate::{Error, output};

/// Who this client is, and how the server is known.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "TLS options")]
pub(crate) struct TlsOptions {
    #[command(flatten)]
    identity: Identity,

    /// The client's certificate chain, its own first; for records of usage 2 up to and including the trust anchor
    #[arg(long, value_name = "PEM", requires = "key")]
    cert: Option<PathBuf>,

    /// The client's private key; alone, it is presented as a raw public key (RFC 7250)
    #[arg(long, value_name = "PEM")]
    key: Option<PathBuf>,

    /// The next certificate chain of a rollover, with --next-key
    #[arg(long, value_name = "PEM", requires = "next_key")]
    next_cert: Option<PathBuf>,

    /// The next private key of a rollover: presented once its record is published and that of --key is not; may be missing
    #[arg(long, value_name = "PEM", requires_all = ["key", "identity"], conflicts_with = "no_record_check")]
    next_key: Option<PathBuf>,

    /// Certificates to verify the server by [default: the system's]
    #[arg(long, value_name = "PEM", conflicts_with = "unsafe_no_verify")]
    server_ca: Option<PathBuf>,

    /// The name that the server's certificate must hold [default: the host connected to]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,

    /// Do not verify the server: anybody on the way learns the client's name
    #[arg(long)]
    unsafe_no_verify: bool,

    /// Wire profile: `current`, `2022`, or `auto` for the one that the server reveals
    #[arg(long, value_parser = parse_client_profile, default_value_t)]
    profile: ClientProfile,

    /// Speak TLS 1.2 too, which shows certificates to anybody on the path; profile 2022 only
    #[arg(long)]
    tls12: bool,

    /// With --tls12, leave TLS 1.3 out: to see what a server does in TLS 1.2
    #[arg(long, requires = "tls12")]
    no_tls13: bool,

    /// With --tls12, say the name in the ClientHello: anybody on the path can read it
    #[arg(long, requires = "tls12")]
    name_in_client_hello: bool,

    /// The extension's code point; both sides must agree on it
    #[arg(long, value_name = "TYPE", value_parser = parse_extension_type, default_value_t = ExtensionType::DEFAULT)]
    extension_type: ExtensionType,

    /// Longest time for the connection and its handshake, such as 500ms or 10s
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    timeout: Duration,

    #[command(flatten)]
    record: RecordOptions,
}

/// What the client is called. Without any of it the credential is an ordinary one.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "identity", multiple = false)]
struct Identity {
    /// The client's name: the owner name of its TLSA record
    #[arg(long, value_name = "OWNER", value_parser = parse_name, requires = "key")]
    name: Option<ClientName>,

    /// Say that the client's name is the one dNSName in its certificate; profile 2022 only
    #[arg(long, requires = "cert")]
    name_in_certificate: bool,
}

impl Identity {
    /// What to convey.
    fn form(&self) -> Option<ClientForm> {
        match &self.name {
            Some(name) => Some(ClientForm::Name(name.clone())),
            None => self.name_in_certificate.then_some(ClientForm::InCertificate),
        }
    }
}

/// A server: host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    host: String,
    port: u16,
}

impl Server {
    /// A host, an IPv6 address with or without its brackets, and a port.
    pub(crate) fn new(host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        Self { host: bare.unwrap_or(host).to_owned(), port }
    }
}

impl FromStr for Server {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT, found no port")?;
        if host.is_empty() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
            return Err("expected HOST:PORT; an IPv6 address stands in brackets: [2001:db8::1]:443");
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or("expected a port from 1 to 65535")?;
        Ok(Self::new(host, port))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Where a server may be reached. `localhost` is this machine, whatever a resolver makes of it or lacks (RFC 6761 section 6.3).
async fn addresses(server: &Server) -> io::Result<Vec<SocketAddr>> {
    if server.host.eq_ignore_ascii_case("localhost") {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(loopback.map(|address| SocketAddr::new(address, server.port)).to_vec());
    }
    let found: Vec<_> = lookup_host((server.host.as_str(), server.port)).await?.collect();
    if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
}

impl TlsOptions {
    /// Connects to `address` and shakes hands with what must be `server`. The server's verdict comes later, with the first octet read.
    pub(crate) async fn connect(
        &self,
        server: &Server,
        address: &Server,
        alpn: Vec<Vec<u8>>,
    ) -> Result<ClientStream<TcpStream>, Error> {
        let connector = self.connector(alpn).await?;
        let server_name = self.server_name.as_deref().unwrap_or(&server.host);
        let opened = async {
            let failed = |error| Error::Connect { server: address.to_string(), error };
            let addresses = addresses(address).await.map_err(failed)?;
            let stream = TcpStream::connect(addresses.as_slice()).await.map_err(failed)?;
            // What is typed or piped goes out at once; there is nothing to save by waiting.
            let _ = stream.set_nodelay(true);
            connector.connect(server_name, stream).await.map_err(Error::Handshake)
        };
        timeout(self.timeout, opened)
            .await
            .map_err(|_| Error::ConnectTimeout { server: address.to_string(), time: self.timeout })?
    }

    async fn connector(&self, alpn: Vec<Vec<u8>>) -> Result<Connector, Error> {
        let config = self.config(alpn)?;
        let Some(key) = &self.key else {
            return Connector::new(&config).map_err(Error::TlsConfig);
        };
        let files = |certificate: &Option<PathBuf>, key: &Path| CredentialFiles {
            certificate: certificate.clone(),
            key: key.to_owned(),
        };
        let next = self.next_key.as_deref().map(|key| files(&self.next_cert, key));
        let rollover = Rollover::load(config, files(&self.cert, key), next.clone()).map_err(Error::Credentials)?;
        let credentials = rollover.credentials();
        if let (Some(next), None) = (next, &credentials.next) {
            output::note(format_args!("there is no next credential: {next} does not exist"));
        }
        let ready = match self.identity.form() {
            Some(form) => self.record.choose(&credentials, &form, self.profile).await?,
            None => {
                output::warning("without --name TLS does not tell the server whose credential this is");
                &credentials.current
            }
        };
        Ok(ready.connector().clone())
    }

    /// The settings, without credential.
    fn config(&self, alpn: Vec<Vec<u8>>) -> Result<ClientConfig, Error> {
        let verification = match &self.server_ca {
            Some(path) => ServerVerification::Roots(TrustAnchors::load(path).map_err(Error::Credential)?),
            None if self.unsafe_no_verify => {
                output::warning("the server is not verified: anybody on the way learns the client's name");
                ServerVerification::UnsafeNone
            }
            None => ServerVerification::SystemRoots,
        };
        let client_id = self.identity.form();
        Ok(ClientConfig {
            require_signal: client_id.is_some(),
            client_id,
            profile: self.profile,
            tls12: self.tls12,
            tls13: !self.no_tls13,
            name_in_client_hello: self.name_in_client_hello,
            extension_type: self.extension_type,
            alpn,
            ..ClientConfig::new(verification)
        })
    }

    /// Says on standard error what was negotiated.
    pub(crate) fn describe(&self, address: &Server, stream: &ClientStream<TcpStream>) {
        let negotiated = stream.negotiated();
        let version = match negotiated.version {
            TlsVersion::Tls12 => "TLS 1.2",
            TlsVersion::Tls13 => "TLS 1.3",
        };
        let group = negotiated.group.as_deref().unwrap_or("unknown group");
        let alpn = negotiated.alpn.as_deref().map_or("none".into(), String::from_utf8_lossy);
        output::note(format_args!(
            "connected to {address}: {version}, {}, {group}, ALPN {alpn}",
            negotiated.cipher_suite
        ));
        let asked = match stream.profile() {
            Some(profile) => format!("the server does DANE client authentication, profile {profile}"),
            None => "the server did not ask for a DANE name".to_owned(),
        };
        let sent = match stream.credential_sent() {
            None => "no credential sent",
            Some(CredentialType::X509) => "certificate sent",
            Some(CredentialType::RawPublicKey) => "raw public key sent",
        };
        match self.identity.form().filter(|_| stream.name_sent()) {
            Some(ClientForm::Name(name)) => output::note(format_args!("{asked}; {sent} as {name}")),
            Some(ClientForm::InCertificate) => output::note(format_args!("{asked}; {sent}, which holds the name")),
            None => output::note(format_args!("{asked}; {sent}, no name")),
        }
    }
}

/// Whether an I/O error is the server's refusal of this client (CLI-07).
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<ClientAuthRefused>())
}

/// A connection that remembers whether the server refused the client: HTTP libraries do not hand such errors on as they are.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    refused: Arc<AtomicBool>,
}

impl<S> Watched<S> {
    /// The connection, and where it will be said.
    pub(crate) fn new(stream: S) -> (Self, Arc<AtomicBool>) {
        let refused = Arc::new(AtomicBool::new(false));
        (Self { stream, refused: Arc::clone(&refused) }, refused)
    }

    fn watch<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &poll
            && is_refusal(error)
        {
            self.refused.store(true, Ordering::Relaxed);
        }
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watch(poll)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, data);
        self.watch(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(poll)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[test]
    fn servers_are_host_and_port() {
        let parse =
            |text: &str| text.parse::<Server>().map(|server| (server.host.clone(), server.port, server.to_string()));
        assert_eq!(parse("example.com:443").unwrap(), ("example.com".to_owned(), 443, "example.com:443".to_owned()));
        assert_eq!(parse("[::1]:8443").unwrap(), ("::1".to_owned(), 8443, "[::1]:8443".to_owned()));
        for refused in ["example.com", ":443", "::1:443", "example.com:0", "example.com:https", "example.com:"] {
            assert!(parse(refused).is_err(), "{refused:?} was taken");
        }
    }
}
