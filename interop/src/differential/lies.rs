//! What can be done to an answer: by whoever is on the path, and by the owners of zones that have nothing to say about it, or have.

use domain::base::iana::Rtype;
use domain::base::{RelativeName, ToName};

use super::forge::{self, Forgery};
use super::message::{Answer, DnsName, FLAG_AA, FLAG_AD, Question, Rr, Rrsig};
use super::random::Random;
use super::universe::Universe;

/// Lies to one question.
pub struct Lies<'a> {
    /// Where it is told.
    pub universe: &'a Universe,
    /// What was asked.
    pub question: &'a Question,
    /// What decides about them.
    pub random: Random,
    /// What was done, in words.
    pub account: Vec<String>,
    /// A zone signed something else than it holds with a key of its own: no lie, since the zone said it.
    pub zone_said_it: bool,
    /// Something of what the zones held formerly is in it.
    pub of_the_past: bool,
}

/// An RRset in an answer.
type Set = (DnsName, Rtype);

type Deed<L> = fn(&mut L, &mut Answer);

impl Lies<'_> {
    /// What can be done, each as often as its share says.
    fn deeds() -> [(usize, Deed<Self>); 23] {
        [
            (4, Self::drop_record),
            (4, Self::drop_set),
            (4, Self::drop_signatures),
            (3, Self::drop_many),
            (3, Self::swap_data),
            (2, Self::shuffle),
            (3, Self::move_set),
            (3, Self::replay_past),
            (5, Self::splice_past),
            (4, Self::replay_other),
            (5, Self::splice_other),
            (5, Self::retime),
            (5, Self::reown),
            (5, Self::flip_bit),
            (5, Self::change_signature),
            (3, Self::change_ttl),
            (4, Self::add_record),
            (2, Self::duplicate),
            (4, Self::change_rcode),
            (1, Self::change_flags),
            (1, Self::change_case),
            (9, Self::sign_with_foreign_key),
            (22, Self::sign_with_own_key),
        ]
    }

    /// Does one thing, or a few, to the answer.
    pub fn tell(&mut self, answer: &mut Answer) {
        let count = self.random.share(&[(12, 1), (5, 2), (3, 3)]);
        for _ in 0..count {
            let before = answer.clone();
            for _ in 0..8 {
                let deed = self.random.share(&Self::deeds());
                deed(self, answer);
                if *answer != before {
                    break;
                }
                self.account.pop();
            }
        }
    }

    fn did(&mut self, what: impl Into<String>) {
        self.account.push(what.into());
    }

    fn some_section(&mut self, answer: &Answer) -> Option<usize> {
        let filled: Vec<_> = (0..2).filter(|at| !answer.sections[*at].is_empty()).collect();
        (!filled.is_empty()).then(|| *self.random.pick(&filled))
    }

    fn some_record(&mut self, answer: &Answer) -> Option<(usize, usize)> {
        let section = self.some_section(answer)?;
        Some((section, self.random.below(answer.sections[section].len())))
    }

    fn some_set(&mut self, answer: &Answer) -> Option<Set> {
        let (section, at) = self.some_record(answer)?;
        let rr = &answer.sections[section][at];
        Some((rr.owner.clone(), rr.covers()))
    }

    fn some_signature(&mut self, answer: &Answer) -> Option<(usize, usize)> {
        let places: Vec<_> = (0..2)
            .flat_map(|section| (0..answer.sections[section].len()).map(move |at| (section, at)))
            .filter(|(section, at)| answer.sections[*section][*at].rtype == Rtype::RRSIG)
            .collect();
        (!places.is_empty()).then(|| *self.random.pick(&places))
    }

    fn drop_record(&mut self, answer: &mut Answer) {
        let Some((section, at)) = self.some_record(answer) else { return };
        let rr = answer.sections[section].remove(at);
        self.did(format!("drop {rr}"));
    }

    fn drop_set(&mut self, answer: &mut Answer) {
        let Some((owner, rtype)) = self.some_set(answer) else { return };
        self.did(format!("drop set {owner} {rtype}"));
        for section in &mut answer.sections {
            section.retain(|rr| !rr.is_of(&owner, rtype));
        }
    }

    fn drop_signatures(&mut self, answer: &mut Answer) {
        let Some((owner, rtype)) = self.some_set(answer) else { return };
        self.did(format!("drop signatures of {owner} {rtype}"));
        for section in &mut answer.sections {
            section.retain(|rr| !(rr.rtype == Rtype::RRSIG && rr.is_of(&owner, rtype)));
        }
    }

    fn drop_many(&mut self, answer: &mut Answer) {
        let what = self.random.below(5);
        self.did(["all signatures gone", "all proofs gone", "answer gone", "authority gone", "SOA gone"][what]);
        let proofs = [Rtype::NSEC, Rtype::NSEC3];
        for (number, section) in answer.sections.iter_mut().enumerate() {
            section.retain(|rr| match what {
                0 => rr.rtype != Rtype::RRSIG,
                1 => !proofs.contains(&rr.covers()),
                2 => number != 0,
                3 => number != 1,
                _ => rr.covers() != Rtype::SOA,
            });
        }
    }

    fn swap_data(&mut self, answer: &mut Answer) {
        let (Some(one), Some(other)) = (self.some_record(answer), self.some_record(answer)) else { return };
        self.did(format!("swap data of {} and {}", answer.sections[one.0][one.1], answer.sections[other.0][other.1]));
        let data = answer.sections[one.0][one.1].data.clone();
        let other = std::mem::replace(&mut answer.sections[other.0][other.1].data, data);
        answer.sections[one.0][one.1].data = other;
    }

    fn shuffle(&mut self, answer: &mut Answer) {
        self.did("shuffle");
        for section in &mut answer.sections {
            for at in (1..section.len()).rev() {
                section.swap(at, self.random.below(at + 1));
            }
        }
    }

    fn move_set(&mut self, answer: &mut Answer) {
        let Some((owner, rtype)) = self.some_set(answer) else { return };
        self.did(format!("other section for {owner} {rtype}"));
        let [one, other] = &mut answer.sections;
        let taken =
            |section: &mut Vec<Rr>| -> Vec<Rr> { section.extract_if(.., |rr| rr.is_of(&owner, rtype)).collect() };
        let (from_one, from_other) = (taken(one), taken(other));
        one.extend(from_other);
        other.extend(from_one);
    }

    fn replay_past(&mut self, answer: &mut Answer) {
        self.did("the former answer");
        self.of_the_past = true;
        *answer = self.universe.honest(self.question, false);
    }

    fn splice_past(&mut self, answer: &mut Answer) {
        let past = self.universe.honest(self.question, false);
        self.of_the_past = true;
        self.splice(answer, &past, "former");
    }

    /// Takes over the signatures of another answer, or its records, or some of its RRsets, or a whole section.
    fn splice(&mut self, answer: &mut Answer, other: &Answer, title: &str) {
        match self.random.below(5) {
            0 => {
                self.did(format!("signatures of the {title} answer"));
                for (section, other) in answer.sections.iter_mut().zip(&other.sections) {
                    section.retain(|rr| rr.rtype != Rtype::RRSIG);
                    section.extend(other.iter().filter(|rr| rr.rtype == Rtype::RRSIG).cloned());
                }
            }
            1 => {
                self.did(format!("records of the {title} answer, signatures of this"));
                for (section, other) in answer.sections.iter_mut().zip(&other.sections) {
                    section.retain(|rr| rr.rtype == Rtype::RRSIG);
                    section.extend(other.iter().filter(|rr| rr.rtype != Rtype::RRSIG).cloned());
                }
            }
            2 => {
                let section = self.random.below(2);
                self.did(format!("section {section} of the {title} answer"));
                answer.sections[section].clone_from(&other.sections[section]);
                if self.random.percent(50) {
                    answer.rcode = other.rcode;
                }
            }
            _ => {
                let Some((owner, rtype)) = self.some_set(other) else { return };
                self.did(format!("set {owner} {rtype} of the {title} answer"));
                let replace = self.random.percent(50);
                for (section, other) in answer.sections.iter_mut().zip(&other.sections) {
                    let added: Vec<_> = other.iter().filter(|rr| rr.is_of(&owner, rtype)).cloned().collect();
                    if replace {
                        section.retain(|rr| !rr.is_of(&owner, rtype));
                    }
                    section.extend(added);
                }
            }
        }
    }

    /// The answer to another question, of the same type or of one whose answers hold proofs.
    fn other_answer(&mut self) -> (Question, Answer) {
        let name = self.universe.some_name(&mut self.random);
        let rtype = match self.random.percent(70) {
            true => self.question.rtype,
            false => *self.random.pick(&[Rtype::TLSA, Rtype::DS, Rtype::TXT, Rtype::DNSKEY, Rtype::NSEC]),
        };
        let question = Question { name, rtype };
        let present = self.random.percent(80);
        self.of_the_past |= !present;
        let answer = self.universe.honest(&question, present);
        (question, answer)
    }

    fn replay_other(&mut self, answer: &mut Answer) {
        let (question, mut other) = self.other_answer();
        let renamed = self.random.percent(60);
        self.did(format!("the answer to {question}, renamed: {renamed}"));
        if renamed {
            for rr in other.sections.iter_mut().flatten().filter(|rr| rr.owner == question.name) {
                rr.owner = self.question.name.clone();
            }
        }
        *answer = other;
    }

    fn splice_other(&mut self, answer: &mut Answer) {
        let (question, other) = self.other_answer();
        self.splice(answer, &other, &question.to_string());
    }

    fn retime(&mut self, answer: &mut Answer) {
        let Some((section, at)) = self.some_signature(answer) else { return };
        let rr = &mut answer.sections[section][at];
        let Some(mut signature) = Rrsig::read(&rr.data) else { return };
        let before = rr.to_string();
        match self.random.below(5) {
            0 => signature.expiration = signature.expiration.wrapping_add(86_400 * 30),
            1 => signature.inception = signature.inception.wrapping_sub(86_400 * 30),
            2 => (signature.inception, signature.expiration) = (signature.expiration, signature.inception),
            3 => signature.expiration = signature.inception.wrapping_add(60),
            _ => {
                signature.inception = signature.inception.wrapping_add(86_400 * 30);
                signature.expiration = signature.expiration.wrapping_add(86_400 * 30);
            }
        }
        rr.data = signature.data();
        let after = rr.to_string();
        self.did(format!("retime {before} -> {after}"));
    }

    /// A name that may matter here.
    fn some_name(&mut self) -> DnsName {
        let name = match self.random.below(4) {
            0 => self.question.name.clone(),
            1 => self.question.name.parent().unwrap_or_else(|| self.question.name.clone()),
            2 => self
                .universe
                .zones
                .get(self.random.below(self.universe.zones.len()))
                .map_or_else(|| self.question.name.clone(), |zone| super::message::name(&zone.apex)),
            _ => self.universe.some_name(&mut self.random),
        };
        if self.random.percent(15)
            && let Ok(wildcard) = RelativeName::wildcard_bytes().chain(name.clone())
        {
            return wildcard.to_name();
        }
        name
    }

    fn reown(&mut self, answer: &mut Answer) {
        let Some((owner, rtype)) = self.some_set(answer) else { return };
        let new = self.some_name();
        let (records, signatures) = *self.random.pick(&[(true, true), (true, true), (true, false), (false, true)]);
        self.did(format!("{owner} {rtype} now of {new}, records: {records}, signatures: {signatures}"));
        for rr in answer.sections.iter_mut().flatten().filter(|rr| rr.is_of(&owner, rtype)) {
            if if rr.rtype == Rtype::RRSIG { signatures } else { records } {
                rr.owner = new.clone();
            }
        }
    }

    fn flip_bit(&mut self, answer: &mut Answer) {
        let Some((section, at)) = self.some_record(answer) else { return };
        let rr = &mut answer.sections[section][at];
        // Names have to stay names: a message that does not decode is another matter.
        let (from, to) = forge::opaque_part(rr);
        if from >= to {
            return;
        }
        let (octet, bit) = (from + self.random.below(to - from), self.random.below(8));
        rr.data[octet] ^= 1 << bit;
        let what = format!("flip bit {bit} of octet {octet}: {rr}");
        self.did(what);
    }

    fn change_signature(&mut self, answer: &mut Answer) {
        let Some((section, at)) = self.some_signature(answer) else { return };
        let Some(mut signature) = Rrsig::read(&answer.sections[section][at].data) else { return };
        match self.random.below(7) {
            0 => {
                signature.covered = *self.random.pick(&[Rtype::TLSA, Rtype::CNAME, Rtype::NSEC, Rtype::DS, Rtype::SOA])
            }
            1 => signature.algorithm = *self.random.pick(&[5, 7, 8, 10, 13, 14, 15, 16, 200]),
            2 => signature.labels = signature.labels.wrapping_add(1),
            3 => signature.labels = signature.labels.wrapping_sub(1),
            4 => signature.original_ttl ^= 1 << self.random.below(16),
            5 => signature.tag ^= 1 << self.random.below(16),
            _ => signature.signer = self.some_name(),
        }
        let rr = &mut answer.sections[section][at];
        let before = rr.to_string();
        rr.data = signature.data();
        let after = rr.to_string();
        self.did(format!("change {before} -> {after}"));
    }

    fn change_ttl(&mut self, answer: &mut Answer) {
        let Some((owner, rtype)) = self.some_set(answer) else { return };
        let ttl = *self.random.pick(&[0, 1, 86_400 * 7, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]);
        self.did(format!("TTL {ttl} for {owner} {rtype}"));
        for rr in answer.sections.iter_mut().flatten().filter(|rr| rr.is_of(&owner, rtype)) {
            rr.ttl = ttl;
        }
    }

    fn add_record(&mut self, answer: &mut Answer) {
        let rtype = *self.random.pick(&[Rtype::TLSA, Rtype::TLSA, Rtype::CNAME, Rtype::DNAME, Rtype::NS, Rtype::TXT]);
        let data = match rtype {
            Rtype::TLSA => vec![3, 1, 1, 0xee, 0xff],
            Rtype::TXT => vec![1, b'x'],
            _ => self.some_name().as_slice().to_vec(),
        };
        let rr = Rr { owner: self.some_name(), rtype, ttl: 300, data };
        let section = self.random.below(2);
        self.did(format!("add to section {section}: {rr}"));
        let at = self.random.below(answer.sections[section].len() + 1);
        answer.sections[section].insert(at, rr);
    }

    fn duplicate(&mut self, answer: &mut Answer) {
        let Some((section, at)) = self.some_record(answer) else { return };
        let rr = answer.sections[section][at].clone();
        self.did(format!("twice {rr}"));
        let section = if self.random.percent(80) { section } else { 1 - section };
        answer.sections[section].push(rr);
    }

    fn change_rcode(&mut self, answer: &mut Answer) {
        answer.rcode = match answer.rcode {
            0 => self.random.share(&[(6, 3), (1, 2), (1, 5)]),
            _ => self.random.share(&[(6, 0), (1, 2), (1, 5)]),
        };
        self.did(format!("rcode {}", answer.rcode));
    }

    fn change_flags(&mut self, answer: &mut Answer) {
        answer.flags ^= *self.random.pick(&[FLAG_AA, FLAG_AD, FLAG_AA | FLAG_AD]);
        self.did(format!("flags {:#x}", answer.flags));
    }

    fn change_case(&mut self, answer: &mut Answer) {
        self.did("other case of letters");
        for rr in answer.sections.iter_mut().flatten() {
            let mut octets = rr.owner.as_slice().to_vec();
            forge::change_case(&mut octets, &mut self.random);
            rr.owner = DnsName::from_octets(octets.into()).unwrap();
            if matches!(rr.rtype, Rtype::CNAME | Rtype::DNAME | Rtype::NS) {
                forge::change_case(&mut rr.data, &mut self.random);
            }
        }
    }

    /// Some RRset of the answer, changed or not, signed with the key of a zone that may not sign it, in that zone's name or in the
    /// right one's.
    fn sign_with_foreign_key(&mut self, answer: &mut Answer) {
        let Some((owner, rtype)) = self.some_set(answer) else { return };
        let right = forge::signer_of(self.universe, answer, &owner, rtype);
        let zone = self.universe.some_zone(&mut self.random);
        if zone.keys.is_empty() || Some(&zone.apex) == right.map(|right| &right.apex) {
            return;
        }
        // A zone above may say what it likes: it could as well take the delegation back.
        self.zone_said_it |= owner.ends_with(&super::message::name(&zone.apex));
        let forgery = Forgery { zone, in_the_name_of: right.filter(|_| self.random.percent(30)).unwrap_or(zone) };
        let what = forgery.commit(self, answer, &owner, rtype);
        self.did(format!("key of {}. {what}", zone.apex));
    }

    /// Some RRset of the answer, changed, signed anew with the right key.
    fn sign_with_own_key(&mut self, answer: &mut Answer) {
        let Some((owner, rtype)) = self.some_set(answer) else { return };
        let Some(zone) = forge::signer_of(self.universe, answer, &owner, rtype).filter(|zone| !zone.keys.is_empty())
        else {
            return;
        };
        let what = Forgery { zone, in_the_name_of: zone }.commit(self, answer, &owner, rtype);
        self.zone_said_it = true;
        self.did(format!("own key of {}. {what}", zone.apex));
    }
}
