//! Answers made by hand: RRsets of any content, with signatures by any key of the world.

use bytes::Bytes;
use domain::base::iana::{Class, Rcode, Rtype, SecurityAlgorithm};
use domain::base::rdata::ComposeRecordData;
use domain::base::{Name, ToName, Ttl};
use domain::crypto::sign::SignRaw as _;
use domain::rdata::dnssec::{ProtoRrsig, Timestamp};

use crate::dns::{Sources, ZoneSource, no_zone, now};
use crate::dns_answer::{Link, Rr, wildcard_of};
use crate::dns_error::WorldError;
use crate::dns_resolve::Served;
use crate::zone::{DnsName, parse_name, parse_records};
use crate::zone_key::ZoneKey;
use crate::zone_sign::timestamp;

/// An answer made by hand, or a part of one: see [`Fault::Answers`](crate::Fault::Answers) and [`Fault::Adds`](crate::Fault::Adds).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forged {
    nxdomain: bool,
    sections: [Vec<RecordSet>; 3],
}

impl Forged {
    /// Nothing in it, with response code NOERROR.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With response code NXDOMAIN.
    #[must_use]
    pub fn nxdomain(self) -> Self {
        Self { nxdomain: true, ..self }
    }

    /// Adds to the answer section.
    #[must_use]
    pub fn answer(self, set: RecordSet) -> Self {
        self.push(0, set)
    }

    /// Adds to the authority section.
    #[must_use]
    pub fn authority(self, set: RecordSet) -> Self {
        self.push(1, set)
    }

    /// Adds to the additional section.
    #[must_use]
    pub fn additional(self, set: RecordSet) -> Self {
        self.push(2, set)
    }

    fn push(mut self, section: usize, set: RecordSet) -> Self {
        self.sections[section].push(set);
        self
    }

    /// Makes it from what is served now.
    pub(crate) fn make(&self, sources: &Sources, served: &Served) -> Result<Link, WorldError> {
        let mut link = Link::new(if self.nxdomain { Rcode::NXDOMAIN } else { Rcode::NOERROR });
        let [answer, authority, additional] = &self.sections;
        for (sets, section) in
            [(answer, &mut link.answer), (authority, &mut link.authority), (additional, &mut link.additional)]
        {
            for set in sets {
                section.extend(set.make(sources, served)?);
            }
        }
        Ok(link)
    }
}

/// An RRset for a forged answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSet {
    source: Source,
    owner: Option<String>,
    ttl: Option<u32>,
    class: u16,
    keeps_signatures: bool,
    signatures: Vec<Sign>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Text(String),
    Served { zone: String, owner: String, rtype: Rtype },
    Covering { zone: String, name: String },
}

impl RecordSet {
    /// These records, of one owner and type, as zone-file text in lower case with absolute names; without signatures.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::new(Source::Text(text.to_owned()))
    }

    /// What `zone` holds of this type at `owner` when the fault is placed, with its signatures. For NSEC3 `owner` is the name whose hash
    /// is the record's owner.
    #[must_use]
    pub fn of(zone: &str, owner: &str, rtype: Rtype) -> Self {
        Self::new(Source::Served { zone: zone.to_owned(), owner: owner.to_owned(), rtype })
    }

    /// The NSEC or NSEC3 of `zone` whose span covers this name when the fault is placed, with its signatures.
    #[must_use]
    pub fn covering(zone: &str, name: &str) -> Self {
        Self::new(Source::Covering { zone: zone.to_owned(), name: name.to_owned() })
    }

    fn new(source: Source) -> Self {
        let class = Class::IN.to_int();
        Self { source, owner: None, ttl: None, class, keeps_signatures: true, signatures: Vec::new() }
    }

    /// Puts records and signatures under another owner. [`Sign`] signs the one before.
    #[must_use]
    pub fn under(self, owner: &str) -> Self {
        Self { owner: Some(owner.to_owned()), ..self }
    }

    /// Another TTL in the message, whatever was signed.
    #[must_use]
    pub fn ttl(self, seconds: u32) -> Self {
        Self { ttl: Some(seconds), ..self }
    }

    /// In class CH in place of IN.
    #[must_use]
    pub fn chaos(self) -> Self {
        Self { class: Class::CH.to_int(), ..self }
    }

    /// Without the signatures that the zone has for it.
    #[must_use]
    pub fn unsigned(self) -> Self {
        Self { keeps_signatures: false, ..self }
    }

    /// With one more signature.
    #[must_use]
    pub fn signed(mut self, sign: Sign) -> Self {
        self.signatures.push(sign);
        self
    }

    fn make(&self, sources: &Sources, served: &Served) -> Result<Vec<Rr>, WorldError> {
        let Content { owner, rtype, ttl, data, mut signatures } = match &self.source {
            Source::Text(text) => from_text(text)?,
            Source::Served { zone, owner, rtype } => from_served(served, zone, owner, Some(*rtype))?,
            Source::Covering { zone, name } => from_served(served, zone, name, None)?,
        };
        if !self.keeps_signatures {
            signatures.clear();
        }
        for sign in &self.signatures {
            signatures.push(sign.make(sources, &owner, rtype, ttl, &data)?);
        }
        let owner = match &self.owner {
            Some(other) => parse_name(other)?,
            None => owner,
        };
        let records = data.into_iter().map(|data| (rtype, data));
        let signatures = signatures.into_iter().map(|data| (Rtype::RRSIG, data));
        let made = records.chain(signatures).map(|(rtype, data)| Rr {
            owner: owner.clone(),
            rtype,
            class: Class::from_int(self.class),
            ttl: self.ttl.unwrap_or(ttl),
            data,
        });
        Ok(made.collect())
    }
}

