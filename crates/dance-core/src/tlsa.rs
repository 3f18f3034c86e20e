//! TLSA records (RFC 6698 section 2): RDATA as received, and its presentation and RFC 3597 forms.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest as _, Sha256, Sha512};

use crate::x509::{self, CertificateError};

/// The RR type (RFC 6698 section 7.1).
pub const RR_TYPE: u16 = 52;

/// Longest RDATA: its length stands in two octets (RFC 1035 section 3.2.1).
pub const MAX_RDATA_LEN: usize = 65_535;

/// Octets before the certificate association data: usage, selector and matching type.
const FIXED_LEN: usize = 3;

/// Certificate usage (RFC 6698 section 2.1.1, acronyms of RFC 7218). Unknown values survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertUsage(pub u8);

impl CertUsage {
    /// 0: a CA certificate of a PKIX-valid path.
    pub const PKIX_TA: Self = Self(0);
    /// 1: the end entity of a PKIX-valid path.
    pub const PKIX_EE: Self = Self(1);
    /// 2: a trust anchor of the domain's own.
    pub const DANE_TA: Self = Self(2);
    /// 3: the end entity itself.
    pub const DANE_EE: Self = Self(3);

    /// The acronym of RFC 7218 section 2.1.
    #[must_use]
    pub const fn acronym(self) -> Option<&'static str> {
        match self {
            Self::PKIX_TA => Some("PKIX-TA"),
            Self::PKIX_EE => Some("PKIX-EE"),
            Self::DANE_TA => Some("DANE-TA"),
            Self::DANE_EE => Some("DANE-EE"),
            Self(_) => None,
        }
    }

    /// Whether the end entity must be valid by PKIX to a configured root (usages 0 and 1).
    #[must_use]
    pub const fn is_pkix(self) -> bool {
        matches!(self, Self::PKIX_TA | Self::PKIX_EE)
    }
}

/// Selector (RFC 6698 section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector(pub u8);

impl Selector {
    /// 0: the whole certificate.
    pub const CERT: Self = Self(0);
    /// 1: its SubjectPublicKeyInfo.
    pub const SPKI: Self = Self(1);

    /// The acronym of RFC 7218 section 2.2.
    #[must_use]
    pub const fn acronym(self) -> Option<&'static str> {
        match self {
            Self::CERT => Some("Cert"),
            Self::SPKI => Some("SPKI"),
            Self(_) => None,
        }
    }
}

/// Matching type (RFC 6698 section 2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MatchingType(pub u8);

impl MatchingType {
    /// 0: the octets themselves.
    pub const FULL: Self = Self(0);
    /// 1: their SHA-256 digest.
    pub const SHA2_256: Self = Self(1);
    /// 2: their SHA-512 digest.
    pub const SHA2_512: Self = Self(2);

    /// The acronym of RFC 7218 section 2.3.
    #[must_use]
    pub const fn acronym(self) -> Option<&'static str> {
        match self {
            Self::FULL => Some("Full"),
            Self::SHA2_256 => Some("SHA2-256"),
            Self::SHA2_512 => Some("SHA2-512"),
            Self(_) => None,
        }
    }

    /// How long the data is, where the type is a digest.
    #[must_use]
    pub const fn digest_len(self) -> Option<usize> {
        match self {
            Self::SHA2_256 => Some(32),
            Self::SHA2_512 => Some(64),
            Self(_) => None,
        }
    }
}

/// The octets of one TLSA RDATA as received, well-formed or not.
///
/// `Display` and `FromStr` are the presentation form of RFC 6698 section 2.2; `FromStr` takes the form of RFC 3597 section 5 too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsaRdata(Box<[u8]>);

impl TlsaRdata {
    /// Wraps RDATA octets without judging them.
    #[must_use]
    pub fn from_wire(octets: &[u8]) -> Self {
        Self(octets.into())
    }

