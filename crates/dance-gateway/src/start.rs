//! From a configuration to a gateway that listens, or to an error that says what to change. The socket is opened last, so that a
//! gateway that cannot start has not started.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dance_core::matching::MatchOptions;
use dance_core::verdict::Settings;
use dance_daemon::StartError as DaemonError;
use dance_daemon::log::Names;
use dance_daemon::services::Services;
use dance_daemon::settings::roots;
use dance_resolver::{Clock, MAX_SOCKETS, Resolver, TlsaSource, Verifier};
use dance_tls::{Acceptor, CertifiedKey, CredentialError, DaneMode, Resumption, ServerConfig};
use tokio::net::TcpListener;

use crate::admission::H2;
use crate::config::{CheckedDane, Config, ConfigError, ResumptionSetting};
use crate::connection::Limits;
use crate::forwarding::Forwarding;
use crate::handshakes::Handshakes;
use crate::listener::{self, Clients, Core, Dane};
use crate::log::VerdictEvent;
use crate::ordinary::ClientCa;
use crate::proxy::{Shared, server_name};
use crate::sessions::Sessions;
use crate::upstream::Upstream;
use dance_http::identity::HeaderRules;

/// Protocols to choose from by ALPN, in order of preference.
const ALPN: [&[u8]; 2] = [H2, b"http/1.1"];
/// The resolver that a configuration describes.
///
/// # Errors
/// [`StartError::Daemon`].
pub fn resolver(config: &Config) -> Result<Resolver, StartError> {
    Ok(config.dns.resolver(&config.limits)?)
}

/// A gateway that listens.
pub struct Gateway<S> {
    core: Core<S>,
    listener: TcpListener,
    address: SocketAddr,
    connections: usize,
    drain: Duration,
}

impl Gateway<Resolver> {
    /// As [`bind`](Self::bind), with the resolver that the configuration describes, if it needs one.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn from_config(config: &Config) -> Result<Self, StartError> {
        Self::assemble(config, || resolver(config), Clock::default())
    }
}

