//! The resolver: memory, one look-up per name at a time, and the two ways to an answer.

use std::sync::Arc;

use dance_core::answer::LookupFailure;
use dance_core::name::OwnerName;
use dance_core::policy::Pattern;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::adbit::AdBit;
use crate::anchor::Anchors;
use crate::cache::Cache;
use crate::config::{ConfigError, DnsMode, ResolverConfig};
use crate::flight::Flights;
use crate::outcome::{Fault, Outcome};
use crate::reply::dns_name;
use crate::run::{RUN, Run};
use crate::source::{Detail, Lookup, TlsaSource, Trace};
use crate::upstream::Upstream;
use crate::validate::Validation;

/// Looks up TLSA RRsets with recursive resolvers' help.
///
/// Look-ups run in tasks of their own and end within the configured time. Several for one name at a time share one task; it is
/// given up when the last of them is dropped.
pub struct Resolver {
    inner: Arc<Inner>,
    flights: Flights<OwnerName, Lookup>,
}

struct Inner {
    config: ResolverConfig,
    way: Way,
    cache: Cache,
    turns: Semaphore,
}

enum Way {
    Validate(Validation),
    AdBit(AdBit),
}

impl Resolver {
    /// Checks the configuration; asks nobody yet. Look-ups must be made within a tokio runtime.
    ///
    /// # Errors
    /// The configuration cannot work, or would not be safe.
    pub fn new(config: ResolverConfig) -> Result<Self, ConfigError> {
        let servers = config.check()?;
        let upstream = Arc::new(Upstream::new(&servers, config.resolver_ca.as_deref(), config.timeout)?);
        let way = match config.mode {
            DnsMode::Validate => {
                let anchors = Anchors::load(&config.trust_anchor).map_err(ConfigError::TrustAnchor)?;
                Way::Validate(Validation::new(upstream, anchors))
            }
            DnsMode::AdBit => Way::AdBit(AdBit::new(upstream)),
        };
        let cache = Cache::new(config.answer_bytes());
        let turns = Semaphore::new(config.max_concurrent.min(Semaphore::MAX_PERMITS));
        Ok(Self { inner: Arc::new(Inner { config, way, cache, turns }), flights: Flights::new() })
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &ResolverConfig {
        &self.inner.config
    }
}

impl TlsaSource for Resolver {
    async fn lookup(&self, owner: &OwnerName) -> Lookup {
        if let Some(known) = self.inner.known(owner) {
            return known;
        }
        let flight = self.flights.join(owner.clone(), || {
            let inner = Arc::clone(&self.inner);
            let owner = owner.clone();
            async move { inner.find(owner).await }
        });
        flight.await
    }

    fn cached(&self, owner: &OwnerName) -> Option<Lookup> {
        self.inner.known(owner)
    }

    fn note_use(&self, owner: &OwnerName, admitted_by: &Pattern) {
        // Once the zones' memory is there: `zones.mark(&dns_name(owner), group)` for the group that this returns.
        self.inner.cache.note_use(owner, admitted_by, self.inner.config.clock.now());
    }

    fn is_in_use(&self, owner: &OwnerName) -> bool {
        self.inner.cache.is_in_use(owner)
    }
}

impl Inner {
    fn known(&self, owner: &OwnerName) -> Option<Lookup> {
        let outcome = self.cache.get(owner, self.config.clock.now())?;
        Some(lookup(outcome, 0, true))
    }

    /// A look-up in a task of its own, so that a panic in the validator ends nothing but this look-up.
    async fn find(self: Arc<Self>, owner: OwnerName) -> Lookup {
        // Another look-up may have ended between the caller's look into the memory and now.
        if let Some(known) = self.known(&owner) {
            return known;
        }
        let run = Arc::new(Run::default());
        let work = {
            let (inner, owner, run) = (Arc::clone(&self), owner.clone(), Arc::clone(&run));
            RUN.scope(Arc::clone(&run), async move { inner.look_up(&owner, &run).await })
        };
        let outcome = isolated(work).await.unwrap_or_else(|| {
            let fault = Fault::failure(LookupFailure::Malformed, Detail::ValidatorFailed);
            Outcome::fault(&dns_name(&owner), fault, self.config.clock.now())
        });
        self.cache.insert(owner, outcome.clone(), self.config.clock.now());
        lookup(outcome, run.sent(), false)
    }

    async fn look_up(&self, owner: &OwnerName, run: &Run) -> Outcome {
        let name = dns_name(owner);
        let clock = &self.config.clock;
        let found = tokio::time::timeout(self.config.timeout, async {
            let _turn = self.turns.acquire().await;
            match &self.way {
                Way::Validate(validation) => validation.look_up(&name, clock, run).await,
                Way::AdBit(ad_bit) => ad_bit.look_up(&name, clock, run).await,
            }
        });
        found.await.unwrap_or_else(|_| {
            let fault = Fault::failure(LookupFailure::Timeout, Detail::NoReply { question: run.asking() });
            Outcome::fault(&name, fault, clock.now())
        })
    }
}

fn lookup(outcome: Outcome, queries: usize, from_cache: bool) -> Lookup {
    let Outcome { answer, end, links, detail, good_until: _ } = outcome;
    Lookup { answer, trace: Trace { final_owner: end, links, queries, from_cache, detail } }
}

/// Runs `work` in a task of its own, which does not outlive the one that waits for it. `None` if it panicked.
async fn isolated<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let mut task = AbortOnDrop(tokio::spawn(work));
    let result = (&mut task.0).await;
    if result.is_err() {
        tracing::error!("the DNSSEC validator panicked; the look-up counts as failed");
    }
    result.ok()
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::isolated;

    // SEC-02: what a reply does to the validator stays with that look-up.
    #[tokio::test]
    async fn panics_are_contained() {
        assert_eq!(isolated(async { 7 }).await, Some(7));
        let nothing: Option<u8> = isolated(async { panic!("as the validator might") }).await;
        assert_eq!(nothing, None);
    }
}
