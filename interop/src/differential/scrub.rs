//! Answers without what does not belong to them. Codes, sections and superfluous records are under no signature: whether a validator
//! looks past them is a matter of taste, whether it takes what is left for a proof is not.

use domain::base::iana::Rtype;

use super::forge;
use super::message::{Answer, DnsName, Question, Rr, Rrsig};
use super::universe::Universe;

/// With more NSEC and NSEC3 RRsets than this in an answer, they are left out one at a time only.
const MOST_SETS: usize = 5;
/// Of RRsets with several signatures, each of the first so many is tried alone.
const MOST_SIGNATURES: usize = 4;
const NXDOMAIN: u8 = 3;

/// What may be left of the answer to this question: each variant holds only records that it holds, and the zones' own SOA records.
pub(super) fn variants(universe: &Universe, question: &Question, answer: &Answer) -> Vec<Answer> {
    let mut variants = Vec::new();
    // From the answer section alone, or from both.
    for section in [0..1, 0..2] {
        let found: Vec<&Rr> = answer.sections[section].iter().flatten().collect();
        let (links, ends_well) = links(question, &found);
        for signature in std::iter::once(None).chain((0..MOST_SIGNATURES).map(Some)) {
            let left = Left { universe, answer, links: &links, ends_well, signature };
            left.variants(&mut variants);
        }
        if ends_well && question.rtype == Rtype::DS {
            // As if there were no DS.
            let left = Left { universe, answer, links: &[], ends_well: false, signature: None };
            left.variants(&mut variants);
        }
    }
    let mut different: Vec<Answer> = Vec::new();
    for variant in variants {
        if !different.contains(&variant) {
            different.push(variant);
        }
    }
    different
}

/// The answer without some of its records, as if those who signed it had left them out: the rest of an RRset is signed again.
pub(super) fn without(universe: &Universe, answer: &Answer, gone: impl Fn(&Rr) -> bool) -> Answer {
    let section = |section: &Vec<Rr>| {
        let rest: Vec<Rr> = section.iter().filter(|rr| !gone(rr)).cloned().collect();
        let is_rest = |rr: &Rr, signed: &Rr| rr.rtype != Rtype::RRSIG && rr.is_of(&signed.owner, signed.covers());
        let signed_again = |rr: &Rr| {
            let lost = |other: &Rr| gone(other) && is_rest(other, rr);
            if rr.rtype != Rtype::RRSIG || !section.iter().any(lost) {
                return Some(rr.clone());
            }
            let set: Vec<Rr> = rest.iter().filter(|other| is_rest(other, rr)).cloned().collect();
            forge::signed_again(universe, &set, rr)
        };
        rest.iter().filter_map(signed_again).collect()
    };
    Answer { sections: answer.sections.each_ref().map(section), ..*answer }
}

/// What is left of an answer.
struct Left<'a> {
    universe: &'a Universe,
    answer: &'a Answer,
    links: &'a [Rr],
    ends_well: bool,
    /// Which of the signatures of each RRset is left; all if it has not so many.
    signature: Option<usize>,
}

impl Left<'_> {
    fn variants(&self, variants: &mut Vec<Answer>) {
        let all: Vec<&Rr> = self.answer.records().collect();
        let proofs = proof_sets(&all);
        for chosen in choices(proofs.len()) {
            let sets = proofs.iter().zip(&chosen).filter(|(_, chosen)| **chosen).map(|(set, _)| set);
            let mut authority: Vec<Rr> = Vec::new();
            for (owner, rtype) in sets {
                authority.extend(all.iter().filter(|rr| rr.is_of(owner, *rtype)).map(|rr| (*rr).clone()));
            }
            let mut authority = self.sign(&authority);
            if !self.ends_well {
                authority.extend(soa_records(self.universe, &authority));
            }
            let sections = [self.sign(self.links), authority];
            let codes: &[u8] = if self.ends_well { &[0] } else { &[0, NXDOMAIN] };
            variants.extend(codes.iter().map(|rcode| Answer { rcode: *rcode, flags: 0, sections: sections.clone() }));
        }
    }

    /// The records with the signatures that are left.
    fn sign(&self, records: &[Rr]) -> Vec<Rr> {
        let Some(wanted) = self.signature else { return records.to_vec() };
        let mut left: Vec<Rr> = Vec::new();
        for (at, rr) in records.iter().enumerate() {
            let same = |other: &&Rr| other.rtype == Rtype::RRSIG && other.is_of(&rr.owner, rr.covers());
            let (number, of) = (records[..at].iter().filter(same).count(), records.iter().filter(same).count());
            if rr.rtype != Rtype::RRSIG || of <= wanted || number == wanted {
                left.push(rr.clone());
            }
        }
        left
    }
}

