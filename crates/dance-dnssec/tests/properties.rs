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
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use checker::Pool;
use checker::look_up::{Course, Trust};
use checker::recorded::replay;
use checker::truth::{Truth, truths};
use dance_core::answer::LinkState;
use dance_dnssec::{DnsName, Known, Proof, Question, ZoneFact};
use dance_testkit::{Delegation, Denial, KeyKind, KeyRole, SignedWorld, Zone};
use data_encoding::HEXLOWER;
use domain::base::MessageBuilder;
use domain::base::iana::Rtype;
use forger::{Evil, Forger, Random};

/// The TLSA record of the name with this number.
fn tlsa(number: u8) -> String {
    format!("3 1 1 {}", HEXLOWER.encode(&[number; 32]))
}

/// The world of which [`truths`] tells.
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
            .text("*._wtxt 300 IN TXT here")
            .tlsa("exact._wtxt.example.test", tlsa(6), 300)
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
        // Good for longer than the zone above.
        Zone::new("below.roles.test").tlsa("dev1._device.below.roles.test", tlsa(32), 300),
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

fn name(text: &str) -> DnsName {
    text.parse().unwrap()
}

/// The memory of a resolver.
#[derive(Default)]
struct Memory(RefCell<HashMap<DnsName, ZoneFact>>);

impl Known for Memory {
    fn zone(&self, name: &DnsName) -> Option<ZoneFact> {
        self.0.borrow().get(name).cloned()
    }
}

/// One answer after the other.
const COURSE: Course = Course { now: 0, order: 0, late: false };

struct Setting {
    world: SignedWorld,
    trust: Trust,
    genuine: RefCell<BTreeMap<(DnsName, Rtype), Vec<u8>>>,
    now: u64,
}

impl Setting {
    async fn start(evil: &Evil) -> Self {
        let builder = zones(evil).into_iter().fold(SignedWorld::builder(), |builder, zone| builder.zone(zone));
        let world = builder.start().await.unwrap();
        let trust = Trust::parse(world.trust_anchor_text());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        Self { trust, genuine: RefCell::default(), now, world }
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

    /// One look-up from memory and over messages that `tamper` has had in its hands, checked.
    fn prove(
        &self,
        (owner, truth): &(&str, Truth),
        course: Course,
        (memory, pool): (&Memory, &mut Pool),
        case: &str,
        mut tamper: impl FnMut(&Question, Vec<u8>) -> Option<Vec<u8>>,
    ) -> Proof {
        let owner = name(owner);
        let answer = |question: &Question| tamper(question, self.genuine(&question.name, question.rtype));
        let (proof, learnt) = self.trust.look_up(&owner, course, memory, pool, answer);
        for fact in learnt {
            memory.0.borrow_mut().insert(fact.name().clone(), fact);
        }
        self.trust.check(&owner, truth, course.now, &proof, pool, case);
        proof
    }
}

// DNS-03, DNS-05, DNS-06: the positive control of what follows.
#[tokio::test]
async fn what_is_so_is_proven() {
    let setting = Setting::start(&Evil::new()).await;
    for known in truths() {
        let (memory, mut pool) = (Memory::default(), Pool::default());
        // The second time from memory, and a minute later.
        for later in [0, 60] {
            let course = Course { now: setting.now + later, ..COURSE };
            let case = format!("{}, {later} seconds later", known.0);
            let proof = setting.prove(&known, course, (&memory, &mut pool), &case, |_, genuine| Some(genuine));
            assert!(proof.failure.is_none(), "{case}: {proof:?}");
        }
        // Whatever the order of answers.
        for order in 0..8 {
            let course = Course { now: setting.now, order, late: order % 2 == 0 };
            let (given, case) = ((&Memory::default(), &mut Pool::default()), format!("{}, {course:?}", known.0));
            let proof = setting.prove(&known, course, given, &case, |_, genuine| Some(genuine));
            assert!(proof.failure.is_none(), "{case}: {proof:?}");
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
    for known in &truths {
        let given = (&Memory::default(), &mut Pool::default());
        let course = Course { now: setting.now, ..COURSE };
        setting.prove(known, course, given, "genuine", |_, genuine| Some(genuine));
        for above in name(known.0).iter_suffixes() {
            setting.genuine(&above, Rtype::DS);
            setting.genuine(&above, Rtype::DNSKEY);
        }
    }
    let stock: Vec<_> = setting.genuine.borrow().values().cloned().collect();
    let mut verdicts: BTreeMap<LinkState, u32> = BTreeMap::new();
    for seed in 0..CASES {
        let mut forger = Forger::new(Random(seed), &evil, &stock);
        // The memory of the look-ups before, which were tampered with as well.
        let (memory, mut pool) = (Memory::default(), Pool::default());
        // Two hours ago, nothing was valid yet.
        let mut now = setting.now - *forger.random.pick(&[0, 0, 0, 7200]);
        let mut known = forger.random.pick(&truths);
        for round in 0..3 {
            if forger.random.below(2) == 0 {
                known = forger.random.pick(&truths);
            }
            now += *forger.random.pick(&[0, 0, 0, 60, 1700, 1801, 7200, 15 * 86_400]);
            let case = format!("seed {seed}, round {round}: {}", known.0);
            let course = Course { now, order: forger.random.below(32), late: forger.random.below(4) == 0 };
            let proof = setting.prove(known, course, (&memory, &mut pool), &case, |question, genuine| {
                forger.tamper(question.name.as_slice(), known.0, genuine)
            });
            *verdicts.entry(proof.state).or_default() += 1;
        }
    }
    println!("{verdicts:?}");
    // Some tampering is harmless, most is not; either way the test has seen both.
    assert!(verdicts[&LinkState::Secure] > 0 && verdicts[&LinkState::Bogus] > 0, "{verdicts:?}");
}

/// Three look-ups each.
const CASES: u64 = 400;

fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/tlsa_proof")
}

// SEC-05: what the fuzz target begins with reaches the verdicts that it is about.
#[test]
fn recorded_look_ups_are_what_they_were() {
    for (owner, truth) in truths() {
        let recording = fs::read(seeds().join(owner)).unwrap();
        let expected = if truth == Truth::Insecure { LinkState::Insecure } else { LinkState::Secure };
        assert_eq!(replay(&recording), Some(expected), "{owner}");
        // Anything less is less.
        for end in (0..recording.len()).step_by(151) {
            assert_ne!(replay(&recording[..end]), Some(LinkState::Secure), "{owner}: {end} octets");
        }
    }
}

/// Records them anew, in a world that is gone afterwards, its keys with it: `cargo test -p dance-dnssec -- --ignored record`.
#[tokio::test]
#[ignore = "writes the seeds of a fuzz target"]
async fn record_look_ups() {
    let setting = Setting::start(&Evil::new()).await;
    fs::create_dir_all(seeds()).unwrap();
    for (which, known) in truths().into_iter().enumerate() {
        let mut recording = vec![u8::try_from(which).unwrap(), 0];
        let given = (&Memory::default(), &mut Pool::default());
        let course = Course { now: setting.now, ..COURSE };
        setting.prove(&known, course, given, "recorded", |_, genuine| {
            recording.extend(u16::try_from(genuine.len()).unwrap().to_be_bytes());
            recording.extend(&genuine);
            Some(genuine)
        });
        fs::write(seeds().join(known.0), recording).unwrap();
    }
    let world = format!("{}\n{}", setting.now, setting.world.trust_anchor_text());
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checker/recorded.txt"), world).unwrap();
}
