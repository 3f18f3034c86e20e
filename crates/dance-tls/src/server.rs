//! The server's handshake, up to a client about which nothing has been decided.

use std::pin::Pin;
use std::sync::Arc;
use std::{fmt, io};

use dance_core::clientid::{ExtensionError, ExtensionTypes, Profile, TlsVersion};
use dance_core::message::{self, CertificateType};
use dance_core::reason::Reason;
use dance_core::verdict::{ClientId, Presented};
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::ssl::{self, AlpnError, NameType, Ssl, SslContext, SslMethod, SslOptions, SslRef, SslVerifyMode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;
use tracing::{debug, warn};

use crate::config::{Common, DaneMode, Over, ServerConfig, check_alpn, context, server_groups, use_certified_key};
use crate::conn::{Conn, ServerSide, Side, State, version};
use crate::credential::subject;
use crate::error::{AcceptError, AlertDescription, ConfigError, TlsFailure, because, words};
use crate::ffi;
use crate::pending::{PendingClient, ResumedClient, refuse};
use crate::session::{self, Sessions, Tickets};
use crate::stream::{End, Negotiated, OpenStream, TlsStream};
use crate::transport::{Gate, Linger, Transport};

/// Without resumption; OpenSSL wants a context for sessions all the same when it asks for certificates.
const SESSION_ID_CONTEXT: &[u8] = b"dance";

/// A client whose handshake is complete, with possession of its key proven.
#[derive(Debug)]
pub enum Accepted<S: AsyncRead + AsyncWrite + Unpin> {
    /// It has presented itself anew, and waits for a verdict.
    Pending(PendingClient<S>),
    /// It has resumed a session that began with a verdict which still stands.
    Resumed(ResumedClient<S>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Accepted<S> {
    /// The client that waits for a verdict: on a server without resumption, every one.
    #[must_use]
    pub fn pending(self) -> Option<PendingClient<S>> {
        match self {
            Self::Pending(pending) => Some(pending),
            Self::Resumed(_) => None,
        }
    }
}

/// Turns connections into pending clients. Built once, cheap to clone.
#[derive(Clone)]
pub struct Acceptor {
    context: SslContext,
    profile: Profile,
    extension_types: ExtensionTypes,
    dane: bool,
    pub(crate) sessions: Option<Arc<Sessions>>,
    pub(crate) linger: Linger,
    #[cfg(feature = "misbehave")]
    pub(crate) habits: crate::misbehave::Habits,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("profile", &self.profile).field("dane", &self.dane).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Checks the settings. An expired server certificate is logged as a warning, not refused: the clock may be what is
    /// wrong.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: &ServerConfig) -> Result<Self, ConfigError> {
        Self::over(config, Over::Stream)
    }

    pub(crate) fn over(config: &ServerConfig, over: Over) -> Result<Self, ConfigError> {
        // Empty: the server does not know RFC 7250, and a client that has nothing but a key presents nothing.
        let types: &[u8] = if config.raw_public_keys { &[ffi::CERT_TYPE_RPK, ffi::CERT_TYPE_X509] } else { &[] };
        let mut ctx = context(&Common {
            method: match over {
                Over::Stream => SslMethod::tls_server(),
                Over::Datagrams => SslMethod::dtls_server(),
            },
            over,
            extension_types: &config.extension_types,
            tls12: config.tls12,
            groups: Some(server_groups(config.groups.as_deref())),
            client_cert_types: types,
        })?;
        use_certified_key(&mut ctx, &config.certified_key)?;
        warn_if_expired(config);
        if config.tls12 {
            warn!("TLS 1.2 is on: the names and certificates of its clients can be read on the way");
        }
        // A missing certificate must not draw certificate_required, so FAIL_IF_NO_PEER_CERT stays off; the verdict
        // takes care of it.
        ctx.set_verify(SslVerifyMode::PEER);
        // Clients without instructions for AES put ChaCha20 first, and are heeded.
        ctx.set_options(SslOptions::CIPHER_SERVER_PREFERENCE | SslOptions::PRIORITIZE_CHACHA);
        // The context below makes no tickets and takes none.
        let sessions = match &config.resumption {
            None => {
                ctx.set_session_id_context(SESSION_ID_CONTEXT).map_err(ConfigError::OpenSsl)?;
                None
            }
            Some(resumption) => {
                let sessions = Sessions::new(Arc::clone(resumption)).map_err(ConfigError::OpenSsl)?;
                ctx.set_session_id_context(&sessions.context()).map_err(ConfigError::OpenSsl)?;
                ctx.clear_options(SslOptions::NO_TICKET);
                ffi::session::register(&mut ctx).map_err(ConfigError::OpenSsl)?;
                Some(Arc::new(sessions))
            }
        };
        // None before the verdict.
        ctx.set_num_tickets(0).map_err(ConfigError::OpenSsl)?;
        check_alpn(&config.alpn)?;
        if !config.alpn.is_empty() {
            let protocols = config.alpn.clone();
            ctx.set_alpn_select_callback(move |_, offered| {
                select_alpn(&protocols, offered).ok_or(AlpnError::ALERT_FATAL)
            });
        }
        if over == Over::Datagrams {
            // Whoever hands a ClientHello on has checked its cookie, before there was anything for OpenSSL to know.
            ctx.set_cookie_verify_cb(|_, _| true);
        }
        Ok(Self {
            context: ctx.build(),
            profile: config.profile,
            extension_types: config.extension_types,
            dane: config.dane == DaneMode::On,
            sessions,
            linger: config.linger,
            #[cfg(feature = "misbehave")]
            habits: Default::default(),
        })
    }

    /// Runs the handshake up to and including the client's Finished. In TLS 1.2 the server's own, which comes after it,
    /// waits for the verdict. Time limits are the caller's. A client that is refused is given
    /// [`ServerConfig::linger`] to read its alert before this returns.
    ///
    /// # Errors
    /// [`AcceptError`].
    pub async fn accept<S>(&self, stream: S) -> Result<Accepted<S>, AcceptError>
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
            let state = take_state(stream.ssl());
            let cause = stream.get_mut().take_error();
            let error = self.classify(&state, &error, cause, stream.ssl());
            if let Some(alert) = state.alert_sent {
                // Where OpenSSL wrote it behind the gate, it is all that may leave from there.
                stream.get_mut().refuse(alert);
                stream.get_mut().linger(self.linger).await;
            }
            return Err(error);
        }
        let server_name = stream.ssl().servername(NameType::HOST_NAME).map(str::to_owned);
        let negotiated = Negotiated::of(stream.ssl());
        let state = take_state(stream.ssl());
        if let Some(client) = session::resumed(stream.ssl()) {
            session::issue(&mut stream, &client);
            let mut open = OpenStream::new(stream, End::Server);
            open.pass_on_now();
            return Ok(Accepted::Resumed(ResumedClient {
                client,
                stream: TlsStream { open },
                server_name,
                negotiated,
            }));
        }
        let presented = match self.presented(stream.ssl(), &state) {
            Ok(presented) => presented,
            Err(reason) => {
                refuse(&mut stream, reason);
                stream.get_mut().linger(self.linger).await;
                return Err(AcceptError::Refused(reason));
            }
        };
        Ok(Accepted::Pending(PendingClient::new(stream, presented, server_name, negotiated, self.linger)))
    }

    fn start<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<SslStream<Transport<S>>, ErrorStack> {
        let gate = Gate::default();
        SslStream::new(self.ssl(gate.clone())?, Transport::new(stream, gate))
    }

    /// A connection in the making, whose gate closes when the client's Certificate comes in.
    pub(crate) fn ssl(&self, gate: Gate) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        let conn = Conn::new(Side::Server(ServerSide {
            profile: self.profile,
            extension_types: self.extension_types,
            dane: self.dane,
            gate,
        }))
        .with_tickets(self.sessions.clone().map(Tickets::new));
        #[cfg(feature = "misbehave")]
        let conn = crate::misbehave::install(&mut ssl, conn, &self.habits)?;
        ffi::attach(&mut ssl, conn)?;
        Ok(ssl)
    }

    /// What a client has presented whose handshake is complete.
    pub(crate) fn presented(&self, ssl: &SslRef, state: &State) -> Result<Presented, Reason> {
        if state.legacy { Err(Reason::LegacyHandshake) } else { self.read_certificate(ssl, state) }
    }

    /// The client's Certificate message as core reads it.
    fn read_certificate(&self, ssl: &SslRef, state: &State) -> Result<Presented, Reason> {
        // The server always asks, and OpenSSL insists on an answer.
        let message = state.certificate.as_deref().ok_or(Reason::CertificateMalformed)?;
        let raw_public_key = ffi::client_uses_raw_public_key(ssl);
        let certificate_type = if raw_public_key { CertificateType::RawPublicKey } else { CertificateType::X509 };
        let presented = match version(ssl) {
            TlsVersion::Tls12 => {
                let client_id = state.client_id.as_ref().map(|(_, form)| ClientId::Form(form.clone()));
                message::read_client_certificate_tls12(message, certificate_type, client_id.unwrap_or(ClientId::Absent))
            }
            TlsVersion::Tls13 => {
                let negotiated = message::Negotiated {
                    extension_types: &self.extension_types,
                    profile: self.profile,
                    signal_sent: self.dane,
                    certificate_type,
                    context: &[],
                };
                message::read_client_certificate(message, &negotiated)
            }
        };
        let presented = presented.map_err(|error| {
            debug!(%error, "the client's Certificate message is malformed");
            error.reason()
        })?;
        match presented.client_id {
            ClientId::Invalid(error) => {
                debug!(%error, "the client's extension is invalid");
                Err(error.reason())
            }
            ClientId::Absent | ClientId::Form(_) => Ok(presented),
        }
    }

    /// Whose fault it is that the handshake failed.
    pub(crate) fn classify(
        &self,
        state: &State,
        error: &ssl::Error,
        cause: Option<io::Error>,
        ssl: &SslRef,
    ) -> AcceptError {
        if let Some(error) = state.extension_error {
            debug!(%error, "the client's extension ended the handshake");
            return AcceptError::Refused(error.reason());
        }
        if let Some(alert) = state.alert_received {
            return AcceptError::PeerAlert(AlertDescription::new(alert));
        }
        if let Some(error) = cause {
            return AcceptError::Io(error);
        }
        let Some(stack) = error.ssl_error().filter(|stack| !because(stack, ffi::R_UNEXPECTED_EOF)) else {
            return AcceptError::Io(io::ErrorKind::UnexpectedEof.into());
        };
        if because(stack, ffi::R_UNSUPPORTED_PROTOCOL) {
            return AcceptError::Refused(Reason::VersionTooLow);
        }
        if state.hello_has_duplicate && because(stack, ffi::R_BAD_EXTENSION) {
            return AcceptError::Refused(ExtensionError::Duplicate.reason());
        }
        if because(stack, ffi::R_NO_SHARED_CIPHER) && version(ssl) == TlsVersion::Tls12 {
            return AcceptError::Refused(Reason::LegacyHandshake);
        }
        if state.awaiting_certificate(version(ssl)) {
            if because(stack, ffi::R_EXCESSIVE_MESSAGE_SIZE) {
                return AcceptError::Refused(Reason::CertificateMalformed);
            }
            // OpenSSL has refused the message before it came to the extension's callback. If core would have refused it
            // for the same alert, that is why (a duplicate); what core does not look into is the certificates
            // themselves.
            let reason = self.read_certificate(ssl, state).err().unwrap_or(Reason::CertificateMalformed);
            if state.alert_sent == Some(reason.alert().code()) {
                return AcceptError::Refused(reason);
            }
        }
        AcceptError::Tls(TlsFailure { alert_sent: state.alert_sent.map(AlertDescription::new), text: words(stack) })
    }
}

/// The first of our protocols that the client offers (RFC 7301 section 3.2). `offered` is in wire form, checked by
/// OpenSSL.
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
pub(crate) fn take_state(ssl: &SslRef) -> State {
    ffi::conn(ssl).map(|conn| conn.state().take()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::CertifiedKey;

    // SRV-17, SRV-18
    #[test]
    fn no_tickets_and_no_early_data_whatever_a_client_offers() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let identity = CertifiedKey::parse(certificate.as_bytes(), key.as_bytes()).unwrap();
        let acceptor = Acceptor::new(&ServerConfig::new(identity)).unwrap();
        assert_eq!((acceptor.context.num_tickets(), acceptor.context.max_early_data()), (0, 0));
    }
}
