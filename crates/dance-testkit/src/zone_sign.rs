//! The making of a signed zone that is indexed for serving.

use std::collections::BTreeMap;

use bytes::Bytes;
use domain::base::iana::{Class, Nsec3HashAlgorithm, Rtype};
use domain::base::rdata::ComposeRecordData;
use domain::base::{Record, Ttl};
use domain::dnssec::sign::denial::nsec::{GenerateNsecConfig, generate_nsecs};
use domain::dnssec::sign::denial::nsec3::{GenerateNsec3Config, generate_nsec3s};
use domain::dnssec::sign::records::{DefaultSorter, RecordsIter, Rrset, SortedRecords};
use domain::dnssec::sign::signatures::rrsigs::{GenerateRrsigConfig, sign_rrset, sign_sorted_zone_records};
use domain::rdata::dnssec::Timestamp;
use domain::rdata::nsec3::Nsec3Salt;
use domain::rdata::{Nsec3param, ZoneRecordData};

use crate::dns_error::WorldError;
use crate::zone::{DEFAULT_TTL, Delegation, Denial, DnsName, StoredRecord, Zone};
use crate::zone_key::ZoneKey;

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
    /// A key that the parent has a DS for is of an algorithm that validators support.
    pub(crate) supported: bool,
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
    let supported = keys.iter().any(|key| key.uses.has_ds && key.kind.is_supported());
    Ok(ServedZone { supported, ..index(zone, apex, sorted.into_inner(), inception, expiration)? })
}

/// DNSSEC times are seconds since 1970 modulo 2^32, RFC 4034 section 3.1.5.
pub(crate) fn timestamp(seconds: i64) -> Timestamp {
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

    let data_signers: Vec<_> = keys.iter().filter(|key| key.uses.signs_data).map(|key| &key.signer).collect();
    let config = GenerateRrsigConfig::new(inception, expiration);
    let signatures =
        sign_sorted_zone_records(apex, RecordsIter::new_from_owned(records), &data_signers, &config).map_err(error)?;

    let mut dnskeys: Vec<StoredRecord> = Vec::new();
    for dnskey in keys.iter().flat_map(ZoneKey::published) {
        dnskeys.push(Record::new(apex.clone(), Class::IN, Ttl::from_secs(DEFAULT_TTL), dnskey.clone().into()));
    }
    let mut key_signatures: Vec<StoredRecord> = Vec::new();
    if !dnskeys.is_empty() {
        let set = Rrset::new_from_owned(&dnskeys).map_err(error)?;
        for key in keys.iter().filter(|key| key.uses.signs_keys) {
            let signature = sign_rrset(&key.signer, &set, inception, expiration).map_err(error)?;
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
        supported: true,
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
