//! What comes out: the verdict on a name, and what it rests on.

use dance_core::UnixTime;
use dance_core::answer::{ChainEnd, DenialKind, Link, LinkState, LinkTimes, LookupFailure, TlsaAnswer};
use dance_core::tlsa::TlsaRdata;
use domain::base::iana::{Rtype, SecurityAlgorithm};

use crate::budget::Cost;
use crate::failure::Failure;
use crate::question::DnsName;

/// The verdict on one TLSA question, and what it rests on.
#[derive(Clone, Debug)]
pub struct Proof {
    /// As bad as the worst link.
    pub state: LinkState,
    /// What is at the end of the aliases; anything but [`Found::Nothing`] only if the state is Secure.
    pub found: Found,
    /// The name at the end of the aliases, as far as they could be followed.
    pub owner: DnsName,
    /// The aliases in the order followed, and at the end the TLSA RRset if there is one.
    pub links: Vec<AnswerLink>,
    /// The chain of trust of all of them, each from its anchor down, each zone once; where it fails, as far as it holds.
    pub zones: Vec<ZoneLink>,
    /// Until when the proof holds, over every link and every zone; for a verdict other than Secure, until when it may be repeated
    /// without asking anew.
    pub valid_until: UnixTime,
    /// The smallest TTL of the answer, in seconds.
    pub ttl: u32,
    /// The wildcard that was expanded: the one nearest to the end if there were several.
    pub wildcard: Option<DnsName>,
    /// Why it is Bogus or Indeterminate.
    pub failure: Option<Failure>,
    /// What it cost.
    pub cost: Cost,
    /// How long the end of the chain is good: the TLSA RRset or the denial, with all proofs and the chain of trust.
    pub(crate) last: LinkTimes,
}

/// What is at the end of the aliases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// TLSA records, in the order of the answer; at most one more than [`MAX_RECORDS`](dance_core::answer::MAX_RECORDS).
    Records(Vec<TlsaRdata>),
    /// Proven: no such name.
    Nxdomain,
    /// Proven: no TLSA records.
    Nodata,
    /// Nothing that is Secure.
    Nothing,
}

/// One RRset on the way to the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerLink {
    /// Its owner.
    pub owner: DnsName,
    /// CNAME, DNAME or TLSA.
    pub rtype: Rtype,
    /// Its state; `None` if it was not reached.
    pub state: Option<LinkState>,
    /// Whether signatures came with it.
    pub signed: bool,
    /// The zone whose signature is valid.
    pub signer: Option<DnsName>,
    /// The tag of the key of that signature.
    pub key_tag: Option<u16>,
    /// The algorithm of that signature.
    pub algorithm: Option<SecurityAlgorithm>,
    /// TTL as received, in seconds.
    pub ttl: u32,
    /// The TTL inside the signature, in seconds.
    pub original_ttl: Option<u32>,
    /// When that signature ends.
    pub expiry: Option<UnixTime>,
    /// Whether it was expanded from a wildcard.
    pub wildcard: bool,
}

impl AnswerLink {
    /// What it says about time.
    #[must_use]
    pub fn times(&self) -> LinkTimes {
        LinkTimes { ttl: self.ttl, original_ttl: self.original_ttl, signature_expiry: self.expiry }
    }
}

/// One signature in a chain of trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneLink {
    /// The zone that it is about.
    pub zone: DnsName,
    /// DS, signed by the zone above, or its denial by NSEC or NSEC3; DNSKEY, signed by the zone itself.
    pub rtype: Rtype,
    /// The tag of the key that signed.
    pub key_tag: u16,
    /// Its algorithm.
    pub algorithm: SecurityAlgorithm,
    /// When the signature ends.
    pub expiry: UnixTime,
}

impl Proof {
    /// The answer that the proof amounts to at `now`.
    #[must_use]
    pub fn to_answer(&self, now: UnixTime) -> TlsaAnswer {
        let lookup_failure = self.failure.as_ref().and_then(Failure::lookup_failure);
        match self.state {
            LinkState::Insecure => return TlsaAnswer::Insecure,
            LinkState::Bogus => return TlsaAnswer::Bogus,
            LinkState::Indeterminate => {
                return TlsaAnswer::Indeterminate(lookup_failure.unwrap_or(LookupFailure::NoTrust));
            }
            LinkState::Secure => {}
        }
        let end = match &self.found {
            Found::Records(records) => {
                ChainEnd::Records { records: records.clone(), wildcard: Some(self.wildcard.is_some()) }
            }
            Found::Nxdomain => ChainEnd::Denied(DenialKind::Nxdomain),
            Found::Nodata => ChainEnd::Denied(DenialKind::Nodata),
            // Not made; were it, it proves nothing.
            Found::Nothing => return TlsaAnswer::Bogus,
        };
        let aliases: Vec<Link> =
            self.links.iter().filter(|link| link.rtype != Rtype::TLSA).map(AnswerLink::link).collect();
        TlsaAnswer::from_chain(now, &aliases, Link { state: self.state, times: self.last }, end)
    }
}

impl AnswerLink {
    fn link(&self) -> Link {
        Link { state: self.state.unwrap_or(LinkState::Indeterminate), times: self.times() }
    }
}
