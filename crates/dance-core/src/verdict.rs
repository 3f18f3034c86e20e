//! The decision procedure of requirements 4.2, steps 5 to 18, as one step machine.
//!
//! [`Settings::start`] does what needs no DNS; [`NeedTlsa`] waits for the one look-up; its methods end in a [`Decision`]. The order
//! allow-list, limits, look-up, match is in this file and nowhere else, and no step can be left out. [`Settings::start_again`] takes a
//! client that is known, and no longer shows its certificates, through the same steps.

use alloc::vec::Vec;

use rustls_pki_types::UnixTime;

use crate::answer::{SecureTlsa, TlsaAnswer};
use crate::clientid::{ClientForm, ExtensionError, NameSource, Profile};
use crate::matching::{
    Conclusion, Credential, Match, MatchOptions, MatchReport, Outcome, RecordOutcome, match_again, match_with,
};
use crate::name::{ClientName, OwnerName, OwnerNameError, ServiceLabel};
use crate::pkix::PathValidator;
use crate::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use crate::reason::{Reason, Softening};
use crate::tlsa::TlsaRdata;
use crate::x509;

/// The settings of a listener that decide about clients.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The wire profile.
    pub profile: Profile,
    /// What becomes of clients that are not authenticated.
    pub policy: Policy,
    /// What a failed look-up becomes under policy `optional`.
    pub on_lookup_failure: OnLookupFailure,
    /// Who may be looked up at all.
    pub allow_list: AllowList,
    /// The listener's service. Profile `2022`: prefixed to names without one (requirements 2.2). Profile `current`: names whose first
    /// label starts with `_` and is another are refused (SEC-07).
    pub service_label: Option<ServiceLabel>,
    /// Profile `2022`: take the name from the certificate although the client sent no extension (requirements 2.3).
    pub derive_without_signal: bool,
    /// Whether a DANE-EE match at a wildcard counts.
    pub wildcard_ee: WildcardEndEntity,
    /// Roots for usages 0 and 1, digest agility, user mode.
    pub matching: MatchOptions,
}

/// What a client presented, once it has proven possession of the key (CertificateVerify and Finished verified; SRV-09).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// Certificate or raw public key; `None` for an empty certificate list.
    pub credential: Option<Credential>,
    /// The `dane_clientid` extension.
    pub client_id: ClientId,
}

/// The client's extension as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientId {
    /// Not there.
    Absent,
    /// Decoded.
    Form(ClientForm),
    /// There, and wrong.
    Invalid(ExtensionError),
}

/// The machine's next step.
#[derive(Debug)]
pub enum Step<'a> {
    /// Look this up, or say why not.
    NeedTlsa(NeedTlsa<'a>),
    /// Decided without DNS.
    Done(Decision),
}

/// Which limit kept a look-up from being made (SEC-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitExceeded {
    /// Look-ups in flight in total.
    Total,
    /// Look-ups in flight for one client address.
    Address,
    /// Look-ups in flight for one allow-list entry.
    Entry,
}

/// A verdict with what led to it, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do with the connection.
    pub verdict: Verdict,
    /// The client name, where one was found.
    pub client_name: Option<ClientName>,
    /// The owner name, where the procedure came so far.
    pub owner_name: Option<OwnerName>,
    /// What became of each record, where there were any.
    pub records: Vec<RecordOutcome>,
}

/// What to do with the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on; this is who it is.
    Authenticated(VerifiedClient),
    /// Go on without client identity of any kind (4.2 step 17).
    Unauthenticated(Reason),
    /// Go on by the ordinary client-certificate policy: the client did not ask for DANE.
    NotDane(Reason),
    /// End the handshake with [`Reason::alert`].
    Abort(Reason),
}

impl Verdict {
    /// The reason, unless authenticated.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Authenticated(_) => None,
            Self::Unauthenticated(reason) | Self::NotDane(reason) | Self::Abort(reason) => Some(*reason),
        }
    }
}

/// A client whose name DANE has established. Only the matching path of this crate makes one, and
/// [`Settings::resume`](crate::ticket); headers, permits and tickets take this type, never a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedClient(pub(crate) Established);

/// What a verified client is, and what a ticket says that one was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Established {
    pub(crate) name: ClientName,
    pub(crate) owner_name: OwnerName,
    pub(crate) matched: Match,
    pub(crate) wildcard: Option<bool>,
    pub(crate) valid_until: UnixTime,
    pub(crate) key_digest: [u8; 32],
}

