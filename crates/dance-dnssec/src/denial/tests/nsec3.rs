use std::collections::BTreeSet;

use super::*;
use crate::denial::nsec3::MAX_SECURE_ITERATIONS;

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
    // Names above the zone are not in it, and none of its affair.
    let mut deep = Given::new("a.test.");
    for (_, owner, record) in chain(&deep.zone.clone(), &[(name("a.test."), types("NS SOA"))], &PLAIN) {
        deep.push(&owner, &record);
    }
    assert_eq!(closer(&deep, "x.a.test.", 2), NoCloser::Proven);
    assert_eq!(closer(&deep, "x.a.test.", 1), NoCloser::Nothing);
    assert_eq!(closer(&deep, "x.a.test.", 0), NoCloser::Nothing);
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
    // The closest encloser's record, and one that covers all there is but is nobody's.
    let nobodys = name(&format!("{}.test.", "0".repeat(32)));
    let with_cover = |mut given: Given, params: &Params| {
        let next = OwnerHash::from_octets(Bytes::from_static(&[0xff; 20])).unwrap();
        let (algorithm, salt) = (Nsec3HashAlgorithm::SHA1, salt(params));
        given.push(&nobodys, &rdata::Nsec3::new(algorithm, 0, params.iterations, salt, next, types("TXT")));
        given
    };
    let (iterations, salt) = (Params { iterations: 1, ..PLAIN }, Params { salt: b"1", ..PLAIN });
    let encloser = |params: &Params| zone3(params.clone(), POPULOUS).only(|owner| *owner == name("test."));
    for (one, other) in [(PLAIN, iterations.clone()), (PLAIN, salt.clone()), (salt, iterations)] {
        assert_eq!(denied(&with_cover(encloser(&one), &one), "b.test."), Denied::Nxdomain);
        assert_eq!(denied(&with_cover(encloser(&one), &other), "b.test."), Denied::Nothing);
        assert_eq!(cut_at(&with_cover(encloser(&one), &other), "b.test."), CutDenial::Nothing);
        // A chain that is whole proves, whatever comes before it or behind it.
        let mut given = with_cover(encloser(&one), &other);
        given = with_cover(given, &one);
        assert_eq!(denied(&given, "b.test."), Denied::Nxdomain);
        let given = with_cover(with_cover(Given::new("test."), &other), &one);
        assert_eq!(denied(&given, "b.test."), Denied::Nothing);
    }
    // NSEC and NSEC3 do not mix either.
    let mut given = encloser(&PLAIN);
    given.push(&name("a.test."), &rdata::Nsec::new(name("z.test."), types(DATA)));
    assert_eq!(denied(&given, "b.test."), Denied::Nothing);
}

// DNS-06, SEC-05
#[test]
fn nsec3_iterations_are_limited() {
    let zone = |iterations| zone3(Params { iterations, ..PLAIN }, &[("a.test.", "TXT")]).all();
    let mut hashes = Hashes { left: PLENTY };
    for (iterations, denied, closer, cut) in [
        (100, Denied::Nxdomain, NoCloser::Proven, CutDenial::NotACut),
        (101, Denied::Insecure, NoCloser::Insecure, CutDenial::Unhashed),
        (500, Denied::Insecure, NoCloser::Insecure, CutDenial::Unhashed),
        (501, Denied::TooMany, NoCloser::TooMany, CutDenial::TooMany),
    ] {
        let (Given { zone, sets }, name) = (zone(iterations), name("b.test."));
        let before = hashes.left;
        assert_eq!(denies(&zone, &sets, &name, Rtype::TLSA, &mut hashes), denied, "{iterations}");
        assert_eq!(no_closer(&zone, &sets, &name, 1, &mut hashes), closer, "{iterations}");
        assert_eq!(super::cut(&zone, &sets, &name, &mut hashes), cut, "{iterations}");
        assert_eq!(hashes.left < before, iterations <= MAX_SECURE_ITERATIONS, "{iterations}");
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
