//! A look-up, and what may come of it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dance_core::UnixTime;
use dance_core::answer::{LinkState, LookupFailure, MAX_CACHE};
use dance_dnssec::{Anchors, Budget, DnsName, Found, Known, MAX_QUESTIONS, Proof, Proving, Question, Step, ZoneFact};
use data_encoding::BASE64;
use domain::base::Message;

use super::truth::Truth;
use super::{Checker, DNSKEY, Labels, Pool};

/// How the driver of a look-up behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    /// Seconds since 1970.
    pub(crate) now: u64,
    /// Answers come in some order that hangs on this number.
    pub(crate) order: usize,
    /// Whether the first answer is late, so that the zone which is to blame is looked for.
    pub(crate) late: bool,
}

/// The same trust anchors for both.
pub(crate) struct Trust {
    anchors: Arc<Anchors>,
    checkers: Vec<(Labels, u16, Vec<u8>)>,
}

fn labels(name: &DnsName) -> Labels {
    Labels::from_octets(name.as_slice())
}

impl Trust {
    /// From the DNSKEY records of the root, one on each line.
    pub(crate) fn parse(text: &str) -> Self {
        let checkers = text.lines().map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [".", _, "IN", "DNSKEY", flags, protocol, algorithm, key @ ..] = fields.as_slice() else {
                panic!("{line}")
            };
            let mut rdata = flags.parse::<u16>().unwrap().to_be_bytes().to_vec();
            rdata.extend([protocol, algorithm].map(|field| field.parse::<u8>().unwrap()));
            rdata.extend(BASE64.decode(key.concat().as_bytes()).unwrap());
            (Labels::from_octets(&[0]), DNSKEY, rdata)
        });
        Self { anchors: Arc::new(Anchors::parse(text).unwrap()), checkers: checkers.collect() }
    }

    /// One look-up, with an answer, or none, to each question; the answers go into the pool. Gives the proof, and what is learnt of zones.
    /// It must end, with each question asked once.
    pub(crate) fn look_up(
        &self,
        owner: &DnsName,
        course: Course,
        known: &impl Known,
        pool: &mut Pool,
        mut answer: impl FnMut(&Question) -> Option<Vec<u8>>,
    ) -> (Proof, Vec<ZoneFact>) {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(course.now));
        let mut proving = Proving::new(self.anchors.clone(), owner.clone(), Budget::default());
        let mut waiting: Vec<Question> = Vec::new();
        let mut asked = HashSet::new();
        loop {
            match proving.step(now, known) {
                Step::Done(proof) => return (*proof, proving.learnt()),
                Step::Ask(mut questions) => {
                    if course.late && pool.is_empty() {
                        questions.extend(proving.locate(now, known));
                    }
                    for question in questions {
                        assert!(asked.insert(question.clone()), "{owner}: asked twice for {question}");
                        assert!(asked.len() <= MAX_QUESTIONS, "{owner}: asks for ever");
                        waiting.push(question);
                    }
                }
            }
            assert!(!waiting.is_empty(), "{owner}: waits for nothing");
            if course.late {
                let slow = proving.slow_zone(now, known);
                assert!(
                    slow.is_none_or(|zone| owner.ends_with(&zone) && !zone.is_root()),
                    "{owner}: blames a stranger"
                );
            }
            let question = waiting.remove((course.order + asked.len()) % waiting.len());
            let Some(octets) = answer(&question) else {
                proving.failed(&question, LookupFailure::Timeout);
                continue;
            };
            pool.add(&octets);
            match Message::from_octets(Bytes::from(octets)) {
                Ok(message) if matches!(message.header().rcode().to_int(), 0 | 3) => proving.reply(&question, &message),
                Ok(_) => proving.failed(&question, LookupFailure::Servfail),
                Err(_) => proving.failed(&question, LookupFailure::Malformed),
            }
            // The first answer counts.
            proving.failed(&question, LookupFailure::Refused);
        }
    }

    /// That a verdict says nothing but the truth, that the checker finds the chain too, and that it will be there as long as is said.
    pub(crate) fn check(&self, owner: &DnsName, truth: &Truth, now: u64, proof: &Proof, pool: &Pool, case: &str) {
        let valid_until = proof.valid_until.as_secs();
        let found = match (&proof.state, &proof.found) {
            (LinkState::Secure, Found::Records(found)) => {
                let found: BTreeSet<Vec<u8>> = found.iter().map(|record| record.as_wire().to_vec()).collect();
                let (from, to) = (labels(owner), labels(&proof.owner));
                for at in [now, valid_until] {
                    let checker = Checker::new(pool, &self.checkers, u32::try_from(at).unwrap());
                    assert!(checker.confirms(&from, &to, &found), "{case}: no chain at {at}, now is {now}: {proof:?}");
                }
                Truth::Records(found)
            }
            (LinkState::Secure, Found::Nxdomain) => Truth::Nxdomain,
            (LinkState::Secure, Found::Nodata) => Truth::Nodata,
            (LinkState::Insecure, Found::Nothing) => Truth::Insecure,
            (LinkState::Bogus | LinkState::Indeterminate, Found::Nothing) => {
                assert!(proof.failure.is_some(), "{case}: no reason: {proof:?}");
                return;
            }
            _ => panic!("{case}: neither fish nor fowl: {proof:?}"),
        };
        assert!(now <= valid_until && valid_until <= now + MAX_CACHE.as_secs(), "{case}: {proof:?}");
        assert!(*truth == Truth::Evil || found == *truth, "{case}: the truth is {truth:?}, not {proof:?}");
    }
}
