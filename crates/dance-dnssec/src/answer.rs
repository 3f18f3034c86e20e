//! The links of an answer, each judged by itself: an RRset that is there, or the denial of one that is not.

use dance_core::answer::LinkState;
use domain::base::iana::Rtype;

use crate::budget::{BudgetKind, MAX_SIGNERS};
use crate::canonical::wildcard;
use crate::denial::{self, Denied, NoCloser};
use crate::fact::{Window, ZoneFact};
use crate::failure::{Failure, Unproven};
use crate::message::{Chain, Rrset};
use crate::proof::{Found, ZoneLink};
use crate::proofs::{Proven, is_proof};
use crate::question::{DnsName, Question};
use crate::signature::{Valid, verify, verify_exact};
use crate::walk::{Machine, Place, Present, Reach};

/// The verdict on one link.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) state: LinkState,
    /// What is wrong, if it is Bogus or Indeterminate.
    pub(crate) failure: Option<Failure>,
    /// The zone that signed it, and the signature.
    pub(crate) signed: Option<(DnsName, Valid)>,
    /// The wildcard that it was expanded from.
    pub(crate) wildcard: Option<DnsName>,
    /// For a denial: what is denied, and for how many seconds.
    pub(crate) denied: Option<(Found, u32)>,
    /// When all that it rests on is valid, the chain of trust included.
    pub(crate) window: Window,
    /// The chain of trust.
    pub(crate) chain: Vec<ZoneLink>,
}

impl Judged {
    fn new(state: LinkState) -> Self {
        let (chain, window) = (Vec::new(), Window::ALWAYS);
        Self { state, failure: None, signed: None, wildcard: None, denied: None, window, chain }
    }

    pub(crate) fn failed(failure: Failure) -> Self {
        let state = match failure.lookup_failure() {
            Some(_) => LinkState::Indeterminate,
            None => LinkState::Bogus,
        };
        Self { failure: Some(failure), ..Self::new(state) }
    }

    fn insecure(unsigned: &ZoneFact) -> Self {
        Self::new(LinkState::Insecure).under(unsigned)
    }

    fn secure(zone: &ZoneFact, valid: Valid) -> Self {
        let mut judged = Self::new(LinkState::Secure).under(zone);
        judged.window = judged.window.and(valid.window);
        judged.signed = Some((zone.name().clone(), valid));
        judged
    }

    fn under(mut self, zone: &ZoneFact) -> Self {
        self.window = self.window.and(zone.0.window);
        self.chain.clone_from(&zone.0.chain);
        self
    }
}

/// Where the signers of an RRset stand, as far as they are zones.
struct Signers {
    zones: Vec<ZoneFact>,
    unsigned: Option<ZoneFact>,
    failure: Option<Failure>,
    /// One that is no zone.
    stranger: Option<DnsName>,
}

impl Machine {
    /// Finds the way to all of these signers; `None`: it must wait.
    fn signers(&mut self, owner: &DnsName, rtype: Rtype, names: &[&DnsName], present: Present<'_>) -> Option<Signers> {
        let mut signers = Signers { zones: Vec::new(), unsigned: None, failure: None, stranger: None };
        let mut waiting = false;
        for (count, name) in names.iter().enumerate() {
            // Nor does anybody sign for a name below a trust anchor who is above it.
            let anchor = self.anchors.closest(name);
            if !owner.ends_with(name) || anchor.is_none() || anchor != self.anchors.closest(owner) {
                signers.stranger = Some((*name).clone());
                continue;
            }
            if count >= MAX_SIGNERS {
                let (owner, kind) = (owner.clone(), BudgetKind::Signers);
                signers.failure.get_or_insert(Failure::Budget { owner, rtype, kind });
                break;
            }
            match self.walk(name, Reach::Signer, present).place {
                Place::Zone(zone) => signers.zones.push(zone),
                Place::Inside(_) => signers.stranger = Some((*name).clone()),
                Place::Unsigned(fact) => signers.unsigned = Some(fact),
                Place::Failed(failure) => {
                    signers.failure.get_or_insert(failure);
                }
                Place::Waiting { .. } => waiting = true,
            }
        }
        (!waiting).then_some(signers)
    }

