//! What the NSEC and NSEC3 records of one zone prove (RFC 4035 section 5.4, RFC 5155 section 8, RFC 6840 section 4).
//!
//! Pure functions over records that are taken for true: whoever fills a [`Proofs`] has checked that the zone itself signed each of them,
//! and that none is the expansion of a wildcard. From there on nothing is claimed that the records do not prove; what is left out by
//! an attacker can only make less provable.

mod nsec;
mod nsec3;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use domain::base::iana::Rtype;
use domain::rdata::dnssec::RtypeBitmap;

use crate::question::DnsName;
use nsec::Nsec;
use nsec3::Nsec3Chain;

/// The validated NSEC and NSEC3 records of one reply that are signed by one zone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proofs {
    nsec: Vec<Nsec>,
    /// By parameters: records with different ones prove nothing together (RFC 5155 section 8.2).
    nsec3: Vec<Nsec3Chain>,
}

/// What is proven about a name and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The name exists, itself or by a wildcard, without records of the type and without an alias.
    Nodata,
    /// The name does not exist.
    Nxdomain,
    /// Nothing secure: the name may lie in or below an unsigned delegation (opt-out), or the NSEC3 records have more than
    /// [`nsec3::MAX_SECURE_ITERATIONS`].
    Insecure,
    /// Nothing.
    Nothing,
    /// Nothing: the NSEC3 records have more than [`nsec3::MAX_ITERATIONS`].
    TooMany,
    /// The [`Hashes`] are used up.
    TooCostly,
}

/// Whether a wildcard was rightly expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCloser {
    /// No name closer than the wildcard's parent exists.
    Proven,
    /// As [`Denied::Insecure`].
    Insecure,
    /// Not proven.
    Nothing,
    /// As [`Denied::TooMany`].
    TooMany,
    /// As [`Denied::TooCostly`].
    TooCostly,
}

/// What the denial of a DS record says about a name as the place where a zone begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutDenial {
    /// A delegation without DS.
    InsecureCut,
    /// Nothing that may count as secure: the NSEC3 records have more than [`nsec3::MAX_SECURE_ITERATIONS`]. They say so of every name, so
    /// whoever has one such record can make it say so of any.
    Unhashed,
    /// No delegation.
    NotACut,
    /// No signed delegation; perhaps an unsigned one, here or above (RFC 5155 section 8.6).
    OptOut,
    /// Nothing.
    Nothing,
    /// As [`Denied::TooMany`].
    TooMany,
    /// As [`Denied::TooCostly`].
    TooCostly,
}

/// How many more runs of SHA-1 may go into NSEC3 hashes: CVE-2023-50868 is about making a resolver compute them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashes {
    pub(crate) left: u32,
}

/// The [`Hashes`] are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TooCostly;

/// Why NSEC3 records prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoProof {
    Nothing,
    Insecure,
    TooMany,
    TooCostly,
}

impl Hashes {
    const fn spend(&mut self, runs: u32) -> Result<(), TooCostly> {
        match self.left.checked_sub(runs) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(TooCostly),
        }
    }
}

impl Proofs {
    /// Adds a validated record of `zone`, RDATA as received. One that does not decode, that no chain of the zone can have, or that is an
    /// NSEC3 of an unknown kind (RFC 5155 sections 8.1, 8.2) proves nothing and is left out.
    pub(crate) fn push(&mut self, zone: &DnsName, owner: &DnsName, rtype: Rtype, rdata: &Bytes) {
        match rtype {
            Rtype::NSEC => self.nsec.extend(Nsec::parse(zone, owner, rdata)),
            Rtype::NSEC3 => nsec3::push(&mut self.nsec3, zone, owner, rdata),
            _ => {}
        }
    }

    /// What holds by one of the NSEC3 chains. One that proves makes up for others that do not, as while a zone changes its parameters.
    fn by_nsec3<T>(
        &self,
        hashes: &mut Hashes,
        prove: impl Fn(&Nsec3Chain, &mut Hashes) -> Result<Option<T>, TooCostly>,
    ) -> Result<T, NoProof> {
        let mut no_proof = NoProof::Nothing;
        for chain in &self.nsec3 {
            if chain.iterations() > nsec3::MAX_ITERATIONS {
                if no_proof == NoProof::Nothing {
                    no_proof = NoProof::TooMany;
                }
            } else if chain.iterations() > nsec3::MAX_SECURE_ITERATIONS {
                no_proof = NoProof::Insecure;
            } else if let Some(proven) = prove(chain, hashes).map_err(|TooCostly| NoProof::TooCostly)? {
                return Ok(proven);
            }
        }
        Err(no_proof)
    }
}

