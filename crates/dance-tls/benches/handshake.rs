//! What handshakes cost the server: full ones by profile, version and kind of credential, and resumed ones, in memory and
//! on one thread.
//!
//! Server and client run in turn; the time spent inside each is added up apart, so the client's share does not blur the
//! server's. The server's key is P-256, the group X25519. Between handshake and stream stands the verdict, which is given
//! at once: DNS and matching are not part of a full handshake here, while a resumed one does all that it ever does, the
//! decision about the ticket included. A resumed handshake ends with a new ticket; what it is compared with is the full handshake of
//! the same listener, which ends with one too.
//!
//! `cargo bench -p dance-tls --bench handshake [-- [HANDSHAKES] [PART OF A NAME]]`
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dance_core::UnixTime;
use dance_core::answer::{SecureTlsa, TlsaAnswer};
use dance_core::clientid::{ClientForm, Profile};
use dance_core::matching::{Credential, MatchOptions};
use dance_core::name::ClientName;
use dance_core::pkix::{self, PathError, PathValidator};
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::ticket::Ticket;
use dance_core::tlsa::{CertUsage, MatchingType, TlsaRdata};
use dance_core::verdict::{ClientId, Presented, Settings, Step, Verdict, VerifiedClient};
use dance_tls::{
    Accepted, Acceptor, CertifiedKey, ClientConfig, ClientCredential, Connector, DaneMode, PrivateKey, Resumed,
    Resumption, ServerConfig, ServerVerification, TrustAnchors,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SERVER: &str = "server.test";
const NAME: &[u8] = b"sensor7._device.example.com";
const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));

/// Adds up the time that a future runs.
struct Timed<F> {
    future: Pin<Box<F>>,
    spent: Duration,
}

impl<F: Future> Timed<F> {
    fn new(future: F) -> Self {
        Self { future: Box::pin(future), spent: Duration::ZERO }
    }
}

impl<F: Future> Future for Timed<F> {
    type Output = (F::Output, Duration);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let start = Instant::now();
        let result = self.future.as_mut().poll(cx);
        self.spent += start.elapsed();
        result.map(|output| (output, self.spent))
    }
}

/// A listener that knows one client.
struct Listener {
    settings: Settings,
    answer: TlsaAnswer,
}

impl Resumption for Listener {
    fn context(&self) -> [u8; 32] {
        self.settings.session_context(b"bench")
    }

    fn resume(&self, ticket: &Ticket) -> Option<VerifiedClient> {
        self.settings.resume(ticket, &self.answer, NOW).ok()
    }

    fn lifetime(&self, client: &VerifiedClient) -> Duration {
        Duration::from_secs(client.valid_until().as_secs() - NOW.as_secs())
    }
}

/// Usage 3 needs none.
#[derive(Debug)]
struct NoPaths;

impl PathValidator for NoPaths {
    fn validate(&self, _: &pkix::Path<'_>, _: UnixTime) -> Result<(), PathError> {
        Err(PathError::Malformed)
    }
}

impl Listener {
    fn new(profile: Profile, spki: &[u8]) -> Self {
        Self {
            settings: Settings {
                profile,
                policy: Policy::Require,
                on_lookup_failure: OnLookupFailure::Abort,
                allow_list: AllowList::parse(["*._device.example.com"]).unwrap(),
                service_label: None,
                derive_without_signal: false,
                wildcard_ee: WildcardEndEntity::Accept,
                matching: MatchOptions::default(),
            },
            answer: TlsaAnswer::Secure(Arc::new(SecureTlsa {
                records: vec![TlsaRdata::for_spki(CertUsage::DANE_EE, MatchingType::SHA2_256, spki).unwrap()],
                valid_until: UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs() + 600)),
                ttl: 600,
                wildcard: Some(false),
            })),
        }
    }

    fn verdict(&self, spki: Vec<u8>) -> Verdict {
        let presented = Presented {
            credential: Some(Credential::RawPublicKey(spki.into())),
            client_id: ClientId::Form(ClientForm::Name(ClientName::parse(NAME).unwrap())),
        };
        let Step::NeedTlsa(need) = self.settings.start(&presented) else { panic!("the name is allowed") };
        let verdict = need.answer(&self.answer, NOW, &NoPaths).verdict;
        assert!(matches!(verdict, Verdict::Authenticated(_)), "{verdict:?}");
        verdict
    }
}

/// A line of the table.
struct Case {
    name: String,
    acceptor: Acceptor,
    connector: Connector,
    verdict: Verdict,
    resumes: bool,
}

/// One handshake, the verdict, and one octet each way: server's time, client's time, and whether it was resumed.
async fn handshake(case: &Case) -> (Duration, Duration, bool) {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let server = Timed::new(async {
        let (resumed, mut stream) = match case.acceptor.accept(server).await.unwrap() {
            Accepted::Resumed(resumed) => (true, resumed.stream),
            Accepted::Pending(pending) => match pending.resume(&case.verdict).await {
                Resumed::Open(stream) => (false, stream),
                Resumed::Refused => panic!("the verdict was to go on"),
            },
        };
        let octet = stream.read_u8().await.unwrap();
        stream.write_u8(octet).await.unwrap();
        (stream, resumed)
    });
    let client = Timed::new(async {
        let mut stream = case.connector.connect(SERVER, client).await.unwrap();
        stream.write_u8(1).await.unwrap();
        stream.read_u8().await.unwrap();
        stream
    });
    let (((_server, resumed), server_time), (_client, client_time)) = tokio::join!(server, client);
    (server_time, client_time, resumed)
}