/// An RRset as found; data in uncompressed wire form.
struct Content {
    owner: DnsName,
    rtype: Rtype,
    ttl: u32,
    data: Vec<Bytes>,
    signatures: Vec<Bytes>,
}

fn from_text(text: &str) -> Result<Content, WorldError> {
    let records = parse_records(&Name::root_bytes(), text)?;
    let first = records.first().ok_or_else(|| WorldError::NoSet { text: text.to_owned() })?;
    let (owner, rtype, ttl) = (first.owner().clone(), first.rtype(), first.ttl());
    if records.iter().any(|record| (record.owner(), record.rtype(), record.ttl()) != (&owner, rtype, ttl)) {
        return Err(WorldError::NoSet { text: text.to_owned() });
    }
    let wire = |record: &crate::zone::StoredRecord| {
        let mut wire = Vec::new();
        let Ok(()) = record.data().compose_rdata(&mut wire);
        Bytes::from(wire)
    };
    let data = records.iter().map(wire).collect();
    Ok(Content { owner, rtype, ttl: ttl.as_secs(), data, signatures: Vec::new() })
}

/// What `zone` holds of this type at `name`; without a type, what covers it.
fn from_served(served: &Served, zone: &str, name: &str, rtype: Option<Rtype>) -> Result<Content, WorldError> {
    let (apex, owner) = (parse_name(zone)?, parse_name(name)?);
    let zone = served.zones.get(&apex).ok_or_else(|| no_zone(&apex))?;
    let found = match rtype {
        None => zone.covering(&owner),
        Some(Rtype::NSEC3) => zone.nsec3_of(&owner),
        Some(rtype) => zone.rrset(&owner, rtype).map(|set| (&owner, set)),
    };
    let none = || WorldError::NoRecords { owner: name.to_owned(), rtype: rtype.unwrap_or(Rtype::NSEC) };
    let (owner, set) = found.ok_or_else(none)?;
    Ok(Content {
        owner: owner.clone(),
        rtype: set.rtype,
        ttl: set.ttl,
        data: set.data.clone(),
        signatures: set.signatures.clone(),
    })
}

/// A signature made by hand: right, unless told otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    zone: String,
    key: Option<usize>,
    signer: Option<String>,
    labels: Option<u8>,
    original_ttl: Option<u32>,
    times: (i64, i64),
    algorithm: Option<u8>,
    key_tag: Option<u16>,
    spoilt: bool,
}

impl Sign {
    /// By the first key of this zone that signs its data; valid from one hour ago for 14 days.
    #[must_use]
    pub fn by(zone: &str) -> Self {
        Self {
            zone: zone.to_owned(),
            key: None,
            signer: None,
            labels: None,
            original_ttl: None,
            times: (-3600, 14 * 86_400),
            algorithm: None,
            key_tag: None,
            spoilt: false,
        }
    }

    /// By this one of the zone's keys, in the order in which they were given, whatever its role.
    #[must_use]
    pub fn key(self, index: usize) -> Self {
        Self { key: Some(index), ..self }
    }

    /// With another signer's name in it.
    #[must_use]
    pub fn signer(self, zone: &str) -> Self {
        Self { signer: Some(zone.to_owned()), ..self }
    }

