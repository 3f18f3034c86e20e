//! The one driver of the decision procedure: gateway, middleware, auth service and diagnosis all call [`Verifier::verify`], so
//! that they cannot disagree. [`Verifier::resume`] and [`Verifier::recheck`] are the same procedure later in a client's life.

use std::net::IpAddr;
use std::sync::Arc;

use dance_core::UnixTime;
use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_core::ticket::{Ticket, TicketRefused};
use dance_core::verdict::{Decision, LimitExceeded, NeedTlsa, Presented, Settings, Step, Verdict, VerifiedClient};
use metrics::Gauge;
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::limits::{Limits, LimitsError, Permit, Places, Standing};
use crate::metrics::{CheckMetrics, in_flight};
use crate::source::{Lookup, TlsaSource, Trace};

/// Takes presented clients to verdicts, within limits. Cheap to share behind an [`Arc`].
pub struct Verifier<S> {
    settings: Arc<Settings>,
    source: Arc<S>,
    limits: Limits,
    places: Places,
    /// Those of re-checks, which take one of both.
    recheck_places: Places,
    clock: Clock,
    metrics: Arc<CheckMetrics>,
}

/// A decision, and how the answer it rests on was found.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What to do with the connection, and why.
    pub decision: Decision,
    /// How the answer was found; `None` where DNS was not asked, or did not answer within the driver's budget.
    pub trace: Option<Trace>,
}

/// What is left of a client on an open connection, for the check after the handshake.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// What it presented in a full handshake.
    Presented(Arc<Presented>),
    /// Who it was by its ticket: a resumed session has no chain.
    Resumed(Box<VerifiedClient>),
}

impl<S: TlsaSource> Verifier<S> {
    /// A driver with counters of its own.
    ///
    /// # Errors
    /// The limits make no sense.
    pub fn new(settings: Arc<Settings>, source: Arc<S>, limits: Limits) -> Result<Self, LimitsError> {
        limits.validate()?;
        let entries = settings.allow_list.patterns().len();
        Ok(Self {
            places: Places::new(entries, &limits, in_flight()),
            // Those take one of the others as well, and are counted there.
            recheck_places: Places::new(entries, &limits.for_rechecks(), Gauge::noop()),
            settings,
            source,
            limits,
            clock: Clock::default(),
            metrics: Arc::new(CheckMetrics::new()),
        })
    }

    /// The driver for another listener, or for new settings of the same one: it shares source, clock and limits, and counts look-ups
    /// in flight, in total and for each address, together with this one. Allow-list entries are counted for each listener.
    #[must_use]
    pub fn with_settings(&self, settings: Arc<Settings>) -> Self {
        let entries = settings.allow_list.patterns().len();
        Self {
            places: self.places.with_entries(entries, &self.limits),
            recheck_places: self.recheck_places.with_entries(entries, &self.limits.for_rechecks()),
            settings,
            source: Arc::clone(&self.source),
            limits: self.limits,
            clock: self.clock.clone(),
            metrics: Arc::clone(&self.metrics),
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

    /// The time, from the clock that it decides by.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// Step 2 of requirements 4.2: who the holder of a ticket is, by what is known already. Asks nobody and never waits, so that it can
    /// be called inside a handshake.
    ///
    /// # Errors
    /// [`TicketRefused`]: decline the ticket, and go on with a full handshake.
    pub fn resume(&self, ticket: &Ticket) -> Result<VerifiedClient, TicketRefused> {
        let lookup = self.source.cached(ticket.owner_name()).ok_or(TicketRefused::NoAnswer)?;
        self.settings.resume(ticket, &lookup.answer, self.now())
    }

    /// Step 18 of requirements 4.2, for when [`VerifiedClient::valid_until`] of a client at `peer` has passed: the whole procedure once
    /// more, on what is left of it. Only an authenticated client that has the identity it had may go on, until its new time; with every
    /// other verdict, under either policy, close the connection. As [`verify`](Self::verify) in all else, except that re-checks have no
    /// more than half of what each limit allows: new clients find room whatever becomes of those that are there.
    ///
    /// How often is the caller's: an answer of TTL 0 makes a time that has passed at once.
    pub async fn recheck(&self, evidence: &Evidence, peer: IpAddr) -> Verified {
        let step = match evidence {
            Evidence::Presented(presented) => self.settings.start(presented),
            Evidence::Resumed(client) => self.settings.start_again(client),
        };
        self.finish(step, |entry, standing| self.recheck_permits(peer, entry, standing)).await
    }

    /// Steps 5 to 17 of requirements 4.2 for what a client at `peer` presented and proved possession of.
    ///
    /// Dropping the future gives up the look-up and frees its place. An answer in the source's cache takes no place: nothing is in
    /// flight for it. Must be called within a tokio runtime.
    pub async fn verify(&self, presented: &Presented, peer: IpAddr) -> Verified {
        let acquire = |entry, standing| self.places.acquire(peer, entry, standing);
        self.finish(self.settings.start(presented), acquire).await
    }

    fn recheck_permits(&self, peer: IpAddr, entry: usize, standing: Standing) -> Result<[Permit; 2], LimitExceeded> {
        // Those who are known have no more of the re-checks' share, or together they would leave no room for new clients.
        let share = self.recheck_places.acquire(peer, entry, Standing::Stranger)?;
        Ok([share, self.places.acquire(peer, entry, standing)?])
    }

    /// From the name to the verdict, by a look-up that holds what `acquire` gives for an entry of the allow-list.
    async fn finish<P>(
        &self,
        step: Step<'_>,
        acquire: impl FnOnce(usize, Standing) -> Result<P, LimitExceeded>,
    ) -> Verified {
        let verified = self.check(step, acquire).await;
        self.metrics.verdict(&verified.decision.verdict);
        verified
    }

    async fn check<P>(
        &self,
        step: Step<'_>,
        acquire: impl FnOnce(usize, Standing) -> Result<P, LimitExceeded>,
    ) -> Verified {
        let started = Instant::now();
        let need = match step {
            Step::Done(decision) => return Verified { decision, trace: None },
            Step::NeedTlsa(need) => need,
        };
        if let Some(lookup) = self.source.cached(need.owner_name()) {
            return self.decide(need, lookup);
        }
        let standing = if self.source.is_in_use(need.owner_name()) { Standing::Known } else { Standing::Stranger };
        let permit = match acquire(need.allow_list_entry(), standing) {
            Ok(permit) => permit,
            Err(limit) => {
                self.metrics.refused(limit);
                return Verified { decision: need.limit_exceeded(limit), trace: None };
            }
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
                Verified { decision: need.answer(&answer, self.now(), crate::path_builder()), trace: None }
            }
        }
    }

    fn decide(&self, need: NeedTlsa<'_>, lookup: Lookup) -> Verified {
        let entry = need.allow_list_entry();
        let decision = need.answer(&lookup.answer, self.now(), crate::path_builder());
        if let (Verdict::Authenticated(client), Some(admitted_by)) =
            (&decision.verdict, self.settings.allow_list.patterns().get(entry))
        {
            self.source.note_use(client.owner_name(), admitted_by);
        }
        Verified { decision, trace: Some(lookup.trace) }
    }
}

impl<S> std::fmt::Debug for Verifier<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("limits", &self.limits).finish_non_exhaustive()
    }
}
