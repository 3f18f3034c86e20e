//! Bad things that a zone, a server or somebody on the path can do.

use std::time::Duration;

use bytes::Bytes;
use domain::base::iana::{Rcode, Rtype};

use crate::dns::Sources;
use crate::dns_answer::{Link, Rr, parent_of, wildcard_of};
use crate::dns_error::WorldError;
use crate::dns_forge::Forged;
use crate::dns_resolve::Served;
use crate::zone::{DnsName, parse_name};
use crate::zone_sign::{RrSet, ServedZone};

/// One bad thing. Faults that are part of the signed data itself (expired signatures, a DS that matches nothing) are
/// settings of [`Zone`](crate::Zone); loops and long chains of aliases are plain zone data.
///
/// A fault applies wherever an answer passes its name or zone, also when an alias leads there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The last octet of each answer record's data is changed; signatures stay as they were.
    TamperedRdata,
    /// No RRSIG records at all, as from a resolver that drops them.
    StrippedSignatures,
    /// No NSEC or NSEC3 records: a wildcard answer, NXDOMAIN or NODATA without its proof.
    StrippedProof,
    /// An existing name is answered from the wildcard beside it, with genuine signatures and an unrelated NSEC(3).
    ReplayedWildcard,
    /// An existing RRset is denied by NODATA with a genuine NSEC(3) that says something else.
    FalseNoData,
    /// An existing name is denied by NXDOMAIN with a genuine NSEC(3) that says something else.
    FalseNxDomain,
    /// NOERROR with three empty sections.
    EmptyAnswer,
    /// The answer section holds this other name's records, under that other name.
    OtherOwner(String),
    /// The answer section holds this other name's records and signatures, under the name asked for.
    RecordsOf(String),
    /// Exactly this answer, in place of the true one. What an alias in it leads to has to be in it too.
    Answers(Forged),
    /// This besides the true answer, after its records.
    Adds(Forged),
    /// An alias is not followed: the answer ends with it.
    AliasOnly,
    /// The records of each section in reverse order.
    Reversed,
    /// The TTL in the message is this many seconds, whatever was signed.
    ForgedTtl(u32),
    /// Each RRset is preceded by this many copies of its signature with changed octets.
    BadSignaturesFirst(u16),
    /// RCODE SERVFAIL.
    Servfail,
    /// RCODE REFUSED.
    Refused,
    /// RCODE FORMERR.
    FormErr,
    /// A message that ends within a record.
    Malformed,
    /// No answer, over UDP and TCP.
    NeverAnswers,
    /// The answer leaves this much later.
    DelayedBy(Duration),
    /// Over UDP an empty answer with TC=1; the whole answer over TCP.
    TruncateUdp,
    /// Over TCP, too, an empty answer with TC=1.
    TruncateTcp,
    /// Over TCP one octet at a time, with this pause between two octets.
    SlowTcp(Duration),
    /// Over TCP the connection is closed in place of an answer.
    ClosesTcp,
    /// The answer carries another message ID.
    WrongId,
    /// The answer carries another question.
    WrongQuestion,
    /// EDNS in the question is not understood: no OPT record, no DNSSEC records, 512 octets over UDP.
    IgnoresEdns,
}

/// Where a fault applies.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    Everywhere,
    Zone(DnsName),
    Name(DnsName, Option<Rtype>),
}

/// A fault with its place.
#[derive(Clone, Debug)]
pub(crate) struct PlacedFault {
    pub(crate) scope: Scope,
    pub(crate) fault: Fault,
    /// The name that `fault` mentions, read once.
    other: Option<DnsName>,
    /// What `fault` forges, made once.
    forged: Option<Link>,
}

impl PlacedFault {
    /// Reads names and makes what is forged, from what is served now.
    pub(crate) fn new(scope: Scope, fault: Fault, sources: &Sources, served: &Served) -> Result<Self, WorldError> {
        let other = match &fault {
            Fault::OtherOwner(name) | Fault::RecordsOf(name) => Some(parse_name(name)?),
            _ => None,
        };
        let forged = match &fault {
            Fault::Answers(forged) | Fault::Adds(forged) => Some(forged.make(sources, served)?),
            _ => None,
        };
        Ok(Self { scope, fault, other, forged })
    }

