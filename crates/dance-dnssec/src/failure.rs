//! Why a name is not proven, and where. For logs and diagnosis; a peer never sees it.

use std::fmt;

use dance_core::UnixTime;
use dance_core::answer::{LookupFailure, MAX_ALIAS_LINKS};
use domain::base::iana::{Rtype, SecurityAlgorithm};

use crate::budget::BudgetKind;
use crate::question::{DnsName, Question, Shown};

/// The first link that fails, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Every signature over an RRset that could have counted has run out.
    SignatureExpired {
        /// The RRset's owner.
        owner: DnsName,
        /// Its type.
        rtype: Rtype,
        /// The zone that signed it.
        zone: DnsName,
        /// When the last of them ended.
        at: UnixTime,
    },
    /// Every signature over an RRset that could have counted begins in the future.
    SignatureNotYetValid {
        /// The RRset's owner.
        owner: DnsName,
        /// Its type.
        rtype: Rtype,
        /// The zone that signed it.
        zone: DnsName,
        /// When the first of them begins.
        at: UnixTime,
    },
    /// An RRset without signature in a signed zone.
    SignatureMissing {
        /// The RRset's owner.
        owner: DnsName,
        /// Its type.
        rtype: Rtype,
        /// The signed zone.
        zone: DnsName,
    },
    /// A signature does not verify: the records are not those that were signed.
    SignatureWrong {
        /// The RRset's owner.
        owner: DnsName,
        /// Its type.
        rtype: Rtype,
        /// The zone that is said to have signed it.
        zone: DnsName,
        /// The tag of the key.
        key_tag: u16,
        /// The key's algorithm.
        algorithm: SecurityAlgorithm,
    },
    /// The zone has no key of the tag and algorithm that its signatures name.
    NoKeyForSignature {
        /// The RRset's owner.
        owner: DnsName,
        /// Its type.
        rtype: Rtype,
        /// The zone that is said to have signed it.
        zone: DnsName,
        /// The tag that the signature names.
        key_tag: u16,
        /// Its algorithm.
        algorithm: SecurityAlgorithm,
    },
    /// The signatures over an RRset are by somebody who is not its zone.
    WrongSigner {
        /// The RRset's owner.
        owner: DnsName,
        /// Its type.
        rtype: Rtype,
        /// The zone that must sign it.
        zone: DnsName,
        /// Who did.
        signer: DnsName,
    },
    /// No DS record of the zone above matches a key that signs the zone's keys.
    NoKeyForDs {
        /// The zone.
        zone: DnsName,
    },
    /// The zone above has a DS record, or this is a trust anchor, and the zone has no keys.
    NoKeys {
        /// The zone.
        zone: DnsName,
    },
    /// Records that may not come from a wildcard do, or a signature counts more labels than its owner has.
    Labels {
        /// The RRset's owner.
        owner: DnsName,
        /// Its type.
        rtype: Rtype,
        /// The zone that signed it.
        zone: DnsName,
    },
    /// The NSEC or NSEC3 records in the reply do not prove what it says.
    ProofMissing {
        /// The name that the proof is about.
        owner: DnsName,
        /// The type.
        rtype: Rtype,
        /// The zone.
        zone: DnsName,
        /// What is not proven.
        what: Unproven,
    },
    /// A proof rests on NSEC3 records with more iterations than any zone may use.
    Nsec3Iterations {
        /// The name that the proof is about.
        owner: DnsName,
        /// The type.
        rtype: Rtype,
        /// The zone.
        zone: DnsName,
    },
    /// The proof would cost more than a look-up may.
    Budget {
        /// Where it was given up.
        owner: DnsName,
        /// The type.
        rtype: Rtype,
        /// Which limit.
        kind: BudgetKind,
    },
    /// A question that the proof needs was not answered.
    LookUp {
        /// Which.
        question: Question,
        /// Why.
        failure: LookupFailure,
    },
    /// An alias loop, or too many links.
    AliasLimit {
        /// The name at which it was given up.
        owner: DnsName,
    },
    /// A reply does not decode, or is no answer.
    Malformed {
        /// What was asked for.
        question: Question,
    },
    /// The resolver says that there is nothing, in a reply without any record. Every denial of a DNSSEC zone begins with the zone's SOA.
    EmptyReply {
        /// What was asked for.
        question: Question,
    },
    /// The resolver delivers no signatures, not even those of the trust anchor's keys.
    ResolverStripsSignatures {
        /// The trust anchor.
        anchor: DnsName,
    },
    /// No trust anchor covers the name.
    NoTrustAnchor {
        /// The name.
        owner: DnsName,
    },
}

