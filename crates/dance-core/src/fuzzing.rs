//! Bodies of the fuzz targets and of the property tests: octets in, panic if a promise of this crate does not hold.
//!
//! Not an interface: it may change at any time.

use alloc::string::ToString as _;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};

use crate::answer::{SecureTlsa, TlsaAnswer};
use crate::clientid::{ClientProfile, ExtensionTypes, Profile, decode_client, decode_signal};
use crate::matching::{Conclusion, Credential, MatchOptions, MatchReport, Outcome, match_rrset};
use crate::message::{
    CertificateMessage, CertificateRequestMessage, CertificateType, Extensions, MAX_CERTIFICATES, MAX_MESSAGE_LEN,
    Negotiated, read_client_certificate, read_client_certificate_tls12,
};
use crate::name::{ClientName, MAX_LABEL_LEN, ServiceLabel};
use crate::pkix::{Path, PathError, PathValidator};
use crate::policy::{AllowList, OnLookupFailure, Pattern, Policy, WildcardEndEntity};
use crate::search::MAX_PATHS;
use crate::ticket::{self, Ticket, TicketRefused};
use crate::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};
use crate::verdict::{ClientId, Settings};
use crate::x509::{Certificate, check_spki};

/// A name is what it was parsed from, folded, and its wire form says the same. A service label is one label, with its underscore.
pub fn name(octets: &[u8]) {
    if let Ok(label) =
        core::str::from_utf8(octets).map_err(drop).and_then(|text| ServiceLabel::parse(text).map_err(drop))
    {
        let text = label.as_str();
        assert!(text.len() <= MAX_LABEL_LEN && text.starts_with('_') && !text.contains('.'));
        assert_eq!(ServiceLabel::parse(text).as_ref(), Ok(&label));
    }
    let Ok(name) = ClientName::parse(octets) else { return };
    let text = name.as_str();
    assert!(text.as_bytes().eq_ignore_ascii_case(octets));
    assert!(!text.bytes().any(|octet| octet.is_ascii_uppercase()));
    assert_eq!(ClientName::parse(text.as_bytes()).as_ref(), Ok(&name));
    assert_eq!(ClientName::parse_config(&alloc::format!("{text}.")).as_ref(), Ok(&name));

    let wire = name.to_wire();
    assert!(wire.as_slice().len() <= 255);
    let mut rest = wire.as_slice();
    for label in name.labels() {
        let (len, after) = rest.split_first().expect("a label");
        let (found, after) = after.split_at(usize::from(*len));
        assert_eq!(found, label.as_bytes());
        rest = after;
    }
    assert_eq!(rest, [0]);
}

/// What decodes encodes to what it was, but for case.
pub fn extension(data: &[u8]) {
    for profile in [Profile::Current, Profile::Draft2022] {
        if let Ok(form) = decode_client(profile, data) {
            let encoded = form.encode(profile).expect("a form of the profile");
            assert!(encoded.eq_ignore_ascii_case(data));
            assert_eq!(decode_client(profile, &encoded), Ok(form));
        }
        assert_eq!(decode_signal(profile, data).is_ok(), data == profile.signal());
        assert_eq!(ClientProfile::Auto.decode_signal(data) == Ok(profile), data == profile.signal());
    }
}

fn put(message: &mut Vec<u8>, length_octets: usize, content: &[u8]) {
    let length = content.len().to_be_bytes();
    message.extend(length.iter().skip(length.len() - length_octets));
    message.extend_from_slice(content);
}

fn rewrite_extensions(extensions: &Extensions<'_>) -> Vec<u8> {
    let mut block = Vec::new();
    for (kind, data) in extensions.iter() {
        block.extend(kind.to_be_bytes());
        put(&mut block, 2, data);
    }
    block
}

fn rewrite(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = alloc::vec![kind];
    put(&mut message, 3, body);
    message
}

