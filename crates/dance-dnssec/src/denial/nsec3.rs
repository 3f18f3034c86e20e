//! Denial by NSEC3 records (RFC 5155 section 8).

use bytes::Bytes;
use domain::base::iana::{Nsec3HashAlgorithm, Rtype};
use domain::dep::octseq::Parser;
use domain::dnssec::common::nsec3_hash;
use domain::rdata;
use domain::rdata::nsec3::Nsec3Salt;
use domain::utils::base32;

use super::{CutDenial, Denied, Hashes, NoCloser, TooCostly, Types, cut_by_types, hides_names_below, lacks, wildcard};
use crate::question::DnsName;

/// Above this, what depends on the records is Insecure (RFC 9276 section 3.2, the figure from its appendix A).
pub(super) const MAX_SECURE_ITERATIONS: u16 = 100;
/// Above this, it is Bogus (RFC 9276 section 3.2, the figure from its appendix A).
pub(super) const MAX_ITERATIONS: u16 = 500;

/// The only flag there is (RFC 5155 section 3.1.2.1).
const OPT_OUT: u8 = 1;

/// The hash of a name: SHA-1 is the only algorithm (RFC 5155 section 11).
type Hash = [u8; 20];

/// The NSEC3 records with the same parameters.
#[derive(Clone, Debug)]
pub(super) struct Nsec3Chain {
    iterations: u16,
    salt: Nsec3Salt<Bytes>,
    records: Vec<Nsec3>,
}

/// One NSEC3 record: a name with hash `owner` exists with `types`, and none with a hash between this and `next`, but perhaps, if
/// `opt_out`, unsigned delegations.
#[derive(Clone, Debug)]
struct Nsec3 {
    owner: Hash,
    next: Hash,
    opt_out: bool,
    types: Types,
}

