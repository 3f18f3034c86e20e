//! Which paths are tried: a search by names alone, before any signature is verified, with hard bounds.
//!
//! Whoever connects chooses the certificates, so the search is bounded by what it may cost, not by what it may find. Every presented
//! chain that a sane client sends lies far below the bounds; a client that reaches them fails to authenticate and costs no more.

use alloc::vec::Vec;

use rustls_pki_types::CertificateDer;

use crate::pkix::{Anchor, MAX_INTERMEDIATES, PathError, PathFault};
use crate::x509::Certificate;

/// Certificates looked at while paths are put together, over all records of one match.
const MAX_STEPS: usize = 256;

/// Paths whose signatures are verified, over all records of one match. Each costs at most [`MAX_INTERMEDIATES`] + 1 verifications.
pub(crate) const MAX_PATHS: usize = 16;

/// A certificate that a path can go through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    pub(crate) octets: &'a CertificateDer<'a>,
    pub(crate) certificate: Certificate<'a>,
}

impl<'a> Node<'a> {
    /// `None` for octets that are no certificate: a stranger that leads nowhere.
    pub(crate) fn new(octets: &'a CertificateDer<'a>) -> Option<Self> {
        Some(Self { octets, certificate: Certificate::parse(octets).ok()? })
    }

    fn same_name(&self, other: &Self) -> bool {
        self.certificate.subject() == other.certificate.subject()
    }
}

/// Where a path may end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    Certificate(Node<'a>),
    /// A bare key; it fits wherever the path has come to.
    Key(&'a [u8]),
}

/// A path by names.
pub(crate) struct Candidate<'s, 'a> {
    /// From the end entity's issuer up, without the trust anchor.
    pub(crate) intermediates: &'s [Node<'a>],
    pub(crate) anchor: Anchor<'a>,
}

impl<'a> Candidate<'_, 'a> {
    /// The certificates at depth 1 and above, the trust anchor's included where it has one.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &'a CertificateDer<'a>> {
        let anchor = match self.anchor {
            Anchor::Certificate(certificate) => Some(certificate),
            Anchor::Key { .. } => None,
        };
        self.intermediates.iter().map(|node| node.octets).chain(anchor)
    }
}

/// What became of a candidate.
pub(crate) enum Tried<T> {
    /// It was judged and will do; the search ends. What its signatures cost counts all the same: there may be more records.
    Accepted(T),
    /// It was judged and failed.
    Failed(PathFault),
    /// It was passed over at no cost.
    Skipped,
}

/// The bounds that are left for one match.
#[derive(Debug)]
pub(crate) struct Budget {
    steps: usize,
    paths: usize,
}

impl Budget {
    pub(crate) const fn new() -> Self {
        Self { steps: MAX_STEPS, paths: MAX_PATHS }
    }

    /// Nothing more is tried: a single path has used up the validator's own limits.
    const fn exhaust(&mut self) {
        self.steps = 0;
        self.paths = 0;
    }
}

/// Tries paths from the end entity through `nodes` to `ends`, short ones first, until one is accepted. The error is that of the first
/// path that failed, which for a chain in its usual order is the one that the client meant.
pub(crate) fn search<'a, T>(
    end_entity: Node<'a>,
    nodes: &[Node<'a>],
    ends: &[End<'a>],
    budget: &mut Budget,
    attempt: &mut dyn FnMut(&Candidate<'_, 'a>) -> Tried<T>,
) -> Result<T, PathFault> {
    let mut search = Search { end_entity, nodes, ends, budget, attempt, path: Vec::new(), fault: None };
    match search.extend() {
        Some(accepted) => Ok(accepted),
        None if search.budget.steps == 0 => Err(PathFault { error: PathError::Limit, depth: None }),
        None => Err(search.fault.unwrap_or(PathFault { error: PathError::NoIssuer, depth: None })),
    }
}

struct Search<'s, 'a, T> {
    end_entity: Node<'a>,
    nodes: &'s [Node<'a>],
    ends: &'s [End<'a>],
    budget: &'s mut Budget,
    attempt: &'s mut dyn FnMut(&Candidate<'_, 'a>) -> Tried<T>,
    path: Vec<Node<'a>>,
    fault: Option<PathFault>,
}

impl<'a, T> Search<'_, 'a, T> {
    /// Goes on from the last certificate of the path.
    fn extend(&mut self) -> Option<T> {
        self.budget.steps = self.budget.steps.checked_sub(1)?;
        let issuer = self.path.last().unwrap_or(&self.end_entity).certificate.issuer();
        for end in self.ends {
            let anchor = match end {
                End::Key(spki) => Anchor::Key { subject: issuer, spki },
                End::Certificate(node) if node.certificate.subject() == issuer && !self.holds(node) => {
                    Anchor::Certificate(node.octets)
                }
                End::Certificate(_) => continue,
            };
            if self.budget.paths == 0 {
                self.budget.exhaust();
                return None;
            }
            let tried = (self.attempt)(&Candidate { intermediates: &self.path, anchor });
            if !matches!(tried, Tried::Skipped) {
                self.budget.paths -= 1;
            }
            match tried {
                Tried::Accepted(accepted) => return Some(accepted),
                Tried::Skipped => {}
                Tried::Failed(fault) => {
                    self.fault.get_or_insert(fault);
                    if fault.error == PathError::Limit {
                        self.budget.exhaust();
                        return None;
                    }
                }
            }
        }
        if self.path.len() == MAX_INTERMEDIATES {
            return None;
        }
        for node in self.nodes {
            if node.certificate.subject() == issuer && !self.meets_again(node) {
                self.path.push(*node);
                let accepted = self.extend();
                self.path.pop();
                if accepted.is_some() || self.budget.steps == 0 {
                    return accepted;
                }
            }
        }
        None
    }

    /// Whether the path would meet a name a second time (RFC 4158 section 5.2), which ends all circles. It also leaves a validator that
    /// searches by itself but one way through the certificates of a path. Self-issued certificates for a change of key (RFC 5280
    /// section 6.1) are given up for that, except right below the trust anchor. An end entity may share its issuer's name, but not the
    /// key, too.
    fn meets_again(&self, node: &Node<'a>) -> bool {
        let end_entity = &self.end_entity;
        self.path.iter().any(|other| other.same_name(node))
            || end_entity.same_name(node) && end_entity.certificate.spki() == node.certificate.spki()
    }

    /// Whether this very certificate is on the path already. The end entity is never its own trust anchor.
    fn holds(&self, node: &Node<'a>) -> bool {
        self.path.iter().chain([&self.end_entity]).any(|other| other.octets == node.octets)
    }
}
