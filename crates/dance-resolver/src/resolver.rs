//! The resolver: memory, one look-up per name at a time, and the two ways to an answer.

use std::sync::{Arc, PoisonError, RwLock};

use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_core::name::OwnerName;
use dance_core::policy::Pattern;
use dance_dnssec::{Anchors, DnsName, Question, dns_name};
use domain::base::iana::Rtype;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::adbit::AdBit;
use crate::anchors::{AnchorError, AnchorSource, Reread};
use crate::breaker::Breaker;
use crate::cache::Cache;
use crate::config::{ConfigError, DnsMode, ResolverConfig};
use crate::flight::Flights;
use crate::metrics::LookupMetrics;
use crate::outcome::{Fault, Outcome, question_text, text};
use crate::prove::{End, Job, Prover, Trust};
use crate::source::{Detail, Lookup, TlsaSource, Trace};
use crate::upstream::{ExchangeLog, Upstream};
use crate::zones::Zones;

/// Looks up TLSA RRsets with recursive resolvers' help.
///
/// Look-ups run in tasks of their own and end within the configured time. Several for one name at a time share one task; it is
/// given up when the last of them is dropped.
///
/// Trust anchors from a file are read anew when the file has changed: it is looked at when a name is looked up that is not known, at most once a
/// minute. A file that cannot be used changes nothing, and the log says so. [`reload_anchors`](Self::reload_anchors) does the same at once.
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    config: ResolverConfig,
    /// Held for a copy of the pointer, or its replacement.
    ground: RwLock<Arc<Ground>>,
    anchors: Option<AnchorSource>,
    breaker: Breaker,
    turns: Semaphore,
    metrics: LookupMetrics,
}

/// What answers rest on, and what is known and under way on this ground: replaced as a whole.
struct Ground {
    way: Way,
    cache: Cache,
    flights: Flights<OwnerName, Lookup>,
}

enum Way {
    Validate { prover: Arc<Prover>, trust: Trust },
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
        let (way, anchors) = match config.mode {
            DnsMode::Validate => {
                let (source, anchors) = AnchorSource::new(config.trust_anchor.clone(), config.clock.now())
                    .map_err(ConfigError::TrustAnchor)?;
                (Way::validate(Arc::new(Prover::new(upstream)), anchors, &config), Some(source))
            }
            DnsMode::AdBit => (Way::AdBit(AdBit::new(upstream)), None),
        };
        let ground = RwLock::new(Arc::new(Ground::new(way, &config)));
        let turns = Semaphore::new(config.max_concurrent.min(Semaphore::MAX_PERMITS));
        let (breaker, metrics) = (Breaker::default(), LookupMetrics::new());
        Ok(Self { inner: Arc::new(Inner { config, ground, anchors, breaker, turns, metrics }) })
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &ResolverConfig {
        &self.inner.config
    }

    /// Reads the trust anchors from their file again. If they are others than before, everything that was known is forgotten, and look-ups
    /// start from the new ones; those under way end on the old ones. Returns whether they are others. Reads a file: not for a runtime's worker threads.
    ///
    /// # Errors
    /// The file cannot be used; nothing has changed.
    pub fn reload_anchors(&self) -> Result<bool, AnchorError> {
        self.inner.reread_anchors(AnchorSource::reread)
    }
}

impl TlsaSource for Resolver {
    async fn lookup(&self, owner: &OwnerName) -> Lookup {
        self.inner.notice_new_anchors().await;
        let ground = self.inner.ground();
        if let Some(known) = ground.known(owner, &self.inner.config) {
            return known;
        }
        let flight = ground.flights.join(owner.clone(), || {
            let (inner, ground, owner) = (Arc::clone(&self.inner), Arc::clone(&ground), owner.clone());
            async move { inner.find(ground, owner).await }
        });
        flight.await
    }

    fn cached(&self, owner: &OwnerName) -> Option<Lookup> {
        // Without a copy: this is how most clients are known.
        self.inner.ground.read().unwrap_or_else(PoisonError::into_inner).known(owner, &self.inner.config)
    }

    fn note_use(&self, owner: &OwnerName, admitted_by: &Pattern) {
        let ground = self.inner.ground();
        let group = ground.cache.note_use(owner, admitted_by, self.inner.config.clock.now());
        if let (Some(group), Way::Validate { trust, .. }) = (group, &ground.way) {
            trust.zones.mark(&dns_name(owner), group);
        }
    }

    fn is_in_use(&self, owner: &OwnerName) -> bool {
        self.inner.ground().cache.is_in_use(owner)
    }
}

impl Way {
    fn validate(prover: Arc<Prover>, anchors: Anchors, config: &ResolverConfig) -> Self {
        let zones = Zones::new(config.zone_bytes(), config.clock.clone());
        Self::Validate { prover, trust: Trust { anchors: Arc::new(anchors), zones } }
    }
}

impl Ground {
    fn new(way: Way, config: &ResolverConfig) -> Self {
        Self { way, cache: Cache::new(config.answer_bytes()), flights: Flights::new() }
    }

    fn known(&self, owner: &OwnerName, config: &ResolverConfig) -> Option<Lookup> {
        let outcome = self.cache.get(owner, config.clock.now())?;
        Some(lookup(outcome, Trace { from_cache: true, ..Trace::default() }))
    }
}

