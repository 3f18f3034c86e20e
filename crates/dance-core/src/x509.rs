//! The few fields of a certificate that DANE needs, as slices of the octets received.
//!
//! [`Certificate::parse`] reads the frame only: strictly DER, but no field's content is judged, so that a certificate of version 1, with
//! an unknown critical extension or with odd contents still gives its key's octets, which is all that DANE-EE needs (TLSA-04, TLSA-23).
//! Contents are read when they are asked for, and what does not decode is then an error, never a default.

use core::fmt;
use core::time::Duration;

use der::asn1::{GeneralizedTime, UtcTime};
use der::{Decode as _, Header, Reader as _, SliceReader, Tag, TagNumber};
use rustls_pki_types::UnixTime;

/// Object identifiers, as the octets after tag and length.
mod oid {
    pub(super) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
    pub(super) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
    pub(super) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
    pub(super) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
    pub(super) const ANY_EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37, 0];
    pub(super) const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
    /// The attribute `uid`, 0.9.2342.19200300.100.1.1 (RFC 4519 section 2.39).
    pub(super) const UID: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1];
    pub(super) const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 10];

    /// Signature algorithms with MD2, MD4, MD5 or SHA-1, for RSA (twice), DSA and ECDSA.
    pub(super) const BROKEN_SIGNATURES: &[&[u8]] = &[
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 2],
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 3],
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 4],
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 5],
        &[0x2b, 14, 3, 2, 29],
        &[0x2a, 0x86, 0x48, 0xce, 56, 4, 3],
        &[0x2a, 0x86, 0x48, 0xce, 61, 4, 1],
    ];
    /// MD5 and SHA-1.
    pub(super) const BROKEN_DIGESTS: &[&[u8]] = &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 2, 5], &[0x2b, 14, 3, 2, 26]];
}

