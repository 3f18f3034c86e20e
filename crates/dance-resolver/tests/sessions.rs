//! The driver later in a client's life: resumption by what is known, and the check of open connections.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::{TestClock, client, config, settings};
use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_core::name::OwnerName;
use dance_core::policy::AllowList;
use dance_core::reason::Reason;
use dance_core::ticket::{Ticket, TicketRefused};
use dance_core::verdict::{Presented, Verdict, VerifiedClient};
use dance_resolver::{Evidence, Limits, Lookup, Resolver, ResolverConfig, TlsaSource, Trace, Verified, Verifier};
use dance_testkit::{CertSpec, Fault, Identity, SignedWorld, Zone};
use tokio::task::JoinSet;

const NAME: &str = "dev1._device.example.test";
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const TTL: u32 = 300;

/// One client whose record is in DNS, and a driver whose clock can be set forward.
struct Case {
    world: SignedWorld,
    identity: Identity,
    clock: TestClock,
    verifier: Verifier<Resolver>,
    presented: Arc<Presented>,
}

impl Case {
    async fn new() -> Self {
        let identity = CertSpec::client(NAME).self_signed().unwrap();
        let world = SignedWorld::builder()
            .zone(Zone::new("test"))
            .zone(Zone::new("example.test").tlsa(NAME, identity.tlsa_311().unwrap(), TTL))
            .start()
            .await
            .unwrap();
        let clock = TestClock::new();
        let resolver = Resolver::new(ResolverConfig { clock: clock.clock(), ..config(&world) }).unwrap();
        let settings = Arc::new(settings(&["**.example.test"]));
        let verifier = Verifier::new(settings, Arc::new(resolver), Limits::default()).unwrap();
        let presented = Arc::new(client(NAME, identity.spki_der()));
        Self { world, identity, verifier: verifier.with_clock(clock.clock()), clock, presented }
    }

    async fn authenticate(&self) -> VerifiedClient {
        authenticated(self.verifier.verify(&self.presented, PEER).await)
    }

    /// What a connection keeps: after a full handshake, and after a resumed one.
    async fn evidence(&self) -> [Evidence; 2] {
        let client = self.authenticate().await;
        let resumed = self.verifier.resume(&ticket(&client)).unwrap();
        [Evidence::Presented(Arc::clone(&self.presented)), Evidence::Resumed(Box::new(resumed))]
    }

    /// A time at which nothing that was known is good any more.
    fn expire(&self) {
        self.clock.forward(u64::from(TTL) + 1);
        self.world.clear_log();
    }
}

fn authenticated(verified: Verified) -> VerifiedClient {
    match verified.decision.verdict {
        Verdict::Authenticated(client) => client,
        other => panic!("{other:?}, {:?}", verified.trace),
    }
}

fn ticket(client: &VerifiedClient) -> Ticket {
    Ticket::decode(&client.to_ticket()).unwrap()
}

// SRV-17
#[tokio::test]
async fn resumption_asks_nobody() {
    let case = Case::new().await;
    let client = case.authenticate().await;
    case.world.clear_log();
    assert_eq!(case.verifier.resume(&ticket(&client)), Ok(client.clone()));
    assert!(case.world.queries().is_empty());

    // Who has forgotten the answer, or never had it, does not look it up for this.
    let forgetful = Resolver::new(config(&case.world)).unwrap();
    let settings = Arc::clone(case.verifier.settings());
    let forgetful = Verifier::new(settings, Arc::new(forgetful), Limits::default()).unwrap();
    assert_eq!(forgetful.resume(&ticket(&client)), Err(TicketRefused::NoAnswer));
    assert!(case.world.queries().is_empty());
    authenticated(forgetful.verify(&case.presented, PEER).await);
    assert!(forgetful.resume(&ticket(&client)).is_ok(), "what it was refused for was the answer");
}

// SRV-17, SRV-07
#[tokio::test]
async fn resumption_goes_by_the_settings_of_today() {
    let case = Case::new().await;
    let ticket = ticket(&case.authenticate().await);
    for (pattern, expected) in [(NAME, None), ("dev2._device.example.test", Some(TicketRefused::NotAllowed))] {
        let mut settings = settings(&[]);
        settings.allow_list = AllowList::parse([pattern]).unwrap();
        let today = case.verifier.with_settings(Arc::new(settings));
        assert_eq!(today.resume(&ticket).err(), expected);
    }
}

