//! A resolver's reply taken apart: the alias chain from the question to its end, and what its signatures say about time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dance_core::UnixTime;
use dance_core::answer::{LinkTimes, MAX_ALIAS_LINKS};
use dance_core::name::OwnerName;
use domain::base::iana::{Class, Rtype};
use domain::base::message::RecordSection;
use domain::base::name::{Name, ParsedName, ToName as _};
use domain::base::wire::ParseError;
use domain::base::{Message, NameBuilder, UnknownRecordData};
use domain::rdata::{Cname, Dname, Rrsig};

use crate::source::Detail;

/// Most records that a section may hold: far above an RRset of 64 with its signatures, aliases and proof, and few enough that
/// comparing each with each costs nothing.
const MAX_SECTION_RECORDS: usize = 512;

/// A domain name; compares without regard to case.
pub(crate) type DnsName = Name<Bytes>;

/// An owner name for a message.
pub(crate) fn dns_name(owner: &OwnerName) -> DnsName {
    // A checked name is a valid wire name; were it not, the root has no TLSA records.
    Name::from_octets(Bytes::copy_from_slice(owner.to_wire().as_slice())).unwrap_or_else(|_| Name::root())
}

/// A name as logs and diagnosis show it: lower case, without final dot.
pub(crate) fn text(name: &DnsName) -> Arc<str> {
    let mut text = name.to_string();
    text.make_ascii_lowercase();
    text.into()
}

/// A question as logs and diagnosis show it.
pub(crate) fn question_text(name: &DnsName, rtype: Rtype) -> Arc<str> {
    format!("{} {rtype}", text(name)).into()
}

/// An RRset with the signatures that came with it.
#[derive(Clone, Debug)]
pub(crate) struct Rrset {
    pub(crate) owner: DnsName,
    pub(crate) rtype: Rtype,
    /// The smallest of its records' and signatures' TTLs.
    pub(crate) ttl: u32,
    /// RDATA as received, each once; the target, uncompressed and in lower case, for CNAME and DNAME.
    pub(crate) data: Vec<Bytes>,
    signatures: Vec<Signature>,
}

/// What an RRSIG says about time and wildcards (RFC 4034 section 3.1).
#[derive(Clone, Copy, Debug)]
struct Signature {
    labels: u8,
    original_ttl: u32,
    inception: u32,
    expiration: u32,
}

impl Rrset {
    pub(crate) fn is_signed(&self) -> bool {
        !self.signatures.is_empty()
    }

    /// Whether a signature covers fewer labels than the owner has (RFC 4034 section 3.1.3). Any one will do: the validator accepts a
    /// synthesised RRset by no other signature.
    pub(crate) fn is_wildcard(&self) -> bool {
        // Neither the root label nor a leading asterisk counts.
        let mut labels = self.owner.label_count().saturating_sub(1);
        if self.owner.first().as_slice() == b"*" {
            labels = labels.saturating_sub(1);
        }
        self.signatures.iter().any(|signature| usize::from(signature.labels) < labels)
    }

    /// The target of a CNAME or DNAME, if it has exactly one.
    fn target(&self) -> Option<DnsName> {
        match self.data.as_slice() {
            [target] => Name::from_octets(target.clone()).ok(),
            _ => None,
        }
    }

    /// TTL and, of the signatures valid at `now`, the smallest original TTL and the earliest end: nobody says which of them the
    /// validator used.
    ///
    /// # Errors
    /// There are signatures and none is valid at `now`.
    pub(crate) fn times(&self, now: UnixTime) -> Result<LinkTimes, Detail> {
        let valid = |signature: &&Signature| {
            time(signature.inception, now) <= now.as_secs() && now.as_secs() <= time(signature.expiration, now)
        };
        let mut times = LinkTimes { ttl: self.ttl, original_ttl: None, signature_expiry: None };
        for signature in self.signatures.iter().filter(valid) {
            let expiry = seconds(time(signature.expiration, now));
            times.original_ttl =
                Some(times.original_ttl.map_or(signature.original_ttl, |ttl| ttl.min(signature.original_ttl)));
            times.signature_expiry = Some(times.signature_expiry.map_or(expiry, |earliest| earliest.min(expiry)));
        }
        if times.signature_expiry.is_some() || self.signatures.is_empty() {
            return Ok(times);
        }
        let last = self.signatures.iter().map(|signature| time(signature.expiration, now)).max().unwrap_or_default();
        let first = self.signatures.iter().map(|signature| time(signature.inception, now)).min().unwrap_or_default();
        let (owner, rtype) = (text(&self.owner), self.rtype);
        Err(if last < now.as_secs() {
            Detail::SignatureExpired { owner, rtype, at: seconds(last) }
        } else {
            Detail::SignatureNotYetValid { owner, rtype, at: seconds(first) }
        })
    }
}