/// A certificate, read only as far as DANE needs it. Signature and dates are not judged here.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// The algorithm of the signature, which stands both outside and inside; this is the one outside.
    signature_algorithm: &'a [u8],
    issuer: &'a [u8],
    validity: &'a [u8],
    subject: &'a [u8],
    spki: &'a [u8],
    /// What follows the key: unique identifiers and extensions.
    rest: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads the frame of a certificate of any version.
    ///
    /// # Errors
    /// The octets are not exactly one DER certificate.
    pub fn parse(octets: &'a [u8]) -> Result<Self, CertificateError> {
        let mut outer = Elements::of_one(octets, Tag::Sequence)?;
        let mut tbs = Elements::new(outer.expect(Tag::Sequence)?.value)?;
        let signature_algorithm = outer.expect(Tag::Sequence)?.value;
        outer.expect(Tag::BitString)?;
        outer.end()?;

        tbs.optional(context(0))?;
        tbs.expect(Tag::Integer)?;
        tbs.expect(Tag::Sequence)?;
        let issuer = tbs.expect(Tag::Sequence)?.octets;
        let validity = tbs.expect(Tag::Sequence)?.value;
        let subject = tbs.expect(Tag::Sequence)?.octets;
        let spki = tbs.expect(Tag::Sequence)?.octets;
        Ok(Self { signature_algorithm, issuer, validity, subject, spki, rest: tbs.rest()? })
    }

    /// The SubjectPublicKeyInfo exactly as it stands in the certificate (TLSA-23), tag and length included.
    #[must_use]
    pub const fn spki(&self) -> &'a [u8] {
        self.spki
    }

    /// The subject exactly as it stands in the certificate, tag and length included.
    #[must_use]
    pub const fn subject(&self) -> &'a [u8] {
        self.subject
    }

    /// The issuer exactly as it stands in the certificate, tag and length included.
    #[must_use]
    pub const fn issuer(&self) -> &'a [u8] {
        self.issuer
    }

    /// notBefore and notAfter, both inclusive (RFC 5280 section 4.1.2.5).
    ///
    /// # Errors
    /// A date that does not decode.
    pub fn validity(&self) -> Result<Validity, CertificateError> {
        let mut elements = Elements::new(self.validity)?;
        let validity = Validity { not_before: elements.time()?, not_after: elements.time()? };
        elements.end()?;
        Ok(validity)
    }

    /// The value of an extension.
    fn extension(&self, id: &[u8]) -> Result<Option<&'a [u8]>, CertificateError> {
        let mut rest = Elements::new(self.rest)?;
        // issuerUniqueID and subjectUniqueID, which nobody uses.
        rest.optional(Tag::ContextSpecific { constructed: false, number: TagNumber(1) })?;
        rest.optional(Tag::ContextSpecific { constructed: false, number: TagNumber(2) })?;
        let Some(explicit) = rest.optional(context(3))? else {
            rest.end()?;
            return Ok(None);
        };
        rest.end()?;
        let mut extensions = Elements::of_one(explicit.value, Tag::Sequence)?;
        let mut found = None;
        while let Some(extension) = extensions.next()? {
            let mut fields = Elements::inside(extension, Tag::Sequence)?;
            let this = fields.expect(Tag::ObjectIdentifier)?.value;
            fields.optional(Tag::Boolean)?;
            let value = fields.expect(Tag::OctetString)?.value;
            fields.end()?;
            if this == id && found.replace(value).is_some() {
                return Err(CertificateError::RepeatedExtension);
            }
        }
        Ok(found)
    }

    /// basicConstraints (RFC 5280 section 4.2.1.9).
    ///
    /// # Errors
    /// It does not decode.
    pub fn basic_constraints(&self) -> Result<Option<BasicConstraints>, CertificateError> {
        let Some(value) = self.extension(oid::BASIC_CONSTRAINTS)? else {
            return Ok(None);
        };
        let mut fields = Elements::of_one(value, Tag::Sequence)?;
        let ca = match fields.optional(Tag::Boolean)?.map(|element| element.value) {
            None | Some([0x00]) => false,
            Some([0xff]) => true,
            Some(_) => return Err(CertificateError::Malformed),
        };
        let path_len = match fields.optional(Tag::Integer)?.map(|element| element.value) {
            None => None,
            Some([len @ 0..=0x7f]) => Some(usize::from(*len)),
            // A longer number limits nothing that could ever be built; a negative one is none.
            Some([0x00..=0x7f, _, ..]) => Some(usize::MAX),
            Some(_) => return Err(CertificateError::Malformed),
        };
        fields.end()?;
        Ok(Some(BasicConstraints { ca, path_len }))
    }

    /// keyUsage (RFC 5280 section 4.2.1.3).
    ///
    /// # Errors
    /// It does not decode.
    pub fn key_usage(&self) -> Result<Option<KeyUsage>, CertificateError> {
        let Some(value) = self.extension(oid::KEY_USAGE)? else {
            return Ok(None);
        };
        let mut outer = Elements::new(value)?;
        let bits = outer.expect(Tag::BitString)?.value;
        outer.end()?;
        match bits {
            // The first octet counts the unused bits of the last. All bits that matter are in the second.
            [0..=7, first, ..] => Ok(Some(KeyUsage(*first))),
            [0] => Ok(Some(KeyUsage(0))),
            _ => Err(CertificateError::Malformed),
        }
    }

    /// Whether the extended key usage allows TLS clients: absent, or with clientAuth or anyExtendedKeyUsage (RFC 5280 section 4.2.1.12).
    ///
    /// # Errors
    /// It does not decode.
    pub fn allows_client_auth(&self) -> Result<bool, CertificateError> {
        let Some(value) = self.extension(oid::EXTENDED_KEY_USAGE)? else {
            return Ok(true);
        };
        let mut purposes = Elements::of_one(value, Tag::Sequence)?;
        let mut allowed = false;
        while let Some(purpose) = purposes.next()? {
            if purpose.tag != Tag::ObjectIdentifier {
                return Err(CertificateError::Malformed);
            }
            allowed |= [oid::CLIENT_AUTH, oid::ANY_EXTENDED_KEY_USAGE].contains(&purpose.value);
        }
        Ok(allowed)
    }

    /// Whether the issuer signed with MD5, SHA-1 or older.
    ///
    /// # Errors
    /// The algorithm identifier does not decode.
    pub fn has_broken_digest(&self) -> Result<bool, CertificateError> {
        let mut algorithm = Elements::new(self.signature_algorithm)?;
        let id = algorithm.expect(Tag::ObjectIdentifier)?.value;
        if id != oid::RSASSA_PSS {
            return Ok(oid::BROKEN_SIGNATURES.contains(&id));
        }
        let mut parameters = Elements::inside(algorithm.expect(Tag::Sequence)?, Tag::Sequence)?;
        // RFC 4055 section 3.1: without hashAlgorithm it is SHA-1.
        let Some(explicit) = parameters.optional(context(0))? else {
            return Ok(true);
        };
        let digest = Elements::of_one(explicit.value, Tag::Sequence)?.expect(Tag::ObjectIdentifier)?.value;
        Ok(oid::BROKEN_DIGESTS.contains(&digest))
    }

    /// The entries of the subjectAltName. One that does not decode ends the iteration with an error.
    pub fn alt_names(&self) -> impl Iterator<Item = Result<AltName<'a>, CertificateError>> + use<'a> {
        let mut state = match self.extension(oid::SUBJECT_ALT_NAME) {
            Ok(Some(value)) => Elements::of_one(value, Tag::Sequence).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        core::iter::from_fn(move || {
            let next = match &mut state {
                Ok(Some(names)) => names.next().and_then(|name| name.map(AltName::read).transpose()).transpose(),
                Ok(None) => None,
                Err(error) => Some(Err(*error)),
            };
            if !matches!(next, Some(Ok(_))) {
                state = Ok(None);
            }
            next
        })
    }

    /// The dNSName entries of the subjectAltName, as they stand. A subjectAltName that does not decode has none.
    pub fn dns_names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let readable = self.alt_names().all(|name| name.is_ok());
        self.alt_names().take_while(move |_| readable).filter_map(|name| match name {
            Ok(AltName::Dns(name)) => Some(name),
            _ => None,
        })
    }
}

