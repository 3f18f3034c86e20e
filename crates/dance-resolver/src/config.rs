//! The resolver's settings and why they may be refused.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::anchors::AnchorError;
use crate::clock::Clock;
use crate::limits::LOOKUP_BUDGET;
use crate::server::{DNS_PORT, Server, ServerError};

/// Where the system's resolvers are listed.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How much memory a resolver takes by default for what it remembers, in octets: some 20,000 of the usual answers, and some thousand zones.
pub const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Most look-ups that a resolver has under way by default; more wait for their turn within their time. Above the driver's limit, so
/// that several listeners and the command line have room.
pub const MAX_CONCURRENT_LOOKUPS: usize = 1024;

/// The resolver's settings.
#[derive(Clone, Debug)]
pub struct ResolverConfig {
    /// Which resolvers to ask.
    pub servers: Servers,
    /// Certificates in PEM, in place of the system's, that those of resolvers over TLS may be issued from: for servers that are known by
    /// name ([`TlsTrust::Name`](crate::TlsTrust::Name)).
    pub resolver_ca: Option<PathBuf>,
    /// Who validates.
    pub mode: DnsMode,
    /// What validation starts from. Of no effect in AD mode.
    pub trust_anchor: TrustAnchorSource,
    /// Longest time for a look-up, at least 1 ms. The default is a little less than [`LOOKUP_BUDGET`], so that the resolver's own
    /// account of a failure is heard, and remembered, before the driver gives up.
    pub timeout: Duration,
    /// How much memory to take for what is remembered, in octets, at least 1: three quarters for answers, one for zones. Of little nothing
    /// is remembered.
    pub cache_bytes: usize,
    /// Most look-ups under way at a time, at least 1; each needs up to one socket for each query in flight.
    pub max_concurrent: usize,
    /// Where to read the time.
    pub clock: Clock,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self {
            servers: Servers::System,
            resolver_ca: None,
            mode: DnsMode::Validate,
            trust_anchor: TrustAnchorSource::Root,
            timeout: LOOKUP_BUDGET - Duration::from_millis(100),
            cache_bytes: CACHE_BYTES,
            max_concurrent: MAX_CONCURRENT_LOOKUPS,
            clock: Clock::default(),
        }
    }
}

impl ResolverConfig {
    /// What zones may take of the memory.
    pub(crate) const fn zone_bytes(&self) -> usize {
        self.cache_bytes / 4
    }

    /// What answers may take of it.
    pub(crate) const fn answer_bytes(&self) -> usize {
        self.cache_bytes - self.zone_bytes()
    }

    /// The resolvers to ask, if everything else is in order too.
    pub(crate) fn check(&self) -> Result<Vec<Server>, ConfigError> {
        let numbers = [
            ("cache_bytes", self.cache_bytes != 0),
            ("max_concurrent", self.max_concurrent != 0),
            ("timeout in milliseconds", self.timeout >= Duration::from_millis(1)),
        ];
        if let Some((setting, _)) = numbers.into_iter().find(|(_, enough)| !enough) {
            return Err(ConfigError::Zero { setting });
        }
        let servers = self.servers.list()?;
        // DNS-02.
        match servers.iter().find(|server| !server.is_authenticated()) {
            Some(server) if self.mode == DnsMode::AdBit => {
                Err(ConfigError::AdBitOverNetwork { server: server.clone() })
            }
            Some(_) | None => Ok(servers),
        }
    }
}

/// Which resolvers to ask. They must be recursive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Servers {
    /// Those in [`RESOLV_CONF`].
    #[default]
    System,
    /// These, in order of preference; not empty.
    List(Vec<Server>),
}

impl Servers {
    pub(crate) fn list(&self) -> Result<Vec<Server>, ConfigError> {
        match self {
            Self::List(list) if list.is_empty() => Err(ConfigError::NoServers),
            Self::List(list) => Ok(list.clone()),
            Self::System => {
                let path = Path::new(RESOLV_CONF);
                let text = std::fs::read_to_string(path).map_err(|error| ConfigError::ResolvConfUnreadable {
                    path: path.to_owned(),
                    error: error.kind(),
                })?;
                let servers = resolv_conf(&text);
                if servers.is_empty() {
                    return Err(ConfigError::ResolvConfEmpty { path: path.to_owned() });
                }
                Ok(servers.into_iter().map(Server::from).collect())
            }
        }
    }
}

/// The addresses of `nameserver` lines (resolv.conf(5)), as many as the C library heeds.
fn resolv_conf(text: &str) -> Vec<SocketAddr> {
    const MAX_SERVERS: usize = 3;
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = (words.next()? == "nameserver").then(|| words.next())??;
            Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, DNS_PORT))
        })
        .take(MAX_SERVERS)
        .collect()
}

/// Who validates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsMode {
    /// This process, to its own trust anchor; the resolver and the way to it need not be trusted.
    #[default]
    Validate,
    /// The resolver: its AD bit is believed. Only for resolvers on loopback, or that show over TLS who they are (DNS-02).
    AdBit,
}

/// What validation starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TrustAnchorSource {
    /// The keys of the root zone that this version was shipped with.
    #[default]
    Root,
    /// A file of DS or DNSKEY records in zone-file form.
    File(PathBuf),
    /// Such records themselves.
    Text(String),
}

