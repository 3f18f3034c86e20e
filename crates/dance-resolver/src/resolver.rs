//! The resolver: cache, one look-up per name at a time, and the two ways to an answer.

use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_core::name::OwnerName;

use crate::anchor::Anchors;
use crate::config::{ConfigError, DnsMode, ResolverConfig};
use crate::source::{Lookup, TlsaSource, Trace};

/// Looks up TLSA RRsets with recursive resolvers' help.
#[derive(Debug)]
pub struct Resolver {
    config: ResolverConfig,
    #[allow(dead_code, reason = "first delivery of the interface")]
    anchors: Anchors,
}

impl Resolver {
    /// Checks the configuration; asks nobody yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The configuration cannot work, or would not be safe.
    pub fn new(config: ResolverConfig) -> Result<Self, ConfigError> {
        let servers = config.servers.addresses()?;
        if config.mode == DnsMode::AdBit
            && let Some(&server) = servers.iter().find(|server| !server.ip().to_canonical().is_loopback())
        {
            return Err(ConfigError::AdBitOverNetwork { server });
        }
        let anchors = Anchors::load(&config.trust_anchor).map_err(ConfigError::TrustAnchor)?;
        Ok(Self { config, anchors })
    }

    /// Its settings.
    #[must_use]
    pub const fn config(&self) -> &ResolverConfig {
        &self.config
    }
}

impl TlsaSource for Resolver {
    async fn lookup(&self, owner: &OwnerName) -> Lookup {
        Lookup {
            answer: TlsaAnswer::Indeterminate(LookupFailure::Unreachable),
            trace: Trace {
                final_owner: owner.as_str().into(),
                links: [].into(),
                queries: 0,
                from_cache: false,
                detail: None,
            },
        }
    }
}
