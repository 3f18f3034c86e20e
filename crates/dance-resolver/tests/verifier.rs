//! The driver: order of steps, limits, budgets.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{client, resolver, settings};
use dance_core::answer::{Denial, DenialKind, TlsaAnswer};
use dance_core::name::OwnerName;
use dance_core::policy::{OnLookupFailure, Policy};
use dance_core::reason::{Alert, Reason};
use dance_core::verdict::{ClientId, Presented, Settings, Verdict};
use dance_resolver::{Clock, Limits, LimitsError, Lookup, TlsaSource, Trace, Verified, Verifier, now};
use dance_testkit::{CertSpec, Fault, SignedWorld, Zone};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const NAME: &str = "dev1._device.example.test";
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A source whose look-ups wait until they are let go; then nobody has records.
struct Gate {
    started: AtomicUsize,
    open: Semaphore,
    known: bool,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self { started: AtomicUsize::new(0), open: Semaphore::new(0), known: false })
    }

    /// It knows every name already.
    fn known() -> Arc<Self> {
        Arc::new(Self { started: AtomicUsize::new(0), open: Semaphore::new(0), known: true })
    }

    fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    fn answer(&self) -> Lookup {
        let trace = Trace { from_cache: self.known, ..Trace::default() };
        Lookup { answer: TlsaAnswer::Denied(Denial { kind: DenialKind::Nxdomain, valid_until: now() }), trace }
    }
}

impl TlsaSource for Gate {
    async fn lookup(&self, _: &OwnerName) -> Lookup {
        self.started.fetch_add(1, Ordering::SeqCst);
        self.open.acquire().await.unwrap().forget();
        self.answer()
    }

    fn cached(&self, _: &OwnerName) -> Option<Lookup> {
        self.known.then(|| self.answer())
    }
}

fn reason(verified: &Verified) -> Reason {
    verified.decision.verdict.reason().unwrap()
}

fn verifier(source: &Arc<Gate>, limits: Limits) -> Arc<Verifier<Gate>> {
    let settings = Arc::new(settings(&["**.example.test", "**.other.test"]));
    Arc::new(Verifier::new(settings, Arc::clone(source), limits).unwrap())
}

/// Look-ups that wait at the gate, one for each name and peer.
async fn waiting(
    verifier: &Arc<Verifier<Gate>>,
    clients: impl IntoIterator<Item = (String, IpAddr)>,
) -> JoinSet<Verified> {
    let mut tasks = JoinSet::new();
    let mut expected = verifier.source().started();
    for (name, peer) in clients {
        let verifier = Arc::clone(verifier);
        tasks.spawn(async move { verifier.verify(&client(&name, b"key"), peer).await });
        expected += 1;
    }
    while verifier.source().started() < expected {
        tokio::task::yield_now().await;
    }
    tasks
}

fn peer(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))
}

// DNS-11, SEC-16
#[tokio::test]
async fn a_client_is_authenticated_by_one_query() {
    let identity = CertSpec::client(NAME).self_signed().unwrap();
    let world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(Zone::new("example.test").tlsa(NAME, identity.tlsa_311().unwrap(), 300))
        .start()
        .await
        .unwrap();
    let settings = Arc::new(settings(&["**.example.test"]));
    let verifier = Verifier::new(settings, Arc::new(resolver(&world)), Limits::default()).unwrap();
    let before = now().as_secs();
    let verified = verifier.verify(&client(NAME, identity.spki_der()), PEER).await;
    let Verdict::Authenticated(found) = &verified.decision.verdict else { panic!("{verified:?}") };
    assert_eq!(found.identity(), NAME);
    assert_eq!(found.owner_name().as_str(), NAME);
    assert_eq!(found.wildcard(), Some(false));
    assert!((300..302).contains(&(found.valid_until().as_secs() - before)));
    assert_eq!(world.tlsa_queries(), [NAME]);
    assert!(!verified.trace.unwrap().from_cache);

    // Another key is refused, by the answer that is known already.
    world.clear_log();
    let stranger = CertSpec::client(NAME).self_signed().unwrap();
    let verified = verifier.verify(&client(NAME, stranger.spki_der()), PEER).await;
    assert_eq!(verified.decision.verdict, Verdict::Abort(Reason::NoMatch));
    assert!(verified.trace.unwrap().from_cache);
    assert!(world.queries().is_empty());
}

// SRV-05, SRV-07: what is decided without DNS is decided without a query.
#[tokio::test]
async fn no_query_before_its_time() {
    let source = Gate::new();
    source.open.add_permits(1);
    let verifier = verifier(&source, Limits::default());
    let absent = Presented { client_id: ClientId::Absent, ..client(NAME, b"key") };
    for (presented, expected) in
        [(absent, Reason::NoClientName), (client("dev1.example.net", b"key"), Reason::NameNotAllowed)]
    {
        let verified = verifier.verify(&presented, PEER).await;
        assert_eq!(verified.decision.verdict, Verdict::Abort(expected));
        assert!(verified.trace.is_none());
        assert_eq!(source.started(), 0);
    }
    let verified = verifier.verify(&client(NAME, b"key"), PEER).await;
    assert_eq!(reason(&verified), Reason::TlsaAbsent);
    assert_eq!(source.started(), 1);
}

