//! One question on its way to its proof: what is asked first, and what the links come to together.

use std::sync::Arc;

use bytes::Bytes;
use dance_core::UnixTime;
use dance_core::answer::{
    LinkState, LinkTimes, LookupFailure, MAX_FAILURE_CACHE, MAX_NEGATIVE_CACHE, MAX_RECORDS, TlsaAnswer,
};
use dance_core::tlsa::TlsaRdata;
use domain::base::Message;
use domain::base::iana::{Rcode, Rtype};

use crate::anchors::Anchors;
use crate::answer::Judged;
use crate::budget::{Budget, BudgetKind, Cost};
use crate::fact::{Known, ZoneFact, ZoneKind};
use crate::failure::Failure;
use crate::message::{Chain, ChainError, Rrset};
use crate::proof::{AnswerLink, Found, Proof, ZoneLink};
use crate::question::{DnsName, Question};
use crate::time::unix;
use crate::walk::{Machine, Place, Present, Reach};

/// Names above the owner that are asked about together with the first question, if nothing is known near it.
const MAX_AHEAD: usize = 4;
/// A known zone with this many labels is near enough to the owner: devices live in organisations' zones, not in the root or a TLD.
const NEAR: usize = 2;

/// One TLSA question on its way to its proof.
#[derive(Debug)]
pub struct Proving {
    question: Question,
    machine: Machine,
    /// The TLSA reply.
    reply: Option<Result<Arc<Chain>, Failure>>,
    /// The verdicts on its links, and on the denial at its end.
    judged: Vec<Option<Judged>>,
    started: bool,
    /// The name up to which zones were asked for beforehand.
    ahead: Option<DnsName>,
}

/// What [`Proving::step`] comes to.
#[derive(Debug)]
pub enum Step {
    /// Ask these too, all at once, and come back with any reply. Empty: wait for those already asked.
    Ask(Vec<Question>),
    /// The end.
    Done(Box<Proof>),
}

impl Proving {
    /// The question for the TLSA RRset at `owner`.
    #[must_use]
    pub fn new(anchors: Arc<Anchors>, owner: DnsName, budget: Budget) -> Self {
        Self {
            question: Question { name: owner, rtype: Rtype::TLSA },
            machine: Machine::new(anchors, budget),
            reply: None,
            judged: Vec::new(),
            started: false,
            ahead: None,
        }
    }

    /// Goes as far as it can with what is there.
    pub fn step(&mut self, now: UnixTime, known: &impl Known) -> Step {
        let present = Present { now, known };
        if !self.started {
            self.started = true;
            self.start(present);
        }
        match self.advance(present) {
            Some(proof) => Step::Done(Box::new(proof)),
            None => Step::Ask(self.machine.replies.take_wanted()),
        }
    }

    /// Takes the reply to a question; its code must be NOERROR or NXDOMAIN.
    pub fn reply(&mut self, question: &Question, message: &Message<Bytes>) {
        let limit = self.machine.ledger.budget.reply_octets;
        if *question == self.question {
            if self.reply.is_none() {
                self.reply = Some(match self.machine.replies.has_room(message, limit) {
                    true => self.read(message),
                    false => Err(self.question.too_much(BudgetKind::ReplyOctets)),
                });
            }
        } else {
            self.machine.replies.reply(question, message, limit);
        }
    }

    /// Takes the news that a question has no answer. It matters only if the proof turns out to need one.
    pub fn failed(&mut self, question: &Question, failure: LookupFailure) {
        if *question == self.question {
            let question = self.question.clone();
            self.reply.get_or_insert(Err(Failure::LookUp { question, failure }));
        } else {
            self.machine.replies.failed(question, failure);
        }
    }

    /// What was proven about zones since the last call, for the caller's memory.
    pub fn learnt(&mut self) -> Vec<ZoneFact> {
        std::mem::take(&mut self.machine.learnt)
    }

    /// Whom to blame for silence: the deepest name proven to be a zone cut, signed or not, at or above the owner, once it is certain that
    /// the questions which stay unanswered, the TLSA question or those for the zone's own keys, belong to that zone. Never the root.
    pub fn slow_zone(&mut self, now: UnixTime, known: &impl Known) -> Option<DnsName> {
        let walk = self.machine.walk(&self.question.name, Reach::Nothing, Present { now, known });
        let certain = match walk.place {
            Place::Waiting { asked } => asked,
            // The zone has said what it is; whether it says more, the answer tells.
            _ => !matches!(self.reply, Some(Ok(_))),
        };
        walk.cut.filter(|cut| certain && !cut.is_root())
    }

