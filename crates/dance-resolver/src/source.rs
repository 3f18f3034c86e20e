//! Where answers come from, and what is told about how they were found.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dance_core::UnixTime;
use dance_core::answer::{LinkState, TlsaAnswer};
use dance_core::name::OwnerName;
use dance_core::policy::Pattern;
use dance_dnssec::{AnswerLink, Failure, Rrset};
use domain::base::iana::{ExtendedErrorCode, OptRcode, Rtype, SecurityAlgorithm};

use crate::outcome::text;
use crate::upstream::{Exchange, TlsFailure};

/// Something that looks up TLSA RRsets in their DNSSEC validation state.
pub trait TlsaSource: Send + Sync {
    /// Looks up `owner`, type TLSA, class IN, and nothing else (requirements 4.2 step 11). Ends within a time of the source's own.
    fn lookup(&self, owner: &OwnerName) -> impl Future<Output = Lookup> + Send;

    /// What is known about `owner` without asking anybody, if it is still good. A source without cache has none.
    fn cached(&self, owner: &OwnerName) -> Option<Lookup> {
        let _ = owner;
        None
    }

    /// A client that `admitted_by` admits was authenticated by what is known about `owner`: that is worth more than what anybody can have
    /// looked up, and must not give way to it. A source without cache forgets it.
    fn note_use(&self, owner: &OwnerName, admitted_by: &Pattern) {
        let _ = (owner, admitted_by);
    }

    /// Whether a client was authenticated lately by what is, or was, known about `owner`. Nobody, for a source without cache.
    fn is_in_use(&self, owner: &OwnerName) -> bool {
        let _ = owner;
        false
    }
}

impl<T: TlsaSource> TlsaSource for Arc<T> {
    fn lookup(&self, owner: &OwnerName) -> impl Future<Output = Lookup> + Send {
        T::lookup(self, owner)
    }

    fn cached(&self, owner: &OwnerName) -> Option<Lookup> {
        T::cached(self, owner)
    }

    fn note_use(&self, owner: &OwnerName, admitted_by: &Pattern) {
        T::note_use(self, owner, admitted_by);
    }

    fn is_in_use(&self, owner: &OwnerName) -> bool {
        T::is_in_use(self, owner)
    }
}

/// An answer and how it was found. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The answer.
    pub answer: TlsaAnswer,
    /// How it was found.
    pub trace: Trace,
}

/// How an answer was found: for logs and diagnosis, never for a decision.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The name at the end of the alias chain, as far as it could be followed; lower case, without final dot.
    pub final_owner: Arc<str>,
    /// The links of the alias chain and, at its end, the TLSA RRset if there is one.
    pub links: Arc<[Link]>,
    /// The chain of trust of all links, from the trust anchor down, each zone once; as far as it was proven. Empty in AD mode.
    pub zones: Arc<[ZoneLink]>,
    /// The wildcard that the records, or an alias on the way, were synthesised from; lower case, without final dot.
    pub wildcard: Option<Arc<str>>,
    /// When this, answer or failure, is forgotten, and looked up anew.
    pub good_until: Option<UnixTime>,
    /// Queries that this look-up sent to resolvers; those that it shared with others count for the one that sent them.
    pub queries: usize,
    /// Who was asked what, in the order in which it ended; the first 128 at most. None for an answer that was known already.
    pub exchanges: Arc<[Exchange]>,
    /// How long the look-up took; nothing for an answer that was known already.
    pub took: Duration,
    /// The answer was known already: nothing was sent for it now.
    pub from_cache: bool,
    /// What was wrong, for Bogus and Indeterminate answers.
    pub detail: Option<Detail>,
}

/// One RRset on the way to the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its owner; lower case, without final dot.
    pub owner: Arc<str>,
    /// CNAME, DNAME or TLSA.
    pub rtype: Rtype,
    /// Whether signatures came with it; says nothing about their validity.
    pub signed: bool,
    /// Its validation state, where it is known for this link alone.
    pub state: Option<LinkState>,
    /// Its TTL as received, in seconds.
    pub ttl: u32,
    /// It was synthesised from a wildcard.
    pub wildcard: bool,
    /// The signature that is valid, if one is.
    pub signature: Option<Signature>,
}

