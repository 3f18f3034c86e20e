//! Denials of existence that are made of genuine records.

use dance_testkit::{Denial, Fault, Forged, RecordSet, Rtype, Sign, SignedWorld, Zone};
use domain::base::Name;
use domain::base::iana::Nsec3HashAlgorithm;
use domain::dnssec::common::nsec3_hash;
use domain::rdata::nsec3::Nsec3Salt;

use crate::common::RECORD;
use crate::{Case, NAME, ZONE, check, filled, made_up, soa, world, zone};

const NX: &str = "nx._device.example.test";

fn nsec(zone: &str, name: &str) -> RecordSet {
    RecordSet::of(zone, name, Rtype::NSEC)
}

fn covering(name: &str) -> RecordSet {
    RecordSet::covering(ZONE, name)
}

/// NODATA with these proofs.
fn nodata(zone: &str, proofs: Vec<RecordSet>) -> Fault {
    Fault::Answers(proofs.into_iter().fold(Forged::new().authority(soa(zone)), Forged::authority))
}

/// NXDOMAIN with these proofs.
fn nxdomain(zone: &str, proofs: Vec<RecordSet>) -> Fault {
    Fault::Answers(proofs.into_iter().fold(Forged::new().nxdomain().authority(soa(zone)), Forged::authority))
}

// DNS-01: NSEC records against a name that has the record.
#[tokio::test]
async fn of_an_existing_name() {
    let world = world().start().await.unwrap();
    let before = "alias._device.example.test";
    let cases = vec![
        Case::of("its own NSEC, which has TLSA", NAME, nodata(ZONE, vec![nsec(ZONE, NAME)]), "B"),
        Case::of("an alias's NSEC", NAME, nodata(ZONE, vec![nsec(ZONE, before)]), "B"),
        Case::of("an alias's NSEC under its name", NAME, nodata(ZONE, vec![nsec(ZONE, before).under(NAME)]), "B"),
        Case::of(
            "the NSEC whose next name it is",
            NAME,
            nxdomain(ZONE, vec![covering(NAME), covering("*._device.example.test")]),
            "B",
        ),
        Case::of("the same as NODATA", NAME, nodata(ZONE, vec![covering(NAME)]), "B"),
        Case::of("the parent's NSEC at the cut", NAME, nxdomain("test", vec![nsec("test", ZONE)]), "B"),
        Case::of(
            "the parent's NSEC at the cut, and its apex",
            NAME,
            nxdomain("test", vec![nsec("test", ZONE), nsec("test", "test")]),
            "B",
        ),
        Case::of("the parent's NSEC in the child's name", NAME, nodata(ZONE, vec![nsec("test", ZONE)]), "B"),
        Case::of("a sibling's", NAME, nxdomain("other.test", vec![nsec("other.test", "other.test")]), "B"),
        Case::of(
            "one made by a sibling",
            NAME,
            nodata(
                ZONE,
                vec![
                    RecordSet::text(&format!("{NAME} 60 IN NSEC x.{ZONE}. TXT RRSIG NSEC"))
                        .signed(Sign::by("other.test")),
                ],
            ),
            "B",
        ),
        Case::of("nothing but the SOA", NAME, nodata(ZONE, vec![]), "B"),
        Case::of("nothing but the SOA, NXDOMAIN", NAME, nxdomain(ZONE, vec![]), "B"),
    ];
    check(&world, NAME, "S", cases).await;
    // The control: the zone says that it has no TLSA record, made by hand.
    let denied = RecordSet::text(&format!("{NAME} 60 IN NSEC x.{ZONE}. TXT RRSIG NSEC")).signed(Sign::by(ZONE));
    check(&world, NAME, "S", vec![Case::of("by hand", NAME, nodata(ZONE, vec![denied]), "SN")]).await;

    // An alias is not denied by its own NSEC (RFC 6840 section 4.3).
    let alias = "alias._device.example.test";
    let cases = vec![Case::of("its own NSEC, which has CNAME", alias, nodata(ZONE, vec![nsec(ZONE, alias)]), "B")];
    check(&world, alias, "S", cases).await;
}