    /// The octets.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// Puts a record together from its fields, without judging them.
    #[must_use]
    pub fn new(usage: CertUsage, selector: Selector, matching_type: MatchingType, data: &[u8]) -> Self {
        let mut octets = Vec::with_capacity(FIXED_LEN + data.len());
        octets.extend_from_slice(&[usage.0, selector.0, matching_type.0]);
        octets.extend_from_slice(data);
        Self(octets.into())
    }

    /// The record to publish for a certificate in DER.
    ///
    /// # Errors
    /// [`AssociationError`].
    pub fn for_certificate(
        usage: CertUsage,
        selector: Selector,
        matching_type: MatchingType,
        certificate: &[u8],
    ) -> Result<Self, AssociationError> {
        let parsed = x509::Certificate::parse(certificate).map_err(AssociationError::Certificate)?;
        match selector {
            Selector::CERT => Self::associate(usage, selector, matching_type, certificate),
            Selector::SPKI => Self::associate(usage, selector, matching_type, parsed.spki()),
            Selector(value) => Err(AssociationError::UnknownSelector(value)),
        }
    }

    /// The record to publish for a raw public key, a SubjectPublicKeyInfo in DER. The selector is SPKI.
    ///
    /// # Errors
    /// [`AssociationError`].
    pub fn for_spki(usage: CertUsage, matching_type: MatchingType, spki: &[u8]) -> Result<Self, AssociationError> {
        x509::check_spki(spki).map_err(AssociationError::Spki)?;
        Self::associate(usage, Selector::SPKI, matching_type, spki)
    }

    fn associate(
        usage: CertUsage,
        selector: Selector,
        matching_type: MatchingType,
        content: &[u8],
    ) -> Result<Self, AssociationError> {
        if usage.acronym().is_none() {
            return Err(AssociationError::UnknownUsage(usage.0));
        }
        match matching_type {
            MatchingType::FULL if content.len() > MAX_RDATA_LEN - FIXED_LEN => {
                Err(AssociationError::TooLong { octets: content.len() })
            }
            MatchingType::FULL => Ok(Self::new(usage, selector, matching_type, content)),
            MatchingType::SHA2_256 => Ok(Self::new(usage, selector, matching_type, &Sha256::digest(content))),
            MatchingType::SHA2_512 => Ok(Self::new(usage, selector, matching_type, &Sha512::digest(content))),
            MatchingType(value) => Err(AssociationError::UnknownMatchingType(value)),
        }
    }

    /// The fields, without judging them; `None` under three octets.
    #[must_use]
    pub fn fields(&self) -> Option<TlsaFields<'_>> {
        match &*self.0 {
            [usage, selector, matching_type, data @ ..] => Some(TlsaFields {
                usage: CertUsage(*usage),
                selector: Selector(*selector),
                matching_type: MatchingType(*matching_type),
                data,
            }),
            _ => None,
        }
    }

    /// The fields of a record that can be used (RFC 6698 section 4.1, requirements 5.2), as far as the record alone decides it.
    ///
    /// # Errors
    /// The first reason for which it cannot.
    pub fn usable(&self) -> Result<TlsaFields<'_>, Unusable> {
        let fields =
            self.fields().filter(|fields| !fields.data.is_empty()).ok_or(Unusable::Short { octets: self.0.len() })?;
        if fields.usage.acronym().is_none() {
            return Err(Unusable::UnknownUsage(fields.usage.0));
        }
        if fields.selector.acronym().is_none() {
            return Err(Unusable::UnknownSelector(fields.selector.0));
        }
        match (fields.matching_type, fields.selector) {
            (MatchingType::FULL, Selector::CERT) => {
                x509::Certificate::parse(fields.data).map_err(Unusable::NotCertificate)?;
            }
            (MatchingType::FULL, _) => x509::check_spki(fields.data).map_err(Unusable::NotSpki)?,
            (matching_type, _) => match matching_type.digest_len() {
                Some(expected) if expected == fields.data.len() => {}
                Some(expected) => return Err(Unusable::DigestLength { expected, found: fields.data.len() }),
                None => return Err(Unusable::UnknownMatchingType(matching_type.0)),
            },
        }
        Ok(fields)
    }

    /// The form of RFC 3597 section 5, for name servers that do not know the type: `\# 35 030101...`. The RR type is written `TYPE52`.
    #[must_use]
    pub fn to_rfc3597(&self) -> String {
        match self.0.len() {
            0 => String::from("\\# 0"),
            len => alloc::format!("\\# {len} {}", HEXLOWER.encode(&self.0)),
        }
    }

    /// Reads the form of RFC 3597 section 5, with or without `TYPE52` before it.
    ///
    /// # Errors
    /// [`PresentationError`].
    pub fn parse_rfc3597(text: &str) -> Result<Self, PresentationError> {
        let mut words = text.split_ascii_whitespace().peekable();
        words.next_if(|word| word.eq_ignore_ascii_case("TYPE52"));
        if words.next() != Some("\\#") {
            return Err(PresentationError::NoMarker);
        }
        let said = words.next().ok_or(PresentationError::Missing("RDATA length"))?;
        let said = usize::from(decimal::<u16>(said).ok_or(PresentationError::Number("RDATA length"))?);
        let octets = hexadecimal(words)?;
        if octets.len() != said {
            return Err(PresentationError::Length { said, found: octets.len() });
        }
        Ok(Self(octets.into()))
    }
}