// SRV-17, SEC-12
#[tokio::test]
async fn withdrawal_ends_resumption_within_the_ttl() {
    let case = Case::new().await;
    let old = ticket(&case.authenticate().await);
    case.world.withdraw(NAME).unwrap();
    // To the last second of the answer it is not known; then the ticket is over, and no look-up brings it back.
    case.clock.forward(u64::from(TTL) - 10);
    assert!(case.verifier.resume(&old).is_ok());
    case.clock.forward(10);
    assert!(case.verifier.resume(&old).is_err());
    let verified = case.verifier.verify(&case.presented, PEER).await;
    assert_eq!(verified.decision.verdict, Verdict::Abort(Reason::TlsaAbsent));
    assert!(case.verifier.resume(&old).is_err());
}

// SRV-17, SEC-12: whoever has looked since knows better than the ticket.
#[tokio::test]
async fn a_ticket_is_held_against_the_newest_answer() {
    let case = Case::new().await;
    let ticket = ticket(&case.authenticate().await);
    // Another process of the same listener, whose memory is younger than the withdrawal.
    let other = |world: &SignedWorld| {
        let resolver = Resolver::new(config(world)).unwrap();
        let settings = Arc::clone(case.verifier.settings());
        Verifier::new(settings, Arc::new(resolver), Limits::default()).unwrap()
    };
    let before = other(&case.world);
    before.source().lookup(ticket.owner_name()).await;
    case.world.withdraw(NAME).unwrap();
    let after = other(&case.world);
    after.source().lookup(ticket.owner_name()).await;
    assert!(before.resume(&ticket).is_ok());
    assert_eq!(after.resume(&ticket), Err(TicketRefused::RecordGone));
    // Another record in its place is no help, although the client's key is still in DNS elsewhere.
    let stranger = CertSpec::client(NAME).self_signed().unwrap();
    case.world.set_tlsa(NAME, &[stranger.tlsa_311().unwrap()], TTL).unwrap();
    let replaced = other(&case.world);
    replaced.source().lookup(ticket.owner_name()).await;
    assert_eq!(replaced.resume(&ticket), Err(TicketRefused::RecordGone));
    case.world.set_tlsa(NAME, &[stranger.tlsa_311().unwrap(), case.identity.tlsa_311().unwrap()], TTL).unwrap();
    let both = other(&case.world);
    both.source().lookup(ticket.owner_name()).await;
    assert!(both.resume(&ticket).is_ok());
}

// SRV-23
#[tokio::test]
async fn an_open_connection_whose_record_stands_goes_on() {
    let case = Case::new().await;
    for evidence in case.evidence().await {
        case.expire();
        let verified = case.verifier.recheck(&evidence, PEER).await;
        assert_eq!(case.world.tlsa_queries(), [NAME], "one look-up");
        assert!(!verified.trace.as_ref().unwrap().from_cache);
        assert!(verified.decision.records.iter().any(|row| row.outcome.code() == "matched"));
        let client = authenticated(verified);
        assert_eq!(client.identity(), NAME);
        let left = client.valid_until().as_secs() - case.verifier.now().as_secs();
        assert!((u64::from(TTL) - 2..=u64::from(TTL)).contains(&left), "{left}");
        // Many connections of one client share the answer.
        authenticated(case.verifier.recheck(&evidence, PEER).await);
        assert_eq!(case.world.tlsa_queries(), [NAME]);
    }
}

// SRV-23, SEC-12
#[tokio::test]
async fn withdrawal_reaches_open_connections() {
    let case = Case::new().await;
    let evidence = case.evidence().await;
    case.world.withdraw(NAME).unwrap();
    for evidence in &evidence {
        case.expire();
        let verified = case.verifier.recheck(evidence, PEER).await;
        assert_eq!(verified.decision.verdict, Verdict::Abort(Reason::TlsaAbsent));
        assert_eq!(verified.decision.owner_name.unwrap().as_str(), NAME);
        assert_eq!(case.world.tlsa_queries(), [NAME]);
    }
    // So does a record that takes another's place, and its return.
    let stranger = CertSpec::client(NAME).self_signed().unwrap();
    for (record, expected) in [(stranger.tlsa_311(), Some(Reason::NoMatch)), (case.identity.tlsa_311(), None)] {
        case.world.set_tlsa(NAME, &[record.unwrap()], TTL).unwrap();
        for evidence in &evidence {
            case.expire();
            assert_eq!(case.verifier.recheck(evidence, PEER).await.decision.verdict.reason(), expected);
        }
    }
}

// SRV-23
#[tokio::test]
async fn a_check_that_cannot_be_made_authenticates_nobody() {
    let case = Case::new().await;
    let evidence = case.evidence().await;
    case.world.add_server_fault(Fault::Servfail).unwrap();
    for evidence in &evidence {
        case.expire();
        let verified = case.verifier.recheck(evidence, PEER).await;
        assert_eq!(verified.decision.verdict, Verdict::Abort(Reason::LookupServfail));
        // The next one may be made again: nothing is remembered for longer than a failure is.
        case.expire();
        case.world.clear_faults();
        authenticated(case.verifier.recheck(evidence, PEER).await);
        case.world.add_server_fault(Fault::Servfail).unwrap();
    }
}