/// What these records, all of `zone`, prove about the name and type, whatever the reply's code says.
pub(crate) fn denies(zone: &DnsName, sets: &Proofs, name: &DnsName, rtype: Rtype, hashes: &mut Hashes) -> Denied {
    // The DS of a zone is its parent's to deny.
    if !name.ends_with(zone) || (rtype == Rtype::DS && name == zone) {
        return Denied::Nothing;
    }
    if let Some(denied) = nsec::denies(&sets.nsec, zone, name, rtype) {
        return denied;
    }
    match sets.by_nsec3(hashes, |chain, hashes| chain.denies(zone, name, rtype, hashes)) {
        Ok(denied) => denied,
        Err(NoProof::Nothing) => Denied::Nothing,
        Err(NoProof::Insecure) => Denied::Insecure,
        Err(NoProof::TooMany) => Denied::TooMany,
        Err(NoProof::TooCostly) => Denied::TooCostly,
    }
}

/// Whether no name is closer to `name` than the wildcard of `zone` that was expanded to it (RFC 4035 section 5.3.4, RFC 5155
/// section 8.8); `labels` from the signature: those of the wildcard without its asterisk.
pub(crate) fn no_closer(zone: &DnsName, sets: &Proofs, name: &DnsName, labels: u8, hashes: &mut Hashes) -> NoCloser {
    let Some(next_closer) = next_closer(zone, name, labels) else { return NoCloser::Nothing };
    if nsec::absent(&sets.nsec, zone, &next_closer) {
        return NoCloser::Proven;
    }
    match sets.by_nsec3(hashes, |chain, hashes| chain.absent(&next_closer, hashes)) {
        Ok(no_closer) => no_closer,
        Err(NoProof::Nothing) => NoCloser::Nothing,
        Err(NoProof::Insecure) => NoCloser::Insecure,
        Err(NoProof::TooMany) => NoCloser::TooMany,
        Err(NoProof::TooCostly) => NoCloser::TooCostly,
    }
}

/// What these records, all of `zone`, say about a name below it as a zone cut.
pub(crate) fn cut(zone: &DnsName, sets: &Proofs, name: &DnsName, hashes: &mut Hashes) -> CutDenial {
    if !name.ends_with(zone) || name == zone {
        return CutDenial::Nothing;
    }
    if let Some(cut) = nsec::cut(&sets.nsec, zone, name) {
        return cut;
    }
    match sets.by_nsec3(hashes, |chain, hashes| chain.cut(zone, name, hashes)) {
        Ok(cut) => cut,
        Err(NoProof::Nothing) => CutDenial::Nothing,
        Err(NoProof::Insecure) => CutDenial::Unhashed,
        Err(NoProof::TooMany) => CutDenial::TooMany,
        Err(NoProof::TooCostly) => CutDenial::TooCostly,
    }
}

/// The types at a name that exists, as an NSEC or NSEC3 record lists them.
type Types = RtypeBitmap<Bytes>;

/// Whether the record belongs to the upper side of a zone cut (RFC 6840 section 4.1).
fn is_delegation(types: &Types) -> bool {
    types.contains(Rtype::NS) && !types.contains(Rtype::SOA)
}

/// Whether names below may exist that the zone's own records say nothing about (RFC 6840 section 4.1).
fn hides_names_below(types: &Types) -> bool {
    is_delegation(types) || types.contains(Rtype::DNAME)
}

/// Whether these types at a name deny one (RFC 4035 section 5.4, RFC 6840 sections 4.1 and 4.3).
fn lacks(types: &Types, rtype: Rtype) -> bool {
    let right_side_of_cut = match rtype {
        Rtype::DS => !types.contains(Rtype::SOA),
        _ => !is_delegation(types),
    };
    right_side_of_cut && !types.contains(rtype) && !types.contains(Rtype::CNAME)
}

/// What these types at a name that is not the zone's apex say about it as a zone cut (RFC 6840 section 4.4).
fn cut_by_types(types: &Types) -> Option<CutDenial> {
    if types.contains(Rtype::DS) || types.contains(Rtype::SOA) {
        return None;
    }
    Some(if types.contains(Rtype::NS) { CutDenial::InsecureCut } else { CutDenial::NotACut })
}

/// `*` below this name.
fn wildcard(parent: &DnsName) -> Option<DnsName> {
    let octets = [b"\x01*", parent.as_slice()].concat();
    DnsName::from_octets(octets.into()).ok()
}

/// The last `labels` labels of the name, which must lie in the zone, and one more.
fn next_closer(zone: &DnsName, name: &DnsName, labels: u8) -> Option<DnsName> {
    // Counted with the root's, as `domain` does.
    let encloser = usize::from(labels) + 1;
    if encloser < zone.label_count() || !name.ends_with(zone) {
        return None;
    }
    let skipped = name.label_count().checked_sub(encloser + 1)?;
    name.iter_suffixes().nth(skipped)
}
