//! Signatures and digests, by `ring` directly.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};

use super::Labels;

/// Whether one time is not after another, in serial number arithmetic (RFC 1982).
pub(crate) fn not_after(one: u32, other: u32) -> bool {
    other.wrapping_sub(one) <= i32::MAX as u32
}

/// Whether this DNSKEY, if it has this tag and algorithm and may sign, made the signature.
pub(crate) fn verifies(key: &[u8], tag: u16, algorithm: u8, signed: &[u8], signature: &[u8]) -> bool {
    let Some((&[flags_high, flags_low, protocol, own], public)) = key.split_first_chunk() else { return false };
    let flags = u16::from_be_bytes([flags_high, flags_low]);
    let may_sign = flags & 0x0100 != 0 && flags & 0x0080 == 0 && protocol == 3;
    if !may_sign || own != algorithm || key_tag(key) != tag {
        return false;
    }
    let with = |algorithm: &'static dyn VerificationAlgorithm, public: &[u8]| {
        UnparsedPublicKey::new(algorithm, public).verify(signed, signature).is_ok()
    };
    // The point's form octet is left out in a DNSKEY (RFC 6605 section 4).
    let point = || [&[4], public].concat();
    match algorithm {
        8 => rsa(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, public, signed, signature),
        10 => rsa(&RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, public, signed, signature),
        13 => with(&ECDSA_P256_SHA256_FIXED, &point()),
        14 => with(&ECDSA_P384_SHA384_FIXED, &point()),
        15 => with(&ED25519, public),
        _ => false,
    }
}

/// RFC 3110 section 2, for exponents of less than 256 octets.
fn rsa(parameters: &RsaParameters, public: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    let Some((&len, rest)) = public.split_first() else { return false };
    let Some((e, n)) = rest.split_at_checked(usize::from(len)) else { return false };
    RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature).is_ok()
}

/// RFC 4034 appendix B.
pub(crate) fn key_tag(key: &[u8]) -> u16 {
    let sum: u32 =
        key.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum();
    (sum + (sum >> 16)) as u16
}

/// Whether a DS record stands for a key of the zone (RFC 4034 section 5.1.4).
pub(crate) fn is_ds_of(ds: &[u8], zone: &Labels, key: &[u8]) -> bool {
    let Some((&[tag_high, tag_low, algorithm, kind], value)) = ds.split_first_chunk() else { return false };
    let algorithms = match kind {
        1 => &SHA1_FOR_LEGACY_USE_ONLY,
        2 => &SHA256,
        4 => &SHA384,
        _ => return false,
    };
    let of = digest(algorithms, &[&zone.octets(), key].concat());
    of.as_ref() == value && key.get(3) == Some(&algorithm) && key_tag(key).to_be_bytes() == [tag_high, tag_low]
}

/// RFC 5155 section 5.
pub(crate) fn nsec3_hash(name: &Labels, iterations: u16, salt: &[u8]) -> Vec<u8> {
    let mut hash = name.octets();
    for _ in 0..=iterations {
        hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[&hash, salt].concat()).as_ref().to_vec();
    }
    hash
}