impl VerifiedClient {
    /// The client identity that the application is told: the client name, or `uid@domain` in user mode. Printable ASCII without spaces.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.0.matched.user.as_deref().unwrap_or_else(|| self.0.name.as_str())
    }

    /// The client name, which the allow-list is about: in user mode not the identity.
    #[must_use]
    pub const fn client_name(&self) -> &ClientName {
        &self.0.name
    }

    /// Where the TLSA RRset was found.
    #[must_use]
    pub const fn owner_name(&self) -> &OwnerName {
        &self.0.owner_name
    }

    /// The record that matched.
    #[must_use]
    pub const fn record(&self) -> &TlsaRdata {
        &self.0.matched.record
    }

    /// Where in the path it matched; 0 is the end entity.
    #[must_use]
    pub const fn depth(&self) -> usize {
        self.0.matched.depth
    }

    /// Whether the RRset was synthesised from a wildcard; `None` where that cannot be seen (AD mode).
    #[must_use]
    pub const fn wildcard(&self) -> Option<bool> {
        self.0.wildcard
    }

    /// When this must be checked anew (4.2 step 18).
    #[must_use]
    pub const fn valid_until(&self) -> UnixTime {
        self.0.valid_until
    }

    /// When the first certificate of the path expires; `None` for usage 3, which has no path.
    #[must_use]
    pub const fn path_not_after(&self) -> Option<UnixTime> {
        self.0.matched.not_after
    }

    /// SHA-256 of the SubjectPublicKeyInfo that the client proved possession of.
    #[must_use]
    pub const fn key_digest(&self) -> &[u8; 32] {
        &self.0.key_digest
    }
}

impl Settings {
    /// Steps 5 to 8: everything that is decided before DNS.
    #[must_use]
    pub fn start<'a>(&'a self, presented: &'a Presented) -> Step<'a> {
        // Step 5. Structure and content of the extension abort under either policy.
        let form = match &presented.client_id {
            ClientId::Invalid(error) => return self.done(error.reason(), None, None),
            ClientId::Absent => None,
            ClientId::Form(form) => Some(form),
        };
        // Step 6. No certificate is no entry, hence no extension.
        let Some(credential) = &presented.credential else {
            return self.done(Reason::NoClientName, None, None);
        };
        // Step 7.
        let name = match self.profile.name_source(form, self.derive_without_signal) {
            Ok(NameSource::Conveyed(name)) => name.clone(),
            Ok(NameSource::Certificate) => match name_in_certificate(credential) {
                Some(name) => name,
                None => return self.done(Reason::NoNameInCertificate, None, None),
            },
            Err(reason) => return self.done(reason, None, None),
        };
        // Step 8, before any DNS query.
        let Some(entry) = self.allow_list.admits(&name) else {
            return self.done(Reason::NameNotAllowed, Some(name), None);
        };
        match self.owner_name(&name) {
            Ok(owner) => {
                let evidence = Evidence::Credential(credential);
                Step::NeedTlsa(NeedTlsa { settings: self, evidence, name, owner, entry })
            }
            Err(_) => self.done(Reason::WrongServiceLabel, Some(name), None),
        }
    }

    /// Step 18 for a client whose certificates are no longer at hand, because its connection was resumed: from step 8 on as in
    /// [`start`](Self::start), and it is authenticated if the record that matched still counts and its path has not expired.
    #[must_use]
    pub fn start_again<'a>(&'a self, client: &'a VerifiedClient) -> Step<'a> {
        let VerifiedClient(known) = client;
        let name = known.name.clone();
        let Some(entry) = self.allow_list.admits(&name) else {
            return self.done(Reason::NameNotAllowed, Some(name), None);
        };
        match self.owner_name(&name) {
            Ok(owner) if owner == known.owner_name => {
                let evidence = Evidence::Known(known);
                Step::NeedTlsa(NeedTlsa { settings: self, evidence, name, owner, entry })
            }
            Ok(_) | Err(_) => self.done(Reason::WrongServiceLabel, Some(name), None),
        }
    }

    /// Requirements 2.2.
    pub(crate) fn owner_name(&self, name: &ClientName) -> Result<OwnerName, OwnerNameError> {
        self.profile.owner_name(name, self.service_label.as_ref())
    }

    fn done<'a>(&self, reason: Reason, client_name: Option<ClientName>, owner_name: Option<OwnerName>) -> Step<'a> {
        Step::Done(Decision { verdict: self.refuse(reason), client_name, owner_name, records: Vec::new() })
    }

    /// Steps 12 to 15 for a client that is known by what it matched before.
    pub(crate) fn match_again(&self, known: &Established, secure: &SecureTlsa, now: UnixTime) -> MatchReport {
        let end_entity = self.end_entity(secure);
        match_again(&secure.records, &known.matched, &known.name, &self.matching, end_entity, now)
    }

    /// What usage 3 counts for in this RRset. Where synthesis cannot be seen it is assumed.
    const fn end_entity(&self, secure: &SecureTlsa) -> WildcardEndEntity {
        match secure.wildcard {
            Some(false) => WildcardEndEntity::Accept,
            Some(true) | None => self.wildcard_ee,
        }
    }