    /// DS questions that make [`Proving::slow_zone`] certain, to be asked when the TLSA reply is late; they count as asked.
    pub fn locate(&mut self, now: UnixTime, known: &impl Known) -> Vec<Question> {
        self.machine.walk(&self.question.name, Reach::Locate, Present { now, known });
        self.machine.replies.take_wanted()
    }

    /// Asks for the TLSA RRset and, if no zone near it is known, for the keys of the zones that are probably above it.
    fn start(&mut self, present: Present<'_>) {
        let owner = self.question.name.clone();
        let limit = self.machine.ledger.budget.questions;
        let _ = self.machine.replies.want(&owner, Rtype::TLSA, limit);
        let Some(anchor) = self.machine.anchors.closest(&owner).cloned() else { return };
        let settled = |name: &DnsName| {
            let fact = self.machine.fact(name, present).filter(|fact| fact.kind() != ZoneKind::NotAZone);
            fact.is_some_and(|fact| fact.kind() != ZoneKind::Keys || name.label_count() > NEAR)
        };
        let above: Vec<DnsName> = owner.iter_suffixes().skip(1).take_while(|name| name.ends_with(&anchor)).collect();
        if above.iter().any(settled) {
            return;
        }
        // Underscore labels are no zones' names, most of the time.
        let hosts = above.iter().rev().take_while(|name| name.first().as_slice().first() != Some(&b'_'));
        self.ahead = hosts.take(1 + MAX_AHEAD).last().cloned();
        if let Some(ahead) = &self.ahead {
            self.machine.walk(ahead, Reach::Signer, present);
        }
    }

    /// Takes the TLSA reply apart.
    fn read(&self, message: &Message<Bytes>) -> Result<Arc<Chain>, Failure> {
        let malformed = || Failure::Malformed { question: self.question.clone() };
        match Chain::follow(message, &self.question.name) {
            Ok(chain) if chain.tlsa.is_some() && message.header().rcode() == Rcode::NXDOMAIN => Err(malformed()),
            Ok(chain) => Ok(Arc::new(chain)),
            Err(ChainError::Malformed) => Err(malformed()),
            Err(ChainError::TooMuch) => Err(self.question.too_much(BudgetKind::Records)),
            Err(ChainError::AliasLimit(owner)) => Err(Failure::AliasLimit { owner }),
        }
    }

    /// Judges what can be judged; the proof, once that is all.
    fn advance(&mut self, present: Present<'_>) -> Option<Proof> {
        let chain = match &self.reply {
            // The time until the reply comes is well spent on the zones above.
            None => {
                if let Some(ahead) = &self.ahead {
                    self.machine.walk(ahead, Reach::Nothing, present);
                }
                return None;
            }
            Some(Err(failure)) => return Some(self.unanswered(failure.clone(), present)),
            Some(Ok(chain)) => Arc::clone(chain),
        };
        let parts = chain.aliases.len() + 1;
        self.judged.resize(parts, None);
        for (index, judged) in self.judged.iter_mut().enumerate() {
            if judged.as_ref().is_some_and(|judged| judged.window.holds(present.now.as_secs())) {
                continue;
            }
            let set = chain.aliases.get(index).or(chain.tlsa.as_ref());
            *judged = match set {
                Some(set) => self.machine.judge(set, &chain.authority, present),
                None => self.machine.judge_denial(&chain, &self.question, present),
            };
        }
        let judged: Vec<Judged> = self.judged.iter().cloned().collect::<Option<_>>()?;
        Some(self.conclude(&chain, &judged, present))
    }

    /// The proof when there is no chain to judge.
    fn unanswered(&self, failure: Failure, present: Present<'_>) -> Proof {
        let owner = match &failure {
            Failure::AliasLimit { owner } => owner.clone(),
            _ => self.question.name.clone(),
        };
        Proof {
            state: Judged::failed(failure.clone()).state,
            found: Found::Nothing,
            owner,
            links: Vec::new(),
            zones: Vec::new(),
            valid_until: later(present.now, MAX_FAILURE_CACHE.as_secs()),
            ttl: 0,
            wildcard: None,
            failure: Some(failure),
            cost: self.cost(),
            last: LinkTimes { ttl: 0, original_ttl: None, signature_expiry: None },
        }
    }

