//! The stream after the handshake, for both ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use dance_core::clientid::{Profile, TlsVersion};
use openssl::ssl::{self, SslRef};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_openssl::SslStream;

use crate::conn::{Conn, version};
use crate::error::{AlertDescription, ClientAuthRefused, PeerAlert, because};
use crate::ffi;
use crate::transport::Transport;

/// HandshakeFailure in the alert registry.
pub(crate) const HANDSHAKE_FAILURE: u8 = 40;

/// What the two ends agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The protocol version.
    pub version: TlsVersion,
    /// The cipher suite, by its registered name.
    pub cipher_suite: &'static str,
    /// The key exchange group, by OpenSSL's name.
    pub group: Option<String>,
    /// The ALPN protocol.
    pub alpn: Option<Vec<u8>>,
}

impl Negotiated {
    pub(crate) fn of(ssl: &SslRef) -> Self {
        Self {
            version: version(ssl),
            cipher_suite: ssl.current_cipher().and_then(|cipher| cipher.standard_name()).unwrap_or("unknown"),
            group: ffi::group_name(ssl).map(str::to_owned),
            alpn: ssl.selected_alpn_protocol().map(<[u8]>::to_vec),
        }
    }
}

/// Which end of the connection this is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

/// An open connection. Reads and writes that fail because of an alert say so.
#[derive(Debug)]
pub(crate) struct OpenStream<S> {
    tls: SslStream<Transport<S>>,
    /// This end is the client, and the server decides about it after the handshake: handshake_failure is its verdict.
    awaits_verdict: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> OpenStream<S> {
    pub(crate) fn new(mut tls: SslStream<Transport<S>>, end: End) -> Self {
        tls.get_mut().open();
        let awaits_verdict = end == End::Client && version(tls.ssl()) == TlsVersion::Tls13;
        Self { tls, awaits_verdict }
    }

    /// What the handshake has left to send goes out now, as far as it can without waiting, whether anybody reads or
    /// writes next or not.
    pub(crate) fn pass_on_now(&mut self) {
        self.tls.get_mut().pass_on_now();
    }

    pub(crate) fn get_ref(&self) -> &S {
        self.tls.get_ref().get_ref()
    }

    pub(crate) fn ssl(&self) -> &SslRef {
        self.tls.ssl()
    }

    pub(crate) fn alert_received(&self) -> Option<AlertDescription> {
        ffi::conn(self.tls.ssl()).and_then(|conn| conn.state().alert_received).map(AlertDescription::new)
    }

    /// The error for an alert that has been received.
    fn alert_error(&self) -> Option<io::Error> {
        let alert = self.alert_received()?;
        Some(if self.awaits_verdict && alert.code() == HANDSHAKE_FAILURE {
            io::Error::new(io::ErrorKind::PermissionDenied, ClientAuthRefused)
        } else {
            io::Error::new(io::ErrorKind::ConnectionAborted, PeerAlert(alert))
        })
    }

    /// Finds the cause of what OpenSSL reports.
    fn settle<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let error = match result {
            Poll::Ready(Ok(value)) => return Poll::Ready(Ok(value)),
            Poll::Ready(Err(error)) => error,
            Poll::Pending => match self.tls.get_mut().take_error() {
                None => return Poll::Pending,
                // A write has failed, of which OpenSSL does not know.
                Some(error) => {
                    let _ = Pin::new(&mut self.tls).poll_peek(cx, &mut [0]);
                    error
                }
            },
        };
        if let Some(alert) = self.alert_error() {
            return Poll::Ready(Err(alert));
        }
        if let Some(error) = self.tls.get_mut().take_error() {
            return Poll::Ready(Err(error));
        }
        let truncated = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<ssl::Error>())
            .and_then(ssl::Error::ssl_error)
            .is_some_and(|stack| because(stack, ffi::R_UNEXPECTED_EOF));
        Poll::Ready(Err(if truncated { io::ErrorKind::UnexpectedEof.into() } else { error }))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for OpenStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let wanted = buf.remaining() > 0;
        match Pin::new(&mut self.tls).poll_read(cx, buf) {
            // OpenSSL reports an alert once and the end of the stream from then on.
            Poll::Ready(Ok(())) if wanted && buf.filled().len() == before => {
                Poll::Ready(self.alert_error().map_or(Ok(()), Err))
            }
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                if let Some(keeper) = ffi::conn(self.ssl()).and_then(Conn::keeper) {
                    keeper.on_application_data();
                }
                Poll::Ready(Ok(()))
            }
            other => self.settle(cx, other),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for OpenStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tls).poll_write(cx, data);
        self.settle(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.tls).poll_flush(cx);
        self.settle(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.tls).poll_shutdown(cx);
        self.settle(cx, result)
    }
}

/// A connection that may be used. Who the client is, if anyone, says the verdict; the stream says nothing about it.
#[derive(Debug)]
pub struct TlsStream<S> {
    pub(crate) open: OpenStream<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// The connection below TLS.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        self.open.get_ref()
    }

    /// The alert with which the client ended the connection.
    #[must_use]
    pub fn alert_received(&self) -> Option<AlertDescription> {
        self.open.alert_received()
    }
}

/// What kind of credential the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialType {
    /// Certificates.
    X509,
    /// A raw public key.
    RawPublicKey,
}

/// The client's end of a connection. A refusal by the server comes as an [`std::io::Error`] whose inner error is
/// [`ClientAuthRefused`].
#[derive(Debug)]
pub struct ClientStream<S> {
    pub(crate) open: OpenStream<S>,
    pub(crate) signal: Option<Profile>,
    pub(crate) name_sent: bool,
    pub(crate) credential_sent: Option<CredentialType>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientStream<S> {
    /// The server signalled DANE client authentication.
    #[must_use]
    pub const fn signal_seen(&self) -> bool {
        self.signal.is_some()
    }

    /// The profile whose signal that was: of a client set to `auto`, the one that the server has revealed.
    #[must_use]
    pub const fn profile(&self) -> Option<Profile> {
        self.signal
    }

    /// The name was sent, or the server was told to take it from the certificate that was sent.
    #[must_use]
    pub const fn name_sent(&self) -> bool {
        self.name_sent
    }

    /// What was presented; `None` where the server did not ask, or asked for what there is not.
    #[must_use]
    pub const fn credential_sent(&self) -> Option<CredentialType> {
        self.credential_sent
    }

    /// The session of an earlier connection was resumed. The server has not asked for anything then, nor signalled: what
    /// it knows about the client is from that connection.
    #[must_use]
    pub fn resumed(&self) -> bool {
        self.open.ssl().session_reused()
    }

    /// Version, cipher suite, group and ALPN protocol.
    #[must_use]
    pub fn negotiated(&self) -> Negotiated {
        Negotiated::of(self.open.ssl())
    }

    /// The alert with which the server ended the connection.
    #[must_use]
    pub fn alert_received(&self) -> Option<AlertDescription> {
        self.open.alert_received()
    }

    /// The connection below TLS.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        self.open.get_ref()
    }
}

/// Hands reading and writing on to the field `open`.
macro_rules! open_stream {
    ($stream:ident) => {
        impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for $stream<S> {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.open).poll_read(cx, buf)
            }
        }

        impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for $stream<S> {
            fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.open).poll_write(cx, data)
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.open).poll_flush(cx)
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.open).poll_shutdown(cx)
            }
        }
    };
}
open_stream!(ClientStream);
open_stream!(TlsStream);
