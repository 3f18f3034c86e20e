//! The server: a handshake that ends in a [`PendingClient`], and what becomes of it.

use std::fmt;
use std::pin::Pin;

use dance_core::clientid::{Profile, TlsVersion};
use dance_core::reason::Reason;
use dance_core::verdict::{ClientId, Presented, Verdict};
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::ssl::{self, AlpnError, NameType, Ssl, SslContext, SslMethod, SslOptions, SslVerifyMode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;
use tracing::{debug, error, warn};

use crate::certificate::{self, Malformed};
use crate::config::{Common, DaneMode, ServerConfig, check_alpn, context, server_groups, use_certified_key};
use crate::conn::{Conn, Side, State};
use crate::credential::subject;
use crate::error::{AcceptError, AlertDescription, ConfigError, TlsFailure, words};
use crate::ffi;
use crate::stream::{Negotiated, OpenStream, TlsStream};
use crate::transport::{Linger, Transport};

/// Sessions are never resumed; OpenSSL wants a context for them all the same when it asks for certificates.
const SESSION_ID_CONTEXT: &[u8] = b"dance";

/// Turns connections into pending clients. Built once, cheap to clone.
#[derive(Clone)]
pub struct Acceptor {
    context: SslContext,
    profile: Profile,
    signal: Option<&'static [u8]>,
    linger: Linger,
    #[cfg(feature = "misbehave")]
    pub(crate) rewrite: Option<crate::misbehave::Rewrite>,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("profile", &self.profile).field("signal", &self.signal).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Checks the settings. An expired server certificate is logged as a warning, not refused: the clock may be what is wrong.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: &ServerConfig) -> Result<Self, ConfigError> {
        let types: &[u8] =
            if config.raw_public_keys { &[ffi::CERT_TYPE_RPK, ffi::CERT_TYPE_X509] } else { &[ffi::CERT_TYPE_X509] };
        let mut ctx = context(&Common {
            method: SslMethod::tls_server(),
            profile: config.profile,
            extension_type: config.extension_type,
            tls12: config.tls12,
            groups: Some(server_groups(config.groups.as_deref())),
            client_cert_types: types,
        })?;
        use_certified_key(&mut ctx, &config.certified_key)?;
        warn_if_expired(config);
        // A missing certificate must not draw certificate_required, so FAIL_IF_NO_PEER_CERT stays off; the verdict takes care of it.
        ctx.set_verify(SslVerifyMode::PEER);
        ctx.set_options(SslOptions::CIPHER_SERVER_PREFERENCE);
        ctx.set_session_id_context(SESSION_ID_CONTEXT).map_err(ConfigError::OpenSsl)?;
        ctx.set_num_tickets(0).map_err(ConfigError::OpenSsl)?;
        check_alpn(&config.alpn)?;
        if !config.alpn.is_empty() {
            let protocols = config.alpn.clone();
            ctx.set_alpn_select_callback(move |_, offered| {
                select_alpn(&protocols, offered).ok_or(AlpnError::ALERT_FATAL)
            });
        }
        Ok(Self {
            context: ctx.build(),
            profile: config.profile,
            signal: match config.dane {
                DaneMode::On => Some(config.profile.signal()),
                DaneMode::Off => None,
            },
            linger: config.linger,
            #[cfg(feature = "misbehave")]
            rewrite: None,
        })
    }

    /// Runs the handshake up to and including the client's Finished. Time limits are the caller's. A client that is refused is given
    /// [`ServerConfig::linger`] to read its alert before this returns.
    ///
    /// # Errors
    /// [`AcceptError`].
    pub async fn accept<S>(&self, stream: S) -> Result<PendingClient<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut stream = self.start(stream).map_err(|cause| {
            AcceptError::Tls(TlsFailure {
                alert_sent: None,
                text: format!("cannot set up a connection: {}", words(&cause)),
            })
        })?;
        if let Err(error) = Pin::new(&mut stream).accept().await {
            let state = take_state(&stream);
            if state.alert_sent.is_some() {
                stream.get_mut().linger(self.linger).await;
            }
            return Err(classify(&state, error));
        }
        let raw_public_key = ffi::client_uses_raw_public_key(stream.ssl());
        let state = take_state(&stream);
        let credential =
            match state.certificate.as_deref().map(|message| certificate::credential(message, raw_public_key)) {
                // The server always asks, and OpenSSL has insisted on an answer.
                None | Some(Err(Malformed)) => {
                    refuse(&mut stream, Reason::CertificateMalformed);
                    stream.get_mut().linger(self.linger).await;
                    return Err(AcceptError::Refused(Reason::CertificateMalformed));
                }
                Some(Ok(credential)) => credential,
            };
        let client_id = state.client_form.map_or(ClientId::Absent, ClientId::Form);
        let server_name = stream.ssl().servername(NameType::HOST_NAME).map(str::to_owned);
        let negotiated = Negotiated::of(stream.ssl());
        Ok(PendingClient {
            presented: Presented { credential, client_id },
            server_name,
            negotiated,
            held: Some(Held { stream, linger: self.linger }),
        })
    }

    fn start<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<SslStream<Transport<S>>, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        let conn = Conn::new(self.profile, Side::Server { signal: self.signal });
        #[cfg(feature = "misbehave")]
        let conn = crate::misbehave::install(&mut ssl, conn, self.rewrite.as_ref());
        ffi::attach(&mut ssl, conn)?;
        SslStream::new(ssl, Transport::new(stream))
    }
}