/// The time that a signature's 32 bits mean: the one closest to `now` (RFC 4034 section 3.1.5, RFC 1982).
fn time(serial: u32, now: UnixTime) -> u64 {
    let now = now.as_secs();
    #[allow(clippy::cast_possible_truncation, reason = "serial numbers are the low 32 bits")]
    let distance = serial.wrapping_sub(now as u32).cast_signed();
    now.saturating_add_signed(distance.into())
}

fn seconds(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// The alias chain of a reply.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// CNAME and DNAME RRsets in the order in which they lead on. A CNAME that a DNAME stands for is left out.
    pub(crate) aliases: Vec<Rrset>,
    /// Where they lead: the one name whose TLSA RRset answers the question.
    pub(crate) end: DnsName,
    /// The TLSA RRset there.
    pub(crate) tlsa: Option<Rrset>,
    /// The authority section: SOA, NSEC, NSEC3.
    pub(crate) authority: Vec<Rrset>,
}

/// Why a reply has no chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChainError {
    /// It does not decode, has too much, or its answer section holds what is not part of one chain.
    Malformed,
    /// A loop, or too many links; with the name where the limit was met.
    AliasLimit(DnsName),
}

impl From<ParseError> for ChainError {
    fn from(_: ParseError) -> Self {
        Self::Malformed
    }
}

impl Chain {
    /// Follows the aliases from `qname`.
    ///
    /// The answer section must hold that one chain and nothing else, and at each name no more than one way on: so the path taken here
    /// is the only one there is, and hence the one that the validator judged.
    pub(crate) fn follow(message: &Message<Bytes>, qname: &DnsName) -> Result<Self, ChainError> {
        let mut answer = rrsets(message.answer()?)?;
        let authority = rrsets(message.authority()?)?;
        // Nothing in it is used, but a message that does not decode to its end is not half believed.
        for record in message.additional()? {
            record?;
        }
        let mut aliases = Vec::new();
        let mut visited = vec![qname.clone()];
        let mut name = qname.clone();
        let mut synthesised = Vec::new();
        while let Some(alias) = alias_at(&answer, &name)? {
            if let Some(cname) = alias.synthesised {
                synthesised.push(cname);
            }
            aliases.push(alias.index);
            name = alias.target;
            if aliases.len() > MAX_ALIAS_LINKS || visited.contains(&name) {
                return Err(ChainError::AliasLimit(name));
            }
            visited.push(name.clone());
        }
        let tlsa = answer.iter().position(|set| set.rtype == Rtype::TLSA && set.owner == name);
        let used = |index: &usize| aliases.contains(index) || synthesised.contains(index) || tlsa == Some(*index);
        if !(0..answer.len()).all(|index| used(&index)) {
            return Err(ChainError::Malformed);
        }
        let aliases = aliases.iter().filter_map(|&index| answer.get(index).cloned()).collect();
        let tlsa = tlsa.map(|index| answer.swap_remove(index));
        Ok(Self { aliases, end: name, tlsa, authority })
    }

    /// All RRsets that answer the question.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Rrset> {
        self.aliases.iter().chain(&self.tlsa)
    }

    /// The RRsets that prove a denial or the absence of a closer name.
    fn proofs(&self) -> impl Iterator<Item = &Rrset> {
        self.authority.iter().filter(|set| matches!(set.rtype, Rtype::NSEC | Rtype::NSEC3))
    }

    /// What ends the chain says about time: the TLSA RRset, or for a denial the SOA record with the smaller of its TTL and minimum (RFC
    /// 2308 section 5); a denial without SOA is good for this once. The proofs' signatures count as well, and their TTLs with a denial.
    pub(crate) fn last_times(&self, now: UnixTime) -> Result<LinkTimes, Detail> {
        let mut last = match &self.tlsa {
            Some(tlsa) => tlsa.times(now)?,
            None => self.denial_times(now)?,
        };
        for proof in self.proofs() {
            let times = proof.times(now)?;
            if self.tlsa.is_none() {
                last.ttl = last.ttl.min(times.ttl);
            }
            last.signature_expiry = last.signature_expiry.into_iter().chain(times.signature_expiry).min();
        }
        Ok(last)
    }

    fn denial_times(&self, now: UnixTime) -> Result<LinkTimes, Detail> {
        let soa = self
            .authority
            .iter()
            .filter(|set| set.rtype == Rtype::SOA && self.end.ends_with(&set.owner))
            .max_by_key(|set| set.owner.label_count());
        let Some(soa) = soa else {
            return Ok(LinkTimes { ttl: 0, original_ttl: None, signature_expiry: None });
        };
        let times = soa.times(now)?;
        Ok(LinkTimes { ttl: times.ttl.min(soa_minimum(soa)), ..times })
    }
}