/// Fills up with `held`; then refuses a client at `surplus`, and serves another.
async fn limit(limits: Limits, held: Vec<(String, IpAddr)>, surplus: IpAddr, expected: Reason, other: (&str, IpAddr)) {
    let source = Gate::new();
    let verifier = verifier(&source, limits);
    let mut tasks = waiting(&verifier, held).await;
    let full = source.started();
    let presented = client("one.example.test", b"key");
    let refused = verifier.verify(&presented, surplus).await;
    assert_eq!(refused.decision.verdict, Verdict::Abort(expected));
    assert_eq!(expected.alert(), Alert::HandshakeFailure);
    assert_eq!(source.started(), full);
    // Others are still served, where the limit is not the total.
    if expected != Reason::LookupLimitTotal {
        let mut others = waiting(&verifier, [(other.0.to_owned(), other.1)]).await;
        others.abort_all();
        while others.join_next().await.is_some() {}
    }
    // Those who hold the places go away unfinished, and there is room again.
    let started = source.started();
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
    source.open.add_permits(1);
    let verified = verifier.verify(&presented, surplus).await;
    assert_eq!(reason(&verified), Reason::TlsaAbsent);
    assert_eq!(source.started(), started + 1);
}

// SEC-01: each limit refuses at once, by its own reason, without a look-up; and gives the places back.
#[tokio::test]
async fn limits() {
    let clients = |count: u8, peer: fn(u8) -> IpAddr| -> Vec<_> {
        (0..count).map(|n| (format!("dev{n}.example.test"), peer(n))).collect()
    };
    let v6 = |text: &str| text.parse().unwrap();
    let other = ("one.example.test", peer(2));
    let four = Limits { total: 4, ..Limits::default() };
    limit(four, clients(4, peer), peer(9), Reason::LookupLimitTotal, other).await;
    limit(Limits::default(), clients(8, |_| peer(1)), peer(1), Reason::LookupLimitAddress, other).await;
    let network = clients(8, |n| format!("2001:db8::{n}").parse().unwrap());
    let other = ("one.example.test", v6("2001:db8:0:1::1"));
    limit(Limits::default(), network, v6("2001:db8::ffff:1:2:3"), Reason::LookupLimitAddress, other).await;
    let other = ("one.other.test", peer(99));
    limit(Limits::default(), clients(64, peer), peer(99), Reason::LookupLimitEntry, other).await;
}

// SEC-01
#[tokio::test]
async fn policy_says_what_a_limit_becomes() {
    let optional =
        |on_lookup_failure| Settings { policy: Policy::Optional, on_lookup_failure, ..settings(&["**.example.test"]) };
    let limits = Limits { total: 1, ..Limits::default() };
    for (on_lookup_failure, expected) in [
        (OnLookupFailure::Abort, Verdict::Abort(Reason::LookupLimitTotal)),
        (OnLookupFailure::Unauthenticated, Verdict::Unauthenticated(Reason::LookupLimitTotal)),
    ] {
        let verifier = Verifier::new(Arc::new(optional(on_lookup_failure)), Gate::new(), limits).unwrap();
        let verifier = Arc::new(verifier);
        let _held = waiting(&verifier, [(NAME.to_owned(), PEER)]).await;
        assert_eq!(verifier.verify(&client(NAME, b"key"), PEER).await.decision.verdict, expected);
    }
}

// SEC-01: a look-up that ends gives its places back.
#[tokio::test]
async fn places_come_back() {
    let source = Gate::new();
    source.open.add_permits(3);
    let verifier = verifier(&source, Limits { total: 1, per_address: 1, per_entry: 1, ..Limits::default() });
    for _ in 0..3 {
        assert_eq!(reason(&verifier.verify(&client(NAME, b"key"), PEER).await), Reason::TlsaAbsent);
    }
    let _held = waiting(&verifier, [(NAME.to_owned(), PEER)]).await;
    assert_eq!(reason(&verifier.verify(&client(NAME, b"key"), PEER).await), Reason::LookupLimitTotal);
}

// SEC-01: an answer that is known costs no place.
#[tokio::test]
async fn known_answers_need_no_place() {
    let source = Gate::known();
    let verifier = verifier(&source, Limits { total: 1, per_address: 1, per_entry: 1, ..Limits::default() });
    for _ in 0..3 {
        let verified = verifier.verify(&client(NAME, b"key"), PEER).await;
        assert_eq!(reason(&verified), Reason::TlsaAbsent);
    }
    assert_eq!(source.started(), 0);
}

