//! Usage 2, and the path rules that it shares with usages 0 and 1.

use dance_core::matching::Conclusion;
use dance_core::x509::Certificate;
use dance_core::{CertificateDer, UnixTime};
use rcgen::{
    BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints,
    date_time_ymd,
};

use crate::authority::{Authority, NAME, NOW, Question, dns, record};

/// Root, intermediate, and the intermediate's end entity.
fn three() -> (Authority, Authority, CertificateDer<'static>) {
    let root = Authority::root("Root");
    let sub = root.sub("Intermediate");
    let leaf = sub.leaf();
    (root, sub, leaf)
}

// TLSA-06, TLSA-26
#[test]
fn the_anchor_may_stand_at_any_depth_above_the_end_entity() {
    let (root, sub, leaf) = three();
    let question = Question::chain([&leaf, &sub.der, &root.der]);
    for (selector, matching_type) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
        assert_eq!(question.matched(&[record(2, selector, matching_type, &root.der)]).depth, 2);
        assert_eq!(question.matched(&[record(2, selector, matching_type, &sub.der)]).depth, 1);
        assert_eq!(question.code(record(2, selector, matching_type, &leaf)), "no-match");
    }
}

// TLSA-26
#[test]
fn order_and_strangers_do_not_matter() {
    let (root, sub, leaf) = three();
    let stranger = Authority::root("Stranger");
    let namesake = Authority::root("Root");
    let rubbish = CertificateDer::from(b"no certificate".to_vec());
    let wanted = || record(2, 0, 1, &root.der);
    let chains: [&[&CertificateDer<'static>]; 5] = [
        &[&leaf, &root.der, &sub.der],
        &[&leaf, &stranger.der, &sub.der, &root.der],
        &[&leaf, &rubbish, &root.der, &rubbish, &sub.der],
        &[&leaf, &namesake.der, &root.der, &sub.der, &sub.der, &leaf],
        &[&leaf, &leaf, &sub.der, &root.der],
    ];
    for chain in chains {
        assert_eq!(Question::chain(chain.iter().copied()).matched(&[wanted()]).depth, 2);
    }
    assert_eq!(Question::chain([&leaf, &root.der]).code(wanted()), "path-no-issuer");
    assert_eq!(Question::chain([&leaf, &namesake.der, &sub.der]).code(wanted()), "no-match");
}

// TLSA-07
#[test]
fn a_certificate_in_dns_need_not_be_presented() {
    let (root, sub, leaf) = three();
    assert_eq!(Question::chain([&leaf, &sub.der]).matched(&[record(2, 0, 0, &root.der)]).depth, 2);
    assert_eq!(Question::chain([&leaf]).matched(&[record(2, 0, 0, &sub.der)]).depth, 1);
    assert_eq!(Question::chain([&leaf]).code(record(2, 0, 0, &root.der)), "path-no-issuer");
}

// TLSA-08
#[test]
fn a_key_in_dns_need_not_be_presented() {
    let (root, sub, leaf) = three();
    assert_eq!(Question::chain([&leaf, &sub.der]).matched(&[record(2, 1, 0, &root.der)]).depth, 2);
    assert_eq!(Question::chain([&leaf]).matched(&[record(2, 1, 0, &sub.der)]).depth, 1);
    // The leaf's issuer is not the root.
    assert_eq!(Question::chain([&leaf]).code(record(2, 1, 0, &root.der)), "path-signature");
    assert_eq!(Question::chain([&leaf]).code(record(2, 1, 0, &Authority::root("Intermediate").der)), "path-signature");
}

// TLSA-08, TLSA-12
#[test]
fn a_key_whose_certificate_is_presented_is_bound_to_it() {
    let root = Authority::root_with("Root", |params| params.not_after = date_time_ymd(2029, 1, 1));
    let leaf = root.leaf();
    let wanted = || record(2, 1, 0, &root.der);
    assert_eq!(Question::chain([&leaf, &root.der]).code(wanted()), "path-expired");
    assert_eq!(Question::chain([&leaf]).code(wanted()), "matched");
}

// TLSA-09
#[test]
fn a_digest_alone_is_no_anchor() {
    let (root, sub, leaf) = three();
    for (selector, matching_type) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
        let absent = Question::chain([&leaf, &sub.der]);
        assert_eq!(absent.code(record(2, selector, matching_type, &root.der)), "no-match");
    }
}

