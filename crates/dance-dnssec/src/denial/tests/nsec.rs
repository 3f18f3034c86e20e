use super::*;

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
    // Records of two times: the one has the wildcard, the other not even the name above it. Neither shows the name to be absent.
    let now = ("0.test.", "z.test.", DATA);
    assert_eq!(denied(&nsec_of("test.", &[wild, now]), "c.b.a.test."), Denied::Nothing);
    // Here only the next name tells: `!` comes before `*`.
    assert_eq!(denied(&nsec_of("test.", &[apex, until]), "!.b.a.test."), Denied::Nothing);
    assert_eq!(denied(&nsec_of("test.", &[apex, until]), "!.a.test."), Denied::Nxdomain);
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
    // One that is itself the next name exists, with types that this record does not know.
    let next = nsec_of("test.", &[("!.test.", "*.test.", DATA), cover]);
    assert_eq!(denied(&next, "b.test."), Denied::Nothing);
    let cname = nsec_of("test.", &[("!.test.", "*.test.", DATA), ("*.test.", "c.test.", "CNAME")]);
    assert_eq!(denied(&cname, "b.test."), Denied::Nothing);
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
    // Nor does the last record cover what comes behind the zone.
    let last = nsec_of("test.", &[("test.", "test.", APEX)]);
    assert_eq!(denied(&last, "z.test."), Denied::Nxdomain);
    assert_eq!(denied(&last, "z.zest."), Denied::Nothing);
    assert_eq!(closer(&last, "z.zest.", 1), NoCloser::Nothing);
    assert_eq!(cut_at(&last, "z.zest."), CutDenial::Nothing);
    // Not even where the wildcard beside the zone comes behind it, too.
    let first = nsec_of("!.test.", &[("!.test.", "!.test.", APEX)]);
    assert_eq!(denied(&first, "z.!.test."), Denied::Nxdomain);
    assert_eq!(denied(&first, "z.test."), Denied::Nothing);
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
    // Not even if its record forgets the SOA.
    let forgetful = nsec_of("cut.test.", &[("cut.test.", "z.cut.test.", DATA)]);
    assert_eq!(denied(&forgetful, "cut.test."), Denied::Nodata);
    assert_eq!(denied_ds(&forgetful, "cut.test."), Denied::Nothing);
    assert_eq!(cut_at(&forgetful, "cut.test."), CutDenial::Nothing);
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
    // Neither the name nor the one above it exists, so the wildcard does not either: the zone had it at another time.
    let gone = nsec_of("test.", &[("test.", "z.test.", APEX)]);
    assert_eq!(closer(&gone, "b.wild.test.", 2), NoCloser::Nothing);
    assert_eq!(closer(&gone, "b.wild.test.", 1), NoCloser::Proven);
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

// DNS-06: answers made for each question (RFC 4470, RFC 9824).
#[test]
fn records_made_on_the_spot() {
    // Here a name that does not exist is said to have nothing, which comes to the same.
    let compact = nsec_of("test.", &[("nx.test.", r"\000.nx.test.", "RRSIG NSEC TYPE128")]);
    assert_eq!(denied(&compact, "nx.test."), Denied::Nodata);
    assert_eq!(cut_at(&compact, "nx.test."), CutDenial::NotACut);
    assert_eq!(denied(&compact, "x.nx.test."), Denied::Nothing);
    let narrow = [("nw~.test.", "nx!.test.", "RRSIG NSEC"), (r"\)~.test.", "*!.test.", "RRSIG NSEC")];
    assert_eq!(denied(&nsec_of("test.", &narrow), "nx.test."), Denied::Nxdomain);
    assert_eq!(closer(&nsec_of("test.", &narrow), "nx.test.", 1), NoCloser::Proven);
    assert_eq!(denied(&nsec_of("test.", &narrow[..1]), "nx.test."), Denied::Nothing);
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