/// A message that decodes is the octets that its parts make, and within the limits.
pub fn certificate_message(octets: &[u8]) {
    let parsed = CertificateMessage::parse(octets);
    if let Ok(message) = &parsed {
        assert!(message.entries.len() <= MAX_CERTIFICATES && octets.len() <= MAX_MESSAGE_LEN);
        let mut list = Vec::new();
        for entry in &message.entries {
            put(&mut list, 3, entry.data);
            put(&mut list, 2, &rewrite_extensions(&entry.extensions));
        }
        let mut body = Vec::new();
        put(&mut body, 1, message.context);
        put(&mut body, 3, &list);
        assert_eq!(rewrite(11, &body), octets);
    }
    let context = parsed.as_ref().map_or(&[][..], |message| message.context);
    for profile in [Profile::Current, Profile::Draft2022] {
        for certificate_type in [CertificateType::X509, CertificateType::RawPublicKey] {
            for signal_sent in [false, true] {
                let extension_types = &ExtensionTypes::DEFAULT;
                let negotiated = Negotiated { extension_types, profile, signal_sent, certificate_type, context };
                let presented = read_client_certificate(octets, &negotiated);
                assert!(parsed.is_ok() || presented.is_err());
            }
        }
    }
    certificate_message_tls12(octets);
}

fn certificate_message_tls12(octets: &[u8]) {
    for certificate_type in [CertificateType::X509, CertificateType::RawPublicKey] {
        let Ok(presented) = read_client_certificate_tls12(octets, certificate_type, ClientId::Absent) else { continue };
        assert!(octets.len() <= MAX_MESSAGE_LEN);
        let mut content = Vec::new();
        match presented.credential {
            None => {}
            Some(Credential::RawPublicKey(spki)) => content.extend_from_slice(&spki),
            Some(Credential::X509(chain)) => {
                assert!(chain.len() <= MAX_CERTIFICATES);
                chain.iter().for_each(|certificate| put(&mut content, 3, certificate));
            }
        }
        let mut body = Vec::new();
        put(&mut body, 3, &content);
        assert_eq!(rewrite(11, &body), octets);
    }
}

/// As [`certificate_message`].
pub fn certificate_request(octets: &[u8]) {
    let Ok(message) = CertificateRequestMessage::parse(octets) else { return };
    let mut body = Vec::new();
    put(&mut body, 1, message.context);
    put(&mut body, 2, &rewrite_extensions(&message.extensions));
    assert_eq!(rewrite(13, &body), octets);
    for profile in [Profile::Current, Profile::Draft2022] {
        let signal = message.signal(&ExtensionTypes::DEFAULT, profile.into());
        if let Ok(Some((_, found))) = signal {
            assert_eq!(found, profile);
            assert_eq!(message.signal(&ExtensionTypes::DEFAULT, ClientProfile::Auto), signal);
        }
    }
}

/// A ticket that decodes is the octets that its content makes, and is taken where its record stands and not where it does not.
pub fn ticket(octets: &[u8]) {
    let Some(ticket) = Ticket::decode(octets) else { return };
    assert_eq!(ticket::encode(&ticket.0), octets);
    let known = &ticket.0;
    let user_mode = known.matched.user.is_some();
    let settings = Settings {
        profile: Profile::Current,
        policy: Policy::Require,
        on_lookup_failure: OnLookupFailure::Abort,
        allow_list: AllowList::parse([known.name.as_str()]).expect("a name"),
        service_label: None,
        derive_without_signal: false,
        wildcard_ee: WildcardEndEntity::Accept,
        matching: MatchOptions {
            pkix_roots: alloc::vec![CertificateDer::from(Vec::new())],
            digest_agility: true,
            user_mode,
        },
    };
    let Some(now) = known.valid_until.as_secs().checked_sub(1) else { return };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let ask = |records| {
        let secure = SecureTlsa { records, valid_until: known.valid_until, ttl: 1, wildcard: known.wildcard };
        settings.resume(&ticket, &TlsaAnswer::Secure(Arc::new(secure)), now)
    };
    let usage = known.matched.record.fields().map(|fields| fields.usage);
    let expected = if known.owner_name.as_str() != known.name.as_str() {
        Err(TicketRefused::OtherOwner)
    } else if user_mode && matches!(usage, Some(CertUsage::PKIX_EE | CertUsage::DANE_EE)) {
        Err(TicketRefused::RecordGone)
    } else {
        Ok(0)
    };
    let found = ask(alloc::vec![known.matched.record.clone()]);
    assert_eq!(found.as_ref().map(|client| client.0.matched.index).map_err(|refused| *refused), expected);
    if let Ok(client) = found {
        assert!(client.identity().bytes().all(|octet| octet.is_ascii_graphic()));
        assert_eq!(client.valid_until(), ticket.valid_until());
        assert_eq!(ask(Vec::new()), Err(TicketRefused::RecordGone));
    }
}