    /// FAIL and LOOKUPFAIL of 4.2: what the policy makes of a reason.
    #[must_use]
    pub const fn refuse(&self, reason: Reason) -> Verdict {
        match (self.policy, reason.softening(), self.on_lookup_failure) {
            (Policy::Optional, Softening::ByPolicy, _)
            | (Policy::Optional, Softening::ByLookupSetting, OnLookupFailure::Unauthenticated) => {
                Verdict::Unauthenticated(reason)
            }
            (Policy::Optional, Softening::NotDane, _) => Verdict::NotDane(reason),
            (Policy::Require, _, _) | (Policy::Optional, Softening::Never | Softening::ByLookupSetting, _) => {
                Verdict::Abort(reason)
            }
        }
    }
}

/// Requirements 2.3: exactly one dNSName, and it is a name by 2.4.
fn name_in_certificate(credential: &Credential) -> Option<ClientName> {
    let Credential::X509(chain) = credential else {
        return None;
    };
    let certificate = x509::Certificate::parse(chain.first()?).ok()?;
    let mut names = certificate.dns_names();
    let only = names.next()?;
    if names.next().is_some() {
        return None;
    }
    ClientName::parse(only).ok()
}

/// A client that may be looked up: waits for the answer.
#[derive(Debug)]
pub struct NeedTlsa<'a> {
    settings: &'a Settings,
    evidence: Evidence<'a>,
    name: ClientName,
    owner: OwnerName,
    entry: usize,
}

/// What the records are compared with.
#[derive(Debug)]
enum Evidence<'a> {
    /// What the client presented.
    Credential(&'a Credential),
    /// What it was before.
    Known(&'a Established),
}

impl NeedTlsa<'_> {
    /// The one name to ask for, type TLSA, class IN (step 11).
    #[must_use]
    pub const fn owner_name(&self) -> &OwnerName {
        &self.owner
    }

    /// The client name.
    #[must_use]
    pub const fn client_name(&self) -> &ClientName {
        &self.name
    }

    /// The position of the allow-list entry that admitted the name, for limits per entry.
    #[must_use]
    pub const fn allow_list_entry(&self) -> usize {
        self.entry
    }

    /// Step 10: no look-up was made.
    #[must_use]
    pub fn limit_exceeded(self, limit: LimitExceeded) -> Decision {
        let reason = match limit {
            LimitExceeded::Total => Reason::LookupLimitTotal,
            LimitExceeded::Address => Reason::LookupLimitAddress,
            LimitExceeded::Entry => Reason::LookupLimitEntry,
        };
        self.refused(reason, Vec::new())
    }

    /// The whole check ran out of time.
    #[must_use]
    pub fn timed_out(self) -> Decision {
        self.refused(Reason::CheckTimeout, Vec::new())
    }

    /// Steps 11 to 16.
    #[must_use]
    pub fn answer(self, answer: &TlsaAnswer, now: UnixTime, paths: &dyn PathValidator) -> Decision {
        let secure = match answer.secure() {
            Ok(secure) => secure,
            Err(reason) => return self.refused(reason, Vec::new()),
        };
        // Steps 12 to 16.
        let report = match self.evidence {
            Evidence::Credential(credential) => {
                let options = &self.settings.matching;
                let end_entity = self.settings.end_entity(secure);
                match_with(&secure.records, credential, &self.name, options, end_entity, now, paths)
            }
            Evidence::Known(known) => self.settings.match_again(known, secure, now),
        };
        let matched = match report.conclusion {
            Conclusion::Matched(matched) => matched,
            Conclusion::NameMismatch { .. } => return self.refused(Reason::SanMismatch, report.records),
            Conclusion::NoMatch if report.records.iter().any(|row| row.outcome == Outcome::WildcardEndEntity) => {
                return self.refused(Reason::WildcardEndEntity, report.records);
            }
            Conclusion::NoMatch => return self.refused(Reason::NoMatch, report.records),
            Conclusion::NoUsable => return self.refused(Reason::NoUsableRecord, report.records),
        };
        let valid_until = matched.not_after.map_or(secure.valid_until, |not_after| not_after.min(secure.valid_until));
        let client = VerifiedClient(Established {
            name: self.name.clone(),
            owner_name: self.owner.clone(),
            matched,
            wildcard: secure.wildcard,
            valid_until,
            key_digest: match self.evidence {
                Evidence::Credential(credential) => credential.key_digest(),
                Evidence::Known(known) => known.key_digest,
            },
        });
        Decision {
            verdict: Verdict::Authenticated(client),
            client_name: Some(self.name),
            owner_name: Some(self.owner),
            records: report.records,
        }
    }

    fn refused(self, reason: Reason, records: Vec<RecordOutcome>) -> Decision {
        Decision {
            verdict: self.settings.refuse(reason),
            client_name: Some(self.name),
            owner_name: Some(self.owner),
            records,
        }
    }
}