/// The first of our protocols that the client offers (RFC 7301 section 3.2). `offered` is in wire form, checked by OpenSSL.
fn select_alpn<'a>(protocols: &[Vec<u8>], offered: &'a [u8]) -> Option<&'a [u8]> {
    let offers = || {
        let mut rest = offered;
        std::iter::from_fn(move || {
            let (&len, after) = rest.split_first()?;
            let (protocol, after) = after.split_at_checked(usize::from(len))?;
            rest = after;
            Some(protocol)
        })
    };
    protocols.iter().find_map(|protocol| offers().find(|offer| offer == protocol))
}

fn warn_if_expired(config: &ServerConfig) {
    let Some(end_entity) = config.certified_key.chain().first() else {
        return;
    };
    if Asn1Time::days_from_now(0).is_ok_and(|now| end_entity.not_after() < now) {
        warn!(
            subject = subject(end_entity),
            not_after = %end_entity.not_after(),
            "the server certificate has expired by this machine's clock: clients that verify it will refuse this server; renew it"
        );
    }
}

/// What the callbacks have learnt; leaves behind what the rest of the connection needs.
fn take_state<S>(stream: &SslStream<Transport<S>>) -> State {
    ffi::conn(stream.ssl()).map(|conn| conn.state().take()).unwrap_or_default()
}

/// Whose fault it is that the handshake failed.
fn classify(state: &State, error: ssl::Error) -> AcceptError {
    if let Some(error) = state.extension_error {
        debug!(%error, "the client's extension ended the handshake");
        return AcceptError::Refused(error.reason());
    }
    if let Some(alert) = state.alert_received {
        return AcceptError::PeerAlert(AlertDescription::new(alert));
    }
    let error = match error.into_io_error() {
        Ok(error) => return AcceptError::Io(error),
        Err(error) => error,
    };
    let because =
        |code| error.ssl_error().is_some_and(|stack| stack.errors().iter().any(|error| error.reason_code() == code));
    if because(ffi::R_UNEXPECTED_EOF) || error.ssl_error().is_none() {
        return AcceptError::Io(std::io::ErrorKind::UnexpectedEof.into());
    }
    if because(ffi::R_UNSUPPORTED_PROTOCOL) {
        return AcceptError::Refused(Reason::VersionTooLow);
    }
    let malformed = state.awaiting_certificate()
        && (because(ffi::R_EXCESSIVE_MESSAGE_SIZE)
            || state.alert_sent == Some(Reason::CertificateMalformed.alert().code()));
    if malformed {
        return AcceptError::Refused(Reason::CertificateMalformed);
    }
    AcceptError::Tls(TlsFailure {
        alert_sent: state.alert_sent.map(AlertDescription::new),
        text: error.ssl_error().map(words).unwrap_or_default(),
    })
}

/// Makes OpenSSL write the reason's alert and end the connection. The alert waits in the transport.
///
/// In TLS 1.3 the handshake is complete here, and OpenSSL has no call that sends an alert of one's choice. But it builds a NewSessionTicket on
/// request, asks for its extensions, and takes an alert for an answer. To the client this looks like any late refusal (RFC 9846 appendix on
/// client authentication): the server writes with application keys since its Finished.
fn refuse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut SslStream<Transport<S>>, reason: Reason) {
    /// A pending KeyUpdate takes a step of its own before the ticket.
    const STEPS: usize = 3;
    let sent = |stream: &SslStream<Transport<S>>| {
        ffi::conn(stream.ssl()).is_some_and(|conn| conn.state().alert_sent.is_some())
    };
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    if let Some(conn) = ffi::conn(stream.ssl()) {
        conn.refuse_with(reason.alert().code());
    }
    if ffi::new_session_ticket(stream) {
        for _ in 0..STEPS {
            // Never waits: nothing is read, and the transport takes all that is written. The error is the refusal itself.
            let _ = Pin::new(&mut *stream).poll_do_handshake(&mut cx);
            if sent(stream) {
                return;
            }
        }
    }
    // The peer has broken or ended the connection while it was pending, or OpenSSL has changed. Either way it is closed.
    error!(%reason, "the client is refused by a close, without alert");
}

/// A client that has completed its handshake and proven possession of its key, and about which nothing has been decided. There is no way to read
/// from it or write to it. Dropping it refuses it, with as much of the alert as can be sent without waiting.
pub struct PendingClient<S: AsyncRead + AsyncWrite + Unpin> {
    presented: Presented,
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
    /// What to decide about.
    #[must_use]
    pub const fn presented(&self) -> &Presented {
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

    /// Resolves when the client goes away. Reads one TLS record at most, which stays inside OpenSSL; a client that has sent application data is not
    /// watched any further. Can be dropped and called again.
    pub async fn closed(&mut self) {
        if let Some(held) = &mut self.held
            && Pin::new(&mut held.stream).peek(&mut [0]).await.is_ok()
        {
            std::future::pending().await
        }
    }

    /// Acts on the verdict: hands out the stream, or sends the reason's alert and closes. Refusing takes as long as [`ServerConfig::linger`] allows.
    pub async fn resume(mut self, verdict: &Verdict) -> Resumed<S> {
        let Some(Held { mut stream, linger }) = self.held.take() else {
            return Resumed::Refused;
        };
        match verdict {
            Verdict::Authenticated(_) | Verdict::Unauthenticated(_) | Verdict::NotDane(_) => {
                Resumed::Open(TlsStream { open: OpenStream::new(stream, false) })
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
