//! Chains made by someone who wants to be someone else, or to cost more than a connection.

use std::sync::atomic::{AtomicUsize, Ordering};

use dance_core::matching::{Conclusion, MatchOptions, match_rrset};
use dance_core::message::MAX_CERTIFICATES;
use dance_core::pkix::{MAX_INTERMEDIATES, Path, PathError, PathValidator, WebPki};
use dance_core::{CertificateDer, UnixTime};
use rcgen::{BasicConstraints, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

use crate::authority::{Authority, NAME, NOW, PATHS, Question, dns, leaf_params, name, record};

/// Usage 2 in every combination, naming this certificate.
fn anchors(certificate: &CertificateDer<'_>) -> Vec<dance_core::tlsa::TlsaRdata> {
    let all = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)];
    all.into_iter().map(|(selector, matching_type)| record(2, selector, matching_type, certificate)).collect()
}

fn refused(chain: &[&CertificateDer<'static>], named: &CertificateDer<'_>) {
    for record in anchors(named) {
        let report = Question::chain(chain.iter().copied()).ask(std::slice::from_ref(&record));
        assert_eq!(report.conclusion, Conclusion::NoMatch, "{record} {:?}", report.records);
    }
}

// TLSA-06
#[test]
fn a_trust_anchor_is_not_its_own_client() {
    // It holds the name, and its own key signed it. Were depth 0 an anchor, any of these would do.
    let ca = Authority::root_with("CA", |params| {
        params.subject_alt_names = dns(&[NAME]);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    });
    let plain = leaf_params().self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
    for own in [&ca.der, &plain] {
        refused(&[own], own);
        refused(&[own, own], own);
        refused(&[own, own, own], own);
    }
    assert_eq!(Question::chain([&plain]).code(record(3, 0, 1, &plain)), "matched", "control");
}

// TLSA-06
#[test]
fn a_certificate_with_the_anchors_key_is_not_the_anchor() {
    // Another certificate of the CA's own name and key: issued by itself under the name that counts, CA or not.
    let ca = Authority::root("CA");
    let mut twin = ca.params.clone();
    twin.subject_alt_names = dns(&[NAME]);
    let twin = twin.self_signed(&ca.key).unwrap().der().clone();
    refused(&[&twin, &ca.der], &ca.der);
    // Only the holder of the CA's key can make an end entity with the CA's key, so one level below it is as good as any.
    let below = ca.leaf_for_key(&ca.key, |_| {});
    assert_eq!(Question::chain([&below, &ca.der]).matched(&[record(2, 1, 1, &ca.der)]).depth, 1);
    // Presented alone, it has the key that the record names and is not above itself.
    assert_eq!(Question::chain([&below]).code(record(2, 1, 0, &ca.der)), "no-match");
}

// TLSA-15
#[test]
fn an_end_entity_of_the_right_ca_issues_nothing() {
    let ca = Authority::root("CA");
    let key = KeyPair::generate().unwrap();
    for (change, code) in [
        ((|_| {}) as fn(&mut rcgen::CertificateParams), "path-not-ca"),
        (|params| params.is_ca = IsCa::ExplicitNoCa, "path-not-ca"),
    ] {
        let insider = ca.leaf_for_key(&key, |params| {
            params.subject_alt_names = dns(&["other.example.com"]);
            change(params);
        });
        let mut params = leaf_params();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let forger =
            Authority { params, key: KeyPair::try_from(key.serialize_der().as_slice()).unwrap(), der: insider };
        let forged = forger.leaf();
        let question = Question::chain([&forged, &forger.der, &ca.der]);
        assert_eq!(question.code(record(2, 0, 1, &ca.der)), code);
        // Nor does a copy that says it is a CA, which nobody but the forger signed.
        let copy = forger.params.self_signed(&forger.key).unwrap().der().clone();
        refused(&[&forged, &copy, &ca.der], &ca.der);
        refused(&[&forged, &copy, &forger.der, &ca.der], &ca.der);
    }
}

// TLSA-08
#[test]
fn a_bare_key_vouches_for_what_it_signed_and_nothing_else() {
    let ca = Authority::root("CA");
    let forger = Authority::root("CA");
    let forged = forger.leaf();
    refused(&[&forged], &ca.der);
    refused(&[&forged, &forger.der], &ca.der);
    // An honest certificate of the same CA beside the forged one lends it nothing.
    let honest = ca.sub("Honest");
    refused(&[&forged, &honest.der], &ca.der);
    refused(&[&forged, &forger.der, &honest.der], &ca.der);
    assert_eq!(Question::chain([&ca.leaf()]).code(record(2, 1, 0, &ca.der)), "matched", "control");
}

// TLSA-08
#[test]
fn a_presented_certificate_of_the_key_must_fit_by_name() {
    let ca = Authority::root("CA");
    let leaf = ca.leaf();
    // The same key under another name: the certificate exists, so the bare key no longer stands in for it.
    let mut renamed = Authority::root("Somebody else").params;
    renamed.not_after = date_time_ymd(2040, 1, 1);
    let renamed = renamed.self_signed(&ca.key).unwrap().der().clone();
    assert_eq!(Question::chain([&leaf, &renamed]).code(record(2, 1, 0, &ca.der)), "path-no-issuer");
    assert_eq!(Question::chain([&leaf, &renamed]).code(record(2, 1, 1, &ca.der)), "path-no-issuer");
    assert_eq!(Question::chain([&leaf, &renamed, &ca.der]).code(record(2, 1, 0, &ca.der)), "matched");
}

// TLSA-13
#[test]
fn constraints_are_not_escaped_by_another_route_to_the_anchor() {
    let root = Authority::root("Root");
    let narrow = |params: &mut rcgen::CertificateParams| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example.net".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    };
    let sub = root.sub_with("Constrained", narrow);
    let leaf = sub.leaf();
    // The constrained CA makes itself a certificate without constraints.
    let free = Authority::root("Constrained").params.self_signed(&sub.key).unwrap().der().clone();
    refused(&[&leaf, &free, &root.der], &root.der);
    refused(&[&leaf, &free, &sub.der, &root.der], &root.der);
    // And one more CA below it, in whose certificate it leaves them out.
    let lower = sub.sub("Lower");
    refused(&[&lower.leaf(), &lower.der, &free, &sub.der, &root.der], &root.der);
    let within = sub.leaf_with(|params| params.subject_alt_names = dns(&["a.example.net"]));
    let question = Question::chain([&within, &free, &sub.der, &root.der]).with_name("a.example.net");
    assert_eq!(question.code(record(2, 0, 1, &root.der)), "matched", "control");
}

// TLSA-13, TLSA-24
#[test]
fn an_excluded_name_among_permitted_ones_spoils_the_certificate() {
    let root = Authority::root_with("Root", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: Vec::new(),
            excluded_subtrees: vec![GeneralSubtree::DnsName("example.net".to_owned())],
        });
    });
    let leaf = root.leaf_with(|params| params.subject_alt_names = dns(&[NAME, "a.example.net"]));
    assert_eq!(Question::chain([&leaf, &root.der]).code(record(2, 0, 1, &root.der)), "path-name-constraints");
    let leaf = root.leaf_with(|params| params.subject_alt_names = dns(&[NAME, "a.example.org"]));
    assert_eq!(Question::chain([&leaf, &root.der]).code(record(2, 0, 1, &root.der)), "matched");
}

