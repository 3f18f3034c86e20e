//! Certification paths for usages 0, 1 and 2 (RFC 5280 section 6).
//!
//! Judging one path is split in two. What DANE's rules depend on is checked here, the same for every certificate from the end entity to
//! the trust anchor: dates, CA flag, path length, keyUsage, extended key usage, no broken digest. Signatures, issuer names and name
//! constraints are a library's work, behind [`PathValidator`]; it checks the rest a second time and is welcome to be stricter.
//! Which paths are judged at all is decided in [`matching`](crate::matching), so that no library's search can be made to explode.

use alloc::vec::Vec;
use core::fmt;

use rustls_pki_types::{CertificateDer, Der, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath, anchor_from_trusted_cert};

use crate::message::MAX_CERTIFICATES;
use crate::search::{Budget, Candidate, End, Node, Tried, search};
use crate::x509::{self, Certificate, CertificateError};

/// Most certificates between end entity and trust anchor.
pub const MAX_INTERMEDIATES: usize = 6;

/// One path, in the order of issuance from the end entity up.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    /// The certificate to be judged.
    pub end_entity: &'a CertificateDer<'a>,
    /// Certificates between end entity and trust anchor, each the issuer of the one before. At most [`MAX_INTERMEDIATES`].
    pub intermediates: &'a [CertificateDer<'a>],
    /// What the last of them must be issued by.
    pub anchor: Anchor<'a>,
}

/// A trust anchor.
#[derive(Clone, Copy, Debug)]
pub enum Anchor<'a> {
    /// A certificate. Its own signature is not looked at, all its constraints apply.
    Certificate(&'a CertificateDer<'a>),
    /// A bare key out of a `2 1 0` record, which may go by any name (RFC 7671 section 5.2.3).
    Key {
        /// The name that the last certificate gives to its issuer, in DER.
        subject: &'a [u8],
        /// The SubjectPublicKeyInfo, in DER.
        spki: &'a [u8],
    },
}

/// Validates one path. The shipped implementation is [`WebPki`]; another library can stand in.
pub trait PathValidator: Send + Sync + fmt::Debug {
    /// Checks signatures, issuer names, name constraints and unknown critical extensions of exactly this path, no shorter and no other.
    /// Names of the end entity are not compared with anything.
    ///
    /// # Errors
    /// The first rule that the path breaks.
    fn validate(&self, path: &Path<'_>, now: UnixTime) -> Result<(), PathError>;
}

/// What is wrong with a path. The fault of the client, or of whoever issued its certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathError {
    /// The end entity is a CA's certificate.
    CaAsEndEntity,
    /// A critical extension that nobody here understands.
    CriticalExtension,
    /// A certificate is past its notAfter.
    Expired,
    /// An extended key usage without clientAuth.
    ExtendedKeyUsage,
    /// A keyUsage without keyCertSign in an issuer, or without digitalSignature in the end entity.
    KeyUsage,
    /// More paths, or more names to constrain, than are tried.
    Limit,
    /// A certificate does not decode.
    Malformed,
    /// A name outside an issuer's name constraints.
    NameConstraints,
    /// No presented certificate leads to the trust anchor.
    NoIssuer,
    /// An issuer is not a CA.
    NotCa,
    /// A certificate is before its notBefore.
    NotYetValid,
    /// More CA certificates below an issuer than its path length allows.
    PathLength,
    /// A signature does not verify.
    Signature,
    /// A signature algorithm that is not accepted, SHA-1 and MD5 above all.
    SignatureAlgorithm,
    /// Not version 3, which alone can say that it is a CA.
    Version,
}

impl PathError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::CaAsEndEntity => "path-ca-as-end-entity",
            Self::CriticalExtension => "path-critical-extension",
            Self::Expired => "path-expired",
            Self::ExtendedKeyUsage => "path-extended-key-usage",
            Self::KeyUsage => "path-key-usage",
            Self::Limit => "path-limit",
            Self::Malformed => "path-malformed",
            Self::NameConstraints => "path-name-constraints",
            Self::NoIssuer => "path-no-issuer",
            Self::NotCa => "path-not-ca",
            Self::NotYetValid => "path-not-yet-valid",
            Self::PathLength => "path-length",
            Self::Signature => "path-signature",
            Self::SignatureAlgorithm => "path-signature-algorithm",
            Self::Version => "path-version",
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CaAsEndEntity => "expected an end-entity certificate first, found a CA's",
            Self::CriticalExtension => "a critical extension is not understood",
            Self::Expired => "a certificate has expired",
            Self::ExtendedKeyUsage => "the extended key usage does not include clientAuth",
            Self::KeyUsage => "the key usage does not allow what the key is used for",
            Self::Limit => "more possible paths than are tried; present fewer certificates",
            Self::Malformed => "a certificate does not decode",
            Self::NameConstraints => "a name lies outside an issuer's name constraints",
            Self::NoIssuer => "no presented certificate leads to the trust anchor; present the whole chain",
            Self::NotCa => "an issuer is not a CA (basicConstraints)",
            Self::NotYetValid => "a certificate is not valid yet",
            Self::PathLength => "an issuer's path length constraint is exceeded",
            Self::Signature => "a signature does not verify",
            Self::SignatureAlgorithm => "a signature algorithm is not accepted (SHA-1 and MD5 never are)",
            Self::Version => "expected certificates of version 3",
        })
    }
}

