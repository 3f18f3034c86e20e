//! Certificates made for one test, and the engine asked about them.

use std::time::Duration;

use dance_core::matching::{Conclusion, Credential, Match, MatchOptions, MatchReport, match_rrset};
use dance_core::name::ClientName;
use dance_core::pkix::WebPki;
use dance_core::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};
use dance_core::{CertificateDer, UnixTime};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

/// The one client name of these tests, unless a test is about names.
pub(crate) const NAME: &str = "device1.example.com";

/// The first second of 2030, inside the validity of everything that a test does not make invalid on purpose.
pub(crate) const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_893_456_000));

pub(crate) static PATHS: WebPki = WebPki::new(webpki::ALL_VERIFICATION_ALGS);

pub(crate) fn name(text: &str) -> ClientName {
    ClientName::parse(text.as_bytes()).unwrap()
}

/// A name and key that issue certificates.
pub(crate) struct Authority {
    pub(crate) params: CertificateParams,
    pub(crate) key: KeyPair,
    pub(crate) der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn root(common_name: &str) -> Self {
        Self::root_with(common_name, |_| {})
    }

    pub(crate) fn root_with(common_name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = ca_params(common_name, change);
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { params, key, der }
    }

    /// An intermediate.
    pub(crate) fn sub(&self, common_name: &str) -> Self {
        self.sub_with(common_name, |_| {})
    }

    pub(crate) fn sub_with(&self, common_name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let params = ca_params(common_name, change);
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer()).unwrap().der().clone();
        Self { params, key, der }
    }

    /// Another certificate for the name and key of `subject`, issued by this authority.
    pub(crate) fn cross_sign(&self, subject: &Self) -> CertificateDer<'static> {
        subject.params.signed_by(&subject.key, &self.issuer()).unwrap().der().clone()
    }

    /// An end-entity certificate for [`NAME`].
    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        self.leaf_with(|_| {})
    }

    pub(crate) fn leaf_with(&self, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        self.leaf_for_key(&KeyPair::generate().unwrap(), change)
    }

    pub(crate) fn leaf_for_key(
        &self,
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let mut params = leaf_params();
        change(&mut params);
        params.signed_by(key, &self.issuer()).unwrap().der().clone()
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

fn ca_params(common_name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    change(&mut params);
    params
}

/// An end entity for [`NAME`]: digitalSignature, clientAuth.
pub(crate) fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "device one");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub(crate) fn dns(names: &[&str]) -> Vec<SanType> {
    names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect()
}

/// The record `usage selector matching-type` of a certificate.
pub(crate) fn record(usage: u8, selector: u8, matching_type: u8, certificate: &CertificateDer<'_>) -> TlsaRdata {
    TlsaRdata::for_certificate(CertUsage(usage), Selector(selector), MatchingType(matching_type), certificate).unwrap()
}

/// One question to the engine, for [`NAME`] and without PKIX unless changed.
pub(crate) struct Question {
    pub(crate) credential: Credential,
    pub(crate) name: ClientName,
    pub(crate) options: MatchOptions,
    pub(crate) now: UnixTime,
}

impl Question {
    pub(crate) fn chain<'a>(chain: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> Self {
        Self {
            credential: Credential::X509(chain.into_iter().cloned().collect()),
            name: name(NAME),
            options: MatchOptions::default(),
            now: NOW,
        }
    }

    pub(crate) fn with_name(mut self, text: &str) -> Self {
        self.name = name(text);
        self
    }

    pub(crate) fn with_roots<'a>(mut self, roots: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> Self {
        self.options.pkix_roots = roots.into_iter().cloned().collect();
        self
    }

    pub(crate) fn ask(&self, records: &[TlsaRdata]) -> MatchReport {
        match_rrset(records, &self.credential, &self.name, &self.options, self.now, &PATHS)
    }

    /// The outcome of a single record.
    pub(crate) fn code(&self, record: TlsaRdata) -> &'static str {
        let report = self.ask(&[record]);
        assert_eq!(matches!(report.conclusion, Conclusion::Matched(_)), report.records[0].outcome.code() == "matched");
        report.records[0].outcome.code()
    }

    pub(crate) fn codes(&self, records: &[TlsaRdata]) -> Vec<&'static str> {
        self.ask(records).records.iter().map(|row| row.outcome.code()).collect()
    }

    pub(crate) fn matched(&self, records: &[TlsaRdata]) -> Match {
        match self.ask(records).conclusion {
            Conclusion::Matched(matched) => matched,
            other => panic!("{other:?}"),
        }
    }
}