impl fmt::Display for TlsaRdata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fields().filter(|fields| !fields.data.is_empty()) {
            Some(TlsaFields { usage, selector, matching_type, data }) => {
                write!(f, "{} {} {} {}", usage.0, selector.0, matching_type.0, HEXLOWER.encode(data))
            }
            // The presentation form has no way to write missing fields or empty data.
            None => f.write_str(&self.to_rfc3597()),
        }
    }
}

impl FromStr for TlsaRdata {
    type Err = PresentationError;

    fn from_str(text: &str) -> Result<Self, PresentationError> {
        if text.contains('\\') {
            return Self::parse_rfc3597(text);
        }
        let mut words = text.split_ascii_whitespace();
        let mut octets = Vec::new();
        for field in ["certificate usage", "selector", "matching type"] {
            let word = words.next().ok_or(PresentationError::Missing(field))?;
            octets.push(decimal::<u8>(word).ok_or(PresentationError::Number(field))?);
        }
        let data = hexadecimal(words)?;
        if data.is_empty() {
            return Err(PresentationError::Missing("certificate association data"));
        }
        if data.len() > MAX_RDATA_LEN - FIXED_LEN {
            return Err(PresentationError::TooLong { octets: data.len() });
        }
        octets.extend_from_slice(&data);
        Ok(Self(octets.into()))
    }
}

/// Digits only: `str::parse` alone would take a sign.
fn decimal<T: FromStr>(word: &str) -> Option<T> {
    word.bytes().all(|octet| octet.is_ascii_digit()).then(|| word.parse().ok())?
}

/// Hexadecimal digits of either case; blanks may stand anywhere (RFC 6698 section 2.2).
fn hexadecimal<'a>(words: impl Iterator<Item = &'a str>) -> Result<Vec<u8>, PresentationError> {
    let digits: String = words.collect();
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| PresentationError::Hexadecimal)
}

/// A record's fields, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsaFields<'a> {
    /// Certificate usage.
    pub usage: CertUsage,
    /// Selector.
    pub selector: Selector,
    /// Matching type.
    pub matching_type: MatchingType,
    /// Certificate association data.
    pub data: &'a [u8],
}

/// Why a record cannot be used, whoever presents whatever. The fault of the record's publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The data does not have the digest's length.
    DigestLength {
        /// The digest's length.
        expected: usize,
        /// The data's.
        found: usize,
    },
    /// Selector Cert, matching type Full: the data is not exactly one certificate.
    NotCertificate(CertificateError),
    /// Selector SPKI, matching type Full: the data is not exactly one SubjectPublicKeyInfo.
    NotSpki(CertificateError),
    /// Under four octets: fields are missing, or there is no data.
    Short {
        /// How many there are.
        octets: usize,
    },
    /// A matching type this software does not know.
    UnknownMatchingType(u8),
    /// A selector this software does not know.
    UnknownSelector(u8),
    /// A certificate usage this software does not know.
    UnknownUsage(u8),
}

