//! Before a connection: would a server take what is about to be presented? Its decision procedure is run over one's own credential and
//! the record that is published for it (requirements C1, C6, C7).

use std::fmt;

use dance_core::CertificateDer;
use dance_core::answer::TlsaAnswer;
use dance_core::clientid::{ClientForm, ClientProfile, Profile};
use dance_core::matching::{Conclusion, Credential, MatchOptions, Outcome, RecordOutcome, match_rrset};
use dance_core::name::{ClientName, OwnerName, ServiceLabel};
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::reason::{Reason, Softening};
use dance_core::tlsa::{CertUsage, MatchingType, Selector, TlsaFields, TlsaRdata};
use dance_core::verdict::{ClientId, Decision, Presented, Settings, Step, Verdict};
use dance_core::x509::Certificate;
use dance_resolver::{ConfigError, Detail, Lookup, Resolver, ResolverConfig, TlsaSource as _};
use dance_tls::{Credentials, ReadyCredential, Slot};

use crate::command::dns::DnsPath;
use crate::command::parse_name;
use crate::{Error, output, progress};

/// So many characters of a record are shown.
const RECORD_SHOWN: usize = 80;

/// How one's own record is looked up.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RecordOptions {
    /// Connect without looking up one's own TLSA record first, which shows the name to the resolver
    #[arg(long, conflicts_with_all = ["owner_name", "resolver", "resolver_ca", "trust_anchor", "dns_mode"])]
    no_record_check: bool,

    /// Where the record is, for servers of profile 2022 that put a service label before the name [default: the name]
    #[arg(long, value_name = "OWNER", value_parser = parse_name, requires = "identity")]
    owner_name: Option<ClientName>,

    #[command(flatten)]
    dns: DnsPath,
}

/// What servers would make of a credential.
enum Finding {
    /// They would take it.
    Matches { owner: OwnerName, record: TlsaRdata },
    /// It cannot be told from here.
    Unknown(Doubt),
    /// They would refuse it.
    Refused(Refusal),
}

/// Why it cannot be told whether servers would take a credential.
enum Doubt {
    /// The look-up came to nothing.
    LookUp { owner: OwnerName, reason: Reason, detail: Option<Detail> },
    /// The record is of a usage in which each server's own roots have a say.
    ServersRoots { owner: OwnerName, record: TlsaRdata },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LookUp { owner, reason, detail } => {
                write!(f, "whether the record of this credential is published at {owner} cannot be told: {reason}")?;
                detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {detail}"))
            }
            Self::ServersRoots { owner, record } => {
                write!(
                    f,
                    "{} at {owner} authenticates this credential only with servers that trust its root; which do, cannot be told",
                    Parameters(record)
                )
            }
        }
    }
}

/// No server would take any of the credentials: one refusal for each.
#[derive(Debug)]
pub struct Unpublished(Vec<Refusal>);

/// A credential that no server would take, and why.
#[derive(Debug)]
struct Refusal {
    slot: Slot,
    raw_public_key: bool,
    owner: Option<OwnerName>,
    reason: Reason,
    detail: Option<Detail>,
    /// Each record, and what is wrong with it.
    records: Vec<(TlsaRdata, String)>,
    /// The record that would do.
    remedy: Option<TlsaRdata>,
}