/// Checks that the octets are exactly one SubjectPublicKeyInfo: an AlgorithmIdentifier and a key (RFC 5280 section 4.1).
///
/// # Errors
/// They are not.
pub fn check_spki(octets: &[u8]) -> Result<(), CertificateError> {
    let mut fields = Elements::of_one(octets, Tag::Sequence)?;
    let mut algorithm = Elements::inside(fields.expect(Tag::Sequence)?, Tag::Sequence)?;
    algorithm.expect(Tag::ObjectIdentifier)?;
    fields.expect(Tag::BitString)?;
    fields.end()
}

/// The octets after tag and length of exactly one SEQUENCE.
pub(crate) fn sequence_content(octets: &[u8]) -> Result<&[u8], CertificateError> {
    Elements::of_one(octets, Tag::Sequence)?.rest()
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: UnixTime,
    /// The last second.
    pub not_after: UnixTime,
}

/// The basicConstraints extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BasicConstraints {
    /// Whether this is a CA's.
    pub ca: bool,
    /// How many CA certificates may follow it on a path.
    pub path_len: Option<usize>,
}

/// The keyUsage extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsage(u8);

impl KeyUsage {
    /// Whether the key may sign anything but certificates and revocation lists.
    #[must_use]
    pub const fn digital_signature(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// Whether the key may sign certificates.
    #[must_use]
    pub const fn key_cert_sign(self) -> bool {
        self.0 & 0x04 != 0
    }
}

/// An entry of the subjectAltName.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AltName<'a> {
    /// A dNSName.
    Dns(&'a [u8]),
    /// An rfc822Name.
    Email(&'a [u8]),
    /// An otherName with the attribute `uid`: the characters, UTF-8.
    Uid(&'a str),
    /// Anything else.
    Other,
}

impl<'a> AltName<'a> {
    fn read(element: Element<'a>) -> Result<Self, CertificateError> {
        match element.tag {
            Tag::ContextSpecific { constructed: true, number: TagNumber(0) } => {
                let mut fields = Elements::new(element.value)?;
                let id = fields.expect(Tag::ObjectIdentifier)?.value;
                let explicit = fields.expect(context(0))?;
                fields.end()?;
                if id != oid::UID {
                    return Ok(Self::Other);
                }
                let mut value = Elements::new(explicit.value)?;
                let text = value.expect(Tag::Utf8String)?.value;
                value.end()?;
                core::str::from_utf8(text).map(Self::Uid).map_err(|_| CertificateError::Malformed)
            }
            Tag::ContextSpecific { constructed: false, number: TagNumber(1) } => Ok(Self::Email(element.value)),
            Tag::ContextSpecific { constructed: false, number: TagNumber(2) } => Ok(Self::Dns(element.value)),
            Tag::ContextSpecific { .. } => Ok(Self::Other),
            _ => Err(CertificateError::Malformed),
        }
    }
}

/// Why octets are no certificate, or not what was asked of it. The fault of whoever issued or sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// Not DER, or not of the structure of RFC 5280 section 4.1.
    Malformed,
    /// An extension stands twice.
    RepeatedExtension,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "expected exactly one X.509 certificate in DER, found something else",
            Self::RepeatedExtension => "expected each certificate extension once, found one twice",
        })
    }
}

