//! Whatever is received, Secure is said only of what is so, and only with a chain of signatures that an independent checker finds too.
//!
//! Messages of a signed world are changed as somebody on the path can change them who also owns a properly signed zone of that world: bits
//! flipped, records left out, added, exchanged, given other owners and times, and forged ones signed by the key of that zone.

#![allow(clippy::unwrap_used, reason = "test code")]

#[path = "checker/mod.rs"]
mod checker;
#[path = "checker/forger.rs"]
mod forger;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use checker::{Checker, Labels, Pool};
use dance_core::UnixTime;
use dance_core::answer::{LinkState, LookupFailure, MAX_CACHE};
use dance_dnssec::{Anchors, Budget, DnsName, Found, Known, MAX_QUESTIONS, Proof, Proving, Question, Step, ZoneFact};
use dance_testkit::{Delegation, Denial, KeyKind, KeyRole, SignedWorld, Zone};
use data_encoding::{BASE64, HEXLOWER};
use domain::base::iana::Rtype;
use domain::base::{Message, MessageBuilder};
use forger::{Evil, Forger, Random};

/// What is so about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Truth {
    /// These records, as RDATA in hexadecimal.
    Records(BTreeSet<Vec<u8>>),
    Nxdomain,
    Nodata,
    Insecure,
    /// The attacker's own.
    Evil,
}

/// The TLSA record of the name with this number.
fn tlsa(number: u8) -> String {
    format!("3 1 1 {}", HEXLOWER.encode(&[number; 32]))
}

fn records(numbers: &[u8]) -> Truth {
    let rdata = |&number: &u8| [&[3, 1, 1][..], &[number; 32]].concat();
    Truth::Records(numbers.iter().map(rdata).collect())
}

/// The world, and what is so in it.
fn zones(evil: &Evil) -> Vec<Zone> {
    vec![
        Zone::new("test"),
        Zone::new("example.test")
            .tlsa("dev1._device.example.test", tlsa(1), 300)
            .tlsa("dev2._device.example.test", tlsa(2), 300)
            .tlsa("dev2._device.example.test", tlsa(3), 300)
            .tlsa("*._wild.example.test", tlsa(4), 300)
            .tlsa("exact._wild.example.test", tlsa(5), 300)
            .text("nodata._device 300 IN TXT here")
            .cname("alias._device.example.test", "dev1._device.example.test", 300)
            .cname("xzone._device.example.test", "dev1._device.ed.test", 300)
            .cname("tonx._device.example.test", "nx._device.ed.test", 300)
            .cname("toinsec._device.example.test", "dev1._device.plain.test", 300)
            .cname("*._wcname.example.test", "dev1._device.ed.test", 300)
            .dname("dn.example.test", "ed.test", 300),
        Zone::new("ed.test")
            .key(KeyKind::Ed25519)
            .denial(Denial::nsec3())
            .tlsa("dev1._device.ed.test", tlsa(11), 300)
            .tlsa("*._wild.ed.test", tlsa(12), 300)
            .tlsa("exact._wild.ed.test", tlsa(13), 300)
            .text("nodata._device 300 IN TXT here"),
        Zone::new("rsa.test").key(KeyKind::Rsa2048).denial(Denial::nsec3_iterations(5)).tlsa(
            "dev1._device.rsa.test",
            tlsa(21),
            300,
        ),
        Zone::new("roles.test")
            .keys(&[(KeyKind::P256, KeyRole::Ksk), (KeyKind::P256, KeyRole::Zsk)])
            .signatures(-3600, 1800)
            .tlsa("dev1._device.roles.test", tlsa(31), 300),
        Zone::new("optout.test")
            .denial(Denial::nsec3_opt_out())
            .tlsa("dev1._device.optout.test", tlsa(41), 300)
            .text("nodata._device 300 IN TXT here"),
        Zone::unsigned("unsig.optout.test").tlsa("dev1._device.unsig.optout.test", tlsa(51), 300),
        Zone::unsigned("plain.test").tlsa("dev1._device.plain.test", tlsa(52), 300).cname(
            "tosec._device.plain.test",
            "dev1._device.example.test",
            300,
        ),
        Zone::new("island.test").delegation(Delegation::NoDs).tlsa("dev1._device.island.test", tlsa(53), 300),
        Zone::new(Evil::ZONE)
            .given_keys(&[(&evil.key_text(), KeyRole::Csk)])
            .tlsa("dev1._device.evil.test", tlsa(66), 300)
            .tlsa("*._wild.evil.test", tlsa(66), 300),
    ]
}

