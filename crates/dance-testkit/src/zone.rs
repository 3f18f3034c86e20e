//! What a zone of the world holds and how it is signed, before it is signed.

use std::fmt;

use bytes::Bytes;
use domain::base::iana::{Class, Rtype};
use domain::base::name::FlattenInto;
use domain::base::rdata::{ComposeRecordData, UnknownRecordData};
use domain::base::{Name, Record, Serial, Ttl};
use domain::rdata::{Ns, Soa, ZoneRecordData};
use domain::zonefile::inplace::{Entry, Zonefile};

use crate::dns_error::WorldError;

/// A domain name as the world stores it; compares without regard to case, in canonical order.
pub(crate) type DnsName = Name<Bytes>;

/// A record as the world stores it before it is indexed for serving.
pub(crate) type StoredRecord = Record<DnsName, ZoneRecordData<Bytes, DnsName>>;

/// TTL in seconds of records whose text names none, and of the records made for a zone (SOA, NS, DNSKEY, DS).
pub const DEFAULT_TTL: u32 = 3600;

/// Signature algorithm of a zone key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// ECDSA P-256 with SHA-256, DNSSEC algorithm 13.
    P256,
    /// ECDSA P-384 with SHA-384, DNSSEC algorithm 14.
    P384,
    /// Ed25519, DNSSEC algorithm 15.
    Ed25519,
    /// RSA-2048 with SHA-256, DNSSEC algorithm 8. All zones with RSA share one published key.
    Rsa2048,
    /// The same key with SHA-512, DNSSEC algorithm 10.
    Rsa2048Sha512,
    /// The same key with SHA-1, DNSSEC algorithm 5, which RFC 9905 retires. Its signatures are made up: nobody should look.
    RsaSha1,
    /// Ed448, DNSSEC algorithm 16. Keys and signatures are made up: the cryptographic library here has none.
    Ed448,
}

impl KeyKind {
    /// Whether a validator may look at its signatures at all.
    pub(crate) fn is_supported(self) -> bool {
        !matches!(self, Self::RsaSha1 | Self::Ed448)
    }
}

/// Where a zone key comes from.
#[derive(Clone, Debug)]
pub(crate) enum KeySource {
    /// Made when the world starts.
    New(KeyKind),
    /// Given: a public and a private key file, one after the other.
    Given(String),
}

/// What a zone key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyRole {
    /// Signs everything and has a DS in the parent.
    Csk,
    /// Signs the DNSKEY RRset only and has a DS in the parent.
    Ksk,
    /// Signs all but the DNSKEY RRset and has no DS.
    Zsk,
    /// Published in the DNSKEY RRset, signs nothing: the next key of a rollover.
    Published,
    /// As `Published`, with the flags of a `Zsk`: the next one of those.
    NextZsk,
    /// Signs the DNSKEY RRset, and the parent has no DS for it: yet, or any more.
    KskWithoutDs,
    /// Signs everything, and the parent has no DS for it: the new key of an algorithm rollover.
    CskWithoutDs,
    /// Signs all but the DNSKEY RRset and is not in there: before a new algorithm's key is published, and after an old one's.
    Unpublished,
    /// Has a DS in the parent and is not in the zone: the next key where two DS are published first.
    DsOnly,
    /// Has no part in the zone. [`Sign`](crate::Sign) can still sign with it.
    Retired,
    /// As `Csk`, with the REVOKE flag (RFC 5011 section 3).
    Revoked,
    /// As `Csk`, without the Zone Key flag (RFC 4034 section 2.1.1).
    NotForZones,
    /// As `Csk`, with protocol 2 in place of 3 (RFC 4034 section 2.1.2).
    OtherProtocol,
}

/// What a role amounts to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uses {
    pub(crate) published: bool,
    pub(crate) signs_keys: bool,
    pub(crate) signs_data: bool,
    pub(crate) has_ds: bool,
    pub(crate) flags: u16,
    pub(crate) protocol: u8,
}

