//! Keys and DS records: which algorithms and digests count, and which key a DS stands for.

use std::fmt;

use bytes::Bytes;
use domain::base::iana::SecurityAlgorithm;
use domain::base::rdata::ComposeRecordData as _;
use domain::crypto::common::{DigestBuilder, DigestType, PublicKey};
use domain::rdata::Dnskey;

use crate::question::DnsName;

/// Whether signatures of this algorithm count. RSA with SHA-1 (5, 7) does not any more (RFC 9905); the crypto back end has no Ed448 (16).
pub(crate) fn is_supported(algorithm: SecurityAlgorithm) -> bool {
    matches!(
        algorithm,
        SecurityAlgorithm::RSASHA256
            | SecurityAlgorithm::RSASHA512
            | SecurityAlgorithm::ECDSAP256SHA256
            | SecurityAlgorithm::ECDSAP384SHA384
            | SecurityAlgorithm::ED25519
    )
}

/// A digest type of DS records, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Digest {
    Sha1,
    Sha256,
    Sha384,
}

impl Digest {
    pub(crate) const fn from_int(int: u8) -> Option<Self> {
        match int {
            1 => Some(Self::Sha1),
            2 => Some(Self::Sha256),
            4 => Some(Self::Sha384),
            _ => None,
        }
    }
}

/// A DS record whose algorithm and digest are supported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ds {
    pub(crate) tag: u16,
    pub(crate) algorithm: SecurityAlgorithm,
    pub(crate) digest: Digest,
    pub(crate) value: Bytes,
}

impl Ds {
    /// Reads RDATA (RFC 4034 section 5.1); `None` if it is too short, or algorithm or digest are not supported.
    pub(crate) fn parse(rdata: &Bytes) -> Option<Self> {
        let &[tag_high, tag_low, algorithm, digest, ..] = rdata.as_ref() else { return None };
        let algorithm = SecurityAlgorithm::from_int(algorithm);
        let digest = Digest::from_int(digest).filter(|_| is_supported(algorithm))?;
        Some(Self { tag: u16::from_be_bytes([tag_high, tag_low]), algorithm, digest, value: rdata.slice(4..) })
    }

    /// Whether it names this key, or another of the same tag.
    pub(crate) fn is_about(&self, key: &Key) -> bool {
        self.tag == key.tag && self.algorithm == key.algorithm
    }

    /// Whether its digest is that of this DNSKEY RDATA of `zone` (RFC 4034 section 5.1.4).
    pub(crate) fn matches(&self, zone: &DnsName, rdata: &Bytes) -> bool {
        let mut digest = DigestBuilder::new(match self.digest {
            Digest::Sha1 => DigestType::Sha1,
            Digest::Sha256 => DigestType::Sha256,
            Digest::Sha384 => DigestType::Sha384,
        });
        digest.update(&zone.as_slice().to_ascii_lowercase());
        digest.update(rdata);
        digest.finish().as_ref() == self.value.as_ref()
    }
}

/// A zone key that may sign: flag Zone Key, protocol 3, not revoked, algorithm supported. Holds nothing of the message it came in, which may
/// be much larger.
pub(crate) struct Key {
    pub(crate) tag: u16,
    pub(crate) algorithm: SecurityAlgorithm,
    /// The length of the public key.
    pub(crate) octets: usize,
    pub(crate) public: PublicKey,
}

impl Key {
    /// Reads RDATA (RFC 4034 section 2.1); `None` if it is not such a key.
    pub(crate) fn parse(rdata: &Bytes) -> Option<Self> {
        let &[flags_high, flags_low, protocol, algorithm, ..] = rdata.as_ref() else { return None };
        let flags = u16::from_be_bytes([flags_high, flags_low]);
        let algorithm = SecurityAlgorithm::from_int(algorithm);
        let dnskey = Dnskey::new(flags, protocol, algorithm, rdata.slice(4..)).ok()?;
        if !dnskey.is_zone_key() || dnskey.is_revoked() || protocol != 3 || !is_supported(algorithm) {
            return None;
        }
        let public = PublicKey::from_dnskey(&dnskey).ok()?;
        Some(Self { tag: dnskey.key_tag(), algorithm, octets: dnskey.public_key().len(), public })
    }

    /// The RDATA of a record that was read from text.
    pub(crate) fn rdata(dnskey: &Dnskey<Bytes>) -> Bytes {
        let mut rdata = Vec::new();
        let Ok(()) = dnskey.compose_rdata(&mut rdata);
        rdata.into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("tag", &self.tag).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
