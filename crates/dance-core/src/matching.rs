//! TLSA RRset x presented credential x time (RFC 6698, RFC 7671, requirements 5).
//!
//! # What it costs
//!
//! The client chooses the certificates and its zone the records, so the work is bounded: [`MAX_RECORDS`] records, [`MAX_CERTIFICATES`]
//! certificates, each digest computed once a certificate, and for all records together at most 256 steps of path search and 16 paths
//! whose signatures are verified, of at most 7 signatures each. Records are tried in their order and the first full match ends it.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::OnceCell;
use core::fmt;

use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use sha2::{Digest as _, Sha256};

use crate::answer::MAX_RECORDS;
use crate::message::{MAX_CERTIFICATES, MAX_MESSAGE_LEN};
use crate::name::ClientName;
use crate::pkix::{self, PathError, PathFault, PathValidator};
use crate::policy::WildcardEndEntity;
use crate::search::{Budget, Candidate, End, Node, Tried, search};
use crate::subject::Subject;
use crate::tlsa::{CertUsage, MatchingType, Selector, TlsaFields, TlsaRdata, Unusable};
use crate::x509::Certificate;

/// What the client proved possession of the key of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Certificates as in the Certificate message, the end entity first. Never empty. Those after the first
    /// [`MAX_CERTIFICATES`] are not looked at.
    X509(Vec<CertificateDer<'static>>),
    /// A raw public key (RFC 7250).
    RawPublicKey(SubjectPublicKeyInfoDer<'static>),
}

impl Credential {
    /// SHA-256 of the SubjectPublicKeyInfo; for a certificate that does not parse (a `3 0 x` match does not need it to) of all of its
    /// octets.
    #[must_use]
    pub fn key_digest(&self) -> [u8; 32] {
        let octets: &[u8] = match self {
            Self::RawPublicKey(spki) => spki,
            Self::X509(chain) => {
                let end_entity = chain.first().map_or(&[][..], |certificate| certificate);
                Certificate::parse(end_entity).map_or(end_entity, |certificate| certificate.spki())
            }
        };
        Sha256::digest(octets).into()
    }
}

/// What the matching engine is allowed to do.
#[derive(Clone, Debug)]
pub struct MatchOptions {
    /// Roots for usages 0 and 1. Empty: such records are unusable (TLSA-17). A root must be a CA's certificate of version 3, in date.
    pub pkix_roots: Vec<CertificateDer<'static>>,
    /// Of several digest types of one usage and selector, heed the strongest only (RFC 7671 section 9). On, but for comparisons.
    pub digest_agility: bool,
    /// Names of users under `_user` (requirements 2.5).
    pub user_mode: bool,
}

impl MatchOptions {
    /// The domain of a user's name, where users are told by name (requirements 2.5).
    fn user_domain(&self, name: &ClientName) -> Option<ClientName> {
        if self.user_mode { name.without_user_label() } else { None }
    }
}

/// No PKIX, digest agility on, no user names.
impl Default for MatchOptions {
    fn default() -> Self {
        Self { pkix_roots: Vec::new(), digest_agility: true, user_mode: false }
    }
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

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It authenticates the client.
    Matched,
    /// It matches, and so does the chain, but the end entity does not hold the name (requirements 5.4).
    NameMismatch,
    /// Nothing that was presented is what it describes.
    NoMatch,
    /// A record before it matched already.
    NotReached,
    /// It describes a presented certificate, but the path does not hold.
    Path(PathFault),
    /// Passed over for a stronger digest of the same usage and selector (RFC 7671 section 9).
    Shadowed,
    /// It can never be used.
    Unusable(Unusable),
    /// Usage 0 or 1, and no roots are configured (TLSA-17).
    UnusablePkix,
    /// Not `3 1 x`, and the client presents a raw public key (RPK-01).
    UnusableRawPublicKey,
    /// The RRset has more than [`MAX_RECORDS`] records (requirements 5.2).
    UnusableTooMany,
    /// Usage 1 or 3 at a user name: the key's holder, not the domain, would assert who it is (requirements 2.5).
    UnusableUserMode,
    /// Usage 3, it matches, and the RRset was synthesised from a wildcard where that does not count (SEC-08).
    WildcardEndEntity,
    /// User mode: chain and domain match, but the certificate does not hold exactly one valid user id.
    UserId,
}

impl Outcome {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::NameMismatch => "name-mismatch",
            Self::NoMatch => "no-match",
            Self::NotReached => "not-reached",
            Self::Path(fault) => fault.error.code(),
            Self::Shadowed => "shadowed-by-agility",
            Self::Unusable(reason) => reason.code(),
            Self::UnusablePkix => "unusable-pkix-not-enabled",
            Self::UnusableRawPublicKey => "unusable-raw-public-key",
            Self::UnusableTooMany => "unusable-too-many",
            Self::UnusableUserMode => "unusable-user-mode",
            Self::UserId => "user-id-invalid",
            Self::WildcardEndEntity => "wildcard-end-entity",
        }
    }

    /// Whether the record counts as one that could have matched.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        match self {
            Self::Unusable(_)
            | Self::UnusablePkix
            | Self::UnusableRawPublicKey
            | Self::UnusableTooMany
            | Self::UnusableUserMode => false,
            Self::Matched
            | Self::NameMismatch
            | Self::NoMatch
            | Self::NotReached
            | Self::Path(_)
            | Self::Shadowed
            | Self::UserId
            | Self::WildcardEndEntity => true,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matched => f.write_str("matches"),
            Self::NameMismatch => {
                f.write_str("matches the chain, but the certificate has no dNSName that equals the client name")
            }
            Self::NoMatch => f.write_str("describes nothing that the client presented"),
            Self::NotReached => f.write_str("not tried: a record before it matched"),
            Self::Path(fault) => write!(f, "describes a presented certificate, but {fault}"),
            Self::Shadowed => f.write_str("passed over: the same usage and selector has a stronger digest"),
            Self::Unusable(reason) => reason.fmt(f),
            Self::UnusablePkix => f.write_str("PKIX usage (0 or 1), and no PKIX roots are configured"),
            Self::UnusableRawPublicKey => f.write_str("only 3 1 x can match a raw public key"),
            Self::UnusableTooMany => write!(f, "the RRset has more than {MAX_RECORDS} records"),
            Self::UnusableUserMode => {
                f.write_str("a user's own key or certificate (usage 1 or 3) cannot vouch for a user name")
            }
            Self::UserId => {
                f.write_str("matches the chain, but the certificate does not hold exactly one valid user id")
            }
            Self::WildcardEndEntity => {
                f.write_str("matches, but by a wildcard, under which every key holder could use every name")
            }
        }
    }
}