/// The last field of SOA RDATA.
fn soa_minimum(soa: &Rrset) -> u32 {
    soa.data.first().and_then(|data| data.last_chunk()).map_or(0, |&minimum| u32::from_be_bytes(minimum))
}

/// The way on from a name.
struct Alias {
    index: usize,
    target: DnsName,
    /// The CNAME that goes with a DNAME.
    synthesised: Option<usize>,
}

fn alias_at(answer: &[Rrset], name: &DnsName) -> Result<Option<Alias>, ChainError> {
    let cname = answer.iter().position(|set| set.rtype == Rtype::CNAME && set.owner == *name);
    let mut dnames = answer
        .iter()
        .enumerate()
        .filter(|(_, set)| set.rtype == Rtype::DNAME && set.owner != *name && name.ends_with(&set.owner));
    let dname = dnames.next();
    if dnames.next().is_some() {
        return Err(ChainError::Malformed);
    }
    let cname_target = match cname.and_then(|index| answer.get(index)) {
        Some(set) => Some(set.target().ok_or(ChainError::Malformed)?),
        None => None,
    };
    let Some((index, dname)) = dname else {
        return Ok(cname.zip(cname_target).map(|(index, target)| Alias { index, target, synthesised: None }));
    };
    let target = substitute(name, &dname.owner, &dname.target().ok_or(ChainError::Malformed)?)?;
    // RFC 6672 section 3.1: a CNAME beside a DNAME is the one that follows from it.
    if cname_target.is_some_and(|cname_target| cname_target != target) {
        return Err(ChainError::Malformed);
    }
    Ok(Some(Alias { index, target, synthesised: cname }))
}

/// `name` with its suffix `owner` replaced by `target` (RFC 6672 section 2.2).
fn substitute(name: &DnsName, owner: &DnsName, target: &DnsName) -> Result<DnsName, ChainError> {
    let mut builder = NameBuilder::new_bytes();
    let kept = name.label_count().saturating_sub(owner.label_count());
    for label in name.iter().take(kept) {
        builder.append_label(label.as_slice()).map_err(|_| ChainError::Malformed)?;
    }
    builder.append_origin(target).map_err(|_| ChainError::Malformed)
}

/// The smallest TTL in a message's answer and authority sections; 0 if there is none or they do not decode.
pub(crate) fn smallest_ttl(message: &Message<Bytes>) -> u32 {
    all_rrsets(message).iter().map(|set| set.ttl).min().unwrap_or(0)
}

/// All RRsets of a message's answer and authority sections, as far as they decode; for diagnosis.
pub(crate) fn all_rrsets(message: &Message<Bytes>) -> Vec<Rrset> {
    let section =
        |section: Result<_, ParseError>| section.ok().and_then(|section| rrsets(section).ok()).unwrap_or_default();
    let mut sets = section(message.answer());
    sets.append(&mut section(message.authority()));
    sets
}

