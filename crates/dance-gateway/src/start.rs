//! From a configuration to a gateway that listens, or to an error that says what to change. The socket is opened last, so that a
//! gateway that cannot start has not started.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dance_core::CertificateDer;
use dance_core::matching::MatchOptions;
use dance_core::verdict::Settings;
use dance_core::x509::Certificate;
use dance_resolver::{
    CHECK_BUDGET, Clock, LOOKUP_BUDGET, LimitsError, MAX_SOCKETS, Resolver, ResolverConfig, Servers, TlsaSource,
    TrustAnchorSource, Verifier,
};
use dance_tls::{Acceptor, CertifiedKey, CredentialError, Resumption, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use tokio::net::TcpListener;

use crate::admission::H2;
use crate::config::{Config, ConfigError, DnsMode, ResumptionSetting};
use crate::connection::Limits;
use crate::handshakes::Handshakes;
use crate::listener::{self, Core};
use crate::log::{Names, VerdictEvent};
use crate::ordinary::ClientCa;
use crate::proxy::{Shared, server_name};
use crate::services::Services;
use crate::sessions::Sessions;
use crate::upstream::Upstream;
use dance_http::identity::HeaderRules;

/// Protocols to choose from by ALPN, in order of preference.
const ALPN: [&[u8]; 2] = [H2, b"http/1.1"];
/// What a look-up's own budget is over the resolver's, so that the resolver's account of a failure is heard.
const RESOLVER_MARGIN: Duration = Duration::from_millis(100);

/// Files that are no connections: the listening socket, the log, what the runtime polls with.
const SPARE_FILES: u64 = 64;

/// The resolver that a configuration describes.
///
/// # Errors
/// [`StartError::Config`] or [`StartError::Resolver`].
pub fn resolver(config: &Config) -> Result<Resolver, StartError> {
    let servers = config.dns_servers().map_err(StartError::Config)?;
    let timeout = config.dns.timeout.0;
    Resolver::new(ResolverConfig {
        servers: if servers.is_empty() { Servers::System } else { Servers::List(servers) },
        resolver_ca: config.dns.resolver_ca.clone(),
        mode: match config.dns.mode {
            DnsMode::Validate => dance_resolver::DnsMode::Validate,
            DnsMode::Ad => dance_resolver::DnsMode::AdBit,
        },
        trust_anchor: config.dns.trust_anchor.clone().map_or(TrustAnchorSource::Root, TrustAnchorSource::File),
        timeout: timeout.checked_sub(RESOLVER_MARGIN).filter(|rest| *rest >= timeout / 2).unwrap_or(timeout),
        cache_bytes: config.dns.cache_bytes,
        // Clients that are known may be as many again.
        max_concurrent: config.limits.lookups_total.saturating_mul(2).max(ResolverConfig::default().max_concurrent),
        ..ResolverConfig::default()
    })
    .map_err(StartError::Resolver)
}

/// A gateway that listens.
pub struct Gateway<S> {
    core: Core<S>,
    listener: TcpListener,
    address: SocketAddr,
    connections: usize,
    drain: Duration,
}

impl<S: TlsaSource + 'static> Gateway<S> {
    /// Reads and checks everything, and opens the listening socket last. Must be called within a tokio runtime.
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
        let checked = config.check().map_err(StartError::Config)?;
        let certified_key = CertifiedKey::load(checked.certificate, checked.key).map_err(|error| {
            StartError::Credential { certificate: checked.certificate.to_owned(), key: checked.key.to_owned(), error }
        })?;
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
            wildcard_ee: config.wildcard_ee(),
            matching: MatchOptions { pkix_roots, digest_agility: true, user_mode: config.user_mode },
        };
        let lookup = config.dns.timeout.0;
        let limits = dance_resolver::Limits {
            total: config.limits.lookups_total,
            per_address: config.limits.lookups_per_address,
            per_entry: config.limits.lookups_per_entry,
            lookup,
            check: lookup + (CHECK_BUDGET - LOOKUP_BUDGET),
        };
        let verifier = Verifier::new(Arc::new(settings), Arc::new(source), limits).map_err(StartError::Limits)?;
        let verifier = Arc::new(verifier.with_clock(clock));
        let resumption = match config.resumption {
            ResumptionSetting::Off => None,
            ResumptionSetting::Bound => {
                let sessions = Sessions::new(Arc::clone(&verifier), config.listen.to_string());
                Some(Arc::new(sessions) as Arc<dyn Resumption>)
            }
        };
        let acceptor = Acceptor::new(&ServerConfig {
            profile: config.profile(),
            extension_types: config.extension_type.0,
            raw_public_keys: config.raw_public_keys,
            tls12: config.tls12,
            resumption,
            alpn: ALPN.map(<[u8]>::to_vec).to_vec(),
            ..ServerConfig::new(certified_key)
        })
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
            server_names: config.server_names.iter().map(|name| server_name(name)).collect(),
        };
        let core = Core {
            acceptor,
            verifier,
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
            client_ca,
            services: Services::new(),
            names: Names::new(config.log_names).ok_or(StartError::NoRandomness)?,
            observer: None,
        };
        let address = config.listen;
        let listen = |error| StartError::Listen { address, error };
        let listener = listener::listen(address).map_err(listen)?;
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

