//! The decision procedure: each step, under both policies and profiles.

use std::sync::Arc;
use std::time::Duration;

use dance_core::answer::{Denial, DenialKind, LookupFailure, SecureTlsa, TlsaAnswer};
use dance_core::clientid::{ClientForm, ExtensionError, Place, Placement, Profile, TlsVersion, placement};
use dance_core::matching::{Credential, MatchOptions};
use dance_core::name::{NameError, ServiceLabel};
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::reason::{Alert, Reason, Softening};
use dance_core::tlsa::TlsaRdata;
use dance_core::verdict::{ClientId, Decision, LimitExceeded, NeedTlsa, Presented, Settings, Step, Verdict};
use dance_core::x509::Certificate;
use dance_core::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rcgen::date_time_ymd;
use sha2::{Digest as _, Sha256};

use crate::authority::{Authority, NAME, NOW, PATHS, dns, name, record};

const POLICIES: [Policy; 2] = [Policy::Require, Policy::Optional];

pub(crate) fn settings(policy: Policy) -> Settings {
    Settings {
        profile: Profile::Current,
        policy,
        on_lookup_failure: OnLookupFailure::Abort,
        allow_list: AllowList::parse(["**.example.com"]).unwrap(),
        service_label: None,
        derive_without_signal: false,
        wildcard_ee: WildcardEndEntity::Accept,
        matching: MatchOptions::default(),
    }
}

pub(crate) fn presented(chain: &[&CertificateDer<'static>], client_id: ClientId) -> Presented {
    Presented { credential: Some(Credential::X509(chain.iter().copied().cloned().collect())), client_id }
}

pub(crate) fn named(text: &str) -> ClientId {
    ClientId::Form(ClientForm::Name(name(text)))
}

const IN_CERTIFICATE: ClientId = ClientId::Form(ClientForm::InCertificate);

/// A client with a certificate of its own making, and the record that says so.
fn client() -> (Presented, TlsaRdata) {
    let leaf = Authority::root("Root").leaf();
    let record = record(3, 1, 1, &leaf);
    (presented(&[&leaf], named(NAME)), record)
}

pub(crate) fn later(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs() + seconds))
}

pub(crate) fn secure(records: Vec<TlsaRdata>) -> TlsaAnswer {
    secure_by(records, Some(false))
}

pub(crate) fn secure_by(records: Vec<TlsaRdata>, wildcard: Option<bool>) -> TlsaAnswer {
    TlsaAnswer::Secure(Arc::new(SecureTlsa { records, valid_until: later(300), ttl: 300, wildcard }))
}

/// Decided without DNS.
pub(crate) fn done(settings: &Settings, presented: &Presented) -> Decision {
    match settings.start(presented) {
        Step::Done(decision) => decision,
        Step::NeedTlsa(need) => panic!("asks for {}", need.owner_name()),
    }
}

pub(crate) fn need<'a>(settings: &'a Settings, presented: &'a Presented) -> NeedTlsa<'a> {
    match settings.start(presented) {
        Step::NeedTlsa(need) => need,
        Step::Done(decision) => panic!("{:?}", decision.verdict),
    }
}

pub(crate) fn decide(settings: &Settings, presented: &Presented, answer: &TlsaAnswer) -> Decision {
    need(settings, presented).answer(answer, NOW, &PATHS)
}

/// FAIL of the requirements.
fn fail(policy: Policy, reason: Reason) -> Verdict {
    match policy {
        Policy::Require => Verdict::Abort(reason),
        Policy::Optional => Verdict::Unauthenticated(reason),
    }
}

// CID-17
#[test]
fn a_fault_of_the_extension_aborts_under_either_policy_without_dns() {
    let leaf = Authority::root("Root").leaf();
    let faults = [
        (ExtensionError::ZeroName, Alert::HandshakeFailure),
        (ExtensionError::NoLength, Alert::DecodeError),
        (ExtensionError::Length { said: 1, found: 2 }, Alert::DecodeError),
        (ExtensionError::Duplicate, Alert::IllegalParameter),
        (ExtensionError::Misplaced(Place::ClientCertificateLater), Alert::IllegalParameter),
        (ExtensionError::Unsolicited(Place::ClientCertificate), Alert::UnsupportedExtension),
        (ExtensionError::Name(NameError::SingleLabel), Alert::HandshakeFailure),
    ];
    for policy in POLICIES {
        for (fault, alert) in faults {
            let decision = done(&settings(policy), &presented(&[&leaf], ClientId::Invalid(fault)));
            assert_eq!(decision.verdict, Verdict::Abort(fault.reason()));
            assert_eq!(fault.reason().alert(), alert);
            assert_eq!((decision.client_name, decision.owner_name), (None, None));
        }
    }
}

