//! How many look-ups a second go over UDP and over TLS to a server on loopback that answers at once, and how many questions a second go
//! there through `domain`'s own transports, without anything around them.
//! `cargo run --release -p dance-resolver --example transports [QUESTIONS] [AT ONCE]`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use dance_core::name::{ClientName, OwnerName};
use dance_resolver::{DnsMode, Resolver, ResolverConfig, Server, Servers, TlsTrust, TlsaSource as _, Transport};
use dance_testkit::CertSpec;
use domain::base::iana::Rtype;
use domain::base::{MessageBuilder, Name};
use domain::net::client::protocol::{AsyncConnect, UdpConnect};
use domain::net::client::request::{RequestMessage, SendRequest};
use domain::net::client::{dgram, multi_stream};
use futures_util::{StreamExt as _, stream};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const ROUNDS: usize = 3;

fn main() {
    let number = |index, default| std::env::args().nth(index).map_or(default, |text| text.parse().unwrap());
    let (questions, at_once) = (number(1, 20_000), number(2, 64));
    let identity = CertSpec::localhost_server().self_signed().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(identity.leaf_der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let client = Arc::new(client.unwrap().with_root_certificates(roots).with_no_client_auth());
    let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = vec![CertificateDer::from(identity.leaf_der().to_vec())];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key_der().to_vec()));
    let server = Arc::new(server.with_no_client_auth().with_single_cert(chain, key).unwrap());

    // The server has a thread of its own.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || runtime().block_on(serve(server, sender)));
    let (udp, tls) = receiver.recv().unwrap();
    runtime().block_on(async {
        for round in 0..ROUNDS {
            let by_tls = Server { address: tls, transport: Transport::Tls(TlsTrust::Unauthenticated) };
            for (what, server) in [("look-ups, UDP", udp.into()), ("look-ups, TLS", by_tls)] {
                let servers = Servers::List(vec![server]);
                let config = ResolverConfig { servers, mode: DnsMode::AdBit, ..ResolverConfig::default() };
                let resolver = Resolver::new(config).unwrap();
                measure(what, questions, at_once, async |n| {
                    let name = ClientName::parse(format!("dev{round}-{n}._device.example.test").as_bytes()).unwrap();
                    let lookup = resolver.lookup(&OwnerName::verbatim(&name)).await;
                    assert_eq!(lookup.trace.queries, 1, "{lookup:?}");
                })
                .await;
            }
            let connection = dgram::Connection::new(UdpConnect::new(udp));
            through_domain("domain, UDP", questions, at_once, &connection).await;
            let remote = Tls(tls, TlsConnector::from(Arc::clone(&client)));
            let (connection, transport) = multi_stream::Connection::new(remote);
            let running = tokio::spawn(transport.run());
            through_domain("domain, TLS", questions, at_once, &connection).await;
            running.abort();
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn measure(what: &str, questions: usize, at_once: usize, ask: impl AsyncFn(usize)) {
    let started = Instant::now();
    stream::iter(0..questions).map(|n| ask(n)).buffer_unordered(at_once).for_each(|()| std::future::ready(())).await;
    println!("{what:15} {:8.0} a second", questions as f64 / started.elapsed().as_secs_f64());
}

async fn through_domain(
    what: &str,
    questions: usize,
    at_once: usize,
    connection: &impl SendRequest<RequestMessage<Vec<u8>>>,
) {
    measure(what, questions, at_once, async |n| {
        let name: Name<Vec<u8>> = format!("dev{n}._device.example.test").parse().unwrap();
        let mut question = MessageBuilder::new_vec().question();
        question.push((name, Rtype::TLSA)).unwrap();
        let request = RequestMessage::new(question).unwrap();
        connection.send_request(request).get_response().await.unwrap();
    })
    .await;
}

struct Tls(SocketAddr, TlsConnector);

impl AsyncConnect for Tls {
    type Connection = TlsStream<TcpStream>;
    type Fut = Pin<Box<dyn Future<Output = std::io::Result<Self::Connection>> + Send + Sync>>;

    fn connect(&self) -> Self::Fut {
        let (address, connector) = (self.0, self.1.clone());
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            connector.connect("localhost".try_into().map_err(std::io::Error::other)?, stream).await
        })
    }
}

/// What is asked, as an answer: there is nothing.
fn nothing(question: &mut [u8]) {
    if let Some(flags) = question.get_mut(2) {
        *flags |= 0x80;
    }
}

async fn serve(config: Arc<ServerConfig>, addresses: std::sync::mpsc::Sender<(SocketAddr, SocketAddr)>) {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    addresses.send((udp.local_addr().unwrap(), tcp.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, asker) = udp.recv_from(&mut buffer).await.unwrap();
            nothing(&mut buffer[..length]);
            udp.send_to(&buffer[..length], asker).await.unwrap();
        }
    });
    let acceptor = TlsAcceptor::from(config);
    loop {
        let (stream, _) = tcp.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(stream);
            let _ = echo(BufReader::new(reader), writer).await;
        });
    }
}

/// Answers all that has come in one go.
async fn echo(
    mut reader: BufReader<impl AsyncRead + Unpin>,
    mut writer: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let mut answers = Vec::new();
    loop {
        let length = reader.read_u16().await?;
        let mut message = vec![0; usize::from(length)];
        reader.read_exact(&mut message).await?;
        nothing(&mut message);
        answers.extend(length.to_be_bytes());
        answers.extend(message);
        if reader.buffer().is_empty() {
            writer.write_all(&answers).await?;
            writer.flush().await?;
            answers.clear();
        }
    }
}
