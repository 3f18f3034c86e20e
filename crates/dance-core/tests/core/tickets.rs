//! Tickets, resumption and the check after the handshake: what must still hold for a client to be who it was.

use std::sync::Arc;

use dance_core::answer::{Denial, DenialKind, LookupFailure, SecureTlsa, TlsaAnswer};
use dance_core::clientid::Profile;
use dance_core::matching::Credential;
use dance_core::name::ServiceLabel;
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::reason::Reason;
use dance_core::ticket::{Ticket, TicketRefused};
use dance_core::tlsa::TlsaRdata;
use dance_core::verdict::{Decision, LimitExceeded, Presented, Settings, Step, Verdict, VerifiedClient};
use dance_core::{CertificateDer, UnixTime};
use rcgen::date_time_ymd;

use crate::authority::{Authority, NAME, NOW, PATHS, dns, record};
use crate::decision::{decide, later, named, presented, secure, secure_by, settings};

/// The time a little after the full handshake.
fn soon() -> UnixTime {
    later(60)
}

fn verified(settings: &Settings, presented: &Presented, answer: &TlsaAnswer) -> VerifiedClient {
    match decide(settings, presented, answer).verdict {
        Verdict::Authenticated(client) => client,
        other => panic!("{other:?}"),
    }
}

fn ticket(client: &VerifiedClient) -> Ticket {
    Ticket::decode(&client.to_ticket()).unwrap()
}

fn again(settings: &Settings, client: &VerifiedClient, answer: &TlsaAnswer, now: UnixTime) -> Decision {
    match settings.start_again(client) {
        Step::NeedTlsa(need) => {
            assert_eq!(need.owner_name(), client.owner_name());
            need.answer(answer, now, &PATHS)
        }
        Step::Done(decision) => decision,
    }
}

fn until(records: Vec<TlsaRdata>, valid_until: UnixTime) -> TlsaAnswer {
    TlsaAnswer::Secure(Arc::new(SecureTlsa { records, valid_until, ttl: 300, wildcard: Some(false) }))
}

/// One organisation, a client of it, and the records that authenticate it.
struct World {
    leaf: CertificateDer<'static>,
    client: Presented,
    ee: TlsaRdata,
    ta: TlsaRdata,
    other: TlsaRdata,
    roots: Vec<CertificateDer<'static>>,
    pkix: TlsaRdata,
}

impl World {
    fn new() -> Self {
        Self::named(NAME, |_| {})
    }