// TLSA-11, TLSA-26
#[test]
fn an_expired_route_does_not_block_a_good_one_nor_help_a_bad_one() {
    let old = |params: &mut rcgen::CertificateParams| params.not_after = date_time_ymd(2029, 1, 1);
    let root = Authority::root("Root");
    let sub = root.sub("Intermediate");
    let leaf = sub.leaf();
    let mut expired = sub.params.clone();
    old(&mut expired);
    let renewed = Authority { params: expired, key: KeyPair::generate().unwrap(), der: sub.der.clone() };
    let expired =
        root.cross_sign(&Authority { key: KeyPair::try_from(sub.key.serialize_der().as_slice()).unwrap(), ..renewed });
    for chain in [[&leaf, &expired, &sub.der, &root.der], [&leaf, &sub.der, &expired, &root.der]] {
        assert_eq!(Question::chain(chain).matched(&[record(2, 0, 1, &root.der)]).depth, 2);
    }
    assert_eq!(Question::chain([&leaf, &expired, &root.der]).code(record(2, 0, 1, &root.der)), "path-expired");
}

// TLSA-26
#[test]
fn certificates_in_a_circle_lead_nowhere_and_around() {
    let (a, b) = (Authority::root("A"), Authority::root("B"));
    let (a_by_b, b_by_a) = (b.cross_sign(&a), a.cross_sign(&b));
    let leaf = a.leaf();
    let anchor = Authority::root("Anchor");
    assert_eq!(
        Question::chain([&leaf, &a_by_b, &b_by_a, &anchor.der]).code(record(2, 0, 1, &anchor.der)),
        "path-no-issuer"
    );
    // With a way out of the circle it is taken.
    let out = anchor.cross_sign(&b);
    let question = Question::chain([&leaf, &a_by_b, &b_by_a, &out, &anchor.der]);
    assert_eq!(question.matched(&[record(2, 0, 1, &anchor.der)]).depth, 3);
}