// DNS-01: NXDOMAIN takes two proofs: that the name is not there, and that no wildcard is.
#[tokio::test]
async fn of_a_name_that_is_not_there() {
    let world = world().start().await.unwrap();
    let wildcard = || covering("*._device.example.test");
    let cases = vec![
        Case::of("by hand", NX, nxdomain(ZONE, vec![covering(NX), wildcard()]), "SX"),
        Case::of("the other way round", NX, nxdomain(ZONE, vec![wildcard(), covering(NX)]), "SX"),
        Case::of("without the wildcard's", NX, nxdomain(ZONE, vec![covering(NX)]), "B"),
        Case::of("without the name's", NX, nxdomain(ZONE, vec![wildcard()]), "B"),
        Case::of("with another wildcard's", NX, nxdomain(ZONE, vec![covering(NX), covering("*.example.test")]), "SX/B"),
        Case::of("as NODATA", NX, nodata(ZONE, vec![covering(NX), wildcard()]), "B/SN/SX"),
        Case::of("with one more", NX, nxdomain(ZONE, vec![covering(NX), wildcard(), nsec(ZONE, NAME)]), "SX"),
        Case::of(
            "with a sibling's besides",
            NX,
            nxdomain(ZONE, vec![covering(NX), wildcard(), nsec("other.test", "other.test")]),
            "SX",
        ),
    ];
    check(&world, NX, "SX", cases).await;
    // Names that a wildcard would have answered.
    let any = "any._wild.example.test";
    let wild = "*._wild.example.test";
    let cases = vec![
        Case::of("without the wildcard's", any, nxdomain(ZONE, vec![covering(any)]), "B"),
        Case::of("with the wildcard's own", any, nxdomain(ZONE, vec![covering(any), nsec(ZONE, wild)]), "B"),
        Case::of("with the zone's", any, nxdomain(ZONE, vec![covering(any), covering("*.example.test")]), "B"),
        Case::of("NODATA by the wildcard, which has it", any, nodata(ZONE, vec![covering(any), nsec(ZONE, wild)]), "B"),
    ];
    check(&world, any, "S", cases).await;
    // Wildcard NODATA (RFC 4035 section 3.1.3.4).
    let any = "any._text.example.test";
    let text = "*._text.example.test";
    let cases = vec![
        Case::of("by hand", any, nodata(ZONE, vec![covering(any), nsec(ZONE, text)]), "SN"),
        Case::of("without the name's", any, nodata(ZONE, vec![nsec(ZONE, text)]), "SN/B"),
        Case::of("without the wildcard's", any, nodata(ZONE, vec![covering("zz._text.example.test")]), "B"),
    ];
    check(&world, any, "SN", cases).await;
}