    /// With another number of labels. If that is smaller than the owner's, the wildcard that it stands for is signed.
    #[must_use]
    pub fn labels(self, labels: u8) -> Self {
        Self { labels: Some(labels), ..self }
    }

    /// With another original TTL than the records have, in seconds.
    #[must_use]
    pub fn original_ttl(self, seconds: u32) -> Self {
        Self { original_ttl: Some(seconds), ..self }
    }

    /// Inception and expiration in seconds relative to now.
    #[must_use]
    pub fn times(self, inception: i64, expiration: i64) -> Self {
        Self { times: (inception, expiration), ..self }
    }

    /// With another algorithm's number in it.
    #[must_use]
    pub fn algorithm(self, number: u8) -> Self {
        Self { algorithm: Some(number), ..self }
    }

    /// With another key tag in it.
    #[must_use]
    pub fn key_tag(self, tag: u16) -> Self {
        Self { key_tag: Some(tag), ..self }
    }

    /// With its last octet changed.
    #[must_use]
    pub fn spoilt(self) -> Self {
        Self { spoilt: true, ..self }
    }

    /// The key that signs.
    fn signing_key<'a>(&self, source: &'a ZoneSource) -> Option<&'a ZoneKey> {
        match self.key {
            Some(index) => source.keys.get(index),
            None => source.keys.iter().find(|key| key.uses.signs_data),
        }
    }

    /// The RRSIG's data (RFC 4034 section 3.1.8.1).
    fn make(
        &self,
        sources: &Sources,
        owner: &DnsName,
        rtype: Rtype,
        ttl: u32,
        data: &[Bytes],
    ) -> Result<Bytes, WorldError> {
        let apex = parse_name(&self.zone)?;
        let source = sources.get(&apex).ok_or_else(|| no_zone(&apex))?;
        let key = self.signing_key(source).ok_or_else(|| no_zone(&apex))?;
        let signer = match &self.signer {
            Some(signer) => parse_name(signer)?,
            None => apex,
        };
        let own_labels = owner.rrsig_label_count();
        let labels = self.labels.unwrap_or(own_labels);
        let original_ttl = Ttl::from_secs(self.original_ttl.unwrap_or(ttl));
        let (inception, expiration) = self.times;
        let at = |seconds: i64| -> Timestamp { timestamp(now() + seconds) };
        let rrsig = ProtoRrsig::new(
            rtype,
            self.algorithm.map_or(key.dnskey().algorithm(), SecurityAlgorithm::from_int),
            labels,
            original_ttl,
            at(expiration),
            at(inception),
            self.key_tag.unwrap_or(key.dnskey().key_tag()),
            signer,
        );
        let signed_owner = match labels < own_labels {
            true => owner.iter_suffixes().nth(usize::from(own_labels - labels)).and_then(|rest| wildcard_of(&rest)),
            false => None,
        };
        let signed_owner = signed_owner.as_ref().unwrap_or(owner);

        let mut octets = Vec::new();
        let Ok(()) = rrsig.compose_canonical(&mut octets);
        let mut sorted: Vec<&Bytes> = data.iter().collect();
        sorted.sort();
        sorted.dedup();
        for data in sorted {
            let length = u16::try_from(data.len()).map_err(|_| WorldError::LongRecord { rtype })?;
            let Ok(()) = signed_owner.compose_canonical(&mut octets);
            for part in [rtype.to_int().to_be_bytes(), Class::IN.to_int().to_be_bytes()] {
                octets.extend_from_slice(&part);
            }
            octets.extend_from_slice(&original_ttl.as_secs().to_be_bytes());
            octets.extend_from_slice(&length.to_be_bytes());
            octets.extend_from_slice(data);
        }
        let error = || WorldError::Key { zone: self.zone.clone(), kind: key.kind };
        let signature = key.signer.raw_secret_key().sign_raw(&octets).map_err(|_| error())?;
        let mut signature = signature.as_ref().to_vec();
        if let Some(last) = signature.last_mut().filter(|_| self.spoilt) {
            *last ^= 1;
        }
        let rrsig = rrsig.into_rrsig(signature).map_err(|_| WorldError::LongRecord { rtype: Rtype::RRSIG })?;
        let mut wire = Vec::new();
        let Ok(()) = rrsig.compose_rdata(&mut wire);
        Ok(wire.into())
    }
}