/// A record that parses is written and parsed again as the same record, in both forms.
pub fn tlsa_presentation(octets: &[u8]) {
    let Ok(text) = core::str::from_utf8(octets) else { return };
    let Ok(record) = text.parse::<TlsaRdata>() else { return };
    assert_eq!(record.to_string().parse().as_ref(), Ok(&record));
    assert_eq!(TlsaRdata::parse_rfc3597(&record.to_rfc3597()).as_ref(), Ok(&record));
}

/// Any RDATA has a form that gives it back.
pub fn rfc3597(octets: &[u8]) {
    if let Ok(record) =
        core::str::from_utf8(octets).map_err(|_| ()).and_then(|text| TlsaRdata::parse_rfc3597(text).map_err(|_| ()))
    {
        assert_eq!(TlsaRdata::parse_rfc3597(&record.to_rfc3597()).as_ref(), Ok(&record));
    }
    if octets.len() <= crate::tlsa::MAX_RDATA_LEN {
        let record = TlsaRdata::from_wire(octets);
        assert_eq!(record.to_string().parse().as_ref(), Ok(&record));
        assert_eq!(TlsaRdata::parse_rfc3597(&record.to_rfc3597()).as_ref(), Ok(&record));
        assert_eq!(
            record.usable().is_ok(),
            record.usable().ok().is_some_and(|fields| fields.data.len() + 3 == octets.len())
        );
    }
}

/// Fields lie inside the certificate, and asking for contents never panics.
pub fn x509(octets: &[u8]) {
    let _ = check_spki(octets);
    let Ok(certificate) = Certificate::parse(octets) else { return };
    for field in [certificate.spki(), certificate.subject(), certificate.issuer()] {
        assert!(octets.as_ptr_range().contains(&field.as_ptr()) && field.len() < octets.len());
    }
    let _ = (certificate.validity(), certificate.basic_constraints(), certificate.key_usage());
    let _ = (certificate.allows_client_auth(), certificate.has_broken_digest());
    let dns_names = certificate.dns_names().count();
    let alt_names = certificate.alt_names().count();
    assert!(dns_names <= alt_names && alt_names <= octets.len());
    for selector in [Selector::CERT, Selector::SPKI] {
        let record = TlsaRdata::for_certificate(CertUsage::DANE_EE, selector, MatchingType::SHA2_256, octets);
        assert!(record.is_ok_and(|record| record.usable().is_ok()));
    }
}

/// A pattern that parses is written and parsed again as the same, and admits names below or at its suffix only.
pub fn allow_list(octets: &[u8]) {
    let Ok(text) = core::str::from_utf8(octets) else { return };
    let (pattern, candidate) = text.split_once(' ').unwrap_or((text, "a.example.com"));
    let Ok(pattern) = Pattern::parse(pattern) else { return };
    let written = pattern.to_string();
    assert_eq!(Pattern::parse(&written).as_ref(), Ok(&pattern));
    let suffix = written.trim_start_matches("*").trim_start_matches('.');
    let whole = ClientName::parse(suffix.as_bytes()).expect("the suffix is a name");
    assert_eq!(pattern.admits(&whole), suffix == written, "a wildcard never admits its suffix");
    if let Ok(name) = ClientName::parse(candidate.as_bytes())
        && pattern.admits(&name)
    {
        let front = name.as_str().strip_suffix(suffix).expect("the suffix of the pattern");
        match written.len() - suffix.len() {
            0 => assert_eq!(front, ""),
            2 => assert!(front.ends_with('.') && !front.trim_end_matches('.').contains('.')),
            _ => assert!(front.ends_with('.') && front.len() > 1),
        }
    }
}

/// Accepts every path and counts them.
#[derive(Debug, Default)]
struct Credulous(AtomicUsize);

