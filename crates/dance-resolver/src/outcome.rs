//! From a proof or a resolver's word to what is known about a name: the answer, how long it is good for, and the account of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dance_core::UnixTime;
use dance_core::answer::{
    self, ChainEnd, DenialKind, LinkState, LinkTimes, LookupFailure, MAX_FAILURE_CACHE, MAX_NEGATIVE_CACHE,
    MAX_RECORDS, TlsaAnswer,
};
use dance_core::tlsa::TlsaRdata;
use dance_dnssec::{BudgetKind, Chain, ChainError, DnsName, Failure, Proof, Question, Shown};
use domain::base::iana::{OptRcode, Rtype};

use crate::prove::Account;
use crate::source::{Detail, Link, ZoneLink};
use crate::upstream::{NoReply, Reply};

/// Longest time in seconds that an answer is kept on a resolver's word, which says nothing of when the signatures behind it end. Resolvers pass
/// on TTLs of a day for signatures with hours left.
const MAX_AD_TTL: u32 = 300;

/// Why there is neither a validated answer nor a validated denial, and not for want of signatures in the zone.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Bogus or Indeterminate.
    pub(crate) answer: TlsaAnswer,
    pub(crate) detail: Detail,
}

impl Fault {
    pub(crate) const fn bogus(detail: Detail) -> Self {
        Self { answer: TlsaAnswer::Bogus, detail }
    }

    pub(crate) const fn failure(failure: LookupFailure, detail: Detail) -> Self {
        Self { answer: TlsaAnswer::Indeterminate(failure), detail }
    }

    pub(crate) fn malformed(name: &DnsName) -> Self {
        Self::failure(LookupFailure::Malformed, Detail::MalformedReply { question: question_text(name, Rtype::TLSA) })
    }

    /// The validator did what it never should.
    pub(crate) const fn validator_failed() -> Self {
        Self::failure(LookupFailure::Malformed, Detail::ValidatorFailed)
    }

    /// The failure that a question came to.
    pub(crate) const fn lookup_failure(&self) -> LookupFailure {
        match self.answer {
            TlsaAnswer::Indeterminate(failure) => failure,
            // Not made of a single question.
            TlsaAnswer::Secure(_) | TlsaAnswer::Denied(_) | TlsaAnswer::Insecure | TlsaAnswer::Bogus => {
                LookupFailure::Malformed
            }
        }
    }

    /// What an error code says; nothing for the two codes that come with an answer.
    pub(crate) fn check_code(reply: &Reply, name: &DnsName, rtype: Rtype) -> Result<(), Self> {
        // With the upper bits, which are in the OPT record.
        let rcode = reply.message.opt_rcode();
        // Codes that do not fit into eight bits are errors as well.
        match TlsaAnswer::from_rcode(u8::try_from(rcode.to_int()).unwrap_or(u8::MAX)) {
            None => Ok(()),
            Some(answer) => {
                let server = reply.server;
                let detail = match reply.refuses_edns() {
                    true => Detail::ResolverWithoutEdns { server, rcode },
                    false => Detail::ErrorCode { server, rcode, question: question_text(name, rtype) },
                };
                Err(Self { answer, detail })
            }
        }
    }

    /// Why no reply came to the question for `name` and `rtype`.
    pub(crate) fn no_reply(no_reply: NoReply, name: &DnsName, rtype: Rtype) -> Self {
        let question = question_text(name, rtype);
        match no_reply {
            NoReply::Silence => Self::failure(LookupFailure::Timeout, Detail::NoReply { question: Some(question) }),
            // What came over TCP was no reply.
            NoReply::Failed { kind: io::ErrorKind::InvalidData, .. } => {
                Self::failure(LookupFailure::Malformed, Detail::MalformedReply { question })
            }
            NoReply::Failed { server, kind, os_error } => {
                Self::failure(LookupFailure::Unreachable, Detail::Unreachable { server, kind, os_error })
            }
            NoReply::Untrusted { server, failure } => {
                Self::failure(LookupFailure::Unreachable, Detail::ResolverUntrusted { server, failure })
            }
        }
    }