/// A signature that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The zone whose key made it; lower case, without final dot unless it is the root.
    pub signer: Arc<str>,
    /// The key's tag (RFC 4034 appendix B).
    pub key_tag: u16,
    /// The key's algorithm.
    pub algorithm: SecurityAlgorithm,
    /// When the signature ends, or that of the wildcard's proof if it ends before.
    pub expiry: UnixTime,
}

/// One signature in the chain of trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneLink {
    /// The zone that it is about; lower case, without final dot unless it is the root.
    pub zone: Arc<str>,
    /// DS, signed by the zone above, or its denial by NSEC or NSEC3; DNSKEY, signed by the zone itself.
    pub rtype: Rtype,
    /// The tag of the key that signed (RFC 4034 appendix B).
    pub key_tag: u16,
    /// Its algorithm.
    pub algorithm: SecurityAlgorithm,
    /// When the signature ends.
    pub expiry: UnixTime,
}

impl Link {
    /// A link of which nothing but the resolver's word is known.
    pub(crate) fn believed(set: &Rrset, state: Option<LinkState>) -> Self {
        Self {
            owner: text(&set.owner),
            rtype: set.rtype,
            signed: set.is_signed(),
            state,
            ttl: set.ttl,
            wildcard: false,
            signature: None,
        }
    }
}

impl From<&AnswerLink> for Link {
    fn from(link: &AnswerLink) -> Self {
        let signature = || {
            Some(Signature {
                signer: text(link.signer.as_ref()?),
                key_tag: link.key_tag?,
                algorithm: link.algorithm?,
                expiry: link.expiry?,
            })
        };
        Self {
            owner: text(&link.owner),
            rtype: link.rtype,
            signed: link.signed,
            state: link.state,
            ttl: link.ttl,
            wildcard: link.wildcard,
            signature: signature(),
        }
    }
}

impl From<&dance_dnssec::ZoneLink> for ZoneLink {
    fn from(link: &dance_dnssec::ZoneLink) -> Self {
        let dance_dnssec::ZoneLink { zone, rtype, key_tag, algorithm, expiry } = link;
        Self { zone: text(zone), rtype: *rtype, key_tag: *key_tag, algorithm: *algorithm, expiry: *expiry }
    }
}

/// What was wrong with an answer. For the log and the administrator; a peer never sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Every signature over an RRset has run out.
    SignatureExpired {
        /// The RRset's owner.
        owner: Arc<str>,
        /// Its type.
        rtype: Rtype,
        /// When the last of them ended.
        at: UnixTime,
    },
    /// Every signature over an RRset begins in the future.
    SignatureNotYetValid {
        /// The RRset's owner.
        owner: Arc<str>,
        /// Its type.
        rtype: Rtype,
        /// When the first of them begins.
        at: UnixTime,
    },
    /// An RRset without signature in a signed zone.
    SignatureMissing {
        /// The RRset's owner.
        owner: Arc<str>,
        /// Its type.
        rtype: Rtype,
    },
    /// The resolver delivers no signatures, not even those of the trust anchor's keys.
    ResolverStripsSignatures {
        /// The resolver.
        server: SocketAddr,
    },
    /// The resolver denies by a reply without any record. Every denial of a DNSSEC zone begins with the zone's SOA.
    EmptyReply {
        /// The resolver.
        server: SocketAddr,
    },
    /// Any other reason why there is no proof.
    Unproven(Arc<Failure>),
    /// The zone's servers kept silent again and again.
    ZoneSuspended {
        /// The zone.
        zone: Arc<str>,
    },
    /// The resolver, whose word is taken (AD mode), reports that validation failed.
    ResolverSaysBogus {
        /// The extended error, unless it was found out by asking with checking disabled.
        code: Option<ExtendedErrorCode>,
    },
    /// The resolver answered with an error code.
    ErrorCode {
        /// The resolver.
        server: SocketAddr,
        /// The code.
        rcode: OptRcode,
        /// What was asked for.
        question: Arc<str>,
    },
    /// No resolver answered in time.
    NoReply {
        /// What was asked for last; `None` if the look-up was still waiting for its turn.
        question: Option<Arc<str>>,
    },
    /// The resolver cannot be reached.
    Unreachable {
        /// The resolver.
        server: SocketAddr,
        /// Why.
        kind: std::io::ErrorKind,
        /// The system's number for it, where there is one.
        os_error: Option<i32>,
    },
    /// The resolver's TLS was refused.
    ResolverUntrusted {
        /// The resolver.
        server: SocketAddr,
        /// Why.
        failure: TlsFailure,
    },
    /// The resolver refuses EDNS, without which no signatures can be had.
    ResolverWithoutEdns {
        /// The resolver.
        server: SocketAddr,
        /// The code by which it refused.
        rcode: OptRcode,
    },
    /// The reply does not decode, or holds what belongs to no answer.
    MalformedReply {
        /// What was asked for.
        question: Arc<str>,
    },
    /// An alias loop, or too many links.
    AliasLimit {
        /// The name at which it was given up.
        owner: Arc<str>,
    },
    /// No trust anchor covers the name.
    NoTrustAnchor {
        /// The name.
        owner: Arc<str>,
    },
    /// The validator gave up on a reply in a way that it should not.
    ValidatorFailed,
}

