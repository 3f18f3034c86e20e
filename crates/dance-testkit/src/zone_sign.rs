//! Zone keys, DS records, and the making of a signed zone that is indexed for serving.

use std::collections::BTreeMap;

use bytes::Bytes;
use domain::base::iana::{Class, DigestAlgorithm, Nsec3HashAlgorithm, Rtype, SecurityAlgorithm};
use domain::base::rdata::ComposeRecordData;
use domain::base::{Record, ToName, Ttl};
use domain::crypto::common::{DigestBuilder, DigestType};
use domain::crypto::sign::{GenerateParams, KeyPair, SecretKeyBytes, SignRaw, generate};
use domain::dnssec::common::parse_from_bind;
use domain::dnssec::sign::denial::nsec::{GenerateNsecConfig, generate_nsecs};
use domain::dnssec::sign::denial::nsec3::{GenerateNsec3Config, generate_nsec3s};
use domain::dnssec::sign::keys::SigningKey;
use domain::dnssec::sign::records::{DefaultSorter, RecordsIter, Rrset, SortedRecords};
use domain::dnssec::sign::signatures::rrsigs::{GenerateRrsigConfig, sign_rrset, sign_sorted_zone_records};
use domain::rdata::dnssec::Timestamp;
use domain::rdata::nsec3::Nsec3Salt;
use domain::rdata::{Dnskey, Ds, Nsec3param, ZoneRecordData};

use crate::dns_error::WorldError;
use crate::zone::{DEFAULT_TTL, Delegation, Denial, DnsName, KeyKind, KeyRole, KeySource, StoredRecord, Zone};

/// DNSKEY flags of a key that may be a secure entry point, RFC 4034 section 2.1.1.
const FLAGS_SEP: u16 = 257;
/// DNSKEY flags of a zone signing key.
const FLAGS_ZSK: u16 = 256;

/// Not assigned by IANA as a DNSSEC algorithm.
const UNKNOWN_ALGORITHM: SecurityAlgorithm = SecurityAlgorithm::from_int(200);
/// Not assigned by IANA as a DS digest type.
const UNKNOWN_DIGEST: DigestAlgorithm = DigestAlgorithm::from_int(200);

/// The throw-away RSA key of all zones that sign with RSA: `ring` makes none, and making one takes seconds.
const RSA_PRIVATE: &str = include_str!("zone_rsa.private");

/// A zone key with its role.
#[derive(Debug)]
pub(crate) struct ZoneKey {
    role: KeyRole,
    dnskey: Dnskey<Bytes>,
    signer: SigningKey<Bytes, KeyPair>,
}

impl ZoneKey {
    /// Makes a new key, RSA keys are always the same one; or takes the given one.
    pub(crate) fn new(apex: &DnsName, source: &KeySource, role: KeyRole) -> Result<Self, WorldError> {
        let zone = || apex.fmt_with_dot().to_string();
        let flags = match role {
            KeyRole::Csk | KeyRole::Ksk | KeyRole::Published => FLAGS_SEP,
            KeyRole::Zsk => FLAGS_ZSK,
        };
        let pair = match source {
            KeySource::New(kind) => new_key(*kind, flags).ok_or_else(|| WorldError::Key { zone: zone(), kind: *kind }),
            KeySource::Given(text) => given_key(text, flags).ok_or_else(|| WorldError::GivenKey { zone: zone() }),
        }?;
        Ok(Self { role, dnskey: pair.dnskey().convert(), signer: SigningKey::new(apex.clone(), flags, pair) })
    }

    /// Whether the parent should hold a DS for this key.
    pub(crate) fn has_ds(&self) -> bool {
        matches!(self.role, KeyRole::Csk | KeyRole::Ksk)
    }

    /// The public key.
    pub(crate) fn dnskey(&self) -> &Dnskey<Bytes> {
        &self.dnskey
    }

    /// The DS with a SHA-256 digest, RFC 4034 section 5.1.4 and RFC 4509.
    pub(crate) fn ds(&self, apex: &DnsName) -> Result<Ds<Bytes>, WorldError> {
        let mut digested = Vec::new();
        let Ok(()) = apex.compose_canonical(&mut digested);
        let Ok(()) = self.dnskey.compose_canonical_rdata(&mut digested);
        let mut digest = DigestBuilder::new(DigestType::Sha256);
        digest.update(&digested);
        self.ds_with(self.dnskey.algorithm(), DigestAlgorithm::SHA256, digest.finish().as_ref().to_vec())
    }