/// Where a name stands.
enum Place<'a> {
    /// It exists.
    Exact(&'a Nsec3),
    /// It does not: `encloser` is the deepest name above it that does, and `cover` shows that the next label down leads nowhere.
    Below { encloser: DnsName, cover: &'a Nsec3 },
}

/// Adds a record to the chain it belongs to, RDATA as of RFC 5155 section 3.2, unless it does not decode, no chain of the zone can have
/// it, or it is of an unknown kind.
pub(super) fn push(chains: &mut Vec<Nsec3Chain>, zone: &DnsName, owner: &DnsName, rdata: &Bytes) {
    let Ok(record) = rdata::Nsec3::parse(&mut Parser::from_ref(rdata)) else { return };
    if record.hash_algorithm() != Nsec3HashAlgorithm::SHA1 || record.flags() & !OPT_OUT != 0 {
        return;
    }
    let Some(hash) = hash_of_owner(zone, owner) else { return };
    let Ok(next) = record.next_owner().as_slice().try_into() else { return };
    let added = Nsec3 { owner: hash, next, opt_out: record.opt_out(), types: record.types().clone() };
    let (iterations, salt) = (record.iterations(), record.salt());
    match chains.iter_mut().find(|chain| chain.iterations == iterations && chain.salt == *salt) {
        Some(chain) => chain.records.push(added),
        None => chains.push(Nsec3Chain { iterations, salt: salt.clone(), records: vec![added] }),
    }
}

/// The hash in an owner name directly below the apex.
fn hash_of_owner(zone: &DnsName, owner: &DnsName) -> Option<Hash> {
    if owner.parent()? != *zone {
        return None;
    }
    let label = core::str::from_utf8(owner.first().as_slice()).ok()?;
    base32::decode_hex::<Vec<u8>>(label).ok()?.try_into().ok()
}

impl Nsec3 {
    fn covers(&self, hash: &Hash) -> bool {
        match self.owner < self.next {
            true => self.owner < *hash && *hash < self.next,
            // The last record leads back to the first; if there is only one, to itself.
            false => self.owner < *hash || *hash < self.next,
        }
    }
}

impl Nsec3Chain {
    pub(super) const fn iterations(&self) -> u16 {
        self.iterations
    }

    fn hash(&self, name: &DnsName, hashes: &mut Hashes) -> Result<Option<Hash>, TooCostly> {
        hashes.spend(u32::from(self.iterations).saturating_add(1))?;
        let hash = nsec3_hash::<_, _, Vec<u8>>(name, Nsec3HashAlgorithm::SHA1, self.iterations, &self.salt);
        Ok(hash.ok().and_then(|hash| hash.as_slice().try_into().ok()))
    }

    fn matching(&self, hash: &Hash) -> Option<&Nsec3> {
        self.records.iter().find(|record| record.owner == *hash)
    }

    fn covering(&self, hash: &Hash) -> Option<&Nsec3> {
        self.records.iter().find(|record| record.covers(hash))
    }

    /// The name itself, or the proof of its closest encloser (RFC 5155 section 8.3). Each name is hashed once, from the name up to the
    /// first that exists.
    fn place(&self, zone: &DnsName, name: &DnsName, hashes: &mut Hashes) -> Result<Option<Place<'_>>, TooCostly> {
        let mut next_closer: Option<Hash> = None;
        for above in name.iter_suffixes().take_while(|above| above.ends_with(zone)) {
            let Some(hash) = self.hash(&above, hashes)? else { return Ok(None) };
            let Some(record) = self.matching(&hash) else {
                next_closer = Some(hash);
                continue;
            };
            let Some(next_closer) = next_closer else { return Ok(Some(Place::Exact(record))) };
            if hides_names_below(&record.types) {
                return Ok(None);
            }
            let cover = self.covering(&next_closer);
            return Ok(cover.map(|cover| Place::Below { encloser: above, cover }));
        }
        Ok(None)
    }

    /// What the records prove about a name in the zone (RFC 5155 sections 8.4 to 8.7).
    pub(super) fn denies(
        &self,
        zone: &DnsName,
        name: &DnsName,
        rtype: Rtype,
        hashes: &mut Hashes,
    ) -> Result<Option<Denied>, TooCostly> {
        let (encloser, cover) = match self.place(zone, name, hashes)? {
            None => return Ok(None),
            Some(Place::Exact(record)) => return Ok(lacks(&record.types, rtype).then_some(Denied::Nodata)),
            Some(Place::Below { encloser, cover }) => (encloser, cover),
        };
        // Section 8.6; and a name below an unsigned delegation that the chain leaves out is not for this zone to deny (section 9.2).
        if cover.opt_out {
            return Ok(Some(Denied::Insecure));
        }
        let Some(wildcard) = wildcard(&encloser) else { return Ok(None) };
        let Some(hash) = self.hash(&wildcard, hashes)? else { return Ok(None) };
        if let Some(record) = self.matching(&hash) {
            return Ok(lacks(&record.types, rtype).then_some(Denied::Nodata));
        }
        Ok(self.covering(&hash).map(|cover| if cover.opt_out { Denied::Insecure } else { Denied::Nxdomain }))
    }

    /// Whether a name does not exist, by itself or for a name below it. That the name above it does is for others to know.
    pub(super) fn absent(&self, name: &DnsName, hashes: &mut Hashes) -> Result<Option<NoCloser>, TooCostly> {
        let Some(hash) = self.hash(name, hashes)? else { return Ok(None) };
        Ok(self.covering(&hash).map(|cover| if cover.opt_out { NoCloser::Insecure } else { NoCloser::Proven }))
    }

    /// What the records prove about a name below the apex as a zone cut (RFC 5155 section 8.6).
    pub(super) fn cut(
        &self,
        zone: &DnsName,
        name: &DnsName,
        hashes: &mut Hashes,
    ) -> Result<Option<CutDenial>, TooCostly> {
        Ok(match self.place(zone, name, hashes)? {
            None => None,
            Some(Place::Exact(record)) => cut_by_types(&record.types),
            Some(Place::Below { cover, .. }) => {
                Some(if cover.opt_out { CutDenial::OptOut } else { CutDenial::NotACut })
            }
        })
    }
}

#[cfg(test)]
impl Nsec3Chain {
    /// The hashed owners.
    pub(super) fn owners(&self) -> Vec<Hash> {
        self.records.iter().map(|record| record.owner).collect()
    }

    /// Puts the other chain's records in place of those with the same owners.
    pub(super) fn replace(&mut self, other: &Self) {
        for record in &mut self.records {
            if let Some(new) = other.matching(&record.owner) {
                *record = new.clone();
            }
        }
    }
}