    /// Whether the fault applies to a link of an answer.
    pub(crate) fn applies(&self, zone: &DnsName, name: &DnsName, rtype: Rtype) -> bool {
        match &self.scope {
            Scope::Everywhere => true,
            Scope::Zone(apex) => apex == zone,
            Scope::Name(owner, only) => owner == name && only.is_none_or(|only| only == rtype),
        }
    }

    /// The link that this fault puts in the place of the true one; `None` when it leaves it.
    pub(crate) fn replace(&self, zone: &ServedZone, name: &DnsName, rtype: Rtype) -> Option<Link> {
        let denial = |rcode| {
            let mut link = zone.negative(rcode);
            zone.prove_beside(&mut link, name);
            link
        };
        match self.fault {
            Fault::FalseNoData => Some(denial(Rcode::NOERROR)),
            Fault::FalseNxDomain => Some(denial(Rcode::NXDOMAIN)),
            Fault::ReplayedWildcard => {
                let wildcard = wildcard_of(&parent_of(name)?)?;
                let set = zone.rrset(&wildcard, rtype)?;
                let mut link = zone.positive(name, set);
                zone.prove_beside(&mut link, name);
                Some(link)
            }
            Fault::OtherOwner(_) => {
                let other = self.other.as_ref()?;
                Some(zone.positive(other, zone.rrset(other, rtype)?))
            }
            Fault::Answers(_) => self.forged.clone(),
            Fault::RecordsOf(_) => Some(zone.positive(name, zone.rrset(self.other.as_ref()?, rtype)?)),
            _ => None,
        }
    }

    /// Spoils the content of a link.
    pub(crate) fn spoil(&self, link: &mut Link) {
        let Link { answer, authority, additional, .. } = link;
        match self.fault {
            Fault::Adds(_) => {
                if let Some(forged) = &self.forged {
                    answer.extend(forged.answer.iter().cloned());
                    authority.extend(forged.authority.iter().cloned());
                    additional.extend(forged.additional.iter().cloned());
                }
            }
            Fault::AliasOnly => link.target = None,
            Fault::Reversed => {
                for section in [answer, authority, additional] {
                    section.reverse();
                }
            }
            Fault::TamperedRdata => {
                for rr in answer.iter_mut().filter(|rr| rr.rtype != Rtype::RRSIG) {
                    rr.data = with_last_octet_changed(&rr.data);
                }
            }
            Fault::StrippedSignatures => {
                answer.retain(|rr| rr.rtype != Rtype::RRSIG);
                authority.retain(|rr| rr.rtype != Rtype::RRSIG);
            }
            Fault::StrippedProof => strip_proof(authority),
            Fault::EmptyAnswer => {
                link.rcode = Rcode::NOERROR;
                answer.clear();
                authority.clear();
                link.target = None;
            }
            Fault::ForgedTtl(ttl) => answer.iter_mut().for_each(|rr| rr.ttl = ttl),
            Fault::BadSignaturesFirst(copies) => {
                for section in [answer, authority] {
                    *section = section.drain(..).flat_map(|rr| with_bad_copies(rr, copies)).collect();
                }
            }
            _ => {}
        }
    }

    /// Adds what this fault does to the message as a whole.
    pub(crate) fn disturb(&self, effects: &mut Effects) {
        match self.fault {
            Fault::Servfail => effects.rcode = Some(Rcode::SERVFAIL),
            Fault::Refused => effects.rcode = Some(Rcode::REFUSED),
            Fault::FormErr => effects.rcode = Some(Rcode::FORMERR),
            Fault::Malformed => effects.malformed = true,
            Fault::NeverAnswers => effects.silent = true,
            Fault::DelayedBy(delay) => effects.delay += delay,
            Fault::TruncateUdp => effects.truncate_udp = true,
            Fault::TruncateTcp => effects.truncate_tcp = true,
            Fault::SlowTcp(pause) => effects.tcp_pause = Some(pause),
            Fault::ClosesTcp => effects.close_tcp = true,
            Fault::WrongId => effects.wrong_id = true,
            Fault::WrongQuestion => effects.wrong_question = true,
            Fault::IgnoresEdns => effects.ignore_edns = true,
            _ => {}
        }
    }