    fn ds_with(
        &self,
        algorithm: SecurityAlgorithm,
        digest_type: DigestAlgorithm,
        digest: Vec<u8>,
    ) -> Result<Ds<Bytes>, WorldError> {
        Ds::new(self.dnskey.key_tag(), algorithm, digest_type, digest.into())
            .map_err(|_| WorldError::LongRecord { rtype: Rtype::DS })
    }
}

fn new_key(kind: KeyKind, flags: u16) -> Option<KeyPair> {
    let made = |params| generate(&params, flags).ok();
    let (secret, public) = match kind {
        KeyKind::P256 => made(GenerateParams::EcdsaP256Sha256),
        KeyKind::P384 => made(GenerateParams::EcdsaP384Sha384),
        KeyKind::Ed25519 => made(GenerateParams::Ed25519),
        KeyKind::Rsa2048 => published_rsa_key(flags),
    }?;
    KeyPair::from_bytes(&secret, &public).ok()
}

/// Reads a public and a private key file that follow one another.
fn given_key(text: &str, flags: u16) -> Option<KeyPair> {
    let (public, secret) = text.split_at(text.find("Private-key-format")?);
    let public = parse_from_bind::<Vec<u8>>(public).ok()?.into_data();
    let public = Dnskey::new(flags, public.protocol(), public.algorithm(), public.public_key().clone()).ok()?;
    KeyPair::from_bytes(&SecretKeyBytes::parse_from_bind(secret).ok()?, &public).ok()
}

/// The published RSA key with these flags.
fn published_rsa_key(flags: u16) -> Option<(SecretKeyBytes, Dnskey<Vec<u8>>)> {
    let secret = SecretKeyBytes::parse_from_bind(RSA_PRIVATE).ok()?;
    let SecretKeyBytes::RsaSha256(key) = &secret else {
        return None;
    };
    // RFC 3110 section 2: length of the exponent in one octet, exponent, modulus.
    let mut public = vec![u8::try_from(key.e.len()).ok()?];
    public.extend_from_slice(&key.e);
    public.extend_from_slice(&key.n);
    let dnskey = Dnskey::new(flags, 3, SecurityAlgorithm::RSASHA256, public).ok()?;
    Some((secret, dnskey))
}

/// Another key with the same tag: the tag is a sum of 16-bit words (RFC 4034 appendix B), so words may change places. The
/// first words hold an RSA key's exponent and the top of its modulus, the last one its parity; they stay.
fn with_same_tag(dnskey: &Dnskey<Bytes>, turn: usize) -> Option<Dnskey<Bytes>> {
    const KEPT_FIRST: usize = 6;
    const KEPT_LAST: usize = 2;
    let mut octets = dnskey.public_key().to_vec();
    let end = octets.len().checked_sub(KEPT_LAST)?;
    let middle = octets.get_mut(KEPT_FIRST..end)?;
    let turn = 2 * turn;
    if turn >= middle.len() {
        return None;
    }
    middle.rotate_left(turn);
    Dnskey::new(dnskey.flags(), dnskey.protocol(), dnskey.algorithm(), octets.into()).ok()
}

/// The DS RRset that the parent of a zone with these keys holds.
pub(crate) fn ds_records(zone: &Zone, apex: &DnsName, keys: &[ZoneKey]) -> Result<Vec<StoredRecord>, WorldError> {
    let mut all = Vec::new();
    for key in keys.iter().filter(|key| key.has_ds()) {
        let algorithm = key.dnskey.algorithm();
        let garbage = || vec![0x5a; 32];
        match zone.delegation {
            Delegation::NoDs => {}
            Delegation::Secure => all.push(key.ds(apex)?),
            Delegation::SecureWithBrokenExtra => {
                all.push(key.ds_with(algorithm, DigestAlgorithm::SHA256, garbage())?);
                all.push(key.ds(apex)?);
            }
            Delegation::WrongDs => {
                all.push(key.ds_with(algorithm, DigestAlgorithm::SHA256, garbage())?);
            }
            Delegation::UnknownAlgorithm => {
                all.push(key.ds_with(UNKNOWN_ALGORITHM, DigestAlgorithm::SHA256, garbage())?);
            }
            Delegation::UnknownDigest => {
                all.push(key.ds_with(algorithm, UNKNOWN_DIGEST, garbage())?);
            }
        }
    }
    Ok(all.into_iter().map(|ds| Record::new(apex.clone(), Class::IN, Ttl::from_secs(DEFAULT_TTL), ds.into())).collect())
}

