//! The client: verifies the server, answers its signal with the name, and tells a refusal from a broken connection.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::{fmt, io};

use dance_core::clientid::{ClientProfile, ExtensionType, TlsVersion};
use openssl::error::ErrorStack;
use openssl::ssl::{
    self, Ssl, SslContext, SslContextBuilder, SslMethod, SslRef, SslSessionCacheMode, SslVerifyMode, SslVersion,
};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;

use crate::config::{
    ClientConfig, ClientCredential, Common, Over, ServerVerification, check_alpn, context, use_certified_key,
};
use crate::conn::{ClientSide, Conn, Said, ServerRefusal, Side, State, version};
use crate::error::{AlertDescription, ConfigError, ConnectError, TlsFailure, because, words};
use crate::ffi;
use crate::server::take_state;
use crate::session_store::{Keeper, SessionStore};
use crate::stream::{ClientStream, CredentialType, End, HANDSHAKE_FAILURE, OpenStream};
use crate::transport::{Gate, Linger, Transport};

/// Turns connections into authenticated ones. Built once, cheap to clone.
#[derive(Clone)]
pub struct Connector {
    context: SslContext,
    profile: ClientProfile,
    extension_type: ExtensionType,
    client_hello: Option<Said>,
    client_id: Option<Said>,
    require_signal: bool,
    raw_public_key: bool,
    verify_server: bool,
    pub(crate) sessions: Option<Arc<SessionStore>>,
    linger: Linger,
    #[cfg(feature = "misbehave")]
    pub(crate) habits: crate::misbehave::Habits,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("profile", &self.profile)
            .field("require_signal", &self.require_signal)
            .field("raw_public_key", &self.raw_public_key)
            .field("verify_server", &self.verify_server)
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`]: among others a name without a credential, or DANE demanded without a name.
    pub fn new(config: &ClientConfig) -> Result<Self, ConfigError> {
        Self::over(config, Over::Stream)
    }

    pub(crate) fn over(config: &ClientConfig, over: Over) -> Result<Self, ConfigError> {
        config.check()?;
        let raw_public_key = matches!(config.credential, Some(ClientCredential::RawPublicKey(_)));
        let mut ctx = context(&Common {
            method: match over {
                Over::Stream => SslMethod::tls_client(),
                Over::Datagrams => SslMethod::dtls_client(),
            },
            over,
            extension_types: &config.extension_type.into(),
            tls12: config.tls12,
            groups: config.groups.as_deref(),
            client_cert_types: if raw_public_key { &[ffi::CERT_TYPE_RPK] } else { &[] },
        })?;
        if over == Over::Stream && !config.tls13 {
            ctx.set_max_proto_version(Some(SslVersion::TLS1_2)).map_err(ConfigError::OpenSsl)?;
        }
        match &config.credential {
            Some(ClientCredential::X509(certified_key)) => use_certified_key(&mut ctx, certified_key)?,
            Some(ClientCredential::RawPublicKey(key)) => {
                ctx.set_private_key(key.as_pkey()).map_err(ConfigError::Credential)?;
            }
            None => {}
        }
        trust(&mut ctx, &config.server_verification)?;
        check_alpn(&config.alpn)?;
        if !config.alpn.is_empty() {
            ctx.set_alpn_protos(&alpn_wire(&config.alpn)).map_err(ConfigError::OpenSsl)?;
        }
        let sessions = config.resumption.then(|| {
            keep_sessions(&mut ctx);
            Arc::default()
        });
        Ok(Self {
            context: ctx.build(),
            profile: config.profile,
            extension_type: config.extension_type,
            client_hello: config.client_hello().and_then(|form| Said::new(&form, config.profile)),
            client_id: config.client_id.as_ref().and_then(|form| Said::new(form, config.profile)),
            require_signal: config.require_signal,
            raw_public_key,
            verify_server: !matches!(config.server_verification, ServerVerification::UnsafeNone),
            sessions,
            linger: config.linger,
            #[cfg(feature = "misbehave")]
            habits: Default::default(),
        })
    }

    /// Runs the handshake. `server_name` is the DNS name or IP address that the server's certificate must hold. In TLS
    /// 1.3 the server decides about the client after this returns: success is the first octet read (requirements C9). In
    /// TLS 1.2 it has decided.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect<S>(&self, server_name: &str, stream: S) -> Result<ClientStream<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let transport = Transport::new(stream, Gate::default());
        let mut stream = SslStream::new(self.ssl(server_name)?, transport).map_err(set_up)?;
        let result = Pin::new(&mut stream).connect().await;
        let state = take_state(stream.ssl());
        if let Err(error) = result {
            let cause = stream.get_mut().take_error();
            let error = self.classify(&state, &error, cause, stream.ssl(), server_name);
            if state.alert_sent.is_some() {
                stream.get_mut().linger(self.linger).await;
            }
            return Err(error);
        }
        let said = self.said(stream.ssl(), &state)?;
        // The last flight.
        stream.get_mut().pass_on().await.map_err(ConnectError::Io)?;
        Ok(ClientStream {
            signal: state.signal,
            name_sent: said.name,
            credential_sent: said.credential,
            open: OpenStream::new(stream, End::Client),
        })
    }

    /// A connection in the making to the server of this name.
    pub(crate) fn ssl(&self, server_name: &str) -> Result<Ssl, ConnectError> {
        let mut ssl = Ssl::new(&self.context).map_err(set_up)?;
        // A name with NUL would make `openssl` panic; of one that begins with a dot OpenSSL takes every subdomain.
        if server_name.is_empty()
            || server_name.starts_with('.')
            || server_name.contains('\0')
            || expect_server(&mut ssl, server_name, self.verify_server).is_err()
        {
            return Err(ConnectError::ServerName(server_name.to_owned()));
        }
        if let Some(session) = self.sessions.as_ref().and_then(|sessions| sessions.take(server_name)) {
            ffi::session::offer_session(&mut ssl, &session).map_err(set_up)?;
        }
        let conn = Conn::new(Side::Client(ClientSide {
            profile: self.profile,
            client_hello: self.client_hello.clone(),
            client_id: self.client_id.clone(),
            require_signal: self.require_signal,
            raw_public_key: self.raw_public_key,
            verify_server: self.verify_server,
        }))
        .with_keeper(self.sessions.as_ref().map(|sessions| Keeper::new(Arc::clone(sessions), server_name)));
        #[cfg(feature = "misbehave")]
        let conn = crate::misbehave::install(&mut ssl, conn, &self.habits).map_err(set_up)?;
        ffi::attach(&mut ssl, conn).map_err(set_up)?;
        Ok(ssl)
    }

    /// What was said in a handshake that is complete.
    pub(crate) fn said(&self, ssl: &SslRef, state: &State) -> Result<SaidInHandshake, ConnectError> {
        // In TLS 1.2 the signal is one message and the request another. A session that is resumed began with both.
        if self.require_signal && state.certificate_request.is_none() && !ssl.session_reused() {
            return Err(ConnectError::NoSignal);
        }
        let credential_sent = state.credential_sent == Some(true);
        let named_by_certificate = version(ssl) == TlsVersion::Tls12 && state.signal.is_some() && credential_sent;
        let raw_public_key = ffi::client_uses_raw_public_key(ssl);
        let credential = if raw_public_key { CredentialType::RawPublicKey } else { CredentialType::X509 };
        Ok(SaidInHandshake {
            name: state.name_sent || named_by_certificate,
            credential: credential_sent.then_some(credential),
        })
    }

    /// Whose fault it is that the handshake failed.
    pub(crate) fn classify(
        &self,
        state: &State,
        error: &ssl::Error,
        cause: Option<io::Error>,
        ssl: &SslRef,
        server_name: &str,
    ) -> ConnectError {
        if let Some(error) = state.extension_error {
            return ConnectError::Extension(error);
        }
        match state.server_refusal {
            Some(ServerRefusal::LegacyHandshake) => return ConnectError::LegacyHandshake,
            Some(ServerRefusal::NoSignal) => return ConnectError::NoSignal,
            Some(ServerRefusal::NoRawPublicKeys) => return ConnectError::NoRawPublicKeys,
            Some(ServerRefusal::Untrusted) => {
                let server_name = server_name.to_owned();
                return ConnectError::ServerCertificate { server_name, verdict: ssl.verify_result() };
            }
            None => {}
        }
        if let Some(alert) = state.alert_received {
            // Before the client has shown anything, handshake_failure is about algorithms.
            return if alert == HANDSHAKE_FAILURE && state.credential_sent.is_some() {
                ConnectError::ClientAuthRefused
            } else {
                ConnectError::PeerAlert(AlertDescription::new(alert))
            };
        }
        if let Some(error) = cause {
            return ConnectError::Io(error);
        }
        let Some(stack) = error.ssl_error().filter(|stack| !because(stack, ffi::R_UNEXPECTED_EOF)) else {
            return ConnectError::Io(io::ErrorKind::UnexpectedEof.into());
        };
        // OpenSSL has refused the extension before it came to the callback.
        let refused = if because(stack, ffi::R_BAD_EXTENSION) {
            state.refused_extension(self.extension_type, self.profile, self.client_hello.is_some())
        } else {
            None
        };
        if let Some(error) = refused.filter(|error| state.alert_sent == Some(error.reason().alert().code())) {
            return ConnectError::Extension(error);
        }
        if state.legacy && because(stack, ffi::R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED) {
            return ConnectError::LegacyHandshake;
        }
        ConnectError::Tls(TlsFailure { alert_sent: state.alert_sent.map(AlertDescription::new), text: words(stack) })
    }
}

/// Has sessions come to the connection that they are given to, and nowhere else. Tickets of TLS 1.2 stay off.
fn keep_sessions(ctx: &mut SslContextBuilder) {
    ctx.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
    ctx.set_new_session_callback(|ssl, session| {
        if let Some(keeper) = ffi::conn(ssl).and_then(Conn::keeper) {
            keeper.on_session(&session);
        }
    });
}

/// What a client has told a server about itself.
pub(crate) struct SaidInHandshake {
    /// Its name, or that its certificate holds it.
    pub(crate) name: bool,
    pub(crate) credential: Option<CredentialType>,
}

/// Sets up how servers are verified.
fn trust(ctx: &mut SslContextBuilder, verification: &ServerVerification) -> Result<(), ConfigError> {
    ctx.set_verify(SslVerifyMode::PEER);
    match verification {
        ServerVerification::UnsafeNone => {}
        ServerVerification::Roots(anchors) => {
            let mut store = X509StoreBuilder::new().map_err(ConfigError::OpenSsl)?;
            for anchor in &anchors.0 {
                store.add_cert(anchor.clone()).map_err(ConfigError::OpenSsl)?;
            }
            // Named by the operator one by one: each is an anchor, self-signed or not.
            store.set_flags(X509VerifyFlags::PARTIAL_CHAIN).map_err(ConfigError::OpenSsl)?;
            ctx.set_cert_store(store.build());
        }
        ServerVerification::SystemRoots => {
            // A static OpenSSL does not know where the system keeps them.
            let found = openssl_probe::probe();
            let directories = found.cert_dir.iter().map(|directory| (None, Some(directory.as_path())));
            let places = found.cert_file.iter().map(|file| (Some(file.as_path()), None)).chain(directories);
            let mut any = false;
            for (file, directory) in places {
                any |= ctx.load_verify_locations(file, directory).is_ok();
            }
            if !any {
                return Err(ConfigError::NoRoots);
            }
        }
    }
    Ok(())
}

/// Which server is meant: for its certificate and, where it is a name, for SNI.
fn expect_server(ssl: &mut Ssl, server_name: &str, verify: bool) -> Result<(), ErrorStack> {
    if let Ok(address) = server_name.parse::<IpAddr>() {
        return if verify { ssl.param_mut().set_ip(address) } else { Ok(()) };
    }
    // SNI and certificates have no final dot (RFC 6066 section 3).
    let server_name = server_name.strip_suffix('.').unwrap_or(server_name);
    ssl.set_hostname(server_name)?;
    if verify {
        let param = ssl.param_mut();
        // Names are in the subjectAltName (RFC 9525 section 2).
        param.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::NEVER_CHECK_SUBJECT);
        param.set_host(server_name)?;
    }
    Ok(())
}

/// ALPN protocols, checked before, in wire form (RFC 7301 section 3.1).
fn alpn_wire(protocols: &[Vec<u8>]) -> Vec<u8> {
    protocols
        .iter()
        .flat_map(|protocol| std::iter::once(protocol.len() as u8).chain(protocol.iter().copied()))
        .collect()
}

pub(crate) fn set_up(cause: ErrorStack) -> ConnectError {
    ConnectError::Tls(TlsFailure { alert_sent: None, text: format!("cannot set up a connection: {}", words(&cause)) })
}