    pub(crate) fn chain(error: ChainError, name: &DnsName) -> Self {
        match error {
            ChainError::Malformed => Self::malformed(name),
            ChainError::TooMuch => {
                let (owner, rtype, kind) = (name.clone(), Rtype::TLSA, BudgetKind::Records);
                let failure = Failure::Budget { owner, rtype, kind };
                Self::failure(LookupFailure::TooCostly, Detail::Unproven(Arc::new(failure)))
            }
            ChainError::AliasLimit(owner) => {
                Self::failure(LookupFailure::AliasLimit, Detail::AliasLimit { owner: text(&owner) })
            }
        }
    }
}

/// What is known about a name, and until when. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) answer: TlsaAnswer,
    /// From then on it must not be used for another look-up.
    pub(crate) good_until: UnixTime,
    pub(crate) end: Arc<str>,
    pub(crate) links: Arc<[Link]>,
    pub(crate) zones: Arc<[ZoneLink]>,
    pub(crate) wildcard: Option<Arc<str>>,
    pub(crate) detail: Option<Detail>,
}

impl Outcome {
    /// Nothing is known but what went wrong.
    pub(crate) fn fault(name: &DnsName, fault: Fault, now: UnixTime) -> Self {
        Self {
            answer: fault.answer,
            good_until: later(now, MAX_FAILURE_CACHE),
            end: text(name),
            links: Arc::default(),
            zones: Arc::default(),
            wildcard: None,
            detail: Some(fault.detail),
        }
    }

    /// Nobody was asked. Not remembered: the breaker knows better when to ask again, and costs as little.
    pub(crate) fn suspended(name: &DnsName, zone: Arc<str>, now: UnixTime) -> Self {
        let fault = Fault::failure(LookupFailure::Suspended, Detail::ZoneSuspended { zone });
        Self { good_until: now, ..Self::fault(name, fault, now) }
    }

    /// What a proof says, and `account` about how it came to be.
    pub(crate) fn proven(proof: &Proof, account: &Account, now: UnixTime) -> Self {
        let answer = proof.to_answer(now);
        let good_until = match answer {
            TlsaAnswer::Secure(_) | TlsaAnswer::Denied(_) => proof.valid_until,
            // Unsigned data has nothing but TTLs, and is kept no longer than a denial.
            TlsaAnswer::Insecure => proof.valid_until.min(later(now, MAX_NEGATIVE_CACHE)),
            TlsaAnswer::Bogus | TlsaAnswer::Indeterminate(_) => later(now, MAX_FAILURE_CACHE),
        };
        Self {
            answer,
            good_until,
            end: text(&proof.owner),
            links: proof.links.iter().map(Link::from).collect(),
            zones: proof.zones.iter().map(ZoneLink::from).collect(),
            wildcard: proof.wildcard.as_ref().map(text),
            detail: proof.failure.as_ref().map(|failure| detail(failure, account)),
        }
    }

    /// What a resolver that is believed says: a chain, in a reply with code `rcode`, NOERROR or NXDOMAIN.
    pub(crate) fn believed(chain: &Chain, rcode: OptRcode, state: LinkState, now: UnixTime) -> Self {
        let known = match state {
            LinkState::Secure => secure(chain, rcode, now),
            LinkState::Insecure => Ok((TlsaAnswer::Insecure, insecure_until(chain, now))),
            LinkState::Indeterminate | LinkState::Bogus => {
                let detail = Detail::NoTrustAnchor { owner: text(&chain.end) };
                Err(Fault::failure(LookupFailure::NoTrust, detail))
            }
        };
        let (answer, good_until, detail) = match known {
            Ok((answer, good_until)) => (answer, good_until, None),
            Err(fault) => (fault.answer, later(now, MAX_FAILURE_CACHE), Some(fault.detail)),
        };
        let state = match answer {
            TlsaAnswer::Secure(_) | TlsaAnswer::Denied(_) => Some(LinkState::Secure),
            // Of several links it is not known which one is unsigned.
            TlsaAnswer::Insecure => (chain.links().count() == 1).then_some(LinkState::Insecure),
            TlsaAnswer::Bogus | TlsaAnswer::Indeterminate(_) => None,
        };
        Self {
            answer,
            good_until,
            end: text(&chain.end),
            links: chain.links().map(|set| Link::believed(set, state)).collect(),
            zones: Arc::default(),
            wildcard: None,
            detail,
        }
    }
}