    fn named(client_name: &str, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Self {
        let root = Authority::root("Root");
        let leaf = root.leaf_with(change);
        Self {
            client: presented(&[&leaf, &root.der], named(client_name)),
            ee: record(3, 1, 1, &leaf),
            ta: record(2, 0, 1, &root.der),
            other: record(3, 1, 1, &root.der),
            pkix: record(1, 1, 1, &leaf),
            roots: vec![root.der],
            leaf,
        }
    }
}

// SRV-17, SEC-12
#[test]
fn a_ticket_gives_the_client_back_while_its_record_stands() {
    let world = World::new();
    let settings = settings(Policy::Require);
    for record in [&world.ee, &world.ta] {
        let client = verified(&settings, &world.client, &secure(vec![record.clone()]));
        let ticket = ticket(&client);
        assert_eq!(ticket.owner_name(), client.owner_name());
        assert_eq!(ticket.valid_until(), client.valid_until());
        assert_eq!(ticket.key_digest(), &world.client.credential.as_ref().unwrap().key_digest());
        assert_eq!(settings.resume(&ticket, &secure(vec![record.clone()]), soon()), Ok(client.clone()));

        // A later answer, other records beside it: the same client, and no more time than it had.
        let answer = until(vec![world.other.clone(), record.clone()], later(3000));
        let resumed = settings.resume(&ticket, &answer, soon()).unwrap();
        assert_eq!(resumed.identity(), NAME);
        assert_eq!(resumed.record(), record);
        assert_eq!((resumed.depth(), resumed.path_not_after()), (client.depth(), client.path_not_after()));
        assert_eq!(resumed.valid_until(), later(300));
        // One that ends sooner: so does the client's time.
        let answer = until(vec![record.clone()], later(100));
        assert_eq!(settings.resume(&ticket, &answer, soon()).map(|client| client.valid_until()), Ok(later(100)));
        // A ticket out of a resumed session is none the better.
        assert_eq!(Ticket::decode(&resumed.to_ticket()).unwrap().valid_until(), later(300));
    }
}

/// Resumes by the ticket of a client that `record` has authenticated, after `change`, by `answer`.
fn resumed(
    world: &World,
    record: &TlsaRdata,
    change: impl FnOnce(&mut Settings),
    answer: &TlsaAnswer,
) -> Result<(), TicketRefused> {
    let mut settings = settings(Policy::Require);
    settings.matching.pkix_roots = world.roots.clone();
    let client = verified(&settings, &world.client, &secure(vec![record.clone()]));
    let ticket = ticket(&client);
    assert!(settings.resume(&ticket, &secure(vec![record.clone()]), soon()).is_ok(), "control");
    change(&mut settings);
    let result = settings.resume(&ticket, answer, soon()).map(drop);
    // The check of an open connection agrees.
    let decision = again(&settings, &client, answer, soon());
    assert_eq!(matches!(decision.verdict, Verdict::Authenticated(_)), result.is_ok(), "{decision:?}");
    result
}

// SRV-17, SEC-12
#[test]
fn a_withdrawn_record_ends_resumption_and_open_connections() {
    let world = World::new();
    let gone = Err(TicketRefused::RecordGone);
    for matched in [&world.ee, &world.ta, &world.pkix] {
        let resumed = |answer: &TlsaAnswer| resumed(&world, matched, |_| {}, answer);
        assert_eq!(resumed(&secure(vec![world.other.clone(), matched.clone()])), Ok(()));
        assert_eq!(resumed(&secure(vec![world.other.clone()])), gone);
        assert_eq!(resumed(&secure(vec![])), gone);
        for kind in [DenialKind::Nxdomain, DenialKind::Nodata] {
            assert_eq!(resumed(&TlsaAnswer::Denied(Denial { kind, valid_until: later(300) })), gone);
        }
    }
    // What would match as well is another record: the certificates are not at hand to tell.
    let same_key = record(3, 1, 2, &world.leaf);
    assert_eq!(resumed(&world, &world.ee, |_| {}, &secure(vec![same_key.clone()])), gone);
    // The control of the control: presented, it does match.
    verified(&settings(Policy::Require), &world.client, &secure(vec![same_key]));
}

// SRV-17, TLSA-17, TLSA-22
#[test]
fn a_record_that_no_longer_counts_is_as_good_as_withdrawn() {
    let world = World::new();
    let gone = Err(TicketRefused::RecordGone);
    let resumed =
        |record: &TlsaRdata, change: fn(&mut Settings), answer| resumed(&world, record, change, &secure(answer));
    let unchanged: fn(&mut Settings) = |_| {};

    // Passed over for a stronger digest of another key; not for one of another usage or selector, and not for one of a wrong length.
    let stronger = record(3, 1, 2, &world.roots[0]);
    assert_eq!(resumed(&world.ee, unchanged, vec![world.ee.clone(), stronger.clone()]), gone);
    assert_eq!(resumed(&world.ta, unchanged, vec![world.ta.clone(), stronger.clone()]), Ok(()));
    let elsewhere = record(3, 0, 2, &world.roots[0]);
    assert_eq!(resumed(&world.ee, unchanged, vec![world.ee.clone(), elsewhere]), Ok(()));
    let short = TlsaRdata::from_wire(&stronger.as_wire()[..40]);
    assert_eq!(resumed(&world.ee, unchanged, vec![world.ee.clone(), short]), Ok(()));
    let without: fn(&mut Settings) = |settings| settings.matching.digest_agility = false;
    assert_eq!(resumed(&world.ee, without, vec![world.ee.clone(), stronger]), Ok(()));

    // Usages 0 and 1 without roots.
    let no_roots: fn(&mut Settings) = |settings| settings.matching.pkix_roots.clear();
    assert_eq!(resumed(&world.pkix, no_roots, vec![world.pkix.clone()]), gone);
    assert_eq!(resumed(&world.ta, no_roots, vec![world.ta.clone()]), Ok(()));

    // More than 64.
    for (count, expected) in [(63, Ok(())), (64, gone)] {
        let mut many = vec![world.other.clone(); count];
        many.push(world.ee.clone());
        assert_eq!(resumed(&world.ee, unchanged, many), expected);
    }
}

// SRV-17, SEC-08
#[test]
fn a_record_that_has_moved_to_a_wildcard_counts_as_in_a_full_handshake() {
    let world = World::new();
    let reject = |settings: &mut Settings| settings.wildcard_ee = WildcardEndEntity::Reject;
    let gone = Err(TicketRefused::RecordGone);
    for (wildcard, expected) in [(Some(false), Ok(())), (Some(true), gone), (None, gone)] {
        let by = |matched: &TlsaRdata| secure_by(vec![matched.clone()], wildcard);
        assert_eq!(resumed(&world, &world.ee, reject, &by(&world.ee)), expected);
        assert_eq!(resumed(&world, &world.ta, reject, &by(&world.ta)), Ok(()));
        assert_eq!(resumed(&world, &world.ee, |_| {}, &by(&world.ee)), Ok(()));
    }
    // It is told as it is now.
    let settings = settings(Policy::Require);
    let client = verified(&settings, &world.client, &secure(vec![world.ee.clone()]));
    let resumed = settings.resume(&ticket(&client), &secure_by(vec![world.ee], Some(true)), soon()).unwrap();
    assert_eq!((client.wildcard(), resumed.wildcard()), (Some(false), Some(true)));
}

// SRV-17, SRV-07
#[test]
fn the_allow_list_is_asked_again() {
    let world = World::new();
    let answer = secure(vec![world.ee.clone()]);
    for (pattern, expected) in [
        ("*.example.com", Ok(())),
        (NAME, Ok(())),
        ("device2.example.com", Err(TicketRefused::NotAllowed)),
        ("**.example.net", Err(TicketRefused::NotAllowed)),
    ] {
        let change = |settings: &mut Settings| settings.allow_list = AllowList::parse([pattern]).unwrap();
        assert_eq!(resumed(&world, &world.ee, change, &answer), expected, "{pattern}");
    }
}

// SRV-17, NAM-08
#[test]
fn a_ticket_of_another_owner_name_is_declined() {
    let world = World::new();
    let answer = secure(vec![world.ee.clone()]);
    let label = |text| Some(ServiceLabel::parse(text).unwrap());
    let refused = |from: Option<ServiceLabel>, to: Option<ServiceLabel>| {
        let mut settings = settings(Policy::Require);
        settings.profile = Profile::Draft2022;
        settings.service_label = from;
        let client = verified(&settings, &world.client, &answer);
        settings.service_label = to;
        let open = again(&settings, &client, &answer, soon()).verdict;
        let resumed = settings.resume(&ticket(&client), &answer, soon()).map(drop);
        assert_eq!(open.reason(), resumed.err().map(|_| Reason::WrongServiceLabel));
        resumed
    };
    assert_eq!(refused(None, None), Ok(()));
    assert_eq!(refused(label("smtp-client"), label("smtp-client")), Ok(()));
    assert_eq!(refused(None, label("smtp-client")), Err(TicketRefused::OtherOwner));
    assert_eq!(refused(label("smtp-client"), None), Err(TicketRefused::OtherOwner));
    assert_eq!(refused(label("smtp-client"), label("imap")), Err(TicketRefused::OtherOwner));
}

// SRV-17, SEC-12, DNS-08
#[test]
fn a_ticket_has_its_time_and_so_has_the_answer() {
    let ends = date_time_ymd(2030, 1, 1) + std::time::Duration::from_secs(60);
    let world = World::named(NAME, |params| params.not_after = ends);
    let settings = settings(Policy::Require);
    let resumed = |record: &TlsaRdata, answer_until, now| {
        let client = verified(&settings, &world.client, &secure(vec![record.clone()]));
        settings.resume(&ticket(&client), &until(vec![record.clone()], later(answer_until)), later(now)).map(drop)
    };
    // Good until 300, by an answer that is good for long.
    assert_eq!(resumed(&world.ee, 3000, 299), Ok(()));
    assert_eq!(resumed(&world.ee, 3000, 300), Err(TicketRefused::Expired));
    // By an answer that is good until 100.
    assert_eq!(resumed(&world.ee, 100, 99), Ok(()));
    assert_eq!(resumed(&world.ee, 100, 100), Err(TicketRefused::NoAnswer));
    // By a path that is good until 60, that second included.
    assert_eq!(resumed(&world.ta, 3000, 59), Ok(()));
    assert_eq!(resumed(&world.ta, 3000, 60), Err(TicketRefused::Expired));
    assert_eq!(resumed(&world.ta, 3000, 61), Err(TicketRefused::PathExpired));
}

// SRV-17, DNS-03
#[test]
fn only_a_secure_answer_resumes() {
    let world = World::new();
    let failure = TlsaAnswer::Indeterminate(LookupFailure::Timeout);
    for answer in [TlsaAnswer::Insecure, TlsaAnswer::Bogus, failure] {
        assert_eq!(resumed(&world, &world.ee, |_| {}, &answer), Err(TicketRefused::NotSecure));
    }
}

fn user_world() -> World {
    World::named("_user.example.com", |params| {
        params.subject_alt_names = dns(&["example.com"]);
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name("Alice@example.com".try_into().unwrap()));
    })
}

