//! What one look-up may cost: an unauthenticated peer names the zone whose owner decides how much work a proof is (SEC-14).

use domain::base::iana::SecurityAlgorithm;

/// Work for signatures, in units of one P-256 verification (about 75 us): an ordinary cold proof of five zones takes 20, a P-384 chain of three 90.
/// 400 keep the longest look-up at 30 ms of one core.
pub const MAX_UNITS: u32 = 400;
/// Units for verifications that fail. An honest chain in the middle of a rollover has one or two.
pub const MAX_FAILED_UNITS: u32 = 64;
/// Keys of one tag and algorithm tried for one signature: tags collide by accident about once in 65,536 pairs (CVE-2023-50387).
pub const MAX_KEYS_PER_SIGNATURE: u32 = 4;
/// Digests computed to find the keys that a zone's DS records stand for: an honest zone has as many as DS records.
pub const MAX_DIGESTS: usize = 32;
/// Signatures tried for one RRset: two algorithms, each with two keys in rollover, twice over.
pub const MAX_SIGNATURES_PER_RRSET: u32 = 8;
/// SHA-1 runs for NSEC3: a name of the greatest depth at 100 iterations, in several links (CVE-2023-50868).
pub const MAX_NSEC3_HASHES: u32 = 20_000;
/// Records in one section of a message: far above an RRset of 64 with its signatures, aliases and proof, and few enough that comparing
/// each with each costs nothing.
pub const MAX_SECTION_RECORDS: usize = 512;
/// RRsets in one section of a message: nine links with their synthesised aliases; or a SOA record and three proofs for each of them.
pub const MAX_SECTION_RRSETS: usize = 64;
/// Zones from the anchor to a signer, and names between a known zone and a signer. Those of devices have 3 to 6.
pub const MAX_ZONES: usize = 16;
/// Questions of one look-up: TLSA, and DS and DNSKEY of [`MAX_ZONES`] and of the names between.
pub const MAX_QUESTIONS: usize = 48;
/// Octets of all replies, which are held until the proof is done: two messages of the greatest size, for the answer and for keys, and 4 KiB for
/// DS and DNSKEY of [`MAX_ZONES`] each.
pub const MAX_REPLY_OCTETS: usize = 256 * 1024;
/// Distinct signers looked into for one RRset. An honest one has one.
pub const MAX_SIGNERS: usize = 3;
/// NSEC and NSEC3 RRsets of one message that are looked at: three for each of nine links.
pub const MAX_PROOFS: usize = 27;

/// The limits of one look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// See [`MAX_UNITS`].
    pub units: u32,
    /// See [`MAX_FAILED_UNITS`].
    pub failed_units: u32,
    /// See [`MAX_KEYS_PER_SIGNATURE`].
    pub keys_per_signature: u32,
    /// See [`MAX_SIGNATURES_PER_RRSET`].
    pub signatures_per_rrset: u32,
    /// See [`MAX_NSEC3_HASHES`].
    pub nsec3_hashes: u32,
    /// See [`MAX_ZONES`].
    pub zones: usize,
    /// See [`MAX_QUESTIONS`].
    pub questions: usize,
    /// See [`MAX_REPLY_OCTETS`].
    pub reply_octets: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            units: MAX_UNITS,
            failed_units: MAX_FAILED_UNITS,
            keys_per_signature: MAX_KEYS_PER_SIGNATURE,
            signatures_per_rrset: MAX_SIGNATURES_PER_RRSET,
            nsec3_hashes: MAX_NSEC3_HASHES,
            zones: MAX_ZONES,
            questions: MAX_QUESTIONS,
            reply_octets: MAX_REPLY_OCTETS,
        }
    }
}

/// Which limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetKind {
    /// [`MAX_UNITS`].
    Units,
    /// [`MAX_FAILED_UNITS`].
    FailedUnits,
    /// [`MAX_KEYS_PER_SIGNATURE`].
    KeysPerSignature,
    /// [`MAX_SIGNATURES_PER_RRSET`].
    SignaturesPerRrset,
    /// [`MAX_NSEC3_HASHES`].
    Nsec3Hashes,
    /// [`MAX_DIGESTS`].
    Digests,
    /// [`MAX_ZONES`].
    Zones,
    /// [`MAX_QUESTIONS`].
    Questions,
    /// [`MAX_SIGNERS`].
    Signers,
    /// [`MAX_PROOFS`].
    Proofs,
    /// [`MAX_SECTION_RECORDS`] or [`MAX_SECTION_RRSETS`].
    Records,
    /// [`MAX_REPLY_OCTETS`].
    ReplyOctets,
}

/// What a proof cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Signatures verified.
    pub signatures: u32,
    /// The same in units of one P-256 verification.
    pub units: u32,
    /// Of these, for verifications that failed.
    pub failed_units: u32,
    /// SHA-1 runs for NSEC3.
    pub nsec3_hashes: u32,
    /// Questions asked.
    pub questions: usize,
}

/// What one verification costs, as measured with ring: P-256 72 us, Ed25519 54 us, P-384 1.05 ms, RSA-2048 20 us. RSA takes three times as
/// long with the greatest exponent that ring allows, of 33 bits, as with the usual one, and it is the zone's owner who chooses: in units of
/// P-256, 1.4 for 2048 bits, 5 for 4096, 20 for 8192, the longest that there are.
pub(crate) fn units(algorithm: SecurityAlgorithm, key_octets: usize) -> u32 {
    /// The public key of RSA with a modulus of so many bits, with its exponent.
    const fn rsa(bits: usize) -> usize {
        bits / 8 + 8
    }
    match algorithm {
        SecurityAlgorithm::ECDSAP384SHA384 => 15,
        SecurityAlgorithm::RSASHA256 | SecurityAlgorithm::RSASHA512 if key_octets > rsa(4096) => 20,
        SecurityAlgorithm::RSASHA256 | SecurityAlgorithm::RSASHA512 if key_octets > rsa(2048) => 5,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SEC-14: no key is worth more to an attacker than it costs.
    #[test]
    fn the_largest_keys_cost_most() {
        let rsa = |bits: usize, exponent: usize| units(SecurityAlgorithm::RSASHA256, 1 + exponent + bits / 8);
        assert_eq!([1024, 2048, 4096, 8192].map(|bits| rsa(bits, 3)), [1, 1, 5, 20]);
        assert_eq!([1024, 2048, 4096, 8192].map(|bits| rsa(bits, 5)), [1, 1, 5, 20]);
        assert_eq!(units(SecurityAlgorithm::ECDSAP384SHA384, 96), 15);
        assert_eq!(units(SecurityAlgorithm::ECDSAP256SHA256, 64), 1);
        assert_eq!(units(SecurityAlgorithm::ED25519, 32), 1);
    }
}
