//! A message taken apart: RRsets with their signatures, and the alias chain from the question to its end.

use bytes::Bytes;
use dance_core::answer::MAX_ALIAS_LINKS;
use domain::base::iana::{Class, Rtype, SecurityAlgorithm};
use domain::base::message::RecordSection;
use domain::base::name::{Name, ParsedName, ToName as _};
use domain::base::rdata::ComposeRecordData as _;
use domain::base::wire::ParseError;
use domain::base::{Message, NameBuilder, UnknownRecordData};
use domain::rdata::{Cname, Dname, Rrsig, Soa};

use crate::budget::{MAX_SECTION_RECORDS, MAX_SECTION_RRSETS};
use crate::question::DnsName;

/// An RRset with the signatures that came with it.
#[derive(Clone, Debug)]
pub struct Rrset {
    /// Its owner.
    pub owner: DnsName,
    /// Its type.
    pub rtype: Rtype,
    /// The smallest of its records' and signatures' TTLs, in seconds.
    pub ttl: u32,
    /// RDATA as received, each once; for CNAME, DNAME and SOA in canonical form (RFC 4034 section 6.2).
    pub data: Vec<Bytes>,
    pub(crate) signatures: Vec<Signature>,
}

/// An RRSIG (RFC 4034 section 3.1), without what it has in common with the RRset it stands by.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) algorithm: SecurityAlgorithm,
    pub(crate) labels: u8,
    pub(crate) original_ttl: u32,
    pub(crate) expiration: u32,
    pub(crate) inception: u32,
    pub(crate) key_tag: u16,
    pub(crate) signer: DnsName,
    pub(crate) value: Bytes,
}

impl Rrset {
    /// Whether signatures came with it; says nothing about their validity.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        !self.signatures.is_empty()
    }

    /// The target of a CNAME or DNAME, if it has exactly one.
    fn target(&self) -> Option<DnsName> {
        match self.data.as_slice() {
            [target] => Name::from_octets(target.clone()).ok(),
            _ => None,
        }
    }

    /// The minimum of a SOA record; 0 if it is none.
    fn soa_minimum(&self) -> u32 {
        self.data.first().and_then(|data| data.last_chunk()).map_or(0, |&minimum| u32::from_be_bytes(minimum))
    }
}

/// The sections of a message that count.
#[derive(Clone, Debug)]
pub(crate) struct Sections {
    pub(crate) answer: Vec<Rrset>,
    pub(crate) authority: Vec<Rrset>,
}

impl Sections {
    pub(crate) fn parse(message: &Message<Bytes>) -> Result<Self, ChainError> {
        let answer = rrsets(message.answer()?)?;
        let authority = rrsets(message.authority()?)?;
        // Nothing in it is used, but a message that does not decode to its end is not half believed.
        for record in message.additional()? {
            record?;
        }
        Ok(Self { answer, authority })
    }
}

/// The alias chain of a reply.
#[derive(Clone, Debug)]
pub struct Chain {
    /// CNAME and DNAME RRsets in the order in which they lead on. A CNAME that a DNAME stands for is left out.
    pub aliases: Vec<Rrset>,
    /// Where they lead: the one name whose TLSA RRset answers the question.
    pub end: DnsName,
    /// The TLSA RRset there.
    pub tlsa: Option<Rrset>,
    /// The authority section: SOA, NSEC, NSEC3.
    pub authority: Vec<Rrset>,
}

