//! From a judged reply to an answer: its records or denial, how long it is good for, and the account of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dance_core::UnixTime;
use dance_core::answer::{
    self, ChainEnd, DenialKind, LinkState, LinkTimes, LookupFailure, MAX_FAILURE_CACHE, MAX_NEGATIVE_CACHE,
    MAX_RECORDS, TlsaAnswer,
};
use dance_core::tlsa::TlsaRdata;
use domain::base::iana::{OptRcode, Rtype};

use crate::config::DnsMode;
use crate::reply::{Chain, ChainError, DnsName, Rrset, question_text, text};
use crate::source::{Detail, Link};
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
            ChainError::AliasLimit(owner) => {
                Self::failure(LookupFailure::AliasLimit, Detail::AliasLimit { owner: text(&owner) })
            }
        }
    }
}

/// What is known about a name, and until when.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) answer: TlsaAnswer,
    /// From then on it must not be used for another look-up.
    pub(crate) good_until: UnixTime,
    pub(crate) end: Arc<str>,
    pub(crate) links: Arc<[Link]>,
    pub(crate) detail: Option<Detail>,
}

impl Outcome {
    /// No chain was seen.
    pub(crate) fn fault(name: &DnsName, fault: Fault, now: UnixTime) -> Self {
        Self {
            answer: fault.answer,
            good_until: later(now, MAX_FAILURE_CACHE),
            end: text(name),
            links: Arc::new([]),
            detail: Some(fault.detail),
        }
    }

    /// A chain was seen and judged, in a reply with code `rcode`, NOERROR or NXDOMAIN.
    pub(crate) fn judged(
        chain: &Chain,
        rcode: OptRcode,
        state: Result<LinkState, Fault>,
        mode: DnsMode,
        now: UnixTime,
    ) -> Self {
        let known = state.and_then(|state| match state {
            LinkState::Secure => secure(chain, rcode, mode, now),
            LinkState::Insecure => Ok((TlsaAnswer::Insecure, insecure_until(chain, now))),
            LinkState::Indeterminate => {
                let detail = Detail::NoTrustAnchor { owner: text(&chain.end) };
                Err(Fault::failure(LookupFailure::NoTrust, detail))
            }
            LinkState::Bogus => Err(Fault::bogus(Detail::NotExplained)),
        });
        let outcome = match known {
            Ok((answer, good_until)) => {
                Self { answer, good_until, end: text(&chain.end), links: Arc::new([]), detail: None }
            }
            Err(fault) => Self::fault(&chain.end, fault, now),
        };
        let state = match outcome.answer {
            TlsaAnswer::Secure(_) | TlsaAnswer::Denied(_) => Some(LinkState::Secure),
            // Of several links it is not known which one is unsigned.
            TlsaAnswer::Insecure => (chain.links().count() == 1).then_some(LinkState::Insecure),
            TlsaAnswer::Bogus | TlsaAnswer::Indeterminate(_) => None,
        };
        let link = |set: &Rrset| Link { owner: text(&set.owner), rtype: set.rtype, signed: set.is_signed(), state };
        Self { links: chain.links().map(link).collect(), ..outcome }
    }
}

/// The answer of a Secure chain and until when it is good.
fn secure(chain: &Chain, rcode: OptRcode, mode: DnsMode, now: UnixTime) -> Result<(TlsaAnswer, UnixTime), Fault> {
    // Each link must have a signature that is valid now, by our own clock and without memory.
    if mode == DnsMode::Validate
        && let Some(bare) = chain.links().find(|set| !set.is_signed())
    {
        return Err(Fault::bogus(Detail::SignatureMissing { owner: text(&bare.owner), rtype: bare.rtype }));
    }
    let end = match (&chain.tlsa, rcode) {
        (None, OptRcode::NXDOMAIN) => ChainEnd::Denied(DenialKind::Nxdomain),
        (None, _) => ChainEnd::Denied(DenialKind::Nodata),
        (Some(_), OptRcode::NXDOMAIN) => return Err(Fault::malformed(&chain.end)),
        (Some(tlsa), _) => ChainEnd::Records {
            // One more than can be usable, so that the core sees the excess and memory does not grow with it.
            records: tlsa.data.iter().take(MAX_RECORDS + 1).map(|data| TlsaRdata::from_wire(data)).collect(),
            wildcard: (mode == DnsMode::Validate).then(|| chain.links().any(Rrset::is_wildcard)),
        },
    };
    let secure = |times: Result<LinkTimes, Detail>| {
        let mut times = times.map_err(Fault::bogus)?;
        if mode == DnsMode::AdBit {
            times.ttl = times.ttl.min(MAX_AD_TTL);
        }
        Ok(answer::Link { state: LinkState::Secure, times })
    };
    let aliases: Vec<_> = chain.aliases.iter().map(|set| secure(set.times(now))).collect::<Result<_, Fault>>()?;
    let answer = TlsaAnswer::from_chain(now, &aliases, secure(chain.last_times(now))?, end);
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