// TLSA-10, TLSA-25, SRV-13
#[test]
fn the_name_must_be_one_of_the_certificates_names() {
    let root = Authority::root("Root");
    let leaf = root.leaf_with(|params| params.subject_alt_names = dns(&["device1.example.com", "Device2.EXAMPLE.com"]));
    let ask = |name: &str| Question::chain([&leaf, &root.der]).with_name(name).code(record(2, 0, 1, &root.der));
    assert_eq!(ask("device1.example.com"), "matched");
    assert_eq!(ask("device2.example.com"), "matched");
    assert_eq!(ask("device3.example.com"), "name-mismatch");
    assert_eq!(ask("a.device1.example.com"), "name-mismatch");
    assert_eq!(ask("example.com"), "name-mismatch");
}

// TLSA-24
#[test]
fn neither_subject_nor_wildcard_is_a_name() {
    let root = Authority::root("Root");
    let ask = |names: &[&str]| {
        let leaf = root.leaf_with(|params| {
            params.subject_alt_names = dns(names);
            params.distinguished_name.push(rcgen::DnType::CommonName, NAME);
        });
        Question::chain([&leaf, &root.der]).code(record(2, 0, 1, &root.der))
    };
    assert_eq!(ask(&[NAME]), "matched");
    assert_eq!(ask(&[]), "name-mismatch");
    assert_eq!(ask(&["*.example.com"]), "name-mismatch");
    assert_eq!(ask(&["**.example.com"]), "name-mismatch");
    assert_eq!(ask(&["device1.example.com."]), "name-mismatch");
    assert_eq!(ask(&["device1.example.com\0.evil.example"]), "name-mismatch");
}

// TLSA-11, TLSA-12
#[test]
fn every_certificate_of_the_path_must_be_in_date() {
    let past = |params: &mut rcgen::CertificateParams| params.not_after = date_time_ymd(2029, 12, 31);
    let future = |params: &mut rcgen::CertificateParams| params.not_before = date_time_ymd(2030, 1, 2);
    for (change, code) in [(past as fn(&mut _), "path-expired"), (future, "path-not-yet-valid")] {
        let (root, sub, leaf) = three();
        let bad_root = Authority::root_with("Root", change);
        let bad_sub = root.sub_with("Intermediate", change);
        let ask = |leaf: &_, sub: &_, root: &_| Question::chain([leaf, sub, root]).code(record(2, 0, 1, root));
        assert_eq!(ask(&leaf, &sub.der, &root.der), "matched", "control");
        assert_eq!(ask(&sub.leaf_with(change), &sub.der, &root.der), code, "end entity");
        assert_eq!(ask(&bad_sub.leaf(), &bad_sub.der, &root.der), code, "intermediate");
        let below_bad_root = bad_root.sub("Intermediate");
        assert_eq!(ask(&below_bad_root.leaf(), &below_bad_root.der, &bad_root.der), code, "trust anchor");
        assert_eq!(
            Question::chain([&below_bad_root.leaf(), &below_bad_root.der]).code(record(2, 0, 0, &bad_root.der)),
            code,
            "trust anchor in DNS"
        );
    }
}

// TLSA-11
#[test]
fn dates_are_inclusive_and_the_earliest_end_is_reported() {
    let root = Authority::root_with("Root", |params| params.not_after = date_time_ymd(2031, 1, 1));
    let sub = root.sub_with("Intermediate", |params| params.not_after = date_time_ymd(2030, 6, 1));
    let leaf = sub.leaf_with(|params| params.not_before = date_time_ymd(2030, 1, 1));
    let mut question = Question::chain([&leaf, &sub.der, &root.der]);
    let wanted = [record(2, 0, 1, &root.der)];
    let june = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_906_502_400));
    assert_eq!(question.matched(&wanted).not_after, Some(june));
    let at = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    for (now, code) in [
        (at(NOW.as_secs() - 1), "path-not-yet-valid"),
        (NOW, "matched"),
        (june, "matched"),
        (at(june.as_secs() + 1), "path-expired"),
    ] {
        question.now = now;
        assert_eq!(question.code(wanted[0].clone()), code);
    }
}