// NAM-11, SRV-17
#[test]
fn a_user_comes_back_as_that_user_and_by_the_name_that_was_conveyed() {
    let world = user_world();
    let mut settings = settings(Policy::Require);
    settings.allow_list = AllowList::parse(["_user.example.com"]).unwrap();
    settings.matching.user_mode = true;
    let answer = secure(vec![world.ta]);
    let client = verified(&settings, &world.client, &answer);
    assert_eq!((client.identity(), client.client_name().as_str()), ("alice@example.com", "_user.example.com"));
    let ticket = ticket(&client);
    assert_eq!(settings.resume(&ticket, &answer, soon()), Ok(client));

    // Without user mode nobody has that identity; and who had none does not get one by it.
    settings.matching.user_mode = false;
    assert_eq!(settings.resume(&ticket, &answer, soon()), Err(TicketRefused::RecordGone));
    let plain = World::named("_user.example.com", |params| params.subject_alt_names = dns(&["_user.example.com"]));
    let answer = secure(vec![plain.ta]);
    let client = verified(&settings, &plain.client, &answer);
    assert_eq!(client.identity(), "_user.example.com");
    let ticket = self::ticket(&client);
    assert!(settings.resume(&ticket, &answer, soon()).is_ok());
    settings.matching.user_mode = true;
    assert_eq!(settings.resume(&ticket, &answer, soon()), Err(TicketRefused::RecordGone));
}