    /// Judges what has no signature by a zone: it is Insecure if there is an unsigned delegation at or above it, and else `bogus` in the
    /// zone that holds it. `None`: it must wait.
    fn unsigned(
        &mut self,
        name: &DnsName,
        present: Present<'_>,
        bogus: impl FnOnce(DnsName) -> Failure,
    ) -> Option<Judged> {
        match self.walk(name, Reach::Cut, present).place {
            Place::Zone(zone) | Place::Inside(zone) => Some(Judged::failed(bogus(zone.name().clone())).under(&zone)),
            Place::Unsigned(fact) => Some(Judged::insecure(&fact)),
            // Nothing excuses it, and that tells more than that the excuse is not proven.
            Place::Failed(Failure::ProofMissing { zone, what: Unproven::NoDelegation, .. }) => {
                Some(Judged::failed(bogus(zone)))
            }
            Place::Failed(failure) => Some(Judged::failed(failure)),
            Place::Waiting { .. } => None,
        }
    }

    /// The best verdict by any signer; `None` if none of them is a zone.
    fn judged_by(
        &mut self,
        signers: &Signers,
        mut by: impl FnMut(&mut Self, &ZoneFact) -> Result<Judged, Failure>,
    ) -> Option<Judged> {
        let mut best: Option<Judged> = None;
        for zone in &signers.zones {
            let judged = by(self, zone).unwrap_or_else(|failure| Judged::failed(failure).under(zone));
            if judged.state == LinkState::Secure {
                return Some(judged);
            }
            if best.as_ref().is_none_or(|best| judged.state < best.state) {
                best = Some(judged);
            }
        }
        let unsigned = signers.unsigned.as_ref().map(Judged::insecure);
        unsigned.or(best).or_else(|| signers.failure.clone().map(Judged::failed))
    }

    /// Judges an RRset of the answer section. `None`: it must wait.
    pub(crate) fn judge(&mut self, set: &Rrset, authority: &[Rrset], present: Present<'_>) -> Option<Judged> {
        let mut names: Vec<&DnsName> = Vec::new();
        for signature in &set.signatures {
            if !names.contains(&&signature.signer) {
                names.push(&signature.signer);
            }
        }
        let signers = self.signers(&set.owner, set.rtype, &names, present)?;
        let judged = self.judged_by(&signers, |machine, zone| machine.judge_by(set, zone, authority, present));
        if judged.is_some() {
            return judged;
        }
        self.unsigned(&set.owner, present, |zone| {
            let (owner, rtype) = (set.owner.clone(), set.rtype);
            match signers.stranger {
                Some(signer) => Failure::WrongSigner { owner, rtype, zone, signer },
                None => Failure::SignatureMissing { owner, rtype, zone },
            }
        })
    }

    /// By the keys of one zone.
    fn judge_by(
        &mut self,
        set: &Rrset,
        zone: &ZoneFact,
        authority: &[Rrset],
        present: Present<'_>,
    ) -> Result<Judged, Failure> {
        let keys = zone.keys();
        // A wildcard does not stand for names above the one asked for.
        let verify = if set.rtype == Rtype::DNAME { verify_exact } else { verify };
        let valid = verify(set, zone.name(), &keys, present.now, &mut self.ledger)?;
        let mut judged = Judged::secure(zone, valid);
        if !valid.is_wildcard(&set.owner) {
            return Ok(judged);
        }
        let proven = Proven::gather(authority, zone, present.now, &mut self.ledger)?;
        let no_closer = self
            .ledger
            .hashing(|hashes| denial::no_closer(zone.name(), &proven.proofs, &set.owner, valid.labels, hashes));
        let (owner, rtype) = (set.owner.clone(), set.rtype);
        match no_closer {
            NoCloser::Proven => {}
            NoCloser::Insecure => judged.state = LinkState::Insecure,
            NoCloser::Nothing => return Err(proven.unproven(&owner, rtype, zone, Unproven::NoCloserName)),
            NoCloser::TooMany => return Err(Failure::Nsec3Iterations { owner, rtype, zone: zone.name().clone() }),
            NoCloser::TooCostly => return Err(Failure::Budget { owner, rtype, kind: BudgetKind::Nsec3Hashes }),
        }
        judged.window = judged.window.and(proven.window());
        // There is one, whatever its name.
        judged.wildcard = Some(wildcard(&set.owner, valid.labels).unwrap_or_else(|| set.owner.clone()));
        Ok(judged)
    }

