//! The one driver of the decision procedure: gateway, middleware, auth service and diagnosis all call [`Verifier::verify`], so
//! that they cannot disagree.

use std::net::IpAddr;
use std::sync::Arc;

use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_core::verdict::{Decision, NeedTlsa, Presented, Settings, Step};
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::limits::{Entries, InFlight, Limits, LimitsError, Permit};
use crate::source::{Lookup, TlsaSource, Trace};

/// Takes presented clients to verdicts, within limits. Cheap to share behind an [`Arc`].
pub struct Verifier<S> {
    settings: Arc<Settings>,
    source: Arc<S>,
    limits: Limits,
    in_flight: Arc<InFlight>,
    entries: Arc<Entries>,
    clock: Clock,
}

/// A decision, and how the answer it rests on was found.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What to do with the connection, and why.
    pub decision: Decision,
    /// How the answer was found; `None` where DNS was not asked, or did not answer within the driver's budget.
    pub trace: Option<Trace>,
}

impl<S: TlsaSource> Verifier<S> {
    /// A driver with counters of its own.
    ///
    /// # Errors
    /// The limits make no sense.
    pub fn new(settings: Arc<Settings>, source: Arc<S>, limits: Limits) -> Result<Self, LimitsError> {
        limits.validate()?;
        Ok(Self {
            entries: Arc::new(Entries::new(settings.allow_list.patterns().len(), &limits)),
            in_flight: Arc::new(InFlight::new(&limits)),
            settings,
            source,
            limits,
            clock: Clock::default(),
        })
    }

    /// The driver for another listener, or for new settings of the same one: it shares source, clock and limits, and counts look-ups
    /// in flight, in total and for each address, together with this one. Allow-list entries are counted for each listener.
    #[must_use]
    pub fn with_settings(&self, settings: Arc<Settings>) -> Self {
        Self {
            entries: Arc::new(Entries::new(settings.allow_list.patterns().len(), &self.limits)),
            settings,
            source: Arc::clone(&self.source),
            limits: self.limits,
            in_flight: Arc::clone(&self.in_flight),
            clock: self.clock.clone(),
        }
    }

    /// Reads the time from `clock`; for tests.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The settings it decides by.
    #[must_use]
    pub const fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Where it looks names up.
    #[must_use]
    pub const fn source(&self) -> &Arc<S> {
        &self.source
    }

    /// Steps 5 to 17 of requirements 4.2 for what a client at `peer` presented and proved possession of.
    ///
    /// Dropping the future gives up the look-up and frees its place. An answer in the source's cache takes no place: nothing is in
    /// flight for it. Must be called within a tokio runtime.
    pub async fn verify(&self, presented: &Presented, peer: IpAddr) -> Verified {
        let started = Instant::now();
        let need = match self.settings.start(presented) {
            Step::Done(decision) => return Verified { decision, trace: None },
            Step::NeedTlsa(need) => need,
        };
        if let Some(lookup) = self.source.cached(need.owner_name()) {
            return self.decide(need, lookup);
        }
        let permit = match Permit::acquire(&self.in_flight, &self.entries, peer, need.allow_list_entry()) {
            Ok(permit) => permit,
            Err(limit) => return Verified { decision: need.limit_exceeded(limit), trace: None },
        };
        let lookup = timeout_at(started + self.limits.lookup, self.source.lookup(need.owner_name())).await;
        drop(permit);
        // A runtime that is late by more than the difference of the budgets has no time left to match.
        if started.elapsed() >= self.limits.check {
            return Verified { decision: need.timed_out(), trace: None };
        }
        match lookup {
            Ok(lookup) => self.decide(need, lookup),
            Err(_) => {
                let answer = TlsaAnswer::Indeterminate(LookupFailure::Timeout);
                Verified { decision: need.answer(&answer, self.clock.now(), crate::path_builder()), trace: None }
            }
        }
    }

    fn decide(&self, need: NeedTlsa<'_>, lookup: Lookup) -> Verified {
        let decision = need.answer(&lookup.answer, self.clock.now(), crate::path_builder());
        Verified { decision, trace: Some(lookup.trace) }
    }
}

impl<S> std::fmt::Debug for Verifier<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("limits", &self.limits).finish_non_exhaustive()
    }
}