// SRV-23, SEC-12
#[test]
fn an_open_connection_goes_on_with_the_time_of_the_new_answer() {
    let ends = date_time_ymd(2030, 1, 1) + std::time::Duration::from_secs(500);
    let world = World::named(NAME, |params| params.not_after = ends);
    let settings = settings(Policy::Require);
    let renewed = |record: &TlsaRdata, answer_until, now| {
        let client = verified(&settings, &world.client, &secure(vec![record.clone()]));
        let records = vec![world.other.clone(), record.clone()];
        let decision = again(&settings, &client, &until(records, later(answer_until)), later(now));
        match decision.verdict {
            Verdict::Authenticated(again) => {
                assert_eq!(again.identity(), client.identity());
                assert_eq!(again.key_digest(), client.key_digest());
                let codes: Vec<_> = decision.records.iter().map(|row| row.outcome.code()).collect();
                assert_eq!(codes, ["no-match", "matched"]);
                Ok(again.valid_until().as_secs() - NOW.as_secs())
            }
            other => Err((other.reason(), decision.records[1].outcome.code())),
        }
    };
    assert_eq!(renewed(&world.ee, 600, 301), Ok(600));
    // An answer for this moment only is an answer.
    assert_eq!(renewed(&world.ee, 301, 301), Ok(301));
    // Usage 2 ends with its path, by its reason.
    assert_eq!(renewed(&world.ta, 600, 301), Ok(500));
    assert_eq!(renewed(&world.ta, 900, 501), Err((Some(Reason::NoMatch), "path-expired")));
}

