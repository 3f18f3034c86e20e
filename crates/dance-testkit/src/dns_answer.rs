//! What one zone answers to one question: the records, or the proof that there are none (RFC 1034 section 4.3.2,
//! RFC 4035 section 3.1.3, RFC 5155 section 7.2).

use bytes::Bytes;
use domain::base::iana::{Class, Nsec3HashAlgorithm, Rcode, Rtype};
use domain::base::name::RelativeName;
use domain::base::{Name, ToName};
use domain::dnssec::common::nsec3_hash;

use crate::zone::DnsName;
use crate::zone_sign::{Nsec3Chain, RrSet, ServedZone};

/// Above this number of NSEC3 iterations a validating resolver takes denials for Insecure, RFC 9276 section 3.2 and the
/// limit that resolvers agreed on in 2021.
const NSEC3_ITERATIONS_TRUSTED: u16 = 150;

/// A record in an answer; data in uncompressed wire form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rr {
    pub(crate) owner: DnsName,
    pub(crate) rtype: Rtype,
    pub(crate) class: Class,
    pub(crate) ttl: u32,
    pub(crate) data: Bytes,
}

/// The answer of one zone: one link of a chain of aliases, or its end.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) rcode: Rcode,
    pub(crate) answer: Vec<Rr>,
    pub(crate) authority: Vec<Rr>,
    /// Besides the OPT record.
    pub(crate) additional: Vec<Rr>,
    /// Where an alias leads.
    pub(crate) target: Option<DnsName>,
    /// The proof rests on an opt-out span or on too many NSEC3 iterations: no better than Insecure.
    pub(crate) weak_proof: bool,
    /// The answer needs NSEC or NSEC3 records to be proven.
    pub(crate) needs_proof: bool,
}

impl Link {
    pub(crate) fn new(rcode: Rcode) -> Self {
        Self {
            rcode,
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            target: None,
            weak_proof: false,
            needs_proof: false,
        }
    }

    fn prove(&mut self, owner: &DnsName, set: &RrSet) {
        let known = self.authority.iter().any(|rr| rr.rtype == set.rtype && rr.owner == *owner);
        if !known {
            push_set(&mut self.authority, owner, set);
        }
    }
}

/// Adds an RRset and its signatures under `owner`.
pub(crate) fn push_set(section: &mut Vec<Rr>, owner: &DnsName, set: &RrSet) {
    let records = set.data.iter().map(|data| (set.rtype, data));
    let signatures = set.signatures.iter().map(|data| (Rtype::RRSIG, data));
    section.extend(records.chain(signatures).map(|(rtype, data)| Rr {
        owner: owner.clone(),
        rtype,
        class: Class::IN,
        ttl: set.ttl,
        data: data.clone(),
    }));
}

/// The wildcard child of a name; `None` when that would be too long for a name.
pub(crate) fn wildcard_of(name: &DnsName) -> Option<DnsName> {
    RelativeName::wildcard_bytes().chain(name.clone()).ok().map(|name| name.to_name())
}

/// The name without its first label.
pub(crate) fn parent_of(name: &DnsName) -> Option<DnsName> {
    name.iter_suffixes().nth(1)
}

/// The RRset of this type in a node.
fn set_of(node: &[RrSet], rtype: Rtype) -> Option<&RrSet> {
    node.iter().find(|set| set.rtype == rtype)
}

impl ServedZone {
    /// The RRset at this very name.
    pub(crate) fn rrset(&self, owner: &DnsName, rtype: Rtype) -> Option<&RrSet> {
        self.nodes.get(owner).and_then(|node| set_of(node, rtype))
    }

    /// The NSEC3 RRset whose owner is the hash of this name.
    pub(crate) fn nsec3_of(&self, name: &DnsName) -> Option<(&DnsName, &RrSet)> {
        let chain = self.nsec3.as_ref()?;
        chain.by_hash.get(&hash_of(chain, name)?).map(|(owner, set)| (owner, set))
    }