/// The engine's conclusion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// A record matched in full.
    Matched(Match),
    /// A record matched a valid chain whose end entity does not hold the name (always aborts), and none matched in full.
    NameMismatch {
        /// The first such record, from 0.
        index: usize,
        /// Where in the path the association was found.
        depth: usize,
    },
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

impl Match {
    /// Whether a certificate of the path has expired by `now`.
    pub(crate) fn path_ended(&self, now: UnixTime) -> bool {
        self.not_after.is_some_and(|not_after| now > not_after)
    }
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
    paths: &dyn PathValidator,
) -> MatchReport {
    match_with(records, credential, name, options, WildcardEndEntity::Accept, now, paths)
}

/// As [`match_rrset`]. With [`WildcardEndEntity::Reject`] the RRset comes from a wildcard and usage 3 does not count.
pub(crate) fn match_with(
    records: &[TlsaRdata],
    credential: &Credential,
    name: &ClientName,
    options: &MatchOptions,
    end_entity: WildcardEndEntity,
    now: UnixTime,
    paths: &dyn PathValidator,
) -> MatchReport {
    // In user mode the certificate names the domain, and the user in it.
    let domain = options.user_domain(name);
    let raw_public_key = matches!(credential, Credential::RawPublicKey(_));
    let mut rows = filter(records, raw_public_key, options, domain.is_some());

    let mut engine = Engine {
        leaf: Subject::of(credential),
        presented: match credential {
            Credential::X509(chain) => chain.get(1..).unwrap_or_default(),
            Credential::RawPublicKey(_) => &[],
        },
        issuers: OnceCell::new(),
        roots: OnceCell::new(),
        options,
        now,
        paths,
        budget: Budget::new(),
    };
    let mut mismatch = None;
    for (row, record) in rows.iter_mut().zip(records).filter(|(row, _)| row.outcome == Outcome::NotReached) {
        // Every row left as NotReached was found usable, so it has fields.
        let Some(fields) = record.fields() else { continue };
        let Found { depth, not_after } = match engine.find(fields) {
            Ok(found) => found,
            Err(outcome) => {
                row.outcome = outcome;
                continue;
            }
        };
        let mut user = None;
        if fields.usage == CertUsage::DANE_EE {
            if end_entity == WildcardEndEntity::Reject {
                row.outcome = Outcome::WildcardEndEntity;
                continue;
            }
        } else {
            if !engine.leaf.holds(domain.as_ref().unwrap_or(name)) {
                row.outcome = Outcome::NameMismatch;
                mismatch.get_or_insert(Conclusion::NameMismatch { index: row.index, depth });
                continue;
            }
            if let Some(domain) = &domain {
                user = engine.leaf.user(domain);
                if user.is_none() {
                    row.outcome = Outcome::UserId;
                    continue;
                }
            }
        }
        row.outcome = Outcome::Matched;
        let conclusion =
            Conclusion::Matched(Match { index: row.index, record: record.clone(), depth, not_after, user });
        return MatchReport { conclusion, records: rows };
    }
    let conclusion = mismatch.unwrap_or_else(|| without_match(&rows));
    MatchReport { conclusion, records: rows }
}

