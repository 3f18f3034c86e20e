//! Where answers come from, and what is told about how they were found.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use dance_core::UnixTime;
use dance_core::answer::{LinkState, TlsaAnswer};
use dance_core::name::OwnerName;
use dance_core::policy::Pattern;
use domain::base::iana::{ExtendedErrorCode, OptRcode, Rtype};

use crate::upstream::TlsFailure;

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
#[derive(Clone, Debug)]
pub struct Trace {
    /// The name at the end of the alias chain, as far as it could be followed; lower case, without final dot.
    pub final_owner: Arc<str>,
    /// The links of the alias chain and, at its end, the TLSA RRset if there is one.
    pub links: Arc<[Link]>,
    /// Queries that this look-up sent to resolvers; those that it shared with others count for the one that sent them.
    pub queries: usize,
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
    /// What the validator says.
    Validator {
        /// The extended error (RFC 8914).
        code: ExtendedErrorCode,
        /// Its words.
        text: Arc<str>,
    },
    /// The validator says no more than that validation failed.
    NotExplained,
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
            Self::Validator { code, text } => write!(f, "{text} (extended error {})", code.to_int()),
            Self::NotExplained => f.write_str("validation failed"),
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
