//! Validation in this process: asks for what a proof needs, until it is done.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dance_core::answer::{LinkState, LookupFailure, MAX_FAILURE_CACHE};
use dance_dnssec::{Anchors, Budget, Chain, Cost, DnsName, Known, Proof, Proving, Question, Step, ZoneFact, ZoneKind};
use domain::base::iana::Rtype;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use crate::clock::Clock;
use crate::fetch::{Answer, Fetch, Keep};
use crate::outcome::{Fault, Outcome};
use crate::upstream::{ExchangeLog, Upstream};
use crate::zones::Zones;

/// When no answer to the TLSA question has come by then, it is found out which zone keeps silent, so that its silence can be held against it. More than
/// a resolver's usual cold look-up takes, and early enough to know the zone before the time is over.
const LATE: Duration = Duration::from_millis(500);
/// When none has come by then either, it is found out whether the name is an alias, as a zone in which many have names is not suspended for that one
/// of them leads to servers that keep silent; and whether the resolver answers at all: it knows the trust anchor's keys, whoever keeps silent.
const VERY_LATE: Duration = Duration::from_millis(1500);

/// What validation rests on: the anchors, and what has been proven from them.
pub(crate) struct Trust {
    pub(crate) anchors: Arc<Anchors>,
    pub(crate) zones: Zones,
}

/// The validating way to an answer.
pub(crate) struct Prover {
    fetch: Fetch,
    afresh: Afresh,
}

/// What is to be proven, and within which bounds.
pub(crate) struct Job<'a> {
    pub(crate) trust: &'a Trust,
    pub(crate) name: &'a DnsName,
    pub(crate) clock: &'a Clock,
    pub(crate) deadline: Instant,
    /// Takes down what is sent.
    pub(crate) log: &'a Arc<ExchangeLog>,
}

/// How a look-up ends.
pub(crate) enum End {
    Found {
        outcome: Outcome,
        /// The deepest zone cut above the name, if it was seen.
        zone: Option<DnsName>,
    },
    /// The time is over.
    TimeOut {
        /// What was not answered.
        question: Option<Question>,
        /// The zone whose servers keep silent, if it is certain.
        zone: Option<DnsName>,
    },
}

impl Prover {
    pub(crate) fn new(upstream: Arc<Upstream>) -> Self {
        Self { fetch: Fetch::new(upstream), afresh: Afresh::default() }
    }

    /// Asks and validates until the deadline.
    pub(crate) async fn look_up(&self, job: &Job<'_>) -> End {
        let mut account = Account::default();
        let memory = Memory::new(&job.trust.zones);
        let mut result = self.prove(job, &memory, Budget::default(), &mut account).await;
        // What was remembered may have been overtaken, by a key rollover for one: that makes no answer Bogus.
        if let Ok(proof) = &result
            && proof.state == LinkState::Bogus
            && memory.had_a_part()
            && self.afresh.may_be(signing_zone(proof))
        {
            let rest = rest(Budget::default(), &proof.cost);
            account.failed.clear();
            result = self.prove(job, &(), rest, &mut account).await;
        }
        account.failed.drain(..).for_each(|fact| job.trust.zones.insert(fact));
        match result {
            Ok(proof) => End::Found {
                outcome: Outcome::proven(&proof, &account, job.clock.now()),
                zone: zone_of(job.name, &proof),
            },
            Err(Stopped::Stuck) => {
                End::Found { outcome: Outcome::fault(job.name, Fault::validator_failed(), job.clock.now()), zone: None }
            }
            Err(Stopped::TimeOut { question, zone }) => End::TimeOut { question, zone },
        }
    }

