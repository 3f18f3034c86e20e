//! DTLS 1.2 with DANE client authentication, in profile `2022`; of DTLS 1.3, which profile `current` needs, OpenSSL 4.0
//! knows nothing.
//!
//! A server has a [`DtlsListener`] on its UDP socket and a [`DtlsAcceptor`] for its clients. As over TCP, each becomes a
//! [`PendingDatagramClient`], and a [`DtlsStream`] once there is a verdict for it. The verdict comes before the server's
//! Finished: its last flight waits in this process, and a client that is refused gets its alert within the handshake.
//!
//! | module | what it holds |
//! |---|---|
//! | `listener` | one socket for many clients |
//! | `cookie` | what a client has to return before it is heard |
//! | `path` | the way to one peer |
//! | `link` | a connection being driven |
//! | `wire` | the datagrams, and the gate that the last flight waits at |
//! | `record` | what can be read of records |

mod cookie;
mod link;
mod listener;
mod path;
mod record;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use dance_core::clientid::ClientProfile;
use dance_core::reason::Reason;
use dance_core::verdict::{Presented, Verdict};
use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, NameType};
use tokio::net::UdpSocket;

use crate::client::{Connector, set_up};
use crate::config::{ClientConfig, Over, ServerConfig};
use crate::error::{AcceptError, AlertDescription, ConfigError, ConnectError, PeerAlert, TlsFailure, words};
use crate::ffi;
use crate::server::{Acceptor, take_state};
use crate::stream::{CredentialType, Negotiated};
use crate::transport::Gate;
use link::{Failure, Link, MAX_DATA};
pub use listener::{DtlsIncoming, DtlsLimits, DtlsListener};
use path::Path;
use wire::Wire;

/// Turns clients of a [`DtlsListener`] into pending ones. Built once, cheap to clone.
#[derive(Clone, Debug)]
pub struct DtlsAcceptor(Acceptor);

impl DtlsAcceptor {
    /// Checks the settings. They are those of TLS 1.2 in profile `2022`.
    ///
    /// # Errors
    /// [`ConfigError`]; [`ConfigError::Dtls`] for any other profile, or without `tls12`.
    pub fn new(config: &ServerConfig) -> Result<Self, ConfigError> {
        check(config.profile.into(), config.tls12)?;
        // TLS 1.2 never resumes.
        Acceptor::over(&ServerConfig { resumption: None, ..config.clone() }, Over::Datagrams).map(Self)
    }

    /// Runs the handshake up to and including the client's Finished. Time limits are the caller's. A client that is
    /// refused is told so for the time of [`ServerConfig::linger`] before this returns.
    ///
    /// # Errors
    /// [`AcceptError`].
    pub async fn accept(&self, client: DtlsIncoming) -> Result<PendingDatagramClient, AcceptError> {
        let DtlsIncoming { path, client_hello, sequence, .. } = client;
        let mut link = self.link(Wire::server(client_hello, sequence), path).map_err(|cause| tls_failure(&cause))?;
        if !ffi::dtls_listen(link.tls_mut()) {
            return Err(tls_failure(&ErrorStack::get()));
        }
        let linger = self.0.linger.time;
        if let Err(failure) = link.drive(|tls| tls.accept()).await {
            let state = take_state(link.ssl());
            let error = match failure {
                Failure::Path(error) => AcceptError::Io(error),
                Failure::Tls(error) => self.0.classify(&state, &error, None, link.ssl()),
            };
            if state.alert_sent.is_some() {
                link.linger(linger).await;
            }
            return Err(error);
        }
        let state = take_state(link.ssl());
        match self.0.presented(link.ssl(), &state) {
            Ok(presented) => Ok(PendingDatagramClient {
                presented: Arc::new(presented),
                server_name: link.ssl().servername(NameType::HOST_NAME).map(str::to_owned),
                negotiated: Negotiated::of(link.ssl()),
                held: Some(link),
                linger,
            }),
            Err(reason) => {
                link.wire_mut().refuse(reason.alert().code());
                link.linger(linger).await;
                Err(AcceptError::Refused(reason))
            }
        }
    }

    fn link(&self, wire: Wire, path: Path) -> Result<Link, ErrorStack> {
        // The wire has a gate of its own.
        Link::new(self.0.ssl(Gate::default())?, wire, path)
    }
}