/// As [`match_with`] for a client that matched before by `known`, and whose certificates are no longer at hand: that record, octet for
/// octet, must be there and count as much as it did.
pub(crate) fn match_again(
    records: &[TlsaRdata],
    known: &Match,
    name: &ClientName,
    options: &MatchOptions,
    end_entity: WildcardEndEntity,
    now: UnixTime,
) -> MatchReport {
    let user_name = options.user_domain(name).is_some();
    // What else a raw public key makes unusable has other usages and selectors than `known`, and so no effect on it.
    let mut rows = filter(records, false, options, user_name);
    for (row, record) in rows.iter_mut().zip(records).filter(|(row, _)| row.outcome == Outcome::NotReached) {
        // Who is not told as a user today is not who was, and the reverse.
        if *record != known.record || known.user.is_some() != user_name {
            row.outcome = Outcome::NoMatch;
        } else if known.path_ended(now) {
            row.outcome = Outcome::Path(PathFault { error: PathError::Expired, depth: None });
        } else if row.usage == Some(CertUsage::DANE_EE) && end_entity == WildcardEndEntity::Reject {
            row.outcome = Outcome::WildcardEndEntity;
        } else {
            row.outcome = Outcome::Matched;
            let conclusion = Conclusion::Matched(Match { index: row.index, ..known.clone() });
            return MatchReport { conclusion, records: rows };
        }
    }
    MatchReport { conclusion: without_match(&rows), records: rows }
}

fn without_match(rows: &[RecordOutcome]) -> Conclusion {
    if rows.iter().any(|row| row.outcome.is_usable()) { Conclusion::NoMatch } else { Conclusion::NoUsable }
}