    async fn prove(
        &self,
        job: &Job<'_>,
        known: &(impl Known + Sync),
        budget: Budget,
        account: &mut Account,
    ) -> Result<Box<Proof>, Stopped> {
        let mut proving = Proving::new(Arc::clone(&job.trust.anchors), job.name.clone(), budget);
        let mut open = Open::default();
        let started = Instant::now();
        let (mut late_at, mut very_late_at) = (Some(started + LATE), Some(started + VERY_LATE));
        // Whether the name is an alias: then its zone has spoken, and the silence is that of others.
        let mut is_alias = false;
        let mut witnesses = FuturesUnordered::new();
        loop {
            let step = proving.step(job.clock.now(), known);
            for fact in proving.learnt() {
                match fact.kind() {
                    // Not yet: another try may find otherwise.
                    ZoneKind::Failed => account.failed.push(fact),
                    ZoneKind::Keys | ZoneKind::Unsigned | ZoneKind::NotAZone => job.trust.zones.insert(fact),
                }
            }
            match step {
                // What is still open was asked for in case it should be needed.
                Step::Done(proof) => return Ok(proof),
                Step::Ask(questions) => open.ask(questions, self, job, account),
            }
            if open.asked.is_empty() {
                return Err(Stopped::Stuck);
            }
            tokio::select! {
                biased;
                // First: the transport gives up at about the same time, and what it says then does not tell whose fault it is.
                () = sleep_until(job.deadline) => {
                    let innocent = !open.heard || (is_alias && open.asks_for_tlsa());
                    let zone = if innocent { None } else { proving.slow_zone(job.clock.now(), known) };
                    return Err(Stopped::TimeOut { question: open.asked.into_iter().next(), zone });
                }
                Some(answered) = open.answers.next() => {
                    open.take(answered, &mut proving, self, job, account);
                    while let Some(Some(answered)) = open.answers.next().now_or_never() {
                        open.take(answered, &mut proving, self, job, account);
                    }
                    // Each answer about the way down may show the next zone to ask about.
                    if late_at.is_none() && open.asks_for_tlsa() {
                        open.ask(proving.locate(job.clock.now(), known), self, job, account);
                    }
                }
                () = sleep_until(late_at.unwrap_or(job.deadline)), if late_at.is_some() => {
                    late_at = None;
                    if open.asks_for_tlsa() {
                        open.ask(proving.locate(job.clock.now(), known), self, job, account);
                    }
                }
                () = sleep_until(very_late_at.unwrap_or(job.deadline)), if very_late_at.is_some() => {
                    very_late_at = None;
                    if open.asks_for_tlsa() {
                        let alias = Question { name: job.name.clone(), rtype: Rtype::CNAME };
                        let anchor = job.trust.anchors.closest(job.name).cloned();
                        let keys = anchor.map(|name| Question { name, rtype: Rtype::DNSKEY });
                        for question in [Some(alias), keys].into_iter().flatten() {
                            let (answer, keep) = self.fetch.ask(&question, job.log);
                            account.keeps.extend(keep);
                            witnesses.push(answer.map(move |answer| (question.rtype, answer)));
                        }
                    }
                }
                Some((rtype, answer)) = witnesses.next() => {
                    open.hear(&answer);
                    if rtype == Rtype::CNAME {
                        let chain = answer.ok().and_then(|reply| Chain::follow(&reply.message, job.name).ok());
                        is_alias = chain.is_some_and(|chain| !chain.aliases.is_empty());
                    }
                }
            }
        }
    }
}

/// Why there is no proof.
enum Stopped {
    TimeOut {
        question: Option<Question>,
        zone: Option<DnsName>,
    },
    /// Nothing is asked, and nothing is proven.
    Stuck,
}

/// Questions under way.
#[derive(Default)]
struct Open {
    answers: FuturesUnordered<BoxFuture<'static, (Question, Answer)>>,
    /// Those of them, in the order in which they were asked.
    asked: Vec<Question>,
    /// Whether a resolver has said anything.
    heard: bool,
    /// Those that somebody else had asked before; whoever it was may have waited for most of the time that there is.
    joined: Vec<Question>,
    /// Those of them that were asked once more.
    again: Vec<Question>,
}

impl Open {
    fn ask(&mut self, questions: Vec<Question>, prover: &Prover, job: &Job<'_>, account: &mut Account) {
        for question in questions {
            let answer = match &account.tlsa {
                // A second try needs other keys, not another answer.
                Some((asked, answer)) if *asked == question => std::future::ready(answer.clone()).boxed(),
                _ => {
                    let (answer, keep) = prover.fetch.ask(&question, job.log);
                    match keep {
                        None if question.rtype != Rtype::TLSA => self.joined.push(question.clone()),
                        None => {}
                        Some(keep) => account.keeps.push(keep),
                    }
                    answer
                }
            };
            self.asked.push(question.clone());
            self.answers.push(answer.map(|answer| (question, answer)).boxed());
        }
    }

    fn take(
        &mut self,
        (question, answer): (Question, Answer),
        proving: &mut Proving,
        prover: &Prover,
        job: &Job<'_>,
        account: &mut Account,
    ) {
        self.hear(&answer);
        self.asked.retain(|asked| *asked != question);
        if is_silence(&answer) && self.joined.contains(&question) && !self.again.contains(&question) {
            self.again.push(question.clone());
            return self.ask(vec![question], prover, job, account);
        }
        if question.rtype == Rtype::TLSA {
            account.tlsa = Some((question.clone(), answer.clone()));
        }
        match answer {
            Ok(reply) => {
                account.servers.push((question.clone(), reply.server));
                proving.reply(&question, &reply.message);
            }
            Err(fault) => {
                proving.failed(&question, fault.lookup_failure());
                account.faults.push((question, fault));
            }
        }
    }

