//! What is wrong with a configuration. All of it is the fault of whoever wrote it, and says what to write instead.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use dance_core::name::NameError;
use dance_core::policy::PatternError;
use dance_resolver::ServerError;

use crate::origin::Origin;

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
pub enum ConfigError {
    /// A key without default is missing.
    Missing {
        /// Which.
        key: &'static str,
    },
    /// Nobody would be let in.
    NoAllowList,
    /// An entry of `allow`.
    Pattern(PatternError),
    /// An entry of `dns.resolver`.
    DnsServer(ServerError),
    /// The plaintext side would leave this host.
    OriginNotLocal {
        /// Where it points.
        origin: Origin,
    },
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
    /// `tls12` with `profile = "current"` and `policy = "require"`.
    Tls12Required,
    /// `derive-without-signal` with `profile = "current"`.
    DeriveWithoutSignal,
    /// `client-ca` with `policy = "require"`.
    ClientCaUnused,
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
    /// HTTP or the gateway uses it for something else.
    Taken,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { key } => write!(f, "the setting `{key}` has no default and is not set; {}", wanted(key)),
            Self::NoAllowList => f.write_str(
                "the allow-list is empty, so nobody could connect; name the clients to let in, such as allow = [\"sensor7._device.example.com\", \"*._device.example.com\"]",
            ),
            Self::Pattern(error) => error.fmt(f),
            Self::DnsServer(error) => write!(f, "dns.resolver: {error}"),
            Self::OriginNotLocal { origin } => write!(
                f,
                "the origin {origin} is not on this host: the connection to it is not encrypted and whoever reaches it can forge the identity header; use a loopback address or a Unix socket, or set unsafe-origin = true if the network between is yours alone"
            ),
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
                "header \"{value}\": HTTP or the gateway itself uses this field; choose one of its own, such as \"Dane-Clientid\""
            ),
            Self::WildcardUnseen => f.write_str(
                "wildcard-ee = \"reject\" needs dns.mode = \"validate\": a resolver's AD bit does not tell whether a wildcard was expanded",
            ),
            Self::Tls12Required => f.write_str(
                "tls12 = true with profile = \"current\" and policy = \"require\" could let nobody in by TLS 1.2, which has no place for the name there; use profile = \"2022\" or policy = \"optional\", or leave tls12 out",
            ),
            Self::DeriveWithoutSignal => f.write_str(
                "derive-without-signal = true needs profile = \"2022\": in profile \"current\" a name never comes from the certificate",
            ),
            Self::ClientCaUnused => f.write_str(
                "client-ca is for clients that do not ask for DANE, and policy = \"require\" lets none of them in; set policy = \"optional\", or leave client-ca out",
            ),
            Self::ZeroSpan { key } => write!(f, "`{key}` is zero; expected at least \"1ms\""),
            Self::OutOfRange { key, found, min, max } => {
                write!(f, "`{key}` is {found}; expected {min} to {max}")
            }
        }
    }
}

fn wanted(key: &str) -> &'static str {
    match key {
        "certificate" => "it names a PEM file with the server's certificate chain, the server's own certificate first",
        "key" => "it names a PEM file with the key of the server's certificate",
        _ => "it is the web application's address, such as \"127.0.0.1:8080\" or \"unix:/run/app.sock\"",
    }
}

impl std::error::Error for ConfigError {}