// SRV-23, SRV-07
#[tokio::test]
async fn a_name_taken_off_the_allow_list_is_off_for_open_connections() {
    let case = Case::new().await;
    let today = case.verifier.with_settings(Arc::new(settings(&["*.example.test"])));
    for evidence in case.evidence().await {
        case.expire();
        let verified = today.recheck(&evidence, PEER).await;
        assert_eq!(verified.decision.verdict, Verdict::Abort(Reason::NameNotAllowed));
        assert!(case.world.queries().is_empty());
        authenticated(case.verifier.recheck(&evidence, PEER).await);
    }
}

/// A source whose look-ups never end, until they fail at once.
#[derive(Default)]
struct Stuck {
    started: AtomicUsize,
    fails: AtomicBool,
}

impl TlsaSource for Stuck {
    async fn lookup(&self, _: &OwnerName) -> Lookup {
        self.started.fetch_add(1, Ordering::SeqCst);
        if !self.fails.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Lookup { answer: TlsaAnswer::Indeterminate(LookupFailure::Servfail), trace: Trace::default() }
    }
}

// SRV-23, SEC-01: the look-ups of open connections are counted with those of handshakes.
#[tokio::test]
async fn checks_have_the_limits_of_handshakes() {
    let case = Case::new().await;
    let evidence = case.evidence().await;
    let source = Arc::new(Stuck::default());
    let limits = Limits { total: 1, ..Limits::default() };
    let settings = Arc::clone(case.verifier.settings());
    let verifier = Arc::new(Verifier::new(settings, Arc::clone(&source), limits).unwrap());

    let mut held = JoinSet::new();
    let (holder, presented) = (Arc::clone(&verifier), Arc::clone(&case.presented));
    held.spawn(async move { holder.verify(&presented, PEER).await });
    while source.started.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    for evidence in &evidence {
        let refused = verifier.recheck(evidence, PEER).await;
        assert_eq!(refused.decision.verdict, Verdict::Abort(Reason::LookupLimitTotal));
        assert_eq!(source.started.load(Ordering::SeqCst), 1);
    }
    held.abort_all();
    while held.join_next().await.is_some() {}
    source.fails.store(true, Ordering::SeqCst);
    for evidence in &evidence {
        let verified = verifier.recheck(evidence, PEER).await;
        assert_eq!(verified.decision.verdict, Verdict::Abort(Reason::LookupServfail), "there is room again");
    }
}

// SEC-01: and of each limit they leave half to handshakes, whatever becomes of them.
#[tokio::test]
async fn and_no_more_than_half_of_each() {
    let case = Case::new().await;
    let [evidence, _] = case.evidence().await;
    for (limits, reason) in [
        (Limits { total: 4, ..Limits::default() }, Reason::LookupLimitTotal),
        (Limits { per_address: 4, ..Limits::default() }, Reason::LookupLimitAddress),
        (Limits { per_entry: 4, ..Limits::default() }, Reason::LookupLimitEntry),
    ] {
        let source = Arc::new(Stuck::default());
        let settings = Arc::clone(case.verifier.settings());
        let verifier = Arc::new(Verifier::new(settings, Arc::clone(&source), limits).unwrap());
        let started = async |expected| {
            while source.started.load(Ordering::SeqCst) < expected {
                tokio::task::yield_now().await;
            }
        };
        let mut held = JoinSet::new();
        for _ in 0..2 {
            let (verifier, evidence) = (Arc::clone(&verifier), evidence.clone());
            held.spawn(async move { verifier.recheck(&evidence, PEER).await });
        }
        started(2).await;
        assert_eq!(verifier.recheck(&evidence, PEER).await.decision.verdict, Verdict::Abort(reason));
        for _ in 0..2 {
            let (verifier, presented) = (Arc::clone(&verifier), Arc::clone(&case.presented));
            held.spawn(async move { verifier.verify(&presented, PEER).await });
        }
        started(4).await;
        assert_eq!(verifier.verify(&case.presented, PEER).await.decision.verdict, Verdict::Abort(reason));
        held.abort_all();
        while held.join_next().await.is_some() {}
        source.fails.store(true, Ordering::SeqCst);
        let verified = verifier.recheck(&evidence, PEER).await;
        assert_eq!(verified.decision.verdict, Verdict::Abort(Reason::LookupServfail), "there is room again");
    }
}