// SEC-01: listeners that share a driver's limits are counted together.
#[tokio::test]
async fn limits_across_listeners() {
    let source = Gate::new();
    let first = verifier(&source, Limits { total: 2, ..Limits::default() });
    let second = first.with_settings(Arc::new(settings(&["dev1.example.test"])));
    let mut held = waiting(&first, [("a.example.test".into(), peer(1)), ("b.example.test".into(), peer(2))]).await;
    let refused = second.verify(&client("dev1.example.test", b"key"), PEER).await;
    assert_eq!(reason(&refused), Reason::LookupLimitTotal);
    held.abort_all();
    while held.join_next().await.is_some() {}
    source.open.add_permits(1);
    assert_eq!(reason(&second.verify(&client("dev1.example.test", b"key"), PEER).await), Reason::TlsaAbsent);
}

// DNS-10
#[tokio::test(start_paused = true)]
async fn budgets() {
    let source = Gate::new();
    let budgets = |lookup, check| Limits {
        lookup: Duration::from_secs(lookup),
        check: Duration::from_secs(check),
        ..Limits::default()
    };
    for (limits, expected, seconds) in [
        (Limits::default(), Reason::LookupTimeout, 3),
        (budgets(1, 9), Reason::LookupTimeout, 1),
        // A look-up that uses up the whole check's time leaves none to match in.
        (budgets(4, 4), Reason::CheckTimeout, 4),
    ] {
        let verifier = verifier(&source, limits);
        let started = tokio::time::Instant::now();
        let verified = verifier.verify(&client(NAME, b"key"), PEER).await;
        assert_eq!(reason(&verified), expected);
        assert_eq!(started.elapsed().as_secs(), seconds);
    }
}

// DNS-10: the resolver's own account of a time-out arrives before the driver gives up.
#[tokio::test]
async fn time_outs_are_accounted_for() {
    let world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(Zone::new("example.test"))
        .fault(NAME, Fault::NeverAnswers)
        .start()
        .await
        .unwrap();
    let settings = Arc::new(settings(&["**.example.test"]));
    let verifier = Verifier::new(settings, Arc::new(resolver(&world)), Limits::default()).unwrap();
    tokio::time::pause();
    let verified = verifier.verify(&client(NAME, b"key"), PEER).await;
    assert_eq!(reason(&verified), Reason::LookupTimeout);
    assert!(verified.trace.unwrap().detail.is_some());
}

// TLSA-11, TLSA-16: the time that certificates are judged by is the clock's.
#[tokio::test]
async fn the_clock_is_the_drivers() {
    let authority = dance_testkit::Authority::root("root").unwrap();
    let identity = CertSpec::client(NAME).valid(-60, 600).issued_by(&authority).unwrap();
    let world = SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(Zone::new("example.test").tlsa(NAME, authority.tlsa_201().unwrap(), 300))
        .start()
        .await
        .unwrap();
    let chain = identity.chain_der().iter().cloned().chain([authority.der().to_vec()]);
    let presented = Presented {
        credential: Some(dance_core::matching::Credential::X509(chain.map(Into::into).collect())),
        ..client(NAME, b"")
    };
    let settings = Arc::new(settings(&["**.example.test"]));
    let source = Arc::new(resolver(&world));
    let verifier = Verifier::new(Arc::clone(&settings), Arc::clone(&source), Limits::default()).unwrap();
    let verified = verifier.verify(&presented, PEER).await;
    assert!(matches!(verified.decision.verdict, Verdict::Authenticated(_)), "{verified:?}");
    let later = now().as_secs() + 700;
    let clock = Clock::from_fn(move || dance_core::UnixTime::since_unix_epoch(Duration::from_secs(later)));
    let verifier = verifier.with_clock(clock);
    assert_eq!(reason(&verifier.verify(&presented, PEER).await), Reason::NoMatch);
}

// SEC-01
#[test]
fn limits_must_make_sense() {
    let fine = Limits::default();
    assert_eq!((fine.total, fine.per_address, fine.per_entry), (256, 8, 64));
    assert_eq!((fine.lookup.as_secs(), fine.check.as_secs()), (3, 5));
    assert_eq!(fine.validate(), Ok(()));
    for (limits, limit) in [
        (Limits { total: 0, ..fine }, "total"),
        (Limits { per_address: 0, ..fine }, "per_address"),
        (Limits { per_entry: 0, ..fine }, "per_entry"),
    ] {
        assert_eq!(limits.validate(), Err(LimitsError::Zero { limit }));
        assert!(Verifier::new(Arc::new(settings(&[])), Gate::new(), limits).is_err());
    }
    for lookup in [Duration::ZERO, Duration::from_secs(6)] {
        let limits = Limits { lookup, ..fine };
        assert_eq!(limits.validate(), Err(LimitsError::LookupBudget { found: lookup, check: fine.check }));
    }
}