impl RecordOptions {
    /// Which of the credentials to present: the first whose record is published, else the first of which that cannot be told.
    ///
    /// # Errors
    /// [`Error::Unpublished`] where servers would refuse all of them.
    pub(crate) async fn choose<'a>(
        &self,
        credentials: &'a Credentials,
        form: &ClientForm,
        profile: ClientProfile,
    ) -> Result<&'a ReadyCredential, Error> {
        if self.no_record_check {
            return Ok(&credentials.current);
        }
        let resolver = match self.dns.clone().resolver(ResolverConfig::default().timeout) {
            Ok(resolver) => resolver,
            // Nobody has named a resolver, and the system has none: no slip, but how this machine is.
            Err(error @ (ConfigError::ResolvConfUnreadable { .. } | ConfigError::ResolvConfEmpty { .. })) => {
                output::warning(format_args!(
                    "whether the record of this credential is published cannot be told: {error}"
                ));
                return Ok(&credentials.current);
            }
            Err(error) => return Err(Error::Resolver(error)),
        };
        let mut doubtful = None;
        let mut refused = Vec::new();
        for (slot, ready) in credentials.iter() {
            let presented =
                Presented { credential: Some(ready.presented().clone()), client_id: ClientId::Form(form.clone()) };
            match self.judge(slot, &presented, profile, &resolver).await? {
                Finding::Matches { owner, record } => {
                    if slot == Slot::Next {
                        output::note(
                            "the current credential's record is not published, the next one's is: presenting that",
                        );
                    }
                    output::note(format_args!("record checked: {} at {owner} matches", Parameters(&record)));
                    return Ok(ready);
                }
                Finding::Unknown(doubt) => {
                    doubtful.get_or_insert((ready, doubt));
                }
                Finding::Refused(refusal) => refused.push(refusal),
            }
        }
        let (ready, doubt) = doubtful.ok_or(Error::Unpublished(Unpublished(refused)))?;
        output::warning(doubt);
        Ok(ready)
    }

    async fn judge(
        &self,
        slot: Slot,
        presented: &Presented,
        profile: ClientProfile,
        resolver: &Resolver,
    ) -> Result<Finding, Error> {
        let profile = match profile {
            ClientProfile::Fixed(profile) => profile,
            // With a name conveyed the two differ in nothing but where the record is.
            ClientProfile::Auto if self.owner_name.is_some() => Profile::Draft2022,
            ClientProfile::Auto => Profile::Current,
        };
        // A server that lets nobody in still finds out who asks: the name may be in the certificate.
        let settings = server(profile, AllowList::default(), None);
        let name = match settings.start(presented) {
            Step::Done(decision) => match decision.client_name.clone() {
                Some(name) => name,
                None => return Ok(Finding::Refused(Refusal::new(slot, presented, &decision, None))),
            },
            Step::NeedTlsa(need) => need.client_name().clone(),
        };
        let service = self.service_label(profile, &name)?;
        let only = AllowList::parse([name.as_str()]).unwrap_or_default();
        let settings = server(profile, only, service);
        let need = match settings.start(presented) {
            Step::Done(decision) => return Ok(Finding::Refused(Refusal::new(slot, presented, &decision, None))),
            Step::NeedTlsa(need) => need,
        };
        let owner = need.owner_name().clone();
        let lookup = progress::watch(format_args!("looking up {owner}"), resolver.lookup(&owner)).await;
        let (now, paths) = (dance_resolver::now(), dance_resolver::path_builder());
        let mut decision = need.answer(&lookup.answer, now, paths);
        // Whether `_user` stands for the users of a domain is each server's own setting.
        let users = Settings { matching: MatchOptions { user_mode: true, ..MatchOptions::default() }, ..settings };
        if name.without_user_label().is_some()
            && let Step::NeedTlsa(need) = users.start(presented)
            && let found = need.answer(&lookup.answer, now, paths)
            && let Verdict::Authenticated(_) = found.verdict
        {
            decision = found;
        }
        let reason = match &decision.verdict {
            Verdict::Authenticated(client) => return Ok(Finding::Matches { owner, record: client.record().clone() }),
            Verdict::Unauthenticated(reason) | Verdict::NotDane(reason) | Verdict::Abort(reason) => *reason,
        };
        if inconclusive(reason, lookup.trace.detail.as_ref()) {
            return Ok(Finding::Unknown(Doubt::LookUp { owner, reason, detail: lookup.trace.detail }));
        }
        let refusal = Refusal::new(slot, presented, &decision, Some(&lookup));
        Ok(match up_to_roots(&decision.records, records(&lookup), presented, &name) {
            Some(record) => Finding::Unknown(Doubt::ServersRoots { owner, record: record.clone() }),
            None => Finding::Refused(refusal),
        })
    }

    /// The label that a server must have to look for `name` where the record is said to be.
    fn service_label(&self, profile: Profile, name: &ClientName) -> Result<Option<ServiceLabel>, Error> {
        let Some(owner) = self.owner_name.as_ref().filter(|&owner| owner != name) else {
            return Ok(None);
        };
        let label = owner.labels().next().filter(|label| label.starts_with('_'));
        label
            .filter(|_| profile == Profile::Draft2022)
            .and_then(|label| ServiceLabel::parse(label).ok())
            .filter(|label| {
                OwnerName::construct(name, Some(label)).is_ok_and(|constructed| constructed.as_str() == owner.as_str())
            })
            .map(Some)
            .ok_or_else(|| Error::OwnerName { owner: owner.clone(), name: name.clone() })
    }
}