    fn hear(&mut self, answer: &Answer) {
        self.heard |= !is_silence(answer);
    }

    fn asks_for_tlsa(&self) -> bool {
        self.asked.iter().any(|question| question.rtype == Rtype::TLSA)
    }
}

/// Whether nobody has said anything.
fn is_silence(answer: &Answer) -> bool {
    let failure = answer.as_ref().err().map(Fault::lookup_failure);
    matches!(failure, Some(LookupFailure::Timeout | LookupFailure::Unreachable))
}

/// What a look-up has seen, to explain its end by.
#[derive(Default)]
pub(crate) struct Account {
    servers: Vec<(Question, SocketAddr)>,
    faults: Vec<(Question, Fault)>,
    tlsa: Option<(Question, Answer)>,
    /// Zones that were found to fail.
    failed: Vec<ZoneFact>,
    /// Answers that other look-ups share until this one ends.
    keeps: Vec<Keep>,
}

impl Account {
    /// Who answered a question.
    pub(crate) fn server(&self, question: &Question) -> Option<SocketAddr> {
        self.servers.iter().rfind(|(answered, _)| answered == question).map(|(_, server)| *server)
    }

    /// Why a question was not answered.
    pub(crate) fn fault(&self, question: &Question) -> Option<&Fault> {
        self.faults.iter().rfind(|(failed, _)| failed == question).map(|(_, fault)| fault)
    }
}

/// What is remembered, and whether it had a part in the proof.
struct Memory<'a> {
    zones: &'a Zones,
    helped: AtomicBool,
    failed: AtomicBool,
}

impl<'a> Memory<'a> {
    const fn new(zones: &'a Zones) -> Self {
        Self { zones, helped: AtomicBool::new(false), failed: AtomicBool::new(false) }
    }

    /// Whether the proof rests on what was remembered; not on the memory of a failure, which is as fresh as it is short.
    fn had_a_part(&self) -> bool {
        self.helped.load(Ordering::Relaxed) && !self.failed.load(Ordering::Relaxed)
    }
}

impl Known for Memory<'_> {
    fn zone(&self, name: &DnsName) -> Option<ZoneFact> {
        let fact = self.zones.zone(name)?;
        let part = if fact.kind() == ZoneKind::Failed { &self.failed } else { &self.helped };
        part.store(true, Ordering::Relaxed);
        Some(fact)
    }
}

/// The deepest zone whose keys a proof has come to.
fn signing_zone(proof: &Proof) -> DnsName {
    proof.zones.last().map_or_else(DnsName::root, |link| link.zone.clone())
}

/// The deepest zone cut above `name` in its chain of trust.
fn zone_of(name: &DnsName, proof: &Proof) -> Option<DnsName> {
    let cuts = proof.zones.iter().map(|link| &link.zone).filter(|zone| !zone.is_root() && name.ends_with(zone));
    cuts.max_by_key(|zone| zone.label_count()).cloned()
}

/// What a second try may cost: what the first one has left.
fn rest(budget: Budget, spent: &Cost) -> Budget {
    Budget {
        units: budget.units.saturating_sub(spent.units),
        failed_units: budget.failed_units.saturating_sub(spent.failed_units),
        nsec3_hashes: budget.nsec3_hashes.saturating_sub(spent.nsec3_hashes),
        questions: budget.questions.saturating_sub(spent.questions),
        ..budget
    }
}

/// Zones that were lately proven without memory: an answer that fails under the keys found then fails, and whoever holds a broken zone cannot have
/// all keys above it proven anew for each of its names.
#[derive(Default)]
struct Afresh(Mutex<HashMap<DnsName, Instant>>);

impl Afresh {
    /// How long what was found counts as fresh: as long as a failure is remembered.
    const FRESH: Duration = MAX_FAILURE_CACHE;
    /// Most zones that are kept in mind; beyond that, all are forgotten, and proven anew once more.
    const MAX_ZONES: usize = 1024;

    /// Whether keys may be proven anew for an answer of `zone`; if so, they count as fresh from now on.
    fn may_be(&self, zone: DnsName) -> bool {
        let now = Instant::now();
        // Held for a few operations on the map, which leave nothing half done.
        let mut zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if zones.get(&zone).is_some_and(|since| now < *since + Self::FRESH) {
            return false;
        }
        if zones.len() >= Self::MAX_ZONES {
            zones.retain(|_, since| now < *since + Self::FRESH);
        }
        if zones.len() >= Self::MAX_ZONES {
            zones.clear();
        }
        zones.insert(zone, now);
        true
    }
}