// TLSA-15
#[test]
fn an_issuer_is_a_ca_that_may_sign_certificates() {
    let (root, ..) = three();
    let ask = |change: fn(&mut rcgen::CertificateParams)| {
        let sub = root.sub_with("Intermediate", change);
        let intermediate = Question::chain([&sub.leaf(), &sub.der, &root.der]).code(record(2, 0, 1, &root.der));
        let top = Authority::root_with("Top", change);
        let anchor = Question::chain([&top.leaf(), &top.der]).code(record(2, 0, 1, &top.der));
        let in_dns = Question::chain([&top.leaf()]).code(record(2, 0, 0, &top.der));
        assert_eq!(anchor, in_dns);
        (intermediate, anchor)
    };
    assert_eq!(ask(|_| {}), ("matched", "matched"));
    assert_eq!(ask(|params| params.is_ca = IsCa::ExplicitNoCa), ("path-not-ca", "path-not-ca"));
    assert_eq!(ask(|params| params.is_ca = IsCa::NoCa), ("path-not-ca", "path-not-ca"));
    assert_eq!(ask(|params| params.key_usages.clear()), ("matched", "matched"));
    assert_eq!(
        ask(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
        ("path-key-usage", "path-key-usage")
    );
}

// TLSA-15
#[test]
fn an_end_entity_is_no_ca_and_may_sign() {
    let root = Authority::root("Root");
    let ask = |change: fn(&mut rcgen::CertificateParams)| {
        Question::chain([&root.leaf_with(change), &root.der]).code(record(2, 0, 1, &root.der))
    };
    assert_eq!(ask(|_| {}), "matched");
    assert_eq!(ask(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "path-ca-as-end-entity");
    assert_eq!(ask(|params| params.key_usages.clear()), "matched");
    assert_eq!(ask(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]), "path-key-usage");
}

// TLSA-13
#[test]
fn path_lengths_of_intermediates_and_anchor_hold() {
    let limited = |len| {
        move |params: &mut rcgen::CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(len));
        }
    };
    for (anchor, middle, code) in [(1, 0, "matched"), (2, 9, "matched"), (0, 0, "path-length")] {
        let root = Authority::root_with("Root", limited(anchor));
        let sub = root.sub_with("Intermediate", limited(middle));
        let leaf = sub.leaf();
        assert_eq!(Question::chain([&leaf, &sub.der, &root.der]).code(record(2, 0, 1, &root.der)), code);
        assert_eq!(Question::chain([&leaf, &sub.der]).code(record(2, 0, 0, &root.der)), code);
        // The path ends at the anchor, so only what lies below counts.
        assert_eq!(Question::chain([&leaf, &sub.der, &root.der]).code(record(2, 0, 1, &sub.der)), "matched");
    }
    let root = Authority::root("Root");
    let first = root.sub_with("First", limited(0));
    let second = first.sub("Second");
    let question = Question::chain([&second.leaf(), &second.der, &first.der, &root.der]);
    assert_eq!(question.code(record(2, 0, 1, &root.der)), "path-length", "an intermediate's");
}

// TLSA-13
#[test]
fn name_constraints_of_intermediates_and_anchor_hold() {
    let within = |domain: &'static str| {
        move |params: &mut rcgen::CertificateParams| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::DnsName(domain.to_owned())],
                excluded_subtrees: Vec::new(),
            });
        }
    };
    for (domain, code) in [("example.com", "matched"), ("example.net", "path-name-constraints")] {
        let root = Authority::root_with("Root", within(domain));
        let sub = root.sub("Intermediate");
        let leaf = sub.leaf();
        assert_eq!(Question::chain([&leaf, &sub.der, &root.der]).code(record(2, 0, 1, &root.der)), code, "anchor");
        assert_eq!(Question::chain([&leaf, &sub.der]).code(record(2, 0, 0, &root.der)), code, "anchor in DNS");
        let root = Authority::root("Root");
        let sub = root.sub_with("Intermediate", within(domain));
        let question = Question::chain([&sub.leaf(), &sub.der, &root.der]);
        assert_eq!(question.code(record(2, 0, 1, &root.der)), code, "intermediate");
    }
    // Labels with underscores are names like others.
    let root = Authority::root_with("Root", within("_device.example.com"));
    let leaf = root.leaf_with(|params| params.subject_alt_names = dns(&["s7._device.example.com"]));
    let question = Question::chain([&leaf, &root.der]).with_name("s7._device.example.com");
    assert_eq!(question.code(record(2, 0, 1, &root.der)), "matched");
}

// TLSA-27
#[test]
fn an_extended_key_usage_must_allow_clients() {
    let root = Authority::root("Root");
    let ask = |purposes: &[ExtendedKeyUsagePurpose]| {
        let leaf = root.leaf_with(|params| params.extended_key_usages = purposes.to_vec());
        Question::chain([&leaf, &root.der]).code(record(2, 0, 1, &root.der))
    };
    assert_eq!(ask(&[ExtendedKeyUsagePurpose::ClientAuth]), "matched");
    assert_eq!(ask(&[ExtendedKeyUsagePurpose::Any]), "matched");
    assert_eq!(ask(&[]), "matched");
    assert_eq!(ask(&[ExtendedKeyUsagePurpose::ServerAuth]), "path-extended-key-usage");
    // An issuer for servers only does not make clients, intermediate or anchor.
    let servers = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    let sub = root.sub_with("Intermediate", servers);
    let question = Question::chain([&sub.leaf(), &sub.der, &root.der]);
    assert_eq!(question.code(record(2, 0, 1, &root.der)), "path-extended-key-usage");
    assert_eq!(question.code(record(2, 0, 1, &sub.der)), "path-extended-key-usage");
}