/// A server that admits these clients and trusts no roots, as far as its settings matter to them.
fn server(profile: Profile, allow_list: AllowList, service_label: Option<ServiceLabel>) -> Settings {
    Settings {
        profile,
        policy: Policy::Require,
        on_lookup_failure: OnLookupFailure::Abort,
        allow_list,
        service_label,
        derive_without_signal: false,
        wildcard_ee: WildcardEndEntity::Accept,
        matching: MatchOptions::default(),
    }
}

/// Whether a failed look-up says more about this machine or this moment than about the zone.
fn inconclusive(reason: Reason, detail: Option<&Detail>) -> bool {
    match reason {
        Reason::DnssecBogus => {
            matches!(detail, Some(Detail::ResolverStripsSignatures { .. } | Detail::EmptyReply { .. }))
        }
        other => other.softening() == Softening::ByLookupSetting,
    }
}

fn records(lookup: &Lookup) -> &[TlsaRdata] {
    match &lookup.answer {
        TlsaAnswer::Secure(secure) => &secure.records,
        TlsaAnswer::Denied(_) | TlsaAnswer::Insecure | TlsaAnswer::Bogus | TlsaAnswer::Indeterminate(_) => &[],
    }
}

/// The first record that a server's roots could make match.
fn up_to_roots<'a>(
    rows: &[RecordOutcome],
    records: &'a [TlsaRdata],
    presented: &Presented,
    name: &ClientName,
) -> Option<&'a TlsaRdata> {
    let Some(Credential::X509(chain)) = &presented.credential else { return None };
    let pkix = rows.iter().filter(|row| row.outcome == Outcome::UnusablePkix);
    pkix.filter_map(|row| records.get(row.index)).find(|record| pkix_fault(record, chain, name).is_none())
}

/// What is wrong with a record of usage 0 or 1 whatever roots a server has.
fn pkix_fault(record: &TlsaRdata, chain: &[CertificateDer<'static>], name: &ClientName) -> Option<String> {
    let holds = chain
        .first()
        .and_then(|leaf| Certificate::parse(leaf).ok())
        .is_some_and(|leaf| leaf.dns_names().any(|entry| entry.eq_ignore_ascii_case(name.as_str().as_bytes())));
    if !holds {
        return Some(format!("asks for {name} as a dNSName of the certificate, which does not hold it"));
    }
    let TlsaFields { usage, selector, matching_type, data } = record.fields()?;
    if usage != CertUsage::PKIX_EE {
        return None;
    }
    // The comparison alone is that of usage 3.
    let end_entity = TlsaRdata::new(CertUsage::DANE_EE, selector, matching_type, data);
    let credential = Credential::X509(chain.to_vec());
    let (options, paths) = (MatchOptions::default(), dance_resolver::path_builder());
    let report = match_rrset(&[end_entity], &credential, name, &options, dance_resolver::now(), paths);
    (!matches!(report.conclusion, Conclusion::Matched(_))).then(|| other_end_entity(selector).to_owned())
}

const fn other_end_entity(selector: Selector) -> &'static str {
    match selector {
        Selector::CERT => "describes another certificate; one of selector 1 would outlive renewals",
        _ => "describes another key",
    }
}

impl Refusal {
    fn new(slot: Slot, presented: &Presented, decision: &Decision, lookup: Option<&Lookup>) -> Self {
        let (chain, remedy) = match &presented.credential {
            Some(Credential::X509(chain)) => {
                let leaf = chain.first().map_or(&[][..], |leaf| leaf);
                let remedy =
                    TlsaRdata::for_certificate(CertUsage::DANE_EE, Selector::SPKI, MatchingType::SHA2_256, leaf);
                (Some(chain.as_slice()), remedy.ok())
            }
            Some(Credential::RawPublicKey(spki)) => {
                (None, TlsaRdata::for_spki(CertUsage::DANE_EE, MatchingType::SHA2_256, spki).ok())
            }
            None => (None, None),
        };
        let published = lookup.map_or(&[][..], records);
        let rows = decision.records.iter().filter_map(|row| Some((row, published.get(row.index)?)));
        Self {
            slot,
            raw_public_key: chain.is_none(),
            owner: decision.owner_name.clone(),
            reason: decision.verdict.reason().unwrap_or(Reason::NoMatch),
            detail: lookup.and_then(|lookup| lookup.trace.detail.clone()),
            records: rows
                .map(|(row, record)| (record.clone(), fault(row, record, chain, decision.client_name.as_ref())))
                .collect(),
            remedy,
        }
    }