impl KeyRole {
    pub(crate) fn uses(self) -> Uses {
        /// DNSKEY flags of a key that may be a secure entry point, RFC 4034 section 2.1.1.
        const SEP: u16 = 257;
        /// Those of a zone signing key.
        const ZSK: u16 = 256;
        /// The REVOKE flag, RFC 5011 section 3.
        const REVOKE: u16 = 128;
        let csk = Uses { published: true, signs_keys: true, signs_data: true, has_ds: true, flags: SEP, protocol: 3 };
        match self {
            Self::Csk => csk,
            Self::Ksk => Uses { signs_data: false, ..csk },
            Self::Zsk => Uses { signs_keys: false, has_ds: false, flags: ZSK, ..csk },
            Self::Published => Uses { signs_keys: false, signs_data: false, has_ds: false, ..csk },
            Self::NextZsk => Uses { signs_keys: false, signs_data: false, has_ds: false, flags: ZSK, ..csk },
            Self::KskWithoutDs => Uses { signs_data: false, has_ds: false, ..csk },
            Self::CskWithoutDs => Uses { has_ds: false, ..csk },
            Self::Unpublished => Uses { published: false, signs_keys: false, has_ds: false, ..csk },
            Self::DsOnly => Uses { published: false, signs_keys: false, signs_data: false, ..csk },
            Self::Retired => Uses { published: false, signs_keys: false, signs_data: false, has_ds: false, ..csk },
            Self::Revoked => Uses { flags: SEP | REVOKE, ..csk },
            Self::NotForZones => Uses { flags: SEP & !ZSK, ..csk },
            Self::OtherProtocol => Uses { protocol: 2, ..csk },
        }
    }
}

/// How a signed zone proves that something does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// NSEC, RFC 4034.
    Nsec,
    /// NSEC3, RFC 5155.
    Nsec3 {
        /// Additional iterations of the hash.
        iterations: u16,
        /// Salt, at most 255 octets.
        salt: Vec<u8>,
        /// Leave delegations without DS out of the chain and set the opt-out flag.
        opt_out: bool,
    },
}

impl Denial {
    /// NSEC3 with the parameters of RFC 9276: no extra iterations, no salt, no opt-out.
    pub fn nsec3() -> Self {
        Self::Nsec3 { iterations: 0, salt: Vec::new(), opt_out: false }
    }

    /// NSEC3 as of [`Denial::nsec3`], with opt-out.
    pub fn nsec3_opt_out() -> Self {
        Self::Nsec3 { iterations: 0, salt: Vec::new(), opt_out: true }
    }

    /// NSEC3 with a salt and `iterations` additional iterations.
    pub fn nsec3_iterations(iterations: u16) -> Self {
        Self::Nsec3 { iterations, salt: vec![0xab, 0xcd], opt_out: false }
    }
}

/// What the parent zone says about a signed zone's keys. An unsigned zone never has a DS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delegation {
    /// A DS (SHA-256) for each key that should have one.
    Secure,
    /// As `Secure`, with one more DS of the same key tag whose digest is wrong.
    SecureWithBrokenExtra,
    /// No DS: the zone is an island of security.
    NoDs,
    /// The DS digest matches no key.
    WrongDs,
    /// The only DS names an unassigned signature algorithm.
    UnknownAlgorithm,
    /// The only DS names an unassigned digest type.
    UnknownDigest,
    /// These DS for each key that should have one.
    Of(&'static [DsForm]),
}

impl Delegation {
    /// The DS for each key that should have one.
    pub(crate) fn forms(self) -> &'static [DsForm] {
        match self {
            Self::Secure => &[DsForm::Sha256],
            Self::SecureWithBrokenExtra => &[DsForm::WrongSha256, DsForm::Sha256],
            Self::NoDs => &[],
            Self::WrongDs => &[DsForm::WrongSha256],
            Self::UnknownAlgorithm => &[DsForm::UnknownAlgorithm],
            Self::UnknownDigest => &[DsForm::UnknownDigest],
            Self::Of(forms) => forms,
        }
    }
}

/// One DS record of a key, right or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DsForm {
    /// Digest type 1. Not to be used beside a stronger one (RFC 4509 section 3).
    Sha1,
    /// Digest type 2.
    Sha256,
    /// Digest type 4.
    Sha384,
    /// Digest type 1, of nothing.
    WrongSha1,
    /// Digest type 2, of nothing.
    WrongSha256,
    /// Digest type 4, of nothing.
    WrongSha384,
    /// An unassigned signature algorithm.
    UnknownAlgorithm,
    /// An unassigned digest type.
    UnknownDigest,
}

/// When signatures are valid, in seconds relative to the moment of signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) inception: i64,
    pub(crate) expiration: i64,
}

/// One zone of a [`SignedWorld`](crate::SignedWorld): its data and how it is signed.
///
/// Names may be written with or without the trailing dot and are always absolute, except in zone-file text, where the
/// usual rules hold (`$ORIGIN` is the apex). SOA and NS records are made unless the text has them. Errors in names or text
/// are reported when the world starts.
#[derive(Clone, Debug)]
pub struct Zone {
    pub(crate) apex: String,
    pub(crate) text: String,
    pub(crate) signed: bool,
    pub(crate) keys: Vec<(KeySource, KeyRole)>,
    pub(crate) denial: Denial,
    pub(crate) validity: Validity,
    pub(crate) delegation: Delegation,
    pub(crate) negative_ttl: u32,
    pub(crate) colliding_keys: usize,
}