/// What failed in a proof.
fn detail(failure: &Failure, account: &Account) -> Detail {
    let known = match failure {
        Failure::SignatureExpired { owner, rtype, at, zone: _ } => {
            Some(Detail::SignatureExpired { owner: text(owner), rtype: *rtype, at: *at })
        }
        Failure::SignatureNotYetValid { owner, rtype, at, zone: _ } => {
            Some(Detail::SignatureNotYetValid { owner: text(owner), rtype: *rtype, at: *at })
        }
        Failure::SignatureMissing { owner, rtype, zone: _ } => {
            Some(Detail::SignatureMissing { owner: text(owner), rtype: *rtype })
        }
        Failure::AliasLimit { owner } => Some(Detail::AliasLimit { owner: text(owner) }),
        Failure::NoTrustAnchor { owner } => Some(Detail::NoTrustAnchor { owner: text(owner) }),
        Failure::Malformed { question } => {
            Some(Detail::MalformedReply { question: question_text(&question.name, question.rtype) })
        }
        // These two are about the resolver: say which.
        Failure::EmptyReply { question } => account.server(question).map(|server| Detail::EmptyReply { server }),
        Failure::ResolverStripsSignatures { anchor } => {
            let keys = Question { name: anchor.clone(), rtype: Rtype::DNSKEY };
            account.server(&keys).map(|server| Detail::ResolverStripsSignatures { server })
        }
        Failure::LookUp { question, failure: _ } => account.fault(question).map(|fault| fault.detail.clone()),
        Failure::SignatureWrong { .. }
        | Failure::NoKeyForSignature { .. }
        | Failure::WrongSigner { .. }
        | Failure::NoKeyForDs { .. }
        | Failure::NoKeys { .. }
        | Failure::Labels { .. }
        | Failure::ProofMissing { .. }
        | Failure::Nsec3Iterations { .. }
        | Failure::Budget { .. } => None,
    };
    known.unwrap_or_else(|| Detail::Unproven(Arc::new(failure.clone())))
}

/// The answer of a chain whose AD bit is believed, and until when it is good.
fn secure(chain: &Chain, rcode: OptRcode, now: UnixTime) -> Result<(TlsaAnswer, UnixTime), Fault> {
    let link = |ttl: u32| {
        let times = LinkTimes { ttl: ttl.min(MAX_AD_TTL), original_ttl: None, signature_expiry: None };
        answer::Link { state: LinkState::Secure, times }
    };
    let (end, ttl) = match (&chain.tlsa, rcode) {
        (None, OptRcode::NXDOMAIN) => (ChainEnd::Denied(DenialKind::Nxdomain), chain.denial_ttl()),
        (None, _) => (ChainEnd::Denied(DenialKind::Nodata), chain.denial_ttl()),
        (Some(_), OptRcode::NXDOMAIN) => return Err(Fault::malformed(&chain.end)),
        (Some(tlsa), _) => {
            // One more than can be usable, so that the core sees the excess and memory does not grow with it.
            let records = tlsa.data.iter().take(MAX_RECORDS + 1).map(|data| TlsaRdata::from_wire(data)).collect();
            (ChainEnd::Records { records, wildcard: None }, tlsa.ttl)
        }
    };
    let aliases: Vec<_> = chain.aliases.iter().map(|set| link(set.ttl)).collect();
    let answer = TlsaAnswer::from_chain(now, &aliases, link(ttl), end);
    let until = match &answer {
        TlsaAnswer::Secure(secure) => secure.valid_until,
        TlsaAnswer::Denied(denial) => denial.valid_until,
        TlsaAnswer::Insecure | TlsaAnswer::Bogus | TlsaAnswer::Indeterminate(_) => now,
    };
    Ok((answer, until))
}

/// Unsigned data has nothing but TTLs, and is kept no longer than a denial.
fn insecure_until(chain: &Chain, now: UnixTime) -> UnixTime {
    let ttl = chain.links().chain(&chain.authority).map(|set| set.ttl).min().unwrap_or(0);
    later(now, Duration::from_secs(ttl.into()).min(MAX_NEGATIVE_CACHE))
}

/// So much after `now`.
pub(crate) fn later(now: UnixTime, by: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()).saturating_add(by))
}

/// A name as logs and diagnosis show it: lower case, without final dot unless it is the root.
pub(crate) fn text(name: &DnsName) -> Arc<str> {
    Shown(name).to_string().into()
}

/// A question as logs and diagnosis show it.
pub(crate) fn question_text(name: &DnsName, rtype: Rtype) -> Arc<str> {
    format!("{} {rtype}", Shown(name)).into()
}