    /// What is wrong, in a clause.
    fn what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let presented = if self.raw_public_key { "the raw public key" } else { "the certificate" };
        let owner = self.owner.as_ref().map_or("its name", OwnerName::as_str);
        match self.reason {
            Reason::TlsaAbsent => write!(f, "{owner} has no TLSA record"),
            Reason::DnssecInsecure => write!(f, "{owner} is not signed with DNSSEC all the way from the root"),
            Reason::DnssecBogus => write!(f, "what DNS says about {owner} fails validation"),
            Reason::NoUsableRecord => write!(f, "no record at {owner} can be used for {presented}"),
            Reason::NoMatch => write!(f, "no record at {owner} matches {presented}"),
            Reason::SanMismatch => write!(f, "{presented} does not hold the client's name as a dNSName"),
            other => write!(f, "{other}"),
        }?;
        self.detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }

    /// What to do about it.
    fn advice(&self) -> &'static str {
        match self.reason {
            Reason::TlsaAbsent => "publish the record of this credential, and wait until DNS delivers it:",
            Reason::DnssecInsecure => {
                "sign the zone, and have its parent publish the DS record (a zone that is signed with algorithm 5, 7 or 16 alone counts \
                 as unsigned here)"
            }
            Reason::DnssecBogus => "repair the zone's signatures; `dance resolve` shows each link",
            Reason::SanMismatch => {
                "have a certificate issued that holds the name, or publish the record to which names do not matter:"
            }
            _ => "present the credential whose record is published, or publish the record of this one:",
        }
    }
}

/// What is wrong with one record.
fn fault(
    row: &RecordOutcome,
    record: &TlsaRdata,
    chain: Option<&[CertificateDer<'static>]>,
    name: Option<&ClientName>,
) -> String {
    match (row.outcome, row.usage, chain, name) {
        (Outcome::NoMatch, Some(CertUsage::DANE_TA), ..) => {
            "its trust anchor is not among the certificates sent after the client's own: put the chain, up to and including the trust \
             anchor, into the file of --cert"
                .to_owned()
        }
        (Outcome::NoMatch, ..) => row.selector.map_or("describes nothing", other_end_entity).to_owned(),
        (Outcome::UnusableRawPublicKey, ..) => {
            "cannot match a raw public key, only 3 1 x can: give the certificate too, by --cert".to_owned()
        }
        (Outcome::UnusablePkix, _, Some(chain), Some(name)) => {
            pkix_fault(record, chain, name).unwrap_or_else(|| row.outcome.to_string())
        }
        (outcome, ..) => outcome.to_string(),
    }
}

impl fmt::Display for Unpublished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not connecting: servers would refuse this client")?;
        for refusal in &self.0 {
            f.write_str("\n  ")?;
            if self.0.len() > 1 {
                write!(f, "{} credential: ", refusal.slot)?;
            }
            refusal.what(f)?;
            write!(f, " ({})", refusal.reason)?;
            for (record, fault) in &refusal.records {
                write!(f, "\n    {}\n        {fault}", Shown(record))?;
            }
            write!(f, "\n  {}", refusal.advice())?;
            if let (true, Some(owner), Some(record)) =
                (refusal.advice().ends_with(':'), &refusal.owner, &refusal.remedy)
            {
                write!(f, "\n    {owner}. IN TLSA {record}")?;
            }
        }
        f.write_str("\n  --no-record-check connects all the same")
    }
}

/// Usage, selector and matching type.
struct Parameters<'a>(&'a TlsaRdata);

impl fmt::Display for Parameters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_wire() {
            [usage, selector, matching_type, ..] => write!(f, "{usage} {selector} {matching_type}"),
            _ => f.write_str("a record cut short"),
        }
    }
}

/// A record, cut where it gets long.
struct Shown<'a>(&'a TlsaRdata);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        match text.get(..RECORD_SHOWN) {
            Some(start) if text.len() > RECORD_SHOWN => write!(f, "{start}..."),
            _ => f.write_str(&text),
        }
    }
}
