//! Keys and certificates made on the spot: clients, servers, authorities, and ones that are past their time.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dance_core::tlsa::{AssociationError, CertUsage, MatchingType, Selector, TlsaRdata};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SignatureAlgorithm, date_time_ymd,
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Why no certificate could be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum CertError {
    /// A name has characters outside of ASCII, or the key cannot be made: the words of the certificate library.
    Certificate(rcgen::Error),
    /// No TLSA record describes the certificate.
    Association(AssociationError),
}

impl fmt::Display for CertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(source) => write!(f, "no certificate: {source}"),
            Self::Association(source) => write!(f, "no TLSA record for the certificate: {source}"),
        }
    }
}

impl std::error::Error for CertError {}

impl From<rcgen::Error> for CertError {
    fn from(source: rcgen::Error) -> Self {
        Self::Certificate(source)
    }
}

impl From<AssociationError> for CertError {
    fn from(source: AssociationError) -> Self {
        Self::Association(source)
    }
}

/// The kind of key in a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CertKey {
    /// ECDSA on P-256.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

impl CertKey {
    fn generate(self) -> Result<KeyPair, CertError> {
        let algorithm: &SignatureAlgorithm = match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        };
        Ok(KeyPair::generate_for(algorithm)?)
    }
}

/// What a certificate is to say. Names are taken as they are: underscores are fine in a dNSName.
///
/// ```
/// use dance_testkit::{Authority, CertSpec};
///
/// # fn main() -> Result<(), dance_testkit::CertError> {
/// let device = CertSpec::client("sensor7._device.example.com").self_signed()?;
/// let record = device.tlsa_311()?; // for `Zone::tlsa` or `SignedWorld::set_tlsa`
///
/// let authority = Authority::root("Example devices")?;
/// let issued = CertSpec::client("sensor8._device.example.com").issued_by(&authority)?;
/// assert_eq!(issued.chain_der().len(), 2);
/// let shared = authority.tlsa_201()?; // for `*._device.example.com`
/// # assert_ne!(record, shared);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CertSpec {
    key: CertKey,
    common_name: String,
    dns_names: Vec<String>,
    emails: Vec<String>,
    addresses: Vec<IpAddr>,
    purposes: Vec<ExtendedKeyUsagePurpose>,
    not_before: i64,
    not_after: i64,
}

impl CertSpec {
    /// A client certificate: the name as its only dNSName, purpose clientAuth, P-256, valid from an hour ago for a year.
    pub fn client(name: &str) -> Self {
        Self {
            key: CertKey::P256,
            common_name: name.to_owned(),
            dns_names: vec![name.to_owned()],
            emails: Vec::new(),
            addresses: Vec::new(),
            purposes: vec![ExtendedKeyUsagePurpose::ClientAuth],
            not_before: -HOUR,
            not_after: 365 * DAY,
        }
    }

    /// A server certificate for `localhost` and 127.0.0.1, otherwise as [`CertSpec::client`].
    pub fn localhost_server() -> Self {
        Self {
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth],
            ..Self::client("localhost")
        }
    }

    /// Sets the kind of key.
    #[must_use]
    pub fn key(mut self, key: CertKey) -> Self {
        self.key = key;
        self
    }

    /// Sets the dNSNames of the subject alternative name; none leaves the extension out, if there are no addresses.
    #[must_use]
    pub fn dns_names(mut self, names: &[&str]) -> Self {
        self.dns_names = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Adds an e-mail address to the subject alternative name.
    #[must_use]
    pub fn email(mut self, address: &str) -> Self {
        self.emails.push(address.to_owned());
        self
    }

    /// Leaves the extended key usage out.
    #[must_use]
    pub fn any_purpose(mut self) -> Self {
        self.purposes.clear();
        self
    }

    /// Sets notBefore and notAfter in seconds relative to now.
    #[must_use]
    pub fn valid(mut self, not_before: i64, not_after: i64) -> Self {
        self.not_before = not_before;
        self.not_after = not_after;
        self
    }

    /// Expired yesterday.
    #[must_use]
    pub fn expired(self) -> Self {
        self.valid(-30 * DAY, -DAY)
    }

    /// Becomes valid tomorrow.
    #[must_use]
    pub fn not_yet_valid(self) -> Self {
        self.valid(DAY, 30 * DAY)
    }

    /// Makes key and certificate, signed by the key itself.
    ///
    /// # Errors
    ///
    /// When a name cannot stand in a certificate.
    pub fn self_signed(&self) -> Result<Identity, CertError> {
        let key = self.key.generate()?;
        let certificate = self.params()?.self_signed(&key)?;
        Ok(Identity::new(Chain::of(&certificate), &key))
    }

    /// Makes key and certificate, signed by an authority. The chain goes up to and with the root.
    ///
    /// # Errors
    ///
    /// When a name cannot stand in a certificate.
    pub fn issued_by(&self, authority: &Authority) -> Result<Identity, CertError> {
        let key = self.key.generate()?;
        let mut params = self.params()?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &authority.issuer)?;
        Ok(Identity::new(Chain::of(&certificate).below(&authority.chain), &key))
    }

    fn params(&self) -> Result<CertificateParams, CertError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&self.common_name);
        for name in &self.dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        for address in &self.emails {
            params.subject_alt_names.push(SanType::Rfc822Name(address.as_str().try_into()?));
        }
        params.subject_alt_names.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages.clone_from(&self.purposes);
        params.is_ca = IsCa::ExplicitNoCa;
        set_validity(&mut params, self.not_before, self.not_after);
        Ok(params)
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Sets the validity in seconds relative to now; times before 1970 count as 1970.
fn set_validity(params: &mut CertificateParams, not_before: i64, not_after: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let epoch = date_time_ymd(1970, 1, 1);
    let at = |offset| epoch + Duration::from_secs(now.saturating_add_signed(offset));
    params.not_before = at(not_before);
    params.not_after = at(not_after);
}

