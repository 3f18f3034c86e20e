//! Certification paths for usages 0, 1 and 2 (RFC 5280), behind a small trait.

use core::fmt;

/// Builds and checks certification paths. The shipped implementation is [`WebPki`]; another library can stand in.
pub trait PathBuilder: Send + Sync + fmt::Debug {}

/// Paths by rustls-webpki, with the checks it leaves out done here.
pub struct WebPki {
    algorithms: &'static [&'static dyn rustls_pki_types::SignatureVerificationAlgorithm],
}

impl WebPki {
    /// Takes the signature algorithms to accept; this crate brings none.
    #[must_use]
    pub const fn new(algorithms: &'static [&'static dyn rustls_pki_types::SignatureVerificationAlgorithm]) -> Self {
        Self { algorithms }
    }
}

impl fmt::Debug for WebPki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebPki").field("algorithms", &self.algorithms.len()).finish()
    }
}

impl PathBuilder for WebPki {}
