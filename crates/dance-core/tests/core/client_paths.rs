//! Ordinary client certificates: a path to configured roots, and neither record nor name.

use std::time::Duration;

use dance_core::pkix::{PathError, client_path};
use dance_core::{CertificateDer, UnixTime};
use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};

use crate::authority::{Authority, NOW, PATHS, leaf_params};

fn fault(chain: &[&CertificateDer<'static>], roots: &[&CertificateDer<'static>]) -> Option<PathError> {
    let owned = |certificates: &[&CertificateDer<'static>]| certificates.iter().copied().cloned().collect::<Vec<_>>();
    client_path(&owned(chain), &owned(roots), NOW, &PATHS).err().map(|fault| fault.error)
}

// SRV-05
#[test]
fn a_path_leads_to_a_configured_root() {
    let (root, other) = (Authority::root("CA"), Authority::root("another CA"));
    let (below, twin) = (root.sub("issuing CA"), Authority::root("CA"));
    let (leaf, direct) = (below.leaf(), root.leaf());
    assert_eq!(fault(&[&leaf, &below.der], &[&root.der]), None);
    assert_eq!(fault(&[&leaf, &other.der, &root.der, &below.der], &[&other.der, &root.der]), None);
    assert_eq!(fault(&[&direct], &[&root.der]), None);
    assert_eq!(fault(&[&leaf], &[&below.der]), None);

    assert_eq!(fault(&[&leaf], &[&root.der]), Some(PathError::NoIssuer));
    assert_eq!(fault(&[&leaf, &below.der, &root.der], &[&other.der]), Some(PathError::NoIssuer));
    assert_eq!(fault(&[&leaf, &below.der], &[]), Some(PathError::NoIssuer));
    assert_eq!(fault(&[&direct], &[&twin.der]), Some(PathError::Signature));
    assert_eq!(fault(&[], &[&root.der]), Some(PathError::Malformed));
}

// SRV-05
#[test]
fn of_certificates_that_may_do_what_they_do() {
    let root = Authority::root("CA");
    let leaf = |change: fn(&mut rcgen::CertificateParams)| root.leaf_with(change);
    let own = leaf_params().self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
    for (leaf, expected) in [
        (leaf(|_| {}), None),
        (leaf(|params| params.extended_key_usages.clear()), None),
        (leaf(|params| params.not_after = date_time_ymd(2029, 1, 1)), Some(PathError::Expired)),
        (leaf(|params| params.not_before = date_time_ymd(2031, 1, 1)), Some(PathError::NotYetValid)),
        (
            leaf(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            Some(PathError::ExtendedKeyUsage),
        ),
        (
            leaf(|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
            Some(PathError::CaAsEndEntity),
        ),
        (own.clone(), Some(PathError::NoIssuer)),
    ] {
        assert_eq!(fault(&[&leaf], &[&root.der, &own]), expected);
    }
    let old = Authority::root_with("old CA", |params| params.not_after = date_time_ymd(2029, 1, 1));
    assert_eq!(fault(&[&old.leaf()], &[&old.der]), Some(PathError::Expired));
}

// SRV-05
#[test]
fn until_the_first_of_them_ends() {
    let root = Authority::root_with("CA", |params| params.not_after = date_time_ymd(2032, 1, 1));
    let leaf = root.leaf_with(|params| params.not_after = date_time_ymd(2035, 1, 1));
    let end = client_path(&[leaf], std::slice::from_ref(&root.der), NOW, &PATHS).unwrap();
    assert_eq!(end, UnixTime::since_unix_epoch(Duration::from_secs(1_956_528_000)));
}