// DNS-07: what a wildcard is good for, and what a record that came out of one is not.
#[tokio::test]
async fn wildcards() {
    let world = world().start().await.unwrap();
    let wild = || RecordSet::of(ZONE, "*._wild.example.test", Rtype::TLSA);
    let expanded = |name: &str, proofs: Vec<RecordSet>| {
        Fault::Answers(proofs.into_iter().fold(Forged::new().answer(wild().under(name)), Forged::authority))
    };
    // A name that exists, at which the wildcard would have had its place.
    let exact = "exact._wild.example.test";
    let cases = vec![
        Case::of("without proof", exact, expanded(exact, vec![]), "B"),
        Case::of("its own NSEC", exact, expanded(exact, vec![nsec(ZONE, exact)]), "B"),
        Case::of("the NSEC before it", exact, expanded(exact, vec![covering(exact)]), "B"),
        Case::of(
            "a genuine one of another name",
            exact,
            expanded(exact, vec![covering("any._wild.example.test")]),
            "B",
        ),
    ];
    check(&world, exact, "S", cases).await;
    // Below a name that exists the wildcard has none: `exact` is closer.
    let below = "x.exact._wild.example.test";
    let cases = vec![
        Case::of("the NSEC that covers it", below, expanded(below, vec![covering(below)]), "B"),
        Case::of(
            "with the one that covers others",
            below,
            expanded(below, vec![covering(below), covering("any._wild.example.test")]),
            "B",
        ),
    ];
    check(&world, below, "SX", cases).await;
    // Elsewhere than below it: signature and label count do not fit.
    let cases = vec![Case::of("beside", NX, expanded(NX, vec![covering(NX)]), "B")];
    check(&world, NX, "SX", cases).await;
    // Asked for by itself.
    let any = "any._wild.example.test";
    let cases = vec![
        Case::of("by hand", any, expanded(any, vec![covering(any)]), "S"),
        Case::of("not under its name", any, Fault::Answers(Forged::new().answer(wild())), "B/T"),
        Case::of("the parent's NSEC", any, expanded(any, vec![nsec("test", ZONE)]), "B"),
        Case::of("an unsigned NSEC", any, expanded(any, vec![covering(any).unsigned()]), "B"),
        Case::of("a deeper name's", any, expanded(any, vec![covering("a.exact._wild.example.test")]), "B"),
    ];
    check(&world, any, "S", cases).await;

    // An NSEC that was itself synthesised denies nothing: that of `*._text` has no TLSA, and `exact._text` has.
    let exact = "exact._text.example.test";
    let forged = nsec(ZONE, "*._text.example.test").under(exact);
    let cases = vec![
        Case::of("a synthesised NSEC", exact, nodata(ZONE, vec![forged.clone()]), "B"),
        Case::of("with the one before", exact, nodata(ZONE, vec![forged, covering(exact)]), "B"),
    ];
    check(&world, exact, "S", cases).await;
}

// DNS-01: above a cut and below a DNAME an NSEC or NSEC3 says nothing of what lies below (RFC 6840 section 4.1).
#[tokio::test]
async fn across_cuts() {
    for denial in [Denial::Nsec, Denial::nsec3()] {
        let proof = if denial == Denial::Nsec { Rtype::NSEC } else { Rtype::NSEC3 };
        let (parent, child) = ("up.test", "child.up.test");
        let world = SignedWorld::builder()
            .zone(Zone::new("test"))
            .zone(filled(Zone::new(parent)).denial(denial).dname("tree.up.test", "_device.up.test", 300))
            .zone(zone(child).tlsa(child, RECORD, 300))
            .start()
            .await
            .unwrap();
        let own = |name: &str| RecordSet::of(parent, name, proof);
        let cover = |name: &str| RecordSet::covering(parent, name);
        let name = "dev1._device.child.up.test";
        let cases = vec![
            Case::of(
                "NXDOMAIN from above",
                name,
                nxdomain(parent, vec![own(child), cover("_device.child.up.test"), cover("*.child.up.test")]),
                "B",
            ),
            Case::of("NODATA from above", name, nodata(parent, vec![own(child)]), "B"),
            Case::of(
                "NXDOMAIN by what covers the name itself",
                name,
                nxdomain(parent, vec![own(parent), cover(name), cover("*.up.test"), cover("*.child.up.test")]),
                "B",
            ),
        ];
        check(&world, name, "S", cases).await;
        let cases = vec![Case::of("NODATA from above", child, nodata(parent, vec![own(child)]), "B")];
        check(&world, child, "S", cases).await;
        let name = "dev1.tree.up.test";
        let tree = "tree.up.test";
        let cases = vec![
            Case::of(
                "below a DNAME",
                name,
                nxdomain(parent, vec![own(tree), cover(name), cover("*.tree.up.test")]),
                "B",
            ),
            Case::of("NODATA below a DNAME", name, nodata(parent, vec![own(tree)]), "B"),
        ];
        check(&world, name, "S", cases).await;
    }
}