/// Raises this process's limit of open files to what a configuration can come to need, and logs a warning where the system does not
/// let it. For the whole process, which is why [`Gateway::bind`] does not do it.
pub fn raise_open_files(config: &Config) {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let connections = config.max_connections.saturating_add(config.max_origin_connections).saturating_add(MAX_SOCKETS);
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(SPARE_FILES);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let allowed = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    limit.current = Some(allowed);
    let raised = setrlimit(Resource::Nofile, limit);
    if allowed < wanted || raised.is_err() {
        tracing::warn!(
            allowed,
            wanted,
            "too few files may be open for as many connections as are configured: raise the hard limit (ulimit -Hn, LimitNOFILE=), or lower max-connections"
        );
    }
}

/// The certificates in a PEM file.
fn roots(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let fault = |kind| StartError::Roots { key, path: path.to_owned(), kind };
    let text = std::fs::read(path).map_err(|error| fault(RootsError::Io(error)))?;
    let roots: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|_| fault(RootsError::Pem))?;
    if roots.is_empty() {
        return Err(fault(RootsError::Empty));
    }
    for (position, root) in roots.iter().enumerate() {
        Certificate::parse(root).map_err(|_| fault(RootsError::Certificate { position: position + 1 }))?;
    }
    Ok(roots)
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
    /// `pkix-roots` or `client-ca`.
    Roots {
        /// Which of them.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        kind: RootsError,
    },
    /// `[dns]`.
    Resolver(dance_resolver::ConfigError),
    /// `[limits]`.
    Limits(LimitsError),
    /// The system has no randomness to give, which `log-names = "hashed"` needs.
    NoRandomness,
    /// This process counts by another recorder already.
    MetricsTaken,
    /// The port for `metrics`.
    ListenMetrics {
        /// The address.
        address: SocketAddr,
        /// Why it cannot be listened on.
        error: io::Error,
    },
    /// The listening socket.
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why it cannot be listened on.
        error: io::Error,
    },
}

/// What is wrong with a file of root certificates.
#[derive(Debug)]
pub enum RootsError {
    /// It cannot be read.
    Io(io::Error),
    /// It is no PEM.
    Pem,
    /// There is no certificate in it.
    Empty,
    /// A certificate in it does not parse.
    Certificate {
        /// Which, from 1.
        position: usize,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Credential { certificate, key, error } => {
                write!(f, "certificate {} and key {}: {error}", certificate.display(), key.display())
            }
            Self::Tls(error) => error.fmt(f),
            Self::Resolver(error) => error.fmt(f),
            Self::Limits(error) => error.fmt(f),
            Self::Roots { key, path, kind } => {
                write!(f, "{key} {}: ", path.display())?;
                match kind {
                    RootsError::Io(error) => error.fmt(f),
                    RootsError::Pem => {
                        f.write_str("expected certificates in PEM, found something that does not decode")
                    }
                    RootsError::Empty => f.write_str("expected certificates in PEM, found none"),
                    RootsError::Certificate { position } => {
                        write!(f, "certificate {position} in it is no X.509 certificate; take it out")
                    }
                }
            }
            Self::NoRandomness => {
                f.write_str("log-names = \"hashed\" needs a random key and the system has none to give")
            }
            Self::MetricsTaken => f.write_str(
                "this process has a recorder of metrics already: leave `metrics` out, or start the gateway in a process of its own",
            ),
            Self::ListenMetrics { address, error } => {
                write!(f, "cannot listen on {address} for metrics: {error}; set `metrics` to another port, or leave it out")
            }
            Self::Listen { address, error } => {
                write!(f, "cannot listen on {address}: {error}; ")?;
                f.write_str(match error.kind() {
                    io::ErrorKind::AddrInUse => "another process does: stop it, or set `listen` to another port",
                    io::ErrorKind::AddrNotAvailable => "no interface of this host has the address: correct `listen`",
                    io::ErrorKind::PermissionDenied => {
                        "ports below 1024 need the capability CAP_NET_BIND_SERVICE: grant it, or set `listen` to another port"
                    }
                    _ => "correct `listen`",
                })
            }
        }
    }
}

impl std::error::Error for StartError {}