    /// Answers a question whose name lies in this zone. `None` when the name is below a delegation to a zone that the
    /// world does not have.
    pub(crate) fn look_up(&self, name: &DnsName, rtype: Rtype) -> Option<Link> {
        // From the apex down: a delegation or a DNAME above the name ends the search.
        let mut above: Vec<DnsName> = name.iter_suffixes().take_while(|suffix| suffix != &self.apex).collect();
        if name != &self.apex {
            above.push(self.apex.clone());
        }
        for ancestor in above.iter().rev() {
            let Some(node) = self.nodes.get(ancestor) else {
                break;
            };
            let is_cut = ancestor != &self.apex && set_of(node, Rtype::NS).is_some();
            if is_cut && !(ancestor == name && rtype == Rtype::DS) {
                return None;
            }
            if let Some(set) = set_of(node, Rtype::DNAME)
                && ancestor != name
            {
                return Some(self.substitute(name, ancestor, set));
            }
        }

        if let Some(node) = self.nodes.get(name) {
            return Some(records_of(name, node, rtype).unwrap_or_else(|| {
                let mut link = self.negative(Rcode::NOERROR);
                self.prove_no_data(&mut link, name);
                link
            }));
        }

        let encloser = self.closest_encloser(name);
        let wildcard = wildcard_of(&encloser);
        let found = wildcard.as_ref().and_then(|wildcard| self.nodes.get_key_value(wildcard));
        let Some((wildcard, node)) = found else {
            let mut link = self.negative(Rcode::NXDOMAIN);
            self.prove_no_name(&mut link, name, &encloser);
            if let Some(wildcard) = &wildcard {
                self.prove_cover(&mut link, wildcard);
            }
            return Some(link);
        };
        if let Some(mut link) = records_of(name, node, rtype) {
            link.needs_proof = self.signed;
            // The encloser's own NSEC3 is not needed: the label count of the signature gives it, RFC 5155 section 8.8.
            self.prove_cover(&mut link, &self.next_closer(name, &encloser));
            return Some(link);
        }
        let mut link = self.negative(Rcode::NOERROR);
        self.prove_no_name(&mut link, name, &encloser);
        self.prove_no_data(&mut link, wildcard);
        Some(link)
    }

    /// A DNAME answer with the CNAME that it implies, RFC 6672 section 3.1; YXDOMAIN when the new name is too long.
    fn substitute(&self, name: &DnsName, owner: &DnsName, set: &RrSet) -> Link {
        let mut link = Link::new(Rcode::NOERROR);
        push_set(&mut link.answer, owner, set);
        let target = set.data.first().and_then(|data| Name::from_octets(data.clone()).ok());
        let prefix = name.clone().strip_suffix(owner).ok();
        let target: Option<DnsName> =
            prefix.zip(target).and_then(|(prefix, target)| prefix.chain(target).ok()).map(|name| name.to_name());
        match target {
            Some(target) => {
                link.answer.push(Rr {
                    owner: name.clone(),
                    rtype: Rtype::CNAME,
                    class: Class::IN,
                    ttl: set.ttl,
                    data: target.as_octets().clone(),
                });
                link.target = Some(target);
            }
            None => link.rcode = Rcode::YXDOMAIN,
        }
        link
    }

    /// An answer with nothing but the SOA.
    pub(crate) fn negative(&self, rcode: Rcode) -> Link {
        let mut link = Link::new(rcode);
        link.needs_proof = self.signed;
        if let Some(set) = self.rrset(&self.apex, Rtype::SOA) {
            push_set(&mut link.authority, &self.apex, set);
        }
        link
    }

    /// The deepest existing name above `name`.
    fn closest_encloser(&self, name: &DnsName) -> DnsName {
        name.iter_suffixes().skip(1).find(|suffix| self.nodes.contains_key(suffix)).unwrap_or_else(|| self.apex.clone())
    }

    /// The name one label longer than `encloser` on the way to `name`.
    fn next_closer(&self, name: &DnsName, encloser: &DnsName) -> DnsName {
        name.iter_suffixes().find(|suffix| parent_of(suffix).as_ref() == Some(encloser)).unwrap_or_else(|| name.clone())
    }

    /// Proves that an existing name lacks a type.
    fn prove_no_data(&self, link: &mut Link, name: &DnsName) {
        let Some(chain) = &self.nsec3 else {
            match self.rrset(name, Rtype::NSEC) {
                Some(set) => link.prove(name, set),
                // An empty non-terminal has no NSEC: the one before covers it.
                None => self.prove_cover(link, name),
            }
            return;
        };
        if !prove_match(chain, link, name) {
            // A delegation that opt-out leaves out of the chain, RFC 5155 section 7.2.4: the closest provable encloser and
            // the span over the next closer name.
            let mut next_closer = name.clone();
            while let Some(parent) = parent_of(&next_closer) {
                if prove_match(chain, link, &parent) {
                    break;
                }
                next_closer = parent;
            }
            self.prove_cover(link, &next_closer);
        }
    }

