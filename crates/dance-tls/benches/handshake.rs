//! What a full mutual TLS 1.3 handshake costs the server, with and without DANE, in memory and on one thread.
//!
//! Server and client run in turn; the time spent inside each is added up apart, so the client's share does not blur the
//! server's. Certificates and keys are P-256, the group is X25519. The verdict is given at once: DNS is not part of
//! this.
//!
//! `cargo bench -p dance-tls --bench handshake [-- HANDSHAKES]`
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dance_core::clientid::ClientForm;
use dance_core::name::ClientName;
use dance_core::reason::Reason;
use dance_core::verdict::Verdict;
use dance_tls::{
    Acceptor, CertifiedKey, ClientConfig, ClientCredential, Connector, DaneMode, PrivateKey, Resumed, ServerConfig,
    ServerVerification, TrustAnchors,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SERVER: &str = "server.test";

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

/// One handshake, the verdict, and one octet each way: server's time, client's time.
async fn handshake(acceptor: &Acceptor, connector: &Connector) -> (Duration, Duration) {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let server = Timed::new(async {
        let pending = acceptor.accept(server).await.unwrap().pending().unwrap();
        let Resumed::Open(mut stream) = pending.resume(&Verdict::NotDane(Reason::NoClientName)).await else {
            panic!("the verdict was to go on")
        };
        let octet = stream.read_u8().await.unwrap();
        stream.write_u8(octet).await.unwrap();
        stream
    });
    let client = Timed::new(async {
        let mut stream = connector.connect(SERVER, client).await.unwrap();
        stream.write_u8(1).await.unwrap();
        stream.read_u8().await.unwrap();
        stream
    });
    let ((_server, server_time), (_client, client_time)) = tokio::join!(server, client);
    (server_time, client_time)
}

fn main() {
    // `cargo bench` passes --bench; `cargo test --benches` nothing.
    let given = std::env::args().find_map(|arg| arg.parse().ok());
    let handshakes: u32 = given.unwrap_or(if std::env::args().any(|arg| arg == "--bench") { 3000 } else { 10 });

    let made = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let (server_certificate, server_key) = made(SERVER);
    let (client_certificate, client_key) = made("sensor7.example.com");
    let identity = CertifiedKey::parse(server_certificate.as_bytes(), server_key.as_bytes()).unwrap();
    let server = |dane| Acceptor::new(&ServerConfig { dane, ..ServerConfig::new(identity.clone()) }).unwrap();
    let client = |credential| {
        let roots = TrustAnchors::parse(server_certificate.as_bytes()).unwrap();
        let client_id = ClientName::parse(b"sensor7._device.example.com").map(ClientForm::Name).ok();
        let groups = Some("X25519".to_owned());
        let config = ClientConfig::new(ServerVerification::Roots(roots));
        Connector::new(&ClientConfig { credential: Some(credential), client_id, groups, ..config }).unwrap()
    };
    let x509 = client(ClientCredential::X509(
        CertifiedKey::parse(client_certificate.as_bytes(), client_key.as_bytes()).unwrap(),
    ));
    let key = client(ClientCredential::RawPublicKey(PrivateKey::parse(client_key.as_bytes()).unwrap()));

    let cases = [
        ("X.509, DANE off", server(DaneMode::Off), &x509),
        ("X.509, DANE on", server(DaneMode::On), &x509),
        ("raw public key, DANE on", server(DaneMode::On), &key),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut times: [(Vec<Duration>, Vec<Duration>); 3] = Default::default();
    runtime.block_on(async {
        for _ in 0..handshakes {
            // In turn, so that a busy machine slows all cases alike.
            for ((_, acceptor, connector), (servers, clients)) in cases.iter().zip(&mut times) {
                let (server, client) = handshake(acceptor, connector).await;
                servers.push(server);
                clients.push(client);
            }
        }
    });
    println!("one in ten is faster than this; {handshakes} handshakes each");
    println!("{:<26} {:>10} {:>10} {:>24}", "", "server", "client", "server handshakes/s/core");
    for ((name, ..), (mut servers, mut clients)) in cases.iter().zip(times) {
        let (server, client) = (undisturbed(&mut servers), undisturbed(&mut clients));
        let per_second = 1.0 / server.as_secs_f64();
        println!("{name:<26} {:>7} µs {:>7} µs {per_second:>24.0}", server.as_micros(), client.as_micros());
    }
}

/// The first decile: what it takes when nothing else gets in the way.
fn undisturbed(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 10]
}
