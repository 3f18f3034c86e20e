//! Resumption as a listener has it: settings, one cached answer, a clock, all of them in the test's hands.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by test files that use different parts of it"
)]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dance_core::UnixTime;
use dance_core::answer::{SecureTlsa, TlsaAnswer};
use dance_core::clientid::{ClientForm, Profile};
use dance_core::matching::{Credential, MatchOptions};
use dance_core::pkix::{Path, PathError, PathValidator};
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::ticket::Ticket;
use dance_core::tlsa::{CertUsage, MatchingType, TlsaRdata};
use dance_core::verdict::{ClientId, Presented, Settings, Step, Verdict, VerifiedClient};
use dance_tls::{
    Accepted, Acceptor, ClientConfig, ClientCredential, Connector, Negotiated, Resumed, Resumption, ServerConfig,
};
use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslContext, SslMethod};
use openssl::x509::X509;
use tokio::io::{AsyncRead, AsyncWrite};

use super::common::*;

/// When the tests take place, in seconds.
const START: u64 = 1_800_000_000;
/// How long the answer is good, in seconds.
pub const ANSWER: u64 = 600;

#[derive(Debug)]
pub struct Bound {
    pub settings: Mutex<Settings>,
    pub answer: Mutex<Option<TlsaAnswer>>,
    now: AtomicU64,
    /// How many tickets were decided about.
    pub judged: AtomicUsize,
}

impl Resumption for Bound {
    fn context(&self) -> [u8; 32] {
        self.settings.lock().unwrap().session_context(b"listener")
    }

    fn resume(&self, ticket: &Ticket) -> Option<VerifiedClient> {
        self.judged.fetch_add(1, Ordering::Relaxed);
        let answer = self.answer.lock().unwrap().clone()?;
        self.settings.lock().unwrap().resume(ticket, &answer, self.now()).ok()
    }

    fn lifetime(&self, client: &VerifiedClient) -> Duration {
        Duration::from_secs(client.valid_until().as_secs().saturating_sub(self.now().as_secs()))
    }
}

impl Bound {
    pub fn new() -> Arc<Self> {
        let settings = Settings {
            profile: Profile::Current,
            policy: Policy::Require,
            on_lookup_failure: OnLookupFailure::Abort,
            allow_list: AllowList::parse(["*._device.example.com"]).unwrap(),
            service_label: None,
            derive_without_signal: false,
            wildcard_ee: WildcardEndEntity::Accept,
            matching: MatchOptions::default(),
        };
        Arc::new(Self {
            settings: Mutex::new(settings),
            answer: Mutex::new(Some(answer(&vector("keys/ee-p256.spki.der")))),
            now: AtomicU64::new(START),
            judged: AtomicUsize::new(0),
        })
    }

    pub fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.now.load(Ordering::Relaxed)))
    }

    pub fn advance(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }

    /// The verdict of a full handshake: looks the client up, in what DNS and the cache hold.
    pub fn verdict(&self, presented: &Presented) -> Verdict {
        let settings = self.settings.lock().unwrap();
        match settings.start(presented) {
            Step::Done(decision) => decision.verdict,
            Step::NeedTlsa(need) => {
                let answer =
                    self.answer.lock().unwrap().clone().unwrap_or_else(|| answer(&vector("keys/ee-p256.spki.der")));
                need.answer(&answer, self.now(), &NoPaths).verdict
            }
        }
    }

    /// The client of [`x509`] and [`raw_public_key`], authenticated.
    pub fn client(&self) -> Verdict {
        let key = vector("keys/ee-p256.spki.der");
        self.verdict(&Presented {
            credential: Some(Credential::RawPublicKey(key.into())),
            client_id: ClientId::Form(ClientForm::Name(name())),
        })
    }

    pub fn acceptor(self: &Arc<Self>) -> Acceptor {
        Acceptor::new(&self.config()).unwrap()
    }

    pub fn config(self: &Arc<Self>) -> ServerConfig {
        ServerConfig { resumption: Some(Arc::<Self>::clone(self)), ..server_config() }
    }
}