// SRV-04, SRV-05, SRV-06
#[test]
fn without_the_extension_nothing_is_asked_and_nothing_derived() {
    // The certificate holds one name that is on the allow-list.
    let leaf = Authority::root("Root").leaf();
    let nobody = Presented { credential: None, client_id: ClientId::Absent };
    for presented in [presented(&[&leaf], ClientId::Absent), nobody] {
        let require = done(&settings(Policy::Require), &presented);
        assert_eq!(require.verdict, Verdict::Abort(Reason::NoClientName));
        assert_eq!(Reason::NoClientName.alert(), Alert::HandshakeFailure);
        let optional = done(&settings(Policy::Optional), &presented);
        assert_eq!(optional.verdict, Verdict::NotDane(Reason::NoClientName));
        assert_eq!(optional.client_name, None);
    }
}

// SRV-07, SRV-08, HTTP-18
#[test]
fn a_name_off_the_list_is_refused_without_dns() {
    let (mut client, _) = client();
    for policy in POLICIES {
        for text in ["a.example.net", "example.com", "a.evilexample.com"] {
            client.client_id = named(text);
            let decision = done(&settings(policy), &client);
            assert_eq!(decision.verdict, fail(policy, Reason::NameNotAllowed));
            assert_eq!((decision.client_name, decision.owner_name), (Some(name(text)), None));
        }
        let mut nobody = settings(policy);
        nobody.allow_list = AllowList::default();
        client.client_id = named(NAME);
        assert_eq!(done(&nobody, &client).verdict, fail(policy, Reason::NameNotAllowed));
        assert_eq!(need(&settings(policy), &client).owner_name().as_str(), NAME, "control");
    }
}

// NAM-05, NAM-07, NAM-10, DNS-11
#[test]
fn one_owner_name_is_asked_for_and_it_is_the_conveyed_one() {
    let (mut client, _) = client();
    for text in ["device73.example.com", "s7._device.example.com", "_smtp-client.d.example.com", "_x-own.d.example.com"]
    {
        client.client_id = named(&text.to_uppercase());
        let settings = settings(Policy::Require);
        let need = need(&settings, &client);
        assert_eq!((need.owner_name().as_str(), need.client_name().as_str()), (text, text));
        assert_eq!(need.allow_list_entry(), 0);
    }
}

// SEC-07
#[test]
fn a_listener_of_one_service_refuses_the_names_of_others_without_dns() {
    let (mut client, _) = client();
    for (profile, owner) in [(Profile::Current, NAME), (Profile::Draft2022, "_smtp-client.device1.example.com")] {
        let mut settings = settings(Policy::Optional);
        settings.profile = profile;
        settings.service_label = Some(ServiceLabel::parse("smtp-client").unwrap());
        client.client_id = named("_imap.device1.example.com");
        assert_eq!(done(&settings, &client).verdict, Verdict::Unauthenticated(Reason::WrongServiceLabel));
        client.client_id = named("_smtp-client.device1.example.com");
        assert_eq!(need(&settings, &client).owner_name().as_str(), "_smtp-client.device1.example.com");
        client.client_id = named(NAME);
        assert_eq!(need(&settings, &client).owner_name().as_str(), owner);
    }
}

// NAM-08
#[test]
fn the_identity_of_a_2022_client_lacks_the_label_that_the_server_added() {
    let root = Authority::root("Root");
    let client = presented(&[&root.leaf(), &root.der], named(NAME));
    let mut settings = settings(Policy::Require);
    settings.profile = Profile::Draft2022;
    settings.service_label = Some(ServiceLabel::parse("smtp-client").unwrap());
    let decision = decide(&settings, &client, &secure(vec![record(2, 0, 1, &root.der)]));
    let Verdict::Authenticated(verified) = decision.verdict else { panic!("{decision:?}") };
    assert_eq!(verified.identity(), NAME);
    assert_eq!(verified.owner_name().as_str(), "_smtp-client.device1.example.com");
}

