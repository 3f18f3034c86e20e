//! What can be wrong with a resolver, before it says anything.

use std::fmt;

/// Why a resolver's TLS was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFailure {
    /// Its certificate is for other names.
    Name,
    /// Its certificate is from nobody who is trusted here, or its signature is not that issuer's.
    Issuer,
    /// Its certificate's time is over, or has not begun.
    Time,
    /// Its key is none of those that were configured.
    Pin,
    /// Its certificate is no good otherwise: it does not decode, is revoked, is not for servers.
    Certificate,
    /// What it sends is not TLS, or it ended the handshake.
    Handshake,
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "its certificate is not for the name that was configured",
            Self::Issuer => "its certificate is from no authority that is trusted here",
            Self::Time => "its certificate has run out or has not begun: check this machine's clock too",
            Self::Pin => "its key does not have the digest that was configured",
            Self::Certificate => "its certificate is no good",
            Self::Handshake => "the TLS handshake failed: check that it serves DNS over TLS on this port",
        })
    }
}
