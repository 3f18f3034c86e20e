//! What a proof costs without the network, in time and in allocations.
#![allow(missing_docs, clippy::unwrap_used, reason = "benchmarks")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::HashMap;

use bytes::Bytes;
use common::{Memory, Prover, RECORD};
use dance_core::UnixTime;
use dance_core::answer::TlsaAnswer;
use dance_dnssec::{Known, Proving, Question, Step};
use dance_testkit::{Denial, KeyKind, SignedWorld, Zone};
use divan::{AllocProfiler, Bencher};
use domain::base::Message;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Replies that are at hand, as if the network took no time.
struct Replies {
    all: HashMap<Question, Message<Bytes>>,
    memory: Memory,
    now: UnixTime,
}

impl Replies {
    /// All that the proof of `owner` asks for, and the facts that come of another name beside it.
    fn gather(world: &SignedWorld, owner: &str) -> Self {
        let mut prover = Prover::new(world);
        prover.run(&format!("known.{}", owner.split_once('.').unwrap().1));
        let run = Prover::new(world).run(owner);
        let asked = run.rounds.into_iter().flatten();
        let all = asked.map(|question| (question.clone(), prover.ask(&question).unwrap())).collect();
        Self { all, memory: prover.memory, now: prover.now }
    }

    fn prove(&self, mut proving: Proving, known: &impl Known) -> TlsaAnswer {
        loop {
            match proving.step(self.now, known) {
                Step::Done(proof) => return proof.to_answer(self.now),
                Step::Ask(questions) => {
                    for question in questions {
                        proving.reply(&question, &self.all[&question]);
                    }
                }
            }
        }
    }
}

const KINDS: [KeyKind; 4] = [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519, KeyKind::Rsa2048];

fn world(kind: KeyKind) -> SignedWorld {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let text = format!("$TTL 300\ndev1._device IN TLSA {RECORD}\n*._wild IN TLSA {RECORD}\n");
    let zone = |apex| Zone::new(apex).key(kind).text(&text);
    let zones = SignedWorld::builder().zone(Zone::new("test").key(kind)).zone(zone("example.test"));
    runtime.block_on(zones.zone(zone("hashed.test").denial(Denial::nsec3())).start()).unwrap()
}

fn measure(bencher: Bencher<'_, '_>, kind: KeyKind, owner: &str, warm: bool) {
    let world = world(kind);
    let replies = Replies::gather(&world, owner);
    let prover = Prover::new(&world);
    let bencher = bencher.with_inputs(|| prover.proving(owner));
    match warm {
        true => bencher.bench_values(|proving| replies.prove(proving, &replies.memory)),
        false => bencher.bench_values(|proving| replies.prove(proving, &())),
    }
}

/// A new name in a zone whose keys are known: one signature.
#[divan::bench(args = KINDS)]
fn warm(bencher: Bencher<'_, '_>, kind: KeyKind) {
    measure(bencher, kind, "dev1._device.example.test", true);
}

/// A wildcard's expansion there: two signatures.
#[divan::bench(args = KINDS)]
fn warm_wildcard(bencher: Bencher<'_, '_>, kind: KeyKind) {
    measure(bencher, kind, "foo._wild.example.test", true);
}

/// A name that does not exist there: SOA, and three NSEC3.
#[divan::bench(args = KINDS)]
fn warm_denial(bencher: Bencher<'_, '_>, kind: KeyKind) {
    measure(bencher, kind, "nx._device.hashed.test", true);
}

/// Three zones deep, with nothing known: six signatures.
#[divan::bench(args = KINDS)]
fn cold(bencher: Bencher<'_, '_>, kind: KeyKind) {
    measure(bencher, kind, "dev1._device.example.test", false);
}