/// An NSEC3 record of `zone` made by hand: for the hash of `name`, up to the hash of `next`.
fn nsec3(zone: &str, name: &str, next: &str, fields: (u8, u8, u16, &str), types: &str) -> RecordSet {
    let (algorithm, flags, iterations, salt) = fields;
    let octets = if salt == "-" { Vec::new() } else { domain::utils::base16::decode(salt).unwrap() };
    let octets = Nsec3Salt::from_octets(octets).unwrap();
    let hash = |name: &str| {
        let name: Name<Vec<u8>> = format!("{name}.").parse().unwrap();
        nsec3_hash::<_, _, Vec<u8>>(&name, Nsec3HashAlgorithm::SHA1, iterations, &octets).unwrap().to_string()
    };
    let text = format!(
        "{}.{zone} 60 IN NSEC3 {algorithm} {flags} {iterations} {salt} {} {types}",
        hash(name).to_lowercase(),
        hash(next)
    );
    RecordSet::text(&text).signed(Sign::by(zone))
}

// DNS-01: NSEC3 records that do not belong together, or that nobody can read.
#[tokio::test]
async fn of_hashed_names() {
    let (zone_name, name) = ("n3.test", "dev1._device.n3.test");
    let nodata_name = "nodata._device.n3.test";
    let nx = "nx._device.n3.test";
    let world = crate::neighbours().zone(zone(zone_name).denial(Denial::nsec3())).start().await.unwrap();
    let own = |name: &str| RecordSet::of(zone_name, name, Rtype::NSEC3);
    let cover = |name: &str| RecordSet::covering(zone_name, name);
    let by_hand = |fields, types| nsec3(zone_name, nodata_name, name, fields, types);
    let plain = (1, 0, 0, "-");
    let cases = vec![
        Case::of("genuine", nodata_name, nodata(zone_name, vec![own(nodata_name)]), "SN"),
        Case::of("by hand", nodata_name, nodata(zone_name, vec![by_hand(plain, "TXT RRSIG")]), "SN"),
        Case::of(
            "with another salt",
            nodata_name,
            nodata(zone_name, vec![by_hand((1, 0, 0, "AABB"), "TXT RRSIG")]),
            "SN",
        ),
        Case::of("which has it", nodata_name, nodata(zone_name, vec![by_hand(plain, "TLSA RRSIG")]), "B"),
        Case::of("which has an alias", nodata_name, nodata(zone_name, vec![by_hand(plain, "CNAME RRSIG")]), "B"),
        Case::of("of a cut", nodata_name, nodata(zone_name, vec![by_hand(plain, "NS RRSIG")]), "B"),
        Case::of("of an unknown hash", nodata_name, nodata(zone_name, vec![by_hand((2, 0, 0, "-"), "TXT RRSIG")]), "B"),
        Case::of("with unknown flags", nodata_name, nodata(zone_name, vec![by_hand((1, 2, 0, "-"), "TXT RRSIG")]), "B"),
        Case::of("unsigned", nodata_name, nodata(zone_name, vec![own(nodata_name).unsigned()]), "B"),
        Case::of(
            "by a sibling",
            nodata_name,
            nodata(zone_name, vec![own(nodata_name).unsigned().signed(Sign::by("other.test"))]),
            "B",
        ),
        Case::of("150 iterations", nodata_name, nodata(zone_name, vec![by_hand((1, 0, 150, "-"), "TXT RRSIG")]), "I"),
        Case::of("501 iterations", nodata_name, nodata(zone_name, vec![by_hand((1, 0, 501, "-"), "TXT RRSIG")]), "B"),
        Case::of("another name's", nodata_name, nodata(zone_name, vec![own(name)]), "B"),
    ];
    check(&world, nodata_name, "SN", cases).await;

    // NXDOMAIN takes three: the closest encloser, the next closer name, and the wildcard.
    let encloser = "_device.n3.test";
    let wildcard = "*._device.n3.test";
    let salted = |a: &str, b: &str| nsec3(zone_name, a, b, (1, 0, 0, "AABB"), "TXT RRSIG");
    let cases = vec![
        Case::of("genuine", nx, nxdomain(zone_name, vec![own(encloser), cover(nx), cover(wildcard)]), "SX"),
        Case::of(
            "without the wildcard's",
            nx,
            {
                // One record may cover both.
                nxdomain(zone_name, vec![own(encloser), cover(nx)])
            },
            "B/SX",
        ),
        Case::of("without the encloser's", nx, nxdomain(zone_name, vec![cover(nx), cover(wildcard)]), "B/SX"),
        Case::of("nothing but the encloser's", nx, nxdomain(zone_name, vec![own(encloser)]), "B/SX"),
        Case::of(
            "with others of another salt before them",
            nx,
            nxdomain(zone_name, vec![salted(name, nx), own(encloser), cover(nx), cover(wildcard)]),
            "SX/B",
        ),
        Case::of(
            "with others of another salt after them",
            nx,
            nxdomain(zone_name, vec![own(encloser), cover(nx), cover(wildcard), salted(name, nx)]),
            "SX/B",
        ),
        Case::of(
            "the encloser by another salt",
            nx,
            nxdomain(zone_name, vec![salted(encloser, name), cover(nx), cover(wildcard)]),
            "B/SX",
        ),
        Case::of(
            "above the true encloser",
            nx,
            nxdomain(zone_name, vec![own(zone_name), cover(nx), cover("*.n3.test")]),
            "B/SX",
        ),
    ];
    check(&world, nx, "SX", cases).await;
    // A name that is there is not denied by any of them.
    let cases = vec![
        Case::of(
            "as if it were not there",
            name,
            nxdomain(zone_name, vec![own(encloser), cover(nx), cover(wildcard)]),
            "B",
        ),
        Case::of("its own", name, nxdomain(zone_name, vec![own(encloser), own(name), cover(wildcard)]), "B"),
        Case::of(
            "the one before it",
            name,
            nxdomain(zone_name, vec![own(encloser), cover(name), cover(wildcard)]),
            "B",
        ),
        Case::of("NODATA by its own", name, nodata(zone_name, vec![own(name)]), "B"),
        Case::of(
            "NODATA by another salt that has it",
            name,
            nodata(zone_name, vec![nsec3(zone_name, name, nx, (1, 0, 0, "AABB"), "TLSA")]),
            "B",
        ),
        Case::of("unsigned", name, nodata(zone_name, vec![own(name).unsigned()]), "B"),
    ];
    check(&world, name, "S", cases).await;
}