/// Counts what is asked of it.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl PathValidator for Counting {
    fn validate(&self, path: &Path<'_>, now: UnixTime) -> Result<(), PathError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        PATHS.validate(path, now)
    }
}

/// An algorithm that counts the signatures it verifies.
#[derive(Debug)]
struct Metered;

static SIGNATURES: AtomicUsize = AtomicUsize::new(0);

impl SignatureVerificationAlgorithm for Metered {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        webpki::ring::ECDSA_P256_SHA256.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        webpki::ring::ECDSA_P256_SHA256.signature_alg_id()
    }

    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        SIGNATURES.fetch_add(1, Ordering::Relaxed);
        webpki::ring::ECDSA_P256_SHA256.verify_signature(key, message, signature)
    }
}

// SEC-14
#[test]
fn sixteen_certificates_and_sixty_four_records_cost_a_bounded_number_of_signatures() {
    static METERED: WebPki = WebPki::new(&[&Metered]);
    let ask = |chain: Vec<CertificateDer<'static>>, anchor: &CertificateDer<'static>| {
        assert!(chain.len() <= MAX_CERTIFICATES);
        // As many records as there may be, each of which starts a search, and the last of which needs none.
        let mut records = vec![record(2, 1, 1, anchor); 63];
        records.push(record(3, 1, 1, &chain[0]));
        let credential = dance_core::matching::Credential::X509(chain);
        SIGNATURES.store(0, Ordering::Relaxed);
        let report = match_rrset(&records, &credential, &name(NAME), &MatchOptions::default(), NOW, &METERED);
        assert!(matches!(report.conclusion, Conclusion::Matched(matched) if matched.index == 63));
        assert_eq!(report.records[62].outcome.code(), "path-limit");
        SIGNATURES.load(Ordering::Relaxed)
    };

    // All of one name: by names each could have issued each.
    let root = Authority::root("Same");
    let namesakes: Vec<_> = (0..MAX_CERTIFICATES - 2).map(|_| Authority::root("Same")).collect();
    let mut chain = vec![namesakes[0].leaf(), root.der.clone()];
    chain.extend(namesakes.iter().map(|ca| ca.der.clone()));
    assert!((1..=64).contains(&ask(chain, &root.der)));

    // The longest path there is, with a bad signature at its foot, where it is found last.
    let mut authorities = vec![Authority::root("Root")];
    for level in 0..MAX_INTERMEDIATES {
        authorities.push(authorities[level].sub(&format!("Level {level}")));
    }
    let impostor = Authority::root(&format!("Level {}", MAX_INTERMEDIATES - 1));
    let mut chain = vec![impostor.leaf()];
    chain.extend(authorities.iter().rev().map(|ca| ca.der.clone()));
    let signatures = ask(chain, &authorities[0].der);
    assert_eq!(signatures, 16 * (MAX_INTERMEDIATES + 1));
}

// SEC-14
#[test]
fn a_valid_path_for_every_record_counts_too() {
    // Each record finds its path, and none is for the name, so each is tried.
    let root = Authority::root("Root");
    let credential = dance_core::matching::Credential::X509(vec![root.leaf(), root.der.clone()]);
    let counting = Counting::default();
    let (records, other) = (vec![record(2, 0, 1, &root.der); 64], name("device2.example.com"));
    let report = match_rrset(&records, &credential, &other, &MatchOptions::default(), NOW, &counting);
    assert_eq!(counting.0.load(Ordering::Relaxed), 16);
    assert_eq!(report.conclusion, Conclusion::NameMismatch { index: 0, depth: 1 });
    assert_eq!(report.records[15].outcome.code(), "name-mismatch");
    assert_eq!(report.records[16].outcome.code(), "path-limit");
}

