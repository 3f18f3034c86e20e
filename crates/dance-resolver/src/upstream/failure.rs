//! What can be wrong with a resolver, before it says anything.

use std::fmt;
use std::io;

use super::exchange::ExchangeOutcome;

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

/// Why a resolver gave no reply, other than by silence.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// It cannot be reached, the connection broke, or what came is no reply (`InvalidData`).
    Io { kind: io::ErrorKind, os_error: Option<i32> },
    /// It did not show who it is.
    Tls(TlsFailure),
}

impl Failure {
    pub(super) const fn of(kind: io::ErrorKind) -> Self {
        Self::Io { kind, os_error: None }
    }

    pub(super) fn io(error: &io::Error) -> Self {
        Self::Io { kind: error.kind(), os_error: error.raw_os_error() }
    }

    pub(super) const fn outcome(self) -> ExchangeOutcome {
        match self {
            Self::Io { kind, .. } => ExchangeOutcome::Failed(kind),
            Self::Tls(_) => ExchangeOutcome::Untrusted,
        }
    }
}

impl From<io::ErrorKind> for Failure {
    fn from(kind: io::ErrorKind) -> Self {
        Self::of(kind)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::io(&error)
    }
}