impl Zone {
    /// A zone signed with one P-256 key, NSEC, a DS in the parent, signatures valid from one hour ago for 14 days.
    pub fn new(apex: &str) -> Self {
        Self {
            apex: apex.to_owned(),
            text: String::new(),
            signed: true,
            keys: vec![(KeySource::New(KeyKind::P256), KeyRole::Csk)],
            denial: Denial::Nsec,
            validity: Validity { inception: -3600, expiration: 14 * 86_400 },
            delegation: Delegation::Secure,
            negative_ttl: 60,
            colliding_keys: 0,
        }
    }

    /// A zone without signatures; its parent has no DS for it.
    pub fn unsigned(apex: &str) -> Self {
        Self { signed: false, ..Self::new(apex) }
    }

    /// Adds zone-file text: one or several lines. `$ORIGIN` is the apex, the default TTL [`DEFAULT_TTL`].
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self.text.push('\n');
        self
    }

    /// Adds a TLSA record: a `TlsaRdata`, or text in presentation form such as `3 1 1 <hex>`; `ttl` in seconds.
    #[must_use]
    pub fn tlsa(self, owner: &str, rdata: impl fmt::Display, ttl: u32) -> Self {
        let line = tlsa_line(owner, &rdata, ttl);
        self.text(&line)
    }

    /// Adds a CNAME record; `ttl` in seconds.
    #[must_use]
    pub fn cname(self, owner: &str, target: &str, ttl: u32) -> Self {
        self.text(&format!("{} {ttl} IN CNAME {}", dotted(owner), dotted(target)))
    }

    /// Adds a DNAME record; `ttl` in seconds.
    #[must_use]
    pub fn dname(self, owner: &str, target: &str, ttl: u32) -> Self {
        self.text(&format!("{} {ttl} IN DNAME {}", dotted(owner), dotted(target)))
    }

    /// Signs with one key of this kind.
    #[must_use]
    pub fn key(self, kind: KeyKind) -> Self {
        self.keys(&[(kind, KeyRole::Csk)])
    }

    /// Signs with these keys instead of one.
    #[must_use]
    pub fn keys(mut self, keys: &[(KeyKind, KeyRole)]) -> Self {
        self.keys = keys.iter().map(|&(kind, role)| (KeySource::New(kind), role)).collect();
        self
    }

    /// Signs with these keys, which stay the same from world to world: each is the text of the public and of the private key
    /// file that `dnssec-keygen` makes, one after the other. The role sets the flags, whatever the text says.
    #[must_use]
    pub fn given_keys(mut self, keys: &[(&str, KeyRole)]) -> Self {
        self.keys = keys.iter().map(|&(text, role)| (KeySource::Given(text.to_owned()), role)).collect();
        self
    }

    /// Sets the proof of denial.
    #[must_use]
    pub fn denial(mut self, denial: Denial) -> Self {
        self.denial = denial;
        self
    }

    /// Sets what the parent says about this zone.
    #[must_use]
    pub fn delegation(mut self, delegation: Delegation) -> Self {
        self.delegation = delegation;
        self
    }

    /// Sets inception and expiration of all signatures, in seconds relative to the moment of signing.
    #[must_use]
    pub fn signatures(mut self, inception: i64, expiration: i64) -> Self {
        self.validity = Validity { inception, expiration };
        self
    }

    /// Signatures that expired a day ago.
    #[must_use]
    pub fn expired(self) -> Self {
        self.signatures(-10 * 86_400, -86_400)
    }

    /// Signatures that become valid in five days.
    #[must_use]
    pub fn not_yet_valid(self) -> Self {
        self.signatures(5 * 86_400, 15 * 86_400)
    }

    /// Sets the SOA's minimum and TTL, which bound negative answers, in seconds.
    #[must_use]
    pub fn negative_ttl(mut self, seconds: u32) -> Self {
        self.negative_ttl = seconds;
        self
    }

    /// Adds this many useless keys with the algorithm and key tag of each true one, to make a validator work (CVE-2023-50387,
    /// "KeyTrap"); [`Fault::BadSignaturesFirst`](crate::Fault::BadSignaturesFirst) multiplies the work. Those of elliptic curves are
    /// true keys, and to verify with them costs as much as with any. At most 125 for an RSA key.
    #[must_use]
    pub fn colliding_keys(mut self, count: usize) -> Self {
        self.colliding_keys = count;
        self
    }

    /// The records of the zone, with SOA and NS added where missing.
    pub(crate) fn parse(&self) -> Result<(DnsName, Vec<StoredRecord>), WorldError> {
        let apex = parse_name(&self.apex)?;
        let mut records = parse_records(&apex, &self.text)?;
        let at_apex = |records: &[StoredRecord], rtype| {
            records.iter().any(|record| record.owner() == &apex && record.rtype() == rtype)
        };
        if !at_apex(&records, Rtype::SOA) {
            let negative = Ttl::from_secs(self.negative_ttl);
            let soa = Soa::new(
                parse_name("localhost")?,
                parse_name("hostmaster.localhost")?,
                Serial(1),
                Ttl::from_secs(3600),
                Ttl::from_secs(900),
                Ttl::from_secs(604_800),
                negative,
            );
            records.push(Record::new(apex.clone(), Class::IN, negative, soa.into()));
        }
        if !at_apex(&records, Rtype::NS) {
            records.push(name_server(&apex)?);
        }
        Ok((apex, records))
    }
}