fn rrsets(section: RecordSection<'_, Bytes>) -> Result<Vec<Rrset>, ChainError> {
    let mut sets: Vec<Rrset> = Vec::new();
    for (count, record) in section.enumerate() {
        let record = record?;
        if count >= MAX_SECTION_RECORDS || record.class() != Class::IN {
            return Err(ChainError::Malformed);
        }
        let owner: DnsName = record.owner().to_name();
        let ttl = record.ttl().as_secs();
        let (rtype, data, signature) = match record.rtype() {
            Rtype::RRSIG => {
                let rrsig = record.to_record::<Rrsig<_, ParsedName<_>>>()?.ok_or(ChainError::Malformed)?;
                let rrsig = rrsig.data();
                let signature = Signature {
                    labels: rrsig.labels(),
                    original_ttl: rrsig.original_ttl().as_secs(),
                    inception: rrsig.inception().into_int(),
                    expiration: rrsig.expiration().into_int(),
                };
                (rrsig.type_covered(), None, Some(signature))
            }
            Rtype::CNAME => {
                let cname = record.to_record::<Cname<ParsedName<_>>>()?.ok_or(ChainError::Malformed)?;
                (Rtype::CNAME, Some(cname.data().cname().to_canonical_name::<Bytes>().into_octets()), None)
            }
            Rtype::DNAME => {
                let dname = record.to_record::<Dname<ParsedName<_>>>()?.ok_or(ChainError::Malformed)?;
                (Rtype::DNAME, Some(dname.data().dname().to_canonical_name::<Bytes>().into_octets()), None)
            }
            rtype => {
                let data = record.to_record::<UnknownRecordData<_>>()?.ok_or(ChainError::Malformed)?;
                (rtype, Some(data.data().data().clone()), None)
            }
        };
        let index = match sets.iter().position(|set| set.rtype == rtype && set.owner == owner) {
            Some(index) => index,
            None => {
                sets.push(Rrset { owner, rtype, ttl, data: Vec::new(), signatures: Vec::new() });
                sets.len() - 1
            }
        };
        let Some(set) = sets.get_mut(index) else { continue };
        set.ttl = set.ttl.min(ttl);
        set.signatures.extend(signature);
        if let Some(data) = data.filter(|data| !set.data.contains(data)) {
            set.data.push(data);
        }
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test code")]

    use domain::base::{MessageBuilder, Ttl};
    use domain::rdata::Tlsa;

    use super::*;

    fn name(text: &str) -> DnsName {
        text.parse().unwrap()
    }

    enum Rr<'a> {
        Cname(&'a str, &'a str),
        Dname(&'a str, &'a str),
        Tlsa(&'a str),
    }
    use Rr::{Cname as C, Dname as D, Tlsa as T};

    /// The end of the chain from `a.example.` in an answer of these records.
    fn follow(records: &[Rr<'_>]) -> Result<String, ChainError> {
        let mut builder = MessageBuilder::new_vec().question();
        builder.push((name("a.example."), Rtype::TLSA)).unwrap();
        let mut builder = builder.answer();
        let ttl = Ttl::from_secs(60);
        for record in records {
            match record {
                C(owner, target) => builder.push((name(owner), ttl, Cname::new(name(target)))),
                D(owner, target) => builder.push((name(owner), ttl, Dname::new(name(target)))),
                T(owner) => {
                    let tlsa = Tlsa::new(3.into(), 1.into(), 1.into(), vec![0u8; 32]);
                    builder.push((name(owner), ttl, tlsa))
                }
            }
            .unwrap();
        }
        let message = Message::from_octets(Bytes::from(builder.finish())).unwrap();
        let chain = Chain::follow(&message, &name("a.example."))?;
        Ok(format!("{} {}", chain.end, if chain.tlsa.is_some() { "TLSA" } else { "-" }))
    }

    // DNS-05
    #[test]
    fn one_chain_and_nothing_else() {
        let ok = |end: &str| Ok(end.to_owned());
        assert_eq!(follow(&[]), ok("a.example -"));
        assert_eq!(follow(&[T("A.example.")]), ok("a.example TLSA"));
        assert_eq!(follow(&[T("c.test."), C("b.test.", "c.test."), C("a.example.", "b.test.")]), ok("c.test TLSA"));
        // The same record twice is one.
        assert_eq!(follow(&[C("a.example.", "b.test."), C("a.example.", "B.test."), T("b.test.")]), ok("b.test TLSA"));
        assert_eq!(follow(&[D("example.", "test."), T("a.test.")]), ok("a.test TLSA"));
        assert_eq!(follow(&[D("example.", "test."), C("a.example.", "a.test."), T("a.test.")]), ok("a.test TLSA"));

        let malformed = Err(ChainError::Malformed);
        // Records at a name that the chain does not end in, or does not lead through.
        assert_eq!(follow(&[T("b.test.")]), malformed);
        assert_eq!(follow(&[C("a.example.", "b.test."), T("a.example."), T("b.test.")]), malformed);
        assert_eq!(follow(&[C("b.test.", "c.test.")]), malformed);
        // Two ways on.
        assert_eq!(follow(&[C("a.example.", "b.test."), C("a.example.", "c.test.")]), malformed);
        assert_eq!(follow(&[D("example.", "test."), C("a.example.", "b.test."), T("b.test.")]), malformed);
        assert_eq!(follow(&[D("example.", "test."), D(".", "net.")]), malformed);
        // A DNAME says nothing of its own owner.
        assert_eq!(follow(&[D("a.example.", "test.")]), malformed);
    }

    // DNS-05
    #[test]
    fn loops_and_length() {
        let limit = |at: &str| Err(ChainError::AliasLimit(name(at)));
        assert_eq!(follow(&[C("a.example.", "A.example.")]), limit("a.example."));
        assert_eq!(follow(&[C("a.example.", "b.test."), C("b.test.", "a.example.")]), limit("a.example."));
        // Each time round, the name grows.
        assert!(matches!(follow(&[D("example.", "b.example.")]), Err(ChainError::AliasLimit(_))));
        let hosts: Vec<String> = (1..=9).map(|n| format!("h{n}.test.")).collect();
        let chain = |links: usize| {
            let targets = hosts.iter().take(links);
            let owners = std::iter::once("a.example.").chain(hosts.iter().map(String::as_str));
            owners.zip(targets).map(|(owner, target)| C(owner, target)).collect::<Vec<_>>()
        };
        assert_eq!(follow(&chain(MAX_ALIAS_LINKS)), Ok("h8.test -".to_owned()));
        assert_eq!(follow(&chain(MAX_ALIAS_LINKS + 1)), limit("h9.test."));
    }

    // DNS-05: a name that no longer fits is the end of it.
    #[test]
    fn names_that_grow_too_long() {
        let label = "x".repeat(60);
        let target = format!("{label}.{label}.{label}.{label}.example.");
        assert_eq!(follow(&[D("example.", &target)]), Err(ChainError::Malformed));
    }

    // DNS-08: what a chain ends in is good no longer than its proof; a denial for no longer than the proof's TTL, either.
    #[test]
    fn proofs_count() {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(10_000));
        let set = |rtype, ttl, expiration, data: Vec<Bytes>| Rrset {
            owner: name("example."),
            rtype,
            ttl,
            data,
            signatures: vec![Signature { labels: 1, original_ttl: 900, inception: 9_000, expiration }],
        };
        let soa = set(Rtype::SOA, 700, 15_000, vec![Bytes::from_static(&[0, 0, 1, 0x90])]);
        let chain = |tlsa, proof_until| Chain {
            aliases: Vec::new(),
            end: name("a.example."),
            tlsa,
            authority: vec![soa.clone(), set(Rtype::NSEC, 300, proof_until, Vec::new())],
        };
        let until = |seconds| Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)));

        let positive = chain(Some(set(Rtype::TLSA, 600, 14_000, Vec::new())), 12_000).last_times(now).unwrap();
        assert_eq!((positive.ttl, positive.original_ttl, positive.signature_expiry), (600, Some(900), until(12_000)));
        let denial = chain(None, 12_000).last_times(now).unwrap();
        assert_eq!((denial.ttl, denial.original_ttl, denial.signature_expiry), (300, Some(900), until(12_000)));
        // The minimum of the SOA record is 400.
        let mut longer = chain(None, 20_000);
        longer.authority.iter_mut().for_each(|set| set.ttl = set.ttl.max(700));
        assert_eq!(
            (longer.last_times(now).unwrap().ttl, longer.last_times(now).unwrap().signature_expiry),
            (400, until(15_000))
        );
        let late = chain(None, 9_999).last_times(now);
        assert!(matches!(late, Err(Detail::SignatureExpired { rtype: Rtype::NSEC, .. })));
        let mut bare = chain(None, 12_000);
        bare.authority.clear();
        assert_eq!(bare.last_times(now).unwrap().ttl, 0);
    }

    #[test]
    fn signature_times_near_the_turn_of_the_era() {
        let at = |seconds: u64| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let era = 1u64 << 32;
        assert_eq!(time(1000, at(900)), 1000);
        assert_eq!(time(1000, at(1_100)), 1000);
        assert_eq!(time(5, at(era - 5)), era + 5);
        assert_eq!(time(u32::MAX, at(era + 5)), era - 1);
    }
}
