//! The few fields of a certificate that DANE needs, as slices of the octets received.

/// A certificate, read only as far as DANE needs it, strictly DER. Signature and dates are not judged here.
#[derive(Clone, Debug)]
pub struct Certificate<'a> {
    spki: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads a certificate of any version.
    ///
    /// # Errors
    /// The octets are not exactly one DER certificate.
    pub fn parse(octets: &'a [u8]) -> Result<Self, CertificateError> {
        let _ = octets;
        todo!()
    }

    /// The SubjectPublicKeyInfo exactly as it stands in the certificate (TLSA-23).
    #[must_use]
    pub const fn spki(&self) -> &'a [u8] {
        self.spki
    }

    /// The dNSName entries of the subjectAltName, as they stand.
    pub fn dns_names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        core::iter::empty()
    }
}

/// Why octets are no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// Not exactly one DER certificate.
    Malformed,
}
