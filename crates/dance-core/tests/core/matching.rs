//! Usages 0, 1 and 3, raw public keys, user names, usability, digest agility, and how records stand to each other.

use dance_core::SubjectPublicKeyInfoDer;
use dance_core::answer::MAX_RECORDS;
use dance_core::matching::{Conclusion, Credential};
use dance_core::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};
use dance_core::x509::Certificate;
use rcgen::{CertificateParams, KeyPair, OtherNameValue, SanType, date_time_ymd};

use crate::authority::{Authority, NOW, Question, dns, record};

const ALL: [(u8, u8); 6] = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)];

/// A record that is usable and matches nothing.
fn other(usage: u8, selector: u8, matching_type: u8) -> TlsaRdata {
    record(usage, selector, matching_type, &Authority::root("Other").der)
}

// TLSA-01, TLSA-02, TLSA-03, TLSA-04
#[test]
fn usage_3_looks_at_nothing_but_the_end_entity_itself() {
    let expired = Authority::root_with("Root", |params| params.not_after = date_time_ymd(2000, 1, 1));
    let leaf = expired.leaf_with(|params| {
        params.not_after = date_time_ymd(2001, 1, 1);
        params.subject_alt_names = dns(&["elsewhere.example"]);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let alone = Question::chain([&leaf]);
    for (selector, matching_type) in ALL {
        let matched = alone.matched(&[record(3, selector, matching_type, &leaf)]);
        assert_eq!((matched.depth, matched.not_after, matched.user), (0, None, None));
        assert_eq!(alone.code(other(3, selector, matching_type)), "no-match");
    }
}

// TLSA-05
#[test]
fn usage_3_does_not_look_at_issuers() {
    let root = Authority::root("Root");
    let leaf = root.leaf();
    let question = Question::chain([&leaf, &root.der]);
    for (selector, matching_type) in ALL {
        assert_eq!(question.code(record(3, selector, matching_type, &root.der)), "no-match");
        assert_eq!(question.code(record(3, selector, matching_type, &leaf)), "matched");
    }
}

// TLSA-16, TLSA-17
#[test]
fn usage_1_needs_the_end_entity_and_a_path_to_a_root() {
    let root = Authority::root("Root");
    let sub = root.sub("Intermediate");
    let leaf = sub.leaf();
    let chain = || Question::chain([&leaf, &sub.der]);
    for (selector, matching_type) in ALL {
        let wanted = || record(1, selector, matching_type, &leaf);
        let matched = chain().with_roots([&root.der]).matched(&[wanted()]);
        assert_eq!(matched.depth, 0);
        assert!(matched.not_after.is_some());
        assert_eq!(chain().code(wanted()), "unusable-pkix-not-enabled");
        assert_eq!(chain().with_roots([&Authority::root("Root").der]).code(wanted()), "path-signature");
        assert_eq!(chain().with_roots([&Authority::root("Other").der]).code(wanted()), "path-no-issuer");
        assert_eq!(chain().with_roots([&root.der]).code(record(1, selector, matching_type, &sub.der)), "no-match");
    }
    let named = chain().with_roots([&root.der]).with_name("device2.example.com");
    assert_eq!(named.code(record(1, 1, 1, &leaf)), "name-mismatch");
    let expired = sub.leaf_with(|params| params.not_after = date_time_ymd(2029, 1, 1));
    let question = Question::chain([&expired, &sub.der]).with_roots([&root.der]);
    assert_eq!(question.code(record(1, 1, 1, &expired)), "path-expired");
}

// TLSA-16
#[test]
fn a_trusted_end_entity_is_no_path() {
    let leaf = crate::authority::leaf_params().self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
    let question = Question::chain([&leaf]).with_roots([&leaf]);
    assert_eq!(question.code(record(1, 0, 1, &leaf)), "path-no-issuer");
    assert_eq!(question.code(record(0, 0, 1, &leaf)), "path-no-issuer");
}

// TLSA-16
#[test]
fn usage_0_needs_a_named_ca_on_the_path_to_a_root() {
    let root = Authority::root("Root");
    let sub = root.sub("Intermediate");
    let leaf = sub.leaf();
    let question = Question::chain([&leaf, &sub.der]).with_roots([&root.der]);
    for (selector, matching_type) in ALL {
        assert_eq!(question.matched(&[record(0, selector, matching_type, &root.der)]).depth, 2);
        assert_eq!(question.matched(&[record(0, selector, matching_type, &sub.der)]).depth, 1);
        assert_eq!(question.code(record(0, selector, matching_type, &leaf)), "no-match");
        assert_eq!(question.code(other(0, selector, matching_type)), "no-match");
    }
    // Presented and named, but not on the path.
    let stranger = Authority::root("Stranger");
    let question = Question::chain([&leaf, &sub.der, &stranger.der]).with_roots([&root.der]);
    assert_eq!(question.code(record(0, 0, 1, &stranger.der)), "path-no-issuer");
    let question = Question::chain([&leaf, &sub.der]).with_roots([&root.der, &stranger.der]);
    assert_eq!(question.code(record(0, 0, 1, &stranger.der)), "path-no-issuer");
    assert_eq!(question.with_name("device2.example.com").code(record(0, 0, 1, &root.der)), "name-mismatch");
}

// TLSA-18
#[test]
fn usage_0_goes_on_past_the_first_trusted_certificate() {
    let root = Authority::root("Root");
    let sub = root.sub("Intermediate");
    let leaf = sub.leaf();
    for roots in [[&sub.der, &root.der], [&root.der, &sub.der]] {
        // The intermediate may come from the client or from the store.
        for question in [Question::chain([&leaf, &sub.der]), Question::chain([&leaf])] {
            let question = question.with_roots(roots);
            assert_eq!(question.matched(&[record(0, 0, 1, &root.der)]).depth, 2);
            assert_eq!(question.matched(&[record(0, 0, 1, &sub.der)]).depth, 1);
        }
    }
    // Only the intermediate is trusted: what lies above it is on no path to a root.
    let question = Question::chain([&leaf, &sub.der, &root.der]).with_roots([&sub.der]);
    assert_eq!(question.code(record(0, 0, 1, &root.der)), "path-no-issuer");
}

// TLSA-16
#[test]
fn a_root_is_held_to_the_rules_of_other_issuers() {
    let expired = Authority::root_with("Root", |params| params.not_after = date_time_ymd(2029, 1, 1));
    let leaf = expired.leaf();
    let question = Question::chain([&leaf]).with_roots([&expired.der]);
    assert_eq!(question.code(record(1, 1, 1, &leaf)), "path-expired");
    assert_eq!(question.code(record(0, 0, 1, &expired.der)), "path-expired");
}

fn raw(spki: &[u8]) -> Question {
    let mut question = Question::chain([]);
    question.credential = Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(spki.to_vec()));
    question
}

// RPK-01
#[test]
fn only_3_1_x_is_usable_with_a_raw_public_key() {
    let root = Authority::root("Root");
    let spki = Certificate::parse(&root.der).unwrap().spki();
    let question = raw(spki).with_roots([&root.der]);
    for usage in 0..=3 {
        for (selector, matching_type) in ALL {
            let code = question.code(record(usage, selector, matching_type, &root.der));
            assert_eq!(code, if (usage, selector) == (3, 1) { "matched" } else { "unusable-raw-public-key" });
        }
    }
    assert_eq!(question.code(other(3, 1, 1)), "no-match");
    let mixed = [record(2, 0, 1, &root.der), record(3, 0, 0, &root.der), record(3, 1, 1, &root.der)];
    assert_eq!(question.codes(&mixed), ["unusable-raw-public-key", "unusable-raw-public-key", "matched"]);
}

// RPK-01, TLSA-22
#[test]
fn what_is_unusable_with_a_raw_public_key_shadows_nothing() {
    let root = Authority::root("Root");
    let spki = Certificate::parse(&root.der).unwrap().spki();
    assert_eq!(raw(spki).codes(&[other(2, 1, 2), record(3, 1, 1, &root.der)]), ["unusable-raw-public-key", "matched"]);
    assert_eq!(raw(spki).codes(&[other(3, 1, 2), record(3, 1, 1, &root.der)]), ["no-match", "shadowed-by-agility"]);
}

// TLSA-22
#[test]
fn the_strongest_digest_of_each_usage_and_selector_counts() {
    let root = Authority::root("Root");
    let leaf = root.leaf();
    let question = Question::chain([&leaf]);
    let good = || record(3, 1, 1, &leaf);
    assert_eq!(question.codes(&[good(), other(3, 1, 2)]), ["shadowed-by-agility", "no-match"]);
    assert_eq!(question.codes(&[other(3, 1, 2), good()]), ["no-match", "shadowed-by-agility"]);
    assert_eq!(question.codes(&[other(3, 0, 2), good()]), ["no-match", "matched"], "per selector");
    assert_eq!(question.codes(&[other(2, 1, 2), good()]), ["no-match", "matched"], "per usage");
    assert_eq!(question.codes(&[other(3, 1, 2), record(3, 1, 0, &leaf)]), ["no-match", "matched"], "Full stands aside");
    let malformed = TlsaRdata::new(CertUsage(3), Selector(1), MatchingType(2), &[0; 63]);
    assert_eq!(question.codes(&[malformed, good()]), ["unusable-digest-length", "matched"], "after filtering");
    let without_pkix = [other(1, 1, 2), record(1, 1, 1, &leaf), good()];
    assert_eq!(
        question.codes(&without_pkix),
        ["unusable-pkix-not-enabled", "unusable-pkix-not-enabled", "matched"],
        "after filtering"
    );
    let mut off = Question::chain([&leaf]);
    off.options.digest_agility = false;
    assert_eq!(off.codes(&[good(), other(3, 1, 2)]), ["matched", "not-reached"]);
}

// SRV-14, TLSA-21
#[test]
fn any_one_record_is_enough_and_the_first_is_it() {
    let root = Authority::root("Root");
    let leaf = root.leaf();
    let question = Question::chain([&leaf, &root.der]);
    let (ee, ta) = (|| record(3, 1, 1, &leaf), || record(2, 0, 1, &root.der));
    assert_eq!(question.matched(&[other(3, 1, 1), ee()]).index, 1);
    assert_eq!(question.matched(&[ta(), ee()]).index, 0);
    assert_eq!(question.matched(&[ee(), ta()]).record, ee());
    assert_eq!(question.codes(&[other(3, 1, 1), ee(), ta()]), ["no-match", "matched", "not-reached"]);
    assert_eq!(question.ask(&[]).conclusion, Conclusion::NoUsable);
    let unusable = || TlsaRdata::from_wire(&[3, 1, 9, 0]);
    assert_eq!(question.ask(&[unusable(), unusable()]).conclusion, Conclusion::NoUsable);
    assert_eq!(question.ask(&[unusable(), other(3, 1, 1)]).conclusion, Conclusion::NoMatch);
}

// SRV-13
#[test]
fn a_name_mismatch_is_remembered_unless_another_record_matches() {
    let root = Authority::root("Root");
    let leaf = root.leaf();
    let question = Question::chain([&leaf, &root.der]).with_name("device2.example.com");
    let (ee, ta) = (|| record(3, 1, 1, &leaf), || record(2, 0, 1, &root.der));
    let mismatch = |index| Conclusion::NameMismatch { index, depth: 1 };
    assert_eq!(question.ask(&[other(3, 1, 1), ta(), other(3, 1, 1)]).conclusion, mismatch(1));
    assert_eq!(question.codes(&[ta(), ee()]), ["name-mismatch", "matched"]);
    // A broken chain says nothing about names.
    let expired = root.leaf_with(|params| params.not_after = date_time_ymd(2029, 1, 1));
    let question = Question::chain([&expired, &root.der]).with_name("device2.example.com");
    assert_eq!(question.ask(&[ta()]).conclusion, Conclusion::NoMatch);
}

// TLSA-19, TLSA-20, TLSA-21, SEC-14
#[test]
fn more_records_than_the_limit_count_as_none() {
    let root = Authority::root("Root");
    let leaf = root.leaf();
    let question = Question::chain([&leaf]);
    let mut records = vec![other(3, 1, 1); MAX_RECORDS - 1];
    records.push(record(3, 1, 1, &leaf));
    assert_eq!(question.matched(&records).index, MAX_RECORDS - 1);
    records.push(other(3, 1, 1));
    let report = question.ask(&records);
    assert_eq!(report.conclusion, Conclusion::NoUsable);
    assert!(report.records.iter().all(|row| row.outcome.code() == "unusable-too-many"));
}

// TLSA-20
#[test]
fn every_record_has_its_row() {
    let root = Authority::root("Root");
    let question = Question::chain([&root.leaf()]);
    let report = question.ask(&[TlsaRdata::from_wire(&[]), TlsaRdata::from_wire(&[9, 8, 7, 6]), other(3, 1, 1)]);
    let [short, unknown, usable] = report.records.as_slice() else { panic!() };
    assert_eq!((short.index, short.usage, short.outcome.code()), (0, None, "unusable-short"));
    assert_eq!((unknown.index, unknown.usage, unknown.outcome.code()), (1, Some(CertUsage(9)), "unusable-usage"));
    assert_eq!((unknown.selector, unknown.matching_type), (Some(Selector(8)), Some(MatchingType(7))));
    assert_eq!((usable.index, usable.usage), (2, Some(CertUsage::DANE_EE)));
    assert!(report.records.iter().all(|row| !row.outcome.to_string().is_empty()));
}

#[test]
fn certificates_that_do_not_decode_match_by_their_octets_alone() {
    let rubbish = dance_core::CertificateDer::from(b"rubbish".to_vec());
    let question = Question::chain([&rubbish]);
    let sha256 = <sha2::Sha256 as sha2::Digest>::digest(b"rubbish");
    let by_octets = TlsaRdata::new(CertUsage(3), Selector(0), MatchingType(1), &sha256);
    let by_key = TlsaRdata::new(CertUsage(3), Selector(1), MatchingType(1), &sha256);
    assert_eq!(question.code(by_octets), "matched");
    assert_eq!(question.code(by_key), "no-match");
    let root = Authority::root("Root");
    let question = Question::chain([&rubbish, &root.der]);
    assert_eq!(question.code(record(2, 0, 1, &root.der)), "path-malformed");
    assert_eq!(Question::chain([]).code(record(3, 1, 1, &root.der)), "no-match");
}

const USER: &str = "_user.example.com";

fn uid(text: &str) -> SanType {
    SanType::OtherName((vec![0, 9, 2342, 19_200_300, 100, 1, 1], OtherNameValue::Utf8String(text.to_owned())))
}

fn email(text: &str) -> SanType {
    SanType::Rfc822Name(text.try_into().unwrap())
}

fn user_question(root: &Authority, ids: &[SanType], change: impl FnOnce(&mut CertificateParams)) -> Question {
    let leaf = root.leaf_with(|params| {
        params.subject_alt_names = [dns(&["Example.com"]), ids.to_vec()].concat();
        change(params);
    });
    let mut question = Question::chain([&leaf, &root.der]).with_name(USER);
    question.options.user_mode = true;
    question
}

// NAM-11
#[test]
fn a_user_is_named_in_the_certificate_and_vouched_for_by_the_domain() {
    let root = Authority::root("Root");
    let wanted = || [record(2, 0, 1, &root.der)];
    let who = |ids: &[SanType]| user_question(&root, ids, |_| {}).matched(&wanted()).user.unwrap();
    assert_eq!(who(&[uid("Alice")]), "alice@example.com");
    assert_eq!(who(&[email("Bob@EXAMPLE.com")]), "bob@example.com");
    assert_eq!(who(&[email("bob@example.com"), uid("alice")]), "alice@example.com");
    assert_eq!(who(&[email("bob@example.com"), email("bob@example.net")]), "bob@example.com");
    assert_eq!(who(&[uid(&"a".repeat(64))]).len(), 64 + 12);
}

// NAM-11
#[test]
fn no_user_several_users_and_unprintable_users_fail_by_policy() {
    let root = Authority::root("Root");
    let long = "a".repeat(65);
    let faulty: [&[SanType]; 9] = [
        &[],
        &[uid("alice"), uid("bob")],
        &[uid("alice"), uid("alice")],
        &[email("a@example.com"), email("b@example.com")],
        &[email("a@example.net")],
        &[uid("a@b")],
        &[uid("a b")],
        &[uid("a\r\nb")],
        &[uid(&long)],
    ];
    for ids in faulty {
        let question = user_question(&root, ids, |_| {});
        assert_eq!(question.code(record(2, 0, 1, &root.der)), "user-id-invalid", "{ids:?}");
        assert_eq!(question.ask(&[record(2, 0, 1, &root.der)]).conclusion, Conclusion::NoMatch);
    }
    for text in ["", "\u{e9}", "a\u{7f}", "\u{202e}a"] {
        assert_eq!(user_question(&root, &[uid(text)], |_| {}).code(record(2, 0, 1, &root.der)), "user-id-invalid");
    }
}

// NAM-11
#[test]
fn user_mode_is_off_unless_on_and_only_for_user_names() {
    let root = Authority::root("Root");
    let mut question = user_question(&root, &[uid("alice")], |_| {});
    assert_eq!(question.code(record(2, 0, 1, &root.der)), "matched");
    question.options.user_mode = false;
    assert_eq!(question.code(record(2, 0, 1, &root.der)), "name-mismatch");
    let mut question = question.with_name("example.com");
    question.options.user_mode = true;
    assert_eq!(question.matched(&[record(2, 0, 1, &root.der)]).user, None);
    let question = question.with_name("_user.example.net");
    assert_eq!(question.code(record(2, 0, 1, &root.der)), "name-mismatch");
}

// NAM-11
#[test]
fn users_cannot_vouch_for_themselves() {
    let root = Authority::root("Root");
    let question = user_question(&root, &[uid("alice")], |_| {}).with_roots([&root.der]);
    let Credential::X509(chain) = &question.credential else { panic!() };
    for (usage, code) in [(0, "no-match"), (1, "unusable-user-mode"), (2, "no-match"), (3, "unusable-user-mode")] {
        assert_eq!(question.code(record(usage, 1, 1, &chain[0])), code);
    }
    assert_eq!(question.matched(&[record(0, 0, 1, &root.der)]).user.as_deref(), Some("alice@example.com"));
    assert_eq!(question.now, NOW);
}