/// An NS record that makes `owner` a zone apex or a delegation. The world answers for all zones itself, so its target is
/// never looked up.
pub(crate) fn name_server(owner: &DnsName) -> Result<StoredRecord, WorldError> {
    let data = Ns::new(parse_name("localhost")?);
    Ok(Record::new(owner.clone(), Class::IN, Ttl::from_secs(DEFAULT_TTL), data.into()))
}

/// Reads an absolute name written with or without the trailing dot.
pub(crate) fn parse_name(text: &str) -> Result<DnsName, WorldError> {
    Name::bytes_from_str(&dotted(text)).map_err(|source| WorldError::Name { name: text.to_owned(), source })
}

/// Reads zone-file text relative to `origin`; every record must lie in the zone.
pub(crate) fn parse_records(origin: &DnsName, text: &str) -> Result<Vec<StoredRecord>, WorldError> {
    let mut file = Zonefile::with_capacity(text.len() + 64);
    file.set_origin(origin.clone());
    file.set_default_class(Class::IN);
    file.extend_from_slice(format!("$TTL {DEFAULT_TTL}\n").as_bytes());
    file.extend_from_slice(text.as_bytes());
    // The reader wants a last line end.
    file.extend_from_slice(b"\n");
    let zone = || origin.fmt_with_dot().to_string();
    let mut records = Vec::new();
    while let Some(entry) = file.next_entry().map_err(|source| WorldError::ZoneFile { zone: zone(), source })? {
        match entry {
            Entry::Record(record) => {
                let record: StoredRecord = record.flatten_into();
                if !record.owner().ends_with(origin) {
                    return Err(WorldError::OutOfZone {
                        owner: record.owner().fmt_with_dot().to_string(),
                        zone: zone(),
                    });
                }
                records.push(in_generic_form(record)?);
            }
            Entry::Include { path, .. } => {
                return Err(WorldError::Include { zone: zone(), path: path.to_string() });
            }
        }
    }
    Ok(records)
}

/// TLSA data as plain octets: text may hold it in the form of RFC 3597, malformed or not, and the signer puts an RRset into
/// canonical order only if all its records are of one form.
fn in_generic_form(record: StoredRecord) -> Result<StoredRecord, WorldError> {
    let ZoneRecordData::Tlsa(tlsa) = record.data() else {
        return Ok(record);
    };
    let mut octets = Vec::new();
    let Ok(()) = tlsa.compose_rdata(&mut octets);
    let data = UnknownRecordData::from_octets(Rtype::TLSA, octets.into())
        .map_err(|_| WorldError::LongRecord { rtype: Rtype::TLSA })?;
    Ok(Record::new(record.owner().clone(), record.class(), record.ttl(), data.into()))
}

/// A line of zone-file text with one TLSA record.
pub(crate) fn tlsa_line(owner: &str, rdata: &dyn fmt::Display, ttl: u32) -> String {
    format!("{} {ttl} IN TLSA {rdata}", dotted(owner))
}

/// The name with exactly one trailing dot.
pub(crate) fn dotted(name: &str) -> String {
    format!("{}.", name.strip_suffix('.').unwrap_or(name))
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "ECDSAP256SHA256",
            Self::P384 => "ECDSAP384SHA384",
            Self::Ed25519 => "ED25519",
            Self::Rsa2048 => "RSASHA256",
            Self::Rsa2048Sha512 => "RSASHA512",
            Self::RsaSha1 => "RSASHA1",
            Self::Ed448 => "ED448",
        })
    }
}