impl Unusable {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::DigestLength { .. } => "unusable-digest-length",
            Self::NotCertificate(_) => "unusable-not-certificate",
            Self::NotSpki(_) => "unusable-not-spki",
            Self::Short { .. } => "unusable-short",
            Self::UnknownMatchingType(_) => "unusable-matching-type",
            Self::UnknownSelector(_) => "unusable-selector",
            Self::UnknownUsage(_) => "unusable-usage",
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DigestLength { expected, found } => {
                write!(f, "expected a digest of {expected} octets, found {found}")
            }
            Self::NotCertificate(_) => {
                f.write_str("expected exactly one certificate in DER as data (selector 0, matching type 0)")
            }
            Self::NotSpki(_) => {
                f.write_str("expected exactly one SubjectPublicKeyInfo in DER as data (selector 1, matching type 0)")
            }
            Self::Short { octets } => write!(f, "expected at least 4 octets of RDATA, found {octets}"),
            Self::UnknownMatchingType(value) => write!(f, "expected matching type 0, 1 or 2, found {value}"),
            Self::UnknownSelector(value) => write!(f, "expected selector 0 or 1, found {value}"),
            Self::UnknownUsage(value) => write!(f, "expected certificate usage 0, 1, 2 or 3, found {value}"),
        }
    }
}

impl core::error::Error for Unusable {}

/// Why a text is no TLSA RDATA. The fault of whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentationError {
    /// The data is not an even number of hexadecimal digits.
    Hexadecimal,
    /// RFC 3597 form: length and data disagree.
    Length {
        /// What the text says.
        said: usize,
        /// How many octets follow.
        found: usize,
    },
    /// A field is not there.
    Missing(&'static str),
    /// RFC 3597 form: no `\#`.
    NoMarker,
    /// A field is not a decimal number in its range.
    Number(&'static str),
    /// More data than an RDATA holds.
    TooLong {
        /// How many octets.
        octets: usize,
    },
}

impl fmt::Display for PresentationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hexadecimal => f.write_str("expected an even number of hexadecimal digits as data"),
            Self::Length { said, found } => write!(f, "the text says {said} octets of RDATA, but {found} follow"),
            Self::Missing(field) => write!(f, "expected \"USAGE SELECTOR MATCHING-TYPE HEX\", found no {field}"),
            Self::NoMarker => f.write_str("expected \"\\# LENGTH HEX\" (RFC 3597), found no \\#"),
            Self::Number(field) => write!(f, "expected a decimal number as {field}, found something else"),
            Self::TooLong { octets } => write!(f, "expected at most 65532 octets of data, found {octets}"),
        }
    }
}

impl core::error::Error for PresentationError {}

/// Why no record can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssociationError {
    /// The octets are no certificate.
    Certificate(CertificateError),
    /// The octets are no SubjectPublicKeyInfo.
    Spki(CertificateError),
    /// Matching type Full: the content does not fit into an RDATA.
    TooLong {
        /// Its length.
        octets: usize,
    },
    /// Only 0, 1 and 2 are defined.
    UnknownMatchingType(u8),
    /// Only 0 and 1 are defined.
    UnknownSelector(u8),
    /// Only 0, 1, 2 and 3 are defined.
    UnknownUsage(u8),
}

impl fmt::Display for AssociationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(error) => error.fmt(f),
            Self::Spki(_) => f.write_str("expected exactly one SubjectPublicKeyInfo in DER"),
            Self::TooLong { octets } => {
                write!(f, "{octets} octets do not fit into a record; publish a digest (matching type 1)")
            }
            Self::UnknownMatchingType(value) => write!(f, "expected matching type 0, 1 or 2, found {value}"),
            Self::UnknownSelector(value) => write!(f, "expected selector 0 or 1, found {value}"),
            Self::UnknownUsage(value) => write!(f, "expected certificate usage 0, 1, 2 or 3, found {value}"),
        }
    }
}

impl core::error::Error for AssociationError {}
