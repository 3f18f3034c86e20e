//! Who is given a ticket, seen by a client that is not ours: it counts what arrives.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/bound.rs"]
mod bound;
mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bound::*;
use common::*;
use dance_core::clientid::Profile;
use dance_core::reason::Reason;
use dance_core::ticket::Ticket;
use dance_core::verdict::{Verdict, VerifiedClient};
use dance_tls::{Accepted, Acceptor, Resumed, Resumption, ServerConfig};
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslSessionCacheMode, SslVersion};
use openssl::x509::X509;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_openssl::SslStream;

/// A client that knows nothing of DANE, and how many tickets it has been given.
fn counting_client(set: impl FnOnce(&mut SslContextBuilder)) -> (Arc<AtomicUsize>, SslContext) {
    let sessions = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&sessions);
    let mut ctx = SslContext::builder(SslMethod::tls_client()).unwrap();
    ctx.set_certificate(&X509::from_der(&vector("certs/ee-p256.der")).unwrap()).unwrap();
    ctx.set_private_key(&PKey::private_key_from_pem(&vector("keys/ee-p256.key.pem")).unwrap()).unwrap();
    ctx.set_session_cache_mode(SslSessionCacheMode::CLIENT);
    ctx.set_new_session_callback(move |_, _| {
        seen.fetch_add(1, Ordering::Relaxed);
    });
    set(&mut ctx);
    (sessions, ctx.build())
}

/// A client that knows nothing of DANE comes in and hears this verdict: how many tickets it is given.
async fn tickets(acceptor: &Acceptor, verdict: &Verdict, set: impl FnOnce(&mut SslContextBuilder)) -> usize {
    let (sessions, ctx) = counting_client(set);
    let (client, server) = tcp().await;
    let mut client = SslStream::new(Ssl::new(&ctx).unwrap(), client).unwrap();
    let client = async move {
        // In TLS 1.2 a refusal comes here.
        let connected = Pin::new(&mut client).connect().await;
        let mut answer = Vec::new();
        match connected {
            Ok(()) => client.read_to_end(&mut answer).await.map(|_| answer),
            Err(error) => Err(std::io::Error::other(error)),
        }
    };
    let server = async {
        let Accepted::Pending(pending) = acceptor.accept(server).await.unwrap() else { panic!() };
        if let Resumed::Open(mut stream) = pending.resume(verdict).await {
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    };
    let (answer, ()) = tokio::join!(client, server);
    match verdict {
        Verdict::Abort(_) => drop(answer.unwrap_err()),
        _ => assert_eq!(answer.unwrap(), b"hello"),
    }
    sessions.load(Ordering::Relaxed)
}

// SRV-17: one, for who is authenticated; none for anybody else, not even on the way to a refusal.
#[tokio::test]
async fn only_who_is_authenticated_gets_a_ticket() {
    let bound = Bound::new();
    let acceptor = bound.acceptor();
    assert_eq!(tickets(&acceptor, &bound.client(), |_| {}).await, 1);
    for verdict in [
        Verdict::Abort(Reason::NoMatch),
        Verdict::Unauthenticated(Reason::NoMatch),
        Verdict::NotDane(Reason::NoClientName),
    ] {
        assert_eq!(tickets(&acceptor, &verdict, |_| {}).await, 0, "{verdict:?}");
    }
    // With resumption off, nobody.
    let off = Acceptor::new(&server_config()).unwrap();
    assert_eq!(tickets(&off, &bound.client(), |_| {}).await, 0);
}

// SRV-17: in TLS 1.2 nobody, whatever the verdict: there the ticket would leave before it.
#[tokio::test]
async fn tls12_client_gets_no_ticket() {
    let bound = Bound::new();
    let config = ServerConfig { profile: Profile::Draft2022, tls12: true, ..bound.config() };
    let acceptor = Acceptor::new(&config).unwrap();
    let tls12 = |ctx: &mut SslContextBuilder| ctx.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    assert_eq!(tickets(&acceptor, &bound.client(), tls12).await, 0);
    assert_eq!(tickets(&acceptor, &Verdict::Abort(Reason::NoMatch), tls12).await, 0);
    // Control: in TLS 1.3 this client gets one from the same server, and in TLS 1.2 from another.
    assert_eq!(tickets(&acceptor, &bound.client(), |_| {}).await, 1);
    let (client, server) = tcp().await;
    let serve = async {
        let mut stream = SslStream::new(Ssl::new(&plain_server()).unwrap(), server).unwrap();
        Pin::new(&mut stream).accept().await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let (sessions, ctx) = counting_client(tls12);
    let come = async {
        let mut stream = SslStream::new(Ssl::new(&ctx).unwrap(), client).unwrap();
        Pin::new(&mut stream).connect().await.unwrap();
    };
    tokio::join!(serve, come);
    assert_eq!(sessions.load(Ordering::Relaxed), 1);
}

/// Another answer to the same questions.
struct Stub {
    resume: fn(&Ticket) -> Option<VerifiedClient>,
    lifetime: Duration,
}

impl Resumption for Stub {
    fn context(&self) -> [u8; 32] {
        [7; 32]
    }

    fn resume(&self, ticket: &Ticket) -> Option<VerifiedClient> {
        (self.resume)(ticket)
    }

    fn lifetime(&self, _: &VerifiedClient) -> Duration {
        self.lifetime
    }
}

fn stub(lifetime: Duration, resume: fn(&Ticket) -> Option<VerifiedClient>) -> Acceptor {
    let resumption = Stub { resume, lifetime };
    Acceptor::new(&ServerConfig { resumption: Some(Arc::new(resumption)), ..server_config() }).unwrap()
}

// SRV-17: a fault of the one who decides is no resumption, and no end of the server either.
#[tokio::test]
async fn panic_is_a_full_handshake() {
    let bound = Bound::new();
    let acceptor = stub(Duration::from_secs(60), |_| panic!("on purpose"));
    let connector = resuming(x509());
    for _ in 0..2 {
        assert!(!enter(&bound, &acceptor, &connector).await.resumed);
    }
}
