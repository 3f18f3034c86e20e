//! Certification authorities of organisations, and what one of them can do to look like another's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use dance_core::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::case::Credential;

/// The subject key identifier of every authority: it is the authority's own to choose.
const KEY_IDENTIFIER: [u8; 20] = [0x2a; 20];

/// An authority with a self-signed certificate.
pub struct Authority {
    /// That certificate.
    pub certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// Usage, selector, matching type.
pub type Form = (CertUsage, Selector, MatchingType);

/// DANE-TA, the digest of the certificate.
pub const TA_CERT: Form = (CertUsage::DANE_TA, Selector::CERT, MatchingType::SHA2_256);
/// DANE-EE, the digest of the key.
pub const EE_KEY: Form = (CertUsage::DANE_EE, Selector::SPKI, MatchingType::SHA2_256);

impl Authority {
    /// Two of one name differ in nothing but their keys, and the signatures made with those.
    #[must_use]
    pub fn new(common_name: &str) -> Self {
        let parameters = parameters(common_name);
        let key = KeyPair::generate().unwrap();
        Self { certificate: parameters.self_signed(&key).unwrap(), issuer: Issuer::new(parameters, key) }
    }

    /// A certificate for another authority's name and key.
    #[must_use]
    pub fn cross_sign(&self, common_name: &str, other: &Self) -> Certificate {
        parameters(common_name).signed_by(other.issuer.key(), &self.issuer).unwrap()
    }

    /// A client's certificate with these dNSNames.
    #[must_use]
    pub fn issue(&self, names: &[&str]) -> Issued {
        issue(names, &self.issuer)
    }

    /// A record of this authority.
    #[must_use]
    pub fn record(&self, form: Form) -> TlsaRdata {
        record(form, &self.certificate)
    }
}

/// A client's certificate and key.
pub struct Issued {
    /// The certificate.
    pub certificate: Certificate,
    key: KeyPair,
    names: Vec<String>,
}

impl Issued {
    /// A certificate that this client issues as if it were an authority.
    #[must_use]
    pub fn issue(&self, names: &[&str]) -> Self {
        let own: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let key = KeyPair::from_pem(&self.key.serialize_pem()).unwrap();
        issue(names, &Issuer::new(client_parameters(&own), key))
    }

    /// A record of this client's certificate or key.
    #[must_use]
    pub fn record(&self, form: Form) -> TlsaRdata {
        record(form, &self.certificate)
    }

    /// To present with these certificates after its own.
    #[must_use]
    pub fn with(&self, directory: &Path, issuers: &[&Certificate]) -> Credential {
        presented(directory, &[&[&self.certificate], issuers].concat(), &self.key)
    }

    /// Somebody else's certificates with this client's key.
    #[must_use]
    pub fn posing(&self, directory: &Path, certificates: &[&Certificate]) -> Credential {
        presented(directory, certificates, &self.key)
    }
}

fn presented(directory: &Path, certificates: &[&Certificate], key: &KeyPair) -> Credential {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = |suffix, content: String| -> PathBuf {
        let file = directory.join(format!("presented-{number}.{suffix}"));
        fs::write(&file, content).unwrap();
        file
    };
    let chain = certificates.iter().map(|certificate| certificate.pem()).collect();
    Credential { certificate: file("pem", chain), key: file("key", key.serialize_pem()) }
}

fn record((usage, selector, matching_type): Form, certificate: &Certificate) -> TlsaRdata {
    TlsaRdata::for_certificate(usage, selector, matching_type, certificate.der()).unwrap()
}

fn issue(names: &[&str], issuer: &Issuer<'_, KeyPair>) -> Issued {
    let key = KeyPair::generate().unwrap();
    let certificate = client_parameters(names).signed_by(&key, issuer).unwrap();
    Issued { certificate, key, names: names.iter().map(|&name| name.to_owned()).collect() }
}

fn client_parameters(names: &[&str]) -> CertificateParams {
    let mut parameters = dated("client");
    parameters.subject_alt_names = names.iter().map(|&name| SanType::DnsName(name.try_into().unwrap())).collect();
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

fn parameters(common_name: &str) -> CertificateParams {
    let mut parameters = dated(common_name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters.key_identifier_method = KeyIdMethod::PreSpecified(KEY_IDENTIFIER.to_vec());
    parameters
}

fn dated(common_name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    [parameters.not_before, parameters.not_after] = [2020, 2049].map(|year| date_time_ymd(year, 1, 1));
    parameters
}
