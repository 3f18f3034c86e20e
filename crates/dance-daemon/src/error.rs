//! What is wrong with a daemon's configuration, or why it does not start. All of it is something that its administrator can change, and
//! says what to write instead.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use dance_core::name::NameError;
use dance_core::policy::PatternError;
use dance_resolver::{LimitsError, ServerError};

/// A configuration file that cannot be used.
#[derive(Debug)]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: ReadErrorKind,
}

/// What is wrong with a configuration file.
#[derive(Debug)]
pub enum ReadErrorKind {
    /// It cannot be read.
    Io(io::Error),
    /// It is no TOML, has a key that there is none of, or a value of the wrong form; the message quotes the line.
    Syntax(toml::de::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ReadErrorKind::Io(error) => write!(
                f,
                "cannot read the configuration {}: {error}; name a TOML file that this program may read",
                self.path.display()
            ),
            ReadErrorKind::Syntax(error) => write!(f, "configuration {}: {error}", self.path.display()),
        }
    }
}

impl std::error::Error for ReadError {}

/// A setting that cannot be used. The fault of whoever wrote the configuration.
#[derive(Clone, Debug)]
pub enum SettingError {
    /// Nobody would be let in.
    NoAllowList,
    /// An entry of `allow`.
    Pattern(PatternError),
    /// An entry of `dns.resolver`.
    DnsServer(ServerError),
    /// Whoever reaches the port could watch.
    MetricsNotLocal {
        /// Where it would be.
        address: SocketAddr,
    },
    /// `service-label`.
    ServiceLabel {
        /// As written.
        value: String,
        /// Why it is none.
        error: NameError,
    },
    /// `header`.
    Header {
        /// As written.
        value: String,
        /// Why it cannot be used.
        error: HeaderError,
    },
    /// `wildcard-ee = "reject"` with `dns.mode = "ad"`.
    WildcardUnseen,
    /// A time-out of nothing.
    ZeroSpan {
        /// Which.
        key: &'static str,
    },
    /// A number outside its bounds.
    OutOfRange {
        /// Which.
        key: &'static str,
        /// As written.
        found: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
}

/// Why a text cannot be the identity header's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// It is no field name.
    Syntax,
    /// HTTP or the daemon uses it for something else.
    Taken,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAllowList => f.write_str(
                "the allow-list is empty, so nobody could connect; name the clients to let in, such as allow = [\"sensor7._device.example.com\", \"*._device.example.com\"]",
            ),
            Self::Pattern(error) => error.fmt(f),
            Self::DnsServer(error) => write!(f, "dns.resolver: {error}"),
            Self::MetricsNotLocal { address } => write!(
                f,
                "metrics \"{address}\" is not on this host alone: whoever reaches it can watch who comes and what fails; use a loopback address, or set unsafe-metrics = true if the network is yours alone"
            ),
            Self::ServiceLabel { value, error } => write!(f, "service-label \"{value}\": {error}"),
            Self::Header { value, error: HeaderError::Syntax } => write!(
                f,
                "header \"{value}\" is no HTTP field name; expected letters, digits and '-', such as \"Dane-Clientid\""
            ),
            Self::Header { value, error: HeaderError::Taken } => write!(
                f,
                "header \"{value}\": HTTP or this program itself uses this field; choose one of its own, such as \"Dane-Clientid\""
            ),
            Self::WildcardUnseen => f.write_str(
                "wildcard-ee = \"reject\" needs dns.mode = \"validate\": a resolver's AD bit does not tell whether a wildcard was expanded",
            ),
            Self::ZeroSpan { key } => write!(f, "`{key}` is zero; expected at least \"1ms\""),
            Self::OutOfRange { key, found, min, max } => {
                write!(f, "`{key}` is {found}; expected {min} to {max}")
            }
        }
    }
}

impl std::error::Error for SettingError {}

/// Why a daemon does not start.
#[derive(Debug)]
pub enum StartError {
    /// A setting.
    Setting(SettingError),
    /// A file of root certificates.
    Roots {
        /// The setting that names it.
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

impl StartError {
    /// Whether the system stands in the way, and not what is configured.
    #[must_use]
    pub const fn is_the_systems(&self) -> bool {
        match self {
            Self::Listen { .. } | Self::ListenMetrics { .. } | Self::MetricsTaken | Self::NoRandomness => true,
            Self::Setting(_) | Self::Roots { .. } | Self::Resolver(_) | Self::Limits(_) => false,
        }
    }
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
            Self::Setting(error) => error.fmt(f),
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
                "this process has a recorder of metrics already: leave `metrics` out, or start the daemon in a process of its own",
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
