//! Certificates and private keys, from PEM or DER.

use std::path::Path;
use std::{fmt, fs};

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use crate::error::{CredentialError, CredentialSource};

/// A private key that signs for a raw public key, or for a certificate.
#[derive(Clone)]
pub struct PrivateKey(PKey<Private>);

impl PrivateKey {
    /// Takes PEM (PKCS#8, PKCS#1 or SEC1) or DER.
    ///
    /// # Errors
    /// [`CredentialError`]: no key, or an encrypted one.
    pub fn parse(octets: &[u8]) -> Result<Self, CredentialError> {
        Self::parse_from(octets, CredentialSource::Octets)
    }

    /// As [`Self::parse`], from a file.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn load(path: &Path) -> Result<Self, CredentialError> {
        Self::parse_from(&read(path)?, CredentialSource::File(path.to_owned()))
    }

    fn parse_from(octets: &[u8], source: CredentialSource) -> Result<Self, CredentialError> {
        let mut encrypted = false;
        let key = if is_der(octets) {
            PKey::private_key_from_der(octets)
        } else {
            // Without a callback OpenSSL would ask the terminal.
            PKey::private_key_from_pem_callback(octets, |_| {
                encrypted = true;
                Ok(0)
            })
        };
        match key {
            Ok(key) => Ok(Self(key)),
            Err(_) if encrypted => Err(CredentialError::EncryptedKey(source)),
            Err(cause) => Err(CredentialError::BadKey { source, cause }),
        }
    }

    /// The SubjectPublicKeyInfo in DER: what a raw public key client presents.
    ///
    /// # Errors
    /// OpenSSL cannot encode this kind of key.
    pub fn spki_der(&self) -> Result<Vec<u8>, ErrorStack> {
        self.0.public_key_to_der()
    }

    pub(crate) const fn as_pkey(&self) -> &PKey<Private> {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?}, {} bits)", self.0.id(), self.0.bits())
    }
}

/// A certificate chain, the end entity first, with the end entity's private key.
#[derive(Clone)]
pub struct CertifiedKey {
    chain: Vec<X509>,
    key: PrivateKey,
}

impl CertifiedKey {
    /// Takes a chain in PEM (a single certificate may be DER) and a key as [`PrivateKey::parse`] does.
    ///
    /// # Errors
    /// [`CredentialError`]: either is missing, or they do not belong together.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Self, CredentialError> {
        Self::new(certificates(chain, CredentialSource::Octets)?, PrivateKey::parse(key)?)
    }

    /// As [`Self::parse`], from files, which may be the same one.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn load(chain: &Path, key: &Path) -> Result<Self, CredentialError> {
        let certificates = certificates(&read(chain)?, CredentialSource::File(chain.to_owned()))?;
        Self::new(certificates, PrivateKey::load(key)?)
    }

    fn new(chain: Vec<X509>, key: PrivateKey) -> Result<Self, CredentialError> {
        let belongs = |certificate: &X509| certificate.public_key().is_ok_and(|public| public.public_eq(&key.0));
        match chain.iter().position(belongs) {
            Some(0) => Ok(Self { chain, key }),
            other => Err(CredentialError::Mismatch {
                subject: chain.first().map(subject).unwrap_or_default(),
                belongs_to: other.map(|index| index + 1),
            }),
        }
    }

    /// The certificates in DER, the end entity first.
    ///
    /// # Errors
    /// OpenSSL cannot encode one of them.
    pub fn certificates_der(&self) -> Result<Vec<Vec<u8>>, ErrorStack> {
        self.chain.iter().map(|certificate| certificate.to_der()).collect()
    }

    /// The private key.
    #[must_use]
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }

    pub(crate) fn chain(&self) -> &[X509] {
        &self.chain
    }
}

impl fmt::Debug for CertifiedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subjects: Vec<String> = self.chain.iter().map(subject).collect();
        f.debug_struct("CertifiedKey").field("chain", &subjects).field("key", &self.key).finish()
    }
}

/// The certificates in PEM, or the one in DER. Never empty.
pub(crate) fn certificates(octets: &[u8], source: CredentialSource) -> Result<Vec<X509>, CredentialError> {
    let found = if is_der(octets) { X509::from_der(octets).map(|one| vec![one]) } else { X509::stack_from_pem(octets) };
    match found {
        Ok(chain) if chain.is_empty() => Err(CredentialError::NoCertificate(source)),
        Ok(chain) => Ok(chain),
        Err(cause) => Err(CredentialError::BadCertificate { source, cause }),
    }
}

/// Both certificates and keys are a SEQUENCE in DER; PEM is text.
fn is_der(octets: &[u8]) -> bool {
    octets.first() == Some(&0x30)
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CredentialError> {
    fs::read(path).map_err(|error| CredentialError::Read { path: path.to_owned(), error })
}

/// The subject in the field's usual notation.
pub(crate) fn subject(certificate: &X509) -> String {
    let parts: Vec<String> = certificate
        .subject_name()
        .entries()
        .map(|entry| {
            let key = entry.object().nid().short_name().unwrap_or("?");
            format!("{key}={}", String::from_utf8_lossy(entry.data().as_slice()).escape_debug())
        })
        .collect();
    if parts.is_empty() { "an empty subject".to_owned() } else { parts.join(", ") }
}