impl<S: TlsaSource + 'static> Gateway<S> {
    /// Reads and checks everything, and opens the listening socket last. Must be called within a tokio runtime. Where certificates are
    /// forwarded, nobody is looked up, and `source` is dropped.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left half-started.
    pub fn bind(config: &Config, source: S) -> Result<Self, StartError> {
        Self::bind_with_clock(config, source, Clock::default())
    }

    /// As [`bind`](Self::bind), with the time from `clock`, which should be the source's too; for tests.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with_clock(config: &Config, source: S, clock: Clock) -> Result<Self, StartError> {
        Self::assemble(config, || Ok(source), clock)
    }

    fn assemble(
        config: &Config,
        source: impl FnOnce() -> Result<S, StartError>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let checked = config.check().map_err(StartError::Config)?;
        let certified_key = CertifiedKey::load(checked.certificate, checked.key).map_err(|error| {
            StartError::Credential { certificate: checked.certificate.to_owned(), key: checked.key.to_owned(), error }
        })?;
        let (clients, server) = match checked.dane {
            Some(checked) => {
                let dane = dane(config, checked, source()?, clock)?;
                let server = ServerConfig {
                    profile: config.profile(),
                    extension_types: config.extension_type.0,
                    raw_public_keys: config.raw_public_keys,
                    resumption: resumption(config, &dane.verifier),
                    ..ServerConfig::new(certified_key)
                };
                (Clients::Dane(dane), server)
            }
            // RFC 9440 has no form for raw public keys (HTTP-17), and no session ends later than its connection (HTTP-16).
            None => {
                let server =
                    ServerConfig { dane: DaneMode::Off, raw_public_keys: false, ..ServerConfig::new(certified_key) };
                (Clients::Forward(Forwarding::new()), server)
            }
        };
        let acceptor =
            Acceptor::new(&ServerConfig { tls12: config.tls12, alpn: ALPN.map(<[u8]>::to_vec).to_vec(), ..server })
                .map_err(StartError::Tls)?;
        let upstream = Upstream::new(
            checked.origin.clone(),
            config.max_origin_connections,
            config.origin_connect_timeout.0,
            config.origin_timeout.0,
        );
        let shared = Shared {
            rules: HeaderRules::new(checked.header),
            upstream,
            max_certificate_octets: config.max_certificate_bytes,
            server_names: config.server_names.iter().map(|name| server_name(name)).collect(),
        };
        let core = Core {
            acceptor,
            clients,
            shared: Arc::new(shared),
            limits: Limits {
                handshake: config.handshake_timeout.0,
                header: config.header_timeout.0,
                idle: config.idle_timeout.0,
                tunnel_idle: config.tunnel_idle_timeout.0,
                header_bytes: config.max_header_bytes,
                streams: config.max_streams,
            },
            handshakes: Handshakes::new(config.handshakes_per_address),
            names: Names::new(config.log_names)?,
            observer: None,
        };
        let address = config.listen;
        let listen = |error| DaemonError::Listen { address, error };
        let listener = dance_daemon::listener::listen(address).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self { core, listener, address, connections: config.max_connections, drain: config.drain_timeout.0 })
    }

    /// Shows every verdict to `observer`, besides logging it. It runs in the client's task and must not block.
    #[must_use]
    pub fn observed_by(mut self, observer: impl Fn(&VerdictEvent) + Send + Sync + 'static) -> Self {
        self.core.observer = Some(Arc::new(observer));
        self
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` resolves, then finishes requests under way, for at most `drain-timeout`. True if nothing had to be
    /// cut off.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> bool {
        listener::run(self.listener, Arc::new(self.core), self.connections, self.drain, shutdown).await
    }
}

impl<S> fmt::Debug for Gateway<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What it takes to find out who clients are.
fn dane<S: TlsaSource>(config: &Config, checked: CheckedDane, source: S, clock: Clock) -> Result<Dane<S>, StartError> {
    let roots = |key: &'static str, path: Option<&Path>| path.map(|path| roots(key, path)).transpose();
    let pkix_roots = roots("pkix-roots", config.pkix_roots.as_deref())?.unwrap_or_default();
    let client_ca = ClientCa::new(roots("client-ca", config.client_ca.as_deref())?);
    let settings = Settings {
        profile: config.profile(),
        policy: config.policy(),
        on_lookup_failure: config.on_lookup_failure(),
        allow_list: checked.allow_list,
        service_label: checked.service_label,
        derive_without_signal: config.derive_without_signal,
        wildcard_ee: config.wildcard_ee.into(),
        matching: MatchOptions { pkix_roots, digest_agility: true, user_mode: config.user_mode },
    };
    let limits = config.limits.of(&config.dns);
    let verifier = Verifier::new(Arc::new(settings), Arc::new(source), limits).map_err(DaemonError::Limits)?;
    Ok(Dane { verifier: Arc::new(verifier.with_clock(clock)), client_ca, services: Services::new() })
}

/// How its clients may resume their sessions.
fn resumption<S: TlsaSource + 'static>(config: &Config, verifier: &Arc<Verifier<S>>) -> Option<Arc<dyn Resumption>> {
    match config.resumption {
        ResumptionSetting::Off => None,
        ResumptionSetting::Bound => Some(Arc::new(Sessions::new(Arc::clone(verifier), config.listen.to_string()))),
    }
}

/// Raises this process's limit of open files to what a configuration can come to need, and logs a warning where the system does not
/// let it. For the whole process, which is why [`Gateway::bind`] does not do it.
pub fn raise_open_files(config: &Config) {
    let connections = config.max_connections.saturating_add(config.max_origin_connections);
    dance_daemon::settings::raise_open_files(connections.saturating_add(MAX_SOCKETS));
}

/// Why a gateway does not start. Always something that its administrator can change.
#[derive(Debug)]
pub enum StartError {
    /// A setting.
    Config(ConfigError),
    /// The server's certificate or key.
    Credential {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        error: CredentialError,
    },
    /// TLS settings.
    Tls(dance_tls::ConfigError),
    /// What every daemon needs.
    Daemon(DaemonError),
}

impl From<DaemonError> for StartError {
    fn from(error: DaemonError) -> Self {
        Self::Daemon(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Credential { certificate, key, error } => {
                write!(f, "certificate {} and key {}: {error}", certificate.display(), key.display())
            }
            Self::Tls(error) => error.fmt(f),
            Self::Daemon(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}