impl PathValidator for Credulous {
    fn validate(&self, _: &Path<'_>, _: UnixTime) -> Result<(), PathError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Takes pieces off the octets that the structured target is built from.
struct Pieces<'a>(&'a [u8]);

impl<'a> Pieces<'a> {
    fn octet(&mut self) -> u8 {
        let (octet, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *octet
    }

    /// Octets behind a length of two octets, or what is left.
    fn piece(&mut self) -> &'a [u8] {
        let len = usize::from(u16::from_be_bytes([self.octet(), self.octet()]));
        let (piece, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        piece
    }
}

/// A whole match: flags, clock, certificates and records out of the octets. Outcomes and conclusion agree, the work is bounded, and
/// digest agility only ever takes away.
pub fn match_records(octets: &[u8]) {
    let mut pieces = Pieces(octets);
    let flags = pieces.octet();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::from(pieces.octet()) << 24));
    let certificates = pieces.octet() % 20;
    let chain: Vec<_> = (0..certificates).map(|_| CertificateDer::from(pieces.piece().to_vec())).collect();
    let records: Vec<_> = (0..pieces.octet() % 80).map(|_| piece_record(&mut pieces, &chain)).collect();
    let options = MatchOptions {
        pkix_roots: if flags & 1 == 0 { Vec::new() } else { chain.iter().rev().take(2).cloned().collect() },
        digest_agility: true,
        user_mode: flags & 2 != 0,
    };
    let name: &[u8] = if flags & 4 == 0 { b"device1.example.com" } else { b"_user.example.com" };
    let name = ClientName::parse(name).expect("a name");
    let credential = match chain.first() {
        Some(first) if flags & 8 != 0 => {
            let key = Certificate::parse(first).map_or(first.as_ref(), |certificate| certificate.spki());
            Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(key.to_vec()))
        }
        _ => Credential::X509(chain.clone()),
    };
    let run = |options: &MatchOptions| {
        let paths = Credulous::default();
        let report = match_rrset(&records, &credential, &name, options, now, &paths);
        assert!(paths.0.load(Ordering::Relaxed) <= MAX_PATHS);
        check_report(&report, records.len());
        report
    };
    let with = run(&options);
    let without = run(&MatchOptions { digest_agility: false, ..options });
    if matches!(with.conclusion, Conclusion::Matched(_)) {
        assert!(matches!(without.conclusion, Conclusion::Matched(_)));
    }
    assert_eq!(with.conclusion == Conclusion::NoUsable, without.conclusion == Conclusion::NoUsable);
}

/// A record of random octets, or of one of the certificates.
fn piece_record(pieces: &mut Pieces<'_>, chain: &[CertificateDer<'_>]) -> TlsaRdata {
    let [usage, selector, matching_type, source] = [(); 4].map(|()| pieces.octet());
    let (usage, selector, matching_type) =
        (CertUsage(usage % 5), Selector(selector % 3), MatchingType(matching_type % 4));
    let described = chain.get(usize::from(source) % (chain.len() + 1));
    described
        .and_then(|certificate| TlsaRdata::for_certificate(usage, selector, matching_type, certificate).ok())
        .unwrap_or_else(|| TlsaRdata::new(usage, selector, matching_type, pieces.piece()))
}

fn check_report(report: &MatchReport, records: usize) {
    assert_eq!(report.records.len(), records);
    let first = |wanted: Outcome| report.records.iter().position(|row| row.outcome == wanted);
    let (matched, usable) = (first(Outcome::Matched), report.records.iter().any(|row| row.outcome.is_usable()));
    match &report.conclusion {
        Conclusion::Matched(found) => assert_eq!(Some(found.index), matched),
        Conclusion::NameMismatch { index, .. } => {
            assert_eq!((matched, Some(*index)), (None, first(Outcome::NameMismatch)));
        }
        Conclusion::NoMatch => assert!(matched.is_none() && first(Outcome::NameMismatch).is_none() && usable),
        Conclusion::NoUsable => assert!(!usable),
    }
    let open = first(Outcome::NotReached);
    assert!(open.is_none() || open > matched && matched.is_some(), "only what follows a match is left open");
}