/// Why a reply has no chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// It does not decode, or its answer section holds what is not part of one chain.
    Malformed,
    /// A section has more than [`MAX_SECTION_RECORDS`] records, or RRsets than [`MAX_SECTION_RRSETS`].
    TooMuch,
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
    /// is the only one there is.
    ///
    /// # Errors
    /// When the message has no such chain.
    pub fn follow(message: &Message<Bytes>, qname: &DnsName) -> Result<Self, ChainError> {
        Self::from_sections(Sections::parse(message)?, qname)
    }

    pub(crate) fn from_sections(sections: Sections, qname: &DnsName) -> Result<Self, ChainError> {
        let Sections { mut answer, authority } = sections;
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
        let is_tlsa = |set: &Rrset| set.rtype == Rtype::TLSA && set.owner == name && !set.data.is_empty();
        let tlsa = answer.iter().position(is_tlsa);
        let used = |index: &usize| aliases.contains(index) || synthesised.contains(index) || tlsa == Some(*index);
        if !(0..answer.len()).all(|index| used(&index)) {
            return Err(ChainError::Malformed);
        }
        let aliases = aliases.iter().filter_map(|&index| answer.get(index).cloned()).collect();
        let tlsa = tlsa.map(|index| answer.swap_remove(index));
        Ok(Self { aliases, end: name, tlsa, authority })
    }

    /// All RRsets that answer the question.
    pub fn links(&self) -> impl Iterator<Item = &Rrset> {
        self.aliases.iter().chain(&self.tlsa)
    }

    /// The SOA of the zone that denies, if the authority section has it.
    pub(crate) fn soa(&self) -> Option<&Rrset> {
        let soas = self.authority.iter().filter(|set| set.rtype == Rtype::SOA && self.end.ends_with(&set.owner));
        soas.max_by_key(|set| set.owner.label_count())
    }

    /// How long a denial is good by its SOA: the smaller of its TTL and minimum (RFC 2308 section 5), in seconds. A denial without SOA is
    /// good for this once.
    #[must_use]
    pub fn denial_ttl(&self) -> u32 {
        self.soa().map_or(0, |soa| soa.ttl.min(soa.soa_minimum()))
    }
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

/// What one record adds to its RRset.
enum Part {
    Data(Bytes),
    Signature(Signature),
}

fn rrsets(section: RecordSection<'_, Bytes>) -> Result<Vec<Rrset>, ChainError> {
    let mut sets: Vec<Rrset> = Vec::new();
    for (count, record) in section.enumerate() {
        let record = record?;
        if count >= MAX_SECTION_RECORDS {
            return Err(ChainError::TooMuch);
        }
        if record.class() != Class::IN {
            return Err(ChainError::Malformed);
        }
        let ttl = record.ttl().as_secs();
        let (rtype, part) = match record.rtype() {
            Rtype::RRSIG => {
                let rrsig = record.to_record::<Rrsig<_, ParsedName<_>>>()?.ok_or(ChainError::Malformed)?;
                let rrsig = rrsig.data();
                let signature = Signature {
                    algorithm: rrsig.algorithm(),
                    labels: rrsig.labels(),
                    original_ttl: rrsig.original_ttl().as_secs(),
                    expiration: rrsig.expiration().into_int(),
                    inception: rrsig.inception().into_int(),
                    key_tag: rrsig.key_tag(),
                    signer: rrsig.signer_name().to_name(),
                    value: rrsig.signature().clone(),
                };
                (rrsig.type_covered(), Part::Signature(signature))
            }
            Rtype::CNAME => {
                let cname = record.to_record::<Cname<ParsedName<_>>>()?.ok_or(ChainError::Malformed)?;
                (Rtype::CNAME, Part::Data(cname.data().cname().to_canonical_name::<Bytes>().into_octets()))
            }
            Rtype::DNAME => {
                let dname = record.to_record::<Dname<ParsedName<_>>>()?.ok_or(ChainError::Malformed)?;
                (Rtype::DNAME, Part::Data(dname.data().dname().to_canonical_name::<Bytes>().into_octets()))
            }
            Rtype::SOA => {
                let soa = record.to_record::<Soa<ParsedName<_>>>()?.ok_or(ChainError::Malformed)?;
                let mut data = Vec::new();
                let Ok(()) = soa.data().compose_canonical_rdata(&mut data);
                (Rtype::SOA, Part::Data(data.into()))
            }
            rtype => {
                let data = record.to_record::<UnknownRecordData<_>>()?.ok_or(ChainError::Malformed)?;
                (rtype, Part::Data(data.data().data().clone()))
            }
        };
        let index = match sets.iter().rposition(|set| set.rtype == rtype && set.owner == record.owner()) {
            Some(index) => index,
            None if sets.len() >= MAX_SECTION_RRSETS => return Err(ChainError::TooMuch),
            None => {
                let owner = record.owner().to_name();
                sets.push(Rrset { owner, rtype, ttl, data: Vec::new(), signatures: Vec::new() });
                sets.len() - 1
            }
        };
        let Some(set) = sets.get_mut(index) else { continue };
        set.ttl = set.ttl.min(ttl);
        match part {
            Part::Signature(signature) => set.signatures.push(signature),
            Part::Data(data) if set.data.contains(&data) => {}
            Part::Data(data) => set.data.push(data),
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
}
