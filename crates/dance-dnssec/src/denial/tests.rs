#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use super::*;
use domain::base::iana::Nsec3HashAlgorithm;
use domain::base::rdata::ComposeRecordData;
use domain::dnssec::common::nsec3_hash;
use domain::rdata;
use domain::rdata::nsec3::{Nsec3Salt, OwnerHash};

const PLENTY: u32 = 100_000;

pub(super) fn name(text: &str) -> DnsName {
    text.parse().unwrap()
}

pub(super) fn types(list: &str) -> Types {
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

pub(super) fn push(sets: &mut Proofs, zone: &DnsName, owner: &DnsName, data: &impl ComposeRecordData) {
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
pub(super) struct Params {
    pub(super) iterations: u16,
    pub(super) salt: &'static [u8],
    pub(super) flags: u8,
}

pub(super) const PLAIN: Params = Params { iterations: 0, salt: b"", flags: 0 };
const OPTING_OUT: Params = Params { iterations: 0, salt: b"", flags: 1 };

fn salt(params: &Params) -> Nsec3Salt<Bytes> {
    Nsec3Salt::from_octets(Bytes::from_static(params.salt)).unwrap()
}

pub(super) fn hash(of: &DnsName, params: &Params) -> OwnerHash<Vec<u8>> {
    nsec3_hash(of, Nsec3HashAlgorithm::SHA1, params.iterations, &salt(params)).unwrap()
}

/// The NSEC3 chain of a zone with these names and types: the name that each record stands for, and the record.
pub(super) fn chain(
    zone: &DnsName,
    names: &[(DnsName, Types)],
    params: &Params,
) -> Vec<(DnsName, DnsName, rdata::Nsec3<Bytes>)> {
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

pub(super) fn owner_of(hash: &OwnerHash<Vec<u8>>, zone: &DnsName) -> DnsName {
    format!("{hash}.{}", zone.fmt_with_dot()).parse().unwrap()
}

/// Enough names that those a test asks for have different records.
const POPULOUS: &[(&str, &str)] = &[
    ("a.test.", "TXT"),
    ("m.test.", "TXT"),
    ("n.test.", "TXT"),
    ("o.test.", "TXT"),
    ("p.test.", "TXT"),
    ("q.test.", "TXT"),
    ("r.test.", "TXT"),
    ("s.test.", "TXT"),
    ("t.test.", "TXT"),
    ("u.test.", "TXT"),
];

/// A zone `test.` with NSEC3 records of these names and types, of which only those that `keep` says are there.
struct Zone3 {
    names: Vec<(DnsName, Types)>,
    params: Params,
}

fn zone3(params: Params, names: &[(&str, &str)]) -> Zone3 {
    let apex = [("test.", "NS SOA RRSIG DNSKEY NSEC3PARAM")];
    let names = apex.iter().chain(names).map(|(owner, list)| (name(owner), types(list))).collect();
    Zone3 { names, params }
}

impl Zone3 {
    fn chain(&self) -> Vec<(DnsName, DnsName, rdata::Nsec3<Bytes>)> {
        chain(&name("test."), &self.names, &self.params)
    }

    fn all(&self) -> Given {
        self.only(|_| true)
    }

    /// Only the records that match or cover one of these names.
    fn about(&self, names: &[&str]) -> Given {
        let hashes: Vec<_> = names.iter().map(|of| hash(&name(of), &self.params)).collect();
        let chain = self.chain();
        let mut kept = Given::new("test.");
        for wanted in &hashes {
            let wanted = wanted.as_slice();
            // The last owner at or before the hash; before the first, the last of all.
            let owner = |record: &(DnsName, DnsName, _)| hash(&record.0, &self.params);
            let record = chain.iter().rev().find(|record| owner(record).as_slice() <= wanted).or(chain.last()).unwrap();
            kept.push(&record.1, &record.2);
        }
        kept
    }

    /// Whether each of these names has a record of its own that matches or covers it.
    fn parts(&self, names: &[&str]) -> bool {
        let owners = names.iter().flat_map(|name| self.about(&[name]).sets.nsec3).flat_map(|chain| chain.owners());
        owners.collect::<BTreeSet<_>>().len() == names.len()
    }

    fn only(&self, keep: impl Fn(&DnsName) -> bool) -> Given {
        let mut proofs = Given::new("test.");
        for (of, owner, record) in self.chain() {
            if keep(&of) {
                proofs.push(&owner, &record);
            }
        }
        proofs
    }

    /// All records, each changed.
    fn changed(&self, change: impl Fn(DnsName, rdata::Nsec3<Bytes>) -> (DnsName, rdata::Nsec3<Bytes>)) -> Given {
        let mut proofs = Given::new("test.");
        for (_, owner, record) in self.chain() {
            let (owner, record) = change(owner, record);
            proofs.push(&owner, &record);
        }
        proofs
    }
}

// ---- NSEC

// DNS-06
#[test]
fn a_name_without_the_type() {
    let proofs = nsec_of("test.", &[("a.test.", "c.test.", DATA)]);
    assert_eq!(denied(&proofs, "a.test."), Denied::Nodata);
    assert_eq!(denied(&proofs, "A.TEST."), Denied::Nodata);
    // Not with the type, and not with an alias, which would lead elsewhere (RFC 6840 section 4.3).
    assert_eq!(denied(&nsec_of("test.", &[("a.test.", "c.test.", TLSA)]), "a.test."), Denied::Nothing);
    assert_eq!(denied(&nsec_of("test.", &[("a.test.", "c.test.", "CNAME")]), "a.test."), Denied::Nothing);
    // A DNAME is about what is below.
    assert_eq!(denied(&nsec_of("test.", &[("a.test.", "c.test.", "DNAME")]), "a.test."), Denied::Nodata);
    assert_eq!(denied(&Given::new("test."), "a.test."), Denied::Nothing);
}

// DNS-06
#[test]
fn a_name_that_does_not_exist_and_the_wildcard_that_does_not() {
    let (apex, b) = (("test.", "a.test.", APEX), ("a.test.", "c.test.", DATA));
    assert_eq!(denied(&nsec_of("test.", &[apex, b]), "b.test."), Denied::Nxdomain);
    assert_eq!(denied(&nsec_of("test.", &[apex, b]), "x.y.b.test."), Denied::Nxdomain);
    // The wildcard must be denied too.
    assert_eq!(denied(&nsec_of("test.", &[b]), "b.test."), Denied::Nothing);
    assert_eq!(denied(&nsec_of("test.", &[apex]), "b.test."), Denied::Nothing);
    // One record can do both.
    let both = nsec_of("test.", &[("test.", "c.test.", APEX)]);
    assert_eq!(denied(&both, "b.test."), Denied::Nxdomain);
    assert_eq!(denied(&both, "*.test."), Denied::Nxdomain);
}

// DNS-06
#[test]
fn the_wildcard_is_that_of_the_closest_encloser() {
    // `b.a.test.` exists, as owner or as next name: `*.test.` is not the wildcard to deny.
    let apex = ("test.", "a.test.", APEX);
    let after = ("b.a.test.", "z.test.", DATA);
    assert_eq!(denied(&nsec_of("test.", &[apex, after]), "c.b.a.test."), Denied::Nxdomain);
    let wild = ("*.b.a.test.", "z.test.", TLSA);
    assert_eq!(denied(&nsec_of("test.", &[apex, wild]), "c.b.a.test."), Denied::Nothing);
    let until = ("a.test.", "d.b.a.test.", DATA);
    assert_eq!(denied(&nsec_of("test.", &[apex, until]), "c.b.a.test."), Denied::Nxdomain);
    let until = ("a.test.", "*.b.a.test.", DATA);
    assert_eq!(denied(&nsec_of("test.", &[apex, until, wild]), "c.b.a.test."), Denied::Nothing);
}

// DNS-06
#[test]
fn a_wildcard_without_the_type() {
    let cover = ("a.test.", "c.test.", DATA);
    let with = |list| nsec_of("test.", &[("*.test.", "a.test.", list), cover]);
    assert_eq!(denied(&with(DATA), "b.test."), Denied::Nodata);
    assert_eq!(denied(&with(TLSA), "b.test."), Denied::Nothing);
    assert_eq!(denied(&with("CNAME"), "b.test."), Denied::Nothing);
    // The name itself must be denied as well.
    assert_eq!(denied(&nsec_of("test.", &[("*.test.", "a.test.", DATA)]), "b.test."), Denied::Nothing);
    // A wildcard that exists only for a name below it has no types at all (RFC 4592 section 2.2.2).
    let empty = nsec_of("test.", &[("test.", "x.*.test.", APEX), cover]);
    assert_eq!(denied(&empty, "b.test."), Denied::Nodata);
}

// DNS-06
#[test]
fn an_empty_non_terminal() {
    let proofs = nsec_of("test.", &[("a.test.", "x.y.b.test.", DATA), ("test.", "a.test.", APEX)]);
    assert_eq!(denied(&proofs, "b.test."), Denied::Nodata);
    assert_eq!(denied(&proofs, "y.b.test."), Denied::Nodata);
    assert_eq!(cut_at(&proofs, "y.b.test."), CutDenial::NotACut);
    // Only what is above the next name.
    assert_eq!(denied(&proofs, "aa.test."), Denied::Nxdomain);
    assert_eq!(denied(&proofs, "x.y.b.test."), Denied::Nothing);
}

// DNS-06
#[test]
fn the_next_name_is_not_covered() {
    let apex = ("test.", "a.test.", APEX);
    let proofs = nsec_of("test.", &[apex, ("a.test.", "c.test.", DATA)]);
    assert_eq!(denied(&proofs, "b.test."), Denied::Nxdomain);
    assert_eq!(denied(&proofs, "c.test."), Denied::Nothing);
    assert_eq!(denied(&proofs, "C.test."), Denied::Nothing);
    assert_eq!(denied(&proofs, "x.c.test."), Denied::Nothing);
    assert_eq!(closer(&proofs, "c.test.", 1), NoCloser::Nothing);
    assert_eq!(cut_at(&proofs, "c.test."), CutDenial::Nothing);
    // Nor what comes before the owner.
    assert_eq!(denied(&nsec_of("test.", &[apex, ("b.test.", "c.test.", DATA)]), "aa.test."), Denied::Nothing);
}

// DNS-06
#[test]
fn the_last_record_leads_back_to_the_apex() {
    let apex = ("test.", "a.test.", APEX);
    let proofs = nsec_of("test.", &[apex, ("m.test.", "test.", DATA)]);
    assert_eq!(denied(&proofs, "z.test."), Denied::Nxdomain);
    assert_eq!(denied(&proofs, "b.test."), Denied::Nothing);
    // Nowhere else: a record that leads back to another name covers nothing.
    let proofs = nsec_of("test.", &[apex, ("m.test.", "a.test.", DATA)]);
    assert_eq!(denied(&proofs, "z.test."), Denied::Nothing);
    assert_eq!(denied(&proofs, "m.test."), Denied::Nodata);
    // The zone with one name.
    let alone = nsec_of("test.", &[("test.", "test.", APEX)]);
    assert_eq!(denied(&alone, "z.test."), Denied::Nxdomain);
    assert_eq!(denied(&alone, "test."), Denied::Nodata);
    // The root.
    let root = nsec_of(".", &[(".", "aaa.", APEX), ("zw.", ".", CUT)]);
    assert_eq!(denied(&root, "zz."), Denied::Nxdomain);
    assert_eq!(denied(&root, "_device.zz."), Denied::Nxdomain);
    assert_eq!(cut_at(&root, "zz."), CutDenial::NotACut);
    assert_eq!(cut_at(&root, "."), CutDenial::Nothing);
}

// DNS-06
#[test]
fn other_zones_records_and_names_prove_nothing() {
    let within = nsec_of("test.", &[("test.", "z.test.", APEX)]);
    assert_eq!(denied(&within, "b.test."), Denied::Nxdomain);
    assert_eq!(denied(&within, "b.other."), Denied::Nothing);
    assert_eq!(denied(&within, "."), Denied::Nothing);
    assert_eq!(closer(&within, "b.other.", 1), NoCloser::Nothing);
    assert_eq!(cut_at(&within, "b.other."), CutDenial::Nothing);
    assert!(!within.is_empty());
    // Owner or next name outside the zone.
    assert!(nsec_of("test.", &[("other.", "z.test.", APEX)]).is_empty());
    assert!(nsec_of("test.", &[("test.", "zest.", APEX)]).is_empty());
    assert!(nsec_of("a.test.", &[("test.", "z.a.test.", APEX)]).is_empty());
}

// DNS-06
#[test]
fn above_a_zone_cut_nothing_is_known_of_below() {
    // RFC 6840 section 4.1: of the delegation itself the record denies DS alone, of what is below it nothing.
    let apex = ("test.", "cut.test.", APEX);
    let proofs = nsec_of("test.", &[apex, ("cut.test.", "z.test.", CUT)]);
    assert_eq!(denied(&proofs, "cut.test."), Denied::Nothing);
    assert_eq!(denied_ds(&proofs, "cut.test."), Denied::Nodata);
    assert_eq!(denied(&proofs, "x.cut.test."), Denied::Nothing);
    assert_eq!(denied(&proofs, "x.y.cut.test."), Denied::Nothing);
    assert_eq!(denied_ds(&proofs, "x.cut.test."), Denied::Nothing);
    assert_eq!(closer(&proofs, "x.cut.test.", 2), NoCloser::Nothing);
    assert_eq!(cut_at(&proofs, "x.cut.test."), CutDenial::Nothing);
    // What is beside it, it denies.
    assert_eq!(denied(&proofs, "d.test."), Denied::Nxdomain);
    // And it would deny what is below if there were no delegation.
    let proofs = nsec_of("test.", &[apex, ("cut.test.", "z.test.", DATA)]);
    assert_eq!(denied(&proofs, "x.cut.test."), Denied::Nxdomain);
    assert_eq!(cut_at(&proofs, "x.cut.test."), CutDenial::NotACut);
    assert_eq!(closer(&proofs, "x.cut.test.", 2), NoCloser::Proven);
}

// DNS-06
#[test]
fn below_an_apex_and_beside_a_delegation_all_is_known() {
    // NS with SOA is the apex of this zone.
    let proofs = nsec_of("cut.test.", &[("cut.test.", "z.cut.test.", APEX)]);
    assert_eq!(denied(&proofs, "cut.test."), Denied::Nodata);
    assert_eq!(denied(&proofs, "x.cut.test."), Denied::Nxdomain);
    // Its DS is not its own to deny.
    assert_eq!(denied_ds(&proofs, "cut.test."), Denied::Nothing);
    assert_eq!(cut_at(&proofs, "cut.test."), CutDenial::Nothing);
    assert_eq!(denied_ds(&proofs, "x.cut.test."), Denied::Nxdomain);
}

// DNS-06
#[test]
fn below_a_dname_nothing_is_denied() {
    let apex = ("test.", "d.test.", APEX);
    let with = |list| nsec_of("test.", &[apex, ("d.test.", "z.test.", list)]);
    assert_eq!(denied(&with("DNAME RRSIG NSEC"), "x.d.test."), Denied::Nothing);
    assert_eq!(closer(&with("DNAME RRSIG NSEC"), "x.d.test.", 2), NoCloser::Nothing);
    assert_eq!(cut_at(&with("DNAME RRSIG NSEC"), "x.d.test."), CutDenial::Nothing);
    assert_eq!(denied(&with("DNAME RRSIG NSEC"), "e.test."), Denied::Nxdomain);
    assert_eq!(denied(&with(DATA), "x.d.test."), Denied::Nxdomain);
    // At the apex it is about all names but the apex.
    let proofs = nsec_of("test.", &[("test.", "test.", "NS SOA DNAME RRSIG NSEC")]);
    assert_eq!(denied(&proofs, "x.test."), Denied::Nothing);
    assert_eq!(denied(&proofs, "test."), Denied::Nodata);
}

// DNS-06
#[test]
fn no_closer_name_than_the_wildcards() {
    let proofs = nsec_of("test.", &[("a.wild.test.", "c.wild.test.", DATA)]);
    assert_eq!(closer(&proofs, "b.wild.test.", 2), NoCloser::Proven);
    assert_eq!(closer(&proofs, "x.y.b.wild.test.", 2), NoCloser::Proven);
    // By the deepest label alone it is not proven: `b.wild.test.` may exist, and its own wildcard would have to be expanded.
    let deep = nsec_of("test.", &[("b.wild.test.", "c.wild.test.", DATA)]);
    assert_eq!(closer(&deep, "x.b.wild.test.", 2), NoCloser::Nothing);
    assert_eq!(closer(&deep, "x.b.wild.test.", 3), NoCloser::Proven);
    // It exists too if a name below it does.
    let below = nsec_of("test.", &[("a.wild.test.", "z.b.wild.test.", DATA)]);
    assert_eq!(closer(&below, "y.b.wild.test.", 2), NoCloser::Nothing);
    assert_eq!(closer(&below, "b.wild.test.", 2), NoCloser::Nothing);
    assert_eq!(closer(&below, "aa.wild.test.", 2), NoCloser::Proven);
    // The name exists: the wildcard was replayed over it.
    let exact = nsec_of("test.", &[("b.wild.test.", "c.wild.test.", TLSA)]);
    assert_eq!(closer(&exact, "b.wild.test.", 2), NoCloser::Nothing);
    // Signatures with as many labels as the name, more, or fewer than the zone.
    assert_eq!(closer(&proofs, "b.wild.test.", 3), NoCloser::Nothing);
    assert_eq!(closer(&proofs, "b.wild.test.", 255), NoCloser::Nothing);
    assert_eq!(closer(&nsec_of("test.", &[("test.", "test.", APEX)]), "b.test.", 0), NoCloser::Nothing);
    assert_eq!(closer(&nsec_of("test.", &[("test.", "test.", APEX)]), "b.test.", 1), NoCloser::Proven);
    assert_eq!(closer(&nsec_of(".", &[(".", ".", APEX)]), "b.test.", 0), NoCloser::Proven);
}

// DNS-06
#[test]
fn what_the_denial_of_a_ds_says_of_a_cut() {
    let at = |list| cut_at(&nsec_of("test.", &[("cut.test.", "z.test.", list)]), "cut.test.");
    assert_eq!(at(CUT), CutDenial::InsecureCut);
    assert_eq!(at(DATA), CutDenial::NotACut);
    assert_eq!(at("CNAME RRSIG NSEC"), CutDenial::NotACut);
    // A signed delegation, and the apex below the cut (RFC 6840 section 4.4).
    assert_eq!(at(SIGNED_CUT), CutDenial::Nothing);
    assert_eq!(at(APEX), CutDenial::Nothing);
    assert_eq!(at("NS SOA"), CutDenial::Nothing);
    assert_eq!(at("SOA"), CutDenial::Nothing);
    assert_eq!(denied_ds(&nsec_of("test.", &[("cut.test.", "z.test.", "NS SOA")]), "cut.test."), Denied::Nothing);
    // A name that does not exist is no delegation, whatever wildcards there are.
    assert_eq!(cut_at(&nsec_of("test.", &[("a.test.", "z.test.", DATA)]), "b.test."), CutDenial::NotACut);
}

// DNS-06
#[test]
fn names_are_in_canonical_order() {
    // The order of RFC 4034 section 6.1: by labels from the right, as octets, shorter first, without regard to case.
    let order = [
        "example.",
        "a.example.",
        "Z.a.example.",
        "zABC.a.EXAMPLE.",
        "z.example.",
        r"\001.z.example.",
        "*.z.example.",
        r"\200.z.example.",
    ];
    for pair in order.windows(3) {
        let [before, name, after] = pair else { panic!("three") };
        let proofs = nsec_of("example.", &[(before, after, DATA)]);
        assert_ne!(cut_at(&proofs, name), CutDenial::Nothing, "{name} lies between {before} and {after}");
        assert_eq!(cut_at(&proofs, after), CutDenial::Nothing, "{after} is the next name");
        let proofs = nsec_of("example.", &[(before, name, DATA)]);
        assert_eq!(cut_at(&proofs, after), CutDenial::Nothing, "{after} lies behind {name}");
    }
}

// ---- NSEC3

// DNS-06
#[test]
fn nsec3_a_name_without_the_type() {
    let zone = |list| zone3(PLAIN, &[("a.test.", list)]).about(&["a.test."]);
    assert_eq!(denied(&zone("TXT"), "a.test."), Denied::Nodata);
    assert_eq!(denied(&zone("TXT"), "A.Test."), Denied::Nodata);
    assert_eq!(denied(&zone("TLSA"), "a.test."), Denied::Nothing);
    assert_eq!(denied(&zone("CNAME"), "a.test."), Denied::Nothing);
    // An empty non-terminal has a record without types.
    assert_eq!(denied(&zone(""), "a.test."), Denied::Nodata);
    assert_eq!(cut_at(&zone(""), "a.test."), CutDenial::NotACut);
    // Another name's record says nothing.
    assert_eq!(denied(&zone("TXT"), "b.test."), Denied::Nothing);
}

// DNS-06
#[test]
fn nsec3_a_name_that_does_not_exist_needs_three_proofs() {
    let zone = zone3(PLAIN, POPULOUS);
    let full = ["test.", "b.test.", "*.test."];
    assert!(zone.parts(&full));
    assert_eq!(denied(&zone.about(&full), "b.test."), Denied::Nxdomain);
    assert_eq!(denied(&zone.about(&full), "z.y.b.test."), Denied::Nxdomain);
    assert_eq!(denied(&zone.all(), "b.test."), Denied::Nxdomain);
    assert_eq!(denied_ds(&zone.about(&full), "b.test."), Denied::Nxdomain);
    for missing in full {
        let others: Vec<_> = full.into_iter().filter(|name| *name != missing).collect();
        assert_eq!(denied(&zone.about(&others), "b.test."), Denied::Nothing, "without {missing}");
    }
}

// DNS-06
#[test]
fn nsec3_a_wildcard_without_the_type() {
    let zone = |list| zone3(PLAIN, &[("*.test.", list), ("a.test.", "TXT"), ("m.test.", "TXT")]);
    let names = ["test.", "b.test.", "*.test."];
    assert_eq!(denied(&zone("TXT").about(&names), "b.test."), Denied::Nodata);
    assert_eq!(denied(&zone("").about(&names), "b.test."), Denied::Nodata);
    assert_eq!(denied(&zone("TLSA").about(&names), "b.test."), Denied::Nothing);
    assert_eq!(denied(&zone("CNAME").about(&names), "b.test."), Denied::Nothing);
    assert_eq!(denied(&zone("TXT").all(), "b.c.test."), Denied::Nodata);
}

// DNS-06
#[test]
fn nsec3_the_closest_encloser_hides_nothing_below() {
    let zone = |list| zone3(PLAIN, &[("d.test.", list), ("m.test.", "TXT")]);
    for hiding in ["NS", "NS DS", "DNAME", "TXT DNAME"] {
        let zone = zone(hiding);
        assert_eq!(denied(&zone.all(), "x.d.test."), Denied::Nothing, "{hiding}");
        assert_eq!(cut_at(&zone.all(), "x.d.test."), CutDenial::Nothing, "{hiding}");
        assert_eq!(denied(&zone.all(), "e.test."), Denied::Nxdomain, "{hiding}");
    }
    assert_eq!(denied(&zone("TXT").all(), "x.d.test."), Denied::Nxdomain);
    assert_eq!(cut_at(&zone("TXT").all(), "x.d.test."), CutDenial::NotACut);
    // NS with SOA is this zone's apex.
    assert_eq!(denied(&zone3(PLAIN, &[]).all(), "x.test."), Denied::Nxdomain);
    // At the delegation itself only DS is denied.
    assert_eq!(denied(&zone("NS").all(), "d.test."), Denied::Nothing);
    assert_eq!(denied_ds(&zone("NS").all(), "d.test."), Denied::Nodata);
    assert_eq!(denied_ds(&zone("NS DS").all(), "d.test."), Denied::Nothing);
    assert_eq!(denied_ds(&zone("NS").all(), "test."), Denied::Nothing);
}

// DNS-06
#[test]
fn nsec3_what_the_denial_of_a_ds_says_of_a_cut() {
    let at = |list| cut_at(&zone3(PLAIN, &[("cut.test.", list)]).all(), "cut.test.");
    assert_eq!(at("NS"), CutDenial::InsecureCut);
    assert_eq!(at("TXT"), CutDenial::NotACut);
    assert_eq!(at("CNAME"), CutDenial::NotACut);
    assert_eq!(at("NS DS"), CutDenial::Nothing);
    assert_eq!(at("NS SOA"), CutDenial::Nothing);
    assert_eq!(cut_at(&zone3(PLAIN, &[]).all(), "test."), CutDenial::Nothing);
    assert_eq!(cut_at(&zone3(PLAIN, &[]).all(), "cut.test."), CutDenial::NotACut);
}

// DNS-06
#[test]
fn nsec3_opt_out_leaves_room_for_an_unsigned_delegation() {
    let names = [("a.test.", "TLSA"), ("m.test.", "TXT"), ("*.w.test.", "TXT"), ("w.test.", "")];
    let out = zone3(OPTING_OUT, &names);
    assert_eq!(denied(&out.all(), "b.test."), Denied::Insecure);
    assert_eq!(denied_ds(&out.all(), "b.test."), Denied::Insecure);
    assert_eq!(denied(&out.all(), "x.w.test."), Denied::Insecure);
    assert_eq!(cut_at(&out.all(), "b.test."), CutDenial::OptOut);
    assert_eq!(cut_at(&out.all(), "c.b.test."), CutDenial::OptOut);
    assert_eq!(closer(&out.all(), "x.w.test.", 2), NoCloser::Insecure);
    // Names that are in the chain are as certain as ever.
    assert_eq!(denied(&out.all(), "m.test."), Denied::Nodata);
    assert_eq!(denied(&out.all(), "a.test."), Denied::Nothing);
    assert_eq!(cut_at(&out.all(), "m.test."), CutDenial::NotACut);
    // Without opt-out.
    let all = zone3(PLAIN, &names);
    assert_eq!(denied(&all.all(), "b.test."), Denied::Nxdomain);
    assert_eq!(denied(&all.all(), "x.w.test."), Denied::Nodata);
    assert_eq!(cut_at(&all.all(), "b.test."), CutDenial::NotACut);
    assert_eq!(closer(&all.all(), "x.w.test.", 2), NoCloser::Proven);
    // A span that opts out is as good as any for the closest encloser, not for the name and not for the wildcard.
    let (out, all, needed) = (zone3(OPTING_OUT, POPULOUS), zone3(PLAIN, POPULOUS), ["test.", "b.test.", "*.test."]);
    assert!(all.parts(&needed));
    let opting = |of: &str| {
        let mut proofs = all.about(&needed);
        proofs.sets.nsec3[0].replace(&out.about(&[of]).sets.nsec3[0]);
        denied(&proofs, "b.test.")
    };
    assert_eq!(opting("test."), Denied::Nxdomain);
    assert_eq!(opting("b.test."), Denied::Insecure);
    assert_eq!(opting("*.test."), Denied::Insecure);
}

// DNS-06
#[test]
fn nsec3_no_closer_name_than_the_wildcards() {
    let zone = zone3(PLAIN, &[("w.test.", ""), ("*.w.test.", "TLSA"), ("b.w.test.", "TXT"), ("m.test.", "TXT")]);
    assert_eq!(closer(&zone.about(&["x.w.test."]), "x.w.test.", 2), NoCloser::Proven);
    assert_eq!(closer(&zone.about(&["x.w.test."]), "z.y.x.w.test.", 2), NoCloser::Proven);
    assert_eq!(closer(&zone.all(), "b.w.test.", 2), NoCloser::Nothing);
    assert_eq!(closer(&zone.all(), "x.b.w.test.", 2), NoCloser::Nothing);
    assert_eq!(closer(&zone.all(), "x.b.w.test.", 3), NoCloser::Proven);
    assert_eq!(closer(&zone.all(), "x.w.test.", 3), NoCloser::Nothing);
    assert_eq!(closer(&zone.all(), "x.w.test.", 0), NoCloser::Nothing);
    assert_eq!(closer(&zone.about(&["b.w.test."]), "b.w.test.", 2), NoCloser::Nothing);
    assert_eq!(closer(&zone.all(), "x.w.other.", 2), NoCloser::Nothing);
}

// DNS-06
#[test]
fn nsec3_unknown_kinds_and_other_zones_are_ignored() {
    let zone = zone3(PLAIN, &[("a.test.", "TXT")]);
    let with = |flags, algorithm: u8, next: &'static [u8], owner: &str| {
        zone.changed(|own, record| {
            let next = match next {
                [] => record.next_owner().clone(),
                _ => OwnerHash::from_octets(Bytes::from_static(next)).unwrap(),
            };
            let algorithm = Nsec3HashAlgorithm::from_int(algorithm);
            let (salt, types) = (record.salt().clone(), record.types().clone());
            let label = own.first().to_string();
            let owner = owner.replace("HASH", &label);
            (name(&owner), rdata::Nsec3::new(algorithm, flags, record.iterations(), salt, next, types))
        })
    };
    assert_eq!(denied(&with(0, 1, b"", "HASH.test."), "b.test."), Denied::Nxdomain);
    assert_eq!(denied(&with(1, 1, b"", "HASH.test."), "b.test."), Denied::Insecure);
    assert!(with(2, 1, b"", "HASH.test.").is_empty());
    assert!(with(0x81, 1, b"", "HASH.test.").is_empty());
    assert!(with(0, 2, b"", "HASH.test.").is_empty());
    assert!(with(0, 0, b"", "HASH.test.").is_empty());
    assert!(with(0, 1, b"short", "HASH.test.").is_empty());
    assert!(with(0, 1, b"", "HASH.a.test.").is_empty());
    assert!(with(0, 1, b"", "HASH.other.").is_empty());
    assert!(with(0, 1, b"", "HASH.").is_empty());
    assert!(with(0, 1, b"", "test.").is_empty());
    assert!(with(0, 1, b"", "xHASH.test.").is_empty());
    assert!(with(0, 1, b"", r"\200HASH.test.").is_empty());
    assert!(with(0, 1, b"", "CPNMUOG.test.").is_empty());
    assert!(!with(0, 1, b"", "HASH.TEST.").is_empty());
    // Either case of the hash.
    let lower = zone.changed(|owner, record| (name(&owner.to_string().to_lowercase()), record));
    let upper = zone.changed(|owner, record| (name(&owner.to_string().to_uppercase()), record));
    assert_eq!(denied(&lower, "b.test."), Denied::Nxdomain);
    assert_eq!(denied(&upper, "b.test."), Denied::Nxdomain);
}

// DNS-06
#[test]
fn nsec3_records_with_different_parameters_prove_nothing_together() {
    let one = zone3(PLAIN, POPULOUS);
    let whole = ["test.", "b.test.", "*.test."];
    for other in [Params { iterations: 1, ..PLAIN }, Params { salt: b"1", ..PLAIN }] {
        let other = zone3(other, POPULOUS);
        assert!(one.parts(&whole) && other.parts(&whole));
        let mixed = |first: &Zone3, of: &[&str], second: &Zone3, rest: &[&str]| {
            let mut proofs = first.about(of);
            proofs.sets.nsec3.extend(second.about(rest).sets.nsec3);
            proofs
        };
        let (encloser, rest) = (["test."], ["b.test.", "*.test."]);
        assert_eq!(denied(&mixed(&one, &encloser, &other, &rest), "b.test."), Denied::Nothing);
        // But one that is whole does, with the rest of another before it or behind it.
        assert_eq!(denied(&mixed(&one, &encloser, &other, &whole), "b.test."), Denied::Nxdomain);
        assert_eq!(denied(&mixed(&one, &whole, &other, &encloser), "b.test."), Denied::Nxdomain);
    }
    // NSEC and NSEC3 do not mix either.
    let mut proofs = one.about(&["test.", "*.test."]);
    proofs.push(&name("a.test."), &rdata::Nsec::new(name("c.test."), types(DATA)));
    assert_eq!(denied(&proofs, "b.test."), Denied::Nothing);
}

// DNS-06, SEC-05
#[test]
fn nsec3_iterations_are_limited() {
    let zone = |iterations| zone3(Params { iterations, ..PLAIN }, &[("a.test.", "TXT")]).all();
    let mut hashes = Hashes { left: PLENTY };
    for (iterations, denied, closer, cut) in [
        (100, Denied::Nxdomain, NoCloser::Proven, CutDenial::NotACut),
        (101, Denied::Insecure, NoCloser::Insecure, CutDenial::InsecureCut),
        (500, Denied::Insecure, NoCloser::Insecure, CutDenial::InsecureCut),
        (501, Denied::TooMany, NoCloser::TooMany, CutDenial::TooMany),
    ] {
        let (Given { zone, sets }, name) = (zone(iterations), name("b.test."));
        let before = hashes.left;
        assert_eq!(denies(&zone, &sets, &name, Rtype::TLSA, &mut hashes), denied, "{iterations}");
        assert_eq!(no_closer(&zone, &sets, &name, 1, &mut hashes), closer, "{iterations}");
        assert_eq!(super::cut(&zone, &sets, &name, &mut hashes), cut, "{iterations}");
        assert_eq!(hashes.left < before, iterations <= nsec3::MAX_SECURE_ITERATIONS, "{iterations}");
    }
    // Of two chains the lesser evil, in either order; a chain that proves makes up for both.
    let both = |one: u16, other: u16| {
        let mut proofs = zone(one);
        proofs.sets.nsec3.extend(zone(other).sets.nsec3);
        denied(&proofs, "b.test.")
    };
    assert_eq!(both(501, 200), Denied::Insecure);
    assert_eq!(both(200, 501), Denied::Insecure);
    assert_eq!(both(501, 0), Denied::Nxdomain);
    assert_eq!(both(200, 0), Denied::Nxdomain);
}

// DNS-06, SEC-05
#[test]
fn nsec3_hashes_are_paid_for_once_a_name() {
    let Given { zone, sets } = zone3(Params { iterations: 9, ..PLAIN }, &[("a.test.", "TXT")]).all();
    let spent = |qname: &str| {
        let mut hashes = Hashes { left: PLENTY };
        denies(&zone, &sets, &name(qname), Rtype::TLSA, &mut hashes);
        PLENTY - hashes.left
    };
    // The name alone; the name, the apex and its wildcard; two labels more.
    assert_eq!(spent("a.test."), 10);
    assert_eq!(spent("b.test."), 30);
    assert_eq!(spent("d.c.b.test."), 50);
    let b = name("b.test.");
    let exactly = |left| denies(&zone, &sets, &b, Rtype::TLSA, &mut Hashes { left });
    assert_eq!(exactly(30), Denied::Nxdomain);
    assert_eq!(exactly(29), Denied::TooCostly);
    assert_eq!(no_closer(&zone, &sets, &b, 1, &mut Hashes { left: 10 }), NoCloser::Proven);
    assert_eq!(no_closer(&zone, &sets, &b, 1, &mut Hashes { left: 9 }), NoCloser::TooCostly);
    assert_eq!(cut(&zone, &sets, &b, &mut Hashes { left: 20 }), CutDenial::NotACut);
    assert_eq!(cut(&zone, &sets, &b, &mut Hashes { left: 19 }), CutDenial::TooCostly);
    // NSEC costs nothing.
    let nsec = nsec_of("test.", &[("test.", "test.", APEX)]);
    assert_eq!(denies(&zone, &nsec.sets, &b, Rtype::TLSA, &mut Hashes { left: 0 }), Denied::Nxdomain);
}

// DNS-06
#[test]
fn nsec3_the_last_record_leads_back_to_the_first() {
    // One name: its record covers all others.
    let alone = zone3(PLAIN, &[]);
    assert_eq!(denied(&alone.all(), "b.test."), Denied::Nxdomain);
    assert_eq!(denied(&alone.all(), "test."), Denied::Nodata);
    // Two names: whichever of the two records leads back covers what is outside, the other one what is between.
    let two = zone3(PLAIN, &[("a.test.", "TXT")]);
    let chain = two.chain();
    let hashes: Vec<_> = chain.iter().map(|(of, ..)| hash(of, &PLAIN)).collect();
    let [low, high] = hashes.as_slice() else { panic!("two") };
    let (mut outside, mut between) = (0, 0);
    for candidate in ["b.test.", "c.test.", "d.test.", "e.test.", "f.test.", "g.test.", "h.test.", "i.test."] {
        let of = hash(&name(candidate), &PLAIN);
        let inside = low.as_slice() < of.as_slice() && of.as_slice() < high.as_slice();
        let by = |of: &DnsName| closer(&two.only(|name| name == of), candidate, 1);
        let (yes, no) = (NoCloser::Proven, NoCloser::Nothing);
        assert_eq!(by(&chain[0].0), if inside { yes } else { no }, "{candidate}");
        assert_eq!(by(&chain[1].0), if inside { no } else { yes }, "{candidate}");
        if inside { between += 1 } else { outside += 1 }
    }
    assert!(between > 0 && outside > 0, "both kinds were tried");
}

// DNS-06
#[test]
fn names_as_long_as_names_can_be() {
    let label = "a".repeat(63);
    let long = format!("{label}.{label}.{label}.{}.test.", "a".repeat(56));
    assert_eq!(name(&long).len(), 255);
    let deep = format!("{}test.", "a.".repeat(124));
    assert_eq!(name(&deep).len(), 254);
    for qname in [long, deep] {
        assert_eq!(denied(&nsec_of("test.", &[("test.", "test.", APEX)]), &qname), Denied::Nxdomain);
        assert_eq!(denied(&zone3(PLAIN, &[]).all(), &qname), Denied::Nxdomain);
        assert_eq!(closer(&zone3(PLAIN, &[]).all(), &qname, 1), NoCloser::Proven);
    }
}