// NAM-09, RPK-02
#[test]
fn a_name_is_taken_from_a_certificate_only_if_it_holds_exactly_one() {
    let root = Authority::root("Root");
    let mut settings = settings(Policy::Optional);
    settings.profile = Profile::Draft2022;
    let ask = |names: &[&str]| {
        let leaf = root.leaf_with(|params| params.subject_alt_names = dns(names));
        let client = presented(&[&leaf], IN_CERTIFICATE);
        match settings.start(&client) {
            Step::NeedTlsa(need) => Ok(need.owner_name().to_string()),
            Step::Done(decision) => Err(Box::new(decision.verdict)),
        }
    };
    let refused = |reason| Err(Box::new(Verdict::Unauthenticated(reason)));
    let failed = || refused(Reason::NoNameInCertificate);
    assert_eq!(ask(&["Device1.Example.com"]), Ok(NAME.to_owned()));
    assert_eq!(ask(&[NAME, "device2.example.com"]), failed());
    assert_eq!(ask(&[NAME, NAME]), failed());
    assert_eq!(ask(&[]), failed());
    assert_eq!(ask(&["*.example.com"]), failed());
    assert_eq!(ask(&["device1.example.com."]), failed());
    assert_eq!(ask(&["elsewhere.example.net"]), refused(Reason::NameNotAllowed));

    let key = Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(b"key".to_vec()));
    let client = Presented { credential: Some(key), client_id: IN_CERTIFICATE };
    assert_eq!(done(&settings, &client).verdict, Verdict::Unauthenticated(Reason::NoNameInCertificate));
    settings.policy = Policy::Require;
    assert_eq!(done(&settings, &client).verdict, Verdict::Abort(Reason::NoNameInCertificate));
}

// SRV-03
#[test]
fn over_tls_12_the_extension_of_a_current_client_counts_for_nothing() {
    let place = |profile, version| placement(profile, version, Place::ClientHello, false);
    assert_eq!(place(Profile::Current, TlsVersion::Tls12), Placement::Ignore);
    // Where it does count it is read, so the table can tell the two apart.
    assert_eq!(place(Profile::Draft2022, TlsVersion::Tls12), Placement::Read);

    // What is ignored is absent, whatever it said.
    let leaf = Authority::root("Root").leaf();
    let ignored = presented(&[&leaf], ClientId::Absent);
    let decision = done(&settings(Policy::Optional), &ignored);
    assert_eq!(decision.verdict, Verdict::NotDane(Reason::NoClientName));
    assert_eq!(decision.owner_name, None);
    assert_eq!(done(&settings(Policy::Require), &ignored).verdict, Verdict::Abort(Reason::NoClientName));
}

// NAM-09, SRV-06
#[test]
fn without_any_extension_a_name_is_derived_only_where_that_is_set() {
    let client = presented(&[&Authority::root("Root").leaf()], ClientId::Absent);
    let mut settings = settings(Policy::Optional);
    settings.derive_without_signal = true;
    assert_eq!(done(&settings, &client).verdict, Verdict::NotDane(Reason::NoClientName), "profile current never");
    settings.profile = Profile::Draft2022;
    assert_eq!(need(&settings, &client).owner_name().as_str(), NAME);
    settings.derive_without_signal = false;
    assert_eq!(done(&settings, &client).verdict, Verdict::NotDane(Reason::NoClientName));
}

// SRV-08, SRV-11, SRV-12, DNS-03, DNS-04
#[test]
fn each_state_of_the_answer_has_its_verdict_under_each_setting() {
    use LookupFailure::*;
    let (client, _) = client();
    let denied = |kind| TlsaAnswer::Denied(Denial { kind, valid_until: NOW });
    let by_policy = [
        (denied(DenialKind::Nxdomain), Reason::TlsaAbsent),
        (denied(DenialKind::Nodata), Reason::TlsaAbsent),
        (TlsaAnswer::Insecure, Reason::DnssecInsecure),
        (secure(vec![]), Reason::NoUsableRecord),
        (secure(vec![TlsaRdata::from_wire(&[3, 1, 9, 0])]), Reason::NoUsableRecord),
        (secure(vec![record(3, 1, 1, &Authority::root("Other").der)]), Reason::NoMatch),
    ];
    let failures = [
        (TlsaAnswer::Bogus, Reason::DnssecBogus),
        (TlsaAnswer::Indeterminate(AliasLimit), Reason::LookupAliasLimit),
        (TlsaAnswer::Indeterminate(Malformed), Reason::LookupMalformed),
        (TlsaAnswer::Indeterminate(NoTrust), Reason::DnssecIndeterminate),
        (TlsaAnswer::Indeterminate(Refused), Reason::LookupRefused),
        (TlsaAnswer::Indeterminate(Servfail), Reason::LookupServfail),
        (TlsaAnswer::Indeterminate(Timeout), Reason::LookupTimeout),
        (TlsaAnswer::Indeterminate(Suspended), Reason::LookupZoneSuspended),
        (TlsaAnswer::Indeterminate(TooCostly), Reason::LookupTooCostly),
        (TlsaAnswer::Indeterminate(Unreachable), Reason::LookupUnreachable),
    ];
    for policy in POLICIES {
        for on_lookup_failure in [OnLookupFailure::Abort, OnLookupFailure::Unauthenticated] {
            let mut settings = settings(policy);
            settings.on_lookup_failure = on_lookup_failure;
            for (answer, reason) in &by_policy {
                assert_eq!(decide(&settings, &client, answer).verdict, fail(policy, *reason));
            }
            for (answer, reason) in &failures {
                let soft = policy == Policy::Optional && on_lookup_failure == OnLookupFailure::Unauthenticated;
                let verdict = if soft { Verdict::Unauthenticated(*reason) } else { Verdict::Abort(*reason) };
                assert_eq!(decide(&settings, &client, answer).verdict, verdict);
            }
        }
    }
}

