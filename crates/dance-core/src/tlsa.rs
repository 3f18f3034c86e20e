//! TLSA records (RFC 6698 section 2): RDATA as received, and its presentation and RFC 3597 forms.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// The RR type (RFC 6698 section 7.1).
pub const RR_TYPE: u16 = 52;

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
}

/// Selector (RFC 6698 section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector(pub u8);

impl Selector {
    /// 0: the whole certificate.
    pub const CERT: Self = Self(0);
    /// 1: its SubjectPublicKeyInfo.
    pub const SPKI: Self = Self(1);
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
}

/// The octets of one TLSA RDATA as received, well-formed or not.
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
}
