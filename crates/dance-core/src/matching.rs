//! TLSA RRset x presented credential x time (RFC 6698, RFC 7671, requirements 5).

use alloc::string::String;
use alloc::vec::Vec;

use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};

use crate::name::ClientName;
use crate::pkix::PathBuilder;
use crate::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};

/// What the client proved possession of the key of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Certificates as in the Certificate message, the end entity first. Never empty.
    X509(Vec<CertificateDer<'static>>),
    /// A raw public key (RFC 7250).
    RawPublicKey(SubjectPublicKeyInfoDer<'static>),
}

/// What the matching engine is allowed to do.
#[derive(Clone, Debug)]
pub struct MatchOptions {
    /// Roots for usages 0 and 1. Empty: such records are unusable (TLSA-17).
    pub pkix_roots: Vec<CertificateDer<'static>>,
    /// Of several digest types of one usage and selector, heed the strongest only (RFC 7671 section 9). On, but for comparisons.
    pub digest_agility: bool,
    /// Names of users under `_user` (requirements 2.5).
    pub user_mode: bool,
}

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordOutcome {
    /// Position in the RRset, from 0.
    pub index: usize,
    /// Certificate usage, where the RDATA is long enough to have one.
    pub usage: Option<CertUsage>,
    /// Selector, likewise.
    pub selector: Option<Selector>,
    /// Matching type, likewise.
    pub matching_type: Option<MatchingType>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a record (stable codes through [`Outcome::code`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It authenticates the client.
    Matched,
}

/// The engine's conclusion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// A record matched in full.
    Matched(Match),
    /// A record matched a valid chain whose end entity does not hold the name (always aborts).
    NameMismatch,
    /// Usable records, none matching.
    NoMatch,
    /// No usable record.
    NoUsable,
}

/// A full match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Which record, from 0.
    pub index: usize,
    /// The record.
    pub record: TlsaRdata,
    /// Where in the path the association was found; 0 is the end entity.
    pub depth: usize,
    /// The path's earliest notAfter, for usages 0, 1 and 2.
    pub not_after: Option<UnixTime>,
    /// User mode: the identity, `uid@domain`.
    pub user: Option<String>,
}

/// Conclusion and, for each record, its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchReport {
    /// What the RRset says about the credential.
    pub conclusion: Conclusion,
    /// One row a record, in their order.
    pub records: Vec<RecordOutcome>,
}

/// Matches a validated RRset against what the client presented. `name` is the conveyed name, the one reference identity.
#[must_use]
pub fn match_rrset(
    records: &[TlsaRdata],
    credential: &Credential,
    name: &ClientName,
    options: &MatchOptions,
    now: UnixTime,
    paths: &dyn PathBuilder,
) -> MatchReport {
    let _ = (records, credential, name, options, now, paths);
    todo!()
}