// SRV-11, SEC-01
#[test]
fn limits_and_time_are_look_up_failures() {
    let (client, _) = client();
    let cases = [
        (LimitExceeded::Total, Reason::LookupLimitTotal),
        (LimitExceeded::Address, Reason::LookupLimitAddress),
        (LimitExceeded::Entry, Reason::LookupLimitEntry),
    ];
    let mut settings = settings(Policy::Optional);
    for on_lookup_failure in [OnLookupFailure::Abort, OnLookupFailure::Unauthenticated] {
        settings.on_lookup_failure = on_lookup_failure;
        let verdict = |reason| match on_lookup_failure {
            OnLookupFailure::Abort => Verdict::Abort(reason),
            OnLookupFailure::Unauthenticated => Verdict::Unauthenticated(reason),
        };
        for (limit, reason) in cases {
            assert_eq!(need(&settings, &client).limit_exceeded(limit).verdict, verdict(reason));
        }
        assert_eq!(need(&settings, &client).timed_out().verdict, verdict(Reason::CheckTimeout));
    }
}

// SRV-13
#[test]
fn a_name_mismatch_aborts_under_either_policy() {
    let root = Authority::root("Root");
    let client = presented(&[&root.leaf(), &root.der], named("device2.example.com"));
    for policy in POLICIES {
        let decision = decide(&settings(policy), &client, &secure(vec![record(2, 0, 1, &root.der)]));
        assert_eq!(decision.verdict, Verdict::Abort(Reason::SanMismatch));
        assert_eq!(decision.records[0].outcome.code(), "name-mismatch");
        // One record in full is enough all the same.
        let Some(Credential::X509(chain)) = &client.credential else { panic!() };
        let both = secure(vec![record(2, 0, 1, &root.der), record(3, 1, 1, &chain[0])]);
        assert!(matches!(decide(&settings(policy), &client, &both).verdict, Verdict::Authenticated(_)));
    }
}

// SRV-14, NAM-05
#[test]
fn an_authenticated_client_is_told_with_all_that_led_to_it() {
    let root = Authority::root("Root");
    let leaf = root.leaf();
    let client = presented(&[&leaf, &root.der], named("DEVICE1.example.com"));
    let ta = record(2, 0, 1, &root.der);
    for policy in POLICIES {
        let decision = decide(&settings(policy), &client, &secure(vec![record(3, 1, 1, &root.der), ta.clone()]));
        let Verdict::Authenticated(verified) = decision.verdict else { panic!("{decision:?}") };
        assert_eq!(verified.identity(), NAME);
        assert_eq!(verified.owner_name().as_str(), NAME);
        assert_eq!((verified.record(), verified.depth()), (&ta, 1));
        assert_eq!(verified.wildcard(), Some(false));
        assert_eq!(verified.valid_until(), later(300));
        let spki = Certificate::parse(&leaf).unwrap().spki();
        assert_eq!(verified.key_digest(), &<[u8; 32]>::from(Sha256::digest(spki)));
        let codes: Vec<_> = decision.records.iter().map(|row| row.outcome.code()).collect();
        assert_eq!(codes, ["no-match", "matched"]);
    }
}

// DNS-08
#[test]
fn a_verdict_ends_with_the_answer_or_the_first_certificate() {
    let root = Authority::root("Root");
    let ends = date_time_ymd(2030, 1, 1) + Duration::from_secs(60);
    let leaf = root.leaf_with(|params| params.not_after = ends);
    let client = presented(&[&leaf, &root.der], named(NAME));
    let until = |record| match decide(&settings(Policy::Require), &client, &secure(vec![record])).verdict {
        Verdict::Authenticated(verified) => verified.valid_until(),
        other => panic!("{other:?}"),
    };
    assert_eq!(until(record(2, 0, 1, &root.der)), later(60));
    assert_eq!(until(record(3, 1, 1, &leaf)), later(300), "usage 3 has no dates");
}

