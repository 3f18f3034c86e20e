//! RRsets changed and signed anew with a key of the universe.

use domain::base::iana::{DigestAlgorithm, Nsec3HashAlgorithm, Rtype};
use domain::base::name::ToLabelIter;
use domain::base::{Name, ToName};
use domain::crypto::common::{DigestBuilder, DigestType};
use domain::dnssec::common::nsec3_hash;
use domain::rdata::nsec3::Nsec3Salt;

use super::lies::Lies;
use super::message::{Answer, DnsName, Rr, Rrsig, name_end, nsec3_types_at, type_map, types};
use super::random::Random;
use super::universe::{Universe, ZoneKey, ZonePlan};

/// Now, in seconds since 1970.
fn now() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs() as u32
}

/// The part of the data in which any octet may change without touching a name.
pub(super) fn opaque_part(rr: &Rr) -> (usize, usize) {
    let end = rr.data.len();
    match rr.rtype {
        Rtype::CNAME | Rtype::DNAME | Rtype::NS => (0, 0),
        Rtype::SOA => (end.saturating_sub(20), end),
        Rtype::NSEC => (end, end),
        // Not the lengths in it, nor the bit map's form.
        Rtype::NSEC3 => (0, 4),
        // Not the type: that is another lie.
        Rtype::RRSIG if !end.is_multiple_of(2) => (2, 18),
        Rtype::RRSIG => (name_end(&rr.data, 18).unwrap_or(end), end),
        _ => (0, end),
    }
}

/// Some letters in the other case.
pub(super) fn change_case(name: &mut [u8], random: &mut Random) {
    for octet in name {
        // Lengths are below 64, letters above.
        if octet.is_ascii_alphabetic() && random.percent(50) {
            *octet ^= 0x20;
        }
    }
}

/// The zone whose signature this RRset has, or should have.
pub(super) fn signer_of<'a>(
    universe: &'a Universe,
    answer: &Answer,
    owner: &DnsName,
    rtype: Rtype,
) -> Option<&'a ZonePlan> {
    let mut signatures = answer.records().filter(|rr| rr.rtype == Rtype::RRSIG && rr.is_of(owner, rtype));
    let signer = signatures.find_map(|rr| universe.zone(&Rrsig::read(&rr.data)?.signer));
    signer.or_else(|| owner.iter_suffixes().find_map(|suffix| universe.zone(&suffix)))
}

/// Whose key signs, and whom the signature names.
pub(super) struct Forgery<'a> {
    pub(super) zone: &'a ZonePlan,
    pub(super) in_the_name_of: &'a ZonePlan,
}

impl Forgery<'_> {
    /// Changes an RRset and signs it; says what was done.
    pub(super) fn commit(&self, lies: &mut Lies<'_>, answer: &mut Answer, owner: &DnsName, rtype: Rtype) -> String {
        let Some(section) = (0..2).find(|at| answer.sections[*at].iter().any(|rr| rr.is_of(owner, rtype))) else {
            return String::new();
        };
        let old = answer.sections[section].iter().filter(|rr| rr.rtype == Rtype::RRSIG && rr.is_of(owner, rtype));
        let old: Vec<Rrsig> = old.filter_map(|rr| Rrsig::read(&rr.data)).collect();
        let mut set: Vec<Rr> = answer.sections[section]
            .iter()
            .filter(|rr| rr.rtype != Rtype::RRSIG && rr.is_of(owner, rtype))
            .cloned()
            .collect();
        if set.is_empty() {
            return String::new();
        }
        let mut what = Vec::new();
        if lies.random.percent(80) {
            change(lies, &mut set, self.in_the_name_of, &mut what);
        }
        let (old_owner, owner) = (owner, set[0].owner.clone());
        let random = &mut lies.random;
        let labels = owner.iter_labels().filter(|label| !label.is_root() && !label.is_wildcard()).count() as u8;
        let mut kept = labels;
        if let Some(old) = old.first() {
            // An expanded wildcard stays one.
            kept = kept.min(old.labels);
        }
        let mut head = Rrsig {
            covered: rtype,
            algorithm: 0,
            labels: kept,
            original_ttl: old.first().map_or(set[0].ttl, |old| old.original_ttl),
            expiration: now() + 86_400,
            inception: now() - 86_400,
            tag: 0,
            signer: super::message::name(&self.in_the_name_of.apex),
            signature: Vec::new(),
        };
        match random.below(14) {
            0 => {
                head.labels = random.below(usize::from(labels) + 2) as u8;
                what.push(format!("labels {}", head.labels));
            }
            1 => {
                head.original_ttl = *random.pick(&[0, 10, 86_400, 0xffff_ffff]);
                what.push(format!("original TTL {}", head.original_ttl));
            }
            2 => {
                (head.inception, head.expiration) = *random.pick(&[
                    (now() - 7200, now() - 3600),
                    (now() + 3600, now() + 7200),
                    (now() + 3600, now() - 3600),
                    (now() - 3600, now().wrapping_add(0x7fff_0000)),
                    (now().wrapping_sub(0x7fff_0000), now() + 3600),
                    (now().wrapping_sub(0x8fff_0000), now() + 3600),
                    (now() - 3600, now().wrapping_add(0x8fff_0000)),
                    (0, 0xffff_ffff),
                ]);
                what.push(format!("time {}..{}", head.inception, head.expiration));
            }
            3 => {
                head.signer = lies.universe.some_name(random);
                what.push(format!("in the name of {}", head.signer));
            }
            _ => {}
        }
        let keys = self.keys(rtype, random);
        let add = random.percent(15);
        if add {
            what.push("beside the old signatures".into());
        }
        let place = &mut answer.sections[section];
        let at = place.iter().position(|rr| rr.is_of(old_owner, rtype)).unwrap_or_default();
        place.retain(|rr| !rr.is_of(old_owner, rtype) || rr.rtype == Rtype::RRSIG && add);
        let signatures: Vec<Rr> = keys.iter().map(|key| signature(&set, &head, key)).collect();
        what.extend(set.iter().chain(&signatures).map(ToString::to_string));
        place.splice(at..at, set.into_iter().chain(signatures));
        what.join("; ")
    }

    fn keys(&self, rtype: Rtype, random: &mut Random) -> Vec<ZoneKey> {
        // Now and then by a key that has another use.
        let of_keys = (rtype == Rtype::DNSKEY) != random.percent(4);
        let keys: Vec<ZoneKey> =
            if of_keys { self.zone.key_keys().copied().collect() } else { self.zone.data_keys().copied().collect() };
        match random.percent(85) {
            true => keys,
            false => keys.into_iter().take(1).collect(),
        }
    }
}