// SEC-14
#[test]
fn names_that_lead_nowhere_cost_no_signatures() {
    // Five layers of three namesakes, each of which could have issued any of the layer below: 3 + 9 + 27 + 81 + 243 ways up.
    let root = Authority::root("Root");
    let mut issuer = Authority::root("Nowhere");
    let mut chain = Vec::new();
    for layer in 0..5 {
        let layer = [(); 3].map(|()| issuer.sub(&format!("Layer {layer}")));
        chain.extend(layer.iter().map(|ca| ca.der.clone()));
        [issuer, ..] = layer;
    }
    chain.insert(0, issuer.leaf());
    assert_eq!(chain.len(), MAX_CERTIFICATES);
    let credential = dance_core::matching::Credential::X509(chain);
    let counting = Counting::default();
    let records = [record(2, 0, 0, &root.der), record(2, 0, 0, &root.der)];
    let report = match_rrset(&records, &credential, &name(NAME), &MatchOptions::default(), NOW, &counting);
    assert_eq!(report.records.iter().map(|row| row.outcome.code()).collect::<Vec<_>>(), ["path-limit"; 2]);
    assert_eq!(counting.0.load(Ordering::Relaxed), 0);
}

/// Says yes to everything, as no library should.
#[derive(Debug)]
struct Credulous;

impl PathValidator for Credulous {
    fn validate(&self, _: &Path<'_>, _: UnixTime) -> Result<(), PathError> {
        Ok(())
    }
}

/// The outcome of `2 0 1` of the last certificate, and the depth where it matched, with no help from the library.
fn alone(chain: &[CertificateDer<'static>]) -> (&'static str, Option<usize>) {
    let records = [record(2, 0, 1, chain.last().unwrap())];
    let credential = dance_core::matching::Credential::X509(chain.to_vec());
    let report = match_rrset(&records, &credential, &name(NAME), &MatchOptions::default(), NOW, &Credulous);
    let depth = match report.conclusion {
        Conclusion::Matched(matched) => Some(matched.depth),
        _ => None,
    };
    (report.records[0].outcome.code(), depth)
}

// TLSA-12, TLSA-13, TLSA-15, TLSA-27
#[test]
fn what_dane_depends_on_is_checked_here_whatever_the_library_does() {
    let ask = |change: fn(&mut rcgen::CertificateParams)| {
        let root = Authority::root_with("Root", change);
        let sub = root.sub("Intermediate");
        alone(&[sub.leaf(), sub.der, root.der]).0
    };
    assert_eq!(ask(|_| {}), "matched");
    assert_eq!(ask(|params| params.not_after = date_time_ymd(2029, 1, 1)), "path-expired");
    assert_eq!(ask(|params| params.not_before = date_time_ymd(2031, 1, 1)), "path-not-yet-valid");
    assert_eq!(ask(|params| params.is_ca = IsCa::ExplicitNoCa), "path-not-ca");
    assert_eq!(ask(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))), "path-length");
    assert_eq!(ask(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]), "path-key-usage");
    let servers = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    };
    assert_eq!(ask(servers), "path-extended-key-usage");

    let root = Authority::root("Root");
    let ca = root.leaf_with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(alone(&[ca, root.der]).0, "path-ca-as-end-entity");
}

// TLSA-28
#[test]
fn broken_digests_are_refused_whatever_the_library_does() {
    let file = |octets: &'static [u8]| CertificateDer::from(octets);
    let root = || file(include_bytes!("../data/root.der"));
    assert_eq!(alone(&[file(include_bytes!("../data/leaf-sha256.der")), root()]).0, "matched");
    assert_eq!(alone(&[file(include_bytes!("../data/leaf-pss-sha256.der")), root()]).0, "matched");
    for weak in [
        file(include_bytes!("../data/leaf-sha1.der")),
        file(include_bytes!("../data/leaf-md5.der")),
        file(include_bytes!("../data/leaf-pss-sha1.der")),
    ] {
        assert_eq!(alone(&[weak, root()]).0, "path-signature-algorithm");
    }
    let (leaf, root) = (include_bytes!("../data/leaf-ec-sha1.der"), include_bytes!("../data/root-ec.der"));
    assert_eq!(alone(&[file(leaf), file(root)]).0, "path-signature-algorithm");
}