    /// Proves that a name does not exist, wildcards aside.
    fn prove_no_name(&self, link: &mut Link, name: &DnsName, encloser: &DnsName) {
        if let Some(chain) = &self.nsec3 {
            prove_match(chain, link, encloser);
        }
        self.prove_cover(link, &self.next_closer(name, encloser));
    }

    /// Adds the NSEC or NSEC3 whose span covers this name.
    fn prove_cover(&self, link: &mut Link, name: &DnsName) {
        if let Some((owner, set)) = self.covering(name) {
            link.prove(owner, set);
            link.weak_proof |= self.nsec3.as_ref().is_some_and(|chain| chain.opt_out || too_many_iterations(chain));
        }
    }

    /// The NSEC or NSEC3 RRset whose span covers this name.
    pub(crate) fn covering(&self, name: &DnsName) -> Option<(&DnsName, &RrSet)> {
        if let Some(chain) = &self.nsec3 {
            let before = chain.by_hash.range(..hash_of(chain, name)?).next_back();
            let (_, (owner, set)) = before.or_else(|| chain.by_hash.last_key_value())?;
            return Some((owner, set));
        }
        let before = self.nodes.range(..name.clone()).rev();
        before.filter_map(|(owner, node)| set_of(node, Rtype::NSEC).map(|set| (owner, set))).next()
    }

    /// A genuine NSEC or NSEC3 of this zone that says nothing about `name`.
    pub(crate) fn prove_beside(&self, link: &mut Link, name: &DnsName) {
        if let Some(chain) = &self.nsec3 {
            let hash = hash_of(chain, name);
            let before = hash.as_ref().and_then(|hash| chain.by_hash.range(..hash.clone()).next_back());
            let covering = before.or_else(|| chain.by_hash.last_key_value()).map(|(hash, _)| hash);
            let beside =
                chain.by_hash.iter().find(|(other, _)| Some(*other) != hash.as_ref() && Some(*other) != covering);
            if let Some((_, (owner, set))) = beside {
                link.prove(owner, set);
            }
            return;
        }
        let spans = self.nodes.iter().filter_map(|(owner, node)| set_of(node, Rtype::NSEC).map(|set| (owner, set)));
        let covering = spans.clone().rfind(|(owner, _)| *owner < name).map(|(owner, _)| owner);
        let beside = spans.clone().find(|(owner, _)| *owner != name && Some(*owner) != covering);
        if let Some((owner, set)) = beside {
            link.prove(owner, set);
        }
    }
}

/// Adds the NSEC3 of this very name, if it has one.
fn prove_match(chain: &Nsec3Chain, link: &mut Link, name: &DnsName) -> bool {
    let Some((owner, set)) = hash_of(chain, name).and_then(|hash| chain.by_hash.get(&hash)) else {
        return false;
    };
    link.prove(owner, set);
    link.weak_proof |= too_many_iterations(chain);
    true
}

fn too_many_iterations(chain: &Nsec3Chain) -> bool {
    chain.iterations > NSEC3_ITERATIONS_TRUSTED
}

fn hash_of(chain: &Nsec3Chain, name: &DnsName) -> Option<Vec<u8>> {
    nsec3_hash::<_, _, Vec<u8>>(name, Nsec3HashAlgorithm::SHA1, chain.iterations, &chain.salt)
        .ok()
        .map(|hash| hash.as_slice().to_vec())
}

/// The records of a node for this question, with `owner` as their owner; `None` if there are none.
fn records_of(owner: &DnsName, node: &[RrSet], rtype: Rtype) -> Option<Link> {
    let mut link = Link::new(Rcode::NOERROR);
    if let Some(set) = set_of(node, rtype).filter(|set| !set.data.is_empty()) {
        push_set(&mut link.answer, owner, set);
        return Some(link);
    }
    let set = set_of(node, Rtype::CNAME)?;
    push_set(&mut link.answer, owner, set);
    link.target = set.data.first().and_then(|data| Name::from_octets(data.clone()).ok());
    Some(link)
}
