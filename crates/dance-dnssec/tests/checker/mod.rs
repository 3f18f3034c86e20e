//! A second opinion on Secure: everything that was received, taken apart by nothing but slices, and an exhaustive search in it for a chain
//! of signatures from a trust anchor to the records in question. It knows no order of messages, no cache, no budget and no reason; it
//! only says whether there is a chain.

pub(crate) mod crypto;
pub(crate) mod look_up;
pub(crate) mod recorded;
pub(crate) mod truth;
mod wire;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) use wire::{Labels, Reader};
use wire::{Record, Signature, is_hiding, nsec, nsec3};

/// Record types (RFC 1035 section 3.2.2, RFC 4034, RFC 5155, RFC 6672, RFC 6698).
pub(crate) const CNAME: u16 = 5;
pub(crate) const DNAME: u16 = 39;
pub(crate) const DS: u16 = 43;
pub(crate) const RRSIG: u16 = 46;
pub(crate) const NSEC: u16 = 47;
pub(crate) const DNSKEY: u16 = 48;
pub(crate) const NSEC3: u16 = 50;
pub(crate) const TLSA: u16 = 52;

/// The records of one owner and type in one section of a message; RDATA in canonical form, each once, sorted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Set {
    owner: Labels,
    rtype: u16,
    data: BTreeSet<Vec<u8>>,
}

/// Everything that was received.
#[derive(Clone, Default)]
pub(crate) struct Pool {
    sets: BTreeSet<Set>,
    signatures: BTreeMap<(Labels, u16), BTreeSet<Signature>>,
}

impl Pool {
    pub(crate) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Adds a message. One that ends within a record counts up to there.
    pub(crate) fn add(&mut self, message: &[u8]) {
        let Some(mut reader) = Reader::of_message(message) else { return };
        while let Some(records) = reader.section() {
            let mut sets: BTreeMap<(Labels, u16), BTreeSet<Vec<u8>>> = BTreeMap::new();
            for Record { owner, rtype, rdata } in records {
                match (rtype, Signature::read(&rdata)) {
                    (RRSIG, Some(signature)) => {
                        self.signatures.entry((owner, signature.covered)).or_default().insert(signature);
                    }
                    (RRSIG, None) => {}
                    _ => {
                        sets.entry((owner, rtype)).or_default().insert(rdata);
                    }
                }
            }
            self.sets.extend(sets.into_iter().map(|((owner, rtype), data)| Set { owner, rtype, data }));
        }
    }
}