fn is_proof(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::NSEC | Rtype::NSEC3)
}

/// The records, from either section, that lead from the question to its end, and whether records stand there.
fn links(question: &Question, all: &[&Rr]) -> (Vec<Rr>, bool) {
    let set = |owner: &DnsName, rtype: Rtype| -> Vec<Rr> {
        let mut set: Vec<Rr> = Vec::new();
        for rr in all.iter().filter(|rr| rr.is_of(owner, rtype)) {
            if !set.contains(rr) {
                set.push((*rr).clone());
            }
        }
        set
    };
    let has = |set: &[Rr]| set.iter().any(|rr| rr.rtype != Rtype::RRSIG);
    let mut links: Vec<Rr> = Vec::new();
    let mut name = question.name.clone();
    for _ in 0..16 {
        let end = set(&name, question.rtype);
        if has(&end) {
            links.extend(end);
            return (links, true);
        }
        let dname = name.iter_suffixes().skip(1).map(|above| set(&above, Rtype::DNAME)).find(|set| has(set));
        if let Some(dname) = dname {
            links.extend(dname);
        }
        let alias = set(&name, Rtype::CNAME);
        let target = alias.iter().find(|rr| rr.rtype == Rtype::CNAME).map(|rr| rr.data.clone());
        links.extend(alias.into_iter().filter(|_| target.is_some()));
        // Whoever asks for a DS wants to know what stands at this name, not where it leads.
        match target
            .filter(|_| question.rtype == Rtype::TLSA)
            .and_then(|target| DnsName::from_octets(target.into()).ok())
        {
            Some(target) => name = target,
            None => break,
        }
    }
    (links, false)
}

/// Owners and types of NSEC and NSEC3 RRsets.
fn proof_sets(all: &[&Rr]) -> Vec<(DnsName, Rtype)> {
    let mut sets: Vec<(DnsName, Rtype)> = Vec::new();
    for rr in all.iter().filter(|rr| is_proof(rr.rtype)) {
        if !sets.contains(&(rr.owner.clone(), rr.rtype)) {
            sets.push((rr.owner.clone(), rr.rtype));
        }
    }
    sets
}

/// Which of so many sets to keep: all first.
fn choices(sets: usize) -> Vec<Vec<bool>> {
    if sets > MOST_SETS {
        let without = |left: usize| (0..sets).map(|at| at != left).collect();
        return std::iter::once(vec![true; sets]).chain((0..sets).map(without)).collect();
    }
    (0..1_usize << sets).map(|left| (0..sets).map(|at| left >> at & 1 == 0).collect()).collect()
}

/// The SOA records of the zones that signed these.
fn soa_records(universe: &Universe, signed: &[Rr]) -> Vec<Rr> {
    let mut zones: Vec<DnsName> = Vec::new();
    for signature in signed.iter().filter(|rr| rr.rtype == Rtype::RRSIG).filter_map(|rr| Rrsig::read(&rr.data)) {
        if universe.zone(&signature.signer).is_some() && !zones.contains(&signature.signer) {
            zones.push(signature.signer);
        }
    }
    zones
        .into_iter()
        .flat_map(|name| universe.honest(&Question { name, rtype: Rtype::SOA }, true).sections[0].clone())
        .collect()
}
