//! The tables `[dns]` and `[limits]`: who is asked, who is believed, and how many look-ups may be under way.

use std::path::PathBuf;
use std::time::Duration;

use dance_resolver::{
    CHECK_BUDGET, LOOKUP_BUDGET, Limits, Resolver, ResolverConfig, Server, Servers, TrustAnchorSource,
};
use serde::{Deserialize, Serialize};

use crate::duration::Span;
use crate::error::{SettingError, StartError};
use crate::settings::{MAX_COUNT, check_ranges, check_spans};

/// What a look-up's own budget is over the resolver's, so that the resolver's account of a failure is heard.
const RESOLVER_MARGIN: Duration = Duration::from_millis(100);

/// The table `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each key is explained in gateway.example.toml, which a test holds to this struct")]
pub struct DnsConfig {
    pub resolver: Vec<String>,
    pub resolver_ca: Option<PathBuf>,
    pub mode: DnsMode,
    pub trust_anchor: Option<PathBuf>,
    pub timeout: Span,
    pub cache_bytes: usize,
}

/// The table `[limits]`: look-ups in flight (SEC-01).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each key is explained in gateway.example.toml, which a test holds to this struct")]
pub struct LimitsConfig {
    pub lookups_total: usize,
    pub lookups_per_address: usize,
    pub lookups_per_entry: usize,
}

/// `dns.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsMode {
    /// The daemon validates signatures itself.
    Validate,
    /// It believes the resolver's AD bit.
    Ad,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            resolver: Vec::new(),
            mode: DnsMode::Validate,
            resolver_ca: None,
            trust_anchor: None,
            timeout: Span::secs(3),
            cache_bytes: dance_resolver::CACHE_BYTES,
        }
    }
}

impl Default for LimitsConfig {
    /// Requirements section 7.
    fn default() -> Self {
        Self { lookups_total: 256, lookups_per_address: 8, lookups_per_entry: 64 }
    }
}

impl DnsConfig {
    /// The resolvers; empty for those of the system.
    ///
    /// # Errors
    /// [`SettingError::DnsServer`].
    pub fn servers(&self) -> Result<Vec<Server>, SettingError> {
        let server = |text: &String| text.parse().map_err(SettingError::DnsServer);
        self.resolver.iter().map(server).collect()
    }

    /// Checks everything that can be checked without opening a file or socket.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), SettingError> {
        self.servers()?;
        check_spans(&[("dns.timeout", self.timeout)])?;
        check_ranges(&[("dns.cache-bytes", self.cache_bytes, 64 * 1024, 1 << 40)])
    }

    /// The resolver that these tables describe.
    ///
    /// # Errors
    /// [`StartError::Setting`] or [`StartError::Resolver`].
    pub fn resolver(&self, limits: &LimitsConfig) -> Result<Resolver, StartError> {
        let servers = self.servers().map_err(StartError::Setting)?;
        let timeout = self.timeout.0;
        Resolver::new(ResolverConfig {
            servers: if servers.is_empty() { Servers::System } else { Servers::List(servers) },
            resolver_ca: self.resolver_ca.clone(),
            mode: match self.mode {
                DnsMode::Validate => dance_resolver::DnsMode::Validate,
                DnsMode::Ad => dance_resolver::DnsMode::AdBit,
            },
            trust_anchor: self.trust_anchor.clone().map_or(TrustAnchorSource::Root, TrustAnchorSource::File),
            timeout: timeout.checked_sub(RESOLVER_MARGIN).filter(|rest| *rest >= timeout / 2).unwrap_or(timeout),
            cache_bytes: self.cache_bytes,
            // Clients that are known may be as many again.
            max_concurrent: limits.lookups_total.saturating_mul(2).max(ResolverConfig::default().max_concurrent),
            ..ResolverConfig::default()
        })
        .map_err(StartError::Resolver)
    }

    /// The paths in it, which count from the configuration file's directory.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.resolver_ca, &mut self.trust_anchor].into_iter().flatten()
    }
}

impl LimitsConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// The first that is out of its bounds.
    pub fn check(&self) -> Result<(), SettingError> {
        check_ranges(&[
            ("limits.lookups-total", self.lookups_total, 1, MAX_COUNT),
            ("limits.lookups-per-address", self.lookups_per_address, 1, MAX_COUNT),
            ("limits.lookups-per-entry", self.lookups_per_entry, 1, MAX_COUNT),
        ])
    }

    /// For the driver, where a look-up may take as long as `dns` says.
    #[must_use]
    pub fn of(&self, dns: &DnsConfig) -> Limits {
        let lookup = dns.timeout.0;
        Limits {
            total: self.lookups_total,
            per_address: self.lookups_per_address,
            per_entry: self.lookups_per_entry,
            lookup,
            check: lookup + (CHECK_BUDGET - LOOKUP_BUDGET),
        }
    }
}