/// An RRset with its signatures; record data in uncompressed wire form.
#[derive(Clone, Debug)]
pub(crate) struct RrSet {
    pub(crate) rtype: Rtype,
    pub(crate) ttl: u32,
    pub(crate) data: Vec<Bytes>,
    pub(crate) signatures: Vec<Bytes>,
}

/// The NSEC3 chain of a zone.
#[derive(Debug)]
pub(crate) struct Nsec3Chain {
    pub(crate) iterations: u16,
    pub(crate) salt: Nsec3Salt<Bytes>,
    pub(crate) opt_out: bool,
    /// Hash of the original owner -> (hashed owner, the NSEC3 RRset).
    pub(crate) by_hash: BTreeMap<Vec<u8>, (DnsName, RrSet)>,
}

/// A zone ready to be served.
#[derive(Debug)]
pub(crate) struct ServedZone {
    pub(crate) apex: DnsName,
    pub(crate) signed: bool,
    /// Every name of the zone; an empty non-terminal has no RRsets.
    pub(crate) nodes: BTreeMap<DnsName, Vec<RrSet>>,
    pub(crate) nsec3: Option<Nsec3Chain>,
    /// Signature times in seconds since 1970.
    pub(crate) inception: i64,
    pub(crate) expiration: i64,
    pub(crate) delegation: Delegation,
    /// All records including the DNSSEC ones, in canonical order.
    pub(crate) records: Vec<StoredRecord>,
}

/// Signs `records` (unsigned, in any order) and indexes the result. `now` is in seconds since 1970.
pub(crate) fn sign(
    zone: &Zone,
    apex: &DnsName,
    records: &[StoredRecord],
    keys: &[ZoneKey],
    now: i64,
) -> Result<ServedZone, WorldError> {
    let inception = now + zone.validity.inception;
    let expiration = now + zone.validity.expiration;
    let mut sorted: SortedRecords<_, _> = records.to_vec().into();
    check_ttls(&sorted)?;
    if zone.signed {
        add_dnssec(zone, apex, &mut sorted, keys, timestamp(inception), timestamp(expiration))?;
    }
    index(zone, apex, sorted.into_inner(), inception, expiration)
}

/// DNSSEC times are seconds since 1970 modulo 2^32, RFC 4034 section 3.1.5.
fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from(seconds.rem_euclid(1 << 32) as u32)
}

/// The signer panics when TTLs in one RRset differ, so that is refused first.
fn check_ttls(records: &SortedRecords<DnsName, ZoneRecordData<Bytes, DnsName>>) -> Result<(), WorldError> {
    for (one, next) in records.iter().zip(records.iter().skip(1)) {
        if one.owner() == next.owner() && one.rtype() == next.rtype() && one.ttl() != next.ttl() {
            return Err(WorldError::UnequalTtls { owner: one.owner().fmt_with_dot().to_string(), rtype: one.rtype() });
        }
    }
    Ok(())
}