impl core::error::Error for CertificateError {}

impl From<der::Error> for CertificateError {
    fn from(_: der::Error) -> Self {
        Self::Malformed
    }
}

const fn context(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber(number) }
}

/// One DER element.
#[derive(Clone, Copy)]
struct Element<'a> {
    tag: Tag,
    /// Tag and length included.
    octets: &'a [u8],
    value: &'a [u8],
}

/// DER elements one after the other.
struct Elements<'a>(SliceReader<'a>);

impl<'a> Elements<'a> {
    fn new(octets: &'a [u8]) -> Result<Self, CertificateError> {
        Ok(Self(SliceReader::new(octets)?))
    }

    /// The elements inside one element that is all there is.
    fn of_one(octets: &'a [u8], tag: Tag) -> Result<Self, CertificateError> {
        let mut outer = Self::new(octets)?;
        let element = outer.expect(tag)?;
        outer.end()?;
        Self::new(element.value)
    }

    fn inside(element: Element<'a>, tag: Tag) -> Result<Self, CertificateError> {
        if element.tag == tag { Self::new(element.value) } else { Err(CertificateError::Malformed) }
    }

    fn next(&mut self) -> Result<Option<Element<'a>>, CertificateError> {
        if self.0.is_finished() {
            return Ok(None);
        }
        let octets = self.0.tlv_bytes()?;
        let mut reader = SliceReader::new(octets)?;
        let header = Header::decode(&mut reader)?;
        let value = reader.read_slice(header.length())?;
        Ok(Some(Element { tag: header.tag(), octets, value }))
    }

    fn expect(&mut self, tag: Tag) -> Result<Element<'a>, CertificateError> {
        self.next()?.filter(|element| element.tag == tag).ok_or(CertificateError::Malformed)
    }

    /// The next element if it has this tag.
    fn optional(&mut self, tag: Tag) -> Result<Option<Element<'a>>, CertificateError> {
        if !self.0.is_finished() && Tag::peek(&self.0)? == tag { self.next() } else { Ok(None) }
    }

    fn time(&mut self) -> Result<UnixTime, CertificateError> {
        let element = self.next()?.ok_or(CertificateError::Malformed)?;
        let since_epoch: Duration = match element.tag {
            Tag::UtcTime => UtcTime::from_der(element.octets)?.to_unix_duration(),
            Tag::GeneralizedTime => GeneralizedTime::from_der(element.octets)?.to_unix_duration(),
            _ => return Err(CertificateError::Malformed),
        };
        Ok(UnixTime::since_unix_epoch(since_epoch))
    }

    /// All that has not been read.
    fn rest(mut self) -> Result<&'a [u8], CertificateError> {
        Ok(self.0.read_slice(self.0.remaining_len())?)
    }

    fn end(&self) -> Result<(), CertificateError> {
        if self.0.is_finished() { Ok(()) } else { Err(CertificateError::Malformed) }
    }
}
