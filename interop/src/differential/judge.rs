//! Cases judged, verdicts compared, differences explained.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use dance_dnssec::{Failure, Proof};
use domain::base::ToName;
use domain::base::iana::Rtype;
use tokio::runtime::Runtime;

use super::liar::{Case, Liar, Told};
use super::message::{Answer, DnsName, Question, Rr, name_end};
use super::random::Random;
use super::scrub;
use super::universe::Universe;
use super::validators::{Delv, Said, Unbound, Verdict, ours, ours_over_network};

/// Making a universe takes longer than judging a case.
const CASES_IN_UNIVERSE: u64 = 20;
/// One case in so many is put to delv too, which takes ten times as long, and to this implementation over the network.
const DELV: u64 = 10;
/// So many ways to leave out what is no part of the proof are tried for one case.
const MOST_VARIANTS: usize = 200;
/// So many differences are told at length.
const TOLD: usize = 10;

/// What is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// All follows from it.
    pub seed: u64,
    /// So many cases.
    pub cases: u64,
    /// One after the other in each of so many threads.
    pub lanes: usize,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Report {
    /// Cases by our verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Cases that were put to delv.
    pub delv: u64,
    /// Differences that are explained, by the explanation.
    pub explained: BTreeMap<&'static str, u64>,
    /// Differences that are not, at length.
    pub unexplained: Vec<String>,
}

impl Report {
    fn merge(&mut self, other: Self) {
        for (verdict, count) in other.verdicts {
            *self.verdicts.entry(verdict).or_default() += count;
        }
        for (why, count) in other.explained {
            *self.explained.entry(why).or_default() += count;
        }
        self.delv += other.delv;
        self.unexplained.extend(other.unexplained);
    }

    /// Cases in which records or their absence were proven.
    #[must_use]
    pub fn secure(&self) -> u64 {
        self.verdicts.iter().filter(|(verdict, _)| verdict.starts_with("secure")).map(|(_, count)| count).sum()
    }

    /// Cases in which a proof failed.
    #[must_use]
    pub fn bogus(&self) -> u64 {
        self.verdicts.get("bogus").copied().unwrap_or_default()
    }

    /// All of it, in lines.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text =
            format!("{} cases, {} of them put to delv too\n", self.verdicts.values().sum::<u64>(), self.delv);
        for (verdict, count) in &self.verdicts {
            let _ = writeln!(text, "{count:>7} {verdict}");
        }
        let _ = writeln!(text, "differences that are explained: {}", self.explained.values().sum::<u64>());
        for (why, count) in &self.explained {
            let _ = writeln!(text, "{count:>7} {why}");
        }
        let _ = writeln!(text, "differences that are not: {}", self.unexplained.len());
        for difference in self.unexplained.iter().take(TOLD) {
            let _ = writeln!(text, "\n{difference}");
        }
        for difference in self.unexplained.iter().skip(TOLD) {
            let _ = writeln!(text, "{}", difference.lines().next().unwrap_or_default());
        }
        if !self.unexplained.is_empty() {
            text.push_str("\nThe two numbers of a case, as DIFFERENTIAL_UNIVERSE and DIFFERENTIAL_CASE, make the test judge it alone.\n");
        }
        text
    }
}

/// Judges all cases.
#[must_use]
pub fn run(plan: Plan) -> Report {
    let next = Arc::new(AtomicU64::new(0));
    let universes = plan.cases.div_ceil(CASES_IN_UNIVERSE);
    let lanes: Vec<_> = (0..plan.lanes)
        .map(|_| {
            let next = Arc::clone(&next);
            thread::spawn(move || {
                let (mut lane, mut report) = (Lane::start(0), Report::default());
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= universes {
                        return report;
                    }
                    if number > 0 && number.is_multiple_of(100) {
                        println!("{} cases", number * CASES_IN_UNIVERSE);
                    }
                    let universe = lane.universe(Random::new(plan.seed, &[number]).any());
                    for case in 0..CASES_IN_UNIVERSE.min(plan.cases - number * CASES_IN_UNIVERSE) {
                        lane.judge(&Arc::new(Case::new(&universe, case)), &mut report);
                    }
                }
            })
        })
        .collect();
    let mut report = Report::default();
    for lane in lanes {
        report.merge(lane.join().unwrap());
    }
    report
}