impl core::error::Error for PathError {}

/// What is wrong with a path, and with which of its certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathFault {
    /// What is wrong.
    pub error: PathError,
    /// Which certificate, counted from the end entity; `None` where the whole path is at fault.
    pub depth: Option<usize>,
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.depth {
            Some(depth) => write!(f, "{} (certificate {depth} of the path)", self.error),
            None => self.error.fmt(f),
        }
    }
}

/// Whether an ordinary client certificate leads to one of `roots`: no TLSA record, no name. The chain's first certificate is the end
/// entity; the others may stand in any order and include strangers. Gives the earliest notAfter of the path.
///
/// The rules are those of usage 1 (signatures, names, CA flag, path length, key usage, extended key usage clientAuth, dates on the root
/// too), and so are the limits on what a chain may cost. Revocation is not looked at.
///
/// # Errors
/// The fault of the first path that was tried, or that there is none.
pub fn client_path(
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
    now: UnixTime,
    validator: &dyn PathValidator,
) -> Result<UnixTime, PathFault> {
    let malformed = PathFault { error: PathError::Malformed, depth: Some(0) };
    let foot = chain.first().and_then(Node::new).ok_or(malformed)?;
    let presented = chain.iter().take(MAX_CERTIFICATES).skip(1);
    let nodes: Vec<_> = presented.filter(|octets| *octets != foot.octets).filter_map(Node::new).collect();
    let ends: Vec<_> = roots.iter().filter_map(Node::new).map(End::Certificate).collect();
    search(foot, &nodes, &ends, &mut Budget::new(), &mut |candidate| match judge_candidate(
        foot, candidate, now, validator,
    ) {
        Ok(not_after) => Tried::Accepted(not_after),
        Err(fault) => Tried::Failed(fault),
    })
}

/// Judges a path that was put together by names.
pub(crate) fn judge_candidate<'a>(
    foot: Node<'a>,
    candidate: &Candidate<'_, 'a>,
    now: UnixTime,
    validator: &dyn PathValidator,
) -> Result<UnixTime, PathFault> {
    let intermediates: Vec<_> =
        candidate.intermediates.iter().map(|node| CertificateDer::from(node.octets.as_ref())).collect();
    judge(&Path { end_entity: foot.octets, intermediates: &intermediates, anchor: candidate.anchor }, now, validator)
}

/// Judges a path and gives its earliest notAfter.
fn judge(path: &Path<'_>, now: UnixTime, validator: &dyn PathValidator) -> Result<UnixTime, PathFault> {
    let mut earliest: Option<UnixTime> = None;
    let anchor = match path.anchor {
        Anchor::Certificate(certificate) => Some(certificate),
        Anchor::Key { .. } => None,
    };
    let above = path.intermediates.iter().chain(anchor);
    for (depth, octets) in core::iter::once(path.end_entity).chain(above).enumerate() {
        let role = match depth {
            0 => Role::EndEntity,
            _ => Role::Issuer { below: depth - 1, anchor: depth > path.intermediates.len() },
        };
        match Certificate::parse(octets).map_err(PathError::from).and_then(|it| check_certificate(&it, role, now)) {
            Ok(not_after) => earliest = Some(earliest.map_or(not_after, |so_far| so_far.min(not_after))),
            Err(error) => return Err(PathFault { error, depth: Some(depth) }),
        }
    }
    validator.validate(path, now).map_err(|error| PathFault { error, depth: None })?;
    earliest.ok_or(PathFault { error: PathError::NoIssuer, depth: None })
}

#[derive(Clone, Copy)]
enum Role {
    EndEntity,
    Issuer {
        /// CA certificates between this one and the end entity.
        below: usize,
        /// Whether it is the trust anchor, whose own signature nobody verifies.
        anchor: bool,
    },
}