/// The signature over the rest of an RRset that takes the place of one over the whole: by the same key, for the same time. `None` if nothing
/// is left to sign, or it is no key of the zone that the signature names.
pub(super) fn signed_again(universe: &Universe, rest: &[Rr], signed: &Rr) -> Option<Rr> {
    let head = Rrsig::read(&signed.data)?;
    let is_signer =
        |key: &&ZoneKey| key.key.tag(key.flags()) == head.tag && key.key.algorithm.to_int() == head.algorithm;
    let key = universe.zone(&head.signer)?.keys.iter().find(is_signer)?;
    (!rest.is_empty()).then(|| signature(rest, &head, key))
}

/// Signs as RFC 4034 section 3.1.8.1 says.
fn signature(set: &[Rr], head: &Rrsig, key: &ZoneKey) -> Rr {
    let owner = &set[0].owner;
    let signature = Rrsig {
        algorithm: key.key.algorithm.to_int(),
        tag: key.key.tag(key.flags()),
        signer: head.signer.to_canonical_name::<bytes::Bytes>(),
        ..head.clone()
    };
    let all_labels = owner.iter_labels().filter(|label| !label.is_root()).count();
    let labels = all_labels - usize::from(owner.first().is_wildcard());
    let signed_owner: Vec<u8> = match usize::from(signature.labels) < labels {
        true => {
            let rest = owner.iter_suffixes().nth(all_labels - usize::from(signature.labels)).unwrap();
            [b"\x01*", rest.to_canonical_name::<bytes::Bytes>().as_slice()].concat()
        }
        false => owner.to_canonical_name::<bytes::Bytes>().as_slice().to_vec(),
    };
    let mut all: Vec<Vec<u8>> = set.iter().map(canonical_data).collect();
    all.sort();
    all.dedup();
    let mut octets = signature.head();
    for data in all {
        octets.extend(&signed_owner);
        octets.extend(set[0].rtype.to_int().to_be_bytes());
        octets.extend(1_u16.to_be_bytes());
        octets.extend(signature.original_ttl.to_be_bytes());
        octets.extend((data.len() as u16).to_be_bytes());
        octets.extend(data);
    }
    let data = [signature.head(), key.key.sign(&octets)].concat();
    Rr { owner: owner.clone(), rtype: Rtype::RRSIG, ttl: set[0].ttl, data }
}

/// RFC 4034 section 6.2 as of RFC 6840 section 5.1.
fn canonical_data(rr: &Rr) -> Vec<u8> {
    let mut data = rr.data.clone();
    let end = match rr.rtype {
        Rtype::CNAME | Rtype::DNAME | Rtype::NS => data.len(),
        Rtype::SOA => data.len().saturating_sub(20),
        _ => 0,
    };
    data[..end].make_ascii_lowercase();
    data
}