// SRV-23, SRV-08, SRV-11, SRV-12
#[test]
fn what_ends_an_open_connection_has_the_reasons_of_a_handshake() {
    let world = World::new();
    let mut settings = settings(Policy::Optional);
    let client = verified(&settings, &world.client, &secure(vec![world.ee.clone()]));
    let ask = |answer: &TlsaAnswer| again(&settings, &client, answer, later(400)).verdict;
    assert!(matches!(ask(&secure(vec![world.ee.clone()])), Verdict::Authenticated(_)), "control");
    let unauthenticated = Verdict::Unauthenticated;
    let denied = TlsaAnswer::Denied(Denial { kind: DenialKind::Nxdomain, valid_until: later(500) });
    assert_eq!(ask(&denied), unauthenticated(Reason::TlsaAbsent));
    assert_eq!(ask(&TlsaAnswer::Insecure), unauthenticated(Reason::DnssecInsecure));
    assert_eq!(ask(&secure(vec![world.other.clone()])), unauthenticated(Reason::NoMatch));
    assert_eq!(ask(&secure(vec![])), unauthenticated(Reason::NoUsableRecord));
    assert_eq!(ask(&TlsaAnswer::Bogus), Verdict::Abort(Reason::DnssecBogus));
    let timeout = TlsaAnswer::Indeterminate(LookupFailure::Timeout);
    assert_eq!(ask(&timeout), Verdict::Abort(Reason::LookupTimeout));

    settings.wildcard_ee = WildcardEndEntity::Reject;
    let synthesised = again(&settings, &client, &secure_by(vec![world.ee], Some(true)), later(400));
    assert_eq!(synthesised.verdict, unauthenticated(Reason::WildcardEndEntity));

    // Limits and the allow-list come before DNS, as ever.
    let Step::NeedTlsa(need) = settings.start_again(&client) else { panic!() };
    assert_eq!((need.client_name(), need.allow_list_entry()), (client.client_name(), 0));
    assert_eq!(need.limit_exceeded(LimitExceeded::Total).verdict, Verdict::Abort(Reason::LookupLimitTotal));
    settings.allow_list = AllowList::default();
    let Step::Done(decision) = settings.start_again(&client) else { panic!() };
    assert_eq!(decision.verdict, unauthenticated(Reason::NameNotAllowed));
}