/// Judges one case, with all that there is to be told about it.
#[must_use]
pub fn one(universe: u64, case: u64) -> String {
    let mut lane = Lane::start(4);
    let universe = lane.universe(universe);
    let case = Arc::new(Case::new(&universe, case));
    let mut report = Report::default();
    let judged = lane.judge_by_all(&case, true);
    lane.compare(&case, &judged, &mut report);
    format!("{}\n{}\n{}", report.text(), universe, account(&case, &judged))
}

/// What all say about a case.
struct Judged {
    ours: Said,
    proof: Box<Proof>,
    /// Ours, with the replies in another order.
    ours_again: Verdict,
    /// Ours, over the network.
    ours_over_network: Option<Verdict>,
    our_questions: Vec<Question>,
    unbound: Option<Said>,
    unbound_questions: Vec<Question>,
    delv: Option<Said>,
    told: HashMap<Question, Told>,
}

/// Says which case it was.
struct TellsOnPanic<'a>(&'a Case);

impl Drop for TellsOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("in case {} {}", self.0.universe.seed, self.0.number);
        }
    }
}

/// A server and those who judge what it says.
struct Lane {
    runtime: Runtime,
    liar: Liar,
    unbound: Unbound,
    delv: Delv,
}

impl Lane {
    fn start(verbosity: u8) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime, liar: Liar::start(), unbound: Unbound::start(verbosity), delv: Delv::new() }
    }

    fn universe(&self, seed: u64) -> Arc<Universe> {
        Arc::new(Universe::new(seed, &self.runtime))
    }

    fn judge(&mut self, case: &Arc<Case>, report: &mut Report) {
        let _told = TellsOnPanic(case);
        let judged = self.judge_by_all(case, case.number.is_multiple_of(DELV));
        self.compare(case, &judged, report);
    }

    fn ours(&self, case: &Case, order: u64) -> (Said, Box<Proof>) {
        ours(&self.liar, &case.universe.anchor, &case.question.name, &mut Random::new(case.number, &[order]))
    }

    fn unbound(&mut self, case: &Case) -> Option<Said> {
        self.unbound.judge(self.liar.address, &case.universe.anchor, &case.question.name.to_string())
    }

    fn judge_by_all(&mut self, case: &Arc<Case>, by_delv: bool) -> Judged {
        let owner = case.question.name.to_string();
        self.liar.turn_to(case);
        let (ours, proof) = self.ours(case, 0);
        let our_questions = self.liar.asked();
        let ours_again = self.ours(case, 1).0.verdict;
        let _ = self.liar.asked();
        let (server, anchor) = (self.liar.address, &case.universe.anchor);
        let ours_over_network = by_delv.then(|| ours_over_network(&self.runtime, server, anchor, &owner));
        let _ = self.liar.asked();
        let unbound = self.unbound(case);
        let unbound_questions = self.liar.asked();
        let delv = by_delv.then(|| self.delv.judge(server, anchor, &owner));
        let told = self.liar.told();
        Judged { ours, proof, ours_again, ours_over_network, our_questions, unbound, unbound_questions, delv, told }
    }

    /// Counts the case, and what cannot be explained about it.
    fn compare(&mut self, case: &Arc<Case>, judged: &Judged, report: &mut Report) {
        *report.verdicts.entry(judged.ours.verdict.to_string()).or_default() += 1;
        report.delv += u64::from(judged.delv.is_some());
        let mut difference = |title: String| {
            let (universe, number) = (case.universe.seed, case.number);
            report.unexplained.push(format!("{title}: {universe} {number}\n{}", account(case, judged)));
        };
        let ours = &judged.ours.verdict;
        if !same(ours, &judged.ours_again) {
            difference(format!("the order of replies makes {ours} {}", judged.ours_again));
        }
        if let Some(other) = judged.ours_over_network.as_ref().filter(|other| !same(ours, other)) {
            difference(format!("over the network {ours} is {other}"));
        }
        if is_false(case, judged) {
            difference("records that the zone never held".into());
        }
        let Some(unbound) = judged.unbound.as_ref().map(|unbound| &unbound.verdict) else {
            *report.explained.entry("unbound never comes to an end: NSEC3 records in the root zone").or_default() += 1;
            return;
        };
        if same(ours, unbound) {
            let delv = judged.delv.as_ref().map(|delv| delv.verdict.laxity().cmp(&ours.laxity()));
            let explained = match delv {
                Some(std::cmp::Ordering::Less) => "delv is stricter than unbound and this implementation",
                Some(std::cmp::Ordering::Greater) => "delv is laxer than unbound and this implementation",
                _ => return,
            };
            *report.explained.entry(explained).or_default() += 1;
            return;
        }
        match self.explanation(case, judged, unbound) {
            Some(explanation) => *report.explained.entry(explanation).or_default() += 1,
            None => difference(format!("unbound: {unbound}, ours: {ours}")),
        }
    }

    /// Why this implementation and unbound may differ about this case.
    fn explanation(&mut self, case: &Arc<Case>, judged: &Judged, unbound: &Verdict) -> Option<&'static str> {
        let ours = &judged.ours.verdict;
        if ours.laxity() >= unbound.laxity() {
            let sound = |lane: &mut Self| lane.unbound(case).is_some_and(|unbound| same(ours, &unbound.verdict));
            if self.agrees(case, judged, sound) {
                return Some("unbound stumbles over what is no part of the proof; without that it says the same");
            }
            return Self::where_laxer(case, judged, unbound);
        }
        let failure = judged.proof.failure.as_ref();
        if is_ours_alone(failure) {
            return Some(
                "rules of this implementation: 500 NSEC3 iterations, 8 aliases, budgets, and no denial is a wildcard's",
            );
        }
        if asks_for_end(case, judged) {
            return Some(ASKS_FOR_END);
        }
        // unbound takes the key out of the anchor.
        let root = |question: &Question| question.rtype == Rtype::DNSKEY && question.name.is_root();
        let forged = judged.told.iter().any(|(question, told)| root(question) && told.zone_said_it);
        if forged && case.universe.anchor.contains("DNSKEY") {
            return Some("a trust anchor that is not among the zone's keys: refused here, believed there");
        }
        if *ours == Verdict::Insecure && *unbound == Verdict::Nxdomain {
            let told = judged.told.get(&case.question);
            if told.is_some_and(|told| told.answer.records().any(is_opt_out)) {
                return Some("NXDOMAIN with an opt-out span over the wildcard alone: Insecure here, Secure there");
            }
        }
        let sound = |lane: &mut Self| {
            let (ours, proof) = lane.ours(case, 0);
            same(unbound, &ours.verdict) || is_ours_alone(proof.failure.as_ref())
        };
        if self.agrees(case, judged, sound) {
            return Some("what is no part of the proof is refused here; without that the verdict is unbound's");
        }
        let both = |lane: &mut Self| {
            let ours = lane.ours(case, 0).0.verdict;
            lane.unbound(case).is_some_and(|unbound| same(&ours, &unbound.verdict))
        };
        if matches!(failure, Some(Failure::Malformed { .. })) && self.agrees(case, judged, both) {
            return Some("what is no part of the proof is refused here; without that the verdict is unbound's");
        }
        if let Some(Failure::NoKeyForDs { zone }) = failure {
            let question = Question { name: zone.to_canonical_name(), rtype: Rtype::DS };
            if self.agrees_without(case, judged, &question, is_sha1_digest) {
                return Some(
                    "a DS with SHA-1 beside a stronger one does not count here (RFC 4509 section 3): refused here, believed there",
                );
            }
        }
        let is_proof = |rr: &Rr| has_wildcard_next(rr, &case.question.name);
        if *unbound == Verdict::Nodata && self.agrees_without(case, judged, &case.question, is_proof) {
            return Some("unbound takes a wildcard that an NSEC record shows to exist for one without records");
        }
        let honest = judged.told.values().all(|told| !told.zone_said_it && !told.of_the_past);
        if matches!(unbound, Verdict::Nxdomain | Verdict::Nodata) && honest && !truth(case).is_empty() {
            return Some("unbound believes a denial of what the zone holds");
        }
        let denials_forged = judged.told.values().any(|told| told.zone_said_it && told.answer.records().any(is_denial));
        denials_forged.then_some("a zone's own denials contradict what it is: refused here, believed there")
    }

    /// The same where this implementation lets more pass: what it lets pass lets nobody in, or is true.
    fn where_laxer(case: &Case, judged: &Judged, unbound: &Verdict) -> Option<&'static str> {
        let contradicts = judged.told.values().any(|told| told.zone_said_it && told.answer.records().any(is_denial));
        let any = |wanted: fn(&Rr) -> bool| judged.told.values().any(|told| told.answer.records().any(wanted));
        match &judged.ours.verdict {
            Verdict::Secure(_) if unbound.laxity() < 2 => (contradicts && is_true(case, judged)).then_some(
                "a zone denies on the way what it holds: the right records are believed here, refused there",
            ),
            _ if asks_for_end(case, judged) => Some(ASKS_FOR_END),
            Verdict::Insecure if any(is_opt_out) => {
                Some("with opt-out, what is not signed may be below an unsigned delegation: Insecure here, Bogus there")
            }
            Verdict::Insecure if any(is_sha1) => {
                Some("algorithms with SHA-1 are unknown here (RFC 9905): Insecure here, Bogus there")
            }
            Verdict::Nxdomain | Verdict::Nodata | Verdict::Insecure if contradicts => {
                Some("a zone's own denials contradict each other: believed here, refused there")
            }
            _ => None,
        }
    }

    /// Whether there is a way to leave out what is no part of the proof such that `agrees`.
    fn agrees(&mut self, case: &Arc<Case>, judged: &Judged, mut agrees: impl FnMut(&mut Self) -> bool) -> bool {
        let spoilt: Vec<(&Question, Vec<Answer>)> = judged
            .told
            .iter()
            .filter(|(_, told)| !told.account.is_empty())
            .map(|(question, told)| (question, scrub::variants(&case.universe, question, &told.answer)))
            .collect();
        let all: usize = spoilt.iter().map(|(_, variants)| variants.len()).product();
        (0..all.min(MOST_VARIANTS)).any(|mut number| {
            self.liar.turn_to(case);
            for (question, variants) in &spoilt {
                self.liar.tell(question, variants[number % variants.len()].clone());
                number /= variants.len();
            }
            agrees(self)
        })
    }

    /// Whether these records in the answer to this question are why unbound believes the case: without them it refuses it too, and this
    /// implementation goes on to refuse it for the reason that it gave.
    fn agrees_without(
        &mut self,
        case: &Arc<Case>,
        judged: &Judged,
        question: &Question,
        gone: impl Fn(&Rr) -> bool,
    ) -> bool {
        let Some(told) = judged.told.get(question) else { return false };
        if judged.proof.failure.is_none() || !told.answer.records().any(&gone) {
            return false;
        }
        self.liar.turn_to(case);
        self.liar.tell(question, scrub::without(&case.universe, &told.answer, gone));
        let (ours, proof) = self.ours(case, 0);
        let unbound = self.unbound(case);
        proof.failure == judged.proof.failure && unbound.is_some_and(|unbound| same(&ours.verdict, &unbound.verdict))
    }
}

