//! Each rule, with what it refuses and what it lets pass.

#![allow(clippy::unwrap_used, reason = "test code")]

mod nsec;
mod nsec3;
mod oracle;

use super::*;
use domain::base::iana::Nsec3HashAlgorithm;
use domain::base::rdata::ComposeRecordData;
use domain::dnssec::common::nsec3_hash;
use domain::rdata;
use domain::rdata::nsec3::{Nsec3Salt, OwnerHash};

const PLENTY: u32 = 100_000;

fn name(text: &str) -> DnsName {
    text.parse().unwrap()
}

fn types(list: &str) -> Types {
    let mut builder = RtypeBitmap::<Bytes>::builder();
    for rtype in list.split_whitespace() {
        builder.add(rtype.parse().unwrap()).unwrap();
    }
    builder.finalize()
}

/// The types of any name that holds something.
const DATA: &str = "TXT RRSIG NSEC";
const TLSA: &str = "TLSA RRSIG NSEC";
const APEX: &str = "NS SOA RRSIG NSEC DNSKEY";
const CUT: &str = "NS RRSIG NSEC";
const SIGNED_CUT: &str = "NS DS RRSIG NSEC";

/// Records with their zone.
#[derive(Clone)]
struct Given {
    zone: DnsName,
    sets: Proofs,
}

impl Given {
    fn new(zone: &str) -> Self {
        Self { zone: name(zone), sets: Proofs::default() }
    }

    fn push(&mut self, owner: &DnsName, data: &impl ComposeRecordData) {
        push(&mut self.sets, &self.zone, owner, data);
    }

    fn is_empty(&self) -> bool {
        self.sets.nsec.is_empty() && self.sets.nsec3.is_empty()
    }
}

fn push(sets: &mut Proofs, zone: &DnsName, owner: &DnsName, data: &impl ComposeRecordData) {
    let mut rdata = Vec::new();
    data.compose_rdata(&mut rdata).unwrap();
    sets.push(zone, owner, data.rtype(), &rdata.into());
}

/// Records of NSEC: owner, next name, types.
fn nsec_of(zone: &str, records: &[(&str, &str, &str)]) -> Given {
    let mut given = Given::new(zone);
    for &(owner, next, list) in records {
        given.push(&name(owner), &rdata::Nsec::new(name(next), types(list)));
    }
    given
}

fn denied_type(given: &Given, qname: &str, rtype: Rtype) -> Denied {
    denies(&given.zone, &given.sets, &name(qname), rtype, &mut Hashes { left: PLENTY })
}

fn denied(given: &Given, qname: &str) -> Denied {
    denied_type(given, qname, Rtype::TLSA)
}

fn denied_ds(given: &Given, qname: &str) -> Denied {
    denied_type(given, qname, Rtype::DS)
}

fn closer(given: &Given, qname: &str, labels: u8) -> NoCloser {
    no_closer(&given.zone, &given.sets, &name(qname), labels, &mut Hashes { left: PLENTY })
}

fn cut_at(given: &Given, qname: &str) -> CutDenial {
    cut(&given.zone, &given.sets, &name(qname), &mut Hashes { left: PLENTY })
}

/// How a chain of NSEC3 records is made.
#[derive(Clone)]
struct Params {
    iterations: u16,
    salt: &'static [u8],
    flags: u8,
}

const PLAIN: Params = Params { iterations: 0, salt: b"", flags: 0 };
const OPTING_OUT: Params = Params { iterations: 0, salt: b"", flags: 1 };

fn salt(params: &Params) -> Nsec3Salt<Bytes> {
    Nsec3Salt::from_octets(Bytes::from_static(params.salt)).unwrap()
}

fn hash(of: &DnsName, params: &Params) -> OwnerHash<Vec<u8>> {
    nsec3_hash(of, Nsec3HashAlgorithm::SHA1, params.iterations, &salt(params)).unwrap()
}

/// The NSEC3 chain of a zone with these names and types: the name that each record stands for, and the record.
fn chain(zone: &DnsName, names: &[(DnsName, Types)], params: &Params) -> Vec<(DnsName, DnsName, rdata::Nsec3<Bytes>)> {
    let mut hashed: Vec<_> = names.iter().map(|(name, types)| (hash(name, params), name, types)).collect();
    hashed.sort_by(|one, other| one.0.as_slice().cmp(other.0.as_slice()));
    let next = hashed.iter().cycle().skip(1);
    let records = hashed.iter().zip(next).map(|((hash, name, types), (next, ..))| {
        let next = OwnerHash::from_octets(Bytes::copy_from_slice(next.as_slice())).unwrap();
        let (algorithm, salt) = (Nsec3HashAlgorithm::SHA1, salt(params));
        let record =
            rdata::Nsec3::new(algorithm, params.flags, params.iterations, salt, next, RtypeBitmap::clone(types));
        (DnsName::clone(name), owner_of(hash, zone), record)
    });
    records.collect()
}

fn owner_of(hash: &OwnerHash<Vec<u8>>, zone: &DnsName) -> DnsName {
    format!("{hash}.{}", zone.fmt_with_dot()).parse().unwrap()
}
