//! The callbacks for tickets against everything that OpenSSL should never do, and what only OpenSSL's own functions can
//! try or see.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::c_ulong;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use dance_core::UnixTime;
use dance_core::answer::{SecureTlsa, TlsaAnswer};
use dance_core::clientid::{ClientForm, Profile};
use dance_core::matching::{Credential, MatchOptions};
use dance_core::name::ClientName;
use dance_core::pkix::{Path, PathError, PathValidator};
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::reason::Reason;
use dance_core::ticket::Ticket;
use dance_core::tlsa::{CertUsage, MatchingType, TlsaRdata};
use dance_core::verdict::{ClientId, Presented, Settings, Step, Verdict, VerifiedClient};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslSession, SslSessionCacheMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::session_store::{Keeper, SessionStore};
use crate::{
    Accepted, Acceptor, CertifiedKey, ClientAuthRefused, ClientConfig, ConnectError, Connector, Resumed, Resumption,
    ServerConfig, ServerVerification, TlsStream,
};

unsafe extern "C" {
    /// SSL_SESSION_get_ticket_lifetime_hint(3)
    fn SSL_SESSION_get_ticket_lifetime_hint(session: *const SSL_SESSION) -> c_ulong;
    /// SSL_key_update(3)
    fn SSL_key_update(ssl: *mut SSL, update_type: c_int) -> c_int;
}
const SSL_KEY_UPDATE_REQUESTED: c_int = 1;

#[derive(Debug)]
struct NoPaths;

impl PathValidator for NoPaths {
    fn validate(&self, _: &Path<'_>, _: UnixTime) -> Result<(), PathError> {
        Err(PathError::Malformed)
    }
}

/// A listener with one client, whose key is this.
struct Lab {
    settings: Settings,
    answer: TlsaAnswer,
    client: Presented,
    context: [u8; 32],
    lifetime: Duration,
    /// Who is said to hold any ticket.
    holder: Option<VerifiedClient>,
    judged: AtomicUsize,
}

const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));

impl Resumption for Lab {
    fn context(&self) -> [u8; 32] {
        self.context
    }

    fn resume(&self, ticket: &Ticket) -> Option<VerifiedClient> {
        self.judged.fetch_add(1, Ordering::Relaxed);
        self.holder.clone().or_else(|| self.settings.resume(ticket, &self.answer, NOW).ok())
    }

    fn lifetime(&self, _: &VerifiedClient) -> Duration {
        self.lifetime
    }
}

impl Lab {
    fn new(key: &CertifiedKey) -> Self {
        let spki = key.key().as_pkey().public_key_to_der().unwrap();
        let certificate = key.chain()[0].to_der().unwrap();
        Self {
            settings: Settings {
                profile: Profile::Current,
                policy: Policy::Require,
                on_lookup_failure: OnLookupFailure::Abort,
                allow_list: AllowList::parse(["sensor.example.com"]).unwrap(),
                service_label: None,
                derive_without_signal: false,
                wildcard_ee: WildcardEndEntity::Accept,
                matching: MatchOptions::default(),
            },
            answer: TlsaAnswer::Secure(Arc::new(SecureTlsa {
                records: vec![TlsaRdata::for_spki(CertUsage::DANE_EE, MatchingType::SHA2_256, &spki).unwrap()],
                valid_until: UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs() + 600)),
                ttl: 600,
                wildcard: Some(false),
            })),
            client: Presented {
                credential: Some(Credential::X509(vec![certificate.into()])),
                client_id: ClientId::Form(ClientForm::Name(ClientName::parse(b"sensor.example.com").unwrap())),
            },
            context: [1; 32],
            lifetime: Duration::from_secs(600),
            holder: None,
            judged: AtomicUsize::new(0),
        }
    }

    fn verdict(&self) -> Verdict {
        let Step::NeedTlsa(need) = self.settings.start(&self.client) else { panic!() };
        let verdict = need.answer(&self.answer, NOW, &NoPaths).verdict;
        assert!(matches!(verdict, Verdict::Authenticated(_)), "{verdict:?}");
        verdict
    }
}