const ASKS_FOR_END: &str = "unbound asks for the end of an alias once more, and gets another answer";

fn asks_for_end(case: &Case, judged: &Judged) -> bool {
    judged.unbound_questions.iter().any(|asked| asked.rtype == Rtype::TLSA && *asked != case.question)
}

/// RFC 5155 section 3.1.2.1.
fn is_opt_out(rr: &Rr) -> bool {
    rr.rtype == Rtype::NSEC3 && rr.data.get(1).is_some_and(|flags| flags & 1 != 0)
}

/// A DS record with one of the algorithms 5 and 7, or with digest type 1.
fn is_sha1(rr: &Rr) -> bool {
    rr.rtype == Rtype::DS && matches!(rr.data.get(2..4), Some([5 | 7, _] | [_, 1]))
}

/// A DS record with digest type 1.
fn is_sha1_digest(rr: &Rr) -> bool {
    rr.rtype == Rtype::DS && rr.data.get(3) == Some(&1)
}

/// An NSEC record whose next name is a wildcard that may be for this name. It shows that there is such a wildcard, and nothing of its types.
fn has_wildcard_next(rr: &Rr, name: &DnsName) -> bool {
    let end = name_end(&rr.data, 0).filter(|_| rr.rtype == Rtype::NSEC);
    let next = end.and_then(|end| DnsName::from_octets(rr.data[..end].to_vec().into()).ok());
    let wildcard = next.filter(|next| next.first().is_wildcard());
    wildcard.and_then(|next| next.parent()).is_some_and(|above| name.ends_with(&above) && *name != above)
}

