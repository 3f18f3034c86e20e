//! The pause: a client that waits for its verdict, and what becomes of it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use dance_core::clientid::TlsVersion;
use dance_core::reason::Reason;
use dance_core::verdict::{Presented, Verdict, VerifiedClient};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;
use tracing::debug;

use crate::ffi;
use crate::session::{build_ticket, issue_first};
use crate::stream::{End, Negotiated, OpenStream, TlsStream};
use crate::transport::{Linger, Transport};

/// A client that has completed its handshake and proven possession of its key, and about which nothing has been
/// decided. Dropping it refuses it, with as much of the alert as can be sent without waiting.
///
/// There is no way to read from it or to write to it (SRV-10):
///
/// ```compile_fail,E0277
/// # type Stream = tokio::io::DuplexStream;
/// fn use_it(stream: impl tokio::io::AsyncRead) {}
/// fn try_it(pending: dance_tls::PendingClient<Stream>) { use_it(pending) }
/// ```
///
/// The stream that a verdict makes of it can be used:
///
/// ```
/// # type Stream = tokio::io::DuplexStream;
/// fn use_it(stream: impl tokio::io::AsyncRead) {}
/// fn try_it(open: dance_tls::TlsStream<Stream>) { use_it(open) }
/// ```
pub struct PendingClient<S: AsyncRead + AsyncWrite + Unpin> {
    presented: Arc<Presented>,
    server_name: Option<String>,
    negotiated: Negotiated,
    /// Taken by [`Self::resume`]; what is left is for `drop`.
    held: Option<Held<S>>,
}

struct Held<S> {
    stream: SslStream<Transport<S>>,
    linger: Linger,
}

impl<S: AsyncRead + AsyncWrite + Unpin> fmt::Debug for PendingClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingClient")
            .field("presented", &self.presented)
            .field("server_name", &self.server_name)
            .field("negotiated", &self.negotiated)
            .finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> PendingClient<S> {
    pub(crate) fn new(
        stream: SslStream<Transport<S>>,
        presented: Presented,
        server_name: Option<String>,
        negotiated: Negotiated,
        linger: Linger,
    ) -> Self {
        Self { presented: Arc::new(presented), server_name, negotiated, held: Some(Held { stream, linger }) }
    }

    /// What to decide about. Shared, so that whoever decides can keep it beyond the pause.
    #[must_use]
    pub const fn presented(&self) -> &Arc<Presented> {
        &self.presented
    }

    /// The server name that the client asked for (RFC 6066 section 3), as sent.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The ALPN protocol.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.negotiated.alpn.as_deref()
    }

    /// The protocol version.
    #[must_use]
    pub const fn version(&self) -> TlsVersion {
        self.negotiated.version
    }

    /// All that was negotiated.
    #[must_use]
    pub const fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// The connection below TLS.
    #[must_use]
    pub fn get_ref(&self) -> Option<&S> {
        self.held.as_ref().map(|held| held.stream.get_ref().get_ref())
    }

    /// Resolves when the client goes away. Keeps one record of application data at most, inside OpenSSL; a client that
    /// has sent some is not watched any further. Can be dropped and called again.
    pub async fn closed(&mut self) {
        if let Some(held) = &mut self.held
            && Pin::new(&mut held.stream).peek(&mut [0]).await.is_ok()
        {
            std::future::pending().await
        }
    }

    /// Acts on the verdict: hands out the stream, or sends the reason's alert and closes. Refusing takes as long as
    /// [`ServerConfig::linger`](crate::ServerConfig::linger) allows.
    pub async fn resume(mut self, verdict: &Verdict) -> Resumed<S> {
        let Some(Held { mut stream, linger }) = self.held.take() else {
            return Resumed::Refused;
        };
        match verdict {
            Verdict::Authenticated(_) | Verdict::Unauthenticated(_) | Verdict::NotDane(_) => {
                if let Verdict::Authenticated(client) = verdict {
                    issue_first(&mut stream, client, &self.presented);
                }
                let mut open = OpenStream::new(stream, End::Server);
                open.pass_on_now();
                Resumed::Open(TlsStream { open })
            }
            Verdict::Abort(reason) => {
                refuse(&mut stream, *reason);
                stream.get_mut().linger(linger).await;
                Resumed::Refused
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Drop for PendingClient<S> {
    fn drop(&mut self) {
        if let Some(Held { mut stream, .. }) = self.held.take() {
            // Which reason does not matter: this is about the one alert that all of them share.
            refuse(&mut stream, Reason::CheckTimeout);
            stream.get_mut().linger_now();
        }
    }
}

/// What became of a pending client.
#[derive(Debug)]
pub enum Resumed<S> {
    /// It may go on.
    Open(TlsStream<S>),
    /// It has been sent its alert, and the connection is closed.
    Refused,
}

/// Has the reason's alert written and the connection ended. The alert waits in the transport.
///
/// In TLS 1.2 the server's last flight has not left, so the client is still in its handshake and takes an alert in the
/// clear. In TLS 1.3 the handshake is complete here, and OpenSSL has no call that sends an alert of one's choice. But it
/// builds a NewSessionTicket on request, asks for its extensions, and takes an alert for an answer. To the client this
/// looks like any late refusal (RFC 9846 appendix on client authentication): the server writes with application keys
/// since its Finished.
pub(crate) fn refuse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut SslStream<Transport<S>>, reason: Reason) {
    if stream.get_mut().refuse(reason.alert().code()) {
        return;
    }
    if let Some(conn) = ffi::conn(stream.ssl()) {
        conn.refuse_with(reason.alert().code());
    }
    // There is no key for a ticket to this client, and without one OpenSSL would not come to the alert.
    ffi::session::make_no_tickets(stream);
    if !build_ticket(stream, |ssl| ffi::conn(ssl).is_some_and(|conn| conn.state().alert_sent.is_some())) {
        // The peer has broken or ended the connection while it was pending, or OpenSSL has changed. Either way it is
        // closed.
        debug!(%reason, "the client is refused by a close, without alert");
    }
}

/// A client that needs no verdict: its ticket holds one that still stands.
#[derive(Debug)]
pub struct ResumedClient<S> {
    /// Who it is.
    pub client: VerifiedClient,
    /// The open connection.
    pub stream: TlsStream<S>,
    pub(crate) server_name: Option<String>,
    pub(crate) negotiated: Negotiated,
}

impl<S> ResumedClient<S> {
    /// The server name that the client asked for (RFC 6066 section 3), as sent.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// All that was negotiated.
    #[must_use]
    pub const fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }
}