// RPK-01
#[test]
fn a_raw_public_key_authenticates_under_its_name() {
    let root = Authority::root("Root");
    let spki = Certificate::parse(&root.der).unwrap().spki();
    let key = Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(spki.to_vec()));
    let client = Presented { credential: Some(key), client_id: named(NAME) };
    let decision = decide(&settings(Policy::Require), &client, &secure(vec![record(3, 1, 1, &root.der)]));
    let Verdict::Authenticated(verified) = decision.verdict else { panic!("{decision:?}") };
    assert_eq!(verified.key_digest(), &<[u8; 32]>::from(Sha256::digest(spki)));
    assert_eq!(verified.identity(), NAME);
}

// SEC-08
#[test]
fn a_wildcard_end_entity_can_be_refused_and_other_usages_stand() {
    let root = Authority::root("Root");
    let leaf = root.leaf();
    let client = presented(&[&leaf, &root.der], named(NAME));
    let (ee, ta) = (|| record(3, 1, 1, &leaf), || record(2, 0, 1, &root.der));
    for policy in POLICIES {
        let mut settings = settings(policy);
        let accepted = decide(&settings, &client, &secure_by(vec![ee()], Some(true)));
        let Verdict::Authenticated(verified) = accepted.verdict else { panic!("{accepted:?}") };
        assert_eq!(verified.wildcard(), Some(true), "flagged");

        settings.wildcard_ee = WildcardEndEntity::Reject;
        // Where synthesis cannot be seen, it is assumed.
        for wildcard in [Some(true), None] {
            let refused = decide(&settings, &client, &secure_by(vec![ee()], wildcard));
            assert_eq!(refused.verdict, fail(policy, Reason::WildcardEndEntity));
            let by_anchor = decide(&settings, &client, &secure_by(vec![ee(), ta()], wildcard));
            assert!(matches!(by_anchor.verdict, Verdict::Authenticated(verified) if verified.depth() == 1));
        }
        let concrete = decide(&settings, &client, &secure_by(vec![ee()], Some(false)));
        assert!(matches!(concrete.verdict, Verdict::Authenticated(_)));
    }
}

// NAM-11
#[test]
fn a_user_is_told_by_user_and_domain() {
    let root = Authority::root("Root");
    let leaf = root.leaf_with(|params| {
        params.subject_alt_names = dns(&["example.com"]);
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name("Alice@example.com".try_into().unwrap()));
    });
    let client = presented(&[&leaf, &root.der], named("_user.example.com"));
    let mut settings = settings(Policy::Require);
    settings.matching.user_mode = true;
    let decision = decide(&settings, &client, &secure(vec![record(2, 0, 1, &root.der)]));
    let Verdict::Authenticated(verified) = decision.verdict else { panic!("{decision:?}") };
    assert_eq!(verified.identity(), "alice@example.com");
    assert_eq!(verified.owner_name().as_str(), "_user.example.com");
}

// SRV-16, SEC-11
#[test]
fn all_that_policy_can_soften_ends_in_one_alert() {
    for reason in Reason::ALL {
        if reason.softening() != Softening::Never {
            assert_eq!(reason.alert(), Alert::HandshakeFailure, "{reason}");
        }
    }
    assert_eq!(Reason::SanMismatch.alert(), Alert::HandshakeFailure);
}

// SRV-20, SRV-24
#[test]
fn a_handshake_of_tls_12_without_its_safeguards_is_never_softened() {
    let reason = Reason::LegacyHandshake;
    assert_eq!((reason.alert(), reason.softening()), (Alert::HandshakeFailure, Softening::Never));
    for policy in POLICIES {
        assert_eq!(settings(policy).refuse(reason), Verdict::Abort(reason));
    }
}

// SRV-15, HTTP-05
#[test]
fn only_an_authenticated_verdict_has_an_identity() {
    // By construction: no other variant holds anything but a reason. This breaks when one is given more.
    for reason in Reason::ALL {
        for verdict in [Verdict::Unauthenticated(*reason), Verdict::NotDane(*reason), Verdict::Abort(*reason)] {
            assert_eq!(verdict.reason(), Some(*reason));
        }
    }
    let (client, record) = client();
    let decision = decide(&settings(Policy::Optional), &client, &secure(vec![record]));
    assert_eq!(decision.verdict.reason(), None);
}

// SEC-16
#[test]
fn codes_of_reasons_are_distinct_and_kebab_case() {
    for (index, reason) in Reason::ALL.iter().enumerate() {
        let code = reason.code();
        assert!(code.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'-'), "{code}");
        assert!(Reason::ALL[..index].iter().all(|other| other.code() != code), "{code}");
    }
}
