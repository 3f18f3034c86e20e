//! The recursive front: follows aliases across zones, applies faults, and decides as a validating resolver would.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::base::iana::{Rcode, Rtype};

use crate::dns_answer::{Link, Rr, parent_of};
use crate::dns_fault::{EDE_DNSKEY_MISSING, EDE_EXPIRED, EDE_NOT_YET_VALID, EDE_OTHER, Effects, PlacedFault};
use crate::zone::{DnsName, DsForm};
use crate::zone_sign::ServedZone;

/// A resolver gives up on longer chains of aliases. Well above the limit of 8 that a client of ours keeps.
const MAX_LINKS: usize = 32;

/// The verdict of a validating resolver; ordered from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    Secure,
    Insecure,
    /// With the extended error that says why.
    Bogus(u16),
}

/// What the server makes of DNSSEC on behalf of the asker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Front {
    /// Hands out signatures and proofs and never sets AD: a resolver or forwarder that does not validate.
    #[default]
    NonValidating,
    /// Validates unless the question has CD=1: AD=1 on Secure answers, AD=0 on Insecure ones, SERVFAIL with an extended
    /// error on Bogus ones.
    Validating,
    /// Sets AD on every answer, whatever it holds.
    AlwaysAd,
}

/// All that the server answers from; replaced as a whole when something changes.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) zones: BTreeMap<DnsName, Arc<ServedZone>>,
    pub(crate) faults: Vec<PlacedFault>,
    pub(crate) front: Front,
    /// Longer chains of aliases end here.
    pub(crate) cut_aliases: Option<usize>,
}

/// What a delegation with these DS is worth.
fn judged(forms: &[DsForm]) -> Trust {
    let stronger =
        |form: &DsForm| matches!(form, DsForm::Sha256 | DsForm::Sha384 | DsForm::WrongSha256 | DsForm::WrongSha384);
    let usable = |form: &DsForm| match form {
        DsForm::UnknownAlgorithm | DsForm::UnknownDigest => false,
        DsForm::Sha1 | DsForm::WrongSha1 => !forms.iter().any(stronger),
        _ => true,
    };
    let right = |form: &DsForm| matches!(form, DsForm::Sha1 | DsForm::Sha256 | DsForm::Sha384);
    let usable: Vec<&DsForm> = forms.iter().filter(|form| usable(form)).collect();
    match usable.as_slice() {
        [] => Trust::Insecure,
        some if some.iter().any(|form| right(form)) => Trust::Secure,
        _ => Trust::Bogus(EDE_DNSKEY_MISSING),
    }
}

/// An answer before it is put into a message.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub(crate) rcode: Rcode,
    pub(crate) answer: Vec<Rr>,
    pub(crate) authority: Vec<Rr>,
    pub(crate) additional: Vec<Rr>,
    pub(crate) trust: Trust,
    pub(crate) effects: Effects,
}

impl Served {
    /// The zone that answers a question: the deepest one at or above the name, and for DS the one above the delegation.
    fn zone_for(&self, name: &DnsName, rtype: Rtype) -> Option<&ServedZone> {
        let find = |name: &DnsName| name.iter_suffixes().find_map(|suffix| self.zones.get(&suffix)).map(|zone| &**zone);
        match parent_of(name).filter(|_| rtype == Rtype::DS) {
            Some(parent) => find(&parent),
            None => find(name),
        }
    }

    /// The deepest zone strictly above a zone.
    pub(crate) fn parent_zone(&self, apex: &DnsName) -> Option<&ServedZone> {
        self.zone_for(&parent_of(apex)?, Rtype::SOA)
    }

    /// What a validating resolver thinks of the data in a zone at `now`, in seconds since 1970.
    fn zone_trust(&self, zone: &ServedZone, now: i64) -> Trust {
        let above = match self.parent_zone(&zone.apex) {
            Some(parent) => self.zone_trust(parent, now),
            None => Trust::Secure,
        };
        let here = match judged(zone.delegation.forms()) {
            _ if !zone.signed || !zone.supported => Trust::Insecure,
            Trust::Secure if now > zone.expiration => Trust::Bogus(EDE_EXPIRED),
            Trust::Secure if now < zone.inception => Trust::Bogus(EDE_NOT_YET_VALID),
            judged => judged,
        };
        // Below an Insecure or Bogus zone nothing is looked at any more.
        if above == Trust::Secure { here } else { above }
    }

    /// Answers a question as a recursive resolver in front of all zones.
    pub(crate) fn resolve(&self, name: &DnsName, rtype: Rtype, now: i64) -> Resolution {
        let mut result = Resolution {
            rcode: Rcode::NOERROR,
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            trust: Trust::Secure,
            effects: Effects::default(),
        };
        let mut seen: Vec<DnsName> = Vec::new();
        let mut next = Some(name.clone());
        while let Some(name) = next.take() {
            // A loop ends the answer after its last new link, so that the asker has to notice.
            if seen.contains(&name) {
                result.trust = result.trust.max(Trust::Bogus(EDE_OTHER));
                break;
            }
            match self.cut_aliases {
                Some(links) if seen.len() >= links => break,
                None if seen.len() >= MAX_LINKS => {
                    result.rcode = Rcode::SERVFAIL;
                    break;
                }
                _ => {}
            }
            let Some(link) = self.link(&name, rtype, now, &mut result) else {
                result.rcode = Rcode::SERVFAIL;
                break;
            };
            seen.push(name);
            result.rcode = link.rcode;
            result.answer.extend(link.answer);
            for rr in link.authority {
                if !result.authority.contains(&rr) {
                    result.authority.push(rr);
                }
            }
            result.additional.extend(link.additional);
            next = link.target;
        }
        result
    }

    /// One link of the chain, spoilt by the faults that apply to it.
    fn link(&self, name: &DnsName, rtype: Rtype, now: i64, result: &mut Resolution) -> Option<Link> {
        let zone = self.zone_for(name, rtype)?;
        let faults: Vec<&PlacedFault> =
            self.faults.iter().filter(|fault| fault.applies(&zone.apex, name, rtype)).collect();
        let replaced = faults.iter().find_map(|fault| fault.replace(zone, name, rtype));
        let mut link = match replaced {
            Some(link) => link,
            None => zone.look_up(name, rtype)?,
        };
        let mut trust = self.zone_trust(zone, now);
        if trust == Trust::Secure && link.weak_proof {
            trust = Trust::Insecure;
        }
        for fault in faults {
            if let (Trust::Secure, Some(code)) = (trust, fault.extended_error(&link)) {
                trust = Trust::Bogus(code);
            }
            fault.spoil(&mut link);
            fault.disturb(&mut result.effects);
        }
        result.trust = result.trust.max(trust);
        Some(link)
    }
}