/// Adds NSEC or NSEC3, DNSKEY, and all signatures.
fn add_dnssec(
    zone: &Zone,
    apex: &DnsName,
    records: &mut SortedRecords<DnsName, ZoneRecordData<Bytes, DnsName>>,
    keys: &[ZoneKey],
    inception: Timestamp,
    expiration: Timestamp,
) -> Result<(), WorldError> {
    let error = |source| WorldError::Signing { zone: apex.fmt_with_dot().to_string(), source };
    match &zone.denial {
        Denial::Nsec => {
            let config = GenerateNsecConfig::new();
            let nsecs = generate_nsecs(apex, records.owner_rrs(), &config).map_err(error)?;
            records.extend(nsecs.into_iter().map(Record::from_record));
        }
        Denial::Nsec3 { iterations, salt, opt_out } => {
            let salt = Nsec3Salt::from_octets(Bytes::copy_from_slice(salt))
                .map_err(|_| WorldError::LongSalt { octets: salt.len() })?;
            let params = Nsec3param::new(Nsec3HashAlgorithm::SHA1, 0, *iterations, salt);
            let mut config = GenerateNsec3Config::<Bytes, DefaultSorter>::new(params.clone());
            if *opt_out {
                config = config.with_opt_out();
            }
            let made = generate_nsec3s(apex, records.owner_rrs(), &config).map_err(error)?;
            // The opt-out flag belongs into the NSEC3 records only, RFC 5155 section 4.1.2.
            let ttl = made.nsec3param.ttl();
            let param = Record::new(apex.clone(), Class::IN, ttl, params.into());
            records.extend(made.nsec3s.into_iter().map(Record::from_record));
            records.extend([param]);
        }
    }

    let signers =
        |wanted: [KeyRole; 2]| keys.iter().filter(move |key| wanted.contains(&key.role)).map(|key| &key.signer);
    let data_signers: Vec<_> = signers([KeyRole::Csk, KeyRole::Zsk]).collect();
    let config = GenerateRrsigConfig::new(inception, expiration);
    let signatures =
        sign_sorted_zone_records(apex, RecordsIter::new_from_owned(records), &data_signers, &config).map_err(error)?;

    let mut dnskeys: Vec<StoredRecord> = Vec::new();
    for key in keys {
        let colliding = (1..=zone.colliding_keys).filter_map(|turn| with_same_tag(&key.dnskey, turn));
        for dnskey in colliding.chain([key.dnskey.clone()]) {
            dnskeys.push(Record::new(apex.clone(), Class::IN, Ttl::from_secs(DEFAULT_TTL), dnskey.into()));
        }
    }
    let mut key_signatures: Vec<StoredRecord> = Vec::new();
    if !dnskeys.is_empty() {
        let set = Rrset::new_from_owned(&dnskeys).map_err(error)?;
        for signer in signers([KeyRole::Csk, KeyRole::Ksk]) {
            let signature = sign_rrset(signer, &set, inception, expiration).map_err(error)?;
            key_signatures.push(Record::from_record(signature));
        }
    }
    let added = signatures.into_iter().map(Record::from_record);
    records.extend(added.chain(dnskeys).chain(key_signatures));
    Ok(())
}

/// Builds the look-up tables of a zone from its records in canonical order.
fn index(
    zone: &Zone,
    apex: &DnsName,
    records: Vec<StoredRecord>,
    inception: i64,
    expiration: i64,
) -> Result<ServedZone, WorldError> {
    let mut nodes: BTreeMap<DnsName, Vec<RrSet>> = BTreeMap::new();
    for record in &records {
        let sets = nodes.entry(record.owner().clone()).or_default();
        let (rtype, is_signature) = match record.data() {
            ZoneRecordData::Rrsig(signature) => (signature.type_covered(), true),
            data => (domain::base::rdata::RecordData::rtype(data), false),
        };
        let mut wire = Vec::new();
        let Ok(()) = record.data().compose_rdata(&mut wire);
        let position = sets.iter().position(|set| set.rtype == rtype).unwrap_or(sets.len());
        if position == sets.len() {
            let ttl = record.ttl().as_secs();
            sets.push(RrSet { rtype, ttl, data: Vec::new(), signatures: Vec::new() });
        }
        if let Some(set) = sets.get_mut(position) {
            if is_signature { &mut set.signatures } else { &mut set.data }.push(wire.into());
        }
    }

    let nsec3 = match (&zone.denial, zone.signed) {
        (Denial::Nsec3 { iterations, salt, opt_out }, true) => Some(Nsec3Chain {
            iterations: *iterations,
            salt: Nsec3Salt::from_octets(Bytes::copy_from_slice(salt))
                .map_err(|_| WorldError::LongSalt { octets: salt.len() })?,
            opt_out: *opt_out,
            by_hash: take_nsec3(&mut nodes),
        }),
        _ => None,
    };

    for name in nodes.keys().cloned().collect::<Vec<_>>() {
        for suffix in name.iter_suffixes() {
            if suffix == *apex {
                break;
            }
            nodes.entry(suffix).or_default();
        }
    }
    Ok(ServedZone {
        apex: apex.clone(),
        signed: zone.signed,
        nodes,
        nsec3,
        inception,
        expiration,
        delegation: zone.delegation,
        records,
    })
}

/// Moves the NSEC3 records out of the tree: their owners are no names of the zone.
fn take_nsec3(nodes: &mut BTreeMap<DnsName, Vec<RrSet>>) -> BTreeMap<Vec<u8>, (DnsName, RrSet)> {
    let mut chain = BTreeMap::new();
    nodes.retain(|owner, sets| {
        let Some(position) = sets.iter().position(|set| set.rtype == Rtype::NSEC3) else {
            return true;
        };
        let label = owner.first().to_string().to_ascii_lowercase();
        if let Ok(hash) = domain::utils::base32::decode_hex::<Vec<u8>>(&label) {
            chain.insert(hash, (owner.clone(), sets.swap_remove(position)));
        }
        !sets.is_empty()
    });
    chain
}