fn truths() -> Vec<(&'static str, Truth)> {
    vec![
        ("dev1._device.example.test", records(&[1])),
        ("dev2._device.example.test", records(&[2, 3])),
        ("foo._wild.example.test", records(&[4])),
        ("exact._wild.example.test", records(&[5])),
        ("nodata._device.example.test", Truth::Nodata),
        ("_device.example.test", Truth::Nodata),
        ("nx._device.example.test", Truth::Nxdomain),
        ("alias._device.example.test", records(&[1])),
        ("xzone._device.example.test", records(&[11])),
        ("tonx._device.example.test", Truth::Nxdomain),
        ("toinsec._device.example.test", Truth::Insecure),
        ("foo._wcname.example.test", records(&[11])),
        ("dev1._device.dn.example.test", records(&[11])),
        ("foo._wild.dn.example.test", records(&[12])),
        ("dev1._device.ed.test", records(&[11])),
        ("foo._wild.ed.test", records(&[12])),
        ("exact._wild.ed.test", records(&[13])),
        ("nodata._device.ed.test", Truth::Nodata),
        ("a.b.nx._device.ed.test", Truth::Nxdomain),
        ("dev1._device.rsa.test", records(&[21])),
        ("nx._device.rsa.test", Truth::Nxdomain),
        ("dev1._device.roles.test", records(&[31])),
        ("nx._device.roles.test", Truth::Nxdomain),
        ("dev1._device.optout.test", records(&[41])),
        ("nodata._device.optout.test", Truth::Nodata),
        ("nx._device.optout.test", Truth::Insecure),
        ("dev1._device.unsig.optout.test", Truth::Insecure),
        ("dev1._device.plain.test", Truth::Insecure),
        ("nx._device.plain.test", Truth::Insecure),
        ("tosec._device.plain.test", Truth::Insecure),
        ("dev1._device.island.test", Truth::Insecure),
        ("nosuch.test", Truth::Nxdomain),
        ("dev1._device.evil.test", Truth::Evil),
        ("foo._wild.evil.test", Truth::Evil),
    ]
}

fn name(text: &str) -> DnsName {
    text.parse().unwrap()
}

fn labels(name: &DnsName) -> Labels {
    Labels::from_octets(name.as_slice())
}

/// The memory of a resolver.
#[derive(Default)]
struct Memory(RefCell<HashMap<DnsName, ZoneFact>>);

impl Known for Memory {
    fn zone(&self, name: &DnsName) -> Option<ZoneFact> {
        self.0.borrow().get(name).cloned()
    }
}

struct Setting {
    world: SignedWorld,
    anchors: Arc<Anchors>,
    checker_anchors: Vec<(Labels, u16, Vec<u8>)>,
    genuine: RefCell<BTreeMap<(DnsName, Rtype), Vec<u8>>>,
    now: u64,
}