/// A client that has completed its handshake and proven possession of its key, and about which nothing has been
/// decided: a [`PendingClient`](crate::PendingClient) over datagrams. Dropping it refuses it, with one alert. There is no
/// way to read from it or to write to it (SRV-10):
///
/// ```compile_fail,E0599
/// async fn use_it(mut pending: dance_tls::PendingDatagramClient) { pending.recv(&mut [0]).await; }
/// ```
///
/// The stream that a verdict makes of it can be used:
///
/// ```
/// async fn use_it(mut open: dance_tls::DtlsStream) { open.recv(&mut [0]).await; }
/// ```
pub struct PendingDatagramClient {
    presented: Arc<Presented>,
    server_name: Option<String>,
    negotiated: Negotiated,
    linger: Duration,
    /// Taken by [`Self::resume`]; what is left is for `drop`.
    held: Option<Link>,
}

impl fmt::Debug for PendingDatagramClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingDatagramClient")
            .field("presented", &self.presented)
            .field("server_name", &self.server_name)
            .field("negotiated", &self.negotiated)
            .finish_non_exhaustive()
    }
}

impl PendingDatagramClient {
    /// What to decide about.
    #[must_use]
    pub const fn presented(&self) -> &Arc<Presented> {
        &self.presented
    }

    /// The server name that the client asked for (RFC 6066 section 3), as sent.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// All that was negotiated. DTLS 1.2 counts as TLS 1.2.
    #[must_use]
    pub const fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// Resolves when the client says that it goes away, or has not been heard of for [`DtlsLimits::idle`]. Can be dropped
    /// and called again.
    pub async fn closed(&mut self) {
        if let Some(link) = &mut self.held
            && link.drive(|tls| tls.ssl_peek(&mut [0])).await.is_ok()
        {
            std::future::pending().await
        }
    }

    /// Acts on the verdict: lets the server's last flight go, or drops it and sends the reason's alert, and again to a
    /// client that goes on asking. Refusing takes as long as [`ServerConfig::linger`] allows, since nobody confirms an
    /// alert.
    pub async fn resume(mut self, verdict: &Verdict) -> ResumedDatagrams {
        let Some(mut link) = self.held.take() else {
            return ResumedDatagrams::Refused;
        };
        match verdict {
            Verdict::Authenticated(_) | Verdict::Unauthenticated(_) | Verdict::NotDane(_) => {
                link.wire_mut().open();
                link.flush_now();
                ResumedDatagrams::Open(DtlsStream { link })
            }
            Verdict::Abort(reason) => {
                link.wire_mut().refuse(reason.alert().code());
                link.linger(self.linger).await;
                ResumedDatagrams::Refused
            }
        }
    }
}

impl Drop for PendingDatagramClient {
    fn drop(&mut self) {
        if let Some(link) = &mut self.held {
            // Which reason does not matter: this is about the one alert that all of them share.
            link.wire_mut().refuse(Reason::CheckTimeout.alert().code());
            link.flush_now();
        }
    }
}

/// What became of a pending client.
#[derive(Debug)]
pub enum ResumedDatagrams {
    /// It may go on.
    Open(DtlsStream),
    /// It has been sent its alert, and is forgotten.
    Refused,
}

/// An open connection of either end. As UDP, it loses datagrams and may swap them; it does not deliver any twice.
#[derive(Debug)]
pub struct DtlsStream {
    link: Link,
}

impl DtlsStream {
    /// How many octets [`Self::send`] takes.
    pub const MAX_DATA: usize = MAX_DATA;