/// Changes something about the set that means something.
fn change(lies: &mut Lies<'_>, set: &mut Vec<Rr>, zone: &ZonePlan, what: &mut Vec<String>) {
    let at = lies.random.below(set.len());
    // Other lies may have left it with data of another type.
    let whole = set[at].data.len() >= 4;
    match set[at].rtype {
        Rtype::NSEC => change_nsec(lies, &mut set[at], zone),
        Rtype::NSEC3 => change_nsec3(lies, &mut set[at], zone),
        Rtype::DS if whole => change_ds(lies, set, at),
        Rtype::DNSKEY if whole => change_dnskey(lies, set, at),
        rtype => {
            let random = &mut lies.random;
            match random.below(5) {
                0 if set.len() > 1 => drop(set.remove(at)),
                1 => {
                    let owner = lies.universe.some_name(random);
                    for rr in set.iter_mut() {
                        rr.owner = owner.clone();
                    }
                }
                2 if rtype == Rtype::TLSA => {
                    set.push(Rr { data: vec![3, 1, 1, random.any() as u8], ..set[at].clone() });
                }
                _ if matches!(rtype, Rtype::CNAME | Rtype::DNAME) => {
                    set[at].data = lies.universe.some_name(random).as_slice().to_vec();
                    if random.percent(30) {
                        change_case(&mut set[at].data, random);
                    }
                }
                _ if rtype == Rtype::TLSA => set[at].data.push(random.any() as u8),
                _ => {}
            }
        }
    }
    what.push("changed".into());
}

fn toggle(random: &mut Random, map: &[u8]) -> Vec<u8> {
    let mut types = types(map);
    for _ in 0..1 + random.below(2) {
        let one = *random.pick(&[
            Rtype::NS,
            Rtype::SOA,
            Rtype::DS,
            Rtype::CNAME,
            Rtype::DNAME,
            Rtype::TLSA,
            Rtype::TLSA,
            Rtype::DNSKEY,
        ]);
        match types.iter().position(|rtype| *rtype == one) {
            Some(at) => drop(types.remove(at)),
            None => types.push(one),
        }
    }
    type_map(&types)
}

/// A name in the zone that may matter, or the end of the zone.
fn name_for_span(lies: &mut Lies<'_>, zone: &ZonePlan) -> DnsName {
    match lies.random.below(4) {
        0 => super::message::name(&zone.apex),
        1 => lies.question.name.clone(),
        2 => before_or_after(lies),
        _ => lies.universe.some_name(&mut lies.random),
    }
}

/// A name next to the one that was asked for, or next to the wildcard or parent that may matter.
fn before_or_after(lies: &mut Lies<'_>) -> DnsName {
    // A question may be about the root itself.
    let about = if lies.question.name.is_root() {
        lies.universe.some_name(&mut lies.random)
    } else {
        lies.question.name.clone()
    };
    let suffixes: Vec<DnsName> = about.iter_suffixes().filter(|name| !name.is_root()).collect();
    let name = lies.random.pick(&suffixes);
    let mut octets = name.as_slice().to_vec();
    match lies.random.below(3) {
        // Below it: right after it in canonical order.
        0 => {
            octets.splice(0..0, [1, 0]);
        }
        1 => octets[1] = octets[1].saturating_sub(1),
        _ => octets[1] = octets[1].saturating_add(1),
    }
    Name::from_octets(octets.into()).unwrap_or_else(|_| name.clone())
}

fn change_nsec(lies: &mut Lies<'_>, rr: &mut Rr, zone: &ZonePlan) {
    let Some(end) = name_end(&rr.data, 0) else { return };
    let (next, map) = rr.data.split_at(end);
    let (mut next, mut map) = (next.to_vec(), map.to_vec());
    match lies.random.below(5) {
        0 | 1 => map = toggle(&mut lies.random, &map),
        2 => next = name_for_span(lies, zone).as_slice().to_vec(),
        3 => rr.owner = name_for_span(lies, zone),
        _ => {
            rr.owner = name_for_span(lies, zone);
            next = name_for_span(lies, zone).as_slice().to_vec();
        }
    }
    rr.data = [next, map].concat();
}