/// Usability (requirements 5.2) and digest agility (5.3). Rows that are left to be tried come out as `NotReached`.
fn filter(records: &[TlsaRdata], raw_public_key: bool, options: &MatchOptions, user_name: bool) -> Vec<RecordOutcome> {
    let too_many = records.len() > MAX_RECORDS;
    let usable = |record: &TlsaRdata| {
        if too_many {
            return Err(Outcome::UnusableTooMany);
        }
        let TlsaFields { usage, selector, .. } = record.usable().map_err(Outcome::Unusable)?;
        if raw_public_key && (usage, selector) != (CertUsage::DANE_EE, Selector::SPKI) {
            return Err(Outcome::UnusableRawPublicKey);
        }
        if user_name && matches!(usage, CertUsage::PKIX_EE | CertUsage::DANE_EE) {
            return Err(Outcome::UnusableUserMode);
        }
        if usage.is_pkix() && options.pkix_roots.is_empty() {
            return Err(Outcome::UnusablePkix);
        }
        Ok(())
    };
    let mut rows: Vec<_> = records
        .iter()
        .enumerate()
        .map(|(index, record)| {
            let fields = record.fields();
            RecordOutcome {
                index,
                usage: fields.map(|fields| fields.usage),
                selector: fields.map(|fields| fields.selector),
                matching_type: fields.map(|fields| fields.matching_type),
                outcome: usable(record).err().unwrap_or(Outcome::NotReached),
            }
        })
        .collect();
    if options.digest_agility {
        // SHA-512 is the stronger of the two; Full is no digest and stands aside.
        let strong: Vec<_> = rows
            .iter()
            .filter(|row| row.outcome.is_usable() && row.matching_type == Some(MatchingType::SHA2_512))
            .map(|row| (row.usage, row.selector))
            .collect();
        for row in &mut rows {
            if row.outcome.is_usable()
                && row.matching_type == Some(MatchingType::SHA2_256)
                && strong.contains(&(row.usage, row.selector))
            {
                row.outcome = Outcome::Shadowed;
            }
        }
    }
    rows
}

/// Where an association was found, names not yet compared.
struct Found {
    depth: usize,
    not_after: Option<UnixTime>,
}

/// A match in progress.
struct Engine<'a> {
    leaf: Subject<'a>,
    /// What was presented after the end entity.
    presented: &'a [CertificateDer<'static>],
    /// Of these the certificates, within the limits of the TLS message.
    issuers: OnceCell<Vec<Issuer<'a>>>,
    roots: OnceCell<Vec<Issuer<'a>>>,
    options: &'a MatchOptions,
    now: UnixTime,
    paths: &'a dyn PathValidator,
    budget: Budget,
}

/// A certificate at depth 1 or above.
struct Issuer<'a> {
    node: Node<'a>,
    subject: Subject<'a>,
}

impl<'a> Issuer<'a> {
    fn new(octets: &'a CertificateDer<'a>) -> Option<Self> {
        let node = Node::new(octets)?;
        Some(Self { node, subject: Subject::of_node(&node) })
    }
}

impl<'a> Engine<'a> {
    fn find(&mut self, record: TlsaFields<'a>) -> Result<Found, Outcome> {
        match record.usage {
            CertUsage::DANE_EE => {
                if self.leaf.is(record) {
                    Ok(Found { depth: 0, not_after: None })
                } else {
                    Err(Outcome::NoMatch)
                }
            }
            CertUsage::DANE_TA => self.dane_ta(record),
            CertUsage::PKIX_EE if !self.leaf.is(record) => Err(Outcome::NoMatch),
            _ => self.pkix(record),
        }
    }

    /// Each certificate once, the end entity never: neither is a step on any path.
    fn issuers(&self) -> &[Issuer<'a>] {
        self.issuers.get_or_init(|| {
            let mut room = MAX_MESSAGE_LEN;
            let mut issuers: Vec<Issuer<'a>> = Vec::new();
            for octets in self.presented.iter().take(MAX_CERTIFICATES - 1) {
                let Some(left) = room.checked_sub(octets.len()) else { break };
                room = left;
                let known = issuers.iter().any(|issuer| issuer.node.octets == octets);
                if !known && self.leaf.certificate != Some(octets) {
                    issuers.extend(Issuer::new(octets));
                }
            }
            issuers
        })
    }

