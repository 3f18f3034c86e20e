//! What DNS said, wrapped in its DNSSEC validation state.
//!
//! Records exist only inside [`TlsaAnswer::Secure`]: nobody can read them without having named the state they accept (DNS-03).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use rustls_pki_types::UnixTime;

use crate::reason::Reason;
use crate::tlsa::TlsaRdata;

/// Longest time an answer is kept, whatever its TTL (requirements 5.7).
pub const MAX_CACHE: Duration = Duration::from_secs(3600);
/// Longest time a denial is kept (requirements 5.7).
pub const MAX_NEGATIVE_CACHE: Duration = Duration::from_secs(60);
/// Longest time a failure is kept (requirements 5.7).
pub const MAX_FAILURE_CACHE: Duration = Duration::from_secs(5);
/// Most alias links that a look-up follows (requirements 4.2 step 11).
pub const MAX_ALIAS_LINKS: usize = 8;
/// An RRset with more records than this counts as having none that is usable (requirements 5.2).
pub const MAX_RECORDS: usize = 64;

/// The answer to one TLSA look-up, over the whole alias chain. Cloning is cheap.
#[derive(Clone, Debug)]
pub enum TlsaAnswer {
    /// Every link and the RRset itself validated to a configured trust anchor.
    Secure(Arc<SecureTlsa>),
    /// Proven: no such name, or no TLSA records at it.
    Denied(Denial),
    /// Validly unsigned somewhere on the way (RFC 4033 section 5).
    Insecure,
    /// A signature or chain of trust fails.
    Bogus,
    /// No state could be found.
    Indeterminate(LookupFailure),
}

/// A validated TLSA RRset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecureTlsa {
    /// The records in the order of the answer, RDATA as received.
    pub records: Vec<TlsaRdata>,
    /// When the answer stops being good: see [`valid_until`].
    pub valid_until: UnixTime,
    /// The smallest TTL over all links, in seconds, as received.
    pub ttl: u32,
    /// The RRset was synthesised from a wildcard (RFC 4034 section 3.1.3). `None` in AD mode, which cannot see it.
    pub wildcard: Option<bool>,
}

/// A validated denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// NXDOMAIN or NODATA.
    pub kind: DenialKind,
    /// When the denial must be asked for anew.
    pub valid_until: UnixTime,
}

/// What was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialKind {
    /// The name does not exist.
    Nxdomain,
    /// The name exists without TLSA records.
    Nodata,
}

/// Why a look-up came to no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupFailure {
    /// An alias loop, or more than [`MAX_ALIAS_LINKS`].
    AliasLimit,
    /// The reply does not decode or does not answer the question.
    Malformed,
    /// No trust anchor covers the name, or the channel to the resolver may not be believed.
    NoTrust,
    /// REFUSED or another error code.
    Refused,
    /// SERVFAIL.
    Servfail,
    /// The zone's servers failed to answer again and again: it is asked nothing for some seconds.
    Suspended,
    /// No answer within the budget.
    Timeout,
    /// The proof would cost more than one look-up may: signatures, NSEC3 hashes, links or questions.
    TooCostly,
    /// The resolver cannot be reached.
    Unreachable,
}

impl LookupFailure {
    /// The reason it becomes.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::AliasLimit => Reason::LookupAliasLimit,
            Self::Malformed => Reason::LookupMalformed,
            Self::NoTrust => Reason::DnssecIndeterminate,
            Self::Refused => Reason::LookupRefused,
            Self::Servfail => Reason::LookupServfail,
            Self::Suspended => Reason::LookupZoneSuspended,
            Self::Timeout => Reason::LookupTimeout,
            Self::TooCostly => Reason::LookupTooCostly,
            Self::Unreachable => Reason::LookupUnreachable,
        }
    }
}

/// The DNSSEC state of one link, or of a whole chain (RFC 4033 section 5). In rising order of harm: a chain is as bad as its worst link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkState {
    /// Validated to a configured trust anchor.
    Secure,
    /// Proven to be unsigned.
    Insecure,
    /// No trust anchor covers it, or the channel to the resolver may not be believed.
    Indeterminate,
    /// A signature or chain of trust fails.
    Bogus,
}

impl LinkState {
    /// What the AD bit of a reply says (RFC 6840 section 5.8): nothing at all, unless the channel to the resolver is trusted (DNS-02).
    #[must_use]
    pub const fn from_ad(authentic_data: bool, trusted_channel: bool) -> Self {
        match (trusted_channel, authentic_data) {
            (false, _) => Self::Indeterminate,
            (true, true) => Self::Secure,
            (true, false) => Self::Insecure,
        }
    }
}