impl Setting {
    async fn start(evil: &Evil) -> Self {
        let builder = zones(evil).into_iter().fold(SignedWorld::builder(), |builder, zone| builder.zone(zone));
        let world = builder.start().await.unwrap();
        let anchors = Arc::new(Anchors::parse(world.trust_anchor_text()).unwrap());
        let checker_anchors = world.trust_anchor_text().lines().map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [".", _, "IN", "DNSKEY", flags, protocol, algorithm, key @ ..] = fields.as_slice() else {
                panic!("{line}")
            };
            let mut rdata = flags.parse::<u16>().unwrap().to_be_bytes().to_vec();
            rdata.extend([protocol, algorithm].map(|field| field.parse::<u8>().unwrap()));
            rdata.extend(BASE64.decode(key.concat().as_bytes()).unwrap());
            (Labels::from_octets(&[0]), checker::DNSKEY, rdata)
        });
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        Self { anchors, checker_anchors: checker_anchors.collect(), genuine: RefCell::default(), now, world }
    }

    /// The world's answer.
    fn genuine(&self, name: &DnsName, rtype: Rtype) -> Vec<u8> {
        let mut genuine = self.genuine.borrow_mut();
        let answer = genuine.entry((name.clone(), rtype)).or_insert_with(|| {
            let mut builder = MessageBuilder::new_vec();
            builder.header_mut().set_rd(true);
            builder.header_mut().set_cd(true);
            let mut builder = builder.question();
            builder.push((name, rtype)).unwrap();
            let mut builder = builder.additional();
            builder
                .opt(|opt| {
                    opt.set_dnssec_ok(true);
                    Ok(())
                })
                .unwrap();
            self.world.answer(&builder.finish()).unwrap()
        });
        answer.clone()
    }

    /// One look-up, over messages that `tamper` has had in its hands; they go into the pool.
    fn prove(
        &self,
        owner: &str,
        now: u64,
        memory: &Memory,
        pool: &mut Pool,
        mut tamper: impl FnMut(&Question, Vec<u8>) -> Option<Vec<u8>>,
    ) -> Proof {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let mut proving = Proving::new(self.anchors.clone(), name(owner), Budget::default());
        let mut waiting: Vec<Question> = Vec::new();
        let mut asked = HashSet::new();
        let proof = loop {
            match proving.step(now, memory) {
                Step::Done(proof) => break *proof,
                Step::Ask(questions) => {
                    for question in questions {
                        assert!(asked.insert(question.clone()), "{owner}: asked twice for {question}");
                        assert!(asked.len() <= MAX_QUESTIONS, "{owner}: asks for ever");
                        waiting.push(question);
                    }
                }
            }
            assert!(!waiting.is_empty(), "{owner}: waits for nothing");
            let question = waiting.remove(0);
            match tamper(&question, self.genuine(&question.name, question.rtype)) {
                Some(octets) => {
                    pool.add(&octets);
                    match Message::from_octets(Bytes::from(octets)) {
                        Ok(message) if matches!(message.header().rcode().to_int(), 0 | 3) => {
                            proving.reply(&question, &message);
                        }
                        Ok(_) => proving.failed(&question, LookupFailure::Servfail),
                        Err(_) => proving.failed(&question, LookupFailure::Malformed),
                    }
                }
                None => proving.failed(&question, LookupFailure::Timeout),
            }
        };
        for fact in proving.learnt() {
            memory.0.borrow_mut().insert(fact.name().clone(), fact);
        }
        proof
    }

    /// That a verdict is no better than the truth, and that the checker finds the chain too.
    fn check(&self, owner: &str, truth: &Truth, now: u64, proof: &Proof, pool: &Pool, case: &str) {
        let valid_until = proof.valid_until.as_secs();
        let found = match (&proof.state, &proof.found) {
            (LinkState::Secure, Found::Records(found)) => {
                let found: BTreeSet<Vec<u8>> = found.iter().map(|record| record.as_wire().to_vec()).collect();
                let (from, to) = (labels(&name(owner)), labels(&proof.owner));
                for at in [now, valid_until] {
                    let checker = Checker::new(pool, &self.checker_anchors, u32::try_from(at).unwrap());
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

// DNS-03, DNS-05, DNS-06: the positive control of what follows.
#[tokio::test]
async fn what_is_so_is_proven() {
    let setting = Setting::start(&Evil::new()).await;
    for (owner, truth) in truths() {
        let (memory, mut pool) = (Memory::default(), Pool::default());
        let mut now = setting.now;
        // The second time from memory, and a minute later.
        for case in [format!("{owner}, cold"), format!("{owner}, warm")] {
            let proof = setting.prove(owner, now, &memory, &mut pool, |_, genuine| Some(genuine));
            setting.check(owner, &truth, now, &proof, &pool, &case);
            assert!(proof.failure.is_none(), "{case}: {proof:?}");
            now += 60;
        }
    }
}

// DNS-03, DNS-05, DNS-06, SEC-05: no input makes Secure what is not, or Insecure what is signed.
#[tokio::test]
async fn what_is_not_so_is_not_proven() {
    let evil = Evil::new();
    let setting = Setting::start(&evil).await;
    let truths = truths();
    // All genuine messages, for the forger to take from.
    let memory = Memory::default();
    for (owner, _) in &truths {
        setting.prove(owner, setting.now, &memory, &mut Pool::default(), |_, genuine| Some(genuine));
        for above in name(owner).iter_suffixes() {
            setting.genuine(&above, Rtype::DS);
            setting.genuine(&above, Rtype::DNSKEY);
        }
    }
    let stock: Vec<_> = setting.genuine.borrow().values().cloned().collect();
    let mut verdicts: BTreeMap<LinkState, u32> = BTreeMap::new();
    for seed in 0..CASES {
        let mut forger = Forger::new(Random(seed), &evil, &stock);
        // The memory of some look-ups before, which were tampered with as well.
        let (memory, mut pool) = (Memory::default(), Pool::default());
        let mut now = setting.now;
        for round in 0..3 {
            let (owner, truth) = &truths[forger.random.below(truths.len())];
            now += u64::try_from(*forger.random.pick(&[0, 0, 0, 60, 1700, 1801, 5000, 15 * 86_400])).unwrap();
            let case = format!("seed {seed}, round {round}: {owner}");
            let proof = setting.prove(owner, now, &memory, &mut pool, |question, genuine| {
                forger.tamper(question.name.as_slice(), owner, genuine)
            });
            setting.check(owner, truth, now, &proof, &pool, &case);
            *verdicts.entry(proof.state).or_default() += 1;
        }
    }
    println!("{verdicts:?}");
    // Some tampering is harmless, most is not; either way the test has seen both.
    assert!(verdicts[&LinkState::Secure] > 0 && verdicts[&LinkState::Bogus] > 0, "{verdicts:?}");
}

/// Three look-ups each.
const CASES: u64 = 400;
