//! What the tests share: a prover over a world, without network.
#![allow(clippy::unwrap_used, dead_code, reason = "test code; not every test file uses all of it")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dance_core::UnixTime;
use dance_core::answer::{LinkState, LookupFailure};
use dance_dnssec::{Anchors, Budget, DnsName, Found, Known, Proof, Proving, Question, Step, ZoneFact};
use dance_testkit::SignedWorld;
use domain::base::iana::{OptRcode, Rtype};
use domain::base::{Message, MessageBuilder};

/// Some TLSA record.
pub(crate) const RECORD: &str = "3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

pub(crate) fn name(text: &str) -> DnsName {
    format!("{}.", text.trim_end_matches('.')).parse().unwrap()
}

pub(crate) fn now() -> UnixTime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    UnixTime::since_unix_epoch(Duration::from_secs(now))
}

/// The time this many seconds from `now`.
pub(crate) fn after(now: UnixTime, seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().saturating_add_signed(seconds)))
}

/// Facts by name, as a caller keeps them.
#[derive(Default)]
pub(crate) struct Memory(pub(crate) HashMap<DnsName, ZoneFact>);

impl Known for Memory {
    fn zone(&self, name: &DnsName) -> Option<ZoneFact> {
        self.0.get(name).cloned()
    }
}

/// Looks up names in a world, question by question.
pub(crate) struct Prover<'a> {
    world: &'a SignedWorld,
    anchors: Arc<Anchors>,
    pub(crate) memory: Memory,
    pub(crate) now: UnixTime,
    pub(crate) budget: Budget,
    /// Replies that are not the world's.
    pub(crate) instead: HashMap<(DnsName, Rtype), Result<Message<Bytes>, LookupFailure>>,
}

/// A proof and how it was reached.
pub(crate) struct Run {
    pub(crate) proof: Proof,
    /// The questions of each step.
    pub(crate) rounds: Vec<Vec<Question>>,
}

impl Run {
    /// One word: S secure, SX and SN denied, I insecure, B bogus, T a look-up failure.
    pub(crate) fn code(&self) -> &'static str {
        match (self.proof.state, &self.proof.found) {
            (LinkState::Secure, Found::Records(_)) => "S",
            (LinkState::Secure, Found::Nxdomain) => "SX",
            (LinkState::Secure, Found::Nodata) => "SN",
            (LinkState::Secure, Found::Nothing) => "?",
            (LinkState::Insecure, _) => "I",
            (LinkState::Bogus, _) => "B",
            (LinkState::Indeterminate, _) => "T",
        }
    }

    pub(crate) fn questions(&self) -> usize {
        self.rounds.iter().map(Vec::len).sum()
    }

    /// What is wrong, in words.
    pub(crate) fn failure(&self) -> String {
        self.proof.failure.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    pub(crate) fn tell(&self) -> String {
        let mut text = format!("{} {}", self.code(), self.failure());
        for round in &self.rounds {
            let _ = write!(text, "\n  {}", round.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        }
        text
    }
}

impl<'a> Prover<'a> {
    pub(crate) fn new(world: &'a SignedWorld) -> Self {
        Self {
            world,
            anchors: Arc::new(Anchors::parse(world.trust_anchor_text()).unwrap()),
            memory: Memory::default(),
            now: now(),
            budget: Budget::default(),
            instead: HashMap::new(),
        }
    }

    pub(crate) fn with_anchors(mut self, text: &str) -> Self {
        self.anchors = Arc::new(Anchors::parse(text).unwrap());
        self
    }

    pub(crate) fn proving(&self, owner: &str) -> Proving {
        Proving::new(Arc::clone(&self.anchors), name(owner), self.budget)
    }

    /// The world's reply.
    pub(crate) fn ask(&self, question: &Question) -> Result<Message<Bytes>, LookupFailure> {
        if let Some(reply) = self.instead.get(&(question.name.clone(), question.rtype)) {
            return reply.clone();
        }
        let octets = self.world.answer(&query(question)).ok_or(LookupFailure::Timeout)?;
        let message = Message::from_octets(Bytes::from(octets)).map_err(|_| LookupFailure::Malformed)?;
        match message.opt_rcode() {
            OptRcode::NOERROR | OptRcode::NXDOMAIN => Ok(message),
            OptRcode::SERVFAIL => Err(LookupFailure::Servfail),
            _ => Err(LookupFailure::Refused),
        }
    }

    /// To the end, with the replies of each step given in one go; what was learnt is remembered.
    pub(crate) fn run(&mut self, owner: &str) -> Run {
        let mut proving = self.proving(owner);
        let mut rounds = Vec::new();
        loop {
            let questions = match proving.step(self.now, &self.memory) {
                Step::Done(proof) => {
                    self.remember(&mut proving);
                    return Run { proof: *proof, rounds };
                }
                Step::Ask(questions) => questions,
            };
            assert!(!questions.is_empty(), "{owner}: nothing asked, and not done");
            for question in &questions {
                match self.ask(question) {
                    Ok(message) => proving.reply(question, &message),
                    Err(failure) => proving.failed(question, failure),
                }
            }
            rounds.push(questions);
        }
    }

    pub(crate) fn remember(&mut self, proving: &mut Proving) {
        for fact in proving.learnt() {
            self.memory.0.insert(fact.name().clone(), fact);
        }
    }
}

pub(crate) fn query(question: &Question) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_rd(true);
    builder.header_mut().set_cd(true);
    let mut builder = builder.question();
    builder.push((&question.name, question.rtype)).unwrap();
    let mut builder = builder.additional();
    builder
        .opt(|opt| {
            opt.set_udp_payload_size(1232);
            opt.set_dnssec_ok(true);
            Ok(())
        })
        .unwrap();
    builder.finish()
}