/// What a proof should have proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// That there are no such records.
    Denial,
    /// That no closer name than the wildcard exists.
    NoCloserName,
    /// That the name is no delegation, or one without DS.
    NoDelegation,
}

impl Failure {
    /// What the look-up as a whole becomes; `None`: Bogus.
    #[must_use]
    pub const fn lookup_failure(&self) -> Option<LookupFailure> {
        match self {
            Self::Budget { .. } => Some(LookupFailure::TooCostly),
            Self::LookUp { failure, .. } => Some(*failure),
            Self::AliasLimit { .. } => Some(LookupFailure::AliasLimit),
            Self::Malformed { .. } => Some(LookupFailure::Malformed),
            Self::NoTrustAnchor { .. } => Some(LookupFailure::NoTrust),
            Self::SignatureExpired { .. }
            | Self::SignatureNotYetValid { .. }
            | Self::SignatureMissing { .. }
            | Self::SignatureWrong { .. }
            | Self::NoKeyForSignature { .. }
            | Self::WrongSigner { .. }
            | Self::NoKeyForDs { .. }
            | Self::NoKeys { .. }
            | Self::Labels { .. }
            | Self::ProofMissing { .. }
            | Self::Nsec3Iterations { .. }
            | Self::EmptyReply { .. }
            | Self::ResolverStripsSignatures { .. } => None,
        }
    }

