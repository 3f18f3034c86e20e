//! What validated NSEC and NSEC3 RRsets prove to be absent (RFC 4035 section 5.4, RFC 5155 section 8, RFC 6840 section 4).
//!
//! Pure functions: the caller has validated every set, with the keys of the zone it names, and has refused those that were expanded from
//! a wildcard.

use bytes::Bytes;
use domain::base::iana::Rtype;
use domain::rdata::dnssec::RtypeBitmap;

use crate::question::DnsName;

/// An NSEC record (RFC 4034 section 4).
#[derive(Clone, Debug)]
pub(crate) struct Nsec {
    pub(crate) owner: DnsName,
    pub(crate) next: DnsName,
    pub(crate) types: RtypeBitmap<Bytes>,
}

/// An NSEC3 record (RFC 5155 section 3).
#[derive(Clone, Debug)]
pub(crate) struct Nsec3 {
    /// The hash that the owner's first label stands for.
    pub(crate) hash: Bytes,
    pub(crate) next: Bytes,
    pub(crate) iterations: u16,
    pub(crate) salt: Bytes,
    pub(crate) opt_out: bool,
    pub(crate) types: RtypeBitmap<Bytes>,
}

/// Validated records of one zone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proofs {
    pub(crate) nsec: Vec<Nsec>,
    pub(crate) nsec3: Vec<Nsec3>,
}

impl Proofs {
    /// Adds a validated record of `zone`, RDATA as received. One that does not decode, or an NSEC3 with an unknown hash algorithm or flag,
    /// or whose owner is not one label below `zone`, proves nothing and is left out (RFC 5155 sections 8.1, 8.2).
    pub(crate) fn push(&mut self, zone: &DnsName, owner: &DnsName, rtype: Rtype, rdata: &Bytes) {
        let _ = (zone, owner, rtype, rdata);
    }
}

/// How many SHA-1 runs are left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashes {
    pub(crate) left: u32,
}

/// What is proven about a name and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The name exists, or is an empty non-terminal, or a wildcard answers for it, without that type.
    Nodata,
    /// The name does not exist, nor a wildcard for it.
    Nxdomain,
    /// An opt-out span, or more than 100 iterations.
    Insecure,
    /// Nothing.
    Nothing,
    /// More than 500 iterations.
    TooMany,
    /// The hashes are used up.
    TooCostly,
}

/// Whether a wildcard's expansion was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCloser {
    /// No closer name exists.
    Proven,
    /// An opt-out span, or more than 100 iterations.
    Insecure,
    /// It is not proven.
    Nothing,
    /// More than 500 iterations.
    TooMany,
    /// The hashes are used up.
    TooCostly,
}

/// What a denial of DS says about a name as a place where a zone may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutDenial {
    /// A delegation without DS: NS, and neither SOA nor DS. Or more than 100 iterations: what is below is Insecure.
    InsecureCut,
    /// No delegation here: the name goes on in the zone, or does not exist.
    NotACut,
    /// An opt-out span: there may be an unsigned delegation.
    OptOut,
    /// Nothing.
    Nothing,
    /// More than 500 iterations.
    TooMany,
    /// The hashes are used up.
    TooCostly,
}

/// What these records, all of `zone`, prove about `name` and `rtype` (TLSA).
pub(crate) fn denies(zone: &DnsName, sets: &Proofs, name: &DnsName, rtype: Rtype, hashes: &mut Hashes) -> Denied {
    let _ = (zone, sets, name, rtype, hashes);
    Denied::Nothing
}

/// Whether no name exists that is closer to `name` than the wildcard whose expansion it is; `labels` from the signature: those of the
/// wildcard without its asterisk.
pub(crate) fn no_closer(zone: &DnsName, sets: &Proofs, name: &DnsName, labels: u8, hashes: &mut Hashes) -> NoCloser {
    let _ = (zone, sets, name, labels, hashes);
    NoCloser::Nothing
}

/// What these records, all of `zone`, say about `name`, below `zone`, when asked for DS.
pub(crate) fn cut(zone: &DnsName, sets: &Proofs, name: &DnsName, hashes: &mut Hashes) -> CutDenial {
    let _ = (zone, sets, name, hashes);
    CutDenial::Nothing
}