    /// Waits for the next record of data and gives its length; `None` when the peer has closed the connection. What does
    /// not fit into `buffer` comes with the next call. To be called also by who expects nothing: this is what answers a
    /// client that has not got the end of the handshake. Can be dropped and called again.
    ///
    /// # Errors
    /// Of kind `TimedOut` if the client of a listener has not been heard of for [`DtlsLimits::idle`]; with [`PeerAlert`]
    /// inside if the peer has ended the connection by an alert.
    pub async fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.link.drive(|tls| tls.ssl_read(buffer)).await {
            Ok(length) => Ok(Some(length)),
            Err(Failure::Tls(error)) if error.code() == ErrorCode::ZERO_RETURN => Ok(None),
            Err(failure) => Err(self.error(failure)),
        }
    }

    /// Sends data in one datagram.
    ///
    /// # Errors
    /// Of kind `InvalidInput` if there is more of it than [`Self::MAX_DATA`]; OpenSSL's if the connection has ended. A
    /// datagram that the network does not take is lost like any other.
    pub async fn send(&mut self, data: &[u8]) -> io::Result<()> {
        if data.len() > MAX_DATA {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match self.link.drive(|tls| tls.ssl_write(data)).await {
            Ok(_) => self.link.flush().await,
            Err(failure) => return Err(self.error(failure)),
        }
        Ok(())
    }

    /// Tells the peer that no more will come. That may be lost too.
    pub async fn close(mut self) {
        // The error is that of a connection which has ended already.
        let _ = self.link.tls_mut().shutdown();
        self.link.flush().await;
    }

    /// What was negotiated. DTLS 1.2 counts as TLS 1.2.
    #[must_use]
    pub fn negotiated(&self) -> Negotiated {
        Negotiated::of(self.link.ssl())
    }

    /// Where the peer is.
    ///
    /// # Errors
    /// As the system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.link.path().peer_addr()
    }

    fn error(&self, failure: Failure) -> io::Error {
        let alert = ffi::conn(self.link.ssl()).and_then(|conn| conn.state().alert_received);
        match (alert, failure) {
            (Some(alert), _) => {
                io::Error::new(io::ErrorKind::ConnectionAborted, PeerAlert(AlertDescription::new(alert)))
            }
            (None, Failure::Path(error)) => error,
            (None, Failure::Tls(error)) => error.into_io_error().unwrap_or_else(io::Error::other),
        }
    }
}

/// Connects to servers over UDP. Built once, cheap to clone.
#[derive(Clone, Debug)]
pub struct DtlsConnector(Connector);

impl DtlsConnector {
    /// Checks the settings. They are those of TLS 1.2 in profile `2022`.
    ///
    /// # Errors
    /// [`ConfigError`]; [`ConfigError::Dtls`] for any other profile, or without `tls12`.
    pub fn new(config: &ClientConfig) -> Result<Self, ConfigError> {
        check(config.profile, config.tls12)?;
        Connector::over(&ClientConfig { resumption: false, ..config.clone() }, Over::Datagrams).map(Self)
    }

    /// Runs the handshake over a socket that is connected to the server. `server_name` is the DNS name or IP address that
    /// the server's certificate must hold. The server has decided about the client when this returns. Time limits are
    /// the caller's: a server that is not there may never answer.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, server_name: &str, socket: UdpSocket) -> Result<DtlsConnected, ConnectError> {
        let ssl = self.0.ssl(server_name)?;
        let mut link = Link::new(ssl, Wire::client(), Path::connected(socket)).map_err(set_up)?;
        let result = link.drive(|tls| tls.connect()).await;
        let state = take_state(link.ssl());
        if let Err(failure) = result {
            link.flush().await;
            return Err(match failure {
                Failure::Path(error) => ConnectError::Io(error),
                Failure::Tls(error) => self.0.classify(&state, &error, None, link.ssl(), server_name),
            });
        }
        let said = match self.0.said(link.ssl(), &state) {
            Ok(said) => said,
            Err(error) => {
                DtlsStream { link }.close().await;
                return Err(error);
            }
        };
        Ok(DtlsConnected {
            signal_seen: state.signal.is_some(),
            name_sent: said.name,
            credential_sent: said.credential,
            stream: DtlsStream { link },
        })
    }
}

/// A client's connection, and what was said in its handshake.
#[derive(Debug)]
pub struct DtlsConnected {
    /// The open connection.
    pub stream: DtlsStream,
    /// The server signalled DANE client authentication.
    pub signal_seen: bool,
    /// The name was sent, or the server was told to take it from the certificate that was sent.
    pub name_sent: bool,
    /// What was presented.
    pub credential_sent: Option<CredentialType>,
}

fn check(profile: ClientProfile, tls12: bool) -> Result<(), ConfigError> {
    // DTLS 1.2 has the messages of TLS 1.2.
    if profile.may_use_client_hello() && tls12 { Ok(()) } else { Err(ConfigError::Dtls { profile }) }
}

fn tls_failure(cause: &ErrorStack) -> AcceptError {
    let text = format!("cannot set up a connection: {}", words(cause));
    AcceptError::Tls(TlsFailure { alert_sent: None, text })
}