/// What one link of the chain (CNAME, DNAME, or what ends it) says about time. Seconds throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTimes {
    /// The TTL as received.
    pub ttl: u32,
    /// The TTL inside the signature, which cannot be forged upwards. `None` in AD mode.
    pub original_ttl: Option<u32>,
    /// When the signature ends. `None` in AD mode.
    pub signature_expiry: Option<UnixTime>,
}

/// One link of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its validation state.
    pub state: LinkState,
    /// How long it is good.
    pub times: LinkTimes,
}

/// What stands at the end of the aliases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainEnd {
    /// TLSA records.
    Records {
        /// In the order of the answer.
        records: Vec<TlsaRdata>,
        /// As in [`SecureTlsa::wildcard`].
        wildcard: Option<bool>,
    },
    /// None.
    Denied(DenialKind),
}

impl TlsaAnswer {
    /// The answer that a chain amounts to: `aliases` in the order followed, then `last`, the RRset or (for a denial, with the smaller of
    /// its TTL and MINIMUM as TTL, RFC 2308 section 5) the SOA record (requirements 4.2 step 11, 5.7; DNS-03, DNS-05).
    #[must_use]
    pub fn from_chain(now: UnixTime, aliases: &[Link], last: Link, end: ChainEnd) -> Self {
        if aliases.len() > MAX_ALIAS_LINKS {
            return Self::Indeterminate(LookupFailure::AliasLimit);
        }
        let links = || aliases.iter().chain([&last]);
        match links().map(|link| link.state).max().unwrap_or(last.state) {
            LinkState::Secure => {}
            LinkState::Insecure => return Self::Insecure,
            LinkState::Indeterminate => return Self::Indeterminate(LookupFailure::NoTrust),
            LinkState::Bogus => return Self::Bogus,
        }
        let times = || links().map(|link| link.times);
        match end {
            ChainEnd::Records { records, wildcard } => Self::Secure(Arc::new(SecureTlsa {
                records,
                valid_until: valid_until(now, MAX_CACHE, times()),
                ttl: times().map(|times| times.ttl).min().unwrap_or_default(),
                wildcard,
            })),
            ChainEnd::Denied(kind) => {
                Self::Denied(Denial { kind, valid_until: valid_until(now, MAX_NEGATIVE_CACHE, times()) })
            }
        }
    }

    /// The RRset, of which the procedure goes on.
    ///
    /// # Errors
    /// For every other answer, the reason it becomes (requirements 4.2 step 11).
    pub fn secure(&self) -> Result<&SecureTlsa, Reason> {
        match self {
            Self::Secure(secure) => Ok(secure),
            Self::Denied(_) => Err(Reason::TlsaAbsent),
            Self::Insecure => Err(Reason::DnssecInsecure),
            Self::Bogus => Err(Reason::DnssecBogus),
            Self::Indeterminate(failure) => Err(failure.reason()),
        }
    }

    /// What a reply's code means (RFC 1035 section 4.1.1): `None` for NOERROR and NXDOMAIN, which are answers.
    #[must_use]
    pub const fn from_rcode(rcode: u8) -> Option<Self> {
        match rcode {
            0 | 3 => None,
            2 => Some(Self::Indeterminate(LookupFailure::Servfail)),
            _ => Some(Self::Indeterminate(LookupFailure::Refused)),
        }
    }
}

/// When an answer over these links stops being good: the earliest of TTL, original TTL and signature expiry over all of them, at
/// most `ceiling` from `now`. There is no floor: TTL 0 gives `now` (requirements 5.7, RFC 4035 section 5.3.3).
#[must_use]
pub fn valid_until(now: UnixTime, ceiling: Duration, links: impl IntoIterator<Item = LinkTimes>) -> UnixTime {
    let now = now.as_secs();
    let mut seconds = ceiling.as_secs();
    for link in links {
        seconds = seconds.min(u64::from(link.ttl));
        if let Some(original) = link.original_ttl {
            seconds = seconds.min(u64::from(original));
        }
        if let Some(expiry) = link.signature_expiry {
            seconds = seconds.min(expiry.as_secs().saturating_sub(now));
        }
    }
    UnixTime::since_unix_epoch(Duration::from_secs(now.saturating_add(seconds)))
}
