//! The machine: from one question to its proof.

use std::sync::Arc;

use bytes::Bytes;
use dance_core::UnixTime;
use dance_core::answer::{LinkState, LinkTimes, LookupFailure};
use domain::base::Message;

use crate::anchors::Anchors;
use crate::budget::{Budget, Cost};
use crate::fact::{Known, ZoneFact};
use crate::failure::Failure;
use crate::proof::{Found, Proof};
use crate::question::{DnsName, Question};

/// One TLSA question on its way to its proof.
#[derive(Debug)]
pub struct Proving {
    anchors: Arc<Anchors>,
    owner: DnsName,
    budget: Budget,
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
        Self { anchors, owner, budget }
    }

    /// Goes as far as it can with what is there.
    pub fn step(&mut self, now: UnixTime, known: &impl Known) -> Step {
        let _ = (known, &self.anchors, &self.budget);
        Step::Done(Box::new(Proof {
            state: LinkState::Indeterminate,
            found: Found::Nothing,
            owner: self.owner.clone(),
            links: Vec::new(),
            zones: Vec::new(),
            valid_until: now,
            ttl: 0,
            wildcard: None,
            failure: Some(Failure::NoTrustAnchor { owner: self.owner.clone() }),
            cost: Cost::default(),
            last: LinkTimes { ttl: 0, original_ttl: None, signature_expiry: None },
        }))
    }

    /// Takes the reply to a question; its code must be NOERROR or NXDOMAIN.
    pub fn reply(&mut self, question: &Question, message: &Message<Bytes>) {
        let _ = (question, message);
    }

    /// Takes the news that a question has no answer. It matters only if the proof turns out to need one.
    pub fn failed(&mut self, question: &Question, failure: LookupFailure) {
        let _ = (question, failure);
    }

    /// What was proven about zones since the last call, for the caller's memory.
    pub fn learnt(&mut self) -> Vec<ZoneFact> {
        Vec::new()
    }

    /// Whom to blame for silence: the deepest name proven to be a zone cut, signed or not, at or above the owner, once it is certain that
    /// the questions which stay unanswered belong to that zone. Never the root.
    pub fn slow_zone(&mut self, now: UnixTime, known: &impl Known) -> Option<DnsName> {
        let _ = (now, known);
        None
    }

    /// DS questions that make [`Proving::slow_zone`] certain, to be asked when the TLSA reply is late; they count as asked.
    pub fn locate(&mut self, now: UnixTime, known: &impl Known) -> Vec<Question> {
        let _ = (now, known);
        Vec::new()
    }
}