// DNS-01: the code of a reply is not signed; what is in it has to fit it.
#[tokio::test]
async fn codes() {
    let world = world().start().await.unwrap();
    let tlsa = || RecordSet::of(ZONE, NAME, Rtype::TLSA);
    let cases = vec![
        Case::of("records and NXDOMAIN", NAME, Fault::Answers(Forged::new().nxdomain().answer(tlsa())), "B/T/S"),
        Case::of(
            "records and a denial",
            NAME,
            Fault::Answers(
                Forged::new().answer(tlsa()).authority(soa(ZONE)).authority(nsec(ZONE, "nodata._device.example.test")),
            ),
            "S",
        ),
        Case::of(
            "unsigned records and a denial",
            NAME,
            Fault::Answers(Forged::new().nxdomain().answer(made_up(NAME)).authority(soa(ZONE)).authority(covering(NX))),
            "B/T",
        ),
    ];
    check(&world, NAME, "S", cases).await;
    let nodata_name = "nodata._device.example.test";
    let cases = vec![
        Case::of(
            "NXDOMAIN for a name without TLSA",
            nodata_name,
            nxdomain(ZONE, vec![nsec(ZONE, nodata_name)]),
            "SN/B",
        ),
        Case::of(
            "without the SOA",
            nodata_name,
            Fault::Answers(Forged::new().authority(nsec(ZONE, nodata_name))),
            "SN/B/T",
        ),
        Case::of(
            "with an unsigned SOA",
            nodata_name,
            Fault::Answers(Forged::new().authority(soa(ZONE).unsigned()).authority(nsec(ZONE, nodata_name))),
            "SN/B",
        ),
        Case::of(
            "with another zone's SOA",
            nodata_name,
            Fault::Answers(Forged::new().authority(soa("other.test")).authority(nsec(ZONE, nodata_name))),
            "SN/B",
        ),
    ];
    check(&world, nodata_name, "SN", cases).await;
}