impl Detail {
    /// Owner and type of the RRset at which the proof fails, if it does so at one.
    #[must_use]
    pub fn rrset(&self) -> Option<(Arc<str>, Rtype)> {
        match self {
            Self::SignatureExpired { owner, rtype, .. }
            | Self::SignatureNotYetValid { owner, rtype, .. }
            | Self::SignatureMissing { owner, rtype } => Some((Arc::clone(owner), *rtype)),
            Self::Unproven(failure) => {
                let (owner, rtype) = failure.rrset()?;
                Some((text(owner), rtype))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SignatureExpired { owner, rtype, at } => {
                write!(f, "the signature over {owner} {rtype} expired at {}: the zone must be signed anew", Time(*at))
            }
            Self::SignatureNotYetValid { owner, rtype, at } => write!(
                f,
                "the signature over {owner} {rtype} begins at {}: check the clocks of this machine and of the signer",
                Time(*at)
            ),
            Self::SignatureMissing { owner, rtype } => {
                write!(f, "no signature over {owner} {rtype}, although its zone is signed")
            }
            Self::ResolverStripsSignatures { server } => write!(
                f,
                "the resolver {server} drops DNSSEC signatures, so nothing can be validated: use another resolver"
            ),
            Self::EmptyReply { server } => write!(
                f,
                "the resolver {server} says that there is nothing, and proves nothing: where it does so for other names too, it filters \
                 or does not know DNSSEC: use another resolver"
            ),
            Self::Unproven(failure) => failure.fmt(f),
            Self::ZoneSuspended { zone } => write!(
                f,
                "the servers of the zone {zone} kept silent again and again, so nothing is asked of them for some seconds: its owner must \
                 see to them"
            ),
            Self::ResolverSaysBogus { code: Some(code) } => {
                write!(f, "the resolver says that validation failed (extended error {}, {code})", code.to_int())
            }
            Self::ResolverSaysBogus { code: None } => {
                f.write_str("the resolver answers only with checking disabled: its validation failed")
            }
            Self::ErrorCode { server, rcode, question } => {
                write!(f, "the resolver {server} answered {rcode} when asked for {question}")
            }
            Self::NoReply { question: Some(question) } => {
                write!(f, "no resolver answered in time when asked for {question}")
            }
            Self::NoReply { question: None } => {
                f.write_str("too many look-ups were under way: this one's time ran out before its turn came")
            }
            Self::Unreachable { server, kind, os_error } => {
                write!(f, "the resolver {server} cannot be reached (")?;
                match os_error {
                    Some(number) => std::io::Error::from_raw_os_error(*number).fmt(f)?,
                    None => kind.fmt(f)?,
                }
                f.write_str("): check that it runs and that the address is right")
            }
            Self::ResolverUntrusted { server, failure } => {
                write!(f, "the resolver {server} was not asked, {failure}")
            }
            Self::ResolverWithoutEdns { server, rcode } => write!(
                f,
                "the resolver {server} answers {rcode} to a question with EDNS: it cannot deliver DNSSEC signatures, use another resolver"
            ),
            Self::MalformedReply { question } => {
                write!(f, "the reply does not decode, or is no answer, when asked for {question}")
            }
            Self::AliasLimit { owner } => {
                write!(
                    f,
                    "the aliases loop or are more than {}, given up at {owner}",
                    dance_core::answer::MAX_ALIAS_LINKS
                )
            }
            Self::NoTrustAnchor { owner } => {
                write!(f, "no trust anchor is configured for {owner} or any domain above it")
            }
            Self::ValidatorFailed => {
                f.write_str("the validator failed on this reply; this is our fault, please report it")
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