fn identity() -> CertifiedKey {
    let made = rcgen::generate_simple_self_signed(["server.test".to_owned()]).unwrap();
    CertifiedKey::parse(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap()
}

fn acceptor(lab: &Arc<Lab>) -> Acceptor {
    let resumption: Arc<dyn Resumption> = Arc::<Lab>::clone(lab);
    Acceptor::new(&ServerConfig { resumption: Some(resumption), ..ServerConfig::new(identity()) }).unwrap()
}

/// A client that presents the key of the lab, and resumes.
fn connector(key: &CertifiedKey) -> Connector {
    let credential = Some(crate::ClientCredential::X509(key.clone()));
    let config = ClientConfig { credential, resumption: true, ..ClientConfig::new(ServerVerification::UnsafeNone) };
    Connector::new(&config).unwrap()
}

/// Both handshakes, the lab's verdict where there is need of one, and an octet from the server: whether the session was
/// resumed.
async fn enter(lab: &Lab, acceptor: &Acceptor, connector: &Connector) -> Result<bool, ConnectError> {
    let (client, server) = duplex(20_000);
    let (accepted, connected) = tokio::join!(acceptor.accept(server), connector.connect("server.test", client));
    let mut client = connected?;
    let (resumed, mut server) = open(accepted.unwrap(), &lab.verdict()).await;
    server.write_u8(1).await.unwrap();
    client.read_u8().await.unwrap();
    assert_eq!(client.resumed(), resumed);
    Ok(resumed)
}

async fn open(accepted: Accepted<DuplexStream>, verdict: &Verdict) -> (bool, TlsStream<DuplexStream>) {
    match accepted {
        Accepted::Resumed(resumed) => (true, resumed.stream),
        Accepted::Pending(pending) => match pending.resume(verdict).await {
            Resumed::Open(stream) => (false, stream),
            Resumed::Refused => panic!("{verdict:?}"),
        },
    }
}

/// NULL and connections without tickets: no key, nothing added, nothing used, and nothing worse.
#[test]
fn callbacks_refuse_what_they_do_not_know() {
    let stranger = Ssl::new(&SslContext::builder(SslMethod::tls()).unwrap().build()).unwrap();
    let (mut name, mut iv) = ([0; NAME_LEN], [0; MAX_IV_LENGTH]);
    for ssl in [ptr::null_mut(), stranger.as_ptr()] {
        // SAFETY: `ssl` is NULL or live, and NULL is what this is about. The contexts are not reached.
        unsafe {
            assert_eq!(generate_ticket(ssl, ptr::null_mut()), 1);
            for status in [0, TICKET_SUCCESS, 99] {
                assert_eq!(
                    decrypt_ticket(ssl, ptr::null_mut(), ptr::null(), 0, status, ptr::null_mut()),
                    TICKET_RETURN_IGNORE
                );
            }
            assert_eq!(ticket_key(ssl, ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 1), 0);
            let somewhere = ptr::NonNull::<c_void>::dangling().as_ptr();
            for make in [0, 1] {
                let made =
                    ticket_key(ssl, name.as_mut_ptr(), iv.as_mut_ptr(), somewhere.cast(), somewhere.cast(), make);
                assert_eq!(made, 0);
            }
        }
    }
    assert_eq!((name, iv), ([0; NAME_LEN], [0; MAX_IV_LENGTH]));
}

// SRV-17: the ticket says as long as it was given, an hour at most; without a life there is none.
#[tokio::test]
async fn lifetimes() {
    let key = identity();
    for (lifetime, expected) in [(0, None), (999, None), (60_000, Some(60)), (90_000_000, Some(3600))] {
        let lab = Arc::new(Lab { lifetime: Duration::from_millis(lifetime), ..Lab::new(&key) });
        let (acceptor, connector) = (acceptor(&lab), connector(&key));
        assert!(!enter(&lab, &acceptor, &connector).await.unwrap());
        let session = connector.sessions.as_ref().unwrap().take("server.test");
        // SAFETY: the session is live.
        let hint = session.map(|session| unsafe { SSL_SESSION_get_ticket_lifetime_hint(session.as_ptr()) });
        assert_eq!(hint, expected);
    }
}

// SRV-17: another context with the same keys (there is no such thing outside of this test): OpenSSL declines what the
// listener had found good, and that counts.
#[tokio::test]
async fn ticket_of_another_context_is_declined() {
    let key = identity();
    let one = Arc::new(Lab::new(&key));
    let other = Arc::new(Lab { context: [2; 32], ..Lab::new(&key) });
    let (here, mut there, connector) = (acceptor(&one), acceptor(&other), connector(&key));
    there.sessions.clone_from(&here.sessions);
    assert!(!enter(&one, &here, &connector).await.unwrap());
    assert!(!enter(&one, &there, &connector).await.unwrap());
    assert_eq!(one.judged.load(Ordering::Relaxed), 1, "it was found good");
    // Control: the ticket that it was given there.
    assert!(enter(&one, &there, &connector).await.unwrap());
}

// SRV-17: a ticket says nothing about a client that the session is not of.
#[tokio::test]
async fn session_of_another_key_gets_no_ticket() {
    let (key, other_key) = (identity(), identity());
    let (lab, other) = (Arc::new(Lab::new(&key)), Arc::new(Lab::new(&other_key)));
    let acceptor = acceptor(&lab);
    for (connector, verdict, fits) in [
        (connector(&key), lab.verdict(), true),
        // The session is that of `other_key`.
        (connector(&other_key), lab.verdict(), false),
        (connector(&other_key), other.verdict(), true),
    ] {
        let (client, server) = duplex(20_000);
        let (accepted, connected) = tokio::join!(acceptor.accept(server), connector.connect("server.test", client));
        let (_, mut server) = open(accepted.unwrap(), &verdict).await;
        server.write_u8(1).await.unwrap();
        connected.unwrap().read_u8().await.unwrap();
        let judged = lab.judged.load(Ordering::Relaxed);
        let (client, server) = duplex(20_000);
        let (accepted, connected) = tokio::join!(acceptor.accept(server), connector.connect("server.test", client));
        connected.unwrap();
        drop(accepted.unwrap());
        assert_eq!(lab.judged.load(Ordering::Relaxed) - judged, usize::from(fits));
    }
}

// SRV-17: and nobody can make another client of its holder.
#[tokio::test]
async fn session_stays_with_its_key() {
    let (key, other_key) = (identity(), identity());
    for (holder, resumed) in [(&other_key, false), (&key, true)] {
        let Verdict::Authenticated(holder) = Lab::new(holder).verdict() else { panic!() };
        let lab = Arc::new(Lab { holder: Some(holder), ..Lab::new(&key) });
        let (acceptor, connector) = (acceptor(&lab), connector(&key));
        assert!(!enter(&lab, &acceptor, &connector).await.unwrap());
        assert_eq!(enter(&lab, &acceptor, &connector).await.unwrap(), resumed);
    }
}

// SRV-17: a session that becomes a ticket has forgotten the client's certificate or key; one that does not has not.
#[tokio::test]
async fn tickets_hold_no_credential() {
    let key = identity();
    let lab = Arc::new(Lab::new(&key));
    let acceptor = acceptor(&lab);
    let raw = crate::ClientCredential::RawPublicKey(key.key().clone());
    for credential in [crate::ClientCredential::X509(key.clone()), raw] {
        for (verdict, kept) in [(lab.verdict(), false), (Verdict::NotDane(Reason::NoClientName), true)] {
            let verify = ServerVerification::UnsafeNone;
            let config = ClientConfig { credential: Some(credential.clone()), ..ClientConfig::new(verify) };
            let connector = Connector::new(&config).unwrap();
            let (client, server) = duplex(20_000);
            let (accepted, connected) = tokio::join!(acceptor.accept(server), connector.connect("server.test", client));
            let (_, server) = open(accepted.unwrap(), &verdict).await;
            let session = server.open.ssl().session().unwrap();
            // SAFETY: the session is live. SSL_SESSION_get0_peer(3), SSL_SESSION_get0_peer_rpk(3).
            let peer = unsafe {
                let session = session.as_ptr();
                !SSL_SESSION_get0_peer(session).is_null() || !SSL_SESSION_get0_peer_rpk(session).is_null()
            };
            assert_eq!(peer, kept);
            let whole = session.to_der().unwrap();
            assert_eq!(without_peer(&whole).unwrap() == whole, !kept);
            connected.unwrap();
        }
    }
}

// SRV-16, SRV-17: a client that asks for new keys while it is pending is refused all the same, and if it is
// authenticated, gets its ticket all the same.
#[tokio::test]
async fn key_update_while_pending() {
    let key = identity();
    let lab = Arc::new(Lab::new(&key));
    let acceptor = acceptor(&lab);
    for verdict in [Verdict::Abort(Reason::NoMatch), lab.verdict()] {
        let connector = connector(&key);
        let (client, server) = duplex(20_000);
        let (accepted, client) = tokio::join!(acceptor.accept(server), connector.connect("server.test", client));
        let (Accepted::Pending(mut pending), mut client) = (accepted.unwrap(), client.unwrap()) else { panic!() };
        // SAFETY: the stream owns a live SSL object. SSL_key_update(3).
        assert_eq!(unsafe { SSL_key_update(client.open.ssl().as_ptr(), SSL_KEY_UPDATE_REQUESTED) }, 1);
        client.write_all(b"request").await.unwrap();
        // Reads the KeyUpdate and the record behind it.
        let mut closed = Box::pin(pending.closed());
        assert!(std::future::poll_fn(|cx| Poll::Ready(closed.as_mut().poll(cx).is_pending())).await);
        drop(closed);
        let client = async move { client.read_u8().await };
        let server = async {
            let Resumed::Open(mut stream) = pending.resume(&verdict).await else { return };
            let mut request = [0; 7];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_u8(1).await.unwrap();
        };
        let (answer, ()) = tokio::join!(client, server);
        let authenticated = matches!(verdict, Verdict::Authenticated(_));
        match answer {
            Ok(_) => assert!(authenticated),
            Err(error) => assert!(!authenticated && error.get_ref().unwrap().is::<ClientAuthRefused>()),
        }
        assert_eq!(enter(&lab, &acceptor, &connector).await.unwrap(), authenticated);
    }
}

// SRV-18: early data behind a good ticket is thrown away; the session is resumed, and the request is what comes after.
#[tokio::test]
async fn early_data_is_rejected() {
    let key = identity();
    let lab = Arc::new(Lab::new(&key));
    let acceptor = acceptor(&lab);
    let session: Arc<Mutex<Option<SslSession>>> = Arc::default();
    let mut ctx = SslContext::builder(SslMethod::tls_client()).unwrap();
    crate::config::use_certified_key(&mut ctx, &key).unwrap();
    ctx.set_session_cache_mode(SslSessionCacheMode::CLIENT);
    let seen = Arc::clone(&session);
    ctx.set_new_session_callback(move |_, session| *seen.lock().unwrap() = copy_session(&session));
    let ctx = ctx.build();
    for early in [false, true] {
        let (client, server) = duplex(20_000);
        let mut ssl = Ssl::new(&ctx).unwrap();
        ssl.set_connect_state();
        if let Some(session) = session.lock().unwrap().take() {
            assert_eq!(session.max_early_data(), 0, "the server allows none");
            // SAFETY: the session is live and ours. SSL_SESSION_set_max_early_data(3).
            unsafe { openssl_sys::SSL_SESSION_set_max_early_data(session.as_ptr(), 1000) };
            offer_session(&mut ssl, &session).unwrap();
        }
        let mut client = SslStream::new(ssl, client).unwrap();
        let client = async move {
            if early {
                let written =
                    std::future::poll_fn(|cx| Pin::new(&mut client).poll_write_early_data(cx, b"early")).await;
                assert_eq!(written.unwrap(), 5);
            }
            Pin::new(&mut client).connect().await.unwrap();
            client.write_all(b"request").await.unwrap();
            let answer = client.read_u8().await.unwrap();
            (client.ssl().session_reused(), answer)
        };
        let server = async {
            let (resumed, mut stream) = open(acceptor.accept(server).await.unwrap(), &lab.verdict()).await;
            let mut request = [0; 7];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"request");
            stream.write_u8(1).await.unwrap();
            resumed
        };
        assert_eq!(tokio::join!(client, server), ((early, 1), early));
    }
}

// HTTP-16: what a client keeps is bounded, and is given out once, the latest first.
#[tokio::test]
async fn sessions_kept_by_a_client() {
    const MAX_SESSIONS: usize = 64;
    let key = identity();
    let lab = Arc::new(Lab::new(&key));
    let connector = connector(&key);
    assert!(!enter(&lab, &acceptor(&lab), &connector).await.unwrap());
    let session = connector.sessions.as_ref().unwrap().take("server.test").unwrap();

    let store = Arc::new(SessionStore::default());
    let silent = Keeper::new(Arc::clone(&store), "silent.test");
    silent.on_session(&session);
    assert!(store.take("silent.test").is_none(), "the server has not sent any application data");
    for n in 0..=MAX_SESSIONS {
        let keeper = Keeper::new(Arc::clone(&store), &format!("s{n}.test"));
        // One of a connection.
        for _ in 0..3 {
            keeper.on_session(&session);
            keeper.on_application_data();
        }
    }
    assert!(store.take("s0.test").is_none(), "the oldest has gone");
    for n in 1..=MAX_SESSIONS {
        assert!(store.take(&format!("S{n}.test.")).is_some());
        assert!(store.take(&format!("s{n}.test")).is_none());
    }
}
