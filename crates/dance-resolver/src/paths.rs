//! The path builder for usages 0, 1 and 2: the core's, with signature algorithms chosen here.

use dance_core::pkix::{PathValidator, WebPki};
use webpki::ring;

// Named one by one, so that an update of the library cannot let in a weaker one. No SHA-1 and no RSA under 2048 bits (TLSA-28).
static PATHS: WebPki = WebPki::new(&[
    ring::ECDSA_P256_SHA256,
    ring::ECDSA_P256_SHA384,
    ring::ECDSA_P384_SHA256,
    ring::ECDSA_P384_SHA384,
    ring::ED25519,
    ring::RSA_PKCS1_2048_8192_SHA256,
    ring::RSA_PKCS1_2048_8192_SHA384,
    ring::RSA_PKCS1_2048_8192_SHA512,
    // RFC 4055 section 2.1 has the NULL parameter accepted when it is absent, too.
    ring::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
    ring::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    ring::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
]);

/// Builds certification paths with ring's signature algorithms.
#[must_use]
pub fn path_builder() -> &'static dyn PathValidator {
    &PATHS
}
