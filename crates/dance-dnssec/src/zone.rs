//! What the replies for DS and DNSKEY prove about one name: a zone's keys, an unsigned delegation, or no zone.

use bytes::Bytes;
use dance_core::UnixTime;
use dance_core::answer::{MAX_CACHE, MAX_FAILURE_CACHE};
use domain::base::iana::Rtype;

use crate::anchors::Anchor;
use crate::budget::{BudgetKind, MAX_DIGESTS};
use crate::denial::{self, CutDenial, NoCloser};
use crate::fact::{Fact, Kind, Window, ZoneFact};
use crate::failure::{Failure, Unproven};
use crate::keys::{Digest, Ds, Key};
use crate::message::{Rrset, Sections};
use crate::proof::ZoneLink;
use crate::proofs::Proven;
use crate::question::{DnsName, Question};
use crate::signature::{Ledger, Valid, verify, verify_exact};
use crate::time::unix;

/// A signed delegation: what the zone above says about the keys.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) name: DnsName,
    pub(crate) window: Window,
    ds: Vec<Ds>,
    ttl: u32,
    /// From the anchor down, with the DS records.
    pub(crate) chain: Vec<ZoneLink>,
}

/// What a reply for DS says.
pub(crate) enum Delegation {
    Signed(Cut),
    /// Unsigned, no zone, or a failure.
    Settled(Fact),
}

/// What a fact has from the zone above, and what its own signatures add.
struct Ground {
    window: Window,
    ttl: u32,
    chain: Vec<ZoneLink>,
}

impl Ground {
    /// Starts from the zone above.
    fn of(zone: &ZoneFact) -> Self {
        Self { window: zone.0.window, ttl: u32::MAX, chain: zone.0.chain.clone() }
    }

    /// Adds a signature about `name`.
    fn add(&mut self, name: &DnsName, rtype: Rtype, ttl: u32, valid: &Valid) {
        self.window = self.window.and(valid.window);
        self.ttl = self.ttl.min(ttl).min(valid.original_ttl);
        self.chain.push(ZoneLink {
            zone: name.clone(),
            rtype,
            key_tag: valid.key_tag,
            algorithm: valid.algorithm,
            expiry: unix(valid.window.until),
        });
    }

    fn add_proofs(&mut self, name: &DnsName, proven: &Proven) {
        if let Some(last) = &proven.valid {
            self.add(name, Rtype::DS, proven.ttl, last);
        }
    }

    fn fact(self, name: &DnsName, kind: Kind, now: UnixTime) -> Fact {
        let ttl = u64::from(self.ttl).min(MAX_CACHE.as_secs());
        let good_until = now.as_secs().saturating_add(ttl).min(self.window.until.saturating_add(1));
        Fact { name: name.clone(), kind, window: self.window, learnt: now.as_secs(), good_until, chain: self.chain }
    }
}

fn failed(name: &DnsName, failure: Failure, now: UnixTime) -> Fact {
    Fact {
        name: name.clone(),
        kind: Kind::Failed(failure),
        window: Window::ALWAYS,
        learnt: now.as_secs(),
        good_until: now.as_secs().saturating_add(MAX_FAILURE_CACHE.as_secs()),
        chain: Vec::new(),
    }
}