/// The search at one moment, with one set of anchors: DS and DNSKEY records by owner.
pub(crate) struct Checker<'a> {
    pool: &'a Pool,
    anchors: &'a [(Labels, u16, Vec<u8>)],
    now: u32,
    keys: RefCell<BTreeMap<Labels, BTreeSet<Vec<u8>>>>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(pool: &'a Pool, anchors: &'a [(Labels, u16, Vec<u8>)], now: u32) -> Self {
        Self { pool, anchors, now, keys: RefCell::default() }
    }

    /// Whether validated aliases lead from `name` to a validated TLSA RRset at `end` with exactly these records.
    pub(crate) fn confirms(&self, name: &Labels, end: &Labels, records: &BTreeSet<Vec<u8>>) -> bool {
        let mut reached = BTreeSet::from([name.clone()]);
        for _ in 0..=8 {
            let next: Vec<_> = reached.iter().flat_map(|name| self.aliases(name)).collect();
            reached.extend(next);
        }
        let sets = self.sets(end, TLSA);
        reached.contains(end) && sets.into_iter().any(|set| set.data == *records && self.is_proven(set))
    }

    /// Where validated aliases lead from a name.
    fn aliases(&self, name: &Labels) -> Vec<Labels> {
        let cnames = self.sets(name, CNAME).into_iter().map(|set| (name.clone(), set));
        let above = name.suffixes().skip(1);
        let dnames = above.flat_map(|owner| self.sets(&owner, DNAME).into_iter().map(move |set| (owner.clone(), set)));
        let aliases = cnames.chain(dnames).filter(|(_, set)| set.data.len() == 1 && self.is_proven(set));
        let targets = aliases.filter_map(|(owner, set)| {
            let target = Reader::new(set.data.first()?).name()?;
            Some(name.with_suffix_replaced(&owner, &target))
        });
        targets.collect()
    }

    fn sets(&self, owner: &Labels, rtype: u16) -> Vec<&'a Set> {
        self.pool.sets.iter().filter(|set| set.rtype == rtype && set.owner == *owner).collect()
    }

    /// Whether the set is signed as it stands, or expanded from a signed wildcard with proof.
    fn is_proven(&self, set: &Set) -> bool {
        self.signers(set).into_iter().any(|(signer, labels)| {
            let encloser = usize::from(labels);
            match set.owner.signed_labels() == encloser {
                true => true,
                false => self.is_absent(&signer, &set.owner.last(encloser + 1)),
            }
        })
    }

    /// Zones whose keys have signed the set, each with the number of labels that they signed.
    fn signers(&self, set: &Set) -> BTreeSet<(Labels, u8)> {
        let all = self.pool.signatures.get(&(set.owner.clone(), set.rtype));
        let valid = all.into_iter().flatten().filter(|signature| {
            let in_time =
                crypto::not_after(signature.inception, self.now) && crypto::not_after(self.now, signature.expiration);
            let over = set.owner.ends_with(&signature.signer);
            let above = set.rtype != DS || set.owner != signature.signer;
            let counted = usize::from(signature.labels) <= set.owner.signed_labels();
            in_time
                && over
                && above
                && counted
                && self.keys(&signature.signer).iter().any(|key| verifies(set, signature, key))
        });
        valid.map(|signature| (signature.signer.clone(), signature.labels)).collect()
    }

    /// The keys of a zone that a chain of trust leads to.
    fn keys(&self, zone: &Labels) -> BTreeSet<Vec<u8>> {
        if let Some(keys) = self.keys.borrow().get(zone) {
            return keys.clone();
        }
        let anchors =
            self.anchors.iter().filter(|(owner, ..)| owner == zone).map(|(_, rtype, rdata)| (*rtype, rdata.clone()));
        let mut trusted: BTreeSet<(u16, Vec<u8>)> = anchors.collect();
        // Only zones above sign a DS, so this ends.
        for set in self.sets(zone, DS).into_iter().filter(|set| self.is_signed_as_it_stands(set)) {
            let strong = set.data.iter().any(|ds| ds.get(3).is_some_and(|digest| matches!(digest, 2 | 4)));
            let counting = set.data.iter().filter(|ds| !strong || ds.get(3) != Some(&1));
            trusted.extend(counting.map(|ds| (DS, ds.clone())));
        }
        let mut keys = BTreeSet::new();
        for set in self.sets(zone, DNSKEY) {
            let signatures = self.pool.signatures.get(&(zone.clone(), DNSKEY));
            let signatures = || {
                signatures.into_iter().flatten().filter(|signature| {
                    let in_time = crypto::not_after(signature.inception, self.now)
                        && crypto::not_after(self.now, signature.expiration);
                    in_time && signature.signer == *zone && usize::from(signature.labels) == zone.signed_labels()
                })
            };
            let entry = |key: &&Vec<u8>| {
                trusted.iter().any(|(rtype, rdata)| match *rtype {
                    DNSKEY => rdata == *key,
                    _ => crypto::is_ds_of(rdata, zone, key),
                })
            };
            if set.data.iter().filter(entry).any(|key| signatures().any(|signature| verifies(set, signature, key))) {
                keys.extend(set.data.iter().cloned());
            }
        }
        self.keys.borrow_mut().insert(zone.clone(), keys.clone());
        keys
    }

    fn is_signed_as_it_stands(&self, set: &Set) -> bool {
        let own = set.owner.signed_labels();
        !set.owner.is_wildcard() && self.signers(set).iter().any(|(_, labels)| usize::from(*labels) == own)
    }

    /// Whether a zone's NSEC or NSEC3 records, signed as they stand, show that nothing exists at or below a name.
    fn is_absent(&self, zone: &Labels, name: &Labels) -> bool {
        let denials =
            self.pool.sets.iter().filter(|set| matches!(set.rtype, NSEC | NSEC3) && set.owner.ends_with(zone));
        denials.into_iter().any(|set| {
            let own = set.owner.signed_labels();
            let covers = set.data.iter().any(|rdata| match set.rtype {
                NSEC => nsec_covers(zone, &set.owner, rdata, name).unwrap_or(false),
                _ => nsec3_covers(zone, &set.owner, rdata, name).unwrap_or(false),
            });
            covers && self.signers(set).iter().any(|(signer, labels)| signer == zone && usize::from(*labels) == own)
        })
    }
}

fn verifies(set: &Set, signature: &Signature, key: &[u8]) -> bool {
    // Of a wildcard that was expanded, the wildcard is what was signed.
    let owner = match usize::from(signature.labels) < set.owner.signed_labels() {
        true => set.owner.last(usize::from(signature.labels)).wildcard(),
        false => set.owner.clone(),
    };
    let mut signed = signature.head.clone();
    for rdata in &set.data {
        signed.extend(owner.octets());
        signed.extend(set.rtype.to_be_bytes());
        signed.extend([0, 1]);
        signed.extend(signature.original_ttl.to_be_bytes());
        signed.extend(u16::try_from(rdata.len()).unwrap().to_be_bytes());
        signed.extend(rdata);
    }
    crypto::verifies(key, signature.tag, signature.algorithm, &signed, &signature.value)
}

fn nsec_covers(zone: &Labels, owner: &Labels, rdata: &[u8], name: &Labels) -> Option<bool> {
    let (next, types) = nsec(rdata)?;
    let last = next == *zone;
    let hidden = name.ends_with(owner) && is_hiding(types);
    Some(owner < name && (*name < next || last) && !next.ends_with(name) && !hidden)
}

fn nsec3_covers(zone: &Labels, owner: &Labels, rdata: &[u8], name: &Labels) -> Option<bool> {
    let record = nsec3(rdata)?;
    if owner.last(zone.count()) != *zone || owner.count() != zone.count() + 1 || record.iterations > 100 {
        return Some(false);
    }
    let own = wire::base32hex(owner.first()?)?;
    let hash = crypto::nsec3_hash(name, record.iterations, record.salt);
    let (own, hash) = (own.as_slice(), hash.as_slice());
    let between = own < hash && hash < record.next;
    let around = own >= record.next && (own < hash || hash < record.next);
    Some(record.algorithm == 1 && record.flags == 0 && (between || around))
}