    /// Judges the absence of TLSA records at the end of a chain. `None`: it must wait.
    pub(crate) fn judge_denial(&mut self, chain: &Chain, question: &Question, present: Present<'_>) -> Option<Judged> {
        let mut names: Vec<&DnsName> = Vec::new();
        for set in chain.authority.iter().filter(|set| is_proof(set)) {
            for signature in &set.signatures {
                let signer = &signature.signer;
                // Proofs for other links of the chain are among them.
                if chain.end.ends_with(signer) && set.owner.ends_with(signer) && !names.contains(&signer) {
                    names.push(signer);
                }
            }
        }
        // The zone of the name is the deepest.
        names.sort_by_key(|name| std::cmp::Reverse(name.label_count()));
        let signers = self.signers(&chain.end, Rtype::TLSA, &names, present)?;
        let judged = self.judged_by(&signers, |machine, zone| machine.deny_by(chain, zone, present));
        if judged.is_some() {
            return judged;
        }
        let is_empty = chain.authority.is_empty() && chain.aliases.is_empty();
        self.unsigned(&chain.end, present, |zone| match is_empty {
            true => Failure::EmptyReply { question: question.clone() },
            false => {
                Failure::ProofMissing { owner: chain.end.clone(), rtype: Rtype::TLSA, zone, what: Unproven::Denial }
            }
        })
    }

    /// By the records of one zone.
    fn deny_by(&mut self, chain: &Chain, zone: &ZoneFact, present: Present<'_>) -> Result<Judged, Failure> {
        let proven = Proven::gather(&chain.authority, zone, present.now, &mut self.ledger)?;
        let denied =
            self.ledger.hashing(|hashes| denial::denies(zone.name(), &proven.proofs, &chain.end, Rtype::TLSA, hashes));
        let (owner, rtype) = (chain.end.clone(), Rtype::TLSA);
        let found = match denied {
            Denied::Nodata => Found::Nodata,
            Denied::Nxdomain => Found::Nxdomain,
            Denied::Insecure => return Ok(Judged::insecure(zone)),
            Denied::Nothing => return Err(proven.unproven(&owner, rtype, zone, Unproven::Denial)),
            Denied::TooMany => return Err(Failure::Nsec3Iterations { owner, rtype, zone: zone.name().clone() }),
            Denied::TooCostly => return Err(Failure::Budget { owner, rtype, kind: BudgetKind::Nsec3Hashes }),
        };
        let mut judged = Judged::new(LinkState::Secure).under(zone);
        judged.window = judged.window.and(proven.window());
        // RFC 2308 section 5. A denial without the zone's own SOA is good for this once.
        let mut ttl = 0;
        if let Some(soa) = chain.soa().filter(|soa| soa.owner == *zone.name()) {
            let valid = verify_exact(soa, zone.name(), &zone.keys(), present.now, &mut self.ledger)?;
            judged.window = judged.window.and(valid.window);
            ttl = chain.denial_ttl().min(valid.original_ttl).min(proven.ttl);
        }
        judged.denied = Some((found, ttl));
        Ok(judged)
    }
}