    fn roots(&self) -> &[Issuer<'a>] {
        self.roots.get_or_init(|| self.options.pkix_roots.iter().filter_map(Issuer::new).collect())
    }

    /// The end entity as the foot of a path.
    fn foot(&self) -> Result<Node<'a>, Outcome> {
        self.leaf.node.ok_or(Outcome::Path(PathFault { error: PathError::Malformed, depth: Some(0) }))
    }

    /// Usage 2: the record names a trust anchor, presented or in the record itself. Configured roots play no part (TLSA-14).
    fn dane_ta(&mut self, record: TlsaFields<'a>) -> Result<Found, Outcome> {
        let presented = self.issuers().iter().filter(|issuer| issuer.subject.is(record));
        let mut ends: Vec<_> = presented.map(|issuer| End::Certificate(issuer.node)).collect();
        let in_dns;
        // Nobody presented it, the end entity included, which stands at depth 0: it may be in the record (RFC 7671 sections 5.2.2 and 5.2.3).
        if ends.is_empty() && record.matching_type == MatchingType::FULL && !self.leaf.is(record) {
            if record.selector == Selector::CERT {
                in_dns = CertificateDer::from(record.data);
                ends.extend(Node::new(&in_dns).map(End::Certificate));
            } else {
                ends.push(End::Key(record.data));
            }
        }
        if ends.is_empty() {
            return Err(Outcome::NoMatch);
        }
        let nodes: Vec<_> = self.issuers().iter().map(|issuer| issuer.node).collect();
        let foot = self.foot()?;
        let (paths, now) = (self.paths, self.now);
        search(foot, &nodes, &ends, &mut self.budget, &mut |candidate| {
            attempt(foot, candidate, candidate.intermediates.len() + 1, now, paths)
        })
        .map_err(Outcome::Path)
    }

    /// Usages 0 and 1: a path to a configured root. For usage 0 it must go through a CA certificate that the record names, and goes on past
    /// the first trusted certificate until it does (RFC 7671 section 5.4).
    fn pkix(&mut self, record: TlsaFields<'a>) -> Result<Found, Outcome> {
        let all = || self.issuers().iter().chain(self.roots());
        let named: Vec<_> = all().filter(|issuer| issuer.subject.is(record)).map(|issuer| issuer.node.octets).collect();
        let end_entity = record.usage == CertUsage::PKIX_EE;
        if !end_entity && named.is_empty() {
            return Err(Outcome::NoMatch);
        }
        let foot = self.foot()?;
        let nodes: Vec<_> = all().map(|issuer| issuer.node).collect();
        let ends: Vec<_> = self.roots().iter().map(|root| End::Certificate(root.node)).collect();
        let (paths, now) = (self.paths, self.now);
        search(foot, &nodes, &ends, &mut self.budget, &mut |candidate| {
            let depth = match candidate.issuers().position(|octets| named.contains(&octets)) {
                _ if end_entity => 0,
                Some(above) => above + 1,
                None => return Tried::Skipped,
            };
            attempt(foot, candidate, depth, now, paths)
        })
        .map_err(Outcome::Path)
    }
}

/// Judges one path in which the association stands at `depth`.
fn attempt<'a>(
    foot: Node<'a>,
    candidate: &Candidate<'_, 'a>,
    depth: usize,
    now: UnixTime,
    paths: &dyn PathValidator,
) -> Tried<Found> {
    match pkix::judge_candidate(foot, candidate, now, paths) {
        Ok(not_after) => Tried::Accepted(Found { depth, not_after: Some(not_after) }),
        Err(fault) => Tried::Failed(fault),
    }
}