// TLSA-13
#[test]
fn a_critical_extension_that_nobody_understands_ends_a_path() {
    let unknown = |params: &mut rcgen::CertificateParams| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions.push(unknown);
    };
    let root = Authority::root("Root");
    let odd_root = Authority::root_with("Odd", unknown);
    let odd_sub = root.sub_with("Intermediate", unknown);
    let ask = |chain: &[&CertificateDer<'static>]| {
        let record = record(2, 0, 1, chain.last().unwrap());
        Question::chain(chain.iter().copied()).code(record)
    };
    assert_eq!(ask(&[&root.leaf(), &root.der]), "matched");
    assert_eq!(ask(&[&root.leaf_with(unknown), &root.der]), "path-critical-extension");
    assert_eq!(ask(&[&odd_sub.leaf(), &odd_sub.der, &root.der]), "path-critical-extension");
    assert_eq!(ask(&[&odd_root.leaf(), &odd_root.der]), "path-critical-extension");
}

// TLSA-28
#[test]
fn broken_digests_are_refused_whatever_signed_with_them() {
    let file = |octets: &'static [u8]| CertificateDer::from(octets);
    let root = file(include_bytes!("../data/root.der"));
    let ask = |leaf: &CertificateDer<'static>, root| Question::chain([leaf, root]).code(record(2, 0, 1, root));
    assert_eq!(ask(&file(include_bytes!("../data/leaf-sha256.der")), &root), "matched");
    assert_eq!(ask(&file(include_bytes!("../data/leaf-pss-sha256.der")), &root), "matched");
    for weak in [
        file(include_bytes!("../data/leaf-sha1.der")),
        file(include_bytes!("../data/leaf-md5.der")),
        file(include_bytes!("../data/leaf-pss-sha1.der")),
    ] {
        assert!(Certificate::parse(&weak).unwrap().has_broken_digest().unwrap());
        assert_eq!(ask(&weak, &root), "path-signature-algorithm");
    }
    let root = file(include_bytes!("../data/root-ec.der"));
    assert_eq!(ask(&file(include_bytes!("../data/leaf-ec-sha1.der")), &root), "path-signature-algorithm");
}

// TLSA-15
#[test]
fn a_version_1_certificate_cannot_say_that_it_is_a_ca() {
    let root = CertificateDer::from(include_bytes!("../data/root-v1.der").as_slice());
    let leaf = CertificateDer::from(include_bytes!("../data/leaf-under-v1.der").as_slice());
    assert_eq!(Question::chain([&leaf, &root]).code(record(2, 0, 1, &root)), "path-not-ca");
    assert_eq!(Question::chain([&leaf]).code(record(2, 0, 0, &root)), "path-not-ca");
    // A bare key says nothing of itself, and need not.
    assert_eq!(Question::chain([&leaf]).code(record(2, 1, 0, &root)), "matched");
}

// TLSA-31
#[test]
fn another_organisations_ca_proves_nothing_at_our_name() {
    let ours = Authority::root("Organisation A");
    let record_of_ours = || [record(2, 0, 1, &ours.der)];
    // B names itself as it likes, A included, and knows A's certificate, which is public.
    for theirs in [Authority::root("Organisation B"), Authority::root("Organisation A")] {
        let forged = theirs.leaf();
        for chain in [
            vec![&forged, &theirs.der],
            vec![&forged, &theirs.der, &ours.der],
            vec![&forged, &ours.der],
            vec![&forged, &ours.der, &theirs.der],
        ] {
            let report = Question::chain(chain).ask(&record_of_ours());
            assert_eq!(report.conclusion, Conclusion::NoMatch, "{:?}", report.records);
        }
    }
    assert_eq!(Question::chain([&ours.leaf(), &ours.der]).matched(&record_of_ours()).depth, 1, "control");
}

// TLSA-14
#[test]
fn configured_roots_play_no_part() {
    let (root, sub, leaf) = three();
    let question = Question::chain([&leaf, &sub.der]).with_roots([&root.der, &sub.der]);
    assert_eq!(question.code(record(2, 0, 1, &root.der)), "no-match");
    let stranger = Authority::root("Stranger");
    let question = Question::chain([&leaf, &sub.der, &root.der]).with_roots([&stranger.der]);
    assert_eq!(question.code(record(2, 0, 1, &root.der)), "matched");
}