    /// Owner and type of the RRset at which the proof fails, if it does so at one.
    #[must_use]
    pub const fn rrset(&self) -> Option<(&DnsName, Rtype)> {
        match self {
            Self::SignatureExpired { owner, rtype, .. }
            | Self::SignatureNotYetValid { owner, rtype, .. }
            | Self::SignatureMissing { owner, rtype, .. }
            | Self::SignatureWrong { owner, rtype, .. }
            | Self::NoKeyForSignature { owner, rtype, .. }
            | Self::WrongSigner { owner, rtype, .. }
            | Self::Labels { owner, rtype, .. }
            | Self::ProofMissing { owner, rtype, .. }
            | Self::Nsec3Iterations { owner, rtype, .. }
            | Self::Budget { owner, rtype, .. } => Some((owner, *rtype)),
            Self::NoKeyForDs { zone } | Self::NoKeys { zone } => Some((zone, Rtype::DNSKEY)),
            Self::ResolverStripsSignatures { anchor } => Some((anchor, Rtype::DNSKEY)),
            Self::LookUp { question, .. } | Self::Malformed { question } | Self::EmptyReply { question } => {
                Some((&question.name, question.rtype))
            }
            Self::AliasLimit { .. } | Self::NoTrustAnchor { .. } => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SignatureExpired { owner, rtype, zone, at } => write!(
                f,
                "the signature over {} {rtype} expired at {}: the zone {} must be signed anew",
                Shown(owner),
                Time(*at),
                Shown(zone)
            ),
            Self::SignatureNotYetValid { owner, rtype, zone, at } => write!(
                f,
                "the signature over {} {rtype} begins at {}: check the clocks of this machine and of the signer of the zone {}",
                Shown(owner),
                Time(*at),
                Shown(zone)
            ),
            Self::SignatureMissing { owner, rtype, zone } => write!(
                f,
                "no signature over {} {rtype}, although its zone {} is signed: sign the zone anew, or use a resolver that passes signatures on",
                Shown(owner),
                Shown(zone)
            ),
            Self::SignatureWrong { owner, rtype, zone, key_tag, algorithm } => write!(
                f,
                "the signature over {} {rtype} by key {key_tag} (algorithm {}) of the zone {} does not verify: the records are not those \
                 that were signed; the zone's servers or somebody on the way changed them",
                Shown(owner),
                algorithm.to_int(),
                Shown(zone)
            ),
            Self::NoKeyForSignature { owner, rtype, zone, key_tag, algorithm } => write!(
                f,
                "{} {rtype} is signed by key {key_tag} (algorithm {}), which the zone {} does not have: the zone must be signed anew with a \
                 published key",
                Shown(owner),
                algorithm.to_int(),
                Shown(zone)
            ),
            Self::WrongSigner { owner, rtype, zone, signer } => write!(
                f,
                "{} {rtype} is signed by {}, expected the zone {}: its server answers with what belongs elsewhere",
                Shown(owner),
                Shown(signer),
                Shown(zone)
            ),
            Self::NoKeyForDs { zone } => write!(
                f,
                "no DS record or trust anchor of {} matches a key that signs the zone's keys: the zone's owner must bring the DS in the zone \
                 above into line with the keys",
                Shown(zone)
            ),
            Self::NoKeys { zone } => write!(
                f,
                "the zone {} has a DS record or trust anchor and no keys: its owner must publish them, or have the DS removed",
                Shown(zone)
            ),
            Self::Labels { owner, rtype, zone } => write!(
                f,
                "the signature over {} {rtype} in the zone {} counts labels that do not go with this name: the answer is put together from \
                 records that belong elsewhere",
                Shown(owner),
                Shown(zone)
            ),
            Self::ProofMissing { owner, rtype, zone, what } => {
                let what = match what {
                    Unproven::Denial => "that there are no such records",
                    Unproven::NoCloserName => "that the wildcard is the closest name",
                    Unproven::NoDelegation => "whether a zone begins there",
                };
                write!(
                    f,
                    "the reply for {} {rtype} in the zone {} does not prove {what}: expected NSEC or NSEC3 records that do; the zone's \
                     servers or the resolver leave them out",
                    Shown(owner),
                    Shown(zone)
                )
            }
            Self::Nsec3Iterations { owner, rtype, zone } => write!(
                f,
                "the proof for {} {rtype} needs more NSEC3 iterations than 500: the zone {} must use fewer, best none",
                Shown(owner),
                Shown(zone)
            ),
            Self::Budget { owner, rtype, kind } => {
                let what = match kind {
                    BudgetKind::Units => "signatures that take too long to verify",
                    BudgetKind::FailedUnits => "too many signatures that do not verify",
                    BudgetKind::KeysPerSignature => "too many keys of one tag",
                    BudgetKind::SignaturesPerRrset => "too many signatures over one RRset",
                    BudgetKind::Nsec3Hashes => "too many NSEC3 hashes",
                    BudgetKind::Digests => "too many DS records for keys of one tag",
                    BudgetKind::Zones => "too many zones",
                    BudgetKind::Questions => "too many questions",
                    BudgetKind::Signers => "too many signers of one RRset",
                    BudgetKind::Proofs => "too many NSEC or NSEC3 RRsets",
                    BudgetKind::Records => "too many records in one reply",
                    BudgetKind::ReplyOctets => "replies that are too large together",
                };
                write!(
                    f,
                    "given up at {} {rtype}: the proof needs {what}; the zone is broken, or made to exhaust us",
                    Shown(owner)
                )
            }
            Self::LookUp { question, failure } => {
                let what = match failure {
                    LookupFailure::AliasLimit => "its aliases loop or are too many",
                    LookupFailure::Malformed => "its reply does not decode",
                    LookupFailure::NoTrust => "the resolver may not be believed",
                    LookupFailure::Refused => "the resolver answered with an error code",
                    LookupFailure::Servfail => "the resolver answered SERVFAIL",
                    LookupFailure::Suspended => {
                        "its zone's servers failed again and again and are not asked for some seconds"
                    }
                    LookupFailure::Timeout => "no resolver answered in time",
                    LookupFailure::TooCostly => "it would cost too much",
                    LookupFailure::Unreachable => "no resolver could be reached",
                };
                write!(f, "the proof needs {question}: {what}")
            }
            Self::AliasLimit { owner } => {
                write!(f, "the aliases loop or are more than {MAX_ALIAS_LINKS}, given up at {}", Shown(owner))
            }
            Self::Malformed { question } => {
                write!(f, "the reply does not decode, or is no answer, when asked for {question}")
            }
            Self::EmptyReply { question } => write!(
                f,
                "the resolver says that there is no {question}, and proves nothing: where it does so for other names too, it filters or does \
                 not know DNSSEC: use another resolver"
            ),
            Self::ResolverStripsSignatures { anchor } => write!(
                f,
                "the resolver drops DNSSEC signatures, even those over the keys of the trust anchor {}, so nothing can be validated: use \
                 another resolver",
                Shown(anchor)
            ),
            Self::NoTrustAnchor { owner } => {
                write!(f, "no trust anchor is configured for {} or any domain above it", Shown(owner))
            }
        }
    }
}

/// RFC 3339, seconds, UTC.
struct Time(UnixTime);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0.as_secs()).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
            Some(time) => time.fmt(f),
            None => write!(f, "second {} since 1970", self.0.as_secs()),
        }
    }
}