impl Inner {
    fn ground(&self) -> Arc<Ground> {
        // What is guarded is one pointer.
        Arc::clone(&self.ground.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks whether the anchors' file has changed, if it is time to. Waits for the disk, in this one look-up; all others go on.
    async fn notice_new_anchors(self: &Arc<Self>) {
        if !self.anchors.as_ref().is_some_and(|source| source.is_due(self.config.clock.now())) {
            return;
        }
        let inner = Arc::clone(self);
        let reread = move || match inner.reread_anchors(AnchorSource::reread_if_touched) {
            Ok(true) => tracing::info!("the trust anchors have changed: everything is looked up anew"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the trust anchors stay as they were"),
        };
        // It does not panic; were it to, the anchors stay as they were.
        let _ = tokio::task::spawn_blocking(reread).await;
    }

    fn reread_anchors(&self, reread: Reread) -> Result<bool, AnchorError> {
        let Some(source) = &self.anchors else { return Ok(false) };
        reread(source, &|anchors| {
            let mut ground = self.ground.write().unwrap_or_else(PoisonError::into_inner);
            if let Way::Validate { prover, .. } = &ground.way {
                let way = Way::validate(Arc::clone(prover), anchors, &self.config);
                *ground = Arc::new(Ground::new(way, &self.config));
            }
        })
    }

    /// A look-up in a task of its own: a panic in it ends nothing but this look-up, and those who share it are told that it failed instead of
    /// panicking with it. That is cheap beside a question to the network.
    async fn find(self: Arc<Self>, ground: Arc<Ground>, owner: OwnerName) -> Lookup {
        // Another look-up may have ended between the caller's look into the memory and now.
        if let Some(known) = ground.known(&owner, &self.config) {
            return known;
        }
        let started = Instant::now();
        let log = Arc::new(ExchangeLog::default());
        let work = {
            let (inner, ground, owner, log) = (Arc::clone(&self), Arc::clone(&ground), owner.clone(), Arc::clone(&log));
            async move { inner.look_up(&ground, &dns_name(&owner), &log).await }
        };
        let outcome = isolated(work)
            .await
            .unwrap_or_else(|| Outcome::fault(&dns_name(&owner), Fault::validator_failed(), self.config.clock.now()));
        ground.cache.insert(owner, outcome.clone(), self.config.clock.now());
        let exchanges = log.exchanges();
        self.metrics.looked_up(&outcome.answer, &exchanges);
        let (queries, exchanges, took) = (log.sent(), exchanges.into(), started.elapsed());
        lookup(outcome, Trace { queries, exchanges, took, ..Trace::default() })
    }

    async fn look_up(&self, ground: &Ground, name: &DnsName, log: &Arc<ExchangeLog>) -> Outcome {
        let clock = &self.config.clock;
        let deadline = Instant::now() + self.config.timeout;
        let timed_out = |question: Option<Question>| {
            let question = question.map(|question| question_text(&question.name, question.rtype));
            Outcome::fault(name, Fault::failure(LookupFailure::Timeout, Detail::NoReply { question }), clock.now())
        };
        match &ground.way {
            Way::Validate { prover, trust } => {
                let admission = match self.breaker.admit(name) {
                    Ok(admission) => admission,
                    Err(suspended) => return Outcome::suspended(name, text(&suspended.zone), clock.now()),
                };
                let Ok(_turn) = timeout_at(deadline, self.turns.acquire()).await else { return timed_out(None) };
                match prover.look_up(&Job { trust, name, clock, deadline, log }).await {
                    End::Found { outcome, zone } => {
                        // The transport may have given up before the look-up does: that is no answer, and not certain to be the zone's fault.
                        if !matches!(outcome.answer, TlsaAnswer::Indeterminate(LookupFailure::Timeout)) {
                            admission.answered(zone.as_ref());
                        }
                        outcome
                    }
                    End::TimeOut { question, zone } => {
                        match &zone {
                            Some(zone) => admission.slow(zone),
                            None => admission.unclear(),
                        }
                        timed_out(question)
                    }
                }
            }
            Way::AdBit(ad_bit) => {
                let Ok(_turn) = timeout_at(deadline, self.turns.acquire()).await else { return timed_out(None) };
                let found = timeout_at(deadline, ad_bit.look_up(name, clock, log)).await;
                found.unwrap_or_else(|_| timed_out(Some(Question { name: name.clone(), rtype: Rtype::TLSA })))
            }
        }
    }
}

/// What was found, now or earlier; `trace` says how.
fn lookup(outcome: Outcome, trace: Trace) -> Lookup {
    let Outcome { answer, good_until, end, links, zones, wildcard, detail } = outcome;
    let good_until = Some(good_until);
    Lookup { answer, trace: Trace { final_owner: end, links, zones, wildcard, good_until, detail, ..trace } }
}

/// Runs `work` in a task of its own, which does not outlive the one that waits for it. `None` if it panicked.
async fn isolated<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let mut task = AbortOnDrop(tokio::spawn(work));
    let result = (&mut task.0).await;
    if result.is_err() {
        tracing::error!("the validator panicked; the look-up counts as failed");
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