// TLSA-26
#[test]
fn only_names_that_fit_make_a_path_and_none_goes_in_a_circle() {
    let root = Authority::root("Root");
    let sub = root.sub("Intermediate");
    let leaf = sub.leaf();
    let stranger = Authority::root("Stranger").der;
    assert_eq!(alone(&[leaf.clone(), stranger.clone(), root.der.clone()]), ("path-no-issuer", None));
    assert_eq!(alone(&[leaf, stranger, sub.der, root.der]), ("matched", Some(2)));

    let (a, b, anchor) = (Authority::root("A"), Authority::root("B"), Authority::root("Anchor"));
    let (a_by_b, b_by_a, out) = (b.cross_sign(&a), a.cross_sign(&b), anchor.cross_sign(&b));
    assert_eq!(alone(&[a.leaf(), a_by_b, b_by_a, out, anchor.der]), ("matched", Some(3)));
}

/// Gives up at once, as a library does whose own limits one path exceeds.
#[derive(Debug, Default)]
struct Exhausted(AtomicUsize);

impl PathValidator for Exhausted {
    fn validate(&self, _: &Path<'_>, _: UnixTime) -> Result<(), PathError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(PathError::Limit)
    }
}

// SEC-14
#[test]
fn a_path_that_exhausts_the_library_is_the_last_one() {
    let root = Authority::root("Root");
    let credential = dance_core::matching::Credential::X509(vec![root.leaf(), root.der.clone()]);
    let exhausted = Exhausted::default();
    let records = [record(2, 0, 1, &root.der), record(2, 1, 1, &root.der)];
    let report = match_rrset(&records, &credential, &name(NAME), &MatchOptions::default(), NOW, &exhausted);
    assert_eq!(report.records.iter().map(|row| row.outcome.code()).collect::<Vec<_>>(), ["path-limit"; 2]);
    assert_eq!(exhausted.0.load(Ordering::Relaxed), 1);
}

// TLSA-26
#[test]
fn the_library_must_confirm_exactly_the_path_that_was_asked_about() {
    // A second certificate of the intermediate's name and key. By names the path could go through either, or skip one.
    let root = Authority::root("Root");
    let sub = root.sub("Intermediate");
    let twin = root.cross_sign(&sub);
    let leaf = sub.leaf();
    let longer = [sub.der.clone(), twin.clone()];
    let anchor = dance_core::pkix::Anchor::Certificate(&root.der);
    let path = Path { end_entity: &leaf, intermediates: &longer, anchor };
    assert_eq!(PATHS.validate(&path, NOW), Err(PathError::NoIssuer));
    for one in [&sub.der, &twin] {
        let path = Path { intermediates: std::slice::from_ref(one), ..path };
        assert_eq!(PATHS.validate(&path, NOW), Ok(()));
    }
    let stranger = [sub.der.clone(), Authority::root("Stranger").der];
    assert_eq!(PATHS.validate(&Path { intermediates: &stranger, ..path }, NOW), Err(PathError::NoIssuer));
}

// SEC-14
#[test]
fn certificates_past_the_limit_are_not_looked_at() {
    let root = Authority::root("Root");
    let leaf = root.leaf();
    let strangers: Vec<_> = (0..MAX_CERTIFICATES - 2).map(|_| Authority::root("Stranger").der).collect();
    let last_in = [&leaf].into_iter().chain(&strangers).chain([&root.der]);
    assert_eq!(Question::chain(last_in).code(record(2, 0, 1, &root.der)), "matched");
    let first_out = [&leaf].into_iter().chain(&strangers).chain([&strangers[0], &root.der]);
    assert_eq!(Question::chain(first_out).code(record(2, 0, 1, &root.der)), "no-match");
    let huge = CertificateDer::from(vec![0; dance_core::message::MAX_MESSAGE_LEN - root.der.len() + 1]);
    assert_eq!(Question::chain([&leaf, &huge, &root.der]).code(record(2, 0, 1, &root.der)), "no-match");
    let large = CertificateDer::from(huge[1..].to_vec());
    assert_eq!(Question::chain([&leaf, &large, &root.der]).code(record(2, 0, 1, &root.der)), "matched");
}