    /// What the verdicts on all links come to.
    fn conclude(&self, chain: &Chain, judged: &[Judged], present: Present<'_>) -> Proof {
        let state = judged.iter().map(|judged| judged.state).max().unwrap_or(LinkState::Indeterminate);
        let worst = judged.iter().find(|judged| judged.state == state);
        let denied = judged.last().and_then(|judged| judged.denied.clone());
        let until = judged.iter().map(|judged| judged.window.until).min().unwrap_or_default();
        let mut zones: Vec<ZoneLink> = Vec::new();
        let owners = chain.links().map(|set| &set.owner).chain([&chain.end]);
        for (judged, owner) in judged.iter().zip(owners) {
            // Where the chain itself fails, as far as it holds.
            let partial = judged.failure.is_some() && judged.chain.is_empty();
            let links = if partial { self.machine.proven_towards(owner, present) } else { judged.chain.clone() };
            for link in links {
                if !zones.contains(&link) {
                    zones.push(link);
                }
            }
        }
        let links: Vec<AnswerLink> = chain.links().zip(judged).map(|(set, judged)| answer_link(set, judged)).collect();
        let last = LinkTimes {
            ttl: chain.tlsa.as_ref().map(|tlsa| tlsa.ttl).or(denied.as_ref().map(|(_, ttl)| *ttl)).unwrap_or(0),
            original_ttl: links.last().filter(|_| chain.tlsa.is_some()).and_then(|link| link.original_ttl),
            signature_expiry: (until < u64::MAX).then(|| unix(until)),
        };
        let found = match (&chain.tlsa, denied) {
            _ if state != LinkState::Secure => Found::Nothing,
            // One more than can be usable, so that the core sees the excess and memory does not grow with it.
            (Some(tlsa), _) => {
                Found::Records(tlsa.data.iter().take(MAX_RECORDS + 1).map(|data| TlsaRdata::from_wire(data)).collect())
            }
            (None, Some((found, _))) => found,
            (None, None) => Found::Nothing,
        };
        let mut proof = Proof {
            state,
            found,
            owner: chain.end.clone(),
            ttl: links.iter().map(|link| link.ttl).chain([last.ttl]).min().unwrap_or(0),
            links,
            zones,
            valid_until: later(present.now, MAX_FAILURE_CACHE.as_secs()),
            wildcard: judged.iter().rev().find_map(|judged| judged.wildcard.clone()),
            failure: worst.and_then(|worst| worst.failure.clone()),
            cost: self.cost(),
            last,
        };
        match proof.to_answer(present.now) {
            TlsaAnswer::Secure(secure) => proof.valid_until = secure.valid_until,
            TlsaAnswer::Denied(denial) => proof.valid_until = denial.valid_until,
            // Unsigned data has nothing but TTLs, and is kept no longer than a denial.
            TlsaAnswer::Insecure => {
                let ttl = chain.links().chain(&chain.authority).map(|set| set.ttl).min().unwrap_or(0);
                let limit = later(present.now, u64::from(ttl).min(MAX_NEGATIVE_CACHE.as_secs()));
                proof.valid_until = limit.min(unix(until));
            }
            TlsaAnswer::Bogus | TlsaAnswer::Indeterminate(_) => {}
        }
        proof
    }

    fn cost(&self) -> Cost {
        Cost { questions: self.machine.replies.count(), ..self.machine.ledger.cost }
    }
}

fn answer_link(set: &Rrset, judged: &Judged) -> AnswerLink {
    let valid = judged.signed.as_ref().map(|(_, valid)| valid);
    AnswerLink {
        owner: set.owner.clone(),
        rtype: set.rtype,
        state: Some(judged.state),
        signed: set.is_signed(),
        signer: judged.signed.as_ref().map(|(zone, _)| zone.clone()),
        key_tag: valid.map(|valid| valid.key_tag),
        algorithm: valid.map(|valid| valid.algorithm),
        ttl: set.ttl,
        original_ttl: valid.map(|valid| valid.original_ttl),
        expiry: valid.map(|valid| unix(valid.window.until)),
        wildcard: judged.wildcard.is_some(),
    }
}

fn later(now: UnixTime, seconds: u64) -> UnixTime {
    unix(now.as_secs().saturating_add(seconds))
}