/// What the reply to the question for DS of `name` proves, when `zone` is the one above and no zone is between.
pub(crate) fn delegation(
    zone: &ZoneFact,
    name: &DnsName,
    sections: &Sections,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Delegation {
    match try_delegation(zone, name, sections, now, ledger) {
        Ok(delegation) => delegation,
        Err(failure) => Delegation::Settled(failed(name, failure, now)),
    }
}

fn try_delegation(
    zone: &ZoneFact,
    name: &DnsName,
    sections: &Sections,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Delegation, Failure> {
    let at = |rtype| sections.answer.iter().find(move |set| set.rtype == rtype && set.owner == *name);
    if let Some(set) = at(Rtype::DS).filter(|set| !set.data.is_empty()) {
        return by_ds(zone, set, now, ledger);
    }
    let is_dname = |set: &&Rrset| {
        set.rtype == Rtype::DNAME
            && set.owner != *name
            && name.ends_with(&set.owner)
            && set.owner.ends_with(zone.name())
    };
    let dname = sections.answer.iter().find(is_dname);
    let fact = match (dname, at(Rtype::CNAME)) {
        (Some(dname), _) => by_dname(zone, name, dname, now, ledger)?,
        (None, Some(cname)) => by_cname(zone, cname, &sections.authority, now, ledger)?,
        (None, None) => by_denial(zone, name, &sections.authority, now, ledger)?,
    };
    Ok(Delegation::Settled(fact))
}

/// A delegation with DS records.
fn by_ds(zone: &ZoneFact, set: &Rrset, now: UnixTime, ledger: &mut Ledger) -> Result<Delegation, Failure> {
    let valid = verify_exact(set, zone.name(), &zone.keys(), now, ledger)?;
    let name = &set.owner;
    let mut ground = Ground::of(zone);
    ground.add(name, Rtype::DS, set.ttl, &valid);
    let ds = usable(set);
    if ds.is_empty() {
        return Ok(Delegation::Settled(ground.fact(name, Kind::Unsigned, now)));
    }
    if zone.depth() >= ledger.budget.zones {
        return Err(Failure::Budget { owner: name.clone(), rtype: Rtype::DS, kind: BudgetKind::Zones });
    }
    let Ground { window, ttl, chain } = ground;
    Ok(Delegation::Signed(Cut { name: name.clone(), window, ds, ttl, chain }))
}

/// Below a DNAME there is nothing, so no zone (RFC 6672 section 2.4).
fn by_dname(
    zone: &ZoneFact,
    name: &DnsName,
    dname: &Rrset,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Fact, Failure> {
    let valid = verify_exact(dname, zone.name(), &zone.keys(), now, ledger)?;
    let mut ground = Ground::of(zone);
    ground.add(name, Rtype::DS, dname.ttl, &valid);
    Ok(ground.fact(name, Kind::NotAZone, now))
}

/// Where an alias is there is nothing else, so no zone (RFC 2181 section 10.1); where a wildcard makes one, there is no name.
fn by_cname(
    zone: &ZoneFact,
    cname: &Rrset,
    authority: &[Rrset],
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Fact, Failure> {
    let name = &cname.owner;
    let valid = verify(cname, zone.name(), &zone.keys(), now, ledger)?;
    let mut ground = Ground::of(zone);
    ground.add(name, Rtype::DS, cname.ttl, &valid);
    if !valid.is_wildcard(name) {
        return Ok(ground.fact(name, Kind::NotAZone, now));
    }
    let proven = Proven::gather(authority, zone, now, ledger)?;
    ground.add_proofs(name, &proven);
    let kind = match ledger.hashing(|hashes| denial::no_closer(zone.name(), &proven.proofs, name, valid.labels, hashes))
    {
        NoCloser::Proven => Kind::NotAZone,
        // There may be an unsigned delegation in the span.
        NoCloser::Insecure => Kind::Unsigned,
        NoCloser::Nothing => return Err(proven.unproven(name, Rtype::DS, zone, Unproven::NoCloserName)),
        NoCloser::TooMany => return Err(too_many(name, zone)),
        NoCloser::TooCostly => return Err(too_costly(name)),
    };
    Ok(ground.fact(name, kind, now))
}

/// No DS: a delegation without, or no delegation.
fn by_denial(
    zone: &ZoneFact,
    name: &DnsName,
    authority: &[Rrset],
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Fact, Failure> {
    let proven = Proven::gather(authority, zone, now, ledger)?;
    let denial = ledger.hashing(|hashes| denial::cut(zone.name(), &proven.proofs, name, hashes));
    let kind = match denial {
        CutDenial::InsecureCut | CutDenial::OptOut | CutDenial::Unhashed => Kind::Unsigned,
        CutDenial::NotACut => Kind::NotAZone,
        CutDenial::Nothing => return Err(proven.unproven(name, Rtype::DS, zone, Unproven::NoDelegation)),
        CutDenial::TooMany => return Err(too_many(name, zone)),
        CutDenial::TooCostly => return Err(too_costly(name)),
    };
    let mut ground = Ground::of(zone);
    ground.add_proofs(name, &proven);
    if denial == CutDenial::Unhashed {
        // One forged reply must not keep the clients of a signed zone out for long.
        ground.ttl = ground.ttl.min(u32::try_from(MAX_FAILURE_CACHE.as_secs()).unwrap_or(0));
    }
    Ok(ground.fact(name, kind, now))
}

fn too_many(name: &DnsName, zone: &ZoneFact) -> Failure {
    Failure::Nsec3Iterations { owner: name.clone(), rtype: Rtype::DS, zone: zone.name().clone() }
}

fn too_costly(name: &DnsName) -> Failure {
    Failure::Budget { owner: name.clone(), rtype: Rtype::DS, kind: BudgetKind::Nsec3Hashes }
}

/// The DS records that count: of supported algorithm and digest, and SHA-1 only where there is nothing better (RFC 4509 section 3).
fn usable(set: &Rrset) -> Vec<Ds> {
    let mut ds: Vec<Ds> = set.data.iter().filter_map(Ds::parse).collect();
    if ds.iter().any(|ds| ds.digest > Digest::Sha1) {
        ds.retain(|ds| ds.digest > Digest::Sha1);
    }
    ds
}

/// What the reply to the question for DNSKEY proves, under what the zone above says.
pub(crate) fn delegated(cut: &Cut, sections: &Sections, now: UnixTime, ledger: &mut Ledger) -> Fact {
    let ground = Ground { window: cut.window, ttl: cut.ttl, chain: cut.chain.clone() };
    let name = &cut.name;
    keys(name, ground, &cut.ds, |_| false, sections, now, ledger).unwrap_or_else(|failure| failed(name, failure, now))
}

/// What it proves under a trust anchor.
pub(crate) fn anchored(anchor: &Anchor, sections: &Sections, now: UnixTime, ledger: &mut Ledger) -> Fact {
    let ground = Ground { window: Window::ALWAYS, ttl: u32::MAX, chain: Vec::new() };
    let name = &anchor.zone;
    let is_anchor = |rdata: &Bytes| anchor.keys.contains(rdata);
    let fact = keys(name, ground, &anchor.ds, is_anchor, sections, now, ledger);
    fact.unwrap_or_else(|failure| {
        // An anchor's own keys are always signed: only a resolver that drops signatures leaves them bare.
        let failure = match failure {
            Failure::SignatureMissing { .. } => Failure::ResolverStripsSignatures { anchor: name.clone() },
            Failure::NoKeys { .. } if sections.answer.is_empty() && sections.authority.is_empty() => {
                Failure::EmptyReply { question: Question::new(name, Rtype::DNSKEY) }
            }
            failure => failure,
        };
        failed(name, failure, now)
    })
}

fn keys(
    name: &DnsName,
    mut ground: Ground,
    ds: &[Ds],
    is_anchor: impl Fn(&Bytes) -> bool,
    sections: &Sections,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Fact, Failure> {
    let set = sections.answer.iter().find(|set| set.rtype == Rtype::DNSKEY && set.owner == *name);
    let set = set.filter(|set| !set.data.is_empty()).ok_or_else(|| Failure::NoKeys { zone: name.clone() })?;
    if !set.is_signed() {
        return Err(Failure::SignatureMissing { owner: name.clone(), rtype: Rtype::DNSKEY, zone: name.clone() });
    }
    let keys: Vec<(Key, &Bytes)> = set.data.iter().filter_map(|data| Some((Key::parse(data)?, data))).collect();
    let mut digests = 0;
    let mut trusted = Vec::new();
    for (key, rdata) in &keys {
        let mut trust = is_anchor(rdata);
        for ds in ds.iter().filter(|ds| ds.is_about(key)) {
            digests += 1;
            if digests > MAX_DIGESTS {
                return Err(Failure::Budget { owner: name.clone(), rtype: Rtype::DNSKEY, kind: BudgetKind::Digests });
            }
            trust = trust || ds.matches(name, rdata);
        }
        if trust {
            trusted.push(key);
        }
    }
    if trusted.is_empty() {
        return Err(Failure::NoKeyForDs { zone: name.clone() });
    }
    let valid = verify_exact(set, name, &trusted, now, ledger).map_err(|failure| match failure {
        Failure::NoKeyForSignature { zone, .. } => Failure::NoKeyForDs { zone },
        failure => failure,
    })?;
    ground.add(name, Rtype::DNSKEY, set.ttl, &valid);
    let keys = keys.into_iter().map(|(key, _)| key).collect();
    Ok(ground.fact(name, Kind::Keys(keys), now))
}

impl ZoneFact {
    /// Its keys; none unless it is a zone that has them.
    pub(crate) fn keys(&self) -> Vec<&Key> {
        match &self.0.kind {
            Kind::Keys(keys) => keys.iter().collect(),
            Kind::Unsigned | Kind::NotAZone | Kind::Failed(_) => Vec::new(),
        }
    }

    /// Zones from the anchor down to here.
    fn depth(&self) -> usize {
        self.0.chain.iter().filter(|link| link.rtype == Rtype::DNSKEY).count()
    }
}