/// What a certificate says about itself. Returns its notAfter.
fn check_certificate(certificate: &Certificate<'_>, role: Role, now: UnixTime) -> Result<UnixTime, PathError> {
    let validity = certificate.validity()?;
    if now < validity.not_before {
        return Err(PathError::NotYetValid);
    }
    if now > validity.not_after {
        return Err(PathError::Expired);
    }
    let constraints = certificate.basic_constraints()?;
    let ca = constraints.is_some_and(|constraints| constraints.ca);
    let path_len = constraints.and_then(|constraints| constraints.path_len);
    let key_usage = certificate.key_usage()?;
    match role {
        Role::EndEntity => {
            if ca {
                return Err(PathError::CaAsEndEntity);
            }
            if key_usage.is_some_and(|usage| !usage.digital_signature()) {
                return Err(PathError::KeyUsage);
            }
        }
        Role::Issuer { below, .. } => {
            if !ca {
                return Err(PathError::NotCa);
            }
            // Stricter than RFC 5280 section 6.1.4 (l) in one point: self-issued certificates count.
            if path_len.is_some_and(|most| below > most) {
                return Err(PathError::PathLength);
            }
            if key_usage.is_some_and(|usage| !usage.key_cert_sign()) {
                return Err(PathError::KeyUsage);
            }
        }
    }
    if !certificate.allows_client_auth()? {
        return Err(PathError::ExtendedKeyUsage);
    }
    if !matches!(role, Role::Issuer { anchor: true, .. }) && certificate.has_broken_digest()? {
        return Err(PathError::SignatureAlgorithm);
    }
    Ok(validity.not_after)
}

impl From<CertificateError> for PathError {
    fn from(_: CertificateError) -> Self {
        Self::Malformed
    }
}

/// Paths by rustls-webpki.
pub struct WebPki {
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
}

impl WebPki {
    /// Takes the signature algorithms to accept; this crate brings none. SHA-1 and MD5 stay refused whatever is given.
    #[must_use]
    pub const fn new(algorithms: &'static [&'static dyn SignatureVerificationAlgorithm]) -> Self {
        Self { algorithms }
    }
}

impl fmt::Debug for WebPki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebPki").field("algorithms", &self.algorithms.len()).finish()
    }
}

impl PathValidator for WebPki {
    fn validate(&self, path: &Path<'_>, now: UnixTime) -> Result<(), PathError> {
        let anchor = match path.anchor {
            Anchor::Certificate(certificate) => {
                // The reader for anchors passes over unknown critical extensions; the reader for end entities does not.
                EndEntityCert::try_from(certificate)?;
                anchor_from_trusted_cert(certificate)?
            }
            Anchor::Key { subject, spki } => TrustAnchor {
                subject: Der::from_slice(x509::sequence_content(subject)?),
                subject_public_key_info: Der::from_slice(x509::sequence_content(spki)?),
                name_constraints: None,
            },
        };
        // webpki may leave certificates out or put them in another order. Only the path that was asked about counts.
        let same = |found: &VerifiedPath<'_>| {
            let expected = path.intermediates.iter().map(|certificate| certificate.as_ref());
            let found: Vec<_> = found.intermediate_certificates().map(|certificate| certificate.der()).collect();
            if expected.eq(found.iter().map(|certificate| certificate.as_ref())) {
                Ok(())
            } else {
                Err(webpki::Error::UnknownIssuer)
            }
        };
        EndEntityCert::try_from(path.end_entity)?.verify_for_usage(
            self.algorithms,
            &[anchor],
            path.intermediates,
            now,
            AnyPurpose,
            None,
            Some(&same),
        )?;
        Ok(())
    }
}

/// The extended key usage is checked in [`check_certificate`], which knows anyExtendedKeyUsage.
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

impl From<webpki::Error> for PathError {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error;
        match error {
            Error::CaUsedAsEndEntity => Self::CaAsEndEntity,
            Error::CertExpired { .. } => Self::Expired,
            Error::CertNotValidYet { .. } => Self::NotYetValid,
            Error::EndEntityUsedAsCa => Self::NotCa,
            Error::EmptyEkuExtension | Error::RequiredEkuNotFoundContext(_) => Self::ExtendedKeyUsage,
            Error::InvalidSignatureForPublicKey => Self::Signature,
            Error::MaximumNameConstraintComparisonsExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumPathDepthExceeded
            | Error::MaximumSignatureChecksExceeded => Self::Limit,
            Error::InvalidNetworkMaskConstraint
            | Error::MalformedDnsIdentifier
            | Error::MalformedNameConstraint
            | Error::NameConstraintViolation => Self::NameConstraints,
            Error::PathLenConstraintViolated => Self::PathLength,
            Error::SignatureAlgorithmMismatch
            | Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Self::SignatureAlgorithm,
            Error::UnknownIssuer => Self::NoIssuer,
            Error::UnsupportedCertVersion => Self::Version,
            Error::UnsupportedCriticalExtension => Self::CriticalExtension,
            // The enum is non-exhaustive; all others are about octets that do not decode. Whatever it is, it is no valid path.
            _ => Self::Malformed,
        }
    }
}