fn vector(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(path)).unwrap()
}

/// How a client comes in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    DaneOff,
    Full,
    /// As the first time on a listener that resumes: it ends with a ticket, as resumed handshakes do.
    WithTicket,
    Tls12,
    Resumed,
}

fn case(identity: &CertifiedKey, roots: &TrustAnchors, profile: Profile, key: &str, raw: bool, how: How) -> Case {
    let pem = vector(&format!("keys/{key}.key.pem"));
    let spki = vector(&format!("keys/{key}.spki.der"));
    let credential = if raw {
        ClientCredential::RawPublicKey(PrivateKey::parse(&pem).unwrap())
    } else {
        ClientCredential::X509(CertifiedKey::parse(&vector(&format!("certs/{key}.pem")), &pem).unwrap())
    };
    let listener = Listener::new(profile, &spki);
    let verdict = listener.verdict(spki);
    let (tls12, resumes) = (how == How::Tls12, how == How::Resumed);
    let tickets = resumes || how == How::WithTicket;
    let acceptor = Acceptor::new(&ServerConfig {
        dane: if how == How::DaneOff { DaneMode::Off } else { DaneMode::On },
        profile,
        tls12,
        resumption: if tickets { Some(Arc::new(listener)) } else { None },
        ..ServerConfig::new(identity.clone())
    });
    let connector = Connector::new(&ClientConfig {
        credential: Some(credential),
        client_id: ClientName::parse(NAME).map(ClientForm::Name).ok(),
        profile: profile.into(),
        tls12,
        tls13: !tls12,
        name_in_client_hello: tls12,
        // The second for the server's key in TLS 1.2; the first is used.
        groups: Some("X25519:P-256".to_owned()),
        resumption: resumes,
        ..ClientConfig::new(ServerVerification::Roots(roots.clone()))
    });
    let name = format!(
        "{key} {}, {}, TLS {}{}",
        if raw { "raw key" } else { "X.509" },
        profile.name(),
        if tls12 { "1.2" } else { "1.3" },
        match how {
            How::DaneOff => ", DANE off",
            How::Full | How::Tls12 => "",
            How::WithTicket => ", with a ticket",
            How::Resumed => ", resumed",
        }
    );
    Case { name, acceptor: acceptor.unwrap(), connector: connector.unwrap(), verdict, resumes }
}

fn main() {
    // `cargo bench` passes --bench; `cargo test --benches` nothing.
    let given = std::env::args().find_map(|arg| arg.parse().ok());
    let handshakes: u32 = given.unwrap_or(if std::env::args().any(|arg| arg == "--bench") { 2000 } else { 3 });

    let made = rcgen::generate_simple_self_signed([SERVER.to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = CertifiedKey::parse(certificate.as_bytes(), key.as_bytes()).unwrap();
    let roots = TrustAnchors::parse(certificate.as_bytes()).unwrap();
    let case = |profile, key, raw, how| case(&identity, &roots, profile, key, raw, how);
    use Profile::{Current, Draft2022};
    let mut cases = vec![case(Current, "ee-p256", false, How::DaneOff)];
    for (key, raw) in [("ee-p256", false), ("ee-p256", true), ("ee-ed25519", false), ("ee-rsa2048", false)] {
        cases.extend([
            case(Current, key, raw, How::Full),
            case(Current, key, raw, How::WithTicket),
            case(Current, key, raw, How::Resumed),
            case(Draft2022, key, raw, How::Full),
            case(Draft2022, key, raw, How::Tls12),
        ]);
    }
    let part = std::env::args().skip(1).find(|arg| !arg.starts_with("--") && arg.parse::<u32>().is_err());
    if let Some(part) = part {
        cases.retain(|case| case.name.contains(&part));
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut times = vec![(Vec::new(), Vec::new()); cases.len()];
    runtime.block_on(async {
        for case in cases.iter().filter(|case| case.resumes) {
            assert!(!handshake(case).await.2, "the first time, there is nothing to resume");
        }
        for _ in 0..handshakes {
            // In turn, so that a busy machine slows all cases alike.
            for (case, (servers, clients)) in cases.iter().zip(&mut times) {
                let (server, client, resumed) = handshake(case).await;
                assert_eq!(resumed, case.resumes);
                servers.push(server);
                clients.push(client);
            }
        }
    });
    println!("one in ten is faster than this; {handshakes} handshakes each");
    println!("{:<46} {:>10} {:>10} {:>13} {:>8}", "", "server", "client", "server hs/s", "of full");
    let mut full = None;
    for (case, (mut servers, mut clients)) in cases.iter().zip(times) {
        let (server, client) = (undisturbed(&mut servers), undisturbed(&mut clients));
        // A resumed handshake stands in the line below the full one.
        let share = if case.resumes { full.map_or(1.0, |full| server.as_secs_f64() / full) } else { 1.0 };
        full = Some(server.as_secs_f64());
        println!(
            "{:<46} {:>7} µs {:>7} µs {:>13.0} {:>6.0} %",
            case.name,
            server.as_micros(),
            client.as_micros(),
            1.0 / server.as_secs_f64(),
            share * 100.0
        );
    }
}

/// The first decile: what it takes when nothing else gets in the way.
fn undisturbed(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 10]
}