/// A certification authority: a root or an intermediate.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate and those above, up to and with the root.
    chain: Chain,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl Authority {
    /// A self-signed root with a P-256 key, valid from an hour ago for ten years.
    ///
    /// # Errors
    ///
    /// When the certificate library fails.
    pub fn root(name: &str) -> Result<Self, CertError> {
        Self::root_valid(name, -HOUR, 3650 * DAY)
    }

    /// A root with notBefore and notAfter in seconds relative to now.
    ///
    /// # Errors
    ///
    /// When the certificate library fails.
    pub fn root_valid(name: &str, not_before: i64, not_after: i64) -> Result<Self, CertError> {
        let key = CertKey::P256.generate()?;
        let mut params = ca_params(name);
        set_validity(&mut params, not_before, not_after);
        let certificate = params.self_signed(&key)?;
        Ok(Self { chain: Chain::of(&certificate), issuer: Issuer::new(params, key) })
    }

    /// An authority below this one.
    ///
    /// # Errors
    ///
    /// When the certificate library fails.
    pub fn intermediate(&self, name: &str) -> Result<Self, CertError> {
        let key = CertKey::P256.generate()?;
        let mut params = ca_params(name);
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, -HOUR, 1825 * DAY);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Self { chain: Chain::of(&certificate).below(&self.chain), issuer: Issuer::new(params, key) })
    }

    /// Its own certificate in DER.
    pub fn der(&self) -> &[u8] {
        self.chain.first()
    }

    /// Its own certificate in PEM.
    pub fn pem(&self) -> &str {
        self.chain.pem.first().map_or("", String::as_str)
    }

    /// The TLSA record `2 0 1` (DANE-TA, Cert, SHA2-256) of its own certificate.
    ///
    /// # Errors
    ///
    /// Never for a certificate that was made here; the record's maker reads it again.
    pub fn tlsa_201(&self) -> Result<TlsaRdata, CertError> {
        let (usage, selector) = (CertUsage::DANE_TA, Selector::CERT);
        Ok(TlsaRdata::for_certificate(usage, selector, MatchingType::SHA2_256, self.der())?)
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Certificates in two forms, the end entity's first.
#[derive(Clone, Debug)]
struct Chain {
    der: Vec<Vec<u8>>,
    pem: Vec<String>,
}

impl Chain {
    fn of(certificate: &Certificate) -> Self {
        Self { der: vec![certificate.der().to_vec()], pem: vec![certificate.pem()] }
    }

    fn below(mut self, above: &Self) -> Self {
        self.der.extend_from_slice(&above.der);
        self.pem.extend_from_slice(&above.pem);
        self
    }

    fn first(&self) -> &[u8] {
        self.der.first().map_or(&[], Vec::as_slice)
    }
}

/// A private key and the certificate chain that goes with it.
#[derive(Clone)]
pub struct Identity {
    chain: Chain,
    key_der: Vec<u8>,
    key_pem: String,
    spki: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl Identity {
    fn new(chain: Chain, key: &KeyPair) -> Self {
        Self { chain, key_der: key.serialize_der(), key_pem: key.serialize_pem(), spki: key.subject_public_key_info() }
    }

    /// The certificates in DER, the end entity's first, the root last.
    pub fn chain_der(&self) -> &[Vec<u8>] {
        &self.chain.der
    }

    /// The certificates in PEM, in the same order.
    pub fn chain_pem(&self) -> String {
        self.chain.pem.concat()
    }

    /// The end entity's certificate in DER.
    pub fn leaf_der(&self) -> &[u8] {
        self.chain.first()
    }

    /// The private key in PKCS#8 DER.
    pub fn key_der(&self) -> &[u8] {
        &self.key_der
    }

    /// The private key in PKCS#8 PEM.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The SubjectPublicKeyInfo in DER: the raw public key of RFC 7250.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The TLSA record `3 1 1` (DANE-EE, SPKI, SHA2-256).
    ///
    /// # Errors
    ///
    /// Never for a key that was made here; the record's maker reads it again.
    pub fn tlsa_311(&self) -> Result<TlsaRdata, CertError> {
        Ok(TlsaRdata::for_spki(CertUsage::DANE_EE, MatchingType::SHA2_256, &self.spki)?)
    }
}