/// Usage 3 needs none.
#[derive(Debug)]
struct NoPaths;

impl PathValidator for NoPaths {
    fn validate(&self, _: &Path<'_>, _: UnixTime) -> Result<(), PathError> {
        Err(PathError::Malformed)
    }
}

/// A validated RRset with one record, `3 1 1` of this key.
pub fn answer(spki: &[u8]) -> TlsaAnswer {
    answer_of(TlsaRdata::for_spki(CertUsage::DANE_EE, MatchingType::SHA2_256, spki).unwrap())
}

/// A validated RRset with this record.
pub fn answer_of(record: TlsaRdata) -> TlsaAnswer {
    TlsaAnswer::Secure(Arc::new(SecureTlsa {
        records: vec![record],
        valid_until: UnixTime::since_unix_epoch(Duration::from_secs(START + ANSWER)),
        ttl: 600,
        wildcard: Some(false),
    }))
}

/// A client that resumes.
pub fn resuming(credential: ClientCredential) -> Connector {
    Connector::new(&ClientConfig { resumption: true, ..client_config(credential) }).unwrap()
}

/// How a client got in.
#[derive(Debug)]
pub struct Entered {
    pub resumed: bool,
    pub client: VerifiedClient,
    pub negotiated: Negotiated,
}

/// A client comes in, by resumption or by a verdict; octets go both ways, and both ends agree on how it was.
pub async fn enter_over<S>(bound: &Bound, acceptor: &Acceptor, connector: &Connector, ends: (S, S)) -> Entered
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let server = async {
        match acceptor.accept(ends.1).await.unwrap() {
            Accepted::Resumed(resumed) => {
                let negotiated = resumed.negotiated().clone();
                assert_eq!(resumed.server_name(), Some(SERVER));
                (Entered { resumed: true, client: resumed.client, negotiated }, resumed.stream)
            }
            Accepted::Pending(pending) => {
                let negotiated = pending.negotiated().clone();
                assert!(pending.presented().credential.is_some());
                let verdict = bound.verdict(pending.presented());
                let Resumed::Open(stream) = pending.resume(&verdict).await else { panic!("{verdict:?}") };
                let Verdict::Authenticated(client) = verdict else { panic!("{verdict:?}") };
                (Entered { resumed: false, client, negotiated }, stream)
            }
        }
    };
    let ((entered, mut server_end), connected) = tokio::join!(server, connector.connect(SERVER, ends.0));
    let mut client_end = connected.unwrap();
    assert_eq!(client_end.resumed(), entered.resumed, "both ends agree");
    assert_eq!(
        (client_end.signal_seen(), client_end.credential_sent().is_some()),
        (!entered.resumed, !entered.resumed),
        "a full handshake is as always"
    );
    // In profile 2022 it may stand in the ClientHello, before anybody knows how it will go on.
    let in_client_hello = bound.settings.lock().unwrap().profile == Profile::Draft2022;
    assert!(client_end.name_sent() != entered.resumed || in_client_hello);
    assert_eq!(entered.client.identity(), NAME);
    echo(&mut server_end, &mut client_end).await;
    entered
}

pub async fn enter(bound: &Bound, acceptor: &Acceptor, connector: &Connector) -> Entered {
    enter_over(bound, acceptor, connector, tcp().await).await
}

/// A server that knows nothing of DANE, and issues tickets as OpenSSL does by itself.
pub fn plain_server() -> SslContext {
    let (certificate, key) = server_pem();
    let mut ctx = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    ctx.set_certificate(&X509::from_pem(certificate.as_bytes()).unwrap()).unwrap();
    ctx.set_private_key(&PKey::private_key_from_pem(key.as_bytes()).unwrap()).unwrap();
    ctx.set_session_id_context(b"plain").unwrap();
    ctx.build().into_context()
}