fn is_denial(rr: &Rr) -> bool {
    matches!(rr.rtype, Rtype::NSEC | Rtype::NSEC3)
}

/// Whether unbound has no such rule, or another number in it.
const fn is_ours_alone(failure: Option<&Failure>) -> bool {
    matches!(
        failure,
        Some(
            Failure::Nsec3Iterations { .. }
                | Failure::Budget { .. }
                | Failure::Labels { .. }
                | Failure::AliasLimit { .. }
        )
    )
}

/// Whether the verdict is Secure with records that the owner's zone, or the one at the end of the aliases, never had.
fn is_false(case: &Case, judged: &Judged) -> bool {
    let Verdict::Secure(records) = &judged.ours.verdict else { return false };
    if judged.told.values().any(|told| told.zone_said_it || told.of_the_past) {
        return false;
    }
    truth(case) != *records
}

/// Whether the verdict is Secure with the records that the zones lead to.
fn is_true(case: &Case, judged: &Judged) -> bool {
    matches!(&judged.ours.verdict, Verdict::Secure(records) if *records == truth(case))
}

/// The records that the zones lead to.
fn truth(case: &Case) -> BTreeSet<Vec<u8>> {
    let truth = case.universe.honest(&case.question, true);
    truth.sections[0].iter().filter(|rr| rr.rtype == Rtype::TLSA).map(|rr| rr.data.clone()).collect()
}

/// All about a case.
fn account(case: &Case, judged: &Judged) -> String {
    let mut text = format!("case {} {}: {}\n", case.universe.seed, case.number, case.question);
    let _ = writeln!(text, "ours:    {} ({})", judged.ours.verdict, judged.ours.why);
    for (title, said) in [("unbound", &judged.unbound), ("delv", &judged.delv)] {
        if let Some(said) = said {
            let _ = writeln!(text, "{title}: {} ({})", said.verdict, said.why);
        }
    }
    let list = |questions: &[Question]| questions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "we asked: {}", list(&judged.our_questions));
    let _ = writeln!(text, "unbound asked: {}", list(&judged.unbound_questions));
    for (question, told) in &judged.told {
        if *question == case.question || !told.account.is_empty() {
            let _ = writeln!(text, "{question}");
            for deed in &told.account {
                let _ = writeln!(text, "  lie: {deed}");
            }
            let _ = write!(text, "{}", told.answer);
        }
    }
    text
}

fn same(one: &Verdict, other: &Verdict) -> bool {
    one == other || one.laxity() == 0 && other.laxity() == 0
}
