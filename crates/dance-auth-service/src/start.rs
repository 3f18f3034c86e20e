//! From a configuration to a service that listens, or to an error that says what to change. The socket is opened last.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dance_core::clientid::Profile;
use dance_core::matching::MatchOptions;
use dance_core::policy::{OnLookupFailure, Policy};
use dance_core::verdict::Settings;
use dance_daemon::log::Names;
use dance_daemon::{listener as daemon, settings};
use dance_http::Checker;
use dance_http::forwarded::MAX_FIELD_LEN;
use dance_resolver::{Clock, MAX_SOCKETS, Resolver, TlsaSource, Verifier};
use tokio::sync::Semaphore;

use crate::answer::{BODY_MEMORY, Core};
use crate::config::{Config, ConfigError, Listen, Protocol};
use crate::connection::{Limits, serve};
use crate::grpc::Grpc;
use crate::listener::Listener;
use crate::log::Log;

/// What a message over gRPC has besides header fields, certificate and body.
const MESSAGE_MARGIN: usize = 64 * 1024;

/// The resolver that a configuration describes.
///
/// # Errors
/// [`StartError`].
pub fn resolver(config: &Config) -> Result<Resolver, StartError> {
    config.dns.resolver(&config.limits).map_err(StartError::Daemon)
}

/// A service that listens.
pub struct AuthService<S> {
    core: Core<S>,
    listener: Listener,
    local: Listen,
    connections: usize,
    drain: Duration,
}

impl<S: TlsaSource + 'static> AuthService<S> {
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
        let roots = config.pkix_roots.as_deref().map(|path| settings::roots("pkix-roots", path)).transpose();
        let settings = Settings {
            profile: Profile::Current,
            // There is no such thing as an anonymous client here: a route needs the check, or it does not ask.
            policy: Policy::Require,
            on_lookup_failure: OnLookupFailure::Abort,
            allow_list: checked.allow_list,
            service_label: checked.service_label,
            derive_without_signal: false,
            wildcard_ee: config.wildcard_ee.into(),
            matching: MatchOptions {
                pkix_roots: roots.map_err(StartError::Daemon)?.unwrap_or_default(),
                digest_agility: true,
                user_mode: config.user_mode,
            },
        };
        let lookups = checked.limits.of(&config.dns);
        let verifier = Verifier::new(Arc::new(settings), Arc::new(source), lookups);
        let verifier = verifier.map_err(|error| StartError::Daemon(dance_daemon::StartError::Limits(error)))?;
        let log = Log::new(Names::new(config.log_names).map_err(StartError::Daemon)?);
        let checker = Checker::new(checked.rules, Arc::new(verifier.with_clock(clock)));
        let checker = Arc::new(checker.observed_by(move |event| log.tell(event)));
        let grpc = match checked.protocol {
            Protocol::Http => None,
            Protocol::Grpc => Some(Grpc::new(
                Arc::clone(&checker),
                checked.header.clone(),
                config.body_limit + config.max_header_bytes + MAX_FIELD_LEN + MESSAGE_MARGIN,
                config.body_timeout.0 + lookups.check,
            )),
        };
        let core = Core {
            checker,
            identity: checked.header,
            limits: Limits {
                header: config.header_timeout.0,
                idle: config.idle_timeout.0,
                header_bytes: config.max_header_bytes,
                streams: config.max_streams,
            },
            body_timeout: config.body_timeout.0,
            bodies: Semaphore::new(BODY_MEMORY),
            grpc,
        };
        let fault = |error| StartError::listen(&config.listen, error);
        let listener = Listener::open(&config.listen).map_err(fault)?;
        let local = listener.local().map_err(fault)?;
        Ok(Self { core, listener, local, connections: config.max_connections, drain: config.drain_timeout.0 })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local(&self) -> &Listen {
        &self.local
    }

    /// Serves until `shutdown` resolves, then finishes requests under way, for at most `drain-timeout`. True if nothing had to be
    /// cut off.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> bool {
        let core = Arc::new(self.core);
        let serve = |stream, peer, phase| serve(Arc::clone(&core), stream, peer, phase);
        daemon::run(self.listener, self.connections, self.drain, shutdown, serve).await
    }
}

impl<S> fmt::Debug for AuthService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthService").field("local", &self.local).finish_non_exhaustive()
    }
}

/// Raises this process's limit of open files to what a configuration can come to need.
pub fn raise_open_files(config: &Config) {
    settings::raise_open_files(config.max_connections.saturating_add(MAX_SOCKETS));
}

/// Why a service does not start. Always something that its administrator can change.
#[derive(Debug)]
pub enum StartError {
    /// A setting.
    Config(ConfigError),
    /// What every daemon needs.
    Daemon(dance_daemon::StartError),
    /// The Unix socket.
    ListenUnix {
        /// Its file.
        path: PathBuf,
        /// Why it cannot be listened on.
        error: io::Error,
    },
}

impl StartError {
    fn listen(at: &Listen, error: io::Error) -> Self {
        match at {
            Listen::Address(address) => Self::Daemon(dance_daemon::StartError::Listen { address: *address, error }),
            Listen::Unix(path) => Self::ListenUnix { path: path.clone(), error },
        }
    }

    /// Whether the system stands in the way, and not what is configured.
    #[must_use]
    pub const fn is_the_systems(&self) -> bool {
        match self {
            Self::Config(_) => false,
            Self::Daemon(error) => error.is_the_systems(),
            Self::ListenUnix { .. } => true,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Daemon(error) => error.fmt(f),
            Self::ListenUnix { path, error } => {
                write!(f, "cannot listen on unix:{}: {error}; ", path.display())?;
                f.write_str(match error.kind() {
                    io::ErrorKind::AddrInUse => "another process does: stop it, or set `listen` to another path",
                    io::ErrorKind::AlreadyExists => "remove it, or set `listen` to another path",
                    io::ErrorKind::NotFound => "make the directory, or set `listen` to another path",
                    io::ErrorKind::PermissionDenied => {
                        "let this user write to the directory, or set `listen` to another path"
                    }
                    _ => "correct `listen`",
                })
            }
        }
    }
}

impl std::error::Error for StartError {}