// SRV-17
#[test]
fn every_shortened_lengthened_or_altered_form_is_no_ticket() {
    let world = World::new();
    let settings = settings(Policy::Require);
    for record in [world.ee, world.ta] {
        let octets = verified(&settings, &world.client, &secure(vec![record])).to_ticket();
        assert!(Ticket::decode(&octets).is_some());
        for len in 0..octets.len() {
            assert_eq!(Ticket::decode(&octets[..len]), None, "{len}");
        }
        assert_eq!(Ticket::decode(&[&octets[..], &[0]].concat()), None);
        let altered = |at: usize, to: u8| {
            let mut octets = octets.clone();
            octets[at] = to;
            Ticket::decode(&octets)
        };
        let names = 1 + 2 * (1 + NAME.len());
        assert_eq!(altered(0, 2), None, "version");
        assert_eq!(altered(2, b'D'), None, "a name that is not in lower case");
        assert_eq!(altered(2, b'*'), None, "no name");
        assert_eq!(altered(names, 1), None, "a user without a user's name");
        assert_eq!(altered(names + 3, 3), None, "wildcard");
        let has_path = octets[names + 12] == 1;
        assert_eq!(altered(names + 4, 1).is_none(), has_path, "a time beyond the path's");
        assert_eq!(altered(names + 12, 2), None, "whether there is a path");
        assert_eq!(altered(names + 12, 1 - octets[names + 12]), None, "a path with usage 3, or none with 2");
        let end = octets.len() - 35;
        assert_eq!(altered(end, 4), None, "usage");
        assert_eq!(altered(end + 2, 2), None, "a digest of another length");
    }
}

// SRV-17
#[test]
fn tickets_are_bound_to_the_listener_and_to_what_tells_clients() {
    let world = World::new();
    let context = |change: fn(&mut Settings)| {
        let mut settings = settings(Policy::Require);
        change(&mut settings);
        settings.session_context(b"one")
    };
    let base = context(|_| {});
    assert_eq!(base, context(|_| {}), "the same settings are the same context");
    let mut contexts = vec![
        base,
        settings(Policy::Require).session_context(b"two"),
        settings(Policy::Require).session_context(b""),
        context(|settings| settings.profile = Profile::Draft2022),
        context(|settings| settings.policy = Policy::Optional),
        context(|settings| settings.service_label = Some(ServiceLabel::parse("imap").unwrap())),
        context(|settings| settings.service_label = Some(ServiceLabel::parse("smtp").unwrap())),
        context(|settings| settings.derive_without_signal = true),
        context(|settings| settings.wildcard_ee = WildcardEndEntity::Reject),
        context(|settings| settings.matching.user_mode = true),
        context(|settings| settings.matching.digest_agility = false),
    ];
    let [one, two] = [b"one", b"two"].map(|octets| CertificateDer::from(octets.to_vec()));
    let joined = CertificateDer::from(b"onetwo".to_vec());
    for roots in [vec![one.clone()], vec![two.clone()], vec![one, two], vec![joined], world.roots] {
        let mut settings = settings(Policy::Require);
        settings.matching.pkix_roots = roots;
        contexts.push(settings.session_context(b"one"));
    }
    for (index, context) in contexts.iter().enumerate() {
        assert!(!contexts[..index].contains(context), "{index}");
    }
    // Asked anew at each resumption, or without effect on who is authenticated.
    assert_eq!(base, context(|settings| settings.allow_list = AllowList::default()));
    assert_eq!(base, context(|settings| settings.on_lookup_failure = OnLookupFailure::Unauthenticated));
}

// SRV-17, RPK-01
#[test]
fn a_raw_public_key_resumes_too() {
    let world = World::new();
    let spki = dance_core::x509::Certificate::parse(&world.leaf).unwrap().spki().to_vec();
    let key = Presented { credential: Some(Credential::RawPublicKey(spki.into())), ..world.client };
    let settings = settings(Policy::Require);
    // Another usage at the name is unusable for a key, and no reason to decline it.
    let answer = secure(vec![world.ta, world.ee]);
    let client = verified(&settings, &key, &answer);
    assert_eq!(settings.resume(&ticket(&client), &answer, soon()), Ok(client));
}