    /// The extended error (RFC 8914) with which a validating resolver would refuse the link, as far as the signed data
    /// is needed to know; `None` when this fault does no harm to it.
    pub(crate) fn extended_error(&self, link: &Link) -> Option<u16> {
        match self.fault {
            Fault::TamperedRdata if !link.answer.is_empty() => Some(EDE_BOGUS),
            Fault::StrippedSignatures | Fault::EmptyAnswer => Some(EDE_RRSIGS_MISSING),
            Fault::StrippedProof | Fault::ReplayedWildcard if link.needs_proof => Some(EDE_NSEC_MISSING),
            Fault::FalseNoData | Fault::FalseNxDomain => Some(EDE_NSEC_MISSING),
            Fault::OtherOwner(_) | Fault::RecordsOf(_) | Fault::Answers(_) => Some(EDE_BOGUS),
            _ => None,
        }
    }
}

/// RFC 8914 section 4: Other Error.
pub(crate) const EDE_OTHER: u16 = 0;
/// RFC 8914 section 4: DNSSEC Bogus.
pub(crate) const EDE_BOGUS: u16 = 6;
/// RFC 8914 section 4: Signature Expired.
pub(crate) const EDE_EXPIRED: u16 = 7;
/// RFC 8914 section 4: Signature Not Yet Valid.
pub(crate) const EDE_NOT_YET_VALID: u16 = 8;
/// RFC 8914 section 4: DNSKEY Missing, also for a DS that matches no key.
pub(crate) const EDE_DNSKEY_MISSING: u16 = 9;
/// RFC 8914 section 4: RRSIGs Missing.
pub(crate) const EDE_RRSIGS_MISSING: u16 = 10;
/// RFC 8914 section 4: NSEC Missing.
pub(crate) const EDE_NSEC_MISSING: u16 = 12;

/// What the faults on the way do to the message as a whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects {
    pub(crate) rcode: Option<Rcode>,
    pub(crate) malformed: bool,
    pub(crate) silent: bool,
    pub(crate) delay: Duration,
    pub(crate) truncate_udp: bool,
    pub(crate) truncate_tcp: bool,
    pub(crate) tcp_pause: Option<Duration>,
    pub(crate) close_tcp: bool,
    pub(crate) wrong_id: bool,
    pub(crate) wrong_question: bool,
    pub(crate) ignore_edns: bool,
}

/// Removes NSEC and NSEC3 records and their signatures; the type covered is the first field of an RRSIG.
fn strip_proof(authority: &mut Vec<Rr>) {
    let proof = [Rtype::NSEC, Rtype::NSEC3];
    authority.retain(|rr| {
        let rtype = match (rr.rtype, rr.data.get(..2)) {
            (Rtype::RRSIG, Some(&[high, low])) => Rtype::from_int(u16::from_be_bytes([high, low])),
            (rtype, _) => rtype,
        };
        !proof.contains(&rtype)
    });
}

fn with_bad_copies(rr: Rr, copies: u16) -> Vec<Rr> {
    let mut all = Vec::new();
    if rr.rtype == Rtype::RRSIG {
        for copy in 1..=copies {
            let mut data = rr.data.to_vec();
            for (octet, change) in data.iter_mut().rev().zip(copy.to_be_bytes()) {
                *octet ^= change;
            }
            all.push(Rr { data: data.into(), ..rr.clone() });
        }
    }
    all.push(rr);
    all
}

fn with_last_octet_changed(data: &Bytes) -> Bytes {
    let mut data = data.to_vec();
    if let Some(last) = data.last_mut() {
        *last ^= 1;
    }
    data.into()
}

impl ServedZone {
    /// An answer with this RRset under this owner.
    fn positive(&self, owner: &DnsName, set: &RrSet) -> Link {
        let mut link = self.negative(Rcode::NOERROR);
        link.authority.clear();
        crate::dns_answer::push_set(&mut link.answer, owner, set);
        link
    }
}