/// Why a resolver cannot be made. The fault of whoever configured it.
#[derive(Debug)]
pub enum ConfigError {
    /// An empty list of resolvers.
    NoServers,
    /// The system's list cannot be read.
    ResolvConfUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::ErrorKind,
    },
    /// The system's list has no address in it.
    ResolvConfEmpty {
        /// The file.
        path: PathBuf,
    },
    /// AD mode with a resolver that is not on loopback and does not show who it is.
    AdBitOverNetwork {
        /// The resolver.
        server: Server,
    },
    /// The name that a resolver's certificate must be good for.
    Server(ServerError),
    /// A resolver is to be known by one of several keys, of which none is named.
    NoPins {
        /// The resolver.
        server: SocketAddr,
    },
    /// The certificates that those of resolvers may be issued from cannot be read.
    TlsRootsUnreadable {
        /// The file; `None` for the system's.
        path: Option<PathBuf>,
        /// Why: `InvalidData` for what is no certificate in PEM.
        error: std::io::ErrorKind,
    },
    /// There is none of them.
    TlsRootsEmpty {
        /// The file; `None` for the system's.
        path: Option<PathBuf>,
    },
    /// The TLS library cannot work. Not the fault of the configuration.
    TlsUnavailable,
    /// The trust anchor.
    TrustAnchor(AnchorError),
    /// A number that must be at least 1 (milliseconds for the time-out).
    Zero {
        /// Which field of [`ResolverConfig`].
        setting: &'static str,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServers => f.write_str("expected at least one resolver, found an empty list"),
            Self::ResolvConfUnreadable { path, error } => {
                write!(f, "cannot read {} ({error}): name the resolvers in the configuration instead", path.display())
            }
            Self::ResolvConfEmpty { path } => write!(
                f,
                "expected a line \"nameserver ADDRESS\" in {}, found none: name the resolvers in the configuration instead",
                path.display()
            ),
            Self::AdBitOverNetwork { server } => write!(
                f,
                "the AD bit of {server} cannot be trusted: whoever is on the way to it could set it. Use a validating resolver on \
                 loopback (127.0.0.1 or ::1) or one over TLS with a name or key to know it by (tls://ADDRESS#NAME), or let this \
                 program validate, which needs no trust in the resolver"
            ),
            Self::Server(error) => error.fmt(f),
            Self::NoPins { server } => {
                write!(f, "the resolver {server} is to be known by its key, and no key's digest is given")
            }
            Self::TlsRootsUnreadable { path, error } => write!(
                f,
                "cannot read the certificates that a resolver's may come from, {} ({error}): expected certificates in PEM",
                Roots(path.as_deref())
            ),
            Self::TlsRootsEmpty { path } => write!(
                f,
                "no certificate that a resolver's may come from in {}: name a file with that of its authority, or the digest of the \
                 resolver's key (tls://ADDRESS#sha256:HEX)",
                Roots(path.as_deref())
            ),
            Self::TlsUnavailable => f.write_str(
                "TLS to resolvers does not work in this build of the program: this is our fault, please report it",
            ),
            Self::TrustAnchor(error) => error.fmt(f),
            Self::Zero { setting } => write!(f, "expected at least 1 for {setting}, found 0"),
        }
    }
}

/// Where certificates are looked for.
struct Roots<'a>(Option<&'a Path>);

impl fmt::Display for Roots<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(path) => path.display().fmt(f),
            None => f.write_str("the system's store"),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TrustAnchor(error) => Some(error),
            Self::NoServers
            | Self::ResolvConfUnreadable { .. }
            | Self::ResolvConfEmpty { .. }
            | Self::AdBitOverNetwork { .. }
            | Self::Server(_)
            | Self::NoPins { .. }
            | Self::TlsRootsUnreadable { .. }
            | Self::TlsRootsEmpty { .. }
            | Self::TlsUnavailable
            | Self::Zero { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_resolvers() {
        let text = "# made by hand\n\nsearch example.com\nnameserver 192.0.2.1\n  nameserver\t2001:db8::1 # second\n\
                    nameserver fe80::1%eth0\nnameserver\nnameservers 192.0.2.9\noptions trust-ad\n\
                    nameserver 127.0.0.53\nnameserver 192.0.2.4\n";
        let found: Vec<String> = resolv_conf(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[2001:db8::1]:53", "127.0.0.53:53"]);
        assert!(resolv_conf("search example.com\n").is_empty());
    }

    #[test]
    fn numbers_and_lists() {
        let fine = ResolverConfig {
            servers: Servers::List(vec![SocketAddr::from(([127, 0, 0, 1], 53)).into()]),
            ..ResolverConfig::default()
        };
        assert!(fine.check().is_ok());
        assert!(fine.timeout < LOOKUP_BUDGET);
        for config in [
            ResolverConfig { cache_bytes: 0, ..fine.clone() },
            ResolverConfig { max_concurrent: 0, ..fine.clone() },
            ResolverConfig { timeout: Duration::ZERO, ..fine.clone() },
        ] {
            assert!(matches!(config.check(), Err(ConfigError::Zero { .. })));
        }
        let nobody = ResolverConfig { servers: Servers::List(Vec::new()), ..fine };
        assert!(matches!(nobody.check(), Err(ConfigError::NoServers)));
    }
}