fn change_nsec3(lies: &mut Lies<'_>, rr: &mut Rr, zone: &ZonePlan) {
    let Some(map_at) = nsec3_types_at(&rr.data) else { return };
    let salt_end = 5 + usize::from(rr.data[4]);
    if map_at - salt_end != 21 {
        // Other lies have left it with something else than a SHA-1 hash.
        return;
    }
    let iterations = u16::from_be_bytes([rr.data[2], rr.data[3]]);
    let salt = Nsec3Salt::from_octets(rr.data[5..salt_end].to_vec()).unwrap();
    let random = &mut lies.random;
    // The hash of a name that may matter, or one next to it.
    let hash = |lies: &mut Lies<'_>, shift: i8| -> Vec<u8> {
        let name = match lies.random.below(3) {
            0 => lies.universe.some_name(&mut lies.random),
            _ => {
                let suffixes: Vec<_> = lies.question.name.iter_suffixes().collect();
                lies.random.pick(&suffixes).clone()
            }
        };
        let hash = nsec3_hash::<_, _, Vec<u8>>(&name, Nsec3HashAlgorithm::SHA1, iterations.min(20), &salt).unwrap();
        let mut hash = hash.as_slice().to_vec();
        let last = hash.len() - 1;
        hash[last] = hash[last].wrapping_add_signed(shift);
        hash
    };
    match random.below(9) {
        0 => rr.data[1] ^= 1,
        1 => rr.data[1] ^= 2 << random.below(7),
        2 => rr.data[0] ^= 3,
        3 => rr.data[2..4].copy_from_slice(&(*random.pick(&[0_u16, 1, 100, 101, 500, 501])).to_be_bytes()),
        4 => {
            let map = toggle(random, &rr.data[map_at..]);
            rr.data.splice(map_at.., map);
        }
        5 => {
            rr.owner = lies.universe.some_name(random);
        }
        choice => {
            if choice != 6 {
                let shift = *lies.random.pick(&[-1, 0, 0]);
                let label = domain::utils::base32::encode_string_hex(&hash(lies, shift)).to_ascii_lowercase();
                let owner = format!("{label}.{}", zone.apex);
                rr.owner = super::message::name(&owner);
            }
            if choice != 7 {
                let next = hash(lies, 1);
                rr.data[map_at - 20..map_at].copy_from_slice(&next);
            }
        }
    }
}

fn change_ds(lies: &mut Lies<'_>, set: &mut Vec<Rr>, at: usize) {
    let child = lies.universe.zone(&set[at].owner);
    let random = &mut lies.random;
    match random.below(7) {
        0 if set.len() > 1 => drop(set.remove(at)),
        1 => set[at].data[2] = *random.pick(&[1, 5, 7, 8, 10, 13, 15, 16, 200]),
        2 => set[at].data[3] = *random.pick(&[0, 1, 3, 4, 5, 200]),
        3 => set[at].data[1] ^= 1,
        4 => {
            let mut extra = set[at].clone();
            (extra.data[2], extra.data[3]) =
                *random.pick(&[(200, 2), (13, 1), (13, 200), (8, 2), (16, 2), (7, 2), (15, 4)]);
            set.push(extra);
        }
        _ => {
            // A right digest of another type, alone or besides.
            let Some(key) = child.and_then(|child| child.key_keys().next().copied()) else { return };
            let (code, digest) = match random.below(3) {
                0 => (DigestAlgorithm::SHA1, DigestType::Sha1),
                1 => (DigestAlgorithm::SHA384, DigestType::Sha384),
                _ => (DigestAlgorithm::SHA256, DigestType::Sha256),
            };
            let mut digest = DigestBuilder::new(digest);
            digest.update(set[at].owner.to_canonical_name::<bytes::Bytes>().as_slice());
            digest.update(&key.key.rdata(key.flags()));
            let mut data = key.key.tag(key.flags()).to_be_bytes().to_vec();
            data.extend([key.key.algorithm.to_int(), code.to_int()]);
            data.extend(digest.finish().as_ref());
            let new = Rr { data, ..set[at].clone() };
            if random.percent(50) {
                set.clear();
            }
            set.push(new);
        }
    }
}

fn change_dnskey(lies: &mut Lies<'_>, set: &mut Vec<Rr>, at: usize) {
    let random = &mut lies.random;
    match random.below(6) {
        0 if set.len() > 1 => drop(set.remove(at)),
        1 => set[at].data[1] ^= 0x80,
        2 => set[at].data[0] ^= 1,
        3 => set[at].data[2] = *random.pick(&[0, 2, 4]),
        4 => set[at].data[3] = *random.pick(&[5, 7, 10, 13, 200]),
        _ => {
            let zone = lies.universe.some_zone(random);
            let foreign = zone.keys.iter().map(|key| Rr { data: key.key.rdata(key.flags()), ..set[at].clone() });
            let foreign: Vec<_> = foreign.collect();
            set.extend(foreign);
        }
    }
}
